// SPDX-License-Identifier: Apache-2.0
// Making a session: options, what the model declares, refusals that are better told at loading than
// at the first run.
//
// All that a run needs is worked out here once: names in the form ONNX Runtime wants them, an index
// from name to position, types and shapes. It is immutable afterwards, so any number of threads run
// one session without a lock.
//
// Settings: one intra-op thread without spinning (one run on one core is the fastest for
// small models, and a server has other requests for the other cores), all graph
// optimisations, no memory patterns (they are kept per input shape and grow with every new
// batch size), and ONNX format only, since a file that says it is in ONNX Runtime's own
// format would get past the checks of model_file.c.
#include "infer/session_priv.h"

#include <onnxruntime_session_options_config_keys.h>
#include <stdio.h>
#include <stdlib.h>

#define SESSION_BYTES_MAX (64u << 20)

static int out_of_memory(struct pacer_error *err) {
    return pcr_err(err, PACER_ENOMEM, "session", "out of memory");
}

static OrtStatus *set_options(const struct pcr_ort *ort, OrtSessionOptions *o, const char *folder,
                              const struct pacer_session_options *options, bool as_it_is) {
    const OrtApi *api = ort->api;
    const char *spin = options->allow_spinning ? "1" : "0";
    int threads = options->intra_op_threads > 0 ? options->intra_op_threads : 1;
    OrtStatus *status = api->SetIntraOpNumThreads(o, threads);
    if (!status)
        status = api->SetInterOpNumThreads(o, 1);
    if (!status)
        status = api->SetSessionExecutionMode(o, ORT_SEQUENTIAL);
    if (!status)
        status =
            api->SetSessionGraphOptimizationLevel(o, as_it_is ? ORT_DISABLE_ALL : ORT_ENABLE_ALL);
    // Patterns are kept per input shape, so clients who vary shapes would make them grow; and the
    // arena, with its lock, costs a small model a tenth of its run while a large one gains nothing
    // by it (docs/benchmarks.md), and it never gives memory back.
    if (!status)
        status = api->DisableMemPattern(o);
    if (!status)
        status = api->DisableCpuMemArena(o);
    if (!status) // run_memory.c
        status = api->AddSessionConfigEntry(o, kOrtSessionOptionsConfigUseEnvAllocators, "1");
    if (!status)
        status = api->AddSessionConfigEntry(o, kOrtSessionOptionsConfigAllowIntraOpSpinning, spin);
    if (!status)
        status = api->AddSessionConfigEntry(o, kOrtSessionOptionsConfigAllowInterOpSpinning, "0");
    if (!status)
        status = api->AddSessionConfigEntry(o, kOrtSessionOptionsConfigLoadModelFormat, "ONNX");
    if (!status)
        status = api->AddSessionConfigEntry(
            o, kOrtSessionOptionsModelExternalInitializersFileFolderPath, folder);
    return status;
}

static int create(struct pacer_session *session, const struct pcr_model_file *file,
                  const char *path, const struct pacer_session_options *options,
                  struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort_get(err);
    if (!ort)
        return PACER_EINTERNAL;
    OrtSessionOptions *o = NULL;
    OrtStatus *status = ort->api->CreateSessionOptions(&o);
    if (!status)
        status = set_options(ort, o, file->folder, options, file->as_it_is);
    if (!status)
        status =
            ort->api->CreateSessionFromArray(ort->env, file->bytes, file->size, o, &session->ort);
    if (o)
        ort->api->ReleaseSessionOptions(o);
    if (status) {
        char what[256];
        snprintf(what, sizeof what, "%.180s: ONNX Runtime %s does not load it", path,
                 pcr_infer_runtime_version());
        return pcr_ort_fail(err, PACER_EMODEL, status, what);
    }
    if (!pcr_externals_unchanged(file->externals))
        return pcr_err(err, PACER_EMODEL, "session",
                       "%s: its external data changed while it was loaded; load it again", path);
    return 0;
}

// --- what the model declares --------------------------------------------------------------------
enum side { REQUIRED, OPTIONAL, OUTPUT };

