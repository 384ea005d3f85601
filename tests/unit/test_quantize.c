// SPDX-License-Identifier: Apache-2.0
// Quantizing whole models: what comes out runs, is near FP32, and says what it was made from; what
// cannot be quantized is refused or left alone with a reason.
#include "model_fixture.h"

#include "infer/infer.h"
#include "quantize/plan.h"

#include <pacer/quantize.h>
#include <sys/stat.h>

// --- running ------------------------------------------------------------------------------------
static struct pacer_quantize_options quick(void) {
    struct pacer_quantize_options options = PACER_QUANTIZE_OPTIONS_INIT;
    static const size_t one = 1;
    options.batch_sizes = &one;
    options.n_batch_sizes = 1;
    options.seconds = 0.005;
    options.rows = 60;
    options.force = true; // speed is not what is tested here
    return options;
}

static enum pacer_quantize_verdict quantize(const char *in, const char *out,
                                            const struct pacer_quantize_options *options) {
    struct pacer_quantize_report *report = NULL;
    struct pacer_error err = {0};
    if (pacer_quantize(in, out, options, &report, &err) < 0)
        fail_msg("%s", err.message);
    enum pacer_quantize_verdict verdict = pacer_quantize_report_verdict(report);
    assert_true(strlen(pacer_quantize_report_summary(report)) > 0);
    pacer_quantize_report_destroy(report);
    return verdict;
}

static int refusal(const char *in, const struct pacer_quantize_options *options,
                   struct pacer_error *err) {
    struct pacer_quantize_report *report = NULL;
    int code = pacer_quantize(in, path_of("refused.onnx"), options, &report, err);
    assert_true(code < 0);
    assert_null(report);
    assert_int_equal(access(path_of("refused.onnx"), F_OK), -1);
    return code;
}

static struct pacer_session *open_session(const char *path) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    struct pacer_session *session = NULL;
    struct pacer_error err = {0};
    options.skip_warm_up = true;
    if (pacer_session_get(path, &options, &session, &err) < 0)
        fail_msg("%s", err.message);
    return session;
}

// Signal to noise of what the second model gives, in dB, on 20 rows of its only input.
static double snr_of(const char *fp32, const char *int8, const int64_t *shape, size_t rank) {
    struct pacer_session *sessions[2] = {open_session(fp32), open_session(int8)};
    size_t count, n = 0;
    double signal = 0, noise = 0;
    pacer_shape_count(shape, rank, &count);
    float *x = malloc(count * sizeof *x);
    for (int row = 0; row < 20; row++) {
        struct pacer_result *results[2];
        for (size_t i = 0; i < count; i++)
            x[i] = draw();
        for (size_t k = 0; k < 2; k++) {
            const struct pacer_tensor input = {pacer_session_inputs(sessions[k], &n)[0].name,
                                               PACER_FP32, rank, shape, x};
            struct pacer_error err = {0};
            if (pacer_session_run(sessions[k], &(struct pacer_run){&input, 1, NULL, 0}, &results[k],
                                  &err) < 0)
                fail_msg("%s", err.message);
        }
        const struct pacer_tensor *a = pacer_result_tensor(results[0], 0),
                                  *b = pacer_result_tensor(results[1], 0);
        assert_int_equal(a->rank, b->rank);
        pacer_shape_count(a->shape, a->rank, &n);
        for (size_t i = 0; i < n; i++) {
            double p = (double)((const float *)a->data)[i], q = (double)((const float *)b->data)[i];
            signal += p * p;
            noise += (p - q) * (p - q);
        }
        pacer_result_destroy(results[0]);
        pacer_result_destroy(results[1]);
    }
    free(x);
    pacer_session_put(sessions[0]);
    pacer_session_put(sessions[1]);
    return 10 * log10(signal / noise);
}

static size_t count_nodes(const char *path, const char *op) {
    struct pcr_onnx_model *model;
    size_t n, found = 0;
    assert_int_equal(pcr_onnx_model_load(path, &model, NULL), 0);
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    for (size_t i = 0; i < n; i++)
        found += strcmp(pcr_onnx_node_op(nodes[i]), op) == 0;
    pcr_onnx_model_destroy(model);
    return found;
}

static off_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

