// SPDX-License-Identifier: Apache-2.0
// Models that are changed and saved.
#include "model_fixture.h"

#include "onnx/onnx.h"

#include <sys/stat.h>

static struct pcr_onnx_model *load(const char *path) {
    struct pcr_onnx_model *model;
    struct pacer_error err = {0};
    if (pcr_onnx_model_load(path, &model, &err) < 0)
        fail_msg("%s", err.message);
    return model;
}

static struct pcr_buf packed(struct pcr_onnx_model *model) {
    struct pcr_buf bytes;
    pcr_buf_init(&bytes, 1 << 28);
    assert_int_equal(pcr_onnx_model_pack(model, &bytes, NULL), 0);
    return bytes;
}

static void assert_same_floats(const struct pcr_onnx_model *model,
                               const struct pcr_onnx_constant *constant, const float *expected,
                               size_t n) {
    struct pcr_onnx_numbers numbers;
    assert_int_equal(pcr_onnx_numbers_get(model, constant, &numbers, NULL), 0);
    assert_int_equal(numbers.count, n);
    assert_int_equal((uintptr_t)numbers.data % sizeof(float), 0);
    assert_memory_equal(numbers.data, expected, n * sizeof(float));
    pcr_onnx_numbers_fini(&numbers);
}

// --- what is read is what was written -----------------------------------------------------------
static void what_was_made_is_read(void **state) {
    (void)state;
    struct pcr_onnx_model *model = new_model(13);
    float first[600];
    add_value(model, "x", true, SHAPE(-1, 20), 2);
    add_value(model, "y", false, SHAPE(-1, 30), 2);
    memcpy(first, add_weights(model, "w", SHAPE(20, 30), 2, 1), sizeof first);
    struct pcr_onnx_node *node = add_node(model, "Gemm", NAMES("x", "w"), 2, "y");
    pcr_onnx_set_attr_f32(model, node, "alpha", 0.5F);
    pcr_onnx_set_attr_i64(model, node, "transB", 0);
    pcr_onnx_model_set_metadata(model, "classes", "[\"a\"]");
    model = load(save_model(model, "made.onnx"));
    size_t n, rank;
    node = pcr_onnx_model_nodes(model, &n)[0];
    assert_int_equal(n, 1);
    assert_true(pcr_onnx_node_is(node, "Gemm"));
    assert_true(pcr_onnx_attr_f32(node, "alpha", 1) == 0.5F);
    assert_int_equal(pcr_onnx_attr_i64(node, "transB", 7), 0);
    assert_int_equal(pcr_onnx_attr_i64(node, "transA", 7), 7);
    assert_string_equal(pcr_onnx_node_input(node, 1), "w");
    assert_string_equal(pcr_onnx_node_input(node, 2), "");
    assert_string_equal(pcr_onnx_model_metadata(model, "classes"), "[\"a\"]");
    assert_null(pcr_onnx_model_metadata(model, "others"));
    assert_int_equal(pcr_onnx_model_opset(model, ""), 13);
    assert_int_equal(pcr_onnx_model_opset(model, "ai.onnx"), 13);
    assert_int_equal(pcr_onnx_model_opset(model, "com.microsoft"), 0);
    const struct pcr_onnx_constant *w = pcr_onnx_model_constant(model, "w");
    assert_non_null(w);
    assert_int_equal(pcr_onnx_constant_shape(w, &rank)[1], 30);
    assert_int_equal(rank, 2);
    assert_same_floats(model, w, first, 600);
    pcr_onnx_model_destroy(model);
}

// Whatever came is saved byte by byte the same, since nothing was changed.
static void saving_changes_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"simple.onnx",  "mixed.onnx",        "zipmap.onnx",
                                        "slow_by.onnx", "dynamic_int8.onnx", "classifier.onnx"};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        struct pcr_buf before;
        char path[512];
        const char *root = getenv("PACER_SOURCE_ROOT");
        snprintf(path, sizeof path, "%s/tests/data/models/%s", root ? root : ".", names[i]);
        pcr_buf_init(&before, 1 << 24);
        assert_int_equal(pcr_file_read(path, &before, NULL), 0);
        struct pcr_onnx_model *model = load(path);
        struct pcr_buf after = packed(model);
        assert_int_equal(after.len, before.len);
        assert_memory_equal(after.data, before.data, after.len);
        pcr_buf_fini(&before);
        pcr_buf_fini(&after);
        pcr_onnx_model_destroy(model);
    }
}

// Weights lie at any offset of a file; they are read where they are all the same.
static void weights_at_any_offset_are_whole(void **state) {
    (void)state;
    for (size_t shift = 1; shift <= 9; shift++) {
        struct pcr_onnx_model *model = new_model(13);
        char name[16] = "wwwwwwwwww";
        float expected[2][100];
        name[shift] = '\0';
        memcpy(expected[0], add_weights(model, name, SHAPE(100), 1, 1), sizeof expected[0]);
        memcpy(expected[1], add_weights(model, "second", SHAPE(10, 10), 2, 1), sizeof expected[1]);
        struct pcr_buf bytes = packed(model);
        pcr_onnx_model_destroy(model);
        struct pcr_buf again;
        assert_int_equal(pcr_onnx_model_parse(&bytes, NULL, &model, NULL), 0);
        assert_same_floats(model, pcr_onnx_model_constant(model, name), expected[0], 100);
        assert_same_floats(model, pcr_onnx_model_constant(model, "second"), expected[1], 100);
        again = packed(model);
        pcr_buf_fini(&again);
        pcr_onnx_model_destroy(model);
    }
}

