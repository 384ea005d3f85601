// SPDX-License-Identifier: Apache-2.0
#include "onnx/wire.h"

bool pcr_onnx_varint(const char **at, const char *end, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        char next = *(*at)++;
        uint8_t byte = (uint8_t)next;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << (shift > 63 ? 63 : shift);
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

enum pcr_onnx_wire pcr_onnx_field_read(const char **at, const char *end,
                                       struct pcr_onnx_field *field) {
    uint64_t tag;
    if (!pcr_onnx_varint(at, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return PCR_WIRE_NO_FIELD;
    *field = (struct pcr_onnx_field){.number = tag >> 3, .wire_type = (unsigned)(tag & 7)};
    uint64_t size = 0;
    switch (field->wire_type) {
    case 0:
        return pcr_onnx_varint(at, end, &field->varint) ? PCR_WIRE_OK : PCR_WIRE_ENDLESS_NUMBER;
    case 1:
        size = 8;
        break;
    case 2:
        if (!pcr_onnx_varint(at, end, &size))
            return PCR_WIRE_ENDLESS_LENGTH;
        break;
    case 5:
        size = 4;
        break;
    default:
        return PCR_WIRE_NO_TYPE;
    }
    if (size > (uint64_t)(end - *at))
        return PCR_WIRE_TOO_LONG;
    field->bytes = (struct pcr_str){*at, (size_t)size};
    *at += size;
    return PCR_WIRE_OK;
}
