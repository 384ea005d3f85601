// SPDX-License-Identifier: Apache-2.0
// GET /openapi.json (OpenAPI 3.1) and GET /api/contracts, written from what is served.
//
// Paths and verbs come from the router's own table, parameters from the patterns' `{names}`,
// decisions from themselves: their request schema, and their contract as the schema of the answer.
// What the code cannot tell of itself, the bodies of the fixed routes, stands in `operations` and
// `schemas` below; a test asks the server for each and holds the answers against them. A contract
// keeps its own world: where it has no $id it gets one here, because "#/$defs/x" inside it would
// otherwise point into the OpenAPI document.
#include "server/v2.h"

#include <pacer/pacer.h>

// Bodies of the fixed routes, as names of schemas; NULL: none.
static const struct operation {
    const char *id, *tag, *request, *response;
} operations[] = {
    {"serverMetadata", "v2", NULL, "ServerMetadata"},
    {"serverLive", "health", NULL, "Live"},
    {"serverReady", "health", NULL, "Ready"},
    {"modelMetadata", "v2", NULL, "ModelMetadata"},
    {"modelReady", "health", NULL, "ModelReady"},
    {"modelConfig", "v2", NULL, "ModelConfig"},
    {"modelStats", "v2", NULL, "Statistics"},
    {"modelInfer", "v2", "InferRequest", "InferResponse"},
    {"versionMetadata", "v2", NULL, "ModelMetadata"},
    {"versionReady", "health", NULL, "ModelReady"},
    {"versionConfig", "v2", NULL, "ModelConfig"},
    {"versionStats", "v2", NULL, "Statistics"},
    {"versionInfer", "v2", "InferRequest", "InferResponse"},
    {"allStats", "v2", NULL, "Statistics"},
    {"repositoryIndex", "repository", "IndexRequest", "Index"},
    {"modelLoad", "repository", "LoadRequest", "Empty"},
    {"modelUnload", "repository", "UnloadRequest", "Empty"},
    {"metrics", "documents", NULL, "Metrics"},
    {"openapi", "documents", NULL, "Document"},
    {"contracts", "documents", NULL, "Contracts"},
};

