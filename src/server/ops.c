// SPDX-License-Identifier: Apache-2.0
// What operators ask: health without a token; with it the figures, and purging the cache.
//
// A listener of its own, so that it can be bound where only operators get, and so that no route of
// the serving one can ever purge. The token is compared in constant time and never logged.
#include "server/ops.h"

#include "server/cache_figures.h"
#include "server/v2.h"

#include <stdlib.h>

#define BODY_BYTES_MAX ((size_t)64 << 10)
#define CONNECTIONS_MAX 256
#define KEY_DIGITS 32

struct pcr_ops {
    struct pcr_http_server *http;
    struct pcr_router *router;
    struct pcr_app *app;
    void (*access)(void *ctx, const struct pcr_http_access *access);
    void *access_ctx;
    int port;
};

// --- figures ------------------------------------------------------------------------------------
static void serve_health(struct pcr_app *app, struct pcr_http_request *request,
                         const struct pcr_route_match *match) {
    (void)app;
    (void)match;
    pcr_reply_json(request, 200, PCR_STR("{\"live\":true}"));
}

static void serve_cache(struct pcr_app *app, struct pcr_http_request *request,
                        const struct pcr_route_match *match) {
    (void)match;
    struct pcr_buf *buf;
    struct pcr_json_writer writer;
    if (!pcr_reply_buf_init(request, &buf))
        return;
    pcr_json_writer_init(&writer, buf);
    pcr_cache_figures_json(app->cache, &writer);
    pcr_reply_buf(request, buf);
}

// --- purging ------------------------------------------------------------------------------------
struct purge { // in the request's arena
    struct pcr_cache_purge cache;
    struct pcr_http_request *request;
    bool has_lmdb, has_redis;
};

static const char purge_expected[] =
    "expected a JSON object with \"model\", \"tenant\" (texts) or \"key\" (32 hexadecimal digits, "
    "as Cache-Status has it), or {\"all\": true}";

static bool read_key(struct pcr_str text, struct pcr_cache_purge *purge) {
    uint64_t half[2] = {0, 0};
    if (text.len != KEY_DIGITS)
        return false;
    for (size_t i = 0; i < KEY_DIGITS; i++) {
        int digit = pcr_hex_digit(text.ptr[i]);
        if (digit < 0)
            return false;
        half[i / 16] = half[i / 16] << 4 | (unsigned)digit;
    }
    purge->by_key = true;
    purge->hi = half[0];
    purge->lo = half[1];
    return true;
}

// What is wrong, or NULL.
static const char *read_member(struct pcr_str name, yyjson_val *value,
                               struct pcr_cache_purge *purge, bool *all) {
    if (!name.ptr)
        return "a member has no name";
    struct pcr_str text = yyjson_is_str(value) ? pcr_json_str(value) : (struct pcr_str){NULL, 0};
    if (pcr_str_eq(name, PCR_STR("all"))) {
        *all = yyjson_is_true(value);
        return *all ? NULL : "\"all\" can only be true";
    }
    if (!text.ptr)
        return "a member is not a text, or is none of these";
    if (pcr_str_eq(name, PCR_STR("key")))
        return read_key(text, purge) ? NULL : "\"key\" is not 32 hexadecimal digits";
    if (pcr_str_eq(name, PCR_STR("model"))) {
        purge->by_model = true;
        purge->model = text;
    } else if (pcr_str_eq(name, PCR_STR("tenant"))) {
        purge->by_tenant = true;
        purge->tenant = text;
    } else {
        return "a member has another name";
    }
    return NULL;
}

static const char *read_purge(struct pcr_http_request *request, struct pcr_cache_purge *purge) {
    static const struct pcr_json_options options = {.what = "request body"};
    struct pacer_error err;
    yyjson_val *root;
    if (pcr_json_parse(&request->arena, request->body, &options, &root, &err) < 0 ||
        !yyjson_is_obj(root))
        return "the body is no JSON object";
    size_t at, n;
    yyjson_val *key, *value;
    bool all = false;
    yyjson_obj_foreach(root, at, n, key, value) {
        const char *wrong = read_member(pcr_json_str(key), value, purge, &all);
        if (wrong)
            return wrong;
    }
    bool some = purge->by_model || purge->by_tenant || purge->by_key;
    return all && some ? "\"all\" stands beside others" : !all && !some ? "it says nothing" : NULL;
}

static void put_removed(struct pcr_json_writer *w, const char *key, bool there, int64_t removed) {
    pcr_json_key(w, key);
    if (!there)
        pcr_json_null(w);
    else if (removed >= 0)
        pcr_json_i64(w, removed);
    else // what may be left there expires
        pcr_json_text(w, pacer_strerror((int)removed));
}

static void on_purged(struct pcr_cache_purge *cache) {
    struct purge *purge = cache->user;
    struct pcr_buf *buf;
    struct pcr_json_writer w;
    pcr_log(PCR_LOG_INFO, "ops", "purged %lld answers from memory", (long long)cache->from_memory);
    if (!pcr_reply_buf_init(purge->request, &buf))
        return;
    pcr_json_writer_init(&w, buf);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "removed");
    pcr_json_object_begin(&w);
    put_removed(&w, "memory", true, cache->from_memory);
    put_removed(&w, "lmdb", purge->has_lmdb, cache->from_lmdb);
    put_removed(&w, "redis", purge->has_redis, cache->from_redis);
    pcr_json_object_end(&w);
    pcr_json_object_end(&w);
    pcr_reply_buf(purge->request, buf);
}

