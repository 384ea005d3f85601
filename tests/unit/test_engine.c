// SPDX-License-Identifier: Apache-2.0
#include "engine_fixture.h"

static int set_up(void **state) {
    static const char *const models[] = {"quick=plus1", "slow", "slow_by", "fill"};
    static const struct pcr_model_config configs[] = {{.name = "slow_by", .queue_max = 2}};
    *state = open_rig(models, PCR_COUNT_OF(models), configs, PCR_COUNT_OF(configs), 2);
    return *state ? 0 : -1;
}

static void cheap_runs_happen_at_the_end_of_the_turn(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "quick", 1);
    bool is_cheap = q.call.model->run_ns < 40000; // a sanitizer or a busy machine may make it dear
    pcr_engine_submit(rig->engine, &q.call);
    assert_int_equal(rig->pending, 1); // others may still come
    finish(rig);
    assert_int_equal(q.call.status, 0);
    assert_int_equal(q.call.n_outputs, 1);
    assert_true(*(const float *)q.call.outputs[0].data == 1);
    assert_true(q.call.infer_ns > 0);
    struct pcr_model_stats stats = stats_of(&q);
    assert_int_equal(stats.success_count, 1);
    assert_int_equal(stats.inference_count, 1);
    assert_int_equal(stats.execution_count, 1);
    assert_int_equal(stats.infer_count, 1);
    assert_int_equal(stats.fail_count, 0);
    if (is_cheap)
        assert_int_equal(stats.inline_count, 1);
    assert_true(stats.infer_ns > 0 && stats.success_ns >= stats.infer_ns);
    assert_true(stats.last_inference_ms > 1500000000000);
    end(&q);
}

static void large_batches_of_a_cheap_model_leave_the_loop_free(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "quick", 1000000);
    for (size_t i = 0; i < 4000000; i++)
        q.rows[i] = (float)(i % 1000);
    struct pcr_model_stats before = stats_of(&q);
    pcr_engine_submit(rig->engine, &q.call);
    assert_int_equal(rig->pending, 1);
    finish(rig);
    assert_int_equal(q.call.status, 0);
    assert_int_equal(q.call.outputs[0].shape[0], 1000000);
    for (size_t i = 0; i < 4000000; i++)
        assert_true(((const float *)q.call.outputs[0].data)[i] == (float)(i % 1000) + 1);
    struct pcr_model_stats after = stats_of(&q);
    assert_int_equal(after.inference_count - before.inference_count, 1000000);
    assert_int_equal(after.inline_count, before.inline_count);
    assert_int_equal(after.success_count - before.success_count, 1);
    end(&q);
}

static void dear_runs_happen_on_a_worker(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "slow", 1);
    q.call.model->run_ns = UINT64_MAX; // whatever this machine measured
    q.rows[2] = 7;
    pcr_engine_submit(rig->engine, &q.call);
    assert_int_equal(rig->pending, 1); // not yet
    finish(rig);
    assert_int_equal(rig->pending, 0);
    assert_int_equal(q.call.status, 0);
    assert_true(((const float *)q.call.outputs[0].data)[2] == 7);
    end(&q);
}

static void late_requests_are_not_computed(void **state) {
    struct rig *rig = *state;
    struct request first;
    struct request late;
    struct pcr_model_stats before;
    struct pcr_model_stats after;
    begin(rig, &first, "slow", 1);
    begin(rig, &late, "slow", 1);
    pcr_model_stats(late.call.model, &before);
    late.call.deadline_ns = pcr_clock_mono_ns() + 1000; // over before the first is done
    pcr_engine_submit(rig->engine, &first.call);
    pcr_engine_submit(rig->engine, &late.call);
    finish(rig);
    assert_int_equal(first.call.status, 0);
    assert_int_equal(late.call.status, PACER_ETIMEDOUT);
    assert_int_equal(late.call.error.code, PACER_ETIMEDOUT);
    assert_int_equal(late.call.n_outputs, 0);
    pcr_model_stats(late.call.model, &after);
    assert_int_equal(after.fail_count - before.fail_count, 1);
    assert_int_equal(
        after.late_count + after.expired_count - before.late_count - before.expired_count, 1);
    assert_int_equal(after.execution_count - before.execution_count, 1);
    end(&first);
    end(&late);
    begin(rig, &late, "quick", 1); // the same on the loop itself
    late.call.deadline_ns = 1;
    pcr_engine_submit(rig->engine, &late.call);
    finish(rig);
    assert_int_equal(late.call.status, PACER_ETIMEDOUT);
    end(&late);
}

