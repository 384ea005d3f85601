// SPDX-License-Identifier: Apache-2.0
// The engine where several things happen at once: ends that submit and cancel, stops in the middle
// of a call, models that share workers, and estimates that were wrong.
#include "engine_fixture.h"

#define CALLS 12

static int set_up(void **state) {
    static const char *const models[] = {
        "quick=plus1",        "other=plus2",         "slow",         "single=slow",
        "one=slow",           "merged=softmax_rows", "gather",       "quick_there=plus1",
        "text=simple_string", "long_rows",           "dynamic_int8", "narrow=plus1",
        "pieces=plus1",       "one_row=slow",
    };
    static const struct pcr_model_config configs[] = {
        {.name = "merged", .merging = PCR_MERGING_ON},
        {.name = "single", .instances = 1, .queue_max = 2, .merging = PCR_MERGING_OFF},
        {.name = "one", .instances = 1, .merging = PCR_MERGING_OFF},
        {.name = "one_row", .merging = PCR_MERGING_OFF},
        {.name = "quick_there", .merging = PCR_MERGING_OFF},
        {.name = "narrow", .queue_max = 3},
    };
    *state = open_rig(models, PCR_COUNT_OF(models), configs, PCR_COUNT_OF(configs), 8);
    return *state ? 0 : -1;
}

static void number_rows(struct request *q, float first) {
    for (int64_t i = 0; i < q->shape[0] * 4; i++)
        q->rows[i] = first + (float)i;
}

static bool has_rows(const struct request *q, float first, float plus) {
    const struct pacer_tensor *out = q->call.outputs;
    if (q->call.status != 0 || q->call.n_outputs != 1 || out->shape[0] != q->shape[0])
        return false;
    for (int64_t i = 0; i < q->shape[0] * 4; i++)
        if (((const float *)out->data)[i] != first + (float)i + plus)
            return false;
    return true;
}

static uint64_t runs_of(const struct request *q) {
    return stats_of(q).execution_count;
}

// As if the warm-up had found it dear: it is run by workers only.
static void make_dear(struct request *q) {
    q->call.model->run_ns = UINT64_MAX;
}

static struct request *order[64];
static size_t n_ordered;

static void note_order(struct pcr_infer_call *call) {
    order[n_ordered++] = PCR_CONTAINER_OF(call, struct request, call);
    on_done(call);
}

static void wait_for_runs(struct rig *rig, const struct request *q, uint64_t runs) {
    while (!q->is_done && runs_of(q) < runs)
        run_turn(rig);
}

// What it takes on this machine now: a run of one row.
static uint64_t time_of(struct rig *rig, const char *name) {
    struct request q;
    begin(rig, &q, name, 1);
    pcr_engine_submit(rig->engine, &q.call);
    finish(rig);
    uint64_t ns = q.call.infer_ns;
    end(&q);
    return ns;
}

