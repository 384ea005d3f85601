// SPDX-License-Identifier: Apache-2.0
// What cache.c (L1, purging, figures) and fetch.c (the long way) share.
#ifndef PCR_CACHE_PRIV_H
#define PCR_CACHE_PRIV_H

#include "cache/cache.h"
#include "cache/l1.h"
#include "cache/value.h"

#include <stdatomic.h>

#define PCR_CACHE_STRIPES 256 // of flights
#define PCR_CACHE_COUNT_LINES 64
#define PCR_CACHE_STORES 2
#define PCR_CACHE_TICKS 361 // an hour, and where it began

struct pcr_cache_stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct pcr_list flights;
    // Counts what other replicas changed of these names: what a store had before is not kept after.
    _Atomic uint64_t invalidations;
};

// One of pcr_cache_counts' members, by its place.
enum pcr_cache_count {
    PCR_COUNT_L1,
    PCR_COUNT_LMDB,
    PCR_COUNT_REDIS,
    PCR_COUNT_MISS,
    PCR_COUNT_COALESCED,
    PCR_COUNT_STALE,
    PCR_COUNT_REFRESH,
    PCR_COUNT_ABSENT,
    PCR_COUNTS,
};

struct pcr_cache {
    struct pcr_l1 *l1;
    struct pcr_store *stores[PCR_CACHE_STORES]; // nearest first
    enum pcr_cache_how store_how[PCR_CACHE_STORES];
    unsigned n_stores;
    // Counts purges: what began before one is not stored after it. Stores are written to under the
    // lock, so that a purge is behind every value from before.
    _Atomic uint64_t purges;
    pthread_mutex_t store_lock;
    struct pcr_cache_stripe stripes[PCR_CACHE_STRIPES];
    struct { // threads count for themselves
        _Alignas(128) _Atomic uint64_t n[PCR_COUNTS];
    } counts[PCR_CACHE_COUNT_LINES];
    pthread_mutex_t tick_lock;
    struct pcr_cache_counts ticks[PCR_CACHE_TICKS];
    size_t n_ticks;
};

// --- cache.c ------------------------------------------------------------------------------------
// To a loop's mailbox, or to a thread that waits.
void pcr_cache_post(struct pcr_loop *loop, struct pcr_cache_waiter *waiter, struct pcr_mail *mail);
void pcr_cache_count(struct pcr_cache *cache, enum pcr_cache_count what);
// As pcr_cache_get, without counting; `however_old` takes what is past its time, as long as
// stale_if_error allows, and refreshes nothing.
bool pcr_cache_look(struct pcr_cache_call *call, uint64_t now_ns, bool however_old);
// Whether the caller is the one to compute anew what L1 has, or what it has not any more.
bool pcr_cache_claim(const struct pcr_cache_call *call, uint64_t now_ns);
// Fresh no longer than the policy in force would have it: it may have become shorter since.
int64_t pcr_cache_fresh_ns(const struct pcr_cache_policy *policy, uint64_t age_ns,
                           int64_t fresh_ns);
// The body into the call's arena, in which it lives as long as that.
bool pcr_cache_take_body(struct pcr_cache_call *call, struct pcr_str body);
// Whether no purge has come since the call began. ctx: the call.
bool pcr_cache_is_current(void *call);
// The same, and no invalidation of its name since it began to ask the stores.
bool pcr_cache_is_unchanged(void *call);
struct pcr_cache_stripe *pcr_cache_stripe_of(struct pcr_cache *cache, uint64_t hi);

#endif
