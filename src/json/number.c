// SPDX-License-Identifier: Apache-2.0
// The shortest decimal text of a binary floating-point number.
//
// Method: Raffaello Giulietti, "The Schubfach way to render doubles" (2020). A number v = c * 2^q
// owns the interval of reals that round to it. With k = floor(log10(width of that interval)) there
// is, by the pigeonhole principle, at least one multiple of 10^k inside and at most one multiple of
// 10^(k+1), so only those neighbours of v need a look: if a multiple of 10^(k+1) lies inside it is
// the shortest, else the multiple of 10^k closest to v. All comparisons are of 4v / 10^k and the
// like, computed with one 128-bit power of ten and rounded to odd, which the paper proves to be
// enough to decide them without ever being wrong.
//
// Invariant: strtod (strtof) of the text gives back every bit of the number, no shorter digit
// string does, and of the equally short ones the text is the closest. The unit test checks this
// against the C library.
//
// Rejected: printf with 9 or 17 digits and a check by strtod (ten times slower, and thousands of
// numbers per answer is what this room is for); Grisu (needs a fallback for one number in 200); Ryū
// (larger tables, no faster).
#include "json/schema_priv.h"

#include <math.h>

struct pow10 {
    uint64_t high;
    uint64_t low;
};

#include "pow10_table.h"

_Static_assert(PCR_COUNT_OF(pow10_table) == POW10_HIGH - POW10_LOW + 1, "one entry per power");

// digits * 10^exponent
struct decimal {
    uint64_t digits;
    int exponent;
};

// The logarithms are multiplications with constants that were checked over the whole range of
// exponents; the shifts of negative numbers are arithmetic in gcc and clang.
static int floor_log10_pow2(int e) {
    // cppcheck-suppress shiftNegativeLHS // arithmetic, as said above
    return (e * 315653) >> 20;
}

// Of three quarters of 2^e: the interval below a power of two is only half as wide.
static int floor_log10_three_quarters_pow2(int e) {
    return (e * 315653 - 131008) >> 20;
}

static int floor_log2_pow10(int e) {
    return (e * 217706) >> 16;
}

static struct pow10 power_of_ten(int power) {
    PCR_ASSERT(power >= POW10_LOW && power <= POW10_HIGH);
    return pow10_table[power - POW10_LOW];
}