// --- external data ------------------------------------------------------------------------------
// A model whose weights are in a file beside it, by its own saving.
static const char *external_model(float *expected, size_t n) {
    struct pcr_onnx_model *model = new_model(13);
    memcpy(expected, add_weights(model, "w", SHAPE((int64_t)n), 1, 1), n * sizeof *expected);
    struct pcr_buf raw;
    pcr_buf_init(&raw, 1 << 20);
    pcr_buf_append(&raw, expected, n * sizeof *expected);
    assert_int_equal(pcr_file_write(path_of("weights.bin"), pcr_buf_view(&raw), NULL), 0);
    pcr_buf_fini(&raw);
    pcr_onnx_constant_set_place(model, pcr_onnx_model_constant(model, "w"), "weights.bin", 0,
                                n * sizeof *expected);
    struct pcr_buf bytes = packed(model);
    pcr_onnx_model_destroy(model);
    assert_int_equal(pcr_file_write(path_of("external.onnx"), pcr_buf_view(&bytes), NULL), 0);
    pcr_buf_fini(&bytes);
    return path_of("external.onnx");
}

static void external_weights_are_read_and_go_along(void **state) {
    (void)state;
    float expected[1000];
    struct stat st;
    struct pcr_onnx_model *model = load(external_model(expected, 1000));
    assert_same_floats(model, pcr_onnx_model_constant(model, "w"), expected, 1000);
    save_model(model, "copy.onnx");
    assert_int_equal(stat(path_of("copy.onnx.data"), &st), 0);
    assert_int_equal(st.st_size, sizeof expected);
    assert_int_equal(stat(path_of("copy.onnx"), &st), 0);
    assert_in_range(st.st_size, 1, 400);
    unlink(path_of("weights.bin"));
    model = load(path_of("copy.onnx"));
    assert_same_floats(model, pcr_onnx_model_constant(model, "w"), expected, 1000);
    pcr_onnx_model_destroy(model);
}

static void external_weights_elsewhere_are_refused(void **state) {
    (void)state;
    float expected[100];
    struct pacer_error err;
    struct pcr_onnx_model *model;
    const char *path = external_model(expected, 100);
    assert_int_equal(truncate(path_of("weights.bin"), 399), 0);
    assert_int_equal(pcr_onnx_model_load(path, &model, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "cut short"));
    unlink(path_of("weights.bin"));
    assert_int_equal(pcr_onnx_model_load(path, &model, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "not there"));
    assert_int_equal(symlink("/etc/passwd", path_of("weights.bin")), 0);
    assert_int_equal(pcr_onnx_model_load(path, &model, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "leads out of the folder"));
}

// --- changes ------------------------------------------------------------------------------------
static void a_snapshot_brings_everything_back(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    struct pcr_buf before = packed(model);
    for (int round = 0; round < 3; round++) {
        const struct pcr_onnx_snapshot *snapshot = pcr_onnx_model_snapshot(model);
        assert_non_null(snapshot);
        add_node(model, "Relu", NAMES("y"), 1, "z");
        add_weights(model, "more", SHAPE(3), 1, 1);
        add_value(model, "z", false, SHAPE(-1, 10), 2);
        pcr_onnx_model_set_opset(model, "", 15);
        pcr_onnx_model_set_opset(model, "com.microsoft", 1);
        pcr_onnx_model_set_metadata(model, "key", "value");
        pcr_onnx_model_drop_unused(model, NAMES("more"), 1);
        assert_null(pcr_onnx_model_constant(model, "more"));
        pcr_onnx_model_restore(model, snapshot);
        struct pcr_buf after = packed(model);
        assert_int_equal(after.len, before.len);
        assert_memory_equal(after.data, before.data, after.len);
        pcr_buf_fini(&after);
    }
    pcr_buf_fini(&before);
    pcr_onnx_model_destroy(model);
}

static void only_what_nobody_uses_is_dropped(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    add_weights(model, "spare", SHAPE(3), 1, 1);
    add_weights(model, "kept", SHAPE(3), 1, 1);
    pcr_onnx_model_drop_unused(model, NAMES("spare", "w0", "x"), 3);
    assert_null(pcr_onnx_model_constant(model, "spare"));
    assert_non_null(pcr_onnx_model_constant(model, "kept"));
    assert_non_null(pcr_onnx_model_constant(model, "w0"));
    assert_int_equal(pcr_onnx_model_n_inputs(model), 1);
    pcr_onnx_model_destroy(model);
}

