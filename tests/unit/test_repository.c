// SPDX-License-Identifier: Apache-2.0
#include "infer_fixture.h"

#include "infer/repository_priv.h"

#include <pthread.h>
#include <stdatomic.h>

// --- config.pbtxt -------------------------------------------------------------------------------
static void a_triton_configuration_is_read(void **state) {
    (void)state;
    static const char text[] =
        "# made for Triton\n"
        "name: \"simple\"\n"
        "platform: 'onnxruntime_' \"onnx\"  # adjacent strings are one\n"
        "max_batch_size: 8\n"
        "input [\n  { name: \"INPUT0\" data_type: TYPE_INT32 dims: [ 16 ] },\n"
        "  { name: \"a \\\" } b\" dims: -1 }\n]\n"
        "output: <name: \"OUTPUT0\">;\n"
        "instance_group { count: 2 kind: KIND_CPU max_batch_size: 99 }\n"
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }\n"
        "version_policy: { specific: { versions: [1, 3] versions: 7 } }\n"
        "parameters { key: \"x\" value { string_value: \"1.5e-3\" } }\n"
        "[ext.name] { a: 1.5e-3 }\n";
    struct pcr_pbtxt config;
    struct pacer_error err = {0};
    int code = pcr_pbtxt_parse(pcr_str(text), &config, &err);
    if (code < 0)
        fail_msg("%s", err.message);
    assert_int_equal(config.max_batch_size, 8);
    assert_true(config.dynamic_batching);
    assert_int_equal(config.policy, PCR_VERSIONS_SPECIFIC);
    assert_int_equal(config.n_versions, 3);
    assert_int_equal(config.versions[1], 3);
    assert_int_equal(config.versions[2], 7);
    assert_int_equal(pcr_pbtxt_parse(PCR_STR(""), &config, &err), 0);
    assert_int_equal(config.max_batch_size, -1);
    assert_false(config.dynamic_batching);
    assert_int_equal(config.policy, PCR_VERSIONS_ALL);
    assert_int_equal(
        pcr_pbtxt_parse(PCR_STR("version_policy { latest { num_versions: 2 } }"), &config, &err),
        0);
    assert_int_equal(config.policy, PCR_VERSIONS_LATEST);
    assert_int_equal(config.latest, 2);
}

static void broken_configurations_name_the_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"a: 1\nmax_batch_size: many", "line 2: .max_batch_size is 'many'"},
        {"max_batch_size: -1", "line 1"},
        {"max_batch_size: 99999999999", "line 1"},
        {"max_batch_size 8", "line 1: a ':' or '{'"},
        {"max_batch_size:", "value is missing"},
        {"a {\n\n b: 1", "line 3: a '{' without"},
        {"a: [1, 2", "'[' without"},
        {"a: \"x\nb: 1", "does not end on its line"},
        {"a: \"x", "does not end"},
        {"a: \"x\\", "does not end"},
        {"}", "name of a field"},
        {"a: }", "value is missing"},
        {": 1", "name of a field"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(bad); i++) {
        struct pcr_pbtxt config;
        struct pacer_error err = {0};
        assert_int_equal(pcr_pbtxt_parse(pcr_str(bad[i].text), &config, &err), PACER_ESYNTAX);
        if (!strstr(err.message, bad[i].word))
            fail_msg("'%s': %s", bad[i].text, err.message);
    }
    char deep[4000];
    for (size_t i = 0; i + 1 < sizeof deep; i += 2)
        memcpy(deep + i, "a{", 2);
    struct pcr_pbtxt config;
    assert_int_equal(pcr_pbtxt_parse((struct pcr_str){deep, sizeof deep}, &config, NULL),
                     PACER_ESYNTAX);
}

