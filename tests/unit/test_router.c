// SPDX-License-Identifier: Apache-2.0
// Routes: what is found, what is not, and what the router answers itself.
#include "test.h"

#include "server/app.h"

// --- instead of the http room: the last reply is kept -------------------------------------------
static struct {
    int count;
    int status;
    char type[64], body[4096], allow[128], retry[16];
} last;

void pcr_http_reply(struct pcr_http_request *request, const struct pcr_http_reply *reply) {
    (void)request;
    memset(last.type, 0, sizeof last - offsetof(__typeof__(last), type));
    last.count++;
    last.status = reply->status;
    snprintf(last.type, sizeof last.type, "%s", reply->content_type ? reply->content_type : "");
    snprintf(last.body, sizeof last.body, "%.*s", PCR_STR_ARG(reply->body));
    for (size_t i = 0; i < reply->n_headers; i++) {
        const struct pcr_http_header *header = &reply->headers[i];
        if (pcr_str_eq(header->name, PCR_STR("Allow")))
            snprintf(last.allow, sizeof last.allow, "%.*s", PCR_STR_ARG(header->value));
        if (pcr_str_eq(header->name, PCR_STR("Retry-After")))
            snprintf(last.retry, sizeof last.retry, "%.*s", PCR_STR_ARG(header->value));
    }
}

static struct pcr_route_match called;
static int calls;

static void handler(struct pcr_app *app, struct pcr_http_request *request,
                    const struct pcr_route_match *match) {
    (void)app;
    (void)request;
    called = *match;
    calls++;
}

static const struct pcr_route routes[] = {
    {.method = PCR_HTTP_GET, .pattern = "/", .handler = handler},
    {.method = PCR_HTTP_GET, .pattern = "/v2", .handler = handler},
    {.method = PCR_HTTP_GET, .pattern = "/v2/models/{model}", .handler = handler},
    {.method = PCR_HTTP_GET, .pattern = "/v2/models/stats", .handler = handler},
    {.method = PCR_HTTP_POST, .pattern = "/v2/models/{model}/infer", .handler = handler},
    {.method = PCR_HTTP_GET,
     .pattern = "/v2/models/{model}/versions/{version}",
     .handler = handler},
    {.method = PCR_HTTP_POST,
     .pattern = "/v2/models/{model}/versions/{version}/infer",
     .handler = handler},
    {.method = PCR_HTTP_GET, .pattern = "/api/x", .handler = handler},
    {.method = PCR_HTTP_POST, .pattern = "/api/x", .handler = handler},
    {.method = PCR_HTTP_DELETE, .pattern = "/api/x", .handler = handler},
};

static int setup(void **state) {
    struct pcr_router *router;
    struct pacer_error err;
    assert_int_equal(pcr_router_create(routes, PCR_COUNT_OF(routes), &router, &err), 0);
    *state = router;
    return 0;
}

static int teardown(void **state) {
    pcr_router_destroy(*state);
    return 0;
}

// The index of the route, or -1 for no path, -2 for no method.
static int find(struct pcr_router *router, enum pcr_http_method method, const char *path,
                struct pcr_route_match *match) {
    const char *allow;
    enum pcr_route_result result = pcr_router_find(router, method, pcr_str(path), match, &allow);
    assert_true((allow != NULL) == (result != PCR_ROUTE_NO_PATH));
    if (result != PCR_ROUTE_FOUND) {
        assert_null(match->route);
        return result == PCR_ROUTE_NO_PATH ? -1 : -2;
    }
    for (size_t i = 0; i < PCR_COUNT_OF(routes); i++)
        if (match->route->pattern == routes[i].pattern && match->route->method == routes[i].method)
            return (int)i;
    fail_msg("a route that was never given");
    return -3;
}

static void assert_param(const struct pcr_route_match *match, size_t index, const char *text) {
    assert_true(index < match->n_params);
    assert_int_equal(match->params[index].len, strlen(text));
    assert_memory_equal(match->params[index].ptr, text, strlen(text));
}

