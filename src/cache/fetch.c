// SPDX-License-Identifier: Apache-2.0
// The long way of a question that L1 has no answer to.
//
// Single flight: of equal questions one leads, the others wait for what it comes to, whichever
// loops they are on. The leader asks the stores one after the other, nearest first, then computes.
// What went wrong for the leader alone (it was late, canceled, found no room) makes the next of
// those who wait the leader; what would go wrong for all of them is everybody's answer.
//
// A call's phase changes under its stripe's lock while others may look at it: as long as it waits.
// Everything else is its own thread's. Whoever takes a waiting call out of its flight owns it and
// sends it a letter; the call's thread does the rest.
//
// Rejected: waiting for the leader however long that takes. The one with 50 ms left need not wait
// for one that has 30 s, so those who wait have their deadlines watched, by one timer per loop.
#include "cache/cache_priv.h"

#include <stdlib.h>

#define BODY_BYTES_COPIED ((size_t)16 << 10)
#define CLOCKS_DIFFER_MS 5000 // so far from the future may a value of another machine come
#define VALUE_BYTES_MAX ((size_t)64 << 20)
#define FRESH_MS_MAX (732 * 86400000ull) // nothing is kept for longer

enum phase {
    IDLE,
    WAITING,   // in a flight that another leads
    POSTED,    // a letter is on its way
    ASKING,    // it leads, and asks the stores
    COMPUTING, // `compute` has been called
};

struct pcr_flight {
    struct pcr_list node;
    struct pcr_list waiting; // calls, by their node
    uint64_t hi, lo;
    uint64_t purges;     // as it began: who comes after a purge does not join it
    unsigned next_store; // the leader's: what has not been asked yet
    size_t key_bytes;
    char key[];
};

// What a flight came to, for all who waited; counted.
struct pcr_cache_outcome {
    atomic_uint refs;
    int status;
    enum pcr_cache_how how;
    struct pacer_error error;
    uint64_t retry_ns, age_ns;
    int64_t fresh_ns;
    size_t body_bytes;
    char body[];
};

static void go_on(struct pcr_cache_call *call);
static void ask_store(struct pcr_cache_call *call, unsigned i);

// --- ends ---------------------------------------------------------------------------------------
static void count_how(struct pcr_cache_call *call) {
    static const enum pcr_cache_count counts[] = {
        [PCR_CACHE_MISS] = PCR_COUNT_MISS,           [PCR_CACHE_HIT_L1] = PCR_COUNT_L1,
        [PCR_CACHE_HIT_LMDB] = PCR_COUNT_LMDB,       [PCR_CACHE_HIT_REDIS] = PCR_COUNT_REDIS,
        [PCR_CACHE_COALESCED] = PCR_COUNT_COALESCED, [PCR_CACHE_STALE] = PCR_COUNT_STALE,
        [PCR_CACHE_ABSENT] = PCR_COUNT_ABSENT,
    };
    if (call->refreshing)
        pcr_cache_count(call->cache, PCR_COUNT_REFRESH);
    else if (!call->canceled)
        pcr_cache_count(call->cache, counts[call->how]);
}

static void end(struct pcr_cache_call *call) {
    call->phase = IDLE;
    count_how(call);
    call->done(call);
}

static void fail(struct pcr_cache_call *call, int code, const char *message) {
    call->how = PCR_CACHE_MISS;
    call->body = (struct pcr_str){NULL, 0};
    call->retry_ns = 0;
    call->status = pcr_err(&call->error, code, "cache", "%s", message);
}

// What is past its time is better than nothing, for so long.
static bool take_stale(struct pcr_cache_call *call) {
    uint64_t now_ns = pcr_clock_mono_ns();
    return call->policy.stale_if_error_ns > 0 && !call->refreshing &&
           pcr_cache_look(call, now_ns, true);
}

static bool may_be_stale(int code) { // not what is wrong with the question itself
    return code != PACER_EINVAL && code != PACER_ESYNTAX && code != PACER_EUNSUPPORTED;
}

static bool concerns_one(int code) {
    return code == PACER_EBUSY || code == PACER_ETIMEDOUT || code == PACER_ECANCELED ||
           code == PACER_ENOMEM;
}

// --- letters ------------------------------------------------------------------------------------
static void post(struct pcr_cache_call *call, void (*deliver)(struct pcr_mail *mail)) {
    call->mail.deliver = deliver;
    pcr_cache_post(call->loop, call->waiter, &call->mail);
}

