// SPDX-License-Identifier: Apache-2.0
// CSV as RFC 4180 has it, with a header line.
//
// The file is in memory. A field is found by a table of the bytes that may end it, which include
// the NUL behind the text, so the loop over a field has one test per byte; its number is read where
// it lies. Nothing counts lines on the way: a message's line is counted when there is a message.
//
// The rows are not known beforehand, but their number is bounded by the line ends and by the
// separators that a row takes. So memory is taken once, for no more rows than the file can hold,
// and never for what a file claims. Rejected: growing tensors (an arena gives nothing back), and a
// pass that splits the file into fields before one that reads them.
#include "data/data_priv.h"

#include <stdio.h>

#define LIST_BYTES 160

struct column {
    struct pcr_str name;
    struct pcr_data_slot *slot; // NULL: left aside
    size_t offset;              // in the row
};

struct csv {
    struct pcr_data_job *job;
    const char *at, *end;
    char separator;
    bool stops[256]; // what ends a field that is not quoted, or must not be in one
    struct column *columns;
    size_t n_columns;
    struct pcr_str *names;
    struct pcr_data_slot *slots;
    struct pcr_buf unquoted; // the last quoted field that held quotes
};

struct field {
    struct pcr_str text;
    bool quoted;
    bool last; // of its record
};

// --- fields -------------------------------------------------------------------------------------
static void set_separator(struct csv *csv, char separator) {
    csv->separator = separator;
    memset(csv->stops, 0, sizeof csv->stops);
    csv->stops[(unsigned char)separator] = csv->stops['\n'] = csv->stops['"'] = true;
    csv->stops['\0'] = true;
}

// What follows a field: a separator, the end of the line or of the file. False: none of them.
static bool take_end(struct csv *csv, struct field *field) {
    field->last = true;
    if (csv->at < csv->end && *csv->at == '\r' && (csv->at + 1 == csv->end || csv->at[1] == '\n'))
        csv->at++;
    if (csv->at == csv->end)
        return true;
    field->last = *csv->at == '\n';
    if (!field->last && *csv->at != csv->separator)
        return false;
    csv->at++;
    return true;
}

static int take_quoted(struct csv *csv, struct field *field) {
    const char *open = csv->at++, *from = csv->at;
    bool copied = false;
    for (;;) {
        const char *quote = memchr(csv->at, '"', (size_t)(csv->end - csv->at));
        if (!quote)
            return pcr_data_fail_at(csv->job, PACER_ESYNTAX, open,
                                    "a quoted field that begins here never ends");
        csv->at = quote + 1;
        if (csv->at == csv->end || *csv->at != '"') {
            field->text = (struct pcr_str){from, (size_t)(quote - from)};
            break;
        }
        if (!copied)
            pcr_buf_clear(&csv->unquoted);
        copied = true;
        pcr_buf_append(&csv->unquoted, from, (size_t)(csv->at - from)); // with one quote
        from = ++csv->at;
    }
    if (copied) {
        if (!pcr_buf_str(&csv->unquoted, field->text))
            return pcr_data_no_memory(csv->job);
        field->text = pcr_buf_view(&csv->unquoted);
    }
    field->quoted = true;
    if (!take_end(csv, field))
        return pcr_data_fail_at(
            csv->job, PACER_ESYNTAX, csv->at,
            "something follows the closing quote of a field; expected '%c' or the end of the "
            "line (a quote within a field is doubled)",
            csv->separator);
    return 0;
}

// What is neither field nor end: a quote, or a NUL before the end of the file.
static int refuse_byte(struct csv *csv) {
    if (*csv->at == '"')
        return pcr_data_fail_at(
            csv->job, PACER_ESYNTAX, csv->at,
            "a quote within a field; put the whole field in quotes and double that one");
    return pcr_data_fail_at(csv->job, PACER_ESYNTAX, csv->at, "a NUL byte; this is no text");
}

static int take_field(struct csv *csv, struct field *field) {
    const char *at = csv->at;
    if (*at == '"') // at the end of the file there is a NUL
        return take_quoted(csv, field);
    while (!csv->stops[(unsigned char)*at])
        at++;
    size_t len = (size_t)(at - csv->at);
    if (PCR_LIKELY(*at == csv->separator)) {
        *field = (struct field){.text = {csv->at, len}};
        csv->at = at + 1;
        return 0;
    }
    if (len > 0 && at[-1] == '\r' && (at == csv->end || *at == '\n'))
        len--;
    *field = (struct field){.text = {csv->at, len}};
    csv->at = at;
    if (PCR_UNLIKELY(!take_end(csv, field)))
        return refuse_byte(csv);
    return 0;
}

// --- the header ---------------------------------------------------------------------------------
// The most frequent of the usual ones in the first line, outside of quotes.
static char guess_separator(const struct csv *csv) {
    static const char candidates[] = {',', ';', '\t'};
    size_t counts[sizeof candidates] = {0}, best = 0;
    bool quoted = false;
    for (const char *at = csv->at; at < csv->end && (quoted || *at != '\n'); at++) {
        quoted ^= *at == '"';
        for (size_t i = 0; !quoted && i < sizeof candidates; i++)
            counts[i] += *at == candidates[i];
    }
    for (size_t i = 1; i < sizeof candidates; i++)
        if (counts[i] > counts[best])
            best = i;
    return candidates[best];
}

