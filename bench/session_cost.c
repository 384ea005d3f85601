// SPDX-License-Identifier: Apache-2.0
// What one model run costs: ONNX Runtime's own Run with its default settings, the same with the
// settings pacer gives it, and pacer_session_run around that. Prints the best of many slices, since
// other work can only add.
//
//     session_cost MODEL.onnx COLUMNS [ROWS…]
#include <pacer/pacer.h>

#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLICES 400
#define SLICE_NS 2000000.0
#define ROTATION \
    16 // different inputs in turn: one input again and again hides cache and branch misses

struct bench {
    const OrtApi *ort;
    OrtEnv *env;
    const char *path;
    int64_t shape[2];
    float *rows; // ROTATION inputs
    char *input, *output;
};

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(const struct bench *bench, OrtStatus *status) {
    if (!status)
        return;
    fprintf(stderr, "session_cost: %s\n", bench->ort->GetErrorMessage(status));
    exit(1);
}

static const float *input_of(const struct bench *bench, size_t run) {
    return bench->rows + (run % ROTATION) * (size_t)(bench->shape[0] * bench->shape[1]);
}

// The least time per run of all slices; `once` does one run.
static double best_ns(void (*once)(void *ctx, size_t run), void *ctx) {
    double best = 1e18;
    size_t run = 0;
    for (int slice = 0; slice < SLICES; slice++) {
        size_t n = 0;
        double start = now_ns(), spent;
        do {
            once(ctx, run++);
            n++;
            spent = now_ns() - start;
        } while (spent < SLICE_NS);
        if (spent / (double)n < best)
            best = spent / (double)n;
    }
    return best;
}

struct raw {
    struct bench *bench;
    OrtSession *session;
    OrtMemoryInfo *memory;
};

static void run_raw(void *ctx, size_t run) {
    struct raw *raw = ctx;
    struct bench *bench = raw->bench;
    size_t bytes = (size_t)(bench->shape[0] * bench->shape[1]) * sizeof(float);
    OrtValue *in = NULL, *out = NULL;
    must(bench, bench->ort->CreateTensorWithDataAsOrtValue(
                    raw->memory, (void *)(uintptr_t)input_of(bench, run), bytes, bench->shape, 2,
                    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &in));
    const char *const inputs[] = {bench->input}, *const outputs[] = {bench->output};
    must(bench, bench->ort->Run(raw->session, NULL, inputs, (const OrtValue *const *)&in, 1,
                                outputs, 1, &out));
    bench->ort->ReleaseValue(in);
    bench->ort->ReleaseValue(out);
}

static double raw_ns(struct bench *bench, bool as_pacer) {
    struct raw raw = {.bench = bench};
    OrtSessionOptions *options;
    must(bench, bench->ort->CreateSessionOptions(&options));
    must(bench, bench->ort->SetIntraOpNumThreads(options, 1));
    if (as_pacer) {
        must(bench, bench->ort->DisableMemPattern(options));
        must(bench, bench->ort->DisableCpuMemArena(options));
    }
    must(bench, bench->ort->CreateSession(bench->env, bench->path, options, &raw.session));
    must(bench,
         bench->ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &raw.memory));
    double ns = best_ns(run_raw, &raw);
    bench->ort->ReleaseMemoryInfo(raw.memory);
    bench->ort->ReleaseSession(raw.session);
    bench->ort->ReleaseSessionOptions(options);
    return ns;
}

struct ours {
    struct bench *bench;
    struct pacer_session *session;
};

static void run_ours(void *ctx, size_t run) {
    struct ours *ours = ctx;
    struct pacer_tensor input = {ours->bench->input, PACER_FP32, 2, ours->bench->shape,
                                 input_of(ours->bench, run)};
    struct pacer_run what = {&input, 1, NULL, 0};
    struct pacer_result *result;
    struct pacer_error err;
    if (pacer_session_run(ours->session, &what, &result, &err) < 0) {
        fprintf(stderr, "session_cost: %s\n", err.message);
        exit(1);
    }
    pacer_result_destroy(result);
}

static void measure(struct bench *bench, struct pacer_session *session, long rows) {
    size_t floats = (size_t)(rows * bench->shape[1]) * ROTATION;
    bench->shape[0] = rows;
    bench->rows = malloc(floats * sizeof(float));
    if (!bench->rows)
        exit(1);
    srand(1);
    for (size_t i = 0; i < floats; i++)
        bench->rows[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    struct ours ours = {bench, session};
    double plain = raw_ns(bench, false), tuned = raw_ns(bench, true),
           own = best_ns(run_ours, &ours);
    printf("%6ld  %16.2f  %18.2f  %17.2f  %16.2f\n", rows, plain / 1e3, tuned / 1e3, own / 1e3,
           own / plain);
    free(bench->rows);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: session_cost MODEL.onnx COLUMNS [ROWS…]\n");
        return 2;
    }
    struct pacer_session *session;
    struct pacer_error err;
    if (pacer_session_get(argv[1], NULL, &session, &err) < 0) {
        fprintf(stderr, "session_cost: %s\n", err.message);
        return 1;
    }
    size_t n;
    struct bench bench = {.ort = OrtGetApiBase()->GetApi(ORT_API_VERSION), .path = argv[1]};
    bench.shape[1] = atol(argv[2]);
    bench.input = strdup(pacer_session_inputs(session, &n)[0].name);
    bench.output = strdup(pacer_session_outputs(session, &n)[0].name);
    must(&bench, bench.ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &bench.env));
    printf("µs a run, best of %d slices\n", SLICES);
    printf("  rows  ONNX Runtime Run  with our settings  pacer_session_run  ours / its own\n");
    for (int i = 3; i < argc; i++)
        measure(&bench, session, atol(argv[i]));
    if (argc == 3)
        measure(&bench, session, 1);
    bench.ort->ReleaseEnv(bench.env);
    free(bench.input);
    free(bench.output);
    pacer_session_put(session);
    return 0;
}
