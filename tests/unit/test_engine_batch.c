// SPDX-License-Identifier: Apache-2.0
// Calls that share runs: each gets its own answer, whatever the others are.
#include "engine_fixture.h"

static int set_up(void **state) {
    static const char *const models[] = {
        "quick=plus1",
        "other=plus2",
        "slow",
        "gather",
        "mixed",
        "text=identity_string",
        "long_rows",
        "softmax_rows",
        "merged=softmax_rows",
        "dynamic_int8",
        "held=plus1",
        "single=slow",
        "off=plus1",
        "wide=identity_fp32",
    };
    static const struct pcr_model_config configs[] = {
        {.name = "merged", .merging = PCR_MERGING_ON},
        {.name = "held", .max_wait_ns = 30 * PCR_NS_PER_MS},
        {.name = "single", .instances = 1, .queue_max = 4, .timeout_ns = 60 * PCR_NS_PER_S},
        {.name = "off", .merging = PCR_MERGING_OFF},
    };
    *state = open_rig(models, PCR_COUNT_OF(models), configs, PCR_COUNT_OF(configs), 8);
    return *state ? 0 : -1;
}

#define CALLS 12

static void number_rows(struct request *q, float first) {
    for (int64_t i = 0; i < q->shape[0] * 4; i++)
        q->rows[i] = first + (float)i;
}

static void expect_rows(const struct request *q, float first, float plus) {
    assert_int_equal(q->call.status, 0);
    assert_int_equal(q->call.n_outputs, 1);
    assert_string_equal(q->call.outputs[0].name, "Y");
    assert_int_equal(q->call.outputs[0].rank, 2);
    assert_int_equal(q->call.outputs[0].shape[0], q->shape[0]);
    assert_int_equal(q->call.outputs[0].shape[1], 4);
    const float *data = q->call.outputs[0].data;
    for (int64_t i = 0; i < q->shape[0] * 4; i++)
        assert_true(data[i] == first + (float)i + plus);
}

static struct pcr_model_stats stats_of_model(struct rig *rig, const char *name) {
    struct pcr_model_stats stats;
    struct pcr_model *model = pcr_repository_get(rig->repository, pcr_str(name), PCR_STR(""), NULL);
    pcr_model_stats(model, &stats);
    pcr_model_unref(model);
    return stats;
}

static uint64_t runs_of(struct rig *rig, const char *name) {
    return stats_of_model(rig, name).execution_count;
}

// --- sharing ------------------------------------------------------------------------------------
static void calls_of_one_turn_share_a_run(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    struct pcr_model_sizes before, after;
    uint64_t runs = runs_of(rig, "quick");
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "quick", 1 + (int64_t)i % 3);
        number_rows(&q[i], (float)(100 * i));
    }
    pcr_model_sizes(q[0].call.model, &before);
    for (size_t i = 0; i < CALLS; i++)
        pcr_engine_submit(rig->engine, &q[i].call);
    finish(rig);
    pcr_model_sizes(q[0].call.model, &after);
    for (size_t i = 0; i < CALLS; i++)
        expect_rows(&q[i], (float)(100 * i), 1);
    assert_int_equal(runs_of(rig, "quick") - runs, 1);
    assert_int_equal(after.count[24] - before.count[24], 1); // 4 × (1 + 2 + 3) rows
    assert_int_equal(after.rows - before.rows, 24);
    for (size_t i = 0; i < CALLS; i++)
        end(&q[i]);
}

static void models_are_kept_apart(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    uint64_t one = runs_of(rig, "quick"), two = runs_of(rig, "other"), off = runs_of(rig, "off");
    static const char *const names[] = {"quick", "other", "off"};
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], names[i % 3], 1);
        number_rows(&q[i], (float)i);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        expect_rows(&q[i], (float)i, i % 3 == 1 ? 2 : 1);
        end(&q[i]);
    }
    assert_int_equal(runs_of(rig, "quick") - one, 1);
    assert_int_equal(runs_of(rig, "other") - two, 1);
    assert_int_equal(runs_of(rig, "off") - off, 4); // merge: off
}

