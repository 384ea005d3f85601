// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "json/json.h"
#include "json/json_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

// --- helpers ------------------------------------------------------------------------------------

struct parsed {
    struct pcr_arena arena;
    struct pacer_error err;
    yyjson_val *root;
    int rc;
};

static struct parsed parse_n(const char *text, size_t n, const struct pcr_json_options *options) {
    struct parsed p = {.rc = 0};
    pcr_arena_init(&p.arena, (size_t)256 << 20);
    // An exact copy, so that a sanitizer sees a read past the end.
    char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, text, n);
    p.rc = pcr_json_parse(&p.arena, (struct pcr_str){exact, n}, options, &p.root, &p.err);
    free(exact);
    return p;
}

static struct parsed parse(const char *text) {
    return parse_n(text, strlen(text), NULL);
}

static void accepts(const char *text) {
    struct parsed p = parse(text);
    if (p.rc != 0)
        fail_msg("%s refused: %s", text, p.err.message);
    assert_non_null(p.root);
    pcr_arena_fini(&p.arena);
}

static void refuses(const char *text, int code, const char *part) {
    struct parsed p = parse(text);
    if (p.rc != code || p.root || !strstr(p.err.message, part))
        fail_msg("%.60s: rc %d, message \"%s\", expected \"%s\"", text, p.rc,
                 p.rc ? p.err.message : "", part);
    assert_int_equal(p.err.code, code);
    pcr_arena_fini(&p.arena);
}

// --- parsing ------------------------------------------------------------------------------------

