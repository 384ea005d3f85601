// SPDX-License-Identifier: Apache-2.0
// Tensor data of the Open Inference Protocol: JSON arrays and little-endian bytes, to and from
// arrays of the element type.
//
// yyjson keeps the members of an array side by side, and a scalar takes exactly one value. So the
// innermost arrays, where all the numbers are, are read by one tight loop per element type that
// stops at the first value that does not fit; only the loop's end decides whether that was the end
// or a fault, and only a fault looks at what the value was. Nested arrays need not follow the shape
// (clients send flat, nested and half-nested data) but must not be ragged: a ragged array is never
// what its sender meant.
//
// The invariant: memory is taken for as many elements as the input can hold at most, never
// for what a shape claims. Rejected: reading through doubles (64-bit integers would lose
// bits) and rounding floats for integer types (a client that sends 1.5 for an INT32 has a
// bug, and silence would hide it).
#include "server/v2_data.h"

#include <math.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "binary tensors are little-endian");

// --- reading JSON
// ------------------------------------------------------------------------------------------- Each
// reads up to n scalars and returns how many fitted the type. yyjson keeps only negative integers
// (and -0) as signed ones.

#define READ_SIGNED(suffix, type, low, high)                                 \
    static size_t read_##suffix(yyjson_val *value, size_t n, void *data) {   \
        type *out = data;                                                    \
        for (size_t i = 0; i < n; i++) {                                     \
            if (unsafe_yyjson_is_uint(value + i)) {                          \
                if (unsafe_yyjson_get_uint(value + i) > (uint64_t)(high))    \
                    return i;                                                \
            } else if (!unsafe_yyjson_is_sint(value + i) ||                  \
                       unsafe_yyjson_get_sint(value + i) < (int64_t)(low)) { \
                return i;                                                    \
            }                                                                \
            out[i] = (type)unsafe_yyjson_get_sint(value + i);                \
        }                                                                    \
        return n;                                                            \
    }
#define READ_UNSIGNED(suffix, type, high)                                                          \
    static size_t read_##suffix(yyjson_val *value, size_t n, void *data) {                         \
        type *out = data;                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            if (unsafe_yyjson_is_uint(value + i)                                                   \
                    ? unsafe_yyjson_get_uint(value + i) > (uint64_t)(high)                         \
                    : !unsafe_yyjson_is_sint(value + i) || unsafe_yyjson_get_sint(value + i) != 0) \
                return i;                                                                          \
            out[i] = (type)unsafe_yyjson_get_uint(value + i);                                      \
        }                                                                                          \
        return n;                                                                                  \
    }
#define READ_FLOAT(suffix, type)                                           \
    static size_t read_##suffix(yyjson_val *value, size_t n, void *data) { \
        type *out = data;                                                  \
        for (size_t i = 0; i < n; i++) {                                   \
            if (PCR_LIKELY(unsafe_yyjson_is_real(value + i))) {            \
                out[i] = (type)unsafe_yyjson_get_real(value + i);          \
                if (PCR_UNLIKELY(!isfinite(out[i])))                       \
                    return i;                                              \
            } else if (unsafe_yyjson_is_uint(value + i)) {                 \
                out[i] = (type)unsafe_yyjson_get_uint(value + i);          \
            } else if (unsafe_yyjson_is_sint(value + i)) {                 \
                out[i] = (type)unsafe_yyjson_get_sint(value + i);          \
            } else {                                                       \
                return i;                                                  \
            }                                                              \
        }                                                                  \
        return n;                                                          \
    }

READ_SIGNED(int8, int8_t, INT8_MIN, INT8_MAX)
READ_SIGNED(int16, int16_t, INT16_MIN, INT16_MAX)
READ_SIGNED(int32, int32_t, INT32_MIN, INT32_MAX)
READ_SIGNED(int64, int64_t, INT64_MIN, INT64_MAX)
READ_UNSIGNED(uint8, uint8_t, UINT8_MAX)
READ_UNSIGNED(uint16, uint16_t, UINT16_MAX)
READ_UNSIGNED(uint32, uint32_t, UINT32_MAX)
READ_UNSIGNED(uint64, uint64_t, UINT64_MAX)
READ_FLOAT(fp32, float)
READ_FLOAT(fp64, double)