// --- the loops' side ----------------------------------------------------------------------------
// Another model takes the place of a queue that a cancel has emptied.
static void a_place_is_given_up_with_its_last_call(void **state) {
    struct rig own = *(struct rig *)*state;
    struct rig *rig = &own;
    struct request q[3];
    assert_int_equal(pcr_loop_create(&rig->loop, NULL), 0);
    begin(rig, &q[0], "quick", 1);
    begin(rig, &q[1], "other", 1);
    begin(rig, &q[2], "quick", 1);
    uint64_t serial = q[1].call.model->serial;
    q[1].call.model->serial = q[0].call.model->serial + 64; // the same place
    pcr_engine_submit(rig->engine, &q[0].call);
    pcr_engine_cancel(&q[0].call);
    assert_int_equal(q[0].call.status, PACER_ECANCELED);
    for (size_t i = 1; i < 3; i++) {
        number_rows(&q[i], 3);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    assert_true(has_rows(&q[1], 3, 2));
    assert_true(has_rows(&q[2], 3, 1));
    q[1].call.model->serial = serial;
    for (size_t i = 0; i < 3; i++)
        end(&q[i]);
    alarm(60); // it waits for the end of what is deferred
    pcr_loop_destroy(rig->loop);
    alarm(0);
}

static struct request *follower;

static void submit_follower(struct pcr_infer_call *call) {
    struct rig *rig = call->user;
    if (call->status == PACER_EBUSY && follower) {
        struct request *next = follower;
        follower = NULL;
        usleep(1000); // which the turn's own clock does not see
        pcr_engine_submit(rig->engine, &next->call);
    }
    on_done(call);
}

static void what_an_end_submits_has_not_waited_before(void **state) {
    struct rig *rig = *state;
    struct request q[8], next;
    for (size_t i = 0; i < 8; i++) {
        begin(rig, &q[i], "single", 1);
        q[i].call.done = submit_follower;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    begin(rig, &next, "quick", 1);
    follower = &next;
    finish(rig);
    assert_null(follower);
    assert_int_equal(next.call.status, 0);
    assert_true(next.call.queue_ns < 60 * PCR_NS_PER_S);
    for (size_t i = 0; i < 8; i++)
        end(&q[i]);
    end(&next);
}

static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;

static int read_when_let(struct pcr_infer_call *call) {
    (void)call; // its run is there
    pthread_mutex_lock(&reading);
    pthread_mutex_unlock(&reading);
    return 0;
}

static void a_turn_refuses_what_a_model_lets_nobody_wait_for(void **state) {
    struct rig *rig = *state;
    struct request q[6];
    size_t refused = 0;
    for (size_t i = 0; i < 6; i++) {
        begin(rig, &q[i], "narrow", 1);
        number_rows(&q[i], (float)i);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < 6; i++) {
        refused += q[i].call.status == PACER_EBUSY;
        assert_true(q[i].call.status == PACER_EBUSY || has_rows(&q[i], (float)i, 1));
        end(&q[i]);
    }
    assert_int_equal(refused, 3); // queue_max
}

static void too_many_large_requests_are_refused_in_their_own_words(void **state) {
    struct rig *rig = *state;
    struct request q[16];
    size_t refused = 0;
    pthread_mutex_lock(&reading);
    for (size_t i = 0; i < 16; i++) { // one is being read, 8 wait to be
        begin(rig, &q[i], "quick", 1);
        number_rows(&q[i], (float)i);
        q[i].call.is_large = true;
        q[i].call.read = read_when_let;
        pcr_engine_submit(rig->engine, &q[i].call);
        refused += q[i].is_done;
        assert_true(!q[i].is_done || q[i].call.status == PACER_EBUSY);
        assert_true(!q[i].is_done || strstr(q[i].call.error.message, "wait to be read"));
    }
    assert_in_range(refused, 7, 8);
    pcr_engine_cancel(&q[7].call); // it waits, and is not read at all
    pthread_mutex_unlock(&reading);
    finish(rig);
    for (size_t i = 0; i < 16; i++) {
        if (i == 7)
            assert_int_equal(q[i].call.status, PACER_ECANCELED);
        else
            assert_true(q[i].call.status == PACER_EBUSY || has_rows(&q[i], (float)i, 1));
        end(&q[i]);
    }
}

// --- rows that are not apart --------------------------------------------------------------------
static void what_rows_do_to_each_other_is_found_out(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum pcr_rows rows;
    } models[] = {
        {"softmax_rows.onnx", PCR_ROWS_TOGETHER},
        {"dynamic_int8.onnx", PCR_ROWS_TOGETHER},
        {"centered_rows.onnx", PCR_ROWS_TOGETHER},
        {"summed_rows.onnx", PCR_ROWS_TOGETHER},
        {"sorted_rows.onnx", PCR_ROWS_TOGETHER},
        {"plus1.onnx", PCR_ROWS_APART},
        {"simple.onnx", PCR_ROWS_APART},
        {"simple_string.onnx", PCR_ROWS_APART},
        {"mixed.onnx", PCR_ROWS_APART},
        {"identity_string.onnx", PCR_ROWS_APART},
        {"identity_fp16.onnx", PCR_ROWS_APART},
        {"identity_bool.onnx", PCR_ROWS_APART},
        {"classifier.onnx", PCR_ROWS_APART},
        {"gather.onnx", PCR_ROWS_APART},
        {"default_input.onnx", PCR_ROWS_APART},
        {"reshape3.onnx", PCR_ROWS_UNKNOWN},
        {"fixed_batch.onnx", PCR_ROWS_NONE},
        {"nonzero.onnx", PCR_ROWS_NONE},
        {"scalar_output.onnx", PCR_ROWS_NONE},
        {"no_shape.onnx", PCR_ROWS_NONE},
        {"no_inputs.onnx", PCR_ROWS_NONE},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(models); i++) {
        struct pacer_session *session = open_model(models[i].name);
        if (pcr_session_rows(session) != models[i].rows)
            fail_msg("%s: %d", models[i].name, (int)pcr_session_rows(session));
        pacer_session_put(session);
    }
}

static void rows_asked_for_alone_never_share_a_run(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "merged", 1 + (int64_t)i % 3);
        number_rows(&q[i], (float)i);
        q[i].call.rows_alone = i % 4 != 3; // in between are some that do share
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    assert_true(q[0].call.model->merges);
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        const float *data = q[i].call.outputs[0].data;
        for (int64_t k = 0; k < 4 * q[i].shape[0] && i % 4 != 3; k++)
            assert_true(data[k] == 1); // the softmax of one
        end(&q[i]);
    }
}

