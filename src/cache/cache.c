// SPDX-License-Identifier: Apache-2.0
// The cache as a whole: its parts made and ended, the short way of a hit, purging, figures.
//
// A hit costs a hash, a look, a compare and a copy. Small bodies are copied into the caller's
// arena, which costs less than counting references on a line that other threads count on, too;
// large ones are held.
//
// Early refresh (XFetch: Vattani et al., "Optimal probabilistic cache stampede prevention", VLDB
// 2015): the nearer its end, and the dearer its computation, the likelier an answer is computed
// anew while it is still given.
#include "cache/cache_priv.h"
#include "cache/redis_url.h"

#include <math.h>
#include <stdlib.h>

#define BODY_BYTES_COPIED ((size_t)16 << 10)
#define COST_SHARES_MAX 20 // -ln of anything rarer than e^-20 is not drawn
#define CLAIM_COSTS 10
#define CLAIM_MIN_NS PCR_NS_PER_S

// --- making and ending --------------------------------------------------------------------------
static void on_invalidated(void *ctx, const struct pcr_store_name *name);

static int open_stores(struct pcr_cache *cache, const struct pcr_cache_options *options,
                       struct pacer_error *err) {
    if (options->path && *options->path) {
        struct pcr_store_lmdb_options lmdb = {.path = options->path,
                                              .bytes_max = options->path_bytes_max};
        cache->store_how[cache->n_stores] = PCR_CACHE_HIT_LMDB; // before it has threads
        int rc = pcr_store_lmdb_open(&lmdb, &cache->stores[cache->n_stores], err);
        if (rc < 0)
            return rc;
        cache->n_stores++;
    }
    if (options->redis_url && *options->redis_url) {
        struct pcr_store_redis_options redis = {.url = options->redis_url,
                                                .timeout_ms = options->redis_timeout_ms,
                                                .invalidated = on_invalidated,
                                                .ctx = cache};
        cache->store_how[cache->n_stores] = PCR_CACHE_HIT_REDIS;
        int rc = pcr_store_redis_open(&redis, &cache->stores[cache->n_stores], err);
        if (rc < 0)
            return rc;
        cache->n_stores++;
    }
    return 0;
}

int pcr_cache_check(const struct pcr_cache_options *options, struct pacer_error *err) {
    struct pcr_redis_url url;
    if (!options->redis_url || !*options->redis_url)
        return 0;
    return pcr_redis_url_parse(options->redis_url, &url, err);
}

int pcr_cache_create(const struct pcr_cache_options *options, struct pcr_cache **out,
                     struct pacer_error *err) {
    *out = NULL;
    struct pcr_cache *cache = aligned_alloc(_Alignof(struct pcr_cache), sizeof *cache);
    if (!cache)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the cache");
    memset(cache, 0, sizeof *cache);
    pthread_mutex_init(&cache->store_lock, NULL);
    pthread_mutex_init(&cache->tick_lock, NULL);
    for (size_t i = 0; i < PCR_CACHE_STRIPES; i++) {
        pthread_mutex_init(&cache->stripes[i].lock, NULL);
        pcr_list_init(&cache->stripes[i].flights);
    }
    int rc = pcr_l1_create(options->memory_bytes, &cache->l1, err);
    if (rc == 0)
        rc = open_stores(cache, options, err);
    if (rc < 0) {
        pcr_cache_destroy(cache);
        return rc;
    }
    *out = cache;
    return 0;
}

void pcr_cache_stop(struct pcr_cache *cache) {
    while (cache && cache->n_stores > 0) { // the farthest first: it may tell the nearer one
        struct pcr_store *store = cache->stores[--cache->n_stores];
        store->ops->destroy(store);
    }
}

void pcr_cache_destroy(struct pcr_cache *cache) {
    if (!cache)
        return;
    pcr_cache_stop(cache);
    pcr_l1_destroy(cache->l1);
    for (size_t i = 0; i < PCR_CACHE_STRIPES; i++) {
        PCR_ASSERT(pcr_list_empty(&cache->stripes[i].flights));
        pthread_mutex_destroy(&cache->stripes[i].lock);
    }
    pthread_mutex_destroy(&cache->store_lock);
    pthread_mutex_destroy(&cache->tick_lock);
    free(cache);
}

