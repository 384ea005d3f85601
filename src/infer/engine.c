// SPDX-License-Identifier: Apache-2.0
// The engine: a call's way from its submission to its `done`.
//
// Where it is run. Handing a run to another thread and back costs more than a cheap model's run, so
// cheap runs happen on the loop's thread, at the end of the turn in which their requests were read
// (turn.c); that moment costs nobody any time, and all requests that were ready share one run. Dear
// ones go into their model's queue, from which workers take batches (workers.c). Which is which is
// told by the model's measured cost and the call's size. Values can make a run dearer (a fill of a
// shape that is an input): models with a loop never run on a loop's thread, and others no longer do
// once several runs were late.
//
// What cannot be met is refused before it is read, as far as that can be foreseen: at five times
// the load that a machine can bear, reading what will be refused would take the time of those who
// could be answered.
//
// A call belongs to its loop's thread, except between hand-over and mail: then what a queue knows
// of it is guarded by the workers' lock, and the rest belongs to the worker that took it. Rejected:
// running everything once on a worker to learn its cost; the next request's values may be others.
#include "infer/engine_priv.h"
#include "infer/session_priv.h"

#include <stdlib.h>

// A character of text is cheaper to write than a number, which takes some 10 to 20 bytes.
#define BYTES_PER_ELEMENT 16
// A twentieth of the time that a client gives itself is kept for the way: under overload answers
// come right before their deadlines, and all of them would be late by what the way takes.
#define WAY_SHARE 20
// More take a while to be touched at all, which no sweep of small inputs shows.
#define INLINE_INPUT_ELEMENTS_MAX ((uint64_t)64 << 10)
#define PIECE_NS (5 * PCR_NS_PER_MS)

// A run that was taken for cheap and took this long is a strike; STRIKES_OUT keep the model's runs
// off the loops until as many timely ones have worked them off.
#define LATE_NS PCR_NS_PER_MS
#define STRIKE 64u
#define STRIKES_OUT (4 * STRIKE)
#define STRIKES_MAX (16 * STRIKE)

_Static_assert(PCR_PRIORITIES == PCR_BATCH_PRIORITIES, "one list of priorities");

// --- life ---------------------------------------------------------------------------------------
int pcr_engine_create(unsigned workers, size_t queue_max, struct pcr_engine **out,
                      struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort_get(err);
    if (!ort)
        return PACER_EUNSUPPORTED;
    struct pcr_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return pcr_err(err, PACER_ENOMEM, "engine", "out of memory");
    atomic_init(&engine->refs, 1);
    OrtStatus *status = ort->api->CreateRunOptions(&engine->run_options);
    int code =
        status ? pcr_ort_fail(err, PACER_EINTERNAL, status, "run options")
               : pcr_workers_create(workers, queue_max, engine->run_options, &engine->workers, err);
    if (code < 0)
        pcr_engine_destroy(engine);
    else
        *out = engine;
    return code;
}

void pcr_engine_unref(struct pcr_engine *engine) {
    if (atomic_fetch_sub_explicit(&engine->refs, 1, memory_order_acq_rel) > 1)
        return;
    pcr_workers_destroy(engine->workers);
    if (engine->run_options)
        pcr_ort()->api->ReleaseRunOptions(engine->run_options);
    free(engine);
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
    if (engine->workers)
        pcr_workers_stop(engine->workers);
    pcr_engine_unref(engine);
}

// --- what a call is -----------------------------------------------------------------------------
struct pcr_call_state *pcr_call_of(const struct pcr_batch_item *item) {
    return PCR_CONTAINER_OF(item, struct pcr_call_state, item);
}

