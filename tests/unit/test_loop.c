// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "loop/loop_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pcr_loop *make_loop(void) {
    struct pcr_loop *loop = NULL;
    assert_int_equal(pcr_loop_create(&loop, NULL), 0);
    return loop;
}

// --- mailboxes and the pool ---------------------------------------------------------------------

#define POSTERS 4
#define LETTERS 20000

struct letter {
    struct pcr_mail mail;
    unsigned poster, number;
};

static struct pcr_loop *mail_loop;
static unsigned delivered[POSTERS];
static unsigned out_of_order;

static void on_letter(struct pcr_mail *mail) {
    struct letter *letter = PCR_CONTAINER_OF(mail, struct letter, mail);
    out_of_order += letter->number != delivered[letter->poster];
    delivered[letter->poster]++;
    unsigned total = 0;
    for (size_t i = 0; i < POSTERS; i++)
        total += delivered[i];
    if (total == POSTERS * LETTERS)
        pcr_loop_stop(mail_loop);
    free(letter);
}

static void *post_letters(void *arg) {
    unsigned poster = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *letter = malloc(sizeof *letter);
        PCR_ASSERT(letter);
        *letter = (struct letter){.mail.deliver = on_letter, .poster = poster, .number = i};
        pcr_loop_post(mail_loop, &letter->mail);
    }
    return NULL;
}

static void letters_of_one_thread_arrive_in_order_and_none_is_lost(void **state) {
    (void)state;
    mail_loop = make_loop();
    pthread_t threads[POSTERS];
    for (size_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_letters, (void *)(uintptr_t)i), 0);
    pcr_loop_run(mail_loop);
    for (size_t i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(delivered[i], LETTERS);
    }
    assert_int_equal(out_of_order, 0);
    pcr_loop_destroy(mail_loop);
}

#define JOBS 500

struct square {
    struct pcr_job job;
    unsigned in;
    unsigned out;
};

static unsigned jobs_done;

static void run_square(struct pcr_job *job) {
    struct square *square = PCR_CONTAINER_OF(job, struct square, job);
    square->out = square->in * square->in;
}

static void square_done(struct pcr_job *job) {
    if (++jobs_done == JOBS)
        pcr_loop_stop(job->loop);
}

