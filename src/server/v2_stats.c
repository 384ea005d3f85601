// SPDX-License-Identifier: Apache-2.0
// What the Open Inference Protocol tells of the work done: the statistics extension.
//
// perf_analyzer reads every field of `inference_stats` without looking whether it is there, and
// ends unless the three counts of computing are equal. What is our own stands in a member of its
// own, `batching`, which clients of the protocol skip.
#include "server/v2.h"

#include <math.h>

static void write_count(struct pcr_json_writer *writer, const char *key, uint64_t count) {
    pcr_json_key(writer, key);
    pcr_json_u64(writer, count);
}

static void write_duration(struct pcr_json_writer *writer, const char *key, uint64_t count,
                           uint64_t ns) {
    pcr_json_key(writer, key);
    pcr_json_object_begin(writer);
    write_count(writer, "count", count);
    write_count(writer, "ns", ns);
    pcr_json_object_end(writer);
}

// Runs by their rows, in the protocol's form; inputs and outputs are not timed by size.
static void write_batch_stats(struct pcr_json_writer *writer, const struct pcr_model *model) {
    struct pcr_model_sizes sizes;
    pcr_model_sizes(model, &sizes);
    pcr_json_key(writer, "batch_stats");
    pcr_json_array_begin(writer);
    for (uint64_t rows = 1; rows <= PCR_MODEL_SIZES_MAX; rows++) {
        if (sizes.count[rows] == 0)
            continue;
        pcr_json_object_begin(writer);
        write_count(writer, "batch_size", rows);
        write_duration(writer, "compute_input", 0, 0);
        write_duration(writer, "compute_infer", sizes.count[rows], sizes.infer_ns[rows]);
        write_duration(writer, "compute_output", 0, 0);
        pcr_json_object_end(writer);
    }
    pcr_json_array_end(writer);
}

static const char *rows_word(const struct pcr_model *model) {
    switch (pcr_session_rows(model->session)) {
    case PCR_ROWS_APART:
        return "apart";
    case PCR_ROWS_TOGETHER:
        return "together";
    case PCR_ROWS_UNKNOWN:
        return "unknown";
    default:
        return "none";
    }
}

// Not of the protocol, whose clients skip it: how the model's requests are batched, t(n) = run +
// n · row as learnt so far, and what was not computed.
static void write_batching(struct pcr_json_writer *writer, const struct pcr_model *model,
                           const struct pcr_model_stats *stats) {
    struct pcr_model_load load;
    pcr_model_load_now(model, &load);
    pcr_json_key(writer, "batching");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "rows");
    pcr_json_text(writer, rows_word(model));
    pcr_json_key(writer, "merges");
    pcr_json_bool(writer, model->merges);
    write_count(writer, "rows_max", model->rows_max);
    pcr_json_key(writer, "cost_ns");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "run");
    pcr_json_f64(writer, round(load.a_ns));
    pcr_json_key(writer, "row");
    pcr_json_f64(writer, round(load.b_ns * 10) / 10);
    pcr_json_object_end(writer);
    write_count(writer, "inline_executions", stats->inline_count);
    write_count(writer, "retried_alone", stats->retried_count);
    write_count(writer, "waiting", load.waiting);
    pcr_json_key(writer, "not_computed");
    pcr_json_object_begin(writer);
    write_count(writer, "queue_full", stats->full_count);
    write_count(writer, "deadline_foreseen", stats->late_count);
    write_count(writer, "deadline_passed", stats->expired_count);
    write_count(writer, "client_gone", stats->canceled_count);
    pcr_json_object_end(writer);
    pcr_json_object_end(writer);
}

// perf_analyzer ends unless the three counts of computing are equal, so all are the runs; inputs
// and outputs are borrowed, not copied, and mostly take no time of their own.
static void write_stats(struct pcr_json_writer *writer, const struct pcr_model *model) {
    struct pcr_model_stats stats;
    pcr_model_stats(model, &stats);
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "name");
    pcr_json_text(writer, model->name);
    pcr_json_key(writer, "version");
    pcr_json_text(writer, model->version);
    write_count(writer, "last_inference", stats.last_inference_ms);
    write_count(writer, "inference_count", stats.inference_count);
    write_count(writer, "execution_count", stats.execution_count);
    pcr_json_key(writer, "inference_stats");
    pcr_json_object_begin(writer);
    write_duration(writer, "success", stats.success_count, stats.success_ns);
    write_duration(writer, "fail", stats.fail_count, stats.fail_ns);
    write_duration(writer, "queue", stats.queue_count, stats.queue_ns);
    write_duration(writer, "compute_input", stats.infer_count, stats.input_ns);
    write_duration(writer, "compute_infer", stats.infer_count, stats.infer_ns);
    write_duration(writer, "compute_output", stats.infer_count, stats.output_ns);
    write_duration(writer, "cache_hit", stats.kept_count, stats.kept_ns);
    write_duration(writer, "cache_miss", stats.unkept_count, stats.unkept_ns);
    pcr_json_object_end(writer);
    write_batch_stats(writer, model);
    write_batching(writer, model, &stats);
    pcr_json_object_end(writer);
}

// Of all ready models, or of the versions of one.
static void write_all_stats(struct pcr_app *app, struct pcr_json_writer *writer,
                            const struct pcr_model_status *index, size_t n, struct pcr_str only) {
    for (size_t i = 0; i < n; i++) {
        if (index[i].state != PCR_MODEL_READY ||
            (only.ptr && !pcr_str_eq(only, pcr_str(index[i].name))))
            continue;
        struct pcr_model *model = pcr_repository_get(app->repository, pcr_str(index[i].name),
                                                     pcr_str(index[i].version), NULL);
        if (!model) // unloaded meanwhile
            continue;
        write_stats(writer, model);
        pcr_model_unref(model);
    }
}

void pcr_v2_stats(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    struct pcr_model *model = NULL;
    struct pcr_model_status *index;
    size_t n = 0;
    struct pcr_buf *buf;
    if (match->n_params > 0) {
        model = pcr_v2_model_or_reply(
            app, request,
            match); // also where all versions are asked for: 404 if it is unknown
        if (!model)
            return;
    }
    if (pcr_repository_index(app->repository, &request->arena, &index, &n) < 0) {
        pcr_reply_error(request, 503, "no memory for the answer");
    } else if (pcr_reply_buf_init(request, &buf)) {
        struct pcr_json_writer writer;
        pcr_json_writer_init(&writer, buf);
        pcr_json_object_begin(&writer);
        pcr_json_key(&writer, "model_stats");
        pcr_json_array_begin(&writer);
        if (match->n_params > 1)
            write_stats(&writer, model);
        else
            write_all_stats(app, &writer, index, n,
                            match->n_params ? match->params[0] : (struct pcr_str){0});
        pcr_json_array_end(&writer);
        pcr_json_object_end(&writer);
        pcr_reply_buf(request, buf);
    }
    pcr_model_unref(model);
}
