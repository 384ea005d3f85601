// SPDX-License-Identifier: Apache-2.0
// What the Open Inference Protocol tells about a server and its models: health, metadata,
// configuration, statistics.
//
// Clients read some of these answers without checking: perf_analyzer takes every field of the
// statistics and `decoupled` and `enable` of the configuration for granted, and needs numbers to be
// numbers. So the shapes here are the ones real clients know, and `extensions` names only what is
// implemented (a client that sees "statistics" there goes and reads them). The configuration is one
// a model would have had in a config.pbtxt, made from what the model itself says.
#include "server/v2.h"

#include <inttypes.h>
#include <stdlib.h>

#define META_BYTES_MAX ((size_t)64 << 20)
#define PLATFORM "onnxruntime_onnx"

static const char *const extensions[] = {
    "classification", "model_repository", "model_configuration", "binary_tensor_data", "statistics",
};

// --- buffers ------------------------------------------------------------------------------------

static void free_buf(void *ptr) {
    pcr_buf_fini(ptr);
}

bool pcr_reply_buf_init(struct pcr_http_request *request, struct pcr_buf **out) {
    struct pcr_buf *buf = pcr_arena_alloc(&request->arena, sizeof *buf);
    if (buf) {
        pcr_buf_init(buf, META_BYTES_MAX);
        if (!pcr_arena_on_reset(&request->arena, free_buf, buf))
            buf = NULL;
    }
    if (!buf)
        pcr_reply_error(request, 503, "out of memory");
    *out = buf;
    return buf != NULL;
}

void pcr_reply_buf(struct pcr_http_request *request, const struct pcr_buf *buf) {
    if (buf->failed)
        pcr_reply_error(request, 503, "no memory for the answer");
    else
        pcr_reply_json(request, 200, pcr_buf_view(buf));
}

// --- the server ---------------------------------------------------------------------------------

void pcr_v2_server(struct pcr_app *app, struct pcr_http_request *request,
                   const struct pcr_route_match *match) {
    (void)match;
    struct pcr_buf *buf;
    struct pcr_json_writer writer;
    if (!pcr_reply_buf_init(request, &buf))
        return;
    pcr_json_writer_init(&writer, buf);
    pcr_json_object_begin(&writer);
    pcr_json_key(&writer, "name");
    pcr_json_text(&writer, app->server_name);
    pcr_json_key(&writer, "version");
    pcr_json_text(&writer, app->server_version);
    pcr_json_key(&writer, "extensions");
    pcr_json_array_begin(&writer);
    for (size_t i = 0; i < PCR_COUNT_OF(extensions); i++)
        pcr_json_text(&writer, extensions[i]);
    pcr_json_array_end(&writer);
    pcr_json_object_end(&writer);
    pcr_reply_buf(request, buf);
}

void pcr_v2_live(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match) {
    (void)app;
    (void)match;
    pcr_reply_json(request, 200, PCR_STR("{\"live\":true}"));
}

static bool is_set(const atomic_bool *flag) {
    return flag && atomic_load_explicit(flag, memory_order_relaxed);
}

void pcr_v2_ready(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    (void)match;
    if (!is_set(app->loading) && !is_set(app->draining) && pcr_repository_ready(app->repository))
        pcr_reply_json(request, 200, PCR_STR("{\"ready\":true}"));
    else
        pcr_reply_json(request, 503, PCR_STR("{\"ready\":false}"));
}

// --- one model ----------------------------------------------------------------------------------

// The model, or NULL after the error has been answered.
struct pcr_model *pcr_v2_model_or_reply(struct pcr_app *app, struct pcr_http_request *request,
                                        const struct pcr_route_match *match) {
    struct pacer_error err;
    struct pcr_model *model = pcr_v2_get_model(app, match, &err);
    if (!model)
        pcr_reply_failure(request, &err);
    return model;
}

