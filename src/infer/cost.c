// SPDX-License-Identifier: Apache-2.0
// The cost model of a run.
//
// Least squares of the relative error, so that one row and a full batch weigh alike; relative to
// what was expected, since by what was seen the slow ones of equal runs would count for less. The
// sums of
// the sweep keep a constant weight, those of real runs fade by FADE with each new one: so the line
// follows the load, and stays well-posed where all real runs have the same number of rows, which
// would otherwise leave its slope open.
//
// A run that was preempted says nothing about the model: what is learnt from one run is at most
// LEARN_MAX times what was expected. A real change still arrives, geometrically.
//
// The cap comes from the sweep's own points rather than from the line: kernels change with the
// number of rows (a matrix times a vector is another routine than a matrix times a matrix), and
// then rows per second rise, fall and rise again.
#include "infer/cost.h"

#define FADE 0.99
#define SWEEP_WEIGHT 0.5 // of all points of the sweep together, in real runs
#define LEARN_MAX 4.0
#define FORGET 0.75
#define FORGOTTEN 1e-3 // of the run that was expected: less than that is not forgotten
#define GAIN 1.05      // a longer batch must be that much better

void pcr_cost_init(struct pcr_cost *cost) {
    *cost = (struct pcr_cost){0};
}

static void add(struct pcr_cost_sums *s, double rows, double ns, double expected_ns) {
    double w = 1 / (expected_ns * expected_ns);
    s->w += w;
    s->x += w * rows;
    s->y += w * ns;
    s->xx += w * rows * rows;
    s->xy += w * rows * ns;
}

static void scale(struct pcr_cost_sums *s, double factor) {
    s->w *= factor;
    s->x *= factor;
    s->y *= factor;
    s->xx *= factor;
    s->xy *= factor;
}

static void fit(struct pcr_cost *cost) {
    double share = cost->n_points ? SWEEP_WEIGHT / (double)cost->n_points : 0;
    const struct pcr_cost_sums *p = &cost->sweep, *l = &cost->live;
    double w = share * p->w + l->w, x = share * p->x + l->x, y = share * p->y + l->y;
    double xx = share * p->xx + l->xx, xy = share * p->xy + l->xy;
    double det = w * xx - x * x;
    double b = det > 1e-9 * w * xx ? (w * xy - x * y) / det : 0;
    if (b < 0)
        b = 0;
    double a = (y - b * x) / w;
    if (a < 0) { // a line through the origin fits best
        a = 0;
        b = xy / xx;
    }
    cost->a_ns = a;
    cost->b_ns = b;
}

void pcr_cost_sweep(struct pcr_cost *cost, uint64_t rows, uint64_t ns) {
    if (cost->n_points == PCR_COST_POINTS_MAX || rows == 0)
        return;
    PCR_ASSERT(cost->n_points == 0 || rows > cost->points[cost->n_points - 1].rows);
    cost->points[cost->n_points++] = (struct pcr_cost_point){rows, ns ? ns : 1};
    add(&cost->sweep, (double)rows, (double)(ns ? ns : 1), (double)(ns ? ns : 1));
    fit(cost);
}

void pcr_cost_learn(struct pcr_cost *cost, uint64_t rows, uint64_t ns) {
    double seen = (double)(ns ? ns : 1);
    if (rows == 0)
        return;
    double expected = seen;
    if (pcr_cost_known(cost)) {
        expected = (double)pcr_cost_ns(cost, rows) + 1;
        seen = seen > LEARN_MAX * expected ? LEARN_MAX * expected : seen;
    }
    struct pcr_cost_sums *l = &cost->live;
    scale(l, FADE);
    add(l, (double)rows, seen, expected);
    fit(cost);
}

void pcr_cost_forget(struct pcr_cost *cost) {
    double one = pcr_cost_known(cost) ? (double)pcr_cost_ns(cost, 1) + 1 : 1;
    if ((cost->sweep.w + cost->live.w) * one * one < FORGOTTEN)
        return;
    scale(&cost->sweep, FORGET);
    scale(&cost->live, FORGET);
}

bool pcr_cost_known(const struct pcr_cost *cost) {
    return cost->sweep.w > 0 || cost->live.w > 0;
}

uint64_t pcr_cost_ns(const struct pcr_cost *cost, uint64_t rows) {
    if (!pcr_cost_known(cost))
        return UINT64_MAX;
    double ns = cost->a_ns + cost->b_ns * (double)rows;
    return ns < 9e18 ? (uint64_t)ns : UINT64_MAX / 2;
}

uint64_t pcr_cost_backlog_ns(const struct pcr_cost *cost, uint64_t rows, uint64_t cap) {
    if (!pcr_cost_known(cost))
        return UINT64_MAX;
    uint64_t runs = cap ? (rows + cap - 1) / cap : 0;
    double ns = cost->a_ns * (double)runs + cost->b_ns * (double)rows;
    return ns < 9e18 ? (uint64_t)ns : UINT64_MAX / 2;
}

static double rate(const struct pcr_cost_point *p) {
    return (double)p->rows / (double)p->ns;
}

uint64_t pcr_cost_cap(const struct pcr_cost *cost, uint64_t rows_max) {
    double best = 0;
    size_t n = cost->n_points;
    while (n > 0 && cost->points[n - 1].rows > rows_max)
        n--;
    for (size_t i = 0; i < n; i++)
        if (rate(&cost->points[i]) > best)
            best = rate(&cost->points[i]);
    for (size_t i = 0; i < n; i++)
        if (rate(&cost->points[i]) * GAIN >= best)
            return cost->points[i].rows;
    return 1;
}