static size_t read_bool(yyjson_val *value, size_t n, void *data) {
    uint8_t *out = data;
    for (size_t i = 0; i < n; i++) {
        if (!unsafe_yyjson_is_bool(value + i))
            return i;
        out[i] = unsafe_yyjson_is_true(value + i);
    }
    return n;
}

static size_t read_bytes(yyjson_val *value, size_t n, void *data) {
    struct pacer_bytes *out = data;
    for (size_t i = 0; i < n; i++) {
        if (!unsafe_yyjson_is_str(value + i))
            return i;
        out[i] = (struct pacer_bytes){unsafe_yyjson_get_str(value + i),
                                      unsafe_yyjson_get_len(value + i)};
    }
    return n;
}

struct reader {
    size_t (*read)(yyjson_val *value, size_t n, void *data);
    size_t element_bytes;
    const char *expected; // for messages
};

static const struct reader readers[] = {
    [PACER_BOOL] = {read_bool, 1, "true or false"},
    [PACER_UINT8] = {read_uint8, 1, "a whole number from 0 to 255"},
    [PACER_UINT16] = {read_uint16, 2, "a whole number from 0 to 65535"},
    [PACER_UINT32] = {read_uint32, 4, "a whole number from 0 to 4294967295"},
    [PACER_UINT64] = {read_uint64, 8, "a whole number from 0 to 18446744073709551615"},
    [PACER_INT8] = {read_int8, 1, "a whole number from -128 to 127"},
    [PACER_INT16] = {read_int16, 2, "a whole number from -32768 to 32767"},
    [PACER_INT32] = {read_int32, 4, "a whole number from -2147483648 to 2147483647"},
    [PACER_INT64] = {read_int64, 8,
                     "a whole number from -9223372036854775808 to 9223372036854775807"},
    [PACER_FP32] = {read_fp32, 4, "a number within the range of FP32"},
    [PACER_FP64] = {read_fp64, 8, "a number within the range of FP64"},
    [PACER_BYTES] = {read_bytes, sizeof(struct pacer_bytes), "a string"},
};

struct fill {
    const struct pcr_v2_slot *slot;
    const struct reader *reader;
    char *data;
    size_t done;       // elements read
    size_t leaf_depth; // of the innermost arrays; SIZE_MAX: none seen yet
    size_t n_levels;
    size_t widths[PCR_JSON_DEPTH_MAX]; // of the first array on each level
    struct pacer_error *err;
};

#define WHERE "input '%s' for model '%s'"
#define SLOT_ARGS(slot) (slot)->input, (slot)->model

static int bad_element(struct fill *fill, size_t index, yyjson_val *value) {
    char what[96];
    return pcr_err(fill->err, PACER_EINVAL, "v2",
                   WHERE ": element %zu of its data is %s, expected %s (%s)", SLOT_ARGS(fill->slot),
                   index, pcr_json_describe(value, what, sizeof what), fill->reader->expected,
                   pacer_dtype_name(fill->slot->dtype));
}

static int wrong_count(const struct pcr_v2_slot *slot, const char *holds, struct pacer_error *err) {
    char shape[256];
    return pcr_err(err, PACER_EINVAL, "v2",
                   "shape does not match true shape of 'data' field: " WHERE
                   " has shape %s, that is %zu elements, but its data holds %s",
                   SLOT_ARGS(slot), pcr_shape_text(slot->shape, slot->rank, shape, sizeof shape),
                   slot->count, holds);
}

static int ragged(struct fill *fill) {
    return pcr_err(fill->err, PACER_EINVAL, "v2",
                   WHERE ": its data is ragged (near element %zu); nested arrays must all be as "
                         "long and as deep as their neighbours",
                   SLOT_ARGS(fill->slot), fill->done);
}

