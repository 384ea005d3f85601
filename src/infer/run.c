// SPDX-License-Identifier: Apache-2.0
// One run: check, wrap, run, view.
//
// Inputs are wrapped, not copied: ONNX Runtime reads the caller's memory. Outputs are views into
// ONNX Runtime's own values, which the arena releases at its reset. What must be copied: strings
// (ONNX Runtime keeps std::string), inputs that lie at an address their type does not allow,
// booleans that are neither 0 nor 1 (undefined behaviour in C++), and an output that is the
// caller's input under another name, because the caller's memory is only lent for the call.
//
// The checks come first and speak in the words v2 clients match on. They are the
// same for the library and the server, and complete: what passes is run, so a wrong
// shape never reaches a kernel.
#include "infer/run_memory.h"
#include "infer/session_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define RESULT_BYTES_MAX ((size_t)1 << 30)

// --- checks -------------------------------------------------------------------------------------
static bool shape_fits(const struct pacer_tensor_info *info, const struct pacer_tensor *tensor) {
    if (info->rank == 0 && !info->shape)
        return true; // undeclared: any
    if (tensor->rank != info->rank)
        return false;
    for (size_t i = 0; i < info->rank; i++)
        if (info->shape[i] != -1 && info->shape[i] != tensor->shape[i])
            return false;
    return true;
}

static int check_shape(const struct pacer_tensor_info *info, const char *model,
                       const struct pacer_tensor *tensor, struct pacer_error *err) {
    char expected[PACER_RANK_MAX * 21 + 3];
    char got[PACER_RANK_MAX * 21 + 3];
    size_t count;
    if (tensor->rank > PACER_RANK_MAX)
        return pcr_err(err, PACER_EINVAL, "session",
                       "input '%s' for model '%s' has %zu dimensions; at most %d are allowed",
                       tensor->name, model, tensor->rank, PACER_RANK_MAX);
    pcr_shape_text(tensor->shape, tensor->rank, got, sizeof got);
    int code = pacer_shape_count(tensor->shape, tensor->rank, &count);
    size_t size = pacer_dtype_size(tensor->dtype);
    if (code == PACER_ELIMIT || (code == 0 && count > SIZE_MAX / (size ? size : 16)))
        return pcr_err(
            err, PACER_ELIMIT, "session",
            "shape %s for input '%s' for model '%s' has more elements than memory can hold", got,
            tensor->name, model);
    if (code == 0 && shape_fits(info, tensor))
        return 0;
    pcr_shape_text(info->shape, info->rank, expected, sizeof expected);
    return pcr_err(err, PACER_EINVAL, "session",
                   "unexpected shape for input '%s' for model '%s'. Expected %s, got %s",
                   tensor->name, model,
                   info->shape ? expected : "any shape without negative dimensions", got);
}

static bool check_shape_quickly(const struct pacer_tensor_info *info,
                                const struct pacer_tensor *t) {
    size_t count;
    size_t size = pacer_dtype_size(t->dtype);
    return t->rank <= PACER_RANK_MAX && shape_fits(info, t) &&
           pacer_shape_count(t->shape, t->rank, &count) == 0 &&
           count <= SIZE_MAX / (size ? size : 16);
}

static int wrong_count(const struct pacer_session *s, const char *model, size_t n,
                       struct pacer_error *err) {
    if (s->n_required == s->n_inputs)
        return pcr_err(err, PACER_EINVAL, "session",
                       "expected %zu inputs but got %zu inputs for model '%s'", s->n_inputs, n,
                       model);
    return pcr_err(
        err, PACER_EINVAL, "session",
        "expected number of inputs between %zu and %zu but got %zu inputs for model '%s'",
        s->n_required, s->n_inputs, n, model);
}