static int add_column(struct csv *csv, struct field field, const char *start) {
    struct pcr_str name = field.quoted ? field.text : pcr_str_trim(field.text);
    if (csv->n_columns == PCR_DATA_COLUMNS_MAX)
        return pcr_data_fail_at(csv->job, PACER_ELIMIT, start, "more than %d columns",
                                PCR_DATA_COLUMNS_MAX);
    char *copy = pcr_arena_dup(&csv->job->scratch, name);
    if (!copy)
        return pcr_data_no_memory(csv->job);
    csv->names[csv->n_columns++] = (struct pcr_str){copy, name.len};
    return 0;
}

// All numbers: then it is a row, and the names are missing.
static int refuse_numbers(struct csv *csv, const char *start) {
    struct pcr_data_number number;
    for (size_t i = 0; i < csv->n_columns; i++)
        if (pcr_data_number_read(csv->names[i], &number) == PCR_DATA_NO_NUMBER)
            return 0;
    return pcr_data_fail_at(
        csv->job, PACER_ESYNTAX, start,
        "the first line holds nothing but numbers; expected a header line with a name for each "
        "column: put one in front");
}

static int read_header(struct csv *csv) {
    const char *start = csv->at;
    struct field field = {.last = false};
    size_t room = csv->job->bytes.len + 1; // each column but the last takes a byte
    if (room > PCR_DATA_COLUMNS_MAX)
        room = PCR_DATA_COLUMNS_MAX;
    csv->names = pcr_arena_array(&csv->job->scratch, room, sizeof *csv->names);
    if (!csv->names)
        return pcr_data_no_memory(csv->job);
    while (!field.last) {
        int rc = take_field(csv, &field);
        if (rc == 0)
            rc = add_column(csv, field, start);
        if (rc < 0)
            return rc;
    }
    bool one_line = !memchr(start, '\n', (size_t)(csv->end - start));
    if (one_line && memchr(start, '\r', (size_t)(csv->at - start - 1)))
        return pcr_data_fail_at(
            csv->job, PACER_ESYNTAX, start,
            "lines end with a carriage return alone; save the file with line feeds");
    return refuse_numbers(csv, start);
}

// --- which column is what -----------------------------------------------------------------------
static size_t find_column(const struct csv *csv, struct pcr_str name, size_t from) {
    while (from < csv->n_columns && !pcr_str_eq(csv->names[from], name))
        from++;
    return from;
}

static bool match_by_name(const struct csv *csv) {
    for (size_t i = 0; i < csv->job->n_inputs; i++) {
        const struct pacer_tensor_info *input = &csv->job->inputs[i];
        if (!pcr_data_takes_one(input, csv->job->n_inputs > 1) ||
            find_column(csv, pcr_str(input->name), 0) == csv->n_columns)
            return false;
    }
    return true;
}

static int assign_by_name(struct csv *csv) {
    for (size_t i = 0; i < csv->job->n_inputs; i++) {
        struct pcr_str name = pcr_str(csv->job->inputs[i].name);
        size_t at = find_column(csv, name, 0);
        char shown[PCR_DATA_SHOWN_BYTES];
        if (find_column(csv, name, at + 1) < csv->n_columns)
            return pcr_err(csv->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                           "%s: two columns are called %s, and the model has one input of that "
                           "name; rename one of them",
                           csv->job->path, pcr_data_show(name, shown, sizeof shown));
        bool settled = pcr_data_settle_flat(&csv->slots[i], 1);
        PCR_ASSERT(settled); // match_by_name saw that it takes one value
        csv->columns[at].slot = &csv->slots[i];
    }
    return 0;
}

static void assign_all(struct csv *csv) {
    for (size_t i = 0; i < csv->n_columns; i++) {
        csv->columns[i].slot = &csv->slots[0];
        csv->columns[i].offset = i;
    }
}

// What would have to be different: an input that is no column, or takes more than a column gives.
static int refuse_columns(struct csv *csv) {
    struct pcr_data_job *job = csv->job;
    char wanted[LIST_BYTES], names[LIST_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    const char *advice = "";
    if (csv->names[0].len == 0)
        advice = ". The first column has no name; is it an index? Leave it out";
    else if (job->n_inputs > 1)
        advice = ". Give each input a column of its name, or write .npz or JSON lines";
    for (size_t i = 0; job->n_inputs > 1 && i < job->n_inputs; i++) {
        struct pcr_str name = pcr_str(job->inputs[i].name);
        if (find_column(csv, name, 0) < csv->n_columns)
            continue;
        return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s: there is no column for input %s; %s; the file has %zu columns: %s%s",
                       job->path, pcr_data_show(name, shown, sizeof shown),
                       pcr_data_wanted(job, wanted, sizeof wanted), csv->n_columns,
                       pcr_data_name_list(csv->names, csv->n_columns, names, sizeof names), advice);
    }
    return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: the columns do not make up a row: %s; the file has %zu column%s: %s%s",
                   job->path, pcr_data_wanted(job, wanted, sizeof wanted), csv->n_columns,
                   csv->n_columns == 1 ? "" : "s",
                   pcr_data_name_list(csv->names, csv->n_columns, names, sizeof names), advice);
}