// clang-format off
static const char schemas[] =
    "{\"Error\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"string\"}}},"
    "\"Empty\":{\"type\":\"object\"},"
    "\"Document\":{\"type\":\"object\",\"required\":[\"openapi\",\"info\",\"paths\"]},"
    "\"Metrics\":{\"type\":\"string\",\"description\":\"Prometheus text exposition format 0.0.4\"},"
    "\"Live\":{\"type\":\"object\",\"required\":[\"live\"],\"properties\":{\"live\":{\"type\":\"boolean\"}}},"
    "\"Ready\":{\"type\":\"object\",\"required\":[\"ready\"],\"properties\":{\"ready\":{\"type\":\"boolean\"}}},"
    "\"ModelReady\":{\"type\":\"object\",\"required\":[\"name\",\"ready\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"ready\":{\"type\":\"boolean\"}}},"
    "\"ServerMetadata\":{\"type\":\"object\",\"required\":[\"name\",\"version\",\"extensions\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},"
        "\"extensions\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}},"
    "\"Datatype\":{\"enum\":[\"BOOL\",\"UINT8\",\"UINT16\",\"UINT32\",\"UINT64\",\"INT8\",\"INT16\",\"INT32\","
        "\"INT64\",\"FP16\",\"BF16\",\"FP32\",\"FP64\",\"BYTES\"]},"
    "\"Shape\":{\"type\":\"array\",\"maxItems\":16,\"items\":{\"type\":\"integer\",\"minimum\":0}},"
    "\"Parameters\":{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\"]}},"
    "\"TensorMetadata\":{\"type\":\"object\",\"required\":[\"name\",\"datatype\",\"shape\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"datatype\":{\"$ref\":\"#/components/schemas/Datatype\"},"
        "\"shape\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-1}}}},"
    "\"ModelMetadata\":{\"type\":\"object\",\"required\":[\"name\",\"versions\",\"platform\",\"inputs\",\"outputs\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},"
        "\"versions\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"platform\":{\"type\":\"string\"},"
        "\"inputs\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/TensorMetadata\"}},"
        "\"outputs\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/TensorMetadata\"}},"
        "\"parameters\":{\"$ref\":\"#/components/schemas/Parameters\"}}},"
    "\"TensorConfig\":{\"type\":\"object\",\"required\":[\"name\",\"data_type\",\"dims\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"data_type\":{\"type\":\"string\",\"pattern\":\"^TYPE_\"},"
        "\"dims\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-1}}}},"
    "\"ModelConfig\":{\"type\":\"object\",\"required\":[\"name\",\"platform\",\"max_batch_size\",\"input\",\"output\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},\"platform\":{\"type\":\"string\"},"
        "\"max_batch_size\":{\"type\":\"integer\",\"minimum\":0,\"description\":\"0: the model does not batch; else dims are without the batch\"},"
        "\"input\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/TensorConfig\"}},"
        "\"output\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/TensorConfig\"}}}},"
    "\"Duration\":{\"type\":\"object\",\"required\":[\"count\",\"ns\"],\"properties\":{"
        "\"count\":{\"type\":\"integer\"},\"ns\":{\"type\":\"integer\"}}},"
    "\"Statistics\":{\"type\":\"object\",\"required\":[\"model_stats\"],\"properties\":{\"model_stats\":{"
        "\"type\":\"array\",\"items\":{\"type\":\"object\","
        "\"required\":[\"name\",\"version\",\"last_inference\",\"inference_count\",\"execution_count\",\"inference_stats\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},"
        "\"last_inference\":{\"type\":\"integer\",\"description\":\"milliseconds since 1970; 0: none yet\"},"
        "\"inference_count\":{\"type\":\"integer\"},\"execution_count\":{\"type\":\"integer\"},"
        "\"inference_stats\":{\"type\":\"object\",\"required\":[\"success\",\"fail\",\"queue\",\"compute_input\","
        "\"compute_infer\",\"compute_output\",\"cache_hit\",\"cache_miss\"],"
        "\"additionalProperties\":{\"$ref\":\"#/components/schemas/Duration\"}}}}}}},"
    "\"TensorData\":{\"type\":\"array\",\"description\":\"row-major, flat or nested; numbers, booleans or strings by datatype\"},"
    "\"InferRequest\":{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"id\":{\"type\":\"string\"},"
        "\"parameters\":{\"$ref\":\"#/components/schemas/Parameters\"},"
        "\"inputs\":{\"type\":\"array\",\"maxItems\":1024,\"items\":{\"type\":\"object\","
        "\"required\":[\"name\",\"shape\",\"datatype\"],\"properties\":{\"name\":{\"type\":\"string\"},"
        "\"shape\":{\"$ref\":\"#/components/schemas/Shape\"},\"datatype\":{\"$ref\":\"#/components/schemas/Datatype\"},"
        "\"parameters\":{\"$ref\":\"#/components/schemas/Parameters\"},\"data\":{\"$ref\":\"#/components/schemas/TensorData\"}}}},"
        "\"outputs\":{\"type\":\"array\",\"maxItems\":1024,\"items\":{\"type\":\"object\",\"required\":[\"name\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},\"parameters\":{\"$ref\":\"#/components/schemas/Parameters\"}}}}}},"
    "\"InferResponse\":{\"type\":\"object\",\"required\":[\"model_name\",\"model_version\",\"outputs\"],\"properties\":{"
        "\"id\":{\"type\":\"string\"},\"model_name\":{\"type\":\"string\"},\"model_version\":{\"type\":\"string\"},"
        "\"parameters\":{\"type\":\"object\",\"properties\":{\"non_finite\":{\"const\":\"null\","
        "\"description\":\"NaN or infinities became null; ask for binary_data to get them exactly\"}}},"
        "\"outputs\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\",\"datatype\",\"shape\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},\"datatype\":{\"$ref\":\"#/components/schemas/Datatype\"},"
        "\"shape\":{\"$ref\":\"#/components/schemas/Shape\"},\"data\":{\"$ref\":\"#/components/schemas/TensorData\"},"
        "\"parameters\":{\"type\":\"object\",\"properties\":{\"binary_data_size\":{\"type\":\"integer\",\"minimum\":0}}}}}}}},"
    "\"IndexRequest\":{\"type\":\"object\",\"properties\":{\"ready\":{\"type\":\"boolean\"}}},"
    "\"Index\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},"
        "\"state\":{\"enum\":[\"READY\",\"LOADING\",\"UNAVAILABLE\"]},\"reason\":{\"type\":\"string\"}}}},"
    "\"LoadRequest\":{\"type\":\"object\",\"properties\":{\"parameters\":{\"type\":\"object\",\"maxProperties\":0}}},"
    "\"UnloadRequest\":{\"type\":\"object\",\"properties\":{\"parameters\":{\"type\":\"object\",\"properties\":{"
        "\"unload_dependents\":{\"type\":\"boolean\"}}}}},"
    "\"Contracts\":{\"type\":\"object\",\"required\":[\"contracts\"],\"properties\":{\"contracts\":{\"type\":\"array\","
        "\"items\":{\"type\":\"object\",\"required\":[\"name\",\"path\",\"schema\",\"example\"]}}}}}";
