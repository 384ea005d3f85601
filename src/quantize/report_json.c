// SPDX-License-Identifier: Apache-2.0
// The report as one JSON object. Units are in the names; what is infinite or not known is null.
#include "quantize/plan.h"
#include "quantize/report.h"
#include "json/json.h"

#include <math.h>

static void number(struct pcr_json_writer *w, const char *key, double value) {
    pcr_json_key(w, key);
    if (isfinite(value))
        pcr_json_f64(w, value);
    else
        pcr_json_null(w);
}

static void count(struct pcr_json_writer *w, const char *key, uint64_t value) {
    pcr_json_key(w, key);
    pcr_json_u64(w, value);
}

static void flag(struct pcr_json_writer *w, const char *key, bool value) {
    pcr_json_key(w, key);
    pcr_json_bool(w, value);
}

static void text(struct pcr_json_writer *w, const char *key, const char *value) {
    pcr_json_key(w, key);
    if (value)
        pcr_json_text(w, value);
    else
        pcr_json_null(w);
}

static void error(struct pcr_json_writer *w, const char *key, const struct pcr_quant_error *e) {
    pcr_json_key(w, key);
    pcr_json_object_begin(w);
    number(w, "snr_db", e->snr_db);
    number(w, "cosine", e->cosine);
    number(w, "max_abs", e->max_abs);
    number(w, "rmse", e->rmse);
    pcr_json_object_end(w);
}

static void write_head(struct pcr_json_writer *w, const struct pacer_quantize_report *r) {
    static const char *const verdicts[] = {"written", "nothing_to_quantize", "slower",
                                           "limits_missed"};
    text(w, "verdict", verdicts[r->verdict]);
    text(w, "summary", r->summary);
    text(w, "input", r->in);
    text(w, "output", r->bytes_after ? r->out : NULL);
    text(w, "source_version", r->source_version);
    text(w, "kind", r->is_static ? "static" : "dynamic");
    text(w, "method", r->is_static ? r->method : NULL);
    flag(w, "per_channel", r->per_channel);
    flag(w, "reduce_range", r->reduce_range);
    text(w, "target", r->target);
    text(w, "processor", r->processor);
    text(w, "runtime", r->runtime);
    pcr_json_key(w, "opset_before");
    pcr_json_i64(w, r->opset_before);
    pcr_json_key(w, "opset_after");
    pcr_json_i64(w, r->opset_after);
    text(w, "calibration", r->calibration);
    count(w, "calibration_rows", r->calibration_rows);
    text(w, "data", r->data);
    flag(w, "drawn", r->is_drawn);
    count(w, "rows", r->rows);
    count(w, "seed", r->seed);
    count(w, "bytes_before", r->bytes_before);
    count(w, "bytes_after", r->bytes_after);
    count(w, "memory_before_bytes", r->memory_before);
    count(w, "memory_after_bytes", r->memory_after);
    number(w, "max_flips", r->max_flips >= 0 ? r->max_flips : (double)NAN);
    number(w, "min_snr_db", r->min_snr_db > 0 ? r->min_snr_db : (double)NAN);
    number(w, "max_rmse", r->max_rmse >= 0 ? r->max_rmse : (double)NAN);
}

static void write_latencies(struct pcr_json_writer *w, const struct pacer_quantize_report *r) {
    pcr_json_key(w, "latencies");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct pcr_quant_latency *l = &r->latencies[i];
        pcr_json_object_begin(w);
        count(w, "batch", l->batch);
        number(w, "fp32_p50_us", l->fp32_p50_us);
        number(w, "fp32_p99_us", l->fp32_p99_us);
        number(w, "int8_p50_us", l->int8_p50_us);
        number(w, "int8_p99_us", l->int8_p99_us);
        number(w, "speedup", l->speedup);
        number(w, "speedup_low", l->low);
        number(w, "speedup_high", l->high);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void write_worst(struct pcr_json_writer *w, const struct pcr_quant_output *o) {
    pcr_json_key(w, "worst_rows");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < o->n_worst; i++) {
        pcr_json_object_begin(w);
        count(w, "row", o->worst[i].row);
        number(w, "max_abs", o->worst[i].distance);
        flag(w, "other_class", o->worst[i].is_flip);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void write_outputs(struct pcr_json_writer *w, const struct pacer_quantize_report *r) {
    pcr_json_key(w, "outputs");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < r->n_outputs; i++) {
        const struct pcr_quant_output *o = &r->outputs[i];
        pcr_json_object_begin(w);
        text(w, "name", o->name);
        error(w, "error", &o->error);
        count(w, "rows", o->rows);
        flag(w, "has_classes", o->has_classes);
        if (o->has_classes) {
            count(w, "flips", o->flips);
            number(w, "flips_low", o->flips_low);
            number(w, "flips_high", o->flips_high);
        }
        write_worst(w, o);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void write_layers(struct pcr_json_writer *w, const struct pacer_quantize_report *r) {
    pcr_json_key(w, "layers");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct pcr_quant_layer_report *l = &r->layers[i];
        pcr_json_object_begin(w);
        text(w, "name", l->name);
        text(w, "operator", l->op);
        count(w, "weights", l->weights);
        number(w, "weight_snr_db", l->weight_snr_db);
        number(w, "clipped", l->clipped);
        flag(w, "stays_fp32", l->is_left);
        if (l->is_measured) {
            error(w, "alone", &l->alone);
            error(w, "cumulative", &l->cumulative);
            number(w, "fp32_us", l->fp32_us);
            number(w, "int8_us", l->int8_us);
            number(w, "harm", l->harm);
        }
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
    pcr_json_key(w, "not_quantized");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < r->n_skips; i++) {
        pcr_json_object_begin(w);
        text(w, "name", r->skips[i].name);
        text(w, "operator", r->skips[i].op);
        text(w, "why", r->skips[i].why);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

int pcr_quant_report_json(struct pacer_quantize_report *r, struct pacer_error *err) {
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, &r->json);
    pcr_json_object_begin(&w);
    write_head(&w, r);
    write_latencies(&w, r);
    write_outputs(&w, r);
    write_layers(&w, r);
    pcr_json_object_end(&w);
    pcr_buf_char(&r->json, '\n');
    return r->json.failed ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory") : 0;
}
