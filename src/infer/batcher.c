// SPDX-License-Identifier: Apache-2.0
// The public micro-batcher: threads around the policy of batch_queue.c.
//
// One lock guards everything; run_batch and `done` are called without it. A caller of infer who
// finds a free slot runs the next batch on its own thread (which has its own item in it, unless
// others were first), and a thread of the batcher takes over what has come meanwhile. So the
// batcher's threads sleep while callers come one at a time.
//
// There is no sweep before the first batch: the cap is max_batch_size, and what batches cost is
// learnt from them. Until the first has ended, no item is refused for want of time.
#include "infer/batch_queue.h"

#include <pacer/batcher.h>

#include <stdlib.h>
#include <time.h>

#define MAX_BATCH_DEFAULT 64
#define MAX_QUEUE_DEFAULT 1024
#define MAX_BATCH_SIZE (1u << 20)

struct private { // of an item, in its reserved words
    struct pcr_batch_item item;
    struct pacer_batch_item *shown;
};
_Static_assert(sizeof(struct private) <= sizeof(((struct pacer_batch_item *)0)->reserved),
               "the reserved words hold it");

struct pacer_batcher {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct pcr_batch_queue queue;
    pacer_run_batch run_batch;
    void *ctx;
    uint64_t timeout_ns;
    struct pacer_batcher_stats stats;
    bool stopping;
    unsigned n_idle, n_threads;
    pthread_t threads[];
};

static struct private *private_of(struct pacer_batch_item *shown) {
    return (struct private *)(void *)shown->reserved;
}

static struct pacer_batch_item *item_at(struct pcr_list *node) {
    struct pcr_batch_item *item = PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
    return PCR_CONTAINER_OF(item, struct private, item)->shown;
}

// --- running ------------------------------------------------------------------------------------
struct done { // what a batch comes to, counted without the lock
    uint64_t ok, failed, retried, runs, ns;
};

static void run_alone(struct pacer_batcher *b, struct pacer_batch_item *item, struct done *done) {
    item->status = 0;
    int code = b->run_batch(b->ctx, &item, 1);
    if (code < 0)
        item->status = code;
    done->runs += code == 0;
}

static void run_items(struct pacer_batcher *b, struct pacer_batch_item **items, size_t n,
                      struct done *done) {
    uint64_t start_ns = pcr_clock_mono_ns();
    int code = b->run_batch(b->ctx, items, n);
    done->ns = pcr_clock_mono_ns() - start_ns;
    done->runs += code == 0;
    for (size_t i = 0; i < n; i++) {
        if (code < 0 && n == 1)
            items[i]->status = code;
        else if (code < 0)
            run_alone(b, items[i], done);
        done->ok += items[i]->status == 0;
        done->failed += items[i]->status != 0;
    }
    done->retried = code < 0 && n > 1 ? n : 0;
    if (code < 0) // says nothing about what a batch costs
        done->ns = 0;
}

// Runs a batch that was taken, and calls `done` of all its items; with the lock, which is given up
// meanwhile.
static void run_batch(struct pacer_batcher *b, struct pcr_batch *batch) {
    struct pacer_batch_item *few[MAX_BATCH_DEFAULT];
    struct pacer_batch_item **items = few;
    struct done done = {0};
    size_t n = 0;
    uint64_t now_ns = pcr_clock_mono_ns();
    if (batch->n > MAX_BATCH_DEFAULT)
        items = malloc(batch->n * sizeof(struct pacer_batch_item *));
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pacer_batch_item *item = item_at(node);
        b->stats.wait_ns += now_ns - private_of(item)->item.queued_ns;
        if (items)
            items[n++] = item;
        else // out of memory for the list: one by one
            item->status = PACER_ENOMEM;
    }
    pthread_mutex_unlock(&b->lock);
    if (items)
        run_items(b, items, n, &done);
    pthread_mutex_lock(&b->lock);
    pcr_batch_queue_finish(&b->queue, batch, done.ns);
    b->stats.items += done.ok;
    b->stats.failed += items ? done.failed : batch->n;
    b->stats.retried += done.retried;
    b->stats.batches += done.runs;
    b->stats.run_ns += done.ns;
    pthread_mutex_unlock(&b->lock);
    while (!pcr_list_empty(&batch->items)) { // an item is the caller's again from its `done` on
        struct pacer_batch_item *item = item_at(batch->items.next);
        pcr_list_remove(batch->items.next);
        item->done(item);
    }
    if (items != few)
        free(items);
    pthread_mutex_lock(&b->lock);
}

