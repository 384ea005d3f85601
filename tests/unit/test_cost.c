// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "infer/cost.h"

#include <math.h>
#include <stdlib.h>

// t(n) = a + b·n at 1, 2, 4 … most.
static struct pcr_cost swept(double a, double b, uint64_t most) {
    struct pcr_cost cost;
    pcr_cost_init(&cost);
    for (uint64_t n = 1; n <= most; n *= 2)
        pcr_cost_sweep(&cost, n, (uint64_t)(a + b * (double)n));
    return cost;
}

static void assert_near(uint64_t got, double wanted, double relative) {
    if (fabs((double)got - wanted) > relative * wanted)
        fail_msg("%llu, expected about %.0f", (unsigned long long)got, wanted);
}

static void nothing_is_known_at_first(void **state) {
    (void)state;
    struct pcr_cost cost;
    pcr_cost_init(&cost);
    assert_false(pcr_cost_known(&cost));
    assert_true(pcr_cost_ns(&cost, 1) == UINT64_MAX);
    assert_true(pcr_cost_backlog_ns(&cost, 10, 5) == UINT64_MAX);
    assert_int_equal(pcr_cost_cap(&cost, 64), 1);
    pcr_cost_learn(&cost, 0, 100); // no rows say nothing
    assert_false(pcr_cost_known(&cost));
    pcr_cost_learn(&cost, 4, 1000);
    assert_near(pcr_cost_ns(&cost, 4), 1000, 0.01);
}

static void a_line_is_found(void **state) {
    (void)state;
    static const double lines[][2] = {{2500, 85}, {236000, 99000}, {5e6, 0}, {0, 700}};
    for (size_t i = 0; i < PCR_COUNT_OF(lines); i++) {
        double a = lines[i][0], b = lines[i][1];
        struct pcr_cost cost = swept(a, b, 64);
        for (uint64_t n = 1; n <= 256; n *= 4)
            assert_near(pcr_cost_ns(&cost, n), a + b * (double)n, 0.02);
        assert_near(pcr_cost_backlog_ns(&cost, 100, 10), 10 * a + 100 * b, 0.02);
        assert_near(pcr_cost_backlog_ns(&cost, 101, 10), 11 * a + 101 * b, 0.02);
    }
}

static void what_is_learnt_follows_the_load(void **state) {
    (void)state;
    struct pcr_cost cost = swept(10000, 1000, 64);
    unsigned random = 1;
    for (int i = 0; i < 600; i++) { // everything takes twice as long now
        random = random * 1664525 + 1013904223;
        uint64_t n = 1 + (random >> 16) % 64;
        pcr_cost_learn(&cost, n, 20000 + 2000 * n);
    }
    assert_near(pcr_cost_ns(&cost, 1), 22000, 0.05);
    assert_near(pcr_cost_ns(&cost, 64), 148000, 0.05);
    for (int i = 0; i < 600; i++) { // and now a tenth
        random = random * 1664525 + 1013904223;
        uint64_t n = 1 + (random >> 16) % 64;
        pcr_cost_learn(&cost, n, 1000 + 100 * n);
    }
    assert_near(pcr_cost_ns(&cost, 1), 1100, 0.1);
    assert_near(pcr_cost_ns(&cost, 64), 7400, 0.1);
}

// Runs of one size say nothing about the slope: the sweep's stays in sight.
static void one_size_leaves_the_line_in_shape(void **state) {
    (void)state;
    struct pcr_cost cost = swept(10000, 1000, 64);
    for (int i = 0; i < 5000; i++)
        pcr_cost_learn(&cost, 1, 11000);
    assert_near(pcr_cost_ns(&cost, 1), 11000, 0.02);
    assert_near(pcr_cost_ns(&cost, 64), 74000, 0.1);
    for (int i = 0; i < 5000; i++)
        pcr_cost_learn(&cost, 1, 22000);
    assert_near(pcr_cost_ns(&cost, 1), 22000, 0.1);
    assert_true(pcr_cost_ns(&cost, 64) >= pcr_cost_ns(&cost, 1));
}

