// SPDX-License-Identifier: Apache-2.0
// Reading a request: every fault at once.
//
// A front end that learns of its mistakes one request at a time is fixed one deployment at a time.
// So reading never stops at the first fault: each goes into a list with a JSON pointer, what was
// expected and what came, up to a bound. The list is what the client gets.
//
// 400 or 422. A request whose form is wrong (not JSON, a member missing, unknown, or of the wrong
// type) is a 400. One whose form is right but which holds a number that cannot be computed with
// (beyond the model's element type, or so large that a limit is no longer finite) is a 422, if that
// is all that is wrong. NaN and 1e999 are not JSON numbers that a double can hold: the parser
// refuses them, 400.
//
// The context is the app's own: members that no limit asks for are let through unread, so that an
// app may send what it has. Unknown members of the request and of its features are refused: they
// are misspelt ones nearly always.
//
// The contract's validator is not used for requests: it would say "required property missing", and
// could not say which name was probably meant.
#include "decide/decide_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define NAME_BYTES_SHOWN 120           // of a member name the client made up
#define NAME_BYTES_GUESSED 64          // longer ones are not compared with the known names
#define INT64_EXACT 9007199254740992.0 // 2^53: beyond it a double skips integers
#define ROUND_BELOW 1e6                // limits below it are rounded to 1e-9

static const char *const members[] = {"user_id", "features", "context"};

// --- the list of faults -------------------------------------------------------------------------

static void add_bad(struct pcr_decide_bads *bads, bool malformed, const char *pointer,
                    const char *expected, const char *got) {
    bads->malformed = bads->malformed || malformed;
    if (bads->n == PCR_DECIDE_FAULTS_MAX) {
        bads->dropped++;
        return;
    }
    if (!bads->list)
        bads->list = pcr_arena_calloc(bads->arena, PCR_DECIDE_FAULTS_MAX, sizeof *bads->list);
    if (!bads->list || !pointer || !expected || !got)
        bads->out_of_memory = true;
    else
        bads->list[bads->n++] = (struct pcr_decide_bad){pointer, expected, got};
}

static const char *describe(struct pcr_decide_bads *bads, yyjson_val *value) {
    char text[96];
    if (!value)
        return "nothing";
    return pcr_arena_dup(bads->arena, pcr_str(pcr_json_describe(value, text, sizeof text)));
}

// "/prefix/name", the name cut short where it is long.
static const char *pointer_to(struct pcr_decide_bads *bads, const char *prefix,
                              struct pcr_str name) {
    struct pcr_buf buf;
    PCR_ASSERT(name.ptr);
    bool cut = name.len > NAME_BYTES_SHOWN;
    if (cut) {
        name.len = NAME_BYTES_SHOWN;
        while (name.len > 0 && ((unsigned char)name.ptr[name.len] & 0xC0) == 0x80)
            name.len--;
    }
    if (!pcr_decide_buf(bads->arena, strlen(prefix) + 2 * name.len + 8, &buf))
        return NULL;
    pcr_buf_text(&buf, prefix);
    pcr_json_pointer_push(&buf, name);
    if (cut)
        pcr_buf_text(&buf, "\xe2\x80\xa6");
    return buf.failed ? NULL : buf.data;
}

static void add_unknown(struct pcr_decide_bads *bads, const char *prefix, yyjson_val *key,
                        yyjson_val *value, const char *const *known, size_t n_known) {
    if (bads->n == PCR_DECIDE_FAULTS_MAX) {
        add_bad(bads, true, NULL, NULL, NULL);
        return;
    }
    struct pcr_str name = {yyjson_get_str(key), yyjson_get_len(key)};
    const char *near =
        name.len <= NAME_BYTES_GUESSED ? pcr_str_closest(name, known, n_known) : NULL;
    const char *expected =
        near ? pcr_arena_printf(bads->arena, "no member of this name; did you mean \"%s\"?", near)
             : "no member of this name";
    add_bad(bads, true, pointer_to(bads, prefix, name), expected, describe(bads, value));
}

// --- numbers ------------------------------------------------------------------------------------

bool pcr_decide_number_fits(enum pacer_dtype dtype, double value) {
    switch (dtype) {
    case PACER_FP32:
        return fabs(value) <= (double)FLT_MAX;
    case PACER_INT32:
        return value >= (double)INT32_MIN && value <= (double)INT32_MAX;
    case PACER_INT64:
        return fabs(value) <= INT64_EXACT;
    default:
        return isfinite(value);
    }
}

// Money, mostly: a product such as 3 × 0.1 is rounded to nine decimals where a double can hold them
// (0.3, not 0.30000000000000004), then clamped, so that rounding never passes a bound.
double pcr_decide_limit_value(const struct pcr_decide_limit *limit, double field) {
    double value = field * limit->times;
    if (fabs(value) < ROUND_BELOW)
        value = nearbyint(value * 1e9) / 1e9;
    if (limit->has_max && value > limit->max)
        value = limit->max;
    if (limit->has_min && value < limit->min)
        value = limit->min;
    return value + 0.0; // never -0
}

