// SPDX-License-Identifier: Apache-2.0
// The report as a page that needs nothing else: no scripts, no files, no network. Plots are SVG
// with their numbers in the tables beside them.
//
// Every text may be a model's own, so all of them go through `put`, which leaves no markup in it.
#include "quantize/plan.h"
#include "quantize/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define BAR_WIDTH 420.0
#define LABEL_WIDTH 190
#define VALUE_WIDTH 150
#define ROW 22 // of a plot
#define NAME_SHOWN 26
#define LAYERS_PLOTTED 200

static const char style[] =
    "<style>:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--card:#fff;"
    "--page:#f5f6f8;--a:#7d8ba0;--b:#1f6feb;--bad:#c93c37}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#343b46;"
    "--card:#1b2028;--page:#12161c;--a:#76859b;--b:#58a6ff;--bad:#ff7b72}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0}"
    "main{max-width:62rem;margin:0 auto;padding:2rem 1rem}"
    "h1{font-size:1.4rem;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:0 0 "
    ".75rem}"
    ".soft,.note{color:var(--soft)}.note{font-size:.85rem}"
    "section{background:var(--card);border:1px solid var(--line);border-radius:8px;"
    "padding:1rem 1.25rem;margin:1rem 0;overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}"
    "th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid "
    "var(--line);white-space:nowrap}"
    "th{color:var(--soft);font-weight:600}th:first-child,td:first-child,td.text,th.text{text-align:"
    "left}"
    "td.text{white-space:normal;overflow-wrap:anywhere}"
    "svg{display:block;margin:.25rem 0 1rem}svg text{fill:var(--ink);font-size:12px}"
    "svg .soft{fill:var(--soft)}.a{fill:var(--a)}.b{fill:var(--b)}.bad{fill:var(--bad)}"
    ".axis{stroke:var(--line)}.whisker{stroke:var(--ink)}"
    "@media print{body{background:none}section{break-inside:avoid}}</style>";

// --- text ---------------------------------------------------------------------------------------
static void put(struct pcr_buf *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '<':
            pcr_buf_text(out, "&lt;");
            break;
        case '>':
            pcr_buf_text(out, "&gt;");
            break;
        case '&':
            pcr_buf_text(out, "&amp;");
            break;
        case '"':
            pcr_buf_text(out, "&quot;");
            break;
        default:
            pcr_buf_char(out, (unsigned char)*text < ' ' ? ' ' : *text);
        }
    }
}

// The begin of a name, for a plot.
static void put_short(struct pcr_buf *out, const char *name) {
    char text[NAME_SHOWN * 4 + 4];
    size_t n = 0, letters = 0;
    for (; name[n] && letters < NAME_SHOWN && n < sizeof text - 4; n++)
        letters += ((unsigned char)name[n + 1] & 0xc0) != 0x80; // whole UTF-8 sequences
    snprintf(text, sizeof text, "%.*s%s", (int)n, name, name[n] ? "…" : "");
    put(out, text);
}

static void put_db(struct pcr_buf *out, double db) {
    if (isinf(db) && db > 0)
        pcr_buf_text(out, "exact");
    else if (isnan(db))
        pcr_buf_text(out, "–");
    else
        pcr_buf_printf(out, "%.1f", db);
}

static void begin_section(struct pcr_buf *out, const char *title) {
    pcr_buf_printf(out, "<section><h2>%s</h2>\n", title);
}

static void end_section(struct pcr_buf *out) {
    pcr_buf_text(out, "</section>\n");
}

// --- plots --------------------------------------------------------------------------------------
struct plot {
    struct pcr_buf *out;
    double largest; // as long as the plot is wide
    size_t row;
};

