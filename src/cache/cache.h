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

struct pcr_cache; // shared by all loops

struct pcr_cache_options {
    size_t memory_bytes; // of L1, all it needs; 0: none, but equal questions still share a run
    const char *path;    // of the LMDB store; NULL: none
    uint64_t path_bytes_max;
    const char *redis_url; // NULL or empty: none
    uint64_t redis_timeout_ms;
};
int pcr_cache_create(const struct pcr_cache_options *options, struct pcr_cache **out,
                     struct pacer_error *err);
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

// One question. The caller's memory (a request's arena) until `done`.
struct pcr_cache_call {
    struct pcr_cache *cache;
    struct pcr_cache_key key; // its bytes in the arena
    struct pcr_cache_policy policy;
    struct pcr_arena *arena; // where the body goes
    struct pcr_loop *loop;
    uint64_t deadline_ns; // monotonic; 0: none. Nobody waits longer for another's computation
    // What the client accepts (RFC 9111): an answer of at most this age; UINT64_MAX: any. 0 is
    // no-cache: it is computed, and stored for others.
    uint64_t max_age_ns;
    bool only_if_cached;
    // On the loop: nobody has it, so compute it, then pcr_cache_computed.
    void (*compute)(struct pcr_cache_call *call);
    // On the loop, exactly once after pcr_cache_fetch, possibly before that returns.
    void (*done)(struct pcr_cache_call *call);
    void *user;
    // results
    enum pcr_cache_how how;
    int status; // 0, or PACER_E… of the computation: `error` and `retry_ns` as it gave them
    struct pacer_error error;
    uint64_t retry_ns;
    struct pcr_str body;
    uint64_t age_ns;
    int64_t fresh_ns;          // how much longer it is fresh; negative: stale for so long
    bool refresh;              // it is to be computed anew in the background: see pcr_cache_refresh
    struct pcr_flight *flight; // private
    struct pcr_mail mail;      // private
    struct pcr_list node, timing; // private
    uint64_t began_ns;            // private
    unsigned phase;               // private
};

// Looks into L1 only; true: it has its results, and `done` is not called. Any thread.
bool pcr_cache_get(struct pcr_cache_call *call, uint64_t now_ns);
// The long way, after pcr_cache_get has said false. On call->loop's thread.
void pcr_cache_fetch(struct pcr_cache_call *call);
// What `compute` came to; calls `done`, and answers all who wait for the same. status 0: `body`,
// which is stored; else the error, of which those that concern only this caller (PACER_EBUSY,
// PACER_ETIMEDOUT, PACER_ECANCELED) make another of those who wait compute it. On the loop.
void pcr_cache_computed(struct pcr_cache_call *call, int status, struct pcr_str body);
// Computed, but not an answer to keep: given to those who wait, not stored.
void pcr_cache_computed_once(struct pcr_cache_call *call, struct pcr_str body);
// Nobody waits for this answer any more. True: `done` has been called, with PACER_ECANCELED; false:
// it is being computed: go on if pcr_cache_is_awaited, else stop it as you can.
bool pcr_cache_cancel(struct pcr_cache_call *call);
bool pcr_cache_is_awaited(const struct pcr_cache_call *call);
// After a hit with `refresh`: whether the caller shall compute it anew, with a call of its own that
// it gives to pcr_cache_fetch, with max_age_ns 0. At most one of all callers is told so at a time.
bool pcr_cache_refresh(struct pcr_cache_call *call);

// --- purging ------------------------------------------------------------------------------------
struct pcr_cache_purge {              // the caller's memory until `done`
    bool by_model, by_tenant, by_key; // what has to match; none: everything
    struct pcr_str model, tenant;
    uint64_t hi, lo; // of by_key
    struct pcr_loop *loop;
    void (*done)(struct pcr_cache_purge *purge); // on the loop, exactly once
    void *user;
    // results: values removed, and of a store: < 0 PACER_E…; 0 if there is no such store
    int64_t from_memory, from_lmdb, from_redis;
    struct pcr_store_purge stores[2]; // private
    unsigned n_left;                  // private
    struct pcr_mail mail;             // private
};
// What is being computed meanwhile is not stored either. On purge->loop's thread.
void pcr_cache_purge(struct pcr_cache *cache, struct pcr_cache_purge *purge);

// --- figures ------------------------------------------------------------------------------------
struct pcr_cache_counts { // totals
    uint64_t hits_l1, hits_lmdb, hits_redis, misses, coalesced, stale, refreshes, absent;
};
struct pcr_cache_stats {
    struct pcr_cache_counts total, last_5m, last_1h;       // the latter need pcr_cache_tick
    uint64_t entries, bytes, bytes_max;                    // of L1
    uint64_t inserted, evicted, expired, purged, rejected; // of L1; rejected: too large
    bool has_lmdb, has_redis;
    struct pcr_store_stats lmdb, redis;
};
void pcr_cache_stats(const struct pcr_cache *cache, struct pcr_cache_stats *out); // any thread
// Hits of all kinds (stale ones and shared runs, too) in all questions; NAN if nobody asked.
double pcr_cache_hit_ratio(const struct pcr_cache_counts *counts);
// Every PCR_CACHE_TICK_NS, for the figures of the last minutes.
#define PCR_CACHE_TICK_NS (10 * PCR_NS_PER_S)
void pcr_cache_tick(struct pcr_cache *cache);

#endif
