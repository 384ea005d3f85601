// SPDX-License-Identifier: Apache-2.0
// What lies in a models directory.
//
//     NAME.onnx                        one model, version 1
//     NAME.int8.onnx                   its quantized variant; a model of its own only where
//     NAME.onnx is not there NAME/VERSION/model.onnx          versions are whole numbers; anything
//     else in NAME is left alone NAME/VERSION/model.int8.onnx     the quantized variant
//     NAME/config.pbtxt                optional
//
// Names that begin with a dot are skipped (Kubernetes keeps its links so), as is everything that
// fits no line of the above: the external data of models lies here too. Where both forms claim a
// name, the directory has it.
#include "infer/repository_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX (1u << 20)
#define MODELS_MAX 10000

struct layout {
    const char *dir;
    const char *only;
    struct pcr_arena *arena;
    struct pcr_found *found;
    size_t n;
    struct pacer_error *err;
};

static int out_of_memory(const struct layout *l) {
    return pcr_err(l->err, PACER_ENOMEM, "repository", "out of memory");
}

bool pcr_model_name_ok(struct pcr_str name) {
    if (name.len == 0 || name.len > 255 || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\')
            return false;
    }
    return true;
}

static bool exists(const char *path, mode_t type) {
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

static int add(struct layout *l, const char *name, uint64_t number, const char *path,
               const struct pcr_pbtxt *config, const char *fault) {
    if (++l->n > MODELS_MAX)
        return pcr_err(l->err, PACER_ELIMIT, "repository", "%s: more than %d models", l->dir,
                       MODELS_MAX);
    struct pcr_found *found = pcr_arena_calloc(l->arena, 1, sizeof *found);
    if (!found)
        return out_of_memory(l);
    *found = (struct pcr_found){.number = number, .config = *config, .next = l->found};
    found->name = pcr_arena_dup(l->arena, pcr_str(name));
    found->version = number == UINT64_MAX
                         ? pcr_arena_dup(l->arena, PCR_STR(""))
                         : pcr_arena_printf(l->arena, "%llu", (unsigned long long)number);
    found->path = pcr_arena_dup(l->arena, pcr_str(path));
    found->fault = fault ? pcr_arena_dup(l->arena, pcr_str(fault)) : NULL;
    if (!found->name || !found->version || !found->path || (fault && !found->fault))
        return out_of_memory(l);
    l->found = found;
    return 0;
}

// A file NAME.onnx of the directory itself.
static int add_file(struct layout *l, const char *file) {
    struct pcr_str name = pcr_str(file);
    name.len -= strlen(".onnx");
    struct pcr_pbtxt config;
    pcr_pbtxt_parse(PCR_STR(""), &config, NULL);
    const char *path = pcr_arena_printf(l->arena, "%s/%s", l->dir, file);
    const char *text = pcr_arena_dup(l->arena, name);
    if (!path || !text)
        return out_of_memory(l);
    if (!pcr_model_name_ok(name) || (l->only && strcmp(l->only, text) != 0) ||
        !exists(path, S_IFREG))
        return 0;
    if (pcr_str_ends_with(name, PCR_STR(".int8"))) {
        const char *plain =
            pcr_arena_printf(l->arena, "%s/%.*s.onnx", l->dir, (int)(name.len - 5), file);
        if (!plain)
            return out_of_memory(l);
        if (exists(plain, S_IFREG))
            return 0;
    }
    return add(l, text, 1, path, &config, NULL);
}

// Reads NAME/config.pbtxt if it is there; *fault is the message if it is wrong.
static int read_config(struct layout *l, const char *dir, struct pcr_pbtxt *config,
                       const char **fault) {
    pcr_pbtxt_parse(PCR_STR(""), config, NULL);
    const char *path = pcr_arena_printf(l->arena, "%s/config.pbtxt", dir);
    if (!path)
        return out_of_memory(l);
    *fault = NULL;
    if (access(path, F_OK) == 0 && !exists(path, S_IFREG)) { // a FIFO would hold us up for ever
        *fault = pcr_arena_printf(l->arena, "%s: not a regular file", path);
        return *fault ? 0 : out_of_memory(l);
    }
    struct pcr_buf text;
    struct pacer_error error = {0};
    pcr_buf_init(&text, CONFIG_BYTES_MAX);
    int code = pcr_file_read(path, &text, &error);
    if (code == 0 && (code = pcr_pbtxt_parse(pcr_buf_view(&text), config, &error)) < 0)
        pcr_err_prefix(&error, code, "%s", path);
    pcr_buf_fini(&text);
    if (code < 0 && code != PACER_ENOTFOUND) {
        *fault = pcr_arena_dup(l->arena, pcr_str(error.message));
        return *fault ? 0 : out_of_memory(l);
    }
    return 0;
}

struct versions {
    uint64_t *numbers;
    size_t n, cap;
};

static int by_number_descending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool is_version(struct pcr_str text, uint64_t *number) {
    bool leading_zero = text.len > 1 && text.ptr[0] == '0'; // "01" would be asked for as "1"
    return !leading_zero && pcr_str_to_u64(text, INT64_MAX, number);
}

static int add_number(struct layout *l, struct versions *versions, uint64_t number) {
    if (versions->n == versions->cap) {
        size_t cap = versions->cap ? versions->cap * 2 : 16;
        uint64_t *numbers = pcr_arena_array(l->arena, cap, sizeof *numbers);
        if (!numbers)
            return out_of_memory(l);
        if (versions->n)
            memcpy(numbers, versions->numbers, versions->n * sizeof *numbers);
        versions->numbers = numbers;
        versions->cap = cap;
    }
    versions->numbers[versions->n++] = number;
    return 0;
}

static int list_versions(struct layout *l, const char *dir, struct versions *out) {
    DIR *d = opendir(dir);
    if (!d)
        return 0; // it went away, or may not be read: no versions
    int code = 0;
    for (const struct dirent *entry; code == 0 && (entry = readdir(d));) {
        uint64_t number;
        if (!is_version(pcr_str(entry->d_name), &number))
            continue;
        const char *path = pcr_arena_printf(l->arena, "%s/%s/model.onnx", dir, entry->d_name);
        if (!path)
            code = out_of_memory(l);
        else if (exists(path, S_IFREG))
            code = add_number(l, out, number);
        if (out->n > MODELS_MAX)
            code = pcr_err(l->err, PACER_ELIMIT, "repository", "%s: more than %d versions", dir,
                           MODELS_MAX);
    }
    closedir(d);
    if (out->n)
        qsort(out->numbers, out->n, sizeof *out->numbers, by_number_descending);
    return code;
}

static bool is_wanted(const struct pcr_pbtxt *config, size_t rank, uint64_t number) {
    if (config->policy == PCR_VERSIONS_LATEST)
        return rank < config->latest;
    for (size_t i = 0; i < config->n_versions && config->policy == PCR_VERSIONS_SPECIFIC; i++)
        if (config->versions[i] == number)
            return true;
    return config->policy == PCR_VERSIONS_ALL;
}

// A directory NAME; *claimed if it holds a model.
static int add_dir(struct layout *l, const char *name, bool *claimed) {
    *claimed = false;
    const char *dir = pcr_arena_printf(l->arena, "%s/%s", l->dir, name);
    if (!dir)
        return out_of_memory(l);
    if (!pcr_model_name_ok(pcr_str(name)) || (l->only && strcmp(l->only, name) != 0) ||
        !exists(dir, S_IFDIR))
        return 0;
    struct versions versions = {0};
    struct pcr_pbtxt config;
    const char *fault;
    int code = list_versions(l, dir, &versions);
    if (code == 0)
        code = read_config(l, dir, &config, &fault);
    if (code < 0 || versions.n == 0)
        return code;
    *claimed = true;
    size_t taken = 0;
    for (size_t i = 0; i < versions.n && code == 0; i++) {
        if (!is_wanted(&config, i, versions.numbers[i]))
            continue;
        const char *path = pcr_arena_printf(l->arena, "%s/%llu/model.onnx", dir,
                                            (unsigned long long)versions.numbers[i]);
        code = path ? add(l, name, versions.numbers[i], path, &config, fault) : out_of_memory(l);
        taken++;
    }
    if (code == 0 && taken == 0)
        code = add(l, name, UINT64_MAX, dir, &config,
                   "the version_policy of its config.pbtxt leaves no version that is there");
    return code;
}

static int add_entry(struct layout *l, const char *name) {
    struct pcr_str text = pcr_str(name);
    bool claimed;
    if (!pcr_str_ends_with(text, PCR_STR(".onnx")))
        return add_dir(l, name, &claimed);
    // NAME.onnx gives way to a directory NAME with versions in it.
    text.len -= strlen(".onnx");
    const char *twin = pcr_arena_dup(l->arena, text);
    if (!twin)
        return out_of_memory(l);
    struct pcr_found *found = l->found;
    size_t n = l->n;
    int code = add_dir(l, twin, &claimed);
    l->found = found; // the directory is listed when its own turn comes
    l->n = n;
    if (code == 0 && claimed) {
        pcr_log(PCR_LOG_WARN, "repository", "%s/%s is not served: the directory %s has that name",
                l->dir, name, twin);
        return 0;
    }
    return code < 0 ? code : add_file(l, name);
}

int pcr_layout_scan(const char *models_dir, const char *only, struct pcr_arena *arena,
                    struct pcr_found **out, struct pacer_error *err) {
    struct layout layout = {.dir = models_dir, .only = only, .arena = arena, .err = err};
    DIR *d = opendir(models_dir);
    if (!d)
        return pcr_err(err, errno == ENOENT || errno == ENOTDIR ? PACER_ENOTFOUND : PACER_EIO,
                       "repository", "the models directory %s cannot be read: %s", models_dir,
                       strerror(errno));
    int code = 0;
    for (const struct dirent *entry; code == 0 && (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            code = add_entry(&layout, entry->d_name);
    closedir(d);
    *out = layout.found;
    return code;
}
