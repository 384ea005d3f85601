// SPDX-License-Identifier: Apache-2.0
// Constant matrices as they go into the quantized file.
#ifndef PCR_QUANTIZE_WEIGHTS_H
#define PCR_QUANTIZE_WEIGHTS_H

#include "quantize/plan.h"

struct pcr_quant_weights_how {
    bool per_channel;  // a scale per output channel, where the kernel takes that
    bool reduce_range; // 7 bits, for processors whose products of 8 bits saturate
    bool is_static;    // for QDQ: all kernels take INT8 weights then
};

// Makes values, scale and zero point of all weights of a layer, as its kernel wants them; what was
// made once is kept, since `how` is the same for all variants of a model. The memory is the
// model's. PACER_EINVAL (a weight is NaN or infinite), PACER_EMODEL, PACER_EIO, PACER_ENOMEM.
int pcr_quant_weights_make(struct pcr_onnx_model *model, struct pcr_quant_layer *layer,
                           const struct pcr_quant_weights_how *how, struct pacer_error *err);

// A constant bias times beta. Errors as above.
int pcr_quant_bias_scaled(struct pcr_onnx_model *model, const char *name, float beta,
                          const struct pcr_onnx_constant **out, struct pacer_error *err);
// A constant bias [C] as [1, C, 1 …] of `rank` dimensions.
int pcr_quant_bias_shaped(struct pcr_onnx_model *model, const char *name, size_t rank,
                          const struct pcr_onnx_constant **out, struct pacer_error *err);
// A constant bias as INT32 whose scale is that of the input times those of the weights, which is
// what the sums of an integer kernel have. *values is NULL, and 0 returned, where it has to stay
// FP32: it is not as long as the output has channels, or does not fit.
struct pcr_quant_bias_of {
    const char *name;
    float input_scale;
    const struct pcr_onnx_constant *weight_scales;
};
int pcr_quant_bias_make(struct pcr_onnx_model *model, const struct pcr_quant_bias_of *bias,
                        const struct pcr_onnx_constant **values,
                        const struct pcr_onnx_constant **scales, struct pacer_error *err);

#endif
