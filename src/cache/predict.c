// SPDX-License-Identifier: Apache-2.0
// The public face: a blocking call around the calls of cache.h.
//
// A thread that asks is its own loop: what others post to it, it waits for on a condition and
// delivers itself. So one flight may hold loops and threads alike. Its memory is an arena per
// thread, which is reset and not freed, so that a hit allocates nothing; a question that is asked
// from inside an infer function has an arena of its own.
#include "cache/cache_priv.h"

#include <pacer/cache.h>
#include <pacer/pacer.h>
#include <stdlib.h>

#define ARENA_BYTES_MAX ((size_t)256 << 20)
#define FEATURES_MAX 65536
#define PATH_BYTES ((uint64_t)1 << 30)

struct pacer_cache {
    struct pcr_cache *cache;
};

struct scratch {
    struct pcr_arena arena;
    bool busy;
};

struct ask { // one pacer_cache_predict
    struct pcr_cache_call call;
    struct pcr_cache_waiter waiter;
    const struct pacer_question *question;
    pacer_infer_fn infer;
    void *ctx;
    struct pacer_answer computed;
    bool done;
};

// --- the arena of a thread ----------------------------------------------------------------------
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static _Thread_local struct scratch *own;

static void free_scratch(void *ptr) {
    struct scratch *scratch = ptr;
    own = NULL;
    pcr_arena_fini(&scratch->arena);
    free(scratch);
}

static void make_key(void) {
    PCR_ASSERT(pthread_key_create(&scratch_key, free_scratch) == 0);
}

static struct scratch *take_scratch(void) {
    if (own && !own->busy) {
        own->busy = true;
        return own;
    }
    struct scratch *scratch = malloc(sizeof *scratch);
    if (!scratch)
        return NULL;
    pcr_arena_init(&scratch->arena, ARENA_BYTES_MAX);
    scratch->busy = true;
    pthread_once(&scratch_once, make_key);
    if (!own && pthread_setspecific(scratch_key, scratch) == 0)
        own = scratch;
    return scratch;
}

static void give_scratch(struct scratch *scratch) {
    if (scratch == own) {
        pcr_arena_reset(&scratch->arena);
        scratch->busy = false;
    } else {
        pcr_arena_fini(&scratch->arena);
        free(scratch);
    }
}

// --- answers ------------------------------------------------------------------------------------
static void *room_for(struct pacer_answer *answer, size_t size) {
    if (answer->buffer && size <= answer->buffer_size)
        return answer->buffer;
    size_t *capacity = (size_t *)&answer->reserved[1];
    if (!answer->reserved[0] || *capacity < size) {
        free(answer->reserved[0]);
        *capacity = size ? size : 1;
        answer->reserved[0] = malloc(*capacity);
    }
    return answer->reserved[0];
}

int pacer_answer_set(struct pacer_answer *answer, const void *data, size_t size,
                     struct pacer_error *err) {
    void *room = room_for(answer, size);
    if (!room)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for an answer of %zu bytes", size);
    if (size)
        memcpy(room, data, size);
    answer->data = room;
    answer->size = size;
    return 0;
}

void pacer_answer_free(struct pacer_answer *answer) {
    free(answer->reserved[0]);
    answer->reserved[0] = answer->reserved[1] = NULL;
    answer->data = NULL;
    answer->size = 0;
}

// --- questions ----------------------------------------------------------------------------------
static struct pcr_str text_of(const char *text) {
    return pcr_str(text ? text : "");
}

static int check(const struct pacer_question *question, struct pacer_error *err) {
    if (!question->model || (question->n_features > 0 && !question->features) ||
        question->n_features > FEATURES_MAX)
        return pcr_err(err, PACER_EINVAL, "cache", "a question needs a model and up to %d features",
                       FEATURES_MAX);
    for (size_t i = 0; i < question->n_features; i++)
        if (!question->features[i].name)
            return pcr_err(err, PACER_EINVAL, "cache", "feature %zu has no name", i);
    return 0;
}

static int by_name(const void *left, const void *right) {
    const struct pacer_feature *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

// 0 and a key; 1: there is none (a NaN), so it is only computed; < 0.
static int make_key_of(struct pcr_arena *arena, const struct pacer_question *question,
                       struct pcr_cache_key *key, struct pacer_error *err) {
    size_t n = question->n_features;
    size_t bytes = 256 + strlen(question->model) + text_of(question->version).len +
                   text_of(question->tenant).len;
    const struct pacer_feature **sorted = pcr_arena_array(arena, n + 1, sizeof *sorted);
    for (size_t i = 0; sorted && i < n; i++) {
        sorted[i] = &question->features[i];
        bytes += strlen(sorted[i]->name) + 32;
    }
    struct pcr_buf buf = {.cap = bytes, .max_bytes = bytes - 1};
    buf.data = sorted ? pcr_arena_alloc(arena, bytes) : NULL;
    if (!buf.data)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the question");
    qsort(sorted, n, sizeof *sorted, by_name);
    struct pcr_cache_keying keying;
    pcr_cache_key_begin(&keying, &buf, PCR_STR("predict"), text_of(question->tenant),
                        text_of(question->model), text_of(question->version));
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            return pcr_err(err, PACER_EINVAL, "cache", "the feature '%.100s' is there twice",
                           sorted[i]->name);
        pcr_cache_key_text(&keying, pcr_str(sorted[i]->name));
        pcr_cache_key_f64(&keying, sorted[i]->value);
    }
    return pcr_cache_key_end(&keying, key) ? 0 : 1;
}

