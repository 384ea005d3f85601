// SPDX-License-Identifier: Apache-2.0
// What the files of the http room show each other
// (and the fuzz target, which brings its own transport).
#ifndef PCR_HTTP_PRIV_H
#define PCR_HTTP_PRIV_H

#include "http/server.h"

#include <llhttp.h>
#include <stdatomic.h>
#define ZLIB_CONST // zlib's input is const
#include <zlib.h>

#define PCR_HTTP_ENCODE_BYTES_MAX \
    (1u << 20)                   // compressing more would hold the loop up for over 10 ms
#define PCR_HTTP_REFUSING_MAX 64 // connections above the limit that still get their 503
#define PCR_HTTP_LINGER_MS 2000
#define PCR_HTTP_LINGER_BYTES_MAX (1u << 20)

struct pcr_http_request_priv;

// Where a connection's bytes go. The fuzz target and tests put a sink without sockets here.
struct pcr_http_transport {
    int64_t (*write)(void *io, const struct pcr_str *parts, size_t n_parts); // as pcr_stream_write
    size_t (*queued)(void *io);
    void (*pause)(void *io);
    void (*resume)(void *io);
    void (*shutdown)(void *io);
    // Calls pcr_http_conn_closed later, never before it returns.
    void (*close)(void *io);
};

// Which deadline a connection is under; each kind has one list ordered by time, since each has one
// fixed length.
enum pcr_http_deadline {
    PCR_HTTP_DL_HEADER,
    PCR_HTTP_DL_BODY,
    PCR_HTTP_DL_IDLE,
    PCR_HTTP_DL_WRITE,
    PCR_HTTP_DL_LINGER,
    PCR_HTTP_DL_COUNT,
    PCR_HTTP_DL_NONE = PCR_HTTP_DL_COUNT,
};

enum pcr_http_phase {
    PCR_HTTP_BETWEEN, // no byte of a request yet
    PCR_HTTP_IN_HEAD,
    PCR_HTTP_IN_BODY,
    PCR_HTTP_LINGERING, // the last answer is out; the peer's remaining bytes are thrown away
};

enum pcr_http_coding { PCR_HTTP_IDENTITY, PCR_HTTP_GZIP, PCR_HTTP_DEFLATE };

struct pcr_http_peer {
    size_t connections;
};

struct pcr_http_conn {
    struct pcr_http_server *server;
    const struct pcr_http_transport *transport;
    void *io;
    struct pcr_list node;     // in server->conns
    struct pcr_list deadline; // in server->deadlines[deadline_kind]
    struct pcr_list resuming; // in server->resuming
    enum pcr_http_deadline deadline_kind;
    uint64_t deadline_ns;
    uint64_t deadline_mark;    // bytes at the time it was set: progress is measured against it
    uint64_t deadline_request; // which request it was set for

    llhttp_t parser;
    enum pcr_http_phase phase;
    struct pcr_http_request_priv *reading; // not yet whole
    struct pcr_list owed;                  // requests that wait for their answer, in order
    size_t n_owed;
    size_t n_requests; // of the owed ones and those cut off: they keep the connection's memory
    uint64_t serial;   // requests begun

    // Positions on the wire, for rules about what stands between the tokens.
    const char *chunk;    // being parsed
    uint64_t chunk_start; // wire position of its first byte
    uint64_t head_start, target_start, target_end;
    uint64_t body_bytes; // as received, of the request under way
    uint64_t lingered, written_bytes;
    size_t extension_bytes, trailer_bytes;

    struct pcr_buf pending; // received while the connection was not to be parsed on
    uint64_t read_ns;       // when the bytes under way were read
    uint64_t arrived_ns;    // the earliest moment at which they can have come

    bool feeding;   // in pcr_http_conn_feed, which flushes and settles at its end
    bool paused;    // the transport reads nothing
    bool last;      // no further request is read
    bool finishing; // the last answer has been written
    bool shut;
    bool peer_ended, closed, transport_gone;
    bool want_continue;

