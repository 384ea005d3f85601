// SPDX-License-Identifier: Apache-2.0
// The nodes of the main graph, its inputs and outputs, and who uses which name.
#include "onnx/model_priv.h"

#include <stdio.h>

static const char *text(const char *text) {
    return text ? text : "";
}

// --- nodes --------------------------------------------------------------------------------------
struct pcr_onnx_node **pcr_onnx_model_nodes(const struct pcr_onnx_model *model, size_t *n) {
    *n = model->proto->graph->n_node;
    return (struct pcr_onnx_node **)model->proto->graph->node;
}

void pcr_onnx_model_set_nodes(struct pcr_onnx_model *model, struct pcr_onnx_node *const *nodes,
                              size_t n) {
    Onnx__NodeProto **copy = pcr_onnx_new(model, n, sizeof *copy);
    if (!copy)
        return;
    for (size_t i = 0; i < n; i++)
        copy[i] = pcr_onnx_node_proto(nodes[i]);
    model->proto->graph->node = copy;
    model->proto->graph->n_node = n;
    pcr_onnx_forget_constants(model);
}

static char **dup_all(struct pcr_onnx_model *model, const char *const *texts, size_t n) {
    char **copies = pcr_onnx_new(model, n, sizeof *copies);
    for (size_t i = 0; copies && i < n; i++)
        copies[i] = pcr_onnx_dup(model, texts[i]);
    return copies;
}

struct pcr_onnx_node *pcr_onnx_node_create(struct pcr_onnx_model *model,
                                           const struct pcr_onnx_node_parts *parts) {
    Onnx__NodeProto *node = pcr_onnx_new(model, 1, sizeof *node);
    if (!node)
        return NULL;
    onnx__node_proto__init(node);
    node->op_type = pcr_onnx_dup(model, parts->op);
    if (parts->domain && *parts->domain)
        node->domain = pcr_onnx_dup(model, parts->domain);
    if (parts->name)
        node->name = pcr_onnx_dup(model, parts->name);
    node->input = dup_all(model, parts->inputs, parts->n_inputs);
    node->output = dup_all(model, parts->outputs, parts->n_outputs);
    if (model->failed)
        return NULL;
    node->n_input = parts->n_inputs;
    node->n_output = parts->n_outputs;
    for (size_t i = 0; i < parts->n_outputs; i++)
        pcr_onnx_note_name(model, parts->outputs[i]);
    return pcr_onnx_node_of(node);
}

