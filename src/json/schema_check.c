// SPDX-License-Identifier: Apache-2.0
// Holding a value against a compiled schema.
//
// apply() goes through a node's keywords; keywords with schemas of their own call it again.
// What a check needs lies on the stack: the way to the value (struct pcr_at), the resources
// entered (for $dynamicRef), and which members and items have been looked at (struct seen). The
// last is kept only where an unevaluated keyword asks for it, and is handed down to schemas
// applied to the same value; alternatives get a set of their own, merged when they hold, since
// a schema that fails says nothing.
//
// The verdict of an alternative is found quietly and breaks off at its first fault; elsewhere all
// faults are recorded. A check is bounded by depth (stack), by steps (time) and by the number of
// violations it records.
//
// Invariant: a false verdict outside of quiet mode has recorded a violation, or run->rc says why
// checking stopped. Rejected: bytecode (no faster in trials of others, harder to read), annotations
// as JSON values (allocation per step).
#include "json/schema_priv.h"

#include <stdlib.h>

#define INLINE_WORDS 4

struct pcr_scope {
    const struct pcr_resource *resource;
    const struct pcr_scope *outer;
};

// A set of member or item indices.
struct seen {
    uint64_t *words;
    size_t words_n;
    uint64_t inline_words[INLINE_WORDS];
};

static bool apply(struct pcr_run *run, const struct pcr_node *node, yyjson_val *value,
                  const struct pcr_at *at, struct seen *seen);

// --- sets ---------------------------------------------------------------------------------------

static bool seen_init(struct pcr_run *run, struct seen *seen, size_t count) {
    seen->words_n = (count + 63) / 64;
    if (seen->words_n <= INLINE_WORDS) {
        seen->words = seen->inline_words;
        memset(seen->inline_words, 0, sizeof seen->inline_words);
        return true;
    }
    seen->words = calloc(seen->words_n, sizeof *seen->words);
    return seen->words || pcr_run_stop(run, PACER_ENOMEM, "no memory to check the document");
}

static void seen_fini(struct seen *seen) {
    if (seen->words != seen->inline_words)
        free(seen->words);
}

static void seen_add(struct seen *seen, size_t index) {
    if (seen)
        seen->words[index / 64] |= 1ull << (index % 64);
}

static bool seen_has(const struct seen *seen, size_t index) {
    return seen->words[index / 64] >> (index % 64) & 1;
}

static void seen_merge(struct seen *into, const struct seen *from) {
    for (size_t i = 0; i < into->words_n; i++)
        into->words[i] |= from->words[i];
}

// --- words --------------------------------------------------------------------------------------

// The value for a message: numbers and strings without the noun.
static const char *got(yyjson_val *value, char out[80]) {
    static const char number[] = "the number ";
    static const char string[] = "the string ";
    pcr_json_describe(value, out, 80);
    if (strncmp(out, number, sizeof number - 1) == 0 ||
        strncmp(out, string, sizeof string - 1) == 0)
        return out + sizeof number - 1;
    return out;
}

static size_t length_of(yyjson_val *string) {
    const char *text = yyjson_get_str(string);
    size_t n = yyjson_get_len(string);
    size_t characters = 0;
    for (size_t i = 0; i < n; i++)
        characters += ((unsigned char)text[i] & 0xc0) != 0x80;
    return characters;
}

// --- any value ----------------------------------------------------------------------------------

static unsigned type_of(yyjson_val *value) {
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_BOOL:
        return PCR_TYPE_BOOL;
    case YYJSON_TYPE_NUM:
        return PCR_TYPE_NUMBER;
    case YYJSON_TYPE_STR:
        return PCR_TYPE_STRING;
    case YYJSON_TYPE_ARR:
        return PCR_TYPE_ARRAY;
    case YYJSON_TYPE_OBJ:
        return PCR_TYPE_OBJECT;
    default:
        return PCR_TYPE_NULL;
    }
}

struct subject {
    struct pcr_run *run;
    const struct pcr_node *node;
    yyjson_val *value;
    const struct pcr_at *at;
    struct seen *seen; // or NULL: nobody asks
};

