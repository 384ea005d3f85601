// SPDX-License-Identifier: Apache-2.0
// TensorProto: elements lie in raw_data,
// or in one of the typed lists, where small types are widened.
#include "onnx/proto_priv.h"

#include <pacer/tensor.h>

#define TENSOR_BYTES_MAX ((size_t)1 << 31)

static int bad(struct pacer_error *err, const char *what) {
    return pcr_err(err, PACER_EMODEL, "onnx", "not a TensorProto: %s", what);
}

static int copy_shape(const Onnx__TensorProto *proto, struct pcr_arena *arena,
                      struct pacer_tensor *out, size_t *count, struct pacer_error *err) {
    if (proto->n_dims > PACER_RANK_MAX)
        return pcr_err(err, PACER_EUNSUPPORTED, "onnx",
                       "a tensor of %zu dimensions; at most %d are served", proto->n_dims,
                       PACER_RANK_MAX);
    int64_t *shape = pcr_arena_calloc(arena, proto->n_dims + 1, sizeof *shape);
    if (!shape)
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    if (proto->n_dims)
        memcpy(shape, proto->dims, proto->n_dims * sizeof *shape);
    out->rank = proto->n_dims;
    out->shape = shape;
    if (pacer_shape_count(shape, out->rank, count) < 0 || *count > TENSOR_BYTES_MAX)
        return bad(err, "its dimensions make no sense");
    return 0;
}

// Widened elements: the low bytes of each 32-bit or 64-bit number.
static void narrow(void *to, size_t size, const void *from, size_t from_size, size_t count) {
    for (size_t i = 0; i < count; i++) // little-endian, as every machine pacer is built for
        memcpy((char *)to + i * size, (const char *)from + i * from_size, size);
}

static int copy_numbers(const Onnx__TensorProto *p, size_t count, void *to, size_t size,
                        struct pacer_error *err) {
    if (p->has_raw_data) {
        if (p->raw_data.len != count * size)
            return bad(err, "its raw data does not have the size of its shape");
        if (count)
            memcpy(to, p->raw_data.data, count * size);
        return 0;
    }
    struct {
        size_t n;
        const void *data;
        size_t size;
    } lists[] = {{p->n_float_data, p->float_data, 4},
                 {p->n_int32_data, p->int32_data, 4},
                 {p->n_int64_data, p->int64_data, 8},
                 {p->n_double_data, p->double_data, 8},
                 {p->n_uint64_data, p->uint64_data, 8}};
    for (size_t i = 0; i < PCR_COUNT_OF(lists); i++)
        if (lists[i].n == count && lists[i].n > 0 && lists[i].size >= size) {
            narrow(to, size, lists[i].data, lists[i].size, count);
            return 0;
        }
    return count == 0 ? 0 : bad(err, "it has no list of as many elements as its shape");
}

static int copy_strings(const Onnx__TensorProto *p, size_t count, struct pcr_arena *arena,
                        struct pacer_tensor *out, struct pacer_error *err) {
    if (p->n_string_data != count)
        return bad(err, "it has fewer or more strings than its shape");
    struct pacer_bytes *strings = pcr_arena_calloc(arena, count + 1, sizeof *strings);
    for (size_t i = 0; strings && i < count; i++) {
        struct pcr_str text = {(const char *)p->string_data[i].data, p->string_data[i].len};
        strings[i] = (struct pacer_bytes){pcr_arena_dup(arena, text), text.len};
        if (!strings[i].data)
            strings = NULL;
    }
    out->data = strings;
    return strings ? 0 : pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
}

static int convert(const Onnx__TensorProto *proto, struct pcr_arena *arena,
                   struct pacer_tensor *out, struct pacer_error *err) {
    size_t count = 0;
    out->dtype = pcr_onnx_dtype(proto->data_type);
    if (out->dtype == PACER_DTYPE_INVALID)
        return pcr_err(err, proto->data_type ? PACER_EUNSUPPORTED : PACER_EMODEL, "onnx",
                       "a tensor of %s", pcr_onnx_type_name(proto->data_type));
    if (proto->n_external_data)
        return pcr_err(err, PACER_EUNSUPPORTED, "onnx", "a tensor with external data");
    out->name = pcr_arena_dup(arena, pcr_str(proto->name ? proto->name : ""));
    if (!out->name)
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    int code = copy_shape(proto, arena, out, &count, err);
    if (code < 0 || out->dtype == PACER_BYTES)
        return code < 0 ? code : copy_strings(proto, count, arena, out, err);
    size_t size = pacer_dtype_size(out->dtype);
    void *data = pcr_arena_array(arena, count + 1, size);
    if (!data)
        return pcr_err(err, PACER_ENOMEM, "onnx", "out of memory");
    out->data = data;
    return copy_numbers(proto, count, data, size, err);
}

int pcr_onnx_tensor(struct pcr_str bytes, struct pcr_arena *arena, struct pacer_tensor *out,
                    struct pacer_error *err) {
    struct pcr_arena scratch;
    *out = (struct pacer_tensor){0};
    pcr_arena_init(&scratch, bytes.len > TENSOR_BYTES_MAX ? 0 : 4 * bytes.len + (64u << 10));
    ProtobufCAllocator allocator = pcr_onnx_allocator(&scratch);
    const Onnx__TensorProto *proto =
        onnx__tensor_proto__unpack(&allocator, bytes.len, (const uint8_t *)bytes.ptr);
    int code = proto ? convert(proto, arena, out, err) : bad(err, "it cannot be unpacked");
    pcr_arena_fini(&scratch);
    return code;
}
