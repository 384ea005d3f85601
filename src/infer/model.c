// SPDX-License-Identifier: Apache-2.0
// One version of one model: a session with what the repository knows of it, and its statistics.
//
// The reference count and each slot of statistics have cache lines of their own. A thread counts in
// the slot its hint leads to, so threads do not take a line away from each other as long as there
// are no more than STAT_SLOTS of them; more share, which the atomic additions allow.
#include "infer/repository_priv.h"

#include <stdatomic.h>
#include <stdlib.h>

#define CACHE_LINE 64
#define STAT_SLOTS 16
#define STAT_FIELDS (sizeof(struct pcr_model_stats) / sizeof(uint64_t))
// Offered where neither the configuration nor config.pbtxt says anything; clients learn it and
// batch up to it.
#define MAX_BATCH_DEFAULT 256

_Static_assert(sizeof(struct pcr_model_stats) % sizeof(uint64_t) == 0, "counters only");

struct slot {
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t fields[STAT_FIELDS];
};

struct model {
    struct pcr_model shown;
    char *text; // name and version
    _Alignas(2 * CACHE_LINE) _Atomic size_t refs;
    struct slot slots[STAT_SLOTS];
};

unsigned pcr_thread_hint(void) {
    static _Atomic unsigned next;
    static _Thread_local unsigned mine;
    if (!mine)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) + 1;
    return mine - 1;
}

static bool is_batched(const struct pacer_tensor_info *infos, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (infos[i].rank == 0 || infos[i].shape[0] != -1)
            return false;
    return n > 0;
}

static int set_batching(struct pcr_model *model, const struct pcr_found *found,
                        const struct pcr_model_config *config, struct pacer_error *err) {
    size_t n_inputs;
    size_t n_outputs;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(model->session, &n_inputs);
    const struct pacer_tensor_info *outputs = pacer_session_outputs(model->session, &n_outputs);
    bool can = is_batched(inputs, n_inputs) && is_batched(outputs, n_outputs);
    int asked = found->config.max_batch_size;
    if (config && config->max_batch_size > 0)
        asked = config->max_batch_size;
    model->max_batch_size_is_set = asked > 0;
    model->dynamic_batching = found->config.dynamic_batching;
    if (asked > 0 && !can)
        return pcr_err(
            err, PACER_EMODEL, "repository",
            "max_batch_size is %d, but not every input and output of the model has a dynamic first "
            "dimension; set it to 0 or leave it out",
            asked);
    model->max_batch_size = !can ? 0 : asked >= 0 ? asked : MAX_BATCH_DEFAULT;
    return 0;
}

int pcr_model_create(const struct pcr_found *found, const struct pcr_model_config *config,
                     struct pacer_session *session, struct pcr_model **out,
                     struct pacer_error *err) {
    struct model *model = aligned_alloc((size_t)2 * CACHE_LINE, sizeof *model);
    size_t name_bytes = strlen(found->name) + 1;
    char *text = malloc(name_bytes + strlen(found->version) + 1);
    if (!model || !text) {
        free(model);
        free(text);
        pacer_session_put(session);
        return pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    }
    memset(model, 0, sizeof *model);
    memcpy(text, found->name, name_bytes);
    memcpy(text + name_bytes, found->version, strlen(found->version) + 1);
    model->text = text;
    model->shown = (struct pcr_model){.name = text,
                                      .version = text + name_bytes,
                                      .content_hash = pacer_session_version(session),
                                      .session = session,
                                      .run_ns = pcr_session_run_ns(session)};
    atomic_init(&model->refs, 1);
    int code = set_batching(&model->shown, found, config, err);
    if (code < 0)
        pcr_model_unref(&model->shown);
    else
        *out = &model->shown;
    // cppcheck-suppress memleak // *out is part of it
    return code;
}

static struct model *model_of(const struct pcr_model *shown) {
    return PCR_CONTAINER_OF(shown, struct model, shown);
}

void pcr_model_ref(struct pcr_model *shown) {
    size_t before = atomic_fetch_add_explicit(&model_of(shown)->refs, 1, memory_order_relaxed);
    PCR_ASSERT(before > 0);
}

void pcr_model_unref(struct pcr_model *shown) {
    if (!shown)
        return;
    struct model *model = model_of(shown);
    // Release: what this user did comes before;
    // acquire: what all users did is seen by the one who frees.
    size_t before = atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel);
    PCR_ASSERT(before > 0);
    if (before > 1)
        return;
    pacer_session_put(shown->session);
    free(model->text);
    free(model);
}

void pcr_model_count(struct pcr_model *shown, const struct pcr_model_stats *more) {
    struct slot *slot = &model_of(shown)->slots[pcr_thread_hint() % STAT_SLOTS];
    uint64_t fields[STAT_FIELDS];
    memcpy(fields, more, sizeof fields);
    size_t last = offsetof(struct pcr_model_stats, last_inference_ms) / sizeof(uint64_t);
    for (size_t i = 0; i < STAT_FIELDS; i++)
        if (i != last && fields[i])
            atomic_fetch_add_explicit(&slot->fields[i], fields[i], memory_order_relaxed);
    if (fields[last])
        atomic_store_explicit(&slot->fields[last], fields[last], memory_order_relaxed);
}

static uint64_t real_ms(uint64_t mono_ms) {
    uint64_t now_ms = pcr_clock_mono_ns() / PCR_NS_PER_MS;
    uint64_t ago_ms = now_ms > mono_ms ? now_ms - mono_ms : 0;
    return pcr_clock_real_ns() / PCR_NS_PER_MS - ago_ms;
}

void pcr_model_stats(const struct pcr_model *shown, struct pcr_model_stats *out) {
    const struct model *model = model_of(shown);
    uint64_t fields[STAT_FIELDS] = {0};
    size_t last = offsetof(struct pcr_model_stats, last_inference_ms) / sizeof(uint64_t);
    for (size_t k = 0; k < STAT_SLOTS; k++)
        for (size_t i = 0; i < STAT_FIELDS; i++) {
            uint64_t value = atomic_load_explicit(&model->slots[k].fields[i], memory_order_relaxed);
            if (i != last)
                fields[i] += value;
            else if (value > fields[i])
                fields[i] = value;
        }
    memcpy(out, fields, sizeof *out);
    if (out->last_inference_ms)
        out->last_inference_ms = real_ms(out->last_inference_ms);
}

int pcr_model_check(const struct pcr_model *model, const struct pacer_run *run,
                    struct pacer_error *err) {
    int code = pcr_session_check(model->session, model->name, run, err);
    if (code < 0 || !model->max_batch_size_is_set || run->n_inputs == 0 || run->inputs[0].rank == 0)
        return code;
    if (run->inputs[0].shape[0] <= model->max_batch_size)
        return 0;
    return pcr_err(err, PACER_EINVAL, "session",
                   "inference request batch-size must be <= %d for '%s', got %lld",
                   model->max_batch_size, model->name, (long long)run->inputs[0].shape[0]);
}