// Many runs of one row say nothing of what one run of many rows costs.
static void rows_computed_alone_teach_nothing_of_batches(void **state) {
    struct rig *rig = *state;
    uint64_t before_ns = 0;
    for (size_t i = 0; i < 200; i++) {
        struct request q;
        begin(rig, &q, "dynamic_int8", 64);
        number_rows(&q, 0);
        q.call.rows_alone = true;
        if (i == 0)
            before_ns = pcr_model_queue_cost_ns(pcr_model_queue(q.call.model), 64);
        pcr_engine_submit(rig->engine, &q.call);
        finish(rig);
        assert_int_equal(q.call.status, 0);
        if (i == 199)
            assert_true(pcr_model_queue_cost_ns(pcr_model_queue(q.call.model), 64) <=
                        2 * before_ns);
        end(&q);
    }
}

static void a_call_may_be_canceled_between_rows(void **state) {
    struct rig *rig = *state;
    for (int late = 0; late < 2; late++) {
        struct request q;
        uint64_t ns = time_of(rig, "one_row");
        begin(rig, &q, "one_row", 40);
        q.call.rows_alone = true;
        q.call.model->rows_are_apart = false; // as if it were so
        q.call.timeout_ns = late ? 4 * ns : 0;
        uint64_t before = runs_of(&q);
        pcr_engine_submit(rig->engine, &q.call);
        run_turn(rig);
        wait_for_runs(rig, &q, before + 1);
        if (!late)
            pcr_engine_cancel(&q.call);
        finish(rig);
        assert_int_equal(q.call.status, late ? PACER_ETIMEDOUT : PACER_ECANCELED);
        assert_int_equal(q.call.n_outputs, 0);
        assert_true(runs_of(&q) - before < 40);
        q.call.model->rows_are_apart = true;
        end(&q);
    }
}

// --- pieces -------------------------------------------------------------------------------------
// 20 pieces, each a run of the slow model.
static void begin_pieces(struct rig *rig, struct request *q, const char *model) {
    struct pcr_cost cost;
    pcr_cost_init(&cost);
    pcr_cost_sweep(&cost, 1, PCR_NS_PER_MS);
    pcr_cost_sweep(&cost, 100, 100 * PCR_NS_PER_MS);
    begin(rig, q, model, 1);
    int64_t n_rows = 20 * (int64_t)q->call.model->rows_max;
    assert_true(q->call.model->rows_max >= 8);
    rig->pending--;
    end(q);
    begin(rig, q, model, n_rows);
    number_rows(q, 0);
    make_dear(q);
    pcr_model_queue_publish_cost(pcr_model_queue(q->call.model), &cost);
}

static void others_get_in_between_pieces(void **state) {
    struct rig *rig = *state;
    struct request longer, q;
    begin_pieces(rig, &longer, "slow");
    uint64_t before = runs_of(&longer);
    longer.call.done = note_order;
    n_ordered = 0;
    pcr_engine_submit(rig->engine, &longer.call);
    run_turn(rig);
    wait_for_runs(rig, &longer, before + 1);
    begin(rig, &q, "slow", 1);
    number_rows(&q, 9);
    q.call.done = note_order;
    pcr_engine_submit(rig->engine, &q.call);
    finish(rig);
    assert_ptr_equal(order[0], &q);
    assert_true(has_rows(&q, 9, 0));
    assert_true(has_rows(&longer, 0, 0));
    assert_true(runs_of(&longer) - before >= 20);
    end(&q);
    end(&longer);
}

static void a_call_may_be_canceled_between_pieces(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin_pieces(rig, &q, "slow");
    uint64_t before = runs_of(&q);
    pcr_engine_submit(rig->engine, &q.call);
    run_turn(rig);
    wait_for_runs(rig, &q, before + 1);
    pcr_engine_cancel(&q.call);
    finish(rig);
    assert_int_equal(q.call.status, PACER_ECANCELED);
    assert_int_equal(q.call.n_outputs, 0);
    assert_true(runs_of(&q) - before < 20);
    end(&q);
}

