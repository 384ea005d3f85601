// SPDX-License-Identifier: Apache-2.0
#include "infer/ort_priv.h"

#include "infer/infer.h"
#include "infer/run_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static struct pcr_ort ort;
static struct pacer_error ort_error;
static pthread_once_t ort_once = PTHREAD_ONCE_INIT;
static _Atomic(pcr_infer_log_cb) log_cb;

void pcr_infer_log_to(pcr_infer_log_cb cb) {
    atomic_store(&log_cb, cb);
}

static void ORT_API_CALL on_log(void *ctx, OrtLoggingLevel severity, const char *category,
                                const char *logid, const char *location, const char *message) {
    (void)ctx, (void)category, (void)logid, (void)location;
    pcr_infer_log_cb cb = atomic_load(&log_cb);
    if (cb)
        cb(severity >= ORT_LOGGING_LEVEL_ERROR ? PCR_LOG_ERROR : PCR_LOG_WARN, message);
}

// ONNX Runtime puts the place in its source before many of its words: "/…/graph.cc:12 bool
// onnxruntime::F(int) const ". That says nothing to the owner of a model, so it is left out.
static const char *skip_place(const char *place) {
    const char *at = strchr(place, '(');
    int depth = 0;
    for (; at && *at; at++) {
        depth += *at == '(';
        depth -= *at == ')';
        if (depth == 0)
            break;
    }
    if (!at || !*at)
        return place;
    at++;
    if (strncmp(at, " const", 6) == 0)
        at += 6;
    if (strncmp(at, " [with", 6) == 0 && strchr(at, ']'))
        at = strchr(at, ']') + 1;
    return at + strspn(at, " ");
}

// The words without that place, and on one line.
static void copy_words(const char *words, char *out, size_t out_bytes) {
    const char *place = strstr(words, "/onnxruntime");
    int before = place ? (int)(place - words) : 0;
    snprintf(out, out_bytes, "%.*s%s", before, words, place ? skip_place(place) : words);
    for (char *c = out; *c; c++)
        if (*c == '\n')
            *c = ' ';
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
        out[n - 1] = '\0';
}

// ONNX Runtime has no code of its own for it; an exception of its allocator comes as its text.
static bool is_out_of_memory(const char *words) {
    return strstr(words, "bad_alloc") || strstr(words, "bad allocation") ||
           strstr(words, "Failed to allocate memory");
}

int pcr_ort_fail(struct pacer_error *err, int code, OrtStatus *status, const char *what) {
    char words[sizeof err->message];
    copy_words(ort.api->GetErrorMessage(status), words, sizeof words);
    if (code == PACER_EMODEL && is_out_of_memory(words))
        code = PACER_ENOMEM;
    pcr_err(err, code, "session", "%s: %s", what, words);
    ort.api->ReleaseStatus(status);
    return code;
}

static void make_env(void) {
    const OrtApiBase *base = OrtGetApiBase();
    ort.api = base->GetApi(ORT_API_VERSION);
    if (!ort.api) {
        pcr_err(&ort_error, PACER_EUNSUPPORTED, "session",
                "the ONNX Runtime library that was found is version %s, older than the 1.%d this "
                "program was built for; install libonnxruntime 1.%d or newer",
                base->GetVersionString(), ORT_API_VERSION, ORT_API_VERSION);
        return;
    }
    // The official builds record events about the machine below $HOME and /tmp from
    // CreateEnv on; DisableTelemetryEvents would come too late. Whoever wants that can set
    // the variable to 0 before.
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    OrtEnv *env = NULL;
    OrtStatus *status =
        ort.api->CreateEnvWithCustomLogger(on_log, NULL, ORT_LOGGING_LEVEL_WARNING, "pacer", &env);
    if (!status)
        status = ort.api->DisableTelemetryEvents(env);
    if (!status)
        status = ort.api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &ort.cpu);
    if (!status)
        status = ort.api->GetAllocatorWithDefaultOptions(&ort.allocator);
    if (!status)
        status = pcr_run_memory_register(ort.api, env, ort.cpu);
    if (status) {
        pcr_ort_fail(&ort_error, PACER_EINTERNAL, status, "ONNX Runtime does not start");
        return;
    }
    ort.env = env;
}

const struct pcr_ort *pcr_ort_get(struct pacer_error *err) {
    pthread_once(&ort_once, make_env);
    if (ort.env)
        return &ort;
    if (err)
        *err = ort_error;
    return NULL;
}

const struct pcr_ort *pcr_ort(void) {
    PCR_ASSERT(ort.env != NULL);
    return &ort;
}

const char *pcr_infer_runtime_version(void) {
    return OrtGetApiBase()->GetVersionString();
}

struct ort_type {
    ONNXTensorElementDataType type;
    enum pacer_dtype dtype;
    const char *name; // where pacer has none
};

static const struct ort_type types[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, PACER_FP32, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, PACER_UINT8, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, PACER_INT8, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, PACER_UINT16, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, PACER_INT16, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, PACER_INT32, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, PACER_INT64, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, PACER_BYTES, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, PACER_BOOL, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, PACER_FP16, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, PACER_FP64, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, PACER_UINT32, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, PACER_UINT64, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, PACER_BF16, NULL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64, PACER_DTYPE_INVALID, "COMPLEX64"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128, PACER_DTYPE_INVALID, "COMPLEX128"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN, PACER_DTYPE_INVALID, "FLOAT8E4M3FN"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ, PACER_DTYPE_INVALID, "FLOAT8E4M3FNUZ"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2, PACER_DTYPE_INVALID, "FLOAT8E5M2"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ, PACER_DTYPE_INVALID, "FLOAT8E5M2FNUZ"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4, PACER_DTYPE_INVALID, "UINT4"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4, PACER_DTYPE_INVALID, "INT4"},
};

enum pacer_dtype pcr_ort_dtype(ONNXTensorElementDataType type) {
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++)
        if (types[i].type == type)
            return types[i].dtype;
    return PACER_DTYPE_INVALID;
}

ONNXTensorElementDataType pcr_ort_type(enum pacer_dtype dtype) {
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++)
        if (types[i].dtype == dtype && dtype != PACER_DTYPE_INVALID)
            return types[i].type;
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

const char *pcr_ort_type_name(ONNXTensorElementDataType type) {
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++)
        if (types[i].type == type)
            return types[i].name ? types[i].name : pacer_dtype_name(types[i].dtype);
    return "of an unknown kind";
}
