// SPDX-License-Identifier: Apache-2.0
// Objects as text, changed at their first member: for answers that are kept without their id.
#include "json/json.h"

struct pcr_str pcr_json_put_first(struct pcr_arena *arena, struct pcr_str object, const char *key,
                                  struct pcr_str value) {
    PCR_ASSERT(object.len > 2 && object.ptr[0] == '{'); // it has a member
    size_t cap = object.len + 6 * (strlen(key) + value.len) + sizeof "\"\":\"\",";
    struct pcr_buf buf = {.data = pcr_arena_alloc(arena, cap), .cap = cap, .max_bytes = cap - 1};
    if (!buf.data)
        return (struct pcr_str){NULL, 0};
    struct pcr_json_writer writer;
    pcr_json_writer_init(&writer, &buf);
    pcr_json_object_begin(&writer);
    pcr_json_key(&writer, key);
    pcr_json_string(&writer, value);
    pcr_buf_char(&buf, ',');
    pcr_buf_append(&buf, object.ptr + 1, object.len - 1);
    PCR_ASSERT(!buf.failed);
    return pcr_buf_view(&buf);
}

// The end of a string that begins at `from`, behind its quote; 0: there is none.
static size_t end_of_string(struct pcr_str text, size_t from) {
    if (from >= text.len || text.ptr[from] != '"')
        return 0;
    for (size_t i = from + 1; i < text.len; i++) {
        if (text.ptr[i] == '"')
            return i + 1;
        if (text.ptr[i] == '\\')
            i++;
    }
    return 0;
}

struct pcr_str pcr_json_drop_first(struct pcr_arena *arena, struct pcr_str object) {
    struct pcr_str none = {NULL, 0};
    size_t at = object.len > 0 && object.ptr[0] == '{' ? end_of_string(object, 1) : 0;
    if (at == 0 || at >= object.len || object.ptr[at] != ':')
        return none;
    at = end_of_string(object, at + 1);
    if (at == 0 || at >= object.len || object.ptr[at] != ',')
        return none;
    size_t rest = object.len - at - 1;
    char *copy = pcr_arena_alloc(arena, rest + 2);
    if (!copy)
        return none;
    copy[0] = '{';
    memcpy(copy + 1, object.ptr + at + 1, rest);
    copy[rest + 1] = '\0';
    return (struct pcr_str){copy, rest + 1};
}
