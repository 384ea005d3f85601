// SPDX-License-Identifier: Apache-2.0
// config.pbtxt, as somebody else's tool may have written it.
#include "infer/repository_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pcr_pbtxt config;
    struct pacer_error err = {0};
    int code = pcr_pbtxt_parse((struct pcr_str){(const char *)data, size}, &config, &err);
    PCR_ASSERT(code == 0 || (code == PACER_ESYNTAX && err.message[0]));
    PCR_ASSERT(config.max_batch_size >= -1 && config.n_versions <= PCR_PBTXT_VERSIONS_MAX);
    return 0;
}
