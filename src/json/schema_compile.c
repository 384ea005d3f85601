// SPDX-License-Identifier: Apache-2.0
// From the members of a schema to keywords that can be checked without looking at the schema again.
//
// Nodes wait in a queue and are compiled one after the other, so a chain of a hundred thousand
// references needs no stack. Keywords that look at the same thing become one: properties,
// patternProperties, additionalProperties, required and the dependent ones share a table of names
// and one pass over the object's members; items goes with prefixItems, minContains with contains,
// then and else with if.
//
// Every value is checked for its shape here, with a message that names the place. This is what
// validating the schema against its metaschema would find, in better words; the unit test holds the
// two against each other.
//
// Invariant: the keywords of a node stand in the order of enum pcr_keyword_kind, the unevaluated
// ones last, since those need to know what all others have looked at. Rejected: interpreting the
// schema's JSON while checking (ten times slower, and every error comes late).
#include "json/schema_priv.h"

struct compiler {
    struct pcr_schema_loader *loader;
    struct pcr_node *node;
};

static bool bad(struct compiler *c, const char *keyword, const char *expected, yyjson_val *value) {
    char got[80];
    return pcr_schema_fail(c->loader, PACER_EINVAL, "schema, at \"%s/%s\": expected %s, got %s",
                           c->node->pointer, keyword, expected,
                           pcr_json_describe(value, got, sizeof got));
}

static struct pcr_node *child(struct compiler *c, yyjson_val *value) {
    struct pcr_document *document = c->node->resource->document;
    return pcr_schema_node(c->loader, document, value);
}

static bool child_list(struct compiler *c, yyjson_val *array, struct pcr_node_list *list) {
    size_t n = yyjson_arr_size(array);
    list->nodes = pcr_arena_array(c->loader->arena, n, sizeof(struct pcr_node *));
    if (!list->nodes)
        return pcr_schema_no_memory(c->loader);
    yyjson_val *item = n ? unsafe_yyjson_get_first(array) : NULL;
    for (list->n = 0; list->n < n; list->n++, item = unsafe_yyjson_get_next(item)) {
        list->nodes[list->n] = child(c, item);
        if (!list->nodes[list->n])
            return false;
    }
    return true;
}

static bool read_count(struct compiler *c, const char *keyword, yyjson_val *value,
                       uint64_t *count) {
    if (yyjson_is_uint(value)) {
        *count = yyjson_get_uint(value);
        return true;
    }
    double real = yyjson_get_real(value);
    if (!yyjson_is_real(value) || real < 0 || real > 9e15 || !pcr_json_is_integer(value))
        return bad(c, keyword, "a non-negative integer", value);
    *count = (uint64_t)real;
    return true;
}

// --- one reader per keyword ---------------------------------------------------------------------

typedef bool (*read_fn)(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword);

static bool read_type_name(struct compiler *c, yyjson_val *value, unsigned *mask) {
    static const char *const names[] = {"null",  "boolean", "number", "string",
                                        "array", "object",  "integer"};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        if (!yyjson_equals_str(value, names[i]))
            continue;
        if (*mask & 1u << i)
            return bad(c, "type", "each type only once", value);
        *mask |= 1u << i;
        return true;
    }
    return bad(c, "type", "null, boolean, object, array, number, integer or string", value);
}

static bool read_type(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    unsigned mask = 0;
    if (!yyjson_is_arr(value)) {
        if (!read_type_name(c, value, &mask))
            return false;
    } else if (yyjson_arr_size(value) == 0) {
        return bad(c, "type", "at least one type", value);
    }
    size_t i;
    size_t n;
    yyjson_val *item;
    yyjson_arr_foreach(value, i, n, item) {
        if (!read_type_name(c, item, &mask))
            return false;
    }
    keyword->u.type_mask = mask;
    return true;
}

static bool read_const(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    (void)c;
    keyword->u.value = value;
    return true;
}

