// SPDX-License-Identifier: Apache-2.0
// Where lines go: to a thread per output, through a ring of bytes.
//
// Invariant: a caller holds the lock for as long as it takes to copy its line, and never writes to
// a descriptor while the threads run. So an output that nobody reads (a pipe of a stopped
// collector, a terminal in copy mode) costs lines, which are counted, and never a request. The two
// outputs have a thread each, or an unread access log would silence the error log.
//
// The bytes between `tail` and `tail + used` belong to the thread, which writes them without the
// lock; callers only fill what is free. A line is taken whole or not at all.
//
// Rejected: O_NONBLOCK on the descriptors. The flag belongs to the open file, which a shell and
// other processes share. Rejected: poll before write(2); a pipe that is ready may still block a
// write that is larger than its room.
#include "base/assert.h"
#include "base/clock.h"
#include "base/log_priv.h"
#include "base/thread.h"
#include "pacer/error.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITE_BYTES_MAX (64u << 10)
#define ABORT_WAIT_MS 500

enum mode {
    DIRECT, // callers write
    QUEUED,
    GIVEN_UP, // the thread hangs in a write: what comes now is lost
};

struct sink {
    const int fd;
    const size_t ring_bytes;
    const char *const what, *const output; // for the line about lost ones
    pthread_mutex_t lock;
    pthread_cond_t wake, moved;
    pthread_t thread;
    enum mode mode;
    char *ring;
    size_t tail, used;
    uint64_t put_bytes, done_bytes; // ever
    uint64_t dropped;
    bool stopping, ended;
};

static struct sink sinks[] = {
    [PCR_LOG_STDERR] = {.fd = STDERR_FILENO,
                        .ring_bytes = 1u << 20,
                        .what = "log",
                        .output = "standard error",
                        .lock = PTHREAD_MUTEX_INITIALIZER},
    [PCR_LOG_STDOUT] = {.fd = STDOUT_FILENO,
                        .ring_bytes = 4u << 20,
                        .what = "access log",
                        .output = "standard output",
                        .lock = PTHREAD_MUTEX_INITIALIZER},
};
static atomic_bool queued, limits_pending;

static void write_all(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) { // somebody who shares the open file set O_NONBLOCK
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            (void)poll(&ready, 1, -1);
            continue;
        }
        if (n <= 0)
            return;
        data += n;
        bytes -= (size_t)n;
    }
}

static uint64_t count_lines(const char *data, size_t bytes) {
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += data[i] == '\n';
    return n;
}

// With the lock held, and room for it.
static void copy_in(struct sink *sink, const char *lines, size_t bytes) {
    size_t at = (sink->tail + sink->used) % sink->ring_bytes;
    size_t first = sink->ring_bytes - at < bytes ? sink->ring_bytes - at : bytes;
    memcpy(sink->ring + at, lines, first);
    memcpy(sink->ring, lines + first, bytes - first);
    sink->used += bytes;
    sink->put_bytes += bytes;
}

void pcr_log_put(enum pcr_log_output output, const char *lines, size_t bytes) {
    struct sink *sink = &sinks[output];
    pthread_mutex_lock(&sink->lock);
    enum mode mode = sink->mode;
    if (mode == QUEUED && bytes <= sink->ring_bytes - sink->used) {
        bool was_empty = sink->used == 0;
        copy_in(sink, lines, bytes);
        if (was_empty)
            pthread_cond_signal(&sink->wake);
    } else if (mode != DIRECT) {
        sink->dropped += count_lines(lines, bytes);
    }
    pthread_mutex_unlock(&sink->lock);
    if (mode == DIRECT)
        write_all(sink->fd, lines, bytes);
}

bool pcr_log_is_queued(void) {
    return atomic_load(&queued);
}

void pcr_log_wake(void) {
    struct sink *sink = &sinks[PCR_LOG_STDERR];
    if (atomic_exchange(&limits_pending, true))
        return;
    pthread_mutex_lock(&sink->lock);
    if (sink->mode == QUEUED)
        pthread_cond_signal(&sink->wake);
    pthread_mutex_unlock(&sink->lock);
}

static struct timespec after_ms(uint64_t ms) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

// --- the threads --------------------------------------------------------------------------------

// Said by the thread itself: its own queue may be full again by now.
static void say_lost(struct sink *sink, uint64_t lines) {
    char message[160], line[PCR_LOG_LINE_BYTES_MAX];
    snprintf(message, sizeof message, "%llu lines of the %s were lost: %s is not read fast enough",
             (unsigned long long)lines, sink->what, sink->output);
    if (sink != &sinks[PCR_LOG_STDERR]) {
        pcr_log(PCR_LOG_WARN, "log", "%s", message);
        return;
    }
    size_t line_bytes = pcr_log_format(line, PCR_LOG_WARN, "log", message, false);
    write_all(sink->fd, line, line_bytes);
}

// With the lock held; sleeps until there is something to do. False: it is time to end.
static bool wait_for_work(struct sink *sink) {
    while (sink->used == 0 && sink->dropped == 0 && !sink->stopping) {
        bool tells = sink == &sinks[PCR_LOG_STDERR] && atomic_load(&limits_pending);
        if (!tells) {
            pthread_cond_wait(&sink->wake, &sink->lock);
            continue;
        }
        struct timespec at = after_ms(1000);
        if (pthread_cond_timedwait(&sink->wake, &sink->lock, &at) == ETIMEDOUT)
            return true;
    }
    return sink->used > 0 || sink->dropped > 0;
}

