// SPDX-License-Identifier: Apache-2.0
// An open-loop load generator: requests come when they come, by a Poisson process, whether or not
// the server has answered those before. wrk asks again only after an answer, so a slow server is
// asked less and its queue is never seen.
//
//     open_loop PORT PATH BODIES RATE SECONDS CONNECTIONS [TIMEOUT_MS [SEED]]
//
// BODIES has one request body a line, taken in turn. Latency counts from the moment that the
// schedule says, also while no connection is free. With TIMEOUT_MS each request says so in
// X-Request-Timeout-Ms, and answers after that time are late. Prints one line of JSON: latencies in
// microseconds, of answers with status 200 unless it says otherwise.
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
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define BODIES_MAX 4096
#define ANSWER_BYTES_MAX 65536
#define WAITING_MAX (1u << 20) // scheduled, and no connection free
#define SPIN_NS 30000          // closer events are waited for without the kernel
#define DRAIN_NS 3000000000u   // after the end, for what is still under way

struct conn {
    int fd;
    bool busy;
    const char *request; // being sent
    size_t left;
    uint64_t due_ns; // when its request was scheduled
    size_t got;
    char answer[ANSWER_BYTES_MAX];
};

struct latencies {
    double *us;
    size_t n, cap;
};

static struct conn *conns;
static unsigned n_conns;
static unsigned free_conns[CONNECTIONS_MAX], n_free;
static char *requests[BODIES_MAX];
static size_t request_bytes[BODIES_MAX];
static unsigned n_bodies;
static uint64_t waiting[WAITING_MAX]; // a ring of due times
static uint64_t first_waiting, last_waiting;
static uint64_t timeout_ns;
static struct latencies good, refused;
static uint64_t sent, late, errors, dropped, in_time;
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

static void read_bodies(const char *file, const char *path, unsigned timeout_ms) {
    FILE *in = fopen(file, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!in)
        die(file);
    while (n_bodies < BODIES_MAX && (n = getline(&line, &cap, in)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        char extra[64] = "";
        if (timeout_ms)
            snprintf(extra, sizeof extra, "X-Request-Timeout-Ms: %u\r\n", timeout_ms);
        int bytes = asprintf(&requests[n_bodies],
                             "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                             "%sContent-Length: %zd\r\n\r\n%.*s",
                             path, extra, n, (int)n, line);
        if (bytes < 0)
            die("memory");
        request_bytes[n_bodies++] = (size_t)bytes;
    }
    free(line);
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
    ssize_t n = write(c->fd, c->request, c->left);
    if (n < 0 && errno != EAGAIN)
        die("write");
    if (n > 0) {
        c->request += n;
        c->left -= (size_t)n;
    }
    struct epoll_event event = {.events = EPOLLIN | (c->left ? EPOLLOUT : 0), .data.u32 = i};
    if (c->left || n < 0)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void send_waiting(void) {
    while (n_free > 0 && first_waiting != last_waiting) {
        unsigned i = free_conns[--n_free];
        struct conn *c = &conns[i];
        c->busy = true;
        c->due_ns = waiting[first_waiting++ % WAITING_MAX];
        c->request = requests[sent % n_bodies];
        c->left = request_bytes[sent % n_bodies];
        c->got = 0;
        sent++;
        send_more(c, i);
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
    int n = epoll_pwait2(poll_fd, events, 256, &timeout, NULL);
    for (int k = 0; k < n; k++) {
        struct conn *c = &conns[events[k].data.u32];
        if (events[k].events & EPOLLOUT)
            send_more(c, events[k].data.u32);
        if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(c, events[k].data.u32);
    }
}

static void run(double rate, double seconds) {
    uint64_t start = now_ns();
    uint64_t end = start + (uint64_t)(seconds * 1e9);
    double next = (double)start + exponential(1e9 / rate);
    for (uint64_t now = start; now < end; now = now_ns()) {
        for (; next <= (double)now; next += exponential(1e9 / rate)) {
            if (last_waiting - first_waiting < WAITING_MAX)
                waiting[last_waiting++ % WAITING_MAX] = (uint64_t)next;
            else
                dropped++;
        }
        send_waiting();
        wait_for(next < (double)end ? (uint64_t)next : end);
    }
    dropped += last_waiting - first_waiting; // what never found a connection
    first_waiting = last_waiting;
    for (uint64_t now = end; n_free < n_conns && now < end + DRAIN_NS; now = now_ns())
        wait_for(now + 10000000);
    errors += n_conns - n_free;
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
    read_bodies(argv[3], argv[2], timeout_ms);
    conns = calloc(n_conns, sizeof *conns);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (n_bodies == 0 || !conns || poll_fd < 0)
        die("start");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < n_conns; i++)
        connect_one(i, &address);
    run(rate, seconds);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\":%.3f,\"sent\":%llu,\"ok\":%zu,\"in_time\":%llu,\"late\":%llu,"
           "\"refused\":%zu,\"errors\":%llu,\"not_sent\":%llu,\"cpu_s\":%.3f,",
           seconds, (unsigned long long)sent, good.n, (unsigned long long)in_time,
           (unsigned long long)late, refused.n, (unsigned long long)errors,
           (unsigned long long)dropped, cpu);
    print_one("", &good);
    printf(",");
    print_one("refused_", &refused);
    printf("}\n");
    return 0;
}
