// SPDX-License-Identifier: Apache-2.0
// Inference whose answers are kept.
//
// The request is read on the loop, its key is made of what was read (not of its bytes, so that
// neither spaces nor the order of members matter), and the cache is asked. What is kept is an
// answer without its id: the length of its JSON, the JSON, the binary tensors.
//
// −0.0 counts as 0.0, so the model is asked with 0.0 here: otherwise whoever came first would
// decide which of two answers both get.
//
// Not looked for: what may take long to read (PCR_INLINE_BODY_BYTES_MAX), what has a NaN, and what
// says no-store. All else that is wrong with a request is found by the engine, and never kept.
#include "server/v2_infer.h"

#include <stdlib.h>

#define KEY_INPUTS_MAX 64 // they are sorted by looking through them
#define KEPT_BYTES_MAX ((size_t)8 << 20)
#define REFRESH_ARENA_BYTES_MAX ((size_t)64 << 20)

// --- the key ------------------------------------------------------------------------------------
static size_t key_bytes(const struct pcr_v2_infer *infer, struct pcr_str tenant) {
    const struct pacer_run *run = &infer->v2.run;
    size_t bytes = 256 + tenant.len + strlen(infer->model->name) + strlen(infer->model->version) +
                   strlen(infer->model->content_hash);
    for (size_t i = 0; i < run->n_outputs; i++)
        bytes += strlen(run->outputs[i]) + 64;
    for (size_t i = 0; i < run->n_inputs; i++) {
        const struct pacer_tensor *input = &run->inputs[i];
        size_t count;
        if (pacer_shape_count(input->shape, input->rank, &count) < 0)
            return 0;
        bytes += strlen(input->name) + 64 + input->rank * sizeof *input->shape +
                 count * pacer_dtype_size(input->dtype);
        const struct pacer_bytes *texts = input->data;
        for (size_t t = 0; input->dtype == PACER_BYTES && t < count; t++)
            bytes += texts[t].size + 9;
    }
    return bytes;
}

// Inputs by name, since their order in the request means nothing; that of outputs is the answer's.
static void write_key(struct pcr_cache_keying *keying, const struct pcr_v2_infer *infer) {
    const struct pacer_run *run = &infer->v2.run;
    pcr_cache_key_text(keying, pcr_str(infer->model->version));
    pcr_cache_key_u64(keying, infer->v2.binary_output);
    pcr_cache_key_u64(keying, run->n_outputs);
    for (size_t i = 0; i < run->n_outputs; i++) {
        pcr_cache_key_text(keying, pcr_str(run->outputs[i]));
        pcr_cache_key_u64(keying, infer->v2.outputs[i].binary);
        pcr_cache_key_u64(keying, infer->v2.outputs[i].classes);
    }
    const char *last = "";
    for (size_t i = 0; i < run->n_inputs; i++) {
        const struct pacer_tensor *next = NULL;
        for (size_t j = 0; j < run->n_inputs; j++) {
            const struct pacer_tensor *input = &run->inputs[j];
            bool later = i == 0 || strcmp(input->name, last) > 0;
            if (later && (!next || strcmp(input->name, next->name) < 0))
                next = input;
        }
        if (!next) { // a name that is there twice: the engine refuses it
            keying->refused = true;
            return;
        }
        pcr_cache_key_tensor(keying, next);
        last = next->name;
    }
}

// NULL, or why there is none.
static const char *make_key(struct pcr_v2_infer *infer, struct pcr_str tenant,
                            struct pcr_cache_key *out) {
    size_t cap = infer->v2.run.n_inputs <= KEY_INPUTS_MAX ? key_bytes(infer, tenant) : 0;
    struct pcr_buf *buf = pcr_arena_alloc(infer->arena, sizeof *buf);
    char *memory = cap > 0 ? pcr_arena_alloc(infer->arena, cap) : NULL;
    if (!buf || !memory)
        return "large";
    *buf = (struct pcr_buf){.data = memory, .cap = cap, .max_bytes = cap - 1};
    struct pcr_cache_keying keying;
    pcr_cache_key_begin(&keying, buf, PCR_STR("v2"), tenant, pcr_str(infer->model->name),
                        pcr_str(infer->model->content_hash));
    write_key(&keying, infer);
    return pcr_cache_key_end(&keying, out) ? NULL : "nan";
}

// --- what is kept -------------------------------------------------------------------------------
struct head {
    uint64_t json_bytes, binary;
};

