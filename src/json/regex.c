// SPDX-License-Identifier: Apache-2.0
// Regular expressions of JSON Schema, which are ECMA-262's (with the u flag), by way of PCRE2.
//
// The two dialects overlap but are not the same, so a pattern is rewritten while it is read: what
// means something else in PCRE2 is spelled out (\s, the dot, empty classes, \p{Letter}), what only
// PCRE2 knows ((*VERB), (?i), possessive quantifiers, POSIX classes, \Q \K \A \Z) is refused or
// made literal. Nothing of the pattern reaches PCRE2 unread.
//
// A hostile pattern or text cannot hang a check: the number of steps, the depth and the memory of a
// match are limited, and a match that hits a limit is an error, not a verdict.
//
// Matching uses PCRE2's just-in-time compiler where the system allows one; where it does
// not, the interpreter. Rejected: POSIX regcomp (another dialect, no limits), a matcher of
// our own (a second project).
#define PCRE2_CODE_UNIT_WIDTH 8
#include "json/schema_priv.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#define PATTERN_BYTES_MAX 65536
#define MATCH_STEPS_MAX 200000
#define MATCH_DEPTH_MAX 20000
#define MATCH_HEAP_KIB_MAX 8192

struct pcr_regex {
    pcre2_code *code;
    bool jit;
};

struct pcr_regex_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

// --- rewriting ----------------------------------------------------------------------------------

struct rewriter {
    const char *at;
    const char *end;
    struct pcr_buf out;
    const char *why; // why it is refused
};

static const char space_set[] =
    "\\x09-\\x0d\\x20\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}\\x{feff}";
static const char no_space_set[] =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}"
    "\\x{ff00}-\\x{10ffff}";

// Unicode's long names of general categories, as ECMA-262 allows them.
static const char *const categories[][2] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

static bool refuse(struct rewriter *r, const char *why) {
    if (!r->why)
        r->why = why;
    return false;
}

static bool next_is(const struct rewriter *r, const char *text) {
    size_t n = strlen(text);
    return (size_t)(r->end - r->at) >= n && memcmp(r->at, text, n) == 0;
}

static bool read_hex(struct rewriter *r, int digits, unsigned *value) {
    *value = 0;
    if (r->end - r->at < digits)
        return false;
    for (int i = 0; i < digits; i++) {
        char c = r->at[i];
        if (!isxdigit((unsigned char)c))
            return false;
        *value =
            *value << 4 | (unsigned)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    r->at += digits;
    return true;
}

// \uXXXX, a pair of them, or \u{X…}; `at` is behind the u.
static bool rewrite_unicode(struct rewriter *r) {
    unsigned value = 0;
    if (next_is(r, "{")) {
        const char *close = memchr(r->at, '}', (size_t)(r->end - r->at));
        long digits = close ? close - r->at - 1 : 0;
        r->at++;
        if (digits < 1 || digits > 6 || !read_hex(r, (int)digits, &value))
            return refuse(r, "\\u{ needs one to six hexadecimal digits and a }");
        r->at++;
    } else if (!read_hex(r, 4, &value)) {
        return refuse(r, "\\u needs four hexadecimal digits");
    }
    unsigned low = 0;
    const char *before = r->at;
    if (value >= 0xd800 && value <= 0xdbff && next_is(r, "\\u")) {
        r->at += 2;
        if (read_hex(r, 4, &low) && low >= 0xdc00 && low <= 0xdfff)
            value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        else
            r->at = before;
    }
    if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return refuse(r, "\\u names no character");
    return pcr_buf_printf(&r->out, "\\x{%x}", value);
}

// \p{…} and \P{…}; `at` is behind the letter.
static bool rewrite_property(struct rewriter *r, char letter) {
    const char *close = next_is(r, "{") ? memchr(r->at, '}', (size_t)(r->end - r->at)) : NULL;
    if (!close)
        return refuse(r, "\\p needs a property in braces, as in \\p{Letter}");
    struct pcr_str name = {r->at + 1, (size_t)(close - r->at - 1)};
    r->at = close + 1;
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.ptr[i]) && name.ptr[i] != '_' && name.ptr[i] != '=')
            return refuse(r, "\\p{…} names no property");
    }
    const char *equals = name.len ? memchr(name.ptr, '=', name.len) : NULL;
    const char *prefix = "";
    if (equals) {
        struct pcr_str key = {name.ptr, (size_t)(equals - name.ptr)};
        name = (struct pcr_str){equals + 1, name.len - key.len - 1};
        if (pcr_str_eq(key, PCR_STR("Script")) || pcr_str_eq(key, PCR_STR("sc")))
            prefix = "sc:";
        else if (pcr_str_eq(key, PCR_STR("Script_Extensions")) || pcr_str_eq(key, PCR_STR("scx")))
            prefix = "scx:";
        else if (!pcr_str_eq(key, PCR_STR("General_Category")) && !pcr_str_eq(key, PCR_STR("gc")))
            return refuse(r, "\\p{…} names no property");
    }
    for (size_t i = 0; i < PCR_COUNT_OF(categories); i++) {
        if (*prefix == '\0' && pcr_str_eq(name, pcr_str(categories[i][0])))
            name = pcr_str(categories[i][1]);
    }
    return pcr_buf_printf(&r->out, "\\%c{%s%.*s}", letter, prefix, PCR_STR_ARG(name));
}

