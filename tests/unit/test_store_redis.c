// SPDX-License-Identifier: Apache-2.0
// The Redis store against the real server, started, killed and stopped, and against one that says
// what it should not.
#include "test.h"

#include "cache/redis_url.h"
#include "store_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// --- URLs ---------------------------------------------------------------------------------------
static void urls_are_read_as_others_read_them(void **state) {
    (void)state;
    struct pcr_redis_url url;
    assert_int_equal(pcr_redis_url_parse("redis://h", &url, NULL), 0);
    assert_string_equal(url.host, "h");
    assert_int_equal(url.port, 6379);
    assert_false(url.has_password || url.tls);
    assert_int_equal(pcr_redis_url_parse("rediss://me:p%40ss:w@[::1]:7000/3", &url, NULL), 0);
    assert_true(url.tls && url.has_user && url.has_password);
    assert_string_equal(url.user, "me");
    assert_string_equal(url.password, "p@ss:w");
    assert_string_equal(url.host, "::1");
    assert_int_equal(url.port, 7000);
    assert_int_equal(url.db, 3);
    assert_null(strstr(url.shown, "p@ss"));
    assert_int_equal(pcr_redis_url_parse("redis://:secret@h:1?db=2", &url, NULL), 0);
    assert_false(url.has_user);
    assert_int_equal(url.db, 2);
    assert_int_equal(pcr_redis_url_parse("redis://", &url, NULL), 0);
    assert_string_equal(url.host, "localhost");
    assert_int_equal(pcr_redis_url_parse("unix:///run/r.sock?db=4", &url, NULL), 0);
    assert_string_equal(url.path, "/run/r.sock");
    assert_int_equal(url.db, 4);
}

static void what_is_no_url_is_refused_without_the_password(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "h:1",
                                        "http://h",
                                        "redis://h:0",
                                        "redis://h:70000",
                                        "redis://h:x",
                                        "redis://secret@h",
                                        "redis://:secret%zz@h",
                                        "redis://h/x",
                                        "redis://[::1",
                                        "unix://rel",
                                        "redis://:secret@h:99999",
                                        "redis://h/99999999999"};
    for (size_t i = 0; i < PCR_COUNT_OF(wrong); i++) {
        struct pcr_redis_url url;
        struct pacer_error err;
        assert_int_equal(pcr_redis_url_parse(wrong[i], &url, &err), PACER_EINVAL);
        assert_null(strstr(err.message, "secret"));
        assert_non_null(strstr(err.message, "expected redis://"));
    }
}

// --- a server -----------------------------------------------------------------------------------
static pid_t server;
static int port;

static bool have_server(void) {
    return system("command -v redis-server >/dev/null 2>&1") == 0;
}

