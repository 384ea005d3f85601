// SPDX-License-Identifier: Apache-2.0
// From a verdict to the bytes that leave: the reason in words, the JSON, the look at the contract.
//
// The reason is a template over the factors, so that it can claim nothing the numbers beside it do
// not say. Factors that speak for the chosen class are named with the side of their baseline they
// are on ("is above its usual 0.008"); the ones that speak against it are named as such.
// Percentages are rounded, but never to a certainty the model does not have, and never up to a
// threshold that was missed.
//
// The contract is held against the answer as text, parsed again, rather than against the
// structures it was written from: a fault of the writer would be found as well, and it
// costs about a microsecond.
#include "decide/decide_priv.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#define NUMBER_BYTES_MAX 48
#define PERCENT_BYTES_MAX 40

bool pcr_decide_buf(struct pcr_arena *arena, size_t max_bytes, struct pcr_buf *buf) {
    pcr_buf_init(buf, max_bytes);
    buf->data = pcr_arena_alloc(arena, max_bytes + 1);
    buf->cap = buf->data ? max_bytes + 1 : 0;
    buf->failed = !buf->data;
    if (buf->data)
        buf->data[0] = '\0';
    return buf->data != NULL;
}

// --- the reason ---------------------------------------------------------------------------------

// Three digits are enough for a sentence; the exact value stands in the factors.
static const char *number_text(double value, char out[NUMBER_BYTES_MAX]) {
    double size = fabs(value);
    if (size >= 1000 && size < 1e15)
        snprintf(out, NUMBER_BYTES_MAX, "%.0f", value);
    else
        snprintf(out, NUMBER_BYTES_MAX, "%.3g", value + 0.0);
    return out;
}

static const char *sure_text(float confidence, char out[PERCENT_BYTES_MAX]) {
    double percent = (double)confidence * 100;
    if (percent >= 99.5 && percent < 100)
        snprintf(out, PERCENT_BYTES_MAX, "more than 99%%");
    else
        snprintf(out, PERCENT_BYTES_MAX, "%.0f%%", percent);
    return out;
}

// "the 20-day volatility (0.00381) is below its usual 0.00796".
static void factor_text(struct pcr_buf *buf, const struct pcr_decision *decision,
                        const struct pcr_decide_verdict *verdict,
                        const struct pcr_decide_factor *factor) {
    double value = verdict->request->values[factor->feature];
    double usual = verdict->plan->baseline[factor->feature];
    char is[NUMBER_BYTES_MAX], was[NUMBER_BYTES_MAX];
    number_text(value, is);
    number_text(usual, was);
    const char *side = strcmp(is, was) == 0 ? "close to" : value > usual ? "above" : "below";
    pcr_buf_printf(buf, "%s (%s) is %s its usual %s", decision->features[factor->feature].label, is,
                   side, was);
}

static size_t count_factors(const struct pcr_decide_verdict *verdict, bool speaks_for) {
    size_t n = 0;
    for (size_t i = 0; i < verdict->n_factors; i++)
        n += (verdict->factors[i].effect > 0) == speaks_for;
    return n;
}

// Lists the factors with this sign: "A", "A and B", "A, B, and C". Returns how many there are.
static size_t factors_text(struct pcr_buf *buf, const struct pcr_decision *decision,
                           const struct pcr_decide_verdict *verdict, bool speaks_for,
                           const char *intro) {
    size_t n = count_factors(verdict, speaks_for), at = 0;
    for (size_t i = 0; i < verdict->n_factors; i++) {
        if ((verdict->factors[i].effect > 0) != speaks_for)
            continue;
        const char *last = n == 2 ? " and " : ", and ";
        pcr_buf_text(buf, at == 0 ? intro : at + 1 == n ? last : ", ");
        factor_text(buf, decision, verdict, &verdict->factors[i]);
        at++;
    }
    return n;
}

static void capital(struct pcr_buf *buf, const char *text) {
    pcr_buf_char(buf, (char)toupper((unsigned char)text[0]));
    pcr_buf_text(buf, text[0] ? text + 1 : "");
}

static void opening(struct pcr_buf *buf, const struct pcr_decision *decision,
                    const struct pcr_decide_verdict *verdict) {
    const char *class_name = verdict->plan->classes[verdict->class_index].name;
    char sure[PERCENT_BYTES_MAX], needed[NUMBER_BYTES_MAX];
    capital(buf, verdict->action[0] ? verdict->action : "-");
    if (!verdict->fallback) {
        pcr_buf_printf(buf, ": the model sees %s (%s sure)", class_name,
                       sure_text(verdict->confidence, sure));
        return;
    }
    number_text(decision->min_confidence * 100, needed);
    pcr_buf_printf(buf,
                   ", to be safe: the model leans towards %s but is only %.0f%% sure, and %s%% "
                   "is needed to act on it",
                   class_name, floor((double)verdict->confidence * 100), needed);
}