static bool read_enum(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    if (!yyjson_is_arr(value))
        return bad(c, "enum", "an array", value);
    size_t n = yyjson_arr_size(value);
    keyword->u.choice.values = pcr_arena_array(c->loader->arena, n, sizeof(yyjson_val *));
    keyword->u.choice.hashes = pcr_arena_array(c->loader->arena, n, sizeof(uint64_t));
    if (!keyword->u.choice.values || !keyword->u.choice.hashes)
        return pcr_schema_no_memory(c->loader);
    size_t i;
    yyjson_val *item;
    yyjson_arr_foreach(value, i, n, item) {
        keyword->u.choice.values[i] = item;
        keyword->u.choice.hashes[i] = pcr_json_hash(item);
    }
    keyword->u.choice.n = n;
    return true;
}

static bool read_number(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    keyword->u.value = value;
    return yyjson_is_num(value) || bad(c, keyword->name, "a number", value);
}

static bool read_multiple_of(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    keyword->u.value = value;
    return (yyjson_is_num(value) && yyjson_get_num(value) > 0) ||
           bad(c, keyword->name, "a number above 0", value);
}

static bool read_size(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    return read_count(c, keyword->name, value, &keyword->u.count);
}

static void destroy_regex(void *regex) {
    pcr_regex_destroy(regex);
}

static struct pcr_regex *read_regex(struct compiler *c, const char *keyword, struct pcr_str text) {
    char why[160];
    struct pcr_regex *regex = pcr_regex_create(text, why, sizeof why);
    if (!regex) {
        pcr_schema_fail(c->loader, PACER_EINVAL,
                        "schema, at \"%s/%s\": \"%.*s\" is no regular expression of ECMA-262: %s",
                        c->node->pointer, keyword, text.len > 100 ? 100 : (int)text.len, text.ptr,
                        why);
        return NULL;
    }
    if (!pcr_arena_on_reset(c->loader->arena, destroy_regex, regex)) {
        pcr_regex_destroy(regex);
        pcr_schema_no_memory(c->loader);
        return NULL;
    }
    return regex;
}

static bool read_pattern(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    if (!yyjson_is_str(value))
        return bad(c, keyword->name, "a string", value);
    keyword->u.pattern.text = pcr_json_str(value);
    keyword->u.pattern.regex = read_regex(c, keyword->name, pcr_json_str(value));
    return keyword->u.pattern.regex != NULL;
}

static bool read_format(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    if (!yyjson_is_str(value))
        return bad(c, keyword->name, "a string", value);
    keyword->u.format = c->loader->formats_annotate ? NULL : pcr_format_find(pcr_json_str(value));
    return true;
}

static bool read_unique(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    keyword->u.count = yyjson_get_bool(value);
    return yyjson_is_bool(value) || bad(c, keyword->name, "true or false", value);
}

static bool read_schema(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    keyword->u.node = child(c, value);
    return keyword->u.node != NULL;
}

static bool read_list(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    return child_list(c, value, &keyword->u.list);
}

static bool read_ref(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    struct pcr_anchor *anchor;
    if (!yyjson_is_str(value))
        return bad(c, keyword->name, "a URI reference", value);
    keyword->u.ref.target =
        pcr_schema_resolve(c->loader, c->node, keyword->name, pcr_json_str(value), &anchor);
    if (keyword->kind == PCR_KEYWORD_DYNAMIC_REF && anchor && anchor->dynamic) {
        keyword->u.ref.dynamic = anchor->name;
        c->loader->dynamic_refs = true;
    }
    return keyword->u.ref.target != NULL;
}

static bool read_items(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    (void)value;
    yyjson_val *prefix = yyjson_obj_get(c->node->value, "prefixItems");
    yyjson_val *rest = yyjson_obj_get(c->node->value, "items");
    if (prefix && !child_list(c, prefix, &keyword->u.items.prefix))
        return false;
    if (rest)
        keyword->u.items.rest = child(c, rest);
    return !rest || keyword->u.items.rest;
}

