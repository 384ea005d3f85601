// SPDX-License-Identifier: Apache-2.0
#include "data_fixture.h"

#include <math.h>

#define LINES "d.jsonl"
#define DOCUMENT "d.json"

static const struct pacer_tensor_info *four(void) {
    static struct pacer_tensor_info x;
    static const int64_t shape[] = {-1, 4};
    x = input("X", PACER_FP32, shape, 2);
    return &x;
}

static const struct pacer_tensor_info *three(void) {
    static struct pacer_tensor_info inputs[3];
    static const int64_t matrix[] = {-1, 2, 2}, column[] = {-1, 1}, flat[] = {-1};
    inputs[0] = input("m", PACER_FP32, matrix, 3);
    inputs[1] = input("t", PACER_BYTES, column, 2);
    inputs[2] = input("n", PACER_INT64, flat, 0);
    return inputs;
}

static void lists_for_the_only_input(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {
        "[1, 2.5, -3, 4e2]\n[5,6,7,8]\n",
        "[1, 2.5, -3, 4e2]\r\n\r\n  [5,6,7,8]",
        "\xef\xbb\xbf[1, 2.5, -3, 4e2]\n[5,6,7,8]\n\n",
        "{\"X\":[1, 2.5, -3, 4e2]}\n{\"id\":7,\"X\":[5,6,7,8]}\n",
        "{\"a\":1,\"b\":2.5,\"c\":-3,\"d\":400}\n{\"d\":8,\"a\":5,\"b\":6,\"c\":7}\n",
        "{\"X\":1,\"b\":2.5,\"c\":-3,\"d\":400}\n{\"X\":5,\"b\":6,\"d\":8,\"c\":7}\n",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        static const char *const paths[] = {LINES, "d.NDJSON", DOCUMENT, "d"};
        for (size_t j = 0; j < PCR_COUNT_OF(paths); j++) {
            good_text(f, paths[j], texts[i], four(), 1);
            assert_int_equal(f->data.rows, 2);
            expect_shape(f, 0, SHAPE(2, 4));
            EXPECT(f, 0, float, 1, 2.5f, -3, 400, 5, 6, 7, 8);
        }
    }
}

static void documents_that_are_one_array(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {
        "[[1, 2, 3, 4], [5,6,7,8]]",
        "[\n  [1, 2, 3, 4],\n  [5,6,7,8]\n]\n",
        "[{\"X\": [1, 2, 3, 4]},\n {\"X\": [5,6,7,8]}]",
        " [\n{\"a\":1,\"b\":2,\"c\":3,\"d\":4}, {\"d\":8,\"a\":5,\"b\":6,\"c\":7}\n]\n",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        good_text(f, DOCUMENT, texts[i], four(), 1);
        EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6, 7, 8);
        good_text(f, "a_file", texts[i], four(), 1);
    }
    good_text(f, DOCUMENT, "{\n\"X\": [1,2,3,4]\n}\n", four(), 1); // one row
    assert_int_equal(f->data.rows, 1);
    bad_text(f, LINES, "{\n\"X\": [1,2,3,4]\n}\n", four(), 1, PACER_ESYNTAX,
             "d.jsonl:1: JSON, line 1, column 2: the text ends in the middle of a value");
    bad_text(f, LINES, "[[1,2,3,4],[5,6,7,8]]", four(), 1, PACER_EINVAL,
             "d.jsonl:1: input 'X': a value of shape [2,4] is no row of it; its shape is [-1,4]");
    bad_text(f, DOCUMENT, "[1,2,3,4]", four(), 1, PACER_EINVAL,
             "d.json: row 1: the number 1 is no row: the model takes 1 input: 'X' [-1,4]; expected "
             "an object or a list");
    bad_text(f, DOCUMENT, "[[1,2,3,4],[5,6,7,\"x\"]]", four(), 1, PACER_EINVAL,
             "d.json: row 2: input 'X': the string \"x\" is no number; expected a number of");
    bad_text(f, DOCUMENT, "[[1,2,3,4],", four(), 1, PACER_ESYNTAX, "d.json: JSON, line 1, column");
}

