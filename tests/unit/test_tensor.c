// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <pacer/tensor.h>

static void types_have_names_and_sizes(void **state) {
    (void)state;
    static const struct {
        enum pacer_dtype dtype;
        const char *name;
        size_t size;
    } expected[] = {
        {PACER_BOOL, "BOOL", 1},     {PACER_UINT8, "UINT8", 1},   {PACER_UINT16, "UINT16", 2},
        {PACER_UINT32, "UINT32", 4}, {PACER_UINT64, "UINT64", 8}, {PACER_INT8, "INT8", 1},
        {PACER_INT16, "INT16", 2},   {PACER_INT32, "INT32", 4},   {PACER_INT64, "INT64", 8},
        {PACER_FP16, "FP16", 2},     {PACER_BF16, "BF16", 2},     {PACER_FP32, "FP32", 4},
        {PACER_FP64, "FP64", 8},     {PACER_BYTES, "BYTES", 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_string_equal(pacer_dtype_name(expected[i].dtype), expected[i].name);
        assert_int_equal(pacer_dtype_size(expected[i].dtype), expected[i].size);
        assert_int_equal(pacer_dtype_parse(expected[i].name), expected[i].dtype);
    }
}

static void unknown_types_are_invalid(void **state) {
    (void)state;
    assert_int_equal(pacer_dtype_parse("fp32"), PACER_DTYPE_INVALID);
    assert_int_equal(pacer_dtype_parse("INVALID"), PACER_DTYPE_INVALID);
    assert_int_equal(pacer_dtype_parse(""), PACER_DTYPE_INVALID);
    assert_int_equal(pacer_dtype_parse(NULL), PACER_DTYPE_INVALID);
    assert_string_equal(pacer_dtype_name((enum pacer_dtype)99), "INVALID");
    assert_string_equal(pacer_dtype_name((enum pacer_dtype) - 1), "INVALID");
    assert_int_equal(pacer_dtype_size((enum pacer_dtype)99), 0);
}

static void shapes_are_counted(void **state) {
    (void)state;
    size_t n = 99;
    assert_int_equal(pacer_shape_count(NULL, 0, &n), 0);
    assert_int_equal(n, 1); // a scalar
    assert_int_equal(pacer_shape_count((int64_t[]){2, 3, 4}, 3, &n), 0);
    assert_int_equal(n, 24);
    assert_int_equal(pacer_shape_count((int64_t[]){5, 0, 4}, 3, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(pacer_shape_count((int64_t[]){INT64_MAX, INT64_MAX, 0}, 3, &n), 0);
    assert_int_equal(n, 0);
}

static void impossible_shapes_are_refused(void **state) {
    (void)state;
    size_t n = 99;
    assert_int_equal(pacer_shape_count((int64_t[]){2, -1}, 2, &n), PACER_EINVAL);
    assert_int_equal(pacer_shape_count((int64_t[]){0, INT64_MIN}, 2, &n), PACER_EINVAL);
    assert_int_equal(pacer_shape_count((int64_t[]){INT64_MAX, 3}, 2, &n), PACER_ELIMIT);
    assert_int_equal(pacer_shape_count((int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32}, 2, &n),
                     PACER_ELIMIT);
    assert_int_equal(pacer_shape_count((int64_t[]){INT64_MAX, 2}, 2, &n), PACER_ELIMIT);
    assert_int_equal(n, 99); // untouched
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(unknown_types_are_invalid),
        cmocka_unit_test(shapes_are_counted),
        cmocka_unit_test(impossible_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
