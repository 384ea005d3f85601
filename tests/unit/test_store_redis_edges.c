// SPDX-License-Identifier: Apache-2.0
// The Redis store against servers that answer by script: what they say unasked, what they say too
// much of, and when they say nothing at all.
#include "test.h"

#include "cache/redis_url.h"
#include "store_fixture.h"

#include <arpa/inet.h>
#include <hiredis/alloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// --- a server of our own ------------------------------------------------------------------------
#define WORDS_MAX 16
#define WORD_BYTES 256

// What is answered to each command; NULL: as Redis 7 would.
struct script {
    const char *hello, *auth, *select, *tracking, *purges, *get, *set, *scan, *ping;
    const char *unasked;        // sent once, when the greeting is over
    const char *endless, *then; // after the greeting: once, then again and again
    bool hangs_up;              // when the greeting is over
};

struct fake {
    const struct script *script;
    int listener, port;
    pthread_t thread;
    atomic_int client;
    atomic_uint connections, commands;
    atomic_size_t sent;
};

static bool say(struct fake *fake, const char *text) {
    size_t n = strlen(text);
    atomic_fetch_add(&fake->sent, n);
    return send(atomic_load(&fake->client), text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

// One command, as clients send them; the number of its words, 0 at the end.
static int read_command(FILE *in, char words[WORDS_MAX][WORD_BYTES]) {
    int n = 0;
    size_t bytes = 0;
    if (fscanf(in, "*%d\r\n", &n) != 1)
        return 0;
    for (int i = 0; i < n; i++) {
        char word[1 << 16];
        if (fscanf(in, "$%zu", &bytes) != 1 || bytes + 4 > sizeof word ||
            fread(word, 1, bytes + 4, in) != bytes + 4) // line ends before and after it
            return 0;
        if (i < WORDS_MAX)
            snprintf(words[i], WORD_BYTES, "%.*s", (int)bytes, word + 2);
    }
    return n;
}

static const char *or_else(const char *answer, const char *otherwise) {
    return answer ? answer : otherwise;
}

static const char *answer_to(const struct script *s, char words[WORDS_MAX][WORD_BYTES]) {
    const char *name = words[0];
    if (strcmp(name, "HELLO") == 0)
        return or_else(s->hello, "%1\r\n$5\r\nproto\r\n:3\r\n");
    if (strcmp(name, "AUTH") == 0)
        return or_else(s->auth, "+OK\r\n");
    if (strcmp(name, "SELECT") == 0)
        return or_else(s->select, "+OK\r\n");
    if (strcmp(name, "CLIENT") == 0)
        return or_else(s->tracking, "+OK\r\n");
    if (strcmp(name, "GET") == 0)
        return strstr(words[1], "purges") ? or_else(s->purges, "_\r\n") : or_else(s->get, "_\r\n");
    if (strcmp(name, "SET") == 0)
        return or_else(s->set, "+OK\r\n");
    if (strcmp(name, "SCAN") == 0)
        return or_else(s->scan, "*2\r\n$1\r\n0\r\n*0\r\n");
    if (strcmp(name, "PING") == 0)
        return or_else(s->ping, "+PONG\r\n");
    return ":0\r\n";
}

static void serve_client(struct fake *fake, FILE *in) {
    const struct script *s = fake->script;
    char words[WORDS_MAX][WORD_BYTES] = {{0}};
    while (read_command(in, words) > 0) {
        bool greeted = strcmp(words[0], "GET") == 0 && strstr(words[1], "purges");
        atomic_fetch_add(&fake->commands, 1);
        if (!say(fake, answer_to(s, words)) || (greeted && s->hangs_up))
            return;
        if (greeted && (s->unasked || s->endless))
            usleep(30000); // the client has read the greeting and waits for nothing
        if (greeted && s->unasked && !say(fake, s->unasked))
            return;
        if (greeted && s->endless && !say(fake, s->endless))
            return;
        while (greeted && s->endless)
            if (!say(fake, s->then))
                return;
    }
}

static void *serve(void *arg) {
    struct fake *fake = arg;
    for (;;) {
        int fd = accept(fake->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        atomic_store(&fake->client, fd);
        atomic_fetch_add(&fake->connections, 1);
        FILE *in = fdopen(fd, "r");
        serve_client(fake, in);
        atomic_store(&fake->client, -1);
        fclose(in);
    }
}

static void start_fake(struct fake *fake, const struct script *script) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *fake = (struct fake){.script = script, .client = -1};
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
    assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&at, &n), 0);
    fake->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

static void stop_fake(struct fake *fake) {
    int client = atomic_load(&fake->client);
    shutdown(fake->listener, SHUT_RDWR);
    if (client >= 0)
        shutdown(client, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
}

// --- a store ------------------------------------------------------------------------------------
static atomic_uint n_invalidated, n_flushed;

static void on_invalidated(void *ctx, const struct pcr_store_name *name) {
    (void)ctx;
    atomic_fetch_add(name ? &n_invalidated : &n_flushed, 1);
}

static struct pcr_store *open_url(const char *url, uint64_t timeout_ms) {
    struct pcr_store *store;
    struct pacer_error err;
    const struct pcr_store_redis_options options = {
        .url = url, .timeout_ms = timeout_ms, .invalidated = on_invalidated};
    atomic_store(&n_invalidated, 0);
    atomic_store(&n_flushed, 0);
    if (pcr_store_redis_open(&options, &store, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static struct pcr_store *open_at(const struct fake *fake, const char *user, uint64_t timeout_ms) {
    char url[128];
    snprintf(url, sizeof url, "redis://%s127.0.0.1:%d", user, fake->port);
    return open_url(url, timeout_ms);
}

static struct pcr_store_stats stats_of(struct pcr_store *store) {
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    return stats;
}

static bool becomes(struct pcr_store *store, enum pcr_store_state state) {
    for (int i = 0; i < 600; i++) {
        if (stats_of(store).state == state)
            return true;
        usleep(5000);
    }
    return false;
}

static enum pcr_store_found get(struct pcr_store *store, uint64_t number) {
    struct wait wait;
    return ask_store(store, (struct pcr_store_name){.hi = number}, &wait);
}

static uint64_t destroy_took_ms(struct pcr_store *store) {
    uint64_t before_ns = pcr_clock_mono_ns();
    store->ops->destroy(store);
    return (pcr_clock_mono_ns() - before_ns) / PCR_NS_PER_MS;
}

// --- said unasked, or too much ------------------------------------------------------------------
static void what_nobody_asked_for_ends_the_connection_and_no_more(void **state) {
    (void)state;
    static const char *const unasked[] = {"+OK\r\n",       ":1\r\n",
                                          "$1\r\nx\r\n",   "*0\r\n",
                                          "_\r\n",         "#t\r\n",
                                          ",1.5\r\n",      "%0\r\n",
                                          "-ERR what\r\n", "*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n"};
    for (size_t i = 0; i < PCR_COUNT_OF(unasked); i++) {
        const struct script script = {.unasked = unasked[i]};
        struct fake fake;
        start_fake(&fake, &script);
        struct pcr_store *store = open_at(&fake, "", 50);
        assert_true(becomes(store, PCR_STORE_UP));
        assert_true(becomes(store, PCR_STORE_DOWN));
        assert_true(stats_of(store).why[0]);
        store->ops->destroy(store);
        stop_fake(&fake);
    }
}

// hiredis takes some of them for the answer to a subscription.
static void messages_of_other_kinds_are_not_taken_for_answers(void **state) {
    (void)state;
    static const char *const unasked[] = {
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        ">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
        ">1\r\n$7\r\npmessag\r\n",
        ">0\r\n",
        ">2\r\n+message\r\n:1\r\n",
        ">3\r\n$7\r\nMESSAGE\r\n$1\r\nc\r\n$1\r\nx\r\n", // in any case, and the beginning will do
        ">3\r\n$7\r\nsubscri\r\n$1\r\nc\r\n$1\r\nx\r\n",
        ">2\r\n$10\r\ninvalidate\r\n:1\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n*1\r\n$1\r\nx\r\n",
        ">1\r\n$10\r\ninvalidate\r\n"};
    for (size_t i = 0; i < PCR_COUNT_OF(unasked); i++) {
        const struct script script = {.unasked = unasked[i], .get = "$1\r\nv\r\n"};
        struct fake fake;
        start_fake(&fake, &script);
        struct pcr_store *store = open_at(&fake, "", 200);
        assert_true(becomes(store, PCR_STORE_UP));
        usleep(60000);
        assert_int_equal(get(store, 1), PCR_STORE_FOUND);
        assert_int_equal(atomic_load(&fake.connections), 1);
        store->ops->destroy(store);
        stop_fake(&fake);
    }
}

static void an_answer_has_bounds(void **state) {
    (void)state;
    static char deep[4 << 10], wide[4 << 10];
    for (size_t i = 0; i + 4 < sizeof deep; i += 4)
        memcpy(deep + i, "*1\r\n", 5);
    for (size_t i = 0; i + 4 < sizeof wide; i += 4)
        memcpy(wide + i, ":1\r\n", 5);
    const struct script scripts[] = {
        {.endless = ">1\r\n", .then = deep},                 // nested
        {.endless = ">60000\r\n*60000\r\n", .then = wide},   // of many parts
        {.endless = ">2\r\n$99999999999\r\n", .then = wide}, // long
        {.endless = "*1\r\n", .then = deep},                 //
        {.endless = "$99999999999\r\n", .then = wide},       //
    };
    static const size_t sent_max[] = {8 << 20, 8 << 20, 200 << 20, 8 << 20, 200 << 20};
    for (size_t i = 0; i < PCR_COUNT_OF(scripts); i++) {
        struct fake fake;
        start_fake(&fake, &scripts[i]);
        struct pcr_store *store = open_at(&fake, "", 50);
        assert_true(becomes(store, PCR_STORE_UP));
        for (int k = 0; k < 400 && atomic_load(&fake.connections) < 2; k++)
            usleep(10000);
        assert_true(atomic_load(&fake.connections) > 1);
        assert_true(atomic_load(&fake.sent) < 2 * sent_max[i]);
        store->ops->destroy(store);
        stop_fake(&fake);
    }
}

// --- what is said of it -------------------------------------------------------------------------
static void no_word_of_the_servers_shows_the_password(void **state) {
    (void)state;
    static const struct script scripts[] = {
        {.hello = "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'hush' "
                  "'SETNAME' 'pacer' \r\n"},
        {.hello = "-ERR hush is what you said\r\n"},
        {.hello = "-ERR no\r\n", .auth = "-ERR unknown command 'AUTH', with args: 'me' 'hush'\r\n"},
        {.hello = "-ERR no\r\n", .auth = "-ERR not 'hush'\r\n"},
        {.hello = "-WRONGPASS not hush\r\n"},
        {.hello = "-NOPERM hush\r\n", .purges = "-ERR hush\r\n"},
        {.unasked = "-ERR hush\r\n"},
        {.unasked = "-hush\r\n"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(scripts); i++) {
        struct fake fake;
        start_fake(&fake, &scripts[i]);
        struct pcr_store *store = open_at(&fake, "me:hush@", 50);
        for (int k = 0; k < 300 && !stats_of(store).why[0]; k++)
            usleep(5000);
        struct pcr_store_stats stats = stats_of(store);
        assert_true(stats.why[0]);
        assert_null(strstr(stats.why, "hush"));
        store->ops->destroy(store);
        stop_fake(&fake);
    }
}

static void a_cluster_is_not_supported_and_it_says_so(void **state) {
    (void)state;
    static const struct script scripts[] = {{.purges = "-MOVED 7 10.0.0.1:6379\r\n"},
                                            {.get = "-MOVED 7 10.0.0.1:6379\r\n"},
                                            {.set = "-MOVED 7 10.0.0.1:6379\r\n"}};
    for (size_t i = 0; i < PCR_COUNT_OF(scripts); i++) {
        struct fake fake;
        start_fake(&fake, &scripts[i]);
        struct pcr_store *store = open_at(&fake, "", 50);
        bool said = false;
        for (int k = 0; k < 100 && !said; k++) {
            struct pcr_store_name name = {.hi = 1};
            assert_int_not_equal(get(store, 1), PCR_STORE_FOUND);
            store->ops->put(store, &name, PCR_STR("v"), 1000);
            usleep(5000);
            said = strstr(stats_of(store).why, "cluster") != NULL;
        }
        assert_true(said);
        store->ops->destroy(store);
        stop_fake(&fake);
    }
}

static void why_is_text_whatever_the_server_says(void **state) {
    (void)state;
    const struct script script = {.get = "-ERR \xff\xfe\x01\x1b[31m\x80\r\n"};
    struct fake fake;
    start_fake(&fake, &script);
    struct pcr_store *store = open_at(&fake, "", 50);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1), PCR_STORE_FAILED);
    struct pcr_store_stats stats = stats_of(store);
    assert_non_null(strstr(stats.why, "ERR"));
    for (const char *at = stats.why; *at; at++)
        assert_in_range((unsigned char)*at, ' ', '~');
    store->ops->destroy(store);
    stop_fake(&fake);
}

// --- time ---------------------------------------------------------------------------------------
static void a_server_that_greets_and_hangs_up_is_not_run_to(void **state) {
    (void)state;
    const struct script script = {.hangs_up = true};
    struct fake fake;
    start_fake(&fake, &script);
    struct pcr_store *store = open_at(&fake, "", 50);
    usleep(1500000); // 0.1, 0.2, 0.4, 0.8 s and so on, or three quarters of it
    assert_in_range(atomic_load(&fake.connections), 2, 7);
    store->ops->destroy(store);
    stop_fake(&fake);
}

static void silence_is_noticed_though_nobody_asks(void **state) {
    (void)state;
    const struct script script = {.ping = ""};
    struct fake fake;
    start_fake(&fake, &script);
    struct pcr_store *store = open_at(&fake, "", 50);
    assert_true(becomes(store, PCR_STORE_UP));
    for (int i = 0; i < 800 && atomic_load(&fake.connections) < 2; i++)
        usleep(10000);
    assert_true(atomic_load(&fake.connections) > 1);
    store->ops->destroy(store);
    stop_fake(&fake);
}

static void a_purge_without_end_holds_no_destroy_up(void **state) {
    (void)state;
    const struct script script = {.scan = "*2\r\n$1\r\n7\r\n*0\r\n"};
    struct fake fake;
    start_fake(&fake, &script);
    struct pcr_store *store = open_at(&fake, "", 50);
    assert_true(becomes(store, PCR_STORE_UP));
    struct wait wait;
    wait_begins(&wait);
    wait.purge.done = on_purged;
    store->ops->purge(store, &wait.purge);
    usleep(50000);
    alarm(20);
    assert_in_range(destroy_took_ms(store), 0, 1000);
    alarm(0);
    wait_for(&wait);
    assert_true(wait.removed < 0);
    stop_fake(&fake);
}

// In place of the C library's: as slow as a name server that does not answer.
static atomic_int look_up_ms;
static atomic_uint n_looked_up;

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out) {
    static _Thread_local struct sockaddr_in at[2];
    bool numeric = host && strspn(host, "0123456789.") == strlen(host);
    if (!numeric) {
        atomic_fetch_add(&n_looked_up, 1);
        usleep((unsigned)atomic_load(&look_up_ms) * 1000);
        if (strcmp(host, "two.test") != 0)
            return EAI_AGAIN;
    }
    *out = NULL;
    for (size_t i = numeric ? 1 : 2; i-- > 0;) { // of two: nobody is at the first
        const in_addr_t address = numeric  ? inet_addr(host)
                                  : i == 0 ? inet_addr("127.0.0.3")
                                           : inet_addr("127.0.0.1");
        struct addrinfo *info = calloc(1, sizeof *info);
        at[i] = (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)(port ? atoi(port) : 0)),
                                     .sin_addr.s_addr = address};
        *info = (struct addrinfo){.ai_family = AF_INET,
                                  .ai_socktype = hints ? hints->ai_socktype : SOCK_STREAM,
                                  .ai_addr = (struct sockaddr *)&at[i],
                                  .ai_addrlen = sizeof at[i],
                                  .ai_next = *out};
        *out = info;
    }
    return 0;
}

void freeaddrinfo(struct addrinfo *info) {
    while (info) {
        struct addrinfo *next = info->ai_next;
        free(info);
        info = next;
    }
}

static void a_name_server_that_is_silent_holds_nobody_up(void **state) {
    (void)state;
    atomic_store(&look_up_ms, 3000);
    struct pcr_store *store = open_url("redis://no-such-host.test", 50);
    usleep(50000);
    assert_true(atomic_load(&n_looked_up) > 0);
    uint64_t before_ns = pcr_clock_mono_ns();
    assert_int_equal(get(store, 1), PCR_STORE_FAILED);
    assert_true(pcr_clock_mono_ns() - before_ns < 50 * PCR_NS_PER_MS);
    assert_in_range(destroy_took_ms(store), 0, 1000);
    atomic_store(&look_up_ms, 0);
    store = open_url("redis://no-such-host.test", 50);
    assert_true(becomes(store, PCR_STORE_DOWN));
    assert_non_null(strstr(stats_of(store).why, "no-such-host.test"));
    store->ops->destroy(store);
}

static void of_two_addresses_the_one_that_answers_is_found(void **state) {
    (void)state;
    const struct script script = {.get = "$1\r\nv\r\n"};
    struct fake fake;
    start_fake(&fake, &script);
    char url[64];
    snprintf(url, sizeof url, "redis://two.test:%d", fake.port);
    atomic_store(&look_up_ms, 0);
    struct pcr_store *store = open_url(url, 50);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1), PCR_STORE_FOUND);
    store->ops->destroy(store);
    stop_fake(&fake);
}

