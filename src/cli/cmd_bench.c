// SPDX-License-Identifier: Apache-2.0
// pacer bench: models beside each other on the same rows.
#include "cli/cli.h"
#include "cli/progress.h"

#include "compare/answers.h"
#include "compare/compare.h"
#include "json/json.h"

#include <math.h>
#include <stdlib.h>

#define BATCHES_MAX 16
#define ROWS 1000
#define SECONDS 0.5
#define ARENA_BYTES_MAX ((size_t)8 << 30)
#define OUTPUT_BYTES_MAX ((size_t)16 << 20)

struct model {
    const char *path;
    struct pacer_session *session;
    uint64_t bytes, memory;
    struct pcr_latency latency[BATCHES_MAX];
    struct pcr_error_stats error; // against the first model, all FP32 outputs together
    size_t rows, flips;           // of outputs with a class per row
};

struct bench {
    const struct pcr_cli_args *args;
    struct model models[PCR_LATENCY_SESSIONS_MAX];
    size_t n_models;
    size_t batches[BATCHES_MAX], n_batches;
    double seconds;
    uint64_t rows, seed, threads;
    struct pcr_arena arena;
    struct pcr_data data;
    struct pcr_progress progress;
};

// --- options ------------------------------------------------------------------------------------
static int bad_value(const struct bench *b, const char *option, const char *expected) {
    return pcr_cli_usage(b->args->command, "--%s '%.60s': expected %s", option,
                         pcr_cli_value(b->args, option), expected);
}

static int read_count(const struct bench *b, const char *option, uint64_t min, uint64_t max,
                      uint64_t *out) {
    const char *text = pcr_cli_value(b->args, option);
    if (text && (!pcr_str_to_u64(pcr_str(text), max, out) || *out < min))
        return bad_value(b, option, "a whole number");
    return PCR_EXIT_OK;
}

static int read_batches(struct bench *b) {
    const char *text = pcr_cli_value(b->args, "batch");
    struct pcr_str rest = pcr_str(text ? text : "1,8,64"), item;
    while (pcr_str_split(&rest, ',', &item)) {
        uint64_t size;
        if (b->n_batches == BATCHES_MAX || !pcr_str_to_u64(item, 65536, &size) || size == 0)
            return bad_value(b, "batch", "up to 16 numbers of rows from 1 to 65536");
        b->batches[b->n_batches++] = (size_t)size;
    }
    return PCR_EXIT_OK;
}

static int read_options(struct bench *b) {
    const char *seconds = pcr_cli_value(b->args, "seconds");
    char *end;
    b->rows = ROWS;
    b->seconds = seconds ? strtod(seconds, &end) : SECONDS;
    if (seconds && (end == seconds || *end || !(b->seconds > 0 && b->seconds <= 3600)))
        return bad_value(b, "seconds", "a time of at most 3600 seconds");
    int rc = read_batches(b);
    if (rc == PCR_EXIT_OK)
        rc = read_count(b, "rows", 1, 10000000, &b->rows);
    if (rc == PCR_EXIT_OK)
        rc = read_count(b, "seed", 0, UINT64_MAX, &b->seed);
    return rc == PCR_EXIT_OK ? read_count(b, "threads", 1, 1024, &b->threads) : rc;
}

// --- models and rows ----------------------------------------------------------------------------
static int get_session(const struct bench *b, struct model *model, struct pacer_error *err) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.intra_op_threads = (int)b->threads;
    options.skip_warm_up = true;
    return pacer_session_get(model->path, &options, &model->session, err);
}

static int open_model(const struct bench *b, struct model *model, struct pacer_error *err) {
    int code = get_session(b, model, err); // ONNX Runtime's own memory comes with the first one
    if (code < 0)
        return code;
    pacer_session_put(model->session);
    model->session = NULL;
    uint64_t before = pcr_resident_bytes();
    code = get_session(b, model, err);
    uint64_t after = pcr_resident_bytes();
    model->memory = before > 0 && after > before ? after - before : 0;
    return code == 0 ? pcr_model_bytes(model->path, &model->bytes, err) : code;
}

// Whether both take the same rows.
static bool fits(const struct pacer_session *a, const struct pacer_session *b) {
    size_t n, m;
    const struct pacer_tensor_info *x = pacer_session_inputs(a, &n);
    const struct pacer_tensor_info *y = pacer_session_inputs(b, &m);
    bool same = n == m;
    for (size_t i = 0; same && i < n; i++) {
        same =
            strcmp(x[i].name, y[i].name) == 0 && x[i].dtype == y[i].dtype && x[i].rank == y[i].rank;
        for (size_t k = 0; same && k < x[i].rank; k++)
            same = x[i].shape[k] == y[i].shape[k];
    }
    return same;
}

