// SPDX-License-Identifier: Apache-2.0
// Writing an answer of the Open Inference Protocol v2.
//
// The most bytes an answer can take are known beforehand. Small ones, nearly all, are written into
// the request's arena at one go; from ARENA_BYTES_MAX on the estimate (33 bytes for any float)
// would be waste, so the text grows on the heap and is freed with the arena. Binary tensors go out
// as a second part: a single one is borrowed from where the model left it, several are put behind
// each other.
//
// Real clients narrow what may be written. One of them treats any `parameters` of an output as a
// sign that it is binary, so an output has parameters only for binary_data_size; what the answer
// has to say of its JSON data stands in the parameters of the answer. JSON has no NaN: such numbers
// become null, as the parameters then tell. Rejected: the bare word NaN (not JSON, and whole
// answers are lost to parsers that know the standard) and a string (changes the type).
#include "server/v2_data.h"

#include <stdlib.h>

#define ARENA_BYTES_MAX ((size_t)64 << 10)

struct writing {
    struct pcr_arena *arena;
    const struct pcr_v2_request *request;
    const struct pcr_v2_answer *answer;
    struct part *parts; // one per output
    struct pacer_error *err;
};

struct part { // what becomes of one output
    struct pacer_tensor tensor;
    size_t count;
    size_t binary_bytes;
    bool binary;
};

// --- classification -----------------------------------------------------------------------------

static double number_at(const struct pacer_tensor *tensor, size_t i) {
    switch (tensor->dtype) {
    case PACER_BOOL:
    case PACER_UINT8:
        return ((const uint8_t *)tensor->data)[i];
    case PACER_UINT16:
        return ((const uint16_t *)tensor->data)[i];
    case PACER_UINT32:
        return ((const uint32_t *)tensor->data)[i];
    case PACER_UINT64:
        return (double)((const uint64_t *)tensor->data)[i];
    case PACER_INT8:
        return ((const int8_t *)tensor->data)[i];
    case PACER_INT16:
        return ((const int16_t *)tensor->data)[i];
    case PACER_INT32:
        return ((const int32_t *)tensor->data)[i];
    case PACER_INT64:
        return (double)((const int64_t *)tensor->data)[i];
    case PACER_FP32:
        return (double)((const float *)tensor->data)[i];
    default:
        PCR_ASSERT(tensor->dtype == PACER_FP64);
        return ((const double *)tensor->data)[i];
    }
}

struct ranked {
    double value;
    size_t index;
};

