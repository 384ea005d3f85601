// SPDX-License-Identifier: Apache-2.0
// Rubbish in an LMDB file: either it is found before LMDB sees it, or LMDB can work with the file.
// Whatever is let through is used in a child process, which must come to its end.
#include "test.h"

#include "store_fixture.h"

#include "cache/store_lmdb_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define PAGE 4096
#define ENTRIES_N 300

static char dir[64], data[96], locks[96], bad[96];
static char *good; // the file as LMDB wrote it
static size_t n_pages;
static int fd;

// --- a file ---------------------------------------------------------------------------------
static struct pcr_store_name name_of(uint64_t i) {
    return (struct pcr_store_name){.model = i % 3, .hi = i * 0x9E3779B97F4A7C15u, .lo = i};
}

static void put(struct pcr_store *store, uint64_t i, uint64_t ttl_ms) {
    static const char value[5000];
    struct pcr_store_name name = name_of(i);
    store->ops->put(store, &name, (struct pcr_str){value, i * 37 % sizeof value}, ttl_ms);
}

static struct pcr_store *open_store(void) {
    const struct pcr_store_lmdb_options options = {.path = dir, .bytes_max = 8 * MIB};
    struct pcr_store *store;
    return pcr_store_lmdb_open(&options, &store, NULL) < 0 ? NULL : store;
}

// Several transactions, so that there are free pages, too.
static int make_file(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/pacer-verify-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(data, sizeof data, "%s/data.mdb", dir);
    snprintf(locks, sizeof locks, "%s/lock.mdb", dir);
    snprintf(bad, sizeof bad, "%s/data.mdb.bad", dir);
    struct pcr_store *store = open_store();
    for (uint64_t i = 0; i < ENTRIES_N; i++)
        put(store, i, 600000 + i);
    purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = 1}});
    for (uint64_t i = 0; i < ENTRIES_N / 2; i++)
        put(store, i, 500000 + i);
    store->ops->destroy(store);
    fd = open(data, O_RDWR | O_CLOEXEC);
    n_pages = (size_t)lseek(fd, 0, SEEK_END) / PAGE;
    good = malloc(n_pages * PAGE);
    return pread(fd, good, n_pages * PAGE, 0) == (ssize_t)(n_pages * PAGE) ? 0 : -1;
}

static int remove_file(void **state) {
    (void)state;
    char command[128];
    close(fd);
    free(good);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int verify(void) {
    enum pcr_lmdb_names names;
    int rc = pcr_lmdb_verify(data, locks, &names);
    return rc == 0 && names != PCR_LMDB_OURS ? MDB_CORRUPTED : rc;
}

static void write_at(const void *bytes, size_t n, size_t at) {
    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
}

static void mend(void) {
    // LMDB, or the store, may have found what is in order for LMDB and still wrong: a key of ours
    // that is too long, say. Then it was set aside.
    if (unlink(bad) == 0) {
        close(fd);
        unlink(data);
        fd = open(data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    assert_int_equal(ftruncate(fd, (off_t)(n_pages * PAGE)), 0);
    write_at(good, n_pages * PAGE, 0);
}

// --- using what was let through -------------------------------------------------------------
static void use_all(void) {
    if (!freopen("/dev/null", "w", stderr))
        _exit(9);
    struct pcr_store *store = open_store();
    struct wait wait;
    if (!store)
        _exit(8);
    for (uint64_t i = 0; i < ENTRIES_N; i++) {
        ask_store(store, name_of(i), &wait);
        put(store, i, 600000);
    }
    purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = 2}});
    purge(store, (struct pcr_store_purge){.by_tenant = true});
    store->ops->destroy(store);
    _exit(0);
}

static void assert_usable(const char *what, size_t at) {
    int status;
    pid_t child = fork();
    if (child == 0)
        use_all();
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s at byte %zu (page %zu): status %x", what, at, at / PAGE, (unsigned)status);
    mend();
}

static size_t n_found, n_taken;

static void try_bytes(const char *what, const void *bytes, size_t n, size_t at) {
    write_at(bytes, n, at);
    int rc = verify();
    assert_true(rc == 0 || rc == MDB_CORRUPTED);
    n_found += rc != 0;
    n_taken += rc == 0;
    if (rc == 0)
        assert_usable(what, at);
    else
        write_at(good + at, n, at);
}

// A page that a tree has: without its number the file would be worse.
static bool is_in_use(size_t page) {
    static const char nothing[8];
    write_at(nothing, sizeof nothing, page * PAGE);
    bool used = page == 0 || verify() == MDB_CORRUPTED;
    write_at(good + page * PAGE, sizeof nothing, page * PAGE);
    return used;
}

// --- tests ----------------------------------------------------------------------------------
static void a_good_file_is_good(void **state) {
    (void)state;
    assert_true(n_pages > 50);
    assert_int_equal(verify(), 0);
    assert_usable("nothing", 0);
    assert_int_equal(verify(), 0);
    assert_int_equal(pcr_lmdb_verify("/tmp/pacer-no-such-file", locks, &(enum pcr_lmdb_names){0}),
                     0);
}

// A value is replaced where it is, and keeps pages that the shorter one does not need.
static void shorter_values_in_long_places_are_good(void **state) {
    (void)state;
    static const char value[20000];
    struct pcr_store *store = open_store();
    for (size_t bytes = sizeof value; bytes > 0; bytes = bytes * 2 / 3) {
        struct pcr_store_name name = name_of(7);
        store->ops->put(store, &name, (struct pcr_str){value, bytes}, 600000);
        purge(store, (struct pcr_store_purge){.by_model = true, .name = {.model = 99}}); // commits
        if (bytes % 2 == 0)
            continue;
        store->ops->destroy(store); // at some of the lengths: looked at, and opened again
        assert_int_equal(verify(), 0);
        store = open_store();
    }
    store->ops->destroy(store);
    assert_int_equal(verify(), 0);
    mend();
}