static struct plot begin_plot(struct pcr_buf *out, const char *title, size_t rows, double largest) {
    pcr_buf_printf(out,
                   "<svg role=\"img\" aria-label=\"%s\" width=\"%d\" height=\"%zu\" "
                   "viewBox=\"0 0 %d %zu\"><title>%s</title>\n",
                   title, LABEL_WIDTH + (int)BAR_WIDTH + VALUE_WIDTH, rows * ROW + 6,
                   LABEL_WIDTH + (int)BAR_WIDTH + VALUE_WIDTH, rows * ROW + 6, title);
    pcr_buf_printf(out, "<line class=\"axis\" x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"%zu\"/>\n",
                   LABEL_WIDTH, LABEL_WIDTH, rows * ROW);
    return (struct plot){out, largest > 0 ? largest : 1, 0};
}

static double length_of(const struct plot *plot, double value) {
    double length = value / plot->largest * BAR_WIDTH;
    return !(length > 0) ? 0 : length > BAR_WIDTH ? BAR_WIDTH : length;
}

// A bar with what it stands for on its left, and its value on its right.
static void put_bar(struct plot *plot, const char *label, const char *kind, double value,
                    const char *value_text) {
    size_t y = plot->row++ * ROW;
    double length = length_of(plot, value);
    pcr_buf_printf(plot->out, "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">", LABEL_WIDTH - 8,
                   y + 15);
    put_short(plot->out, label);
    pcr_buf_printf(plot->out,
                   "</text><rect class=\"%s\" x=\"%d\" y=\"%zu\" width=\"%.1f\" height=\"%d\"/>"
                   "<text class=\"soft\" x=\"%.1f\" y=\"%zu\">%s</text>\n",
                   kind, LABEL_WIDTH, y + 4, length, ROW - 8, LABEL_WIDTH + length + 6, y + 15,
                   value_text);
}

static void end_plot(struct plot *plot) {
    pcr_buf_text(plot->out, "</svg>\n");
}

// --- the parts ----------------------------------------------------------------------------------
static void write_latencies(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    double largest = 0;
    char label[64], value[64];
    if (r->n_latencies == 0)
        return;
    for (size_t i = 0; i < r->n_latencies; i++) // per row, so that batches fit one plot
        largest = fmax(largest, fmax(r->latencies[i].fp32_p50_us, r->latencies[i].int8_p50_us) /
                                    (double)r->latencies[i].batch);
    begin_section(out, "Time");
    struct plot plot =
        begin_plot(out, "Median time for a row, in microseconds", 2 * r->n_latencies, largest);
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct pcr_quant_latency *l = &r->latencies[i];
        double batch = (double)l->batch;
        snprintf(label, sizeof label, "batch %zu, FP32", l->batch);
        snprintf(value, sizeof value, "%.3g µs/row", l->fp32_p50_us / batch);
        put_bar(&plot, label, "a", l->fp32_p50_us / batch, value);
        snprintf(value, sizeof value, "%.3g µs/row", l->int8_p50_us / batch);
        put_bar(&plot, "INT8", l->speedup < 1 ? "bad" : "b", l->int8_p50_us / batch, value);
    }
    end_plot(&plot);
    pcr_buf_text(out,
                 "<table><tr><th>batch</th><th>FP32 p50 µs</th><th>p99</th><th>INT8 p50 µs</th>"
                 "<th>p99</th><th>speed</th><th>95 % interval</th></tr>\n");
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct pcr_quant_latency *l = &r->latencies[i];
        pcr_buf_printf(out,
                       "<tr><td>%zu</td><td>%.1f</td><td>%.1f</td><td>%.1f</td><td>%.1f</td>"
                       "<td>%.2f ×</td><td>",
                       l->batch, l->fp32_p50_us, l->fp32_p99_us, l->int8_p50_us, l->int8_p99_us,
                       l->speedup);
        if (isnan(l->low))
            pcr_buf_text(out, "–</td></tr>\n");
        else
            pcr_buf_printf(out, "%.2f to %.2f</td></tr>\n", l->low, l->high);
    }
    pcr_buf_text(out, "</table>");
    end_section(out);
}

