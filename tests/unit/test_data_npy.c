// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "data/npy.h"

#include "base/base.h"

struct array { // in the format of NumPy, version 1.0
    char bytes[1024];
    size_t size;
};

static struct array make(const char *header, const void *data, size_t data_bytes) {
    struct array array = {.size = 0};
    size_t length = strlen(header);
    memcpy(array.bytes, "\x93NUMPY\x01\x00", 8);
    array.bytes[8] = (char)(length & 0xff);
    array.bytes[9] = (char)(length >> 8);
    memcpy(array.bytes + 10, header, length);
    if (data_bytes)
        memcpy(array.bytes + 10 + length, data, data_bytes);
    array.size = 10 + length + data_bytes;
    return array;
}

static int setup(void **state) {
    static struct pcr_arena arena;
    pcr_arena_init(&arena, 1 << 20);
    *state = &arena;
    return 0;
}

static int teardown(void **state) {
    pcr_arena_fini(*state);
    return 0;
}

static struct pacer_tensor good(struct pcr_arena *arena, const char *header, const void *data,
                                size_t data_bytes) {
    struct array array = make(header, data, data_bytes);
    struct pacer_tensor tensor;
    struct pacer_error err;
    int rc = pcr_npy_read(arena, (struct pcr_str){array.bytes, array.size}, &tensor, &err);
    if (rc < 0)
        fail_msg("%s", err.message);
    return tensor;
}

static void bad(struct pcr_arena *arena, const char *header, size_t data_bytes, int code,
                const char *words) {
    char data[64] = {0};
    struct array array = make(header, data, data_bytes);
    struct pacer_tensor tensor;
    struct pacer_error err;
    assert_int_equal(pcr_npy_read(arena, (struct pcr_str){array.bytes, array.size}, &tensor, &err),
                     code);
    if (!strstr(err.message, words))
        fail_msg("'%s' is not in '%s'", words, err.message);
}

#define HEADER(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }  \n"

static void numbers_in_c_and_fortran_order(void **state) {
    const float values[6] = {0, 1, 2, 3, 4, 5};
    struct pacer_tensor t = good(*state, HEADER("'<f4'", "False", "(2, 3)"), values, 24);
    assert_int_equal(t.dtype, PACER_FP32);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.shape[0], 2);
    assert_int_equal(t.shape[1], 3);
    assert_memory_equal(t.data, values, sizeof values);
    t = good(*state, HEADER("'<f4'", "True", "(2, 3)"), values, 24);
    const float turned[6] = {0, 2, 4, 1, 3, 5};
    assert_memory_equal(t.data, turned, sizeof turned);
    t = good(*state, HEADER("'<f4'", "True", "(3, 1, 2)"), values, 24);
    const float deep[6] = {0, 3, 1, 4, 2, 5};
    assert_memory_equal(t.data, deep, sizeof deep);
}

static void either_byte_order(void **state) {
    const unsigned char big[4] = {0x01, 0x02, 0xff, 0xfe};
    const int16_t expected[2] = {0x0102, -2};
    struct pacer_tensor t = good(*state, HEADER("'>i2'", "False", "(2,)"), big, 4);
    assert_int_equal(t.dtype, PACER_INT16);
    assert_memory_equal(t.data, expected, sizeof expected);
}

static void every_type_of_number(void **state) {
    static const struct {
        const char *header;
        size_t bytes;
        enum pacer_dtype dtype;
    } cases[] = {
        {HEADER("'|b1'", "False", "()"), 1, PACER_BOOL},
        {HEADER("'|i1'", "False", "()"), 1, PACER_INT8},
        {HEADER("'<i2'", "False", "()"), 2, PACER_INT16},
        {HEADER("'<i4'", "False", "()"), 4, PACER_INT32},
        {HEADER("'<i8'", "False", "()"), 8, PACER_INT64},
        {HEADER("'|u1'", "False", "()"), 1, PACER_UINT8},
        {HEADER("'<u2'", "False", "()"), 2, PACER_UINT16},
        {HEADER("'<u4'", "False", "()"), 4, PACER_UINT32},
        {HEADER("'<u8'", "False", "()"), 8, PACER_UINT64},
        {HEADER("'<f2'", "False", "()"), 2, PACER_FP16},
        {HEADER("'<f4'", "False", "()"), 4, PACER_FP32},
        {HEADER("'<f8'", "False", "()"), 8, PACER_FP64},
        {"{\"shape\":(),\"fortran_order\":False,\"descr\":\"<f8\"}", 8, PACER_FP64},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1L,)}", 8, PACER_FP64},
    };
    const unsigned char data[8] = {7, 6, 5, 4, 3, 2, 1, 0};
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pacer_tensor t = good(*state, cases[i].header, data, cases[i].bytes);
        assert_int_equal(t.dtype, cases[i].dtype);
        if (t.dtype == PACER_BOOL)
            assert_int_equal(*(const char *)t.data, 1); // whatever is not 0 is true
        else
            assert_memory_equal(t.data, data, cases[i].bytes);
    }
}

