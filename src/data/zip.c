// SPDX-License-Identifier: Apache-2.0
// Format: PKWARE's APPNOTE.TXT 6.3.10, of which what is in use: stored and deflated entries, Zip64.
//
// An archive says most things twice: in the central directory at its end and in front of each
// entry. Readers that trust different copies see different files, which is what attackers want. So
// the directory is found where the end record says and must reach up to it, each entry's own head
// must agree with it, and no two entries may share a byte of the archive, which is how a small file
// becomes petabytes. What an entry says to be its size is held against what deflate can do at all
// before memory is taken, and again while it is unpacked.
//
// Rejected: reading entries from the front without the directory (what was deleted would come
// back), and taking an archive with something in front of it (self-extracting programs; nobody
// keeps data in them).
#include "data/zip.h"

#include "base/err.h"

#include <stdlib.h>

#define ZLIB_CONST // zlib's input is const
#include <zlib.h>

#define COMPONENT "zip"
#define END_BYTES 22u
#define LOCATOR_BYTES 20u
#define END64_BYTES 56u
#define ENTRY_BYTES 46u
#define HEAD_BYTES 30u
#define COMMENT_BYTES_MAX 65535u
#define DEFLATE_RATIO_MAX 1032u // two bits for 258 bytes
#define INFLATE_STEP_BYTES (1u << 30)

#define FLAG_ENCRYPTED 0x0001u
#define FLAG_SIZES_FOLLOW 0x0008u
#define FLAG_PATCH 0x0020u
#define FLAG_STRONG 0x0040u
#define FLAG_MASKED 0x2000u

struct reader {
    struct pcr_str bytes;
    struct pacer_error *err;
    size_t end; // offset of the end record: nothing of an entry lies behind it
    // of the central directory
    uint64_t directory, directory_bytes, n_entries;
};

static uint16_t get16(const char *at) {
    const unsigned char *b = (const unsigned char *)at;
    return (uint16_t)(b[0] | b[1] << 8);
}

