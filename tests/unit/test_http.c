// SPDX-License-Identifier: Apache-2.0
// The server over real sockets: pipelining, late answers, codings, CORS, deadlines, caps, broken
// peers, draining.
#include "test.h"

#include "http_net.h"

#define HOST "Host: a\r\n"

static char big_body[300000];
static struct pcr_http_request *parked[64];
static size_t n_parked, n_aborted, n_handled;
static size_t last_body_len;

static void reply_text(struct pcr_http_request *request, int status, struct pcr_str body) {
    struct pcr_http_reply reply = {
        .status = status, .content_type = "application/json", .body = body};
    pcr_http_reply(request, &reply);
}

static void on_aborted(struct pcr_http_request *request) {
    n_aborted++;
    for (size_t i = 0; i < n_parked; i++) {
        if (parked[i] == request)
            parked[i] = parked[--n_parked];
    }
    reply_text(request, 200, PCR_STR("late"));
}

static void park(struct pcr_http_request *request) {
    request->aborted = on_aborted;
    parked[n_parked++] = request;
}

static void reply_headers(struct pcr_http_request *request) {
    struct pcr_http_header headers[] = {{PCR_STR("Allow"), PCR_STR("GET, HEAD")},
                                        {PCR_STR("X-Evil"), PCR_STR("a\r\nInjected: b")}};
    struct pcr_http_reply reply = {.status = 405,
                                   .content_type = "application/json",
                                   .body = PCR_STR("{\"error\":\"Method Not Allowed\"}"),
                                   .headers = headers,
                                   .n_headers = 2};
    pcr_http_reply(request, &reply);
}

static void handle(void *ctx, struct pcr_http_request *request) {
    (void)ctx;
    n_handled++;
    last_body_len = request->body.len;
    struct pcr_str path = request->path;
    if (pcr_str_eq(path, PCR_STR("/park"))) {
        park(request);
    } else if (pcr_str_eq(path, PCR_STR("/big"))) {
        reply_text(request, 200, (struct pcr_str){big_body, sizeof big_body});
    } else if (pcr_str_eq(path, PCR_STR("/empty"))) {
        reply_text(request, 204, PCR_STR(""));
    } else if (pcr_str_eq(path, PCR_STR("/headers"))) {
        reply_headers(request);
    } else if (pcr_str_eq(path, PCR_STR("/echo"))) {
        reply_text(request, 200, request->body);
    } else if (pcr_str_eq(path, PCR_STR("/two"))) {
        struct pcr_http_reply reply = {.status = 200,
                                       .content_type = "application/octet-stream",
                                       .body = {big_body, 1000},
                                       .body_more = {big_body + 1000, 19000}};
        pcr_http_reply(request, &reply);
    } else {
        reply_text(request, 200, path);
    }
}

static struct pcr_http_server_options default_options(void) {
    n_parked = n_aborted = n_handled = 0;
    return (struct pcr_http_server_options){.limits = PCR_HTTP_LIMITS_DEFAULT, .handler = handle};
}

// Newest first, to see that the order is kept.
static void answer_parked(struct http_net *net) {
    (void)net;
    while (n_parked > 0) {
        struct pcr_http_request *request = parked[--n_parked];
        request->aborted = NULL;
        reply_text(request, 200, request->query);
    }
}

static size_t count_parked;
static void read_parked(struct http_net *net) {
    (void)net;
    count_parked = n_parked;
}

static void wait_for_parked(struct http_net *net, size_t n) {
    for (int i = 0; i < 2000; i++) {
        http_net_call(net, read_parked);
        if (count_parked >= n)
            return;
        usleep(1000);
    }
    fail_msg("%zu of %zu requests came to the handler", count_parked, n);
}

struct talk {
    struct http_net net;
    struct pcr_buf buf;
    int fd;
};

static void talk_start(struct talk *talk, const struct pcr_http_server_options *options) {
    http_net_start(&talk->net, options);
    pcr_buf_init(&talk->buf, (size_t)64 << 20);
    talk->fd = http_net_connect(&talk->net);
}

static void talk_stop(struct talk *talk) {
    if (talk->fd >= 0)
        close(talk->fd);
    http_net_stop(&talk->net);
    pcr_buf_fini(&talk->buf);
}

static int ask(struct talk *talk, const char *text) {
    http_net_say(talk->fd, text);
    return http_net_read_answer(talk->fd, &talk->buf, strncmp(text, "HEAD", 4) == 0);
}

