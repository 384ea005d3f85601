// SPDX-License-Identifier: Apache-2.0
// The Open Inference Protocol as bytes: what is read,
// what is refused and with which words, what is written.
#include "test.h"

#include "server/v2_codec.h"

#include <math.h>

struct fixture {
    struct pcr_arena arena;
    struct pcr_v2_request request;
    struct pacer_error err;
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof *f);
    pcr_arena_init(&f->arena, (size_t)256 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    pcr_arena_fini(&f->arena);
    test_free(f);
    return 0;
}

static int read_parts(struct fixture *f, const char *json, const void *tail, size_t tail_bytes) {
    size_t json_bytes = strlen(json);
    char *body =
        pcr_arena_alloc(&f->arena, json_bytes + tail_bytes + 1); // exact but for the odd end
    memcpy(body, json, json_bytes);
    if (tail_bytes)
        memcpy(body + json_bytes, tail, tail_bytes);
    memset(&f->err, 0, sizeof f->err);
    return pcr_v2_read(&f->arena, "M", (struct pcr_str){body, json_bytes + tail_bytes}, json_bytes,
                       &f->request, &f->err);
}

static int read_json(struct fixture *f, const char *json) {
    return read_parts(f, json, NULL, 0);
}

// Reads one input "X" of that type and shape; the JSON of its data as given.
static int read_data(struct fixture *f, const char *dtype, const char *shape, const char *data) {
    return read_json(
        f, pcr_arena_printf(
               &f->arena,
               "{\"inputs\":[{\"name\":\"X\",\"shape\":%s,\"datatype\":\"%s\",\"data\":%s}]}",
               shape, dtype, data));
}

static void assert_ok(struct fixture *f, int rc) {
    if (rc != 0)
        fail_msg("refused: %s", f->err.message);
}

