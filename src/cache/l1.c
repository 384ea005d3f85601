// SPDX-License-Identifier: Apache-2.0
// One table of buckets for all shards, with chains that readers follow without a lock; a shard owns
// a range of them, two queues and the ghosts. The table never grows: its size follows from the
// budget, which is what bounds the number of entries.
//
// What is unlinked keeps its own link, so a reader that stands on it goes on from there; it is
// freed when no reader can be left (base/epoch.h). A reader may miss an entry that is being
// replaced: that is a miss like any other.
//
// Ghosts, what left the small queue unused, are 32 bits of a hash and the time in a table of sets
// of four; as many count as there are entries. A wrong match promotes something needlessly, no
// more.
//
// Of a name an entry keeps half, since the key is compared in full; where both halves are asked
// for, the key is hashed anew.
//
// Whoever knows the hash could make many keys share a bucket. The bucket depends on a seed of the
// process, and a chain has a longest length all the same.
//
// Rejected: SIEVE, which is simpler, but a scan pushes its whole queue through; LRU, which writes
// to shared lines on every hit; a table that grows, which readers would have to notice.
#include "cache/l1.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BYTES_PER_BUCKET 256 // of the budget; entries are seldom smaller
#define BYTES_PER_GHOST 512  // more do not raise hit ratios (bench/cache_traces.c)
#define BYTES_PER_SHARD ((size_t)4 << 20)
#define SHARDS_MAX 64
#define SMALL_SHARE 10 // a tenth
#define USES_MAX 3     // the lowest bits of an entry's state
#define IN_MAIN 4u
#define REF 8u
#define CHAIN_MAX 32
#define GHOST_WAYS 4
#define FREED_AT_ONCE 16 // by one put
#define RETIRED_SHARE 32 // so much of the budget is left to what readers may still stand on

enum queue { SMALL, MAIN };

struct pcr_l1_entry {
    _Atomic(struct pcr_l1_entry *) next; // of its bucket
    union {
        struct pcr_list node; // of its queue
        struct pcr_retired retired;
    };
    uint64_t hash; // its name's hi
    uint64_t stored_ns, fresh_until_ns;
    _Atomic uint64_t claimed_until_ns;
    uint32_t cost_us;
    uint32_t key_bytes, body_bytes;
    atomic_uint state; // uses, IN_MAIN, and the references: the table's, and of those who hold it
    char bytes[];      // key, then body
};
_Static_assert(sizeof(struct pcr_l1_entry) == 72, "every entry pays for what is added here");

struct ghost {
    uint32_t print, at; // print 0: none
};

struct shard {
    _Alignas(128) pthread_mutex_t lock;
    struct pcr_list queues[2]; // newest first
    size_t queue_bytes[2];
    size_t n_entries, bytes_max;
    struct ghost *ghosts;
    size_t n_ghost_sets;
    uint32_t ghost_clock;
    struct pcr_epoch_bin bin;
    size_t retired_bytes;
    uint64_t inserted, evicted, purged, rejected;
};

struct pcr_l1 {
    _Atomic(struct pcr_l1_entry *) *buckets;
    unsigned bucket_bits, shard_bits;
    uint64_t seed;
    size_t tables_bytes, bytes_max;
    struct shard *shards; // 1 << shard_bits; NULL: it keeps nothing
    struct ghost *ghosts;
};

// --- making -------------------------------------------------------------------------------------
static unsigned log2_below(size_t n) { // the largest power of two that is not more
    return n < 2 ? 0 : 63u - (unsigned)__builtin_clzll(n);
}

static void init_shard(struct pcr_l1 *l1, size_t i, size_t n_ghosts) {
    struct shard *shard = &l1->shards[i];
    size_t n_shards = (size_t)1 << l1->shard_bits;
    *shard = (struct shard){.bytes_max = (l1->bytes_max - l1->tables_bytes) / n_shards,
                            .ghosts = l1->ghosts + i * n_ghosts,
                            .n_ghost_sets = n_ghosts / GHOST_WAYS};
    pthread_mutex_init(&shard->lock, NULL);
    pcr_list_init(&shard->queues[SMALL]);
    pcr_list_init(&shard->queues[MAIN]);
}

