// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "quantize/arith.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const struct pcr_quant_form s8 = {PCR_QUANT_INT8, false, false};
static const struct pcr_quant_form s8_symmetric = {PCR_QUANT_INT8, true, false};
static const struct pcr_quant_form s8_reduced = {PCR_QUANT_INT8, true, true};
static const struct pcr_quant_form u8 = {PCR_QUANT_UINT8, false, false};
static const struct pcr_quant_form u8_symmetric = {PCR_QUANT_UINT8, true, false};
static const struct pcr_quant_form u8_reduced = {PCR_QUANT_UINT8, false, true};

static void assert_scale(struct pcr_quant_scale got, float scale, int32_t zero_point) {
    if (got.scale != scale || got.zero_point != zero_point)
        fail_msg("%a, %d; expected %a, %d", (double)got.scale, (int)got.zero_point, (double)scale,
                 (int)zero_point);
}

static void the_limits_are_those_of_the_table(void **state) {
    (void)state;
    static const struct {
        struct pcr_quant_form form;
        int32_t qmin, qmax;
    } cases[] = {
        {{PCR_QUANT_INT8, false, false}, -128, 127}, {{PCR_QUANT_INT8, true, false}, -127, 127},
        {{PCR_QUANT_INT8, false, true}, -64, 64},    {{PCR_QUANT_INT8, true, true}, -64, 64},
        {{PCR_QUANT_UINT8, false, false}, 0, 255},   {{PCR_QUANT_UINT8, true, false}, 0, 255},
        {{PCR_QUANT_UINT8, false, true}, 0, 127},    {{PCR_QUANT_UINT8, true, true}, 0, 127},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        int32_t qmin, qmax;
        pcr_quant_limits(cases[i].form, &qmin, &qmax);
        assert_int_equal(qmin, cases[i].qmin);
        assert_int_equal(qmax, cases[i].qmax);
    }
}

// Worked by hand: scale = width / (qmax - qmin), zero point = round(qmin - rmin / scale).
static void a_range_has_its_scale(void **state) {
    (void)state;
    assert_scale(pcr_quant_scale_of(-1, 1, u8), (float)(2.0 / 255), 128); // 127.5, half to even
    assert_scale(pcr_quant_scale_of(-1, 1, s8), (float)(2.0 / 255), 0);   // -0.5, half to even
    assert_scale(pcr_quant_scale_of(-0.5f, 1.5f, u8), (float)(2.0 / 255), 64); // 63.75
    assert_scale(pcr_quant_scale_of(0, 255, u8), 1, 0);
    assert_scale(pcr_quant_scale_of(-255, 0, u8), 1, 255);
    assert_scale(pcr_quant_scale_of(0, 255, s8), 1, -128);
    assert_scale(pcr_quant_scale_of(-3, 127, s8_symmetric), 1, 0);
    assert_scale(pcr_quant_scale_of(-127, 3, s8_symmetric), 1, 0);
    assert_scale(pcr_quant_scale_of(-64, 3, s8_reduced), 1, 0);
    assert_scale(pcr_quant_scale_of(-3, 127.5f, u8_symmetric), 1, 128);
    assert_scale(pcr_quant_scale_of(0, 127, u8_reduced), 1, 0);
    assert_scale(
        pcr_quant_scale_of(-63.5f, 63.5f, (struct pcr_quant_form){PCR_QUANT_UINT8, true, true}), 1,
        64);
}

static void a_range_contains_zero(void **state) {
    (void)state;
    assert_scale(pcr_quant_scale_of(51, 255, u8), 1, 0);
    assert_scale(pcr_quant_scale_of(-255, -51, u8), 1, 255);
    assert_scale(pcr_quant_scale_of(100, 127, s8_symmetric), 1, 0);
}

