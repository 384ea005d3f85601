// SPDX-License-Identifier: Apache-2.0
// pacer_quantize: from a file to a file, with a report.
//
// The source is hashed, then read; what can be quantized is planned; ranges are calibrated where
// there is data; limits choose which layers stay FP32; the result is measured beside FP32 in this
// process, and written last, so that a model that is not wanted never has a name on disk.
#include "compare/compare.h"
#include "quantize/calibrate.h"
#include "quantize/cpu.h"
#include "quantize/job_priv.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ROWS 1000
#define SECONDS 0.3
#define PERCENTILE 99.999
#define ARENA_BYTES_MAX ((size_t)8 << 30)
#define TEXT_BYTES_MAX ((size_t)64 << 20)

static const size_t batch_sizes[] = {1, 8, 64};

int pcr_quant_progress(const struct pcr_quant_job *job, const char *stage, size_t done,
                       size_t total) {
    const struct pacer_quantize_options *o = &job->options;
    return o->progress && o->progress(o->progress_ctx, stage, done, total) != 0
               ? pcr_err(job->err, PACER_ECANCELED, "quantize", "canceled")
               : 0;
}

// --- what was asked for -------------------------------------------------------------------------
static int bad_option(struct pacer_error *err, const char *what) {
    return pcr_err(err, PACER_EINVAL, "quantize", "%s", what);
}

static int check_options(const struct pcr_quant_job *job) {
    const struct pacer_quantize_options *o = &job->options;
    if (o->percentile <= 50 || o->percentile > 100)
        return bad_option(job->err, "the percentile is not between 50 and 100");
    if (isnan(o->max_flips) || o->max_flips > 1)
        return bad_option(job->err, "max_flips is a share of the rows, from 0 to 1");
    if (isnan(o->min_snr_db) || o->min_snr_db < 0)
        return bad_option(job->err, "the lowest SNR is not a positive number of decibels");
    if (isnan(o->max_rmse))
        return bad_option(job->err, "the largest RMSE is not a number");
    if (!(o->seconds > 0 && o->seconds <= 3600))
        return bad_option(job->err, "the time for measuring is not between 0 and 3600 seconds");
    if (o->threads < 0 || o->threads > 1024)
        return bad_option(job->err, "the number of threads is not between 1 and 1024");
    for (size_t i = 0; i < o->n_batch_sizes; i++)
        if (o->batch_sizes[i] == 0 || o->batch_sizes[i] > 65536)
            return bad_option(job->err, "a batch size is not between 1 and 65536");
    if (o->skip_evidence && pcr_quant_has_limits(job))
        return bad_option(job->err,
                          "limits cannot be held without evidence; leave one of them out");
    return 0;
}

static int take_options(struct pcr_quant_job *job, const struct pacer_quantize_options *options) {
    static const struct pacer_quantize_options defaults = PACER_QUANTIZE_OPTIONS_INIT;
    job->options = defaults;
    if (options && options->size > sizeof *options)
        return bad_option(job->err, "the options are of a newer libpacer than this");
    if (options) // an older caller's are shorter
        memcpy(&job->options, options, options->size);
    struct pacer_quantize_options *o = &job->options;
    if (o->percentile == 0)
        o->percentile = PERCENTILE;
    if (o->seconds == 0)
        o->seconds = SECONDS;
    if (o->rows == 0)
        o->rows = ROWS;
    if (o->n_batch_sizes == 0) {
        o->batch_sizes = batch_sizes;
        o->n_batch_sizes = PCR_COUNT_OF(batch_sizes);
    }
    return check_options(job);
}

