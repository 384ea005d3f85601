// SPDX-License-Identifier: Apache-2.0
// The graphs that ONNX Runtime fuses into its integer kernels.
//
//     MatMul   A ─► DynamicQuantizeLinear ─► MatMulInteger ─► Cast ─► Mul(·, Mul(scale A, scale B))
//     Gemm     the same, then Add; transposition and alpha go into the weights, beta into the bias
//     Conv     the same with ConvInteger, and a bias of the shape [1, C, 1 …]
//     Gather   Gather from INT8 ─► DequantizeLinear
//     LSTM     com.microsoft DynamicQuantizeLSTM
//     Attention com.microsoft QAttention, of a quantized input
//
// (MatMulIntegerToFloat, DynamicQuantizeMatMul; onnxruntime/core/optimizer.) It fuses only where
// each of Cast, MatMulInteger and Mul has one consumer, so nothing is shared between layers but the
// quantized input. A layer's output keeps its name, so all behind it stays as it is.
#include "quantize/dynamic.h"

#include "quantize/emit_priv.h"

#define MICROSOFT "com.microsoft"
#define TO_FLOAT 1 // TensorProto.FLOAT
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

struct quantized { // an input, as DynamicQuantizeLinear gives it
    const char *values, *scale, *zero_point;
};

static const struct quantized *quantize_input(struct pcr_emit *emit, const char *input) {
    static const struct quantized none = {"", "", ""};
    struct quantized *made = pcr_map_get(&emit->made, pcr_str(input));
    if (made)
        return made;
    made = pcr_arena_alloc(emit->arena, sizeof *made);
    if (!made || !pcr_map_put(&emit->made, pcr_str(input), made, NULL)) {
        emit->failed = true;
        return &none;
    }
    *made = (struct quantized){pcr_emit_name(emit, input, "_quantized"),
                               pcr_emit_name(emit, input, "_scale"),
                               pcr_emit_name(emit, input, "_zero_point")};
    pcr_emit_node(emit, "DynamicQuantizeLinear", NULL, NAMES(input),
                  NAMES(made->values, made->scale, made->zero_point));
    return made;
}

// From the 32-bit sums of an integer kernel to what the fp32 node gave.
static void scale_sums(struct pcr_emit *emit, const char *sums, const char *input_scale,
                       const char *weight_scale, const char *output) {
    const char *cast = pcr_emit_name(emit, output, "_cast");
    const char *scales = pcr_emit_name(emit, output, "_scales");
    struct pcr_onnx_node *node = pcr_emit_node(emit, "Cast", NULL, NAMES(sums), NAMES(cast));
    if (node)
        pcr_onnx_set_attr_i64(emit->model, node, "to", TO_FLOAT);
    pcr_emit_node(emit, "Mul", NULL, NAMES(input_scale, weight_scale), NAMES(scales));
    pcr_emit_node(emit, "Mul", NULL, NAMES(cast, scales), NAMES(output));
}

static void emit_matmul(struct pcr_emit *emit, const struct pcr_quant_layer *layer,
                        const char *output) {
    const struct pcr_quant_weight *weight = &layer->weights[0];
    const struct quantized *input = quantize_input(emit, pcr_onnx_node_input(layer->node, 0));
    const char *sums = pcr_emit_name(emit, output, "_sums");
    pcr_emit_node(emit, "MatMulInteger", NULL,
                  NAMES(input->values, pcr_emit_constant(emit, weight->values), input->zero_point,
                        pcr_emit_constant(emit, weight->zero_point)),
                  NAMES(sums));
    scale_sums(emit, sums, input->scale, pcr_emit_constant(emit, weight->scale), output);
}

