// SPDX-License-Identifier: Apache-2.0
// The log of the program (never of the library): one line per event on standard error, as text or
// as JSON.
#ifndef PCR_BASE_LOG_H
#define PCR_BASE_LOG_H

#include <stdbool.h>

// PCR_LOG_NONE is for `level` below only: nothing is logged.
enum pcr_log_level { PCR_LOG_DEBUG, PCR_LOG_INFO, PCR_LOG_WARN, PCR_LOG_ERROR, PCR_LOG_NONE };

struct pcr_log_options {
    enum pcr_log_level level; // less is dropped
    bool json;                // {"time":…,"level":…,"component":…,"message":…}
};

// Call before threads start.
void pcr_log_configure(const struct pcr_log_options *options);
// Any thread; one write(2) per line, cut at 2 KiB.
__attribute__((format(printf, 3, 4))) void pcr_log(enum pcr_log_level level, const char *component,
                                                   const char *format, ...);
// Writes one finished line (the access log) to standard output. Any thread.
void pcr_log_access_line(const char *line, unsigned long bytes);

#endif
