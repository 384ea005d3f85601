// SPDX-License-Identifier: Apache-2.0
// What disks and other processes do to the LMDB store. The other processes are forked while no
// store is open here, and use LMDB itself where they do what pacer would not.
#include "test.h"

#include "store_fixture.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define LONG_MS 600000
#define ENTRIES "pacer-cache-1-entries"
#define EXPIRY "pacer-cache-1-expiry"

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
    char command[400];
    umount2(dir, MNT_DETACH); // where a test has mounted something
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static const char *file_in(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static bool is_there(const char *name) {
    return access(file_in(name), F_OK) == 0;
}

static uint64_t data_bytes(void) {
    struct stat st;
    return stat(file_in("data.mdb"), &st) == 0 ? (uint64_t)st.st_size : 0;
}

// --- a store ------------------------------------------------------------------------------------
static struct pcr_store *open_with(struct pcr_store_lmdb_options options) {
    struct pcr_store *store;
    struct pacer_error err;
    options.path = dir;
    if (pcr_store_lmdb_open(&options, &store, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static struct pcr_store *open_store(uint64_t bytes_max) {
    return open_with((struct pcr_store_lmdb_options){.bytes_max = bytes_max});
}

static struct pcr_store_name name_of(uint64_t model, uint64_t number) {
    uint64_t mixed = number * 0x9E3779B97F4A7C15u;
    return (struct pcr_store_name){.model = model, .hi = mixed, .lo = number};
}

static bool put_bytes(struct pcr_store *store, struct pcr_store_name name, size_t n) {
    char *value = malloc(n + 1);
    assert_non_null(value);
    for (size_t i = 0; i < n; i++)
        value[i] = (char)(name.lo * 7 + i * 3 + n);
    bool taken = store->ops->put(store, &name, (struct pcr_str){value, n}, LONG_MS);
    free(value);
    return taken;
}

static struct pcr_store_stats stats_of(struct pcr_store *store) {
    struct pcr_store_stats stats;
    store->ops->stats(store, &stats);
    return stats;
}

// Again where the machine was too busy to answer in time.
static enum pcr_store_found get(struct pcr_store *store, struct pcr_store_name name) {
    struct wait wait;
    uint64_t late;
    enum pcr_store_found found;
    do {
        late = stats_of(store).timeouts;
        found = ask_store(store, name, &wait);
    } while (found == PCR_STORE_FAILED && stats_of(store).timeouts > late);
    for (size_t i = 0; found == PCR_STORE_FOUND && i < wait.n; i++)
        PCR_ASSERT(wait.value[i] == (char)(name.lo * 7 + i * 3 + wait.n));
    return found;
}

// A purge of nothing comes back when all that was put before is committed.
static int64_t commit(struct pcr_store *store) {
    return purge(store, (struct pcr_store_purge){.by_model = true,
                                                 .by_tenant = true,
                                                 .by_key = true,
                                                 .name = {.model = UINT64_MAX}});
}

static int64_t purge_model(struct pcr_store *store, uint64_t model) {
    return purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = model}});
}

static void fill(struct pcr_store *store, uint64_t model, uint64_t n, size_t bytes) {
    for (uint64_t i = 0; i < n; i++)
        while (!put_bytes(store, name_of(model, i), bytes))
            usleep(500);
}

// --- LMDB without a store -----------------------------------------------------------------------
static MDB_env *open_env(uint64_t bytes_max) {
    MDB_env *env;
    PCR_ASSERT(mdb_env_create(&env) == 0);
    PCR_ASSERT(mdb_env_set_mapsize(env, bytes_max) == 0);
    PCR_ASSERT(mdb_env_set_maxdbs(env, 4) == 0);
    PCR_ASSERT(mdb_env_open(env, dir, MDB_NOTLS, 0600) == 0);
    return env;
}

static int put_row(MDB_txn *txn, MDB_dbi dbi, const char *row, size_t bytes) {
    char *value = calloc(1, bytes);
    MDB_val key = {strlen(row), (char *)(uintptr_t)row}, data = {bytes, value};
    int rc = mdb_put(txn, dbi, &key, &data, 0);
    free(value);
    return rc;
}

static void write_rows(MDB_env *env, const char *table, unsigned n, size_t bytes) {
    MDB_txn *txn;
    MDB_dbi dbi;
    PCR_ASSERT(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    PCR_ASSERT(mdb_dbi_open(txn, table, table ? MDB_CREATE : 0, &dbi) == 0);
    for (unsigned i = 0; i < n; i++) {
        char row[32];
        snprintf(row, sizeof row, "row %u", i);
        PCR_ASSERT(put_row(txn, dbi, row, bytes) == 0);
    }
    PCR_ASSERT(mdb_txn_commit(txn) == 0);
}

// Both tables speak of the same entries.
static void check_tables(uint64_t bytes_max) {
    MDB_env *env = open_env(bytes_max);
    MDB_txn *txn;
    MDB_dbi entries, expiry;
    MDB_cursor *cursor;
    MDB_val key, data;
    MDB_stat a, b;
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, ENTRIES, 0, &entries), 0);
    assert_int_equal(mdb_dbi_open(txn, EXPIRY, 0, &expiry), 0);
    assert_int_equal(mdb_stat(txn, entries, &a), 0);
    assert_int_equal(mdb_stat(txn, expiry, &b), 0);
    assert_int_equal(a.ms_entries, b.ms_entries);
    assert_int_equal(mdb_cursor_open(txn, expiry, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
        MDB_val name = {32, (char *)key.mv_data + 8}, entry;
        assert_int_equal(key.mv_size, 40);
        assert_int_equal(mdb_get(txn, entries, &name, &entry), 0);
        assert_memory_equal(entry.mv_data, key.mv_data, 8);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

// --- another process ----------------------------------------------------------------------------
struct other {
    pid_t pid;
    int from, to; // pipes
};

static void tell(int fd) {
    PCR_ASSERT(write(fd, "x", 1) == 1);
}

static void hear(int fd) {
    char c;
    PCR_ASSERT(read(fd, &c, 1) == 1);
}

// It does `act`, which says and hears when.
static struct other start(void (*act)(int from, int to)) {
    int there[2], back[2];
    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60); // should this one fail
        act(there[0], back[1]);
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    return (struct other){pid, back[0], there[1]};
}

static int end(struct other *other, int signal_) {
    int status;
    if (signal_)
        kill(other->pid, signal_);
    waitpid(other->pid, &status, 0);
    close(other->from);
    close(other->to);
    return status;
}

// --- sizes --------------------------------------------------------------------------------------
static void a_model_can_be_purged_however_full_the_file_and_small_the_values(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes_max;
        size_t bytes;
    } of[] = {{MIB, 10}, {MIB, 60}, {2 * MIB, 3000}, {4 * MIB, 100000}};
    for (size_t i = 0; i < PCR_COUNT_OF(of); i++) {
        struct pcr_store *store = open_store(of[i].bytes_max);
        fill(store, 1, 2 * of[i].bytes_max / (of[i].bytes + 100), of[i].bytes);
        commit(store);
        struct pcr_store_stats stats = stats_of(store);
        assert_int_equal(stats.state, PCR_STORE_UP);
        assert_true(stats.evicted > 0 && stats.entries > 0);
        assert_true(stats.bytes <= of[i].bytes_max * 3 / 4);
        assert_int_equal(purge_model(store, 1), stats.entries);
        assert_int_equal(stats_of(store).entries, 0);
        put_bytes(store, name_of(1, 1), 10);
        assert_int_equal(commit(store), 0);
        assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FOUND);
        assert_int_equal(stats_of(store).state, PCR_STORE_UP);
        assert_true(data_bytes() <= of[i].bytes_max);
        store->ops->destroy(store);
        check_tables(of[i].bytes_max);
        assert_false(is_there("data.mdb.bad"));
        unlink(file_in("data.mdb"));
    }
}

