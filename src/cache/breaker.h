// SPDX-License-Identifier: Apache-2.0
// A circuit breaker, sans-I/O: whether it makes sense to ask something that has been failing.
//
// Closed, everything is asked and the rate of failures is kept, over a rolling window. Where it
// passes a bound the breaker opens: nothing is asked for a while. Then it is half open: one probe
// at a time is let through; a few good ones close it, a bad one opens it for twice as long, up to a
// bound. One thread at a time.
#ifndef PCR_CACHE_BREAKER_H
#define PCR_CACHE_BREAKER_H

#include "base/base.h"

struct pcr_breaker_options {
    unsigned failures_min; // fewer in a window never open it; 0: 5
    double failure_rate;   // 0 … 1, from which on it opens; 0: 0.5
    uint64_t window_ns;    // 0: 10 s
    uint64_t open_ns;      // first pause; 0: 500 ms
    uint64_t open_max_ns;  // longest pause; 0: 30 s
    unsigned probes;       // good ones that close it; 0: 3
};

enum pcr_breaker_state { PCR_BREAKER_CLOSED, PCR_BREAKER_OPEN, PCR_BREAKER_HALF_OPEN };

#define PCR_BREAKER_SLOTS 10

struct pcr_breaker { // private; read `state`
    struct pcr_breaker_options options;
    enum pcr_breaker_state state;
    uint64_t slot_began_ns; // of slots[at]
    unsigned at;
    struct {
        uint32_t good, bad;
    } slots[PCR_BREAKER_SLOTS];
    uint64_t opened_ns, pause_ns;
    unsigned good_probes;
    bool probing;
    uint64_t n_opened; // how often it has opened
};

void pcr_breaker_init(struct pcr_breaker *breaker, const struct pcr_breaker_options *options);
// Whether to ask now. Whoever asks tells the outcome with pcr_breaker_tell, exactly once.
bool pcr_breaker_ask(struct pcr_breaker *breaker, uint64_t now_ns);
void pcr_breaker_tell(struct pcr_breaker *breaker, bool good, uint64_t now_ns);
// When a probe will be let through; 0: it is now, or the breaker is closed.
uint64_t pcr_breaker_probe_ns(const struct pcr_breaker *breaker);

#endif