static bool allocate(struct pcr_l1 *l1) {
    size_t n_buckets = (size_t)1 << l1->bucket_bits, n_shards = (size_t)1 << l1->shard_bits;
    size_t n_ghosts = (l1->bytes_max / BYTES_PER_GHOST / n_shards / GHOST_WAYS + 1) * GHOST_WAYS;
    l1->buckets = calloc(n_buckets, sizeof *l1->buckets);
    l1->ghosts = calloc(n_ghosts * n_shards, sizeof *l1->ghosts);
    l1->shards = aligned_alloc(_Alignof(struct shard), n_shards * sizeof *l1->shards);
    l1->tables_bytes = n_buckets * sizeof *l1->buckets + n_ghosts * n_shards * sizeof *l1->ghosts +
                       n_shards * sizeof *l1->shards;
    if (l1->tables_bytes > l1->bytes_max)
        l1->tables_bytes = l1->bytes_max;
    if (!l1->buckets || !l1->ghosts || !l1->shards)
        return false;
    for (size_t i = 0; i < n_shards; i++)
        init_shard(l1, i, n_ghosts);
    return true;
}

int pcr_l1_create(size_t memory_bytes, struct pcr_l1 **out, struct pacer_error *err) {
    *out = NULL;
    struct pcr_l1 *l1 = calloc(1, sizeof *l1);
    if (l1) {
        l1->bytes_max = memory_bytes;
        l1->seed = pcr_rand_process_seed();
        l1->bucket_bits = log2_below(memory_bytes / BYTES_PER_BUCKET);
        l1->shard_bits = log2_below(memory_bytes / BYTES_PER_SHARD);
        if (l1->shard_bits > log2_below(SHARDS_MAX))
            l1->shard_bits = log2_below(SHARDS_MAX);
    }
    if (!l1 || (memory_bytes > 0 && !allocate(l1))) {
        if (l1) {
            free(l1->buckets);
            free(l1->ghosts);
            free(l1->shards);
        }
        free(l1);
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for a cache of %zu MiB",
                       memory_bytes >> 20);
    }
    *out = l1;
    return 0;
}

// --- entries ------------------------------------------------------------------------------------
static struct pcr_str key_of(const struct pcr_l1_entry *entry) {
    return (struct pcr_str){entry->bytes, entry->key_bytes};
}

static size_t size_of(struct pcr_l1_entry *entry) { // as malloc has it, its header included
    return malloc_usable_size(entry) + sizeof(size_t);
}

static unsigned uses_of(const struct pcr_l1_entry *entry) {
    return atomic_load_explicit(&entry->state, memory_order_relaxed) & USES_MAX;
}

static enum queue queue_of(const struct pcr_l1_entry *entry) { // changes under the lock only
    return atomic_load_explicit(&entry->state, memory_order_relaxed) & IN_MAIN ? MAIN : SMALL;
}

static size_t bucket_of(const struct pcr_l1 *l1, uint64_t hash) {
    uint64_t mixed = (hash ^ l1->seed) * 0x9e3779b97f4a7c15ull;
    return l1->bucket_bits ? (size_t)(mixed >> (64 - l1->bucket_bits)) : 0;
}

static struct shard *shard_of(const struct pcr_l1 *l1, size_t bucket) {
    return &l1->shards[bucket >> (l1->bucket_bits - l1->shard_bits)];
}

void pcr_l1_hold(struct pcr_l1_entry *entry) {
    atomic_fetch_add_explicit(&entry->state, REF, memory_order_relaxed);
}

