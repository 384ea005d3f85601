// SPDX-License-Identifier: Apache-2.0
// libpacer, all of it. Include this, or the header of the one part you use.
#ifndef PACER_PACER_H
#define PACER_PACER_H

#include <pacer/batcher.h>
#include <pacer/cache.h>
#include <pacer/contract.h>
#include <pacer/error.h>
#include <pacer/quantize.h>
#include <pacer/session.h>
#include <pacer/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

// "MAJOR.MINOR.PATCH" of the library that is running. Static text, any thread.
PACER_API const char *pacer_version(void);

#ifdef __cplusplus
}
#endif
#endif
