// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include <stdio.h>

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool pcr_str_eq_nocase(struct pcr_str a, struct pcr_str b) {
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

bool pcr_str_starts_with(struct pcr_str s, struct pcr_str prefix) {
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

bool pcr_str_ends_with(struct pcr_str s, struct pcr_str suffix) {
    return s.len >= suffix.len && memcmp(s.ptr + (s.len - suffix.len), suffix.ptr, suffix.len) == 0;
}

struct pcr_str pcr_str_trim(struct pcr_str s) {
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

// Eight hexadecimal digits at once: each nibble gets a byte of its own, then the letters' distance
// where it is over 9.
void pcr_hex8(char *out, uint32_t value) {
    uint64_t x = value;
    x = (x | x << 16) & 0x0000ffff0000ffffull;
    x = (x | x << 8) & 0x00ff00ff00ff00ffull;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0full;
    uint64_t letters = ((x + 0x0606060606060606ull) >> 4) & 0x0101010101010101ull;
    x += 0x3030303030303030ull + letters * ('a' - '0' - 10);
    x = __builtin_bswap64(x); // the most significant digit comes first
    memcpy(out, &x, sizeof x);
}

bool pcr_str_eq_secret(struct pcr_str sent, struct pcr_str secret) {
    volatile unsigned char differs = sent.len != secret.len || secret.len == 0;
    for (size_t i = 0; i < sent.len; i++) {
        size_t at = secret.len ? i % secret.len : 0;
        unsigned char other = secret.len ? (unsigned char)secret.ptr[at] : 0;
        differs = (unsigned char)(differs | ((unsigned char)sent.ptr[i] ^ other));
    }
    return !differs;
}

bool pcr_str_split(struct pcr_str *rest, char separator, struct pcr_str *part) {
    if (!rest->ptr)
        return false;
    const char *at = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    if (!at) {
        *part = *rest;
        *rest = (struct pcr_str){NULL, 0};
        return true;
    }
    size_t taken = (size_t)(at - rest->ptr);
    *part = (struct pcr_str){rest->ptr, taken};
    *rest = (struct pcr_str){at + 1, rest->len - taken - 1};
    return true;
}

bool pcr_str_to_u64(struct pcr_str s, uint64_t max, uint64_t *out) {
    if (s.len == 0)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (value > (max - digit) / 10 || digit > max)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

#define CLOSEST_WORD_MAX 64

// Levenshtein's distance with one row; words longer than CLOSEST_WORD_MAX count as far away.
static size_t edit_distance(struct pcr_str a, struct pcr_str b) {
    size_t row[CLOSEST_WORD_MAX + 1];
    if (a.len > CLOSEST_WORD_MAX || b.len > CLOSEST_WORD_MAX)
        return CLOSEST_WORD_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t best = diagonal + (lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

const char *pcr_str_closest(struct pcr_str word, const char *const *names, size_t n) {
    const char *best = NULL;
    size_t best_distance = word.len / 3 + 2;
    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(word, pcr_str(names[i]));
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}

int pcr_hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *pcr_shape_text(const int64_t *shape, size_t rank, char *out, size_t out_bytes) {
    size_t len = (size_t)snprintf(out, out_bytes, "[");
    for (size_t i = 0; i < rank && len + 24 < out_bytes; i++)
        len +=
            (size_t)snprintf(out + len, out_bytes - len, i ? ",%lld" : "%lld", (long long)shape[i]);
    snprintf(out + len, out_bytes - len, "]");
    return out;
}
