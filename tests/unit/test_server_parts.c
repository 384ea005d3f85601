// SPDX-License-Identifier: Apache-2.0
// The small parts of the server room that stand alone: the access log and the service manager's
// datagrams.
#include "test.h"

#include "server/access_log.h"
#include "server/notify.h"
#include "json/json.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// --- the service manager ------------------------------------------------------------------------
static int listen_at(const char *name, char *variable, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    snprintf(variable, size, "%s", name);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
    return fd;
}

static void expect_datagram(int fd, const char *text) {
    char got[256] = "";
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    if (!text) {
        assert_int_equal(n, -1);
        return;
    }
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
}

static void the_manager_hears_by_either_kind_of_name(void **state) {
    (void)state;
    char path[64], abstract[64], variable[108];
    snprintf(path, sizeof path, "/tmp/pacer-notify-%d", (int)getpid());
    snprintf(abstract, sizeof abstract, "@pacer-notify-%d", (int)getpid());
    const char *const names[] = {path, abstract};
    for (size_t i = 0; i < 2; i++) {
        int fd = listen_at(names[i], variable, sizeof variable);
        setenv("NOTIFY_SOCKET", variable, 1);
        pcr_notify("READY=1");
        expect_datagram(fd, "READY=1");
        pcr_notify_reloading();
        char got[128] = "";
        assert_true(recv(fd, got, sizeof got - 1, 0) > 0);
        unsigned long long us = 0;
        assert_int_equal(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
        assert_true(us > 0 && us <= pcr_clock_mono_ns() / PCR_NS_PER_US);
        close(fd);
    }
    unlink(path);
}

static void nobody_there_is_no_trouble(void **state) {
    (void)state;
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const char *const names[] = {"", "/", "relative", "/tmp/pacer-nobody-listens", "@", longer};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        pcr_notify("READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    pcr_notify("READY=1");
}

// --- the access log -----------------------------------------------------------------------------
struct captured {
    int saved, pipe[2];
};

static void capture(struct captured *c) {
    fflush(stdout);
    assert_int_equal(pipe2(c->pipe, O_NONBLOCK), 0);
    c->saved = dup(STDOUT_FILENO);
    dup2(c->pipe[1], STDOUT_FILENO);
}

static void release(struct captured *c, char *out, size_t size) {
    dup2(c->saved, STDOUT_FILENO);
    close(c->saved);
    close(c->pipe[1]);
    ssize_t n, total = 0;
    while ((n = read(c->pipe[0], out + total, size - 1 - (size_t)total)) > 0)
        total += n;
    out[total] = '\0';
    close(c->pipe[0]);
}

static struct pcr_http_request example(void) {
    return (struct pcr_http_request){.method_name = PCR_STR("POST"),
                                     .path = PCR_STR("/v2/models/\"m\"\n/infer"),
                                     .id = PCR_STR("u-17"),
                                     .body = PCR_STR("{}"),
                                     .peer = "127.0.0.1:5"};
}

static void a_line_is_one_object_whatever_is_in_it(void **state) {
    (void)state;
    struct pcr_loop *loop = NULL;
    struct captured captured;
    static char text[1 << 16];
    assert_int_equal(pcr_loop_create(&loop, NULL), 0);
    struct pcr_access_log *log = pcr_access_log_create(loop);
    struct pcr_http_request request = example();
    struct pcr_http_access access = {&request, 200, 123, 4567 * PCR_NS_PER_US};
    capture(&captured);
    pcr_access_log_add(log, &access);
    access.status = 503;
    pcr_access_log_add(log, &access);
    pcr_access_log_destroy(log); // writes what is gathered
    release(&captured, text, sizeof text);
    pcr_loop_destroy(loop);
    char *second = strchr(text, '\n') + 1;
    assert_string_equal(strchr(second, '\n'), "\n"); // two lines
    struct pcr_arena arena;
    yyjson_val *root;
    pcr_arena_init(&arena, 1 << 20);
    struct pcr_str line = {text, (size_t)(second - text)};
    assert_int_equal(pcr_json_parse(&arena, line, &(struct pcr_json_options){0}, &root, NULL), 0);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "path")), "/v2/models/\"m\"\n/infer");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "id")), "u-17");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "status")), 200);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "request_bytes")), 2);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "response_bytes")), 123);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "duration_us")), 4567);
    assert_int_equal(strlen(yyjson_get_str(yyjson_obj_get(root, "time"))), 24);
    assert_non_null(strstr(second, "\"status\":503"));
    pcr_arena_fini(&arena);
}

static void stop_loop(void *loop) {
    pcr_loop_stop(loop);
}

static void lines_are_written_in_blocks_or_soon(void **state) {
    (void)state;
    struct pcr_loop *loop = NULL;
    struct captured captured;
    static char text[1 << 20];
    assert_int_equal(pcr_loop_create(&loop, NULL), 0);
    struct pcr_access_log *log = pcr_access_log_create(loop);
    struct pcr_http_request request = example();
    struct pcr_http_access access = {&request, 200, 1, 1};
    struct pcr_timer *timer = pcr_timer_create(loop, stop_loop, loop);
    capture(&captured);
    pcr_access_log_add(log, &access);
    pcr_timer_start(timer, 600, 0);
    pcr_loop_run(loop);
    release(&captured, text, sizeof text);
    assert_non_null(strstr(text, "\"status\":200")); // without another line
    capture(&captured);
    for (int i = 0; i < 250; i++) // more than a block
        pcr_access_log_add(log, &access);
    release(&captured, text, sizeof text);
    assert_true(strlen(text) >= 32 << 10);
    assert_int_equal(text[strlen(text) - 1], '\n');
    capture(&captured);
    pcr_timer_destroy(timer);
    pcr_access_log_destroy(log);
    pcr_loop_destroy(loop);
    release(&captured, text, sizeof text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manager_hears_by_either_kind_of_name),
        cmocka_unit_test(nobody_there_is_no_trouble),
        cmocka_unit_test(a_line_is_one_object_whatever_is_in_it),
        cmocka_unit_test(lines_are_written_in_blocks_or_soon),
    };
    pcr_log_configure(&(struct pcr_log_options){.level = (enum pcr_log_level)99});
    return cmocka_run_group_tests(tests, NULL, NULL);
}
