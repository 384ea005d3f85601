// SPDX-License-Identifier: Apache-2.0
// One version of one model: a session with what the repository knows of it, and its statistics.
//
// The reference count and each slot of statistics have cache lines of their own. A thread counts in
// the slot its hint leads to, so threads do not take a line away from each other as long as there
// are no more than STAT_SLOTS of them; more share, which the atomic additions allow. Runs by size
// are counted once a run, not once a request, and share their lines.
#include "infer/engine_priv.h"
#include "infer/repository_priv.h"

#include <stdlib.h>

#define CACHE_LINE 64
#define STAT_SLOTS 16
#define STAT_FIELDS (sizeof(struct pcr_model_stats) / sizeof(uint64_t))
// Offered where neither the configuration nor config.pbtxt says anything; clients learn it and
// batch up to it.
#define MAX_BATCH_DEFAULT 256
#define QUEUE_MAX_DEFAULT 1024

_Static_assert(sizeof(struct pcr_model_stats) % sizeof(uint64_t) == 0, "counters only");

struct slot {
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t fields[STAT_FIELDS];
};

struct size_count {
    _Atomic uint64_t count, infer_ns;
};

struct model {
    struct pcr_model shown;
    char *text; // name and version
    struct pcr_reaper *reaper;
    struct pcr_reaped reaped;
    struct pcr_model_queue queue;
    struct size_count sizes[PCR_MODEL_SIZES_MAX + 1];
    _Atomic uint64_t long_rows; // of the runs longer than those
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

static int set_batching(struct pcr_model *model, const struct pcr_found *found,
                        struct pacer_error *err) {
    enum pcr_rows rows = pcr_session_rows(model->session);
    bool can = rows != PCR_ROWS_NONE;
    int asked = found->config.max_batch_size;
    if (model->config.max_batch_size > 0)
        asked = model->config.max_batch_size;
    model->max_batch_size_is_set = asked > 0;
    model->dynamic_batching = found->config.dynamic_batching;
    if (asked > 0 && !can)
        return pcr_err(
            err, PACER_EMODEL, "repository",
            "max_batch_size is %d, but not every input and output of the model has a dynamic first "
            "dimension that counts its rows; set it to 0 or leave it out",
            asked);
    model->max_batch_size = !can ? 0 : asked >= 0 ? asked : MAX_BATCH_DEFAULT;
    model->rows_are_apart = rows == PCR_ROWS_APART;
    return 0;
}

// Where the rows of a batch change each other's answers, strangers' requests stay apart, unless
// somebody said that it does not matter.
static void set_merging(struct pcr_model *model) {
    enum pcr_rows rows = pcr_session_rows(model->session);
    enum pcr_merging merging = model->config.merging;
    uint64_t most = model->max_batch_size > 0 ? (uint64_t)model->max_batch_size : 1;
    model->merges =
        most > 1 && merging != PCR_MERGING_OFF &&
        (rows == PCR_ROWS_APART || (merging == PCR_MERGING_ON && rows != PCR_ROWS_NONE));
    model->rows_max = model->merges ? pcr_cost_cap(pcr_session_cost(model->session), most) : 1;
    if (model->merges && merging == PCR_MERGING_ON && model->rows_max == 1)
        model->rows_max = most; // no sweep: it was asked for all the same
    if (rows == PCR_ROWS_TOGETHER && model->merges)
        pcr_log(PCR_LOG_WARN, "repository",
                "model '%s': requests share runs, as 'merge: on' says, although the rows of a "
                "batch change each other's answers",
                model->name);
    else if (rows == PCR_ROWS_TOGETHER && merging == PCR_MERGING_AUTO)
        pcr_log(PCR_LOG_WARN, "repository",
                "model '%s': requests do not share runs, because the rows of a batch change each "
                "other's answers (tried with made-up rows; dynamic quantization does so, too)",
                model->name);
}

static void open_queue(struct model *model, const struct pcr_model *shown) {
    struct pcr_batch_options options = {
        .rows_max = shown->rows_max,
        .queue_max = shown->config.queue_max,
        .slots = PCR_BATCH_SLOTS_MAX,
        .max_wait_ns = shown->rows_max > 1 ? shown->config.max_wait_ns : 0,
        .alike = pcr_calls_are_alike,
    };
    if (shown->config.instances > 0 && shown->config.instances < PCR_BATCH_SLOTS_MAX)
        options.slots = shown->config.instances;
    pcr_model_queue_init(&model->queue, shown, &options);
}

static void free_model(struct pcr_reaped *reaped) {
    struct model *model = PCR_CONTAINER_OF(reaped, struct model, reaped);
    pacer_session_put(model->shown.session);
    pcr_reaper_unref(model->reaper);
    free(model->text);
    free(model);
}

int pcr_model_create(const struct pcr_found *found, const struct pcr_model_config *config,
                     struct pacer_session *session, struct pcr_reaper *reaper,
                     struct pcr_model **out, struct pacer_error *err) {
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
    model->reaper = pcr_reaper_ref(reaper);
    model->reaped.free = free_model;
    static _Atomic uint64_t serial;
    model->shown = (struct pcr_model){
        .name = text,
        .version = text + name_bytes,
        .content_hash = pacer_session_version(session),
        .session = session,
        .serial = atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed) + 1,
        .run_ns = pcr_session_run_ns(session),
        .config = config ? *config : (struct pcr_model_config){0}};
    model->shown.config.name = text;
    if (model->shown.config.queue_max == 0)
        model->shown.config.queue_max = QUEUE_MAX_DEFAULT;
    atomic_init(&model->refs, 1);
    int code = set_batching(&model->shown, found, err);
    if (code < 0) {
        pcr_model_unref(&model->shown);
    } else {
        set_merging(&model->shown);
        open_queue(model, &model->shown);
        *out = &model->shown;
    }
    // cppcheck-suppress memleak // *out is part of it
    return code;
}

