// SPDX-License-Identifier: Apache-2.0
// What a decision tells others about itself: the request as a JSON Schema, and examples.
//
// The limits' fields are dotted paths, "context.person.income". Sorted, the paths that share a
// prefix stand side by side, so the tree of objects they make is walked without being built: one
// level is a run of paths, and each run of equal next names is a member.
#include "decide/decide_priv.h"

#include <stdlib.h>

struct field {
    const char *path; // after "context."
    const struct pcr_decide_limit *limit;
    double example;
};

struct fields {
    struct field list[PCR_DECIDE_LIMITS_MAX];
    size_t n;
};

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct field *)a)->path, ((const struct field *)b)->path);
}

// The fields of context, sorted, each once.
static struct fields context_fields(const struct pcr_decision *decision) {
    struct fields fields = {.n = 0};
    struct field *list = fields.list;
    for (size_t i = 0; i < decision->n_limits; i++) {
        const struct pcr_decide_limit *limit = &decision->limits[i];
        if (limit->feature < 0)
            list[fields.n++] = (struct field){limit->field + strlen("context."), limit,
                                              decision->example_fields[i]};
    }
    qsort(list, fields.n, sizeof *list, by_path);
    size_t kept = 0;
    for (size_t i = 0; i < fields.n; i++)
        if (kept == 0 || strcmp(list[i].path, list[kept - 1].path) != 0)
            list[kept++] = list[i];
    fields.n = kept;
    return fields;
}

static struct pcr_str next_name(const struct field *field, size_t from) {
    const char *name = field->path + from;
    return (struct pcr_str){name, strcspn(name, ".")};
}

// The end of the run, from `first`, whose next name is the same.
static size_t run_end(const struct fields *fields, size_t first, size_t end, size_t from) {
    struct pcr_str name = next_name(&fields->list[first], from);
    size_t at = first + 1;
    while (at < end && pcr_str_eq(next_name(&fields->list[at], from), name))
        at++;
    return at;
}

// The fields first … end share their first `from` characters; writes the object they are members
// of, with numbers for leaves. The depth is bounded by PCR_DECIDE_FIELD_DEPTH_MAX.
static void write_tree_example(struct pcr_json_writer *w, const struct fields *fields, size_t first,
                               size_t end, size_t from) {
    pcr_json_object_begin(w);
    for (size_t at = first; at < end;) {
        size_t next = run_end(fields, at, end, from);
        struct pcr_str name = next_name(&fields->list[at], from);
        pcr_json_key_str(w, name);
        if (name.ptr[name.len])
            write_tree_example(w, fields, at, next, from + name.len + 1);
        else
            pcr_json_f64(w, fields->list[at].example);
        at = next;
    }
    pcr_json_object_end(w);
}

static void write_number_schema(struct pcr_json_writer *w, const char *type,
                                const char *description) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "type");
    pcr_json_text(w, type);
    pcr_json_key(w, "description");
    pcr_json_text(w, description);
    pcr_json_object_end(w);
}

static void write_tree_schema(struct pcr_json_writer *w, const struct fields *fields, size_t first,
                              size_t end, size_t from) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "type");
    pcr_json_text(w, "object");
    pcr_json_key(w, "required");
    pcr_json_array_begin(w);
    for (size_t at = first; at < end; at = run_end(fields, at, end, from))
        pcr_json_string(w, next_name(&fields->list[at], from));
    pcr_json_array_end(w);
    pcr_json_key(w, "properties");
    pcr_json_object_begin(w);
    for (size_t at = first; at < end;) {
        size_t next = run_end(fields, at, end, from);
        struct pcr_str name = next_name(&fields->list[at], from);
        pcr_json_key_str(w, name);
        if (name.ptr[name.len]) {
            write_tree_schema(w, fields, at, next, from + name.len + 1);
        } else {
            char text[160];
            snprintf(text, sizeof text, "The limit %.80s is computed from it.",
                     fields->list[at].limit->name);
            write_number_schema(w, "number", text);
        }
        at = next;
    }
    pcr_json_object_end(w);
    pcr_json_object_end(w);
}

// --- requests -----------------------------------------------------------------------------------

static void write_user_id_schema(struct pcr_json_writer *w) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "type");
    pcr_json_text(w, "string");
    pcr_json_key(w, "minLength");
    pcr_json_u64(w, 1);
    pcr_json_key(w, "maxLength");
    pcr_json_u64(w, PCR_DECIDE_USER_ID_MAX);
    pcr_json_key(w, "description");
    pcr_json_text(w, "Whom the decision is for.");
    pcr_json_object_end(w);
}

