// SPDX-License-Identifier: Apache-2.0
// protobuf-c copies all it unpacks. For a model that is nearly all weights that is a second model
// in memory, so it is given a skeleton: the same file in which each long raw_data or packed
// float_data is replaced by a field of ours that holds a number. After unpacking, that number is
// exchanged for a pointer into the file.
//
// Messages on the way to such a list get shorter, so they are written anew, with a length of five
// bytes that is filled in behind; all others are copied as they are. So are messages that the
// distribution's onnx.proto does not know: they stay unknown fields, which are saved as they came.
//
// The file is the caller's and nobody reads it again, so a list that does not lie on a multiple of
// four bytes is moved down to one: before it are at least three bytes of its own tag and length.
#include "onnx/skeleton_priv.h"

#include "onnx/wire.h"

#include <stdlib.h>

#define MARK_FIELD 19000 // protobuf keeps 19000 to 19999 for itself, so no real file has it
#define MARK_TAG ((MARK_FIELD << 3) | 5)
#define FIELD_FLOATS 4
#define FIELD_RAW 9
#define PIECE_BYTES_MIN 256
#define LENGTH_BYTES 5

struct writer {
    struct pcr_buf *out;
    struct pcr_onnx_pieces *pieces;
    struct pacer_error *err;
};

static void put_varint(struct pcr_buf *out, uint64_t value) {
    for (; value > 0x7f; value >>= 7)
        pcr_buf_char(out, (char)(value | 0x80));
    pcr_buf_char(out, (char)value);
}

