// SPDX-License-Identifier: Apache-2.0
// The loops' side of the engine: what one turn of a loop collects.
//
// Each loop has queues of its own for the cheap models that its requests ask for, so no lock and no
// line of memory is shared on this way. At the end of a turn they are run, in turns between models
// and for at most TURN_NS together: what is left waits for the next turn, which looks for events
// first and does not wait for them, so that a loop goes on reading however much there is to
// compute. What is for the workers is handed over first, as one list under one lock.
//
// A loop's queue learns its own costs and publishes them, so that the decision where to run what
// follows the load. Queues are found by the model's serial number in a small table; one that is
// empty gives its place to another model, and where there is no place the workers take the call.
#include "infer/engine_priv.h"
#include "infer/session_priv.h"

#include <stdlib.h>

#define QUEUES 64 // models at a time per loop; a power of two
#define TURN_NS (100 * PCR_NS_PER_US)
#define PUBLISH_EVERY 64 // runs
#define LEAVING_MAX 32   // calls that are handed over together

struct turn_queue {
    uint64_t serial; // of the model; 0: free
    struct pcr_batch_queue queue;
    struct pcr_list ring; // among those that have something to run
    unsigned n_runs;      // since the costs were published
};

struct pcr_turn {
    struct pcr_deferred deferred;
    struct pcr_loop *loop;
    struct pcr_engine *engine; // one reference
    struct pcr_runner runner;
    struct pcr_list ring;
    struct pcr_list leaving; // for the workers, by item.node
    unsigned n_leaving;      // at most, some may have been canceled
    bool hands_over;         // the ends of those that are refused may submit others
    struct turn_queue queues[QUEUES];
};

// --- queues -------------------------------------------------------------------------------------
// The longest batch that keeps a loop no longer than a cheap run may.
static uint64_t rows_here(const struct pcr_cost *cost, uint64_t rows_max) {
    while (rows_max > 1 && pcr_cost_ns(cost, rows_max) >= PCR_INLINE_NS)
        rows_max /= 2;
    return rows_max;
}

static void open_queue(struct turn_queue *q, const struct pcr_model *model) {
    const struct pcr_cost *cost = pcr_session_cost(model->session);
    struct pcr_batch_options options = {
        .rows_max = rows_here(cost, model->rows_max),
        .queue_max = model->config.queue_max,
        .slots = 1,
        .alike = pcr_calls_are_alike,
    };
    pcr_batch_queue_init(&q->queue, &options);
    q->queue.cost = *cost;
    q->serial = model->serial;
    q->n_runs = 0;
    pcr_list_init(&q->ring);
}

// NULL: all places are taken by models that have something to run.
static struct turn_queue *queue_of(struct pcr_turn *turn, const struct pcr_model *model) {
    struct turn_queue *vacant = NULL;
    for (size_t i = 0; i < QUEUES; i++) {
        struct turn_queue *q = &turn->queues[(model->serial + i) % QUEUES];
        if (q->serial == model->serial)
            return q;
        // In the ring although nothing waits: all that did was canceled. Its next turn is to come.
        bool is_idle = q->serial == 0 || (q->queue.n_waiting == 0 && q->queue.n_running == 0 &&
                                          pcr_list_empty(&q->ring));
        if (!vacant && is_idle)
            vacant = q;
        if (q->serial == 0) // nothing was ever put behind a place that was never used
            break;
    }
    if (vacant)
        open_queue(vacant, model);
    return vacant;
}

// --- running ------------------------------------------------------------------------------------
static struct pcr_call_state *take_first(struct pcr_list *items) {
    struct pcr_call_state *state =
        pcr_call_of(PCR_LIST_ENTRY(items->next, struct pcr_batch_item, node));
    pcr_list_remove(&state->item.node);
    return state;
}

static void end_late(struct pcr_batch *batch, uint64_t now_ns) {
    while (!pcr_list_empty(&batch->late)) {
        struct pcr_call_state *state = take_first(&batch->late);
        state->call->queue_ns = now_ns - state->queued_ns;
        pcr_call_refuse_expired(state->call, now_ns);
        pcr_call_end(state, now_ns);
    }
}