static void a_range_too_narrow_has_scale_one(void **state) {
    (void)state;
    assert_scale(pcr_quant_scale_of(0, 0, u8_symmetric), 1, 0); // not 128
    assert_scale(pcr_quant_scale_of(-0.0f, 0, s8), 1, 0);
    assert_scale(pcr_quant_scale_of(0, FLT_MIN, u8), 1, 0);
    assert_scale(pcr_quant_scale_of(0, 255 * FLT_MIN, u8), FLT_MIN, 0);
    // Just below: rounded to float32 first it would be FLT_MIN.
    assert_scale(pcr_quant_scale_of(0, nextafterf(255 * FLT_MIN, 0), u8), 1, 0);
    assert_scale(pcr_quant_scale_of(-1e-45f, 1e-45f, s8_symmetric), 1, 0);
}

// The width of these is no float32 any more.
static void the_widest_range_has_a_scale(void **state) {
    (void)state;
    assert_scale(pcr_quant_scale_of(-FLT_MAX, FLT_MAX, u8), (float)(2.0 * (double)FLT_MAX / 255),
                 128);
    assert_scale(pcr_quant_scale_of(-FLT_MAX, 1, s8_symmetric), (float)((double)FLT_MAX / 127), 0);
}

static void a_range_that_is_none_has_scale_one(void **state) {
    (void)state;
    assert_scale(pcr_quant_scale_of(NAN, 1, u8), 1, 0);
    assert_scale(pcr_quant_scale_of(-1, NAN, s8), 1, 0);
    assert_scale(pcr_quant_scale_of(-INFINITY, 1, u8), 1, 0);
    assert_scale(pcr_quant_scale_of(0, INFINITY, s8_symmetric), 1, 0);
}

static void numbers_are_rounded_half_to_even_and_cut_off(void **state) {
    (void)state;
    static const float x[] = {0,       0.5f,     1.5f,      2.5f,    -0.5f,    -1.5f,
                              -2.5f,   126.5f,   127,       128,     1e9f,     -128,
                              -128.5f, -129,     -1e9f,     FLT_MAX, -0.0f,    1e-45f,
                              FLT_MIN, INFINITY, -INFINITY, NAN,     -FLT_MAX, 8388609};
    static const int8_t wanted[] = {0,    0,    2,    2,   0, -2, -2, 126, 127,  127, 127,  -128,
                                    -128, -128, -128, 127, 0, 0,  0,  127, -128, 0,   -128, 127};
    int8_t got[PCR_COUNT_OF(x)];
    pcr_quantize(x, PCR_COUNT_OF(x), (struct pcr_quant_scale){1, 0}, PCR_QUANT_INT8, got);
    for (size_t i = 0; i < PCR_COUNT_OF(x); i++)
        assert_int_equal(got[i], wanted[i]);
    static const uint8_t shifted[] = {100, 100, 102, 102, 100, 98,  98,  226, 227, 228, 255, 0,
                                      0,   0,   0,   255, 100, 100, 100, 255, 0,   100, 0,   255};
    uint8_t bytes[PCR_COUNT_OF(x)];
    pcr_quantize(x, PCR_COUNT_OF(x), (struct pcr_quant_scale){1, 100}, PCR_QUANT_UINT8, bytes);
    assert_memory_equal(bytes, shifted, sizeof shifted);
}

// With a product by 1/scale some of these would be one off.
static void numbers_are_divided(void **state) {
    (void)state;
    float x[2000], scale = 0.0473f;
    int8_t got[PCR_COUNT_OF(x)];
    for (size_t i = 0; i < PCR_COUNT_OF(x); i++)
        x[i] = ((float)(i % 250) - 124.5f) * scale + (float)i * 1e-9f;
    pcr_quantize(x, PCR_COUNT_OF(x), (struct pcr_quant_scale){scale, 0}, PCR_QUANT_INT8, got);
    size_t n_other = 0;
    for (size_t i = 0; i < PCR_COUNT_OF(x); i++) {
        assert_int_equal(got[i], (int)rintf(x[i] / scale));
        n_other += got[i] != (int)rintf(x[i] * (1 / scale));
    }
    assert_true(n_other > 0);
}