#define VIOLATION(s, keyword, ...) \
    pcr_run_violation((s)->run, (s)->node, keyword, (s)->value, (s)->at, __VA_ARGS__)

static void type_words(unsigned mask, char *out, size_t out_bytes) {
    static const char *const names[] = {"null",     "true or false", "a number",  "a string",
                                        "an array", "an object",     "an integer"};
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        if (!(mask & 1u << i))
            continue;
        int n = snprintf(out + at, out_bytes - at, at ? " or %s" : "%s", names[i]);
        at += (size_t)n;
    }
}

static bool check_type(const struct subject *s, const struct pcr_keyword *k) {
    unsigned type = type_of(s->value);
    if (k->u.type_mask & type)
        return true;
    if (type == PCR_TYPE_NUMBER && (k->u.type_mask & PCR_TYPE_INTEGER) &&
        pcr_json_is_integer(s->value))
        return true;
    char words[128];
    char out[80];
    type_words(k->u.type_mask, words, sizeof words);
    return VIOLATION(s, "type", "expected %s, got %s", words,
                     pcr_json_describe(s->value, out, sizeof out));
}

static bool could_not_look(const struct subject *s) {
    return pcr_run_stop(s->run, PACER_ENOMEM, "no memory to check the document");
}

static bool check_const(const struct subject *s, const struct pcr_keyword *k) {
    char want[80];
    char out[80];
    bool no_memory = false;
    if (pcr_json_equal(s->value, k->u.value, &no_memory))
        return true;
    if (no_memory)
        return could_not_look(s);
    return VIOLATION(s, "const", "expected %s, got %s",
                     yyjson_is_ctn(k->u.value) ? "the one value that the schema gives"
                                               : got(k->u.value, want),
                     got(s->value, out));
}

static void list_words(yyjson_val **values, size_t n, char *out, size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char word[80];
        const char *text = got(values[i], word);
        if (at + strlen(text) + 8 > out_bytes) {
            snprintf(out + at, out_bytes - at, ", ...");
            return;
        }
        at += (size_t)snprintf(out + at, out_bytes - at, i ? ", %s" : "%s", text);
    }
}

static bool check_enum(const struct subject *s, const struct pcr_keyword *k) {
    size_t n = k->u.choice.n;
    bool no_memory = false;
    uint64_t hash = n > 8 ? pcr_json_hash(s->value) : 0;
    for (size_t i = 0; i < n; i++) {
        if ((n <= 8 || k->u.choice.hashes[i] == hash) &&
            pcr_json_equal(s->value, k->u.choice.values[i], &no_memory))
            return true;
    }
    if (no_memory)
        return could_not_look(s);
    char words[200];
    char out[80];
    list_words(k->u.choice.values, n, words, sizeof words);
    return VIOLATION(s, "enum", "expected one of %s, got %s", words, got(s->value, out));
}

// --- numbers ------------------------------------------------------------------------------------

static bool check_limit(const struct subject *s, const struct pcr_keyword *k) {
    int order = pcr_json_compare_numbers(s->value, k->u.value);
    const char *sign = NULL;
    switch (k->kind) {
    case PCR_KEYWORD_MINIMUM:
        sign = order < 0 ? "≥" : NULL;
        break;
    case PCR_KEYWORD_MAXIMUM:
        sign = order > 0 ? "≤" : NULL;
        break;
    case PCR_KEYWORD_EXCLUSIVE_MINIMUM:
        sign = order <= 0 ? ">" : NULL;
        break;
    default:
        sign = order >= 0 ? "<" : NULL;
        break;
    }
    char limit[80];
    char out[80];
    return !sign || VIOLATION(s, k->name, "expected a number %s %s, got %s", sign,
                              got(k->u.value, limit), got(s->value, out));
}

static bool check_multiple(const struct subject *s, const struct pcr_keyword *k) {
    char unit[80];
    char out[80];
    return pcr_json_is_multiple(s->value, k->u.value) ||
           VIOLATION(s, "multipleOf", "expected a multiple of %s, got %s", got(k->u.value, unit),
                     got(s->value, out));
}

