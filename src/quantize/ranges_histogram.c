// SPDX-License-Identifier: Apache-2.0
// Histograms that grow, with the bins that onnxruntime.quantization would have made of the same
// tensors in the same order.
//
// Its bins are NumPy's: float32 edges of numpy.linspace, then of numpy.arange where magnitudes
// outgrow them. The expressions here keep those functions' order and precision, which decides in
// which bin a value on an edge lies; the build keeps the compiler from joining products and sums
// (meson.build). In which bin a value lies is asked of the edges alone; where to look first comes
// from a division.
//
// Values have bins around 0, as many on either side, so that growing and halving keep 0 an edge.
// Magnitudes have bins from the least of the first tensor upwards.
#include "quantize/ranges_priv.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define BLOCK 1024              // values whose bins are guessed side by side
#define VALUE_MAX (FLT_MAX / 4) // so that the width of all bins is a float32

// --- edges --------------------------------------------------------------------------------------
// numpy.linspace in float32. False: so narrow that neighbours are equal; they are of no use then.
static bool lay_edges(float *edges, size_t n_bins, float first, float last) {
    float step = (last - first) / (float)n_bins;
    for (size_t i = 0; i < n_bins; i++)
        edges[i] = (float)i * step + first;
    edges[n_bins] = last;
    for (size_t i = 0; i < n_bins; i++)
        if (!(edges[i] < edges[i + 1]))
            return false;
    return true;
}

// numpy.floor_divide of two positive float32.
static float floor_divide(float a, float b) {
    float quotient = (a - fmodf(a, b)) / b;
    float down = floorf(quotient);
    return quotient - down > 0.5f ? down + 1 : down;
}

// --- life ---------------------------------------------------------------------------------------
// More bins: what is there moves up by `before`, its edges stay to be laid.
static int grow(struct pcr_histogram *h, size_t n_bins, size_t before) {
    uint64_t *counts = calloc(n_bins, sizeof *counts);
    float *edges = calloc(n_bins + 1, sizeof *edges);
    if (!counts || !edges) {
        free(counts);
        free(edges);
        return PACER_ENOMEM;
    }
    if (h->n_bins > 0) {
        memcpy(counts + before, h->counts, h->n_bins * sizeof *counts);
        memcpy(edges + before, h->edges, (h->n_bins + 1) * sizeof *edges);
    }
    pcr_histogram_fini(h);
    h->counts = counts;
    h->edges = edges;
    h->n_bins = n_bins;
    return 0;
}

int pcr_histogram_init(struct pcr_histogram *h, size_t n_bins, size_t bins_max,
                       bool of_magnitudes) {
    *h = (struct pcr_histogram){.bins_max = bins_max, .of_magnitudes = of_magnitudes};
    return grow(h, n_bins, 0);
}

void pcr_histogram_fini(struct pcr_histogram *h) {
    free(h->counts);
    free(h->edges);
    h->counts = NULL;
    h->edges = NULL;
}

// --- bins of values -----------------------------------------------------------------------------
// Edges for a threshold; one of 0, and one too small for so many bins, has those of −0.5 to 0.5.
static void lay_around_zero(struct pcr_histogram *h, float threshold) {
    h->began = true;
    h->threshold = threshold;
    if (threshold > 0 && lay_edges(h->edges, h->n_bins, -threshold, threshold))
        return;
    h->threshold = 0;
    lay_edges(h->edges, h->n_bins, -0.5f, 0.5f);
}

// Two bins become one, beginning at 0; the outermost may be joined with one that is not there.
static void halve_around_zero(struct pcr_histogram *h) {
    size_t half = h->n_bins / 2, new_half = (half + 1) / 2;
    float stride = 2 * h->threshold / (float)h->n_bins;
    uint64_t *c = h->counts;
    for (size_t i = 0; i < new_half; i++) { // the upper half to the front, the lower one behind it
        size_t up = half + 2 * i, down = half - 1 - 2 * i;
        uint64_t above = c[up] + (2 * i + 1 < half ? c[up + 1] : 0);
        uint64_t below = c[down] + (2 * i + 1 < half ? c[down - 1] : 0);
        c[half + i] = above;
        c[half - 1 - i] = below;
    }
    memmove(c, c + half - new_half, 2 * new_half * sizeof *c);
    h->n_bins = 2 * new_half;
    lay_around_zero(h, stride * (float)h->n_bins);
}

static int cover_values(struct pcr_histogram *h, float farthest) {
    if (!h->began || h->threshold == 0) {
        lay_around_zero(h, farthest);
        return 0;
    }
    float stride, more;
    for (;; halve_around_zero(h)) {
        if (farthest <= h->threshold)
            return 0;
        stride = 2 * h->threshold / (float)h->n_bins;
        more = floor_divide(farthest - h->threshold, stride) + 1; // bins on either side
        size_t room = (h->bins_max - h->n_bins) / 2;
        if (more <= (float)room)
            break;
    }
    int rc = grow(h, h->n_bins + 2 * (size_t)more, (size_t)more);
    if (rc == 0)
        lay_around_zero(h, more * stride + h->threshold);
    return rc;
}

