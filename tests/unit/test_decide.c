// SPDX-License-Identifier: Apache-2.0
// Requests and answers: from a body to a status and a body.
// The models are those of tests/data/decide.
//
// The classifier called trend has scores (up, down, 0) for rise, fall and stay, then softmax, and
// both baselines are 0: with up = u and down = d, the probability of rise is e^u / (e^u + e^d + 1),
// which the tests work out themselves.
#include "decide_fixture.h"

#include <math.h>

static double rise(double up, double down) {
    return exp(up) / (exp(up) + exp(down) + 1);
}

// --- the answer ---------------------------------------------------------------------------------

static void an_answer_has_all_its_parts(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    yyjson_val *answer = ask(f, 200,
                             "{\"user_id\":\"u-17\",\"features\":{\"up\":2,\"down\":1},"
                             "\"context\":{\"income\":900}}");
    assert_string_equal(text_at(answer, "/id"), "req-1");
    assert_string_equal(text_at(answer, "/action"), "buy");
    assert_close(number_at(answer, "/confidence"), rise(2, 1));
    assert_string_equal(text_at(answer, "/reason/source"), "template");
    assert_int_equal(size_at(answer, "/reason/factors"), 2);
    assert_string_equal(text_at(answer, "/reason/factors/0/feature"), "up");
    assert_close(number_at(answer, "/reason/factors/0/value"), 2);
    assert_close(number_at(answer, "/reason/factors/0/effect"), rise(2, 1) - rise(0, 1));
    assert_string_equal(text_at(answer, "/reason/factors/1/feature"), "down");
    assert_close(number_at(answer, "/reason/factors/1/effect"), rise(2, 1) - rise(2, 0));
    assert_true(number_at(answer, "/reason/factors/1/effect") < 0);
    assert_close(number_at(answer, "/limits/amount"), 225);
    assert_string_equal(text_at(answer, "/model/name"), "trend");
    assert_int_equal(strlen(text_at(answer, "/model/version")), 16);
    assert_int_equal(yyjson_obj_size(answer), 6);
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.answered, 1);
    assert_int_equal(stats.fallbacks + stats.bad_requests + stats.failures, 0);
}

static void the_order_of_members_does_not_matter(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    ask(f, 200,
        "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},\"context\":{\"income\":1}}");
    char first[2048];
    snprintf(first, sizeof first, "%s", f->answer);
    ask(f, 200,
        "{\"context\":{\"income\":1},\"features\":{\"down\":1,\"up\":2},\"user_id\":\"u\"}");
    assert_string_equal(first, f->answer);
}

static void columns_follow_the_model_and_not_the_configuration(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "turned"; // rows are (down, up); baselines are down 2, up 1
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
    assert_string_equal(text_at(answer, "/action"), "buy");
    assert_close(number_at(answer, "/confidence"), rise(3, 0.5));
    assert_string_equal(text_at(answer, "/reason/factors/0/feature"), "up");
    assert_close(number_at(answer, "/reason/factors/0/effect"), rise(3, 0.5) - rise(1, 0.5));
    assert_close(number_at(answer, "/reason/factors/1/effect"), rise(3, 0.5) - rise(3, 2));
}

static void baselines_of_the_configuration_come_first(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.features[0].has_baseline = true;
    config.features[0].baseline = 1.5;
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":2,\"down\":0}");
    assert_int_equal(size_at(answer, "/reason/factors"), 1); // down is at its baseline
    assert_close(number_at(answer, "/reason/factors/0/effect"), rise(2, 0) - rise(1.5, 0));
}

static void models_of_other_types_serve_as_well(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "counts";
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":2,\"down\":1.0}");
    assert_close(number_at(answer, "/confidence"), rise(2, 1));
    answer = ask_features(f, 400, "{\"up\":2.5,\"down\":1}");
    assert_string_equal(text_at(answer, "/faults/0/expected"), "a whole number");
    ask_features(f, 422, "{\"up\":1e17,\"down\":1}");

    config = trend(f);
    config.model = "double";
    static const char *classes[] = {"rise", "fall", "stay"};
    config.classes = classes;
    config.n_classes = 3;
    for (size_t i = 0; i < 2; i++)
        config.features[i].has_baseline = true;
    use(f, &config);
    answer = ask_features(f, 200, "{\"up\":2,\"down\":1}");
    assert_close(number_at(answer, "/confidence"), rise(2, 1));
    ask_features(f, 200, "{\"up\":-1e300,\"down\":1}"); // a double may be that large
}

