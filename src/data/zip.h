// SPDX-License-Identifier: Apache-2.0
// ZIP archives in memory: what is in them, and one entry at a time.
#ifndef PCR_DATA_ZIP_H
#define PCR_DATA_ZIP_H

#include "base/base.h"

#define PCR_ZIP_ENTRIES_MAX 65536

struct pcr_zip_entry {
    struct pcr_str name; // as it stands in the archive: not checked to be UTF-8, may hold "..";
                         // no two are alike, none is empty or holds a NUL
    size_t bytes;        // unpacked
    // private
    size_t head, data, packed_bytes; // offsets and size in the archive
    uint32_t crc;
    bool deflated;
};

struct pcr_zip {
    struct pcr_str bytes;
    const struct pcr_zip_entry *entries; // in the order of the central directory
    size_t n_entries;
};

// Reads the list of entries. `bytes` is borrowed, the list lives in the arena. Zip64 is read; an
// archive in several parts, entries that are encrypted, packed by anything but deflate, called
// alike, or that lie over each other are refused, and so is whatever in the archive contradicts
// itself. PACER_ESYNTAX, PACER_EUNSUPPORTED, PACER_ELIMIT, PACER_ENOMEM.
int pcr_zip_open(struct pcr_arena *arena, struct pcr_str bytes, struct pcr_zip *out,
                 struct pacer_error *err);
// The entry of that name, or NULL.
const struct pcr_zip_entry *pcr_zip_find(const struct pcr_zip *zip, struct pcr_str name);
// Unpacks an entry of at most `bytes_max` bytes; a NUL follows them. Length and checksum are right,
// or it is an error. An entry that is only stored is borrowed from the archive, without a NUL.
int pcr_zip_read(const struct pcr_zip *zip, const struct pcr_zip_entry *entry, size_t bytes_max,
                 struct pcr_arena *arena, struct pcr_str *out, struct pacer_error *err);

#endif
