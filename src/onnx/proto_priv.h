// SPDX-License-Identifier: Apache-2.0
// protobuf-c's generated code and an allocator for it that has a limit.
#ifndef PCR_ONNX_PROTO_PRIV_H
#define PCR_ONNX_PROTO_PRIV_H

#include "onnx/onnx.h"

#include <onnx.pb-c.h>

// Everything unpacked lies in `arena` and goes with it; nothing is freed one by one.
ProtobufCAllocator pcr_onnx_allocator(struct pcr_arena *arena);
// "FP32", or ONNX's own name for types the inference protocol does not have.
const char *pcr_onnx_type_name(int32_t type);
enum pacer_dtype pcr_onnx_dtype(int32_t type);
int32_t pcr_onnx_type_of(enum pacer_dtype dtype); // 0 for none
// Bits of one element; 0 for strings and unknown types.
unsigned pcr_onnx_type_bits(int32_t type);

// Calls `each` for every tensor within a message, wherever, until one answer is negative: the
// result.
int pcr_onnx_each_tensor(ProtobufCMessage *message,
                         int (*each)(void *ctx, Onnx__TensorProto *tensor), void *ctx);

#endif
