// SPDX-License-Identifier: Apache-2.0
// Schema documents: what they are made of, what their parts are called, and where references lead.
//
// A document is walked once when it is added. The walk knows at which places of a schema further
// schemas stand (and so takes no "$id" within an enum for an identifier), notes every schema's
// resource and JSON pointer in arrays beside the document's values, and registers $id, $anchor and
// $dynamicAnchor. A reference that leads to a place the walk did not know ("#/x-shared/money")
// makes that place a schema there and then.
//
// Where a URI is not known yet it is looked for among the built-in metaschemas, the documents a
// test registered, and local files below base_dir; the canonical path must lie below the canonical
// base_dir, so neither ".." nor a symbolic link leads out. Nothing is fetched from a network.
//
// Invariant: doc->resource[i] and doc->pointer[i] are set for exactly the values that
// are known schemas. Rejected: resolving references lazily while checking (no errors on
// load, locks between threads).
#include "json/schema_priv.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char standard[] = "https://json-schema.org/draft/2020-12/schema";

enum place_kind {
    PLACE_SCHEMA,
    PLACE_LIST,
    PLACE_MAP,
};

static const struct place {
    const char *name;
    enum place_kind kind;
} places[] = {
    {"additionalProperties", PLACE_SCHEMA},
    {"allOf", PLACE_LIST},
    {"anyOf", PLACE_LIST},
    {"contains", PLACE_SCHEMA},
    {"contentSchema", PLACE_SCHEMA},
    {"definitions", PLACE_MAP},
    {"$defs", PLACE_MAP},
    {"dependentSchemas", PLACE_MAP},
    {"else", PLACE_SCHEMA},
    {"if", PLACE_SCHEMA},
    {"items", PLACE_SCHEMA},
    {"not", PLACE_SCHEMA},
    {"oneOf", PLACE_LIST},
    {"patternProperties", PLACE_MAP},
    {"prefixItems", PLACE_LIST},
    {"properties", PLACE_MAP},
    {"propertyNames", PLACE_SCHEMA},
    {"then", PLACE_SCHEMA},
    {"unevaluatedItems", PLACE_SCHEMA},
    {"unevaluatedProperties", PLACE_SCHEMA},
};

static const struct {
    const char *name;
    unsigned bits;
} vocabularies[] = {
    {"core", 0},
    {"applicator", PCR_VOCABULARY_APPLICATOR},
    {"unevaluated", PCR_VOCABULARY_UNEVALUATED},
    {"validation", PCR_VOCABULARY_VALIDATION},
    {"meta-data", 0},
    {"format-annotation", PCR_VOCABULARY_FORMAT},
    {"format-assertion", PCR_VOCABULARY_FORMAT},
    {"content", 0},
};

bool pcr_schema_fail(struct pcr_schema_loader *loader, int code, const char *format, ...) {
    if (loader->rc < 0)
        return false;
    char message[sizeof loader->err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    loader->rc = pcr_err(loader->err, code, PCR_SCHEMA_COMPONENT, "%s", message);
    return false;
}

bool pcr_schema_no_memory(struct pcr_schema_loader *loader) {
    return pcr_schema_fail(loader, PACER_ENOMEM, "no memory to compile the schema");
}

static size_t index_of(const struct pcr_document *document, const yyjson_val *value) {
    size_t index = (size_t)(value - document->root);
    PCR_ASSERT(index < document->count);
    return index;
}

// --- the walk -----------------------------------------------------------------------------------

static bool walk(struct pcr_schema_loader *loader, struct pcr_document *document, yyjson_val *value,
                 struct pcr_resource *resource, const char *pointer);
static struct pcr_resource *find_resource(struct pcr_schema_loader *loader, const char *uri);

static const char *join(struct pcr_schema_loader *loader, const char *pointer,
                        struct pcr_str name) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, 2 * PCR_SCHEMA_BYTES_MAX);
    pcr_buf_text(&buf, pointer);
    pcr_json_pointer_push(&buf, name);
    const char *joined = buf.failed ? NULL : pcr_arena_dup(loader->arena, pcr_buf_view(&buf));
    pcr_buf_fini(&buf);
    if (!joined)
        pcr_schema_no_memory(loader);
    return joined;
}

