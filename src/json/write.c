// SPDX-License-Identifier: Apache-2.0
// Writing JSON piece by piece into a buffer.
#include "json/json_priv.h"

#define WRITER_DEPTH_MAX 64
#define SHORT_BYTES_MAX 32

// pcr_buf_char without the call, for what is written between any two values.
static void put_char(struct pcr_buf *buf, char c) {
    if (buf->failed || buf->cap < buf->len + 2 || buf->len >= buf->max_bytes) {
        pcr_buf_char(buf, c);
        return;
    }
    buf->data[buf->len++] = c;
    buf->data[buf->len] = '\0';
}

size_t pcr_json_utf8_sequence(const char *at, const char *end) {
    const unsigned char *s = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (left == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < n)
        return 0;
    // The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF.
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

// --- strings ------------------------------------------------------------------------------------

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

// True if the eight bytes need no escape and are ASCII.
static bool are_plain(const char *at) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x;
    memcpy(&x, at, 8);
    uint64_t quote = x ^ (ones * '"');
    uint64_t backslash = x ^ (ones * '\\');
    uint64_t bad = (x - ones * 0x20) | (quote - ones) | (backslash - ones) | x;
    return (bad & 0x8080808080808080u) == 0;
}

static const char *skip_plain(const char *at, const char *end) {
    while (end - at >= 8 && are_plain(at))
        at += 8;
    while (at < end && is_plain((unsigned char)*at))
        at++;
    return at;
}

static void put_escape(struct pcr_buf *buf, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn?fr"; // 8, 9, 10, 12, 13
    char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    if (c == '"' || c == '\\') {
        escape[1] = (char)c;
    } else if (c >= 8 && c <= 13 && c != 11) {
        escape[1] = letters[c - 8];
    } else {
        pcr_buf_append(buf, escape, sizeof escape);
        return;
    }
    pcr_buf_append(buf, escape, 2);
}

// Names and short labels, which is nearly all there is: quotes and text in one piece, if nothing
// needs an escape.
static bool quote_at_once(struct pcr_buf *buf, struct pcr_str text) {
    char piece[SHORT_BYTES_MAX + 2];
    if (text.len == 0 || text.len > SHORT_BYTES_MAX ||
        skip_plain(text.ptr, text.ptr + text.len) != text.ptr + text.len)
        return false;
    piece[0] = piece[text.len + 1] = '"';
    memcpy(piece + 1, text.ptr, text.len);
    return pcr_buf_append(buf, piece, text.len + 2);
}

void pcr_json_quote(struct pcr_buf *buf, struct pcr_str text) {
    if (buf->failed || quote_at_once(buf, text))
        return;
    put_char(buf, '"');
    const char *at = text.ptr;
    const char *end = text.len ? text.ptr + text.len : text.ptr;
    while (at < end) {
        const char *run = at;
        at = skip_plain(at, end);
        size_t n = 0;
        while (at < end && (unsigned char)*at >= 0x80 && (n = pcr_json_utf8_sequence(at, end)) > 0)
            at += n;
        pcr_buf_append(buf, run, (size_t)(at - run));
        if (at == end || is_plain((unsigned char)*at))
            continue;
        if ((unsigned char)*at >= 0x80)
            pcr_buf_append(buf, "\xef\xbf\xbd", 3);
        else
            put_escape(buf, (unsigned char)*at);
        at++;
    }
    put_char(buf, '"');
}

// --- values -------------------------------------------------------------------------------------

static size_t i64_text(char out[PCR_JSON_NUMBER_BYTES], int64_t value) {
    if (value >= 0)
        return pcr_json_u64_text(out, (uint64_t)value);
    *out = '-';
    return 1 + pcr_json_u64_text(out + 1, -(uint64_t)value);
}

static size_t number_text(char out[PCR_JSON_NUMBER_BYTES], yyjson_val *value) {
    if (yyjson_is_uint(value))
        return pcr_json_u64_text(out, yyjson_get_uint(value));
    if (yyjson_is_sint(value))
        return i64_text(out, yyjson_get_sint(value));
    return pcr_json_f64_text(out, yyjson_get_real(value));
}

static void put_number(struct pcr_buf *buf, yyjson_val *value) {
    char text[PCR_JSON_NUMBER_BYTES];
    size_t n = number_text(text, value);
    pcr_buf_append(buf, text, n);
}

static void dump_scalar(struct pcr_buf *buf, yyjson_val *value) {
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_BOOL:
        pcr_buf_text(buf, yyjson_get_bool(value) ? "true" : "false");
        break;
    case YYJSON_TYPE_NUM:
        put_number(buf, value);
        break;
    case YYJSON_TYPE_STR:
        pcr_json_quote(buf, pcr_json_str(value));
        break;
    case YYJSON_TYPE_RAW:
        pcr_buf_append(buf, yyjson_get_raw(value), yyjson_get_len(value));
        break;
    default:
        pcr_buf_text(buf, "null");
        break;
    }
}

