// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "cache/l1.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

// --- entries whose body tells whose it is -------------------------------------------------------
struct made {
    char text[64];
    struct pcr_cache_key key;
};

static void make_key(struct made *made, unsigned number) {
    int n = snprintf(made->text, sizeof made->text, "key number %u", number);
    made->key.bytes = (struct pcr_str){made->text, (size_t)n};
    struct pcr_hash128 hash = pcr_str_hash128(made->key.bytes);
    made->key.name = (struct pcr_store_name){.hi = hash.hi, .lo = hash.lo};
}

static void fill_body(char *body, size_t n, unsigned number) {
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(number * 31 + i);
}

static bool put(struct pcr_l1 *l1, unsigned number, size_t bytes) {
    struct made made;
    char *body = malloc(bytes + 1);
    assert_non_null(body);
    make_key(&made, number);
    fill_body(body, bytes, number);
    const struct pcr_l1_item item = {
        .key = &made.key, .body = {body, bytes}, .stored_ns = number, .fresh_until_ns = 1000};
    bool kept = pcr_l1_put(l1, &item, NULL, NULL);
    free(body);
    return kept;
}

// Whether it is there, and right.
static bool has(struct pcr_l1 *l1, unsigned number, bool use) {
    struct made made;
    struct pcr_l1_view view;
    make_key(&made, number);
    pcr_epoch_enter();
    bool found = pcr_l1_find(l1, &made.key, &view);
    for (size_t i = 0; found && i < view.body.len; i++)
        PCR_ASSERT(view.body.ptr[i] == (char)(number * 31 + i));
    if (found && use)
        pcr_l1_use(view.entry);
    pcr_epoch_leave();
    return found;
}

static struct pcr_l1 *create(size_t bytes) {
    struct pcr_l1 *l1;
    assert_int_equal(pcr_l1_create(bytes, &l1, NULL), 0);
    return l1;
}

static struct pcr_l1_stats stats_of(const struct pcr_l1 *l1) {
    struct pcr_l1_stats stats;
    pcr_l1_stats(l1, &stats);
    return stats;
}

// --- eviction -----------------------------------------------------------------------------------
static void what_is_asked_for_again_outlives_a_scan(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    for (unsigned i = 0; i < 500; i++)
        assert_true(put(l1, i, 200));
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 500; i++)
            assert_true(has(l1, i, true));
    for (unsigned i = 10000; i < 40000; i++) // ten times what fits, nothing of it twice
        put(l1, i, 200);
    unsigned left = 0;
    for (unsigned i = 0; i < 500; i++)
        left += has(l1, i, false);
    assert_int_equal(left, 500);
    assert_true(stats_of(l1).evicted > 20000);
    pcr_l1_destroy(l1);
}

static void what_comes_back_soon_is_not_new_any_more(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    put(l1, 1, 200);
    unsigned next = 100;
    while (has(l1, 1, false)) // until it has left
        put(l1, next++, 200);
    put(l1, 1, 200); // a ghost: into the main queue, where a scan does not get
    for (unsigned i = 0; i < 3000; i++)
        put(l1, 100000 + i, 200);
    assert_true(has(l1, 1, false));
    pcr_l1_destroy(l1);
}

static void the_budget_holds_whatever_comes(void **state) {
    (void)state;
    const size_t budgets[] = {0, 1, 4 * KIB, 64 * KIB, MIB, 9 * MIB};
    unsigned random = 7;
    for (size_t b = 0; b < PCR_COUNT_OF(budgets); b++) {
        struct pcr_l1 *l1 = create(budgets[b]);
        for (unsigned i = 0; i < 3000; i++) {
            random = random * 1664525 + 1013904223;
            size_t bytes = (random >> 8) % 50 == 0 ? (random >> 12) % (2 * MIB) : random >> 22;
            put(l1, (random >> 4) % 2000, bytes);
            struct pcr_l1_stats stats = stats_of(l1);
            assert_true(stats.bytes <= budgets[b] + budgets[b] / 2); // what was evicted just now
            assert_int_equal(stats.bytes_max, budgets[b]);
        }
        pcr_l1_purge(l1, NULL, NULL);
        struct pcr_l1_stats stats = stats_of(l1);
        assert_int_equal(stats.entries, 0);
        assert_true(stats.bytes <= budgets[b]);
        pcr_l1_destroy(l1);
    }
}

// As long as somebody reads nothing can be freed, and what is out of the table still takes memory.
static void the_budget_holds_while_somebody_reads(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    unsigned n_refused = 0;
    pcr_epoch_enter();
    for (unsigned i = 0; i < 5000; i++) {
        n_refused += !put(l1, i, KIB);
        struct pcr_l1_stats stats = stats_of(l1);
        assert_true(stats.bytes <= stats.bytes_max);
    }
    pcr_epoch_leave();
    struct pcr_l1_stats stats = stats_of(l1);
    assert_true(n_refused > 0 && stats.rejected == n_refused);
    assert_true(stats.entries > 700); // it is not emptied for what finds no room all the same
    for (unsigned i = 5000; i < 5100; i++) {
        assert_true(put(l1, i, KIB) || i < 5010);
        assert_true(stats_of(l1).bytes <= stats.bytes_max);
    }
    assert_true(has(l1, 5099, false));
    pcr_l1_destroy(l1);
}

