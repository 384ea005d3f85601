// SPDX-License-Identifier: Apache-2.0
// From features to a batch, and from the model's probabilities to a verdict.
//
// The batch has the request in row 0 and one row per feature in which that feature alone is at its
// baseline. What the chosen class's probability loses in that row is the feature's effect: a
// statement about this very model and this very request that anyone can check by asking the model
// again. Attributions that need a background sample (Shapley values) say more about interactions,
// but cost hundreds of rows and cannot be checked by hand.
//
// Confidence and effects are float32, in which they are compared and written as well: 0.83 that a
// model of float32 computed is not below a min_confidence of 0.83, although the double nearest to
// it is.
//
// A row whose numbers are not probabilities (NaN, or outside 0 … 1 by more than rounding can
// explain) is the model's fault and an error; no decision is made from it.
#include "decide/decide_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBABILITY_SLACK 1e-4
#define LABEL_MARGIN 1e-3

static void put(enum pacer_dtype dtype, void *row, size_t column, double value) {
    switch (dtype) {
    case PACER_FP32:
        ((float *)row)[column] = (float)value;
        break;
    case PACER_FP64:
        ((double *)row)[column] = value;
        break;
    case PACER_INT32:
        ((int32_t *)row)[column] = (int32_t)value;
        break;
    default:
        PCR_ASSERT(dtype == PACER_INT64);
        ((int64_t *)row)[column] = (int64_t)value;
        break;
    }
}

bool pcr_decide_batch_make(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                           const struct pcr_decide_request *request, struct pcr_arena *arena,
                           struct pcr_decide_batch *batch) {
    size_t n = decision->n_features, rows = decision->max_factors ? n + 1 : 1;
    size_t row_bytes = n * pacer_dtype_size(plan->input_dtype);
    char *data = pcr_arena_array(arena, rows, row_bytes);
    if (!data)
        return false;
    for (size_t i = 0; i < n; i++)
        put(plan->input_dtype, data, plan->column[i], request->values[i]);
    for (size_t row = 1; row < rows; row++) {
        memcpy(data + row * row_bytes, data, row_bytes);
        put(plan->input_dtype, data + row * row_bytes, plan->column[row - 1],
            plan->baseline[row - 1]);
    }
    batch->shape[0] = (int64_t)rows;
    batch->shape[1] = (int64_t)n;
    batch->tensor = (struct pacer_tensor){plan->input, plan->input_dtype, 2, batch->shape, data};
    batch->output = plan->output;
    batch->run = (struct pacer_run){&batch->tensor, 1, &batch->output, 1};
    return true;
}

static double probability_at(const struct pacer_tensor *output, size_t row, size_t column) {
    size_t at = row * (size_t)output->shape[1] + column;
    return output->dtype == PACER_FP32 ? (double)((const float *)output->data)[at]
                                       : ((const double *)output->data)[at];
}

static int check_output(const struct pcr_decide_plan *plan, size_t rows,
                        const struct pacer_tensor *output, struct pacer_error *err) {
    if (output->dtype != plan->output_dtype || output->rank != 2 ||
        output->shape[0] != (int64_t)rows || output->shape[1] != (int64_t)plan->n_classes)
        return pcr_err(err, PACER_EMODEL, "decide",
                       "the model's output '%s' is not of the shape [%zu,%zu], a row for each row "
                       "given and a column for each class",
                       plan->output, rows, plan->n_classes);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < plan->n_classes; i++) {
            double p = probability_at(output, row, i);
            if (!(p >= -PROBABILITY_SLACK && p <= 1 + PROBABILITY_SLACK))
                return pcr_err(err, PACER_EMODEL, "decide",
                               "the model's output '%s' says %g for class '%s', which is not a "
                               "probability (0 to 1)",
                               plan->output, p, plan->classes[i].name);
        }
    }
    return 0;
}

static size_t most_probable(const struct pacer_tensor *output, size_t n_classes) {
    size_t best = 0;
    for (size_t i = 1; i < n_classes; i++)
        if (probability_at(output, 0, i) > probability_at(output, 0, best))
            best = i;
    return best;
}

