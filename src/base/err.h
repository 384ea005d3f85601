// SPDX-License-Identifier: Apache-2.0
// Filling in struct pacer_error.
#ifndef PCR_BASE_ERR_H
#define PCR_BASE_ERR_H

#include <pacer/error.h>

// Fills in *err (if not NULL) and returns `code`, so that a function can `return pcr_err(err, …)`.
__attribute__((format(printf, 4, 5))) int pcr_err(struct pacer_error *err, int code,
                                                  const char *component, const char *format, ...);
// The same with a byte offset of the input.
__attribute__((format(printf, 5, 6))) int pcr_err_at(struct pacer_error *err, int code,
                                                     const char *component, size_t offset,
                                                     const char *format, ...);
// Puts "prefix: " before the message that is there,
// and returns err->code (or `code` if err is NULL).
__attribute__((format(printf, 3, 4))) int pcr_err_prefix(struct pacer_error *err, int code,
                                                         const char *format, ...);

#endif
