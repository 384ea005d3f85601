// SPDX-License-Identifier: Apache-2.0
// Attributes of nodes.
#include "onnx/model_priv.h"

static Onnx__AttributeProto *find(const struct pcr_onnx_node *node, const char *name) {
    const Onnx__NodeProto *proto = pcr_onnx_node_proto(node);
    for (size_t i = 0; i < proto->n_attribute; i++)
        if (proto->attribute[i]->name && strcmp(proto->attribute[i]->name, name) == 0)
            return proto->attribute[i];
    return NULL;
}

bool pcr_onnx_node_has_attr(const struct pcr_onnx_node *node, const char *name) {
    return find(node, name) != NULL;
}

int64_t pcr_onnx_attr_i64(const struct pcr_onnx_node *node, const char *name, int64_t otherwise) {
    const Onnx__AttributeProto *a = find(node, name);
    return a && a->has_i ? a->i : otherwise;
}

float pcr_onnx_attr_f32(const struct pcr_onnx_node *node, const char *name, float otherwise) {
    const Onnx__AttributeProto *a = find(node, name);
    return a && a->has_f ? a->f : otherwise;
}

const int64_t *pcr_onnx_attr_i64s(const struct pcr_onnx_node *node, const char *name, size_t *n) {
    const Onnx__AttributeProto *a = find(node, name);
    *n = a ? a->n_ints : 0;
    return *n ? a->ints : NULL;
}

struct pcr_str pcr_onnx_attr_text(const struct pcr_onnx_node *node, const char *name,
                                  struct pcr_str otherwise) {
    const Onnx__AttributeProto *a = find(node, name);
    return a && a->has_s ? (struct pcr_str){(const char *)a->s.data, a->s.len} : otherwise;
}

struct pcr_onnx_constant *pcr_onnx_attr_tensor(const struct pcr_onnx_node *node, const char *name) {
    const Onnx__AttributeProto *a = find(node, name);
    return a && a->t ? pcr_onnx_constant_of(a->t) : NULL;
}

static bool append(struct pcr_onnx_model *model, Onnx__NodeProto *node, Onnx__AttributeProto *a) {
    size_t cap = node->n_attribute; // these are few
    return pcr_onnx_append(model, &node->attribute, &node->n_attribute, &cap, a);
}

static Onnx__AttributeProto *make(struct pcr_onnx_model *model, const char *name,
                                  Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto *a = pcr_onnx_new(model, 1, sizeof *a);
    if (!a)
        return NULL;
    onnx__attribute_proto__init(a);
    a->name = pcr_onnx_dup(model, name);
    a->has_type = true;
    a->type = type;
    return model->failed ? NULL : a;
}

// In place of the one of that name, or behind the others. A copied node may share the old one.
static void put(struct pcr_onnx_model *model, struct pcr_onnx_node *node, Onnx__AttributeProto *a) {
    Onnx__NodeProto *proto = pcr_onnx_node_proto(node);
    const Onnx__AttributeProto *old = find(node, a->name);
    for (size_t i = 0; old && i < proto->n_attribute; i++)
        if (proto->attribute[i] == old)
            proto->attribute[i] = a;
    if (!old)
        append(model, proto, a);
}

void pcr_onnx_set_attr_i64(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                           const char *name, int64_t value) {
    Onnx__AttributeProto *a = make(model, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a)
        return;
    a->has_i = true;
    a->i = value;
    put(model, node, a);
}

void pcr_onnx_set_attr_f32(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                           const char *name, float value) {
    Onnx__AttributeProto *a = make(model, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a)
        return;
    a->has_f = true;
    a->f = value;
    put(model, node, a);
}

void pcr_onnx_set_attr_i64s(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                            const char *name, const int64_t *values, size_t n) {
    Onnx__AttributeProto *a = make(model, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = a ? pcr_onnx_new(model, n, sizeof *copy) : NULL;
    if (!copy)
        return;
    if (n)
        memcpy(copy, values, n * sizeof *copy);
    a->ints = copy;
    a->n_ints = n;
    put(model, node, a);
}

void pcr_onnx_copy_attrs(struct pcr_onnx_model *model, struct pcr_onnx_node *to,
                         const struct pcr_onnx_node *from, const char *const *but) {
    const Onnx__NodeProto *source = pcr_onnx_node_proto(from);
    for (size_t i = 0; i < source->n_attribute; i++) {
        bool wanted = true;
        for (const char *const *name = but; name && *name; name++)
            wanted &= !source->attribute[i]->name || strcmp(source->attribute[i]->name, *name) != 0;
        if (wanted)
            append(model, pcr_onnx_node_proto(to), source->attribute[i]);
    }
}
