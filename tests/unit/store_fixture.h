// SPDX-License-Identifier: Apache-2.0
// Asking a store, whose threads answer, and waiting for it.
#ifndef PCR_STORE_FIXTURE_H
#define PCR_STORE_FIXTURE_H

#include "cache/store.h"

#include <pthread.h>

struct wait {
    struct pcr_store_get get;
    struct pcr_store_purge purge;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    enum pcr_store_found found;
    char value[4096];
    size_t n;
    int64_t removed;
};

static void wait_is_over(struct wait *wait) {
    pthread_mutex_lock(&wait->lock);
    wait->done = true;
    pthread_cond_signal(&wait->cond);
    pthread_mutex_unlock(&wait->lock);
}

static void on_got(struct pcr_store_get *get, enum pcr_store_found found, struct pcr_str value) {
    struct wait *wait = PCR_CONTAINER_OF(get, struct wait, get);
    wait->found = found;
    wait->n = value.len < sizeof wait->value ? value.len : sizeof wait->value;
    if (wait->n)
        memcpy(wait->value, value.ptr, wait->n);
    wait_is_over(wait);
}

static void on_purged(struct pcr_store_purge *purge, int64_t removed) {
    struct wait *wait = PCR_CONTAINER_OF(purge, struct wait, purge);
    wait->removed = removed;
    wait_is_over(wait);
}

static void wait_begins(struct wait *wait) {
    *wait = (struct wait){0};
    pthread_mutex_init(&wait->lock, NULL);
    pthread_cond_init(&wait->cond, NULL);
}

static void wait_for(struct wait *wait) {
    pthread_mutex_lock(&wait->lock);
    while (!wait->done)
        pthread_cond_wait(&wait->cond, &wait->lock);
    pthread_mutex_unlock(&wait->lock);
    pthread_mutex_destroy(&wait->lock);
    pthread_cond_destroy(&wait->cond);
}

// The value is in *wait.
static enum pcr_store_found ask_store(struct pcr_store *store, struct pcr_store_name name,
                                      struct wait *wait) {
    wait_begins(wait);
    wait->get.name = name;
    wait->get.done = on_got;
    store->ops->get(store, &wait->get);
    wait_for(wait);
    return wait->found;
}

__attribute__((unused)) static int64_t purge(struct pcr_store *store, struct pcr_store_purge what) {
    struct wait wait;
    wait_begins(&wait);
    wait.purge = what;
    wait.purge.done = on_purged;
    store->ops->purge(store, &wait.purge);
    wait_for(&wait);
    return wait.removed;
}

#endif
