// SPDX-License-Identifier: Apache-2.0
#include "onnx/external.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    while (n > 0 && folder[n - 1] == '/')
        n--;
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static int outside(struct pacer_error *err, struct pcr_str location, const char *why) {
    return pcr_err(
        err, PACER_EMODEL, "onnx",
        "the model keeps weights in '%.*s', which is not followed: %s; external data must lie "
        "in the folder of the model",
        location.len > 100 ? 100 : (int)location.len, location.ptr, why);
}

static int resolve(struct pcr_str location, const char *folder, char path[PATH_MAX],
                   struct pacer_error *err) {
    char joined[PATH_MAX];
    int n = location.len > INT_MAX ? -1
                                   : snprintf(joined, sizeof joined, "%s/%.*s", folder,
                                              (int)location.len, location.ptr);
    if (n < 0 || (size_t)n >= sizeof joined)
        return outside(err, location, "its path is too long");
    if (!realpath(joined, path))
        return pcr_err(
            err, PACER_EMODEL, "onnx",
            "the model keeps weights in '%.*s', which is not there: %s; put that file beside "
            "the model",
            (int)location.len, location.ptr, strerror(errno));
    return 0;
}

int pcr_onnx_external_find(const struct pcr_onnx_external *external, const char *folder,
                           const char *own_folder, char path[PATH_MAX], struct stat *st,
                           struct pacer_error *err) {
    struct pcr_str location = external->location;
    const char *fault = pcr_onnx_location_fault(location);
    if (!fault && !folder)
        fault = "the model is in no folder";
    if (fault)
        return outside(err, location, fault);
    int code = resolve(location, folder, path, err);
    if (code < 0)
        return code;
    if (!is_below(path, folder) && !is_below(path, own_folder))
        return outside(err, location, "a link leads out of the folder");
    if (stat(path, st) < 0 || !S_ISREG(st->st_mode))
        return outside(err, location, "it is not a regular file");
    uint64_t size = (uint64_t)st->st_size;
    if (external->offset > size || external->length > size - external->offset)
        return pcr_err(
            err, PACER_EMODEL, "onnx",
            "the model wants %llu bytes from byte %llu of '%.*s', which has %llu: that file is "
            "cut short or belongs to another model",
            (unsigned long long)external->length, (unsigned long long)external->offset,
            (int)location.len, location.ptr, (unsigned long long)size);
    return 0;
}

static int add_bytes(void *ctx, const struct pcr_onnx_external *external, struct pacer_error *err) {
    (void)err;
    *(uint64_t *)ctx += external->length;
    return 0;
}

int pcr_onnx_external_bytes(const char *path, uint64_t *bytes, struct pacer_error *err) {
    static const struct pcr_onnx_visitor visitor = {.external = add_bytes};
    struct pcr_buf file;
    pcr_buf_init(&file, PCR_ONNX_FILE_BYTES_MAX);
    int code = pcr_file_read(path, &file, err);
    *bytes = 0;
    if (code == 0)
        code = pcr_onnx_scan(pcr_buf_view(&file), &visitor, bytes, err);
    pcr_buf_fini(&file);
    return code;
}
