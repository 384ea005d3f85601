// SPDX-License-Identifier: Apache-2.0
// The bytes of a key: a version, then parts, each a letter, its length and its content.
// Little-endian as the machines pacer runs on, so that replicas agree.
//
// Floats are handled as the integers they are made of: two compares find −0.0 and NaN in every
// width, and the compiler makes vector code of it.
#include "cache/key.h"

#include <pacer/pacer.h>

#define KEY_VERSION "pk1"
#define INFINITY_32 0x7f800000u
#define INFINITY_64 0x7ff0000000000000ull
#define INFINITY_FP16 0x7c00u
#define INFINITY_BF16 0x7f80u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "keys are written in little-endian order");

// Copies floats with 0.0 for −0.0; false if one is NaN. `infinity` has all bits of the exponent.
#define DEFINE_COPY(name, type)                                             \
    static bool name(type *to, const type *from, size_t n, type infinity) { \
        const type sign = (type)((type)1 << (sizeof(type) * 8 - 1));        \
        type nans = 0;                                                      \
        for (size_t i = 0; i < n; i++) {                                    \
            type value;                                                     \
            memcpy(&value, &from[i], sizeof value);                         \
            nans = (type)(nans | ((type)(value & (type)~sign) > infinity)); \
            value = value == sign ? 0 : value;                              \
            memcpy(&to[i], &value, sizeof value);                           \
        }                                                                   \
        return nans == 0;                                                   \
    }
DEFINE_COPY(copy_16, uint16_t)
DEFINE_COPY(copy_32, uint32_t)
DEFINE_COPY(copy_64, uint64_t)

static bool is_float(enum pacer_dtype dtype) {
    return dtype == PACER_FP16 || dtype == PACER_BF16 || dtype == PACER_FP32 || dtype == PACER_FP64;
}

// False: there is a NaN. Neither side need be aligned.
static bool copy_floats(enum pacer_dtype dtype, void *to, const void *from, size_t n) {
    switch (dtype) {
    case PACER_FP16:
        return copy_16(to, from, n, INFINITY_FP16);
    case PACER_BF16:
        return copy_16(to, from, n, INFINITY_BF16);
    case PACER_FP32:
        return copy_32(to, from, n, INFINITY_32);
    default:
        PCR_ASSERT(dtype == PACER_FP64);
        return copy_64(to, from, n, INFINITY_64);
    }
}

// --- parts --------------------------------------------------------------------------------------
static char *begin_part(struct pcr_cache_keying *keying, char kind, size_t bytes) {
    uint64_t length = bytes;
    char *at = pcr_buf_reserve(keying->buf, 1 + sizeof length + bytes);
    if (!at)
        return NULL;
    *at = kind;
    memcpy(at + 1, &length, sizeof length);
    keying->buf->len += 1 + sizeof length + bytes;
    return at + 1 + sizeof length;
}

static void put_part(struct pcr_cache_keying *keying, char kind, const void *data, size_t bytes) {
    char *at = begin_part(keying, kind, bytes);
    if (at && bytes)
        memcpy(at, data, bytes);
}

void pcr_cache_key_begin(struct pcr_cache_keying *keying, struct pcr_buf *buf, struct pcr_str kind,
                         struct pcr_str tenant, struct pcr_str model, struct pcr_str version) {
    *keying =
        (struct pcr_cache_keying){.buf = buf, .began = buf->len, .model = model, .tenant = tenant};
    pcr_buf_str(buf, PCR_STR(KEY_VERSION));
    pcr_cache_key_text(keying, tenant);
    pcr_cache_key_text(keying, model);
    pcr_cache_key_text(keying, kind);
    pcr_cache_key_text(keying, version);
    pcr_cache_key_text(keying, pcr_str(pacer_version())); // releases may word answers differently
}

void pcr_cache_key_text(struct pcr_cache_keying *keying, struct pcr_str text) {
    put_part(keying, 'T', text.ptr, text.len);
}

void pcr_cache_key_u64(struct pcr_cache_keying *keying, uint64_t number) {
    put_part(keying, 'U', &number, sizeof number);
}

void pcr_cache_key_f64(struct pcr_cache_keying *keying, double number) {
    char *at = begin_part(keying, 'D', sizeof number);
    if (at && !copy_floats(PACER_FP64, at, &number, 1))
        keying->refused = true;
}

