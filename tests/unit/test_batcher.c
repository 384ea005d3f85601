// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <pacer/batcher.h>

#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

// Doubles its input. A negative one fails alone; 666 fails the whole batch that it is in.
struct doubler {
    atomic_uint calls, longest, running, most_running;
    atomic_uint sleep_us;
    atomic_ulong last_thread;
};

static int run_doubler(void *ctx, struct pacer_batch_item *const *items, size_t n) {
    struct doubler *d = ctx;
    int code = 0;
    unsigned running = atomic_fetch_add(&d->running, 1) + 1;
    if (running > atomic_load(&d->most_running))
        atomic_store(&d->most_running, running);
    if (n > atomic_load(&d->longest))
        atomic_store(&d->longest, (unsigned)n);
    atomic_fetch_add(&d->calls, 1);
    atomic_store(&d->last_thread, pthread_self());
    usleep(atomic_load(&d->sleep_us));
    for (size_t i = 0; i < n; i++) {
        int in = *(const int *)items[i]->input;
        if (in == 666)
            code = PACER_EMODEL;
        else if (in < 0)
            items[i]->status = PACER_EINVAL;
        else
            *(int *)items[i]->output = 2 * in;
    }
    atomic_fetch_sub(&d->running, 1);
    return code;
}

static struct pacer_batcher *open_batcher(struct doubler *d, struct pacer_batcher_options options) {
    struct pacer_batcher *batcher = NULL;
    struct pacer_error err = {0};
    options.size = sizeof options;
    if (pacer_batcher_create(run_doubler, d, &options, &batcher, &err) < 0)
        fail_msg("%s", err.message);
    return batcher;
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

static void wait_done(struct call *call) {
    while (!atomic_load(&call->done))
        usleep(100);
}

static void a_lone_caller_runs_it_himself(void **state) {
    (void)state;
    struct doubler d = {0};
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct pacer_batcher_stats stats;
    for (int i = 0; i < 100; i++) {
        int out = 0;
        assert_int_equal(pacer_batcher_infer(batcher, &i, &out), 0);
        assert_int_equal(out, 2 * i);
        assert_true(pthread_equal(atomic_load(&d.last_thread), pthread_self()));
    }
    pacer_batcher_stats(batcher, &stats);
    assert_int_equal(stats.batches, 100);
    assert_int_equal(stats.items, 100);
    assert_int_equal(stats.waiting, 0);
    assert_true(stats.cost_us + stats.cost_item_us > 0);
    pacer_batcher_destroy(batcher);
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

static void callers_at_once_share_batches(void **state) {
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct doubler d = {.sleep_us = 200};
        struct pacer_batcher *batcher =
            open_batcher(&d, (struct pacer_batcher_options){.threads = threads});
        struct caller callers[CALLERS];
        pthread_t ids[CALLERS];
        struct pacer_batcher_stats stats;
        for (int i = 0; i < CALLERS; i++) {
            callers[i] = (struct caller){batcher, i, 0};
            assert_int_equal(pthread_create(&ids[i], NULL, call_often, &callers[i]), 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            pthread_join(ids[i], NULL);
            assert_int_equal(callers[i].wrong, 0);
        }
        pacer_batcher_stats(batcher, &stats);
        assert_int_equal(stats.items + stats.failed, CALLERS * ROUNDS);
        assert_int_equal(stats.failed, CALLERS * (ROUNDS / 50));
        assert_true(stats.batches < CALLERS * ROUNDS);
        assert_true(d.longest > 1);
        assert_true(d.most_running <= threads);
        pacer_batcher_destroy(batcher);
    }
}

static void one_culprit_fails_alone(void **state) {
    (void)state;
    struct doubler d = {.sleep_us = 20000};
    struct pacer_batcher *batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    struct call first, calls[6];
    init_call(&first, 1);
    assert_int_equal(pacer_batcher_submit(batcher, &first.item), 0);
    usleep(5000); // it is at work: the others will share
    for (int i = 0; i < 6; i++) {
        init_call(&calls[i], i == 2 ? 666 : i);
        assert_int_equal(pacer_batcher_submit(batcher, &calls[i].item), 0);
    }
    d.sleep_us = 0;
    for (int i = 0; i < 6; i++) {
        wait_done(&calls[i]);
        assert_int_equal(calls[i].item.status, i == 2 ? PACER_EMODEL : 0);
        assert_int_equal(calls[i].out, i == 2 ? 0 : 2 * i);
        assert_int_equal(calls[i].done, 1);
    }
    wait_done(&first);
    struct pacer_batcher_stats stats;
    pacer_batcher_stats(batcher, &stats);
    assert_int_equal(stats.retried, 6);
    assert_int_equal(stats.failed, 1);
    pacer_batcher_destroy(batcher);
}

static void a_batch_is_never_longer_than_it_may(void **state) {
    (void)state;
    struct doubler d = {.sleep_us = 1000};
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_batch_size = 3});
    struct call calls[20];
    for (int i = 0; i < 20; i++) {
        init_call(&calls[i], i);
        assert_int_equal(pacer_batcher_submit(batcher, &calls[i].item), 0);
    }
    pacer_batcher_destroy(batcher); // answers what was submitted
    for (int i = 0; i < 20; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].out, 2 * i);
    }
    assert_true(d.longest == 3);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    struct doubler d = {.sleep_us = 50000};
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_queue = 2, .max_batch_size = 1});
    struct call calls[10];
    int refused = 0;
    for (int i = 0; i < 10; i++) {
        init_call(&calls[i], i);
        int code = pacer_batcher_submit(batcher, &calls[i].item);
        assert_true(code == 0 || code == PACER_EBUSY);
        refused += code == PACER_EBUSY;
        calls[i].item.status = code;
    }
    assert_in_range(refused, 7, 8);
    struct pacer_batcher_stats stats;
    pacer_batcher_stats(batcher, &stats);
    assert_int_equal(stats.refused, refused);
    d.sleep_us = 0;
    pacer_batcher_destroy(batcher);
    int answered = 0;
    for (int i = 0; i < 10; i++)
        answered += calls[i].done;
    assert_int_equal(answered, 10 - refused);
}

