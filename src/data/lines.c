// SPDX-License-Identifier: Apache-2.0
// Rows in JSON: one per line, or all in one array.
//
// The first row decides what rows look like: an object with a value for each input, the value of
// the only input, or an object with a scalar per feature. What it leaves open (the names and order
// of features, open dimensions, whether lists are nested or flat) holds for all rows after it, so
// that a ragged file is an error and not a tensor.
//
// Lines are parsed one by one into an arena that is reset in between; a document that is one array
// has to be in memory as a whole and is limited to 256 MiB for that. Numbers go through FP64 as
// they do in the server, so that a model is calibrated on exactly what it will be asked with.
#include "data/data_priv.h"

#include "json/json.h"

#include <math.h>
#include <stdio.h>

#define JSON_BYTES_MAX ((size_t)256 << 20)
#define JSON_ARENA_BYTES_MAX ((size_t)8 << 30)
#define LIST_BYTES 160

enum form { BY_INPUT, ONE_VALUE, FEATURES };

// How the value of an input is nested in the file; flat, or as its row is.
struct nest {
    size_t rank;
    int64_t shape[PACER_RANK_MAX];
};

struct rows {
    struct pcr_data_job *job;
    struct pcr_data_slot *slots;
    struct nest *nests; // one per slot
    enum form form;
    struct pcr_str *features;
    size_t n_features;
    struct pcr_map feature_map; // a feature's name to its place in `features`
    const char *line;           // of the current row; NULL: in an array
    size_t n;                   // rows so far
    size_t rows_max;            // of memory
};

// "path:line" or "path: row n", and what of the row is meant.
static const char *place_of(const struct rows *rows, const char *what, struct pcr_str name,
                            char *out, size_t out_bytes) {
    char place[PCR_DATA_WHERE_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    if (rows->line)
        pcr_data_line(rows->job, rows->line, place);
    else
        snprintf(place, sizeof place, "%.*s: row %zu", PCR_DATA_WHERE_BYTES - 40, rows->job->path,
                 rows->n + 1);
    if (what)
        snprintf(out, out_bytes, "%s: %s %s", place, what,
                 pcr_data_show(name, shown, sizeof shown));
    else
        snprintf(out, out_bytes, "%s", place);
    return out;
}

#define PLACE_BYTES (PCR_DATA_WHERE_BYTES + PCR_DATA_SHOWN_BYTES + 16)

// --- values -------------------------------------------------------------------------------------
static enum pcr_data_fault put_value(const struct rows *rows, const struct pcr_data_slot *slot,
                                     size_t index, yyjson_val *value) {
    enum pacer_dtype dtype = slot->input->dtype;
    bool allow_nan = rows->job->options.allow_nan;
    struct pcr_data_number number = {.kind = PCR_DATA_WHOLE};
    if (dtype == PACER_BYTES)
        return yyjson_is_str(value)
                   ? pcr_data_put_bytes(slot->data, index, pcr_json_str(value), rows->job->arena)
                   : PCR_DATA_NO_TEXT;
    if (yyjson_is_real(value)) {
        number.kind = PCR_DATA_REAL;
        number.real = yyjson_get_real(value);
    } else if (yyjson_is_uint(value)) {
        number.whole = yyjson_get_uint(value);
    } else if (yyjson_is_sint(value)) {
        number.kind = PCR_DATA_NEGATIVE;
        number.negative = yyjson_get_sint(value);
    } else if (yyjson_is_bool(value) && dtype == PACER_BOOL) {
        number.whole = yyjson_get_bool(value);
    } else if (yyjson_is_null(value) && allow_nan && pcr_data_is_float(dtype)) {
        number.kind = PCR_DATA_REAL;
        number.real = NAN;
    } else {
        return yyjson_is_null(value) ? PCR_DATA_MISSING
               : dtype == PACER_BOOL ? PCR_DATA_NO_BOOL
                                     : PCR_DATA_NO_NUMBER;
    }
    return pcr_data_put_number(dtype, slot->data, index, &number, false, allow_nan);
}

static int put_scalar(struct rows *rows, const struct pcr_data_slot *slot, size_t index,
                      yyjson_val *value, const char *what, struct pcr_str name) {
    enum pcr_data_fault fault = put_value(rows, slot, index, value);
    char where[PLACE_BYTES], shown[PCR_DATA_SHOWN_BYTES + 16];
    if (PCR_LIKELY(!fault))
        return 0;
    return pcr_data_unfit(rows->job, place_of(rows, what, name, where, sizeof where),
                          pcr_json_describe(value, shown, sizeof shown), slot->input->dtype, fault);
}

static int refuse_ragged(struct rows *rows, const struct pcr_data_slot *slot, size_t expected,
                         yyjson_val *value) {
    char where[PLACE_BYTES], shown[PCR_DATA_SHOWN_BYTES + 16];
    place_of(rows, "input", pcr_str(slot->input->name), where, sizeof where);
    if (yyjson_is_arr(value))
        snprintf(shown, sizeof shown, "a list of %zu", yyjson_arr_size(value));
    else
        pcr_json_describe(value, shown, sizeof shown);
    return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: %s where the first one is a list of %zu; all rows and lists in them must "
                   "be as long and as deep as the first",
                   where, shown, expected);
}

