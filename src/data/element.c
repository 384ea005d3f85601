// SPDX-License-Identifier: Apache-2.0
// Numbers into elements of tensors and back.
//
// A number goes through struct pcr_data_number, whole or real, so that 64-bit integers lose no bits
// and there is one rule per element type wherever the number came from. Whole numbers fit or are
// refused; reals become whole numbers only if they are; reals are rounded to a narrower type to the
// nearest, once, as if the decimal number had been rounded to it directly.
#include "data/data_priv.h"

#include "json/json.h"

#include <float.h>
#include <math.h>

#define WHOLE_IN_FP64_MAX 9007199254740992.0 // 2^53: beyond it a FP64 may be a neighbour's
#define DECIMAL_CERTAIN_BYTES 15 // so short a decimal number is whole if its FP64 is, but for 0

struct element {
    size_t bytes;
    int64_t low; // of whole numbers
    uint64_t high;
    int digits;     // of floats, in bits
    int lowest_bit; // of floats: the power of two of the smallest subnormal
    double max;     // of floats
};

static const struct element elements[] = {
    [PACER_BOOL] = {1, 0, 1, 0, 0, 0},
    [PACER_UINT8] = {1, 0, UINT8_MAX, 0, 0, 0},
    [PACER_UINT16] = {2, 0, UINT16_MAX, 0, 0, 0},
    [PACER_UINT32] = {4, 0, UINT32_MAX, 0, 0, 0},
    [PACER_UINT64] = {8, 0, UINT64_MAX, 0, 0, 0},
    [PACER_INT8] = {1, INT8_MIN, INT8_MAX, 0, 0, 0},
    [PACER_INT16] = {2, INT16_MIN, INT16_MAX, 0, 0, 0},
    [PACER_INT32] = {4, INT32_MIN, INT32_MAX, 0, 0, 0},
    [PACER_INT64] = {8, INT64_MIN, INT64_MAX, 0, 0, 0},
    [PACER_FP16] = {2, 0, 0, 11, -24, 65504.0},
    [PACER_BF16] = {2, 0, 0, 8, -133, 0x1.fep127},
    [PACER_FP32] = {4, 0, 0, FLT_MANT_DIG, -149, FLT_MAX},
    [PACER_FP64] = {8, 0, 0, DBL_MANT_DIG, -1074, DBL_MAX},
    [PACER_BYTES] = {sizeof(struct pacer_bytes), 0, 0, 0, 0, 0},
};

size_t pcr_data_element_bytes(enum pacer_dtype dtype) {
    return elements[dtype].bytes;
}

bool pcr_data_is_float(enum pacer_dtype dtype) {
    return elements[dtype].digits > 0;
}

// --- whole elements -----------------------------------------------------------------------------
static enum pcr_data_fault whole_of_real(const struct pcr_data_number *number, int64_t *out) {
    double real = number->real;
    if (!isfinite(real) || real != trunc(real))
        return PCR_DATA_NOT_WHOLE;
    if (fabs(real) >= WHOLE_IN_FP64_MAX)
        return PCR_DATA_OUT_OF_RANGE;
    if ((number->decimal.len > DECIMAL_CERTAIN_BYTES || (real == 0 && number->decimal.ptr)) &&
        pcr_data_decimal_side(number->decimal, real) != 0)
        return PCR_DATA_NOT_WHOLE;
    *out = (int64_t)real;
    return PCR_DATA_FITS;
}

static void store(void *to, uint64_t bits, size_t bytes) {
    switch (bytes) {
    case 1:
        *(uint8_t *)to = (uint8_t)bits;
        break;
    case 2:
        *(uint16_t *)to = (uint16_t)bits;
        break;
    case 4:
        *(uint32_t *)to = (uint32_t)bits;
        break;
    default:
        *(uint64_t *)to = bits;
        break;
    }
}

static enum pcr_data_fault put_whole(const struct element *element, void *to,
                                     const struct pcr_data_number *number) {
    int64_t value = number->negative;
    if (number->kind == PCR_DATA_REAL) {
        enum pcr_data_fault fault = whole_of_real(number, &value);
        if (fault)
            return fault;
    }
    bool above = number->kind == PCR_DATA_WHOLE || value > 0;
    if (above ? (uint64_t)value > element->high : value < element->low)
        return PCR_DATA_OUT_OF_RANGE;
    store(to, (uint64_t)value, element->bytes);
    return PCR_DATA_FITS;
}