    // A refusal found inside a parser callback, sent after the parser has returned.
    int refuse_status;
    char refuse_message[160];

    struct pcr_http_peer *peer_count;
    char peer[64];
};

struct pcr_http_offsets {
    uint32_t name, name_len, value, value_len;
};

struct pcr_http_request_priv {
    struct pcr_http_request pub; // first: a request is cast to this
    struct pcr_http_conn *conn;
    struct pcr_list node; // in conn->owed, or the server's free list
    struct pcr_buf head;  // method, target, names and values one after another
    struct pcr_buf body;
    struct pcr_http_offsets *offsets;
    size_t offsets_cap, n_offsets;
    uint32_t method_len, target_len, version_len;
    bool value_seen; // of the newest header
    bool in_head;

    // What the head says.
    uint8_t minor;
    bool keep_alive, has_length, chunked;
    uint64_t length;
    size_t body_bytes_max; // of this path
    size_t charged_bytes;  // of server->body_memory_bytes
    enum pcr_http_coding body_coding;
    z_stream *inflate;
    bool inflate_end;  // the compressed stream is whole
    bool accept_named; // a coding by name, not by "*"
    enum pcr_http_coding accept_best;
    struct pcr_str host, origin, preflight_method, preflight_headers;

    bool cut;   // the connection is gone or finished: the answer is dropped
    bool ready; // the answer waits for those before it
    bool replied;
    struct pcr_http_reply reply;
    char id[PCR_UUID_TEXT_BYTES];
};

// Written by the loop's own thread alone, read by any.
struct pcr_http_counters {
    _Atomic uint64_t requests, connections_open, connections_total, refused, timeouts;
};

struct pcr_http_server {
    struct pcr_loop *loop;
    struct pcr_http_server_options options;
    llhttp_settings_t settings;
    struct pcr_timer *sweep;
    struct pcr_list conns;
    struct pcr_list deadlines[PCR_HTTP_DL_COUNT];
    struct pcr_list resuming;
    struct pcr_mail resume_mail;
    bool resume_posted;
    struct pcr_list free_requests;
    size_t n_free_requests;
    struct pcr_map peers;
    struct pcr_listener **listeners;
    size_t n_listeners;
    size_t refs;              // connections, the letter, and one until destroy
    size_t n_conns;           // whose memory is still there, as requests refer to them
    size_t body_memory_bytes; // in the bodies of all requests, those at work included
    struct pcr_http_counters counters;

    // Answers gathered for one connection, written at once.
    struct pcr_buf out;
    struct pcr_http_conn *out_conn;
    struct pcr_buf encoded;
    z_stream *deflates[3]; // by coding, made when first wanted

    uint64_t date_ns; // monotonic, of the text
    uint64_t date_real_ns;
    char date[30];

    bool draining, drain_idle_closed, cut;
    struct pcr_timer *drain_timer;
    uint64_t drain_grace_ms;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

// A relaxed load and store, no locked instruction: only the loop's thread writes.
static inline void pcr_http_count(_Atomic uint64_t *counter, uint64_t more) {
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + more, memory_order_relaxed);
}

static inline struct pcr_http_request_priv *pcr_http_priv(struct pcr_http_request *request) {
    return (struct pcr_http_request_priv *)(void *)request;
}

// --- server.c
struct pcr_http_request_priv *pcr_http_request_get(struct pcr_http_conn *conn);
void pcr_http_request_put(struct pcr_http_request_priv *request);
void pcr_http_server_unref(struct pcr_http_server *server);
// NULL when memory is out. `peer` is copied.
struct pcr_http_conn *pcr_http_conn_create(struct pcr_http_server *server,
                                           const struct pcr_http_transport *transport, void *io,
                                           const char *peer);