// --- helpers ------------------------------------------------------------------------------------
static char *in(const char *dir, const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void put_version(const char *dir, const char *version, const char *model) {
    char path[512];
    mkdir(dir, 0755);
    snprintf(path, sizeof path, "%s/%s", dir, version);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/model.onnx", dir, version);
    put_model(path, model);
}

static struct pcr_repository *open_repository(const char *dir,
                                              const struct pcr_model_config *models, size_t n) {
    struct pcr_repository_options options = {
        .models_dir = dir, .models = models, .n_models = n, .intra_op_threads = 1};
    struct pcr_repository *repository;
    struct pacer_error err = {0};
    if (pcr_repository_open(&options, &repository, &err) < 0)
        fail_msg("%s", err.message);
    return repository;
}

// Another look under the options it was opened with, but for the configured models.
static int rescan_with(struct pcr_repository *r, const char *dir,
                       const struct pcr_model_config *models, size_t n, bool publish,
                       struct pacer_error *err) {
    struct pcr_repository_options options = {
        .models_dir = dir, .models = models, .n_models = n, .intra_op_threads = 1};
    struct pcr_repository *candidate;
    int code = pcr_repository_prepare(r, &options, &candidate, err);
    if (code == 0)
        (publish ? pcr_repository_publish : pcr_repository_discard)(r, candidate);
    return code;
}

static struct pcr_model *get(struct pcr_repository *r, const char *name, const char *version,
                             struct pacer_error *err) {
    return pcr_repository_get(r, pcr_str(name), pcr_str(version), err);
}

static float run_plus(const struct pcr_model *model) {
    float row[4] = {0};
    struct pacer_tensor input = {"X", PACER_FP32, 2, (int64_t[]){1, 4}, row};
    struct pacer_result *result;
    if (pacer_session_run(model->session, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL) <
        0)
        return -1;
    float y = *(const float *)pacer_result_tensor(result, 0)->data;
    pacer_result_destroy(result);
    return y;
}

static void expect_index(struct pcr_repository *r, const char *expected) {
    static const char *const states[] = {"LOADING", "READY", "UNLOADED", "FAILED"};
    struct pcr_arena arena;
    struct pcr_model_status *lines;
    size_t n;
    char text[2048] = "";
    pcr_arena_init(&arena, 1 << 20);
    assert_int_equal(pcr_repository_index(r, &arena, &lines, &n), 0);
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%s%s/%s %s%s", i ? ", " : "", lines[i].name,
                 lines[i].version, states[lines[i].state], *lines[i].reason ? "!" : "");
    }
    assert_string_equal(text, expected);
    pcr_arena_fini(&arena);
}

// --- what is found ------------------------------------------------------------------------------
static void both_layouts_are_served(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "flat.onnx"), "plus1.onnx");
    put_model(in(dir, "flat.int8.onnx"), "plus2.onnx");
    put_model(in(dir, "alone.int8.onnx"), "plus2.onnx");
    put_model(in(dir, ".hidden.onnx"), "plus1.onnx");
    put_file(in(dir, "weights.bin"), "x", 1);
    put_file(in(dir, "notes.txt"), "x", 1);
    put_version(in(dir, "deep"), "2", "plus1.onnx");
    put_version(in(dir, "deep"), "10", "plus2.onnx");
    put_version(in(dir, "deep"), "010", "plus2.onnx");
    put_version(in(dir, "deep"), "old", "plus2.onnx");
    put_version(in(dir, "flat2"), "7", "plus1.onnx");
    put_model(in(dir, "flat2.onnx"), "plus2.onnx"); // the directory has the name
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    expect_index(r, "alone.int8/1 READY, deep/2 READY, deep/10 READY, flat/1 READY, flat2/7 READY");
    assert_true(pcr_repository_ready(r));
    struct pcr_model *model = get(r, "deep", "", &err);
    assert_string_equal(model->version, "10"); // the highest as a number
    assert_true(run_plus(model) == 2);
    pcr_model_unref(model);
    model = get(r, "deep", "2", &err);
    assert_true(run_plus(model) == 1);
    assert_int_equal(strlen(model->content_hash), 16);
    pcr_model_unref(model);
    assert_null(get(r, "deep", "3", &err));
    assert_int_equal(err.code, PACER_ENOTFOUND);
    assert_string_equal(err.message, "Request for unknown model: 'deep' version 3 is not found");
    assert_null(get(r, "dee", "", &err));
    assert_string_equal(err.message, "Request for unknown model: 'dee' is not found");
    static const char *const names[] = {"",      "..",        "../flat", "deep/2",
                                        "deep2", "flat.int8", "weights"};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        assert_null(get(r, names[i], "", &err));
        assert_int_equal(err.code, PACER_ENOTFOUND);
        assert_int_equal(pcr_repository_load(r, pcr_str(names[i]), &err), PACER_ENOTFOUND);
    }
    pcr_repository_close(r);
    pcr_repository_close(NULL);
}

