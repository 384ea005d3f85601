// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/base.h"

#include <stdlib.h>
#include <unistd.h>

static void count_up(void *ptr) {
    ++*(int *)ptr;
}

static void arena_gives_aligned_memory_and_keeps_its_limit(void **state) {
    (void)state;
    struct pcr_arena arena;
    pcr_arena_init(&arena, 100000);
    for (size_t i = 1; i < 300; i++) {
        char *p = pcr_arena_alloc(&arena, i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)i, i);
    }
    assert_null(pcr_arena_alloc(&arena, 100001));
    assert_null(pcr_arena_alloc(&arena, SIZE_MAX));
    assert_null(pcr_arena_array(&arena, SIZE_MAX / 2, 3));
    pcr_arena_reset(&arena);
    assert_non_null(pcr_arena_alloc(&arena, 90000));
    pcr_arena_fini(&arena);
}

static void arena_runs_cleanups_newest_first_and_once(void **state) {
    (void)state;
    struct pcr_arena arena;
    int calls = 0;
    pcr_arena_init(&arena, 4096);
    assert_true(pcr_arena_on_reset(&arena, count_up, &calls));
    assert_true(pcr_arena_on_reset(&arena, count_up, &calls));
    pcr_arena_reset(&arena);
    assert_int_equal(calls, 2);
    pcr_arena_fini(&arena);
    assert_int_equal(calls, 2);
}

static void arena_text(void **state) {
    (void)state;
    struct pcr_arena arena;
    pcr_arena_init(&arena, 4096);
    assert_string_equal(pcr_arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
    assert_string_equal(pcr_arena_dup(&arena, PCR_STR("abc")), "abc");
    assert_string_equal(pcr_arena_dup(&arena, (struct pcr_str){NULL, 0}), "");
    pcr_arena_fini(&arena);
}

static void buf_grows_and_stops_at_its_maximum(void **state) {
    (void)state;
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1000);
    for (int i = 0; i < 100; i++)
        assert_true(pcr_buf_text(&buf, "0123456789"));
    assert_int_equal(buf.len, 1000);
    assert_false(pcr_buf_char(&buf, 'x'));
    assert_true(buf.failed);
    assert_int_equal(buf.len, 1000);
    pcr_buf_clear(&buf);
    pcr_buf_u64(&buf, UINT64_MAX);
    pcr_buf_printf(&buf, "/%05d", 42);
    assert_string_equal(buf.data, "18446744073709551615/00042");
    pcr_buf_fini(&buf);
}

static void secrets_are_equal_only_if_all_of_them_is(void **state) {
    (void)state;
    const struct pcr_str secret = PCR_STR("0123456789abcdef");
    assert_true(pcr_str_eq_secret(secret, PCR_STR("0123456789abcdef")));
    assert_false(pcr_str_eq_secret(PCR_STR("0123456789abcdeF"), secret));
    assert_false(pcr_str_eq_secret(PCR_STR("x123456789abcdef"), secret));
    assert_false(pcr_str_eq_secret(PCR_STR("0123456789abcde"), secret));
    assert_false(pcr_str_eq_secret(PCR_STR("0123456789abcdef0"), secret));
    // The secret is gone through again for a longer one.
    assert_false(pcr_str_eq_secret(PCR_STR("0123456789abcdef0123456789abcdef"), secret));
    assert_false(pcr_str_eq_secret(PCR_STR(""), secret));
    assert_false(pcr_str_eq_secret((struct pcr_str){NULL, 0}, secret));
    assert_false(pcr_str_eq_secret(PCR_STR(""), PCR_STR(""))); // no secret, nobody may
    assert_false(pcr_str_eq_secret(PCR_STR("x"), (struct pcr_str){NULL, 0}));
    assert_true(pcr_str_eq_secret(PCR_STR("a\0b"), PCR_STR("a\0b")));
    assert_false(pcr_str_eq_secret(PCR_STR("a\0b"), PCR_STR("a\0c")));
}

static void digits_and_shapes(void **state) {
    (void)state;
    const char *digits = "0123456789abcdef";
    for (int c = -128; c < 128; c++) {
        const char *at = c > 0 ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        assert_int_equal(pcr_hex_digit((char)c), at ? at - digits : -1);
    }
    const int64_t shape[] = {2, -1, INT64_MIN};
    char out[64];
    assert_string_equal(pcr_shape_text(shape, 3, out, sizeof out), "[2,-1,-9223372036854775808]");
    assert_string_equal(pcr_shape_text(shape, 0, out, sizeof out), "[]");
    assert_string_equal(pcr_shape_text(shape, 3, out, 27), "[2,-1]"); // what is sure to fit
}

