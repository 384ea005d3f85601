// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "store_fixture.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

// --- a directory per test -----------------------------------------------------------------------
static char dir[256];

static int make_dir(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pacer-lmdb-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "chmod -R u+rwx '%s' && rm -rf '%s'", dir, dir);
    return system(command);
}

static int try_open(struct pcr_store **out, uint64_t bytes_max, struct pacer_error *err) {
    const struct pcr_store_lmdb_options options = {.path = dir, .bytes_max = bytes_max};
    return pcr_store_lmdb_open(&options, out, err);
}

static struct pcr_store *open_store(uint64_t bytes_max) {
    struct pcr_store *store;
    struct pacer_error err;
    if (try_open(&store, bytes_max, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static const char *file_in(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

// --- values that can be told right from wrong ---------------------------------------------------
static struct pcr_store_name name_of(uint64_t number) {
    return (struct pcr_store_name){
        .model = number % 3, .tenant = number % 2, .hi = number * 77, .lo = number};
}

static size_t fill(char *out, uint64_t number, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(number * 7 + i * 3 + n);
    return n;
}

static size_t length_of(uint64_t number) {
    return number * 13 % 3000;
}

static bool put(struct pcr_store *store, uint64_t number, uint64_t ttl_ms) {
    char value[4096];
    struct pcr_store_name name = name_of(number);
    size_t n = fill(value, number, length_of(number));
    return store->ops->put(store, &name, (struct pcr_str){value, n}, ttl_ms);
}

// PCR_STORE_FOUND only if it is right, too.
static enum pcr_store_found get(struct pcr_store *store, uint64_t number) {
    struct wait wait;
    char value[4096];
    if (ask_store(store, name_of(number), &wait) == PCR_STORE_FOUND) {
        PCR_ASSERT(wait.n == length_of(number));
        fill(value, number, wait.n);
        PCR_ASSERT(memcmp(value, wait.value, wait.n) == 0);
    }
    return wait.found;
}

// A purge of nothing comes back when all that was put before is committed.
static void commit(struct pcr_store *store) {
    assert_true(purge(store, (struct pcr_store_purge){.by_key = true, .name = {.hi = 1}}) == 0);
}

// --- keeping ------------------------------------------------------------------------------------
static void what_was_put_is_there_after_a_restart(void **state) {
    (void)state;
    struct pcr_store *store = open_store(16 * MIB);
    for (uint64_t i = 0; i < 500; i++)
        assert_true(put(store, i, 60000));
    store->ops->destroy(store); // commits
    store = open_store(16 * MIB);
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    assert_int_equal(stats.entries, 500);
    for (uint64_t i = 0; i < 500; i++)
        assert_int_equal(get(store, i), PCR_STORE_FOUND);
    assert_int_equal(get(store, 500), PCR_STORE_MISSING);
    store->ops->stats(store, &stats);
    assert_int_equal(stats.gets, 501);
    assert_int_equal(stats.hits, 500);
    assert_int_equal(stats.misses, 1);
    store->ops->destroy(store);
}

static void what_has_expired_is_missing_and_swept_out(void **state) {
    (void)state;
    struct pcr_store *store = open_store(16 * MIB);
    put(store, 1, 30);
    put(store, 2, 60000);
    commit(store);
    assert_int_equal(get(store, 1), PCR_STORE_FOUND);
    usleep(40000);
    assert_int_equal(get(store, 1), PCR_STORE_MISSING);
    assert_int_equal(get(store, 2), PCR_STORE_FOUND);
    struct pcr_store_stats stats;
    for (int i = 0; i < 40; i++) {
        store->ops->stats(store, &stats);
        if (stats.expired == 1)
            break;
        usleep(100000);
    }
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.entries, 1);
    store->ops->destroy(store);
}

static void a_value_replaces_the_one_before(void **state) {
    (void)state;
    struct pcr_store *store = open_store(16 * MIB);
    put(store, 7, 10);
    put(store, 7, 60000);
    commit(store);
    usleep(20000);
    assert_int_equal(get(store, 7), PCR_STORE_FOUND);
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    assert_int_equal(stats.entries, 1);
    store->ops->destroy(store);
}

static void a_purge_takes_a_model_a_tenant_or_a_key(void **state) {
    (void)state;
    struct pcr_store *store = open_store(16 * MIB);
    for (uint64_t i = 0; i < 600; i++)
        put(store, i, 60000);
    assert_int_equal(purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = 1}}),
                     200);
    assert_int_equal(get(store, 1), PCR_STORE_MISSING);
    assert_int_equal(get(store, 2), PCR_STORE_FOUND);
    assert_int_equal(purge(store, (struct pcr_store_purge){.by_model = true,
                                                           .by_tenant = true,
                                                           .name = {.model = 0, .tenant = 0}}),
                     100);
    assert_int_equal(
        purge(store, (struct pcr_store_purge){.by_tenant = true, .name = {.tenant = 0}}), 100);
    struct pcr_store_name name = name_of(3);
    assert_int_equal(purge(store, (struct pcr_store_purge){.by_key = true, .name = name}), 1);
    assert_int_equal(get(store, 3), PCR_STORE_MISSING);
    name = name_of(5);
    assert_int_equal(purge(store,
                           (struct pcr_store_purge){
                               .by_model = true, .by_tenant = true, .by_key = true, .name = name}),
                     1);
    assert_int_equal(purge(store, (struct pcr_store_purge){0}), 198);
    assert_int_equal(purge(store, (struct pcr_store_purge){0}), 0);
    store->ops->destroy(store);
}

