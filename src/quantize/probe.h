// SPDX-License-Identifier: Apache-2.0
// Seeing the values within a model while it runs on rows of data.
#ifndef PCR_QUANTIZE_PROBE_H
#define PCR_QUANTIZE_PROBE_H

#include "compare/compare.h"
#include "onnx/model.h"

// The model as it is now, in a session that gives `tensors`, and what the model gives, too.
// PACER_EMODEL, PACER_ELIMIT (2 GiB), PACER_ENOMEM.
struct pcr_probe_how {
    const char *const *tensors;
    size_t n_tensors;
    bool as_it_is; // see pcr_session_trial
    int threads;
    const char *name; // for messages
};
int pcr_probe_open(struct pcr_onnx_model *model, const struct pcr_probe_how *how,
                   struct pacer_session **out, struct pacer_error *err);

// Runs the rows in batches, the last one shorter where the model allows that, and calls `each` with
// every batch's outputs, in the order of `outputs` (NULL: all of the model). A negative answer of
// `each` ends it and is the result.
struct pcr_probe_run {
    struct pacer_session *session;
    const struct pcr_data *data;
    size_t rows, batch;
    const char *const *outputs;
    size_t n_outputs;
    int (*each)(void *ctx, const struct pacer_tensor *outputs, size_t n_outputs, size_t first_row,
                size_t n_rows);
    void *ctx;
};
int pcr_probe_run(const struct pcr_probe_run *run, struct pacer_error *err);

#endif
