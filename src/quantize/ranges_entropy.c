// SPDX-License-Identifier: Apache-2.0
// The cut of a histogram that loses least.
//
// A cut keeps the bins within i of the middle. P is what it makes of the histogram: the kept bins,
// the outer ones counted with the first and the last. Q is what 8 bits would make of it: the kept
// bins in n_quantized groups, each bin of a group having the mean of those that are not empty; what
// the division into groups leaves over at the upper end is empty. Both are smoothed (every empty
// bin gets EPSILON, the others give it), and the cut with the least KL(P‖Q) is the best. The method
// is that of S. Migacz, 8-bit inference with TensorRT (GTC 2017), as calibrate.py of ONNX Runtime
// has it, whole numbers where it has them.
//
// Taken literally each cut costs a walk over all its bins, O(bins²) in all. With p and q the
// smoothed counts, P and Q their sums,
//     KL = (Σ p ln p − Σ p ln q) / P + ln Q − ln P,
// and Q is constant within a group, so that Σ p ln q takes sums of the histogram from one bin to
// another: differences of running totals, one logarithm per group. Σ p ln p over bins that grow by
// one on either side is kept from cut to cut. What is taken off a bin, e, differs per cut: small
// counts are remembered by how many bins have them; of the others a Taylor series in e is kept,
// (c−e) ln (c−e) = c ln c − e (ln c + 1) + e²/2c + e³/6c² + …, which three terms after the first
// carry beyond 1e-6 from c = 16 on, e being less than 1.
#include "quantize/ranges_priv.h"

#include <math.h>
#include <stdlib.h>

#define EPSILON 0.0001
#define SMALL 16

struct inner { // Σ p ln p of the bins between the first and the last of a cut
    size_t from, to;
    uint64_t small[SMALL]; // bins with so small a count
    double n, c_ln_c, ln_c, per_c, per_c2;
};

struct search {
    const struct pcr_histogram *h;
    size_t n_groups;
    // Running totals, n_bins + 1 of them: what lies before each bin.
    uint64_t *counts;
    uint32_t *filled;       // bins that are not empty
    double *group_p, *mean; // of a cut: per group its share of P, and what Q makes of its bins
    struct inner inner;     // of the cut last looked at
};

struct cut {
    size_t from, to;       // its bins
    uint64_t below, above; // counts outside of it
    // Whether the first and the last would be empty without these.
    bool fills_first, fills_last;
    double given; // by each bin of P that is not empty
};

// --- Σ p ln p -----------------------------------------------------------------------------------
static void take_in(struct inner *inner, uint64_t count) {
    if (count < SMALL) {
        inner->small[count]++;
        return;
    }
    double c = (double)count, ln = log(c);
    inner->n++;
    inner->c_ln_c += c * ln;
    inner->ln_c += ln;
    inner->per_c += 1 / c;
    inner->per_c2 += 1 / (c * c);
}

static void widen(struct inner *inner, const uint64_t *counts, size_t from, size_t to) {
    while (inner->from > from)
        take_in(inner, counts[--inner->from]);
    while (inner->to < to)
        take_in(inner, counts[inner->to++]);
}

static double x_ln_x(double x) {
    return x > 0 ? x * log(x) : 0;
}

static double sum_p_ln_p(struct search *s, const struct cut *cut) {
    struct inner *inner = &s->inner;
    widen(inner, s->h->counts, cut->from + 1, cut->to - 1);
    double e = cut->given;
    double first = (double)(s->h->counts[cut->from] + cut->below);
    double last = (double)(s->h->counts[cut->to - 1] + cut->above);
    double sum = inner->c_ln_c - e * (inner->ln_c + inner->n) + e * e / 2 * inner->per_c +
                 e * e * e / 6 * inner->per_c2;
    for (size_t c = 1; c < SMALL; c++)
        sum += (double)inner->small[c] * x_ln_x((double)c - e);
    size_t n_empty = inner->small[0] + (first == 0) + (last == 0);
    return sum + x_ln_x(first - e) + x_ln_x(last - e) + (double)n_empty * x_ln_x(EPSILON);
}

// --- P, Q, and how far apart they are -----------------------------------------------------------
// What each bin that is not empty gives so that the empty ones get EPSILON.
static double given(size_t n_filled, size_t n_bins) {
    return EPSILON * (double)(n_bins - n_filled) / (double)n_filled;
}

static size_t filled_bins(const struct search *s, const struct cut *cut, size_t from, size_t to) {
    return s->filled[to] - s->filled[from] + (from == cut->from && cut->fills_first) +
           (to == cut->to && cut->fills_last);
}