static void end_late(struct pacer_batcher *b, struct pcr_batch *batch) {
    if (pcr_list_empty(&batch->late))
        return;
    PCR_LIST_FOR_EACH(node, &batch->late) {
        item_at(node)->status = PACER_ETIMEDOUT;
        b->stats.late++;
    }
    pthread_mutex_unlock(&b->lock);
    while (!pcr_list_empty(&batch->late)) {
        struct pacer_batch_item *item = item_at(batch->late.next);
        pcr_list_remove(batch->late.next);
        item->done(item);
    }
    pthread_mutex_lock(&b->lock);
}

// Takes the next batch and runs it, under the lock; false if there is none now.
static bool run_next(struct pacer_batcher *b) {
    struct pcr_batch batch;
    bool taken = pcr_batch_queue_take(&b->queue, pcr_clock_mono_ns(), &batch);
    bool late = !pcr_list_empty(&batch.late);
    if (taken && b->queue.n_waiting > 0 && b->n_idle > 0) // somebody else may go on
        pthread_cond_signal(&b->work);
    end_late(b, &batch);
    if (taken)
        run_batch(b, &batch);
    return taken || late;
}

static void wait_until(struct pacer_batcher *b, uint64_t until_ns) {
    b->n_idle++;
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(&b->work, &b->lock);
    } else {
        struct timespec until = {.tv_sec = (time_t)(until_ns / PCR_NS_PER_S),
                                 .tv_nsec = (long)(until_ns % PCR_NS_PER_S)};
        pthread_cond_timedwait(&b->work, &b->lock, &until);
    }
    b->n_idle--;
}

static void *work(void *arg) {
    struct pacer_batcher *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        if (b->stopping)
            b->queue.options.max_wait_ns = 0; // nobody will come any more
        if (run_next(b))
            continue;
        if (b->stopping && b->queue.n_waiting == 0)
            break;
        wait_until(b, pcr_batch_queue_ready_ns(&b->queue, pcr_clock_mono_ns()));
    }
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

// --- callers ------------------------------------------------------------------------------------
static int submit(struct pacer_batcher *b, struct pacer_batch_item *shown) {
    struct private *private = private_of(shown);
    uint64_t now_ns = pcr_clock_mono_ns();
    uint64_t timeout_ns = shown->timeout_us ? shown->timeout_us * PCR_NS_PER_US : b->timeout_ns;
    uint64_t retry_ns;
    shown->status = 0;
    private->shown = shown;
    private->item = (struct pcr_batch_item){.rows = 1,
                                            .row_weight = 1,
                                            .priority = PCR_BATCH_PRIORITY_DEFAULT,
                                            .deadline_ns = timeout_ns ? now_ns + timeout_ns : 0};
    switch (pcr_batch_queue_add(&b->queue, &private->item, now_ns, &retry_ns)) {
    case PCR_BATCH_FULL:
        b->stats.refused++;
        return PACER_EBUSY;
    case PCR_BATCH_LATE:
        b->stats.late++;
        return PACER_ETIMEDOUT;
    default:
        return 0;
    }
}

int pacer_batcher_submit(struct pacer_batcher *b, struct pacer_batch_item *item) {
    pthread_mutex_lock(&b->lock);
    int code = submit(b, item);
    if (code == 0 && b->n_idle > 0)
        pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
    return code;
}

struct waiter { // in infer
    struct pacer_batch_item item;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool is_over;
};

static void wake_waiter(struct pacer_batch_item *item) {
    struct waiter *waiter = PCR_CONTAINER_OF(item, struct waiter, item);
    pthread_mutex_lock(&waiter->lock);
    waiter->is_over = true;
    pthread_cond_signal(&waiter->over);
    pthread_mutex_unlock(&waiter->lock);
}

