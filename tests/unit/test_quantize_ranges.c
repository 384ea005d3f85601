// SPDX-License-Identifier: Apache-2.0
// calloc is wrapped by the linker, as in test_no_memory.c.
#include "test.h"

#include "quantize/ranges.h"
#include "quantize/ranges_priv.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static long fail_at = -1, calls;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    return calls++ == fail_at ? NULL : __real_calloc(count, bytes);
}

struct range {
    float min, max;
};

static struct pcr_ranges *created(struct pcr_ranges_options options) {
    struct pcr_ranges *ranges = NULL;
    struct pacer_error err;
    if (pcr_ranges_create(&options, &ranges, &err) != 0)
        fail_msg("%s", err.message);
    return ranges;
}

static struct range finished(struct pcr_ranges *ranges) {
    struct range range;
    assert_int_equal(pcr_ranges_finish(ranges, &range.min, &range.max), 0);
    return range;
}

static struct range range_of(struct pcr_ranges_options options, const float *x, size_t n) {
    struct pcr_ranges *ranges = created(options);
    assert_int_equal(pcr_ranges_add(ranges, x, n), 0);
    struct range range = finished(ranges);
    pcr_ranges_destroy(ranges);
    return range;
}

static void assert_range(struct range got, float min, float max) {
    if (got.min != min || got.max != max)
        fail_msg("%.9g to %.9g; expected %.9g to %.9g", (double)got.min, (double)got.max,
                 (double)min, (double)max);
}

static const struct pcr_ranges_options minmax = {.method = PCR_RANGES_MINMAX};
static const struct pcr_ranges_options percentile = {.method = PCR_RANGES_PERCENTILE};
static const struct pcr_ranges_options magnitudes = {.method = PCR_RANGES_PERCENTILE,
                                                     .symmetric = true};
static const struct pcr_ranges_options entropy = {.method = PCR_RANGES_ENTROPY};

static float uniform(unsigned *random) { // −1 to 1
    *random = *random * 1664525 + 1013904223;
    return (float)(int32_t)*random / 2147483648.0f;
}

static float bell(unsigned *random) {
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += uniform(random);
    return sum * 0.7f;
}

// --- minmax -------------------------------------------------------------------------------------
static void minmax_is_the_least_and_the_greatest(void **state) {
    (void)state;
    struct pcr_ranges *ranges = created(minmax);
    float x[100];
    for (int i = 0; i < 100; i++)
        x[i] = (float)i;
    assert_int_equal(pcr_ranges_add(ranges, x + 7, 60), 0);
    assert_range(finished(ranges), 7, 66);
    assert_int_equal(pcr_ranges_add(ranges, x + 5, 10), 0);
    assert_range(finished(ranges), 5, 66);
    x[3] = -9;
    assert_int_equal(pcr_ranges_add(ranges, x, 100), 0);
    assert_range(finished(ranges), -9, 99);
    const struct pcr_ranges_seen *seen = pcr_ranges_seen(ranges);
    assert_true(seen->n == 170 && seen->least == 0 && seen->n_nan == 0 && seen->n_infinite == 0);
    pcr_ranges_destroy(ranges);
    struct pcr_ranges_options symmetric = {.method = PCR_RANGES_MINMAX, .symmetric = true};
    assert_range(range_of(symmetric, (float[]){-3, 2}, 2), -3, 3);
    assert_range(range_of(symmetric, (float[]){4, 5}, 2), -5, 5);
}

// --- percentile ---------------------------------------------------------------------------------
// Four bins from −4 to 4 with 1, 3, 5 and 1 of 10.
static void a_percentile_is_the_lower_edge_of_its_bin(void **state) {
    (void)state;
    static const float x[] = {-4, -1, -1, -1, 1, 1, 1, 1, 1, 4};
    struct pcr_ranges_options four = {.method = PCR_RANGES_PERCENTILE, .n_bins = 4};
    four.percentile = 70; // 15 % on either side: the second bin and the third
    assert_range(range_of(four, x, 10), -2, 0);
    four.percentile = 90; // 5 %: the first and the last
    assert_range(range_of(four, x, 10), -4, 2);
    four.symmetric = true; // from 1 to 4: 8, 0, 0, 2
    four.percentile = 80;
    assert_range(range_of(four, x, 10), -1, 1);
    four.percentile = 81;
    assert_range(range_of(four, x, 10), -3.25f, 3.25f);
}