static void a_call_may_expire_between_pieces(void **state) {
    struct rig *rig = *state;
    struct request q;
    uint64_t ns = time_of(rig, "slow");
    begin_pieces(rig, &q, "slow");
    struct pcr_model_queue *queue = pcr_model_queue(q.call.model);
    struct pcr_cost known = queue->queue.cost;
    pcr_cost_init(&queue->queue.cost); // else it would be refused at arrival
    uint64_t before = runs_of(&q);
    q.call.timeout_ns = 4 * ns;
    pcr_engine_submit(rig->engine, &q.call);
    finish(rig);
    assert_int_equal(q.call.status, PACER_ETIMEDOUT);
    assert_int_equal(q.call.n_outputs, 0);
    assert_true(runs_of(&q) - before < 20);
    queue->queue.cost = known;
    pcr_model_queue_publish_cost(queue, &known);
    end(&q);
}

// An engine that ends in the middle of a call has no answer for it, however well its pieces went.
static void a_stop_between_pieces_is_no_success(void **state) {
    struct rig own = *(struct rig *)*state;
    struct rig *rig = &own;
    struct request q;
    assert_int_equal(pcr_engine_create(1, 8, &rig->engine, NULL), 0);
    assert_int_equal(pcr_loop_create(&rig->loop, NULL), 0);
    begin_pieces(rig, &q, "slow");
    uint64_t before = runs_of(&q);
    pcr_engine_submit(rig->engine, &q.call);
    run_turn(rig);
    wait_for_runs(rig, &q, before + 1);
    pcr_workers_stop(rig->engine->workers); // without ending the run that is under way
    finish(rig);
    assert_true(runs_of(&q) - before < 20);
    assert_int_equal(q.call.status, PACER_ECANCELED);
    assert_int_equal(q.call.n_outputs, 0);
    end(&q);
    pcr_engine_unref(rig->engine);
    pcr_loop_destroy(rig->loop);
}

// --- order --------------------------------------------------------------------------------------
static void two_models_take_turns_on_one_worker(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    n_ordered = 0;
    for (size_t i = 0; i < CALLS; i++) { // first all of the one, then all of the other
        begin(rig, &q[i], i < CALLS / 2 ? "one" : "one_row", 1);
        q[i].call.done = note_order;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        assert_ptr_equal(order[i], &q[i % 2 * (CALLS / 2) + i / 2]);
    }
    for (size_t i = 0; i < CALLS; i++)
        end(&q[i]);
}

static void the_first_priority_goes_first(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    n_ordered = 0;
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "one", 1);
        q[i].call.done = note_order;
        q[i].call.priority = PCR_PRIORITIES - 1 - (unsigned)(i / 4); // the last come first
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    size_t firsts = 0, seconds = 0;
    for (size_t i = 0; i < CALLS; i++) {
        // One batch in eight is for whoever has waited longest: at most two of these.
        firsts += i < 6 && order[i]->call.priority == 0;
        seconds += i < 10 && order[i]->call.priority == 1;
    }
    assert_int_equal(firsts, 4);
    assert_int_equal(seconds, 4);
    for (size_t i = 0; i < CALLS; i++)
        end(&q[i]);
}

static void no_more_runs_at_a_time_than_instances(void **state) {
    struct rig own = *(struct rig *)*state;
    struct rig *rig = &own;
    struct request q[CALLS];
    uint64_t busy_ns = 0;
    assert_int_equal(pcr_engine_create(4, 8, &rig->engine, NULL), 0);
    assert_int_equal(pcr_loop_create(&rig->loop, NULL), 0);
    uint64_t start_ns = pcr_clock_mono_ns();
    for (size_t i = 0; i < CALLS; i++) {
        begin(rig, &q[i], "one", 1);
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    finish(rig);
    uint64_t took_ns = pcr_clock_mono_ns() - start_ns;
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(q[i].call.status, 0);
        busy_ns += q[i].call.infer_ns;
        end(&q[i]);
    }
    assert_true(busy_ns <= took_ns); // one after the other
    pcr_engine_destroy(rig->engine);
    pcr_loop_destroy(rig->loop);
}