static void several_inputs(void **state) {
    struct fixture *f = *state;
    good_text(f, LINES,
              "{\"n\": -9007199254740993, \"m\": [[1,2],[3,4]], \"t\": \"caf\\u00e9\"}\n"
              "{\"t\": \"\", \"m\": [[5,6],[7,8]], \"n\": 9223372036854775807, \"more\": null}\n",
              three(), 3);
    expect_shape(f, 0, SHAPE(2, 2, 2));
    expect_shape(f, 1, SHAPE(2, 1));
    expect_shape(f, 2, SHAPE(2));
    EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6, 7, 8);
    EXPECT(f, 2, int64_t, -9007199254740993, INT64_MAX);
    expect_text(f, 1, 0, "caf\xc3\xa9");
    expect_text(f, 1, 1, "");
    good_text(f, LINES, "{\"n\": 1, \"m\": [1,2,3,4], \"t\": [\"x\"]}", three(), 3); // flat
    expect_shape(f, 0, SHAPE(1, 2, 2));
    bad_text(f, LINES, "{\"n\": 1, \"m\": [1,2,3,4]}", three(), 3, PACER_EINVAL,
             "d.jsonl:1: there is no member for input 't'; the model takes 3 inputs: 'm' [-1,2,2]");
    bad_text(f, LINES, "{\"n\":1,\"m\":[1,2,3,4],\"t\":\"\"}\n\n{\"n\":1,\"t\":\"\"}", three(), 3,
             PACER_EINVAL, "d.jsonl:3: there is no member for input 'm'");
    bad_text(f, LINES, "[1,2,3]", three(), 3, PACER_EINVAL,
             "d.jsonl:1: an array is no row: the model takes 3 inputs");
    bad_text(f, LINES, "{\"n\":1,\"m\":[1,2,3,4],\"t\":\"\"}\n7", three(), 3, PACER_EINVAL,
             "d.jsonl:2: the number 7 is no row");
    bad_text(f, LINES, "{\"n\":[1,2],\"m\":[1,2,3,4],\"t\":\"\"}", three(), 3, PACER_EINVAL,
             "input 'n': a value of shape [2] is no row of it; its shape is []");
}

static void scalars(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("x", PACER_UINT8, SHAPE(-1, 1));
    static const char *const texts[] = {
        "1\n2\n3", "[1]\n[2]\n[3]", "{\"x\":1}\n{\"x\":2}\n{\"x\":3}",
        "{\"y\":1}\n{\"y\":2}\n{\"y\":3}", "{\"x\":[1]}\n{\"x\":[2]}\n{\"x\":[3]}"};
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        good_text(f, LINES, texts[i], &x, 1);
        expect_shape(f, 0, SHAPE(3, 1));
        EXPECT(f, 0, uint8_t, 1, 2, 3);
    }
    good_text(f, DOCUMENT, "[1,2,3]", &x, 1);
    EXPECT(f, 0, uint8_t, 1, 2, 3);
    const struct pacer_tensor_info yes = input("x", PACER_BOOL, SHAPE(-1));
    good_text(f, LINES, "true\nfalse\n1\n0", &yes, 1);
    EXPECT(f, 0, uint8_t, 1, 0, 1, 0);
    bad_text(f, LINES, "true\n\"true\"", &yes, 1, PACER_EINVAL,
             "d.jsonl:2: input 'x': the string \"true\" is no truth value");
}

