// SPDX-License-Identifier: Apache-2.0
// Which layers stay FP32 so that the limits hold.
//
// Every layer is tried alone as INT8 first: that is its harm, as a share of what the limits allow.
// The layers are then left in FP32 in the order of harm per microsecond that they save, until the
// model holds the limits; one that INT8 makes slower goes first, since leaving it costs nothing. At
// the end the ones that were left are taken back where the limits allow it, the last one first: the
// order is of single layers, and errors do not simply add up.
//
// Alone means a run of all rows per layer. Above TRIED_MAX layers the error of each by itself
// stands for it, and the number to leave is found by halving.
//
// Rejected: trying all sets. It is exponential, and the greedy one is within a layer or two of it.
#include "quantize/job_priv.h"

#include <math.h>
#include <stdlib.h>

#define TRIED_MAX 64

struct budget {
    struct pcr_quant_job *job;
    struct pcr_quant_output *outputs; // of the variant that was tried last
    size_t n_outputs;
    size_t *order; // layers, the first to be left first
    bool *best;    // which layers are left in the best variant so far
    double best_excess;
    size_t n_done, n_steps; // for progress
};

bool pcr_quant_has_limits(const struct pcr_quant_job *job) {
    const struct pacer_quantize_options *o = &job->options;
    return o->max_flips >= 0 || o->min_snr_db > 0 || o->max_rmse >= 0;
}

static double worse(double a, double b) {
    return isnan(b) || b > a ? b : a;
}

// How much of what is allowed is used up: the limits hold up to 1. A limit of nothing holds if
// there is nothing.
static double share_of(double used, double allowed) {
    return allowed > 0 ? used / allowed : used > 0 ? (double)INFINITY : 0;
}

static double excess_of(const struct budget *budget) {
    const struct pacer_quantize_options *o = &budget->job->options;
    double excess = 0;
    for (size_t i = 0; i < budget->n_outputs; i++) {
        const struct pcr_quant_output *out = &budget->outputs[i];
        if (o->max_flips >= 0 && out->has_classes && out->rows > 0)
            excess = worse(excess, share_of((double)out->flips / (double)out->rows, o->max_flips));
        if (o->max_rmse >= 0)
            excess = worse(excess, share_of(out->error.rmse, o->max_rmse));
        if (o->min_snr_db > 0) // as a ratio of noise to signal
            excess = worse(excess, pow(10, (o->min_snr_db - out->error.snr_db) / 20));
    }
    return isnan(excess) ? (double)INFINITY : excess;
}

static int try_variant(struct budget *budget, double *excess) {
    struct pcr_quant_job *job = budget->job;
    struct pacer_session *session = NULL;
    int code = pcr_quant_variant_make(job);
    if (code == 0)
        code = pcr_quant_variant_open(job, &session);
    pcr_onnx_model_restore(job->model, job->fp32);
    if (code == 0)
        code = pcr_quant_evidence_outputs(job, session, budget->outputs);
    pacer_session_put(session);
    *excess = excess_of(budget);
    return code == 0 ? pcr_quant_progress(job, "limits", ++budget->n_done, budget->n_steps) : code;
}

static void keep_best(struct budget *budget, double excess) {
    if (excess >= budget->best_excess)
        return;
    budget->best_excess = excess;
    for (size_t i = 0; i < budget->job->plan.n; i++)
        budget->best[i] = budget->job->plan.layers[i].is_left;
}

static void leave_all_but(struct pcr_quant_job *job, size_t layer) {
    for (size_t i = 0; i < job->plan.n; i++)
        job->plan.layers[i].is_left = i != layer;
}

// The first `n` of the order are left.
static void leave_first(struct budget *budget, size_t n) {
    for (size_t i = 0; i < budget->job->plan.n; i++)
        budget->job->plan.layers[budget->order[i]].is_left = i < n;
}

// --- the order ----------------------------------------------------------------------------------
static int find_harm(struct budget *budget) {
    struct pcr_quant_job *job = budget->job;
    int code = 0;
    for (size_t i = 0; i < job->plan.n && code == 0; i++) {
        struct pcr_quant_layer_report *layer = &job->report->layers[i];
        if (job->plan.n > TRIED_MAX) { // noise by signal
            layer->harm = pow(10, -layer->alone.snr_db / 10);
            continue;
        }
        leave_all_but(job, i);
        code = try_variant(budget, &layer->harm);
    }
    return code;
}

