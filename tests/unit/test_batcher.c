// SPDX-License-Identifier: Apache-2.0
// The micro-batcher. Where it matters what is at work while something else happens, run_batch stops
// at a gate that the test opens: nothing here depends on how fast the machine is.
#include "test.h"

#include <pacer/batcher.h>

#include "base/base.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define CULPRIT 666 // fails the whole batch that it is in
#define STRANGE 777 // the same, with a code of its own
#define SIZES 64

// Doubles its input. A negative one fails alone, -3 only in company.
struct doubler {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned entered, may_leave; // calls, so far
    unsigned running, most_running, longest;
    size_t sizes[SIZES]; // of the first calls
    pthread_t last_thread;
    atomic_uint sleep_us;
};

#define OPEN UINT_MAX
#define DOUBLER_INIT(may) \
    { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .may_leave = (may) }

static void enter(struct doubler *d, size_t n) {
    pthread_mutex_lock(&d->lock);
    unsigned number = d->entered++;
    if (number < SIZES)
        d->sizes[number] = n;
    d->running++;
    d->most_running = d->running > d->most_running ? d->running : d->most_running;
    d->longest = n > d->longest ? (unsigned)n : d->longest;
    d->last_thread = pthread_self();
    pthread_cond_broadcast(&d->moved);
    while (number >= d->may_leave)
        pthread_cond_wait(&d->moved, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

static void leave(struct doubler *d) {
    pthread_mutex_lock(&d->lock);
    d->running--;
    pthread_mutex_unlock(&d->lock);
}

static int run_doubler(void *ctx, struct pacer_batch_item *const *items, size_t n) {
    struct doubler *d = ctx;
    int code = 0;
    enter(d, n);
    if (d->sleep_us)
        usleep(d->sleep_us);
    for (size_t i = 0; i < n; i++) {
        int in = *(const int *)items[i]->input;
        if (in == CULPRIT || in == STRANGE)
            code = in == CULPRIT ? PACER_EMODEL : 5;
        else if (in < 0 && !(in == -3 && n == 1))
            items[i]->status = in == -2 ? 22 : PACER_EINVAL;
        else if (in >= 0)
            *(int *)items[i]->output = 2 * in;
    }
    leave(d);
    return code;
}

static void wait_entered(struct doubler *d, unsigned calls) {
    pthread_mutex_lock(&d->lock);
    while (d->entered < calls)
        pthread_cond_wait(&d->moved, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

static void let_leave(struct doubler *d, unsigned calls) {
    pthread_mutex_lock(&d->lock);
    d->may_leave = calls;
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

static struct pacer_batcher *open_batcher(struct doubler *d, struct pacer_batcher_options options) {
    struct pacer_batcher *batcher = NULL;
    struct pacer_error err = {0};
    options.size = sizeof options;
    if (pacer_batcher_create(run_doubler, d, &options, &batcher, &err) < 0)
        fail_msg("%s", err.message);
    return batcher;
}

static struct pacer_batcher_stats stats_of(struct pacer_batcher *batcher) {
    struct pacer_batcher_stats stats = {.size = sizeof stats};
    pacer_batcher_stats(batcher, &stats);
    return stats;
}

struct call {
    struct pacer_batch_item item;
    int in, out;
    atomic_int done;
};

static void on_done(struct pacer_batch_item *item) {
    struct call *call = PCR_CONTAINER_OF(item, struct call, item);
    atomic_fetch_add(&call->done, 1);
}

static void init_call(struct call *call, int in) {
    memset(call, 0, sizeof *call);
    call->in = in;
    call->item =
        (struct pacer_batch_item){.input = &call->in, .output = &call->out, .done = on_done};
}

static void submit(struct pacer_batcher *batcher, struct call *call, int in) {
    init_call(call, in);
    assert_int_equal(pacer_batcher_submit(batcher, &call->item), 0);
}

static void wait_done(struct call *call) {
    while (!atomic_load(&call->done))
        usleep(50);
}

// --- batches ------------------------------------------------------------------------------------
static void a_lone_caller_runs_it_himself(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    for (int i = 0; i < 100; i++) {
        int out = 0;
        assert_int_equal(pacer_batcher_infer(batcher, &i, &out), 0);
        assert_int_equal(out, 2 * i);
        assert_true(pthread_equal(d.last_thread, pthread_self()));
    }
    struct pacer_batcher_stats stats = stats_of(batcher);
    assert_int_equal(stats.batches, 100);
    assert_int_equal(stats.items, 100);
    assert_int_equal(stats.by_size[0], 100);
    assert_true(stats.mean_size == 1);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.running, 0);
    assert_true(stats.cost_us + stats.cost_item_us > 0);
    pacer_batcher_destroy(batcher);
}

static void nothing_is_held_while_nothing_runs(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call call;
    for (int i = 0; i < 20; i++) {
        submit(batcher, &call, i); // nobody comes after it
        wait_done(&call);
        assert_int_equal(call.out, 2 * i);
        assert_int_equal(d.sizes[i], 1);
    }
    pacer_batcher_destroy(batcher);
    assert_int_equal(d.entered, 20);
}

static void what_comes_during_a_run_makes_the_next_batch(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call calls[71];
    submit(batcher, &calls[0], 0);
    wait_entered(&d, 1);
    for (int i = 1; i < 71; i++)
        submit(batcher, &calls[i], i);
    struct pacer_batcher_stats stats = stats_of(batcher);
    assert_int_equal(stats.waiting, 70);
    assert_int_equal(stats.running, 1);
    let_leave(&d, OPEN);
    for (int i = 0; i < 71; i++) {
        wait_done(&calls[i]);
        assert_int_equal(calls[i].item.status, 0);
        assert_int_equal(calls[i].out, 2 * i);
    }
    stats = stats_of(batcher);
    pacer_batcher_destroy(batcher);
    assert_int_equal(d.entered, 3);
    assert_int_equal(d.sizes[0], 1);
    assert_int_equal(d.sizes[1], 64); // by default
    assert_int_equal(d.sizes[2], 6);
    assert_int_equal(stats.by_size[0], 1);
    assert_int_equal(stats.by_size[6], 1);
    assert_int_equal(stats.by_size[2], 1);
    assert_true(stats.mean_size == 71.0 / 3);
    assert_true(stats.wait_ns >= stats.wait_max_ns && stats.wait_max_ns > 0 && stats.run_ns > 0);
}

static void so_many_batches_at_a_time(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.threads = 3, .max_batch_size = 2});
    struct call calls[12];
    for (int i = 0; i < 12; i++)
        submit(batcher, &calls[i], i);
    wait_entered(&d, 3);
    let_leave(&d, OPEN);
    for (int i = 0; i < 12; i++) {
        wait_done(&calls[i]);
        assert_int_equal(calls[i].out, 2 * i);
    }
    pacer_batcher_destroy(batcher);
    assert_int_equal(d.most_running, 3);
    assert_true(d.longest <= 2);
}

#define CALLERS 8
#define ROUNDS 300

struct caller {
    struct pacer_batcher *batcher;
    int number;
    int wrong;
};

static void *call_often(void *arg) {
    struct caller *caller = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int in = caller->number * 10000 + i;
        int out = 0;
        in = i % 50 == 49 ? -1 : in;
        int status = pacer_batcher_infer(caller->batcher, &in, &out);
        caller->wrong += in < 0 ? status != PACER_EINVAL : status != 0 || out != 2 * in;
    }
    return NULL;
}

static void call_from_threads(struct pacer_batcher *batcher, void *(*often)(void *)) {
    struct caller callers[CALLERS];
    pthread_t ids[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){batcher, i, 0};
        assert_int_equal(pthread_create(&ids[i], NULL, often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
}

static void callers_at_once_share_batches(void **state) {
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct doubler d = DOUBLER_INIT(OPEN);
        d.sleep_us = 200;
        struct pacer_batcher *batcher =
            open_batcher(&d, (struct pacer_batcher_options){.threads = threads});
        call_from_threads(batcher, call_often);
        struct pacer_batcher_stats stats = stats_of(batcher);
        assert_int_equal(stats.items + stats.failed, CALLERS * ROUNDS);
        assert_int_equal(stats.failed, CALLERS * (ROUNDS / 50));
        assert_true(stats.batches < CALLERS * ROUNDS);
        assert_true(stats.mean_size > 1);
        assert_true(d.longest > 1 && d.longest <= CALLERS);
        assert_true(d.most_running <= threads);
        pacer_batcher_destroy(batcher);
    }
}

// --- what fails ---------------------------------------------------------------------------------
static void one_culprit_fails_alone(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    static const int inputs[6] = {0, 1, CULPRIT, 3, -1, -3};
    static const int statuses[6] = {0, 0, PACER_EMODEL, 0, PACER_EINVAL, 0};
    struct call first, calls[6];
    submit(batcher, &first, 1);
    wait_entered(&d, 1);
    for (int i = 0; i < 6; i++)
        submit(batcher, &calls[i], inputs[i]);
    let_leave(&d, OPEN);
    for (int i = 0; i < 6; i++) {
        wait_done(&calls[i]);
        assert_int_equal(calls[i].item.status, statuses[i]);
        assert_int_equal(calls[i].out, statuses[i] || inputs[i] < 0 ? 0 : 2 * inputs[i]);
        assert_int_equal(calls[i].done, 1);
    }
    struct pacer_batcher_stats stats = stats_of(batcher);
    assert_int_equal(stats.retried, 6);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.items, 5);
    assert_int_equal(stats.failed_batches, 2); // the shared one, the culprit alone
    assert_int_equal(stats.batches, 1 + 5);
    pacer_batcher_destroy(batcher);
    assert_int_equal(d.entered, 1 + 1 + 6);
}

static void a_lone_culprit_is_not_tried_twice(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    int in = CULPRIT, out = 0;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), PACER_EMODEL);
    assert_int_equal(d.entered, 1);
    in = STRANGE; // neither 0 nor one of ours: never taken for an answer
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), PACER_EINTERNAL);
    in = -2;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), PACER_EINTERNAL);
    assert_int_equal(stats_of(batcher).retried, 0);
    pacer_batcher_destroy(batcher);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_queue = 2, .max_batch_size = 8});
    struct call first, calls[2], more;
    int in = 3, out = 0;
    submit(batcher, &first, 0);
    wait_entered(&d, 1);
    submit(batcher, &calls[0], 1);
    submit(batcher, &calls[1], 2);
    init_call(&more, 3);
    assert_int_equal(pacer_batcher_submit(batcher, &more.item), PACER_EBUSY);
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), PACER_EBUSY);
    assert_int_equal(stats_of(batcher).refused, 2);
    let_leave(&d, OPEN);
    wait_done(&calls[1]);
    assert_int_equal(pacer_batcher_submit(batcher, &more.item), 0);
    pacer_batcher_destroy(batcher);
    assert_int_equal(more.done, 1);
    assert_int_equal(more.out, 6);
    assert_int_equal(d.sizes[1], 2);
}