// --- a hit --------------------------------------------------------------------------------------
bool pcr_cache_take_body(struct pcr_cache_call *call, struct pcr_str body) {
    char *copy = pcr_arena_alloc(call->arena, body.len + 1);
    if (!copy)
        return false;
    if (body.len)
        memcpy(copy, body.ptr, body.len);
    copy[body.len] = '\0';
    call->body = (struct pcr_str){copy, body.len};
    return true;
}

static void release(void *entry) {
    pcr_l1_release(entry);
}

static bool take_entry(struct pcr_cache_call *call, const struct pcr_l1_view *view) {
    if (view->body.len <= BODY_BYTES_COPIED)
        return pcr_cache_take_body(call, view->body);
    pcr_l1_hold(view->entry);
    if (!pcr_arena_on_reset(call->arena, release, view->entry)) {
        pcr_l1_release(view->entry);
        return false;
    }
    call->body = view->body;
    return true;
}

static bool is_early(const struct pcr_l1_view *view, int64_t left_ns) {
    if (left_ns > (int64_t)(view->cost_ns * COST_SHARES_MAX))
        return false;
    double u = ((double)(pcr_rand_u64() >> 11) + 1) * 0x1p-53; // (0, 1]
    return (double)view->cost_ns * -log(u) >= (double)left_ns;
}

int64_t pcr_cache_fresh_ns(const struct pcr_cache_policy *policy, uint64_t age_ns,
                           int64_t fresh_ns) {
    int64_t most_ns = (int64_t)(policy->ttl_ns + policy->ttl_ns / 10 - age_ns);
    return fresh_ns < most_ns ? fresh_ns : most_ns;
}

// Nobody else is told to compute it anew for as long as that should take.
static bool claim(const struct pcr_l1_view *view, uint64_t now_ns) {
    uint64_t claim_ns = view->cost_ns * CLAIM_COSTS;
    return pcr_l1_claim(view->entry, now_ns,
                        now_ns + (claim_ns > CLAIM_MIN_NS ? claim_ns : CLAIM_MIN_NS));
}

// Whether it may be given, and how that is called.
static bool judge(struct pcr_cache_call *call, const struct pcr_l1_view *view, uint64_t now_ns,
                  bool however_old) {
    call->age_ns = now_ns - view->stored_ns;
    if ((int64_t)call->age_ns < 0) // stored by a thread that has a later now
        call->age_ns = 0;
    call->fresh_ns =
        pcr_cache_fresh_ns(&call->policy, call->age_ns, (int64_t)(view->fresh_until_ns - now_ns));
    if (call->age_ns > call->max_age_ns)
        return false;
    bool wanted = false;
    if (call->fresh_ns > 0) {
        call->how = PCR_CACHE_HIT_L1;
        wanted = is_early(view, call->fresh_ns);
    } else {
        uint64_t late_ns = -(uint64_t)call->fresh_ns;
        call->how = PCR_CACHE_STALE;
        wanted = late_ns < call->policy.stale_while_revalidate_ns;
        if (!wanted && !(however_old && late_ns < call->policy.stale_if_error_ns))
            return false;
    }
    call->refresh = wanted && !however_old && claim(view, now_ns);
    return true;
}

bool pcr_cache_claim(const struct pcr_cache_call *call, uint64_t now_ns) {
    struct pcr_l1_view view;
    pcr_epoch_enter();
    bool claimed = !pcr_l1_find(call->cache->l1, &call->key, &view) || claim(&view, now_ns);
    pcr_epoch_leave();
    return claimed;
}

bool pcr_cache_look(struct pcr_cache_call *call, uint64_t now_ns, bool however_old) {
    struct pcr_l1_view view;
    call->refresh = false;
    if (call->max_age_ns == 0)
        return false;
    pcr_epoch_enter();
    bool found = pcr_l1_find(call->cache->l1, &call->key, &view) &&
                 judge(call, &view, now_ns, however_old) && take_entry(call, &view);
    if (found)
        pcr_l1_use(view.entry);
    pcr_epoch_leave();
    if (found)
        call->status = 0;
    return found;
}

bool pcr_cache_get(struct pcr_cache_call *call, uint64_t now_ns) {
    if (!pcr_cache_look(call, now_ns, false))
        return false;
    pcr_cache_count(call->cache, call->how == PCR_CACHE_HIT_L1 ? PCR_COUNT_L1 : PCR_COUNT_STALE);
    return true;
}