static void assert_fault(struct fixture *f, int rc, int code, const char *words) {
    if (rc == 0)
        fail_msg("accepted, but expected \"%s\"", words);
    if (!strstr(f->err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", f->err.message, words);
    assert_int_equal(rc, code);
    assert_int_equal(f->err.code, code);
}

// --- reading JSON -------------------------------------------------------------------------------

static void reads_every_type(void **state) {
    struct fixture *f = *state;
#define CHECK(kind, text, type, ...)                                    \
    do {                                                                \
        static const type expected[] = {__VA_ARGS__};                   \
        char shape[16];                                                 \
        snprintf(shape, sizeof shape, "[%zu]", PCR_COUNT_OF(expected)); \
        assert_ok(f, read_data(f, #kind, shape, text));                 \
        const struct pacer_tensor *input = f->request.run.inputs;       \
        assert_int_equal(f->request.run.n_inputs, 1);                   \
        assert_string_equal(input->name, "X");                          \
        assert_int_equal(input->dtype, PACER_##kind);                   \
        assert_int_equal(input->rank, 1);                               \
        assert_int_equal(input->shape[0], PCR_COUNT_OF(expected));      \
        assert_memory_equal(input->data, expected, sizeof expected);    \
    } while (0)
    CHECK(BOOL, "[true,false,true]", uint8_t, 1, 0, 1);
    CHECK(UINT8, "[0,255,-0]", uint8_t, 0, 255, 0);
    CHECK(UINT16, "[0,65535]", uint16_t, 0, 65535);
    CHECK(UINT32, "[0,4294967295]", uint32_t, 0, 4294967295u);
    CHECK(UINT64, "[0,18446744073709551615]", uint64_t, 0, UINT64_MAX);
    CHECK(INT8, "[-128,127]", int8_t, -128, 127);
    CHECK(INT16, "[-32768,32767]", int16_t, -32768, 32767);
    CHECK(INT32, "[-2147483648,2147483647]", int32_t, INT32_MIN, INT32_MAX);
    CHECK(INT64, "[-9223372036854775808,9223372036854775807,9007199254740993]", int64_t, INT64_MIN,
          INT64_MAX, 9007199254740993);
    CHECK(FP32, "[1,-2,0.1,3.4028234663852886e38,1e-45,1e-60,-0.0]", float, 1.0f, -2.0f, 0.1f,
          3.40282347e38f, 1e-45f, 0.0f, -0.0f);
    CHECK(FP64, "[1,-2,0.1,1.7976931348623157e308,5e-324]", double, 1.0, -2.0, 0.1,
          1.7976931348623157e308, 5e-324);
#undef CHECK
    assert_ok(f, read_data(f, "BYTES", "[3]", "[\"\",\"a\\u0000b\",\"\\u00e9\"]"));
    const struct pacer_bytes *strings = f->request.run.inputs->data;
    assert_int_equal(strings[0].size, 0);
    assert_int_equal(strings[1].size, 3);
    assert_memory_equal(strings[1].data, "a\0b", 3);
    assert_int_equal(strings[2].size, 2);
    assert_memory_equal(strings[2].data, "\xc3\xa9", 2);
}

static void data_may_be_flat_or_nested(void **state) {
    struct fixture *f = *state;
    static const char *const forms[] = {"[1,2,3,4,5,6]", "[[1,2,3],[4,5,6]]",
                                        "[[[1],[2],[3]],[[4],[5],[6]]]", "[[1,2],[3,4],[5,6]]",
                                        " [ [ 1 , 2,3,4,5,6 ] ] "};
    static const int32_t expected[] = {1, 2, 3, 4, 5, 6};
    for (size_t i = 0; i < PCR_COUNT_OF(forms); i++) {
        assert_ok(f, read_data(f, "INT32", "[2,3]", forms[i]));
        assert_memory_equal(f->request.run.inputs->data, expected, sizeof expected);
    }
    assert_ok(f, read_data(f, "FP32", "[]", "[2.5]"));
    assert_int_equal(f->request.run.inputs->rank, 0);
    assert_true(*(const float *)f->request.run.inputs->data == 2.5f);
    assert_ok(f, read_data(f, "FP32", "[0,4]", "[]"));
    assert_ok(f, read_data(f, "FP32", "[2,0]", "[[],[]]"));
    assert_ok(f, read_data(f, "FP32", "[4611686018427387904,4611686018427387904,0]", "[]"));
}

static void bad_elements_are_named(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *dtype, *data, *words;
    } cases[] = {
        {"UINT8", "[1,256]",
         "element 1 of its data is the number 256, expected a whole number from 0 to 255 (UINT8)"},
        {"UINT8", "[1,-1]", "element 1 of its data is the number -1"},
        {"UINT16", "[65536,1]", "element 0"},
        {"UINT32", "[1,4294967296]", "element 1"},
        {"UINT64", "[1,18446744073709551616]", "element 1"},
        {"INT8", "[128,0]", "element 0"},
        {"INT8", "[0,-129]", "element 1"},
        {"INT16", "[32768,0]", "element 0"},
        {"INT32", "[2147483648,0]", "element 0"},
        {"INT32", "[0,-2147483649]", "element 1"},
        {"INT64", "[0,9223372036854775808]", "element 1"},
        {"INT32", "[1.5,2]", "element 0 of its data is the number 1.5, expected a whole number"},
        {"INT32", "[1,true]", "element 1 of its data is true"},
        {"INT32", "[1,\"2\"]", "element 1 of its data is the string \"2\""},
        {"INT32", "[1,null]", "element 1 of its data is null"},
        {"INT32", "[1,{}]", "element 1 of its data is an object"},
        {"FP32", "[1,\"NaN\"]", "element 1 of its data is the string \"NaN\""},
        {"FP32", "[3.5e38,1]", "element 0"},
        {"FP32", "[1,-1e300]", "element 1"},
        {"FP32", "[1,true]",
         "element 1 of its data is true, expected a number within the range of FP32"},
        {"FP64", "[1,null]", "element 1"},
        {"BOOL", "[true,1]",
         "element 1 of its data is the number 1, expected true or false (BOOL)"},
        {"BYTES", "[\"a\",2]", "element 1 of its data is the number 2, expected a string (BYTES)"},
        {"INT32", "[[1],[\"x\"]]", "element 1 of its data is the string"},
        {"INT32", "7", "'data' is the number 7, expected an array"},
        {"INT32", "{}", "'data' is an object"},
        {"FP16", "[1,2]",
         "receiving FP16 data via JSON is not supported. Please use the binary data format"},
        {"BF16", "[1,2]",
         "receiving BF16 data via JSON is not supported. Please use the binary data format"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        int rc = read_data(f, cases[i].dtype, "[2]", cases[i].data);
        assert_fault(f, rc, PACER_EINVAL, cases[i].words);
        assert_non_null(strstr(f->err.message, "'X'"));
        assert_non_null(strstr(f->err.message, "'M'"));
    }
}

static void no_json_is_a_syntax_error(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "{\"inputs\":[}",
        "{\"inputs\":[]} x",
        "{\"inputs\":[NaN]}",
        "\xff",
        "{'inputs':[]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1e999]}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[Infinity]}]}",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        int rc = read_json(f, texts[i]);
        assert_fault(f, rc, PACER_ESYNTAX, "");
        assert_int_not_equal(strlen(f->err.message), 0);
    }
}

static void counts_must_match_the_shape(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *shape, *data, *words;
    } cases[] = {
        {"[2,3]", "[1,2,3,4,5]", "has shape [2,3], that is 6 elements, but its data holds 5"},
        {"[2,3]", "[1,2,3,4,5,6,7]", "6 elements, but its data holds more"},
        {"[2,3]", "[[1,2,3],[4,5,6],[7,8,9]]", "but its data holds more"},
        {"[1]", "[]", "but its data holds 0"},
        {"[0]", "[1]", "0 elements, but its data holds more"},
        {"[]", "[]", "1 elements, but its data holds 0"},
        {"[1000000000]", "[1]", "but its data holds fewer"},
        {"[2,2]", "[[1,2],[3]]", "ragged"},
        {"[2,2]", "[[1,2],[3,4,5]]", "ragged"},
        {"[2,2]", "[[1,2],3]", "ragged"},
        {"[2,2]", "[1,[2,3]]", "ragged"},
        {"[2,2]", "[[[1,2]],[[3],[4]]]", "ragged"},
        {"[2,2]", "[[],[[1]]]", "ragged"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++)
        assert_fault(f, read_data(f, "INT32", cases[i].shape, cases[i].data), PACER_EINVAL,
                     cases[i].words);
}

static void bad_members_are_named(void **state) {
    struct fixture *f = *state;
#define IN(members) "{\"inputs\":[{" members "}]}"
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"[]", "it is an array, expected an object"},
        {"{}", "Unable to parse 'inputs'"},
        {"{\"inputs\":{}}", "Unable to parse 'inputs'"},
        {"{\"inputs\":[1]}", "Unable to parse 'inputs'"},
        {"{\"inputs\":[],\"inputs\":[]}", "member 'inputs' is there twice"},
        {"{\"id\":7,\"inputs\":[]}", "Unable to parse 'id'"},
        {"{\"parameters\":[],\"inputs\":[]}", "Unable to parse 'parameters'"},
        {"{\"outputs\":{},\"inputs\":[]}", "Unable to parse 'outputs'"},
        {"{\"outputs\":[\"Y\"],\"inputs\":[]}", "Unable to parse 'outputs'"},
        {"{\"outputs\":[{}],\"inputs\":[]}", "Unable to parse 'name'"},
        {"{\"outputs\":[{\"name\":1}],\"inputs\":[]}", "Unable to parse 'name'"},
        {"{\"outputs\":[{\"name\":\"Y\"},{\"name\":\"Y\"}],\"inputs\":[]}",
         "'Y' is asked for twice"},
        {"{\"outputs\":[{\"name\":\"Y\",\"parameters\":{\"binary_data\":1}}],\"inputs\":[]}",
         "'binary_data'"},
        {"{\"outputs\":[{\"name\":\"Y\",\"parameters\":{\"classification\":-1}}],\"inputs\":[]}",
         "'classification'"},
        {IN("\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1]"), "Unable to parse 'name'"},
        {IN("\"name\":3,\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1]"),
         "Unable to parse 'name'"},
        {IN("\"name\":\"a\\u0000b\",\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1]"), "NUL"},
        {IN("\"name\":\"X\",\"datatype\":\"INT8\",\"data\":[1]"), "Unable to parse 'shape'"},
        {IN("\"name\":\"X\",\"shape\":1,\"datatype\":\"INT8\",\"data\":[1]"),
         "Unable to parse 'shape'"},
        {IN("\"name\":\"X\",\"shape\":[-1],\"datatype\":\"INT8\",\"data\":[1]"),
         "Unable to parse 'shape'"},
        {IN("\"name\":\"X\",\"shape\":[1.0],\"datatype\":\"INT8\",\"data\":[1]"),
         "Unable to parse 'shape'"},
        {IN("\"name\":\"X\",\"shape\":[[1]],\"datatype\":\"INT8\",\"data\":[1]"),
         "Unable to parse 'shape'"},
        {IN("\"name\":\"X\",\"shape\":[18446744073709551615],\"datatype\":\"INT8\",\"data\":[1]"),
         "'shape'"},
        {IN("\"name\":\"X\",\"shape\":[4294967296,4294967296],\"datatype\":\"INT8\",\"data\":[1]"),
         "can be counted"},
        {IN("\"name\":\"X\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"datatype\":\"INT8\","
            "\"data\":[1]"),
         "17 dimensions, at most 16"},
        {IN("\"name\":\"X\",\"shape\":[1],\"data\":[1]"), "Unable to parse 'datatype'"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP8\",\"data\":[1]"),
         "invalid datatype 'FP8' for input 'X'"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\""), "no field set"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1],\"parameters\":{"
            "\"binary_data_size\":1}"),
         "has both"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1],\"data\":[2]"),
         "'data' is there twice"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"data\":[1],\"parameters\":1"),
         "'parameters'"},
        {IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"parameters\":{\"binary_data_"
            "size\":\"1\"}"),
         "'binary_data_size'"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++)
        assert_fault(f, read_json(f, cases[i].json), PACER_EINVAL, cases[i].words);
    assert_fault(
        f,
        read_json(f, IN("\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"parameters\":{"
                        "\"shared_memory_region\":\"r\",\"shared_memory_byte_size\":1}")),
        PACER_EUNSUPPORTED, "shared memory is not supported");
