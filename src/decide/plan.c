// SPDX-License-Identifier: Apache-2.0
// Plans: how one version of a model serves a decision.
//
// A model may be replaced under a running server, and its successor may order its features
// differently, have other baselines, or other classes. So nothing that was read from a model is
// kept in the decision: it is in a plan, which belongs to one content hash. A request takes the
// model, looks for its plan, and compiles one if it is the first to see this version; a version
// that does not fit gets a plan too, which says why, so that it is looked at and logged once and
// not by every request.
//
// Plans are published in a list that only grows at its front, with release order; readers load the
// front with acquire order and walk. A reader that finds no plan takes the lock and looks again.
// Plans go when the decision goes. Counting references instead would cost every request two shared
// writes to save some hundred bytes per reload; the list is bounded, and a server that sees more
// versions than that compiles the newest ones per request, in the request's own arena: slower by
// microseconds, never wrong.
#include "decide/decide_priv.h"

#include <math.h>
#include <stdlib.h>

#define PLAN_BYTES_MAX (1u << 20)

struct compile {
    const struct pcr_decision *decision;
    const struct pcr_model *model;
    struct pcr_arena *arena;
    struct pcr_decide_plan *plan;
    struct pcr_decide_report *report;
    const char **columns; // the model's own feature names in its order, or NULL
    size_t n_columns;
    yyjson_val *baselines; // an object, or NULL
};

// --- metadata -----------------------------------------------------------------------------------

// The JSON of a metadata entry into *out, NULL where there is none. False when memory is out.
static bool metadata_json(struct compile *c, const char *key, yyjson_val **out) {
    *out = NULL;
    const char *text = pacer_session_metadata(c->model->session, key);
    if (!text)
        return true;
    struct pcr_json_options options = {.what = key};
    struct pacer_error err = {0};
    int rc = pcr_json_parse(c->arena, pcr_str(text), &options, out, &err);
    if (rc < 0 && rc != PACER_ENOMEM)
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its metadata entry %s is not JSON: %s", c->model->name,
                            key, err.message);
    return rc != PACER_ENOMEM;
}

// A list of names (strings, or whole numbers as text) into the arena.
static bool metadata_names(struct compile *c, const char *key, size_t max, const char ***names,
                           size_t *n) {
    yyjson_val *list;
    *names = NULL;
    *n = 0;
    if (!metadata_json(c, key, &list))
        return false;
    if (!list)
        return true;
    size_t count = yyjson_is_arr(list) ? yyjson_arr_size(list) : 0;
    *names = pcr_arena_calloc(c->arena, count + 1, sizeof **names);
    if (!*names)
        return false;
    bool good = count > 0 && count <= max;
    size_t at, size;
    yyjson_val *item;
    yyjson_arr_foreach(list, at, size, item) {
        if (!good)
            break;
        if (yyjson_is_str(item) && yyjson_get_len(item) > 0)
            (*names)[at] = pcr_arena_dup(c->arena, pcr_json_str(item));
        else if (yyjson_is_int(item))
            (*names)[at] = pcr_arena_printf(c->arena, "%lld", (long long)yyjson_get_sint(item));
        else
            good = false;
        if (good && !(*names)[at])
            return false;
    }
    if (good)
        *n = count;
    else {
        *names = NULL;
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its metadata entry %s is not a list of 1 to %zu names",
                            c->model->name, key, max);
    }
    return true;
}

// --- inputs and outputs -------------------------------------------------------------------------

