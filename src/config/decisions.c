// SPDX-License-Identifier: Apache-2.0
// Decisions and models: the parts of a configuration that are lists and maps of structs.
//
// The members of each struct are rows of options.def and go through the common walk; what is here
// is the shape around them (a list of decisions, a map of limits, the three ways to write a
// feature) and what has to hold between members. Only what needs no model is checked: whether the
// model has these classes and inputs is the decide room's question.
//
// Invariant: a struct is appended even when something in it is faulty, so that the faults of later
// members are found too; the configuration as a whole is then thrown away by the loader.
#include "config/config_priv.h"

#include <math.h>
#include <stdio.h>

#define DECISIONS_MAX 256
#define MODELS_MAX 1000
#define WHERE_BYTES 128

// Where to point for a fault of that member: at it, else at the whole.
static const struct pcr_yaml_node *place_of(const struct pcr_yaml_node *mapping, const char *key) {
    const struct pcr_yaml_node *member = pcr_yaml_member(mapping, key);
    return member ? member : mapping;
}

static const char *key_text(struct pcr_config_ctx *ctx, const struct pcr_yaml_node *member) {
    return pcr_config_text(ctx, "%.*s", PCR_STR_ARG(member->key->text));
}

// --- features -----------------------------------------------------------------------------------
// "name: 0.5" as the only member; anything else in braces is the long form.
static bool is_short_feature(const struct pcr_yaml_node *node) {
    return node->kind == PCR_YAML_MAPPING && node->n == 1 &&
           node->first->key->kind == PCR_YAML_SCALAR &&
           !pcr_str_eq(node->first->key->text, PCR_STR("name"));
}

static void load_feature(struct pcr_config_ctx *ctx, const char *where,
                         const struct pcr_yaml_node *node, struct pcr_config_feature *feature) {
    feature->line = node->line;
    if (is_short_feature(node)) {
        feature->name = key_text(ctx, node->first);
        feature->has_baseline = pcr_yaml_number(ctx, where, node->first, &feature->baseline);
        if (feature->name && !*feature->name)
            pcr_config_fault(ctx, node->line, node->column, "%s: a feature needs a name", where);
    } else if (node->kind == PCR_YAML_MAPPING) {
        struct pcr_config_target target = pcr_config_target(PCR_OPTIONS_FEATURE, where, feature);
        pcr_config_apply(ctx, &target, node);
    } else {
        struct pcr_str text;
        if (pcr_yaml_text(ctx, where, node, &text))
            feature->name = text.ptr;
    }
}

// The name as the file has it.
static struct pcr_str written_name(const struct pcr_yaml_node *node) {
    return is_short_feature(node) ? node->first->key->text : place_of(node, "name")->text;
}

// A repeated name would make the second value unreachable. `seen` maps a name to its feature.
static void check_feature_name(struct pcr_config_ctx *ctx, struct pcr_map *seen, const char *where,
                               const struct pcr_yaml_node *node,
                               struct pcr_config_feature *feature) {
    if (!feature->name || !*feature->name)
        return;
    const struct pcr_config_feature *first = pcr_map_get(seen, pcr_str(feature->name));
    if (first)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s: the feature '%.*s%s' is there twice, first in line %d", where,
                         PCR_EXCERPT_ARG(written_name(node)), first->line);
    else if (!pcr_map_put(seen, pcr_str(feature->name), feature, NULL))
        ctx->no_memory = true;
}

void pcr_config_load_features(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                              const char *where, const struct pcr_yaml_node *node) {
    if (!pcr_config_expect(ctx, where, node, PCR_YAML_SEQUENCE, PCR_CONFIG_FEATURES_MAX))
        return;
    if (node->n == 0)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s is empty; list the features in the order the model expects", where);
    decision->features = pcr_config_alloc(ctx, node->n, sizeof *decision->features);
    if (!decision->features)
        return;
    struct pcr_map seen;
    pcr_map_init(&seen);
    for (const struct pcr_yaml_node *item = node->first; item; item = item->next) {
        struct pcr_config_feature *feature = &decision->features[decision->n_features];
        char name[WHERE_BYTES];
        snprintf(name, sizeof name, "%s[%zu]", where, decision->n_features++);
        load_feature(ctx, name, item, feature);
        check_feature_name(ctx, &seen, name, item, feature);
    }
    pcr_map_fini(&seen);
}