static int check_paths(const struct pcr_quant_job *job) {
    struct stat a, b;
    if (stat(job->in, &a) == 0 && stat(job->out, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino)
        return bad_option(job->err, "the output is the input; give it another name");
    return 0;
}

// --- the report's head --------------------------------------------------------------------------
static const char *const method_names[] = {"minmax", "percentile", "entropy"};
static const char *const target_names[] = {"this processor", "vnni", "avx2", "arm"};

static void describe(struct pcr_quant_job *job, const char *version) {
    struct pacer_quantize_report *r = job->report;
    const struct pacer_quantize_options *o = &job->options;
    r->in = pcr_arena_dup(&r->arena, pcr_str(job->in));
    r->out = pcr_arena_dup(&r->arena, pcr_str(job->out));
    r->source_version = pcr_arena_dup(&r->arena, pcr_str(version));
    const char *data = o->data ? o->data : o->calibration;
    r->data = data ? pcr_arena_dup(&r->arena, pcr_str(data)) : NULL;
    r->calibration = o->calibration ? pcr_arena_dup(&r->arena, pcr_str(o->calibration)) : NULL;
    r->is_static = job->how.is_static;
    r->per_channel = job->how.per_channel;
    r->reduce_range = job->how.reduce_range;
    r->forced = o->force;
    r->is_measured = !o->skip_evidence;
    r->is_drawn = !data;
    r->method = method_names[o->method];
    r->target = target_names[o->target];
    r->processor = pcr_cpu_name(&r->arena);
    r->runtime = pcr_infer_runtime_version();
    r->seed = o->seed;
    r->max_flips = o->max_flips;
    r->min_snr_db = o->min_snr_db;
    r->max_rmse = o->max_rmse;
}

// --- reading ------------------------------------------------------------------------------------
static int read_model(struct pcr_quant_job *job) {
    char version[17];
    // First, since it needs the file's size of memory for a moment.
    int code = pcr_model_version(job->in, version, job->err);
    if (code == 0)
        code = pcr_onnx_model_load(job->in, &job->model, job->err);
    if (code < 0)
        return code;
    const struct pacer_quantize_options *o = &job->options;
    job->how = (struct pcr_quant_weights_how){
        .per_channel = o->per_channel,
        .is_static = o->calibration != NULL,
        .reduce_range =
            o->reduce_range == PACER_REDUCE_RANGE_ON ||
            (o->reduce_range == PACER_REDUCE_RANGE_AUTO && pcr_cpu_saturates(o->target))};
    describe(job, version);
    const struct pcr_quant_choice choice = {o->exclude, o->n_exclude, o->ops, o->n_ops,
                                            job->how.is_static};
    code = pcr_quant_plan_make(job->model, &choice, &job->plan, job->err);
    job->fp32 = pcr_onnx_model_snapshot(job->model);
    return code == 0 && !job->fp32 ? pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory")
                                   : code;
}

static int report_plan(struct pcr_quant_job *job) {
    struct pacer_quantize_report *r = job->report;
    r->opset_before = pcr_onnx_model_opset(job->model, "");
    r->opset_after = job->plan.opset;
    r->layers = pcr_arena_calloc(&r->arena, job->plan.n + 1, sizeof *r->layers);
    struct pcr_quant_skip *skips =
        pcr_arena_calloc(&r->arena, job->plan.n_skips + 1, sizeof *skips);
    if (!r->layers || !skips)
        return pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    r->n_layers = job->plan.n;
    for (size_t i = 0; i < job->plan.n; i++) {
        const struct pcr_quant_layer *layer = &job->plan.layers[i];
        r->layers[i] =
            (struct pcr_quant_layer_report){.name = pcr_arena_dup(&r->arena, pcr_str(layer->name)),
                                            .op = pcr_quant_op_names[layer->op],
                                            .weights = layer->count,
                                            .harm = (double)NAN};
    }
    for (size_t i = 0; i < job->plan.n_skips; i++) {
        skips[i] = job->plan.skips[i];
        skips[i].name = pcr_arena_dup(&r->arena, pcr_str(skips[i].name));
    }
    r->skips = skips;
    r->n_skips = job->plan.n_skips;
    return 0;
}

static uint64_t taken_since(uint64_t before) {
    uint64_t now = pcr_resident_bytes();
    return before > 0 && now > before ? now - before : 0;
}

static int read_rows(struct pcr_quant_job *job) {
    const struct pacer_quantize_options *o = &job->options;
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.intra_op_threads = o->threads;
    options.skip_warm_up = true;
    // Twice, since the first session of a process brings ONNX Runtime's own memory with it.
    int code = pacer_session_get(job->in, &options, &job->reference, job->err);
    if (code < 0)
        return code;
    pacer_session_put(job->reference);
    job->reference = NULL;
    uint64_t before = pcr_resident_bytes();
    code = pacer_session_get(job->in, &options, &job->reference, job->err);
    if (code < 0)
        return code;
    job->report->memory_before = taken_since(before);
    size_t n;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(job->reference, &n);
    const struct pcr_data_options rows = {.rows_max = o->rows};
    if (o->calibration)
        code = pcr_data_load(o->calibration, inputs, n, &rows, &job->arena, &job->calibration,
                             job->err);
    job->data = job->calibration;
    if (code == 0 && o->data)
        code = pcr_data_load(o->data, inputs, n, &rows, &job->arena, &job->data, job->err);
    else if (code == 0 && !o->calibration)
        code = pcr_rows_draw(job->reference, o->rows, o->seed, &job->arena, &job->data, job->err);
    job->report->rows = (size_t)job->data.rows;
    job->report->calibration_rows = (size_t)job->calibration.rows;
    return code;
}

static int calibrate(struct pcr_quant_job *job) {
    if (!job->how.is_static)
        return 0;
    int code = pcr_quant_progress(job, "calibration", 0, 1);
    if (code == 0)
        code = pcr_quant_qdq_tensors(&job->plan, &job->tensors, job->err);
    const struct pcr_calibrate c = {.model = job->model,
                                    .data = &job->calibration,
                                    .method = job->options.method,
                                    .percentile = job->options.percentile,
                                    .threads = job->options.threads,
                                    .name = job->in};
    return code == 0 ? pcr_calibrate(&c, &job->tensors, job->err) : code;
}

// --- measuring ----------------------------------------------------------------------------------
static int measure(struct pcr_quant_job *job) {
    struct pacer_quantize_report *r = job->report;
    struct pacer_session *session = NULL;
    size_t n;
    pacer_session_outputs(job->reference, &n);
    r->outputs = pcr_arena_calloc(&r->arena, n + 1, sizeof *r->outputs);
    if (!r->outputs)
        return pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    r->n_outputs = n;
    int code = pcr_quant_variant_make(job);
    uint64_t before = pcr_resident_bytes();
    if (code == 0)
        code = pcr_quant_variant_open(job, &session);
    r->memory_after = taken_since(before);
    if (code == 0)
        code = pcr_quant_evidence_outputs(job, session, r->outputs);
    if (code == 0)
        code = pcr_quant_evidence_latency(job, session);
    for (size_t i = 0; i < r->n_outputs; i++)
        r->outputs[i].name = pcr_arena_dup(&r->arena, pcr_str(r->outputs[i].name));
    pacer_session_put(session);
    return code;
}

static bool leaves_any(const struct pcr_quant_job *job) {
    for (size_t i = 0; i < job->plan.n; i++)
        if (job->plan.layers[i].is_left)
            return true;
    return false;
}

static int gather_evidence(struct pcr_quant_job *job, bool *holds) {
    *holds = true;
    if (job->options.skip_evidence)
        return 0;
    int code = pcr_quant_evidence_layers(job);
    if (code == 0 && pcr_quant_has_limits(job))
        code = pcr_quant_budget(job, holds);
    if (code == 0 && leaves_any(job)) // what adds up is less now
        code = pcr_quant_evidence_layers(job);
    return code == 0 ? measure(job) : code;
}

static void report_weights(struct pcr_quant_job *job) {
    for (size_t i = 0; i < job->plan.n; i++) {
        const struct pcr_quant_layer *layer = &job->plan.layers[i];
        struct pcr_quant_layer_report *report = &job->report->layers[i];
        double signal = 0, noise = 0, clipped = 0;
        for (size_t k = 0; k < layer->n_weights; k++) {
            signal += layer->weights[k].signal;
            noise += layer->weights[k].noise;
            clipped += (double)layer->weights[k].clipped;
        }
        report->weight_snr_db = noise > 0 ? 10 * log10(signal / noise) : (double)INFINITY;
        report->clipped = layer->count ? clipped / (double)layer->count : 0;
        report->is_left = layer->is_left;
    }
}

// --- writing ------------------------------------------------------------------------------------
// Slower at all batch sizes together: the times of one run of each, added up in shares of FP32's.
static bool is_slower(const struct pacer_quantize_report *r) {
    double sum = 0;
    for (size_t i = 0; i < r->n_latencies; i++)
        sum += log(r->latencies[i].speedup);
    return r->n_latencies > 0 && sum < 0;
}

static enum pacer_quantize_verdict judge(const struct pcr_quant_job *job, bool holds) {
    return job->plan.n == 0         ? PACER_QUANTIZE_NOTHING
           : !holds                 ? PACER_QUANTIZE_MISSED
           : is_slower(job->report) ? PACER_QUANTIZE_SLOWER
                                    : PACER_QUANTIZE_WRITTEN;
}

static uint64_t bytes_of(const char *path) {
    uint64_t bytes = 0;
    return pcr_model_bytes(path, &bytes, NULL) == 0 ? bytes : 0;
}

static int write_model(struct pcr_quant_job *job) {
    int code = pcr_quant_variant_make(job);
    if (code == 0)
        code = pcr_onnx_model_save(job->model, job->out, job->err);
    if (code == 0)
        job->report->bytes_after = bytes_of(job->out);
    return code;
}

static int finish(struct pcr_quant_job *job, bool holds) {
    struct pacer_quantize_report *r = job->report;
    r->verdict = judge(job, holds);
    r->bytes_before = bytes_of(job->in);
    bool wanted = r->verdict == PACER_QUANTIZE_WRITTEN || r->verdict == PACER_QUANTIZE_MISSED ||
                  job->options.force;
    int code = wanted ? write_model(job) : 0;
    report_weights(job);
    if (code == 0)
        code = pcr_quant_report_sum_up(r, job->err);
    if (code == 0)
        code = pcr_quant_report_text(r, job->err);
    if (code == 0)
        code = pcr_quant_report_json(r, job->err);
    return code == 0 ? pcr_quant_report_html(r, job->err) : code;
}

static int quantize(struct pcr_quant_job *job) {
    bool holds = true;
    int code = check_paths(job);
    if (code == 0)
        code = read_model(job);
    if (code == 0)
        code = report_plan(job);
    bool needs_rows = job->how.is_static || !job->options.skip_evidence;
    if (code == 0 && job->plan.n > 0 && needs_rows)
        code = read_rows(job);
    if (code == 0 && job->plan.n > 0)
        code = calibrate(job);
    if (code == 0 && job->plan.n > 0)
        code = gather_evidence(job, &holds);
    return code == 0 ? finish(job, holds) : code;
}

int pacer_quantize(const char *in, const char *out, const struct pacer_quantize_options *options,
                   struct pacer_quantize_report **report, struct pacer_error *err) {
    struct pacer_quantize_report *r = calloc(1, sizeof *r);
    *report = NULL;
    if (!r)
        return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    struct pcr_quant_job job = {.in = in, .out = out, .report = r, .err = err};
    pcr_arena_init(&r->arena, TEXT_BYTES_MAX);
    pcr_buf_init(&r->text, TEXT_BYTES_MAX);
    pcr_buf_init(&r->json, TEXT_BYTES_MAX);
    pcr_buf_init(&r->html, TEXT_BYTES_MAX);
    pcr_arena_init(&job.arena, ARENA_BYTES_MAX);
    int code = take_options(&job, options);
    if (code == 0)
        code = quantize(&job);
    pacer_session_put(job.reference);
    pcr_onnx_model_destroy(job.model);
    pcr_arena_fini(&job.arena);
    if (code < 0)
        pacer_quantize_report_destroy(r);
    else
        *report = r;
    return code;
}

// --- the report ---------------------------------------------------------------------------------
enum pacer_quantize_verdict
pacer_quantize_report_verdict(const struct pacer_quantize_report *report) {
    return report->verdict;
}

const char *pacer_quantize_report_summary(const struct pacer_quantize_report *report) {
    return report->summary;
}

const char *pacer_quantize_report_text(const struct pacer_quantize_report *report) {
    return pcr_buf_view(&report->text).ptr;
}

const char *pacer_quantize_report_json(const struct pacer_quantize_report *report) {
    return pcr_buf_view(&report->json).ptr;
}

const char *pacer_quantize_report_html(const struct pacer_quantize_report *report) {
    return pcr_buf_view(&report->html).ptr;
}

void pacer_quantize_report_destroy(struct pacer_quantize_report *report) {
    if (!report)
        return;
    pcr_buf_fini(&report->text);
    pcr_buf_fini(&report->json);
    pcr_buf_fini(&report->html);
    pcr_arena_fini(&report->arena);
    free(report);
}