static void look_at_input(struct compile *c) {
    size_t n;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(c->model->session, &n);
    const char *model = c->model->name;
    size_t want = c->decision->n_features;
    if (n != 1) {
        pcr_decide_fault_at(
            c->report, c->decision->model_at,
            "model '%s' has %zu inputs; a decision needs exactly one, of shape [N,%zu]", model, n,
            want);
        return;
    }
    enum pacer_dtype dtype = inputs[0].dtype;
    if (dtype != PACER_FP32 && dtype != PACER_FP64 && dtype != PACER_INT32 && dtype != PACER_INT64)
        pcr_decide_fault_at(
            c->report, c->decision->model_at,
            "model '%s': its input '%s' is %s; a decision needs FP32, FP64, INT32 or "
            "INT64",
            model, inputs[0].name, pacer_dtype_name(dtype));
    if (inputs[0].rank != 2)
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its input '%s' has %zu dimensions; a decision needs two, "
                            "[N,%zu]",
                            model, inputs[0].name, inputs[0].rank, want);
    else if (inputs[0].shape[1] >= 0 && inputs[0].shape[1] != (int64_t)want)
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s' takes %lld features, but the decision lists %zu", model,
                            (long long)inputs[0].shape[1], want);
    else if (inputs[0].shape[0] >= 0 && !(inputs[0].shape[0] == 1 && c->decision->max_factors == 0))
        pcr_decide_fault_at(
            c->report, c->decision->model_at,
            "model '%s' takes batches of %lld rows only; factors need %zu rows at once: "
            "export the model with a dynamic first dimension, or set max_factors: 0 "
            "for a model of one row",
            model, (long long)inputs[0].shape[0], want + 1);
    size_t rows = c->decision->max_factors ? want + 1 : 1;
    if (c->plan->rows_max && rows > c->plan->rows_max)
        pcr_decide_fault(c->report, c->decision->line,
                         "factors need %zu rows at once, but max_batch_size of model '%s' is %zu; "
                         "raise it to %zu, or set max_factors: 0",
                         rows, model, c->plan->rows_max, rows);
    c->plan->input = pcr_arena_dup(c->arena, pcr_str(inputs[0].name));
    c->plan->input_dtype = dtype;
}

static bool is_probabilities(const struct pacer_tensor_info *info) {
    return (info->dtype == PACER_FP32 || info->dtype == PACER_FP64) && info->rank == 2;
}

// The output called "probabilities", else the only one that could be it; NULL with a fault.
static const struct pacer_tensor_info *look_at_outputs(struct compile *c) {
    size_t n, candidates = 0;
    const struct pacer_tensor_info *outputs = pacer_session_outputs(c->model->session, &n);
    const struct pacer_tensor_info *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_probabilities(&outputs[i]))
            continue;
        candidates++;
        found = &outputs[i];
        if (strcmp(outputs[i].name, "probabilities") == 0) {
            candidates = 1;
            break;
        }
    }
    if (candidates != 1) {
        pcr_decide_fault_at(
            c->report, c->decision->model_at,
            "model '%s' has %zu outputs of type FP32 or FP64 and shape [N,classes], none "
            "of them called 'probabilities'; expected one%s",
            c->model->name, candidates,
            candidates ? " of that name" : " (scikit-learn converters: turn zipmap off)");
        return NULL;
    }
    if (found->shape[1] == 1) {
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s' gives one number per row ('%s'), not probabilities; a "
                            "decision needs a classifier",
                            c->model->name, found->name);
        return NULL;
    }
    c->plan->output = pcr_arena_dup(c->arena, pcr_str(found->name));
    c->plan->output_dtype = found->dtype;
    return found;
}

// --- classes and actions ------------------------------------------------------------------------

// What somebody says the columns are called.
struct naming {
    const char *const *names; // NULL: nothing
    size_t n;
    const char *source; // for messages
};

static const char *action_of(const struct pcr_decision *decision, const char *class_name) {
    for (size_t i = 0; i < decision->n_actions; i++)
        if (strcmp(decision->actions[i].label, class_name) == 0)
            return decision->actions[i].action;
    return NULL;
}

static void actions_for_unknown_classes(struct compile *c, const struct naming *by) {
    for (size_t i = 0; i < c->decision->n_actions; i++) {
        const struct pcr_config_action *action = &c->decision->actions[i];
        bool known = false;
        for (size_t j = 0; j < by->n && !known; j++)
            known = strcmp(by->names[j], action->label) == 0;
        if (known)
            continue;
        const char *near = pcr_str_closest(pcr_str(action->label), by->names, by->n);
        pcr_decide_fault(c->report, action->line, "model '%s' has no class '%s'%s%s%s",
                         c->model->name, action->label, near ? "; did you mean '" : "",
                         near ? near : "", near ? "'?" : "");
    }
}

static bool are_numbers(const struct naming *by) {
    for (size_t i = 0; i < by->n; i++) {
        const char *text = by->names[i] + (by->names[i][0] == '-');
        if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
            return false;
    }
    return by->n > 0;
}

