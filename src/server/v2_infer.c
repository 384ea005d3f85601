// SPDX-License-Identifier: Apache-2.0
// POST /v2/models/M[/versions/V]/infer: from the request's bytes through the engine to the
// answer's.
#include "server/v2.h"

#define HEADER_LENGTH "Inference-Header-Content-Length"

// One inference under way; in the request's arena.
struct infer {
    struct pcr_http_request *request;
    struct pcr_model *model;
    struct pcr_v2_request v2;
    struct pcr_infer_call call;
    struct pcr_http_header length_header;
    char length_text[24];
};

struct pcr_model *pcr_v2_get_model(struct pcr_app *app, const struct pcr_route_match *match,
                                   struct pacer_error *err) {
    struct pcr_str version = match->n_params > 1 ? match->params[1] : PCR_STR("");
    return pcr_repository_get(app->repository, match->params[0], version, err);
}

static int read_request(struct infer *infer, struct pacer_error *err) {
    struct pcr_http_request *request = infer->request;
    struct pcr_str header = pcr_http_header(request, HEADER_LENGTH);
    size_t json_bytes;
    int rc = pcr_v2_json_bytes(header, request->body.len, &json_bytes, err);
    if (rc < 0)
        return rc;
    if (!header.ptr || json_bytes > 0) // names, types and shapes are checked by the engine
        return pcr_v2_read(&request->arena, infer->model->name, request->body, json_bytes,
                           &infer->v2, err);
    struct pcr_v2_raw raw = {.model = infer->model->name,
                             .batches = infer->model->max_batch_size > 0};
    raw.inputs = pacer_session_inputs(infer->model->session, &raw.n_inputs);
    return pcr_v2_read_raw(&request->arena, &raw, request->body, &infer->v2, err);
}

// The reference lives as long as the request: a binary answer is sent from the memory of the
// model's outputs.
static void unref_model(void *model) {
    pcr_model_unref(model);
}

static void answer(struct pcr_infer_call *call) {
    struct infer *infer = call->user;
    if (call->status < 0) {
        pcr_reply_failure(infer->request, &call->error);
        return;
    }
    struct pcr_v2_answer out = {
        .model = infer->model->name,
        .version = infer->model->version,
        .batches = infer->model->max_batch_size > 0,
        .outputs = call->outputs,
        .n_outputs = call->n_outputs,
    };
    struct pcr_v2_body body;
    if (pcr_v2_write(&infer->request->arena, &infer->v2, &out, &body, &call->error) < 0) {
        pcr_reply_failure(infer->request, &call->error);
        return;
    }
    struct pcr_http_reply reply = {
        .status = 200,
        .content_type = body.binary ? "application/octet-stream" : "application/json",
        .body = body.json,
        .body_more = body.tensors,
    };
    if (body.binary) {
        int n = snprintf(infer->length_text, sizeof infer->length_text, "%zu", body.json.len);
        infer->length_header =
            (struct pcr_http_header){PCR_STR(HEADER_LENGTH), {infer->length_text, (size_t)n}};
        reply.headers = &infer->length_header;
        reply.n_headers = 1;
    }
    pcr_http_reply(infer->request, &reply);
}

static void on_aborted(struct pcr_http_request *request) {
    struct infer *infer = request->user;
    pcr_engine_cancel(&infer->call);
}

// 0 (none) or the moment the client gives up, by its own `timeout`.
static uint64_t deadline_of(const struct pcr_http_request *request, uint64_t timeout_us) {
    uint64_t ns, deadline;
    if (timeout_us == 0 || __builtin_mul_overflow(timeout_us, PCR_NS_PER_US, &ns) ||
        __builtin_add_overflow(request->received_ns, ns, &deadline))
        return 0;
    return deadline;
}

void pcr_v2_infer(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    struct pacer_error err;
    struct infer *infer = pcr_arena_alloc(&request->arena, sizeof *infer);
    if (!infer) {
        pcr_err(&err, PACER_ENOMEM, "v2", "no memory for the request");
        pcr_reply_failure(request, &err);
        return;
    }
    infer->request = request;
    infer->model = pcr_v2_get_model(app, match, &err);
    if (!infer->model) {
        pcr_reply_failure(request, &err);
        return;
    }
    // Registered before the run, so that its outputs are released first.
    if (!pcr_arena_on_reset(&request->arena, unref_model, infer->model)) {
        pcr_model_unref(infer->model);
        pcr_err(&err, PACER_ENOMEM, "v2", "no memory for the request");
        pcr_reply_failure(request, &err);
        return;
    }
    if (read_request(infer, &err) < 0) {
        pcr_reply_failure(request, &err);
        return;
    }
    request->user = infer;
    request->aborted = on_aborted;
    infer->call = (struct pcr_infer_call){
        .model = infer->model,
        .run = infer->v2.run,
        .arena = &request->arena,
        .loop = request->loop,
        .done = answer,
        .user = infer,
        .deadline_ns = deadline_of(request, infer->v2.timeout_us),
    };
    pcr_engine_submit(app->engine, &infer->call);
}
