// SPDX-License-Identifier: Apache-2.0
// A walk over the wire format of a model file.
//
// ONNX Runtime and protobuf-c trust a file more than a server should: a few hundred kilobytes of
// graphs within graphs overflow protobuf-c's stack, and a tensor may name any file of the machine
// as the place of its numbers (ONNX Runtime 1.21 reads it). So every file is walked here first. The
// walk needs to know only which fields hold messages that lead to tensors or to themselves: that is
// the table `children`, which is written down rather than taken from the distribution's onnx.proto,
// because ONNX Runtime may understand newer fields than that file has (the default attributes of
// functions, say), and a tensor in them must be seen too. All else is skipped by its length.
//
// Invariant: whatever comes, each byte is looked at a bounded number of times, nothing is allocated
// and the depth of recursion stays below PCR_ONNX_DEPTH_MAX. A message field that may occur once
// must occur once: protobuf would merge repetitions, which costs protobuf-c quadratic time and no
// exporter writes.
//
// Rejected: unpacking first and looking then.
// It copies every weight, and is itself what has to be protected.
#include "onnx/onnx.h"
#include "onnx/wire.h"

#include <stdio.h>

enum message {
    NONE, // a field of no interest
    MODEL,
    GRAPH,
    NODE,
    ATTRIBUTE,
    TENSOR,
    SPARSE,
    TRAINING,
    FUNCTION,
    VALUE,
    TYPE,
    TENSOR_TYPE,
    SEQUENCE_TYPE,
    MAP_TYPE,
    OPTIONAL_TYPE,
    SHAPE,
    ENTRY,
    MESSAGES
};

static const char *const message_names[MESSAGES] = {"",
                                                    "ModelProto",
                                                    "GraphProto",
                                                    "NodeProto",
                                                    "AttributeProto",
                                                    "TensorProto",
                                                    "SparseTensorProto",
                                                    "TrainingInfoProto",
                                                    "FunctionProto",
                                                    "ValueInfoProto",
                                                    "TypeProto",
                                                    "TypeProto.Tensor",
                                                    "TypeProto.Sequence",
                                                    "TypeProto.Map",
                                                    "TypeProto.Optional",
                                                    "TensorShapeProto",
                                                    "StringStringEntryProto"};

#define FIELDS 32
#define ONCE 0x80 // may occur once only

static const uint8_t children[MESSAGES][FIELDS] = {
    [MODEL] = {[7] = GRAPH | ONCE, [20] = TRAINING, [25] = FUNCTION},
    [GRAPH] = {[1] = NODE, [5] = TENSOR, [11] = VALUE, [12] = VALUE, [13] = VALUE, [15] = SPARSE},
    [NODE] = {[5] = ATTRIBUTE},
    [ATTRIBUTE] = {[5] = TENSOR | ONCE,
                   [6] = GRAPH | ONCE,
                   [10] = TENSOR,
                   [11] = GRAPH,
                   [14] = TYPE | ONCE,
                   [15] = TYPE,
                   [22] = SPARSE | ONCE,
                   [23] = SPARSE},
    [TENSOR] = {[13] = ENTRY},
    [SPARSE] = {[1] = TENSOR | ONCE, [2] = TENSOR | ONCE},
    [TRAINING] = {[1] = GRAPH | ONCE, [2] = GRAPH | ONCE},
    [FUNCTION] = {[7] = NODE, [11] = ATTRIBUTE, [12] = VALUE},
    [VALUE] = {[2] = TYPE | ONCE},
    [TYPE] = {[1] = TENSOR_TYPE | ONCE,
              [4] = SEQUENCE_TYPE | ONCE,
              [5] = MAP_TYPE | ONCE,
              [8] = TENSOR_TYPE | ONCE,
              [9] = OPTIONAL_TYPE | ONCE},
    [TENSOR_TYPE] = {[2] = SHAPE | ONCE},
    [SEQUENCE_TYPE] = {[1] = TYPE | ONCE},
    [MAP_TYPE] = {[2] = TYPE | ONCE},
    [OPTIONAL_TYPE] = {[1] = TYPE | ONCE},
};