static OrtStatus *get_count(const struct pacer_session *s, enum side side, size_t *n) {
    const OrtApi *api = pcr_ort()->api;
    return side == REQUIRED   ? api->SessionGetInputCount(s->ort, n)
           : side == OPTIONAL ? api->SessionGetOverridableInitializerCount(s->ort, n)
                              : api->SessionGetOutputCount(s->ort, n);
}

static OrtStatus *get_name(const struct pacer_session *s, enum side side, size_t i, char **name) {
    const struct pcr_ort *ort = pcr_ort();
    return side == REQUIRED ? ort->api->SessionGetInputName(s->ort, i, ort->allocator, name)
           : side == OPTIONAL
               ? ort->api->SessionGetOverridableInitializerName(s->ort, i, ort->allocator, name)
               : ort->api->SessionGetOutputName(s->ort, i, ort->allocator, name);
}

static OrtStatus *get_type(const struct pacer_session *s, enum side side, size_t i,
                           OrtTypeInfo **out) {
    const OrtApi *api = pcr_ort()->api;
    return side == REQUIRED   ? api->SessionGetInputTypeInfo(s->ort, i, out)
           : side == OPTIONAL ? api->SessionGetOverridableInitializerTypeInfo(s->ort, i, out)
                              : api->SessionGetOutputTypeInfo(s->ort, i, out);
}

static const char *onnx_type_name(enum ONNXType type) {
    switch (type) {
    case ONNX_TYPE_SEQUENCE:
        return "a sequence";
    case ONNX_TYPE_MAP:
        return "a map";
    case ONNX_TYPE_OPTIONAL:
        return "an optional";
    case ONNX_TYPE_SPARSETENSOR:
        return "a sparse tensor";
    default:
        return "no tensor";
    }
}

static int refuse_type(struct pacer_error *err, enum side side, const char *name,
                       enum ONNXType type) {
    const char *remedy = side == OUTPUT && (type == ONNX_TYPE_SEQUENCE || type == ONNX_TYPE_MAP)
                             ? " (a ZipMap? convert the model with the option zipmap=False, so "
                               "that it gives a tensor of "
                               "probabilities)"
                             : "";
    return pcr_err(err, PACER_EMODEL, "session", "%s '%s' is %s; pacer serves tensors only%s",
                   side == OUTPUT ? "output" : "input", name, onnx_type_name(type), remedy);
}

static int read_tensor_info(struct pacer_session *s, const OrtTensorTypeAndShapeInfo *tensor,
                            struct pacer_tensor_info *info, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    OrtStatus *status = api->GetTensorElementType(tensor, &type);
    if (!status)
        status = api->GetDimensionsCount(tensor, &rank);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, info->name);
    info->dtype = pcr_ort_dtype(type);
    if (info->dtype == PACER_DTYPE_INVALID)
        return pcr_err(
            err, PACER_EMODEL, "session",
            "'%s' has elements of type %s, which the inference protocol cannot carry; add a Cast "
            "to the model",
            info->name, pcr_ort_type_name(type));
    if (rank > PACER_RANK_MAX)
        return pcr_err(err, PACER_EMODEL, "session",
                       "'%s' has %zu dimensions; at most %d are served", info->name, rank,
                       PACER_RANK_MAX);
    int64_t *shape = pcr_arena_calloc(&s->arena, rank ? rank : 1, sizeof *shape);
    if (!shape)
        return out_of_memory(err);
    status = api->GetDimensions(tensor, shape, rank);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, info->name);
    for (size_t i = 0; i < rank; i++)
        if (shape[i] < 0)
            shape[i] = -1;
    info->rank = rank;
    info->shape = shape;
    return 0;
}

static int read_type(struct pacer_session *s, enum side side, const OrtTypeInfo *type,
                     struct pacer_tensor_info *info, struct pacer_error *err) {
    const OrtApi *api = pcr_ort()->api;
    enum ONNXType kind = ONNX_TYPE_UNKNOWN;
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    OrtStatus *status = api->GetOnnxTypeFromTypeInfo(type, &kind);
    if (!status && kind == ONNX_TYPE_TENSOR)
        status = api->CastTypeInfoToTensorInfo(type, &tensor);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, info->name);
    if (!tensor)
        return refuse_type(err, side, info->name, kind);
    return read_tensor_info(s, tensor, info, err);
}