static void a_range_is_no_wider_than_what_was_seen(void **state) {
    (void)state;
    static const float x[] = {1, 1.5f, 2, 2};
    assert_range(range_of(percentile, x, 4), 1, 1.998046875f); // the last edge but one
    assert_range(range_of(magnitudes, x, 4), 1, 1.99951171875f);
    assert_range(range_of(entropy, x, 4), 1, 2);
}

// The lower edge of the bin that all are in lies below them, or even below 0.
static void a_constant_is_its_own_range(void **state) {
    (void)state;
    static const float constants[] = {3, -3, 0.01f, -0.0114f, 0.0778f, 1e9f, -1e-40f};
    struct pcr_ranges_options all[] = {percentile, magnitudes, entropy};
    for (size_t i = 0; i < PCR_COUNT_OF(constants); i++)
        for (size_t m = 0; m < PCR_COUNT_OF(all); m++) {
            float x[50], c = constants[i];
            for (size_t j = 0; j < 50; j++)
                x[j] = c;
            struct range range = range_of(all[m], x, 50);
            assert_true(range.min <= c && c <= range.max);
            assert_true(fmaxf(-range.min, range.max) == fabsf(c));
        }
}

static void outliers_are_cut_off(void **state) {
    (void)state;
    static float x[100000];
    unsigned random = 1;
    for (size_t i = 0; i < 100000; i++)
        x[i] = uniform(&random);
    x[500] = 50;
    struct pcr_ranges_options options = percentile;
    options.percentile = 99.9;
    struct range range = range_of(options, x, 100000);
    assert_true(range.min < -0.9f && range.min >= -1.1f);
    assert_true(range.max > 0.9f && range.max < 1.1f);
    options.symmetric = true;
    range = range_of(options, x, 100000);
    assert_true(range.max > 0.9f && range.max < 1.1f && range.min < -0.9f);
}

// --- in pieces ----------------------------------------------------------------------------------
// With what was seen handed to a second pass the pieces give what the whole gives, exactly.
static void two_passes_see_what_one_look_at_all_sees(void **state) {
    (void)state;
    static float x[30000];
    unsigned random = 7;
    for (size_t i = 0; i < 30000; i++)
        x[i] = bell(&random) * (1 + (float)i / 3000);
    struct pcr_ranges_options all[] = {
        percentile, magnitudes, entropy, {.method = PCR_RANGES_ENTROPY, .n_bins = 2048}};
    for (size_t m = 0; m < PCR_COUNT_OF(all); m++) {
        struct range whole = range_of(all[m], x, 30000);
        struct pcr_ranges *first = created(minmax);
        for (size_t i = 0; i < 30000; i += 3000)
            assert_int_equal(pcr_ranges_add(first, x + i, 3000), 0);
        all[m].expected = pcr_ranges_seen(first);
        struct pcr_ranges *second = created(all[m]);
        for (size_t i = 0; i < 30000; i += 1000)
            assert_int_equal(pcr_ranges_add(second, x + i, 1000), 0);
        assert_range(finished(second), whole.min, whole.max);
        pcr_ranges_destroy(first);
        pcr_ranges_destroy(second);
    }
}

static uint64_t counted(const struct pcr_histogram *h) {
    uint64_t total = 0;
    for (size_t i = 0; i < h->n_bins; i++) {
        total += h->counts[i];
        assert_true(h->edges[i] <= h->edges[i + 1]);
    }
    return total;
}

static void stretch(bool of_magnitudes, size_t bins_max, float factor) {
    struct pcr_histogram h;
    struct pcr_ranges_seen seen = {-1, 1, 0, 2, 0, 0};
    assert_int_equal(pcr_histogram_init(&h, 16, bins_max, of_magnitudes), 0);
    uint64_t n = 0;
    for (float far = 1; far < 1e37f; far *= factor) {
        seen.min = -far;
        assert_int_equal(pcr_histogram_cover(&h, &seen), 0);
        assert_true(h.n_bins <= bins_max);
        assert_true(h.edges[h.n_bins] >= far);
        assert_true(of_magnitudes || (h.edges[0] <= -far && h.edges[h.n_bins / 2] == 0));
        pcr_histogram_add(&h, (float[]){-far, far, far / 2, 0}, 4);
        n += 4;
        assert_true(counted(&h) == n);
    }
    pcr_histogram_fini(&h);
}