static void test_accepts(void **state) {
    (void)state;
    accepts("1");
    accepts(" [1, -2, 3.5e-3, \"x\", true, false, null, {}] \n");
    accepts("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}");
    accepts("\"[[[[{{{{\\\\\\\"[[[\"");
    accepts("18446744073709551615");
    accepts("123456789012345678901234567890");
    accepts("\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"");
}

static void test_refuses(void **state) {
    (void)state;
    refuses("", PACER_ESYNTAX, "empty");
    refuses("  ", PACER_ESYNTAX, "line 1");
    refuses("{\"a\":1,}", PACER_ESYNTAX, "line 1, column 7: trailing comma");
    refuses("{\"a\":1} x", PACER_ESYNTAX, "after the end");
    refuses("[1,\n 2,\n x]", PACER_ESYNTAX, "line 3, column 2");
    refuses("[1,2", PACER_ESYNTAX, "ends in the middle");
    refuses("{\"a\":1e999}", PACER_ESYNTAX, "outside the range");
    refuses("[-1e999]", PACER_ESYNTAX, "outside the range");
    refuses("[NaN]", PACER_ESYNTAX, "NaN and Infinity are not JSON");
    refuses("[-Infinity]", PACER_ESYNTAX, "NaN and Infinity are not JSON");
    refuses("[nan]", PACER_ESYNTAX, "NaN and Infinity are not JSON");
    refuses("[01]", PACER_ESYNTAX, "near \"[01]\"");
    refuses("[\"a\tb\"]", PACER_ESYNTAX, "column 4");
    refuses("[\"\\ud800\"]", PACER_ESYNTAX, "line 1");
    refuses("// x\n1", PACER_ESYNTAX, "line 1, column 1");
    refuses("[\"\xc0\x80\"]", PACER_ESYNTAX, "invalid UTF-8");
    refuses("[\"\xed\xa0\x80\"]", PACER_ESYNTAX, "invalid UTF-8");
    refuses("[\"\xf5\x80\x80\x80\"]", PACER_ESYNTAX, "invalid UTF-8");
    refuses("[\"\xe2\x82", PACER_ESYNTAX, "line 1");
}

static void test_columns_count_characters(void **state) {
    (void)state;
    struct parsed p = parse("[\"äöü\", x]");
    assert_int_equal(p.rc, PACER_ESYNTAX);
    assert_non_null(strstr(p.err.message, "column 9"));
    assert_int_equal(p.err.offset, 11);
    pcr_arena_fini(&p.arena);
}

static void test_message_names_what(void **state) {
    (void)state;
    const struct pcr_json_options options = {.what = "request body"};
    struct parsed p = parse_n("[", 1, &options);
    assert_int_equal(p.rc, PACER_ESYNTAX);
    assert_ptr_equal(strstr(p.err.message, "request body, line 1"), p.err.message);
    pcr_arena_fini(&p.arena);
}

static char *repeat(const char *piece, size_t n, size_t *len) {
    size_t piece_len = strlen(piece);
    char *text = malloc(n * piece_len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * piece_len, piece, piece_len);
    *len = n * piece_len;
    text[*len] = '\0';
    return text;
}

static void nested(size_t depth, size_t depth_max, int code) {
    size_t n;
    char *open = repeat("[", depth, &n);
    char *text = malloc(2 * n + 1);
    assert_non_null(text);
    memcpy(text, open, n);
    memset(text + n, ']', n);
    const struct pcr_json_options options = {.depth_max = depth_max};
    struct parsed p = parse_n(text, 2 * n, &options);
    assert_int_equal(p.rc, code);
    pcr_arena_fini(&p.arena);
    free(open);
    free(text);
}

static void test_depth(void **state) {
    (void)state;
    nested(100, 0, 0);
    nested(101, 0, PACER_ELIMIT);
    nested(5, 5, 0);
    nested(6, 5, PACER_ELIMIT);
    nested(100000, 0, PACER_ELIMIT);
    nested(1000, 1u << 30, 0);
    nested(1001, 1u << 30, PACER_ELIMIT);
    // Brackets in strings do not count, whatever they are mixed with.
    size_t n;
    char *text = repeat("[[\\\"{", 500, &n);
    char *quoted = malloc(n + 3);
    assert_non_null(quoted);
    snprintf(quoted, n + 3, "\"%s\"", text);
    accepts(quoted);
    free(quoted);
    free(text);
}

static void test_duplicates(void **state) {
    (void)state;
    refuses("{\"a\":1,\"b\":2,\"a\":3}", PACER_ESYNTAX, "the member name \"a\" occurs twice");
    refuses("{\"a\":1,\"b\":2,\"a\":3}", PACER_ESYNTAX, "column 15");
    refuses("[{},{\"x\":{\"k\":1,\n\"\\u006b\":2}}]", PACER_ESYNTAX, "line 2");
    refuses("{\"\":1,\"\":2}", PACER_ESYNTAX, "occurs twice");
    accepts("{\"a\":1,\"a\\u0000\":2,\"A\":3}");
    const struct pcr_json_options options = {.duplicates_ok = true};
    struct parsed p = parse_n("{\"a\":1,\"a\":2}", 13, &options);
    assert_int_equal(p.rc, 0);
    pcr_arena_fini(&p.arena);
}

static char *many_members(size_t n, size_t *len) {
    char *text = malloc(n * 24 + 64);
    assert_non_null(text);
    size_t at = 0;
    text[at++] = '{';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 24, "\"member%zu\":1,", i);
    at += (size_t)snprintf(text + at, 24, "\"last\":1}");
    *len = at;
    return text;
}