// --- actions and limits -------------------------------------------------------------------------
void pcr_config_load_actions(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                             const char *where, const struct pcr_yaml_node *node) {
    if (!pcr_config_expect(ctx, where, node, PCR_YAML_MAPPING, PCR_CONFIG_ACTIONS_MAX))
        return;
    if (node->n == 0)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s is empty; say which action each class of the model stands for", where);
    decision->actions = pcr_config_alloc(ctx, node->n, sizeof *decision->actions);
    if (!decision->actions)
        return;
    pcr_config_check_keys(ctx, where, node);
    for (const struct pcr_yaml_node *member = node->first; member; member = member->next) {
        if (member->key->faulty)
            continue;
        struct pcr_config_action *action = &decision->actions[decision->n_actions++];
        char name[WHERE_BYTES];
        snprintf(name, sizeof name, "%s.%.*s", where,
                 PCR_STR_ARG(pcr_config_excerpt(member->key->text)));
        struct pcr_str text;
        action->line = member->key->line;
        action->label = key_text(ctx, member);
        if (pcr_yaml_text(ctx, name, member, &text))
            action->action = text.ptr;
    }
}

static bool dotted_ok(const char *field) {
    struct pcr_str rest = pcr_str(field), part;
    while (pcr_str_split(&rest, '.', &part))
        if (part.len == 0)
            return false;
    return true;
}

static void load_limit(struct pcr_config_ctx *ctx, const char *where,
                       const struct pcr_yaml_node *node, struct pcr_config_limit *limit) {
    struct pcr_config_target target = pcr_config_target(PCR_OPTIONS_LIMIT, where, limit);
    pcr_config_apply(ctx, &target, node);
    if (limit->field && !dotted_ok(limit->field)) {
        const struct pcr_yaml_node *at = place_of(node, "field");
        pcr_config_fault(ctx, at->line, at->column,
                         "%s.field: '%.*s%s' is not a dotted path of member names", where,
                         PCR_EXCERPT_ARG(at->text));
    }
    if (limit->has_min && limit->has_max && limit->min > limit->max) {
        const struct pcr_yaml_node *min = place_of(node, "min"), *max = place_of(node, "max");
        pcr_config_fault(ctx, min->line, min->column, "%s: min %.*s%s is greater than max %.*s%s",
                         where, PCR_EXCERPT_ARG(min->text), PCR_EXCERPT_ARG(max->text));
    }
}

void pcr_config_load_limits(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                            const char *where, const struct pcr_yaml_node *node) {
    if (pcr_yaml_is_null(node) ||
        !pcr_config_expect(ctx, where, node, PCR_YAML_MAPPING, PCR_CONFIG_LIMITS_MAX))
        return;
    decision->limits = pcr_config_alloc(ctx, node->n, sizeof *decision->limits);
    if (!decision->limits)
        return;
    pcr_config_check_keys(ctx, where, node);
    for (const struct pcr_yaml_node *member = node->first; member; member = member->next) {
        if (member->key->faulty)
            continue;
        struct pcr_config_limit *limit = &decision->limits[decision->n_limits++];
        char name[WHERE_BYTES];
        snprintf(name, sizeof name, "%s.%.*s", where,
                 PCR_STR_ARG(pcr_config_excerpt(member->key->text)));
        limit->line = member->key->line;
        limit->name = key_text(ctx, member);
        load_limit(ctx, name, member, limit);
    }
}

// --- decisions ----------------------------------------------------------------------------------
// Paths that the server answers itself.
static const char *const own_paths[] = {"/v2", "/openapi.json", "/api/contracts", "/metrics",
                                        "/slo"};

static const char *own_path(const char *path) {
    for (size_t i = 0; i < PCR_COUNT_OF(own_paths); i++) {
        size_t length = strlen(own_paths[i]);
        if (strncmp(path, own_paths[i], length) == 0 &&
            (path[length] == '\0' || path[length] == '/'))
            return own_paths[i];
    }
    return NULL;
}

static bool path_ok(const char *path) {
    if (path[0] != '/' || strlen(path) > 1024)
        return false;
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || strchr("?#%\"<>\\^`{|}", *c))
            return false;
    return !strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../");
}

static void check_path(struct pcr_config_ctx *ctx, const char *where,
                       const struct pcr_yaml_node *node, size_t index) {
    const struct pcr_config_decision *decisions = ctx->config->decisions;
    const char *path = decisions[index].path;
    if (!path)
        return;
    const struct pcr_yaml_node *at = place_of(node, "path");
    if (!path_ok(path)) {
        pcr_config_fault(
            ctx, at->line, at->column,
            "%s.path: '%.*s%s' is not a path; expected a slash, then letters, digits and "
            "-._~!$&'()*+,;=:@/",
            where, PCR_EXCERPT_ARG(at->text));
        return;
    }
    const char *own = own_path(path);
    if (own)
        pcr_config_fault(ctx, at->line, at->column,
                         "%s.path: the server answers %s itself; take another path", where, own);
    for (size_t i = 0; i < index; i++) {
        if (!decisions[i].path || strcmp(decisions[i].path, path) != 0)
            continue;
        pcr_config_fault(ctx, at->line, at->column,
                         "%s.path: '%.*s%s' is taken already by the decision in line %d", where,
                         PCR_EXCERPT_ARG(at->text), decisions[i].line);
        return;
    }
}

