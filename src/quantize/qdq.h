// SPDX-License-Identifier: Apache-2.0
// Static quantization: every tensor between quantized nodes has a range that was calibrated, and a
// pair of QuantizeLinear and DequantizeLinear around which ONNX Runtime fuses integer kernels
// (QDQ).
#ifndef PCR_QUANTIZE_QDQ_H
#define PCR_QUANTIZE_QDQ_H

#include "quantize/weights.h"

// A tensor that gets a pair, by the name it has in the FP32 graph.
struct pcr_quant_tensor {
    const char *name;
    struct pcr_quant_scale scale; // of INT8, asymmetric; filled in by who has calibrated
    bool is_calibrated;
};
struct pcr_quant_tensors {
    struct pcr_quant_tensor *items;
    size_t n;
};

// The tensors that have to be calibrated before any variant of the plan can be made; in the arena
// of the plan's model. PACER_ENOMEM.
int pcr_quant_qdq_tensors(struct pcr_quant_plan *plan, struct pcr_quant_tensors *out,
                          struct pacer_error *err);
// Rewrites the model, as pcr_quant_dynamic does.
int pcr_quant_qdq(struct pcr_quant_plan *plan, const struct pcr_quant_tensors *tensors,
                  const struct pcr_quant_weights_how *how, struct pacer_error *err);

#endif
