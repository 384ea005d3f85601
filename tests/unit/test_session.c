// SPDX-License-Identifier: Apache-2.0
#include "infer_fixture.h"

#include <pthread.h>

// --- loading ------------------------------------------------------------------------------------
static void bad_models_are_refused_with_reasons(void **state) {
    (void)state;
    static const struct {
        const char *name, *word;
    } bad[] = {
        {"external_outside.onnx", ".."},        {"external_up.onnx", ".."},
        {"external_abs.onnx", "absolute"},      {"external_missing.onnx", "nowhere.bin"},
        {"external_short.onnx", "cut short"},   {"empty.onnx", "empty"},
        {"truncated.onnx", "cut short"},        {"notonnx.onnx", "text file"},
        {"noise.onnx", "not a protobuf"},       {"no_graph.onnx", "no graph"},
        {"future_opset.onnx", "999"},           {"future_ir.onnx", "999"},
        {"unknown_op.onnx", "Frobnicate"},      {"unknown_domain.onnx", "Frobnicate"},
        {"type_mismatch.onnx", "ONNX Runtime"}, {"missing_input.onnx", "ONNX Runtime"},
        {"cycle.onnx", "ONNX Runtime"},         {"huge_dims.onnx", "ONNX Runtime"},
        {"zipmap.onnx", "zipmap=False"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++) {
        struct pacer_session *session = (struct pacer_session *)state;
        struct pacer_error err = {0};
        int code = pacer_session_get(model_path(bad[i].name), NULL, &session, &err);
        if (code != PACER_EMODEL || err.code != code || session)
            fail_msg("%s: %d %s", bad[i].name, code, err.message);
        if (!strstr(err.message, bad[i].word) || !strstr(err.message, bad[i].name) ||
            strstr(err.message, "/onnxruntime"))
            fail_msg("%s: does not say '%s': %s", bad[i].name, bad[i].word, err.message);
        assert_string_equal(err.component[0] == 'o' ? "onnx" : "session", err.component);
    }
}

static void what_is_not_there_is_not_found(void **state) {
    struct pacer_session *session;
    struct pacer_error err = {0};
    (void)state;
    assert_int_equal(pacer_session_get("/no/such.onnx", NULL, &session, &err), PACER_ENOTFOUND);
    assert_int_equal(pacer_session_get("", NULL, &session, &err), PACER_ENOTFOUND);
    assert_int_equal(pacer_session_get("/tmp", NULL, &session, &err), PACER_EIO);
    assert_int_equal(pacer_session_get("/dev/null", NULL, &session, &err), PACER_EIO);
    char *longest = calloc(1, 100001);
    memset(longest, 'a', 100000);
    assert_int_equal(pacer_session_get(longest, NULL, &session, &err), PACER_EIO);
    assert_int_equal(pacer_session_get(longest, NULL, &session, NULL), PACER_EIO);
    free(longest);
}

static void links_are_followed_only_within_the_folder(void **state) {
    const char *dir = *state;
    char path[512];
    char to[512];
    struct pacer_session *session;
    struct pacer_error err = {0};
    // As Kubernetes mounts volumes: model and weights are links into one hidden folder.
    snprintf(path, sizeof path, "%s/..data", dir);
    make_dir(path);
    snprintf(path, sizeof path, "%s/..data/m.onnx", dir);
    put_model(path, "external_inside.onnx");
    snprintf(path, sizeof path, "%s/..data/external_inside.bin", dir);
    put_model(path, "external_inside.bin");
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    assert_int_equal(symlink("..data/m.onnx", path), 0);
    snprintf(to, sizeof to, "%s/external_inside.bin", dir);
    assert_int_equal(symlink("..data/external_inside.bin", to), 0);
    int code = pacer_session_get(path, NULL, &session, &err);
    if (code < 0)
        fail_msg("%s", err.message);
    pacer_session_put(session);
    // A link that leads out.
    assert_int_equal(unlink(to), 0);
    assert_int_equal(symlink(model_path("external_inside.bin"), to), 0);
    assert_int_equal(pacer_session_get(path, NULL, &session, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "leads out"));
    // A folder in the place of the file.
    assert_int_equal(unlink(to), 0);
    make_dir(to);
    assert_int_equal(pacer_session_get(path, NULL, &session, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "regular file"));
}

static void one_file_is_one_session(void **state) {
    const char *dir = *state;
    char path[512];
    char link[512];
    struct pacer_session *a;
    struct pacer_session *b;
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    snprintf(link, sizeof link, "%s/link.onnx", dir);
    put_model(path, "plus1.onnx");
    assert_int_equal(symlink("m.onnx", link), 0);
    assert_int_equal(pacer_session_get(path, NULL, &a, NULL), 0);
    assert_int_equal(pacer_session_get(link, NULL, &b, NULL), 0);
    assert_ptr_equal(a, b);
    pacer_session_put(b);
    // Other options are another session.
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.intra_op_threads = 2;
    assert_int_equal(pacer_session_get(path, &options, &b, NULL), 0);
    assert_ptr_not_equal(a, b);
    pacer_session_put(b);
    // A changed file is another session, and the old one lives on.
    put_model(path, "plus2.onnx");
    assert_int_equal(pacer_session_get(path, NULL, &b, NULL), 0);
    assert_ptr_not_equal(a, b);
    assert_string_not_equal(pacer_session_version(a), pacer_session_version(b));
    pacer_session_put(a);
    pacer_session_put(b);
    pacer_session_put(NULL);
}

static void changed_weights_are_seen(void **state) {
    const char *dir = *state;
    char path[512];
    char weights[512];
    struct pacer_session *a;
    struct pacer_session *b;
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    snprintf(weights, sizeof weights, "%s/external_inside.bin", dir);
    put_model(path, "external_inside.onnx");
    put_model(weights, "external_inside.bin");
    assert_int_equal(pacer_session_get(path, NULL, &a, NULL), 0);
    put_file(weights, (float[]){10, 20, 30, 40}, 16);
    assert_int_equal(pacer_session_get(path, NULL, &b, NULL), 0);
    assert_ptr_not_equal(a, b);
    assert_string_not_equal(pacer_session_version(a), pacer_session_version(b));
    float row[4] = {1, 1, 1, 1};
    struct pacer_tensor input = {"X", PACER_FP32, 2, (int64_t[]){1, 4}, row};
    struct pacer_result *result;
    assert_int_equal(pacer_session_run(b, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_true(((const float *)pacer_result_tensor(result, 0)->data)[3] == 41);
    pacer_result_destroy(result);
    pacer_session_put(a);
    pacer_session_put(b);
}

static void the_quantized_variant_is_taken_when_it_is_there(void **state) {
    const char *dir = *state;
    char path[512];
    struct pacer_session *session;
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.use_quantized = true;
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    put_model(path, "plus1.onnx");
    assert_int_equal(pacer_session_get(path, &options, &session, NULL), 0);
    assert_false(pcr_session_is_quantized(session));
    pacer_session_put(session);
    char twin[512];
    snprintf(twin, sizeof twin, "%s/m.int8.onnx", dir);
    put_model(twin, "plus2.onnx");
    assert_int_equal(pacer_session_get(path, &options, &session, NULL), 0);
    assert_true(pcr_session_is_quantized(session));
    pacer_session_put(session);
    assert_int_equal(pacer_session_get(path, NULL, &session, NULL), 0);
    assert_false(pcr_session_is_quantized(session));
    pacer_session_put(session);
}

static void a_model_says_what_it_declares(void **state) {
    (void)state;
    size_t n;
    struct pacer_session *s = open_model("default_input.onnx");
    const struct pacer_tensor_info *infos = pacer_session_inputs(s, &n);
    assert_int_equal(n, 1);
    assert_string_equal(infos[0].name, "X");
    assert_int_equal(infos[0].dtype, PACER_FP32);
    assert_int_equal(infos[0].rank, 2);
    assert_int_equal(infos[0].shape[0], -1);
    assert_int_equal(infos[0].shape[1], 2);
    pacer_session_put(s);
    s = open_model("no_shape.onnx");
    infos = pacer_session_inputs(s, &n);
    assert_int_equal(infos[0].rank, 0);
    assert_null(infos[0].shape);
    pacer_session_put(s);
    s = open_model("scalar_input.onnx");
    infos = pacer_session_inputs(s, &n);
    assert_int_equal(infos[0].rank, 0);
    assert_non_null(infos[0].shape);
    pacer_session_put(s);
    s = open_model("classifier.onnx");
    assert_string_equal(pacer_session_metadata(s, "pacer.features"), "[\"up\", \"down\"]");
    assert_null(pacer_session_metadata(s, "no such key"));
    assert_int_equal(strlen(pacer_session_version(s)), 16);
    assert_string_equal(pacer_session_version(s), "6d1efb842d25ed39"); // sha256sum
    assert_true(pcr_session_run_ns(s) > 0 && pcr_session_run_ns(s) < UINT64_MAX);
    pacer_session_put(s);
}

// --- single flight ------------------------------------------------------------------------------
static void *get_slow(void *out) {
    struct pacer_session *session = NULL;
    pacer_session_get(model_path("slow.onnx"), NULL, &session, NULL);
    *(struct pacer_session **)out = session;
    return NULL;
}

static void *get_bad(void *out) {
    struct pacer_session *session;
    *(int *)out = pacer_session_get(model_path("cycle.onnx"), NULL, &session, NULL);
    return NULL;
}

static void threads_that_ask_at_once_share_one_load(void **state) {
    (void)state;
    pthread_t threads[8];
    struct pacer_session *sessions[8];
    int codes[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, get_slow, &sessions[i]);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++) {
        assert_non_null(sessions[i]);
        assert_ptr_equal(sessions[i], sessions[0]);
    }
    for (int i = 0; i < 8; i++)
        pacer_session_put(sessions[i]);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, get_bad, &codes[i]);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(codes[i], PACER_EMODEL);
    }
}