// --- the call -----------------------------------------------------------------------------------
static int run_infer(const struct ask *ask, struct pacer_answer *answer, struct pacer_error *err) {
    const struct pacer_question *question = ask->question;
    err->code = 0;
    err->message[0] = '\0';
    int rc = ask->infer(ask->ctx, question->features, question->n_features, answer, err);
    if (rc > 0 || (rc == 0 && !answer->data))
        rc = pcr_err(err, PACER_EINTERNAL, "cache",
                     rc > 0 ? "the infer function returned a positive code"
                            : "the infer function set no answer");
    else if (rc < 0 && err->code != rc)
        rc = pcr_err(err, rc, "cache", "%s", pacer_strerror(rc));
    return rc;
}

static void compute(struct pcr_cache_call *call) {
    struct ask *ask = call->user;
    call->status = run_infer(ask, &ask->computed, &call->error);
    call->body = (struct pcr_str){ask->computed.data, call->status == 0 ? ask->computed.size : 0};
    pcr_cache_computed(call, true);
}

static void on_done(struct pcr_cache_call *call) {
    struct ask *ask = call->user;
    ask->done = true;
}

static void wait_here(struct ask *ask) {
    struct pcr_cache_waiter *waiter = &ask->waiter;
    while (!ask->done) {
        pthread_mutex_lock(&waiter->lock);
        while (!waiter->mail)
            pthread_cond_wait(&waiter->posted, &waiter->lock);
        struct pcr_mail *mail = waiter->mail;
        waiter->mail = NULL;
        pthread_mutex_unlock(&waiter->lock);
        mail->deliver(mail);
    }
}

static void fetch(struct ask *ask) {
    pthread_mutex_init(&ask->waiter.lock, NULL);
    pthread_cond_init(&ask->waiter.posted, NULL);
    ask->call.waiter = &ask->waiter;
    pcr_cache_fetch(&ask->call);
    wait_here(ask);
    pthread_mutex_destroy(&ask->waiter.lock);
    pthread_cond_destroy(&ask->waiter.posted);
}

static enum pacer_answer_how how_of(enum pcr_cache_how how) {
    switch (how) {
    case PCR_CACHE_HIT_L1:
        return PACER_ANSWER_MEMORY;
    case PCR_CACHE_HIT_LMDB:
        return PACER_ANSWER_FILE;
    case PCR_CACHE_HIT_REDIS:
        return PACER_ANSWER_REDIS;
    case PCR_CACHE_COALESCED:
        return PACER_ANSWER_SHARED;
    case PCR_CACHE_STALE:
        return PACER_ANSWER_STALE;
    default:
        return PACER_ANSWER_COMPUTED;
    }
}

static int finish(struct ask *ask, struct pacer_answer *answer, struct pacer_error *err) {
    const struct pcr_cache_call *call = &ask->call;
    int rc = call->status;
    if (rc < 0) {
        if (err)
            *err = call->error;
    } else {
        rc = pacer_answer_set(answer, call->body.ptr, call->body.len, err);
        answer->how = how_of(call->how);
        answer->age_ms = call->age_ns / PCR_NS_PER_MS;
    }
    pacer_answer_free(&ask->computed);
    return rc;
}

static int predict(struct pcr_cache *cache, struct scratch *scratch, struct ask *ask,
                   struct pacer_answer *answer, struct pacer_error *err) {
    const struct pacer_question *question = ask->question;
    struct pcr_cache_call *call = &ask->call;
    int rc = make_key_of(&scratch->arena, question, &call->key, err);
    if (rc < 0)
        return rc;
    if (rc > 0 || question->ttl_s == 0) {
        struct pacer_error spare;
        answer->how = PACER_ANSWER_COMPUTED;
        answer->age_ms = 0;
        answer->data = NULL;
        return run_infer(ask, answer, err ? err : &spare);
    }
    call->cache = cache;
    call->arena = &scratch->arena;
    call->policy = (struct pcr_cache_policy){question->ttl_s * PCR_NS_PER_S, 0,
                                             question->stale_if_error_s * PCR_NS_PER_S};
    call->max_age_ns = UINT64_MAX;
    call->compute = compute;
    call->done = on_done;
    call->user = ask;
    if (!pcr_cache_get(call, pcr_clock_mono_ns())) {
        fetch(ask);
    } else if (call->refresh) { // this caller's turn: the others still get the old one
        struct pcr_cache_call kept = *call;
        call->refreshing = true;
        fetch(ask);
        if (call->status < 0) { // the old one is still good
            *call = kept;
        }
    }
    return finish(ask, answer, err);
}

