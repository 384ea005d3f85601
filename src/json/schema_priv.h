// SPDX-License-Identifier: Apache-2.0
// JSON Schema inside the json room: what is compiled, and who does which part.
//
//   schema_load.c     documents, resources ($id), anchors, references, local files
//   schema_compile.c  a schema's members become keywords
//   schema_check.c    keywords held against a value
//   schema_report.c   violations and their words
//   compare.c         numbers, equality, uniqueness      format.c  the formats
//   regex.c           ECMA-262 patterns by PCRE2         uri.c     references (RFC 3986)
//   contract.c        the public face
#ifndef PCR_SCHEMA_PRIV_H
#define PCR_SCHEMA_PRIV_H

#include "json/json_priv.h"

#include <pacer/contract.h>
#include <stdatomic.h>

#define PCR_SCHEMA_COMPONENT "contract"
#define PCR_SCHEMA_BYTES_MAX ((size_t)16 << 20) // of one schema document
#define PCR_SCHEMA_ARENA_MAX ((size_t)512 << 20)
#define PCR_SCHEMA_DOCUMENTS_MAX 256
#define PCR_SCHEMA_APPLY_DEPTH_MAX 1000 // schemas within schemas at one moment of a check
#define PCR_SCHEMA_STEPS_MAX \
    4000000ull // schemas applied in one check, regular expressions charged by length
#define PCR_SCHEMA_VIOLATIONS_MAX 1000
#define PCR_SCHEMA_RUNS_KEPT 8

// --- compare.c ----------------------------------------------------------------------------------

// -1, 0, 1; exact for every mix of integers and floats.
int pcr_json_compare_numbers(yyjson_val *a, yyjson_val *b);
bool pcr_json_is_integer(yyjson_val *value); // 1.0 is one
// Is `a` a whole multiple of `b`, both taken as the decimals they are written as? `b` is positive.
bool pcr_json_is_multiple(yyjson_val *a, yyjson_val *b);
// Equality of JSON Schema: 1 equals 1.0, member order does not matter.
// *out_of_memory is set, and "not equal" said, if it could not look; never cleared.
bool pcr_json_equal(yyjson_val *a, yyjson_val *b, bool *out_of_memory);
// Equal values have equal hashes.
uint64_t pcr_json_hash(yyjson_val *value);
// Finds two equal items; false if there are none. *out_of_memory is set if it could not look.
bool pcr_json_find_twins(yyjson_val *array, size_t *first, size_t *second, bool *out_of_memory);

// The shortest decimal of a number: digits * 10^exponent, sign apart.
struct pcr_json_decimal {
    uint64_t digits;
    int exponent;
};
struct pcr_json_decimal pcr_json_decimal_of(double value);

// --- format.c -----------------------------------------------------------------------------------

typedef bool (*pcr_format_fn)(struct pcr_str text);
struct pcr_format {
    const char *name;
    pcr_format_fn check;
    const char *expected; // for messages: "a date (2024-12-31)"
};
const struct pcr_format *pcr_format_find(struct pcr_str name); // NULL: an annotation

// --- regex.c ------------------------------------------------------------------------------------

struct pcr_regex;
struct pcr_regex_scratch;
// Compiles an ECMA-262 pattern;
// on failure NULL with the reason in why[]. Freed by pcr_regex_destroy.
struct pcr_regex *pcr_regex_create(struct pcr_str pattern, char *why, size_t why_bytes);
void pcr_regex_destroy(struct pcr_regex *regex);
// 1 found, 0 not found, PACER_ELIMIT too much backtracking, PACER_ENOMEM.
// *scratch is made on first use.
int pcr_regex_match(const struct pcr_regex *regex, struct pcr_str text,
                    struct pcr_regex_scratch **scratch);
void pcr_regex_scratch_destroy(struct pcr_regex_scratch *scratch);

// --- uri.c --------------------------------------------------------------------------------------

// Resolves a reference (RFC 3986, section 5.2); without the fragment, which *fragment gets (ptr
// NULL: none).
char *pcr_uri_resolve(struct pcr_arena *arena, struct pcr_str base, struct pcr_str reference,
                      struct pcr_str *fragment);
bool pcr_uri_has_scheme(struct pcr_str uri);
// With %XX decoded; NULL without memory or where a sequence is broken.
char *pcr_uri_decode(struct pcr_arena *arena, struct pcr_str text, size_t *len);
// "file:///…" of an absolute path.
char *pcr_uri_of_path(struct pcr_arena *arena, const char *path);

// --- what is compiled ---------------------------------------------------------------------------

enum pcr_vocabulary {
    PCR_VOCABULARY_APPLICATOR = 1,
    PCR_VOCABULARY_UNEVALUATED = 2,
    PCR_VOCABULARY_VALIDATION = 4,
    PCR_VOCABULARY_FORMAT = 8,
    PCR_VOCABULARY_ALL = 15,
};