static void values_of_all_sizes_come_and_go(void **state) {
    (void)state;
    unsigned random = 1;
    for (unsigned round = 0; round < 25; round++) {
        struct pcr_store *store = open_store(3 * MIB);
        for (unsigned i = 0; i < 200; i++) {
            random = random * 1664525 + 1013904223;
            size_t n = (random >> 8) % (random >> 30 ? 3000 : 60000);
            put_bytes(store, name_of(random >> 28, (random >> 12) % 1000), n);
            if (random % 64 == 0)
                assert_true(purge_model(store, random >> 28) >= 0);
        }
        assert_int_equal(commit(store), 0);
        assert_int_equal(stats_of(store).state, PCR_STORE_UP);
        store->ops->destroy(store);
        assert_true(data_bytes() <= 3 * MIB);
        assert_false(is_there("data.mdb.bad"));
    }
    check_tables(3 * MIB);
}

static void a_file_that_may_be_no_longer_so_large_begins_anew(void **state) {
    (void)state;
    struct pcr_store *store = open_store(16 * MIB);
    fill(store, 1, 2000, 3000);
    store->ops->destroy(store);
    assert_true(data_bytes() > 2 * MIB);
    store = open_store(2 * MIB);
    assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_MISSING);
    fill(store, 1, 2000, 3000);
    assert_int_equal(commit(store), 0);
    assert_int_equal(get(store, name_of(1, 1999)), PCR_STORE_FOUND);
    store->ops->destroy(store);
    assert_true(data_bytes() <= 2 * MIB);
    assert_false(is_there("data.mdb.bad"));
}