static void write_features_schema(struct pcr_json_writer *w, const struct pcr_decision *decision) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "type");
    pcr_json_text(w, "object");
    pcr_json_key(w, "additionalProperties");
    pcr_json_bool(w, false);
    pcr_json_key(w, "required");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < decision->n_features; i++)
        pcr_json_text(w, decision->features[i].name);
    pcr_json_array_end(w);
    pcr_json_key(w, "properties");
    pcr_json_object_begin(w);
    for (size_t i = 0; i < decision->n_features; i++) {
        char text[200];
        snprintf(text, sizeof text, "%.120s; its usual value is %.6g", decision->features[i].label,
                 decision->example_values[i]);
        pcr_json_key(w, decision->features[i].name);
        write_number_schema(w, decision->whole_numbers ? "integer" : "number", text);
    }
    pcr_json_object_end(w);
    pcr_json_object_end(w);
}

void pcr_decision_request_schema(const struct pcr_decision *decision, struct pcr_json_writer *out) {
    struct fields fields = context_fields(decision);
    pcr_json_object_begin(out);
    pcr_json_key(out, "type");
    pcr_json_text(out, "object");
    pcr_json_key(out, "additionalProperties");
    pcr_json_bool(out, false);
    pcr_json_key(out, "required");
    pcr_json_array_begin(out);
    pcr_json_text(out, "user_id");
    pcr_json_text(out, "features");
    if (decision->needs_context)
        pcr_json_text(out, "context");
    pcr_json_array_end(out);
    pcr_json_key(out, "properties");
    pcr_json_object_begin(out);
    pcr_json_key(out, "user_id");
    write_user_id_schema(out);
    pcr_json_key(out, "features");
    write_features_schema(out, decision);
    pcr_json_key(out, "context");
    write_tree_schema(out, &fields, 0, fields.n, 0);
    pcr_json_object_end(out);
    pcr_json_key(out, "examples");
    pcr_json_array_begin(out);
    pcr_decision_request_example(decision, out);
    pcr_json_array_end(out);
    pcr_json_object_end(out);
}

void pcr_decision_request_example(const struct pcr_decision *decision,
                                  struct pcr_json_writer *out) {
    struct fields fields = context_fields(decision);
    pcr_json_object_begin(out);
    pcr_json_key(out, "user_id");
    pcr_json_text(out, "u-17");
    pcr_json_key(out, "features");
    pcr_json_object_begin(out);
    for (size_t i = 0; i < decision->n_features; i++) {
        pcr_json_key(out, decision->features[i].name);
        pcr_json_f64(out, decision->example_values[i]);
    }
    pcr_json_object_end(out);
    if (fields.n) {
        pcr_json_key(out, "context");
        write_tree_example(out, &fields, 0, fields.n, 0);
    }
    pcr_json_object_end(out);
}

// --- examples -----------------------------------------------------------------------------------

// A number whose limit is a typical one: in the middle of its bounds where it has both.
static double example_field(const struct pcr_decide_limit *limit) {
    double target = 100;
    if (limit->has_max)
        target = ((limit->has_min ? limit->min : 0) + limit->max) / 2;
    else if (limit->has_min && limit->min > 0)
        target = limit->min * 2;
    double field = limit->times == 0 ? target : target / limit->times;
    return field > -1e15 && field < 1e15 ? field : 0;
}

bool pcr_decide_example_make(struct pcr_decision *decision, const struct pcr_decide_plan *plan) {
    decision->example_values =
        pcr_arena_array(&decision->arena, decision->n_features, sizeof(double));
    decision->example_fields =
        pcr_arena_array(&decision->arena, decision->n_limits + 1, sizeof(double));
    if (!decision->example_values || !decision->example_fields)
        return false;
    memcpy(decision->example_values, plan->baseline, decision->n_features * sizeof(double));
    for (size_t i = 0; i < decision->n_limits; i++) {
        const struct pcr_decide_limit *limit = &decision->limits[i];
        decision->example_fields[i] =
            limit->feature >= 0 ? decision->example_values[limit->feature] : example_field(limit);
        for (size_t j = 0; j < i; j++) // one field has one example
            if (strcmp(decision->limits[j].field, limit->field) == 0)
                decision->example_fields[i] = decision->example_fields[j];
    }
    return true;
}

void pcr_decision_answer_example(const struct pcr_decision *decision, struct pcr_json_writer *out) {
    yyjson_val *example = pcr_contract_example(decision->contract);
    if (example)
        pcr_json_value(out, example);
    else
        pcr_json_raw(out, decision->example_answer);
}