// clang-format on

static const char *verb_of(enum pcr_http_method method) {
    switch (method) {
    case PCR_HTTP_POST:
        return "post";
    case PCR_HTTP_PUT:
        return "put";
    case PCR_HTTP_DELETE:
        return "delete";
    case PCR_HTTP_PATCH:
        return "patch";
    default:
        PCR_ASSERT(method == PCR_HTTP_GET);
        return "get";
    }
}

static void member(struct pcr_json_writer *writer, const char *key, const char *text) {
    pcr_json_key(writer, key);
    pcr_json_text(writer, text);
}

static void write_ref(struct pcr_json_writer *writer, const char *schema) {
    char ref[96];
    snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
    pcr_json_object_begin(writer);
    member(writer, "$ref", ref);
    pcr_json_object_end(writer);
}

#define TIMEOUT_PARAMETER                                                           \
    "{\"name\":\"X-Request-Timeout-Ms\",\"in\":\"header\",\"required\":false,"      \
    "\"description\":\"What cannot be answered in this time is refused with 503\"," \
    "\"schema\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400000}}"

// One parameter per `{name}` of the pattern, and the header of what takes its time.
static void write_parameters(struct pcr_json_writer *writer, const char *pattern, bool timed) {
    if (!strchr(pattern, '{') && !timed)
        return;
    pcr_json_key(writer, "parameters");
    pcr_json_array_begin(writer);
    for (const char *open = strchr(pattern, '{'); open; open = strchr(open + 1, '{')) {
        const char *close = strchr(open, '}');
        pcr_json_object_begin(writer);
        pcr_json_key(writer, "name");
        pcr_json_string(writer, (struct pcr_str){open + 1, (size_t)(close - open - 1)});
        member(writer, "in", "path");
        pcr_json_key(writer, "required");
        pcr_json_bool(writer, true);
        pcr_json_key(writer, "schema");
        pcr_json_raw(writer, PCR_STR("{\"type\":\"string\"}"));
        pcr_json_object_end(writer);
    }
    if (timed)
        pcr_json_raw(writer, PCR_STR(TIMEOUT_PARAMETER));
    pcr_json_array_end(writer);
}

// "application/json": {"schema": …} (the metrics are text), and the binary form where a body may
// have one
static void write_content(struct pcr_json_writer *writer, const char *schema, bool binary) {
    pcr_json_key(writer, "content");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, strcmp(schema, "Metrics") == 0 ? PCR_METRICS_TYPE : "application/json");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "schema");
    write_ref(writer, schema);
    pcr_json_object_end(writer);
    if (binary) {
        pcr_json_key(writer, "application/octet-stream");
        pcr_json_raw(writer, PCR_STR("{\"schema\":{\"description\":\"JSON of "
                                     "Inference-Header-Content-Length bytes, then "
                                     "binary tensors\"}}"));
    }
    pcr_json_object_end(writer);
}