// floor(g * cp / 2^128) with the lowest bit set if anything was cut off.
static uint64_t round_to_odd(struct pow10 g, uint64_t cp) {
    unsigned __int128 low = (unsigned __int128)g.low * cp;
    unsigned __int128 sum = (unsigned __int128)g.high * cp + (uint64_t)(low >> 64);
    return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

// The same with 64 bits of the power, which is enough for 24-bit numbers.
static uint64_t round_to_odd_short(uint64_t g, uint64_t cp) {
    unsigned __int128 product = (unsigned __int128)g * cp;
    return (uint64_t)(product >> 64) | ((uint64_t)product >> 32 > 1);
}

// From the bounds of the interval and the number itself, all times four and over 10^k.
static struct decimal choose(uint64_t lower, uint64_t value, uint64_t upper, bool open, int k) {
    uint64_t s = value / 4;
    if (s >= 10) {
        uint64_t below = s / 10 * 10;
        bool below_inside = lower + open <= 4 * below;
        bool above_inside = 4 * (below + 10) + open <= upper;
        if (below_inside != above_inside)
            return (struct decimal){below_inside ? below : below + 10, k};
    }
    bool below_inside = lower + open <= 4 * s;
    bool above_inside = 4 * (s + 1) + open <= upper;
    if (below_inside != above_inside)
        return (struct decimal){below_inside ? s : s + 1, k};
    uint64_t middle = 4 * s + 2;
    bool down = value < middle || (value == middle && (s & 1) == 0);
    return (struct decimal){down ? s : s + 1, k};
}

static struct decimal shortest_f64(uint64_t fraction, int biased) {
    uint64_t c = biased ? fraction | 1ull << 52 : fraction;
    int q = (biased ? biased : 1) - 1075;
    bool narrow_below = fraction == 0 && biased > 1;
    int k = narrow_below ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int shift = q + floor_log2_pow10(-k) + 1;
    struct pow10 g = power_of_ten(-k);
    uint64_t cb = 4 * c;
    return choose(round_to_odd(g, (cb - (narrow_below ? 1 : 2)) << shift),
                  round_to_odd(g, cb << shift), round_to_odd(g, (cb + 2) << shift), c & 1, k);
}

static struct decimal shortest_f32(uint32_t fraction, int biased) {
    uint32_t c = biased ? fraction | 1u << 23 : fraction;
    int q = (biased ? biased : 1) - 150;
    bool narrow_below = fraction == 0 && biased > 1;
    int k = narrow_below ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int shift = q + floor_log2_pow10(-k) + 1;
    uint64_t g = power_of_ten(-k).high + 1;
    uint64_t cb = 4 * (uint64_t)c;
    return choose(round_to_odd_short(g, (cb - (narrow_below ? 1 : 2)) << shift),
                  round_to_odd_short(g, cb << shift), round_to_odd_short(g, (cb + 2) << shift),
                  c & 1, k);
}

static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

// Writes the digits so that they end before `end`; returns the first.
static char *digits_before(char *end, uint64_t value) {
    while (value >= 100) {
        end -= 2;
        memcpy(end, two_digits + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, two_digits + 2 * value, 2);
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

static struct decimal without_trailing_zeros(struct decimal d) {
    if (d.digits % 100000000 == 0) {
        d.digits /= 100000000;
        d.exponent += 8;
    }
    while (d.digits % 100 == 0) {
        d.digits /= 100;
        d.exponent += 2;
    }
    if (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent += 1;
    }
    return d;
}

static char *put_zeros(char *out, int n) {
    memset(out, '0', (size_t)n);
    return out + n;
}

static char *put_exponent(char *out, int exponent) {
    *out++ = 'e';
    if (exponent < 0) {
        *out++ = '-';
        exponent = -exponent;
    }
    char digits[8];
    const char *first = digits_before(digits + sizeof digits, (uint64_t)exponent);
    size_t n = (size_t)(digits + sizeof digits - first);
    memcpy(out, first, n);
    return out + n;
}

// Plain notation from 0.000001 up to 17 digits before the point, else d.ddde±x.
static char *put_decimal(char *out, struct decimal d) {
    d = without_trailing_zeros(d);
    char digits[24];
    const char *first = digits_before(digits + sizeof digits, d.digits);
    int n = (int)(digits + sizeof digits - first);
    int point = n + d.exponent; // digits before the point
    if (point > 17 || point < -5) {
        *out++ = first[0];
        if (n > 1) {
            *out++ = '.';
            memcpy(out, first + 1, (size_t)n - 1);
            out += n - 1;
        }
        return put_exponent(out, point - 1);
    }
    if (point <= 0) {
        *out++ = '0';
        *out++ = '.';
        out = put_zeros(out, -point);
        memcpy(out, first, (size_t)n);
        return out + n;
    }
    int whole = point < n ? point : n;
    memcpy(out, first, (size_t)whole);
    out = put_zeros(out + whole, point - whole);
    *out++ = '.';
    if (whole == n) {
        *out++ = '0';
        return out;
    }
    memcpy(out, first + whole, (size_t)(n - whole));
    return out + (n - whole);
}

static size_t put_null(char *out) {
    static const char null[] = {'n', 'u', 'l', 'l'};
    memcpy(out, null, sizeof null);
    return sizeof null;
}

static char *put_whole(char *out, uint64_t value) {
    char digits[24];
    const char *first = digits_before(digits + sizeof digits, value);
    size_t n = (size_t)(digits + sizeof digits - first);
    memcpy(out, first, n);
    out[n] = '.';
    out[n + 1] = '0';
    return out + n + 2;
}

size_t pcr_json_f64_text(char out[PCR_JSON_NUMBER_BYTES], double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int biased = (int)(bits >> 52 & 0x7ff);
    if (biased == 0x7ff) {
        return put_null(out);
    }
    char *at = out;
    if (bits >> 63) {
        *at++ = '-';
        value = -value;
    }
    if (value < 9007199254740992.0 && value == (double)(uint64_t)value)
        at = put_whole(at, (uint64_t)value);
    else
        at = put_decimal(at, shortest_f64(bits & ((1ull << 52) - 1), biased));
    return (size_t)(at - out);
}

size_t pcr_json_f32_text(char out[PCR_JSON_NUMBER_BYTES], float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int biased = (int)(bits >> 23 & 0xff);
    if (biased == 0xff) {
        return put_null(out);
    }
    char *at = out;
    if (bits >> 31) {
        *at++ = '-';
        value = -value;
    }
    if (value < 16777216.0f && value == (float)(uint32_t)value)
        at = put_whole(at, (uint32_t)value);
    else
        at = put_decimal(at, shortest_f32(bits & ((1u << 23) - 1), biased));
    return (size_t)(at - out);
}

size_t pcr_json_u64_text(char *out, uint64_t value) {
    char digits[24];
    const char *first = digits_before(digits + sizeof digits, value);
    size_t n = (size_t)(digits + sizeof digits - first);
    memcpy(out, first, n);
    return n;
}

struct pcr_json_decimal pcr_json_decimal_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int biased = (int)(bits >> 52 & 0x7ff);
    PCR_ASSERT(biased != 0x7ff);
    if (bits << 1 == 0)
        return (struct pcr_json_decimal){0, 0};
    struct decimal d = without_trailing_zeros(shortest_f64(bits & ((1ull << 52) - 1), biased));
    return (struct pcr_json_decimal){d.digits, d.exponent};
}