static void ties_go_to_the_first_class(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.min_confidence = 0.2;
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":0,\"down\":0}");
    assert_string_equal(text_at(answer, "/action"), "buy");
    assert_close(number_at(answer, "/confidence"), 1.0 / 3);
    assert_int_equal(size_at(answer, "/reason/factors"), 0);
    assert_non_null(strstr(text_at(answer, "/reason/summary"), "No single value moves it much."));
}

static void below_the_threshold_it_falls_back_and_says_so(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":0,\"down\":0.5}");
    assert_string_equal(text_at(answer, "/action"), "wait");
    const char *summary = text_at(answer, "/reason/summary");
    assert_non_null(strstr(summary,
                           "Wait, to be safe: the model leans towards fall but is only 45% "
                           "sure, and 50% is needed"));
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.fallbacks, 1);
    assert_int_equal(stats.answered, 1);
}

// A confidence that equals the threshold as float32 is enough, although 0.7f is below 0.7.
static void the_threshold_itself_is_enough(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = echo(f);
    config.min_confidence = 0.7;
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":0.7,\"down\":0.2}");
    assert_string_equal(text_at(answer, "/action"), "buy");
    assert_non_null(strstr(f->answer, "\"confidence\":0.7,"));
    answer = ask_features(f, 200, "{\"up\":0.6999,\"down\":0.2}");
    assert_string_equal(text_at(answer, "/action"), "wait");
    assert_non_null(strstr(text_at(answer, "/reason/summary"), "only 69% sure, and 70% is"));
}

static void the_summary_reads_well(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.features[0].label = "the upward pull";
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":2,\"down\":1}");
    assert_string_equal(
        text_at(answer, "/reason/summary"),
        "Buy: the model sees rise (67% sure), mainly because the upward pull (2) is "
        "above its usual 0. Against it: down (1) is above its usual 0.");
    answer = ask_features(f, 200, "{\"up\":12345.678,\"down\":0}");
    assert_non_null(strstr(text_at(answer, "/reason/summary"), "(100% sure)"));
    assert_non_null(strstr(text_at(answer, "/reason/summary"), "pull (12346) is above"));
    answer = ask_features(f, 200, "{\"up\":8,\"down\":0}");
    assert_non_null(strstr(text_at(answer, "/reason/summary"), "(more than 99% sure)"));
}

static void the_strongest_factors_come_first_and_only_so_many(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.max_factors = 1;
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":0.5,\"down\":-3}");
    assert_int_equal(size_at(answer, "/reason/factors"), 1);
    assert_string_equal(text_at(answer, "/reason/factors/0/feature"), "down");
    config.max_factors = 0;
    config.model = "single"; // takes one row only, which is enough for no factors
    use(f, &config);
    answer = ask_features(f, 200, "{\"up\":2,\"down\":1}");
    assert_int_equal(size_at(answer, "/reason/factors"), 0);
    assert_close(number_at(answer, "/confidence"), rise(2, 1));
}

static void text_of_the_client_comes_back_unharmed(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    f->id = "\xc3\xa9\xe6\x97\xa5\"\\\n";
    yyjson_val *answer = ask_features(f, 200, "{\"up\":2,\"down\":1}");
    assert_string_equal(text_at(answer, "/id"), f->id);
    answer = ask_features(f, 400,
                          "{\"up\":2,\"down\":1,\"\xe6\x97\xa5/~\\u0001\":\"\xf0\x9f\x98\x80\"}");
    assert_string_equal(text_at(answer, "/faults/0/pointer"), "/features/\xe6\x97\xa5~1~0\x01");
    assert_non_null(strstr(text_at(answer, "/faults/0/got"), "\xf0\x9f\x98\x80"));
}

