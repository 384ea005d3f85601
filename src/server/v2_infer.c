// SPDX-License-Identifier: Apache-2.0
// POST /v2/models/M[/versions/V]/infer:
// from the request's bytes through the engine to the answer's.
#include "server/v2.h"

#define HEADER_LENGTH "Inference-Header-Content-Length"

// One inference under way; in the request's arena.
struct infer {
    struct pcr_http_request *request;
    struct pcr_model *model;
    struct pcr_v2_request v2;
    struct pcr_v2_body body; // of the answer
    struct pcr_infer_call call;
    struct pcr_http_header length_header;
    char length_text[24];
};

struct pcr_model *pcr_v2_get_model(struct pcr_app *app, const struct pcr_route_match *match,
                                   struct pacer_error *err) {
    struct pcr_str version = match->n_params > 1 ? match->params[1] : PCR_STR("");
    return pcr_repository_get(app->repository, match->params[0], version, err);
}

// The protocol's 1 is the highest, 0 the default; 2 is that, too, and all others are the lowest.
static unsigned priority_of(uint64_t priority) {
    return priority == 1                    ? 0
           : priority == 0 || priority == 2 ? PCR_PRIORITY_DEFAULT
                                            : PCR_PRIORITIES - 1;
}

// It may be in the "parameters" before the data or behind them; looking costs far less than
// reading.
static bool says_priority(struct pcr_str body) {
    static const char key[] = "\"priority\"";
    return body.len > 0 && memmem(body.ptr, body.len, key, sizeof key - 1) != NULL;
}

static int read_body(struct infer *infer, struct pacer_error *err) {
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

static bool wants_no_text(const struct pcr_v2_request *v2) {
    bool binary = v2->run.n_outputs > 0 || v2->binary_output;
    for (size_t i = 0; i < v2->run.n_outputs && binary; i++)
        binary = v2->outputs[i].binary && v2->outputs[i].classes == 0;
    return binary;
}

static int read_request(struct pcr_infer_call *call) { // on the loop or a worker
    struct infer *infer = call->user;
    int rc = read_body(infer, &call->error);
    if (rc < 0)
        return rc;
    call->run = infer->v2.run;
    call->writes_no_text = wants_no_text(&infer->v2);
    uint64_t ns;
    if (infer->v2.timeout_us && !__builtin_mul_overflow(infer->v2.timeout_us, PCR_NS_PER_US, &ns) &&
        (call->timeout_ns == 0 || ns < call->timeout_ns))
        call->timeout_ns = ns; // of two the sooner
    call->priority = priority_of(infer->v2.priority);
    return 0;
}

static int write_answer(struct pcr_infer_call *call) { // on the loop or a worker
    struct infer *infer = call->user;
    struct pcr_v2_answer out = {
        .model = infer->model->name,
        .version = infer->model->version,
        .batches = infer->model->max_batch_size > 0,
        .outputs = call->outputs,
        .n_outputs = call->n_outputs,
    };
    return pcr_v2_write(call->arena, &infer->v2, &out, &infer->body, &call->error);
}

static void on_aborted(struct pcr_http_request *request) {
    struct infer *infer = request->user;
    pcr_engine_cancel(&infer->call);
}

// The reference lives as long as the request: a binary answer is sent from the memory of the
// model's outputs.
static void unref_model(void *model) {
    pcr_model_unref(model);
}

static void answer(struct pcr_infer_call *call) {
    struct infer *infer = call->user;
    if (call->status < 0) {
        pcr_reply_refusal(infer->request, &call->error, call->retry_ns);
        return;
    }
    const struct pcr_v2_body *body = &infer->body;
    struct pcr_http_reply reply = {
        .status = 200,
        .content_type = body->binary ? "application/octet-stream" : "application/json",
        .body = body->json,
        .body_more = body->tensors,
    };
    if (body->binary) {
        int n = snprintf(infer->length_text, sizeof infer->length_text, "%zu", body->json.len);
        infer->length_header =
            (struct pcr_http_header){PCR_STR(HEADER_LENGTH), {infer->length_text, (size_t)n}};
        reply.headers = &infer->length_header;
        reply.n_headers = 1;
    }
    pcr_http_reply(infer->request, &reply);
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
    uint64_t timeout_ns;
    infer->model = pcr_request_timeout(request, &timeout_ns, &err) < 0
                       ? NULL
                       : pcr_v2_get_model(app, match, &err);
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
    infer->call = (struct pcr_infer_call){
        .model = infer->model,
        .arena = &request->arena,
        .loop = request->loop,
        .done = answer,
        .read = read_request,
        .write = write_answer,
        .is_large = request->body.len > PCR_INLINE_BODY_BYTES_MAX,
        .user = infer,
        .priority = PCR_PRIORITY_DEFAULT,
        .deadline_ns = pcr_request_deadline(app, request),
        .timeout_ns = timeout_ns,
        .timeout_comes = true,
        .priority_comes = says_priority(request->body),
        .received_ns = request->received_ns,
    };
    request->user = infer;
    request->aborted = on_aborted;
    pcr_engine_submit(app->engine, &infer->call);
}