// Recursion is bounded by the rank of the nest.
static int put_nested(struct rows *rows, size_t input, yyjson_val *value, size_t depth,
                      size_t *index) {
    const struct pcr_data_slot *slot = &rows->slots[input];
    const struct nest *nest = &rows->nests[input];
    if (depth == nest->rank)
        return put_scalar(rows, slot, (*index)++, value, "input", pcr_str(slot->input->name));
    size_t expected = (size_t)nest->shape[depth];
    if (!yyjson_is_arr(value) || yyjson_arr_size(value) != expected)
        return refuse_ragged(rows, slot, expected, value);
    yyjson_val *item = yyjson_arr_get_first(value);
    for (size_t i = 0; i < expected; i++, item = unsafe_yyjson_get_next(item)) {
        int rc = put_nested(rows, input, item, depth + 1, index);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int put_input(struct rows *rows, size_t input, yyjson_val *value) {
    size_t index = rows->n * rows->slots[input].row_count;
    return put_nested(rows, input, value, 0, &index);
}

// --- the first row ------------------------------------------------------------------------------
// By the first item of each list; whether the others are alike is seen when they are read.
static bool measure(yyjson_val *value, struct nest *nest) {
    for (nest->rank = 0; yyjson_is_arr(value); value = yyjson_arr_get_first(value)) {
        if (nest->rank + 1 == PACER_RANK_MAX)
            return false;
        nest->shape[nest->rank++] = (int64_t)yyjson_arr_size(value);
    }
    return true;
}

static int refuse_shape(struct rows *rows, const struct pcr_data_slot *slot,
                        const struct nest *nest) {
    const struct pacer_tensor_info *input = slot->input;
    char where[PLACE_BYTES], shape[128], declared[128] = "any";
    if (input->shape)
        pcr_shape_text(input->shape, input->rank, declared, sizeof declared);
    bool batch = input->rank > 0 && nest->rank == input->rank && nest->shape[0] == 1;
    return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: a value of shape %s is no row of it; its shape is %s, of which the first "
                   "dimension counts rows%s",
                   place_of(rows, "input", pcr_str(input->name), where, sizeof where),
                   pcr_shape_text(nest->shape, nest->rank, shape, sizeof shape), declared,
                   batch ? "; leave out the outermost list" : "");
}

static int settle_input(struct rows *rows, size_t input, yyjson_val *value) {
    struct pcr_data_slot *slot = &rows->slots[input];
    struct nest *nest = &rows->nests[input];
    if (measure(value, nest) && pcr_data_settle_shape(slot, nest->shape, nest->rank))
        return 0;
    size_t n = nest->rank == 0 ? 1 : (size_t)nest->shape[0];
    if (nest->rank <= 1 && pcr_data_settle_flat(slot, n))
        return 0;
    return refuse_shape(rows, slot, nest);
}

static int settle_features(struct rows *rows, yyjson_val *object) {
    struct pcr_data_job *job = rows->job;
    char where[PLACE_BYTES], wanted[LIST_BYTES], list[LIST_BYTES];
    size_t n = yyjson_obj_size(object);
    if (n > PCR_DATA_COLUMNS_MAX)
        return pcr_err(job->err, PACER_ELIMIT, PCR_DATA_COMPONENT, "%s: more than %d members",
                       place_of(rows, NULL, PCR_STR(""), where, sizeof where),
                       PCR_DATA_COLUMNS_MAX);
    rows->features = pcr_arena_array(&job->scratch, n + 1, sizeof *rows->features);
    if (!rows->features)
        return pcr_data_no_memory(job);
    yyjson_obj_iter iter = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iter)); rows->n_features++) {
        struct pcr_str *feature = &rows->features[rows->n_features];
        char *copy = pcr_arena_dup(&job->scratch, pcr_json_str(key));
        if (!copy || !pcr_map_put(&rows->feature_map, pcr_json_str(key), feature, NULL))
            return pcr_data_no_memory(job);
        *feature = (struct pcr_str){copy, yyjson_get_len(key)};
    }
    if (pcr_data_settle_flat(&rows->slots[0], n))
        return 0;
    return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: the members do not make up a row: %s; the object has %zu: %s",
                   place_of(rows, NULL, PCR_STR(""), where, sizeof where),
                   pcr_data_wanted(job, wanted, sizeof wanted), n,
                   pcr_data_name_list(rows->features, n, list, sizeof list));
}

