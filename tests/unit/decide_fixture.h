// SPDX-License-Identifier: Apache-2.0
// What the tests of decisions share: a repository with copies of the models of tests/data/decide in
// a folder of its own, a loop, an engine, configurations to start from, and a way to ask.
#ifndef PCR_DECIDE_FIXTURE_H
#define PCR_DECIDE_FIXTURE_H

#include "test.h"

#include "decide/decide.h"

#include <pacer/contract.h>
#include <stdlib.h>
#include <unistd.h>

#define assert_close(a, b) assert_float_equal((float)(a), (float)(b), 1e-6f)

struct fixture {
    char dir[64];
    struct pcr_repository *repository;
    struct pcr_loop *loop;
    struct pcr_engine *engine;
    struct pcr_decision *decision;
    struct pcr_config_feature features[2];
    struct pcr_config_action actions[3];
    struct pcr_config_limit limits[1];
    struct pcr_arena texts;
    const char *id;
    size_t arena_bytes;
    uint64_t deadline_ns;
    struct pcr_arena arena; // of the last request
    bool done;
    int status;
    char *answer; // of the last request, NUL-terminated
    yyjson_doc *doc;
};

static const char *in_dir(struct fixture *f, const char *name) {
    return pcr_arena_printf(&f->texts, "%s/%s", f->dir, name);
}

static const char *contract_file(struct fixture *f, const char *name, const char *schema) {
    const char *path = in_dir(f, name);
    assert_int_equal(pcr_file_write(path, pcr_str(schema), NULL), 0);
    return path;
}

// Copies the model `from` to the file of model `to`. A version above 0 makes its bytes, and so its
// hash, its own: the number goes into the model's description (field 6 of the ONNX file; the last
// one counts).
static void copy_model(struct fixture *f, const char *from, const char *to, int version) {
    const char *root = getenv("PACER_SOURCE_ROOT");
    assert_non_null(root);
    struct pcr_buf buf;
    struct pacer_error err;
    pcr_buf_init(&buf, 1u << 20);
    const char *path =
        pcr_arena_printf(&f->texts, "%s/tests/data/decide/models/%s.onnx", root, from);
    assert_int_equal(pcr_file_read(path, &buf, &err), 0);
    if (version > 0)
        pcr_buf_printf(&buf, "\x32%c%08d", 8, version);
    path = pcr_arena_printf(&f->texts, "%s/%s.onnx", f->dir, to);
    assert_int_equal(pcr_file_write(path, pcr_buf_view(&buf), &err), 0);
    pcr_buf_fini(&buf);
}

__attribute__((unused)) static void replace_model(struct fixture *f, const char *from,
                                                  const char *to, int version) {
    struct pacer_error err = {0};
    copy_model(f, from, to, version);
    if (pcr_repository_load(f->repository, pcr_str(to), &err) < 0)
        fail_msg("%s", err.message);
}

static const char *const fixture_models[] = {
    "trend", "turned", "other", "bare",    "garbled",   "single",   "counts",   "double", "echo",
    "nan",   "dear",   "order", "encoded", "looked_up", "labelled", "contrary", "reg"};