#undef IN
}

static void reads_parameters(void **state) {
    struct fixture *f = *state;
    assert_ok(f, read_json(f, "{\"id\":\"\",\"inputs\":[]}"));
    assert_int_equal(f->request.id.len, 0);
    assert_int_equal(f->request.run.n_inputs, 0);
    assert_int_equal(f->request.run.n_outputs, 0);
    assert_int_equal(f->request.timeout_us, 0);
    assert_false(f->request.binary_output);
    assert_ok(
        f,
        read_json(
            f, "{\"id\":\"a-7\",\"model_name\":\"ignored\",\"parameters\":{\"timeout\":1500,"
               "\"priority\":3,"
               "\"sequence_id\":\"s\",\"sequence_start\":true,\"sequence_end\":false,\"mine\":1.5,"
               "\"binary_data_output\":true},\"inputs\":[],\"outputs\":["
               "{\"name\":\"A\"},{\"name\":\"B\",\"parameters\":{\"binary_data\":false}},"
               "{\"name\":\"C\",\"parameters\":{\"classification\":3,\"binary_data\":true}}]}"));
    assert_memory_equal(f->request.id.ptr, "a-7", 4);
    assert_int_equal(f->request.timeout_us, 1500);
    assert_int_equal(f->request.run.n_outputs, 3);
    assert_string_equal(f->request.run.outputs[2], "C");
    assert_true(f->request.outputs[0].binary);
    assert_false(f->request.outputs[1].binary);
    assert_true(f->request.outputs[2].binary);
    assert_int_equal(f->request.outputs[2].classes, 3);
    static const char *const bad[] = {
        "\"timeout\":-1",     "\"timeout\":\"1\"",    "\"priority\":true",
        "\"sequence_id\":-1", "\"sequence_start\":1", "\"binary_data_output\":1",
        "\"triton_x\":1",     "\"mine\":null",        "\"mine\":[1]"};
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++) {
        int rc = read_json(
            f, pcr_arena_printf(&f->arena, "{\"parameters\":{%s},\"inputs\":[]}", bad[i]));
        char name[32];
        snprintf(name, sizeof name, "'%.*s'", (int)(strchr(bad[i] + 1, '"') - bad[i] - 1),
                 bad[i] + 1);
        assert_fault(f, rc, PACER_EINVAL, name);
    }
}

