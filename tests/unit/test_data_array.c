// SPDX-License-Identifier: Apache-2.0
#include "data_fixture.h"
#include "zip_fixture.h"

#include <math.h>

#define NPY "d.npy"
#define NPZ "d.npz"

struct array { // in the format of NumPy, version 1.0
    char bytes[2048];
    size_t size;
};

static struct array make(const char *descr, const char *shape, const void *data, size_t bytes) {
    struct array array = {.size = 0};
    int length = snprintf(array.bytes + 10, 200,
                          "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape);
    memcpy(array.bytes, "\x93NUMPY\x01\x00", 8);
    array.bytes[8] = (char)length;
    array.size = 10 + (size_t)length + bytes;
    if (bytes)
        memcpy(array.bytes + 10 + length, data, bytes);
    return array;
}

static void good_npy(struct fixture *f, struct array array, struct pacer_tensor_info info) {
    good_bytes(f, NPY, array.bytes, array.size, &info, 1);
}

static void bad_npy(struct fixture *f, struct array array, struct pacer_tensor_info info, int code,
                    const char *words) {
    bad_bytes(f, NPY, array.bytes, array.size, &info, 1, code, words);
}

static const float singles[6] = {1, 2, 3, 4, 5, 6.5f};

static void the_first_dimension_counts_rows(void **state) {
    struct fixture *f = *state;
    struct array two_by_three = make("<f4", "(2, 3)", singles, 24);
    good_npy(f, two_by_three, input("X", PACER_FP32, SHAPE(-1, 3)));
    assert_int_equal(f->data.rows, 2);
    expect_shape(f, 0, SHAPE(2, 3));
    EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6.5f);
    good_npy(f, two_by_three, input("X", PACER_FP32, SHAPE(1, -1)));
    good_npy(f, two_by_three, input("X", PACER_FP32, NULL, 0));
    expect_shape(f, 0, SHAPE(2, 3));
    good_npy(f, make("<f4", "(1, 2, 3)", singles, 24), input("X", PACER_FP32, SHAPE(-1, -1, -1)));
    expect_shape(f, 0, SHAPE(1, 2, 3));
    good_npy(f, make("<f4", "(6,)", singles, 24), input("X", PACER_FP32, SHAPE(-1)));
    good_npy(f, make("<f4", "(6,)", singles, 24), input("X", PACER_FP32, SHAPE(-1, 1, 1)));
    expect_shape(f, 0, SHAPE(6, 1, 1));
    static const int64_t none[1];
    good_npy(f, make("<f4", "(6,)", singles, 24), input("X", PACER_FP32, none, 0)); // a scalar
    expect_shape(f, 0, SHAPE(6));
    f->options.rows_max = 1;
    good_npy(f, two_by_three, input("X", PACER_FP32, SHAPE(-1, 3)));
    expect_shape(f, 0, SHAPE(1, 3));
    f->options.rows_max = 3;
    good_npy(f, two_by_three, input("X", PACER_FP32, SHAPE(-1, 3)));
    expect_shape(f, 0, SHAPE(2, 3));
}

