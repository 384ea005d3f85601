// SPDX-License-Identifier: Apache-2.0
// pacer quantize: INT8 from FP32, with the evidence.
#include "cli/cli.h"
#include "cli/progress.h"

#include <math.h>
#include <pacer/quantize.h>
#include <stdlib.h>

#define LIST_MAX 64

struct job {
    const struct pcr_cli_args *args;
    struct pacer_quantize_options options;
    const char *exclude[LIST_MAX], *ops[LIST_MAX];
    size_t batch_sizes[LIST_MAX];
    struct pcr_arena arena;
    struct pcr_progress progress;
};

// --- options ------------------------------------------------------------------------------------
static int bad_value(const struct job *job, const char *option, const char *value,
                     const char *expected) {
    return pcr_cli_usage(job->args->command, "--%s '%.60s': expected %s", option, value, expected);
}

// A number of at least `min`; with a '%' behind it a hundredth of it, where that makes sense.
static int read_number(const struct job *job, const char *option, double min, bool is_share,
                       double *out) {
    const char *text = pcr_cli_value(job->args, option);
    char *end;
    if (!text)
        return PCR_EXIT_OK;
    double value = strtod(text, &end);
    bool percent = is_share && *end == '%';
    end += percent;
    if (end == text || *end || !isfinite(value) || value < min)
        return bad_value(job, option, text,
                         is_share ? "a share like 0.5% or 0.005" : "a positive number");
    *out = percent ? value / 100 : value;
    if (is_share && *out > 1)
        return bad_value(job, option, text, "a share of at most 100%");
    return PCR_EXIT_OK;
}

static int read_count(const struct job *job, const char *option, uint64_t max, uint64_t *out) {
    const char *text = pcr_cli_value(job->args, option);
    if (text && (!pcr_str_to_u64(pcr_str(text), max, out)))
        return bad_value(job, option, text, "a whole number");
    return PCR_EXIT_OK;
}

// All values of an option that may be given often, each a list with commas.
static int read_list(struct job *job, const char *option, const char *out[LIST_MAX], size_t *n) {
    for (size_t i = 0; i < job->args->n_given; i++) {
        if (strcmp(job->args->given[i].option.name, option) != 0)
            continue;
        struct pcr_str rest = pcr_str(job->args->given[i].value), item;
        while (pcr_str_split(&rest, ',', &item)) {
            if (*n == LIST_MAX)
                return pcr_cli_usage(job->args->command, "--%s: more than %d of them", option,
                                     LIST_MAX);
            out[*n] = pcr_arena_dup(&job->arena, item);
            if (item.len == 0 || !out[*n])
                return bad_value(job, option, job->args->given[i].value,
                                 "names with commas between");
            ++*n;
        }
    }
    return PCR_EXIT_OK;
}

static int read_batch_sizes(struct job *job) {
    const char *items[LIST_MAX];
    size_t n = 0;
    int rc = read_list(job, "batch", items, &n);
    for (size_t i = 0; i < n && rc == PCR_EXIT_OK; i++) {
        uint64_t size;
        if (!pcr_str_to_u64(pcr_str(items[i]), 65536, &size) || size == 0)
            return bad_value(job, "batch", items[i], "numbers of rows from 1 to 65536");
        job->batch_sizes[i] = (size_t)size;
    }
    job->options.batch_sizes = job->batch_sizes;
    job->options.n_batch_sizes = n;
    return rc;
}

static int read_choice(const struct job *job, const char *option, const char *const *choices,
                       const char *expected, unsigned *out) {
    const char *text = pcr_cli_value(job->args, option);
    *out = 0;
    if (!text)
        return PCR_EXIT_OK;
    for (unsigned i = 0; choices[i]; i++)
        if (strcmp(choices[i], text) == 0) {
            *out = i;
            return PCR_EXIT_OK;
        }
    return bad_value(job, option, text, expected);
}

static int read_choices(struct job *job) {
    static const char *const methods[] = {"minmax", "percentile", "entropy", NULL};
    static const char *const ranges[] = {"auto", "on", "off", NULL};
    static const char *const targets[] = {"this", "vnni", "avx2", "arm", NULL};
    struct pacer_quantize_options *o = &job->options;
    unsigned method = 0, range = 0, target = 0;
    int rc = read_choice(job, "method", methods, "minmax, percentile or entropy", &method);
    if (rc == PCR_EXIT_OK)
        rc = read_choice(job, "reduce-range", ranges, "auto, on or off", &range);
    if (rc == PCR_EXIT_OK)
        rc = read_choice(job, "target", targets, "this, vnni, avx2 or arm", &target);
    o->method = (enum pacer_calibration)method;
    o->reduce_range = (enum pacer_reduce_range)range;
    o->target = (enum pacer_quantize_target)target;
    return rc;
}