// --- running ------------------------------------------------------------------------------------
static void every_type_goes_in_and_out(void **state) {
    (void)state;
    static const struct {
        const char *model;
        enum pacer_dtype dtype;
    } types[] = {{"bool", PACER_BOOL},     {"int8", PACER_INT8},     {"int16", PACER_INT16},
                 {"int32", PACER_INT32},   {"int64", PACER_INT64},   {"uint8", PACER_UINT8},
                 {"uint16", PACER_UINT16}, {"uint32", PACER_UINT32}, {"uint64", PACER_UINT64},
                 {"fp16", PACER_FP16},     {"bf16", PACER_BF16},     {"fp32", PACER_FP32},
                 {"fp64", PACER_FP64}};
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++) {
        char name[64];
        snprintf(name, sizeof name, "identity_%s.onnx", types[i].model);
        struct pacer_session *s = open_model(name);
        uint64_t data[6];
        for (size_t k = 0; k < 6; k++)
            data[k] = types[i].dtype == PACER_BOOL ? 0x0001000100010001 * (k & 1)
                                                   : 0x0123456789abcdef * (k + 1);
        size_t bytes = 6 * pacer_dtype_size(types[i].dtype);
        struct pacer_tensor input = {"INPUT0", types[i].dtype, 2, (int64_t[]){2, 3}, data};
        struct pacer_result *result;
        struct pacer_error err = {0};
        if (pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, &err) < 0)
            fail_msg("%s: %s", name, err.message);
        assert_int_equal(pacer_result_count(result), 1);
        const struct pacer_tensor *output = pacer_result_tensor(result, 0);
        assert_string_equal(output->name, "OUTPUT0");
        assert_int_equal(output->dtype, types[i].dtype);
        assert_int_equal(output->rank, 2);
        assert_int_equal(output->shape[0], 2);
        assert_int_equal(output->shape[1], 3);
        uint64_t before[6];
        memcpy(before, data, sizeof before);
        memset(data, 0xff, sizeof data); // the output must not be a view into the input
        assert_memory_equal(output->data, before, bytes);
        assert_null(pacer_result_tensor(result, 1));
        pacer_result_destroy(result);
        pacer_session_put(s);
    }
    pacer_result_destroy(NULL);
}

