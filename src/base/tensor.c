// SPDX-License-Identifier: Apache-2.0
#include "base/assert.h"

#include <pacer/tensor.h>
#include <stdbool.h>
#include <string.h>

struct dtype {
    const char *name;
    size_t size;
};

static const struct dtype dtypes[] = {[PACER_DTYPE_INVALID] = {"INVALID", 0},
#define X(name, text, size) [PACER_##name] = {text, size},
                                      PACER_DTYPES(X)
#undef X
};

const char *pacer_dtype_name(enum pacer_dtype dtype) {
    return (size_t)dtype < PCR_COUNT_OF(dtypes) ? dtypes[dtype].name : dtypes[0].name;
}

enum pacer_dtype pacer_dtype_parse(const char *name) {
    for (size_t i = 1; name && i < PCR_COUNT_OF(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return (enum pacer_dtype)i;
    return PACER_DTYPE_INVALID;
}

size_t pacer_dtype_size(enum pacer_dtype dtype) {
    return (size_t)dtype < PCR_COUNT_OF(dtypes) ? dtypes[dtype].size : 0;
}

int pacer_shape_count(const int64_t *shape, size_t rank, size_t *out) {
    size_t count = 1;
    bool overflow = false;
    bool empty = false;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return PACER_EINVAL;
        empty |= shape[i] == 0;
        overflow |= __builtin_mul_overflow(count, (size_t)shape[i], &count);
    }
    if (empty) // whatever the other dimensions multiply to
        count = 0;
    else if (overflow || count > INT64_MAX)
        return PACER_ELIMIT;
    *out = count;
    return 0;
}