static bool rewrite_control(struct rewriter *r) {
    if (r->at == r->end || !isalpha((unsigned char)*r->at))
        return refuse(r, "\\c needs a letter");
    return pcr_buf_printf(&r->out, "\\x%02x", (unsigned)(*r->at++ & 31));
}

static bool rewrite_back_reference(struct rewriter *r) {
    const char *close = next_is(r, "<") ? memchr(r->at, '>', (size_t)(r->end - r->at)) : NULL;
    if (!close)
        return refuse(r, "\\k needs a group's name, as in \\k<name>");
    pcr_buf_text(&r->out, "\\k");
    pcr_buf_append(&r->out, r->at, (size_t)(close + 1 - r->at));
    r->at = close + 1;
    return true;
}

static bool rewrite_digit_escape(struct rewriter *r, char c, bool in_class) {
    bool more = r->at < r->end && isdigit((unsigned char)*r->at);
    if (c == '0' && !more)
        return pcr_buf_text(&r->out, "\\x00");
    if (c == '0' || in_class)
        return refuse(r, "octal escapes are not allowed");
    pcr_buf_printf(&r->out, "\\g{%c", c);
    for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++)
        pcr_buf_char(&r->out, *r->at);
    return pcr_buf_char(&r->out, '}');
}

// `at` is behind the backslash.
static bool rewrite_escape(struct rewriter *r, bool in_class) {
    if (r->at == r->end)
        return refuse(r, "it ends with a backslash");
    char c = *r->at++;
    unsigned value;
    if (isdigit((unsigned char)c))
        return rewrite_digit_escape(r, c, in_class);
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return pcr_buf_printf(&r->out, "\\%c", c);
    case 's':
        return pcr_buf_printf(&r->out, in_class ? "%s" : "[%s]", space_set);
    case 'S':
        return pcr_buf_printf(&r->out, in_class ? "%s" : "[%s]", no_space_set);
    case 'v':
        return pcr_buf_text(&r->out, "\\x0b");
    case 'b':
        return pcr_buf_text(&r->out, in_class ? "\\x08" : "\\b");
    case 'B':
        return in_class ? refuse(r, "\\B makes no sense in a class") : pcr_buf_text(&r->out, "\\B");
    case 'c':
        return rewrite_control(r);
    case 'x':
        return read_hex(r, 2, &value) ? pcr_buf_printf(&r->out, "\\x%02x", value)
                                      : refuse(r, "\\x needs two hexadecimal digits");
    case 'u':
        return rewrite_unicode(r);
    case 'p':
    case 'P':
        return rewrite_property(r, c);
    case 'k':
        return in_class ? refuse(r, "\\k makes no sense in a class") : rewrite_back_reference(r);
    default:
        break;
    }
    if (isalpha((unsigned char)c))
        return refuse(r, "it has a backslash before a letter that has no such meaning in ECMA-262");
    if ((unsigned char)c >= 0x80)
        return pcr_buf_char(&r->out, c);
    return pcr_buf_printf(&r->out, "\\x%02x", (unsigned)c);
}

// `at` is behind the opening bracket.
static bool rewrite_class(struct rewriter *r) {
    bool negated = next_is(r, "^");
    r->at += negated;
    if (next_is(r, "]")) {
        r->at++;
        return pcr_buf_text(&r->out, negated ? "(?s:.)" : "(?!)");
    }
    pcr_buf_text(&r->out, negated ? "[^" : "[");
    while (r->at < r->end && *r->at != ']') {
        char c = *r->at++;
        if (c == '\\') {
            if (!rewrite_escape(r, true))
                return false;
        } else if (c == '[' || c == '^') {
            pcr_buf_printf(&r->out, "\\%c", c);
        } else {
            pcr_buf_char(&r->out, c);
        }
    }
    if (r->at == r->end)
        return refuse(r, "a [ has no ]");
    r->at++;
    return pcr_buf_char(&r->out, ']');
}

// `at` is behind the opening parenthesis.
static bool rewrite_group(struct rewriter *r) {
    static const char *const known[] = {"?:", "?=", "?!", "?<=", "?<!"};
    pcr_buf_char(&r->out, '(');
    if (next_is(r, "*"))
        return refuse(r, "nothing to repeat");
    if (!next_is(r, "?"))
        return true;
    for (size_t i = 0; i < PCR_COUNT_OF(known); i++) {
        if (next_is(r, known[i])) {
            r->at += strlen(known[i]);
            return pcr_buf_text(&r->out, known[i]);
        }
    }
    const char *close = next_is(r, "?<") ? memchr(r->at, '>', (size_t)(r->end - r->at)) : NULL;
    if (!close)
        return refuse(r, "a group begins with (? in a way ECMA-262 does not know");
    pcr_buf_append(&r->out, r->at, (size_t)(close + 1 - r->at));
    r->at = close + 1;
    return true;
}