// --- memory -------------------------------------------------------------------------------------
static atomic_long n_until_failure; // of hiredis' allocations; negative: none fails

static bool fails_now(void) {
    return atomic_load(&n_until_failure) >= 0 && atomic_fetch_sub(&n_until_failure, 1) == 0;
}
static void *malloc_or_fail(size_t bytes) {
    return fails_now() ? NULL : malloc(bytes);
}
static void *calloc_or_fail(size_t n, size_t bytes) {
    return fails_now() ? NULL : calloc(n, bytes);
}
static void *realloc_or_fail(void *ptr, size_t bytes) {
    return fails_now() ? NULL : realloc(ptr, bytes);
}
static char *strdup_or_fail(const char *text) {
    return fails_now() ? NULL : strdup(text);
}

static void an_allocation_that_fails_costs_a_connection_and_no_more(void **state) {
    (void)state;
    const struct script script = {
        .get = "$1\r\nv\r\n",
        .scan = "*2\r\n$1\r\n0\r\n*1\r\n$74\r\npacer:1:0000000000000000:0000000000000000:"
                "00000000000000000000000000000001\r\n"};
    hiredisAllocFuncs ours = {malloc_or_fail, calloc_or_fail, realloc_or_fail, strdup_or_fail,
                              free};
    struct fake fake;
    start_fake(&fake, &script);
    hiredisSetAllocators(&ours);
    bool whole = false;
    for (long n = 0; !whole; n++) { // until none is left to fail
        assert_true(n < 500);
        atomic_store(&n_until_failure, n);
        struct pcr_store *store = open_at(&fake, "", 50);
        for (int i = 0; i < 50 && stats_of(store).state == PCR_STORE_TRYING; i++)
            usleep(1000);
        struct pcr_store_name name = {.lo = 1};
        get(store, 1);
        store->ops->put(store, &name, PCR_STR("v"), 1000);
        purge(store, (struct pcr_store_purge){0});
        store->ops->destroy(store);
        whole = atomic_load(&n_until_failure) >= 0;
    }
    atomic_store(&n_until_failure, -1);
    struct pcr_store *store = open_at(&fake, "", 200);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1), PCR_STORE_FOUND);
    store->ops->destroy(store);
    hiredisResetAllocators();
    stop_fake(&fake);
}

