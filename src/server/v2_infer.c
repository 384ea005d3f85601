// SPDX-License-Identifier: Apache-2.0
// POST /v2/models/M[/versions/V]/infer:
// from the request's bytes through the engine to the answer's.
#include "server/v2_infer.h"

#define HEADER_LENGTH "Inference-Header-Content-Length"

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

static int read_body(struct pcr_v2_infer *infer, struct pacer_error *err) {
    size_t json_bytes;
    int rc = pcr_v2_json_bytes(infer->length, infer->bytes.len, &json_bytes, err);
    if (rc < 0)
        return rc;
    if (!infer->length.ptr || json_bytes > 0) // names, types and shapes are checked by the engine
        return pcr_v2_read(infer->arena, infer->model->name, infer->bytes, json_bytes, &infer->v2,
                           err);
    struct pcr_v2_raw raw = {.model = infer->model->name,
                             .batches = infer->model->max_batch_size > 0};
    raw.inputs = pacer_session_inputs(infer->model->session, &raw.n_inputs);
    return pcr_v2_read_raw(infer->arena, &raw, infer->bytes, &infer->v2, err);
}

static bool wants_no_text(const struct pcr_v2_request *v2) {
    bool binary = v2->run.n_outputs > 0 || v2->binary_output;
    for (size_t i = 0; i < v2->run.n_outputs && binary; i++)
        binary = v2->outputs[i].binary && v2->outputs[i].classes == 0;
    return binary;
}

int pcr_v2_infer_read(struct pcr_infer_call *call) { // on the loop or a worker
    struct pcr_v2_infer *infer = call->user;
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

int pcr_v2_infer_write(struct pcr_infer_call *call) { // on the loop or a worker
    struct pcr_v2_infer *infer = call->user;
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
    struct pcr_v2_infer *infer = request->user;
    if (infer->cached.cache)
        pcr_v2_infer_cached_abort(infer);
    else
        pcr_engine_cancel(&infer->call);
}

// The reference lives as long as the request: a binary answer is sent from the memory of the
// model's outputs.
static void unref_model(void *model) {
    pcr_model_unref(model);
}

void pcr_v2_infer_reply(struct pcr_v2_infer *infer, const struct pcr_v2_body *body) {
    struct pcr_http_header headers[1 + PCR_CACHING_HEADERS];
    struct pcr_http_reply reply = {
        .status = 200,
        .content_type = body->binary ? "application/octet-stream" : "application/json",
        .body = body->json,
        .body_more = body->tensors,
        .headers = headers,
    };
    for (size_t i = 0; i < infer->said.n; i++)
        headers[reply.n_headers++] = infer->said.list[i];
    if (body->binary) {
        int n = snprintf(infer->length_text, sizeof infer->length_text, "%zu", body->json.len);
        headers[reply.n_headers++] =
            (struct pcr_http_header){PCR_STR(HEADER_LENGTH), {infer->length_text, (size_t)n}};
    }
    pcr_http_reply(infer->request, &reply);
}

static void answer(struct pcr_infer_call *call) {
    struct pcr_v2_infer *infer = call->user;
    if (call->status < 0)
        pcr_reply_refusal(infer->request, &call->error, call->retry_ns);
    else
        pcr_v2_infer_reply(infer, &infer->body);
}

void pcr_v2_infer(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    struct pacer_error err;
    struct pcr_v2_infer *infer = pcr_arena_alloc(&request->arena, sizeof *infer);
    if (!infer) {
        pcr_err(&err, PACER_ENOMEM, "v2", "no memory for the request");
        pcr_reply_failure(request, &err);
        return;
    }
    infer->request = request;
    infer->arena = &request->arena;
    infer->bytes = request->body;
    infer->length = pcr_http_header(request, HEADER_LENGTH);
    infer->engine = app->engine;
    infer->said.n = 0;
    infer->cached.cache = NULL;
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
        .read = pcr_v2_infer_read,
        .write = pcr_v2_infer_write,
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
    if (!pcr_v2_infer_cached(app, infer))
        pcr_engine_submit(app->engine, &infer->call);
}
