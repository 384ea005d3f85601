// SPDX-License-Identifier: Apache-2.0
// Writing a model.
//
// protobuf-c hands the file out piece by piece, weights straight from where they lie, so saving
// takes no memory worth mentioning. Files appear under their names only once they are whole and on
// disk.
//
// Weights move into a second file where the model had such files or would not fit into one:
// protobuf has no longer messages than 2 GiB. A tensor is changed for that while the model is
// written, and is as before afterwards.
#include "onnx/model_priv.h"

#include "onnx/external.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXTERNAL_BYTES_MIN 1024 // smaller ones stay in the model
#define ALIGNMENT 4096          // so that they can be mapped
#define CHUNK_BYTES ((size_t)1 << 20)
#define FILE_MODE 0666

// --- into memory --------------------------------------------------------------------------------
struct sink {
    ProtobufCBuffer base; // first: protobuf-c knows only this
    struct pcr_buf *buf;
    FILE *file;
    bool failed;
    int error;
};

static void append(ProtobufCBuffer *base, size_t len, const uint8_t *data) {
    struct sink *sink = (struct sink *)base;
    if (sink->buf)
        sink->failed |= !pcr_buf_append(sink->buf, data, len);
    else if (!sink->failed && len > 0 && fwrite(data, 1, len, sink->file) != len) {
        sink->failed = true;
        sink->error = errno;
    }
}

int pcr_onnx_model_pack(struct pcr_onnx_model *model, struct pcr_buf *out,
                        struct pacer_error *err) {
    int code = pcr_onnx_model_check_memory(model, err);
    if (code < 0)
        return code;
    size_t bytes = onnx__model_proto__get_packed_size(model->proto);
    if (bytes > PCR_ONNX_FILE_BYTES_MAX || bytes > out->max_bytes)
        return pcr_err(err, PACER_ELIMIT, "onnx", "the model has %zu bytes, more than are allowed",
                       bytes);
    struct sink sink = {.base = {append}, .buf = out};
    pcr_buf_reserve(out, bytes);
    onnx__model_proto__pack_to_buffer(model->proto, &sink.base);
    return out->failed ? pcr_err(err, PACER_ENOMEM, "onnx", "out of memory") : 0;
}

// --- into files ---------------------------------------------------------------------------------
// One that gets its name at the end.
struct output {
    char path[PATH_MAX], temporary[PATH_MAX];
    FILE *file;
};

static int fail(struct pacer_error *err, const char *path, int error) {
    return pcr_err(err, PACER_EIO, "onnx", "cannot write '%s': %s%s", path, strerror(error),
                   error == ENOSPC ? "; nothing was left there" : "");
}