static void write_sizes(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    const double mib = 1048576;
    if (r->bytes_after == 0 && r->memory_after == 0)
        return;
    begin_section(out, "Size");
    pcr_buf_text(out, "<table><tr><th></th><th>FP32 MiB</th><th>INT8 MiB</th><th></th></tr>\n");
    if (r->bytes_after > 0)
        pcr_buf_printf(out,
                       "<tr><td>file</td><td>%.2f</td><td>%.2f</td><td>%.2f × smaller</td></tr>\n",
                       (double)r->bytes_before / mib, (double)r->bytes_after / mib,
                       (double)r->bytes_before / (double)r->bytes_after);
    if (r->memory_after > 0 && r->memory_before > 0)
        pcr_buf_printf(out,
                       "<tr><td>memory when loaded</td><td>%.1f</td><td>%.1f</td><td></td></tr>\n",
                       (double)r->memory_before / mib, (double)r->memory_after / mib);
    pcr_buf_text(out, "</table>");
    end_section(out);
}

static void write_worst(const struct pcr_quant_output *o, struct pcr_buf *out) {
    if (o->n_worst == 0)
        return;
    pcr_buf_text(out, "<p class=\"note\">Rows that changed most: ");
    for (size_t i = 0; i < o->n_worst; i++)
        pcr_buf_printf(out, "%s%zu (%.3g%s)", i ? ", " : "", o->worst[i].row, o->worst[i].distance,
                       o->worst[i].is_flip ? ", other class" : "");
    pcr_buf_text(out, "</p>");
}

static void write_outputs(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    if (r->n_outputs == 0)
        return;
    begin_section(out, "Answers");
    pcr_buf_text(out, "<table><tr><th>output</th><th>SNR dB</th><th>cosine</th><th>max error</th>"
                      "<th>RMSE</th><th>other class</th></tr>\n");
    for (size_t i = 0; i < r->n_outputs; i++) {
        const struct pcr_quant_output *o = &r->outputs[i];
        pcr_buf_text(out, "<tr><td class=\"text\">");
        put(out, o->name);
        pcr_buf_text(out, "</td><td>");
        put_db(out, o->error.snr_db);
        pcr_buf_printf(out, "</td><td>%.6f</td><td>%.3g</td><td>%.3g</td><td>", o->error.cosine,
                       o->error.max_abs, o->error.rmse);
        if (o->has_classes && o->rows > 0)
            pcr_buf_printf(out, "%zu of %zu = %.2g %% (%.2g to %.2g %%)", o->flips, o->rows,
                           100 * (double)o->flips / (double)o->rows, 100 * o->flips_low,
                           100 * o->flips_high);
        pcr_buf_text(out, "</td></tr>\n");
    }
    pcr_buf_text(out, "</table>");
    for (size_t i = 0; i < r->n_outputs; i++)
        write_worst(&r->outputs[i], out);
    pcr_buf_text(out, "<p class=\"note\">Of a share of rows the 95 % interval is Wilson's.</p>");
    end_section(out);
}

static void plot_layers(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    size_t n = r->n_layers < LAYERS_PLOTTED ? r->n_layers : LAYERS_PLOTTED;
    double largest = 1;
    char value[64];
    for (size_t i = 0; i < n; i++)
        if (r->layers[i].is_measured && isfinite(r->layers[i].alone.snr_db))
            largest = fmax(largest, r->layers[i].alone.snr_db);
    struct plot plot =
        begin_plot(out, "Signal to noise of each layer, in decibels", 2 * n, largest);
    for (size_t i = 0; i < n; i++) {
        const struct pcr_quant_layer_report *l = &r->layers[i];
        snprintf(value, sizeof value, "%.1f dB by itself", l->alone.snr_db);
        put_bar(&plot, l->name, "a", l->alone.snr_db, value);
        snprintf(value, sizeof value, l->is_left ? "stays FP32" : "%.1f dB with all others",
                 l->cumulative.snr_db);
        put_bar(&plot, "", "b", l->is_left ? 0 : l->cumulative.snr_db, value);
    }
    end_plot(&plot);
}