static int read_value(struct pacer_session *s, enum side side, size_t i,
                      struct pacer_tensor_info *info, struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort();
    char *name = NULL;
    OrtStatus *status = get_name(s, side, i, &name);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, "name of an input or output");
    info->name = pcr_arena_dup(&s->arena, pcr_str(name));
    status = ort->api->AllocatorFree(ort->allocator, name);
    if (status)
        ort->api->ReleaseStatus(status);
    if (!info->name)
        return out_of_memory(err);
    OrtTypeInfo *type = NULL;
    status = get_type(s, side, i, &type);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, info->name);
    int code = read_type(s, side, type, info, err);
    ort->api->ReleaseTypeInfo(type);
    return code;
}

static int index_names(struct pcr_arena *arena, const struct pacer_tensor_info *infos, size_t n,
                       const char ***names, struct pcr_map *index, struct pacer_error *err) {
    *names = pcr_arena_array(arena, n ? n : 1, sizeof **names);
    if (!*names)
        return out_of_memory(err);
    for (size_t i = 0; i < n; i++) {
        (*names)[i] = infos[i].name;
        void *position = (void *)(uintptr_t)(i + 1); // NOLINT(performance-no-int-to-ptr): a number
        if (!pcr_map_put(index, pcr_str(infos[i].name), position, NULL))
            return out_of_memory(err);
    }
    return 0;
}

static int read_side(struct pacer_session *s, enum side side, size_t n,
                     struct pacer_tensor_info *infos, const struct pcr_model_file *file,
                     struct pacer_error *err) {
    for (size_t i = 0; i < n; i++) {
        int code = read_value(s, side, i, &infos[i], err);
        if (code < 0)
            return code;
        // ONNX Runtime tells an undeclared rank and a scalar apart to no one; a NULL shape does.
        if (infos[i].rank == 0 && pcr_model_file_shapeless(file, infos[i].name, side == OUTPUT))
            infos[i].shape = NULL;
    }
    return 0;
}

static int read_values(struct pacer_session *s, const struct pcr_model_file *file,
                       struct pacer_error *err) {
    size_t n_optional = 0;
    OrtStatus *status = get_count(s, REQUIRED, &s->n_required);
    if (!status)
        status = get_count(s, OPTIONAL, &n_optional);
    if (!status)
        status = get_count(s, OUTPUT, &s->n_outputs);
    if (status)
        return pcr_ort_fail(err, PACER_EMODEL, status, "inputs and outputs");
    if (s->n_required + n_optional > PCR_SESSION_VALUES_MAX ||
        s->n_outputs > PCR_SESSION_VALUES_MAX)
        return pcr_err(err, PACER_EMODEL, "session", "more than %d inputs or outputs",
                       PCR_SESSION_VALUES_MAX);
    s->n_inputs = s->n_required + n_optional;
    s->inputs = pcr_arena_calloc(&s->arena, s->n_inputs + 1, sizeof *s->inputs);
    s->outputs = pcr_arena_calloc(&s->arena, s->n_outputs + 1, sizeof *s->outputs);
    if (!s->inputs || !s->outputs)
        return out_of_memory(err);
    int code = read_side(s, REQUIRED, s->n_required, s->inputs, file, err);
    if (code == 0)
        code = read_side(s, OPTIONAL, n_optional, s->inputs + s->n_required, file, err);
    if (code == 0)
        code = read_side(s, OUTPUT, s->n_outputs, s->outputs, file, err);
    if (code == 0)
        code =
            index_names(&s->arena, s->inputs, s->n_inputs, &s->input_names, &s->input_index, err);
    if (code == 0)
        code = index_names(&s->arena, s->outputs, s->n_outputs, &s->output_names, &s->output_index,
                           err);
    return code;
}

// --- metadata -----------------------------------------------------------------------------------
// Copies a string of ONNX Runtime's and gives it back; NULL when memory is out.
static const char *take(struct pcr_arena *arena, char *text) {
    const struct pcr_ort *ort = pcr_ort();
    const char *copy = text ? pcr_arena_dup(arena, pcr_str(text)) : NULL;
    OrtStatus *status = text ? ort->api->AllocatorFree(ort->allocator, text) : NULL;
    if (status)
        ort->api->ReleaseStatus(status);
    return copy;
}

