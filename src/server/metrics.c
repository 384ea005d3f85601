// SPDX-License-Identifier: Apache-2.0
// GET /metrics: what the process counts, in Prometheus' text exposition format 0.0.4.
//
// Nothing is counted for this page: it reads the counters that the HTTP servers, the models and the
// decisions keep anyway, all of them relaxed atomics, so a scrape holds up no request. The format
// wants all samples of a family in one block, so the models are read once into rows and each family
// is written over those rows; a model that is unloaded in the middle is whole or absent, never
// half. Counters of a model or a decision begin at 0 with each load of it, which Prometheus takes
// for a reset, as it is one.
//
// Rejected: a registry that every room announces its counters to. It would need a lock, and names
// far from the place where they can be read together.
#include "server/cache_figures.h"
#include "server/v2.h"

#include <pacer/pacer.h>

struct label {
    const char *name, *value; // NULL: none
};

struct sample { // of a struct of uint64_t counters: which one
    struct label label;
    size_t offset;
};

enum unit { COUNT, SECONDS }; // SECONDS: the counter is in ns

struct family {
    const char *name, *type, *help;
    enum unit unit;
    struct sample samples[4];
    size_t n_samples;
};

#define HTTP(member) {{{NULL, NULL}, offsetof(struct pcr_http_server_stats, member)}}, 1
#define DECISION(member) {{{NULL, NULL}, offsetof(struct pcr_decision_stats, member)}}, 1
#define MODEL_AT(member) offsetof(struct pcr_model_stats, member)
#define MODEL(member) {{{NULL, NULL}, MODEL_AT(member)}}, 1

static const struct family http_families[] = {
    {"pacer_http_connections_open", "gauge", "Connections that are open now.", COUNT,
     HTTP(connections_open)},
    {"pacer_http_connections_total", "counter", "Connections accepted.", COUNT,
     HTTP(connections_total)},
    {"pacer_http_requests_total", "counter", "Requests answered or being answered, refused too.",
     COUNT, HTTP(requests)},
    {"pacer_http_refused_total", "counter",
     "Requests refused before a route saw them, and connections beyond the limits.", COUNT,
     HTTP(refused)},
    {"pacer_http_timeouts_total", "counter",
     "Connections cut because a head, a body or the taking of an answer took too long.", COUNT,
     HTTP(timeouts)},
};

static const struct family model_families[] = {
    {"pacer_model_inferences_total", "counter", "Rows computed: a batch counts each of its rows.",
     COUNT, MODEL(inference_count)},
    {"pacer_model_executions_total", "counter", "Runs of the model: a batch counts once.", COUNT,
     MODEL(execution_count)},
    {"pacer_model_requests_total",
     "counter",
     "Requests by result, those answered from the cache included.",
     COUNT,
     {{{"result", "success"}, MODEL_AT(success_count)},
      {{"result", "failure"}, MODEL_AT(fail_count)}},
     2},
    {"pacer_model_request_seconds_total",
     "counter",
     "Time of requests, by result.",
     SECONDS,
     {{{"result", "success"}, MODEL_AT(success_ns)}, {{"result", "failure"}, MODEL_AT(fail_ns)}},
     2},
    {"pacer_model_inline_executions_total", "counter",
     "Runs on the thread of an event loop, of all executions; the others were on workers.", COUNT,
     MODEL(inline_count)},
    {"pacer_model_retried_total", "counter",
     "Requests that were run again alone because the run they shared had failed.", COUNT,
     MODEL(retried_count)},
    {"pacer_model_not_computed_total",
     "counter",
     "Requests that were not computed, by cause.",
     COUNT,
     {{{"cause", "queue_full"}, MODEL_AT(full_count)},
      {{"cause", "deadline_foreseen"}, MODEL_AT(late_count)},
      {{"cause", "deadline_passed"}, MODEL_AT(expired_count)},
      {{"cause", "client_gone"}, MODEL_AT(canceled_count)}},
     4},
    {"pacer_model_queue_seconds_total", "counter", "Time that runs waited for a worker.", SECONDS,
     MODEL(queue_ns)},
    {"pacer_model_compute_seconds_total",
     "counter",
     "Time spent on reading inputs, running the model and writing outputs.",
     SECONDS,
     {{{"phase", "input"}, MODEL_AT(input_ns)},
      {{"phase", "infer"}, MODEL_AT(infer_ns)},
      {{"phase", "output"}, MODEL_AT(output_ns)}},
     3},
};

static const struct family decision_families[] = {
    {"pacer_decision_answers_total", "counter", "Decisions answered.", COUNT, DECISION(answered)},
    {"pacer_decision_fallbacks_total", "counter",
     "Answers that were the fallback action, for want of confidence.", COUNT, DECISION(fallbacks)},
    {"pacer_decision_bad_requests_total", "counter",
     "Requests for a decision that were malformed or out of range.", COUNT, DECISION(bad_requests)},
    {"pacer_decision_contract_violations_total", "counter",
     "Answers that broke their contract and were not sent.", COUNT, DECISION(contract_violations)},
    {"pacer_decision_failures_total", "counter",
     "Decisions that failed otherwise: no model, no memory, no room, a model's error.", COUNT,
     DECISION(failures)},
};

