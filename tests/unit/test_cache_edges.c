// SPDX-License-Identifier: Apache-2.0
// What happens between two moments: purges and invalidations while a value is on its way, leaders
// that leave, times that are nearly nothing.
#include "cache_fixture.h"

#include <pthread.h>

static void deliver_from_elsewhere(struct rig *rig, struct fake *fake) {
    pthread_t thread;
    pthread_create(&thread, NULL, answer_from_elsewhere, fake);
    pthread_join(thread, NULL);
    run_for(rig, 20);
}

static struct pcr_cache_stats stats_of(const struct rig *rig) {
    struct pcr_cache_stats stats;
    pcr_cache_stats(rig->cache, &stats);
    return stats;
}

// --- purges -------------------------------------------------------------------------------------
static void who_asks_after_a_purge_is_not_answered_from_before_it(void **state) {
    struct rig *rig = *state;
    struct ask before, after;
    prepare(rig, &before, 1);
    before.holds = true;
    start(&before);
    purge_all(rig, NULL, NULL);
    prepare(rig, &after, 1);
    after.holds = true;
    start(&after);
    assert_true(after.computes); // for itself
    answer(&before);
    assert_true(is_right(&before) && !after.done);
    answer(&after);
    assert_true(is_right(&after) && after.call.how == PCR_CACHE_MISS && after.call.stored);
    assert_int_equal(how_of(rig, 1), PCR_CACHE_HIT_L1);
    end(&before);
    end(&after);
}

static void what_a_store_had_before_a_purge_is_not_kept(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    open_rig(&rig, false, true);
    put_value(&fakes[0], 1, 1, 0, 60000); // the only store is the first
    put_value(&fakes[1], 1, 1, 0, 60000);
    fakes[1].way = ANSWERS_LATER;
    prepare(&rig, &ask, 1);
    start(&ask);
    purge_all(&rig, NULL, NULL);
    deliver_from_elsewhere(&rig, &fakes[1]);
    assert_true(ask.done);
    end(&ask);
    assert_int_equal(stats_of(&rig).entries, 0);
    close_rig(&rig);
}

static void what_was_invalidated_on_its_way_is_not_kept(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    for (int all = 0; all < 2; all++) {
        open_rig(&rig, false, true);
        put_value(&fakes[1], 1, 1, 0, 60000);
        fakes[1].way = ANSWERS_LATER;
        prepare(&rig, &ask, 1);
        start(&ask);
        redis_options.invalidated(redis_options.ctx, all ? NULL : &ask.call.key.name);
        deliver_from_elsewhere(&rig, &fakes[1]);
        assert_true(is_right(&ask)); // it was asked for before
        end(&ask);
        assert_int_equal(stats_of(&rig).entries, 0);
        close_rig(&rig);
    }
}

static void what_is_invalidated_elsewhere_is_kept(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask, other;
    open_rig(&rig, false, true);
    put_value(&fakes[1], 1, 1, 0, 60000);
    fakes[1].way = ANSWERS_LATER;
    prepare(&rig, &ask, 1);
    prepare(&rig, &other, 2);
    other.call.key.name.hi = ask.call.key.name.hi + 1; // in any case another one
    start(&ask);
    redis_options.invalidated(redis_options.ctx, &other.call.key.name);
    deliver_from_elsewhere(&rig, &fakes[1]);
    assert_true(is_right(&ask));
    end(&ask);
    end(&other);
    assert_int_equal(stats_of(&rig).entries, 1);
    close_rig(&rig);
}

// --- flights ------------------------------------------------------------------------------------
static void who_wants_nothing_computed_has_nothing_computed(void **state) {
    struct rig *rig = *state;
    struct ask leader, waits;
    prepare(rig, &leader, 1);
    leader.holds = true;
    start(&leader);
    prepare(rig, &waits, 1);
    waits.call.only_if_cached = true;
    start(&waits);
    leader.code = PACER_EBUSY; // its own trouble
    answer(&leader);
    run_for(rig, 10);
    assert_true(waits.done && waits.call.how == PCR_CACHE_ABSENT);
    assert_int_equal(rig->n_computed, 1);
    end(&leader);
    end(&waits);
}

// The leader takes a value from a store that is too old for another, who wants nothing computed.
static void who_wants_it_younger_and_not_computed_gets_nothing(void **state) {
    (void)state;
    struct rig rig;
    struct ask leader, waits;
    open_rig(&rig, true, false);
    put_value(&fakes[0], 1, 1, 5000, 60000);
    fakes[0].way = ANSWERS_LATER;
    prepare(&rig, &leader, 1);
    start(&leader);
    prepare(&rig, &waits, 1);
    waits.call.only_if_cached = true;
    waits.call.max_age_ns = S;
    start(&waits);
    deliver_from_elsewhere(&rig, &fakes[0]);
    assert_true(is_right(&leader));
    assert_true(waits.done && waits.call.how == PCR_CACHE_ABSENT);
    assert_int_equal(rig.n_computed, 0);
    end(&leader);
    end(&waits);
    close_rig(&rig);
}

