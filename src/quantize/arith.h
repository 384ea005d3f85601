// SPDX-License-Identifier: Apache-2.0
// The arithmetic of 8 bits: scale and zero point of a range, and numbers to bytes and back.
//
// real = scale · (q − zero point). Everything here is as onnxruntime.quantization computes it, byte
// for byte (held against 1.32): the range is widened to contain 0; its width, the scale and the
// zero point are computed in float64, and the scale is rounded to float32 at the end; numbers are
// divided by it in float32, rounded half to even, and saturated at the limits of the type, not at
// those of the form. It differs in what that tool refuses or leaves to chance:
// - NaN becomes the zero point (0.0); there it is what the processor makes of it;
// - a range with NaN or infinity gives scale 1, zero point 0; there scale NaN or infinite;
// - a bias of 0 whose scale underflowed to 0 stays 0; there it is INT32_MIN.
// All functions are pure: any thread, no allocation. Rounding must be to nearest, as C begins with.
#ifndef PCR_QUANTIZE_ARITH_H
#define PCR_QUANTIZE_ARITH_H

#include "base/base.h"

enum pcr_quant_type { PCR_QUANT_INT8, PCR_QUANT_UINT8 };

struct pcr_quant_form {
    enum pcr_quant_type type;
    bool symmetric;    // around 0: the zero point is 0 (int8), 128 or (reduced) 64 (uint8)
    bool reduce_range; // 7 bits, for processors that add products of two bytes in 16 bits
};

struct pcr_quant_scale {
    float scale;
    int32_t zero_point;
};

// | | full | symmetric | reduced |
// |---|---|---|---|
// | int8 | −128..127 | −127..127 | −64..64 |
// | uint8 | 0..255 | 0..255 | 0..127 |
void pcr_quant_limits(struct pcr_quant_form form, int32_t *qmin, int32_t *qmax);

// Of the range rmin..rmax. One too narrow for a normal float32 scale (all zeros, denormals) gives
// scale 1, zero point 0.
struct pcr_quant_scale pcr_quant_scale_of(float rmin, float rmax, struct pcr_quant_form form);

// n numbers to n bytes of the type.
void pcr_quantize(const float *x, size_t n, struct pcr_quant_scale scale, enum pcr_quant_type type,
                  void *out);
void pcr_dequantize(const void *q, size_t n, struct pcr_quant_scale scale, enum pcr_quant_type type,
                    float *out);

// The least and the greatest; 0 and 0 of no numbers. False if there is a NaN or an infinity, and
// then they are of no use.
bool pcr_range_of(const float *x, size_t n, float *min, float *max);
// Index of the first NaN or infinity, for whoever has to name it; n: there is none.
size_t pcr_first_not_finite(const float *x, size_t n);

// Weights of one tensor, row-major [outer][channels][inner], one scale per channel. One scale for
// all of them is one channel: {data, 1, 1, n}.
struct pcr_quant_weights {
    const float *data;
    size_t outer, channels, inner;
};
// scales[channels], in one pass over the data. False if there is a NaN or an infinity.
bool pcr_quant_weight_scales(const struct pcr_quant_weights *weights, struct pcr_quant_form form,
                             struct pcr_quant_scale *scales);
// As many bytes as there are weights, in their order.
void pcr_quantize_weights(const struct pcr_quant_weights *weights,
                          const struct pcr_quant_scale *scales, enum pcr_quant_type type,
                          void *out);

// A bias becomes int32 with scale s_input · s_weight and zero point 0.
struct pcr_quant_bias {
    const float *data;
    size_t n;
    bool per_channel; // of the weights' scales there are n; else one
    float input_scale;
};
// Raises the weights' scales until every bias fits into 32 bits, as onnxruntime.quantization does
// for QDQ and zero points 0; before the weights are quantized. Returns how many were raised.
size_t pcr_quant_bias_make_room(const struct pcr_quant_bias *bias, float *weight_scales);
// Also the scales, as many as the weights have. Returns how many numbers were cut off.
size_t pcr_quantize_bias(const struct pcr_quant_bias *bias, const float *weight_scales,
                         float *scales, int32_t *out);

#endif
