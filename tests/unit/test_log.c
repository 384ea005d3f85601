// SPDX-License-Identifier: Apache-2.0
// The log against outputs that are read, read late, and never read.
#include "test.h"

#include "base/base.h"
#include "base/log_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int saved[3], reader;

// Puts a pipe in the place of `fd`; what is written to it comes out of `reader`.
static void capture(int fd) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    saved[fd] = dup(fd);
    assert_int_equal(dup2(ends[1], fd), fd);
    close(ends[1]);
    reader = ends[0];
}

static void restore(int fd) {
    dup2(saved[fd], fd);
    close(saved[fd]);
}

// All up to the end of file, which comes when restore() has closed the last writer.
static char *read_rest(void) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, (size_t)64 << 20);
    for (;;) {
        char *to = pcr_buf_reserve(&buf, 65536);
        assert_non_null(to);
        ssize_t n = read(reader, to, 65536);
        if (n <= 0)
            break;
        buf.len += (size_t)n;
    }
    buf.data[buf.len] = '\0';
    close(reader);
    return buf.data;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
        n++;
    return n;
}

static void *log_many(void *arg) {
    for (int i = 0; i < 200; i++)
        pcr_log(PCR_LOG_INFO, "test", "thread %d line %d end", *(int *)arg, i);
    return NULL;
}

