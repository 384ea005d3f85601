// SPDX-License-Identifier: Apache-2.0
// Streams: connected TCP and unix sockets.
//
// Reading. All streams of a loop read into one buffer, because a read's bytes are borrowed for the
// callback only: ten thousand idle connections cost no buffers. Writing. What the kernel takes at
// once costs no copy and no request object; the rest is copied behind the stream's back into one
// block per write, up to WRITE_QUEUE_BYTES_MAX, and `drained` says when all of it is gone.
// Rejected: always queueing with uv_write, which costs an allocation and keeps the caller's bytes
// alive until a later callback.
//
// Invariant: after pcr_stream_close nothing is called but `closed`,
// and the memory goes right after it.
#include "loop/loop_priv.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITE_QUEUE_BYTES_MAX ((size_t)256 << 20)
#define WRITE_PARTS_MAX 8

struct pcr_stream {
    struct pcr_loop_owner owner;
    struct pcr_loop *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_shutdown_t shutdown;
    struct pcr_stream_events events;
    void *ctx;
    void (*closed)(void *ctx);
    size_t writes_pending;
    bool started, ended, shut, closing;
    char peer[64];
};

struct queued_write {
    uv_write_t req;
    struct pcr_stream *stream;
    size_t bytes;
    char data[];
};

static void on_closed(uv_handle_t *handle) {
    struct pcr_stream *stream = PCR_CONTAINER_OF(handle, struct pcr_stream, handle);
    struct pcr_loop *loop = stream->loop;
    if (stream->closed)
        stream->closed(stream->ctx);
    free(stream);
    pcr_loop_feed_starved(loop);
}

static void abandon(struct pcr_loop_owner *owner, uv_handle_t *handle) {
    struct pcr_stream *stream = PCR_CONTAINER_OF(owner, struct pcr_stream, owner);
    stream->closing = true;
    uv_close(handle, on_closed);
}

struct pcr_stream *pcr_stream_adopt(struct pcr_loop *loop, int fd,
                                    const struct pcr_sockaddr *peer) {
    struct pcr_stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        close(fd);
        return NULL;
    }
    stream->owner.abandon = abandon;
    stream->loop = loop;
    pcr_address_format(peer, stream->peer, sizeof stream->peer);
    int rc;
    if (peer->any.sa_family == AF_UNIX) {
        uv_pipe_init(&loop->uv, &stream->pipe, 0);
        rc = uv_pipe_open(&stream->pipe, fd);
    } else {
        // Answers are whole when they are written: waiting to fill a segment only delays them.
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        uv_tcp_init(&loop->uv, &stream->tcp);
        rc = uv_tcp_open(&stream->tcp, fd);
    }
    stream->handle.data = &stream->owner;
    if (rc < 0) {
        close(fd);
        pcr_stream_close(stream, NULL);
        return NULL;
    }
    return stream;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct pcr_stream *stream = PCR_CONTAINER_OF(handle, struct pcr_stream, handle);
    *buf = uv_buf_init(stream->loop->read_buffer, PCR_LOOP_READ_BYTES);
}

// libuv calls it the end of the file, without another read, when a reset comes together with the
// last bytes; the socket still knows better.
static int end_status(const struct pcr_stream *stream) {
    uv_os_fd_t fd;
    int error = 0;
    socklen_t size = sizeof error;
    if (uv_fileno(&stream->handle, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error == 0)
        return 0;
    return pcr_uv_code(-error);
}

static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *buf) {
    struct pcr_stream *stream = PCR_CONTAINER_OF(uv, struct pcr_stream, stream);
    struct pcr_loop *loop = stream->loop;
    pcr_loop_woke(loop);
    if (n > 0) {
        stream->events.data(stream->ctx, buf->base, (size_t)n);
        // A turn may have a thousand reads: answers from other threads need not wait for them all.
        if (atomic_load_explicit(&loop->mail, memory_order_relaxed))
            pcr_loop_deliver_mail(loop);
    } else if (n < 0) {
        stream->ended = true;
        uv_read_stop(uv);
        stream->events.end(stream->ctx, n == UV_EOF ? end_status(stream) : pcr_uv_code((int)n));
    }
}

