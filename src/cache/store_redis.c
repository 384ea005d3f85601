// SPDX-License-Identifier: Apache-2.0
// Answers in Redis or Valkey, which several machines share.
//
// One thread with a loop and one connection for all loops of the process: their commands are sent
// behind each other without waiting (a GET is one round trip, and none waits for another's), one
// breaker sees all failures, and what this process writes itself is not reported back to it.
//
// Whoever asks is never held up: without a connection, with an open breaker or with too many
// commands under way the answer is no at once; one that takes too long is given up, and its late
// answer thrown away. Nothing is tried again.
//
// Rejected: a connection per loop. It saves a hand-over of some microseconds on what takes a round
// trip, and would need a second one for invalidations, which would then report our own writes.
#include "cache/breaker.h"
#include "cache/redis_bounds.h"
#include "cache/redis_link.h"
#include "cache/store_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS 20
#define IN_FLIGHT_MAX 1024
#define BYTES_MAX ((size_t)64 << 20)
#define LATE_TIMEOUTS 4                // after so many the connection is given up
#define STEP_NS_MAX (2 * PCR_NS_PER_S) // of a purge
#define PURGE_NS_MAX (60 * PCR_NS_PER_S)
#define BEAT_MS 2000 // with nothing under way for so long the server is asked whether it is there
#define PUT_PAUSE_NS PCR_NS_PER_S // after a put was refused
#define SCAN_COUNT 500
#define DRAIN_MS 500
#define BREAKER_PAUSE_NS (500 * PCR_NS_PER_MS)
#define NAME_TEXT_BYTES (sizeof PCR_REDIS_PREFIX + 16 + 1 + 16 + 1 + 32)

enum kind { GET, PUT, PURGE, BEAT };

struct command {
    struct pcr_list node; // queued, then under way (oldest first)
    struct redis_store *store;
    enum kind kind;
    uint64_t sent_ns;              // of a purge: its step
    uint64_t began_ns;             // of a purge
    struct pcr_store_get *get;     // NULL: given up
    struct pcr_store_purge *purge; // NULL: it has been answered
    struct pcr_store_name name;    // of a put
    uint64_t ttl_ms;
    int64_t removed;
    unsigned n_unlinks; // of a purge: not answered yet
    bool over;          // the purge is, and the last of them frees it
    char *value;
    size_t n_bytes;
};

struct redis_store {
    struct pcr_store base;
    struct pcr_redis_url url;
    struct pcr_store_redis_options options;
    struct pcr_loop *loop;
    pthread_t thread;
    struct pcr_redis_link *link; // the loop's, as all below
    struct pcr_timer *timer;     // looks for what takes too long, while anything is under way
    struct pcr_timer *beat;
    struct pcr_list under_way;
    struct pcr_breaker breaker;
    bool timing, stopping;
    uint64_t stopping_ns; // since when
    // For those who ask, without a lock: whether it makes sense.
    atomic_bool up;
    _Atomic uint64_t open_until_ns; // 0: the breaker is not open
    _Atomic uint64_t no_put_until_ns;
    // What they want.
    pthread_mutex_t lock;
    struct pcr_list queued;
    size_t n_commands, n_bytes; // queued and under way
    bool posted, stop;
    struct pcr_mail mail;
    struct pcr_store_stats stats;
};

static struct redis_store *store_of(struct pcr_store *base) {
    return PCR_CONTAINER_OF(base, struct redis_store, base);
}

// --- figures ------------------------------------------------------------------------------------
static void set_why(struct redis_store *store, const char *why) {
    pthread_mutex_lock(&store->lock);
    snprintf(store->stats.why, sizeof store->stats.why, "%s", why);
    pthread_mutex_unlock(&store->lock);
}

static void count_get(struct redis_store *store, enum pcr_store_found found, bool timeout,
                      uint64_t took_ns) {
    pthread_mutex_lock(&store->lock);
    pcr_store_count_get(&store->stats, found, took_ns);
    store->stats.timeouts += timeout;
    pthread_mutex_unlock(&store->lock);
}