// Rows of normal numbers with a header.
static const char *csv(const char *name, size_t rows, size_t columns) {
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t k = 0; k < columns; k++)
        fprintf(file, "%sf%zu", k ? "," : "", k);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++)
            fprintf(file, "%s%.6f", k ? "," : "\n", (double)draw());
    fprintf(file, "\n");
    fclose(file);
    return path;
}

// --- dynamic ------------------------------------------------------------------------------------
static void a_network_becomes_int8(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    const char *in = save_model(mlp(), "mlp.onnx"), *out = path_of("mlp.int8.onnx");
    assert_int_equal(quantize(in, out, &options) == PACER_QUANTIZE_MISSED, 0);
    assert_true(size_of(out) * 3 < size_of(in));
    assert_true(snr_of(in, out, SHAPE(1, 64), 2) > 28);
    assert_int_equal(count_nodes(out, "MatMulInteger"), 3);
    assert_int_equal(count_nodes(out, "DynamicQuantizeLinear"), 3);
    assert_int_equal(count_nodes(out, "Gemm"), 0);
    struct pacer_session *source = open_session(in), *session = open_session(out);
    assert_string_equal(pacer_session_metadata(session, PCR_QUANTIZED_FROM),
                        pacer_session_version(source));
    pacer_session_put(source);
    pacer_session_put(session);
}

// y = 0.5 · x · Wᵀ + 2 · b
static void transposed_and_scaled_products_stay_right(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    for (int bias = 0; bias < 3; bias++) {
        struct pcr_onnx_model *model = new_model(13);
        add_value(model, "x", true, SHAPE(-1, 70), 2);
        add_value(model, "y", false, SHAPE(-1, 100), 2);
        add_weights(model, "w", SHAPE(100, 70), 2, 0.1F);
        add_weights(model, "b", bias == 1 ? SHAPE(100) : SHAPE(1), 1, 1);
        struct pcr_onnx_node *node =
            add_node(model, "Gemm", NAMES("x", "w", "b"), bias ? 3 : 2, "y");
        pcr_onnx_set_attr_i64(model, node, "transB", 1);
        pcr_onnx_set_attr_f32(model, node, "alpha", -0.5F);
        pcr_onnx_set_attr_f32(model, node, "beta", 2);
        const char *in = save_model(model, "gemm.onnx"), *out = path_of("gemm.int8.onnx");
        quantize(in, out, &options);
        assert_true(snr_of(in, out, SHAPE(1, 70), 2) > 33);
    }
}

static void channels_of_their_own_are_more_exact(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 32), 2);
    add_value(model, "y", false, SHAPE(-1, 16), 2);
    float *w = add_weights(model, "w", SHAPE(32, 16), 2, 0.1F);
    for (size_t i = 0; i < 32; i++)
        w[i * 16] *= 100; // one channel that is much larger than the others
    add_node(model, "MatMul", NAMES("x", "w"), 2, "m");
    add_weights(model, "s", SHAPE(16), 1, 0);
    add_node(model, "Mul", NAMES("m", "m"), 2, "y");
    const char *in = save_model(model, "mm.onnx"), *one = path_of("one.onnx"),
               *many = path_of("many.onnx");
    quantize(in, one, &options);
    options.per_channel = true;
    quantize(in, many, &options);
    size_t rank;
    struct pcr_onnx_model *made;
    assert_int_equal(pcr_onnx_model_load(many, &made, NULL), 0);
    assert_int_equal(pcr_onnx_constant_shape(pcr_onnx_model_constant(made, "w_scale"), &rank)[0],
                     16);
    pcr_onnx_model_destroy(made);
    assert_true(size_of(many) > size_of(one));
}