// --- estimates ----------------------------------------------------------------------------------
// Asks one at a time until one is computed; returns how often that took.
static size_t tries_until_computed(struct rig *rig, const char *model, uint64_t timeout_ns,
                                   size_t tries_max) {
    for (size_t i = 1; i <= tries_max; i++) {
        struct request q;
        begin(rig, &q, model, 1);
        make_dear(&q);
        q.call.timeout_ns = timeout_ns;
        pcr_engine_submit(rig->engine, &q.call);
        finish(rig);
        int status = q.call.status;
        end(&q);
        if (status == 0)
            return i;
        assert_int_equal(status, PACER_ETIMEDOUT);
    }
    return SIZE_MAX;
}

// A machine that stood still for a while: afterwards answers are in time again.
static void a_margin_that_was_learnt_is_forgotten(void **state) {
    struct rig *rig = *state;
    struct request q;
    uint64_t now_ns = pcr_clock_mono_ns();
    begin(rig, &q, "quick_there", 1);
    struct pcr_model_queue *queue = pcr_model_queue(q.call.model);
    for (size_t i = 0; i < 100; i++)
        pcr_model_queue_note_end(queue, now_ns - 10 * PCR_NS_PER_S, now_ns);
    rig->pending--;
    end(&q);
    uint64_t margin_ns = atomic_load(&queue->margin_ns);
    assert_true(margin_ns > 200 * PCR_NS_PER_MS);
    assert_true(tries_until_computed(rig, "quick_there", 150 * PCR_NS_PER_MS, 100) < 100);
}

// The same of a run's cost: while nothing runs nothing can be learnt, so it is tried at times.
static void a_cost_that_was_learnt_is_tried_again(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "quick_there", 1);
    struct pcr_model_queue *queue = pcr_model_queue(q.call.model);
    pcr_cost_init(&queue->queue.cost);
    for (uint64_t n = 1; n <= 256; n *= 2)
        pcr_cost_sweep(&queue->queue.cost, n, (9 + n) * PCR_NS_PER_S);
    pcr_model_queue_publish_cost(queue, &queue->queue.cost);
    assert_true(pcr_model_queue_cost_ns(queue, 1) > 5 * PCR_NS_PER_S);
    rig->pending--;
    end(&q);
    assert_true(tries_until_computed(rig, "quick_there", PCR_NS_PER_S, 100) < 100);
    for (size_t i = 0; i < 200; i++) // from now on it is known
        assert_true(tries_until_computed(rig, "quick_there", PCR_NS_PER_S, 100) < 100);
    assert_int_equal(tries_until_computed(rig, "quick_there", PCR_NS_PER_S, 1), 1);
}

static void what_was_not_foreseen_is_no_surprise(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "gather", 1);
    struct pcr_model_queue *queue = pcr_model_queue(q.call.model);
    uint64_t margin_ns = atomic_load(&queue->margin_ns);
    pcr_model_queue_note_end(queue, 0, pcr_clock_mono_ns()); // the costs were not known
    assert_int_equal(atomic_load(&queue->margin_ns), margin_ns);
    rig->pending--;
    end(&q);
}

// --- priorities that come with the request ------------------------------------------------------
static int read_urgent(struct pcr_infer_call *call) {
    call->priority = 0;
    return 0;
}