// The first input that an object has no member for, or NULL.
static const struct pacer_tensor_info *missing_input(const struct rows *rows, yyjson_val *object) {
    for (size_t i = 0; i < rows->job->n_inputs; i++)
        if (!yyjson_obj_get(object, rows->job->inputs[i].name))
            return &rows->job->inputs[i];
    return NULL;
}

static int refuse_missing(struct rows *rows, const struct pacer_tensor_info *input) {
    char where[PLACE_BYTES], wanted[LIST_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: there is no member for input %s; %s",
                   place_of(rows, NULL, PCR_STR(""), where, sizeof where),
                   pcr_data_show(pcr_str(input->name), shown, sizeof shown),
                   pcr_data_wanted(rows->job, wanted, sizeof wanted));
}

static int refuse_row(struct rows *rows, yyjson_val *row) {
    char where[PLACE_BYTES], wanted[LIST_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: %s is no row: %s; expected an object%s",
                   place_of(rows, NULL, PCR_STR(""), where, sizeof where),
                   pcr_json_describe(row, shown, sizeof shown),
                   pcr_data_wanted(rows->job, wanted, sizeof wanted),
                   rows->job->n_inputs > 1 ? " with a member for each" : " or a list");
}

static int settle_object(struct rows *rows, yyjson_val *object) {
    struct pcr_data_job *job = rows->job;
    const struct pacer_tensor_info *missing = missing_input(rows, object);
    if (missing && job->n_inputs > 1)
        return refuse_missing(rows, missing);
    if (missing || (job->n_inputs == 1 && !pcr_data_takes_one(&job->inputs[0], false) &&
                    !yyjson_is_arr(yyjson_obj_get(object, job->inputs[0].name)))) {
        rows->form = FEATURES;
        return settle_features(rows, object);
    }
    rows->form = BY_INPUT;
    for (size_t i = 0; i < job->n_inputs; i++) {
        int rc = settle_input(rows, i, yyjson_obj_get(object, job->inputs[i].name));
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Can this be the value of the only input? Of one that takes more, a single number is none.
static bool is_value(const struct rows *rows, yyjson_val *row) {
    const struct pcr_data_job *job = rows->job;
    return job->n_inputs == 1 && (yyjson_is_arr(row) || pcr_data_takes_one(&job->inputs[0], false));
}

// Takes memory for as many rows as may come: each takes a byte for each element, and another.
static int settle(struct rows *rows, yyjson_val *row, size_t rows_at_most) {
    struct pcr_data_job *job = rows->job;
    int rc;
    rows->form = ONE_VALUE;
    if (yyjson_is_obj(row))
        rc = settle_object(rows, row);
    else
        rc = is_value(rows, row) ? settle_input(rows, 0, row) : refuse_row(rows, row);
    if (rc < 0)
        return rc;
    size_t elements = 1;
    for (size_t i = 0; i < job->n_inputs; i++)
        elements += rows->slots[i].row_count; // of a value that was read
    rows->rows_max = job->bytes.len / elements + 1;
    if (rows_at_most < rows->rows_max)
        rows->rows_max = rows_at_most;
    return pcr_data_slots_alloc(job, rows->slots, rows->rows_max);
}

// --- each row -----------------------------------------------------------------------------------
static int put_by_input(struct rows *rows, yyjson_val *row) {
    const struct pacer_tensor_info *missing = missing_input(rows, row);
    if (missing)
        return refuse_missing(rows, missing);
    for (size_t i = 0; i < rows->job->n_inputs; i++) {
        int rc = put_input(rows, i, yyjson_obj_get(row, rows->job->inputs[i].name));
        if (rc < 0)
            return rc;
    }
    return 0;
}

// The members are in the same order as a rule; if not, the map tells where they belong.
static int put_features(struct rows *rows, yyjson_val *row) {
    const struct pcr_data_slot *slot = &rows->slots[0];
    char where[PLACE_BYTES];
    yyjson_obj_iter iter = yyjson_obj_iter_with(row);
    size_t at = 0;
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iter)); at++) {
        struct pcr_str name = pcr_json_str(key);
        PCR_ASSERT(name.ptr); // a key is a string
        const struct pcr_str *feature =
            at < rows->n_features && pcr_str_eq(name, rows->features[at])
                ? &rows->features[at]
                : pcr_map_get(&rows->feature_map, name);
        if (!feature)
            return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                           "%s: the first row has no such member; all rows need the same",
                           place_of(rows, "member", name, where, sizeof where));
        size_t index = rows->n * rows->n_features + (size_t)(feature - rows->features);
        int rc = put_scalar(rows, slot, index, yyjson_obj_iter_get_val(key), "member", name);
        if (rc < 0)
            return rc;
    }
    if (at != rows->n_features) // none is doubled, so some are missing
        return pcr_err(rows->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s: %zu members, but the first row has %zu; all rows need the same",
                       place_of(rows, NULL, PCR_STR(""), where, sizeof where), at,
                       rows->n_features);
    return 0;
}

