// SPDX-License-Identifier: Apache-2.0
// A connection: bytes in, whole requests to the handler, and the rules about when to read, when to
// stop and when to close.
//
// States. The reading side is between requests, in a head, in a body, or lingering; the writing
// side owes answers to the requests in `owed`, in order. pcr_http_conn_settle is the one place that
// derives from both what the transport should do (read or not, close or not) and which deadline
// holds; it runs at the end of every event. So an event only changes facts, and no path can forget
// to stop a timer or to resume reading.
//
// Reading stops while answers wait in the kernel's buffer (a slow reader), or while
// pipelined_max answers are owed; what was received by then, less than one read buffer, is
// kept in `pending`. Otherwise it goes on, also while a request is being worked on, since
// that is how a broken connection is seen. An end of file is not: a peer may close its
// writing side and wait for the answer.
//
// Closing. After the last answer the writing side is closed and what the peer still sends is thrown
// away for a moment: closing at once would reset the connection and could destroy an answer which
// the peer has not read yet.
//
// Lifetime. A connection's memory stays until the transport has said its last and no request refers
// to it. Rejected: one timer per connection; there is one list per kind of deadline, and a sweep
// looks at the front.
#include "http/http_priv.h"

bool pcr_http_conn_idle(const struct pcr_http_conn *conn) {
    return conn->phase == PCR_HTTP_BETWEEN && conn->n_owed == 0 && conn->pending.len == 0;
}

static uint64_t now_of(const struct pcr_http_conn *conn) {
    return pcr_loop_now_ns(conn->server->loop);
}

static size_t queued_bytes(const struct pcr_http_conn *conn) {
    return conn->transport->queued(conn->io);
}

// --- requests -----------------------------------------------------------------------------------

static void owe(struct pcr_http_conn *conn, struct pcr_http_request_priv *request) {
    conn->reading = NULL;
    conn->phase = PCR_HTTP_BETWEEN;
    pcr_list_push_back(&conn->owed, &request->node);
    conn->n_owed++;
    pcr_http_count(&conn->server->counters.requests, 1);
}

static void finish_head(struct pcr_http_conn *conn, struct pcr_http_request_priv *request) {
    struct pcr_http_request *pub = &request->pub;
    pub->body = pcr_buf_view(&request->body);
    pub->received_ns = pub->received_ns ? pub->received_ns : conn->read_ns;
    if (pub->id.len == 0) {
        pcr_rand_uuid7(conn->server->date_real_ns + (conn->read_ns - conn->server->date_ns),
                       request->id);
        pub->id = (struct pcr_str){request->id, PCR_UUID_TEXT_BYTES - 1};
    }
}

static void dispatch(struct pcr_http_conn *conn) {
    struct pcr_http_request_priv *request = conn->reading;
    const struct pcr_http_server_options *options = &conn->server->options;
    finish_head(conn, request);
    if (!request->keep_alive)
        conn->last = true;
    if (options->limits.requests_per_connection_max &&
        conn->serial >= options->limits.requests_per_connection_max)
        conn->last = true;
    owe(conn, request);
    if (!pcr_http_cors_preflight(request))
        options->handler(options->ctx, &request->pub);
}

static const struct pcr_http_header accept_codings[] = {
    {{"Accept-Encoding", 15}, {"gzip, deflate", 13}}};
static const struct pcr_http_header retry_later[] = {{{"Retry-After", 11}, {"1", 1}}};

// For the access log, what is known of a request that was refused before its head was read.
static void show_raw_head(struct pcr_http_request_priv *request) {
    struct pcr_http_request *pub = &request->pub;
    if (pub->method_name.len == 0 && request->method_len <= request->head.len)
        pub->method_name = (struct pcr_str){pcr_buf_view(&request->head).ptr, request->method_len};
    size_t head = (size_t)request->method_len + request->target_len;
    if (pub->path.len == 0 && head <= request->head.len)
        pub->path = (struct pcr_str){pcr_buf_view(&request->head).ptr + request->method_len,
                                     request->target_len};
}

