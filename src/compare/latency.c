// SPDX-License-Identifier: Apache-2.0
// Timing sessions beside each other.
//
// A machine is never quiet, and a small model's time depends on what the caches hold. So sessions
// run in turns, in blocks long enough that each finds its own weights in the cache again, and the
// blocks that ran side by side are compared: their ratios have a median, and the ranks between
// which it lies are known whatever the noise looks like.
//
// Rejected: one session after the other (the machine changes meanwhile), and run by run in turns
// (each throws the other's weights out of the cache, and the smaller one looks worse than it is).
#include "compare/compare.h"

#include <math.h>
#include <stdlib.h>

#define BLOCKS 16
#define BLOCKS_MIN 8  // of fewer there is no interval
#define RUNS_MAX 4096 // of a block
#define ARENA_BYTES_MAX ((size_t)8 << 30)

struct one { // a session's times
    double us[BLOCKS * RUNS_MAX];
    size_t n;
    double medians[BLOCKS];
    size_t n_blocks;
};

struct measure {
    const struct pcr_latency_how *how;
    struct one *ones; // by session
    struct pcr_arena views_arena;
    struct pacer_tensor *views;
    size_t row; // where the next run begins
};

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double sorted_at(const double *values, size_t n, double share) {
    size_t at = (size_t)(share * (double)(n - 1) + 0.5);
    return values[at < n ? at : n - 1];
}

static int run_once(struct measure *m, size_t session, double *us, struct pacer_error *err) {
    const struct pcr_latency_how *how = m->how;
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
    if (m->row + how->batch > (size_t)how->data->rows)
        m->row = 0;
    pcr_rows_inputs(how->sessions[session], how->data, m->row, how->batch, m->views);
    m->row += how->batch;
    const struct pacer_run run = {m->views, how->data->n_tensors, NULL, 0};
    pcr_arena_init(&arena, ARENA_BYTES_MAX);
    uint64_t start = pcr_clock_mono_ns();
    int code = pcr_session_run(how->sessions[session], &run, &arena, &outputs, &n, err);
    *us = (double)(pcr_clock_mono_ns() - start) / 1e3;
    pcr_arena_fini(&arena);
    return code;
}

static int run_block(struct measure *m, size_t session, uint64_t ns, struct pacer_error *err) {
    struct one *one = &m->ones[session];
    size_t first = one->n;
    double us;
    int code = run_once(m, session, &us, err);
    uint64_t start = pcr_clock_mono_ns();
    do {
        if (code == 0)
            code = run_once(m, session, &us, err);
        one->us[one->n++] = us;
    } while (code == 0 && one->n - first < RUNS_MAX && pcr_clock_mono_ns() - start < ns);
    size_t n = one->n - first;
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted)
        return code < 0 ? code : pcr_err(err, PACER_ENOMEM, "compare", "out of memory");
    memcpy(sorted, one->us + first, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    one->medians[one->n_blocks++] = sorted_at(sorted, n, 0.5);
    free(sorted);
    return code;
}

static int run_all(struct measure *m, struct pacer_error *err) {
    const struct pcr_latency_how *how = m->how;
    if (!m->ones || !m->views)
        return pcr_err(err, PACER_ENOMEM, "compare", "out of memory");
    uint64_t ns = (uint64_t)(how->seconds * 1e9), start = pcr_clock_mono_ns();
    int code = 0;
    for (size_t block = 0; block < BLOCKS && code == 0; block++) {
        if (block >= BLOCKS_MIN && pcr_clock_mono_ns() - start > 2 * ns * how->n_sessions)
            break; // runs that are longer than a block should be
        for (size_t i = 0; i < how->n_sessions && code == 0; i++)
            code = run_block(m, i, ns / BLOCKS, err);
    }
    return code;
}

// The ranks that hold the median of n values with 95 %: n/2 ± 1.96 · √n / 2.
static void compare(const struct one *reference, const struct one *one, struct pcr_latency *out) {
    double ratios[BLOCKS] = {0};
    size_t n = one->n_blocks;
    out->low = out->high = (double)NAN;
    for (size_t i = 0; i < n; i++)
        ratios[i] = reference->medians[i] / one->medians[i];
    qsort(ratios, n, sizeof *ratios, by_value);
    out->speedup = sorted_at(ratios, n, 0.5);
    if (n < BLOCKS_MIN)
        return;
    double half = 1.96 * sqrt((double)n) / 2;
    size_t low = (size_t)fmax(floor((double)n / 2 - half), 0);
    size_t high = (size_t)fmin(ceil((double)n / 2 + half), (double)(n - 1));
    out->low = ratios[low];
    out->high = ratios[high];
}

static void sum_up(struct measure *m, struct pcr_latency *out) {
    for (size_t i = 0; i < m->how->n_sessions; i++) {
        struct one *one = &m->ones[i];
        double sum = 0;
        compare(&m->ones[0], one, &out[i]);
        for (size_t k = 0; k < one->n; k++)
            sum += one->us[k];
        qsort(one->us, one->n, sizeof *one->us, by_value);
        out[i].runs = one->n;
        out[i].mean_us = sum / (double)one->n;
        out[i].p50_us = sorted_at(one->us, one->n, 0.5);
        out[i].p99_us = sorted_at(one->us, one->n, 0.99);
    }
}

int pcr_latency_measure(const struct pcr_latency_how *how, struct pcr_latency *out,
                        struct pacer_error *err) {
    struct measure m = {.how = how, .ones = calloc(how->n_sessions, sizeof *m.ones)};
    pcr_arena_init(&m.views_arena, (size_t)1 << 20);
    m.views = pcr_data_views(how->data, &m.views_arena);
    int code = 0;
    PCR_ASSERT(how->n_sessions <= PCR_LATENCY_SESSIONS_MAX);
    if (code == 0 && (how->batch == 0 || (int64_t)how->batch > how->data->rows))
        code = pcr_err(err, PACER_EINVAL, "compare",
                       "a batch of %zu rows needs as many; there are %lld", how->batch,
                       (long long)how->data->rows);
    if (code == 0)
        code = run_all(&m, err);
    if (code == 0)
        sum_up(&m, out);
    pcr_arena_fini(&m.views_arena);
    free(m.ones);
    return code;
}
