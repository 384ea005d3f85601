// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "cache/key.h"
#include "cache/value.h"

#include <math.h>
#include <stdlib.h>

#define PAIRS 20000

// --- questions at random ------------------------------------------------------------------------
// Few values each, so that equal questions come up often, and unequal ones that differ in one
// thing.
struct question {
    const char *tenant, *model, *version;
    struct pacer_tensor tensors[2];
    int64_t shapes[2][2];
    double numbers[2][4];
    char memory[2][64];
    struct pacer_bytes texts[2][4];
    size_t n_tensors;
};

static unsigned random_state = 1;
static unsigned draw(unsigned n) {
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

static void fill(struct question *q, size_t t, enum pacer_dtype dtype, size_t n) {
    static const double few[] = {0, 1, 2, -1};
    static const char *const words[] = {"", "a", "ab", "b"};
    for (size_t i = 0; i < n; i++) {
        double value = few[draw(4)];
        q->numbers[t][i] = value;
        if (dtype == PACER_FP32)
            ((float *)(void *)q->memory[t])[i] = (float)value;
        else if (dtype == PACER_FP64)
            ((double *)(void *)q->memory[t])[i] = value;
        else if (dtype == PACER_INT64)
            ((int64_t *)(void *)q->memory[t])[i] = (int64_t)value;
        else
            q->texts[t][i] = (struct pacer_bytes){words[draw(4)], 0};
        q->texts[t][i].size = dtype == PACER_BYTES ? strlen(q->texts[t][i].data) : 0;
    }
}

static void make_question(struct question *q) {
    static const char *const names[] = {"", "a", "ab"};
    static const enum pacer_dtype dtypes[] = {PACER_FP32, PACER_FP64, PACER_INT64, PACER_BYTES};
    memset(q, 0, sizeof *q);
    q->tenant = names[draw(3)];
    q->model = names[draw(3)];
    q->version = names[draw(2)];
    q->n_tensors = 1 + draw(2);
    for (size_t t = 0; t < q->n_tensors; t++) {
        size_t n = 1 + draw(2);
        enum pacer_dtype dtype = dtypes[draw(4)];
        bool flat = draw(2);
        q->shapes[t][0] = flat ? (int64_t)n : 1;
        q->shapes[t][1] = (int64_t)n;
        fill(q, t, dtype, n);
        const void *data = dtype == PACER_BYTES ? (const void *)q->texts[t] : q->memory[t];
        q->tensors[t] =
            (struct pacer_tensor){names[1 + draw(2)], dtype, flat ? 1 : 2, q->shapes[t], data};
    }
}

static bool same_tensor(const struct question *a, const struct question *b, size_t t) {
    const struct pacer_tensor *x = &a->tensors[t], *y = &b->tensors[t];
    if (strcmp(x->name, y->name) != 0 || x->dtype != y->dtype || x->rank != y->rank)
        return false;
    size_t n = 1;
    for (size_t i = 0; i < x->rank; i++) {
        if (x->shape[i] != y->shape[i])
            return false;
        n *= (size_t)x->shape[i];
    }
    for (size_t i = 0; i < n; i++)
        if (x->dtype == PACER_BYTES ? strcmp(a->texts[t][i].data, b->texts[t][i].data) != 0
                                    : a->numbers[t][i] != b->numbers[t][i])
            return false;
    return true;
}

static bool same_question(const struct question *a, const struct question *b) {
    bool same = strcmp(a->tenant, b->tenant) == 0 && strcmp(a->model, b->model) == 0 &&
                strcmp(a->version, b->version) == 0 && a->n_tensors == b->n_tensors;
    for (size_t t = 0; same && t < a->n_tensors; t++)
        same = same_tensor(a, b, t);
    return same;
}

static struct pcr_cache_key key_of(const struct question *q, struct pcr_buf *buf) {
    struct pcr_cache_keying keying;
    struct pcr_cache_key key;
    pcr_buf_init(buf, 1 << 20);
    pcr_cache_key_begin(&keying, buf, PCR_STR("test"), pcr_str(q->tenant), pcr_str(q->model),
                        pcr_str(q->version));
    for (size_t t = 0; t < q->n_tensors; t++)
        pcr_cache_key_tensor(&keying, &q->tensors[t]);
    assert_true(pcr_cache_key_end(&keying, &key));
    return key;
}

static void keys_are_equal_exactly_if_the_questions_are(void **state) {
    (void)state;
    size_t n_same = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        struct question a, b;
        struct pcr_buf left, right;
        make_question(&a);
        if (draw(2)) {
            b = a; // and then one thing may differ
            for (size_t t = 0; t < b.n_tensors; t++) {
                b.tensors[t].shape = b.shapes[t];
                b.tensors[t].data =
                    b.tensors[t].dtype == PACER_BYTES ? (const void *)b.texts[t] : b.memory[t];
            }
            if (draw(2))
                b.tenant = "ab";
        } else {
            make_question(&b);
        }
        struct pcr_cache_key x = key_of(&a, &left), y = key_of(&b, &right);
        bool same = same_question(&a, &b);
        n_same += same;
        assert_int_equal(pcr_str_eq(x.bytes, y.bytes), same);
        assert_int_equal(memcmp(&x.name, &y.name, sizeof x.name) == 0, same);
        struct pcr_str tenant, model;
        assert_true(pcr_cache_key_owner(x.bytes, &tenant, &model));
        assert_true(pcr_str_eq(tenant, pcr_str(a.tenant)) && pcr_str_eq(model, pcr_str(a.model)));
        pcr_buf_fini(&left);
        pcr_buf_fini(&right);
    }
    assert_in_range(n_same, PAIRS / 8, PAIRS - PAIRS / 8);
}