static void what_cannot_be_submitted_is_said(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call first, call;
    init_call(&call, 1);
    call.item.done = NULL;
    assert_int_equal(pacer_batcher_submit(batcher, &call.item), PACER_EINVAL);
    submit(batcher, &first, 1);
    wait_entered(&d, 1);
    submit(batcher, &call, 2);
    assert_int_equal(pacer_batcher_submit(batcher, &call.item), PACER_EINVAL); // it waits already
    let_leave(&d, OPEN);
    pacer_batcher_destroy(batcher);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.out, 4);
}

// --- time ---------------------------------------------------------------------------------------
static void time_that_cannot_suffice_is_refused_at_once(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(2);
    d.sleep_us = 30000;
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_batch_size = 1});
    struct call first, hopeless;
    int in = 1, out;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    assert_true(stats_of(batcher).cost_us + stats_of(batcher).cost_item_us == 0);
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    assert_true(stats_of(batcher).cost_us + stats_of(batcher).cost_item_us >= 30000);
    submit(batcher, &first, 3);
    wait_entered(&d, 3);
    init_call(&hopeless, 2);
    hopeless.item.timeout_us = 1000;
    assert_int_equal(pacer_batcher_submit(batcher, &hopeless.item), PACER_ETIMEDOUT);
    assert_int_equal(pacer_batcher_infer_within(batcher, &in, &out, 1000), PACER_ETIMEDOUT);
    assert_int_equal(stats_of(batcher).late, 2);
    let_leave(&d, OPEN);
    pacer_batcher_destroy(batcher);
    assert_int_equal(first.out, 6);
    assert_int_equal(hopeless.done, 0);
    assert_int_equal(d.entered, 3);
}