static bool pack(struct pcr_v2_infer *infer) {
    const struct pcr_v2_body *body = &infer->body;
    struct head head = {body->json.len, body->binary};
    size_t bytes = sizeof head + body->json.len + body->tensors.len;
    char *packed = pcr_arena_alloc(infer->arena, bytes);
    if (!packed)
        return false;
    memcpy(packed, &head, sizeof head);
    memcpy(packed + sizeof head, body->json.ptr, body->json.len);
    if (body->tensors.len)
        memcpy(packed + sizeof head + body->json.len, body->tensors.ptr, body->tensors.len);
    infer->cached.body = (struct pcr_str){packed, bytes};
    return true;
}

static bool unpack(struct pcr_str packed, struct pcr_v2_body *body) {
    struct head head;
    if (packed.len < sizeof head)
        return false;
    memcpy(&head, packed.ptr, sizeof head);
    size_t rest = packed.len - sizeof head;
    if (head.json_bytes > rest || head.json_bytes < sizeof "{}")
        return false;
    body->json = (struct pcr_str){packed.ptr + sizeof head, (size_t)head.json_bytes};
    body->tensors = (struct pcr_str){body->json.ptr + body->json.len, rest - body->json.len};
    body->binary = head.binary;
    return true;
}

// --- computing ----------------------------------------------------------------------------------
static void on_computed(struct pcr_infer_call *call) {
    struct pcr_v2_infer *infer = call->user;
    struct pcr_cache_call *cached = &infer->cached;
    cached->status = call->status;
    cached->error = call->error;
    cached->retry_ns = call->retry_ns;
    if (call->status == 0 && !pack(infer))
        cached->status = pcr_err(&cached->error, PACER_ENOMEM, "v2", "no memory for the answer");
    pcr_cache_computed(cached, cached->body.len <= KEPT_BYTES_MAX);
}

static bool settle_inputs(struct pcr_v2_infer *infer) {
    struct pacer_run *run = &infer->v2.run;
    struct pacer_tensor *inputs = pcr_arena_array(infer->arena, run->n_inputs, sizeof *inputs);
    if (!inputs)
        return false;
    for (size_t i = 0; i < run->n_inputs; i++) {
        inputs[i] = run->inputs[i];
        if (!pcr_cache_settle(infer->arena, &inputs[i]))
            return false;
    }
    run->inputs = inputs;
    return true;
}

static void compute(struct pcr_cache_call *cached) {
    struct pcr_v2_infer *infer = cached->user;
    if (!settle_inputs(infer)) {
        cached->status = pcr_err(&cached->error, PACER_ENOMEM, "v2", "no memory for the request");
        pcr_cache_computed(cached, false);
        return;
    }
    infer->call.run = infer->v2.run;
    infer->call.done = on_computed;
    pcr_engine_submit(infer->engine, &infer->call);
}

// --- answering ----------------------------------------------------------------------------------
static void answer(struct pcr_v2_infer *infer, uint64_t now_ns) {
    struct pcr_cache_call *cached = &infer->cached;
    struct pcr_v2_body body = {0};
    if (cached->status < 0) {
        pcr_reply_refusal(infer->request, &cached->error, cached->retry_ns);
        return;
    }
    if (cached->how == PCR_CACHE_ABSENT) {
        pcr_reply_error(infer->request, 504, "%s", PCR_CACHE_ABSENT_TEXT);
        return;
    }
    bool good = unpack(cached->body, &body);
    if (good && infer->id.len > 0)
        body.json = pcr_json_put_first(infer->arena, body.json, "id", infer->id);
    if (!good || !body.json.ptr) {
        pcr_reply_error(infer->request, 503, "no memory for the answer");
        return;
    }
    pcr_caching_say(cached, false, &infer->said);
    pcr_model_count_kept(infer->model, cached->how != PCR_CACHE_MISS,
                         now_ns > infer->call.received_ns ? now_ns - infer->call.received_ns : 0);
    pcr_v2_infer_reply(infer, &body);
}

// --- computing anew, for nobody -----------------------------------------------------------------
struct refresh {
    struct pcr_arena arena;
    struct pcr_v2_infer infer;
};

static void on_refreshed(struct pcr_cache_call *cached) {
    struct refresh *refresh = PCR_CONTAINER_OF(cached, struct refresh, infer.cached);
    pcr_arena_fini(&refresh->arena);
    free(refresh);
}

static void unref_model(void *model) {
    pcr_model_unref(model);
}

static struct pcr_str copy(struct pcr_arena *arena, struct pcr_str text) {
    return (struct pcr_str){text.ptr ? pcr_arena_dup(arena, text) : NULL, text.len};
}

