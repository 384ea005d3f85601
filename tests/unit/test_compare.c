// SPDX-License-Identifier: Apache-2.0
// The figures by which variants are compared, against hand-worked cases; timing by its order only.
#include "model_fixture.h"

#include "compare/answers.h"
#include "compare/compare.h"

static void assert_near(double got, double expected) {
    if (!(fabs(got - expected) <= 1e-9 * fmax(1, fabs(expected))))
        fail_msg("%.17g, expected %.17g", got, expected);
}

static void errors_are_as_by_hand(void **state) {
    (void)state;
    static const float a[] = {3, 4, 0}, b[] = {3, 4, 1};
    struct pcr_error_stats stats = {0};
    pcr_error_stats_add(&stats, a, b, 2);
    assert_true(isinf(pcr_error_snr_db(&stats)));
    assert_near(pcr_error_cosine(&stats), 1);
    assert_near(pcr_error_rmse(&stats), 0);
    pcr_error_stats_add(&stats, a + 2, b + 2, 1);
    assert_near(pcr_error_snr_db(&stats), 10 * log10(25));
    assert_near(pcr_error_cosine(&stats), 25 / (5 * sqrt(26)));
    assert_near(pcr_error_rmse(&stats), sqrt(1.0 / 3));
    assert_near(stats.max_abs, 1);
    assert_int_equal(stats.n, 3);
}

static void odd_numbers_have_figures(void **state) {
    (void)state;
    static const float zeros[] = {0, 0}, ones[] = {1, 1}, infinite[] = {INFINITY, 1},
                       none[] = {NAN, 1};
    struct pcr_error_stats stats = {0};
    assert_near(pcr_error_rmse(&stats), 0);
    pcr_error_stats_add(&stats, zeros, zeros, 2);
    assert_near(pcr_error_cosine(&stats), 1);
    pcr_error_stats_add(&stats, zeros, ones, 2);
    assert_near(pcr_error_cosine(&stats), 0);
    assert_true(isinf(pcr_error_snr_db(&stats)) && pcr_error_snr_db(&stats) < 0);
    stats = (struct pcr_error_stats){0};
    pcr_error_stats_add(&stats, infinite, infinite, 2); // equal is equal
    assert_near(stats.max_abs, 0);
    stats = (struct pcr_error_stats){0};
    pcr_error_stats_add(&stats, ones, none, 2);
    assert_true(isnan(stats.max_abs) && isnan(pcr_error_rmse(&stats)));
}

// 10 of 100 and 0 of 20: the interval as in Wilson's paper and in tables of it.
static void shares_have_intervals(void **state) {
    (void)state;
    double low, high;
    pcr_wilson(10, 100, &low, &high);
    assert_true(fabs(low - 0.05522914) < 1e-7 && fabs(high - 0.17436566) < 1e-7);
    pcr_wilson(0, 20, &low, &high);
    assert_true(low == 0 && fabs(high - 0.16112516) < 1e-7);
    pcr_wilson(20, 20, &low, &high);
    assert_true(fabs(low - 0.83887484) < 1e-7 && high == 1);
    pcr_wilson(0, 0, &low, &high);
    assert_true(low == 0 && high == 1);
}

static struct pacer_session *open_session(const char *path) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    struct pacer_session *session;
    options.skip_warm_up = true;
    assert_int_equal(pacer_session_get(path, &options, &session, NULL), 0);
    return session;
}

static void drawn_rows_are_the_same_for_a_seed(void **state) {
    (void)state;
    struct pacer_session *session = open_session(save_model(mlp(), "draw.onnx"));
    struct pcr_arena arena;
    struct pcr_data a, b, c;
    pcr_arena_init(&arena, 1 << 24);
    assert_int_equal(pcr_rows_draw(session, 500, 7, &arena, &a, NULL), 0);
    assert_int_equal(pcr_rows_draw(session, 500, 7, &arena, &b, NULL), 0);
    assert_int_equal(pcr_rows_draw(session, 500, 8, &arena, &c, NULL), 0);
    assert_int_equal(a.rows, 500);
    assert_int_equal(a.tensors[0].shape[1], 64);
    assert_memory_equal(a.tensors[0].data, b.tensors[0].data, 500 * 64 * sizeof(float));
    assert_memory_not_equal(a.tensors[0].data, c.tensors[0].data, 500 * 64 * sizeof(float));
    double sum = 0, squares = 0;
    for (size_t i = 0; i < 500 * 64; i++) {
        double x = (double)((const float *)a.tensors[0].data)[i];
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / 32000) < 0.03 && fabs(squares / 32000 - 1) < 0.03);
    struct pacer_error err;
    assert_int_equal(pcr_rows_draw(session, SIZE_MAX / 4, 7, &arena, &a, &err), PACER_ELIMIT);
    assert_int_equal(pcr_rows_draw(session, 1 << 20, 7, &arena, &a, &err), PACER_ENOMEM);
    pcr_arena_fini(&arena);
    pacer_session_put(session);
}