static bool expected(struct pcr_schema_loader *loader, const char *pointer, const char *what,
                     yyjson_val *value) {
    char got[80];
    return pcr_schema_fail(loader, PACER_EINVAL, "schema, at \"%s\": expected %s, got %s", pointer,
                           what, pcr_json_describe(value, got, sizeof got));
}

static bool walk_children(struct pcr_schema_loader *loader, struct pcr_document *document,
                          yyjson_val *container, struct pcr_resource *resource,
                          const char *pointer) {
    bool object = yyjson_is_obj(container);
    size_t n = yyjson_get_len(container);
    yyjson_val *at = n ? unsafe_yyjson_get_first(container) : NULL;
    for (size_t i = 0; i < n; i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        const char *child = join(loader, pointer, object ? pcr_json_str(at) : pcr_str(number));
        yyjson_val *value = object ? at + 1 : at;
        if (!child || !walk(loader, document, value, resource, child))
            return false;
        at = unsafe_yyjson_get_next(value);
    }
    return true;
}

static bool walk_places(struct pcr_schema_loader *loader, struct pcr_document *document,
                        yyjson_val *schema, struct pcr_resource *resource, const char *pointer) {
    for (size_t i = 0; i < PCR_COUNT_OF(places); i++) {
        yyjson_val *value = yyjson_obj_get(schema, places[i].name);
        if (!value)
            continue;
        const char *child = join(loader, pointer, pcr_str(places[i].name));
        if (!child)
            return false;
        bool ok = true;
        if (places[i].kind == PLACE_SCHEMA)
            ok = walk(loader, document, value, resource, child);
        else if (places[i].kind == PLACE_LIST && !yyjson_is_arr(value))
            ok = expected(loader, child, "an array of schemas", value);
        else if (places[i].kind == PLACE_LIST && yyjson_arr_size(value) == 0)
            ok = pcr_schema_fail(
                loader, PACER_EINVAL,
                "schema, at \"%s\": expected at least one schema, got an empty array", child);
        else if (places[i].kind == PLACE_MAP && !yyjson_is_obj(value))
            ok = expected(loader, child, "an object of schemas", value);
        else
            ok = walk_children(loader, document, value, resource, child);
        if (!ok)
            return false;
    }
    return true;
}

// XML names without colon (RFC: Core, section 8.2.2).
static bool is_anchor_name(struct pcr_str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool later = (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!letter && (i == 0 || !later))
            return false;
    }
    return name.len > 0;
}

static struct pcr_anchor *find_anchor(const struct pcr_resource *resource, struct pcr_str name) {
    struct pcr_anchor *anchor = resource->anchors;
    while (anchor && !pcr_str_eq(anchor->name, name))
        anchor = anchor->next;
    return anchor;
}

static bool add_anchor(struct pcr_schema_loader *loader, struct pcr_resource *resource,
                       yyjson_val *schema, const char *pointer, bool dynamic) {
    const char *keyword = dynamic ? "$dynamicAnchor" : "$anchor";
    yyjson_val *value = yyjson_obj_get(schema, keyword);
    if (!value)
        return true;
    struct pcr_str name = pcr_json_str(value);
    if (!yyjson_is_str(value) || !is_anchor_name(name)) {
        const char *at = join(loader, pointer, pcr_str(keyword));
        return at && expected(loader, at, "a name of letters, digits, '-', '_' and '.'", value);
    }
    struct pcr_anchor *old = find_anchor(resource, name);
    if (old && old->value != schema)
        return pcr_schema_fail(loader, PACER_EINVAL,
                               "schema, at \"%s\": the anchor \"%.*s\" is there twice", pointer,
                               PCR_STR_ARG(name));
    struct pcr_anchor *anchor = pcr_arena_calloc(loader->arena, 1, sizeof *anchor);
    if (!anchor)
        return pcr_schema_no_memory(loader);
    *anchor = (struct pcr_anchor){resource->anchors, name, schema, NULL, dynamic};
    resource->anchors = anchor;
    return true;
}