static void lines_of_many_threads_are_whole_and_all_there(void **state) {
    (void)state;
    pthread_t threads[4];
    int ids[4];
    capture(STDERR_FILENO);
    pcr_log(PCR_LOG_INFO, "test", "before the threads");
    assert_int_equal(pcr_log_start(), 0);
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &ids[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    pcr_log_stop(5000);
    pcr_log(PCR_LOG_INFO, "test", "after the threads");
    restore(STDERR_FILENO);
    char *text = read_rest();
    assert_int_equal(count(text, " end\n"), 800);
    assert_int_equal(count(text, "\n"), 802);
    assert_non_null(strstr(text, "before the threads\n"));
    assert_non_null(strstr(text, "after the threads\n"));
    free(text);
}

static void *read_late(void *arg) {
    (void)arg;
    usleep(100000);
    return read_rest();
}

static void what_is_lost_is_counted_and_said(void **state) {
    (void)state;
    enum { LINES = 40000 }; // of some 100 bytes: several times the queue
    capture(STDERR_FILENO);
    assert_int_equal(pcr_log_start(), 0);
    uint64_t began_ns = pcr_clock_mono_ns();
    for (int i = 0; i < LINES; i++)
        pcr_log(PCR_LOG_INFO, "test", "line %060d end", i);
    assert_true(pcr_clock_mono_ns() - began_ns < 20 * PCR_NS_PER_S); // nobody waited for a reader
    pthread_t thread;
    void *text;
    assert_int_equal(pthread_create(&thread, NULL, read_late, NULL), 0);
    pcr_log_stop(20000);
    restore(STDERR_FILENO);
    pthread_join(thread, &text);
    unsigned long long lost = 0;
    for (const char *at = text; (at = strstr(at, "warn  log: ")); at++) {
        const char *line = at - strlen("2026-01-01T00:00:00.000Z ");
        assert_true(line > (const char *)text && line[-1] == '\n'); // never inside another line
        assert_non_null(strstr(at, "standard error is not read fast enough\n"));
        lost += strtoull(at + strlen("warn  log: "), NULL, 10);
    }
    assert_true(lost > 0);
    assert_int_equal(count(text, " end\n") + lost, LINES);
    free(text);
}

static void a_flood_from_one_place_is_counted(void **state) {
    (void)state;
    capture(STDERR_FILENO);
    assert_int_equal(pcr_log_start(), 0);
    for (int i = 0; i < 1000; i++)
        PCR_LOG_PER_REQUEST(PCR_LOG_WARN, "test", "request %d failed", i);
    PCR_LOG_PER_REQUEST(PCR_LOG_WARN, "test", "another place");
    sleep(3); // the thread says it by itself
    pcr_log(PCR_LOG_INFO, "test", "marker");
    pcr_log_stop(5000);
    restore(STDERR_FILENO);
    char *text = read_rest();
    unsigned long long more = 0;
    for (const char *at = text; (at = strstr(at, "… and ")); at++)
        more += strtoull(at + strlen("… and "), NULL, 10);
    assert_true(count(text, " test: request ") >= PCR_LOG_LINES_PER_S);
    assert_true(strstr(text, "… and ") < strstr(text, "marker"));
    assert_true(more > 0);
    assert_int_equal(count(text, " test: request ") + more, 1000);
    assert_non_null(strstr(text, "like this: request "));
    assert_non_null(strstr(text, "another place\n"));
    free(text);
}

static void json_lines_are_json_whatever_is_in_them(void **state) {
    (void)state;
    char text[3000];
    capture(STDERR_FILENO);
    pcr_log_configure(&(struct pcr_log_options){PCR_LOG_INFO, true});
    pcr_log(PCR_LOG_INFO, "test", "a\xff\xc3(b\xed\xa0\x80\"\\\n");
    for (size_t shift = 0; shift < 4; shift++) { // cut at each place of a character
        memset(text, 'x', sizeof text);
        size_t n = shift;
        while (n + 4 < sizeof text)
            n += (size_t)sprintf(text + n, "\U0001F600");
        pcr_log(PCR_LOG_INFO, "test", "%s", text);
        memset(text, '\x01', sizeof text - 1); // grows by six
        text[sizeof text - 1] = '\0';
        pcr_log(PCR_LOG_INFO, "test", "%s", text);
    }
    pcr_log_configure(&(struct pcr_log_options){PCR_LOG_INFO, false});
    restore(STDERR_FILENO);
    char *got = read_rest();
    assert_non_null(strstr(got, "\"message\":\"a\xef\xbf\xbd\xef\xbf\xbd(b\xef\xbf\xbd\xef\xbf\xbd"
                                "\xef\xbf\xbd\\\"\\\\\\u000a\"}\n"));
    char *rest = got;
    size_t lines = 0;
    for (char *line = strsep(&rest, "\n"); line && *line; line = strsep(&rest, "\n"), lines++) {
        size_t n = strlen(line);
        assert_true(n < 2048 && strcmp(line + n - 2, "\"}") == 0);
        if (strstr(line, "\U0001F600"))
            assert_memory_equal(line + n - 6, "\U0001F600", 4);
    }
    assert_int_equal(lines, 9);
    free(got);
}

// In a process of its own: the output is given up for good.
static int log_to_nobody(void) {
    char lines[4096];
    int ends[2];
    memset(lines, 'x', sizeof lines);
    lines[sizeof lines - 1] = '\n';
    if (pipe(ends) < 0 || dup2(ends[1], STDOUT_FILENO) < 0 || pcr_log_start() < 0)
        return 1;
    for (int i = 0; i < 2000; i++)
        pcr_log_access_line(lines, sizeof lines);
    uint64_t began_ns = pcr_clock_mono_ns();
    pcr_log_flush(100);
    pcr_log_stop(100);
    pcr_log_access_line(lines, sizeof lines);
    return pcr_clock_mono_ns() - began_ns < 5 * PCR_NS_PER_S ? 0 : 2;
}

static void an_output_that_nobody_reads_does_not_keep_the_process(void **state) {
    (void)state;
    int status;
    capture(STDERR_FILENO);
    pid_t child = fork();
    if (child == 0)
        _exit(log_to_nobody());
    assert_int_equal(waitpid(child, &status, 0), child);
    restore(STDERR_FILENO);
    char *text = read_rest();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_non_null(strstr(text, "lines of the access log were lost"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_output_that_nobody_reads_does_not_keep_the_process),
        cmocka_unit_test(lines_of_many_threads_are_whole_and_all_there),
        cmocka_unit_test(what_is_lost_is_counted_and_said),
        cmocka_unit_test(a_flood_from_one_place_is_counted),
        cmocka_unit_test(json_lines_are_json_whatever_is_in_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