static void write_layer(const struct pcr_quant_layer_report *l, struct pcr_buf *out) {
    pcr_buf_text(out, "<tr><td class=\"text\">");
    put(out, l->name);
    pcr_buf_printf(out, "</td><td class=\"text\">%s</td><td>%zu</td><td>", l->op, l->weights);
    put_db(out, l->weight_snr_db);
    if (l->is_measured) {
        pcr_buf_printf(out, "</td><td>%.1f</td><td>%.1f</td><td>", l->fp32_us, l->int8_us);
        put_db(out, l->alone.snr_db);
        pcr_buf_text(out, "</td><td>");
        if (l->is_left)
            pcr_buf_text(out, "FP32");
        else
            put_db(out, l->cumulative.snr_db);
        pcr_buf_printf(out, "</td><td>%.3g</td>", l->alone.max_abs);
    } else {
        pcr_buf_text(out, "</td><td>–</td><td>–</td><td>–</td><td>–</td><td>–</td>");
    }
    pcr_buf_printf(out, "<td>%.2g</td></tr>\n", 100 * l->clipped);
}

static void write_layers(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    if (r->n_layers == 0)
        return;
    begin_section(out, "Layers");
    if (r->is_measured)
        plot_layers(r, out);
    pcr_buf_text(out, "<table><tr><th>layer</th><th class=\"text\">operator</th><th>weights</th>"
                      "<th>weights dB</th><th>FP32 µs</th><th>INT8 µs</th><th>alone dB</th>"
                      "<th>in all dB</th><th>max error</th><th>cut %</th></tr>\n");
    for (size_t i = 0; i < r->n_layers; i++)
        write_layer(&r->layers[i], out);
    pcr_buf_text(out,
                 "</table><p class=\"note\">µs: the layer by itself, one row. Alone, in all: what "
                 "it gives if it is INT8 by itself, and with all others.</p>");
    end_section(out);
}

static void write_skips(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    if (r->n_skips == 0)
        return;
    begin_section(out, "Not quantized");
    pcr_buf_text(out, "<table><tr><th>node</th><th class=\"text\">operator</th><th class=\"text\">"
                      "why</th></tr>\n");
    for (size_t i = 0; i < r->n_skips; i++) {
        pcr_buf_text(out, "<tr><td class=\"text\">");
        put(out, r->skips[i].name);
        pcr_buf_printf(out, "</td><td class=\"text\">%s</td><td class=\"text\">%s</td></tr>\n",
                       r->skips[i].op, r->skips[i].why);
    }
    pcr_buf_text(out, "</table>");
    end_section(out);
}

static void write_head(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    pcr_buf_text(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    put(out, r->in);
    pcr_buf_printf(out, " as INT8</title>%s</head><body><main><h1>", style);
    put(out, r->in);
    pcr_buf_text(out, " as INT8</h1><p class=\"soft\">");
    pcr_buf_printf(out, "%s%s%s, ", r->is_static ? "static (QDQ)" : "dynamic",
                   r->per_channel ? ", a scale per channel" : "",
                   r->reduce_range ? ", 7-bit weights" : "");
    put(out, r->data ? r->data : "drawn rows");
    pcr_buf_printf(out, " (%zu), ONNX Runtime %s on ", r->rows, r->runtime);
    put(out, r->processor);
    pcr_buf_text(out, "</p><section><p>");
    put(out, r->summary);
    pcr_buf_text(out, "</p></section>\n");
}

int pcr_quant_report_html(struct pacer_quantize_report *r, struct pacer_error *err) {
    write_head(r, &r->html);
    write_latencies(r, &r->html);
    write_sizes(r, &r->html);
    write_outputs(r, &r->html);
    write_layers(r, &r->html);
    write_skips(r, &r->html);
    pcr_buf_text(&r->html, "</main></body></html>\n");
    return r->html.failed ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory") : 0;
}
