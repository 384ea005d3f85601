// SPDX-License-Identifier: Apache-2.0
// Models are freed on a thread of their own: giving a model's weights back to the system takes
// milliseconds, and the last reference may be dropped by a loop, in the middle of its turn.
//
// The thread is there only while there is something to free, which is seldom: it ends when it finds
// nothing, and the next model to come starts another. Where none can be started, whoever dropped
// the model frees it.
#include "infer/repository_priv.h"

#include <stdatomic.h>
#include <stdlib.h>

struct pcr_reaper {
    atomic_uint refs;
    pthread_mutex_t lock;
    struct pcr_reaped *first; // newest first; the order does not matter
    bool runs;                // and looks at the list once more
    bool to_join;             // it was started and has not been joined
    bool stopping;
    pthread_t thread;
};

static void *reap(void *arg) {
    struct pcr_reaper *reaper = arg;
    pthread_mutex_lock(&reaper->lock);
    while (reaper->first) {
        struct pcr_reaped *reaped = reaper->first;
        reaper->first = reaped->next;
        pthread_mutex_unlock(&reaper->lock);
        reaped->free(reaped);
        pthread_mutex_lock(&reaper->lock);
    }
    reaper->runs = false;
    pthread_mutex_unlock(&reaper->lock);
    return NULL;
}

struct pcr_reaper *pcr_reaper_create(void) {
    struct pcr_reaper *reaper = calloc(1, sizeof *reaper);
    if (!reaper)
        return NULL;
    atomic_init(&reaper->refs, 1);
    pthread_mutex_init(&reaper->lock, NULL);
    return reaper;
}

struct pcr_reaper *pcr_reaper_ref(struct pcr_reaper *reaper) {
    atomic_fetch_add_explicit(&reaper->refs, 1, memory_order_relaxed);
    return reaper;
}

void pcr_reaper_unref(struct pcr_reaper *reaper) {
    if (!reaper || atomic_fetch_sub_explicit(&reaper->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&reaper->lock);
    free(reaper);
}

void pcr_reaper_stop(struct pcr_reaper *reaper) {
    pthread_mutex_lock(&reaper->lock);
    bool to_join = reaper->to_join;
    reaper->stopping = true;
    reaper->to_join = false;
    pthread_mutex_unlock(&reaper->lock);
    if (to_join)
        pthread_join(reaper->thread, NULL);
}

// Under the lock. A thread that has looked for the last time has nothing left to wait for.
static bool start(struct pcr_reaper *reaper) {
    if (reaper->to_join)
        pthread_join(reaper->thread, NULL);
    reaper->runs = reaper->to_join =
        pcr_thread_start(&reaper->thread, "pacer-reaper", reap, reaper) == 0;
    return reaper->runs;
}

void pcr_reaper_take(struct pcr_reaper *reaper, struct pcr_reaped *reaped) {
    pthread_mutex_lock(&reaper->lock);
    bool taken = !reaper->stopping && (reaper->runs || start(reaper));
    if (taken) {
        reaped->next = reaper->first;
        reaper->first = reaped;
    }
    pthread_mutex_unlock(&reaper->lock);
    if (!taken)
        reaped->free(reaped);
}
