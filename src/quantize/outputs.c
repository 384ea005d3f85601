// SPDX-License-Identifier: Apache-2.0
// What a quantized model answers, against what FP32 answers. The answers of FP32 are kept: they are
// asked for once, however many variants are tried.
#include "quantize/job_priv.h"

#include <math.h>
#include <stdlib.h>

#define BATCH_ROWS 64
#define WORST (PCR_COUNT_OF(((struct pcr_quant_output *)0)->worst))

// --- the answers of FP32 ------------------------------------------------------------------------
struct keep {
    struct pcr_quant_job *job;
    size_t n_batches;
};

static bool copy_tensor(struct pcr_arena *arena, const struct pacer_tensor *from,
                        struct pacer_tensor *to) {
    size_t count = 0;
    *to = *from;
    if (pacer_shape_count(from->shape, from->rank, &count) < 0)
        return false;
    bool is_text = from->dtype == PACER_BYTES;
    size_t size = is_text ? sizeof(struct pacer_bytes) : pacer_dtype_size(from->dtype);
    int64_t *shape = pcr_arena_array(arena, from->rank + 1, sizeof *shape);
    void *data = pcr_arena_array(arena, count + 1, size);
    if (!shape || !data)
        return false;
    if (from->rank)
        memcpy(shape, from->shape, from->rank * sizeof *shape);
    if (count)
        memcpy(data, from->data, count * size);
    for (size_t i = 0; is_text && i < count; i++) {
        struct pacer_bytes *text = (struct pacer_bytes *)data + i;
        text->data = pcr_arena_dup(arena, (struct pcr_str){text->data, text->size});
        if (!text->data)
            return false;
    }
    to->shape = shape;
    to->data = data;
    return true;
}

static int keep_batch(void *ctx, const struct pacer_tensor *outputs, size_t n, size_t first,
                      size_t n_rows) {
    struct keep *keep = ctx;
    struct pcr_quant_job *job = keep->job;
    (void)first, (void)n_rows;
    struct pacer_tensor *copies = pcr_arena_array(&job->arena, n + 1, sizeof *copies);
    bool ok = copies != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = copy_tensor(&job->arena, &outputs[i], &copies[i]);
    if (!ok)
        return pcr_err(job->err, PACER_ENOMEM, "quantize",
                       "no memory for the answers of %zu rows; ask for fewer (--rows)",
                       (size_t)job->data.rows);
    job->answers[keep->n_batches++] = copies;
    return 0;
}

static struct pcr_probe_run run_of(struct pcr_quant_job *job, struct pacer_session *session) {
    return (struct pcr_probe_run){.session = session,
                                  .data = &job->data,
                                  .rows = (size_t)job->data.rows,
                                  .batch = job->how.is_static ? BATCH_ROWS : 1};
}

static int keep_answers(struct pcr_quant_job *job) {
    struct keep keep = {.job = job};
    job->answers = pcr_arena_calloc(&job->arena, (size_t)job->data.rows + 1, sizeof *job->answers);
    if (!job->answers)
        return pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    struct pcr_probe_run run = run_of(job, job->reference);
    run.each = keep_batch;
    run.ctx = &keep;
    return pcr_probe_run(&run, job->err);
}

// --- classes ------------------------------------------------------------------------------------
static bool has_classes(const struct pacer_tensor *t) {
    bool is_list = t->rank == 1 || (t->rank == 2 && t->shape[1] == 1);
    if (t->dtype == PACER_FP32)
        return t->rank == 2 && t->shape[1] > 1;
    return is_list && (t->dtype == PACER_INT64 || t->dtype == PACER_BYTES);
}

