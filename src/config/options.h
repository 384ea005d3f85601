// SPDX-License-Identifier: Apache-2.0
// The rows of options.def as data: for the loader, and for everything that explains the
// configuration to people.
#ifndef PCR_CONFIG_OPTIONS_H
#define PCR_CONFIG_OPTIONS_H

#include "base/base.h"

enum pcr_option_type {
    PCR_OPTION_STRING,      // const char *
    PCR_OPTION_ADDRESS,     // const char *: HOST:PORT, unix:/path
    PCR_OPTION_PATH,        // const char *, resolved
    PCR_OPTION_FILE,        // the same; has to be there
    PCR_OPTION_INT,         // int
    PCR_OPTION_COUNT,       // size_t
    PCR_OPTION_SIZE,        // size_t, bytes
    PCR_OPTION_DURATION_MS, // uint64_t
    PCR_OPTION_DURATION_S,  // uint64_t
    PCR_OPTION_NUMBER,      // double
    PCR_OPTION_BOOL,        // bool
    PCR_OPTION_ENUM,        // const char *, one of `choices`
    PCR_OPTION_LIST,        // const char **, with a count
    // Types with a loader of their own:
    PCR_OPTION_SECTION,
    PCR_OPTION_DECISIONS,
    PCR_OPTION_FEATURES,
    PCR_OPTION_ACTIONS,
    PCR_OPTION_LIMITS,
    PCR_OPTION_MODELS,
};

struct pcr_option {
    const char *key; // dotted inside a section
    enum pcr_option_type type;
    size_t offset; // of the field
    size_t aux;    // offset of the count or the has_… flag; used where `has_aux`
    bool has_aux;
    bool required;
    bool restart;             // a reload cannot apply it
    bool may_be_empty;        // of text: then it counts as not said
    const char *default_text; // in the syntax of the file; NULL: none
    double min, max;          // of numbers; both 0: any
    const char *choices;      // of ENUM, "a|b|c"
    const char *flag;         // long option of `pacer serve` without the dashes, or NULL
    const char *metavar;      // of the flag's value
    const char *example;      // of a required key without a default
    const char *help;         // one line, no full stop
    const char *more;         // sentences for the reference pages, or NULL
};

enum pcr_option_table {
    PCR_OPTIONS_CONFIG,
    PCR_OPTIONS_DECISION,
    PCR_OPTIONS_FEATURE,
    PCR_OPTIONS_LIMIT,
    PCR_OPTIONS_MODEL,
};

// All rows of a table, in the order in which they are explained.
const struct pcr_option *pcr_options(enum pcr_option_table table, size_t *n);
// "a size", "true or false", …: for messages and reference pages.
const char *pcr_option_type_text(enum pcr_option_type type);
// The key without its section.
const char *pcr_option_leaf(const struct pcr_option *option);

#endif
