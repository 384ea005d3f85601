// SPDX-License-Identifier: Apache-2.0
// Scalars of the configuration: substitution of environment variables, then the conversion that the
// row's type asks for. Defaults are written in the same syntax in options.def and go through the
// same code, so what the reference page shows is what the program does.
//
// Substitution works on the text of one value after YAML has been parsed: a variable can
// neither add keys nor change the structure, whatever it holds. Substituting in the raw file
// first, as many programs do, would allow both. It is done once; what a variable holds is
// not looked through again.
//
// Sizes and times may carry a unit. Without one they are in the unit that the key's name ends in. A
// fraction is fine as long as the result is whole (1.5s is 1500 milliseconds, 0.5ms is refused).
#include "config/config_priv.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *option_expected(const struct pcr_option *option) {
    return pcr_option_type_text(option->type);
}

// --- substitution -------------------------------------------------------------------------------
static bool is_name(struct pcr_str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

struct substitution {
    struct pcr_config_ctx *ctx;
    const char *where;
    const struct pcr_yaml_node *node;
    struct pcr_buf *out;
};

// What stands between the braces of ${…}.
static bool substitute_one(const struct substitution *job, struct pcr_str inner) {
    struct pcr_str name = inner, fallback = {NULL, 0};
    for (size_t i = 0; i + 1 < inner.len; i++) {
        if (inner.ptr[i] == ':' && inner.ptr[i + 1] == '-') {
            name.len = i;
            fallback = (struct pcr_str){inner.ptr + i + 2, inner.len - i - 2};
            break;
        }
    }
    char text[256];
    if (!is_name(name) || name.len >= sizeof text) {
        pcr_config_fault(job->ctx, job->node->line, job->node->column,
                         "%s: '${%.*s%s}' is not ${NAME} or ${NAME:-default}; for a dollar sign "
                         "itself write $$",
                         job->where, PCR_EXCERPT_ARG(inner));
        return false;
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    const char *value = getenv(text);
    if (value && (*value || !fallback.ptr))
        return pcr_buf_text(job->out, value) || true; // too long is seen at the end
    if (fallback.ptr)
        return pcr_buf_str(job->out, fallback) || true;
    pcr_config_fault(job->ctx, job->node->line, job->node->column,
                     "%s: the environment variable %s is not set; set it, or write ${%s:-default}",
                     job->where, text, text);
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

static bool substitute(struct pcr_config_ctx *ctx, const char *where,
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

// --- scalars ------------------------------------------------------------------------------------
// The text of a scalar, possibly empty if it was quoted; `expected` goes into the message.
static bool scalar_text(struct pcr_config_ctx *ctx, const char *where,
                        const struct pcr_yaml_node *node, const char *expected,
                        struct pcr_str *out) {
    if (node->faulty)
        return false;
    if (node->kind != PCR_YAML_SCALAR) {
        pcr_config_fault(ctx, node->line, node->column, "%s: expected %s, found %s", where,
                         expected, pcr_yaml_describe(node));
        return false;
    }
    if (pcr_yaml_is_null(node) && !ctx->flag) {
        pcr_config_fault(ctx, node->line, node->column, "%s has no value; expected %s", where,
                         expected);
        return false;
    }
    if (ctx->flag || !memchr(node->text.ptr, '$', node->text.len)) {
        const char *text = pcr_arena_dup(&ctx->config->arena, node->text);
        if (!text)
            ctx->no_memory = true;
        *out = (struct pcr_str){text, node->text.len};
        return text != NULL;
    }
    return substitute(ctx, where, node, out);
}

bool pcr_yaml_text(struct pcr_config_ctx *ctx, const char *where, const struct pcr_yaml_node *node,
                   struct pcr_str *out) {
    if (!scalar_text(ctx, where, node, "text", out))
        return false;
    if (out->len > 0)
        return true;
    pcr_config_fault(ctx, node->line, node->column, "%s is empty; expected text", where);
    return false;
}

struct unit {
    const char *name;
    double factor;
};
static const struct unit size_units[] = {
    {"", 1},          {"B", 1},     {"KiB", 1024},   {"MiB", 1 << 20},
    {"GiB", 1 << 30}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000},
};
static const struct unit ms_units[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000},
};
static const struct unit s_units[] = {
    {"", 1}, {"ms", 0.001}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400},
};
static const struct unit no_units[] = {{"", 1}};

// Digits, perhaps with a fraction, then a unit of the table.
// No sign, no exponent, at most 18 digits.
static bool parse_with_unit(struct pcr_str text, const struct unit *units, size_t n_units,
                            double *out) {
    text = pcr_str_trim(text);
    size_t digits = 0, points = 0;
    while (digits < text.len && ((text.ptr[digits] >= '0' && text.ptr[digits] <= '9') ||
                                 (digits > 0 && text.ptr[digits] == '.' && points++ == 0)))
        digits++;
    if (digits == 0 || digits > 18 || text.ptr[digits - 1] == '.')
        return false;
    char number[32];
    memcpy(number, text.ptr, digits);
    number[digits] = '\0';
    struct pcr_str unit = pcr_str_trim((struct pcr_str){text.ptr + digits, text.len - digits});
    for (size_t i = 0; i < n_units; i++) {
        if (!pcr_str_eq_nocase(unit, pcr_str(units[i].name)))
            continue;
        *out = strtod(number, NULL) * units[i].factor;
        return true;
    }
    return false;
}

static bool parse_number(struct pcr_str text, double *out) {
    text = pcr_str_trim(text);
    char number[64];
    if (text.len == 0 || text.len >= sizeof number)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("0123456789+-.eE", text.ptr[i]))
            return false; // no hexadecimal, no nan, no infinity
    memcpy(number, text.ptr, text.len);
    number[text.len] = '\0';
    char *end;
    *out = strtod(number, &end);
    return end == number + text.len && isfinite(*out);
}

