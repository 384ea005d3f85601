// SPDX-License-Identifier: Apache-2.0
// Where the pairs go.
//
//     x ─► Q ─► DQ ─┐
//     W ─► DQ ──────┼─► Conv ─► (Relu) ─► Q ─► DQ ─► …
//     B ─► DQ ──────┘   (B is INT32 with the scale of x times that of W)
//
// Layers are the nodes of the plan. Between them lie followers, which compute on INT8 what they
// would on FP32 (pools, Add, Concat …): a follower is quantized if all that comes into it is INT8
// anyway and something behind it wants INT8; otherwise it would round for nothing. Followers that
// only move numbers keep the scale of what they move. Relu and Clip behind a layer get no pair in
// front of them: ONNX Runtime takes them out where the range of the next Q cuts off the same
// values.
//
// ONNX Runtime takes a Conv as integer only if a Q follows, so that one's output has always a pair;
// a MatMul or Gemm can give FP32, so theirs has one only where somebody wants INT8. So the last
// layer of a network is not rounded.
//
// Rejected: pairs around every operator that has an integer kernel, as onnxruntime.quantization
// does. It rounds the last probabilities of a classifier to steps of 1/256.
#include "quantize/qdq.h"

#include "quantize/emit_priv.h"

#include <math.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

enum role {
    OTHER,
    LAYER,
    MOVES,    // numbers, without changing them
    COMPUTES, // new numbers
    CUTS,     // Relu and Clip
};

static enum role role_of(const struct pcr_onnx_node *node) {
    static const struct {
        const char *op;
        enum role role;
    } roles[] = {{"MaxPool", MOVES},
                 {"Reshape", MOVES},
                 {"Transpose", MOVES},
                 {"Flatten", MOVES},
                 {"Squeeze", MOVES},
                 {"Unsqueeze", MOVES},
                 {"Add", COMPUTES},
                 {"Mul", COMPUTES},
                 {"Concat", COMPUTES},
                 {"AveragePool", COMPUTES},
                 {"Relu", CUTS},
                 {"Clip", CUTS},
                 {"GlobalAveragePool", COMPUTES}};
    for (size_t i = 0; i < PCR_COUNT_OF(roles); i++)
        if (pcr_onnx_node_is(node, roles[i].op))
            return roles[i].role;
    return OTHER;
}

// A tensor of the main graph, as far as this file is concerned with it.
struct value {
    struct step *producer; // NULL: an input or a constant
    size_t n_uses;         // by nodes, and as an output of the graph
    bool is_output;
    bool has_pair;       // is to be rounded
    const char *source;  // what is rounded, where that has another name; else NULL
    bool gives_name;     // its DQ has its name
    const char *rounded; // the name of its DQ, once that is written
};

struct step { // a node
    const struct pcr_onnx_node *node;
    struct pcr_quant_layer *layer; // of a layer
    enum role role;
    bool is_quantized;
};

struct graph {
    struct pcr_quant_plan *plan;
    struct step *steps;
    size_t n;
    struct pcr_map values; // name → struct value
    bool failed;
};

// --- the graph ----------------------------------------------------------------------------------
static struct value *value_of(struct graph *graph, const char *name) {
    struct value *value = *name ? pcr_map_get(&graph->values, pcr_str(name)) : NULL;
    if (value || !*name)
        return value;
    value = pcr_arena_calloc(pcr_onnx_model_arena(graph->plan->model), 1, sizeof *value);
    if (!value || !pcr_map_put(&graph->values, pcr_str(name), value, NULL)) {
        graph->failed = true;
        return NULL;
    }
    return value;
}

static struct value *input_of(struct graph *graph, const struct step *step, size_t i) {
    return value_of(graph, pcr_onnx_node_input(step->node, i));
}

static struct value *output_of(struct graph *graph, const struct step *step) {
    return value_of(graph, pcr_onnx_node_output(step->node, 0));
}

static void read_steps(struct graph *graph) {
    size_t next = 0;
    struct pcr_quant_plan *plan = graph->plan;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(plan->model, &graph->n);
    struct pcr_arena *arena = pcr_onnx_model_arena(plan->model);
    graph->steps = pcr_arena_calloc(arena, graph->n + 1, sizeof *graph->steps);
    if (!graph->steps) {
        graph->failed = true;
        graph->n = 0;
        return;
    }
    for (size_t i = 0; i < graph->n; i++) {
        struct step *step = &graph->steps[i];
        *step = (struct step){.node = nodes[i], .role = role_of(nodes[i])};
        if (next < plan->n && plan->layers[next].node == nodes[i]) {
            step->layer = &plan->layers[next++];
            step->role = LAYER;
        }
    }
}

