// SPDX-License-Identifier: Apache-2.0
// What a server may send. hiredis trusts it: an answer that nobody asked for ends the process (an
// assertion), and an answer may have any depth and any number of parts.
#ifndef PCR_CACHE_REDIS_BOUNDS_H
#define PCR_CACHE_REDIS_BOUNDS_H

#include "base/base.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

struct pcr_redis_bounds { // of one connection; lives as long as that
    redisReplyObjectFunctions functions;
    const redisReplyObjectFunctions *plain; // hiredis' own
    const redisAsyncContext *redis;
    size_t n_parts;      // of the answer that is being read
    const char *refused; // why the connection is to end; NULL: nothing was
};

// Right after the connection was made. What is refused ends the connection.
void pcr_redis_bounds_set(struct pcr_redis_bounds *bounds, redisAsyncContext *redis);

// The text of an error for people: printable, without what the server repeats of the command
// (passwords, values), and without `secret` (may be NULL). Returns `out`.
const char *pcr_redis_error_text(const char *text, const char *secret, char *out, size_t out_bytes);

#endif
