// SPDX-License-Identifier: Apache-2.0
// The log of the program (never of the library): one line per event on standard error, as text or
// as JSON, and the access log on standard output.
#ifndef PCR_BASE_LOG_H
#define PCR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// PCR_LOG_NONE is for `level` below only: nothing is logged.
enum pcr_log_level { PCR_LOG_DEBUG, PCR_LOG_INFO, PCR_LOG_WARN, PCR_LOG_ERROR, PCR_LOG_NONE };

struct pcr_log_options {
    enum pcr_log_level level; // less is dropped
    bool json;                // {"time":…,"level":…,"component":…,"message":…}
};

// Any thread, any time.
void pcr_log_configure(const struct pcr_log_options *options);

// From here on lines go through bounded queues to a thread each for standard error and standard
// output, so that no caller ever waits for whoever reads them; lines that find a queue full are
// dropped, and how many is said when there is room again. Before it (commands, early start-up)
// callers write themselves. The threads take the caller's signal mask. 0 or PACER_ENOMEM.
int pcr_log_start(void);
// Waits until all that was logged so far is written, at most `wait_ms`. For the moment before an
// abort or _Exit. Does nothing without the threads.
void pcr_log_flush(uint64_t wait_ms);
// Flushes, ends the threads; callers write themselves again, but never to an output that was still
// stuck after `wait_ms`. Call when no other thread logs any more.
void pcr_log_stop(uint64_t wait_ms);

// Any thread. A line is cut at 2 KiB, never inside a character;
// bytes that are not UTF-8 become U+FFFD.
__attribute__((format(printf, 3, 4))) void pcr_log(enum pcr_log_level level, const char *component,
                                                   const char *format, ...);

// One place in the program that may log once per request. Zeroed, static.
struct pcr_log_limit {
    struct pcr_log_limit *next; // all that have something to say
    bool listed;
    uint64_t window_ns; // start of the second under way
    unsigned lines;     // logged in it
    uint64_t more;      // not logged since
    enum pcr_log_level level;
    const char *component;
    char example[128]; // beginning of the newest line that was not logged
};
#define PCR_LOG_LINES_PER_S 10
__attribute__((format(printf, 4, 5))) void pcr_log_limited(struct pcr_log_limit *limit,
                                                           enum pcr_log_level level,
                                                           const char *component,
                                                           const char *format, ...);
// pcr_log for lines that requests cause: PCR_LOG_LINES_PER_S lines a second from this place, then
// "… and N more like this". Needs the threads; without them every line is logged.
#define PCR_LOG_PER_REQUEST(level, component, ...)                           \
    do {                                                                     \
        static struct pcr_log_limit pcr_log_limit_here;                      \
        pcr_log_limited(&pcr_log_limit_here, level, component, __VA_ARGS__); \
    } while (0)

// Writes finished lines (the access log) to standard output. Any thread.
void pcr_log_access_line(const char *lines, size_t bytes);

#endif