static void shapes_are_kept_apart(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    uint64_t runs = runs_of(rig, "wide");
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "wide", 6);
        number_rows(&q[i], (float)(i * 10));
        q[i].input.name = "INPUT0";
        q[i].shape[0] = i % 2 ? 6 : 8; // 24 elements as 6 × 4 or 8 × 3
        q[i].shape[1] = i % 2 ? 4 : 3;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        assert_int_equal(q[i].call.outputs[0].shape[0], q[i].shape[0]);
        assert_int_equal(q[i].call.outputs[0].shape[1], q[i].shape[1]);
        assert_memory_equal(q[i].call.outputs[0].data, q[i].rows, 24 * sizeof(float));
        end(&q[i]);
    }
    assert_int_equal(runs_of(rig, "wide") - runs, 2);
}

static void texts_are_shared_too(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    static const struct pacer_bytes words[] = {{"", 0}, {"a\0b", 3}, {"Zürich", 7}, {"long", 4}};
    uint64_t runs = runs_of(rig, "text");
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "text", 1);
        q[i].shape[0] = 2;
        q[i].shape[1] = 1;
        q[i].input = (struct pacer_tensor){"INPUT0", PACER_BYTES, 2, q[i].shape, &words[i % 3]};
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    assert_int_equal(runs_of(rig, "text") - runs, 1);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        assert_int_equal(q[i].call.outputs[0].shape[0], 2);
        const struct pacer_bytes *got = q[i].call.outputs[0].data;
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(got[k].size, words[i % 3 + k].size);
            assert_memory_equal(got[k].data, words[i % 3 + k].data, got[k].size);
        }
        end(&q[i]);
    }
}

static void begin_long(struct rig *rig, struct request *q, size_t i) {
    begin(rig, q, "long_rows", 1);
    q->shape[1] = 2;
    q->rows[0] = (float)i;
    q->rows[1] = -(float)i;
}

static void expect_long(const struct request *q, size_t i) {
    assert_int_equal(q->call.status, 0);
    assert_int_equal(q->call.outputs[0].shape[1], 4096);
    const float *data = q->call.outputs[0].data;
    for (size_t k = 0; k < 4096; k++)
        assert_true(data[k] == (k % 2 ? -(float)i : (float)i));
}

static void *end_elsewhere(void *request) {
    end(request);
    return NULL;
}

// Long outputs are views into the batch's: the last of its calls frees them, on whatever thread.
static void long_outputs_outlive_the_others(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        begin_long(rig, &q[i], i);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t k = 0; k < CALLS; k++) {
        size_t i = k * 5 % CALLS; // in no particular order
        pthread_t thread;
        expect_long(&q[i], i);
        assert_int_equal(pthread_create(&thread, NULL, end_elsewhere, &q[i]), 0);
        pthread_join(thread, NULL);
    }
}

static void outputs_asked_for_are_kept_apart(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    static const char *const one[] = {"fp32_out"}, *const both[] = {"bool_out", "fp32_out"};
    static const bool flags[2] = {true, false};
    static const int64_t whole[2] = {7, -7};
    static const struct pacer_bytes words[2] = {{"x", 1}, {"yz", 2}};
    struct pacer_tensor inputs[CALLS][4];
    uint64_t runs = runs_of(rig, "mixed");
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "mixed", 1);
        q[i].shape[1] = 2;
        q[i].rows[0] = (float)i;
        inputs[i][0] = (struct pacer_tensor){"fp32", PACER_FP32, 2, q[i].shape, q[i].rows};
        inputs[i][1] = (struct pacer_tensor){"int64", PACER_INT64, 2, q[i].shape, whole};
        inputs[i][2] = (struct pacer_tensor){"bool", PACER_BOOL, 2, q[i].shape, flags};
        inputs[i][3] = (struct pacer_tensor){"bytes", PACER_BYTES, 2, q[i].shape, words};
        q[i].call.run = (struct pacer_run){inputs[i], 4, i % 2 ? both : one, i % 2 ? 2 : 1};
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        assert_int_equal(q[i].call.n_outputs, i % 2 ? 2 : 1);
        const struct pacer_tensor *floats = &q[i].call.outputs[i % 2];
        assert_string_equal(floats->name, "fp32_out");
        assert_true(((const float *)floats->data)[0] == (float)i);
        end(&q[i]);
    }
    assert_int_equal(runs_of(rig, "mixed") - runs, 2);
}