static void whatever_the_scale_the_bytes_are_defined(void **state) {
    (void)state;
    static const float x[] = {-1, 0, 1, 1e38f};
    uint8_t got[4];
    pcr_quantize(x, 4, (struct pcr_quant_scale){0, 7}, PCR_QUANT_UINT8, got);
    assert_memory_equal(got, ((uint8_t[]){0, 7, 255, 255}), 4);
    pcr_quantize(x, 4, (struct pcr_quant_scale){NAN, 7}, PCR_QUANT_UINT8, got);
    assert_memory_equal(got, ((uint8_t[]){7, 7, 7, 7}), 4);
    pcr_quantize(x, 4, (struct pcr_quant_scale){1e-45f, 7}, PCR_QUANT_UINT8, got);
    assert_memory_equal(got, ((uint8_t[]){0, 7, 255, 255}), 4);
}

// Every length, so that the vectors' tails and their beginnings off the line are all met.
static void every_length_and_place_gives_the_same(void **state) {
    (void)state;
    float x[200];
    uint8_t whole[200], part[202];
    for (size_t i = 0; i < 200; i++)
        x[i] = (float)((i * 7919) % 601) - 300.25f;
    struct pcr_quant_scale scale = {1.25f, 131};
    pcr_quantize(x, 200, scale, PCR_QUANT_UINT8, whole);
    for (size_t n = 0; n < 150; n++)
        for (size_t from = 0; from < 5; from++) {
            memset(part, 0xa5, sizeof part);
            pcr_quantize(x + from, n, scale, PCR_QUANT_UINT8, part + 1);
            assert_memory_equal(part + 1, whole + from, n);
            assert_int_equal(part[0], 0xa5);
            assert_int_equal(part[n + 1], 0xa5);
        }
}

static void bytes_become_numbers_again(void **state) {
    (void)state;
    uint8_t q[256];
    float x[256];
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)i;
    pcr_dequantize(q, 256, (struct pcr_quant_scale){0.1f, 128}, PCR_QUANT_UINT8, x);
    for (int i = 0; i < 256; i++)
        assert_true(x[i] == (float)(i - 128) * 0.1f);
    pcr_dequantize(q, 256, (struct pcr_quant_scale){0.1f, -3}, PCR_QUANT_INT8, x);
    for (int i = 0; i < 256; i++)
        assert_true(x[i] == (float)((int8_t)q[i] + 3) * 0.1f);
    uint8_t again[256];
    pcr_quantize(x, 256, (struct pcr_quant_scale){0.1f, -3}, PCR_QUANT_INT8, again);
    assert_memory_equal(again, q, 256);
}

static void the_range_is_found_wherever_it_lies(void **state) {
    (void)state;
    float x[131], min, max;
    for (size_t n = 1; n <= 131; n++)
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < n; i++)
                x[i] = 3 + (float)(i % 7) / 8;
            x[at] = 9;
            x[n - 1 - at] = at == n - 1 - at ? 9 : 2;
            assert_true(pcr_range_of(x, n, &min, &max));
            assert_true(max == 9);
            assert_true(min == (at == n - 1 - at ? (n == 1 ? 9.0f : 3.0f) : 2.0f));
        }
    assert_true(pcr_range_of(x, 0, &min, &max));
    assert_true(min == 0 && max == 0);
}

static void what_is_not_finite_is_found_wherever_it_is(void **state) {
    (void)state;
    static const float strange[] = {NAN, INFINITY, -INFINITY};
    float x[131] = {0}, min, max;
    for (size_t s = 0; s < PCR_COUNT_OF(strange); s++)
        for (size_t at = 0; at < 131; at++) {
            x[at] = strange[s];
            assert_false(pcr_range_of(x, 131, &min, &max));
            assert_true(pcr_range_of(x, at, &min, &max));
            assert_int_equal(pcr_first_not_finite(x, 131), at);
            x[at] = FLT_MAX; // huge is not infinite
            assert_true(pcr_range_of(x, 131, &min, &max));
            x[at] = 0;
        }
    assert_int_equal(pcr_first_not_finite(x, 131), 131);
}

// --- weights: held against the plain way, channel by channel ------------------------------------
static float number(unsigned *random) {
    *random = *random * 1664525 + 1013904223;
    return (float)(int32_t)*random / 1e9f;
}

