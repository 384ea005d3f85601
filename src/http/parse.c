// SPDX-License-Identifier: Apache-2.0
// The parser's callbacks: they copy the head into the request, once, and count what the parser does
// not count.
//
// llhttp runs strict, every lenient flag off, and is the only one to decide where a message ends.
// Three rules are added by wire positions, since its callbacks see tokens and not what stands
// between them: one space on each side of the target, and a bound on the head that counts white
// space too. No callback answers or closes anything: a refusal is noted and sent after the parser
// has returned, and a whole message pauses the parser, so that handlers run outside of it and ten
// thousand pipelined requests are a loop, not a recursion.
//
// Rejected: keeping slices of the read buffer where a request is whole in one read. It saves one
// copy of some hundred bytes and costs a second kind of request, as an asynchronous answer outlives
// the buffer.
#include "http/http_priv.h"

#include <stdlib.h>

#define CHUNK_EXTENSION_BYTES_MAX 1024
#define TRAILER_BYTES_MAX 8192
#define BODY_BYTES_AT_ONCE (64u << 10) // taken on the word of Content-Length alone

static struct pcr_http_conn *conn_of(const llhttp_t *parser) {
    return parser->data;
}

static uint64_t wire(const struct pcr_http_conn *conn, const char *at) {
    return conn->chunk_start + (uint64_t)(at - conn->chunk);
}

int pcr_http_refuse_later(struct pcr_http_conn *conn, int status, const char *message) {
    conn->refuse_status = status;
    size_t n = strlen(message);
    if (n >= sizeof conn->refuse_message)
        n = sizeof conn->refuse_message - 1;
    memcpy(conn->refuse_message, message, n);
    conn->refuse_message[n] = '\0';
    return -1;
}

static int no_memory(struct pcr_http_conn *conn) {
    return pcr_http_refuse_later(conn, 503, "out of memory");
}

static int check_head_bytes(struct pcr_http_conn *conn, uint64_t at) {
    if (at - conn->head_start > conn->server->options.limits.header_bytes_max)
        return pcr_http_refuse_later(conn, 431, "the request's head is too large");
    return 0;
}

static int keep(struct pcr_http_conn *conn, const char *at, size_t length) {
    struct pcr_http_request_priv *request = conn->reading;
    if (pcr_buf_append(&request->head, at, length))
        return 0;
    request->head.failed = false;
    return pcr_http_refuse_later(conn, 431, "the request's head is too large");
}

static int on_message_begin(llhttp_t *parser) {
    struct pcr_http_conn *conn = conn_of(parser);
    conn->reading = pcr_http_request_get(conn);
    if (!conn->reading)
        return no_memory(conn);
    conn->serial++;
    conn->phase = PCR_HTTP_IN_HEAD;
    conn->head_start = UINT64_MAX;
    conn->want_continue = false;
    conn->extension_bytes = conn->trailer_bytes = 0;
    return 0;
}

static int on_method(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    if (conn->head_start == UINT64_MAX)
        conn->head_start = wire(conn, at);
    conn->reading->method_len += (uint32_t)length;
    return keep(conn, at, length);
}

static int on_url(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    if (request->target_len == 0) {
        conn->target_start = wire(conn, at);
        if (conn->target_start - conn->head_start != (uint64_t)request->method_len + 1)
            return pcr_http_refuse_later(conn, 400, "one space must stand before the target");
    }
    if (request->target_len + length > conn->server->options.limits.target_bytes_max)
        return pcr_http_refuse_later(conn, 414, "the request target is too long");
    request->target_len += (uint32_t)length;
    conn->target_end = wire(conn, at) + length;
    return keep(conn, at, length);
}

// The version comes in pieces where a read ends inside it; its first piece starts after " HTTP/".
static int on_version(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    uint64_t start = wire(conn, at) - conn->reading->version_len;
    conn->reading->version_len += (uint32_t)length;
    if (start != conn->target_end + 6)
        return pcr_http_refuse_later(conn, 400, "one space must stand after the target");
    return 0;
}

static int count_trailer(struct pcr_http_conn *conn, size_t length) {
    conn->trailer_bytes += length;
    if (conn->trailer_bytes > TRAILER_BYTES_MAX)
        return pcr_http_refuse_later(conn, 431, "the trailers are too large");
    return 0;
}

