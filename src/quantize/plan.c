// SPDX-License-Identifier: Apache-2.0
// Which nodes can be quantized.
//
// A node is a layer if ONNX Runtime has an integer kernel for it and its weights are constants of
// FP32. An initializer that is an input of the graph, too, is none from IR version 4 on: a caller
// may give another. Everything else is left alone, and where somebody would expect it to be
// quantized the reason is kept.
//
// ONNX operators are versioned, and the ones that dynamic quantization needs came with opset 11. An
// older model is raised to it if none of its operators changed its meaning on the way.
#include "quantize/plan.h"

#include <stdio.h>

#define OPSET_DYNAMIC 11 // DynamicQuantizeLinear
#define OPSET_STATIC 13  // DequantizeLinear with an axis
#define OPSET_OLDEST 7   // before that operators broadcast in another way

const char *const pcr_quant_op_names[PCR_QUANT_OPS] = {"MatMul", "Gemm", "Conv",
                                                       "Gather", "LSTM", "Attention"};

struct work {
    struct pcr_quant_plan *plan;
    const struct pcr_quant_choice *choice;
    struct pcr_map inputs; // names of the graph's inputs that may be given by a caller
    bool failed;
};

static enum pcr_quant_op op_of(const struct pcr_onnx_node *node) {
    if (strcmp(pcr_onnx_node_domain(node), "com.microsoft") == 0)
        return strcmp(pcr_onnx_node_op(node), "Attention") == 0 ? PCR_QUANT_ATTENTION
                                                                : PCR_QUANT_NONE;
    for (enum pcr_quant_op op = 0; op < PCR_QUANT_ATTENTION; op++)
        if (pcr_onnx_node_is(node, pcr_quant_op_names[op]))
            return op;
    return PCR_QUANT_NONE;
}

static const char *name_of(const struct pcr_onnx_node *node) {
    const char *name = pcr_onnx_node_name(node);
    return *name ? name : pcr_onnx_node_output(node, 0);
}

// --- what was chosen ----------------------------------------------------------------------------
static bool matches(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    return n > 0 && pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0
                                          : strcmp(pattern, name) == 0;
}

static bool is_excluded(const struct pcr_quant_choice *choice, const char *name) {
    for (size_t i = 0; i < choice->n_exclude; i++)
        if (matches(choice->exclude[i], name))
            return true;
    return false;
}

static bool is_chosen(const struct pcr_quant_choice *choice, enum pcr_quant_op op) {
    for (size_t i = 0; i < choice->n_ops; i++)
        if (strcmp(choice->ops[i], pcr_quant_op_names[op]) == 0)
            return true;
    return choice->n_ops == 0;
}

static int check_ops(const struct pcr_quant_choice *choice, struct pacer_error *err) {
    for (size_t i = 0; i < choice->n_ops; i++) {
        bool known = false;
        for (enum pcr_quant_op op = 0; op < PCR_QUANT_OPS; op++)
            known |= strcmp(choice->ops[i], pcr_quant_op_names[op]) == 0;
        if (!known)
            return pcr_err(err, PACER_EINVAL, "quantize",
                           "no such operator to quantize: '%.60s'; there are MatMul, Gemm, Conv, "
                           "Gather, LSTM and Attention",
                           choice->ops[i]);
    }
    return 0;
}

static int check_excluded(const struct pcr_onnx_model *model, const struct pcr_quant_choice *choice,
                          struct pacer_error *err) {
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    for (size_t k = 0; k < choice->n_exclude; k++) {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++)
            found = matches(choice->exclude[k], name_of(nodes[i]));
        if (!found)
            return pcr_err(err, PACER_EINVAL, "quantize",
                           "no node is called '%.100s'; a run without --exclude lists the names of "
                           "all layers",
                           choice->exclude[k]);
    }
    return 0;
}

