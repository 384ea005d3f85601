// SPDX-License-Identifier: Apache-2.0
// Constants: initializers and the values of Constant nodes, and their numbers wherever those are.
#include "onnx/model_priv.h"

#include "onnx/external.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

// --- in the graph -------------------------------------------------------------------------------
void pcr_onnx_forget_constants(struct pcr_onnx_model *model) {
    pcr_map_fini(&model->constants);
    pcr_map_init(&model->constants);
    model->has_constants = false;
}

static void find_constants(struct pcr_onnx_model *model) {
    const Onnx__GraphProto *graph = model->proto->graph;
    bool ok = true;
    for (size_t i = 0; i < graph->n_node; i++) {
        const struct pcr_onnx_node *node = pcr_onnx_node_of(graph->node[i]);
        struct pcr_onnx_constant *value =
            pcr_onnx_node_is(node, "Constant") ? pcr_onnx_attr_tensor(node, "value") : NULL;
        if (value)
            ok &=
                pcr_map_put(&model->constants, pcr_str(pcr_onnx_node_output(node, 0)), value, NULL);
    }
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (graph->initializer[i]->name)
            ok &= pcr_map_put(&model->constants, pcr_str(graph->initializer[i]->name),
                              graph->initializer[i], NULL);
    model->failed |= !ok;
    model->has_constants = true;
}

struct pcr_onnx_constant *pcr_onnx_model_constant(struct pcr_onnx_model *model, const char *name) {
    if (!model->has_constants)
        find_constants(model);
    return *name ? pcr_map_get(&model->constants, pcr_str(name)) : NULL;
}

bool pcr_onnx_model_has_constant(struct pcr_onnx_model *model, const char *name) {
    const Onnx__GraphProto *graph = model->proto->graph;
    for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = graph->sparse_initializer[i]->values;
        if (values && values->name && strcmp(values->name, name) == 0)
            return true;
    }
    return pcr_onnx_model_constant(model, name) != NULL;
}

void pcr_onnx_model_modernize(struct pcr_onnx_model *model) {
    Onnx__GraphProto *graph = model->proto->graph;
    if (model->proto->ir_version >= 4)
        return;
    model->proto->has_ir_version = true;
    model->proto->ir_version = 4;
    Onnx__ValueInfoProto **kept = pcr_onnx_new(model, graph->n_input, sizeof *kept);
    size_t n = 0;
    for (size_t i = 0; kept && i < graph->n_input; i++)
        if (!graph->input[i]->name || !pcr_onnx_model_has_constant(model, graph->input[i]->name))
            kept[n++] = graph->input[i];
    if (!kept)
        return;
    graph->input = kept;
    graph->n_input = model->inputs_cap = n;
}

struct pcr_onnx_constant *pcr_onnx_constant_create(struct pcr_onnx_model *model,
                                                   const struct pacer_tensor_info *info,
                                                   void *data) {
    size_t count, bytes;
    if (pacer_shape_count(info->shape, info->rank, &count) < 0 ||
        __builtin_mul_overflow(count, pacer_dtype_size(info->dtype), &bytes))
        return NULL;
    Onnx__TensorProto *tensor = pcr_onnx_new(model, 1, sizeof *tensor);
    int64_t *dims = pcr_onnx_new(model, info->rank, sizeof *dims);
    void *numbers = pcr_onnx_new(model, bytes, 1);
    if (!tensor || !dims || !numbers)
        return NULL;
    onnx__tensor_proto__init(tensor);
    if (info->rank)
        memcpy(dims, info->shape, info->rank * sizeof *dims);
    tensor->name = pcr_onnx_dup(model, info->name);
    tensor->has_data_type = true;
    tensor->data_type = pcr_onnx_type_of(info->dtype);
    tensor->dims = dims;
    tensor->n_dims = info->rank;
    tensor->has_raw_data = true;
    tensor->raw_data = (ProtobufCBinaryData){bytes, numbers};
    memcpy(data, &numbers, sizeof numbers); // to a pointer of whatever type
    return model->failed ? NULL : pcr_onnx_constant_of(tensor);
}