bool pcr_yaml_number(struct pcr_config_ctx *ctx, const char *where,
                     const struct pcr_yaml_node *node, double *out) {
    struct pcr_str text;
    if (!scalar_text(ctx, where, node, "a number", &text))
        return false;
    if (parse_number(text, out))
        return true;
    pcr_config_fault(ctx, node->line, node->column, "%s: '%.*s%s' is not a finite number", where,
                     PCR_EXCERPT_ARG(text));
    return false;
}

// A whole number of the row's unit.
static bool parse_whole(const struct pcr_option *option, struct pcr_str text, double *out) {
    bool negative = option->type == PCR_OPTION_INT && text.len > 1 && text.ptr[0] == '-';
    if (negative)
        text = (struct pcr_str){text.ptr + 1, text.len - 1};
    bool ok = false;
    switch (option->type) {
    case PCR_OPTION_SIZE:
        ok = parse_with_unit(text, size_units, PCR_COUNT_OF(size_units), out);
        break;
    case PCR_OPTION_DURATION_MS:
        ok = parse_with_unit(text, ms_units, PCR_COUNT_OF(ms_units), out);
        break;
    case PCR_OPTION_DURATION_S:
        ok = parse_with_unit(text, s_units, PCR_COUNT_OF(s_units), out);
        break;
    default:
        ok = parse_with_unit(text, no_units, PCR_COUNT_OF(no_units), out);
        break;
    }
    // Factors such as 0.001 leave a rounding error that is no fraction of the person's.
    if (!ok || fabs(*out - nearbyint(*out)) > 1e-6)
        return false;
    *out = negative ? -nearbyint(*out) : nearbyint(*out);
    return true;
}

static bool in_range(struct pcr_config_ctx *ctx, const struct pcr_option *option, const char *where,
                     const struct pcr_yaml_node *node, double value) {
    bool any = option->min == 0 && option->max == 0 && option->type == PCR_OPTION_NUMBER;
    if (any || (value >= option->min && value <= option->max))
        return true;
    const char *unit = option->type == PCR_OPTION_SIZE          ? " bytes"
                       : option->type == PCR_OPTION_DURATION_MS ? " ms"
                       : option->type == PCR_OPTION_DURATION_S  ? " s"
                                                                : "";
    pcr_config_fault(ctx, node->line, node->column,
                     "%s: %.17g is out of range; expected %.17g to %.17g%s", where, value,
                     option->min, option->max, unit);
    return false;
}