// --- URLs ---------------------------------------------------------------------------------------
static void a_sockets_path_may_have_an_at_sign(void **state) {
    (void)state;
    struct pcr_redis_url url;
    assert_int_equal(pcr_redis_url_parse("unix:///run/a@b.sock", &url, NULL), 0);
    assert_string_equal(url.path, "/run/a@b.sock");
    assert_false(url.has_password);
    assert_int_equal(pcr_redis_url_parse("redis+unix://me:pw@/run/a@b.sock?db=1", &url, NULL), 0);
    assert_string_equal(url.path, "/run/a@b.sock");
    assert_string_equal(url.user, "me");
    assert_string_equal(url.password, "pw");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_asked_for_ends_the_connection_and_no_more),
        cmocka_unit_test(messages_of_other_kinds_are_not_taken_for_answers),
        cmocka_unit_test(an_answer_has_bounds),
        cmocka_unit_test(no_word_of_the_servers_shows_the_password),
        cmocka_unit_test(a_cluster_is_not_supported_and_it_says_so),
        cmocka_unit_test(why_is_text_whatever_the_server_says),
        cmocka_unit_test(a_server_that_greets_and_hangs_up_is_not_run_to),
        cmocka_unit_test(silence_is_noticed_though_nobody_asks),
        cmocka_unit_test(a_purge_without_end_holds_no_destroy_up),
        cmocka_unit_test(a_name_server_that_is_silent_holds_nobody_up),
        cmocka_unit_test(of_two_addresses_the_one_that_answers_is_found),
        cmocka_unit_test(an_allocation_that_fails_costs_a_connection_and_no_more),
        cmocka_unit_test(a_sockets_path_may_have_an_at_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