static void check_weights(size_t outer, size_t channels, size_t inner, struct pcr_quant_form form) {
    size_t n = outer * channels * inner, at = 0;
    float *x = malloc(n * sizeof *x), *one = malloc(outer * inner * sizeof *one);
    struct pcr_quant_scale *scales = malloc(channels * sizeof *scales);
    uint8_t *q = malloc(n), *wanted = malloc(outer * inner);
    unsigned random = (unsigned)(n + inner);
    for (size_t i = 0; i < n; i++)
        x[i] = number(&random) * (float)(1 + i / inner % channels);
    struct pcr_quant_weights weights = {x, outer, channels, inner};
    assert_true(pcr_quant_weight_scales(&weights, form, scales));
    pcr_quantize_weights(&weights, scales, form.type, q);
    for (size_t c = 0; c < channels; c++, at = 0) {
        float min, max;
        for (size_t o = 0; o < outer; o++)
            for (size_t i = 0; i < inner; i++)
                one[at++] = x[(o * channels + c) * inner + i];
        assert_true(pcr_range_of(one, at, &min, &max));
        struct pcr_quant_scale scale = pcr_quant_scale_of(min, max, form);
        assert_scale(scales[c], scale.scale, scale.zero_point);
        pcr_quantize(one, at, scale, form.type, wanted);
        while (at-- > 0)
            assert_int_equal(q[(at / inner * channels + c) * inner + at % inner], wanted[at]);
    }
    free(x), free(one), free(scales), free(q), free(wanted);
}

static void every_channel_has_a_scale_of_its_own(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},    {1, 1, 1000}, {64, 100, 1}, {3, 1500, 1},
                                       {1, 37, 200}, {5, 7, 9},    {2, 2100, 3}, {7, 1, 33}};
    for (size_t i = 0; i < PCR_COUNT_OF(shapes); i++) {
        check_weights(shapes[i][0], shapes[i][1], shapes[i][2], s8_symmetric);
        check_weights(shapes[i][0], shapes[i][1], shapes[i][2], s8_reduced);
        check_weights(shapes[i][0], shapes[i][1], shapes[i][2], u8);
    }
}

static void weights_without_numbers_are_no_fault(void **state) {
    (void)state;
    struct pcr_quant_scale scales[3] = {{7, 7}, {7, 7}, {7, 7}};
    struct pcr_quant_weights weights = {NULL, 0, 3, 5};
    assert_true(pcr_quant_weight_scales(&weights, u8, scales));
    for (size_t c = 0; c < 3; c++)
        assert_scale(scales[c], 1, 0);
    pcr_quantize_weights(&weights, scales, PCR_QUANT_UINT8, NULL);
    weights = (struct pcr_quant_weights){NULL, 4, 0, 1};
    assert_true(pcr_quant_weight_scales(&weights, u8, NULL));
    pcr_quantize_weights(&weights, NULL, PCR_QUANT_UINT8, NULL);
}

static void a_weight_that_is_not_finite_is_reported(void **state) {
    (void)state;
    float x[2 * 3 * 4] = {0};
    struct pcr_quant_scale scales[12];
    for (size_t at = 0; at < PCR_COUNT_OF(x); at++) {
        x[at] = at % 2 ? NAN : INFINITY;
        struct pcr_quant_weights weights = {x, 2, 3, 4}, columns = {x, 2, 12, 1};
        assert_false(pcr_quant_weight_scales(&weights, s8_symmetric, scales));
        assert_false(pcr_quant_weight_scales(&columns, s8_symmetric, scales));
        x[at] = 0;
    }
}

