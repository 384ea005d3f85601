// SPDX-License-Identifier: Apache-2.0
// config.pbtxt: the text form of protobuf, as far as Triton's model configurations use it.
//
// Fields are `name: scalar`, `name: [scalars]`, `name { fields }`, `name < fields >` or a list of
// those; commas and semicolons between them mean nothing and `#` begins a comment. What a field
// means is decided by its path from the top ("version_policy.latest.num_versions"); paths that mean
// nothing here are read over, so a configuration made for Triton works as it is. Nothing is
// allocated; the depth of nesting is bounded.
#include "infer/repository_priv.h"

#include <ctype.h>
#include <stdio.h>

#define DEPTH_MAX 32
#define PATH_BYTES 160

struct reader {
    const char *at;
    const char *end;
    size_t line;
    struct pcr_pbtxt *out;
    struct pacer_error *err;
    char path[PATH_BYTES]; // of the field that is being read
};

static int fault(const struct reader *r, const char *what) {
    return pcr_err(r->err, PACER_ESYNTAX, "repository", "line %zu: %s", r->line, what);
}

static void skip_space(struct reader *r) {
    while (r->at < r->end) {
        if (*r->at == '#')
            while (r->at < r->end && *r->at != '\n')
                r->at++;
        else if (*r->at == '\n')
            r->line++, r->at++;
        else if (isspace((unsigned char)*r->at) || *r->at == ',' || *r->at == ';')
            r->at++;
        else
            return;
    }
}

static bool take_char(struct reader *r, char c) {
    skip_space(r);
    if (r->at >= r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-' || c == '+' || c == '/';
}

static struct pcr_str take_word(struct reader *r) {
    skip_space(r);
    const char *start = r->at;
    while (r->at < r->end && is_word(*r->at))
        r->at++;
    return (struct pcr_str){start, (size_t)(r->at - start)};
}

static int skip_string(struct reader *r, char quote) {
    while (r->at < r->end && *r->at != quote) {
        if (*r->at == '\n')
            return fault(r, "a string that does not end on its line");
        r->at += *r->at == '\\' && r->at + 1 < r->end ? 2 : 1;
    }
    if (r->at >= r->end)
        return fault(r, "a string that does not end");
    r->at++;
    return 0;
}

static int set_number(struct reader *r, struct pcr_str word, uint64_t max, uint64_t *out) {
    if (pcr_str_to_u64(word, max, out))
        return 0;
    char what[256];
    snprintf(what, sizeof what, "%s is '%.*s'; a whole number from 0 to %llu is expected", r->path,
             word.len > 40 ? 40 : (int)word.len, word.ptr, (unsigned long long)max);
    return fault(r, what);
}

// Uses the value of a field that means something here.
static int use_scalar(struct reader *r, struct pcr_str word) {
    struct pcr_pbtxt *out = r->out;
    uint64_t number;
    int code = 0;
    if (strcmp(r->path, ".max_batch_size") == 0) {
        code = set_number(r, word, 1 << 30, &number);
        if (code == 0)
            out->max_batch_size = (int)number;
    } else if (strcmp(r->path, ".version_policy.latest.num_versions") == 0) {
        code = set_number(r, word, UINT32_MAX, &out->latest);
    } else if (strcmp(r->path, ".version_policy.specific.versions") == 0) {
        if (out->n_versions == PCR_PBTXT_VERSIONS_MAX)
            return fault(r, "more than 64 versions");
        code = set_number(r, word, INT64_MAX, &out->versions[out->n_versions]);
        out->n_versions += code == 0;
    }
    return code;
}

static void use_message(struct reader *r) {
    if (strcmp(r->path, ".dynamic_batching") == 0)
        r->out->dynamic_batching = true;
    else if (strcmp(r->path, ".version_policy.all") == 0)
        r->out->policy = PCR_VERSIONS_ALL;
    else if (strcmp(r->path, ".version_policy.latest") == 0)
        r->out->policy = PCR_VERSIONS_LATEST;
    else if (strcmp(r->path, ".version_policy.specific") == 0)
        r->out->policy = PCR_VERSIONS_SPECIFIC;
}

static int read_fields(struct reader *r, char closing, unsigned depth);

static int read_value(struct reader *r, unsigned depth) {
    if (take_char(r, '{')) {
        use_message(r);
        return read_fields(r, '}', depth + 1);
    }
    if (take_char(r, '<')) {
        use_message(r);
        return read_fields(r, '>', depth + 1);
    }
    if (r->at < r->end && (*r->at == '"' || *r->at == '\'')) {
        int code = 0;
        while (code == 0 && r->at < r->end &&
               (*r->at == '"' || *r->at == '\'')) { // "a" "b" is "ab"
            code = skip_string(r, *r->at++);
            skip_space(r);
        }
        return code;
    }
    struct pcr_str word = take_word(r);
    return word.len ? use_scalar(r, word) : fault(r, "a value is missing");
}

static int read_list(struct reader *r, unsigned depth) {
    while (!take_char(r, ']')) {
        if (r->at >= r->end)
            return fault(r, "a '[' without its ']'");
        int code = read_value(r, depth);
        if (code < 0)
            return code;
    }
    return 0;
}

static int read_field(struct reader *r, unsigned depth) {
    struct pcr_str name = {"", 0};
    if (take_char(r, '[')) { // an extension's name
        while (r->at < r->end && *r->at != ']' && *r->at != '\n')
            r->at++;
        if (!take_char(r, ']'))
            return fault(r, "a '[' without its ']'");
    } else if ((name = take_word(r)).len == 0) {
        return fault(r, "the name of a field is expected");
    }
    size_t n = strlen(r->path);
    if (n + name.len + 2 > sizeof r->path)
        return fault(r, "names too long or nested too deeply");
    snprintf(r->path + n, sizeof r->path - n, ".%.*s", (int)name.len, name.ptr);
    bool colon = take_char(r, ':');
    skip_space(r);
    int code;
    if (!colon && (r->at >= r->end || (*r->at != '{' && *r->at != '<' && *r->at != '[')))
        code = fault(r, "a ':' or '{' is expected after the name of a field");
    else
        code = take_char(r, '[') ? read_list(r, depth) : read_value(r, depth);
    r->path[n] = '\0';
    return code;
}

static int read_fields(struct reader *r, char closing, unsigned depth) {
    if (depth > DEPTH_MAX)
        return fault(r, "nested too deeply");
    for (;;) {
        skip_space(r);
        if (r->at >= r->end)
            return closing ? fault(r, "a '{' without its '}'") : 0;
        if (closing && take_char(r, closing))
            return 0;
        int code = read_field(r, depth);
        if (code < 0)
            return code;
    }
}

int pcr_pbtxt_parse(struct pcr_str text, struct pcr_pbtxt *out, struct pacer_error *err) {
    *out = (struct pcr_pbtxt){.max_batch_size = -1, .policy = PCR_VERSIONS_ALL, .latest = 1};
    struct reader reader = {
        .at = text.ptr, .end = text.ptr + text.len, .line = 1, .out = out, .err = err};
    return read_fields(&reader, '\0', 0);
}