static void shapes_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("X", PACER_FP32, SHAPE(-1, 3));
    bad_npy(f, make("<f4", "(3,)", singles, 12), x, PACER_EINVAL,
            "d.npy: the array is of shape [3], but the shape of input 'X' is [-1,3] (the first "
            "dimension counts rows); if it is a single row, give it a first dimension of 1: "
            "a[None]");
    bad_npy(f, make("<f4", "(3, 2)", singles, 24), x, PACER_EINVAL, "is of shape [3,2], but");
    bad_npy(f, make("<f4", "(1, 2, 3)", singles, 24), x, PACER_EINVAL, "is of shape [1,2,3], but");
    bad_npy(f, make("<f4", "(0, 3)", singles, 0), x, PACER_EINVAL, "there is no row in it");
    bad_npy(f, make("<f4", "()", singles, 4), x, PACER_EINVAL, "there is no row in it");
    bad_npy(f, make("<f4", "()", singles, 4), input("X", PACER_FP32, NULL, 0), PACER_EINVAL,
            "the shape of input 'X' is any");
    bad_npy(f, make("<f4", "(2, 0)", singles, 0), input("X", PACER_FP32, SHAPE(-1, -1)),
            PACER_EINVAL, "is of shape [2,0]");
    bad_npy(f, make("<f4", "(6,)", singles, 24), input("X", PACER_FP32, SHAPE(-1, -1)),
            PACER_EINVAL, "a[None]");
    bad_npy(f, make("<f4", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", singles, 4),
            input("X", PACER_FP32, SHAPE(-1, -1)), PACER_EINVAL, "is of shape [1,1,1,1");
    bad_npy(f, make("<f4", "(2, 3)", singles, 20), x, PACER_ESYNTAX,
            "d.npy: not an .npy file that can be read: it ends before all elements");
    const struct pacer_tensor_info two[] = {x, x};
    struct array array = make("<f4", "(2, 3)", singles, 24);
    bad_bytes(
        f, NPY, array.bytes, array.size, two, 2, PACER_EINVAL,
        "d.npy: one array, but the model takes 2 inputs: 'X' [-1,3], 'X' [-1,3]; save one for "
        "each with numpy.savez");
    bad_text(f, NPY, "no array", &x, 1, PACER_ESYNTAX, "neither an array nor an archive");
    bad_text(f, NPZ, "no array", &x, 1, PACER_ESYNTAX, "neither an array nor an archive");
}

static void types_are_converted_where_nothing_is_lost(void **state) {
    struct fixture *f = *state;
    const double doubles[3] = {1, -2, 1e10};
    const int64_t wholes[3] = {1, -2, 127};
    good_npy(f, make("<f8", "(3,)", doubles, 24), input("X", PACER_INT64, SHAPE(-1)));
    EXPECT(f, 0, int64_t, 1, -2, 10000000000);
    good_npy(f, make("<i8", "(3,)", wholes, 24), input("X", PACER_INT8, SHAPE(-1)));
    EXPECT(f, 0, int8_t, 1, -2, 127);
    good_npy(f, make("<i8", "(3,)", wholes, 24), input("X", PACER_FP32, SHAPE(-1)));
    EXPECT(f, 0, float, 1, -2, 127);
    good_npy(f, make("<i8", "(3,)", wholes, 24), input("X", PACER_FP16, SHAPE(-1)));
    EXPECT(f, 0, uint16_t, 0x3c00, 0xc000, 0x57f0);
    good_npy(f, make("|b1", "(3,)", "\1\0\1", 3), input("X", PACER_FP64, SHAPE(-1)));
    EXPECT(f, 0, double, 1, 0, 1);
    good_npy(f, make("|u1", "(3,)", "\1\0\1", 3), input("X", PACER_BOOL, SHAPE(-1)));
    EXPECT(f, 0, uint8_t, 1, 0, 1);
    const double third[1] = {1.0 / 3};
    good_npy(f, make("<f8", "(1,)", third, 8), input("X", PACER_FP32, SHAPE(-1)));
    EXPECT(f, 0, float, 1.0f / 3);
    good_npy(f, make("<f8", "(1,)", third, 8), input("X", PACER_BF16, SHAPE(-1)));
    EXPECT(f, 0, uint16_t, 0x3eab);
    const uint16_t halves[2] = {0x3555, 0xfbff};
    good_npy(f, make("<f2", "(2,)", halves, 4), input("X", PACER_FP32, SHAPE(-1)));
    EXPECT(f, 0, float, 0.333251953125f, -65504);
    good_npy(f, make("<f2", "(2,)", halves, 4), input("X", PACER_FP16, SHAPE(-1)));
    EXPECT(f, 0, uint16_t, 0x3555, 0xfbff);
    good_npy(f, make("|S3", "(2,)", "ab\0xyz", 6), input("X", PACER_BYTES, SHAPE(-1, 1)));
    expect_text(f, 0, 0, "ab");
    expect_text(f, 0, 1, "xyz");
}