static void write_error(struct pcr_json_writer *writer, const char *status,
                        const char *description) {
    pcr_json_key(writer, status);
    pcr_json_object_begin(writer);
    member(writer, "description", description);
    write_content(writer, "Error", false);
    pcr_json_object_end(writer);
}

static void write_fixed(struct pcr_json_writer *writer, const struct pcr_route *route) {
    const struct operation *operation = NULL;
    for (size_t i = 0; i < PCR_COUNT_OF(operations); i++)
        if (strcmp(operations[i].id, route->operation) == 0)
            operation = &operations[i];
    PCR_ASSERT(operation);
    bool binary = operation->request && strcmp(operation->request, "InferRequest") == 0;
    member(writer, "operationId", route->operation);
    member(writer, "summary", route->summary);
    pcr_json_key(writer, "tags");
    pcr_json_array_begin(writer);
    pcr_json_text(writer, operation->tag);
    pcr_json_array_end(writer);
    write_parameters(writer, route->pattern, binary);
    if (operation->request) {
        pcr_json_key(writer, "requestBody");
        pcr_json_object_begin(writer);
        pcr_json_key(writer, "required");
        pcr_json_bool(writer, binary);
        write_content(writer, operation->request, binary);
        pcr_json_object_end(writer);
    }
    pcr_json_key(writer, "responses");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "200");
    pcr_json_object_begin(writer);
    member(writer, "description", route->summary);
    write_content(writer, operation->response, binary);
    pcr_json_object_end(writer);
    if (strcmp(operation->tag, "health") == 0) {
        pcr_json_key(writer, "503");
        pcr_json_object_begin(writer);
        member(writer, "description", "Not ready");
        write_content(writer, operation->response, false);
        pcr_json_object_end(writer);
    }
    write_error(writer, "default", "What was wrong");
    pcr_json_object_end(writer);
}

// --- decisions ----------------------------------------------------------------------------------

// The contract as a schema resource of its own.
static void write_contract(struct pcr_json_writer *writer, const struct pcr_decision *decision) {
    yyjson_val *schema = pcr_contract_schema(pcr_decision_contract(decision));
    if (!yyjson_is_obj(schema) || yyjson_obj_get(schema, "$id")) {
        pcr_json_value(writer, schema);
        return;
    }
    pcr_json_object_begin(writer);
    char id[512];
    snprintf(id, sizeof id, "urn:pacer:contract:%s", pcr_decision_path(decision) + 1);
    for (char *c = id; *c; c++) // in a URN, ':' does for what '/' does in a path
        if (*c == '/')
            *c = ':';
    member(writer, "$id", id);
    yyjson_obj_iter iter;
    yyjson_val *key;
    yyjson_obj_iter_init(schema, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        pcr_json_key_str(writer, pcr_json_str(key));
        pcr_json_value(writer, yyjson_obj_iter_get_val(key));
    }
    pcr_json_object_end(writer);
}

static const char *contract_name(const struct pcr_decision *decision) {
    const char *title = pcr_contract_title(pcr_decision_contract(decision));
    if (title)
        return title;
    const char *file = pcr_decision_contract_file(decision);
    const char *slash = file ? strrchr(file, '/') : NULL;
    return slash ? slash + 1 : file ? file : pcr_decision_path(decision);
}

static void write_json_content_begin(struct pcr_json_writer *writer) {
    pcr_json_key(writer, "content");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "application/json");
    pcr_json_object_begin(writer);
}

static void write_json_content_end(struct pcr_json_writer *writer) {
    pcr_json_object_end(writer);
    pcr_json_object_end(writer);
}

