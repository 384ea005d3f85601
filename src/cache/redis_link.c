// SPDX-License-Identifier: Apache-2.0
// hiredis on our loop, and the greeting: HELLO 3 with user and password, SELECT, CLIENT TRACKING
// for all names with our prefix but what this connection itself writes, then the count of purges. A
// server that knows no HELLO, or does not allow it, is a store all the same, without invalidation.
//
// A lost connection is made again after a pause that doubles, with jitter, so that replicas do not
// come back all at once. While there is none nothing is queued: whoever asks is told at once.
//
// hiredis bounds neither a value nor what it has read and not parsed, so both are looked at here
// and in redis_bounds.c: a server is not trusted to send what it was asked for.
//
// What is sent in a turn of the loop leaves at its end in one system call, without waiting for the
// loop to find that the socket takes it, which it nearly always does.
#include "cache/redis_link.h"

#include "cache/redis_bounds.h"
#include "cache/redis_names.h"

#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_MS 2000
#define GREETING_TIMEOUT_MS 2000
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000
#define UNREAD_BYTES_MAX ((size_t)96 << 20)      // a value is 64 MiB at most
#define STABLE_NS (PAUSE_MAX_MS * PCR_NS_PER_MS) // a connection that lasted so long was a good one

enum phase { NO_LINK, LOOKING_UP, CONNECTING, GREETING, UP };

struct pcr_redis_link {
    struct pcr_loop *loop;
    const struct pcr_redis_url *url;
    struct pcr_redis_link_events events;
    void *ctx;
    redisAsyncContext *redis;
    struct pcr_poll *poll;
    bool reading, writing;
    struct pcr_deferred flush; // sends at the end of the turn; frees what was closed
    bool flushing;
    struct pcr_redis_bounds bounds;
    struct pcr_redis_look_up *look_up;
    size_t n_failed; // attempts in a row: each takes the next address
    SSL_CTX *tls;
    SSL *session; // of the connection, which frees it
    enum phase phase;
    struct pcr_timer *timer; // of the pause, of the greeting
    uint64_t pause_ms;
    uint64_t up_ns; // since when
    char why[160];  // what does not work
    bool knows_purges;
    long long purges;
    bool closing;
};

static void connect_now(struct pcr_redis_link *link);

// --- hiredis' view of a loop --------------------------------------------------------------------
static void want(struct pcr_redis_link *link, bool reading, bool writing) {
    if (link->reading == reading && link->writing == writing)
        return;
    link->reading = reading;
    link->writing = writing;
    if (link->poll)
        pcr_poll_want(link->poll, reading, writing);
}

static void add_read(void *ctx) {
    struct pcr_redis_link *link = ctx;
    want(link, true, link->writing);
}
static void del_read(void *ctx) {
    struct pcr_redis_link *link = ctx;
    want(link, false, link->writing);
}
static void add_write(void *ctx) {
    struct pcr_redis_link *link = ctx;
    if (link->phase == UP && !link->flushing)
        pcr_loop_defer(link->loop, &link->flush);
    else
        want(link, link->reading, true);
}
static void del_write(void *ctx) {
    struct pcr_redis_link *link = ctx;
    want(link, link->reading, false);
}
static void cleanup(void *ctx) {
    struct pcr_redis_link *link = ctx;
    pcr_poll_destroy(link->poll);
    link->poll = NULL;
    link->redis = NULL;
}

static void on_ready(void *ctx, bool readable, bool writable) {
    struct pcr_redis_link *link = ctx;
    if (readable && link->redis)
        redisAsyncHandleRead(link->redis);
    if (link->redis && link->redis->c.reader && link->redis->c.reader->len > UNREAD_BYTES_MAX)
        pcr_redis_link_break(link, "the server sends more than was asked for");
    if (writable && link->redis)
        redisAsyncHandleWrite(link->redis);
}

static void on_flush(struct pcr_deferred *flush) {
    struct pcr_redis_link *link = PCR_CONTAINER_OF(flush, struct pcr_redis_link, flush);
    if (link->closing) {
        free(link);
        return;
    }
    link->flushing = true;
    if (link->redis && link->phase == UP)
        redisAsyncHandleWrite(link->redis);
    link->flushing = false;
}

static bool attach(struct pcr_redis_link *link, redisAsyncContext *redis) {
    link->poll = pcr_poll_create(link->loop, redis->c.fd, on_ready, link);
    if (!link->poll)
        return false;
    link->reading = link->writing = false;
    redis->data = link;
    redis->ev.data = link;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
    pcr_redis_bounds_set(&link->bounds, redis);
    return true;
}