// --- floats -------------------------------------------------------------------------------------
// To the nearest number of the type, ties to even; may be beyond its range. Scaled so that the last
// bit that the type keeps is the unit, which is exact.
static double round_to(const struct element *element, double value) {
    int exponent;
    if (element->digits == FLT_MANT_DIG)
        return (float)value;
    if (value == 0 || !isfinite(value) || element->digits == DBL_MANT_DIG)
        return value;
    frexp(value, &exponent);
    int unit = exponent - element->digits;
    if (unit < element->lowest_bit)
        unit = element->lowest_bit;
    return ldexp(nearbyint(ldexp(value, -unit)), unit);
}

// Rounds what stands for a decimal number. A FP64 half-way between two numbers of the type has at
// most 25 significant bits, so most reals are through after one look.
static double round_decimal(const struct element *element, const struct pcr_data_number *number) {
    double rounded = round_to(element, number->real);
    uint64_t bits;
    memcpy(&bits, &number->real, sizeof bits);
    if (PCR_LIKELY(rounded == number->real || (bits & 0xfffffff) != 0) || !number->decimal.ptr ||
        !isfinite(number->real))
        return rounded;
    int side = pcr_data_decimal_side(number->decimal, number->real);
    return side == 0 ? rounded
                     : round_to(element, nextafter(number->real, side > 0 ? INFINITY : -INFINITY));
}

// `value` is a number of the type already, or not finite.
static uint16_t half_bits(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double size = fabs(value);
    int exponent;
    if (isnan(value))
        return 0x7e00;
    if (isinf(value))
        return sign | 0x7c00;
    if (size < 0x1p-14)
        return sign | (uint16_t)ldexp(size, 24);
    frexp(size, &exponent);
    return (uint16_t)(sign | ((exponent + 14) << 10 | ((int)ldexp(size, 11 - exponent) - 1024)));
}

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 0    ? ldexp(fraction, -24)
                  : exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                                   : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

static uint32_t single_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void store_float(enum pacer_dtype dtype, void *to, double value) {
    if (dtype == PACER_FP64)
        *(double *)to = value;
    else if (dtype == PACER_FP32)
        *(float *)to = (float)value;
    else if (dtype == PACER_FP16)
        *(uint16_t *)to = half_bits(value);
    else
        *(uint16_t *)to = (uint16_t)(single_bits((float)value) >> 16);
}

// Does a float of so many bits hold this whole number?
static bool holds(const struct element *element, uint64_t size) {
    if (size == 0)
        return true;
    int bits = 64 - __builtin_clzll(size) - __builtin_ctzll(size);
    return bits <= element->digits;
}

// Beyond 2^53 what FP64 cannot hold is folded into its last bit ("round to odd"), so that rounding
// to a narrower type comes out as if from the whole number.
static double whole_as_float(const struct element *element, uint64_t size, bool negative) {
    if (element->digits < DBL_MANT_DIG && size >> DBL_MANT_DIG)
        size = (size >> 11 | ((size & 2047) != 0)) << 11;
    double value = (double)size;
    return negative ? -value : value;
}

static enum pcr_data_fault put_float(enum pacer_dtype dtype, const struct element *element,
                                     void *to, const struct pcr_data_number *number, bool exact,
                                     bool allow_nan) {
    double value;
    if (number->kind == PCR_DATA_REAL) {
        value = round_decimal(element, number);
    } else {
        bool negative = number->kind == PCR_DATA_NEGATIVE;
        uint64_t size = negative ? -number->whole : number->whole;
        if (exact && !holds(element, size))
            return PCR_DATA_NOT_EXACT;
        value = round_to(element, whole_as_float(element, size, negative));
    }
    if (PCR_UNLIKELY(!(fabs(value) <= element->max))) {
        if (number->kind != PCR_DATA_REAL || isfinite(number->real))
            return PCR_DATA_OUT_OF_RANGE;
        if (!allow_nan)
            return PCR_DATA_NOT_FINITE;
    }
    store_float(dtype, to, value);
    return PCR_DATA_FITS;
}

enum pcr_data_fault pcr_data_put_number(enum pacer_dtype dtype, void *data, size_t index,
                                        const struct pcr_data_number *number, bool exact,
                                        bool allow_nan) {
    const struct element *element = &elements[dtype];
    void *to = (char *)data + index * element->bytes;
    if (dtype == PACER_BYTES)
        return PCR_DATA_NO_TEXT;
    return element->digits ? put_float(dtype, element, to, number, exact, allow_nan)
                           : put_whole(element, to, number);
}

