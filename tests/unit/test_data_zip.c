// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "zip_fixture.h"

#include "data/zip.h"

static int setup(void **state) {
    static struct pcr_arena arena;
    pcr_arena_init(&arena, 16 << 20);
    *state = &arena;
    return 0;
}

static int teardown(void **state) {
    pcr_arena_fini(*state);
    return 0;
}

static const char lines[] = "one line\none line\none line\none line\none line\none line\n";

// "a" is stored, "b/c.txt" deflated, "empty" is empty.
static struct zip_file make(bool zip64, bool sizes_follow, const char *comment) {
    struct zip_file zip;
    zip_init(&zip);
    zip.zip64 = zip64;
    zip.sizes_follow = sizes_follow;
    zip_add(&zip, "a", "stored", 6, false);
    zip_add(&zip, "b/c.txt", lines, sizeof lines - 1, true);
    zip_add(&zip, "empty", "", 0, true);
    zip_finish(&zip, comment);
    return zip;
}

static int open_copy(struct pcr_arena *arena, struct pcr_str bytes, struct pcr_zip *out,
                     struct pacer_error *err) {
    char *copy = pcr_arena_alloc(arena, bytes.len ? bytes.len : 1); // its end is seen by ASan
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    return pcr_zip_open(arena, (struct pcr_str){copy, bytes.len}, out, err);
}