static void elements_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    const double doubles[4] = {1, 2, 3, 1e300};
    const double halves[4] = {1, 2, 2.5, 4};
    const int64_t wholes[4] = {1, 2, -3, 16777217};
    const uint64_t large[1] = {UINT64_MAX};
    bad_npy(f, make("<f8", "(2, 2)", doubles, 32), input("X", PACER_FP32, SHAPE(-1, 2)),
            PACER_EINVAL, "d.npy: the array: element [1,1]: 1e+300 is out of range; expected a");
    bad_npy(f, make("<f8", "(2, 2)", halves, 32), input("X", PACER_INT32, SHAPE(-1, 2)),
            PACER_EINVAL, "element [1,0]: 2.5 is no whole number");
    bad_npy(f, make("<i8", "(2, 2)", wholes, 32), input("X", PACER_UINT32, SHAPE(-1, 2)),
            PACER_EINVAL, "element [1,0]: -3 is out of range");
    bad_npy(f, make("<i8", "(2, 2)", wholes, 32), input("X", PACER_FP32, SHAPE(-1, 2)),
            PACER_EINVAL, "element [1,1]: 16777217 would be rounded");
    bad_npy(f, make("<u8", "(1,)", large, 8), input("X", PACER_INT64, SHAPE(-1)), PACER_EINVAL,
            "element [0]: 18446744073709551615 is out of range");
    bad_npy(f, make("<u8", "(1,)", large, 8), input("X", PACER_FP64, SHAPE(-1)), PACER_EINVAL,
            "element [0]: 18446744073709551615 would be rounded");
    bad_npy(f, make("|S3", "(2,)", "ab\0\xff\xff.", 6), input("X", PACER_BYTES, SHAPE(-1)),
            PACER_EINVAL, "element [1]: '??.' is not UTF-8");
    bad_npy(f, make("|S3", "(1,)", "1.5", 3), input("X", PACER_FP32, SHAPE(-1)), PACER_EINVAL,
            "d.npy: the array holds BYTES, but input 'X' takes FP32");
    bad_npy(f, make("<i8", "(4,)", wholes, 32), input("X", PACER_BYTES, SHAPE(-1)), PACER_EINVAL,
            "holds INT64, but input 'X' takes BYTES");
    bad_npy(f, make("|O", "(1,)", wholes, 8), input("X", PACER_FP32, SHAPE(-1)), PACER_EUNSUPPORTED,
            "d.npy: an array of Python objects");
}

static void nan_and_infinity(void **state) {
    struct fixture *f = *state;
    const float values[4] = {1, NAN, INFINITY, -INFINITY};
    const double wide[1] = {NAN};
    const uint16_t half[2] = {0x7c00, 0x7e01};
    const struct pacer_tensor_info x = input("X", PACER_FP32, SHAPE(-1));
    bad_npy(f, make("<f4", "(4,)", values, 16), x, PACER_EINVAL,
            "d.npy: the array: element [1]: nan is not finite; expected");
    bad_npy(f, make("<f4", "(2,)", values + 2, 8), x, PACER_EINVAL, "element [0]: inf is not");
    bad_npy(f, make("<f8", "(1,)", wide, 8), x, PACER_EINVAL, "element [0]: nan is not finite");
    bad_npy(f, make("<f2", "(2,)", half, 4), input("X", PACER_FP16, SHAPE(-1)), PACER_EINVAL,
            "element [0]: inf is not finite");
    bad_npy(f, make("<f4", "(4,)", values, 16), input("X", PACER_INT32, SHAPE(-1)), PACER_EINVAL,
            "element [1]: nan is no whole number");
    f->options.allow_nan = true;
    good_npy(f, make("<f4", "(4,)", values, 16), x);
    assert_memory_equal(f->data.tensors[0].data, values, sizeof values);
    good_npy(f, make("<f2", "(2,)", half, 4), x);
    const float *out = f->data.tensors[0].data;
    assert_true(out[0] == INFINITY && isnan(out[1]));
    bad_npy(f, make("<f4", "(4,)", values, 16), input("X", PACER_INT32, SHAPE(-1)), PACER_EINVAL,
            "element [1]: nan is no whole number");
}