// Half the runs take twice as long: what is expected is what they take on average.
static void what_is_expected_is_the_mean(void **state) {
    (void)state;
    struct pcr_cost cost = swept(10000, 1000, 64);
    for (int i = 0; i < 2000; i++)
        pcr_cost_learn(&cost, 8, i % 2 ? 18000 : 36000);
    assert_near(pcr_cost_ns(&cost, 8), 27000, 0.06);
}

static void a_run_that_was_held_up_changes_little(void **state) {
    (void)state;
    struct pcr_cost cost = swept(2500, 85, 256);
    for (int i = 0; i < 100; i++)
        pcr_cost_learn(&cost, 4, 2840);
    pcr_cost_learn(&cost, 4, 20 * PCR_NS_PER_MS); // preempted
    assert_near(pcr_cost_ns(&cost, 4), 2840, 0.1);
    for (int i = 0; i < 3; i++)
        pcr_cost_learn(&cost, 4, 2840);
    assert_near(pcr_cost_ns(&cost, 4), 2840, 0.1);
}

static void the_cap_is_where_longer_batches_gain_little(void **state) {
    (void)state;
    struct pcr_cost cost = swept(2500, 85, 256); // 2(a + bn) / (a + 2bn) < 1.05 from n ≈ 280 on
    assert_int_equal(pcr_cost_cap(&cost, 65536), 256);
    assert_int_equal(pcr_cost_cap(&cost, 64), 64);
    assert_int_equal(pcr_cost_cap(&cost, 1), 1);
    cost = swept(0, 1000, 64); // nothing to gain
    assert_int_equal(pcr_cost_cap(&cost, 64), 1);
    cost = swept(10000, 10000, 256); // n / (n + 1): 0.970 at 32 is within 5 % of 0.996 at 256
    assert_int_equal(pcr_cost_cap(&cost, 256), 32);
    cost = swept(5e6, 0, 256); // a batch costs what a row does
    assert_int_equal(pcr_cost_cap(&cost, 256), 256);
}

// A kernel for one row, another for more: rows per second fall before they rise.
static void a_dip_does_not_end_the_search(void **state) {
    (void)state;
    struct pcr_cost cost;
    pcr_cost_init(&cost);
    static const uint64_t us[] = {100, 260, 300, 340, 420, 700};
    for (size_t i = 0; i < PCR_COUNT_OF(us); i++)
        pcr_cost_sweep(&cost, (uint64_t)1 << i, us[i] * 1000);
    assert_int_equal(pcr_cost_cap(&cost, 256), 32);
}

static void nothing_overflows(void **state) {
    (void)state;
    struct pcr_cost cost = swept(1e9, 1e9, 64);
    assert_true(pcr_cost_ns(&cost, UINT64_MAX) <= UINT64_MAX / 2);
    assert_true(pcr_cost_backlog_ns(&cost, UINT64_MAX / 4, 1) <= UINT64_MAX / 2);
    assert_true(pcr_cost_backlog_ns(&cost, UINT64_MAX, UINT64_MAX) <= UINT64_MAX / 2);
    pcr_cost_learn(&cost, UINT64_MAX, UINT64_MAX);
    pcr_cost_learn(&cost, 1, 0);
    pcr_cost_learn(&cost, 1, UINT64_MAX);
    assert_true(pcr_cost_ns(&cost, 1) <= UINT64_MAX / 2);
    for (uint64_t n = 1; n < 100; n++) // more points than it keeps
        pcr_cost_sweep(&cost, 1000 * n, n);
    assert_int_equal(cost.n_points, PCR_COST_POINTS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(a_line_is_found),
        cmocka_unit_test(what_is_learnt_follows_the_load),
        cmocka_unit_test(one_size_leaves_the_line_in_shape),
        cmocka_unit_test(what_is_expected_is_the_mean),
        cmocka_unit_test(a_run_that_was_held_up_changes_little),
        cmocka_unit_test(the_cap_is_where_longer_batches_gain_little),
        cmocka_unit_test(a_dip_does_not_end_the_search),
        cmocka_unit_test(nothing_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