static int put_row(struct rows *rows, yyjson_val *row, size_t rows_at_most) {
    int rc = rows->n == 0 ? settle(rows, row, rows_at_most) : 0;
    if (rc < 0)
        return rc;
    PCR_ASSERT(rows->n < rows->rows_max);
    if (rows->form == ONE_VALUE)
        rc = put_input(rows, 0, row);
    else if (!yyjson_is_obj(row))
        rc = refuse_row(rows, row);
    else
        rc = rows->form == BY_INPUT ? put_by_input(rows, row) : put_features(rows, row);
    rows->n++;
    return rc;
}

// --- documents ----------------------------------------------------------------------------------
static size_t at_most(const struct rows *rows, size_t n) {
    size_t rows_max = rows->job->options.rows_max;
    return rows_max && rows_max < n ? rows_max : n;
}

static int parse(struct rows *rows, struct pcr_arena *arena, struct pcr_str text,
                 yyjson_val **root) {
    char where[PLACE_BYTES];
    if (text.len > JSON_BYTES_MAX)
        return pcr_err(rows->job->err, PACER_ELIMIT, PCR_DATA_COMPONENT,
                       "%s: %zu bytes of JSON in one piece, more than %zu; write a row per line",
                       rows->job->path, text.len, JSON_BYTES_MAX);
    int rc = pcr_json_parse(arena, text, NULL, root, rows->job->err);
    if (rc == 0)
        return 0;
    return pcr_err_prefix(rows->job->err, rc, "%s",
                          rows->line ? place_of(rows, NULL, PCR_STR(""), where, sizeof where)
                                     : rows->job->path);
}

