// SPDX-License-Identifier: Apache-2.0
// Collectors of ranges: what was seen, and the range that follows from it.
#include "quantize/ranges_priv.h"

#include <math.h>
#include <stdlib.h>

#define BINS_MAX 65536
#define LANES 32 // that are compared side by side

struct pcr_ranges {
    struct pcr_ranges_options options; // with the defaults filled in
    struct pcr_ranges_seen seen;
    struct pcr_histogram histogram; // if the method has one
};

// --- what was seen ------------------------------------------------------------------------------
static void see(struct pcr_ranges_seen *seen, float x) {
    if (!isfinite(x)) {
        seen->n_nan += x != x;
        seen->n_infinite += x == x;
        return;
    }
    float magnitude = fabsf(x);
    bool first = seen->n++ == 0;
    seen->min = first || x < seen->min ? x : seen->min;
    seen->max = first || x > seen->max ? x : seen->max;
    seen->least = first || magnitude < seen->least ? magnitude : seen->least;
}

static void merge(struct pcr_ranges_seen *into, const struct pcr_ranges_seen *from) {
    if (from->n > 0) {
        bool first = into->n == 0;
        into->min = first || from->min < into->min ? from->min : into->min;
        into->max = first || from->max > into->max ? from->max : into->max;
        into->least = first || from->least < into->least ? from->least : into->least;
    }
    into->n += from->n;
    into->n_nan += from->n_nan;
    into->n_infinite += from->n_infinite;
}

struct lanes {
    float min[LANES], max[LANES], least[LANES];
    uint32_t strange[LANES]; // not 0: something there is not finite
};

// A block in the compiler's vectors.
static inline void see_block(struct lanes *restrict lanes, const float *restrict x) {
    for (size_t j = 0; j < LANES; j++) {
        float magnitude = fabsf(x[j]);
        lanes->min[j] = x[j] < lanes->min[j] ? x[j] : lanes->min[j];
        lanes->max[j] = x[j] > lanes->max[j] ? x[j] : lanes->max[j];
        lanes->least[j] = magnitude < lanes->least[j] ? magnitude : lanes->least[j];
        lanes->strange[j] |= !(x[j] - x[j] == 0);
    }
}

// So many whole blocks; false, and nothing is seen, if there is something that is not finite.
static bool see_blocks(struct pcr_ranges_seen *seen, const float *x, size_t n) {
    struct lanes lanes;
    uint32_t strange = 0;
    for (size_t j = 0; j < LANES; j++) {
        lanes.min[j] = lanes.max[j] = x[j];
        lanes.least[j] = fabsf(x[j]);
        lanes.strange[j] = 0;
    }
    for (size_t i = 0; i < n; i += LANES)
        see_block(&lanes, x + i);
    for (size_t j = 0; j < LANES; j++)
        strange |= lanes.strange[j];
    for (size_t j = 0; j < LANES && !strange; j++)
        merge(seen, &(struct pcr_ranges_seen){lanes.min[j], lanes.max[j], lanes.least[j], n / LANES,
                                              0, 0});
    return !strange;
}

static void see_all(struct pcr_ranges_seen *seen, const float *x, size_t n) {
    size_t whole = n - n % LANES;
    if (whole > 0 && !see_blocks(seen, x, whole))
        whole = 0;
    for (size_t i = whole; i < n; i++)
        see(seen, x[i]);
}

// --- the collector ------------------------------------------------------------------------------
static int check(const struct pcr_ranges_options *o, struct pacer_error *err) {
    const char *fault = NULL;
    if (o->n_bins % 2 != 0)
        fault = "the number of bins must be even";
    else if (o->bins_max < o->n_bins)
        fault = "fewer bins are allowed (bins_max) than it begins with (n_bins)";
    else if (o->bins_max > UINT32_MAX / 4)
        fault = "bins_max is too great";
    else if (o->method == PCR_RANGES_ENTROPY && (o->n_quantized < 2 || o->n_quantized > o->n_bins))
        fault = "the bins of a quantized histogram must be from 2 to as many as there are bins";
    else if (!(o->percentile > 0 && o->percentile <= 100))
        fault = "a percentile must be greater than 0 and at most 100";
    return fault ? pcr_err(err, PACER_EINVAL, "calibration", "%s", fault) : 0;
}

static struct pcr_ranges_options completed(const struct pcr_ranges_options *options) {
    struct pcr_ranges_options o = *options;
    if (o.n_bins == 0)
        o.n_bins = o.method == PCR_RANGES_ENTROPY ? 128 : 2048;
    if (o.n_quantized == 0)
        o.n_quantized = 128;
    if (o.percentile == 0)
        o.percentile = 99.999;
    if (o.bins_max == 0)
        o.bins_max = o.n_bins > BINS_MAX ? o.n_bins : BINS_MAX;
    o.expected = NULL; // the caller's memory
    o.symmetric = o.symmetric && o.method != PCR_RANGES_ENTROPY;
    return o;
}

