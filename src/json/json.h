// SPDX-License-Identifier: Apache-2.0
// The json room: reading JSON safely, writing it fast, and JSON Schema. Values are yyjson's own.
#ifndef PCR_JSON_H
#define PCR_JSON_H

#include "base/base.h"

#include <yyjson.h>

#define PCR_JSON_DEPTH_MAX 100

// Parses one JSON document (RFC 8259; valid UTF-8, no duplicate member names, no trailing content,
// nesting up to `depth_max`, which is checked before yyjson sees the text). The document lives in
// the arena; nothing to free. PACER_ESYNTAX, PACER_ELIMIT (depth) with offset, line and column in
// the message; PACER_ENOMEM.
struct pcr_json_options {
    size_t depth_max;   // 0: PCR_JSON_DEPTH_MAX
    const char *what;   // what is parsed, for messages: "request body"
    bool duplicates_ok; // do not look for duplicate member names
};
int pcr_json_parse(struct pcr_arena *arena, struct pcr_str text,
                   const struct pcr_json_options *options, yyjson_val **root,
                   struct pacer_error *err);

// A word for the value's type, for messages: "an object", "the number 3", "the string \"x\"" (cut
// short), "null".
const char *pcr_json_describe(yyjson_val *value, char *out, size_t out_bytes);
// Appends "/name" to a JSON pointer, with ~ and / escaped (RFC 6901).
bool pcr_json_pointer_push(struct pcr_buf *pointer, struct pcr_str name);
bool pcr_json_pointer_push_index(struct pcr_buf *pointer, size_t index);
// The text of a string, borrowed.
static inline struct pcr_str pcr_json_str(yyjson_val *string) {
    return (struct pcr_str){yyjson_get_str(string), yyjson_get_len(string)};
}
// Length of the valid UTF-8 sequence at `at` (RFC 3629), 0 if there is none.
size_t pcr_json_utf8_sequence(const char *at, const char *end);

// --- writing ------------------------------------------------------------------------------------
// Appends pieces of JSON to a buffer; commas are set by the writer. Depth up to 64. Errors stick in
// the buffer.
struct pcr_json_writer {
    struct pcr_buf *buf;
    uint64_t comma; // bit per level: a member was written
    unsigned depth;
    bool after_key;
};
void pcr_json_writer_init(struct pcr_json_writer *writer, struct pcr_buf *buf);
void pcr_json_object_begin(struct pcr_json_writer *writer);
void pcr_json_object_end(struct pcr_json_writer *writer);
void pcr_json_array_begin(struct pcr_json_writer *writer);
void pcr_json_array_end(struct pcr_json_writer *writer);
void pcr_json_key(struct pcr_json_writer *writer, const char *key);
void pcr_json_key_str(struct pcr_json_writer *writer, struct pcr_str key);
void pcr_json_string(struct pcr_json_writer *writer,
                     struct pcr_str text); // invalid UTF-8 becomes U+FFFD
void pcr_json_text(struct pcr_json_writer *writer, const char *text);
void pcr_json_bool(struct pcr_json_writer *writer, bool value);
void pcr_json_null(struct pcr_json_writer *writer);
void pcr_json_i64(struct pcr_json_writer *writer, int64_t value);
void pcr_json_u64(struct pcr_json_writer *writer, uint64_t value);
// The shortest text that reads back as the same number; NaN and infinities become null.
void pcr_json_f64(struct pcr_json_writer *writer, double value);
void pcr_json_f32(struct pcr_json_writer *writer, float value);
// A value that was parsed, as compact JSON.
void pcr_json_value(struct pcr_json_writer *writer, yyjson_val *value);
// The text of an object with a string as its first member, and without its first one. In the arena;
// ptr NULL: no memory, or (drop) it is not as written here: {"id":"…",…}.
struct pcr_str pcr_json_put_first(struct pcr_arena *arena, struct pcr_str object, const char *key,
                                  struct pcr_str value);
struct pcr_str pcr_json_drop_first(struct pcr_arena *arena, struct pcr_str object);
// Text that is JSON already.
void pcr_json_raw(struct pcr_json_writer *writer, struct pcr_str json);

// --- contracts (include/pacer/contract.h) for callers that have a parsed document already -------
struct pacer_contract;
struct pacer_violation;
int pcr_contract_check_value(const struct pacer_contract *contract, yyjson_val *value,
                             bool (*on_violation)(void *ctx,
                                                  const struct pacer_violation *violation),
                             void *ctx, struct pacer_error *err);
// The schema as it was loaded (borrowed),
// its first "examples" entry or NULL, and its title or NULL.
yyjson_val *pcr_contract_schema(const struct pacer_contract *contract);
yyjson_val *pcr_contract_example(const struct pacer_contract *contract);
const char *pcr_contract_title(const struct pacer_contract *contract);
// Of its text and that of all schemas it refers to; the same in every process.
uint64_t pcr_contract_digest(const struct pacer_contract *contract);

#endif
