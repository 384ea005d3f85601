// SPDX-License-Identifier: Apache-2.0
// Every path the server knows: the v2 protocol, the documents,
// and one POST per decision of the configuration.
//
// The table below is the only list of fixed routes. The router is compiled from it and the OpenAPI
// document is written from it, so that the document cannot promise a route that is not there.
// Decisions are added per configuration; the router refuses one whose path is taken. The two
// documents are rendered once per configuration: what they say cannot change while it serves.
#include "server/decisions.h"
#include "server/v2.h"

#include <stdlib.h>

#define TIMEOUT_MS_MAX 86400000ull // a day
#define DOCUMENT_BYTES_MAX ((size_t)64 << 20)

static void let_go(void *generation) {
    pcr_generation_unref(generation);
}

// A document lives as long as its generation, which a reload may end before a slow client has it.
static void serve_document(struct pcr_app *app, struct pcr_http_request *request,
                           struct pcr_str document) {
    if (app->generation->loading) {
        pcr_reply_error(request, 503,
                        "the models that this document tells of are still being loaded; try again");
        return;
    }
    if (!pcr_arena_on_reset(&request->arena, let_go, app->generation)) {
        pcr_reply_error(request, 503, "out of memory");
        return;
    }
    pcr_generation_ref(app->generation);
    pcr_reply_json(request, 200, document);
}

static void serve_openapi(struct pcr_app *app, struct pcr_http_request *request,
                          const struct pcr_route_match *match) {
    (void)match;
    serve_document(app, request, app->generation->openapi);
}

static void serve_contracts(struct pcr_app *app, struct pcr_http_request *request,
                            const struct pcr_route_match *match) {
    (void)match;
    serve_document(app, request, app->generation->contracts);
}

#define MODEL "/v2/models/{model}"
#define VERSION MODEL "/versions/{version}"

static const struct pcr_route fixed_routes[] = {
    {PCR_HTTP_GET, "/v2", pcr_v2_server, NULL, "Name, version and extensions of the server",
     "serverMetadata"},
    {PCR_HTTP_GET, "/v2/health/live", pcr_v2_live, NULL, "Whether the process runs", "serverLive"},
    {PCR_HTTP_GET, "/v2/health/ready", pcr_v2_ready, NULL, "Whether every model can be asked",
     "serverReady"},
    {PCR_HTTP_GET, MODEL, pcr_v2_model, NULL, "Inputs and outputs of a model", "modelMetadata"},
    {PCR_HTTP_GET, MODEL "/ready", pcr_v2_model_ready, NULL, "Whether a model can be asked",
     "modelReady"},
    {PCR_HTTP_GET, MODEL "/config", pcr_v2_model_config, NULL, "Configuration of a model",
     "modelConfig"},
    {PCR_HTTP_GET, MODEL "/stats", pcr_v2_stats, NULL, "Statistics of a model's versions",
     "modelStats"},
    {PCR_HTTP_POST, MODEL "/infer", pcr_v2_infer, NULL, "Run a model", "modelInfer"},
    {PCR_HTTP_GET, VERSION, pcr_v2_model, NULL, "Inputs and outputs of a version",
     "versionMetadata"},
    {PCR_HTTP_GET, VERSION "/ready", pcr_v2_model_ready, NULL, "Whether a version can be asked",
     "versionReady"},
    {PCR_HTTP_GET, VERSION "/config", pcr_v2_model_config, NULL, "Configuration of a version",
     "versionConfig"},
    {PCR_HTTP_GET, VERSION "/stats", pcr_v2_stats, NULL, "Statistics of a version", "versionStats"},
    {PCR_HTTP_POST, VERSION "/infer", pcr_v2_infer, NULL, "Run a version of a model",
     "versionInfer"},
    {PCR_HTTP_GET, "/v2/models/stats", pcr_v2_stats, NULL, "Statistics of all models", "allStats"},
    {PCR_HTTP_POST, "/v2/repository/index", pcr_v2_index, NULL,
     "The models of the repository and their states", "repositoryIndex"},
    {PCR_HTTP_POST, "/v2/repository/models/{model}/load", pcr_v2_load, NULL,
     "Load a model, or load it again", "modelLoad"},
    {PCR_HTTP_POST, "/v2/repository/models/{model}/unload", pcr_v2_unload, NULL, "Unload a model",
     "modelUnload"},
    {PCR_HTTP_GET, "/metrics", pcr_metrics, NULL, "Counters for Prometheus", "metrics"},
    {PCR_HTTP_GET, "/openapi.json", serve_openapi, NULL, "This document", "openapi"},
    {PCR_HTTP_GET, "/api/contracts", serve_contracts, NULL,
     "The contracts of all decisions, each with an example", "contracts"},
};