static int begin(struct pcr_ranges *ranges, const struct pcr_ranges_seen *expected) {
    const struct pcr_ranges_options *o = &ranges->options;
    if (o->method == PCR_RANGES_MINMAX)
        return 0;
    int rc = pcr_histogram_init(&ranges->histogram, o->n_bins, o->bins_max,
                                o->method == PCR_RANGES_PERCENTILE && o->symmetric);
    if (rc == 0 && expected && expected->n > 0)
        rc = pcr_histogram_cover(&ranges->histogram, expected);
    return rc;
}

int pcr_ranges_create(const struct pcr_ranges_options *options, struct pcr_ranges **out,
                      struct pacer_error *err) {
    struct pcr_ranges_options o = completed(options);
    int rc = check(&o, err);
    if (rc != 0)
        return rc;
    struct pcr_ranges *ranges = calloc(1, sizeof *ranges);
    if (!ranges)
        return pcr_err(err, PACER_ENOMEM, "calibration", "out of memory");
    ranges->options = o;
    rc = begin(ranges, options->expected);
    if (rc != 0) {
        pcr_ranges_destroy(ranges);
        return pcr_err(err, rc, "calibration", "out of memory for %zu bins", o.n_bins);
    }
    *out = ranges;
    return 0;
}

int pcr_ranges_add(struct pcr_ranges *ranges, const float *x, size_t n) {
    struct pcr_ranges_seen seen = {0};
    see_all(&seen, x, n);
    if (ranges->options.method != PCR_RANGES_MINMAX && seen.n > 0) {
        int rc = pcr_histogram_cover(&ranges->histogram, &seen);
        if (rc != 0)
            return rc;
        pcr_histogram_add(&ranges->histogram, x, n);
    }
    merge(&ranges->seen, &seen);
    return 0;
}

const struct pcr_ranges_seen *pcr_ranges_seen(const struct pcr_ranges *ranges) {
    return &ranges->seen;
}

void pcr_ranges_destroy(struct pcr_ranges *ranges) {
    if (!ranges)
        return;
    pcr_histogram_fini(&ranges->histogram);
    free(ranges);
}

// --- the range ----------------------------------------------------------------------------------
// The lower edge of the first bin up to which there lies such a share of all; of the whole where
// the sum of the shares, being rounded, never gets there.
static float edge_of_share(const struct pcr_histogram *h, double share) {
    uint64_t total = 0;
    for (size_t i = 0; i < h->n_bins; i++)
        total += h->counts[i];
    double sum = 0;
    for (size_t i = 0; i < h->n_bins; i++) {
        sum += (double)h->counts[i] / (double)total;
        if (sum >= share)
            return h->edges[i];
    }
    return h->edges[h->n_bins];
}

static void percentile(const struct pcr_ranges *ranges, float *min, float *max) {
    double p = ranges->options.percentile;
    if (ranges->options.symmetric) {
        *max = edge_of_share(&ranges->histogram, p / 100);
        *min = -*max;
    } else {
        double cut = (100 - p) / 200;
        *max = edge_of_share(&ranges->histogram, 1 - cut);
        *min = edge_of_share(&ranges->histogram, cut);
    }
}

static void minmax(const struct pcr_ranges *ranges, float *min, float *max) {
    *min = ranges->seen.min;
    *max = ranges->seen.max;
    if (ranges->options.symmetric) {
        *max = fabsf(*min) > fabsf(*max) ? fabsf(*min) : fabsf(*max);
        *min = -*max;
    }
}

int pcr_ranges_finish(const struct pcr_ranges *ranges, float *min, float *max) {
    const struct pcr_ranges_seen *seen = &ranges->seen;
    if (seen->n == 0)
        return PACER_ENOTFOUND;
    if (ranges->options.method == PCR_RANGES_MINMAX) {
        minmax(ranges, min, max);
        return 0;
    }
    int rc = 0;
    if (ranges->options.method == PCR_RANGES_PERCENTILE)
        percentile(ranges, min, max);
    else
        rc = pcr_histogram_best_cut(&ranges->histogram, ranges->options.n_quantized, min, max);
    if (rc == 0) { // no wider than what was seen
        *min = *min < seen->min ? seen->min : *min;
        *max = *max > seen->max ? seen->max : *max;
    }
    if (rc == 0 && *min > *max) // all in one bin, whose lower edge *max is
        minmax(ranges, min, max);
    return rc;
}
