// SPDX-License-Identifier: Apache-2.0
// Making a decision out of its configuration.
//
// Whatever can be found wrong is found here, where `pacer check` and a reload can say so, and not
// by the first client: the configuration by itself, the model against it (plan.c), and the contract
// against both. For the last one the model is run on the example request, in which every feature is
// at its baseline, and what comes out is written and held against the contract just as at run time.
// Then one made-up answer per action that the configuration can lead to: a contract whose enum
// forgets an action would otherwise break on the first day the markets fall.
//
// Two shapes of the made-up answer are tried, with all factors and with none, and an action is
// refused only if both break the contract. Proving that a schema admits any answer at all is
// undecidable in practice (patterns, references, not); trying the answers that pacer itself would
// write is cheap and finds the mistakes people make.
//
// Everything a decision needs is copied into its own arena, so it outlives the configuration it
// came from.
#include "decide/decide_priv.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#define DECISION_BYTES_MAX (4u << 20)
#define SCRATCH_BYTES_MAX (16u << 20)

__attribute__((format(printf, 3, 0))) static void add_fault(struct pcr_decide_report *report,
                                                            struct pcr_config_place at,
                                                            const char *format, va_list args) {
    char message[sizeof((struct pacer_error *)NULL)->message];
    vsnprintf(message, sizeof message, format, args);
    report->n++;
    report->fault(report->ctx, at, message);
}

void pcr_decide_fault(struct pcr_decide_report *report, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_fault(report, (struct pcr_config_place){line, 0}, format, args);
    va_end(args);
}

void pcr_decide_fault_at(struct pcr_decide_report *report, struct pcr_config_place at,
                         const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_fault(report, at, format, args);
    va_end(args);
}

// --- copying the configuration ------------------------------------------------------------------

static bool copy_text(struct pcr_arena *arena, const char *from, const char **to) {
    *to = from ? pcr_arena_dup(arena, pcr_str(from)) : NULL;
    return !from || *to;
}

// The same for what must be there.
static bool copy_name(struct pcr_arena *arena, const char *from, const char **to) {
    *to = pcr_arena_dup(arena, pcr_str(from ? from : ""));
    return *to;
}

static const char *label_of(struct pcr_arena *arena, const struct pcr_config_feature *config) {
    char *label = pcr_arena_dup(arena, pcr_str(config->label ? config->label : config->name));
    for (char *c = label; c && !config->label && *c; c++)
        if (*c == '_')
            *c = ' ';
    return label;
}

static bool copy_features(struct pcr_decision *decision, const struct pcr_config_decision *config,
                          struct pcr_decide_report *report) {
    size_t n = config->n_features;
    decision->n_features = n;
    decision->features = pcr_arena_calloc(&decision->arena, n + 1, sizeof *decision->features);
    decision->feature_names = pcr_arena_calloc(&decision->arena, n + 1, sizeof(const char *));
    if (!decision->features || !decision->feature_names)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct pcr_config_feature *from = &config->features[i];
        struct pcr_decide_feature *to = &decision->features[i];
        to->has_baseline = from->has_baseline;
        to->baseline = from->baseline;
        to->round = from->round;
        decision->is_bucketed = decision->is_bucketed || to->round > 0;
        to->line = from->line;
        to->label = label_of(&decision->arena, from);
        if (!to->label || !copy_name(&decision->arena, from->name, &to->name))
            return false;
        decision->feature_names[i] = to->name;
        void *old = NULL;
        if (!pcr_map_put(&decision->feature_of, pcr_str(to->name), to, &old))
            return false;
        if (old)
            pcr_decide_fault(report, to->line, "feature '%s' is listed twice", to->name);
        if (to->has_baseline && !isfinite(to->baseline))
            pcr_decide_fault(report, to->line,
                             "the baseline of feature '%s' is not a finite number", to->name);
    }
    return true;
}

