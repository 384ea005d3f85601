// SPDX-License-Identifier: Apache-2.0
// INT8 from FP32: smaller and often faster models, with the evidence of what was gained and lost.
//
//     struct pacer_quantize_options options = PACER_QUANTIZE_OPTIONS_INIT; // dynamic, measured
//     options.max_flips = 0.005; // at most 0.5 % of the rows may get another class
//     struct pacer_quantize_report *report;
//     if (pacer_quantize("regime.onnx", "regime.int8.onnx", &options, &report, &err) < 0)
//         return fail(err.message);
//     puts(pacer_quantize_report_text(report));
//     pacer_quantize_report_destroy(report);
//
// Without calibration data weights become INT8 and inputs are quantized by their own range, run by
// run (dynamic); with data every tensor between layers gets a fixed range (static, QDQ). The
// formulas are those of onnxruntime.quantization.
#ifndef PACER_QUANTIZE_H
#define PACER_QUANTIZE_H

#include <pacer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum pacer_calibration {
    PACER_CALIBRATION_MINMAX,     // the whole range that was seen
    PACER_CALIBRATION_PERCENTILE, // without the outermost values
    PACER_CALIBRATION_ENTROPY,    // the range that loses the least information (KL divergence)
};
// Whether weights take 7 bits only. Processors without VNNI add two products of 8 bits in 16, which
// saturates.
enum pacer_reduce_range {
    PACER_REDUCE_RANGE_AUTO, // as the target needs it
    PACER_REDUCE_RANGE_ON,
    PACER_REDUCE_RANGE_OFF,
};
enum pacer_quantize_target {
    PACER_TARGET_THIS, // the processor that this runs on
    PACER_TARGET_VNNI,
    PACER_TARGET_AVX2, // and AVX-512 without VNNI
    PACER_TARGET_ARM,
};

struct pacer_quantize_options {
    size_t size; // sizeof(struct pacer_quantize_options); set by …_INIT
    // What to do.
    const char *calibration; // a file of rows (CSV, NPY, NPZ, JSON lines); NULL: dynamic
    const char *data; // rows that the evidence is taken on; NULL: the calibration's, or drawn ones
    enum pacer_calibration method;
    double percentile; // of PACER_CALIBRATION_PERCENTILE; 0: 99.999
    bool per_channel;  // a scale per output channel of the weights
    enum pacer_reduce_range reduce_range;
    enum pacer_quantize_target target;
    const char *const *exclude; // nodes that stay as they are; "encoder/*" for all that begin so
    size_t n_exclude;
    const char *const *ops; // only these operators; none: all that can be
    size_t n_ops;
    // What may be lost; a limit that is negative (0 for the SNR) is none. Layers stay FP32, the
    // worst harm for the least gain first, until all limits hold.
    double max_flips;  // share of rows that get another class
    double min_snr_db; // of every output
    double max_rmse;   // of every output
    // Evidence.
    bool skip_evidence;        // write it without having run it; not together with limits
    const size_t *batch_sizes; // none: 1, 8, 64
    size_t n_batch_sizes;
    double seconds; // of timing, per model and batch size; 0: 0.3
    size_t rows;    // to draw, or the most to take from the data; 0: 1000
    uint64_t seed;  // of drawn rows
    int threads;    // of one run; 0: 1
    bool force;     // write it also where INT8 is slower, or nothing was quantized
    // Told of the steps now and then, on the caller's thread; anything but 0 ends it with
    // PACER_ECANCELED. May be NULL.
    int (*progress)(void *ctx, const char *stage, size_t done, size_t total);
    void *progress_ctx;
};
// clang-format off
#define PACER_QUANTIZE_OPTIONS_INIT \
    {sizeof(struct pacer_quantize_options), NULL, NULL, PACER_CALIBRATION_MINMAX, 0, false, \
     PACER_REDUCE_RANGE_AUTO, PACER_TARGET_THIS, NULL, 0, NULL, 0, -1, 0, -1, false, NULL, 0, 0, 0, 0, 0, \
     false, NULL, NULL}
// clang-format on

enum pacer_quantize_verdict {
    PACER_QUANTIZE_WRITTEN,
    PACER_QUANTIZE_NOTHING, // nothing in the model can be quantized; no file, unless forced
    PACER_QUANTIZE_SLOWER,  // than FP32, at all batch sizes together; no file, unless forced
    PACER_QUANTIZE_MISSED,  // no variant holds the limits; the best one was written
};

struct pacer_quantize_report;

// Quantizes the model file `in` into `out`, which appears whole or not at all and says in its
// metadata which version of `in` it was made from. Blocks for as long as it measures. *report is
// the caller's. PACER_EINVAL (an option, the data, out is in), PACER_ENOTFOUND, PACER_EIO (the disk
// is full), PACER_EMODEL (not ONNX, or one that ONNX Runtime does not run), PACER_EUNSUPPORTED
// (quantized already, or of an opset that cannot be raised), PACER_ELIMIT, PACER_ENOMEM,
// PACER_ECANCELED.
PACER_API int pacer_quantize(const char *in, const char *out,
                             const struct pacer_quantize_options *options,
                             struct pacer_quantize_report **report, struct pacer_error *err);

PACER_API enum pacer_quantize_verdict
pacer_quantize_report_verdict(const struct pacer_quantize_report *report);
// A plain sentence or two; tables for a terminal of 100 columns; one JSON object; a page with plots
// that needs nothing else. Borrowed, until the report is destroyed.
PACER_API const char *pacer_quantize_report_summary(const struct pacer_quantize_report *report);
PACER_API const char *pacer_quantize_report_text(const struct pacer_quantize_report *report);
PACER_API const char *pacer_quantize_report_json(const struct pacer_quantize_report *report);
PACER_API const char *pacer_quantize_report_html(const struct pacer_quantize_report *report);
PACER_API void pacer_quantize_report_destroy(struct pacer_quantize_report *report); // NULL is fine

#ifdef __cplusplus
}
#endif
#endif