static const char *body_of(const struct talk *talk) {
    const char *end = strstr(talk->buf.data, "\r\n\r\n");
    return end ? end + 4 : "";
}

static bool has(const struct talk *talk, const char *text) {
    return strstr(talk->buf.data, text) != NULL;
}

static void answers_carry_what_they_should(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.server_name = "pacer-test";
    struct talk talk;
    talk_start(&talk, &options);
    assert_int_equal(ask(&talk, "GET /a%20b?c HTTP/1.1\r\n" HOST "X-Request-Id: r/1\r\n\r\n"), 200);
    assert_string_equal(body_of(&talk), "/a b");
    assert_true(has(&talk, "\r\nX-Request-Id: r/1\r\n") &&
                has(&talk, "\r\nServer: pacer-test\r\n"));
    assert_true(has(&talk, "\r\nDate: ") && has(&talk, " GMT\r\n") && !has(&talk, "Connection:"));
    assert_int_equal(ask(&talk, "HEAD /abc HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n"), 200);
    assert_true(has(&talk, "\r\nContent-Length: 4\r\n") && !has(&talk, "X-Request-Id: a b"));
    assert_int_equal(ask(&talk, "GET /empty HTTP/1.1\r\n" HOST "\r\n"), 204);
    assert_false(has(&talk, "Content-Length"));
    assert_int_equal(ask(&talk, "PUT /headers HTTP/1.1\r\n" HOST "\r\n"), 405);
    assert_true(has(&talk, "\r\nAllow: GET, HEAD\r\n"));
    assert_true(has(&talk, "\r\nX-Evil: a  Injected: b\r\n"));
    assert_int_equal(ask(&talk, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
    assert_true(has(&talk, "\r\nConnection: keep-alive\r\n"));
    assert_int_equal(ask(&talk, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"), 200);
    assert_true(has(&talk, "\r\nConnection: close\r\n"));
    assert_true(http_net_read_all(talk.fd, &talk.buf));
    talk_stop(&talk);
}

static void large_answers_arrive_whole(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.gzip_level = 0;
    struct talk talk;
    talk_start(&talk, &options);
    for (size_t i = 0; i < sizeof big_body; i++)
        big_body[i] = (char)('a' + i % 23);
    for (int i = 0; i < 20; i++)
        http_net_say(talk.fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
        assert_memory_equal(body_of(&talk), big_body, sizeof big_body);
    }
    assert_int_equal(ask(&talk, "GET /two HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_memory_equal(body_of(&talk), big_body, 20000);
    talk_stop(&talk);
}

static void late_answers_keep_the_order(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.pipelined_max = 4;
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd,
                 "GET /park?1 HTTP/1.1\r\n" HOST "\r\nGET /now HTTP/1.1\r\n" HOST
                 "\r\nGET /park?3 HTTP/1.1\r\n" HOST "\r\nGET /park?4 HTTP/1.1\r\n" HOST
                 "\r\nGET /fifth HTTP/1.1\r\n" HOST "\r\nGET /sixth HTTP/1.1\r\n" HOST "\r\n");
    wait_for_parked(&talk.net, 3);
    http_net_call(&talk.net, answer_parked);
    static const char *const bodies[] = {"1", "/now", "3", "4", "/fifth", "/sixth"};
    for (size_t i = 0; i < PCR_COUNT_OF(bodies); i++) {
        assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
        assert_string_equal(body_of(&talk), bodies[i]);
    }
    // A refusal waits for its turn, too.
    http_net_say(talk.fd, "GET /park?7 HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n\r\n");
    wait_for_parked(&talk.net, 1);
    http_net_call(&talk.net, answer_parked);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 400);
    talk_stop(&talk);
}

static void a_half_closed_peer_is_answered(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "GET /park?x HTTP/1.1\r\n" HOST "\r\n");
    shutdown(talk.fd, SHUT_WR);
    wait_for_parked(&talk.net, 1);
    http_net_call(&talk.net, answer_parked);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_true(http_net_read_all(talk.fd, &talk.buf));
    talk_stop(&talk);
}

static size_t aborted_seen;
static void read_aborted(struct http_net *net) {
    (void)net;
    aborted_seen = n_aborted;
}

static void a_broken_peer_aborts_its_requests(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "GET /park HTTP/1.1\r\n" HOST "\r\nGET /park HTTP/1.1\r\n" HOST "\r\n");
    wait_for_parked(&talk.net, 2);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(talk.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(talk.fd);
    talk.fd = -1;
    aborted_seen = 0;
    for (int i = 0; i < 2000 && aborted_seen < 2; i++) {
        http_net_call(&talk.net, read_aborted);
        usleep(1000);
    }
    assert_int_equal(aborted_seen, 2);
    assert_int_equal(http_net_stats(&talk.net).connections_open, 0);
    talk_stop(&talk);
}

static void expect_continue_is_answered(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "POST /echo HTTP/1.1\r\n" HOST
                          "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, true), 100);
    assert_int_equal(ask(&talk, "hello"), 200);
    assert_string_equal(body_of(&talk), "hello");
    // Behind an answer that is still owed it has to wait.
    http_net_say(talk.fd, "GET /park?p HTTP/1.1\r\n" HOST "\r\nPOST /echo HTTP/1.1\r\n" HOST
                          "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    wait_for_parked(&talk.net, 1);
    http_net_call(&talk.net, answer_parked);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, true), 100);
    assert_int_equal(ask(&talk, "hi"), 200);
    // A body that comes along needs no leave.
    assert_int_equal(ask(&talk, "POST /echo HTTP/1.1\r\n" HOST
                                "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
                     200);
    // A body that is too large is refused before it is sent.
    http_net_say(talk.fd, "POST /echo HTTP/1.1\r\n" HOST
                          "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 413);
    talk_stop(&talk);
}

// --- codings ------------------------------------------------------------------------------------

static size_t pack(int window, const void *in, size_t n, void *out, size_t out_bytes) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (const Bytef *)in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)out_bytes;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return out_bytes - z.avail_out;
}

static void send_packed(struct talk *talk, const char *coding, const void *bytes, size_t n) {
    char head[200];
    snprintf(head, sizeof head,
             "POST /echo HTTP/1.1\r\n" HOST "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
             coding, n);
    http_net_say(talk->fd, head);
    http_net_send(talk->fd, bytes, n);
}

static void request_bodies_are_decompressed(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.body_bytes_max = sizeof big_body;
    options.limits.gzip_level = 0;
    struct talk talk;
    talk_start(&talk, &options);
    static char packed[400000];
    size_t n = pack(31, big_body, sizeof big_body, packed, sizeof packed);
    send_packed(&talk, "gzip", packed, n);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_memory_equal(body_of(&talk), big_body, sizeof big_body);
    n = pack(15, "hello", 5, packed, sizeof packed);
    send_packed(&talk, "DEFLATE", packed, n);
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_string_equal(body_of(&talk), "hello");
    n = pack(31, "hello", 5, packed, sizeof packed);
    size_t m = pack(31, " you", 4, packed + n, sizeof packed - n);
    send_packed(&talk, "x-gzip", packed, n + m); // two members
    assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), 200);
    assert_string_equal(body_of(&talk), "hello you");
    talk_stop(&talk);
}

