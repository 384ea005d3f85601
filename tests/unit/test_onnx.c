// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "onnx/onnx.h"

#include <stdlib.h>

static const char *model_path(const char *name) {
    static char path[1024];
    const char *root = getenv("PACER_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/data/models/%s", root ? root : ".", name);
    return path;
}

static struct pcr_buf read_model(const char *name) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, 1 << 20);
    assert_int_equal(pcr_file_read(model_path(name), &buf, NULL), 0);
    return buf;
}

// --- writing the wire format by hand ------------------------------------------------------------
static void put_varint(struct pcr_buf *buf, uint64_t value) {
    while (value > 0x7f) {
        pcr_buf_char(buf, (char)(value | 0x80));
        value >>= 7;
    }
    pcr_buf_char(buf, (char)value);
}

static void put_bytes(struct pcr_buf *buf, unsigned field, struct pcr_str bytes) {
    put_varint(buf, field << 3 | 2);
    put_varint(buf, bytes.len);
    pcr_buf_str(buf, bytes);
}

// Puts `inner` into a message with that one field, in place.
static void wrap(struct pcr_buf *inner, unsigned field) {
    struct pcr_buf outer;
    pcr_buf_init(&outer, 1 << 24);
    put_bytes(&outer, field, pcr_buf_view(inner));
    pcr_buf_fini(inner);
    *inner = outer;
}

static struct pcr_buf external_tensor(const char *location, const char *offset) {
    struct pcr_buf tensor;
    struct pcr_buf entry;
    pcr_buf_init(&tensor, 1 << 24);
    pcr_buf_init(&entry, 1 << 24);
    put_bytes(&entry, 1, PCR_STR("location"));
    put_bytes(&entry, 2, pcr_str(location));
    put_bytes(&tensor, 13, pcr_buf_view(&entry));
    pcr_buf_clear(&entry);
    put_bytes(&entry, 1, PCR_STR("offset"));
    put_bytes(&entry, 2, pcr_str(offset));
    put_bytes(&tensor, 13, pcr_buf_view(&entry));
    pcr_buf_fini(&entry);
    put_varint(&tensor, 14 << 3);
    put_varint(&tensor, 1);
    return tensor;
}

struct seen {
    size_t externals, values, shapeless;
    char location[256];
    uint64_t offset;
};

static int see_external(void *ctx, const struct pcr_onnx_external *external,
                        struct pacer_error *err) {
    (void)err;
    struct seen *seen = ctx;
    seen->externals++;
    seen->offset = external->offset;
    snprintf(seen->location, sizeof seen->location, "%.*s", PCR_STR_ARG(external->location));
    return 0;
}

static int see_value(void *ctx, const struct pcr_onnx_value *value, struct pacer_error *err) {
    (void)err;
    struct seen *seen = ctx;
    seen->values++;
    seen->shapeless += !value->has_shape;
    return 0;
}

static const struct pcr_onnx_visitor see = {see_external, see_value, NULL};

static int scan(struct pcr_buf *file, struct seen *seen, struct pacer_error *err) {
    *seen = (struct seen){0};
    *err = (struct pacer_error){0};
    return pcr_onnx_scan(pcr_buf_view(file), &see, seen, err);
}

