// SPDX-License-Identifier: Apache-2.0
// The runs of the micro-batcher: taking a batch, running it, what became of each item.
#include "infer/batcher_priv.h"

#include <time.h>

static struct pacer_batch_item *item_at(struct pcr_list *node) {
    struct pcr_batch_item *item = PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
    return PCR_CONTAINER_OF(item, struct pcr_batcher_entry, item)->shown;
}

struct outcome { // of a batch, counted without the lock
    struct pacer_batcher_stats more;
    uint64_t shared;
    uint64_t took_ns; // 0: says nothing about what a batch costs
};

// The caller's own codes are his business as long as they say that something is wrong.
static int as_code(int code) {
    return code > 0 ? PACER_EINTERNAL : code;
}

static unsigned class_of(size_t n) {
    unsigned class = 0;
    while (n >>= 1)
        class ++;
    return class < PACER_BATCHER_SIZES ? class : PACER_BATCHER_SIZES - 1;
}

static int call(struct pacer_batcher *b, struct pacer_batch_item **items, size_t n,
                struct outcome *out) {
    uint64_t start_ns = pcr_clock_mono_ns();
    int code = as_code(b->run_batch(b->ctx, items, n));
    out->took_ns = pcr_clock_mono_ns() - start_ns;
    out->more.run_ns += out->took_ns;
    if (code < 0) {
        out->more.failed_batches++;
        return code;
    }
    out->more.batches++;
    out->more.by_size[class_of(n)]++;
    out->shared += n;
    return 0;
}

static void run_alone(struct pacer_batcher *b, struct pacer_batch_item *item, struct outcome *out) {
    item->status = 0; // whatever the failed batch has left there
    int code = call(b, &item, 1, out);
    if (code < 0)
        item->status = code;
}

static void run_items(struct pacer_batcher *b, struct pacer_batch_item **items, size_t n,
                      struct outcome *out) {
    int code = call(b, items, n, out);
    if (code < 0 && n == 1)
        items[0]->status = code;
    for (size_t i = 0; code < 0 && n > 1 && i < n; i++)
        run_alone(b, items[i], out);
    for (size_t i = 0; i < n; i++) {
        items[i]->status = as_code(items[i]->status);
        out->more.items += items[i]->status == 0;
        out->more.failed += items[i]->status != 0;
    }
    out->more.retried = code < 0 && n > 1 ? n : 0;
    if (code < 0)
        out->took_ns = 0;
}

static void add_stats(struct pacer_batcher *b, const struct outcome *out) {
    struct pacer_batcher_stats *s = &b->stats;
    const struct pacer_batcher_stats *more = &out->more;
    s->batches += more->batches;
    s->failed_batches += more->failed_batches;
    s->items += more->items;
    s->failed += more->failed;
    s->retried += more->retried;
    s->run_ns += more->run_ns;
    for (size_t i = 0; i < PACER_BATCHER_SIZES; i++)
        s->by_size[i] += more->by_size[i];
    b->shared += out->shared;
}

// Calls `done` of each; an item is the caller's again from then on, and is not looked at any more.
static void end_all(struct pcr_list *items) {
    while (!pcr_list_empty(items)) {
        struct pacer_batch_item *item = item_at(items->next);
        pcr_list_remove(items->next);
        item->done(item);
    }
}

static void end_late(struct pacer_batcher *b, struct pcr_list *late) {
    if (pcr_list_empty(late))
        return;
    PCR_LIST_FOR_EACH(node, late) {
        item_at(node)->status = PACER_ETIMEDOUT;
        b->stats.expired++;
    }
    pthread_mutex_unlock(&b->lock);
    end_all(late);
    pthread_mutex_lock(&b->lock);
}

static void run(struct pacer_batcher *b, struct pcr_batch *batch, uint64_t now_ns) {
    struct pacer_batch_item **items = &b->lists[batch->slot * b->list_items];
    struct outcome out = {0};
    size_t n = 0;
    PCR_ASSERT(batch->n <= b->list_items);
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pacer_batch_item *item = item_at(node);
        uint64_t waited_ns = now_ns - pcr_batcher_entry(item)->item.queued_ns;
        b->stats.wait_ns += waited_ns;
        b->stats.wait_max_ns = waited_ns > b->stats.wait_max_ns ? waited_ns : b->stats.wait_max_ns;
        items[n++] = item;
    }
    pthread_mutex_unlock(&b->lock);
    run_items(b, items, n, &out);
    pthread_mutex_lock(&b->lock);
    // The first one pays for what is loaded and allocated with it, and teaches nothing.
    pcr_batch_queue_finish(&b->queue, batch, b->warm ? out.took_ns : 0);
    b->warm = true;
    add_stats(b, &out);
    pcr_batcher_wake(b); // this thread is still busy with `done`
    pthread_mutex_unlock(&b->lock);
    end_all(&batch->items);
    pthread_mutex_lock(&b->lock);
}

void pcr_batcher_wake(struct pacer_batcher *b) {
    if (b->n_idle > 0 && b->queue.n_waiting > 0 && b->queue.n_running < b->queue.options.slots)
        pthread_cond_signal(&b->work);
}

bool pcr_batcher_run_next(struct pacer_batcher *b) {
    struct pcr_batch batch;
    uint64_t now_ns = pcr_clock_mono_ns();
    bool taken = pcr_batch_queue_take(&b->queue, now_ns, &batch);
    bool late = !pcr_list_empty(&batch.late);
    if (taken || late)
        pcr_batcher_wake(b); // with what is left
    end_late(b, &batch.late);
    if (taken)
        run(b, &batch, now_ns);
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

void *pcr_batcher_work(void *arg) {
    struct pacer_batcher *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        if (pcr_batcher_run_next(b))
            continue;
        if (b->stopping && b->queue.n_waiting == 0)
            break;
        wait_until(b, pcr_batch_queue_ready_ns(&b->queue, pcr_clock_mono_ns()));
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}