// {n}, {n,} or {n,m} at `at`, which is the brace; its length, or 0.
static size_t braces_length(const struct rewriter *r) {
    const char *at = r->at + 1;
    const char *digits = at;
    while (at < r->end && isdigit((unsigned char)*at))
        at++;
    if (at == digits)
        return 0;
    if (at < r->end && *at == ',') {
        at++;
        while (at < r->end && isdigit((unsigned char)*at))
            at++;
    }
    return at < r->end && *at == '}' ? (size_t)(at + 1 - r->at) : 0;
}

// A quantifier with its ?; two in a row are an error in ECMA-262 and something else in PCRE2.
static bool rewrite_quantifier(struct rewriter *r, size_t n) {
    pcr_buf_append(&r->out, r->at, n);
    r->at += n;
    if (next_is(r, "?")) {
        pcr_buf_char(&r->out, '?');
        r->at++;
    }
    if (next_is(r, "?") || next_is(r, "*") || next_is(r, "+") ||
        (next_is(r, "{") && braces_length(r) > 0))
        return refuse(r, "nothing to repeat");
    return true;
}

static bool rewrite_step(struct rewriter *r) {
    char c = *r->at;
    size_t braces = c == '{' ? braces_length(r) : 0;
    if (c == '*' || c == '+' || c == '?' || braces > 0)
        return rewrite_quantifier(r, braces ? braces : 1);
    r->at++;
    switch (c) {
    case '\\':
        return rewrite_escape(r, false);
    case '[':
        return rewrite_class(r);
    case '(':
        return rewrite_group(r);
    case '.':
        return pcr_buf_text(&r->out, "[^\\n\\r\\x{2028}\\x{2029}]");
    case '{':
    case '}':
    case ']':
        return pcr_buf_printf(&r->out, "\\%c", c);
    default:
        return pcr_buf_char(&r->out, c);
    }
}

// --- PCRE2 --------------------------------------------------------------------------------------

static struct pcr_regex *compile(struct pcr_str pattern, char *why, size_t why_bytes) {
    struct pcr_regex *regex = calloc(1, sizeof *regex);
    int code = 0;
    size_t offset;
    if (!regex) {
        snprintf(why, why_bytes, "no memory");
        return NULL;
    }
    uint32_t options =
        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;
    regex->code =
        pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &code, &offset, NULL);
    if (!regex->code) {
        if (pcre2_get_error_message(code, (PCRE2_UCHAR *)why, why_bytes) < 0)
            snprintf(why, why_bytes, "PCRE2 error %d", code);
        free(regex);
        return NULL;
    }
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    return regex;
}

struct pcr_regex *pcr_regex_create(struct pcr_str pattern, char *why, size_t why_bytes) {
    struct rewriter r = {pattern.ptr, pattern.ptr + pattern.len, {0}, NULL};
    if (pattern.len > PATTERN_BYTES_MAX) {
        snprintf(why, why_bytes, "it is longer than %d bytes", PATTERN_BYTES_MAX);
        return NULL;
    }
    pcr_buf_init(&r.out, (size_t)64 * PATTERN_BYTES_MAX);
    pcr_buf_text(&r.out, "");
    while (r.at < r.end && rewrite_step(&r) && !r.out.failed)
        continue;
    struct pcr_regex *regex = NULL;
    if (r.why || r.out.failed)
        snprintf(why, why_bytes, "%s", r.why ? r.why : "no memory");
    else
        regex = compile(pcr_buf_view(&r.out), why, why_bytes);
    pcr_buf_fini(&r.out);
    return regex;
}

void pcr_regex_destroy(struct pcr_regex *regex) {
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    free(regex);
}

void pcr_regex_scratch_destroy(struct pcr_regex_scratch *scratch) {
    if (!scratch)
        return;
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    free(scratch);
}

static struct pcr_regex_scratch *scratch_create(void) {
    struct pcr_regex_scratch *scratch = calloc(1, sizeof *scratch);
    if (!scratch)
        return NULL;
    scratch->data = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    if (!scratch->data || !scratch->context) {
        pcr_regex_scratch_destroy(scratch);
        return NULL;
    }
    pcre2_set_match_limit(scratch->context, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(scratch->context, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(scratch->context, MATCH_HEAP_KIB_MAX);
    return scratch;
}

int pcr_regex_match(const struct pcr_regex *regex, struct pcr_str text,
                    struct pcr_regex_scratch **scratch) {
    if (!*scratch && !(*scratch = scratch_create()))
        return PACER_ENOMEM;
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.ptr ? text.ptr : "");
    pcre2_match_data *data = (*scratch)->data;
    pcre2_match_context *context = (*scratch)->context;
    // The text was read by the parser, so it is valid UTF-8.
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->jit)
        rc = pcre2_match(regex->code, subject, text.len, 0, PCRE2_NO_UTF_CHECK, data, context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, subject, text.len, 0, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                         context);
    if (rc >= 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    return rc == PCRE2_ERROR_NOMEMORY ? PACER_ENOMEM : PACER_ELIMIT;
}
