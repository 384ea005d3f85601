// SPDX-License-Identifier: Apache-2.0
// Hits, flights, refreshes and stores, with made-up stores in the place of LMDB and Redis.
#include "cache_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

// --- time ---------------------------------------------------------------------------------------
static void an_answer_is_fresh_for_its_time_give_or_take_a_tenth(void **state) {
    struct rig *rig = *state;
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < 200; i++) {
        struct ask ask;
        assert_int_equal(how_of(rig, i), PCR_CACHE_MISS);
        assert_int_equal(how_of(rig, i), PCR_CACHE_HIT_L1);
        prepare(rig, &ask, i);
        uint64_t now_ns = pcr_clock_mono_ns();
        assert_true(pcr_cache_get(&ask.call, now_ns));
        uint64_t left = (uint64_t)ask.call.fresh_ns;
        least = left < least ? left : least;
        most = left > most ? left : most;
        assert_true(pcr_cache_get(&ask.call, now_ns + left - 1));
        assert_int_equal(ask.call.how, PCR_CACHE_HIT_L1);
        assert_true(ask.call.age_ns >= left - 1);
        assert_false(pcr_cache_get(&ask.call, now_ns + left));
        end(&ask);
    }
    assert_true(least >= TTL / 10 * 9 - S && most <= TTL / 10 * 11);
    assert_true(most - least > TTL / 10);
    assert_int_equal(rig->n_computed, 200);
}

static void a_time_that_has_become_shorter_counts(void **state) {
    struct rig *rig = *state;
    struct ask ask;
    how_of(rig, 1);
    prepare(rig, &ask, 1);
    uint64_t now_ns = pcr_clock_mono_ns();
    ask.call.policy.ttl_ns = 10 * S;
    assert_true(pcr_cache_get(&ask.call, now_ns + 10 * S));
    assert_false(pcr_cache_get(&ask.call, now_ns + 11 * S));
    end(&ask);
}

static void what_is_stale_is_given_while_one_computes_it_anew(void **state) {
    struct rig *rig = *state;
    struct ask ask;
    how_of(rig, 1);
    prepare(rig, &ask, 1);
    ask.call.policy.stale_while_revalidate_ns = 10 * S;
    uint64_t now_ns = pcr_clock_mono_ns();
    assert_true(pcr_cache_get(&ask.call, now_ns));
    uint64_t end_ns = now_ns + (uint64_t)ask.call.fresh_ns;
    assert_true(pcr_cache_get(&ask.call, end_ns + S));
    assert_int_equal(ask.call.how, PCR_CACHE_STALE);
    assert_true(ask.call.refresh);
    assert_true(ask.call.fresh_ns < 0);
    assert_true(pcr_cache_get(&ask.call, end_ns + S + S / 2));
    assert_false(ask.call.refresh); // somebody does it already
    assert_true(pcr_cache_get(&ask.call, end_ns + 4 * S));
    assert_true(ask.call.refresh); // who should have did not
    assert_false(pcr_cache_get(&ask.call, end_ns + 10 * S));
    end(&ask);
}

static void refreshing_replaces_the_answer_unless_it_is_under_way(void **state) {
    struct rig *rig = *state;
    struct ask refresh, other, second;
    how_of(rig, 1);
    prepare(rig, &refresh, 1);
    refresh.call.refreshing = true;
    refresh.holds = true;
    pcr_cache_fetch(&refresh.call);
    assert_true(refresh.computes);
    prepare(rig, &second, 1);
    second.call.refreshing = true;
    pcr_cache_fetch(&second.call);
    assert_true(second.done && second.call.status == PACER_ECANCELED);
    prepare(rig, &other, 1);
    start(&other); // still has the old one
    assert_true(is_right(&other) && other.call.how == PCR_CACHE_HIT_L1);
    answer(&refresh);
    assert_true(refresh.done && refresh.call.stored);
    assert_int_equal(rig->n_computed, 2);
    end(&refresh);
    end(&second);
    end(&other);
}

static void what_fails_to_compute_may_be_answered_by_what_is_stale(void **state) {
    struct rig *rig = *state;
    static const struct {
        int code;
        bool stale;
    } cases[] = {{PACER_EMODEL, true},    {PACER_EBUSY, true},   {PACER_ETIMEDOUT, true},
                 {PACER_EINTERNAL, true}, {PACER_EINVAL, false}, {PACER_ESYNTAX, false}};
    for (unsigned i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct ask ask;
        prepare(rig, &ask, i);
        ask.call.policy.ttl_ns = MS;
        start(&ask);
        end(&ask);
        usleep(3000);
        prepare(rig, &ask, i);
        ask.call.policy.stale_if_error_ns = 10 * S;
        ask.code = cases[i].code;
        start(&ask);
        assert_true(ask.done);
        assert_int_equal(ask.call.status, cases[i].stale ? 0 : cases[i].code);
        assert_int_equal(ask.call.how, cases[i].stale ? PCR_CACHE_STALE : PCR_CACHE_MISS);
        if (cases[i].stale)
            assert_true(is_right(&ask));
        end(&ask);
    }
}

