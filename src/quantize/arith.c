// SPDX-License-Identifier: Apache-2.0
// The arithmetic of 8 bits.
//
// The loops over numbers are written for the compiler's vectors, and for SSE2, which every x86-64
// has, so that nothing has to be chosen at run time: they are bound by memory already. What that
// takes:
// - -O3 whatever the build (meson.build): at -O2 gcc 12 leaves nearly all loops alone.
// - Rounding without an instruction for it: below 2^22 adding 1.5 · 2^23 leaves the integer,
// rounded
//   half to even, in the low bits of the sum. So numbers are cut off first. That is the same as
//   rounding first, the limits being integers.
// - Comparisons in the order of minps and maxps, which take the second of two if one is NaN.
// - The least and greatest of a block lane by lane; a reduction would have to reorder.
// Divisions stay divisions: a product with 1/scale rounds differently in one of some thousand.
#include "quantize/arith.h"

#include <float.h>
#include <math.h>

#define BLOCK 32        // numbers of an inner loop
#define CHANNELS 1024   // whose ranges and scales are kept side by side at a time
#define SHIFT 0x1.8p23f // see above

void pcr_quant_limits(struct pcr_quant_form form, int32_t *qmin, int32_t *qmax) {
    if (form.type == PCR_QUANT_UINT8) {
        *qmin = 0;
        *qmax = form.reduce_range ? 127 : 255;
    } else if (form.reduce_range) {
        *qmin = -64;
        *qmax = 64;
    } else {
        *qmin = form.symmetric ? -127 : -128;
        *qmax = 127;
    }
}

struct pcr_quant_scale pcr_quant_scale_of(float rmin, float rmax, struct pcr_quant_form form) {
    const struct pcr_quant_scale none = {1, 0};
    if (!isfinite(rmin) || !isfinite(rmax))
        return none;
    double low = rmin < 0 ? rmin : 0, high = rmax > 0 ? rmax : 0;
    if (form.symmetric) {
        high = high > -low ? high : -low;
        low = -high;
    }
    int32_t qmin, qmax;
    pcr_quant_limits(form, &qmin, &qmax);
    double scale = (high - low) / (qmax - qmin);
    if (scale < (double)FLT_MIN)
        return none;
    double zero = form.symmetric ? (qmin + qmax) / 2.0 : qmin - low / scale;
    return (struct pcr_quant_scale){(float)scale, (int32_t)rint(zero)};
}

// --- numbers to bytes ---------------------------------------------------------------------------
struct steps { // what one number needs
    float scale;
    float low, high; // the type's limits, from the zero point
    uint32_t zero;
};

static struct steps steps_of(struct pcr_quant_scale scale, enum pcr_quant_type type) {
    int32_t qmin, qmax;
    pcr_quant_limits((struct pcr_quant_form){.type = type}, &qmin, &qmax);
    return (struct steps){scale.scale, (float)(qmin - scale.zero_point),
                          (float)(qmax - scale.zero_point), (uint32_t)scale.zero_point};
}

static inline uint8_t to_byte(float x, float scale, float low, float high, uint32_t zero) {
    float v = x / scale;
    v = v == v ? v : 0;
    v = v > low ? v : low;
    v = v < high ? v : high;
    union {
        float sum;
        uint32_t bits;
    } shifted = {v + SHIFT};
    return (uint8_t)(shifted.bits + zero);
}

void pcr_quantize(const float *x, size_t n, struct pcr_quant_scale scale, enum pcr_quant_type type,
                  void *out) {
    const struct steps s = steps_of(scale, type);
    uint8_t *restrict q = out;
    for (size_t i = 0; i < n; i++)
        q[i] = to_byte(x[i], s.scale, s.low, s.high, s.zero);
}

// A byte of either type as a number: `flip` is 0x80 for int8, which it makes unsigned, and then it
// is part of the zero point.
static inline float to_number(uint8_t q, uint8_t flip, int32_t zero, float scale) {
    return (float)((int32_t)(uint8_t)(q ^ flip) - zero) * scale;
}