static bool address_ok(struct pcr_str text) {
    if (pcr_str_starts_with(text, PCR_STR("unix:")))
        return text.len > 5 && text.len - 5 < sizeof((struct sockaddr_un *)NULL)->sun_path;
    const char *colon = memrchr(text.ptr, ':', text.len);
    if (!colon)
        return false;
    struct pcr_str host = {text.ptr, (size_t)(colon - text.ptr)};
    struct pcr_str port = {colon + 1, text.len - host.len - 1};
    uint64_t number;
    if (!pcr_str_to_u64(port, 65535, &number))
        return false;
    if (host.len > 0 && host.ptr[0] == '[')
        return host.len > 2 && host.ptr[host.len - 1] == ']';
    return !memchr(host.ptr, ':', host.len) && !memchr(host.ptr, ' ', host.len);
}

// --- fields -------------------------------------------------------------------------------------
static void *field_of(void *base, size_t offset) {
    return (char *)base + offset;
}

static void set_whole(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                      const char *where, const struct pcr_yaml_node *node, struct pcr_str text) {
    double value;
    if (!parse_whole(option, text, &value)) {
        pcr_config_fault(ctx, node->line, node->column, "%s: '%.*s%s' is not %s", where,
                         PCR_EXCERPT_ARG(text), option_expected(option));
        return;
    }
    if (!in_range(ctx, option, where, node, value))
        return;
    void *field = field_of(base, option->offset);
    if (option->type == PCR_OPTION_INT)
        *(int *)field = (int)value;
    else if (option->type == PCR_OPTION_DURATION_MS || option->type == PCR_OPTION_DURATION_S)
        *(uint64_t *)field = (uint64_t)value;
    else
        *(size_t *)field = (size_t)value;
}

static void set_number(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                       const char *where, const struct pcr_yaml_node *node) {
    double value;
    if (!pcr_yaml_number(ctx, where, node, &value) || !in_range(ctx, option, where, node, value))
        return;
    *(double *)field_of(base, option->offset) = value;
    if (option->has_aux)
        *(bool *)field_of(base, option->aux) = true;
}

static void set_bool(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                     const char *where, const struct pcr_yaml_node *node, struct pcr_str text) {
    bool yes = pcr_str_eq(text, PCR_STR("true"));
    if (!yes && !pcr_str_eq(text, PCR_STR("false")))
        pcr_config_fault(ctx, node->line, node->column, "%s: '%.*s%s' is not true or false", where,
                         PCR_EXCERPT_ARG(text));
    else
        *(bool *)field_of(base, option->offset) = yes;
}

static void set_enum(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                     const char *where, const struct pcr_yaml_node *node, struct pcr_str text) {
    struct pcr_str rest = pcr_str(option->choices), choice;
    while (pcr_str_split(&rest, '|', &choice)) {
        if (pcr_str_eq(choice, text)) {
            *(const char **)field_of(base, option->offset) = text.ptr;
            return;
        }
    }
    pcr_config_fault(ctx, node->line, node->column, "%s: '%.*s%s' is not one of %s", where,
                     PCR_EXCERPT_ARG(text), option->choices);
}

static void check_file(struct pcr_config_ctx *ctx, const char *where,
                       const struct pcr_yaml_node *node, const char *path) {
    struct stat st;
    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        pcr_config_fault(ctx, node->line, node->column, "%s: cannot read '%.200s': %s", where, path,
                         strerror(errno));
    else if (!S_ISREG(st.st_mode))
        pcr_config_fault(ctx, node->line, node->column, "%s: '%.200s' is not a file", where, path);
}

static void set_text(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                     const char *where, const struct pcr_yaml_node *node, struct pcr_str text) {
    const char **field = field_of(base, option->offset);
    if (text.len == 0 && option->may_be_empty) {
        *field = NULL;
        return;
    }
    if (text.len == 0) {
        pcr_config_fault(ctx, node->line, node->column, "%s is empty; expected %s", where,
                         option_expected(option));
        return;
    }
    if (option->type == PCR_OPTION_ADDRESS && !address_ok(text)) {
        pcr_config_fault(
            ctx, node->line, node->column,
            "%s: '%.*s%s' is not an address; expected HOST:PORT, [IPv6]:PORT, :PORT or "
            "unix:/path",
            where, PCR_EXCERPT_ARG(text));
        return;
    }
    bool path = option->type == PCR_OPTION_PATH || option->type == PCR_OPTION_FILE;
    if (path && text.ptr[0] != '/' && !ctx->flag && *ctx->dir)
        *field = pcr_config_text(ctx, "%s%s", ctx->dir, text.ptr);
    else
        *field = text.ptr;
    if (option->type == PCR_OPTION_FILE && *field)
        check_file(ctx, where, node, *field);
}