struct scan {
    struct pcr_str file;
    const struct pcr_onnx_visitor *visitor;
    void *ctx;
    struct pacer_error *err;
    struct pcr_onnx_value value;       // of the ValueInfoProto that is being read
    struct pcr_onnx_external external; // of the TensorProto that is being read
    bool seen_graph;
    bool is_known; // the fault is not that the bytes are something else
};

static int broken(const struct scan *scan, const char *at, const char *what) {
    return pcr_err_at(scan->err, PACER_EMODEL, "onnx", (size_t)(at - scan->file.ptr),
                      "%s at byte %zu of %zu", what, (size_t)(at - scan->file.ptr), scan->file.len);
}

// Reads the field at *at and moves behind it.
static int read_field(const struct scan *scan, const char **at, const char *end,
                      struct pcr_onnx_field *field) {
    const char *start = *at;
    switch (pcr_onnx_field_read(at, end, field)) {
    case PCR_WIRE_OK:
        return 0;
    case PCR_WIRE_ENDLESS_NUMBER:
        return broken(scan, start, "a number that does not end");
    case PCR_WIRE_ENDLESS_LENGTH:
        return broken(scan, start, "a length that does not end");
    case PCR_WIRE_NO_TYPE:
        return broken(scan, start, "not a protobuf field (wire type)");
    case PCR_WIRE_TOO_LONG:
        return broken(scan, start,
                      end == scan->file.ptr + scan->file.len
                          ? "the file is cut short, or no ONNX model: it ends inside a field"
                          : "a field is longer than the message around it");
    case PCR_WIRE_NO_FIELD:
        break;
    }
    return broken(scan, start, "not a protobuf field");
}

// A key and value of TensorProto.external_data.
static int read_entry(struct scan *scan, struct pcr_str entry) {
    struct pcr_str key = {"", 0};
    struct pcr_str value = {"", 0};
    const char *at = entry.ptr;
    const char *end = entry.ptr + entry.len;
    while (at < end) {
        struct pcr_onnx_field field;
        int code = read_field(scan, &at, end, &field);
        if (code < 0)
            return code;
        if (field.wire_type == 2 && field.number == 1)
            key = field.bytes;
        if (field.wire_type == 2 && field.number == 2)
            value = field.bytes;
    }
    struct pcr_onnx_external *external = &scan->external;
    if (pcr_str_eq(key, PCR_STR("location"))) {
        if (external->location.ptr)
            return broken(scan, entry.ptr, "a tensor with two external locations");
        external->location = value;
    } else if (pcr_str_eq(key, PCR_STR("offset"))) {
        if (!pcr_str_to_u64(value, INT64_MAX, &external->offset))
            return broken(scan, entry.ptr, "the offset of external data is not a number");
    } else if (pcr_str_eq(key, PCR_STR("length"))) {
        if (!pcr_str_to_u64(value, INT64_MAX, &external->length))
            return broken(scan, entry.ptr, "the length of external data is not a number");
    }
    return 0;
}

static int walk(struct scan *scan, enum message kind, struct pcr_str bytes, unsigned depth);

// What a message is begun and ended with.
static void enter(struct scan *scan, enum message kind, struct pcr_str bytes) {
    if (kind == TENSOR)
        scan->external = (struct pcr_onnx_external){.at = (size_t)(bytes.ptr - scan->file.ptr)};
    if (kind == VALUE)
        scan->value = (struct pcr_onnx_value){.name = {"", 0}};
}

static int answer(struct scan *scan, int code) {
    scan->is_known = code < 0;
    return code;
}

static int leave_tensor(struct scan *scan, bool is_external, struct pcr_str bytes) {
    struct pcr_onnx_external external = scan->external;
    if (!external.location.ptr && !is_external)
        return 0;
    if (!external.location.ptr)
        return broken(scan, bytes.ptr, "a tensor with external data but no location");
    return answer(scan, scan->visitor->external
                            ? scan->visitor->external(scan->ctx, &external, scan->err)
                            : 0);
}

static int leave_value(struct scan *scan, uint64_t number) {
    scan->value.is_output = number == 12;
    return answer(
        scan, scan->visitor->value ? scan->visitor->value(scan->ctx, &scan->value, scan->err) : 0);
}

