// SPDX-License-Identifier: Apache-2.0
// What each layer, and the model as a whole, loses by being INT8.
//
// A layer by itself is a model of one node that is fed what flowed into it in the FP32 model: so
// its error is its own, and its time can be told. The cumulative error is that of the same tensor
// in the quantized model, where all layers before it have added theirs.
//
// Dynamic quantization takes the range of a whole run, so rows of one run change each other's
// answers; they are given one by one, as the server does with such models.
#include "quantize/job_priv.h"

#include <math.h>
#include <stdlib.h>

#define LAYER_ROWS_MAX 256
#define BATCH_ROWS 8       // of the layers: all that flows through the model is in memory
#define TIMING_RUNS_MIN 15 // per layer and variant
#define TIMING_RUNS_MAX 201
#define TIMING_NS (40 * PCR_NS_PER_MS)

// --- the layers ---------------------------------------------------------------------------------
struct layer {
    const char *flows[PCR_QUANT_FLOWS_MAX];
    size_t n_flows;
    const char *output;
    struct pacer_session *int8;
    struct pcr_error_stats alone, cumulative;
};

struct layers {
    struct pcr_quant_job *job;
    struct layer *items;
    size_t n;
    const char **names; // what the FP32 probe gives
    size_t n_names;
    const char **outputs;              // of the layers, in their order
    struct pacer_session *fp32, *int8; // the whole model
    struct pcr_map index;              // name → position in `names` + 1
    size_t batch;
    bool times; // this is a run of one row, that layers are timed on
};

static bool is_model_input(const struct pcr_onnx_model *model, const char *name) {
    for (size_t i = 0; i < pcr_onnx_model_n_inputs(model); i++)
        if (strcmp(pcr_onnx_model_input(model, i), name) == 0)
            return true;
    return false;
}

static int note_name(struct layers *layers, const char *name) {
    if (pcr_map_get(&layers->index, pcr_str(name)) || is_model_input(layers->job->model, name))
        return 0;
    layers->names[layers->n_names++] = name;
    void *position = (void *)(uintptr_t)layers->n_names; // NOLINT(performance-no-int-to-ptr)
    return pcr_map_put(&layers->index, pcr_str(name), position, NULL) ? 0 : PACER_ENOMEM;
}

static int name_all(struct layers *layers) {
    struct pcr_quant_job *job = layers->job;
    layers->n = job->plan.n;
    layers->items = calloc(layers->n + 1, sizeof *layers->items);
    layers->names = calloc(layers->n * (PCR_QUANT_FLOWS_MAX + 1) + 1, sizeof *layers->names);
    layers->outputs = calloc(layers->n + 1, sizeof *layers->outputs);
    int code = layers->items && layers->names && layers->outputs ? 0 : PACER_ENOMEM;
    for (size_t i = 0; i < layers->n && code == 0; i++) {
        struct layer *layer = &layers->items[i];
        layer->output = pcr_quant_layer_output(&job->plan.layers[i]);
        layers->outputs[i] = layer->output;
        layer->n_flows = pcr_quant_layer_flows(job, i, layer->flows);
        code = note_name(layers, layer->output);
        for (size_t k = 0; k < layer->n_flows && code == 0; k++)
            code = note_name(layers, layer->flows[k]);
    }
    return code == 0 ? 0 : pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
}

static int open_all(struct layers *layers) {
    struct pcr_quant_job *job = layers->job;
    struct pcr_probe_how how = {layers->names, layers->n_names, true, job->options.threads,
                                job->in};
    pcr_onnx_model_restore(job->model, job->fp32);
    int code = pcr_probe_open(job->model, &how, &layers->fp32, job->err);
    for (size_t i = 0; i < layers->n && code == 0; i++) {
        code = pcr_quant_variant_layer(job, i, true, layers->fp32, &layers->items[i].int8);
        if (code == 0)
            code = pcr_quant_progress(job, "layers", i + 1, 2 * layers->n);
    }
    if (code < 0)
        return code;
    // Without optimisations where they would not leave a layer's output as it is.
    how = (struct pcr_probe_how){layers->outputs, layers->n, job->how.is_static,
                                 job->options.threads, "the quantized model"};
    code = pcr_quant_variant_make(job);
    if (code == 0)
        code = pcr_probe_open(job->model, &how, &layers->int8, job->err);
    pcr_onnx_model_restore(job->model, job->fp32);
    return code;
}

