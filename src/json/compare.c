// SPDX-License-Identifier: Apache-2.0
// Numbers and values compared as JSON Schema compares them.
//
// A JSON number is a decimal; 1 and 1.0 are the same. yyjson gives integers of 64 bits as such and
// everything else as a double. Comparisons between the two kinds are exact (no rounding of 2^53 + 1
// to a double). multipleOf takes a double as the shortest decimal that reads back as it, which is
// what the author wrote for all numbers of up to 15 digits: 0.0075 is a multiple of 0.0001, which
// it is not in binary.
//
// Invariant: equal values have equal hashes, so that uniqueItems and large enums compare only
// within a hash. Rejected: fmod (wrong for decimals) and remainders with a tolerance (wrong for
// large quotients).
#include "json/schema_priv.h"

#include "base/rand.h"

#include <math.h>
#include <stdlib.h>

#define LOOKUP_MAX 16
#define PAIRWISE_MAX 8

// --- numbers ------------------------------------------------------------------------------------

static __int128 whole_of(yyjson_val *value) {
    if (yyjson_is_uint(value))
        return (__int128)yyjson_get_uint(value);
    return (__int128)yyjson_get_sint(value);
}

static int compare_whole_to_real(__int128 whole, double real) {
    if (real >= 18446744073709551616.0)
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    double down = floor(real);
    __int128 other = (__int128)down;
    if (whole != other)
        return whole < other ? -1 : 1;
    return real > down ? -1 : 0;
}

int pcr_json_compare_numbers(yyjson_val *a, yyjson_val *b) {
    bool a_real = yyjson_is_real(a);
    bool b_real = yyjson_is_real(b);
    if (a_real && b_real) {
        double x = yyjson_get_real(a);
        double y = yyjson_get_real(b);
        return (x > y) - (x < y);
    }
    if (a_real)
        return -compare_whole_to_real(whole_of(b), yyjson_get_real(a));
    if (b_real)
        return compare_whole_to_real(whole_of(a), yyjson_get_real(b));
    __int128 x = whole_of(a);
    __int128 y = whole_of(b);
    return (x > y) - (x < y);
}

bool pcr_json_is_integer(yyjson_val *value) {
    if (yyjson_is_int(value))
        return true;
    return yyjson_is_real(value) && floor(yyjson_get_real(value)) == yyjson_get_real(value);
}

static struct pcr_json_decimal decimal_of(yyjson_val *value) {
    if (yyjson_is_uint(value))
        return (struct pcr_json_decimal){yyjson_get_uint(value), 0};
    if (yyjson_is_sint(value))
        return (struct pcr_json_decimal){-(uint64_t)yyjson_get_sint(value), 0};
    return pcr_json_decimal_of(fabs(yyjson_get_real(value)));
}

// digits * 10^power modulo m
static uint64_t scaled_modulo(uint64_t digits, int power, uint64_t m) {
    unsigned __int128 result = digits % m;
    unsigned __int128 factor = 10 % m;
    for (; power > 0; power >>= 1) {
        if (power & 1)
            result = result * factor % m;
        factor = factor * factor % m;
    }
    return (uint64_t)result;
}

bool pcr_json_is_multiple(yyjson_val *a, yyjson_val *b) {
    struct pcr_json_decimal x = decimal_of(a);
    struct pcr_json_decimal y = decimal_of(b);
    if (x.digits == 0)
        return true;
    if (y.digits == 0)
        return false;
    if (x.exponent >= y.exponent)
        return scaled_modulo(x.digits, x.exponent - y.exponent, y.digits) == 0;
    // x is given in smaller units: y counts in them too, and must not outgrow x.
    unsigned __int128 unit = y.digits;
    for (int i = y.exponent - x.exponent; i > 0; i--) {
        unit *= 10;
        if (unit > x.digits)
            return false;
    }
    return x.digits % (uint64_t)unit == 0;
}