// --- strings ------------------------------------------------------------------------------------

static bool check_length(const struct subject *s, const struct pcr_keyword *k) {
    bool min = k->kind == PCR_KEYWORD_MIN_LENGTH;
    size_t bytes = yyjson_get_len(s->value);
    if (min ? bytes / 4 >= k->u.count && bytes : bytes <= k->u.count)
        return true; // a character has one to four bytes, so most need no counting
    size_t length = length_of(s->value);
    if (min ? length >= k->u.count : length <= k->u.count)
        return true;
    char out[80];
    return VIOLATION(s, k->name, "expected at %s %llu characters, got %zu: %s",
                     min ? "least" : "most", (unsigned long long)k->u.count, length,
                     got(s->value, out));
}

// 1, 0, or -1 after the check was broken off.
static int matches(struct pcr_run *run, const struct pcr_regex *regex, struct pcr_str text) {
    run->steps += 4 + text.len / 64;
    int rc = pcr_regex_match(regex, text, &run->regex);
    if (rc >= 0)
        return rc;
    pcr_run_stop(run, rc,
                 rc == PACER_ENOMEM ? "no memory to match a pattern"
                                    : "a pattern of the schema needs too many steps");
    return -1;
}

static bool check_pattern(const struct subject *s, const struct pcr_keyword *k) {
    int found = matches(s->run, k->u.pattern.regex, pcr_json_str(s->value));
    if (found != 0)
        return found > 0;
    char out[80];
    size_t n = k->u.pattern.text.len;
    return VIOLATION(s, "pattern", "expected text that matches %.*s, got %s",
                     n > 120 ? 120 : (int)n, k->u.pattern.text.ptr, got(s->value, out));
}

static bool check_format(const struct subject *s, const struct pcr_keyword *k) {
    char out[80];
    s->run->steps += yyjson_get_len(s->value) / 64;
    return k->u.format->check(pcr_json_str(s->value)) ||
           VIOLATION(s, "format", "expected %s, got %s", k->u.format->expected, got(s->value, out));
}

// --- arrays -------------------------------------------------------------------------------------

static bool check_size(const struct subject *s, const struct pcr_keyword *k) {
    bool min = k->kind == PCR_KEYWORD_MIN_ITEMS || k->kind == PCR_KEYWORD_MIN_PROPERTIES;
    bool object = yyjson_is_obj(s->value);
    size_t n = yyjson_get_len(s->value);
    return (min ? n >= k->u.count : n <= k->u.count) ||
           VIOLATION(s, k->name, "expected at %s %llu %s, got %zu", min ? "least" : "most",
                     (unsigned long long)k->u.count, object ? "members" : "items", n);
}

static bool check_unique(const struct subject *s) {
    size_t first;
    size_t second;
    bool no_memory;
    s->run->steps += yyjson_arr_size(s->value) / 4;
    if (pcr_json_find_twins(s->value, &first, &second, &no_memory))
        return VIOLATION(s, "uniqueItems",
                         "expected items that all differ, got items %zu and %zu equal", first,
                         second);
    return !no_memory || could_not_look(s);
}

// Goes on after a fault only where faults are recorded.
static bool go_on(const struct pcr_run *run, bool ok) {
    return run->rc == 0 && (ok || run->quiet == 0);
}

static bool check_items(const struct subject *s, const struct pcr_keyword *k) {
    size_t n = yyjson_arr_size(s->value);
    yyjson_val *item = n ? unsafe_yyjson_get_first(s->value) : NULL;
    bool ok = true;
    for (size_t i = 0; i < n && go_on(s->run, ok); i++, item = unsafe_yyjson_get_next(item)) {
        const struct pcr_node *node =
            i < k->u.items.prefix.n ? k->u.items.prefix.nodes[i] : k->u.items.rest;
        if (!node)
            break;
        const struct pcr_at here = {s->at, NULL, i};
        ok &= apply(s->run, node, item, &here, NULL);
        seen_add(s->seen, i);
    }
    return ok;
}