static struct pcr_resource *add_resource(struct pcr_schema_loader *loader,
                                         struct pcr_document *document, yyjson_val *root,
                                         const char *uri) {
    struct pcr_resource *resource = pcr_arena_calloc(loader->arena, 1, sizeof *resource);
    if (!resource || !pcr_map_put(&loader->resources, pcr_str(uri), resource, NULL)) {
        pcr_schema_no_memory(loader);
        return NULL;
    }
    resource->uri = uri;
    resource->document = document;
    resource->root = root;
    resource->vocabularies = PCR_VOCABULARY_ALL;
    resource->next = loader->resource_list;
    loader->resource_list = resource;
    return resource;
}

static bool read_vocabulary(struct pcr_schema_loader *loader, struct pcr_resource *resource,
                            struct pcr_str uri, bool required) {
    static const char prefix[] = "https://json-schema.org/draft/2020-12/vocab/";
    if (pcr_str_starts_with(uri, pcr_str(prefix))) {
        struct pcr_str name = {uri.ptr + sizeof prefix - 1, uri.len - (sizeof prefix - 1)};
        for (size_t i = 0; i < PCR_COUNT_OF(vocabularies); i++) {
            if (!pcr_str_eq(name, pcr_str(vocabularies[i].name)))
                continue;
            resource->vocabularies |= vocabularies[i].bits;
            return true;
        }
    }
    return !required || pcr_schema_fail(loader, PACER_EINVAL,
                                        "schema: its metaschema requires the vocabulary \"%.*s\", "
                                        "which is not supported",
                                        PCR_STR_ARG(uri));
}

// The vocabularies that the metaschema named by $schema declares.
static bool read_dialect(struct pcr_schema_loader *loader, struct pcr_resource *resource,
                         const char *pointer) {
    yyjson_val *value = yyjson_obj_get(resource->root, "$schema");
    if (!value || yyjson_equals_str(value, standard))
        return true;
    struct pcr_str uri = pcr_json_str(value);
    if (!yyjson_is_str(value) || !pcr_uri_has_scheme(uri)) {
        const char *at = join(loader, pointer, PCR_STR("$schema"));
        return at && expected(loader, at, "an absolute URI", value);
    }
    struct pcr_str fragment;
    const char *plain = pcr_uri_resolve(loader->arena, PCR_STR(""), uri, &fragment);
    if (!plain)
        return pcr_schema_no_memory(loader);
    if (strcmp(plain, standard) == 0)
        return true;
    if (pcr_str_starts_with(uri, PCR_STR("http://json-schema.org/draft-")) ||
        pcr_str_starts_with(uri, PCR_STR("https://json-schema.org/draft/2019-09/")))
        return pcr_schema_fail(
            loader, PACER_EINVAL,
            "schema: written for \"%.*s\"; only draft 2020-12 (\"%s\") is supported",
            PCR_STR_ARG(uri), standard);
    const struct pcr_resource *meta = find_resource(loader, plain);
    if (loader->rc < 0)
        return false;
    if (!meta)
        return pcr_schema_fail(loader, PACER_ENOTFOUND,
                               "schema: its metaschema \"%.*s\" is not known; expected \"%s\"",
                               PCR_STR_ARG(uri), standard);
    yyjson_val *declared = yyjson_obj_get(meta->root, "$vocabulary");
    if (!yyjson_is_obj(declared))
        return true;
    resource->vocabularies = 0;
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *required;
    yyjson_obj_foreach(declared, i, n, key, required) {
        if (!read_vocabulary(loader, resource, pcr_json_str(key), yyjson_is_true(required)))
            return false;
    }
    return true;
}

