// SPDX-License-Identifier: Apache-2.0
// Words about values, and ways to them: descriptions for messages, JSON pointers, dotted paths.
#include "json/json_priv.h"

#include <stdio.h>

// The longest front part of `text` of at most
// `bytes_max` bytes that does not cut a character in two.
static size_t cut_utf8(struct pcr_str text, size_t bytes_max) {
    if (text.len <= bytes_max)
        return text.len;
    size_t n = bytes_max;
    while (n > 0 && ((unsigned char)text.ptr[n] & 0xc0) == 0x80)
        n--;
    return n;
}

// Copies text for a message: control characters become '?'.
static void describe_string(yyjson_val *value, char *out, size_t out_bytes) {
    static const char opening[] = "the string \"";
    size_t room = out_bytes - 1;
    struct pcr_str text = {yyjson_get_str(value), yyjson_get_len(value)};
    if (room < sizeof opening + 8) {
        snprintf(out, out_bytes, "a string");
        return;
    }
    memcpy(out, opening, sizeof opening - 1);
    size_t at = sizeof opening - 1;
    size_t bytes_max = room - at - 1;
    bool whole = text.len <= bytes_max;
    size_t n = cut_utf8(text, whole ? bytes_max : bytes_max - 3);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        out[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    snprintf(out + at, out_bytes - at, whole ? "\"" : "...\"");
}

static void describe_number(yyjson_val *value, char *out, size_t out_bytes) {
    char text[PCR_JSON_NUMBER_BYTES + 1];
    if (yyjson_is_real(value)) {
        text[pcr_json_f64_text(text, yyjson_get_real(value))] = '\0';
        snprintf(out, out_bytes, "the number %s", text);
    } else if (yyjson_is_sint(value)) {
        snprintf(out, out_bytes, "the number %lld", (long long)yyjson_get_sint(value));
    } else {
        snprintf(out, out_bytes, "the number %llu", (unsigned long long)yyjson_get_uint(value));
    }
}

const char *pcr_json_describe(yyjson_val *value, char *out, size_t out_bytes) {
    PCR_ASSERT(out_bytes > 0);
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_OBJ:
        snprintf(out, out_bytes, "an object");
        break;
    case YYJSON_TYPE_ARR:
        snprintf(out, out_bytes, "an array");
        break;
    case YYJSON_TYPE_STR:
        describe_string(value, out, out_bytes);
        break;
    case YYJSON_TYPE_NUM:
        describe_number(value, out, out_bytes);
        break;
    case YYJSON_TYPE_BOOL:
        snprintf(out, out_bytes, yyjson_get_bool(value) ? "true" : "false");
        break;
    case YYJSON_TYPE_NULL:
        snprintf(out, out_bytes, "null");
        break;
    default:
        snprintf(out, out_bytes, "nothing");
        break;
    }
    return out;
}

bool pcr_json_pointer_push(struct pcr_buf *pointer, struct pcr_str name) {
    pcr_buf_char(pointer, '/');
    size_t from = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] != '~' && name.ptr[i] != '/')
            continue;
        pcr_buf_append(pointer, name.ptr + from, i - from);
        pcr_buf_text(pointer, name.ptr[i] == '~' ? "~0" : "~1");
        from = i + 1;
    }
    pcr_buf_append(pointer, name.ptr + from, name.len - from);
    return !pointer->failed;
}

bool pcr_json_pointer_push_index(struct pcr_buf *pointer, size_t index) {
    pcr_buf_char(pointer, '/');
    pcr_buf_u64(pointer, index);
    return !pointer->failed;
}