static void strings_may_hold_any_byte(void **state) {
    (void)state;
    struct pacer_session *s = open_model("identity_string.onnx");
    static const struct pacer_bytes strings[4] = {{"", 0}, {"a\0b", 3}, {NULL, 0}, {"\xff\xfe", 2}};
    struct pacer_tensor input = {"INPUT0", PACER_BYTES, 2, (int64_t[]){1, 4}, strings};
    struct pacer_result *result;
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    const struct pacer_bytes *out = pacer_result_tensor(result, 0)->data;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(out[i].size, strings[i].size);
        assert_memory_equal(out[i].data, strings[i].data ? strings[i].data : "", strings[i].size);
    }
    pacer_result_destroy(result);
    pacer_session_put(s);
}

static void empty_tensors_and_scalars_run(void **state) {
    (void)state;
    struct pacer_result *result;
    struct pacer_session *s = open_model("identity_fp32.onnx");
    struct pacer_tensor input = {"INPUT0", PACER_FP32, 2, (int64_t[]){0, 3}, NULL};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_int_equal(pacer_result_tensor(result, 0)->shape[0], 0);
    assert_int_equal(pacer_result_tensor(result, 0)->shape[1], 3);
    pacer_result_destroy(result);
    pacer_session_put(s);
    s = open_model("identity_string.onnx");
    input.dtype = PACER_BYTES;
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_int_equal(pacer_result_tensor(result, 0)->shape[0], 0);
    pacer_result_destroy(result);
    pacer_session_put(s);
    s = open_model("scalar_input.onnx");
    float x = 41;
    input = (struct pacer_tensor){"X", PACER_FP32, 0, NULL, &x};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_int_equal(pacer_result_tensor(result, 0)->rank, 0);
    assert_true(*(const float *)pacer_result_tensor(result, 0)->data == 42);
    pacer_result_destroy(result);
    pacer_session_put(s);
    s = open_model("no_inputs.onnx");
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){NULL, 0, NULL, 0}, &result, NULL), 0);
    pacer_session_put(s); // the result outlives it
    assert_true(((const float *)pacer_result_tensor(result, 0)->data)[2] == 3);
    pacer_result_destroy(result);
}

