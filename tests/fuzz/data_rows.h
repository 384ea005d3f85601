// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of rows: the first chooses the model's inputs and the options, the rest is
// the file. Either rows come out whose elements can all be read and are what was asked for, or an
// error that names the file.
#ifndef PCR_FUZZ_DATA_ROWS_H
#define PCR_FUZZ_DATA_ROWS_H

#include "data/data_priv.h"

#include <math.h>

static const int64_t column[] = {-1, 1}, open_row[] = {-1, -1}, four[] = {-1, 4},
                     image[] = {1, -1, 2, 2}, flat[] = {-1};

static const struct {
    size_t n;
    struct pacer_tensor_info inputs[3];
} models[] = {
    {1, {{"x", PACER_FP32, 2, four}}},
    {1, {{"x", PACER_FP64, 2, open_row}}},
    {1, {{"x", PACER_FP16, 4, image}}},
    {1, {{"x", PACER_BYTES, 1, flat}}},
    {1, {{"x", PACER_INT8, 0, NULL}}},
    {2, {{"a", PACER_INT64, 2, column}, {"b", PACER_BF16, 2, open_row}}},
    {3, {{"a", PACER_FP32, 1, flat}, {"b", PACER_BYTES, 2, column}, {"c", PACER_BOOL, 0, flat}}},
    {2, {{"a", PACER_UINT64, 4, image}, {"b", PACER_BYTES, 2, four}}},
};

static inline size_t touch(const struct pacer_tensor *tensor, bool finite) {
    size_t count, sum = 0;
    PCR_ASSERT(pacer_shape_count(tensor->shape, tensor->rank, &count) == 0 && count > 0);
    for (size_t i = 0; i < count; i++) {
        if (tensor->dtype == PACER_BYTES) {
            const struct pacer_bytes *text = (const struct pacer_bytes *)tensor->data + i;
            for (size_t j = 0; j < text->size; j++)
                sum += (unsigned char)text->data[j];
            continue;
        }
        struct pcr_data_number number = pcr_data_get_number(tensor->dtype, tensor->data, i);
        if (number.kind == PCR_DATA_REAL)
            PCR_ASSERT(!finite || isfinite(number.real));
        else
            sum += (size_t)number.whole;
    }
    return sum;
}

static inline void look_at(const struct pcr_data *data, const struct pacer_tensor_info *inputs,
                           const struct pcr_data_options *options, struct pcr_arena *arena) {
    static volatile size_t sink;
    (void)sink;
    PCR_ASSERT(data->rows > 0);
    PCR_ASSERT(!options->rows_max || (size_t)data->rows <= options->rows_max);
    struct pacer_tensor *views = pcr_data_views(data, arena);
    for (size_t i = 0; i < data->n_tensors; i++) {
        const struct pacer_tensor *tensor = &data->tensors[i];
        PCR_ASSERT(tensor->dtype == inputs[i].dtype && tensor->shape[0] == data->rows);
        PCR_ASSERT(!inputs[i].shape || tensor->rank == (inputs[i].rank ? inputs[i].rank : 1));
        for (size_t j = 1; j < inputs[i].rank; j++)
            PCR_ASSERT(inputs[i].shape[j] < 0 || inputs[i].shape[j] == tensor->shape[j]);
        sink = touch(tensor, !options->allow_nan);
        if (!views)
            continue;
        pcr_data_slice(data, data->rows - 1, 1, views);
        sink = touch(&views[i], !options->allow_nan);
    }
}

static inline void read_rows(const char *path, const uint8_t *bytes, size_t size) {
    unsigned choice = size ? bytes[0] : 0;
    const struct pcr_data_options options = {.rows_max = choice & 8 ? 2 : 0,
                                             .allow_nan = choice & 64};
    const struct pacer_tensor_info *inputs = models[choice % 8].inputs;
    size_t n = models[choice % 8].n;
    struct pcr_data data;
    struct pcr_arena arena;
    struct pacer_error err = {.code = 0};
    struct pcr_buf copy; // a NUL follows, and nothing else
    pcr_buf_init(&copy, size);
    pcr_buf_append(&copy, bytes + (size > 0), size - (size > 0));
    pcr_arena_init(&arena, 64 << 20);
    int rc = pcr_data_read(path, pcr_buf_view(&copy), inputs, n, &options, &arena, &data, &err);
    if (rc == 0)
        look_at(&data, inputs, &options, &arena);
    else
        PCR_ASSERT(err.code == rc && strncmp(err.message, path, strlen(path)) == 0);
    pcr_arena_fini(&arena);
    pcr_buf_fini(&copy);
}

#endif