// --- weights ------------------------------------------------------------------------------------
// The constant of that input, if it is one that nobody can change; else *why.
static const struct pcr_onnx_constant *
weight_of(struct work *work, const struct pcr_onnx_node *node, size_t input, const char **why) {
    const char *name = pcr_onnx_node_input(node, input);
    const struct pcr_onnx_constant *constant = pcr_onnx_model_constant(work->plan->model, name);
    if (!constant)
        *why = "its weights are computed by the model";
    else if (pcr_map_get(&work->inputs, pcr_str(name)))
        *why = "its weights are an input with a default, which a caller may replace";
    else if (pcr_onnx_constant_dtype(constant) == PACER_FP16)
        *why = "its weights are FP16; quantize the FP32 model it was made from";
    else if (pcr_onnx_constant_dtype(constant) != PACER_FP32)
        *why = "its weights are not FP32";
    else if (pcr_onnx_constant_count(constant) == 0)
        *why = "it has no weights";
    else
        return constant;
    return NULL;
}

static bool add_weight(struct work *work, struct pcr_quant_layer *layer, size_t input,
                       size_t rank_min, size_t rank_max, const char **why) {
    const struct pcr_onnx_constant *constant = weight_of(work, layer->node, input, why);
    size_t rank;
    if (!constant)
        return false;
    pcr_onnx_constant_shape(constant, &rank);
    if (rank < rank_min || rank > rank_max) {
        *why = "its weights have a number of dimensions that integer kernels do not take";
        return false;
    }
    struct pcr_quant_weight *weight = &layer->weights[layer->n_weights++];
    weight->constant = constant;
    weight->name = pcr_onnx_node_input(layer->node, input);
    weight->count = pcr_onnx_constant_count(constant);
    layer->count += weight->count;
    return true;
}

// --- operators ----------------------------------------------------------------------------------
static bool take_gemm(struct work *work, struct pcr_quant_layer *layer, const char **why) {
    const struct pcr_onnx_node *node = layer->node;
    const char *bias = pcr_onnx_node_input(node, 2);
    float beta = pcr_onnx_attr_f32(node, "beta", 1);
    if (pcr_onnx_attr_i64(node, "transA", 0) != 0)
        *why = "it transposes its input (transA)";
    else if (*bias && beta != 1 && !weight_of(work, node, 2, why))
        *why = "its bias is computed, and scaled (beta)";
    else
        return add_weight(work, layer, 1, 2, 2, why);
    return false;
}

static bool take_lstm(struct work *work, struct pcr_quant_layer *layer, const char **why) {
    if (pcr_onnx_attr_i64(layer->node, "layout", 0) != 0)
        *why = "ONNX Runtime's integer LSTM does not take batches first (layout)";
    else
        return add_weight(work, layer, 1, 3, 3, why) && add_weight(work, layer, 2, 3, 3, why);
    return false;
}

static bool take_attention(struct work *work, struct pcr_quant_layer *layer, const char **why) {
    size_t n = pcr_onnx_node_n_inputs(layer->node);
    for (size_t i = 5; i < n; i++) // inputs, weights, bias, mask and past are what QAttention has
        if (*pcr_onnx_node_input(layer->node, i)) {
            *why = "ONNX Runtime's integer attention does not take all of its inputs";
            return false;
        }
    if (pcr_onnx_node_has_attr(layer->node, "qkv_hidden_sizes")) {
        *why = "ONNX Runtime's integer attention does not take qkv_hidden_sizes";
        return false;
    }
    return add_weight(work, layer, 1, 2, 2, why);
}

// The kernels add a bias of their own.
static bool take_conv(struct work *work, struct pcr_quant_layer *layer, const char **why) {
    const struct pcr_onnx_node *node = layer->node;
    if (*pcr_onnx_node_input(node, 2) && !weight_of(work, node, 2, why)) {
        *why = "its bias is computed by the model";
        return false;
    }
    return add_weight(work, layer, 1, 3, 5, why);
}