// --- faults -------------------------------------------------------------------------------------
static void one_bad_call_fails_alone(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    struct pcr_model_stats before = stats_of_model(rig, "gather");
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "gather", 1);
        int64_t *index = (void *)q[i].rows;
        index[0] = i == 5 ? 10 : (int64_t)i % 10;
        q[i].input = (struct pacer_tensor){"INDEX", PACER_INT64, 1, q[i].shape, index};
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    struct pcr_model_stats after = stats_of_model(rig, "gather");
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, i == 5 ? PACER_EMODEL : 0);
        if (i == 5)
            assert_non_null(strstr(q[i].call.error.message, "10"));
        else
            assert_true(*(const float *)q[i].call.outputs[0].data == (float)(i % 10 * (i % 10)));
        end(&q[i]);
    }
    assert_int_equal(after.retried_count - before.retried_count, CALLS);
    assert_int_equal(after.success_count - before.success_count, CALLS - 1);
    assert_int_equal(after.fail_count - before.fail_count, 1);
    assert_int_equal(after.execution_count - before.execution_count, CALLS - 1);
}

static void no_rows_are_no_trouble(void **state) {
    struct rig *rig = *state;
    struct request q[3];
    for (size_t i = 0; i < 3; i++) {
        begin(rig, &q[i], "quick", i == 1 ? 0 : 2);
        number_rows(&q[i], (float)i);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < 3; i++) {
        expect_rows(&q[i], (float)i, 1);
        end(&q[i]);
    }
}

static void a_call_without_memory_fails_alone(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        begin_long(rig, &q[i], i);
        q[i].arena.max_bytes = i == 3 ? 1 : q[i].arena.max_bytes;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        if (i == 3)
            assert_int_equal(q[i].call.status, PACER_ENOMEM);
        else
            expect_long(&q[i], i);
        end(&q[i]);
    }
}

// --- rows that are not apart --------------------------------------------------------------------
static float first_of(const struct request *q) {
    assert_int_equal(q->call.status, 0);
    return ((const float *)q->call.outputs[0].data)[0];
}

static void strangers_do_not_change_an_answer(void **state) {
    struct rig *rig = *state;
    static const char *const names[] = {"softmax_rows", "dynamic_int8", "merged"};
    for (size_t m = 0; m < PCR_COUNT_OF(names); m++) {
        struct request alone, q[4];
        begin(rig, &alone, names[m], 1);
        assert_int_equal(alone.call.model->merges, m == 2);
        assert_int_equal(pcr_session_rows(alone.call.model->session), PCR_ROWS_TOGETHER);
        alone.rows[0] = 1;
        pcr_engine_submit(rig->engine, &alone.call);
        finish(rig);
        uint64_t runs = runs_of(rig, names[m]);
        for (size_t i = 0; i < 4; i++) {
            begin(rig, &q[i], names[m], 1);
            q[i].rows[0] = i == 0 ? 1 : 50;
            pcr_engine_submit(rig->engine, &q[i].call);
        }
        finish(rig);
        assert_int_equal(runs_of(rig, names[m]) - runs, m == 2 ? 1 : 4);
        if (m < 2)
            assert_true(first_of(&q[0]) == first_of(&alone));
        else // as it was asked for
            assert_true(first_of(&q[0]) != first_of(&alone));
        for (size_t i = 0; i < 4; i++)
            end(&q[i]);
        end(&alone);
    }
}

static void rows_asked_for_alone_are_computed_alone(void **state) {
    struct rig *rig = *state;
    for (int alone = 0; alone < 2; alone++) {
        struct request q;
        uint64_t runs = runs_of(rig, "softmax_rows");
        begin(rig, &q, "softmax_rows", 3);
        number_rows(&q, 0);
        q.call.rows_alone = alone;
        pcr_engine_submit(rig->engine, &q.call);
        finish(rig);
        assert_int_equal(q.call.status, 0);
        assert_int_equal(q.call.outputs[0].shape[0], 3);
        const float *data = q.call.outputs[0].data;
        for (size_t i = 0; i < 12; i++) // the softmax of one is 1
            assert_int_equal(data[i] == 1, alone);
        assert_int_equal(runs_of(rig, "softmax_rows") - runs, alone ? 3 : 1);
        end(&q);
    }
}