static int read_limits(struct job *job) {
    struct pacer_quantize_options *o = &job->options;
    int rc = read_number(job, "max-flips", 0, true, &o->max_flips);
    if (rc == PCR_EXIT_OK)
        rc = read_number(job, "min-snr", 0, false, &o->min_snr_db);
    if (rc == PCR_EXIT_OK)
        rc = read_number(job, "max-rmse", 0, false, &o->max_rmse);
    if (rc == PCR_EXIT_OK)
        rc = read_number(job, "seconds", 0.001, false, &o->seconds);
    return rc == PCR_EXIT_OK ? read_number(job, "percentile", 50, false, &o->percentile) : rc;
}

static int read_options(struct job *job) {
    struct pacer_quantize_options *o = &job->options;
    uint64_t rows = 0, threads = 0;
    o->calibration = pcr_cli_value(job->args, "calibrate");
    o->data = pcr_cli_value(job->args, "data");
    o->per_channel = pcr_cli_has(job->args, "per-channel");
    o->skip_evidence = pcr_cli_has(job->args, "no-evidence");
    o->force = pcr_cli_has(job->args, "force");
    int rc = read_choices(job);
    if (rc == PCR_EXIT_OK)
        rc = read_limits(job);
    if (rc == PCR_EXIT_OK)
        rc = read_list(job, "exclude", job->exclude, &o->n_exclude);
    if (rc == PCR_EXIT_OK)
        rc = read_list(job, "ops", job->ops, &o->n_ops);
    if (rc == PCR_EXIT_OK)
        rc = read_batch_sizes(job);
    if (rc == PCR_EXIT_OK)
        rc = read_count(job, "rows", 10000000, &rows);
    if (rc == PCR_EXIT_OK)
        rc = read_count(job, "threads", 1024, &threads);
    if (rc == PCR_EXIT_OK)
        rc = read_count(job, "seed", UINT64_MAX, &o->seed);
    o->exclude = job->exclude;
    o->ops = job->ops;
    o->rows = (size_t)rows;
    o->threads = (int)threads;
    return rc;
}

// --- running ------------------------------------------------------------------------------------
// Whether it is the model that is wrong, or what was given beside it.
static enum pcr_exit exit_code_of(const struct pacer_error *err) {
    bool of_data = strcmp(err->component, "data") == 0 || strcmp(err->component, "file") == 0;
    switch (err->code) {
    case PACER_ENOTFOUND:
        return of_data ? PCR_EXIT_INPUT : PCR_EXIT_MODEL;
    case PACER_EINVAL:
    case PACER_ESYNTAX:
        return PCR_EXIT_INPUT;
    case PACER_ENOMEM:
    case PACER_EIO:
    case PACER_ECANCELED:
        return PCR_EXIT_FAILURE;
    default:
        return PCR_EXIT_MODEL;
    }
}

static int write_report(const struct pacer_quantize_report *report, const char *path) {
    struct pacer_error err;
    bool html = pcr_str_ends_with(pcr_str(path), PCR_STR(".html"));
    const char *text =
        html ? pacer_quantize_report_html(report) : pacer_quantize_report_json(report);
    return pcr_file_write(path, pcr_str(text), &err) < 0
               ? pcr_cli_fail(PCR_EXIT_FAILURE, "%s", err.message)
               : PCR_EXIT_OK;
}

static int show(const struct job *job, const struct pacer_quantize_report *report) {
    int rc = PCR_EXIT_OK;
    for (size_t i = 0; i < job->args->n_given && rc == PCR_EXIT_OK; i++)
        if (strcmp(job->args->given[i].option.name, "report") == 0)
            rc = write_report(report, job->args->given[i].value);
    bool json = pcr_cli_has(job->args, "json");
    if (!pcr_cli_has(job->args, "quiet") || json)
        fputs(json ? pacer_quantize_report_json(report) : pacer_quantize_report_text(report),
              stdout);
    if (rc != PCR_EXIT_OK)
        return rc;
    return pacer_quantize_report_verdict(report) == PACER_QUANTIZE_MISSED ? PCR_EXIT_CONFIG
                                                                          : PCR_EXIT_OK;
}

static int check_reports(const struct job *job) {
    for (size_t i = 0; i < job->args->n_given; i++) {
        if (strcmp(job->args->given[i].option.name, "report") != 0)
            continue;
        struct pcr_str path = pcr_str(job->args->given[i].value);
        if (!pcr_str_ends_with(path, PCR_STR(".json")) &&
            !pcr_str_ends_with(path, PCR_STR(".html")))
            return bad_value(job, "report", path.ptr, "a name that ends with .json or .html");
    }
    return PCR_EXIT_OK;
}

static int show_progress(void *ctx, const char *stage, size_t done, size_t total) {
    pcr_progress_show(ctx, stage, done, total);
    return 0;
}