static void time_that_is_up_is_said_at_once_or_later(void **state) {
    (void)state;
    struct doubler d = {.sleep_us = 30000};
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_batch_size = 1});
    struct call first, late, hopeless;
    int in = 1, out;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0); // now its cost is known
    init_call(&hopeless, 2);
    hopeless.item.timeout_us = 1000;
    assert_int_equal(pacer_batcher_submit(batcher, &hopeless.item), PACER_ETIMEDOUT);
    init_call(&first, 3);
    assert_int_equal(pacer_batcher_submit(batcher, &first.item), 0);
    usleep(5000);
    d.sleep_us = 200000; // which nobody could foresee
    init_call(&late, 4);
    late.item.timeout_us = 120000;
    struct call slow;
    init_call(&slow, 5);
    assert_int_equal(pacer_batcher_submit(batcher, &slow.item), 0);
    assert_int_equal(pacer_batcher_submit(batcher, &late.item), 0);
    wait_done(&late);
    assert_int_equal(late.item.status, PACER_ETIMEDOUT);
    assert_int_equal(late.out, 0);
    wait_done(&slow);
    assert_int_equal(slow.out, 10);
    d.sleep_us = 0;
    pacer_batcher_destroy(batcher);
    assert_int_equal(first.out, 6);
    assert_int_equal(hopeless.done, 0);
}

static void what_waits_can_be_taken_back(void **state) {
    (void)state;
    struct doubler d = {.sleep_us = 50000};
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_batch_size = 1});
    struct call running, waiting;
    init_call(&running, 1);
    init_call(&waiting, 2);
    assert_int_equal(pacer_batcher_submit(batcher, &running.item), 0);
    usleep(10000);
    assert_int_equal(pacer_batcher_submit(batcher, &waiting.item), 0);
    assert_false(pacer_batcher_cancel(batcher, &running.item));
    assert_true(pacer_batcher_cancel(batcher, &waiting.item));
    assert_int_equal(waiting.done, 1);
    assert_int_equal(waiting.item.status, PACER_ECANCELED);
    pacer_batcher_destroy(batcher);
    assert_int_equal(running.out, 2);
    assert_int_equal(waiting.done, 1);
}

