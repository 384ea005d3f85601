// SPDX-License-Identifier: Apache-2.0
// The threads' side of the engine: workers that take batches of dear models.
//
// One lock guards the queues of all models; it is held for microseconds, and what is done outside
// it takes a hundred times as long. Models that have something to run stand in a ring: a worker
// takes the next batch of the first that may run and puts it behind the others, so models which
// share the cores take turns. A worker that leaves something to run behind wakes the next one, so
// one signal is enough for a whole list of calls.
//
// Results go back in lists, one letter for all calls of a batch that belong to one loop. Answers
// are written on the loop, which has to touch them anyway, unless there is much to write.
//
// Besides there are jobs: requests too large to be read on a loop, and answers too large to be
// written there. They take turns with the batches.
#include "infer/engine_priv.h"
#include "infer/session_priv.h"

#include <stdlib.h>
#include <time.h>

#define MARGIN_NS_MAX (250 * PCR_NS_PER_MS)
#define MARGIN_RISE 4
#define MARGIN_FALL 2048
#define MARGIN_FALL_IDLE 16

struct pcr_workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct pcr_list ring; // of struct pcr_model_queue
    struct pcr_call_state *first_job;
    struct pcr_call_state **last_job;
    size_t n_jobs, jobs_max;
    const OrtRunOptions *options;
    bool stopping;
    unsigned n_idle;
    unsigned n_threads;
    pthread_t threads[];
};

// --- back to the loops --------------------------------------------------------------------------
static void on_mail(struct pcr_mail *mail) {
    struct pcr_call_state *state = PCR_CONTAINER_OF(mail, struct pcr_call_state, mail);
    while (state) {
        struct pcr_call_state *next = state->next; // the call is gone after its end
        uint64_t now_ns = pcr_clock_mono_ns();
        state->place = PCR_CALL_HERE;
        if (!state->written)
            pcr_call_write(state->call, &now_ns);
        if (state->call->status == 0)
            pcr_model_queue_note_end(pcr_model_queue(state->call->model), state->item.expected_ns,
                                     now_ns);
        pcr_call_end(state, now_ns);
        state = next;
    }
}

// Takes all of one loop's off the list, in order, and posts them.
static struct pcr_call_state *post_first_loop(struct pcr_call_state *list) {
    struct pcr_loop *loop = list->call->loop;
    struct pcr_call_state *rest = NULL;
    struct pcr_call_state **last_rest = &rest;
    struct pcr_call_state **last = &list->next;
    for (struct pcr_call_state *state = list->next; state; state = state->next) {
        struct pcr_call_state ***to = state->call->loop == loop ? &last : &last_rest;
        **to = state;
        *to = &state->next;
    }
    *last = NULL;
    *last_rest = NULL;
    list->mail.deliver = on_mail;
    pcr_loop_post(loop, &list->mail);
    return rest;
}

static void deliver(struct pcr_call_state *list) {
    while (list)
        list = post_first_loop(list);
}

struct done_list {
    struct pcr_call_state *first;
    struct pcr_call_state **last;
};

static void done_init(struct done_list *list) {
    list->first = NULL;
    list->last = &list->first;
}

static void done_add(struct done_list *list, struct pcr_call_state *state) {
    *list->last = state;
    list->last = &state->next;
    state->next = NULL;
}

// --- the queues: under the lock -----------------------------------------------------------------
static void publish(struct pcr_model_queue *q, uint64_t now_ns) {
    uint64_t backlog_ns = pcr_batch_queue_backlog_ns(&q->queue, PCR_PRIORITY_DEFAULT, now_ns);
    bool full = q->queue.n_waiting >= q->queue.options.queue_max;
    atomic_store_explicit(&q->free_ns, now_ns + (backlog_ns < PCR_NS_PER_S * 3600 ? backlog_ns : 0),
                          memory_order_relaxed);
    atomic_store_explicit(&q->full, full, memory_order_relaxed);
    atomic_store_explicit(&q->waiting, q->queue.n_waiting, memory_order_relaxed);
}

static void enter_ring(struct pcr_workers *w, struct pcr_model_queue *q) {
    if (q->queue.n_waiting > 0 && pcr_list_empty(&q->ring))
        pcr_list_push_back(&w->ring, &q->ring);
}