// --- bias ---------------------------------------------------------------------------------------
static void a_bias_has_the_scale_of_the_products(void **state) {
    (void)state;
    static const float data[] = {1, -1, 0.3125f, 0.4375f, 0}, weight_scale = 0.25f;
    struct pcr_quant_bias bias = {data, 5, false, 0.5f};
    float scale;
    int32_t q[5];
    assert_int_equal(pcr_quantize_bias(&bias, &weight_scale, &scale, q), 0);
    assert_true(scale == 0.125f);
    static const int32_t wanted[] = {8, -8, 2, 4, 0}; // 2.5 and 3.5, half to even
    assert_memory_equal(q, wanted, sizeof wanted);
    static const float weight_scales[] = {0.25f, 0.5f, 2.5f, 1, 1};
    float scales[5];
    bias.per_channel = true;
    assert_int_equal(pcr_quantize_bias(&bias, weight_scales, scales, q), 0);
    static const int32_t each[] = {8, -4, 0, 1, 0};
    assert_memory_equal(q, each, sizeof each);
    assert_true(scales[2] == 1.25f);
}

static void a_bias_that_does_not_fit_is_cut_off_and_counted(void **state) {
    (void)state;
    static const float data[] = {1e10f, -1e10f, 2147483520, -2147483648.0f, 2147483648.0f, 0};
    static const float one = 1, nothing = 1e-30f;
    struct pcr_quant_bias bias = {data, 6, false, 1};
    float scale;
    int32_t q[6];
    assert_int_equal(pcr_quantize_bias(&bias, &one, &scale, q), 3);
    static const int32_t wanted[] = {INT32_MAX, INT32_MIN, 2147483520, INT32_MIN, INT32_MAX, 0};
    assert_memory_equal(q, wanted, sizeof wanted);
    bias.input_scale = 1e-30f; // the product is 0
    assert_int_equal(pcr_quantize_bias(&bias, &nothing, &scale, q), 5);
    assert_int_equal(q[0], INT32_MAX);
    assert_int_equal(q[5], 0);
}

static void weights_make_room_for_a_great_bias(void **state) {
    (void)state;
    static const float data[] = {1e6f, -3e6f, 0.001f};
    float scales[] = {1e-6f, 1e-6f, 1e-6f}, whole = 1e-6f, got[3];
    int32_t q[3];
    struct pcr_quant_bias bias = {data, 3, true, 1e-3f};
    assert_int_equal(pcr_quant_bias_make_room(&bias, scales), 2);
    assert_true(scales[2] == 1e-6f);
    assert_int_equal(pcr_quantize_bias(&bias, scales, got, q), 0);
    assert_true(abs(q[0]) > INT32_MAX / 1.001 && abs(q[1]) > INT32_MAX / 1.001);
    bias.per_channel = false;
    assert_int_equal(pcr_quant_bias_make_room(&bias, &whole), 1);
    assert_int_equal(pcr_quantize_bias(&bias, &whole, got, q), 0);
    assert_true(abs(q[1]) > INT32_MAX / 1.001);
    bias.input_scale = 0; // hopeless, and left alone
    assert_int_equal(pcr_quant_bias_make_room(&bias, &whole), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limits_are_those_of_the_table),
        cmocka_unit_test(a_range_has_its_scale),
        cmocka_unit_test(a_range_contains_zero),
        cmocka_unit_test(a_range_too_narrow_has_scale_one),
        cmocka_unit_test(the_widest_range_has_a_scale),
        cmocka_unit_test(a_range_that_is_none_has_scale_one),
        cmocka_unit_test(numbers_are_rounded_half_to_even_and_cut_off),
        cmocka_unit_test(numbers_are_divided),
        cmocka_unit_test(whatever_the_scale_the_bytes_are_defined),
        cmocka_unit_test(every_length_and_place_gives_the_same),
        cmocka_unit_test(bytes_become_numbers_again),
        cmocka_unit_test(the_range_is_found_wherever_it_lies),
        cmocka_unit_test(what_is_not_finite_is_found_wherever_it_is),
        cmocka_unit_test(every_channel_has_a_scale_of_its_own),
        cmocka_unit_test(weights_without_numbers_are_no_fault),
        cmocka_unit_test(a_weight_that_is_not_finite_is_reported),
        cmocka_unit_test(a_bias_has_the_scale_of_the_products),
        cmocka_unit_test(a_bias_that_does_not_fit_is_cut_off_and_counted),
        cmocka_unit_test(weights_make_room_for_a_great_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