static void finds_fixed_paths_and_parameters(void **state) {
    struct pcr_route_match match;
    assert_int_equal(find(*state, PCR_HTTP_GET, "/", &match), 0);
    assert_int_equal(find(*state, PCR_HTTP_GET, "/v2", &match), 1);
    assert_int_equal(match.n_params, 0);
    assert_int_equal(find(*state, PCR_HTTP_GET, "/v2/models/a b", &match), 2);
    assert_int_equal(match.n_params, 1);
    assert_param(&match, 0, "a b");
    assert_int_equal(find(*state, PCR_HTTP_GET, "/v2/models/m/versions/3", &match), 5);
    assert_int_equal(match.n_params, 2);
    assert_param(&match, 0, "m");
    assert_param(&match, 1, "3");
    assert_int_equal(find(*state, PCR_HTTP_POST, "/v2/models/m/versions/3/infer", &match), 6);
    assert_param(&match, 1, "3");
}

static void a_fixed_segment_wins_but_does_not_hide_a_parameter(void **state) {
    struct pcr_route_match match;
    assert_int_equal(find(*state, PCR_HTTP_GET, "/v2/models/stats", &match), 3);
    assert_int_equal(match.n_params, 0);
    assert_int_equal(find(*state, PCR_HTTP_POST, "/v2/models/stats/infer", &match), 4);
    assert_int_equal(match.n_params, 1);
    assert_param(&match, 0, "stats");
}

static void unknown_paths_are_not_found(void **state) {
    static const char *const paths[] = {
        "",
        "v2",
        "//",
        "/v",
        "/v22",
        "/v2/",
        "/v2//",
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/m/",
        "/v2/models/m/infer/",
        "/v2/models/m/nope",
        "/v2/models/m/versions",
        "/V2",
        "/api",
        "/api/x/y",
        "/v2/models/m/versions//infer",
        "*",
    };
    struct pcr_route_match match;
    for (size_t i = 0; i < PCR_COUNT_OF(paths); i++)
        assert_int_equal(find(*state, PCR_HTTP_GET, paths[i], &match), -1);
}

static void wrong_verbs_are_told_from_wrong_paths(void **state) {
    struct pcr_route_match match;
    assert_int_equal(find(*state, PCR_HTTP_POST, "/v2", &match), -2);
    assert_int_equal(find(*state, PCR_HTTP_OTHER, "/v2", &match), -2);
    assert_int_equal(find(*state, PCR_HTTP_GET, "/v2/models/m/infer", &match), -2);
    assert_int_equal(find(*state, PCR_HTTP_HEAD, "/v2/models/m/infer", &match), -2);
    assert_int_equal(find(*state, PCR_HTTP_HEAD, "/v2", &match), 1);
    assert_int_equal(find(*state, PCR_HTTP_DELETE, "/api/x", &match), 9);
}

static void dispatch(struct pcr_router *router, enum pcr_http_method method, const char *path) {
    struct pcr_http_request request = {.method = method, .path = pcr_str(path)};
    pcr_arena_init(&request.arena, 1 << 16);
    pcr_router_dispatch(router, NULL, &request);
    pcr_arena_fini(&request.arena);
}

static void answers_what_no_handler_does(void **state) {
    last.count = calls = 0;
    dispatch(*state, PCR_HTTP_POST, "/api/x");
    assert_int_equal(calls, 1);
    assert_string_equal(called.route->pattern, "/api/x");
    assert_int_equal(last.count, 0);

    dispatch(*state, PCR_HTTP_GET, "/nope");
    assert_int_equal(last.status, 404);
    assert_string_equal(last.type, "application/json");
    assert_string_equal(last.body, "{\"error\":\"Not Found\"}");

    dispatch(*state, PCR_HTTP_PUT, "/api/x");
    assert_int_equal(last.status, 405);
    assert_string_equal(last.type, "application/json");
    assert_string_equal(last.body, "{\"error\":\"Method Not Allowed\"}");
    assert_string_equal(last.allow, "GET, HEAD, POST, DELETE, OPTIONS");

    dispatch(*state, PCR_HTTP_OPTIONS, "/v2/models/m/infer");
    assert_int_equal(last.status, 204);
    assert_string_equal(last.allow, "POST, OPTIONS");
    assert_string_equal(last.type, "");
    assert_string_equal(last.body, "");

    dispatch(*state, PCR_HTTP_OPTIONS, "/nope");
    assert_int_equal(last.status, 404);
    assert_int_equal(calls, 1);
}