static void fill_in_length(struct pcr_buf *out, size_t at) {
    if (out->failed)
        return;
    size_t bytes = out->len - at - LENGTH_BYTES;
    for (size_t i = 0; i < LENGTH_BYTES; i++, bytes >>= 7)
        out->data[at + i] = (char)((bytes & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

static bool is_list(const struct pcr_onnx_field *field) {
    return field->wire_type == 2 && field->bytes.len >= PIECE_BYTES_MIN &&
           (field->number == FIELD_RAW ||
            (field->number == FIELD_FLOATS && field->bytes.len % sizeof(float) == 0));
}

static int add_piece(struct writer *w, struct pcr_str bytes, bool is_floats) {
    struct pcr_onnx_pieces *pieces = w->pieces;
    if (pieces->n == pieces->cap) {
        size_t cap = pieces->cap ? 2 * pieces->cap : 64;
        struct pcr_onnx_piece *items = realloc(pieces->items, cap * sizeof *items);
        if (!items)
            return pcr_err(w->err, PACER_ENOMEM, "onnx", "out of memory");
        pieces->items = items;
        pieces->cap = cap;
    }
    pieces->items[pieces->n++] = (struct pcr_onnx_piece){bytes, is_floats};
    return 0;
}

static int put_mark(struct writer *w, const struct pcr_onnx_field *field) {
    uint32_t number = (uint32_t)w->pieces->n;
    put_varint(w->out, MARK_TAG);
    pcr_buf_append(w->out, &number, sizeof number);
    return add_piece(w, field->bytes, field->number == FIELD_FLOATS);
}

// The messages within a field, as far as they may lead to tensors; else NULL.
static const ProtobufCMessageDescriptor *inner(const ProtobufCMessageDescriptor *kind,
                                               const struct pcr_onnx_field *field) {
    const ProtobufCFieldDescriptor *known =
        field->wire_type == 2 && field->number <= UINT32_MAX
            ? protobuf_c_message_descriptor_get_field(kind, (unsigned)field->number)
            : NULL;
    return known && known->type == PROTOBUF_C_TYPE_MESSAGE &&
                   !(known->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
               ? known->descriptor
               : NULL;
}

static int put_message(struct writer *w, const ProtobufCMessageDescriptor *kind,
                       struct pcr_str bytes);

static int put_inner(struct writer *w, const ProtobufCMessageDescriptor *kind,
                     const struct pcr_onnx_field *field) {
    put_varint(w->out, field->number << 3 | 2);
    size_t length = w->out->len;
    pcr_buf_append(w->out, "\0\0\0\0", LENGTH_BYTES);
    int code = put_message(w, kind, field->bytes);
    fill_in_length(w->out, length);
    return code;
}

static int put_message(struct writer *w, const ProtobufCMessageDescriptor *kind,
                       struct pcr_str bytes) {
    const char *at = bytes.ptr, *end = bytes.ptr + bytes.len;
    bool is_tensor = kind == &onnx__tensor_proto__descriptor;
    int code = 0;
    while (at < end && code == 0) {
        const char *start = at;
        struct pcr_onnx_field field;
        if (pcr_onnx_field_read(&at, end, &field) != PCR_WIRE_OK)
            return pcr_err(w->err, PACER_EMODEL, "onnx", "not a protobuf field");
        const ProtobufCMessageDescriptor *child = inner(kind, &field);
        if (is_tensor && field.number == MARK_FIELD)
            code = pcr_err(w->err, PACER_EMODEL, "onnx",
                           "a tensor has a field %d, which ONNX does not have", MARK_FIELD);
        else if (is_tensor && is_list(&field))
            code = put_mark(w, &field);
        else if (child)
            code = put_inner(w, child, &field);
        else
            pcr_buf_append(w->out, start, (size_t)(at - start));
    }
    return code;
}

int pcr_onnx_skeleton(struct pcr_str file, struct pcr_buf *out, struct pcr_onnx_pieces *pieces,
                      struct pacer_error *err) {
    struct writer writer = {out, pieces, err};
    int code = put_message(&writer, &onnx__model_proto__descriptor, file);
    if (code == 0 && out->failed)
        code = pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    return code;
}

// --- giving them back ---------------------------------------------------------------------------
static int fill_tensor(Onnx__TensorProto *tensor, const struct pcr_onnx_pieces *pieces,
                       struct pacer_error *err) {
    const struct pcr_onnx_piece *piece = NULL;
    size_t n_floats = 0, kept = 0;
    ProtobufCMessage *base = &tensor->base;
    for (unsigned i = 0; i < base->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &base->unknown_fields[i];
        if (field->tag != MARK_FIELD) {
            base->unknown_fields[kept++] = *field;
            continue;
        }
        uint32_t number;
        PCR_ASSERT(field->len == sizeof number);
        memcpy(&number, field->data, sizeof number);
        PCR_ASSERT(number < pieces->n);
        piece = &pieces->items[number];
        n_floats += piece->is_floats;
    }
    base->n_unknown_fields = (unsigned)kept;
    if (!piece)
        return 0;
    // Of raw_data the last one counts, as for protobuf; lists of floats would be joined.
    if (tensor->n_float_data || n_floats > 1 ||
        (n_floats && (tensor->has_raw_data || !piece->is_floats)))
        return pcr_err(err, PACER_EMODEL, "onnx",
                       "the numbers of tensor '%.100s' are in two places",
                       tensor->name ? tensor->name : "");
    if (piece->is_floats && tensor->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
        return pcr_err(err, PACER_EMODEL, "onnx",
                       "tensor '%.100s' has its numbers in float_data, but is not of FP32",
                       tensor->name ? tensor->name : "");
    uint8_t *data = (uint8_t *)piece->bytes.ptr; // the caller's, who reads it no more
    size_t off = (uintptr_t)data % sizeof(float);
    if (off)
        memmove(data - off, data, piece->bytes.len);
    tensor->has_raw_data = true;
    tensor->raw_data.len = piece->bytes.len;
    tensor->raw_data.data = data - off;
    return 0;
}

struct fill {
    const struct pcr_onnx_pieces *pieces;
    struct pacer_error *err;
};

static int fill(void *ctx, Onnx__TensorProto *tensor) {
    const struct fill *fill = ctx;
    return fill_tensor(tensor, fill->pieces, fill->err);
}

int pcr_onnx_skeleton_fill(Onnx__ModelProto *model, const struct pcr_onnx_pieces *pieces,
                           struct pacer_error *err) {
    struct fill ctx = {pieces, err};
    return pcr_onnx_each_tensor(&model->base, fill, &ctx);
}
