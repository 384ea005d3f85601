// SPDX-License-Identifier: Apache-2.0
// A connection of the http room without a socket: bytes are fed in, what it answers is kept.
#ifndef PCR_TEST_HTTP_SINK_H
#define PCR_TEST_HTTP_SINK_H

#include "http/http_priv.h"

#include <stdlib.h>

struct http_sink {
    struct pcr_http_conn *conn;
    struct pcr_buf out;
    bool paused, shut, closing;
    size_t queued; // what a slow reader has not taken yet; set by tests
};

static int64_t http_sink_write(void *io, const struct pcr_str *parts, size_t n_parts) {
    struct http_sink *sink = io;
    for (size_t i = 0; i < n_parts; i++)
        pcr_buf_str(&sink->out, parts[i]);
    return (int64_t)sink->queued;
}
static size_t http_sink_queued(void *io) {
    return ((struct http_sink *)io)->queued;
}
static void http_sink_pause(void *io) {
    ((struct http_sink *)io)->paused = true;
}
static void http_sink_resume(void *io) {
    ((struct http_sink *)io)->paused = false;
}
static void http_sink_shutdown(void *io) {
    ((struct http_sink *)io)->shut = true;
}
static void http_sink_close(void *io) {
    ((struct http_sink *)io)->closing = true;
}

static const struct pcr_http_transport http_sink_transport = {
    .write = http_sink_write,
    .queued = http_sink_queued,
    .pause = http_sink_pause,
    .resume = http_sink_resume,
    .shutdown = http_sink_shutdown,
    .close = http_sink_close,
};

static inline void http_sink_open(struct http_sink *sink, struct pcr_http_server *server) {
    *sink = (struct http_sink){0};
    pcr_buf_init(&sink->out, (size_t)64 << 20);
    sink->conn = pcr_http_conn_create(server, &http_sink_transport, sink, "192.0.2.1:5000");
    PCR_ASSERT(sink->conn);
    pcr_http_conn_settle(sink->conn);
}

// Feeds in pieces of `step` bytes, each in a block of its own, so that a sanitizer sees an access
// past it.
static inline void http_sink_feed(struct http_sink *sink, const char *bytes, size_t size,
                                  size_t step) {
    while (size > 0 && !sink->closing && !sink->paused) {
        size_t n = size < step ? size : step;
        char *piece = malloc(n);
        PCR_ASSERT(piece);
        memcpy(piece, bytes, n);
        pcr_http_conn_feed(sink->conn, piece, n);
        free(piece);
        pcr_http_server_resume(sink->conn->server);
        bytes += n;
        size -= n;
    }
}

// What a stream would do: report the end, then the close.
static inline void http_sink_close_now(struct http_sink *sink) {
    if (!sink->closing)
        pcr_http_conn_ended(sink->conn, PACER_EIO);
    PCR_ASSERT(sink->closing);
    pcr_http_conn_closed(sink->conn);
    sink->conn = NULL;
    pcr_buf_fini(&sink->out);
}

#endif
