// SPDX-License-Identifier: Apache-2.0
// An open-loop load generator: requests come when they come, by a Poisson process, whether or not
// the server has answered those before. wrk asks again only after an answer, so a slow server is
// asked less and its queue is never seen.
//
//     open_loop PORT PATH BODIES RATE SECONDS CONNECTIONS [TIMEOUT_MS [SEED]]
//
// BODIES has one request body a line, taken in turn. Latency counts from the moment that the
// schedule says, also while no connection is free. With TIMEOUT_MS each request says in
// X-Request-Timeout-Ms what is left of it; answers after that time are late, and what has found no
// connection by then is not sent any more. Prints one line of JSON: latencies in microseconds, of
// answers with status 200 unless it says otherwise.
//
// Whether the generator itself kept up: `busy` is the share of its core it worked (the waiting for
// an event that is due within SPIN_NS does not count), `lag_…` how long after its moment a request
// was sent that had a connection, `held` how many had none at first, `not_sent` how many got none.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define BODIES_MAX 4096
#define ANSWER_BYTES_MAX 65536
#define HEAD_BYTES_MAX 512
#define WAITING_MAX (1u << 20) // scheduled, and no connection free
#define SPIN_NS 30000          // closer events are waited for without the kernel
#define DRAIN_NS 3000000000u   // after the end, for what is still under way

struct conn {
    int fd;
    bool busy;
    bool blocked;            // the socket takes no more for now
    size_t body;             // which
    size_t head_bytes, done; // of head and body, sent
    uint64_t due_ns;         // when its request was scheduled
    size_t got;
    char head[HEAD_BYTES_MAX];
    char answer[ANSWER_BYTES_MAX];
};

struct latencies {
    double *us;
    size_t n, cap;
};

static struct conn *conns;
static unsigned n_conns;
static unsigned free_conns[CONNECTIONS_MAX], n_free;
static char *bodies[BODIES_MAX];
static size_t body_bytes[BODIES_MAX];
static unsigned n_bodies;
static const char *path;
static uint64_t waiting[WAITING_MAX]; // a ring of due times
static uint64_t first_waiting, last_waiting;
static uint64_t timeout_ns;
static struct latencies good, refused;
static struct latencies lag; // from the schedule to the sending, where a connection was free
static uint64_t sent, late, errors, dropped, in_time;
static uint64_t held;    // sent later than due, for want of a free connection
static uint64_t spun_ns; // of the processor's time: looked for events and there were none
static int poll_fd;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "open_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void note(struct latencies *l, uint64_t ns) {
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 65536;
        l->us = realloc(l->us, l->cap * sizeof *l->us);
        if (!l->us)
            die("memory");
    }
    l->us[l->n++] = (double)ns / 1000;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double at(const struct latencies *l, double share) {
    if (l->n == 0)
        return 0;
    size_t i = (size_t)(share * (double)(l->n - 1) + 0.5);
    return l->us[i];
}

// SplitMix64 (Steele, Lea and Flood, 2014): reproducible arrivals.
static uint64_t random_state;
static double exponential(double mean) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    double uniform = ((double)(z >> 11) + 1) / 9007199254740993.0;
    return -mean * log(uniform);
}

static void read_bodies(const char *file) {
    FILE *in = fopen(file, "r");
    size_t cap = 0;
    ssize_t n;
    if (!in)
        die(file);
    while (n_bodies < BODIES_MAX && (n = getline(&bodies[n_bodies], &cap, in)) > 0) {
        body_bytes[n_bodies] = (size_t)n - (bodies[n_bodies][n - 1] == '\n');
        n_bodies++;
        cap = 0;
    }
    fclose(in);
}

static void connect_one(unsigned i, const struct sockaddr_in *address) {
    struct conn *c = &conns[i];
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)address, sizeof *address) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
    free_conns[n_free++] = i;
}