static int output_open(struct output *output, const char *path, const char *suffix,
                       struct pacer_error *err) {
    int n = snprintf(output->path, sizeof output->path, "%s%s", path, suffix);
    int m = snprintf(output->temporary, sizeof output->temporary, "%s%s.%ld.tmp", path, suffix,
                     (long)getpid());
    if (n < 0 || m < 0 || (size_t)m >= sizeof output->temporary)
        return pcr_err(err, PACER_EINVAL, "onnx", "the path '%s' is too long", path);
    int fd = open(output->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    output->file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (output->file)
        return 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return fail(err, output->path, error);
}

// On disk, but not yet under its name.
static int output_finish(struct output *output, struct pacer_error *err) {
    bool ok = fflush(output->file) == 0 && fsync(fileno(output->file)) == 0;
    int error = errno;
    if (fclose(output->file) != 0 && ok) {
        ok = false;
        error = errno;
    }
    output->file = NULL;
    return ok ? 0 : fail(err, output->path, error);
}

static void output_discard(struct output *output) {
    if (output->file)
        fclose(output->file);
    if (*output->temporary)
        unlink(output->temporary);
}

static int output_name(struct output *output, struct pacer_error *err) {
    if (rename(output->temporary, output->path) < 0)
        return fail(err, output->path, errno);
    *output->temporary = '\0';
    return 0;
}

// --- weights in a file of their own -------------------------------------------------------------
struct moved { // a tensor as it was
    Onnx__TensorProto *tensor;
    Onnx__TensorProto before;
};

struct save {
    struct pcr_onnx_model *model;
    struct output model_file, data_file;
    const char *data_name; // as the model will have it
    uint64_t offset;
    struct moved *moved;
    size_t n_moved, moved_cap;
    bool all; // not only what was external
    struct pacer_error *err;
};

static int write_all(struct save *save, const void *data, size_t bytes) {
    if (bytes > 0 && fwrite(data, 1, bytes, save->data_file.file) != bytes)
        return fail(save->err, save->data_file.path, errno);
    save->offset += bytes;
    return 0;
}

static int align(struct save *save) {
    static const char zeros[ALIGNMENT];
    return write_all(save, zeros, (size_t)(-save->offset % ALIGNMENT));
}

// Copies what lies in another file, without having it in memory.
static int copy_place(struct save *save, const struct pcr_onnx_place *place) {
    char *chunk = malloc(CHUNK_BYTES);
    int fd = chunk ? pcr_onnx_place_open(save->model, place, save->err)
                   : pcr_err(save->err, PACER_ENOMEM, "onnx", "out of memory");
    uint64_t at = place->offset, end = place->length ? at + place->length : UINT64_MAX;
    int code = fd < 0 ? fd : 0;
    while (code == 0 && at < end) {
        size_t want = end - at < CHUNK_BYTES ? (size_t)(end - at) : CHUNK_BYTES;
        ssize_t n = pread(fd, chunk, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (n == 0 && place->length))
            code = pcr_err(save->err, PACER_EIO, "onnx", "cannot read '%s': %s", place->location,
                           n < 0 ? strerror(errno) : "it is cut short");
        if (n <= 0)
            break;
        code = write_all(save, chunk, (size_t)n);
        at += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    free(chunk);
    return code;
}

static bool remember(struct save *save, Onnx__TensorProto *tensor) {
    if (save->n_moved == save->moved_cap) {
        size_t cap = save->moved_cap ? 2 * save->moved_cap : 64;
        struct moved *moved = realloc(save->moved, cap * sizeof *moved);
        if (!moved)
            return false;
        save->moved = moved;
        save->moved_cap = cap;
    }
    save->moved[save->n_moved++] = (struct moved){tensor, *tensor};
    return true;
}

static int move_tensor(void *ctx, Onnx__TensorProto *tensor) {
    struct save *save = ctx;
    struct pcr_onnx_place place = pcr_onnx_place_of(tensor);
    if (!place.location &&
        (!save->all || !tensor->has_raw_data || tensor->raw_data.len < EXTERNAL_BYTES_MIN))
        return 0;
    int code = align(save);
    uint64_t from = save->offset;
    if (code == 0)
        code = place.location ? copy_place(save, &place)
                              : write_all(save, tensor->raw_data.data, tensor->raw_data.len);
    if (code < 0)
        return code;
    bool ok = remember(save, tensor);
    pcr_onnx_constant_set_place(save->model, pcr_onnx_constant_of(tensor), save->data_name, from,
                                save->offset - from);
    if (!ok || save->model->failed)
        return pcr_err(save->err, PACER_ENOMEM, "onnx", "out of memory");
    return 0;
}

// Tensors within nodes stay where they are, as ONNX Runtime wants them.
static int move_weights(struct save *save) {
    Onnx__ModelProto *proto = save->model->proto;
    save->all = false;
    int code = pcr_onnx_each_tensor(&proto->base, move_tensor, save);
    save->all = true;
    for (size_t i = 0; i < proto->graph->n_initializer && code == 0; i++)
        if (!pcr_onnx_place_of(proto->graph->initializer[i]).location)
            code = move_tensor(save, proto->graph->initializer[i]);
    return code == 0 ? output_finish(&save->data_file, save->err) : code;
}

static void move_back(struct save *save) {
    for (size_t i = 0; i < save->n_moved; i++)
        *save->moved[i].tensor = save->moved[i].before;
    free(save->moved);
}

// --- all of it ----------------------------------------------------------------------------------
static int is_external(void *ctx, Onnx__TensorProto *tensor) {
    bool *found = ctx;
    *found |= pcr_onnx_place_of(tensor).location != NULL;
    return 0;
}

static bool wants_data_file(struct pcr_onnx_model *model) {
    bool found = false;
    pcr_onnx_each_tensor(&model->proto->base, is_external, &found);
    return found || onnx__model_proto__get_packed_size(model->proto) > PCR_ONNX_FILE_BYTES_MAX;
}

static int write_model(struct save *save) {
    if (onnx__model_proto__get_packed_size(save->model->proto) > PCR_ONNX_FILE_BYTES_MAX)
        return pcr_err(save->err, PACER_ELIMIT, "onnx",
                       "the model would have more than 2 GiB, even without its weights");
    struct sink sink = {.base = {append}, .file = save->model_file.file};
    onnx__model_proto__pack_to_buffer(save->model->proto, &sink.base);
    return sink.failed ? fail(save->err, save->model_file.path, sink.error)
                       : output_finish(&save->model_file, save->err);
}

static int save_all(struct save *save, const char *path) {
    bool external = wants_data_file(save->model);
    int code = output_open(&save->model_file, path, "", save->err);
    if (code == 0 && external)
        code = output_open(&save->data_file, path, ".data", save->err);
    if (code == 0 && external) {
        const char *slash = strrchr(save->data_file.path, '/');
        save->data_name = slash ? slash + 1 : save->data_file.path;
        code = move_weights(save);
    }
    if (code == 0)
        code = write_model(save);
    if (code == 0 && external)
        code = output_name(&save->data_file, save->err);
    return code == 0 ? output_name(&save->model_file, save->err) : code;
}

int pcr_onnx_model_save(struct pcr_onnx_model *model, const char *path, struct pacer_error *err) {
    int code = pcr_onnx_model_check_memory(model, err);
    struct save *save = code == 0 ? calloc(1, sizeof *save) : NULL;
    if (!save)
        return code < 0 ? code : pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    save->model = model;
    save->err = err;
    code = save_all(save, path);
    move_back(save);
    output_discard(&save->model_file);
    output_discard(&save->data_file);
    free(save);
    return code;
}