static void what_has_waited_too_long_is_not_computed(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.timeout_ms = 20});
    struct call first, late, patient;
    submit(batcher, &first, 1);
    wait_entered(&d, 1);
    submit(batcher, &late, 2);
    init_call(&patient, 3);
    patient.item.timeout_us = UINT64_MAX; // no sum of it with now overflows
    assert_int_equal(pacer_batcher_submit(batcher, &patient.item), 0);
    usleep(30000);
    let_leave(&d, OPEN);
    wait_done(&late);
    wait_done(&patient);
    assert_int_equal(late.item.status, PACER_ETIMEDOUT);
    assert_int_equal(late.out, 0);
    assert_int_equal(patient.item.status, 0);
    assert_int_equal(patient.out, 6);
    wait_done(&first);
    assert_int_equal(first.item.status, 0); // its time was up while it was computed
    struct pacer_batcher_stats stats = stats_of(batcher);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.late, 0);
    assert_int_equal(stats.items, 2);
    pacer_batcher_destroy(batcher);
}

static void nobody_waits_longer_for_a_run_that_hangs(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call first;
    int in = 2, out = 0;
    submit(batcher, &first, 1);
    wait_entered(&d, 1);
    uint64_t start_ns = pcr_clock_mono_ns();
    assert_int_equal(pacer_batcher_infer_within(batcher, &in, &out, 20000), PACER_ETIMEDOUT);
    assert_true(pcr_clock_mono_ns() - start_ns >= 20 * PCR_NS_PER_MS);
    struct pacer_batcher_stats stats = stats_of(batcher);
    assert_int_equal(stats.running, 1); // still
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.expired, 1);
    let_leave(&d, OPEN);
    pacer_batcher_destroy(batcher);
    assert_int_equal(out, 0);
    assert_int_equal(d.entered, 1);
}

