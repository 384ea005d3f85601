// SPDX-License-Identifier: Apache-2.0
// Contracts: JSON documents held against a JSON Schema (draft 2020-12).
//
// Method: JSON Schema Core and Validation, draft 2020-12 (json-schema.org/draft/2020-12). All
// required vocabularies are asserted; `format` is asserted, unless turned off, for date-time, date,
// time, duration, uuid, email, hostname, uri, uri-reference, ipv4, ipv6, json-pointer,
// relative-json-pointer and regex. Other formats (idn-email, idn-hostname, iri, iri-reference,
// uri-template, names of one's own) are annotations, as are the content keywords. What is encoded
// in an "xn--" label of a host name is not looked at.
//
// `$ref` reaches the document itself, the metaschemas of the draft, and local files below
// `base_dir`; nothing is ever fetched from a network. A relative `$ref` of a schema whose $id is a
// web address reaches the file of that name in `base_dir`. `pattern` speaks ECMA-262, but a
// lookbehind must have a fixed width.
//
// Integers of up to 64 bits are exact, larger ones are the double they read as; multipleOf is exact
// for decimals.
#ifndef PACER_CONTRACT_H
#define PACER_CONTRACT_H

#include <pacer/error.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pacer_contract;

struct pacer_contract_options {
    size_t size;           // sizeof(struct pacer_contract_options)
    const char *base_dir;  // where relative $ref files are looked for; NULL: no files
    const char *base_uri;  // the schema's own URI where it has no $id; NULL: none
    bool formats_annotate; // true: `format` is an annotation, as the specification's default has it
};
// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define PACER_CONTRACT_OPTIONS_INIT {sizeof(struct pacer_contract_options), NULL, NULL, false}
// clang-format on

// One way in which a document breaks its contract.
struct pacer_violation {
    const char *instance; // JSON pointer into the document, "" for the whole
    const char *schema;   // JSON pointer of the keyword in the schema, after following references
    const char *message;  // what was expected and what came
};

// Reads and compiles a schema. The result is immutable and may be used by many threads at once.
// PACER_ESYNTAX (not JSON), PACER_EINVAL (not a schema; message and pointer), PACER_ENOTFOUND (a
// $ref leads nowhere), PACER_EIO, PACER_ENOMEM.
PACER_API int pacer_contract_load(const char *path, const struct pacer_contract_options *options,
                                  struct pacer_contract **out, struct pacer_error *err);
PACER_API int pacer_contract_parse(const char *json, size_t json_bytes,
                                   const struct pacer_contract_options *options,
                                   struct pacer_contract **out, struct pacer_error *err);
PACER_API void pacer_contract_destroy(struct pacer_contract *contract);

// Called once per violation, in document order; the strings are borrowed for the call. Return false
// to stop.
typedef bool (*pacer_violation_cb)(void *ctx, const struct pacer_violation *violation);

// Checks a JSON document: 0 if it holds, PACER_ECONTRACT if not (`err` tells the first violation
// with its pointer), PACER_ESYNTAX if it is not JSON, PACER_ELIMIT if checking needs more steps or
// depth than allowed. `on_violation` may be NULL. Any thread; does not block.
PACER_API int pacer_contract_check(const struct pacer_contract *contract, const char *json,
                                   size_t json_bytes, pacer_violation_cb on_violation, void *ctx,
                                   struct pacer_error *err);

#ifdef __cplusplus
}
#endif
#endif