// --- bins of magnitudes -------------------------------------------------------------------------
static void lay_magnitudes(struct pcr_histogram *h, float least, float farthest) {
    h->began = true;
    bool equal = least == farthest;
    if (lay_edges(h->edges, h->n_bins, equal ? least - 0.5f : least,
                  equal ? farthest + 0.5f : farthest))
        return;
    if (!lay_edges(h->edges, h->n_bins, 0, farthest)) // nearly equal, or nearly 0
        lay_edges(h->edges, h->n_bins, -0.5f, 0.5f);
}

// Two bins become one; the last may be joined with one that is not there.
static void halve_magnitudes(struct pcr_histogram *h) {
    size_t n = (h->n_bins + 1) / 2;
    float last = h->edges[h->n_bins];
    if (h->n_bins % 2 != 0)
        last += last - h->edges[h->n_bins - 1];
    for (size_t i = 0; i < n; i++) {
        bool pair = 2 * i + 1 < h->n_bins;
        h->counts[i] = h->counts[2 * i] + (pair ? h->counts[2 * i + 1] : 0);
        h->edges[i] = h->edges[2 * i];
    }
    h->edges[n] = last;
    h->n_bins = n;
}

// Behind what is there: numpy.arange, which computes in float64 between ends that are float32.
static void append_edges(struct pcr_histogram *h, size_t from, float width) {
    float start = h->edges[from] + width;
    double delta = (double)(start + width) - (double)start;
    for (size_t i = 0; from + 1 + i <= h->n_bins; i++)
        h->edges[from + 1 + i] = (float)((double)start + (double)i * delta);
}

static int cover_magnitudes(struct pcr_histogram *h, float least, float farthest) {
    if (!h->began) {
        lay_magnitudes(h, least, farthest);
        return 0;
    }
    float width;
    double more;
    for (;; halve_magnitudes(h)) {
        float last = h->edges[h->n_bins];
        if (farthest <= last)
            return 0;
        width = h->edges[1] - h->edges[0];
        float start = last + width, stop = farthest + width;
        more = ceil((double)((stop - start) / width));
        if (more <= (double)(h->bins_max - h->n_bins))
            break;
    }
    size_t n_bins = h->n_bins;
    int rc = more > 0 ? grow(h, n_bins + (size_t)more, 0) : 0;
    if (rc == 0)
        append_edges(h, n_bins, width);
    return rc;
}

int pcr_histogram_cover(struct pcr_histogram *h, const struct pcr_ranges_seen *seen) {
    float farthest = fmaxf(fabsf(seen->min), fabsf(seen->max));
    farthest = fminf(farthest, VALUE_MAX);
    return h->of_magnitudes ? cover_magnitudes(h, fminf(seen->least, VALUE_MAX), farthest)
                            : cover_values(h, farthest);
}

// --- counting -----------------------------------------------------------------------------------
struct ruler { // what a value's bin is guessed with
    float first, last, width, n_bins;
    uint32_t sign; // the bits that are kept of a value: all, or all but the sign
};

// The values of a block, within the edges; how many are left without what is not finite.
static size_t gather(const struct ruler *ruler, const float *x, size_t n, float *values) {
    uint32_t strange = 0;
    for (size_t i = 0; i < n; i++) {
        float v = x[i];
        uint32_t bits;
        strange |= !(v - v == 0);
        memcpy(&bits, &v, sizeof bits);
        bits &= ruler->sign;
        memcpy(&v, &bits, sizeof v);
        v = v > ruler->first ? v : ruler->first;
        values[i] = v < ruler->last ? v : ruler->last;
    }
    if (!strange)
        return n;
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            values[n_left++] = values[i];
    return n_left;
}

// The bin whose lower edge is the last one not above the value.
static size_t search(const float *edges, size_t n_bins, float value) {
    size_t low = 0,
           high = n_bins; // edges[low] <= value, and the bins from `high` on begin above it
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (edges[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void count_block(struct pcr_histogram *h, const struct ruler *ruler, const float *values,
                        size_t n) {
    uint32_t guesses[BLOCK];
    const float *edges = h->edges;
    for (size_t i = 0; i < n; i++)
        guesses[i] = (uint32_t)(int32_t)((values[i] - ruler->first) / ruler->width * ruler->n_bins);
    for (size_t i = 0; i < n; i++) {
        size_t bin = guesses[i] < h->n_bins ? guesses[i] : h->n_bins - 1;
        if (PCR_UNLIKELY(!(values[i] >= edges[bin] && values[i] < edges[bin + 1])))
            bin = search(edges, h->n_bins, values[i]);
        h->counts[bin]++;
    }
}

void pcr_histogram_add(struct pcr_histogram *h, const float *x, size_t n) {
    const struct ruler ruler = {h->edges[0], h->edges[h->n_bins], h->edges[h->n_bins] - h->edges[0],
                                (float)h->n_bins, h->of_magnitudes ? INT32_MAX : UINT32_MAX};
    float values[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t n_here = n - i < BLOCK ? n - i : BLOCK;
        count_block(h, &ruler, values, gather(&ruler, x + i, n_here, values));
    }
}