static void a_missing_directory_is_told(void **state) {
    (void)state;
    struct pcr_repository_options options = {
        .models_dir = "/no/such/dir", .models = NULL, .n_models = 0, .intra_op_threads = 1};
    struct pcr_repository *r;
    struct pacer_error err = {0};
    assert_int_equal(pcr_repository_open(&options, &r, &err), PACER_ENOTFOUND);
    assert_non_null(strstr(err.message, "/no/such/dir"));
    assert_null(r);
}

static void bad_models_do_not_keep_good_ones_from_serving(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "good.onnx"), "plus1.onnx");
    put_model(in(dir, "bad.onnx"), "truncated.onnx");
    struct pcr_model_config configs[] = {{.name = "absent"}};
    struct pcr_repository *r = open_repository(dir, configs, 1);
    expect_index(r, "absent/ FAILED!, bad/1 FAILED!, good/1 READY");
    assert_false(pcr_repository_ready(r));
    assert_null(get(r, "bad", "", &err));
    assert_int_equal(err.code, PACER_EBUSY);
    assert_non_null(strstr(err.message, "cut short"));
    struct pcr_model *model = get(r, "good", "", &err);
    assert_true(run_plus(model) == 1);
    pcr_model_unref(model);
    put_model(in(dir, "bad.onnx"), "plus2.onnx");
    put_model(in(dir, "absent.onnx"), "plus2.onnx");
    assert_int_equal(rescan_with(r, dir, configs, 1, true, &err), 0);
    expect_index(r, "absent/1 READY, bad/1 READY, good/1 READY");
    assert_true(pcr_repository_ready(r));
    pcr_repository_close(r);
}

static void configurations_are_honoured(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_version(in(dir, "batched"), "1", "plus1.onnx");
    put_file(in(dir, "batched/config.pbtxt"), "max_batch_size: 8 dynamic_batching {}", 37);
    put_version(in(dir, "latest"), "1", "plus1.onnx");
    put_version(in(dir, "latest"), "2", "plus2.onnx");
    put_file(in(dir, "latest/config.pbtxt"), "version_policy { latest { num_versions: 1 } }", 45);
    put_version(in(dir, "none"), "1", "plus1.onnx");
    put_file(in(dir, "none/config.pbtxt"), "version_policy { specific { versions: 9 } }", 43);
    put_version(in(dir, "wrong"), "1", "plus1.onnx");
    put_file(in(dir, "wrong/config.pbtxt"), "max_batch_size: x", 17);
    put_model(in(dir, "fixed.onnx"), "fixed_batch.onnx");
    put_model(in(dir, "free.onnx"), "plus1.onnx");
    put_model(in(dir, "two.onnx"), "plus1.onnx");
    put_model(in(dir, "two.int8.onnx"), "plus2.onnx");
    struct pcr_model_config configs[] = {
        {.name = "two", .use_quantized = true, .intra_op_threads = 2, .max_batch_size = 16},
        {.name = "fixed", .max_batch_size = 4}};
    struct pcr_repository *r = open_repository(dir, configs, 2);
    expect_index(r,
                 "batched/1 READY, fixed/1 FAILED!, free/1 READY, latest/2 READY, none/ FAILED!, "
                 "two/1 READY, wrong/1 FAILED!");
    struct pcr_model *model = get(r, "batched", "1", &err);
    assert_int_equal(model->max_batch_size, 8);
    assert_true(model->dynamic_batching);
    float rows[9 * 4] = {0};
    struct pacer_tensor input = {"X", PACER_FP32, 2, (int64_t[]){9, 4}, rows};
    assert_int_equal(pcr_model_check(model, &(struct pacer_run){&input, 1, NULL, 0}, &err),
                     PACER_EINVAL);
    assert_string_equal(err.message,
                        "inference request batch-size must be <= 8 for 'batched', got 9");
    input.shape = (int64_t[]){8, 4};
    assert_int_equal(pcr_model_check(model, &(struct pacer_run){&input, 1, NULL, 0}, &err), 0);
    pcr_model_unref(model);
    model = get(r, "two", "", &err);
    assert_int_equal(model->max_batch_size, 16);
    assert_true(run_plus(model) == 2); // the quantized variant
    pcr_model_unref(model);
    model = get(r, "free", "", &err);
    assert_true(model->max_batch_size > 1);
    assert_false(model->max_batch_size_is_set);
    pcr_model_unref(model);
    assert_null(get(r, "fixed", "", &err));
    assert_non_null(strstr(err.message, "max_batch_size is 4"));
    pcr_repository_close(r);
}