static void bins_stretch_within_bounds_and_lose_nothing(void **state) {
    (void)state;
    static const float factors[] = {1.01f, 1.9f, 3, 1000, 1e30f};
    static const size_t most[] = {16, 18, 22, 100, 1024};
    for (size_t f = 0; f < PCR_COUNT_OF(factors); f++)
        for (size_t m = 0; m < PCR_COUNT_OF(most); m++) {
            stretch(false, most[m], factors[f]);
            stretch(true, most[m], factors[f]);
        }
}

// Where the counts of bins that have been joined lie: 16 bins from −1 to 1, then few from −40
// to 40.
static void joined_bins_stay_where_they_were(void **state) {
    (void)state;
    struct pcr_histogram h;
    struct pcr_ranges_seen seen = {-1, 1, 0, 2, 0, 0};
    assert_int_equal(pcr_histogram_init(&h, 16, 20, false), 0);
    assert_int_equal(pcr_histogram_cover(&h, &seen), 0);
    pcr_histogram_add(&h, (float[]){-1, -0.9f, -0.1f, 0.1f, 0.2f, 0.95f}, 6);
    seen.max = 40;
    assert_int_equal(pcr_histogram_cover(&h, &seen), 0);
    assert_true(h.n_bins <= 20 && h.edges[h.n_bins] >= 40);
    size_t middle = h.n_bins / 2;
    assert_true(h.counts[middle] == 3 && h.counts[middle - 1] == 3);
    assert_true(counted(&h) == 6);
    pcr_histogram_fini(&h);
}

static void halved_bins_give_nearly_the_same_percentile(void **state) {
    (void)state;
    struct pcr_ranges_options coarse = {
        .method = PCR_RANGES_PERCENTILE, .percentile = 90, .bins_max = 4096};
    float x[1000];
    for (int kind = 0; kind < 2; kind++) {
        unsigned random = 3;
        coarse.symmetric = kind == 1;
        struct pcr_ranges *ranges = created(coarse);
        for (int i = 0; i < 50; i++) {
            for (size_t j = 0; j < 1000; j++)
                x[j] = uniform(&random) * (i == 0 ? 0.001f : 1);
            assert_int_equal(pcr_ranges_add(ranges, x, 1000), 0);
        }
        struct range range = finished(ranges); // 90 % of −1 to 1
        assert_true(fabsf(range.min + 0.9f) < 0.02f && fabsf(range.max - 0.9f) < 0.02f);
        pcr_ranges_destroy(ranges);
    }
}

// --- entropy ------------------------------------------------------------------------------------
// The method word for word, as a check of the quick one. p and q of one cut; false: q is empty.
static bool distributions(const struct pcr_histogram *h, size_t from, size_t to, size_t n_quantized,
                          double *p, double *q) {
    size_t n = to - from, size = n / n_quantized;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        p[i] = (double)h->counts[from + i];
        q[i] = 0;
    }
    for (size_t i = 0; i < from; i++)
        p[0] += (double)h->counts[i];
    for (size_t i = to; i < h->n_bins; i++)
        p[n - 1] += (double)h->counts[i];
    for (size_t g = 0; g < n_quantized; g++) {
        uint64_t sum = 0, filled = 0;
        for (size_t i = g * size; i < (g + 1 == n_quantized ? n : (g + 1) * size); i++)
            sum += h->counts[from + i];
        for (size_t i = g * size; i < (g + 1) * size; i++)
            filled += p[i] != 0;
        for (size_t i = g * size; i < (g + 1) * size && filled; i++) {
            q[i] = (double)(sum / filled);
            any |= q[i] != 0;
        }
    }
    return any;
}

