// SPDX-License-Identifier: Apache-2.0
// What the parser accepts must be written, read again and be the same.
#include "json/schema_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(yyjson_val *root) {
    struct pcr_arena arena;
    struct pcr_buf buf;
    yyjson_val *again;
    bool no_memory = false;
    pcr_arena_init(&arena, (size_t)64 << 20);
    pcr_buf_init(&buf, (size_t)16 << 20);
    pcr_json_dump(&buf, root);
    if (buf.failed || pcr_json_parse(&arena, pcr_buf_view(&buf), NULL, &again, NULL) != 0 ||
        !pcr_json_equal(root, again, &no_memory) || pcr_json_hash(root) != pcr_json_hash(again))
        abort();
    pcr_buf_fini(&buf);
    pcr_arena_fini(&arena);
}

static void quote_and_read(struct pcr_str text) {
    struct pcr_arena arena;
    struct pcr_buf buf;
    yyjson_val *again;
    pcr_arena_init(&arena, (size_t)64 << 20);
    pcr_buf_init(&buf, (size_t)16 << 20);
    pcr_json_quote(&buf, text);
    if (buf.failed || pcr_json_parse(&arena, pcr_buf_view(&buf), NULL, &again, NULL) != 0 ||
        !yyjson_is_str(again))
        abort();
    pcr_buf_fini(&buf);
    pcr_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pcr_arena arena;
    struct pacer_error err;
    yyjson_val *root;
    struct pcr_str text = {(const char *)data, size};
    pcr_arena_init(&arena, (size_t)64 << 20);
    int rc = pcr_json_parse(&arena, text, NULL, &root, &err);
    if (rc == 0) {
        char words[40];
        pcr_json_describe(root, words, sizeof words);
        write_and_read(root);
    } else if (err.code != rc || err.message[0] == '\0') {
        abort();
    }
    quote_and_read(text);
    pcr_arena_fini(&arena);
    return 0;
}
