// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include "base/assert.h"
#include "base/rand.h"

#include <stdlib.h>
#include <xxhash.h>

#define MAP_CAP_FIRST 16

uint64_t pcr_str_hash(struct pcr_str text, uint64_t seed) {
    return XXH3_64bits_withSeed(text.ptr, text.len, seed);
}

struct pcr_hash128 pcr_str_hash128(struct pcr_str text) {
    XXH128_hash_t hash = XXH3_128bits(text.ptr, text.len);
    return (struct pcr_hash128){hash.high64, hash.low64};
}

void pcr_map_init(struct pcr_map *map) {
    *map = (struct pcr_map){0};
}

void pcr_map_fini(struct pcr_map *map) {
    for (size_t i = 0; i < map->cap; i++)
        free(map->slots[i].key);
    free(map->slots);
    pcr_map_init(map);
}

// Seeded once per process: keys may come from outside, and nobody shall choose them to collide.
static uint64_t hash_of(struct pcr_str key) {
    return pcr_str_hash(key, pcr_rand_process_seed());
}

static size_t find(const struct pcr_map *map, struct pcr_str key, uint64_t hash) {
    size_t i = hash & (map->cap - 1);
    while (map->slots[i].key) {
        const struct pcr_map_slot *slot = &map->slots[i];
        if (slot->hash == hash && slot->key_len == key.len &&
            memcmp(slot->key, key.ptr, key.len) == 0)
            break;
        i = (i + 1) & (map->cap - 1);
    }
    return i;
}

void *pcr_map_get(const struct pcr_map *map, struct pcr_str key) {
    if (map->count == 0)
        return NULL;
    const struct pcr_map_slot *slot = &map->slots[find(map, key, hash_of(key))];
    return slot->key ? slot->value : NULL;
}

static bool grow(struct pcr_map *map) {
    struct pcr_map bigger = {.cap = map->cap ? map->cap * 2 : MAP_CAP_FIRST, .count = map->count};
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < map->cap; i++) {
        const struct pcr_map_slot *slot = &map->slots[i];
        if (slot->key)
            bigger.slots[find(&bigger, (struct pcr_str){slot->key, slot->key_len}, slot->hash)] =
                *slot;
    }
    free(map->slots);
    *map = bigger;
    return true;
}

bool pcr_map_put(struct pcr_map *map, struct pcr_str key, void *value, void **old) {
    PCR_ASSERT(value != NULL);
    if (old)
        *old = NULL;
    if ((map->count + 1) * 4 > map->cap * 3 && !grow(map))
        return false;
    uint64_t hash = hash_of(key);
    struct pcr_map_slot *slot = &map->slots[find(map, key, hash)];
    if (slot->key) {
        if (old)
            *old = slot->value;
        slot->value = value;
        return true;
    }
    char *copy = malloc(key.len + 1);
    if (!copy)
        return false;
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    copy[key.len] = '\0';
    slot->hash = hash;
    slot->key = copy;
    slot->key_len = key.len;
    slot->value = value;
    map->count++;
    return true;
}

void *pcr_map_remove(struct pcr_map *map, struct pcr_str key) {
    if (map->count == 0)
        return NULL;
    size_t hole = find(map, key, hash_of(key));
    if (!map->slots[hole].key)
        return NULL;
    void *value = map->slots[hole].value;
    free(map->slots[hole].key);
    map->count--;
    // Linear probing without tombstones: whoever could have stood in the hole moves into it.
    size_t mask = map->cap - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct pcr_map_slot){0};
    return value;
}

bool pcr_map_next(const struct pcr_map *map, size_t *cursor, struct pcr_str *key, void **value) {
    for (; *cursor < map->cap; (*cursor)++) {
        const struct pcr_map_slot *slot = &map->slots[*cursor];
        if (!slot->key)
            continue;
        if (key)
            *key = (struct pcr_str){slot->key, slot->key_len};
        if (value)
            *value = slot->value;
        (*cursor)++;
        return true;
    }
    return false;
}