static uint64_t sooner(uint64_t a, uint64_t b) { // 0 is never
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void set_deadline(struct pcr_call_state *state, bool is_read) {
    const struct pcr_infer_call *call = state->call;
    uint64_t timeout_ns = call->timeout_ns;
    if (timeout_ns == 0 && (is_read || !call->timeout_comes))
        timeout_ns = call->model->config.timeout_ns;
    timeout_ns -= timeout_ns / WAY_SHARE;
    uint64_t own_ns;
    if (timeout_ns == 0 || __builtin_add_overflow(call->received_ns, timeout_ns, &own_ns))
        own_ns = 0;
    state->item.deadline_ns = sooner(call->deadline_ns, own_ns);
}

static bool have_rows(const struct pacer_run *run, size_t n_rows) {
    for (size_t i = 0; i < run->n_inputs; i++)
        if (run->inputs[i].rank == 0 || (uint64_t)run->inputs[i].shape[0] != n_rows)
            return false;
    return true;
}

static uint64_t elements_of(const struct pacer_run *run) {
    uint64_t elements = 0;
    for (size_t i = 0; i < run->n_inputs; i++) {
        size_t count = 0;
        pacer_shape_count(run->inputs[i].shape, run->inputs[i].rank, &count); // was checked
        elements += count;
    }
    return elements;
}

// Whether pieces of the outputs can be put together: all dimensions but the first are known.
static bool outputs_are_fixed(const struct pacer_session *session) {
    for (size_t i = 0; i < session->n_outputs; i++)
        for (size_t k = 1; k < session->outputs[i].rank; k++)
            if (session->outputs[i].shape[k] < 0)
                return false;
    return true;
}

// Of what has to be alike in a batch.
static uint64_t key_of(const struct pacer_run *run) {
    uint64_t key = run->n_inputs * 31 + run->n_outputs;
    for (size_t i = 0; i < run->n_inputs; i++)
        for (size_t k = 1; k < run->inputs[i].rank; k++)
            key = key * 0x9e3779b97f4a7c15u + (uint64_t)run->inputs[i].shape[k];
    return key;
}

// A long call is computed in pieces, so that others need not wait for all of it: of B rows, or of
// more where those take less than PIECE_NS.
static uint64_t rows_of_piece(const struct pcr_call_state *state) {
    const struct pcr_model *model = state->call->model;
    struct pcr_model_load load;
    pcr_model_load_now(model, &load);
    double row_ns = load.b_ns * (double)state->item.row_weight;
    double most = row_ns > 0 ? ((double)PIECE_NS - load.a_ns) / row_ns : 1e18;
    uint64_t cap = model->rows_max / state->item.row_weight;
    uint64_t rows = most < 1 ? 1 : most < 1e18 ? (uint64_t)most : UINT64_MAX;
    return rows > cap ? rows : cap;
}

static void classify(struct pcr_call_state *state) {
    const struct pcr_infer_call *call = state->call;
    const struct pcr_model *model = call->model;
    const struct pacer_session *session = model->session;
    const struct pacer_run *run = &call->run;
    bool has_rows = model->max_batch_size > 0 && run->n_inputs > 0 && run->inputs[0].rank > 0;
    state->n_rows = has_rows ? (size_t)run->inputs[0].shape[0] : 1;
    has_rows = has_rows && state->n_rows > 0 && have_rows(run, state->n_rows);
    bool alone = call->rows_alone && !model->rows_are_apart; // whatever `merge` says
    state->merges = model->merges && has_rows && run->n_inputs == session->n_required && !alone;
    state->row_by_row = alone && has_rows && state->n_rows > 1;
    uint64_t usual = (uint64_t)session->warm_up_elements * (state->n_rows ? state->n_rows : 1);
    uint64_t weight = usual ? (elements_of(run) + usual - 1) / usual : 1;
    state->item.rows = state->n_rows;
    state->item.row_weight = weight ? weight : 1;
    state->item.key = key_of(run);
    state->item.priority = call->priority < PCR_PRIORITIES ? call->priority : PCR_PRIORITIES - 1;
    state->item.piece_rows = rows_of_piece(state);
    state->item.divisible = state->merges && model->rows_are_apart &&
                            state->n_rows > state->item.piece_rows && outputs_are_fixed(session);
}

static bool is_alike(const struct pacer_tensor *a, const struct pacer_tensor *b) {
    return a->rank == b->rank && a->dtype == b->dtype &&
           (a->name == b->name || strcmp(a->name, b->name) == 0) &&
           memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

bool pcr_calls_are_alike(const struct pcr_batch_item *x, const struct pcr_batch_item *y) {
    const struct pcr_call_state *a = pcr_call_of(x);
    const struct pcr_call_state *b = pcr_call_of(y);
    const struct pacer_run *r = &a->call->run;
    const struct pacer_run *q = &b->call->run;
    if (!a->merges || !b->merges || r->n_inputs != q->n_inputs || r->n_outputs != q->n_outputs)
        return false;
    for (size_t i = 0; i < r->n_inputs; i++)
        if (!is_alike(&r->inputs[i], &q->inputs[i]))
            return false;
    for (size_t i = 0; i < r->n_outputs; i++)
        if (strcmp(r->outputs[i], q->outputs[i]) != 0)
            return false;
    return true;
}

// --- what it costs ------------------------------------------------------------------------------
static uint64_t cost_of(const struct pcr_call_state *state) {
    const struct pcr_model_queue *queue = pcr_model_queue(state->call->model);
    uint64_t runs = state->row_by_row ? state->n_rows : 1;
    uint64_t weight = state->n_rows / (runs ? runs : 1) * state->item.row_weight;
    uint64_t ns = pcr_model_queue_cost_ns(queue, weight);
    return ns == UINT64_MAX || __builtin_mul_overflow(ns, runs, &ns) ? UINT64_MAX : ns;
}

// Threads may lose each other's notes: all that matters is many late runs.
void pcr_engine_note_cost(struct pcr_model *model, uint64_t infer_ns) {
    _Atomic unsigned *place = &model->session->strikes;
    unsigned strikes = atomic_load_explicit(place, memory_order_relaxed);
    if (infer_ns >= LATE_NS && strikes < STRIKES_MAX)
        atomic_store_explicit(place, strikes + STRIKE, memory_order_relaxed);
    else if (infer_ns < LATE_NS && strikes > 0)
        atomic_store_explicit(place, strikes - 1, memory_order_relaxed);
}

static bool is_out(const struct pcr_model *model) {
    const _Atomic unsigned *place = &model->session->strikes;
    return atomic_load_explicit(place, memory_order_relaxed) >= STRIKES_OUT;
}

static bool runs_here(struct pcr_call_state *state) {
    const struct pcr_model *model = state->call->model;
    if (model->run_ns >= PCR_INLINE_NS || model->config.max_wait_ns > 0)
        return false;
    state->looks_cheap = cost_of(state) < PCR_INLINE_NS &&
                         elements_of(&state->call->run) <= INLINE_INPUT_ELEMENTS_MAX;
    return state->looks_cheap && !is_out(model);
}

// --- refusals -----------------------------------------------------------------------------------
static void count_refusal(struct pcr_infer_call *call, size_t offset) {
    struct pcr_model_stats more = {0};
    *(uint64_t *)(void *)((char *)&more + offset) = 1;
    pcr_model_count(call->model, &more);
}

int pcr_call_refuse_stopping(struct pcr_infer_call *call) {
    return call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                                  "the server is stopping; the request was not computed");
}

int pcr_call_refuse_canceled(struct pcr_infer_call *call) {
    count_refusal(call, offsetof(struct pcr_model_stats, canceled_count));
    return call->status = pcr_err(&call->error, PACER_ECANCELED, "engine",
                                  "the client went away; the request was not computed");
}

int pcr_call_refuse_expired(struct pcr_infer_call *call, uint64_t now_ns) {
    uint64_t waited_ns = now_ns > call->received_ns ? now_ns - call->received_ns : 0;
    count_refusal(call, offsetof(struct pcr_model_stats, expired_count));
    return call->status =
               pcr_err(&call->error, PACER_ETIMEDOUT, "engine",
                       "the request's time was up after %llu ms in the queue of model '%s'; it was "
                       "not computed",
                       (unsigned long long)(waited_ns / PCR_NS_PER_MS), call->model->name);
}

int pcr_call_refuse(struct pcr_infer_call *call, enum pcr_batch_verdict verdict,
                    uint64_t retry_ns) {
    call->retry_ns = retry_ns;
    if (verdict == PCR_BATCH_FULL) {
        count_refusal(call, offsetof(struct pcr_model_stats, full_count));
        return call->status = pcr_err(&call->error, PACER_EBUSY, "engine",
                                      "model '%s' is busy: %zu requests wait for it already; try "
                                      "again later",
                                      call->model->name, call->model->config.queue_max);
    }
    count_refusal(call, offsetof(struct pcr_model_stats, late_count));
    return call->status =
               pcr_err(&call->error, PACER_ETIMEDOUT, "engine",
                       retry_ns == PCR_RETRY_NEVER
                           ? "the request's time would be up before model '%s' could compute it, "
                             "even if nothing else waited; give it more time"
                           : "the request's time would be up before its turn at model '%s' comes; "
                             "it was not computed",
                       call->model->name);
}

bool pcr_call_is_wanted(struct pcr_call_state *state, uint64_t now_ns) {
    struct pcr_infer_call *call = state->call;
    if (atomic_load_explicit(&state->engine->stopping, memory_order_relaxed))
        pcr_call_refuse_stopping(call);
    else if (atomic_load_explicit(&state->canceled, memory_order_relaxed))
        pcr_call_refuse_canceled(call);
    else if (state->item.deadline_ns && now_ns >= state->item.deadline_ns)
        pcr_call_refuse_expired(call, now_ns);
    return call->status == 0;
}

// Before it is read: whether a dear model's queue leaves it a chance.
static bool has_a_chance(struct pcr_call_state *state, const struct pcr_turn *turn,
                         uint64_t now_ns) {
    struct pcr_infer_call *call = state->call;
    const struct pcr_model_queue *queue = pcr_model_queue(call->model);
    uint64_t one_ns = pcr_model_queue_cost_ns(queue, 1);
    if (call->model->run_ns < PCR_INLINE_NS && one_ns < PCR_INLINE_NS)
        return true; // which queue it will be in is seen later
    uint64_t free_ns = atomic_load_explicit(&queue->free_ns, memory_order_relaxed);
    uint64_t wait_ns = free_ns > now_ns ? free_ns - now_ns : 0;
    bool is_idle = wait_ns == 0 && pcr_turn_leaving(turn) == 0; // then refusing saves nobody's time
    if (atomic_load_explicit(&queue->full, memory_order_relaxed)) {
        pcr_call_refuse(call, PCR_BATCH_FULL, wait_ns);
    } else if (state->item.deadline_ns && one_ns != UINT64_MAX && !is_idle) {
        uint64_t left_ns = state->item.deadline_ns - now_ns; // it is wanted, so this is positive
        // What this turn has read already is ahead, too, whichever model it is for.
        wait_ns += pcr_turn_leaving(turn) * (one_ns / 2) +
                   atomic_load_explicit(&queue->margin_ns, memory_order_relaxed);
        if (one_ns > left_ns)
            pcr_call_refuse(call, PCR_BATCH_LATE, PCR_RETRY_NEVER);
        else if (wait_ns > left_ns && !call->priority_comes)
            pcr_call_refuse(call, PCR_BATCH_LATE, wait_ns - left_ns);
    }
    return call->status == 0;
}

// --- stages -------------------------------------------------------------------------------------
bool pcr_call_read(struct pcr_call_state *state, uint64_t *now_ns) {
    struct pcr_infer_call *call = state->call;
    if (call->read) {
        uint64_t start_ns = *now_ns;
        call->status = call->read(call);
        *now_ns = pcr_clock_mono_ns();
        call->input_ns = *now_ns - start_ns;
    }
    if (call->status == 0)
        call->status = pcr_model_check(call->model, &call->run, &call->error);
    if (call->status < 0)
        return false;
    classify(state);
    set_deadline(state, true);
    state->queued_ns = *now_ns;
    return true;
}

void pcr_call_write(struct pcr_infer_call *call, uint64_t *now_ns) {
    if (call->status < 0 || !call->write)
        return;
    uint64_t start_ns = *now_ns;
    call->status = call->write(call);
    *now_ns = pcr_clock_mono_ns();
    call->output_ns = *now_ns - start_ns;
}

// How much there is to write is known only after the run: a small input may have a large output.
bool pcr_call_is_much_to_write(const struct pcr_infer_call *call) {
    size_t elements = 0;
    if (call->status < 0 || !call->write || call->writes_no_text)
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

// One addition per request, when all is known: clients hold the counts of the parts against each
// other. Runs are counted where they happen.
static void count(const struct pcr_call_state *state, uint64_t end_ns) {
    const struct pcr_infer_call *call = state->call;
    struct pcr_model_stats more = {0};
    uint64_t total_ns = end_ns > state->submitted_ns ? end_ns - state->submitted_ns : 0;
    more.queue_count = 1;
    more.queue_ns = call->queue_ns;
    if (call->status < 0) {
        more.fail_count = 1;
        more.fail_ns = total_ns;
    } else {
        more.success_count = 1;
        more.success_ns = total_ns;
        more.inference_count = state->n_rows;
        more.input_count = more.infer_count = more.output_count = 1;
        more.input_ns = call->input_ns;
        more.infer_ns = call->infer_ns;
        more.output_ns = call->output_ns;
        more.last_inference_ms = end_ns / PCR_NS_PER_MS;
    }
    pcr_model_count(call->model, &more);
}

void pcr_call_end(struct pcr_call_state *state, uint64_t now_ns) {
    struct pcr_infer_call *call = state->call;
    if (call->status < 0) { // of a call in pieces there may be some
        call->outputs = NULL;
        call->n_outputs = 0;
    }
    count(state, now_ns);
    call->done(call);
}

// --- submission ---------------------------------------------------------------------------------
static void refuse_reading(struct pcr_infer_call *call) {
    count_refusal(call, offsetof(struct pcr_model_stats, full_count));
    call->status = pcr_err(&call->error, PACER_EBUSY, "engine",
                           "the server is busy: as many large requests as it takes wait to be read "
                           "already; try again later");
}

// True: it is on its way; false: it has its status.
static bool begin(struct pcr_call_state *state, uint64_t *now_ns) {
    struct pcr_infer_call *call = state->call;
    struct pcr_turn *turn = pcr_turn_of(state->engine, call->loop);
    if (!turn) {
        call->status = pcr_err(&call->error, PACER_ENOMEM, "engine", "out of memory");
        return false;
    }
    set_deadline(state, false);
    if (!pcr_call_is_wanted(state, *now_ns) || !has_a_chance(state, turn, *now_ns))
        return false;
    if (call->read && call->is_large) {
        state->queued_ns = *now_ns;
        if (pcr_workers_submit_job(state->engine->workers, state, PCR_CALL_READ))
            return true;
        refuse_reading(call);
        return false;
    }
    if (!pcr_call_read(state, now_ns) || !pcr_call_is_wanted(state, *now_ns))
        return false;
    if (runs_here(state))
        return pcr_turn_add_here(turn, state, *now_ns);
    pcr_turn_add_there(turn, state);
    return true;
}

void pcr_engine_submit(struct pcr_engine *engine, struct pcr_infer_call *call) {
    uint64_t now_ns = pcr_clock_mono_ns();
    struct pcr_call_state *state = pcr_arena_calloc(call->arena, 1, sizeof *state);
    call->outputs = NULL;
    call->n_outputs = 0;
    call->queue_ns = call->input_ns = call->infer_ns = call->output_ns = call->retry_ns = 0;
    call->status = 0;
    call->state = state;
    if (call->received_ns == 0)
        call->received_ns = now_ns;
    if (!state) {
        call->status = pcr_err(&call->error, PACER_ENOMEM, "engine", "no memory for the request");
        call->done(call);
        return;
    }
    state->call = call;
    state->engine = engine;
    state->submitted_ns = state->queued_ns = now_ns;
    pcr_list_init(&state->item.node);
    atomic_init(&state->canceled, false);
    if (!begin(state, &now_ns))
        pcr_call_end(state, now_ns);
}

void pcr_engine_cancel(struct pcr_infer_call *call) {
    struct pcr_call_state *state = call->state;
    struct pcr_engine *engine = state->engine;
    bool removed = state->place == PCR_CALL_HERE ? pcr_turn_remove(state)
                                                 : pcr_workers_remove(engine->workers, state);
    if (!removed) {
        atomic_store_explicit(&state->canceled, true, memory_order_relaxed);
        return;
    }
    uint64_t now_ns = pcr_clock_mono_ns();
    state->place = PCR_CALL_HERE;
    call->queue_ns = now_ns > state->queued_ns ? now_ns - state->queued_ns : 0;
    pcr_call_refuse_canceled(call);
    pcr_call_end(state, now_ns);
}
