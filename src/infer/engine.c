// SPDX-License-Identifier: Apache-2.0
// The engine: where a run happens. A cheap one at once on the caller's loop, since handing it to
// another thread and back costs more than running it; all others on a worker, so that a loop is
// never held up.
//
// What a run costs is guessed from its size. Values can make it dearer (a fill of a shape that is an
// input, a loop's count): models with a loop never run on a loop's thread, and others no longer do
// once several runs were late. Rejected: running everything once on a worker to learn its cost; the
// next request's values may be others.
#include "infer/repository_priv.h"
#include "infer/session_priv.h"

#include <stdatomic.h>
#include <stdlib.h>

// Two hand-overs between threads cost some 10 to 20 µs of latency and a wake-up each; at three
// times that the worker wins.
#define INLINE_NS (50 * PCR_NS_PER_US)
// A further row costs less than the first one; the guess until cost models are measured per batch
// size.
#define ROW_SHARE 8

// A run that was taken for cheap and took this long is a strike; STRIKES_OUT keep the model's runs
// off the loops until as many timely ones have worked them off.
#define LATE_NS PCR_NS_PER_MS
#define STRIKE 64u
#define STRIKES_OUT (4 * STRIKE)
#define STRIKES_MAX (16 * STRIKE)

struct pcr_engine {
    struct pcr_pool *pool;
    OrtRunOptions *run_options; // of every run, so that one call ends them all
    atomic_bool stopping;
};

int pcr_engine_create(unsigned workers, size_t queue_max, struct pcr_engine **out,
                      struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort_get(err);
    if (!ort)
        return PACER_EUNSUPPORTED;
    struct pcr_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return pcr_err(err, PACER_ENOMEM, "engine", "out of memory");
    OrtStatus *status = ort->api->CreateRunOptions(&engine->run_options);
    int code = status ? pcr_ort_fail(err, PACER_EINTERNAL, status, "run options")
                      : pcr_pool_create(workers, queue_max, &engine->pool, err);
    if (code < 0)
        pcr_engine_destroy(engine);
    else
        *out = engine;
    return code;
}

void pcr_engine_destroy(struct pcr_engine *engine) {
    if (!engine)
        return;
    const OrtApi *api = pcr_ort()->api;
    atomic_store(&engine->stopping, true);
    if (engine->run_options) {
        OrtStatus *status = api->RunOptionsSetTerminate(engine->run_options);
        if (status) // then they end by themselves
            api->ReleaseStatus(status);
    }
    pcr_pool_destroy(engine->pool);
    if (engine->run_options)
        api->ReleaseRunOptions(engine->run_options);
    free(engine);
}

// What the run will cost, guessed from the warm-up's cost and size.
static bool is_cheap(const struct pcr_infer_call *call) {
    uint64_t run_ns = call->model->run_ns;
    if (run_ns >= INLINE_NS)
        return false;
    size_t elements = 0;
    size_t least = pcr_session_warm_up_elements(call->model->session);
    for (size_t i = 0; i < call->run.n_inputs; i++) {
        size_t count;
        const struct pacer_tensor *input = &call->run.inputs[i];
        if (pacer_shape_count(input->shape, input->rank, &count) < 0 || count > UINT32_MAX)
            return false;
        elements += count;
    }
    uint64_t rows = elements / (least ? least : 1);
    return run_ns + run_ns * rows / ROW_SHARE < INLINE_NS;
}

// Threads may lose each other's notes: all that matters is many late runs.
static void note_cost(const struct pcr_infer_call *call) {
    _Atomic unsigned *place = &call->model->session->strikes;
    unsigned strikes = atomic_load_explicit(place, memory_order_relaxed);
    if (call->infer_ns >= LATE_NS && strikes < STRIKES_MAX)
        atomic_store_explicit(place, strikes + STRIKE, memory_order_relaxed);
    else if (call->infer_ns < LATE_NS && strikes > 0)
        atomic_store_explicit(place, strikes - 1, memory_order_relaxed);
}

