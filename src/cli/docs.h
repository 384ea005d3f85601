// SPDX-License-Identifier: Apache-2.0
// Pieces that the generated documents share.
#ifndef PCR_CLI_DOCS_H
#define PCR_CLI_DOCS_H

#include "cli/cli.h"

// What kind of words complete an option's value or an operand.
enum pcr_word_kind { PCR_WORD_ANY, PCR_WORD_FILE, PCR_WORD_DIR };
enum pcr_word_kind pcr_docs_word_kind(const char *metavar);

// One table of options.def under its heading.
struct pcr_docs_section {
    enum pcr_option_table table;
    const char *title; // "decisions"
    const char *intro; // a sentence
};
const struct pcr_docs_section *pcr_docs_sections(size_t *n);

// "Address and port to listen on." from a help line.
void pcr_docs_sentence(struct pcr_buf *out, const char *help);
// "a size; 256 to 1MiB" or "one of text, json".
void pcr_docs_type(struct pcr_buf *out, const struct pcr_option *option);
// A short name of the type for tables: "size", "time".
const char *pcr_docs_type_name(enum pcr_option_type type);
// A bound in the unit a person would write.
void pcr_docs_quantity(struct pcr_buf *out, enum pcr_option_type type, double value);

#endif
