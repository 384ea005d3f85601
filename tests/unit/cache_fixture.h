// SPDX-License-Identifier: Apache-2.0
// A cache on a loop, with made-up stores in the place of LMDB and Redis.
#ifndef PCR_CACHE_FIXTURE_H
#define PCR_CACHE_FIXTURE_H

#include "test.h"

#include "cache/cache.h"
#include "cache/value.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define S PCR_NS_PER_S
#define MS PCR_NS_PER_MS
#define TTL (100 * S)

// --- made-up stores -----------------------------------------------------------------------------
enum way { EMPTY, FAILS, ANSWERS, ANSWERS_LATER };

struct fake {
    struct pcr_store base;
    enum way way;
    char value[8192];
    size_t n_value;
    unsigned n_gets, n_puts, n_purges;
    char put[8192]; // what was put last
    size_t n_put;
    uint64_t put_ttl_ms;
    struct pcr_store_get *waiting; // of ANSWERS_LATER
    bool refuses;                  // what is put
};
static struct fake fakes[2]; // lmdb, redis

static inline void fake_get(struct pcr_store *base, struct pcr_store_get *get) {
    struct fake *fake = PCR_CONTAINER_OF(base, struct fake, base);
    struct pcr_str value = {fake->value, fake->n_value};
    fake->n_gets++;
    if (fake->way == ANSWERS_LATER)
        fake->waiting = get;
    else
        get->done(get,
                  fake->way == ANSWERS ? PCR_STORE_FOUND
                  : fake->way == FAILS ? PCR_STORE_FAILED
                                       : PCR_STORE_MISSING,
                  value);
}

static inline void *answer_from_elsewhere(void *arg) {
    struct fake *fake = arg;
    fake->waiting->done(fake->waiting, PCR_STORE_FOUND,
                        (struct pcr_str){fake->value, fake->n_value});
    return NULL;
}

static inline bool fake_put(struct pcr_store *base, const struct pcr_store_name *name,
                            struct pcr_str value, uint64_t ttl_ms) {
    struct fake *fake = PCR_CONTAINER_OF(base, struct fake, base);
    (void)name;
    if (fake->refuses)
        return false;
    fake->n_puts++;
    assert_true(value.len <= sizeof fake->put);
    memcpy(fake->put, value.ptr, value.len);
    fake->n_put = value.len;
    fake->put_ttl_ms = ttl_ms;
    return true;
}

static inline void fake_purge(struct pcr_store *base, struct pcr_store_purge *purge) {
    PCR_CONTAINER_OF(base, struct fake, base)->n_purges++;
    purge->done(purge, 3);
}

static inline void fake_stats(struct pcr_store *base, struct pcr_store_stats *out) {
    (void)base;
    *out = (struct pcr_store_stats){.gets = 5};
}

static inline void fake_destroy(struct pcr_store *base) {
    (void)base;
}

static const struct pcr_store_ops fake_ops = {"fake",     fake_get,   fake_put,
                                              fake_purge, fake_stats, fake_destroy};

int pcr_store_lmdb_open(const struct pcr_store_lmdb_options *options, struct pcr_store **out,
                        struct pacer_error *err) {
    (void)options;
    (void)err;
    fakes[0].base.ops = &fake_ops;
    *out = &fakes[0].base;
    return 0;
}

static struct pcr_store_redis_options redis_options;
int pcr_store_redis_open(const struct pcr_store_redis_options *options, struct pcr_store **out,
                         struct pacer_error *err) {
    (void)err;
    redis_options = *options;
    fakes[1].base.ops = &fake_ops;
    *out = &fakes[1].base;
    return 0;
}

// --- a loop, a cache, questions -----------------------------------------------------------------
struct rig {
    struct pcr_cache *cache;
    struct pcr_loop *loop;
    unsigned n_computed, n_done;
};

struct ask {
    struct pcr_cache_call call;
    struct pcr_arena arena;
    struct pcr_buf buf;
    struct rig *rig;
    bool computes; // `compute` has been called, and it is still to be answered
    bool done;
    bool holds; // compute is answered by hand
    int code;   // what it is answered with
    unsigned number;
};

static const char *body_of(unsigned number, char out[32]) {
    snprintf(out, 32, "answer to %u", number);
    return out;
}

static inline void answer(struct ask *ask) {
    char text[32];
    ask->computes = false;
    ask->call.status = ask->code ? pcr_err(&ask->call.error, ask->code, "test", "made up") : 0;
    ask->call.body = pcr_str(pcr_arena_dup(&ask->arena, pcr_str(body_of(ask->number, text))));
    pcr_cache_computed(&ask->call, true);
}

static inline void compute(struct pcr_cache_call *call) {
    struct ask *ask = call->user;
    ask->rig->n_computed++;
    ask->computes = true;
    if (!ask->holds)
        answer(ask);
}