// Whether an urgent call is computed although many others wait that are not.
static bool is_urgent_computed(struct rig *rig) {
    struct request q[16], urgent;
    uint64_t ns = time_of(rig, "one");
    for (size_t i = 0; i < 16; i++) {
        begin(rig, &q[i], "one", 1);
        q[i].call.priority = PCR_PRIORITY_DEFAULT;
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    run_turn(rig);
    begin(rig, &urgent, "one", 1);
    urgent.call.read = read_urgent;
    urgent.call.priority = PCR_PRIORITY_DEFAULT;
    urgent.call.priority_comes = true;
    urgent.call.timeout_ns = 8 * ns; // not enough for all the others
    pcr_engine_submit(rig->engine, &urgent.call);
    finish(rig);
    bool computed = urgent.call.status == 0;
    end(&urgent);
    for (size_t i = 0; i < 16; i++)
        end(&q[i]);
    return computed;
}

static void urgency_is_read_before_a_call_is_refused(void **state) {
    bool computed = false;
    for (size_t i = 0; i < 10 && !computed; i++) // a busy machine may be late indeed
        computed = is_urgent_computed(*state);
    assert_true(computed);
}

// What is in nobody's way is nobody's delay: the last priority does not refuse others.
static void those_behind_do_not_count(void **state) {
    struct rig *rig = *state;
    bool computed = false;
    for (size_t k = 0; k < 10 && !computed; k++) {
        struct request q[16], usual;
        uint64_t ns = time_of(rig, "one");
        for (size_t i = 0; i < 16; i++) {
            begin(rig, &q[i], "one", 1);
            q[i].call.priority = PCR_PRIORITIES - 1;
            pcr_engine_submit(rig->engine, &q[i].call);
        }
        run_turn(rig);
        begin(rig, &usual, "one", 1);
        usual.call.priority = PCR_PRIORITY_DEFAULT;
        usual.call.timeout_ns = 8 * ns;
        pcr_engine_submit(rig->engine, &usual.call);
        finish(rig);
        computed = usual.call.status == 0;
        end(&usual);
        for (size_t i = 0; i < 16; i++)
            end(&q[i]);
    }
    assert_true(computed);
}

// --- everything at once -------------------------------------------------------------------------
#define ACTORS 3
#define SLOTS 24

enum kind { QUICK, OTHER, SLOW, PIECES, GATHER, TEXT, LONG, ALONE, LARGE, KINDS };
static const char *const kind_models[KINDS] = {
    "quick", "other", "one", "quick_there", "gather", "text", "long_rows", "merged", "quick"};

struct actor;
struct slot {
    struct request request;
    struct actor *actor;
    enum kind kind;
    bool is_used;
    bool is_poisoned; // its values make the run fail
    float first;
    struct pacer_bytes words[2][16];
    char text[16];
    struct pacer_tensor inputs[2];
};

struct actor { // a loop on a thread of its own, with calls that follow each other
    struct rig rig;
    pthread_t thread;
    atomic_bool begun; // from its first call on its loop holds the engine
    uint64_t random, end_ns;
    struct slot slots[SLOTS];
    size_t computed, refused, poisoned, wrong;
    char fault[200];
};

static uint64_t draw(struct actor *actor, uint64_t n) {
    actor->random = actor->random * 6364136223846793005u + 1442695040888963407u;
    return (actor->random >> 33) % n;
}

static void fault(struct slot *slot, const char *what) {
    struct actor *actor = slot->actor;
    if (actor->wrong++ == 0)
        snprintf(actor->fault, sizeof actor->fault, "%s of '%s' (status %d: %.80s)", what,
                 kind_models[slot->kind], slot->request.call.status,
                 slot->request.call.error.message);
}

static int read_late(struct pcr_infer_call *call) {
    struct slot *slot = PCR_CONTAINER_OF(call, struct slot, request.call);
    call->run = (struct pacer_run){&slot->request.input, 1, NULL, 0};
    return 0;
}

static int write_nothing(struct pcr_infer_call *call) {
    return call->n_outputs > 0 ? 0 : pcr_err(&call->error, PACER_EINTERNAL, "test", "no outputs");
}

static void fill_text(struct slot *slot) {
    struct request *q = &slot->request;
    snprintf(slot->text, sizeof slot->text, slot->is_poisoned ? "none" : "%d", (int)slot->first);
    q->shape[1] = 16;
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < 16; i++)
            slot->words[k][i] = (struct pacer_bytes){slot->text, strlen(slot->text)};
        slot->inputs[k] = (struct pacer_tensor){k ? "INPUT1" : "INPUT0", PACER_BYTES, 2, q->shape,
                                                slot->words[k]};
    }
    q->call.run = (struct pacer_run){slot->inputs, 2, NULL, 0};
}

static void on_slot(struct pcr_infer_call *call);

static void fill_slot(struct slot *slot) {
    struct actor *actor = slot->actor;
    struct request *q = &slot->request;
    slot->kind = (enum kind)draw(actor, KINDS);
    slot->first = (float)draw(actor, 1000);
    slot->is_poisoned = (slot->kind == GATHER || slot->kind == TEXT) && draw(actor, 8) == 0;
    bool one_row = slot->kind == GATHER || slot->kind == TEXT || slot->kind == LONG;
    int64_t n = slot->kind == PIECES ? 3000 : one_row ? 1 : 1 + (int64_t)draw(actor, 4);
    begin(&actor->rig, q, kind_models[slot->kind], n);
    number_rows(q, slot->first);
    q->call.done = on_slot;
    q->call.write = write_nothing;
    q->call.priority = (unsigned)draw(actor, PCR_PRIORITIES);
    if (slot->kind == GATHER) {
        *(int64_t *)(void *)q->rows = slot->is_poisoned ? 10 : (int64_t)slot->first % 10;
        q->input = (struct pacer_tensor){"INDEX", PACER_INT64, 1, q->shape, q->rows};
    } else if (slot->kind == TEXT) {
        fill_text(slot);
    } else if (slot->kind == LONG) {
        q->shape[1] = 2;
    } else if (slot->kind == LARGE) {
        q->call.is_large = true;
        q->call.read = read_late;
        q->call.run = (struct pacer_run){0};
    }
    q->call.rows_alone = slot->kind == ALONE;
    if (draw(actor, 4) == 0)
        q->call.timeout_ns = (1 + draw(actor, 200)) * PCR_NS_PER_MS;
}

