// SPDX-License-Identifier: Apache-2.0
// One call of pacer_quantize, as its parts share it: quantize.c leads, variant.c makes models,
// evidence.c measures them, budget.c chooses.
#ifndef PCR_QUANTIZE_JOB_PRIV_H
#define PCR_QUANTIZE_JOB_PRIV_H

#include "compare/answers.h"
#include "quantize/dynamic.h"
#include "quantize/probe.h"
#include "quantize/qdq.h"
#include "quantize/report.h"

struct pcr_quant_job {
    const char *in, *out;
    struct pacer_quantize_options options; // with defaults filled in
    struct pacer_quantize_report *report;
    struct pacer_error *err;
    struct pcr_onnx_model *model;
    const struct pcr_onnx_snapshot *fp32; // the model as it was read
    struct pcr_quant_plan plan;
    struct pcr_quant_weights_how how;
    struct pcr_quant_tensors tensors; // of a static one
    struct pcr_data calibration;      // rows that ranges are taken from
    struct pcr_data data;             // rows that the evidence is taken on
    struct pcr_arena arena;           // owns them
    struct pacer_session *reference;  // FP32
    struct pacer_tensor **answers;    // its outputs, batch by batch, once somebody asked
};

struct pcr_quant_error pcr_quant_error_of(const struct pcr_error_stats *stats);

// Tells the caller how far it is. PACER_ECANCELED.
int pcr_quant_progress(const struct pcr_quant_job *job, const char *stage, size_t done,
                       size_t total);

// --- variant.c: models in which some layers are INT8 --------------------------------------------
// Makes the model INT8, but for layers that are left. pcr_onnx_model_restore brings it back.
int pcr_quant_variant_make(struct pcr_quant_job *job);
// A session of the model as it is now.
int pcr_quant_variant_open(struct pcr_quant_job *job, struct pacer_session **out);
// A model of one layer alone that takes what flows into it: FP32, or INT8 with the same weights,
// scales and zero points. Types and shapes of its inputs come from `probe`, which gives them.
int pcr_quant_variant_layer(struct pcr_quant_job *job, size_t layer, bool int8,
                            const struct pacer_session *probe, struct pacer_session **out);
// What a layer gives, behind the Relu that goes with it.
const char *pcr_quant_layer_output(const struct pcr_quant_layer *layer);
// The inputs of a layer that are no constants: at most PCR_QUANT_FLOWS_MAX.
#define PCR_QUANT_FLOWS_MAX 16
size_t pcr_quant_layer_flows(const struct pcr_quant_job *job, size_t layer,
                             const char *flows[PCR_QUANT_FLOWS_MAX]);

// --- evidence.c and outputs.c -------------------------------------------------------------------
// The layers one by one, on the first rows of the data.
int pcr_quant_evidence_layers(struct pcr_quant_job *job);
// What the session answers, against FP32. Fills in `outputs`, one per output of the model, whose
// memory is the report's.
int pcr_quant_evidence_outputs(struct pcr_quant_job *job, struct pacer_session *int8,
                               struct pcr_quant_output *outputs);
int pcr_quant_evidence_latency(struct pcr_quant_job *job, struct pacer_session *int8);

// --- budget.c -----------------------------------------------------------------------------------
bool pcr_quant_has_limits(const struct pcr_quant_job *job);
// Leaves layers in FP32 until the limits hold; *holds says whether they do in the end. The plan is
// the best that was found.
int pcr_quant_budget(struct pcr_quant_job *job, bool *holds);

#endif