// Whether that row's label is the name of its most probable class. Where two are about equally
// probable the model may break the tie its own way.
static bool label_fits(const struct pcr_decide_plan *plan, const struct pacer_tensor *probabilities,
                       const struct pacer_tensor *labels, size_t row, char *label,
                       size_t label_bytes, const char **name) {
    size_t best = 0;
    for (size_t i = 1; i < plan->n_classes; i++)
        if (probability_at(probabilities, row, i) > probability_at(probabilities, row, best))
            best = i;
    for (size_t i = 0; i < plan->n_classes; i++)
        if (i != best &&
            probability_at(probabilities, row, best) - probability_at(probabilities, row, i) <
                LABEL_MARGIN)
            return true;
    if (labels->dtype == PACER_BYTES) {
        const struct pacer_bytes *text = &((const struct pacer_bytes *)labels->data)[row];
        snprintf(label, label_bytes, "%.*s", text->size > 100 ? 100 : (int)text->size, text->data);
        *name = plan->classes[best].name;
        return pcr_str_eq((struct pcr_str){text->data, text->size}, pcr_str(*name));
    }
    snprintf(label, label_bytes, "%lld", (long long)((const int64_t *)labels->data)[row]);
    *name = plan->classes[best].name;
    return strcmp(label, *name) == 0;
}

int pcr_decide_labels_check(const struct pcr_decide_plan *plan,
                            const struct pacer_tensor *probabilities,
                            const struct pacer_tensor *labels, struct pacer_error *err) {
    size_t count, rows = (size_t)probabilities->shape[0];
    if (pacer_shape_count(labels->shape, labels->rank, &count) < 0 || count != rows ||
        (labels->dtype != PACER_BYTES && labels->dtype != PACER_INT64))
        return 0; // not what it was taken for
    for (size_t row = 0; row < rows; row++) {
        char label[128];
        const char *name = "";
        if (!label_fits(plan, probabilities, labels, row, label, sizeof label, &name))
            return pcr_err(err, PACER_EMODEL, "decide",
                           "the most probable class is '%s' by the order of the classes, but the "
                           "model's own output '%s' says '%s'; correct the order",
                           name, plan->label, label);
    }
    return 0;
}

// Strongest first; equal ones in the order of the configuration.
static int by_strength(const void *a, const void *b) {
    const struct pcr_decide_factor *left = a, *right = b;
    float l = fabsf(left->effect), r = fabsf(right->effect);
    if (l != r)
        return l > r ? -1 : 1;
    return left->feature < right->feature ? -1 : 1;
}

int pcr_decide_judge(const struct pcr_decision *decision, const struct pcr_decide_batch *batch,
                     const struct pacer_tensor *output, struct pcr_arena *arena,
                     struct pcr_decide_verdict *verdict, struct pacer_error *err) {
    const struct pcr_decide_plan *plan = verdict->plan;
    size_t rows = (size_t)batch->shape[0];
    int rc = check_output(plan, rows, output, err);
    if (rc < 0)
        return rc;
    size_t chosen = most_probable(output, plan->n_classes);
    double p = probability_at(output, 0, chosen);
    verdict->factors = pcr_arena_array(arena, rows, sizeof *verdict->factors);
    if (!verdict->factors)
        return pcr_err(err, PACER_ENOMEM, "decide", "no memory left for this request");
    verdict->class_index = chosen;
    verdict->confidence = (float)fmin(fmax(p, 0), 1);
    verdict->fallback = verdict->confidence < (float)decision->min_confidence;
    verdict->action = verdict->fallback ? decision->fallback_action : plan->classes[chosen].action;
    verdict->n_factors = 0;
    for (size_t row = 1; row < rows; row++) {
        double effect = fmin(fmax(p - probability_at(output, row, chosen), -1), 1);
        if (fabs(effect) >= PCR_DECIDE_EFFECT_MIN)
            verdict->factors[verdict->n_factors++] =
                (struct pcr_decide_factor){row - 1, (float)effect};
    }
    qsort(verdict->factors, verdict->n_factors, sizeof *verdict->factors, by_strength);
    if (verdict->n_factors > decision->max_factors)
        verdict->n_factors = decision->max_factors;
    return 0;
}
