// SPDX-License-Identifier: Apache-2.0
#include "server/access_log.h"

#include "json/json.h"

#include <stdlib.h>

#define BLOCK_BYTES (32u << 10)
#define LINE_BYTES_MAX (32u << 10) // targets and header values are capped by the http room
#define FLUSH_AFTER_MS 200

struct pcr_access_log {
    struct pcr_buf buf;
    struct pcr_timer *timer;
    bool scheduled;
};

static void flush(void *ctx) {
    struct pcr_access_log *log = ctx;
    if (log->buf.len)
        pcr_log_access_line(log->buf.data, log->buf.len);
    pcr_buf_clear(&log->buf);
    log->scheduled = false;
}

struct pcr_access_log *pcr_access_log_create(struct pcr_loop *loop) {
    struct pcr_access_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    pcr_buf_init(&log->buf, BLOCK_BYTES + LINE_BYTES_MAX);
    log->timer = pcr_timer_create(loop, flush, log);
    if (!log->timer) {
        free(log);
        return NULL;
    }
    return log;
}

void pcr_access_log_destroy(struct pcr_access_log *log) {
    if (!log)
        return;
    flush(log);
    pcr_timer_destroy(log->timer);
    pcr_buf_fini(&log->buf);
    free(log);
}

static void write_line(struct pcr_buf *buf, const struct pcr_http_access *access) {
    const struct pcr_http_request *request = access->request;
    char now[25];
    pcr_clock_rfc3339(pcr_clock_real_ns(), now);
    struct pcr_json_writer json;
    pcr_json_writer_init(&json, buf);
    pcr_json_object_begin(&json);
    pcr_json_key(&json, "time");
    pcr_json_text(&json, now);
    pcr_json_key(&json, "id");
    pcr_json_string(&json, request->id);
    pcr_json_key(&json, "peer");
    pcr_json_text(&json, request->peer);
    pcr_json_key(&json, "method");
    pcr_json_string(&json, request->method_name);
    pcr_json_key(&json, "path");
    pcr_json_string(&json, request->path);
    pcr_json_key(&json, "status");
    pcr_json_i64(&json, access->status);
    pcr_json_key(&json, "request_bytes");
    pcr_json_u64(&json, request->body.len);
    pcr_json_key(&json, "response_bytes");
    pcr_json_u64(&json, access->body_bytes);
    pcr_json_key(&json, "duration_us");
    pcr_json_u64(&json, access->duration_ns / PCR_NS_PER_US);
    pcr_json_object_end(&json);
    pcr_buf_char(buf, '\n');
}

void pcr_access_log_add(struct pcr_access_log *log, const struct pcr_http_access *access) {
    size_t before = log->buf.len;
    write_line(&log->buf, access);
    // Cannot happen with the http room's caps; a lost line is better than half a line.
    if (log->buf.failed) {
        log->buf.failed = false;
        log->buf.len = before;
    }
    if (log->buf.len >= BLOCK_BYTES) {
        flush(log);
    } else if (!log->scheduled) {
        log->scheduled = true;
        pcr_timer_start(log->timer, FLUSH_AFTER_MS, 0);
    }
}