// --- pieces -------------------------------------------------------------------------------------
// Makes the model look so dear that a call is computed in pieces of B rows.
static void publish_dear(const struct pcr_model *model) {
    struct pcr_cost cost;
    pcr_cost_init(&cost);
    pcr_cost_sweep(&cost, 1, PCR_NS_PER_MS);
    pcr_cost_sweep(&cost, 100, 100 * PCR_NS_PER_MS);
    pcr_model_queue_publish_cost(pcr_model_queue(model), &cost);
}

static void long_calls_come_in_pieces(void **state) {
    struct rig *rig = *state;
    struct request longer, q[CALLS];
    begin(rig, &longer, "quick", 5000);
    number_rows(&longer, 0);
    uint64_t runs = runs_of(rig, "quick");
    publish_dear(longer.call.model);
    pcr_engine_submit(rig->engine, &longer.call);
    run_turn(rig);
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "quick", 1);
        number_rows(&q[i], (float)i);
        publish_dear(q[i].call.model);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    expect_rows(&longer, 0, 1);
    uint64_t least = 5000 / longer.call.model->rows_max;
    assert_true(runs_of(rig, "quick") - runs >= least);
    for (size_t i = 0; i < CALLS; i++) {
        expect_rows(&q[i], (float)i, 1);
        end(&q[i]);
    }
    end(&longer);
}

// --- leaving ------------------------------------------------------------------------------------
static void canceled_calls_leave_from_wherever_they_are(void **state) {
    struct rig *rig = *state;
    static const char *const names[] = {"quick", "slow", "single"};
    for (size_t m = 0; m < PCR_COUNT_OF(names); m++) {
        struct request running, here, there;
        struct pcr_model_stats before = stats_of_model(rig, names[m]);
        begin(rig, &running, names[m], 1);
        begin(rig, &here, names[m], 1);
        begin(rig, &there, names[m], 1);
        if (m > 0) { // on the worker, so that the others wait
            pcr_engine_submit(rig->engine, &running.call);
            run_turn(rig);
            usleep(1000);
        }
        pcr_engine_submit(rig->engine, &there.call);
        if (m > 0)
            run_turn(rig);
        pcr_engine_submit(rig->engine, &here.call);
        size_t pending = rig->pending;
        pcr_engine_cancel(&here.call); // has not left the turn
        assert_int_equal(here.call.status, PACER_ECANCELED);
        assert_int_equal(rig->pending, pending - 1);
        if (!there.is_done) // it may have been computed by now
            pcr_engine_cancel(&there.call);
        if (m == 0)
            pcr_engine_submit(rig->engine, &running.call);
        finish(rig);
        assert_int_equal(running.call.status, 0);
        assert_true(there.call.status == PACER_ECANCELED || there.call.status == 0);
        struct pcr_model_stats after = stats_of_model(rig, names[m]);
        uint64_t canceled = after.canceled_count - before.canceled_count;
        assert_int_equal(canceled, there.call.status == 0 ? 1 : 2);
        assert_int_equal(after.fail_count - before.fail_count, canceled);
        end(&running);
        end(&here);
        end(&there);
    }
}

static struct request *to_cancel;

static void cancel_another(struct pcr_infer_call *call) {
    if (to_cancel) {
        struct request *other = to_cancel;
        to_cancel = NULL;
        pcr_engine_cancel(&other->call);
    }
    on_done(call);
}

// The other one is computed already, and waits for its own end.
static void an_end_may_cancel_another_of_the_batch(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "quick", 1);
        number_rows(&q[i], (float)i);
        q[i].call.done = cancel_another;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    to_cancel = &q[7];
    finish(rig);
    to_cancel = NULL;
    for (size_t i = 0; i < CALLS; i++) {
        expect_rows(&q[i], (float)i, 1);
        end(&q[i]);
    }
}

struct chain {
    struct request request;
    struct rig *rig;
    int left;
};