static void expect_entry(struct pcr_arena *arena, const struct pcr_zip *zip, const char *name,
                         const char *content) {
    const struct pcr_zip_entry *entry = pcr_zip_find(zip, pcr_str(name));
    struct pcr_str out;
    struct pacer_error err;
    assert_non_null(entry);
    assert_int_equal(entry->bytes, strlen(content));
    if (pcr_zip_read(zip, entry, 1000, arena, &out, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(pcr_str_eq(out, pcr_str(content)));
}

static void what_is_in_an_archive(void **state) {
    for (int form = 0; form < 8; form++) {
        struct zip_file file = make(form & 1, form & 2, form & 4 ? "PK\5\6 is no end" : "");
        struct pcr_zip zip;
        struct pacer_error err;
        if (open_copy(*state, pcr_buf_view(&file.bytes), &zip, &err) < 0)
            fail_msg("form %d: %s", form, err.message);
        assert_int_equal(zip.n_entries, 3);
        assert_true(pcr_str_eq(zip.entries[0].name, PCR_STR("a")));
        expect_entry(*state, &zip, "a", "stored");
        expect_entry(*state, &zip, "b/c.txt", lines);
        expect_entry(*state, &zip, "empty", "");
        assert_null(pcr_zip_find(&zip, PCR_STR("b")));
        zip_fini(&file);
    }
}

static void an_archive_without_entries(void **state) {
    struct zip_file file;
    struct pcr_zip zip;
    struct pacer_error err;
    zip_init(&file);
    zip_finish(&file, "");
    assert_int_equal(open_copy(*state, pcr_buf_view(&file.bytes), &zip, &err), 0);
    assert_int_equal(zip.n_entries, 0);
    zip_fini(&file);
}

static void too_large_for_the_caller(void **state) {
    struct zip_file file = make(false, false, "");
    struct pcr_zip zip;
    struct pacer_error err;
    struct pcr_str out;
    assert_int_equal(open_copy(*state, pcr_buf_view(&file.bytes), &zip, &err), 0);
    const struct pcr_zip_entry *entry = pcr_zip_find(&zip, PCR_STR("b/c.txt"));
    assert_int_equal(pcr_zip_read(&zip, entry, sizeof lines - 2, *state, &out, &err), PACER_ELIMIT);
    assert_non_null(strstr(err.message, "entry 'b/c.txt' of the archive is larger than"));
    assert_int_equal(pcr_zip_read(&zip, entry, sizeof lines - 1, *state, &out, &err), 0);
    struct pcr_arena none;
    pcr_arena_init(&none, 10);
    assert_int_equal(pcr_zip_read(&zip, entry, 1000, &none, &out, &err), PACER_ENOMEM);
    assert_int_equal(pcr_zip_open(&none, pcr_buf_view(&file.bytes), &zip, &err), PACER_ENOMEM);
    pcr_arena_fini(&none);
    zip_fini(&file);
}

// Opens a spoiled archive and reads all of it; both must be harmless.
static int read_all(struct pcr_arena *arena, struct pcr_str bytes, struct pacer_error *err) {
    struct pcr_zip zip;
    int rc = open_copy(arena, bytes, &zip, err);
    for (size_t i = 0; rc == 0 && i < zip.n_entries; i++) {
        struct pcr_str out;
        rc = pcr_zip_read(&zip, &zip.entries[i], 1 << 20, arena, &out, err);
        if (rc == 0)
            assert_int_equal(out.len, zip.entries[i].bytes);
    }
    return rc;
}

enum place { HEAD, RECORD, DATA, END64, LOCATOR, END };

static size_t place_of(const struct zip_file *zip, enum place place, size_t entry) {
    switch (place) {
    case HEAD:
        return zip->entries[entry].head;
    case RECORD:
        return zip->entries[entry].record;
    case DATA:
        return zip->entries[entry].head + 30 + strlen(zip->entries[entry].name) +
               (zip->zip64 ? 20 : 0);
    case END64:
        return zip->end64;
    case LOCATOR:
        return zip->end64 + 56;
    default:
        return zip->end;
    }
}

struct spoiled {
    enum place place;
    size_t entry, offset, bytes;
    uint64_t value;
    int code;
    const char *words;
};

static void spoil(struct pcr_arena *arena, bool zip64, const struct spoiled *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct spoiled *c = &cases[i];
        struct zip_file file = make(zip64, false, "");
        struct pacer_error err = {.code = 0};
        char *at = file.bytes.data + place_of(&file, c->place, c->entry) + c->offset;
        for (size_t j = 0; j < c->bytes; j++)
            at[j] = (char)(c->value >> 8 * j);
        int rc = read_all(arena, pcr_buf_view(&file.bytes), &err);
        if (rc != c->code || (rc < 0 && !strstr(err.message, c->words)))
            fail_msg("case %zu (%s): %d %s", i, c->words, rc, err.message);
        zip_fini(&file);
    }
}

static void archives_that_contradict_themselves(void **state) {
    static const struct spoiled cases[] = {
        {RECORD, 0, 0, 1, 'Q', PACER_ESYNTAX, "its directory ends too early"},
        {RECORD, 0, 8, 2, 1, PACER_EUNSUPPORTED, "entry 'a' of the archive is encrypted"},
        {RECORD, 0, 8, 2, 0x40, PACER_EUNSUPPORTED, "is encrypted"},
        {RECORD, 0, 8, 2, 0x2000, PACER_EUNSUPPORTED, "is encrypted"},
        {HEAD, 0, 6, 2, 1, PACER_EUNSUPPORTED, "is encrypted"},
        {RECORD, 1, 10, 2, 12, PACER_EUNSUPPORTED, "a method other than deflate"},
        {RECORD, 1, 10, 2, 99, PACER_EUNSUPPORTED, "a method other than deflate"},
        {HEAD, 1, 8, 2, 14, PACER_EUNSUPPORTED, "a method other than deflate"},
        {RECORD, 1, 8, 2, 0x20, PACER_EUNSUPPORTED, "a method other than deflate"},
        {HEAD, 1, 8, 2, 0, PACER_ESYNTAX, "says something else than the directory"},
        {RECORD, 0, 16, 4, 1, PACER_ESYNTAX, "says something else than the directory"},
        {HEAD, 0, 14, 4, 1, PACER_ESYNTAX, "says something else than the directory"},
        {HEAD, 0, 18, 4, 5, PACER_ESYNTAX, "says something else than the directory"},
        {HEAD, 0, 22, 4, 7, PACER_ESYNTAX, "says something else than the directory"},
        {RECORD, 0, 20, 4, 5, PACER_ESYNTAX, "says something else than the directory"},
        {HEAD, 0, 18, 4, UINT32_MAX, PACER_ESYNTAX, "says something else than the directory"},
        {RECORD, 0, 20, 4, 1 << 20, PACER_ESYNTAX, "reaches over its end"},
        {RECORD, 0, 24, 4, UINT32_MAX, PACER_ESYNTAX, "has no sizes in its Zip64 field"},
        {RECORD, 0, 28, 2, 0, PACER_ESYNTAX, "has no name, or a NUL"},
        {RECORD, 0, 46, 1, 0, PACER_ESYNTAX, "has no name, or a NUL"},
        {RECORD, 0, 46, 1, 'x', PACER_ESYNTAX, "entry 'x' of the archive is not where"},
        {RECORD, 0, 46, 1, 7, PACER_ESYNTAX, "entry '?' of the archive"},
        {HEAD, 0, 30, 1, 'x', PACER_ESYNTAX, "is not where the directory says"},
        {HEAD, 0, 26, 2, 2, PACER_ESYNTAX, "is not where the directory says"},
        {HEAD, 0, 28, 2, 60000, PACER_ESYNTAX, "is not where the directory says"},
        {HEAD, 0, 0, 1, 'Q', PACER_ESYNTAX, "is not where the directory says"},
        {RECORD, 1, 42, 4, 0, PACER_ESYNTAX, "is not where the directory says"},
        {RECORD, 1, 42, 4, 1 << 20, PACER_ESYNTAX, "begins behind its end"},
        {RECORD, 2, 30, 2, 60000, PACER_ESYNTAX, "ends within an entry"},
        {RECORD, 2, 32, 2, 1, PACER_ESYNTAX, "ends within an entry"},
        {DATA, 0, 0, 1, 'S', PACER_ESYNTAX, "entry 'a' of the archive is damaged: its checksum"},
        {DATA, 1, 0, 4, UINT32_MAX, PACER_ESYNTAX, "is damaged: it does not unpack"},
        {END, 0, 4, 2, 1, PACER_EUNSUPPORTED, "in several parts"},
        {END, 0, 8, 2, 2, PACER_EUNSUPPORTED, "in several parts"},
        {END, 0, 8, 4, 2 | 2 << 16, PACER_ESYNTAX, "more entries than it says"},
        {END, 0, 8, 4, 4 | 4 << 16, PACER_ESYNTAX, "shorter than its number of entries"},
        {END, 0, 12, 4, 7, PACER_ESYNTAX, "does not lie in front of its end"},
        {END, 0, 16, 4, UINT32_MAX, PACER_ESYNTAX, "does not lie in front of its end"},
        {END, 0, 20, 2, 1, PACER_ESYNTAX, "its end is missing"},
        {END, 0, 0, 1, 'Q', PACER_ESYNTAX, "its end is missing"},
    };
    spoil(*state, false, cases, PCR_COUNT_OF(cases));
}

static void zip64_archives_that_contradict_themselves(void **state) {
    static const struct spoiled cases[] = {
        {HEAD, 0, 0, 0, 0, 0, ""}, // as it is
        {LOCATOR, 0, 4, 4, 1, PACER_EUNSUPPORTED, "in several parts"},
        {LOCATOR, 0, 16, 4, 2, PACER_EUNSUPPORTED, "in several parts"},
        {LOCATOR, 0, 8, 8, UINT64_MAX, PACER_ESYNTAX, "is not where it should be"},
        {LOCATOR, 0, 8, 8, 0, PACER_ESYNTAX, "is not where it should be"},
        {END64, 0, 4, 8, 45, PACER_ESYNTAX, "has a wrong length"},
        {END64, 0, 4, 8, UINT64_MAX, PACER_ESYNTAX, "has a wrong length"},
        {END64, 0, 16, 4, 1, PACER_EUNSUPPORTED, "in several parts"},
        {END64, 0, 24, 8, 2, PACER_EUNSUPPORTED, "in several parts"},
        {END64, 0, 40, 8, UINT64_MAX, PACER_ESYNTAX, "does not lie in front of its end"},
        {END64, 0, 48, 8, UINT64_MAX, PACER_ESYNTAX, "does not lie in front of its end"},
        {END, 0, 10, 2, 2, PACER_ESYNTAX, "two end records contradict each other"},
        {END, 0, 12, 4, 2, PACER_ESYNTAX, "two end records contradict each other"},
        {END, 0, 16, 4, 2, PACER_ESYNTAX, "two end records contradict each other"},
        {RECORD, 0, 46 + 1, 2, 2, PACER_ESYNTAX, "has no sizes in its Zip64 field"},
        {RECORD, 0, 46 + 3, 2, 16, PACER_ESYNTAX, "has no sizes in its Zip64 field"},
        {RECORD, 0, 46 + 3, 2, 60000, PACER_ESYNTAX, "has no sizes in its Zip64 field"},
        {RECORD, 0, 46 + 5, 8, 1ull << 62, PACER_ESYNTAX, "says something else"},
        {RECORD, 0, 46 + 13, 8, UINT64_MAX, PACER_ESYNTAX, "reaches over its end"},
        {RECORD, 0, 46 + 21, 8, UINT64_MAX, PACER_ESYNTAX, "begins behind its end"},
        {HEAD, 0, 31, 2, 9, PACER_ESYNTAX, "says something else than the directory"},
    };
    spoil(*state, true, cases, PCR_COUNT_OF(cases));
    struct zip_file file = make(true, false, "");
    struct pacer_error err;
    memset(file.bytes.data + file.end64 + 24, 0xff, 16); // a number of entries beyond all limits
    assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ELIMIT);
    zip_fini(&file);
}