void pcr_l1_release(struct pcr_l1_entry *entry) {
    if (atomic_fetch_sub_explicit(&entry->state, REF, memory_order_acq_rel) < 2 * REF)
        free(entry);
}

static struct pcr_l1_entry *make_entry(const struct pcr_l1_item *item) {
    struct pcr_str key = item->key->bytes;
    if (key.len > UINT32_MAX || item->body.len > UINT32_MAX)
        return NULL;
    struct pcr_l1_entry *entry = malloc(sizeof *entry + key.len + item->body.len);
    if (!entry)
        return NULL;
    uint64_t cost_us = item->cost_ns / PCR_NS_PER_US;
    *entry = (struct pcr_l1_entry){
        .hash = item->key->name.hi,
        .stored_ns = item->stored_ns,
        .fresh_until_ns = item->fresh_until_ns,
        .cost_us = cost_us > UINT32_MAX ? UINT32_MAX : (uint32_t)cost_us,
        .key_bytes = (uint32_t)key.len,
        .body_bytes = (uint32_t)item->body.len,
        .state = REF,
    };
    memcpy(entry->bytes, key.ptr, key.len);
    if (item->body.len)
        memcpy(entry->bytes + key.len, item->body.ptr, item->body.len);
    return entry;
}

// --- reading ------------------------------------------------------------------------------------
bool pcr_l1_find(struct pcr_l1 *l1, const struct pcr_cache_key *key, struct pcr_l1_view *view) {
    if (!l1->shards)
        return false;
    struct pcr_l1_entry *entry = atomic_load(&l1->buckets[bucket_of(l1, key->name.hi)]);
    while (entry && (entry->hash != key->name.hi || !pcr_str_eq(key_of(entry), key->bytes)))
        entry = atomic_load(&entry->next);
    if (!entry)
        return false;
    *view = (struct pcr_l1_view){
        .entry = entry,
        .body = {entry->bytes + entry->key_bytes, entry->body_bytes},
        .stored_ns = entry->stored_ns,
        .fresh_until_ns = entry->fresh_until_ns,
        .cost_ns = entry->cost_us * PCR_NS_PER_US,
    };
    return true;
}

void pcr_l1_use(struct pcr_l1_entry *entry) {
    unsigned state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if ((state & USES_MAX) < USES_MAX) // a use that is lost to another thread's does no harm
        atomic_compare_exchange_strong_explicit(&entry->state, &state, state + 1,
                                                memory_order_relaxed, memory_order_relaxed);
}

bool pcr_l1_claim(struct pcr_l1_entry *entry, uint64_t now_ns, uint64_t until_ns) {
    uint64_t claimed = atomic_load_explicit(&entry->claimed_until_ns, memory_order_relaxed);
    return claimed <= now_ns &&
           atomic_compare_exchange_strong(&entry->claimed_until_ns, &claimed, until_ns);
}

// --- ghosts -------------------------------------------------------------------------------------
static struct ghost *ghost_set(const struct shard *shard, uint64_t hash, uint32_t *print) {
    *print = (uint32_t)(hash >> 32) | 1;
    return &shard->ghosts[((hash & UINT32_MAX) * shard->n_ghost_sets >> 32) * GHOST_WAYS];
}

static void add_ghost(struct shard *shard, uint64_t hash) {
    uint32_t print;
    struct ghost *set = ghost_set(shard, hash, &print), *oldest = set;
    for (size_t i = 0; i < GHOST_WAYS && oldest->print; i++)
        if (!set[i].print || shard->ghost_clock - set[i].at > shard->ghost_clock - oldest->at)
            oldest = &set[i];
    *oldest = (struct ghost){print, ++shard->ghost_clock};
}

static bool take_ghost(struct shard *shard, uint64_t hash) {
    uint32_t print;
    struct ghost *set = ghost_set(shard, hash, &print);
    for (size_t i = 0; i < GHOST_WAYS; i++)
        if (set[i].print == print) {
            bool recent = shard->ghost_clock - set[i].at <= shard->n_entries;
            set[i].print = 0;
            return recent;
        }
    return false;
}