// With what it costs to compute, near the end it is likely, far from it never.
static void the_nearer_the_end_the_likelier_it_is_computed_anew(void **state) {
    struct rig *rig = *state;
    unsigned near = 0, far = 0;
    for (unsigned i = 0; i < 60; i++) {
        struct ask ask;
        prepare(rig, &ask, i);
        ask.holds = true;
        start(&ask);
        usleep(2000); // the cost
        answer(&ask);
        uint64_t now_ns = pcr_clock_mono_ns();
        uint64_t end_ns = now_ns + (uint64_t)ask.call.fresh_ns;
        assert_true(pcr_cache_get(&ask.call, now_ns + 1));
        far += ask.call.refresh;
        assert_true(pcr_cache_get(&ask.call, end_ns - 2 * MS));
        near += ask.call.refresh; // 1/e and a little: left is about the cost
        end(&ask);
    }
    assert_int_equal(far, 0);
    assert_in_range(near, 6, 54);
}

// --- what a client accepts ----------------------------------------------------------------------
static void a_client_may_want_it_fresh(void **state) {
    struct rig *rig = *state;
    struct ask ask;
    how_of(rig, 1);
    prepare(rig, &ask, 1);
    ask.call.max_age_ns = 0;
    start(&ask);
    assert_true(is_right(&ask) && ask.call.how == PCR_CACHE_MISS && ask.call.stored);
    end(&ask);
    usleep(3000);
    prepare(rig, &ask, 1);
    ask.call.max_age_ns = MS;
    start(&ask);
    assert_true(is_right(&ask) && ask.call.how == PCR_CACHE_MISS);
    end(&ask);
    assert_int_equal(rig->n_computed, 3);
}

static void a_client_may_want_nothing_computed(void **state) {
    struct rig *rig = *state;
    struct ask ask;
    prepare(rig, &ask, 1);
    ask.call.only_if_cached = true;
    start(&ask);
    assert_true(ask.done && ask.call.how == PCR_CACHE_ABSENT && ask.call.status == 0);
    end(&ask);
    assert_int_equal(rig->n_computed, 0);
}

// --- flights ------------------------------------------------------------------------------------
static void equal_questions_wait_for_one_others_do_not(void **state) {
    struct rig *rig = *state;
    struct ask asks[10], other;
    for (unsigned i = 0; i < 10; i++) {
        prepare(rig, &asks[i], 1);
        asks[i].holds = true;
        start(&asks[i]);
    }
    assert_int_equal(rig->n_computed, 1);
    prepare(rig, &other, 2);
    start(&other);
    assert_true(is_right(&other));
    answer(&asks[0]);
    run_for(rig, 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_true(is_right(&asks[i]));
        assert_int_equal(asks[i].call.how, i ? PCR_CACHE_COALESCED : PCR_CACHE_MISS);
        end(&asks[i]);
    }
    end(&other);
    assert_int_equal(rig->n_computed, 2);
}

static void what_is_the_leaders_own_trouble_makes_another_lead(void **state) {
    struct rig *rig = *state;
    static const int codes[] = {PACER_EBUSY, PACER_ETIMEDOUT, PACER_ECANCELED, PACER_ENOMEM};
    for (unsigned c = 0; c < PCR_COUNT_OF(codes); c++) {
        struct ask asks[3];
        for (unsigned i = 0; i < 3; i++) {
            prepare(rig, &asks[i], c);
            asks[i].holds = i == 0;
            start(&asks[i]);
        }
        asks[0].code = codes[c];
        answer(&asks[0]);
        run_for(rig, 10);
        assert_int_equal(asks[0].call.status, codes[c]);
        assert_true(is_right(&asks[1]) && is_right(&asks[2]));
        assert_int_equal(asks[2].call.how, PCR_CACHE_COALESCED);
        for (unsigned i = 0; i < 3; i++)
            end(&asks[i]);
    }
    assert_int_equal(rig->n_computed, 8);
}

