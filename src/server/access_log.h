// SPDX-License-Identifier: Apache-2.0
// The access log: one JSON object per answered request on standard output, gathered per loop and
// written in blocks, so that logging costs a request no system call.
#ifndef PCR_SERVER_ACCESS_LOG_H
#define PCR_SERVER_ACCESS_LOG_H

#include "http/server.h"

struct pcr_access_log;

// NULL when memory is out.
struct pcr_access_log *pcr_access_log_create(struct pcr_loop *loop);
// Writes what is gathered. NULL is fine.
void pcr_access_log_destroy(struct pcr_access_log *log);
void pcr_access_log_add(struct pcr_access_log *log, const struct pcr_http_access *access);

#endif