static void counts_are_bounded(void **state) {
    struct fixture *f = *state;
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1 << 20);
    pcr_buf_text(&buf, "{\"inputs\":[");
    for (int i = 0; i <= PCR_V2_INPUTS_MAX; i++)
        pcr_buf_text(&buf, i ? ",{}" : "{}");
    pcr_buf_text(&buf, "]}");
    assert_fault(f, read_json(f, buf.data), PACER_EINVAL, "1025 inputs; at most 1024");
    pcr_buf_clear(&buf);
    pcr_buf_text(&buf, "{\"inputs\":[],\"outputs\":[");
    for (int i = 0; i <= PCR_V2_OUTPUTS_MAX; i++)
        pcr_buf_text(&buf, i ? ",{}" : "{}");
    pcr_buf_text(&buf, "]}");
    assert_fault(f, read_json(f, buf.data), PACER_EINVAL, "1025 outputs");
    pcr_buf_clear(&buf);
    for (int i = 0; i < 97; i++)
        pcr_buf_char(&buf, '[');
    pcr_buf_char(&buf, '5');
    for (int i = 0; i < 97; i++)
        pcr_buf_char(&buf, ']');
    assert_ok(f, read_data(f, "INT32", "[1]", buf.data)); // 100 levels with the three around it
    char deeper[256];
    snprintf(deeper, sizeof deeper, "[%s]", buf.data);
    assert_fault(f, read_data(f, "INT32", "[1]", deeper), PACER_ELIMIT, "100");
    pcr_buf_fini(&buf);
}

// --- reading bytes ------------------------------------------------------------------------------

static int read_binary(struct fixture *f, const char *dtype, const char *shape, const void *tail,
                       size_t bytes) {
    return read_parts(
        f,
        pcr_arena_printf(&f->arena,
                         "{\"inputs\":[{\"name\":\"X\",\"shape\":%s,\"datatype\":\"%s\","
                         "\"parameters\":{\"binary_data_size\":%zu}}]}",
                         shape, dtype, bytes),
        tail, bytes);
}

static void reads_binary_tensors(void **state) {
    struct fixture *f = *state;
    static const float floats[] = {1.5f, -0.0f, 3e38f};
    assert_ok(f, read_binary(f, "FP32", "[3]", floats, sizeof floats));
    const struct pacer_tensor *input = f->request.run.inputs;
    assert_int_equal((uintptr_t)input->data % 4, 0);
    assert_memory_equal(input->data, floats, sizeof floats);
    assert_ok(f, read_binary(f, "BF16", "[1,6]", floats, sizeof floats));
    assert_ok(f, read_binary(f, "FP16", "[2,3]", floats, sizeof floats));
    assert_ok(f, read_binary(f, "BOOL", "[2]", "\0\1", 2));
    assert_ok(f, read_binary(f, "BYTES", "[2]", "\2\0\0\0ab\0\0\0\0", 10));
    const struct pacer_bytes *strings = f->request.run.inputs->data;
    assert_int_equal(strings[0].size, 2);
    assert_memory_equal(strings[0].data, "ab", 2);
    assert_int_equal(strings[1].size, 0);
    assert_ok(f, read_binary(f, "INT64", "[0]", "", 0));
    assert_ok(f, read_binary(f, "BYTES", "[0]", "", 0));
}

static void mixes_binary_and_json(void **state) {
    struct fixture *f = *state;
    static const char json[] =
        "{\"inputs\":[{\"name\":\"A\",\"shape\":[2],\"datatype\":\"UINT8\",\"parameters\":{"
        "\"binary_data_size\":2}},{\"name\":\"B\",\"shape\":[1],\"datatype\":\"INT32\",\"data\":[5]"
        "},"
        "{\"name\":\"C\",\"shape\":[1],\"datatype\":\"INT32\",\"parameters\":{\"binary_data_size\":"
        "4}}]}";
    assert_ok(f, read_parts(f, json, "\x07\x08\x01\x02\x03\x04", 6));
    assert_memory_equal(f->request.run.inputs[0].data, "\x07\x08", 2);
    assert_int_equal(*(const int32_t *)f->request.run.inputs[1].data, 5);
    assert_int_equal(*(const int32_t *)f->request.run.inputs[2].data, 0x04030201);
    assert_fault(f, read_parts(f, json, "\x07\x08\x01\x02\x03\x04\x05", 7), PACER_EINVAL,
                 "unexpected additional input data for model 'M'");
    assert_fault(f, read_parts(f, json, "\x07\x08\x01\x02", 4), PACER_EINVAL,
                 "unexpected size for input 'C', expecting 2 additional bytes");
    assert_fault(f, read_parts(f, "{\"inputs\":[]}", "x", 1), PACER_EINVAL,
                 "unexpected additional input data");
}

static void bad_binary_is_named(void **state) {
    struct fixture *f = *state;
    static const char eight[] = "\1\0\1\0\1\0\1\0";
    static const struct {
        const char *dtype, *shape, *tail;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"FP32", "[3]", eight, 8, "got 8 bytes of binary data, but shape [3] of FP32 takes 12"},
        {"FP32", "[1]", eight, 8, "takes 4"},
        {"FP32", "[0]", eight, 8, "takes 0"},
        {"INT64", "[2]", eight, 8, "takes 16"},
        {"FP64", "[576460752303423487]", eight, 8, "takes"},
        {"BOOL", "[4]", "\0\1\2\1", 4, "byte 2 of its BOOL data is 2"},
        {"BYTES", "[1]", "\1\0\0", 3, "too few for 1 strings"},
        {"BYTES", "[1]", "\5\0\0\0abcd", 8, "string 0 is said to have 5 bytes, but only 4 follow"},
        {"BYTES", "[1]", "\xff\xff\xff\xff", 4, "4294967295 bytes, but only 0 follow"},
        {"BYTES", "[2]", "\4\0\0\0abcd", 8, "ends before the length of string 1"},
        {"BYTES", "[1]", "\1\0\0\0abcd", 8, "3 bytes of binary data are left after 1 strings"},
        {"BYTES", "[0]", "\0\0\0\0", 4, "4 bytes of binary data are left after 0 strings"},
        {"BYTES", "[576460752303423487]", eight, 8, "too few"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++)
        assert_fault(f,
                     read_binary(f, cases[i].dtype, cases[i].shape, cases[i].tail, cases[i].bytes),
                     PACER_EINVAL, cases[i].words);
    assert_fault(
        f,
        read_json(
            f, "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"INT8\",\"parameters\":{"
               "\"binary_data_size\":18446744073709551615}}]}"),
        PACER_EINVAL, "unexpected size for input 'X'");
}

