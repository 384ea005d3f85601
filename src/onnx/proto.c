// SPDX-License-Identifier: Apache-2.0
#include "onnx/proto_priv.h"

static void *allocate(void *ctx, size_t bytes) {
    return pcr_arena_alloc(ctx, bytes);
}

static void keep(void *ctx, void *memory) {
    (void)ctx, (void)memory;
}

ProtobufCAllocator pcr_onnx_allocator(struct pcr_arena *arena) {
    return (ProtobufCAllocator){allocate, keep, arena};
}

struct type {
    const char *name;
    enum pacer_dtype dtype;
    unsigned bits;
};

// By TensorProto.DataType;
// the numbers past 16 are younger than the onnx.proto of some distributions.
static const struct type types[] = {
    [1] = {"FP32", PACER_FP32, 32},
    [2] = {"UINT8", PACER_UINT8, 8},
    [3] = {"INT8", PACER_INT8, 8},
    [4] = {"UINT16", PACER_UINT16, 16},
    [5] = {"INT16", PACER_INT16, 16},
    [6] = {"INT32", PACER_INT32, 32},
    [7] = {"INT64", PACER_INT64, 64},
    [8] = {"BYTES", PACER_BYTES, 0},
    [9] = {"BOOL", PACER_BOOL, 8},
    [10] = {"FP16", PACER_FP16, 16},
    [11] = {"FP64", PACER_FP64, 64},
    [12] = {"UINT32", PACER_UINT32, 32},
    [13] = {"UINT64", PACER_UINT64, 64},
    [14] = {"COMPLEX64", PACER_DTYPE_INVALID, 64},
    [15] = {"COMPLEX128", PACER_DTYPE_INVALID, 128},
    [16] = {"BF16", PACER_BF16, 16},
    [17] = {"FLOAT8E4M3FN", PACER_DTYPE_INVALID, 8},
    [18] = {"FLOAT8E4M3FNUZ", PACER_DTYPE_INVALID, 8},
    [19] = {"FLOAT8E5M2", PACER_DTYPE_INVALID, 8},
    [20] = {"FLOAT8E5M2FNUZ", PACER_DTYPE_INVALID, 8},
    [21] = {"UINT4", PACER_DTYPE_INVALID, 4},
    [22] = {"INT4", PACER_DTYPE_INVALID, 4},
    [23] = {"FLOAT4E2M1", PACER_DTYPE_INVALID, 4},
};

static const struct type *type_of(int32_t type) {
    static const struct type none = {"an unknown type", PACER_DTYPE_INVALID, 0};
    size_t i = type > 0 ? (size_t)type : 0;
    return i < PCR_COUNT_OF(types) && types[i].name ? &types[i] : &none;
}

const char *pcr_onnx_type_name(int32_t type) {
    return type_of(type)->name;
}

enum pacer_dtype pcr_onnx_dtype(int32_t type) {
    return type_of(type)->dtype;
}

int32_t pcr_onnx_type_of(enum pacer_dtype dtype) {
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++)
        if (types[i].name && types[i].dtype == dtype)
            return (int32_t)i;
    return 0;
}

unsigned pcr_onnx_type_bits(int32_t type) {
    return type_of(type)->bits;
}

// The messages describe themselves, so whatever holds tensors is found. Types hold none.
int pcr_onnx_each_tensor(ProtobufCMessage *message,
                         int (*each)(void *ctx, Onnx__TensorProto *tensor), void *ctx) {
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    if (descriptor == &onnx__tensor_proto__descriptor)
        return each(ctx, (Onnx__TensorProto *)message);
    int code = 0;
    for (unsigned i = 0; i < descriptor->n_fields && code == 0; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE || (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            continue;
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        void *member = (char *)message + field->offset;
        const void *quantifier = (const char *)message + field->quantifier_offset;
        size_t n = repeated ? *(const size_t *)quantifier : 1;
        ProtobufCMessage **items = repeated ? *(ProtobufCMessage ***)member : member;
        for (size_t k = 0; k < n && code == 0; k++)
            code = items[k] ? pcr_onnx_each_tensor(items[k], each, ctx) : 0;
    }
    return code;
}