// --- in and out, under the shard's lock ---------------------------------------------------------
static void unlink_entry(struct pcr_l1 *l1, struct pcr_l1_entry *entry) {
    _Atomic(struct pcr_l1_entry *) *link = &l1->buckets[bucket_of(l1, entry->hash)];
    struct pcr_l1_entry *at;
    while ((at = atomic_load_explicit(link, memory_order_relaxed)) != entry)
        link = &at->next;
    atomic_store(link, atomic_load_explicit(&entry->next, memory_order_relaxed));
}

static void drop(struct pcr_l1 *l1, struct shard *shard, struct pcr_l1_entry *entry) {
    size_t bytes = size_of(entry);
    unlink_entry(l1, entry);
    pcr_list_remove(&entry->node);
    shard->queue_bytes[queue_of(entry)] -= bytes;
    shard->n_entries--;
    shard->retired_bytes += bytes;
    pcr_epoch_retire(&shard->bin, &entry->retired);
}

static void enqueue(struct shard *shard, struct pcr_l1_entry *entry, enum queue queue) {
    if (queue == MAIN)
        atomic_fetch_or_explicit(&entry->state, IN_MAIN, memory_order_relaxed);
    pcr_list_push_front(&shard->queues[queue], &entry->node);
    shard->queue_bytes[queue] += size_of(entry);
}

static void free_retired(struct shard *shard, size_t most) {
    for (struct pcr_retired *retired; most > 0 && (retired = pcr_epoch_collect(&shard->bin));
         most--) {
        struct pcr_l1_entry *entry = PCR_CONTAINER_OF(retired, struct pcr_l1_entry, retired);
        shard->retired_bytes -= size_of(entry);
        pcr_l1_release(entry);
    }
}

static struct pcr_l1_entry *oldest(const struct shard *shard, enum queue queue) {
    return PCR_LIST_ENTRY(shard->queues[queue].prev, struct pcr_l1_entry, node);
}

// The oldest of the small queue leaves it: for the main one if it was asked for again.
static void leave_small(struct pcr_l1 *l1, struct shard *shard) {
    struct pcr_l1_entry *entry = oldest(shard, SMALL);
    if (uses_of(entry) > 1) {
        pcr_list_remove(&entry->node);
        shard->queue_bytes[SMALL] -= size_of(entry);
        atomic_fetch_and_explicit(&entry->state, ~(unsigned)USES_MAX, memory_order_relaxed);
        enqueue(shard, entry, MAIN);
        return;
    }
    add_ghost(shard, entry->hash);
    shard->evicted++;
    drop(l1, shard, entry);
}

// The oldest of the main queue leaves it, or goes round again with a use less.
static void leave_main(struct pcr_l1 *l1, struct shard *shard) {
    struct pcr_l1_entry *entry = oldest(shard, MAIN);
    if (uses_of(entry) == 0) {
        shard->evicted++;
        drop(l1, shard, entry);
        return;
    }
    atomic_fetch_sub_explicit(&entry->state, 1, memory_order_relaxed); // readers only add
    pcr_list_remove(&entry->node);
    pcr_list_push_front(&shard->queues[MAIN], &entry->node);
}

// What waits to be freed is within the budget, too. It cannot be hurried, so some room is left to
// it while there is any, and where that does not do the put is refused.
static bool is_too_much(const struct shard *shard, size_t bytes, size_t retired_bytes) {
    return shard->queue_bytes[SMALL] + shard->queue_bytes[MAIN] + retired_bytes + bytes >
           shard->bytes_max;
}

static size_t room_for_retired(const struct shard *shard) {
    size_t most = shard->bytes_max / RETIRED_SHARE;
    return shard->retired_bytes < most ? shard->retired_bytes : most;
}