// --- archives -----------------------------------------------------------------------------------
static struct zip_file zip;

static void begin(void) {
    zip_fini(&zip);
    zip_init(&zip);
}

static void add(const char *name, struct array array, bool deflated) {
    zip_add(&zip, name, array.bytes, array.size, deflated);
}

static void good_npz(struct fixture *f, const struct pacer_tensor_info *inputs, size_t n) {
    zip_finish(&zip, "");
    good_bytes(f, NPZ, zip.bytes.data, zip.bytes.len, inputs, n);
}

static void bad_npz(struct fixture *f, const struct pacer_tensor_info *inputs, size_t n, int code,
                    const char *words) {
    zip_finish(&zip, "");
    bad_bytes(f, NPZ, zip.bytes.data, zip.bytes.len, inputs, n, code, words);
}

static const struct pacer_tensor_info *two(void) {
    static const int64_t matrix[] = {-1, 2}, column[] = {-1, 1};
    static struct pacer_tensor_info inputs[2];
    inputs[0] = input("a", PACER_FP32, matrix, 2);
    inputs[1] = input("b", PACER_INT32, column, 2);
    return inputs;
}

static void arrays_by_the_names_of_inputs(void **state) {
    struct fixture *f = *state;
    const int64_t ages[3] = {30, 40, 50};
    for (int form = 0; form < 4; form++) {
        begin();
        zip.zip64 = form & 1;
        add("b.npy", make("<i8", "(3,)", ages, 24), form & 2);
        add("extra.npy", make("|O", "(1,)", ages, 8), form & 2); // is not looked at
        add("a.npy", make("<f4", "(3, 2)", singles, 24), form & 2);
        good_npz(f, two(), 2);
        assert_int_equal(f->data.rows, 3);
        expect_shape(f, 0, SHAPE(3, 2));
        expect_shape(f, 1, SHAPE(3, 1));
        EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6.5f);
        EXPECT(f, 1, int32_t, 30, 40, 50);
    }
    f->options.rows_max = 2;
    good_bytes(f, NPZ, zip.bytes.data, zip.bytes.len, two(), 2);
    assert_int_equal(f->data.rows, 2);
    expect_shape(f, 1, SHAPE(2, 1));
}

static void one_array_for_one_input(void **state) {
    struct fixture *f = *state;
    begin();
    add("arr_0.npy", make("<f4", "(3, 2)", singles, 24), true);
    zip_add(&zip, "README", "no array", 8, false);
    good_npz(f, two(), 1);
    EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6.5f);
    begin();
    add("arr_0.npy", make("<f4", "(3, 2)", singles, 24), true);
    add("arr_1.npy", make("<f4", "(3, 2)", singles, 24), true);
    bad_npz(f, two(), 1, PACER_EINVAL,
            "d.npz: there is no array for input 'a'; the model takes 1 input: 'a' [-1,2]; the file "
            "has 2 arrays: 'arr_0', 'arr_1'");
    begin();
    add("arr_0.npy", make("<f4", "(3, 2)", singles, 24), true);
    bad_npz(f, two(), 2, PACER_EINVAL, "no array for input 'a'");
    begin();
    bad_npz(f, two(), 1, PACER_EINVAL, "the file has 0 arrays: ");
    begin();
    zip_add(&zip, ".npy", "", 0, false);
    bad_npz(f, two(), 1, PACER_EINVAL, "the file has 0 arrays: ");
}

