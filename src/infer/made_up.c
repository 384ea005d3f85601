// SPDX-License-Identifier: Apache-2.0
// Made-up inputs, for runs before a model serves.
//
// MIXED is the rule: numbers between 0 and 1 (integers and booleans: 0 or 1; strings: "0" or "1"),
// the same ones at every start and different in every row, so that branches, trees and tables are
// taken as in life and two rows can be told apart. Some models accept only all zeros or all ones.
#include "infer/warmup_priv.h"

static uint64_t mix(uint64_t x) { // the finalizer of SplitMix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// 0 … 255, which is the fraction in 256ths, and its highest bit the integer.
static unsigned draw(enum pcr_made_up kind, uint64_t input, uint64_t element) {
    if (kind == PCR_MADE_UP_ZEROS)
        return 0;
    return (unsigned)(mix(input << 48 ^ element) >> 56);
}

static void set(enum pacer_dtype dtype, void *data, size_t i, bool ones, unsigned value) {
    uint64_t bit = ones ? 1 : value >> 7;
    float fraction = ones ? 1 : (float)value / 256;
    uint32_t bits;
    switch (dtype) {
    case PACER_FP32:
        ((float *)data)[i] = fraction;
        break;
    case PACER_FP64:
        ((double *)data)[i] = (double)fraction;
        break;
    case PACER_FP16: // 1.0 or 0.0 by their bits
        ((uint16_t *)data)[i] = bit ? 0x3c00 : 0;
        break;
    case PACER_BF16: // the upper half of a float
        memcpy(&bits, &fraction, sizeof bits);
        ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        break;
    case PACER_BYTES:
        ((struct pacer_bytes *)data)[i] = (struct pacer_bytes){bit ? "1" : "0", 1};
        break;
    case PACER_INT64:
    case PACER_UINT64:
        ((uint64_t *)data)[i] = bit;
        break;
    case PACER_INT32:
    case PACER_UINT32:
        ((uint32_t *)data)[i] = (uint32_t)bit;
        break;
    case PACER_INT16:
    case PACER_UINT16:
        ((uint16_t *)data)[i] = (uint16_t)bit;
        break;
    default:
        ((uint8_t *)data)[i] = (uint8_t)bit;
    }
}

static void fill(struct pacer_tensor *tensor, size_t count, const struct pcr_made_up_rows *rows,
                 uint64_t input) {
    void *data = (void *)tensor->data;
    size_t per_row = rows->n ? count / rows->n : 0;
    for (size_t i = 0; i < count; i++) {
        unsigned value = draw(rows->kind, input, rows->first * per_row + i);
        if (tensor->dtype == PACER_BYTES && rows->kind == PCR_MADE_UP_ZEROS)
            ((struct pacer_bytes *)data)[i] = (struct pacer_bytes){"", 0};
        else
            set(tensor->dtype, data, i, rows->kind == PCR_MADE_UP_ONES, value);
    }
}

// False when it is too large to be made up.
static bool make_input(const struct pacer_tensor_info *info, struct pcr_arena *arena,
                       const struct pcr_made_up_rows *rows, uint64_t number,
                       struct pacer_tensor *out, size_t *elements) {
    int64_t *shape = pcr_arena_calloc(arena, info->rank + 1, sizeof *shape);
    if (!shape)
        return false;
    for (size_t i = 0; i < info->rank; i++)
        shape[i] = info->shape[i] < 0 ? 1 : info->shape[i];
    size_t rank = info->rank;
    if (!info->shape) { // undeclared rank: most models take rows
        shape[0] = 1;
        rank = 1;
    }
    if (rank > 0 && (!info->shape || info->shape[0] < 0))
        shape[0] = (int64_t)rows->n;
    size_t count;
    if (pacer_shape_count(shape, rank, &count) < 0)
        return false;
    size_t size = pacer_dtype_size(info->dtype);
    void *data = pcr_arena_calloc(arena, count + 1, size ? size : sizeof(struct pacer_bytes));
    if (!data)
        return false;
    *out = (struct pacer_tensor){info->name, info->dtype, rank, shape, data};
    fill(out, count, rows, number);
    *elements += count;
    return true;
}

bool pcr_made_up_inputs(const struct pacer_session *s, const struct pcr_made_up_rows *rows,
                        struct pcr_arena *arena, struct pacer_run *out, size_t *elements) {
    struct pacer_tensor *inputs = pcr_arena_calloc(arena, s->n_required + 1, sizeof *inputs);
    bool made = inputs != NULL;
    *elements = 0;
    for (size_t i = 0; i < s->n_required && made; i++)
        made = make_input(&s->inputs[i], arena, rows, i, &inputs[i], elements);
    *out = (struct pacer_run){inputs, s->n_required, NULL, 0};
    return made;
}