// --- equality -----------------------------------------------------------------------------------

// Of a name or another string.
static struct pcr_str text_of(yyjson_val *string) {
    return (struct pcr_str){unsafe_yyjson_get_str(string), unsafe_yyjson_get_len(string)};
}

static bool equal_text(yyjson_val *a, yyjson_val *b) {
    return pcr_str_eq(text_of(a), text_of(b));
}

static int by_name(const void *left, const void *right) {
    struct pcr_str a = text_of(*(yyjson_val *const *)left);
    struct pcr_str b = text_of(*(yyjson_val *const *)right);
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len > 0 ? memcmp(a.ptr, b.ptr, a.len) : 0;
}

static void sort_keys(yyjson_val *object, yyjson_val **keys, size_t n) {
    yyjson_val *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1))
        keys[i] = key;
    qsort(keys, n, sizeof *keys, by_name);
}

// Large objects: both sorted, then side by side.
static bool equal_sorted(yyjson_val *a, yyjson_val *b, size_t n, bool *out_of_memory) {
    yyjson_val **keys = calloc(2 * n, sizeof *keys);
    if (!keys) {
        *out_of_memory = true;
        return false;
    }
    sort_keys(a, keys, n);
    sort_keys(b, keys + n, n);
    bool equal = true;
    for (size_t i = 0; equal && i < n; i++)
        equal = equal_text(keys[i], keys[n + i]) &&
                pcr_json_equal(keys[i] + 1, keys[n + i] + 1, out_of_memory);
    free(keys);
    return equal;
}

static bool equal_objects(yyjson_val *a, yyjson_val *b, bool *out_of_memory) {
    size_t n = yyjson_obj_size(a);
    if (n != yyjson_obj_size(b))
        return false;
    if (n > LOOKUP_MAX)
        return equal_sorted(a, b, n, out_of_memory);
    yyjson_val *key = n ? unsafe_yyjson_get_first(a) : NULL;
    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        yyjson_val *other = yyjson_obj_getn(b, yyjson_get_str(key), yyjson_get_len(key));
        if (!other || !pcr_json_equal(key + 1, other, out_of_memory))
            return false;
    }
    return true;
}

static bool equal_arrays(yyjson_val *a, yyjson_val *b, bool *out_of_memory) {
    size_t n = yyjson_arr_size(a);
    if (n != yyjson_arr_size(b))
        return false;
    yyjson_val *x = n ? unsafe_yyjson_get_first(a) : NULL;
    yyjson_val *y = n ? unsafe_yyjson_get_first(b) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (!pcr_json_equal(x, y, out_of_memory))
            return false;
        x = unsafe_yyjson_get_next(x);
        y = unsafe_yyjson_get_next(y);
    }
    return true;
}

bool pcr_json_equal(yyjson_val *a, yyjson_val *b, bool *out_of_memory) {
    if (a == b)
        return true;
    if (yyjson_get_type(a) != yyjson_get_type(b))
        return false;
    switch (yyjson_get_type(a)) {
    case YYJSON_TYPE_BOOL:
        return yyjson_get_bool(a) == yyjson_get_bool(b);
    case YYJSON_TYPE_NUM:
        return pcr_json_compare_numbers(a, b) == 0;
    case YYJSON_TYPE_STR:
        return equal_text(a, b);
    case YYJSON_TYPE_ARR:
        return equal_arrays(a, b, out_of_memory);
    case YYJSON_TYPE_OBJ:
        return equal_objects(a, b, out_of_memory);
    default:
        return true;
    }
}

// --- hashes -------------------------------------------------------------------------------------

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

// Whole doubles within the range of the integers hash as those.
static uint64_t hash_number(yyjson_val *value) {
    if (!yyjson_is_real(value))
        return yyjson_get_uint(value);
    double real = yyjson_get_real(value);
    if (real >= 0 && real < 18446744073709551616.0 && real == floor(real))
        return (uint64_t)real;
    if (real < 0 && real >= -9223372036854775808.0 && real == floor(real))
        return (uint64_t)(int64_t)real;
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits ^ 0x9e3779b97f4a7c15u;
}

