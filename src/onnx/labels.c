// SPDX-License-Identifier: Apache-2.0
// The names of a classifier's classes, read from its graph.
//
// A row of probabilities says nothing about what its columns are; taking a wrong order for it would
// give wrong decisions that look right. Most converters leave the order in the graph: the operators
// LinearClassifier, TreeEnsembleClassifier and SVMClassifier carry their labels as attributes, and
// where they are not used the label is made by ArgMax over the same row and a look-up in a list of
// names. Both are recognised here, followed back from the output through operators that leave
// columns where they are. Whole numbers that a LabelEncoder turns into names take those.
//
// Invariant: names are given only where the graph can be read in one way. Anything else (another
// operator on the way, a list that repeats a name, one that is not text) gives none, and the person
// is asked. Guessing from the order of a sorted list would be right for most models of scikit-learn
// and silently wrong for the rest.
//
// Rejected: unpacking with protobuf-c. It would copy every weight of every model at each load for
// the sake of a few strings; this looks at the bytes where they lie.
#include "onnx/onnx.h"
#include "onnx/wire.h"

#define NODES_MAX 4096
#define STEPS_MAX 64
#define OUTPUTS_MAX 16

struct node {
    struct pcr_str op, in[2], out[2], bytes;
};

struct graph {
    struct pcr_str bytes;
    struct node *nodes;
    size_t n;
};

static bool next(struct pcr_str *rest, struct pcr_onnx_field *field) {
    const char *at = rest->ptr, *end = rest->ptr + rest->len;
    if (at == end || pcr_onnx_field_read(&at, end, field) != PCR_WIRE_OK)
        return false;
    *rest = (struct pcr_str){at, (size_t)(end - at)};
    return true;
}

static bool is(struct pcr_str text, const char *word) {
    return pcr_str_eq(text, pcr_str(word));
}

static bool is_classifier(struct pcr_str op) {
    return is(op, "LinearClassifier") || is(op, "TreeEnsembleClassifier") ||
           is(op, "SVMClassifier");
}

bool pcr_onnx_makes_labels(struct pcr_str op) {
    return is_classifier(op) || is(op, "ArgMax");
}

// The last field of that number that holds bytes.
static struct pcr_str child(struct pcr_str message, uint64_t number) {
    struct pcr_str found = {NULL, 0};
    struct pcr_onnx_field field;
    while (next(&message, &field))
        if (field.number == number && field.wire_type == 2)
            found = field.bytes;
    return found;
}

// --- the graph ----------------------------------------------------------------------------------
static struct node read_node(struct pcr_str bytes) {
    struct node node = {.bytes = bytes};
    struct pcr_onnx_field field;
    size_t n_in = 0, n_out = 0;
    while (next(&bytes, &field)) {
        if (field.wire_type != 2)
            continue;
        if (field.number == 1 && n_in < 2)
            node.in[n_in++] = field.bytes;
        if (field.number == 2 && n_out < 2)
            node.out[n_out++] = field.bytes;
        if (field.number == 4)
            node.op = field.bytes;
    }
    return node;
}

// The nodes of the model's own graph; none where there are too many to look through.
static int read_graph(struct pcr_str file, struct pcr_arena *arena, struct graph *graph) {
    *graph = (struct graph){.bytes = child(file, 7)};
    struct pcr_str rest = graph->bytes;
    struct pcr_onnx_field field;
    size_t n = 0;
    while (next(&rest, &field))
        n += field.number == 1 && field.wire_type == 2;
    if (n > NODES_MAX)
        return 0;
    graph->nodes = pcr_arena_calloc(arena, n + 1, sizeof *graph->nodes);
    if (!graph->nodes)
        return PACER_ENOMEM;
    for (rest = graph->bytes; next(&rest, &field) && graph->n < n;)
        if (field.number == 1 && field.wire_type == 2)
            graph->nodes[graph->n++] = read_node(field.bytes);
    return 0;
}