static int free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void start_server(const char *more) {
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    server = fork();
    if (server == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(1);
        char command[512];
        snprintf(command, sizeof command,
                 "exec redis-server --port %s --save '' --bind 127.0.0.1 --dir /tmp %s", number,
                 more);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
}

static void stop_server(void) {
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

// By its own command line, as another client would.
static void redis_cli(const char *words) {
    char command[512];
    snprintf(command, sizeof command, "redis-cli -p %d %s >/dev/null 2>&1", port, words);
    assert_int_equal(system(command), 0);
}

// --- a store ------------------------------------------------------------------------------------
static atomic_uint n_invalidated, n_flushed;

static void on_invalidated(void *ctx, const struct pcr_store_name *name) {
    (void)ctx;
    atomic_fetch_add(name ? &n_invalidated : &n_flushed, 1);
}

static struct pcr_store *open_url(const char *url) {
    struct pcr_store *store;
    struct pacer_error err;
    const struct pcr_store_redis_options options = {
        .url = url, .timeout_ms = 100, .invalidated = on_invalidated};
    atomic_store(&n_invalidated, 0);
    atomic_store(&n_flushed, 0);
    if (pcr_store_redis_open(&options, &store, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static struct pcr_store *open_store(void) {
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    return open_url(url);
}

static struct pcr_store_stats stats_of(struct pcr_store *store) {
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    return stats;
}

static bool becomes(struct pcr_store *store, enum pcr_store_state state) {
    for (int i = 0; i < 800; i++) {
        if (stats_of(store).state == state)
            return true;
        usleep(10000);
    }
    return false;
}

static struct pcr_store_name name_of(uint64_t number) {
    return (struct pcr_store_name){.model = number % 3, .tenant = 7, .hi = number, .lo = ~number};
}

static bool put(struct pcr_store *store, uint64_t number, const char *value) {
    struct pcr_store_name name = name_of(number);
    return store->ops->put(store, &name, pcr_str(value), 60000);
}

static enum pcr_store_found get(struct pcr_store *store, uint64_t number, const char *value) {
    struct wait wait;
    if (ask_store(store, name_of(number), &wait) == PCR_STORE_FOUND && value) {
        assert_int_equal(wait.n, strlen(value));
        assert_memory_equal(wait.value, value, wait.n);
    }
    return wait.found;
}

static int set_up(void **state) {
    (void)state;
    if (have_server()) {
        port = free_port();
        start_server("");
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    stop_server();
    return 0;
}

#define NEEDS_SERVER()                                                    \
    if (!have_server()) {                                                 \
        print_message("redis-server is not installed: nothing tested\n"); \
        skip();                                                           \
    }

// --- with the real one --------------------------------------------------------------------------
static void it_keeps_and_purges(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1, NULL), PCR_STORE_MISSING);
    for (uint64_t i = 0; i < 1500; i++)
        while (!put(store, i, "value"))
            usleep(1000);
    assert_int_equal(get(store, 1499, "value"), PCR_STORE_FOUND);
    assert_int_equal(purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = 1}}),
                     500);
    assert_int_equal(get(store, 1, NULL), PCR_STORE_MISSING);
    assert_int_equal(get(store, 2, "value"), PCR_STORE_FOUND);
    struct pcr_store_name name = name_of(2);
    assert_int_equal(purge(store, (struct pcr_store_purge){.by_key = true, .name = name}), 1);
    assert_int_equal(get(store, 2, NULL), PCR_STORE_MISSING);
    assert_int_equal(
        purge(store, (struct pcr_store_purge){.by_tenant = true, .name = {.tenant = 8}}), 0);
    assert_int_equal(purge(store, (struct pcr_store_purge){0}), 999);
    struct pcr_store_stats stats = stats_of(store);
    assert_int_equal(stats.puts, 1500);
    assert_int_equal(stats.removed, 1500);
    assert_int_equal(stats.failures, 0);
    store->ops->destroy(store);
}

static void others_changes_are_told_ours_are_not(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *a = open_store();
    struct pcr_store *b = open_store();
    assert_true(becomes(a, PCR_STORE_UP) && becomes(b, PCR_STORE_UP));
    put(a, 1, "x");
    assert_int_equal(get(a, 1, "x"), PCR_STORE_FOUND);
    assert_int_equal(get(b, 1, "x"), PCR_STORE_FOUND);
    for (int i = 0; i < 100 && atomic_load(&n_invalidated) == 0; i++)
        usleep(10000);
    usleep(50000);
    assert_int_equal(atomic_load(&n_invalidated), 1); // b's; both count in one place
    assert_int_equal(stats_of(a).invalidations, 0);
    redis_cli("flushall");
    for (int i = 0; i < 100 && atomic_load(&n_flushed) < 2; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&n_flushed), 2);
    a->ops->destroy(a);
    b->ops->destroy(b);
}

static void a_purge_that_was_missed_is_found_out(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    redis_cli("client kill type normal");
    assert_true(becomes(store, PCR_STORE_UP));
    usleep(300000);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(atomic_load(&n_flushed), 0); // nothing was
    redis_cli("eval \"redis.call('incr','pacer:1:purges') return 1\" 0");
    usleep(50000);
    assert_int_equal(atomic_load(&n_flushed), 0); // told of one by one
    kill(server, SIGSTOP);
    get(store, 1, NULL);
    assert_true(becomes(store, PCR_STORE_DOWN));
    store->ops->destroy(store);
}

static void killed_and_started_again_it_is_found_again(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    stop_server();
    assert_true(becomes(store, PCR_STORE_DOWN));
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(get(store, i, NULL), PCR_STORE_FAILED);
    assert_false(put(store, 1, "x"));
    assert_true(purge(store, (struct pcr_store_purge){0}) < 0);
    assert_true(stats_of(store).why[0]);
    start_server("");
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1, NULL), PCR_STORE_MISSING);
    store->ops->destroy(store);
}

static void paused_it_holds_nobody_up(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    kill(server, SIGSTOP);
    uint64_t before_ns = pcr_clock_mono_ns();
    for (uint64_t i = 0; i < 30; i++)
        assert_int_equal(get(store, i, NULL), PCR_STORE_FAILED);
    uint64_t took_ms = (pcr_clock_mono_ns() - before_ns) / PCR_NS_PER_MS;
    assert_in_range(took_ms, 50, 3000); // a timeout or a few, then no more are tried
    assert_true(stats_of(store).timeouts > 0);
    kill(server, SIGCONT);
    bool again = false;
    for (int i = 0; i < 500 && !again; i++) {
        again = get(store, 1, NULL) == PCR_STORE_MISSING;
        usleep(20000);
    }
    assert_true(again);
    store->ops->destroy(store);
}

