// SPDX-License-Identifier: Apache-2.0
// The v2 codec. The first line of the input is the value of Inference-Header-Content-Length ("-":
// none was sent), the rest is the body. What is read is written again as the answer of a model that
// gives its inputs back: it must be JSON, and the binary part as long as it says.
#include "server/v2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t shapes[][3] = {{-1, 2, 3}, {1, 1, 1}, {-1, -1, 2}};

static int read_any(struct pcr_arena *arena, struct pcr_str header, struct pcr_str body,
                    struct pcr_v2_request *request, struct pacer_error *err) {
    size_t json_bytes;
    if (header.len == 1 && header.ptr[0] == '-')
        header.ptr = NULL;
    int rc = pcr_v2_json_bytes(header, body.len, &json_bytes, err);
    if (rc < 0)
        return rc;
    if (!header.ptr || json_bytes > 0)
        return pcr_v2_read(arena, "M", body, json_bytes, request, err);
    size_t pick = body.len ? (unsigned char)body.ptr[0] : 0;
    struct pacer_tensor_info input = {"X", (enum pacer_dtype)(PACER_BOOL + pick % PACER_BYTES), 3,
                                      shapes[pick / 16 % PCR_COUNT_OF(shapes)]};
    struct pcr_v2_raw raw = {.model = "M", .inputs = &input, .n_inputs = 1, .batches = pick & 128};
    return pcr_v2_read_raw(arena, &raw, body, request, err);
}

static void write_back(struct pcr_arena *arena, struct pcr_v2_request *request) {
    struct pcr_v2_answer answer = {.model = "M",
                                   .version = "1",
                                   .outputs = request->run.inputs,
                                   .n_outputs = request->run.n_inputs};
    for (size_t i = 0; i < answer.n_outputs; i++)
        answer.batches |= answer.outputs[i].rank > 1;
    if (request->run.n_outputs != 0) {
        if (request->run.n_outputs > answer.n_outputs)
            return;
        answer.n_outputs = request->run.n_outputs;
    }
    struct pcr_v2_body body;
    struct pacer_error err;
    if (pcr_v2_write(arena, request, &answer, &body, &err) < 0) {
        PCR_ASSERT(err.message[0]);
        return;
    }
    yyjson_val *root;
    const struct pcr_json_options options = {.what = "answer"};
    PCR_ASSERT(pcr_json_parse(arena, body.json, &options, &root, &err) == 0);
    PCR_ASSERT(body.binary || body.tensors.len == 0);
    uint64_t said = 0;
    yyjson_val *outputs = yyjson_obj_get(root, "outputs"), *output;
    size_t i, n;
    yyjson_arr_foreach(outputs, i, n, output) {
        said += yyjson_get_uint(
            yyjson_obj_get(yyjson_obj_get(output, "parameters"), "binary_data_size"));
    }
    PCR_ASSERT(said == body.tensors.len);
}

// Where the reader of the plain form answers, the general one gives the same to the bit.
static void compare_readers(struct pcr_arena *arena, struct pcr_str body) {
    struct pcr_v2_request quick, thorough;
    struct pacer_error err;
    if (!pcr_v2_read_canonical(arena, body, &quick))
        return;
    PCR_ASSERT(pcr_v2_read_general(arena, "M", body, body.len, &thorough, &err) == 0);
    PCR_ASSERT(thorough.run.n_inputs == 1 && thorough.run.n_outputs == 0 && thorough.id.len == 0);
    const struct pacer_tensor *a = quick.run.inputs, *b = thorough.run.inputs;
    size_t count;
    PCR_ASSERT(a->dtype == b->dtype && a->rank == b->rank && strcmp(a->name, b->name) == 0);
    PCR_ASSERT(memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0);
    PCR_ASSERT(pacer_shape_count(a->shape, a->rank, &count) == 0);
    PCR_ASSERT(memcmp(a->data, b->data, count * sizeof(float)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pcr_str rest = {(const char *)data, size}, header;
    if (size == 0 || !memchr(data, '\n', size) || !pcr_str_split(&rest, '\n', &header))
        return 0;
    struct pcr_arena arena;
    struct pcr_v2_request request;
    struct pacer_error err = {.code = 0};
    pcr_arena_init(&arena, (size_t)64 << 20);
    compare_readers(&arena, rest);
    if (read_any(&arena, header, rest, &request, &err) == 0)
        write_back(&arena, &request);
    else
        PCR_ASSERT(err.code < 0 && err.message[0]);
    pcr_arena_fini(&arena);
    return 0;
}
