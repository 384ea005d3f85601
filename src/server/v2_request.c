// SPDX-License-Identifier: Apache-2.0
// Reading an inference request of the Open Inference Protocol v2.
//
// One pass over the document: each object's members are walked once and told apart by name; nothing
// is looked up by a scan from the front. A known member that comes twice is refused (which of the
// two would count is anybody's guess), an unknown one is ignored, as the protocol wants. Binary
// tensors follow the JSON in the order of the inputs, so a cursor moves through the body as the
// inputs are read, and the body must be used up exactly.
//
// Names become C strings without a copy, because yyjson ends every string with a NUL; a name that
// has a NUL inside is refused. Sizes are bounded before memory is taken: inputs and outputs by
// count, dimensions by rank and by the product.
//
// Rejected: filling in a struct by a table of member names (as configuration is read): three short
// switches are quicker to run and to read, and the messages need the context anyway.
#include "server/v2_data.h"

#define JSON_WHAT "inference request"

struct reading {
    struct pcr_arena *arena;
    const char *model;
    struct pcr_str body;
    size_t json_bytes;
    size_t at; // the next byte of the body that no tensor has taken yet
    struct pacer_error *err;
};

static int fault(struct reading *reading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int fault(struct reading *reading, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pcr_err(reading->err, PACER_EINVAL, "v2", "%s, in the request for model '%s'", text,
                   reading->model);
}

static int no_memory(struct reading *reading) {
    return pcr_err(reading->err, PACER_ENOMEM, "v2", "no memory to read the request for model '%s'",
                   reading->model);
}

// "'shape' is the string "x", expected an array"
static int wrong_type(struct reading *reading, const char *member, yyjson_val *value,
                      const char *expected) {
    char what[96];
    return fault(reading, "Unable to parse '%s': it is %s, expected %s", member,
                 pcr_json_describe(value, what, sizeof what), expected);
}

static bool key_is(yyjson_val *key, const char *name, size_t len) {
    return unsafe_yyjson_get_len(key) == len && memcmp(unsafe_yyjson_get_str(key), name, len) == 0;
}
#define KEY_IS(key, literal) key_is(key, "" literal, sizeof(literal) - 1)

// Keeps a member's value; false if there is one already.
static bool keep(yyjson_val **slot, yyjson_val *value) {
    bool first = *slot == NULL;
    *slot = value;
    return first;
}

static int twice(struct reading *reading, yyjson_val *key) {
    return fault(reading, "member '%.40s' is there twice", unsafe_yyjson_get_str(key));
}

static int read_name(struct reading *reading, const char *of, yyjson_val *value, const char **out) {
    if (!value)
        return fault(reading, "Unable to parse 'name': an entry of '%s' has none", of);
    if (!yyjson_is_str(value))
        return wrong_type(reading, "name", value, "a string");
    *out = unsafe_yyjson_get_str(value);
    if (strlen(*out) != unsafe_yyjson_get_len(value))
        return fault(reading, "a 'name' in '%s' has a NUL character", of);
    return 0;
}

static int read_bool(struct reading *reading, const char *member, yyjson_val *value, bool *out) {
    if (!yyjson_is_bool(value))
        return wrong_type(reading, member, value, "true or false");
    *out = yyjson_get_bool(value);
    return 0;
}

static int read_u64(struct reading *reading, const char *member, yyjson_val *value, uint64_t *out) {
    if (!yyjson_is_uint(value))
        return wrong_type(reading, member, value, "a whole number, 0 or more");
    *out = yyjson_get_uint(value);
    return 0;
}

// --- inputs -------------------------------------------------------------------------------------

struct input_members {
    yyjson_val *name, *shape, *datatype, *parameters, *data, *binary_bytes;
};

static int no_shared_memory(struct reading *reading, const char *of) {
    return pcr_err(
        reading->err, PACER_EUNSUPPORTED, "v2",
        "shared memory is not supported (parameter 'shared_memory_region' in '%s' of the request "
        "for model '%s'); send the tensor as 'data' or in binary form",
        of, reading->model);
}

static int find_input_parameters(struct reading *reading, struct input_members *members) {
    yyjson_obj_iter iter;
    yyjson_val *key;
    if (!yyjson_is_obj(members->parameters))
        return wrong_type(reading, "parameters", members->parameters, "an object");
    yyjson_obj_iter_init(members->parameters, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        if (KEY_IS(key, "shared_memory_region"))
            return no_shared_memory(reading, "inputs");
        if (KEY_IS(key, "binary_data_size") &&
            !keep(&members->binary_bytes, yyjson_obj_iter_get_val(key)))
            return twice(reading, key);
    }
    return 0;
}

static int find_input_members(struct reading *reading, yyjson_val *input,
                              struct input_members *members) {
    yyjson_obj_iter iter;
    yyjson_val *key;
    memset(members, 0, sizeof *members);
    if (!yyjson_is_obj(input))
        return wrong_type(reading, "inputs", input, "an array of objects");
    yyjson_obj_iter_init(input, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val **slot = KEY_IS(key, "data")         ? &members->data
                            : KEY_IS(key, "name")       ? &members->name
                            : KEY_IS(key, "shape")      ? &members->shape
                            : KEY_IS(key, "datatype")   ? &members->datatype
                            : KEY_IS(key, "parameters") ? &members->parameters
                                                        : NULL;
        if (slot && !keep(slot, yyjson_obj_iter_get_val(key)))
            return twice(reading, key);
    }
    return members->parameters ? find_input_parameters(reading, members) : 0;
}

static int read_shape(struct reading *reading, yyjson_val *value, struct pcr_v2_slot *slot) {
    if (!value)
        return fault(reading, "Unable to parse 'shape': input '%.80s' has none", slot->input);
    if (!yyjson_is_arr(value))
        return wrong_type(reading, "shape", value, "an array of whole numbers");
    slot->rank = unsafe_yyjson_get_len(value);
    if (slot->rank > PACER_RANK_MAX)
        return fault(reading,
                     "input '%.80s' has a shape of %zu dimensions, at most %d are supported",
                     slot->input, slot->rank, PACER_RANK_MAX);
    int64_t *shape = pcr_arena_array(reading->arena, slot->rank + 1, sizeof *shape);
    if (!shape)
        return no_memory(reading);
    slot->shape = shape;
    slot->count = 1;
    bool overflow = false, empty = false;
    yyjson_val *dimension = unsafe_yyjson_get_first(value);
    for (size_t i = 0; i < slot->rank; i++, dimension = unsafe_yyjson_get_next(dimension)) {
        if (!yyjson_is_uint(dimension) || yyjson_get_uint(dimension) > INT64_MAX)
            return wrong_type(reading, "shape", dimension,
                              "a dimension: a whole number, 0 or more");
        shape[i] = (int64_t)yyjson_get_uint(dimension);
        empty |= shape[i] == 0;
        overflow |= __builtin_mul_overflow(slot->count, (size_t)shape[i], &slot->count);
    }
    if (empty)
        slot->count = 0;
    else if (overflow || slot->count > (size_t)INT64_MAX / 16)
        return fault(reading, "input '%.80s' has a shape of more elements than can be counted",
                     slot->input);
    return 0;
}

static int read_datatype(struct reading *reading, yyjson_val *value, struct pcr_v2_slot *slot) {
    if (!value)
        return fault(reading, "Unable to parse 'datatype': input '%.80s' has none", slot->input);
    if (!yyjson_is_str(value))
        return wrong_type(reading, "datatype", value, "a string");
    slot->dtype = pacer_dtype_parse(unsafe_yyjson_get_str(value));
    if (slot->dtype == PACER_DTYPE_INVALID)
        return fault(
            reading,
            "invalid datatype '%.40s' for input '%.80s'; known are BOOL, UINT8 to UINT64, INT8 to "
            "INT64, FP16, BF16, FP32, FP64 and BYTES",
            unsafe_yyjson_get_str(value), slot->input);
    return 0;
}

static int read_binary(struct reading *reading, struct pcr_v2_slot *slot, yyjson_val *size,
                       const void **data) {
    uint64_t bytes = 0;
    int rc = read_u64(reading, "binary_data_size", size, &bytes);
    if (rc < 0)
        return rc;
    size_t left = reading->body.len - reading->at;
    if (bytes > left)
        return fault(reading,
                     "unexpected size for input '%.80s', expecting %llu additional bytes after the "
                     "JSON part "
                     "of %zu bytes (header Inference-Header-Content-Length)",
                     slot->input, (unsigned long long)(bytes - left), reading->json_bytes);
    struct pcr_str tensor = {reading->body.ptr + reading->at, (size_t)bytes};
    reading->at += (size_t)bytes;
    return pcr_v2_data_from_binary(reading->arena, slot, tensor, data, reading->err);
}

static int read_input(struct reading *reading, yyjson_val *input, struct pacer_tensor *out) {
    struct input_members members;
    struct pcr_v2_slot slot = {.model = reading->model};
    int rc = find_input_members(reading, input, &members);
    if (rc < 0 || (rc = read_name(reading, "inputs", members.name, &slot.input)) < 0 ||
        (rc = read_datatype(reading, members.datatype, &slot)) < 0 ||
        (rc = read_shape(reading, members.shape, &slot)) < 0)
        return rc;
    if (!members.data == !members.binary_bytes)
        return fault(
            reading,
            "Input must set only one of the following fields: 'data', 'binary_data_size' in "
            "'parameters'. But input '%.80s' has %s",
            slot.input, members.data ? "both" : "no field set");
    const void *data;
    rc = members.data ? pcr_v2_data_from_json(reading->arena, &slot, members.data,
                                              reading->json_bytes, &data, reading->err)
                      : read_binary(reading, &slot, members.binary_bytes, &data);
    if (rc < 0)
        return rc;
    *out = (struct pacer_tensor){slot.input, slot.dtype, slot.rank, slot.shape, data};
    return 0;
}

static int read_inputs(struct reading *reading, yyjson_val *value, struct pacer_run *run) {
    if (!value)
        return fault(reading, "Unable to parse 'inputs': the request has none");
    if (!yyjson_is_arr(value))
        return wrong_type(reading, "inputs", value, "an array");
    size_t n = unsafe_yyjson_get_len(value);
    if (n > PCR_V2_INPUTS_MAX)
        return fault(reading, "%zu inputs; at most %d are accepted", n, PCR_V2_INPUTS_MAX);
    struct pacer_tensor *inputs = pcr_arena_array(reading->arena, n + 1, sizeof *inputs);
    if (!inputs)
        return no_memory(reading);
    yyjson_val *input = unsafe_yyjson_get_first(value);
    for (size_t i = 0; i < n; i++, input = unsafe_yyjson_get_next(input)) {
        int rc = read_input(reading, input, &inputs[i]);
        if (rc < 0)
            return rc;
    }
    run->inputs = inputs;
    run->n_inputs = n;
    return 0;
}

// --- outputs ------------------------------------------------------------------------------------

static int read_output_parameters(struct reading *reading, yyjson_val *parameters,
                                  struct pcr_v2_output *out) {
    yyjson_obj_iter iter;
    yyjson_val *key, *binary = NULL, *classes = NULL;
    if (!yyjson_is_obj(parameters))
        return wrong_type(reading, "parameters", parameters, "an object");
    yyjson_obj_iter_init(parameters, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        if (KEY_IS(key, "shared_memory_region"))
            return no_shared_memory(reading, "outputs");
        if (KEY_IS(key, "binary_data") && !keep(&binary, value))
            return twice(reading, key);
        if (KEY_IS(key, "classification") && !keep(&classes, value))
            return twice(reading, key);
    }
    int rc = binary ? read_bool(reading, "binary_data", binary, &out->binary) : 0;
    uint64_t n = 0;
    if (rc == 0 && classes)
        rc = read_u64(reading, "classification", classes, &n);
    out->classes = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    return rc;
}

static int read_output(struct reading *reading, yyjson_val *output, const char **name,
                       struct pcr_v2_output *out) {
    yyjson_obj_iter iter;
    yyjson_val *key, *name_value = NULL, *parameters = NULL;
    if (!yyjson_is_obj(output))
        return wrong_type(reading, "outputs", output, "an array of objects");
    yyjson_obj_iter_init(output, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val **slot = KEY_IS(key, "name")         ? &name_value
                            : KEY_IS(key, "parameters") ? &parameters
                                                        : NULL;
        if (slot && !keep(slot, yyjson_obj_iter_get_val(key)))
            return twice(reading, key);
    }
    int rc = read_name(reading, "outputs", name_value, name);
    return rc == 0 && parameters ? read_output_parameters(reading, parameters, out) : rc;
}

static int read_outputs(struct reading *reading, yyjson_val *value,
                        struct pcr_v2_request *request) {
    if (!yyjson_is_arr(value))
        return wrong_type(reading, "outputs", value, "an array");
    size_t n = unsafe_yyjson_get_len(value);
    if (n > PCR_V2_OUTPUTS_MAX)
        return fault(reading, "%zu outputs asked for; at most %d are accepted", n,
                     PCR_V2_OUTPUTS_MAX);
    if (n == 0)
        return 0;
    const char **names = pcr_arena_array(reading->arena, n, sizeof *names);
    struct pcr_v2_output *outputs = pcr_arena_array(reading->arena, n, sizeof *outputs);
    if (!names || !outputs)
        return no_memory(reading);
    yyjson_val *output = unsafe_yyjson_get_first(value);
    for (size_t i = 0; i < n; i++, output = unsafe_yyjson_get_next(output)) {
        outputs[i] = (struct pcr_v2_output){.binary = request->binary_output};
        int rc = read_output(reading, output, &names[i], &outputs[i]);
        if (rc < 0)
            return rc;
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[k], names[i]) == 0)
                return fault(reading, "output '%.80s' is asked for twice", names[i]);
    }
    request->run.outputs = names;
    request->run.n_outputs = n;
    request->outputs = outputs;
    return 0;
}

