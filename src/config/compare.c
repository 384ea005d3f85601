// SPDX-License-Identifier: Apache-2.0
#include "config/config_priv.h"

static const void *at(const struct pcr_config *config, size_t offset) {
    return (const char *)config + offset;
}

static bool texts_equal(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool lists_equal(const struct pcr_config *a, const struct pcr_config *b,
                        const struct pcr_option *option) {
    size_t n = *(const size_t *)at(a, option->aux);
    if (n != *(const size_t *)at(b, option->aux))
        return false;
    const char *const *x = *(const char *const *const *)at(a, option->offset);
    const char *const *y = *(const char *const *const *)at(b, option->offset);
    for (size_t i = 0; i < n; i++)
        if (!texts_equal(x[i], y[i]))
            return false;
    return true;
}

static bool equal(const struct pcr_config *a, const struct pcr_config *b,
                  const struct pcr_option *option) {
    const void *x = at(a, option->offset);
    const void *y = at(b, option->offset);
    switch (option->type) {
    case PCR_OPTION_STRING:
    case PCR_OPTION_ADDRESS:
    case PCR_OPTION_PATH:
    case PCR_OPTION_FILE:
    case PCR_OPTION_ENUM:
        return texts_equal(*(const char *const *)x, *(const char *const *)y);
    case PCR_OPTION_INT:
        return *(const int *)x == *(const int *)y;
    case PCR_OPTION_COUNT:
    case PCR_OPTION_SIZE:
        return *(const size_t *)x == *(const size_t *)y;
    case PCR_OPTION_DURATION_MS:
    case PCR_OPTION_DURATION_S:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    case PCR_OPTION_NUMBER:
        return !(*(const double *)x < *(const double *)y) &&
               !(*(const double *)x > *(const double *)y);
    case PCR_OPTION_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case PCR_OPTION_LIST:
        return lists_equal(a, b, option);
    default: // sections, whose keys have rows of their own, and what a reload makes anew anyway
        return true;
    }
}

void pcr_config_compare(const struct pcr_config *a, const struct pcr_config *b,
                        pcr_config_changed_cb changed, void *ctx) {
    size_t n;
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n);
    for (size_t i = 0; i < n; i++)
        if (options[i].restart && !equal(a, b, &options[i]))
            changed(ctx, options[i].key);
}