static void open_dimensions_are_settled_by_the_first_row(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("x", PACER_FP64, SHAPE(-1, -1, 2));
    good_text(f, LINES, "[[1,2],[3,4],[5,6]]\n[[1,2],[3,4],[5,6]]", &x, 1);
    expect_shape(f, 0, SHAPE(2, 3, 2));
    good_text(f, LINES, "[1,2,3,4,5,6]\n[1,2,3,4,5,6]", &x, 1);
    expect_shape(f, 0, SHAPE(2, 3, 2));
    const struct pacer_tensor_info any = input("x", PACER_FP64, NULL, 0);
    good_text(f, LINES, "[[1],[2]]\n[[3],[4]]", &any, 1);
    expect_shape(f, 0, SHAPE(2, 2, 1));
    bad_text(f, LINES, "[[1,2],[3,4]]\n[[1,2],[3,4],[5,6]]", &x, 1, PACER_EINVAL,
             "d.jsonl:2: input 'x': a list of 3 where the first one is a list of 2; all rows and "
             "lists in them must be as long and as deep as the first");
    bad_text(f, LINES, "[[1,2],[3]]", &x, 1, PACER_EINVAL,
             "d.jsonl:1: input 'x': a list of 1 where the first one is a list of 2");
    bad_text(f, LINES, "[[1,2],3]", &x, 1, PACER_EINVAL, "the number 3 where the first one is a");
    bad_text(f, LINES, "[[1,2],[3,[4]]]", &x, 1, PACER_EINVAL, "an array is no number");
    bad_text(f, LINES, "[[1,2]]\n{\"x\":[[1,2]]}", &x, 1, PACER_EINVAL,
             "d.jsonl:2: input 'x': an object where the first one is a list of 1");
    bad_text(f, LINES, "[[1,2,3]]", &x, 1, PACER_EINVAL, "a value of shape [1,3] is no row of it");
    bad_text(f, LINES, "[]", &x, 1, PACER_EINVAL, "a value of shape [0] is no row");
    bad_text(f, LINES, "[[],[]]", &x, 1, PACER_EINVAL, "a value of shape [2,0] is no row");
    bad_text(f, LINES, "[[[1,2],[3,4]]]", &x, 1, PACER_EINVAL,
             "its shape is [-1,-1,2], of which the first dimension counts rows; leave out the "
             "outermost list");
    bad_text(f, LINES, "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", &any, 1, PACER_EINVAL, "is no row");
    bad_text(f, LINES, "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", &x, 1, PACER_EINVAL, "is no row");
}

static void features(void **state) {
    struct fixture *f = *state;
    bad_text(f, LINES, "{\"a\":1,\"b\":2}", four(), 1, PACER_EINVAL,
             "d.jsonl:1: the members do not make up a row: the model takes 1 input: 'X' [-1,4]; "
             "the object has 2: 'a', 'b'");
    bad_text(f, LINES, "{}", four(), 1, PACER_EINVAL, "the members do not make up a row");
    static const char first[] = "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}\n";
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{\"a\":1,\"b\":2,\"c\":3}", "d.jsonl:2: 3 members, but the first row has 4; all rows"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"e\":4}", "d.jsonl:2: member 'e': the first row has no such"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}", "d.jsonl:2: member 'e': the first row has"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":[4]}", "d.jsonl:2: member 'd': an array is no number"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":null}", "member 'd': null is a missing value; expected a"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":1e39}", "member 'd': the number 1e39 is out of range"},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":true}", "member 'd': true is no number"},
        {"[1,2,3,4]", "d.jsonl:2: an array is no row"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, "%s%s", first, cases[i].line);
        bad_text(f, LINES, text, four(), 1, PACER_EINVAL, cases[i].words);
    }
    bad_text(f, LINES, "{\"a\":1,\"a\":2,\"c\":3,\"d\":4}\n", four(), 1, PACER_ESYNTAX,
             "the member name \"a\" occurs twice");
    struct pcr_buf text;
    pcr_buf_init(&text, 2 << 20);
    for (int i = 0; i <= PCR_DATA_COLUMNS_MAX; i++)
        pcr_buf_printf(&text, "%c\"%d\":0", i ? ',' : '{', i);
    pcr_buf_char(&text, '}');
    bad_text(f, LINES, text.data, four(), 1, PACER_ELIMIT, "d.jsonl:1: more than 65536 members");
    pcr_buf_fini(&text);
}

static void values_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *n, *t, *words;
    } cases[] = {
        {"1.5", "\"\"", "d.jsonl:1: input 'n': the number 1.5 is no whole number; expected a"},
        {"9223372036854775808", "\"\"", "is out of range; expected a whole number from -922"},
        {"\"1\"", "\"\"", "input 'n': the string \"1\" is no number"},
        {"null", "\"\"", "input 'n': null is a missing value"},
        {"1", "1", "input 't': the number 1 is no text; expected text (BYTES)"},
        {"1", "null", "input 't': null is no text"},
        {"1", "[\"a\",\"b\"]", "input 't': a value of shape [2] is no row of it"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"m\":[[1,2],[3,4]],\"n\":%s,\"t\":%s}", cases[i].n,
                 cases[i].t);
        bad_text(f, LINES, text, three(), 3, PACER_EINVAL, cases[i].words);
    }
    bad_text(f, LINES, "[1,2,3,NaN]", four(), 1, PACER_ESYNTAX, "NaN and Infinity are not JSON");
    bad_text(f, LINES, "[1,2,3,4] x", four(), 1, PACER_ESYNTAX, "d.jsonl:1: JSON");
    bad_text(f, LINES, "[1,2,3,\"\xff\"]", four(), 1, PACER_ESYNTAX, "invalid UTF-8");
}