static uint32_t get32(const char *at) {
    return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint64_t get64(const char *at) {
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static int malformed(const struct reader *reader, const char *what) {
    return pcr_err(reader->err, PACER_ESYNTAX, COMPONENT, "not a ZIP archive that can be read: %s",
                   what);
}

static int refuse_entry(struct pacer_error *err, int code, struct pcr_str name, const char *what) {
    char shown[64];
    size_t n = name.len < sizeof shown ? name.len : sizeof shown - 1;
    for (size_t i = 0; i < n; i++)
        shown[i] = name.ptr[i] < ' ' || name.ptr[i] > '~' ? '?' : name.ptr[i];
    shown[n] = '\0';
    return pcr_err(err, code, COMPONENT, "entry '%s' of the archive %s", shown, what);
}

// --- the end of the archive ---------------------------------------------------------------------
// The end record is the last one whose comment reaches exactly to the end of the file.
static int find_end(struct reader *reader) {
    size_t len = reader->bytes.len;
    if (len < END_BYTES)
        return malformed(reader, "it is too short");
    size_t lowest = len - END_BYTES > COMMENT_BYTES_MAX ? len - END_BYTES - COMMENT_BYTES_MAX : 0;
    for (size_t at = len - END_BYTES + 1; at-- > lowest;) {
        const char *record = reader->bytes.ptr + at;
        if (memcmp(record, "PK\5\6", 4) == 0 && get16(record + 20) == len - END_BYTES - at) {
            reader->end = at;
            return 0;
        }
    }
    return malformed(reader, "its end is missing; is the file complete?");
}

// Zip64: a locator in front of the end record shows the way to a longer one.
static int read_end64(struct reader *reader) {
    if (reader->end < LOCATOR_BYTES + END64_BYTES)
        return malformed(reader, "the Zip64 end record is missing");
    const char *locator = reader->bytes.ptr + reader->end - LOCATOR_BYTES;
    uint64_t at = get64(locator + 8);
    size_t latest = reader->end - LOCATOR_BYTES - END64_BYTES;
    if (get32(locator + 4) != 0 || get32(locator + 16) > 1)
        return pcr_err(reader->err, PACER_EUNSUPPORTED, COMPONENT,
                       "an archive in several parts; join them first");
    if (at > latest || memcmp(reader->bytes.ptr + at, "PK\6\6", 4) != 0)
        return malformed(reader, "the Zip64 end record is not where it should be");
    const char *record = reader->bytes.ptr + at;
    if (get64(record + 4) != latest - at + END64_BYTES - 12)
        return malformed(reader, "the Zip64 end record has a wrong length");
    if (get32(record + 16) != 0 || get32(record + 20) != 0 ||
        get64(record + 24) != get64(record + 32))
        return pcr_err(reader->err, PACER_EUNSUPPORTED, COMPONENT,
                       "an archive in several parts; join them first");
    reader->n_entries = get64(record + 32);
    reader->directory_bytes = get64(record + 40);
    reader->directory = get64(record + 48);
    reader->end = (size_t)at;
    return 0;
}

// What the end record has room for it must not say otherwise.
static bool agrees(const struct reader *end, const struct reader *end64) {
    return (end->n_entries == UINT16_MAX || end->n_entries == end64->n_entries) &&
           (end->directory_bytes == UINT32_MAX || end->directory_bytes == end64->directory_bytes) &&
           (end->directory == UINT32_MAX || end->directory == end64->directory);
}

static int read_end(struct reader *reader) {
    int rc = find_end(reader);
    if (rc < 0)
        return rc;
    const char *record = reader->bytes.ptr + reader->end;
    bool zip64 = reader->end >= LOCATOR_BYTES && memcmp(record - LOCATOR_BYTES, "PK\6\7", 4) == 0;
    reader->n_entries = get16(record + 10);
    reader->directory_bytes = get32(record + 12);
    reader->directory = get32(record + 16);
    if (!zip64 && (get16(record + 4) != 0 || get16(record + 6) != 0 ||
                   get16(record + 8) != reader->n_entries))
        return pcr_err(reader->err, PACER_EUNSUPPORTED, COMPONENT,
                       "an archive in several parts; join them first");
    if (zip64) {
        struct reader shorter = *reader;
        rc = read_end64(reader);
        if (rc == 0 && !agrees(&shorter, reader))
            rc = malformed(reader, "its two end records contradict each other");
        if (rc < 0)
            return rc;
    }
    if (reader->directory > reader->end ||
        reader->directory_bytes != reader->end - reader->directory)
        return malformed(reader, "its directory does not lie in front of its end");
    if (reader->n_entries > PCR_ZIP_ENTRIES_MAX)
        return pcr_err(reader->err, PACER_ELIMIT, COMPONENT, "more than %d entries",
                       PCR_ZIP_ENTRIES_MAX);
    if (reader->n_entries > reader->directory_bytes / ENTRY_BYTES)
        return malformed(reader, "its directory is shorter than its number of entries");
    return 0;
}

// --- the directory ------------------------------------------------------------------------------
// Takes the next 64-bit value of the Zip64 extra field if the 32-bit one says that it is there.
static bool take64(uint64_t *value, struct pcr_str *extra) {
    if (*value != UINT32_MAX)
        return true;
    if (extra->len < 8)
        return false;
    *value = get64(extra->ptr);
    *extra = (struct pcr_str){extra->ptr + 8, extra->len - 8};
    return true;
}

// The content of the Zip64 extra field; empty if there is none. False: the fields are malformed.
static bool find_extra64(struct pcr_str extra, struct pcr_str *out) {
    *out = (struct pcr_str){"", 0};
    while (extra.len >= 4) {
        size_t bytes = get16(extra.ptr + 2);
        if (bytes > extra.len - 4)
            return false;
        if (get16(extra.ptr) == 1) {
            *out = (struct pcr_str){extra.ptr + 4, bytes};
            return true;
        }
        extra = (struct pcr_str){extra.ptr + 4 + bytes, extra.len - 4 - bytes};
    }
    return true; // some writers leave a few bytes of padding
}

static int check_flags(const struct reader *reader, struct pcr_str name, unsigned flags,
                       unsigned method) {
    if (flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED))
        return refuse_entry(reader->err, PACER_EUNSUPPORTED, name, "is encrypted");
    if (flags & FLAG_PATCH || (method != 0 && method != Z_DEFLATED))
        return refuse_entry(reader->err, PACER_EUNSUPPORTED, name,
                            "is packed by a method other than deflate");
    return 0;
}

// The record at *at of the directory, of which `left` bytes are left.
static int read_entry(const struct reader *reader, const char *record, size_t left,
                      struct pcr_zip_entry *out, size_t *taken) {
    if (left < ENTRY_BYTES || memcmp(record, "PK\1\2", 4) != 0)
        return malformed(reader, "its directory ends too early");
    size_t name_bytes = get16(record + 28), extra_bytes = get16(record + 30);
    *taken = ENTRY_BYTES + name_bytes + extra_bytes + get16(record + 32);
    if (*taken > left)
        return malformed(reader, "its directory ends within an entry");
    struct pcr_str name = {record + ENTRY_BYTES, name_bytes}, extra64;
    if (name.len == 0 || memchr(name.ptr, '\0', name.len))
        return malformed(reader, "an entry has no name, or a NUL in it");
    uint64_t packed = get32(record + 20), bytes = get32(record + 24), head = get32(record + 42);
    if (!find_extra64((struct pcr_str){name.ptr + name.len, extra_bytes}, &extra64) ||
        !take64(&bytes, &extra64) || !take64(&packed, &extra64) || !take64(&head, &extra64))
        return refuse_entry(reader->err, PACER_ESYNTAX, name, "has no sizes in its Zip64 field");
    *out = (struct pcr_zip_entry){.name = name,
                                  .bytes = (size_t)bytes,
                                  .head = (size_t)head,
                                  .packed_bytes = (size_t)packed,
                                  .crc = get32(record + 16),
                                  .deflated = get16(record + 10) != 0};
    return check_flags(reader, name, get16(record + 8), get16(record + 10));
}

// The entry's own head must say what the directory says, or leave the sizes to what follows.
static int check_head(const struct reader *reader, struct pcr_zip_entry *entry, unsigned method) {
    size_t room = (size_t)reader->directory;
    if (room < HEAD_BYTES || entry->head > room - HEAD_BYTES)
        return refuse_entry(reader->err, PACER_ESYNTAX, entry->name, "begins behind its end");
    const char *head = reader->bytes.ptr + entry->head;
    size_t name_bytes = get16(head + 26), extra_bytes = get16(head + 28);
    if (memcmp(head, "PK\3\4", 4) != 0 || name_bytes != entry->name.len ||
        name_bytes + extra_bytes > room - HEAD_BYTES - entry->head ||
        memcmp(head + HEAD_BYTES, entry->name.ptr, name_bytes) != 0)
        return refuse_entry(reader->err, PACER_ESYNTAX, entry->name,
                            "is not where the directory says");
    entry->data = entry->head + HEAD_BYTES + name_bytes + extra_bytes;
    if (entry->packed_bytes > room - entry->data)
        return refuse_entry(reader->err, PACER_ESYNTAX, entry->name, "reaches over its end");
    unsigned flags = get16(head + 6);
    int rc = check_flags(reader, entry->name, flags, get16(head + 8));
    if (rc < 0)
        return rc;
    uint64_t packed = get32(head + 18), bytes = get32(head + 22);
    struct pcr_str extra64;
    bool ok =
        find_extra64((struct pcr_str){head + HEAD_BYTES + name_bytes, extra_bytes}, &extra64) &&
        take64(&bytes, &extra64) && take64(&packed, &extra64);
    bool sizes_follow = flags & FLAG_SIZES_FOLLOW;
    bool same =
        packed == entry->packed_bytes && bytes == entry->bytes && get32(head + 14) == entry->crc;
    if (!ok || get16(head + 8) != method || (!same && !sizes_follow))
        return refuse_entry(reader->err, PACER_ESYNTAX, entry->name,
                            "says something else than the directory");
    return 0;
}

static int check_sizes(const struct reader *reader, const struct pcr_zip_entry *entry) {
    if (entry->deflated ? entry->bytes / DEFLATE_RATIO_MAX > entry->packed_bytes
                        : entry->bytes != entry->packed_bytes)
        return refuse_entry(reader->err, PACER_ESYNTAX, entry->name, "has a size that cannot be");
    return 0;
}

static int by_place(const void *a, const void *b) {
    const struct pcr_zip_entry *const *one = a, *const *other = b;
    return ((*one)->head > (*other)->head) - ((*one)->head < (*other)->head);
}

static int by_name(const void *a, const void *b) {
    const struct pcr_zip_entry *const *one = a, *const *other = b;
    size_t n = (*one)->name.len, m = (*other)->name.len;
    int order = n == m ? memcmp((*one)->name.ptr, (*other)->name.ptr, n) : 0;
    return order ? order : (n > m) - (n < m);
}

static int check_together(const struct reader *reader, struct pcr_arena *arena,
                          const struct pcr_zip_entry *entries, size_t n) {
    const struct pcr_zip_entry **sorted = pcr_arena_array(arena, n + 1, sizeof *sorted);
    if (!sorted)
        return pcr_err(reader->err, PACER_ENOMEM, COMPONENT, "no memory for %zu entries", n);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &entries[i];
    qsort(sorted, n, sizeof *sorted, by_place);
    for (size_t i = 1; i < n; i++)
        if (sorted[i - 1]->data + sorted[i - 1]->packed_bytes > sorted[i]->head)
            return refuse_entry(reader->err, PACER_ESYNTAX, sorted[i]->name,
                                "lies over another one");
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 1; i < n; i++)
        if (pcr_str_eq(sorted[i - 1]->name, sorted[i]->name))
            return refuse_entry(reader->err, PACER_ESYNTAX, sorted[i]->name, "is there twice");
    return 0;
}

