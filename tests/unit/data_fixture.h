// SPDX-License-Identifier: Apache-2.0
// Reads data from memory for made-up inputs.
#ifndef PCR_DATA_FIXTURE_H
#define PCR_DATA_FIXTURE_H

#include "test.h"

#include "data/data_priv.h"

struct fixture {
    struct pcr_arena arena;
    struct pcr_data_options options;
    struct pcr_data data;
    struct pacer_error err;
};

static int setup(void **state) {
    static struct fixture fixture;
    fixture = (struct fixture){.data = {0}};
    pcr_arena_init(&fixture.arena, 64 << 20);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    pcr_arena_fini(&fixture->arena);
    return 0;
}

#define SHAPE(...) (const int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / 8
static inline struct pacer_tensor_info input(const char *name, enum pacer_dtype dtype,
                                             const int64_t *shape, size_t rank) {
    return (struct pacer_tensor_info){.name = name, .dtype = dtype, .rank = rank, .shape = shape};
}

static inline int read_bytes(struct fixture *f, const char *path, const void *bytes, size_t size,
                             const struct pacer_tensor_info *inputs, size_t n) {
    struct pcr_buf copy; // ends with a NUL, and exactly there for a sanitizer
    pcr_buf_init(&copy, size);
    pcr_buf_append(&copy, bytes, size);
    int rc = pcr_data_read(path, pcr_buf_view(&copy), inputs, n, &f->options, &f->arena, &f->data,
                           &f->err);
    pcr_buf_fini(&copy);
    return rc;
}

static inline void good_bytes(struct fixture *f, const char *path, const void *bytes, size_t size,
                              const struct pacer_tensor_info *inputs, size_t n) {
    if (read_bytes(f, path, bytes, size, inputs, n) < 0)
        fail_msg("%s", f->err.message);
    assert_int_equal(f->data.n_tensors, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(f->data.tensors[i].name, inputs[i].name);
        assert_int_equal(f->data.tensors[i].dtype, inputs[i].dtype);
        assert_int_equal(f->data.tensors[i].shape[0], f->data.rows);
    }
}

static inline void bad_bytes(struct fixture *f, const char *path, const void *bytes, size_t size,
                             const struct pacer_tensor_info *inputs, size_t n, int code,
                             const char *words) {
    f->err.message[0] = '\0';
    int rc = read_bytes(f, path, bytes, size, inputs, n);
    if (rc != code)
        fail_msg("got %d instead of %d for '%s': %s", rc, code, words, f->err.message);
    assert_int_equal(f->err.code, code);
    if (!strstr(f->err.message, words))
        fail_msg("'%s' is not in '%s'", words, f->err.message);
    if (strncmp(f->err.message, path, strlen(path)) != 0)
        fail_msg("'%s' does not begin with the path", f->err.message);
}

static inline void good_text(struct fixture *f, const char *path, const char *text,
                             const struct pacer_tensor_info *inputs, size_t n) {
    good_bytes(f, path, text, strlen(text), inputs, n);
}

static inline void bad_text(struct fixture *f, const char *path, const char *text,
                            const struct pacer_tensor_info *inputs, size_t n, int code,
                            const char *words) {
    bad_bytes(f, path, text, strlen(text), inputs, n, code, words);
}

// With each amount of memory up to what is enough it is an error or good, and nothing else.
static inline void every_amount_of_memory(struct fixture *f, const char *path, const void *bytes,
                                          size_t size, const struct pacer_tensor_info *inputs,
                                          size_t n) {
    struct pcr_arena kept = f->arena;
    int rc = PACER_ENOMEM;
    size_t amount = 0;
    for (; rc < 0 && amount < 1 << 16; amount++) {
        pcr_arena_init(&f->arena, amount);
        rc = read_bytes(f, path, bytes, size, inputs, n);
        if (rc < 0)
            assert_int_equal(rc, PACER_ENOMEM);
        pcr_arena_fini(&f->arena);
    }
    assert_int_equal(rc, 0);
    assert_true(amount > 32);
    f->arena = kept;
}

#define EXPECT(f, i, type, ...)                                                   \
    assert_memory_equal((f)->data.tensors[i].data, ((const type[]){__VA_ARGS__}), \
                        sizeof((type[]){__VA_ARGS__}))
static inline void expect_shape(const struct fixture *f, size_t i, const int64_t *shape,
                                size_t rank) {
    assert_int_equal(f->data.tensors[i].rank, rank);
    assert_memory_equal(f->data.tensors[i].shape, shape, rank * sizeof *shape);
}
static inline void expect_text(const struct fixture *f, size_t i, size_t at, const char *text) {
    const struct pacer_bytes *list = f->data.tensors[i].data;
    assert_int_equal(list[at].size, strlen(text));
    assert_memory_equal(list[at].data, text, strlen(text));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
