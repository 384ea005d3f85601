// SPDX-License-Identifier: Apache-2.0
// An ONNX model in memory, to be changed and saved: what quantization and conversion work on.
//
// Nodes and tensors are protobuf-c's own structures, which no other room looks into: so whatever a
// file has, known here or not, is saved as it came. Weights are not copied when a file is loaded;
// those in external data stay there until somebody asks for them.
//
// Everything belongs to its model and goes with it. Not for several threads at a time.
#ifndef PCR_ONNX_MODEL_H
#define PCR_ONNX_MODEL_H

#include "base/base.h"

#include <pacer/tensor.h>

struct pcr_onnx_model;
struct pcr_onnx_node;
struct pcr_onnx_constant; // a tensor in the file: an initializer, or within a node

// --- a model ------------------------------------------------------------------------------------
// Reads and checks the file (as pcr_onnx_scan, and external data by pcr_onnx_external_find).
// PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL, PACER_ELIMIT, PACER_ENOMEM.
int pcr_onnx_model_load(const char *path, struct pcr_onnx_model **out, struct pacer_error *err);
// The same for a file in memory, which is taken over, also on failure. `folder` is where external
// data is looked for, with links resolved; NULL: nowhere.
int pcr_onnx_model_parse(struct pcr_buf *file, const char *folder, struct pcr_onnx_model **out,
                         struct pacer_error *err);
// One without nodes, to be filled: of ONNX opset `opset`.
int pcr_onnx_model_create(const char *graph_name, int64_t opset, struct pcr_onnx_model **out,
                          struct pacer_error *err);
void pcr_onnx_model_destroy(struct pcr_onnx_model *model); // NULL is fine
// Memory for names and the like. What cannot be allocated on the way makes the model "failed":
// changes may be made one after the other and looked at once, with pcr_onnx_model_check_memory.
struct pcr_arena *pcr_onnx_model_arena(struct pcr_onnx_model *model);
int pcr_onnx_model_check_memory(const struct pcr_onnx_model *model, struct pacer_error *err);
// Where external data is looked for; NULL: nowhere.
const char *pcr_onnx_model_folder(const struct pcr_onnx_model *model);
void pcr_onnx_model_set_folder(struct pcr_onnx_model *model, const struct pcr_onnx_model *as);

// Appends the model as a file; external data is named, not included. PACER_ELIMIT (2 GiB),
// PACER_ENOMEM.
int pcr_onnx_model_pack(struct pcr_onnx_model *model, struct pcr_buf *out, struct pacer_error *err);
// Writes the model to `path` at one stroke: a temporary file beside it, fsync, rename. If the model
// has external data, or would be too large for one file, weights of 1 KiB and more go into
// NAME.onnx.data beside it. Weights stream from where they are, so they are not in memory twice.
// PACER_EIO (the disk is full, say: then nothing is there), PACER_ELIMIT, PACER_ENOMEM.
int pcr_onnx_model_save(struct pcr_onnx_model *model, const char *path, struct pacer_error *err);

// What the model is now, to come back to after changes: for trying variants of it. Nodes that were
// there must not be changed meanwhile, only copied; constants that were added stay in memory.
struct pcr_onnx_snapshot;
const struct pcr_onnx_snapshot *
pcr_onnx_model_snapshot(struct pcr_onnx_model *model); // NULL: no memory
void pcr_onnx_model_restore(struct pcr_onnx_model *model, const struct pcr_onnx_snapshot *snapshot);

// --- the head -----------------------------------------------------------------------------------
// The version of an operator set that the model imports ("" or "ai.onnx" is ONNX itself); 0: none.
int64_t pcr_onnx_model_opset(const struct pcr_onnx_model *model, const char *domain);
void pcr_onnx_model_set_opset(struct pcr_onnx_model *model, const char *domain, int64_t version);
int64_t pcr_onnx_model_ir_version(const struct pcr_onnx_model *model);
// Raises the IR version to 4 if it is lower: before that every initializer had to be an input, too,
// and from then on those are defaults that a caller may replace, so they are no inputs any more.
void pcr_onnx_model_modernize(struct pcr_onnx_model *model);
// Borrowed, NULL: not there.
const char *pcr_onnx_model_metadata(const struct pcr_onnx_model *model, const char *key);
void pcr_onnx_model_set_metadata(struct pcr_onnx_model *model, const char *key, const char *value);

