// SPDX-License-Identifier: Apache-2.0
// A model file without its large lists of numbers, so that unpacking it copies no weights.
#ifndef PCR_ONNX_SKELETON_PRIV_H
#define PCR_ONNX_SKELETON_PRIV_H

#include "onnx/proto_priv.h"

struct pcr_onnx_piece { // what was left out of a tensor
    struct pcr_str bytes;
    bool is_floats; // of float_data, packed; else raw_data
};
struct pcr_onnx_pieces {
    struct pcr_onnx_piece *items; // heap
    size_t n, cap;
};

// Writes the file, which was scanned, into *out without the lists. PACER_EMODEL (a tensor has a
// field that is ours), PACER_ENOMEM.
int pcr_onnx_skeleton(struct pcr_str file, struct pcr_buf *out, struct pcr_onnx_pieces *pieces,
                      struct pacer_error *err);
// Gives every tensor of the unpacked skeleton its piece back, as raw_data that lies in the file's
// memory: in place, but for up to three bytes, so that floats can be read there.
int pcr_onnx_skeleton_fill(Onnx__ModelProto *model, const struct pcr_onnx_pieces *pieces,
                           struct pacer_error *err);

#endif
