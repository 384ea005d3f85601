// SPDX-License-Identifier: Apache-2.0
// Loading decisions: what can be found wrong before the first request,
// and what a decision says of itself.
#include "decide_fixture.h"

struct found {
    size_t n;
    int line[32];
    char text[32][512];
};

static void note(void *ctx, struct pcr_config_place at, const char *message) {
    struct found *found = ctx;
    if (found->n < 32) {
        found->line[found->n] = at.line;
        snprintf(found->text[found->n], sizeof found->text[0], "%s", message);
    }
    found->n++;
}

// Exactly one fault, on this line, with these words in it.
static void expect_fault(struct fixture *f, const struct pcr_config_decision *config, int line,
                         const char *words) {
    struct found found = {0};
    size_t n = pcr_decision_check(config, f->repository, note, &found);
    assert_int_equal(n, found.n);
    if (found.n != 1 || found.line[0] != line || !strstr(found.text[0], words)) {
        for (size_t i = 0; i < found.n && i < 32; i++)
            print_error("found: %d: %s\n", found.line[i], found.text[i]);
        fail_msg("expected the one fault: %d: %s", line, words);
    }
    struct pcr_decision *decision = NULL;
    struct pacer_error err = {0};
    assert_int_equal(pcr_decision_create(config, "pacer.yaml", f->repository, &decision, &err),
                     PACER_EINVAL);
    assert_null(decision);
    char place[32];
    snprintf(place, sizeof place, "pacer.yaml:%d:", line);
    assert_int_equal(strncmp(err.message, place, strlen(place)), 0);
    assert_non_null(strstr(err.message, words));
}

static void a_good_one_loads(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    struct found found = {0};
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 0);
    use(f, &config);
    assert_string_equal(pcr_decision_path(f->decision), "/trend");
    assert_string_equal(pcr_decision_contract_file(f->decision), config.contract);
    assert_non_null(pcr_decision_contract(f->decision));
}

static void factors_need_room_in_a_batch(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    struct pcr_model_config models[] = {{.name = "trend", .max_batch_size = 2}};
    struct pcr_repository_options options = {.models_dir = f->dir, .models = models, .n_models = 1};
    struct pcr_repository *roomy = f->repository;
    assert_int_equal(pcr_repository_open(&options, &f->repository, NULL), 0);
    expect_fault(f, &config, 5,
                 "factors need 3 rows at once, but max_batch_size of model 'trend' is 2; raise it "
                 "to 3, or set max_factors: 0");
    config.max_factors = 0;
    struct found found = {0};
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 0);
    pcr_repository_close(f->repository);
    f->repository = roomy;
}

static void faults_of_the_configuration(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.features[1].name = "up";
    expect_fault(f, &config, 12, "feature 'up' is listed twice");
    config = trend(f);
    config.n_features = 0;
    expect_fault(f, &config, 5, "features has 0 entries");
    config = trend(f);
    config.fallback_action = NULL;
    expect_fault(f, &config, 5, "no fallback_action");
    config = trend(f);
    config.min_confidence = 1.5;
    expect_fault(f, &config, 5, "expected 0 to 1");
    config = trend(f);
    config.contract = NULL;
    expect_fault(f, &config, 5, "no contract");
    config = trend(f);
    config.limits[0].min = 2000;
    expect_fault(f, &config, 31, "min 2000 is above max 1000");
    static const char *const fields[] = {"income",       "context", "context.",      "context..x",
                                         "features.upp", "user_id", "features.up.x", ""};
    for (size_t i = 0; i < PCR_COUNT_OF(fields); i++) {
        config = trend(f);
        config.limits[0].field = fields[i];
        expect_fault(f, &config, 31, "expected context.NAME");
    }
    config = trend(f);
    struct pcr_config_limit limits[2] = {
        {.name = "a", .field = "context.x", .times = 1, .line = 41},
        {.name = "b", .field = "context.x.y", .times = 1, .line = 42},
    };
    config.limits = limits;
    config.n_limits = 2;
    expect_fault(f, &config, 42, "to be a number");
    limits[1] = limits[0];
    limits[1].line = 42;
    expect_fault(f, &config, 42, "limit 'a' is listed twice");
}

