// SPDX-License-Identifier: Apache-2.0
// L1: answers in memory, within a budget of bytes. Sans-I/O: told the time.
//
// Eviction is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
// new entries go through a small queue, of a tenth of the bytes; only what is asked for again
// there, or comes back soon after it left, reaches the main one. So a scan of things nobody asks
// for twice leaves the rest alone.
//
// Readers take no lock: they find an entry between pcr_epoch_enter and pcr_epoch_leave, and copy or
// hold what they want of it. Writers lock one of the shards.
#ifndef PCR_CACHE_L1_H
#define PCR_CACHE_L1_H

#include "base/base.h"
#include "cache/key.h"

struct pcr_l1;
struct pcr_l1_entry;

// `memory_bytes` is all that it ever takes, its tables included; 0: it keeps nothing.
int pcr_l1_create(size_t memory_bytes, struct pcr_l1 **out, struct pacer_error *err);
void pcr_l1_destroy(struct pcr_l1 *l1); // NULL is fine; nothing may be held

struct pcr_l1_view {
    struct pcr_l1_entry *entry;
    struct pcr_str body;
    uint64_t stored_ns, fresh_until_ns; // monotonic; stored_ns may lie before 0 (it wraps)
    uint64_t cost_ns;                   // of computing it
};
// Between enter and leave, and so is the view. The key is compared in full.
bool pcr_l1_find(struct pcr_l1 *l1, const struct pcr_cache_key *key, struct pcr_l1_view *view);
// Counts as a use, for eviction.
void pcr_l1_use(struct pcr_l1_entry *entry);
// True for one caller: it computes the entry anew; nobody else is told so before until_ns.
bool pcr_l1_claim(struct pcr_l1_entry *entry, uint64_t now_ns, uint64_t until_ns);
// Keeps the body beyond leave, until it is released. The first between enter and leave.
void pcr_l1_hold(struct pcr_l1_entry *entry);
void pcr_l1_release(struct pcr_l1_entry *entry);

struct pcr_l1_item {
    const struct pcr_cache_key *key;
    struct pcr_str body;
    uint64_t stored_ns, fresh_until_ns, cost_ns;
};
// Replaces what was there. False: no memory, it is too large to be worth what would have to go, or
// what went is still being read and leaves no room for it.
// `still` is asked under the shard's lock, after which a pcr_l1_purge that began later finds the
// entry; NULL: yes.
bool pcr_l1_put(struct pcr_l1 *l1, const struct pcr_l1_item *item, bool (*still)(void *ctx),
                void *ctx);
// Returns how many were dropped. `matches` NULL: all.
typedef bool (*pcr_l1_match)(void *ctx, struct pcr_str key, uint64_t hi, uint64_t lo);
uint64_t pcr_l1_purge(struct pcr_l1 *l1, pcr_l1_match matches, void *ctx);
// What has this hash.
bool pcr_l1_drop(struct pcr_l1 *l1, uint64_t hi, uint64_t lo);

struct pcr_l1_stats {
    uint64_t entries, bytes, bytes_max; // bytes: tables and what waits to be freed included
    uint64_t inserted, evicted, purged, rejected;
};
void pcr_l1_stats(const struct pcr_l1 *l1, struct pcr_l1_stats *out); // any thread

#endif
