// SPDX-License-Identifier: Apache-2.0
// What the two halves of the micro-batcher share: callers (batcher.c) and runs (batcher_run.c).
#ifndef PCR_INFER_BATCHER_PRIV_H
#define PCR_INFER_BATCHER_PRIV_H

#include "infer/batch_queue.h"

#include <pacer/batcher.h>

struct pcr_batcher_entry { // of an item, in its reserved words
    struct pcr_batch_item item;
    struct pacer_batch_item *shown;
};
_Static_assert(sizeof(struct pcr_batcher_entry) <= sizeof(((struct pacer_batch_item *)0)->reserved),
               "the reserved words hold it");

struct pacer_batcher {
    pthread_mutex_t lock; // guards all that changes, and what waits
    pthread_cond_t work;
    struct pcr_batch_queue queue;
    pacer_run_batch run_batch;
    void *ctx;
    uint64_t timeout_ns;
    struct pacer_batcher_stats stats;
    uint64_t shared; // items of all batches that succeeded
    bool warm;       // a batch has ended
    bool stopping;
    struct pacer_batch_item **lists; // what run_batch is shown: list_items of them per slot
    size_t list_items;
    unsigned n_idle, n_threads;
    pthread_t threads[];
};

static inline struct pcr_batcher_entry *pcr_batcher_entry(struct pacer_batch_item *shown) {
    return (struct pcr_batcher_entry *)(void *)shown->reserved;
}

// All with the lock.
// Wakes a thread if there is something for it: an item waits and a slot is free. To be called
// whenever that may have become true.
void pcr_batcher_wake(struct pacer_batcher *batcher);
// Takes the next batch and runs it, with `done` of its items; the lock is given up meanwhile.
// False: there is none now.
bool pcr_batcher_run_next(struct pacer_batcher *batcher);

// The thread.
void *pcr_batcher_work(void *batcher);

#endif
