// SPDX-License-Identifier: Apache-2.0
// Scalars of the configuration: after the substitution of environment variables (environment.c),
// the conversion that the row's type asks for. Defaults are written in the same syntax in
// options.def and go through the same code, so what the reference page shows is what the program
// does.
//
// Messages show the text of the node, which is what the file has: what was converted may be out of
// the environment, and a secret.
//
// Sizes and times may carry a unit. Without one they are in the unit that the key's name ends in. A
// fraction is fine as long as the result is whole (1.5s is 1500 milliseconds, 0.5ms is refused).
#include "config/config_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *option_expected(const struct pcr_option *option) {
    return pcr_option_type_text(option->type);
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
    if (!pcr_yaml_has_variables(ctx, node)) {
        const char *text = pcr_arena_dup(&ctx->config->arena, node->text);
        if (!text)
            ctx->no_memory = true;
        *out = (struct pcr_str){text, node->text.len};
        return text != NULL;
    }
    return pcr_yaml_substitute(ctx, where, node, out);
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
                     PCR_EXCERPT_ARG(node->text));
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
    char shown[96];
    if (pcr_yaml_has_variables(ctx, node))
        snprintf(shown, sizeof shown, "%.*s%s", PCR_EXCERPT_ARG(node->text));
    else
        snprintf(shown, sizeof shown, "%.17g", value);
    pcr_config_fault(ctx, node->line, node->column,
                     "%s: %s is out of range; expected %.17g to %.17g%s", where, shown, option->min,
                     option->max, unit);
    return false;
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
                         PCR_EXCERPT_ARG(node->text), option_expected(option));
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
                         PCR_EXCERPT_ARG(node->text));
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
                     PCR_EXCERPT_ARG(node->text), option->choices);
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
    if (!pcr_config_check_text(ctx, option, where, node, text))
        return;
    bool path = option->type == PCR_OPTION_PATH || option->type == PCR_OPTION_FILE;
    if (path && text.ptr[0] != '/' && !ctx->flag && *ctx->dir)
        *field = pcr_config_text(ctx, "%s%s", ctx->dir, text.ptr);
    else
        *field = text.ptr;
    if (option->type == PCR_OPTION_FILE && *field)
        pcr_config_check_file(ctx, where, node, *field);
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
        pcr_config_check_text(ctx, option, name, item, text);
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