int pacer_batcher_infer(struct pacer_batcher *b, const void *input, void *output) {
    struct waiter waiter = {.item = {.input = input, .output = output, .done = wake_waiter},
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .over = PTHREAD_COND_INITIALIZER};
    pthread_mutex_lock(&b->lock);
    int code = submit(b, &waiter.item);
    bool ran = code == 0 && run_next(b);
    // What this thread has left behind, or a window that is open, is for the others.
    if (code == 0 && b->n_idle > 0 && (b->queue.n_waiting > 0 || !ran))
        pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
    if (code < 0)
        return code;
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_over)
        pthread_cond_wait(&waiter.over, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    return waiter.item.status;
}

bool pacer_batcher_cancel(struct pacer_batcher *b, struct pacer_batch_item *item) {
    pthread_mutex_lock(&b->lock);
    bool removed = pcr_batch_queue_remove(&b->queue, &private_of(item)->item);
    b->stats.canceled += removed;
    pthread_mutex_unlock(&b->lock);
    if (removed) {
        item->status = PACER_ECANCELED;
        item->done(item);
    }
    return removed;
}

void pacer_batcher_stats(struct pacer_batcher *b, struct pacer_batcher_stats *out) {
    pthread_mutex_lock(&b->lock);
    *out = b->stats;
    out->waiting = b->queue.n_waiting;
    out->cost_us = b->queue.cost.a_ns / 1000;
    out->cost_item_us = b->queue.cost.b_ns / 1000;
    pthread_mutex_unlock(&b->lock);
}

// --- life ---------------------------------------------------------------------------------------
static struct pacer_batcher *make(const struct pacer_batcher_options *o) {
    unsigned threads = o->threads ? o->threads : 1;
    struct pacer_batcher *b = calloc(1, sizeof *b + threads * sizeof b->threads[0]);
    if (!b)
        return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, &attributes);
    pthread_condattr_destroy(&attributes);
    struct pcr_batch_options options = {
        .rows_max = o->max_batch_size ? o->max_batch_size : MAX_BATCH_DEFAULT,
        .queue_max = o->max_queue ? o->max_queue : MAX_QUEUE_DEFAULT,
        .slots = threads,
        .max_wait_ns = o->max_wait_ms * PCR_NS_PER_MS,
    };
    pcr_batch_queue_init(&b->queue, &options);
    b->timeout_ns = o->timeout_ms * PCR_NS_PER_MS;
    return b;
}

int pacer_batcher_create(pacer_run_batch run, void *ctx,
                         const struct pacer_batcher_options *options, struct pacer_batcher **out,
                         struct pacer_error *err) {
    static const struct pacer_batcher_options defaults = PACER_BATCHER_OPTIONS_INIT;
    struct pacer_batcher_options o = options ? *options : defaults;
    *out = NULL;
    if (!run || o.size != sizeof o || o.threads > PCR_BATCH_SLOTS_MAX ||
        o.max_batch_size > MAX_BATCH_SIZE)
        return pcr_err(err, PACER_EINVAL, "batcher",
                       "expected a run_batch, options that begin with their size (use "
                       "PACER_BATCHER_OPTIONS_INIT), at most %d threads and %u items a batch",
                       PCR_BATCH_SLOTS_MAX, MAX_BATCH_SIZE);
    struct pacer_batcher *b = make(&o);
    if (!b)
        return pcr_err(err, PACER_ENOMEM, "batcher", "out of memory");
    b->run_batch = run;
    b->ctx = ctx;
    int rc = 0;
    while (b->n_threads < b->queue.options.slots && rc == 0) {
        rc = pcr_thread_start(&b->threads[b->n_threads], "pacer-batcher", work, b);
        b->n_threads += rc == 0;
    }
    if (rc != 0) {
        pacer_batcher_destroy(b);
        return pcr_err(err, PACER_EIO, "batcher", "a thread could not be started: %s",
                       strerror(rc));
    }
    *out = b;
    return 0;
}

void pacer_batcher_destroy(struct pacer_batcher *b) {
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < b->n_threads; i++)
        pthread_join(b->threads[i], NULL);
    pthread_cond_destroy(&b->work);
    pthread_mutex_destroy(&b->lock);
    free(b);
}