static bool copy_actions(struct pcr_decision *decision, const struct pcr_config_decision *config,
                         struct pcr_decide_report *report) {
    decision->n_actions = config->n_actions;
    decision->actions =
        pcr_arena_calloc(&decision->arena, config->n_actions + 1, sizeof *decision->actions);
    if (!decision->actions)
        return false;
    for (size_t i = 0; i < config->n_actions; i++) {
        struct pcr_config_action *to = &decision->actions[i];
        to->line = config->actions[i].line;
        if (!copy_name(&decision->arena, config->actions[i].label, &to->label) ||
            !copy_name(&decision->arena, config->actions[i].action, &to->action))
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(decision->actions[j].label, to->label) == 0)
                pcr_decide_fault(report, to->line, "class '%s' is listed twice in actions",
                                 to->label);
    }
    return true;
}

static bool copy_classes(struct pcr_decision *decision, const struct pcr_config_decision *config) {
    decision->n_classes = config->n_classes;
    decision->classes =
        pcr_arena_calloc(&decision->arena, config->n_classes + 1, sizeof *decision->classes);
    for (size_t i = 0; decision->classes && i < config->n_classes; i++)
        if (!copy_name(&decision->arena, config->classes[i], &decision->classes[i]))
            return false;
    return decision->classes;
}

// "context.income" → "/context/income"; NULL when memory is out.
static const char *pointer_of(struct pcr_arena *arena, const char *dotted) {
    struct pcr_buf buf;
    if (!pcr_decide_buf(arena, 2 * strlen(dotted) + 1, &buf))
        return NULL;
    struct pcr_str rest = pcr_str(dotted), part;
    while (pcr_str_split(&rest, '.', &part))
        pcr_json_pointer_push(&buf, part);
    return buf.failed ? NULL : buf.data;
}

// A field is context.NAME (any depth) or features.NAME: other members of a request have no numbers
// in them.
static void check_field(const struct pcr_decision *decision, struct pcr_decide_limit *limit,
                        struct pcr_decide_report *report) {
    struct pcr_str rest = pcr_str(limit->field), part = {NULL, 0};
    size_t depth = 0;
    bool whole = rest.len <= PCR_DECIDE_FIELD_BYTES_MAX;
    while (whole && pcr_str_split(&rest, '.', &part)) {
        depth++;
        whole = part.len > 0 && depth <= PCR_DECIDE_FIELD_DEPTH_MAX;
    }
    struct pcr_str field = pcr_str(limit->field);
    if (whole && depth >= 2 && pcr_str_starts_with(field, PCR_STR("context.")))
        return;
    if (whole && depth >= 2 && pcr_str_starts_with(field, PCR_STR("features."))) {
        struct pcr_str name = pcr_str(limit->field + strlen("features."));
        const struct pcr_decide_feature *feature = pcr_map_get(&decision->feature_of, name);
        if (feature) {
            limit->feature = (int)(feature - decision->features);
            return;
        }
    }
    pcr_decide_fault(
        report, limit->line,
        "limit '%s' takes its number from '%.100s'; expected context.NAME (a number the "
        "request brings along) or features.NAME (one of this decision's features)",
        limit->name, limit->field);
}

static void check_limit(const struct pcr_decide_limit *limit, struct pcr_decide_report *report) {
    if (!isfinite(limit->times) || (limit->has_min && !isfinite(limit->min)) ||
        (limit->has_max && !isfinite(limit->max)))
        pcr_decide_fault(report, limit->line,
                         "limit '%s': times, min and max must be finite numbers", limit->name);
    else if (limit->has_min && limit->has_max && limit->min > limit->max)
        pcr_decide_fault(report, limit->line, "limit '%s': min %g is above max %g", limit->name,
                         limit->min, limit->max);
}