static int read_directory(struct reader *reader, struct pcr_zip_entry *entries) {
    const char *at = reader->bytes.ptr + reader->directory;
    size_t left = (size_t)reader->directory_bytes;
    for (size_t i = 0; i < reader->n_entries; i++) {
        size_t taken = 0;
        int rc = read_entry(reader, at, left, &entries[i], &taken);
        if (rc == 0)
            rc = check_head(reader, &entries[i], entries[i].deflated ? Z_DEFLATED : 0);
        if (rc == 0)
            rc = check_sizes(reader, &entries[i]);
        if (rc < 0)
            return rc;
        at += taken;
        left -= taken;
    }
    return left == 0 ? 0 : malformed(reader, "its directory has more entries than it says");
}

int pcr_zip_open(struct pcr_arena *arena, struct pcr_str bytes, struct pcr_zip *out,
                 struct pacer_error *err) {
    struct reader reader = {.bytes = bytes, .err = err};
    *out = (struct pcr_zip){.bytes = bytes};
    int rc = read_end(&reader);
    if (rc < 0)
        return rc;
    size_t n = (size_t)reader.n_entries;
    struct pcr_zip_entry *entries = pcr_arena_array(arena, n + 1, sizeof *entries);
    if (!entries)
        return pcr_err(err, PACER_ENOMEM, COMPONENT, "no memory for %zu entries", n);
    rc = read_directory(&reader, entries);
    if (rc == 0)
        rc = check_together(&reader, arena, entries, n);
    if (rc < 0)
        return rc;
    out->entries = entries;
    out->n_entries = n;
    return 0;
}