static struct pcr_cache_call *call_of(struct pcr_mail *mail) {
    return PCR_CONTAINER_OF(mail, struct pcr_cache_call, mail);
}

// --- those who wait, and their deadlines --------------------------------------------------------
struct watch { // per loop
    struct pcr_timer *timer;
    struct pcr_list calls; // by their timing
    uint64_t next_ns;      // when the timer fires; 0: it does not
};
static const char watch_key;

static struct pcr_cache_stripe *stripe_of(const struct pcr_cache_call *call) {
    return pcr_cache_stripe_of(call->cache, call->key.name.hi);
}

// True: it waited, and does not any more.
static bool stop_waiting(struct pcr_cache_call *call) {
    struct pcr_cache_stripe *stripe = stripe_of(call);
    pthread_mutex_lock(&stripe->lock);
    bool waited = call->phase == WAITING;
    if (waited) {
        pcr_list_remove(&call->node);
        call->flight = NULL;
        call->phase = IDLE;
    }
    pthread_mutex_unlock(&stripe->lock);
    return waited;
}

static void set_timer(struct watch *watch, uint64_t at_ns, uint64_t now_ns) {
    if (watch->next_ns && watch->next_ns <= at_ns)
        return;
    watch->next_ns = at_ns;
    uint64_t left_ms = at_ns > now_ns ? (at_ns - now_ns) / PCR_NS_PER_MS + 1 : 1;
    pcr_timer_start(watch->timer, left_ms, 0);
}

static void on_timer(void *ctx) {
    struct watch *watch = ctx;
    uint64_t now_ns = pcr_clock_mono_ns();
    struct pcr_list late;
    pcr_list_init(&late);
    watch->next_ns = 0;
    PCR_LIST_FOR_EACH_SAFE(node, after, &watch->calls) {
        struct pcr_cache_call *call = PCR_LIST_ENTRY(node, struct pcr_cache_call, timing);
        if (call->deadline_ns > now_ns) {
            set_timer(watch, call->deadline_ns, now_ns);
            continue;
        }
        pcr_list_remove(node);
        if (stop_waiting(call)) // else its letter is on its way
            pcr_list_push_back(&late, node);
    }
    while (!pcr_list_empty(&late)) {
        struct pcr_cache_call *call = PCR_LIST_ENTRY(late.next, struct pcr_cache_call, timing);
        pcr_list_remove(&call->timing);
        if (!take_stale(call))
            fail(call, PACER_ETIMEDOUT,
                 "the time of the request was up while another computed the same");
        end(call);
    }
}

static void end_watch(void *ctx) {
    struct watch *watch = ctx;
    pcr_timer_destroy(watch->timer);
    free(watch);
}

static struct watch *watch_of(struct pcr_loop *loop) {
    struct watch *watch = pcr_loop_get_local(loop, &watch_key);
    if (watch)
        return watch;
    watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    pcr_list_init(&watch->calls);
    watch->timer = pcr_timer_create(loop, on_timer, watch);
    if (!watch->timer || !pcr_loop_set_local(loop, &watch_key, watch, end_watch)) {
        pcr_timer_destroy(watch->timer);
        free(watch);
        return NULL;
    }
    return watch;
}

static void watch_deadline(struct pcr_cache_call *call) {
    struct watch *watch = call->loop && call->deadline_ns ? watch_of(call->loop) : NULL;
    if (!watch)
        return;
    pcr_list_push_back(&watch->calls, &call->timing);
    set_timer(watch, call->deadline_ns, pcr_clock_mono_ns());
}

// --- flights ------------------------------------------------------------------------------------
static struct pcr_flight *find_flight(struct pcr_cache_stripe *stripe,
                                      const struct pcr_cache_call *call) {
    const struct pcr_cache_key *key = &call->key;
    PCR_LIST_FOR_EACH(node, &stripe->flights) {
        struct pcr_flight *flight = PCR_LIST_ENTRY(node, struct pcr_flight, node);
        struct pcr_str bytes = {flight->key, flight->key_bytes};
        if (flight->hi == key->name.hi && flight->lo == key->name.lo &&
            flight->purges == call->purges && pcr_str_eq(bytes, key->bytes))
            return flight;
    }
    return NULL;
}