static bool check_contains(const struct subject *s, const struct pcr_keyword *k) {
    size_t n = yyjson_arr_size(s->value);
    yyjson_val *item = n ? unsafe_yyjson_get_first(s->value) : NULL;
    uint64_t found = 0;
    s->run->quiet++;
    for (size_t i = 0; i < n && s->run->rc == 0; i++, item = unsafe_yyjson_get_next(item)) {
        const struct pcr_at here = {s->at, NULL, i};
        if (!apply(s->run, k->u.contains.node, item, &here, NULL))
            continue;
        found++;
        seen_add(s->seen, i);
    }
    s->run->quiet--;
    if (s->run->rc < 0)
        return false;
    if (found < k->u.contains.min)
        return VIOLATION(s, k->u.contains.min == 1 ? "contains" : "minContains",
                         "expected at least %llu items like the schema in \"contains\", got %llu",
                         (unsigned long long)k->u.contains.min, (unsigned long long)found);
    return found <= k->u.contains.max ||
           VIOLATION(s, "maxContains",
                     "expected at most %llu items like the schema in \"contains\", got %llu",
                     (unsigned long long)k->u.contains.max, (unsigned long long)found);
}

// --- objects ------------------------------------------------------------------------------------

static const struct pcr_name *find_name(const struct pcr_members *m, struct pcr_str text,
                                        size_t *index) {
    if (m->names_n == 0)
        return NULL;
    uint32_t hash = (uint32_t)pcr_str_hash(text, 0);
    for (size_t slot = hash & (m->slots_cap - 1); m->slots[slot];
         slot = (slot + 1) & (m->slots_cap - 1)) {
        *index = m->slots[slot] - 1;
        if (m->names[*index].hash == hash && pcr_str_eq(m->names[*index].text, text))
            return &m->names[*index];
    }
    return NULL;
}

static bool refuse_member(const struct subject *s, const char *keyword, yyjson_val *member,
                          const struct pcr_at *here) {
    char name[80];
    return pcr_run_violation(s->run, s->node, keyword, member, here,
                             "expected no such member, got %s", got(here->key, name));
}

// One member held against all that speaks of its name.
static bool check_member(const struct subject *s, const struct pcr_members *m,
                         const struct pcr_name *name, const struct pcr_at *here) {
    yyjson_val *member = here->key + 1;
    bool ok = true;
    bool spoken_of = name && name->node;
    if (spoken_of)
        ok = apply(s->run, name->node, member, here, NULL);
    for (size_t p = 0; p < m->patterns_n && go_on(s->run, ok); p++) {
        int found = matches(s->run, m->patterns[p].regex, pcr_json_str(here->key));
        if (found < 0)
            return false;
        if (found == 0)
            continue;
        spoken_of = true;
        ok &= apply(s->run, m->patterns[p].node, member, here, NULL);
    }
    if (!spoken_of && m->additional) {
        spoken_of = true;
        ok &= m->additional->boolean == 0 ? refuse_member(s, "additionalProperties", member, here)
                                          : apply(s->run, m->additional, member, here, NULL);
    }
    if (spoken_of)
        seen_add(s->seen, here->index);
    return ok;
}

static bool check_required(const struct subject *s, const struct pcr_members *m,
                           const struct seen *present) {
    bool ok = true;
    for (size_t i = 0; i < m->names_n && go_on(s->run, ok); i++) {
        char shown[80];
        if (!m->names[i].required || seen_has(present, i))
            continue;
        struct pcr_str name = m->names[i].text;
        snprintf(shown, sizeof shown, "%.*s", name.len > 79 ? 79 : (int)name.len, name.ptr);
        ok = VIOLATION(s, "required", "expected the member \"%s\", which is missing", shown);
    }
    return ok;
}

