// SPDX-License-Identifier: Apache-2.0
// The arithmetic of src/quantize behind a pipe: a request is a line of words and then numbers as
// they are in memory; the answer is numbers. See probe.py, the other end.
#include "quantize/arith.h"
#include "quantize/ranges.h"

#include <stdio.h>
#include <stdlib.h>

#define CHUNKS_MAX 64

static void *checked(void *memory) {
    if (!memory) {
        fputs("quantize_probe: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static float *read_floats(size_t n) {
    float *x = checked(malloc((n + 1) * sizeof *x));
    if (fread(x, sizeof *x, n, stdin) != n) {
        fputs("quantize_probe: the input ends amid the numbers of a request\n", stderr);
        exit(1);
    }
    return x;
}

static void answer(const void *items, size_t bytes) {
    fwrite(items, 1, bytes, stdout);
}

// weights TYPE SYMMETRIC REDUCED OUTER CHANNELS INNER: scale and zero point per channel, the bytes.
static bool weights(const char *line) {
    int type, symmetric, reduced;
    size_t outer, channels, inner;
    if (sscanf(line, "%d %d %d %zu %zu %zu", &type, &symmetric, &reduced, &outer, &channels,
               &inner) != 6)
        return false;
    size_t n = outer * channels * inner;
    float *x = read_floats(n);
    struct pcr_quant_form form = {(enum pcr_quant_type)type, symmetric != 0, reduced != 0};
    struct pcr_quant_weights w = {x, outer, channels, inner};
    struct pcr_quant_scale *scales = checked(malloc(channels * sizeof *scales));
    void *q = checked(malloc(n + 1));
    pcr_quant_weight_scales(&w, form, scales);
    pcr_quantize_weights(&w, scales, form.type, q);
    answer(scales, channels * sizeof *scales);
    answer(q, n);
    free(x);
    free(scales);
    free(q);
    return true;
}

// bias N PER_CHANNEL: the weights' scales, raised, the bias's scales, the int32.
// Numbers: the input's scale, N of the bias, the weights' scales.
static bool bias(const char *line) {
    size_t n;
    int per_channel;
    if (sscanf(line, "%zu %d", &n, &per_channel) != 2)
        return false;
    size_t n_scales = per_channel ? n : 1;
    float *x = read_floats(1 + n + n_scales), *weight_scales = x + 1 + n;
    float *scales = checked(malloc(n_scales * sizeof *scales));
    int32_t *q = checked(malloc(n * sizeof *q));
    struct pcr_quant_bias b = {x + 1, n, per_channel != 0, x[0]};
    pcr_quant_bias_make_room(&b, weight_scales);
    pcr_quantize_bias(&b, weight_scales, scales, q);
    answer(weight_scales, n_scales * sizeof *scales);
    answer(scales, n_scales * sizeof *scales);
    answer(q, n * sizeof *q);
    free(x);
    free(scales);
    free(q);
    return true;
}

static struct pcr_ranges *collect(const struct pcr_ranges_options *options, float *const *chunks,
                                  const size_t *sizes, size_t n_chunks) {
    struct pcr_ranges *ranges;
    struct pacer_error err;
    if (pcr_ranges_create(options, &ranges, &err) != 0) {
        fprintf(stderr, "quantize_probe: %s\n", err.message);
        exit(1);
    }
    for (size_t i = 0; i < n_chunks; i++)
        if (pcr_ranges_add(ranges, chunks[i], sizes[i]) != 0)
            checked(NULL);
    return ranges;
}

// ranges METHOD SYMMETRIC BINS QUANTIZED PERCENTILE PASSES CHUNKS SIZE...: the range.
static bool ranges(const char *line) {
    int method, symmetric, passes, used;
    struct pcr_ranges_options o = {.bins_max = (size_t)1 << 24};
    size_t n_chunks, sizes[CHUNKS_MAX];
    float *chunks[CHUNKS_MAX];
    if (sscanf(line, "%d %d %zu %zu %lf %d %zu%n", &method, &symmetric, &o.n_bins, &o.n_quantized,
               &o.percentile, &passes, &n_chunks, &used) != 7 ||
        n_chunks > CHUNKS_MAX)
        return false;
    char *rest = NULL;
    for (size_t i = 0; i < n_chunks; i++) {
        sizes[i] = strtoull(i ? rest : line + used, &rest, 10);
        chunks[i] = read_floats(sizes[i]);
    }
    o.method = (enum pcr_ranges_method)method;
    o.symmetric = symmetric != 0;
    struct pcr_ranges *first = NULL;
    if (passes == 2) {
        struct pcr_ranges_options look = {.method = PCR_RANGES_MINMAX};
        first = collect(&look, chunks, sizes, n_chunks);
        o.expected = pcr_ranges_seen(first);
    }
    struct pcr_ranges *last = collect(&o, chunks, sizes, n_chunks);
    float range[2];
    if (pcr_ranges_finish(last, &range[0], &range[1]) != 0)
        range[0] = range[1] = 0;
    answer(range, sizeof range);
    pcr_ranges_destroy(first);
    pcr_ranges_destroy(last);
    for (size_t i = 0; i < n_chunks; i++)
        free(chunks[i]);
    return true;
}

int main(void) {
    static const struct {
        const char *name;
        bool (*answer)(const char *line);
    } requests[] = {{"weights ", weights}, {"bias ", bias}, {"ranges ", ranges}};
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        bool known = false;
        for (size_t i = 0; i < PCR_COUNT_OF(requests) && !known; i++) {
            size_t n = strlen(requests[i].name);
            known = strncmp(line, requests[i].name, n) == 0 && requests[i].answer(line + n);
        }
        if (!known) {
            fprintf(stderr, "quantize_probe: no such request: %s", line);
            return 2;
        }
        fflush(stdout);
    }
    return 0;
}