static void faults_between_configuration_and_model(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "nosuch";
    config.model_at = (struct pcr_config_place){7, 12};
    expect_fault(f, &config, 7, "no model 'nosuch' in models_dir; expected nosuch.onnx");
    config.model = "trnd";
    expect_fault(f, &config, 7, "no model 'trnd'; did you mean 'trend'?");
    config = trend(f);
    config.actions[2].label = "stays";
    struct found found = {0};
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 2);
    assert_non_null(strstr(found.text[0], "a class 'stay' without an action"));
    assert_int_equal(found.line[1], 23);
    assert_non_null(strstr(found.text[1], "no class 'stays'; did you mean 'stay'?"));
    config = trend(f);
    config.model = "other";
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 2);
    config = trend(f);
    config.n_actions = 2;
    expect_fault(f, &config, 5, "write 'stay: ACTION' under actions");

    config = trend(f);
    config.features[0].name = "upp";
    found.n = 0;
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 3);
    assert_int_equal(found.line[0], 11);
    assert_non_null(strstr(found.text[0], "no feature 'upp'; did you mean 'up'?"));
    assert_non_null(strstr(found.text[1], "needs the feature 'up'"));
    assert_non_null(strstr(found.text[2], "feature 'upp' has no baseline"));
    config = trend(f);
    config.n_features = 1;
    expect_fault(f, &config, 5, "takes 2 features, but the decision lists 1");
}

static void faults_of_the_model(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    struct found found = {0};
    config.model = "bare"; // no metadata
    assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 2);
    assert_non_null(strstr(found.text[0], "write '{name: up, baseline: NUMBER}' under features"));
    assert_int_equal(found.line[1], 12);
    for (size_t i = 0; i < 2; i++)
        config.features[i].has_baseline = true;
    use(f, &config); // with baselines it serves; its classes are in its graph
    config.n_actions = 2;
    expect_fault(f, &config, 5, "a class 'stay' without an action");

    config = trend(f);
    config.model = "garbled";
    found.n = 0;
    assert_true(pcr_decision_check(&config, f->repository, note, &found) >= 1);
    assert_non_null(strstr(found.text[0], "pacer.classes"));
    config = trend(f);
    config.model = "single";
    expect_fault(f, &config, 5, "takes batches of 1 rows only");
    config = trend(f);
    config.model = "counts";
    config.features[0].has_baseline = true;
    config.features[0].baseline = 0.5;
    expect_fault(f, &config, 11, "which is no INT64");
    config = echo(f);
    config.features[0].baseline = 7;
    expect_fault(f, &config, 5, "not a probability");
    config = echo(f);
    config.model = "nan";
    config.features[0].baseline = 0;
    expect_fault(f, &config, 5, "cannot answer an example");
    config = echo(f);
    static const char *classes[] = {"rise", "fall", "stay"};
    config.classes = classes;
    config.n_classes = config.n_actions = 3; // echo has two columns, which its shape does not say
    expect_fault(f, &config, 5, "a column for each class");
}

// The order in which actions are written says nothing.
static void classes_come_from_the_model(void **state) {
    struct fixture *f = *state;
    static const char *const models[] = {"order", "encoded", "looked_up"};
    for (size_t i = 0; i < PCR_COUNT_OF(models); i++) {
        struct pcr_config_decision config = trend(f);
        config.model = models[i];
        config.min_confidence = 0;
        for (size_t k = 0; k < 2; k++) {
            config.features[k].has_baseline = true;
            config.features[k].baseline = 0;
        }
        use(f, &config);
        assert_string_equal( // the first column is stay, whose score is up
            text_at(ask_features(f, 200, "{\"up\":9,\"down\":0}"), "/action"), "keep");
        assert_string_equal(text_at(ask_features(f, 200, "{\"up\":0,\"down\":9}"), "/action"),
                            "sell");
        assert_string_equal(text_at(ask_features(f, 200, "{\"up\":-9,\"down\":-9}"), "/action"),
                            "buy");
        config.actions[2].label = "rises";
        config.actions[0].label = "stay";
        struct found found = {0};
        assert_int_equal(pcr_decision_check(&config, f->repository, note, &found), 2);
        assert_non_null(strstr(found.text[0], "a class 'rise' without an action"));
        assert_non_null(strstr(found.text[1], "no class 'rises'; did you mean 'rise'?"));
    }
}