static bool read_contains(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    bool validation = c->node->resource->vocabularies & PCR_VOCABULARY_VALIDATION;
    yyjson_val *min = validation ? yyjson_obj_get(c->node->value, "minContains") : NULL;
    yyjson_val *max = validation ? yyjson_obj_get(c->node->value, "maxContains") : NULL;
    keyword->u.contains.min = 1;
    keyword->u.contains.max = UINT64_MAX;
    if (min && !read_count(c, "minContains", min, &keyword->u.contains.min))
        return false;
    if (max && !read_count(c, "maxContains", max, &keyword->u.contains.max))
        return false;
    keyword->u.contains.node = child(c, value);
    return keyword->u.contains.node != NULL;
}

static bool read_branch(struct compiler *c, yyjson_val *value, struct pcr_keyword *keyword) {
    yyjson_val *then = yyjson_obj_get(c->node->value, "then");
    yyjson_val *otherwise = yyjson_obj_get(c->node->value, "else");
    keyword->u.branch.test = child(c, value);
    if (then)
        keyword->u.branch.then = child(c, then);
    if (otherwise)
        keyword->u.branch.otherwise = child(c, otherwise);
    return keyword->u.branch.test && (!then || keyword->u.branch.then) &&
           (!otherwise || keyword->u.branch.otherwise);
}

// --- members ------------------------------------------------------------------------------------

static uint32_t name_hash(struct pcr_str name) {
    return (uint32_t)pcr_str_hash(name, 0);
}

// The index of a name in the table, added if it is new. The table was made large enough.
static uint32_t intern(struct pcr_members *members, struct pcr_str text) {
    uint32_t hash = name_hash(text);
    size_t slot = hash & (members->slots_cap - 1);
    for (; members->slots[slot]; slot = (slot + 1) & (members->slots_cap - 1)) {
        uint32_t index = members->slots[slot] - 1;
        if (members->names[index].hash == hash && pcr_str_eq(members->names[index].text, text))
            return index;
    }
    uint32_t index = (uint32_t)members->names_n++;
    members->names[index] = (struct pcr_name){.text = text, .hash = hash};
    members->slots[slot] = index + 1;
    return index;
}

// At most so many names does the schema speak of.
static size_t count_names(yyjson_val *properties, yyjson_val *required, yyjson_val *schemas,
                          yyjson_val *needs) {
    size_t count =
        yyjson_obj_size(properties) + yyjson_arr_size(required) + yyjson_obj_size(schemas);
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(needs, i, n, key, value) {
        count += 1 + yyjson_arr_size(value);
    }
    return count;
}

static bool make_names(struct compiler *c, struct pcr_members *members, size_t count) {
    members->slots_cap = 8;
    while (members->slots_cap < 2 * count)
        members->slots_cap *= 2;
    members->names = pcr_arena_calloc(c->loader->arena, count, sizeof *members->names);
    members->slots = pcr_arena_calloc(c->loader->arena, members->slots_cap, sizeof *members->slots);
    return (members->names && members->slots) || pcr_schema_no_memory(c->loader);
}

static bool read_required(struct compiler *c, struct pcr_members *members, yyjson_val *required) {
    if (required && !yyjson_is_arr(required))
        return bad(c, "required", "an array of names", required);
    size_t i;
    size_t n;
    yyjson_val *item;
    yyjson_arr_foreach(required, i, n, item) {
        if (!yyjson_is_str(item))
            return bad(c, "required", "an array of names", item);
        struct pcr_name *name = &members->names[intern(members, pcr_json_str(item))];
        if (name->required)
            return bad(c, "required", "each name only once", item);
        name->required = true;
        members->has_required = true;
    }
    return true;
}

static bool read_needs(struct compiler *c, struct pcr_members *members, yyjson_val *key,
                       yyjson_val *list) {
    if (!yyjson_is_arr(list))
        return bad(c, "dependentRequired", "arrays of names", list);
    uint32_t trigger = intern(members, pcr_json_str(key));
    uint32_t *needs = pcr_arena_array(c->loader->arena, yyjson_arr_size(list), sizeof *needs);
    if (!needs)
        return pcr_schema_no_memory(c->loader);
    size_t i;
    size_t n;
    yyjson_val *item;
    yyjson_arr_foreach(list, i, n, item) {
        if (!yyjson_is_str(item))
            return bad(c, "dependentRequired", "arrays of names", item);
        needs[i] = intern(members, pcr_json_str(item));
    }
    members->names[trigger].needs = needs;
    members->names[trigger].needs_n = yyjson_arr_size(list);
    members->has_dependents = true;
    size_t first;
    size_t second;
    bool no_memory;
    if (pcr_json_find_twins(list, &first, &second, &no_memory))
        return bad(c, "dependentRequired", "each name only once", yyjson_arr_get(list, second));
    return !no_memory || pcr_schema_no_memory(c->loader);
}