static void a_large_file_of_another_program_is_left_alone(void **state) {
    (void)state;
    MDB_env *env = open_env(16 * MIB);
    write_rows(env, NULL, 1000, 3000);
    mdb_env_close(env);
    uint64_t bytes = data_bytes();
    struct pcr_store_lmdb_options options = {.path = dir, .bytes_max = MIB};
    struct pcr_store *store;
    struct pacer_error err;
    assert_int_equal(pcr_store_lmdb_open(&options, &store, &err), PACER_EINVAL);
    assert_non_null(strstr(err.message, "belongs to another program"));
    assert_int_equal(data_bytes(), bytes);
}

// LMDB does not write pages that a transaction took and gave up again, even the last ones.
static void a_file_may_lack_pages_that_are_free(void **state) {
    (void)state;
    struct pcr_store *store = open_store(4 * MIB);
    fill(store, 1, 100, 100);
    store->ops->destroy(store);
    MDB_env *env = open_env(4 * MIB);
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_envinfo info;
    MDB_val key = {6, (char *)(uintptr_t) "row 0x"};
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, ENTRIES, 0, &dbi), 0);
    assert_int_equal(put_row(txn, dbi, "row 0x", 60000), 0);
    assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    assert_int_equal(mdb_env_info(env, &info), 0);
    mdb_env_close(env);
    if (data_bytes() >= (info.me_last_pgno + 1) * 4096)
        print_message("this LMDB writes them; the test says nothing\n");
    for (int i = 0; i < 2; i++) {
        store = open_store(4 * MIB);
        assert_int_equal(get(store, name_of(1, 99)), PCR_STORE_FOUND);
        store->ops->destroy(store);
        assert_false(is_there("data.mdb.bad"));
    }
}

static void a_file_that_lacks_one_page_in_use_is_set_aside(void **state) {
    (void)state;
    struct pcr_store *store = open_store(4 * MIB);
    fill(store, 1, 1, 100);
    commit(store);
    put_bytes(store, name_of(1, 2), 60000); // the last pages
    store->ops->destroy(store);
    assert_int_equal(truncate(file_in("data.mdb"), (off_t)data_bytes() - 4096), 0);
    store = open_store(4 * MIB);
    assert_int_equal(get(store, name_of(1, 0)), PCR_STORE_MISSING);
    store->ops->destroy(store);
    assert_true(is_there("data.mdb.bad"));
}

static void a_file_that_is_overwritten_while_in_use_begins_anew(void **state) {
    (void)state;
    static char zeros[4096];
    for (int i = 0; i < 2; i++) { // a get finds out, then a put
        struct pcr_store *store = open_store(4 * MIB);
        fill(store, 1, 300, 300);
        commit(store);
        int fd = open(file_in("data.mdb"), O_WRONLY);
        for (off_t at = 2 * 4096; at < (off_t)data_bytes(); at += 4096)
            assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), sizeof zeros);
        close(fd);
        if (i == 0)
            assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FAILED);
        else
            put_bytes(store, name_of(1, 1), 100);
        for (int tries = 0; tries < 500 && !is_there("data.mdb.bad"); tries++)
            usleep(10000);
        put_bytes(store, name_of(1, 2), 100);
        assert_int_equal(commit(store), 0);
        assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_MISSING);
        assert_int_equal(get(store, name_of(1, 2)), PCR_STORE_FOUND);
        assert_int_equal(stats_of(store).state, PCR_STORE_UP);
        store->ops->destroy(store);
        assert_int_equal(unlink(file_in("data.mdb.bad")), 0);
    }
}