static int fill_leaf(struct fill *fill, yyjson_val *array, size_t n) {
    if (n > fill->slot->count - fill->done)
        return wrong_count(fill->slot, "more", fill->err);
    if (n == 0)
        return 0;
    yyjson_val *first = unsafe_yyjson_get_first(array);
    char *to = fill->data + fill->done * fill->reader->element_bytes;
    size_t read = fill->reader->read(first, n, to);
    if (PCR_UNLIKELY(read < n))
        return yyjson_is_arr(first + read) ? ragged(fill)
                                           : bad_element(fill, fill->done + read, first + read);
    fill->done += n;
    return 0;
}

// Recursion is bounded by the depth of the document, PCR_JSON_DEPTH_MAX.
static int fill_array(struct fill *fill, yyjson_val *array, size_t depth) {
    PCR_ASSERT(depth < PCR_JSON_DEPTH_MAX);
    size_t n = unsafe_yyjson_get_len(array);
    if (depth == fill->n_levels)
        fill->widths[fill->n_levels++] = n;
    else if (fill->widths[depth] != n)
        return ragged(fill);
    bool leaf = n == 0 || !yyjson_is_arr(unsafe_yyjson_get_first(array));
    if (leaf) {
        if (fill->leaf_depth == SIZE_MAX)
            fill->leaf_depth = depth;
        return fill->leaf_depth == depth ? fill_leaf(fill, array, n) : ragged(fill);
    }
    yyjson_val *inner = unsafe_yyjson_get_first(array);
    for (size_t i = 0; i < n; i++, inner = unsafe_yyjson_get_next(inner)) {
        if (!yyjson_is_arr(inner))
            return ragged(fill);
        int rc = fill_array(fill, inner, depth + 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pcr_v2_data_from_json(struct pcr_arena *arena, const struct pcr_v2_slot *slot, yyjson_val *data,
                          size_t text_bytes, const void **out, struct pacer_error *err) {
    if (slot->dtype == PACER_FP16 || slot->dtype == PACER_BF16)
        return pcr_err(err, PACER_EINVAL, "v2",
                       "receiving %s data via JSON is not supported. Please use the binary data "
                       "format for input '%s' of model '%s'",
                       pacer_dtype_name(slot->dtype), SLOT_ARGS(slot));
    if (!yyjson_is_arr(data)) {
        char what[96];
        return pcr_err(err, PACER_EINVAL, "v2", WHERE ": 'data' is %s, expected an array",
                       SLOT_ARGS(slot), pcr_json_describe(data, what, sizeof what));
    }
    if (slot->count > text_bytes)
        return wrong_count(slot, "fewer", err);
    const struct reader *reader = &readers[slot->dtype];
    struct fill fill;
    fill.slot = slot;
    fill.reader = reader;
    fill.done = fill.n_levels = 0;
    fill.leaf_depth = SIZE_MAX;
    fill.err = err;
    fill.data = pcr_arena_array(arena, slot->count ? slot->count : 1, reader->element_bytes);
    if (!fill.data)
        return pcr_err(err, PACER_ENOMEM, "v2", WHERE ": no memory for %zu elements",
                       SLOT_ARGS(slot), slot->count);
    int rc = fill_array(&fill, data, 0);
    if (rc < 0)
        return rc;
    if (fill.done < slot->count) {
        char holds[24];
        snprintf(holds, sizeof holds, "%zu", fill.done);
        return wrong_count(slot, holds, err);
    }
    *out = fill.data;
    return 0;
}

// --- reading bytes ------------------------------------------------------------------------------

static int wrong_size(const struct pcr_v2_slot *slot, size_t bytes, size_t expected,
                      struct pacer_error *err) {
    char shape[256];
    return pcr_err(err, PACER_EINVAL, "v2",
                   WHERE ": got %zu bytes of binary data, but shape %s of %s takes %zu",
                   SLOT_ARGS(slot), bytes,
                   pcr_shape_text(slot->shape, slot->rank, shape, sizeof shape),
                   pacer_dtype_name(slot->dtype), expected);
}

static int strings_from_binary(struct pcr_arena *arena, const struct pcr_v2_slot *slot,
                               struct pcr_str bytes, const void **out, struct pacer_error *err) {
    if (slot->count > bytes.len / 4)
        return pcr_err(err, PACER_EINVAL, "v2",
                       WHERE
                       ": %zu bytes of binary data are too few for %zu strings, each a 4-byte "
                       "length and its bytes",
                       SLOT_ARGS(slot), bytes.len, slot->count);
    struct pacer_bytes *strings = pcr_arena_array(arena, slot->count + 1, sizeof *strings);
    if (!strings)
        return pcr_err(err, PACER_ENOMEM, "v2", WHERE ": no memory for %zu strings",
                       SLOT_ARGS(slot), slot->count);
    size_t at = 0;
    for (size_t i = 0; i < slot->count; i++) {
        uint32_t len;
        if (bytes.len - at < sizeof len)
            return pcr_err(err, PACER_EINVAL, "v2",
                           WHERE ": binary data ends before the length of string %zu",
                           SLOT_ARGS(slot), i);
        memcpy(&len, bytes.ptr + at, sizeof len);
        at += sizeof len;
        if (bytes.len - at < len)
            return pcr_err(err, PACER_EINVAL, "v2",
                           WHERE ": string %zu is said to have %u bytes, but only %zu follow",
                           SLOT_ARGS(slot), i, len, bytes.len - at);
        strings[i] = (struct pacer_bytes){bytes.ptr + at, len};
        at += len;
    }
    if (at != bytes.len)
        return pcr_err(err, PACER_EINVAL, "v2",
                       WHERE ": %zu bytes of binary data are left after %zu strings",
                       SLOT_ARGS(slot), bytes.len - at, slot->count);
    *out = strings;
    return 0;
}

int pcr_v2_data_from_binary(struct pcr_arena *arena, const struct pcr_v2_slot *slot,
                            struct pcr_str bytes, const void **out, struct pacer_error *err) {
    if (slot->dtype == PACER_BYTES)
        return strings_from_binary(arena, slot, bytes, out, err);
    size_t element_bytes = pacer_dtype_size(slot->dtype);
    size_t expected;
    if (__builtin_mul_overflow(slot->count, element_bytes, &expected))
        expected = SIZE_MAX;
    if (expected != bytes.len)
        return wrong_size(slot, bytes.len, expected, err);
    if (slot->dtype == PACER_BOOL) {
        for (size_t i = 0; i < bytes.len; i++)
            if ((unsigned char)bytes.ptr[i] > 1)
                return pcr_err(err, PACER_EINVAL, "v2",
                               WHERE ": byte %zu of its BOOL data is %d, expected 0 or 1",
                               SLOT_ARGS(slot), i, (unsigned char)bytes.ptr[i]);
    }
    if (bytes.len && (uintptr_t)bytes.ptr % element_bytes == 0) {
        *out = bytes.ptr;
        return 0;
    }
    char *copy = pcr_arena_alloc(arena, bytes.len ? bytes.len : 1);
    if (!copy)
        return pcr_err(err, PACER_ENOMEM, "v2", WHERE ": no memory for %zu bytes", SLOT_ARGS(slot),
                       bytes.len);
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    *out = copy;
    return 0;
}

// --- writing ------------------------------------------------------------------------------------

#define WRITE(type, call)                      \
    for (size_t i = 0; i < count; i++)         \
        call(writer, ((const type *)data)[i]); \
    break
#define WRITE_FLOAT(type, call)               \
    for (size_t i = 0; i < count; i++) {      \
        type value = ((const type *)data)[i]; \
        call(writer, value);                  \
        *non_finite |= !isfinite(value);      \
    }                                         \
    break

void pcr_v2_data_to_json(struct pcr_json_writer *writer, const struct pacer_tensor *tensor,
                         size_t count, bool *non_finite) {
    const void *data = tensor->data;
    pcr_json_array_begin(writer);
    switch (tensor->dtype) {
    case PACER_BOOL:
        WRITE(uint8_t, pcr_json_bool);
    case PACER_UINT8:
        WRITE(uint8_t, pcr_json_u64);
    case PACER_UINT16:
        WRITE(uint16_t, pcr_json_u64);
    case PACER_UINT32:
        WRITE(uint32_t, pcr_json_u64);
    case PACER_UINT64:
        WRITE(uint64_t, pcr_json_u64);
    case PACER_INT8:
        WRITE(int8_t, pcr_json_i64);
    case PACER_INT16:
        WRITE(int16_t, pcr_json_i64);
    case PACER_INT32:
        WRITE(int32_t, pcr_json_i64);
    case PACER_INT64:
        WRITE(int64_t, pcr_json_i64);
    case PACER_FP32:
        WRITE_FLOAT(float, pcr_json_f32);
    case PACER_FP64:
        WRITE_FLOAT(double, pcr_json_f64);
    case PACER_BYTES:
        for (size_t i = 0; i < count; i++) {
            const struct pacer_bytes *element = (const struct pacer_bytes *)data + i;
            pcr_json_string(writer, (struct pcr_str){element->data, element->size});
        }
        break;
    default:
        PCR_ASSERT(false); // FP16 and BF16 never come here
    }
    pcr_json_array_end(writer);
}

// Of one element, its comma included.
static size_t text_bytes_max(enum pacer_dtype dtype) {
    switch (dtype) {
    case PACER_BOOL:
    case PACER_INT8:
    case PACER_UINT8:
    case PACER_INT16:
    case PACER_UINT16:
        return 8;
    case PACER_INT32:
    case PACER_UINT32:
        return 12;
    case PACER_INT64:
    case PACER_UINT64:
        return 21;
    default:
        return 33; // the json room keeps 32 bytes for any number
    }
}

size_t pcr_v2_data_json_bytes_max(const struct pacer_tensor *tensor, size_t count) {
    size_t total = 2, each = text_bytes_max(tensor->dtype);
    if (tensor->dtype != PACER_BYTES)
        return __builtin_mul_overflow(count, each, &each) ||
                       __builtin_add_overflow(total, each, &total)
                   ? SIZE_MAX
                   : total;
    const struct pacer_bytes *strings = tensor->data;
    for (size_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(strings[i].size, (size_t)6,
                                   &each) || // an escape takes six at most
            __builtin_add_overflow(total, each + 3, &total))
            return SIZE_MAX;
    return total;
}

size_t pcr_v2_data_binary_bytes(const struct pacer_tensor *tensor, size_t count) {
    size_t total = 0;
    if (tensor->dtype != PACER_BYTES)
        return __builtin_mul_overflow(count, pacer_dtype_size(tensor->dtype), &total) ? SIZE_MAX
                                                                                      : total;
    const struct pacer_bytes *strings = tensor->data;
    for (size_t i = 0; i < count; i++)
        if (strings[i].size > UINT32_MAX ||
            __builtin_add_overflow(total, strings[i].size + sizeof(uint32_t), &total))
            return SIZE_MAX;
    return total;
}

void pcr_v2_data_to_binary(const struct pacer_tensor *tensor, size_t count, char *out) {
    if (tensor->dtype != PACER_BYTES) {
        if (count)
            memcpy(out, tensor->data, count * pacer_dtype_size(tensor->dtype));
        return;
    }
    const struct pacer_bytes *strings = tensor->data;
    for (size_t i = 0; i < count; i++) {
        uint32_t len = (uint32_t)strings[i].size;
        memcpy(out, &len, sizeof len);
        if (len)
            memcpy(out + sizeof len, strings[i].data, len);
        out += sizeof len + len;
    }
}