static void classes_that_nobody_knows_are_asked_for(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    for (size_t k = 0; k < 2; k++) {
        config.features[k].has_baseline = true;
        config.features[k].baseline = (double)k; // the second class is the likeliest
    }
    config.model = "double";
    expect_fault(f, &config, 5, "write classes: [NAME, NAME] in the order of its columns");
    config.model = "labelled";
    expect_fault(f, &config, 5, "write classes: [NAME, NAME] in the order of its columns");
    static const char *right[] = {"stay", "fall", "rise"}, *wrong[] = {"stay", "rise", "fall"};
    config.n_classes = 3;
    config.classes = right;
    use(f, &config);
    config.classes = wrong;
    expect_fault(f, &config, 5, "but the model's own output 'label' says 'fall'");
    config.classes = right;
    config.n_classes = config.n_actions = 2;
    config.actions[0].label = "stay";
    expect_fault(f, &config, 5, "has 3 classes, but 2 are named by classes");
}

static void namings_must_agree(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    static const char *classes[] = {"rise", "stay", "fall"}, *twice[] = {"rise", "rise", "fall"};
    config.model = "contrary";
    expect_fault(
        f, &config, 5,
        "column 0 is 'rise' by its metadata entry pacer.classes, but 'stay' by the labels");
    config = trend(f);
    config.classes = classes;
    config.n_classes = 3;
    config.model = "bare";
    for (size_t k = 0; k < 2; k++)
        config.features[k].has_baseline = true;
    expect_fault(f, &config, 5, "column 1 is 'stay' by classes, but 'fall' by the labels");
    config.model = "double";
    config.classes = twice;
    expect_fault(f, &config, 5, "the class 'rise' is there twice by classes");
}

static void a_regressor_decides_nothing(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "reg";
    expect_fault(f, &config, 5, "gives one number per row ('variable'), not probabilities");
}

static void faults_of_the_contract(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.contract = in_dir(f, "missing.json");
    expect_fault(f, &config, 5, "missing.json");
    config.contract = contract_file(f, "broken.json", "{\"type\":");
    expect_fault(f, &config, 5, "broken.json");
    config.contract = contract_file(f, "no-schema.json", "{\"type\":17}");
    expect_fault(f, &config, 5, "no-schema.json");
    // No answer has a member of that name.
    config.contract = contract_file(f, "never.json", "{\"required\":[\"advice\"]}");
    expect_fault(f, &config, 5, "the answer to an example");
    // The example falls back to wait; only the markets' rise would show that buy is missing.
    config.contract = contract_file(
        f, "enum.json", "{\"properties\":{\"action\":{\"enum\":[\"sell\",\"keep\",\"wait\"]}}}");
    expect_fault(f, &config, 5, "no answer with action 'buy' can satisfy it");
    config.contract = contract_file(
        f, "sure.json", "{\"properties\":{\"action\":{\"enum\":[\"buy\",\"sell\",\"keep\"]}}}");
    config.min_confidence = 0.3; // the example is surer than that
    expect_fault(f, &config, 5, "no answer with fallback_action 'wait' can satisfy it");
    config.contract =
        contract_file(f, "example.json", "{\"type\":\"object\",\"examples\":[\"text\"]}");
    expect_fault(f, &config, 5, "its own example does not satisfy it");
}

// --- what a decision says of itself -------------------------------------------------------------

static char *written(const struct pcr_decision *decision,
                     void (*write)(const struct pcr_decision *, struct pcr_json_writer *)) {
    struct pcr_buf buf;
    struct pcr_json_writer w;
    pcr_buf_init(&buf, 1u << 20);
    pcr_json_writer_init(&w, &buf);
    write(decision, &w);
    assert_false(buf.failed);
    return buf.data;
}