// --- limits -------------------------------------------------------------------------------------

static void limits_are_computed_and_clamped(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    static const struct {
        const char *income, *amount;
    } cases[] = {
        {"900", "225"},   {"4000", "1000"}, {"4000.01", "1000"}, {"1e300", "1000"},
        {"-50", "0"},     {"-0.0", "0"},    {"0", "0"},          {"1.2", "0.3"},
        {"0.1", "0.025"}, {"1e-300", "0"},  {"33.33", "8.3325"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char body[256];
        snprintf(
            body, sizeof body,
            "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},\"context\":{\"income\":%s}}",
            cases[i].income);
        yyjson_val *answer = ask(f, 200, body);
        assert_true(number_at(answer, "/limits/amount") == strtod(cases[i].amount, NULL));
    }
}

static void limits_reach_into_context_and_features(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    struct pcr_config_limit limits[] = {
        {.name = "deep", .field = "context.person.income", .times = 0.1},
        {.name = "again", .field = "context.person.income", .times = 1e300},
        {.name = "pull", .field = "features.up", .times = 3},
    };
    config.limits = limits;
    config.n_limits = 3;
    use(f, &config);
    yyjson_val *answer = ask(f, 200,
                             "{\"user_id\":\"u\",\"features\":{\"up\":0.1,\"down\":1},"
                             "\"context\":{\"person\":{\"income\":3},\"other\":[1]}}");
    assert_non_null(strstr(f->answer, "\"deep\":0.3,"));
    assert_non_null(strstr(f->answer, "\"pull\":0.3}"));
    assert_close(number_at(answer, "/limits/again") / 1e300, 3);
    answer = ask(f, 422,
                 "{\"user_id\":\"u\",\"features\":{\"up\":0.1,\"down\":1},"
                 "\"context\":{\"person\":{\"income\":1e10}}}");
    assert_int_equal(size_at(answer, "/faults"), 1);
    assert_string_equal(text_at(answer, "/faults/0/pointer"), "/context/person/income");
    answer = ask(f, 400,
                 "{\"user_id\":\"u\",\"features\":{\"up\":0.1,\"down\":1},"
                 "\"context\":{\"person\":7}}");
    assert_string_equal(text_at(answer, "/faults/0/pointer"), "/context/person");
    assert_string_equal(text_at(answer, "/faults/0/expected"), "an object");
    answer = ask(f, 400, "{\"user_id\":\"u\",\"features\":{\"up\":0.1,\"down\":1}}");
    assert_int_equal(size_at(answer, "/faults"), 1); // said once, though two limits need it
    assert_string_equal(text_at(answer, "/faults/0/pointer"), "/context/person/income");
    assert_string_equal(text_at(answer, "/faults/0/got"), "nothing");
}

// --- bad requests -------------------------------------------------------------------------------

static void every_fault_is_listed_at_once(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    yyjson_val *answer = ask(f, 400,
                             "{\"user_id\":17,\"features\":{\"up\":\"x\",\"dwon\":1},"
                             "\"context\":{\"income\":null},\"featurs\":{}}");
    static const char *const faults[][3] = {
        {"/user_id", "a string of 1 to 128 characters", "the number 17"},
        {"/features/up", "a finite number", "the string \"x\""},
        {"/features/dwon", "no member of this name; did you mean \"down\"?", "the number 1"},
        {"/features/down", "a finite number", "nothing"},
        {"/context/income", "a finite number", "null"},
        {"/featurs", "no member of this name; did you mean \"features\"?", NULL},
    };
    assert_int_equal(size_at(answer, "/faults"), PCR_COUNT_OF(faults));
    for (size_t i = 0; i < PCR_COUNT_OF(faults); i++) {
        static const char *const members[] = {"pointer", "expected", "got"};
        for (size_t j = 0; j < 3; j++) {
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/faults/%zu/%s", i, members[j]);
            if (faults[i][j])
                assert_string_equal(text_at(answer, pointer), faults[i][j]);
        }
    }
    assert_string_equal(text_at(answer, "/error"), "the request has 6 faults");
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.bad_requests, 1);
    assert_int_equal(stats.answered + stats.failures, 0);
}

