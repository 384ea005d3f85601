// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 server: frames requests, refuses what RFC 9110 and 9112 want refused, keeps caps and
// deadlines, and hands each whole request to one handler. One server per loop; requests never leave
// their loop's thread.
#ifndef PCR_HTTP_SERVER_H
#define PCR_HTTP_SERVER_H

#include "base/base.h"
#include "loop/loop.h"

struct pcr_http_server;
struct pcr_http_conn;

enum pcr_http_method {
    PCR_HTTP_GET,
    PCR_HTTP_HEAD,
    PCR_HTTP_POST,
    PCR_HTTP_PUT,
    PCR_HTTP_DELETE,
    PCR_HTTP_OPTIONS,
    PCR_HTTP_PATCH,
    PCR_HTTP_OTHER,
};

struct pcr_http_header {
    struct pcr_str name; // as sent
    struct pcr_str value;
};

// A whole request. It owns an arena; everything in it and all that a handler allocates there lives
// until the reply has been given to the kernel (or the peer is gone and `aborted` has returned).
struct pcr_http_request {
    struct pcr_arena arena;
    struct pcr_loop *loop;
    enum pcr_http_method method;
    struct pcr_str method_name;
    // Percent-decoded, starts with '/', no query; never holds NUL. "*" for OPTIONS *; of a refused
    // request (seen by the access callback only) the raw target as far as it came.
    struct pcr_str path;
    struct pcr_str query; // raw, without '?'
    struct pcr_http_header *headers;
    size_t n_headers;
    struct pcr_str body;  // decompressed
    struct pcr_str id;    // the client's X-Request-Id if it is sane, else a UUID
    uint64_t received_ns; // monotonic: the earliest moment at which the first byte can have come
    const char *peer;
    void *user; // the handler's own
    // Set by a handler that answers later: called if the peer goes away first. After it the handler
    // must still call pcr_http_reply exactly once (its reply is dropped; also from inside this
    // callback), so that one path frees everything. "Goes away" is a reset or a broken connection:
    // a peer that only closed its writing side may wait for the answer, and gets it.
    void (*aborted)(struct pcr_http_request *request);
};

// The first header of that name (any case), or {NULL, 0}.
struct pcr_str pcr_http_header(const struct pcr_http_request *request, const char *name);

struct pcr_http_reply {
    int status;
    const char *content_type; // NULL: none (for empty bodies)
    struct pcr_str body;      // borrowed; must live in the request's arena or be static
    struct pcr_str body_more; // a second part sent right after the first (binary tensors)
    const struct pcr_http_header *headers; // additional ones, borrowed like the body
    size_t n_headers;
    bool close; // close the connection after this reply
};
// Answers a request, exactly once, on its loop's thread, at once or later. Adds Date,
// Content-Length, X-Request-Id, CORS headers and Content-Encoding where the client takes it; keeps
// pipelined answers in order; sends no body to HEAD.
// The request may be gone when this returns: touch neither it nor its arena afterwards. The list of
// headers may be on the caller's stack; what it points to may not.
void pcr_http_reply(struct pcr_http_request *request, const struct pcr_http_reply *reply);

typedef void (*pcr_http_handler)(void *ctx, struct pcr_http_request *request);

// Asked when a head has been read and its body has not: the most bytes of body that this path takes
// (SIZE_MAX: as many as limits.body_bytes_max). A larger one is refused with 413 before it is read.
// Plain bodies of up to PCR_HTTP_SMALL_BODY_BYTES are let through unasked, as nearly all are.
#define PCR_HTTP_SMALL_BODY_BYTES ((size_t)64 << 10)
typedef size_t (*pcr_http_body_max)(void *ctx, enum pcr_http_method method, struct pcr_str path);

// One answered request, for the access log and the counters; borrowed for the call.
struct pcr_http_access {
    const struct pcr_http_request *request;
    int status;
    size_t body_bytes; // as sent
    uint64_t duration_ns;
};