static const struct node *maker_of(const struct graph *graph, struct pcr_str value) {
    for (size_t i = 0; value.len > 0 && i < graph->n; i++)
        for (size_t k = 0; k < 2; k++)
            if (pcr_str_eq(graph->nodes[i].out[k], value))
                return &graph->nodes[i];
    return NULL;
}

// Operators that leave the columns of their first input where they are.
static bool keeps_columns(const struct node *node) {
    static const char *const ops[] = {"Identity", "Cast", "Softmax", "Normalizer",
                                      "Clip",     "Div",  "Sigmoid"};
    for (size_t i = 0; i < PCR_COUNT_OF(ops); i++)
        if (is(node->op, ops[i]))
            return true;
    return false;
}

// The same for a single column of labels or indices.
static bool keeps_label(const struct node *node) {
    return is(node->op, "Identity") || is(node->op, "Cast") || is(node->op, "Reshape") ||
           is(node->op, "Squeeze");
}

// `value` and the values it comes from; returns how many.
static size_t way_back(const struct graph *graph, struct pcr_str value,
                       bool (*keeps)(const struct node *), struct pcr_str way[STEPS_MAX]) {
    size_t n = 0;
    while (n < STEPS_MAX) {
        way[n++] = value;
        const struct node *node = maker_of(graph, value);
        if (!node || !keeps(node) || !pcr_str_eq(node->out[0], value))
            break;
        value = node->in[0];
    }
    return n;
}

static bool comes_from(const struct graph *graph, struct pcr_str value,
                       bool (*keeps)(const struct node *), const struct pcr_str *sources,
                       size_t n_sources) {
    struct pcr_str way[STEPS_MAX];
    size_t n = way_back(graph, value, keeps, way);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n_sources; j++)
            if (way[i].len > 0 && pcr_str_eq(way[i], sources[j]))
                return true;
    return false;
}

// --- lists of labels ----------------------------------------------------------------------------
struct list {
    struct pcr_arena *arena;
    struct pcr_onnx_labels *labels; // names has PCR_ONNX_LABELS_MAX places
    bool unfit, no_memory;
};

static bool list_init(struct list *list, struct pcr_arena *arena, struct pcr_onnx_labels *labels,
                      bool are_text) {
    *labels = (struct pcr_onnx_labels){.are_text = are_text};
    labels->names = pcr_arena_calloc(arena, PCR_ONNX_LABELS_MAX, sizeof *labels->names);
    *list = (struct list){arena, labels, false, !labels->names};
    return labels->names;
}

static void add(struct list *list, const char *name) {
    struct pcr_onnx_labels *labels = list->labels;
    for (size_t i = 0; name && !list->unfit && i < labels->n; i++)
        list->unfit = strcmp(labels->names[i], name) == 0;
    list->no_memory |= !name;
    list->unfit |= labels->n == PCR_ONNX_LABELS_MAX;
    if (name && !list->unfit)
        labels->names[labels->n++] = name;
}

static void add_text(struct list *list, struct pcr_str text) {
    bool fit = text.len > 0 && text.len <= 1024;
    for (size_t i = 0; i < text.len && fit; i++)
        fit = (unsigned char)text.ptr[i] >= ' ' && text.ptr[i] != 0x7f;
    list->unfit |= !fit;
    if (!list->unfit && !list->no_memory)
        add(list, pcr_arena_dup(list->arena, text));
}

static void add_number(struct list *list, uint64_t number) {
    if (!list->unfit && !list->no_memory)
        add(list, pcr_arena_printf(list->arena, "%lld", (long long)number));
}

// A repeated int64: packed, or one by one.
static void add_varints(struct list *list, const struct pcr_onnx_field *field) {
    if (field->wire_type == 0)
        add_number(list, field->varint);
    const char *at = field->bytes.ptr;
    const char *end = at ? at + field->bytes.len : at;
    uint64_t number;
    while (field->wire_type == 2 && at < end && !list->unfit && !list->no_memory) {
        if (pcr_onnx_varint(&at, end, &number))
            add_number(list, number);
        else
            list->unfit = true;
    }
}