static void a_convolution_has_unsigned_weights(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 3, 12, 12), 4);
    add_value(model, "y", false, SHAPE(-1, 8, 12, 12), 4);
    add_weights(model, "w", SHAPE(8, 3, 3, 3), 4, 0.2F);
    add_weights(model, "b", SHAPE(8), 1, 0.5F);
    struct pcr_onnx_node *node = add_node(model, "Conv", NAMES("x", "w", "b"), 3, "y");
    pcr_onnx_set_attr_i64s(model, node, "pads", SHAPE(1, 1, 1, 1), 4);
    const char *in = save_model(model, "conv.onnx"), *out = path_of("conv.int8.onnx");
    quantize(in, out, &options);
    assert_int_equal(count_nodes(out, "ConvInteger"), 1);
    assert_true(snr_of(in, out, SHAPE(1, 3, 12, 12), 4) > 33);
    struct pcr_onnx_model *made;
    assert_int_equal(pcr_onnx_model_load(out, &made, NULL), 0);
    assert_int_equal(pcr_onnx_constant_dtype(pcr_onnx_model_constant(made, "w_quantized")),
                     PACER_UINT8);
    pcr_onnx_model_destroy(made);
}

// x [T, N, 8] → LSTM 16 → y [T, 1, N, 16]
static void a_recurrent_network_becomes_int8(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, -1, 8), 3);
    add_value(model, "y", false, SHAPE(-1, 1, -1, 16), 4);
    add_weights(model, "w", SHAPE(1, 64, 8), 3, 0.3F);
    add_weights(model, "r", SHAPE(1, 64, 16), 3, 0.3F);
    add_weights(model, "b", SHAPE(1, 128), 2, 0.1F);
    struct pcr_onnx_node *node = add_node(model, "LSTM", NAMES("x", "w", "r", "b"), 4, "y");
    pcr_onnx_set_attr_i64(model, node, "hidden_size", 16);
    const char *in = save_model(model, "lstm.onnx"), *out = path_of("lstm.int8.onnx");
    quantize(in, out, &options);
    assert_int_equal(count_nodes(out, "DynamicQuantizeLSTM"), 1);
    assert_true(snr_of(in, out, SHAPE(5, 2, 8), 3) > 25);
}

// x [N, 6, 32] → com.microsoft Attention of four heads
static void attention_becomes_int8(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    pcr_onnx_model_set_opset(model, "com.microsoft", 1);
    add_value(model, "x", true, SHAPE(-1, 6, 32), 3);
    add_value(model, "y", false, SHAPE(-1, 6, 32), 3);
    add_weights(model, "w", SHAPE(32, 96), 2, 0.2F);
    add_weights(model, "b", SHAPE(96), 1, 0.1F);
    const struct pcr_onnx_node_parts parts = {.op = "Attention",
                                              .domain = "com.microsoft",
                                              .inputs = NAMES("x", "w", "b"),
                                              .n_inputs = 3,
                                              .outputs = NAMES("y"),
                                              .n_outputs = 1};
    struct pcr_onnx_node *node = pcr_onnx_node_create(model, &parts);
    pcr_onnx_set_attr_i64(model, node, "num_heads", 4);
    pcr_onnx_model_set_nodes(model, &node, 1);
    const char *in = save_model(model, "attention.onnx"), *out = path_of("attention.int8.onnx");
    quantize(in, out, &options);
    assert_int_equal(count_nodes(out, "QAttention"), 1);
    assert_true(snr_of(in, out, SHAPE(2, 6, 32), 3) > 25);
}

// Only the last state is wanted: the output before it is left out.
static void a_layer_may_leave_its_first_output_out(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, -1, 8), 3);
    add_value(model, "last", false, SHAPE(1, -1, 16), 3);
    add_weights(model, "w", SHAPE(1, 64, 8), 3, 0.3F);
    add_weights(model, "r", SHAPE(1, 64, 16), 3, 0.3F);
    const struct pcr_onnx_node_parts parts = {.op = "LSTM",
                                              .inputs = NAMES("x", "w", "r"),
                                              .n_inputs = 3,
                                              .outputs = NAMES("", "last"),
                                              .n_outputs = 2};
    struct pcr_onnx_node *node = pcr_onnx_node_create(model, &parts);
    pcr_onnx_set_attr_i64(model, node, "hidden_size", 16);
    pcr_onnx_model_set_nodes(model, &node, 1);
    const char *in = save_model(model, "last.onnx"), *out = path_of("last.int8.onnx");
    quantize(in, out, &options);
    assert_true(snr_of(in, out, SHAPE(5, 2, 8), 3) > 25);
}