// Two fields may not ask for one member to be a number and an object at once.
static void check_fields_apart(const struct pcr_decision *decision,
                               struct pcr_decide_report *report) {
    for (size_t i = 0; i < decision->n_limits; i++) {
        struct pcr_str field = pcr_str(decision->limits[i].field);
        for (size_t j = 0; j < decision->n_limits; j++) {
            struct pcr_str other = pcr_str(decision->limits[j].field);
            if (other.len > field.len && other.ptr[field.len] == '.' &&
                pcr_str_starts_with(other, field))
                pcr_decide_fault(report, decision->limits[j].line,
                                 "limit '%s' needs '%s' to be an object, but limit '%s' needs '%s' "
                                 "to be a number",
                                 decision->limits[j].name, field.ptr, decision->limits[i].name,
                                 field.ptr);
        }
    }
}

static bool copy_limits(struct pcr_decision *decision, const struct pcr_config_decision *config,
                        struct pcr_decide_report *report) {
    decision->n_limits = config->n_limits;
    decision->limits =
        pcr_arena_calloc(&decision->arena, config->n_limits + 1, sizeof *decision->limits);
    if (!decision->limits)
        return false;
    for (size_t i = 0; i < config->n_limits; i++) {
        const struct pcr_config_limit *from = &config->limits[i];
        struct pcr_decide_limit *to = &decision->limits[i];
        to->times = from->times;
        to->has_min = from->has_min;
        to->has_max = from->has_max;
        to->min = from->min;
        to->max = from->max;
        to->line = from->line;
        to->feature = -1;
        if (!copy_name(&decision->arena, from->name, &to->name) ||
            !copy_name(&decision->arena, from->field, &to->field))
            return false;
        to->pointer = pointer_of(&decision->arena, to->field);
        if (!to->pointer)
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(decision->limits[j].name, to->name) == 0)
                pcr_decide_fault(report, to->line, "limit '%s' is listed twice", to->name);
        check_field(decision, to, report);
        check_limit(to, report);
        decision->needs_context = decision->needs_context || to->feature < 0;
    }
    check_fields_apart(decision, report);
    return true;
}

static struct pcr_config_place place_or(struct pcr_config_place at, int line) {
    return at.line > 0 ? at : (struct pcr_config_place){line, 0};
}

static bool copy_config(struct pcr_decision *decision, const struct pcr_config_decision *config,
                        struct pcr_decide_report *report) {
    decision->line = config->line;
    decision->model_at = place_or(config->model_at, config->line);
    decision->features_at = place_or(config->features_at, config->line);
    decision->actions_at = place_or(config->actions_at, config->line);
    decision->classes_at = place_or(config->classes_at, config->line);
    decision->contract_at = place_or(config->contract_at, config->line);
    decision->min_confidence = config->min_confidence;
    decision->max_factors = config->max_factors > 0 ? (size_t)config->max_factors : 0;
    if (config->n_features == 0 || config->n_features > PCR_DECIDE_FEATURES_MAX)
        pcr_decide_fault(report, config->line, "features has %zu entries; expected 1 to %d",
                         config->n_features, PCR_DECIDE_FEATURES_MAX);
    if (config->n_actions == 0 || config->n_actions > PCR_DECIDE_CLASSES_MAX)
        pcr_decide_fault(
            report, config->line,
            "actions has %zu entries; expected 1 to %d lines of CLASS: ACTION, one for "
            "each class of the model",
            config->n_actions, PCR_DECIDE_CLASSES_MAX);
    if (config->n_limits > PCR_DECIDE_LIMITS_MAX)
        pcr_decide_fault(report, config->line, "limits has %zu entries; expected at most %d",
                         config->n_limits, PCR_DECIDE_LIMITS_MAX);
    if (!(config->min_confidence >= 0 && config->min_confidence <= 1))
        pcr_decide_fault(report, config->line, "min_confidence is %g; expected 0 to 1",
                         config->min_confidence);
    if (config->min_confidence > 0 && !config->fallback_action)
        pcr_decide_fault(report, config->line,
                         "min_confidence is %g, but there is no fallback_action to take below it",
                         config->min_confidence);
    if (!config->contract)
        pcr_decide_fault(report, config->line,
                         "there is no contract; write contract: FILE, a JSON Schema that every "
                         "answer has to satisfy");
    if (!config->model)
        pcr_decide_fault(report, config->line, "there is no model; write model: NAME");
    if (report->n)
        return true;
    struct pcr_arena *arena = &decision->arena;
    return copy_text(arena, config->path, &decision->path) &&
           copy_text(arena, config->model, &decision->model) &&
           copy_text(arena, config->model_version, &decision->model_version) &&
           copy_text(arena, config->contract, &decision->contract_file) &&
           copy_text(arena, config->fallback_action, &decision->fallback_action) &&
           copy_features(decision, config, report) && copy_actions(decision, config, report) &&
           copy_classes(decision, config) && copy_limits(decision, config, report);
}

