// SPDX-License-Identifier: Apache-2.0
// Peer (a): the ceiling. The least a libuv + llhttp server can do and still be an HTTP server:
// keep-alive, pipelining, the whole POST body read into the connection's buffer, and one fixed
// answer of the size of a v2 response, whatever was asked. It neither parses the body nor runs a
// model. A connection's buffer is bounded: a larger body closes the connection. All answers due
// after one read leave in one write.
//
// Usage: bare_libuv PORT

#include <llhttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    READ_BYTES_MAX = 64 * 1024,
    BODY_BYTES_MAX = 64 * 1024,
    ANSWERS_MAX = 64, // answers gathered into one write; a longer pipeline is written in several
};

static const char answer_body[] =
    "{\"model_name\":\"mlp\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"probabilities\","
    "\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[0.2870955,0.2180462,0.4948584]}]}";
static char answer[512]; // head and body, made once at the start
static size_t answer_bytes;

struct connection {
    uv_tcp_t tcp;
    llhttp_t parser;
    unsigned answers_due;
    int last; // the client asked to close after this answer
    size_t body_bytes;
    char body[BODY_BYTES_MAX];
};

static char read_buffer[READ_BYTES_MAX]; // one loop, one read at a time
static llhttp_settings_t settings;

static void must(int status, const char *what) {
    if (status < 0) {
        fprintf(stderr, "bare_libuv: %s: %s\n", what, uv_strerror(status));
        exit(1);
    }
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void close_connection(struct connection *conn) {
    if (!uv_is_closing((uv_handle_t *)&conn->tcp)) {
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
    }
}

static void on_written(uv_write_t *req, int status) {
    if (status < 0) {
        close_connection(req->data);
    }
    free(req);
}

// The socket's buffer is full: libuv queues what is left, from the middle of an answer if need be.
static int write_rest(struct connection *conn, size_t skip, unsigned count) {
    uv_buf_t bufs[ANSWERS_MAX];
    unsigned n = 0;
    for (unsigned i = (unsigned)(skip / answer_bytes); i < count; i++) {
        size_t offset = n == 0 ? skip % answer_bytes : 0;
        bufs[n++] = uv_buf_init(answer + offset, (unsigned)(answer_bytes - offset));
    }
    uv_write_t *req = malloc(sizeof *req);
    if (req == NULL) {
        return UV_ENOMEM;
    }
    req->data = conn;
    int rc = uv_write(req, (uv_stream_t *)&conn->tcp, bufs, n, on_written);
    if (rc < 0) {
        free(req);
    }
    return rc;
}

static int write_answers(struct connection *conn, unsigned count) {
    uv_buf_t bufs[ANSWERS_MAX];
    for (unsigned i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(answer, (unsigned)answer_bytes);
    }
    int written = uv_try_write((uv_stream_t *)&conn->tcp, bufs, count);
    if (written < 0 && written != UV_EAGAIN) {
        return written;
    }
    size_t done = written < 0 ? 0 : (size_t)written;
    return done == count * answer_bytes ? 0 : write_rest(conn, done, count);
}

static int flush_answers(struct connection *conn) {
    while (conn->answers_due > 0) {
        unsigned count = conn->answers_due < ANSWERS_MAX ? conn->answers_due : ANSWERS_MAX;
        conn->answers_due -= count;
        int rc = write_answers(conn, count);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int on_message_begin(llhttp_t *parser) {
    struct connection *conn = parser->data;
    conn->body_bytes = 0;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t length) {
    struct connection *conn = parser->data;
    if (length > BODY_BYTES_MAX - conn->body_bytes) {
        return -1;
    }
    memcpy(conn->body + conn->body_bytes, at, length);
    conn->body_bytes += length;
    return 0;
}

static int on_message_complete(llhttp_t *parser) {
    struct connection *conn = parser->data;
    conn->answers_due++;
    conn->last = !llhttp_should_keep_alive(parser);
    return 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(read_buffer, sizeof read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct connection *conn = stream->data;
    if (nread == 0) {
        return;
    }
    if (nread < 0) {
        close_connection(conn);
        return;
    }
    llhttp_errno_t err = llhttp_execute(&conn->parser, buf->base, (size_t)nread);
    int rc = flush_answers(conn);
    if (err != HPE_OK || rc < 0 || conn->last) {
        close_connection(conn);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) {
        return; // out of descriptors: the client is refused, the server stays
    }
    struct connection *conn = calloc(1, sizeof *conn);
    must(conn == NULL ? UV_ENOMEM : 0, "connection");
    must(uv_tcp_init(listener->loop, &conn->tcp), "connection");
    conn->tcp.data = conn;
    llhttp_init(&conn->parser, HTTP_REQUEST, &settings);
    conn->parser.data = conn;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) < 0) {
        close_connection(conn);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
}

static void make_answer(void) {
    int n = snprintf(
        answer, sizeof answer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        sizeof answer_body - 1, answer_body);
    must(n > 0 && (size_t)n < sizeof answer ? 0 : UV_ENOBUFS, "answer");
    answer_bytes = (size_t)n;
}

int main(int argc, char **argv) {
    long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (port <= 0 || port > 65535) {
        fprintf(stderr, "usage: bare_libuv PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    make_answer();
    llhttp_settings_init(&settings);
    settings.on_message_begin = on_message_begin;
    settings.on_body = on_body;
    settings.on_message_complete = on_message_complete;

    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    must(uv_tcp_init(loop, &listener), "socket");
    must(uv_ip4_addr("127.0.0.1", (int)port, &address), "address");
    must(uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0), "bind");
    must(uv_listen((uv_stream_t *)&listener, 512, on_connection), "listen");
    return uv_run(loop, UV_RUN_DEFAULT);
}