static bool is_right(const struct slot *slot) {
    const struct request *q = &slot->request;
    const struct pacer_tensor *out = q->call.outputs;
    const float *data = out->data;
    char text[32];
    bool right = out->shape[0] == q->shape[0];
    int first = (int)slot->first;
    switch (slot->kind) {
    case OTHER:
        return has_rows(q, slot->first, 2);
    case SLOW:
        return has_rows(q, slot->first, 0);
    case GATHER:
        return right && data[0] == (float)(first % 10) * (float)(first % 10);
    case TEXT:
        snprintf(text, sizeof text, "%d", 2 * first);
        for (size_t i = 0; i < 16; i++) {
            const struct pacer_bytes *sum = (const struct pacer_bytes *)out[0].data + i;
            right = right && sum->size == strlen(text) && memcmp(sum->data, text, sum->size) == 0;
        }
        return right && q->call.n_outputs == 2;
    case LONG:
        for (size_t i = 0; i < 4096; i++)
            right = right && data[i] == slot->first + (float)(i % 2);
        return right;
    case ALONE:
        for (int64_t i = 0; i < 4 * q->shape[0]; i++)
            right = right && data[i] == 1;
        return right;
    default:
        return has_rows(q, slot->first, 1);
    }
}

static void look_at(struct slot *slot) {
    struct actor *actor = slot->actor;
    switch (slot->request.call.status) {
    case 0:
        if (slot->is_poisoned || !is_right(slot))
            fault(slot, "a wrong answer");
        actor->computed++;
        break;
    case PACER_ECANCELED:
    case PACER_ETIMEDOUT:
    case PACER_EBUSY:
        actor->refused++;
        break;
    default:
        if (!slot->is_poisoned)
            fault(slot, "a failure");
        actor->poisoned++;
    }
    if (slot->request.call.status < 0 && slot->request.call.n_outputs)
        fault(slot, "outputs of a failure");
}

static void on_slot(struct pcr_infer_call *call) {
    struct slot *slot = PCR_CONTAINER_OF(call, struct slot, request.call);
    struct actor *actor = slot->actor;
    if (!slot->is_used || slot->request.is_done)
        fault(slot, "a second end");
    look_at(slot);
    on_done(call);
    struct slot *other = &actor->slots[draw(actor, SLOTS)];
    if (other->is_used && !other->request.is_done && draw(actor, 6) == 0)
        pcr_engine_cancel(&other->request.call); // whose end is an end within this one
}

static void *act(void *arg) {
    struct actor *actor = arg;
    struct rig *rig = &actor->rig;
    do {
        for (size_t i = 0; i < SLOTS; i++) {
            struct slot *slot = &actor->slots[i];
            if (slot->is_used && !slot->request.is_done)
                continue;
            if (slot->is_used)
                end(&slot->request);
            fill_slot(slot);
            slot->is_used = true;
            pcr_engine_submit(rig->engine, &slot->request.call);
        }
        atomic_store(&actor->begun, true);
        run_turn(rig);
    } while (pcr_clock_mono_ns() < actor->end_ns);
    finish(rig);
    for (size_t i = 0; i < SLOTS; i++)
        if (actor->slots[i].is_used)
            end(&actor->slots[i].request);
    return NULL;
}