static bool check_needs(const struct subject *s, const struct pcr_members *m,
                        const struct pcr_name *name, const struct seen *present) {
    bool ok = true;
    for (size_t i = 0; i < name->needs_n && go_on(s->run, ok); i++) {
        struct pcr_str needed = m->names[name->needs[i]].text;
        if (seen_has(present, name->needs[i]))
            continue;
        ok = VIOLATION(s, "dependentRequired",
                       "expected the member \"%.*s\", which is missing, because \"%.*s\" is there",
                       needed.len > 60 ? 60 : (int)needed.len, needed.ptr,
                       name->text.len > 60 ? 60 : (int)name->text.len, name->text.ptr);
    }
    return ok;
}

static bool check_dependents(const struct subject *s, const struct pcr_members *m,
                             const struct seen *present) {
    bool ok = true;
    for (size_t i = 0; i < m->names_n && go_on(s->run, ok); i++) {
        const struct pcr_name *name = &m->names[i];
        if (!seen_has(present, i))
            continue;
        ok &= check_needs(s, m, name, present);
        if (name->dependent && go_on(s->run, ok))
            ok &= apply(s->run, name->dependent, s->value, s->at, s->seen);
    }
    return ok;
}

static bool check_members(const struct subject *s, const struct pcr_keyword *k) {
    const struct pcr_members *m = k->u.members;
    struct seen present;
    if (!seen_init(s->run, &present, m->names_n))
        return false;
    size_t n = yyjson_obj_size(s->value);
    yyjson_val *key = n ? unsafe_yyjson_get_first(s->value) : NULL;
    bool ok = true;
    for (size_t i = 0; i < n && go_on(s->run, ok); i++, key = unsafe_yyjson_get_next(key + 1)) {
        size_t index = 0;
        const struct pcr_name *name = find_name(m, pcr_json_str(key), &index);
        if (name)
            seen_add(&present, index);
        const struct pcr_at here = {s->at, key, i};
        ok &= check_member(s, m, name, &here);
    }
    if (m->has_required && go_on(s->run, ok))
        ok &= check_required(s, m, &present);
    if (m->has_dependents && go_on(s->run, ok))
        ok &= check_dependents(s, m, &present);
    seen_fini(&present);
    return ok;
}

static bool check_names(const struct subject *s, const struct pcr_keyword *k) {
    size_t n = yyjson_obj_size(s->value);
    yyjson_val *key = n ? unsafe_yyjson_get_first(s->value) : NULL;
    bool ok = true;
    for (size_t i = 0; i < n && go_on(s->run, ok); i++, key = unsafe_yyjson_get_next(key + 1)) {
        const struct pcr_at here = {s->at, key, i};
        ok &= apply(s->run, k->u.node, key, &here, NULL);
    }
    return ok;
}

// --- alternatives -------------------------------------------------------------------------------

// The verdict alone. What the schema looked at counts only if it holds.
static bool holds(const struct subject *s, const struct pcr_node *node) {
    struct seen own;
    if (s->seen && !seen_init(s->run, &own, yyjson_get_len(s->value)))
        return false;
    s->run->quiet++;
    bool ok = apply(s->run, node, s->value, s->at, s->seen ? &own : NULL);
    s->run->quiet--;
    if (s->seen) {
        if (ok)
            seen_merge(s->seen, &own);
        seen_fini(&own);
    }
    return ok;
}

static bool check_all_of(const struct subject *s, const struct pcr_keyword *k) {
    bool ok = true;
    for (size_t i = 0; i < k->u.list.n && go_on(s->run, ok); i++)
        ok &= apply(s->run, k->u.list.nodes[i], s->value, s->at, s->seen);
    return ok;
}

static bool check_any_of(const struct subject *s, const struct pcr_keyword *k) {
    bool any = false;
    // All of them have a say in what was looked at; else the first that holds is enough.
    for (size_t i = 0; i < k->u.list.n && s->run->rc == 0 && (!any || s->seen); i++)
        any |= holds(s, k->u.list.nodes[i]);
    char out[80];
    return any || VIOLATION(s, "anyOf", "expected to match at least one of %zu schemas, got %s",
                            k->u.list.n, got(s->value, out));
}

