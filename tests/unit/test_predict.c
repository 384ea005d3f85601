// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <math.h>
#include <pacer/cache.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 16

struct model {
    atomic_uint n_runs;
    int code;                  // what it fails with
    unsigned us;               // what it takes
    int times;                 // it fails so often, then not any more
    struct pacer_cache *inner; // another question is asked there
};

static double sum_of(const struct pacer_feature *features, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += features[i].value;
    return sum;
}

static int infer(void *ctx, const struct pacer_feature *features, size_t n,
                 struct pacer_answer *answer, struct pacer_error *err) {
    struct model *model = ctx;
    atomic_fetch_add(&model->n_runs, 1);
    usleep(model->us);
    if (model->code && model->times-- > 0)
        return model->code;
    if (model->inner) {
        const struct pacer_feature other = {"other", 5};
        const struct pacer_question question = {
            .model = "inner", .features = &other, .n_features = 1, .ttl_s = 60};
        struct model plain = {0};
        struct pacer_answer part = {0};
        int rc = pacer_cache_predict(model->inner, &question, infer, &plain, &part, err);
        pacer_answer_free(&part);
        if (rc < 0)
            return rc;
    }
    double sum = sum_of(features, n);
    return pacer_answer_set(answer, &sum, sizeof sum, err);
}

static struct pacer_cache *open_cache(const char *path) {
    struct pacer_cache_options options = PACER_CACHE_OPTIONS_INIT;
    struct pacer_cache *cache;
    struct pacer_error err;
    options.path = path;
    if (pacer_cache_create(&options, &cache, &err) < 0)
        fail_msg("%s", err.message);
    return cache;
}

// The answer's how, or the code.
static int ask(struct pacer_cache *cache, struct model *model, double a, double b,
               uint32_t stale_if_error_s) {
    const struct pacer_feature features[] = {{"b", b}, {"a", a}};
    const struct pacer_question question = {.model = "m",
                                            .features = features,
                                            .n_features = 2,
                                            .ttl_s = 1,
                                            .stale_if_error_s = stale_if_error_s};
    struct pacer_answer answer = {0};
    struct pacer_error err;
    int rc = pacer_cache_predict(cache, &question, infer, model, &answer, &err);
    if (rc == 0) {
        double sum;
        assert_int_equal(answer.size, sizeof sum);
        memcpy(&sum, answer.data, sizeof sum);
        assert_true(sum == a + b || isnan(a));
        rc = (int)answer.how;
    }
    pacer_answer_free(&answer);
    return rc;
}

static void a_question_is_computed_once(void **state) {
    (void)state;
    struct pacer_cache *cache = open_cache(NULL);
    struct model model = {0};
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_COMPUTED);
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_MEMORY);
    assert_int_equal(ask(cache, &model, 2, 1, 0), PACER_ANSWER_COMPUTED);
    assert_int_equal(ask(cache, &model, -0.0, 2, 0), PACER_ANSWER_COMPUTED);
    assert_int_equal(ask(cache, &model, 0.0, 2, 0), PACER_ANSWER_MEMORY);
    assert_int_equal(ask(cache, &model, NAN, 2, 0), PACER_ANSWER_COMPUTED);
    assert_int_equal(ask(cache, &model, NAN, 2, 0), PACER_ANSWER_COMPUTED);
    struct pacer_cache_stats stats = {.size = sizeof stats};
    pacer_cache_stats(cache, &stats);
    assert_int_equal(stats.memory_hits, 2);
    assert_int_equal(stats.entries, 3);
    assert_int_equal(pacer_cache_purge(cache, "other", NULL), 0);
    assert_int_equal(pacer_cache_purge(cache, "m", NULL), 3);
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_COMPUTED);
    usleep(1200000);
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_COMPUTED);
    pacer_cache_destroy(cache);
}

static void the_order_of_features_means_nothing_their_names_do(void **state) {
    (void)state;
    struct pacer_cache *cache = open_cache(NULL);
    struct model model = {0};
    const struct pacer_feature one[] = {{"a", 1}, {"b", 2}}, other[] = {{"b", 2}, {"a", 1}},
                               swapped[] = {{"a", 2}, {"b", 1}}, twice[] = {{"a", 1}, {"a", 2}};
    struct pacer_question question = {.model = "m", .features = one, .n_features = 2, .ttl_s = 60};
    char buffer[32];
    struct pacer_answer answer = {.buffer = buffer, .buffer_size = sizeof buffer};
    struct pacer_error err;
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err), 0);
    assert_ptr_equal(answer.data, buffer);
    question.features = other;
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err), 0);
    assert_int_equal(answer.how, PACER_ANSWER_MEMORY);
    question.features = swapped;
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err), 0);
    assert_int_equal(answer.how, PACER_ANSWER_COMPUTED);
    question.tenant = "t";
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err), 0);
    assert_int_equal(answer.how, PACER_ANSWER_COMPUTED);
    question.features = twice;
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err),
                     PACER_EINVAL);
    assert_non_null(strstr(err.message, "'a' is there twice"));
    question.model = NULL;
    assert_int_equal(pacer_cache_predict(cache, &question, infer, &model, &answer, &err),
                     PACER_EINVAL);
    pacer_answer_free(&answer);
    pacer_cache_destroy(cache);
}

