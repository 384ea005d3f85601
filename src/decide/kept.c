// SPDX-License-Identifier: Apache-2.0
// Decisions whose answers are kept.
//
// The key is what the answer is made of: the decision as configured (a fingerprint), the model's
// content, the features as the model gets them, the limits as computed. Neither who asks nor what
// else the request holds. What is kept is the answer without its id, behind a byte that tells
// whether it is the fallback, for the figures.
//
// An answer with another id is another answer to its contract. Contracts that say nothing of the id
// but that it is a string are recognized; where one may say more, answers are not kept.
#include "decide/decide_priv.h"

#define ID_BYTES_MAX 128 // of X-Request-Id, as the server takes it
#define KEY_BYTES (512 + 3 * 256)

static struct pcr_decide_state *state_of(struct pcr_decide_call *call) {
    return call->state;
}

// --- the decision -------------------------------------------------------------------------------
static bool is_one_of(yyjson_val *key, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (yyjson_equals_str(key, names[i]))
            return true;
    return false;
}

static bool has_only(yyjson_val *object, const char *const *names, size_t n_names) {
    size_t at, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, at, n, key, value) {
        if (!is_one_of(key, names, n_names))
            return false;
    }
    return yyjson_is_obj(object);
}

// Keywords that see no member's value, and "properties", of which only "id" matters.
static bool takes_any_id(const struct pacer_contract *contract) {
    static const char *const harmless[] = {"$schema",       "$id",          "$comment",
                                           "$defs",         "title",        "description",
                                           "examples",      "default",      "type",
                                           "required",      "properties",   "additionalProperties",
                                           "readOnly",      "writeOnly",    "deprecated",
                                           "minProperties", "maxProperties"};
    static const char *const of_id[] = {"$comment",  "title",     "description",
                                        "examples",  "default",   "type",
                                        "minLength", "maxLength", "readOnly"};
    yyjson_val *schema = pcr_contract_schema(contract);
    if (!has_only(schema, harmless, PCR_COUNT_OF(harmless)))
        return false;
    yyjson_val *id = yyjson_obj_get(yyjson_obj_get(schema, "properties"), "id");
    if (!id) // then additionalProperties may speak of it
        return !yyjson_is_obj(yyjson_obj_get(schema, "additionalProperties"));
    yyjson_val *least = yyjson_obj_get(id, "minLength"), *most = yyjson_obj_get(id, "maxLength");
    return has_only(id, of_id, PCR_COUNT_OF(of_id)) && (!least || yyjson_get_num(least) <= 1) &&
           (!most || yyjson_get_num(most) >= ID_BYTES_MAX);
}

static void hash_text(struct pcr_cache_keying *keying, const char *text) {
    pcr_cache_key_u64(keying, text != NULL);
    pcr_cache_key_text(keying, pcr_str(text ? text : ""));
}

static void describe(const struct pcr_decision *decision, struct pcr_cache_keying *keying) {
    hash_text(keying, decision->path);
    hash_text(keying, decision->fallback_action);
    pcr_cache_key_f64(keying, decision->min_confidence);
    pcr_cache_key_u64(keying, decision->max_factors);
    pcr_cache_key_u64(keying, pcr_contract_digest(decision->contract));
    for (size_t i = 0; i < decision->n_features; i++) {
        const struct pcr_decide_feature *feature = &decision->features[i];
        hash_text(keying, feature->name);
        hash_text(keying, feature->label);
        pcr_cache_key_u64(keying, feature->has_baseline);
        pcr_cache_key_f64(keying, feature->has_baseline ? feature->baseline : 0);
        pcr_cache_key_f64(keying, feature->round);
    }
    for (size_t i = 0; i < decision->n_actions; i++) {
        hash_text(keying, decision->actions[i].label);
        hash_text(keying, decision->actions[i].action);
    }
    for (size_t i = 0; i < decision->n_classes; i++)
        hash_text(keying, decision->classes[i]);
    for (size_t i = 0; i < decision->n_limits; i++) { // their values are the request's
        hash_text(keying, decision->limits[i].name);
        hash_text(keying, decision->limits[i].field);
    }
}

void pcr_decide_kept_prepare(struct pcr_decision *decision) {
    struct pcr_buf buf;
    struct pcr_cache_keying keying;
    struct pcr_cache_key key;
    pcr_buf_init(&buf, SIZE_MAX / 2);
    pcr_cache_key_begin(&keying, &buf, PCR_STR("decision"), PCR_STR(""), pcr_str(decision->model),
                        PCR_STR(""));
    describe(decision, &keying);
    decision->any_id =
        takes_any_id(decision->contract) && pcr_cache_key_end(&keying, &key); // else: not kept
    if (decision->any_id) {
        decision->fingerprint[0] = key.name.hi;
        decision->fingerprint[1] = key.name.lo;
    }
    pcr_buf_fini(&buf);
}

// --- the request --------------------------------------------------------------------------------
static bool make_key(struct pcr_decide_call *call, struct pcr_cache_key *out) {
    const struct pcr_decision *decision = call->decision;
    const struct pcr_decide_request *request = &state_of(call)->request;
    const char *version = state_of(call)->plan->version;
    struct pcr_buf *buf = pcr_arena_alloc(call->arena, sizeof *buf);
    size_t bytes = 512 + call->tenant.len + strlen(decision->model) + strlen(version) +
                   (decision->n_features + decision->n_limits) * 24;
    if (!buf || !pcr_decide_buf(call->arena, bytes, buf))
        return false;
    struct pcr_cache_keying keying;
    pcr_cache_key_begin(&keying, buf, PCR_STR("decision"), call->tenant, pcr_str(decision->model),
                        pcr_str(version));
    pcr_cache_key_u64(&keying, decision->fingerprint[0]);
    pcr_cache_key_u64(&keying, decision->fingerprint[1]);
    for (size_t i = 0; i < decision->n_features; i++)
        pcr_cache_key_f64(&keying, request->values[i]);
    for (size_t i = 0; i < decision->n_limits; i++)
        pcr_cache_key_f64(&keying, request->limits[i]);
    return pcr_cache_key_end(&keying, out);
}