// --- nodes of the main graph --------------------------------------------------------------------
// In the order in which they run; borrowed until the list is replaced.
struct pcr_onnx_node **pcr_onnx_model_nodes(const struct pcr_onnx_model *model, size_t *n);
// The list is copied.
void pcr_onnx_model_set_nodes(struct pcr_onnx_model *model, struct pcr_onnx_node *const *nodes,
                              size_t n);
// All text is copied. NULL when memory is out.
struct pcr_onnx_node_parts {
    const char *op, *domain, *name;
    const char *const *inputs;
    size_t n_inputs;
    const char *const *outputs;
    size_t n_outputs;
};
struct pcr_onnx_node *pcr_onnx_node_create(struct pcr_onnx_model *model,
                                           const struct pcr_onnx_node_parts *parts);
const char *pcr_onnx_node_op(const struct pcr_onnx_node *node);     // "" where a file does not say
const char *pcr_onnx_node_domain(const struct pcr_onnx_node *node); // "" for ONNX itself
const char *pcr_onnx_node_name(const struct pcr_onnx_node *node);   // "" for none
bool pcr_onnx_node_is(const struct pcr_onnx_node *node, const char *op); // of ONNX itself
size_t pcr_onnx_node_n_inputs(const struct pcr_onnx_node *node);
size_t pcr_onnx_node_n_outputs(const struct pcr_onnx_node *node);
// "" for one that is left out, and beyond the last.
const char *pcr_onnx_node_input(const struct pcr_onnx_node *node, size_t i);
const char *pcr_onnx_node_output(const struct pcr_onnx_node *node, size_t i);
void pcr_onnx_node_set_input(struct pcr_onnx_model *model, struct pcr_onnx_node *node, size_t i,
                             const char *name);
void pcr_onnx_node_set_output(struct pcr_onnx_model *model, struct pcr_onnx_node *node, size_t i,
                              const char *name);
// Attributes. A getter gives `otherwise` (NULL for lists) where there is none of that type.
int64_t pcr_onnx_attr_i64(const struct pcr_onnx_node *node, const char *name, int64_t otherwise);
float pcr_onnx_attr_f32(const struct pcr_onnx_node *node, const char *name, float otherwise);
const int64_t *pcr_onnx_attr_i64s(const struct pcr_onnx_node *node, const char *name, size_t *n);
struct pcr_str pcr_onnx_attr_text(const struct pcr_onnx_node *node, const char *name,
                                  struct pcr_str otherwise);
struct pcr_onnx_constant *pcr_onnx_attr_tensor(const struct pcr_onnx_node *node, const char *name);
bool pcr_onnx_node_has_attr(const struct pcr_onnx_node *node, const char *name);
// Setters replace.
void pcr_onnx_set_attr_i64(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                           const char *name, int64_t value);
void pcr_onnx_set_attr_f32(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                           const char *name, float value);
void pcr_onnx_set_attr_i64s(struct pcr_onnx_model *model, struct pcr_onnx_node *node,
                            const char *name, const int64_t *values, size_t n);
// The other attributes of `from` go along, but for those named in `but` (a NULL at the end).
void pcr_onnx_copy_attrs(struct pcr_onnx_model *model, struct pcr_onnx_node *to,
                         const struct pcr_onnx_node *from, const char *const *but);
// A copy of a node that may go into another model; its tensors are still those of the first one.
struct pcr_onnx_node *pcr_onnx_node_copy(struct pcr_onnx_model *to,
                                         const struct pcr_onnx_node *node);