static void read_values(struct graph *graph) {
    struct pcr_map uses;
    pcr_map_init(&uses);
    graph->failed |= !pcr_onnx_model_count_uses(graph->plan->model, &uses);
    for (size_t i = 0; i < graph->n; i++)
        for (size_t k = 0; k < pcr_onnx_node_n_outputs(graph->steps[i].node); k++) {
            const char *name = pcr_onnx_node_output(graph->steps[i].node, k);
            struct value *value = value_of(graph, name);
            if (!value)
                continue;
            value->producer = &graph->steps[i];
            value->n_uses = (size_t)(uintptr_t)pcr_map_get(&uses, pcr_str(name));
        }
    for (size_t i = 0; i < pcr_onnx_model_n_outputs(graph->plan->model); i++) {
        struct value *value = value_of(graph, pcr_onnx_model_output(graph->plan->model, i));
        if (value)
            value->is_output = true;
    }
    pcr_map_fini(&uses);
}

// --- who is quantized ---------------------------------------------------------------------------
static bool is_constant(struct graph *graph, const struct step *step, size_t i) {
    return pcr_onnx_model_constant(graph->plan->model, pcr_onnx_node_input(step->node, i)) != NULL;
}

// How many inputs of a node are numbers that flow; the rest are shapes, limits and the like.
static size_t n_flowing(const struct step *step) {
    return step->role == COMPUTES ? pcr_onnx_node_n_inputs(step->node) : 1;
}

// What a node gives is cut by the next one, and nobody else sees it.
static struct step *cutter_of(struct graph *graph, const struct step *step) {
    const struct value *value = output_of(graph, step);
    if (!value || value->n_uses != 1 || value->is_output)
        return NULL;
    for (size_t i = (size_t)(step - graph->steps) + 1; i < graph->n; i++)
        if (input_of(graph, &graph->steps[i], 0) == value)
            return graph->steps[i].role == CUTS ? &graph->steps[i] : NULL;
    return NULL;
}

static bool may_follow(struct graph *graph, const struct step *step) {
    if (step->role == OTHER || step->role == LAYER)
        return false;
    for (size_t i = 0; i < n_flowing(step); i++) {
        const struct value *value = input_of(graph, step, i);
        if (!value || !value->producer || !value->producer->is_quantized)
            return false; // constants, too: they are best folded into what is beside them
    }
    return true;
}

static void mark_forwards(struct graph *graph) {
    for (size_t i = 0; i < graph->n; i++) {
        struct step *step = &graph->steps[i];
        step->is_quantized = step->layer ? !step->layer->is_left : may_follow(graph, step);
    }
}

static void want(struct graph *graph, const struct step *step) {
    for (size_t i = 0; i < n_flowing(step); i++) {
        struct value *value = input_of(graph, step, i);
        if (value && !is_constant(graph, step, i))
            value->has_pair = true;
    }
}

// From the end: a follower stays quantized only if its output is wanted as INT8.
static void mark_backwards(struct graph *graph) {
    for (size_t i = graph->n; i-- > 0;) {
        struct step *step = &graph->steps[i];
        struct value *value = output_of(graph, step);
        if (!step->is_quantized || !value)
            continue;
        struct step *cutter = cutter_of(graph, step);
        struct value *end = cutter ? output_of(graph, cutter) : value;
        if (step->role == LAYER && step->layer->op == PCR_QUANT_CONV && end)
            end->has_pair = true;
        if (step->role == CUTS)
            continue; // it is with the one before it
        if (step->role != LAYER && !(end && end->has_pair))
            step->is_quantized = false;
        else
            want(graph, step);
    }
}

// Between a layer and the Relu behind it there is no pair.
static void clear_cut(struct graph *graph) {
    for (size_t i = 0; i < graph->n; i++) {
        struct step *step = &graph->steps[i];
        struct step *cutter = step->is_quantized ? cutter_of(graph, step) : NULL;
        if (cutter)
            output_of(graph, step)->has_pair = false;
    }
}