static bool check_one_of(const struct subject *s, const struct pcr_keyword *k) {
    size_t found[2] = {0, 0};
    size_t n = 0;
    for (size_t i = 0; i < k->u.list.n && s->run->rc == 0 && n < 2; i++) {
        if (holds(s, k->u.list.nodes[i]))
            found[n++] = i;
    }
    char out[80];
    if (n == 0)
        return VIOLATION(s, "oneOf", "expected to match one of %zu schemas, got %s", k->u.list.n,
                         got(s->value, out));
    return n == 1 ||
           VIOLATION(s, "oneOf", "expected to match only one of %zu schemas, matches %zu and %zu",
                     k->u.list.n, found[0], found[1]);
}

static bool check_not(const struct subject *s, const struct pcr_keyword *k) {
    char out[80];
    const struct subject without = {s->run, s->node, s->value, s->at, NULL};
    return !holds(&without, k->u.node) ||
           VIOLATION(s, "not", "expected not to match the schema in \"not\", got %s",
                     got(s->value, out));
}

static bool check_branch(const struct subject *s, const struct pcr_keyword *k) {
    const struct pcr_node *next =
        holds(s, k->u.branch.test) ? k->u.branch.then : k->u.branch.otherwise;
    return s->run->rc == 0 && (!next || apply(s->run, next, s->value, s->at, s->seen));
}

// --- references ---------------------------------------------------------------------------------

// The anchor of that name in the outermost resource that was entered and has it.
static const struct pcr_node *outermost(const struct pcr_scope *scope, struct pcr_str name) {
    const struct pcr_node *found = NULL;
    for (; scope; scope = scope->outer) {
        for (const struct pcr_anchor *a = scope->resource->anchors; a; a = a->next) {
            if (a->dynamic && a->node && pcr_str_eq(a->name, name))
                found = a->node;
        }
    }
    return found;
}

static bool check_ref(const struct subject *s, const struct pcr_keyword *k) {
    const struct pcr_node *target = k->u.ref.target;
    if (k->u.ref.dynamic.ptr) {
        const struct pcr_node *found = outermost(s->run->scope, k->u.ref.dynamic);
        target = found ? found : target;
    }
    return apply(s->run, target, s->value, s->at, s->seen);
}

// --- what nobody looked at ----------------------------------------------------------------------

static bool check_unevaluated(const struct subject *s, const struct pcr_keyword *k) {
    PCR_ASSERT(s->seen); // kept wherever this keyword may be met
    bool object = k->kind == PCR_KEYWORD_UNEVALUATED_PROPERTIES;
    size_t n = yyjson_get_len(s->value);
    yyjson_val *item = n ? unsafe_yyjson_get_first(s->value) : NULL;
    bool ok = true;
    for (size_t i = 0; i < n && go_on(s->run, ok); i++) {
        yyjson_val *key = object ? item++ : NULL;
        const struct pcr_at here = {s->at, key, i};
        if (!seen_has(s->seen, i)) {
            ok &= object && k->u.node->boolean == 0 ? refuse_member(s, k->name, item, &here)
                                                    : apply(s->run, k->u.node, item, &here, NULL);
            seen_add(s->seen, i);
        }
        item = unsafe_yyjson_get_next(item);
    }
    return ok;
}

// --- the whole ----------------------------------------------------------------------------------