static int read_document(struct rows *rows) {
    yyjson_val *root = NULL, *row;
    struct pcr_arena arena;
    pcr_arena_init(&arena, JSON_ARENA_BYTES_MAX);
    int rc = parse(rows, &arena, rows->job->bytes, &root);
    if (rc == 0 && !yyjson_is_arr(root)) {
        rc = put_row(rows, root, 1);
    } else if (rc == 0) {
        size_t n = at_most(rows, yyjson_arr_size(root));
        yyjson_arr_iter iter = yyjson_arr_iter_with(root);
        for (size_t i = 0; rc == 0 && i < n && (row = yyjson_arr_iter_next(&iter)); i++)
            rc = put_row(rows, row, n);
    }
    pcr_arena_fini(&arena);
    return rc;
}

// --- lines --------------------------------------------------------------------------------------
// Takes the next line that is not empty off *rest; false at the end.
static bool next_line(struct pcr_str *rest, struct pcr_str *line) {
    while (pcr_str_split(rest, '\n', line)) {
        if (line->len > 0 && line->ptr[line->len - 1] == '\r')
            line->len--;
        *line = pcr_str_trim(*line);
        if (line->len > 0)
            return true;
    }
    return false;
}

static size_t count_lines(struct pcr_str text) {
    size_t n = 1;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n';
    return n;
}

static int read_lines(struct rows *rows) {
    struct pcr_str rest = rows->job->bytes, line;
    size_t n = at_most(rows, count_lines(rest));
    struct pcr_arena arena;
    int rc = 0;
    pcr_arena_init(&arena, JSON_ARENA_BYTES_MAX);
    while (rc == 0 && rows->n < n && next_line(&rest, &line)) {
        yyjson_val *row = NULL;
        rows->line = line.ptr;
        rc = parse(rows, &arena, line, &row);
        if (rc == 0)
            rc = put_row(rows, row, n);
        pcr_arena_reset(&arena);
    }
    pcr_arena_fini(&arena);
    return rc;
}

// A row per line? Then the first line is a document, and not all there is.
static bool has_lines(const struct pcr_data_job *job) {
    struct pcr_str rest = job->bytes, line, more;
    struct pcr_arena arena;
    yyjson_val *root;
    if (pcr_data_path_has(job->path, ".jsonl") || pcr_data_path_has(job->path, ".ndjson"))
        return true;
    if (!next_line(&rest, &line) || !next_line(&rest, &more) || line.len > JSON_BYTES_MAX)
        return false;
    pcr_arena_init(&arena, JSON_ARENA_BYTES_MAX);
    bool whole = pcr_json_parse(&arena, line, NULL, &root, NULL) == 0;
    pcr_arena_fini(&arena);
    return whole;
}

int pcr_data_read_json(struct pcr_data_job *job) {
    struct rows rows = {.job = job, .slots = pcr_data_slots(job)};
    rows.nests = pcr_arena_calloc(&job->scratch, job->n_inputs, sizeof *rows.nests);
    if (!rows.slots || !rows.nests)
        return pcr_data_no_memory(job);
    pcr_map_init(&rows.feature_map);
    int rc = has_lines(job) ? read_lines(&rows) : read_document(&rows);
    if (rc == 0 && rows.n == 0)
        rc = pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT, "%s: there is no row in it",
                     job->path);
    if (rc == 0)
        rc = pcr_data_slots_finish(job, rows.slots, rows.n);
    pcr_map_fini(&rows.feature_map);
    return rc;
}