static void what_is_wrong_with_the_question_is_everybodys_answer(void **state) {
    struct rig *rig = *state;
    struct ask asks[3];
    for (unsigned i = 0; i < 3; i++) {
        prepare(rig, &asks[i], 1);
        asks[i].holds = true;
        start(&asks[i]);
    }
    asks[0].code = PACER_EMODEL;
    answer(&asks[0]);
    run_for(rig, 10);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(asks[i].done);
        assert_int_equal(asks[i].call.status, PACER_EMODEL);
        assert_string_equal(asks[i].call.error.message, "made up");
        end(&asks[i]);
    }
    assert_int_equal(rig->n_computed, 1);
    assert_int_equal(how_of(rig, 1), PCR_CACHE_MISS); // an error is not kept
}

static void who_waits_and_who_leads_may_be_canceled(void **state) {
    struct rig *rig = *state;
    struct ask asks[3];
    for (unsigned i = 0; i < 3; i++) {
        prepare(rig, &asks[i], 1);
        asks[i].holds = true;
        start(&asks[i]);
    }
    assert_false(pcr_cache_cancel(&asks[1].call));
    assert_true(asks[1].done && asks[1].call.status == PACER_ECANCELED);
    assert_false(pcr_cache_cancel(&asks[0].call)); // another waits for it: go on
    answer(&asks[0]);
    run_for(rig, 10);
    assert_true(is_right(&asks[2]));
    for (unsigned i = 0; i < 3; i++)
        end(&asks[i]);
    prepare(rig, &asks[0], 2);
    asks[0].holds = true;
    start(&asks[0]);
    assert_true(pcr_cache_cancel(&asks[0].call)); // nobody does: stop it
    asks[0].code = PACER_ECANCELED;
    answer(&asks[0]);
    end(&asks[0]);
}

static void nobody_waits_beyond_his_own_time(void **state) {
    struct rig *rig = *state;
    struct ask leader, waiter, patient;
    prepare(rig, &leader, 1);
    leader.holds = true;
    start(&leader);
    prepare(rig, &patient, 1);
    patient.call.deadline_ns = pcr_clock_mono_ns() + 60 * S;
    start(&patient);
    prepare(rig, &waiter, 1);
    waiter.call.deadline_ns = pcr_clock_mono_ns() + 20 * MS;
    start(&waiter);
    run_for(rig, 60);
    assert_true(waiter.done && waiter.call.status == PACER_ETIMEDOUT);
    assert_false(patient.done);
    answer(&leader);
    run_for(rig, 10);
    assert_true(is_right(&patient));
    end(&leader);
    end(&waiter);
    end(&patient);
}

// --- purging ------------------------------------------------------------------------------------
static void what_is_being_computed_during_a_purge_is_not_kept(void **state) {
    struct rig *rig = *state;
    struct ask ask;
    prepare(rig, &ask, 1);
    ask.holds = true;
    start(&ask);
    purge_all(rig, NULL, NULL);
    answer(&ask);
    assert_true(is_right(&ask) && !ask.call.stored);
    end(&ask);
    assert_int_equal(how_of(rig, 1), PCR_CACHE_MISS);
}

static void a_purge_is_for_a_model_or_a_tenant(void **state) {
    struct rig *rig = *state;
    how_of(rig, 1);
    purge_all(rig, "other", NULL);
    purge_all(rig, "m", "other");
    assert_int_equal(how_of(rig, 1), PCR_CACHE_HIT_L1);
    purge_all(rig, "m", "t");
    assert_int_equal(how_of(rig, 1), PCR_CACHE_MISS);
    purge_all(rig, NULL, "t");
    assert_int_equal(how_of(rig, 1), PCR_CACHE_MISS);
}

static void stores_are_asked_the_nearest_first(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig, true, true);
    put_value(&fakes[1], 1, 1, 5000, 60000);
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_HIT_REDIS);
    assert_int_equal(fakes[0].n_gets, 1);
    assert_int_equal(fakes[0].n_puts, 1); // has it from now on
    assert_int_equal(fakes[1].n_puts, 0);
    assert_in_range(fakes[0].put_ttl_ms, 54000, 55000);
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_HIT_L1);
    put_value(&fakes[0], 2, 2, 0, 60000);
    assert_int_equal(how_of(&rig, 2), PCR_CACHE_HIT_LMDB);
    assert_int_equal(fakes[1].n_gets, 1);
    assert_int_equal(rig.n_computed, 0);
    fakes[0].way = EMPTY;
    fakes[1].way = FAILS;
    assert_int_equal(how_of(&rig, 3), PCR_CACHE_MISS);
    assert_int_equal(fakes[0].n_puts, 2);
    assert_int_equal(fakes[1].n_puts, 1);
    close_rig(&rig);
}