static void optional_inputs_may_be_left_out(void **state) {
    (void)state;
    struct pacer_session *s = open_model("default_input.onnx");
    float x[2] = {1, 2};
    float factor = 3;
    struct pacer_tensor inputs[2] = {{"FACTOR", PACER_FP32, 1, (int64_t[]){1}, &factor},
                                     {"X", PACER_FP32, 2, (int64_t[]){1, 2}, x}};
    struct pacer_result *result;
    struct pacer_error err = {0};
    assert_int_equal(
        pacer_session_run(s, &(struct pacer_run){inputs + 1, 1, NULL, 0}, &result, &err), 0);
    assert_true(((const float *)pacer_result_tensor(result, 0)->data)[1] == 20);
    pacer_result_destroy(result);
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){inputs, 2, NULL, 0}, &result, &err),
                     0);
    assert_true(((const float *)pacer_result_tensor(result, 0)->data)[1] == 6);
    pacer_result_destroy(result);
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){inputs, 1, NULL, 0}, &result, &err),
                     PACER_EINVAL);
    assert_non_null(strstr(err.message, "'X' is missing"));
    pacer_session_put(s);
}

static void outputs_come_in_the_order_asked_for(void **state) {
    (void)state;
    struct pacer_session *s = open_model("simple.onnx");
    int32_t a[16];
    int32_t b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = 100 + i;
        b[i] = i;
    }
    int64_t shape[2] = {1, 16};
    struct pacer_tensor inputs[2] = {{"INPUT1", PACER_INT32, 2, shape, b},
                                     {"INPUT0", PACER_INT32, 2, shape, a}}; // not the model's order
    const char *wanted[2] = {"OUTPUT1", "OUTPUT0"};
    struct pacer_result *result;
    struct pacer_error err = {0};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){inputs, 2, wanted, 2}, &result, &err),
                     0);
    assert_string_equal(pacer_result_tensor(result, 0)->name, "OUTPUT1");
    assert_int_equal(((const int32_t *)pacer_result_tensor(result, 0)->data)[5], 100);
    assert_int_equal(((const int32_t *)pacer_result_tensor(result, 1)->data)[5], 110);
    pacer_result_destroy(result);
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){inputs, 2, wanted, 1}, &result, &err),
                     0);
    assert_int_equal(pacer_result_count(result), 1);
    pacer_result_destroy(result);
    const char *unknown[1] = {"OUTPUT7"};
    assert_int_equal(
        pacer_session_run(s, &(struct pacer_run){inputs, 2, unknown, 1}, &result, &err),
        PACER_EINVAL);
    assert_string_equal(err.message, "unexpected inference output 'OUTPUT7' for model 'simple'");
    const char *twice[2] = {"OUTPUT0", "OUTPUT0"};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){inputs, 2, twice, 2}, &result, &err),
                     PACER_EINVAL);
    assert_null(result);
    pacer_session_put(s);
}