static int walk_child(struct scan *scan, enum message kind, const struct pcr_onnx_field *field,
                      uint32_t *seen, unsigned depth) {
    uint8_t edge = children[kind][field->number];
    enum message child = (enum message)(edge & ~ONCE);
    if (edge & ONCE) {
        if (*seen & (1u << field->number)) {
            char what[96];
            snprintf(what, sizeof what, "a second message in field %u of %s",
                     (unsigned)field->number, message_names[kind]);
            scan->is_known = true;
            return broken(scan, field->bytes.ptr, what);
        }
        *seen |= 1u << field->number;
    }
    if (child == ENTRY)
        return read_entry(scan, field->bytes);
    if (child == SHAPE) {
        scan->value.has_shape = true;
        return 0;
    }
    int code = walk(scan, child, field->bytes, depth + 1);
    if (code == 0 && child == VALUE && kind == GRAPH && depth == 1 && field->number != 13)
        code = leave_value(scan, field->number);
    return code;
}

static int walk(struct scan *scan, enum message kind, struct pcr_str bytes, unsigned depth) {
    if (depth >= PCR_ONNX_DEPTH_MAX) {
        scan->is_known = true;
        return broken(scan, bytes.ptr,
                      "graphs or types nested too deeply (more than 100 messages)");
    }
    enter(scan, kind, bytes);
    uint32_t seen = 0;
    bool is_external = false;
    const char *at = bytes.ptr;
    const char *end = bytes.ptr + bytes.len;
    while (at < end) {
        struct pcr_onnx_field field;
        int code = read_field(scan, &at, end, &field);
        if (code < 0)
            return code;
        if (kind == TENSOR && field.number == 14 && field.wire_type == 0)
            is_external = field.varint == 1;
        if (kind == VALUE && field.number == 1 && field.wire_type == 2)
            scan->value.name = field.bytes;
        if (kind == NODE && field.number == 4 && field.wire_type == 2 && scan->visitor->node &&
            (code = answer(scan, scan->visitor->node(scan->ctx, field.bytes, scan->err))) < 0)
            return code;
        if (field.wire_type != 2 || field.number >= FIELDS || !children[kind][field.number])
            continue;
        scan->seen_graph |= kind == MODEL && field.number == 7;
        code = walk_child(scan, kind, &field, &seen, depth);
        if (code < 0)
            return code;
    }
    return kind == TENSOR ? leave_tensor(scan, is_external, bytes) : 0;
}

int pcr_onnx_scan(struct pcr_str file, const struct pcr_onnx_visitor *visitor, void *ctx,
                  struct pacer_error *err) {
    struct pacer_error fault = {0};
    struct scan scan = {.file = file, .visitor = visitor, .ctx = ctx, .err = &fault};
    if (file.len > PCR_ONNX_FILE_BYTES_MAX)
        return pcr_err(
            err, PACER_EMODEL, "onnx",
            "the file has %zu bytes; an ONNX file has at most 2 GiB: keep the weights of "
            "larger models in external data",
            file.len);
    int code = walk(&scan, MODEL, file, 0);
    if (code == 0 && scan.seen_graph)
        return 0;
    const char *kind = scan.is_known ? NULL : pcr_onnx_sniff(file);
    if (kind)
        return pcr_err(err, PACER_EMODEL, "onnx", "not an ONNX model: this is %s", kind);
    if (code == 0)
        return pcr_err(err, PACER_EMODEL, "onnx",
                       "not an ONNX model, or an empty one: it has no graph");
    if (err)
        *err = fault;
    return code;
}

const char *pcr_onnx_location_fault(struct pcr_str location) {
    if (location.len == 0)
        return "it is empty";
    if (memchr(location.ptr, '\0', location.len))
        return "it has a NUL in it";
    if (location.ptr[0] == '/')
        return "it is an absolute path";
    // ONNX Runtime reads the offset of such a tensor as an address in memory.
    if (location.ptr[0] == '*')
        return "it begins with '*', which ONNX Runtime takes for an address in memory";
    struct pcr_str rest = location;
    struct pcr_str part;
    while (pcr_str_split(&rest, '/', &part)) {
        if (pcr_str_eq(part, PCR_STR("..")))
            return "it leads upwards by '..'";
    }
    return NULL;
}