static bool smooth(double *p, size_t n) {
    size_t empty = 0;
    double total = 0;
    for (size_t i = 0; i < n; i++)
        empty += p[i] == 0;
    double given = 0.0001 * (double)empty / (double)(n - empty);
    for (size_t i = 0; i < n; i++) {
        p[i] = p[i] == 0 ? 0.0001 : p[i] - given;
        total += p[i];
    }
    for (size_t i = 0; i < n; i++)
        p[i] /= total;
    return given < 1;
}

static double plain_divergence(const struct pcr_histogram *h, size_t i, size_t n_quantized) {
    size_t middle = h->n_bins / 2, from = middle - i;
    size_t to = middle + i + 1 < h->n_bins ? middle + i + 1 : h->n_bins, n = to - from;
    double *p = malloc(n * sizeof *p), *q = malloc(n * sizeof *q), sum = 0;
    bool fit = distributions(h, from, to, n_quantized, p, q) && smooth(p, n) && smooth(q, n);
    for (size_t j = 0; j < n && fit; j++)
        sum += p[j] * log(p[j] / q[j]);
    free(p);
    free(q);
    return fit ? sum : INFINITY;
}

static void check_cut(const struct pcr_histogram *h, size_t n_quantized) {
    float min, max;
    assert_int_equal(pcr_histogram_best_cut(h, n_quantized, &min, &max), 0);
    double least = INFINITY, taken = NAN;
    for (size_t i = n_quantized / 2; i <= h->n_bins / 2; i++) {
        double d = plain_divergence(h, i, n_quantized);
        size_t to = h->n_bins / 2 + i + 1;
        if (min == h->edges[h->n_bins / 2 - i] && max == h->edges[to < h->n_bins ? to : h->n_bins])
            taken = d;
        least = d < least ? d : least;
    }
    if (!(taken <= least + 1e-9) && !(taken == least))
        fail_msg("%zu bins, %zu quantized: %.12g, the least is %.12g", h->n_bins, n_quantized,
                 taken, least);
}

static void the_quick_way_finds_the_best_cut(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{2, 2},    {4, 2},     {4, 3},    {16, 8},    {64, 64},
                                      {128, 32}, {130, 128}, {200, 15}, {512, 128}, {600, 7}};
    unsigned random = 5;
    for (size_t s = 0; s < PCR_COUNT_OF(sizes); s++)
        for (int kind = 0; kind < 6; kind++) {
            struct pcr_histogram h;
            struct pcr_ranges_seen seen = {-1, 1, 0, 1, 0, 0};
            assert_int_equal(pcr_histogram_init(&h, sizes[s][0], sizes[s][0], false), 0);
            assert_int_equal(pcr_histogram_cover(&h, &seen), 0);
            size_t n = kind == 0 ? 20 : kind == 1 ? 200 : 5000;
            for (size_t i = 0; i < n; i++) { // bells, steep ones, one-sided ones, a lonely far one
                float v = bell(&random) / 4;
                v = kind == 3 ? v * v * v : kind == 4 ? fmaxf(v, 0) : kind == 5 ? v / 50 : v;
                pcr_histogram_add(&h, (float[]){i == 0 ? 0.999f : v}, 1);
            }
            check_cut(&h, sizes[s][1]);
            pcr_histogram_fini(&h);
        }
}

static void a_long_thin_tail_is_cut(void **state) {
    (void)state;
    static float x[200000];
    unsigned random = 11;
    for (size_t i = 0; i < 200000; i++)
        x[i] = bell(&random);
    x[0] = 100;
    struct pcr_ranges_options options = {.method = PCR_RANGES_ENTROPY, .n_bins = 2048};
    struct range range = range_of(options, x, 200000);
    assert_true(range.max < 20 && range.max > 1);
    assert_true(range.min < -1);
    // 128 bins of 128: the whole is the only cut.
    struct range all = range_of(minmax, x, 200000);
    assert_range(range_of(entropy, x, 200000), all.min, all.max);
}