// --- members ------------------------------------------------------------------------------------

static size_t characters(const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

static void read_user_id(yyjson_val *value, struct pcr_decide_bads *bads) {
    size_t n = yyjson_is_str(value) ? characters(yyjson_get_str(value), yyjson_get_len(value)) : 0;
    if (n >= 1 && n <= PCR_DECIDE_USER_ID_MAX)
        return;
    const char *expected =
        pcr_arena_printf(bads->arena, "a string of 1 to %d characters", PCR_DECIDE_USER_ID_MAX);
    const char *got = n > PCR_DECIDE_USER_ID_MAX
                          ? pcr_arena_printf(bads->arena, "a string of %zu characters", n)
                          : describe(bads, value);
    add_bad(bads, true, "/user_id", expected, got);
}

// To a multiple, as decimal as it was written: with 0.1 it is 0.3, not 3 · 0.1.
static double rounded(double value, double step) {
    double inverse = nearbyint(1 / step);
    if (inverse >= 1 && fabs(inverse * step - 1) < 1e-9)
        return nearbyint(value * inverse) / inverse;
    return nearbyint(value / step) * step;
}

static void read_feature(const struct pcr_decide_plan *plan, double step, yyjson_val *key,
                         yyjson_val *value, double *out, struct pcr_decide_bads *bads) {
    enum pacer_dtype dtype = plan->input_dtype;
    bool whole = dtype == PACER_INT32 || dtype == PACER_INT64;
    *out = yyjson_is_num(value) ? yyjson_get_num(value) + 0.0 : NAN; // never -0
    bool malformed = !isfinite(*out) || (whole && *out != trunc(*out));
    if (!malformed && step > 0)
        *out = rounded(*out, step);
    if (!malformed && pcr_decide_number_fits(dtype, *out))
        return;
    const char *expected = whole ? "a whole number" : "a finite number";
    if (!malformed)
        expected = pcr_arena_printf(bads->arena, "%s within the range of %s", expected,
                                    dtype == PACER_INT64 ? "+-2^53" : pacer_dtype_name(dtype));
    struct pcr_str name = {yyjson_get_str(key), yyjson_get_len(key)};
    add_bad(bads, malformed, pointer_to(bads, "/features", name), expected, describe(bads, value));
}

static void read_features(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                          yyjson_val *features, double *values, struct pcr_decide_bads *bads) {
    if (features && !yyjson_is_obj(features)) {
        add_bad(bads, true, "/features", "an object of feature: number", describe(bads, features));
        return;
    }
    bool *seen = pcr_arena_calloc(bads->arena, decision->n_features, sizeof *seen);
    if (!seen) {
        bads->out_of_memory = true;
        return;
    }
    size_t at, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(features, at, n, key, value) {
        struct pcr_str name = {yyjson_get_str(key), yyjson_get_len(key)};
        const struct pcr_decide_feature *feature = pcr_map_get(&decision->feature_of, name);
        if (!feature) {
            add_unknown(bads, "/features", key, value, decision->feature_names,
                        decision->n_features);
            continue;
        }
        size_t i = (size_t)(feature - decision->features);
        seen[i] = true;
        read_feature(plan, feature->round, key, value, &values[i], bads);
    }
    bool whole = plan->input_dtype == PACER_INT32 || plan->input_dtype == PACER_INT64;
    for (size_t i = 0; i < decision->n_features; i++)
        if (!seen[i])
            add_bad(bads, true, pointer_to(bads, "/features", pcr_str(decision->features[i].name)),
                    whole ? "a whole number" : "a finite number", "nothing");
}

// The number a limit asks for, or NAN after a fault.
static double read_field(const struct pcr_decide_limit *limit, yyjson_val *root,
                         struct pcr_decide_bads *bads) {
    struct pcr_str rest = pcr_str(limit->field), part;
    yyjson_val *value = root;
    const char *above = "";
    while (value && pcr_str_split(&rest, '.', &part)) {
        if (!yyjson_is_obj(value)) {
            if (strcmp(above, "/context") != 0) // that one has been said already
                add_bad(bads, true, above, "an object", describe(bads, value));
            return NAN;
        }
        value = yyjson_obj_getn(value, part.ptr, part.len);
        above = pointer_to(bads, above, part);
        if (!above) {
            bads->out_of_memory = true;
            return NAN;
        }
    }
    if (yyjson_is_num(value) && isfinite(yyjson_get_num(value)))
        return yyjson_get_num(value);
    add_bad(bads, true, limit->pointer, "a finite number", describe(bads, value));
    return NAN;
}

static bool field_is_read_already(const struct pcr_decision *decision, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (strcmp(decision->limits[j].field, decision->limits[i].field) == 0)
            return true;
    return false;
}

static void read_limits(const struct pcr_decision *decision, yyjson_val *root,
                        const struct pcr_decide_request *out, struct pcr_decide_bads *bads) {
    struct pcr_decide_bads ignored = {.arena = bads->arena};
    for (size_t i = 0; i < decision->n_limits; i++) {
        const struct pcr_decide_limit *limit = &decision->limits[i];
        struct pcr_decide_bads *to = field_is_read_already(decision, i) ? &ignored : bads;
        double field =
            limit->feature >= 0 ? out->values[limit->feature] : read_field(limit, root, to);
        if (isnan(field)) // a fault that is listed
            continue;
        out->limits[i] = pcr_decide_limit_value(limit, field);
        if (!isfinite(out->limits[i]))
            add_bad(bads, false, limit->pointer,
                    pcr_arena_printf(bads->arena, "a number whose limit '%s' (times %g) is finite",
                                     limit->name, limit->times),
                    pcr_arena_printf(bads->arena, "the number %g", field));
    }
}

static void read_members(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                         yyjson_val *root, const struct pcr_decide_request *out,
                         struct pcr_decide_bads *bads) {
    read_user_id(yyjson_obj_get(root, "user_id"), bads);
    read_features(decision, plan, yyjson_obj_get(root, "features"), out->values, bads);
    yyjson_val *context = yyjson_obj_get(root, "context");
    if (context && !yyjson_is_obj(context))
        add_bad(bads, true, "/context", "an object", describe(bads, context));
    read_limits(decision, root, out, bads);
    size_t at, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(root, at, n, key, value) {
        bool known = false;
        for (size_t i = 0; i < PCR_COUNT_OF(members) && !known; i++)
            known = yyjson_equals_str(key, members[i]);
        if (!known)
            add_unknown(bads, "", key, value, members, PCR_COUNT_OF(members));
    }
}

bool pcr_decide_request_read(const struct pcr_decision *decision,
                             const struct pcr_decide_plan *plan, struct pcr_str body,
                             struct pcr_decide_request *out, struct pcr_decide_bads *bads) {
    static const struct pcr_json_options options = {.what = "request body"};
    struct pacer_error err = {0};
    yyjson_val *root = NULL;
    int rc = pcr_json_parse(bads->arena, body, &options, &root, &err);
    if (rc < 0) {
        bads->malformed = true;
        bads->out_of_memory = rc == PACER_ENOMEM;
        bads->error = pcr_arena_dup(bads->arena, pcr_str(err.message));
        return false;
    }
    if (!yyjson_is_obj(root)) {
        add_bad(bads, true, "", "an object with the members user_id, features and context",
                describe(bads, root));
    } else {
        out->values = pcr_arena_array(bads->arena, decision->n_features, sizeof(double));
        out->limits = pcr_arena_array(bads->arena, decision->n_limits + 1, sizeof(double));
        if (!out->values || !out->limits) {
            bads->out_of_memory = true;
            return false;
        }
        for (size_t i = 0; i < decision->n_features; i++)
            out->values[i] = NAN;
        read_members(decision, plan, root, out, bads);
    }
    if (bads->n + bads->dropped > 0)
        bads->error =
            pcr_arena_printf(bads->arena, "the request has %zu fault%s", bads->n + bads->dropped,
                             bads->n + bads->dropped == 1 ? "" : "s");
    return bads->n == 0 && !bads->out_of_memory && !bads->error;
}

struct pcr_str pcr_decide_bads_write(const struct pcr_decide_bads *bads) {
    size_t bytes = 1024 + 6 * (bads->error ? strlen(bads->error) : 0);
    for (size_t i = 0; i < bads->n; i++)
        bytes += 128 + 6 * (strlen(bads->list[i].pointer) + strlen(bads->list[i].expected) +
                            strlen(bads->list[i].got));
    struct pcr_buf buf;
    if (bads->out_of_memory || !bads->error || !pcr_decide_buf(bads->arena, bytes, &buf))
        return (struct pcr_str){NULL, 0};
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, &buf);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "error");
    pcr_json_text(&w, bads->error);
    pcr_json_key(&w, "faults");
    pcr_json_array_begin(&w);
    for (size_t i = 0; i < bads->n; i++) {
        pcr_json_object_begin(&w);
        pcr_json_key(&w, "pointer");
        pcr_json_text(&w, bads->list[i].pointer);
        pcr_json_key(&w, "expected");
        pcr_json_text(&w, bads->list[i].expected);
        pcr_json_key(&w, "got");
        pcr_json_text(&w, bads->list[i].got);
        pcr_json_object_end(&w);
    }
    pcr_json_array_end(&w);
    if (bads->dropped) {
        pcr_json_key(&w, "faults_not_listed");
        pcr_json_u64(&w, bads->dropped);
    }
    pcr_json_object_end(&w);
    return buf.failed ? (struct pcr_str){NULL, 0} : pcr_buf_view(&buf);
}
