// SPDX-License-Identifier: Apache-2.0
// The server of one loop: its connections, their memory, the sweep over deadlines, and the drain.
//
// Memory in the steady state is reused: requests keep one arena block and small buffers and go back
// to a free list, so a request on a warm connection allocates nothing. What grew beyond a usual
// size is given back.
//
// Lifetime: a reference per connection whose memory is still there, one for the letter that resumes
// connections, and one until pcr_http_server_destroy. So a handler may answer after the server was
// destroyed; the answer is dropped.
#include "http/http_priv.h"

#include <stdlib.h>

#define FREE_REQUESTS_MAX 256
#define HEAD_BYTES_KEPT (4u << 10)
#define BODY_BYTES_KEPT (16u << 10)
#define OFFSETS_KEPT 32
#define PENDING_BYTES_MAX (256u << 10)
// While draining: what was sent on an idle connection by then
// has arrived and is answered, not reset.
#define IDLE_GRACE_MS 50

// --- requests -----------------------------------------------------------------------------------

// A parsed document takes several times the bytes of its text.
static size_t arena_bytes_max(const struct pcr_http_limits *limits) {
    return ((size_t)64 << 20) + 24 * limits->body_bytes_max;
}

static size_t head_bytes_max(const struct pcr_http_limits *limits) {
    return limits->header_bytes_max + limits->target_bytes_max;
}

static struct pcr_http_request_priv *new_request(struct pcr_http_server *server) {
    const struct pcr_http_limits *limits = &server->options.limits;
    struct pcr_http_request_priv *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    pcr_arena_init(&request->pub.arena, arena_bytes_max(limits));
    pcr_buf_init(&request->head, head_bytes_max(limits));
    pcr_buf_init(&request->body, limits->body_bytes_max);
    pcr_list_init(&request->node);
    return request;
}

struct pcr_http_request_priv *pcr_http_request_get(struct pcr_http_conn *conn) {
    struct pcr_http_server *server = conn->server;
    struct pcr_http_request_priv *request;
    if (pcr_list_empty(&server->free_requests)) {
        request = new_request(server);
        if (!request)
            return NULL;
    } else {
        request = PCR_LIST_ENTRY(server->free_requests.next, struct pcr_http_request_priv, node);
        pcr_list_remove(&request->node);
        server->n_free_requests--;
        request->pub.arena.max_bytes = arena_bytes_max(&server->options.limits);
        request->head.max_bytes = head_bytes_max(&server->options.limits);
    }
    request->conn = conn;
    request->in_head = true;
    request->minor = 1;
    request->pub.loop = server->loop;
    request->pub.method = PCR_HTTP_OTHER;
    request->pub.method_name = request->pub.path = request->pub.query = PCR_STR("");
    request->pub.peer = conn->peer;
    request->pub.received_ns = conn->arrived_ns;
    conn->n_requests++;
    return request;
}

static void free_request(struct pcr_http_request_priv *request) {
    pcr_arena_fini(&request->pub.arena);
    pcr_buf_fini(&request->head);
    pcr_buf_fini(&request->body);
    free(request->offsets);
    free(request);
}

static void clear_buf(struct pcr_buf *buf, size_t kept_bytes_max) {
    if (buf->cap > kept_bytes_max + 1)
        pcr_buf_fini(buf);
    pcr_buf_clear(buf);
}

// Makes it as new, but for the memory.
static void recycle(struct pcr_http_request_priv *request) {
    pcr_arena_reset(&request->pub.arena);
    clear_buf(&request->head, HEAD_BYTES_KEPT);
    clear_buf(&request->body, BODY_BYTES_KEPT);
    if (request->offsets_cap > OFFSETS_KEPT) {
        free(request->offsets);
        request->offsets = NULL;
        request->offsets_cap = 0;
    }
    *request = (struct pcr_http_request_priv){
        .pub.arena = request->pub.arena,
        .head = request->head,
        .body = request->body,
        .offsets = request->offsets,
        .offsets_cap = request->offsets_cap,
    };
    pcr_list_init(&request->node);
}

void pcr_http_request_put(struct pcr_http_request_priv *request) {
    struct pcr_http_conn *conn = request->conn;
    struct pcr_http_server *server = conn->server;
    PCR_ASSERT(request->node.next == &request->node);
    PCR_ASSERT(request->charged_bytes <= server->body_memory_bytes);
    server->body_memory_bytes -= request->charged_bytes;
    if (server->n_free_requests < FREE_REQUESTS_MAX) {
        recycle(request);
        pcr_list_push_front(&server->free_requests, &request->node);
        server->n_free_requests++;
    } else {
        free_request(request);
    }
    conn->n_requests--;
    pcr_http_conn_unref_memory(conn);
}

