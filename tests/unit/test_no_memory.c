// SPDX-License-Identifier: Apache-2.0
// When an allocation fails. calloc is wrapped by the linker: the one numbered `fail_at` gives NULL.
#include "test.h"

#include "base/base.h"
#include "loop/loop.h"

#include <pacer/contract.h>
#include <stdio.h>
#include <stdlib.h>

static long fail_at = -1, calls;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    return calls++ == fail_at ? NULL : __real_calloc(count, bytes);
}

static void check_document(const char *schema, const char *document) {
    struct pacer_contract *contract;
    struct pacer_error err;
    assert_int_equal(pacer_contract_parse(schema, strlen(schema), NULL, &contract, &err), 0);
    int codes = 0;
    for (long n = 0;; n++) {
        calls = 0;
        fail_at = n;
        int rc = pacer_contract_check(contract, document, strlen(document), NULL, NULL, &err);
        fail_at = -1;
        if (calls <= n) {
            assert_int_equal(rc, 0);
            break;
        }
        if (rc != 0) // never "the document is wrong"
            assert_int_equal(rc, PACER_ENOMEM);
        codes += rc != 0;
    }
    assert_true(codes > 0);
    pacer_contract_destroy(contract);
}

static void a_document_that_cannot_be_compared_is_not_called_wrong(void **state) {
    (void)state;
    char object[2000] = "{", schema[5000], document[5000];
    for (int i = 0; i < 20; i++) // more members than are looked up one by one
        sprintf(object + strlen(object), "%s\"member%d\":%d", i ? "," : "", i, i);
    strcat(object, "}");
    snprintf(schema, sizeof schema, "{\"const\":%s}", object);
    check_document(schema, object);
    snprintf(schema, sizeof schema, "{\"enum\":[1,%s]}", object);
    check_document(schema, object);
    char other[2000];
    strcpy(other, object);
    *strstr(other, ":7") = ':';
    strstr(other, ":7")[1] = '8';
    snprintf(document, sizeof document, "[%s,%s]", object, other);
    check_document("{\"uniqueItems\":true}", document);
}

static void on_accept(void *ctx, struct pcr_stream *stream) {
    (void)ctx;
    pcr_stream_close(stream, NULL);
}

// Opens one on a loop of its own; the port it got, or the error.
static int listen_once(const char *address, bool shared, long fail) {
    struct pcr_loop *loop;
    struct pcr_listener *listener;
    struct pacer_error err;
    struct pcr_listener_options options = {.address = address, .reuse_port = shared};
    assert_int_equal(pcr_loop_create(&loop, &err), 0);
    calls = 0;
    fail_at = fail;
    int rc = pcr_listener_open(loop, &options, on_accept, NULL, &listener, &err);
    fail_at = -1;
    if (rc == 0) {
        rc = pcr_listener_port(listener);
        pcr_listener_close(listener);
    }
    pcr_loop_destroy(loop);
    return rc;
}

static void a_listener_without_memory_gives_everything_back(void **state) {
    (void)state;
    char address[64];
    long n = 0;
    int port = listen_once("127.0.0.1:0", true, -1);
    assert_true(port > 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    for (int rc; (rc = listen_once(address, true, n)) != port; n++) {
        assert_int_equal(rc, PACER_ENOMEM);
        assert_int_equal(listen_once(address, false, -1), port); // free for one that wants it alone
    }
    assert_true(n >= 2); // the listener and its timer
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_that_cannot_be_compared_is_not_called_wrong),
        cmocka_unit_test(a_listener_without_memory_gives_everything_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
