// SPDX-License-Identifier: Apache-2.0
// Whether requests may share a run: does a row get the same answer alone and in company?
//
// A dynamic first dimension does not say so. A model may reshape across it, normalise over it, or,
// quantized dynamically, take the scale of its activations from all rows; batching strangers would
// then change everybody's answer without a word. So it is tried: ROWS different rows, one by one
// and together. Floats may differ as far as another order of summing explains, nothing else may
// differ at all.
//
// A trial is no proof. It finds what depends on other rows by construction, which is what models
// do; a model that does so for rare values only would pass.
#include "infer/warmup_priv.h"

#include <math.h>

#define ROWS 4
#define FIRST 4 // made-up rows of one integer are 1, 1, 1, 0 before: sorted, which hides too much
#define RELATIVE_MAX 1e-4
#define HALF_RELATIVE_MAX 2e-2 // of FP16 and BF16, which have 11 and 8 bits

static bool is_near(double a, double b, double scale, double relative_max) {
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return fabs(a - b) <= relative_max * scale;
}

static double half_value(enum pacer_dtype dtype, uint16_t bits) {
    if (dtype == PACER_BF16) {
        uint32_t wide = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &wide, sizeof value);
        return (double)value;
    }
    int exponent = bits >> 10 & 31;
    double mantissa = bits & 1023;
    double size = exponent == 31  ? (mantissa > 0 ? (double)NAN : (double)INFINITY)
                  : exponent == 0 ? ldexp(mantissa, -24)
                                  : ldexp(1024 + mantissa, exponent - 25);
    return bits >> 15 ? -size : size;
}

static double value_at(enum pacer_dtype dtype, const void *data, size_t i) {
    if (dtype == PACER_FP32)
        return (double)((const float *)data)[i];
    if (dtype == PACER_FP64)
        return ((const double *)data)[i];
    return half_value(dtype, ((const uint16_t *)data)[i]);
}

static bool floats_agree(enum pacer_dtype dtype, const void *a, const void *b, size_t n) {
    bool half = dtype == PACER_FP16 || dtype == PACER_BF16;
    double scale = 0; // of the row: cancellation leaves small elements with the large ones' error
    for (size_t i = 0; i < n; i++) {
        double size = fabs(value_at(dtype, a, i));
        if (isfinite(size) && size > scale)
            scale = size;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_near(value_at(dtype, a, i), value_at(dtype, b, i), scale,
                     half ? HALF_RELATIVE_MAX : RELATIVE_MAX))
            return false;
    return true;
}

static bool strings_agree(const struct pacer_bytes *a, const struct pacer_bytes *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i].size != b[i].size || (a[i].size && memcmp(a[i].data, b[i].data, a[i].size) != 0))
            return false;
    return true;
}

// One output of one row: `alone`, and as row `row` of all rows.
static enum pcr_rows compare(const struct pacer_tensor *alone, const struct pacer_tensor *all,
                             size_t row) {
    size_t n;
    if (alone->rank == 0 || all->rank != alone->rank || alone->shape[0] != 1 ||
        all->shape[0] != ROWS ||
        memcmp(alone->shape + 1, all->shape + 1, (alone->rank - 1) * sizeof(int64_t)) != 0 ||
        pacer_shape_count(alone->shape, alone->rank, &n) < 0)
        return PCR_ROWS_NONE;
    size_t size =
        alone->dtype == PACER_BYTES ? sizeof(struct pacer_bytes) : pacer_dtype_size(alone->dtype);
    const char *mine = (const char *)all->data + row * n * size;
    bool agree;
    switch (alone->dtype) {
    case PACER_FP16:
    case PACER_BF16:
    case PACER_FP32:
    case PACER_FP64:
        agree = floats_agree(alone->dtype, alone->data, mine, n);
        break;
    case PACER_BYTES:
        agree = strings_agree(alone->data, (const void *)mine, n);
        break;
    default:
        agree = n == 0 || memcmp(alone->data, mine, n * size) == 0;
    }
    return agree ? PCR_ROWS_APART : PCR_ROWS_TOGETHER;
}

struct answer {
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
};

static bool ask(struct pacer_session *s, enum pcr_made_up kind, size_t first, size_t n,
                struct answer *out) {
    struct pcr_made_up_rows rows = {kind, first, n};
    struct pacer_run run;
    size_t elements;
    pcr_arena_init(&out->arena, 2 * PCR_MADE_UP_BYTES_MAX);
    return pcr_made_up_inputs(s, &rows, &out->arena, &run, &elements) &&
           pcr_session_run(s, &run, &out->arena, &out->outputs, &out->n, NULL) == 0;
}

static enum pcr_rows try_row(struct pacer_session *s, enum pcr_made_up kind, size_t row,
                             const struct answer *all) {
    struct answer alone;
    enum pcr_rows found = PCR_ROWS_UNKNOWN;
    if (ask(s, kind, FIRST + row, 1, &alone)) {
        found = PCR_ROWS_APART;
        for (size_t i = 0; i < all->n && found == PCR_ROWS_APART; i++)
            found = compare(&alone.outputs[i], &all->outputs[i], row);
    }
    pcr_arena_fini(&alone.arena);
    return found;
}

enum pcr_rows pcr_session_try_rows(struct pacer_session *s, enum pcr_made_up kind) {
    if (!pcr_session_has_rows(s))
        return PCR_ROWS_NONE;
    if (kind != PCR_MADE_UP_MIXED) // equal rows show nothing
        return PCR_ROWS_UNKNOWN;
    struct answer all;
    enum pcr_rows found = PCR_ROWS_NONE; // a batch that fails where its rows do not
    if (ask(s, kind, FIRST, ROWS, &all)) {
        found = PCR_ROWS_APART;
        for (size_t row = 0; row < ROWS && found == PCR_ROWS_APART; row++)
            found = try_row(s, kind, row, &all);
    }
    pcr_arena_fini(&all.arena);
    return found;
}
