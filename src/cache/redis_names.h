// SPDX-License-Identifier: Apache-2.0
// Looks up the addresses of a host on a thread of its own: getaddrinfo may take half a minute when
// a name server is silent, and neither the loop nor the end of the program waits for it.
#ifndef PCR_CACHE_REDIS_NAMES_H
#define PCR_CACHE_REDIS_NAMES_H

#include "loop/loop.h"

#define PCR_REDIS_ADDRESSES_MAX 8
#define PCR_REDIS_ADDRESS_BYTES 64 // an address as text, with its scope

struct pcr_redis_addresses {
    char text[PCR_REDIS_ADDRESSES_MAX][PCR_REDIS_ADDRESS_BYTES];
    size_t n;
    char why[96]; // there is none
};

struct pcr_redis_look_up;
// `done` is called once on the loop, unless the look-up is dropped before. NULL: no memory, or no
// thread.
struct pcr_redis_look_up *
pcr_redis_look_up_start(struct pcr_loop *loop, const char *host,
                        void (*done)(void *ctx, const struct pcr_redis_addresses *found),
                        void *ctx);
// On the loop's thread, before `done`; NULL is fine.
void pcr_redis_look_up_drop(struct pcr_redis_look_up *look_up);

#endif