// --- a full disk --------------------------------------------------------------------------------
static bool mount_small(const char *size) {
    if (mount("pacer-test", dir, "tmpfs", 0, size) == 0)
        return true;
    print_message("cannot mount a small disk here: skipped\n");
    return false;
}

static void fill_disk(void) {
    static char zeros[4096];
    int fd = open(file_in("filling"), O_CREAT | O_WRONLY, 0600);
    while (write(fd, zeros, sizeof zeros) > 0) {
    }
    close(fd);
}

// In a process of its own: LMDB's map of its lock file would be its death.
static void open_on_full_disk(int from, int to) {
    (void)from;
    const struct pcr_store_lmdb_options options = {.path = dir, .bytes_max = MIB};
    struct pcr_store *store;
    struct pacer_error err;
    int rc = pcr_store_lmdb_open(&options, &store, &err);
    PCR_ASSERT(rc == PACER_EIO && strstr(err.message, "make room"));
    unlink(file_in("filling"));
    PCR_ASSERT(pcr_store_lmdb_open(&options, &store, &err) == 0);
    store->ops->destroy(store);
    tell(to);
}

static void on_a_full_disk_the_start_says_so(void **state) {
    (void)state;
    if (!mount_small("size=64k"))
        return;
    fill_disk();
    struct other other = start(open_on_full_disk);
    assert_int_equal(end(&other, 0), 0);
}

static void a_disk_that_is_full_costs_only_what_is_put(void **state) {
    (void)state;
    if (!mount_small("size=2m"))
        return;
    struct pcr_store *store = open_store(64 * MIB);
    for (uint64_t i = 0; i < 3000; i++) {
        put_bytes(store, name_of(1, i), 1000);
        if (i % 100 == 0)
            commit(store);
    }
    struct pcr_store_stats stats = stats_of(store);
    assert_int_equal(stats.state, PCR_STORE_DOWN);
    assert_true(stats.puts > 100 && stats.dropped > 100 && stats.why[0]);
    assert_int_equal(get(store, name_of(1, 0)), PCR_STORE_FOUND);
    store->ops->destroy(store);
    fill_disk();
    store = open_store(64 * MIB);
    assert_int_equal(get(store, name_of(1, 0)), PCR_STORE_FOUND);
    assert_int_equal(unlink(file_in("filling")), 0);
    put_bytes(store, name_of(2, 1), 1000);
    commit(store);
    assert_int_equal(get(store, name_of(2, 1)), PCR_STORE_FOUND);
    assert_int_equal(stats_of(store).state, PCR_STORE_UP);
    store->ops->destroy(store);
    assert_false(is_there("data.mdb.bad"));
}

// --- other processes ----------------------------------------------------------------------------
static void make_larger(int from, int to) {
    hear(from);
    struct pcr_store *store = open_store(64 * MIB);
    fill(store, 2, 3000, 3000);
    store->ops->destroy(store);
    tell(to);
}

static void a_file_that_another_process_makes_larger_is_followed(void **state) {
    (void)state;
    struct other other = start(make_larger);
    struct pcr_store *store = open_store(2 * MIB);
    put_bytes(store, name_of(1, 1), 100);
    commit(store);
    tell(other.to);
    hear(other.from);
    assert_true(data_bytes() > 4 * MIB);
    for (int i = 0; i < 200 && get(store, name_of(1, 1)) != PCR_STORE_FOUND; i++)
        usleep(10000); // the first find out
    assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FOUND);
    put_bytes(store, name_of(1, 2), 100);
    assert_int_equal(commit(store), 0);
    assert_int_equal(get(store, name_of(1, 2)), PCR_STORE_FOUND);
    assert_int_equal(stats_of(store).state, PCR_STORE_UP);
    store->ops->destroy(store);
    assert_int_equal(end(&other, 0), 0);
}

