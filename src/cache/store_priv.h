// SPDX-License-Identifier: Apache-2.0
// What stores have in common.
#ifndef PCR_CACHE_STORE_PRIV_H
#define PCR_CACHE_STORE_PRIV_H

#include "cache/store.h"

// Under the store's lock. Of a get that was not answered the time says nothing.
static inline void pcr_store_count_get(struct pcr_store_stats *stats, enum pcr_store_found found,
                                       uint64_t took_ns) {
    size_t bucket = 0;
    stats->hits += found == PCR_STORE_FOUND;
    stats->misses += found == PCR_STORE_MISSING;
    stats->failures += found == PCR_STORE_FAILED;
    if (found == PCR_STORE_FAILED)
        return;
    stats->get_ns += took_ns;
    while (bucket + 1 < PCR_COUNT_OF(stats->get_buckets) && took_ns > PCR_NS_PER_US << bucket)
        bucket++;
    stats->get_buckets[bucket]++;
}

#endif