// Fills the layer in; false with the reason, which is NULL where nobody would expect it.
static bool take(struct work *work, struct pcr_quant_layer *layer, const char **why) {
    switch (layer->op) {
    case PCR_QUANT_MATMUL:
        return add_weight(work, layer, 1, 2, PACER_RANK_MAX, why);
    case PCR_QUANT_GEMM:
        return take_gemm(work, layer, why);
    case PCR_QUANT_CONV:
        return take_conv(work, layer, why);
    case PCR_QUANT_GATHER:
        if (!pcr_onnx_model_constant(work->plan->model, pcr_onnx_node_input(layer->node, 0)) ||
            work->choice->is_static) {
            *why = NULL; // it gathers from what was computed
            return false;
        }
        return add_weight(work, layer, 0, 2, PACER_RANK_MAX, why);
    case PCR_QUANT_LSTM:
        return take_lstm(work, layer, why);
    case PCR_QUANT_ATTENTION:
        return take_attention(work, layer, why);
    case PCR_QUANT_OPS:
        break;
    }
    *why = NULL;
    return false;
}

static void look_at(struct work *work, const struct pcr_onnx_node *node) {
    static const enum pcr_quant_op dynamic_only[] = {PCR_QUANT_LSTM, PCR_QUANT_ATTENTION};
    struct pcr_quant_plan *plan = work->plan;
    enum pcr_quant_op op = op_of(node);
    if (op == PCR_QUANT_NONE)
        return;
    struct pcr_quant_layer layer = {.op = op, .node = node, .name = name_of(node)};
    const char *why = NULL;
    bool taken = false;
    if (!is_chosen(work->choice, op))
        why = "it is not among the chosen operators";
    else if (is_excluded(work->choice, layer.name))
        why = "it was excluded";
    else
        taken = take(work, &layer, &why);
    for (size_t i = 0; taken && work->choice->is_static && i < PCR_COUNT_OF(dynamic_only); i++)
        if (op == dynamic_only[i]) {
            taken = false;
            why = "it is quantized without calibration data only";
        }
    if (taken)
        plan->layers[plan->n++] = layer;
    else if (why)
        plan->skips[plan->n_skips++] =
            (struct pcr_quant_skip){layer.name, pcr_quant_op_names[op], why};
}

// --- the model as a whole -----------------------------------------------------------------------
// Weights are inputs in files before IR version 4, and those cannot be replaced.
static void note_inputs(struct work *work) {
    const struct pcr_onnx_model *model = work->plan->model;
    if (pcr_onnx_model_ir_version(model) < 4)
        return;
    for (size_t i = 0; i < pcr_onnx_model_n_inputs(model); i++)
        work->failed |=
            !pcr_map_put(&work->inputs, pcr_str(pcr_onnx_model_input(model, i)), work, NULL);
}

static bool is_quantized_op(const struct pcr_onnx_node *node) {
    static const char *const ops[] = {
        "DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear",    "MatMulInteger",
        "ConvInteger",           "QLinearConv",    "QLinearMatMul",       "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul", "QAttention",     "MatMulIntegerToFloat"};
    for (size_t i = 0; i < PCR_COUNT_OF(ops); i++)
        if (strcmp(pcr_onnx_node_op(node), ops[i]) == 0)
            return true;
    return false;
}

static int check_not_quantized(const struct pcr_onnx_model *model, struct pacer_error *err) {
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    for (size_t i = 0; i < n; i++)
        if (is_quantized_op(nodes[i]))
            return pcr_err(err, PACER_EUNSUPPORTED, "quantize",
                           "the model is quantized already: node '%.100s' is %s; quantize the FP32 "
                           "model it was made from",
                           name_of(nodes[i]), pcr_onnx_node_op(nodes[i]));
    return 0;
}

// What makes a name must come before who uses it, or ONNX Runtime would refuse the result, too
// late.
static int check_names(struct pcr_onnx_model *model, struct pacer_error *err) {
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    struct pcr_map made;
    pcr_map_init(&made);
    bool ok = true;
    int code = 0;
    for (size_t i = 0; i < pcr_onnx_model_n_inputs(model); i++)
        ok &= pcr_map_put(&made, pcr_str(pcr_onnx_model_input(model, i)), model, NULL);
    for (size_t i = 0; i < n && code == 0; i++) {
        for (size_t k = 0; k < pcr_onnx_node_n_inputs(nodes[i]) && code == 0; k++) {
            const char *name = pcr_onnx_node_input(nodes[i], k);
            if (*name && !pcr_map_get(&made, pcr_str(name)) &&
                !pcr_onnx_model_has_constant(model, name))
                code = pcr_err(err, PACER_EMODEL, "quantize",
                               "node '%.100s' (%.60s) uses '%.100s', which no node before it makes",
                               name_of(nodes[i]), pcr_onnx_node_op(nodes[i]), name);
        }
        for (size_t k = 0; k < pcr_onnx_node_n_outputs(nodes[i]); k++)
            ok &= pcr_map_put(&made, pcr_str(pcr_onnx_node_output(nodes[i], k)), model, NULL);
    }
    pcr_map_fini(&made);
    return code == 0 && !ok ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory") : code;
}