static void rows_of_a_table_become_int8(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    const struct pacer_tensor_info ids = {"ids", PACER_INT64, 2, SHAPE(-1, 4)};
    pcr_onnx_model_add_input(model, &ids);
    add_value(model, "y", false, SHAPE(-1, 4, 32), 3);
    add_weights(model, "table", SHAPE(100, 32), 2, 1);
    add_node(model, "Gather", NAMES("table", "ids"), 2, "y");
    const char *in = save_model(model, "table.onnx"), *out = path_of("table.int8.onnx");
    quantize(in, out, &options);
    assert_true(size_of(out) * 2 < size_of(in));
    pacer_session_put(open_session(out));
}

// --- static -------------------------------------------------------------------------------------
static void with_data_ranges_are_fixed(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    const char *in = save_model(mlp(), "s.onnx"), *out = path_of("s.int8.onnx");
    options.calibration = csv("rows.csv", 200, 64);
    static const enum pacer_calibration methods[] = {
        PACER_CALIBRATION_MINMAX, PACER_CALIBRATION_PERCENTILE, PACER_CALIBRATION_ENTROPY};
    for (size_t i = 0; i < PCR_COUNT_OF(methods); i++) {
        options.method = methods[i];
        options.per_channel = i == 1;
        quantize(in, out, &options);
        // Entropy cuts the tails of what is nearly normal, the more so where there are few values.
        bool cuts = methods[i] == PACER_CALIBRATION_ENTROPY;
        assert_true(snr_of(in, out, SHAPE(1, 64), 2) > (cuts ? 12 : 20));
    }
    assert_int_equal(count_nodes(out, "QuantizeLinear"), 3);
    assert_int_equal(count_nodes(out, "DynamicQuantizeLinear"), 0);
    assert_int_equal(count_nodes(out, "Relu"), 0); // the range of INT8 ends at 0 there
}

// conv → Relu → conv → MaxPool → Flatten → Gemm
static void a_convolutional_network_flows_in_int8(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 3, 8, 8), 4);
    add_value(model, "y", false, SHAPE(-1, 5), 2);
    add_weights(model, "w0", SHAPE(8, 3, 3, 3), 4, 0.2F);
    add_weights(model, "b0", SHAPE(8), 1, 0.2F);
    add_weights(model, "w1", SHAPE(8, 8, 3, 3), 4, 0.15F);
    add_weights(model, "w2", SHAPE(32, 5), 2, 0.2F);
    add_node(model, "Conv", NAMES("x", "w0", "b0"), 3, "c0");
    add_node(model, "Relu", NAMES("c0"), 1, "r0");
    add_node(model, "Conv", NAMES("r0", "w1"), 2, "c1");
    struct pcr_onnx_node *pool = add_node(model, "MaxPool", NAMES("c1"), 1, "p");
    pcr_onnx_set_attr_i64s(model, pool, "kernel_shape", SHAPE(2, 2), 2);
    pcr_onnx_set_attr_i64s(model, pool, "strides", SHAPE(2, 2), 2);
    add_node(model, "Flatten", NAMES("p"), 1, "f");
    add_node(model, "Gemm", NAMES("f", "w2"), 2, "y");
    const char *in = save_model(model, "cnn.onnx"), *out = path_of("cnn.int8.onnx");
    const char *rows = csv("pixels.csv", 100, 192);
    options.calibration = rows;
    quantize(in, out, &options);
    assert_true(snr_of(in, out, SHAPE(1, 3, 8, 8), 4) > 22);
    assert_int_equal(count_nodes(out, "QuantizeLinear"), 5); // x, r0, c1, p, f
}

// Its scale is next to nothing, so its bias is no number of 32 bits in that.
static void a_channel_without_weights_keeps_its_bias(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 16), 2);
    add_value(model, "y", false, SHAPE(-1, 4), 2);
    float *w = add_weights(model, "w", SHAPE(16, 4), 2, 0.3F);
    for (size_t i = 0; i < 16; i++)
        w[4 * i] *= 1e-20F;
    add_weights(model, "b", SHAPE(4), 1, 1)[0] = 5;
    add_node(model, "Gemm", NAMES("x", "w", "b"), 3, "y");
    const char *in = save_model(model, "dead.onnx"), *out = path_of("dead.int8.onnx");
    options.calibration = csv("dead.csv", 50, 16);
    options.per_channel = true;
    quantize(in, out, &options);
    assert_true(snr_of(in, out, SHAPE(1, 16), 2) > 25);
}

