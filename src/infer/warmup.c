// SPDX-License-Identifier: Apache-2.0
// The warm-up: the first run of a model, and the first of every batch size, pays for memory and for
// kernels' own preparation, so nobody's request shall be it. And what it shows is kept: what a run
// of n rows costs (the sweep 1, 2, 4 … of the cost model), and whether rows may share a run.
//
// A model that fails on made-up inputs may still be good. So only the errors that no input can mend
// (a kernel that does not exist) refuse it; otherwise it is served, its cost counts as unknown and
// it is therefore never run on a loop's thread nor batched.
#include "infer/warmup_priv.h"

#define RUNS_MAX 12                        // of one size; the least of them counts
#define SIZE_NS_MAX (8 * PCR_NS_PER_MS)    // spent on one size
#define SWEEP_NS_MIN (100 * PCR_NS_PER_MS) // may be spent on all of them, as far as can be foreseen
#define SWEEP_RUNS 32                      // and so many runs of one row besides
#define SWEEP_NS_MAX PCR_NS_PER_S          // but no more
#define SWEEP_ROWS_MAX 256
#define GUESS_ROWS 8 // cost twice as much as one, where it could not be measured
#define GAIN 1.05    // sizes that gain less than that, twice, end the sweep

bool pcr_session_has_rows(const struct pacer_session *s) {
    for (size_t i = 0; i < s->n_required; i++)
        if (s->inputs[i].rank == 0 || s->inputs[i].shape[0] != -1)
            return false;
    for (size_t i = 0; i < s->n_outputs; i++)
        if (s->outputs[i].rank == 0 || s->outputs[i].shape[0] != -1)
            return false;
    return s->n_required > 0 && s->n_outputs > 0;
}

static int run_once(struct pacer_session *s, const struct pacer_run *run, uint64_t *ns,
                    struct pacer_error *err) {
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
    pcr_arena_init(&arena, PCR_MADE_UP_BYTES_MAX);
    uint64_t start = pcr_clock_mono_ns();
    int code = pcr_session_run(s, run, &arena, &outputs, &n, err);
    *ns = pcr_clock_mono_ns() - start;
    pcr_arena_fini(&arena);
    return code;
}

// The least of a few runs: what the model costs when nothing disturbs it.
static int measure(struct pacer_session *s, const struct pacer_run *run, uint64_t *least,
                   struct pacer_error *err) {
    uint64_t ns;
    uint64_t spent = 0;
    *least = UINT64_MAX;
    int code = run_once(s, run, &ns, err);
    for (int i = 0; i < RUNS_MAX && code == 0 && spent < SIZE_NS_MAX; i++) {
        code = run_once(s, run, &ns, err);
        spent += ns;
        if (ns < *least)
            *least = ns;
    }
    return code;
}

// 1 if the inputs could not be made.
static int measure_rows(struct pacer_session *s, enum pcr_made_up kind, size_t n, uint64_t *ns,
                        struct pacer_error *err) {
    struct pcr_made_up_rows rows = {kind, 0, n};
    struct pcr_arena arena;
    struct pacer_run run;
    size_t elements;
    pcr_arena_init(&arena, PCR_MADE_UP_BYTES_MAX);
    int code = 1;
    if (pcr_made_up_inputs(s, &rows, &arena, &run, &elements)) {
        code = measure(s, &run, ns, err);
        if (n == 1)
            s->warm_up_elements = elements;
    }
    pcr_arena_fini(&arena);
    return code;
}

static void sweep(struct pacer_session *s, enum pcr_made_up kind) {
    uint64_t spent_ns = 0;
    uint64_t before_ns = s->cost.points[0].ns;
    uint64_t most_ns = SWEEP_NS_MIN + SWEEP_RUNS * before_ns;
    unsigned idle = 0;
    for (size_t n = 2; n <= SWEEP_ROWS_MAX && idle < 2; n *= 2) {
        uint64_t foreseen_ns = 2 * before_ns * 2; // the first run, and one that counts
        uint64_t ns;
        if (spent_ns + foreseen_ns > (most_ns < SWEEP_NS_MAX ? most_ns : SWEEP_NS_MAX))
            return;
        uint64_t start_ns = pcr_clock_mono_ns();
        if (measure_rows(s, kind, n, &ns, NULL) != 0)
            return;
        spent_ns += pcr_clock_mono_ns() - start_ns;
        pcr_cost_sweep(&s->cost, n, ns);
        idle = 2 * (double)before_ns < GAIN * (double)ns ? idle + 1 : 0;
        before_ns = ns;
    }
}

// The first kind of inputs that the model accepts.
static int first_run(struct pacer_session *s, enum pcr_made_up *kind, struct pacer_error *err) {
    static const enum pcr_made_up kinds[] = {PCR_MADE_UP_MIXED, PCR_MADE_UP_ZEROS,
                                             PCR_MADE_UP_ONES};
    int code = 0;
    for (size_t i = 0; i < PCR_COUNT_OF(kinds); i++) {
        uint64_t ns;
        *kind = kinds[i];
        code = measure_rows(s, *kind, 1, &ns, err);
        if (code == 0)
            pcr_cost_sweep(&s->cost, 1, ns);
        if (code >= 0 || code == PACER_EUNSUPPORTED)
            return code;
    }
    return code;
}

int pcr_session_warm_up(struct pacer_session *s, struct pacer_error *err) {
    struct pacer_error fault = {0};
    enum pcr_made_up kind;
    int code = first_run(s, &kind, &fault);
    if (code == PACER_EUNSUPPORTED)
        return pcr_err(err, PACER_EMODEL, "session", "the warm-up run failed: %s", fault.message);
    s->rows = pcr_session_has_rows(s) ? PCR_ROWS_UNKNOWN : PCR_ROWS_NONE;
    if (code != 0)
        return 0;
    s->rows = pcr_session_try_rows(s, kind);
    if (s->rows != PCR_ROWS_NONE)
        sweep(s, kind);
    if (s->cost.n_points == 1) // larger inputs cost more all the same: a guess, until they come
        pcr_cost_sweep(&s->cost, GUESS_ROWS, 2 * s->cost.points[0].ns);
    return 0;
}