static void the_header_tells_where_json_ends(void **state) {
    struct fixture *f = *state;
    size_t bytes;
    assert_int_equal(pcr_v2_json_bytes((struct pcr_str){NULL, 0}, 9, &bytes, NULL), 0);
    assert_int_equal(bytes, 9);
    assert_int_equal(pcr_v2_json_bytes(PCR_STR("0"), 9, &bytes, NULL), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(pcr_v2_json_bytes(PCR_STR(" 9 "), 9, &bytes, NULL), 0);
    assert_int_equal(bytes, 9);
    assert_fault(f, pcr_v2_json_bytes(PCR_STR("10"), 9, &bytes, &f->err), PACER_EINVAL,
                 "range (0, 9)");
    static const char *const bad[] = {"", "x", "-1", "1.0", "0x10", "99999999999999999999"};
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++)
        assert_fault(f, pcr_v2_json_bytes(pcr_str(bad[i]), 9, &bytes, &f->err), PACER_EINVAL,
                     "Unable to parse Inference-Header-Content-Length");
}

static int read_raw(struct fixture *f, enum pacer_dtype dtype, bool batches, const int64_t *shape,
                    size_t rank, struct pcr_str body) {
    struct pacer_tensor_info info = {"X", dtype, rank, shape};
    struct pcr_v2_raw raw = {.model = "M", .inputs = &info, .n_inputs = 1, .batches = batches};
    return pcr_v2_read_raw(&f->arena, &raw, body, &f->request, &f->err);
}
#define DIMS(...) \
    (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

static void reads_raw_requests(void **state) {
    struct fixture *f = *state;
    struct pcr_str twelve = PCR_STR("abcdefghijkl");
    assert_ok(f, read_raw(f, PACER_FP32, true, DIMS(-1, 3), twelve));
    assert_true(f->request.binary_output);
    assert_int_equal(f->request.run.inputs->shape[0], 1);
    assert_int_equal(f->request.run.inputs->shape[1], 3);
    assert_memory_equal(f->request.run.inputs->data, twelve.ptr, 12);
    assert_ok(f, read_raw(f, PACER_FP32, true, DIMS(-1, -1), twelve));
    assert_int_equal(f->request.run.inputs->shape[1], 3);
    assert_ok(f, read_raw(f, PACER_INT16, false, DIMS(2, -1), twelve));
    assert_int_equal(f->request.run.inputs->shape[0], 2);
    assert_int_equal(f->request.run.inputs->shape[1], 3);
    assert_ok(f, read_raw(f, PACER_INT32, false, DIMS(3), twelve));
    assert_ok(f, read_raw(f, PACER_BYTES, true, DIMS(-1, 1), twelve));
    const struct pacer_bytes *text = f->request.run.inputs->data;
    assert_int_equal(text->size, 12);
    assert_ok(f, read_raw(f, PACER_FP32, false, DIMS(-1), PCR_STR("")));
    assert_int_equal(f->request.run.inputs->shape[0], 0);

    assert_fault(f, read_raw(f, PACER_FP32, true, DIMS(-1, 4), twelve), PACER_EINVAL,
                 "got 12 bytes");
    assert_fault(f, read_raw(f, PACER_FP64, false, DIMS(-1), twelve), PACER_EINVAL, "got 12 bytes");
    assert_fault(f, read_raw(f, PACER_FP32, false, DIMS(-1, -1), twelve), PACER_EINVAL,
                 "can not be deduced");
    assert_fault(f, read_raw(f, PACER_FP32, false, DIMS(-1, 0), twelve), PACER_EINVAL,
                 "got 12 bytes");
    assert_fault(f, read_raw(f, PACER_FP32, false, DIMS(INT64_MAX, INT64_MAX, -1), twelve),
                 PACER_EINVAL, "too large");
    assert_fault(f, read_raw(f, PACER_BYTES, false, DIMS(-1), twelve), PACER_EINVAL,
                 "input shape [1]");
    assert_fault(f, read_raw(f, PACER_BYTES, false, DIMS(2), twelve), PACER_EINVAL,
                 "input shape [1]");
    struct pcr_v2_raw none = {.model = "M"};
    assert_fault(f, pcr_v2_read_raw(&f->arena, &none, twelve, &f->request, &f->err), PACER_EINVAL,
                 "must only have 1 input");
}

// --- writing ------------------------------------------------------------------------------------

static struct pcr_v2_body write_outputs(struct fixture *f, const struct pacer_tensor *outputs,
                                        size_t n) {
    struct pcr_v2_answer answer = {
        .model = "M", .version = "1", .batches = true, .outputs = outputs, .n_outputs = n};
    struct pcr_v2_body body;
    assert_ok(f, pcr_v2_write(&f->arena, &f->request, &answer, &body, &f->err));
    return body;
}

static void assert_text(struct pcr_str text, const char *expected) {
    if (text.len != strlen(expected) || memcmp(text.ptr, expected, text.len) != 0)
        fail_msg("got      %.*s\nexpected %s", PCR_STR_ARG(text), expected);
}

// The JSON of an output "Y" with that data.
#define ANSWER(dtype, shape, data)                                                             \
    "{\"model_name\":\"M\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"Y\",\"datatype\":" \
    "\"" dtype "\",\"shape\":" shape ",\"data\":" data "}]}"

static void writes_every_type(void **state) {
    struct fixture *f = *state;
    assert_ok(f, read_json(f, "{\"inputs\":[]}"));
#define CHECK(kind, type, text, ...)                                                \
    do {                                                                            \
        static const type data[2] = {__VA_ARGS__};                                  \
        struct pacer_tensor y = {"Y", PACER_##kind, 1, (const int64_t[]){2}, data}; \
        struct pcr_v2_body body = write_outputs(f, &y, 1);                          \
        assert_false(body.binary);                                                  \
        assert_int_equal(body.tensors.len, 0);                                      \
        assert_text(body.json, ANSWER(#kind, "[2]", text));                         \
    } while (0)
    CHECK(BOOL, uint8_t, "[false,true]", 0, 1);
    CHECK(UINT8, uint8_t, "[0,255]", 0, 255);
    CHECK(UINT16, uint16_t, "[0,65535]", 0, 65535);
    CHECK(UINT32, uint32_t, "[0,4294967295]", 0, UINT32_MAX);
    CHECK(UINT64, uint64_t, "[0,18446744073709551615]", 0, UINT64_MAX);
    CHECK(INT8, int8_t, "[-128,127]", INT8_MIN, INT8_MAX);
    CHECK(INT16, int16_t, "[-32768,32767]", INT16_MIN, INT16_MAX);
    CHECK(INT32, int32_t, "[-2147483648,2147483647]", INT32_MIN, INT32_MAX);
    CHECK(INT64, int64_t, "[-9223372036854775808,9223372036854775807]", INT64_MIN, INT64_MAX);
    static const struct pacer_bytes strings[] = {{"", 0}, {"\"\n\0\xff", 4}};
    struct pacer_tensor y = {"Y", PACER_BYTES, 1, (const int64_t[]){2}, strings};
    assert_text(write_outputs(f, &y, 1).json,
                ANSWER("BYTES", "[2]", "[\"\",\"\\\"\\n\\u0000\xef\xbf\xbd\"]"));
    y = (struct pacer_tensor){"Y", PACER_FP32, 2, (const int64_t[]){0, 3}, NULL};
    assert_text(write_outputs(f, &y, 1).json, ANSWER("FP32", "[0,3]", "[]"));
}

// What is written reads back as the same bits.
static void floats_come_back_unchanged(void **state) {
    struct fixture *f = *state;
    static float floats[4000];
    static double doubles[4000];
    for (size_t i = 0; i < 4000; i++) {
        uint64_t bits = pcr_rand_u64();
        memcpy(&doubles[i], &bits, sizeof bits);
        memcpy(&floats[i], &bits, sizeof floats[i]);
        if (!isfinite(doubles[i]))
            doubles[i] = (double)i / 7;
        if (!isfinite(floats[i]))
            floats[i] = (float)i / 7;
    }
    const int64_t shape[] = {4, 1000};
    const struct pacer_tensor outputs[] = {{"X", PACER_FP32, 2, shape, floats},
                                           {"Z", PACER_FP64, 2, shape, doubles}};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(f, read_json(f, "{\"inputs\":[]}"));
        struct pcr_v2_body body = write_outputs(f, &outputs[i], 1);
        char *again = pcr_arena_dup(&f->arena, body.json);
        char *list = strstr(again, "\"outputs\"");
        memcpy(list, " \"inputs\"", 9);
        assert_ok(f, read_json(f, again));
        assert_memory_equal(f->request.run.inputs->data, outputs[i].data,
                            4000 * pacer_dtype_size(outputs[i].dtype));
    }
}

static void non_finite_floats_become_null_and_say_so(void **state) {
    struct fixture *f = *state;
    assert_ok(f, read_json(f, "{\"id\":\"i\\\"d\",\"inputs\":[]}"));
    const float data[] = {NAN, 1.5f, -INFINITY};
    struct pacer_tensor y = {"Y", PACER_FP32, 1, (const int64_t[]){3}, data};
    assert_text(write_outputs(f, &y, 1).json,
                "{\"id\":\"i\\\"d\",\"model_name\":\"M\",\"model_version\":\"1\",\"outputs\":[{"
                "\"name\":\"Y\","
                "\"datatype\":\"FP32\",\"shape\":[3],\"data\":[null,1.5,null]}],\"parameters\":{"
                "\"non_finite\":\"null\"}}");
    f->request.binary_output = true;
    struct pcr_v2_body body = write_outputs(f, &y, 1);
    assert_null(strstr(body.json.ptr, "non_finite"));
    assert_memory_equal(body.tensors.ptr, data, sizeof data);
}

static void writes_binary_in_order(void **state) {
    struct fixture *f = *state;
    const int32_t ints[] = {1, 2};
    const struct pacer_bytes strings[] = {{"ab", 2}, {"", 0}};
    const int64_t two[] = {2};
    const struct pacer_tensor outputs[] = {{"A", PACER_INT32, 1, two, ints},
                                           {"B", PACER_INT32, 1, two, ints},
                                           {"C", PACER_BYTES, 1, two, strings}};
    assert_ok(
        f,
        read_json(f, "{\"inputs\":[],\"parameters\":{\"binary_data_output\":true},\"outputs\":[{"
                     "\"name\":\"A\"},"
                     "{\"name\":\"B\",\"parameters\":{\"binary_data\":false}},{\"name\":\"C\"}]}"));
    struct pcr_v2_body body = write_outputs(f, outputs, 3);
    assert_true(body.binary);
    assert_text(body.json, "{\"model_name\":\"M\",\"model_version\":\"1\",\"outputs\":["
                           "{\"name\":\"A\",\"datatype\":\"INT32\",\"shape\":[2],\"parameters\":{"
                           "\"binary_data_size\":8}},"
                           "{\"name\":\"B\",\"datatype\":\"INT32\",\"shape\":[2],\"data\":[1,2]},"
                           "{\"name\":\"C\",\"datatype\":\"BYTES\",\"shape\":[2],\"parameters\":{"
                           "\"binary_data_size\":10}}]}");
    assert_int_equal(body.tensors.len, 18);
    assert_memory_equal(body.tensors.ptr, "\1\0\0\0\2\0\0\0\2\0\0\0ab\0\0\0\0", 18);
    assert_ok(f, read_json(f, "{\"inputs\":[],\"outputs\":[{\"name\":\"A\",\"parameters\":{"
                              "\"binary_data\":true}}]}"));
    body = write_outputs(f, outputs, 1);
    assert_ptr_equal(body.tensors.ptr, ints); // one alone is borrowed
    const struct pacer_tensor none = {"N", PACER_INT32, 1, (const int64_t[]){0}, NULL};
    body = write_outputs(f, &none, 1);
    assert_true(body.binary);
    assert_int_equal(body.tensors.len, 0);
}

static void half_floats_go_out_in_binary_only(void **state) {
    struct fixture *f = *state;
    const uint16_t halves[] = {0x3c00};
    const struct pacer_tensor y = {"Y", PACER_FP16, 1, (const int64_t[]){1}, halves};
    struct pcr_v2_answer answer = {.model = "M", .version = "1", .outputs = &y, .n_outputs = 1};
    struct pcr_v2_body body;
    assert_ok(f, read_json(f, "{\"inputs\":[]}"));
    assert_fault(f, pcr_v2_write(&f->arena, &f->request, &answer, &body, &f->err), PACER_EINVAL,
                 "sending FP16 data via JSON is not supported. Please use the binary data format "
                 "for output 'Y'");
    f->request.binary_output = true;
    assert_ok(f, pcr_v2_write(&f->arena, &f->request, &answer, &body, &f->err));
    assert_memory_equal(body.tensors.ptr, halves, 2);
}

static void classifies(void **state) {
    struct fixture *f = *state;
    const float data[] = {1.1f, 3.3f, 0.5f, 2.4f, NAN, 7, 7, -1};
    const struct pacer_tensor y = {"Y", PACER_FP32, 2, (const int64_t[]){2, 4}, data};
#define ASK(n) \
    "{\"inputs\":[],\"outputs\":[{\"name\":\"Y\",\"parameters\":{\"classification\":" n "}}]}"
    assert_ok(f, read_json(f, ASK("2")));
    assert_text(write_outputs(f, &y, 1).json,
                ANSWER("BYTES", "[2,2]", "[\"3.3:1\",\"2.4:3\",\"7.0:1\",\"7.0:2\"]"));
    assert_ok(f, read_json(f, ASK("4294967296")));
    assert_text(
        write_outputs(f, &y, 1).json,
        ANSWER(
            "BYTES", "[2,4]",
            "[\"3.3:1\",\"2.4:3\",\"1.1:0\",\"0.5:2\",\"7.0:1\",\"7.0:2\",\"-1.0:3\",\"null:0\"]"));
    struct pcr_v2_answer flat = {.model = "M", .version = "1", .outputs = &y, .n_outputs = 1};
    struct pcr_v2_body body;
    assert_ok(f, read_json(f, ASK("1")));
    assert_ok(f, pcr_v2_write(&f->arena, &f->request, &flat, &body, &f->err));
    assert_text(body.json, ANSWER("BYTES", "[1]", "[\"7.0:5\"]"));
    const struct pacer_bytes text = {"a", 1};
    const struct pacer_tensor string = {"Y", PACER_BYTES, 1, (const int64_t[]){1}, &text};
    flat.outputs = &string;
    assert_fault(f, pcr_v2_write(&f->arena, &f->request, &flat, &body, &f->err), PACER_EINVAL,
                 "is not possible");
    const struct pacer_tensor empty = {"Y", PACER_FP32, 2, (const int64_t[]){0, 4}, NULL};
    assert_text(write_outputs(f, &empty, 1).json, ANSWER("BYTES", "[0,0]", "[]"));
    const uint64_t large[] = {UINT64_MAX - 1, 3};
    const struct pacer_tensor wide = {"Y", PACER_UINT64, 2, (const int64_t[]){1, 2}, large};
    assert_text(write_outputs(f, &wide, 1).json,
                ANSWER("BYTES", "[1,1]", "[\"18446744073709551614:0\"]"));
#undef ASK
}

static void large_answers_leave_the_arena_alone(void **state) {
    struct fixture *f = *state;
    enum { N = 300000 };
    float *data = test_malloc(N * sizeof *data);
    for (size_t i = 0; i < N; i++)
        data[i] = (float)i;
    const struct pacer_tensor y = {"Y", PACER_FP32, 1, (const int64_t[]){N}, data};
    assert_ok(f, read_json(f, "{\"inputs\":[]}"));
    size_t before = f->arena.used_bytes;
    struct pcr_v2_body body = write_outputs(f, &y, 1);
    assert_true(body.json.len > N * 6);
    assert_true(f->arena.used_bytes - before < (64 << 10));
    test_free(data);
}

static void a_full_arena_is_an_error(void **state) {
    (void)state;
    static const char json[] =
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[8],\"datatype\":\"FP64\",\"data\":[1,2,3,4,5,6,7,"
        "8]}],"
        "\"outputs\":[{\"name\":\"Y\",\"parameters\":{\"classification\":1}}]}";
    const double data[] = {1, 2};
    const struct pacer_tensor y = {"Y", PACER_FP64, 1, (const int64_t[]){2}, data};
    struct pcr_v2_answer answer = {.model = "M", .version = "1", .outputs = &y, .n_outputs = 1};
    size_t failed = 0, done = 0;
    for (size_t bytes = 0; bytes < 20000; bytes += 16) {
        struct pcr_arena arena;
        struct pcr_v2_request request;
        struct pcr_v2_body body;
        struct pacer_error err;
        pcr_arena_init(&arena, bytes);
        int rc = pcr_v2_read(&arena, "M", pcr_str(json), sizeof json - 1, &request, &err);
        if (rc == 0)
            rc = pcr_v2_write(&arena, &request, &answer, &body, &err);
        if (rc < 0)
            assert_int_equal(rc, PACER_ENOMEM);
        failed += rc < 0;
        done += rc == 0;
        pcr_arena_fini(&arena);
    }
    assert_true(failed > 0 && done > 0);
}

// --- the reader of the plain form
// -----------------------------------------------------------------

// 1: both answer, alike to the bit. 0: the plain form's reader leaves it to the general one.
static int both_readers(struct fixture *f, const char *json) {
    struct pcr_v2_request quick, thorough;
    struct pcr_str body = pcr_str(json);
    size_t count;
    if (!pcr_v2_read_canonical(&f->arena, body, &quick))
        return 0;
    assert_int_equal(pcr_v2_read_general(&f->arena, "M", body, body.len, &thorough, &f->err), 0);
    const struct pacer_tensor *a = quick.run.inputs, *b = thorough.run.inputs;
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->shape, b->shape, a->rank * sizeof *a->shape);
    assert_int_equal(pacer_shape_count(a->shape, a->rank, &count), 0);
    assert_memory_equal(a->data, b->data, count * sizeof(float));
    return 1;
}

static void the_plain_form_has_a_reader_of_its_own(void **state) {
    struct fixture *f = *state;
    static const char *const plain[] = {
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[0.1,-2,3.25]}"
        "]}",
        " { \"inputs\" : [ { \"shape\" : [ 3 ] , \"datatype\" : \"FP32\" , \"data\" : [ 1 "
        ",\n-0.0,9007199254740992 ] , "
        "\"name\" : \"a b\" } ] } ",
    };
    static const char *const other[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"inputs\":[]}",
        "{\"inputs\":[{}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}],\"id\":"
        "\"1\"}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,1],\"datatype\":\"FP32\",\"data\":[[1]]}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1,2]}]}",
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}]}x",
        "{\"inputs\":[{\"name\":\"X\",\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":["
        "1]}]}",
        "{\"inputs\":[{\"name\":\"X\\u0041\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}]}",
    };
    static const char *const numbers[] = {"01",
                                          "-0",
                                          "1.",
                                          ".5",
                                          "+1",
                                          "1e3",
                                          "--1",
                                          "-",
                                          "NaN",
                                          "\"1\"",
                                          "null",
                                          "9007199254740993",
                                          "0.12345678901234567890123",
                                          "[1]",
                                          "1 2"};
    for (size_t i = 0; i < PCR_COUNT_OF(plain); i++)
        assert_int_equal(both_readers(f, plain[i]), 1);
    for (size_t i = 0; i < PCR_COUNT_OF(other); i++)
        assert_int_equal(both_readers(f, other[i]), 0);
    for (size_t i = 0; i < PCR_COUNT_OF(numbers); i++)
        assert_int_equal(
            both_readers(f,
                         pcr_arena_printf(&f->arena,
                                          "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":"
                                          "\"FP32\",\"data\":[%s]}]}",
                                          numbers[i])),
            0);
}

