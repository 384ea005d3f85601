// SPDX-License-Identifier: Apache-2.0
// The onnx room: what an ONNX file says, without running it. The only room that sees protobuf-c.
//
// Two ways to look at a file. pcr_onnx_scan walks the wire format as it lies in memory: it takes no memory, so it may
// be used on anything before ONNX Runtime sees it. pcr_onnx_load unpacks the file for `pacer inspect`.
#ifndef PCR_ONNX_H
#define PCR_ONNX_H

#include "base/base.h"

#include <pacer/tensor.h>

#define PCR_ONNX_FILE_BYTES_MAX ((size_t)INT32_MAX) // protobuf has no longer messages
#define PCR_ONNX_DEPTH_MAX 100                      // messages within messages; protobuf's own limit

// --- looking without unpacking --------------------------------------------------------------------------------
// A tensor that says its numbers are in another file.
struct pcr_onnx_external {
    struct pcr_str location; // as the file has it: whatever somebody wrote
    uint64_t offset;
    uint64_t length; // 0: to the end of the file
    size_t at;       // where in the model file
};
// An input or output of the model's own graph.
struct pcr_onnx_value {
    struct pcr_str name;
    bool is_output;
    bool has_shape; // false: not even the number of dimensions is declared
};
struct pcr_onnx_visitor { // either may be NULL; the first negative answer ends the scan and is its result
    int (*external)(void *ctx, const struct pcr_onnx_external *external, struct pacer_error *err);
    int (*value)(void *ctx, const struct pcr_onnx_value *value, struct pacer_error *err);
};

// Walks through every message of a model file: graphs in graphs, attributes, functions and training graphs included.
// PACER_EMODEL with the offset and, where the bytes are of a kind people mistake for ONNX, its name: not ONNX,
// truncated, nested deeper than PCR_ONNX_DEPTH_MAX, no graph.
int pcr_onnx_scan(struct pcr_str file, const struct pcr_onnx_visitor *visitor, void *ctx,
                  struct pacer_error *err);
// What a file that is no ONNX model is instead ("a Git LFS pointer; …"), or NULL. Static text.
const char *pcr_onnx_sniff(struct pcr_str file);
// The text after a location was judged by its letters alone: NULL if it is a plain relative path, else why it must not
// be followed. Static text.
const char *pcr_onnx_location_fault(struct pcr_str location);

#endif
