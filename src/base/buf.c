// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_BYTES_FIRST 256

void pcr_buf_init(struct pcr_buf *buf, size_t max_bytes) {
    *buf = (struct pcr_buf){.max_bytes = max_bytes};
}

void pcr_buf_fini(struct pcr_buf *buf) {
    free(buf->data);
    *buf = (struct pcr_buf){.max_bytes = buf->max_bytes};
}

void pcr_buf_clear(struct pcr_buf *buf) {
    buf->len = 0;
    buf->failed = false;
}

char *pcr_buf_reserve(struct pcr_buf *buf, size_t bytes) {
    if (buf->failed || bytes > buf->max_bytes || buf->len > buf->max_bytes - bytes) {
        buf->failed = true;
        return NULL;
    }
    size_t need = buf->len + bytes + 1;
    if (need > buf->cap) {
        size_t cap = buf->cap ? buf->cap : BUF_BYTES_FIRST;
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        char *data = realloc(buf->data, cap);
        if (!data) {
            buf->failed = true;
            return NULL;
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

bool pcr_buf_append_slowly(struct pcr_buf *buf, const void *data, size_t bytes) {
    char *to = pcr_buf_reserve(buf, bytes);
    if (!to)
        return false;
    if (bytes)
        memcpy(to, data, bytes);
    buf->len += bytes;
    buf->data[buf->len] = '\0';
    return true;
}

bool pcr_buf_vprintf(struct pcr_buf *buf, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *to = n < 0 ? NULL : pcr_buf_reserve(buf, (size_t)n);
    if (to) {
        vsnprintf(to, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    } else {
        buf->failed = true;
    }
    va_end(again);
    return !buf->failed;
}

bool pcr_buf_printf(struct pcr_buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    bool ok = pcr_buf_vprintf(buf, format, args);
    va_end(args);
    return ok;
}

void pcr_buf_u64(struct pcr_buf *buf, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    pcr_buf_append(buf, digits + at, sizeof digits - at);
}