static void jobs_run_on_workers_and_end_on_their_loop(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop();
    struct pcr_pool *pool;
    static struct square squares[JOBS];
    jobs_done = 0;
    assert_int_equal(pcr_pool_create(3, JOBS, &pool, NULL), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        squares[i] =
            (struct square){.job = {.loop = loop, .run = run_square, .done = square_done}, .in = i};
        assert_int_equal(pcr_pool_submit(pool, &squares[i].job), 0);
    }
    pcr_loop_run(loop);
    pcr_pool_destroy(pool);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(squares[i].out, i * i);
    pcr_loop_destroy(loop);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void run_gate(struct pcr_job *job) {
    (void)job;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void count_done(struct pcr_job *job) {
    (void)job;
    jobs_done++;
}

static void a_full_pool_says_busy_and_finishes_what_it_took(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop();
    struct pcr_pool *pool;
    struct pcr_job jobs[8];
    unsigned taken = 0;
    jobs_done = 0;
    assert_int_equal(pcr_pool_create(1, 2, &pool, NULL), 0);
    pthread_mutex_lock(&gate);
    int rc = 0;
    while (rc == 0 && taken < PCR_COUNT_OF(jobs)) {
        jobs[taken] = (struct pcr_job){.loop = loop, .run = run_gate, .done = count_done};
        rc = pcr_pool_submit(pool, &jobs[taken]);
        taken += rc == 0;
    }
    assert_int_equal(rc, PACER_EBUSY);
    assert_in_range(taken, 2, 3); // two wait; a third may be at work
    pthread_mutex_unlock(&gate);
    pcr_pool_destroy(pool);
    pcr_loop_destroy(loop); // delivers what the workers posted
    assert_int_equal(jobs_done, taken);
}

// --- timers and signals -------------------------------------------------------------------------

struct ticks {
    struct pcr_loop *loop;
    struct pcr_timer *timer;
    unsigned fired;
};

static void on_tick(void *ctx) {
    struct ticks *ticks = ctx;
    if (++ticks->fired == 3) {
        pcr_timer_destroy(ticks->timer);
        pcr_loop_stop(ticks->loop);
    }
}

static void never(void *ctx) {
    (void)ctx;
    fail_msg("a stopped timer fired");
}

static void timers_repeat_stop_and_never_fire_after_destroy(void **state) {
    (void)state;
    struct ticks ticks = {.loop = make_loop()};
    ticks.timer = pcr_timer_create(ticks.loop, on_tick, &ticks);
    struct pcr_timer *stopped = pcr_timer_create(ticks.loop, never, NULL);
    struct pcr_timer *destroyed = pcr_timer_create(ticks.loop, never, NULL);
    pcr_timer_start(stopped, 0, 1);
    pcr_timer_stop(stopped);
    pcr_timer_start(destroyed, 0, 1);
    pcr_timer_destroy(destroyed);
    pcr_timer_destroy(NULL);
    uint64_t start_ns = pcr_clock_mono_ns();
    pcr_timer_start(ticks.timer, 5, 5);
    pcr_loop_run(ticks.loop);
    assert_int_equal(ticks.fired, 3);
    assert_true(pcr_clock_mono_ns() - start_ns >= 12 * PCR_NS_PER_MS);
    pcr_loop_destroy(ticks.loop); // `stopped` goes with it
}

static void on_signal(void *ctx, int signum) {
    assert_int_equal(signum, SIGUSR1);
    pcr_loop_stop(ctx);
}

static void signals_reach_the_loop(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop();
    struct pcr_signal *sig = pcr_signal_create(loop, SIGUSR1, on_signal, loop);
    assert_non_null(sig);
    kill(getpid(), SIGUSR1);
    pcr_loop_run(loop);
    pcr_signal_destroy(sig);
    pcr_loop_destroy(loop);
}

// --- addresses and listeners --------------------------------------------------------------------

static void addresses_are_read_and_written(void **state) {
    (void)state;
    const struct {
        const char *text, *shown;
    } good[] = {{"127.0.0.1:8080", "127.0.0.1:8080"},
                {"[::1]:80", "[::1]:80"},
                {"localhost:1", "127.0.0.1:1"}, // also where /etc/hosts is empty
                {"LocalHost.:2", "127.0.0.1:2"},
                {"any.localhost:3", "127.0.0.1:3"},
                {":65535", "[::]:65535"},
                {"unix:/tmp/x", "unix"},
                {"[::ffff:1.2.3.4]:5", "1.2.3.4:5"}};
    struct pcr_sockaddr address;
    char shown[64];
    for (size_t i = 0; i < PCR_COUNT_OF(good); i++) {
        assert_int_equal(pcr_address_parse(good[i].text, &address, NULL), 0);
        pcr_address_format(&address, shown, sizeof shown);
        assert_string_equal(shown, good[i].shown);
    }
    static const char *const bad[] = {"",      "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                                      "a:-1",  "::1:80",    "[::1:80",    "[::1]80",
                                      "[]:80", "unix:",     "a b:80",     "127.0.0.1:8o"};
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++) {
        struct pacer_error err = {0};
        assert_int_equal(pcr_address_parse(bad[i], &address, &err), PACER_EINVAL);
        assert_true(strlen(err.message) > 10);
    }
}

static unsigned accepted_streams;

static void drop_stream(void *ctx, struct pcr_stream *stream) {
    accepted_streams++;
    pcr_stream_close(stream, NULL);
    if (ctx)
        pcr_loop_stop(ctx);
}

static void loops_share_a_port_and_strangers_are_noticed(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop(), *other = make_loop();
    struct pcr_listener *one, *two, *three;
    struct pcr_listener_options options = {.address = "127.0.0.1:0", .reuse_port = true};
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, NULL, &one, NULL), 0);
    int port = pcr_listener_port(one);
    assert_in_range(port, 1, 65535);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    options.address = address;
    assert_int_equal(pcr_listener_open(other, &options, drop_stream, NULL, &two, NULL), 0);
    assert_int_equal(pcr_listener_port(two), port);

    pid_t child = fork();
    if (child ==
        0) { // another process as far as the kernel knows: a socket of its own, nothing shared
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        int rc = bind(fd, (struct sockaddr *)&in, sizeof in);
        _exit(rc < 0 && errno == EADDRINUSE ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);

    options.reuse_port = false;
    struct pacer_error err = {0};
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, NULL, &three, &err),
                     PACER_EBUSY);
    assert_non_null(strstr(err.message, "another process uses it"));
    pcr_listener_close(one);
    pcr_listener_close(two);
    pcr_loop_destroy(loop);
    pcr_loop_destroy(other);
}