static struct pcr_flight *make_flight(const struct pcr_cache_call *call) {
    const struct pcr_cache_key *key = &call->key;
    struct pcr_flight *flight = malloc(sizeof *flight + key->bytes.len);
    if (!flight)
        return NULL;
    flight->hi = key->name.hi;
    flight->lo = key->name.lo;
    flight->purges = call->purges;
    flight->next_store = call->refreshing ? call->cache->n_stores : 0; // it asks none
    flight->key_bytes = key->bytes.len;
    memcpy(flight->key, key->bytes.ptr, key->bytes.len);
    pcr_list_init(&flight->waiting);
    pcr_list_init(&flight->node);
    return flight;
}

enum boarding { LEADS, WAITS, ALONE, NEEDLESS };

static enum boarding board(struct pcr_cache_call *call) {
    struct pcr_cache_stripe *stripe = stripe_of(call);
    enum boarding boarding = WAITS;
    pthread_mutex_lock(&stripe->lock);
    struct pcr_flight *flight = find_flight(stripe, call);
    if (flight && call->refreshing) {
        boarding = NEEDLESS;
    } else if (flight) {
        call->phase = WAITING;
        call->flight = flight;
        pcr_list_push_back(&flight->waiting, &call->node);
    } else {
        call->flight = make_flight(call);
        boarding = call->flight ? LEADS : ALONE;
        if (call->flight)
            pcr_list_push_back(&stripe->flights, &call->flight->node);
    }
    pthread_mutex_unlock(&stripe->lock);
    return boarding;
}

// Goes on where the one before it left off.
static void on_led(struct pcr_mail *mail) {
    struct pcr_cache_call *call = call_of(mail);
    pcr_list_remove(&call->timing);
    call->phase = ASKING;
    if (call->flight->next_store < call->cache->n_stores && !call->canceled)
        ask_store(call, call->flight->next_store);
    else
        go_on(call);
}

// Another leads from here on, or the flight is over.
static void hand_over(struct pcr_cache_call *call) {
    struct pcr_flight *flight = call->flight;
    struct pcr_cache_call *next = NULL;
    if (!flight)
        return;
    struct pcr_cache_stripe *stripe = stripe_of(call);
    call->flight = NULL;
    pthread_mutex_lock(&stripe->lock);
    if (pcr_list_empty(&flight->waiting)) {
        pcr_list_remove(&flight->node);
    } else {
        next = PCR_LIST_ENTRY(flight->waiting.next, struct pcr_cache_call, node);
        pcr_list_remove(&next->node);
        next->phase = POSTED;
    }
    pthread_mutex_unlock(&stripe->lock);
    if (next)
        post(next, on_led);
    else
        free(flight);
}

// Who waits is taken out; the flight is over.
static void close_flight(struct pcr_cache_call *call, struct pcr_list *waiting) {
    struct pcr_flight *flight = call->flight;
    pcr_list_init(waiting);
    if (!flight)
        return;
    struct pcr_cache_stripe *stripe = stripe_of(call);
    call->flight = NULL;
    pthread_mutex_lock(&stripe->lock);
    pcr_list_remove(&flight->node);
    while (!pcr_list_empty(&flight->waiting)) {
        struct pcr_cache_call *next =
            PCR_LIST_ENTRY(flight->waiting.next, struct pcr_cache_call, node);
        pcr_list_remove(&next->node);
        next->phase = POSTED;
        next->flight = NULL;
        pcr_list_push_back(waiting, &next->node);
    }
    pthread_mutex_unlock(&stripe->lock);
    free(flight);
}

// --- what a flight came to ----------------------------------------------------------------------
static void unref_outcome(void *ctx) {
    struct pcr_cache_outcome *outcome = ctx;
    if (atomic_fetch_sub(&outcome->refs, 1) == 1)
        free(outcome);
}

static struct pcr_cache_outcome *make_outcome(const struct pcr_cache_call *call, unsigned refs) {
    size_t bytes = call->status == 0 ? call->body.len : 0;
    struct pcr_cache_outcome *outcome = malloc(sizeof *outcome + bytes);
    if (!outcome)
        return NULL;
    *outcome = (struct pcr_cache_outcome){
        .status = call->status,
        .how = call->how == PCR_CACHE_MISS ? PCR_CACHE_COALESCED : call->how,
        .error = call->error,
        .retry_ns = call->retry_ns,
        .age_ns = call->age_ns,
        .fresh_ns = call->fresh_ns,
        .body_bytes = bytes,
    };
    atomic_init(&outcome->refs, refs);
    if (bytes)
        memcpy(outcome->body, call->body.ptr, bytes);
    return outcome;
}

