// SPDX-License-Identifier: Apache-2.0
// A program that uses libpacer as an outsider would: installed headers, pkg-config, nothing else.
#include <pacer/pacer.h>

#include <stdio.h>
#include <string.h>

static int predict(const char *model) {
    struct pacer_session *session;
    struct pacer_error err;
    if (pacer_session_get(model, NULL, &session, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const float row[5] = {0.012f, 0.058f, 0.0038f, 0.0f, 0.64f};
    const int64_t shape[2] = {1, 5};
    const struct pacer_tensor input = {"input", PACER_FP32, 2, shape, row};
    const struct pacer_run run = {&input, 1, NULL, 0};
    struct pacer_result *result;
    if (pacer_session_run(session, &run, &result, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        pacer_session_put(session);
        return 1;
    }
    const struct pacer_bytes *label = pacer_result_tensor(result, 0)->data;
    const float *probabilities = pacer_result_tensor(result, 1)->data;
    printf("%.*s %.3f\n", (int)label->size, label->data, (double)probabilities[0]);
    pacer_result_destroy(result);
    pacer_session_put(session);
    return 0;
}

static bool print_violation(void *ctx, const struct pacer_violation *violation) {
    (void)ctx;
    printf("%s: %s\n", violation->instance, violation->message);
    return true;
}

static int contract(void) {
    static const char schema[] = "{\"type\":\"object\",\"required\":[\"action\"]}";
    struct pacer_contract *held;
    struct pacer_error err;
    if (pacer_contract_parse(schema, strlen(schema), NULL, &held, &err) < 0)
        return 1;
    int good = pacer_contract_check(held, "{\"action\":1}", 12, NULL, NULL, &err);
    int bad = pacer_contract_check(held, "{}", 2, print_violation, NULL, &err);
    pacer_contract_destroy(held);
    return good == 0 && bad == PACER_ECONTRACT ? 0 : 1;
}

int main(int argc, char **argv) {
    printf("libpacer %s\n", pacer_version());
    return argc == 2 && predict(argv[1]) == 0 && contract() == 0 ? 0 : 1;
}