static bool read_patterns(struct compiler *c, struct pcr_members *members, yyjson_val *patterns) {
    members->patterns =
        pcr_arena_calloc(c->loader->arena, yyjson_obj_size(patterns), sizeof *members->patterns);
    if (!members->patterns)
        return pcr_schema_no_memory(c->loader);
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(patterns, i, n, key, value) {
        struct pcr_name_pattern *pattern = &members->patterns[i];
        pattern->text = pcr_json_str(key);
        pattern->regex = read_regex(c, "patternProperties", pcr_json_str(key));
        pattern->node = pattern->regex ? child(c, value) : NULL;
        if (!pattern->node)
            return false;
        members->patterns_n++;
    }
    return true;
}

struct member_keywords {
    yyjson_val *properties;
    yyjson_val *patterns;
    yyjson_val *additional;
    yyjson_val *schemas;
    yyjson_val *required;
    yyjson_val *needs;
};

static struct member_keywords member_keywords_of(const struct pcr_node *node) {
    struct member_keywords k = {0};
    if (node->resource->vocabularies & PCR_VOCABULARY_APPLICATOR) {
        k.properties = yyjson_obj_get(node->value, "properties");
        k.patterns = yyjson_obj_get(node->value, "patternProperties");
        k.additional = yyjson_obj_get(node->value, "additionalProperties");
        k.schemas = yyjson_obj_get(node->value, "dependentSchemas");
    }
    if (node->resource->vocabularies & PCR_VOCABULARY_VALIDATION) {
        k.required = yyjson_obj_get(node->value, "required");
        k.needs = yyjson_obj_get(node->value, "dependentRequired");
    }
    return k;
}

static bool read_schemas_of_names(struct compiler *c, struct pcr_members *members,
                                  const struct member_keywords *k) {
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(k->properties, i, n, key, value) {
        struct pcr_name *name = &members->names[intern(members, pcr_json_str(key))];
        if (!(name->node = child(c, value)))
            return false;
    }
    yyjson_obj_foreach(k->schemas, i, n, key, value) {
        struct pcr_name *name = &members->names[intern(members, pcr_json_str(key))];
        members->has_dependents = true;
        if (!(name->dependent = child(c, value)))
            return false;
    }
    return true;
}

static bool read_members(struct compiler *c, yyjson_val *unused, struct pcr_keyword *keyword) {
    (void)unused;
    struct member_keywords k = member_keywords_of(c->node);
    struct pcr_members *members = pcr_arena_calloc(c->loader->arena, 1, sizeof *members);
    if (!members)
        return pcr_schema_no_memory(c->loader);
    if (k.needs && !yyjson_is_obj(k.needs))
        return bad(c, "dependentRequired", "an object", k.needs);
    if (!make_names(c, members, count_names(k.properties, k.required, k.schemas, k.needs)) ||
        !read_schemas_of_names(c, members, &k) || !read_required(c, members, k.required) ||
        (k.patterns && !read_patterns(c, members, k.patterns)))
        return false;
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(k.needs, i, n, key, value) {
        if (!read_needs(c, members, key, value))
            return false;
    }
    if (k.additional && !(members->additional = child(c, k.additional)))
        return false;
    keyword->u.members = members;
    return true;
}

// --- the table ----------------------------------------------------------------------------------

#define APPLICATOR PCR_VOCABULARY_APPLICATOR
#define VALIDATION PCR_VOCABULARY_VALIDATION
#define UNEVALUATED PCR_VOCABULARY_UNEVALUATED
#define ALWAYS PCR_VOCABULARY_ALL