// --- the format ---------------------------------------------------------------------------------

static void write_head(struct pcr_buf *buf, const char *name, const char *type, const char *help) {
    pcr_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// Labels stand between braces; `open` says whether one was written already.
static void write_label(struct pcr_buf *buf, bool *open, struct label label) {
    if (!label.name)
        return;
    pcr_buf_char(buf, *open ? ',' : '{');
    *open = true;
    pcr_buf_text(buf, label.name);
    pcr_buf_text(buf, "=\"");
    for (const char *c = label.value; *c; c++) {
        if (*c == '\\' || *c == '"')
            pcr_buf_char(buf, '\\');
        if (*c == '\n')
            pcr_buf_text(buf, "\\n");
        else
            pcr_buf_char(buf, *c);
    }
    pcr_buf_char(buf, '"');
}

// Exact, and in every locale with a point.
static void write_value(struct pcr_buf *buf, enum unit unit, uint64_t value) {
    if (unit == SECONDS)
        pcr_buf_printf(buf, " %llu.%09llu\n", (unsigned long long)(value / PCR_NS_PER_S),
                       (unsigned long long)(value % PCR_NS_PER_S));
    else
        pcr_buf_printf(buf, " %llu\n", (unsigned long long)value);
}

static void write_sample(struct pcr_buf *buf, const char *name, const struct label *labels,
                         size_t n_labels) {
    bool open = false;
    pcr_buf_text(buf, name);
    for (size_t i = 0; i < n_labels; i++)
        write_label(buf, &open, labels[i]);
    if (open)
        pcr_buf_char(buf, '}');
}

// The samples of a family that belong to one struct of counters.
static void write_counters(struct pcr_buf *buf, const struct family *family, const void *counters,
                           struct label first, struct label second) {
    for (size_t i = 0; i < family->n_samples; i++) {
        const struct sample *sample = &family->samples[i];
        const struct label labels[] = {first, second, sample->label};
        uint64_t value;
        memcpy(&value, (const char *)counters + sample->offset, sizeof value);
        write_sample(buf, family->name, labels, PCR_COUNT_OF(labels));
        write_value(buf, family->unit, value);
    }
}

// --- what there is ------------------------------------------------------------------------------

static void write_process(const struct pcr_app *app, struct pcr_buf *buf) {
    const struct label build[] = {{"version", app->server_version},
                                  {"onnxruntime", pcr_infer_runtime_version()}};
    write_head(buf, "pacer_build_info", "gauge", "1; the labels say which versions run.");
    write_sample(buf, "pacer_build_info", build, PCR_COUNT_OF(build));
    write_value(buf, COUNT, 1);
    // The one name without our prefix: every exporter calls it this, and alerts look for it.
    write_head(buf, "process_start_time_seconds", "gauge",
               "When the process started, in seconds since 1970.");
    pcr_buf_text(buf, "process_start_time_seconds");
    write_value(buf, SECONDS, app->started_real_ns);
}

static void write_http(const struct pcr_app *app, struct pcr_buf *buf) {
    struct pcr_http_server_stats stats;
    app->http_stats(app, &stats);
    for (size_t i = 0; i < PCR_COUNT_OF(http_families); i++) {
        const struct family *family = &http_families[i];
        write_head(buf, family->name, family->type, family->help);
        write_counters(buf, family, &stats, (struct label){0}, (struct label){0});
    }
}

struct model_row {
    struct label name, version;
    bool ready;
    struct pcr_model_stats stats;
    struct pcr_model_sizes sizes;
    struct pcr_model_load load;
    uint64_t rows_max;
};

static int read_models(struct pcr_app *app, struct pcr_arena *arena, struct model_row **out,
                       size_t *n) {
    struct pcr_model_status *index;
    int rc = pcr_repository_index(app->repository, arena, &index, n);
    if (rc < 0)
        return rc;
    struct model_row *rows = pcr_arena_calloc(arena, *n + 1, sizeof *rows);
    if (!rows)
        return PACER_ENOMEM;
    for (size_t i = 0; i < *n; i++) {
        rows[i].name = (struct label){"model", index[i].name};
        rows[i].version = (struct label){"version", index[i].version};
        struct pcr_model *model = NULL;
        if (index[i].state == PCR_MODEL_READY)
            model = pcr_repository_get(app->repository, pcr_str(index[i].name),
                                       pcr_str(index[i].version), NULL);
        rows[i].ready = model != NULL;
        if (model) {
            pcr_model_stats(model, &rows[i].stats);
            pcr_model_sizes(model, &rows[i].sizes);
            pcr_model_load_now(model, &rows[i].load);
            rows[i].rows_max = model->rows_max;
        }
        pcr_model_unref(model);
    }
    *out = rows;
    return 0;
}

static void write_row_gauge(struct pcr_buf *buf, const char *name, const struct model_row *row,
                            struct label more, enum unit unit, uint64_t value) {
    const struct label labels[] = {row->name, row->version, more};
    write_sample(buf, name, labels, PCR_COUNT_OF(labels));
    write_value(buf, unit, value);
}

// Rows of a run as a histogram of 1, 2, 4 … 256 and more.
static void write_sizes(struct pcr_buf *buf, const struct model_row *row) {
    uint64_t below = 0;
    uint64_t rows = 1;
    for (uint64_t end = 1; end <= PCR_MODEL_SIZES_MAX; end *= 2) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)end);
        for (; rows <= end; rows++)
            below += row->sizes.count[rows];
        write_row_gauge(buf, "pacer_model_batch_rows_bucket", row, (struct label){"le", text},
                        COUNT, below);
    }
    below += row->sizes.count[0];
    write_row_gauge(buf, "pacer_model_batch_rows_bucket", row, (struct label){"le", "+Inf"}, COUNT,
                    below);
    write_row_gauge(buf, "pacer_model_batch_rows_sum", row, (struct label){0}, COUNT,
                    row->sizes.rows);
    write_row_gauge(buf, "pacer_model_batch_rows_count", row, (struct label){0}, COUNT, below);
}