static int assign_columns(struct csv *csv) {
    csv->slots = pcr_data_slots(csv->job);
    csv->columns = pcr_arena_calloc(&csv->job->scratch, csv->n_columns, sizeof *csv->columns);
    if (!csv->slots || !csv->columns)
        return pcr_data_no_memory(csv->job);
    if (match_by_name(csv))
        return assign_by_name(csv);
    if (csv->job->n_inputs != 1 || !pcr_data_settle_flat(&csv->slots[0], csv->n_columns))
        return refuse_columns(csv);
    assign_all(csv);
    return 0;
}

// --- the rows -----------------------------------------------------------------------------------
static int refuse_field(struct csv *csv, size_t column, struct field field, const char *at,
                        enum pcr_data_fault fault) {
    char place[PCR_DATA_WHERE_BYTES], name[PCR_DATA_SHOWN_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    char where[PCR_DATA_WHERE_BYTES + PCR_DATA_SHOWN_BYTES + 48];
    pcr_data_line(csv->job, at, place);
    if (csv->names[column].len)
        snprintf(where, sizeof where, "%s: column %s", place,
                 pcr_data_show(csv->names[column], name, sizeof name));
    else
        snprintf(where, sizeof where, "%s: column %zu", place, column + 1);
    pcr_data_show(field.text, shown, sizeof shown);
    return pcr_data_unfit(csv->job, where, shown, csv->columns[column].slot->input->dtype, fault);
}

static int refuse_count(struct csv *csv, const char *start, size_t n, bool more) {
    if (n == 1 && start < csv->end && (*start == '\n' || *start == '\r'))
        return pcr_data_fail_at(csv->job, PACER_ESYNTAX, start, "an empty line; remove it");
    return pcr_data_fail_at(csv->job, PACER_ESYNTAX, start,
                            "%s%zu field%s, but the header line has %zu", more ? "more than " : "",
                            n, n == 1 ? "" : "s", csv->n_columns);
}

static int read_row(struct csv *csv, size_t row) {
    const char *start = csv->at;
    struct field field;
    for (size_t i = 0; i < csv->n_columns; i++) {
        const struct column *column = &csv->columns[i];
        const char *at = csv->at;
        int rc = take_field(csv, &field);
        if (PCR_UNLIKELY(rc < 0))
            return rc;
        if (PCR_UNLIKELY(field.last != (i + 1 == csv->n_columns)))
            return refuse_count(csv, start, i + 1, !field.last);
        if (!column->slot)
            continue;
        size_t index = row * column->slot->row_count + column->offset;
        enum pcr_data_fault fault =
            pcr_data_put_text(column->slot->input->dtype, column->slot->data, index, field.text,
                              csv->job->arena, csv->job->options.allow_nan);
        if (PCR_UNLIKELY(fault))
            return refuse_field(csv, i, field, at, fault);
    }
    return 0;
}

// Empty lines at the end are no rows.
static const char *end_of_rows(const struct csv *csv) {
    const char *end = csv->end;
    while (end > csv->at && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    return end;
}

static size_t count_rows_at_most(const struct csv *csv, const char *end) {
    size_t lines = 1;
    for (const char *at = csv->at; at < end; at++)
        lines += *at == '\n';
    // But for the last one a row takes a byte per column: its separators and its line end.
    size_t rows = (size_t)(end - csv->at) / csv->n_columns + 1;
    if (lines < rows)
        rows = lines;
    size_t rows_max = csv->job->options.rows_max;
    return rows_max && rows_max < rows ? rows_max : rows;
}

static int read_rows(struct csv *csv) {
    const char *end = end_of_rows(csv);
    if (csv->at == end)
        return pcr_err(csv->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s: there is no row after the header line", csv->job->path);
    size_t rows_max = count_rows_at_most(csv, end), rows = 0;
    int rc = pcr_data_slots_alloc(csv->job, csv->slots, rows_max);
    while (rc == 0 && rows < rows_max && csv->at < end)
        rc = read_row(csv, rows++);
    if (rc < 0)
        return rc;
    PCR_ASSERT(csv->at >= end || rows == csv->job->options.rows_max);
    return pcr_data_slots_finish(csv->job, csv->slots, rows);
}

int pcr_data_read_csv(struct pcr_data_job *job, bool tabs) {
    struct csv csv = {.job = job, .at = job->bytes.ptr, .end = job->bytes.ptr + job->bytes.len};
    pcr_buf_init(&csv.unquoted, job->bytes.len);
    set_separator(&csv, tabs ? '\t' : guess_separator(&csv));
    int rc = read_header(&csv);
    if (rc == 0)
        rc = assign_columns(&csv);
    if (rc == 0)
        rc = read_rows(&csv);
    pcr_buf_fini(&csv.unquoted);
    return rc;
}