// What finds the model idle does not meet the load that the margin was learnt from. Without this a
// margin that is longer than all deadlines would refuse whatever could teach a shorter one.
static void forget_margin(struct pcr_model_queue *q) {
    uint64_t margin_ns = atomic_load_explicit(&q->margin_ns, memory_order_relaxed);
    if (q->queue.n_waiting == 0 && q->queue.n_running == 0) {
        margin_ns -= margin_ns / MARGIN_FALL_IDLE;
        atomic_store_explicit(&q->margin_ns, margin_ns, memory_order_relaxed);
    }
    q->queue.margin_ns = margin_ns;
}

static bool add(struct pcr_workers *w, struct pcr_call_state *state, uint64_t now_ns) {
    struct pcr_model_queue *q = pcr_model_queue(state->call->model);
    if (q->queue.options.slots > w->n_threads)
        q->queue.options.slots = w->n_threads;
    forget_margin(q);
    uint64_t retry_ns;
    enum pcr_batch_verdict verdict =
        pcr_batch_queue_add(&q->queue, &state->item, now_ns, &retry_ns);
    if (verdict != PCR_BATCH_ADMITTED) {
        pcr_call_refuse(state->call, verdict, retry_ns);
        return false;
    }
    enter_ring(w, q);
    publish(q, now_ns);
    return true;
}

static void wake_one(struct pcr_workers *w) {
    if (w->n_idle > 0)
        pthread_cond_signal(&w->work);
}

void pcr_workers_submit(struct pcr_workers *w, struct pcr_call_state *list, uint64_t now_ns,
                        struct pcr_call_state **refused) {
    *refused = NULL;
    pthread_mutex_lock(&w->lock);
    while (list) {
        struct pcr_call_state *next = list->next;
        bool taken = !w->stopping && add(w, list, now_ns);
        if (w->stopping)
            pcr_call_refuse_stopping(list->call);
        if (!taken) {
            *refused = list;
            refused = &list->next;
            *refused = NULL;
        }
        list = next;
    }
    wake_one(w);
    pthread_mutex_unlock(&w->lock);
}

