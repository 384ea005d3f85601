// SPDX-License-Identifier: Apache-2.0
// Loading: defaults, then the file, then the command line, into one new configuration.
//
// Everything that is wrong is collected before giving up, so one run of `pacer check` shows all
// there is to mend. The rows of options.def say what may stand where; one walk (pcr_config_apply)
// serves the top level, its sections and the members of decisions, limits and models alike.
//
// Invariant: a configuration is handed out only if no fault was found, so whoever reads one finds
// every required field set, every number in range and every path resolved. It is never changed
// afterwards; a reload makes another one.
//
// The command line goes through the same conversion as a value of the file; it is
// applied last and so wins. Paths given there start at the current directory, because
// that is where the person stands.
#include "config/config_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX 64

// --- mappings -----------------------------------------------------------------------------------
bool pcr_config_expect(struct pcr_config_ctx *ctx, const char *where,
                       const struct pcr_yaml_node *node, enum pcr_yaml_kind kind, size_t n_max) {
    if (node->faulty)
        return false;
    if (node->kind != kind) {
        pcr_config_fault(ctx, node->line, node->column, "%s: expected %s, found %s",
                         *where ? where : "the configuration",
                         kind == PCR_YAML_MAPPING ? "a map" : "a list", pcr_yaml_describe(node));
        return false;
    }
    if (node->n > n_max) {
        pcr_config_fault(ctx, node->line, node->column, "%s has %zu entries; at most %zu are taken",
                         where, node->n, n_max);
        return false;
    }
    return true;
}

static bool same_key(const struct pcr_yaml_node *a, const struct pcr_yaml_node *b) {
    return b->key->kind == PCR_YAML_SCALAR && pcr_str_eq(a->key->text, b->key->text);
}

// The member before `member` with the same key, or NULL.
static const struct pcr_yaml_node *earlier(const struct pcr_yaml_node *mapping,
                                           const struct pcr_yaml_node *member) {
    for (const struct pcr_yaml_node *at = mapping->first; at != member; at = at->next)
        if (same_key(member, at))
            return at;
    return NULL;
}

void pcr_config_check_keys(struct pcr_config_ctx *ctx, const char *where,
                           const struct pcr_yaml_node *mapping) {
    const char *in = *where ? " in " : "";
    for (struct pcr_yaml_node *member = mapping->first; member; member = member->next) {
        struct pcr_yaml_node *key = member->key;
        if (key->faulty)
            continue;
        if (key->kind != PCR_YAML_SCALAR || key->text.len == 0) {
            pcr_config_fault(ctx, key->line, key->column, "a key%s%s has to be a word, found %s",
                             in, where, pcr_yaml_describe(key));
            key->faulty = true;
            continue;
        }
        const struct pcr_yaml_node *first = earlier(mapping, member);
        if (first) {
            pcr_config_fault(ctx, key->line, key->column,
                             "the key '%.*s%s' is there twice%s%s, first in line %d",
                             PCR_EXCERPT_ARG(key->text), in, where, first->key->line);
            key->faulty = true;
        }
    }
}

// One mapping of a target: the members that are in no section, or those of one.
struct level {
    const struct pcr_config_target *target;
    const char *section; // "" or "http"
    const char *where;   // for messages
};

static bool in_section(const struct pcr_option *option, const char *section) {
    const char *dot = strchr(option->key, '.');
    size_t length = dot ? (size_t)(dot - option->key) : 0;
    return strlen(section) == length && memcmp(option->key, section, length) == 0;
}

static const struct pcr_option *find_option(const struct level *level, struct pcr_str key) {
    for (size_t i = 0; i < level->target->n_options; i++) {
        const struct pcr_option *option = &level->target->options[i];
        if (in_section(option, level->section) && pcr_str_eq(key, pcr_str(pcr_option_leaf(option))))
            return option;
    }
    return NULL;
}

// A key that belongs elsewhere is often simply indented wrongly: say where it lives.
static bool report_misplaced(struct pcr_config_ctx *ctx, const struct pcr_config_target *target,
                             const struct pcr_yaml_node *key) {
    const struct pcr_option *found = NULL;
    for (size_t i = 0; i < target->n_options && !found; i++)
        if (pcr_str_eq(key->text, pcr_str(pcr_option_leaf(&target->options[i]))))
            found = &target->options[i];
    if (!found)
        return false;
    const char *leaf = pcr_option_leaf(found);
    if (leaf != found->key)
        pcr_config_fault(ctx, key->line, key->column,
                         "the key '%s' belongs under %s%s%.*s, not here", leaf, target->where,
                         *target->where ? "." : "", (int)(leaf - found->key - 1), found->key);
    else
        pcr_config_fault(ctx, key->line, key->column, "the key '%s' belongs %s%s, not here", leaf,
                         *target->where ? "under " : "at the top level", target->where);
    return true;
}