static void full_or_read_only_it_still_gives_what_it_has(void **state) {
    (void)state;
    NEEDS_SERVER();
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    put(store, 1, "x");
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    redis_cli("config set maxmemory 1 maxmemory-policy noeviction");
    put(store, 2, "x");
    assert_int_equal(get(store, 2, NULL), PCR_STORE_MISSING);
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    assert_non_null(strstr(stats_of(store).why, "OOM"));
    assert_false(put(store, 3, "x")); // not now
    assert_int_equal(stats_of(store).state, PCR_STORE_UP);
    store->ops->destroy(store);
    redis_cli("config set maxmemory 0");
    redis_cli("replicaof 127.0.0.1 1");
    store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    put(store, 2, "x");
    assert_int_equal(get(store, 2, NULL), PCR_STORE_MISSING);
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    assert_non_null(strstr(stats_of(store).why, "READONLY"));
    assert_int_equal(stats_of(store).state, PCR_STORE_UP);
    store->ops->destroy(store);
}

// Such a server repeats the words of a command that it does not know.
static void without_hello_it_is_a_store_and_the_password_is_not_shown(void **state) {
    (void)state;
    NEEDS_SERVER();
    stop_server();
    start_server("--requirepass hush --rename-command HELLO \"''\"");
    char url[64];
    snprintf(url, sizeof url, "redis://:hush@127.0.0.1:%d", port);
    struct pcr_store *store = open_url(url);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_non_null(strstr(stats_of(store).why, "no invalidation"));
    assert_null(strstr(stats_of(store).why, "hush"));
    put(store, 1, "x");
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    store->ops->destroy(store);
}

static void it_authenticates_and_selects(void **state) {
    (void)state;
    NEEDS_SERVER();
    stop_server();
    start_server("--requirepass pw --unixsocket /tmp/pacer-test-redis.sock");
    char url[128];
    snprintf(url, sizeof url, "redis://:pw@127.0.0.1:%d/3", port);
    struct pcr_store *store = open_url(url);
    assert_true(becomes(store, PCR_STORE_UP));
    put(store, 1, "x");
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    store->ops->destroy(store);
    snprintf(url, sizeof url, "redis://:pw@127.0.0.1:%d", port);
    store = open_url(url);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1, NULL), PCR_STORE_MISSING); // another database
    store->ops->destroy(store);
    store = open_url("unix://:pw@/tmp/pacer-test-redis.sock?db=3");
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    store->ops->destroy(store);
    redis_cli("-a pw acl setuser me on '>p@w' '~pacer:*' '&*' +@all");
    snprintf(url, sizeof url, "redis://me:p%%40w@127.0.0.1:%d/3", port);
    store = open_url(url);
    assert_true(becomes(store, PCR_STORE_UP));
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    store->ops->destroy(store);
    redis_cli("-a pw acl setuser me -client");
    store = open_url(url); // may not track: a store without invalidation
    assert_true(becomes(store, PCR_STORE_UP));
    assert_non_null(strstr(stats_of(store).why, "no invalidation"));
    assert_int_equal(get(store, 1, "x"), PCR_STORE_FOUND);
    store->ops->destroy(store);
    snprintf(url, sizeof url, "redis://:wrong@127.0.0.1:%d", port);
    store = open_url(url);
    assert_true(becomes(store, PCR_STORE_DOWN));
    assert_non_null(strstr(stats_of(store).why, "WRONGPASS"));
    assert_int_equal(get(store, 1, NULL), PCR_STORE_FAILED);
    store->ops->destroy(store);
    unlink("/tmp/pacer-test-redis.sock");
}

// --- with one that says what it should not ------------------------------------------------------
struct script { // what is sent for each read, in turn; the last one again and again
    const char *replies[4];
    bool closes;
};
static const struct script *script;
static int fake_fd = -1;
static pthread_t fake_thread;

static void serve_one(int fd) {
    char buffer[4096];
    for (size_t i = 0; read(fd, buffer, sizeof buffer) > 0;
         i += i + 1 < 4 && script->replies[i + 1]) {
        const char *reply = script->replies[i];
        if (write(fd, reply, strlen(reply)) < 0 || script->closes)
            break;
    }
    close(fd);
}

