// SPDX-License-Identifier: Apache-2.0
// A head of fixed size, then key and body. The checksum (XXH3, 64 bits) covers all that follows it.
#include "cache/value.h"

#define MAGIC 0x31766370u // "pcv1": another layout gets another number

struct head {
    uint32_t magic, key_bytes;
    uint64_t checksum, body_bytes, stored_ms, fresh_ms, cost_us;
};
_Static_assert(sizeof(struct head) == 48, "no padding");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are written as they lie");

static uint64_t checksum_of(const char *bytes, size_t n) {
    size_t from = offsetof(struct head, body_bytes);
    struct head head;
    memcpy(&head, bytes, sizeof head);
    return pcr_str_hash((struct pcr_str){bytes + from, n - from}, head.key_bytes);
}

size_t pcr_cache_value_bytes(const struct pcr_cache_value *value) {
    return sizeof(struct head) + value->key.len + value->body.len;
}

void pcr_cache_value_write(const struct pcr_cache_value *value, char *out) {
    PCR_ASSERT(value->key.len <= UINT32_MAX);
    struct head head = {
        .magic = MAGIC,
        .key_bytes = (uint32_t)value->key.len,
        .body_bytes = value->body.len,
        .stored_ms = value->stored_ms,
        .fresh_ms = value->fresh_ms,
        .cost_us = value->cost_us,
    };
    memcpy(out, &head, sizeof head);
    memcpy(out + sizeof head, value->key.ptr, value->key.len);
    if (value->body.len)
        memcpy(out + sizeof head + value->key.len, value->body.ptr, value->body.len);
    head.checksum = checksum_of(out, pcr_cache_value_bytes(value));
    memcpy(out, &head, sizeof head);
}

bool pcr_cache_value_read(struct pcr_str bytes, struct pcr_cache_value *out) {
    struct head head;
    if (bytes.len < sizeof head)
        return false;
    memcpy(&head, bytes.ptr, sizeof head);
    size_t rest = bytes.len - sizeof head;
    if (head.magic != MAGIC || head.key_bytes > rest || head.body_bytes != rest - head.key_bytes ||
        head.checksum != checksum_of(bytes.ptr, bytes.len))
        return false;
    const char *key = bytes.ptr + sizeof head;
    *out = (struct pcr_cache_value){
        .key = {key, head.key_bytes},
        .body = {key + head.key_bytes, (size_t)head.body_bytes},
        .stored_ms = head.stored_ms,
        .fresh_ms = head.fresh_ms,
        .cost_us = head.cost_us,
    };
    return true;
}
