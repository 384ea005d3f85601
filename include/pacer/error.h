// SPDX-License-Identifier: Apache-2.0
// Error codes and the error record that every control-plane call of libpacer can fill in.
#ifndef PACER_ERROR_H
#define PACER_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PACER_API __attribute__((visibility("default")))
#else
#define PACER_API
#endif

// Code, number, what it means. Functions return 0 or the negative number.
#define PACER_ERROR_CODES(X)                                       \
    X(EINVAL, -1, "invalid argument or input")                     \
    X(ENOMEM, -2, "out of memory")                                 \
    X(ENOTFOUND, -3, "not found")                                  \
    X(EIO, -4, "input/output error")                               \
    X(ELIMIT, -5, "a configured limit was exceeded")               \
    X(ESYNTAX, -6, "malformed document")                           \
    X(EMODEL, -7, "the model could not be loaded or run")          \
    X(ECONTRACT, -8, "the document does not satisfy its contract") \
    X(EUNSUPPORTED, -9, "not supported")                           \
    X(EBUSY, -10, "busy; try again later")                         \
    X(ECANCELED, -11, "canceled")                                  \
    X(ETIMEDOUT, -12, "timed out")                                 \
    X(EINTERNAL, -13, "internal error")

enum pacer_code {
    PACER_OK = 0,
#define X(name, number, text) PACER_##name = (number),
    PACER_ERROR_CODES(X)
#undef X
};

// Filled in by the call that fails; the caller's memory, nothing to free. Every `err` parameter may
// be NULL.
struct pacer_error {
    int code; // one of enum pacer_code
    const char
        *component;    // static string: the part of pacer that failed ("session", "contract", …)
    char message[512]; // for a person: what was wrong, where, what was expected, what to do
    size_t offset;     // byte offset in the input where that means something, else 0
};

// A static text for a code; never NULL. Any thread.
PACER_API const char *pacer_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