// Highest first, equal ones by index; NaN last.
static int by_rank(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    bool a_nan = a->value != a->value, b_nan = b->value != b->value;
    if (a_nan != b_nan)
        return a_nan ? 1 : -1;
    if (!a_nan && a->value != b->value)
        return a->value > b->value ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

// "0.83:2": the value as a number of its own type, then the class.
static bool label(struct pcr_arena *arena, const struct pacer_tensor *tensor, size_t at,
                  size_t class, struct pacer_bytes *out) {
    char text[64];
    struct pcr_buf buf = {.data = text, .cap = sizeof text, .max_bytes = sizeof text - 1};
    struct pcr_json_writer writer;
    pcr_json_writer_init(&writer, &buf);
    if (tensor->dtype == PACER_FP32)
        pcr_json_f32(&writer, ((const float *)tensor->data)[at]);
    else if (tensor->dtype == PACER_FP64)
        pcr_json_f64(&writer, ((const double *)tensor->data)[at]);
    else if (tensor->dtype == PACER_UINT64)
        pcr_json_u64(&writer, ((const uint64_t *)tensor->data)[at]);
    else if (tensor->dtype == PACER_INT64)
        pcr_json_i64(&writer, ((const int64_t *)tensor->data)[at]);
    else
        pcr_json_i64(&writer, (int64_t)number_at(tensor, at));
    pcr_buf_char(&buf, ':');
    pcr_buf_u64(&buf, class);
    PCR_ASSERT(!buf.failed);
    out->data = pcr_arena_dup(arena, pcr_buf_view(&buf));
    out->size = buf.len;
    return out->data != NULL;
}

static int no_memory(struct writing *writing) {
    return pcr_err(writing->err, PACER_ENOMEM, "v2", "no memory to write the answer of model '%s'",
                   writing->answer->model);
}

// Replaces the tensor of `part` by a BYTES tensor with the highest classes of each row.
static int classify(struct writing *writing, struct part *part, uint32_t wanted) {
    const struct pacer_tensor *from = &part->tensor;
    if (pacer_dtype_size(from->dtype) == 0 || from->dtype == PACER_FP16 ||
        from->dtype == PACER_BF16)
        return pcr_err(
            writing->err, PACER_EINVAL, "v2",
            "classification of output '%s' for model '%s' is not possible: its data-type is '%s'",
            from->name, writing->answer->model, pacer_dtype_name(from->dtype));
    bool rows = writing->answer->batches && from->rank > 0;
    size_t n_rows = rows ? (size_t)from->shape[0] : 1;
    size_t width = n_rows ? part->count / n_rows : 0;
    size_t n = wanted < width ? wanted : width;
    struct ranked *ranked = pcr_arena_array(writing->arena, width + 1, sizeof *ranked);
    struct pacer_bytes *labels = pcr_arena_array(writing->arena, n_rows * n + 1, sizeof *labels);
    int64_t *shape = pcr_arena_array(writing->arena, 2, sizeof *shape);
    if (!ranked || !labels || !shape)
        return no_memory(writing);
    for (size_t row = 0; row < n_rows && width > 0; row++) {
        for (size_t i = 0; i < width; i++)
            ranked[i] = (struct ranked){number_at(from, row * width + i), i};
        qsort(ranked, width, sizeof *ranked, by_rank);
        for (size_t i = 0; i < n; i++)
            if (!label(writing->arena, from, row * width + ranked[i].index, ranked[i].index,
                       &labels[row * n + i]))
                return no_memory(writing);
    }
    shape[0] = rows ? (int64_t)n_rows : (int64_t)n;
    shape[1] = (int64_t)n;
    part->count = n_rows * n;
    part->tensor = (struct pacer_tensor){from->name, PACER_BYTES, rows ? 2 : 1, shape, labels};
    return 0;
}

// --- parts --------------------------------------------------------------------------------------

static int plan_part(struct writing *writing, size_t index, struct part *part) {
    const struct pcr_v2_request *request = writing->request;
    const struct pcr_v2_output *asked = request->run.n_outputs ? &request->outputs[index] : NULL;
    part->tensor = writing->answer->outputs[index];
    part->binary = asked ? asked->binary : request->binary_output;
    part->binary_bytes = 0;
    int rc = pacer_shape_count(part->tensor.shape, part->tensor.rank, &part->count);
    if (rc < 0)
        return pcr_err(writing->err, PACER_EINTERNAL, "v2",
                       "output '%s' of model '%s' has no sensible shape", part->tensor.name,
                       writing->answer->model);
    if (asked && asked->classes && (rc = classify(writing, part, asked->classes)) < 0)
        return rc;
    if (part->binary) {
        part->binary_bytes = pcr_v2_data_binary_bytes(&part->tensor, part->count);
        return 0;
    }
    if (part->tensor.dtype == PACER_FP16 || part->tensor.dtype == PACER_BF16)
        return pcr_err(
            writing->err, PACER_EINVAL, "v2",
            "sending %s data via JSON is not supported. Please use the binary data format for "
            "output '%s' of model '%s' (parameter binary_data)",
            pacer_dtype_name(part->tensor.dtype), part->tensor.name, writing->answer->model);
    return 0;
}

// The most bytes of the JSON part.
static size_t json_bytes_max(const struct writing *writing) {
    const struct pcr_v2_answer *answer = writing->answer;
    size_t total =
        224 + 6 * (strlen(answer->model) + strlen(answer->version) + writing->request->id.len);
    for (size_t i = 0; i < answer->n_outputs; i++) {
        const struct part *part = &writing->parts[i];
        size_t data = part->binary ? 64 : pcr_v2_data_json_bytes_max(&part->tensor, part->count);
        if (data > PCR_V2_ANSWER_BYTES_MAX)
            return SIZE_MAX;
        total += 80 + 6 * strlen(part->tensor.name) + 21 * part->tensor.rank + data;
    }
    return total;
}

static void write_part(struct pcr_json_writer *writer, const struct part *part, bool *non_finite) {
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "name");
    pcr_json_text(writer, part->tensor.name);
    pcr_json_key(writer, "datatype");
    pcr_json_text(writer, pacer_dtype_name(part->tensor.dtype));
    pcr_json_key(writer, "shape");
    pcr_json_array_begin(writer);
    for (size_t i = 0; i < part->tensor.rank; i++)
        pcr_json_i64(writer, part->tensor.shape[i]);
    pcr_json_array_end(writer);
    if (part->binary) {
        pcr_json_key(writer, "parameters");
        pcr_json_object_begin(writer);
        pcr_json_key(writer, "binary_data_size");
        pcr_json_u64(writer, part->binary_bytes);
        pcr_json_object_end(writer);
    } else {
        pcr_json_key(writer, "data");
        pcr_v2_data_to_json(writer, &part->tensor, part->count, non_finite);
    }
    pcr_json_object_end(writer);
}