struct pcr_http_limits {
    size_t header_bytes_max;            // 16 KiB, request line included
    size_t headers_max;                 // 100
    size_t target_bytes_max;            // 8 KiB
    size_t body_bytes_max;              // 64 MiB; counted before and after decompression
    size_t body_memory_max;             // 512 MiB; of all bodies of this server at once; one of
                                        // body_bytes_max always fits. 0: no limit
    size_t connections_max;             // of this server (one loop)
    size_t connections_per_peer_max;    // 0: no limit
    size_t requests_per_connection_max; // 0: no limit
    size_t pipelined_max;       // answers owed to one connection before it is no longer read
    uint64_t header_timeout_ms; // 5 s from the first byte (or the accept) to the last header
    uint64_t idle_timeout_ms;   // 30 s between requests
    uint64_t write_timeout_ms;  // 30 s for the peer to take an answer
    size_t body_rate_min;       // bytes/s after a grace of header_timeout_ms
    size_t gzip_bytes_min;      // answers shorter than this are not compressed
    int gzip_level;             // 0: never compress
};
// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define PCR_HTTP_LIMITS_DEFAULT                                                               \
    {                                                                                         \
        .header_bytes_max = 16 << 10, .headers_max = 100, .target_bytes_max = 8 << 10,        \
        .body_bytes_max = 64 << 20, .body_memory_max = 512 << 20, .connections_max = 8192,    \
        .connections_per_peer_max = 0, .requests_per_connection_max = 0, .pipelined_max = 64, \
        .header_timeout_ms = 5000, .idle_timeout_ms = 30000, .write_timeout_ms = 30000,       \
        .body_rate_min = 500, .gzip_bytes_min = 1400, .gzip_level = 1                         \
    }
// clang-format on

struct pcr_http_cors {          // borrowed: until the next configure, or the end of the server
    const char *const *origins; // "*" or exact origins; none: no CORS headers
    size_t n_origins;
    uint64_t max_age_s; // of a preflight answer
};

struct pcr_http_server_options {
    struct pcr_http_limits limits;
    struct pcr_http_cors cors;
    pcr_http_handler handler;
    pcr_http_body_max body_max; // NULL: limits.body_bytes_max for all
    void (*access)(void *ctx, const struct pcr_http_access *access); // once per answer; may be NULL
    void *ctx;
    const char *server_name; // Server header; NULL: none
};

int pcr_http_server_create(struct pcr_loop *loop, const struct pcr_http_server_options *options,
                           struct pcr_http_server **out, struct pacer_error *err);
// Whether create would take these options; the error says what is out of range.
int pcr_http_options_check(const struct pcr_http_server_options *options, struct pacer_error *err);
// Takes new options (which have passed the check) on the loop's thread. They hold for what comes
// from now on and for the deadlines under way; a request that is being read goes by the new limits
// for what is still to come of it.
void pcr_http_server_configure(struct pcr_http_server *server,
                               const struct pcr_http_server_options *options);
int pcr_http_server_listen(struct pcr_http_server *server,
                           const struct pcr_listener_options *listen, int *port,
                           struct pacer_error *err);
// Stops accepting, closes idle connections, lets running requests finish (answers say Connection:
// close), then calls `drained`; what is not finished after `grace_ms` is cut.
// `drained` is called from the loop, never from inside another call, and may destroy the server.
// After a cut it is called even if handlers still owe answers (dropped when they come).
void pcr_http_server_drain(struct pcr_http_server *server, uint64_t grace_ms,
                           void (*drained)(void *ctx), void *ctx);
// Cuts all connections. Handlers may still answer afterwards;
// the answers are dropped. NULL is fine.
void pcr_http_server_destroy(struct pcr_http_server *server);

struct pcr_http_server_stats {
    uint64_t requests, connections_open, connections_total, refused, timeouts;
};
// Any thread, between create and destroy.
void pcr_http_server_stats(const struct pcr_http_server *server, struct pcr_http_server_stats *out);

// The standard reason phrase of a status; never NULL.
const char *pcr_http_reason(int status);

#endif
