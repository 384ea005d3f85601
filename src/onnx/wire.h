// SPDX-License-Identifier: Apache-2.0
// protobuf's wire format, one field at a time.
#ifndef PCR_ONNX_WIRE_H
#define PCR_ONNX_WIRE_H

#include "base/base.h"

// One field as it was read off the wire.
struct pcr_onnx_field {
    uint64_t number;
    unsigned wire_type;
    uint64_t varint;
    struct pcr_str bytes; // of the wire types 1, 2 and 5
};

enum pcr_onnx_wire {
    PCR_WIRE_OK,
    PCR_WIRE_NO_FIELD,
    PCR_WIRE_ENDLESS_NUMBER,
    PCR_WIRE_ENDLESS_LENGTH,
    PCR_WIRE_NO_TYPE,
    PCR_WIRE_TOO_LONG, // longer than what is left
};

bool pcr_onnx_varint(const char **at, const char *end, uint64_t *out);
// Reads the field at *at and moves behind it.
enum pcr_onnx_wire pcr_onnx_field_read(const char **at, const char *end,
                                       struct pcr_onnx_field *field);

#endif