static bool take_outcome(struct pcr_cache_call *call, struct pcr_cache_outcome *outcome) {
    call->how = outcome->how;
    call->age_ns = outcome->age_ns;
    call->fresh_ns = outcome->fresh_ns;
    struct pcr_str body = {outcome->body, outcome->body_bytes};
    if (body.len <= BODY_BYTES_COPIED) {
        bool taken = pcr_cache_take_body(call, body);
        unref_outcome(outcome);
        return taken;
    }
    call->body = body;
    bool kept = pcr_arena_on_reset(call->arena, unref_outcome, outcome);
    if (!kept)
        unref_outcome(outcome);
    return kept;
}

static void compute_alone(struct pcr_cache_call *call) {
    call->phase = COMPUTING;
    call->computing_ns = pcr_clock_mono_ns();
    call->compute(call);
}

static void take_failure(struct pcr_cache_call *call, struct pcr_cache_outcome *outcome) {
    call->how = PCR_CACHE_MISS;
    call->status = outcome->status;
    call->error = outcome->error;
    call->retry_ns = outcome->retry_ns;
    unref_outcome(outcome);
    if (may_be_stale(call->status))
        take_stale(call);
}

static void on_landed(struct pcr_mail *mail) {
    struct pcr_cache_call *call = call_of(mail);
    struct pcr_cache_outcome *outcome = call->outcome;
    pcr_list_remove(&call->timing);
    call->outcome = NULL;
    call->status = 0;
    if (!outcome) {
        fail(call, PACER_ENOMEM, "no memory left to share the answer");
    } else if (outcome->status < 0) {
        take_failure(call, outcome);
    } else if (outcome->age_ns > call->max_age_ns && !call->canceled) { // too old for this one
        unref_outcome(outcome);
        go_on(call);
        return;
    } else if (!take_outcome(call, outcome)) {
        fail(call, PACER_ENOMEM, "no memory left for the answer");
    }
    end(call);
}

static void share(struct pcr_cache_call *call) {
    struct pcr_list waiting;
    unsigned n = 0;
    close_flight(call, &waiting);
    PCR_LIST_FOR_EACH(node, &waiting) {
        n++;
    }
    struct pcr_cache_outcome *outcome = n ? make_outcome(call, n) : NULL;
    while (!pcr_list_empty(&waiting)) {
        struct pcr_cache_call *next = PCR_LIST_ENTRY(waiting.next, struct pcr_cache_call, node);
        pcr_list_remove(&next->node);
        next->outcome = outcome;
        post(next, on_landed);
    }
}

// --- keeping ------------------------------------------------------------------------------------
// Whether one of them took it.
static bool put_into_stores(struct pcr_cache_call *call, const struct pcr_cache_value *value,
                            uint64_t left_ms, unsigned n_stores, bool (*still)(void *call)) {
    size_t bytes = pcr_cache_value_bytes(value);
    char *text = n_stores && left_ms && bytes <= VALUE_BYTES_MAX ? malloc(bytes) : NULL;
    bool taken = false;
    if (!text)
        return false;
    pcr_cache_value_write(value, text);
    struct pcr_str written = {text, bytes};
    struct pcr_cache *cache = call->cache;
    pthread_mutex_lock(&cache->store_lock);
    for (unsigned i = 0; i < n_stores && still(call); i++)
        taken |= cache->stores[i]->ops->put(cache->stores[i], &call->key.name, written, left_ms);
    pthread_mutex_unlock(&cache->store_lock);
    free(text);
    return taken;
}

static uint64_t stale_ms(const struct pcr_cache_policy *policy) {
    uint64_t ns = policy->stale_while_revalidate_ns > policy->stale_if_error_ns
                      ? policy->stale_while_revalidate_ns
                      : policy->stale_if_error_ns;
    return ns / PCR_NS_PER_MS;
}

static uint64_t with_jitter(uint64_t ns) { // ± 10 %
    double u = (double)(pcr_rand_u64() >> 11) * 0x1p-53;
    return (uint64_t)((double)ns * (0.9 + 0.2 * u));
}