static void tell_breaker(struct redis_store *store, bool good) {
    uint64_t now_ns = pcr_clock_mono_ns();
    enum pcr_breaker_state before = store->breaker.state;
    pcr_breaker_tell(&store->breaker, good, now_ns);
    atomic_store(&store->open_until_ns, pcr_breaker_probe_ns(&store->breaker));
    if (before == PCR_BREAKER_CLOSED && store->breaker.state == PCR_BREAKER_OPEN) {
        pthread_mutex_lock(&store->lock);
        char why[sizeof store->stats.why];
        memcpy(why, store->stats.why, sizeof why);
        pthread_mutex_unlock(&store->lock);
        pcr_log(PCR_LOG_WARN, "cache", "%s fails too often (%s): requests go on without it",
                store->url.shown, *why ? why : "no answer in time");
    } else if (before != PCR_BREAKER_CLOSED && store->breaker.state == PCR_BREAKER_CLOSED) {
        pcr_log(PCR_LOG_INFO, "cache", "%s answers again", store->url.shown);
    }
}

// --- names --------------------------------------------------------------------------------------
static int name_text(const struct pcr_store_name *name, char out[NAME_TEXT_BYTES]) {
    return snprintf(out, NAME_TEXT_BYTES, PCR_REDIS_PREFIX "%016llx:%016llx:%016llx%016llx",
                    (unsigned long long)name->model, (unsigned long long)name->tenant,
                    (unsigned long long)name->hi, (unsigned long long)name->lo);
}

