// SPDX-License-Identifier: Apache-2.0
// The report for a terminal of 100 columns.
#include "quantize/plan.h"
#include "quantize/report.h"

#include <math.h>
#include <stdio.h>

#define SKIPS_SHOWN 10
#define WIDTH 100
#define NAME_BYTES 34

// --- numbers ------------------------------------------------------------------------------------
static const char *bytes_text(uint64_t bytes, char out[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < PCR_COUNT_OF(units); unit++)
        value /= 1024;
    snprintf(out, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

static const char *us_text(double us, char out[24]) {
    snprintf(out, 24, us < 100 ? "%.1f" : "%.0f", us);
    return out;
}

static const char *db_text(double db, char out[24]) {
    if (isinf(db) && db > 0)
        snprintf(out, 24, "exact");
    else
        snprintf(out, 24, "%.1f", db);
    return out;
}

// Names that are too long lose their middle; bytes above ASCII are kept whole by not counting them.
static const char *name_text(const char *name, char out[NAME_BYTES + 4]) {
    size_t n = strlen(name), half = (NAME_BYTES - 2) / 2;
    if (n <= NAME_BYTES)
        snprintf(out, NAME_BYTES + 4, "%s", name);
    else
        snprintf(out, NAME_BYTES + 4, "%.*s..%s", (int)half, name, name + n - half);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?'; // a file's names must not steer a terminal
    return out;
}

// --- the parts ----------------------------------------------------------------------------------
static void write_head(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    pcr_buf_printf(out, "%s → %s\n", r->in, r->out);
    pcr_buf_printf(out, "  %s, %s weights%s%s; ONNX Runtime %s on %s\n",
                   r->is_static ? "static (QDQ)" : "dynamic", r->reduce_range ? "7-bit" : "8-bit",
                   r->per_channel ? ", a scale per channel" : "",
                   r->opset_after > r->opset_before ? ", opset raised" : "", r->runtime,
                   r->processor);
    if (r->calibration)
        pcr_buf_printf(out, "  ranges: %s, of %zu rows of %s\n", r->method, r->calibration_rows,
                       r->calibration);
    if (r->is_measured && r->data)
        pcr_buf_printf(out, "  evidence: on %zu rows of %s\n", r->rows, r->data);
    else if (r->is_measured && r->rows > 0)
        pcr_buf_printf(out, "  evidence: on %zu drawn rows (seed %llu)\n", r->rows,
                       (unsigned long long)r->seed);
}

static void write_latencies(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    char a[4][24];
    if (r->n_latencies == 0)
        return;
    pcr_buf_printf(out, "\n  %8s %12s %12s %12s %12s %9s   %s\n", "batch", "FP32 p50 µs", "p99 µs",
                   "INT8 p50 µs", "p99 µs", "speed", "95 % interval");
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct pcr_quant_latency *l = &r->latencies[i];
        pcr_buf_printf(out, "  %8zu %11s %11s %11s %11s %7.2f ×", l->batch,
                       us_text(l->fp32_p50_us, a[0]), us_text(l->fp32_p99_us, a[1]),
                       us_text(l->int8_p50_us, a[2]), us_text(l->int8_p99_us, a[3]), l->speedup);
        if (!isnan(l->low))
            pcr_buf_printf(out, "   %.2f to %.2f", l->low, l->high);
        pcr_buf_char(out, '\n');
    }
}

static void write_sizes(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    char a[2][24];
    if (r->bytes_after > 0)
        pcr_buf_printf(out, "\n  file     %10s → %10s   %.2f × smaller\n",
                       bytes_text(r->bytes_before, a[0]), bytes_text(r->bytes_after, a[1]),
                       (double)r->bytes_before / (double)r->bytes_after);
    if (r->memory_before > 0 && r->memory_after > 0)
        pcr_buf_printf(out, "  memory   %10s → %10s   when loaded\n",
                       bytes_text(r->memory_before, a[0]), bytes_text(r->memory_after, a[1]));
}

static void write_outputs(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    char name[NAME_BYTES + 4], db[24];
    if (r->n_outputs == 0)
        return;
    pcr_buf_printf(out, "\n  %-*s %7s %9s %10s %10s  %s\n", NAME_BYTES, "output", "SNR dB",
                   "cosine", "max error", "RMSE", "other class");
    for (size_t i = 0; i < r->n_outputs; i++) {
        const struct pcr_quant_output *o = &r->outputs[i];
        pcr_buf_printf(out, "  %-*s %7s %9.6f %10.3g %10.3g", NAME_BYTES, name_text(o->name, name),
                       db_text(o->error.snr_db, db), o->error.cosine, o->error.max_abs,
                       o->error.rmse);
        if (o->has_classes && o->rows > 0)
            pcr_buf_printf(out, "  %.2g %%", 100 * (double)o->flips / (double)o->rows);
        pcr_buf_char(out, '\n');
    }
}

static void write_layer(const struct pcr_quant_layer_report *layer, struct pcr_buf *out) {
    char name[NAME_BYTES + 4], a[2][24], db[3][24];
    pcr_buf_printf(out, "  %-*s %-9s %10zu", NAME_BYTES, name_text(layer->name, name), layer->op,
                   layer->weights);
    if (layer->is_measured)
        pcr_buf_printf(out, " %8s %8s %6s", us_text(layer->fp32_us, a[0]),
                       us_text(layer->int8_us, a[1]), db_text(layer->alone.snr_db, db[0]));
    else
        pcr_buf_printf(out, " %8s %8s %6s", "-", "-", db_text(layer->weight_snr_db, db[0]));
    pcr_buf_printf(out, " %6s",
                   layer->is_left       ? "FP32"
                   : layer->is_measured ? db_text(layer->cumulative.snr_db, db[1])
                                        : "-");
    if (layer->clipped > 0)
        pcr_buf_printf(out, " %5.2g", 100 * layer->clipped);
    pcr_buf_char(out, '\n');
}

static void write_layers(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    if (r->n_layers == 0)
        return;
    pcr_buf_printf(out, "\n  %-*s %-9s %10s %8s %8s %6s %6s %5s\n", NAME_BYTES, "layer", "operator",
                   "weights", "FP32 µs", "INT8 µs", r->is_measured ? "alone" : "weight", "in all",
                   "cut %");
    for (size_t i = 0; i < r->n_layers; i++)
        write_layer(&r->layers[i], out);
    pcr_buf_text(out, r->is_measured ? "  (µs: the layer by itself, batch 1; alone, in all: SNR in "
                                       "dB of what it gives, if it is\n"
                                       "  INT8 by itself, and with all others)\n"
                                     : "  (weight: SNR in dB of the rounded weights)\n");
}

static void write_skips(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    char name[NAME_BYTES + 4];
    if (r->n_skips > 0)
        pcr_buf_text(out, "\n  not quantized:\n");
    for (size_t i = 0; i < r->n_skips && i < SKIPS_SHOWN; i++)
        pcr_buf_printf(out, "    %s (%s): %s\n", name_text(r->skips[i].name, name), r->skips[i].op,
                       r->skips[i].why);
    if (r->n_skips > SKIPS_SHOWN)
        pcr_buf_printf(out, "    and %zu more\n", r->n_skips - SKIPS_SHOWN);
}

// Words with spaces between, in lines that end before the terminal does.
static void write_wrapped(const char *text, struct pcr_buf *out) {
    struct pcr_str rest = pcr_str(text), word;
    size_t column = WIDTH;
    while (pcr_str_split(&rest, ' ', &word)) {
        if (word.len == 0)
            continue;
        bool breaks = column + 1 + word.len > WIDTH;
        pcr_buf_text(out, breaks ? "\n" : " ");
        column = breaks ? word.len : column + 1 + word.len;
        pcr_buf_str(out, word);
    }
    pcr_buf_char(out, '\n');
}

int pcr_quant_report_text(struct pacer_quantize_report *r, struct pacer_error *err) {
    write_head(r, &r->text);
    write_latencies(r, &r->text);
    write_sizes(r, &r->text);
    write_outputs(r, &r->text);
    write_layers(r, &r->text);
    write_skips(r, &r->text);
    write_wrapped(r->summary, &r->text);
    return r->text.failed ? pcr_err(err, PACER_ENOMEM, "quantize", "out of memory") : 0;
}
