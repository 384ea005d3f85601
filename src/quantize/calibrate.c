// SPDX-License-Identifier: Apache-2.0
#include "quantize/calibrate.h"

#include <stdlib.h>

#define BINS 2048     // with the 128 that entropy has elsewhere there is one range to choose from
#define BATCH_ROWS 16 // values of all tensors of a batch are in memory at a time

struct work {
    struct pcr_quant_tensors *tensors;
    struct pcr_ranges **ranges; // one per tensor
    struct pacer_error *err;
};

static int out_of_memory(struct pacer_error *err) {
    return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
}

static int add(void *ctx, const struct pacer_tensor *outputs, size_t n_outputs, size_t first,
               size_t n_rows) {
    struct work *work = ctx;
    (void)first, (void)n_rows;
    for (size_t i = 0; i < n_outputs; i++) {
        size_t count = 0;
        if (outputs[i].dtype != PACER_FP32 ||
            pacer_shape_count(outputs[i].shape, outputs[i].rank, &count) < 0)
            continue; // no range, so it is not rounded
        if (pcr_ranges_add(work->ranges[i], outputs[i].data, count) < 0)
            return out_of_memory(work->err);
    }
    return 0;
}

static int run(const struct pcr_calibrate *c, struct work *work) {
    size_t n = work->tensors->n;
    const char **names = calloc(n + 1, sizeof *names);
    struct pacer_session *session = NULL;
    if (!names)
        return out_of_memory(work->err);
    for (size_t i = 0; i < n; i++)
        names[i] = work->tensors->items[i].name;
    const struct pcr_probe_how how = {names, n, true, c->threads, c->name};
    int code = pcr_probe_open(c->model, &how, &session, work->err);
    const struct pcr_probe_run probe = {
        session, c->data, (size_t)c->data->rows, BATCH_ROWS, names, n, add, work};
    if (code == 0)
        code = pcr_probe_run(&probe, work->err);
    pacer_session_put(session);
    free(names);
    return code;
}

// What is not finite has no range, and a model that gives it on these rows is not to be trusted.
static int check_finite(const struct work *work) {
    for (size_t i = 0; i < work->tensors->n; i++) {
        const struct pcr_ranges_seen *seen = pcr_ranges_seen(work->ranges[i]);
        if (seen->n_nan + seen->n_infinite > 0)
            return pcr_err(work->err, PACER_EINVAL, "quantize",
                           "the values of '%.100s' are not all finite on these rows (%llu are NaN, "
                           "%llu infinite): it has no range; look at the data, or exclude what is "
                           "around it",
                           work->tensors->items[i].name, (unsigned long long)seen->n_nan,
                           (unsigned long long)seen->n_infinite);
    }
    return 0;
}

static void take_ranges(struct work *work) {
    static const struct pcr_quant_form form = {PCR_QUANT_INT8, false, false};
    for (size_t i = 0; i < work->tensors->n; i++) {
        struct pcr_quant_tensor *tensor = &work->tensors->items[i];
        float min, max;
        tensor->is_calibrated = pcr_ranges_finish(work->ranges[i], &min, &max) == 0;
        if (tensor->is_calibrated)
            tensor->scale = pcr_quant_scale_of(min, max, form);
    }
}

static void destroy_all(struct work *work) {
    for (size_t i = 0; work->ranges && i < work->tensors->n; i++)
        pcr_ranges_destroy(work->ranges[i]);
    free(work->ranges);
    work->ranges = NULL;
}

// One pass over the rows; of a second one the first has seen what is to come.
static int pass(const struct pcr_calibrate *c, struct work *work, enum pcr_ranges_method method,
                const struct work *before) {
    struct pcr_ranges_options options = {
        .method = method, .percentile = c->percentile, .n_bins = BINS};
    int code = 0;
    work->ranges = calloc(work->tensors->n + 1, sizeof *work->ranges);
    if (!work->ranges)
        return out_of_memory(work->err);
    for (size_t i = 0; i < work->tensors->n && code == 0; i++) {
        options.expected = before ? pcr_ranges_seen(before->ranges[i]) : NULL;
        code = pcr_ranges_create(&options, &work->ranges[i], work->err);
    }
    return code == 0 ? run(c, work) : code;
}

int pcr_calibrate(const struct pcr_calibrate *c, struct pcr_quant_tensors *tensors,
                  struct pacer_error *err) {
    static const enum pcr_ranges_method methods[] = {
        [PACER_CALIBRATION_MINMAX] = PCR_RANGES_MINMAX,
        [PACER_CALIBRATION_PERCENTILE] = PCR_RANGES_PERCENTILE,
        [PACER_CALIBRATION_ENTROPY] = PCR_RANGES_ENTROPY};
    struct work first = {tensors, NULL, err}, second = first;
    if (tensors->n == 0)
        return 0;
    int code = pass(c, &first, PCR_RANGES_MINMAX, NULL);
    if (code == 0)
        code = check_finite(&first);
    bool again = c->method != PACER_CALIBRATION_MINMAX;
    if (code == 0 && again)
        code = pass(c, &second, methods[c->method], &first);
    if (code == 0)
        take_ranges(again ? &second : &first);
    destroy_all(&first);
    destroy_all(&second);
    return code;
}