static void archives_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    const int64_t ages[3] = {30, 40, 50};
    begin();
    add("a.npy", make("<f4", "(3, 2)", singles, 24), true);
    add("b.npy", make("<i8", "(2,)", ages, 16), true);
    bad_npz(f, two(), 2, PACER_EINVAL,
            "d.npz: array 'b' has 2 rows, but those before it have 3; all arrays need the same");
    begin();
    add("a.npy", make("<f4", "(2, 3)", singles, 24), true);
    add("b.npy", make("<i8", "(2,)", ages, 16), true);
    bad_npz(f, two(), 2, PACER_EINVAL, "d.npz: array 'a' is of shape [2,3], but");
    begin();
    add("a.npy", make("<f4", "(3, 2)", singles, 24), true);
    add("b.npy", make("<f4", "(3,)", singles + 3, 12), true);
    bad_npz(f, two(), 2, PACER_EINVAL, "d.npz: array 'b': element [2]: 6.5 is no whole number");
    begin();
    add("a.npy", make("|O", "(3,)", ages, 24), true);
    bad_npz(f, two(), 1, PACER_EUNSUPPORTED, "d.npz: array 'a': an array of Python objects");
    begin();
    zip_add(&zip, "a.npy", "not an array", 12, true);
    bad_npz(f, two(), 1, PACER_ESYNTAX, "d.npz: array 'a': not an .npy file that can be read");
    begin();
    add("a.npy", make("<f4", "(3, 2)", singles, 24), true);
    add("a.npy", make("<f4", "(3, 2)", singles, 24), true);
    bad_npz(f, two(), 1, PACER_ESYNTAX, "d.npz: entry 'a.npy' of the archive is there twice");
    begin();
    add("a.npy", make("<f4", "(3, 2)", singles, 24), false);
    zip.entries[0].crc ^= 1;
    bad_npz(f, two(), 1, PACER_ESYNTAX, "d.npz: entry 'a.npy' of the archive");
    bad_bytes(f, NPZ, zip.bytes.data, 60, two(), 1, PACER_ESYNTAX,
              "d.npz: not a ZIP archive that can be read: its end is missing");
    zip_fini(&zip);
}

// The names of inputs that are too long for a message, and paths, are cut.
static void long_names(void **state) {
    struct fixture *f = *state;
    char name[4000], path[1000];
    memset(name, 'n', sizeof name - 1);
    memset(path, 'p', sizeof path - 1);
    name[sizeof name - 1] = path[sizeof path - 1] = '\0';
    const struct pacer_tensor_info x = input(name, PACER_FP32, SHAPE(-1, 2));
    struct array array = make("<f4", "(2,)", singles, 8);
    assert_int_equal(read_bytes(f, path, array.bytes, array.size, &x, 1), PACER_EINVAL);
    assert_int_equal(read_bytes(f, path, "a\n1\n", 4, &x, 1), PACER_EINVAL);
    assert_int_equal(read_bytes(f, NPY, array.bytes, array.size, &x, 1), PACER_EINVAL);
    assert_non_null(strstr(f->err.message, "nnn…' is [-1,2]"));
}

static void any_amount_of_memory(void **state) {
    const int64_t ages[3] = {30, 40, 50};
    begin();
    add("b.npy", make("<i8", "(3,)", ages, 24), true);
    add("a.npy", make("<f4", "(3, 2)", singles, 24), true);
    zip_finish(&zip, "");
    every_amount_of_memory(*state, NPZ, zip.bytes.data, zip.bytes.len, two(), 2);
    zip_fini(&zip);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_first_dimension_counts_rows),
        TEST(shapes_that_do_not_fit),
        TEST(types_are_converted_where_nothing_is_lost),
        TEST(elements_that_do_not_fit),
        TEST(nan_and_infinity),
        TEST(arrays_by_the_names_of_inputs),
        TEST(one_array_for_one_input),
        TEST(archives_that_do_not_fit),
        TEST(long_names),
        TEST(any_amount_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