static inline void on_done(struct pcr_cache_call *call) {
    struct ask *ask = call->user;
    assert_false(ask->done);
    ask->done = true;
    ask->rig->n_done++;
}

static inline void prepare(struct rig *rig, struct ask *ask, unsigned number) {
    struct pcr_cache_keying keying;
    *ask = (struct ask){.rig = rig, .number = number};
    pcr_arena_init(&ask->arena, 1 << 20);
    pcr_buf_init(&ask->buf, 1 << 16);
    pcr_cache_key_begin(&keying, &ask->buf, PCR_STR("test"), PCR_STR("t"), PCR_STR("m"),
                        PCR_STR("1"));
    pcr_cache_key_u64(&keying, number);
    assert_true(pcr_cache_key_end(&keying, &ask->call.key));
    ask->call.cache = rig->cache;
    ask->call.policy.ttl_ns = TTL;
    ask->call.arena = &ask->arena;
    ask->call.loop = rig->loop;
    ask->call.max_age_ns = UINT64_MAX;
    ask->call.compute = compute;
    ask->call.done = on_done;
    ask->call.user = ask;
}

static inline void end(struct ask *ask) {
    pcr_arena_fini(&ask->arena);
    pcr_buf_fini(&ask->buf);
}

static inline void start(struct ask *ask) {
    if (pcr_cache_get(&ask->call, pcr_clock_mono_ns()))
        on_done(&ask->call);
    else
        pcr_cache_fetch(&ask->call);
}

static inline void stop_loop(void *loop) {
    pcr_loop_stop(loop);
}

static inline void run_for(struct rig *rig, uint64_t ms) {
    struct pcr_timer *timer = pcr_timer_create(rig->loop, stop_loop, rig->loop);
    pcr_timer_start(timer, ms, 0);
    pcr_loop_run(rig->loop);
    pcr_timer_destroy(timer);
}

static inline bool is_right(const struct ask *ask) {
    char text[32];
    return ask->done && ask->call.status == 0 &&
           pcr_str_eq(ask->call.body, pcr_str(body_of(ask->number, text)));
}

// Asks, and says how it was answered.
static inline enum pcr_cache_how how_of(struct rig *rig, unsigned number) {
    struct ask ask;
    prepare(rig, &ask, number);
    start(&ask);
    if (!ask.done)
        run_for(rig, 20);
    assert_true(is_right(&ask));
    enum pcr_cache_how how = ask.call.how;
    end(&ask);
    return how;
}

static inline void open_rig(struct rig *rig, bool lmdb, bool redis) {
    const struct pcr_cache_options options = {
        .memory_bytes = 1 << 20, .path = lmdb ? "path" : NULL, .redis_url = redis ? "url" : NULL};
    *rig = (struct rig){0};
    memset(fakes, 0, sizeof fakes);
    assert_int_equal(pcr_cache_create(&options, &rig->cache, NULL), 0);
    assert_int_equal(pcr_loop_create(&rig->loop, NULL), 0);
}

static inline void close_rig(struct rig *rig) {
    pcr_cache_stop(rig->cache);
    pcr_loop_destroy(rig->loop);
    pcr_cache_destroy(rig->cache);
}

static inline int set_up(void **state) {
    static struct rig rig;
    open_rig(&rig, false, false);
    *state = &rig;
    return 0;
}

static inline int tear_down(void **state) {
    close_rig(*state);
    return 0;
}

static inline void on_purged(struct pcr_cache_purge *purge) {
    *(bool *)purge->user = true;
}

static inline void purge_all(struct rig *rig, const char *model, const char *tenant) {
    bool done = false;
    struct pcr_cache_purge purge = {.by_model = model != NULL,
                                    .by_tenant = tenant != NULL,
                                    .model = pcr_str(model),
                                    .tenant = pcr_str(tenant),
                                    .loop = rig->loop,
                                    .done = on_purged,
                                    .user = &done};
    pcr_cache_purge(rig->cache, &purge);
    run_for(rig, 5);
    assert_true(done);
}

// --- stores -------------------------------------------------------------------------------------
static inline void put_value(struct fake *fake, unsigned number, unsigned key_number,
                             int64_t age_ms, uint64_t fresh_ms) {
    struct rig rig = {0};
    struct ask ask;
    char text[32];
    prepare(&rig, &ask, key_number);
    struct pcr_cache_value value = {.key = ask.call.key.bytes,
                                    .body = pcr_str(body_of(number, text)),
                                    .stored_ms =
                                        (uint64_t)((int64_t)(pcr_clock_real_ns() / MS) - age_ms),
                                    .fresh_ms = fresh_ms};
    fake->way = ANSWERS;
    fake->n_value = pcr_cache_value_bytes(&value);
    pcr_cache_value_write(&value, fake->value);
    end(&ask);
}

#endif