static bool take_hex(const char **at, const char *end, uint64_t *out) {
    if (end - *at < 16)
        return false;
    *out = 0;
    for (int i = 0; i < 16; i++) {
        int digit = pcr_hex_digit(*(*at)++);
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return true;
}

static bool read_name(const char *text, size_t bytes, struct pcr_store_name *out) {
    const char *at = text + sizeof PCR_REDIS_PREFIX - 1, *end = text + bytes;
    return bytes == NAME_TEXT_BYTES - 1 &&
           memcmp(text, PCR_REDIS_PREFIX, sizeof PCR_REDIS_PREFIX - 1) == 0 &&
           take_hex(&at, end, &out->model) && *at++ == ':' && take_hex(&at, end, &out->tenant) &&
           *at++ == ':' && take_hex(&at, end, &out->hi) && take_hex(&at, end, &out->lo);
}

// --- commands -----------------------------------------------------------------------------------
static void free_command(struct command *command) {
    struct redis_store *store = command->store;
    pthread_mutex_lock(&store->lock);
    store->n_commands--;
    store->n_bytes -= command->n_bytes;
    pthread_mutex_unlock(&store->lock);
    pcr_list_remove(&command->node);
    free(command->value);
    free(command);
}

static void answer_get(struct command *command, enum pcr_store_found found, struct pcr_str value,
                       bool timeout) {
    struct pcr_store_get *get = command->get;
    command->get = NULL;
    if (!get)
        return;
    count_get(command->store, found, timeout, pcr_clock_mono_ns() - get->asked_ns);
    get->done(get, found, value);
}

static void answer_purge(struct command *command, int64_t removed) {
    struct pcr_store_purge *purge = command->purge;
    command->purge = NULL;
    if (purge)
        purge->done(purge, removed);
}

static void give_up(struct command *command) {
    struct redis_store *store = command->store;
    answer_get(command, PCR_STORE_FAILED, (struct pcr_str){NULL, 0}, false);
    answer_purge(command, PACER_EIO);
    if (command->kind == PUT) {
        pthread_mutex_lock(&store->lock);
        store->stats.dropped++;
        pthread_mutex_unlock(&store->lock);
    }
    free_command(command);
}

static void note_reply(struct redis_store *store, const redisReply *reply) {
    char why[sizeof store->stats.why];
    set_why(store, pcr_redis_error_text(reply->str, store->url.password, why, sizeof why));
}

static void on_got(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct command *command = privdata;
    struct redis_store *store = command->store;
    const redisReply *reply = ptr;
    (void)redis;
    if (!reply) {
        if (command->get)
            tell_breaker(store, false);
        give_up(command);
        return;
    }
    bool found = reply->type == REDIS_REPLY_STRING;
    bool good = found || reply->type == REDIS_REPLY_NIL;
    if (reply->type == REDIS_REPLY_ERROR)
        note_reply(store, reply);
    if (command->get) { // else the breaker was told when it was given up
        tell_breaker(store, good);
        struct pcr_str value = {found ? reply->str : NULL, found ? reply->len : 0};
        answer_get(command,
                   found  ? PCR_STORE_FOUND
                   : good ? PCR_STORE_MISSING
                          : PCR_STORE_FAILED,
                   value, false);
    }
    free_command(command);
}

// A server that takes no values (full, read-only) still has those it has.
static void on_put(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct command *command = privdata;
    struct redis_store *store = command->store;
    const redisReply *reply = ptr;
    (void)redis;
    bool good = reply && reply->type != REDIS_REPLY_ERROR;
    if (reply && !good) {
        uint64_t until_ns = pcr_clock_mono_ns() + PUT_PAUSE_NS;
        uint64_t before_ns = atomic_exchange(&store->no_put_until_ns, until_ns);
        note_reply(store, reply);
        if (until_ns - before_ns > 10 * PUT_PAUSE_NS) {
            char why[sizeof store->stats.why];
            pcr_log(PCR_LOG_WARN, "cache", "%s takes no answers: %s", store->url.shown,
                    pcr_redis_error_text(reply->str, store->url.password, why, sizeof why));
        }
    }
    pthread_mutex_lock(&store->lock);
    store->stats.puts += good;
    store->stats.failures += !good;
    pthread_mutex_unlock(&store->lock);
    free_command(command);
}

// --- purges -------------------------------------------------------------------------------------
static void scan(struct command *command, const char *cursor);

static void on_unlinked(redisAsyncContext *redis, void *ptr, void *privdata) {
    const redisReply *reply = ptr;
    struct command *command = privdata;
    (void)redis;
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        command->removed += reply->integer;
    if (--command->n_unlinks == 0 && command->over)
        free_command(command);
}

static void finish_purge(struct command *command, int64_t removed) {
    struct redis_store *store = command->store;
    pthread_mutex_lock(&store->lock);
    store->stats.removed += removed > 0 ? (uint64_t)removed : 0;
    pthread_mutex_unlock(&store->lock);
    answer_purge(command, removed);
    command->over = true; // before the UNLINKs are only where a command could not be sent
    if (command->n_unlinks == 0)
        free_command(command);
}

static void unlink_all(struct command *command, redisAsyncContext *redis, const redisReply *keys) {
    if (keys->elements == 0)
        return;
    const char **argv = calloc(keys->elements + 1, sizeof *argv);
    size_t *lengths = calloc(keys->elements + 1, sizeof *lengths);
    if (argv && lengths) {
        int n = 0;
        struct pcr_store_name name;
        argv[n] = "UNLINK";
        lengths[n++] = 6;
        for (size_t i = 0; i < keys->elements; i++)
            if (keys->element[i]->type == REDIS_REPLY_STRING &&
                read_name(keys->element[i]->str, keys->element[i]->len, &name)) {
                argv[n] = keys->element[i]->str;
                lengths[n++] = keys->element[i]->len;
            }
        if (n > 1 &&
            redisAsyncCommandArgv(redis, on_unlinked, command, n, argv, lengths) == REDIS_OK)
            command->n_unlinks++;
    }
    free(argv);
    free(lengths);
}

static void on_purge_end(redisAsyncContext *redis, void *ptr, void *privdata) {
    const redisReply *reply = ptr;
    struct command *command = privdata;
    (void)redis;
    finish_purge(command, reply && reply->type != REDIS_REPLY_ERROR ? command->removed : PACER_EIO);
}

// Whether another step is to follow; if not, and there would be more, it is said at once.
static bool goes_on(struct command *command, const char *cursor) {
    if (strcmp(cursor, "0") == 0 || !command->purge)
        return false;
    if (command->store->stopping)
        answer_purge(command, PACER_ECANCELED);
    else if (command->sent_ns - command->began_ns > PURGE_NS_MAX)
        answer_purge(command, PACER_ETIMEDOUT);
    return command->purge != NULL;
}

static void on_scanned(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct command *command = privdata;
    const redisReply *reply = ptr;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->type == REDIS_REPLY_STRING &&
                reply->element[1]->type == REDIS_REPLY_ARRAY;
    if (!good) {
        if (reply && reply->type == REDIS_REPLY_ERROR)
            note_reply(command->store, reply);
        finish_purge(command, PACER_EIO);
        return;
    }
    command->sent_ns = pcr_clock_mono_ns(); // a step is done: the youngest again
    pcr_list_remove(&command->node);
    pcr_list_push_back(&command->store->under_way, &command->node);
    unlink_all(command, redis, reply->element[1]);
    if (goes_on(command, reply->element[0]->str))
        scan(command, reply->element[0]->str);
    else if (redisAsyncCommand(redis, on_purge_end, command, "PING") != REDIS_OK)
        finish_purge(command, PACER_EIO); // else it is answered behind the last UNLINK
}

// Hashes are hexadecimal digits, so no name can be mistaken for a pattern.
static void scan(struct command *command, const char *cursor) {
    const struct pcr_store_purge *purge = command->purge;
    const struct pcr_store_name *name = &purge->name;
    char model[20] = "*", tenant[20] = "*", key[36] = "*";
    if (purge->by_model)
        snprintf(model, sizeof model, "%016llx", (unsigned long long)name->model);
    if (purge->by_tenant)
        snprintf(tenant, sizeof tenant, "%016llx", (unsigned long long)name->tenant);
    if (purge->by_key)
        snprintf(key, sizeof key, "%016llx%016llx", (unsigned long long)name->hi,
                 (unsigned long long)name->lo);
    redisAsyncContext *redis = pcr_redis_link_context(command->store->link);
    if (!redis || redisAsyncCommand(redis, on_scanned, command,
                                    "SCAN %s MATCH " PCR_REDIS_PREFIX "%s:%s:%s COUNT %d", cursor,
                                    model, tenant, key, SCAN_COUNT) != REDIS_OK)
        finish_purge(command, PACER_EIO);
}

static void begin_purge(struct command *command, redisAsyncContext *redis) {
    command->began_ns = command->sent_ns;
    redisAsyncCommand(redis, NULL, NULL, "INCR %s", PCR_REDIS_PURGES);
    scan(command, "0");
}

// --- sending ------------------------------------------------------------------------------------
static void on_tick(void *ctx);

static void send_get(struct command *command, redisAsyncContext *redis) {
    char name[NAME_TEXT_BYTES];
    name_text(&command->get->name, name);
    if (redisAsyncCommand(redis, on_got, command, "GET %s", name) != REDIS_OK) {
        tell_breaker(command->store, false);
        give_up(command);
    }
}

static void send_put(struct command *command, redisAsyncContext *redis) {
    char name[NAME_TEXT_BYTES];
    name_text(&command->name, name);
    int rc = redisAsyncCommand(redis, on_put, command, "SET %s %b PX %llu", name, command->value,
                               command->n_bytes, (unsigned long long)command->ttl_ms);
    if (rc != REDIS_OK)
        give_up(command);
}

static void on_beaten(redisAsyncContext *redis, void *ptr, void *privdata) {
    (void)redis;
    (void)ptr;
    free_command(privdata);
}

static void send_beat(struct command *command, redisAsyncContext *redis) {
    if (redisAsyncCommand(redis, on_beaten, command, "PING") != REDIS_OK)
        give_up(command);
}

static void send(struct redis_store *store, struct command *command) {
    redisAsyncContext *redis = pcr_redis_link_context(store->link);
    uint64_t now_ns = pcr_clock_mono_ns();
    bool can = redis && !store->stopping; // the breaker is asked last: it wants to be told then
    if (!can || (command->kind == GET && !pcr_breaker_ask(&store->breaker, now_ns))) {
        give_up(command);
        return;
    }
    command->sent_ns = now_ns;
    pcr_list_push_back(&store->under_way, &command->node);
    if (!store->timing) {
        uint64_t ms = store->options.timeout_ms / 4 + 1;
        pcr_timer_start(store->timer, ms, ms);
        store->timing = true;
    }
    if (command->kind == GET)
        send_get(command, redis);
    else if (command->kind == PUT)
        send_put(command, redis);
    else if (command->kind == PURGE)
        begin_purge(command, redis);
    else
        send_beat(command, redis);
}

// A connection that is dead and says nothing would bring no invalidations, and nobody would notice:
// answers that are in memory need no command.
static void on_beat(void *ctx) {
    struct redis_store *store = ctx;
    bool idle = pcr_redis_link_context(store->link) && pcr_list_empty(&store->under_way);
    struct command *command = idle ? calloc(1, sizeof *command) : NULL;
    if (!command)
        return;
    *command = (struct command){.store = store, .kind = BEAT};
    pcr_list_init(&command->node);
    pthread_mutex_lock(&store->lock);
    store->n_commands++;
    pthread_mutex_unlock(&store->lock);
    send(store, command);
}

static void stop_now(struct redis_store *store) {
    pcr_redis_link_close(store->link);
    store->link = NULL;
    pcr_timer_destroy(store->timer);
    pcr_timer_destroy(store->beat);
    store->timer = store->beat = NULL;
    pcr_loop_stop(store->loop);
}

static void on_mail(struct pcr_mail *mail) {
    struct redis_store *store = PCR_CONTAINER_OF(mail, struct redis_store, mail);
    struct pcr_list queued;
    pcr_list_init(&queued);
    pthread_mutex_lock(&store->lock);
    pcr_list_move(&queued, &store->queued);
    store->posted = false;
    bool stop = store->stop;
    pthread_mutex_unlock(&store->lock);
    while (!pcr_list_empty(&queued)) {
        struct command *command = PCR_LIST_ENTRY(queued.next, struct command, node);
        pcr_list_remove(&command->node);
        send(store, command);
    }
    if (!stop || store->stopping)
        return;
    store->stopping = true; // what was put is waited for, a moment
    store->stopping_ns = pcr_clock_mono_ns();
    if (pcr_list_empty(&store->under_way))
        stop_now(store);
    else
        pcr_timer_start(store->timer, 5, 5);
}

// --- what takes too long ------------------------------------------------------------------------
static void drain(struct redis_store *store, uint64_t now_ns) {
    if (pcr_list_empty(&store->under_way) || now_ns - store->stopping_ns > DRAIN_MS * PCR_NS_PER_MS)
        stop_now(store);
}

static void give_up_late(struct redis_store *store, uint64_t now_ns) {
    uint64_t timeout_ns = store->options.timeout_ms * PCR_NS_PER_MS;
    PCR_LIST_FOR_EACH(node, &store->under_way) {
        struct command *command = PCR_LIST_ENTRY(node, struct command, node);
        if (now_ns - command->sent_ns < timeout_ns)
            return;
        if (command->get) {
            tell_breaker(store, false);
            answer_get(command, PCR_STORE_FAILED, (struct pcr_str){NULL, 0}, true);
        }
        if (command->purge && now_ns - command->sent_ns > STEP_NS_MAX)
            answer_purge(command, PACER_ETIMEDOUT);
    }
}

// A step of a purge may take long.
static bool is_silent(const struct redis_store *store, uint64_t now_ns) {
    uint64_t late_ns = LATE_TIMEOUTS * store->options.timeout_ms * PCR_NS_PER_MS;
    uint64_t step_ns = late_ns > 2 * STEP_NS_MAX ? late_ns : 2 * STEP_NS_MAX;
    PCR_LIST_FOR_EACH(node, &store->under_way) {
        const struct command *command = PCR_LIST_ENTRY(node, struct command, node);
        if (now_ns - command->sent_ns > (command->kind == PURGE ? step_ns : late_ns))
            return true;
        if (now_ns - command->sent_ns <= late_ns)
            return false; // those behind it are younger
    }
    return false;
}

static void on_tick(void *ctx) {
    struct redis_store *store = ctx;
    uint64_t now_ns = pcr_clock_mono_ns();
    if (store->stopping) {
        drain(store, now_ns);
        return;
    }
    give_up_late(store, now_ns);
    if (is_silent(store, now_ns))
        pcr_redis_link_break(store->link, "no answer in time");
    if (pcr_list_empty(&store->under_way)) {
        pcr_timer_stop(store->timer);
        store->timing = false;
    }
}

// --- the link's news ----------------------------------------------------------------------------
static void on_changed(void *ctx, bool up, const char *why) {
    struct redis_store *store = ctx;
    atomic_store(&store->up, up);
    pthread_mutex_lock(&store->lock);
    bool is_news = store->stats.state != (up ? PCR_STORE_UP : PCR_STORE_DOWN) ||
                   strcmp(store->stats.why, why) != 0;
    store->stats.state = up ? PCR_STORE_UP : PCR_STORE_DOWN;
    snprintf(store->stats.why, sizeof store->stats.why, "%s", why);
    pthread_mutex_unlock(&store->lock);
    if (up)
        pcr_log(*why ? PCR_LOG_WARN : PCR_LOG_INFO, "cache", "%s is connected%s%s",
                store->url.shown, *why ? ": " : "", why);
    else if (is_news) // not each time that it is tried
        pcr_log(PCR_LOG_WARN, "cache", "%s is not there (%s): requests go on without it",
                store->url.shown, why);
}

static void on_invalidated(void *ctx, const char *key, size_t bytes) {
    struct redis_store *store = ctx;
    struct pcr_store_name name;
    if (key && !read_name(key, bytes, &name))
        return;
    pthread_mutex_lock(&store->lock);
    store->stats.invalidations++;
    pthread_mutex_unlock(&store->lock);
    if (store->options.invalidated)
        store->options.invalidated(store->options.ctx, key ? &name : NULL);
}

// --- what others call ---------------------------------------------------------------------------
static bool enqueue(struct redis_store *store, struct command *command) {
    command->store = store;
    pcr_list_init(&command->node);
    pthread_mutex_lock(&store->lock);
    bool taken = !store->stop && (command->kind == PURGE ||
                                  (store->n_commands < store->options.in_flight_max &&
                                   store->n_bytes + command->n_bytes <= store->options.bytes_max));
    bool post = false;
    if (taken) {
        store->n_commands++;
        store->n_bytes += command->n_bytes;
        pcr_list_push_back(&store->queued, &command->node);
        post = !store->posted;
        store->posted = true;
    } else {
        store->stats.dropped++;
    }
    pthread_mutex_unlock(&store->lock);
    if (post)
        pcr_loop_post(store->loop, &store->mail);
    return taken;
}

static bool makes_sense(struct redis_store *store) {
    uint64_t open_until_ns = atomic_load_explicit(&store->open_until_ns, memory_order_relaxed);
    return atomic_load_explicit(&store->up, memory_order_relaxed) &&
           (open_until_ns == 0 || pcr_clock_mono_ns() >= open_until_ns);
}

static void redis_get(struct pcr_store *base, struct pcr_store_get *get) {
    struct redis_store *store = store_of(base);
    get->asked_ns = pcr_clock_mono_ns();
    struct command *command = makes_sense(store) ? calloc(1, sizeof *command) : NULL;
    pthread_mutex_lock(&store->lock);
    store->stats.gets++;
    pthread_mutex_unlock(&store->lock);
    if (command) {
        command->kind = GET;
        command->get = get;
        if (enqueue(store, command))
            return;
        free(command);
    }
    count_get(store, PCR_STORE_FAILED, false, 0);
    get->done(get, PCR_STORE_FAILED, (struct pcr_str){NULL, 0});
}

static bool redis_put(struct pcr_store *base, const struct pcr_store_name *name,
                      struct pcr_str value, uint64_t ttl_ms) {
    struct redis_store *store = store_of(base);
    if (!makes_sense(store) || atomic_load(&store->no_put_until_ns) > pcr_clock_mono_ns())
        return false;
    struct command *command = calloc(1, sizeof *command);
    char *copy = malloc(value.len + 1);
    if (command && copy) {
        memcpy(copy, value.ptr, value.len);
        *command = (struct command){.kind = PUT,
                                    .name = *name,
                                    .ttl_ms = ttl_ms ? ttl_ms : 1,
                                    .value = copy,
                                    .n_bytes = value.len};
        if (enqueue(store, command))
            return true;
    }
    free(copy);
    free(command);
    return false;
}

static void redis_purge(struct pcr_store *base, struct pcr_store_purge *purge) {
    struct redis_store *store = store_of(base);
    struct command *command = atomic_load(&store->up) ? calloc(1, sizeof *command) : NULL;
    if (command) {
        command->kind = PURGE;
        command->purge = purge;
        if (enqueue(store, command))
            return;
        free(command);
    }
    purge->done(purge, PACER_EIO);
}

static void redis_stats(struct pcr_store *base, struct pcr_store_stats *out) {
    struct redis_store *store = store_of(base);
    uint64_t open_until_ns = atomic_load(&store->open_until_ns);
    pthread_mutex_lock(&store->lock);
    *out = store->stats;
    pthread_mutex_unlock(&store->lock);
    if (out->state == PCR_STORE_UP && open_until_ns)
        out->state = pcr_clock_mono_ns() < open_until_ns ? PCR_STORE_DOWN : PCR_STORE_TRYING;
}

static void redis_destroy(struct pcr_store *base) {
    struct redis_store *store = store_of(base);
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    bool post = !store->posted;
    store->posted = true;
    pthread_mutex_unlock(&store->lock);
    if (post)
        pcr_loop_post(store->loop, &store->mail);
    pthread_join(store->thread, NULL);
    pcr_loop_destroy(store->loop);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct pcr_store_ops ops = {
    .kind = "redis",
    .get = redis_get,
    .put = redis_put,
    .purge = redis_purge,
    .stats = redis_stats,
    .destroy = redis_destroy,
};

static void *run(void *arg) {
    struct redis_store *store = arg;
    pcr_loop_run(store->loop);
    return NULL;
}

static int open_loop(struct redis_store *store, struct pacer_error *err) {
    static const struct pcr_redis_link_events events = {on_changed, on_invalidated};
    int rc = pcr_loop_create(&store->loop, err);
    if (rc < 0)
        return rc;
    store->timer = pcr_timer_create(store->loop, on_tick, store);
    store->beat = pcr_timer_create(store->loop, on_beat, store);
    if (!store->timer || !store->beat)
        return pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    pcr_timer_start(store->beat, BEAT_MS, BEAT_MS);
    rc = pcr_redis_link_open(store->loop, &store->url, &events, store, &store->link, err);
    if (rc < 0)
        return rc;
    int error = pcr_thread_start(&store->thread, "pacer-redis", run, store);
    if (error == 0)
        return 0;
    pcr_redis_link_close(store->link);
    return pcr_err(err, PACER_EIO, "cache", "cannot start a thread for Redis: %s", strerror(error));
}

int pcr_store_redis_open(const struct pcr_store_redis_options *options, struct pcr_store **out,
                         struct pacer_error *err) {
    *out = NULL;
    struct redis_store *store = calloc(1, sizeof *store);
    if (!store)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the store in Redis");
    store->base.ops = &ops;
    store->options = *options;
    store->options.url = NULL;
    store->options.timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    store->options.in_flight_max = options->in_flight_max ? options->in_flight_max : IN_FLIGHT_MAX;
    store->options.bytes_max = options->bytes_max ? options->bytes_max : BYTES_MAX;
    store->stats.state = PCR_STORE_TRYING;
    store->mail.deliver = on_mail;
    pcr_list_init(&store->queued);
    pcr_list_init(&store->under_way);
    pthread_mutex_init(&store->lock, NULL);
    // The pause outlasts what was asked before it, so that only probes are told while half open.
    uint64_t pause_ns = 2 * store->options.timeout_ms * PCR_NS_PER_MS;
    pause_ns = pause_ns > BREAKER_PAUSE_NS ? pause_ns : BREAKER_PAUSE_NS;
    pcr_breaker_init(&store->breaker, &(struct pcr_breaker_options){.open_ns = pause_ns});
    int rc = pcr_redis_url_parse(options->url, &store->url, err);
    if (rc == 0)
        rc = open_loop(store, err);
    if (rc < 0) {
        if (store->loop)
            pcr_loop_destroy(store->loop);
        pthread_mutex_destroy(&store->lock);
        free(store);
        return rc;
    }
    *out = &store->base;
    return 0;
}