static void close_all(struct layers *layers) {
    for (size_t i = 0; layers->items && i < layers->n; i++)
        pacer_session_put(layers->items[i].int8);
    pacer_session_put(layers->fp32);
    pacer_session_put(layers->int8);
    pcr_map_fini(&layers->index);
    free(layers->items);
    free(layers->names);
    free(layers->outputs);
}

// What flows in a batch: computed by the model, or one of its inputs.
struct flow {
    const struct layers *layers;
    const struct pacer_tensor *inputs, *values;
};

static const struct pacer_tensor *value_of(const struct flow *flow, const char *name) {
    size_t at = (size_t)(uintptr_t)pcr_map_get(&flow->layers->index, pcr_str(name));
    if (at > 0)
        return &flow->values[at - 1];
    for (size_t i = 0; flow->inputs && i < flow->layers->job->data.n_tensors; i++)
        if (strcmp(flow->inputs[i].name, name) == 0)
            return &flow->inputs[i];
    return NULL;
}

static void add_error(struct pcr_error_stats *stats, const struct pacer_tensor *fp32,
                      const struct pacer_tensor *int8) {
    size_t n = 0, m = 0;
    if (!fp32 || fp32->dtype != PACER_FP32 || int8->dtype != PACER_FP32 ||
        pacer_shape_count(fp32->shape, fp32->rank, &n) < 0 ||
        pacer_shape_count(int8->shape, int8->rank, &m) < 0 || n != m)
        return;
    pcr_error_stats_add(stats, fp32->data, int8->data, n);
}

// The inputs of a layer by itself, as they flow in this batch.
static bool layer_inputs(const struct flow *flow, const struct layer *layer,
                         struct pacer_tensor inputs[PCR_QUANT_FLOWS_MAX]) {
    for (size_t i = 0; i < layer->n_flows; i++) {
        const struct pacer_tensor *value = value_of(flow, layer->flows[i]);
        if (!value)
            return false;
        inputs[i] = *value;
        inputs[i].name = layer->flows[i];
    }
    return true;
}

static int run_alone(const struct flow *flow, struct layer *layer, struct pcr_arena *arena,
                     struct pacer_error *err) {
    struct pacer_tensor inputs[PCR_QUANT_FLOWS_MAX];
    const struct pacer_tensor *outputs;
    size_t n;
    if (!layer_inputs(flow, layer, inputs))
        return 0;
    const struct pacer_run run = {inputs, layer->n_flows, NULL, 0};
    int code = pcr_session_run(layer->int8, &run, arena, &outputs, &n, err);
    if (code == 0)
        add_error(&layer->alone, value_of(flow, layer->output), &outputs[0]);
    return code;
}

