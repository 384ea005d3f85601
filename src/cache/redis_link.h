// SPDX-License-Identifier: Apache-2.0
// One connection to Redis or Valkey, on a loop: made, greeted, and made again whenever it is lost.
// Everything on the loop's thread.
#ifndef PCR_CACHE_REDIS_LINK_H
#define PCR_CACHE_REDIS_LINK_H

#include "cache/redis_url.h"
#include "loop/loop.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdatomic.h>

// What all names begin with; the number is that of names and values.
#define PCR_REDIS_PREFIX "pacer:1:"
// Counts purges: a replica that could not hear of one finds out when it is connected again.
#define PCR_REDIS_PURGES PCR_REDIS_PREFIX "purges"

struct pcr_redis_link;
struct pcr_redis_link_events {
    // Commands may be sent from now on, or are lost (their callbacks have been called). `why` of
    // the latter; of the former what does not work, or "".
    void (*changed)(void *ctx, bool up, const char *why);
    // Another client changed or dropped this key, NULL: any.
    void (*invalidated)(void *ctx, const char *key, size_t bytes);
};
int pcr_redis_link_open(struct pcr_loop *loop, const struct pcr_redis_url *url,
                        const struct pcr_redis_link_events *events, void *ctx,
                        struct pcr_redis_link **out, struct pacer_error *err);
void pcr_redis_link_close(struct pcr_redis_link *link); // `changed` is not called any more
// NULL: not up.
redisAsyncContext *pcr_redis_link_context(struct pcr_redis_link *link);
// Breaks it off: it is made anew after a pause. `why` NULL: it is known.
void pcr_redis_link_break(struct pcr_redis_link *link, const char *why);
// Bytes that wait to be sent.
size_t pcr_redis_link_unsent(const struct pcr_redis_link *link);

#endif