static void hold_lock(int from, int to) {
    MDB_env *env = open_env(4 * MIB);
    MDB_txn *txn;
    hear(from);
    PCR_ASSERT(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    tell(to);
    hear(from);
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

static void a_process_that_holds_the_lock_holds_up_no_gets_and_no_end(void **state) {
    (void)state;
    struct other other = start(hold_lock);
    struct pcr_store *store = open_store(4 * MIB);
    put_bytes(store, name_of(1, 1), 100);
    commit(store);
    tell(other.to);
    hear(other.from);
    struct wait under_way, waiting;
    struct wait *both[] = {&under_way, &waiting};
    for (size_t i = 0; i < 2; i++) {
        wait_begins(both[i]);
        both[i]->purge = (struct pcr_store_purge){.by_model = true, .done = on_purged};
        store->ops->purge(store, &both[i]->purge);
        usleep(50000);
    }
    unsigned taken = 0;
    while (put_bytes(store, name_of(2, taken), 100))
        assert_in_range(++taken, 0, 10000); // there is a bound
    assert_true(stats_of(store).dropped > 0);
    assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FOUND);
    uint64_t began_ns = pcr_clock_mono_ns();
    store->ops->destroy(store);
    assert_true(pcr_clock_mono_ns() - began_ns < 5 * PCR_NS_PER_S);
    for (size_t i = 0; i < 2; i++) {
        wait_for(both[i]);
        assert_int_equal(both[i]->removed, PACER_ECANCELED);
    }
    tell(other.to); // now the thread that was left ends, and with it the file can be had again
    assert_int_equal(end(&other, 0), 0);
    const struct pcr_store_lmdb_options options = {.path = dir, .bytes_max = 4 * MIB};
    int rc = PACER_EINVAL;
    for (int i = 0; i < 500 && rc == PACER_EINVAL; i++, usleep(10000))
        rc = pcr_store_lmdb_open(&options, &store, NULL);
    assert_int_equal(rc, 0);
    store->ops->destroy(store);
}

static void read_and_stand_still(int from, int to) {
    MDB_env *env = open_env(4 * MIB);
    MDB_txn *txn;
    PCR_ASSERT(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    tell(to);
    hear(from);
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

static void put_many(struct pcr_store *store, uint64_t model) {
    for (uint64_t i = 0; i < 4000; i++) {
        put_bytes(store, name_of(model, i), 1000);
        if (i % 200 == 0)
            commit(store);
    }
    commit(store);
}

static void a_reader_that_stands_still_costs_only_what_is_put(void **state) {
    (void)state;
    struct pcr_store *store = open_store(4 * MIB);
    fill(store, 1, 500, 1000);
    store->ops->destroy(store);
    struct other other = start(read_and_stand_still);
    hear(other.from);
    store = open_store(4 * MIB);
    put_many(store, 2);
    struct pcr_store_stats stats = stats_of(store);
    assert_int_equal(stats.state, PCR_STORE_DOWN);
    assert_true(stats.puts > 100 && stats.dropped > 100);
    assert_int_equal(get(store, name_of(2, 0)), PCR_STORE_FOUND);
    tell(other.to);
    assert_int_equal(end(&other, 0), 0);
    put_many(store, 3);
    assert_int_equal(get(store, name_of(3, 3999)), PCR_STORE_FOUND);
    assert_int_equal(stats_of(store).state, PCR_STORE_UP);
    assert_true(data_bytes() <= 4 * MIB);
    store->ops->destroy(store);
    check_tables(4 * MIB);
}

static void take_all_readers(int from, int to) {
    MDB_env *env = open_env(4 * MIB);
    MDB_txn *txn;
    unsigned n = 0;
    while (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0)
        n++;
    PCR_ASSERT(n > 100);
    tell(to);
    hear(from);
}

static void dead_readers_give_their_places_back(void **state) {
    (void)state;
    struct other other = start(take_all_readers);
    hear(other.from);
    end(&other, SIGKILL);
    struct pcr_store *store = open_store(4 * MIB);
    put_bytes(store, name_of(1, 1), 100);
    assert_int_equal(commit(store), 0);
    assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FOUND);
    store->ops->destroy(store);
}

static void use_older_layout(int from, int to) {
    MDB_env *env = open_env(4 * MIB);
    write_rows(env, "pacer-cache-0-entries", 100, 1000);
    tell(to);
    hear(from);
    for (int i = 0; i < 20; i++)
        write_rows(env, "pacer-cache-0-entries", 100, 1000);
    mdb_env_close(env);
}

static void an_older_pacer_goes_on_with_the_file_it_has(void **state) {
    (void)state;
    struct other other = start(use_older_layout);
    hear(other.from);
    struct pcr_store *store = open_store(4 * MIB);
    assert_true(is_there("data.mdb.bad"));
    fill(store, 1, 100, 1000);
    tell(other.to);
    fill(store, 2, 100, 1000);
    assert_int_equal(commit(store), 0);
    assert_int_equal(end(&other, 0), 0);
    assert_int_equal(get(store, name_of(1, 99)), PCR_STORE_FOUND);
    assert_int_equal(get(store, name_of(2, 99)), PCR_STORE_FOUND);
    store->ops->destroy(store);
    check_tables(4 * MIB);
}

static void open_and_put(int from, int to) {
    hear(from);
    struct pcr_store *store = open_store(4 * MIB);
    put_bytes(store, name_of(1, (uint64_t)getpid()), 100);
    store->ops->destroy(store);
    tell(to);
}

static void several_that_find_a_damaged_file_agree_on_the_new_one(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct other others[4];
        for (size_t i = 0; i < PCR_COUNT_OF(others); i++)
            others[i] = start(open_and_put);
        int fd = open(file_in("data.mdb"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        assert_int_equal(write(fd, "rubbish", 7), 7);
        close(fd);
        for (size_t i = 0; i < PCR_COUNT_OF(others); i++)
            tell(others[i].to);
        for (size_t i = 0; i < PCR_COUNT_OF(others); i++)
            assert_int_equal(end(&others[i], 0), 0);
        struct pcr_store *store = open_store(4 * MIB);
        for (size_t i = 0; i < PCR_COUNT_OF(others); i++)
            assert_int_equal(get(store, name_of(1, (uint64_t)others[i].pid)), PCR_STORE_FOUND);
        store->ops->destroy(store);
    }
}

// Says after each commit up to where it got.
static void put_and_tell(int from, int to) {
    (void)from;
    struct pcr_store *store = open_store(4 * MIB);
    for (uint64_t i = 0;; i++) {
        put_bytes(store, name_of(1, i % 400), i % 7 * 500);
        if (i % 40 != 39)
            continue;
        if (i % 200 == 199)
            purge_model(store, 2);
        if (commit(store) == 0)
            PCR_ASSERT(write(to, &i, sizeof i) == sizeof i);
    }
}

static void what_was_committed_outlives_a_kill_at_any_moment(void **state) {
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct other other = start(put_and_tell);
        uint64_t told = 0, next;
        usleep(20000 + round * 37000 % 150000);
        kill(other.pid, SIGKILL);
        while (read(other.from, &next, sizeof next) == sizeof next)
            told = next;
        end(&other, 0);
        struct pcr_store *store = open_store(4 * MIB);
        for (uint64_t i = 0; i < 400 && i < told; i++)
            assert_int_equal(get(store, name_of(1, i)), PCR_STORE_FOUND);
        put_bytes(store, name_of(3, round), 100);
        assert_int_equal(commit(store), 0);
        assert_int_equal(get(store, name_of(3, round)), PCR_STORE_FOUND);
        store->ops->destroy(store);
        check_tables(4 * MIB);
        assert_false(is_there("data.mdb.bad"));
    }
}

// --- the queue of gets --------------------------------------------------------------------------
#define MANY 5000

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool stands, may_go;
    unsigned done, failed, found;
    struct pcr_store_get gets[MANY];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void hold_up(struct pcr_store_get *get, enum pcr_store_found found, struct pcr_str value) {
    (void)get, (void)found, (void)value;
    pthread_mutex_lock(&queue.lock);
    queue.stands = true;
    pthread_cond_broadcast(&queue.moved);
    while (!queue.may_go)
        pthread_cond_wait(&queue.moved, &queue.lock);
    pthread_mutex_unlock(&queue.lock);
}

static void count_done(struct pcr_store_get *get, enum pcr_store_found found,
                       struct pcr_str value) {
    (void)get, (void)value;
    pthread_mutex_lock(&queue.lock);
    queue.done++;
    queue.failed += found == PCR_STORE_FAILED;
    queue.found += found == PCR_STORE_FOUND;
    pthread_cond_broadcast(&queue.moved);
    pthread_mutex_unlock(&queue.lock);
}

static void gets_that_wait_too_long_or_are_too_many_fail(void **state) {
    (void)state;
    struct pcr_store *store = open_store(4 * MIB);
    put_bytes(store, name_of(1, 1), 100);
    commit(store);
    struct pcr_store_get first = {.name = name_of(1, 1), .done = hold_up};
    store->ops->get(store, &first);
    pthread_mutex_lock(&queue.lock);
    while (!queue.stands)
        pthread_cond_wait(&queue.moved, &queue.lock);
    pthread_mutex_unlock(&queue.lock);
    for (unsigned i = 0; i < MANY; i++) {
        queue.gets[i] = (struct pcr_store_get){.name = name_of(1, 1), .done = count_done};
        store->ops->get(store, &queue.gets[i]);
    }
    pthread_mutex_lock(&queue.lock);
    assert_in_range(queue.done, MANY - 4096, MANY - 4095); // at once
    pthread_mutex_unlock(&queue.lock);
    usleep(60000);
    pthread_mutex_lock(&queue.lock);
    queue.may_go = true;
    pthread_cond_broadcast(&queue.moved);
    while (queue.done < MANY)
        pthread_cond_wait(&queue.moved, &queue.lock);
    assert_int_equal(queue.failed, MANY);
    pthread_mutex_unlock(&queue.lock);
    struct pcr_store_stats stats = stats_of(store);
    assert_in_range(stats.timeouts, 4095, 4096);
    assert_int_equal(get(store, name_of(1, 1)), PCR_STORE_FOUND);
    store->ops->destroy(store);
}

static void the_end_answers_what_waits(void **state) {
    (void)state;
    struct pcr_store *store = open_store(4 * MIB);
    put_bytes(store, name_of(1, 1), 100);
    commit(store);
    queue.done = queue.failed = queue.found = 0;
    for (unsigned i = 0; i < 500; i++) {
        queue.gets[i] = (struct pcr_store_get){.name = name_of(1, 1), .done = count_done};
        store->ops->get(store, &queue.gets[i]);
    }
    struct wait wait;
    wait_begins(&wait);
    wait.purge = (struct pcr_store_purge){.by_model = true, .name = {.model = 2}};
    wait.purge.done = on_purged;
    store->ops->purge(store, &wait.purge);
    store->ops->destroy(store);
    assert_int_equal(queue.done, 500);
    wait_for(&wait);
    assert_int_equal(wait.removed, 0);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(a_model_can_be_purged_however_full_the_file_and_small_the_values),
        IN_DIR(values_of_all_sizes_come_and_go),
        IN_DIR(a_file_that_may_be_no_longer_so_large_begins_anew),
        IN_DIR(a_large_file_of_another_program_is_left_alone),
        IN_DIR(a_file_may_lack_pages_that_are_free),
        IN_DIR(a_file_that_lacks_one_page_in_use_is_set_aside),
        IN_DIR(a_file_that_is_overwritten_while_in_use_begins_anew),
        IN_DIR(on_a_full_disk_the_start_says_so),
        IN_DIR(a_disk_that_is_full_costs_only_what_is_put),
        IN_DIR(a_file_that_another_process_makes_larger_is_followed),
        IN_DIR(a_process_that_holds_the_lock_holds_up_no_gets_and_no_end),
        IN_DIR(a_reader_that_stands_still_costs_only_what_is_put),
        IN_DIR(dead_readers_give_their_places_back),
        IN_DIR(an_older_pacer_goes_on_with_the_file_it_has),
        IN_DIR(several_that_find_a_damaged_file_agree_on_the_new_one),
        IN_DIR(what_was_committed_outlives_a_kill_at_any_moment),
        IN_DIR(gets_that_wait_too_long_or_are_too_many_fail),
        IN_DIR(the_end_answers_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