struct within {
    struct pacer_batcher *batcher;
    int in, out, status;
    uint64_t timeout_us;
};

static void *infer_within(void *arg) {
    struct within *w = arg;
    w->status = pacer_batcher_infer_within(w->batcher, &w->in, &w->out, w->timeout_us);
    return NULL;
}

static void what_is_being_computed_is_waited_for(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call first;
    struct within w = {.batcher = batcher, .in = 21, .timeout_us = 1000000};
    pthread_t thread;
    submit(batcher, &first, 1);
    wait_entered(&d, 1);
    uint64_t start_ns = pcr_clock_mono_ns();
    assert_int_equal(pthread_create(&thread, NULL, infer_within, &w), 0);
    while (stats_of(batcher).waiting == 0)
        usleep(100);
    let_leave(&d, 1);
    wait_entered(&d, 2); // the batcher's thread has it
    while (pcr_clock_mono_ns() - start_ns < 1100 * PCR_NS_PER_MS)
        usleep(10000);
    let_leave(&d, OPEN);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, 0);
    assert_int_equal(w.out, 42);
    pacer_batcher_destroy(batcher);
}

static void a_slow_first_run_is_not_held_against_the_others(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    d.sleep_us = 400000;
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.timeout_ms = 300});
    int in = 4, out = 0;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    d.sleep_us = 0;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    pacer_batcher_destroy(batcher);
}