static int emit_gemm(struct pcr_emit *emit, const struct pcr_quant_layer *layer,
                     struct pacer_error *err) {
    const char *output = pcr_onnx_node_output(layer->node, 0);
    const char *bias = pcr_onnx_node_input(layer->node, 2);
    if (!*bias) {
        emit_matmul(emit, layer, output);
        return 0;
    }
    float beta = pcr_onnx_attr_f32(layer->node, "beta", 1);
    if (beta != 1) {
        const struct pcr_onnx_constant *scaled;
        int code = pcr_quant_bias_scaled(emit->model, bias, beta, &scaled, err);
        if (code < 0)
            return code;
        pcr_emit_leave(emit, bias);
        bias = pcr_emit_constant(emit, scaled);
    }
    const char *product = pcr_emit_name(emit, output, "_matmul");
    emit_matmul(emit, layer, product);
    pcr_emit_node(emit, "Add", NULL, NAMES(product, bias), NAMES(output));
    return 0;
}

static int emit_conv(struct pcr_emit *emit, const struct pcr_quant_layer *layer,
                     struct pacer_error *err) {
    const struct pcr_quant_weight *weight = &layer->weights[0];
    const char *output = pcr_onnx_node_output(layer->node, 0);
    const char *bias = pcr_onnx_node_input(layer->node, 2);
    const struct quantized *input = quantize_input(emit, pcr_onnx_node_input(layer->node, 0));
    const char *sums = pcr_emit_name(emit, output, "_sums");
    const char *product = *bias ? pcr_emit_name(emit, output, "_conv") : output;
    struct pcr_onnx_node *node =
        pcr_emit_node(emit, "ConvInteger", NULL,
                      NAMES(input->values, pcr_emit_constant(emit, weight->values),
                            input->zero_point, pcr_emit_constant(emit, weight->zero_point)),
                      NAMES(sums));
    if (node)
        pcr_onnx_copy_attrs(emit->model, node, layer->node, NULL);
    scale_sums(emit, sums, input->scale, pcr_emit_constant(emit, weight->scale), product);
    if (!*bias)
        return 0;
    size_t rank;
    const struct pcr_onnx_constant *shaped;
    pcr_onnx_constant_shape(weight->constant, &rank);
    int code = pcr_quant_bias_shaped(emit->model, bias, rank, &shaped, err);
    if (code < 0)
        return code;
    pcr_emit_leave(emit, bias);
    pcr_emit_node(emit, "Add", NULL, NAMES(product, pcr_emit_constant(emit, shaped)),
                  NAMES(output));
    return 0;
}

static void emit_gather(struct pcr_emit *emit, const struct pcr_quant_layer *layer) {
    const struct pcr_quant_weight *weight = &layer->weights[0];
    const char *output = pcr_onnx_node_output(layer->node, 0);
    const char *rows = pcr_emit_name(emit, output, "_quantized");
    struct pcr_onnx_node *node = pcr_emit_node(
        emit, "Gather", NULL,
        NAMES(pcr_emit_constant(emit, weight->values), pcr_onnx_node_input(layer->node, 1)),
        NAMES(rows));
    if (node)
        pcr_onnx_copy_attrs(emit->model, node, layer->node, NULL);
    pcr_emit_node(emit, "DequantizeLinear", NULL,
                  NAMES(rows, pcr_emit_constant(emit, weight->scale),
                        pcr_emit_constant(emit, weight->zero_point)),
                  NAMES(output));
}

// X, W, R, B, sequence_lens, initial_h, initial_c, P, then scales and zero points of W and R.
static void emit_lstm(struct pcr_emit *emit, const struct pcr_quant_layer *layer) {
    const struct pcr_quant_weight *w = &layer->weights[0], *r = &layer->weights[1];
    const struct pcr_onnx_node *old = layer->node;
    const char *outputs[4] = {NULL};
    for (size_t i = 0; i < pcr_onnx_node_n_outputs(old) && i < 3; i++)
        outputs[i] = pcr_onnx_node_output(old, i);
    struct pcr_onnx_node *node = pcr_emit_node(
        emit, "DynamicQuantizeLSTM", MICROSOFT,
        NAMES(pcr_onnx_node_input(old, 0), pcr_emit_constant(emit, w->values),
              pcr_emit_constant(emit, r->values), pcr_onnx_node_input(old, 3),
              pcr_onnx_node_input(old, 4), pcr_onnx_node_input(old, 5), pcr_onnx_node_input(old, 6),
              pcr_onnx_node_input(old, 7), pcr_emit_constant(emit, w->scale),
              pcr_emit_constant(emit, w->zero_point), pcr_emit_constant(emit, r->scale),
              pcr_emit_constant(emit, r->zero_point)),
        outputs);
    if (node)
        pcr_onnx_copy_attrs(emit->model, node, old, NAMES("layout"));
}