static int missing_input(const struct pacer_session *s, const char *model,
                         const struct pacer_run *run, const uint64_t *seen,
                         struct pacer_error *err) {
    size_t i = 0;
    while (i < s->n_required && (seen[i / 64] >> (i % 64) & 1))
        i++;
    PCR_ASSERT(i < s->n_required);
    return pcr_err(err, PACER_EINVAL, "session",
                   "expected %zu inputs but got %zu inputs for model '%s': input '%s' is missing",
                   s->n_required, run->n_inputs, model, s->inputs[i].name);
}

// Position of a name; clients mostly send in the model's own order,
// so that place is looked at first.
static size_t position(const struct pacer_tensor_info *infos, size_t n, const struct pcr_map *index,
                       const char *name, size_t guess) {
    if (guess < n && strcmp(infos[guess].name, name) == 0)
        return guess;
    return (size_t)(uintptr_t)pcr_map_get(index, pcr_str(name)) - 1; // SIZE_MAX: unknown
}

static int check_input(const struct pacer_session *s, const char *model,
                       const struct pacer_tensor *tensor, size_t guess, uint64_t *seen,
                       struct pacer_error *err) {
    size_t i = position(s->inputs, s->n_inputs, &s->input_index, tensor->name, guess);
    if (i >= s->n_inputs)
        return pcr_err(err, PACER_EINVAL, "session",
                       "unexpected inference input '%s' for model '%s'", tensor->name, model);
    if (seen[i / 64] >> (i % 64) & 1)
        return pcr_err(err, PACER_EINVAL, "session", "input '%s' is given twice for model '%s'",
                       tensor->name, model);
    seen[i / 64] |= (uint64_t)1 << (i % 64);
    if (tensor->dtype != s->inputs[i].dtype)
        return pcr_err(err, PACER_EINVAL, "session",
                       "inference input '%s' data-type is '%s', but model '%s' expects '%s'",
                       tensor->name, pacer_dtype_name(tensor->dtype), model,
                       pacer_dtype_name(s->inputs[i].dtype));
    if (PCR_LIKELY(check_shape_quickly(&s->inputs[i], tensor)))
        return 0;
    return check_shape(&s->inputs[i], model, tensor, err);
}

static int check_outputs(const struct pacer_session *s, const char *model,
                         const struct pacer_run *run, struct pacer_error *err) {
    if (run->n_outputs > s->n_outputs)
        return pcr_err(err, PACER_EINVAL, "session",
                       "%zu outputs are asked for, but model '%s' has %zu", run->n_outputs, model,
                       s->n_outputs);
    uint64_t seen[PCR_SESSION_VALUES_MAX / 64];
    memset(seen, 0, (s->n_outputs + 63) / 64 * sizeof *seen);
    for (size_t k = 0; k < run->n_outputs; k++) {
        size_t i = position(s->outputs, s->n_outputs, &s->output_index, run->outputs[k], k);
        if (i >= s->n_outputs)
            return pcr_err(err, PACER_EINVAL, "session",
                           "unexpected inference output '%s' for model '%s'", run->outputs[k],
                           model);
        if (seen[i / 64] >> (i % 64) & 1)
            return pcr_err(err, PACER_EINVAL, "session",
                           "output '%s' is asked for twice of model '%s'", run->outputs[k], model);
        seen[i / 64] |= (uint64_t)1 << (i % 64);
    }
    return 0;
}

int pcr_session_check(const struct pacer_session *s, const char *model, const struct pacer_run *run,
                      struct pacer_error *err) {
    if (run->n_inputs < s->n_required || run->n_inputs > s->n_inputs)
        return wrong_count(s, model, run->n_inputs, err);
    uint64_t seen[PCR_SESSION_VALUES_MAX / 64];
    memset(seen, 0, (s->n_inputs + 63) / 64 * sizeof *seen);
    for (size_t k = 0; k < run->n_inputs; k++) {
        int code = check_input(s, model, &run->inputs[k], k, seen, err);
        if (code < 0)
            return code;
    }
    for (size_t i = 0; i < s->n_required; i++)
        if (!(seen[i / 64] >> (i % 64) & 1))
            return missing_input(s, model, run, seen, err);
    return check_outputs(s, model, run, err);
}