// Two namings of the same columns: a different order would be a different decision.
static void must_agree(struct compile *c, const struct naming *a, const struct naming *b) {
    size_t i = 0;
    while (i < a->n && i < b->n && strcmp(a->names[i], b->names[i]) == 0)
        i++;
    if (i == a->n && i == b->n)
        return;
    pcr_decide_fault_at(c->report, c->decision->model_at,
                        "model '%s': column %zu is %s%s%s by %s, but %s%s%s by %s; correct the one "
                        "that is wrong",
                        c->model->name, i, i < a->n ? "'" : "", i < a->n ? a->names[i] : "no class",
                        i < a->n ? "'" : "", a->source, i < b->n ? "'" : "",
                        i < b->n ? b->names[i] : "no class", i < b->n ? "'" : "", b->source);
}

static void no_name_twice(struct compile *c, const struct naming *by) {
    for (size_t i = 0; i < by->n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(by->names[i], by->names[j]) == 0) {
                pcr_decide_fault_at(c->report, c->decision->model_at,
                                    "model '%s': the class '%s' is there twice by %s",
                                    c->model->name, by->names[i], by->source);
                return;
            }
}

// The output of labels that the names can be held against, where the graph did not say them.
static void find_label_output(struct compile *c, const struct naming *by) {
    size_t n, candidates = 0;
    const struct pacer_tensor_info *outputs = pacer_session_outputs(c->model->session, &n);
    const struct pacer_tensor_info *found = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct pacer_tensor_info *o = &outputs[i];
        bool column = o->shape && (o->rank == 1 || (o->rank == 2 && o->shape[1] == 1));
        bool comparable = o->dtype == PACER_BYTES || (o->dtype == PACER_INT64 && are_numbers(by));
        if (!column || !comparable)
            continue;
        found = o;
        candidates++;
    }
    if (candidates == 1)
        c->plan->label = pcr_arena_dup(c->arena, pcr_str(found->name));
}

static bool set_classes(struct compile *c, const struct naming *by) {
    c->plan->classes = pcr_arena_calloc(c->arena, by->n + 1, sizeof *c->plan->classes);
    if (!c->plan->classes)
        return false;
    for (size_t i = 0; i < by->n; i++) {
        const char *name = pcr_arena_dup(c->arena, pcr_str(by->names[i]));
        if (!name)
            return false;
        c->plan->classes[i] = (struct pcr_decide_class){name, action_of(c->decision, name)};
        if (!c->plan->classes[i].action)
            pcr_decide_fault_at(c->report, c->decision->actions_at,
                                "model '%s' has a class '%s' without an action; write '%s: ACTION' "
                                "under actions",
                                c->model->name, name, name);
    }
    c->plan->n_classes = by->n;
    return true;
}

static void check_width(struct compile *c, const struct pacer_tensor_info *output,
                        const struct naming *by) {
    if (output->shape[1] >= 0 && output->shape[1] != (int64_t)by->n)
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its output '%s' has %lld classes, but %zu are named by %s",
                            c->model->name, output->name, (long long)output->shape[1], by->n,
                            by->source);
}

// The names come from the decision, else from the model's metadata, else from its graph; never from
// the order of actions, which people write as they like. Who speaks second must not contradict.
static bool look_at_classes(struct compile *c, const struct pacer_tensor_info *output) {
    const char **names;
    size_t n, faults = c->report->n;
    if (!metadata_names(c, "pacer.classes", PCR_DECIDE_CLASSES_MAX, &names, &n))
        return false;
    if (c->report->n > faults)
        return true;
    bool are_text = false;
    struct naming own = {c->decision->n_classes ? c->decision->classes : NULL,
                         c->decision->n_classes, "classes"};
    struct naming metadata = {names, n, "its metadata entry pacer.classes"};
    struct naming graph = {NULL, 0, "the labels in its graph"};
    graph.names = pcr_session_classes(c->model->session, output->name, &graph.n, &are_text);
    if (graph.n > PCR_DECIDE_CLASSES_MAX)
        graph.names = NULL;
    const struct naming *by = own.names ? &own : metadata.names ? &metadata : &graph;
    if (!by->names) {
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s' does not say what its classes are called; write classes: "
                            "[NAME, NAME] in the order of its columns",
                            c->model->name);
        return true;
    }
    no_name_twice(c, by);
    if (by == &own && metadata.names)
        must_agree(c, by, &metadata);
    // Whole numbers in the graph may have got names elsewhere; names may not get others.
    if (by != &graph && graph.names && (are_text || are_numbers(by)))
        must_agree(c, by, &graph);
    if (c->report->n > faults)
        return true;
    if (!graph.names)
        find_label_output(c, by);
    if (!set_classes(c, by))
        return false;
    actions_for_unknown_classes(c, by);
    check_width(c, output, by);
    return true;
}

