// SPDX-License-Identifier: Apache-2.0
// What `pacer inspect` shows of a model.
//
// The file is walked first (scan.c), so what is unpacked here has a bounded depth and no message
// that repeats where it may not. Unpacking happens in a scratch arena with a limit in proportion to
// the file: protobuf lets two bytes become a structure of a hundred, and a small file must not
// become a large bill. The summary itself is copied into the caller's arena.
#include "onnx/proto_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_FACTOR 4
#define SCRATCH_BYTES_LEAST ((size_t)64 << 20)
#define TYPE_TEXT_BYTES 256

struct work {
    struct pcr_arena *arena;
    struct pcr_onnx_summary *out;
    struct pcr_map operators; // "domain\nname" → struct pcr_onnx_operator
    struct pcr_map files;     // location → struct pcr_onnx_file
    bool failed;              // memory is out
};

static const char *dup(struct work *w, const char *text) {
    const char *copy = pcr_arena_dup(w->arena, pcr_str(text ? text : ""));
    if (!copy)
        w->failed = true;
    return copy;
}

static void *array(struct work *w, size_t n, size_t size) {
    void *memory = pcr_arena_calloc(w->arena, n + 1, size);
    if (!memory)
        w->failed = true;
    return memory;
}

static const char *domain_name(const char *domain) {
    return domain && *domain ? domain : "ai.onnx";
}

// --- types --------------------------------------------------------------------------------------
static void describe(const Onnx__TypeProto *type, struct pcr_buf *text) {
    switch (type ? type->value_case : ONNX__TYPE_PROTO__VALUE__NOT_SET) {
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
        pcr_buf_text(text, pcr_onnx_type_name(type->tensor_type->elem_type));
        break;
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE:
        pcr_buf_printf(text, "sparse %s", pcr_onnx_type_name(type->sparse_tensor_type->elem_type));
        break;
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        pcr_buf_text(text, "sequence of ");
        describe(type->sequence_type->elem_type, text);
        break;
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        pcr_buf_text(text, "optional ");
        describe(type->optional_type->elem_type, text);
        break;
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
        pcr_buf_printf(text, "map of %s to ", pcr_onnx_type_name(type->map_type->key_type));
        describe(type->map_type->value_type, text);
        break;
    default:
        pcr_buf_text(text, "an unknown type");
    }
}

static void copy_dims(struct work *w, const Onnx__TensorShapeProto *shape, struct pcr_onnx_io *io) {
    struct pcr_onnx_dim *dims = array(w, shape->n_dim, sizeof *dims);
    for (size_t i = 0; dims && i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        dims[i].value = -1;
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            dims[i].value = dim->dim_value < 0 ? -1 : dim->dim_value;
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
            dim->dim_param && *dim->dim_param)
            dims[i].name = dup(w, dim->dim_param);
    }
    io->has_shape = true;
    io->rank = shape->n_dim;
    io->dims = dims;
}

static void copy_io(struct work *w, const Onnx__ValueInfoProto *value, struct pcr_onnx_io *io) {
    struct pcr_buf text;
    pcr_buf_init(&text, TYPE_TEXT_BYTES);
    describe(value->type, &text);
    io->name = dup(w, value->name);
    io->type = dup(w, text.failed ? "a type nested too deeply" : text.data);
    pcr_buf_fini(&text);
    const Onnx__TypeProto *type = value->type;
    if (type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type->shape)
        copy_dims(w, type->tensor_type->shape, io);
}

static void copy_ios(struct work *w, Onnx__ValueInfoProto **values, size_t n,
                     const struct pcr_map *initializers, const struct pcr_onnx_io **out) {
    struct pcr_onnx_io *ios = array(w, n, sizeof *ios);
    for (size_t i = 0; ios && i < n; i++) {
        copy_io(w, values[i], &ios[i]);
        const char *name = values[i]->name;
        ios[i].has_default =
            initializers && name && pcr_map_get(initializers, pcr_str(name)) != NULL;
    }
    *out = ios;
}

// --- nodes and numbers --------------------------------------------------------------------------
static void count_operator(struct work *w, const Onnx__NodeProto *node) {
    const char *domain = domain_name(node->domain);
    const char *name = node->op_type ? node->op_type : "";
    char *key = pcr_arena_printf(w->arena, "%s\n%s", domain, name);
    struct pcr_onnx_operator *op = key ? pcr_map_get(&w->operators, pcr_str(key)) : NULL;
    if (key && !op) {
        op = array(w, 1, sizeof *op);
        if (op) {
            *op = (struct pcr_onnx_operator){dup(w, domain), dup(w, name), 0};
            if (!pcr_map_put(&w->operators, pcr_str(key), op, NULL))
                w->failed = true;
        }
    }
    if (op)
        op->count++;
    else
        w->failed = true;
    w->out->n_nodes++;
}

