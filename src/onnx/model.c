// SPDX-License-Identifier: Apache-2.0
// Models that are changed: loading, making, the head.
//
// A file is scanned, then unpacked as a skeleton (skeleton.c), so a model costs its file's size of
// memory and little more. What is added lies in an arena; nothing is freed before the model is.
#include "onnx/model_priv.h"

#include "onnx/external.h"
#include "onnx/skeleton_priv.h"

#include <limits.h>
#include <pacer/pacer.h>
#include <stdlib.h>

#define SKELETON_FACTOR 8 // protobuf lets two bytes become a structure of a hundred
#define SKELETON_BYTES_LEAST ((size_t)64 << 20)
#define IR_VERSION 8 // of models made here: ONNX 1.10 and later

// --- memory -------------------------------------------------------------------------------------
void *pcr_onnx_new(struct pcr_onnx_model *model, size_t count, size_t size) {
    void *memory = pcr_arena_calloc(&model->arena, count ? count : 1, size);
    model->failed |= !memory;
    return memory;
}

char *pcr_onnx_dup(struct pcr_onnx_model *model, const char *text) {
    char *copy = pcr_arena_dup(&model->arena, pcr_str(text));
    model->failed |= !copy;
    return copy;
}

bool pcr_onnx_append(struct pcr_onnx_model *model, void *array, size_t *n, size_t *cap,
                     void *item) {
    void **items;
    memcpy(&items, array, sizeof items); // of whatever pointer type
    if (*n == *cap || !items) {
        size_t more = *n < 4 ? 8 : 2 * *n;
        void **larger = pcr_onnx_new(model, more, sizeof *larger);
        if (!larger)
            return false;
        if (items)
            memcpy(larger, items, *n * sizeof *larger);
        items = larger;
        memcpy(array, &items, sizeof items);
        *cap = more;
    }
    items[(*n)++] = item;
    return true;
}

struct pcr_arena *pcr_onnx_model_arena(struct pcr_onnx_model *model) {
    return &model->arena;
}

int pcr_onnx_model_check_memory(const struct pcr_onnx_model *model, struct pacer_error *err) {
    return model->failed ? pcr_err(err, PACER_ENOMEM, "onnx", "out of memory") : 0;
}

const char *pcr_onnx_model_folder(const struct pcr_onnx_model *model) {
    return model->folder;
}

void pcr_onnx_model_set_folder(struct pcr_onnx_model *model, const struct pcr_onnx_model *as) {
    model->folder = as->folder ? pcr_onnx_dup(model, as->folder) : NULL;
    model->own_folder = as->own_folder ? pcr_onnx_dup(model, as->own_folder) : NULL;
}

// --- loading ------------------------------------------------------------------------------------
static struct pcr_onnx_model *allocate(struct pacer_error *err) {
    struct pcr_onnx_model *model = calloc(1, sizeof *model);
    if (!model) {
        pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
        return NULL;
    }
    pcr_arena_init(&model->arena, SIZE_MAX / 2);
    pcr_buf_init(&model->file, PCR_ONNX_FILE_BYTES_MAX);
    pcr_map_init(&model->constants);
    pcr_map_init(&model->names);
    return model;
}

void pcr_onnx_model_destroy(struct pcr_onnx_model *model) {
    if (!model)
        return;
    pcr_map_fini(&model->constants);
    pcr_map_fini(&model->names);
    pcr_buf_fini(&model->file);
    pcr_arena_fini(&model->arena);
    free(model);
}

static int unpack(struct pcr_onnx_model *model, const struct pcr_buf *skeleton,
                  const struct pcr_onnx_pieces *pieces, struct pacer_error *err) {
    ProtobufCAllocator allocator = pcr_onnx_allocator(&model->arena);
    model->arena.max_bytes = SKELETON_FACTOR * skeleton->len + SKELETON_BYTES_LEAST;
    model->proto = onnx__model_proto__unpack(&allocator, skeleton->len,
                                             (const uint8_t *)pcr_buf_view(skeleton).ptr);
    model->arena.max_bytes = SIZE_MAX / 2;
    if (!model->proto || !model->proto->graph)
        return pcr_err(err, PACER_EMODEL, "onnx",
                       "the file cannot be unpacked: a field has the wrong type, or it needs more "
                       "than %d times its size of memory",
                       SKELETON_FACTOR);
    const Onnx__GraphProto *graph = model->proto->graph;
    model->initializers_cap = graph->n_initializer;
    model->inputs_cap = graph->n_input;
    model->outputs_cap = graph->n_output;
    return pcr_onnx_skeleton_fill(model->proto, pieces, err);
}

