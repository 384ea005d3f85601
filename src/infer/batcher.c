// SPDX-License-Identifier: Apache-2.0
// The public micro-batcher: threads around the policy of batch_queue.c. This half is what callers
// see; batcher_run.c has the runs.
//
// One lock guards everything; run_batch and `done` are called without it. A caller of infer who
// finds a free slot runs the next batch on its own thread (which has its own item in it, unless
// others were first), and a thread of the batcher takes over what has come meanwhile. So the
// batcher's threads sleep while callers come one at a time. The invariant: whenever a slot is free
// and an item waits, some thread is awake or has been signalled, or the item waits for its window.
//
// There is no sweep before the first batch: the cap is max_batch_size, and what batches cost is
// learnt from them. Until two have ended, no item is refused for want of time.
//
// Rejected: an item of the batcher's own per submit (an allocation each, and one more way to fail),
// and a cap that is measured (run_batch may do anything, so it is never called unasked).
#include "infer/batcher_priv.h"

#include <stdlib.h>
#include <time.h>

#define MAX_BATCH_DEFAULT 64
#define MAX_QUEUE_DEFAULT 1024
#define MAX_BATCH_SIZE (1u << 20)
_Static_assert(MAX_BATCH_SIZE == 1u << (PACER_BATCHER_SIZES - 1), "by_size has all sizes");

// --- submit, with the lock ----------------------------------------------------------------------
static uint64_t saturating_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t deadline_of(const struct pacer_batcher *b, uint64_t timeout_us, uint64_t now_ns) {
    uint64_t timeout_ns = timeout_us > UINT64_MAX / PCR_NS_PER_US ? UINT64_MAX
                          : timeout_us                            ? timeout_us * PCR_NS_PER_US
                                                                  : b->timeout_ns;
    return timeout_ns ? saturating_add(now_ns, timeout_ns) : 0;
}

static int add(struct pacer_batcher *b, struct pacer_batch_item *shown) {
    struct pcr_batch_item *item = &pcr_batcher_entry(shown)->item;
    uint64_t now_ns = pcr_clock_mono_ns();
    uint64_t retry_ns;
    if (b->stopping)
        return PACER_ECANCELED;
    if (item->waits)
        return PACER_EINVAL;
    pcr_batcher_entry(shown)->shown = shown;
    *item = (struct pcr_batch_item){.rows = 1,
                                    .row_weight = 1,
                                    .priority = PCR_BATCH_PRIORITY_DEFAULT,
                                    .deadline_ns = deadline_of(b, shown->timeout_us, now_ns)};
    shown->status = 0;
    enum pcr_batch_verdict verdict = pcr_batch_queue_add(&b->queue, item, now_ns, &retry_ns);
    b->stats.refused += verdict == PCR_BATCH_FULL;
    b->stats.late += verdict == PCR_BATCH_LATE;
    return verdict == PCR_BATCH_FULL   ? PACER_EBUSY
           : verdict == PCR_BATCH_LATE ? PACER_ETIMEDOUT
                                       : 0;
}

int pacer_batcher_submit(struct pacer_batcher *b, struct pacer_batch_item *item) {
    if (!item->done)
        return PACER_EINVAL;
    pthread_mutex_lock(&b->lock);
    int code = add(b, item);
    if (code == 0)
        pcr_batcher_wake(b);
    pthread_mutex_unlock(&b->lock);
    return code;
}

// Takes out what waits; then nobody else will end it.
static bool take_back(struct pacer_batcher *b, struct pacer_batch_item *item, uint64_t *counter) {
    pthread_mutex_lock(&b->lock);
    bool removed = pcr_batch_queue_remove(&b->queue, &pcr_batcher_entry(item)->item);
    *counter += removed;
    pthread_mutex_unlock(&b->lock);
    return removed;
}

bool pacer_batcher_cancel(struct pacer_batcher *b, struct pacer_batch_item *item) {
    if (!take_back(b, item, &b->stats.canceled))
        return false;
    item->status = PACER_ECANCELED;
    item->done(item);
    return true;
}

// --- infer --------------------------------------------------------------------------------------
struct waiter {
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

static void cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

// False: it is not over when the time is up. 0: there is no such time.
static bool wait_for(struct waiter *waiter, uint64_t until_ns) {
    struct timespec until = {.tv_sec = (time_t)(until_ns / PCR_NS_PER_S),
                             .tv_nsec = (long)(until_ns % PCR_NS_PER_S)};
    int rc = 0;
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->is_over && rc == 0)
        rc = until_ns ? pthread_cond_timedwait(&waiter->over, &waiter->lock, &until)
                      : pthread_cond_wait(&waiter->over, &waiter->lock);
    bool is_over = waiter->is_over;
    pthread_mutex_unlock(&waiter->lock);
    return is_over;
}

int pacer_batcher_infer_within(struct pacer_batcher *b, const void *input, void *output,
                               uint64_t timeout_us) {
    struct waiter waiter = {
        .item = {.input = input, .output = output, .timeout_us = timeout_us, .done = wake_waiter},
        .lock = PTHREAD_MUTEX_INITIALIZER};
    cond_init(&waiter.over);
    pthread_mutex_lock(&b->lock);
    int code = add(b, &waiter.item);
    uint64_t deadline_ns = pcr_batcher_entry(&waiter.item)->item.deadline_ns;
    if (code == 0 && !pcr_batcher_run_next(b))
        pcr_batcher_wake(b); // for the end of the window
    pthread_mutex_unlock(&b->lock);
    if (code == 0 && !wait_for(&waiter, deadline_ns)) {
        // While all slots are busy nobody else sees that its time is up.
        if (take_back(b, &waiter.item, &b->stats.expired))
            waiter.item.status = PACER_ETIMEDOUT;
        else
            wait_for(&waiter, 0); // it is being computed into `output`
    }
    pthread_cond_destroy(&waiter.over);
    return code < 0 ? code : waiter.item.status;
}

