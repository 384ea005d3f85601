// SPDX-License-Identifier: Apache-2.0
// The memory that one run may take; see run_memory.c. pcr_infer_run_memory_max sets how much.
#ifndef PCR_INFER_RUN_MEMORY_H
#define PCR_INFER_RUN_MEMORY_H

#include "infer/ort_priv.h"

// Makes ONNX Runtime take the memory of sessions with "session.use_env_allocators" from here.
// `memory` says where it lies, and outlives it.
OrtStatus *pcr_run_memory_register(const OrtApi *api, OrtEnv *env, const OrtMemoryInfo *memory);

// Around a run, on the thread that runs it; runs do not nest.
void pcr_run_memory_begin(void);
// The most that it was allowed if it asked for more and was refused, else 0.
size_t pcr_run_memory_end(void);

#endif
