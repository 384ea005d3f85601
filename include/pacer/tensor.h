// SPDX-License-Identifier: Apache-2.0
// Tensor views: how libpacer's callers hand numbers in and get them back, without a copy.
#ifndef PACER_TENSOR_H
#define PACER_TENSOR_H

#include <pacer/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types, named as in the Open Inference Protocol:
// type, v2 name, bytes per element (0: variable).
#define PACER_DTYPES(X)    \
    X(BOOL, "BOOL", 1)     \
    X(UINT8, "UINT8", 1)   \
    X(UINT16, "UINT16", 2) \
    X(UINT32, "UINT32", 4) \
    X(UINT64, "UINT64", 8) \
    X(INT8, "INT8", 1)     \
    X(INT16, "INT16", 2)   \
    X(INT32, "INT32", 4)   \
    X(INT64, "INT64", 8)   \
    X(FP16, "FP16", 2)     \
    X(BF16, "BF16", 2)     \
    X(FP32, "FP32", 4)     \
    X(FP64, "FP64", 8)     \
    X(BYTES, "BYTES", 0)

enum pacer_dtype {
    PACER_DTYPE_INVALID = 0,
#define X(name, text, size) PACER_##name,
    PACER_DTYPES(X)
#undef X
};

#define PACER_RANK_MAX 16

// One element of a BYTES tensor: borrowed, not NUL-terminated, may hold any byte.
struct pacer_bytes {
    const char *data;
    size_t size;
};

// A tensor somebody else owns. `data` is row-major in the machine's byte order; for
// BYTES it points to struct pacer_bytes[element count]. `shape` has `rank` dimensions,
// each >= 0; rank 0 is a scalar.
struct pacer_tensor {
    const char *name; // NUL-terminated
    enum pacer_dtype dtype;
    size_t rank;
    const int64_t *shape;
    const void *data;
};

// What a model declares of an input or output; a dimension of -1 is dynamic. A `shape` of NULL
// (with rank 0) means that not even the rank is declared: any shape will do.
struct pacer_tensor_info {
    const char *name;
    enum pacer_dtype dtype;
    size_t rank;
    const int64_t *shape;
};

// "FP32" and so on; "INVALID" for none. Static text, any thread.
PACER_API const char *pacer_dtype_name(enum pacer_dtype dtype);
// The type of that v2 name, or PACER_DTYPE_INVALID.
PACER_API enum pacer_dtype pacer_dtype_parse(const char *name);
// Bytes per element; 0 for BYTES and for no type.
PACER_API size_t pacer_dtype_size(enum pacer_dtype dtype);
// Number of elements of a shape into *out.
// PACER_EINVAL for a negative dimension, PACER_ELIMIT on overflow.
PACER_API int pacer_shape_count(const int64_t *shape, size_t rank, size_t *out);

#ifdef __cplusplus
}
#endif
#endif