// --- loss ---------------------------------------------------------------------------------------
static void note(struct pcr_redis_link *link, const char *what, const char *why) {
    snprintf(link->why, sizeof link->why, "%s%s%.99s", what, *what ? ": " : "", why);
}

// What the server has said, or hiredis, which may have it from the server.
static void note_words(struct pcr_redis_link *link, const char *what, const char *words) {
    char text[100];
    note(link, what, pcr_redis_error_text(words, link->url->password, text, sizeof text));
}

static void lose(struct pcr_redis_link *link) {
    bool was_up = link->phase == UP;
    link->phase = NO_LINK;
    if (link->closing)
        return;
    if (was_up)
        link->n_failed = 0;
    else
        link->n_failed++;
    if (was_up && pcr_clock_mono_ns() - link->up_ns > STABLE_NS)
        link->pause_ms = PAUSE_MIN_MS;
    uint64_t jitter = pcr_rand_u64() % (link->pause_ms / 2 + 1);
    pcr_timer_start(link->timer, link->pause_ms / 2 + jitter + 1, 0);
    link->pause_ms = link->pause_ms * 2 < PAUSE_MAX_MS ? link->pause_ms * 2 : PAUSE_MAX_MS;
    link->events.changed(link->ctx, false, link->why);
}

void pcr_redis_link_break(struct pcr_redis_link *link, const char *why) {
    redisAsyncContext *redis = link->redis;
    if (!redis)
        return;
    if (why)
        note(link, "", why);
    redisAsyncFree(redis); // on_disconnect is called where it was connected
    if (link->phase != NO_LINK)
        lose(link);
}

static void break_for(struct pcr_redis_link *link, const char *what, const redisReply *reply) {
    note_words(link, what, reply->str);
    pcr_redis_link_break(link, NULL);
}

// hiredis only knows that the handshake failed.
static bool note_certificate(struct pcr_redis_link *link) {
    long verified = link->session ? SSL_get_verify_result(link->session) : X509_V_OK;
    if (verified != X509_V_OK)
        note(link, "the server's certificate is not accepted",
             X509_verify_cert_error_string(verified));
    return verified != X509_V_OK;
}

static void on_disconnect(const redisAsyncContext *redis, int status) {
    struct pcr_redis_link *link = redis->data;
    bool is_said = note_certificate(link);
    if (link->bounds.refused)
        note(link, "", link->bounds.refused);
    else if (!is_said && status != REDIS_OK && redis->errstr[0])
        note_words(link, "", redis->errstr);
    else if (!is_said && !link->why[0])
        note(link, "", "the server closed the connection");
    if (link->phase != NO_LINK)
        lose(link);
}

static void on_timer(void *ctx) {
    struct pcr_redis_link *link = ctx;
    if (link->phase == NO_LINK)
        connect_now(link);
    else if (link->phase != UP)
        pcr_redis_link_break(link, "no answer to the greeting in time");
}

// --- the greeting -------------------------------------------------------------------------------
static bool is_error(const redisReply *reply) {
    return reply->type == REDIS_REPLY_ERROR;
}

static bool begins(const redisReply *reply, const char *word) {
    return is_error(reply) && strncmp(reply->str, word, strlen(word)) == 0;
}

static struct pcr_redis_link *link_of(const redisAsyncContext *redis) {
    return redis->data;
}

static void on_purges(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct pcr_redis_link *link = link_of(redis);
    const redisReply *reply = ptr;
    (void)privdata;
    if (!reply || link->closing)
        return;
    if (is_error(reply)) { // LOADING, NOAUTH, MOVED …: not usable yet
        break_for(link, "", reply);
        return;
    }
    long long purges = reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10) : 0;
    bool missed = link->knows_purges && purges != link->purges;
    bool was_up = link->phase == UP;
    link->purges = purges;
    link->knows_purges = true;
    if (was_up) // told of a purge, whose values have been told of one by one
        return;
    link->phase = UP;
    link->up_ns = pcr_clock_mono_ns();
    pcr_timer_stop(link->timer);
    if (missed)
        link->events.invalidated(link->ctx, NULL, 0);
    link->events.changed(link->ctx, true, link->why);
}

static void ask_purges(struct pcr_redis_link *link) {
    redisAsyncCommand(link->redis, on_purges, NULL, "GET %s", PCR_REDIS_PURGES);
}

