// SPDX-License-Identifier: Apache-2.0
// Ranges of the tensors between layers, as they are on rows of data.
#ifndef PCR_QUANTIZE_CALIBRATE_H
#define PCR_QUANTIZE_CALIBRATE_H

#include "quantize/probe.h"
#include "quantize/qdq.h"
#include "quantize/ranges.h"

#include <pacer/quantize.h>

struct pcr_calibrate {
    struct pcr_onnx_model *model; // FP32
    const struct pcr_data *data;
    enum pacer_calibration method;
    double percentile;
    int threads;
    const char *name; // for messages
};
// Fills in the scales of all tensors. PACER_EINVAL (values that are NaN or infinite), and as
// pcr_probe_open and pcr_probe_run.
int pcr_calibrate(const struct pcr_calibrate *calibrate, struct pcr_quant_tensors *tensors,
                  struct pacer_error *err);

#endif