static int graph_init(struct graph *graph, struct pcr_quant_plan *plan, struct pacer_error *err) {
    *graph = (struct graph){.plan = plan};
    pcr_map_init(&graph->values);
    read_steps(graph);
    read_values(graph);
    if (!graph->failed) {
        mark_forwards(graph);
        mark_backwards(graph);
        clear_cut(graph);
    }
    return graph->failed ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory") : 0;
}

static void note_cutters(struct graph *graph) {
    for (size_t i = 0; i < graph->n; i++) {
        struct step *step = &graph->steps[i];
        const struct step *cutter = step->layer ? cutter_of(graph, step) : NULL;
        if (cutter)
            step->layer->cutter = cutter->node;
    }
}

int pcr_quant_qdq_tensors(struct pcr_quant_plan *plan, struct pcr_quant_tensors *out,
                          struct pacer_error *err) {
    struct graph graph;
    size_t cursor = 0;
    struct pcr_str name;
    void *item;
    int code = graph_init(&graph, plan, err);
    struct pcr_arena *arena = pcr_onnx_model_arena(plan->model);
    *out = (struct pcr_quant_tensors){0};
    if (code == 0)
        note_cutters(&graph);
    if (code == 0)
        out->items = pcr_arena_calloc(arena, graph.values.count + 1, sizeof *out->items);
    while (out->items && pcr_map_next(&graph.values, &cursor, &name, &item)) {
        if (!((struct value *)item)->has_pair)
            continue;
        out->items[out->n].name = pcr_arena_dup(arena, name);
        if (!out->items[out->n++].name)
            out->items = NULL;
    }
    pcr_map_fini(&graph.values);
    return code == 0 && !out->items ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory")
                                    : code;
}

// --- writing ------------------------------------------------------------------------------------
struct write {
    struct pcr_emit emit;
    struct graph graph;
    const struct pcr_quant_tensors *tensors;
    struct pcr_map scales; // name → struct pcr_quant_tensor
    const struct pcr_quant_weights_how *how;
};

static const struct pcr_onnx_constant *scalar(struct write *w, const char *base, const char *suffix,
                                              enum pacer_dtype dtype, void *data) {
    struct pacer_tensor_info info = {.name = pcr_emit_name(&w->emit, base, suffix), .dtype = dtype};
    const struct pcr_onnx_constant *constant = pcr_onnx_constant_create(w->emit.model, &info, data);
    w->emit.failed |= !constant;
    return constant;
}

// The scale of what a mover gives is that of what it moves.
static const struct pcr_quant_tensor *scale_of(struct write *w, const char *name) {
    for (;;) {
        const struct value *value = value_of(&w->graph, name);
        const struct step *producer = value ? value->producer : NULL;
        if (!producer || !producer->is_quantized || producer->role != MOVES)
            return pcr_map_get(&w->scales, pcr_str(name));
        name = pcr_onnx_node_input(producer->node, 0);
    }
}

// Q and DQ behind a tensor, once; the name of what is rounded. A tensor that the graph gives keeps
// its name for that, and its producer gives another.
static const char *round_value(struct write *w, const char *name) {
    struct value *value = value_of(&w->graph, name);
    const struct pcr_quant_tensor *tensor = scale_of(w, name);
    if (!value || !value->has_pair || !tensor || !tensor->is_calibrated)
        return name;
    if (value->rounded)
        return value->rounded;
    float *scale = NULL;
    int8_t *zero_point = NULL;
    const struct pcr_onnx_constant *s = scalar(w, name, "_scale", PACER_FP32, (void *)&scale);
    const struct pcr_onnx_constant *z =
        scalar(w, name, "_zero_point", PACER_INT8, (void *)&zero_point);
    if (!s || !z)
        return name;
    *scale = tensor->scale.scale;
    *zero_point = (int8_t)tensor->scale.zero_point;
    const char *q = pcr_emit_name(&w->emit, name, "_quantized");
    value->rounded = value->gives_name ? name : pcr_emit_name(&w->emit, name, "_rounded");
    pcr_emit_constant(&w->emit, s);
    pcr_emit_constant(&w->emit, z);
    const char *scale_name = pcr_onnx_constant_name(s), *zero_name = pcr_onnx_constant_name(z);
    pcr_emit_node(&w->emit, "QuantizeLinear", NULL,
                  NAMES(value->source ? value->source : name, scale_name, zero_name), NAMES(q));
    pcr_emit_node(&w->emit, "DequantizeLinear", NULL, NAMES(q, scale_name, zero_name),
                  NAMES(value->rounded));
    return value->rounded;
}