static void a_full_file_lets_go_of_what_expires_first(void **state) {
    (void)state;
    struct pcr_store *store = open_store(2 * MIB);
    for (uint64_t i = 0; i < 6000; i++) { // four times what fits
        put(store, i, 1000000 + i * 10);
        if (i % 500 == 0)
            commit(store);
    }
    commit(store);
    struct stat st;
    assert_int_equal(stat(file_in("data.mdb"), &st), 0);
    assert_true((uint64_t)st.st_size <= 2 * MIB);
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    assert_true(stats.evicted > 3000);
    assert_int_equal(get(store, 0), PCR_STORE_MISSING);
    assert_int_equal(get(store, 5999), PCR_STORE_FOUND);
    assert_int_equal(stats.state, PCR_STORE_UP);
    store->ops->destroy(store);
}

// --- what may be wrong --------------------------------------------------------------------------
static void a_file_of_another_program_is_left_alone(void **state) {
    (void)state;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    char other[] = "other";
    MDB_val key = {5, other}, data = {5, other};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &data, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    struct pcr_store *store;
    struct pacer_error err;
    assert_int_equal(try_open(&store, MIB, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "belongs to another program"));
    assert_int_equal(access(file_in("data.mdb"), F_OK), 0);
}

static void spoil_and_reopen(const char *how) {
    struct pcr_store *store = open_store(4 * MIB);
    for (uint64_t i = 0; i < 300; i++)
        put(store, i, 60000);
    store->ops->destroy(store);
    if (system(how) != 0)
        fail_msg("%s", how);
    store = open_store(4 * MIB);
    assert_int_equal(get(store, 1), PCR_STORE_MISSING);
    put(store, 1, 60000);
    commit(store);
    assert_int_equal(get(store, 1), PCR_STORE_FOUND);
    store->ops->destroy(store);
    assert_int_equal(access(file_in("data.mdb.bad"), F_OK), 0);
}

static void a_file_that_is_cut_or_overwritten_is_set_aside(void **state) {
    (void)state;
    static const char *const ways[] = {"truncate -s 40960 '%s/data.mdb'",
                                       "truncate -s 100 '%s/data.mdb'",
                                       "printf 'not a database, surely not' > '%s/data.mdb'"};
    for (size_t i = 0; i < PCR_COUNT_OF(ways); i++) {
        char command[400];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(command, sizeof command, ways[i], dir);
#pragma GCC diagnostic pop
        spoil_and_reopen(command);
    }
}