// --- the walk -----------------------------------------------------------------------------------
static void finds_external_data_wherever_a_tensor_may_be(void **state) {
    (void)state;
    // From the tensor outwards: field numbers of onnx.proto, each the way of one kind of file.
    static const struct {
        const char *what;
        unsigned fields[8];
    } ways[] = {
        {"an initializer", {5, 7}},
        {"a sparse initializer's values", {1, 15, 7}},
        {"a sparse initializer's indices", {2, 15, 7}},
        {"a constant's attribute", {5, 5, 1, 7}},
        {"a list attribute", {10, 5, 1, 7}},
        {"a sparse attribute", {1, 22, 5, 1, 7}},
        {"a subgraph of an If", {5, 6, 5, 1, 7}},
        {"a list of subgraphs", {5, 11, 5, 1, 7}},
        {"a constant in a function", {5, 5, 7, 25}},
        {"the default attribute of a function", {5, 11, 25}},
        {"a training graph", {5, 1, 20}},
        {"a training algorithm", {5, 2, 20}},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(ways); i++) {
        struct pcr_buf file = external_tensor("weights.bin", "4096");
        for (size_t k = 0; k < 8 && ways[i].fields[k]; k++)
            wrap(&file, ways[i].fields[k]);
        unsigned last = 0;
        for (size_t k = 0; k < 8 && ways[i].fields[k]; k++)
            last = ways[i].fields[k];
        if (last != 7)
            put_bytes(&file, 7, PCR_STR("")); // a model has a graph
        struct seen seen;
        struct pacer_error err;
        int code = scan(&file, &seen, &err);
        if (code != 0 || seen.externals != 1)
            fail_msg("%s: %d %s, %zu seen", ways[i].what, code, err.message, seen.externals);
        assert_string_equal(seen.location, "weights.bin");
        assert_int_equal(seen.offset, 4096);
        pcr_buf_fini(&file);
    }
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    struct seen seen;
    struct pacer_error err;
    // Graph → node → attribute → graph …: as many bytes as a large stack has frames.
    struct pcr_buf file;
    pcr_buf_init(&file, 1 << 24);
    pcr_buf_text(&file, "");
    for (int depth = 0; depth < 1000; depth++) {
        wrap(&file, 6);
        wrap(&file, 5);
        wrap(&file, 1);
    }
    wrap(&file, 7);
    assert_int_equal(scan(&file, &seen, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "nested too deeply"));
    pcr_buf_fini(&file);
    // Types nest too: a sequence of sequences of …
    pcr_buf_init(&file, 1 << 24);
    pcr_buf_text(&file, "");
    for (int depth = 0; depth < 1000; depth++) {
        wrap(&file, 1);
        wrap(&file, 4);
    }
    wrap(&file, 2);
    wrap(&file, 11);
    wrap(&file, 7);
    assert_int_equal(scan(&file, &seen, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "nested too deeply"));
    pcr_buf_fini(&file);
}

static void what_may_occur_once_must_occur_once(void **state) {
    (void)state;
    struct seen seen;
    struct pacer_error err;
    struct pcr_buf file;
    pcr_buf_init(&file, 4096);
    put_bytes(&file, 7, PCR_STR(""));
    assert_int_equal(scan(&file, &seen, &err), 0);
    put_bytes(&file, 7, PCR_STR(""));
    assert_int_equal(scan(&file, &seen, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "field 7 of ModelProto"));
    pcr_buf_fini(&file);
}

static void every_cut_of_a_model_is_refused_or_read(void **state) {
    (void)state;
    static const char *const models[] = {"simple.onnx", "classifier.onnx", "external_inside.onnx"};
    for (size_t m = 0; m < PCR_COUNT_OF(models); m++) {
        struct pcr_buf whole = read_model(models[m]);
        size_t refused = 0;
        for (size_t n = 0; n < whole.len; n++) {
            struct seen seen = {0};
            struct pacer_error err = {0};
            char *exact = malloc(n + 1); // so that a sanitizer sees a read past the end
            assert_non_null(exact);
            memcpy(exact, whole.data, n);
            int code = pcr_onnx_scan((struct pcr_str){exact, n}, &see, &seen, &err);
            assert_true(code == 0 || code == PACER_EMODEL);
            assert_int_equal(code == 0, err.code == 0);
            refused += code < 0;
            free(exact);
        }
        assert_true(refused > whole.len / 2);
        pcr_buf_fini(&whole);
    }
}