// --- numbers ------------------------------------------------------------------------------------
static bool key_tensor(enum pacer_dtype dtype, const void *data, struct pcr_buf *buf,
                       struct pcr_cache_key *key) {
    const int64_t shape[] = {1};
    const struct pacer_tensor tensor = {"x", dtype, 1, shape, data};
    struct pcr_cache_keying keying;
    pcr_buf_init(buf, 4096);
    pcr_cache_key_begin(&keying, buf, PCR_STR("test"), PCR_STR(""), PCR_STR("m"), PCR_STR("1"));
    pcr_cache_key_tensor(&keying, &tensor);
    return pcr_cache_key_end(&keying, key);
}

static void minus_zero_is_zero_and_nan_has_no_key(void **state) {
    (void)state;
    static const struct {
        enum pacer_dtype dtype;
        uint64_t zero, minus_zero, nan, other_nan, infinity;
    } kinds[] = {
        {PACER_FP16, 0, 0x8000, 0x7e00, 0xfc01, 0x7c00},
        {PACER_BF16, 0, 0x8000, 0x7fc0, 0xff81, 0x7f80},
        {PACER_FP32, 0, 0x80000000, 0x7fc00000, 0xff800001, 0x7f800000},
        {PACER_FP64, 0, 0x8000000000000000, 0x7ff8000000000000, 0xfff0000000000001,
         0x7ff0000000000000},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(kinds); i++) {
        struct pcr_buf a, b;
        struct pcr_cache_key x, y;
        assert_true(key_tensor(kinds[i].dtype, &kinds[i].zero, &a, &x));
        assert_true(key_tensor(kinds[i].dtype, &kinds[i].minus_zero, &b, &y));
        assert_true(pcr_str_eq(x.bytes, y.bytes));
        pcr_buf_fini(&b);
        assert_true(key_tensor(kinds[i].dtype, &kinds[i].infinity, &b, &y));
        assert_false(pcr_str_eq(x.bytes, y.bytes));
        pcr_buf_fini(&a);
        pcr_buf_fini(&b);
        assert_false(key_tensor(kinds[i].dtype, &kinds[i].nan, &a, &x));
        assert_false(key_tensor(kinds[i].dtype, &kinds[i].other_nan, &b, &y));
        pcr_buf_fini(&a);
        pcr_buf_fini(&b);
    }
}

static void what_is_computed_with_is_what_the_key_says(void **state) {
    (void)state;
    struct pcr_arena arena;
    pcr_arena_init(&arena, 1 << 20);
    const float values[] = {1, -0.0f, 0, -2};
    const int64_t shape[] = {4};
    struct pacer_tensor tensor = {"x", PACER_FP32, 1, shape, values};
    assert_true(pcr_cache_settle(&arena, &tensor));
    assert_ptr_not_equal(tensor.data, values);
    const float *settled = tensor.data;
    assert_false(signbit(settled[1]));
    assert_true(settled[0] == 1 && settled[3] == -2);
    const void *before = tensor.data;
    assert_true(pcr_cache_settle(&arena, &tensor)); // nothing to do: no copy
    assert_ptr_equal(tensor.data, before);
    pcr_arena_fini(&arena);
}

