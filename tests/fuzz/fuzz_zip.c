// SPDX-License-Identifier: Apache-2.0
// Any bytes as an archive: its list and all its entries, then as an archive of arrays.
#include "data_rows.h"

#include "data/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_entries(struct pcr_str bytes) {
    struct pcr_arena arena;
    struct pcr_zip zip;
    struct pacer_error err = {.code = 0};
    pcr_arena_init(&arena, 16 << 20);
    int rc = pcr_zip_open(&arena, bytes, &zip, &err);
    PCR_ASSERT(rc == 0 || (err.code == rc && err.message[0]));
    for (size_t i = 0; rc == 0 && i < zip.n_entries; i++) {
        const struct pcr_zip_entry *entry = &zip.entries[i];
        struct pcr_str out;
        PCR_ASSERT(pcr_zip_find(&zip, entry->name) == entry);
        int read = pcr_zip_read(&zip, entry, 4 << 20, &arena, &out, &err);
        PCR_ASSERT(read < 0 ? err.code == read : out.len == entry->bytes);
        size_t sum = 0;
        for (size_t j = 0; read == 0 && j < out.len; j++)
            sum += (unsigned char)out.ptr[j];
        static volatile size_t sink;
        sink = sum;
        (void)sink;
    }
    pcr_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0)
        read_entries((struct pcr_str){(const char *)data + 1, size - 1});
    read_rows("d.npz", data, size);
    return 0;
}
