// SPDX-License-Identifier: Apache-2.0
// What comes back from stores, and the texts around it. The first byte picks: a stored value as it
// is; one whose checksum is made right, so that what lies behind is reached; the owner of a key; a
// Redis URL.
#include "cache/key.h"
#include "cache/redis_url.h"
#include "cache/value.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Where the checksum lies and what it covers, as value.c has it.
#define SUM_AT 8
#define COVERED_AT 16

static void look_at_value(struct pcr_str bytes) {
    struct pcr_cache_value value, again;
    if (!pcr_cache_value_read(bytes, &value))
        return;
    PCR_ASSERT(value.key.ptr >= bytes.ptr && value.key.len + value.body.len < bytes.len);
    char *copy = malloc(pcr_cache_value_bytes(&value));
    PCR_ASSERT(copy && pcr_cache_value_bytes(&value) == bytes.len);
    pcr_cache_value_write(&value, copy);
    PCR_ASSERT(memcmp(copy, bytes.ptr, bytes.len) == 0);
    PCR_ASSERT(pcr_cache_value_read((struct pcr_str){copy, bytes.len}, &again));
    free(copy);
}

static void mend_and_look(const char *bytes, size_t size) {
    uint32_t key_bytes;
    if (size < COVERED_AT)
        return;
    char *copy = malloc(size);
    PCR_ASSERT(copy);
    memcpy(copy, bytes, size);
    memcpy(&key_bytes, copy + 4, sizeof key_bytes);
    uint64_t sum = pcr_str_hash((struct pcr_str){copy + COVERED_AT, size - COVERED_AT}, key_bytes);
    memcpy(copy + SUM_AT, &sum, sizeof sum);
    look_at_value((struct pcr_str){copy, size});
    free(copy);
}

static void look_at_owner(struct pcr_str bytes) {
    struct pcr_str tenant, model;
    if (pcr_cache_key_owner(bytes, &tenant, &model))
        PCR_ASSERT(tenant.len + model.len < bytes.len && model.ptr > tenant.ptr &&
                   model.ptr + model.len <= bytes.ptr + bytes.len);
}

static void look_at_url(struct pcr_str bytes) {
    struct pcr_redis_url url;
    struct pacer_error err;
    char *text = malloc(bytes.len + 1);
    PCR_ASSERT(text);
    memcpy(text, bytes.ptr, bytes.len);
    text[bytes.len] = '\0';
    if (pcr_redis_url_parse(text, &url, &err) == 0) {
        PCR_ASSERT(url.path[0] ? url.path[0] == '/' : url.host[0] && url.port > 0);
        PCR_ASSERT(url.db >= 0 && url.has_password >= url.has_user);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct pcr_str rest = {(const char *)data + 1, size - 1};
    switch (data[0] % 4) {
    case 0:
        look_at_value(rest);
        break;
    case 1:
        mend_and_look(rest.ptr, rest.len);
        break;
    case 2:
        look_at_owner(rest);
        break;
    default:
        look_at_url(rest);
        break;
    }
    return 0;
}