static void serve_purge(struct pcr_app *app, struct pcr_http_request *request,
                        const struct pcr_route_match *match) {
    (void)match;
    struct purge *purge = pcr_arena_calloc(&request->arena, 1, sizeof *purge);
    if (!purge) {
        pcr_reply_error(request, 503, "out of memory");
        return;
    }
    const char *wrong = read_purge(request, &purge->cache);
    if (wrong) {
        pcr_reply_error(request, 400, "%s; %s", wrong, purge_expected);
        return;
    }
    struct pcr_cache_stats stats;
    pcr_cache_stats(app->cache, &stats);
    purge->has_lmdb = stats.has_lmdb;
    purge->has_redis = stats.has_redis;
    purge->request = request;
    purge->cache.loop = request->loop;
    purge->cache.done = on_purged;
    purge->cache.user = purge;
    pcr_cache_purge(app->cache, &purge->cache);
}

// --- the listener -------------------------------------------------------------------------------
static const struct pcr_route routes[] = {
    {PCR_HTTP_GET, "/health", serve_health, NULL, NULL, NULL},
    {PCR_HTTP_GET, "/metrics", pcr_metrics, NULL, NULL, NULL},
    {PCR_HTTP_GET, "/admin/cache", serve_cache, NULL, NULL, NULL},
    {PCR_HTTP_POST, "/admin/cache/purge", serve_purge, NULL, NULL, NULL},
};

static bool may(const struct pcr_ops *ops, const struct pcr_http_request *request) {
    const char *token = ops->app->generation->config->ops_token;
    struct pcr_str sent = pcr_http_header(request, "Authorization"), scheme;
    if (!token || !sent.ptr || !pcr_str_split(&sent, ' ', &scheme) ||
        !pcr_str_eq_nocase(scheme, PCR_STR("Bearer")) || !sent.ptr)
        return false;
    return pcr_str_eq_secret(pcr_str_trim(sent), pcr_str(token));
}

static void handle(void *ctx, struct pcr_http_request *request) {
    struct pcr_ops *ops = ctx;
    if (!pcr_str_eq(request->path, PCR_STR("/health")) && !may(ops, request)) {
        struct pcr_http_header header = {PCR_STR("WWW-Authenticate"),
                                         PCR_STR("Bearer realm=\"pacer\"")};
        struct pcr_http_reply reply = {
            .status = 401,
            .content_type = "application/json",
            .body = PCR_STR("{\"error\":\"the header Authorization: Bearer TOKEN is missing or "
                            "wrong; the token is the configuration's ops_token\"}"),
            .headers = &header,
            .n_headers = 1,
        };
        pcr_http_reply(request, &reply);
        return;
    }
    pcr_router_dispatch(ops->router, ops->app, request);
}

static void on_access(void *ctx, const struct pcr_http_access *access) {
    const struct pcr_ops *ops = ctx;
    ops->access(ops->access_ctx, access);
}

// What differs from the serving listener: operators are few, and what they send is small.
static struct pcr_http_server_options own_options(struct pcr_ops *ops,
                                                  const struct pcr_http_server_options *options) {
    struct pcr_http_server_options own = *options;
    ops->access = options->access;
    ops->access_ctx = options->ctx;
    if (own.limits.body_bytes_max > BODY_BYTES_MAX)
        own.limits.body_bytes_max = BODY_BYTES_MAX;
    if (own.limits.connections_max > CONNECTIONS_MAX)
        own.limits.connections_max = CONNECTIONS_MAX;
    own.cors = (struct pcr_http_cors){0}; // no web page has business here
    own.handler = handle;
    own.body_max = NULL;
    own.access = options->access ? on_access : NULL;
    own.ctx = ops;
    return own;
}

int pcr_ops_open(struct pcr_app *app, const struct pcr_http_server_options *options,
                 struct pcr_ops **out, struct pacer_error *err) {
    struct pcr_ops *ops = calloc(1, sizeof *ops);
    *out = NULL;
    if (!ops)
        return pcr_err(err, PACER_ENOMEM, "ops", "out of memory");
    ops->app = app;
    struct pcr_http_server_options own = own_options(ops, options);
    struct pcr_listener_options listen = {.address = app->generation->config->ops_listen};
    int rc = pcr_router_create(routes, PCR_COUNT_OF(routes), &ops->router, err);
    if (rc == 0)
        rc = pcr_http_server_create(app->loop, &own, &ops->http, err);
    if (rc == 0)
        rc = pcr_http_server_listen(ops->http, &listen, &ops->port, err);
    if (rc < 0) {
        pcr_ops_close(ops);
        return rc;
    }
    *out = ops;
    return 0;
}

void pcr_ops_configure(struct pcr_ops *ops, const struct pcr_http_server_options *options) {
    struct pcr_http_server_options own = own_options(ops, options);
    pcr_http_server_configure(ops->http, &own);
}

void pcr_ops_drain(struct pcr_ops *ops, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx) {
    pcr_http_server_drain(ops->http, grace_ms, drained, ctx);
}

int pcr_ops_port(const struct pcr_ops *ops) {
    return ops->port;
}

void pcr_ops_close(struct pcr_ops *ops) {
    if (!ops)
        return;
    pcr_http_server_destroy(ops->http);
    pcr_router_destroy(ops->router);
    free(ops);
}