// Of every page the whole.
static void pages_of_rubbish(void **state) {
    (void)state;
    char page[PAGE];
    n_found = n_taken = 0;
    for (size_t i = 0; i < n_pages; i++) {
        if (!is_in_use(i) && i % 8 != 0)
            continue;
        memset(page, i % 2 ? 0xff : 0, sizeof page);
        try_bytes("a page of one byte", page, sizeof page, i * PAGE);
        for (size_t k = 0; k < sizeof page; k++)
            page[k] = (char)((i * 31 + k) * 0x9E3779B97F4A7C15u >> 33);
        try_bytes("a page of noise", page, sizeof page, i * PAGE);
        memcpy(page, good + (i * 7 + 3) % n_pages * PAGE, sizeof page);
        try_bytes("another page", page, sizeof page, i * PAGE);
    }
    print_message("%zu found, %zu taken\n", n_found, n_taken);
    assert_true(n_found > 300 && n_taken > 0); // some pages are free
}

// Of every page the words at its begin, and some nodes.
static void words_of_rubbish(void **state) {
    (void)state;
    size_t n_used = 0, *used = calloc(n_pages, sizeof *used);
    for (size_t i = 0; i < n_pages; i++) {
        used[n_used] = i;
        n_used += is_in_use(i) && good[i * PAGE + 10] != 4; // overflow pages have no words
    }
    n_found = n_taken = 0;
    uint64_t random = 1;
    for (size_t round = 0; round < 8000; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t page = used[(random >> 40) % n_used] * PAGE, at = page + (random >> 20) % 40 * 2;
        if (round % 2) { // a node: where a pointer leads
            uint16_t lead;
            memcpy(&lead, good + at, sizeof lead);
            at = page + (lead + (random >> 30) % 8) % (PAGE - 2);
        }
        static const uint16_t words[] = {0, 1, 2, 8, 0x10, 0x7fff, 0xffff};
        uint16_t word;
        memcpy(&word, good + at, sizeof word);
        switch ((random >> 50) % 4) {
        case 0:
            word = words[(random >> 56) % PCR_COUNT_OF(words)];
            break;
        case 1:
            word ^= (uint16_t)(1u << (random >> 56) % 16);
            break;
        case 2:
            word = (uint16_t)(word + 2 * ((random >> 56) % 9) - 8);
            break;
        default:
            word = (uint16_t)(random >> 33);
        }
        if (memcmp(&word, good + at, sizeof word) == 0 || n_taken > 100)
            continue;
        try_bytes("a word", &word, sizeof word, at);
    }
    free(used);
    print_message("%zu found, %zu taken\n", n_found, n_taken);
    assert_true(n_found > 100 && n_taken > 20);
}

static void a_file_cut_anywhere(void **state) {
    (void)state;
    for (size_t bytes = 1; bytes < n_pages * PAGE; bytes += 1777) {
        assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
        if (verify() == 0)
            assert_usable("a cut", bytes);
        mend();
    }
}

// The number of an overflow page in the record of its value: where it is in the file; 0 if it is
// not in use. If it were, the file would be worse without it.
static size_t find_record(uint64_t number) {
    static const char nothing[sizeof number];
    for (char *found = memmem(good, n_pages * PAGE, &number, sizeof number); found;
         found = memmem(found + 1, (size_t)(good + n_pages * PAGE - found - 1), &number,
                        sizeof number)) {
        size_t at = (size_t)(found - good);
        if (at % PAGE < 16)
            continue; // it is that page
        write_at(nothing, sizeof nothing, at);
        bool used = verify() == MDB_CORRUPTED;
        write_at(good + at, sizeof nothing, at);
        if (used)
            return at;
    }
    return 0;
}

// A value in a page of its own belongs to one record only.
static void two_records_with_one_value_are_found(void **state) {
    (void)state;
    size_t at[2] = {0}, n = 0;
    for (size_t page = 2; page < n_pages && n < 2; page++) {
        uint16_t flags;
        memcpy(&flags, good + page * PAGE + 10, sizeof flags);
        size_t found = flags == 4 ? find_record(page) : 0;
        if (found)
            at[n++] = found;
    }
    assert_int_equal(n, 2);
    write_at(good + at[0], sizeof(uint64_t), at[1]);
    assert_int_equal(verify(), MDB_CORRUPTED);
    mend();
}

static void while_another_has_it_open_it_is_not_looked_at(void **state) {
    (void)state;
    int ready[2], go[2], status;
    char c = 0, rubbish[64] = {1, 2, 3};
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        struct pcr_store *store = open_store();
        if (!store || write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
            _exit(1);
        store->ops->destroy(store);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    write_at(rubbish, sizeof rubbish, (n_pages - 1) * PAGE);
    write_at(rubbish, sizeof rubbish, 0);
    assert_int_equal(verify(), 0);
    mend();
    assert_int_equal(write(go[1], &c, 1), 1);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    write_at(rubbish, sizeof rubbish, 0);
    assert_int_equal(verify(), MDB_CORRUPTED);
    mend();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_good),
        cmocka_unit_test(shorter_values_in_long_places_are_good),
        cmocka_unit_test(pages_of_rubbish),
        cmocka_unit_test(words_of_rubbish),
        cmocka_unit_test(a_file_cut_anywhere),
        cmocka_unit_test(two_records_with_one_value_are_found),
        cmocka_unit_test(while_another_has_it_open_it_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