static void put_strings(struct pcr_cache_keying *keying, const struct pacer_bytes *texts,
                        size_t n) {
    for (size_t i = 0; i < n; i++)
        put_part(keying, 'B', texts[i].data, texts[i].size);
}

void pcr_cache_key_tensor(struct pcr_cache_keying *keying, const struct pacer_tensor *tensor) {
    size_t count;
    size_t size = pacer_dtype_size(tensor->dtype);
    if (pacer_shape_count(tensor->shape, tensor->rank, &count) < 0) {
        keying->refused = true;
        return;
    }
    pcr_cache_key_text(keying, pcr_str(tensor->name));
    pcr_cache_key_u64(keying, (uint64_t)tensor->dtype);
    put_part(keying, 'S', tensor->shape, tensor->rank * sizeof *tensor->shape);
    if (tensor->dtype == PACER_BYTES) {
        put_strings(keying, tensor->data, count);
    } else if (is_float(tensor->dtype)) {
        char *at = begin_part(keying, 'F', count * size);
        if (at && !copy_floats(tensor->dtype, at, tensor->data, count))
            keying->refused = true;
    } else {
        put_part(keying, 'I', tensor->data, count * size);
    }
}

// --- names --------------------------------------------------------------------------------------
void pcr_cache_name_of(struct pcr_str tenant, struct pcr_str model, struct pcr_store_name *out) {
    *out =
        (struct pcr_store_name){.tenant = pcr_str_hash(tenant, 0), .model = pcr_str_hash(model, 0)};
}

bool pcr_cache_key_end(struct pcr_cache_keying *keying, struct pcr_cache_key *out) {
    if (keying->refused || keying->buf->failed)
        return false;
    struct pcr_str bytes = pcr_buf_view(keying->buf);
    out->bytes = (struct pcr_str){bytes.ptr + keying->began, bytes.len - keying->began};
    pcr_cache_name_of(keying->tenant, keying->model, &out->name);
    struct pcr_hash128 hash = pcr_str_hash128(out->bytes);
    out->name.hi = hash.hi;
    out->name.lo = hash.lo;
    return true;
}

static bool read_text(struct pcr_str *rest, struct pcr_str *text) {
    uint64_t length;
    if (rest->len < 1 + sizeof length || *rest->ptr != 'T')
        return false;
    memcpy(&length, rest->ptr + 1, sizeof length);
    size_t head = 1 + sizeof length;
    if (length > rest->len - head)
        return false;
    *text = (struct pcr_str){rest->ptr + head, (size_t)length};
    *rest = (struct pcr_str){rest->ptr + head + length, rest->len - head - (size_t)length};
    return true;
}

bool pcr_cache_key_owner(struct pcr_str bytes, struct pcr_str *tenant, struct pcr_str *model) {
    static const struct pcr_str version = {KEY_VERSION, sizeof KEY_VERSION - 1};
    if (!pcr_str_starts_with(bytes, version))
        return false;
    struct pcr_str rest = {bytes.ptr + version.len, bytes.len - version.len};
    return read_text(&rest, tenant) && read_text(&rest, model);
}

// A sign and nothing else.
static bool has_negative_zero(const struct pacer_tensor *tensor, size_t count) {
    const uint16_t *halves = tensor->data;
    const uint32_t *singles = tensor->data;
    const uint64_t *doubles = tensor->data;
    bool found = false;
    switch (pacer_dtype_size(tensor->dtype)) {
    case sizeof(uint16_t):
        for (size_t i = 0; i < count; i++)
            found |= halves[i] == (uint16_t)1 << 15;
        return found;
    case sizeof(uint32_t):
        for (size_t i = 0; i < count; i++)
            found |= singles[i] == (uint32_t)1 << 31;
        return found;
    default:
        for (size_t i = 0; i < count; i++)
            found |= doubles[i] == (uint64_t)1 << 63;
        return found;
    }
}

bool pcr_cache_settle(struct pcr_arena *arena, struct pacer_tensor *tensor) {
    size_t count;
    if (!is_float(tensor->dtype) || pacer_shape_count(tensor->shape, tensor->rank, &count) < 0 ||
        count == 0)
        return true;
    size_t size = pacer_dtype_size(tensor->dtype);
    if (!has_negative_zero(tensor, count))
        return true;
    void *copy = pcr_arena_array(arena, count, size);
    if (!copy)
        return false;
    copy_floats(tensor->dtype, copy, tensor->data, count);
    tensor->data = copy;
    return true;
}