void pcr_cache_post(struct pcr_loop *loop, struct pcr_cache_waiter *waiter, struct pcr_mail *mail) {
    if (loop) {
        pcr_loop_post(loop, mail);
        return;
    }
    pthread_mutex_lock(&waiter->lock);
    waiter->mail = mail;
    pthread_cond_signal(&waiter->posted);
    pthread_mutex_unlock(&waiter->lock);
}

// --- purging ------------------------------------------------------------------------------------
bool pcr_cache_is_current(void *ctx) {
    const struct pcr_cache_call *call = ctx;
    return atomic_load(&call->cache->purges) == call->purges;
}

struct pcr_cache_stripe *pcr_cache_stripe_of(struct pcr_cache *cache, uint64_t hi) {
    return &cache->stripes[hi % PCR_CACHE_STRIPES];
}

bool pcr_cache_is_unchanged(void *ctx) {
    const struct pcr_cache_call *call = ctx;
    const struct pcr_cache_stripe *stripe = pcr_cache_stripe_of(call->cache, call->key.name.hi);
    return pcr_cache_is_current(ctx) && atomic_load(&stripe->invalidations) == call->invalidations;
}

static bool matches(void *ctx, struct pcr_str key, uint64_t hi, uint64_t lo) {
    const struct pcr_cache_purge *purge = ctx;
    struct pcr_str tenant, model;
    if (purge->by_key && (purge->hi != hi || purge->lo != lo))
        return false;
    if (!purge->by_model && !purge->by_tenant)
        return true;
    return pcr_cache_key_owner(key, &tenant, &model) &&
           (!purge->by_model || pcr_str_eq(model, purge->model)) &&
           (!purge->by_tenant || pcr_str_eq(tenant, purge->tenant));
}

static void on_purged(struct pcr_mail *mail) {
    struct pcr_cache_purge *purge = PCR_CONTAINER_OF(mail, struct pcr_cache_purge, mail);
    purge->done(purge);
}

static void one_less(struct pcr_cache_purge *purge) {
    if (atomic_fetch_sub(&purge->n_left, 1) == 1)
        pcr_cache_post(purge->loop, purge->waiter, &purge->mail);
}

static void on_store_purged(struct pcr_store_purge *part, int64_t removed) {
    struct pcr_cache_purge *purge = part->user;
    size_t i = (size_t)(part - purge->stores);
    *(purge->cache->store_how[i] == PCR_CACHE_HIT_LMDB ? &purge->from_lmdb : &purge->from_redis) =
        removed;
    one_less(purge);
}

void pcr_cache_purge(struct pcr_cache *cache, struct pcr_cache_purge *purge) {
    purge->cache = cache;
    purge->mail.deliver = on_purged;
    purge->from_lmdb = purge->from_redis = 0;
    atomic_init(&purge->n_left, cache->n_stores + 1);
    pthread_mutex_lock(&cache->store_lock);
    atomic_fetch_add(&cache->purges, 1);
    for (unsigned i = 0; i < cache->n_stores; i++) {
        struct pcr_store_purge *part = &purge->stores[i];
        *part = (struct pcr_store_purge){.by_model = purge->by_model,
                                         .by_tenant = purge->by_tenant,
                                         .by_key = purge->by_key,
                                         .done = on_store_purged,
                                         .user = purge};
        pcr_cache_name_of(purge->tenant, purge->model, &part->name);
        part->name.hi = purge->hi;
        part->name.lo = purge->lo;
        cache->stores[i]->ops->purge(cache->stores[i], part);
    }
    pthread_mutex_unlock(&cache->store_lock);
    purge->from_memory = (int64_t)pcr_l1_purge(cache->l1, matches, purge);
    one_less(purge);
}

static void on_dropped(struct pcr_store_purge *purge, int64_t removed) {
    (void)removed;
    free(purge);
}

// Another replica changed a value in Redis: what lies nearer to us is not it any more. Counted
// before it is dropped: what was read before is either there and dropped, or not put any more.
static void on_invalidated(void *ctx, const struct pcr_store_name *name) {
    struct pcr_cache *cache = ctx;
    for (size_t i = 0; i < PCR_CACHE_STRIPES; i++)
        if (!name || &cache->stripes[i] == pcr_cache_stripe_of(cache, name->hi))
            atomic_fetch_add(&cache->stripes[i].invalidations, 1);
    if (name)
        pcr_l1_drop(cache->l1, name->hi, name->lo);
    else
        pcr_l1_purge(cache->l1, NULL, NULL);
    if (cache->store_how[0] != PCR_CACHE_HIT_LMDB)
        return;
    struct pcr_store_purge *drop = calloc(1, sizeof *drop);
    if (!drop)
        return;
    drop->done = on_dropped;
    drop->by_model = drop->by_tenant = drop->by_key = name != NULL;
    if (name)
        drop->name = *name;
    cache->stores[0]->ops->purge(cache->stores[0], drop);
}

