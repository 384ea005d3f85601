// SPDX-License-Identifier: Apache-2.0
// The Open Inference Protocol v2 as bytes: a request body into a run, a run's outputs into an
// answer. Knows no socket and no model repository; everything lives in the caller's arena.
#ifndef PCR_SERVER_V2_CODEC_H
#define PCR_SERVER_V2_CODEC_H

#include "base/base.h"
#include "json/json.h"

#include <pacer/session.h>

#define PCR_V2_INPUTS_MAX 1024
#define PCR_V2_OUTPUTS_MAX 1024
// Of both parts together. Below what a connection queues for a slow reader (256 MiB), so that the
// client gets a 400 that says what to do, not a connection that breaks off.
#define PCR_V2_ANSWER_BYTES_MAX ((size_t)255 << 20)

struct pcr_v2_output { // one output, as the client asked for it
    bool binary;
    uint32_t
        classes; // of the classification extension: how many of the highest; 0: the tensor itself
};

struct pcr_v2_request {
    struct pacer_run run;                // names, shapes and data in the arena or in the body
    struct pcr_str id;                   // "" if there is none
    uint64_t timeout_us;                 // 0: none
    uint64_t priority;                   // 1 is the highest; 0: the default
    bool binary_output;                  // for outputs that were not asked for by name
    const struct pcr_v2_output *outputs; // run.n_outputs of them, like run.outputs
};

// The length of the JSON part. `header` is the value of Inference-Header-Content-Length, ptr NULL
// if it was not sent (all of the body is JSON then). 0 in *json_bytes with a header means a raw
// request. PACER_EINVAL.
int pcr_v2_json_bytes(struct pcr_str header, size_t body_bytes, size_t *json_bytes,
                      struct pacer_error *err);

// Reads a request: `json_bytes` of JSON, then binary tensors. `model` is for messages. The body
// must outlive *out. PACER_ESYNTAX, PACER_EINVAL, PACER_EUNSUPPORTED (shared memory), PACER_ELIMIT,
// PACER_ENOMEM; the message names the input and the element.
int pcr_v2_read(struct pcr_arena *arena, const char *model, struct pcr_str body, size_t json_bytes,
                struct pcr_v2_request *out, struct pacer_error *err);

// The two readers behind it. The first takes the plain form of most requests and answers false for
// anything else, faults included; the second takes all. Where the first answers, both agree.
bool pcr_v2_read_canonical(struct pcr_arena *arena, struct pcr_str body,
                           struct pcr_v2_request *out);
int pcr_v2_read_general(struct pcr_arena *arena, const char *model, struct pcr_str body,
                        size_t json_bytes, struct pcr_v2_request *out, struct pacer_error *err);

// Reads a raw request: the body is the data of the model's only input, its shape is
// deduced. `batches`: the first dimension is the batch and counts as 1. All outputs
// are answered in binary form.
struct pcr_v2_raw {
    const char *model;
    const struct pacer_tensor_info *inputs;
    size_t n_inputs;
    bool batches;
};
int pcr_v2_read_raw(struct pcr_arena *arena, const struct pcr_v2_raw *raw, struct pcr_str body,
                    struct pcr_v2_request *out, struct pacer_error *err);

struct pcr_v2_answer {
    const char *model;
    const char *version;
    bool batches; // the first dimension is the batch: classification is per row
    const struct pacer_tensor *outputs;
    size_t n_outputs;
};
struct pcr_v2_body {
    struct pcr_str json;
    struct pcr_str tensors; // binary ones, in the order of the outputs
    bool binary; // at least one output is binary: application/octet-stream and the length header
};
// Writes an answer. NaN and infinities, for which JSON has no word, become null in JSON outputs,
// and the answer's parameters say so: {"non_finite":"null"}; binary outputs are exact. PACER_EINVAL
// for FP16 and BF16 over JSON and for a classification of text, PACER_ELIMIT, PACER_ENOMEM.
int pcr_v2_write(struct pcr_arena *arena, const struct pcr_v2_request *request,
                 const struct pcr_v2_answer *answer, struct pcr_v2_body *out,
                 struct pacer_error *err);

#endif