// --- what is strange ----------------------------------------------------------------------------
static void what_is_not_finite_is_counted_and_left_out(void **state) {
    (void)state;
    static const struct pcr_ranges_options all[] = {
        {.method = PCR_RANGES_MINMAX},
        {.method = PCR_RANGES_PERCENTILE, .percentile = 95},
        {.method = PCR_RANGES_PERCENTILE, .percentile = 95, .symmetric = true},
        {.method = PCR_RANGES_ENTROPY, .n_bins = 512}};
    float clean[5000], x[5003];
    unsigned random = 13;
    for (size_t i = 0; i < 5000; i++)
        clean[i] = bell(&random);
    for (size_t m = 0; m < PCR_COUNT_OF(all); m++) {
        struct range wanted = range_of(all[m], clean, 5000);
        for (size_t at = 0; at < 5000; at += 1666) {
            memcpy(x, clean, at * sizeof *x);
            memcpy(x + at, (float[]){NAN, INFINITY, -INFINITY}, 3 * sizeof *x);
            memcpy(x + at + 3, clean + at, (5000 - at) * sizeof *x);
            struct pcr_ranges *ranges = created(all[m]);
            assert_int_equal(pcr_ranges_add(ranges, x, 5003), 0);
            assert_range(finished(ranges), wanted.min, wanted.max);
            const struct pcr_ranges_seen *seen = pcr_ranges_seen(ranges);
            assert_true(seen->n == 5000 && seen->n_nan == 1 && seen->n_infinite == 2);
            pcr_ranges_destroy(ranges);
        }
    }
}

static void nothing_finite_has_no_range(void **state) {
    (void)state;
    struct pcr_ranges_options all[] = {minmax, percentile, magnitudes, entropy};
    for (size_t m = 0; m < PCR_COUNT_OF(all); m++) {
        struct pcr_ranges *ranges = created(all[m]);
        float min, max;
        assert_int_equal(pcr_ranges_finish(ranges, &min, &max), PACER_ENOTFOUND);
        assert_int_equal(pcr_ranges_add(ranges, (float[]){NAN, INFINITY}, 2), 0);
        assert_int_equal(pcr_ranges_add(ranges, NULL, 0), 0);
        assert_int_equal(pcr_ranges_finish(ranges, &min, &max), PACER_ENOTFOUND);
        assert_int_equal(pcr_ranges_add(ranges, (float[]){3}, 1), 0); // from here on there is one
        assert_int_equal(pcr_ranges_finish(ranges, &min, &max), 0);
        assert_true(min <= max && max <= 3);
        pcr_ranges_destroy(ranges);
    }
    pcr_ranges_destroy(NULL);
}

static void every_range_is_within_what_was_seen(void **state) {
    (void)state;
    static const float tensors[][4] = {
        {0, 0, 0, 0},          {1, 1, 1, 1},
        {-7, -7, -7, -7},      {1e9f, 1e9f, 1e9f, 1e9f},
        {5e6f, 5e6f, 5e6f, 0}, {1000, 1000.01f, 1000, 1000},
        {1e-45f, 0, 0, 0},     {-1e-45f, 1e-45f, 3e-45f, 0},
        {FLT_MIN, 0, 0, 0},    {-FLT_MAX, FLT_MAX, 0, 1},
        {FLT_MAX, 1, 1, 1},    {FLT_MAX, FLT_MAX, FLT_MAX, FLT_MAX},
        {-0.0f, 0, -0.0f, 0},  {1e-30f, 1e30f, -1, 2},
    };
    struct pcr_ranges_options all[] = {
        minmax, percentile, magnitudes, entropy, {.method = PCR_RANGES_ENTROPY, .n_bins = 1024}};
    for (size_t m = 0; m < PCR_COUNT_OF(all); m++)
        for (size_t t = 0; t < PCR_COUNT_OF(tensors); t++)
            for (size_t then = 0; then < PCR_COUNT_OF(tensors); then++) {
                struct pcr_ranges *ranges = created(all[m]);
                assert_int_equal(pcr_ranges_add(ranges, tensors[t], 4), 0);
                assert_int_equal(pcr_ranges_add(ranges, tensors[then], 4), 0);
                const struct pcr_ranges_seen *seen = pcr_ranges_seen(ranges);
                struct range range = finished(ranges);
                assert_true(isfinite(range.min) && isfinite(range.max));
                float far = fmaxf(-seen->min, seen->max);
                assert_true(range.min <= range.max);
                assert_true(range.max <= (all[m].symmetric ? far : seen->max));
                assert_true(range.min >= (all[m].symmetric ? -far : seen->min));
                pcr_ranges_destroy(ranges);
            }
}