static void dump_at(struct pcr_buf *buf, yyjson_val *value, unsigned depth) {
    if (!yyjson_is_ctn(value)) {
        dump_scalar(buf, value);
        return;
    }
    if (depth >= PCR_JSON_DEPTH_HARD_MAX) { // more than the parser lets through
        buf->failed = true;
        return;
    }
    bool object = yyjson_is_obj(value);
    size_t n = yyjson_get_len(value);
    yyjson_val *at = n ? unsafe_yyjson_get_first(value) : NULL;
    put_char(buf, object ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put_char(buf, ',');
        if (object) {
            dump_scalar(buf, at++);
            put_char(buf, ':');
        }
        dump_at(buf, at, depth + 1);
        at = unsafe_yyjson_get_next(at);
    }
    put_char(buf, object ? '}' : ']');
}

void pcr_json_dump(struct pcr_buf *buf, yyjson_val *value) {
    dump_at(buf, value, 0);
}

// --- the writer ---------------------------------------------------------------------------------

void pcr_json_writer_init(struct pcr_json_writer *writer, struct pcr_buf *buf) {
    *writer = (struct pcr_json_writer){.buf = buf};
}

// The comma before a value or a key, unless it comes first or follows its key.
static void before_value(struct pcr_json_writer *writer) {
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    uint64_t bit = 1ull << writer->depth;
    if (writer->comma & bit)
        put_char(writer->buf, ',');
    writer->comma |= bit;
}

static void begin(struct pcr_json_writer *writer, char bracket) {
    before_value(writer);
    PCR_ASSERT(writer->depth < WRITER_DEPTH_MAX - 1);
    put_char(writer->buf, bracket);
    writer->depth++;
    writer->comma &= ~(1ull << writer->depth);
}

static void end(struct pcr_json_writer *writer, char bracket) {
    PCR_ASSERT(writer->depth > 0 && !writer->after_key);
    writer->depth--;
    put_char(writer->buf, bracket);
}

void pcr_json_object_begin(struct pcr_json_writer *writer) {
    begin(writer, '{');
}

void pcr_json_object_end(struct pcr_json_writer *writer) {
    end(writer, '}');
}

void pcr_json_array_begin(struct pcr_json_writer *writer) {
    begin(writer, '[');
}

void pcr_json_array_end(struct pcr_json_writer *writer) {
    end(writer, ']');
}

void pcr_json_key_str(struct pcr_json_writer *writer, struct pcr_str key) {
    PCR_ASSERT(!writer->after_key);
    before_value(writer);
    pcr_json_quote(writer->buf, key);
    put_char(writer->buf, ':');
    writer->after_key = true;
}

void pcr_json_key(struct pcr_json_writer *writer, const char *key) {
    pcr_json_key_str(writer, pcr_str(key));
}

void pcr_json_string(struct pcr_json_writer *writer, struct pcr_str text) {
    before_value(writer);
    pcr_json_quote(writer->buf, text);
}

void pcr_json_text(struct pcr_json_writer *writer, const char *text) {
    pcr_json_string(writer, pcr_str(text));
}

void pcr_json_bool(struct pcr_json_writer *writer, bool value) {
    before_value(writer);
    pcr_buf_text(writer->buf, value ? "true" : "false");
}

void pcr_json_null(struct pcr_json_writer *writer) {
    before_value(writer);
    pcr_buf_text(writer->buf, "null");
}

// Numbers come by the thousand, so they are written where they shall stand: this
// returns the place, behind a comma if there is one to set. Near the buffer's end it is
// `spare`, and number_end copies.
static char *number_begin(struct pcr_json_writer *writer, char spare[PCR_JSON_NUMBER_BYTES]) {
    before_value(writer);
    const struct pcr_buf *buf = writer->buf;
    bool roomy = !buf->failed && buf->cap - buf->len > PCR_JSON_NUMBER_BYTES &&
                 buf->max_bytes - buf->len > PCR_JSON_NUMBER_BYTES;
    return roomy ? buf->data + buf->len : spare;
}

static void number_end(struct pcr_json_writer *writer, const char *at, size_t n) {
    struct pcr_buf *buf = writer->buf;
    if (at != buf->data + buf->len) {
        pcr_buf_append(buf, at, n);
        return;
    }
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void pcr_json_i64(struct pcr_json_writer *writer, int64_t value) {
    char spare[PCR_JSON_NUMBER_BYTES];
    char *at = number_begin(writer, spare);
    number_end(writer, at, i64_text(at, value));
}

void pcr_json_u64(struct pcr_json_writer *writer, uint64_t value) {
    char spare[PCR_JSON_NUMBER_BYTES];
    char *at = number_begin(writer, spare);
    number_end(writer, at, pcr_json_u64_text(at, value));
}

void pcr_json_f64(struct pcr_json_writer *writer, double value) {
    char spare[PCR_JSON_NUMBER_BYTES];
    char *at = number_begin(writer, spare);
    number_end(writer, at, pcr_json_f64_text(at, value));
}

void pcr_json_f32(struct pcr_json_writer *writer, float value) {
    char spare[PCR_JSON_NUMBER_BYTES];
    char *at = number_begin(writer, spare);
    number_end(writer, at, pcr_json_f32_text(at, value));
}

void pcr_json_value(struct pcr_json_writer *writer, yyjson_val *value) {
    before_value(writer);
    pcr_json_dump(writer->buf, value);
}

void pcr_json_raw(struct pcr_json_writer *writer, struct pcr_str json) {
    before_value(writer);
    pcr_buf_str(writer->buf, json);
}
