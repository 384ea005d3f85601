// SPDX-License-Identifier: Apache-2.0
#include "cli/docs.h"

enum pcr_word_kind pcr_docs_word_kind(const char *metavar) {
    if (!metavar)
        return PCR_WORD_ANY;
    if (strcmp(metavar, "DIR") == 0)
        return PCR_WORD_DIR;
    return strstr(metavar, "FILE") ? PCR_WORD_FILE : PCR_WORD_ANY;
}

const struct pcr_docs_section *pcr_docs_sections(size_t *n) {
    static const struct pcr_docs_section sections[] = {
        {PCR_OPTIONS_DECISION, "A decision", "A member of the list `decisions`."},
        {PCR_OPTIONS_FEATURE, "A feature",
         "The long form of a member of a decision's `features`, `{name: volatility_20d, …}`."},
        {PCR_OPTIONS_LIMIT, "A limit", "A value of a decision's map `limits`; its key names it."},
        {PCR_OPTIONS_MODEL, "A model", "A value of the map `models`; its key is the model's name."},
    };
    *n = PCR_COUNT_OF(sections);
    return sections;
}

void pcr_docs_sentence(struct pcr_buf *out, const char *help) {
    char first = help[0];
    bool word = help[1] && help[1] >= 'a' && help[1] <= 'z';
    pcr_buf_char(out, first >= 'a' && first <= 'z' && (word || help[1] == ' ')
                          ? (char)(first - 'a' + 'A')
                          : first);
    pcr_buf_printf(out, "%s.", help + 1);
}

struct unit {
    const char *name;
    double size;
};

void pcr_docs_quantity(struct pcr_buf *out, enum pcr_option_type type, double value) {
    static const struct unit sizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1024}};
    static const struct unit ms[] = {{"d", 86400000}, {"h", 3600000}, {"s", 1000}, {"ms", 1}};
    static const struct unit s[] = {{"d", 86400}, {"h", 3600}, {"s", 1}};
    const struct unit *units = type == PCR_OPTION_SIZE          ? sizes
                               : type == PCR_OPTION_DURATION_MS ? ms
                                                                : s;
    size_t n = type == PCR_OPTION_SIZE          ? PCR_COUNT_OF(sizes)
               : type == PCR_OPTION_DURATION_MS ? PCR_COUNT_OF(ms)
               : type == PCR_OPTION_DURATION_S  ? PCR_COUNT_OF(s)
                                                : 0;
    for (size_t i = 0; value > 0 && i < n; i++) {
        double count = value / units[i].size;
        if (count >= 1 && count == (double)(long)count) {
            pcr_buf_printf(out, "%.0f%s", count, units[i].name);
            return;
        }
    }
    pcr_buf_printf(out, "%.10g", value);
}

const char *pcr_docs_type_name(enum pcr_option_type type) {
    switch (type) {
    case PCR_OPTION_STRING:
        return "text";
    case PCR_OPTION_ADDRESS:
        return "address";
    case PCR_OPTION_PATH:
    case PCR_OPTION_FILE:
        return "path";
    case PCR_OPTION_INT:
    case PCR_OPTION_COUNT:
        return "whole number";
    case PCR_OPTION_SIZE:
        return "size";
    case PCR_OPTION_DURATION_MS:
        return "time (ms)";
    case PCR_OPTION_DURATION_S:
        return "time (s)";
    case PCR_OPTION_NUMBER:
        return "number";
    case PCR_OPTION_BOOL:
        return "true or false";
    case PCR_OPTION_ENUM:
        return "word";
    case PCR_OPTION_LIST:
    case PCR_OPTION_DECISIONS:
    case PCR_OPTION_FEATURES:
        return "list";
    case PCR_OPTION_SECTION:
    case PCR_OPTION_ACTIONS:
    case PCR_OPTION_LIMITS:
    case PCR_OPTION_MODELS:
        break;
    }
    return "map";
}

void pcr_docs_type(struct pcr_buf *out, const struct pcr_option *option) {
    pcr_buf_text(out, pcr_docs_type_name(option->type));
    if (option->choices) {
        struct pcr_str rest = pcr_str(option->choices), choice;
        for (bool first = true; pcr_str_split(&rest, '|', &choice); first = false)
            pcr_buf_printf(out, "%s%.*s", first ? ": " : ", ", PCR_STR_ARG(choice));
    } else if (option->max > 0) {
        pcr_buf_text(out, ", ");
        pcr_docs_quantity(out, option->type, option->min);
        pcr_buf_text(out, " to ");
        pcr_docs_quantity(out, option->type, option->max);
    }
}
