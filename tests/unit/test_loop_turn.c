// SPDX-License-Identifier: Apache-2.0
// The end of a turn, what a loop keeps for others, and the moment at which events came.
#include "test.h"

#include "loop/loop_priv.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAMS 20

struct rig {
    struct pcr_loop *loop;
    struct pcr_deferred deferred;
    struct pcr_mail mail;
    struct pcr_stream *streams[STREAMS];
    size_t n_streams, n_reads, n_fired, n_letters;
    size_t reads_when_fired, reads_when_delivered;
    size_t again; // how often `fire` asks to be called once more
};

static void open_rig(struct rig *rig) {
    *rig = (struct rig){0};
    assert_int_equal(pcr_loop_create(&rig->loop, NULL), 0);
}

static void count_and_stop(struct pcr_deferred *deferred) {
    struct rig *rig = PCR_CONTAINER_OF(deferred, struct rig, deferred);
    rig->n_fired++;
    rig->reads_when_fired = rig->n_reads;
    if (rig->again-- > 0)
        pcr_loop_defer(rig->loop, deferred);
    else
        pcr_loop_stop(rig->loop);
}

// --- after all reads ----------------------------------------------------------------------------
static void on_data(void *ctx, char *bytes, size_t size) {
    struct rig *rig = ctx;
    (void)bytes;
    rig->n_reads += size;
    if (rig->mail.deliver && rig->n_reads == 1)
        pcr_loop_post(rig->loop, &rig->mail);
    pcr_loop_defer(rig->loop, &rig->deferred); // all but the first change nothing
}

static void on_end(void *ctx, int status) {
    (void)ctx;
    (void)status;
}

static void on_accept(void *ctx, struct pcr_stream *stream) {
    static const struct pcr_stream_events events = {.data = on_data, .end = on_end};
    struct rig *rig = ctx;
    rig->streams[rig->n_streams++] = stream;
    pcr_stream_start(stream, &events, rig);
    if (rig->n_streams == STREAMS)
        pcr_loop_stop(rig->loop);
}

static int connect_port(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

// A loop with STREAMS connections, on each of which a byte is ready to be read.
static void open_streams(struct rig *rig, int *clients) {
    struct pcr_listener_options options = {.address = "127.0.0.1:0"};
    struct pcr_listener *listener;
    open_rig(rig);
    rig->deferred.fire = count_and_stop;
    assert_int_equal(pcr_listener_open(rig->loop, &options, on_accept, rig, &listener, NULL), 0);
    for (size_t i = 0; i < STREAMS; i++)
        clients[i] = connect_port(pcr_listener_port(listener));
    pcr_loop_run(rig->loop);
    assert_int_equal(rig->n_streams, STREAMS);
    for (size_t i = 0; i < STREAMS; i++)
        assert_int_equal(write(clients[i], "x", 1), 1);
}

static void close_streams(struct rig *rig, const int *clients) {
    for (size_t i = 0; i < STREAMS; i++) {
        pcr_stream_close(rig->streams[i], NULL);
        close(clients[i]);
    }
    pcr_loop_destroy(rig->loop);
}

static void what_is_deferred_comes_once_after_all_reads(void **state) {
    (void)state;
    struct rig rig;
    int clients[STREAMS];
    open_streams(&rig, clients);
    pcr_loop_run(rig.loop);
    assert_int_equal(rig.n_fired, 1);
    assert_int_equal(rig.reads_when_fired, STREAMS);
    close_streams(&rig, clients);
}

static void on_letter(struct pcr_mail *mail) {
    struct rig *rig = PCR_CONTAINER_OF(mail, struct rig, mail);
    rig->n_letters++;
    rig->reads_when_delivered = rig->n_reads;
}

static void letters_need_not_wait_for_all_reads(void **state) {
    (void)state;
    struct rig rig;
    int clients[STREAMS];
    open_streams(&rig, clients);
    rig.mail.deliver = on_letter;
    pcr_loop_run(rig.loop);
    assert_int_equal(rig.n_letters, 1);
    assert_int_equal(rig.reads_when_delivered, 1);
    assert_int_equal(rig.reads_when_fired, STREAMS);
    close_streams(&rig, clients);
}

static void reset_in_data(void *ctx, char *bytes, size_t size) {
    struct rig *rig = ctx;
    (void)bytes;
    rig->n_reads += size;
    for (size_t i = 0; i < STREAMS; i++) { // its own too: the loop goes on without it
        pcr_stream_close(rig->streams[i], NULL);
        rig->streams[i] = NULL;
    }
    pcr_loop_post(rig->loop, &rig->mail);
    pcr_loop_defer(rig->loop, &rig->deferred);
}

static void a_read_may_close_all_streams(void **state) {
    (void)state;
    static const struct pcr_stream_events events = {.data = reset_in_data, .end = on_end};
    struct rig rig;
    int clients[STREAMS];
    open_streams(&rig, clients);
    rig.mail.deliver = on_letter;
    for (size_t i = 0; i < STREAMS; i++)
        pcr_stream_start(rig.streams[i], &events, &rig);
    pcr_loop_run(rig.loop);
    assert_int_equal(rig.n_reads, 1);
    assert_int_equal(rig.n_letters, 1);
    assert_int_equal(rig.n_fired, 1);
    for (size_t i = 0; i < STREAMS; i++)
        close(clients[i]);
    pcr_loop_destroy(rig.loop);
}

// --- without events -----------------------------------------------------------------------------
// Nothing else happens on these loops: one that waited for events would wait for good.
static void from_inside_it_is_for_the_next_turn(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig);
    rig.deferred.fire = count_and_stop;
    rig.again = 1000;
    pcr_loop_defer(rig.loop, &rig.deferred);
    pcr_loop_run(rig.loop);
    assert_int_equal(rig.n_fired, 1001);
    pcr_loop_destroy(rig.loop);
}