static void count_external(struct work *w, const Onnx__TensorProto *tensor, uint64_t bytes) {
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const Onnx__StringStringEntryProto *entry = tensor->external_data[i];
        if (!entry->key || !entry->value || strcmp(entry->key, "location") != 0)
            continue;
        struct pcr_onnx_file *file = pcr_map_get(&w->files, pcr_str(entry->value));
        if (!file) {
            file = array(w, 1, sizeof *file);
            if (!file || !pcr_map_put(&w->files, pcr_str(entry->value), file, NULL)) {
                w->failed = true;
                return;
            }
            file->location = dup(w, entry->value);
        }
        file->tensors++;
        if (__builtin_add_overflow(file->bytes, bytes, &file->bytes))
            file->bytes = UINT64_MAX;
    }
}

static void count_tensor(struct work *w, const Onnx__TensorProto *tensor) {
    size_t count = 0;
    if (!tensor || pacer_shape_count(tensor->dims, tensor->n_dims, &count) < 0)
        return;
    uint64_t bytes = (uint64_t)count / 8 * pcr_onnx_type_bits(tensor->data_type) +
                     (count % 8 * pcr_onnx_type_bits(tensor->data_type) + 7) / 8;
    for (size_t i = 0; i < tensor->n_string_data; i++)
        bytes += tensor->string_data[i].len;
    w->out->parameters += count;
    w->out->parameter_bytes += bytes;
    count_external(w, tensor, bytes);
}

static void count_graph(struct work *w, const Onnx__GraphProto *graph);

static void count_node(struct work *w, const Onnx__NodeProto *node) {
    count_operator(w, node);
    bool is_ml = node->domain && strcmp(node->domain, "ai.onnx.ml") == 0;
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->attribute[i];
        if (is_ml) { // linear models and trees keep what they learnt here
            w->out->parameters += a->n_floats;
            w->out->parameter_bytes += a->n_floats * sizeof(float);
        }
        count_tensor(w, a->t);
        for (size_t k = 0; k < a->n_tensors; k++)
            count_tensor(w, a->tensors[k]);
        if (a->g)
            count_graph(w, a->g);
        for (size_t k = 0; k < a->n_graphs; k++)
            count_graph(w, a->graphs[k]);
    }
}

static void count_graph(struct work *w, const Onnx__GraphProto *graph) {
    for (size_t i = 0; i < graph->n_node; i++)
        count_node(w, graph->node[i]);
    for (size_t i = 0; i < graph->n_initializer; i++)
        count_tensor(w, graph->initializer[i]);
    for (size_t i = 0; i < graph->n_sparse_initializer; i++)
        count_tensor(w, graph->sparse_initializer[i]->values);
}

static int by_count(const void *a, const void *b) {
    const struct pcr_onnx_operator *x = a;
    const struct pcr_onnx_operator *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->domain, y->domain);
}

static int by_location(const void *a, const void *b) {
    return strcmp(((const struct pcr_onnx_file *)a)->location,
                  ((const struct pcr_onnx_file *)b)->location);
}

// The values of a map as a sorted array.
static void collect(struct work *w, const struct pcr_map *map, size_t size,
                    int (*order)(const void *, const void *), const void **out, size_t *n) {
    char *items = array(w, map->count, size);
    size_t cursor = 0;
    void *value;
    struct pcr_str key;
    for (*n = 0; items && pcr_map_next(map, &cursor, &key, &value); ++*n)
        memcpy(items + *n * size, value, size);
    if (items && *n)
        qsort(items, *n, size, order);
    *out = items;
}

