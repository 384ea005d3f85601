// SPDX-License-Identifier: Apache-2.0
// Caching as HTTP has it: what a request says of it (Cache-Control, RFC 9111), and what an answer
// says of how it came about (Cache-Status, RFC 9211; Age; X-Pacer-Cache, the same in a word).
#ifndef PCR_SERVER_CACHING_H
#define PCR_SERVER_CACHING_H

#include "cache/cache.h"
#include "server/app.h"

struct pcr_caching { // of one request
    bool no_store;   // it is not looked for, and not kept
    bool only_if_cached;
    uint64_t max_age_ns; // UINT64_MAX: any; 0: no-cache
    struct pcr_str tenant;
};
void pcr_caching_read(const struct pcr_app *app, const struct pcr_http_request *request,
                      struct pcr_caching *out);

#define PCR_CACHING_HEADERS 3
struct pcr_caching_headers {
    struct pcr_http_header list[PCR_CACHING_HEADERS];
    size_t n;
    char status[112], age[20], word[32];
};
// How the answer of that call came about; `bucketed`: for features that were rounded.
void pcr_caching_say(const struct pcr_cache_call *call, bool bucketed,
                     struct pcr_caching_headers *out);
// It was computed without the cache, although answers of the model are kept: `reason` is
// "no-store", "nan", "large", "contract" or "off".
void pcr_caching_say_bypass(const char *reason, bool bucketed, struct pcr_caching_headers *out);
#endif
