// SPDX-License-Identifier: Apache-2.0
// A server of the http room on a loop in its own thread, and the raw sockets that talk to it.
#ifndef PCR_TEST_HTTP_NET_H
#define PCR_TEST_HTTP_NET_H

#include "http/http_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct http_net {
    struct pcr_loop *loop;
    struct pcr_http_server *server;
    int port;
    pthread_t thread;
    bool drained;
};

static void *http_net_run(void *arg) {
    struct http_net *net = arg;
    pcr_loop_run(net->loop);
    return NULL;
}

static inline void http_net_start(struct http_net *net,
                                  const struct pcr_http_server_options *options) {
    *net = (struct http_net){0};
    struct pcr_listener_options listen = {.address = "127.0.0.1:0"};
    struct pacer_error err;
    if (pcr_loop_create(&net->loop, &err) < 0 ||
        pcr_http_server_create(net->loop, options, &net->server, &err) < 0 ||
        pcr_http_server_listen(net->server, &listen, &net->port, &err) < 0)
        fail_msg("%s", err.message);
    pthread_create(&net->thread, NULL, http_net_run, net);
}

struct http_net_call {
    struct pcr_mail mail;
    void (*fn)(struct http_net *net);
    struct http_net *net;
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
};

static void http_net_deliver(struct pcr_mail *mail) {
    struct http_net_call *call = PCR_CONTAINER_OF(mail, struct http_net_call, mail);
    call->fn(call->net);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->done_cond);
    pthread_mutex_unlock(&call->lock);
}

// Runs it on the loop's thread and waits.
static inline void http_net_call(struct http_net *net, void (*fn)(struct http_net *net)) {
    struct http_net_call call = {.mail.deliver = http_net_deliver, .fn = fn, .net = net};
    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.done_cond, NULL);
    pcr_loop_post(net->loop, &call.mail);
    pthread_mutex_lock(&call.lock);
    while (!call.done)
        pthread_cond_wait(&call.done_cond, &call.lock);
    pthread_mutex_unlock(&call.lock);
}

static struct pcr_http_server_stats http_net_seen;
static void http_net_read_stats(struct http_net *net) {
    pcr_http_server_stats(net->server, &http_net_seen);
}
static inline struct pcr_http_server_stats http_net_stats(struct http_net *net) {
    http_net_call(net, http_net_read_stats);
    return http_net_seen;
}

static inline void http_net_stop(struct http_net *net) {
    pcr_loop_stop(net->loop);
    pthread_join(net->thread, NULL);
    pcr_http_server_destroy(net->server);
    pcr_loop_destroy(net->loop);
}

// The calls below try again after EINTR, which comes without any signal: when a loop with an
// io_uring is destroyed (libuv from 1.45 on), the kernel interrupts the thread that created it,
// some time later, and a recv() with SO_RCVTIMEO is not resumed then.
static inline ssize_t http_net_recv(int fd, void *into, size_t bytes) {
    ssize_t n;
    do
        n = recv(fd, into, bytes, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

static inline int http_net_connect_to(int fd, const struct sockaddr_in *in) {
    if (connect(fd, (const struct sockaddr *)in, sizeof *in) == 0)
        return 0;
    if (errno != EINTR)
        return -1;
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT}; // it goes on by itself
    while (poll(&poll_fd, 1, 20000) < 0 && errno == EINTR)
        ;
    int cause = ETIMEDOUT;
    socklen_t len = sizeof cause;
    if (poll_fd.revents == 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &len) < 0)
        return -1;
    return cause == 0 ? 0 : -1;
}

static inline int http_net_connect(const struct http_net *net) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)net->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(http_net_connect_to(fd, &in), 0);
    return fd;
}

static inline void http_net_send(int fd, const char *text, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; // refused half-way: the answer says why
        text += n;
        bytes -= (size_t)n;
    }
}

static inline void http_net_say(int fd, const char *text) {
    http_net_send(fd, text, strlen(text));
}

// All until the server closes; false on a reset or after 20 s of silence.
static inline bool http_net_read_all(int fd, struct pcr_buf *out) {
    char piece[16384];
    ssize_t n;
    while ((n = http_net_recv(fd, piece, sizeof piece)) > 0)
        pcr_buf_append(out, piece, (size_t)n);
    return n == 0;
}

// One answer: its head and the body that Content-Length announces (none for HEAD).
static inline int http_net_read_answer(int fd, struct pcr_buf *out, bool head_only) {
    pcr_buf_clear(out);
    size_t need = SIZE_MAX;
    while (out->len < need) {
        size_t want = need == SIZE_MAX ? 1 : need - out->len;
        char piece[16384];
        ssize_t n = http_net_recv(fd, piece, want < sizeof piece ? want : sizeof piece);
        if (n <= 0)
            return -1;
        pcr_buf_append(out, piece, (size_t)n);
        if (need == SIZE_MAX && out->len >= 4 &&
            memcmp(out->data + out->len - 4, "\r\n\r\n", 4) == 0) {
            const char *length = strstr(out->data, "\r\nContent-Length: ");
            need = out->len + (length && !head_only ? strtoul(length + 18, NULL, 10) : 0);
        }
    }
    return atoi(out->data + 9);
}

#endif