static int open_models(struct bench *b) {
    struct pacer_error err;
    for (size_t i = 0; i < b->args->n_operands; i++) {
        struct model *model = &b->models[b->n_models++];
        model->path = b->args->operands[i];
        if (open_model(b, model, &err) < 0)
            return pcr_cli_fail(PCR_EXIT_MODEL, "%s", err.message);
        if (!fits(b->models[0].session, model->session))
            return pcr_cli_fail(PCR_EXIT_MODEL,
                                "%s takes other inputs than %s; only variants of one model can be "
                                "compared",
                                model->path, b->models[0].path);
    }
    return PCR_EXIT_OK;
}

static int read_rows(struct bench *b) {
    struct pacer_error err;
    size_t n;
    const char *path = pcr_cli_value(b->args, "data");
    const struct pacer_session *first = b->models[0].session;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(first, &n);
    const struct pcr_data_options options = {.rows_max = (size_t)b->rows};
    int code = path ? pcr_data_load(path, inputs, n, &options, &b->arena, &b->data, &err)
                    : pcr_rows_draw(first, (size_t)b->rows, b->seed, &b->arena, &b->data, &err);
    size_t fixed = pcr_rows_batch(first, 0);
    if (code == 0 && fixed) {
        b->batches[0] = fixed;
        b->n_batches = 1;
    }
    return code < 0 ? pcr_cli_fail(PCR_EXIT_INPUT, "%s", err.message) : PCR_EXIT_OK;
}

// --- measuring ----------------------------------------------------------------------------------
static int time_batch(struct bench *b, size_t at, struct pacer_error *err) {
    struct pacer_session *sessions[PCR_LATENCY_SESSIONS_MAX];
    struct pcr_latency latency[PCR_LATENCY_SESSIONS_MAX];
    for (size_t i = 0; i < b->n_models; i++)
        sessions[i] = b->models[i].session;
    const struct pcr_latency_how how = {sessions, b->n_models, &b->data, b->batches[at],
                                        b->seconds};
    int code = pcr_latency_measure(&how, latency, err);
    for (size_t i = 0; i < b->n_models && code == 0; i++)
        b->models[i].latency[at] = latency[i];
    return code;
}

static size_t largest(const float *row, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = row[i] > row[best] ? i : best;
    return best;
}

static void compare_outputs(struct model *model, const struct pacer_tensor *a,
                            const struct pacer_tensor *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t count = 0, other = 0;
        if (a[i].dtype != PACER_FP32 || b[i].dtype != PACER_FP32 ||
            pacer_shape_count(a[i].shape, a[i].rank, &count) < 0 ||
            pacer_shape_count(b[i].shape, b[i].rank, &other) < 0 || count != other)
            continue;
        pcr_error_stats_add(&model->error, a[i].data, b[i].data, count);
        size_t width = a[i].rank == 2 ? (size_t)a[i].shape[1] : 0;
        for (size_t row = 0; width > 1 && row < count / width; row++) {
            model->rows++;
            model->flips += largest((const float *)a[i].data + row * width, width) !=
                            largest((const float *)b[i].data + row * width, width);
        }
    }
}

// One row at a time, as a server asks; a model that fixes another number gets that.
static int compare_rows(struct bench *b, size_t first, size_t n, struct pacer_error *err) {
    struct pcr_arena arena;
    const struct pacer_tensor *reference = NULL, *outputs;
    size_t n_reference = 0, n_outputs;
    int code = 0;
    pcr_arena_init(&arena, ARENA_BYTES_MAX);
    struct pacer_tensor *views = pcr_data_views(&b->data, &arena);
    for (size_t i = 0; i < b->n_models && code == 0; i++) {
        if (!views)
            code = pcr_err(err, PACER_ENOMEM, "bench", "out of memory");
        else
            pcr_rows_inputs(b->models[i].session, &b->data, first, n, views);
        const struct pacer_run run = {views, b->data.n_tensors, NULL, 0};
        if (code == 0)
            code = pcr_session_run(b->models[i].session, &run, &arena, &outputs, &n_outputs, err);
        if (code == 0 && i == 0) {
            reference = outputs;
            n_reference = n_outputs;
        } else if (code == 0) {
            compare_outputs(&b->models[i], reference, outputs,
                            n_outputs < n_reference ? n_outputs : n_reference);
        }
    }
    pcr_arena_fini(&arena);
    return code;
}