static void defer(void *ctx) {
    struct rig *rig = ctx;
    pcr_loop_defer(rig->loop, &rig->deferred);
}

static void what_a_timer_defers_does_not_wait_for_events(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig);
    rig.deferred.fire = count_and_stop;
    struct pcr_timer *timer = pcr_timer_create(rig.loop, defer, &rig);
    pcr_timer_start(timer, 2, 0);
    pcr_loop_run(rig.loop);
    assert_int_equal(rig.n_fired, 1);
    pcr_timer_destroy(timer);
    pcr_loop_destroy(rig.loop);
}

// With nothing deferred any more the loop sleeps again.
static void a_loop_comes_to_rest(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig);
    rig.deferred.fire = count_and_stop;
    rig.again = 3;
    defer(&rig);
    pcr_loop_run(rig.loop);
    struct pcr_timer *timer = pcr_timer_create(rig.loop, defer, &rig);
    rig.again = 0;
    pcr_timer_start(timer, 100, 0);
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    pcr_loop_run(rig.loop);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    long busy_us = (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000;
    assert_in_range(busy_us, 0, 50000);
    pcr_timer_destroy(timer);
    pcr_loop_destroy(rig.loop);
}

// --- order --------------------------------------------------------------------------------------
struct step {
    struct pcr_deferred deferred;
    struct pcr_loop *loop;
    struct step *defers; // from inside
    char name;
    bool stops;
};
static char steps[32];

static void take_step(struct pcr_deferred *deferred) {
    struct step *step = PCR_CONTAINER_OF(deferred, struct step, deferred);
    steps[strlen(steps)] = step->name;
    if (step->defers)
        pcr_loop_defer(step->loop, &step->defers->deferred);
    if (step->stops)
        pcr_loop_stop(step->loop);
}

