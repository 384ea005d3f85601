// SPDX-License-Identifier: Apache-2.0
// The onnx room: what an ONNX file says, without running it. The only room that sees protobuf-c.
//
// Two ways to look at a file. pcr_onnx_scan walks the wire format as it lies in memory: it takes no
// memory, so it may be used on anything before ONNX Runtime sees it. pcr_onnx_load unpacks the file
// for `pacer inspect`.
#ifndef PCR_ONNX_H
#define PCR_ONNX_H

#include "base/base.h"

#include <pacer/tensor.h>

#define PCR_ONNX_FILE_BYTES_MAX ((size_t)INT32_MAX) // protobuf has no longer messages
#define PCR_ONNX_DEPTH_MAX 100 // messages within messages; protobuf's own limit

// --- looking without unpacking
// -------------------------------------------------------------------------------- A tensor that
// says its numbers are in another file.
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
// Each may be NULL; the first negative answer ends the scan and is its result.
struct pcr_onnx_visitor {
    int (*external)(void *ctx, const struct pcr_onnx_external *external, struct pacer_error *err);
    int (*value)(void *ctx, const struct pcr_onnx_value *value, struct pacer_error *err);
    // An operator by its name, once per node, wherever in the file.
    int (*node)(void *ctx, struct pcr_str op_type, struct pacer_error *err);
};

// Walks through every message of a model file: graphs in graphs, attributes, functions and training
// graphs included. PACER_EMODEL with the offset and, where the bytes are of a kind people mistake
// for ONNX, its name: not ONNX, truncated, nested deeper than PCR_ONNX_DEPTH_MAX, no graph.
int pcr_onnx_scan(struct pcr_str file, const struct pcr_onnx_visitor *visitor, void *ctx,
                  struct pacer_error *err);
// What the columns of an output stand for, as far as the graph itself says: the class
// labels of the classifier the output comes from, or the list that the index of its
// largest column is looked up in.
#define PCR_ONNX_LABELS_MAX 1000
struct pcr_onnx_labels {
    const char **names; // NULL: not known
    size_t n;
    bool are_text; // false: whole numbers, written out
};
// For each output its labels, in `arena`. `file` has been scanned. PACER_ENOMEM.
int pcr_onnx_labels(struct pcr_str file, const char *const *outputs, size_t n_outputs,
                    struct pcr_arena *arena, struct pcr_onnx_labels *labels);
// Whether an operator of that name could make pcr_onnx_labels find something.
bool pcr_onnx_makes_labels(struct pcr_str op_type);
// What a file that is no ONNX model is instead ("a Git LFS pointer; …"), or NULL. Static text.
const char *pcr_onnx_sniff(struct pcr_str file);
// The text after a location was judged by its letters alone: NULL if it is a plain relative path,
// else why it must not be followed. Static text.
const char *pcr_onnx_location_fault(struct pcr_str location);

// --- unpacking ----------------------------------------------------------------------------------
struct pcr_onnx_dim {
    int64_t value;    // -1: dynamic
    const char *name; // of a dynamic one ("batch"), or NULL
};
struct pcr_onnx_io {
    const char *name;
    // As the inference protocol has it ("FP32"), or in words ("sequence of map of INT64 to FP32").
    const char *type;
    bool has_shape;
    size_t rank;
    const struct pcr_onnx_dim *dims;
    bool has_default; // an input that is also an initializer
};
struct pcr_onnx_opset {
    const char *domain; // "ai.onnx" for the default one
    int64_t version;
};
struct pcr_onnx_operator {
    const char *domain; // as above
    const char *name;
    size_t count;
};
struct pcr_onnx_pair {
    const char *key;
    const char *value;
};
struct pcr_onnx_file { // external data
    const char *location;
    uint64_t bytes; // that tensors of the model take from it, where they say
    size_t tensors;
};

// What `pacer inspect` shows; everything lives in the arena it was made in.
struct pcr_onnx_summary {
    uint64_t file_bytes;
    int64_t ir_version;
    const char *producer; // name and version, "" if it does not say
    const char *domain;
    int64_t model_version;
    const char *description;
    const char *graph_name;
    const struct pcr_onnx_opset *opsets;
    size_t n_opsets;
    const struct pcr_onnx_io *inputs;
    size_t n_inputs;
    const struct pcr_onnx_io *outputs;
    size_t n_outputs;
    const struct pcr_onnx_operator *operators; // the most frequent first
    size_t n_operators;
    size_t n_nodes; // of all graphs and functions
    size_t n_functions;
    uint64_t parameters; // elements of all initializers and constants, and of the lists of floats
                         // in attributes of ai.onnx.ml operators
    uint64_t parameter_bytes;
    const struct pcr_onnx_pair *metadata;
    size_t n_metadata;
    const struct pcr_onnx_file *externals;
    size_t n_externals;
};

// Reads and unpacks the file at `path`. It takes up to four times the file's size of
// memory for as long as it works. PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL as
// pcr_onnx_scan, PACER_ELIMIT, PACER_ENOMEM.
int pcr_onnx_inspect(const char *path, struct pcr_arena *arena, struct pcr_onnx_summary *out,
                     struct pacer_error *err);
// The same for a file that is in memory.
int pcr_onnx_summarize(struct pcr_str file, struct pcr_arena *arena, struct pcr_onnx_summary *out,
                       struct pacer_error *err);

// Unpacks one TensorProto (a .pb file of ONNX's own test data) into `arena`. PACER_EMODEL if it is
// none, PACER_EUNSUPPORTED for element types pacer does not carry and for external data.
int pcr_onnx_tensor(struct pcr_str bytes, struct pcr_arena *arena, struct pacer_tensor *out,
                    struct pacer_error *err);

#endif
