// SPDX-License-Identifier: Apache-2.0
// A hash map from text to a pointer. Keys are copied, values are the caller's. Single-threaded.
#ifndef PCR_BASE_MAP_H
#define PCR_BASE_MAP_H

#include "base/str.h"

// A fast hash, not for secrets. Where names come from outside take pcr_rand_process_seed() for a
// seed, so that nobody can choose them to collide.
uint64_t pcr_str_hash(struct pcr_str text, uint64_t seed);
// 128 bits (XXH3), the same on every machine and in every process.
struct pcr_hash128 {
    uint64_t hi, lo;
};
struct pcr_hash128 pcr_str_hash128(struct pcr_str text);

struct pcr_map_slot {
    uint64_t hash;
    char *key; // NULL: free
    size_t key_len;
    void *value;
};

struct pcr_map {
    struct pcr_map_slot *slots;
    size_t cap; // a power of two, or 0
    size_t count;
};

void pcr_map_init(struct pcr_map *map);
void pcr_map_fini(struct pcr_map *map);
// The value, or NULL.
void *pcr_map_get(const struct pcr_map *map, struct pcr_str key);
// Sets or replaces; false when memory is out. `value` must not be NULL. *old (if not NULL) is what
// was there.
bool pcr_map_put(struct pcr_map *map, struct pcr_str key, void *value, void **old);
// Takes the entry out and returns its value, or NULL.
void *pcr_map_remove(struct pcr_map *map, struct pcr_str key);
// Walks all entries in no particular order: start with *cursor 0; false at the end.
bool pcr_map_next(const struct pcr_map *map, size_t *cursor, struct pcr_str *key, void **value);

#endif