// --- the contract -------------------------------------------------------------------------------

static int load_contract(struct pcr_decision *decision, struct pcr_decide_report *report) {
    const char *file = decision->contract_file;
    const char *slash = strrchr(file, '/');
    struct pcr_str dir = slash ? (struct pcr_str){file, (size_t)(slash - file)} : PCR_STR(".");
    struct pacer_contract_options options = PACER_CONTRACT_OPTIONS_INIT;
    options.base_dir = pcr_arena_dup(&decision->arena, dir.len ? dir : PCR_STR("/"));
    if (!options.base_dir)
        return PACER_ENOMEM;
    struct pacer_error err = {0};
    int rc = pacer_contract_load(file, &options, &decision->contract, &err);
    if (rc < 0) {
        bool named = pcr_str_starts_with(pcr_str(err.message), pcr_str(file));
        pcr_decide_fault_at(report, decision->contract_at, "contract %s%s%s", named ? "" : file,
                            named ? "" : ": ", err.message);
        return rc == PACER_ENOMEM ? rc : 0;
    }
    yyjson_val *example = pcr_contract_example(decision->contract);
    if (example && pcr_contract_check_value(decision->contract, example, NULL, NULL, &err) < 0)
        pcr_decide_fault_at(report, decision->contract_at,
                            "contract %s: its own example does not satisfy it: %s", file,
                            err.message);
    return 0;
}

// An answer with this action that pacer could give, with all factors or with none.
static int try_action(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                      const struct pcr_decide_request *request, const char *action,
                      size_t class_index, bool fallback, struct pcr_arena *scratch,
                      struct pacer_error *err) {
    size_t n =
        decision->max_factors < decision->n_features ? decision->max_factors : decision->n_features;
    struct pcr_decide_factor *factors = pcr_arena_calloc(scratch, n + 1, sizeof *factors);
    if (!factors)
        return PACER_ENOMEM;
    for (size_t i = 0; i < n; i++)
        factors[i] = (struct pcr_decide_factor){i, (i % 2 ? -0.1f : 0.2f) / (float)(i + 1)};
    float sure = (float)decision->min_confidence;
    struct pcr_decide_verdict verdict = {
        .id = PCR_STR("00000000-0000-4000-8000-000000000000"),
        .request = request,
        .plan = plan,
        .class_index = class_index,
        .action = action,
        .fallback = fallback,
        .confidence = fallback ? sure * 0.9f : (1 + sure) / 2,
        .factors = factors,
        .n_factors = n,
    };
    const char *pointer = NULL;
    struct pcr_str answer = pcr_decide_answer_write(decision, &verdict, scratch);
    int rc = answer.ptr ? pcr_decide_answer_check(decision, answer, scratch, &pointer, err)
                        : PACER_ENOMEM;
    if (rc != PACER_ECONTRACT)
        return rc;
    verdict.n_factors = 0;
    answer = pcr_decide_answer_write(decision, &verdict, scratch);
    return answer.ptr ? pcr_decide_answer_check(decision, answer, scratch, &pointer, NULL)
                      : PACER_ENOMEM;
}