static bool check(const struct subject *s, const struct pcr_keyword *k) {
    switch (k->kind) {
    case PCR_KEYWORD_REF:
    case PCR_KEYWORD_DYNAMIC_REF:
        return check_ref(s, k);
    case PCR_KEYWORD_TYPE:
        return check_type(s, k);
    case PCR_KEYWORD_CONST:
        return check_const(s, k);
    case PCR_KEYWORD_ENUM:
        return check_enum(s, k);
    case PCR_KEYWORD_MINIMUM:
    case PCR_KEYWORD_MAXIMUM:
    case PCR_KEYWORD_EXCLUSIVE_MINIMUM:
    case PCR_KEYWORD_EXCLUSIVE_MAXIMUM:
        return check_limit(s, k);
    case PCR_KEYWORD_MULTIPLE_OF:
        return check_multiple(s, k);
    case PCR_KEYWORD_MIN_LENGTH:
    case PCR_KEYWORD_MAX_LENGTH:
        return check_length(s, k);
    case PCR_KEYWORD_PATTERN:
        return check_pattern(s, k);
    case PCR_KEYWORD_FORMAT:
        return check_format(s, k);
    case PCR_KEYWORD_MIN_ITEMS:
    case PCR_KEYWORD_MAX_ITEMS:
    case PCR_KEYWORD_MIN_PROPERTIES:
    case PCR_KEYWORD_MAX_PROPERTIES:
        return check_size(s, k);
    case PCR_KEYWORD_UNIQUE_ITEMS:
        return check_unique(s);
    case PCR_KEYWORD_ITEMS:
        return check_items(s, k);
    case PCR_KEYWORD_CONTAINS:
        return check_contains(s, k);
    case PCR_KEYWORD_PROPERTY_NAMES:
        return check_names(s, k);
    case PCR_KEYWORD_MEMBERS:
        return check_members(s, k);
    case PCR_KEYWORD_ALL_OF:
        return check_all_of(s, k);
    case PCR_KEYWORD_ANY_OF:
        return check_any_of(s, k);
    case PCR_KEYWORD_ONE_OF:
        return check_one_of(s, k);
    case PCR_KEYWORD_NOT:
        return check_not(s, k);
    case PCR_KEYWORD_IF:
        return check_branch(s, k);
    case PCR_KEYWORD_UNEVALUATED_ITEMS:
    case PCR_KEYWORD_UNEVALUATED_PROPERTIES:
        return check_unevaluated(s, k);
    }
    pcr_assert_failed("a keyword of no kind", __FILE__, __LINE__, __func__);
}

static bool check_keywords(const struct subject *s) {
    unsigned type = type_of(s->value);
    bool ok = true;
    for (size_t i = 0; i < s->node->keywords_n && go_on(s->run, ok); i++) {
        const struct pcr_keyword *k = &s->node->keywords[i];
        bool last = k->kind >= PCR_KEYWORD_UNEVALUATED_ITEMS;
        if ((k->types & type) &&
            (ok || !last)) // a schema that fails says nothing of what it looked at
            ok &= check(s, k);
    }
    return ok;
}

// A schema with an unevaluated keyword sees what itself and its parts looked at, not what its
// neighbours did.
static bool check_tracking(const struct subject *outer) {
    struct seen own;
    if (!seen_init(outer->run, &own, yyjson_get_len(outer->value)))
        return false;
    const struct subject s = {outer->run, outer->node, outer->value, outer->at, &own};
    bool ok = check_keywords(&s);
    if (outer->seen && ok)
        seen_merge(outer->seen, &own);
    seen_fini(&own);
    return ok;
}

static bool apply(struct pcr_run *run, const struct pcr_node *node, yyjson_val *value,
                  const struct pcr_at *at, struct seen *seen) {
    if (++run->steps > PCR_SCHEMA_STEPS_MAX)
        return pcr_run_stop(run, PACER_ELIMIT, "checking takes more steps than are allowed");
    if (node->boolean >= 0)
        return node->boolean ||
               pcr_run_violation(run, node, "", value, at, "expected nothing here");
    if (run->depth >= PCR_SCHEMA_APPLY_DEPTH_MAX)
        return pcr_run_stop(run, PACER_ELIMIT, "schemas are nested more deeply than is allowed");
    run->depth++;
    const struct pcr_scope *outer = run->scope;
    const struct pcr_scope scope = {node->resource, outer};
    if (!outer || outer->resource != node->resource)
        run->scope = &scope; // cppcheck-suppress autoVariables; taken back below
    const struct subject s = {run, node, value, at, yyjson_is_ctn(value) ? seen : NULL};
    bool ok = node->tracks && yyjson_is_ctn(value) ? check_tracking(&s) : check_keywords(&s);
    run->scope = outer;
    run->depth--;
    return ok && run->rc == 0;
}

bool pcr_schema_apply(struct pcr_run *run, const struct pcr_node *node, yyjson_val *value) {
    return apply(run, node, value, NULL, NULL);
}