static void a_full_queue_refuses_at_once(void **state) {
    struct rig *rig = *state;
    struct request q[8];
    struct pacer_tensor inputs[8][2];
    int64_t turns = INT64_C(1) << 40; // months: no place becomes free
    size_t refused = 0;
    for (size_t i = 0; i < 8; i++) {
        begin(rig, &q[i], "slow_by", 1);
        inputs[i][0] = q[i].input;
        inputs[i][1] = (struct pacer_tensor){"STEPS", PACER_INT64, 0, NULL, &turns};
        q[i].call.run = (struct pacer_run){inputs[i], 2, NULL, 0};
        pcr_engine_submit(rig->engine, &q[i].call);
    }
    run_turn(rig); // all come to the queue at once, and two find room
    assert_int_equal(rig->pending, 2);
    pcr_engine_destroy(rig->engine);
    rig->engine = NULL;
    finish(rig);
    for (size_t i = 0; i < 8; i++) {
        assert_true(q[i].call.status < 0);
        if (q[i].call.status == PACER_EBUSY) {
            assert_non_null(strstr(q[i].call.error.message, "'slow_by' is busy"));
            refused++;
        }
        end(&q[i]);
    }
    assert_int_equal(refused, 6);
    assert_int_equal(pcr_engine_create(1, 2, &rig->engine, NULL), 0);
}

static int read_and_set_deadline(struct pcr_infer_call *call) {
    call->deadline_ns = 1;
    return 0;
}

static int refuse_to_read(struct pcr_infer_call *call) {
    return pcr_err(&call->error, PACER_ESYNTAX, "test", "no such thing");
}

static int refuse_to_write(struct pcr_infer_call *call) {
    return pcr_err(&call->error, PACER_ELIMIT, "test", "%zu outputs are too many", call->n_outputs);
}

static void reading_and_writing_may_end_a_call(void **state) {
    struct rig *rig = *state;
    int (*const reads[])(struct pcr_infer_call *) = {read_and_set_deadline, refuse_to_read, NULL};
    const int codes[] = {PACER_ETIMEDOUT, PACER_ESYNTAX, PACER_ELIMIT};
    for (size_t i = 0; i < 6; i++) {
        struct request q;
        struct pcr_model_stats before;
        struct pcr_model_stats after;
        begin(rig, &q, "quick", 1);
        pcr_model_stats(q.call.model, &before);
        q.call.is_large = i >= 3;
        q.call.read = reads[i % 3];
        q.call.write = refuse_to_write;
        pcr_engine_submit(rig->engine, &q.call);
        finish(rig);
        assert_int_equal(q.call.status, codes[i % 3]);
        assert_int_equal(q.call.error.code, codes[i % 3]);
        pcr_model_stats(q.call.model, &after);
        assert_int_equal(after.fail_count - before.fail_count, 1);
        assert_int_equal(after.success_count, before.success_count);
        end(&q);
    }
}

static pthread_t writer;

static int note_writer(struct pcr_infer_call *call) {
    (void)call;
    writer = pthread_self();
    usleep(2000);
    return 0;
}

static void large_answers_are_written_on_a_worker(void **state) {
    struct rig *rig = *state;
    for (int large = 0; large < 2; large++) {
        struct request q;
        struct pcr_model_stats before;
        struct pcr_model_stats after;
        begin(rig, &q, "fill", 1);
        pcr_model_stats(q.call.model, &before);
        q.shape[0] = 1;
        *(int64_t *)(void *)q.rows = large ? 20000 : 10;
        q.input = (struct pacer_tensor){"SHAPE", PACER_INT64, 1, q.shape, q.rows};
        q.call.write = note_writer;
        pcr_engine_submit(rig->engine, &q.call);
        finish(rig);
        assert_int_equal(q.call.status, 0);
        assert_int_equal(pthread_equal(writer, pthread_self()) != 0, !large);
        pcr_model_stats(q.call.model, &after);
        assert_int_equal(after.output_count - before.output_count, 1);
        assert_int_equal(after.input_count, after.infer_count);
        assert_int_equal(after.output_count, after.infer_count);
        assert_true(after.output_ns - before.output_ns >= 2000000);
        end(&q);
    }
}

static void a_run_that_memory_cannot_hold_says_so(void **state) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)state; // their allocators end the process
    skip();
#else
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "fill", 1);
    q.shape[0] = 1;
    *(int64_t *)(void *)q.rows = INT64_C(1) << 46;
    q.input = (struct pacer_tensor){"SHAPE", PACER_INT64, 1, q.shape, q.rows};
    pcr_engine_submit(rig->engine, &q.call);
    finish(rig);
    assert_int_equal(q.call.status, PACER_ENOMEM);
    end(&q);
#endif
}

static void a_loop_in_a_model_never_holds_up_ours(void **state) {
    struct rig *rig = *state;
    struct request q;
    int64_t turns = 3;
    begin(rig, &q, "slow_by", 1);
    struct pacer_tensor inputs[] = {q.input, {"STEPS", PACER_INT64, 0, NULL, &turns}};
    q.call.run = (struct pacer_run){inputs, 2, NULL, 0};
    assert_true(q.call.model->run_ns == UINT64_MAX); // whatever the warm-up took
    pcr_engine_submit(rig->engine, &q.call);
    assert_int_equal(rig->pending, 1); // on a worker
    finish(rig);
    assert_int_equal(q.call.status, 0);
    end(&q);
}

static bool ran_here(const struct request *q, uint64_t before) {
    return stats_of(q).inline_count > before;
}