static void answer(struct pcr_turn *turn, struct pcr_call_state *state) {
    if (pcr_call_is_much_to_write(state->call) &&
        pcr_workers_submit_job(turn->engine->workers, state, PCR_CALL_WRITE))
        return; // a worker writes it
    uint64_t now_ns = pcr_clock_mono_ns();
    pcr_call_write(state->call, &now_ns);
    pcr_call_end(state, now_ns);
}

// All of a batch that was run. `done` of one may cancel or submit others, so each is taken off the
// list before; and the queue may be another model's then, so what is to go on is put back first.
static void answer_all(struct pcr_turn *turn, struct turn_queue *q, struct pcr_batch *batch) {
    PCR_LIST_FOR_EACH_SAFE(node, after, &batch->items) {
        struct pcr_call_state *state =
            pcr_call_of(PCR_LIST_ENTRY(node, struct pcr_batch_item, node));
        state->done_rows += state->item.taken;
        if (state->call->status == 0 && state->item.rows > 0) {
            pcr_list_remove(node);
            pcr_batch_queue_again(&q->queue, &state->item);
        }
    }
    while (!pcr_list_empty(&batch->items))
        answer(turn, take_first(&batch->items));
}

static void run_batch(struct pcr_turn *turn, struct turn_queue *q, struct pcr_batch *batch,
                      uint64_t now_ns) {
    struct pcr_call_state *first =
        pcr_call_of(PCR_LIST_ENTRY(batch->items.next, struct pcr_batch_item, node));
    struct pcr_model *model = first->call->model;
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pcr_call_state *state =
            pcr_call_of(PCR_LIST_ENTRY(node, struct pcr_batch_item, node));
        state->call->queue_ns += now_ns - state->queued_ns;
    }
    bool succeeded = pcr_batch_run(&turn->runner, batch);
    uint64_t took_ns = pcr_clock_mono_ns() - now_ns;
    pcr_batch_queue_finish(&q->queue, batch, succeeded ? took_ns : 0);
    pcr_engine_note_cost(model, first->call->infer_ns);
    if (q->n_runs++ % PUBLISH_EVERY == 0)
        pcr_model_queue_publish_cost(pcr_model_queue(model), &q->queue.cost);
    answer_all(turn, q, batch); // the model may be gone with its last call
}

static void end_all(struct pcr_batch_queue *queue) {
    for (size_t i = 0; i < PCR_BATCH_PRIORITIES; i++)
        while (!pcr_list_empty(&queue->waiting[i])) {
            struct pcr_call_state *state =
                pcr_call_of(PCR_LIST_ENTRY(queue->waiting[i].next, struct pcr_batch_item, node));
            pcr_batch_queue_remove(queue, &state->item);
            pcr_call_refuse_stopping(state->call);
            pcr_call_end(state, pcr_clock_mono_ns());
        }
}

// The next batch of the next model.
static void run_next(struct pcr_turn *turn, uint64_t now_ns) {
    struct turn_queue *q = PCR_LIST_ENTRY(turn->ring.next, struct turn_queue, ring);
    struct pcr_batch batch;
    pcr_list_remove(&q->ring);
    if (atomic_load_explicit(&turn->engine->stopping, memory_order_relaxed)) {
        end_all(&q->queue);
        return;
    }
    bool taken = pcr_batch_queue_take(&q->queue, now_ns, &batch);
    end_late(&batch, now_ns);
    if (taken)
        run_batch(turn, q, &batch, now_ns);
    if (q->queue.n_waiting > 0 && pcr_list_empty(&q->ring))
        pcr_list_push_back(&turn->ring, &q->ring);
}