void pcr_stream_start(struct pcr_stream *stream, const struct pcr_stream_events *events,
                      void *ctx) {
    stream->events = *events;
    stream->ctx = ctx;
    stream->started = true;
    uv_read_start(&stream->stream, on_alloc, on_read);
}

void pcr_stream_pause(struct pcr_stream *stream) {
    uv_read_stop(&stream->stream);
}

void pcr_stream_resume(struct pcr_stream *stream) {
    if (!stream->ended && !stream->closing)
        uv_read_start(&stream->stream, on_alloc, on_read);
}

static void on_written(uv_write_t *req, int status) {
    struct queued_write *write = PCR_CONTAINER_OF(req, struct queued_write, req);
    struct pcr_stream *stream = write->stream;
    pcr_loop_woke(stream->loop);
    stream->writes_pending--;
    free(write);
    if (stream->closing || !stream->started)
        return;
    if (status < 0) {
        if (!stream->ended || status != UV_ECANCELED) {
            stream->ended = true;
            uv_read_stop(&stream->stream);
            stream->events.end(stream->ctx, pcr_uv_code(status));
        }
    } else if (stream->writes_pending == 0 && stream->events.drained) {
        stream->events.drained(stream->ctx);
    }
}

// Copies what is left after the first `skip` bytes and has libuv send it.
static int64_t queue_rest(struct pcr_stream *stream, const uv_buf_t *bufs, unsigned n, size_t skip,
                          size_t rest) {
    if (rest > WRITE_QUEUE_BYTES_MAX - pcr_stream_queued_bytes(stream))
        return PACER_ELIMIT;
    struct queued_write *write = malloc(sizeof *write + rest);
    if (!write)
        return PACER_ENOMEM;
    write->stream = stream;
    write->bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t from = skip < bufs[i].len ? skip : bufs[i].len;
        skip -= from;
        memcpy(write->data + write->bytes, bufs[i].base + from, bufs[i].len - from);
        write->bytes += bufs[i].len - from;
    }
    PCR_ASSERT(write->bytes == rest);
    uv_buf_t buf = uv_buf_init(write->data, (unsigned)rest);
    int rc = uv_write(&write->req, &stream->stream, &buf, 1, on_written);
    if (rc < 0) {
        free(write);
        return pcr_uv_code(rc);
    }
    stream->writes_pending++;
    return (int64_t)pcr_stream_queued_bytes(stream);
}

int64_t pcr_stream_write(struct pcr_stream *stream, const struct pcr_str *parts, size_t n_parts) {
    PCR_ASSERT(n_parts <= WRITE_PARTS_MAX);
    if (stream->closing || stream->shut)
        return PACER_ECANCELED;
    uv_buf_t bufs[WRITE_PARTS_MAX];
    unsigned n = 0;
    size_t total = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].len == 0)
            continue;
        if (parts[i].len > WRITE_QUEUE_BYTES_MAX)
            return PACER_ELIMIT;
        bufs[n++] = uv_buf_init((char *)parts[i].ptr, (unsigned)parts[i].len);
        total += parts[i].len;
    }
    if (total == 0)
        return (int64_t)pcr_stream_queued_bytes(stream);
    int written = uv_try_write(&stream->stream, bufs, n);
    if (written < 0 && written != UV_EAGAIN)
        return pcr_uv_code(written);
    size_t done = written < 0 ? 0 : (size_t)written;
    if (done == total)
        return 0;
    return queue_rest(stream, bufs, n, done, total - done);
}

size_t pcr_stream_queued_bytes(const struct pcr_stream *stream) {
    return uv_stream_get_write_queue_size(&stream->stream);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
    (void)req; // a peer that is gone already shows on the reading side
    (void)status;
}

void pcr_stream_shutdown(struct pcr_stream *stream) {
    if (stream->closing || stream->shut)
        return;
    stream->shut = true;
    (void)uv_shutdown(&stream->shutdown, &stream->stream, on_shutdown);
}

void pcr_stream_close(struct pcr_stream *stream, void (*closed)(void *ctx)) {
    PCR_ASSERT(!stream->closing);
    stream->closing = true;
    stream->closed = closed;
    uv_close(&stream->handle, on_closed);
}

const char *pcr_stream_peer(const struct pcr_stream *stream) {
    return stream->peer;
}