static void on_tracking(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct pcr_redis_link *link = link_of(redis);
    const redisReply *reply = ptr;
    (void)privdata;
    if (reply && is_error(reply))
        note_words(link, "no invalidation", reply->str);
}

static char name_of_select[] = "SELECT", name_of_auth[] = "AUTH";

// Of a command that has to succeed; privdata: its name.
static void on_needed(redisAsyncContext *redis, void *ptr, void *privdata) {
    const redisReply *reply = ptr;
    if (reply && is_error(reply))
        break_for(link_of(redis), privdata, reply);
}

// Sent behind each other without waiting; the last one's answer makes the link usable.
static void greet_on(struct pcr_redis_link *link, bool tracking) {
    redisAsyncContext *redis = link->redis;
    if (link->url->db)
        redisAsyncCommand(redis, on_needed, name_of_select, "SELECT %d", link->url->db);
    if (tracking)
        redisAsyncCommand(redis, on_tracking, NULL, "CLIENT TRACKING ON BCAST PREFIX %s NOLOOP",
                          PCR_REDIS_PREFIX);
    ask_purges(link);
}

static void on_hello(redisAsyncContext *redis, void *ptr, void *privdata) {
    struct pcr_redis_link *link = link_of(redis);
    const struct pcr_redis_url *url = link->url;
    const redisReply *reply = ptr;
    (void)privdata;
    if (!reply || link->closing)
        return;
    if (!is_error(reply)) {
        greet_on(link, true);
        return;
    }
    if (begins(reply, "WRONGPASS") || begins(reply, "LOADING")) {
        break_for(link, "", reply);
        return;
    }
    note_words(link, "no invalidation", reply->str);
    if (url->has_user)
        redisAsyncCommand(redis, on_needed, name_of_auth, "AUTH %s %s", url->user, url->password);
    else if (url->has_password)
        redisAsyncCommand(redis, on_needed, name_of_auth, "AUTH %s", url->password);
    greet_on(link, false);
}

static void on_push(redisAsyncContext *redis, void *ptr) {
    struct pcr_redis_link *link = link_of(redis);
    const redisReply *reply = ptr;
    if (!reply || reply->elements < 2 || !reply->element[0]->str ||
        strcmp(reply->element[0]->str, "invalidate") != 0)
        return;
    const redisReply *keys = reply->element[1];
    if (keys->type != REDIS_REPLY_ARRAY) {
        link->events.invalidated(link->ctx, NULL, 0);
        return;
    }
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        if (key->type != REDIS_REPLY_STRING)
            continue;
        if (strcmp(key->str, PCR_REDIS_PURGES) == 0)
            ask_purges(link);
        else
            link->events.invalidated(link->ctx, key->str, key->len);
    }
}

static void on_connect(const redisAsyncContext *redis, int status) {
    struct pcr_redis_link *link = link_of(redis);
    if (status != REDIS_OK) { // hiredis frees it
        if (!note_certificate(link))
            note_words(link, "cannot connect", redis->errstr);
        lose(link);
        return;
    }
    const struct pcr_redis_url *url = link->url;
    link->phase = GREETING;
    pcr_timer_start(link->timer, GREETING_TIMEOUT_MS, 0);
    if (url->has_password)
        redisAsyncCommand(link->redis, on_hello, NULL, "HELLO 3 AUTH %s %s SETNAME pacer",
                          url->has_user ? url->user : "default", url->password);
    else
        redisAsyncCommand(link->redis, on_hello, NULL, "HELLO 3 SETNAME pacer");
}

// --- connecting ---------------------------------------------------------------------------------
static bool begin_tls(struct pcr_redis_link *link, redisAsyncContext *redis) {
    SSL *tls = SSL_new(link->tls);
    if (!tls)
        return false;
    // The certificate has to be for this name, or this address.
    SSL_set_verify(tls, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM *param = SSL_get0_param(tls);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, link->url->host) != 1 &&
        SSL_set1_host(tls, link->url->host) != 1) {
        SSL_free(tls);
        return false;
    }
    SSL_set_tlsext_host_name(tls, link->url->host);
    if (redisInitiateSSL(&redis->c, tls) != REDIS_OK) { // nobody listens, mostly
        SSL_free(tls);
        return false;
    }
    link->session = tls;
    return true;
}