static int list_fini(struct list *list) {
    if (list->unfit || list->no_memory || list->labels->n == 0)
        *list->labels = (struct pcr_onnx_labels){.names = NULL};
    return list->no_memory ? PACER_ENOMEM : 0;
}

static struct pcr_str attribute(const struct node *node, const char *name) {
    struct pcr_str rest = node->bytes, none = {NULL, 0};
    struct pcr_onnx_field field;
    while (next(&rest, &field))
        if (field.number == 5 && field.wire_type == 2 && is(child(field.bytes, 1), name))
            return field.bytes;
    return none;
}

// The strings or ints of an attribute; none if it is not there.
static int attribute_list(const struct node *node, const char *name, bool are_text,
                          struct pcr_arena *arena, struct pcr_onnx_labels *labels) {
    struct pcr_str rest = attribute(node, name);
    struct pcr_onnx_field field;
    struct list list;
    *labels = (struct pcr_onnx_labels){.names = NULL};
    if (!rest.ptr)
        return 0;
    if (!list_init(&list, arena, labels, are_text))
        return PACER_ENOMEM;
    while (next(&rest, &field)) {
        if (are_text && field.number == 9 && field.wire_type == 2)
            add_text(&list, field.bytes);
        if (!are_text && field.number == 8)
            add_varints(&list, &field);
    }
    return list_fini(&list);
}

// --- classifiers --------------------------------------------------------------------------------
// Whole numbers that become names: labels->names[i] is looked up in the encoder.
static int encode(const struct node *encoder, struct pcr_arena *arena,
                  struct pcr_onnx_labels *labels) {
    struct pcr_onnx_labels keys, values;
    if (attribute_list(encoder, "keys_int64s", false, arena, &keys) < 0 ||
        attribute_list(encoder, "values_strings", true, arena, &values) < 0)
        return PACER_ENOMEM;
    if (!keys.names || keys.n != values.n)
        return 0;
    for (size_t i = 0; i < labels->n; i++) {
        size_t k = 0;
        while (k < keys.n && strcmp(keys.names[k], labels->names[i]) != 0)
            k++;
        if (k == keys.n) {
            *labels = (struct pcr_onnx_labels){.names = NULL};
            return 0;
        }
        labels->names[i] = values.names[k];
    }
    labels->are_text = true;
    return 0;
}

static int of_classifier(const struct graph *graph, const struct node *node,
                         struct pcr_arena *arena, struct pcr_onnx_labels *labels) {
    static const char *const lists[] = {"classlabels_strings", "classlabels_ints",
                                        "classlabels_int64s"};
    for (size_t i = 0; i < PCR_COUNT_OF(lists) && !labels->names; i++)
        if (attribute_list(node, lists[i], i == 0, arena, labels) < 0)
            return PACER_ENOMEM;
    if (!labels->names || labels->are_text)
        return 0;
    for (size_t i = 0; i < graph->n; i++)
        if (is(graph->nodes[i].op, "LabelEncoder") &&
            comes_from(graph, graph->nodes[i].in[0], keeps_label, &node->out[0], 1))
            return encode(&graph->nodes[i], arena, labels);
    return 0;
}

// --- ArgMax and a list --------------------------------------------------------------------------
static bool over_columns(const struct node *argmax) {
    struct pcr_str rest = attribute(argmax, "axis");
    struct pcr_onnx_field field;
    int64_t axis = 0;
    while (next(&rest, &field))
        if (field.number == 3 && field.wire_type == 0)
            axis = (int64_t)field.varint;
    return axis == 1 || axis == -1;
}

#define ONNX_INT32 6
#define ONNX_INT64 7
#define ONNX_STRING 8

