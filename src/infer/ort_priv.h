// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime as the files of this room share it: one environment for the process.
#ifndef PCR_INFER_ORT_PRIV_H
#define PCR_INFER_ORT_PRIV_H

#include "base/base.h"

#include <onnxruntime_c_api.h>
#include <pacer/tensor.h>

struct pcr_ort {
    const OrtApi *api;
    OrtEnv *env;
    OrtMemoryInfo *cpu;      // where the callers' tensors lie
    OrtAllocator *allocator; // ONNX Runtime's default one; its own memory
};

// Made at the first call, kept for the life of the process; NULL with *err where it cannot be made.
// Any thread.
const struct pcr_ort *pcr_ort_get(struct pacer_error *err);
// The environment that pcr_ort_get made before.
const struct pcr_ort *pcr_ort(void);

// Takes a status that is not NULL: its words behind `what` and a colon go into *err; returns
// `code`, or PACER_ENOMEM for PACER_EMODEL where they say that memory is out.
int pcr_ort_fail(struct pacer_error *err, int code, OrtStatus *status, const char *what);

enum pacer_dtype pcr_ort_dtype(ONNXTensorElementDataType type);
ONNXTensorElementDataType pcr_ort_type(enum pacer_dtype dtype);
// "INT4", "COMPLEX64" … for messages about types that pacer does not carry.
const char *pcr_ort_type_name(ONNXTensorElementDataType type);

#endif
