// SPDX-License-Identifier: Apache-2.0
// A decision's request, its call and its answer. A generation lives as long as the calls that use
// its decisions, those that have an answer anew for nobody included.
#include "server/decisions.h"

#include "server/caching.h"
#include "server/v2.h"

#include <stdlib.h>

#define REFRESH_ARENA_BYTES_MAX ((size_t)64 << 20)

struct decision_call { // in the request's arena
    struct pcr_decide_call call;
    struct pcr_http_request *request;
    struct pcr_generation *generation;
    struct pcr_caching_headers said;
};

// --- computing anew, for nobody -----------------------------------------------------------------
struct refresh {
    struct pcr_arena arena;
    struct pcr_decide_call call;
    struct pcr_generation *generation;
};

static void on_refreshed(struct pcr_decide_call *call) {
    struct refresh *refresh = call->user;
    struct pcr_generation *generation = refresh->generation;
    pcr_arena_fini(&refresh->arena);
    free(refresh);
    pcr_generation_unref(generation);
}

static void start_refresh(const struct decision_call *from) {
    struct refresh *refresh = malloc(sizeof *refresh);
    if (!refresh)
        return;
    pcr_arena_init(&refresh->arena, REFRESH_ARENA_BYTES_MAX);
    const struct pcr_decide_call *call = &from->call;
    const char *body = pcr_arena_dup(&refresh->arena, call->body);
    const char *tenant = pcr_arena_dup(&refresh->arena, call->tenant);
    if (!body || !tenant) {
        pcr_arena_fini(&refresh->arena);
        free(refresh);
        return;
    }
    refresh->generation = from->generation;
    pcr_generation_ref(refresh->generation);
    refresh->call = (struct pcr_decide_call){
        .decision = call->decision,
        .body = {body, call->body.len},
        .id = PCR_STR("refresh"),
        .arena = &refresh->arena,
        .loop = call->loop,
        .engine = call->engine,
        .repository = call->repository,
        .done = on_refreshed,
        .user = refresh,
        .received_ns = pcr_clock_mono_ns(),
        .cache = call->cache,
        .tenant = {tenant, call->tenant.len},
        .max_age_ns = UINT64_MAX,
        .refreshing = true,
    };
    pcr_decide(&refresh->call);
}

// --- answers ------------------------------------------------------------------------------------
static void say_caching(struct decision_call *self) {
    const struct pcr_decide_call *call = &self->call;
    if (call->status != 200)
        return;
    if (call->kept.cache)
        pcr_caching_say(&call->kept, call->bucketed, &self->said);
    else if (call->bypass || call->bucketed)
        pcr_caching_say_bypass(call->bypass ? call->bypass : "off", call->bucketed, &self->said);
}

static void decided(struct pcr_decide_call *call) {
    struct decision_call *self = call->user;
    struct pcr_http_header headers[1 + PCR_CACHING_HEADERS];
    struct pcr_http_reply reply = {
        .status = call->status,
        .content_type = "application/json",
        .body = call->answer,
        .headers = headers,
    };
    struct pcr_str retry = pcr_retry_after(self->request, call->retry_ns);
    if (call->status == 503 && retry.ptr)
        headers[reply.n_headers++] = (struct pcr_http_header){PCR_STR("Retry-After"), retry};
    say_caching(self);
    for (size_t i = 0; i < self->said.n; i++)
        headers[reply.n_headers++] = self->said.list[i];
    if (call->kept.cache && call->kept.refresh && call->status == 200)
        start_refresh(self);
    struct pcr_generation *generation = self->generation;
    pcr_http_reply(self->request, &reply); // the arena, and self with it, may be gone now
    pcr_generation_unref(generation);
}

static void on_aborted(struct pcr_http_request *request) {
    struct decision_call *self = request->user;
    pcr_decide_cancel(&self->call);
}

// --- requests -----------------------------------------------------------------------------------
// "application/json", "application/problem+json; charset=utf-8";
// a body without a type is taken for JSON.
static bool is_json_type(struct pcr_str type) {
    struct pcr_str essence;
    if (!type.ptr || !pcr_str_split(&type, ';', &essence))
        return true;
    essence = pcr_str_trim(essence);
    if (essence.len == 0 || pcr_str_eq_nocase(essence, PCR_STR("application/json")))
        return true;
    struct pcr_str tail = {essence.ptr + essence.len - (essence.len < 5 ? essence.len : 5),
                           essence.len < 5 ? essence.len : 5};
    return pcr_str_eq_nocase(tail, PCR_STR("+json"));
}

void pcr_decide_route(struct pcr_app *app, struct pcr_http_request *request,
                      const struct pcr_route_match *match) {
    struct pcr_str type = pcr_http_header(request, "Content-Type");
    if (!is_json_type(type)) {
        pcr_reply_error(request, 415, "Content-Type is '%.*s', expected application/json",
                        (int)(type.len < 80 ? type.len : 80), type.ptr);
        return;
    }
    struct pacer_error err;
    uint64_t timeout_ns;
    if (pcr_request_timeout(request, &timeout_ns, &err) < 0) {
        pcr_reply_failure(request, &err);
        return;
    }
    struct pcr_caching caching;
    pcr_caching_read(app, request, &caching);
    struct decision_call *self = pcr_arena_calloc(&request->arena, 1, sizeof *self);
    if (!self) {
        pcr_reply_error(request, 503, "out of memory");
        return;
    }
    self->request = request;
    request->user = self;
    request->aborted = on_aborted;
    self->generation = app->generation;
    pcr_generation_ref(self->generation);
    self->call = (struct pcr_decide_call){
        .decision = match->route->user,
        .body = request->body,
        .id = request->id,
        .arena = &request->arena,
        .loop = request->loop,
        .engine = app->engine,
        .repository = app->repository,
        .done = decided,
        .user = self,
        .deadline_ns = pcr_request_deadline(app, request),
        .timeout_ns = timeout_ns,
        .received_ns = request->received_ns,
        .cache = app->cache,
        .tenant = caching.tenant,
        .no_store = caching.no_store,
        .only_if_cached = caching.only_if_cached,
        .max_age_ns = caching.max_age_ns,
    };
    pcr_decide(&self->call);
}

void pcr_decide_later_route(struct pcr_app *app, struct pcr_http_request *request,
                            const struct pcr_route_match *match) {
    (void)app;
    const struct pcr_config_decision *decision = match->route->user;
    pcr_reply_error(request, 503, "model '%.200s' is still being loaded; try again",
                    decision->model);
}