static void write_json(const struct writing *writing, struct pcr_buf *buf) {
    const struct pcr_v2_answer *answer = writing->answer;
    struct pcr_json_writer writer;
    bool non_finite = false;
    pcr_json_writer_init(&writer, buf);
    pcr_json_object_begin(&writer);
    if (writing->request->id.len) {
        pcr_json_key(&writer, "id");
        pcr_json_string(&writer, writing->request->id);
    }
    pcr_json_key(&writer, "model_name");
    pcr_json_text(&writer, answer->model);
    pcr_json_key(&writer, "model_version");
    pcr_json_text(&writer, answer->version);
    pcr_json_key(&writer, "outputs");
    pcr_json_array_begin(&writer);
    for (size_t i = 0; i < answer->n_outputs; i++)
        write_part(&writer, &writing->parts[i], &non_finite);
    pcr_json_array_end(&writer);
    if (non_finite) {
        pcr_json_key(&writer, "parameters");
        pcr_json_object_begin(&writer);
        pcr_json_key(&writer, "non_finite");
        pcr_json_text(&writer, "null");
        pcr_json_object_end(&writer);
    }
    pcr_json_object_end(&writer);
}

static void free_text(void *text) {
    free(text);
}

static int write_to_heap(const struct writing *writing, struct pcr_str *out) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, PCR_V2_ANSWER_BYTES_MAX);
    write_json(writing, &buf);
    if (buf.failed || !pcr_arena_on_reset(writing->arena, free_text, buf.data)) {
        pcr_buf_fini(&buf);
        return pcr_err(
            writing->err, PACER_ELIMIT, "v2",
            "the answer of model '%s' as JSON is larger than memory or %zu bytes allow; ask for "
            "binary outputs (parameter binary_data_output)",
            writing->answer->model, PCR_V2_ANSWER_BYTES_MAX);
    }
    *out = pcr_buf_view(&buf);
    return 0;
}

static int write_to_arena(struct writing *writing, size_t bytes_max, struct pcr_str *out) {
    struct pcr_buf buf = {.data = pcr_arena_alloc(writing->arena, bytes_max + 1),
                          .cap = bytes_max + 1,
                          .max_bytes = bytes_max};
    if (!buf.data)
        return no_memory(writing);
    write_json(writing, &buf);
    if (PCR_UNLIKELY(buf.failed)) // the writer asked for more room than it then used
        return write_to_heap(writing, out);
    *out = pcr_buf_view(&buf);
    return 0;
}

static int write_tensors(struct writing *writing, struct pcr_v2_body *out) {
    size_t total = 0, n_binary = 0, left = PCR_V2_ANSWER_BYTES_MAX - out->json.len;
    const struct part *only = NULL;
    for (size_t i = 0; i < writing->answer->n_outputs; i++) {
        const struct part *part = &writing->parts[i];
        if (!part->binary)
            continue;
        n_binary++;
        only = part;
        if (part->binary_bytes > left || (total += part->binary_bytes) > left)
            return pcr_err(writing->err, PACER_ELIMIT, "v2",
                           "the answer of model '%s' is larger than %zu bytes; ask for fewer "
                           "outputs at once, or for smaller batches",
                           writing->answer->model, PCR_V2_ANSWER_BYTES_MAX);
    }
    out->binary = n_binary > 0;
    if (n_binary == 1 && only->tensor.dtype != PACER_BYTES) {
        out->tensors = (struct pcr_str){only->tensor.data, only->binary_bytes};
        return 0;
    }
    if (total == 0)
        return 0;
    char *at = pcr_arena_alloc(writing->arena, total);
    if (!at)
        return no_memory(writing);
    out->tensors = (struct pcr_str){at, total};
    for (size_t i = 0; i < writing->answer->n_outputs; i++) {
        const struct part *part = &writing->parts[i];
        if (!part->binary)
            continue;
        pcr_v2_data_to_binary(&part->tensor, part->count, at);
        at += part->binary_bytes;
    }
    return 0;
}

int pcr_v2_write(struct pcr_arena *arena, const struct pcr_v2_request *request,
                 const struct pcr_v2_answer *answer, struct pcr_v2_body *out,
                 struct pacer_error *err) {
    struct writing writing = {arena, request, answer, NULL, err};
    memset(out, 0, sizeof *out);
    PCR_ASSERT(request->run.n_outputs == 0 || request->run.n_outputs == answer->n_outputs);
    writing.parts = pcr_arena_array(arena, answer->n_outputs + 1, sizeof *writing.parts);
    if (!writing.parts)
        return no_memory(&writing);
    for (size_t i = 0; i < answer->n_outputs; i++) {
        int rc = plan_part(&writing, i, &writing.parts[i]);
        if (rc < 0)
            return rc;
    }
    size_t bytes_max = json_bytes_max(&writing);
    int rc = bytes_max <= ARENA_BYTES_MAX ? write_to_arena(&writing, bytes_max, &out->json)
                                          : write_to_heap(&writing, &out->json);
    return rc < 0 ? rc : write_tensors(&writing, out);
}