int pacer_batcher_infer(struct pacer_batcher *b, const void *input, void *output) {
    return pacer_batcher_infer_within(b, input, output, 0);
}

void pacer_batcher_stats(struct pacer_batcher *b, struct pacer_batcher_stats *out) {
    size_t size = out->size;
    pthread_mutex_lock(&b->lock);
    struct pacer_batcher_stats stats = b->stats;
    stats.waiting = b->queue.n_waiting;
    stats.running = b->queue.n_running;
    stats.mean_size = stats.batches ? (double)b->shared / (double)stats.batches : 0;
    stats.cost_us = b->queue.cost.a_ns / 1000;
    stats.cost_item_us = b->queue.cost.b_ns / 1000;
    pthread_mutex_unlock(&b->lock);
    stats.size = size;
    if (size >= sizeof size) // an older caller's are shorter; of a newer one's the rest stays
        memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
}

// --- life ---------------------------------------------------------------------------------------
static void free_batcher(struct pacer_batcher *b) {
    pthread_cond_destroy(&b->work);
    pthread_mutex_destroy(&b->lock);
    free(b->lists);
    free(b);
}

static struct pacer_batcher *make(const struct pacer_batcher_options *o) {
    struct pcr_batch_options options = {
        .rows_max = o->max_batch_size ? o->max_batch_size : MAX_BATCH_DEFAULT,
        .queue_max = o->max_queue ? o->max_queue : MAX_QUEUE_DEFAULT,
        .slots = o->threads ? o->threads : 1,
        .max_wait_ns = o->max_wait_ms * PCR_NS_PER_MS,
    };
    struct pacer_batcher *b = calloc(1, sizeof *b + options.slots * sizeof b->threads[0]);
    if (!b)
        return NULL;
    pthread_mutex_init(&b->lock, NULL);
    cond_init(&b->work);
    pcr_batch_queue_init(&b->queue, &options);
    b->timeout_ns = o->timeout_ms * PCR_NS_PER_MS;
    b->list_items =
        options.rows_max < options.queue_max ? (size_t)options.rows_max : options.queue_max;
    b->lists = calloc(options.slots * b->list_items, sizeof(struct pacer_batch_item *));
    if (!b->lists) {
        free_batcher(b);
        return NULL;
    }
    return b;
}

static int read_options(const struct pacer_batcher_options *given,
                        struct pacer_batcher_options *out, struct pacer_error *err) {
    static const struct pacer_batcher_options defaults = PACER_BATCHER_OPTIONS_INIT;
    *out = defaults;
    if (given && (given->size < sizeof given->size || given->size > sizeof *out))
        return pcr_err(err, PACER_EINVAL, "batcher",
                       "options.size is %zu, expected at most %zu; begin with "
                       "PACER_BATCHER_OPTIONS_INIT (or the caller is of a newer libpacer)",
                       given->size, sizeof *out);
    if (given) // an older caller's are shorter
        memcpy(out, given, given->size);
    if (out->threads > PCR_BATCH_SLOTS_MAX)
        return pcr_err(err, PACER_EINVAL, "batcher", "options.threads is %u, expected at most %d",
                       out->threads, PCR_BATCH_SLOTS_MAX);
    if (out->max_batch_size > MAX_BATCH_SIZE)
        return pcr_err(err, PACER_EINVAL, "batcher",
                       "options.max_batch_size is %u, expected at most %u", out->max_batch_size,
                       MAX_BATCH_SIZE);
    return 0;
}

int pacer_batcher_create(pacer_run_batch run_batch, void *ctx,
                         const struct pacer_batcher_options *options, struct pacer_batcher **out,
                         struct pacer_error *err) {
    struct pacer_batcher_options o;
    *out = NULL;
    if (!run_batch)
        return pcr_err(err, PACER_EINVAL, "batcher", "there is no run_batch to call");
    int code = read_options(options, &o, err);
    if (code < 0)
        return code;
    struct pacer_batcher *b = make(&o);
    if (!b)
        return pcr_err(err, PACER_ENOMEM, "batcher", "out of memory");
    b->run_batch = run_batch;
    b->ctx = ctx;
    int rc = 0;
    while (b->n_threads < b->queue.options.slots && rc == 0) {
        rc = pcr_thread_start(&b->threads[b->n_threads], "pacer-batcher", pcr_batcher_work, b);
        b->n_threads += rc == 0;
    }
    if (rc != 0) {
        code = pcr_err(err, PACER_EIO, "batcher",
                       "only %u of %u threads could be started: %s; lower options.threads or raise "
                       "the limit of processes (ulimit -u)",
                       b->n_threads, b->queue.options.slots, strerror(rc));
        pacer_batcher_destroy(b);
        return code;
    }
    *out = b;
    return 0;
}

void pacer_batcher_destroy(struct pacer_batcher *b) {
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    b->queue.options.max_wait_ns = 0; // nobody will come any more
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < b->n_threads; i++) {
        PCR_ASSERT(!pthread_equal(b->threads[i], pthread_self())); // called from `done`
        pthread_join(b->threads[i], NULL);
    }
    free_batcher(b);
}