// --- connections --------------------------------------------------------------------------------

// The peer's address without its port.
static struct pcr_str peer_host(const char *peer) {
    const char *colon = strrchr(peer, ':');
    return (struct pcr_str){peer, colon ? (size_t)(colon - peer) : strlen(peer)};
}

// False if this peer has its share already.
static bool count_peer(struct pcr_http_conn *conn) {
    struct pcr_http_server *server = conn->server;
    size_t max = server->options.limits.connections_per_peer_max;
    if (max == 0 || strcmp(conn->peer, "unix") == 0)
        return true;
    struct pcr_http_peer *peer = pcr_map_get(&server->peers, peer_host(conn->peer));
    if (!peer) {
        peer = calloc(1, sizeof *peer);
        if (!peer || !pcr_map_put(&server->peers, peer_host(conn->peer), peer, NULL)) {
            free(peer);
            return false;
        }
    }
    if (peer->connections >= max)
        return false;
    peer->connections++;
    conn->peer_count = peer;
    return true;
}

static void uncount_peer(struct pcr_http_conn *conn) {
    if (!conn->peer_count || --conn->peer_count->connections > 0)
        return;
    free(pcr_map_remove(&conn->server->peers, peer_host(conn->peer)));
}

static size_t n_open(const struct pcr_http_server *server) {
    return (size_t)atomic_load_explicit(&server->counters.connections_open, memory_order_relaxed);
}

struct pcr_http_conn *pcr_http_conn_create(struct pcr_http_server *server,
                                           const struct pcr_http_transport *transport, void *io,
                                           const char *peer) {
    struct pcr_http_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->server = server;
    conn->transport = transport;
    conn->io = io;
    conn->deadline_kind = PCR_HTTP_DL_NONE;
    pcr_list_init(&conn->deadline);
    pcr_list_init(&conn->resuming);
    pcr_list_init(&conn->owed);
    pcr_list_push_back(&server->conns, &conn->node);
    pcr_buf_init(&conn->pending, PENDING_BYTES_MAX);
    llhttp_init(&conn->parser, HTTP_REQUEST, &server->settings);
    conn->parser.data = conn;
    size_t n = strlen(peer);
    memcpy(conn->peer, peer, n < sizeof conn->peer ? n : sizeof conn->peer - 1);
    conn->read_ns = conn->arrived_ns = pcr_clock_mono_ns();
    pcr_http_refresh_date(server, conn->read_ns);
    server->refs++;
    server->n_conns++;
    pcr_http_count(&server->counters.connections_open, 1);
    pcr_http_count(&server->counters.connections_total, 1);
    return conn;
}

void pcr_http_conn_unref_memory(struct pcr_http_conn *conn) {
    if (!conn->transport_gone || conn->n_requests > 0)
        return;
    struct pcr_http_server *server = conn->server;
    pcr_list_remove(&conn->node);
    pcr_buf_fini(&conn->pending);
    free(conn);
    server->n_conns--;
    pcr_http_server_check_drained(server);
    pcr_http_server_unref(server);
}

void pcr_http_conn_closed(struct pcr_http_conn *conn) {
    PCR_ASSERT(conn->closed);
    struct pcr_http_server *server = conn->server;
    conn->transport_gone = true;
    uncount_peer(conn);
    pcr_http_count(&server->counters.connections_open, UINT64_MAX); // one less
    pcr_http_server_check_drained(server); // a cut does not wait for what requests still hold
    pcr_http_conn_unref_memory(conn);
}

static int64_t stream_write(void *io, const struct pcr_str *parts, size_t n_parts) {
    return pcr_stream_write(io, parts, n_parts);
}
static size_t stream_queued(void *io) {
    return pcr_stream_queued_bytes(io);
}
static void stream_pause(void *io) {
    pcr_stream_pause(io);
}
static void stream_resume(void *io) {
    pcr_stream_resume(io);
}
static void stream_shutdown(void *io) {
    pcr_stream_shutdown(io);
}
static void on_stream_closed(void *ctx) {
    pcr_http_conn_closed(ctx);
}
static void stream_close(void *io) {
    pcr_stream_close(io, on_stream_closed);
}

