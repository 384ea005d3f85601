// SPDX-License-Identifier: Apache-2.0
// ${NAME} and ${NAME:-default} in values.
//
// Substitution works on the text of one value after YAML has been parsed: a variable can neither
// add keys nor change the structure, whatever it holds. Substituting in the raw file first, as many
// programs do, would allow both. It is done once; neither what a variable holds nor a default is
// looked through again.
//
// Invariant: what a variable holds may be a secret, so no message shows it. Messages show the text
// of the node, which is what the file has.
#include "config/config_priv.h"

#include <stdlib.h>

#define NAME_BYTES 256

struct substitution {
    struct pcr_config_ctx *ctx;
    const char *where;
    const struct pcr_yaml_node *node;
    struct pcr_buf *out;
};

static bool is_name(struct pcr_str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0 && name.len < NAME_BYTES;
}

// "NAME:-default" apart; `fallback` has no ptr where there is none.
static void split(struct pcr_str inner, struct pcr_str *name, struct pcr_str *fallback) {
    const char *mark = memmem(inner.ptr, inner.len, ":-", 2);
    size_t length = mark ? (size_t)(mark - inner.ptr) : inner.len;
    *name = (struct pcr_str){inner.ptr, length};
    *fallback = mark ? (struct pcr_str){mark + 2, inner.len - length - 2} : (struct pcr_str){0};
}

static bool check_form(const struct substitution *job, struct pcr_str inner, struct pcr_str name,
                       struct pcr_str fallback) {
    if (!is_name(name)) {
        pcr_config_fault(job->ctx, job->node->line, job->node->column,
                         "%s: '${%.*s%s}' is not ${NAME} or ${NAME:-default}; for a dollar sign "
                         "itself write $$",
                         job->where, PCR_EXCERPT_ARG(inner));
        return false;
    }
    if (fallback.ptr && memmem(fallback.ptr, fallback.len, "${", 2)) {
        pcr_config_fault(job->ctx, job->node->line, job->node->column,
                         "%s: '${%.*s%s}': a default is plain text, in which no other ${NAME} can "
                         "stand",
                         job->where, PCR_EXCERPT_ARG(inner));
        return false;
    }
    return true;
}

// What stands between the braces of ${…}.
static bool substitute_one(const struct substitution *job, struct pcr_str inner) {
    struct pcr_str part, fallback;
    split(inner, &part, &fallback);
    if (!check_form(job, inner, part, fallback))
        return false;
    char name[NAME_BYTES];
    memcpy(name, part.ptr, part.len);
    name[part.len] = '\0';
    const char *value = getenv(name);
    if (value && *value) {
        pcr_buf_text(job->out, value); // too long is seen at the end
        return true;
    }
    if (fallback.ptr) {
        pcr_buf_str(job->out, fallback);
        return true;
    }
    pcr_config_fault(job->ctx, job->node->line, job->node->column,
                     "%s: the environment variable %s is %s; set it, or write ${%s:-default}",
                     job->where, name, value ? "empty" : "not set", name);
    return false;
}

static bool substitute_all(const struct substitution *job) {
    struct pcr_str rest = job->node->text;
    while (rest.len > 0) {
        const char *dollar = memchr(rest.ptr, '$', rest.len);
        size_t before = dollar ? (size_t)(dollar - rest.ptr) : rest.len;
        pcr_buf_append(job->out, rest.ptr, before);
        rest = (struct pcr_str){rest.ptr + before, rest.len - before};
        if (rest.len >= 2 && rest.ptr[1] == '{') {
            const char *end = memchr(rest.ptr, '}', rest.len);
            if (!end) {
                pcr_config_fault(job->ctx, job->node->line, job->node->column,
                                 "%s: '${' without '}'; for a dollar sign itself write $$",
                                 job->where);
                return false;
            }
            size_t length = (size_t)(end - rest.ptr);
            if (!substitute_one(job, (struct pcr_str){rest.ptr + 2, length - 2}))
                return false;
            rest = (struct pcr_str){end + 1, rest.len - length - 1};
        } else if (rest.len > 0) {
            size_t skip = rest.len >= 2 && rest.ptr[1] == '$' ? 2 : 1;
            pcr_buf_char(job->out, '$');
            rest = (struct pcr_str){rest.ptr + skip, rest.len - skip};
        }
    }
    return true;
}

bool pcr_yaml_has_variables(const struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node) {
    // What comes from the command line has been through the shell.
    return !ctx->flag && node->text.len > 0 && memchr(node->text.ptr, '$', node->text.len);
}

bool pcr_yaml_substitute(struct pcr_config_ctx *ctx, const char *where,
                         const struct pcr_yaml_node *node, struct pcr_str *out) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, PCR_CONFIG_VALUE_BYTES_MAX);
    struct substitution job = {ctx, where, node, &buf};
    bool ok = substitute_all(&job);
    if (ok && buf.failed) {
        pcr_config_fault(ctx, node->line, node->column,
                         "%s: longer than %d bytes after substitution", where,
                         PCR_CONFIG_VALUE_BYTES_MAX);
        ok = false;
    }
    const char *text = ok ? pcr_arena_dup(&ctx->config->arena, pcr_buf_view(&buf)) : NULL;
    if (ok && !text)
        ctx->no_memory = true;
    *out = (struct pcr_str){text, text ? buf.len : 0};
    pcr_buf_fini(&buf);
    return text != NULL;
}