static void add_raw(struct list *list, struct pcr_str raw, uint64_t type) {
    size_t size = type == ONNX_INT64 ? 8 : 4;
    list->unfit |= raw.len % size != 0;
    for (size_t i = 0; i + size <= raw.len && !list->unfit && !list->no_memory; i += size) {
        int64_t wide;
        int32_t narrow;
        memcpy(&narrow, raw.ptr + i, sizeof narrow);
        wide = narrow;
        if (size == 8)
            memcpy(&wide, raw.ptr + i, sizeof wide);
        add_number(list, (uint64_t)wide);
    }
}

// The elements of an initializer, if they can be names.
static int tensor_list(struct pcr_str tensor, struct pcr_arena *arena,
                       struct pcr_onnx_labels *labels) {
    struct pcr_onnx_field field;
    uint64_t type = 0;
    for (struct pcr_str rest = tensor; next(&rest, &field);)
        if (field.number == 2 && field.wire_type == 0)
            type = field.varint;
    if (type != ONNX_STRING && type != ONNX_INT32 && type != ONNX_INT64)
        return 0;
    struct list list;
    if (!list_init(&list, arena, labels, type == ONNX_STRING))
        return PACER_ENOMEM;
    for (struct pcr_str rest = tensor; next(&rest, &field);) {
        if (type == ONNX_STRING && field.number == 6 && field.wire_type == 2)
            add_text(&list, field.bytes);
        if ((type == ONNX_INT64 && field.number == 7) || (type == ONNX_INT32 && field.number == 5))
            add_varints(&list, &field);
        if (type != ONNX_STRING && field.number == 9 && field.wire_type == 2)
            add_raw(&list, field.bytes, type);
    }
    return list_fini(&list);
}

static int initializer_list(const struct graph *graph, struct pcr_str name, struct pcr_arena *arena,
                            struct pcr_onnx_labels *labels) {
    struct pcr_str rest = graph->bytes;
    struct pcr_onnx_field field;
    while (name.len > 0 && next(&rest, &field))
        if (field.number == 5 && field.wire_type == 2 && pcr_str_eq(child(field.bytes, 8), name))
            return tensor_list(field.bytes, arena, labels);
    return 0;
}

static int of_argmax(const struct graph *graph, const struct node *argmax, struct pcr_arena *arena,
                     struct pcr_onnx_labels *labels) {
    for (size_t i = 0; i < graph->n; i++) {
        const struct node *node = &graph->nodes[i];
        if ((is(node->op, "ArrayFeatureExtractor") || is(node->op, "Gather")) &&
            comes_from(graph, node->in[1], keeps_label, &argmax->out[0], 1))
            return initializer_list(graph, node->in[0], arena, labels);
    }
    return 0;
}

// --- the whole ----------------------------------------------------------------------------------
static int of_output(const struct graph *graph, struct pcr_str output, struct pcr_arena *arena,
                     struct pcr_onnx_labels *labels) {
    struct pcr_str way[STEPS_MAX];
    size_t n = way_back(graph, output, keeps_columns, way);
    const struct node *source = maker_of(graph, way[n - 1]);
    if (source && is_classifier(source->op) && pcr_str_eq(source->out[1], way[n - 1]))
        return of_classifier(graph, source, arena, labels);
    for (size_t i = 0; i < graph->n && !labels->names; i++)
        if (is(graph->nodes[i].op, "ArgMax") && over_columns(&graph->nodes[i]) &&
            comes_from(graph, graph->nodes[i].in[0], keeps_columns, way, n) &&
            of_argmax(graph, &graph->nodes[i], arena, labels) < 0)
            return PACER_ENOMEM;
    return 0;
}

int pcr_onnx_labels(struct pcr_str file, const char *const *outputs, size_t n_outputs,
                    struct pcr_arena *arena, struct pcr_onnx_labels *labels) {
    struct graph graph;
    for (size_t i = 0; i < n_outputs; i++)
        labels[i] = (struct pcr_onnx_labels){.names = NULL};
    int code = read_graph(file, arena, &graph);
    for (size_t i = 0; i < n_outputs && i < OUTPUTS_MAX && code == 0; i++)
        code = of_output(&graph, pcr_str(outputs[i]), arena, &labels[i]);
    return code;
}