// --- features and baselines ---------------------------------------------------------------------

static size_t column_of(const struct compile *c, const char *feature) {
    for (size_t i = 0; i < c->n_columns; i++)
        if (strcmp(c->columns[i], feature) == 0)
            return i;
    return SIZE_MAX;
}

static void columns_without_feature(struct compile *c) {
    for (size_t i = 0; i < c->n_columns; i++)
        if (!pcr_map_get(&c->decision->feature_of, pcr_str(c->columns[i])))
            pcr_decide_fault_at(
                c->report, c->decision->features_at,
                "model '%s' needs the feature '%s', which the decision does not list",
                c->model->name, c->columns[i]);
}

static void set_column(struct compile *c, size_t i) {
    const struct pcr_decide_feature *feature = &c->decision->features[i];
    c->plan->column[i] = c->columns ? column_of(c, feature->name) : i;
    if (c->plan->column[i] != SIZE_MAX)
        return;
    const char *near = pcr_str_closest(pcr_str(feature->name), c->columns, c->n_columns);
    pcr_decide_fault(c->report, feature->line, "model '%s' has no feature '%s'%s%s%s",
                     c->model->name, feature->name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

static void set_baseline(struct compile *c, size_t i) {
    const struct pcr_decide_feature *feature = &c->decision->features[i];
    yyjson_val *own = c->baselines ? yyjson_obj_get(c->baselines, feature->name) : NULL;
    double value = feature->has_baseline ? feature->baseline
                   : yyjson_is_num(own)  ? yyjson_get_num(own)
                                         : NAN;
    if (isnan(value))
        pcr_decide_fault(
            c->report, feature->line,
            "feature '%s' has no baseline (its usual value, such as the median in "
            "training), which factors are measured against; write '{name: %s, baseline: "
            "NUMBER}' under features, or put a number for it into the model's metadata "
            "entry pacer.baseline",
            feature->name, feature->name);
    else if (!pcr_decide_number_fits(c->plan->input_dtype, value) ||
             ((c->plan->input_dtype == PACER_INT32 || c->plan->input_dtype == PACER_INT64) &&
              value != trunc(value)))
        pcr_decide_fault(c->report, feature->line,
                         "the baseline of feature '%s' is %g, which is no %s, as model '%s' takes",
                         feature->name, value, pacer_dtype_name(c->plan->input_dtype),
                         c->model->name);
    c->plan->baseline[i] = value;
}

static bool look_at_features(struct compile *c) {
    size_t n = c->decision->n_features, faults = c->report->n;
    c->plan->column = pcr_arena_calloc(c->arena, n, sizeof *c->plan->column);
    c->plan->baseline = pcr_arena_calloc(c->arena, n, sizeof *c->plan->baseline);
    if (!c->plan->column || !c->plan->baseline ||
        !metadata_names(c, "pacer.features", PCR_DECIDE_FEATURES_MAX, &c->columns, &c->n_columns) ||
        !metadata_json(c, "pacer.baseline", &c->baselines))
        return false;
    if (c->baselines && !yyjson_is_obj(c->baselines)) {
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its metadata entry pacer.baseline is not an object of "
                            "feature: number",
                            c->model->name);
        c->baselines = NULL;
    }
    for (size_t i = 0; i < n; i++)
        set_column(c, i);
    columns_without_feature(c);
    if (c->report->n == faults && c->columns && c->n_columns != n)
        pcr_decide_fault_at(c->report, c->decision->model_at,
                            "model '%s': its metadata entry pacer.features names a feature twice",
                            c->model->name);
    for (size_t i = 0; i < n; i++)
        set_baseline(c, i);
    return true;
}

// --- the whole ----------------------------------------------------------------------------------

static size_t rows_max(const struct pcr_model *model) {
    return model->max_batch_size_is_set ? (size_t)model->max_batch_size : 0;
}

int pcr_decide_plan_compile(const struct pcr_decision *decision, const struct pcr_model *model,
                            struct pcr_arena *arena, struct pcr_decide_plan *plan,
                            struct pcr_decide_report *report) {
    struct compile c = {decision, model, arena, plan, report, NULL, 0, NULL};
    plan->next = NULL;
    plan->rows_max = rows_max(model);
    plan->unfit = plan->input = plan->output = plan->label = NULL;
    plan->input_dtype = plan->output_dtype = PACER_DTYPE_INVALID;
    plan->classes = NULL;
    plan->n_classes = 0;
    size_t faults = report->n;
    plan->version = pcr_arena_dup(arena, pcr_str(model->content_hash));
    look_at_input(&c);
    const struct pacer_tensor_info *output = look_at_outputs(&c);
    // Without a proper input there is no element type to hold baselines against.
    if (!plan->version || (output && !look_at_classes(&c, output)) ||
        (report->n == faults && !look_at_features(&c)))
        return PACER_ENOMEM;
    bool named = plan->input && plan->output;
    return report->n == faults && !named ? PACER_ENOMEM : 0;
}

static const struct pcr_decide_plan *find(const struct pcr_decision *decision,
                                          const struct pcr_model *model) {
    struct pcr_decide_plan *plan = atomic_load_explicit(&decision->plans, memory_order_acquire);
    while (plan &&
           (plan->rows_max != rows_max(model) || strcmp(plan->version, model->content_hash) != 0))
        plan = plan->next;
    return plan;
}

struct reason {
    struct pcr_arena *arena;
    const char *first;
};

static void keep_reason(void *ctx, struct pcr_config_place at, const char *message) {
    struct reason *reason = ctx;
    (void)at;
    if (!reason->first)
        reason->first = pcr_arena_dup(reason->arena, pcr_str(message));
}

static bool compile_into(struct pcr_decision *decision, const struct pcr_model *model,
                         struct pcr_arena *arena, struct pcr_decide_plan *plan) {
    struct reason reason = {arena, NULL};
    struct pcr_decide_report report = {keep_reason, &reason, 0};
    if (pcr_decide_plan_compile(decision, model, arena, plan, &report) < 0)
        return false;
    if (report.n)
        plan->unfit = reason.first ? reason.first : "the model does not fit the decision";
    return true;
}

static const struct pcr_decide_plan *publish(struct pcr_decision *decision,
                                             const struct pcr_model *model) {
    struct pcr_decide_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    pcr_arena_init(&plan->arena, PLAN_BYTES_MAX);
    if (!compile_into(decision, model, &plan->arena, plan)) {
        pcr_arena_fini(&plan->arena);
        free(plan);
        return NULL;
    }
    if (plan->unfit)
        pcr_log(PCR_LOG_ERROR, "decide", "%s cannot be served by version %s of model '%s': %s",
                decision->path, plan->version, model->name, plan->unfit);
    plan->next = atomic_load_explicit(&decision->plans, memory_order_relaxed);
    decision->n_plans++;
    atomic_store_explicit(&decision->plans, plan, memory_order_release);
    return plan;
}

const struct pcr_decide_plan *pcr_decide_plan_of(struct pcr_decision *decision,
                                                 const struct pcr_model *model,
                                                 struct pcr_arena *arena) {
    const struct pcr_decide_plan *plan = find(decision, model);
    if (plan)
        return plan;
    pthread_mutex_lock(&decision->publish);
    plan = find(decision, model);
    bool full = decision->n_plans >= PCR_DECIDE_PLANS_MAX;
    if (!plan && !full)
        plan = publish(decision, model);
    pthread_mutex_unlock(&decision->publish);
    if (plan || !full)
        return plan;
    struct pcr_decide_plan *own = pcr_arena_calloc(arena, 1, sizeof *own);
    return own && compile_into(decision, model, arena, own) ? own : NULL;
}

void pcr_decide_plans_destroy(struct pcr_decision *decision) {
    struct pcr_decide_plan *plan = atomic_load_explicit(&decision->plans, memory_order_relaxed);
    while (plan) {
        struct pcr_decide_plan *next = plan->next;
        pcr_arena_fini(&plan->arena);
        free(plan);
        plan = next;
    }
}
