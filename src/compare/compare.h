// SPDX-License-Identifier: Apache-2.0
// The compare room: two variants of a model held against each other, in time, size, memory and
// answers. `pacer bench` shows it, and quantization takes its evidence from it.
#ifndef PCR_COMPARE_H
#define PCR_COMPARE_H

#include "data/data.h"
#include "infer/infer.h"

// --- rows ---------------------------------------------------------------------------------------
// Rows for a session, made up: FP32 and FP64 normal (mean 0, deviation 1; twelve uniform numbers
// added), integers from 0 to 7, so that they are indices of most tables, booleans even, strings "0"
// to "7". Dimensions that are left open have 8. The same for the same seed. PACER_EUNSUPPORTED (an
// input of another type), PACER_ELIMIT, PACER_ENOMEM.
int pcr_rows_draw(const struct pacer_session *session, size_t rows, uint64_t seed,
                  struct pcr_arena *arena, struct pcr_data *out, struct pacer_error *err);
// How many rows one run takes: what the model's inputs fix, or `rows_max`.
size_t pcr_rows_batch(const struct pacer_session *session, size_t rows_max);
// The rows from `first` on as the session takes them, into `views` of pcr_data_views.
void pcr_rows_inputs(const struct pacer_session *session, const struct pcr_data *data, size_t first,
                     size_t n, struct pacer_tensor *views);

// --- time ---------------------------------------------------------------------------------------
struct pcr_latency {
    size_t runs;
    double p50_us, p99_us, mean_us;
    // Of the first session's time to this one's, by medians: above 1 this one is faster. The
    // interval is that of the median of blocks that ran side by side (95 %, by their ranks, so
    // whatever their distribution); NAN where there were too few.
    double speedup, low, high;
};
struct pcr_latency_how {
    struct pacer_session *const *sessions; // that take the same rows
    size_t n_sessions;                     // at most PCR_LATENCY_SESSIONS_MAX
    const struct pcr_data *data;           // rows in turn, so that no two runs in a row are alike
    size_t batch;                          // rows of a run; at most data->rows
    double seconds;                        // for each session
};
#define PCR_LATENCY_SESSIONS_MAX 16
// Runs the sessions in turns, in short blocks, so that what disturbs one disturbs all; the first
// run of a block is not counted. Errors as those of a run.
int pcr_latency_measure(const struct pcr_latency_how *how, struct pcr_latency *out,
                        struct pacer_error *err);

// --- size ---------------------------------------------------------------------------------------
// Bytes of a model's file and of its external data. PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL.
int pcr_model_bytes(const char *path, uint64_t *bytes, struct pacer_error *err);
// What the process has resident now, after what was freed has been given back: the difference
// around the opening of a session is what that takes, give or take some 100 KiB. 0: not known.
uint64_t pcr_resident_bytes(void);

#endif