static void report_unknown(struct pcr_config_ctx *ctx, const struct level *level,
                           const struct pcr_yaml_node *key) {
    if (report_misplaced(ctx, level->target, key))
        return;
    const char *names[NAMES_MAX] = {0};
    size_t n = 0;
    for (size_t i = 0; i < level->target->n_options && n < NAMES_MAX; i++)
        if (in_section(&level->target->options[i], level->section))
            names[n++] = pcr_option_leaf(&level->target->options[i]);
    const char *in = *level->where ? " in " : "";
    const char *close = pcr_str_closest(key->text, names, n);
    if (close)
        pcr_config_fault(ctx, key->line, key->column,
                         "unknown key '%.*s%s'%s%s; did you mean '%s'?", PCR_EXCERPT_ARG(key->text),
                         in, level->where, close);
    else
        pcr_config_fault(ctx, key->line, key->column, "unknown key '%.*s%s'%s%s",
                         PCR_EXCERPT_ARG(key->text), in, level->where);
}

static void apply_level(struct pcr_config_ctx *ctx, const struct level *level,
                        const struct pcr_yaml_node *node);

static void set_member(struct pcr_config_ctx *ctx, const struct level *level,
                       const struct pcr_option *option, const struct pcr_yaml_node *node) {
    char where[256];
    void *base = level->target->base;
    snprintf(where, sizeof where, "%s%s%s", level->where, *level->where ? "." : "",
             pcr_option_leaf(option));
    switch (option->type) {
    case PCR_OPTION_SECTION:
        if (!pcr_yaml_is_null(node)) // else all its keys are commented out
            apply_level(ctx, &(struct level){level->target, option->key, where}, node);
        break;
    case PCR_OPTION_DECISIONS:
        pcr_config_load_decisions(ctx, node);
        break;
    case PCR_OPTION_MODELS:
        pcr_config_load_models(ctx, node);
        break;
    case PCR_OPTION_FEATURES:
        pcr_config_load_features(ctx, base, where, node);
        break;
    case PCR_OPTION_ACTIONS:
        pcr_config_load_actions(ctx, base, where, node);
        break;
    case PCR_OPTION_LIMITS:
        pcr_config_load_limits(ctx, base, where, node);
        break;
    default:
        pcr_option_set(ctx, option, base, where, node);
        break;
    }
}

static void report_missing(struct pcr_config_ctx *ctx, const struct level *level,
                           const struct pcr_yaml_node *node) {
    for (size_t i = 0; i < level->target->n_options; i++) {
        const struct pcr_option *option = &level->target->options[i];
        const char *leaf = pcr_option_leaf(option);
        if (option->required && in_section(option, level->section) && !pcr_yaml_member(node, leaf))
            pcr_config_fault(ctx, node->line, node->column, "%s lacks '%s': %s", level->where, leaf,
                             option->help);
    }
}

// Recursion is one deep: there are no sections in sections.
static void apply_level(struct pcr_config_ctx *ctx, const struct level *level,
                        const struct pcr_yaml_node *node) {
    if (!pcr_config_expect(ctx, level->where, node, PCR_YAML_MAPPING, 1000))
        return;
    pcr_config_check_keys(ctx, level->where, node);
    for (const struct pcr_yaml_node *member = node->first; member; member = member->next) {
        if (member->key->faulty)
            continue;
        const struct pcr_option *option = find_option(level, member->key->text);
        if (option)
            set_member(ctx, level, option, member);
        else
            report_unknown(ctx, level, member->key);
    }
    report_missing(ctx, level, node);
}

struct pcr_config_target pcr_config_target(enum pcr_option_table table, const char *where,
                                           void *base) {
    struct pcr_config_target target = {.where = where, .base = base};
    target.options = pcr_options(table, &target.n_options);
    return target;
}

void pcr_config_apply_defaults(struct pcr_config_ctx *ctx, const struct pcr_config_target *target) {
    for (size_t i = 0; i < target->n_options; i++)
        pcr_option_set_default(ctx, &target->options[i], target->base);
}