static size_t largest(const float *row, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

static bool is_flip(const struct pacer_tensor *a, const struct pacer_tensor *b, size_t row) {
    if (a->dtype == PACER_FP32) {
        size_t n = (size_t)a->shape[1];
        return largest((const float *)a->data + row * n, n) !=
               largest((const float *)b->data + row * n, n);
    }
    if (a->dtype == PACER_INT64)
        return ((const int64_t *)a->data)[row] != ((const int64_t *)b->data)[row];
    const struct pacer_bytes *x = (const struct pacer_bytes *)a->data + row,
                             *y = (const struct pacer_bytes *)b->data + row;
    return x->size != y->size || (x->size && memcmp(x->data, y->data, x->size) != 0);
}

// --- comparing ----------------------------------------------------------------------------------
struct compare {
    struct pcr_quant_job *job;
    struct pcr_quant_output *outputs;
    struct pcr_error_stats *stats;
    size_t batch;
};

static double row_distance(const struct pacer_tensor *a, const struct pacer_tensor *b, size_t row,
                           size_t width) {
    const float *x = a->data, *y = b->data;
    double most = 0;
    if (a->dtype != PACER_FP32)
        return 0;
    for (size_t i = row * width; i < (row + 1) * width; i++) {
        double distance = fabs((double)x[i] - (double)y[i]);
        most = distance > most || isnan(distance) ? distance : most;
    }
    return most;
}

static void note_worst(struct pcr_quant_output *output, size_t row, double distance, bool flip) {
    size_t at = output->n_worst;
    while (at > 0 &&
           (flip > output->worst[at - 1].is_flip ||
            (flip == output->worst[at - 1].is_flip && distance > output->worst[at - 1].distance)))
        at--;
    if (at >= WORST || (!flip && distance == 0))
        return;
    size_t n = output->n_worst < WORST ? output->n_worst++ : WORST - 1;
    memmove(&output->worst[at + 1], &output->worst[at], (n - at) * sizeof output->worst[0]);
    output->worst[at].row = row;
    output->worst[at].distance = distance;
    output->worst[at].is_flip = flip;
}

static void compare_output(struct compare *compare, size_t i, const struct pacer_tensor *fp32,
                           const struct pacer_tensor *int8, size_t first, size_t n_rows) {
    struct pcr_quant_output *output = &compare->outputs[i];
    size_t n = 0, m = 0;
    if (fp32->dtype != int8->dtype || pacer_shape_count(fp32->shape, fp32->rank, &n) < 0 ||
        pacer_shape_count(int8->shape, int8->rank, &m) < 0 || n != m)
        return;
    if (fp32->dtype == PACER_FP32)
        pcr_error_stats_add(&compare->stats[i], fp32->data, int8->data, n);
    bool by_rows = fp32->rank > 0 && (size_t)fp32->shape[0] == n_rows && n_rows > 0;
    output->has_classes = by_rows && has_classes(fp32);
    for (size_t row = 0; by_rows && row < n_rows; row++) {
        bool flip = output->has_classes && is_flip(fp32, int8, row);
        output->rows++;
        output->flips += flip;
        note_worst(output, first + row, row_distance(fp32, int8, row, n / n_rows), flip);
    }
}

static int compare_batch(void *ctx, const struct pacer_tensor *outputs, size_t n, size_t first,
                         size_t n_rows) {
    struct compare *compare = ctx;
    const struct pacer_tensor *fp32 = compare->job->answers[compare->batch++];
    for (size_t i = 0; i < n; i++)
        compare_output(compare, i, &fp32[i], &outputs[i], first, n_rows);
    return 0;
}

int pcr_quant_evidence_outputs(struct pcr_quant_job *job, struct pacer_session *int8,
                               struct pcr_quant_output *outputs) {
    size_t n;
    const struct pacer_tensor_info *infos = pacer_session_outputs(job->reference, &n);
    struct compare compare = {job, outputs, calloc(n + 1, sizeof *compare.stats), 0};
    int code = !compare.stats  ? pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory")
               : !job->answers ? keep_answers(job)
                               : 0;
    for (size_t i = 0; i < n; i++)
        outputs[i] = (struct pcr_quant_output){.name = infos[i].name};
    struct pcr_probe_run run = run_of(job, int8);
    run.each = compare_batch;
    run.ctx = &compare;
    if (code == 0)
        code = pcr_probe_run(&run, job->err);
    for (size_t i = 0; i < n && code == 0; i++) {
        outputs[i].error = pcr_quant_error_of(&compare.stats[i]);
        if (outputs[i].has_classes)
            pcr_wilson(outputs[i].flips, outputs[i].rows, &outputs[i].flips_low,
                       &outputs[i].flips_high);
    }
    free(compare.stats);
    return code;
}
