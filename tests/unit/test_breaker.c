// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "cache/breaker.h"

#define MS PCR_NS_PER_MS

static struct pcr_breaker make(void) {
    struct pcr_breaker breaker;
    pcr_breaker_init(&breaker, &(struct pcr_breaker_options){.failures_min = 4,
                                                             .failure_rate = 0.5,
                                                             .window_ns = 1000 * MS,
                                                             .open_ns = 100 * MS,
                                                             .open_max_ns = 300 * MS,
                                                             .probes = 2});
    return breaker;
}

static void tell(struct pcr_breaker *breaker, const char *outcomes, uint64_t now_ns) {
    for (; *outcomes; outcomes++)
        pcr_breaker_tell(breaker, *outcomes == '+', now_ns);
}

static void it_opens_when_failures_are_many_and_most(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "---", 0);
    assert_int_equal(breaker.state, PCR_BREAKER_CLOSED); // too few to tell
    tell(&breaker, "+++++", 0);
    tell(&breaker, "-", 0); // 4 of 9
    assert_int_equal(breaker.state, PCR_BREAKER_CLOSED);
    tell(&breaker, "-", 0); // 5 of 10
    assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
    assert_false(pcr_breaker_ask(&breaker, 99 * MS));
    assert_int_equal(pcr_breaker_probe_ns(&breaker), 100 * MS);
}

static void what_lies_back_does_not_count(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "---", 0);
    tell(&breaker, "-", 2000 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_CLOSED);
    tell(&breaker, "-", 2950 * MS);
    tell(&breaker, "--", 2960 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
}

static void probes_close_it_one_at_a_time(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "----", 0);
    assert_true(pcr_breaker_ask(&breaker, 100 * MS));
    assert_false(pcr_breaker_ask(&breaker, 100 * MS)); // one at a time
    pcr_breaker_tell(&breaker, true, 101 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_HALF_OPEN);
    assert_true(pcr_breaker_ask(&breaker, 101 * MS));
    pcr_breaker_tell(&breaker, true, 102 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_CLOSED);
    tell(&breaker, "---", 102 * MS); // what was before is forgotten
    assert_int_equal(breaker.state, PCR_BREAKER_CLOSED);
}

static void a_bad_probe_opens_it_for_twice_as_long_up_to_a_bound(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    uint64_t now_ns = 0;
    tell(&breaker, "----", now_ns);
    for (uint64_t pause = 100; pause <= 300;
         pause = pause * 2 > 300 && pause < 300 ? 300 : pause * 2) {
        assert_false(pcr_breaker_ask(&breaker, now_ns + pause * MS - 1));
        now_ns += pause * MS;
        assert_true(pcr_breaker_ask(&breaker, now_ns));
        pcr_breaker_tell(&breaker, false, now_ns);
        assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
    }
    assert_int_equal(breaker.n_opened, 4);
    assert_false(pcr_breaker_ask(&breaker, now_ns + 299 * MS));
    assert_true(pcr_breaker_ask(&breaker, now_ns + 300 * MS));
}

static void answers_that_come_after_it_opened_change_nothing(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "----", 0);
    tell(&breaker, "++++++++", 1 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
}

static void only_a_probe_tells_anything_while_it_is_half_open(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "----", 0);
    assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
    uint64_t now_ns = pcr_breaker_probe_ns(&breaker);
    assert_true(pcr_breaker_ask(&breaker, now_ns));
    pcr_breaker_tell(&breaker, true, now_ns);
    assert_int_equal(breaker.state, PCR_BREAKER_HALF_OPEN);
    tell(&breaker, "-+++++++", now_ns); // nobody has been let through meanwhile
    assert_int_equal(breaker.state, PCR_BREAKER_HALF_OPEN);
    assert_true(pcr_breaker_ask(&breaker, now_ns));
}

static void a_clock_that_goes_back_does_no_harm(void **state) {
    (void)state;
    struct pcr_breaker breaker = make();
    tell(&breaker, "+", 5000 * MS);
    tell(&breaker, "----", 1000 * MS);
    assert_int_equal(breaker.state, PCR_BREAKER_OPEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_when_failures_are_many_and_most),
        cmocka_unit_test(what_lies_back_does_not_count),
        cmocka_unit_test(probes_close_it_one_at_a_time),
        cmocka_unit_test(a_bad_probe_opens_it_for_twice_as_long_up_to_a_bound),
        cmocka_unit_test(answers_that_come_after_it_opened_change_nothing),
        cmocka_unit_test(only_a_probe_tells_anything_while_it_is_half_open),
        cmocka_unit_test(a_clock_that_goes_back_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
