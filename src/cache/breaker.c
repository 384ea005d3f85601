// SPDX-License-Identifier: Apache-2.0
#include "cache/breaker.h"

static uint64_t or_default(uint64_t value, uint64_t otherwise) {
    return value ? value : otherwise;
}

void pcr_breaker_init(struct pcr_breaker *breaker, const struct pcr_breaker_options *options) {
    *breaker = (struct pcr_breaker){.options = *options};
    struct pcr_breaker_options *o = &breaker->options;
    o->failures_min = (unsigned)or_default(o->failures_min, 5);
    o->failure_rate = o->failure_rate > 0 ? o->failure_rate : 0.5;
    o->window_ns = or_default(o->window_ns, 10 * PCR_NS_PER_S);
    o->open_ns = or_default(o->open_ns, 500 * PCR_NS_PER_MS);
    o->open_max_ns = or_default(o->open_max_ns, 30 * PCR_NS_PER_S);
    o->probes = (unsigned)or_default(o->probes, 3);
}

static void forget(struct pcr_breaker *breaker) {
    memset(breaker->slots, 0, sizeof breaker->slots);
}

// Moves to the slot of now; what fell out of the window is forgotten.
static void roll(struct pcr_breaker *breaker, uint64_t now_ns) {
    uint64_t slot_ns = or_default(breaker->options.window_ns / PCR_BREAKER_SLOTS, 1);
    if (now_ns < breaker->slot_began_ns) // a clock that went back: the slot just lasts longer
        return;
    uint64_t n = (now_ns - breaker->slot_began_ns) / slot_ns;
    if (n == 0)
        return;
    breaker->slot_began_ns += n * slot_ns;
    if (n >= PCR_BREAKER_SLOTS) {
        forget(breaker);
        return;
    }
    while (n-- > 0) {
        breaker->at = (breaker->at + 1) % PCR_BREAKER_SLOTS;
        breaker->slots[breaker->at].good = breaker->slots[breaker->at].bad = 0;
    }
}

static void open_it(struct pcr_breaker *breaker, uint64_t pause_ns, uint64_t now_ns) {
    const struct pcr_breaker_options *o = &breaker->options;
    breaker->state = PCR_BREAKER_OPEN;
    breaker->opened_ns = now_ns;
    breaker->pause_ns = pause_ns < o->open_max_ns ? pause_ns : o->open_max_ns;
    breaker->good_probes = 0;
    breaker->probing = false;
    breaker->n_opened++;
}

static bool fails_too_often(const struct pcr_breaker *breaker) {
    uint64_t good = 0, bad = 0;
    for (size_t i = 0; i < PCR_BREAKER_SLOTS; i++) {
        good += breaker->slots[i].good;
        bad += breaker->slots[i].bad;
    }
    return bad >= breaker->options.failures_min &&
           (double)bad >= breaker->options.failure_rate * (double)(good + bad);
}

bool pcr_breaker_ask(struct pcr_breaker *breaker, uint64_t now_ns) {
    if (breaker->state == PCR_BREAKER_CLOSED)
        return true;
    if (breaker->state == PCR_BREAKER_OPEN && now_ns - breaker->opened_ns >= breaker->pause_ns)
        breaker->state = PCR_BREAKER_HALF_OPEN;
    if (breaker->state == PCR_BREAKER_OPEN || breaker->probing)
        return false;
    breaker->probing = true;
    return true;
}

static void tell_probe(struct pcr_breaker *breaker, bool good, uint64_t now_ns) {
    breaker->probing = false;
    if (!good) {
        open_it(breaker, breaker->pause_ns * 2, now_ns);
    } else if (++breaker->good_probes >= breaker->options.probes) {
        breaker->state = PCR_BREAKER_CLOSED;
        breaker->slot_began_ns = now_ns;
        forget(breaker);
    }
}

void pcr_breaker_tell(struct pcr_breaker *breaker, bool good, uint64_t now_ns) {
    if (breaker->state == PCR_BREAKER_HALF_OPEN && breaker->probing) {
        tell_probe(breaker, good, now_ns);
    } else if (breaker->state == PCR_BREAKER_CLOSED) {
        roll(breaker, now_ns);
        uint32_t *n = good ? &breaker->slots[breaker->at].good : &breaker->slots[breaker->at].bad;
        *n += *n < UINT32_MAX;
        if (!good && fails_too_often(breaker))
            open_it(breaker, breaker->options.open_ns, now_ns);
    } // else it was asked before the breaker opened, and tells nothing new
}

uint64_t pcr_breaker_probe_ns(const struct pcr_breaker *breaker) {
    return breaker->state == PCR_BREAKER_OPEN ? breaker->opened_ns + breaker->pause_ns : 0;
}
