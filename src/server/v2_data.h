// SPDX-License-Identifier: Apache-2.0
// Tensor data in its two forms on the wire. Shown only to the v2 codec.
#ifndef PCR_SERVER_V2_DATA_H
#define PCR_SERVER_V2_DATA_H

#include "server/v2_codec.h"

// What is being read; for messages too.
struct pcr_v2_slot {
    const char *model;
    const char *input;
    enum pacer_dtype dtype;
    size_t rank;
    const int64_t *shape;
    size_t count; // elements of the shape
};

// Reads a JSON array, nested or flat, straight into an array of the element type. `text_bytes` is
// the length of the JSON it came from: a shape that promises more elements than that is refused
// before memory is taken.
int pcr_v2_data_from_json(struct pcr_arena *arena, const struct pcr_v2_slot *slot, yyjson_val *data,
                          size_t text_bytes, const void **out, struct pacer_error *err);
// Reads a binary tensor: borrowed from `bytes` where they are aligned, else copied.
int pcr_v2_data_from_binary(struct pcr_arena *arena, const struct pcr_v2_slot *slot,
                            struct pcr_str bytes, const void **out, struct pacer_error *err);

// Appends a JSON array, flat; *non_finite becomes true if a NaN or an infinity became null.
void pcr_v2_data_to_json(struct pcr_json_writer *writer, const struct pacer_tensor *tensor,
                         size_t count, bool *non_finite);
// The most bytes pcr_v2_data_to_json appends; SIZE_MAX on overflow.
size_t pcr_v2_data_json_bytes_max(const struct pacer_tensor *tensor, size_t count);
// Size of the binary form; SIZE_MAX on overflow (or an element too long for its 32-bit length).
size_t pcr_v2_data_binary_bytes(const struct pacer_tensor *tensor, size_t count);
// Writes it to memory of that size.
void pcr_v2_data_to_binary(const struct pacer_tensor *tensor, size_t count, char *out);

#endif