// --- faults -------------------------------------------------------------------------------------
static void options_that_make_no_sense_are_named(void **state) {
    (void)state;
    static const struct {
        struct pcr_ranges_options options;
        const char *says;
    } cases[] = {
        {{.method = PCR_RANGES_PERCENTILE, .n_bins = 7}, "even"},
        {{.method = PCR_RANGES_PERCENTILE, .n_bins = 100, .bins_max = 50}, "bins_max"},
        {{.method = PCR_RANGES_PERCENTILE, .bins_max = SIZE_MAX}, "bins_max"},
        {{.method = PCR_RANGES_PERCENTILE, .percentile = 101}, "percentile"},
        {{.method = PCR_RANGES_PERCENTILE, .percentile = -1}, "percentile"},
        {{.method = PCR_RANGES_PERCENTILE, .percentile = NAN}, "percentile"},
        {{.method = PCR_RANGES_ENTROPY, .n_quantized = 1}, "quantized"},
        {{.method = PCR_RANGES_ENTROPY, .n_bins = 64}, "quantized"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pcr_ranges *ranges = NULL;
        struct pacer_error err;
        assert_int_equal(pcr_ranges_create(&cases[i].options, &ranges, &err), PACER_EINVAL);
        assert_null(ranges);
        assert_non_null(strstr(err.message, cases[i].says));
    }
}

// Each allocation in turn; a run that was not taken in can be given again.
static void without_memory_nothing_is_half_done(void **state) {
    (void)state;
    struct pcr_ranges_options all[] = {percentile, magnitudes, entropy};
    static const float first[] = {-1, 0.5f, 0.25f}, second[] = {9, 3, -2};
    for (size_t m = 0; m < PCR_COUNT_OF(all); m++) {
        struct pcr_ranges *whole = created(all[m]);
        assert_int_equal(pcr_ranges_add(whole, first, 3), 0);
        assert_int_equal(pcr_ranges_add(whole, second, 3), 0);
        struct range wanted = finished(whole), range;
        pcr_ranges_destroy(whole);
        int failed = 0;
        for (long n = 0;; n++) {
            struct pcr_ranges *ranges = NULL;
            calls = 0;
            fail_at = n;
            if (pcr_ranges_create(&all[m], &ranges, NULL) != 0) {
                failed++;
                ranges = created(all[m]);
            }
            for (int i = 0; i < 2; i++)
                while (pcr_ranges_add(ranges, i ? second : first, 3) != 0)
                    failed++;
            while (pcr_ranges_finish(ranges, &range.min, &range.max) != 0)
                failed++;
            fail_at = -1;
            assert_range(range, wanted.min, wanted.max);
            pcr_ranges_destroy(ranges);
            if (calls <= n)
                break;
        }
        assert_true(failed >= 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minmax_is_the_least_and_the_greatest),
        cmocka_unit_test(a_percentile_is_the_lower_edge_of_its_bin),
        cmocka_unit_test(a_range_is_no_wider_than_what_was_seen),
        cmocka_unit_test(a_constant_is_its_own_range),
        cmocka_unit_test(outliers_are_cut_off),
        cmocka_unit_test(two_passes_see_what_one_look_at_all_sees),
        cmocka_unit_test(bins_stretch_within_bounds_and_lose_nothing),
        cmocka_unit_test(joined_bins_stay_where_they_were),
        cmocka_unit_test(halved_bins_give_nearly_the_same_percentile),
        cmocka_unit_test(the_quick_way_finds_the_best_cut),
        cmocka_unit_test(a_long_thin_tail_is_cut),
        cmocka_unit_test(what_is_not_finite_is_counted_and_left_out),
        cmocka_unit_test(nothing_finite_has_no_range),
        cmocka_unit_test(every_range_is_within_what_was_seen),
        cmocka_unit_test(options_that_make_no_sense_are_named),
        cmocka_unit_test(without_memory_nothing_is_half_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