static void what_has_no_negative_zero_is_not_copied(void **state) {
    (void)state;
    struct pcr_arena arena;
    static const float singles[] = {1, 0, -3, INFINITY};
    static const double doubles[] = {1, 0, -3, -0.5};
    static const uint16_t halves[] = {0, 0x3c00, 0xbc00, 0x8001}; // 0, 1, −1, the smallest below 0
    const int64_t shape[] = {4};
    struct pacer_tensor tensors[] = {{"x", PACER_FP32, 1, shape, singles},
                                     {"x", PACER_FP64, 1, shape, doubles},
                                     {"x", PACER_FP16, 1, shape, halves},
                                     {"x", PACER_INT32, 1, shape, singles}};
    pcr_arena_init(&arena, 0); // no room for a copy
    for (size_t i = 0; i < PCR_COUNT_OF(tensors); i++) {
        const void *before = tensors[i].data;
        assert_true(pcr_cache_settle(&arena, &tensors[i]));
        assert_ptr_equal(tensors[i].data, before);
    }
    static const uint16_t negative[] = {0x8000};
    const int64_t one[] = {1};
    struct pacer_tensor half = {"x", PACER_FP16, 1, one, negative};
    assert_false(pcr_cache_settle(&arena, &half)); // it would need one
    pcr_arena_fini(&arena);
}

static void no_sequence_of_parts_looks_like_another(void **state) {
    (void)state;
    struct pcr_buf a, b;
    struct pcr_cache_keying keying;
    struct pcr_cache_key x, y;
    pcr_buf_init(&a, 4096);
    pcr_cache_key_begin(&keying, &a, PCR_STR("k"), PCR_STR(""), PCR_STR("m"), PCR_STR("1"));
    pcr_cache_key_text(&keying, PCR_STR("ab"));
    pcr_cache_key_text(&keying, PCR_STR("c"));
    assert_true(pcr_cache_key_end(&keying, &x));
    pcr_buf_init(&b, 4096);
    pcr_cache_key_begin(&keying, &b, PCR_STR("k"), PCR_STR(""), PCR_STR("m"), PCR_STR("1"));
    pcr_cache_key_text(&keying, PCR_STR("a"));
    pcr_cache_key_text(&keying, PCR_STR("bc"));
    assert_true(pcr_cache_key_end(&keying, &y));
    assert_false(pcr_str_eq(x.bytes, y.bytes));
    for (size_t n = 0; n < 24; n++) { // cut short, it has no owner
        struct pcr_str tenant, model;
        assert_false(
            pcr_cache_key_owner((struct pcr_str){x.bytes.ptr, n < 13 ? n : 13}, &tenant, &model));
    }
    pcr_buf_fini(&a);
    pcr_buf_fini(&b);
}

// --- stored values ------------------------------------------------------------------------------
static void a_stored_value_is_read_as_written_or_not_at_all(void **state) {
    (void)state;
    const struct pcr_cache_value value = {.key = PCR_STR("the key"),
                                          .body = PCR_STR("a body of some length"),
                                          .stored_ms = 1234,
                                          .fresh_ms = 99,
                                          .cost_us = 7};
    char bytes[256];
    size_t n = pcr_cache_value_bytes(&value);
    struct pcr_cache_value read;
    pcr_cache_value_write(&value, bytes);
    assert_true(pcr_cache_value_read((struct pcr_str){bytes, n}, &read));
    assert_true(pcr_str_eq(read.key, value.key) && pcr_str_eq(read.body, value.body));
    assert_true(read.stored_ms == 1234 && read.fresh_ms == 99 && read.cost_us == 7);
    for (size_t cut = 0; cut < n; cut++)
        assert_false(pcr_cache_value_read((struct pcr_str){bytes, cut}, &read));
    assert_false(pcr_cache_value_read((struct pcr_str){bytes, n + 1}, &read));
    for (size_t bit = 0; bit < n * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        assert_false(pcr_cache_value_read((struct pcr_str){bytes, n}, &read));
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_no_negative_zero_is_not_copied),
        cmocka_unit_test(keys_are_equal_exactly_if_the_questions_are),
        cmocka_unit_test(minus_zero_is_zero_and_nan_has_no_key),
        cmocka_unit_test(what_is_computed_with_is_what_the_key_says),
        cmocka_unit_test(no_sequence_of_parts_looks_like_another),
        cmocka_unit_test(a_stored_value_is_read_as_written_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