int pacer_cache_predict(struct pacer_cache *cache, const struct pacer_question *question,
                        pacer_infer_fn infer, void *ctx, struct pacer_answer *answer,
                        struct pacer_error *err) {
    int rc = check(question, err);
    if (rc < 0)
        return rc;
    struct scratch *scratch = take_scratch();
    if (!scratch)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the question");
    struct ask ask;
    memset(&ask, 0, offsetof(struct ask, call.error)); // not the half kilobyte of the error's text
    ask.call.retry_ns = 0;
    ask.call.error.code = 0;
    memset(&ask.call.body, 0, sizeof ask - offsetof(struct ask, call.body));
    ask.question = question;
    ask.infer = infer;
    ask.ctx = ctx;
    rc = predict(cache->cache, scratch, &ask, answer, err);
    give_scratch(scratch);
    return rc;
}

// --- making, purging, figures -------------------------------------------------------------------
int pacer_cache_create(const struct pacer_cache_options *options, struct pacer_cache **out,
                       struct pacer_error *err) {
    struct pacer_cache_options o = PACER_CACHE_OPTIONS_INIT;
    *out = NULL;
    if (options->size > sizeof o)
        return pcr_err(err, PACER_EINVAL, "cache", "the options are of a newer libpacer than %s",
                       pacer_version());
    memcpy(&o, options, options->size);
    struct pcr_cache_options inner = {.memory_bytes = o.memory_bytes,
                                      .path = o.path,
                                      .path_bytes_max = o.path_bytes ? o.path_bytes : PATH_BYTES,
                                      .redis_url = o.redis_url,
                                      .redis_timeout_ms = o.redis_timeout_ms};
    struct pacer_cache *cache = malloc(sizeof *cache);
    if (!cache)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for a cache");
    int rc = pcr_cache_create(&inner, &cache->cache, err);
    if (rc < 0) {
        free(cache);
        return rc;
    }
    *out = cache;
    return 0;
}

void pacer_cache_destroy(struct pacer_cache *cache) {
    if (cache)
        pcr_cache_destroy(cache->cache);
    free(cache);
}

struct purge {
    struct pcr_cache_purge cache;
    struct pcr_cache_waiter waiter;
};

static void on_purged(struct pcr_cache_purge *cache) {
    (void)cache;
}

int64_t pacer_cache_purge(struct pacer_cache *cache, const char *model, struct pacer_error *err) {
    struct purge purge = {.cache = {.by_model = model != NULL, .model = text_of(model)}};
    purge.cache.tenant = PCR_STR("");
    purge.cache.waiter = &purge.waiter;
    purge.cache.done = on_purged;
    pthread_mutex_init(&purge.waiter.lock, NULL);
    pthread_cond_init(&purge.waiter.posted, NULL);
    pcr_cache_purge(cache->cache, &purge.cache);
    pthread_mutex_lock(&purge.waiter.lock);
    while (!purge.waiter.mail)
        pthread_cond_wait(&purge.waiter.posted, &purge.waiter.lock);
    pthread_mutex_unlock(&purge.waiter.lock);
    pthread_mutex_destroy(&purge.waiter.lock);
    pthread_cond_destroy(&purge.waiter.posted);
    if (purge.cache.from_lmdb < 0 || purge.cache.from_redis < 0)
        return pcr_err(err, PACER_EIO, "cache",
                       "answers may be left in %s until they expire: it does not answer",
                       purge.cache.from_lmdb < 0 ? "the file" : "Redis");
    return purge.cache.from_memory;
}

void pacer_cache_stats(struct pacer_cache *cache, struct pacer_cache_stats *out) {
    struct pcr_cache_stats stats;
    pcr_cache_stats(cache->cache, &stats);
    struct pacer_cache_stats all = {
        .size = out->size < sizeof all ? out->size : sizeof all,
        .memory_hits = stats.total.hits_l1,
        .file_hits = stats.total.hits_lmdb,
        .redis_hits = stats.total.hits_redis,
        .shared = stats.total.coalesced,
        .stale = stats.total.stale,
        .computed = stats.total.misses + stats.total.refreshes,
        .entries = stats.entries,
        .bytes = stats.bytes,
    };
    memcpy(out, &all, all.size);
}
