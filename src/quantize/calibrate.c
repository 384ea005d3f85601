// SPDX-License-Identifier: Apache-2.0
#include "quantize/calibrate.h"

#include <stdlib.h>

#define BATCH_ROWS 16 // values of all tensors of a batch are in memory at a time

struct work {
    struct pcr_quant_tensors *tensors;
    struct pcr_ranges **ranges; // one per tensor
    struct pacer_error *err;
};

static int add(void *ctx, const struct pacer_tensor *outputs, size_t n_outputs, size_t first,
               size_t n_rows) {
    struct work *work = ctx;
    (void)first, (void)n_rows;
    for (size_t i = 0; i < n_outputs; i++) {
        size_t count = 0;
        if (outputs[i].dtype != PACER_FP32 ||
            pacer_shape_count(outputs[i].shape, outputs[i].rank, &count) < 0)
            continue; // no range, so it is not rounded
        int code = pcr_ranges_add(work->ranges[i], outputs[i].data, count);
        if (code == PACER_EINVAL)
            return pcr_err(work->err, code, "quantize",
                           "the values of '%.100s' are not all finite on these rows: it has no "
                           "range; look at the data, or exclude what is around it",
                           outputs[i].name);
        if (code < 0)
            return pcr_err(work->err, code, "quantize", "out of memory");
    }
    return 0;
}

static int run(const struct pcr_calibrate *c, struct work *work) {
    size_t n = work->tensors->n;
    const char **names = calloc(n + 1, sizeof *names);
    struct pacer_session *session = NULL;
    if (!names)
        return pcr_err(work->err, PACER_ENOMEM, "quantize", "out of memory");
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

static void take_ranges(struct work *work) {
    static const struct pcr_quant_form form = {PCR_QUANT_INT8, false, false};
    for (size_t i = 0; i < work->tensors->n; i++) {
        struct pcr_quant_tensor *tensor = &work->tensors->items[i];
        float min, max;
        tensor->is_calibrated = pcr_ranges_finish(work->ranges[i], &min, &max);
        if (tensor->is_calibrated)
            tensor->scale = pcr_quant_scale_of(min, max, form);
    }
}

int pcr_calibrate(const struct pcr_calibrate *c, struct pcr_quant_tensors *tensors,
                  struct pacer_error *err) {
    static const enum pcr_ranges_method methods[] = {
        [PACER_CALIBRATION_MINMAX] = PCR_RANGES_MINMAX,
        [PACER_CALIBRATION_PERCENTILE] = PCR_RANGES_PERCENTILE,
        [PACER_CALIBRATION_ENTROPY] = PCR_RANGES_ENTROPY};
    struct work work = {tensors, calloc(tensors->n + 1, sizeof *work.ranges), err};
    int code = 0;
    if (!work.ranges)
        return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    for (size_t i = 0; i < tensors->n && code == 0; i++)
        if (!(work.ranges[i] = pcr_ranges_create(methods[c->method], c->percentile)))
            code = pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    if (code == 0 && tensors->n > 0)
        code = run(c, &work);
    if (code == 0)
        take_ranges(&work);
    for (size_t i = 0; i < tensors->n; i++)
        pcr_ranges_destroy(work.ranges[i]);
    free(work.ranges);
    return code;
}
