// SPDX-License-Identifier: Apache-2.0
// Keys: the canonical bytes of everything that can change an answer. Two questions have the same
// key exactly if they are the same question; the index knows a key by its hash (XXH3, 128 bits),
// and a hit compares all bytes.
//
// Every part is written with its kind and its length before it, so no two sequences of parts give
// the same bytes. Numbers are written as they are computed with: 1 and 1.0 are the same feature,
// −0.0 is 0.0 (so whoever computes has to compute with 0.0: pcr_cache_settle), and NaN has no key
// at all, since it is not even equal to itself.
#ifndef PCR_CACHE_KEY_H
#define PCR_CACHE_KEY_H

#include "base/base.h"
#include "cache/store.h"

#include <pacer/tensor.h>

struct pcr_cache_key {
    struct pcr_str bytes;
    struct pcr_store_name name;
};

// Builds a key in a buffer of the caller's; private but for `buf`.
struct pcr_cache_keying {
    struct pcr_buf *buf;
    size_t began; // where in the buffer
    struct pcr_str model, tenant;
    bool refused; // there is a NaN in it
};

// `kind` says whose keys these are ("v2", "decision"), `version` which of the model's contents: the
// hash of its file. `tenant` and `model` are borrowed until the end.
void pcr_cache_key_begin(struct pcr_cache_keying *keying, struct pcr_buf *buf, struct pcr_str kind,
                         struct pcr_str tenant, struct pcr_str model, struct pcr_str version);
void pcr_cache_key_text(struct pcr_cache_keying *keying, struct pcr_str text);
void pcr_cache_key_u64(struct pcr_cache_keying *keying, uint64_t number);
void pcr_cache_key_f64(struct pcr_cache_keying *keying, double number);
// Name, element type, shape and values.
void pcr_cache_key_tensor(struct pcr_cache_keying *keying, const struct pacer_tensor *tensor);
// False: it has none, since there is a NaN in it or memory ran out. *out borrows the buffer.
bool pcr_cache_key_end(struct pcr_cache_keying *keying, struct pcr_cache_key *out);

// Whose key these bytes are; false: they are no key.
bool pcr_cache_key_owner(struct pcr_str bytes, struct pcr_str *tenant, struct pcr_str *model);
// What names of this tenant and this model have in common.
void pcr_cache_name_of(struct pcr_str tenant, struct pcr_str model, struct pcr_store_name *out);

// Makes −0.0 to 0.0 in a tensor of floats, in a copy in the arena if there is any. False: no
// memory.
bool pcr_cache_settle(struct pcr_arena *arena, struct pacer_tensor *tensor);

#endif