static void write_ready(struct pcr_json_writer *writer, struct pcr_str name, bool ready) {
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "name");
    pcr_json_string(writer, name);
    pcr_json_key(writer, "ready");
    pcr_json_bool(writer, ready);
    pcr_json_object_end(writer);
}

void pcr_v2_model_ready(struct pcr_app *app, struct pcr_http_request *request,
                        const struct pcr_route_match *match) {
    struct pacer_error err;
    struct pcr_model *model = pcr_v2_get_model(app, match, &err);
    if (!model && err.code != PACER_EBUSY) {
        pcr_reply_failure(request, &err);
        return;
    }
    bool ready = model != NULL;
    pcr_model_unref(model);
    struct pcr_buf *buf;
    struct pcr_json_writer writer;
    if (!pcr_reply_buf_init(request, &buf))
        return;
    pcr_json_writer_init(&writer, buf);
    write_ready(&writer, match->params[0], ready);
    pcr_reply_json(request, ready && !buf->failed ? 200 : 503, pcr_buf_view(buf));
}

static void write_shape(struct pcr_json_writer *writer, const struct pacer_tensor_info *info,
                        size_t from) {
    pcr_json_array_begin(writer);
    for (size_t i = from; i < info->rank; i++)
        pcr_json_i64(writer, info->shape[i]);
    pcr_json_array_end(writer);
}

static void write_tensor_metadata(struct pcr_json_writer *writer, const char *key,
                                  const struct pacer_tensor_info *infos, size_t n) {
    pcr_json_key(writer, key);
    pcr_json_array_begin(writer);
    for (size_t i = 0; i < n; i++) {
        pcr_json_object_begin(writer);
        pcr_json_key(writer, "name");
        pcr_json_text(writer, infos[i].name);
        pcr_json_key(writer, "datatype");
        pcr_json_text(writer, pacer_dtype_name(infos[i].dtype));
        pcr_json_key(writer, "shape");
        write_shape(writer, &infos[i], 0);
        pcr_json_object_end(writer);
    }
    pcr_json_array_end(writer);
}

static void write_versions(struct pcr_json_writer *writer, const char *name,
                           const struct pcr_model_status *index, size_t n) {
    pcr_json_key(writer, "versions");
    pcr_json_array_begin(writer);
    for (size_t i = 0; i < n; i++)
        if (index[i].state == PCR_MODEL_READY && strcmp(index[i].name, name) == 0)
            pcr_json_text(writer, index[i].version);
    pcr_json_array_end(writer);
}

// Which content, and which variant of it, runs under the name.
static void write_variant(struct pcr_json_writer *writer, const struct pcr_model *model) {
    const char *from = pacer_session_metadata(model->session, PCR_QUANTIZED_FROM);
    pcr_json_key(writer, "parameters");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "content_hash");
    pcr_json_text(writer, model->content_hash);
    pcr_json_key(writer, "quantized");
    pcr_json_bool(writer, from || pcr_session_is_quantized(model->session));
    if (from) {
        pcr_json_key(writer, "quantized_from");
        pcr_json_text(writer, from);
    }
    pcr_json_object_end(writer);
}

void pcr_v2_model(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    struct pcr_model *model = pcr_v2_model_or_reply(app, request, match);
    if (!model)
        return;
    struct pcr_model_status *index;
    size_t n_index, n;
    struct pcr_buf *buf;
    if (pcr_repository_index(app->repository, &request->arena, &index, &n_index) < 0) {
        pcr_reply_error(request, 503, "no memory for the answer");
    } else if (pcr_reply_buf_init(request, &buf)) {
        struct pcr_json_writer writer;
        pcr_json_writer_init(&writer, buf);
        pcr_json_object_begin(&writer);
        pcr_json_key(&writer, "name");
        pcr_json_text(&writer, model->name);
        write_versions(&writer, model->name, index, n_index);
        pcr_json_key(&writer, "platform");
        pcr_json_text(&writer, PLATFORM);
        const struct pacer_tensor_info *infos = pacer_session_inputs(model->session, &n);
        write_tensor_metadata(&writer, "inputs", infos, n);
        infos = pacer_session_outputs(model->session, &n);
        write_tensor_metadata(&writer, "outputs", infos, n);
        write_variant(&writer, model);
        pcr_json_object_end(&writer);
        pcr_reply_buf(request, buf);
    }
    pcr_model_unref(model);
}

