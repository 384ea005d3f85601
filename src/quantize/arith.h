// SPDX-License-Identifier: Apache-2.0
// The arithmetic of INT8: real = scale · (quantized − zero point).
//
// Formulas, precision and rounding are those of onnxruntime.quantization 1.32 (quant_utils.py:
// compute_scale_zp, quantize_nparray; base_quantizer.py: quantize_bias_static_impl), so that
// scales, zero points and bytes come out the same.
#ifndef PCR_QUANTIZE_ARITH_H
#define PCR_QUANTIZE_ARITH_H

#include "base/base.h"

enum pcr_quant_type { PCR_QUANT_INT8, PCR_QUANT_UINT8 };
struct pcr_quant_form {
    enum pcr_quant_type type;
    bool symmetric;    // around zero: INT8 without −128, and a zero point of 0
    bool reduce_range; // 7 bits
};
struct pcr_quant_scale {
    float scale;
    int32_t zero_point;
};

// The numbers that a range is laid onto: −127 … 127 for symmetric INT8, say.
void pcr_quant_limits(struct pcr_quant_form form, int32_t *min, int32_t *max);
// For values from min to max, both finite. Zero is always among them, so that it is exact; a range
// too small for a float gets scale 1 and zero point 0.
struct pcr_quant_scale pcr_quant_scale_of(float min, float max, struct pcr_quant_form form);
// x / scale, rounded to even, plus the zero point, within what the type holds. NaN becomes the
// lowest number of the type.
void pcr_quantize(const float *x, size_t n, struct pcr_quant_scale scale,
                  struct pcr_quant_form form, void *out);
// Smallest and largest; false if a value is NaN or infinite. n > 0.
bool pcr_range_of(const float *x, size_t n, float *min, float *max);
// Biases as INT32, with the scales of their channels (or one for all) and a zero point of 0.
void pcr_quantize_bias(const float *bias, size_t n, const float *scales, size_t n_scales,
                       int32_t *out);

#endif