static void bodies_that_are_no_request(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    static const char *const bodies[] = {
        "",
        " ",
        "{",
        "nonsense",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{}",
        "{\"user_id\":\"u\"}",
        "{\"user_id\":\"u\",\"features\":{\"up\":NaN,\"down\":1},\"context\":{\"income\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":1e999,\"down\":1},\"context\":{\"income\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":-Infinity,\"down\":1},\"context\":{\"income\":1}}",
        ("{\"user_id\":\"u\",\"features\":{\"up\":1,\"up\":2,\"down\":1},\"context\":{\"income\":1}"
         "}"),
        "{\"user_id\":\"u\",\"features\":[1,2],\"context\":{\"income\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":true,\"down\":1},\"context\":{\"income\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":1,\"down\":1},\"context\":[]}",
        "{\"user_id\":\"u\",\"features\":{\"up\":1,\"down\":1},\"context\":null}",
        "{\"user_id\":\"\",\"features\":{\"up\":1,\"down\":1},\"context\":{\"income\":1}}",
        "{\"user_id\":\"\xff\",\"features\":{\"up\":1,\"down\":1},\"context\":{\"income\":1}}",
        "{\"user_id\":\"u\",\"features\":{\"up\":1,\"down\":1},\"context\":{\"income\":1}} x",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(bodies); i++) {
        yyjson_val *answer = ask(f, 400, bodies[i]);
        assert_true(strlen(text_at(answer, "/error")) > 10);
        assert_true(yyjson_is_arr(yyjson_obj_get(answer, "faults")));
    }
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.bad_requests, PCR_COUNT_OF(bodies));
}

static void user_ids_are_counted_in_characters(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    for (size_t n = 127; n <= 129; n++) {
        char body[1024] =
            "{\"features\":{\"up\":1,\"down\":1},\"context\":{\"income\":1},\"user_id\":\"";
        for (size_t i = 0; i < n; i++)
            strcat(body, "\xe6\x97\xa5");
        strcat(body, "\"}");
        yyjson_val *answer = ask(f, n <= 128 ? 200 : 400, body);
        if (n > 128)
            assert_string_equal(text_at(answer, "/faults/0/got"), "a string of 129 characters");
    }
}

static void numbers_beyond_the_model_are_422(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    yyjson_val *answer = ask_features(f, 422, "{\"up\":1e39,\"down\":-1e39}");
    assert_int_equal(size_at(answer, "/faults"), 2);
    assert_string_equal(text_at(answer, "/faults/0/expected"),
                        "a finite number within the range of FP32");
    ask_features(f, 400, "{\"up\":1e39,\"down\":\"x\"}"); // one malformed member makes it a 400
    ask_features(f, 200, "{\"up\":3e38,\"down\":1}");
}

static void the_list_of_faults_is_bounded(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    struct pcr_buf body;
    pcr_buf_init(&body, 1u << 20);
    pcr_buf_text(&body, "{\"features\":{");
    for (int i = 0; i < 1000; i++)
        pcr_buf_printf(&body, "\"feature-%d-%0400d\":%d,", i, 7, i);
    pcr_buf_text(&body, "\"up\":1,\"down\":1}}");
    yyjson_val *answer = ask(f, 400, body.data);
    assert_int_equal(size_at(answer, "/faults"), 100);
    assert_int_equal(number_at(answer, "/faults_not_listed"), 902); // with user_id and income
    assert_true(strlen(f->answer) < 40000);
    pcr_buf_fini(&body);
}

// --- models that misbehave ----------------------------------------------------------------------