static void the_example_request_works_and_fits_its_schema(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    struct pcr_config_limit limits[] = {
        {.name = "a", .field = "context.person.income", .times = 0.5, .has_max = true, .max = 10},
        {.name = "b", .field = "context.person.age", .times = 2, .has_min = true, .min = 5},
        {.name = "c", .field = "context.person-id", .times = 1},
        {.name = "d", .field = "features.up", .times = 1},
        {.name = "e", .field = "context.person.income", .times = 1},
        {.name = "f", .field = "context.a.b.c", .times = 0},
    };
    config.limits = limits;
    config.n_limits = PCR_COUNT_OF(limits);
    use(f, &config);
    char *schema = written(f->decision, pcr_decision_request_schema);
    char *example = written(f->decision, pcr_decision_request_example);
    assert_string_equal(example, "{\"user_id\":\"u-17\",\"features\":{\"up\":0.0,\"down\":0.0},"
                                 "\"context\":{\"a\":{\"b\":{\"c\":100.0}},\"person-id\":100.0,"
                                 "\"person\":{\"age\":5.0,\"income\":10.0}}}");
    struct pacer_contract *contract;
    struct pacer_error err = {0};
    if (pacer_contract_parse(schema, strlen(schema), NULL, &contract, &err) < 0)
        fail_msg("%s", err.message);
    if (pacer_contract_check(contract, example, strlen(example), NULL, NULL, &err) < 0)
        fail_msg("%s", err.message);
    ask(f, 200, example);
    // What the schema refuses, the decision refuses, and the other way round.
    static const char *const refused[] = {
        "{}",
        "{\"user_id\":\"\",\"features\":{\"up\":0,\"down\":0},\"context\":{\"a\":{\"b\":{\"c\":1}},"
        "\"person\":{\"age\":5,\"income\":10},\"person-id\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":0},\"context\":{\"a\":{\"b\":{\"c\":1}},"
        "\"person\":{\"age\":5,\"income\":10},\"person-id\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":0,\"down\":0},\"context\":{\"a\":{\"b\":{}},"
        "\"person\":{\"age\":5,\"income\":10},\"person-id\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":0,\"down\":0},\"context\":{\"a\":{\"b\":{\"c\":1}}"
        ","
        "\"person\":{\"age\":5,\"income\":10},\"person-id\":1},\"more\":1}",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(refused); i++) {
        ask(f, 400, refused[i]);
        assert_int_equal(
            pacer_contract_check(contract, refused[i], strlen(refused[i]), NULL, NULL, &err),
            PACER_ECONTRACT);
    }
    pacer_contract_destroy(contract);
    free(schema);
    free(example);
}

static void without_limits_no_context_is_needed(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.n_limits = 0;
    config.model = "counts";
    use(f, &config);
    ask(f, 200, "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":0}}");
    ask(f, 200, "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":0},\"context\":{\"x\":[]}}");
    char *schema = written(f->decision, pcr_decision_request_schema);
    assert_non_null(strstr(schema, "\"required\":[\"user_id\",\"features\"]"));
    assert_non_null(strstr(schema, "\"type\":\"integer\""));
    free(schema);
}

static void the_example_answer_satisfies_the_contract(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    char *answer = written(f->decision, pcr_decision_answer_example);
    assert_non_null(
        strstr(answer, "\"action\":\"wait\"")); // at its baselines the model is not sure
    assert_int_equal(pacer_contract_check(pcr_decision_contract(f->decision), answer,
                                          strlen(answer), NULL, NULL, NULL),
                     0);
    free(answer);
    config.contract = contract_file(f, "own.json", "{\"examples\":[{\"id\":\"mine\"}]}");
    use(f, &config);
    answer = written(f->decision, pcr_decision_answer_example);
    assert_string_equal(answer, "{\"id\":\"mine\"}");
    free(answer);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_good_one_loads),
        TEST(factors_need_room_in_a_batch),
        TEST(faults_of_the_configuration),
        TEST(faults_between_configuration_and_model),
        TEST(faults_of_the_model),
        TEST(classes_come_from_the_model),
        TEST(classes_that_nobody_knows_are_asked_for),
        TEST(namings_must_agree),
        TEST(a_regressor_decides_nothing),
        TEST(faults_of_the_contract),
        TEST(the_example_request_works_and_fits_its_schema),
        TEST(without_limits_no_context_is_needed),
        TEST(the_example_answer_satisfies_the_contract),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
