// SPDX-License-Identifier: Apache-2.0
// Answers: put in order, formatted, gathered and written.
//
// An answer whose turn it is is formatted at once into the server's one output buffer; one that is
// early waits in its request. While a connection is being fed the buffer is only flushed when it is
// large or at the end, so all answers to one read leave in one write. The buffer belongs to one
// connection at a time: a handler of connection A that answers a request of B flushes A's part
// first. Bodies up to BODY_BYTES_COPIED are copied behind their head, larger ones are handed to the
// kernel from where they are, before pcr_http_reply returns; so nothing of the handler's has to
// outlive the call when it is the connection's turn, and only the arena's content otherwise.
//
// Rejected: one output buffer per connection. It would never be needed for longer than a call, and
// ten thousand idle ones cost memory.
#include "http/http_priv.h"

#define BODY_BYTES_COPIED (16u << 10)
#define OUT_BYTES_FLUSH (64u << 10)
#define DATE_REFRESH_NS (250 * PCR_NS_PER_MS)

static void write_parts(struct pcr_http_conn *conn, const struct pcr_str *parts, size_t n) {
    if (conn->closed)
        return;
    for (size_t i = 0; i < n; i++)
        conn->written_bytes += parts[i].len;
    if (conn->transport->write(conn->io, parts, n) < 0)
        pcr_http_conn_close(conn);
}

void pcr_http_out_flush(struct pcr_http_conn *conn) {
    struct pcr_http_server *server = conn->server;
    if (server->out_conn != conn)
        return;
    struct pcr_str part = pcr_buf_view(&server->out);
    server->out_conn = NULL;
    if (part.len)
        write_parts(conn, &part, 1);
    pcr_buf_clear(&server->out);
}

static struct pcr_buf *out_begin(struct pcr_http_conn *conn) {
    struct pcr_http_server *server = conn->server;
    if (server->out_conn && server->out_conn != conn)
        pcr_http_out_flush(server->out_conn);
    server->out_conn = conn;
    return &server->out;
}

void pcr_http_refresh_date(struct pcr_http_server *server, uint64_t now_ns) {
    // The loop's clock stands while it works, the connection's does not: `now` may be behind.
    if (server->date_ns &&
        (now_ns <= server->date_ns || now_ns - server->date_ns < DATE_REFRESH_NS))
        return;
    server->date_ns = now_ns;
    server->date_real_ns = pcr_clock_real_ns();
    pcr_clock_http_date(server->date_real_ns, server->date);
}

static bool has_body(int status) {
    return status >= 200 && status != 204 && status != 304;
}

// Text and JSON compress well; tensors rarely do, so they are compressed only for a client that
// names a coding.
static bool compressible(const char *content_type, bool named) {
    static const char *const types[] = {"application/json", "application/javascript",
                                        "application/yaml", "image/svg+xml",
                                        "application/schema+json"};
    if (!content_type)
        return false;
    if (strncmp(content_type, "text/", 5) == 0)
        return strncmp(content_type, "text/event-stream", 17) != 0;
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++) {
        if (strncmp(content_type, types[i], strlen(types[i])) == 0)
            return true;
    }
    return named && strncmp(content_type, "application/octet-stream", 24) == 0;
}

struct encoding {
    enum pcr_http_coding coding;
    bool vary;
};

static bool names_header(const struct pcr_http_reply *reply, struct pcr_str name) {
    for (size_t i = 0; i < reply->n_headers; i++) {
        if (pcr_str_eq_nocase(reply->headers[i].name, name))
            return true;
    }
    return false;
}

static struct encoding choose_encoding(struct pcr_http_request_priv *request,
                                       const struct pcr_http_reply *reply) {
    struct pcr_http_server *server = request->conn->server;
    const struct pcr_http_limits *limits = &server->options.limits;
    struct encoding encoding = {PCR_HTTP_IDENTITY, false};
    size_t total = reply->body.len + reply->body_more.len;
    if (limits->gzip_level <= 0 || total < limits->gzip_bytes_min ||
        total > PCR_HTTP_ENCODE_BYTES_MAX || !has_body(reply->status) ||
        !compressible(reply->content_type, request->accept_named) ||
        names_header(reply, PCR_STR("Content-Encoding")))
        return encoding;
    encoding.vary = true;
    if (request->accept_best != PCR_HTTP_IDENTITY &&
        pcr_http_deflate(server, request->accept_best, reply))
        encoding.coding = request->accept_best;
    return encoding;
}