static void test_many_members(void **state) {
    (void)state;
    size_t n;
    char *text = many_members(100000, &n);
    struct timespec from;
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    struct parsed p = parse_n(text, n, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_int_equal(p.rc, 0);
    assert_int_equal(yyjson_obj_size(p.root), 100001);
    pcr_arena_fini(&p.arena);
    print_message("100001 members: %.1f ms\n", (double)(to.tv_sec - from.tv_sec) * 1e3 +
                                                   (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    memcpy(strstr(text, "member77777"), "member77776", 11);
    p = parse_n(text, n, NULL);
    assert_int_equal(p.rc, PACER_ESYNTAX);
    assert_non_null(strstr(p.err.message, "\"member77776\" occurs twice"));
    pcr_arena_fini(&p.arena);
    free(text);
}

static void test_no_memory(void **state) {
    (void)state;
    size_t n;
    char *text = many_members(1000, &n);
    for (size_t bytes = 0; bytes < 40000; bytes += 1000) {
        struct pcr_arena arena;
        struct pacer_error err;
        yyjson_val *root;
        pcr_arena_init(&arena, bytes);
        int rc = pcr_json_parse(&arena, (struct pcr_str){text, n}, NULL, &root, &err);
        assert_int_equal(rc, PACER_ENOMEM);
        assert_null(root);
        pcr_arena_fini(&arena);
    }
    free(text);
}

// --- words --------------------------------------------------------------------------------------

static void describes(const char *json, const char *words) {
    struct parsed p = parse(json);
    char out[40];
    assert_int_equal(p.rc, 0);
    assert_string_equal(pcr_json_describe(p.root, out, sizeof out), words);
    pcr_arena_fini(&p.arena);
}

static void test_describe(void **state) {
    (void)state;
    describes("{}", "an object");
    describes("[]", "an array");
    describes("null", "null");
    describes("true", "true");
    describes("3", "the number 3");
    describes("-3", "the number -3");
    describes("1.7", "the number 1.7");
    describes("\"x\"", "the string \"x\"");
    describes("\"a\\nb\"", "the string \"a?b\"");
    describes("\"0123456789012345678901234567890123456789\"",
              "the string \"01234567890123456789012...\"");
    describes("\"0123456789012345678901äöüäöü\"", "the string \"0123456789012345678901...\"");
    char out[40];
    assert_string_equal(pcr_json_describe(NULL, out, sizeof out), "nothing");
}

static void test_pointer(void **state) {
    (void)state;
    struct pcr_buf buf;
    pcr_buf_init(&buf, 100);
    assert_true(pcr_json_pointer_push(&buf, pcr_str("a/b")));
    assert_true(pcr_json_pointer_push(&buf, pcr_str("~c")));
    assert_true(pcr_json_pointer_push(&buf, pcr_str("")));
    assert_true(pcr_json_pointer_push_index(&buf, 12));
    assert_string_equal(buf.data, "/a~1b/~0c//12");
    pcr_buf_fini(&buf);
}

// --- writing ------------------------------------------------------------------------------------

static void test_writer(void **state) {
    (void)state;
    struct pcr_buf buf;
    struct pcr_json_writer w;
    struct parsed p = parse("{\"k\":[1,-2,0.5,\"\\u00e4\\n\",null,true,{}]}");
    pcr_buf_init(&buf, 1000);
    pcr_json_writer_init(&w, &buf);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "a");
    pcr_json_array_begin(&w);
    pcr_json_i64(&w, INT64_MIN);
    pcr_json_u64(&w, UINT64_MAX);
    pcr_json_f64(&w, 2);
    pcr_json_f32(&w, 0.1f);
    pcr_json_f64(&w, NAN);
    pcr_json_f32(&w, -INFINITY);
    pcr_json_array_begin(&w);
    pcr_json_array_end(&w);
    pcr_json_object_begin(&w);
    pcr_json_object_end(&w);
    pcr_json_array_end(&w);
    pcr_json_key_str(&w, PCR_STR("b"));
    pcr_json_bool(&w, true);
    pcr_json_key(&w, "c");
    pcr_json_null(&w);
    pcr_json_key(&w, "d");
    pcr_json_value(&w, p.root);
    pcr_json_key(&w, "e");
    pcr_json_raw(&w, PCR_STR("[1]"));
    pcr_json_key(&w, "f");
    pcr_json_text(&w, "x");
    pcr_json_object_end(&w);
    assert_false(buf.failed);
    assert_string_equal(
        buf.data, "{\"a\":[-9223372036854775808,18446744073709551615,2.0,0.1,null,null,[],{}],"
                  "\"b\":true,\"c\":null,\"d\":{\"k\":[1,-2,0.5,\"ä\\n\",null,true,{}]},"
                  "\"e\":[1],\"f\":\"x\"}");
    pcr_buf_fini(&buf);
    pcr_arena_fini(&p.arena);
}

static void quotes(struct pcr_str text, const char *expected) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1000);
    pcr_json_quote(&buf, text);
    assert_string_equal(buf.data, expected);
    pcr_buf_fini(&buf);
}