// The resource that begins here by $id, or the one around it. NULL after a failure.
static struct pcr_resource *enter_resource(struct pcr_schema_loader *loader,
                                           struct pcr_document *document, yyjson_val *schema,
                                           struct pcr_resource *outer, const char *pointer) {
    yyjson_val *id = yyjson_obj_get(schema, "$id");
    if (!id)
        return outer;
    const char *at = join(loader, pointer, PCR_STR("$id"));
    if (!at)
        return NULL;
    if (!yyjson_is_str(id)) {
        expected(loader, at, "a URI reference", id);
        return NULL;
    }
    struct pcr_str fragment;
    const char *uri =
        pcr_uri_resolve(loader->arena, pcr_str(outer->uri), pcr_json_str(id), &fragment);
    if (!uri) {
        pcr_schema_no_memory(loader);
        return NULL;
    }
    if (fragment.len > 0) {
        expected(loader, at, "a URI without fragment (use $anchor)", id);
        return NULL;
    }
    if (schema == outer->root && strcmp(uri, outer->uri) == 0)
        return outer;
    struct pcr_resource *known = pcr_map_get(&loader->resources, pcr_str(uri));
    if (known && known->root != schema) {
        pcr_schema_fail(loader, PACER_EINVAL, "schema, at \"%s\": the $id \"%s\" is there twice",
                        pointer, uri);
        return NULL;
    }
    struct pcr_resource *resource = known ? known : add_resource(loader, document, schema, uri);
    if (resource)
        resource->vocabularies = outer->vocabularies;
    return resource;
}

static bool walk(struct pcr_schema_loader *loader, struct pcr_document *document, yyjson_val *value,
                 struct pcr_resource *resource, const char *pointer) {
    size_t index = index_of(document, value);
    if (document->resource[index])
        return true;
    if (!yyjson_is_obj(value) && !yyjson_is_bool(value))
        return expected(loader, pointer, "a schema (an object, true or false)", value);
    struct pcr_resource *own = enter_resource(loader, document, value, resource, pointer);
    if (!own)
        return false;
    document->resource[index] = own;
    document->pointer[index] = pointer;
    if (own->root == value && !read_dialect(loader, own, pointer))
        return false;
    return add_anchor(loader, own, value, pointer, false) &&
           add_anchor(loader, own, value, pointer, true) &&
           walk_places(loader, document, value, own, pointer);
}

// --- documents ----------------------------------------------------------------------------------

static struct pcr_document *make_document(struct pcr_schema_loader *loader, const char *uri,
                                          yyjson_val *root, size_t count) {
    struct pcr_document *document = pcr_arena_calloc(loader->arena, 1, sizeof *document);
    if (!document)
        return NULL;
    document->uri = uri;
    document->root = root;
    document->count = count;
    document->resource = pcr_arena_calloc(loader->arena, count, sizeof *document->resource);
    document->pointer = pcr_arena_calloc(loader->arena, count, sizeof *document->pointer);
    document->node = pcr_arena_calloc(loader->arena, count, sizeof *document->node);
    return document->resource && document->pointer && document->node ? document : NULL;
}

// The number of values from `root` to the end of its document: they lie in one array.
static size_t count_values(yyjson_val *root) {
    return (size_t)((yyjson_val *)unsafe_yyjson_get_next(root) - root);
}

struct pcr_document *pcr_schema_add_document(struct pcr_schema_loader *loader, const char *uri,
                                             struct pcr_str text) {
    yyjson_val *root;
    char what[160];
    snprintf(what, sizeof what, loader->documents_n ? "schema %.140s" : "schema", uri);
    const struct pcr_json_options options = {.what = what};
    if (++loader->documents_n > PCR_SCHEMA_DOCUMENTS_MAX || text.len > PCR_SCHEMA_BYTES_MAX) {
        pcr_schema_fail(loader, PACER_ELIMIT,
                        "schema %s: more than %d documents, or one of more than %zu bytes", uri,
                        PCR_SCHEMA_DOCUMENTS_MAX, PCR_SCHEMA_BYTES_MAX);
        return NULL;
    }
    loader->digest = pcr_str_hash(text, loader->digest);
    int rc = pcr_json_parse(loader->arena, text, &options, &root, loader->err);
    if (rc < 0) {
        loader->rc = rc;
        return NULL;
    }
    struct pcr_document *document = make_document(loader, uri, root, count_values(root));
    if (!document) {
        pcr_schema_no_memory(loader);
        return NULL;
    }
    document->next = loader->documents;
    loader->documents = document;
    struct pcr_resource *resource = add_resource(loader, document, root, uri);
    if (!resource || !walk(loader, document, root, resource, ""))
        return NULL;
    return document;
}

// --- finding a URI ------------------------------------------------------------------------------