static void write_decision(struct pcr_json_writer *writer, const struct pcr_decision *decision) {
    member(writer, "summary", contract_name(decision));
    pcr_json_key(writer, "tags");
    pcr_json_raw(writer, PCR_STR("[\"decisions\"]"));
    write_parameters(writer, pcr_decision_path(decision), true);
    pcr_json_key(writer, "requestBody");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "required");
    pcr_json_bool(writer, true);
    write_json_content_begin(writer);
    pcr_json_key(writer, "schema");
    pcr_decision_request_schema(decision, writer);
    pcr_json_key(writer, "example");
    pcr_decision_request_example(decision, writer);
    write_json_content_end(writer);
    pcr_json_object_end(writer);
    pcr_json_key(writer, "responses");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "200");
    pcr_json_object_begin(writer);
    member(writer, "description", "The decision; it satisfies its contract");
    write_json_content_begin(writer);
    pcr_json_key(writer, "schema");
    write_contract(writer, decision);
    pcr_json_key(writer, "example");
    pcr_decision_answer_example(decision, writer);
    write_json_content_end(writer);
    pcr_json_object_end(writer);
    write_error(writer, "400",
                "The request is not JSON, or members are missing, unknown or of the wrong type");
    write_error(writer, "413", "The request is larger than the server accepts");
    write_error(writer, "415", "The request is not application/json");
    write_error(writer, "422", "A number is beyond what can be computed with");
    write_error(writer, "500", "The answer would have broken its contract");
    write_error(writer, "503",
                "The model is not available or busy, or there is not enough time; try again later");
    write_error(writer, "504", "The request says only-if-cached, and the answer is not");
    pcr_json_object_end(writer);
}

static void write_operation(struct pcr_json_writer *writer, const struct pcr_route *route) {
    pcr_json_key(writer, verb_of(route->method));
    pcr_json_object_begin(writer);
    if (route->operation)
        write_fixed(writer, route);
    else
        write_decision(writer, route->user);
    pcr_json_object_end(writer);
}

void pcr_openapi_write(const struct pcr_generation *generation, const char *server_name,
                       struct pcr_json_writer *writer) {
    size_t n;
    const struct pcr_route *routes = pcr_router_routes(generation->router, &n);
    pcr_json_object_begin(writer);
    member(writer, "openapi", "3.1.0");
    pcr_json_key(writer, "info");
    pcr_json_object_begin(writer);
    member(writer, "title", server_name);
    member(writer, "version", pacer_version());
    member(
        writer, "description",
        "Decisions, and the models behind them by the Open Inference Protocol v2. HEAD is answered "
        "wherever GET is, OPTIONS everywhere.");
    pcr_json_object_end(writer);
    pcr_json_key(writer, "paths");
    pcr_json_object_begin(writer);
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(routes[k].pattern, routes[i].pattern) == 0;
        if (seen)
            continue;
        pcr_json_key(writer, routes[i].pattern);
        pcr_json_object_begin(writer);
        for (size_t k = i; k < n; k++)
            if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
                write_operation(writer, &routes[k]);
        pcr_json_object_end(writer);
    }
    pcr_json_object_end(writer);
    pcr_json_key(writer, "components");
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "schemas");
    pcr_json_raw(writer, pcr_str(schemas));
    pcr_json_object_end(writer);
    pcr_json_object_end(writer);
}

void pcr_contracts_write(const struct pcr_generation *generation, struct pcr_json_writer *writer) {
    pcr_json_object_begin(writer);
    pcr_json_key(writer, "contracts");
    pcr_json_array_begin(writer);
    for (size_t i = 0; i < generation->n_decisions; i++) {
        const struct pcr_decision *decision = generation->decisions[i];
        pcr_json_object_begin(writer);
        member(writer, "name", contract_name(decision));
        member(writer, "path", pcr_decision_path(decision));
        pcr_json_key(writer, "schema");
        write_contract(writer, decision);
        pcr_json_key(writer, "example");
        pcr_decision_answer_example(decision, writer);
        pcr_json_key(writer, "request_schema");
        pcr_decision_request_schema(decision, writer);
        pcr_json_key(writer, "request_example");
        pcr_decision_request_example(decision, writer);
        pcr_json_object_end(writer);
    }
    pcr_json_array_end(writer);
    pcr_json_object_end(writer);
}
