// SPDX-License-Identifier: Apache-2.0
// The engine: where a run happens. A cheap one at once on the caller's loop, since handing it to
// another thread and back costs more than running it; all others on a worker, so that a loop is
// never held up.
//
// What a run costs is guessed from its size. Values can make it dearer (a fill of a shape that is
// an input, a loop's count): models with a loop never run on a loop's thread, and others no longer
// do once several runs were late. Rejected: running everything once on a worker to learn its cost;
// the next request's values may be others.
#include "infer/repository_priv.h"
#include "infer/session_priv.h"

#include <stdlib.h>

// Two hand-overs between threads cost some 10 to 20 µs of latency and a wake-up each; at three
// times that the worker wins.
#define INLINE_NS (50 * PCR_NS_PER_US)
// A further row costs less than the first one;
// the guess until cost models are measured per batch size.
#define ROW_SHARE 8

// A character of text is cheaper to write than a number, which takes some 10 to 20 bytes.
#define BYTES_PER_ELEMENT 16

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

// One addition per request, when all is known:
// clients hold the counts of the parts against each other.
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
        more.input_count = more.infer_count = more.output_count = 1;
        more.input_ns = call->input_ns;
        more.infer_ns = call->infer_ns;
        more.output_ns = call->output_ns;
        more.last_inference_ms = end_ns / PCR_NS_PER_MS;
    }
    pcr_model_count(call->model, &more);
}

// Whether there is still somebody to compute it for.
static bool is_wanted(struct pcr_infer_call *call, uint64_t now_ns) {
    if (atomic_load_explicit(&call->engine->stopping, memory_order_relaxed))
        call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                               "the server is stopping; the request was not computed");
    else if (atomic_load_explicit(&call->canceled, memory_order_relaxed))
        call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                               "the client went away; the request was not computed");
    else if (call->deadline_ns && now_ns >= call->deadline_ns)
        call->status =
            pcr_err(&call->error, PACER_ETIMEDOUT, "engine",
                    "the request's time was up after %llu ms in the queue; it was not computed",
                    (unsigned long long)((now_ns - call->submitted_ns) / PCR_NS_PER_MS));
    return call->status == 0;
}

// Fills call->run, and looks at it. A deadline may be part of what was read.
static bool read_run(struct pcr_infer_call *call, uint64_t *now_ns) {
    if (call->read) {
        uint64_t start_ns = *now_ns;
        call->status = call->read(call);
        *now_ns = pcr_clock_mono_ns();
        call->input_ns = *now_ns - start_ns;
    }
    if (call->status == 0)
        call->status = pcr_model_check(call->model, &call->run, &call->error);
    return call->status == 0;
}

static void run(struct pcr_infer_call *call, uint64_t *now_ns) {
    struct pcr_session_job job = {.session = call->model->session,
                                  .run = &call->run,
                                  .arena = call->arena,
                                  .options = call->engine->run_options};
    uint64_t start_ns = *now_ns;
    call->status = pcr_session_run_checked(&job, &call->error);
    call->outputs = job.outputs;
    call->n_outputs = job.n_outputs;
    *now_ns = pcr_clock_mono_ns();
    call->infer_ns = *now_ns - start_ns;
    if (call->looks_cheap)
        note_cost(call);
}

static void write_answer(struct pcr_infer_call *call, uint64_t *now_ns) {
    if (call->status < 0 || !call->write)
        return;
    uint64_t start_ns = *now_ns;
    call->status = call->write(call);
    *now_ns = pcr_clock_mono_ns();
    call->output_ns = *now_ns - start_ns;
}

// How much there is to write is known only now: a small input may have a large output.
static bool is_much_to_write(const struct pcr_infer_call *call) {
    size_t elements = 0;
    if (!call->write || call->writes_no_text)
        return false;
    for (size_t i = 0; i < call->n_outputs; i++) {
        size_t count;
        const struct pacer_tensor *output = &call->outputs[i];
        if (pacer_shape_count(output->shape, output->rank, &count) < 0 ||
            count > PCR_INLINE_ELEMENTS_MAX)
            return true;
        if (output->dtype == PACER_BYTES)
            for (size_t k = 0; k < count && elements <= PCR_INLINE_ELEMENTS_MAX; k++)
                elements += ((const struct pacer_bytes *)output->data)[k].size / BYTES_PER_ELEMENT;
        elements += count;
    }
    return elements > PCR_INLINE_ELEMENTS_MAX;
}

// All that is left to do, on a worker: it never comes back to the loop half done, so that the
// engine may end while answers are still in a mailbox.
static void on_worker(struct pcr_job *job) {
    struct pcr_infer_call *call = PCR_CONTAINER_OF(job, struct pcr_infer_call, job);
    uint64_t now_ns = pcr_clock_mono_ns();
    if (call->stage == PCR_INFER_WRITE) {
        write_answer(call, &now_ns);
        count(call, now_ns);
        return;
    }
    call->queue_ns = now_ns - call->queued_ns;
    bool wanted = is_wanted(call, now_ns);
    if (wanted && call->stage == PCR_INFER_READ)
        wanted = read_run(call, &now_ns) && is_wanted(call, now_ns);
    if (wanted) {
        run(call, &now_ns);
        write_answer(call, &now_ns);
    }
    count(call, now_ns);
}

static void on_loop(struct pcr_job *job) {
    struct pcr_infer_call *call = PCR_CONTAINER_OF(job, struct pcr_infer_call, job);
    call->done(call);
}

// To a worker, from this stage on; false: the queue is full.
static bool hand_over(struct pcr_infer_call *call, enum pcr_infer_stage stage) {
    call->stage = stage;
    call->job = (struct pcr_job){.loop = call->loop, .run = on_worker, .done = on_loop};
    int code = pcr_pool_submit(call->engine->pool, &call->job);
    if (code < 0)
        call->status =
            pcr_err(&call->error, code, "engine",
                    "model '%s' is busy: the queue of the workers is full; try again later",
                    call->model->name);
    return code == 0;
}

// All on the loop, as far as it is cheap; false: a worker goes on with it.
static bool run_here(struct pcr_infer_call *call, uint64_t *now_ns) {
    if (!is_wanted(call, *now_ns))
        return true;
    run(call, now_ns);
    if (call->status == 0 && is_much_to_write(call))
        return !hand_over(call, PCR_INFER_WRITE);
    write_answer(call, now_ns);
    return true;
}

// False: a worker goes on with it.
static bool begin(struct pcr_infer_call *call, uint64_t *now_ns) {
    if (call->read && call->is_large)
        return !hand_over(call, PCR_INFER_READ);
    if (!read_run(call, now_ns))
        return true;
    call->queued_ns = *now_ns;
    call->looks_cheap = is_cheap(call);
    if (call->looks_cheap && !is_out(call))
        return run_here(call, now_ns);
    return !hand_over(call, PCR_INFER_RUN);
}

void pcr_engine_submit(struct pcr_engine *engine, struct pcr_infer_call *call) {
    uint64_t now_ns = pcr_clock_mono_ns();
    call->engine = engine;
    call->submitted_ns = call->queued_ns = now_ns;
    call->outputs = NULL;
    call->n_outputs = 0;
    call->queue_ns = call->input_ns = call->infer_ns = call->output_ns = 0;
    call->status = 0;
    call->looks_cheap = false;
    atomic_init(&call->canceled, false);
    if (!begin(call, &now_ns))
        return;
    count(call, now_ns);
    call->done(call);
}

void pcr_engine_cancel(struct pcr_infer_call *call) {
    atomic_store_explicit(&call->canceled, true, memory_order_relaxed);
}