// --- the summary --------------------------------------------------------------------------------
static void copy_head(struct work *w, const Onnx__ModelProto *model) {
    struct pcr_onnx_summary *out = w->out;
    const char *version = model->producer_version ? model->producer_version : "";
    out->ir_version = model->ir_version;
    out->producer =
        pcr_arena_printf(w->arena, "%s%s%s", model->producer_name ? model->producer_name : "",
                         *version ? " " : "", version);
    w->failed |= !out->producer;
    out->domain = dup(w, model->domain);
    out->model_version = model->model_version;
    out->description = dup(w, model->doc_string);
    out->graph_name = dup(w, model->graph->name);
    out->n_functions = model->n_functions;
    struct pcr_onnx_opset *opsets = array(w, model->n_opset_import, sizeof *opsets);
    for (size_t i = 0; opsets && i < model->n_opset_import; i++)
        opsets[i] = (struct pcr_onnx_opset){dup(w, domain_name(model->opset_import[i]->domain)),
                                            model->opset_import[i]->version};
    out->opsets = opsets;
    out->n_opsets = opsets ? model->n_opset_import : 0;
    struct pcr_onnx_pair *pairs = array(w, model->n_metadata_props, sizeof *pairs);
    for (size_t i = 0; pairs && i < model->n_metadata_props; i++)
        pairs[i] = (struct pcr_onnx_pair){dup(w, model->metadata_props[i]->key),
                                          dup(w, model->metadata_props[i]->value)};
    out->metadata = pairs;
    out->n_metadata = pairs ? model->n_metadata_props : 0;
}

static void copy_values(struct work *w, const Onnx__GraphProto *graph) {
    struct pcr_map initializers;
    pcr_map_init(&initializers);
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (graph->initializer[i]->name &&
            !pcr_map_put(&initializers, pcr_str(graph->initializer[i]->name), graph->initializer[i],
                         NULL))
            w->failed = true;
    copy_ios(w, graph->input, graph->n_input, &initializers, &w->out->inputs);
    copy_ios(w, graph->output, graph->n_output, NULL, &w->out->outputs);
    w->out->n_inputs = graph->n_input;
    w->out->n_outputs = graph->n_output;
    pcr_map_fini(&initializers);
}

static int summarize(struct work *w, const Onnx__ModelProto *model, struct pacer_error *err) {
    copy_head(w, model);
    copy_values(w, model->graph);
    count_graph(w, model->graph);
    for (size_t i = 0; i < model->n_functions; i++)
        for (size_t k = 0; k < model->functions[i]->n_node; k++)
            count_node(w, model->functions[i]->node[k]);
    const void *items;
    collect(w, &w->operators, sizeof(struct pcr_onnx_operator), by_count, &items,
            &w->out->n_operators);
    w->out->operators = items;
    collect(w, &w->files, sizeof(struct pcr_onnx_file), by_location, &items, &w->out->n_externals);
    w->out->externals = items;
    return w->failed
               ? pcr_err(err, PACER_ELIMIT, "onnx", "the summary needs more memory than allowed")
               : 0;
}

int pcr_onnx_summarize(struct pcr_str file, struct pcr_arena *arena, struct pcr_onnx_summary *out,
                       struct pacer_error *err) {
    static const struct pcr_onnx_visitor nothing = {NULL, NULL, NULL};
    *out = (struct pcr_onnx_summary){.file_bytes = file.len};
    int code = pcr_onnx_scan(file, &nothing, NULL, err);
    if (code < 0)
        return code;
    struct pcr_arena scratch;
    pcr_arena_init(&scratch, SCRATCH_FACTOR * file.len + SCRATCH_BYTES_LEAST);
    ProtobufCAllocator allocator = pcr_onnx_allocator(&scratch);
    const Onnx__ModelProto *model =
        onnx__model_proto__unpack(&allocator, file.len, (const uint8_t *)file.ptr);
    struct work work = {.arena = arena, .out = out};
    pcr_map_init(&work.operators);
    pcr_map_init(&work.files);
    if (!model || !model->graph)
        code = pcr_err(
            err, PACER_EMODEL, "onnx",
            "the file cannot be unpacked: a field has the wrong type, or the file needs more than "
            "four times its size of memory");
    else
        code = summarize(&work, model, err);
    pcr_map_fini(&work.operators);
    pcr_map_fini(&work.files);
    pcr_arena_fini(&scratch);
    return code;
}

int pcr_onnx_inspect(const char *path, struct pcr_arena *arena, struct pcr_onnx_summary *out,
                     struct pacer_error *err) {
    struct pcr_buf file;
    pcr_buf_init(&file, PCR_ONNX_FILE_BYTES_MAX);
    int code = pcr_file_read(path, &file, err);
    if (code == 0 && (code = pcr_onnx_summarize(pcr_buf_view(&file), arena, out, err)) < 0)
        pcr_err_prefix(err, code, "%s", path);
    pcr_buf_fini(&file);
    return code;
}