static void *sink_main(void *arg) {
    struct sink *sink = arg;
    bool tells = sink == &sinks[PCR_LOG_STDERR];
    pthread_mutex_lock(&sink->lock);
    while (wait_for_work(sink)) {
        size_t bytes = sink->ring_bytes - sink->tail;
        bytes = bytes < sink->used ? bytes : sink->used;
        bytes = bytes < WRITE_BYTES_MAX ? bytes : WRITE_BYTES_MAX;
        const char *from = sink->ring + sink->tail;
        pthread_mutex_unlock(&sink->lock);
        write_all(sink->fd, from, bytes);
        bool at_line_end = bytes == 0 || from[bytes - 1] == '\n'; // else the rest is still queued
        if (tells && atomic_exchange(&limits_pending, false) && pcr_log_tell_limits(false))
            atomic_store(&limits_pending, true);
        pthread_mutex_lock(&sink->lock);
        sink->tail = (sink->tail + bytes) % sink->ring_bytes;
        sink->used -= bytes;
        sink->done_bytes += bytes;
        uint64_t lost = at_line_end ? sink->dropped : 0;
        sink->dropped -= lost;
        pthread_cond_broadcast(&sink->moved);
        if (lost == 0)
            continue;
        pthread_mutex_unlock(&sink->lock);
        say_lost(sink, lost);
        pthread_mutex_lock(&sink->lock);
    }
    sink->ended = true;
    pthread_cond_broadcast(&sink->moved);
    pthread_mutex_unlock(&sink->lock);
    return NULL;
}

static void free_sink(struct sink *sink) {
    free(sink->ring);
    sink->ring = NULL;
    pthread_cond_destroy(&sink->wake);
    pthread_cond_destroy(&sink->moved);
}

static int start_sink(struct sink *sink) {
    pthread_condattr_t attributes;
    char *ring = malloc(sink->ring_bytes);
    if (!ring)
        return PACER_ENOMEM;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_lock(&sink->lock);
    pthread_cond_init(&sink->wake, &attributes);
    pthread_cond_init(&sink->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    sink->ring = ring;
    sink->tail = sink->used = 0;
    sink->put_bytes = sink->done_bytes = sink->dropped = 0;
    sink->stopping = sink->ended = false;
    int rc = pcr_thread_start(&sink->thread, "pacer-log", sink_main, sink);
    if (rc == 0)
        sink->mode = QUEUED;
    else
        free_sink(sink);
    pthread_mutex_unlock(&sink->lock);
    return rc == 0 ? 0 : PACER_ENOMEM;
}

static void flush_sink(struct sink *sink, const struct timespec *until) {
    pthread_mutex_lock(&sink->lock);
    uint64_t wanted = sink->put_bytes;
    int rc = 0;
    while (sink->mode == QUEUED && sink->done_bytes < wanted && rc == 0)
        rc = pthread_cond_timedwait(&sink->moved, &sink->lock, until);
    pthread_mutex_unlock(&sink->lock);
}

static void stop_sink(struct sink *sink, const struct timespec *until) {
    pthread_mutex_lock(&sink->lock);
    if (sink->mode != QUEUED) {
        pthread_mutex_unlock(&sink->lock);
        return;
    }
    sink->stopping = true;
    pthread_cond_signal(&sink->wake);
    int rc = 0;
    while (!sink->ended && rc == 0)
        rc = pthread_cond_timedwait(&sink->moved, &sink->lock, until);
    bool ended = sink->ended;
    sink->mode = ended ? DIRECT : GIVEN_UP;
    uint64_t lost = 0;
    if (!ended) { // its ring stays: the thread may still be reading it
        size_t first = sink->ring_bytes - sink->tail;
        first = first < sink->used ? first : sink->used;
        lost = sink->dropped + count_lines(sink->ring + sink->tail, first) +
               count_lines(sink->ring, sink->used - first);
    }
    pthread_mutex_unlock(&sink->lock);
    if (ended) {
        pthread_join(sink->thread, NULL);
        free_sink(sink);
        return;
    }
    pthread_detach(sink->thread);
    if (sink != &sinks[PCR_LOG_STDERR])
        say_lost(sink, lost);
}

static void before_abort(void) {
    pcr_log_flush(ABORT_WAIT_MS);
}

int pcr_log_start(void) {
    PCR_ASSERT(!pcr_log_is_queued());
    int rc = start_sink(&sinks[PCR_LOG_STDERR]);
    if (rc == 0)
        rc = start_sink(&sinks[PCR_LOG_STDOUT]);
    if (rc < 0) {
        pcr_log_stop(ABORT_WAIT_MS);
        return rc;
    }
    pcr_assert_before_abort = before_abort;
    atomic_store(&queued, true);
    return 0;
}

void pcr_log_flush(uint64_t wait_ms) {
    struct timespec until = after_ms(wait_ms);
    flush_sink(&sinks[PCR_LOG_STDOUT], &until);
    flush_sink(&sinks[PCR_LOG_STDERR], &until);
}

void pcr_log_stop(uint64_t wait_ms) {
    struct timespec until = after_ms(wait_ms);
    stop_sink(&sinks[PCR_LOG_STDOUT], &until);
    atomic_store(&queued, false);
    (void)pcr_log_tell_limits(true);
    until = after_ms(wait_ms);
    stop_sink(&sinks[PCR_LOG_STDERR], &until);
}