// --- inputs -------------------------------------------------------------------------------------
static int arena_full(struct pacer_error *err) {
    return pcr_err(err, PACER_ENOMEM, "session",
                   "the run needs more memory than the request may take");
}

static OrtStatus *fill_strings(const OrtApi *api, const struct pacer_tensor *tensor, size_t count,
                               OrtValue *value) {
    const struct pacer_bytes *strings = tensor->data;
    OrtStatus *status = NULL;
    for (size_t i = 0; i < count && !status; i++) {
        char *into = NULL;
        status = api->GetResizedStringTensorElementBuffer(value, i, strings[i].size, &into);
        if (!status && strings[i].size)
            memcpy(into, strings[i].data, strings[i].size);
    }
    return status;
}

static bool has_odd_bools(const uint8_t *data, size_t count) {
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= data[i];
    return any > 1;
}

// The memory ONNX Runtime may read: the caller's, or a clean copy. NULL if the arena is full.
static const void *readable(const struct pacer_tensor *tensor, size_t count,
                            struct pcr_arena *arena) {
    static const uint64_t nothing;
    size_t size = pacer_dtype_size(tensor->dtype);
    if (count == 0)
        return &nothing;
    if (tensor->dtype == PACER_BOOL && has_odd_bools(tensor->data, count)) {
        uint8_t *copy = pcr_arena_alloc(arena, count);
        for (size_t i = 0; copy && i < count; i++)
            copy[i] = ((const uint8_t *)tensor->data)[i] != 0;
        return copy;
    }
    if ((uintptr_t)tensor->data % size == 0)
        return tensor->data;
    void *copy = pcr_arena_array(arena, count, size);
    return copy ? memcpy(copy, tensor->data, count * size) : NULL;
}

static int wrap_input(const struct pacer_tensor *tensor, struct pcr_arena *arena, OrtValue **out,
                      struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort();
    size_t count = 0;
    int code = pacer_shape_count(tensor->shape, tensor->rank, &count);
    PCR_ASSERT(code == 0); // checked
    OrtStatus *status;
    if (tensor->dtype == PACER_BYTES) {
        status = ort->api->CreateTensorAsOrtValue(ort->allocator, tensor->shape, tensor->rank,
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, out);
        if (!status)
            status = fill_strings(ort->api, tensor, count, *out);
    } else {
        const void *data = readable(tensor, count, arena);
        if (!data)
            return arena_full(err);
        status = ort->api->CreateTensorWithDataAsOrtValue(
            ort->cpu, (void *)data, count * pacer_dtype_size(tensor->dtype), tensor->shape,
            tensor->rank, pcr_ort_type(tensor->dtype), out);
    }
    return status ? pcr_ort_fail(err, PACER_EMODEL, status, tensor->name) : 0;
}

// --- outputs ------------------------------------------------------------------------------------
struct held { // what the arena's reset releases
    size_t n;
    OrtValue *values[];
};

static void release_held(void *ptr) {
    struct held *held = ptr;
    const OrtApi *api = pcr_ort()->api;
    for (size_t i = 0; i < held->n; i++)
        if (held->values[i])
            api->ReleaseValue(held->values[i]);
}

static int read_shape(OrtValue *value, struct pcr_arena *arena, struct pacer_tensor *out,
                      size_t *count, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    OrtStatus *status = api->GetTensorTypeAndShape(value, &info);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    int64_t *shape = NULL;
    status = api->GetTensorElementType(info, &type);
    if (!status)
        status = api->GetDimensionsCount(info, &out->rank);
    if (!status)
        shape = pcr_arena_array(arena, out->rank ? out->rank : 1, sizeof *shape);
    if (!status && shape)
        status = api->GetDimensions(info, shape, out->rank);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    out->shape = shape;
    out->dtype = pcr_ort_dtype(type);
    return shape ? pacer_shape_count(shape, out->rank, count) : arena_full(err);
}