static int try_actions(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                       const struct pcr_decide_request *request, struct pcr_arena *scratch,
                       struct pcr_decide_report *report) {
    bool fallback = decision->min_confidence > 0;
    for (size_t i = 0; i < plan->n_classes + fallback; i++) {
        bool last = i == plan->n_classes;
        const char *action = last ? decision->fallback_action : plan->classes[i].action;
        struct pacer_error err = {0};
        int rc = try_action(decision, plan, request, action, last ? 0 : i, last, scratch, &err);
        if (rc == PACER_ENOMEM)
            return rc;
        if (rc < 0)
            pcr_decide_fault_at(report, decision->contract_at,
                                "contract %s: no answer with %s '%s' can satisfy it: %s",
                                decision->contract_file, last ? "fallback_action" : "action",
                                action, err.message);
    }
    return 0;
}

// --- the whole ----------------------------------------------------------------------------------

// Answers the example request: model, verdict, contract.
static int try_example(struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                       struct pcr_model *model, struct pcr_arena *scratch,
                       struct pcr_decide_report *report) {
    if (!pcr_decide_example_make(decision, plan))
        return PACER_ENOMEM;
    struct pcr_decide_request request = {.values = decision->example_values};
    request.limits = pcr_arena_calloc(scratch, decision->n_limits + 1, sizeof(double));
    struct pcr_decide_batch batch;
    if (!request.limits || !pcr_decide_batch_make(decision, plan, &request, scratch, &batch))
        return PACER_ENOMEM;
    for (size_t i = 0; i < decision->n_limits; i++)
        request.limits[i] =
            pcr_decide_limit_value(&decision->limits[i], decision->example_fields[i]);
    const struct pacer_tensor *outputs = NULL;
    size_t n_outputs = 0;
    struct pacer_error err = {0};
    struct pcr_decide_verdict verdict = {
        .id = PCR_STR("00000000-0000-4000-8000-000000000000"), .request = &request, .plan = plan};
    const char *both[] = {plan->output, plan->label};
    struct pacer_run run = batch.run;
    run.outputs = both;
    run.n_outputs = plan->label ? 2 : 1;
    int rc = pcr_session_run(model->session, &run, scratch, &outputs, &n_outputs, &err);
    if (rc == 0)
        rc = pcr_decide_judge(decision, &batch, outputs, scratch, &verdict, &err);
    if (rc == 0 && plan->label &&
        (rc = pcr_decide_labels_check(plan, &outputs[0], &outputs[1], &err)) < 0) {
        pcr_decide_fault_at(report, decision->model_at, "model '%s': %s", decision->model,
                            err.message);
        return 0;
    }
    if (rc < 0) {
        pcr_decide_fault_at(report, decision->model_at,
                            "model '%s' cannot answer an example in which every feature is at its "
                            "baseline: %s",
                            decision->model, err.message);
        return 0;
    }
    decision->example_answer = pcr_decide_answer_write(decision, &verdict, &decision->arena);
    if (!decision->example_answer.ptr)
        return PACER_ENOMEM;
    const char *pointer = NULL;
    rc = pcr_decide_answer_check(decision, decision->example_answer, scratch, &pointer, &err);
    if (rc < 0)
        pcr_decide_fault_at(
            report, decision->contract_at,
            "contract %s: the answer to an example in which every feature is at its "
            "baseline does not satisfy it: %s",
            decision->contract_file, err.message);
    return rc == 0 ? try_actions(decision, plan, &request, scratch, report) : 0;
}

