// SPDX-License-Identifier: Apache-2.0
// Reading JSON from people we do not trust.
//
// yyjson reads the text; this file does what it leaves open. Before it: one pass that only knows
// strings and brackets bounds the nesting, because the walks over a parsed document (ours and
// yyjson's) recurse. After it: duplicate member names, which RFC 8259 leaves undefined and which
// attackers use to show two readers two documents.
//
// The text is copied once into the arena and read in place. A string value therefore points at its
// own place in the copy, so a duplicate name can be reported with line and column although yyjson
// keeps no positions.
//
// Duplicates are looked for pairwise in small objects and by a hash table in large ones. The hash
// is seeded once per process, so nobody can choose names that collide. Rejected: sorting (ten times
// slower for large objects and no safer).
#include "json/json_priv.h"

#include "base/rand.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#define COMPONENT "json"
#define EXCERPT_BEFORE 16
#define EXCERPT_AFTER 16
#define PAIRWISE_MAX 12
#define PADDING_BYTES 8 // what is read eight bytes at a time; yyjson wants four

_Static_assert(PADDING_BYTES >= YYJSON_PADDING_SIZE, "yyjson reads past the end");

// --- where it went wrong ------------------------------------------------------------------------

struct place {
    size_t line;
    size_t column; // in characters
    char excerpt[4 * (EXCERPT_BEFORE + EXCERPT_AFTER) + 16];
};