static int measure(struct bench *b) {
    struct pacer_error err;
    size_t step = pcr_rows_batch(b->models[0].session, 1);
    for (size_t i = 0; i < b->n_batches; i++) {
        pcr_progress_show(&b->progress, "time", i, b->n_batches);
        if (b->batches[i] <= (size_t)b->data.rows && time_batch(b, i, &err) < 0)
            return pcr_cli_fail(PCR_EXIT_MODEL, "%s", err.message);
    }
    for (size_t row = 0; b->n_models > 1 && row + step <= (size_t)b->data.rows; row += step) {
        pcr_progress_show(&b->progress, "answers", row, (size_t)b->data.rows);
        if (compare_rows(b, row, step, &err) < 0)
            return pcr_cli_fail(PCR_EXIT_MODEL, "%s", err.message);
    }
    return PCR_EXIT_OK;
}

// --- showing ------------------------------------------------------------------------------------
static void write_text(const struct bench *b, struct pcr_buf *out) {
    for (size_t i = 0; i < b->n_models; i++) {
        const struct model *m = &b->models[i];
        pcr_buf_printf(out, "%c: %s   file %.2f MiB, memory %.1f MiB\n", (char)('A' + i), m->path,
                       (double)m->bytes / 1048576, (double)m->memory / 1048576);
    }
    const char *data = pcr_cli_value(b->args, "data");
    pcr_buf_printf(out, "on %lld %s%s\n\n%8s %3s %12s %11s %11s %10s   %s\n",
                   (long long)b->data.rows, data ? "rows of " : "drawn rows", data ? data : "",
                   "batch", "", "p50 µs", "p99 µs", "rows/s", "speed", "95 % interval");
    for (size_t k = 0; k < b->n_batches; k++)
        for (size_t i = 0; i < b->n_models; i++) {
            const struct pcr_latency *l = &b->models[i].latency[k];
            if (l->runs == 0)
                continue;
            pcr_buf_printf(out, "%8zu %3c %11.1f %10.1f %11.0f", b->batches[k], (char)('A' + i),
                           l->p50_us, l->p99_us, (double)b->batches[k] * 1e6 / l->p50_us);
            if (i > 0)
                pcr_buf_printf(out, " %8.2f ×", l->speedup);
            if (i > 0 && !isnan(l->low))
                pcr_buf_printf(out, "   %.2f to %.2f%s", l->low, l->high,
                               l->low <= 1 && l->high >= 1 ? " (no difference seen)" : "");
            pcr_buf_char(out, '\n');
        }
    for (size_t i = 1; i < b->n_models; i++) {
        const struct model *m = &b->models[i];
        double snr = pcr_error_snr_db(&m->error);
        pcr_buf_printf(out, "\n%c beside A: ", (char)('A' + i));
        if (m->error.n > 0 && isinf(snr) && snr > 0)
            pcr_buf_text(out, "the same answers");
        else if (m->error.n > 0)
            pcr_buf_printf(out, "SNR %.1f dB, cosine %.6f, largest difference %.3g, RMSE %.3g", snr,
                           pcr_error_cosine(&m->error), m->error.max_abs,
                           pcr_error_rmse(&m->error));
        if (m->rows > 0) {
            double low, high;
            pcr_wilson(m->flips, m->rows, &low, &high);
            pcr_buf_printf(out, "; another class in %zu of %zu rows (%.2g to %.2g %%)", m->flips,
                           m->rows, 100 * low, 100 * high);
        }
        pcr_buf_char(out, '\n');
    }
}

static void json_number(struct pcr_json_writer *w, const char *key, double value) {
    pcr_json_key(w, key);
    if (isfinite(value))
        pcr_json_f64(w, value);
    else
        pcr_json_null(w);
}

static void json_latency(struct pcr_json_writer *w, size_t batch, const struct pcr_latency *l) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "batch");
    pcr_json_u64(w, batch);
    pcr_json_key(w, "runs");
    pcr_json_u64(w, l->runs);
    json_number(w, "p50_us", l->p50_us);
    json_number(w, "p99_us", l->p99_us);
    json_number(w, "mean_us", l->mean_us);
    json_number(w, "speedup", l->speedup);
    json_number(w, "speedup_low", l->low);
    json_number(w, "speedup_high", l->high);
    pcr_json_object_end(w);
}