static void write_batching(struct pcr_buf *buf, const struct model_row *rows, size_t n) {
    const struct label none = {0};
    write_head(buf, "pacer_model_batch_rows", "histogram", "Rows of the runs of a model.");
    for (size_t i = 0; i < n; i++)
        if (rows[i].ready)
            write_sizes(buf, &rows[i]);
    write_head(buf, "pacer_model_queue_requests", "gauge", "Requests that wait for a worker now.");
    for (size_t i = 0; i < n; i++)
        if (rows[i].ready)
            write_row_gauge(buf, "pacer_model_queue_requests", &rows[i], none, COUNT,
                            rows[i].load.waiting);
    write_head(buf, "pacer_model_batch_rows_max", "gauge",
               "Most rows of a run that requests share.");
    for (size_t i = 0; i < n; i++)
        if (rows[i].ready)
            write_row_gauge(buf, "pacer_model_batch_rows_max", &rows[i], none, COUNT,
                            rows[i].rows_max);
    write_head(buf, "pacer_model_cost_seconds", "gauge",
               "What a run costs, as learnt: of the run itself, and of each of its rows.");
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].ready)
            continue;
        write_row_gauge(buf, "pacer_model_cost_seconds", &rows[i], (struct label){"of", "run"},
                        SECONDS, (uint64_t)rows[i].load.a_ns);
        write_row_gauge(buf, "pacer_model_cost_seconds", &rows[i], (struct label){"of", "row"},
                        SECONDS, (uint64_t)rows[i].load.b_ns);
    }
}

static void write_models(struct pcr_buf *buf, const struct model_row *rows, size_t n) {
    const char *ready = "pacer_model_ready";
    write_head(buf, ready, "gauge", "1 if this version of the model can be asked, else 0.");
    for (size_t i = 0; i < n; i++) {
        const struct label labels[] = {rows[i].name, rows[i].version};
        write_sample(buf, ready, labels, PCR_COUNT_OF(labels));
        write_value(buf, COUNT, rows[i].ready);
    }
    for (size_t f = 0; f < PCR_COUNT_OF(model_families); f++) {
        const struct family *family = &model_families[f];
        write_head(buf, family->name, family->type, family->help);
        for (size_t i = 0; i < n; i++)
            if (rows[i].ready)
                write_counters(buf, family, &rows[i].stats, rows[i].name, rows[i].version);
    }
    write_batching(buf, rows, n);
}

static void write_decisions(const struct pcr_generation *generation, struct pcr_buf *buf) {
    for (size_t f = 0; f < PCR_COUNT_OF(decision_families); f++) {
        const struct family *family = &decision_families[f];
        write_head(buf, family->name, family->type, family->help);
        for (size_t i = 0; i < generation->n_decisions; i++) {
            const struct pcr_decision *decision = generation->decisions[i];
            struct pcr_decision_stats stats;
            pcr_decision_stats(decision, &stats);
            struct label path = {"path", pcr_decision_path(decision)};
            write_counters(buf, family, &stats, path, (struct label){0});
        }
    }
}

void pcr_metrics(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match) {
    (void)match;
    struct pcr_buf *buf;
    struct model_row *rows;
    size_t n;
    if (!pcr_reply_buf_init(request, &buf))
        return;
    if (read_models(app, &request->arena, &rows, &n) < 0) {
        pcr_reply_error(request, 503, "no memory for the answer");
        return;
    }
    write_process(app, buf);
    write_http(app, buf);
    write_models(buf, rows, n);
    write_decisions(app->generation, buf);
    if (app->cache)
        pcr_cache_figures_prometheus(app->cache, buf);
    if (buf->failed) {
        pcr_reply_error(request, 503, "no memory for the answer");
        return;
    }
    struct pcr_http_reply reply = {
        .status = 200, .content_type = PCR_METRICS_TYPE, .body = pcr_buf_view(buf)};
    pcr_http_reply(request, &reply);
}