static const struct pcr_http_transport stream_transport = {
    .write = stream_write,
    .queued = stream_queued,
    .pause = stream_pause,
    .resume = stream_resume,
    .shutdown = stream_shutdown,
    .close = stream_close,
};

static void on_data(void *ctx, char *bytes, size_t size) {
    pcr_http_conn_feed(ctx, bytes, size);
}
static void on_end(void *ctx, int status) {
    pcr_http_conn_ended(ctx, status);
}
static void on_drained(void *ctx) {
    pcr_http_conn_drained(ctx);
}

static const struct pcr_stream_events stream_events = {on_data, on_end, on_drained};

static void on_accept(void *ctx, struct pcr_stream *stream) {
    struct pcr_http_server *server = ctx;
    size_t max = server->options.limits.connections_max;
    size_t open = n_open(server);
    struct pcr_http_conn *conn =
        open < max + PCR_HTTP_REFUSING_MAX
            ? pcr_http_conn_create(server, &stream_transport, stream, pcr_stream_peer(stream))
            : NULL;
    if (!conn) {
        pcr_http_count(&server->counters.refused, 1);
        pcr_stream_close(stream, NULL);
        return;
    }
    pcr_stream_start(stream, &stream_events, conn);
    if (open >= max)
        pcr_http_conn_refuse(conn, 503, "this server has no connection left; try again later");
    else if (!count_peer(conn))
        pcr_http_conn_refuse(conn, 503, "too many connections from this address");
    else
        pcr_http_conn_settle(conn);
}

// --- the server ---------------------------------------------------------------------------------

static void on_sweep(void *ctx) {
    struct pcr_http_server *server = ctx;
    pcr_http_server_sweep(server, pcr_loop_now_ns(server->loop));
}

void pcr_http_server_resume(struct pcr_http_server *server) {
    struct pcr_list batch; // those that have to stop again are listed for another turn
    pcr_list_init(&batch);
    while (!pcr_list_empty(&server->resuming)) {
        struct pcr_list *node = server->resuming.next;
        pcr_list_remove(node);
        pcr_list_push_back(&batch, node);
    }
    while (!pcr_list_empty(&batch)) {
        struct pcr_http_conn *conn = PCR_LIST_ENTRY(batch.next, struct pcr_http_conn, resuming);
        pcr_list_remove(&conn->resuming);
        pcr_http_conn_continue(conn);
    }
}

static void deliver_resume(struct pcr_mail *mail) {
    struct pcr_http_server *server = PCR_CONTAINER_OF(mail, struct pcr_http_server, resume_mail);
    server->resume_posted = false;
    pcr_http_server_resume(server);
    pcr_http_server_unref(server);
}

static void on_drain_timer(void *ctx);

int pcr_http_server_create(struct pcr_loop *loop, const struct pcr_http_server_options *options,
                           struct pcr_http_server **out, struct pacer_error *err) {
    PCR_ASSERT(options->handler);
    int rc = pcr_http_options_check(options, err);
    if (rc < 0)
        return rc;
    struct pcr_http_server *server = calloc(1, sizeof *server);
    if (!server)
        return pcr_err(err, PACER_ENOMEM, "http", "no memory for a server");
    server->loop = loop;
    server->options = *options;
    server->refs = 1;
    server->resume_mail.deliver = deliver_resume;
    pcr_http_parse_settings(&server->settings);
    pcr_list_init(&server->conns);
    pcr_list_init(&server->resuming);
    pcr_list_init(&server->free_requests);
    for (size_t i = 0; i < PCR_HTTP_DL_COUNT; i++)
        pcr_list_init(&server->deadlines[i]);
    pcr_map_init(&server->peers);
    pcr_buf_init(&server->out, (size_t)1 << 30);
    pcr_buf_init(&server->encoded, (size_t)2 * PCR_HTTP_ENCODE_BYTES_MAX);
    server->sweep = pcr_timer_create(loop, on_sweep, server);
    server->drain_timer = pcr_timer_create(loop, on_drain_timer, server);
    if (!server->sweep || !server->drain_timer) {
        pcr_http_server_destroy(server);
        return pcr_err(err, PACER_ENOMEM, "http", "no memory for a server");
    }
    uint64_t interval_ms = pcr_http_sweep_interval_ms(&options->limits);
    pcr_timer_start(server->sweep, interval_ms, interval_ms);
    *out = server;
    return 0;
}