// Ends the engine after `engine_ms`, the actors after `ms`.
static void act_for(struct rig *rig, uint64_t ms, uint64_t engine_ms, uint64_t seed) {
    struct actor *actors = calloc(ACTORS, sizeof *actors);
    struct pcr_engine *engine;
    struct request pieces;
    assert_non_null(actors);
    assert_int_equal(pcr_engine_create(2, 64, &engine, NULL), 0);
    begin_pieces(rig, &pieces, "pieces"); // it looks dear enough for pieces
    rig->pending--;
    end(&pieces);
    for (uint64_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &actors[i];
        actor->rig = *rig;
        actor->rig.engine = engine;
        actor->random = seed * 100 + i;
        actor->end_ns = pcr_clock_mono_ns() + ms * PCR_NS_PER_MS;
        for (size_t k = 0; k < SLOTS; k++)
            actor->slots[k].actor = actor;
        assert_int_equal(pcr_loop_create(&actor->rig.loop, NULL), 0);
        assert_int_equal(pthread_create(&actor->thread, NULL, act, actor), 0);
    }
    for (size_t i = 0; i < ACTORS; i++)
        while (!atomic_load(&actors[i].begun))
            usleep(100);
    usleep((useconds_t)(engine_ms * 1000));
    if (engine_ms < ms)
        pcr_engine_destroy(engine);
    for (size_t i = 0; i < ACTORS; i++)
        pthread_join(actors[i].thread, NULL);
    if (engine_ms >= ms)
        pcr_engine_destroy(engine);
    for (size_t i = 0; i < ACTORS; i++) {
        pcr_loop_destroy(actors[i].rig.loop);
        if (actors[i].wrong)
            fail_msg("%zu faults, first: %s", actors[i].wrong, actors[i].fault);
        assert_true(engine_ms < ms || (actors[i].computed > 20 && actors[i].poisoned > 0));
    }
    free(actors);
}

static void everybody_gets_his_own_answer_whatever_happens(void **state) {
    act_for(*state, 3000, 3000, 1);
}

static void an_engine_may_end_with_calls_in_every_state(void **state) {
    for (uint64_t i = 0; i < 12; i++)
        act_for(*state, 5 + 5 * i, 3 * i, i + 2);
}

static void a_model_that_was_unloaded_lives_as_long_as_its_calls(void **state) {
    struct rig *rig = *state;
    struct request q[CALLS];
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < CALLS; i++) {
            begin(rig, &q[i], i % 2 ? "other" : "one_row", 1);
            number_rows(&q[i], (float)i);
            pcr_engine_submit(rig->engine, &q[i].call);
            if (i == 5)
                run_turn(rig);
        }
        static const char *const names[] = {"other", "one_row"};
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(pcr_repository_unload(rig->repository, pcr_str(names[i]), NULL), 0);
        finish(rig);
        for (size_t i = 0; i < CALLS; i++) {
            assert_true(has_rows(&q[i], (float)i, i % 2 ? 2.0f : 0.0f));
            end(&q[i]);
        }
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(pcr_repository_load(rig->repository, pcr_str(names[i]), NULL), 0);
    }
}

int main(void) {
    pcr_log_configure(&(struct pcr_log_options){.level = (enum pcr_log_level)99});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_given_up_with_its_last_call),
        cmocka_unit_test(what_an_end_submits_has_not_waited_before),
        cmocka_unit_test(a_turn_refuses_what_a_model_lets_nobody_wait_for),
        cmocka_unit_test(too_many_large_requests_are_refused_in_their_own_words),
        cmocka_unit_test(what_rows_do_to_each_other_is_found_out),
        cmocka_unit_test(rows_asked_for_alone_never_share_a_run),
        cmocka_unit_test(rows_computed_alone_teach_nothing_of_batches),
        cmocka_unit_test(a_call_may_be_canceled_between_rows),
        cmocka_unit_test(others_get_in_between_pieces),
        cmocka_unit_test(a_call_may_be_canceled_between_pieces),
        cmocka_unit_test(a_call_may_expire_between_pieces),
        cmocka_unit_test(a_stop_between_pieces_is_no_success),
        cmocka_unit_test(two_models_take_turns_on_one_worker),
        cmocka_unit_test(the_first_priority_goes_first),
        cmocka_unit_test(no_more_runs_at_a_time_than_instances),
        cmocka_unit_test(a_margin_that_was_learnt_is_forgotten),
        cmocka_unit_test(a_cost_that_was_learnt_is_tried_again),
        cmocka_unit_test(what_was_not_foreseen_is_no_surprise),
        cmocka_unit_test(urgency_is_read_before_a_call_is_refused),
        cmocka_unit_test(those_behind_do_not_count),
        cmocka_unit_test(a_model_that_was_unloaded_lives_as_long_as_its_calls),
        cmocka_unit_test(everybody_gets_his_own_answer_whatever_happens),
        cmocka_unit_test(an_engine_may_end_with_calls_in_every_state),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