static void texts(void **state) {
    struct pacer_tensor t = good(*state, HEADER("'|S3'", "False", "(2,)"), "ab\0xyz", 6);
    const struct pacer_bytes *list = t.data;
    assert_int_equal(t.dtype, PACER_BYTES);
    assert_int_equal(list[0].size, 2);
    assert_memory_equal(list[1].data, "xyz", 3);
    const uint32_t letters[4] = {0x20ac, 0, 0x1f600, 0xe9};
    t = good(*state, HEADER("'<U2'", "False", "(2,)"), letters, 16);
    list = t.data;
    assert_int_equal(list[0].size, 3);
    assert_memory_equal(list[0].data, "\xe2\x82\xac", 3);
    assert_int_equal(list[1].size, 6);
    assert_memory_equal(list[1].data, "\xf0\x9f\x98\x80\xc3\xa9", 6);
    t = good(*state, HEADER("'<U0'", "False", "(3,)"), NULL, 0);
    assert_int_equal(((const struct pacer_bytes *)t.data)[2].size, 0);
}

static void nothing_at_all(void **state) {
    struct pacer_tensor t = good(*state, HEADER("'<f4'", "False", "(0, 5)"), NULL, 0);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.shape[0], 0);
}

static void what_is_refused(void **state) {
    bad(*state, HEADER("'<f4'", "False", "(2, 3)"), 23, PACER_ESYNTAX, "ends before all elements");
    bad(*state, HEADER("'<f4'", "False", "(2, 3)"), 25, PACER_ESYNTAX, "goes on after");
    bad(*state, HEADER("'<f8'", "False", "(4611686018427387904, 4)"), 8, PACER_ESYNTAX, "ends");
    bad(*state, HEADER("'|O'", "False", "(1,)"), 8, PACER_EUNSUPPORTED, "a pickle");
    bad(*state, HEADER("[('a', '<f4')]", "False", "(1,)"), 4, PACER_EUNSUPPORTED, "records");
    bad(*state, HEADER("'<c8'", "False", "(1,)"), 8, PACER_EUNSUPPORTED, "type '<c8'");
    bad(*state, HEADER("'<f16'", "False", "(1,)"), 16, PACER_EUNSUPPORTED, "type 'f16'");
    bad(*state, HEADER("'<M8[ns]'", "False", "(1,)"), 8, PACER_EUNSUPPORTED, "type '<M8[ns]'");
    bad(*state, HEADER("'<f4'", "Maybe", "(1,)"), 4, PACER_ESYNTAX, "neither True nor False");
    bad(*state, HEADER("'<f4'", "False", "(-1,)"), 4, PACER_ESYNTAX, "tuple of sizes");
    bad(*state, HEADER("'<f4'", "False", "(1 2)"), 4, PACER_ESYNTAX, "tuple of sizes");
    bad(*state, HEADER("'<f4'", "False", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), 4, PACER_ELIMIT,
        "16 dimensions");
    bad(*state, HEADER("'<U0'", "False", "(99999999999,)"), 0, PACER_ELIMIT, "empty texts");
    bad(*state, "{'descr': '<f4', 'shape': (1,)}", 4, PACER_ESYNTAX, "lacks");
    bad(*state, "{'descr': '<f4', 'descr': '<f4'}", 4, PACER_ESYNTAX, "doubled key");
    bad(*state, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, PACER_ESYNTAX,
        "follows the dictionary");
    bad(*state, "__import__('os')", 4, PACER_ESYNTAX, "no dictionary");
    const uint32_t surrogate = 0xd800;
    struct array array = make(HEADER("'<U1'", "False", "(1,)"), &surrogate, 4);
    struct pacer_tensor tensor;
    assert_int_equal(pcr_npy_read(*state, (struct pcr_str){array.bytes, array.size}, &tensor, NULL),
                     PACER_ESYNTAX);
}

static void cut_anywhere(void **state) {
    const float values[2] = {1, 2};
    struct array array = make(HEADER("'<f4'", "False", "(2,)"), values, 8);
    for (size_t n = 0; n < array.size; n++) {
        struct pacer_tensor tensor;
        assert_int_equal(pcr_npy_read(*state, (struct pcr_str){array.bytes, n}, &tensor, NULL),
                         PACER_ESYNTAX);
    }
    array.bytes[6] = 4;
    struct pacer_tensor tensor;
    assert_int_equal(pcr_npy_read(*state, (struct pcr_str){array.bytes, array.size}, &tensor, NULL),
                     PACER_ESYNTAX);
    array.bytes[6] = 2; // now the length has four bytes, and they say gigabytes
    assert_int_equal(pcr_npy_read(*state, (struct pcr_str){array.bytes, array.size}, &tensor, NULL),
                     PACER_ESYNTAX);
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_in_c_and_fortran_order),
        TEST(either_byte_order),
        TEST(every_type_of_number),
        TEST(texts),
        TEST(nothing_at_all),
        TEST(what_is_refused),
        TEST(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
