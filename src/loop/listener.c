// SPDX-License-Identifier: Apache-2.0
// Listeners. Sockets are made by hand, because libuv before 1.49 cannot set SO_REUSEPORT, and are
// watched with a poll handle, because libuv's own accept drops waiting connections when descriptors
// run out: here they stay in the kernel's queue and the listener sleeps until a stream closes.
//
// A port that is in use. With SO_REUSEPORT two processes of one user could share a port without
// noticing. So the first listener of this process on an address binds without that option (the
// kernel then refuses if anybody has the port), and sets it between bind and listen. The check and
// the taking of the port are one system call, so two processes that start together cannot both
// succeed. Further loops of this process set the option before they bind, which the kernel allows
// since all sockets on the port have it by then. `shared_ports` says which addresses this process
// holds. Rejected: a trial bind that is closed again, as another process may come in between.
//
// A unix socket whose file is left over from a dead
// process is removed only if nobody answers on it.
#include "loop/loop_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_DEFAULT 511
#define ACCEPTS_PER_TURN 64
#define STARVED_RETRY_MS 1000
#define WARN_EVERY_NS (10 * PCR_NS_PER_S)
#define SHARED_PORTS_MAX 1024

struct pcr_listener {
    struct pcr_loop_owner owner;
    struct pcr_loop *loop;
    uv_poll_t poll;
    struct pcr_timer *retry;
    struct pcr_list starved; // in loop->starved while descriptors are out
    int fd;
    struct pcr_sockaddr address; // as bound
    bool shared, closing;
    uint64_t warned_ns;
    void (*accepted)(void *ctx, struct pcr_stream *stream);
    void *ctx;
};

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct pcr_sockaddr address;
    size_t listeners;
} shared_ports[SHARED_PORTS_MAX];

static bool same_address(const struct pcr_sockaddr *a, const struct pcr_sockaddr *b) {
    return a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0;
}

// With the lock held.
static bool shared_has(const struct pcr_sockaddr *address) {
    for (size_t i = 0; i < SHARED_PORTS_MAX; i++) {
        if (shared_ports[i].listeners > 0 && same_address(&shared_ports[i].address, address))
            return true;
    }
    return false;
}

// With the lock held; false when the table is full.
static bool shared_add(const struct pcr_sockaddr *address) {
    size_t free_slot = SHARED_PORTS_MAX;
    for (size_t i = 0; i < SHARED_PORTS_MAX; i++) {
        if (shared_ports[i].listeners == 0) {
            free_slot = free_slot == SHARED_PORTS_MAX ? i : free_slot;
        } else if (same_address(&shared_ports[i].address, address)) {
            shared_ports[i].listeners++;
            return true;
        }
    }
    if (free_slot == SHARED_PORTS_MAX)
        return false;
    shared_ports[free_slot].address = *address;
    shared_ports[free_slot].listeners = 1;
    return true;
}

static void shared_remove(const struct pcr_sockaddr *address) {
    pthread_mutex_lock(&shared_lock);
    for (size_t i = 0; i < SHARED_PORTS_MAX; i++) {
        if (shared_ports[i].listeners > 0 && same_address(&shared_ports[i].address, address))
            shared_ports[i].listeners--;
    }
    pthread_mutex_unlock(&shared_lock);
}

static int bind_failed(const char *address, int cause, struct pacer_error *err) {
    if (cause == EADDRINUSE)
        return pcr_err(
            err, PACER_EBUSY, "listen",
            "cannot listen on %s: another process uses it; stop that one (ss -ltnp shows "
            "it) or choose another address",
            address);
    if (cause == EACCES)
        return pcr_err(err, PACER_EIO, "listen",
                       "cannot listen on %s: permission denied; ports below 1024 need a privilege "
                       "(CAP_NET_BIND_SERVICE), sockets a folder one may write to",
                       address);
    if (cause == EADDRNOTAVAIL)
        return pcr_err(err, PACER_EIO, "listen",
                       "cannot listen on %s: this machine does not have that address; ip addr "
                       "shows those it has, and :PORT stands for all of them",
                       address);
    return pcr_err(err, PACER_EIO, "listen", "cannot listen on %s: %s", address, strerror(cause));
}

static int set_on(int fd, int level, int option) {
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on);
}

