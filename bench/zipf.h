// SPDX-License-Identifier: Apache-2.0
// Made-up popularity: numbers that are the same on every machine, and draws of a rank whose
// probability falls with a power of it. Part of the benches only.
//
// Ranks are drawn by the alias method (Walker, "An efficient method for generating discrete random
// variables with general distributions", 1977): each rank shares its n-th part of the probability
// with one other, so a draw is one look whatever the exponent.
#ifndef PACER_BENCH_ZIPF_H
#define PACER_BENCH_ZIPF_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
static inline uint64_t mix_u64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline uint64_t draw_u64(uint64_t *state) {
    return mix_u64(*state += 0x9e3779b97f4a7c15ull);
}

static inline double draw_unit(uint64_t *state) { // [0, 1)
    return (double)(draw_u64(state) >> 11) * 0x1p-53;
}

static inline size_t draw_below(uint64_t *state, size_t n) { // n below 2^32
    return (size_t)((draw_u64(state) >> 32) * n >> 32);
}

struct zipf {
    size_t n;
    struct share {
        float own; // the part of this share that is the rank's own
        uint32_t other;
    } * shares;
};

// The ranks that have less than their share wait at the front of `order`, the others at its back.
static inline void zipf_pair(struct zipf *zipf, double *weights, uint32_t *order) {
    size_t n_less = 0, first_more = zipf->n;
    for (size_t i = 0; i < zipf->n; i++)
        if (weights[i] < 1)
            order[n_less++] = (uint32_t)i;
        else
            order[--first_more] = (uint32_t)i;
    while (n_less > 0 && first_more < zipf->n) {
        uint32_t less = order[--n_less], more = order[first_more];
        zipf->shares[less] = (struct share){(float)weights[less], more};
        weights[more] -= 1 - weights[less];
        if (weights[more] < 1) {
            first_more++;
            order[n_less++] = more;
        }
    }
}

static inline void zipf_init(struct zipf *zipf, size_t n, double exponent) {
    *zipf = (struct zipf){n, malloc(n * sizeof *zipf->shares)};
    double *weights = malloc(n * sizeof *weights), sum = 0;
    uint32_t *order = malloc(n * sizeof *order);
    if (!zipf->shares || !weights || !order)
        abort();
    for (size_t i = 0; i < n; i++)
        sum += weights[i] = pow((double)(i + 1), -exponent);
    for (size_t i = 0; i < n; i++) {
        weights[i] *= (double)n / sum;
        zipf->shares[i] = (struct share){1, (uint32_t)i};
    }
    zipf_pair(zipf, weights, order);
    free(weights);
    free(order);
}

static inline void zipf_fini(struct zipf *zipf) {
    free(zipf->shares);
}

static inline uint32_t zipf_draw(const struct zipf *zipf, uint64_t *state) { // 0: the most popular
    size_t i = draw_below(state, zipf->n);
    return draw_unit(state) < (double)zipf->shares[i].own ? (uint32_t)i : zipf->shares[i].other;
}

#endif
