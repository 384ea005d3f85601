// SPDX-License-Identifier: Apache-2.0
// Models are freed on a thread of their own: giving a model's weights back to the system takes
// milliseconds, and the last reference may be dropped by a loop, in the middle of its turn.
#include "infer/repository_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct pcr_reaper {
    atomic_uint refs;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct pcr_reaped *first; // newest first; the order does not matter
    bool stopping;
    pthread_t thread;
};

static void *reap(void *arg) {
    struct pcr_reaper *reaper = arg;
    pthread_mutex_lock(&reaper->lock);
    for (;;) {
        while (!reaper->first && !reaper->stopping)
            pthread_cond_wait(&reaper->work, &reaper->lock);
        struct pcr_reaped *all = reaper->first;
        reaper->first = NULL;
        if (!all)
            break;
        pthread_mutex_unlock(&reaper->lock);
        while (all) {
            struct pcr_reaped *next = all->next;
            all->free(all);
            all = next;
        }
        pthread_mutex_lock(&reaper->lock);
    }
    pthread_mutex_unlock(&reaper->lock);
    return NULL;
}

struct pcr_reaper *pcr_reaper_create(void) {
    struct pcr_reaper *reaper = calloc(1, sizeof *reaper);
    if (!reaper)
        return NULL;
    atomic_init(&reaper->refs, 1);
    pthread_mutex_init(&reaper->lock, NULL);
    pthread_cond_init(&reaper->work, NULL);
    if (pcr_thread_start(&reaper->thread, "pacer-reaper", reap, reaper) != 0)
        reaper->stopping = true; // then everybody frees by himself
    return reaper;
}

struct pcr_reaper *pcr_reaper_ref(struct pcr_reaper *reaper) {
    atomic_fetch_add_explicit(&reaper->refs, 1, memory_order_relaxed);
    return reaper;
}

void pcr_reaper_unref(struct pcr_reaper *reaper) {
    if (!reaper || atomic_fetch_sub_explicit(&reaper->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&reaper->work);
    pthread_mutex_destroy(&reaper->lock);
    free(reaper);
}

void pcr_reaper_stop(struct pcr_reaper *reaper) {
    pthread_mutex_lock(&reaper->lock);
    bool runs = !reaper->stopping;
    reaper->stopping = true;
    pthread_cond_signal(&reaper->work);
    pthread_mutex_unlock(&reaper->lock);
    if (runs)
        pthread_join(reaper->thread, NULL);
}

void pcr_reaper_take(struct pcr_reaper *reaper, struct pcr_reaped *reaped) {
    pthread_mutex_lock(&reaper->lock);
    bool runs = !reaper->stopping;
    if (runs) {
        reaped->next = reaper->first;
        reaper->first = reaped;
        pthread_cond_signal(&reaper->work);
    }
    pthread_mutex_unlock(&reaper->lock);
    if (!runs)
        reaped->free(reaped);
}