static int unpack_file(struct pcr_onnx_model *model, struct pacer_error *err) {
    struct pcr_buf skeleton;
    struct pcr_onnx_pieces pieces = {0};
    pcr_buf_init(&skeleton, 2 * PCR_ONNX_FILE_BYTES_MAX);
    int code = pcr_onnx_skeleton(pcr_buf_view(&model->file), &skeleton, &pieces, err);
    if (code == 0)
        code = unpack(model, &skeleton, &pieces, err);
    free(pieces.items);
    pcr_buf_fini(&skeleton);
    return code;
}

static int look_at_external(void *ctx, const struct pcr_onnx_external *external,
                            struct pacer_error *err) {
    const struct pcr_onnx_model *model = ctx;
    char path[PATH_MAX];
    struct stat st;
    return pcr_onnx_external_find(external, model->folder, model->own_folder, path, &st, err);
}

static int parse(struct pcr_buf *file, const char *folder, const char *own_folder,
                 struct pcr_onnx_model **out, struct pacer_error *err) {
    static const struct pcr_onnx_visitor visitor = {.external = look_at_external};
    struct pcr_onnx_model *model = allocate(err);
    if (!model) {
        pcr_buf_fini(file);
        return PACER_ENOMEM;
    }
    model->file = *file;
    *file = (struct pcr_buf){0};
    if (folder) {
        model->folder = pcr_onnx_dup(model, folder);
        model->own_folder = pcr_onnx_dup(model, own_folder);
    }
    int code = pcr_onnx_model_check_memory(model, err);
    if (code == 0)
        code = pcr_onnx_scan(pcr_buf_view(&model->file), &visitor, model, err);
    if (code == 0)
        code = unpack_file(model, err);
    if (code < 0)
        pcr_onnx_model_destroy(model);
    else
        *out = model;
    return code;
}

int pcr_onnx_model_parse(struct pcr_buf *file, const char *folder, struct pcr_onnx_model **out,
                         struct pacer_error *err) {
    return parse(file, folder, folder, out, err);
}

// The folder of a path, with links resolved; before that those of the file itself, if wanted.
static bool folder_of(const char *path, bool follow, char folder[PATH_MAX]) {
    char name[PATH_MAX];
    if (follow ? !realpath(path, name) : strlen(path) >= sizeof name)
        return false;
    if (!follow)
        memcpy(name, path, strlen(path) + 1);
    char *slash = strrchr(name, '/');
    if (slash)
        slash[slash == name] = '\0';
    return realpath(slash ? name : ".", folder) != NULL;
}

int pcr_onnx_model_load(const char *path, struct pcr_onnx_model **out, struct pacer_error *err) {
    char asked[PATH_MAX], own[PATH_MAX];
    struct pcr_buf file;
    pcr_buf_init(&file, PCR_ONNX_FILE_BYTES_MAX);
    int code = pcr_file_read(path, &file, err);
    if (code < 0) {
        pcr_buf_fini(&file);
        return code;
    }
    bool found = folder_of(path, false, asked) && folder_of(path, true, own);
    code = parse(&file, found ? asked : NULL, found ? own : NULL, out, err);
    return code < 0 ? pcr_err_prefix(err, code, "%s", path) : 0;
}

int pcr_onnx_model_create(const char *graph_name, int64_t opset, struct pcr_onnx_model **out,
                          struct pacer_error *err) {
    struct pcr_onnx_model *model = allocate(err);
    if (!model)
        return PACER_ENOMEM;
    Onnx__ModelProto *proto = model->proto = pcr_onnx_new(model, 1, sizeof *proto);
    Onnx__GraphProto *graph = pcr_onnx_new(model, 1, sizeof *graph);
    if (!proto || !graph) {
        pcr_onnx_model_destroy(model);
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    }
    onnx__model_proto__init(proto);
    onnx__graph_proto__init(graph);
    proto->graph = graph;
    proto->has_ir_version = true;
    proto->ir_version = IR_VERSION;
    proto->producer_name = pcr_onnx_dup(model, "pacer");
    proto->producer_version = pcr_onnx_dup(model, pacer_version());
    graph->name = pcr_onnx_dup(model, graph_name);
    pcr_onnx_model_set_opset(model, "", opset);
    int code = pcr_onnx_model_check_memory(model, err);
    if (code < 0)
        pcr_onnx_model_destroy(model);
    else
        *out = model;
    return code;
}