// Σ p of some bins of the cut.
static double sum_p(const struct search *s, const struct cut *cut, size_t from, size_t to) {
    if (from == to)
        return 0;
    size_t n_filled = filled_bins(s, cut, from, to);
    uint64_t count = s->counts[to] - s->counts[from] + (from == cut->from ? cut->below : 0) +
                     (to == cut->to ? cut->above : 0);
    return (double)count - cut->given * (double)n_filled + EPSILON * (double)(to - from - n_filled);
}

static struct cut cut_around(const struct search *s, size_t middle, size_t i) {
    const struct pcr_histogram *h = s->h;
    size_t n = h->n_bins, to = middle + i + 1 < n ? middle + i + 1 : n, from = middle - i;
    struct cut cut = {.from = from, .to = to, .below = s->counts[from]};
    cut.above = s->counts[n] - s->counts[to];
    cut.fills_first = h->counts[from] == 0 && cut.below > 0;
    cut.fills_last = h->counts[to - 1] == 0 && cut.above > 0;
    cut.given = given(filled_bins(s, &cut, from, to), to - from);
    return cut;
}

// Fills in group_p and mean. Returns how many groups Q leaves filled; *sum: of their means.
static size_t group(struct search *s, const struct cut *cut, size_t size, double *sum) {
    size_t n_filled = 0;
    *sum = 0;
    for (size_t g = 0; g < s->n_groups; g++) {
        size_t from = cut->from + g * size, to = from + size;
        size_t n = filled_bins(s, cut, from, to);
        size_t up_to = g + 1 == s->n_groups ? cut->to : to; // what is left over counts here
        uint64_t mean = n ? (s->counts[up_to] - s->counts[from]) / n : 0;
        s->group_p[g] = sum_p(s, cut, from, to);
        s->mean[g] = (double)mean;
        *sum += (double)mean;
        n_filled += mean > 0;
    }
    return n_filled;
}

static double divergence(struct search *s, const struct cut *cut) {
    size_t n_bins = cut->to - cut->from, size = n_bins / s->n_groups;
    size_t rest = cut->from + size * s->n_groups;
    double sum_means, sum_p_ln_q = sum_p(s, cut, rest, cut->to) * log(EPSILON);
    double p_ln_p = sum_p_ln_p(s, cut);
    size_t n_filled = group(s, cut, size, &sum_means);
    double given_q = given(size * n_filled, n_bins);
    if (n_filled == 0 || given_q >= 1 || cut->given >= 1) // more than the filled ones have
        return INFINITY;
    for (size_t g = 0; g < s->n_groups; g++)
        sum_p_ln_q += s->group_p[g] * log(s->mean[g] > 0 ? s->mean[g] - given_q : EPSILON);
    double p = (double)s->counts[s->h->n_bins], q = sum_means * (double)size;
    return (p_ln_p - sum_p_ln_q) / p + log(q) - log(p);
}

// --- the search ---------------------------------------------------------------------------------
static void search_fini(struct search *s) {
    free(s->counts);
    free(s->filled);
    free(s->group_p);
    free(s->mean);
}

static int search_init(struct search *s, const struct pcr_histogram *h, size_t n_groups) {
    *s = (struct search){.h = h, .n_groups = n_groups};
    s->inner.from = s->inner.to = h->n_bins / 2;
    s->counts = calloc(h->n_bins + 1, sizeof *s->counts);
    s->filled = calloc(h->n_bins + 1, sizeof *s->filled);
    s->group_p = calloc(n_groups, sizeof *s->group_p);
    s->mean = calloc(n_groups, sizeof *s->mean);
    if (!s->counts || !s->filled || !s->group_p || !s->mean)
        return PACER_ENOMEM;
    for (size_t i = 0; i < h->n_bins; i++) {
        s->counts[i + 1] = s->counts[i] + h->counts[i];
        s->filled[i + 1] = s->filled[i] + (h->counts[i] > 0);
    }
    return 0;
}

int pcr_histogram_best_cut(const struct pcr_histogram *h, size_t n_quantized, float *min,
                           float *max) {
    struct search s;
    int rc = search_init(&s, h, n_quantized);
    size_t middle = h->n_bins / 2;
    double least = INFINITY;
    for (size_t i = n_quantized / 2; rc == 0 && i <= middle; i++) {
        struct cut cut = cut_around(&s, middle, i);
        double d = divergence(&s, &cut);
        if (d < least || i == n_quantized / 2) {
            least = d;
            *min = h->edges[cut.from];
            *max = h->edges[cut.to];
        }
    }
    search_fini(&s);
    return rc;
}