static void refuse(const struct pcr_route *list, size_t n, const char *why) {
    struct pcr_router *router = (void *)&router;
    struct pacer_error err;
    assert_int_equal(pcr_router_create(list, n, &router, &err), PACER_EINVAL);
    assert_null(router);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
}

static void bad_patterns_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *why;
    } cases[] = {
        {"", "starts with '/'"},
        {"api", "starts with '/'"},
        {"/api/", "ends with '/'"},
        {"/a//b", "empty segment"},
        {"/a/{b", "whole segment"},
        {"/a/b}", "whole segment"},
        {"/a/x{b}", "whole segment"},
        {"/a/{}", "whole segment"},
        {"/{a}/{b}/{c}/{d}/{e}", "too many"},
        {"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "too many"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pcr_route route = {
            .method = PCR_HTTP_POST, .pattern = cases[i].pattern, .handler = handler};
        refuse(&route, 1, cases[i].why);
    }
    struct pcr_route same[] = {{.method = PCR_HTTP_POST, .pattern = "/a/{b}", .handler = handler},
                               {.method = PCR_HTTP_POST, .pattern = "/a/{c}", .handler = handler}};
    refuse(same, 2, "is there already");
}

static void many_routes_are_all_found(void **state) {
    (void)state;
    enum { N = 1000 };
    static char patterns[N][24];
    static struct pcr_route many[N];
    for (int i = 0; i < N; i++) {
        snprintf(patterns[i], sizeof patterns[i], "/api/%d/go", i * 7919 % 100003);
        many[i] =
            (struct pcr_route){.method = PCR_HTTP_POST, .pattern = patterns[i], .handler = handler};
    }
    struct pcr_router *router;
    assert_int_equal(pcr_router_create(many, N, &router, NULL), 0);
    for (int i = 0; i < N; i++) {
        struct pcr_route_match match;
        const char *allow;
        assert_int_equal(
            pcr_router_find(router, PCR_HTTP_POST, pcr_str(patterns[i]), &match, &allow),
            PCR_ROUTE_FOUND);
        assert_ptr_equal(match.route->pattern, patterns[i]);
    }
    pcr_router_destroy(router);
}

static void errors_are_json_with_the_status_of_their_code(void **state) {
    (void)state;
    struct pcr_http_request request = {.method = PCR_HTTP_GET};
    pcr_arena_init(&request.arena, 1 << 16);
    pcr_reply_error(&request, 400, "a \"%s\"\n\x01", "quote");
    assert_int_equal(last.status, 400);
    assert_string_equal(last.body, "{\"error\":\"a \\\"quote\\\"\\n\\u0001\"}");
    assert_string_equal(last.retry, "");
    static const struct {
        int code, status;
    } cases[] = {{PACER_EINVAL, 400},    {PACER_ESYNTAX, 400},      {PACER_ELIMIT, 400},
                 {PACER_ENOTFOUND, 404}, {PACER_EUNSUPPORTED, 501}, {PACER_EBUSY, 503},
                 {PACER_ETIMEDOUT, 503}, {PACER_EMODEL, 500},       {PACER_EINTERNAL, 500},
                 {PACER_ENOMEM, 503}};
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pacer_error err;
        pcr_err(&err, cases[i].code, "x", "words");
        pcr_reply_failure(&request, &err);
        assert_int_equal(last.status, cases[i].status);
        assert_string_equal(last.body, "{\"error\":\"words\"}");
        assert_string_equal(last.retry, cases[i].status == 503 ? "1" : "");
    }
    pcr_arena_fini(&request.arena);
    struct pcr_http_request full = {.method = PCR_HTTP_GET};
    pcr_arena_init(&full.arena, 0);
    pcr_reply_error(&full, 400, "no room");
    assert_int_equal(last.status, 400);
    assert_string_equal(last.body, "{\"error\":\"out of memory\"}");
    pcr_arena_fini(&full.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_fixed_paths_and_parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fixed_segment_wins_but_does_not_hide_a_parameter, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(unknown_paths_are_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_verbs_are_told_from_wrong_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_what_no_handler_does, setup, teardown),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(many_routes_are_all_found),
        cmocka_unit_test(errors_are_json_with_the_status_of_their_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