// Reads a regular file below base_dir as the document `uri`; false (without failing the load) if
// there is none.
static bool load_file(struct pcr_schema_loader *loader, const char *path, const char *uri) {
    char real[PATH_MAX];
    struct stat info;
    size_t base = strlen(loader->base_dir);
    if (!realpath(path, real) || stat(real, &info) < 0 || !S_ISREG(info.st_mode))
        return false;
    if (strncmp(real, loader->base_dir, base) != 0 || (base > 1 && real[base] != '/'))
        return false;
    struct pcr_buf text;
    pcr_buf_init(&text, PCR_SCHEMA_BYTES_MAX);
    int rc = pcr_file_read(real, &text, loader->err);
    if (rc < 0)
        loader->rc = rc;
    bool ok = rc == 0 && pcr_schema_add_document(loader, uri, pcr_buf_view(&text));
    pcr_buf_fini(&text);
    return ok;
}

static bool load_file_uri(struct pcr_schema_loader *loader, const char *uri) {
    struct pcr_str path = pcr_str(uri);
    if (!loader->base_dir || !pcr_str_starts_with(path, PCR_STR("file:///")))
        return false;
    size_t len;
    path = (struct pcr_str){path.ptr + 7, path.len - 7};
    const char *decoded = pcr_uri_decode(loader->arena, path, &len);
    return decoded && strlen(decoded) == len && load_file(loader, decoded, uri);
}

static bool load_offered(struct pcr_schema_loader *loader, const struct pcr_schema_remote *offers,
                         size_t n, const char *uri, bool builtin) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(offers[i].uri, uri) != 0)
            continue;
        struct pcr_document *document = pcr_schema_add_document(loader, uri, offers[i].text);
        if (document)
            document->builtin = builtin;
        return document != NULL;
    }
    return false;
}

// The resource of a URI, loaded if need be;
// NULL if there is none (loader->rc tells whether loading failed).
static struct pcr_resource *find_resource(struct pcr_schema_loader *loader, const char *uri) {
    struct pcr_resource *resource = pcr_map_get(&loader->resources, pcr_str(uri));
    if (resource)
        return resource;
    if (!load_offered(loader, pcr_schema_builtin, pcr_schema_builtin_n, uri, true) &&
        loader->rc == 0 && !load_offered(loader, loader->remotes, loader->remotes_n, uri, false) &&
        loader->rc == 0)
        load_file_uri(loader, uri);
    return loader->rc < 0 ? NULL : pcr_map_get(&loader->resources, pcr_str(uri));
}

// A relative reference from a schema whose $id is of the web, "https://example.com/x": the file of
// that name beside it, under the URI the $id gives it.
static struct pcr_resource *find_beside(struct pcr_schema_loader *loader, struct pcr_str reference,
                                        const char *uri) {
    char path[PATH_MAX];
    struct pcr_str fragment;
    const char *plain = pcr_uri_resolve(loader->arena, PCR_STR(""), reference, &fragment);
    if (!loader->base_dir || !plain || *plain == '\0' || *plain == '/' ||
        pcr_uri_has_scheme(reference))
        return NULL;
    size_t len;
    const char *decoded = pcr_uri_decode(loader->arena, pcr_str(plain), &len);
    if (!decoded || strlen(decoded) != len ||
        snprintf(path, sizeof path, "%s/%s", loader->base_dir, decoded) >= (int)sizeof path)
        return NULL;
    return load_file(loader, path, uri) ? pcr_map_get(&loader->resources, pcr_str(uri)) : NULL;
}

// --- references ---------------------------------------------------------------------------------

struct pcr_node *pcr_schema_node(struct pcr_schema_loader *loader, struct pcr_document *document,
                                 yyjson_val *value) {
    size_t index = index_of(document, value);
    if (document->node[index])
        return document->node[index];
    struct pcr_node *node = pcr_arena_calloc(loader->arena, 1, sizeof *node);
    if (!node) {
        pcr_schema_no_memory(loader);
        return NULL;
    }
    PCR_ASSERT(document->resource[index] != NULL);
    node->resource = document->resource[index];
    node->document = document;
    node->value = value;
    node->pointer = document->pointer[index];
    node->boolean = yyjson_is_bool(value) ? yyjson_get_bool(value) : -1;
    document->node[index] = node;
    *loader->queue_last = node;
    loader->queue_last = &node->queued;
    return node;
}