static void make_room(struct pcr_l1 *l1, struct shard *shard, size_t bytes) {
    while (shard->n_entries > 0 && is_too_much(shard, bytes, room_for_retired(shard))) {
        bool small_is_full = shard->queue_bytes[SMALL] >= shard->bytes_max / SMALL_SHARE;
        if (!pcr_list_empty(&shard->queues[SMALL]) &&
            (small_is_full || pcr_list_empty(&shard->queues[MAIN])))
            leave_small(l1, shard);
        else
            leave_main(l1, shard);
    }
}

// What has this key, and the last of its chain if that is too long.
static struct pcr_l1_entry *look(struct pcr_l1 *l1, const struct pcr_l1_entry *like,
                                 struct pcr_l1_entry **surplus) {
    struct pcr_l1_entry *same = NULL;
    size_t n = 0;
    *surplus = NULL;
    for (struct pcr_l1_entry *at = atomic_load(&l1->buckets[bucket_of(l1, like->hash)]); at;
         at = atomic_load(&at->next)) {
        if (at->hash == like->hash && pcr_str_eq(key_of(at), key_of(like)))
            same = at;
        if (++n >= CHAIN_MAX)
            *surplus = at;
    }
    return same;
}

// False: no room. What was there under this key is gone then, too, since it was to be replaced.
static bool insert(struct pcr_l1 *l1, struct shard *shard, struct pcr_l1_entry *entry) {
    struct pcr_l1_entry *surplus, *same = look(l1, entry, &surplus);
    enum queue queue = SMALL;
    if (same) {
        queue = queue_of(same);
        atomic_store_explicit(&entry->state, REF + uses_of(same), memory_order_relaxed);
        drop(l1, shard, same);
    } else {
        queue = take_ghost(shard, entry->hash) ? MAIN : SMALL;
        if (surplus) {
            shard->evicted++;
            drop(l1, shard, surplus);
        }
    }
    make_room(l1, shard, size_of(entry));
    for (size_t i = 0; i < 3 && is_too_much(shard, size_of(entry), shard->retired_bytes); i++)
        free_retired(shard, SIZE_MAX); // the epoch moves on by one each time
    if (is_too_much(shard, size_of(entry), shard->retired_bytes))
        return false;
    _Atomic(struct pcr_l1_entry *) *bucket = &l1->buckets[bucket_of(l1, entry->hash)];
    atomic_store_explicit(&entry->next, atomic_load(bucket), memory_order_relaxed);
    atomic_store(bucket, entry);
    enqueue(shard, entry, queue);
    shard->n_entries++;
    shard->inserted++;
    return true;
}

bool pcr_l1_put(struct pcr_l1 *l1, const struct pcr_l1_item *item, bool (*still)(void *ctx),
                void *ctx) {
    if (!l1->shards)
        return false;
    struct shard *shard = shard_of(l1, bucket_of(l1, item->key->name.hi));
    bool fits = item->key->bytes.len < shard->bytes_max / 2 &&
                item->body.len < shard->bytes_max / 2 - item->key->bytes.len;
    struct pcr_l1_entry *entry = fits ? make_entry(item) : NULL;
    fits = entry && size_of(entry) <= shard->bytes_max / 2;
    pthread_mutex_lock(&shard->lock);
    bool wanted = !still || still(ctx);
    free_retired(shard, FREED_AT_ONCE);
    bool taken = fits && wanted && insert(l1, shard, entry);
    shard->rejected += !fits || (wanted && !taken);
    pthread_mutex_unlock(&shard->lock);
    if (!taken)
        free(entry);
    return taken;
}

// --- purging ------------------------------------------------------------------------------------
static bool is_match(const struct pcr_l1_entry *entry, pcr_l1_match matches, void *ctx) {
    struct pcr_hash128 hash = pcr_str_hash128(key_of(entry));
    return matches(ctx, key_of(entry), hash.hi, hash.lo);
}