static void errors_are_given_and_not_kept(void **state) {
    (void)state;
    struct pacer_cache *cache = open_cache(NULL);
    struct model model = {.code = PACER_EMODEL, .times = 1};
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_EMODEL);
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_COMPUTED);
    usleep(1200000);
    model.times = 1;
    assert_int_equal(ask(cache, &model, 1, 2, 60), PACER_ANSWER_STALE);
    assert_int_equal(ask(cache, &model, 1, 2, 60), PACER_ANSWER_COMPUTED);
    pacer_cache_destroy(cache);
}

static void a_question_may_ask_another(void **state) {
    (void)state;
    struct pacer_cache *cache = open_cache(NULL);
    struct model model = {.inner = cache};
    assert_int_equal(ask(cache, &model, 1, 2, 0), PACER_ANSWER_COMPUTED);
    assert_int_equal(ask(cache, &model, 1, 3, 0), PACER_ANSWER_COMPUTED);
    struct pacer_cache_stats stats = {.size = sizeof stats};
    pacer_cache_stats(cache, &stats);
    assert_int_equal(stats.computed, 3);
    assert_int_equal(stats.memory_hits, 1);
    pacer_cache_destroy(cache);
}

struct asker {
    struct pacer_cache *cache;
    struct model *model;
    int how;
};

static void *ask_once(void *arg) {
    struct asker *asker = arg;
    asker->how = ask(asker->cache, asker->model, 7, 8, 0);
    return NULL;
}

static void threads_that_ask_the_same_share_a_run(void **state) {
    (void)state;
    struct pacer_cache *cache = open_cache(NULL);
    for (int round = 0; round < 3; round++) {
        struct model model = {
            .us = 100000, .code = round == 1 ? PACER_EBUSY : PACER_EMODEL, .times = round > 0};
        struct asker askers[THREADS];
        pthread_t threads[THREADS];
        unsigned shared = 0, computed = 0, failed = 0;
        for (int i = 0; i < THREADS; i++) {
            askers[i] = (struct asker){cache, &model, -99};
            pthread_create(&threads[i], NULL, ask_once, &askers[i]);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            shared += askers[i].how == PACER_ANSWER_SHARED;
            computed += askers[i].how == PACER_ANSWER_COMPUTED;
            failed += askers[i].how < 0;
        }
        if (round == 2) { // what is wrong with the question is everybody's answer
            assert_int_equal(failed, THREADS);
            assert_int_equal(atomic_load(&model.n_runs), 1);
        } else { // a caller's own trouble is not
            assert_int_equal(failed, round);
            assert_int_equal(computed, 1);
            assert_int_equal(shared, THREADS - 1 - round);
        }
        pacer_cache_purge(cache, NULL, NULL);
    }
    pacer_cache_destroy(cache);
}

static void answers_lie_in_a_file_for_the_next_process(void **state) {
    (void)state;
    char dir[] = "/tmp/pacer-predict-XXXXXX", command[64];
    struct model model = {0};
    assert_non_null(mkdtemp(dir));
    struct pacer_cache *cache = open_cache(dir), *second;
    ask(cache, &model, 1, 2, 60);
    struct pacer_cache_options options = PACER_CACHE_OPTIONS_INIT;
    options.path = dir;
    assert_int_equal(pacer_cache_create(&options, &second, NULL), PACER_EINVAL);
    pacer_cache_destroy(cache);
    cache = open_cache(dir);
    assert_int_equal(ask(cache, &model, 1, 2, 60), PACER_ANSWER_FILE);
    assert_int_equal(atomic_load(&model.n_runs), 1);
    pacer_cache_destroy(cache);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_computed_once),
        cmocka_unit_test(the_order_of_features_means_nothing_their_names_do),
        cmocka_unit_test(errors_are_given_and_not_kept),
        cmocka_unit_test(a_question_may_ask_another),
        cmocka_unit_test(threads_that_ask_the_same_share_a_run),
        cmocka_unit_test(answers_lie_in_a_file_for_the_next_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