static void who_leads_after_another_asks_the_stores_that_were_not(void **state) {
    (void)state;
    struct rig rig;
    struct ask first, second;
    open_rig(&rig, true, true);
    put_value(&fakes[0], 1, 2, 0, 60000); // of no use
    put_value(&fakes[1], 1, 1, 0, 60000);
    fakes[0].way = ANSWERS_LATER;
    prepare(&rig, &first, 1);
    start(&first);
    prepare(&rig, &second, 1);
    start(&second);
    pcr_cache_cancel(&first.call);
    deliver_from_elsewhere(&rig, &fakes[0]);
    run_for(&rig, 10);
    assert_true(first.done && is_right(&second));
    assert_int_equal(second.call.how, PCR_CACHE_HIT_REDIS);
    assert_int_equal(fakes[0].n_gets, 1);
    assert_int_equal(rig.n_computed, 0);
    end(&first);
    end(&second);
    close_rig(&rig);
}

// --- refreshing ---------------------------------------------------------------------------------
static void a_refresh_that_is_not_needed_is_not_counted(void **state) {
    struct rig *rig = *state;
    struct ask first, second;
    how_of(rig, 1);
    prepare(rig, &first, 1);
    first.call.refreshing = first.holds = true;
    pcr_cache_fetch(&first.call);
    prepare(rig, &second, 1);
    second.call.refreshing = true;
    pcr_cache_fetch(&second.call);
    assert_true(second.done && second.call.status == PACER_ECANCELED);
    answer(&first);
    assert_int_equal(stats_of(rig).total.refreshes, 1);
    end(&first);
    end(&second);
}

static void what_a_store_has_that_is_stale_is_refreshed_once(void **state) {
    (void)state;
    struct rig rig;
    struct ask first, second;
    open_rig(&rig, true, false);
    put_value(&fakes[0], 1, 1, 5000, 4000);
    prepare(&rig, &first, 1);
    first.call.policy.stale_while_revalidate_ns = 100 * S;
    start(&first);
    assert_true(is_right(&first) && first.call.how == PCR_CACHE_STALE && first.call.refresh);
    prepare(&rig, &second, 1);
    second.call.policy.stale_while_revalidate_ns = 100 * S;
    start(&second);
    assert_true(is_right(&second) && second.call.how == PCR_CACHE_STALE);
    assert_false(second.call.refresh); // the first was told to
    end(&first);
    end(&second);
    close_rig(&rig);
}

// --- what is worth keeping ----------------------------------------------------------------------
static void what_a_store_has_that_is_past_all_its_times_is_not_kept(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    open_rig(&rig, true, false);
    put_value(&fakes[0], 1, 1, 5000, 4000);
    prepare(&rig, &ask, 1);
    ask.holds = true;
    start(&ask);
    assert_true(ask.computes);
    assert_int_equal(stats_of(&rig).entries, 0);
    answer(&ask);
    end(&ask);
    close_rig(&rig);
}

static void what_no_tier_took_is_not_called_stored(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    open_rig(&rig, true, false);
    pcr_cache_destroy(rig.cache);
    const struct pcr_cache_options options = {.memory_bytes = 0, .path = "path"};
    assert_int_equal(pcr_cache_create(&options, &rig.cache, NULL), 0);
    for (int refuses = 0; refuses < 2; refuses++) {
        fakes[0].refuses = refuses;
        prepare(&rig, &ask, 1);
        start(&ask);
        assert_true(is_right(&ask) && ask.call.stored == !refuses);
        end(&ask);
    }
    close_rig(&rig);
}

static void less_than_a_millisecond_is_no_time_for_a_store(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    open_rig(&rig, true, false);
    prepare(&rig, &ask, 1);
    ask.call.policy.ttl_ns = MS / 2;
    start(&ask);
    assert_true(is_right(&ask));
    assert_int_equal(fakes[0].n_puts, 0);
    end(&ask);
    close_rig(&rig);
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIGGED(who_asks_after_a_purge_is_not_answered_from_before_it),
        cmocka_unit_test(what_a_store_had_before_a_purge_is_not_kept),
        cmocka_unit_test(what_was_invalidated_on_its_way_is_not_kept),
        cmocka_unit_test(what_is_invalidated_elsewhere_is_kept),
        RIGGED(who_wants_nothing_computed_has_nothing_computed),
        cmocka_unit_test(who_wants_it_younger_and_not_computed_gets_nothing),
        cmocka_unit_test(who_leads_after_another_asks_the_stores_that_were_not),
        RIGGED(a_refresh_that_is_not_needed_is_not_counted),
        cmocka_unit_test(what_a_store_has_that_is_stale_is_refreshed_once),
        cmocka_unit_test(what_a_store_has_that_is_past_all_its_times_is_not_kept),
        cmocka_unit_test(what_no_tier_took_is_not_called_stored),
        cmocka_unit_test(less_than_a_millisecond_is_no_time_for_a_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