static struct pcr_http_offsets *add_offsets(struct pcr_http_request_priv *request) {
    if (request->n_offsets == request->offsets_cap) {
        size_t cap = request->offsets_cap ? request->offsets_cap * 2 : 16;
        struct pcr_http_offsets *more = realloc(request->offsets, cap * sizeof *more);
        if (!more)
            return NULL;
        request->offsets = more;
        request->offsets_cap = cap;
    }
    struct pcr_http_offsets *at = &request->offsets[request->n_offsets++];
    *at = (struct pcr_http_offsets){.name = (uint32_t)request->head.len};
    return at;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    if (!request->in_head)
        return count_trailer(conn, length);
    if (request->n_offsets == 0 || request->value_seen) {
        if (request->n_offsets >= conn->server->options.limits.headers_max)
            return pcr_http_refuse_later(conn, 431, "too many header fields");
        if (!add_offsets(request))
            return no_memory(conn);
        request->value_seen = false;
    }
    request->offsets[request->n_offsets - 1].name_len += (uint32_t)length;
    int rc = check_head_bytes(conn, wire(conn, at) + length);
    return rc ? rc : keep(conn, at, length);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    if (!request->in_head)
        return count_trailer(conn, length);
    struct pcr_http_offsets *header = &request->offsets[request->n_offsets - 1];
    if (!request->value_seen) {
        request->value_seen = true;
        header->value = (uint32_t)request->head.len;
    }
    header->value_len += (uint32_t)length;
    int rc = check_head_bytes(conn, wire(conn, at) + length);
    return rc ? rc : keep(conn, at, length);
}

// The parser says "value complete" also for an empty value, for which there is no piece.
static int on_header_value_complete(llhttp_t *parser) {
    struct pcr_http_request_priv *request = conn_of(parser)->reading;
    if (request->in_head && !request->value_seen) {
        request->value_seen = true;
        request->offsets[request->n_offsets - 1].value = (uint32_t)request->head.len;
    }
    return 0;
}

// What may still come into memory, of this body and of all together.
static size_t memory_left(const struct pcr_http_conn *conn) {
    const struct pcr_http_server *server = conn->server;
    const struct pcr_http_limits *limits = &server->options.limits;
    if (limits->body_memory_max == 0)
        return SIZE_MAX;
    size_t max = limits->body_memory_max > limits->body_bytes_max ? limits->body_memory_max
                                                                  : limits->body_bytes_max;
    return max > server->body_memory_bytes ? max - server->body_memory_bytes : 0;
}

static int no_body_memory(struct pcr_http_conn *conn) {
    return pcr_http_refuse_later(conn, 503,
                                 "too many bytes of request bodies are in memory; try again later");
}

// After the body has grown.
static void charge(struct pcr_http_conn *conn, struct pcr_http_request_priv *request) {
    conn->server->body_memory_bytes += request->body.len - request->charged_bytes;
    request->charged_bytes = request->body.len;
}

static int too_large(struct pcr_http_conn *conn, const struct pcr_http_request_priv *request) {
    bool path = request->body_bytes_max < conn->server->options.limits.body_bytes_max;
    return pcr_http_refuse_later(
        conn, 413,
        path ? "the body is larger than this method and path take; are they the right ones?"
             : "the body is larger than this server takes");
}

// Decides on the body by what the head says: 0, or refused.
static int admit_body(struct pcr_http_conn *conn, struct pcr_http_request_priv *request) {
    const struct pcr_http_server_options *options = &conn->server->options;
    size_t max = options->limits.body_bytes_max;
    bool small = request->has_length && request->length <= PCR_HTTP_SMALL_BODY_BYTES &&
                 request->body_coding == PCR_HTTP_IDENTITY;
    size_t path_max = options->body_max && !small
                          ? options->body_max(options->ctx, request->pub.method, request->pub.path)
                          : max;
    request->body_bytes_max = path_max < max ? path_max : max;
    if (!request->has_length)
        return 0;
    if (request->length > request->body_bytes_max)
        return too_large(conn, request);
    return request->length > memory_left(conn) ? no_body_memory(conn) : 0;
}

static bool reserve_body(struct pcr_http_request_priv *request, size_t body_bytes_max) {
    request->body.max_bytes = body_bytes_max;
    if (!request->has_length || request->length == 0 || request->body_coding != PCR_HTTP_IDENTITY)
        return true;
    size_t first =
        request->length < BODY_BYTES_AT_ONCE ? (size_t)request->length : BODY_BYTES_AT_ONCE;
    return pcr_buf_reserve(&request->body, first) != NULL;
}