// An output that is in the middle of it keeps its name, and its consumers.
static void an_output_in_the_middle_keeps_its_name(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = mlp();
    add_value(model, "h0", false, SHAPE(-1, 128), 2);
    add_value(model, "s1", false, SHAPE(-1, 128), 2);
    const char *in = save_model(model, "middle.onnx"), *out = path_of("middle.int8.onnx");
    options.calibration = csv("middle.csv", 50, 64);
    quantize(in, out, &options);
    size_t n;
    struct pacer_session *session = open_session(out);
    const struct pacer_tensor_info *outputs = pacer_session_outputs(session, &n);
    assert_int_equal(n, 3);
    assert_string_equal(outputs[1].name, "h0");
    assert_string_equal(outputs[2].name, "s1");
    pacer_session_put(session);
    assert_true(snr_of(in, out, SHAPE(1, 64), 2) > 20);
}

// --- limits -------------------------------------------------------------------------------------
static void limits_leave_layers_as_they_are(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    const char *in = save_model(mlp(), "limits.onnx"), *out = path_of("limits.int8.onnx");
    options.min_snr_db = 20;
    assert_int_not_equal(quantize(in, out, &options), PACER_QUANTIZE_MISSED);
    assert_int_equal(count_nodes(out, "MatMulInteger"), 3);
    options.min_snr_db = 42; // more than three layers can hold
    enum pacer_quantize_verdict verdict = quantize(in, out, &options);
    assert_true(count_nodes(out, "MatMulInteger") < 3);
    assert_true(count_nodes(out, "Gemm") > 0);
    if (verdict != PACER_QUANTIZE_MISSED)
        assert_true(snr_of(in, out, SHAPE(1, 64), 2) > 38); // on other rows
    options.min_snr_db = 120;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_MISSED);
    assert_true(count_nodes(out, "MatMulInteger") >= 1); // the best that was found
    options.min_snr_db = 0;
    options.max_rmse = 0;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_MISSED);
    options.max_rmse = 1e6;
    options.max_flips = 1;
    assert_int_not_equal(quantize(in, out, &options), PACER_QUANTIZE_MISSED);
    assert_int_equal(count_nodes(out, "MatMulInteger"), 3);
}

// --- nothing to gain ----------------------------------------------------------------------------
static void where_nothing_can_be_quantized_nothing_is_written(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 4), 2);
    add_value(model, "y", false, SHAPE(-1, 4), 2);
    add_node(model, "Relu", NAMES("x"), 1, "y");
    const char *in = save_model(model, "relu.onnx"), *out = path_of("relu.int8.onnx");
    options.force = false;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_NOTHING);
    assert_int_equal(size_of(out), -1);
    options.force = true;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_NOTHING);
    assert_true(size_of(out) > 0);
}

static void a_model_that_is_slower_is_not_written(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pcr_onnx_model *model = new_model(13); // so small that the rounding costs more
    add_value(model, "x", true, SHAPE(-1, 4), 2);
    add_value(model, "y", false, SHAPE(-1, 4), 2);
    add_weights(model, "w", SHAPE(4, 4), 2, 1);
    add_node(model, "MatMul", NAMES("x", "w"), 2, "y");
    const char *in = save_model(model, "small.onnx"), *out = path_of("small.int8.onnx");
    options.force = false;
    options.seconds = 0.05;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_SLOWER);
    assert_int_equal(size_of(out), -1);
    options.force = true;
    assert_int_equal(quantize(in, out, &options), PACER_QUANTIZE_SLOWER);
    assert_true(size_of(out) > 0);
}

// --- refusals -----------------------------------------------------------------------------------
static void what_was_quantized_is_refused(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pacer_error err;
    const char *in = save_model(mlp(), "twice.onnx"), *out = path_of("twice.int8.onnx");
    quantize(in, out, &options);
    assert_int_equal(refusal(out, &options, &err), PACER_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "quantized already"));
}