static void what_cannot_be_opened_says_why(void **state) {
    (void)state;
    struct pcr_store *store, *second;
    struct pacer_error err;
    store = open_store(MIB);
    assert_int_equal(try_open(&second, MIB, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "open in this process already"));
    store->ops->destroy(store);
    char path[300];
    snprintf(path, sizeof path, "%s", file_in("a file"));
    close(open(path, O_CREAT | O_WRONLY, 0600));
    const struct pcr_store_lmdb_options options = {.path = path, .bytes_max = MIB};
    assert_int_equal(pcr_store_lmdb_open(&options, &store, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "is not a directory"));
    if (geteuid() == 0) // who may do everything
        return;
    chmod(dir, 0500);
    assert_int_equal(try_open(&store, MIB, &err), PACER_EIO);
    assert_non_null(strstr(err.message, "Permission denied"));
}

// --- processes ----------------------------------------------------------------------------------
static void child_puts(unsigned from) {
    struct pcr_store *store = open_store(8 * MIB);
    for (uint64_t i = from;; i = i + 1 < from + 400 ? i + 1 : from)
        if (!put(store, i, 60000))
            usleep(1000);
}

static void two_processes_share_a_file(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct pcr_store *store = open_store(8 * MIB);
        for (uint64_t i = 0; i < 100; i++)
            put(store, i, 60000);
        store->ops->destroy(store);
        _exit(0);
    }
    struct pcr_store *store = open_store(8 * MIB);
    put(store, 1000, 60000);
    commit(store);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(get(store, 50), PCR_STORE_FOUND);
    assert_int_equal(get(store, 1000), PCR_STORE_FOUND);
    store->ops->destroy(store);
}

static void killed_at_any_moment_it_has_whole_values(void **state) {
    (void)state;
    unsigned found = 0;
    for (unsigned round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0)
            child_puts(round * 10);
        usleep(20000 + round * 17000 % 230000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        struct pcr_store *store = open_store(8 * MIB);
        for (uint64_t i = 0; i < 600; i++)
            found += get(store, i) == PCR_STORE_FOUND; // right, or get says so
        assert_int_equal(access(file_in("data.mdb.bad"), F_OK), -1);
        store->ops->destroy(store);
    }
    assert_true(found > 100);
}

static void on_a_full_disk_requests_go_on(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) { // a file may not grow any more: as a full disk, but in one process
        struct pcr_store *store = open_store(64 * MIB);
        put(store, 1, 60000);
        commit(store);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {1 << 18, 1 << 18};
        setrlimit(RLIMIT_FSIZE, &limit);
        for (uint64_t i = 2; i < 2000; i++)
            put(store, i, 60000);
        purge(store, (struct pcr_store_purge){.by_key = true});
        struct pcr_store_stats stats;
        store->ops->stats(store, &stats);
        int code = stats.dropped > 0 && stats.state == PCR_STORE_DOWN && stats.why[0] &&
                           get(store, 1) == PCR_STORE_FOUND
                       ? 0
                       : 1;
        store->ops->destroy(store);
        _exit(code);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(what_was_put_is_there_after_a_restart),
        IN_DIR(what_has_expired_is_missing_and_swept_out),
        IN_DIR(a_value_replaces_the_one_before),
        IN_DIR(a_purge_takes_a_model_a_tenant_or_a_key),
        IN_DIR(a_full_file_lets_go_of_what_expires_first),
        IN_DIR(a_file_of_another_program_is_left_alone),
        IN_DIR(a_file_that_is_cut_or_overwritten_is_set_aside),
        IN_DIR(what_cannot_be_opened_says_why),
        IN_DIR(two_processes_share_a_file),
        IN_DIR(killed_at_any_moment_it_has_whole_values),
        IN_DIR(on_a_full_disk_requests_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