static void names_that_no_file_can_have_are_missing_and_no_more(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_model_config config = {.name = name};
    struct pcr_repository *r = open_repository(dir, &config, 1);
    for (int i = 0; i < 3; i++) // this once went on for ever
        assert_int_equal(rescan_with(r, dir, &config, 1, true, &err), 0);
    assert_null(get(r, name, "", &err));
    struct pcr_model *model = get(r, "m", "", &err);
    assert_true(run_plus(model) == 1);
    pcr_model_unref(model);
    pcr_repository_close(r);
}

static void only_regular_files_are_opened(void **state) {
    const char *dir = *state;
    make_dir(in(dir, "fifo"));
    make_dir(in(dir, "fifo/1"));
    put_model(in(dir, "fifo/1/model.onnx"), "plus1.onnx");
    assert_int_equal(mkfifo(in(dir, "fifo/config.pbtxt"), 0600), 0);
    make_dir(in(dir, "zero"));
    make_dir(in(dir, "zero/1"));
    put_model(in(dir, "zero/1/model.onnx"), "plus1.onnx");
    assert_int_equal(symlink("/dev/zero", in(dir, "zero/config.pbtxt")), 0);
    assert_int_equal(mkfifo(in(dir, "pipe.onnx"), 0600), 0);
    assert_int_equal(symlink("loop.onnx", in(dir, "loop.onnx")), 0);
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    expect_index(r, "fifo/1 FAILED!, zero/1 FAILED!");
    struct pacer_error err = {0};
    assert_null(get(r, "fifo", "", &err));
    assert_non_null(strstr(err.message, "config.pbtxt: not a regular file"));
    pcr_repository_close(r);
}

// --- change -------------------------------------------------------------------------------------
static void a_bad_new_file_never_replaces_a_good_model(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    put_model(in(dir, "m.onnx"), "truncated.onnx");
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), PACER_EMODEL);
    assert_non_null(strstr(err.message, "failed to load 'm'"));
    expect_index(r, "m/1 READY!");
    assert_true(pcr_repository_ready(r));
    struct pcr_model *model = get(r, "m", "", &err);
    assert_true(run_plus(model) == 1);
    put_model(in(dir, "m.onnx"), "plus2.onnx");
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), 0);
    expect_index(r, "m/1 READY");
    struct pcr_model *next = get(r, "m", "", &err);
    assert_true(run_plus(next) == 2);
    assert_true(run_plus(model) == 1); // whoever has the old one goes on with it
    pcr_model_unref(model);
    pcr_model_unref(next);
    pcr_repository_close(r);
}

static void what_did_not_change_stays(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    struct pcr_model_stats stats;
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    struct pcr_model *model = get(r, "m", "", &err);
    pcr_model_count(
        model, &(struct pcr_model_stats){.success_count = 3,
                                         .last_inference_ms = pcr_clock_mono_ns() / PCR_NS_PER_MS});
    assert_int_equal(rescan_with(r, dir, NULL, 0, true, &err), 0);
    struct pcr_model *again = get(r, "m", "", &err);
    assert_ptr_equal(model, again);
    pcr_model_stats(again, &stats);
    assert_int_equal(stats.success_count, 3);
    uint64_t real_ms = pcr_clock_real_ns() / PCR_NS_PER_MS;
    assert_true(stats.last_inference_ms <= real_ms + 2 &&
                stats.last_inference_ms + 10000 > real_ms);
    pcr_model_unref(model);
    pcr_model_unref(again);
    pcr_repository_close(r);
}