void pcr_config_apply(struct pcr_config_ctx *ctx, const struct pcr_config_target *target,
                      const struct pcr_yaml_node *node) {
    pcr_config_apply_defaults(ctx, target);
    apply_level(ctx, &(struct level){target, "", target->where}, node);
}

// --- file and command line ----------------------------------------------------------------------
static struct pcr_config_target whole(struct pcr_config_ctx *ctx) {
    return pcr_config_target(PCR_OPTIONS_CONFIG, "", ctx->config);
}

static void load_text(struct pcr_config_ctx *ctx, struct pcr_str text) {
    struct pcr_arena scratch;
    pcr_arena_init(&scratch, PCR_CONFIG_ARENA_BYTES_MAX);
    ctx->scratch = &scratch;
    struct pcr_yaml_node *root;
    bool ok = pcr_yaml_parse(ctx, text, &root);
    if (ok && root && !pcr_yaml_is_null(root)) {
        struct pcr_config_target target = whole(ctx);
        pcr_config_apply(ctx, &target, root);
        ctx->was_read = root->kind == PCR_YAML_MAPPING;
        const struct pcr_yaml_node *ops_listen = pcr_yaml_member(root, "ops_listen");
        if (ops_listen)
            ctx->ops_listen_at = (struct pcr_config_place){ops_listen->line, ops_listen->column};
    }
    ctx->scratch = NULL;
    pcr_arena_fini(&scratch);
}

// 0, or the code that loading ends with.
static int read_file(struct pcr_config_ctx *ctx, const char *path, struct pcr_buf *text) {
    struct pacer_error err;
    int rc = pcr_file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, text, &err);
    if (rc < 0)
        pcr_config_fault(ctx, 0, 0, "%s", err.message);
    return rc == PACER_ELIMIT ? PACER_EINVAL : rc;
}

static const struct pcr_option *find_by_full_key(const char *key) {
    size_t n;
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(options[i].key, key) == 0 && options[i].type < PCR_OPTION_SECTION)
            return &options[i];
    return NULL;
}

static void report_unknown_override(struct pcr_config_ctx *ctx, const char *key) {
    const char *names[NAMES_MAX] = {0};
    size_t n_options, n = 0;
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n_options);
    for (size_t i = 0; i < n_options && n < NAMES_MAX; i++)
        if (options[i].type < PCR_OPTION_SECTION)
            names[n++] = options[i].key;
    const char *close = pcr_str_closest(pcr_str(key), names, n);
    if (close)
        pcr_config_fault(ctx, 0, 0, "unknown key '%.80s'; did you mean '%s'?", key, close);
    else
        pcr_config_fault(ctx, 0, 0, "unknown key '%.80s', or one that only the file can hold", key);
}

// A list comes as "a,b,c".
static void apply_list_override(struct pcr_config_ctx *ctx, const struct pcr_option *option,
                                const char *value) {
    struct pcr_yaml_node items[64] = {0};
    struct pcr_yaml_node list = {.kind = PCR_YAML_SEQUENCE};
    struct pcr_str rest = pcr_str(value), part;
    while (*value && pcr_str_split(&rest, ',', &part)) {
        if (list.n == PCR_COUNT_OF(items)) {
            pcr_config_fault(ctx, 0, 0, "more than %zu entries; list them in the file",
                             PCR_COUNT_OF(items));
            return;
        }
        items[list.n] = (struct pcr_yaml_node){.kind = PCR_YAML_SCALAR, .text = pcr_str_trim(part)};
        if (list.n > 0)
            items[list.n - 1].next = &items[list.n];
        list.n++;
    }
    list.first = list.n ? items : NULL;
    pcr_option_set(ctx, option, ctx->config, option->key, &list);
}

static void apply_override(struct pcr_config_ctx *ctx, const struct pcr_config_override *one) {
    ctx->flag = one->flag ? one->flag : one->key;
    ctx->flag_key = one->key;
    const struct pcr_option *option = find_by_full_key(one->key);
    struct pcr_yaml_node node = {.kind = PCR_YAML_SCALAR, .text = pcr_str(one->value)};
    if (!option)
        report_unknown_override(ctx, one->key);
    else if (option->type == PCR_OPTION_LIST)
        apply_list_override(ctx, option, one->value);
    else
        pcr_option_set(ctx, option, ctx->config, option->key, &node);
    ctx->flag = NULL;
}