static void what_is_not_an_answer_to_the_question_is_a_miss(void **state) {
    (void)state;
    struct rig rig;
    open_rig(&rig, true, false);
    put_value(&fakes[0], 9, 9, 0, 60000); // another key under this name
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_MISS);
    put_value(&fakes[0], 2, 2, -60000, 60000); // of the future
    assert_int_equal(how_of(&rig, 2), PCR_CACHE_MISS);
    put_value(&fakes[0], 3, 3, 60001, 60000); // its time is up
    assert_int_equal(how_of(&rig, 3), PCR_CACHE_MISS);
    put_value(&fakes[0], 4, 4, 0, 60000);
    fakes[0].value[fakes[0].n_value - 1] ^= 1; // damaged
    assert_int_equal(how_of(&rig, 4), PCR_CACHE_MISS);
    put_value(&fakes[0], 5, 5, 0, 60000);
    fakes[0].n_value = 20; // cut
    assert_int_equal(how_of(&rig, 5), PCR_CACHE_MISS);
    fakes[0].n_value = 0;
    assert_int_equal(how_of(&rig, 6), PCR_CACHE_MISS);
    put_value(&fakes[0], 7, 7, 0, UINT64_MAX); // no time that we would set
    assert_int_equal(how_of(&rig, 7), PCR_CACHE_MISS);
    assert_int_equal(rig.n_computed, 7);
    close_rig(&rig);
}

static void a_store_may_take_its_time(void **state) {
    (void)state;
    struct rig rig;
    struct ask first, second;
    open_rig(&rig, true, false);
    put_value(&fakes[0], 1, 1, 0, 60000);
    fakes[0].way = ANSWERS_LATER;
    prepare(&rig, &first, 1);
    start(&first);
    prepare(&rig, &second, 1);
    start(&second);
    assert_false(first.done || second.done);
    pthread_t thread;
    pthread_create(&thread, NULL, answer_from_elsewhere, &fakes[0]);
    pthread_join(thread, NULL);
    run_for(&rig, 20);
    assert_true(is_right(&first) && is_right(&second));
    assert_int_equal(second.call.how, PCR_CACHE_HIT_LMDB);
    assert_int_equal(fakes[0].n_gets, 1);
    end(&first);
    end(&second);

    put_value(&fakes[0], 2, 3, 0, 60000); // of no use
    fakes[0].way = ANSWERS_LATER;
    prepare(&rig, &first, 2);
    start(&first);
    prepare(&rig, &second, 2);
    start(&second);
    assert_false(pcr_cache_cancel(&first.call)); // while it asks
    pthread_create(&thread, NULL, answer_from_elsewhere, &fakes[0]);
    pthread_join(thread, NULL);
    run_for(&rig, 20);
    assert_true(first.done && first.call.status == PACER_ECANCELED);
    assert_true(is_right(&second) && second.call.how == PCR_CACHE_MISS);
    end(&first);
    end(&second);
    close_rig(&rig);
}

static void a_purge_and_other_replicas_reach_all_tiers(void **state) {
    (void)state;
    struct rig rig;
    struct ask ask;
    open_rig(&rig, true, true);
    how_of(&rig, 1);
    purge_all(&rig, "m", NULL);
    assert_int_equal(fakes[0].n_purges, 1);
    assert_int_equal(fakes[1].n_purges, 1);
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_MISS);
    prepare(&rig, &ask, 1);
    redis_options.invalidated(redis_options.ctx, &ask.call.key.name);
    end(&ask);
    assert_int_equal(fakes[0].n_purges, 2);
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_MISS);
    redis_options.invalidated(redis_options.ctx, NULL);
    assert_int_equal(how_of(&rig, 1), PCR_CACHE_MISS);
    close_rig(&rig);
}

// --- figures ------------------------------------------------------------------------------------
static void the_last_minutes_are_told_apart(void **state) {
    struct rig *rig = *state;
    struct pcr_cache_stats stats;
    how_of(rig, 1);
    for (unsigned i = 0; i < 40; i++) // more than five minutes
        pcr_cache_tick(rig->cache);
    how_of(rig, 1);
    how_of(rig, 1);
    pcr_cache_stats(rig->cache, &stats);
    assert_int_equal(stats.total.misses, 1);
    assert_int_equal(stats.last_5m.misses, 0);
    assert_int_equal(stats.last_5m.hits_l1, 2);
    assert_int_equal(stats.last_1h.misses, 1);
    assert_true(pcr_cache_hit_ratio(&stats.last_5m) == 1);
    for (unsigned i = 0; i < 400; i++) // more than an hour
        pcr_cache_tick(rig->cache);
    pcr_cache_stats(rig->cache, &stats);
    assert_int_equal(stats.last_1h.hits_l1, 0);
    assert_int_equal(stats.total.hits_l1, 2);
}

