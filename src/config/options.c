// SPDX-License-Identifier: Apache-2.0
#include "config/options.h"

#include "config/config.h"

#define COUNT_IN(field) .has_aux = true, .aux = offsetof(struct TARGET, field)
#define HAS_IN(field) COUNT_IN(field)
#define ROW(key_, type_, field_, ...)           \
    {.key = key_,                               \
     .type = PCR_OPTION_##type_,                \
     .offset = offsetof(struct TARGET, field_), \
     __VA_ARGS__},

static const struct pcr_option config_options[] = {
#define TARGET pcr_config
#define CONFIG_OPTION ROW
#include "config/options.def"
#undef TARGET
};
static const struct pcr_option decision_options[] = {
#define TARGET pcr_config_decision
#define DECISION_OPTION ROW
#include "config/options.def"
#undef TARGET
};
static const struct pcr_option feature_options[] = {
#define TARGET pcr_config_feature
#define FEATURE_OPTION ROW
#include "config/options.def"
#undef TARGET
};
static const struct pcr_option limit_options[] = {
#define TARGET pcr_config_limit
#define LIMIT_OPTION ROW
#include "config/options.def"
#undef TARGET
};
static const struct pcr_option model_options[] = {
#define TARGET pcr_config_model
#define MODEL_OPTION ROW
#include "config/options.def"
#undef TARGET
};

// A row whose type and field disagree would write past the field; the compiler looks at every row.
#define C_STRING const char *
#define C_ADDRESS const char *
#define C_PATH const char *
#define C_FILE const char *
#define C_ENUM const char *
#define C_SECTION const char * // fills nothing
#define C_INT int
#define C_COUNT size_t
#define C_SIZE size_t
#define C_DURATION_MS uint64_t
#define C_DURATION_S uint64_t
#define C_NUMBER double
#define C_BOOL bool
#define C_LIST const char **
#define C_DECISIONS struct pcr_config_decision *
#define C_FEATURES struct pcr_config_feature *
#define C_ACTIONS struct pcr_config_action *
#define C_LIMITS struct pcr_config_limit *
#define C_MODELS struct pcr_config_model *
// Releases of clang-format differ on the colons of _Generic.
// clang-format off
#define CHECK(key_, type_, field_, ...)                                              \
    _Static_assert(_Generic(((struct TARGET *)0)->field_, C_##type_: 1, default: 0), \
                   "type of the row " key_);
// clang-format on
#define TARGET pcr_config
#define CONFIG_OPTION CHECK
#include "config/options.def"
#undef TARGET
#define TARGET pcr_config_decision
#define DECISION_OPTION CHECK
#include "config/options.def"
#undef TARGET
#define TARGET pcr_config_feature
#define FEATURE_OPTION CHECK
#include "config/options.def"
#undef TARGET
#define TARGET pcr_config_limit
#define LIMIT_OPTION CHECK
#include "config/options.def"
#undef TARGET
#define TARGET pcr_config_model
#define MODEL_OPTION CHECK
#include "config/options.def"
#undef TARGET

const struct pcr_option *pcr_options(enum pcr_option_table table, size_t *n) {
    switch (table) {
    case PCR_OPTIONS_CONFIG:
        *n = PCR_COUNT_OF(config_options);
        return config_options;
    case PCR_OPTIONS_DECISION:
        *n = PCR_COUNT_OF(decision_options);
        return decision_options;
    case PCR_OPTIONS_FEATURE:
        *n = PCR_COUNT_OF(feature_options);
        return feature_options;
    case PCR_OPTIONS_LIMIT:
        *n = PCR_COUNT_OF(limit_options);
        return limit_options;
    case PCR_OPTIONS_MODEL:
        break;
    }
    *n = PCR_COUNT_OF(model_options);
    return model_options;
}

const char *pcr_option_type_text(enum pcr_option_type type) {
    switch (type) {
    case PCR_OPTION_STRING:
        return "text";
    case PCR_OPTION_ADDRESS:
        return "an address such as 127.0.0.1:8080";
    case PCR_OPTION_PATH:
        return "a path";
    case PCR_OPTION_FILE:
        return "the path of a file";
    case PCR_OPTION_INT:
    case PCR_OPTION_COUNT:
        return "a whole number";
    case PCR_OPTION_SIZE:
        return "a size in bytes, such as 4096, 64KiB or 1MiB";
    case PCR_OPTION_DURATION_MS:
        return "a time, such as 250 (milliseconds), 250ms, 30s or 5min";
    case PCR_OPTION_DURATION_S:
        return "a time, such as 30 (seconds), 30s, 10min or 1h";
    case PCR_OPTION_NUMBER:
        return "a number";
    case PCR_OPTION_BOOL:
        return "true or false";
    case PCR_OPTION_ENUM:
        return "one of a few words";
    case PCR_OPTION_LIST:
    case PCR_OPTION_DECISIONS:
    case PCR_OPTION_FEATURES:
        return "a list";
    case PCR_OPTION_SECTION:
    case PCR_OPTION_ACTIONS:
    case PCR_OPTION_LIMITS:
    case PCR_OPTION_MODELS:
        break;
    }
    return "a map";
}

const char *pcr_option_leaf(const struct pcr_option *option) {
    const char *dot = strchr(option->key, '.');
    return dot ? dot + 1 : option->key;
}