void pcr_http_conn_refuse(struct pcr_http_conn *conn, int status, const char *message) {
    struct pcr_http_request_priv *request = conn->reading;
    if (!request)
        request = pcr_http_request_get(conn);
    conn->last = true;
    pcr_http_count(&conn->server->counters.refused, 1);
    if (!request) {
        pcr_http_conn_close(conn);
        return;
    }
    finish_head(conn, request);
    show_raw_head(request);
    owe(conn, request);
    struct pcr_http_reply reply = {
        .status = status, .content_type = "application/json", .close = true};
    // The messages are this room's own texts: nothing in them needs escaping.
    char *body = pcr_arena_printf(&request->pub.arena, "{\"error\":\"%s\"}", message);
    reply.body = body ? pcr_str(body) : PCR_STR("{\"error\":\"out of memory\"}");
    if (status == 501 && request->body_coding == PCR_HTTP_IDENTITY &&
        strstr(message, "Content-Encoding")) {
        reply.headers = accept_codings;
        reply.n_headers = 1;
    } else if (status == 503) {
        reply.headers = retry_later;
        reply.n_headers = 1;
    }
    pcr_http_reply(&request->pub, &reply);
}

// The answers to what is still owed will be dropped; handlers that are at work are told.
void pcr_http_conn_cut_owed(struct pcr_http_conn *conn) {
    while (!pcr_list_empty(&conn->owed)) {
        struct pcr_http_request_priv *request =
            PCR_LIST_ENTRY(conn->owed.next, struct pcr_http_request_priv, node);
        pcr_list_remove(&request->node);
        conn->n_owed--;
        bool answered = request->replied;
        bool waiting = request->ready;
        request->cut = true;
        if (waiting)
            pcr_http_request_put(request);
        else if (!answered && request->pub.aborted)
            request->pub.aborted(&request->pub);
    }
}

// --- parsing ------------------------------------------------------------------------------------

static bool may_parse(const struct pcr_http_conn *conn) {
    return !conn->closed && !conn->last &&
           conn->n_owed < conn->server->options.limits.pipelined_max;
}

// Parses up to the end, a stop, or an error; returns the bytes used.
static size_t parse(struct pcr_http_conn *conn, const char *bytes, size_t size) {
    size_t used = 0;
    while (used < size && may_parse(conn)) {
        const char *start = bytes + used;
        conn->chunk = start;
        llhttp_errno_t code = llhttp_execute(&conn->parser, start, size - used);
        if (code == HPE_OK) {
            conn->chunk_start += size - used;
            if (conn->phase == PCR_HTTP_IN_HEAD && conn->head_start != UINT64_MAX &&
                conn->chunk_start - conn->head_start >
                    conn->server->options.limits.header_bytes_max)
                pcr_http_conn_refuse(conn, 431, "the request's head is too large");
            return size;
        }
        const char *stop = llhttp_get_error_pos(&conn->parser);
        if (code == HPE_PAUSED && conn->refuse_status == 0) {
            used += (size_t)(stop - start);
            conn->chunk_start += (uint64_t)(stop - start);
            llhttp_resume(&conn->parser);
            dispatch(conn);
            if (queued_bytes(conn) > 0)
                return used;
        } else {
            if (conn->refuse_status == 0)
                pcr_http_parse_failed(conn, code, stop, bytes + size);
            pcr_http_conn_refuse(conn, conn->refuse_status, conn->refuse_message);
            return size;
        }
    }
    return conn->last ? size : used;
}

static void end_event(struct pcr_http_conn *conn) {
    pcr_http_send_continue(conn);
    pcr_http_out_flush(conn);
    pcr_http_conn_settle(conn);
}

static void linger(struct pcr_http_conn *conn, size_t size) {
    conn->lingered += size;
    if (conn->lingered > PCR_HTTP_LINGER_BYTES_MAX)
        pcr_http_conn_close(conn);
}

static bool keep_pending(struct pcr_http_conn *conn, const char *bytes, size_t size) {
    if (pcr_buf_append(&conn->pending, bytes, size))
        return true;
    pcr_http_conn_close(conn);
    return false;
}

void pcr_http_conn_feed(struct pcr_http_conn *conn, const char *bytes, size_t size) {
    if (conn->closed)
        return;
    if (conn->phase == PCR_HTTP_LINGERING) {
        linger(conn, size);
        return;
    }
    if (conn->last)
        return;
    if (conn->pending.len) { // bytes that were under way when reading was paused
        keep_pending(conn, bytes, size);
        return;
    }
    conn->n_requests++;
    conn->feeding = true;
    conn->read_ns = pcr_clock_mono_ns();
    conn->arrived_ns = pcr_loop_arrived_ns(conn->server->loop);
    pcr_http_refresh_date(conn->server, conn->read_ns);
    size_t used = parse(conn, bytes, size);
    conn->feeding = false;
    if (used < size && !conn->closed)
        keep_pending(conn, bytes + used, size - used);
    end_event(conn);
    conn->n_requests--;
    pcr_http_conn_unref_memory(conn);
}

