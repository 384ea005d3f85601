// SPDX-License-Identifier: Apache-2.0
#include "quantize/arith.h"

#include <float.h>
#include <math.h>

void pcr_quant_limits(struct pcr_quant_form form, int32_t *min, int32_t *max) {
    bool is_signed = form.type == PCR_QUANT_INT8;
    if (form.reduce_range) {
        *min = is_signed ? -64 : 0;
        *max = is_signed ? 64 : 127;
    } else {
        *min = !is_signed ? 0 : form.symmetric ? -127 : INT8_MIN;
        *max = is_signed ? INT8_MAX : form.symmetric ? 254 : UINT8_MAX;
    }
}

struct pcr_quant_scale pcr_quant_scale_of(float min, float max, struct pcr_quant_form form) {
    int32_t lowest, highest;
    pcr_quant_limits(form, &lowest, &highest);
    min = min > 0 ? 0 : min;
    max = max < 0 ? 0 : max;
    if (form.symmetric) {
        max = fmaxf(-min, max);
        min = -max;
    }
    double scale = ((double)max - (double)min) / (highest - lowest);
    if (scale < (double)FLT_MIN)
        return (struct pcr_quant_scale){1, 0};
    double zero_point = form.symmetric ? nearbyint((lowest + highest) / 2.0)
                                       : nearbyint(lowest - (double)min / scale);
    return (struct pcr_quant_scale){(float)scale, (int32_t)zero_point};
}

// Adding and taking away 1.5 · 2²³ rounds to even, in a way that compilers turn into vectors; what
// is larger than 2²² is beyond the limits of 8 bits anyway, so it is cut first.
static inline int32_t round_within(float x, float lowest, float highest) {
    const float magic = 12582912.0F;
    x = x > lowest ? x : lowest; // NaN, too
    x = x < highest ? x : highest;
    return (int32_t)((x + magic) - magic);
}

void pcr_quantize(const float *restrict x, size_t n, struct pcr_quant_scale scale,
                  struct pcr_quant_form form, void *restrict out) {
    int32_t zero_point = scale.zero_point;
    int32_t min = form.type == PCR_QUANT_INT8 ? INT8_MIN : 0, max = min + UINT8_MAX;
    float lowest = (float)(min - zero_point), highest = (float)(max - zero_point);
    uint8_t *restrict to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(round_within(x[i] / scale.scale, lowest, highest) + zero_point);
}

bool pcr_range_of(const float *x, size_t n, float *min, float *max) {
    float lowest = x[0], highest = x[0], sum = 0;
    for (size_t i = 0; i < n; i++) {
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
        sum += x[i] * 0; // NaN if any is NaN or infinite
    }
    *min = lowest;
    *max = highest;
    return sum == 0;
}

void pcr_quantize_bias(const float *bias, size_t n, const float *scales, size_t n_scales,
                       int32_t *out) {
    for (size_t i = 0; i < n; i++) {
        double value = nearbyint((double)bias[i] / (double)scales[n_scales > 1 ? i : 0]);
        value = value > INT32_MIN ? value : INT32_MIN; // NaN, too
        out[i] = value < INT32_MAX ? (int32_t)value : INT32_MAX;
    }
}
