// SPDX-License-Identifier: Apache-2.0
// Ranges from histograms.
//
// A histogram lies around zero, from −threshold to threshold. When larger values come it gets bins
// of the same width on both sides, so that what was counted stays where it is; when that would be
// more than BINS_MAX its bins are joined in pairs until it is not, since a tensor whose values grow
// from batch to batch must not take all memory.
#include "quantize/ranges.h"

#include "quantize/arith.h"

#include <math.h>
#include <stdlib.h>

#define BINS ((size_t)2048)
#define BINS_MAX ((size_t)65536)
#define STEPS 128      // into which the entropy method merges bins
#define SMOOTHING 1e-4 // for bins that are empty in one distribution and not in the other

struct pcr_ranges {
    enum pcr_ranges_method method;
    double percentile;
    bool any;
    float min, max;
    double threshold; // of the histogram
    uint64_t *bins;
    size_t n_bins; // even
};

struct pcr_ranges *pcr_ranges_create(enum pcr_ranges_method method, double percentile) {
    struct pcr_ranges *ranges = calloc(1, sizeof *ranges);
    if (!ranges)
        return NULL;
    ranges->method = method;
    ranges->percentile = percentile;
    return ranges;
}

void pcr_ranges_destroy(struct pcr_ranges *ranges) {
    if (ranges)
        free(ranges->bins);
    free(ranges);
}

// --- the histogram ------------------------------------------------------------------------------
static void join_pairs(struct pcr_ranges *r) {
    // Around the middle, so that zero stays between two bins.
    size_t half = r->n_bins / 2, quarter = (half + 1) / 2;
    uint64_t *joined = r->bins; // each is written behind where it is read
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < quarter; i++) {
            size_t a = 2 * i, b = 2 * i + 1; // from the middle outwards
            uint64_t sum = 0;
            sum += r->bins[side ? half + a : half - 1 - a];
            sum += b < half ? r->bins[side ? half + b : half - 1 - b] : 0;
            joined[side ? half + i : half - 1 - i] = sum;
        }
    memmove(r->bins, r->bins + half - quarter, 2 * quarter * sizeof *r->bins);
    r->threshold *= 2.0 * (double)quarter / (double)half;
    r->n_bins = 2 * quarter;
}

static bool widen(struct pcr_ranges *r, double threshold) {
    for (;;) {
        double width = 2 * r->threshold / (double)r->n_bins;
        double more = floor((threshold - r->threshold) / width) + 1;
        if (2 * more + (double)r->n_bins > (double)BINS_MAX && r->n_bins > BINS) {
            join_pairs(r);
            continue;
        }
        if (2 * more + (double)r->n_bins >
            BINS_MAX) { // far too small: it is one bin of the new one
            uint64_t sum = 0;
            for (size_t i = 0; i < r->n_bins; i++)
                sum += r->bins[i];
            memset(r->bins, 0, r->n_bins * sizeof *r->bins);
            r->bins[r->n_bins / 2] = sum;
            r->threshold = threshold;
            return true;
        }
        size_t n = (size_t)more;
        uint64_t *bins = calloc(r->n_bins + 2 * n, sizeof *bins);
        if (!bins)
            return false;
        memcpy(bins + n, r->bins, r->n_bins * sizeof *bins);
        free(r->bins);
        r->bins = bins;
        r->threshold += more * width;
        r->n_bins += 2 * n;
        return true;
    }
}

static bool make_room(struct pcr_ranges *r, double threshold) {
    if (!r->bins) {
        r->bins = calloc(BINS, sizeof *r->bins);
        r->n_bins = BINS;
    }
    if (!r->bins)
        return false;
    if (r->threshold == 0) { // all values so far were zero: they stay in the middle
        r->threshold = threshold;
        return true;
    }
    return threshold <= r->threshold || widen(r, threshold);
}

static void count(struct pcr_ranges *r, const float *x, size_t n) {
    double scale = r->threshold > 0 ? (double)r->n_bins / (2 * r->threshold) : 0;
    double last = (double)(r->n_bins - 1);
    size_t middle = r->n_bins / 2;
    for (size_t i = 0; i < n; i++) {
        double at = ((double)x[i] + r->threshold) * scale;
        if (r->threshold == 0)
            at = (double)middle;
        r->bins[(size_t)(at < 0 ? 0 : at > last ? last : at)]++;
    }
}

int pcr_ranges_add(struct pcr_ranges *r, const float *x, size_t n) {
    float min, max;
    if (n == 0)
        return 0;
    if (!pcr_range_of(x, n, &min, &max))
        return PACER_EINVAL;
    if (r->method != PCR_RANGES_MINMAX) {
        if (!make_room(r, fmax(fabs((double)min), fabs((double)max))))
            return PACER_ENOMEM;
        count(r, x, n);
    }
    r->min = r->any && r->min < min ? r->min : min;
    r->max = r->any && r->max > max ? r->max : max;
    r->any = true;
    return 0;
}