static void json_model(struct pcr_json_writer *w, const struct bench *b, size_t at) {
    const struct model *m = &b->models[at];
    pcr_json_object_begin(w);
    pcr_json_key(w, "model");
    pcr_json_text(w, m->path);
    pcr_json_key(w, "bytes");
    pcr_json_u64(w, m->bytes);
    pcr_json_key(w, "memory_bytes");
    pcr_json_u64(w, m->memory);
    pcr_json_key(w, "latencies");
    pcr_json_array_begin(w);
    for (size_t k = 0; k < b->n_batches; k++)
        if (m->latency[k].runs > 0)
            json_latency(w, b->batches[k], &m->latency[k]);
    pcr_json_array_end(w);
    if (at > 0) {
        json_number(w, "snr_db", pcr_error_snr_db(&m->error));
        json_number(w, "cosine", pcr_error_cosine(&m->error));
        json_number(w, "max_abs", m->error.max_abs);
        json_number(w, "rmse", pcr_error_rmse(&m->error));
        pcr_json_key(w, "rows");
        pcr_json_u64(w, m->rows);
        pcr_json_key(w, "flips");
        pcr_json_u64(w, m->flips);
    }
    pcr_json_object_end(w);
}

static void write_json(const struct bench *b, struct pcr_buf *out) {
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, out);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "rows");
    pcr_json_i64(&w, b->data.rows);
    pcr_json_key(&w, "drawn");
    pcr_json_bool(&w, !pcr_cli_has(b->args, "data"));
    pcr_json_key(&w, "models");
    pcr_json_array_begin(&w);
    for (size_t i = 0; i < b->n_models; i++)
        json_model(&w, b, i);
    pcr_json_array_end(&w);
    pcr_json_object_end(&w);
    pcr_buf_char(out, '\n');
}

static int show(const struct bench *b) {
    struct pcr_buf out;
    pcr_buf_init(&out, OUTPUT_BYTES_MAX);
    if (pcr_cli_has(b->args, "json"))
        write_json(b, &out);
    else
        write_text(b, &out);
    int rc = pcr_cli_print(&out);
    pcr_buf_fini(&out);
    return rc;
}

static int run(const struct pcr_cli_args *args) {
    struct bench *b = calloc(1, sizeof *b);
    if (!b)
        return pcr_cli_fail(PCR_EXIT_FAILURE, "out of memory");
    b->args = args;
    pcr_cli_keep_memory();
    pcr_arena_init(&b->arena, ARENA_BYTES_MAX);
    pcr_progress_init(&b->progress, pcr_cli_has(args, "quiet"));
    int rc = read_options(b);
    if (rc == PCR_EXIT_OK)
        rc = open_models(b);
    if (rc == PCR_EXIT_OK)
        rc = read_rows(b);
    if (rc == PCR_EXIT_OK)
        rc = measure(b);
    pcr_progress_clear(&b->progress);
    if (rc == PCR_EXIT_OK)
        rc = show(b);
    for (size_t i = 0; i < b->n_models; i++)
        pacer_session_put(b->models[i].session);
    pcr_arena_fini(&b->arena);
    free(b);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "data",
     .letter = 'd',
     .metavar = "DATA",
     .help = "rows to run on: CSV, NPY, NPZ, JSON lines",
     .default_text = "drawn"},
    {.name = "batch",
     .letter = 'b',
     .metavar = "LIST",
     .help = "rows of a run",
     .default_text = "1,8,64"},
    {.name = "seconds",
     .metavar = "S",
     .help = "time for each model and batch size",
     .default_text = "0.5"},
    {.name = "rows",
     .metavar = "N",
     .help = "rows to draw, or the most to take from the data",
     .default_text = "1000"},
    {.name = "seed", .metavar = "N", .help = "of drawn rows", .default_text = "0"},
    {.name = "threads", .metavar = "N", .help = "threads of one run", .default_text = "1"},
    {.name = "json", .letter = 'j', .help = "as one JSON object"},
    {.name = "quiet", .letter = 'q', .help = "no progress"},
};

const struct pcr_cli_command pcr_cmd_bench = {
    .name = "bench",
    .operands = "MODEL…",
    .summary = "time models beside each other, and compare what they answer",
    .text = "Runs variants of a model on the same rows: in turns, in short blocks, so that\n"
            "what disturbs one disturbs all, and with other rows at each run. The first\n"
            "MODEL is the one that the others are compared with.",
    .complete = "file",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .n_operands_min = 1,
    .n_operands_max = PCR_LATENCY_SESSIONS_MAX,
    .run = run,
};