static void str_helpers(void **state) {
    (void)state;
    uint64_t n;
    assert_true(pcr_str_to_u64(PCR_STR("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    assert_false(pcr_str_to_u64(PCR_STR("18446744073709551616"), UINT64_MAX, &n));
    assert_false(pcr_str_to_u64(PCR_STR("101"), 100, &n));
    assert_true(pcr_str_to_u64(PCR_STR("100"), 100, &n));
    assert_false(pcr_str_to_u64(PCR_STR("9"), 5, &n));
    assert_false(pcr_str_to_u64(PCR_STR("+1"), 100, &n));
    assert_false(pcr_str_to_u64(PCR_STR(""), 100, &n));
    assert_true(pcr_str_eq_nocase(PCR_STR("Content-Length"), PCR_STR("content-length")));
    assert_true(pcr_str_eq(pcr_str_trim(PCR_STR(" \ta b ")), PCR_STR("a b")));
    struct pcr_str rest = PCR_STR("a,,b"), part;
    const char *want[] = {"a", "", "b"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(pcr_str_split(&rest, ',', &part));
        assert_true(pcr_str_eq(part, pcr_str(want[i])));
    }
    assert_false(pcr_str_split(&rest, ',', &part));
    const char *names[] = {"listen", "models_dir", "threads"};
    assert_string_equal(pcr_str_closest(PCR_STR("lisen"), names, 3), "listen");
    assert_string_equal(pcr_str_closest(PCR_STR("model_dir"), names, 3), "models_dir");
    assert_null(pcr_str_closest(PCR_STR("zzzzzz"), names, 3));
}

static void map_agrees_with_a_plain_array_under_random_use(void **state) {
    (void)state;
    enum { KEYS = 500 };
    static int present[KEYS];
    struct pcr_map map;
    pcr_map_init(&map);
    memset(present, 0, sizeof present);
    for (int step = 0; step < 20000; step++) {
        int k = (int)(pcr_rand_u64() % KEYS);
        char key[16];
        snprintf(key, sizeof key, "key-%d", k);
        if (pcr_rand_u64() % 2) {
            assert_true(pcr_map_put(&map, pcr_str(key), &present[k], NULL));
            present[k] = 1;
        } else {
            void *was = pcr_map_remove(&map, pcr_str(key));
            assert_ptr_equal(was, present[k] ? &present[k] : NULL);
            present[k] = 0;
        }
    }
    size_t expected = 0, seen = 0, cursor = 0;
    for (int k = 0; k < KEYS; k++) {
        char key[16];
        snprintf(key, sizeof key, "key-%d", k);
        assert_ptr_equal(pcr_map_get(&map, pcr_str(key)), present[k] ? &present[k] : NULL);
        expected += (size_t)present[k];
    }
    void *value;
    while (pcr_map_next(&map, &cursor, NULL, &value))
        seen++;
    assert_int_equal(seen, expected);
    assert_int_equal(map.count, expected);
    pcr_map_fini(&map);
}

static void clock_formats(void **state) {
    (void)state;
    char http[30], iso[25];
    pcr_clock_http_date(784111777ull * PCR_NS_PER_S, http);
    assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
    pcr_clock_rfc3339(784111777ull * PCR_NS_PER_S + 123 * PCR_NS_PER_MS, iso);
    assert_string_equal(iso, "1994-11-06T08:49:37.123Z");
}

static void uuids_have_version_7_and_differ(void **state) {
    (void)state;
    char a[PCR_UUID_TEXT_BYTES], b[PCR_UUID_TEXT_BYTES];
    pcr_rand_uuid7(0x0123456789abull * PCR_NS_PER_MS, a);
    pcr_rand_uuid7(0x0123456789abull * PCR_NS_PER_MS, b);
    assert_int_equal(strlen(a), 36);
    assert_memory_equal(a, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", a[19]));
    assert_string_not_equal(a, b);
}

static void files_round_trip_and_errors_name_the_cause(void **state) {
    (void)state;
    char path[] = "/tmp/pacer-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct pacer_error err;
    assert_int_equal(pcr_file_write(path, PCR_STR("hello"), &err), 0);
    struct pcr_buf buf;
    pcr_buf_init(&buf, 5);
    assert_int_equal(pcr_file_read(path, &buf, &err), 0);
    assert_string_equal(buf.data, "hello");
    pcr_buf_fini(&buf);
    pcr_buf_init(&buf, 4);
    assert_int_equal(pcr_file_read(path, &buf, &err), PACER_ELIMIT);
    assert_non_null(strstr(err.message, "4 bytes"));
    pcr_buf_fini(&buf);
    unlink(path);
    pcr_buf_init(&buf, 100);
    assert_int_equal(pcr_file_read(path, &buf, &err), PACER_ENOTFOUND);
    assert_int_equal(pcr_file_read("/tmp", &buf, &err), PACER_EIO);
    pcr_buf_fini(&buf);
}

static void errors_can_be_prefixed_and_cut(void **state) {
    (void)state;
    struct pacer_error err;
    assert_int_equal(pcr_err(&err, PACER_EINVAL, "test", "bad %d", 7), PACER_EINVAL);
    assert_int_equal(pcr_err_prefix(&err, PACER_EINVAL, "file %s", "x"), PACER_EINVAL);
    assert_string_equal(err.message, "file x: bad 7");
    assert_int_equal(pcr_err(NULL, PACER_EIO, "test", "unused"), PACER_EIO);
    for (int i = 0; i < 100; i++)
        pcr_err_prefix(&err, PACER_EINVAL, "a long prefix that piles up");
    assert_true(strlen(err.message) < sizeof err.message);
    assert_string_equal(pacer_strerror(PACER_EBUSY), "busy; try again later");
    assert_string_equal(pacer_strerror(12345), "unknown error");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_gives_aligned_memory_and_keeps_its_limit),
        cmocka_unit_test(arena_runs_cleanups_newest_first_and_once),
        cmocka_unit_test(arena_text),
        cmocka_unit_test(secrets_are_equal_only_if_all_of_them_is),
        cmocka_unit_test(digits_and_shapes),
        cmocka_unit_test(buf_grows_and_stops_at_its_maximum),
        cmocka_unit_test(str_helpers),
        cmocka_unit_test(map_agrees_with_a_plain_array_under_random_use),
        cmocka_unit_test(clock_formats),
        cmocka_unit_test(uuids_have_version_7_and_differ),
        cmocka_unit_test(files_round_trip_and_errors_name_the_cause),
        cmocka_unit_test(errors_can_be_prefixed_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