static double edge_of(const struct pcr_ranges *r, size_t bin) {
    return -r->threshold + 2 * r->threshold * (double)bin / (double)r->n_bins;
}

// --- percentile ---------------------------------------------------------------------------------
// The first bin at which so large a share of all values has been counted.
static size_t bin_of_share(const struct pcr_ranges *r, double share, double total) {
    double sum = 0;
    for (size_t i = 0; i < r->n_bins; i++) {
        sum += (double)r->bins[i];
        if (sum / total >= share)
            return i;
    }
    return r->n_bins;
}

static void find_percentile(const struct pcr_ranges *r, double *min, double *max) {
    double total = 0, cut = (100 - r->percentile) / 200;
    for (size_t i = 0; i < r->n_bins; i++)
        total += (double)r->bins[i];
    *max = edge_of(r, bin_of_share(r, 1 - cut, total));
    *min = edge_of(r, bin_of_share(r, cut, total));
}

// --- entropy ------------------------------------------------------------------------------------
// Σ p · ln(p / q) of two counted distributions, smoothed: empty bins get a little of the others.
static double divergence(const double *p, const double *q, size_t n) {
    double sums[2] = {0, 0}, n_zero[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        n_zero[0] += p[i] == 0;
        n_zero[1] += q[i] == 0;
        sums[0] += p[i];
        sums[1] += q[i];
    }
    if (sums[0] == 0 || sums[1] == 0)
        return (double)INFINITY;
    double taken[2], sum = 0;
    for (size_t k = 0; k < 2; k++)
        taken[k] = SMOOTHING * n_zero[k] / ((double)n - n_zero[k]);
    for (size_t i = 0; i < n; i++) {
        double a = (p[i] == 0 ? SMOOTHING : p[i] - taken[0]) / sums[0];
        double b = (q[i] == 0 ? SMOOTHING : q[i] - taken[1]) / sums[1];
        sum += a * log(a / b);
    }
    return sum;
}

// The bins from `first` on, merged into STEPS and spread evenly again over those that are not
// empty.
static void merge(const uint64_t *bins, const double *p, size_t n, double *q) {
    size_t width = n / STEPS;
    for (size_t step = 0; step < STEPS; step++) {
        size_t begin = step * width, end = begin + width;
        double sum = 0, filled = 0;
        for (size_t i = begin; i < end; i++) {
            sum += (double)bins[i];
            filled += p[i] != 0;
        }
        for (size_t i = end; step == STEPS - 1 && i < n; i++)
            sum += (double)bins[i];
        for (size_t i = begin; i < end; i++) // whole counts, as there
            q[i] = filled > 0 ? floor(sum / filled) : 0;
    }
    for (size_t i = STEPS * width; i < n; i++)
        q[i] = 0;
}

static bool find_entropy(const struct pcr_ranges *r, double *min, double *max) {
    size_t middle = r->n_bins / 2;
    double *p = malloc(2 * r->n_bins * sizeof *p), *q = p ? p + r->n_bins : NULL;
    double best = (double)INFINITY, below = 0, above = 0;
    *min = edge_of(r, middle - STEPS / 2);
    *max = edge_of(r, middle + STEPS / 2);
    for (size_t i = 0; p && i < middle - STEPS / 2; i++)
        below += (double)r->bins[i];
    for (size_t i = middle + STEPS / 2 + 1; p && i < r->n_bins; i++)
        above += (double)r->bins[i];
    for (size_t half = STEPS / 2; p && half <= middle; half++) {
        size_t begin = middle - half,
               end = middle + half + 1 < r->n_bins ? middle + half + 1 : r->n_bins;
        size_t n = end - begin;
        for (size_t i = 0; i < n; i++)
            p[i] = (double)r->bins[begin + i];
        p[0] += below;
        p[n - 1] += above;
        merge(r->bins + begin, p, n, q);
        double d = divergence(p, q, n);
        if (d < best) {
            best = d;
            *min = edge_of(r, begin);
            *max = edge_of(r, end);
        }
        if (begin > 0)
            below -= (double)r->bins[begin - 1];
        if (end < r->n_bins)
            above -= (double)r->bins[end];
    }
    free(p);
    return p != NULL;
}

// --- the end ------------------------------------------------------------------------------------
bool pcr_ranges_finish(struct pcr_ranges *r, float *min, float *max) {
    double low, high;
    *min = r->min;
    *max = r->max;
    if (!r->any || r->method == PCR_RANGES_MINMAX || r->threshold == 0)
        return r->any;
    while (r->n_bins > 4 * BINS) // its time grows with the square
        join_pairs(r);
    if (r->method == PCR_RANGES_PERCENTILE)
        find_percentile(r, &low, &high);
    else if (!find_entropy(r, &low, &high))
        return false;
    // No wider than what was seen.
    *min = low < (double)r->min ? r->min : (float)low;
    *max = high > (double)r->max ? r->max : (float)high;
    return true;
}
