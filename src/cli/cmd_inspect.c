// SPDX-License-Identifier: Apache-2.0
// pacer inspect: what an ONNX file declares and holds,
// as a table for people or as JSON for programs.
//
// The file is only read, never run: it may be of an opset that no runtime here knows, name
// operators that do not exist or be a hostile one, and still be looked at. Everything shown comes
// from the onnx room's summary, which is bounded.
//
// Names and metadata are whatever somebody wrote into the file. In the table control characters
// become '?', so that a model cannot steer the terminal; in JSON the writer escapes them, so
// nothing is lost there.
//
// Loading a session instead would have given inputs and outputs in fewer lines, but neither
// operators nor parameters, and nothing at all for a model that does not load, which is when people
// reach for this command.
#include "cli/cli.h"
#include "onnx/onnx.h"
#include "json/json.h"

#define ARENA_BYTES_MAX (256u << 20)
#define OUTPUT_BYTES_MAX (64u << 20)

// --- as a table ---------------------------------------------------------------------------------
// Text of the file with what could steer a terminal taken out.
static void safe_text(struct pcr_buf *out, const char *text) {
    for (; *text; text++)
        pcr_buf_char(out, (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void line(struct pcr_buf *out, const char *label, const char *text) {
    if (!*text)
        return;
    pcr_buf_printf(out, "%-12s ", label);
    safe_text(out, text);
    pcr_buf_char(out, '\n');
}

static void bytes_text(struct pcr_buf *out, uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < PCR_COUNT_OF(units); unit++)
        value /= 1024;
    pcr_buf_printf(out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void io_lines(struct pcr_buf *out, const char *title, const struct pcr_onnx_io *list,
                     size_t n) {
    pcr_buf_printf(out, "%-12s%s", title, n == 0 ? " none\n" : "");
    for (size_t i = 0; i < n; i++) {
        pcr_buf_printf(out, i == 0 ? " " : "%*s", i == 0 ? 0 : 13, "");
        safe_text(out, list[i].name);
        pcr_buf_char(out, ' ');
        safe_text(out, list[i].type);
        if (list[i].has_shape) {
            pcr_buf_text(out, " [");
            for (size_t d = 0; d < list[i].rank; d++) {
                const struct pcr_onnx_dim *dim = &list[i].dims[d];
                pcr_buf_text(out, d ? ", " : "");
                if (dim->value >= 0)
                    pcr_buf_printf(out, "%lld", (long long)dim->value);
                else
                    safe_text(out, dim->name ? dim->name : "?");
            }
            pcr_buf_char(out, ']');
        }
        pcr_buf_text(out, list[i].has_default ? " (has a default)\n" : "\n");
    }
}

static void operator_lines(struct pcr_buf *out, const struct pcr_onnx_summary *s) {
    pcr_buf_printf(out, "%-12s %zu in %zu kind%s", "operators", s->n_nodes, s->n_operators,
                   s->n_operators == 1 ? "" : "s");
    if (s->n_functions)
        pcr_buf_printf(out, ", %zu function%s", s->n_functions, s->n_functions == 1 ? "" : "s");
    pcr_buf_char(out, '\n');
    for (size_t i = 0; i < s->n_operators; i++) {
        pcr_buf_printf(out, "%13s%6zu  ", "", s->operators[i].count);
        if (strcmp(s->operators[i].domain, "ai.onnx") != 0) {
            safe_text(out, s->operators[i].domain);
            pcr_buf_char(out, '.');
        }
        safe_text(out, s->operators[i].name);
        pcr_buf_char(out, '\n');
    }
}

static void write_table(struct pcr_buf *out, const char *path, const struct pcr_onnx_summary *s) {
    line(out, "file", path);
    pcr_buf_printf(out, "%-12s ", "size");
    bytes_text(out, s->file_bytes);
    pcr_buf_char(out, '\n');
    line(out, "graph", s->graph_name);
    line(out, "producer", s->producer);
    line(out, "domain", s->domain);
    line(out, "description", s->description);
    pcr_buf_printf(out, "%-12s ", "opset");
    for (size_t i = 0; i < s->n_opsets; i++) {
        pcr_buf_text(out, i ? ", " : "");
        safe_text(out, s->opsets[i].domain);
        pcr_buf_printf(out, " %lld", (long long)s->opsets[i].version);
    }
    pcr_buf_printf(out, " (IR %lld)\n", (long long)s->ir_version);
    io_lines(out, "inputs", s->inputs, s->n_inputs);
    io_lines(out, "outputs", s->outputs, s->n_outputs);
    pcr_buf_printf(out, "%-12s %llu, ", "parameters", (unsigned long long)s->parameters);
    bytes_text(out, s->parameter_bytes);
    pcr_buf_char(out, '\n');
    for (size_t i = 0; i < s->n_externals; i++) {
        pcr_buf_printf(out, "%-12s ", i ? "" : "data in");
        safe_text(out, s->externals[i].location);
        pcr_buf_printf(out, " (%zu tensor%s)\n", s->externals[i].tensors,
                       s->externals[i].tensors == 1 ? "" : "s");
    }
    operator_lines(out, s);
    for (size_t i = 0; i < s->n_metadata; i++) {
        pcr_buf_printf(out, "%-12s ", i ? "" : "metadata");
        safe_text(out, s->metadata[i].key);
        pcr_buf_text(out, ": ");
        safe_text(out, s->metadata[i].value);
        pcr_buf_char(out, '\n');
    }
}

// --- as JSON ------------------------------------------------------------------------------------
static void json_member(struct pcr_json_writer *w, const char *key, const char *text) {
    pcr_json_key(w, key);
    pcr_json_text(w, text);
}

static void json_count(struct pcr_json_writer *w, const char *key, uint64_t value) {
    pcr_json_key(w, key);
    pcr_json_u64(w, value);
}

// Dimensions: a number, the name of a dynamic one, or null for one without a name.
static void json_io(struct pcr_json_writer *w, const char *key, const struct pcr_onnx_io *list,
                    size_t n) {
    pcr_json_key(w, key);
    pcr_json_array_begin(w);
    for (size_t i = 0; i < n; i++) {
        pcr_json_object_begin(w);
        json_member(w, "name", list[i].name);
        json_member(w, "type", list[i].type);
        pcr_json_key(w, "shape");
        if (list[i].has_shape) {
            pcr_json_array_begin(w);
            for (size_t d = 0; d < list[i].rank; d++) {
                if (list[i].dims[d].value >= 0)
                    pcr_json_i64(w, list[i].dims[d].value);
                else if (list[i].dims[d].name)
                    pcr_json_text(w, list[i].dims[d].name);
                else
                    pcr_json_null(w);
            }
            pcr_json_array_end(w);
        } else {
            pcr_json_null(w);
        }
        pcr_json_key(w, "has_default");
        pcr_json_bool(w, list[i].has_default);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void json_operators(struct pcr_json_writer *w, const struct pcr_onnx_summary *s) {
    pcr_json_key(w, "opsets");
    pcr_json_object_begin(w);
    for (size_t i = 0; i < s->n_opsets; i++) {
        pcr_json_key(w, s->opsets[i].domain);
        pcr_json_i64(w, s->opsets[i].version);
    }
    pcr_json_object_end(w);
    pcr_json_key(w, "operators");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < s->n_operators; i++) {
        pcr_json_object_begin(w);
        json_member(w, "domain", s->operators[i].domain);
        json_member(w, "name", s->operators[i].name);
        json_count(w, "count", s->operators[i].count);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void json_metadata(struct pcr_json_writer *w, const struct pcr_onnx_summary *s) {
    pcr_json_key(w, "external_data");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < s->n_externals; i++) {
        pcr_json_object_begin(w);
        json_member(w, "location", s->externals[i].location);
        json_count(w, "bytes", s->externals[i].bytes);
        json_count(w, "tensors", s->externals[i].tensors);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
    pcr_json_key(w, "metadata"); // a list: a file may hold a key twice
    pcr_json_array_begin(w);
    for (size_t i = 0; i < s->n_metadata; i++) {
        pcr_json_object_begin(w);
        json_member(w, "key", s->metadata[i].key);
        json_member(w, "value", s->metadata[i].value);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
}

static void write_json(struct pcr_buf *out, const char *path, const struct pcr_onnx_summary *s) {
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, out);
    pcr_json_object_begin(&w);
    json_member(&w, "file", path);
    json_count(&w, "file_bytes", s->file_bytes);
    json_member(&w, "graph", s->graph_name);
    json_member(&w, "producer", s->producer);
    json_member(&w, "domain", s->domain);
    json_member(&w, "description", s->description);
    pcr_json_key(&w, "model_version");
    pcr_json_i64(&w, s->model_version);
    pcr_json_key(&w, "ir_version");
    pcr_json_i64(&w, s->ir_version);
    json_io(&w, "inputs", s->inputs, s->n_inputs);
    json_io(&w, "outputs", s->outputs, s->n_outputs);
    json_operators(&w, s);
    json_count(&w, "nodes", s->n_nodes);
    json_count(&w, "functions", s->n_functions);
    json_count(&w, "parameters", s->parameters);
    json_count(&w, "parameter_bytes", s->parameter_bytes);
    json_metadata(&w, s);
    pcr_json_object_end(&w);
    pcr_buf_char(out, '\n');
}

static int run(const struct pcr_cli_args *args) {
    struct pcr_arena arena;
    struct pcr_buf text;
    struct pcr_onnx_summary summary;
    struct pacer_error err;
    pcr_arena_init(&arena, ARENA_BYTES_MAX);
    pcr_buf_init(&text, OUTPUT_BYTES_MAX);
    int rc = PCR_EXIT_OK;
    if (pcr_onnx_inspect(args->operands[0], &arena, &summary, &err) < 0)
        rc = pcr_cli_fail(PCR_EXIT_MODEL, "%s", err.message);
    else if (pcr_cli_has(args, "json"))
        write_json(&text, args->operands[0], &summary);
    else
        write_table(&text, args->operands[0], &summary);
    if (rc == PCR_EXIT_OK)
        rc = pcr_cli_print(&text);
    pcr_buf_fini(&text);
    pcr_arena_fini(&arena);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "json", .letter = 'j', .help = "as one JSON object"},
};

const struct pcr_cli_command pcr_cmd_inspect = {
    .name = "inspect",
    .operands = "MODEL",
    .summary = "show what an ONNX file declares and holds",
    .text = "Shows inputs, outputs, opset, operators, parameters, metadata and size of the\n"
            "ONNX file MODEL, without running it.",
    .complete = "file",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .n_operands_min = 1,
    .n_operands_max = 1,
    .run = run,
};
