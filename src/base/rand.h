// SPDX-License-Identifier: Apache-2.0
// Randomness: one seed per process from the kernel, ids for requests.
#ifndef PCR_BASE_RAND_H
#define PCR_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

#define PCR_UUID_TEXT_BYTES 37 // 36 characters and NUL

// Fills memory from the kernel's generator; aborts if there is none.
void pcr_rand_bytes(void *out, size_t bytes);
// The same for the life of the process; for hash tables.
uint64_t pcr_rand_process_seed(void);
// A fast generator per thread (xoshiro256**), not for secrets.
uint64_t pcr_rand_u64(void);
// UUID version 7 (RFC 9562): time first, so ids sort; the rest from pcr_rand_u64.
void pcr_rand_uuid7(uint64_t real_ns, char out[PCR_UUID_TEXT_BYTES]);

#endif
