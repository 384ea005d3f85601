// SPDX-License-Identifier: Apache-2.0
// Changes of a directory: what is told from listings alone, and the listings themselves.
#include "infer_fixture.h"

// --- listings from nothing ----------------------------------------------------------------------
// "a.onnx=1 b/2/model.onnx=7": paths in order, each with a size, which stands for all that changes.
static struct pcr_listing *listing(const char *text) {
    struct pcr_listing *made = calloc(1, sizeof *made);
    struct pcr_str rest = pcr_str(text);
    struct pcr_str word;
    assert_non_null(made);
    pcr_arena_init(&made->arena, 1 << 20);
    made->files = pcr_arena_calloc(&made->arena, 16, sizeof *made->files);
    assert_non_null(made->files);
    while (*text && pcr_str_split(&rest, ' ', &word)) {
        struct pcr_str path;
        struct pcr_file_line *file = &made->files[made->n++];
        assert_true(pcr_str_split(&word, '=', &path));
        file->path = pcr_arena_dup(&made->arena, path);
        assert_true(pcr_str_to_u64(word, 1000, &file->size));
    }
    return made;
}

static void note(void *ctx, enum pcr_file_change change, const char *path) {
    char *text = ctx;
    size_t at = strlen(text);
    snprintf(text + at, 256 - at, "%s%c%s", at ? " " : "", "+~-"[change], path);
}