static int copy_metadata(struct pacer_session *s, const OrtModelMetadata *metadata, char **keys,
                         size_t n, struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort();
    bool whole = true;
    s->metadata = pcr_arena_calloc(&s->arena, 2 * n + 1, sizeof *s->metadata);
    for (size_t i = 0; i < n; i++) { // every key, since each must be given back
        char *value = NULL;
        OrtStatus *status = s->metadata ? ort->api->ModelMetadataLookupCustomMetadataMap(
                                              metadata, ort->allocator, keys[i], &value)
                                        : NULL;
        if (status)
            ort->api->ReleaseStatus(status);
        const char *key = take(&s->arena, keys[i]);
        const char *copy = value ? take(&s->arena, value) : "";
        whole = whole && s->metadata && key && copy;
        if (whole) {
            s->metadata[2 * i] = key;
            s->metadata[2 * i + 1] = copy;
            s->n_metadata = i + 1;
        }
    }
    return whole ? 0 : out_of_memory(err);
}

static int read_metadata(struct pacer_session *s, struct pacer_error *err) {
    const struct pcr_ort *ort = pcr_ort();
    OrtModelMetadata *metadata = NULL;
    char **keys = NULL;
    int64_t n = 0;
    OrtStatus *status = ort->api->SessionGetModelMetadata(s->ort, &metadata);
    if (!status)
        status =
            ort->api->ModelMetadataGetCustomMetadataMapKeys(metadata, ort->allocator, &keys, &n);
    int code = 0;
    if (status)
        code = pcr_ort_fail(err, PACER_EMODEL, status, "metadata");
    else if (n > 0)
        code = copy_metadata(s, metadata, keys, (size_t)n, err);
    if (keys) {
        status = ort->api->AllocatorFree(ort->allocator, (void *)keys);
        if (status)
            ort->api->ReleaseStatus(status);
    }
    if (metadata)
        ort->api->ReleaseModelMetadata(metadata);
    return code;
}

// --- class labels -------------------------------------------------------------------------------
static int read_labels(struct pacer_session *s, const struct pcr_model_file *file,
                       struct pacer_error *err) {
    if (!file->has_labels)
        return 0;
    s->labels = pcr_arena_calloc(&s->arena, s->n_outputs + 1, sizeof *s->labels);
    struct pcr_str bytes = {file->bytes, file->size};
    if (!s->labels ||
        pcr_onnx_labels(bytes, s->output_names, s->n_outputs, &s->arena, s->labels) < 0)
        return out_of_memory(err);
    return 0;
}

// --- opening and closing ------------------------------------------------------------------------
static int keep_externals(struct pacer_session *s, const struct pcr_model_file *file,
                          struct pacer_error *err) {
    struct pcr_external_file **tail = &s->externals;
    for (const struct pcr_external_file *e = file->externals; e; e = e->next) {
        struct pcr_external_file *copy = pcr_arena_calloc(&s->arena, 1, sizeof *copy);
        const char *path = copy ? pcr_arena_dup(&s->arena, pcr_str(e->path)) : NULL;
        if (!path)
            return out_of_memory(err);
        *copy = (struct pcr_external_file){path, e->id, NULL};
        *tail = copy;
        tail = &copy->next;
    }
    return 0;
}

static int fill(struct pacer_session *s, const struct pcr_model_file *file, const char *path,
                const struct pacer_session_options *options, struct pacer_error *err) {
    const char *slash = strrchr(path, '/');
    struct pcr_str name = pcr_str(slash ? slash + 1 : path);
    if (pcr_str_ends_with(name, PCR_STR(".onnx")))
        name.len -= 5;
    s->name = pcr_arena_dup(&s->arena, name);
    if (!s->name)
        return out_of_memory(err);
    memcpy(s->version, file->version, sizeof s->version);
    int code = pcr_session_may_load(err);
    if (code == 0)
        code = create(s, file, path, options, err);
    if (code == 0)
        code = keep_externals(s, file, err);
    if (code == 0 && (code = read_values(s, file, err)) < 0)
        return pcr_err_prefix(err, code, "%s", path);
    if (code == 0)
        code = read_metadata(s, err);
    if (code == 0)
        code = read_labels(s, file, err);
    if (code == 0)
        code = pcr_session_may_load(err);
    if (code == 0 && !options->skip_warm_up && (code = pcr_session_warm_up(s, err)) < 0)
        return pcr_err_prefix(err, code, "%s", path);
    s->has_loop = file->has_loop;
    return code;
}