// --- inputs, outputs, weights -------------------------------------------------------------------
size_t pcr_onnx_model_n_inputs(const struct pcr_onnx_model *model);
const char *pcr_onnx_model_input(const struct pcr_onnx_model *model, size_t i);
size_t pcr_onnx_model_n_outputs(const struct pcr_onnx_model *model);
const char *pcr_onnx_model_output(const struct pcr_onnx_model *model, size_t i);
// Adds one; `info` of dtype PACER_DTYPE_INVALID for an output whose type ONNX Runtime shall infer.
void pcr_onnx_model_add_input(struct pcr_onnx_model *model, const struct pacer_tensor_info *info);
void pcr_onnx_model_add_output(struct pcr_onnx_model *model, const struct pacer_tensor_info *info);
// Outputs from `n` on are taken back.
void pcr_onnx_model_cut_outputs(struct pcr_onnx_model *model, size_t n);

// A constant by the name that nodes use: an initializer of the main graph, or the value of a
// Constant node there. NULL: none. Found by a table that is made at the first call and kept.
struct pcr_onnx_constant *pcr_onnx_model_constant(struct pcr_onnx_model *model, const char *name);
// Makes a constant, cleared; its numbers are written to `*data`. It is in the graph, as an
// initializer, once it was put there. NULL when memory is out.
struct pcr_onnx_constant *pcr_onnx_constant_create(struct pcr_onnx_model *model,
                                                   const struct pacer_tensor_info *info,
                                                   void *data);
// Puts it into the graph under its name; it may be another model's that lives longer than this one.
void pcr_onnx_model_put_constant(struct pcr_onnx_model *model,
                                 const struct pcr_onnx_constant *constant);
// The same under another name: that of a Constant node's output is not its tensor's.
void pcr_onnx_model_put_constant_as(struct pcr_onnx_model *model,
                                    const struct pcr_onnx_constant *constant, const char *name);
// Says that a constant's numbers are in a file beside the model instead, which somebody else
// writes.
void pcr_onnx_constant_set_place(struct pcr_onnx_model *model, struct pcr_onnx_constant *constant,
                                 const char *location, uint64_t offset, uint64_t length);
// Takes initializers, Constant nodes and entries of the graph's inputs out that are among `names`
// and that no node (subgraphs included) and no output uses any more.
void pcr_onnx_model_drop_unused(struct pcr_onnx_model *model, const char *const *names, size_t n);
// How many nodes and outputs use each name: name → count as (void *)(uintptr_t); subgraphs count.
// False when memory is out.
bool pcr_onnx_model_count_uses(const struct pcr_onnx_model *model, struct pcr_map *uses);

// Whether it is an initializer of the main graph, dense or sparse, or the value of a Constant node.
bool pcr_onnx_model_has_constant(struct pcr_onnx_model *model, const char *name);
// A name that nothing in the main graph has yet: `base`, or base_1, …
const char *pcr_onnx_model_free_name(struct pcr_onnx_model *model, const char *base);

// What a constant is, and its numbers where they can be had.
const char *pcr_onnx_constant_name(const struct pcr_onnx_constant *tensor); // "" for none
enum pacer_dtype pcr_onnx_constant_dtype(const struct pcr_onnx_constant *tensor);
const int64_t *pcr_onnx_constant_shape(const struct pcr_onnx_constant *tensor, size_t *rank);
// Elements; 0 for dimensions that make no sense.
size_t pcr_onnx_constant_count(const struct pcr_onnx_constant *tensor);
// Bytes of its numbers in the machine's order; those of external data are read and have to be given
// back with pcr_onnx_numbers_fini. Not for strings. PACER_EMODEL (not as many as its shape says),
// PACER_EIO, PACER_ENOMEM.
struct pcr_onnx_numbers {
    const void *data;
    size_t count;
    void *owned;
};
int pcr_onnx_numbers_get(const struct pcr_onnx_model *model, const struct pcr_onnx_constant *tensor,
                         struct pcr_onnx_numbers *out, struct pacer_error *err);
void pcr_onnx_numbers_fini(struct pcr_onnx_numbers *numbers);

#endif