// A stranger that sets SO_REUSEPORT itself, as a second instance of this program would.
static void a_port_held_by_a_stranger_is_busy(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop();
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&in, &len);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(in.sin_port));
    struct pcr_listener_options options = {.address = address, .reuse_port = true};
    struct pcr_listener *listener;
    struct pacer_error err = {0};
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, NULL, &listener, &err),
                     PACER_EBUSY);
    close(fd);
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, NULL, &listener, &err), 0);
    pcr_loop_destroy(loop); // closes the listener
}

static int connect_unix(const char *path) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&un, sizeof un) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state) {
    (void)state;
    char dir[] = "/tmp/pacer-loop-XXXXXX", path[64], address[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    assert_int_equal(bind(stale, (struct sockaddr *)&un, sizeof un), 0);
    close(stale); // the file stays
    struct pcr_loop *loop = make_loop();
    struct pcr_listener_options options = {.address = address};
    struct pcr_listener *one, *two;
    accepted_streams = 0;
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, loop, &one, NULL), 0);
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, loop, &two, NULL), PACER_EBUSY);
    int fd = connect_unix(path);
    assert_true(fd >= 0);
    pcr_loop_run(loop);
    assert_true(accepted_streams >= 1);
    close(fd);
    pcr_listener_close(one);
    struct stat info;
    assert_int_equal(stat(path, &info), -1); // removed with its listener
    FILE *file = fopen(path, "w");           // not a socket: never removed
    assert_non_null(file);
    fclose(file);
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, NULL, &one, NULL), PACER_EBUSY);
    assert_int_equal(stat(path, &info), 0);
    unlink(path);
    rmdir(dir);
    pcr_loop_destroy(loop);
}

static int connect_port(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in) < 0)
        return -1;
    return fd;
}

static void stop_loop(void *ctx) {
    pcr_loop_stop(ctx);
}

// With no descriptor left a connection waits in the kernel's queue, costs no processor time, and is
// taken up later.
static void running_out_of_descriptors_pauses_accepting(void **state) {
    (void)state;
    struct pcr_loop *loop = make_loop();
    struct pcr_listener_options options = {.address = "127.0.0.1:0"};
    struct pcr_listener *listener;
    accepted_streams = 0;
    assert_int_equal(pcr_listener_open(loop, &options, drop_stream, loop, &listener, NULL), 0);
    int client = connect_port(pcr_listener_port(listener));
    assert_true(client >= 0);
    struct rlimit before, few;
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = 3; // every number from 3 on is refused
    setrlimit(RLIMIT_NOFILE, &few);
    struct pcr_timer *timer = pcr_timer_create(loop, stop_loop, loop);
    pcr_timer_start(timer, 100, 0);
    struct rusage start, end;
    getrusage(RUSAGE_SELF, &start);
    pcr_loop_run(loop);
    getrusage(RUSAGE_SELF, &end);
    assert_int_equal(accepted_streams, 0);
    long switches = end.ru_nvcsw - start.ru_nvcsw;
    assert_in_range(switches, 0, 50); // asleep, not spinning
    setrlimit(RLIMIT_NOFILE, &before);
    pcr_loop_run(loop); // the retry takes it up
    assert_int_equal(accepted_streams, 1);
    close(client);
    pcr_timer_destroy(timer);
    pcr_loop_destroy(loop);
}