// One step of a JSON pointer; NULL if it leads nowhere.
static yyjson_val *step_into(yyjson_val *value, struct pcr_str token) {
    uint64_t index;
    if (yyjson_is_obj(value))
        return yyjson_obj_getn(value, token.ptr, token.len);
    bool leading_zero = token.len > 1 && token.ptr[0] == '0';
    if (!yyjson_is_arr(value) || leading_zero || !pcr_str_to_u64(token, UINT32_MAX, &index))
        return NULL;
    return yyjson_arr_get(value, (size_t)index);
}

// Undoes ~0 and ~1 in place; false if there is another ~.
static bool unescape(char *token, size_t *len) {
    size_t out = 0;
    for (size_t i = 0; i < *len; i++) {
        char c = token[i];
        if (c == '~') {
            i++;
            if (i == *len || (token[i] != '0' && token[i] != '1'))
                return false;
            c = token[i] == '0' ? '~' : '/';
        }
        token[out++] = c;
    }
    *len = out;
    return true;
}

// Follows the decoded pointer from the resource's root, and walks the place as a schema if it is
// not known as one.
static yyjson_val *follow(struct pcr_schema_loader *loader, struct pcr_resource *resource,
                          char *pointer, size_t len) {
    struct pcr_document *document = resource->document;
    yyjson_val *value = resource->root;
    const char *where = document->pointer[index_of(document, value)];
    char *at = pointer + 1;
    char *end = pointer + len;
    while (value && at <= end) {
        char *slash = memchr(at, '/', (size_t)(end - at));
        size_t n = (size_t)((slash ? slash : end) - at);
        char *next = at + n + 1;
        if (!unescape(at, &n))
            return NULL;
        value = step_into(value, (struct pcr_str){at, n});
        where = join(loader, where, (struct pcr_str){at, n});
        if (!where)
            return NULL;
        if (value && document->resource[index_of(document, value)])
            resource = document->resource[index_of(document, value)];
        at = next;
    }
    return value && walk(loader, document, value, resource, where) ? value : NULL;
}

static yyjson_val *find_fragment(struct pcr_schema_loader *loader, struct pcr_resource *resource,
                                 struct pcr_str fragment, struct pcr_anchor **anchor) {
    size_t len;
    if (fragment.len == 0)
        return resource->root;
    char *decoded = pcr_uri_decode(loader->arena, fragment, &len);
    if (!decoded)
        return NULL;
    if (*decoded == '/')
        return follow(loader, resource, decoded, len);
    *anchor = find_anchor(resource, (struct pcr_str){decoded, len});
    return *anchor ? (*anchor)->value : NULL;
}

struct pcr_node *pcr_schema_resolve(struct pcr_schema_loader *loader, const struct pcr_node *from,
                                    const char *keyword, struct pcr_str reference,
                                    struct pcr_anchor **anchor) {
    struct pcr_str fragment;
    *anchor = NULL;
    const char *uri =
        pcr_uri_resolve(loader->arena, pcr_str(from->resource->uri), reference, &fragment);
    if (!uri) {
        pcr_schema_no_memory(loader);
        return NULL;
    }
    struct pcr_resource *resource = find_resource(loader, uri);
    if (!resource && loader->rc == 0)
        resource = find_beside(loader, reference, uri);
    yyjson_val *value = resource ? find_fragment(loader, resource, fragment, anchor) : NULL;
    if (value)
        return pcr_schema_node(loader, resource->document, value);
    pcr_schema_fail(loader, PACER_ENOTFOUND, "schema, at \"%s/%s\": \"%.*s\" leads nowhere: %s%s%s",
                    from->pointer, keyword, PCR_STR_ARG(reference),
                    resource ? "there is no such place or anchor in " : "", uri,
                    resource ? ""
                    : loader->base_dir
                        ? " is neither part of the schema nor a file below its folder"
                        : " is not part of the schema, and no folder for files was given");
    return NULL;
}