// Harm per microsecond saved; a layer that saves nothing comes before all others.
static double price_of(const struct pcr_quant_layer_report *layer) {
    double saved = layer->fp32_us - layer->int8_us;
    return saved > 0 ? layer->harm / saved : (double)INFINITY;
}

static int by_price(const struct budget *budget, size_t a, size_t b) {
    const struct pcr_quant_layer_report *layers = budget->job->report->layers;
    double x = price_of(&layers[a]), y = price_of(&layers[b]);
    if (x == y) // both save nothing, say
        return layers[a].harm > layers[b].harm ? -1 : layers[a].harm < layers[b].harm;
    return x > y ? -1 : 1;
}

static void sort_layers(struct budget *budget) {
    for (size_t i = 0; i < budget->job->plan.n; i++) { // these are few, or it is done once
        size_t at = i;
        for (; at > 0 && by_price(budget, i, budget->order[at - 1]) < 0; at--)
            budget->order[at] = budget->order[at - 1];
        budget->order[at] = i;
    }
}

// --- the search ---------------------------------------------------------------------------------
static int try_first(struct budget *budget, size_t n, double *excess) {
    leave_first(budget, n);
    int code = try_variant(budget, excess);
    if (code == 0)
        keep_best(budget, *excess);
    return code;
}

// The fewest to leave; as many as there are layers where no number holds.
static int find_count(struct budget *budget, size_t *count) {
    size_t n = budget->job->plan.n, low = 0, high = n; // below `low` it does not hold
    bool halves = n > TRIED_MAX;
    int code = 0;
    double excess;
    while (low < high && code == 0) {
        size_t middle = halves ? low + (high - low) / 2 : low;
        code = try_first(budget, middle, &excess);
        if (code == 0 && excess <= 1)
            high = middle;
        else
            low = middle + 1;
    }
    *count = high;
    return code;
}

static int take_back(struct budget *budget, size_t count) {
    struct pcr_quant_job *job = budget->job;
    int code = 0;
    double excess;
    leave_first(budget, count);
    for (size_t i = count; i-- > 0 && code == 0;) {
        struct pcr_quant_layer *layer = &job->plan.layers[budget->order[i]];
        const struct pcr_quant_layer_report *report = &job->report->layers[budget->order[i]];
        if (report->fp32_us <= report->int8_us)
            continue; // nothing is gained by it
        layer->is_left = false;
        code = try_variant(budget, &excess);
        layer->is_left = code < 0 || excess > 1;
    }
    return code;
}

static int search(struct budget *budget, bool *holds) {
    struct pcr_quant_job *job = budget->job;
    size_t count;
    int code = find_harm(budget);
    if (code < 0)
        return code;
    sort_layers(budget);
    code = find_count(budget, &count);
    *holds = count < job->plan.n;
    if (code == 0 && *holds && job->plan.n <= TRIED_MAX)
        return take_back(budget, count);
    if (*holds)
        leave_first(budget, count);
    for (size_t i = 0; !*holds && i < job->plan.n; i++)
        job->plan.layers[i].is_left = budget->best[i];
    return code;
}

// All INT8 is what is hoped for.
static int try_all_first(struct budget *budget, bool *holds) {
    double excess;
    int code = try_variant(budget, &excess);
    *holds = code == 0 && excess <= 1;
    if (code < 0 || *holds)
        return code;
    keep_best(budget, excess);
    return search(budget, holds);
}

int pcr_quant_budget(struct pcr_quant_job *job, bool *holds) {
    struct budget budget = {.job = job, .best_excess = (double)INFINITY};
    size_t n = job->plan.n;
    pacer_session_outputs(job->reference, &budget.n_outputs);
    budget.outputs = calloc(budget.n_outputs + 1, sizeof *budget.outputs);
    budget.order = calloc(n + 1, sizeof *budget.order);
    budget.best = calloc(n + 1, sizeof *budget.best);
    budget.n_steps = n > TRIED_MAX ? 12 : 3 * n + 1;
    int code = budget.outputs && budget.order && budget.best
                   ? try_all_first(&budget, holds)
                   : pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    free(budget.outputs);
    free(budget.order);
    free(budget.best);
    return code;
}