// A model that was unloaded on request may come back; until then the decision stands, answers 503,
// and is described by what the configuration alone says.
static int stand_without_model(struct pcr_decision *decision) {
    struct pcr_arena scratch;
    pcr_arena_init(&scratch, SCRATCH_BYTES_MAX);
    struct pcr_decide_plan plan = {
        .baseline = pcr_arena_calloc(&scratch, decision->n_features, sizeof(double))};
    for (size_t i = 0; plan.baseline && i < decision->n_features; i++)
        if (decision->features[i].has_baseline)
            plan.baseline[i] = decision->features[i].baseline;
    bool made = plan.baseline && pcr_decide_example_make(decision, &plan);
    pcr_arena_fini(&scratch);
    decision->example_answer = PCR_STR("null");
    pcr_log(PCR_LOG_WARN, "decide",
            "%s: model '%s' is unloaded: the decision was not checked against it and answers 503 "
            "until the model is loaded",
            decision->path, decision->model);
    return made ? 0 : PACER_ENOMEM;
}

// There is no such model, or it is there and not ready.
static int name_models(const struct pcr_decision *decision, struct pcr_repository *repository,
                       const struct pacer_error *err, struct pcr_decide_report *report) {
    struct pcr_arena arena;
    struct pcr_model_status *index = NULL;
    size_t n = 0;
    pcr_arena_init(&arena, SCRATCH_BYTES_MAX);
    int rc = pcr_repository_index(repository, &arena, &index, &n);
    const char **names = rc == 0 ? pcr_arena_calloc(&arena, n + 1, sizeof *names) : NULL;
    bool known = false;
    for (size_t i = 0; names && i < n; i++) {
        names[i] = index[i].name;
        known = known || strcmp(names[i], decision->model) == 0;
    }
    const char *near = names ? pcr_str_closest(pcr_str(decision->model), names, n) : NULL;
    if (known && err->code == PACER_ENOTFOUND)
        pcr_decide_fault_at(report, decision->model_at, "model '%s' has no version '%s'",
                            decision->model, decision->model_version);
    else if (known)
        pcr_decide_fault_at(report, decision->model_at, "%s", err->message);
    else if (near)
        pcr_decide_fault_at(report, decision->model_at, "no model '%s'; did you mean '%s'?",
                            decision->model, near);
    else
        pcr_decide_fault_at(
            report, decision->model_at,
            "no model '%s' in models_dir; expected %s.onnx or %s/VERSION/model.onnx",
            decision->model, decision->model, decision->model);
    pcr_arena_fini(&arena);
    return names ? 0 : PACER_ENOMEM;
}

static int look_at_model(struct pcr_decision *decision, struct pcr_repository *repository,
                         struct pcr_decide_report *report) {
    struct pacer_error err = {0};
    struct pcr_model *model = pcr_repository_get(repository, pcr_str(decision->model),
                                                 pcr_str(decision->model_version), &err);
    if (!model && pcr_repository_unloaded(repository, pcr_str(decision->model),
                                          pcr_str(decision->model_version)))
        return stand_without_model(decision);
    if (!model) {
        return name_models(decision, repository, &err, report);
    }
    struct pcr_arena scratch;
    pcr_arena_init(&scratch, SCRATCH_BYTES_MAX);
    struct pcr_decide_plan plan = {.next = NULL};
    size_t faults = report->n;
    int rc = pcr_decide_plan_compile(decision, model, &scratch, &plan, report);
    decision->whole_numbers =
        rc == 0 && (plan.input_dtype == PACER_INT32 || plan.input_dtype == PACER_INT64);
    if (rc == 0 && report->n == faults && decision->contract)
        rc = try_example(decision, &plan, model, &scratch, report);
    pcr_arena_fini(&scratch);
    pcr_model_unref(model);
    return rc;
}