static int read_strings(OrtValue *value, size_t count, struct pcr_arena *arena,
                        struct pacer_tensor *out, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    size_t total = 0;
    OrtStatus *status = api->GetStringTensorDataLength(value, &total);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    char *text = pcr_arena_alloc(arena, total + 1);
    size_t *offsets = pcr_arena_array(arena, count + 1, sizeof *offsets);
    struct pacer_bytes *strings = pcr_arena_array(arena, count + 1, sizeof *strings);
    if (!text || !offsets || !strings)
        return arena_full(err);
    status = count ? api->GetStringTensorContent(value, text, total, offsets, count) : NULL;
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    offsets[count] = total;
    for (size_t i = 0; i < count; i++)
        strings[i] = (struct pacer_bytes){text + offsets[i], offsets[i + 1] - offsets[i]};
    out->data = strings;
    return 0;
}

static bool is_lent(const struct pacer_run *run, const void *data) {
    for (size_t i = 0; i < run->n_inputs; i++)
        if (run->inputs[i].data == data)
            return true;
    return false;
}

static int view_output(const struct pacer_run *run, OrtValue *value, struct pcr_arena *arena,
                       struct pacer_tensor *out, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    int is_tensor = 0;
    size_t count = 0;
    OrtStatus *status = value ? api->IsTensor(value, &is_tensor) : NULL;
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    if (!is_tensor)
        return pcr_err(err, PACER_EMODEL, "session", "output '%s' came out as no tensor",
                       out->name);
    int code = read_shape(value, arena, out, &count, err);
    if (code < 0 || out->dtype == PACER_BYTES)
        return code < 0 ? code : read_strings(value, count, arena, out, err);
    void *data = NULL;
    status = api->GetTensorMutableData(value, &data);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, out->name);
    out->data = data;
    if (count == 0 || !is_lent(run, data))
        return 0;
    void *copy = pcr_arena_array(arena, count, pacer_dtype_size(out->dtype));
    if (!copy)
        return arena_full(err);
    out->data = memcpy(copy, data, count * pacer_dtype_size(out->dtype));
    return 0;
}

// --- the run ------------------------------------------------------------------------------------
struct work {           // of one run, in its arena
    const char **names; // of the inputs, in the run's order
    OrtValue **inputs;
    struct held *held;
    struct pacer_tensor *outputs;
    const char *const *wanted;
    size_t n_outputs;
};

static int prepare(const struct pacer_session *s, const struct pacer_run *run,
                   struct pcr_arena *arena, struct work *work, struct pacer_error *err) {
    work->n_outputs = run->n_outputs ? run->n_outputs : s->n_outputs;
    work->wanted = run->n_outputs ? run->outputs : s->output_names;
    work->names = pcr_arena_array(arena, run->n_inputs + 1, sizeof *work->names);
    work->inputs = pcr_arena_calloc(arena, run->n_inputs + 1, sizeof(OrtValue *));
    work->held =
        pcr_arena_calloc(arena, 1, sizeof *work->held + work->n_outputs * sizeof(OrtValue *));
    work->outputs = pcr_arena_calloc(arena, work->n_outputs + 1, sizeof *work->outputs);
    if (!work->names || !work->inputs || !work->held || !work->outputs)
        return arena_full(err);
    work->held->n = work->n_outputs;
    if (!pcr_arena_on_reset(arena, release_held, work->held))
        return arena_full(err);
    for (size_t i = 0; i < run->n_inputs; i++)
        work->names[i] = run->inputs[i].name;
    return 0;
}

static int too_much_memory(const struct pacer_session *s, size_t bytes_max,
                           struct pacer_error *err) {
    bool mib = bytes_max >= (size_t)1 << 20;
    return pcr_err(err, PACER_ELIMIT, "session",
                   "model '%s' needs more than run_memory_max (%zu %s) for this input; send a "
                   "smaller batch, or values that ask for a smaller output, or have "
                   "run_memory_max raised in the server's configuration",
                   s->name, mib ? bytes_max >> 20 : bytes_max, mib ? "MiB" : "bytes");
}

