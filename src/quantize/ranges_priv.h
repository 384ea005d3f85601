// SPDX-License-Identifier: Apache-2.0
// What the files of the collectors share: ranges.c (what was seen, the methods), ranges_histogram.c
// (bins) and ranges_entropy.c (the best cut).
#ifndef PCR_QUANTIZE_RANGES_PRIV_H
#define PCR_QUANTIZE_RANGES_PRIV_H

#include "quantize/ranges.h"

struct pcr_histogram {
    uint64_t *counts; // n_bins of them
    float *edges;     // n_bins + 1, ascending
    size_t n_bins, bins_max;
    bool of_magnitudes;
    bool began;      // has edges
    float threshold; // of values: the bins go from −threshold to threshold; 0: from −0.5 to 0.5
};

int pcr_histogram_init(struct pcr_histogram *h, size_t n_bins, size_t bins_max, bool of_magnitudes);
// Stretches the bins over what has been seen. PACER_ENOMEM: it holds what it held.
int pcr_histogram_cover(struct pcr_histogram *h, const struct pcr_ranges_seen *seen);
// Counts what is finite.
void pcr_histogram_add(struct pcr_histogram *h, const float *x, size_t n);
void pcr_histogram_fini(struct pcr_histogram *h);

// The edges of the best cut. PACER_ENOMEM.
int pcr_histogram_best_cut(const struct pcr_histogram *h, size_t n_quantized, float *min,
                           float *max);

#endif
