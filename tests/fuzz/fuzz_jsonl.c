// SPDX-License-Identifier: Apache-2.0
#include "data_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_rows(size && data[0] & 16 ? "d.jsonl" : "d.json", data, size);
    return 0;
}
