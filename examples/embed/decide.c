// SPDX-License-Identifier: Apache-2.0
// The whole of libpacer in one program: a question goes to the cache, from there (if nobody has
// asked it yet) to the batcher, from there with others' to the model, and the answer leaves only if
// it keeps its contract.
//
//     cc decide.c $(pkg-config --cflags --libs pacer) -o decide && ./decide regime.onnx
#include <pacer/pacer.h>

#include <stdio.h>
#include <stdlib.h>

#define FEATURES 5
#define CLASSES 3

static const char schema[] =
    "{\"type\": \"object\", \"required\": [\"class\", \"confidence\"], \"properties\": {"
    "\"class\": {\"enum\": [0, 1, 2]}, \"confidence\": {\"minimum\": 0, \"maximum\": 1}}}";

static void check(int code, const struct pacer_error *err) {
    if (code >= 0)
        return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

// Many rows, one run of the model.
static int run_batch(void *session, struct pacer_batch_item *const *items, size_t n) {
    float rows[64][FEATURES];
    for (size_t i = 0; i < n; i++)
        for (size_t f = 0; f < FEATURES; f++)
            rows[i][f] = ((const float *)items[i]->input)[f];
    const int64_t shape[] = {(int64_t)n, FEATURES};
    const struct pacer_tensor input = {"input", PACER_FP32, 2, shape, rows};
    const char *wanted = "probabilities";
    const struct pacer_run run = {&input, 1, &wanted, 1};
    struct pacer_result *result;
    int code = pacer_session_run(session, &run, &result, NULL);
    if (code < 0)
        return code;
    const float *p = pacer_result_tensor(result, 0)->data;
    for (size_t i = 0; i < n * CLASSES; i++)
        ((float *)items[i / CLASSES]->output)[i % CLASSES] = p[i];
    pacer_result_destroy(result);
    return 0;
}

// What is computed when the cache does not have it.
static int infer(void *batcher, const struct pacer_feature *features, size_t n,
                 struct pacer_answer *answer, struct pacer_error *err) {
    float row[FEATURES], p[CLASSES];
    for (size_t i = 0; i < n; i++)
        row[i] = (float)features[i].value;
    int code = pacer_batcher_infer(batcher, row, p);
    int best = p[1] > p[0] ? 1 : 0;
    best = p[2] > p[best] ? 2 : best;
    char text[80];
    int size =
        snprintf(text, sizeof text, "{\"class\":%d,\"confidence\":%.4f}", best, (double)p[best]);
    return code < 0 ? code : pacer_answer_set(answer, text, (size_t)size, err);
}

int main(int argc, char **argv) {
    struct pacer_error err;
    struct pacer_session *session;
    struct pacer_batcher *batcher;
    struct pacer_cache *cache;
    struct pacer_contract *contract;
    struct pacer_batcher_options batching = PACER_BATCHER_OPTIONS_INIT;
    struct pacer_cache_options caching = PACER_CACHE_OPTIONS_INIT;
    struct pacer_contract_options contracts = PACER_CONTRACT_OPTIONS_INIT;
    check(pacer_session_get(argc > 1 ? argv[1] : "regime.onnx", NULL, &session, &err), &err);
    check(pacer_batcher_create(run_batch, session, &batching, &batcher, &err), &err);
    check(pacer_cache_create(&caching, &cache, &err), &err);
    check(pacer_contract_parse(schema, sizeof schema - 1, &contracts, &contract, &err), &err);

    const struct pacer_feature features[FEATURES] = {{"return_5d", 0.004},
                                                     {"return_20d", 0.02},
                                                     {"volatility_20d", 0.007},
                                                     {"drawdown_60d", -0.01},
                                                     {"correlation_20d", 0.4}};
    const struct pacer_question question = {
        .model = "regime", .features = features, .n_features = FEATURES, .ttl_s = 300};
    struct pacer_answer answer = {0};
    for (int i = 0; i < 2; i++) {
        check(pacer_cache_predict(cache, &question, infer, batcher, &answer, &err), &err);
        check(pacer_contract_check(contract, answer.data, answer.size, NULL, NULL, &err), &err);
        printf("%.*s (%s)\n", (int)answer.size, (const char *)answer.data,
               answer.how == PACER_ANSWER_MEMORY ? "kept" : "computed");
    }
    pacer_answer_free(&answer);
    pacer_contract_destroy(contract);
    pacer_cache_destroy(cache);
    pacer_batcher_destroy(batcher);
    pacer_session_put(session);
}