static int on_headers_complete(llhttp_t *parser) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    request->in_head = false;
    request->minor = parser->http_major == 1 ? parser->http_minor : 0;
    request->has_length = (parser->flags & F_CONTENT_LENGTH) != 0;
    request->chunked = (parser->flags & F_CHUNKED) != 0;
    request->length = request->has_length ? parser->content_length : 0;
    request->keep_alive = llhttp_should_keep_alive(parser) != 0;
    if (parser->http_major != 1)
        return pcr_http_refuse_later(conn, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    const char *message = "";
    int status = pcr_http_head_read(conn, request, &message);
    if (status)
        return pcr_http_refuse_later(conn, status, message);
    status = admit_body(conn, request);
    if (status)
        return status;
    parser->upgrade = 0; // an offer to upgrade is ignored (RFC 9110, 7.8)
    conn->phase = PCR_HTTP_IN_BODY;
    conn->body_bytes = 0;
    if (!reserve_body(request, request->body_bytes_max))
        return no_memory(conn);
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t length) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    size_t left = memory_left(conn);
    conn->body_bytes += length;
    if (conn->body_bytes > request->body_bytes_max)
        return too_large(conn, request);
    if (request->body_coding != PCR_HTTP_IDENTITY) {
        const char *message = "";
        bool scarce = left < request->body_bytes_max - request->body.len;
        size_t max = scarce ? request->body.len + left : request->body_bytes_max;
        int status = pcr_http_inflate(request, max, at, length, &message);
        charge(conn, request);
        if (status == 413)
            return scarce ? no_body_memory(conn) : too_large(conn, request);
        return status ? pcr_http_refuse_later(conn, status, message) : 0;
    }
    if (length > left)
        return no_body_memory(conn);
    if (!pcr_buf_append(&request->body, at, length))
        return no_memory(conn);
    charge(conn, request);
    return 0;
}

static int on_chunk_extension(llhttp_t *parser, const char *at, size_t length) {
    (void)at;
    struct pcr_http_conn *conn = conn_of(parser);
    conn->extension_bytes += length;
    if (conn->extension_bytes > CHUNK_EXTENSION_BYTES_MAX)
        return pcr_http_refuse_later(conn, 400, "the chunk extensions are too large");
    return 0;
}

static int on_message_complete(llhttp_t *parser) {
    struct pcr_http_conn *conn = conn_of(parser);
    struct pcr_http_request_priv *request = conn->reading;
    if (request->body_coding != PCR_HTTP_IDENTITY && conn->body_bytes > 0) {
        const char *message = "";
        int status = pcr_http_inflate_finish(request, &message);
        if (status)
            return pcr_http_refuse_later(conn, status, message);
    }
    return HPE_PAUSED;
}

void pcr_http_parse_settings(llhttp_settings_t *settings) {
    llhttp_settings_init(settings);
    settings->on_message_begin = on_message_begin;
    settings->on_method = on_method;
    settings->on_url = on_url;
    settings->on_version = on_version;
    settings->on_header_field = on_header_field;
    settings->on_header_value = on_header_value;
    settings->on_header_value_complete = on_header_value_complete;
    settings->on_headers_complete = on_headers_complete;
    settings->on_body = on_body;
    settings->on_chunk_extension_name = on_chunk_extension;
    settings->on_chunk_extension_value = on_chunk_extension;
    settings->on_message_complete = on_message_complete;
}

static bool token_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

// The parser stopped inside a word that could be a method, or at the space behind it.
static bool method_like(const struct pcr_http_conn *conn, const char *at, const char *end) {
    if (!at || at >= end)
        return false;
    if (*at != ' ')
        return token_char(*at);
    return at > conn->chunk ? token_char(at[-1]) : conn->reading && conn->reading->method_len > 0;
}

static const char *describe(llhttp_errno_t code) {
    switch (code) {
    case HPE_INVALID_URL:
        return "malformed request target";
    case HPE_INVALID_HEADER_TOKEN:
        return "malformed header field";
    case HPE_UNEXPECTED_SPACE:
        return "white space where none may stand";
    case HPE_CR_EXPECTED:
    case HPE_LF_EXPECTED:
    case HPE_STRICT:
        return "lines must end with CR LF";
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return "malformed, repeated or contradicted Content-Length";
    case HPE_INVALID_TRANSFER_ENCODING:
        return "malformed or contradicted Transfer-Encoding";
    case HPE_INVALID_CHUNK_SIZE:
        return "malformed chunk size";
    case HPE_INVALID_CONSTANT:
        return "malformed request line";
    default:
        return "malformed request";
    }
}

void pcr_http_parse_failed(struct pcr_http_conn *conn, llhttp_errno_t code, const char *at,
                           const char *end) {
    const char *reason = llhttp_get_error_reason(&conn->parser);
    if (code == HPE_INVALID_METHOD) {
        bool word = method_like(conn, at, end);
        pcr_http_refuse_later(conn, word ? 501 : 400,
                              word ? "the method is not known" : "this is not HTTP");
    } else if (code == HPE_PAUSED_H2_UPGRADE ||
               (code == HPE_INVALID_VERSION && reason && strstr(reason, "Invalid HTTP version"))) {
        pcr_http_refuse_later(conn, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    } else if (code == HPE_INVALID_VERSION) {
        pcr_http_refuse_later(conn, 400, "malformed HTTP version");
    } else {
        pcr_http_refuse_later(conn, 400, describe(code));
    }
}