static void submit_again(struct pcr_infer_call *call) {
    struct request *q = PCR_CONTAINER_OF(call, struct request, call);
    struct chain *chain = PCR_CONTAINER_OF(q, struct chain, request);
    struct rig *rig = chain->rig;
    expect_rows(q, 5, 1);
    end(q);
    if (chain->left-- > 0) {
        begin(rig, q, "quick", 1);
        number_rows(q, 5);
        q->call.done = submit_again;
        pcr_engine_submit(rig->engine, &q->call);
    }
    if (--rig->pending == 0)
        pcr_loop_stop(rig->loop);
}

static void an_end_may_submit_the_next(void **state) {
    struct rig *rig = *state;
    struct chain chains[3];
    for (size_t i = 0; i < 3; i++) {
        chains[i].rig = rig;
        chains[i].left = 500;
        begin(rig, &chains[i].request, "quick", 1);
        number_rows(&chains[i].request, 5);
        chains[i].request.call.done = submit_again;
        pcr_engine_submit(rig->engine, &chains[i].request.call);
    }
    finish(rig);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(chains[i].left, -1);
}

static int refuse_to_be_read(struct pcr_infer_call *call) {
    return pcr_err(&call->error, PACER_EINTERNAL, "test", "it was read");
}

// --- time ---------------------------------------------------------------------------------------
static void what_cannot_be_met_is_refused_at_arrival(void **state) {
    struct rig *rig = *state;
    struct request q[3], hopeless;
    for (size_t i = 0; i < 3; i++) {
        begin(rig, &q[i], "single", 1);
        pcr_engine_submit(rig->engine, &q[i].call);
        run_turn(rig);
    }
    begin(rig, &hopeless, "single", 1);
    struct pcr_model_load load;
    pcr_model_load_now(hopeless.call.model, &load);
    assert_true(load.a_ns + load.b_ns > 100000); // forty products of matrices
    hopeless.call.timeout_ns = 10 * PCR_NS_PER_US;
    hopeless.call.read = refuse_to_be_read; // nor is it worth reading
    pcr_engine_submit(rig->engine, &hopeless.call);
    assert_int_equal(hopeless.call.status, PACER_ETIMEDOUT);
    assert_true(hopeless.call.retry_ns == PCR_RETRY_NEVER);
    assert_non_null(strstr(hopeless.call.error.message, "even if nothing else waited"));
    finish(rig);
    end(&hopeless);
    for (size_t i = 0; i < 3; i++)
        end(&q[i]);
}

static void a_full_queue_says_when_to_come_back(void **state) {
    struct rig *rig = *state;
    struct request q[20];
    size_t refused = 0;
    for (size_t i = 0; i < 20; i++) {
        begin(rig, &q[i], "single", 1);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < 20; i++) {
        if (q[i].call.status == PACER_EBUSY) {
            refused++;
            assert_true(q[i].call.retry_ns > 0 && q[i].call.retry_ns < PCR_NS_PER_S * 60);
        } else {
            assert_int_equal(q[i].call.status, 0);
        }
        end(&q[i]);
    }
    assert_int_equal(refused, 16); // queue_max is 4, and all came at once
}

static void a_window_fills_a_run(void **state) {
    struct rig *rig = *state;
    struct request q[4];
    uint64_t runs = runs_of(rig, "held");
    uint64_t start_ns = pcr_clock_mono_ns();
    for (size_t i = 0; i < 4; i++) {
        begin(rig, &q[i], "held", 1);
        number_rows(&q[i], (float)i);
        pcr_engine_submit(rig->engine, &q[i].call);
        run_turn(rig);
        usleep(1000);
    }
    finish(rig);
    assert_true(pcr_clock_mono_ns() - start_ns >= 30 * PCR_NS_PER_MS);
    for (size_t i = 0; i < 4; i++) {
        expect_rows(&q[i], (float)i, 1);
        end(&q[i]);
    }
    uint64_t more = runs_of(rig, "held") - runs;
    assert_true(more >= 1 && more <= 2); // a slow machine may need a second window
    begin(rig, &q[0], "held", 1);        // which no deadline has to wait for
    q[0].call.timeout_ns = 5 * PCR_NS_PER_MS;
    start_ns = pcr_clock_mono_ns();
    pcr_engine_submit(rig->engine, &q[0].call);
    finish(rig);
    assert_true(q[0].call.status == PACER_ETIMEDOUT ||
                pcr_clock_mono_ns() - start_ns < 30 * PCR_NS_PER_MS);
    end(&q[0]);
}