struct pcr_str pcr_decide_summary(const struct pcr_decision *decision,
                                  const struct pcr_decide_verdict *verdict,
                                  struct pcr_arena *arena) {
    size_t bytes =
        512 + strlen(verdict->action) + strlen(verdict->plan->classes[verdict->class_index].name);
    for (size_t i = 0; i < verdict->n_factors; i++)
        bytes += 160 + strlen(decision->features[verdict->factors[i].feature].label);
    struct pcr_buf buf;
    if (!pcr_decide_buf(arena, bytes, &buf))
        return (struct pcr_str){NULL, 0};
    opening(&buf, decision, verdict);
    size_t speaks_for =
        factors_text(&buf, decision, verdict, true,
                     verdict->fallback ? ". What speaks for it: " : ", mainly because ");
    pcr_buf_char(&buf, '.');
    size_t against = factors_text(&buf, decision, verdict, false, " Against it: ");
    if (against)
        pcr_buf_char(&buf, '.');
    else if (!speaks_for && decision->max_factors > 0)
        pcr_buf_text(&buf, " No single value moves it much.");
    PCR_ASSERT(!buf.failed);
    return pcr_buf_view(&buf);
}

// --- the JSON -----------------------------------------------------------------------------------

static size_t answer_bytes(const struct pcr_decision *decision,
                           const struct pcr_decide_verdict *verdict, struct pcr_str summary) {
    size_t text = verdict->id.len + summary.len + strlen(verdict->action) +
                  strlen(decision->model) + strlen(verdict->plan->version);
    size_t bytes = 1024;
    for (size_t i = 0; i < verdict->n_factors; i++) {
        text += strlen(decision->features[verdict->factors[i].feature].name);
        bytes += 160;
    }
    for (size_t i = 0; i < decision->n_limits; i++) {
        text += strlen(decision->limits[i].name);
        bytes += 64;
    }
    return bytes + 6 * text;
}

static void write_reason(struct pcr_json_writer *w, const struct pcr_decision *decision,
                         const struct pcr_decide_verdict *verdict, struct pcr_str summary) {
    pcr_json_object_begin(w);
    pcr_json_key(w, "summary");
    pcr_json_string(w, summary);
    pcr_json_key(w, "source");
    pcr_json_text(w, "template");
    pcr_json_key(w, "factors");
    pcr_json_array_begin(w);
    for (size_t i = 0; i < verdict->n_factors; i++) {
        const struct pcr_decide_factor *factor = &verdict->factors[i];
        pcr_json_object_begin(w);
        pcr_json_key(w, "feature");
        pcr_json_text(w, decision->features[factor->feature].name);
        pcr_json_key(w, "value");
        pcr_json_f64(w, verdict->request->values[factor->feature]);
        pcr_json_key(w, "effect");
        pcr_json_f32(w, factor->effect);
        pcr_json_object_end(w);
    }
    pcr_json_array_end(w);
    pcr_json_object_end(w);
}

struct pcr_str pcr_decide_answer_write(const struct pcr_decision *decision,
                                       const struct pcr_decide_verdict *verdict,
                                       struct pcr_arena *arena) {
    struct pcr_str summary = pcr_decide_summary(decision, verdict, arena);
    struct pcr_buf buf;
    if (!summary.ptr || !pcr_decide_buf(arena, answer_bytes(decision, verdict, summary), &buf))
        return (struct pcr_str){NULL, 0};
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, &buf);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "id");
    pcr_json_string(&w, verdict->id);
    pcr_json_key(&w, "action");
    pcr_json_text(&w, verdict->action);
    pcr_json_key(&w, "confidence");
    pcr_json_f32(&w, verdict->confidence);
    pcr_json_key(&w, "reason");
    write_reason(&w, decision, verdict, summary);
    pcr_json_key(&w, "limits");
    pcr_json_object_begin(&w);
    for (size_t i = 0; i < decision->n_limits; i++) {
        pcr_json_key(&w, decision->limits[i].name);
        pcr_json_f64(&w, verdict->request->limits[i]);
    }
    pcr_json_object_end(&w);
    pcr_json_key(&w, "model");
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "name");
    pcr_json_text(&w, decision->model);
    pcr_json_key(&w, "version");
    pcr_json_text(&w, verdict->plan->version);
    pcr_json_object_end(&w);
    pcr_json_object_end(&w);
    PCR_ASSERT(!buf.failed);
    return pcr_buf_view(&buf);
}

// --- the contract -------------------------------------------------------------------------------

struct first_violation {
    struct pcr_arena *arena;
    const char *pointer;
};

static bool keep_first(void *ctx, const struct pacer_violation *violation) {
    struct first_violation *first = ctx;
    first->pointer = pcr_arena_dup(first->arena, pcr_str(violation->instance));
    return false;
}

int pcr_decide_answer_check(const struct pcr_decision *decision, struct pcr_str answer,
                            struct pcr_arena *arena, const char **pointer,
                            struct pacer_error *err) {
    static const struct pcr_json_options options = {.what = "answer"};
    yyjson_val *root;
    int rc = pcr_json_parse(arena, answer, &options, &root, err);
    if (rc < 0)
        return rc;
    struct first_violation first = {arena, NULL};
    rc = pcr_contract_check_value(decision->contract, root, keep_first, &first, err);
    *pointer = first.pointer;
    return rc;
}

struct pcr_str pcr_decide_error_write(struct pcr_arena *arena, const char *message,
                                      const char *pointer) {
    struct pcr_buf buf;
    size_t bytes = 256 + 6 * (strlen(message) + (pointer ? strlen(pointer) : 0));
    if (!pcr_decide_buf(arena, bytes, &buf))
        return PCR_STR("{\"error\":\"no memory left for this request\"}");
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, &buf);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "error");
    pcr_json_text(&w, message);
    if (pointer) {
        pcr_json_key(&w, "pointer");
        pcr_json_text(&w, pointer);
    }
    pcr_json_object_end(&w);
    PCR_ASSERT(!buf.failed);
    return pcr_buf_view(&buf);
}