// Operators that mean something else in the wanted opset than in an older one: from that version
// on.
static int64_t changed_in(const char *op, int64_t after) {
    static const struct {
        const char *op;
        int64_t version;
    } changes[] = {{"BatchNormalization", 9},
                   {"Upsample", 9},
                   {"Upsample", 10},
                   {"Slice", 10},
                   {"TopK", 10},
                   {"Dropout", 10},
                   {"Resize", 11},
                   {"Clip", 11},
                   {"Pad", 11},
                   {"TopK", 11},
                   {"Scan", 9},
                   {"Dropout", 12},
                   {"Softmax", 13},
                   {"LogSoftmax", 13},
                   {"Hardmax", 13},
                   {"ReduceSum", 13},
                   {"Squeeze", 13},
                   {"Unsqueeze", 13},
                   {"Split", 13},
                   {"Loop", 11},
                   {"If", 11},
                   {"Scan", 11},
                   {"ArgMax", 12},
                   {"ArgMin", 12},
                   {"OneHot", 11},
                   {"DepthToSpace", 11},
                   {"CumSum", 14}};
    for (size_t i = 0; i < PCR_COUNT_OF(changes); i++)
        if (changes[i].version > after && strcmp(changes[i].op, op) == 0)
            return changes[i].version;
    return INT64_MAX;
}

static int find_opset(struct pcr_quant_plan *plan, bool is_static, struct pacer_error *err) {
    int64_t has = pcr_onnx_model_opset(plan->model, ""),
            wants = is_static ? OPSET_STATIC : OPSET_DYNAMIC;
    plan->opset = has;
    if (has >= wants)
        return 0;
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(plan->model, &n);
    const char *culprit = has < OPSET_OLDEST ? "it" : NULL;
    for (size_t i = 0; i < n && !culprit; i++)
        if (*pcr_onnx_node_domain(nodes[i]) == '\0' &&
            changed_in(pcr_onnx_node_op(nodes[i]), has) <= wants)
            culprit = pcr_onnx_node_op(nodes[i]);
    if (culprit)
        return pcr_err(
            err, PACER_EUNSUPPORTED, "quantize",
            "the model is of opset %lld, quantization needs %lld, and %s has changed its "
            "meaning since; export it again with opset %lld or later",
            (long long)has, (long long)wants, culprit, (long long)wants);
    plan->opset = wants;
    return 0;
}

int pcr_quant_plan_make(struct pcr_onnx_model *model, const struct pcr_quant_choice *choice,
                        struct pcr_quant_plan *plan, struct pacer_error *err) {
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    struct pcr_arena *arena = pcr_onnx_model_arena(model);
    struct work work = {.plan = plan, .choice = choice};
    *plan = (struct pcr_quant_plan){.model = model,
                                    .layers = pcr_arena_calloc(arena, n + 1, sizeof *plan->layers),
                                    .skips = pcr_arena_calloc(arena, n + 1, sizeof *plan->skips)};
    if (!plan->layers || !plan->skips)
        return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    int code = check_ops(choice, err);
    if (code == 0)
        code = check_not_quantized(model, err);
    if (code == 0)
        code = check_names(model, err);
    if (code == 0)
        code = check_excluded(model, choice, err);
    if (code < 0)
        return code;
    pcr_map_init(&work.inputs);
    note_inputs(&work);
    for (size_t i = 0; i < n; i++)
        look_at(&work, nodes[i]);
    pcr_map_fini(&work.inputs);
    if (work.failed)
        return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    return plan->n > 0 ? find_opset(plan, choice->is_static, err) : 0;
}
