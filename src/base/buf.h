// SPDX-License-Identifier: Apache-2.0
// A growable byte buffer with a maximum. Errors stick: after one failed append all further ones do
// nothing, so a writer may append a hundred pieces and look at `failed` once.
#ifndef PCR_BASE_BUF_H
#define PCR_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct pcr_buf {
    char *data; // NULL until the first append; always NUL-terminated after one
    size_t len;
    size_t cap;
    size_t max_bytes;
    bool failed;
};

void pcr_buf_init(struct pcr_buf *buf, size_t max_bytes);
void pcr_buf_fini(struct pcr_buf *buf);
// Forgets the content, keeps the memory.
void pcr_buf_clear(struct pcr_buf *buf);
// Room for `bytes` more after len (and a NUL); NULL if that is too much.
char *pcr_buf_reserve(struct pcr_buf *buf, size_t bytes);
bool pcr_buf_append_slowly(struct pcr_buf *buf, const void *data, size_t bytes);
// The common case, inline: writers append dozens of short pieces to a buffer that has the room.
static inline bool pcr_buf_append(struct pcr_buf *buf, const void *data, size_t bytes) {
    if (buf->failed || bytes >= buf->cap || buf->len >= buf->cap - bytes ||
        bytes > buf->max_bytes || buf->len > buf->max_bytes - bytes)
        return pcr_buf_append_slowly(buf, data, bytes);
    if (bytes)
        memcpy(buf->data + buf->len, data, bytes);
    buf->len += bytes;
    buf->data[buf->len] = '\0';
    return true;
}
__attribute__((format(printf, 2, 3))) bool pcr_buf_printf(struct pcr_buf *buf, const char *format,
                                                          ...);
__attribute__((format(printf, 2, 0))) bool pcr_buf_vprintf(struct pcr_buf *buf, const char *format,
                                                           va_list args);
void pcr_buf_u64(struct pcr_buf *buf, uint64_t value);

static inline bool pcr_buf_str(struct pcr_buf *buf, struct pcr_str text) {
    return pcr_buf_append(buf, text.ptr, text.len);
}
static inline bool pcr_buf_text(struct pcr_buf *buf, const char *text) {
    return pcr_buf_append(buf, text, strlen(text));
}
static inline bool pcr_buf_char(struct pcr_buf *buf, char c) {
    return pcr_buf_append(buf, &c, 1);
}
static inline struct pcr_str pcr_buf_view(const struct pcr_buf *buf) {
    return (struct pcr_str){buf->data ? buf->data : "", buf->len};
}

#endif