// --- many threads -------------------------------------------------------------------------------
#define LOOPS 3
#define ROUNDS 60

struct caller { // a loop on a thread of its own
    struct rig rig;
    unsigned number;
    size_t computed, canceled, late, busy;
};

static void check_one(struct caller *caller, struct request *q, float first, float plus) {
    switch (q->call.status) {
    case 0:
        expect_rows(q, first, plus);
        caller->computed++;
        break;
    case PACER_ECANCELED:
        caller->canceled++;
        break;
    case PACER_ETIMEDOUT:
        caller->late++;
        break;
    default:
        assert_int_equal(q->call.status, PACER_EBUSY);
        caller->busy++;
    }
    end(q);
}

static void *call_on(void *arg) {
    static const char *const names[] = {"quick", "other", "slow", "held"};
    struct caller *caller = arg;
    struct rig *rig = &caller->rig;
    unsigned random = caller->number * 7919 + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct request q[CALLS];
        for (size_t i = 0; i < CALLS; i++) {
            random = random * 1664525 + 1013904223;
            begin(rig, &q[i], names[random >> 30], 1 + (random >> 20) % 4);
            number_rows(&q[i], (float)(round * 100 + i));
            q[i].call.priority = (random >> 10) % PCR_PRIORITIES;
            if ((random >> 8) % 4 == 0)
                q[i].call.timeout_ns = (1 + (random >> 12) % 20) * PCR_NS_PER_MS;
        }
        for (size_t i = 0; i < CALLS; i++) {
            pcr_engine_submit(rig->engine, &q[i].call);
            if (i % 5 == 4)
                run_turn(rig);
            if (i % 7 == 6 && !q[i - 3].is_done)
                pcr_engine_cancel(&q[i - 3].call);
        }
        finish(rig);
        for (size_t i = 0; i < CALLS; i++)
            check_one(caller, &q[i], (float)(round * 100 + i),
                      strcmp(q[i].call.model->name, "other") == 0  ? 2
                      : strcmp(q[i].call.model->name, "slow") == 0 ? 0
                                                                   : 1);
    }
    return NULL;
}

static void many_loops_get_their_own_answers(void **state) {
    struct rig *rig = *state;
    struct caller callers[LOOPS] = {0};
    pthread_t threads[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        callers[i].rig = *rig;
        callers[i].number = i;
        assert_int_equal(pcr_loop_create(&callers[i].rig.loop, NULL), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, call_on, &callers[i]), 0);
    }
    size_t computed = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        pthread_join(threads[i], NULL);
        pcr_loop_destroy(callers[i].rig.loop);
        computed += callers[i].computed;
    }
    assert_true(computed > LOOPS * ROUNDS * CALLS / 4);
}

int main(void) {
    pcr_log_configure(&(struct pcr_log_options){.level = (enum pcr_log_level)99});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_one_turn_share_a_run),
        cmocka_unit_test(models_are_kept_apart),
        cmocka_unit_test(shapes_are_kept_apart),
        cmocka_unit_test(texts_are_shared_too),
        cmocka_unit_test(long_outputs_outlive_the_others),
        cmocka_unit_test(outputs_asked_for_are_kept_apart),
        cmocka_unit_test(one_bad_call_fails_alone),
        cmocka_unit_test(no_rows_are_no_trouble),
        cmocka_unit_test(a_call_without_memory_fails_alone),
        cmocka_unit_test(strangers_do_not_change_an_answer),
        cmocka_unit_test(rows_asked_for_alone_are_computed_alone),
        cmocka_unit_test(long_calls_come_in_pieces),
        cmocka_unit_test(canceled_calls_leave_from_wherever_they_are),
        cmocka_unit_test(an_end_may_cancel_another_of_the_batch),
        cmocka_unit_test(an_end_may_submit_the_next),
        cmocka_unit_test(what_cannot_be_met_is_refused_at_arrival),
        cmocka_unit_test(a_full_queue_says_when_to_come_back),
        cmocka_unit_test(a_window_fills_a_run),
        cmocka_unit_test(many_loops_get_their_own_answers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