static void test_strings(void **state) {
    (void)state;
    quotes(PCR_STR(""), "\"\"");
    quotes((struct pcr_str){NULL, 0}, "\"\"");
    quotes(PCR_STR("plain text, quite long"), "\"plain text, quite long\"");
    quotes(PCR_STR("a\"b\\c/d\b\f\n\r\t\x01\x1f\x7f"),
           "\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    quotes(PCR_STR("nul\0nul"), "\"nul\\u0000nul\"");
    quotes(PCR_STR("ä€😀"), "\"ä€😀\"");
    quotes(PCR_STR("x\xff\xc3y\xe2\x82"), "\"x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd\xef\xbf\xbd\"");
    quotes(PCR_STR("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

// Every byte pair at every alignment comes back from
// the parser as it went in, if it was valid UTF-8.
static void test_strings_come_back(void **state) {
    (void)state;
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1000);
    for (unsigned pair = 0; pair < 0x8000; pair += 3) {
        char text[16] = "abcdefghijklmno";
        size_t at = pair % 14;
        text[at] = (char)(pair >> 8);
        text[at + 1] = (char)(pair & 0x7f);
        pcr_buf_clear(&buf);
        pcr_json_quote(&buf, (struct pcr_str){text, 15});
        struct parsed p = parse_n(buf.data, buf.len, NULL);
        assert_int_equal(p.rc, 0);
        assert_int_equal(yyjson_get_len(p.root), 15);
        assert_memory_equal(yyjson_get_str(p.root), text, 15);
        pcr_arena_fini(&p.arena);
    }
    pcr_buf_fini(&buf);
}

static void test_buffer_maximum(void **state) {
    (void)state;
    for (size_t max = 0; max < 40; max++) {
        struct pcr_buf buf;
        struct pcr_json_writer w;
        pcr_buf_init(&buf, max);
        pcr_json_writer_init(&w, &buf);
        pcr_json_array_begin(&w);
        for (int i = 0; i < 4; i++)
            pcr_json_f64(&w, 0.25);
        pcr_json_text(&w, "text");
        pcr_json_array_end(&w);
        size_t whole = strlen("[0.25,0.25,0.25,0.25,\"text\"]");
        assert_int_equal(buf.failed, max < whole);
        assert_true(buf.len <= max);
        pcr_buf_fini(&buf);
    }
}

// --- numbers ------------------------------------------------------------------------------------

static void f64_is(double value, const char *expected) {
    char text[PCR_JSON_NUMBER_BYTES + 1];
    text[pcr_json_f64_text(text, value)] = '\0';
    assert_string_equal(text, expected);
}

static void f32_is(float value, const char *expected) {
    char text[PCR_JSON_NUMBER_BYTES + 1];
    text[pcr_json_f32_text(text, value)] = '\0';
    assert_string_equal(text, expected);
}

static void test_known_numbers(void **state) {
    (void)state;
    f64_is(0, "0.0");
    f64_is(-0.0, "-0.0");
    f64_is(1, "1.0");
    f64_is(0.1, "0.1");
    f64_is(0.3, "0.3");
    f64_is(0.1 + 0.2, "0.30000000000000004");
    f64_is(100, "100.0");
    f64_is(123456.789, "123456.789");
    f64_is(9007199254740993.0, "9007199254740992.0");
    f64_is(1e16, "10000000000000000.0");
    f64_is(1e17, "1e17");
    f64_is(1e23, "1e23");
    f64_is(-1.5e300, "-1.5e300");
    f64_is(0.000001, "0.000001");
    f64_is(0.0000001, "1e-7");
    f64_is(1.25e-7, "1.25e-7");
    f64_is(5e-324, "5e-324");
    f64_is(1.7976931348623157e308, "1.7976931348623157e308");
    f64_is(2.2250738585072014e-308, "2.2250738585072014e-308");
    f64_is(2.2250738585072011e-308, "2.225073858507201e-308");
    f64_is(9.5367431640625e-7, "9.5367431640625e-7");
    f32_is(0.1f, "0.1");
    f32_is(0.3f, "0.3");
    f32_is(16777216.0f, "16777216.0");
    f32_is(1e-45f, "1e-45");
    f32_is(3.4028235e38f, "3.4028235e38");
    f32_is(1.1754944e-38f, "1.1754944e-38");
    f32_is(0.83333331f, "0.8333333");
    f32_is(-2.5f, "-2.5");
}

static size_t count_digits(const char *text) {
    size_t n = 0;
    size_t zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && n == 0))
            continue;
        n++;
        zeros = *text == '0' ? zeros + 1 : 0;
    }
    return n - zeros;
}

