// SPDX-License-Identifier: Apache-2.0
#include "compare/compare.h"

#include "onnx/external.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

uint64_t pcr_resident_bytes(void) {
    unsigned long long pages = 0, resident = 0;
    malloc_trim(0);
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &pages, &resident) != 2) // NOLINT(cert-err34-c): the kernel's
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

int pcr_model_bytes(const char *path, uint64_t *bytes, struct pacer_error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return pcr_err(err, errno == ENOENT ? PACER_ENOTFOUND : PACER_EIO, "compare", "%s: %s",
                       path, strerror(errno));
    *bytes = (uint64_t)st.st_size;
    uint64_t external = 0;
    int code = pcr_onnx_external_bytes(path, &external, err);
    *bytes += external;
    return code;
}
