// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

static struct pcr_log_options log_options = {PCR_LOG_INFO, false};

void pcr_log_configure(const struct pcr_log_options *options) {
    log_options = *options;
}

// One write per line keeps lines of several threads apart (pipes: up to PIPE_BUF).
static void write_all(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        bytes -= (size_t)n;
    }
}

// JSON string escapes; returns the new length.
static size_t put_escaped(char *out, size_t at, size_t max, const char *text) {
    for (; *text && at + 7 < max; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            out[at++] = '\\';
            out[at++] = (char)c;
        } else if (c < 0x20) {
            at += (size_t)snprintf(out + at, 7, "\\u%04x", c);
        } else {
            out[at++] = (char)c;
        }
    }
    return at;
}

void pcr_log(enum pcr_log_level level, const char *component, const char *format, ...) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < log_options.level)
        return;
    char message[LINE_BYTES_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    char line[LINE_BYTES_MAX];
    char when[25];
    pcr_clock_rfc3339(pcr_clock_real_ns(), when);
    size_t n;
    if (log_options.json) {
        n = (size_t)snprintf(
            line, sizeof line,
            "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"", when,
            names[level], component);
        n = put_escaped(line, n, sizeof line - 4, message);
        line[n++] = '"';
        line[n++] = '}';
        line[n++] = '\n';
    } else {
        n = (size_t)snprintf(line, sizeof line, "%s %-5s %s: ", when, names[level], component);
        size_t text = strlen(message);
        if (text > sizeof line - n - 1)
            text = sizeof line - n - 1;
        for (size_t i = 0; i < text; i++) // a line stays one line, whatever somebody sent
            line[n++] = (unsigned char)message[i] < 0x20 ? ' ' : message[i];
        line[n++] = '\n';
    }
    write_all(STDERR_FILENO, line, n);
}

void pcr_log_access_line(const char *line, unsigned long bytes) {
    write_all(STDOUT_FILENO, line, bytes);
}