static void hand_over(struct pcr_turn *turn) {
    if (pcr_list_empty(&turn->leaving))
        return;
    struct pcr_call_state *list = NULL;
    struct pcr_call_state **last = &list;
    struct pcr_call_state *refused = NULL;
    while (!pcr_list_empty(&turn->leaving)) {
        struct pcr_call_state *state = take_first(&turn->leaving);
        state->place = PCR_CALL_THERE;
        *last = state;
        last = &state->next;
    }
    *last = NULL;
    turn->n_leaving = 0;
    turn->hands_over = true;
    uint64_t now_ns = pcr_clock_mono_ns();
    pcr_workers_submit(turn->engine->workers, list, now_ns, &refused);
    while (refused) {
        struct pcr_call_state *next = refused->next;
        refused->place = PCR_CALL_HERE;
        pcr_call_end(refused, now_ns);
        refused = next;
    }
    turn->hands_over = false;
}

static void on_turn_end(struct pcr_deferred *deferred) {
    struct pcr_turn *turn = PCR_CONTAINER_OF(deferred, struct pcr_turn, deferred);
    hand_over(turn);
    uint64_t start_ns = pcr_clock_mono_ns(); // of calls, too, that the ends of others submitted
    uint64_t now_ns = start_ns;
    while (!pcr_list_empty(&turn->ring) && now_ns - start_ns < TURN_NS) {
        run_next(turn, now_ns);
        now_ns = pcr_clock_mono_ns();
    }
    if (!pcr_list_empty(&turn->ring) || !pcr_list_empty(&turn->leaving))
        pcr_loop_defer(turn->loop, &turn->deferred);
}

// --- in and out ---------------------------------------------------------------------------------
static void destroy(void *value) {
    struct pcr_turn *turn = value;
    PCR_ASSERT(pcr_list_empty(&turn->ring) && pcr_list_empty(&turn->leaving));
    pcr_runner_fini(&turn->runner);
    pcr_engine_unref(turn->engine);
    free(turn);
}

struct pcr_turn *pcr_turn_of(struct pcr_engine *engine, struct pcr_loop *loop) {
    struct pcr_turn *turn = pcr_loop_get_local(loop, engine);
    if (PCR_LIKELY(turn))
        return turn;
    turn = calloc(1, sizeof *turn);
    if (!turn || !pcr_loop_set_local(loop, engine, turn, destroy)) {
        free(turn);
        return NULL;
    }
    turn->deferred.fire = on_turn_end;
    turn->loop = loop;
    turn->engine = engine;
    atomic_fetch_add_explicit(&engine->refs, 1, memory_order_relaxed);
    pcr_runner_init(&turn->runner, engine->run_options, true);
    pcr_list_init(&turn->ring);
    pcr_list_init(&turn->leaving);
    return turn;
}

bool pcr_turn_add_here(struct pcr_turn *turn, struct pcr_call_state *state, uint64_t now_ns) {
    struct turn_queue *q = queue_of(turn, state->call->model);
    if (!q) {
        pcr_turn_add_there(turn, state);
        return true;
    }
    uint64_t retry_ns;
    enum pcr_batch_verdict verdict =
        pcr_batch_queue_add(&q->queue, &state->item, now_ns, &retry_ns);
    if (verdict != PCR_BATCH_ADMITTED) {
        pcr_call_refuse(state->call, verdict, retry_ns);
        return false;
    }
    state->turn_queue = &q->queue;
    if (pcr_list_empty(&q->ring))
        pcr_list_push_back(&turn->ring, &q->ring);
    pcr_loop_defer(turn->loop, &turn->deferred);
    return true;
}

void pcr_turn_add_there(struct pcr_turn *turn, struct pcr_call_state *state) {
    state->turn_queue = NULL;
    pcr_list_push_back(&turn->leaving, &state->item.node);
    if (++turn->n_leaving >= LEAVING_MAX && !turn->hands_over) // a turn may be long
        hand_over(turn);
    else
        pcr_loop_defer(turn->loop, &turn->deferred);
}

unsigned pcr_turn_leaving(const struct pcr_turn *turn) {
    return turn->n_leaving;
}

bool pcr_turn_remove(struct pcr_call_state *state) {
    if (state->turn_queue)
        return pcr_batch_queue_remove(state->turn_queue, &state->item);
    bool leaves = !pcr_list_empty(&state->item.node);
    pcr_list_remove(&state->item.node);
    return leaves;
}