// Takes up the bytes that were kept when parsing had to stop.
void pcr_http_conn_continue(struct pcr_http_conn *conn) {
    conn->n_requests++;
    conn->feeding = true;
    size_t used = parse(conn, conn->pending.data, conn->pending.len);
    conn->feeding = false;
    conn->pending.len -= used;
    memmove(conn->pending.data, conn->pending.data + used, conn->pending.len);
    if (conn->pending.len == 0)
        pcr_buf_fini(&conn->pending);
    end_event(conn);
    conn->n_requests--;
    pcr_http_conn_unref_memory(conn);
}

// --- deadlines ----------------------------------------------------------------------------------

uint64_t pcr_http_deadline_ms(const struct pcr_http_limits *limits, enum pcr_http_deadline kind) {
    switch (kind) {
    case PCR_HTTP_DL_HEADER:
    case PCR_HTTP_DL_BODY:
        return limits->header_timeout_ms;
    case PCR_HTTP_DL_IDLE:
        return limits->idle_timeout_ms;
    case PCR_HTTP_DL_WRITE:
        return limits->write_timeout_ms;
    default:
        return PCR_HTTP_LINGER_MS;
    }
}

static enum pcr_http_deadline wanted_deadline(const struct pcr_http_conn *conn) {
    if (conn->phase == PCR_HTTP_LINGERING)
        return PCR_HTTP_DL_LINGER;
    if (queued_bytes(conn) > 0)
        return PCR_HTTP_DL_WRITE;
    if (conn->last || conn->paused || conn->pending.len)
        return PCR_HTTP_DL_NONE;
    if (conn->phase == PCR_HTTP_IN_HEAD)
        return PCR_HTTP_DL_HEADER;
    if (conn->phase == PCR_HTTP_IN_BODY)
        return PCR_HTTP_DL_BODY;
    if (conn->n_owed > 0)
        return PCR_HTTP_DL_NONE;
    return conn->serial == 0 ? PCR_HTTP_DL_HEADER : PCR_HTTP_DL_IDLE;
}

static uint64_t progress(const struct pcr_http_conn *conn, enum pcr_http_deadline kind) {
    if (kind == PCR_HTTP_DL_BODY)
        return conn->body_bytes;
    return kind == PCR_HTTP_DL_WRITE ? conn->written_bytes - queued_bytes(conn) : 0;
}

static void start_deadline(struct pcr_http_conn *conn, enum pcr_http_deadline kind) {
    conn->deadline_kind = kind;
    pcr_list_remove(&conn->deadline);
    if (kind == PCR_HTTP_DL_NONE)
        return;
    const struct pcr_http_limits *limits = &conn->server->options.limits;
    conn->deadline_ns = now_of(conn) + pcr_http_deadline_ms(limits, kind) * PCR_NS_PER_MS;
    conn->deadline_mark = progress(conn, kind);
    conn->deadline_request = conn->serial;
    pcr_list_push_back(&conn->server->deadlines[kind], &conn->deadline);
}

// True if the peer has moved enough bytes since the deadline was set to get another one.
static bool keeps_up(const struct pcr_http_conn *conn) {
    const struct pcr_http_limits *limits = &conn->server->options.limits;
    uint64_t ms = pcr_http_deadline_ms(limits, conn->deadline_kind);
    uint64_t wanted = limits->body_rate_min * ms / 1000;
    if (conn->deadline_kind != PCR_HTTP_DL_BODY && conn->deadline_kind != PCR_HTTP_DL_WRITE)
        return false;
    return progress(conn, conn->deadline_kind) - conn->deadline_mark >= (wanted ? wanted : 1);
}

static void expire(struct pcr_http_conn *conn) {
    enum pcr_http_deadline kind = conn->deadline_kind;
    if (keeps_up(conn)) {
        start_deadline(conn, kind);
        return;
    }
    if (kind != PCR_HTTP_DL_LINGER && kind != PCR_HTTP_DL_IDLE)
        pcr_http_count(&conn->server->counters.timeouts, 1);
    bool head = kind == PCR_HTTP_DL_HEADER && conn->phase == PCR_HTTP_IN_HEAD;
    if (!head && kind != PCR_HTTP_DL_BODY) {
        pcr_http_conn_close(conn);
        return;
    }
    conn->n_requests++;
    pcr_http_conn_refuse(conn, 408,
                         head ? "the request's head did not arrive in time"
                              : "the request's body arrives too slowly");
    pcr_http_conn_settle(conn);
    conn->n_requests--;
    pcr_http_conn_unref_memory(conn);
}

