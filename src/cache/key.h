// SPDX-License-Identifier: Apache-2.0
// Keys: the canonical bytes of everything that can change an answer. Two questions have the same key
// exactly if they are the same question; the index knows a key by its hash (XXH3, 128 bits), and a
// hit compares all bytes.
//
// Every part is written with its kind and its length before it, so no two sequences of parts give
// the same bytes. Numbers are written as they are computed with: 1 and 1.0 are the same feature,
// −0.0 is 0.0 (whoever computes has to compute with 0.0 as well), and NaN has no key at all.
#ifndef PCR_CACHE_KEY_H
#define PCR_CACHE_KEY_H

#include "base/base.h"
#include "cache/store.h"

struct pcr_cache_key {
    struct pcr_str bytes;
    struct pcr_store_name name;
};

// Builds a key in a buffer of the caller's.
struct pcr_cache_keying {
    struct pcr_buf *buf;
    struct pcr_str model, tenant;
    bool refused; // it has a NaN: not a question that can be cached
};

// `kind` says whose keys these are ("v2", "decision"), `version` is the model's content hash.
void pcr_cache_key_begin(struct pcr_cache_keying *keying, struct pcr_buf *buf, struct pcr_str kind,
                         struct pcr_str tenant, struct pcr_str model, struct pcr_str version);
void pcr_cache_key_text(struct pcr_cache_keying *keying, struct pcr_str text);
void pcr_cache_key_u64(struct pcr_cache_keying *keying, uint64_t number);
void pcr_cache_key_f64(struct pcr_cache_keying *keying, double number);
// Elements of FP32 or FP64 (`bytes` of them together): by value, as above.
void pcr_cache_key_f32s(struct pcr_cache_keying *keying, const float *values, size_t n);
void pcr_cache_key_f64s(struct pcr_cache_keying *keying, const double *values, size_t n);
// False: it has none, since there is a NaN in it or memory ran out.
bool pcr_cache_key_end(struct pcr_cache_keying *keying, struct pcr_cache_key *out);
// Whose key these bytes are; false: they are no key.
bool pcr_cache_key_owner(struct pcr_str bytes, struct pcr_str *tenant, struct pcr_str *model);

#endif