static void keep_computed(struct pcr_cache_call *call) {
    uint64_t now_ns = pcr_clock_mono_ns();
    uint64_t fresh_ns = with_jitter(call->policy.ttl_ns);
    call->fresh_ns = (int64_t)fresh_ns;
    struct pcr_l1_item item = {.key = &call->key,
                               .body = call->body,
                               .stored_ns = now_ns,
                               .fresh_until_ns = now_ns + fresh_ns,
                               .cost_ns = now_ns - call->computing_ns};
    call->stored = pcr_l1_put(call->cache->l1, &item, pcr_cache_is_current, call);
    unsigned n_stores = call->cache->n_stores;
    if (n_stores == 0)
        return;
    struct pcr_cache_value value = {.key = call->key.bytes,
                                    .body = call->body,
                                    .stored_ms = pcr_clock_real_ns() / PCR_NS_PER_MS,
                                    .fresh_ms = fresh_ns / PCR_NS_PER_MS,
                                    .cost_us = item.cost_ns / PCR_NS_PER_US};
    call->stored |= put_into_stores(call, &value, value.fresh_ms + stale_ms(&call->policy),
                                    n_stores, pcr_cache_is_current);
}

// --- asking the stores --------------------------------------------------------------------------
struct pcr_cache_ask {
    struct pcr_store_get get;
    struct pcr_cache_call *call;
    unsigned store;
    pthread_t asker;
    bool inside, answered; // inside the store's get, on the asker's thread
    char *bytes;           // a copy of what was found, or NULL
    size_t n_bytes;
};

static void on_answered(struct pcr_cache_call *call);

static void on_ask_letter(struct pcr_mail *mail) {
    on_answered(call_of(mail));
}

static void on_store_done(struct pcr_store_get *get, enum pcr_store_found found,
                          struct pcr_str value) {
    struct pcr_cache_ask *ask = PCR_CONTAINER_OF(get, struct pcr_cache_ask, get);
    ask->bytes =
        found == PCR_STORE_FOUND && value.len <= VALUE_BYTES_MAX ? malloc(value.len + 1) : NULL;
    if (ask->bytes && value.len)
        memcpy(ask->bytes, value.ptr, value.len);
    ask->n_bytes = value.len;
    if (pthread_equal(ask->asker, pthread_self()))
        ask->answered = true;
    else
        post(ask->call, on_ask_letter);
}

static void ask_store(struct pcr_cache_call *call, unsigned i) {
    struct pcr_cache *cache = call->cache;
    struct pcr_cache_ask *ask = calloc(1, sizeof *ask);
    if (!ask) {
        go_on(call);
        return;
    }
    call->invalidations = atomic_load(&stripe_of(call)->invalidations);
    ask->get.name = call->key.name;
    ask->get.done = on_store_done;
    ask->call = call;
    ask->store = i;
    ask->asker = pthread_self();
    call->ask = ask;
    call->phase = ASKING;
    cache->stores[i]->ops->get(cache->stores[i], &ask->get);
    if (ask->answered) // at once: it is down, or too many wait
        on_answered(call);
}

// Whether it is an answer to this question; its times as ours.
static bool is_answer(const struct pcr_cache_call *call, const struct pcr_cache_value *value,
                      struct pcr_l1_item *item, uint64_t now_ns) {
    uint64_t now_ms = pcr_clock_real_ns() / PCR_NS_PER_MS;
    if (!pcr_str_eq(value->key, call->key.bytes) || value->stored_ms > now_ms + CLOCKS_DIFFER_MS ||
        value->fresh_ms > FRESH_MS_MAX)
        return false;
    uint64_t age_ms = now_ms > value->stored_ms ? now_ms - value->stored_ms : 0;
    if (age_ms > FRESH_MS_MAX || value->cost_us > UINT32_MAX)
        return false;
    int64_t left_ms = (int64_t)value->fresh_ms - (int64_t)age_ms;
    *item = (struct pcr_l1_item){
        .key = &call->key,
        .body = value->body,
        .stored_ns = now_ns - age_ms * PCR_NS_PER_MS,
        .fresh_until_ns = now_ns + (uint64_t)(left_ms * (int64_t)PCR_NS_PER_MS),
        .cost_ns = value->cost_us * PCR_NS_PER_US,
    };
    return true;
}