// --- from text ----------------------------------------------------------------------------------
static bool is_utf8(struct pcr_str text) {
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (at < end) {
        size_t n = (unsigned char)*at < 0x80 ? 1 : pcr_json_utf8_sequence(at, end);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

enum pcr_data_fault pcr_data_put_bytes(void *data, size_t index, struct pcr_str text,
                                       struct pcr_arena *arena) {
    if (!is_utf8(text))
        return PCR_DATA_NOT_UTF8;
    char *copy = pcr_arena_alloc(arena, text.len ? text.len : 1);
    if (!copy)
        return PCR_DATA_NO_MEMORY;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    ((struct pacer_bytes *)data)[index] = (struct pacer_bytes){copy, text.len};
    return PCR_DATA_FITS;
}

// What is no number: a truth value, or nothing.
static enum pcr_data_fault read_word(enum pacer_dtype dtype, struct pcr_str text, bool allow_nan,
                                     struct pcr_data_number *out) {
    struct pcr_str word = pcr_str_trim(text);
    bool yes = pcr_str_eq_nocase(word, PCR_STR("true"));
    if (dtype == PACER_BOOL && (yes || pcr_str_eq_nocase(word, PCR_STR("false")))) {
        *out = (struct pcr_data_number){.kind = PCR_DATA_WHOLE, .whole = yes};
        return PCR_DATA_FITS;
    }
    if (word.len > 0 && !pcr_str_eq_nocase(word, PCR_STR("na")))
        return dtype == PACER_BOOL ? PCR_DATA_NO_BOOL : PCR_DATA_NO_NUMBER;
    if (!allow_nan || !pcr_data_is_float(dtype))
        return PCR_DATA_MISSING;
    *out = (struct pcr_data_number){.kind = PCR_DATA_REAL, .real = NAN};
    return PCR_DATA_FITS;
}

enum pcr_data_fault pcr_data_put_text(enum pacer_dtype dtype, void *data, size_t index,
                                      struct pcr_str text, struct pcr_arena *arena,
                                      bool allow_nan) {
    struct pcr_data_number number;
    if (dtype == PACER_BYTES)
        return pcr_data_put_bytes(data, index, text, arena);
    enum pcr_data_fault fault = pcr_data_number_read(text, &number);
    if (PCR_UNLIKELY(fault == PCR_DATA_NO_NUMBER))
        fault = read_word(dtype, text, allow_nan, &number);
    if (PCR_UNLIKELY(fault))
        return fault;
    return pcr_data_put_number(dtype, data, index, &number, false, allow_nan);
}

// --- back ---------------------------------------------------------------------------------------
#define SIGNED(type)                                                  \
    do {                                                              \
        int64_t value = (int64_t)((const type *)data)[index];         \
        number.kind = value < 0 ? PCR_DATA_NEGATIVE : PCR_DATA_WHOLE; \
        number.negative = value;                                      \
        return number;                                                \
    } while (0)
#define UNSIGNED(type)                              \
    do {                                            \
        number.whole = ((const type *)data)[index]; \
        return number;                              \
    } while (0)
#define REAL(value)                    \
    do {                               \
        number.kind = PCR_DATA_REAL;   \
        number.real = (double)(value); \
        return number;                 \
    } while (0)

struct pcr_data_number pcr_data_get_number(enum pacer_dtype dtype, const void *data, size_t index) {
    struct pcr_data_number number = {.kind = PCR_DATA_WHOLE};
    uint32_t bits;
    float single;
    switch (dtype) {
    case PACER_BOOL:
    case PACER_UINT8:
        UNSIGNED(uint8_t);
    case PACER_UINT16:
        UNSIGNED(uint16_t);
    case PACER_UINT32:
        UNSIGNED(uint32_t);
    case PACER_UINT64:
        UNSIGNED(uint64_t);
    case PACER_INT8:
        SIGNED(int8_t);
    case PACER_INT16:
        SIGNED(int16_t);
    case PACER_INT32:
        SIGNED(int32_t);
    case PACER_INT64:
        SIGNED(int64_t);
    case PACER_FP16:
        REAL(half_value(((const uint16_t *)data)[index]));
    case PACER_BF16:
        bits = (uint32_t)((const uint16_t *)data)[index] << 16;
        memcpy(&single, &bits, sizeof single);
        REAL(single);
    case PACER_FP32:
        REAL(((const float *)data)[index]);
    default:
        PCR_ASSERT(dtype == PACER_FP64);
        REAL(((const double *)data)[index]);
    }
}