static void bombs_and_broken_streams_are_refused(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.body_bytes_max = 100000;
    const struct {
        int window;
        const char *coding;
        size_t size;
        size_t cut;
        int status;
    } cases[] = {
        {31, "gzip", 100000, 0, 200}, {31, "gzip", 100001, 0, 413}, {15, "deflate", 300000, 0, 413},
        {31, "gzip", 5000, 3, 400},   {15, "gzip", 5000, 0, 400},   {-15, "deflate", 5000, 0, 400},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct talk talk;
        talk_start(&talk, &options);
        static char packed[400000];
        size_t n = pack(cases[i].window, big_body, cases[i].size, packed, sizeof packed);
        send_packed(&talk, cases[i].coding, packed, n - cases[i].cut);
        assert_int_equal(http_net_read_answer(talk.fd, &talk.buf, false), cases[i].status);
        talk_stop(&talk);
    }
}

static size_t unpack(int window, const char *in, size_t n, char *out, size_t out_bytes) {
    z_stream z = {0};
    assert_int_equal(inflateInit2(&z, window), Z_OK);
    z.next_in = (const Bytef *)in;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)out_bytes;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    return out_bytes - z.avail_out;
}

static void answers_are_compressed_as_the_client_wants(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    const struct {
        const char *accept;
        int window; // 0: as it is
    } cases[] = {
        {"gzip", 31},
        {"deflate", 15},
        {"gzip, deflate, br", 31},
        {"gzip;q=0.2, deflate;q=0.9", 15},
        {"gzip;q=0, deflate", 15},
        {"*", 31},
        {"gzip;q=0, *;q=0.5", 15},
        {"gzip;q=0.5, identity;q=1", 0},
        {"identity", 0},
        {"gzip;q=0", 0},
        {"*;q=0", 0},
        {"br", 0},
        {"", 0},
        {"gzip;q=2", 0},
        {"gzip ; q=1.000 ,", 31},
    };
    static char plain[sizeof big_body + 1];
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char request[200];
        snprintf(request, sizeof request,
                 "GET /big HTTP/1.1\r\n" HOST "Accept-Encoding: %s\r\n\r\n", cases[i].accept);
        assert_int_equal(ask(&talk, request), 200);
        assert_true(has(&talk, "\r\nVary: Accept-Encoding\r\n"));
        size_t n = talk.buf.len - (size_t)(body_of(&talk) - talk.buf.data);
        if (cases[i].window) {
            assert_true(has(&talk, cases[i].window == 31 ? "\r\nContent-Encoding: gzip\r\n"
                                                         : "\r\nContent-Encoding: deflate\r\n"));
            n = unpack(cases[i].window, body_of(&talk), n, plain, sizeof plain);
            assert_memory_equal(plain, big_body, sizeof big_body);
        }
        assert_int_equal(n, sizeof big_body);
    }
    // Tensors only for those who name a coding; short answers never.
    assert_int_equal(ask(&talk, "GET /two HTTP/1.1\r\n" HOST "Accept-Encoding: *\r\n\r\n"), 200);
    assert_false(has(&talk, "Content-Encoding"));
    assert_int_equal(ask(&talk, "GET /two HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n"), 200);
    size_t n = talk.buf.len - (size_t)(body_of(&talk) - talk.buf.data);
    assert_int_equal(unpack(31, body_of(&talk), n, plain, sizeof plain), 20000);
    assert_int_equal(ask(&talk, "GET /x HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n"), 200);
    assert_false(has(&talk, "Content-Encoding") || has(&talk, "Vary"));
    talk_stop(&talk);
}