static void what_was_learnt_is_doubted_when_nothing_runs(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    int in = 4, out = 0, code = -1;
    d.sleep_us = 30000;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    d.sleep_us = 0; // but how should anybody know, if all are refused?
    uint64_t start_ns = pcr_clock_mono_ns();
    while (code != 0 && pcr_clock_mono_ns() - start_ns < 30 * PCR_NS_PER_S) {
        usleep(1000);
        code = pacer_batcher_infer_within(batcher, &in, &out, 15000);
        assert_true(code == 0 || code == PACER_ETIMEDOUT);
    }
    assert_int_equal(code, 0);
    pacer_batcher_destroy(batcher);
}

static void a_window_is_waited_for(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_wait_ms = 300, .max_batch_size = 4});
    struct call calls[3];
    uint64_t start_ns = pcr_clock_mono_ns();
    for (int i = 0; i < 3; i++)
        submit(batcher, &calls[i], i);
    for (int i = 0; i < 3; i++)
        wait_done(&calls[i]);
    assert_true(pcr_clock_mono_ns() - start_ns >= 300 * PCR_NS_PER_MS);
    assert_int_equal(d.entered, 1);
    assert_int_equal(d.longest, 3);
    int in = 21, out = 0;
    start_ns = pcr_clock_mono_ns();
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    assert_true(pcr_clock_mono_ns() - start_ns >= 300 * PCR_NS_PER_MS);
    assert_int_equal(out, 42);
    pacer_batcher_destroy(batcher);
}

static void no_window_holds_a_full_batch_or_the_end(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(
        &d, (struct pacer_batcher_options){.max_wait_ms = 3600000, .max_batch_size = 4});
    struct call calls[5];
    for (int i = 0; i < 4; i++)
        submit(batcher, &calls[i], i);
    for (int i = 0; i < 4; i++)
        wait_done(&calls[i]);
    assert_int_equal(d.sizes[0], 4);
    submit(batcher, &calls[4], 4);
    pacer_batcher_destroy(batcher);
    assert_int_equal(calls[4].done, 1);
    assert_int_equal(calls[4].out, 8);
}

// --- taking back, ending ------------------------------------------------------------------------
static void what_waits_can_be_taken_back(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call running, waiting, other;
    init_call(&other, 3);
    assert_false(pacer_batcher_cancel(batcher, &other.item)); // never submitted
    submit(batcher, &running, 1);
    wait_entered(&d, 1);
    submit(batcher, &waiting, 2);
    submit(batcher, &other, 3);
    assert_false(pacer_batcher_cancel(batcher, &running.item));
    assert_true(pacer_batcher_cancel(batcher, &waiting.item));
    assert_int_equal(waiting.done, 1);
    assert_int_equal(waiting.item.status, PACER_ECANCELED);
    assert_false(pacer_batcher_cancel(batcher, &waiting.item));
    let_leave(&d, OPEN);
    wait_done(&other);
    assert_false(pacer_batcher_cancel(batcher, &other.item));
    assert_int_equal(stats_of(batcher).canceled, 1);
    assert_int_equal(pacer_batcher_submit(batcher, &waiting.item), 0); // and used again
    pacer_batcher_destroy(batcher);
    assert_int_equal(running.out, 2);
    assert_int_equal(other.out, 6);
    assert_int_equal(waiting.out, 4);
    assert_int_equal(waiting.done, 2);
}