// A handler may pass on what a client sent: nothing of it may end the header.
static void append_value(struct pcr_buf *out, struct pcr_str value) {
    char *to = pcr_buf_reserve(out, value.len);
    if (!to)
        return;
    for (size_t i = 0; i < value.len; i++) { // without a branch, so that it becomes vector code
        unsigned char c = (unsigned char)value.ptr[i];
        bool is_control = ((c < ' ') & (c != '\t')) | (c == 0x7f);
        to[i] = (char)(is_control ? ' ' : c);
    }
    out->len += value.len;
}

static void append_status(struct pcr_buf *out, int status) {
    if (status == 200) {
        pcr_buf_str(out, PCR_STR("HTTP/1.1 200 OK\r\nDate: "));
        return;
    }
    pcr_buf_str(out, PCR_STR("HTTP/1.1 "));
    pcr_buf_u64(out, (uint64_t)status);
    pcr_buf_char(out, ' ');
    pcr_buf_text(out, pcr_http_reason(status));
    pcr_buf_str(out, PCR_STR("\r\nDate: "));
}

static void append_vary(struct pcr_buf *out, const struct pcr_http_server *server, bool encoding) {
    bool origin = pcr_http_cors_varies(server);
    if (encoding && origin)
        pcr_buf_str(out, PCR_STR("Vary: Accept-Encoding, Origin\r\n"));
    else if (encoding)
        pcr_buf_str(out, PCR_STR("Vary: Accept-Encoding\r\n"));
    else if (origin)
        pcr_buf_str(out, PCR_STR("Vary: Origin\r\n"));
}

static void append_extra(struct pcr_buf *out, const struct pcr_http_reply *reply) {
    for (size_t i = 0; i < reply->n_headers; i++) {
        append_value(out, reply->headers[i].name);
        pcr_buf_str(out, PCR_STR(": "));
        append_value(out, reply->headers[i].value);
        pcr_buf_str(out, PCR_STR("\r\n"));
    }
}

static void append_connection(struct pcr_buf *out, const struct pcr_http_request_priv *request,
                              bool close) {
    if (close)
        pcr_buf_str(out, PCR_STR("Connection: close\r\n"));
    else if (request->minor == 0)
        pcr_buf_str(out, PCR_STR("Connection: keep-alive\r\n"));
}

static void append_head(struct pcr_buf *out, struct pcr_http_request_priv *request,
                        const struct pcr_http_reply *reply, size_t body_bytes,
                        struct encoding encoding, bool close) {
    struct pcr_http_server *server = request->conn->server;
    append_status(out, reply->status);
    pcr_buf_append(out, server->date, 29);
    if (server->options.server_name) {
        pcr_buf_str(out, PCR_STR("\r\nServer: "));
        pcr_buf_text(out, server->options.server_name);
    }
    if (reply->content_type) {
        pcr_buf_str(out, PCR_STR("\r\nContent-Type: "));
        pcr_buf_text(out, reply->content_type);
    }
    if (has_body(reply->status)) {
        pcr_buf_str(out, PCR_STR("\r\nContent-Length: "));
        pcr_buf_u64(out, body_bytes);
    }
    pcr_buf_str(out, PCR_STR("\r\nX-Request-Id: "));
    pcr_buf_str(out, request->pub.id);
    pcr_buf_str(out, PCR_STR("\r\n"));
    if (encoding.coding == PCR_HTTP_GZIP)
        pcr_buf_str(out, PCR_STR("Content-Encoding: gzip\r\n"));
    else if (encoding.coding == PCR_HTTP_DEFLATE)
        pcr_buf_str(out, PCR_STR("Content-Encoding: deflate\r\n"));
    append_vary(out, server, encoding.vary);
    if (server->options.cors.n_origins)
        pcr_http_cors_headers(request, out);
    append_extra(out, reply);
    append_connection(out, request, close);
    pcr_buf_str(out, PCR_STR("\r\n"));
}

// Body bytes behind the head in the buffer, or all of it to the kernel now.
static void send_body(struct pcr_http_conn *conn, struct pcr_buf *out, struct pcr_str first,
                      struct pcr_str second) {
    if (first.len + second.len <= BODY_BYTES_COPIED) {
        pcr_buf_str(out, first);
        pcr_buf_str(out, second);
        if (out->failed)
            pcr_http_conn_close(conn);
        else if (out->len >= OUT_BYTES_FLUSH)
            pcr_http_out_flush(conn);
        return;
    }
    const struct pcr_str parts[] = {pcr_buf_view(out), first, second};
    conn->server->out_conn = NULL;
    if (out->failed)
        pcr_http_conn_close(conn);
    else
        write_parts(conn, parts, PCR_COUNT_OF(parts));
    pcr_buf_clear(out);
}