// Frees it if the transport is gone and no request refers to it.
void pcr_http_conn_unref_memory(struct pcr_http_conn *conn);
void pcr_http_server_check_drained(struct pcr_http_server *server);
// How long a deadline of that kind is.
uint64_t pcr_http_deadline_ms(const struct pcr_http_limits *limits, enum pcr_http_deadline kind);
uint64_t pcr_http_sweep_interval_ms(const struct pcr_http_limits *limits);
// Cuts what is past its deadline. The sweep timer calls it.
void pcr_http_server_sweep(struct pcr_http_server *server, uint64_t now_ns);
// Goes on with the connections that have bytes left and may be parsed again.
void pcr_http_server_resume(struct pcr_http_server *server);

// --- conn.c
void pcr_http_conn_feed(struct pcr_http_conn *conn, const char *bytes, size_t size);
void pcr_http_conn_ended(struct pcr_http_conn *conn, int status);
void pcr_http_conn_drained(struct pcr_http_conn *conn);
void pcr_http_conn_closed(struct pcr_http_conn *conn); // the transport's last call
void pcr_http_conn_close(struct pcr_http_conn *conn);
void pcr_http_conn_refuse(struct pcr_http_conn *conn, int status, const char *message);
// Brings reading, deadlines and closing in line with the connection's state.
void pcr_http_conn_settle(struct pcr_http_conn *conn);
void pcr_http_conn_continue(struct pcr_http_conn *conn);
void pcr_http_conn_cut_owed(struct pcr_http_conn *conn);
bool pcr_http_conn_idle(const struct pcr_http_conn *conn);

// --- parse.c
void pcr_http_parse_settings(llhttp_settings_t *settings);
// Notes a refusal and returns what the parser takes for "stop".
int pcr_http_refuse_later(struct pcr_http_conn *conn, int status, const char *message);
// The refusal that fits an error of the parser itself.
void pcr_http_parse_failed(struct pcr_http_conn *conn, llhttp_errno_t code, const char *at,
                           const char *end);

// --- head.c
// Reads the whole head; 0, or the status of the refusal whose text is in *message.
int pcr_http_head_read(struct pcr_http_conn *conn, struct pcr_http_request_priv *request,
                       const char **message);

// --- target.c
// Splits the target into path and query (in place). 0 or a status, as above.
int pcr_http_target_read(struct pcr_http_request_priv *request, struct pcr_str target,
                         const char **message);
bool pcr_http_authority_valid(struct pcr_str authority);

// --- reply.c
void pcr_http_reply_ready(struct pcr_http_conn *conn);
void pcr_http_out_flush(struct pcr_http_conn *conn);
// If a client waits for leave to send its body, and no answer has to go first.
void pcr_http_send_continue(struct pcr_http_conn *conn);
void pcr_http_refresh_date(struct pcr_http_server *server, uint64_t now_ns);

// --- encoding.c
bool pcr_http_coding_read(struct pcr_str value, enum pcr_http_coding *out);
void pcr_http_accept_encoding_read(struct pcr_str value, struct pcr_http_request_priv *request);
// 0, or the status of a refusal.
int pcr_http_inflate(struct pcr_http_request_priv *request, size_t body_bytes_max,
                     const char *bytes, size_t size, const char **message);
int pcr_http_inflate_finish(struct pcr_http_request_priv *request, const char **message);
// Compresses into server->encoded; false: send it as it is.
bool pcr_http_deflate(struct pcr_http_server *server, enum pcr_http_coding coding,
                      const struct pcr_http_reply *reply);
void pcr_http_deflate_fini(struct pcr_http_server *server);

// --- cors.c
// Answers a preflight; false if the request is none.
bool pcr_http_cors_preflight(struct pcr_http_request_priv *request);
void pcr_http_cors_headers(struct pcr_http_request_priv *request, struct pcr_buf *out);
bool pcr_http_cors_varies(const struct pcr_http_server *server);

#endif