static bool is_continuation(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

// The text around `offset` on one line, with what cannot be printed as '?'.
static void cut_excerpt(struct place *place, struct pcr_str text, size_t offset) {
    size_t from = offset > EXCERPT_BEFORE ? offset - EXCERPT_BEFORE : 0;
    size_t to = text.len - offset > EXCERPT_AFTER ? offset + EXCERPT_AFTER : text.len;
    while (from < offset && is_continuation(text.ptr[from]))
        from++;
    char *out = place->excerpt;
    const char *end = text.ptr + to;
    for (const char *at = text.ptr + from; at < end;) {
        size_t n = pcr_json_utf8_sequence(at, end);
        if (n == 0 || (unsigned char)*at < ' ' || *at == 0x7f) {
            *out++ = n && (*at == '\n' || *at == '\t' || *at == '\r') ? ' ' : '?';
            at++;
            continue;
        }
        memcpy(out, at, n);
        out += n;
        at += n;
    }
    *out = '\0';
}

static struct place find_place(struct pcr_str text, size_t offset) {
    struct place place = {.line = 1, .column = 1};
    if (offset > text.len)
        offset = text.len;
    for (size_t i = 0; i < offset; i++) {
        if (text.ptr[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if (!is_continuation(text.ptr[i])) {
            place.column++;
        }
    }
    cut_excerpt(&place, text, offset);
    return place;
}

struct reader {
    struct pcr_str text;
    const char *what;
    struct pacer_error *err;
};

static int fail_at(const struct reader *reader, int code, size_t offset, const char *problem) {
    struct place place = find_place(reader->text, offset);
    return pcr_err_at(reader->err, code, COMPONENT, offset,
                      "%s, line %zu, column %zu: %s, near \"%s\"", reader->what, place.line,
                      place.column, problem, place.excerpt);
}

// --- nesting ------------------------------------------------------------------------------------

// Eight bytes at a time: the high bit of each byte that is `byte`. Borrows may set bits above the
// first true one, so only the lowest is to be believed.
static uint64_t find_byte(uint64_t eight, unsigned char byte) {
    uint64_t x = eight ^ (0x0101010101010101u * byte);
    return (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;
}

static uint64_t load_eight(const char *at) {
    uint64_t eight;
    memcpy(&eight, at, sizeof eight);
    return le64toh(eight);
}

// Past the closing quote of a string, or `end` or later; `at` is behind the opening one. The text
// is padded.
static const char *skip_string(const char *at, const char *end) {
    while (at < end) {
        uint64_t eight = load_eight(at);
        uint64_t found = find_byte(eight, '"') | find_byte(eight, '\\');
        if (!found) {
            at += 8;
            continue;
        }
        at += __builtin_ctzll(found) / 8;
        if (*at == '"')
            return at + 1;
        at += 2;
    }
    return at;
}

// The next quote or bracket, or `end` or later. '[' and '{', ']' and '}' differ by 0x20 only.
static const char *next_mark(const char *at, const char *end) {
    while (at < end) {
        uint64_t eight = load_eight(at);
        uint64_t folded = eight | 0x2020202020202020u;
        uint64_t found = find_byte(eight, '"') | find_byte(folded, '{') | find_byte(folded, '}');
        if (found)
            return at + __builtin_ctzll(found) / 8;
        at += 8;
    }
    return at;
}

static int check_depth(const struct reader *reader, size_t depth_max) {
    const char *end = reader->text.ptr + reader->text.len;
    size_t depth = 0;
    for (const char *at = next_mark(reader->text.ptr, end); at < end; at = next_mark(at, end)) {
        char c = *at++;
        if (c == '"') {
            at = skip_string(at, end);
        } else if (c == '[' || c == '{') {
            if (++depth > depth_max) {
                char problem[80];
                snprintf(problem, sizeof problem, "nested deeper than the %zu levels allowed",
                         depth_max);
                return fail_at(reader, PACER_ELIMIT, (size_t)(at - 1 - reader->text.ptr), problem);
            }
        } else if (depth > 0) {
            depth--;
        }
    }
    return 0;
}

// --- yyjson -------------------------------------------------------------------------------------

static void *arena_malloc(void *ctx, size_t size) {
    return pcr_arena_alloc(ctx, size);
}

static void *arena_realloc(void *ctx, void *ptr, size_t old_size, size_t size) {
    if (size <= old_size)
        return ptr;
    void *bigger = pcr_arena_alloc(ctx, size);
    if (bigger)
        memcpy(bigger, ptr, old_size);
    return bigger;
}

static void arena_free(void *ctx, void *ptr) {
    (void)ctx;
    (void)ptr;
}

static bool starts_nocase(struct pcr_str text, size_t offset, const char *word) {
    size_t n = strlen(word);
    return offset <= text.len && text.len - offset >= n &&
           pcr_str_eq_nocase((struct pcr_str){text.ptr + offset, n}, (struct pcr_str){word, n});
}

static const char *number_problem(struct pcr_str text, size_t offset) {
    size_t at = offset < text.len && (text.ptr[offset] == '-' || text.ptr[offset] == '+')
                    ? offset + 1
                    : offset;
    if (starts_nocase(text, at, "nan") || starts_nocase(text, at, "inf"))
        return "NaN and Infinity are not JSON; use null or leave the member out";
    return NULL;
}

static const char *problem_of(const struct yyjson_read_err *error, struct pcr_str text) {
    const char *number = number_problem(text, error->pos);
    if (number)
        return number;
    if (error->code == YYJSON_READ_ERROR_UNEXPECTED_END)
        return "the text ends in the middle of a value";
    if (error->code == YYJSON_READ_ERROR_UNEXPECTED_CONTENT)
        return "unexpected content after the end of the document";
    if (error->code == YYJSON_READ_ERROR_INVALID_NUMBER && strstr(error->msg, "infinity"))
        return "the number is outside the range of a 64-bit float (about ±1.8e308)";
    return error->msg;
}

static int refuse_syntax(const struct reader *reader, const struct yyjson_read_err *error) {
    if (error->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return pcr_err(reader->err, PACER_ENOMEM, COMPONENT,
                       "%s: no memory to read %zu bytes of JSON", reader->what, reader->text.len);
    const char *end = reader->text.ptr + reader->text.len;
    if (error->pos < reader->text.len &&
        pcr_json_utf8_sequence(reader->text.ptr + error->pos, end) == 0)
        return fail_at(reader, PACER_ESYNTAX, error->pos, "invalid UTF-8");
    return fail_at(reader, PACER_ESYNTAX, error->pos, problem_of(error, reader->text));
}

// --- duplicate names ----------------------------------------------------------------------------

struct name_table {
    yyjson_val **slots;
    size_t cap; // a power of two
};

static bool same_name(yyjson_val *a, yyjson_val *b) {
    size_t n = yyjson_get_len(a);
    return n == yyjson_get_len(b) && memcmp(yyjson_get_str(a), yyjson_get_str(b), n) == 0;
}

static yyjson_val *next_key(yyjson_val *key) {
    return unsafe_yyjson_get_next(key + 1);
}

static yyjson_val *duplicate_pairwise(yyjson_val *object, size_t n) {
    yyjson_val *keys[PAIRWISE_MAX];
    yyjson_val *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < n; i++, key = next_key(key)) {
        for (size_t j = 0; j < i; j++) {
            if (same_name(keys[j], key))
                return key;
        }
        keys[i] = key;
    }
    return NULL;
}

static bool make_table(struct name_table *table, size_t n) {
    size_t cap = 64;
    while (cap < 2 * n)
        cap *= 2;
    if (cap > table->cap) {
        free(table->slots);
        table->slots = malloc(cap * sizeof *table->slots);
        table->cap = table->slots ? cap : 0;
    }
    if (table->slots)
        memset(table->slots, 0, table->cap * sizeof *table->slots);
    return table->slots != NULL;
}

static yyjson_val *duplicate_hashed(struct name_table *table, yyjson_val *object, size_t n) {
    uint64_t seed = pcr_rand_process_seed();
    yyjson_val *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < n; i++, key = next_key(key)) {
        size_t slot = pcr_str_hash(pcr_json_str(key), seed);
        for (slot &= table->cap - 1; table->slots[slot]; slot = (slot + 1) & (table->cap - 1)) {
            if (same_name(table->slots[slot], key))
                return key;
        }
        table->slots[slot] = key;
    }
    return NULL;
}

// yyjson keeps all values of a document in one array,
// so a walk over it meets every object without recursion.
static int find_duplicate(yyjson_doc *doc, yyjson_val **duplicate) {
    struct name_table table = {0};
    yyjson_val *val = yyjson_doc_get_root(doc);
    const yyjson_val *end = val + yyjson_doc_get_val_count(doc);
    int rc = 0;
    *duplicate = NULL;
    for (; val < end && !*duplicate && rc == 0; val++) {
        size_t n = yyjson_obj_size(val);
        if (n < 2)
            continue;
        if (n <= PAIRWISE_MAX)
            *duplicate = duplicate_pairwise(val, n);
        else if (make_table(&table, n))
            *duplicate = duplicate_hashed(&table, val, n);
        else
            rc = PACER_ENOMEM;
    }
    free(table.slots);
    return rc;
}

static int check_duplicates(const struct reader *reader, yyjson_doc *doc, const char *copy) {
    yyjson_val *duplicate;
    if (find_duplicate(doc, &duplicate) < 0)
        return pcr_err(reader->err, PACER_ENOMEM, COMPONENT,
                       "%s: no memory to look for duplicate member names", reader->what);
    if (!duplicate)
        return 0;
    char problem[120];
    char name[64];
    pcr_json_describe(duplicate, name, sizeof name); // the string "name"
    snprintf(problem, sizeof problem, "the member name %s occurs twice in one object",
             strchr(name, '"'));
    return fail_at(reader, PACER_ESYNTAX, (size_t)(yyjson_get_str(duplicate) - copy), problem);
}

int pcr_json_parse(struct pcr_arena *arena, struct pcr_str text,
                   const struct pcr_json_options *options, yyjson_val **root,
                   struct pacer_error *err) {
    static const struct pcr_json_options defaults = {0};
    if (!options)
        options = &defaults;
    size_t depth_max = options->depth_max ? options->depth_max : PCR_JSON_DEPTH_MAX;
    if (depth_max > PCR_JSON_DEPTH_HARD_MAX)
        depth_max = PCR_JSON_DEPTH_HARD_MAX;
    struct reader reader = {text, options->what ? options->what : "JSON", err};
    *root = NULL;
    if (text.len == 0)
        return pcr_err(err, PACER_ESYNTAX, COMPONENT, "%s: empty, expected a JSON document",
                       reader.what);
    char *copy = text.len > SIZE_MAX - PADDING_BYTES
                     ? NULL
                     : pcr_arena_alloc(arena, text.len + PADDING_BYTES);
    if (!copy)
        return pcr_err(err, PACER_ENOMEM, COMPONENT, "%s: no memory to read %zu bytes of JSON",
                       reader.what, text.len);
    memcpy(copy, text.ptr, text.len);
    memset(copy + text.len, 0, PADDING_BYTES);
    int rc = check_depth(&(struct reader){{copy, text.len}, reader.what, err}, depth_max);
    if (rc < 0)
        return rc;
    const yyjson_alc alc = {arena_malloc, arena_realloc, arena_free, arena};
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts(copy, text.len, YYJSON_READ_INSITU, &alc, &error);
    if (!doc)
        return refuse_syntax(&reader, &error);
    if (!options->duplicates_ok && (rc = check_duplicates(&reader, doc, copy)) < 0)
        return rc;
    *root = yyjson_doc_get_root(doc);
    return 0;
}