// PACER_ENOMEM, or 0 with faults or none; *out is there unless memory is out.
static int make(const struct pcr_config_decision *config, struct pcr_repository *repository,
                struct pcr_decide_report *report, struct pcr_decision **out) {
    struct pcr_decision *decision = aligned_alloc(PCR_DECIDE_LINES, sizeof *decision);
    *out = decision;
    if (!decision)
        return PACER_ENOMEM;
    memset(decision, 0, sizeof *decision);
    pcr_arena_init(&decision->arena, DECISION_BYTES_MAX);
    pcr_map_init(&decision->feature_of);
    pthread_mutex_init(&decision->publish, NULL);
    if (!copy_config(decision, config, report))
        return PACER_ENOMEM;
    if (report->n)
        return 0;
    int rc = load_contract(decision, report);
    if (rc == 0 && decision->contract)
        pcr_decide_kept_prepare(decision);
    return rc < 0 ? rc : look_at_model(decision, repository, report);
}

void pcr_decision_destroy(struct pcr_decision *decision) {
    if (!decision)
        return;
    pcr_decide_plans_destroy(decision);
    pacer_contract_destroy(decision->contract);
    pcr_map_fini(&decision->feature_of);
    pthread_mutex_destroy(&decision->publish);
    pcr_arena_fini(&decision->arena);
    free(decision);
}

struct first_fault {
    const char *file;
    struct pacer_error *err;
    size_t n;
};

static void keep_first(void *ctx, struct pcr_config_place at, const char *message) {
    struct first_fault *first = ctx;
    if (first->n++ > 0)
        return;
    if (at.line > 0 && at.column > 0)
        pcr_err(first->err, PACER_EINVAL, "decide", "%s:%d:%d: %s", first->file, at.line, at.column,
                message);
    else if (at.line > 0)
        pcr_err(first->err, PACER_EINVAL, "decide", "%s:%d: %s", first->file, at.line, message);
    else
        pcr_err(first->err, PACER_EINVAL, "decide", "%s: %s", first->file, message);
}

int pcr_decision_create(const struct pcr_config_decision *config, const char *config_file,
                        struct pcr_repository *repository, struct pcr_decision **out,
                        struct pacer_error *err) {
    *out = NULL;
    struct first_fault first = {config_file ? config_file : "configuration", err, 0};
    struct pcr_decide_report report = {keep_first, &first, 0};
    struct pcr_decision *decision;
    int rc = make(config, repository, &report, &decision);
    if (rc == 0 && report.n == 0) {
        *out = decision;
        return 0;
    }
    pcr_decision_destroy(decision);
    if (report.n == 0)
        return pcr_err(err, rc, "decide", "out of memory while loading the decision %s",
                       config->path);
    return PACER_EINVAL;
}

size_t pcr_decision_check(const struct pcr_config_decision *config,
                          struct pcr_repository *repository, pcr_decision_fault_cb fault,
                          void *ctx) {
    struct pcr_decide_report report = {fault, ctx, 0};
    struct pcr_decision *decision;
    if (make(config, repository, &report, &decision) < 0)
        pcr_decide_fault(&report, config->line, "out of memory while loading the decision %s",
                         config->path);
    pcr_decision_destroy(decision);
    return report.n;
}

const char *pcr_decision_path(const struct pcr_decision *decision) {
    return decision->path;
}

const char *pcr_decision_contract_file(const struct pcr_decision *decision) {
    return decision->contract_file;
}

const struct pacer_contract *pcr_decision_contract(const struct pcr_decision *decision) {
    return decision->contract;
}

void pcr_decision_stats(const struct pcr_decision *decision, struct pcr_decision_stats *out) {
    const struct pcr_decide_counters *counters = &decision->counters;
    *out = (struct pcr_decision_stats){
        .answered = atomic_load_explicit(&counters->answered, memory_order_relaxed),
        .fallbacks = atomic_load_explicit(&counters->fallbacks, memory_order_relaxed),
        .bad_requests = atomic_load_explicit(&counters->bad_requests, memory_order_relaxed),
        .contract_violations =
            atomic_load_explicit(&counters->contract_violations, memory_order_relaxed),
        .failures = atomic_load_explicit(&counters->failures, memory_order_relaxed),
    };
}