static void null_where_nan_is_allowed(void **state) {
    struct fixture *f = *state;
    f->options.allow_nan = true;
    good_text(f, LINES, "[1,null,3,4]", four(), 1);
    assert_true(isnan(((const float *)f->data.tensors[0].data)[1]));
    bad_text(f, LINES, "{\"m\":[[1,2],[3,4]],\"n\":null,\"t\":\"\"}", three(), 3, PACER_EINVAL,
             "input 'n': null is a missing value");
}

static void no_rows_and_not_all_rows(void **state) {
    struct fixture *f = *state;
    bad_text(f, LINES, "\n \n\t\n", four(), 1, PACER_EINVAL, "d.jsonl: the file is empty");
    bad_text(f, LINES, "", four(), 1, PACER_EINVAL, "d.jsonl: the file is empty");
    bad_text(f, DOCUMENT, "[]", four(), 1, PACER_EINVAL, "d.json: there is no row in it");
    bad_text(f, DOCUMENT, "  \n ", four(), 1, PACER_EINVAL, "d.json: the file is empty");
    f->options.rows_max = 1;
    good_text(f, LINES, "[1,2,3,4]\n[what follows is not read", four(), 1);
    assert_int_equal(f->data.rows, 1);
    good_text(f, DOCUMENT, "[[1,2,3,4],[5,6,7]]", four(), 1);
    assert_int_equal(f->data.rows, 1);
    f->options.rows_max = 9;
    good_text(f, DOCUMENT, "[[1,2,3,4],[5,6,7,8]]", four(), 1);
    assert_int_equal(f->data.rows, 2);
}

static void many_short_rows(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("x", PACER_FP64, SHAPE(-1));
    const struct pacer_tensor_info text = input("x", PACER_BYTES, SHAPE(-1, -1));
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1 << 20);
    for (int i = 0; i < 10000; i++)
        pcr_buf_text(&buf, i ? "\n7" : "7");
    good_text(f, LINES, buf.data, &x, 1);
    assert_int_equal(f->data.rows, 10000);
    assert_true(((const double *)f->data.tensors[0].data)[9999] == 7);
    pcr_buf_clear(&buf);
    for (int i = 0; i < 5000; i++)
        pcr_buf_text(&buf, i ? ",[\"\"]" : "[[\"\"]");
    pcr_buf_text(&buf, "]");
    good_text(f, DOCUMENT, buf.data, &text, 1);
    assert_int_equal(f->data.rows, 5000);
    pcr_buf_fini(&buf);
}

static void no_memory(void **state) {
    struct fixture *f = *state;
    struct pcr_arena kept = f->arena;
    pcr_arena_init(&f->arena, 64);
    bad_text(f, LINES, "[1,2,3,4]\n[1,2,3,4]\n[1,2,3,4]\n[1,2,3,4]\n[1,2,3,4]\n", four(), 1,
             PACER_ENOMEM, "no memory for");
    pcr_arena_fini(&f->arena);
    f->arena = kept;
}

static void any_amount_of_memory(void **state) {
    static const char text[] = "{\"n\":1,\"m\":[[1,2],[3,4]],\"t\":\"some text\"}\n"
                               "{\"n\":2,\"m\":[[1,2],[3,4]],\"t\":\"more\"}\n";
    every_amount_of_memory(*state, LINES, text, sizeof text - 1, three(), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(lists_for_the_only_input),
        TEST(documents_that_are_one_array),
        TEST(several_inputs),
        TEST(scalars),
        TEST(open_dimensions_are_settled_by_the_first_row),
        TEST(features),
        TEST(values_that_do_not_fit),
        TEST(null_where_nan_is_allowed),
        TEST(no_rows_and_not_all_rows),
        TEST(many_short_rows),
        TEST(no_memory),
        TEST(any_amount_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