static void a_discarded_candidate_was_never_there(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    put_model(in(dir, "gone.onnx"), "plus1.onnx");
    put_model(in(dir, "off.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    assert_int_equal(pcr_repository_unload(r, PCR_STR("off"), &err), 0);
    struct pcr_model *model = get(r, "m", "", &err);
    put_model(in(dir, "m.onnx"), "plus2.onnx");
    put_model(in(dir, "new.onnx"), "plus1.onnx");
    assert_int_equal(unlink(in(dir, "gone.onnx")), 0);
    struct pcr_model_config configs[] = {{.name = "m", .max_batch_size = 4}, {.name = "absent"}};
    struct pcr_repository_options options = {
        .models_dir = dir, .models = configs, .n_models = 2, .intra_op_threads = 1};
    struct pcr_repository *candidate;
    assert_int_equal(pcr_repository_prepare(r, &options, &candidate, &err), 0);
    expect_index(candidate, "absent/ FAILED!, m/1 READY, new/1 READY, off/1 UNLOADED!");
    expect_index(r, "gone/1 READY, m/1 READY, off/1 UNLOADED!");
    assert_true(pcr_repository_unloaded(candidate, PCR_STR("off"), PCR_STR("")));
    assert_false(pcr_repository_unloaded(candidate, PCR_STR("off"), PCR_STR("2")));
    assert_false(pcr_repository_unloaded(candidate, PCR_STR("absent"), PCR_STR("")));
    pcr_repository_discard(r, candidate);
    expect_index(r, "gone/1 READY, m/1 READY, off/1 UNLOADED!");
    struct pcr_model *again = get(r, "m", "", &err);
    assert_ptr_equal(again, model);
    assert_true(run_plus(again) == 1);
    pcr_model_unref(again);
    pcr_model_unref(model);
    assert_int_equal(rescan_with(r, "/no/such/dir", NULL, 0, true, &err), PACER_ENOTFOUND);
    expect_index(r, "gone/1 READY, m/1 READY, off/1 UNLOADED!");
    assert_int_equal(rescan_with(r, dir, configs, 1, true, &err), 0);
    expect_index(r, "m/1 READY, new/1 READY, off/1 UNLOADED!");
    again = get(r, "m", "", &err);
    assert_true(run_plus(again) == 2);
    assert_int_equal(again->max_batch_size, 4);
    pcr_model_unref(again);
    pcr_repository_close(r);
}

static void unloading_lasts_until_loading(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    assert_int_equal(pcr_repository_unload(r, PCR_STR("n"), &err), PACER_ENOTFOUND);
    assert_int_equal(pcr_repository_unload(r, PCR_STR("m"), &err), 0);
    expect_index(r, "m/1 UNLOADED!");
    assert_null(get(r, "m", "", &err));
    assert_int_equal(err.code, PACER_EBUSY);
    assert_int_equal(rescan_with(r, dir, NULL, 0, true, &err), 0);
    expect_index(r, "m/1 UNLOADED!");
    assert_true(pcr_repository_ready(r)); // as asked
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), 0);
    expect_index(r, "m/1 READY");
    assert_int_equal(unlink(in(dir, "m.onnx")), 0);
    put_model(in(dir, "n.onnx"), "plus1.onnx");
    assert_int_equal(rescan_with(r, dir, NULL, 0, true, &err), 0);
    expect_index(r, "n/1 READY");
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), PACER_ENOTFOUND);
    pcr_repository_close(r);
}

static void a_model_that_is_unloaded_stays_so_with_a_new_version(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_version(in(dir, "m"), "1", "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    assert_int_equal(pcr_repository_unload(r, PCR_STR("m"), &err), 0);
    put_version(in(dir, "m"), "2", "plus2.onnx");
    assert_int_equal(rescan_with(r, dir, NULL, 0, true, &err), 0);
    expect_index(r, "m/1 UNLOADED!");
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), 0);
    expect_index(r, "m/1 READY, m/2 READY");
    pcr_repository_close(r);
}