bool pcr_workers_submit_job(struct pcr_workers *w, struct pcr_call_state *state,
                            enum pcr_call_job job) {
    pthread_mutex_lock(&w->lock);
    bool taken = !w->stopping && w->n_jobs < w->jobs_max;
    if (taken) {
        state->place = PCR_CALL_THERE;
        state->job = job;
        state->next = NULL;
        *w->last_job = state;
        w->last_job = &state->next;
        w->n_jobs++;
        wake_one(w);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

bool pcr_workers_remove(struct pcr_workers *w, struct pcr_call_state *state) {
    struct pcr_model_queue *q = pcr_model_queue(state->call->model);
    pthread_mutex_lock(&w->lock);
    bool removed = pcr_batch_queue_remove(&q->queue, &state->item);
    if (removed && q->queue.n_waiting == 0)
        pcr_list_remove(&q->ring);
    if (removed)
        publish(q, pcr_clock_mono_ns());
    pthread_mutex_unlock(&w->lock);
    return removed;
}

// --- jobs ---------------------------------------------------------------------------------------
static void read_job(struct pcr_workers *w, struct pcr_call_state *state) {
    uint64_t now_ns = pcr_clock_mono_ns();
    state->call->queue_ns = now_ns - state->queued_ns;
    bool goes_on = pcr_call_is_wanted(state, now_ns) && pcr_call_read(state, &now_ns) &&
                   pcr_call_is_wanted(state, now_ns);
    pthread_mutex_lock(&w->lock);
    if (goes_on && w->stopping)
        pcr_call_refuse_stopping(state->call);
    goes_on = goes_on && !w->stopping && add(w, state, now_ns);
    pthread_mutex_unlock(&w->lock);
    if (!goes_on)
        deliver(state);
}

static bool do_job(struct pcr_workers *w) {
    struct pcr_call_state *state = w->first_job;
    if (!state)
        return false;
    w->first_job = state->next;
    if (!w->first_job)
        w->last_job = &w->first_job;
    w->n_jobs--;
    state->next = NULL;
    if (w->first_job)
        wake_one(w);
    pthread_mutex_unlock(&w->lock);
    if (state->job == PCR_CALL_READ) {
        read_job(w, state);
    } else {
        uint64_t now_ns = pcr_clock_mono_ns();
        pcr_call_write(state->call, &now_ns);
        state->written = true;
        deliver(state);
    }
    pthread_mutex_lock(&w->lock);
    return true;
}

// --- batches ------------------------------------------------------------------------------------
// The first queue of the ring that may run now; *ready_ns: when one will.
static struct pcr_model_queue *next_ready(struct pcr_workers *w, uint64_t now_ns,
                                          uint64_t *ready_ns) {
    *ready_ns = UINT64_MAX;
    PCR_LIST_FOR_EACH(node, &w->ring) {
        struct pcr_model_queue *q = PCR_LIST_ENTRY(node, struct pcr_model_queue, ring);
        uint64_t ns = pcr_batch_queue_ready_ns(&q->queue, now_ns);
        if (ns <= now_ns)
            return q;
        *ready_ns = ns < *ready_ns ? ns : *ready_ns;
    }
    return NULL;
}

static struct pcr_call_state *first_call(struct pcr_list *items) {
    return pcr_call_of(PCR_LIST_ENTRY(items->next, struct pcr_batch_item, node));
}

static void end_late(struct pcr_batch *batch, uint64_t now_ns, struct done_list *done) {
    while (!pcr_list_empty(&batch->late)) {
        struct pcr_call_state *state = first_call(&batch->late);
        pcr_list_remove(&state->item.node);
        state->call->queue_ns += now_ns - state->queued_ns;
        // It was expected to be met: had it been computed, it would have ended no earlier than now.
        pcr_model_queue_note_end(pcr_model_queue(state->call->model), state->item.expected_ns,
                                 now_ns);
        pcr_call_refuse_expired(state->call, now_ns);
        done_add(done, state);
    }
}

static void note_waits(struct pcr_batch *batch, uint64_t now_ns) {
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pcr_call_state *state =
            pcr_call_of(PCR_LIST_ENTRY(node, struct pcr_batch_item, node));
        state->call->queue_ns += now_ns - state->queued_ns;
    }
}

// Under the lock, after the run: what is not finished waits again, the rest is done.
static void finish(struct pcr_workers *w, struct pcr_model_queue *q, struct pcr_batch *batch,
                   uint64_t took_ns, struct done_list *done) {
    uint64_t now_ns = pcr_clock_mono_ns();
    pcr_batch_queue_finish(&q->queue, batch, took_ns);
    while (!pcr_list_empty(&batch->items)) {
        struct pcr_call_state *state = first_call(&batch->items);
        pcr_list_remove(&state->item.node);
        state->done_rows += state->item.taken;
        state->queued_ns = now_ns;
        if (state->item.rows > 0 && state->call->status == 0 && pcr_call_is_wanted(state, now_ns))
            pcr_batch_queue_again(&q->queue, &state->item);
        else
            done_add(done, state);
    }
    enter_ring(w, q);
    publish(q, now_ns);
    pcr_model_queue_publish_cost(q, &q->queue.cost);
}

// Much to write is written here; the others need not wait for it.
static void deliver_batch(struct done_list *done) {
    struct done_list quick, slow;
    done_init(&quick);
    done_init(&slow);
    for (struct pcr_call_state *state = done->first; state;) {
        struct pcr_call_state *next = state->next;
        done_add(pcr_call_is_much_to_write(state->call) ? &slow : &quick, state);
        state = next;
    }
    deliver(quick.first);
    while (slow.first) {
        struct pcr_call_state *state = slow.first;
        slow.first = state->next;
        state->next = NULL;
        uint64_t now_ns = pcr_clock_mono_ns();
        pcr_call_write(state->call, &now_ns);
        state->written = true;
        deliver(state);
    }
}

// *free_ns is since when this worker has had nothing else to do: what passes until it begins, for
// want of the lock or of a processor, is a cost of the batch like the run itself. 0: since now.
static bool do_batch(struct pcr_workers *w, struct pcr_runner *runner, uint64_t *free_ns,
                     uint64_t *ready_ns) {
    uint64_t now_ns = pcr_clock_mono_ns();
    uint64_t begun_ns = *free_ns ? *free_ns : now_ns;
    struct pcr_model_queue *q = next_ready(w, now_ns, ready_ns);
    struct pcr_batch batch;
    struct done_list done;
    uint64_t later_ns;
    if (!q)
        return false;
    done_init(&done);
    bool taken = pcr_batch_queue_take(&q->queue, now_ns, &batch);
    pcr_list_remove(&q->ring);
    enter_ring(w, q); // behind the others
    publish(q, now_ns);
    if (next_ready(w, now_ns, &later_ns))
        wake_one(w);
    end_late(&batch, now_ns, &done);
    pthread_mutex_unlock(&w->lock);
    if (taken) {
        // A reference of our own: the queue is part of the model, which may lose its last call.
        struct pcr_call_state *first = first_call(&batch.items);
        struct pcr_model *model = first->call->model;
        pcr_model_ref(model);
        note_waits(&batch, now_ns);
        bool succeeded = pcr_batch_run(runner, &batch);
        if (first->looks_cheap) // it is here only because others were late
            pcr_engine_note_cost(model, first->call->infer_ns);
        pthread_mutex_lock(&w->lock);
        *free_ns = pcr_clock_mono_ns();
        finish(w, q, &batch, succeeded ? *free_ns - begun_ns : 0, &done);
        pthread_mutex_unlock(&w->lock);
        deliver_batch(&done);
        pcr_model_unref(model);
    } else {
        deliver_batch(&done);
    }
    pthread_mutex_lock(&w->lock);
    return true;
}

static void wait_for_work(struct pcr_workers *w, uint64_t until_ns) {
    w->n_idle++;
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(&w->work, &w->lock);
    } else {
        struct timespec until = {.tv_sec = (time_t)(until_ns / PCR_NS_PER_S),
                                 .tv_nsec = (long)(until_ns % PCR_NS_PER_S)};
        pthread_cond_timedwait(&w->work, &w->lock, &until);
    }
    w->n_idle--;
}