static int quantize(struct job *job) {
    struct pacer_quantize_report *report;
    struct pacer_error err;
    int rc = check_reports(job);
    if (rc == PCR_EXIT_OK)
        rc = read_options(job);
    if (rc != PCR_EXIT_OK)
        return rc;
    if (!job->options.skip_evidence)
        pcr_cli_keep_memory();
    pcr_progress_init(&job->progress, pcr_cli_has(job->args, "quiet"));
    job->options.progress = show_progress;
    job->options.progress_ctx = &job->progress;
    int code = pacer_quantize(job->args->operands[0], job->args->operands[1], &job->options,
                              &report, &err);
    pcr_progress_clear(&job->progress);
    if (code < 0)
        return pcr_cli_fail(exit_code_of(&err), "%s", err.message);
    rc = show(job, report);
    pacer_quantize_report_destroy(report);
    return rc;
}

static int run(const struct pcr_cli_args *args) {
    static const struct pacer_quantize_options defaults = PACER_QUANTIZE_OPTIONS_INIT;
    struct job job = {.args = args, .options = defaults};
    pcr_arena_init(&job.arena, 1 << 20);
    int rc = quantize(&job);
    pcr_arena_fini(&job.arena);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "calibrate",
     .letter = 'c',
     .metavar = "DATA",
     .help = "quantize statically, with the ranges of these rows (CSV, NPY, NPZ, JSON lines)"},
    {.name = "data",
     .letter = 'd',
     .metavar = "DATA",
     .help = "take the evidence on these rows",
     .default_text = "the calibration's, or drawn ones"},
    {.name = "method",
     .metavar = "METHOD",
     .help = "how calibration finds a range",
     .choices = "minmax|percentile|entropy",
     .default_text = "minmax"},
    {.name = "percentile",
     .metavar = "P",
     .help = "what --method percentile keeps of the values",
     .default_text = "99.999"},
    {.name = "per-channel", .help = "a scale per output channel of the weights"},
    {.name = "reduce-range",
     .metavar = "WHEN",
     .help = "weights of 7 bits, for processors whose sums of products saturate",
     .choices = "auto|on|off",
     .default_text = "auto"},
    {.name = "target",
     .metavar = "CPU",
     .help = "the processor that --reduce-range auto has in mind",
     .choices = "this|vnni|avx2|arm",
     .default_text = "this"},
    {.name = "exclude",
     .metavar = "NODE",
     .help =
         "leave nodes as they are: names with commas between, 'encoder/*' for all that begin so",
     .repeats = true},
    {.name = "ops",
     .metavar = "LIST",
     .help = "only these operators of MatMul, Gemm, Conv, Gather, LSTM, Attention",
     .repeats = true},
    {.name = "max-flips",
     .metavar = "SHARE",
     .help = "limit: the share of rows that may get another class, like 0.5%"},
    {.name = "min-snr", .metavar = "DB", .help = "limit: the lowest SNR of an output"},
    {.name = "max-rmse", .metavar = "X", .help = "limit: the largest RMSE of an output"},
    {.name = "batch",
     .letter = 'b',
     .metavar = "LIST",
     .help = "batch sizes that are timed",
     .default_text = "1,8,64",
     .repeats = true},
    {.name = "seconds",
     .metavar = "S",
     .help = "time for each model and batch size",
     .default_text = "0.3"},
    {.name = "rows",
     .metavar = "N",
     .help = "rows to draw, or the most to take from the data",
     .default_text = "1000"},
    {.name = "seed", .metavar = "N", .help = "of drawn rows", .default_text = "0"},
    {.name = "threads", .metavar = "N", .help = "threads of one run", .default_text = "1"},
    {.name = "no-evidence", .help = "write the model without having run it"},
    {.name = "force", .letter = 'f', .help = "write it also where INT8 does not pay"},
    {.name = "report",
     .letter = 'r',
     .metavar = "FILE",
     .help = "write the report there: .json, or .html with plots",
     .repeats = true},
    {.name = "json", .letter = 'j', .help = "the report as one JSON object"},
    {.name = "quiet", .letter = 'q', .help = "no progress and no tables"},
};

const struct pcr_cli_command pcr_cmd_quantize = {
    .name = "quantize",
    .operands = "IN.onnx OUT.int8.onnx",
    .summary = "make a model INT8, and show what that gains and loses",
    .text = "Weights become INT8; inputs are quantized by their own range at each run, or\n"
            "with --calibrate by ranges taken from data. Both models are then run side by\n"
            "side: latency, size, memory, what each layer loses, how many answers change.\n"
            "\n"
            "With limits (--max-flips, --min-snr, --max-rmse) layers stay FP32, the worst\n"
            "harm for the least gain first, until they hold; if none does, the best model\n"
            "is written and the exit code is 3. Where INT8 is slower on this machine, or\n"
            "there is nothing to quantize, nothing is written unless --force says so.",
    .complete = "file",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .n_operands_min = 2,
    .n_operands_max = 2,
    .run = run,
};
