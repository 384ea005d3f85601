// SPDX-License-Identifier: Apache-2.0
// What the server room shares: the application as one loop sees it, and the configuration that is
// in force.
#ifndef PCR_SERVER_APP_H
#define PCR_SERVER_APP_H

#include "base/base.h"
#include "cache/cache.h"
#include "config/config.h"
#include "decide/decide.h"
#include "http/server.h"
#include "infer/infer.h"
#include "loop/loop.h"
#include "server/router.h"

#include <stdatomic.h>

// One loaded configuration with all that is made from it. Immutable once it serves; replaced whole
// on reload. Each loop holds a reference, and so does every request that uses a decision, until it
// is answered.
struct pcr_generation {
    atomic_uint refs;
    struct pcr_config *config;       // one reference
    struct pcr_decision **decisions; // owned
    size_t n_decisions;
    bool loading; // of the start: decisions and documents answer that they are still to come
    struct pcr_router *router; // owned; made by pcr_generation_route
    struct pcr_arena arena;    // owns the two documents and the route table
    struct pcr_str openapi;    // GET /openapi.json, rendered once
    struct pcr_str contracts;  // GET /api/contracts, rendered once
};
void pcr_generation_ref(struct pcr_generation *generation);
void pcr_generation_unref(
    struct pcr_generation *generation); // NULL is fine; frees it all with the last reference
// Builds the router (v2, documents, one POST per decision) and renders the documents. Call it once,
// after `config` and `decisions` are set and before the generation serves. PACER_EINVAL if a
// decision's path is taken already.
int pcr_generation_route(struct pcr_generation *generation, const char *server_name,
                         struct pacer_error *err);

// One per loop; everything it points to is shared by all loops, unless said otherwise.
struct pcr_app {
    struct pcr_loop *loop;             // this loop's
    struct pcr_generation *generation; // in force on this loop; swapped on its thread only
    struct pcr_repository *repository;
    struct pcr_engine *engine;
    struct pcr_cache *cache; // NULL: no answers are kept
    struct pcr_pool *pool;   // for work that blocks: model load and unload
    const char *server_name; // what GET /v2 calls itself
    const char *server_version;
    uint64_t started_real_ns; // wall clock, the same on every loop
    // Connections and requests, summed over all loops; on any loop's thread.
    void (*http_stats)(const struct pcr_app *app, struct pcr_http_server_stats *out);
    atomic_bool *loading;  // not ready yet; NULL counts as false
    atomic_bool *draining; // no longer ready; NULL counts as false
};

// The pcr_http_handler of the server: ctx is the loop's struct pcr_app.
void pcr_app_handle(void *ctx, struct pcr_http_request *request);
// Its pcr_http_body_max: as large as the server takes them for routes of POST, PUT and PATCH,
// little for the rest.
size_t pcr_app_body_max(void *ctx, enum pcr_http_method method, struct pcr_str path);

// --- answers ------------------------------------------------------------------------------------
// Each replies to the request, once. Bodies are borrowed as pcr_http_reply has it.
void pcr_reply_json(struct pcr_http_request *request, int status, struct pcr_str body);
// {"error":"…"}
__attribute__((format(printf, 3, 4))) void pcr_reply_error(struct pcr_http_request *request,
                                                           int status, const char *format, ...);
// The same from an error record; the status by its code (400, 404, 500, 501, 503, …).
void pcr_reply_failure(struct pcr_http_request *request, const struct pacer_error *err);
// The same for what was refused for want of time or room: a 503 says in Retry-After when to try
// again (in seconds, at least 1; nothing for PCR_RETRY_NEVER).
void pcr_reply_refusal(struct pcr_http_request *request, const struct pacer_error *err,
                       uint64_t retry_ns);
// The value of that header in the request's arena; {NULL, 0} for none.
struct pcr_str pcr_retry_after(struct pcr_http_request *request, uint64_t retry_ns);
int pcr_status_of(int code);

#endif
