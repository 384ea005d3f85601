// SPDX-License-Identifier: Apache-2.0
#include "data_fixture.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t single_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static enum pcr_data_fault put(enum pacer_dtype dtype, const char *text, void *out) {
    return pcr_data_put_text(dtype, out, 0, pcr_str(text), NULL, false);
}

// The C library rounds FP64 and FP32 rightly in the "C" locale, in which tests run.
static void same_as_the_c_library(const char *text) {
    double f64;
    float f32;
    if (isinf(strtod(text, NULL))) {
        assert_int_equal(put(PACER_FP64, text, &f64), PCR_DATA_OUT_OF_RANGE);
        return;
    }
    assert_int_equal(put(PACER_FP64, text, &f64), PCR_DATA_FITS);
    if (bits_of(f64) != bits_of(strtod(text, NULL)))
        fail_msg("FP64 of %s is %a instead of %a", text, f64, strtod(text, NULL));
    if (isinf(strtof(text, NULL))) {
        assert_int_equal(put(PACER_FP32, text, &f32), PCR_DATA_OUT_OF_RANGE);
        return;
    }
    assert_int_equal(put(PACER_FP32, text, &f32), PCR_DATA_FITS);
    if (single_bits_of(f32) != single_bits_of(strtof(text, NULL)))
        fail_msg("FP32 of %s is %a instead of %a", text, f32, strtof(text, NULL));
}

static void well_known_hard_numbers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "0", "-0", "-0.0", "0e999999999999", "1", "-1", "1e22", "1e23", "9007199254740993",
        "9007199254740992.999999999999", "9007199254740993.0000000000000000000000000000001",
        "18446744073709551615", "18446744073709551616", "-9223372036854775808",
        "-9223372036854775809", "16777217", "-16777217", "16777219", "9007200328482815",
        "9007200328482817", "36028797018963967", "9223371761976868863", "9223371761976868864",
        "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e309",
        "2.2250738585072011e-308", "2.2250738585072012e-308", "2.2250738585072014e-308",
        "4.9406564584124654e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-400",
        "3.4028234663852886e38", "3.4028235677973366e38", "3.4028235677973367e38",
        "340282356779733661637539395458142568447.9999", "340282356779733661637539395458142568448",
        // half-way between two FP32, and beside it by less than a FP64 can tell
        "1.00000005960464477539062500000", "1.00000005960464477539062500000000000000000001",
        "1.00000005960464477539062499999999999999999999", "-1.000000059604644775390625000000001",
        "1.00000017881393432617187500000", "1.00000017881393432617187499999999999999999",
        "10000000596046447753906250000000000000001e-40", "0.000100000005960464477539062500001e4",
        "7.006492321624085354618479164496e-46", "7.0064923216240853546184791644958e-46",
        "7.0064923216240853546184791644959e-46", "1.1754942807573642917e-38",
        "1.1754943508222875e-38", "8.589973e9", "0.1", "0.3", "123456789012345678901234567890",
        "6.9294956446009195e15", "8.37377E9", "5.0e-324", "00012.5", "+3.25", ".5", "-.5", "5.",
        "5.e3", "+.5e1", "000", "-000.0", "1E5", "1e+5", "007"};
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++)
        same_as_the_c_library(texts[i]);
}

static void very_long_numbers(void **state) {
    (void)state;
    char text[3000];
    for (size_t zeros = 1; zeros < 2500; zeros += 311) {
        // 1 + 2^-24 is half-way between two FP32; a digit far behind decides
        int n = snprintf(text, sizeof text, "1.000000059604644775390625%0*d", (int)zeros, 0);
        same_as_the_c_library(text);
        snprintf(text + n, sizeof text - (size_t)n, "1");
        same_as_the_c_library(text);
        n = snprintf(text, sizeof text, "0.%0*d", (int)zeros, 0);
        snprintf(text + n, sizeof text - (size_t)n, "17e%zu", zeros + 3);
        same_as_the_c_library(text);
    }
}

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void random_numbers(void **state) {
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        char text[64];
        uint64_t r = next_random(&seed), s = next_random(&seed);
        double value;
        memcpy(&value, &r, sizeof value);
        if (!isfinite(value))
            continue;
        snprintf(text, sizeof text, "%.*e", (int)(s % 25), value);
        same_as_the_c_library(text);
        snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(r >> s % 64),
                 (unsigned long long)s, (int)(r % 90) - 55);
        same_as_the_c_library(text);
    }
}