static void a_free_name_is_free(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    assert_string_equal(pcr_onnx_model_free_name(model, "new"), "new");
    assert_string_equal(pcr_onnx_model_free_name(model, "new"), "new_1");
    assert_string_equal(pcr_onnx_model_free_name(model, "w0"), "w0_1");
    assert_string_equal(pcr_onnx_model_free_name(model, "h0"), "h0_1");
    assert_string_equal(pcr_onnx_model_free_name(model, "x"), "x_1");
    pcr_onnx_model_destroy(model);
}

static void a_copied_node_may_be_changed(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    size_t n;
    struct pcr_onnx_node *node = pcr_onnx_model_nodes(model, &n)[0];
    pcr_onnx_set_attr_f32(model, node, "alpha", 2);
    struct pcr_onnx_node *copy = pcr_onnx_node_copy(model, node);
    pcr_onnx_set_attr_f32(model, copy, "alpha", 3);
    pcr_onnx_set_attr_i64(model, copy, "transB", 1);
    pcr_onnx_node_set_input(model, copy, 0, "other");
    assert_true(pcr_onnx_attr_f32(node, "alpha", 1) == 2);
    assert_true(pcr_onnx_attr_f32(copy, "alpha", 1) == 3);
    assert_false(pcr_onnx_node_has_attr(node, "transB"));
    assert_string_equal(pcr_onnx_node_input(node, 0), "x");
    pcr_onnx_model_destroy(model);
}

// --- bad files ----------------------------------------------------------------------------------
static int parse(const char *bytes, size_t n, struct pacer_error *err) {
    struct pcr_buf file;
    struct pcr_onnx_model *model = NULL;
    pcr_buf_init(&file, 1 << 24);
    pcr_buf_append(&file, bytes, n);
    int code = pcr_onnx_model_parse(&file, NULL, &model, err);
    if (code == 0)
        pcr_onnx_model_destroy(model);
    return code;
}

static void every_cut_file_is_refused_or_read(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    struct pcr_buf bytes = packed(model);
    struct pacer_error err;
    pcr_onnx_model_destroy(model);
    size_t n_refused = 0;
    for (size_t n = 0; n < bytes.len; n += n < 600 ? 1 : 4001) {
        err.message[0] = '\0';
        int code = parse(bytes.data, n, &err);
        assert_true(code == 0 || (code == PACER_EMODEL && err.message[0]));
        n_refused += code < 0;
    }
    assert_true(n_refused > 500);
    assert_int_equal(parse(bytes.data, bytes.len, &err), 0);
    pcr_buf_fini(&bytes);
}

// The mark that stands for a list of numbers while a file is unpacked must not come from outside.
static void a_file_cannot_bring_our_mark(void **state) {
    (void)state;
    // ModelProto.graph (7) { initializer (5) { field 19000, fixed32 } }
    static const char file[] = {0x3a, 9, 0x2a, 7, (char)0xc5, (char)0xa3, 0x09, 0, 0, 0, 0};
    struct pacer_error err;
    assert_int_equal(parse(file, sizeof file, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "19000"));
}

static void numbers_that_do_not_fit_their_shape_are_refused(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    struct pcr_buf bytes = packed(model);
    pcr_onnx_model_destroy(model);
    // dims of w0: 64, 128 (varints 0x40 and 0x80 0x01) behind each other
    char *at = memmem(bytes.data, bytes.len, "\x08\x40\x08\x80\x01", 5);
    assert_non_null(at);
    at[1] = 0x41;
    assert_int_equal(pcr_onnx_model_parse(&bytes, NULL, &model, NULL), 0);
    struct pcr_onnx_numbers numbers;
    struct pacer_error err;
    assert_int_equal(
        pcr_onnx_numbers_get(model, pcr_onnx_model_constant(model, "w0"), &numbers, &err),
        PACER_EMODEL);
    assert_non_null(strstr(err.message, "'w0'"));
    pcr_onnx_model_destroy(model);
}

// --- writing ------------------------------------------------------------------------------------
static void a_model_that_cannot_be_written_leaves_nothing(void **state) {
    (void)state;
    struct pcr_onnx_model *model = mlp();
    struct pacer_error err;
    assert_int_equal(pcr_onnx_model_save(model, path_of("no/such/folder/m.onnx"), &err), PACER_EIO);
    assert_non_null(strstr(err.message, "No such file"));
    pcr_onnx_model_destroy(model);
    char command[128];
    snprintf(command, sizeof command, "test -z \"$(ls '%s' | grep tmp)\"", folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_made_is_read),
        cmocka_unit_test(saving_changes_nothing),
        cmocka_unit_test(weights_at_any_offset_are_whole),
        cmocka_unit_test(external_weights_are_read_and_go_along),
        cmocka_unit_test(external_weights_elsewhere_are_refused),
        cmocka_unit_test(a_snapshot_brings_everything_back),
        cmocka_unit_test(only_what_nobody_uses_is_dropped),
        cmocka_unit_test(a_free_name_is_free),
        cmocka_unit_test(a_copied_node_may_be_changed),
        cmocka_unit_test(every_cut_file_is_refused_or_read),
        cmocka_unit_test(a_file_cannot_bring_our_mark),
        cmocka_unit_test(numbers_that_do_not_fit_their_shape_are_refused),
        cmocka_unit_test(a_model_that_cannot_be_written_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