// --- threads ------------------------------------------------------------------------------------
#define LOOPS 4
#define PER_LOOP 25

struct loop_thread {
    struct rig rig;
    pthread_t thread;
    struct pcr_mail mail;
    struct ask asks[PER_LOOP];
    struct pcr_timer *timer;
};
static pthread_barrier_t barrier;
static atomic_uint computed_everywhere;

static void finish_later(void *ctx) {
    struct loop_thread *one = ctx;
    for (size_t i = 0; i < PER_LOOP; i++)
        if (one->asks[i].computes)
            answer(&one->asks[i]);
}

static void compute_slowly(struct pcr_cache_call *call) {
    struct ask *ask = call->user;
    ask->computes = true;
    atomic_fetch_add(&computed_everywhere, 1);
}

static void ask_all(struct pcr_mail *mail) {
    struct loop_thread *one = PCR_CONTAINER_OF(mail, struct loop_thread, mail);
    one->timer = pcr_timer_create(one->rig.loop, finish_later, one);
    pcr_timer_start(one->timer, 30, 5);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < PER_LOOP; i++) {
        prepare(&one->rig, &one->asks[i], 1);
        one->asks[i].call.compute = compute_slowly;
        start(&one->asks[i]);
    }
}

static void *run_loop(void *arg) {
    struct loop_thread *one = arg;
    pcr_loop_run(one->rig.loop);
    return NULL;
}

static void a_hundred_equal_questions_on_four_loops_are_computed_once(void **state) {
    struct rig *rig = *state;
    static struct loop_thread loops[LOOPS];
    atomic_store(&computed_everywhere, 0);
    pthread_barrier_init(&barrier, NULL, LOOPS);
    for (size_t i = 0; i < LOOPS; i++) {
        loops[i] = (struct loop_thread){.rig = {.cache = rig->cache}, .mail = {NULL, ask_all}};
        assert_int_equal(pcr_loop_create(&loops[i].rig.loop, NULL), 0);
        pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]);
        pcr_loop_post(loops[i].rig.loop, &loops[i].mail);
    }
    usleep(300000);
    for (size_t i = 0; i < LOOPS; i++)
        pcr_loop_stop(loops[i].rig.loop);
    for (size_t i = 0; i < LOOPS; i++) {
        pthread_join(loops[i].thread, NULL);
        for (size_t k = 0; k < PER_LOOP; k++) {
            assert_true(is_right(&loops[i].asks[k]));
            end(&loops[i].asks[k]);
        }
        pcr_timer_destroy(loops[i].timer);
        pcr_loop_destroy(loops[i].rig.loop);
    }
    assert_int_equal(atomic_load(&computed_everywhere), 1);
    pthread_barrier_destroy(&barrier);
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIGGED(an_answer_is_fresh_for_its_time_give_or_take_a_tenth),
        RIGGED(a_time_that_has_become_shorter_counts),
        RIGGED(what_is_stale_is_given_while_one_computes_it_anew),
        RIGGED(refreshing_replaces_the_answer_unless_it_is_under_way),
        RIGGED(what_fails_to_compute_may_be_answered_by_what_is_stale),
        RIGGED(the_nearer_the_end_the_likelier_it_is_computed_anew),
        RIGGED(a_client_may_want_it_fresh),
        RIGGED(a_client_may_want_nothing_computed),
        RIGGED(equal_questions_wait_for_one_others_do_not),
        RIGGED(what_is_the_leaders_own_trouble_makes_another_lead),
        RIGGED(what_is_wrong_with_the_question_is_everybodys_answer),
        RIGGED(who_waits_and_who_leads_may_be_canceled),
        RIGGED(nobody_waits_beyond_his_own_time),
        RIGGED(what_is_being_computed_during_a_purge_is_not_kept),
        RIGGED(a_purge_is_for_a_model_or_a_tenant),
        cmocka_unit_test(stores_are_asked_the_nearest_first),
        cmocka_unit_test(what_is_not_an_answer_to_the_question_is_a_miss),
        cmocka_unit_test(a_store_may_take_its_time),
        cmocka_unit_test(a_purge_and_other_replicas_reach_all_tiers),
        RIGGED(the_last_minutes_are_told_apart),
        RIGGED(a_hundred_equal_questions_on_four_loops_are_computed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