static void an_entry_takes_little_beside_key_and_body(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(256 * MIB);
    size_t tables = stats_of(l1).bytes, key_bytes = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct made made;
        make_key(&made, i);
        key_bytes += made.key.bytes.len;
        assert_true(put(l1, i, 380));
    }
    struct pcr_l1_stats stats = stats_of(l1);
    assert_int_equal(stats.entries, 100000);
    double each = (double)(stats.bytes - tables - key_bytes) / 100000 - 380;
    assert_true(each <= 100);
    // The tables of a full cache are shared by its entries: a fortieth of the budget at most.
    assert_true(tables <= 256 * MIB / 20);
    pcr_l1_destroy(l1);
}

// --- single entries -----------------------------------------------------------------------------
static void a_body_that_is_held_outlives_its_entry(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    struct made made;
    struct pcr_l1_view view;
    put(l1, 3, 20000);
    make_key(&made, 3);
    pcr_epoch_enter();
    assert_true(pcr_l1_find(l1, &made.key, &view));
    pcr_l1_hold(view.entry);
    pcr_epoch_leave();
    put(l1, 3, 10); // replaced
    assert_true(pcr_l1_drop(l1, made.key.name.hi, made.key.name.lo));
    assert_false(has(l1, 3, false));
    for (size_t i = 0; i < view.body.len; i++)
        assert_true(view.body.ptr[i] == (char)(3 * 31 + i));
    pcr_l1_release(view.entry);
    pcr_l1_destroy(l1);
}

static void one_caller_alone_computes_anew(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    struct made made;
    struct pcr_l1_view view;
    put(l1, 3, 10);
    make_key(&made, 3);
    pcr_epoch_enter();
    assert_true(pcr_l1_find(l1, &made.key, &view));
    assert_true(pcr_l1_claim(view.entry, 100, 200));
    assert_false(pcr_l1_claim(view.entry, 100, 200));
    assert_false(pcr_l1_claim(view.entry, 199, 300));
    assert_true(pcr_l1_claim(view.entry, 200, 300)); // who had it did not come back
    pcr_epoch_leave();
    pcr_l1_destroy(l1);
}

static bool is_odd(void *ctx, struct pcr_str key, uint64_t hi, uint64_t lo) {
    (void)ctx;
    (void)hi;
    (void)lo;
    return (key.ptr[key.len - 1] - '0') % 2 == 1;
}

static void a_purge_takes_what_matches(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    for (unsigned i = 0; i < 1000; i++)
        put(l1, i, 10);
    assert_int_equal(pcr_l1_purge(l1, is_odd, NULL), 500);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(has(l1, i, false), i % 2 == 0);
    assert_int_equal(pcr_l1_purge(l1, NULL, NULL), 500);
    assert_int_equal(pcr_l1_purge(l1, NULL, NULL), 0);
    pcr_l1_destroy(l1);
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

static void what_is_not_wanted_any_more_is_not_kept(void **state) {
    (void)state;
    struct pcr_l1 *l1 = create(MIB);
    struct made made;
    make_key(&made, 1);
    const struct pcr_l1_item item = {.key = &made.key, .body = PCR_STR("x")};
    assert_false(pcr_l1_put(l1, &item, never, NULL));
    assert_false(has(l1, 1, false));
    pcr_l1_destroy(l1);
}

// --- threads ------------------------------------------------------------------------------------
#define KEYS 400
struct crowd {
    struct pcr_l1 *l1;
    atomic_bool stop;
    atomic_uint found;
};

static void *read_along(void *arg) {
    struct crowd *crowd = arg;
    unsigned random = (unsigned)(uintptr_t)&random;
    while (!atomic_load(&crowd->stop)) {
        random = random * 1664525 + 1013904223;
        atomic_fetch_add(&crowd->found, has(crowd->l1, (random >> 8) % KEYS, true));
    }
    return NULL;
}

static void *write_along(void *arg) {
    struct crowd *crowd = arg;
    unsigned random = (unsigned)(uintptr_t)&random;
    while (!atomic_load(&crowd->stop)) {
        random = random * 1664525 + 1013904223;
        unsigned number = (random >> 8) % KEYS;
        if (random >> 28 == 0)
            pcr_l1_purge(crowd->l1, is_odd, NULL);
        else
            put(crowd->l1, number, (random >> 20) % 3000);
    }
    return NULL;
}

static void readers_and_writers_never_see_half_of_anything(void **state) {
    (void)state;
    struct crowd crowd = {.l1 = create(256 * KIB)}; // less than there is to keep
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, i % 2 ? write_along : read_along, &crowd);
    usleep(700000);
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&crowd.found) > 0);
    // On few cores a reader that is not running may keep all that went from being freed.
    assert_true(stats_of(crowd.l1).evicted + stats_of(crowd.l1).rejected > 0);
    pcr_l1_destroy(crowd.l1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_for_again_outlives_a_scan),
        cmocka_unit_test(what_comes_back_soon_is_not_new_any_more),
        cmocka_unit_test(the_budget_holds_whatever_comes),
        cmocka_unit_test(the_budget_holds_while_somebody_reads),
        cmocka_unit_test(an_entry_takes_little_beside_key_and_body),
        cmocka_unit_test(a_body_that_is_held_outlives_its_entry),
        cmocka_unit_test(one_caller_alone_computes_anew),
        cmocka_unit_test(a_purge_takes_what_matches),
        cmocka_unit_test(what_is_not_wanted_any_more_is_not_kept),
        cmocka_unit_test(readers_and_writers_never_see_half_of_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
