// SPDX-License-Identifier: Apache-2.0
// What a quantization gained and lost, and how that is shown.
#ifndef PCR_QUANTIZE_REPORT_H
#define PCR_QUANTIZE_REPORT_H

#include "base/base.h"

#include <pacer/quantize.h>

// How far numbers are from those of FP32. SNR is infinite where they are equal.
struct pcr_quant_error {
    double snr_db, cosine, max_abs, rmse;
};

struct pcr_quant_layer_report {
    const char *name, *op;
    size_t weights;       // numbers
    double weight_snr_db; // of the rounded weights
    double clipped;       // share of the weights beyond the range
    bool is_left;         // stays FP32, by the limits
    bool is_measured;
    struct pcr_quant_error alone;      // this layer INT8, all before it FP32
    struct pcr_quant_error cumulative; // all INT8 that are; not of layers that are left
    double fp32_us, int8_us;           // median of the layer by itself
    double harm;                       // to the limits, this layer alone INT8; NAN: not asked for
};

struct pcr_quant_latency {
    size_t batch;
    double fp32_p50_us, fp32_p99_us, int8_p50_us, int8_p99_us;
    double speedup, low, high; // fp32 / int8 of the medians, and its 95 % interval
};

struct pcr_quant_output {
    const char *name;
    struct pcr_quant_error error;
    bool has_classes; // a class per row: the largest column, or the label itself
    size_t rows, flips;
    double flips_low, flips_high; // Wilson's 95 % interval of their share
    struct {
        size_t row;
        double distance; // largest absolute difference in that row
        bool is_flip;
    } worst[10];
    size_t n_worst;
};

struct pcr_quant_skip;

struct pacer_quantize_report {
    struct pcr_arena arena;
    enum pacer_quantize_verdict verdict;
    const char *in, *out, *source_version;
    bool is_static, per_channel, reduce_range, forced, is_measured, is_drawn;
    const char *method, *target, *processor, *runtime;
    const char *calibration, *data; // the files' paths, or NULL: none; drawn rows
    int64_t opset_before, opset_after;
    size_t rows, layer_rows, calibration_rows;
    uint64_t seed;
    uint64_t bytes_before, bytes_after;   // of files; after: 0 where nothing was written
    uint64_t memory_before, memory_after; // that a session takes; 0: not measured
    struct pcr_quant_layer_report *layers;
    size_t n_layers;
    const struct pcr_quant_skip *skips;
    size_t n_skips;
    struct pcr_quant_latency *latencies;
    size_t n_latencies;
    struct pcr_quant_output *outputs;
    size_t n_outputs;
    double max_flips, min_snr_db, max_rmse;
    const char *summary;
    struct pcr_buf text, json, html; // made when all is known
};

// Each fills its buffer in; PACER_ENOMEM.
int pcr_quant_report_text(struct pacer_quantize_report *report, struct pacer_error *err);
int pcr_quant_report_json(struct pacer_quantize_report *report, struct pacer_error *err);
int pcr_quant_report_html(struct pacer_quantize_report *report, struct pacer_error *err);
// The summary, from all the rest.
int pcr_quant_report_sum_up(struct pacer_quantize_report *report, struct pacer_error *err);

#endif
