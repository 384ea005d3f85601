// SPDX-License-Identifier: Apache-2.0
// Three headers of a hit are formatted by hand: they are most of what a hit does after the look.
#include "server/caching.h"

#define AGE_S_MAX 31536000ull // beyond it a max-age means any

// --- what a request says ------------------------------------------------------------------------
static bool directive(struct pcr_str part, struct pcr_str name, struct pcr_str *value) {
    struct pcr_str word;
    *value = (struct pcr_str){NULL, 0};
    if (!pcr_str_split(&part, '=', &word) || !pcr_str_eq_nocase(pcr_str_trim(word), name))
        return false;
    if (part.ptr)
        *value = pcr_str_trim(part);
    if (value->len >= 2 && value->ptr[0] == '"' && value->ptr[value->len - 1] == '"')
        *value = (struct pcr_str){value->ptr + 1, value->len - 2};
    return true;
}

// A max-age that is no number counts as 0: the client wants it fresh (RFC 9111, 4.2.1).
static void read_directive(struct pcr_str part, struct pcr_caching *out) {
    struct pcr_str value;
    uint64_t seconds = 0;
    if (directive(part, PCR_STR("no-store"), &value)) {
        out->no_store = true;
    } else if (directive(part, PCR_STR("no-cache"), &value)) {
        out->max_age_ns = 0;
    } else if (directive(part, PCR_STR("only-if-cached"), &value)) {
        out->only_if_cached = true;
    } else if (directive(part, PCR_STR("max-age"), &value)) {
        bool number = pcr_str_to_u64(value, UINT64_MAX, &seconds);
        bool digits = value.len > 0;
        for (size_t i = 0; i < value.len && digits; i++)
            digits = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        if ((!number && digits) || seconds > AGE_S_MAX)
            return; // longer than anything is kept
        uint64_t ns = seconds * PCR_NS_PER_S;
        if (ns < out->max_age_ns)
            out->max_age_ns = ns;
    }
}

void pcr_caching_read(const struct pcr_app *app, const struct pcr_http_request *request,
                      struct pcr_caching *out) {
    *out = (struct pcr_caching){.max_age_ns = UINT64_MAX, .tenant = {"", 0}};
    const char *tenant_header = app->generation->config->cache_tenant_header;
    if (tenant_header) {
        struct pcr_str tenant = pcr_http_header(request, tenant_header);
        out->tenant = tenant.ptr ? tenant : out->tenant;
    }
    for (size_t i = 0; i < request->n_headers; i++) {
        const struct pcr_http_header *header = &request->headers[i];
        if (header->name.len != 13 || !pcr_str_eq_nocase(header->name, PCR_STR("Cache-Control")))
            continue;
        struct pcr_str rest = header->value, part;
        while (pcr_str_split(&rest, ',', &part))
            read_directive(part, out);
    }
}

// --- what an answer says ------------------------------------------------------------------------
struct text {
    char *at;
    size_t left;
};

static void put(struct text *text, const char *more) {
    size_t n = strlen(more);
    n = n < text->left ? n : text->left;
    memcpy(text->at, more, n);
    text->at += n;
    text->left -= n;
}

static void put_number(struct text *text, int64_t number) {
    char digits[24];
    size_t n = sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    digits[--n] = '\0';
    do {
        digits[--n] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        digits[--n] = '-';
    put(text, digits + n);
}

static void put_hex(struct text *text, uint64_t number) {
    PCR_ASSERT(text->left >= 16);
    pcr_hex8(text->at, (uint32_t)(number >> 32));
    pcr_hex8(text->at + 8, (uint32_t)number);
    text->at += 16;
    text->left -= 16;
}

static const char *word_of(enum pcr_cache_how how) {
    static const char *const words[] = {
        [PCR_CACHE_MISS] = "miss",           [PCR_CACHE_HIT_L1] = "hit-l1",
        [PCR_CACHE_HIT_LMDB] = "hit-lmdb",   [PCR_CACHE_HIT_REDIS] = "hit-redis",
        [PCR_CACHE_COALESCED] = "coalesced", [PCR_CACHE_STALE] = "stale",
        [PCR_CACHE_ABSENT] = "absent",
    };
    return words[how];
}

static void put_how(struct text *text, const struct pcr_cache_call *call) {
    switch (call->how) {
    case PCR_CACHE_MISS:
        put(text, call->max_age_ns == 0 ? "; fwd=request" : "; fwd=miss");
        if (call->stored)
            put(text, "; stored");
        break;
    case PCR_CACHE_COALESCED:
        put(text, "; fwd=miss; collapsed");
        break;
    default:
        put(text, "; hit; ttl=");
        put_number(text,
                   call->fresh_ns >= 0
                       ? call->fresh_ns / (int64_t)PCR_NS_PER_S
                       : -(int64_t)((-(uint64_t)call->fresh_ns + PCR_NS_PER_S - 1) / PCR_NS_PER_S));
        break;
    }
}

static void add(struct pcr_caching_headers *out, struct pcr_str name, const char *text,
                const struct text *end) {
    out->list[out->n++] = (struct pcr_http_header){name, {text, (size_t)(end->at - text)}};
}

static void say_word(const char *word, bool bucketed, struct pcr_caching_headers *out) {
    struct text text = {out->word, sizeof out->word};
    put(&text, word);
    if (bucketed)
        put(&text, "; bucketed");
    add(out, PCR_STR("X-Pacer-Cache"), out->word, &text);
}

void pcr_caching_say(const struct pcr_cache_call *call, bool bucketed,
                     struct pcr_caching_headers *out) {
    out->n = 0;
    struct text status = {out->status, sizeof out->status};
    put(&status, "pacer");
    put_how(&status, call);
    put(&status, "; key=");
    put_hex(&status, call->key.name.hi);
    put_hex(&status, call->key.name.lo);
    add(out, PCR_STR("Cache-Status"), out->status, &status);
    if (call->how != PCR_CACHE_MISS && call->how != PCR_CACHE_COALESCED) {
        struct text age = {out->age, sizeof out->age};
        put_number(&age, (int64_t)(call->age_ns / PCR_NS_PER_S));
        add(out, PCR_STR("Age"), out->age, &age);
    }
    say_word(word_of(call->how), bucketed, out);
}

void pcr_caching_say_bypass(const char *reason, bool bucketed, struct pcr_caching_headers *out) {
    out->n = 0;
    struct text status = {out->status, sizeof out->status};
    put(&status, "pacer; fwd=bypass; detail=");
    put(&status, reason);
    add(out, PCR_STR("Cache-Status"), out->status, &status);
    say_word("bypass", bucketed, out);
}