static void they_come_in_order_and_later_ones_later(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig);
    struct step a = {{.fire = take_step}, rig.loop, NULL, 'a', false};
    struct step b = {{.fire = take_step}, rig.loop, NULL, 'b', false};
    struct step c = {{.fire = take_step}, rig.loop, NULL, 'c', true};
    memset(steps, 0, sizeof steps);
    a.defers = &c; // which is for the next turn
    b.defers = &c;
    pcr_loop_defer(rig.loop, &a.deferred);
    pcr_loop_defer(rig.loop, &b.deferred);
    pcr_loop_defer(rig.loop, &a.deferred);
    pcr_loop_run(rig.loop);
    assert_string_equal(steps, "abc");
    memset(steps, 0, sizeof steps);
    a.defers = &b; // it comes in this turn anyway: nothing is left
    b.defers = NULL;
    pcr_loop_defer(rig.loop, &a.deferred);
    pcr_loop_defer(rig.loop, &b.deferred);
    pcr_loop_defer(rig.loop, &c.deferred);
    pcr_loop_run(rig.loop);
    assert_string_equal(steps, "abc");
    pcr_loop_destroy(rig.loop);
    assert_string_equal(steps, "abc");
}

// --- the end of a loop --------------------------------------------------------------------------
static void note_local(void *value) {
    steps[strlen(steps)] = *(const char *)value;
}

static void what_is_deferred_comes_before_a_loop_ends(void **state) {
    (void)state;
    struct rig rig;
    char local = 'L';
    open_rig(&rig);
    struct step c = {{.fire = take_step}, rig.loop, NULL, 'c', false};
    struct step b = {{.fire = take_step}, rig.loop, &c, 'b', false};
    struct step a = {{.fire = take_step}, rig.loop, &b, 'a', false};
    memset(steps, 0, sizeof steps);
    assert_true(pcr_loop_set_local(rig.loop, &rig, &local, note_local));
    pcr_loop_defer(rig.loop, &a.deferred);
    pcr_loop_destroy(rig.loop); // it never ran
    assert_string_equal(steps, "abcL");
}

static void a_loop_keeps_a_few_things_for_others(void **state) {
    (void)state;
    struct rig rig, other;
    char keys[PCR_LOOP_LOCALS_MAX + 1], values[PCR_LOOP_LOCALS_MAX + 1];
    open_rig(&rig);
    open_rig(&other);
    memset(steps, 0, sizeof steps);
    assert_null(pcr_loop_get_local(rig.loop, &keys[0]));
    for (size_t i = 0; i < PCR_LOOP_LOCALS_MAX; i++) {
        values[i] = (char)('a' + i);
        assert_true(pcr_loop_set_local(rig.loop, &keys[i], &values[i], note_local));
    }
    char *last = &values[PCR_LOOP_LOCALS_MAX];
    assert_false(pcr_loop_set_local(rig.loop, &keys[PCR_LOOP_LOCALS_MAX], last, note_local));
    assert_null(pcr_loop_get_local(rig.loop, &keys[PCR_LOOP_LOCALS_MAX]));
    for (size_t i = 0; i < PCR_LOOP_LOCALS_MAX; i++) {
        assert_ptr_equal(pcr_loop_get_local(rig.loop, &keys[i]), &values[i]);
        assert_null(pcr_loop_get_local(other.loop, &keys[i]));
    }
    pcr_loop_destroy(other.loop);
    assert_string_equal(steps, "");
    pcr_loop_destroy(rig.loop);
    assert_string_equal(steps, "hgfedcba");
}

// --- when events came ---------------------------------------------------------------------------
static uint64_t began_ns, arrived_ns, seen_ns;

static void note_arrival(struct pcr_mail *mail) {
    struct rig *rig = PCR_CONTAINER_OF(mail, struct rig, mail);
    arrived_ns = pcr_loop_arrived_ns(rig->loop);
    seen_ns = pcr_clock_mono_ns();
    pcr_loop_stop(rig->loop);
}

static void *post_later(void *arg) {
    struct rig *rig = arg;
    usleep(30000);
    began_ns = pcr_clock_mono_ns();
    pcr_loop_post(rig->loop, &rig->mail);
    return NULL;
}

