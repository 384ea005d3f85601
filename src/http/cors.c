// SPDX-License-Identifier: Apache-2.0
#include "http/http_priv.h"

#define METHODS "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"
#define EXPOSED "X-Request-Id, Inference-Header-Content-Length, Age, Cache-Status, X-Pacer-Cache"

static bool any_origin(const struct pcr_http_cors *cors) {
    for (size_t i = 0; i < cors->n_origins; i++) {
        if (strcmp(cors->origins[i], "*") == 0)
            return true;
    }
    return false;
}

bool pcr_http_cors_varies(const struct pcr_http_server *server) {
    const struct pcr_http_cors *cors = &server->options.cors;
    return cors->n_origins > 0 && !any_origin(cors);
}

// The value of Access-Control-Allow-Origin, or {NULL, 0}.
static struct pcr_str allowed(const struct pcr_http_request_priv *request) {
    const struct pcr_http_cors *cors = &request->conn->server->options.cors;
    if (request->origin.len == 0)
        return (struct pcr_str){NULL, 0};
    if (any_origin(cors))
        return PCR_STR("*");
    for (size_t i = 0; i < cors->n_origins; i++) {
        if (pcr_str_eq(request->origin, pcr_str(cors->origins[i])))
            return pcr_str(cors->origins[i]);
    }
    return (struct pcr_str){NULL, 0};
}

void pcr_http_cors_headers(struct pcr_http_request_priv *request, struct pcr_buf *out) {
    struct pcr_str origin = allowed(request);
    if (!origin.ptr)
        return;
    pcr_buf_str(out, PCR_STR("Access-Control-Allow-Origin: "));
    pcr_buf_str(out, origin);
    pcr_buf_str(out, PCR_STR("\r\nAccess-Control-Expose-Headers: " EXPOSED "\r\n"));
}

// Header names and commas only, so that nothing else of the request is sent back.
static bool list_of_names(struct pcr_str list) {
    for (size_t i = 0; i < list.len; i++) {
        char c = list.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '_' && c != ',' && c != ' ')
            return false;
    }
    return list.len > 0 && list.len <= 1024;
}

bool pcr_http_cors_preflight(struct pcr_http_request_priv *request) {
    const struct pcr_http_cors *cors = &request->conn->server->options.cors;
    if (cors->n_origins == 0 || request->pub.method != PCR_HTTP_OPTIONS ||
        request->origin.len == 0 || request->preflight_method.len == 0)
        return false;
    struct pcr_http_reply reply = {.status = 204};
    struct pcr_http_header headers[3];
    if (allowed(request).ptr) {
        headers[reply.n_headers++] =
            (struct pcr_http_header){PCR_STR("Access-Control-Allow-Methods"), PCR_STR(METHODS)};
        const char *age =
            pcr_arena_printf(&request->pub.arena, "%llu", (unsigned long long)cors->max_age_s);
        if (age && cors->max_age_s)
            headers[reply.n_headers++] =
                (struct pcr_http_header){PCR_STR("Access-Control-Max-Age"), pcr_str(age)};
        if (list_of_names(request->preflight_headers))
            headers[reply.n_headers++] = (struct pcr_http_header){
                PCR_STR("Access-Control-Allow-Headers"), request->preflight_headers};
    }
    reply.headers = headers;
    pcr_http_reply(&request->pub, &reply);
    return true;
}
