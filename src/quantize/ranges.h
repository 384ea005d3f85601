// SPDX-License-Identifier: Apache-2.0
// The range of a tensor that is worth the 256 numbers of INT8, from the values it had on rows of
// data. Knows no model and no clock.
//
// The methods are those of onnxruntime.quantization 1.32 (calibrate.py), with two differences.
// Values come batch by batch, so a histogram that has to grow does so in other steps. And its
// entropy method has by default as many bins as quantized bins, 128, which leaves one range to
// choose from: here there are 2048.
#ifndef PCR_QUANTIZE_RANGES_H
#define PCR_QUANTIZE_RANGES_H

#include "base/base.h"

enum pcr_ranges_method {
    PCR_RANGES_MINMAX,
    PCR_RANGES_PERCENTILE, // half of what is left out on each side
    PCR_RANGES_ENTROPY,    // the least Kullback-Leibler divergence to 128 steps
};

struct pcr_ranges;
// `percentile` in percent, for that method. NULL: no memory.
struct pcr_ranges *pcr_ranges_create(enum pcr_ranges_method method, double percentile);
// PACER_EINVAL if a value is NaN or infinite: nothing of these was taken. PACER_ENOMEM.
int pcr_ranges_add(struct pcr_ranges *ranges, const float *x, size_t n);
// False if there were no values, or no memory.
bool pcr_ranges_finish(struct pcr_ranges *ranges, float *min, float *max);
void pcr_ranges_destroy(struct pcr_ranges *ranges); // NULL is fine

#endif