static void values_without_a_shape_are_told(void **state) {
    (void)state;
    struct seen seen;
    struct pacer_error err;
    struct pcr_buf file = read_model("no_shape.onnx");
    assert_int_equal(scan(&file, &seen, &err), 0);
    assert_int_equal(seen.values, 2);
    assert_true(seen.shapeless >= 1);
    pcr_buf_fini(&file);
    file = read_model("scalar_input.onnx");
    assert_int_equal(scan(&file, &seen, &err), 0);
    assert_int_equal(seen.shapeless, 0);
    pcr_buf_fini(&file);
}

static void bad_offsets_are_refused(void **state) {
    (void)state;
    static const char *const offsets[] = {"", "-1", "1e3", "99999999999999999999", "0x10"};
    for (size_t i = 0; i < PCR_COUNT_OF(offsets); i++) {
        struct seen seen;
        struct pacer_error err;
        struct pcr_buf file = external_tensor("w", offsets[i]);
        wrap(&file, 5);
        wrap(&file, 7);
        assert_int_equal(scan(&file, &seen, &err), PACER_EMODEL);
        assert_non_null(strstr(err.message, "offset"));
        pcr_buf_fini(&file);
    }
}

static void locations_that_lead_astray_are_known(void **state) {
    (void)state;
    static const char *const bad[] = {"",       "/etc/passwd",        "..",
                                      "../w",   "a/../../w",          "a/..",
                                      "./../w", "*/_ORT_MEM_ADDR_/*", "a//..//w"};
    static const char *const good[] = {"w",   "w.bin", "a/w",   "./w", "a..b",
                                       "...", "..w",   "a/...", "w.."};
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++)
        if (!pcr_onnx_location_fault(pcr_str(bad[i])))
            fail_msg("'%s' was let through", bad[i]);
    for (size_t i = 0; i < PCR_COUNT_OF(good); i++)
        if (pcr_onnx_location_fault(pcr_str(good[i])))
            fail_msg("'%s' was refused", good[i]);
    assert_non_null(pcr_onnx_location_fault((struct pcr_str){"a\0b", 3}));
}

