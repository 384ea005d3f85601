// SPDX-License-Identifier: Apache-2.0
// The report in a few sentences.
#include "quantize/plan.h"
#include "quantize/report.h"

#include <math.h>

#define SENTENCES_BYTES_MAX 8192

// "4.6 × as fast at batch 1"; where the interval has 1 in it, nothing was seen.
static void say_speed(const struct pcr_quant_latency *latency, struct pcr_buf *out) {
    bool is_known = !isnan(latency->low);
    if (is_known && latency->low <= 1 && latency->high >= 1)
        pcr_buf_printf(out, "no faster or slower, as far as can be seen, at batch %zu",
                       latency->batch);
    else
        pcr_buf_printf(out, "%.2g × as fast at batch %zu", latency->speedup, latency->batch);
}

static void say_gain(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    bool any = false;
    if (r->bytes_after > 0 && r->bytes_before > 0) {
        pcr_buf_printf(out, "%.2g × smaller", (double)r->bytes_before / (double)r->bytes_after);
        any = true;
    }
    for (size_t i = 0; i < r->n_latencies; i++) {
        pcr_buf_text(out, any ? "; " : "");
        say_speed(&r->latencies[i], out);
        any = true;
    }
    if (any)
        pcr_buf_text(out, ". ");
}

// The begin of a name, without what would steer a terminal.
static const char *printable(const char *name, char out[64]) {
    size_t n = 0;
    for (; n < 60 && name[n]; n++)
        out[n] = (unsigned char)name[n] < ' ' || name[n] == 0x7f ? '?' : name[n];
    out[n] = '\0';
    return out;
}

static void say_loss(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    char name[64];
    for (size_t i = 0; i < r->n_outputs; i++) {
        const struct pcr_quant_output *o = &r->outputs[i];
        if (o->has_classes && o->rows > 0)
            pcr_buf_printf(out,
                           "By '%s' %.2g %% of the rows get another class (%zu of %zu; 95 %% "
                           "interval %.2g to %.2g %%). ",
                           printable(o->name, name), 100 * (double)o->flips / (double)o->rows,
                           o->flips, o->rows, 100 * o->flips_low, 100 * o->flips_high);
        else
            pcr_buf_printf(out, "'%s' has an RMSE of %.3g and an SNR of %.3g dB. ",
                           printable(o->name, name), o->error.rmse, o->error.snr_db);
    }
    if (r->is_measured && r->is_drawn && r->n_outputs > 0)
        pcr_buf_text(out,
                     "These rows were drawn: how accurate it is on real ones they cannot tell; "
                     "give some with --data. ");
}

static void say_left(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_layers; i++)
        n += r->layers[i].is_left;
    if (n > 0)
        pcr_buf_printf(out, "%zu of %zu layers stay%s FP32, by the limits. ", n, r->n_layers,
                       n == 1 ? "s" : "");
}

static void say_limits(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    const char *and = "";
    if (r->max_flips >= 0) {
        pcr_buf_printf(out, "at most %.3g %% of the rows with another class", 100 * r->max_flips);
        and = " and ";
    }
    if (r->min_snr_db > 0) {
        pcr_buf_printf(out, "%san SNR of %.3g dB", and, r->min_snr_db);
        and = " and ";
    }
    if (r->max_rmse >= 0)
        pcr_buf_printf(out, "%san RMSE of at most %.3g", and, r->max_rmse);
}

static void say_verdict(const struct pacer_quantize_report *r, struct pcr_buf *out) {
    switch (r->verdict) {
    case PACER_QUANTIZE_WRITTEN:
        pcr_buf_printf(out, "%s was written.", r->out);
        return;
    case PACER_QUANTIZE_NOTHING:
        pcr_buf_text(out,
                     r->n_skips > 0
                         ? "Nothing in this model can be quantized, for the reasons above"
                         : "Nothing in this model can be quantized: it has no matrix products, "
                           "convolutions or recurrent layers with constant FP32 weights (trees "
                           "and linear models of ai.onnx.ml are none)");
        break;
    case PACER_QUANTIZE_SLOWER:
        pcr_buf_text(out, "INT8 is slower than FP32 on this machine at the batch sizes asked for");
        break;
    case PACER_QUANTIZE_MISSED:
        pcr_buf_text(out, "No variant holds the limits (");
        say_limits(r, out);
        pcr_buf_printf(out, "); the best that was found was written to %s.", r->out);
        return;
    }
    pcr_buf_printf(out, "; %s%s.",
                   r->forced ? "since it was forced, it was written to "
                             : "nothing was written (--force writes it all the same)",
                   r->forced ? r->out : "");
}

int pcr_quant_report_sum_up(struct pacer_quantize_report *r, struct pacer_error *err) {
    struct pcr_buf out;
    pcr_buf_init(&out, SENTENCES_BYTES_MAX + 1024 * r->n_outputs);
    say_gain(r, &out);
    say_loss(r, &out);
    say_left(r, &out);
    say_verdict(r, &out);
    r->summary = out.failed ? NULL : pcr_arena_dup(&r->arena, pcr_buf_view(&out));
    pcr_buf_fini(&out);
    return r->summary ? 0 : pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
}