// Every FP32's upper half-way point: rounded twice by way of FP64 such numbers go wrong.
static void half_way_between_singles(void **state) {
    (void)state;
    uint64_t seed = 1234567;
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)next_random(&seed) & 0x7fffffff;
        float single;
        memcpy(&single, &bits, sizeof single);
        if (!isfinite(single) || single == FLT_MAX)
            continue;
        double half = ((double)single + (double)nextafterf(single, INFINITY)) / 2;
        char text[400];
        int n = snprintf(text, sizeof text, "%.*f", 200, half); // all its digits
        same_as_the_c_library(text);
        text[n - 1] = '1';
        same_as_the_c_library(text);
        snprintf(text, sizeof text, "%.20e", half);
        same_as_the_c_library(text);
    }
}

static void no_numbers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "a",  "1a",  "1 2", "1,5",     "1_000", "0x10", "1e",   "1e+",      ".",        "-",
        "+",  "--1", "+-1", "-+1",     "++1",   "1..5", "1.2.", "1.2.3",    "5.e",      "1e5.",
        "e5", "1d5", "1f",  "infinit", "nano",  "$1",   "1%",   "\xd9\xa1", "1\xc2\xa0"};
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        double value;
        enum pcr_data_fault fault = put(PACER_FP64, texts[i], &value);
        if (fault != PCR_DATA_NO_NUMBER)
            fail_msg("'%s' gave %d", texts[i], fault);
    }
    char text[600]; // zeros in front are cut off only from numbers of a sensible length
    double value;
    snprintf(text, sizeof text, "%0*d", 550, 1);
    assert_int_equal(put(PACER_FP64, text, &value), PCR_DATA_NO_NUMBER);
}

static void nan_infinity_and_nothing(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum pcr_data_fault fault;
        int sign; // 0: NaN
    } cases[] = {{"nan", PCR_DATA_NOT_FINITE, 0},  {"NaN", PCR_DATA_NOT_FINITE, 0},
                 {"inf", PCR_DATA_NOT_FINITE, 1},  {"-Infinity", PCR_DATA_NOT_FINITE, -1},
                 {"+inf", PCR_DATA_NOT_FINITE, 1}, {" nan ", PCR_DATA_NOT_FINITE, 0},
                 {"", PCR_DATA_MISSING, 0},        {"  ", PCR_DATA_MISSING, 0},
                 {"NA", PCR_DATA_MISSING, 0}};
    static const enum pacer_dtype floats[] = {PACER_FP16, PACER_BF16, PACER_FP32, PACER_FP64};
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        for (size_t j = 0; j < PCR_COUNT_OF(floats); j++) {
            uint64_t out = 0;
            struct pcr_str text = pcr_str(cases[i].text);
            assert_int_equal(put(floats[j], cases[i].text, &out), cases[i].fault);
            assert_int_equal(pcr_data_put_text(floats[j], &out, 0, text, NULL, true),
                             PCR_DATA_FITS);
            double value = pcr_data_get_number(floats[j], &out, 0).real;
            assert_true(cases[i].sign == 0  ? isnan(value)
                        : cases[i].sign > 0 ? value == INFINITY
                                            : value == -INFINITY);
        }
        int32_t whole;
        enum pcr_data_fault expected =
            cases[i].fault == PCR_DATA_MISSING ? PCR_DATA_MISSING : PCR_DATA_NOT_WHOLE;
        struct pcr_str text = pcr_str(cases[i].text);
        assert_int_equal(pcr_data_put_text(PACER_INT32, &whole, 0, text, NULL, true), expected);
    }
    double value;
    assert_int_equal(pcr_data_put_text(PACER_FP64, &value, 0, PCR_STR("1e999"), NULL, true),
                     PCR_DATA_OUT_OF_RANGE);
}