// scheme://host or scheme://host:port, as browsers send it; how much of the text that is.
static size_t origin_length(struct pcr_str text) {
    const char *colon = memchr(text.ptr, ':', text.len);
    size_t at = colon ? (size_t)(colon - text.ptr) : 0;
    if (at == 0 || text.len - at < 4 || memcmp(colon, "://", 3) != 0)
        return 0;
    size_t host = at + 3, end = host;
    while (end < text.len && !strchr("/?# ", text.ptr[end]))
        end++;
    return end > host ? end : 0;
}

// What matches no Origin header that a browser sends would keep every page out without a word.
static void check_origin(struct pcr_config_ctx *ctx, const char *where,
                         const struct pcr_yaml_node *node, struct pcr_str text) {
    size_t length = origin_length(text);
    bool lower = true;
    for (size_t i = 0; i < length; i++)
        lower = lower && !(text.ptr[i] >= 'A' && text.ptr[i] <= 'Z');
    if (pcr_str_eq(text, PCR_STR("*")) || (length == text.len && lower))
        return;
    char meant[128];
    struct pcr_str start = {text.ptr, length ? length : text.len};
    snprintf(meant, sizeof meant, "%s%.*s", length ? "" : "https://",
             start.len > 100 ? 100 : (int)start.len, start.ptr);
    meant[strcspn(meant + (length ? 0 : 8), length ? "" : "/?# ") + (length ? 0 : 8)] = '\0';
    for (char *c = meant; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    pcr_config_fault(ctx, node->line, node->column,
                     "%s: '%.*s%s' is not an origin, SCHEME://HOST or SCHEME://HOST:PORT in small "
                     "letters, or \"*\"; did you mean '%s'?",
                     where, PCR_EXCERPT_ARG(text), meant);
}

static void set_list(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                     const char *where, const struct pcr_yaml_node *node) {
    if (!pcr_config_expect(ctx, where, node, PCR_YAML_SEQUENCE, 1000))
        return;
    const char **list = pcr_config_alloc(ctx, node->n, sizeof *list);
    size_t n = 0;
    for (const struct pcr_yaml_node *item = node->first; list && item; item = item->next) {
        struct pcr_str text;
        char name[128];
        snprintf(name, sizeof name, "%s[%zu]", where, n);
        if (!pcr_yaml_text(ctx, name, item, &text))
            continue;
        if (strcmp(option->key, "cors.origins") == 0)
            check_origin(ctx, name, item, text);
        list[n++] = text.ptr;
    }
    *(const char ***)field_of(base, option->offset) = list;
    *(size_t *)field_of(base, option->aux) = list ? n : 0;
}

void pcr_option_set(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                    const char *where, const struct pcr_yaml_node *node) {
    struct pcr_str text;
    if (option->type == PCR_OPTION_LIST) {
        set_list(ctx, option, base, where, node);
        return;
    }
    if (option->type == PCR_OPTION_NUMBER) {
        set_number(ctx, option, base, where, node);
        return;
    }
    if (!scalar_text(ctx, where, node, option_expected(option), &text))
        return;
    switch (option->type) {
    case PCR_OPTION_INT:
    case PCR_OPTION_COUNT:
    case PCR_OPTION_SIZE:
    case PCR_OPTION_DURATION_MS:
    case PCR_OPTION_DURATION_S:
        set_whole(ctx, option, base, where, node, text);
        break;
    case PCR_OPTION_BOOL:
        set_bool(ctx, option, base, where, node, text);
        break;
    case PCR_OPTION_ENUM:
        set_enum(ctx, option, base, where, node, text);
        break;
    default:
        set_text(ctx, option, base, where, node, text);
        break;
    }
}

void pcr_option_set_default(struct pcr_config_ctx *ctx, const struct pcr_option *option,
                            void *base) {
    if (!option->default_text || option->type == PCR_OPTION_LIST)
        return; // zero already
    struct pcr_yaml_node node = {.kind = PCR_YAML_SCALAR, .text = pcr_str(option->default_text)};
    size_t faults = ctx->faults->n + ctx->faults->dropped;
    pcr_option_set(ctx, option, base, option->key, &node);
    PCR_ASSERT(ctx->faults->n + ctx->faults->dropped == faults);
}