// --- streams ------------------------------------------------------------------------------------

#define BIG ((size_t)24 << 20) // more than the kernel buffers

struct echo {
    struct pcr_loop *loop;
    struct pcr_stream *stream;
    size_t received;
    bool drained, ended, closed;
};

static void on_big_data(void *ctx, char *bytes, size_t size) {
    struct echo *echo = ctx;
    assert_non_null(bytes);
    echo->received += size;
}
static void on_big_drained(void *ctx) {
    struct echo *echo = ctx;
    echo->drained = true;
    assert_int_equal(pcr_stream_queued_bytes(echo->stream), 0);
    pcr_stream_shutdown(echo->stream);
}
static void on_big_closed(void *ctx) {
    struct echo *echo = ctx;
    echo->closed = true;
    pcr_loop_stop(echo->loop);
}
static void on_big_end(void *ctx, int status) {
    struct echo *echo = ctx;
    assert_int_equal(status, 0);
    echo->ended = true;
    pcr_stream_close(echo->stream, on_big_closed);
}

static void on_big_accept(void *ctx, struct pcr_stream *stream) {
    static const struct pcr_stream_events events = {on_big_data, on_big_end, on_big_drained};
    struct echo *echo = ctx;
    echo->stream = stream;
    assert_int_equal(strncmp(pcr_stream_peer(stream), "127.0.0.1:", 10), 0);
    pcr_stream_start(stream, &events, echo);
    char *big = malloc(BIG);
    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i % 251);
    struct pcr_str parts[] = {{big, 1000}, {NULL, 0}, {big + 1000, BIG - 1000}};
    int64_t queued = pcr_stream_write(stream, parts, 3);
    assert_true(queued > 0 && (size_t)queued < BIG);
    struct pcr_str last = PCR_STR("end");
    assert_true(pcr_stream_write(stream, &last, 1) > queued);
    free(big); // the rest was copied
}

static void *read_big(void *arg) {
    int fd = connect_port((int)(intptr_t)arg);
    PCR_ASSERT(fd >= 0);
    PCR_ASSERT(write(fd, "hello", 5) == 5);
    size_t total = 0, wrong = 0;
    char piece[65536];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        for (ssize_t i = 0; i < n && total + (size_t)i < BIG; i++)
            wrong += piece[i] != (char)((total + (size_t)i) % 251);
        total += (size_t)n;
    }
    close(fd);
    return (void *)(uintptr_t)(wrong ? 0 : total);
}

static void what_the_kernel_does_not_take_is_sent_later_in_order(void **state) {
    (void)state;
    struct echo echo = {.loop = make_loop()};
    struct pcr_listener_options options = {.address = "127.0.0.1:0"};
    struct pcr_listener *listener;
    assert_int_equal(pcr_listener_open(echo.loop, &options, on_big_accept, &echo, &listener, NULL),
                     0);
    pthread_t reader;
    void *total;
    pthread_create(&reader, NULL, read_big, (void *)(intptr_t)pcr_listener_port(listener));
    pcr_loop_run(echo.loop);
    pthread_join(reader, &total);
    assert_int_equal((uintptr_t)total, BIG + 3);
    assert_int_equal(echo.received, 5);
    assert_true(echo.drained && echo.ended && echo.closed);
    pcr_loop_destroy(echo.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_one_thread_arrive_in_order_and_none_is_lost),
        cmocka_unit_test(jobs_run_on_workers_and_end_on_their_loop),
        cmocka_unit_test(a_full_pool_says_busy_and_finishes_what_it_took),
        cmocka_unit_test(timers_repeat_stop_and_never_fire_after_destroy),
        cmocka_unit_test(signals_reach_the_loop),
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(loops_share_a_port_and_strangers_are_noticed),
        cmocka_unit_test(a_port_held_by_a_stranger_is_busy),
        cmocka_unit_test(a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(running_out_of_descriptors_pauses_accepting),
        cmocka_unit_test(what_the_kernel_does_not_take_is_sent_later_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