static struct model *model_of(const struct pcr_model *shown) {
    return PCR_CONTAINER_OF(shown, struct model, shown);
}

struct pcr_model_queue *pcr_model_queue(const struct pcr_model *shown) {
    return &model_of(shown)->queue;
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
    if (before == 1)
        pcr_reaper_take(model->reaper, &model->reaped);
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

void pcr_model_count_kept(struct pcr_model *model, bool kept, uint64_t ns) {
    struct pcr_model_stats more = {0};
    *(kept ? &more.kept_count : &more.unkept_count) = 1;
    *(kept ? &more.kept_ns : &more.unkept_ns) = ns;
    if (kept) { // as the protocol has it; one that was computed is counted with its run
        more.success_count = 1;
        more.success_ns = ns;
    }
    pcr_model_count(model, &more);
}

void pcr_model_count_run(struct pcr_model *shown, uint64_t rows, uint64_t infer_ns) {
    struct model *model = model_of(shown);
    struct size_count *size = &model->sizes[rows <= PCR_MODEL_SIZES_MAX ? rows : 0];
    if (rows > PCR_MODEL_SIZES_MAX)
        atomic_fetch_add_explicit(&model->long_rows, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&size->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&size->infer_ns, infer_ns, memory_order_relaxed);
}

void pcr_model_sizes(const struct pcr_model *shown, struct pcr_model_sizes *out) {
    const struct model *model = model_of(shown);
    out->rows = atomic_load_explicit(&model->long_rows, memory_order_relaxed);
    for (size_t i = 0; i <= PCR_MODEL_SIZES_MAX; i++) {
        out->count[i] = atomic_load_explicit(&model->sizes[i].count, memory_order_relaxed);
        out->infer_ns[i] = atomic_load_explicit(&model->sizes[i].infer_ns, memory_order_relaxed);
        out->rows += i * out->count[i];
    }
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