static void files_of_other_kinds_are_named(void **state) {
    (void)state;
    static const struct {
        struct pcr_str bytes;
        const char *word;
    } kinds[] = {
        {{"", 0}, "empty"},
        {PCR_STR("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "Git LFS"},
        {PCR_STR("<!DOCTYPE html><html>"), "HTML"},
        {PCR_STR("<html><body>404"), "HTML"},
        {PCR_STR("PK\3\4\0\0\0\0"), "ZIP"},
        {PCR_STR("\x80\x04\x95\x10\0\0\0\0\0\0\0"), "pickle"},
        {PCR_STR("\x1f\x8b\x08\0"), "gzip"},
        {PCR_STR("\x89HDF\r\n\x1a\n"), "HDF5"},
        {PCR_STR("\0\0\0\0TFL3"), "TensorFlow Lite"},
        {PCR_STR("\0\0\0\0ORTM\0\0"), "ONNX Runtime's own format"},
        {PCR_STR("\x40\0\0\0\0\0\0\0{\"a\":"), "safetensors"},
        {PCR_STR("{\"learner\": {}}"), "JSON"},
        {PCR_STR("just a note\n"), "text"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(kinds); i++) {
        struct pacer_error err = {0};
        assert_int_equal(pcr_onnx_scan(kinds[i].bytes, &(struct pcr_onnx_visitor){0}, NULL, &err),
                         PACER_EMODEL);
        if (!strstr(err.message, kinds[i].word))
            fail_msg("'%s' does not say %s", err.message, kinds[i].word);
    }
}

// --- the summary --------------------------------------------------------------------------------
static void a_summary_tells_what_is_in_the_file(void **state) {
    (void)state;
    struct pcr_arena arena;
    struct pcr_onnx_summary s;
    struct pacer_error err = {0};
    pcr_arena_init(&arena, 1 << 20);
    assert_int_equal(pcr_onnx_inspect(model_path("classifier.onnx"), &arena, &s, &err), 0);
    assert_int_equal(s.ir_version, 8);
    assert_int_equal(s.file_bytes, 531);
    assert_int_equal(s.n_inputs, 1);
    assert_string_equal(s.inputs[0].name, "input");
    assert_string_equal(s.inputs[0].type, "FP32");
    assert_int_equal(s.inputs[0].rank, 2);
    assert_int_equal(s.inputs[0].dims[0].value, -1);
    assert_int_equal(s.inputs[0].dims[1].value, 2);
    assert_int_equal(s.n_outputs, 2);
    assert_string_equal(s.outputs[0].type, "BYTES");
    assert_true(s.n_operators > 0);
    size_t nodes = 0;
    for (size_t i = 0; i < s.n_operators; i++) {
        nodes += s.operators[i].count;
        assert_true(i == 0 || s.operators[i].count <= s.operators[i - 1].count);
    }
    assert_int_equal(nodes, s.n_nodes);
    assert_true(s.n_metadata > 0);
    assert_true(s.n_opsets >= 1);
    pcr_arena_fini(&arena);
}

static void parameters_and_external_files_are_counted(void **state) {
    (void)state;
    struct pcr_arena arena;
    struct pcr_onnx_summary s;
    struct pacer_error err = {0};
    pcr_arena_init(&arena, 1 << 20);
    assert_int_equal(pcr_onnx_inspect(model_path("external_inside.onnx"), &arena, &s, &err), 0);
    assert_int_equal(s.parameters, 4);
    assert_int_equal(s.parameter_bytes, 16);
    assert_int_equal(s.n_externals, 1);
    assert_string_equal(s.externals[0].location, "external_inside.bin");
    assert_int_equal(s.externals[0].bytes, 16);
    assert_int_equal(s.externals[0].tensors, 1);
    assert_int_equal(pcr_onnx_inspect(model_path("default_input.onnx"), &arena, &s, &err), 0);
    assert_int_equal(s.n_inputs, 2);
    assert_false(s.inputs[0].has_default);
    assert_true(s.inputs[1].has_default);
    assert_int_equal(pcr_onnx_inspect(model_path("zipmap.onnx"), &arena, &s, &err), 0);
    assert_string_equal(s.outputs[s.n_outputs - 1].type, "sequence of map of BYTES to FP32");
    assert_int_equal(pcr_onnx_inspect(model_path("no_shape.onnx"), &arena, &s, &err), 0);
    assert_false(s.inputs[0].has_shape);
    pcr_arena_fini(&arena);
}

static void bad_files_have_no_summary(void **state) {
    (void)state;
    static const char *const bad[] = {"empty.onnx", "truncated.onnx", "notonnx.onnx", "noise.onnx",
                                      "no_graph.onnx"};
    struct pcr_arena arena;
    struct pcr_onnx_summary s;
    struct pacer_error err = {0};
    pcr_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++) {
        assert_int_equal(pcr_onnx_inspect(model_path(bad[i]), &arena, &s, &err), PACER_EMODEL);
        assert_non_null(strstr(err.message, bad[i]));
    }
    assert_int_equal(pcr_onnx_inspect("/no/such/file.onnx", &arena, &s, &err), PACER_ENOTFOUND);
    pcr_arena_fini(&arena);
}

static void small_files_do_not_become_large_bills(void **state) {
    (void)state;
    // Sixteen million empty nodes in 32 MB would unpack to gigabytes.
    struct pcr_buf file;
    pcr_buf_init(&file, 64 << 20);
    char *nodes = pcr_buf_reserve(&file, 32 << 20);
    assert_non_null(nodes);
    for (size_t i = 0; i < 32u << 20; i += 2) {
        nodes[i] = 1 << 3 | 2;
        nodes[i + 1] = 0;
    }
    struct pcr_buf model;
    pcr_buf_init(&model, 64 << 20);
    put_bytes(&model, 7, (struct pcr_str){nodes, 32u << 20});
    struct pcr_arena arena;
    struct pcr_onnx_summary s;
    struct pacer_error err = {0};
    pcr_arena_init(&arena, 1 << 20);
    assert_int_equal(pcr_onnx_summarize(pcr_buf_view(&model), &arena, &s, &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "memory"));
    pcr_arena_fini(&arena);
    pcr_buf_fini(&model);
    pcr_buf_fini(&file);
}

// --- tensors ------------------------------------------------------------------------------------
static void tensors_are_unpacked(void **state) {
    (void)state;
    struct pcr_arena arena;
    struct pacer_tensor t;
    struct pacer_error err = {0};
    struct pcr_buf b;
    pcr_arena_init(&arena, 1 << 20);
    pcr_buf_init(&b, 4096);
    put_bytes(&b, 1, (struct pcr_str){"\2\3", 2}); // dims, packed
    put_varint(&b, 2 << 3);
    put_varint(&b, 3);                                       // INT8
    put_bytes(&b, 5, (struct pcr_str){"\1\2\3\4\5\x7f", 6}); // int32_data
    put_bytes(&b, 8, PCR_STR("X"));
    assert_int_equal(pcr_onnx_tensor(pcr_buf_view(&b), &arena, &t, &err), 0);
    assert_string_equal(t.name, "X");
    assert_int_equal(t.dtype, PACER_INT8);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.shape[0], 2);
    assert_int_equal(t.shape[1], 3);
    assert_memory_equal(t.data, "\1\2\3\4\5\x7f", 6);
    pcr_buf_clear(&b);
    put_bytes(&b, 1, (struct pcr_str){"\2", 1});
    put_varint(&b, 2 << 3);
    put_varint(&b, 8); // STRING
    put_bytes(&b, 6, PCR_STR("a\0b"));
    put_bytes(&b, 6, PCR_STR(""));
    assert_int_equal(pcr_onnx_tensor(pcr_buf_view(&b), &arena, &t, &err), 0);
    const struct pacer_bytes *strings = t.data;
    assert_int_equal(strings[0].size, 3);
    assert_memory_equal(strings[0].data, "a\0b", 3);
    assert_int_equal(strings[1].size, 0);
    pcr_buf_fini(&b);
    pcr_arena_fini(&arena);
}

static void wrong_tensors_are_refused(void **state) {
    (void)state;
    struct pcr_arena arena;
    struct pacer_tensor t;
    struct pacer_error err = {0};
    struct pcr_buf b;
    pcr_arena_init(&arena, 1 << 20);
    pcr_buf_init(&b, 4096);
    put_bytes(&b, 1, (struct pcr_str){"\4", 1});
    put_varint(&b, 2 << 3);
    put_varint(&b, 1);
    put_bytes(&b, 9, PCR_STR("12345678")); // two floats, not four
    assert_int_equal(pcr_onnx_tensor(pcr_buf_view(&b), &arena, &t, &err), PACER_EMODEL);
    pcr_buf_clear(&b);
    put_varint(&b, 2 << 3);
    put_varint(&b, 22); // INT4
    assert_int_equal(pcr_onnx_tensor(pcr_buf_view(&b), &arena, &t, &err), PACER_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "INT4"));
    assert_int_equal(pcr_onnx_tensor(PCR_STR("\xff\xff\xff"), &arena, &t, &err), PACER_EMODEL);
    pcr_buf_fini(&b);
    pcr_arena_fini(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_external_data_wherever_a_tensor_may_be),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(what_may_occur_once_must_occur_once),
        cmocka_unit_test(every_cut_of_a_model_is_refused_or_read),
        cmocka_unit_test(values_without_a_shape_are_told),
        cmocka_unit_test(bad_offsets_are_refused),
        cmocka_unit_test(locations_that_lead_astray_are_known),
        cmocka_unit_test(files_of_other_kinds_are_named),
        cmocka_unit_test(a_summary_tells_what_is_in_the_file),
        cmocka_unit_test(parameters_and_external_files_are_counted),
        cmocka_unit_test(bad_files_have_no_summary),
        cmocka_unit_test(small_files_do_not_become_large_bills),
        cmocka_unit_test(tensors_are_unpacked),
        cmocka_unit_test(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
