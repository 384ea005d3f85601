// SPDX-License-Identifier: Apache-2.0
// The memory of a run: a client's values cannot take more than was allowed, and who stays below
// does not notice.
#include "infer_fixture.h"

#include <pthread.h>

#define MIB ((size_t)1 << 20)

// Runs a model on SHAPE = [elements]; its result is destroyed, or left to the caller.
static int run_keep(const char *model, int64_t elements, struct pacer_result **result,
                    struct pacer_error *err) {
    struct pacer_session *s = open_model(model);
    struct pacer_tensor input = {"SHAPE", PACER_INT64, 1, (int64_t[]){1}, &elements};
    int code = pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, result, err);
    pacer_session_put(s);
    return code;
}

static int run(const char *model, int64_t elements, struct pacer_error *err) {
    struct pacer_result *result;
    int code = run_keep(model, elements, &result, err);
    pacer_result_destroy(result);
    return code;
}

static int no_limit(void **state) {
    (void)state;
    pcr_infer_run_memory_max(0);
    return 0;
}

static void a_run_beyond_the_limit_is_refused_with_a_remedy(void **state) {
    struct pacer_error err = {0};
    (void)state;
    pcr_infer_run_memory_max(4 * MIB);
    assert_int_equal(run("fill.onnx", 2 << 20, &err), PACER_ELIMIT); // 8 MiB
    assert_int_equal(err.code, PACER_ELIMIT);
    assert_non_null(strstr(err.message, "model 'fill' needs more than run_memory_max (4 MiB)"));
    assert_non_null(strstr(err.message, "smaller"));
    // More than any machine has: ONNX Runtime's own refusal would be the same.
    assert_int_equal(run("fill.onnx", (int64_t)1 << 50, &err), PACER_ELIMIT);
    // Nothing stays behind.
    for (int i = 0; i < 100; i++) {
        assert_int_equal(run("fill.onnx", 2 << 20, NULL), PACER_ELIMIT);
        assert_int_equal(run("fill.onnx", 1 << 10, NULL), 0);
    }
}

static void the_limit_is_exact(void **state) {
    (void)state;
    pcr_infer_run_memory_max(4 * MIB);
    assert_int_equal(run("fill.onnx", 1 << 20, NULL), 0);
    assert_int_equal(run("fill.onnx", (1 << 20) + 1, NULL), PACER_ELIMIT);
    pcr_infer_run_memory_max(0);
    assert_int_equal(run("fill.onnx", 16 << 20, NULL), 0);
}

static void what_a_run_gives_back_it_may_take_again(void **state) {
    (void)state;
    pcr_infer_run_memory_max(6 * MIB);
    assert_int_equal(run("fill_in_turn.onnx", 1 << 20, NULL), 0); // four times 4 MiB
    pcr_infer_run_memory_max(3 * MIB);
    assert_int_equal(run("fill_in_turn.onnx", 1 << 20, NULL), PACER_ELIMIT);
}

static void results_that_are_kept_do_not_count_for_the_next_run(void **state) {
    struct pacer_result *kept[8];
    (void)state;
    pcr_infer_run_memory_max(5 * MIB);
    for (size_t i = 0; i < PCR_COUNT_OF(kept); i++)
        assert_int_equal(run_keep("fill.onnx", 1 << 20, &kept[i], NULL), 0);
    for (size_t i = 0; i < PCR_COUNT_OF(kept); i++)
        pacer_result_destroy(kept[i]);
    assert_int_equal(run("fill.onnx", 2 << 20, NULL), PACER_ELIMIT);
}

// Weights are the owner's choice: they do not count, and a warm-up that is refused is like any that
// does not suit the model.
static void loading_is_not_limited(void **state) {
    struct pacer_session *s;
    struct pacer_error err = {0};
    (void)state;
    pcr_infer_run_memory_max(1);
    int code = pacer_session_get(model_path("vector.onnx"), NULL, &s, &err);
    if (code < 0)
        fail_msg("%s", err.message);
    assert_true(pcr_session_run_ns(s) == UINT64_MAX);
    pacer_session_put(s);
}

static void helping_threads_change_nothing(void **state) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    struct pacer_session *s;
    struct pacer_result *result;
    int64_t elements = 4 << 20;
    struct pacer_tensor input = {"SHAPE", PACER_INT64, 1, (int64_t[]){1}, &elements};
    struct pacer_run what = {&input, 1, NULL, 0};
    (void)state;
    options.intra_op_threads = 4;
    assert_int_equal(pacer_session_get(model_path("fill_in_turn.onnx"), &options, &s, NULL), 0);
    pcr_infer_run_memory_max(32 * MIB);
    assert_int_equal(pacer_session_run(s, &what, &result, NULL), 0);
    pacer_result_destroy(result);
    pcr_infer_run_memory_max(8 * MIB);
    assert_int_equal(pacer_session_run(s, &what, &result, NULL), PACER_ELIMIT);
    pacer_session_put(s);
}

static void *run_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 50; i++)
        if (run("fill.onnx", 1 << 18, NULL) != 0 || run("fill.onnx", 1 << 20, NULL) != PACER_ELIMIT)
            return (void *)"wrong";
    return NULL;
}

static void every_thread_has_its_own_allowance(void **state) {
    pthread_t threads[4];
    (void)state;
    pcr_infer_run_memory_max(2 * MIB);
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, NULL), 0);
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_run_beyond_the_limit_is_refused_with_a_remedy, no_limit),
        cmocka_unit_test_teardown(the_limit_is_exact, no_limit),
        cmocka_unit_test_teardown(what_a_run_gives_back_it_may_take_again, no_limit),
        cmocka_unit_test_teardown(results_that_are_kept_do_not_count_for_the_next_run, no_limit),
        cmocka_unit_test_teardown(loading_is_not_limited, no_limit),
        cmocka_unit_test_teardown(helping_threads_change_nothing, no_limit),
        cmocka_unit_test_teardown(every_thread_has_its_own_allowance, no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