static void odd_memory_is_put_right(void **state) {
    (void)state;
    struct pacer_result *result;
    struct pacer_session *s = open_model("identity_bool.onnx");
    uint8_t odd[4] = {0, 1, 2, 255};
    struct pacer_tensor input = {"INPUT0", PACER_BOOL, 2, (int64_t[]){1, 4}, odd};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_memory_equal(pacer_result_tensor(result, 0)->data, "\0\1\1\1", 4);
    assert_int_equal(odd[3], 255); // the caller's memory is not written
    pacer_result_destroy(result);
    pacer_session_put(s);
    s = open_model("plus1.onnx");
    char bytes[17];
    memcpy(bytes + 1, (float[]){1, 2, 3, 4}, 16);
    input = (struct pacer_tensor){"X", PACER_FP32, 2, (int64_t[]){1, 4}, bytes + 1};
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    assert_true(((const float *)pacer_result_tensor(result, 0)->data)[3] == 5);
    pacer_result_destroy(result);
    pacer_session_put(s);
}

// --- refusals: the words clients match on -------------------------------------------------------
static void expect_refusal(struct pacer_session *s, const struct pacer_tensor *inputs, size_t n,
                           int code, const char *message) {
    struct pacer_error err = {0};
    struct pacer_run run = {inputs, n, NULL, 0};
    assert_int_equal(pcr_session_check(s, "M", &run, &err), code);
    assert_string_equal(err.message, message);
    assert_int_equal(pcr_session_check(s, "M", &run, NULL), code);
}

static void wrong_runs_are_refused_in_the_protocols_words(void **state) {
    (void)state;
    struct pacer_session *s = open_model("simple.onnx");
    int32_t data[32] = {0};
    int64_t shape[2] = {1, 16};
    int64_t wrong[2] = {1, 15};
    int64_t negative[2] = {-1, 16};
    int64_t huge[2] = {INT64_MAX, 16};
    struct pacer_tensor a = {"INPUT0", PACER_INT32, 2, shape, data};
    struct pacer_tensor b = {"INPUT1", PACER_INT32, 2, shape, data};
    expect_refusal(s, (struct pacer_tensor[]){a}, 1, PACER_EINVAL,
                   "expected 2 inputs but got 1 inputs for model 'M'");
    expect_refusal(s, (struct pacer_tensor[]){a, b, a}, 3, PACER_EINVAL,
                   "expected 2 inputs but got 3 inputs for model 'M'");
    expect_refusal(s, (struct pacer_tensor[]){a, a}, 2, PACER_EINVAL,
                   "input 'INPUT0' is given twice for model 'M'");
    b.name = "INPUT9";
    expect_refusal(s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
                   "unexpected inference input 'INPUT9' for model 'M'");
    b.name = "INPUT1";
    b.dtype = PACER_FP32;
    expect_refusal(s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
                   "inference input 'INPUT1' data-type is 'FP32', but model 'M' expects 'INT32'");
    b.dtype = PACER_INT32;
    b.shape = wrong;
    expect_refusal(
        s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
        "unexpected shape for input 'INPUT1' for model 'M'. Expected [-1,16], got [1,15]");
    b.shape = negative;
    expect_refusal(
        s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
        "unexpected shape for input 'INPUT1' for model 'M'. Expected [-1,16], got [-1,16]");
    b.shape = shape;
    b.rank = 1;
    expect_refusal(s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
                   "unexpected shape for input 'INPUT1' for model 'M'. Expected [-1,16], got [1]");
    b.rank = 2;
    b.shape = huge;
    expect_refusal(
        s, (struct pacer_tensor[]){a, b}, 2, PACER_ELIMIT,
        "shape [9223372036854775807,16] for input 'INPUT1' for model 'M' has more elements than "
        "memory can hold");
    b.rank = 1000;
    expect_refusal(s, (struct pacer_tensor[]){a, b}, 2, PACER_EINVAL,
                   "input 'INPUT1' for model 'M' has 1000 dimensions; at most 16 are allowed");
    pacer_session_put(s);
}

static void failing_runs_leave_the_session_whole(void **state) {
    (void)state;
    struct pacer_session *s = open_model("gather.onnx");
    struct pacer_result *result;
    struct pacer_error err = {0};
    int64_t index = 10;
    struct pacer_tensor input = {"INDEX", PACER_INT64, 1, (int64_t[]){1}, &index};
    for (int i = 0; i < 100; i++) {
        index = 10;
        assert_int_equal(
            pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, &err),
            PACER_EMODEL);
        assert_null(result);
        assert_non_null(strstr(err.message, "out of"));
        index = 9;
        assert_int_equal(
            pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, &err), 0);
        assert_true(*(const float *)pacer_result_tensor(result, 0)->data == 81);
        pacer_result_destroy(result);
    }
    pacer_session_put(s);
}

