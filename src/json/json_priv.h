// SPDX-License-Identifier: Apache-2.0
// What the files of the json room show each other.
#ifndef PCR_JSON_PRIV_H
#define PCR_JSON_PRIV_H

#include "json/json.h"

#define PCR_JSON_NUMBER_BYTES 32     // room for any number
#define PCR_JSON_DEPTH_HARD_MAX 1000 // whatever the caller asks for: some walks recurse

// Write a number without a NUL and return its length; NaN and infinities become "null".
size_t pcr_json_f64_text(char out[PCR_JSON_NUMBER_BYTES], double value);
size_t pcr_json_f32_text(char out[PCR_JSON_NUMBER_BYTES], float value);
size_t pcr_json_u64_text(char *out, uint64_t value);

// Appends `text` as a quoted and escaped JSON string.
void pcr_json_quote(struct pcr_buf *buf, struct pcr_str text);
// Appends a value as compact JSON.
void pcr_json_dump(struct pcr_buf *buf, yyjson_val *value);

#endif