static void what_waits_at_the_end_is_answered(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(0);
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_batch_size = 3, .threads = 2});
    struct call calls[20];
    for (int i = 0; i < 20; i++)
        submit(batcher, &calls[i], i);
    wait_entered(&d, 2);
    let_leave(&d, OPEN);
    pacer_batcher_destroy(batcher);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].item.status, 0);
        assert_int_equal(calls[i].out, 2 * i);
    }
    assert_int_equal(d.longest, 3);
}

struct chain {
    struct call call;
    struct pacer_batcher *batcher;
    atomic_int left, refusal;
};

static void submit_next(struct pacer_batch_item *item) {
    struct call *call = PCR_CONTAINER_OF(item, struct call, item);
    struct chain *chain = PCR_CONTAINER_OF(call, struct chain, call);
    if (item->status != 0 || call->out != 2 * call->in)
        return;
    call->in++;
    if (chain->left == 1) {
        chain->left = 0; // the last thing that is done with it
        return;
    }
    chain->left -= chain->left > 0;
    int code = pacer_batcher_submit(chain->batcher, item);
    if (code < 0)
        chain->refusal = code;
}

static void an_item_may_be_used_again_from_its_end(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct chain chain = {.left = 1000};
    chain.batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    init_call(&chain.call, 1000);
    chain.call.item.done = submit_next;
    assert_int_equal(pacer_batcher_submit(chain.batcher, &chain.call.item), 0);
    while (atomic_load(&chain.left) > 0)
        usleep(1000);
    pacer_batcher_destroy(chain.batcher);
    assert_int_equal(chain.call.in, 2000);
    assert_int_equal(chain.refusal, 0);
}

static void a_chain_without_end_is_ended_by_destroy(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct chain chain = {.left = -1};
    chain.batcher = open_batcher(&d, (struct pacer_batcher_options){.threads = 2});
    init_call(&chain.call, 1000);
    chain.call.item.done = submit_next;
    assert_int_equal(pacer_batcher_submit(chain.batcher, &chain.call.item), 0);
    wait_entered(&d, 10);
    pacer_batcher_destroy(chain.batcher);
    assert_int_equal(chain.refusal, PACER_ECANCELED);
    assert_true(chain.call.in >= 1010);
}

// --- all at once --------------------------------------------------------------------------------
static bool is_right(const struct call *call, int status) {
    switch (status) {
    case 0:
        return call->in >= 0 && call->in != CULPRIT && call->out == 2 * call->in;
    case PACER_EMODEL:
        return call->in == CULPRIT;
    case PACER_EINVAL:
        return call->in == -1;
    default:
        return status == PACER_EBUSY || status == PACER_ETIMEDOUT || status == PACER_ECANCELED;
    }
}

static void *do_anything(void *arg) {
    struct caller *caller = arg;
    struct call call;
    for (int i = 0; i < ROUNDS; i++) {
        int in = i % 37 == 36 ? CULPRIT : i % 41 == 40 ? -1 : 100000 + caller->number * 1000 + i;
        init_call(&call, in);
        int kind = (i + caller->number) % 4;
        if (kind == 0) {
            int status = pacer_batcher_infer_within(caller->batcher, &call.in, &call.out,
                                                    (uint64_t)(100 + i * 10));
            caller->wrong += !is_right(&call, status);
            continue;
        }
        call.item.timeout_us = kind == 1 ? 500 : 0;
        int code = pacer_batcher_submit(caller->batcher, &call.item);
        if (code == 0 && kind == 2)
            pacer_batcher_cancel(caller->batcher, &call.item);
        if (code == 0)
            wait_done(&call);
        caller->wrong +=
            !is_right(&call, code ? code : call.item.status) || call.done != (code == 0);
    }
    return NULL;
}