static void names_that_are_there_twice(void **state) {
    struct zip_file file;
    struct pacer_error err;
    zip_init(&file);
    zip_add(&file, "x", "1", 1, false);
    zip_add(&file, "other", "2", 1, false);
    zip_add(&file, "x", "3", 1, false);
    zip_finish(&file, "");
    assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ESYNTAX);
    assert_non_null(strstr(err.message, "entry 'x' of the archive is there twice"));
    zip_fini(&file);
}

// Many names for one and the same piece of the archive: a small file that becomes a large one.
static void entries_over_each_other(void **state) {
    struct zip_file file;
    struct pacer_error err;
    zip_init(&file);
    zip_add(&file, "x", "1", 1, false);
    zip_add(&file, "x", "1", 1, false);
    file.entries[1].head = file.entries[0].head;
    zip_finish(&file, "");
    assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ESYNTAX);
    assert_non_null(strstr(err.message, "lies over another one"));
    zip_fini(&file);
    // one entry whose data hold another entry
    struct zip_file inner = make(false, false, "");
    zip_init(&file);
    zip_add(&file, "outer", inner.bytes.data, inner.directory, false);
    file.entries[1] = inner.entries[1];
    file.entries[1].head += 30 + strlen("outer");
    file.n = 2;
    zip_finish(&file, "");
    assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ESYNTAX);
    assert_non_null(strstr(err.message, "entry 'b/c.txt' of the archive lies over another one"));
    zip_fini(&file);
    zip_fini(&inner);
}