static int run_ort(const struct pcr_session_job *job, struct work *work, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    const struct pacer_run *run = job->run;
    int code = 0;
    for (size_t i = 0; i < run->n_inputs && code == 0; i++)
        code = wrap_input(&run->inputs[i], job->arena, &work->inputs[i], err);
    if (code == 0) {
        pcr_run_memory_begin();
        OrtStatus *status = api->Run(job->session->ort, job->options, work->names,
                                     (const OrtValue *const *)work->inputs, run->n_inputs,
                                     work->wanted, work->n_outputs, work->held->values);
        size_t refused_at = pcr_run_memory_end();
        if (status) {
            code = pcr_session_run_code(api->GetErrorCode(status));
            code = pcr_ort_fail(err, code, status, "ONNX Runtime could not run the model");
            if (refused_at)
                code = too_much_memory(job->session, refused_at, err);
        }
    }
    for (size_t i = 0; i < run->n_inputs; i++)
        if (work->inputs[i])
            api->ReleaseValue(work->inputs[i]);
    return code;
}

int pcr_session_run_code(OrtErrorCode code) {
    return code == ORT_NOT_IMPLEMENTED ? PACER_EUNSUPPORTED : PACER_EMODEL;
}

int pcr_session_run_checked(struct pcr_session_job *job, struct pacer_error *err) {
    struct work work = {0};
    int code = prepare(job->session, job->run, job->arena, &work, err);
    if (code == 0)
        code = run_ort(job, &work, err);
    if (code < 0)
        return code;
    for (size_t i = 0; i < work.n_outputs; i++) {
        work.outputs[i].name = work.wanted[i];
        code = view_output(job->run, work.held->values[i], job->arena, &work.outputs[i], err);
        if (code < 0)
            return code;
    }
    job->outputs = work.outputs;
    job->n_outputs = work.n_outputs;
    return 0;
}

int pcr_session_run(struct pacer_session *session, const struct pacer_run *run,
                    struct pcr_arena *arena, const struct pacer_tensor **outputs, size_t *n_outputs,
                    struct pacer_error *err) {
    int code = pcr_session_check(session, session->name, run, err);
    if (code < 0)
        return code;
    struct pcr_session_job job = {.session = session, .run = run, .arena = arena};
    code = pcr_session_run_checked(&job, err);
    if (code == 0) {
        *outputs = job.outputs;
        *n_outputs = job.n_outputs;
    }
    return code;
}

// --- the library's form -------------------------------------------------------------------------
struct pacer_result {
    struct pcr_arena arena;
    const struct pacer_tensor *tensors;
    size_t n;
};

int pacer_session_run(struct pacer_session *session, const struct pacer_run *run,
                      struct pacer_result **out, struct pacer_error *err) {
    *out = NULL;
    struct pacer_result *result = calloc(1, sizeof *result);
    if (!result)
        return pcr_err(err, PACER_ENOMEM, "session", "out of memory");
    pcr_arena_init(&result->arena, RESULT_BYTES_MAX);
    int code = pcr_session_run(session, run, &result->arena, &result->tensors, &result->n, err);
    for (size_t i = 0; i < result->n && code == 0; i++) { // the names asked with are the caller's
        char *name = pcr_arena_dup(&result->arena, pcr_str(result->tensors[i].name));
        ((struct pacer_tensor *)&result->tensors[i])->name = name;
        if (!name)
            code = arena_full(err);
    }
    if (code < 0)
        pacer_result_destroy(result);
    else
        *out = result;
    return code;
}

size_t pacer_result_count(const struct pacer_result *result) {
    return result->n;
}

const struct pacer_tensor *pacer_result_tensor(const struct pacer_result *result, size_t index) {
    return index < result->n ? &result->tensors[index] : NULL;
}

void pacer_result_destroy(struct pacer_result *result) {
    if (!result)
        return;
    pcr_arena_fini(&result->arena);
    free(result);
}
