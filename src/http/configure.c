// SPDX-License-Identifier: Apache-2.0
#include "http/http_priv.h"

#define SWEEP_MS_MAX 250
#define SWEEP_MS_MIN 5

int pcr_http_options_check(const struct pcr_http_server_options *options, struct pacer_error *err) {
    const struct pcr_http_limits *limits = &options->limits;
    if (limits->header_bytes_max < 256 || limits->header_bytes_max > (1u << 20) ||
        limits->target_bytes_max == 0 || limits->target_bytes_max > (1u << 20))
        return pcr_err(err, PACER_EINVAL, "http",
                       "the limits of the request head are out of range: 256 bytes to 1 MiB");
    if (limits->body_bytes_max > ((size_t)1 << 31))
        return pcr_err(err, PACER_EINVAL, "http", "the limit of a body is above 2 GiB");
    if (limits->headers_max == 0 || limits->headers_max > 10000 || limits->pipelined_max == 0 ||
        limits->connections_max == 0)
        return pcr_err(err, PACER_EINVAL, "http",
                       "headers, pipelined requests and connections need a limit above 0");
    if (limits->header_timeout_ms == 0 || limits->idle_timeout_ms == 0 ||
        limits->write_timeout_ms == 0)
        return pcr_err(err, PACER_EINVAL, "http", "the timeouts must be above 0");
    return 0;
}

uint64_t pcr_http_sweep_interval_ms(const struct pcr_http_limits *limits) {
    uint64_t shortest = limits->header_timeout_ms;
    if (limits->idle_timeout_ms < shortest)
        shortest = limits->idle_timeout_ms;
    if (limits->write_timeout_ms < shortest)
        shortest = limits->write_timeout_ms;
    uint64_t interval = shortest / 4;
    if (interval > SWEEP_MS_MAX)
        return SWEEP_MS_MAX;
    return interval < SWEEP_MS_MIN ? SWEEP_MS_MIN : interval;
}

// Deadlines of a kind are listed in the order of time because all have one length; moving all of
// them by the same amount keeps that.
static void move_deadlines(struct pcr_http_server *server, const struct pcr_http_limits *old) {
    for (size_t kind = 0; kind < PCR_HTTP_DL_COUNT; kind++) {
        uint64_t before = pcr_http_deadline_ms(old, (enum pcr_http_deadline)kind);
        uint64_t after =
            pcr_http_deadline_ms(&server->options.limits, (enum pcr_http_deadline)kind);
        PCR_LIST_FOR_EACH_SAFE(node, next, &server->deadlines[kind]) {
            struct pcr_http_conn *conn = PCR_LIST_ENTRY(node, struct pcr_http_conn, deadline);
            conn->deadline_ns = conn->deadline_ns - before * PCR_NS_PER_MS + after * PCR_NS_PER_MS;
        }
    }
}

void pcr_http_server_configure(struct pcr_http_server *server,
                               const struct pcr_http_server_options *options) {
    PCR_ASSERT(options->handler && pcr_http_options_check(options, NULL) == 0);
    struct pcr_http_limits old = server->options.limits;
    server->options = *options;
    move_deadlines(server, &old);
    if (old.gzip_level != options->limits.gzip_level)
        pcr_http_deflate_fini(server); // made anew, at the new level, when wanted
    uint64_t interval_ms = pcr_http_sweep_interval_ms(&options->limits);
    pcr_timer_start(server->sweep, interval_ms, interval_ms);
}
