// SPDX-License-Identifier: Apache-2.0
// Writing the nodes of a quantized model.
#ifndef PCR_QUANTIZE_EMIT_PRIV_H
#define PCR_QUANTIZE_EMIT_PRIV_H

#include "quantize/plan.h"

// The list of nodes as it grows. What fails on the way is the model's: looked at once at the end.
struct pcr_emit {
    struct pcr_onnx_model *model;
    struct pcr_arena *arena;
    struct pcr_onnx_node **nodes;
    size_t n, cap;
    struct pcr_map made; // name of a tensor → what was made of it: its quantized form
    struct pcr_map put;  // constants that are in the graph already
    const char **left;   // constants that are not needed any more, perhaps
    size_t n_left, left_cap;
    bool failed;
};

void pcr_emit_init(struct pcr_emit *emit, struct pcr_onnx_model *model);
// Gives the model its new nodes, drops what is not used any more. PACER_ENOMEM.
int pcr_emit_finish(struct pcr_emit *emit, struct pacer_error *err);

// A node that goes into the list. Inputs and outputs end with a NULL; an input "" is left out.
struct pcr_onnx_node *pcr_emit_node(struct pcr_emit *emit, const char *op, const char *domain,
                                    const char *const *inputs, const char *const *outputs);
void pcr_emit_keep(struct pcr_emit *emit, const struct pcr_onnx_node *node); // one that is there
// `base` and `suffix` as a name that nothing has yet.
const char *pcr_emit_name(struct pcr_emit *emit, const char *base, const char *suffix);
// Puts a constant into the graph, once.
const char *pcr_emit_constant(struct pcr_emit *emit, const struct pcr_onnx_constant *constant);
// A constant that the node used, and that may have no use any more.
void pcr_emit_leave(struct pcr_emit *emit, const char *name);

#endif