static struct pcr_onnx_model *wide(void) { // a hundred times the work of the other one
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 64), 2);
    add_value(model, "y", false, SHAPE(-1, 64), 2);
    add_weights(model, "w0", SHAPE(64, 4096), 2, 0.1F);
    add_weights(model, "w1", SHAPE(4096, 64), 2, 0.1F);
    add_node(model, "MatMul", NAMES("x", "w0"), 2, "h");
    add_node(model, "MatMul", NAMES("h", "w1"), 2, "y");
    return model;
}

static void the_slower_one_is_seen_to_be_slower(void **state) {
    (void)state;
    struct pacer_session *sessions[] = {open_session(save_model(wide(), "wide.onnx")),
                                        open_session(save_model(mlp(), "narrow.onnx"))};
    struct pcr_arena arena;
    struct pcr_data data;
    struct pcr_latency latency[2];
    struct pacer_error err;
    pcr_arena_init(&arena, 1 << 24);
    assert_int_equal(pcr_rows_draw(sessions[0], 30, 1, &arena, &data, NULL), 0);
    struct pcr_latency_how how = {sessions, 2, &data, 4, 0.05};
    assert_int_equal(pcr_latency_measure(&how, latency, &err), 0);
    assert_true(latency[0].speedup == 1 && latency[0].runs >= 8 && latency[1].runs >= 8);
    assert_true(latency[1].low > 1.5 && latency[1].low <= latency[1].speedup &&
                latency[1].speedup <= latency[1].high);
    assert_true(latency[0].p50_us > latency[1].p50_us && latency[0].p99_us >= latency[0].p50_us);
    how.batch = 31;
    assert_int_equal(pcr_latency_measure(&how, latency, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "31"));
    pcr_arena_fini(&arena);
    pacer_session_put(sessions[0]);
    pacer_session_put(sessions[1]);
}

static void sizes_have_external_data_in_them(void **state) {
    (void)state;
    struct pcr_onnx_model *model = new_model(13);
    uint64_t bytes;
    float *w = add_weights(model, "w", SHAPE(1000), 1, 1);
    struct pcr_buf raw;
    pcr_buf_init(&raw, 1 << 20);
    pcr_buf_append(&raw, w, 4000);
    assert_int_equal(pcr_file_write(path_of("w.bin"), pcr_buf_view(&raw), NULL), 0);
    pcr_buf_clear(&raw);
    pcr_onnx_constant_set_place(model, pcr_onnx_model_constant(model, "w"), "w.bin", 0, 4000);
    assert_int_equal(pcr_onnx_model_pack(model, &raw, NULL), 0);
    assert_int_equal(pcr_file_write(path_of("outside.onnx"), pcr_buf_view(&raw), NULL), 0);
    assert_int_equal(pcr_model_bytes(path_of("outside.onnx"), &bytes, NULL), 0);
    assert_int_equal(bytes, 4000 + raw.len);
    assert_int_equal(pcr_model_bytes(path_of("nothing.onnx"), &bytes, NULL), PACER_ENOTFOUND);
    pcr_buf_fini(&raw);
    pcr_onnx_model_destroy(model);
    assert_true(pcr_resident_bytes() > 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_as_by_hand),
        cmocka_unit_test(odd_numbers_have_figures),
        cmocka_unit_test(shares_have_intervals),
        cmocka_unit_test(drawn_rows_are_the_same_for_a_seed),
        cmocka_unit_test(the_slower_one_is_seen_to_be_slower),
        cmocka_unit_test(sizes_have_external_data_in_them),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