// --- times ---------------------------------------------------------------------------------------
uint64_t pcr_request_deadline(const struct pcr_app *app, const struct pcr_http_request *request) {
    uint64_t timeout_ms = app->generation->config->request_timeout_ms;
    return timeout_ms ? request->received_ns + timeout_ms * PCR_NS_PER_MS : 0;
}

int pcr_request_timeout(const struct pcr_http_request *request, uint64_t *timeout_ns,
                        struct pacer_error *err) {
    struct pcr_str text = pcr_http_header(request, "X-Request-Timeout-Ms");
    uint64_t ms = 0;
    *timeout_ns = 0;
    if (!text.ptr)
        return 0;
    if (!pcr_str_to_u64(pcr_str_trim(text), TIMEOUT_MS_MAX, &ms) || ms == 0)
        return pcr_err(err, PACER_EINVAL, "server",
                       "the header X-Request-Timeout-Ms is '%.*s', expected a whole number of "
                       "milliseconds from 1 to %llu",
                       (int)(text.len < 40 ? text.len : 40), text.ptr, TIMEOUT_MS_MAX);
    *timeout_ns = ms * PCR_NS_PER_MS;
    return 0;
}

// --- generations --------------------------------------------------------------------------------

void pcr_generation_ref(struct pcr_generation *generation) {
    atomic_fetch_add_explicit(&generation->refs, 1, memory_order_relaxed);
}

// The release keeps every use by this thread before the decrement; the acquire lets the last one
// see them all.
void pcr_generation_unref(struct pcr_generation *generation) {
    if (!generation || atomic_fetch_sub_explicit(&generation->refs, 1, memory_order_acq_rel) != 1)
        return;
    pcr_router_destroy(generation->router);
    for (size_t i = 0; i < generation->n_decisions; i++)
        pcr_decision_destroy(generation->decisions[i]);
    free(generation->decisions);
    pcr_config_unref(generation->config);
    pcr_arena_fini(&generation->arena);
    free(generation);
}

static int render(struct pcr_generation *generation, const char *server_name, bool openapi,
                  struct pcr_str *out) {
    struct pcr_buf buf;
    struct pcr_json_writer writer;
    pcr_buf_init(&buf, DOCUMENT_BYTES_MAX);
    pcr_json_writer_init(&writer, &buf);
    if (openapi)
        pcr_openapi_write(generation, server_name, &writer);
    else
        pcr_contracts_write(generation, &writer);
    char *text = buf.failed ? NULL : pcr_arena_dup(&generation->arena, pcr_buf_view(&buf));
    *out = (struct pcr_str){text, buf.len};
    pcr_buf_fini(&buf);
    return text ? 0 : PACER_ENOMEM;
}

int pcr_generation_route(struct pcr_generation *generation, const char *server_name,
                         struct pacer_error *err) {
    const struct pcr_config *config = generation->config;
    bool loading = generation->loading;
    size_t n_decisions = loading ? config->n_decisions : generation->n_decisions;
    size_t n_fixed = PCR_COUNT_OF(fixed_routes), n = n_fixed + n_decisions;
    struct pcr_route *routes = calloc(n, sizeof *routes);
    if (!routes)
        return pcr_err(err, PACER_ENOMEM, "server", "out of memory for %zu routes", n);
    memcpy(routes, fixed_routes, sizeof fixed_routes);
    for (size_t i = 0; i < n_decisions; i++)
        routes[n_fixed + i] = (struct pcr_route){
            .method = PCR_HTTP_POST,
            .pattern = config->decisions[i].path,
            .handler = loading ? pcr_decide_later_route : pcr_decide_route,
            .user = loading ? (void *)&config->decisions[i] : generation->decisions[i],
        };
    int rc = pcr_router_create(routes, n, &generation->router, err);
    free(routes);
    if (rc < 0 || loading)
        return rc;
    if (render(generation, server_name, true, &generation->openapi) < 0 ||
        render(generation, server_name, false, &generation->contracts) < 0)
        return pcr_err(err, PACER_ENOMEM, "server", "out of memory for the OpenAPI document");
    return 0;
}

size_t pcr_app_body_max(void *ctx, enum pcr_http_method method, struct pcr_str path) {
    const struct pcr_app *app = ctx;
    struct pcr_route_match match;
    const char *allow;
    bool takes = method == PCR_HTTP_POST || method == PCR_HTTP_PUT || method == PCR_HTTP_PATCH;
    if (takes &&
        pcr_router_find(app->generation->router, method, path, &match, &allow) == PCR_ROUTE_FOUND)
        return SIZE_MAX;
    return PCR_HTTP_SMALL_BODY_BYTES;
}

void pcr_app_handle(void *ctx, struct pcr_http_request *request) {
    struct pcr_app *app = ctx;
    pcr_router_dispatch(app->generation->router, app, request);
}