static struct pcr_repository *prepare(struct pcr_repository *r,
                                      const struct pcr_repository_options *options) {
    struct pcr_repository *candidate;
    struct pacer_error err = {0};
    if (pcr_repository_prepare(r, options, &candidate, &err) < 0)
        fail_msg("%s", err.message);
    return candidate;
}

static void a_listed_repository_is_loaded_later(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "b.onnx"), "plus1.onnx");
    put_model(in(dir, "bad.onnx"), "truncated.onnx");
    put_version(in(dir, "a"), "10", "plus2.onnx");
    put_version(in(dir, "a"), "9", "plus1.onnx");
    struct pcr_model_config absent = {.name = "absent"};
    struct pcr_repository_options options = {.models_dir = dir, .models = &absent, .n_models = 1};
    struct pcr_repository *r;
    assert_int_equal(pcr_repository_list(&options, &r, &err), 0);
    expect_index(r, "a/9 LOADING, a/10 LOADING, b/1 LOADING, bad/1 LOADING");
    assert_false(pcr_repository_ready(r));
    assert_null(get(r, "b", "", &err));
    assert_int_equal(err.code, PACER_EBUSY);
    assert_string_equal(err.message, "model 'b' is still being loaded; try again");
    assert_null(get(r, "nobody", "", &err));
    assert_int_equal(err.code, PACER_ENOTFOUND);
    struct pcr_repository *candidate = prepare(r, &options);
    expect_index(r, "a/9 LOADING, a/10 LOADING, b/1 LOADING, bad/1 LOADING");
    assert_true(pcr_repository_differs(r, candidate));
    pcr_repository_publish(r, candidate);
    expect_index(r, "a/9 READY, a/10 READY, absent/ FAILED!, b/1 READY, bad/1 FAILED!");
    put_model(in(dir, "new.onnx"), "plus1.onnx"); // what was listed counts once
    candidate = prepare(r, &options);
    expect_index(candidate,
                 "a/9 READY, a/10 READY, absent/ FAILED!, b/1 READY, bad/1 FAILED!, new/1 READY");
    pcr_repository_discard(r, candidate);
    pcr_repository_close(r);
    options.models_dir = "/no/such/dir";
    assert_int_equal(pcr_repository_list(&options, &r, &err), PACER_ENOTFOUND);
    assert_null(r);
}

static void a_look_that_finds_the_same_differs_in_nothing(void **state) {
    const char *dir = *state;
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    struct pcr_repository_options options = {.models_dir = dir};
    struct pcr_repository *candidate = prepare(r, &options);
    assert_false(pcr_repository_differs(r, candidate));
    pcr_repository_discard(r, candidate);
    put_model(in(dir, "m.onnx"), "truncated.onnx");
    candidate = prepare(r, &options);
    assert_true(pcr_repository_differs(r, candidate)); // in what the index says of it
    pcr_repository_publish(r, candidate);
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    candidate = prepare(r, &options);
    assert_true(pcr_repository_differs(r, candidate));
    pcr_repository_discard(r, candidate);
    pcr_repository_close(r);
}

static bool only_second(void *ctx, const char *path) {
    ++*(int *)ctx;
    return strstr(path, "second") != NULL;
}

static void a_refused_file_is_tried_again_where_it_is_worth_it(void **state) {
    const char *dir = *state;
    put_model(in(dir, "first.onnx"), "truncated.onnx");
    put_model(in(dir, "good.onnx"), "plus1.onnx");
    put_model(in(dir, "second.onnx"), "plus1.onnx");
    struct pcr_repository *r = open_repository(dir, NULL, 0);
    put_model(in(dir, "second.onnx"), "truncated.onnx");
    assert_int_equal(rescan_with(r, dir, NULL, 0, true, NULL), 0);
    expect_index(r, "first/1 FAILED!, good/1 READY, second/1 READY!");
    for (int i = 0; i < 2; i++)
        put_model(in(dir, i ? "first.onnx" : "second.onnx"), "plus2.onnx");
    int asked = 0;
    struct pcr_repository_options options = {
        .models_dir = dir, .retry = only_second, .retry_ctx = &asked};
    pcr_repository_publish(r, prepare(r, &options));
    expect_index(r, "first/1 FAILED!, good/1 READY, second/1 READY");
    assert_int_equal(asked, 2); // of those that were refused
    assert_int_equal(pcr_repository_load(r, PCR_STR("first"), NULL), 0); // asked for by name
    pcr_repository_close(r);
}