static uint64_t purge_shard(struct pcr_l1 *l1, struct shard *shard, pcr_l1_match matches,
                            void *ctx) {
    uint64_t n = 0;
    pthread_mutex_lock(&shard->lock);
    for (size_t queue = SMALL; queue <= MAIN; queue++)
        PCR_LIST_FOR_EACH_SAFE(node, after, &shard->queues[queue]) {
            struct pcr_l1_entry *entry = PCR_LIST_ENTRY(node, struct pcr_l1_entry, node);
            if (!matches || is_match(entry, matches, ctx)) {
                drop(l1, shard, entry);
                n++;
            }
        }
    shard->purged += n;
    for (size_t i = 0; i < 3; i++) // the epoch moves on by one each time, if nobody is inside
        free_retired(shard, SIZE_MAX);
    pthread_mutex_unlock(&shard->lock);
    return n;
}

uint64_t pcr_l1_purge(struct pcr_l1 *l1, pcr_l1_match matches, void *ctx) {
    uint64_t n = 0;
    for (size_t i = 0; l1->shards && i < (size_t)1 << l1->shard_bits; i++)
        n += purge_shard(l1, &l1->shards[i], matches, ctx);
    return n;
}

bool pcr_l1_drop(struct pcr_l1 *l1, uint64_t hi, uint64_t lo) {
    if (!l1->shards)
        return false;
    size_t bucket = bucket_of(l1, hi);
    struct shard *shard = shard_of(l1, bucket);
    bool found = false;
    pthread_mutex_lock(&shard->lock);
    for (struct pcr_l1_entry *at = atomic_load(&l1->buckets[bucket]), *next; at; at = next) {
        next = atomic_load(&at->next);
        if (at->hash == hi && pcr_str_hash128(key_of(at)).lo == lo) {
            drop(l1, shard, at);
            shard->purged++;
            found = true;
        }
    }
    free_retired(shard, FREED_AT_ONCE);
    pthread_mutex_unlock(&shard->lock);
    return found;
}

// --- the end, and figures -----------------------------------------------------------------------
static void fini_shard(struct shard *shard) {
    for (size_t queue = SMALL; queue <= MAIN; queue++)
        PCR_LIST_FOR_EACH_SAFE(node, after, &shard->queues[queue])
            pcr_l1_release(PCR_LIST_ENTRY(node, struct pcr_l1_entry, node));
    for (struct pcr_retired *at = shard->bin.first, *next; at; at = next) {
        next = at->next;
        pcr_l1_release(PCR_CONTAINER_OF(at, struct pcr_l1_entry, retired));
    }
    pthread_mutex_destroy(&shard->lock);
}

void pcr_l1_destroy(struct pcr_l1 *l1) {
    if (!l1)
        return;
    for (size_t i = 0; l1->shards && i < (size_t)1 << l1->shard_bits; i++)
        fini_shard(&l1->shards[i]);
    free(l1->buckets);
    free(l1->ghosts);
    free(l1->shards);
    free(l1);
}

void pcr_l1_stats(const struct pcr_l1 *l1, struct pcr_l1_stats *out) {
    *out = (struct pcr_l1_stats){.bytes = l1->tables_bytes, .bytes_max = l1->bytes_max};
    for (size_t i = 0; l1->shards && i < (size_t)1 << l1->shard_bits; i++) {
        struct shard *shard = &l1->shards[i];
        pthread_mutex_lock(&shard->lock);
        out->entries += shard->n_entries;
        out->bytes += shard->queue_bytes[SMALL] + shard->queue_bytes[MAIN] + shard->retired_bytes;
        out->inserted += shard->inserted;
        out->evicted += shard->evicted;
        out->purged += shard->purged;
        out->rejected += shard->rejected;
        pthread_mutex_unlock(&shard->lock);
    }
}