void pcr_onnx_model_put_constant(struct pcr_onnx_model *model,
                                 const struct pcr_onnx_constant *constant) {
    Onnx__GraphProto *graph = model->proto->graph;
    Onnx__TensorProto *tensor = pcr_onnx_constant_proto(constant);
    if (!pcr_onnx_append(model, &graph->initializer, &graph->n_initializer,
                         &model->initializers_cap, tensor))
        return;
    pcr_onnx_note_name(model, tensor->name ? tensor->name : "");
    if (model->has_constants)
        model->failed |= !pcr_map_put(&model->constants, pcr_str(tensor->name), tensor, NULL);
}

void pcr_onnx_model_put_constant_as(struct pcr_onnx_model *model,
                                    const struct pcr_onnx_constant *constant, const char *name) {
    Onnx__TensorProto *copy = pcr_onnx_new(model, 1, sizeof *copy);
    if (!copy)
        return;
    *copy = *pcr_onnx_constant_proto(constant);
    copy->name = pcr_onnx_dup(model, name);
    if (copy->name)
        pcr_onnx_model_put_constant(model, pcr_onnx_constant_of(copy));
}

// --- leaving out --------------------------------------------------------------------------------
struct drop {
    struct pcr_map wanted_out, uses;
};

static bool is_dropped(const struct drop *drop, const char *name) {
    return name && *name && pcr_map_get(&drop->wanted_out, pcr_str(name)) &&
           !pcr_map_get(&drop->uses, pcr_str(name));
}

static const char *initializer_name(const void *item) {
    return ((const Onnx__TensorProto *)item)->name;
}
static const char *value_name(const void *item) {
    return ((const Onnx__ValueInfoProto *)item)->name;
}
static const char *constant_node_name(const void *item) {
    const struct pcr_onnx_node *node = item;
    return pcr_onnx_node_is(node, "Constant") ? pcr_onnx_node_output(node, 0) : NULL;
}

// A new array without those that are dropped: a snapshot may have the old one.
static void sift(struct pcr_onnx_model *model, const struct drop *drop, void *array, size_t *n,
                 const char *(*name_of)(const void *item)) {
    void **items, **kept = pcr_onnx_new(model, *n, sizeof *kept);
    size_t n_kept = 0;
    memcpy(&items, array, sizeof items);
    if (!kept)
        return;
    for (size_t i = 0; i < *n; i++)
        if (!is_dropped(drop, name_of(items[i])))
            kept[n_kept++] = items[i];
    memcpy(array, &kept, sizeof kept);
    *n = n_kept;
}

void pcr_onnx_model_drop_unused(struct pcr_onnx_model *model, const char *const *names, size_t n) {
    Onnx__GraphProto *graph = model->proto->graph;
    struct drop drop;
    pcr_map_init(&drop.wanted_out);
    pcr_map_init(&drop.uses);
    for (size_t i = 0; i < n; i++)
        model->failed |= !pcr_map_put(&drop.wanted_out, pcr_str(names[i]), model, NULL);
    model->failed |= !pcr_onnx_model_count_uses(model, &drop.uses);
    if (!model->failed) {
        sift(model, &drop, &graph->initializer, &graph->n_initializer, initializer_name);
        sift(model, &drop, &graph->input, &graph->n_input, value_name);
        sift(model, &drop, &graph->value_info, &graph->n_value_info, value_name);
        sift(model, &drop, &graph->node, &graph->n_node, constant_node_name);
        model->initializers_cap = graph->n_initializer;
        model->inputs_cap = graph->n_input;
        pcr_onnx_forget_constants(model);
    }
    pcr_map_fini(&drop.wanted_out);
    pcr_map_fini(&drop.uses);
}

// --- what they are ------------------------------------------------------------------------------
const char *pcr_onnx_constant_name(const struct pcr_onnx_constant *constant) {
    const char *name = pcr_onnx_constant_proto(constant)->name;
    return name ? name : "";
}