static void cors_answers_preflights_and_marks_answers(void **state) {
    (void)state;
    static const char *const origins[] = {"https://app.example", "http://localhost:3000"};
    struct pcr_http_server_options options = default_options();
    options.cors = (struct pcr_http_cors){origins, 2, 600};
    struct talk talk;
    talk_start(&talk, &options);
    assert_int_equal(ask(&talk,
                         "OPTIONS /x HTTP/1.1\r\n" HOST
                         "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"
                         "Access-Control-Request-Headers: content-type, x-a\r\n\r\n"),
                     204);
    assert_true(has(&talk, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
    assert_true(has(&talk, "\r\nAccess-Control-Allow-Headers: content-type, x-a\r\n"));
    assert_true(has(&talk, "\r\nAccess-Control-Max-Age: 600\r\n") &&
                has(&talk, "\r\nVary: Origin\r\n"));
    assert_int_equal(n_handled, 0);
    assert_int_equal(ask(&talk,
                         "OPTIONS /x HTTP/1.1\r\n" HOST
                         "Origin: https://evil\r\nAccess-Control-Request-Method: POST\r\n\r\n"),
                     204);
    assert_false(has(&talk, "Access-Control"));
    assert_int_equal(ask(&talk, "GET /x HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n\r\n"),
                     200);
    assert_true(has(&talk, "\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n"));
    assert_true(has(&talk, "Expose-Headers: X-Request-Id, Inference-Header-Content-Length, Age, "
                           "Cache-Status, X-Pacer-Cache\r\n"));
    assert_int_equal(ask(&talk, "OPTIONS /y HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_string_equal(body_of(&talk), "/y");
    talk_stop(&talk);
}

// --- deadlines and caps -------------------------------------------------------------------------

static struct pcr_http_server_options hasty_options(void) {
    struct pcr_http_server_options options = default_options();
    options.limits.header_timeout_ms = 150;
    options.limits.idle_timeout_ms = 150;
    options.limits.write_timeout_ms = 200;
    return options;
}

static int read_to_the_end(struct talk *talk) {
    pcr_buf_clear(&talk->buf);
    assert_true(http_net_read_all(talk->fd, &talk->buf));
    return talk->buf.len > 12 ? atoi(talk->buf.data + 9) : 0;
}

static void slow_peers_are_cut_off(void **state) {
    (void)state;
    const struct {
        const char *text;
        int status; // 0: closed without a word
    } cases[] = {
        {"", 0},
        {"GET / HTTP/1.1\r\n", 408},
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 200}, // and then idle
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc", 408},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n000", 408},
    };
    struct pcr_http_server_options options = hasty_options();
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct talk talk;
        talk_start(&talk, &options);
        http_net_say(talk.fd, cases[i].text);
        assert_int_equal(read_to_the_end(&talk), cases[i].status);
        assert_int_equal(http_net_stats(&talk.net).timeouts, cases[i].status == 200 ? 0 : 1);
        talk_stop(&talk);
    }
}

static void drip_feeding_a_head_does_not_help(void **state) {
    (void)state;
    struct pcr_http_server_options options = hasty_options();
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "GET / HTTP/1.1\r\n");
    uint64_t start_ns = pcr_clock_mono_ns();
    for (int i = 0; i < 20; i++) {
        http_net_say(talk.fd, "A: b\r\n");
        usleep(20000);
    }
    assert_int_equal(read_to_the_end(&talk), 408);
    assert_true(pcr_clock_mono_ns() - start_ns < 20 * PCR_NS_PER_S);
    talk_stop(&talk);
}