static void a_full_arena_is_an_error(void **state) {
    (void)state;
    struct pacer_session *s = open_model("identity_string.onnx");
    static const struct pacer_bytes strings[2] = {{"0123456789", 10}, {"0123456789", 10}};
    struct pacer_tensor input = {"INPUT0", PACER_BYTES, 2, (int64_t[]){1, 2}, strings};
    struct pacer_run run = {&input, 1, NULL, 0};
    int ok = 0;
    for (size_t max = 0; max < 1024; max += 8) {
        struct pcr_arena arena;
        const struct pacer_tensor *outputs;
        size_t n;
        struct pacer_error err = {0};
        pcr_arena_init(&arena, max);
        int code = pcr_session_run(s, &run, &arena, &outputs, &n, &err);
        assert_true(code == 0 || code == PACER_ENOMEM);
        ok += code == 0;
        pcr_arena_fini(&arena);
    }
    assert_true(ok > 0 && ok < 128);
    pacer_session_put(s);
}

static void *run_many(void *arg) {
    struct pacer_session *s = arg;
    for (int i = 0; i < 500; i++) {
        float row[4] = {(float)i, 0, 0, 0};
        struct pacer_tensor input = {"X", PACER_FP32, 2, (int64_t[]){1, 4}, row};
        struct pacer_result *result;
        if (pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL) < 0 ||
            *(const float *)pacer_result_tensor(result, 0)->data != (float)i + 1)
            return s;
        pacer_result_destroy(result);
    }
    return NULL;
}

static void many_threads_run_one_session(void **state) {
    (void)state;
    struct pacer_session *s = open_model("plus1.onnx");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, run_many, s);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pacer_session_put(s);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true // freed memory is kept for a while
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

static size_t resident_bytes(void) {
    unsigned long total = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void load_run_and_fail(void) {
    struct pacer_session *s = open_model("gather.onnx");
    int64_t index = 3;
    struct pacer_tensor input = {"INDEX", PACER_INT64, 1, (int64_t[]){1}, &index};
    struct pacer_result *result;
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     0);
    pacer_result_destroy(result);
    index = 99;
    assert_int_equal(pacer_session_run(s, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL),
                     PACER_EMODEL);
    pacer_session_put(s);
    assert_int_equal(pacer_session_get(model_path("zipmap.onnx"), NULL, &s, NULL), PACER_EMODEL);
    assert_int_equal(pacer_session_get(model_path("cycle.onnx"), NULL, &s, NULL), PACER_EMODEL);
}

static void a_thousand_loads_take_no_more_memory(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++)
        load_run_and_fail();
    size_t before = resident_bytes();
    for (int i = 0; i < (IS_SANITIZED ? 10 : 1000); i++)
        load_run_and_fail();
    size_t after = resident_bytes();
    // A session takes tens of kilobytes:
    // one forgotten in a thousand loads would be seen many times over.
    if (!IS_SANITIZED && after > before + (2u << 20))
        fail_msg("%zu KiB before, %zu KiB after", before >> 10, after >> 10);
    printf("resident: %zu KiB before, %zu KiB after\n", before >> 10, after >> 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_models_are_refused_with_reasons),
        cmocka_unit_test(what_is_not_there_is_not_found),
        cmocka_unit_test_setup_teardown(links_are_followed_only_within_the_folder, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(one_file_is_one_session, make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(changed_weights_are_seen, make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(the_quantized_variant_is_taken_when_it_is_there,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test(a_model_says_what_it_declares),
        cmocka_unit_test(threads_that_ask_at_once_share_one_load),
        cmocka_unit_test(every_type_goes_in_and_out),
        cmocka_unit_test(strings_may_hold_any_byte),
        cmocka_unit_test(empty_tensors_and_scalars_run),
        cmocka_unit_test(optional_inputs_may_be_left_out),
        cmocka_unit_test(outputs_come_in_the_order_asked_for),
        cmocka_unit_test(odd_memory_is_put_right),
        cmocka_unit_test(wrong_runs_are_refused_in_the_protocols_words),
        cmocka_unit_test(failing_runs_leave_the_session_whole),
        cmocka_unit_test(a_full_arena_is_an_error),
        cmocka_unit_test(many_threads_run_one_session),
        cmocka_unit_test(a_thousand_loads_take_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