// --- the head -----------------------------------------------------------------------------------
// "ai.onnx" is another name of the domain without one.
static const char *plain(const char *domain) {
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

// A new array of pointers with `item` in the place of `old`, or behind all. These are few.
static void replace(struct pcr_onnx_model *model, void *array, size_t *n, const void *old,
                    void *item) {
    void **items, **copy = pcr_onnx_new(model, *n + 1, sizeof *copy);
    memcpy(&items, array, sizeof items); // of whatever pointer type
    if (!copy)
        return;
    for (size_t i = 0; i < *n; i++)
        copy[i] = items[i] == old ? item : items[i];
    if (!old)
        copy[(*n)++] = item;
    memcpy(array, &copy, sizeof copy);
}

static Onnx__OperatorSetIdProto *find_opset(const struct pcr_onnx_model *model,
                                            const char *domain) {
    for (size_t i = 0; i < model->proto->n_opset_import; i++)
        if (strcmp(plain(model->proto->opset_import[i]->domain), plain(domain)) == 0)
            return model->proto->opset_import[i];
    return NULL;
}

int64_t pcr_onnx_model_opset(const struct pcr_onnx_model *model, const char *domain) {
    const Onnx__OperatorSetIdProto *opset = find_opset(model, domain);
    return opset ? opset->version : 0;
}

// Replaces entries rather than writing to them: a snapshot may have the old ones.
void pcr_onnx_model_set_opset(struct pcr_onnx_model *model, const char *domain, int64_t version) {
    Onnx__ModelProto *proto = model->proto;
    const Onnx__OperatorSetIdProto *old = find_opset(model, domain);
    Onnx__OperatorSetIdProto *opset = pcr_onnx_new(model, 1, sizeof *opset);
    if (!opset)
        return;
    onnx__operator_set_id_proto__init(opset);
    opset->domain = pcr_onnx_dup(model, plain(domain));
    opset->has_version = true;
    opset->version = version;
    replace(model, &proto->opset_import, &proto->n_opset_import, old, opset);
}

int64_t pcr_onnx_model_ir_version(const struct pcr_onnx_model *model) {
    return model->proto->ir_version;
}

static Onnx__StringStringEntryProto *find_metadata(const struct pcr_onnx_model *model,
                                                   const char *key) {
    for (size_t i = 0; i < model->proto->n_metadata_props; i++) {
        Onnx__StringStringEntryProto *entry = model->proto->metadata_props[i];
        if (entry->key && strcmp(entry->key, key) == 0)
            return entry;
    }
    return NULL;
}

const char *pcr_onnx_model_metadata(const struct pcr_onnx_model *model, const char *key) {
    const Onnx__StringStringEntryProto *entry = find_metadata(model, key);
    return entry ? entry->value : NULL;
}

void pcr_onnx_model_set_metadata(struct pcr_onnx_model *model, const char *key, const char *value) {
    Onnx__ModelProto *proto = model->proto;
    const Onnx__StringStringEntryProto *old = find_metadata(model, key);
    Onnx__StringStringEntryProto *entry = pcr_onnx_new(model, 1, sizeof *entry);
    if (!entry)
        return;
    onnx__string_string_entry_proto__init(entry);
    entry->key = pcr_onnx_dup(model, key);
    entry->value = pcr_onnx_dup(model, value);
    replace(model, &proto->metadata_props, &proto->n_metadata_props, old, entry);
}

// --- variants -----------------------------------------------------------------------------------
struct pcr_onnx_snapshot {
    Onnx__ModelProto proto;
    Onnx__GraphProto graph;
    size_t initializers_cap, inputs_cap, outputs_cap;
};

const struct pcr_onnx_snapshot *pcr_onnx_model_snapshot(struct pcr_onnx_model *model) {
    struct pcr_onnx_snapshot *snapshot = pcr_onnx_new(model, 1, sizeof *snapshot);
    if (snapshot)
        *snapshot =
            (struct pcr_onnx_snapshot){*model->proto, *model->proto->graph, model->initializers_cap,
                                       model->inputs_cap, model->outputs_cap};
    return snapshot;
}

void pcr_onnx_model_restore(struct pcr_onnx_model *model,
                            const struct pcr_onnx_snapshot *snapshot) {
    *model->proto = snapshot->proto;
    *model->proto->graph = snapshot->graph;
    model->initializers_cap = snapshot->initializers_cap;
    model->inputs_cap = snapshot->inputs_cap;
    model->outputs_cap = snapshot->outputs_cap;
    pcr_onnx_forget_constants(model);
    pcr_map_fini(&model->names);
    pcr_map_init(&model->names);
    model->has_names = false;
}