int pcr_http_server_listen(struct pcr_http_server *server,
                           const struct pcr_listener_options *listen, int *port,
                           struct pacer_error *err) {
    struct pcr_listener **more =
        realloc(server->listeners, (server->n_listeners + 1) * sizeof(struct pcr_listener *));
    if (!more)
        return pcr_err(err, PACER_ENOMEM, "http", "no memory for a listener");
    server->listeners = more;
    struct pcr_listener *listener;
    int rc = pcr_listener_open(server->loop, listen, on_accept, server, &listener, err);
    if (rc < 0)
        return rc;
    server->listeners[server->n_listeners++] = listener;
    if (port)
        *port = pcr_listener_port(listener);
    return 0;
}

static void close_listeners(struct pcr_http_server *server) {
    while (server->n_listeners > 0)
        pcr_listener_close(server->listeners[--server->n_listeners]);
}

static void close_conns(struct pcr_http_server *server, bool idle_only) {
    // Closing frees nothing before the transport has said its last, which it does later.
    PCR_LIST_FOR_EACH_SAFE(node, after, &server->conns) {
        struct pcr_http_conn *conn = PCR_LIST_ENTRY(node, struct pcr_http_conn, node);
        if (!idle_only || pcr_http_conn_idle(conn))
            pcr_http_conn_close(conn);
    }
}

// --- draining -----------------------------------------------------------------------------------

static bool is_drained(const struct pcr_http_server *server) {
    return server->n_conns == 0 || (server->cut && n_open(server) == 0);
}

static void on_drain_timer(void *ctx) {
    struct pcr_http_server *server = ctx;
    if (is_drained(server)) {
        void (*drained)(void *) = server->drained;
        server->drained = NULL;
        if (drained)
            drained(server->drained_ctx); // may destroy the server
        return;
    }
    if (!server->drain_idle_closed) {
        server->drain_idle_closed = true;
        close_conns(server, true);
        pcr_timer_start(server->drain_timer, is_drained(server) ? 0 : server->drain_grace_ms, 0);
        return;
    }
    server->cut = true;
    close_conns(server, false);
}

// The call comes from the loop, never from inside the call that closed the last connection.
void pcr_http_server_check_drained(struct pcr_http_server *server) {
    if (server->draining && server->drained && is_drained(server))
        pcr_timer_start(server->drain_timer, 0, 0);
}

void pcr_http_server_drain(struct pcr_http_server *server, uint64_t grace_ms,
                           void (*drained)(void *ctx), void *ctx) {
    PCR_ASSERT(!server->draining);
    // Connections that the kernel had accepted already come in here, and may have one answer each.
    close_listeners(server);
    server->draining = true;
    server->drained = drained;
    server->drained_ctx = ctx;
    server->drain_grace_ms = grace_ms;
    pcr_timer_start(server->drain_timer, is_drained(server) ? 0 : IDLE_GRACE_MS, 0);
}

void pcr_http_server_unref(struct pcr_http_server *server) {
    if (--server->refs > 0)
        return;
    PCR_LIST_FOR_EACH_SAFE(node, after, &server->free_requests) {
        free_request(PCR_LIST_ENTRY(node, struct pcr_http_request_priv, node));
    }
    pcr_map_fini(&server->peers);
    pcr_buf_fini(&server->out);
    pcr_buf_fini(&server->encoded);
    pcr_http_deflate_fini(server);
    free(server->listeners);
    free(server);
}

void pcr_http_server_destroy(struct pcr_http_server *server) {
    if (!server)
        return;
    server->drained = NULL;
    close_listeners(server);
    close_conns(server, false);
    pcr_timer_destroy(server->sweep);
    pcr_timer_destroy(server->drain_timer);
    pcr_http_server_unref(server);
}

void pcr_http_server_stats(const struct pcr_http_server *server,
                           struct pcr_http_server_stats *out) {
    const struct pcr_http_counters *counters = &server->counters;
    *out = (struct pcr_http_server_stats){
        .requests = atomic_load_explicit(&counters->requests, memory_order_relaxed),
        .connections_open = atomic_load_explicit(&counters->connections_open, memory_order_relaxed),
        .connections_total =
            atomic_load_explicit(&counters->connections_total, memory_order_relaxed),
        .refused = atomic_load_explicit(&counters->refused, memory_order_relaxed),
        .timeouts = atomic_load_explicit(&counters->timeouts, memory_order_relaxed),
    };
}