static int new_socket(struct pcr_sockaddr *address) {
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && address->both_families) {
        in_port_t port = address->in6.sin6_port;
        memset(&address->storage, 0, sizeof address->storage);
        address->in = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_ANY)};
        address->len = sizeof address->in;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd >= 0 && address->any.sa_family == AF_INET6) {
        int only = address->both_families ? 0 : 1;
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    return fd;
}

static int bound_address(int fd, struct pcr_sockaddr *address) {
    address->len = sizeof address->storage;
    return getsockname(fd, &address->any, &address->len);
}

// With the lock held. 0 or errno.
static int bind_tcp(int fd, struct pcr_sockaddr *address, bool shared) {
    if (set_on(fd, SOL_SOCKET, SO_REUSEADDR) <
        0) // else a restart waits for old connections to time out
        return errno;
    bool first = !shared || !shared_has(address);
    if (shared && !first && set_on(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
        return errno;
    if (bind(fd, &address->any, address->len) < 0)
        return errno;
    if (shared && first && set_on(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
        return errno;
    if (bound_address(fd, address) < 0)
        return errno;
    return 0;
}

static int listen_tcp(struct pcr_listener *listener, const struct pcr_listener_options *options) {
    pthread_mutex_lock(&shared_lock);
    int cause = bind_tcp(listener->fd, &listener->address, options->reuse_port);
    // Another socket could slip in between bind and listen: listen is refused then, too.
    if (cause == 0 &&
        listen(listener->fd, options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT) < 0)
        cause = errno;
    if (cause == 0 && options->reuse_port) {
        listener->shared = shared_add(&listener->address);
        cause = listener->shared ? 0 : EMFILE;
    }
    pthread_mutex_unlock(&shared_lock);
    return cause;
}

static bool somebody_answers(const struct pcr_sockaddr *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true; // not known: then nothing is removed
    int rc = connect(fd, &address->any, address->len);
    bool answers = rc == 0 || errno != ECONNREFUSED;
    close(fd);
    return answers;
}

static int listen_unix(struct pcr_listener *listener, const struct pcr_listener_options *options) {
    const struct pcr_sockaddr *address = &listener->address;
    int rc = bind(listener->fd, &address->any, address->len);
    struct stat info;
    if (rc < 0 && errno == EADDRINUSE && lstat(address->un.sun_path, &info) == 0 &&
        S_ISSOCK(info.st_mode) && !somebody_answers(address)) {
        unlink(address->un.sun_path);
        rc = bind(listener->fd, &address->any, address->len);
    }
    if (rc < 0 || listen(listener->fd, options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT))
        return errno;
    return 0;
}

static void watch(struct pcr_listener *listener);

static void starve(struct pcr_listener *listener) {
    uv_poll_stop(&listener->poll);
    pcr_list_remove(&listener->starved);
    pcr_list_push_back(&listener->loop->starved, &listener->starved);
    pcr_timer_start(listener->retry, STARVED_RETRY_MS, 0);
    uint64_t now_ns = pcr_clock_mono_ns();
    if (listener->warned_ns && now_ns - listener->warned_ns < WARN_EVERY_NS)
        return;
    listener->warned_ns = now_ns;
    pcr_log(PCR_LOG_WARN, "listen",
            "no file descriptor is left: connections wait until one closes (raise ulimit -n)");
}

// Some failures concern one connection that is gone again; only a lack of descriptors or memory
// concerns all.
static bool out_of_resources(int cause) {
    return cause == EMFILE || cause == ENFILE || cause == ENOBUFS || cause == ENOMEM;
}

// False when there is nothing more to accept now.
static bool accept_one(struct pcr_listener *listener) {
    struct pcr_sockaddr peer = {.len = sizeof peer.storage};
    int fd = accept4(listener->fd, &peer.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int cause = errno;
        if (out_of_resources(cause) && !listener->closing)
            starve(listener);
        return cause == EINTR || cause == ECONNABORTED;
    }
    peer.any.sa_family = listener->address.any.sa_family == AF_UNIX ? AF_UNIX : peer.any.sa_family;
    struct pcr_stream *stream = pcr_stream_adopt(listener->loop, fd, &peer);
    if (stream)
        listener->accepted(listener->ctx, stream);
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct pcr_listener *listener = PCR_CONTAINER_OF(poll, struct pcr_listener, poll);
    pcr_loop_woke(listener->loop);
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closing; i++) {
        if (!accept_one(listener))
            return;
    }
}

static void watch(struct pcr_listener *listener) {
    pcr_list_remove(&listener->starved);
    pcr_timer_stop(listener->retry);
    uv_poll_start(&listener->poll, UV_READABLE, on_poll);
}

static void on_retry(void *ctx) {
    watch(ctx);
}

void pcr_loop_feed_starved(struct pcr_loop *loop) {
    while (!pcr_list_empty(&loop->starved))
        watch(PCR_LIST_ENTRY(loop->starved.next, struct pcr_listener, starved));
}

static void on_closed(uv_handle_t *handle) {
    struct pcr_listener *listener = PCR_CONTAINER_OF(handle, struct pcr_listener, poll);
    free(listener);
}

static void close_socket(struct pcr_listener *listener) {
    if (listener->address.any.sa_family == AF_UNIX)
        unlink(listener->address.un.sun_path);
    if (listener->shared)
        shared_remove(&listener->address);
    close(listener->fd);
}

static void let_go(struct pcr_listener *listener) {
    listener->closing = true;
    pcr_list_remove(&listener->starved);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close_socket(listener);
}

static void abandon(struct pcr_loop_owner *owner, uv_handle_t *handle) {
    (void)handle; // the retry timer is a handle of its own and is abandoned by itself
    let_go(PCR_CONTAINER_OF(owner, struct pcr_listener, owner));
}

void pcr_listener_close(struct pcr_listener *listener) {
    if (!listener)
        return;
    uv_poll_stop(&listener->poll);
    listener->closing = true;
    // What the kernel has accepted already would be reset by closing the socket.
    for (int i = 0; i < BACKLOG_DEFAULT; i++) {
        if (!accept_one(listener))
            break;
    }
    pcr_timer_destroy(listener->retry);
    let_go(listener);
}

static int open_socket(struct pcr_listener *listener, const struct pcr_listener_options *options,
                       struct pacer_error *err) {
    listener->fd = new_socket(&listener->address);
    if (listener->fd < 0)
        return bind_failed(options->address, errno, err);
    int cause = listener->address.any.sa_family == AF_UNIX ? listen_unix(listener, options)
                                                           : listen_tcp(listener, options);
    if (cause == 0)
        return 0;
    if (listener->shared)
        shared_remove(&listener->address);
    close(listener->fd);
    return bind_failed(options->address, cause, err);
}

int pcr_listener_open(struct pcr_loop *loop, const struct pcr_listener_options *options,
                      void (*accepted)(void *ctx, struct pcr_stream *stream), void *ctx,
                      struct pcr_listener **out, struct pacer_error *err) {
    struct pcr_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return pcr_err(err, PACER_ENOMEM, "listen", "no memory for a listener");
    listener->owner.abandon = abandon;
    listener->loop = loop;
    listener->accepted = accepted;
    listener->ctx = ctx;
    pcr_list_init(&listener->starved);
    int rc = pcr_address_parse(options->address, &listener->address, err);
    if (rc == 0)
        rc = open_socket(listener, options, err);
    if (rc < 0) {
        free(listener);
        return rc;
    }
    listener->retry = pcr_timer_create(loop, on_retry, listener);
    rc = listener->retry ? uv_poll_init(&loop->uv, &listener->poll, listener->fd) : UV_ENOMEM;
    if (rc < 0) {
        pcr_timer_destroy(listener->retry);
        close_socket(listener);
        free(listener);
        return pcr_err(err, rc == UV_ENOMEM ? PACER_ENOMEM : PACER_EIO, "listen",
                       "cannot listen on %s: %s", options->address, uv_strerror(rc));
    }
    listener->poll.data = &listener->owner;
    watch(listener);
    *out = listener;
    return 0;
}

int pcr_listener_port(const struct pcr_listener *listener) {
    if (listener->address.any.sa_family == AF_INET)
        return ntohs(listener->address.in.sin_port);
    if (listener->address.any.sa_family == AF_INET6)
        return ntohs(listener->address.in6.sin6_port);
    return 0;
}
