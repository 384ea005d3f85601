// SPDX-License-Identifier: Apache-2.0
// What of a model can be quantized, and why the rest cannot.
#ifndef PCR_QUANTIZE_PLAN_H
#define PCR_QUANTIZE_PLAN_H

#include "base/base.h"
#include "onnx/model.h"
#include "quantize/arith.h"

enum pcr_quant_op {
    PCR_QUANT_MATMUL,
    PCR_QUANT_GEMM,
    PCR_QUANT_CONV,
    PCR_QUANT_GATHER,
    PCR_QUANT_LSTM,
    PCR_QUANT_ATTENTION,
    PCR_QUANT_OPS,
    PCR_QUANT_NONE = PCR_QUANT_OPS
};
extern const char *const pcr_quant_op_names[PCR_QUANT_OPS]; // "MatMul" …

#define PCR_QUANT_WEIGHTS_MAX 2 // of one layer: an LSTM has two

// A constant matrix as it goes into the file, made once.
struct pcr_quant_weight {
    const char *name;                                                       // of the fp32 constant
    const struct pcr_onnx_constant *constant, *values, *scale, *zero_point; // the last three: INT8
    size_t count, clipped; // numbers; of them saturated, or lost to zero while they were not zero
    double signal, noise;  // sums of squares: of the numbers, and of what rounding changed
};

// A node that can be quantized.
struct pcr_quant_layer {
    enum pcr_quant_op op;
    const struct pcr_onnx_node *node;
    const struct pcr_onnx_node
        *cutter;      // a Relu or Clip that goes with it where it is static; or NULL
    const char *name; // the node's, or that of its first output
    struct pcr_quant_weight weights[PCR_QUANT_WEIGHTS_MAX];
    size_t n_weights;
    size_t count; // numbers in all its weights
    bool is_left; // stays fp32
};

// A node of a kind that is quantized, but that stays as it is.
struct pcr_quant_skip {
    const char *name, *op, *why;
};

struct pcr_quant_plan {
    struct pcr_onnx_model *model;
    struct pcr_quant_layer *layers; // in the order in which they run
    size_t n;
    struct pcr_quant_skip *skips;
    size_t n_skips;
    int64_t opset; // that the result needs; what the model has, or more
};

struct pcr_quant_choice {
    const char *const *exclude; // names of nodes; a '*' at the end stands for any more
    size_t n_exclude;
    const char *const *ops; // names of operators; none: all
    size_t n_ops;
    bool is_static;
};

// Looks through the main graph. Everything lies in the model's arena. PACER_EINVAL (an excluded
// node is not there, no such operator), PACER_EUNSUPPORTED (quantized already; the opset cannot be
// raised), PACER_EMODEL (a node uses what nothing makes), PACER_ENOMEM.
int pcr_quant_plan_make(struct pcr_onnx_model *model, const struct pcr_quant_choice *choice,
                        struct pcr_quant_plan *plan, struct pacer_error *err);

#endif