// --- the request --------------------------------------------------------------------------------

// `sequence_*` is checked and has no effect, as for any model without sequences.
static int read_parameter(struct reading *reading, yyjson_val *key, yyjson_val *value,
                          struct pcr_v2_request *out) {
    uint64_t ignored;
    bool flag;
    if (KEY_IS(key, "binary_data_output"))
        return read_bool(reading, "binary_data_output", value, &out->binary_output);
    if (KEY_IS(key, "timeout"))
        return read_u64(reading, "timeout", value, &out->timeout_us);
    if (KEY_IS(key, "priority"))
        return read_u64(reading, "priority", value, &out->priority);
    if (KEY_IS(key, "sequence_start") || KEY_IS(key, "sequence_end"))
        return read_bool(reading, unsafe_yyjson_get_str(key), value, &flag);
    if (KEY_IS(key, "sequence_id"))
        return yyjson_is_str(value) ? 0 : read_u64(reading, "sequence_id", value, &ignored);
    if (pcr_str_starts_with(
            (struct pcr_str){unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key)},
            PCR_STR("triton_")))
        return fault(reading, "parameter '%.40s': names that start with 'triton_' are reserved",
                     unsafe_yyjson_get_str(key));
    if (!yyjson_is_str(value) && !yyjson_is_num(value) && !yyjson_is_bool(value))
        return fault(
            reading,
            "parameter '%.40s' has invalid type. It should be either 'int', 'bool', or 'string'",
            unsafe_yyjson_get_str(key));
    return 0;
}

