// SPDX-License-Identifier: Apache-2.0
// Bytes through a whole connection without a socket. The first byte chooses how they arrive and how
// the handler answers; whatever comes, nothing may crash, leak or be answered twice, and the body's
// limit holds.
#include "../unit/http_sink.h"

#define BODY_BYTES_MAX 4096
#define LATE_MAX 8

static struct pcr_loop *loop;
static struct pcr_http_server *server;
static uint8_t mode;
static struct pcr_http_request *late[LATE_MAX];
static size_t n_late;

static void answer(struct pcr_http_request *request) {
    static char big[20000];
    struct pcr_http_header header = {PCR_STR("X-Echo"), request->query};
    struct pcr_http_reply reply = {.status = request->path.len % 7 == 6 ? 204 : 200,
                                   .content_type = "application/json",
                                   .body = request->body,
                                   .headers = &header,
                                   .n_headers = 1};
    if (mode & 4)
        reply.body_more = (struct pcr_str){big, sizeof big};
    pcr_http_reply(request, &reply);
}

static void handle(void *ctx, struct pcr_http_request *request) {
    (void)ctx;
    PCR_ASSERT(request->body.len <= BODY_BYTES_MAX && request->path.len > 0 && request->id.len > 0);
    PCR_ASSERT(!memchr(request->path.ptr, '\0', request->path.len));
    for (size_t i = 0; i < request->n_headers; i++) {
        const struct pcr_http_header *header = &request->headers[i];
        PCR_ASSERT(header->name.len > 0 && !memchr(header->value.ptr, '\n', header->value.len));
    }
    if ((mode & 8) && n_late < LATE_MAX)
        late[n_late++] = request;
    else
        answer(request);
}

static void answer_late(void) {
    while (n_late > 0)
        answer(late[--n_late]); // the newest first: answers have to wait for their turn
    pcr_http_server_resume(server);
}

static void set_up(void) {
    static const char *const origins[] = {"http://a", "http://b"};
    struct pcr_http_server_options options = {
        .limits = PCR_HTTP_LIMITS_DEFAULT,
        .cors = {.origins = origins, .n_origins = 2, .max_age_s = 60},
        .handler = handle,
        .server_name = "fuzz"};
    options.limits.body_bytes_max = BODY_BYTES_MAX;
    options.limits.header_bytes_max = 2048;
    options.limits.target_bytes_max = 512;
    options.limits.pipelined_max = 4;
    options.limits.gzip_bytes_min = 16;
    int rc = pcr_loop_create(&loop, NULL);
    PCR_ASSERT(rc == 0);
    rc = pcr_http_server_create(loop, &options, &server, NULL);
    PCR_ASSERT(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t steps[] = {SIZE_MAX, 1, 3, 64};
    if (!server)
        set_up();
    if (size == 0)
        return 0;
    mode = data[0];
    struct http_sink sink;
    http_sink_open(&sink, server);
    const char *bytes = (const char *)data + 1;
    size_t left = size - 1, step = steps[mode & 3];
    while (left > 0 && !sink.closing) {
        size_t n = left < step ? left : step;
        if (sink.paused) { // what holds reading up are the answers
            PCR_ASSERT(n_late > 0);
            answer_late();
            continue;
        }
        http_sink_feed(&sink, bytes, n, SIZE_MAX);
        bytes += n;
        left -= n;
    }
    if (mode & 16)
        pcr_http_server_sweep(server, UINT64_MAX);
    if ((mode & 32) && !sink.closing)
        pcr_http_conn_ended(sink.conn, 0);
    if (mode & 64)
        answer_late();
    http_sink_close_now(&sink);
    answer_late();
    struct pcr_http_server_stats stats;
    pcr_http_server_stats(server, &stats);
    PCR_ASSERT(stats.connections_open == 0 && server->n_conns == 0);
    return 0;
}
