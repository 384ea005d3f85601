// SPDX-License-Identifier: Apache-2.0
// Writes ZIP archives; tests then spoil them byte by byte.
#ifndef PCR_ZIP_FIXTURE_H
#define PCR_ZIP_FIXTURE_H

#include "base/base.h"

#include <zlib.h>

#define ZIP_ENTRIES_MAX 8

struct zip_entry {
    const char *name;
    size_t size, packed;
    uint32_t crc;
    bool deflated;
    size_t head, record; // where they are in the archive
};

struct zip_file {
    struct pcr_buf bytes;
    struct zip_entry entries[ZIP_ENTRIES_MAX];
    size_t n;
    size_t directory, end64, end; // where they are
    bool zip64;                   // sizes and offsets in Zip64 form wherever there is one
    bool sizes_follow;            // behind the data, as when written to a pipe
};

static inline void zip_init(struct zip_file *zip) {
    *zip = (struct zip_file){.n = 0};
    pcr_buf_init(&zip->bytes, 64 << 20);
}

static inline void zip_fini(struct zip_file *zip) {
    pcr_buf_fini(&zip->bytes);
}

static inline void zip_put(struct zip_file *zip, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        pcr_buf_char(&zip->bytes, (char)(value >> 8 * i));
}

static inline void zip_deflate(struct pcr_buf *out, const void *data, size_t size) {
    z_stream z = {0};
    size_t room = size + size / 8 + 64;
    deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = (Bytef *)pcr_buf_reserve(out, room);
    z.avail_out = (uInt)room;
    deflate(&z, Z_FINISH);
    out->len = z.total_out;
    deflateEnd(&z);
}

// What a head and a record of the directory have in common, from "version needed" on.
static inline void zip_put_common(struct zip_file *zip, const struct zip_entry *entry, bool head) {
    bool later = head && zip->sizes_follow;
    zip_put(zip, zip->zip64 ? 45 : 20, 2);
    zip_put(zip, zip->sizes_follow ? 8 : 0, 2);
    zip_put(zip, entry->deflated ? 8 : 0, 2);
    zip_put(zip, 0x210000, 4); // the first of January 1980
    zip_put(zip, later ? 0 : entry->crc, 4);
    zip_put(zip, zip->zip64 ? UINT32_MAX : later ? 0 : entry->packed, 4);
    zip_put(zip, zip->zip64 ? UINT32_MAX : later ? 0 : entry->size, 4);
    zip_put(zip, strlen(entry->name), 2);
    zip_put(zip, !zip->zip64 ? 0 : head ? 20 : 28, 2);
}

static inline void zip_put_extra(struct zip_file *zip, const struct zip_entry *entry, bool head) {
    if (!zip->zip64)
        return;
    zip_put(zip, 1, 2);
    zip_put(zip, head ? 16 : 24, 2);
    zip_put(zip, head && zip->sizes_follow ? 0 : entry->size, 8);
    zip_put(zip, head && zip->sizes_follow ? 0 : entry->packed, 8);
    if (!head)
        zip_put(zip, entry->head, 8);
}

// `name` is borrowed until zip_finish.
static inline void zip_add(struct zip_file *zip, const char *name, const void *data, size_t size,
                           bool deflated) {
    struct zip_entry *entry = &zip->entries[zip->n++];
    struct pcr_buf packed;
    pcr_buf_init(&packed, 64 << 20);
    if (deflated)
        zip_deflate(&packed, data, size);
    else
        pcr_buf_append(&packed, data, size);
    *entry = (struct zip_entry){.name = name,
                                .size = size,
                                .packed = packed.len,
                                .crc = (uint32_t)crc32(0, data, (uInt)size),
                                .deflated = deflated,
                                .head = zip->bytes.len};
    pcr_buf_append(&zip->bytes, "PK\3\4", 4);
    zip_put_common(zip, entry, true);
    pcr_buf_text(&zip->bytes, name);
    zip_put_extra(zip, entry, true);
    pcr_buf_str(&zip->bytes, pcr_buf_view(&packed));
    pcr_buf_fini(&packed);
    if (!zip->sizes_follow)
        return;
    pcr_buf_append(&zip->bytes, "PK\7\x8", 4);
    zip_put(zip, entry->crc, 4);
    zip_put(zip, entry->packed, zip->zip64 ? 8 : 4);
    zip_put(zip, entry->size, zip->zip64 ? 8 : 4);
}

static inline void zip_put_record(struct zip_file *zip, struct zip_entry *entry) {
    entry->record = zip->bytes.len;
    pcr_buf_append(&zip->bytes, "PK\1\2\x14\3", 6);
    zip_put_common(zip, entry, false);
    zip_put(zip, 0, 2); // comment
    zip_put(zip, 0, 8); // disk, attributes
    zip_put(zip, zip->zip64 ? UINT32_MAX : entry->head, 4);
    pcr_buf_text(&zip->bytes, entry->name);
    zip_put_extra(zip, entry, false);
}

static inline void zip_put_end64(struct zip_file *zip, size_t directory_bytes) {
    zip->end64 = zip->bytes.len;
    pcr_buf_append(&zip->bytes, "PK\6\6", 4);
    zip_put(zip, 44, 8);
    zip_put(zip, 45, 2);
    zip_put(zip, 45, 2);
    zip_put(zip, 0, 8);
    zip_put(zip, zip->n, 8);
    zip_put(zip, zip->n, 8);
    zip_put(zip, directory_bytes, 8);
    zip_put(zip, zip->directory, 8);
    pcr_buf_append(&zip->bytes, "PK\6\7", 4);
    zip_put(zip, 0, 4);
    zip_put(zip, zip->end64, 8);
    zip_put(zip, 1, 4);
}

static inline void zip_finish(struct zip_file *zip, const char *comment) {
    zip->directory = zip->bytes.len;
    for (size_t i = 0; i < zip->n; i++)
        zip_put_record(zip, &zip->entries[i]);
    size_t directory_bytes = zip->bytes.len - zip->directory;
    if (zip->zip64)
        zip_put_end64(zip, directory_bytes);
    zip->end = zip->bytes.len;
    pcr_buf_append(&zip->bytes, "PK\5\6", 4);
    zip_put(zip, 0, 4);
    zip_put(zip, zip->zip64 ? UINT16_MAX : zip->n, 2);
    zip_put(zip, zip->zip64 ? UINT16_MAX : zip->n, 2);
    zip_put(zip, zip->zip64 ? UINT32_MAX : directory_bytes, 4);
    zip_put(zip, zip->zip64 ? UINT32_MAX : zip->directory, 4);
    zip_put(zip, strlen(comment), 2);
    pcr_buf_text(&zip->bytes, comment);
}

#endif