static void numbers_that_are_no_probabilities_are_an_error(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = echo(f);
    use(f, &config);
    yyjson_val *answer = ask_features(f, 500, "{\"up\":2,\"down\":0.2}");
    assert_non_null(strstr(text_at(answer, "/error"), "not a probability"));
    ask_features(f, 500, "{\"up\":-0.5,\"down\":0.2}");
    answer = ask_features(f, 200, "{\"up\":1.00001,\"down\":0.2}"); // within what rounding explains
    assert_true(number_at(answer, "/confidence") == 1);

    config = echo(f);
    config.model = "nan";
    config.features[0].baseline = config.features[1].baseline = 1;
    use(f, &config);
    ask_features(f, 200, "{\"up\":3,\"down\":5}");
    answer = ask_features(f, 500, "{\"up\":0,\"down\":5}");
    assert_non_null(strstr(text_at(answer, "/error"), "not a probability"));
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.failures, 1);
}

static void a_broken_contract_never_leaves(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.contract = contract_file(f, "narrow.json",
                                    "{\"properties\":{\"limits\":{\"properties\":{\"amount\":"
                                    "{\"maximum\":800}}}}}");
    use(f, &config);
    ask(f, 200,
        "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},\"context\":{\"income\":3200}}");
    yyjson_val *answer =
        ask(f, 500,
            "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},\"context\":{\"income\":3300}}");
    assert_string_equal(text_at(answer, "/pointer"), "/limits/amount");
    assert_non_null(strstr(text_at(answer, "/error"), "contract"));
    assert_int_equal(yyjson_obj_size(answer), 2);
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.contract_violations, 1);
    assert_int_equal(stats.answered, 1);
}

// A request must survive an arena of any size: it is answered, or refused with 503.
static void memory_may_run_out_anywhere(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    use(f, &config);
    int answered = 0, refused = 0;
    for (size_t bytes = 0; bytes < 24000; bytes += 128) {
        f->arena_bytes = bytes;
        int status = submit(f, "{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},"
                               "\"context\":{\"income\":1}}");
        answered += status == 200;
        refused += status == 503;
        assert_true(status == 200 || status == 503 || status == 500);
        submit(f, "{\"features\":{\"upp\":2,\"down\":\"x\"}}");
        submit(f, "{\"features\":");
    }
    assert_true(answered > 0);
    assert_true(refused > 0);
}

// --- models that take their time ----------------------------------------------------------------

static void a_dear_model_runs_elsewhere(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "dear";
    use(f, &config);
    for (int i = 0; i < 3; i++) {
        yyjson_val *answer = ask_features(f, 200, "{\"up\":2,\"down\":1}");
        assert_close(number_at(answer, "/confidence"), rise(2, 1));
        assert_close(number_at(answer, "/reason/factors/0/effect"), rise(2, 1) - rise(0, 1));
    }
    f->deadline_ns = 1; // long past
    ask_features(f, 503, "{\"up\":2,\"down\":1}");
}

struct crowd {
    struct fixture *f;
    size_t done, of_status[600];
};

static void one_of_a_crowd(struct pcr_decide_call *call) {
    struct crowd *crowd = call->user;
    crowd->of_status[call->status]++;
    if (++crowd->done == 40)
        pcr_loop_stop(crowd->f->loop);
}

static void a_full_queue_is_503(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "dear";
    use(f, &config);
    struct crowd crowd = {.f = f};
    struct pcr_arena arenas[40];
    struct pcr_decide_call calls[40];
    for (size_t i = 0; i < 40; i++) {
        pcr_arena_init(&arenas[i], 1u << 20);
        calls[i] = (struct pcr_decide_call){
            .decision = f->decision,
            .body = PCR_STR("{\"user_id\":\"u\",\"features\":{\"up\":2,\"down\":1},"
                            "\"context\":{\"income\":1}}"),
            .id = PCR_STR("x"),
            .arena = &arenas[i],
            .loop = f->loop,
            .engine = f->engine,
            .repository = f->repository,
            .done = one_of_a_crowd,
            .user = &crowd,
        };
        pcr_decide(&calls[i]);
    }
    while (crowd.done < 40)
        pcr_loop_run(f->loop);
    assert_true(crowd.of_status[200] >= 16); // the queue holds as many
    assert_true(crowd.of_status[503] > 0);
    assert_int_equal(crowd.of_status[200] + crowd.of_status[503], 40);
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.answered, crowd.of_status[200]);
    assert_int_equal(stats.failures, crowd.of_status[503]);
    for (size_t i = 0; i < 40; i++)
        pcr_arena_fini(&arenas[i]);
}