// In the order in which they are checked.
static const struct definition {
    const char *name;
    enum pcr_keyword_kind kind;
    unsigned vocabulary; // one of these bits, or ALWAYS
    unsigned types;
    read_fn read;
} definitions[] = {
    {"type", PCR_KEYWORD_TYPE, VALIDATION, PCR_TYPE_ANY, read_type},
    {"const", PCR_KEYWORD_CONST, VALIDATION, PCR_TYPE_ANY, read_const},
    {"enum", PCR_KEYWORD_ENUM, VALIDATION, PCR_TYPE_ANY, read_enum},
    {"minimum", PCR_KEYWORD_MINIMUM, VALIDATION, PCR_TYPE_NUMBER, read_number},
    {"maximum", PCR_KEYWORD_MAXIMUM, VALIDATION, PCR_TYPE_NUMBER, read_number},
    {"exclusiveMinimum", PCR_KEYWORD_EXCLUSIVE_MINIMUM, VALIDATION, PCR_TYPE_NUMBER, read_number},
    {"exclusiveMaximum", PCR_KEYWORD_EXCLUSIVE_MAXIMUM, VALIDATION, PCR_TYPE_NUMBER, read_number},
    {"multipleOf", PCR_KEYWORD_MULTIPLE_OF, VALIDATION, PCR_TYPE_NUMBER, read_multiple_of},
    {"minLength", PCR_KEYWORD_MIN_LENGTH, VALIDATION, PCR_TYPE_STRING, read_size},
    {"maxLength", PCR_KEYWORD_MAX_LENGTH, VALIDATION, PCR_TYPE_STRING, read_size},
    {"pattern", PCR_KEYWORD_PATTERN, VALIDATION, PCR_TYPE_STRING, read_pattern},
    {"format", PCR_KEYWORD_FORMAT, PCR_VOCABULARY_FORMAT, PCR_TYPE_STRING, read_format},
    {"minItems", PCR_KEYWORD_MIN_ITEMS, VALIDATION, PCR_TYPE_ARRAY, read_size},
    {"maxItems", PCR_KEYWORD_MAX_ITEMS, VALIDATION, PCR_TYPE_ARRAY, read_size},
    {"uniqueItems", PCR_KEYWORD_UNIQUE_ITEMS, VALIDATION, PCR_TYPE_ARRAY, read_unique},
    {NULL, PCR_KEYWORD_ITEMS, APPLICATOR, PCR_TYPE_ARRAY, read_items},
    {"contains", PCR_KEYWORD_CONTAINS, APPLICATOR, PCR_TYPE_ARRAY, read_contains},
    {"minProperties", PCR_KEYWORD_MIN_PROPERTIES, VALIDATION, PCR_TYPE_OBJECT, read_size},
    {"maxProperties", PCR_KEYWORD_MAX_PROPERTIES, VALIDATION, PCR_TYPE_OBJECT, read_size},
    {"propertyNames", PCR_KEYWORD_PROPERTY_NAMES, APPLICATOR, PCR_TYPE_OBJECT, read_schema},
    {NULL, PCR_KEYWORD_MEMBERS, APPLICATOR | VALIDATION, PCR_TYPE_OBJECT, read_members},
    {"$ref", PCR_KEYWORD_REF, ALWAYS, PCR_TYPE_ANY, read_ref},
    {"$dynamicRef", PCR_KEYWORD_DYNAMIC_REF, ALWAYS, PCR_TYPE_ANY, read_ref},
    {"allOf", PCR_KEYWORD_ALL_OF, APPLICATOR, PCR_TYPE_ANY, read_list},
    {"anyOf", PCR_KEYWORD_ANY_OF, APPLICATOR, PCR_TYPE_ANY, read_list},
    {"oneOf", PCR_KEYWORD_ONE_OF, APPLICATOR, PCR_TYPE_ANY, read_list},
    {"not", PCR_KEYWORD_NOT, APPLICATOR, PCR_TYPE_ANY, read_schema},
    {"if", PCR_KEYWORD_IF, APPLICATOR, PCR_TYPE_ANY, read_branch},
    {"unevaluatedItems", PCR_KEYWORD_UNEVALUATED_ITEMS, UNEVALUATED, PCR_TYPE_ARRAY, read_schema},
    {"unevaluatedProperties", PCR_KEYWORD_UNEVALUATED_PROPERTIES, UNEVALUATED, PCR_TYPE_OBJECT,
     read_schema},
};