// "" or the path up to and with its last slash.
static const char *directory_of(struct pcr_config_ctx *ctx, const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    if (!slash)
        return "";
    const char *dir =
        pcr_arena_dup(&ctx->config->arena, (struct pcr_str){path, (size_t)(slash - path) + 1});
    if (!dir)
        ctx->no_memory = true;
    return dir ? dir : "";
}

// Either may come from the file or from the command line.
static void check_ops(struct pcr_config_ctx *ctx) {
    if (ctx->config->ops_listen && !ctx->config->ops_token)
        pcr_config_fault(ctx, ctx->ops_listen_at.line, ctx->ops_listen_at.column,
                         "ops_listen needs ops_token: a secret of at least %d characters, such as "
                         "\"${PACER_OPS_TOKEN}\"",
                         PCR_CONFIG_TOKEN_BYTES_MIN);
}

static int load_all(struct pcr_config_ctx *ctx, const struct pcr_config_source *source,
                    const struct pcr_config_override *overrides, size_t n_overrides) {
    int rc = 0;
    struct pcr_buf text;
    pcr_buf_init(&text, PCR_CONFIG_FILE_BYTES_MAX);
    if (source->path) {
        ctx->config->file = pcr_config_text(ctx, "%s", source->path);
        ctx->dir = directory_of(ctx, source->path); // where the defaults' paths start, too
    }
    struct pcr_config_target target = whole(ctx);
    pcr_config_apply_defaults(ctx, &target);
    if (source->path) {
        if (!source->text.ptr)
            rc = read_file(ctx, source->path, &text);
        if (rc == 0)
            load_text(ctx, source->text.ptr ? source->text : pcr_buf_view(&text));
    }
    pcr_buf_fini(&text);
    for (size_t i = 0; i < n_overrides; i++)
        apply_override(ctx, &overrides[i]);
    check_ops(ctx);
    if (ctx->no_memory) {
        pcr_config_fault(ctx, 0, 0,
                         "needs more memory than there is, or than a configuration may take");
        return PACER_ENOMEM;
    }
    if (rc < 0)
        return rc;
    return ctx->faults->n + ctx->faults->dropped > 0 ? PACER_EINVAL : 0;
}

int pcr_config_load_source(const struct pcr_config_source *source,
                           const struct pcr_config_override *overrides, size_t n_overrides,
                           struct pcr_config **out, struct pcr_config_faults *faults) {
    const char *path = source->path;
    *out = NULL;
    struct pcr_config_ctx ctx = {
        .faults = faults,
        .file = !path                    ? "defaults"
                : strcmp(path, "-") == 0 ? "standard input"
                                         : path,
        .dir = "",
    };
    ctx.config = calloc(1, sizeof *ctx.config);
    if (!ctx.config) {
        pcr_config_fault(&ctx, 0, 0, "out of memory");
        return PACER_ENOMEM;
    }
    atomic_init(&ctx.config->refs, 1);
    pcr_arena_init(&ctx.config->arena, PCR_CONFIG_ARENA_BYTES_MAX);
    int rc = load_all(&ctx, source, overrides, n_overrides);
    if (rc < 0) {
        pcr_config_faults_sort(faults);
        if (source->parts && ctx.was_read && rc == PACER_EINVAL)
            *out = ctx.config;
        else
            pcr_config_unref(ctx.config);
        return rc;
    }
    *out = ctx.config;
    return 0;
}

int pcr_config_load(const char *path, const struct pcr_config_override *overrides,
                    size_t n_overrides, struct pcr_config **out, struct pcr_config_faults *faults) {
    struct pcr_config_source source = {.path = path};
    return pcr_config_load_source(&source, overrides, n_overrides, out, faults);
}

int pcr_config_load_parts(const char *path, const struct pcr_config_override *overrides,
                          size_t n_overrides, struct pcr_config **out,
                          struct pcr_config_faults *faults) {
    struct pcr_config_source source = {.path = path, .parts = true};
    return pcr_config_load_source(&source, overrides, n_overrides, out, faults);
}

void pcr_config_ref(struct pcr_config *config) {
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
}

// The release keeps every use by this thread before the decrement; the acquire lets the last one
// see them all.
void pcr_config_unref(struct pcr_config *config) {
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    pcr_arena_fini(&config->arena);
    free(config);
}