static void a_window_is_waited_for(void **state) {
    (void)state;
    struct doubler d = {0};
    struct pacer_batcher *batcher =
        open_batcher(&d, (struct pacer_batcher_options){.max_wait_ms = 40, .max_batch_size = 4});
    struct call calls[7];
    uint64_t start_ns = pcr_clock_mono_ns();
    for (int i = 0; i < 3; i++) {
        init_call(&calls[i], i);
        assert_int_equal(pacer_batcher_submit(batcher, &calls[i].item), 0);
    }
    for (int i = 0; i < 3; i++)
        wait_done(&calls[i]);
    assert_true(pcr_clock_mono_ns() - start_ns >= 40 * PCR_NS_PER_MS);
    assert_int_equal(d.calls, 1);
    for (int i = 3; i < 7; i++) { // full: no reason to wait
        init_call(&calls[i], i);
        assert_int_equal(pacer_batcher_submit(batcher, &calls[i].item), 0);
    }
    for (int i = 3; i < 7; i++)
        wait_done(&calls[i]);
    assert_int_equal(d.longest, 4);
    int in = 21, out = 0;
    assert_int_equal(pacer_batcher_infer(batcher, &in, &out), 0);
    assert_int_equal(out, 42);
    pacer_batcher_destroy(batcher);
}

struct chain {
    struct call call;
    struct pacer_batcher *batcher;
    atomic_int left;
};

static void submit_next(struct pacer_batch_item *item) {
    struct call *call = PCR_CONTAINER_OF(item, struct call, item);
    struct chain *chain = PCR_CONTAINER_OF(call, struct chain, call);
    if (item->status != 0 || call->out != 2 * call->in)
        return;
    if (atomic_fetch_sub(&chain->left, 1) > 1) {
        call->in++;
        pacer_batcher_submit(chain->batcher, item);
    }
}

static void an_item_may_be_used_again_from_its_end(void **state) {
    (void)state;
    struct doubler d = {0};
    struct chain chain = {.left = 1000};
    chain.batcher = open_batcher(&d, (struct pacer_batcher_options){0});
    init_call(&chain.call, 1000);
    chain.call.item.done = submit_next;
    assert_int_equal(pacer_batcher_submit(chain.batcher, &chain.call.item), 0);
    while (atomic_load(&chain.left) > 0)
        usleep(1000);
    pacer_batcher_destroy(chain.batcher);
    assert_int_equal(chain.call.in, 1999);
}

static void options_are_looked_at(void **state) {
    (void)state;
    struct doubler d = {0};
    struct pacer_batcher *batcher = NULL;
    struct pacer_error err;
    struct pacer_batcher_options options = PACER_BATCHER_OPTIONS_INIT;
    assert_int_equal(pacer_batcher_create(NULL, &d, &options, &batcher, &err), PACER_EINVAL);
    options.threads = 1000;
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    options = (struct pacer_batcher_options){.max_batch_size = 3};
    assert_int_equal(pacer_batcher_create(run_doubler, &d, &options, &batcher, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "PACER_BATCHER_OPTIONS_INIT"));
    assert_null(batcher);
    assert_int_equal(pacer_batcher_create(run_doubler, &d, NULL, &batcher, &err), 0);
    pacer_batcher_destroy(batcher);
    pacer_batcher_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_caller_runs_it_himself),
        cmocka_unit_test(callers_at_once_share_batches),
        cmocka_unit_test(one_culprit_fails_alone),
        cmocka_unit_test(a_batch_is_never_longer_than_it_may),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(time_that_is_up_is_said_at_once_or_later),
        cmocka_unit_test(what_waits_can_be_taken_back),
        cmocka_unit_test(a_window_is_waited_for),
        cmocka_unit_test(an_item_may_be_used_again_from_its_end),
        cmocka_unit_test(options_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