static void *work(void *arg) {
    struct pcr_workers *w = arg;
    struct pcr_runner runner;
    pcr_runner_init(&runner, w->options, false);
    pthread_mutex_lock(&w->lock);
    uint64_t free_ns = 0;
    for (bool jobs_first = true; !w->stopping; jobs_first = !jobs_first) {
        uint64_t ready_ns = UINT64_MAX;
        if (!jobs_first && do_batch(w, &runner, &free_ns, &ready_ns))
            continue;
        if (do_job(w)) {
            free_ns = 0;
            continue;
        }
        if (jobs_first && do_batch(w, &runner, &free_ns, &ready_ns))
            continue;
        free_ns = 0;
        if (!w->stopping)
            wait_for_work(w, ready_ns);
    }
    pthread_mutex_unlock(&w->lock);
    pcr_runner_fini(&runner);
    return NULL;
}

// --- life ---------------------------------------------------------------------------------------
static int start_threads(struct pcr_workers *w, unsigned threads) {
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    while (w->n_threads < threads && rc == 0) {
        rc = pcr_thread_start(&w->threads[w->n_threads], "pacer-worker", work, w);
        if (rc == 0)
            w->n_threads++;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

int pcr_workers_create(unsigned threads, size_t jobs_max, const OrtRunOptions *options,
                       struct pcr_workers **out, struct pacer_error *err) {
    PCR_ASSERT(threads > 0 && threads <= 4096 && jobs_max > 0);
    struct pcr_workers *w = calloc(1, sizeof *w + threads * sizeof w->threads[0]);
    if (!w)
        return pcr_err(err, PACER_ENOMEM, "engine", "no memory for workers");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, &attributes);
    pthread_condattr_destroy(&attributes);
    pcr_list_init(&w->ring);
    w->last_job = &w->first_job;
    w->jobs_max = jobs_max;
    w->options = options;
    int rc = start_threads(w, threads);
    if (rc != 0) {
        unsigned started = w->n_threads;
        pcr_workers_stop(w);
        pcr_workers_destroy(w);
        return pcr_err(err, PACER_EIO, "engine",
                       "only %u of %u worker threads could be started: %s; lower the number of "
                       "workers or raise the limit of processes (ulimit -u)",
                       started, threads, strerror(rc));
    }
    *out = w;
    return 0;
}

static void end_waiting(struct pcr_workers *w, struct done_list *done) {
    while (!pcr_list_empty(&w->ring)) {
        struct pcr_model_queue *q = PCR_LIST_ENTRY(w->ring.next, struct pcr_model_queue, ring);
        pcr_list_remove(&q->ring);
        for (size_t i = 0; i < PCR_BATCH_PRIORITIES; i++)
            while (!pcr_list_empty(&q->queue.waiting[i])) {
                struct pcr_call_state *state = first_call(&q->queue.waiting[i]);
                pcr_batch_queue_remove(&q->queue, &state->item);
                pcr_call_refuse_stopping(state->call);
                done_add(done, state);
            }
        publish(q, pcr_clock_mono_ns());
    }
    while (w->first_job) {
        struct pcr_call_state *state = w->first_job;
        w->first_job = state->next;
        if (state->call->status == 0)
            pcr_call_refuse_stopping(state->call);
        done_add(done, state);
    }
}

void pcr_workers_stop(struct pcr_workers *w) {
    struct done_list done;
    done_init(&done);
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    end_waiting(w, &done);
    deliver(done.first);
}

// Apart from the stop, since a loop may still try to cancel a call that is in its mail.
void pcr_workers_destroy(struct pcr_workers *w) {
    if (!w)
        return;
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

// --- the queue of a model -----------------------------------------------------------------------
void pcr_model_queue_init(struct pcr_model_queue *q, const struct pcr_model *model,
                          const struct pcr_batch_options *options) {
    pcr_batch_queue_init(&q->queue, options);
    q->queue.cost = *pcr_session_cost(model->session);
    pcr_list_init(&q->ring);
    atomic_init(&q->free_ns, 0);
    atomic_init(&q->full, false);
    atomic_init(&q->margin_ns, 0);
    atomic_init(&q->waiting, 0);
    pcr_model_queue_publish_cost(q, &q->queue.cost);
}

// What the costs do not tell: a worker that had to share its core, the mail, a loop that was busy.
// The margin rises fast and falls slowly, so nearly all answers are in it. Loops may lose each
// other's notes.
void pcr_model_queue_note_end(struct pcr_model_queue *q, uint64_t expected_ns, uint64_t now_ns) {
    if (expected_ns == 0)
        return;
    uint64_t margin_ns = atomic_load_explicit(&q->margin_ns, memory_order_relaxed);
    uint64_t over_ns = now_ns > expected_ns ? now_ns - expected_ns : 0;
    if (over_ns > MARGIN_NS_MAX)
        over_ns = MARGIN_NS_MAX;
    margin_ns = over_ns > margin_ns ? margin_ns + (over_ns - margin_ns) / MARGIN_RISE
                                    : margin_ns - (margin_ns - over_ns) / MARGIN_FALL;
    atomic_store_explicit(&q->margin_ns, margin_ns, memory_order_relaxed);
}

void pcr_model_queue_publish_cost(struct pcr_model_queue *q, const struct pcr_cost *cost) {
    atomic_store_explicit(&q->a_ns, cost->a_ns, memory_order_relaxed);
    atomic_store_explicit(&q->b_ns, cost->b_ns, memory_order_relaxed);
}

uint64_t pcr_model_queue_cost_ns(const struct pcr_model_queue *q, uint64_t weight) {
    double a_ns = atomic_load_explicit(&q->a_ns, memory_order_relaxed);
    double b_ns = atomic_load_explicit(&q->b_ns, memory_order_relaxed);
    double ns = a_ns + b_ns * (double)weight;
    return ns <= 0 ? UINT64_MAX : ns < 9e18 ? (uint64_t)ns : UINT64_MAX / 2;
}

void pcr_model_load_now(const struct pcr_model *model, struct pcr_model_load *out) {
    const struct pcr_model_queue *q = pcr_model_queue(model);
    out->a_ns = atomic_load_explicit(&q->a_ns, memory_order_relaxed);
    out->b_ns = atomic_load_explicit(&q->b_ns, memory_order_relaxed);
    out->waiting = atomic_load_explicit(&q->waiting, memory_order_relaxed);
}
