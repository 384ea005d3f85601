// SPDX-License-Identifier: Apache-2.0
// Assertions are for bugs and stay on in release.
// Bad input and dead peers are errors, never assertions.
#ifndef PCR_BASE_ASSERT_H
#define PCR_BASE_ASSERT_H

#include <stddef.h>

#define PCR_LIKELY(x) __builtin_expect(!!(x), 1)
#define PCR_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define PCR_ASSERT(expr) \
    (PCR_LIKELY(expr) ? (void)0 : pcr_assert_failed(#expr, __FILE__, __LINE__, __func__))

#define PCR_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PCR_CONTAINER_OF(ptr, type, member) ((type *)pcr_outer_of((ptr), offsetof(type, member)))

// The struct in which a member lies that far from the beginning.
// As with strchr, a const pointer comes back without its const.
static inline void *pcr_outer_of(const void *member, size_t offset) {
    return (char *)member - offset;
}

// What a program has to bring to safety first (its queued log lines); NULL: nothing.
extern void (*pcr_assert_before_abort)(void);
// Prints the place and aborts; does not wait for whoever reads standard error.
_Noreturn void pcr_assert_failed(const char *expr, const char *file, int line, const char *func);

#endif