struct pcr_onnx_node *pcr_onnx_node_copy(struct pcr_onnx_model *to,
                                         const struct pcr_onnx_node *node) {
    const Onnx__NodeProto *from = pcr_onnx_node_proto(node);
    Onnx__NodeProto *copy = pcr_onnx_new(to, 1, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *from;
    copy->input = dup_all(to, (const char *const *)from->input, from->n_input);
    copy->output = dup_all(to, (const char *const *)from->output, from->n_output);
    copy->attribute = pcr_onnx_new(to, from->n_attribute, sizeof(void *));
    if (copy->attribute && from->n_attribute)
        memcpy(copy->attribute, from->attribute, from->n_attribute * sizeof(void *));
    return to->failed ? NULL : pcr_onnx_node_of(copy);
}

const char *pcr_onnx_node_op(const struct pcr_onnx_node *node) {
    return text(pcr_onnx_node_proto(node)->op_type);
}

const char *pcr_onnx_node_domain(const struct pcr_onnx_node *node) {
    const char *domain = text(pcr_onnx_node_proto(node)->domain);
    return strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

const char *pcr_onnx_node_name(const struct pcr_onnx_node *node) {
    return text(pcr_onnx_node_proto(node)->name);
}

bool pcr_onnx_node_is(const struct pcr_onnx_node *node, const char *op) {
    return *pcr_onnx_node_domain(node) == '\0' && strcmp(pcr_onnx_node_op(node), op) == 0;
}

size_t pcr_onnx_node_n_inputs(const struct pcr_onnx_node *node) {
    return pcr_onnx_node_proto(node)->n_input;
}

size_t pcr_onnx_node_n_outputs(const struct pcr_onnx_node *node) {
    return pcr_onnx_node_proto(node)->n_output;
}

const char *pcr_onnx_node_input(const struct pcr_onnx_node *node, size_t i) {
    const Onnx__NodeProto *proto = pcr_onnx_node_proto(node);
    return i < proto->n_input ? text(proto->input[i]) : "";
}

const char *pcr_onnx_node_output(const struct pcr_onnx_node *node, size_t i) {
    const Onnx__NodeProto *proto = pcr_onnx_node_proto(node);
    return i < proto->n_output ? text(proto->output[i]) : "";
}

void pcr_onnx_node_set_input(struct pcr_onnx_model *model, struct pcr_onnx_node *node, size_t i,
                             const char *name) {
    PCR_ASSERT(i < pcr_onnx_node_proto(node)->n_input);
    pcr_onnx_node_proto(node)->input[i] = pcr_onnx_dup(model, name);
}

void pcr_onnx_node_set_output(struct pcr_onnx_model *model, struct pcr_onnx_node *node, size_t i,
                              const char *name) {
    PCR_ASSERT(i < pcr_onnx_node_proto(node)->n_output);
    pcr_onnx_node_proto(node)->output[i] = pcr_onnx_dup(model, name);
    pcr_onnx_note_name(model, name);
}

// --- inputs and outputs -------------------------------------------------------------------------
size_t pcr_onnx_model_n_inputs(const struct pcr_onnx_model *model) {
    return model->proto->graph->n_input;
}

const char *pcr_onnx_model_input(const struct pcr_onnx_model *model, size_t i) {
    return text(model->proto->graph->input[i]->name);
}

size_t pcr_onnx_model_n_outputs(const struct pcr_onnx_model *model) {
    return model->proto->graph->n_output;
}

const char *pcr_onnx_model_output(const struct pcr_onnx_model *model, size_t i) {
    return text(model->proto->graph->output[i]->name);
}

static Onnx__TensorShapeProto *make_shape(struct pcr_onnx_model *model,
                                          const struct pacer_tensor_info *info) {
    Onnx__TensorShapeProto *shape = pcr_onnx_new(model, 1, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dims = pcr_onnx_new(model, info->rank, sizeof *dims);
    Onnx__TensorShapeProto__Dimension *items = pcr_onnx_new(model, info->rank, sizeof *items);
    if (!shape || !dims || !items)
        return NULL;
    onnx__tensor_shape_proto__init(shape);
    for (size_t i = 0; i < info->rank; i++) {
        onnx__tensor_shape_proto__dimension__init(&items[i]);
        if (info->shape[i] >= 0) {
            items[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            items[i].dim_value = info->shape[i];
        }
        dims[i] = &items[i];
    }
    shape->dim = dims;
    shape->n_dim = info->rank;
    return shape;
}

static Onnx__ValueInfoProto *make_value(struct pcr_onnx_model *model,
                                        const struct pacer_tensor_info *info) {
    Onnx__ValueInfoProto *value = pcr_onnx_new(model, 1, sizeof *value);
    if (!value)
        return NULL;
    onnx__value_info_proto__init(value);
    value->name = pcr_onnx_dup(model, info->name);
    pcr_onnx_note_name(model, info->name);
    if (info->dtype == PACER_DTYPE_INVALID)
        return value;
    Onnx__TypeProto *type = pcr_onnx_new(model, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = pcr_onnx_new(model, 1, sizeof *tensor);
    if (!type || !tensor)
        return NULL;
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = true;
    tensor->elem_type = pcr_onnx_type_of(info->dtype);
    tensor->shape = info->shape ? make_shape(model, info) : NULL;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    value->type = type;
    return value;
}

void pcr_onnx_model_add_input(struct pcr_onnx_model *model, const struct pacer_tensor_info *info) {
    Onnx__GraphProto *graph = model->proto->graph;
    Onnx__ValueInfoProto *value = make_value(model, info);
    if (value)
        pcr_onnx_append(model, &graph->input, &graph->n_input, &model->inputs_cap, value);
}

void pcr_onnx_model_add_output(struct pcr_onnx_model *model, const struct pacer_tensor_info *info) {
    Onnx__GraphProto *graph = model->proto->graph;
    Onnx__ValueInfoProto *value = make_value(model, info);
    if (value)
        pcr_onnx_append(model, &graph->output, &graph->n_output, &model->outputs_cap, value);
}

void pcr_onnx_model_cut_outputs(struct pcr_onnx_model *model, size_t n) {
    PCR_ASSERT(n <= model->proto->graph->n_output);
    model->proto->graph->n_output = n;
}

// --- names --------------------------------------------------------------------------------------
static bool count_use(struct pcr_map *uses, const char *name) {
    if (!name || !*name)
        return true;
    uintptr_t n = (uintptr_t)pcr_map_get(uses, pcr_str(name)) + 1;
    void *value = (void *)n; // NOLINT(performance-no-int-to-ptr): a number
    return pcr_map_put(uses, pcr_str(name), value, NULL);
}

static bool count_graph(struct pcr_map *uses, const Onnx__GraphProto *graph) {
    bool ok = true;
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        for (size_t k = 0; k < node->n_input; k++)
            ok &= count_use(uses, node->input[k]);
        for (size_t k = 0; k < node->n_attribute; k++) {
            const Onnx__AttributeProto *a = node->attribute[k];
            ok &= !a->g || count_graph(uses, a->g);
            for (size_t m = 0; m < a->n_graphs; m++)
                ok &= count_graph(uses, a->graphs[m]);
        }
    }
    for (size_t i = 0; i < graph->n_output; i++)
        ok &= count_use(uses, graph->output[i]->name);
    return ok;
}

bool pcr_onnx_model_count_uses(const struct pcr_onnx_model *model, struct pcr_map *uses) {
    return count_graph(uses, model->proto->graph);
}

void pcr_onnx_note_name(struct pcr_onnx_model *model, const char *name) {
    if (model->has_names && *name)
        model->failed |= !pcr_map_put(&model->names, pcr_str(name), model, NULL);
}

static void note_names(struct pcr_onnx_model *model, const Onnx__GraphProto *graph) {
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        for (size_t k = 0; k < node->n_output; k++)
            pcr_onnx_note_name(model, text(node->output[k]));
        for (size_t k = 0; k < node->n_attribute; k++) {
            const Onnx__AttributeProto *a = node->attribute[k];
            if (a->g)
                note_names(model, a->g);
            for (size_t m = 0; m < a->n_graphs; m++)
                note_names(model, a->graphs[m]);
        }
    }
    for (size_t i = 0; i < graph->n_initializer; i++)
        pcr_onnx_note_name(model, text(graph->initializer[i]->name));
    for (size_t i = 0; i < graph->n_input; i++)
        pcr_onnx_note_name(model, text(graph->input[i]->name));
}

const char *pcr_onnx_model_free_name(struct pcr_onnx_model *model, const char *base) {
    if (!model->has_names) {
        model->has_names = true;
        note_names(model, model->proto->graph);
    }
    const char *name = pcr_onnx_dup(model, base);
    for (unsigned i = 1; name && pcr_map_get(&model->names, pcr_str(name)); i++)
        name = pcr_arena_printf(&model->arena, "%s_%u", base, i);
    model->failed |= !name;
    if (name)
        pcr_onnx_note_name(model, name);
    return name ? name : "";
}