// `address` is NULL for a unix socket.
static void connect_to(struct pcr_redis_link *link, const char *address) {
    redisOptions options = {0};
    options.options = REDIS_OPT_PREFER_IP_UNSPEC;
    if (address)
        REDIS_OPTIONS_SET_TCP(&options, address, link->url->port);
    else
        REDIS_OPTIONS_SET_UNIX(&options, link->url->path);
    link->session = NULL;
    redisAsyncContext *redis = redisAsyncConnectWithOptions(&options);
    if (!redis || redis->err || !attach(link, redis)) {
        note(link, "cannot connect", redis ? redis->errstr : "out of memory");
        if (redis)
            redisAsyncFree(redis);
        lose(link);
        return;
    }
    link->redis = redis;
    link->phase = CONNECTING;
    if (link->tls && !begin_tls(link, redis)) {
        char why[160];
        snprintf(why, sizeof why, "cannot connect: %.120s", redis->errstr);
        pcr_redis_link_break(link, why);
        return;
    }
    redisAsyncSetPushCallback(redis, on_push);
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
    redisAsyncSetConnectCallback(redis, on_connect); // watches for it
    pcr_timer_start(link->timer, CONNECT_TIMEOUT_MS, 0);
}

static void connect_to_one_of(struct pcr_redis_link *link,
                              const struct pcr_redis_addresses *addresses) {
    connect_to(link, addresses->text[link->n_failed % addresses->n]);
}

static void on_looked_up(void *ctx, const struct pcr_redis_addresses *found) {
    struct pcr_redis_link *link = ctx;
    link->look_up = NULL;
    if (found->n > 0) {
        connect_to_one_of(link, found);
        return;
    }
    char what[56], host[41];
    pcr_redis_error_text(link->url->host, NULL, host, sizeof host); // printable
    snprintf(what, sizeof what, "cannot find %s", host);
    note(link, what, found->why);
    lose(link);
}

// Those that need no look-up: nobody has to ask what localhost is.
static bool addresses_of(const char *host, struct pcr_redis_addresses *out) {
    static const struct pcr_redis_addresses loopback = {{"127.0.0.1", "::1"}, 2, ""};
    unsigned char address[sizeof(struct in6_addr)];
    if (pcr_str_eq_nocase(pcr_str(host), PCR_STR("localhost"))) {
        *out = loopback;
        return true;
    }
    *out = (struct pcr_redis_addresses){.n = 1};
    snprintf(out->text[0], sizeof out->text[0], "%.63s", host);
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static void connect_now(struct pcr_redis_link *link) {
    struct pcr_redis_addresses addresses;
    link->why[0] = '\0';
    if (*link->url->path) {
        connect_to(link, NULL);
        return;
    }
    if (addresses_of(link->url->host, &addresses)) {
        connect_to_one_of(link, &addresses);
        return;
    }
    link->phase = LOOKING_UP;
    link->look_up = pcr_redis_look_up_start(link->loop, link->url->host, on_looked_up, link);
    if (!link->look_up) {
        note(link, "cannot look up the name", "no memory, or no thread");
        lose(link);
    }
}

int pcr_redis_link_open(struct pcr_loop *loop, const struct pcr_redis_url *url,
                        const struct pcr_redis_link_events *events, void *ctx,
                        struct pcr_redis_link **out, struct pacer_error *err) {
    *out = NULL;
    struct pcr_redis_link *link = calloc(1, sizeof *link);
    if (link) {
        link->loop = loop;
        link->url = url;
        link->events = *events;
        link->ctx = ctx;
        link->flush.fire = on_flush;
        link->pause_ms = PAUSE_MIN_MS;
        link->timer = pcr_timer_create(loop, on_timer, link);
    }
    if (link && url->tls) {
        link->tls = SSL_CTX_new(TLS_client_method());
        if (link->tls)
            SSL_CTX_set_default_verify_paths(link->tls);
    }
    if (!link || !link->timer || (url->tls && !link->tls)) {
        if (link)
            pcr_timer_destroy(link->timer);
        free(link);
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the connection to Redis");
    }
    pcr_timer_start(link->timer, 0, 0);
    *out = link;
    return 0;
}

void pcr_redis_link_close(struct pcr_redis_link *link) {
    link->closing = true;
    if (link->redis)
        redisAsyncFree(link->redis);
    pcr_timer_destroy(link->timer);
    pcr_redis_look_up_drop(link->look_up);
    SSL_CTX_free(link->tls);
    pcr_loop_defer(link->loop, &link->flush); // it may be waiting already
}

redisAsyncContext *pcr_redis_link_context(struct pcr_redis_link *link) {
    return link->phase == UP ? link->redis : NULL;
}

size_t pcr_redis_link_unsent(const struct pcr_redis_link *link) {
    return link->redis && link->redis->c.obuf ? sdslen(link->redis->c.obuf) : 0;
}