static void nothing_is_loaded_any_more_at_the_end(void **state) {
    const char *dir = *state;
    struct pacer_error err = {0};
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    struct pcr_repository_options options = {.models_dir = dir};
    struct pcr_repository *r;
    struct pcr_repository *candidate;
    assert_int_equal(pcr_repository_list(&options, &r, &err), 0);
    pcr_infer_stop_loading(true);
    assert_int_equal(pcr_repository_prepare(r, &options, &candidate, &err), PACER_ECANCELED);
    assert_null(candidate);
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), PACER_ECANCELED);
    pcr_infer_stop_loading(false);
    assert_int_equal(pcr_repository_load(r, PCR_STR("m"), &err), 0);
    expect_index(r, "m/1 READY");
    pcr_repository_close(r);
}

// --- readers and writers at once ----------------------------------------------------------------
struct readers {
    struct pcr_repository *repository;
    _Atomic bool stop;
    _Atomic size_t wrong;
    _Atomic size_t got;
};

static void *read_all_the_time(void *arg) {
    struct readers *readers = arg;
    while (!atomic_load(&readers->stop)) {
        struct pcr_model *model = get(readers->repository, "m", "", NULL);
        if (!model) {
            atomic_fetch_add(&readers->wrong, 1);
            continue;
        }
        float y = run_plus(model);
        if (y != 1 && y != 2)
            atomic_fetch_add(&readers->wrong, 1);
        atomic_fetch_add(&readers->got, 1);
        pcr_model_unref(model);
    }
    return NULL;
}

static void readers_never_miss_a_model_that_is_replaced(void **state) {
    const char *dir = *state;
    put_model(in(dir, "m.onnx"), "plus1.onnx");
    put_model(in(dir, "other.onnx"), "plus1.onnx");
    struct readers readers = {.repository = open_repository(dir, NULL, 0)};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_all_the_time, &readers);
    for (int i = 0; i < 40; i++) {
        put_model(in(dir, "m.onnx"), i % 2 ? "plus1.onnx" : "plus2.onnx");
        assert_int_equal(pcr_repository_load(readers.repository, PCR_STR("m"), NULL), 0);
        assert_int_equal(pcr_repository_unload(readers.repository, PCR_STR("other"), NULL), 0);
        assert_int_equal(pcr_repository_load(readers.repository, PCR_STR("other"), NULL), 0);
    }
    while (atomic_load(&readers.got) < 100)
        usleep(1000);
    atomic_store(&readers.stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&readers.wrong), 0);
    pcr_repository_close(readers.repository);
}

int main(void) {
    pcr_log_configure(&(struct pcr_log_options){.level = (enum pcr_log_level)99});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_triton_configuration_is_read),
        cmocka_unit_test(broken_configurations_name_the_line),
        cmocka_unit_test_setup_teardown(both_layouts_are_served, make_temp_dir, remove_temp_dir),
        cmocka_unit_test(a_missing_directory_is_told),
        cmocka_unit_test_setup_teardown(bad_models_do_not_keep_good_ones_from_serving,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(configurations_are_honoured, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(names_that_no_file_can_have_are_missing_and_no_more,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(only_regular_files_are_opened, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_bad_new_file_never_replaces_a_good_model, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(what_did_not_change_stays, make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_discarded_candidate_was_never_there, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(unloading_lasts_until_loading, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_model_that_is_unloaded_stays_so_with_a_new_version,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_listed_repository_is_loaded_later, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_look_that_finds_the_same_differs_in_nothing,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(a_refused_file_is_tried_again_where_it_is_worth_it,
                                        make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(nothing_is_loaded_any_more_at_the_end, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(readers_never_miss_a_model_that_is_replaced, make_temp_dir,
                                        remove_temp_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