enum pcr_type {
    PCR_TYPE_NULL = 1,
    PCR_TYPE_BOOL = 2,
    PCR_TYPE_NUMBER = 4,
    PCR_TYPE_STRING = 8,
    PCR_TYPE_ARRAY = 16,
    PCR_TYPE_OBJECT = 32,
    PCR_TYPE_ANY = 63,
    PCR_TYPE_INTEGER = 64, // only in "type"
};

struct pcr_anchor {
    struct pcr_anchor *next;
    struct pcr_str name;
    yyjson_val *value;
    struct pcr_node *node; // dynamic ones, once compiled
    bool dynamic;
};

// A schema with an identifier of its own, or the root of a document.
struct pcr_resource {
    struct pcr_resource *next; // of all
    const char *uri;
    struct pcr_document *document;
    yyjson_val *root;
    struct pcr_anchor *anchors;
    unsigned vocabularies;
};

struct pcr_document {
    struct pcr_document *next;
    const char *uri;
    yyjson_val *root;
    size_t count;                   // values in it, all in one array from root
    struct pcr_resource **resource; // of every value that is a known schema, else NULL
    const char **pointer;           // its JSON pointer
    struct pcr_node **node;         // its compiled form, once asked for
    bool builtin;
};

struct pcr_node_list {
    struct pcr_node **nodes;
    size_t n;
};

enum pcr_keyword_kind {
    PCR_KEYWORD_REF,
    PCR_KEYWORD_DYNAMIC_REF,
    PCR_KEYWORD_TYPE,
    PCR_KEYWORD_CONST,
    PCR_KEYWORD_ENUM,
    PCR_KEYWORD_MINIMUM,
    PCR_KEYWORD_MAXIMUM,
    PCR_KEYWORD_EXCLUSIVE_MINIMUM,
    PCR_KEYWORD_EXCLUSIVE_MAXIMUM,
    PCR_KEYWORD_MULTIPLE_OF,
    PCR_KEYWORD_MIN_LENGTH,
    PCR_KEYWORD_MAX_LENGTH,
    PCR_KEYWORD_PATTERN,
    PCR_KEYWORD_FORMAT,
    PCR_KEYWORD_MIN_ITEMS,
    PCR_KEYWORD_MAX_ITEMS,
    PCR_KEYWORD_UNIQUE_ITEMS,
    PCR_KEYWORD_ITEMS,    // prefixItems, items
    PCR_KEYWORD_CONTAINS, // contains, minContains, maxContains
    PCR_KEYWORD_MIN_PROPERTIES,
    PCR_KEYWORD_MAX_PROPERTIES,
    PCR_KEYWORD_PROPERTY_NAMES,
    // properties, patternProperties, additionalProperties, required, dependent…
    PCR_KEYWORD_MEMBERS,
    PCR_KEYWORD_ALL_OF,
    PCR_KEYWORD_ANY_OF,
    PCR_KEYWORD_ONE_OF,
    PCR_KEYWORD_NOT,
    PCR_KEYWORD_IF, // if, then, else
    PCR_KEYWORD_UNEVALUATED_ITEMS,
    PCR_KEYWORD_UNEVALUATED_PROPERTIES,
};

// A member name that the schema speaks of.
struct pcr_name {
    struct pcr_str text;
    uint32_t hash;
    struct pcr_node *node;      // of properties, or NULL
    struct pcr_node *dependent; // of dependentSchemas, or NULL
    uint32_t *needs;            // of dependentRequired: indices of names
    size_t needs_n;
    bool required;
};

struct pcr_name_pattern {
    struct pcr_str text;
    struct pcr_regex *regex;
    struct pcr_node *node;
};

struct pcr_members {
    struct pcr_name *names; // in the schema's order
    size_t names_n;
    uint32_t *slots; // hash table of indices + 1; cap is a power of two
    size_t slots_cap;
    struct pcr_name_pattern *patterns;
    size_t patterns_n;
    struct pcr_node *additional; // or NULL
    bool has_dependents;
    bool has_required;
};

struct pcr_keyword {
    enum pcr_keyword_kind kind;
    unsigned types;   // of values it says something about
    const char *name; // as in the schema
    union {
        struct {
            struct pcr_node *target;
            struct pcr_str dynamic; // ptr NULL: like $ref
        } ref;
        unsigned type_mask;
        yyjson_val *value; // const, numeric limits, multipleOf
        struct {
            yyjson_val **values;
            uint64_t *hashes;
            size_t n;
        } choice;
        uint64_t count; // lengths and sizes
        struct {
            struct pcr_regex *regex;
            struct pcr_str text;
        } pattern;
        const struct pcr_format *format;
        struct {
            struct pcr_node_list prefix;
            struct pcr_node *rest;
        } items;
        struct {
            struct pcr_node *node;
            uint64_t min;
            uint64_t max;
        } contains;
        struct pcr_members *members;
        struct pcr_node *node;
        struct pcr_node_list list;
        struct {
            struct pcr_node *test;
            struct pcr_node *then;
            struct pcr_node *otherwise;
        } branch;
    } u;
};