void pcr_http_server_sweep(struct pcr_http_server *server, uint64_t now_ns) {
    for (size_t kind = 0; kind < PCR_HTTP_DL_COUNT; kind++) {
        struct pcr_list *list = &server->deadlines[kind];
        while (!pcr_list_empty(list)) {
            struct pcr_http_conn *conn = PCR_LIST_ENTRY(list->next, struct pcr_http_conn, deadline);
            if (conn->deadline_ns > now_ns)
                break;
            pcr_list_remove(&conn->deadline);
            expire(conn);
        }
    }
}

// --- settling -----------------------------------------------------------------------------------

static void set_reading(struct pcr_http_conn *conn, bool read) {
    if (conn->paused == !read)
        return;
    conn->paused = !read;
    if (read)
        conn->transport->resume(conn->io);
    else
        conn->transport->pause(conn->io);
}

static void start_linger(struct pcr_http_conn *conn) {
    pcr_http_conn_cut_owed(conn);
    if (conn->closed)
        return;
    if (conn->peer_ended) {
        pcr_http_conn_close(conn);
        return;
    }
    conn->phase = PCR_HTTP_LINGERING;
    if (!conn->shut)
        conn->transport->shutdown(conn->io);
    conn->shut = true;
}

static void schedule_resume(struct pcr_http_conn *conn) {
    struct pcr_http_server *server = conn->server;
    pcr_list_remove(&conn->resuming);
    pcr_list_push_back(&server->resuming, &conn->resuming);
    if (server->resume_posted)
        return;
    server->resume_posted = true;
    server->refs++;
    pcr_loop_post(server->loop, &server->resume_mail);
}

void pcr_http_conn_settle(struct pcr_http_conn *conn) {
    if (conn->closed || conn->feeding)
        return;
    size_t queued = queued_bytes(conn);
    if (conn->phase != PCR_HTTP_LINGERING && queued == 0 &&
        (conn->finishing || (conn->last && conn->n_owed == 0)))
        start_linger(conn);
    if (conn->closed)
        return;
    if (conn->peer_ended && conn->n_owed == 0 && queued == 0 && conn->pending.len == 0) {
        pcr_http_conn_close(conn);
        return;
    }
    if (conn->pending.len && queued == 0 && may_parse(conn))
        schedule_resume(conn);
    bool read = conn->phase == PCR_HTTP_LINGERING || (conn->last && queued == 0) ||
                (queued == 0 && conn->pending.len == 0 && may_parse(conn));
    set_reading(conn, read);
    enum pcr_http_deadline kind = wanted_deadline(conn);
    bool per_request =
        kind == PCR_HTTP_DL_HEADER || kind == PCR_HTTP_DL_BODY || kind == PCR_HTTP_DL_IDLE;
    if (kind != conn->deadline_kind || (per_request && conn->deadline_request != conn->serial))
        start_deadline(conn, kind);
}

// --- the transport's events ---------------------------------------------------------------------

void pcr_http_conn_ended(struct pcr_http_conn *conn, int status) {
    if (conn->closed)
        return;
    if (status < 0) {
        pcr_http_conn_close(conn);
        return;
    }
    conn->peer_ended = true;
    if (conn->phase == PCR_HTTP_LINGERING || conn->reading) { // nobody to answer, or half a request
        bool others =
            conn->phase != PCR_HTTP_LINGERING && (conn->n_owed > 0 || queued_bytes(conn) > 0);
        if (!others) {
            pcr_http_conn_close(conn);
            return;
        }
        conn->last = true;
    }
    pcr_http_conn_settle(conn);
}

void pcr_http_conn_drained(struct pcr_http_conn *conn) {
    pcr_http_conn_settle(conn);
}

void pcr_http_conn_close(struct pcr_http_conn *conn) {
    if (conn->closed)
        return;
    conn->closed = true;
    struct pcr_http_server *server = conn->server;
    if (server->out_conn == conn) {
        server->out_conn = NULL;
        pcr_buf_clear(&server->out);
    }
    pcr_list_remove(&conn->deadline);
    pcr_list_remove(&conn->resuming);
    conn->transport->close(conn->io);
    if (conn->reading)
        pcr_http_request_put(conn->reading);
    conn->reading = NULL;
    pcr_http_conn_cut_owed(conn);
}