static int64_t axis_of(const struct pcr_quant_layer *layer) {
    if (layer->op == PCR_QUANT_CONV)
        return 0;
    return layer->op == PCR_QUANT_GEMM && pcr_onnx_attr_i64(layer->node, "transB", 0) ? 0 : 1;
}

static const char *dequantized(struct write *w, const char *base, const char *const *inputs,
                               int64_t axis) {
    const char *name = pcr_emit_name(&w->emit, base, "_rounded");
    struct pcr_onnx_node *node =
        pcr_emit_node(&w->emit, "DequantizeLinear", NULL, inputs, NAMES(name));
    if (node && axis >= 0)
        pcr_onnx_set_attr_i64(w->emit.model, node, "axis", axis);
    return name;
}

static const char *write_weight(struct write *w, const struct pcr_quant_layer *layer) {
    const struct pcr_quant_weight *weight = &layer->weights[0];
    size_t rank;
    pcr_onnx_constant_shape(weight->scale, &rank);
    pcr_emit_leave(&w->emit, weight->name);
    return dequantized(w, weight->name,
                       NAMES(pcr_emit_constant(&w->emit, weight->values),
                             pcr_emit_constant(&w->emit, weight->scale),
                             pcr_emit_constant(&w->emit, weight->zero_point)),
                       rank == 1 ? axis_of(layer) : -1);
}

// INT32, with the scale that the sums of the kernel have. Where it is no constant of one dimension
// per output it stays as it is.
static int write_bias(struct write *w, const struct pcr_quant_layer *layer, const char **bias,
                      struct pacer_error *err) {
    const struct pcr_quant_tensor *input = scale_of(w, pcr_onnx_node_input(layer->node, 0));
    const struct pcr_quant_weight *weight = &layer->weights[0];
    const struct pcr_onnx_constant *values, *scales;
    if (!input || !pcr_onnx_model_constant(w->emit.model, *bias))
        return 0;
    const struct pcr_quant_bias_of how = {*bias, input->scale.scale, weight->scale};
    int code = pcr_quant_bias_make(w->emit.model, &how, &values, &scales, err);
    if (code < 0 || !values)
        return code;
    size_t rank;
    pcr_onnx_constant_shape(scales, &rank);
    pcr_emit_leave(&w->emit, *bias);
    *bias = dequantized(
        w, *bias, NAMES(pcr_emit_constant(&w->emit, values), pcr_emit_constant(&w->emit, scales)),
        rank == 1 ? 0 : -1);
    return 0;
}

// A copy of a node with other inputs; its output is renamed where its name goes to a DQ.
static struct pcr_onnx_node *write_copy(struct write *w, const struct step *step) {
    struct pcr_onnx_node *copy = pcr_onnx_node_copy(w->emit.model, step->node);
    if (!copy) {
        w->emit.failed = true;
        return NULL;
    }
    for (size_t i = 0; i < pcr_onnx_node_n_inputs(copy); i++) {
        const char *name = pcr_onnx_node_input(copy, i);
        const struct value *value = value_of(&w->graph, name);
        bool flows = step->is_quantized && i < n_flowing(step);
        // Who is not quantized takes the rounded one only where it is the producer's only one.
        bool wants = flows || (value && value->producer && value->producer->is_quantized);
        if (value && value->has_pair && wants)
            pcr_onnx_node_set_input(w->emit.model, copy, i, round_value(w, name));
    }
    return copy;
}

static bool is_rounded(struct write *w, const char *name) {
    const struct value *value = value_of(&w->graph, name);
    const struct pcr_quant_tensor *tensor = scale_of(w, name);
    return value && value->has_pair && tensor && tensor->is_calibrated;
}

// A tensor that the graph gives keeps its name for what is rounded, and its producer gives another.
static void finish_copy(struct write *w, struct pcr_onnx_node *copy) {
    const char *name = pcr_onnx_node_output(copy, 0);
    struct value *value = value_of(&w->graph, name);
    bool renames = is_rounded(w, name) && value->is_output;
    if (renames) {
        value->gives_name = true;
        value->source = pcr_emit_name(&w->emit, name, "_raw");
        pcr_onnx_node_set_output(w->emit.model, copy, 0, value->source);
    }
    pcr_emit_keep(&w->emit, copy);
    if (renames)
        round_value(w, name);
}