static void every_difference_is_told_in_order(void **state) {
    (void)state;
    static const struct {
        const char *before, *after, *expected;
    } cases[] = {
        {"", "", ""},
        {"a=1 b=1", "a=1 b=1", ""},
        {"", "a=1 b=1", "+a +b"},
        {"a=1 b=1", "", "-a -b"},
        {"a=1 b=1 c=1", "a=2 c=1", "~a -b"},
        {"b=1 d=1", "a=1 b=1 c=1 d=2 e=1", "+a +c ~d +e"},
        {"a=1", "b=1", "-a +b"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pcr_listing *before = listing(cases[i].before);
        struct pcr_listing *after = listing(cases[i].after);
        char text[256] = "";
        size_t n = pcr_listing_compare(before, after, note, text);
        assert_string_equal(text, cases[i].expected);
        assert_int_equal(n == 0, *text == '\0');
        assert_int_equal(pcr_listing_compare(before, after, NULL, NULL), n);
        pcr_listing_destroy(before);
        pcr_listing_destroy(after);
    }
    struct pcr_listing *some = listing("a=1");
    assert_int_equal(pcr_listing_compare(NULL, some, NULL, NULL), 1);
    assert_int_equal(pcr_listing_compare(some, NULL, NULL, NULL), 1);
    assert_int_equal(pcr_listing_compare(NULL, NULL, NULL, NULL), 0);
    pcr_listing_destroy(some);
    pcr_listing_destroy(NULL);
}

static void every_part_of_an_identity_counts(void **state) {
    (void)state;
    struct pcr_listing *before = listing("a=1");
    for (int part = 0; part < 4; part++) {
        struct pcr_listing *after = listing("a=1");
        after->files[0].dev += part == 0;
        after->files[0].ino += part == 1;
        after->files[0].size += part == 2;
        after->files[0].mtime_ns += part == 3;
        assert_int_equal(pcr_listing_compare(before, after, NULL, NULL), 1);
        pcr_listing_destroy(after);
    }
    pcr_listing_destroy(before);
}

// --- the watch ----------------------------------------------------------------------------------
static void look(struct pcr_watch *watch, const char *files, enum pcr_watch_state expected) {
    assert_int_equal(pcr_watch_look(watch, listing(files)), expected);
}

static void a_change_is_taken_when_it_rests(void **state) {
    (void)state;
    struct pcr_watch watch = {0};
    pcr_watch_restart(&watch, listing("a=1"));
    look(&watch, "a=1", PCR_WATCH_SAME);
    look(&watch, "a=2", PCR_WATCH_MOVING);
    look(&watch, "a=3", PCR_WATCH_MOVING); // still being copied
    look(&watch, "a=3 b=1", PCR_WATCH_MOVING);
    assert_int_equal(watch.moves, 3);
    assert_string_equal(watch.moved, "b");
    look(&watch, "a=3 b=1", PCR_WATCH_SETTLED);
    assert_int_equal(watch.moves, 0);
    look(&watch, "a=3 b=1", PCR_WATCH_SETTLED); // until somebody deals with it
    pcr_watch_take(&watch);
    look(&watch, "a=3 b=1", PCR_WATCH_SAME); // and never again
    look(&watch, "b=1", PCR_WATCH_MOVING);
    look(&watch, "b=1", PCR_WATCH_SETTLED);
    pcr_watch_restart(&watch, NULL);
}

static void what_was_undone_is_no_change(void **state) {
    (void)state;
    struct pcr_watch watch = {0};
    pcr_watch_restart(&watch, listing("a=1"));
    look(&watch, "a=2", PCR_WATCH_MOVING);
    look(&watch, "a=1", PCR_WATCH_SAME);
    look(&watch, "a=2", PCR_WATCH_MOVING); // once more from the beginning
    look(&watch, "a=2", PCR_WATCH_SETTLED);
    look(&watch, "a=1", PCR_WATCH_SAME);
    pcr_watch_restart(&watch, NULL);
}

static void a_watch_may_begin_with_nothing(void **state) {
    (void)state;
    struct pcr_watch watch = {0};
    look(&watch, "", PCR_WATCH_SAME);
    look(&watch, "a=1", PCR_WATCH_MOVING);
    look(&watch, "a=1", PCR_WATCH_SETTLED);
    pcr_watch_take(&watch);
    look(&watch, "a=1", PCR_WATCH_SAME);
    pcr_watch_take(&watch); // nothing to take
    look(&watch, "a=1", PCR_WATCH_SAME);
    pcr_watch_restart(&watch, NULL);
}

static void a_refused_model_is_touched_by_what_belongs_to_it(void **state) {
    (void)state;
    static const struct {
        const char *model, *before, *after;
        bool touched;
    } cases[] = {
        {"m.onnx", "m.onnx=1", "m.onnx=2", true},
        {"m.onnx", "m.onnx=1 n.onnx=1", "m.onnx=1 n.onnx=2", false},
        {"m.onnx", "m.int8.onnx=1 m.onnx=1", "m.int8.onnx=2 m.onnx=1", true},
        {"m.onnx", "m.onnx=1 n.int8.onnx=1", "m.onnx=1 n.int8.onnx=2", false},
        {"m.onnx", "m.onnx=1", "m.bin=1 m.onnx=1", true},
        {"m.onnx", "m.onnx=1 w/m.bin=1", "m.onnx=1 w/m.bin=2", true},
        {"m/1/model.onnx", "m/1/model.onnx=1", "m/1/model.onnx=2", true},
        {"m/1/model.onnx", "m/1/model.onnx=1", "m/1/model.onnx=1 m/2/model.onnx=1", false},
        {"m/1/model.onnx", "m/1/model.onnx=1", "m/1/model.onnx=1 m/config.pbtxt=1", true},
        {"m/1/model.onnx", "m/1/model.onnx=1 m/1/w.bin=1", "m/1/model.onnx=1", true},
        {"m/1/model.onnx", "m/1/model.onnx=1", "m/1/model.onnx=1 n/1/w.bin=1", false},
        {"m/1/model.onnx", "m/1/model.onnx=1", "m.bin=1 m/1/model.onnx=1", false},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pcr_watch watch = {0};
        pcr_watch_restart(&watch, listing(cases[i].before));
        look(&watch, cases[i].after, PCR_WATCH_MOVING);
        if (pcr_watch_touches(&watch, cases[i].model) != cases[i].touched)
            fail_msg("%s: %s → %s", cases[i].model, cases[i].before, cases[i].after);
        pcr_watch_restart(&watch, NULL);
    }
}

// --- listings of directories --------------------------------------------------------------------
static const char *in(const char *dir, const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static struct pcr_listing *list(const char *dir) {
    struct pcr_listing *made;
    struct pacer_error err = {0};
    if (pcr_listing_create(dir, &made, &err) < 0)
        fail_msg("%s", err.message);
    return made;
}

static void expect_files(const struct pcr_listing *listing, const char *expected) {
    char text[512] = "";
    for (size_t i = 0; i < listing->n; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%s%s=%d", i ? " " : "", listing->files[i].path,
                 (int)listing->files[i].size);
    }
    assert_string_equal(text, expected);
}

static void files_are_listed_below_folders_and_links(void **state) {
    const char *dir = *state;
    put_file(in(dir, "b.onnx"), "12", 2);
    put_file(in(dir, "a.bin"), "1", 1);
    put_file(in(dir, ".hidden"), "1", 1);
    make_dir(in(dir, "n"));
    make_dir(in(dir, "n/2"));
    put_file(in(dir, "n/2/model.onnx"), "123", 3);
    put_file(in(dir, "n/config.pbtxt"), "1234", 4);
    make_dir(in(dir, "..data"));
    put_file(in(dir, "..data/c.onnx"), "12345", 5);
    assert_int_equal(symlink("..data/c.onnx", in(dir, "c.onnx")), 0);
    assert_int_equal(symlink("n", in(dir, "o")), 0);
    assert_int_equal(symlink("nowhere", in(dir, "dangling.onnx")), 0);
    assert_int_equal(symlink("loop", in(dir, "loop")), 0);
    assert_int_equal(mkfifo(in(dir, "pipe.onnx"), 0600), 0);
    struct pcr_listing *before = list(dir);
    expect_files(before, "a.bin=1 b.onnx=2 c.onnx=5 n/2/model.onnx=3 n/config.pbtxt=4 "
                         "o/2/model.onnx=3 o/config.pbtxt=4");
    put_file(in(dir, "..data/c.onnx"), "54321", 5); // another inode behind the link
    struct pcr_listing *after = list(dir);
    char text[256] = "";
    pcr_listing_compare(before, after, note, text);
    assert_string_equal(text, "~c.onnx");
    pcr_listing_destroy(before);
    pcr_listing_destroy(after);
}

static void circles_of_links_end(void **state) {
    const char *dir = *state;
    put_file(in(dir, "a"), "1", 1);
    assert_int_equal(symlink(".", in(dir, "me")), 0);
    struct pcr_listing *listing = list(dir);
    assert_true(listing->n > 1 && listing->n < 20);
    pcr_listing_destroy(listing);
}

static void what_cannot_be_listed_is_told(void **state) {
    const char *dir = *state;
    struct pcr_listing *listing;
    struct pacer_error err = {0};
    assert_int_equal(pcr_listing_create(in(dir, "nowhere"), &listing, &err), PACER_ENOTFOUND);
    assert_null(listing);
    assert_non_null(strstr(err.message, "nowhere cannot be read: No such file"));
    put_file(in(dir, "file"), "1", 1);
    assert_int_equal(pcr_listing_create(in(dir, "file"), &listing, &err), PACER_ENOTFOUND);
    struct pcr_listing *empty = NULL;
    make_dir(in(dir, "empty"));
    assert_int_equal(pcr_listing_create(in(dir, "empty"), &empty, &err), 0);
    assert_int_equal(empty->n, 0);
    pcr_listing_destroy(empty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_difference_is_told_in_order),
        cmocka_unit_test(every_part_of_an_identity_counts),
        cmocka_unit_test(a_change_is_taken_when_it_rests),
        cmocka_unit_test(what_was_undone_is_no_change),
        cmocka_unit_test(a_watch_may_begin_with_nothing),
        cmocka_unit_test(a_refused_model_is_touched_by_what_belongs_to_it),
        cmocka_unit_test_setup_teardown(files_are_listed_below_folders_and_links, make_temp_dir,
                                        remove_temp_dir),
        cmocka_unit_test_setup_teardown(circles_of_links_end, make_temp_dir, remove_temp_dir),
        cmocka_unit_test_setup_teardown(what_cannot_be_listed_is_told, make_temp_dir,
                                        remove_temp_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