// The value that makes the keyword present,
// for the combined ones any of theirs; NULL if it is absent.
static yyjson_val *presence(const struct pcr_node *node, const struct definition *definition) {
    if (definition->name)
        return yyjson_obj_get(node->value, definition->name);
    if (definition->kind == PCR_KEYWORD_ITEMS) {
        yyjson_val *prefix = yyjson_obj_get(node->value, "prefixItems");
        return prefix ? prefix : yyjson_obj_get(node->value, "items");
    }
    struct member_keywords k = member_keywords_of(node);
    yyjson_val *all[] = {k.properties, k.patterns, k.additional, k.schemas, k.required, k.needs};
    for (size_t i = 0; i < PCR_COUNT_OF(all); i++) {
        if (all[i])
            return all[i];
    }
    return NULL;
}

// Keywords without effect are left out: an unknown format, uniqueItems false, an "if" with nothing
// to follow.
static bool has_effect(const struct pcr_keyword *keyword) {
    switch (keyword->kind) {
    case PCR_KEYWORD_FORMAT:
        return keyword->u.format != NULL;
    case PCR_KEYWORD_UNIQUE_ITEMS:
        return keyword->u.count != 0;
    default:
        return true;
    }
}

// Words of other keywords that have a shape to keep although they assert nothing here.
static bool check_annotations(struct compiler *c) {
    static const char *const strings[] = {"$comment", "title", "description", "contentEncoding",
                                          "contentMediaType"};
    static const char *const booleans[] = {"deprecated", "readOnly", "writeOnly"};
    for (size_t i = 0; i < PCR_COUNT_OF(strings); i++) {
        yyjson_val *value = yyjson_obj_get(c->node->value, strings[i]);
        if (value && !yyjson_is_str(value))
            return bad(c, strings[i], "a string", value);
    }
    for (size_t i = 0; i < PCR_COUNT_OF(booleans); i++) {
        yyjson_val *value = yyjson_obj_get(c->node->value, booleans[i]);
        if (value && !yyjson_is_bool(value))
            return bad(c, booleans[i], "true or false", value);
    }
    yyjson_val *examples = yyjson_obj_get(c->node->value, "examples");
    return !examples || yyjson_is_arr(examples) || bad(c, "examples", "an array", examples);
}

static bool compile_node(struct compiler *c) {
    struct pcr_node *node = c->node;
    struct pcr_keyword keywords[PCR_COUNT_OF(definitions)];
    size_t n = 0;
    if (node->boolean >= 0)
        return true;
    for (size_t i = 0; i < PCR_COUNT_OF(definitions); i++) {
        const struct definition *d = &definitions[i];
        bool known = d->vocabulary == ALWAYS || (node->resource->vocabularies & d->vocabulary);
        yyjson_val *value = known ? presence(node, d) : NULL;
        if (!value)
            continue;
        keywords[n] = (struct pcr_keyword){.kind = d->kind, .types = d->types, .name = d->name};
        if (!d->read(c, value, &keywords[n]))
            return false;
        node->tracks |= d->vocabulary == UNEVALUATED;
        n += has_effect(&keywords[n]);
    }
    node->keywords = pcr_arena_array(c->loader->arena, n, sizeof *node->keywords);
    if (!node->keywords)
        return pcr_schema_no_memory(c->loader);
    memcpy(node->keywords, keywords, n * sizeof *keywords);
    node->keywords_n = n;
    return check_annotations(c);
}

static bool drain_queue(struct pcr_schema_loader *loader) {
    while (loader->queue_first) {
        struct compiler c = {loader, loader->queue_first};
        loader->queue_first = c.node->queued;
        if (!loader->queue_first)
            loader->queue_last = &loader->queue_first;
        c.node->queued = NULL;
        if (!compile_node(&c))
            return false;
    }
    return true;
}

