// SPDX-License-Identifier: Apache-2.0
// Any bytes as an .npy file:
// either a tensor whose elements can all be read, or an error that says why.
#include "data/npy.h"

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Reads every byte of the tensor, so that a sanitizer sees what is not there.
static void touch(const struct pacer_tensor *tensor) {
    size_t count;
    unsigned sum = 0;
    PCR_ASSERT(tensor->rank <= PACER_RANK_MAX);
    PCR_ASSERT(pacer_shape_count(tensor->shape, tensor->rank, &count) == 0);
    if (tensor->dtype == PACER_BYTES) {
        const struct pacer_bytes *list = tensor->data;
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < list[i].size; j++)
                sum += (unsigned char)list[i].data[j];
    } else {
        const unsigned char *bytes = tensor->data;
        PCR_ASSERT(pacer_dtype_size(tensor->dtype) > 0);
        for (size_t i = 0; i < count * pacer_dtype_size(tensor->dtype); i++)
            sum += bytes[i];
    }
    static volatile unsigned sink;
    sink = sum;
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pcr_arena arena;
    struct pacer_tensor tensor;
    struct pacer_error err = {.code = 0};
    pcr_arena_init(&arena, 64 << 20);
    struct pcr_str bytes = {size ? (const char *)data : "", size};
    int rc = pcr_npy_read(&arena, bytes, &tensor, &err);
    if (rc == 0)
        touch(&tensor);
    else
        PCR_ASSERT(err.code == rc && err.message[0] != '\0');
    pcr_arena_fini(&arena);
    return 0;
}