// Kept nearer; true: it can be given, too.
static bool take_value(struct pcr_cache_call *call, const struct pcr_cache_value *value,
                       unsigned store) {
    struct pcr_l1_item item;
    uint64_t now_ns = pcr_clock_mono_ns();
    if (!is_answer(call, value, &item, now_ns))
        return false;
    call->age_ns = now_ns - item.stored_ns;
    int64_t fresh_ns =
        pcr_cache_fresh_ns(&call->policy, call->age_ns, (int64_t)(item.fresh_until_ns - now_ns));
    int64_t keep_ms = fresh_ns / (int64_t)PCR_NS_PER_MS + (int64_t)stale_ms(&call->policy);
    if (keep_ms <= 0)
        return false; // past all its times
    pcr_l1_put(call->cache->l1, &item, pcr_cache_is_unchanged, call);
    put_into_stores(call, value, (uint64_t)keep_ms, store, pcr_cache_is_unchanged);
    call->fresh_ns = fresh_ns;
    bool stale = fresh_ns <= 0;
    if (call->age_ns > call->max_age_ns ||
        (stale && (uint64_t)-fresh_ns >= call->policy.stale_while_revalidate_ns))
        return false;
    call->how = stale ? PCR_CACHE_STALE : call->cache->store_how[store];
    // By the leader, unless somebody has found it in L1 meanwhile; who waits gets it without.
    call->refresh = stale && pcr_cache_claim(call, now_ns);
    return pcr_cache_take_body(call, value->body);
}

static void on_answered(struct pcr_cache_call *call) {
    struct pcr_cache_ask *ask = call->ask;
    struct pcr_cache_value value;
    call->ask = NULL;
    if (call->flight)
        call->flight->next_store = ask->store + 1;
    bool found = ask->bytes &&
                 pcr_cache_value_read((struct pcr_str){ask->bytes, ask->n_bytes}, &value) &&
                 take_value(call, &value, ask->store);
    unsigned next = ask->store + 1;
    free(ask->bytes);
    free(ask);
    if (found) {
        call->status = 0;
        share(call);
        end(call);
    } else if (next < call->cache->n_stores && !call->canceled) {
        ask_store(call, next);
    } else {
        go_on(call);
    }
}

// --- computing ----------------------------------------------------------------------------------
// The stores have nothing: the leader computes, unless it is not wanted to.
static void go_on(struct pcr_cache_call *call) {
    call->status = 0;
    call->refresh = false;
    if (!call->canceled && !call->only_if_cached) {
        compute_alone(call);
        return;
    }
    hand_over(call);
    if (call->canceled)
        fail(call, PACER_ECANCELED, "the client is gone");
    else
        call->how = PCR_CACHE_ABSENT;
    end(call);
}

void pcr_cache_computed(struct pcr_cache_call *call, bool keep) {
    PCR_ASSERT(call->phase == COMPUTING);
    call->how = PCR_CACHE_MISS;
    call->age_ns = 0;
    call->fresh_ns = 0;
    if (call->status == 0) {
        if (keep && call->policy.ttl_ns > 0)
            keep_computed(call);
        share(call);
    } else if (concerns_one(call->status)) {
        hand_over(call);
    } else {
        share(call);
    }
    if (call->status < 0 && may_be_stale(call->status))
        take_stale(call);
    end(call);
}

// --- the beginning ------------------------------------------------------------------------------
void pcr_cache_fetch(struct pcr_cache_call *call) {
    struct pcr_cache *cache = call->cache;
    call->flight = NULL;
    call->outcome = NULL;
    call->canceled = call->stored = call->refresh = false;
    call->purges = atomic_load(&cache->purges);
    pcr_list_init(&call->node);
    pcr_list_init(&call->timing);
    call->phase = ASKING;
    if (call->max_age_ns == 0 && !call->refreshing) {
        go_on(call); // no-cache: it wants an answer that is computed after it asked
        return;
    }
    switch (board(call)) {
    case WAITS:
        watch_deadline(call);
        return;
    case NEEDLESS: // which is no refresh to be counted
        fail(call, PACER_ECANCELED, "it is being computed already");
        call->phase = IDLE;
        call->done(call);
        return;
    case LEADS:
        // Another flight may have landed since the caller looked.
        if (!call->refreshing && pcr_cache_look(call, pcr_clock_mono_ns(), false)) {
            share(call);
            end(call);
            return;
        }
        break;
    case ALONE:
        break;
    }
    if (cache->n_stores > 0 && !call->refreshing)
        ask_store(call, 0);
    else
        go_on(call);
}

bool pcr_cache_cancel(struct pcr_cache_call *call) {
    call->canceled = true;
    if (stop_waiting(call)) {
        pcr_list_remove(&call->timing);
        fail(call, PACER_ECANCELED, "the client is gone");
        end(call);
        return false;
    }
    if (call->phase != COMPUTING)
        return false;
    if (!call->flight)
        return true;
    struct pcr_cache_stripe *stripe = stripe_of(call);
    pthread_mutex_lock(&stripe->lock);
    bool awaited = !pcr_list_empty(&call->flight->waiting);
    pthread_mutex_unlock(&stripe->lock);
    return !awaited;
}