static void bad_options_are_refused(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pacer_error err;
    const char *in = save_model(mlp(), "options.onnx");
    static const char *const unknown = "no such node";
    options.exclude = &unknown;
    options.n_exclude = 1;
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "'no such node'"));
    options = quick();
    options.ops = &unknown;
    options.n_ops = 1;
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "MatMul"));
    options = quick();
    options.max_flips = 0.1;
    options.skip_evidence = true;
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    options = quick();
    options.max_flips = 2;
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    options = quick();
    options.calibration = csv("narrow.csv", 10, 63);
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "63"));
    options.calibration = path_of("none.csv");
    assert_int_equal(refusal(in, &options, &err), PACER_ENOTFOUND);
    struct pacer_quantize_report *report;
    options = quick();
    assert_int_equal(pacer_quantize(in, in, &options, &report, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "the output is the input"));
}

static void excluded_nodes_stay(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    const char *in = save_model(mlp(), "exclude.onnx"), *out = path_of("exclude.int8.onnx");
    static const char *const names[] = {"s0", "y*"};
    options.exclude = names;
    options.n_exclude = 2;
    quantize(in, out, &options);
    assert_int_equal(count_nodes(out, "MatMulInteger"), 1);
    assert_int_equal(count_nodes(out, "Gemm"), 2);
}

static void weights_that_are_not_finite_are_refused(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pacer_error err;
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 8), 2);
    add_value(model, "y", false, SHAPE(-1, 8), 2);
    add_weights(model, "w", SHAPE(8, 8), 2, 1)[13] = NAN;
    add_node(model, "MatMul", NAMES("x", "w"), 2, "y");
    const char *in = save_model(model, "nan.onnx");
    assert_int_equal(refusal(in, &options, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "'w'"));
}

static void an_old_model_is_raised_or_refused(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pacer_error err;
    struct pcr_onnx_model *model = mlp();
    pcr_onnx_model_set_opset(model, "", 9);
    const char *in = save_model(model, "nine.onnx"), *out = path_of("nine.int8.onnx");
    quantize(in, out, &options);
    struct pcr_onnx_model *made;
    assert_int_equal(pcr_onnx_model_load(out, &made, NULL), 0);
    assert_int_equal(pcr_onnx_model_opset(made, ""), 11);
    pcr_onnx_model_destroy(made);
    assert_true(snr_of(in, out, SHAPE(1, 64), 2) > 28);
    model = mlp();
    pcr_onnx_model_set_opset(model, "", 10);
    pcr_onnx_set_attr_f32(model, add_node(model, "Clip", NAMES("y"), 1, "z"), "min", 0);
    in = save_model(model, "ten.onnx");
    assert_int_equal(refusal(in, &options, &err), PACER_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "Clip"));
}

static void names_that_nothing_makes_are_refused(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pacer_error err;
    struct pcr_onnx_model *model = mlp();
    add_node(model, "Relu", NAMES("nothing"), 1, "z");
    refusal(save_model(model, "dangling.onnx"), &options, &err);
    assert_non_null(strstr(err.message, "nothing"));
}

static void a_disk_that_is_full_leaves_no_half_file(void **state) {
    (void)state;
    const struct pacer_quantize_options options = quick();
    struct pacer_error err;
    struct pacer_quantize_report *report;
    const char *in = save_model(mlp(), "full.onnx");
    assert_int_equal(pacer_quantize(in, path_of("none/full.int8.onnx"), &options, &report, &err),
                     PACER_EIO);
}

// --- the report ---------------------------------------------------------------------------------
static bool is_plain(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' && *text != '\n')
            return false;
    return true;
}

// What a file calls its nodes is the file's business; a terminal and a browser must not obey it.
static void names_of_a_model_do_no_harm_in_reports(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pacer_quantize_report *report;
    struct pcr_onnx_model *model = new_model(13);
    char long_name[600] = "\033[2J<script>alert(1)</script>&\"";
    size_t used = strlen(long_name);
    memset(long_name + used, 'x', sizeof long_name - 1 - used);
    add_value(model, "x", true, SHAPE(-1, 8), 2);
    add_value(model, long_name, false, SHAPE(-1, 8), 2);
    add_weights(model, "w", SHAPE(8, 8), 2, 1);
    add_node(model, "MatMul", NAMES("x", "w"), 2, long_name);
    const char *in = save_model(model, "names.onnx");
    assert_int_equal(pacer_quantize(in, path_of("names.int8.onnx"), &options, &report, NULL), 0);
    assert_true(is_plain(pacer_quantize_report_text(report)));
    const char *html = pacer_quantize_report_html(report);
    assert_true(is_plain(html));
    assert_null(strstr(html, "<script"));
    assert_non_null(strstr(html, "&lt;script&gt;"));
    const char *json = pacer_quantize_report_json(report);
    assert_true(is_plain(json));
    assert_non_null(strstr(json, "\\u001b[2J<script>"));
    pacer_quantize_report_destroy(report);
}