// One element in, as many out as its value says: the size of the input tells nothing of the cost.
static void submit_fill(struct rig *rig, struct request *q, int64_t elements) {
    begin(rig, q, "fill", 1);
    q->shape[0] = 1;
    *(int64_t *)(void *)q->rows = elements;
    q->input = (struct pacer_tensor){"SHAPE", PACER_INT64, 1, q->shape, q->rows};
    pcr_engine_submit(rig->engine, &q->call);
}

static void a_model_that_was_late_several_times_leaves_the_loop(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "fill", 1);
    uint64_t inline_before = stats_of(&q).inline_count;
    rig->pending--;
    end(&q);
    submit_fill(rig, &q, 1);
    finish(rig);
    bool is_cheap = ran_here(&q, inline_before);
    end(&q);
    if (!is_cheap) // a sanitizer or a busy machine may make it dear
        return;
    for (int i = 0; i < 4; i++) {
        submit_fill(rig, &q, 10 << 20); // 40 MiB
        finish(rig);
        assert_int_equal(q.call.status, 0);
        inline_before = stats_of(&q).inline_count;
        end(&q);
    }
    submit_fill(rig, &q, 10 << 20);
    finish(rig);
    assert_false(ran_here(&q, inline_before));
    end(&q);
    for (int i = 0; i < 2000; i++) { // and comes back when it keeps being quick
        submit_fill(rig, &q, 1);
        finish(rig);
        is_cheap = ran_here(&q, inline_before);
        inline_before = stats_of(&q).inline_count;
        end(&q);
    }
    assert_true(is_cheap);
}

static void what_nobody_waits_for_is_not_computed(void **state) {
    struct rig *rig = *state;
    struct request first;
    struct request gone;
    struct pcr_model_stats before;
    struct pcr_model_stats after;
    begin(rig, &first, "slow", 1);
    begin(rig, &gone, "slow", 1);
    pcr_model_stats(gone.call.model, &before);
    pcr_engine_submit(rig->engine, &first.call);
    pcr_engine_submit(rig->engine, &gone.call);
    pcr_engine_cancel(&gone.call);
    finish(rig);
    assert_int_equal(first.call.status, 0);
    assert_int_equal(gone.call.status, PACER_ECANCELED);
    pcr_model_stats(gone.call.model, &after);
    assert_int_equal(after.execution_count - before.execution_count, 1);
    end(&first);
    end(&gone);
}

static void an_engine_that_ends_computes_no_more(void **state) {
    struct rig *rig = *state;
    struct request q[3];
    int64_t turns[3] = {INT64_C(1) << 40, 1, 1}; // the first would take months
    struct pacer_tensor inputs[3][2];
    for (size_t i = 0; i < 3; i++) {
        begin(rig, &q[i], "slow_by", 1);
        inputs[i][0] = q[i].input;
        inputs[i][1] = (struct pacer_tensor){"STEPS", PACER_INT64, 0, NULL, &turns[i]};
        q[i].call.run = (struct pacer_run){inputs[i], 2, NULL, 0};
        pcr_engine_submit(rig->engine, &q[i].call);
        usleep(50000); // the first is being computed
    }
    pcr_engine_destroy(rig->engine);
    rig->engine = NULL;
    finish(rig);
    for (size_t i = 0; i < 3; i++) {
        assert_true(q[i].call.status < 0);
        assert_int_equal(q[i].call.n_outputs, 0);
        if (i > 0)
            assert_int_equal(q[i].call.status, PACER_ECANCELED);
        end(&q[i]);
    }
    assert_int_equal(pcr_engine_create(1, 2, &rig->engine, NULL), 0);
}

static void wrong_runs_come_back_with_the_error(void **state) {
    struct rig *rig = *state;
    struct request q;
    begin(rig, &q, "quick", 1);
    q.input.name = "Z";
    pcr_engine_submit(rig->engine, &q.call);
    finish(rig);
    assert_int_equal(q.call.status, PACER_EINVAL);
    assert_string_equal(q.call.error.message, "unexpected inference input 'Z' for model 'quick'");
    end(&q);
}

int main(void) {
    pcr_log_configure(&(struct pcr_log_options){.level = (enum pcr_log_level)99});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cheap_runs_happen_at_the_end_of_the_turn),
        cmocka_unit_test(large_batches_of_a_cheap_model_leave_the_loop_free),
        cmocka_unit_test(dear_runs_happen_on_a_worker),
        cmocka_unit_test(late_requests_are_not_computed),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(wrong_runs_come_back_with_the_error),
        cmocka_unit_test(reading_and_writing_may_end_a_call),
        cmocka_unit_test(large_answers_are_written_on_a_worker),
        cmocka_unit_test(a_run_that_memory_cannot_hold_says_so),
        cmocka_unit_test(a_loop_in_a_model_never_holds_up_ours),
        cmocka_unit_test(a_model_that_was_late_several_times_leaves_the_loop),
        cmocka_unit_test(what_nobody_waits_for_is_not_computed),
        cmocka_unit_test(an_engine_that_ends_computes_no_more),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