// --- the answer ---------------------------------------------------------------------------------
static bool pack(struct pcr_decide_call *call) {
    struct pcr_str object = pcr_json_drop_first(call->arena, call->answer);
    char *packed = object.ptr ? pcr_arena_alloc(call->arena, object.len + 1) : NULL;
    if (!packed)
        return false;
    packed[0] = state_of(call)->fallback ? 'f' : 'a';
    memcpy(packed + 1, object.ptr, object.len);
    call->kept.body = (struct pcr_str){packed, object.len + 1};
    return true;
}

static void take_answer(struct pcr_decide_call *call) {
    struct pcr_str body = call->kept.body;
    struct pcr_str object = {body.ptr + 1, body.len - 1};
    struct pcr_str answer = {NULL, 0};
    if (body.len > 3)
        answer = pcr_json_put_first(call->arena, object, "id", call->id);
    if (!answer.ptr) {
        pcr_decide_fail(call, PACER_ENOMEM, "no memory left for this request");
        return;
    }
    pcr_decide_count_answer(call, body.ptr[0] == 'f');
    call->status = 200;
    call->answer = answer;
}

static void finish(struct pcr_decide_call *call) {
    struct pcr_cache_call *kept = &call->kept;
    bool computed = kept->how == PCR_CACHE_MISS && call->status != 0;
    call->retry_ns = kept->retry_ns;
    if (call->refreshing) {
        call->done(call); // nobody hears it
        return;
    }
    if (kept->status < 0 && call->status == 0) {
        pcr_decide_fail(call, kept->status, kept->error.message);
    } else if (kept->how == PCR_CACHE_ABSENT) {
        call->status = 504;
        call->answer = pcr_decide_error_write(call->arena, PCR_CACHE_ABSENT_TEXT, NULL);
    } else if (kept->status == 0 && !computed) {
        take_answer(call);
    }
    if (call->status == 200) {
        uint64_t now_ns = pcr_clock_mono_ns();
        pcr_model_count_kept(call->infer.model, kept->how != PCR_CACHE_MISS,
                             now_ns > call->received_ns ? now_ns - call->received_ns : 0);
    }
    call->done(call);
}

static void on_done(struct pcr_cache_call *kept) {
    finish(kept->user);
}

// What the call came to, as the cache wants it. A call that already has a status that is no answer
// (its contract was broken, say) would have it for everybody.
static void on_inferred(struct pcr_infer_call *infer) {
    struct pcr_decide_call *call = infer->user;
    struct pcr_cache_call *kept = &call->kept;
    bool packed = call->status == 200 && pack(call);
    kept->status = 0;
    kept->retry_ns = infer->retry_ns;
    if (call->status == 0) {
        kept->status = infer->status;
        kept->error = infer->error;
    } else if (call->status != 200) {
        kept->status = pcr_err(&kept->error, call->status == 503 ? PACER_ENOMEM : PACER_ECONTRACT,
                               "decide", "the answer could not be made");
    } else if (!packed) {
        kept->body = (struct pcr_str){NULL, 0};
    }
    pcr_cache_computed(kept, packed);
}

static void compute(struct pcr_cache_call *kept) {
    struct pcr_decide_call *call = kept->user;
    call->infer.done = on_inferred;
    pcr_engine_submit(call->engine, &call->infer);
}

// --- the way ------------------------------------------------------------------------------------
static uint64_t deadline_of(const struct pcr_decide_call *call) {
    uint64_t own_ns = call->timeout_ns ? call->timeout_ns : call->infer.model->config.timeout_ns;
    uint64_t at_ns = own_ns ? call->received_ns + own_ns : 0;
    return at_ns && (call->deadline_ns == 0 || at_ns < call->deadline_ns) ? at_ns
                                                                          : call->deadline_ns;
}

bool pcr_decide_kept(struct pcr_decide_call *call) {
    const struct pcr_model_config *config = &call->infer.model->config;
    if (!call->cache || config->keep_ns == 0)
        return false;
    call->bypass = call->no_store            ? "no-store"
                   : !call->decision->any_id ? "contract"
                   : call->infer.is_large    ? "large"
                                             : NULL;
    if (call->bypass)
        return false;
    if (pcr_decide_read(&call->infer) < 0) { // it has its status
        call->done(call);
        return true;
    }
    struct pcr_cache_call *kept = &call->kept;
    *kept = (struct pcr_cache_call){
        .policy = {config->keep_ns, config->keep_stale_ns, config->keep_on_error_ns},
        .arena = call->arena,
        .loop = call->loop,
        .deadline_ns = deadline_of(call),
        .max_age_ns = call->max_age_ns,
        .only_if_cached = call->only_if_cached,
        .refreshing = call->refreshing,
        .compute = compute,
        .done = on_done,
        .user = call,
    };
    call->infer.read = NULL;
    if (!make_key(call, &kept->key)) { // no memory: it is computed as any
        call->bypass = "large";
        return false;
    }
    kept->cache = call->cache;
    if (!call->refreshing && pcr_cache_get(kept, pcr_clock_mono_ns()))
        finish(call);
    else
        pcr_cache_fetch(kept);
    return true;
}

bool pcr_decide_kept_cancel(struct pcr_decide_call *call) {
    return pcr_cache_cancel(&call->kept);
}
