// SPDX-License-Identifier: Apache-2.0
#include "quantize/emit_priv.h"

void pcr_emit_init(struct pcr_emit *emit, struct pcr_onnx_model *model) {
    *emit = (struct pcr_emit){.model = model, .arena = pcr_onnx_model_arena(model)};
    pcr_map_init(&emit->made);
    pcr_map_init(&emit->put);
}

// An array twice as long, in the arena.
static void *grow(struct pcr_emit *emit, const void *old, size_t n, size_t *cap, size_t size) {
    size_t more = *cap ? 2 * *cap : 256;
    void *items = pcr_arena_array(emit->arena, more, size);
    if (!items) {
        emit->failed = true;
        return NULL;
    }
    if (n)
        memcpy(items, old, n * size);
    *cap = more;
    return items;
}

static void append(struct pcr_emit *emit, struct pcr_onnx_node *node) {
    if (emit->n == emit->cap) {
        struct pcr_onnx_node **nodes = grow(emit, emit->nodes, emit->n, &emit->cap, sizeof *nodes);
        if (!nodes)
            return;
        emit->nodes = nodes;
    }
    emit->failed |= !node;
    emit->nodes[emit->n++] = node;
}

static size_t count(const char *const *names) {
    size_t n = 0;
    while (names[n])
        n++;
    return n;
}

struct pcr_onnx_node *pcr_emit_node(struct pcr_emit *emit, const char *op, const char *domain,
                                    const char *const *inputs, const char *const *outputs) {
    const struct pcr_onnx_node_parts parts = {
        .op = op,
        .domain = domain,
        .name = pcr_arena_printf(emit->arena, "%s_%s", outputs[0], op),
        .inputs = inputs,
        .n_inputs = count(inputs),
        .outputs = outputs,
        .n_outputs = count(outputs)};
    struct pcr_onnx_node *node = pcr_onnx_node_create(emit->model, &parts);
    append(emit, node);
    return node;
}

void pcr_emit_keep(struct pcr_emit *emit, const struct pcr_onnx_node *node) {
    append(emit, (struct pcr_onnx_node *)node); // the list has them all alike, and changes none
}

const char *pcr_emit_name(struct pcr_emit *emit, const char *base, const char *suffix) {
    const char *name = pcr_arena_printf(emit->arena, "%s%s", base, suffix);
    emit->failed |= !name;
    return name ? pcr_onnx_model_free_name(emit->model, name) : "";
}

const char *pcr_emit_constant(struct pcr_emit *emit, const struct pcr_onnx_constant *constant) {
    const char *name = pcr_onnx_constant_name(constant);
    void *old = NULL;
    emit->failed |= !pcr_map_put(&emit->put, pcr_str(name), emit, &old);
    if (!old)
        pcr_onnx_model_put_constant(emit->model, constant);
    return name;
}

void pcr_emit_leave(struct pcr_emit *emit, const char *name) {
    if (emit->n_left == emit->left_cap) {
        const char **left = grow(emit, emit->left, emit->n_left, &emit->left_cap, sizeof *left);
        if (!left)
            return;
        emit->left = left;
    }
    emit->left[emit->n_left++] = name;
}

int pcr_emit_finish(struct pcr_emit *emit, struct pacer_error *err) {
    if (!emit->failed) {
        pcr_onnx_model_set_nodes(emit->model, emit->nodes, emit->n);
        pcr_onnx_model_drop_unused(emit->model, emit->left, emit->n_left);
    }
    pcr_map_fini(&emit->made);
    pcr_map_fini(&emit->put);
    int code = pcr_onnx_model_check_memory(emit->model, err);
    return code == 0 && emit->failed ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory")
                                     : code;
}
