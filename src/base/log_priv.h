// SPDX-License-Identifier: Apache-2.0
// What the two files of the log show each other.
#ifndef PCR_BASE_LOG_PRIV_H
#define PCR_BASE_LOG_PRIV_H

#include "base/log.h"

#define PCR_LOG_LINE_BYTES_MAX 2048

// --- log.c
// Makes a line in out[PCR_LOG_LINE_BYTES_MAX]; returns its length. `message` was cut: its end may
// be half a character.
size_t pcr_log_format(char *out, enum pcr_log_level level, const char *component,
                      const char *message, bool cut);
// Says what places with a limit held back in a second that is over.
// True if there is more to say later.
bool pcr_log_tell_limits(bool all);

// --- log_queue.c
enum pcr_log_output { PCR_LOG_STDERR, PCR_LOG_STDOUT };
// Whole lines.
void pcr_log_put(enum pcr_log_output output, const char *lines, size_t bytes);
bool pcr_log_is_queued(void);
// Has pcr_log_tell_limits called within about a second.
void pcr_log_wake(void);

#endif
