// SPDX-License-Identifier: Apache-2.0
// Slices of rows.
#include "data/data.h"

struct pacer_tensor *pcr_data_views(const struct pcr_data *data, struct pcr_arena *arena) {
    struct pacer_tensor *views = pcr_arena_array(arena, data->n_tensors, sizeof *views);
    for (size_t i = 0; views && i < data->n_tensors; i++) {
        const struct pacer_tensor *tensor = &data->tensors[i];
        int64_t *shape = pcr_arena_array(arena, tensor->rank, sizeof *shape);
        if (!shape)
            return NULL;
        memcpy(shape, tensor->shape, tensor->rank * sizeof *shape);
        views[i] = *tensor;
        views[i].shape = shape;
    }
    return views;
}

static size_t row_bytes(const struct pacer_tensor *tensor) {
    size_t bytes =
        tensor->dtype == PACER_BYTES ? sizeof(struct pacer_bytes) : pacer_dtype_size(tensor->dtype);
    for (size_t i = 1; i < tensor->rank; i++)
        bytes *= (size_t)tensor->shape[i]; // cannot overflow: the rows are in memory
    return bytes;
}

void pcr_data_slice(const struct pcr_data *data, int64_t first, int64_t n,
                    struct pacer_tensor *views) {
    PCR_ASSERT(first >= 0 && n >= 0 && first <= data->rows && n <= data->rows - first);
    for (size_t i = 0; i < data->n_tensors; i++) {
        const struct pacer_tensor *tensor = &data->tensors[i];
        views[i].data = (const char *)tensor->data + (size_t)first * row_bytes(tensor);
        ((int64_t *)views[i].shape)[0] = n; // pcr_data_views made it
    }
}
