// SPDX-License-Identifier: Apache-2.0
// What model.c keeps, and what graph.c, attrs.c, constants.c and save.c work on.
#ifndef PCR_ONNX_MODEL_PRIV_H
#define PCR_ONNX_MODEL_PRIV_H

#include "onnx/model.h"
#include "onnx/proto_priv.h"

struct pcr_onnx_model {
    struct pcr_arena arena; // the unpacked file and all that was added
    struct pcr_buf file;    // weights point into it
    char *folder;           // where it was asked for, with links resolved, or NULL
    char *own_folder;       // where it is behind its own links
    Onnx__ModelProto *proto;
    size_t initializers_cap, inputs_cap, outputs_cap; // of the graph's arrays
    struct pcr_map constants;                         // name → TensorProto, once somebody asked
    bool has_constants;
    struct pcr_map names; // all names of the main graph, once somebody asked for a free one
    bool has_names;
    bool failed; // memory ran out on the way
};

static inline Onnx__NodeProto *pcr_onnx_node_proto(const struct pcr_onnx_node *node) {
    return (Onnx__NodeProto *)node;
}
static inline struct pcr_onnx_node *pcr_onnx_node_of(Onnx__NodeProto *proto) {
    return (struct pcr_onnx_node *)proto;
}
static inline Onnx__TensorProto *pcr_onnx_constant_proto(const struct pcr_onnx_constant *constant) {
    return (Onnx__TensorProto *)constant;
}
static inline struct pcr_onnx_constant *pcr_onnx_constant_of(Onnx__TensorProto *proto) {
    return (struct pcr_onnx_constant *)proto;
}

// Memory of the model's; NULL, and the model has failed, when it is out.
void *pcr_onnx_new(struct pcr_onnx_model *model, size_t count, size_t size);
char *pcr_onnx_dup(struct pcr_onnx_model *model, const char *text);
// Appends to one of protobuf's arrays of pointers, whose capacity is *cap.
bool pcr_onnx_append(struct pcr_onnx_model *model, void *array, size_t *n, size_t *cap, void *item);
// Forgets the tables of names and constants, which a change has made untrue.
void pcr_onnx_forget_constants(struct pcr_onnx_model *model);
// A name that was taken.
void pcr_onnx_note_name(struct pcr_onnx_model *model, const char *name);

// Where a tensor says that its numbers are.
struct pcr_onnx_place {
    const char *location;    // NULL: in the model
    uint64_t offset, length; // length 0: to the end of the file
};
struct pcr_onnx_place pcr_onnx_place_of(const Onnx__TensorProto *tensor);
// Opens that file: a descriptor. PACER_EMODEL, PACER_EIO.
int pcr_onnx_place_open(const struct pcr_onnx_model *model, const struct pcr_onnx_place *place,
                        struct pacer_error *err);
#endif