struct pcr_node {
    const struct pcr_resource *resource;
    const struct pcr_document *document;
    yyjson_val *value;
    const char *pointer;
    struct pcr_keyword *keywords;
    size_t keywords_n;
    struct pcr_node *queued; // next to be compiled
    int boolean;             // 1 true, 0 false, -1 an object
    bool tracks;             // has unevaluatedProperties or unevaluatedItems
    unsigned char color;     // of the search for endless references
};

struct pcr_run;

struct pacer_contract {
    struct pcr_arena arena;
    struct pcr_node *root;
    struct pcr_document *own; // the document of root
    uint64_t digest;          // of the text of all documents
    const char *title;
    // Scratch of finished checks, so that the next one need not allocate. Each slot is
    // taken and given back by an atomic exchange; the acquire of the taker pairs with
    // the release of the giver.
    _Atomic(struct pcr_run *) runs[PCR_SCHEMA_RUNS_KEPT];
};

// --- schema_load.c ------------------------------------------------------------------------------

// A document that a test offers under a URI, as if it had been fetched.
struct pcr_schema_remote {
    const char *uri;
    struct pcr_str text;
};

struct pcr_schema_loader {
    struct pcr_arena *arena;
    struct pacer_error *err;
    struct pcr_map resources; // by URI without fragment
    struct pcr_resource *resource_list;
    struct pcr_document *documents;
    size_t documents_n;
    uint64_t digest;      // of their text
    const char *base_dir; // canonical, or NULL
    const struct pcr_schema_remote *remotes;
    size_t remotes_n;
    bool formats_annotate;
    bool dynamic_refs; // a $dynamicRef was seen
    struct pcr_node *queue_first;
    struct pcr_node **queue_last;
    int rc;
};

// Fails the load (only the first failure counts) and returns false.
__attribute__((format(printf, 3, 4))) bool pcr_schema_fail(struct pcr_schema_loader *loader,
                                                           int code, const char *format, ...);
bool pcr_schema_no_memory(struct pcr_schema_loader *loader);
struct pcr_document *pcr_schema_add_document(struct pcr_schema_loader *loader, const char *uri,
                                             struct pcr_str text);
// The compiled form of a value that is a known schema; queued for compiling if it is new.
struct pcr_node *pcr_schema_node(struct pcr_schema_loader *loader, struct pcr_document *document,
                                 yyjson_val *value);
// Where a reference leads. *anchor gets the anchor it named, or NULL.
struct pcr_node *pcr_schema_resolve(struct pcr_schema_loader *loader, const struct pcr_node *from,
                                    const char *keyword, struct pcr_str reference,
                                    struct pcr_anchor **anchor);

// --- schema_compile.c ---------------------------------------------------------------------------

// Compiles all queued nodes and what they lead to.
bool pcr_schema_compile(struct pcr_schema_loader *loader);
// Refuses references that come back to themselves without going deeper into the document.
bool pcr_schema_refuse_loops(struct pcr_schema_loader *loader);

// --- schema_check.c -----------------------------------------------------------------------------

// One step of the way from the document's root to a value.
struct pcr_at {
    const struct pcr_at *up;
    yyjson_val *key; // or NULL: index
    size_t index;
};

struct pcr_scope;
struct pcr_found;

struct pcr_run {
    struct pcr_arena arena; // of violations
    struct pcr_regex_scratch *regex;
    const struct pcr_document *own; // whose pointers are given without a URI
    const struct pcr_scope *scope;  // resources entered, for $dynamicRef
    struct pcr_found *found;        // violations, newest first
    size_t found_n;
    uint64_t steps;
    unsigned depth;
    unsigned quiet; // > 0: only the verdict is wanted
    int rc;         // why checking was broken off
    const char *rc_why;
};

struct pcr_run *pcr_run_create(void);
void pcr_run_destroy(struct pcr_run *run);
// Holds the value against the node. The verdict is true if all holds; look at run->rc first.
bool pcr_schema_apply(struct pcr_run *run, const struct pcr_node *node, yyjson_val *value);

// --- schema_report.c ----------------------------------------------------------------------------

struct pcr_found {
    struct pcr_found *next;
    struct pacer_violation violation;
    yyjson_val *value;
    size_t order;
};
// Records that `value` breaks `keyword` (a path below the node, "properties/x") and returns false.
__attribute__((format(printf, 6, 7))) bool
pcr_run_violation(struct pcr_run *run, const struct pcr_node *node, const char *keyword,
                  yyjson_val *value, const struct pcr_at *at, const char *format, ...);
// Breaks the check off and returns false.
bool pcr_run_stop(struct pcr_run *run, int code, const char *why);

// --- contract.c ---------------------------------------------------------------------------------

struct pcr_contract_source {
    struct pcr_str text;
    const char *uri; // of retrieval
    const char *base_dir;
    const struct pcr_schema_remote *remotes; // for tests
    size_t remotes_n;
    bool formats_annotate;
};
int pcr_contract_build(const struct pcr_contract_source *source, struct pacer_contract **out,
                       struct pacer_error *err);

// Built-in documents (metaschemas), generated.
extern const struct pcr_schema_remote pcr_schema_builtin[];
extern const size_t pcr_schema_builtin_n;

#endif