static void be_busy(struct pcr_deferred *deferred) {
    struct rig *rig = PCR_CONTAINER_OF(deferred, struct rig, deferred);
    if (rig->n_fired++ > 0)
        return;
    began_ns = pcr_clock_mono_ns();
    pcr_loop_post(rig->loop, &rig->mail); // comes now, is read when this has ended
    usleep(5000);
    pcr_loop_defer(rig->loop, deferred);
}

static void a_busy_loop_knows_that_it_reads_late(void **state) {
    (void)state;
    struct rig rig;
    pthread_t thread;
    open_rig(&rig);
    rig.mail.deliver = note_arrival;
    assert_int_equal(pthread_create(&thread, NULL, post_later, &rig), 0);
    pcr_loop_run(rig.loop); // has nothing else to do
    pthread_join(thread, NULL);
    assert_true(began_ns <= arrived_ns && arrived_ns <= seen_ns);
    // A loop that loses its core right where it looks seems to have waited, so it has some tries.
    bool knows = false;
    for (int i = 0; i < 50 && !knows; i++) {
        rig.n_fired = 0;
        rig.deferred.fire = be_busy;
        pcr_loop_defer(rig.loop, &rig.deferred);
        pcr_loop_run(rig.loop);
        assert_true(arrived_ns <= seen_ns);
        knows = arrived_ns <= began_ns && seen_ns - arrived_ns >= 5 * PCR_NS_PER_MS;
    }
    assert_true(knows);
    pcr_loop_destroy(rig.loop);
}

static void post_again(struct pcr_mail *mail) {
    struct rig *rig = PCR_CONTAINER_OF(mail, struct rig, mail);
    rig->mail.deliver = note_arrival;
    pcr_loop_post(rig->loop, &rig->mail); // is there when the loop looks next
}

// As a connection that comes after a long rest, and then its first bytes.
static void what_comes_right_after_a_long_wait_has_not_come_before_its_end(void **state) {
    (void)state;
    struct rig rig;
    pthread_t thread;
    open_rig(&rig);
    rig.mail.deliver = post_again;
    assert_int_equal(pthread_create(&thread, NULL, post_later, &rig), 0);
    pcr_loop_run(rig.loop);
    pthread_join(thread, NULL);
    assert_true(began_ns <= arrived_ns && arrived_ns <= seen_ns);
    pcr_loop_destroy(rig.loop);
}

static void rest_and_post(void *ctx) {
    struct rig *rig = ctx;
    began_ns = pcr_clock_mono_ns();
    pcr_loop_post(rig->loop, &rig->mail);
}

static void a_wait_that_a_timer_ends_is_over(void **state) {
    (void)state;
    struct rig rig;
    uint64_t started_ns = pcr_clock_mono_ns();
    open_rig(&rig);
    rig.mail.deliver = note_arrival;
    struct pcr_timer *timer = pcr_timer_create(rig.loop, rest_and_post, &rig);
    pcr_timer_start(timer, 30, 0);
    pcr_loop_run(rig.loop);
    assert_true(arrived_ns >= started_ns + 25 * PCR_NS_PER_MS && arrived_ns <= seen_ns);
    pcr_timer_destroy(timer);
    pcr_loop_destroy(rig.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_deferred_comes_once_after_all_reads),
        cmocka_unit_test(letters_need_not_wait_for_all_reads),
        cmocka_unit_test(a_read_may_close_all_streams),
        cmocka_unit_test(from_inside_it_is_for_the_next_turn),
        cmocka_unit_test(what_a_timer_defers_does_not_wait_for_events),
        cmocka_unit_test(a_loop_comes_to_rest),
        cmocka_unit_test(they_come_in_order_and_later_ones_later),
        cmocka_unit_test(what_is_deferred_comes_before_a_loop_ends),
        cmocka_unit_test(a_loop_keeps_a_few_things_for_others),
        cmocka_unit_test(a_busy_loop_knows_that_it_reads_late),
        cmocka_unit_test(what_comes_right_after_a_long_wait_has_not_come_before_its_end),
        cmocka_unit_test(a_wait_that_a_timer_ends_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