static void everything_adds_up(void **state) {
    (void)state;
    for (unsigned wait_ms = 0; wait_ms <= 1; wait_ms++) {
        struct doubler d = DOUBLER_INIT(OPEN);
        d.sleep_us = 100;
        struct pacer_batcher *batcher = open_batcher(
            &d, (struct pacer_batcher_options){
                    .threads = 2, .max_batch_size = 4, .max_queue = 5, .max_wait_ms = wait_ms});
        call_from_threads(batcher, do_anything);
        struct pacer_batcher_stats s = stats_of(batcher);
        pacer_batcher_destroy(batcher);
        uint64_t by_size = 0;
        for (size_t i = 0; i < PACER_BATCHER_SIZES; i++)
            by_size += s.by_size[i];
        assert_int_equal(s.items + s.failed + s.expired + s.canceled + s.refused + s.late,
                         CALLERS * ROUNDS);
        assert_int_equal(by_size, s.batches);
        assert_int_equal(d.entered, s.batches + s.failed_batches);
        assert_int_equal(s.waiting + s.running, 0);
        assert_true(d.longest <= 4 && d.most_running <= 2);
    }
}

static void older_programs_get_fewer_figures(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct pacer_batcher_stats stats = {.size = offsetof(struct pacer_batcher_stats, items)};
    int in = 1, out;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    stats.items = 77;
    pacer_batcher_stats(batcher, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.items, 77);
    stats.size = 0;
    stats.batches = 99;
    pacer_batcher_stats(batcher, &stats);
    assert_int_equal(stats.batches, 99);
    pacer_batcher_destroy(batcher);
}

static void options_are_looked_at(void **state) {
    (void)state;
    struct doubler d = DOUBLER_INIT(OPEN);
    struct pacer_batcher *batcher = NULL;
    struct pacer_error err;
    struct pacer_batcher_options options = PACER_BATCHER_OPTIONS_INIT;
    assert_int_equal(pacer_batcher_create(NULL, &d, &options, &batcher, &err), PACER_EINVAL);
    options.threads = 1000;
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "threads is 1000"));
    options.threads = 1;
    options.max_batch_size = UINT_MAX;
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "max_batch_size"));
    options = (struct pacer_batcher_options){.max_batch_size = 3};
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "PACER_BATCHER_OPTIONS_INIT"));
    options.size = sizeof options + 8; // of a newer caller
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    assert_null(batcher);
    options.size = offsetof(struct pacer_batcher_options, threads); // of an older one
    options.threads = 1000;
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), 0);
    pacer_batcher_destroy(batcher);
    assert_int_equal(pacer_batcher_create(run_doubler, &d, NULL, &batcher, NULL), 0);
    pacer_batcher_destroy(batcher);
    pacer_batcher_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_caller_runs_it_himself),
        cmocka_unit_test(nothing_is_held_while_nothing_runs),
        cmocka_unit_test(what_comes_during_a_run_makes_the_next_batch),
        cmocka_unit_test(so_many_batches_at_a_time),
        cmocka_unit_test(callers_at_once_share_batches),
        cmocka_unit_test(one_culprit_fails_alone),
        cmocka_unit_test(a_lone_culprit_is_not_tried_twice),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(what_cannot_be_submitted_is_said),
        cmocka_unit_test(time_that_cannot_suffice_is_refused_at_once),
        cmocka_unit_test(what_has_waited_too_long_is_not_computed),
        cmocka_unit_test(nobody_waits_longer_for_a_run_that_hangs),
        cmocka_unit_test(what_is_being_computed_is_waited_for),
        cmocka_unit_test(a_slow_first_run_is_not_held_against_the_others),
        cmocka_unit_test(what_was_learnt_is_doubted_when_nothing_runs),
        cmocka_unit_test(a_window_is_waited_for),
        cmocka_unit_test(no_window_holds_a_full_batch_or_the_end),
        cmocka_unit_test(what_waits_can_be_taken_back),
        cmocka_unit_test(what_waits_at_the_end_is_answered),
        cmocka_unit_test(an_item_may_be_used_again_from_its_end),
        cmocka_unit_test(a_chain_without_end_is_ended_by_destroy),
        cmocka_unit_test(everything_adds_up),
        cmocka_unit_test(older_programs_get_fewer_figures),
        cmocka_unit_test(options_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
