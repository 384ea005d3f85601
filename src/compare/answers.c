// SPDX-License-Identifier: Apache-2.0
#include "compare/answers.h"

#include <math.h>

void pcr_error_stats_add(struct pcr_error_stats *s, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = (double)a[i], y = (double)b[i];
        double difference = x == y ? 0 : fabs(x - y); // equal infinities, too
        s->signal += x * x;
        s->other += y * y;
        s->product += x * y;
        s->noise += difference * difference;
        if (difference > s->max_abs || isnan(difference))
            s->max_abs = difference; // a NaN stays
    }
    s->n += n;
}

double pcr_error_snr_db(const struct pcr_error_stats *s) {
    return s->noise == 0 ? (double)INFINITY : 10 * log10(s->signal / s->noise);
}

double pcr_error_cosine(const struct pcr_error_stats *s) {
    if (s->signal == 0 || s->other == 0)
        return s->signal == s->other;
    return s->product / (sqrt(s->signal) * sqrt(s->other));
}

double pcr_error_rmse(const struct pcr_error_stats *s) {
    return s->n ? sqrt(s->noise / (double)s->n) : 0;
}

void pcr_wilson(size_t k, size_t n, double *low, double *high) {
    const double z = 1.959963984540054,
                 z2 = z * z; // the 97.5th percentile of a normal distribution
    double N = (double)n, p = n ? (double)k / N : 0;
    if (n == 0) {
        *low = 0;
        *high = 1;
        return;
    }
    double middle = (p + z2 / (2 * N)) / (1 + z2 / N);
    double half = z * sqrt(p * (1 - p) / N + z2 / (4 * N * N)) / (1 + z2 / N);
    *low = k == 0 ? 0 : middle - half; // exactly, where rounding would leave a trace
    *high = k == n ? 1 : middle + half;
}
