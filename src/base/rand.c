// SPDX-License-Identifier: Apache-2.0
// xoshiro256** after Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2018).
#include "base/rand.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t process_seed;

void pcr_rand_bytes(void *out, size_t bytes) {
    char *to = out;
    while (bytes > 0) {
        ssize_t n = getrandom(to, bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        PCR_ASSERT(n > 0);
        to += n;
        bytes -= (size_t)n;
    }
}

static void make_seed(void) {
    pcr_rand_bytes(&process_seed, sizeof process_seed);
}

uint64_t pcr_rand_process_seed(void) {
    pthread_once(&seed_once, make_seed);
    return process_seed;
}

static uint64_t rotate_left(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t pcr_rand_u64(void) {
    static _Thread_local uint64_t s[4];
    static _Thread_local bool seeded;
    if (PCR_UNLIKELY(!seeded)) {
        pcr_rand_bytes(s, sizeof s);
        s[0] |= 1; // all zeros is the one state to avoid
        seeded = true;
    }
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

void pcr_rand_uuid7(uint64_t real_ns, char out[PCR_UUID_TEXT_BYTES]) {
    uint64_t ms = real_ns / PCR_NS_PER_MS;
    uint64_t high = (ms << 16) | 0x7000 | (pcr_rand_u64() & 0x0fff);
    uint64_t low = (pcr_rand_u64() & 0x3fffffffffffffffull) | 0x8000000000000000ull;
    char digits[32];
    pcr_hex8(digits, (uint32_t)(high >> 32));
    pcr_hex8(digits + 8, (uint32_t)high);
    pcr_hex8(digits + 16, (uint32_t)(low >> 32));
    pcr_hex8(digits + 24, (uint32_t)low);
    memcpy(out, digits, 8);
    memcpy(out + 9, digits + 8, 4);
    memcpy(out + 14, digits + 12, 4);
    memcpy(out + 19, digits + 16, 4);
    memcpy(out + 24, digits + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
    out[36] = '\0';
}
