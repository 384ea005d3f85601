// SPDX-License-Identifier: Apache-2.0
// Borrowed slices of text.
#ifndef PCR_BASE_STR_H
#define PCR_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Bytes somebody else owns; not NUL-terminated.
struct pcr_str {
    const char *ptr;
    size_t len;
};

#define PCR_STR(literal) ((struct pcr_str){"" literal, sizeof(literal) - 1})
// For printf's "%.*s".
#define PCR_STR_ARG(s) (int)(s).len, (s).ptr

static inline struct pcr_str pcr_str(const char *text) {
    return (struct pcr_str){text, text ? strlen(text) : 0};
}

static inline bool pcr_str_eq(struct pcr_str a, struct pcr_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

// Equal, in a time that depends on the length of `sent` alone: for secrets.
bool pcr_str_eq_secret(struct pcr_str sent, struct pcr_str secret);
// Equal but for the case of ASCII letters.
bool pcr_str_eq_nocase(struct pcr_str a, struct pcr_str b);
bool pcr_str_starts_with(struct pcr_str s, struct pcr_str prefix);
bool pcr_str_ends_with(struct pcr_str s, struct pcr_str suffix);
// Without spaces and tabs at both ends.
struct pcr_str pcr_str_trim(struct pcr_str s);
// Takes the text up to `separator` off the front of *rest; false when *rest is used up (ptr NULL).
bool pcr_str_split(struct pcr_str *rest, char separator, struct pcr_str *part);
// Decimal digits only, no sign, no overflow beyond `max`.
bool pcr_str_to_u64(struct pcr_str s, uint64_t max, uint64_t *out);
// The value of a hexadecimal digit, -1 for any other character.
int pcr_hex_digit(char c);
// Eight hexadecimal digits, small letters, no NUL.
void pcr_hex8(char *out, uint32_t value);
// "[2,-1,3]" into `out`, cut when it does not fit; returns `out`.
const char *pcr_shape_text(const int64_t *shape, size_t rank, char *out, size_t out_bytes);
// The closest of `n` names by edit distance, for "did you mean"; NULL if none is near.
const char *pcr_str_closest(struct pcr_str word, const char *const *names, size_t n);

#endif