enum pacer_dtype pcr_onnx_constant_dtype(const struct pcr_onnx_constant *constant) {
    return pcr_onnx_dtype(pcr_onnx_constant_proto(constant)->data_type);
}

const int64_t *pcr_onnx_constant_shape(const struct pcr_onnx_constant *constant, size_t *rank) {
    *rank = pcr_onnx_constant_proto(constant)->n_dims;
    return pcr_onnx_constant_proto(constant)->dims;
}

size_t pcr_onnx_constant_count(const struct pcr_onnx_constant *constant) {
    const Onnx__TensorProto *tensor = pcr_onnx_constant_proto(constant);
    size_t count;
    return pacer_shape_count(tensor->dims, tensor->n_dims, &count) < 0 ? 0 : count;
}

struct pcr_onnx_place pcr_onnx_place_of(const Onnx__TensorProto *tensor) {
    struct pcr_onnx_place place = {0};
    if (tensor->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return place;
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const char *key = tensor->external_data[i]->key;
        const char *value = tensor->external_data[i]->value;
        if (!key || !value)
            continue;
        if (strcmp(key, "location") == 0)
            place.location = value;
        else if (strcmp(key, "offset") == 0) // numbers, as the scan saw
            pcr_str_to_u64(pcr_str(value), INT64_MAX, &place.offset);
        else if (strcmp(key, "length") == 0)
            pcr_str_to_u64(pcr_str(value), INT64_MAX, &place.length);
    }
    return place;
}