static bool is_out(const struct pcr_infer_call *call) {
    const _Atomic unsigned *place = &call->model->session->strikes;
    return atomic_load_explicit(place, memory_order_relaxed) >= STRIKES_OUT;
}

static uint64_t rows_of(const struct pcr_infer_call *call) {
    const struct pacer_run *run = &call->run;
    bool batched = call->model->max_batch_size > 0 && run->n_inputs > 0 && run->inputs[0].rank > 0;
    return batched ? (uint64_t)run->inputs[0].shape[0] : 1;
}

static void count(const struct pcr_infer_call *call, uint64_t end_ns) {
    struct pcr_model_stats more = {0};
    uint64_t total_ns = end_ns - call->submitted_ns;
    more.queue_count = 1;
    more.queue_ns = call->queue_ns;
    if (call->status < 0) {
        more.fail_count = 1;
        more.fail_ns = total_ns;
    } else {
        more.success_count = 1;
        more.success_ns = total_ns;
        more.inference_count = rows_of(call);
        more.execution_count = 1;
        more.infer_count = 1;
        more.infer_ns = call->infer_ns;
        more.last_inference_ms = pcr_clock_real_ns() / PCR_NS_PER_MS;
    }
    pcr_model_count(call->model, &more);
}

static void execute(struct pcr_infer_call *call, uint64_t start_ns) {
    call->queue_ns = start_ns - call->submitted_ns;
    uint64_t end_ns = start_ns;
    if (atomic_load_explicit(&call->engine->stopping, memory_order_relaxed)) {
        call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                               "the server is stopping; the request was not computed");
    } else if (atomic_load_explicit(&call->canceled, memory_order_relaxed)) {
        call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                               "the client is gone; the request was not computed");
    } else if (call->deadline_ns && start_ns >= call->deadline_ns) {
        call->status =
            pcr_err(&call->error, PACER_ETIMEDOUT, "engine",
                    "the request's time was up after %llu ms in the queue; it was not computed",
                    (unsigned long long)(call->queue_ns / PCR_NS_PER_MS));
    } else {
        struct pcr_session_job job = {.session = call->model->session,
                                      .run = &call->run,
                                      .arena = call->arena,
                                      .options = call->engine->run_options};
        call->status = pcr_session_run_checked(&job, &call->error);
        call->outputs = job.outputs;
        call->n_outputs = job.n_outputs;
        end_ns = pcr_clock_mono_ns();
        call->infer_ns = end_ns - start_ns;
        if (call->looks_cheap)
            note_cost(call);
    }
    count(call, end_ns);
}

static void on_worker(struct pcr_job *job) {
    execute(PCR_CONTAINER_OF(job, struct pcr_infer_call, job), pcr_clock_mono_ns());
}

static void on_loop(struct pcr_job *job) {
    struct pcr_infer_call *call = PCR_CONTAINER_OF(job, struct pcr_infer_call, job);
    call->done(call);
}

void pcr_engine_submit(struct pcr_engine *engine, struct pcr_infer_call *call) {
    call->submitted_ns = pcr_clock_mono_ns();
    call->outputs = NULL;
    call->n_outputs = 0;
    call->queue_ns = 0;
    call->infer_ns = 0;
    call->status = pcr_model_check(call->model, &call->run, &call->error);
    if (call->status < 0) {
        count(call, call->submitted_ns);
        call->done(call);
        return;
    }
    call->engine = engine;
    call->looks_cheap = is_cheap(call);
    if (call->looks_cheap && !is_out(call)) {
        execute(call, call->submitted_ns);
        call->done(call);
        return;
    }
    call->job = (struct pcr_job){.loop = call->loop, .run = on_worker, .done = on_loop};
    int code = pcr_pool_submit(engine->pool, &call->job);
    if (code == 0)
        return;
    call->status = pcr_err(&call->error, code, "engine",
                           "model '%s' is busy: the queue of the workers is full; try again later",
                           call->model->name);
    count(call, call->submitted_ns);
    call->done(call);
}

void pcr_engine_cancel(struct pcr_infer_call *call) {
    atomic_store_explicit(&call->canceled, true, memory_order_relaxed);
}
