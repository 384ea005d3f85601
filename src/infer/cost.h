// SPDX-License-Identifier: Apache-2.0
// What a run of n rows costs: t(n) = a + b·n, in nanoseconds. Sans-I/O: it is told what was
// measured and asked what to expect.
#ifndef PCR_INFER_COST_H
#define PCR_INFER_COST_H

#include "base/base.h"

#define PCR_COST_POINTS_MAX 16

struct pcr_cost_point {
    uint64_t rows, ns;
};

struct pcr_cost_sums { // of weighted least squares
    double w, x, y, xx, xy;
};

// In the caller's memory; not for two threads at once. All zeros means that nothing is known.
struct pcr_cost {
    struct pcr_cost_point points[PCR_COST_POINTS_MAX]; // of the sweep, by rows, ascending
    size_t n_points;
    struct pcr_cost_sums sweep, live;
    double a_ns, b_ns; // as fitted; both >= 0
};

void pcr_cost_init(struct pcr_cost *cost);
// A measurement of the sweep before a model serves; each for more rows than the one before.
void pcr_cost_sweep(struct pcr_cost *cost, uint64_t rows, uint64_t ns);
// A run that happened: what is expected follows it, older runs fade.
void pcr_cost_learn(struct pcr_cost *cost, uint64_t rows, uint64_t ns);
// What was learnt and swept counts for less beside the runs to come; what is expected until then
// stays the same.
void pcr_cost_forget(struct pcr_cost *cost);
bool pcr_cost_known(const struct pcr_cost *cost);
// The expected time of a run; UINT64_MAX where nothing is known.
uint64_t pcr_cost_ns(const struct pcr_cost *cost, uint64_t rows);
// The same for so many rows in runs of `cap` rows, one after the other.
uint64_t pcr_cost_backlog_ns(const struct pcr_cost *cost, uint64_t rows, uint64_t cap);
// The batch cap B: the smallest power of two beyond which a longer batch gains less than 5 % in
// rows per second, at most `rows_max`. Where nothing is known it is 1.
uint64_t pcr_cost_cap(const struct pcr_cost *cost, uint64_t rows_max);

#endif