// Everything of the request that outlives it: its bytes are read once more.
static bool copy_request(struct refresh *refresh, const struct pcr_v2_infer *from) {
    struct pcr_v2_infer *infer = &refresh->infer;
    struct pcr_arena *arena = &refresh->arena;
    *infer = (struct pcr_v2_infer){
        .arena = arena,
        .bytes = copy(arena, from->bytes),
        .length = copy(arena, from->length),
        .engine = from->engine,
        .model = from->model,
        .call = from->call,
        .cached = from->cached,
    };
    pcr_model_ref(infer->model);
    if (!pcr_arena_on_reset(arena, unref_model, infer->model)) {
        pcr_model_unref(infer->model);
        return false;
    }
    infer->cached.key.bytes = copy(arena, from->cached.key.bytes);
    infer->call.arena = infer->cached.arena = arena;
    infer->call.user = infer->cached.user = infer;
    return infer->bytes.ptr && infer->cached.key.bytes.ptr &&
           (infer->length.ptr || !from->length.ptr);
}

static void start_refresh(const struct pcr_v2_infer *from) {
    struct refresh *refresh = malloc(sizeof *refresh);
    if (!refresh)
        return;
    pcr_arena_init(&refresh->arena, REFRESH_ARENA_BYTES_MAX);
    struct pcr_v2_infer *infer = &refresh->infer;
    struct pcr_infer_call *call = &infer->call;
    if (!copy_request(refresh, from) || pcr_v2_infer_read(call) < 0) {
        pcr_arena_fini(&refresh->arena);
        free(refresh);
        return;
    }
    infer->v2.id = PCR_STR("");
    call->read = NULL;
    call->deadline_ns = call->timeout_ns = 0;
    call->received_ns = pcr_clock_mono_ns();
    call->priority = PCR_PRIORITIES - 1; // people wait for the others
    infer->cached.refreshing = true;
    infer->cached.deadline_ns = 0;
    infer->cached.done = on_refreshed;
    pcr_cache_fetch(&infer->cached);
}

// --- the way of a request -----------------------------------------------------------------------
static void finish(struct pcr_v2_infer *infer, uint64_t now_ns) {
    if (infer->cached.refresh && infer->cached.status == 0)
        start_refresh(infer);
    answer(infer, now_ns);
}

static void on_done(struct pcr_cache_call *cached) {
    finish(cached->user, pcr_clock_mono_ns());
}

static bool bypass(struct pcr_v2_infer *infer, const char *reason) {
    pcr_caching_say_bypass(reason, false, &infer->said);
    return false;
}

bool pcr_v2_infer_cached(struct pcr_app *app, struct pcr_v2_infer *infer) {
    struct pcr_infer_call *call = &infer->call;
    const struct pcr_model_config *config = &infer->model->config;
    struct pcr_caching caching;
    if (!app->cache || config->keep_ns == 0)
        return false;
    pcr_caching_read(app, infer->request, &caching);
    if (caching.no_store)
        return bypass(infer, "no-store");
    if (call->is_large)
        return bypass(infer, "large");
    uint64_t timeout_ns = call->timeout_ns;
    if (pcr_v2_infer_read(call) < 0) { // the engine finds it, too, and counts it
        call->timeout_ns = timeout_ns;
        return false;
    }
    struct pcr_cache_call *cached = &infer->cached;
    *cached = (struct pcr_cache_call){
        .cache = app->cache,
        .policy = {config->keep_ns, config->keep_stale_ns, config->keep_on_error_ns},
        .arena = infer->arena,
        .loop = call->loop,
        .deadline_ns = call->deadline_ns,
        .max_age_ns = caching.max_age_ns,
        .only_if_cached = caching.only_if_cached,
        .compute = compute,
        .done = on_done,
        .user = infer,
    };
    const char *reason = make_key(infer, caching.tenant, &cached->key);
    if (reason) {
        cached->cache = NULL;
        call->timeout_ns = timeout_ns;
        return bypass(infer, reason);
    }
    infer->id = infer->v2.id;
    infer->v2.id = PCR_STR("");
    call->read = NULL;
    uint64_t own_ns = call->timeout_ns ? call->timeout_ns : config->timeout_ns;
    if (own_ns && (cached->deadline_ns == 0 || call->received_ns + own_ns < cached->deadline_ns))
        cached->deadline_ns = call->received_ns + own_ns;
    uint64_t now_ns = pcr_clock_mono_ns();
    if (pcr_cache_get(cached, now_ns))
        finish(infer, now_ns);
    else
        pcr_cache_fetch(cached);
    return true;
}

void pcr_v2_infer_cached_abort(struct pcr_v2_infer *infer) {
    if (pcr_cache_cancel(&infer->cached))
        pcr_engine_cancel(&infer->call);
}