static uint64_t hash_text(yyjson_val *value, uint64_t seed) {
    return pcr_str_hash(pcr_json_str(value), seed);
}

static uint64_t hash_members(yyjson_val *object, uint64_t seed) {
    size_t n = yyjson_obj_size(object);
    yyjson_val *key = n ? unsafe_yyjson_get_first(object) : NULL;
    uint64_t sum = n; // a sum, because order does not matter
    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1))
        sum += mix(hash_text(key, seed) ^ mix(pcr_json_hash(key + 1) + seed));
    return sum;
}

static uint64_t hash_items(yyjson_val *array) {
    size_t n = yyjson_arr_size(array);
    yyjson_val *item = n ? unsafe_yyjson_get_first(array) : NULL;
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item))
        hash = mix(hash ^ pcr_json_hash(item)) + i;
    return hash;
}

uint64_t pcr_json_hash(yyjson_val *value) {
    uint64_t seed = pcr_rand_process_seed();
    uint64_t type = (uint64_t)yyjson_get_type(value) * 0x9e3779b97f4a7c15u;
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_BOOL:
        return mix(type + seed + yyjson_get_bool(value));
    case YYJSON_TYPE_NUM:
        return mix(type + mix(hash_number(value) ^ seed));
    case YYJSON_TYPE_STR:
        return hash_text(value, seed);
    case YYJSON_TYPE_ARR:
        return mix(type + hash_items(value));
    case YYJSON_TYPE_OBJ:
        return mix(type + hash_members(value, seed));
    default:
        return mix(type + seed);
    }
}

// --- uniqueness ---------------------------------------------------------------------------------

static bool find_twins_pairwise(yyjson_val *array, size_t n, size_t *first, size_t *second,
                                bool *out_of_memory) {
    yyjson_val *items[PAIRWISE_MAX];
    yyjson_val *item = unsafe_yyjson_get_first(array);
    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item)) {
        items[i] = item;
        for (size_t j = 0; j < i; j++) {
            if (pcr_json_equal(items[j], item, out_of_memory)) {
                *first = j;
                *second = i;
                return true;
            }
        }
    }
    return false;
}

struct hashed_item {
    uint64_t hash;
    yyjson_val *value; // NULL: free
    size_t index;
};

static bool find_twins_hashed(struct hashed_item *table, size_t cap, yyjson_val *array,
                              size_t *first, size_t *second, bool *out_of_memory) {
    size_t n = yyjson_arr_size(array);
    yyjson_val *item = unsafe_yyjson_get_first(array);
    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item)) {
        uint64_t hash = pcr_json_hash(item);
        size_t slot = hash & (cap - 1);
        for (; table[slot].value; slot = (slot + 1) & (cap - 1)) {
            if (table[slot].hash == hash &&
                pcr_json_equal(table[slot].value, item, out_of_memory)) {
                *first = table[slot].index;
                *second = i;
                return true;
            }
        }
        table[slot] = (struct hashed_item){hash, item, i};
    }
    return false;
}

bool pcr_json_find_twins(yyjson_val *array, size_t *first, size_t *second, bool *out_of_memory) {
    size_t n = yyjson_arr_size(array);
    *out_of_memory = false;
    if (n < 2)
        return false;
    if (n <= PAIRWISE_MAX)
        return find_twins_pairwise(array, n, first, second, out_of_memory);
    size_t cap = 32;
    while (cap < 2 * n)
        cap *= 2;
    struct hashed_item *table = calloc(cap, sizeof *table);
    *out_of_memory = !table;
    bool found = table && find_twins_hashed(table, cap, array, first, second, out_of_memory);
    free(table);
    return found;
}