static void sizes_that_are_not_true(void **state) {
    struct pacer_error err;
    static const struct {
        bool deflated;
        long more; // than there is
        const char *words;
    } cases[] = {{true, 1, "does not unpack to the size it says"},
                 {true, -1, "does not unpack to the size it says"},
                 {true, 500000, "has a size that cannot be"},
                 {false, 1, "has a size that cannot be"}};
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct zip_file file;
        zip_init(&file);
        file.sizes_follow = true; // so that the head does not contradict the directory
        zip_add(&file, "x", lines, sizeof lines - 1, cases[i].deflated);
        file.entries[0].size += (size_t)cases[i].more;
        zip_finish(&file, "");
        assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ESYNTAX);
        if (!strstr(err.message, cases[i].words))
            fail_msg("%s", err.message);
        zip_fini(&file);
    }
    struct zip_file file; // something behind the end of the deflated data
    zip_init(&file);
    file.sizes_follow = true;
    zip_add(&file, "x", lines, sizeof lines - 1, true);
    file.entries[0].packed += 4;
    zip_finish(&file, "");
    assert_int_equal(read_all(*state, pcr_buf_view(&file.bytes), &err), PACER_ESYNTAX);
    zip_fini(&file);
}

static void large_entries_by_the_highest_ratio(void **state) {
    static char zeros[8 << 20];
    struct zip_file file;
    struct pcr_zip zip;
    struct pacer_error err;
    struct pcr_str out;
    zip_init(&file);
    zip_add(&file, "zeros", zeros, sizeof zeros, true);
    zip_finish(&file, "");
    assert_true(file.bytes.len < 10000);
    assert_int_equal(open_copy(*state, pcr_buf_view(&file.bytes), &zip, &err), 0);
    assert_int_equal(pcr_zip_read(&zip, zip.entries, sizeof zeros, *state, &out, &err), 0);
    assert_int_equal(out.len, sizeof zeros);
    assert_memory_equal(out.ptr, zeros, sizeof zeros);
    zip_fini(&file);
}

static void cut_and_spoiled_anywhere(void **state) {
    for (int form = 0; form < 2; form++) {
        struct zip_file file = make(form, false, "");
        struct pacer_error err;
        for (size_t n = 0; n < file.bytes.len; n++)
            assert_int_equal(read_all(*state, (struct pcr_str){file.bytes.data, n}, &err),
                             PACER_ESYNTAX);
        for (size_t i = 0; i < file.bytes.len; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                file.bytes.data[i] ^= (char)(1u << bit);
                int rc = read_all(*state, pcr_buf_view(&file.bytes), &err);
                assert_true(rc == 0 || err.code == rc);
                file.bytes.data[i] ^= (char)(1u << bit);
            }
            pcr_arena_reset(*state);
        }
        zip_fini(&file);
    }
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_in_an_archive),
        TEST(an_archive_without_entries),
        TEST(too_large_for_the_caller),
        TEST(archives_that_contradict_themselves),
        TEST(zip64_archives_that_contradict_themselves),
        TEST(names_that_are_there_twice),
        TEST(entries_over_each_other),
        TEST(sizes_that_are_not_true),
        TEST(large_entries_by_the_highest_ratio),
        TEST(cut_and_spoiled_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
