// SPDX-License-Identifier: Apache-2.0
// The cache room: an answer that was computed once is not computed again, and is never given to a
// question that differs in anything that could have changed it.
//
//   key (key.h) ─► L1, in memory ─► flight: one computes, the others wait ─► L2 stores ─► compute
//
// A hit in L1 takes no lock and allocates nothing but the body's copy in the caller's arena. All
// else happens on the caller's loop and its callbacks; stores have threads of their own and only
// ever add hits (store.h).
//
// The cache knows bytes only: what a body means is its owner's business.
#ifndef PCR_CACHE_H
#define PCR_CACHE_H

#include "base/base.h"
#include "cache/key.h"
#include "cache/store.h"
#include "loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>

struct pcr_cache; // shared by all loops

struct pcr_cache_options {
    size_t memory_bytes; // of L1, all it needs; 0: none, but equal questions still share a run
    const char *path;    // of the LMDB store; NULL: none
    uint64_t path_bytes_max;
    const char *redis_url; // NULL or empty: none
    uint64_t redis_timeout_ms;
};
// What is wrong with the options as far as can be told without opening anything.
int pcr_cache_check(const struct pcr_cache_options *options, struct pacer_error *err);
int pcr_cache_create(const struct pcr_cache_options *options, struct pcr_cache **out,
                     struct pacer_error *err);
// Ends the stores, each `done` of which has been called then; L1 stays. While no loop runs.
void pcr_cache_stop(struct pcr_cache *cache);
// No call may be under way. NULL is fine.
void pcr_cache_destroy(struct pcr_cache *cache);

struct pcr_cache_policy { // of one kind of answer
    uint64_t ttl_ns;      // how long an answer is fresh; ± 10 %, so that not all expire together
    uint64_t stale_while_revalidate_ns; // so long after that it is given while it is computed anew
    uint64_t stale_if_error_ns;         // so long after that it is given where computing fails
};

enum pcr_cache_how {
    PCR_CACHE_MISS,      // computed
    PCR_CACHE_HIT_L1,    //
    PCR_CACHE_HIT_LMDB,  //
    PCR_CACHE_HIT_REDIS, //
    PCR_CACHE_COALESCED, // computed for another request that was under way
    PCR_CACHE_STALE,     // past its time, given while it is computed anew, or because that failed
    PCR_CACHE_ABSENT,    // only_if_cached, and it is not
};

// What to tell a client of PCR_CACHE_ABSENT, with HTTP's 504.
#define PCR_CACHE_ABSENT_TEXT "the answer is not in the cache, and the request says only-if-cached"

// One question. The caller's memory (a request's arena) until `done`.
struct pcr_cache_call {
    struct pcr_cache *cache;
    struct pcr_cache_key key; // its bytes in the arena
    struct pcr_cache_policy policy;
    struct pcr_arena *arena; // where the body goes
    struct pcr_loop *loop;   // or, for a caller that blocks:
    struct pcr_cache_waiter *waiter;
    uint64_t deadline_ns; // monotonic; 0: none. Nobody waits longer for another's computation
    // What the client accepts (RFC 9111): an answer of at most this age; UINT64_MAX: any. 0 is
    // no-cache: it is computed, and stored for others.
    uint64_t max_age_ns;
    bool only_if_cached;
    bool refreshing; // for nobody: computed anew and stored, unless it is being computed already
    // On the loop: nobody has it, so compute it, then pcr_cache_computed.
    void (*compute)(struct pcr_cache_call *call);
    // On the loop, exactly once after pcr_cache_fetch, possibly before that returns.
    void (*done)(struct pcr_cache_call *call);
    void *user;
    // results
    enum pcr_cache_how how;
    int status; // 0, or PACER_E…, with `error`; of the computation as that gave them
    struct pacer_error error;
    uint64_t retry_ns; // of PACER_EBUSY and PACER_ETIMEDOUT, as the computation gave it
    struct pcr_str body;
    uint64_t age_ns;
    int64_t fresh_ns; // how much longer it is fresh; negative: stale for so long
    bool stored;      // of PCR_CACHE_MISS: others will find it
    bool refresh;     // somebody should compute it anew for later, and nobody else is told so
    // private
    struct pcr_flight *flight;
    struct pcr_cache_outcome *outcome;
    struct pcr_cache_ask *ask;
    struct pcr_mail mail;
    struct pcr_list node, timing;
    uint64_t computing_ns, purges, invalidations;
    unsigned phase;
    bool canceled;
};