static void check_fallback(struct pcr_config_ctx *ctx, const char *where,
                           const struct pcr_yaml_node *node,
                           const struct pcr_config_decision *decision) {
    if (!(decision->min_confidence > 0) || pcr_yaml_member(node, "fallback_action"))
        return;
    const struct pcr_yaml_node *at = place_of(node, "min_confidence");
    pcr_config_fault(
        ctx, at->line, at->column,
        "%s: min_confidence is above 0 but there is no fallback_action; say which action "
        "is taken below it",
        where);
}

static struct pcr_config_place place_in(const struct pcr_yaml_node *decision, const char *key) {
    const struct pcr_yaml_node *at = place_of(decision, key);
    return (struct pcr_config_place){at->line, at->column};
}

void pcr_config_load_decisions(struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node) {
    struct pcr_config *config = ctx->config;
    if (pcr_yaml_is_null(node) ||
        !pcr_config_expect(ctx, "decisions", node, PCR_YAML_SEQUENCE, DECISIONS_MAX))
        return;
    config->decisions = pcr_config_alloc(ctx, node->n, sizeof *config->decisions);
    if (!config->decisions)
        return;
    for (const struct pcr_yaml_node *item = node->first; item; item = item->next) {
        size_t index = config->n_decisions++;
        struct pcr_config_decision *decision = &config->decisions[index];
        char where[WHERE_BYTES];
        snprintf(where, sizeof where, "decisions[%zu]", index);
        decision->line = item->line;
        struct pcr_config_target target = pcr_config_target(PCR_OPTIONS_DECISION, where, decision);
        size_t faults = ctx->faults->n + ctx->faults->dropped;
        pcr_config_apply(ctx, &target, item);
        decision->faulty = ctx->faults->n + ctx->faults->dropped > faults;
        decision->model_at = place_in(item, "model");
        decision->features_at = place_in(item, "features");
        decision->actions_at = place_in(item, "actions");
        decision->classes_at = place_in(item, "classes");
        decision->contract_at = place_in(item, "contract");
        check_path(ctx, where, item, index);
        check_fallback(ctx, where, item, decision);
    }
}

// --- models -------------------------------------------------------------------------------------
// As the repository wants it: a name of a file or directory that is not hidden.
static bool model_name_ok(struct pcr_str name) {
    bool ok = name.len > 0 && name.len <= 255 && name.ptr[0] != '.';
    for (size_t i = 0; i < name.len && ok; i++)
        ok = (unsigned char)name.ptr[i] >= ' ' && !strchr("/\\\x7f", name.ptr[i]);
    return ok;
}

// Points at the key that makes no sense.
static void check_cache(struct pcr_config_ctx *ctx, const char *where,
                        const struct pcr_yaml_node *member, const struct pcr_config_model *model) {
    const char *stale = model->cache_stale_while_revalidate_s > 0 ? "stale_while_revalidate_s"
                        : model->cache_stale_if_error_s > 0       ? "stale_if_error_s"
                                                                  : NULL;
    if (!stale || model->cache_ttl_s > 0)
        return;
    const struct pcr_yaml_node *at = place_of(place_of(member, "cache"), stale);
    pcr_config_fault(ctx, at->line, at->column,
                     "%s.cache.%s: answers that are not kept cannot be given later; set ttl_s, too",
                     where, stale);
}

void pcr_config_load_models(struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node) {
    struct pcr_config *config = ctx->config;
    if (pcr_yaml_is_null(node) ||
        !pcr_config_expect(ctx, "models", node, PCR_YAML_MAPPING, MODELS_MAX))
        return;
    config->models = pcr_config_alloc(ctx, node->n, sizeof *config->models);
    if (!config->models)
        return;
    pcr_config_check_keys(ctx, "models", node);
    for (const struct pcr_yaml_node *member = node->first; member; member = member->next) {
        if (member->key->faulty)
            continue;
        struct pcr_config_model *model = &config->models[config->n_models++];
        char where[WHERE_BYTES];
        snprintf(where, sizeof where, "models.%.*s",
                 PCR_STR_ARG(pcr_config_excerpt(member->key->text)));
        model->line = member->key->line;
        model->name = key_text(ctx, member);
        if (!model_name_ok(member->key->text))
            pcr_config_fault(ctx, member->key->line, member->key->column,
                             "%s: no model can have this name: expected 1 to 255 bytes without "
                             "'/', '\\' and control characters, not beginning with '.'",
                             where);
        struct pcr_config_target target = pcr_config_target(PCR_OPTIONS_MODEL, where, model);
        if (pcr_yaml_is_null(member))
            pcr_config_apply_defaults(ctx, &target);
        else
            pcr_config_apply(ctx, &target, member);
        check_cache(ctx, where, member, model);
    }
}