static void emit(struct pcr_http_request_priv *request, const struct pcr_http_reply *reply) {
    struct pcr_http_conn *conn = request->conn;
    struct pcr_http_server *server = conn->server;
    struct encoding encoding = choose_encoding(request, reply);
    struct pcr_str first = reply->body, second = reply->body_more;
    if (encoding.coding != PCR_HTTP_IDENTITY) {
        first = pcr_buf_view(&server->encoded);
        second = (struct pcr_str){NULL, 0};
    }
    size_t body_bytes = has_body(reply->status) ? first.len + second.len : 0;
    bool close = reply->close || !request->keep_alive || server->draining ||
                 (conn->last && conn->n_owed == 0 && !conn->reading);
    struct pcr_buf *out = out_begin(conn);
    append_head(out, request, reply, body_bytes, encoding, close);
    if (body_bytes == 0 || request->pub.method == PCR_HTTP_HEAD)
        first = second = (struct pcr_str){NULL, 0};
    send_body(conn, out, first, second);
    if (server->options.access) {
        uint64_t now_ns = pcr_clock_mono_ns();
        const struct pcr_http_access access = {
            .request = &request->pub,
            .status = reply->status,
            .body_bytes = first.len + second.len,
            .duration_ns =
                now_ns > request->pub.received_ns ? now_ns - request->pub.received_ns : 0,
        };
        server->options.access(server->options.ctx, &access);
    }
    if (close)
        conn->last = conn->finishing = true;
}

void pcr_http_send_continue(struct pcr_http_conn *conn) {
    if (!conn->want_continue || conn->closed || conn->phase != PCR_HTTP_IN_BODY || conn->n_owed > 0)
        return;
    conn->want_continue = false;
    pcr_buf_str(out_begin(conn), PCR_STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

static struct pcr_http_request_priv *first_owed(struct pcr_http_conn *conn) {
    return PCR_LIST_ENTRY(conn->owed.next, struct pcr_http_request_priv, node);
}

static void finish(struct pcr_http_request_priv *request, const struct pcr_http_reply *reply) {
    struct pcr_http_conn *conn = request->conn;
    // Out of the list first: should the connection break while this is written, what is listed is
    // cut off.
    pcr_list_remove(&request->node);
    conn->n_owed--;
    pcr_http_refresh_date(conn->server, pcr_loop_now_ns(conn->server->loop));
    emit(request, reply);
    pcr_http_request_put(request);
}

// Sends the answers whose turn has come.
void pcr_http_reply_ready(struct pcr_http_conn *conn) {
    while (!conn->closed && !conn->finishing && !pcr_list_empty(&conn->owed)) {
        struct pcr_http_request_priv *request = first_owed(conn);
        if (!request->ready)
            return;
        finish(request, &request->reply);
    }
}

// Keeps an answer that is early.
// Its header list may be on the caller's stack; all else is in the arena.
static void keep_reply(struct pcr_http_request_priv *request, const struct pcr_http_reply *reply) {
    request->reply = *reply;
    request->ready = true;
    if (reply->n_headers == 0)
        return;
    struct pcr_http_header *headers =
        pcr_arena_array(&request->pub.arena, reply->n_headers, sizeof *headers);
    if (headers)
        memcpy(headers, reply->headers, reply->n_headers * sizeof *headers);
    else
        request->reply = (struct pcr_http_reply){.status = 503, .close = true};
    request->reply.headers = headers;
}

void pcr_http_reply(struct pcr_http_request *pub, const struct pcr_http_reply *reply) {
    struct pcr_http_request_priv *request = pcr_http_priv(pub);
    struct pcr_http_conn *conn = request->conn;
    PCR_ASSERT(!request->replied && reply->status >= 200 && reply->status <= 999);
    request->replied = true;
    if (request->cut) {
        pcr_http_request_put(request);
        return;
    }
    if (first_owed(conn) != request) {
        keep_reply(request, reply);
        return;
    }
    conn->n_requests++; // the connection outlives what follows
    finish(request, reply);
    pcr_http_reply_ready(conn);
    if (!conn->feeding) {
        pcr_http_send_continue(conn);
        pcr_http_out_flush(conn);
        pcr_http_conn_settle(conn);
    }
    conn->n_requests--;
    pcr_http_conn_unref_memory(conn);
}