// --- their times --------------------------------------------------------------------------------
static int by_time(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static int time_run(struct pacer_session *session, const struct pacer_run *run, uint64_t *ns,
                    struct pacer_error *err) {
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
    pcr_arena_init(&arena, SIZE_MAX / 2);
    uint64_t start = pcr_clock_mono_ns();
    int code = pcr_session_run(session, run, &arena, &outputs, &n, err);
    *ns = pcr_clock_mono_ns() - start;
    pcr_arena_fini(&arena);
    return code;
}

// Both in turns, so that what disturbs one disturbs the other.
static int time_pair(struct pacer_session *const sessions[2], const struct pacer_run *run,
                     double median_us[2], struct pacer_error *err) {
    uint64_t ns[2][TIMING_RUNS_MAX];
    uint64_t start = pcr_clock_mono_ns();
    size_t n = 0;
    int code = 0;
    while (n < TIMING_RUNS_MAX && code == 0 &&
           (n < TIMING_RUNS_MIN || pcr_clock_mono_ns() - start < TIMING_NS)) {
        code = time_run(sessions[0], run, &ns[0][n], err);
        if (code == 0)
            code = time_run(sessions[1], run, &ns[1][n], err);
        n += code == 0;
    }
    size_t middle = n / 2;
    for (size_t i = 0; i < 2 && n > 0; i++) {
        qsort(ns[i], n, sizeof ns[i][0], by_time);
        median_us[i] = (double)ns[i][middle] / 1e3;
    }
    return code;
}

static int time_layer(const struct flow *flow, size_t i) {
    struct pcr_quant_job *job = flow->layers->job;
    struct layer *layer = &flow->layers->items[i];
    struct pacer_tensor inputs[PCR_QUANT_FLOWS_MAX];
    struct pacer_session *fp32;
    double us[2] = {0, 0};
    if (!layer_inputs(flow, layer, inputs))
        return 0;
    int code = pcr_quant_variant_layer(job, i, false, flow->layers->fp32, &fp32);
    if (code < 0)
        return code;
    const struct pacer_run run = {inputs, layer->n_flows, NULL, 0};
    code = time_pair((struct pacer_session *const[]){fp32, layer->int8}, &run, us, job->err);
    pacer_session_put(fp32);
    job->report->layers[i].fp32_us = us[0];
    job->report->layers[i].int8_us = us[1];
    return code == 0
               ? pcr_quant_progress(job, "layers", flow->layers->n + i + 1, 2 * flow->layers->n)
               : code;
}

// --- a batch of them ----------------------------------------------------------------------------
static int see_batch(void *ctx, const struct pacer_tensor *values, size_t n_values, size_t first,
                     size_t n_rows) {
    struct layers *layers = ctx;
    struct pcr_quant_job *job = layers->job;
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
    (void)n_values;
    pcr_arena_init(&arena, SIZE_MAX / 2);
    struct pacer_tensor *inputs = pcr_data_views(&job->data, &arena);
    const struct flow flow = {layers, inputs, values};
    int code = inputs ? 0 : pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    if (code == 0) {
        pcr_rows_inputs(layers->int8, &job->data, first, n_rows, inputs);
        const struct pacer_run run = {inputs, job->data.n_tensors, layers->outputs, layers->n};
        code = pcr_session_run(layers->int8, &run, &arena, &outputs, &n, job->err);
    }
    for (size_t i = 0; i < layers->n && code == 0; i++) {
        if (layers->times) {
            code = time_layer(&flow, i);
            continue;
        }
        add_error(&layers->items[i].cumulative, value_of(&flow, layers->items[i].output),
                  &outputs[i]);
        code = run_alone(&flow, &layers->items[i], &arena, job->err);
    }
    pcr_arena_fini(&arena);
    return code;
}

struct pcr_quant_error pcr_quant_error_of(const struct pcr_error_stats *stats) {
    return (struct pcr_quant_error){pcr_error_snr_db(stats), pcr_error_cosine(stats),
                                    stats->max_abs, pcr_error_rmse(stats)};
}

static void report_layers(struct layers *layers) {
    for (size_t i = 0; i < layers->n; i++) {
        struct pcr_quant_layer_report *report = &layers->job->report->layers[i];
        report->is_measured = layers->items[i].alone.n > 0;
        report->alone = pcr_quant_error_of(&layers->items[i].alone);
        report->cumulative = pcr_quant_error_of(&layers->items[i].cumulative);
    }
}

static int run_all(struct layers *layers) {
    struct pcr_quant_job *job = layers->job;
    size_t rows = job->report->layer_rows;
    struct pcr_probe_run run = {.session = layers->fp32,
                                .data = &job->data,
                                .rows = pcr_rows_batch(layers->fp32, 1),
                                .batch = 1,
                                .outputs = layers->names,
                                .n_outputs = layers->n_names,
                                .each = see_batch,
                                .ctx = layers};
    layers->times = true;
    int code = pcr_probe_run(&run, job->err);
    layers->times = false;
    run.rows = rows;
    run.batch = job->how.is_static ? BATCH_ROWS : 1;
    return code == 0 ? pcr_probe_run(&run, job->err) : code;
}

int pcr_quant_evidence_layers(struct pcr_quant_job *job) {
    struct layers layers = {.job = job};
    size_t rows = (size_t)job->data.rows;
    job->report->layer_rows = rows < LAYER_ROWS_MAX ? rows : LAYER_ROWS_MAX;
    pcr_map_init(&layers.index);
    int code = name_all(&layers);
    if (code == 0)
        code = open_all(&layers);
    if (code == 0)
        code = run_all(&layers);
    if (code == 0)
        report_layers(&layers);
    close_all(&layers);
    return code;
}
