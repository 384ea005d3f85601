// SPDX-License-Identifier: Apache-2.0
// One decision from its request to its answer: reading, the run and judging are one call of the
// engine, which does all of it on the request's loop where that is cheap, else on a worker.
#include "decide/decide_priv.h"

static void count(_Atomic uint64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void finish(struct pcr_decide_call *call, int status, struct pcr_str answer) {
    call->status = status;
    call->answer = answer;
}

static void fail(struct pcr_decide_call *call, int status, const char *message) {
    count(&call->decision->counters.failures);
    finish(call, status, pcr_decide_error_write(call->arena, message, NULL));
}

static void out_of_memory(struct pcr_decide_call *call) {
    fail(call, 503, "no memory left for this request");
}

// A server that is full or late may be asked again; one whose model fails may not.
static int status_of(int code) {
    switch (code) {
    case PACER_EBUSY:
    case PACER_ETIMEDOUT:
    case PACER_ECANCELED:
    case PACER_ENOMEM:
    case PACER_ENOTFOUND:
        return 503;
    default:
        return 500;
    }
}

static void refuse(struct pcr_decide_call *call, const struct pcr_decide_bads *bads) {
    struct pcr_str answer = pcr_decide_bads_write(bads);
    if (!answer.ptr) {
        out_of_memory(call);
        return;
    }
    count(&call->decision->counters.bad_requests);
    finish(call, bads->malformed ? 400 : 422, answer);
}

static void broke_contract(struct pcr_decide_call *call, const char *pointer,
                           const struct pacer_error *err) {
    const struct pcr_decision *decision = call->decision;
    count(&call->decision->counters.contract_violations);
    PCR_LOG_PER_REQUEST(PCR_LOG_ERROR, "decide",
                        "%s: an answer would have broken the contract %s: %s", decision->path,
                        decision->contract_file, err->message);
    char message[sizeof err->message + 64];
    snprintf(message, sizeof message, "the answer would have broken its contract: %s",
             err->message);
    finish(call, 500, pcr_decide_error_write(call->arena, message, pointer ? pointer : ""));
}

void pcr_decide_count_answer(struct pcr_decide_call *call, bool fallback) {
    count(&call->decision->counters.answered);
    if (fallback)
        count(&call->decision->counters.fallbacks);
}

static void judge(struct pcr_decide_call *call, const struct pacer_tensor *output) {
    struct pcr_decision *decision = call->decision;
    struct pcr_decide_state *state = call->state;
    struct pcr_decide_verdict verdict = {
        .id = call->id, .request = &state->request, .plan = state->plan};
    struct pacer_error err = {0};
    int rc = pcr_decide_judge(decision, &state->batch, output, call->arena, &verdict, &err);
    if (rc < 0) {
        PCR_LOG_PER_REQUEST(PCR_LOG_ERROR, "decide", "%s: %s", decision->path, err.message);
        fail(call, status_of(rc), err.message);
        return;
    }
    struct pcr_str text = pcr_decide_answer_write(decision, &verdict, call->arena);
    if (!text.ptr) {
        out_of_memory(call);
        return;
    }
    const char *pointer = NULL;
    rc = pcr_decide_answer_check(decision, text, call->arena, &pointer, &err);
    if (rc == PACER_ENOMEM) {
        out_of_memory(call);
    } else if (rc < 0) {
        broke_contract(call, pointer, &err);
    } else {
        state->fallback = verdict.fallback;
        pcr_decide_count_answer(call, verdict.fallback);
        finish(call, 200, text);
    }
}

// The two hooks of the engine. Once the call has its status there is nothing to do any more.

static int stop_here(struct pcr_infer_call *infer) {
    return pcr_err(&infer->error, PACER_EINVAL, "decide", "the decision was not computed");
}

int pcr_decide_read(struct pcr_infer_call *infer) {
    struct pcr_decide_call *call = infer->user;
    struct pcr_decide_state *state = call->state;
    struct pcr_decide_bads bads = {.arena = call->arena};
    if (!pcr_decide_request_read(call->decision, state->plan, call->body, &state->request, &bads)) {
        refuse(call, &bads);
        return stop_here(infer);
    }
    if (!pcr_decide_batch_make(call->decision, state->plan, &state->request, call->arena,
                               &state->batch)) {
        out_of_memory(call);
        return stop_here(infer);
    }
    infer->run = state->batch.run;
    return 0;
}

int pcr_decide_write(struct pcr_infer_call *infer) {
    struct pcr_decide_call *call = infer->user;
    PCR_ASSERT(infer->n_outputs == 1);
    judge(call, &infer->outputs[0]);
    return call->status == 200 ? 0 : stop_here(infer);
}

void pcr_decide_fail(struct pcr_decide_call *call, int code, const char *message) {
    if (code != PACER_ECANCELED) // then nobody hears the answer
        PCR_LOG_PER_REQUEST(PCR_LOG_WARN, "decide", "%s: %s", call->decision->path, message);
    fail(call, status_of(code), message);
}

static void on_inferred(struct pcr_infer_call *infer) {
    struct pcr_decide_call *call = infer->user;
    call->retry_ns = infer->retry_ns;
    if (call->status == 0)
        pcr_decide_fail(call, infer->status, infer->error.message);
    call->done(call);
}

static void unref_model(void *model) {
    pcr_model_unref(model);
}

// Takes the reference to `model`. False: the call has its status.
static bool prepare(struct pcr_decide_call *call, struct pcr_model *model) {
    // As long as the arena, and registered before the run: outputs are released first.
    if (!pcr_arena_on_reset(call->arena, unref_model, model)) {
        pcr_model_unref(model);
        out_of_memory(call);
        return false;
    }
    struct pcr_decide_state *state = pcr_arena_calloc(call->arena, 1, sizeof *state);
    call->state = state;
    if (state)
        state->plan = pcr_decide_plan_of(call->decision, model, call->arena);
    if (!state || !state->plan) {
        out_of_memory(call);
        return false;
    }
    if (state->plan->unfit) {
        fail(call, 503, state->plan->unfit);
        return false;
    }
    return true;
}

void pcr_decide(struct pcr_decide_call *call) {
    struct pcr_decision *decision = call->decision;
    struct pacer_error err = {0};
    call->status = 0;
    call->kept.cache = NULL;
    call->bypass = NULL;
    call->bucketed = decision->is_bucketed;
    struct pcr_model *model = pcr_repository_get(call->repository, pcr_str(decision->model),
                                                 pcr_str(decision->model_version), &err);
    if (!model)
        fail(call, 503, err.message);
    if (!model || !prepare(call, model)) {
        call->done(call);
        return;
    }
    call->infer = (struct pcr_infer_call){
        .model = model,
        .arena = call->arena,
        .loop = call->loop,
        .done = on_inferred,
        .read = pcr_decide_read,
        .write = pcr_decide_write,
        .is_large = call->body.len > PCR_INLINE_BODY_BYTES_MAX,
        .user = call,
        .rows_alone = true, // row 0 is the answer, whatever the other rows are
        .priority = PCR_PRIORITY_DEFAULT,
        .deadline_ns = call->deadline_ns,
        .timeout_ns = call->timeout_ns,
        .received_ns = call->received_ns,
    };
    if (!pcr_decide_kept(call))
        pcr_engine_submit(call->engine, &call->infer);
}

void pcr_decide_cancel(struct pcr_decide_call *call) {
    if (!call->kept.cache || pcr_decide_kept_cancel(call))
        pcr_engine_cancel(&call->infer);
}
