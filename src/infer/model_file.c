// SPDX-License-Identifier: Apache-2.0
// Model files: read once, looked through, hashed, and only then given to ONNX Runtime.
//
// The bytes that were checked and hashed are the bytes that are loaded: the model is read into
// memory and the session is made from there. Files with external weights are opened by ONNX Runtime
// itself, so their identity is taken before and compared after. A location is followed if it is a
// plain relative path whose file, with all links resolved, lies below the folder the model was
// asked for in or the folder its own links lead to. The second is what model hubs and Kubernetes
// volumes need, where model and weights are links into one store.
//
// Rejected: handing the external files over in memory
// (AddExternalInitializersFromFilesInMemory). ONNX Runtime 1.21 replaces initializers of the
// main graph only and opens the rest by path all the same.
#include "infer/session_priv.h"
#include "onnx/external.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FACTS_BYTES_MAX (64u << 20)
#define CHUNK_BYTES (1u << 20)
#define PIECE_BYTES ((size_t)64 << 20) // between two looks whether it is still wanted
#define EXTERNALS_MAX 4096

void pcr_file_id_of(const struct stat *st, struct pcr_file_id *out) {
    *out = (struct pcr_file_id){st->st_dev, st->st_ino, st->st_size, st->st_mtim};
}

bool pcr_file_id_eq(const struct pcr_file_id *a, const struct pcr_file_id *b) {
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

bool pcr_externals_unchanged(const struct pcr_external_file *externals) {
    for (; externals; externals = externals->next) {
        struct stat st;
        struct pcr_file_id id;
        if (stat(externals->path, &st) < 0)
            return false;
        pcr_file_id_of(&st, &id);
        if (!pcr_file_id_eq(&id, &externals->id))
            return false;
    }
    return true;
}

static int io_error(struct pacer_error *err, const char *path, const char *what) {
    int code = errno == ENOENT || errno == ENOTDIR ? PACER_ENOTFOUND : PACER_EIO;
    return pcr_err(err, code, "session", "%s: %s: %s", path, what, strerror(errno));
}

static int read_exactly(int fd, const char *path, char *into, size_t bytes,
                        struct pacer_error *err) {
    while (bytes > 0) {
        int code = pcr_session_may_load(err);
        if (code < 0)
            return code;
        ssize_t n = read(fd, into, bytes < PIECE_BYTES ? bytes : PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return io_error(err, path, "it could not be read whole");
        into += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int read_open_file(int fd, const char *path, struct pcr_model_file *out,
                          struct pacer_error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return io_error(err, path, "cannot look at it");
    if (!S_ISREG(st.st_mode))
        return pcr_err(err, PACER_EIO, "session", "%s: not a regular file", path);
    if ((uint64_t)st.st_size > PCR_ONNX_FILE_BYTES_MAX)
        return pcr_err(err, PACER_EMODEL, "session",
                       "%s: %lld bytes; an ONNX file has at most 2 GiB: keep the weights of larger "
                       "models in external data",
                       path, (long long)st.st_size);
    pcr_file_id_of(&st, &out->id);
    out->size = (size_t)st.st_size;
    out->bytes = out->owned = malloc(out->size ? out->size : 1);
    if (!out->owned)
        return pcr_err(err, PACER_ENOMEM, "session", "%s: no memory for its %zu bytes", path,
                       out->size);
    return read_exactly(fd, path, out->owned, out->size, err);
}

static int read_model(const char *path, struct pcr_model_file *out, struct pacer_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hold us up
    if (fd < 0)
        return io_error(err, path, "cannot open it");
    int code = read_open_file(fd, path, out, err);
    close(fd);
    return code;
}

struct look {
    struct pcr_model_file *file;
    char own_folder[PATH_MAX]; // of the file behind the links
    size_t n_externals;
};

static int add_external(struct look *look, const char *path, const struct stat *st,
                        struct pacer_error *err) {
    struct pcr_model_file *file = look->file;
    for (const struct pcr_external_file *e = file->externals; e; e = e->next)
        if (strcmp(e->path, path) == 0)
            return 0;
    if (++look->n_externals > EXTERNALS_MAX)
        return pcr_err(err, PACER_EMODEL, "session", "more than %d files of external data",
                       EXTERNALS_MAX);
    struct pcr_external_file *added = pcr_arena_calloc(&file->arena, 1, sizeof *added);
    if (added)
        added->path = pcr_arena_dup(&file->arena, pcr_str(path));
    if (!added || !added->path)
        return pcr_err(err, PACER_ENOMEM, "session", "out of memory");
    pcr_file_id_of(st, &added->id);
    added->next = file->externals;
    file->externals = added;
    return 0;
}

static int on_external(void *ctx, const struct pcr_onnx_external *external,
                       struct pacer_error *err) {
    struct look *look = ctx;
    char path[PATH_MAX];
    struct stat st;
    int code =
        pcr_onnx_external_find(external, look->file->folder, look->own_folder, path, &st, err);
    return code < 0 ? code : add_external(look, path, &st, err);
}

static int on_value(void *ctx, const struct pcr_onnx_value *value, struct pacer_error *err) {
    struct look *look = ctx;
    if (value->has_shape)
        return 0;
    struct pcr_list_of_names *added = pcr_arena_calloc(&look->file->arena, 1, sizeof *added);
    char *name = added ? pcr_arena_dup(&look->file->arena, value->name) : NULL;
    if (!name)
        return pcr_err(err, PACER_ELIMIT, "session", "too many inputs and outputs");
    *added = (struct pcr_list_of_names){
        {name, value->name.len}, value->is_output, look->file->shapeless};
    look->file->shapeless = added;
    return 0;
}

static int on_node(void *ctx, struct pcr_str op_type, struct pacer_error *err) {
    (void)err;
    struct look *look = ctx;
    look->file->has_loop |= pcr_str_eq(op_type, PCR_STR("Loop"));
    look->file->has_labels |= pcr_onnx_makes_labels(op_type);
    return 0;
}

bool pcr_model_file_shapeless(const struct pcr_model_file *file, const char *name, bool is_output) {
    for (const struct pcr_list_of_names *n = file->shapeless; n; n = n->next)
        if (n->is_output == is_output && pcr_str_eq(n->name, pcr_str(name)))
            return true;
    return false;
}

static int hash_bytes(EVP_MD_CTX *digest, const char *bytes, size_t n, struct pacer_error *err) {
    int code = pcr_session_may_load(err);
    while (n > 0 && code == 0) {
        size_t piece = n < PIECE_BYTES ? n : PIECE_BYTES;
        if (EVP_DigestUpdate(digest, bytes, piece) != 1)
            return pcr_err(err, PACER_EINTERNAL, "session", "SHA-256 failed");
        bytes += piece;
        n -= piece;
        code = pcr_session_may_load(err);
    }
    return code;
}

static int hash_file(EVP_MD_CTX *digest, const char *path, struct pacer_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *chunk = fd < 0 ? NULL : malloc(CHUNK_BYTES);
    int code = 0;
    while (chunk && code == 0) {
        ssize_t n = read(fd, chunk, CHUNK_BYTES);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        code = n < 0 ? io_error(err, path, "cannot read it")
                     : hash_bytes(digest, chunk, (size_t)n, err);
    }
    if (fd < 0)
        code = io_error(err, path, "cannot open it");
    else if (!chunk)
        code = pcr_err(err, PACER_ENOMEM, "session", "out of memory");
    free(chunk);
    if (fd >= 0)
        close(fd);
    return code;
}

// SHA-256 of the model and the files of its external data,
// in the order in which they are first named.
static int hash_model(struct pcr_model_file *file, struct pacer_error *err) {
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    int code = 0;
    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        code = pcr_err(err, PACER_EINTERNAL, "session", "SHA-256 failed");
    else
        code = hash_bytes(digest, file->bytes, file->size, err);
    for (const struct pcr_external_file *e = file->externals; e && code == 0; e = e->next)
        code = hash_file(digest, e->path, err);
    if (code == 0 && EVP_DigestFinal_ex(digest, sum, NULL) != 1)
        code = pcr_err(err, PACER_EINTERNAL, "session", "SHA-256 failed");
    EVP_MD_CTX_free(digest);
    if (code < 0)
        return code;
    for (size_t i = 0; i < 8; i++)
        snprintf(file->version + 2 * i, 3, "%02x", sum[i]);
    return 0;
}

static void reverse_externals(struct pcr_model_file *file) {
    struct pcr_external_file *list = file->externals;
    file->externals = NULL;
    while (list) {
        struct pcr_external_file *next = list->next;
        list->next = file->externals;
        file->externals = list;
        list = next;
    }
}

static int look_through(struct look *look, struct pacer_error *err) {
    static const struct pcr_onnx_visitor visitor = {on_external, on_value, on_node};
    struct pcr_model_file *file = look->file;
    int code = pcr_onnx_scan((struct pcr_str){file->bytes, file->size}, &visitor, look, err);
    reverse_externals(file);
    return code;
}

static int look_through_file(const char *path, struct pcr_model_file *file,
                             struct pacer_error *err) {
    struct look look = {.file = file};
    snprintf(look.own_folder, sizeof look.own_folder, "%s", path);
    char *slash = strrchr(look.own_folder, '/');
    PCR_ASSERT(slash != NULL); // realpath made it
    *slash = '\0';
    int code = look_through(&look, err);
    return code < 0 ? pcr_err_prefix(err, code, "%s", path) : hash_model(file, err);
}

static int begin(const char *folder, struct pcr_model_file *out, struct pacer_error *err) {
    *out = (struct pcr_model_file){0};
    pcr_arena_init(&out->arena, FACTS_BYTES_MAX);
    out->folder = pcr_arena_dup(&out->arena, pcr_str(folder));
    return out->folder ? 0 : pcr_err(err, PACER_ENOMEM, "session", "out of memory");
}

int pcr_model_file_open(const char *path, const char *folder, struct pcr_model_file *out,
                        struct pacer_error *err) {
    int code = begin(folder, out, err);
    if (code == 0)
        code = read_model(path, out, err);
    return code == 0 ? look_through_file(path, out, err) : code;
}

int pcr_model_file_of(struct pcr_str bytes, const char *folder, struct pcr_model_file *out,
                      struct pacer_error *err) {
    struct look look = {.file = out};
    int code = begin(folder, out, err);
    if (code < 0)
        return code;
    out->bytes = bytes.ptr;
    out->size = bytes.len;
    snprintf(look.own_folder, sizeof look.own_folder, "%s", folder);
    return look_through(&look, err);
}

int pcr_model_version(const char *path, char version[17], struct pacer_error *err) {
    struct pcr_model_file file;
    char real[PATH_MAX], folder[PATH_MAX];
    if (!realpath(path, real))
        return pcr_err(err, errno == ENOENT || errno == ENOTDIR ? PACER_ENOTFOUND : PACER_EIO,
                       "session", "%s: %s", path, strerror(errno));
    int code = pcr_folder_of(path, folder, err);
    if (code < 0)
        return code;
    code = pcr_model_file_open(real, folder, &file, err);
    memcpy(version, file.version, sizeof file.version);
    pcr_model_file_close(&file);
    return code;
}

void pcr_model_file_close(struct pcr_model_file *file) {
    free(file->owned);
    file->bytes = file->owned = NULL;
    pcr_arena_fini(&file->arena);
}
