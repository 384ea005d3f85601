// SPDX-License-Identifier: Apache-2.0
// How far numbers are from those they should be.
#ifndef PCR_COMPARE_ANSWERS_H
#define PCR_COMPARE_ANSWERS_H

#include "base/base.h"

// Sums over pairs of numbers; zeroed is a good start.
struct pcr_error_stats {
    size_t n;
    double signal, other, product, noise; // Σa², Σb², Σab, Σ(a − b)²
    double max_abs;                       // NAN once a difference was
};
void pcr_error_stats_add(struct pcr_error_stats *stats, const float *a, const float *b, size_t n);
// 10 · log₁₀(Σa² / Σ(a − b)²); infinite where there is no difference.
double pcr_error_snr_db(const struct pcr_error_stats *stats);
// Of the angle between a and b; 1 where both are zero, 0 where one is.
double pcr_error_cosine(const struct pcr_error_stats *stats);
double pcr_error_rmse(const struct pcr_error_stats *stats);

// Wilson's 95 % interval of a share of k in n (E. B. Wilson, 1927): right for small numbers, too.
void pcr_wilson(size_t k, size_t n, double *low, double *high);

#endif
