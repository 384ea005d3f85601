// SPDX-License-Identifier: Apache-2.0
#include <pacer/pacer.h>

const char *pacer_version(void) {
    return PACER_VERSION; // from the file VERSION, by meson
}