// --- reload -------------------------------------------------------------------------------------

static void a_model_may_be_replaced_while_it_serves(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "live";
    replace_model(f, "trend", "live", 0);
    use(f, &config);
    yyjson_val *answer = ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
    char version[32];
    snprintf(version, sizeof version, "%s", text_at(answer, "/model/version"));

    replace_model(f, "turned", "live", 0); // another order of columns, other baselines
    answer = ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
    assert_string_not_equal(version, text_at(answer, "/model/version"));
    assert_close(number_at(answer, "/confidence"), rise(3, 0.5));
    assert_close(number_at(answer, "/reason/factors/0/effect"), rise(3, 0.5) - rise(1, 0.5));

    replace_model(f, "other", "live", 0); // another class: no action for it
    answer = ask_features(f, 503, "{\"up\":3,\"down\":0.5}");
    assert_non_null(strstr(text_at(answer, "/error"), "'flat'"));
    ask_features(f, 503, "{\"up\":3,\"down\":0.5}");

    replace_model(f, "trend", "live", 0);
    answer = ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
    assert_string_equal(version, text_at(answer, "/model/version"));
    struct pcr_decision_stats stats;
    pcr_decision_stats(f->decision, &stats);
    assert_int_equal(stats.failures, 2);
    assert_int_equal(stats.answered, 3);
}

static void a_hundred_versions_are_no_trouble(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "live";
    replace_model(f, "trend", "live", 0);
    use(f, &config);
    for (int i = 1; i <= 100; i++) {
        replace_model(f, i % 2 ? "turned" : "trend", "live", i);
        yyjson_val *answer = ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
        double usual = i % 2 ? 1 : 0;
        assert_close(number_at(answer, "/reason/factors/0/effect"),
                     rise(3, 0.5) - rise(usual, 0.5));
    }
    replace_model(f, "other", "live", 1000);
    ask_features(f, 503, "{\"up\":3,\"down\":0.5}");
}

static void a_model_that_is_gone_is_503(void **state) {
    struct fixture *f = *state;
    struct pcr_config_decision config = trend(f);
    config.model = "live";
    replace_model(f, "trend", "live", 0);
    use(f, &config);
    ask_features(f, 200, "{\"up\":3,\"down\":0.5}");
    struct pacer_error err;
    assert_int_equal(pcr_repository_unload(f->repository, PCR_STR("live"), &err), 0);
    yyjson_val *answer = ask_features(f, 503, "{\"up\":3,\"down\":0.5}");
    assert_non_null(strstr(text_at(answer, "/error"), "live"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_has_all_its_parts),
        TEST(the_order_of_members_does_not_matter),
        TEST(columns_follow_the_model_and_not_the_configuration),
        TEST(baselines_of_the_configuration_come_first),
        TEST(models_of_other_types_serve_as_well),
        TEST(ties_go_to_the_first_class),
        TEST(below_the_threshold_it_falls_back_and_says_so),
        TEST(the_threshold_itself_is_enough),
        TEST(the_summary_reads_well),
        TEST(the_strongest_factors_come_first_and_only_so_many),
        TEST(text_of_the_client_comes_back_unharmed),
        TEST(limits_are_computed_and_clamped),
        TEST(limits_reach_into_context_and_features),
        TEST(every_fault_is_listed_at_once),
        TEST(bodies_that_are_no_request),
        TEST(user_ids_are_counted_in_characters),
        TEST(numbers_beyond_the_model_are_422),
        TEST(the_list_of_faults_is_bounded),
        TEST(numbers_that_are_no_probabilities_are_an_error),
        TEST(a_broken_contract_never_leaves),
        TEST(memory_may_run_out_anywhere),
        TEST(a_dear_model_runs_elsewhere),
        TEST(a_full_queue_is_503),
        TEST(a_model_may_be_replaced_while_it_serves),
        TEST(a_hundred_versions_are_no_trouble),
        TEST(a_model_that_is_gone_is_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