static void *serve_fake(void *arg) {
    (void)arg;
    for (;;) {
        int fd = accept(fake_fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        serve_one(fd);
    }
}

static void start_fake(const struct script *what) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    script = what;
    fake_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fake_fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fake_fd, 16), 0);
    assert_int_equal(getsockname(fake_fd, (struct sockaddr *)&at, &n), 0);
    port = ntohs(at.sin_port);
    pthread_create(&fake_thread, NULL, serve_fake, NULL);
}

static void stop_fake(void) {
    shutdown(fake_fd, SHUT_RDWR);
    pthread_join(fake_thread, NULL);
    close(fake_fd);
}

static void whatever_a_server_says_nothing_breaks(void **state) {
    (void)state;
    static const struct script scripts[] = {
        {{"rubbish\r\n"}, false},
        {{"*1000000000\r\n"}, false},
        {{"$99999999999999\r\n"}, false},
        {{"+OK\r\n", "+OK\r\n+OK\r\n"}, true},
        {{"-ERR unknown command 'HELLO'\r\n", "$-1\r\n", "*2\r\n:1\r\n:2\r\n"}, false},
        {{"-ERR unknown command 'HELLO'\r\n", "$-1\r\n", "-MOVED 1 h:1\r\n"}, false},
        {{"-LOADING Redis is loading the dataset in memory\r\n"}, false},
        {{">2\r\n+invalidate\r\n*1\r\n$3\r\nabc\r\n%0\r\n", "+OK\r\n$1\r\n5\r\n", "%1\r\n+a\r\n"},
         false},
        {{""}, true},
        // Said unasked: hiredis would end the process.
        {{"%0\r\n", "+OK\r\n$-1\r\n+OK\r\n"}, false},
        {{"%0\r\n", "+OK\r\n$-1\r\n>3\r\n+message\r\n+c\r\n+x\r\n"}, false},
        {{"%0\r\n", "+OK\r\n$-1\r\n>3\r\n+subscribe\r\n+c\r\n:1\r\n"}, false},
        {{"%0\r\n", "+OK\r\n$-1\r\n*0\r\n_\r\n#t\r\n,1.5\r\n"}, false},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(scripts); i++) {
        start_fake(&scripts[i]);
        struct pcr_store *store = open_store();
        for (int k = 0; k < 12; k++) {
            assert_int_not_equal(get(store, 1, NULL), PCR_STORE_FOUND);
            put(store, 1, "x");
            usleep(10000);
        }
        purge(store, (struct pcr_store_purge){0});
        store->ops->destroy(store);
        stop_fake();
    }
}

static void a_server_that_knows_no_hello_is_a_store_all_the_same(void **state) {
    (void)state;
    static const struct script old = {
        {"-ERR unknown command 'HELLO'\r\n", "$-1\r\n", "$5\r\nvalue\r\n"}, false};
    start_fake(&old);
    struct pcr_store *store = open_store();
    assert_true(becomes(store, PCR_STORE_UP));
    assert_non_null(strstr(stats_of(store).why, "no invalidation"));
    assert_int_equal(get(store, 1, "value"), PCR_STORE_FOUND);
    store->ops->destroy(store);
    stop_fake();
}

static void nobody_there_is_no_trouble(void **state) {
    (void)state;
    port = free_port();
    struct pcr_store *store = open_store();
    uint64_t before_ns = pcr_clock_mono_ns();
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(get(store, i, NULL), PCR_STORE_FAILED);
    assert_true(pcr_clock_mono_ns() - before_ns < PCR_NS_PER_S);
    store->ops->destroy(store);
    store = open_url("redis://no-such-host.invalid");
    assert_int_equal(get(store, 1, NULL), PCR_STORE_FAILED);
    store->ops->destroy(store);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read_as_others_read_them),
        cmocka_unit_test(what_is_no_url_is_refused_without_the_password),
        SERVED(it_keeps_and_purges),
        SERVED(others_changes_are_told_ours_are_not),
        SERVED(a_purge_that_was_missed_is_found_out),
        SERVED(killed_and_started_again_it_is_found_again),
        SERVED(paused_it_holds_nobody_up),
        SERVED(full_or_read_only_it_still_gives_what_it_has),
        SERVED(without_hello_it_is_a_store_and_the_password_is_not_shown),
        SERVED(it_authenticates_and_selects),
        cmocka_unit_test(whatever_a_server_says_nothing_breaks),
        cmocka_unit_test(a_server_that_knows_no_hello_is_a_store_all_the_same),
        cmocka_unit_test(nobody_there_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