static void send_more(struct conn *c, unsigned i) {
    size_t total = c->head_bytes + body_bytes[c->body];
    size_t of_body = c->done > c->head_bytes ? c->done - c->head_bytes : 0;
    size_t of_head = c->done - of_body;
    struct iovec parts[] = {
        {c->head + of_head, c->head_bytes - of_head},
        {bodies[c->body] + of_body, body_bytes[c->body] - of_body},
    };
    ssize_t n = writev(c->fd, parts, 2);
    if (n < 0 && errno != EAGAIN)
        die("write");
    if (n > 0)
        c->done += (size_t)n;
    bool blocked = c->done < total;
    struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.u32 = i};
    if (blocked != c->blocked)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->blocked = blocked;
}

static void write_head(struct conn *c, uint64_t now) {
    char timeout[64] = "";
    if (timeout_ns) { // rounded up: it is at least 1
        uint64_t left_ns = c->due_ns + timeout_ns - now;
        snprintf(timeout, sizeof timeout, "X-Request-Timeout-Ms: %llu\r\n",
                 (unsigned long long)((left_ns + 999999) / 1000000));
    }
    int n = snprintf(c->head, HEAD_BYTES_MAX,
                     "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                     "%sContent-Length: %zu\r\n\r\n",
                     path, timeout, body_bytes[c->body]);
    if (n < 0 || n >= HEAD_BYTES_MAX)
        die("the path is too long");
    c->head_bytes = (size_t)n;
}

static void send_one(uint64_t due_ns, uint64_t now, bool was_held) {
    unsigned i = free_conns[--n_free];
    struct conn *c = &conns[i];
    c->busy = true;
    c->due_ns = due_ns;
    c->body = sent++ % n_bodies;
    c->done = c->got = 0;
    write_head(c, now);
    if (was_held)
        held++;
    else
        note(&lag, now - due_ns);
    send_more(c, i);
}

// `late_ones`: so many of those that wait did so before, for want of a connection.
static void send_waiting(uint64_t late_ones) {
    for (; n_free > 0 && first_waiting != last_waiting; late_ones -= late_ones > 0) {
        uint64_t due_ns = waiting[first_waiting++ % WAITING_MAX];
        uint64_t now = now_ns();
        if (timeout_ns && now >= due_ns + timeout_ns)
            dropped++;
        else
            send_one(due_ns, now, late_ones > 0);
    }
}

// The length of a whole answer; 0 if it is not there yet.
static size_t whole(struct conn *c) {
    c->answer[c->got] = '\0';
    char *end = strstr(c->answer, "\r\n\r\n");
    char *length = end ? strcasestr(c->answer, "\r\nContent-Length:") : NULL;
    if (!end)
        return 0;
    if (!length || length > end)
        die("an answer without Content-Length");
    size_t total = (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
    return c->got >= total ? total : 0;
}

static void count(const struct conn *c, uint64_t now) {
    int status = atoi(c->answer + 9);
    uint64_t ns = now - c->due_ns;
    if (status == 200) {
        note(&good, ns);
        if (timeout_ns && ns > timeout_ns)
            late++;
        else
            in_time++;
    } else if (status == 503) {
        note(&refused, ns);
    } else {
        errors++;
    }
}

static void on_readable(struct conn *c, unsigned i) {
    ssize_t n = read(c->fd, c->answer + c->got, ANSWER_BYTES_MAX - 1 - c->got);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return;
        errno = n == 0 ? ECONNRESET : errno;
        die("the server closed a connection");
    }
    c->got += (size_t)n;
    if (!c->busy || !whole(c))
        return;
    count(c, now_ns());
    c->busy = false;
    free_conns[n_free++] = i;
}

static void wait_for(uint64_t until) {
    struct epoll_event events[256];
    uint64_t now = now_ns();
    struct timespec timeout = {0};
    if (until > now + SPIN_NS) {
        timeout.tv_sec = (time_t)((until - now - SPIN_NS) / 1000000000u);
        timeout.tv_nsec = (long)((until - now - SPIN_NS) % 1000000000u);
    }
    bool spins = timeout.tv_sec == 0 && timeout.tv_nsec == 0;
    int n = epoll_pwait2(poll_fd, events, 256, &timeout, NULL);
    if (spins && n == 0)
        spun_ns += now_ns() - now;
    for (int k = 0; k < n; k++) {
        struct conn *c = &conns[events[k].data.u32];
        if (events[k].events & EPOLLOUT)
            send_more(c, events[k].data.u32);
        if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(c, events[k].data.u32);
    }
}