// Looks into L1 only; true: it has its results, and `done` is not called. Any thread.
bool pcr_cache_get(struct pcr_cache_call *call, uint64_t now_ns);
// The long way, after pcr_cache_get has said false. On call->loop's thread.
void pcr_cache_fetch(struct pcr_cache_call *call);
// What `compute` came to; calls `done`, and answers all who wait for the same. call->status 0:
// call->body, which is kept for others if `keep`; else call->error and call->retry_ns. Of errors
// those that concern only this caller (PACER_EBUSY, PACER_ETIMEDOUT, PACER_ECANCELED) make another
// of those who wait compute it. On the loop.
void pcr_cache_computed(struct pcr_cache_call *call, bool keep);
// Nobody waits for this answer any more; `done` comes all the same, possibly before this returns.
// True: what `compute` began is of no use to anybody else either, so stop it. On the loop, between
// pcr_cache_fetch and `done`.
bool pcr_cache_cancel(struct pcr_cache_call *call);

// Where a caller without a loop waits; see predict.c.
struct pcr_cache_waiter {
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct pcr_mail *mail; // what came
};

// --- purging ------------------------------------------------------------------------------------
struct pcr_cache_purge {              // the caller's memory until `done`
    bool by_model, by_tenant, by_key; // what has to match; none: everything
    struct pcr_str model, tenant;
    uint64_t hi, lo;       // of by_key
    struct pcr_loop *loop; // or, for a caller that blocks: `done` is the waiter's business
    struct pcr_cache_waiter *waiter;
    void (*done)(struct pcr_cache_purge *purge); // on the loop, exactly once
    void *user;
    // results: values removed, and of a store: < 0 PACER_E…; 0 if there is no such store
    int64_t from_memory, from_lmdb, from_redis;
    struct pcr_cache *cache;          // private
    struct pcr_store_purge stores[2]; // private
    atomic_uint n_left;               // private
    struct pcr_mail mail;             // private
};
// What is being computed meanwhile is not stored either. On purge->loop's thread.
void pcr_cache_purge(struct pcr_cache *cache, struct pcr_cache_purge *purge);

// --- figures ------------------------------------------------------------------------------------
struct pcr_cache_counts { // totals
    uint64_t hits_l1, hits_lmdb, hits_redis, misses, coalesced, stale, refreshes, absent;
};
struct pcr_cache_stats {
    struct pcr_cache_counts total, last_5m, last_1h; // the latter need pcr_cache_tick
    uint64_t entries, bytes, bytes_max;              // of L1
    uint64_t inserted, evicted, purged;              // of L1
    uint64_t rejected; // too large for it, or no room while what was evicted is still being read
    bool has_lmdb, has_redis;
    struct pcr_store_stats lmdb, redis;
};
void pcr_cache_stats(struct pcr_cache *cache, struct pcr_cache_stats *out); // any thread
// Hits of all kinds (stale ones and shared runs, too) in all questions; NAN if nobody asked.
double pcr_cache_hit_ratio(const struct pcr_cache_counts *counts);
// Every PCR_CACHE_TICK_NS, for the figures of the last minutes.
#define PCR_CACHE_TICK_NS (10 * PCR_NS_PER_S)
void pcr_cache_tick(struct pcr_cache *cache);

#endif