void pcr_onnx_constant_set_place(struct pcr_onnx_model *model, struct pcr_onnx_constant *constant,
                                 const char *location, uint64_t offset, uint64_t length) {
    Onnx__TensorProto *tensor = pcr_onnx_constant_proto(constant);
    const struct {
        const char *key;
        char *value;
    } items[] = {{"location", pcr_onnx_dup(model, location)},
                 {"offset", pcr_arena_printf(&model->arena, "%llu", (unsigned long long)offset)},
                 {"length", pcr_arena_printf(&model->arena, "%llu", (unsigned long long)length)}};
    size_t n = PCR_COUNT_OF(items);
    Onnx__StringStringEntryProto **entries = pcr_onnx_new(model, n, sizeof *entries);
    for (size_t i = 0; entries && i < n; i++) {
        entries[i] = pcr_onnx_new(model, 1, sizeof *entries[i]);
        model->failed |= !items[i].value;
        if (model->failed)
            return;
        onnx__string_string_entry_proto__init(entries[i]);
        entries[i]->key = pcr_onnx_dup(model, items[i].key);
        entries[i]->value = items[i].value;
    }
    if (model->failed)
        return;
    tensor->has_raw_data = false;
    tensor->external_data = entries;
    tensor->n_external_data = n;
    tensor->has_data_location = true;
    tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

// --- their numbers ------------------------------------------------------------------------------
static int wrong_size(const Onnx__TensorProto *tensor, struct pacer_error *err) {
    return pcr_err(err, PACER_EMODEL, "onnx",
                   "the numbers of tensor '%.100s' are not as many as its shape says",
                   tensor->name ? tensor->name : "");
}

int pcr_onnx_place_open(const struct pcr_onnx_model *model, const struct pcr_onnx_place *place,
                        struct pacer_error *err) {
    struct pcr_onnx_external external = {
        .location = pcr_str(place->location), .offset = place->offset, .length = place->length};
    char path[PATH_MAX];
    struct stat st;
    int code = pcr_onnx_external_find(&external, model->folder, model->own_folder, path, &st, err);
    if (code < 0)
        return code;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return pcr_err(err, PACER_EIO, "onnx", "%s: %s", path, strerror(errno));
    return fd;
}

static int read_at(int fd, const Onnx__TensorProto *tensor, uint64_t offset, size_t bytes,
                   char *into, struct pacer_error *err) {
    while (bytes > 0) {
        ssize_t n = pread(fd, into, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pcr_err(err, PACER_EIO, "onnx", "external data: %s", strerror(errno));
        if (n == 0)
            return wrong_size(tensor, err);
        into += n;
        bytes -= (size_t)n;
        offset += (size_t)n;
    }
    return 0;
}

static int get_external(const struct pcr_onnx_model *model, const Onnx__TensorProto *tensor,
                        size_t bytes, struct pcr_onnx_numbers *out, struct pacer_error *err) {
    struct pcr_onnx_place place = pcr_onnx_place_of(tensor);
    if (place.length && place.length != bytes)
        return wrong_size(tensor, err);
    place.length = bytes; // what its file does not have is found before memory is taken for it
    int fd = pcr_onnx_place_open(model, &place, err);
    if (fd < 0)
        return fd;
    int code = 0;
    out->data = out->owned = malloc(bytes ? bytes : 1);
    if (!out->owned)
        code = pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    else
        code = read_at(fd, tensor, place.offset, bytes, out->owned, err);
    close(fd);
    if (code < 0)
        pcr_onnx_numbers_fini(out);
    return code;
}

struct list {
    size_t n;
    const void *data;
    size_t size;
};

// The one typed list that has as many numbers as the shape, each at least `size` bytes wide.
static struct list find_list(const Onnx__TensorProto *p, size_t count, size_t size) {
    const struct list lists[] = {{p->n_float_data, p->float_data, 4},
                                 {p->n_int32_data, p->int32_data, 4},
                                 {p->n_int64_data, p->int64_data, 8},
                                 {p->n_double_data, p->double_data, 8},
                                 {p->n_uint64_data, p->uint64_data, 8}};
    for (size_t i = 0; i < PCR_COUNT_OF(lists); i++)
        if (lists[i].n == count && count > 0 && lists[i].size >= size)
            return lists[i];
    return (struct list){0, NULL, 0};
}

static int get_list(const Onnx__TensorProto *tensor, size_t size, struct pcr_onnx_numbers *out,
                    struct pacer_error *err) {
    struct list list = find_list(tensor, out->count, size);
    if (out->count > 0 && !list.data)
        return wrong_size(tensor, err);
    out->data = list.data;
    if (list.size <= size || out->count == 0)
        return 0;
    char *narrow = malloc(out->count * size); // small types are widened in a file
    if (!narrow)
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    for (size_t i = 0; i < out->count; i++) // little-endian, as every machine pacer is built for
        memcpy(narrow + i * size, (const char *)list.data + i * list.size, size);
    out->data = out->owned = narrow;
    return 0;
}

int pcr_onnx_numbers_get(const struct pcr_onnx_model *model,
                         const struct pcr_onnx_constant *constant, struct pcr_onnx_numbers *out,
                         struct pacer_error *err) {
    const Onnx__TensorProto *tensor = pcr_onnx_constant_proto(constant);
    size_t size = pacer_dtype_size(pcr_onnx_dtype(tensor->data_type)), bytes;
    *out = (struct pcr_onnx_numbers){0};
    if (size == 0)
        return pcr_err(err, PACER_EUNSUPPORTED, "onnx", "tensor '%.100s' has elements of %s",
                       tensor->name ? tensor->name : "", pcr_onnx_type_name(tensor->data_type));
    if (pacer_shape_count(tensor->dims, tensor->n_dims, &out->count) < 0 ||
        __builtin_mul_overflow(out->count, size, &bytes))
        return wrong_size(tensor, err);
    if (tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return get_external(model, tensor, bytes, out, err);
    if (!tensor->has_raw_data)
        return get_list(tensor, size, out, err);
    if (tensor->raw_data.len != bytes)
        return wrong_size(tensor, err);
    out->data = tensor->raw_data.data;
    if ((uintptr_t)out->data % size == 0)
        return 0;
    out->data = out->owned = malloc(bytes ? bytes : 1); // short, or of eight bytes
    if (!out->owned)
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    if (bytes)
        memcpy(out->owned, tensor->raw_data.data, bytes);
    return 0;
}

void pcr_onnx_numbers_fini(struct pcr_onnx_numbers *numbers) {
    free(numbers->owned);
    *numbers = (struct pcr_onnx_numbers){0};
}