static double cpu_now_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// Returns the processor's time from the first to the last request, without the spinning.
static double run(double rate, double seconds) {
    double cpu_s = cpu_now_s();
    uint64_t start = now_ns();
    uint64_t end = start + (uint64_t)(seconds * 1e9);
    double next = (double)start + exponential(1e9 / rate);
    for (uint64_t now = start; now < end; now = now_ns()) {
        uint64_t late_ones = last_waiting - first_waiting;
        for (; next <= (double)now; next += exponential(1e9 / rate)) {
            if (last_waiting - first_waiting < WAITING_MAX)
                waiting[last_waiting++ % WAITING_MAX] = (uint64_t)next;
            else
                dropped++;
        }
        send_waiting(late_ones);
        wait_for(next < (double)end ? (uint64_t)next : end);
    }
    double busy_s = cpu_now_s() - cpu_s - (double)spun_ns / 1e9;
    dropped += last_waiting - first_waiting; // what never found a connection
    first_waiting = last_waiting;
    for (uint64_t now = end; n_free < n_conns && now < end + DRAIN_NS; now = now_ns())
        wait_for(now + 10000000);
    errors += n_conns - n_free;
    return busy_s > 0 ? busy_s : 0;
}

static void print_one(const char *name, struct latencies *l) {
    qsort(l->us, l->n, sizeof *l->us, compare);
    printf("\"%sp50_us\":%.0f,\"%sp90_us\":%.0f,\"%sp99_us\":%.0f,\"%smax_us\":%.0f", name,
           at(l, 0.5), name, at(l, 0.9), name, at(l, 0.99), name, at(l, 1));
}

int main(int argc, char **argv) {
    if (argc < 7 || argc > 9) {
        fprintf(stderr, "usage: open_loop PORT PATH BODIES RATE SECONDS CONNECTIONS [TIMEOUT_MS "
                        "[SEED]]\n");
        return 2;
    }
    double rate = strtod(argv[4], NULL), seconds = strtod(argv[5], NULL);
    n_conns = (unsigned)strtoul(argv[6], NULL, 10);
    unsigned timeout_ms = argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 0;
    random_state = argc > 8 ? strtoull(argv[8], NULL, 10) : 1;
    timeout_ns = (uint64_t)timeout_ms * 1000000u;
    if (!(rate > 0) || !(seconds > 0) || n_conns < 1 || n_conns > CONNECTIONS_MAX) {
        fprintf(stderr, "open_loop: RATE, SECONDS and CONNECTIONS (at most %d) are above 0\n",
                CONNECTIONS_MAX);
        return 2;
    }
    path = argv[2];
    read_bodies(argv[3]);
    conns = calloc(n_conns, sizeof *conns);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (n_bodies == 0 || !conns || poll_fd < 0)
        die("start");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < n_conns; i++)
        connect_one(i, &address);
    double busy_s = run(rate, seconds);
    printf("{\"seconds\":%.3f,\"sent\":%llu,\"ok\":%zu,\"in_time\":%llu,\"late\":%llu,"
           "\"refused\":%zu,\"errors\":%llu,\"not_sent\":%llu,\"held\":%llu,\"busy\":%.3f,",
           seconds, (unsigned long long)sent, good.n, (unsigned long long)in_time,
           (unsigned long long)late, refused.n, (unsigned long long)errors,
           (unsigned long long)dropped, (unsigned long long)held, busy_s / seconds);
    print_one("", &good);
    printf(",");
    print_one("refused_", &refused);
    printf(",");
    print_one("lag_", &lag);
    printf("}\n");
    return 0;
}