// --- configuration ------------------------------------------------------------------------------

static void write_tensor_config(struct pcr_json_writer *writer, const char *key,
                                const struct pacer_tensor_info *infos, size_t n, bool batches) {
    pcr_json_key(writer, key);
    pcr_json_array_begin(writer);
    for (size_t i = 0; i < n; i++) {
        const char *name = pacer_dtype_name(infos[i].dtype);
        char data_type[24];
        snprintf(data_type, sizeof data_type, "TYPE_%s",
                 infos[i].dtype == PACER_BYTES ? "STRING" : name);
        pcr_json_object_begin(writer);
        pcr_json_key(writer, "name");
        pcr_json_text(writer, infos[i].name);
        pcr_json_key(writer, "data_type");
        pcr_json_text(writer, data_type);
        pcr_json_key(writer, "dims");
        write_shape(writer, &infos[i], batches ? 1 : 0);
        pcr_json_object_end(writer);
    }
    pcr_json_array_end(writer);
}

// A config.pbtxt knows no other parameters than texts.
static void write_parameter(struct pcr_json_writer *writer, const char *key, const char *value) {
    pcr_json_key(writer, key);
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "string_value");
    pcr_json_text(writer, value);
    pcr_json_object_end(writer);
}

static void write_config(struct pcr_json_writer *writer, const struct pcr_model *model) {
    bool batches = model->max_batch_size > 0;
    size_t n;
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "name");
    pcr_json_text(writer, model->name);
    pcr_json_key(writer, "platform");
    pcr_json_text(writer, PLATFORM);
    pcr_json_key(writer, "backend");
    pcr_json_text(writer, "onnxruntime");
    pcr_json_key(writer, "max_batch_size");
    pcr_json_i64(writer, model->max_batch_size);
    const struct pacer_tensor_info *infos = pacer_session_inputs(model->session, &n);
    write_tensor_config(writer, "input", infos, n, batches);
    infos = pacer_session_outputs(model->session, &n);
    write_tensor_config(writer, "output", infos, n, batches);
    if (model->dynamic_batching || model->merges)
        pcr_json_key(writer, "dynamic_batching"), pcr_json_raw(writer, PCR_STR("{}"));
    pcr_json_key(writer, "response_cache");
    pcr_json_raw(writer, model->config.keep_ns ? PCR_STR("{\"enable\":true}")
                                               : PCR_STR("{\"enable\":false}"));
    pcr_json_key(writer, "model_transaction_policy");
    pcr_json_raw(writer, PCR_STR("{\"decoupled\":false}"));
    pcr_json_key(writer, "parameters");
    pcr_json_object_begin(writer);
    write_parameter(writer, "content_hash", model->content_hash);
    write_parameter(writer, "quantized",
                    pcr_session_is_quantized(model->session) ? "true" : "false");
    pcr_json_object_end(writer);
    pcr_json_object_end(writer);
}

void pcr_v2_model_config(struct pcr_app *app, struct pcr_http_request *request,
                         const struct pcr_route_match *match) {
    struct pcr_model *model = pcr_v2_model_or_reply(app, request, match);
    if (!model)
        return;
    struct pcr_buf *buf;
    if (pcr_reply_buf_init(request, &buf)) {
        struct pcr_json_writer writer;
        pcr_json_writer_init(&writer, buf);
        write_config(&writer, model);
        pcr_reply_buf(request, buf);
    }
    pcr_model_unref(model);
}