static void a_report_has_what_was_measured(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pacer_quantize_report *report;
    static const size_t sizes[] = {1, 4};
    options.batch_sizes = sizes;
    options.n_batch_sizes = 2;
    options.min_snr_db = 20;
    const char *in = save_model(mlp(), "report.onnx");
    assert_int_equal(pacer_quantize(in, path_of("report.int8.onnx"), &options, &report, NULL), 0);
    static const char *const words[] = {
        "\"batch\":1,",    "\"batch\":4,",    "\"snr_db\":",    "\"layers\":[{",
        "\"name\":\"s0\"", "\"flips_high\":", "\"drawn\":true", "\"memory_before_bytes\":"};
    for (size_t i = 0; i < PCR_COUNT_OF(words); i++)
        if (!strstr(pacer_quantize_report_json(report), words[i]))
            fail_msg("no %s in %s", words[i], pacer_quantize_report_json(report));
    assert_non_null(strstr(pacer_quantize_report_text(report), "drawn"));
    assert_non_null(strstr(pacer_quantize_report_html(report), "<svg"));
    pacer_quantize_report_destroy(report);
    options.skip_evidence = true; // and nothing that was not
    options.min_snr_db = 0;
    assert_int_equal(pacer_quantize(in, path_of("report.int8.onnx"), &options, &report, NULL), 0);
    assert_non_null(strstr(pacer_quantize_report_json(report), "\"latencies\":[]"));
    assert_null(strstr(pacer_quantize_report_json(report), "\"alone\""));
    pacer_quantize_report_destroy(report);
}

static int stop_at_once(void *ctx, const char *stage, size_t done, size_t total) {
    (void)stage, (void)done, (void)total;
    return ++*(int *)ctx > 2;
}

static void it_can_be_stopped(void **state) {
    (void)state;
    struct pacer_quantize_options options = quick();
    struct pacer_error err;
    int calls = 0;
    options.progress = stop_at_once;
    options.progress_ctx = &calls;
    const char *in = save_model(mlp(), "stop.onnx");
    assert_int_equal(refusal(in, &options, &err), PACER_ECANCELED);
    assert_int_equal(calls, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_becomes_int8),
        cmocka_unit_test(transposed_and_scaled_products_stay_right),
        cmocka_unit_test(channels_of_their_own_are_more_exact),
        cmocka_unit_test(a_convolution_has_unsigned_weights),
        cmocka_unit_test(a_recurrent_network_becomes_int8),
        cmocka_unit_test(attention_becomes_int8),
        cmocka_unit_test(a_layer_may_leave_its_first_output_out),
        cmocka_unit_test(rows_of_a_table_become_int8),
        cmocka_unit_test(with_data_ranges_are_fixed),
        cmocka_unit_test(a_convolutional_network_flows_in_int8),
        cmocka_unit_test(a_channel_without_weights_keeps_its_bias),
        cmocka_unit_test(an_output_in_the_middle_keeps_its_name),
        cmocka_unit_test(limits_leave_layers_as_they_are),
        cmocka_unit_test(where_nothing_can_be_quantized_nothing_is_written),
        cmocka_unit_test(a_model_that_is_slower_is_not_written),
        cmocka_unit_test(what_was_quantized_is_refused),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(excluded_nodes_stay),
        cmocka_unit_test(weights_that_are_not_finite_are_refused),
        cmocka_unit_test(an_old_model_is_raised_or_refused),
        cmocka_unit_test(names_that_nothing_makes_are_refused),
        cmocka_unit_test(a_disk_that_is_full_leaves_no_half_file),
        cmocka_unit_test(names_of_a_model_do_no_harm_in_reports),
        cmocka_unit_test(a_report_has_what_was_measured),
        cmocka_unit_test(it_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
