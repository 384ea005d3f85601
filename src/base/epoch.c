// SPDX-License-Identifier: Apache-2.0
// A global epoch, and per thread the epoch it entered in. The epoch moves on from g when every
// thread that is inside is in g; what was retired in g can be freed from g + 2 on: whoever is
// inside then entered after it had been unlinked.
//
// All of it is seq_cst, the links that readers follow included: a reader's store of its epoch must
// not be overtaken by its loads, nor a writer's unlinking by its look at the readers. Fences would
// do as well, but ThreadSanitizer does not know them.
//
// A thread's line is taken when it first enters and given back by a key's destructor; lines are
// never freed, so a writer walks them without a lock.
#include "base/epoch.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define OUTSIDE 0

struct line {
    _Alignas(128) _Atomic uint64_t epoch; // OUTSIDE, or when its thread entered
    atomic_bool taken;
    unsigned number;
    struct line *next; // set before it is published
};

static _Atomic uint64_t global_epoch = 2;
static _Atomic(struct line *) lines;
static atomic_uint n_lines;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static _Thread_local struct line *own;

static void give_back(void *line) {
    own = NULL; // a destructor that runs later takes another
    atomic_store(&((struct line *)line)->taken, false);
}

static void make_key(void) {
    PCR_ASSERT(pthread_key_create(&key, give_back) == 0);
}

static struct line *reuse_line(void) {
    for (struct line *line = atomic_load(&lines); line; line = line->next) {
        bool no = false;
        if (!atomic_load(&line->taken) && atomic_compare_exchange_strong(&line->taken, &no, true))
            return line;
    }
    return NULL;
}

// A thread without a line could not be seen by writers, so there is no going on without one.
static struct line *take_line(void) {
    pthread_once(&key_once, make_key);
    struct line *line = reuse_line();
    if (!line) {
        line = aligned_alloc(_Alignof(struct line), sizeof *line);
        PCR_ASSERT(line);
        atomic_init(&line->epoch, OUTSIDE);
        atomic_init(&line->taken, true);
        line->number = atomic_fetch_add(&n_lines, 1);
        line->next = atomic_load(&lines);
        while (!atomic_compare_exchange_weak(&lines, &line->next, line)) {
        }
    }
    PCR_ASSERT(pthread_setspecific(key, line) == 0);
    own = line;
    return line;
}

static inline struct line *own_line(void) {
    return PCR_LIKELY(own) ? own : take_line();
}

void pcr_epoch_enter(void) {
    struct line *line = own_line();
    atomic_store(&line->epoch, atomic_load_explicit(&global_epoch, memory_order_relaxed));
}

void pcr_epoch_leave(void) {
    atomic_store_explicit(&own->epoch, OUTSIDE, memory_order_release);
}

unsigned pcr_epoch_thread(void) {
    return own_line()->number;
}

void pcr_epoch_retire(struct pcr_epoch_bin *bin, struct pcr_retired *retired) {
    retired->next = NULL;
    retired->epoch = atomic_load(&global_epoch);
    if (bin->last)
        bin->last->next = retired;
    else
        bin->first = retired;
    bin->last = retired;
    bin->n++;
}

static void move_on(void) {
    uint64_t now = atomic_load(&global_epoch);
    for (struct line *line = atomic_load(&lines); line; line = line->next) {
        uint64_t epoch = atomic_load(&line->epoch);
        if (epoch != OUTSIDE && epoch != now)
            return;
    }
    atomic_compare_exchange_strong(&global_epoch, &now, now + 1);
}

struct pcr_retired *pcr_epoch_collect(struct pcr_epoch_bin *bin) {
    struct pcr_retired *retired = bin->first;
    if (!retired)
        return NULL;
    if (atomic_load(&global_epoch) < retired->epoch + 2) {
        move_on();
        if (atomic_load(&global_epoch) < retired->epoch + 2)
            return NULL;
    }
    bin->first = retired->next;
    if (!bin->first)
        bin->last = NULL;
    bin->n--;
    return retired;
}