static void a_peer_that_does_not_read_is_cut_off(void **state) {
    (void)state;
    struct pcr_http_server_options options = hasty_options();
    options.limits.gzip_level = 0;
    struct talk talk;
    talk_start(&talk, &options);
    for (int i = 0; i < 100; i++)
        http_net_say(talk.fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    uint64_t cut = 0;
    for (int i = 0; i < 5000 && cut == 0; i++) {
        cut = http_net_stats(&talk.net).timeouts;
        usleep(1000);
    }
    assert_int_equal(cut, 1);
    assert_true(http_net_stats(&talk.net).requests < 100); // it was not read on either
    talk_stop(&talk);
}

static void connections_are_capped(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.connections_max = 2;
    struct talk talk;
    talk_start(&talk, &options);
    int second = http_net_connect(&talk.net);
    assert_int_equal(ask(&talk, "GET / HTTP/1.1\r\n" HOST "\r\n"), 200);
    int third = http_net_connect(&talk.net);
    assert_int_equal(http_net_read_answer(third, &talk.buf, false), 503);
    assert_true(has(&talk, "\r\nRetry-After: 1\r\n"));
    close(third);
    close(second);
    for (int i = 0; i < 2000 && http_net_stats(&talk.net).connections_open > 1; i++)
        usleep(1000);
    int fourth = http_net_connect(&talk.net);
    http_net_say(fourth, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(http_net_read_answer(fourth, &talk.buf, false), 200);
    close(fourth);
    talk_stop(&talk);
}

static void connections_of_one_address_are_capped(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.connections_per_peer_max = 1;
    struct talk talk;
    talk_start(&talk, &options);
    assert_int_equal(ask(&talk, "GET / HTTP/1.1\r\n" HOST "\r\n"), 200);
    int second = http_net_connect(&talk.net);
    assert_int_equal(http_net_read_answer(second, &talk.buf, false), 503);
    close(second);
    close(talk.fd);
    for (int i = 0; i < 2000 && http_net_stats(&talk.net).connections_open > 0; i++)
        usleep(1000);
    talk.fd = http_net_connect(&talk.net);
    assert_int_equal(ask(&talk, "GET / HTTP/1.1\r\n" HOST "\r\n"), 200);
    talk_stop(&talk);
}

static void requests_of_a_connection_are_capped(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.requests_per_connection_max = 2;
    struct talk talk;
    talk_start(&talk, &options);
    assert_int_equal(ask(&talk, "GET /1 HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_false(has(&talk, "Connection: close"));
    http_net_say(talk.fd, "GET /2 HTTP/1.1\r\n" HOST "\r\nGET /3 HTTP/1.1\r\n" HOST "\r\n");
    pcr_buf_clear(&talk.buf);
    assert_true(http_net_read_all(talk.fd, &talk.buf));
    assert_true(has(&talk, "Connection: close") && has(&talk, "/2") && !has(&talk, "/3"));
    talk_stop(&talk);
}

// The refusal must get through although the peer is still sending.
static void a_refusal_survives_a_peer_that_goes_on_sending(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    options.limits.body_bytes_max = 1000;
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 300000\r\n\r\n");
    http_net_send(talk.fd, big_body, sizeof big_body);
    assert_int_equal(read_to_the_end(&talk), 413);
    assert_true(has(&talk, "{\"error\":\"the body is larger than this server takes\"}"));
    talk_stop(&talk);
}

// --- draining -----------------------------------------------------------------------------------

static void on_drained(void *ctx) {
    struct http_net *net = ctx;
    net->drained = true;
    pcr_loop_stop(net->loop);
}

static uint64_t grace_ms;
static void start_drain(struct http_net *net) {
    pcr_http_server_drain(net->server, grace_ms, on_drained, net);
}

static void draining_finishes_what_runs(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    int idle = http_net_connect(&talk.net);
    http_net_say(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(http_net_read_answer(idle, &talk.buf, false), 200);
    http_net_say(talk.fd, "GET /park?p HTTP/1.1\r\n" HOST "\r\n");
    wait_for_parked(&talk.net, 1);
    grace_ms = 10000;
    http_net_call(&talk.net, start_drain);
    pcr_buf_clear(&talk.buf);
    assert_true(http_net_read_all(idle, &talk.buf)); // closed at once
    assert_int_equal(talk.buf.len, 0);
    close(idle);
    http_net_call(&talk.net, answer_parked);
    assert_int_equal(read_to_the_end(&talk), 200);
    assert_true(has(&talk, "\r\nConnection: close\r\n"));
    close(talk.fd);
    talk.fd = -1;
    pthread_join(talk.net.thread, NULL); // on_drained stops the loop
    assert_true(talk.net.drained);
    pthread_create(&talk.net.thread, NULL, http_net_run, &talk.net);
    talk_stop(&talk);
}

static void draining_cuts_what_does_not_end(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct talk talk;
    talk_start(&talk, &options);
    http_net_say(talk.fd, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    wait_for_parked(&talk.net, 1);
    grace_ms = 100;
    http_net_call(&talk.net, start_drain);
    assert_int_equal(read_to_the_end(&talk), 0);
    pthread_join(talk.net.thread, NULL);
    assert_true(talk.net.drained);
    assert_int_equal(n_aborted, 1);
    pthread_create(&talk.net.thread, NULL, http_net_run, &talk.net);
    talk_stop(&talk);
}

static void answers_after_destroy_are_dropped(void **state) {
    (void)state;
    struct pcr_http_server_options options = default_options();
    struct http_net net;
    http_net_start(&net, &options);
    int fd = http_net_connect(&net);
    http_net_say(fd, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    wait_for_parked(&net, 1);
    parked[0]->aborted = NULL;
    pcr_loop_stop(net.loop);
    pthread_join(net.thread, NULL);
    pcr_http_server_destroy(net.server);
    reply_text(parked[0], 200, PCR_STR("nobody hears this"));
    pcr_loop_destroy(net.loop);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_carry_what_they_should),
        cmocka_unit_test(large_answers_arrive_whole),
        cmocka_unit_test(late_answers_keep_the_order),
        cmocka_unit_test(a_half_closed_peer_is_answered),
        cmocka_unit_test(a_broken_peer_aborts_its_requests),
        cmocka_unit_test(expect_continue_is_answered),
        cmocka_unit_test(request_bodies_are_decompressed),
        cmocka_unit_test(bombs_and_broken_streams_are_refused),
        cmocka_unit_test(answers_are_compressed_as_the_client_wants),
        cmocka_unit_test(cors_answers_preflights_and_marks_answers),
        cmocka_unit_test(slow_peers_are_cut_off),
        cmocka_unit_test(drip_feeding_a_head_does_not_help),
        cmocka_unit_test(a_peer_that_does_not_read_is_cut_off),
        cmocka_unit_test(connections_are_capped),
        cmocka_unit_test(connections_of_one_address_are_capped),
        cmocka_unit_test(requests_of_a_connection_are_capped),
        cmocka_unit_test(a_refusal_survives_a_peer_that_goes_on_sending),
        cmocka_unit_test(draining_finishes_what_runs),
        cmocka_unit_test(draining_cuts_what_does_not_end),
        cmocka_unit_test(answers_after_destroy_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