// input, weight, bias, their scales, mask_index, their zero points, past.
static void emit_attention(struct pcr_emit *emit, const struct pcr_quant_layer *layer) {
    const struct pcr_quant_weight *weight = &layer->weights[0];
    const struct pcr_onnx_node *old = layer->node;
    const struct quantized *input = quantize_input(emit, pcr_onnx_node_input(old, 0));
    const char *outputs[3] = {NULL};
    for (size_t i = 0; i < pcr_onnx_node_n_outputs(old) && i < 2; i++)
        outputs[i] = pcr_onnx_node_output(old, i);
    struct pcr_onnx_node *node = pcr_emit_node(
        emit, "QAttention", MICROSOFT,
        NAMES(input->values, pcr_emit_constant(emit, weight->values), pcr_onnx_node_input(old, 2),
              input->scale, pcr_emit_constant(emit, weight->scale), pcr_onnx_node_input(old, 3),
              input->zero_point, pcr_emit_constant(emit, weight->zero_point),
              pcr_onnx_node_input(old, 4)),
        outputs);
    if (node)
        pcr_onnx_copy_attrs(emit->model, node, old, NULL);
}

static int emit_layer(struct pcr_emit *emit, struct pcr_quant_layer *layer,
                      const struct pcr_quant_weights_how *how, struct pacer_error *err) {
    int code = pcr_quant_weights_make(emit->model, layer, how, err);
    if (code < 0)
        return code;
    for (size_t i = 0; i < layer->n_weights; i++)
        pcr_emit_leave(emit, layer->weights[i].name);
    switch (layer->op) {
    case PCR_QUANT_MATMUL:
        emit_matmul(emit, layer, pcr_onnx_node_output(layer->node, 0));
        return 0;
    case PCR_QUANT_GEMM:
        return emit_gemm(emit, layer, err);
    case PCR_QUANT_CONV:
        return emit_conv(emit, layer, err);
    case PCR_QUANT_GATHER:
        emit_gather(emit, layer);
        return 0;
    case PCR_QUANT_LSTM:
        emit_lstm(emit, layer);
        return 0;
    case PCR_QUANT_ATTENTION:
        emit_attention(emit, layer);
        return 0;
    case PCR_QUANT_OPS:
        break;
    }
    return pcr_err(err, PACER_EINTERNAL, "quantize", "a layer of no kind");
}

static bool needs_microsoft(const struct pcr_quant_plan *plan) {
    for (size_t i = 0; i < plan->n; i++)
        if (!plan->layers[i].is_left &&
            (plan->layers[i].op == PCR_QUANT_LSTM || plan->layers[i].op == PCR_QUANT_ATTENTION))
            return true;
    return false;
}

int pcr_quant_dynamic(struct pcr_quant_plan *plan, const struct pcr_quant_weights_how *how,
                      struct pacer_error *err) {
    struct pcr_emit emit;
    size_t n, next = 0;
    int code = 0;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(plan->model, &n);
    pcr_emit_init(&emit, plan->model);
    for (size_t i = 0; nodes && i < n && code == 0; i++) {
        bool is_layer = next < plan->n && plan->layers[next].node == nodes[i];
        if (is_layer && !plan->layers[next].is_left)
            code = emit_layer(&emit, &plan->layers[next], how, err);
        else
            pcr_emit_keep(&emit, nodes[i]);
        next += is_layer;
    }
    int finished = pcr_emit_finish(&emit, code == 0 ? err : NULL);
    if (code == 0)
        code = finished;
    if (code == 0 && needs_microsoft(plan) && pcr_onnx_model_opset(plan->model, MICROSOFT) == 0)
        pcr_onnx_model_set_opset(plan->model, MICROSOFT, 1);
    return code;
}