// --- figures ------------------------------------------------------------------------------------
void pcr_cache_count(struct pcr_cache *cache, enum pcr_cache_count what) {
    unsigned line = pcr_epoch_thread() % PCR_CACHE_COUNT_LINES;
    atomic_fetch_add_explicit(&cache->counts[line].n[what], 1, memory_order_relaxed);
}

static struct pcr_cache_counts totals(const struct pcr_cache *cache) {
    uint64_t n[PCR_COUNTS] = {0};
    for (size_t line = 0; line < PCR_CACHE_COUNT_LINES; line++)
        for (size_t i = 0; i < PCR_COUNTS; i++)
            n[i] += atomic_load_explicit(&cache->counts[line].n[i], memory_order_relaxed);
    return (struct pcr_cache_counts){
        .hits_l1 = n[PCR_COUNT_L1],
        .hits_lmdb = n[PCR_COUNT_LMDB],
        .hits_redis = n[PCR_COUNT_REDIS],
        .misses = n[PCR_COUNT_MISS],
        .coalesced = n[PCR_COUNT_COALESCED],
        .stale = n[PCR_COUNT_STALE],
        .refreshes = n[PCR_COUNT_REFRESH],
        .absent = n[PCR_COUNT_ABSENT],
    };
}

static struct pcr_cache_counts since(const struct pcr_cache *cache, struct pcr_cache_counts now,
                                     size_t n_ticks) {
    struct pcr_cache_counts then = {0}; // nothing had been counted before the first tick
    if (n_ticks < cache->n_ticks)
        then = cache->ticks[(cache->n_ticks - 1 - n_ticks) % PCR_CACHE_TICKS];
    return (struct pcr_cache_counts){
        .hits_l1 = now.hits_l1 - then.hits_l1,
        .hits_lmdb = now.hits_lmdb - then.hits_lmdb,
        .hits_redis = now.hits_redis - then.hits_redis,
        .misses = now.misses - then.misses,
        .coalesced = now.coalesced - then.coalesced,
        .stale = now.stale - then.stale,
        .refreshes = now.refreshes - then.refreshes,
        .absent = now.absent - then.absent,
    };
}

void pcr_cache_tick(struct pcr_cache *cache) {
    pthread_mutex_lock(&cache->tick_lock);
    cache->ticks[cache->n_ticks++ % PCR_CACHE_TICKS] = totals(cache);
    pthread_mutex_unlock(&cache->tick_lock);
}

double pcr_cache_hit_ratio(const struct pcr_cache_counts *c) {
    uint64_t hits = c->hits_l1 + c->hits_lmdb + c->hits_redis + c->coalesced + c->stale;
    uint64_t all = hits + c->misses + c->absent;
    return all ? (double)hits / (double)all : NAN;
}

void pcr_cache_stats(struct pcr_cache *cache, struct pcr_cache_stats *out) {
    struct pcr_l1_stats l1;
    *out = (struct pcr_cache_stats){.total = totals(cache)};
    pthread_mutex_lock(&cache->tick_lock);
    out->last_5m = since(cache, out->total, 300 * PCR_NS_PER_S / PCR_CACHE_TICK_NS - 1);
    out->last_1h = since(cache, out->total, 3600 * PCR_NS_PER_S / PCR_CACHE_TICK_NS - 1);
    pthread_mutex_unlock(&cache->tick_lock);
    pcr_l1_stats(cache->l1, &l1);
    out->entries = l1.entries;
    out->bytes = l1.bytes;
    out->bytes_max = l1.bytes_max;
    out->inserted = l1.inserted;
    out->evicted = l1.evicted;
    out->purged = l1.purged;
    out->rejected = l1.rejected;
    for (unsigned i = 0; i < cache->n_stores; i++) {
        bool lmdb = cache->store_how[i] == PCR_CACHE_HIT_LMDB;
        cache->stores[i]->ops->stats(cache->stores[i], lmdb ? &out->lmdb : &out->redis);
        *(lmdb ? &out->has_lmdb : &out->has_redis) = true;
    }
}