static void whole_elements(void **state) {
    (void)state;
    static const struct {
        enum pacer_dtype dtype;
        const char *low, *high, *below, *above;
    } cases[] = {
        {PACER_UINT8, "0", "255", "-1", "256"},
        {PACER_UINT16, "0", "65535", "-1", "65536"},
        {PACER_UINT32, "0", "4294967295", "-1", "4294967296"},
        {PACER_UINT64, "0", "18446744073709551615", "-1", "18446744073709551616"},
        {PACER_INT8, "-128", "127", "-129", "128"},
        {PACER_INT16, "-32768", "32767", "-32769", "32768"},
        {PACER_INT32, "-2147483648", "2147483647", "-2147483649", "2147483648"},
        {PACER_INT64, "-9223372036854775808", "9223372036854775807", "-9223372036854775809",
         "9223372036854775808"},
        {PACER_BOOL, "0", "1", "-1", "2"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        enum pacer_dtype dtype = cases[i].dtype;
        uint64_t out[2] = {0, 0};
        assert_int_equal(put(dtype, cases[i].low, out), PCR_DATA_FITS);
        struct pcr_data_number low = pcr_data_get_number(dtype, out, 0);
        assert_int_equal(low.negative, strtoll(cases[i].low, NULL, 10));
        assert_int_equal(low.kind, low.negative < 0 ? PCR_DATA_NEGATIVE : PCR_DATA_WHOLE);
        assert_int_equal(put(dtype, cases[i].high, out), PCR_DATA_FITS);
        assert_true(pcr_data_get_number(dtype, out, 0).whole == strtoull(cases[i].high, NULL, 10));
        assert_int_equal(put(dtype, cases[i].below, out), PCR_DATA_OUT_OF_RANGE);
        assert_int_equal(put(dtype, cases[i].above, out), PCR_DATA_OUT_OF_RANGE);
        assert_int_equal(put(dtype, "0.5", out), PCR_DATA_NOT_WHOLE);
        assert_int_equal(put(dtype, "1.0", out), PCR_DATA_FITS);
        assert_int_equal(pcr_data_get_number(dtype, out, 0).whole, 1);
        assert_int_equal(put(dtype, "-0.0", out), PCR_DATA_FITS);
        assert_int_equal(pcr_data_get_number(dtype, out, 0).whole, 0);
        // to a FP64 these are 1 and 0
        assert_int_equal(put(dtype, "1.00000000000000000001", out), PCR_DATA_NOT_WHOLE);
        assert_int_equal(put(dtype, "0.99999999999999999999", out), PCR_DATA_NOT_WHOLE);
        assert_int_equal(put(dtype, "1.00000000000000000000", out), PCR_DATA_FITS);
        assert_int_equal(out[1], 0); // nothing is written beside
    }
    int64_t big;
    assert_int_equal(put(PACER_INT64, "9007199254740993.0", &big), PCR_DATA_OUT_OF_RANGE);
    assert_int_equal(put(PACER_INT64, "9007199254740991.0", &big), PCR_DATA_FITS);
    assert_int_equal(put(PACER_INT64, "1e-400", &big), PCR_DATA_NOT_WHOLE);
    assert_int_equal(put(PACER_INT64, "0e-400", &big), PCR_DATA_FITS);
}

static void truth_values(void **state) {
    (void)state;
    uint8_t out;
    assert_int_equal(put(PACER_BOOL, "true", &out), PCR_DATA_FITS);
    assert_int_equal(out, 1);
    assert_int_equal(put(PACER_BOOL, " FALSE", &out), PCR_DATA_FITS);
    assert_int_equal(out, 0);
    assert_int_equal(put(PACER_BOOL, "yes", &out), PCR_DATA_NO_BOOL);
    assert_int_equal(put(PACER_BOOL, "", &out), PCR_DATA_MISSING);
    double value;
    assert_int_equal(put(PACER_FP64, "true", &value), PCR_DATA_NO_NUMBER);
}

// Each of the 65536 patterns of the two-byte floats comes back by its own value, and each half-way
// point and what is just beside it goes where it should.
static void two_byte_floats(void **state) {
    (void)state;
    static const enum pacer_dtype dtypes[] = {PACER_FP16, PACER_BF16};
    static const uint16_t infinities[] = {0x7c00, 0x7f80};
    for (size_t i = 0; i < 2; i++) {
        for (unsigned pattern = 0; pattern < infinities[i]; pattern++) {
            uint16_t bits[2] = {(uint16_t)pattern, (uint16_t)(pattern + 1)}, out;
            struct pcr_data_number number = pcr_data_get_number(dtypes[i], bits, 0);
            double value = number.real, next = pcr_data_get_number(dtypes[i], bits, 1).real;
            assert_int_equal(pcr_data_put_number(dtypes[i], &out, 0, &number, true, false), 0);
            assert_int_equal(out, pattern);
            if (isinf(next))
                break;
            assert_true(next > value);
            char text[400];
            number.real = (value + next) / 2;
            assert_int_equal(pcr_data_put_number(dtypes[i], &out, 0, &number, true, false), 0);
            assert_int_equal(out, pattern + (pattern & 1));
            int n = snprintf(text, sizeof text, "-%.*f", 180, number.real);
            assert_int_equal(put(dtypes[i], text, &out), PCR_DATA_FITS);
            assert_int_equal(out, 0x8000 + pattern + (pattern & 1));
            snprintf(text + n, sizeof text - (size_t)n, "0001");
            assert_int_equal(put(dtypes[i], text, &out), PCR_DATA_FITS);
            assert_int_equal(out, 0x8000 + pattern + 1);
        }
    }
    uint16_t out;
    assert_int_equal(put(PACER_FP16, "65519.999", &out), PCR_DATA_FITS);
    assert_int_equal(put(PACER_FP16, "65520", &out), PCR_DATA_OUT_OF_RANGE);
    assert_int_equal(put(PACER_BF16, "3.4e38", &out), PCR_DATA_OUT_OF_RANGE);
    assert_int_equal(put(PACER_BF16, "3.39e38", &out), PCR_DATA_FITS);
    // 2^63 + 2^55 is half-way in BF16, and one more is beside it, which FP64 cannot tell
    assert_int_equal(put(PACER_BF16, "9259400833873739776", &out), PCR_DATA_FITS);
    assert_int_equal(out, 0x5f00);
    assert_int_equal(put(PACER_BF16, "9259400833873739777", &out), PCR_DATA_FITS);
    assert_int_equal(out, 0x5f01);
}

static void whole_numbers_in_floats(void **state) {
    (void)state;
    static const struct {
        enum pacer_dtype dtype;
        uint64_t fits, rounded;
    } cases[] = {{PACER_FP16, 2048, 2049},
                 {PACER_BF16, 256, 257},
                 {PACER_FP32, 16777216, 16777217},
                 {PACER_FP64, 9007199254740992, 9007199254740993},
                 {PACER_FP64, 0x8000000000000800, 0x8000000000000801}};
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        uint64_t out;
        struct pcr_data_number number = {.kind = PCR_DATA_WHOLE, .whole = cases[i].fits};
        enum pacer_dtype dtype = cases[i].dtype;
        assert_int_equal(pcr_data_put_number(dtype, &out, 0, &number, true, false), PCR_DATA_FITS);
        assert_true(pcr_data_get_number(dtype, &out, 0).real == (double)cases[i].fits);
        number.whole = cases[i].rounded;
        assert_int_equal(pcr_data_put_number(dtype, &out, 0, &number, true, false),
                         PCR_DATA_NOT_EXACT);
        assert_int_equal(pcr_data_put_number(dtype, &out, 0, &number, false, false), PCR_DATA_FITS);
    }
    uint16_t half;
    struct pcr_data_number number = {.kind = PCR_DATA_WHOLE, .whole = 1u << 20};
    assert_int_equal(pcr_data_put_number(PACER_FP16, &half, 0, &number, true, false),
                     PCR_DATA_OUT_OF_RANGE);
    number = (struct pcr_data_number){.kind = PCR_DATA_NEGATIVE, .negative = INT64_MIN};
    double value;
    assert_int_equal(pcr_data_put_number(PACER_FP64, &value, 0, &number, true, false), 0);
    assert_true(value == -0x1p63);
    assert_int_equal(pcr_data_put_number(PACER_BYTES, &value, 0, &number, true, false),
                     PCR_DATA_NO_TEXT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(well_known_hard_numbers),  TEST(very_long_numbers), TEST(random_numbers),
        TEST(half_way_between_singles), TEST(no_numbers),        TEST(nan_infinity_and_nothing),
        TEST(whole_elements),           TEST(truth_values),      TEST(two_byte_floats),
        TEST(whole_numbers_in_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
