// SPDX-License-Identifier: Apache-2.0
#include "compare/compare.h"

#define OPEN_DIMENSION 8
#define SMALL 8 // integers are below it

struct random {
    uint64_t state;
};

static uint64_t next(struct random *random) { // Knuth's MMIX
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return random->state >> 32;
}

static double normal(struct random *random) {
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)next(random) / 4294967296.0;
    return sum;
}

static bool fill(struct random *random, enum pacer_dtype dtype, void *data, size_t n) {
    static const char *const digits[SMALL] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    size_t size = pacer_dtype_size(dtype);
    for (size_t i = 0; i < n; i++) {
        uint64_t whole = next(random) % SMALL; // of any size: little-endian
        if (dtype == PACER_FP32)
            ((float *)data)[i] = (float)normal(random);
        else if (dtype == PACER_FP64)
            ((double *)data)[i] = normal(random);
        else if (dtype == PACER_BYTES)
            ((struct pacer_bytes *)data)[i] = (struct pacer_bytes){digits[whole], 1};
        else if (dtype == PACER_BOOL)
            ((uint8_t *)data)[i] = whole % 2;
        else if (dtype == PACER_FP16 || dtype == PACER_BF16)
            return false;
        else
            memcpy((char *)data + i * size, &whole, size);
    }
    return true;
}

static int draw(struct random *random, const struct pacer_tensor_info *input, size_t rows,
                struct pcr_arena *arena, struct pacer_tensor *out, struct pacer_error *err) {
    size_t rank = input->rank > 0 ? input->rank : 1, count;
    int64_t *shape = pcr_arena_calloc(arena, rank, sizeof *shape);
    for (size_t i = 1; shape && i < rank; i++)
        shape[i] = input->shape[i] < 0 ? OPEN_DIMENSION : input->shape[i];
    if (shape)
        shape[0] = (int64_t)rows;
    if (!shape || pacer_shape_count(shape, rank, &count) < 0)
        return pcr_err(err, PACER_ELIMIT, "compare",
                       "input '%.100s' is too large to make up %zu rows", input->name, rows);
    size_t size =
        input->dtype == PACER_BYTES ? sizeof(struct pacer_bytes) : pacer_dtype_size(input->dtype);
    void *data = pcr_arena_array(arena, count + 1, size);
    if (!data)
        return pcr_err(err, PACER_ENOMEM, "compare",
                       "no memory for %zu made-up rows of input '%.100s'; ask for fewer", rows,
                       input->name);
    if (!fill(random, input->dtype, data, count))
        return pcr_err(err, PACER_EUNSUPPORTED, "compare",
                       "rows of %s cannot be made up for input '%.100s'; give a file of rows",
                       pacer_dtype_name(input->dtype), input->name);
    *out = (struct pacer_tensor){pcr_arena_dup(arena, pcr_str(input->name)), input->dtype, rank,
                                 shape, data};
    return out->name ? 0 : pcr_err(err, PACER_ENOMEM, "compare", "out of memory");
}

int pcr_rows_draw(const struct pacer_session *session, size_t rows, uint64_t seed,
                  struct pcr_arena *arena, struct pcr_data *out, struct pacer_error *err) {
    struct random random = {seed * 0x9E3779B97F4A7C15u + 1};
    const struct pacer_tensor_info *inputs = pacer_session_inputs(session, &out->n_tensors);
    out->rows = (int64_t)rows;
    out->tensors = pcr_arena_calloc(arena, out->n_tensors + 1, sizeof *out->tensors);
    if (!out->tensors)
        return pcr_err(err, PACER_ENOMEM, "compare", "out of memory");
    int code = 0;
    for (size_t i = 0; i < out->n_tensors && code == 0; i++)
        code = draw(&random, &inputs[i], rows, arena, &out->tensors[i], err);
    return code;
}

size_t pcr_rows_batch(const struct pacer_session *session, size_t rows_max) {
    size_t n;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(session, &n);
    for (size_t i = 0; i < n; i++) {
        if (inputs[i].rank == 0 && inputs[i].shape)
            return 1; // a scalar
        if (inputs[i].rank > 0 && inputs[i].shape[0] > 0)
            return (size_t)inputs[i].shape[0];
    }
    return rows_max;
}

void pcr_rows_inputs(const struct pacer_session *session, const struct pcr_data *data, size_t first,
                     size_t n, struct pacer_tensor *views) {
    size_t n_inputs;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(session, &n_inputs);
    pcr_data_slice(data, (int64_t)first, (int64_t)n, views);
    for (size_t i = 0; i < data->n_tensors && i < n_inputs; i++)
        if (inputs[i].rank == 0 && inputs[i].shape)
            views[i].rank = 0; // a list of one
}