// $dynamicRef may lead to any dynamic anchor of any resource, so they are all compiled; that may
// load more.
static bool compile_dynamic_anchors(struct pcr_schema_loader *loader) {
    for (struct pcr_resource *r = loader->resource_list; r; r = r->next) {
        for (struct pcr_anchor *anchor = r->anchors; anchor; anchor = anchor->next) {
            if (!anchor->dynamic || anchor->node)
                continue;
            anchor->node = pcr_schema_node(loader, r->document, anchor->value);
            if (!anchor->node)
                return false;
        }
    }
    return true;
}

// What nothing refers to is compiled as well, for its faults; only in documents the user wrote.
static bool compile_unreferenced(struct pcr_schema_loader *loader) {
    for (struct pcr_document *d = loader->documents; d; d = d->next) {
        for (size_t i = 0; !d->builtin && i < d->count; i++) {
            if (d->resource[i] && !pcr_schema_node(loader, d, d->root + i))
                return false;
        }
    }
    return true;
}

bool pcr_schema_compile(struct pcr_schema_loader *loader) {
    do {
        if (!drain_queue(loader) || !compile_unreferenced(loader) ||
            (loader->dynamic_refs && !compile_dynamic_anchors(loader)))
            return false;
    } while (loader->queue_first);
    return true;
}

// --- endless references -------------------------------------------------------------------------

// The i-th schema that is applied to the same value whatever the value is, or NULL.
static struct pcr_node *in_place(const struct pcr_node *node, size_t i) {
    for (size_t k = 0; k < node->keywords_n; k++) {
        const struct pcr_keyword *keyword = &node->keywords[k];
        struct pcr_node *const *nodes = NULL;
        size_t n = 1;
        switch (keyword->kind) {
        case PCR_KEYWORD_REF:
            nodes = &keyword->u.ref.target;
            break;
        case PCR_KEYWORD_ALL_OF:
            nodes = keyword->u.list.nodes;
            n = keyword->u.list.n;
            break;
        case PCR_KEYWORD_ANY_OF:
        case PCR_KEYWORD_ONE_OF:
            nodes = keyword->u.list.nodes;
            break;
        case PCR_KEYWORD_NOT:
            nodes = &keyword->u.node;
            break;
        case PCR_KEYWORD_IF:
            nodes = &keyword->u.branch.test;
            break;
        default:
            n = 0;
            break;
        }
        if (i < n)
            return nodes[i];
        i -= n;
    }
    return NULL;
}

struct visit {
    struct pcr_node *node;
    size_t next;
};

enum {
    WHITE, // not seen
    GREY,  // on the way
    BLACK, // done
};

// Depth first with a stack of its own: chains of references may be long.
static bool visit_from(struct pcr_schema_loader *loader, struct visit *stack,
                       struct pcr_node *start) {
    size_t depth = 1;
    stack[0] = (struct visit){start, 0};
    start->color = GREY;
    while (depth > 0) {
        struct visit *top = &stack[depth - 1];
        struct pcr_node *next = in_place(top->node, top->next++);
        if (!next) {
            top->node->color = BLACK;
            depth--;
        } else if (next->color == GREY) {
            return pcr_schema_fail(
                loader, PACER_EINVAL,
                "schema, at \"%s\": it refers back to itself (\"%s\") without going "
                "deeper into the document, so a check would never end",
                top->node->pointer, next->pointer);
        } else if (next->color == WHITE) {
            next->color = GREY;
            stack[depth++] = (struct visit){next, 0};
        }
    }
    return true;
}

bool pcr_schema_refuse_loops(struct pcr_schema_loader *loader) {
    size_t count = 0;
    for (const struct pcr_document *d = loader->documents; d; d = d->next)
        count += d->count;
    struct visit *stack = pcr_arena_array(loader->arena, count, sizeof *stack);
    if (!stack)
        return pcr_schema_no_memory(loader);
    for (struct pcr_document *d = loader->documents; d; d = d->next) {
        for (size_t i = 0; i < d->count; i++) {
            if (d->node[i] && d->node[i]->color == WHITE && !visit_from(loader, stack, d->node[i]))
                return false;
        }
    }
    return true;
}