void pcr_dequantize(const void *q, size_t n, struct pcr_quant_scale scale, enum pcr_quant_type type,
                    float *out) {
    const uint8_t *bytes = q, flip = type == PCR_QUANT_INT8 ? 0x80 : 0;
    const int32_t zero = scale.zero_point + flip;
    float *restrict x = out;
    for (size_t i = 0; i < n; i++)
        x[i] = to_number(bytes[i], flip, zero, scale.scale);
}

// --- ranges -------------------------------------------------------------------------------------
struct lanes { // ranges side by side
    float min[CHANNELS], max[CHANNELS];
    uint32_t strange[CHANNELS]; // not 0: a NaN or an infinity was there
};

static inline void widen(struct lanes *lanes, size_t lane, float x) {
    lanes->min[lane] = x < lanes->min[lane] ? x : lanes->min[lane];
    lanes->max[lane] = x > lanes->max[lane] ? x : lanes->max[lane];
    lanes->strange[lane] |= !(x - x == 0);
}

static void lanes_begin(struct lanes *lanes, size_t n, float first) {
    for (size_t i = 0; i < n; i++) {
        lanes->min[i] = lanes->max[i] = first;
        lanes->strange[i] = 0;
    }
}

// Each number of a row in the lane of its own.
static void widen_row(struct lanes *restrict lanes, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++)
        widen(lanes, i, x[i]);
}

// A whole run in one lane; long ones by the lanes of a block.
static void widen_run(struct lanes *lanes, size_t lane, const float *x, size_t n) {
    size_t i = 0;
    if (n >= BLOCK) {
        struct lanes side;
        lanes_begin(&side, BLOCK, x[0]);
        for (; n - i >= BLOCK; i += BLOCK)
            for (size_t j = 0; j < BLOCK; j++)
                widen(&side, j, x[i + j]);
        for (size_t j = 0; j < BLOCK; j++) {
            widen(lanes, lane, side.min[j]);
            widen(lanes, lane, side.max[j]);
            lanes->strange[lane] |= side.strange[j];
        }
    }
    for (; i < n; i++)
        widen(lanes, lane, x[i]);
}

bool pcr_range_of(const float *x, size_t n, float *min, float *max) {
    struct lanes lanes;
    lanes_begin(&lanes, 1, n ? x[0] : 0);
    widen_run(&lanes, 0, x, n);
    *min = lanes.min[0];
    *max = lanes.max[0];
    return !lanes.strange[0];
}

size_t pcr_first_not_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return i;
    return n;
}

// --- weights ------------------------------------------------------------------------------------
// The part of a tensor that is worked on: some neighbouring channels.
struct channels {
    size_t first, n;
};

static bool next_channels(struct channels *part, size_t n_channels) {
    part->first += part->n;
    size_t left = n_channels - part->first;
    part->n = left < CHANNELS ? left : CHANNELS;
    return left > 0;
}

bool pcr_quant_weight_scales(const struct pcr_quant_weights *w, struct pcr_quant_form form,
                             struct pcr_quant_scale *scales) {
    struct channels part = {0};
    uint32_t strange = 0;
    while (next_channels(&part, w->channels)) {
        struct lanes lanes;
        lanes_begin(&lanes, part.n, 0); // which every range contains
        for (size_t o = 0; o < w->outer; o++) {
            const float *x = w->data + (o * w->channels + part.first) * w->inner;
            if (w->inner == 1)
                widen_row(&lanes, x, part.n);
            else
                for (size_t c = 0; c < part.n; c++)
                    widen_run(&lanes, c, x + c * w->inner, w->inner);
        }
        for (size_t c = 0; c < part.n; c++) {
            scales[part.first + c] = pcr_quant_scale_of(lanes.min[c], lanes.max[c], form);
            strange |= lanes.strange[c];
        }
    }
    return !strange;
}

