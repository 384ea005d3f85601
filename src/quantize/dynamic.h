// SPDX-License-Identifier: Apache-2.0
// Dynamic quantization: weights are INT8 in the file, inputs become INT8 by their own range, run by
// run. No data is needed for it.
#ifndef PCR_QUANTIZE_DYNAMIC_H
#define PCR_QUANTIZE_DYNAMIC_H

#include "quantize/weights.h"

// Rewrites the model: all layers of the plan but those that are left. What a layer gives keeps its
// name. A snapshot of the model brings it back. PACER_ENOMEM, and as pcr_quant_weight_make.
int pcr_quant_dynamic(struct pcr_quant_plan *plan, const struct pcr_quant_weights_how *how,
                      struct pacer_error *err);

#endif