// The text reads back exactly, and no text with a digit less does.
static void check_f64(uint64_t bits, bool shortest) {
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value))
        return;
    char text[PCR_JSON_NUMBER_BYTES + 1];
    size_t n = pcr_json_f64_text(text, value);
    assert_true(n < PCR_JSON_NUMBER_BYTES);
    text[n] = '\0';
    double back = strtod(text, NULL);
    if (memcmp(&back, &value, sizeof value) != 0)
        fail_msg("%a became %s", value, text);
    size_t digits = count_digits(text);
    if (!shortest || digits < 2)
        return;
    char shorter[40];
    snprintf(shorter, sizeof shorter, "%.*e", (int)digits - 2, value);
    if (strtod(shorter, NULL) == value)
        fail_msg("%s is not the shortest, %s is", text, shorter);
    snprintf(shorter, sizeof shorter, "%.*e", (int)digits - 1, value);
    // The correctly rounded text of the same length, where it reads back, is the closest and so
    // must be ours.
    if (strtod(shorter, NULL) == value && strtod(shorter, NULL) == back) {
        long double ours = strtold(text, NULL);
        long double theirs = strtold(shorter, NULL);
        if (ours != theirs && fabsl(ours - (long double)value) > fabsl(theirs - (long double)value))
            fail_msg("%s is not the closest, %s is", text, shorter);
    }
}

static uint64_t step(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = *state ^ *state >> 33;
    return x * 0xff51afd7ed558ccdu;
}

static void test_random_f64(void **state) {
    (void)state;
    uint64_t random = 42;
    for (int i = 0; i < 300000; i++)
        check_f64(step(&random), true);
    for (uint64_t biased = 0; biased < 2047; biased++) { // powers of two and their neighbours
        for (int64_t d = -3; d <= 3; d++)
            check_f64((biased << 52) + (uint64_t)d, true);
    }
    for (int i = 0; i < 100000; i++) { // numbers of few digits, as people write them
        double value = (double)(step(&random) % 1000000) / pow(10, (double)(step(&random) % 12));
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        check_f64(bits, true);
    }
}

static void check_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value))
        return;
    char text[PCR_JSON_NUMBER_BYTES + 1];
    text[pcr_json_f32_text(text, value)] = '\0';
    float back = strtof(text, NULL);
    if (memcmp(&back, &value, sizeof value) != 0)
        fail_msg("%a became %s", (double)value, text);
    size_t digits = count_digits(text);
    char shorter[40];
    if (digits < 2)
        return;
    snprintf(shorter, sizeof shorter, "%.*e", (int)digits - 2, (double)value);
    if (strtof(shorter, NULL) == value)
        fail_msg("%s is not the shortest, %s is", text, shorter);
}

static void test_stride_f32(void **state) {
    (void)state;
    for (uint64_t bits = 0; bits < 1ull << 32; bits += 9973)
        check_f32((uint32_t)bits);
    for (uint32_t biased = 0; biased < 255; biased++) {
        for (uint32_t d = 0; d <= 6; d++)
            check_f32((biased << 23) + d - 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_columns_count_characters),
        cmocka_unit_test(test_message_names_what),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_pointer),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_strings_come_back),
        cmocka_unit_test(test_buffer_maximum),
        cmocka_unit_test(test_known_numbers),
        cmocka_unit_test(test_random_f64),
        cmocka_unit_test(test_stride_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