struct columns { // the steps of channels side by side
    float scale[CHANNELS], low[CHANNELS], high[CHANNELS];
    uint32_t zero[CHANNELS];
};

static void columns_of(struct columns *columns, const struct pcr_quant_scale *scales, size_t n,
                       enum pcr_quant_type type) {
    for (size_t c = 0; c < n; c++) {
        struct steps s = steps_of(scales[c], type);
        columns->scale[c] = s.scale;
        columns->low[c] = s.low;
        columns->high[c] = s.high;
        columns->zero[c] = s.zero;
    }
}

static void quantize_row(const float *x, size_t n, const struct columns *c, uint8_t *restrict q) {
    for (size_t i = 0; i < n; i++)
        q[i] = to_byte(x[i], c->scale[i], c->low[i], c->high[i], c->zero[i]);
}

static void quantize_columns(const struct pcr_quant_weights *w,
                             const struct pcr_quant_scale *scales, enum pcr_quant_type type,
                             uint8_t *q) {
    struct channels part = {0};
    while (next_channels(&part, w->channels)) {
        struct columns columns;
        columns_of(&columns, scales + part.first, part.n, type);
        for (size_t o = 0; o < w->outer; o++) {
            size_t at = o * w->channels + part.first;
            quantize_row(w->data + at, part.n, &columns, q + at);
        }
    }
}

void pcr_quantize_weights(const struct pcr_quant_weights *w, const struct pcr_quant_scale *scales,
                          enum pcr_quant_type type, void *out) {
    if (w->inner == 1) {
        quantize_columns(w, scales, type, out);
        return;
    }
    for (size_t o = 0; o < w->outer; o++)
        for (size_t c = 0; c < w->channels; c++) {
            size_t at = (o * w->channels + c) * w->inner;
            pcr_quantize(w->data + at, w->inner, scales[c], type, (uint8_t *)out + at);
        }
}

// --- bias ---------------------------------------------------------------------------------------
static float greatest_magnitude(const float *x, size_t n) {
    float greatest = 0;
    for (size_t i = 0; i < n; i++)
        greatest = fabsf(x[i]) > greatest ? fabsf(x[i]) : greatest;
    return greatest;
}

// The least scale with which so great a bias fits. Per channel it is float32 up to the division:
// NumPy's rule for a number beside a constant.
static double least_scale(float magnitude, bool per_channel) {
    const double room = 2.0 * INT32_MAX;
    return (per_channel ? (double)(1.0001f * (2 * magnitude))
                        : 1.0001 * (2.0 * (double)magnitude)) /
           room;
}

size_t pcr_quant_bias_make_room(const struct pcr_quant_bias *bias, float *weight_scales) {
    size_t n_raised = 0, n = bias->per_channel ? bias->n : 1;
    for (size_t i = 0; i < n; i++) {
        float magnitude =
            bias->per_channel ? fabsf(bias->data[i]) : greatest_magnitude(bias->data, bias->n);
        double least = least_scale(magnitude, bias->per_channel);
        double weight_scale = (double)weight_scales[i];
        double scale = (double)bias->input_scale * weight_scale;
        if (!(scale < least && scale > 0))
            continue;
        weight_scales[i] = (float)(weight_scale * (least / scale));
        n_raised++;
    }
    return n_raised;
}

size_t pcr_quantize_bias(const struct pcr_quant_bias *bias, const float *weight_scales,
                         float *scales, int32_t *out) {
    size_t n_cut = 0;
    for (size_t i = 0; i < (bias->per_channel ? bias->n : 1); i++)
        scales[i] = bias->input_scale * weight_scales[i];
    for (size_t i = 0; i < bias->n; i++) {
        double q = rint((double)bias->data[i] / (double)scales[bias->per_channel ? i : 0]);
        bool fits = q >= INT32_MIN && q <= INT32_MAX;
        out[i] = fits ? (int32_t)q : q > 0 ? INT32_MAX : q < 0 ? INT32_MIN : 0;
        n_cut += !fits && !isnan(q);
    }
    return n_cut;
}