static void both_readers_give_the_same_numbers(void **state) {
    struct fixture *f = *state;
    unsigned taken = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t digits = pcr_rand_u64() >> (11 + pcr_rand_u64() % 53);
        unsigned fraction = (unsigned)(pcr_rand_u64() % 20);
        char number[64], text[256];
        snprintf(number, sizeof number, "%s%llu.%0*llu", pcr_rand_u64() % 2 ? "-" : "",
                 (unsigned long long)(digits % 1000), (int)fraction + 1,
                 (unsigned long long)(digits / 1000));
        snprintf(
            text, sizeof text,
            "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[%s]}]}",
            number);
        taken += (unsigned)both_readers(f, text);
        pcr_arena_reset(&f->arena);
    }
    assert_true(taken > 10000);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_plain_form_has_a_reader_of_its_own),
        TEST(both_readers_give_the_same_numbers),
        TEST(reads_every_type),
        TEST(data_may_be_flat_or_nested),
        TEST(bad_elements_are_named),
        TEST(no_json_is_a_syntax_error),
        TEST(counts_must_match_the_shape),
        TEST(bad_members_are_named),
        TEST(reads_parameters),
        TEST(counts_are_bounded),
        TEST(reads_binary_tensors),
        TEST(mixes_binary_and_json),
        TEST(bad_binary_is_named),
        TEST(the_header_tells_where_json_ends),
        TEST(reads_raw_requests),
        TEST(writes_every_type),
        TEST(floats_come_back_unchanged),
        TEST(non_finite_floats_become_null_and_say_so),
        TEST(writes_binary_in_order),
        TEST(half_floats_go_out_in_binary_only),
        TEST(classifies),
        TEST(large_answers_leave_the_arena_alone),
        TEST(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
