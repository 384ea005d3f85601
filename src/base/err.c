// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include "base/assert.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void (*pcr_assert_before_abort)(void);

_Noreturn void pcr_assert_failed(const char *expr, const char *file, int line, const char *func) {
    char text[1024];
    if (pcr_assert_before_abort)
        pcr_assert_before_abort();
    int n = snprintf(text, sizeof text, "pacer: bug: %s:%d: %s: '%s' does not hold\n", file, line,
                     func, expr);
    size_t bytes = n < (int)sizeof text ? (size_t)n : sizeof text - 1;
    // A pipe that is ready takes this much at once; one that is stuck must not keep the process.
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t written = poll(&ready, 1, 500) > 0 ? write(STDERR_FILENO, text, bytes) : 0;
    (void)written; // nobody is left to tell
    abort();
}

const char *pacer_strerror(int code) {
    switch (code) {
    case PACER_OK:
        return "success";
#define X(name, number, text) \
    case PACER_##name:        \
        return text;
        PACER_ERROR_CODES(X)
#undef X
    default:
        return "unknown error";
    }
}

__attribute__((format(printf, 5, 0))) static int fill(struct pacer_error *err, int code,
                                                      const char *component, size_t offset,
                                                      const char *format, va_list args) {
    if (err) {
        err->code = code;
        err->component = component;
        err->offset = offset;
        vsnprintf(err->message, sizeof err->message, format, args);
    }
    return code;
}

int pcr_err(struct pacer_error *err, int code, const char *component, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(err, code, component, 0, format, args);
    va_end(args);
    return code;
}

int pcr_err_at(struct pacer_error *err, int code, const char *component, size_t offset,
               const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(err, code, component, offset, format, args);
    va_end(args);
    return code;
}

int pcr_err_prefix(struct pacer_error *err, int code, const char *format, ...) {
    if (!err)
        return code;
    char prefix[sizeof err->message - 2];
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    size_t n = printed < 0 ? 0 : strlen(prefix);
    size_t keep = sizeof err->message - n - 3; // of the old message, before its NUL
    memmove(err->message + n + 2, err->message, keep);
    err->message[sizeof err->message - 1] = '\0';
    memcpy(err->message, prefix, n);
    memcpy(err->message + n, ": ", 2);
    return err->code;
}