static int open_file(const struct pcr_model_file *file, const char *path,
                     const struct pacer_session_options *options, struct pacer_session **out,
                     struct pacer_error *err) {
    struct pacer_session *s = calloc(1, sizeof *s);
    if (!s)
        return out_of_memory(err);
    pcr_arena_init(&s->arena, SESSION_BYTES_MAX);
    int code = fill(s, file, path, options, err);
    if (code < 0)
        pcr_session_close(s);
    else
        *out = s;
    return code;
}

int pcr_session_open(const char *path, const char *folder,
                     const struct pacer_session_options *options, struct pacer_session **out,
                     struct pacer_error *err) {
    struct pcr_model_file file;
    int code = pcr_model_file_open(path, folder, &file, err);
    if (code == 0)
        code = open_file(&file, path, options, out, err);
    pcr_model_file_close(&file);
    return code;
}

int pcr_session_try(const struct pcr_session_trial *trial, struct pacer_session **out,
                    struct pacer_error *err) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    struct pcr_model_file file;
    *out = NULL;
    options.intra_op_threads = trial->threads;
    options.skip_warm_up = true;
    int code = pcr_model_file_of(trial->bytes, trial->folder, &file, err);
    file.as_it_is = trial->as_it_is;
    if (code == 0)
        code = open_file(&file, trial->name, &options, out, err);
    pcr_model_file_close(&file);
    return code;
}

void pcr_session_close(struct pacer_session *s) {
    if (!s)
        return;
    if (s->ort)
        pcr_ort()->api->ReleaseSession(s->ort);
    pcr_map_fini(&s->input_index);
    pcr_map_fini(&s->output_index);
    pcr_arena_fini(&s->arena);
    free(s);
}

// --- what others ask ----------------------------------------------------------------------------
const struct pacer_tensor_info *pacer_session_inputs(const struct pacer_session *session,
                                                     size_t *n) {
    *n = session->n_required;
    return session->inputs;
}

const struct pacer_tensor_info *pacer_session_outputs(const struct pacer_session *session,
                                                      size_t *n) {
    *n = session->n_outputs;
    return session->outputs;
}

const char *pacer_session_metadata(const struct pacer_session *session, const char *key) {
    for (size_t i = 0; i < session->n_metadata; i++)
        if (strcmp(session->metadata[2 * i], key) == 0)
            return session->metadata[2 * i + 1];
    return NULL;
}

const char *const *pcr_session_classes(const struct pacer_session *session, const char *output,
                                       size_t *n, bool *are_text) {
    uintptr_t at = (uintptr_t)pcr_map_get(&session->output_index, pcr_str(output));
    *n = 0;
    *are_text = false;
    if (!session->labels || at == 0)
        return NULL;
    const struct pcr_onnx_labels *labels = &session->labels[at - 1];
    *n = labels->n;
    *are_text = labels->are_text;
    return labels->names;
}

const char *pacer_session_version(const struct pacer_session *session) {
    return session->version;
}

bool pcr_session_is_quantized(const struct pacer_session *session) {
    return session->is_quantized;
}

uint64_t pcr_session_run_ns(const struct pacer_session *session) {
    return session->has_loop ? UINT64_MAX : pcr_cost_ns(&session->cost, 1);
}

const struct pcr_cost *pcr_session_cost(const struct pacer_session *session) {
    return &session->cost;
}

enum pcr_rows pcr_session_rows(const struct pacer_session *session) {
    return session->rows;
}

size_t pcr_session_warm_up_elements(const struct pacer_session *session) {
    return session->warm_up_elements;
}