static int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct pacer_error err = {0};
    assert_non_null(f);
    pcr_log_configure(&(struct pcr_log_options){.level = PCR_LOG_ERROR + 1});
    snprintf(f->dir, sizeof f->dir, "%s", "/tmp/pacer-decide-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    pcr_arena_init(&f->texts, 1u << 20);
    for (size_t i = 0; i < PCR_COUNT_OF(fixture_models); i++)
        copy_model(f, fixture_models[i], fixture_models[i], 0);
    struct pcr_model_config config = {.name = "dear", .queue_max = 16};
    struct pcr_repository_options options = {
        .models_dir = f->dir, .models = &config, .n_models = 1};
    if (pcr_repository_open(&options, &f->repository, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(pcr_loop_create(&f->loop, &err), 0);
    assert_int_equal(pcr_engine_create(1, 16, &f->engine, &err), 0);
    f->id = "req-1";
    f->arena_bytes = 8u << 20;
    *state = f;
    return 0;
}

static void forget_answer(struct fixture *f) {
    yyjson_doc_free(f->doc);
    f->doc = NULL;
    free(f->answer);
    f->answer = NULL;
}

static int fixture_teardown(void **state) {
    struct fixture *f = *state;
    forget_answer(f);
    pcr_decision_destroy(f->decision);
    pcr_engine_destroy(f->engine);
    pcr_loop_destroy(f->loop);
    pcr_repository_close(f->repository);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", f->dir);
    int rc = system(command);
    pcr_arena_fini(&f->texts);
    free(f);
    return rc;
}

// A decision over the model trend.
static struct pcr_config_decision trend(struct fixture *f) {
    f->features[0] = (struct pcr_config_feature){.name = "up", .line = 11};
    f->features[1] = (struct pcr_config_feature){.name = "down", .line = 12};
    f->actions[0] = (struct pcr_config_action){"rise", "buy", 21};
    f->actions[1] = (struct pcr_config_action){"fall", "sell", 22};
    f->actions[2] = (struct pcr_config_action){"stay", "keep", 23};
    f->limits[0] = (struct pcr_config_limit){.name = "amount",
                                             .field = "context.income",
                                             .times = 0.25,
                                             .has_min = true,
                                             .has_max = true,
                                             .max = 1000,
                                             .line = 31};
    return (struct pcr_config_decision){
        .path = "/trend",
        .model = "trend",
        .features = f->features,
        .n_features = 2,
        .actions = f->actions,
        .n_actions = 3,
        .min_confidence = 0.5,
        .fallback_action = "wait",
        .limits = f->limits,
        .n_limits = 1,
        .contract = contract_file(f, "any.json", "{\"type\":\"object\"}"),
        .max_factors = 3,
        .line = 5,
    };
}

// A decision over the model echo, whose probabilities of rise and fall are what the features say.
__attribute__((unused)) static struct pcr_config_decision echo(struct fixture *f) {
    struct pcr_config_decision config = trend(f);
    config.model = "echo";
    config.n_actions = 2;
    static const char *classes[] = {"rise", "fall"};
    config.classes = classes;
    config.n_classes = 2;
    for (size_t i = 0; i < 2; i++) {
        config.features[i].has_baseline = true;
        config.features[i].baseline = 0.5;
    }
    return config;
}

static void use(struct fixture *f, const struct pcr_config_decision *config) {
    struct pacer_error err = {0};
    pcr_decision_destroy(f->decision);
    if (pcr_decision_create(config, "pacer.yaml", f->repository, &f->decision, &err) < 0)
        fail_msg("%s", err.message);
}

static void on_done(struct pcr_decide_call *call) {
    struct fixture *f = call->user;
    assert_false(f->done);
    f->done = true;
    f->status = call->status;
    pcr_loop_stop(f->loop);
}

// Sends a body and returns the status.
static int submit(struct fixture *f, const char *body) {
    forget_answer(f);
    pcr_arena_init(&f->arena, f->arena_bytes);
    struct pcr_decide_call call = {
        .decision = f->decision,
        .body = pcr_str(body),
        .id = pcr_str(f->id),
        .arena = &f->arena,
        .loop = f->loop,
        .engine = f->engine,
        .repository = f->repository,
        .done = on_done,
        .user = f,
        .deadline_ns = f->deadline_ns,
    };
    f->done = false;
    pcr_decide(&call);
    while (!f->done) // a stop from an earlier request that was done at once may still be there
        pcr_loop_run(f->loop);
    f->answer = strndup(call.answer.ptr, call.answer.len);
    pcr_arena_fini(&f->arena);
    assert_non_null(f->answer);
    return f->status;
}

// Sends a body, expects the status, and returns the parsed answer.
static yyjson_val *ask(struct fixture *f, int status, const char *body) {
    if (submit(f, body) != status)
        fail_msg("expected %d, got %d: %s", status, f->status, f->answer);
    f->doc = yyjson_read(f->answer, strlen(f->answer), 0);
    if (!f->doc)
        fail_msg("not JSON: %s", f->answer);
    return yyjson_doc_get_root(f->doc);
}

__attribute__((unused)) static yyjson_val *ask_features(struct fixture *f, int status,
                                                        const char *features) {
    char body[2048];
    snprintf(body, sizeof body,
             "{\"user_id\":\"u-1\",\"features\":%s,\"context\":{\"income\":100}}", features);
    return ask(f, status, body);
}

static yyjson_val *value_at(yyjson_val *root, const char *pointer) {
    yyjson_val *value = yyjson_ptr_get(root, pointer);
    if (!value)
        fail_msg("there is no %s", pointer);
    return value;
}

__attribute__((unused)) static const char *text_at(yyjson_val *root, const char *pointer) {
    const char *text = yyjson_get_str(value_at(root, pointer));
    assert_non_null(text);
    return text;
}

__attribute__((unused)) static double number_at(yyjson_val *root, const char *pointer) {
    yyjson_val *value = value_at(root, pointer);
    assert_true(yyjson_is_num(value));
    return yyjson_get_num(value);
}

__attribute__((unused)) static size_t size_at(yyjson_val *root, const char *pointer) {
    return yyjson_arr_size(value_at(root, pointer));
}

#endif