// --- Relu and Clip ------------------------------------------------------------------------------
static bool limit_of(struct write *w, const struct pcr_onnx_node *node, size_t input, float *out) {
    const char *name = pcr_onnx_node_input(node, input);
    const struct pcr_onnx_constant *constant = pcr_onnx_model_constant(w->emit.model, name);
    struct pcr_onnx_numbers numbers;
    if (!*name)
        return true;
    if (!constant || pcr_onnx_constant_dtype(constant) != PACER_FP32 ||
        pcr_onnx_numbers_get(w->emit.model, constant, &numbers, NULL) < 0)
        return false;
    bool one = numbers.count == 1;
    if (one)
        *out = *(const float *)numbers.data;
    pcr_onnx_numbers_fini(&numbers);
    return one;
}

// Whether what INT8 can hold ends where the node would cut, to half a step.
static bool is_cut_by_rounding(struct write *w, const struct step *step) {
    float low = -INFINITY, high = INFINITY;
    if (pcr_onnx_node_is(step->node, "Relu"))
        low = 0;
    else if (!limit_of(w, step->node, 1, &low) || !limit_of(w, step->node, 2, &high))
        return false;
    struct pcr_quant_scale scale = scale_of(w, pcr_onnx_node_output(step->node, 0))->scale;
    float lowest = (float)(INT8_MIN - scale.zero_point) * scale.scale,
          highest = (float)(INT8_MAX - scale.zero_point) * scale.scale;
    return lowest >= low - scale.scale / 2 && highest <= high + scale.scale / 2;
}

// Takes a Relu out behind a quantized node where the Q that follows does the same: with the Relu
// between them ONNX Runtime would not see an integer kernel.
static bool absorb(struct write *w, const struct step *step) {
    const char *name = pcr_onnx_node_output(step->node, 0);
    struct value *input = input_of(&w->graph, step, 0), *value = value_of(&w->graph, name);
    if (step->role != CUTS || !input || !input->producer || !input->producer->is_quantized ||
        cutter_of(&w->graph, input->producer) != step || !is_rounded(w, name) ||
        !is_cut_by_rounding(w, step))
        return false;
    value->source = pcr_onnx_node_input(step->node, 0);
    value->gives_name = true; // so that it is there, whoever wants to see it
    round_value(w, name);
    return true;
}

static int write_step(struct write *w, const struct step *step, struct pacer_error *err) {
    if (absorb(w, step))
        return 0;
    bool is_layer = step->role == LAYER && step->is_quantized;
    int code = is_layer ? pcr_quant_weights_make(w->emit.model, step->layer, w->how, err) : 0;
    struct pcr_onnx_node *copy = code == 0 ? write_copy(w, step) : NULL;
    if (!copy)
        return code;
    if (is_layer) {
        pcr_onnx_node_set_input(w->emit.model, copy, 1, write_weight(w, step->layer));
        const char *bias = pcr_onnx_node_input(step->node, 2);
        if (*bias) {
            code = write_bias(w, step->layer, &bias, err);
            pcr_onnx_node_set_input(w->emit.model, copy, 2, bias);
        }
    }
    finish_copy(w, copy);
    return code;
}

int pcr_quant_qdq(struct pcr_quant_plan *plan, const struct pcr_quant_tensors *tensors,
                  const struct pcr_quant_weights_how *how, struct pacer_error *err) {
    struct write w = {.tensors = tensors, .how = how};
    int code = graph_init(&w.graph, plan, err);
    pcr_emit_init(&w.emit, plan->model);
    pcr_map_init(&w.scales);
    for (size_t i = 0; i < tensors->n; i++)
        w.emit.failed |=
            !pcr_map_put(&w.scales, pcr_str(tensors->items[i].name), &tensors->items[i], NULL);
    for (size_t i = 0; i < w.graph.n && code == 0; i++)
        code = write_step(&w, &w.graph.steps[i], err);
    w.emit.failed |= w.graph.failed;
    int finished = pcr_emit_finish(&w.emit, code == 0 ? err : NULL);
    pcr_map_fini(&w.scales);
    pcr_map_fini(&w.graph.values);
    return code == 0 ? finished : code;
}