const struct pcr_zip_entry *pcr_zip_find(const struct pcr_zip *zip, struct pcr_str name) {
    for (size_t i = 0; i < zip->n_entries; i++)
        if (pcr_str_eq(zip->entries[i].name, name))
            return &zip->entries[i];
    return NULL;
}

// --- an entry -----------------------------------------------------------------------------------
// zlib counts in 32 bits, so it gets both sides in pieces. True if exactly `bytes` bytes came out
// of all of `packed`.
static bool inflate_all(z_stream *z, struct pcr_str packed, char *to, size_t bytes) {
    size_t in = packed.len, out = bytes;
    int rc = Z_OK;
    z->next_in = (const Bytef *)packed.ptr;
    z->next_out = (Bytef *)to;
    while (rc == Z_OK) {
        uInt in_step = in < INFLATE_STEP_BYTES ? (uInt)in : INFLATE_STEP_BYTES;
        uInt out_step = out < INFLATE_STEP_BYTES ? (uInt)out : INFLATE_STEP_BYTES;
        z->avail_in = in_step;
        z->avail_out = out_step;
        rc = inflate(z, Z_NO_FLUSH);
        in -= in_step - z->avail_in;
        out -= out_step - z->avail_out;
        if (z->avail_in == in_step && z->avail_out == out_step && rc == Z_OK)
            return false;
    }
    return rc == Z_STREAM_END && in == 0 && out == 0;
}

static uint32_t checksum(struct pcr_str bytes) {
    uLong crc = crc32(0, NULL, 0);
    return (uint32_t)crc32_z(crc, (const Bytef *)bytes.ptr, bytes.len);
}

static int unpack(const struct pcr_zip_entry *entry, struct pcr_str packed, char *to,
                  struct pacer_error *err) {
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return pcr_err(err, PACER_ENOMEM, COMPONENT, "no memory to unpack");
    bool whole = inflate_all(&z, packed, to, entry->bytes);
    inflateEnd(&z);
    return whole ? 0
                 : refuse_entry(err, PACER_ESYNTAX, entry->name,
                                "is damaged: it does not unpack to the size it says");
}

int pcr_zip_read(const struct pcr_zip *zip, const struct pcr_zip_entry *entry, size_t bytes_max,
                 struct pcr_arena *arena, struct pcr_str *out, struct pacer_error *err) {
    struct pcr_str packed = {zip->bytes.ptr + entry->data, entry->packed_bytes};
    *out = packed;
    if (entry->bytes > bytes_max)
        return refuse_entry(err, PACER_ELIMIT, entry->name, "is larger than what is read here");
    if (entry->deflated) {
        char *to = pcr_arena_alloc(arena, entry->bytes + 1);
        if (!to)
            return refuse_entry(err, PACER_ENOMEM, entry->name, "takes more memory than there is");
        int rc = unpack(entry, packed, to, err);
        if (rc < 0)
            return rc;
        to[entry->bytes] = '\0';
        *out = (struct pcr_str){to, entry->bytes};
    }
    if (checksum(*out) != entry->crc)
        return refuse_entry(err, PACER_ESYNTAX, entry->name, "is damaged: its checksum is wrong");
    return 0;
}