static int read_parameters(struct reading *reading, yyjson_val *parameters,
                           struct pcr_v2_request *out) {
    yyjson_obj_iter iter;
    yyjson_val *key;
    if (!yyjson_is_obj(parameters))
        return wrong_type(reading, "parameters", parameters, "an object");
    yyjson_obj_iter_init(parameters, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        int rc = read_parameter(reading, key, yyjson_obj_iter_get_val(key), out);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_members(struct reading *reading, yyjson_val *root, struct pcr_v2_request *out) {
    yyjson_obj_iter iter;
    yyjson_val *key, *id = NULL, *parameters = NULL, *inputs = NULL, *outputs = NULL;
    if (!yyjson_is_obj(root))
        return wrong_type(reading, JSON_WHAT, root, "an object");
    yyjson_obj_iter_init(root, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val **slot = KEY_IS(key, "inputs")       ? &inputs
                            : KEY_IS(key, "id")         ? &id
                            : KEY_IS(key, "outputs")    ? &outputs
                            : KEY_IS(key, "parameters") ? &parameters
                                                        : NULL;
        if (slot && !keep(slot, yyjson_obj_iter_get_val(key)))
            return twice(reading, key);
    }
    if (id) {
        if (!yyjson_is_str(id))
            return wrong_type(reading, "id", id, "a string");
        out->id = (struct pcr_str){unsafe_yyjson_get_str(id), unsafe_yyjson_get_len(id)};
    }
    int rc = parameters ? read_parameters(reading, parameters, out) : 0;
    if (rc == 0 && outputs)
        rc = read_outputs(reading, outputs, out);
    return rc == 0 ? read_inputs(reading, inputs, &out->run) : rc;
}

int pcr_v2_read(struct pcr_arena *arena, const char *model, struct pcr_str body, size_t json_bytes,
                struct pcr_v2_request *out, struct pacer_error *err) {
    if (json_bytes == body.len && pcr_v2_read_canonical(arena, body, out))
        return 0;
    return pcr_v2_read_general(arena, model, body, json_bytes, out, err);
}

int pcr_v2_read_general(struct pcr_arena *arena, const char *model, struct pcr_str body,
                        size_t json_bytes, struct pcr_v2_request *out, struct pacer_error *err) {
    PCR_ASSERT(json_bytes <= body.len);
    memset(out, 0, sizeof *out);
    out->id = PCR_STR("");
    struct reading reading = {arena, model, body, json_bytes, json_bytes, err};
    const struct pcr_json_options options = {.what = JSON_WHAT, .duplicates_ok = true};
    yyjson_val *root;
    int rc = pcr_json_parse(arena, (struct pcr_str){body.ptr, json_bytes}, &options, &root, err);
    if (rc == 0)
        rc = read_members(&reading, root, out);
    if (rc == 0 && reading.at != body.len)
        rc = pcr_err(
            err, PACER_EINVAL, "v2",
            "unexpected additional input data for model '%s': %zu bytes follow that no input's "
            "'binary_data_size' accounts for",
            model, body.len - reading.at);
    return rc;
}

int pcr_v2_json_bytes(struct pcr_str header, size_t body_bytes, size_t *json_bytes,
                      struct pacer_error *err) {
    *json_bytes = body_bytes;
    if (!header.ptr)
        return 0;
    uint64_t bytes;
    if (!pcr_str_to_u64(pcr_str_trim(header), UINT64_MAX, &bytes))
        return pcr_err(
            err, PACER_EINVAL, "v2",
            "Unable to parse Inference-Header-Content-Length, got: '%.*s'; expected the length of "
            "the JSON part in bytes",
            (int)(header.len < 40 ? header.len : 40), header.ptr);
    if (bytes > body_bytes)
        return pcr_err(
            err, PACER_EINVAL, "v2",
            "inference header size should be in range (0, %zu), the length of the body, got: %llu",
            body_bytes, (unsigned long long)bytes);
    *json_bytes = (size_t)bytes;
    return 0;
}

// --- raw requests -------------------------------------------------------------------------------

// The shape of the declared input with the batch as 1 and at most one other dimension left to the
// size of the data.
static int deduce_shape(const struct pcr_v2_raw *raw, size_t body_bytes, int64_t *shape,
                        struct pacer_error *err) {
    const struct pacer_tensor_info *input = &raw->inputs[0];
    size_t fixed = 1, dynamic_at = SIZE_MAX;
    bool overflow = false;
    for (size_t i = 0; i < input->rank; i++) {
        shape[i] = i == 0 && raw->batches ? 1 : input->shape[i];
        if (shape[i] >= 0)
            overflow |= __builtin_mul_overflow(fixed, (size_t)shape[i], &fixed);
        else if (dynamic_at != SIZE_MAX)
            return pcr_err(
                err, PACER_EINVAL, "v2",
                "The shape of the raw input '%s' for model '%s' can not be deduced because there "
                "are more than one variable-sized dimension; send a request with a JSON part",
                input->name, raw->model);
        else
            dynamic_at = i;
    }
    if (input->dtype == PACER_BYTES) {
        if (fixed == 1 && dynamic_at == SIZE_MAX && !overflow)
            return 0;
        return pcr_err(
            err, PACER_EINVAL, "v2",
            "For BYTES datatype raw input '%s', the model '%s' must have input shape [1]",
            input->name, raw->model);
    }
    size_t row_bytes;
    overflow |= __builtin_mul_overflow(fixed, pacer_dtype_size(input->dtype), &row_bytes);
    if (dynamic_at != SIZE_MAX)
        shape[dynamic_at] = overflow || row_bytes == 0 ? 0 : (int64_t)(body_bytes / row_bytes);
    return overflow ? pcr_err(err, PACER_EINVAL, "v2",
                              "the shape of input '%s' for model '%s' is too large", input->name,
                              raw->model)
                    : 0;
}

int pcr_v2_read_raw(struct pcr_arena *arena, const struct pcr_v2_raw *raw, struct pcr_str body,
                    struct pcr_v2_request *out, struct pacer_error *err) {
    memset(out, 0, sizeof *out);
    out->id = PCR_STR("");
    out->binary_output = true;
    if (raw->n_inputs != 1)
        return pcr_err(
            err, PACER_EINVAL, "v2",
            "Raw request must only have 1 input to be deduced but model '%s' has %zu inputs",
            raw->model, raw->n_inputs);
    const struct pacer_tensor_info *input = &raw->inputs[0];
    int64_t *shape = pcr_arena_array(arena, input->rank + 1, sizeof *shape);
    struct pacer_tensor *tensor = pcr_arena_calloc(arena, 1, sizeof *tensor);
    struct pacer_bytes *text = pcr_arena_alloc(arena, sizeof *text);
    if (!shape || !tensor || !text)
        return pcr_err(err, PACER_ENOMEM, "v2", "no memory to read the request for model '%s'",
                       raw->model);
    int rc = deduce_shape(raw, body.len, shape, err);
    if (rc < 0)
        return rc;
    *tensor = (struct pacer_tensor){input->name, input->dtype, input->rank, shape, text};
    *text = (struct pacer_bytes){body.ptr, body.len};
    struct pcr_v2_slot slot = {raw->model, input->name, input->dtype, input->rank, shape, 0};
    if (input->dtype != PACER_BYTES) {
        rc = pacer_shape_count(shape, input->rank, &slot.count);
        if (rc < 0)
            return pcr_err(err, PACER_EINVAL, "v2",
                           "the shape of input '%s' for model '%s' is too large", input->name,
                           raw->model);
        rc = pcr_v2_data_from_binary(arena, &slot, body, &tensor->data, err);
    }
    out->run.inputs = tensor;
    out->run.n_inputs = 1;
    return rc;
}
