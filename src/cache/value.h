// SPDX-License-Identifier: Apache-2.0
// What stores keep: an answer with its key and its times, versioned and checksummed. Stores are
// shared with other programs, other versions and disks, so whatever does not read exactly as it
// was written is no value.
#ifndef PCR_CACHE_VALUE_H
#define PCR_CACHE_VALUE_H

#include "base/base.h"

struct pcr_cache_value {
    struct pcr_str key, body; // borrowed
    uint64_t stored_ms;       // wall clock
    uint64_t fresh_ms;        // how long it is fresh, from then on
    uint64_t cost_us;         // of computing it
};

size_t pcr_cache_value_bytes(const struct pcr_cache_value *value);
// Into pcr_cache_value_bytes of memory.
void pcr_cache_value_write(const struct pcr_cache_value *value, char *out);
// False: foreign, truncated, damaged, or of another version.
bool pcr_cache_value_read(struct pcr_str bytes, struct pcr_cache_value *out);

#endif
