// SPDX-License-Identifier: Apache-2.0
// Lines of the log: made by the caller, in its own stack, then handed to an output (log_queue.c).
//
// A line stays one line and valid UTF-8, whatever a client had put into it: control characters are
// escaped or become spaces, bytes that are no character become U+FFFD, and a line that is too long
// ends after a whole character.
//
// Lines that requests cause are limited per place in the program, not per component: a flood of one
// kind must not hide the first line of another. The first lines of each second are logged as they
// are; the rest is counted, and the log's thread says how many when the second is over, so the last
// word of a flood is said even if nothing follows it. Rejected: a limit in pcr_log for every line;
// thirty faults of one configuration come from one place, too, and each is needed.
#include "base/assert.h"
#include "base/clock.h"
#include "base/log_priv.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES_MAX (PCR_LOG_LINE_BYTES_MAX / 2)

static atomic_int log_level = PCR_LOG_INFO;
static atomic_bool log_json;

void pcr_log_configure(const struct pcr_log_options *options) {
    atomic_store(&log_level, (int)options->level);
    atomic_store(&log_json, options->json);
}

// --- text ---------------------------------------------------------------------------------------

// Length of the character at the start of `at`, 0 if it is none. *cut: it could become one.
static size_t character(const unsigned char *at, size_t left, bool *cut) {
    static const unsigned char least_second[] = {[0xe0 - 0xe0] = 0xa0, [0xf0 - 0xe0] = 0x90};
    *cut = false;
    if (at[0] < 0x80)
        return 1;
    size_t n = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (i == left) {
            *cut = true;
            return 0;
        }
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((at[0] == 0xe0 || at[0] == 0xf0) && at[1] < least_second[at[0] - 0xe0])
        return 0;
    if ((at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f)) // surrogates, beyond
        return 0;
    return n;
}

// Appends the characters that fit before `max`, escaped for JSON or made harmless for a terminal.
static size_t put_text(char *out, size_t at, size_t max, const char *text, bool json,
                       bool was_cut) {
    static const unsigned char replacement[] = {0xef, 0xbf, 0xbd}; // U+FFFD
    const unsigned char *from = (const unsigned char *)text;
    for (size_t left = strlen(text); left > 0 && at + 7 < max;) {
        bool half;
        size_t n = character(from, left, &half);
        if (n == 0 && half && was_cut)
            break;
        if (n == 0) {
            memcpy(out + at, replacement, sizeof replacement);
            at += sizeof replacement;
            n = 1;
        } else if (json && (from[0] == '"' || from[0] == '\\')) {
            out[at++] = '\\';
            out[at++] = (char)from[0];
        } else if (from[0] < 0x20 || from[0] == 0x7f) {
            if (json)
                at += (size_t)snprintf(out + at, 7, "\\u%04x", from[0]);
            else
                out[at++] = ' ';
        } else {
            memcpy(out + at, from, n);
            at += n;
        }
        from += n;
        left -= n;
    }
    return at;
}

size_t pcr_log_format(char *out, enum pcr_log_level level, const char *component,
                      const char *message, bool cut) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    const size_t max = PCR_LOG_LINE_BYTES_MAX;
    bool json = atomic_load(&log_json);
    char when[25];
    pcr_clock_rfc3339(pcr_clock_real_ns(), when);
    int n = json ? snprintf(out, max,
                            "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%.100s\","
                            "\"message\":\"",
                            when, names[level], component)
                 : snprintf(out, max, "%s %-5s %.100s: ", when, names[level], component);
    size_t at = put_text(out, (size_t)n, max - 3, message, json, cut);
    if (json) {
        out[at++] = '"';
        out[at++] = '}';
    }
    out[at++] = '\n';
    return at;
}

// --- lines --------------------------------------------------------------------------------------

__attribute__((format(printf, 3, 0))) static void
log_line(enum pcr_log_level level, const char *component, const char *format, va_list args) {
    char message[MESSAGE_BYTES_MAX], line[PCR_LOG_LINE_BYTES_MAX];
    int n = vsnprintf(message, sizeof message, format, args);
    bool cut = n >= (int)sizeof message;
    size_t line_bytes = pcr_log_format(line, level, component, message, cut);
    pcr_log_put(PCR_LOG_STDERR, line, line_bytes);
}

static bool is_logged(enum pcr_log_level level) {
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void pcr_log(enum pcr_log_level level, const char *component, const char *format, ...) {
    if (!is_logged(level))
        return;
    va_list args;
    va_start(args, format);
    log_line(level, component, format, args);
    va_end(args);
}

void pcr_log_access_line(const char *lines, size_t bytes) {
    pcr_log_put(PCR_LOG_STDOUT, lines, bytes);
}

// --- limits -------------------------------------------------------------------------------------

static pthread_mutex_t limits_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pcr_log_limit *limits; // all that held something back since it was told

static bool is_over(const struct pcr_log_limit *limit, uint64_t now_ns) {
    return now_ns - limit->window_ns >= PCR_NS_PER_S;
}

void pcr_log_limited(struct pcr_log_limit *limit, enum pcr_log_level level, const char *component,
                     const char *format, ...) {
    if (!is_logged(level))
        return;
    va_list args;
    va_start(args, format);
    bool logged = !pcr_log_is_queued();
    if (!logged) {
        pthread_mutex_lock(&limits_lock);
        uint64_t now_ns = pcr_clock_mono_ns();
        if (is_over(limit, now_ns) && limit->more == 0) {
            limit->window_ns = now_ns;
            limit->lines = 0;
        }
        logged = limit->lines < PCR_LOG_LINES_PER_S;
        limit->lines += logged;
        if (!logged && limit->more++ == 0) {
            limit->level = level;
            limit->component = component;
            va_list copy;
            va_copy(copy, args);
            vsnprintf(limit->example, sizeof limit->example, format, copy);
            va_end(copy);
            if (!limit->listed) {
                limit->listed = true;
                limit->next = limits;
                limits = limit;
            }
        }
        pthread_mutex_unlock(&limits_lock);
        if (!logged)
            pcr_log_wake();
    }
    if (logged)
        log_line(level, component, format, args);
    va_end(args);
}

// Takes one that is due out of the list; false if there is none.
static bool take_due(struct pcr_log_limit *out, bool all) {
    bool found = false;
    pthread_mutex_lock(&limits_lock);
    uint64_t now_ns = pcr_clock_mono_ns();
    for (struct pcr_log_limit **at = &limits; *at; at = &(*at)->next) {
        struct pcr_log_limit *limit = *at;
        if (!all && !is_over(limit, now_ns))
            continue;
        *out = *limit;
        found = true;
        limit->listed = false;
        limit->more = 0;
        limit->lines = 0;
        limit->window_ns = now_ns;
        *at = limit->next;
        break;
    }
    pthread_mutex_unlock(&limits_lock);
    return found;
}

bool pcr_log_tell_limits(bool all) {
    struct pcr_log_limit due;
    while (take_due(&due, all)) {
        char message[MESSAGE_BYTES_MAX], line[PCR_LOG_LINE_BYTES_MAX];
        snprintf(message, sizeof message, "… and %llu more like this: %s",
                 (unsigned long long)due.more, due.example);
        bool cut = strlen(due.example) == sizeof due.example - 1;
        size_t line_bytes = pcr_log_format(line, due.level, due.component, message, cut);
        pcr_log_put(PCR_LOG_STDERR, line, line_bytes);
    }
    pthread_mutex_lock(&limits_lock);
    bool later = limits != NULL;
    pthread_mutex_unlock(&limits_lock);
    return later;
}
