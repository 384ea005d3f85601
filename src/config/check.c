// SPDX-License-Identifier: Apache-2.0
// What texts of some kinds and keys have to look like. Messages show what the file has, never what
// a variable holds; of a token they show nothing.
#include "config/config_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER_NAME_BYTES_MAX 128

// --- addresses and files ------------------------------------------------------------------------
static bool address_ok(struct pcr_str text) {
    if (pcr_str_starts_with(text, PCR_STR("unix:")))
        return text.len > 5 && text.len - 5 < sizeof((struct sockaddr_un *)NULL)->sun_path;
    const char *colon = memrchr(text.ptr, ':', text.len);
    if (!colon)
        return false;
    struct pcr_str host = {text.ptr, (size_t)(colon - text.ptr)};
    struct pcr_str port = {colon + 1, text.len - host.len - 1};
    uint64_t number;
    if (!pcr_str_to_u64(port, 65535, &number))
        return false;
    if (host.len > 0 && host.ptr[0] == '[')
        return host.len > 2 && host.ptr[host.len - 1] == ']';
    return !memchr(host.ptr, ':', host.len) && !memchr(host.ptr, ' ', host.len);
}

static bool check_address(struct pcr_config_ctx *ctx, const char *where,
                          const struct pcr_yaml_node *node, struct pcr_str text) {
    if (address_ok(text))
        return true;
    pcr_config_fault(ctx, node->line, node->column,
                     "%s: '%.*s%s' is not an address; expected HOST:PORT, [IPv6]:PORT, :PORT or "
                     "unix:/path",
                     where, PCR_EXCERPT_ARG(node->text));
    return false;
}

void pcr_config_check_file(struct pcr_config_ctx *ctx, const char *where,
                           const struct pcr_yaml_node *node, const char *path) {
    struct stat st;
    const char *shown = pcr_yaml_has_variables(ctx, node) ? node->text.ptr : path;
    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        pcr_config_fault(ctx, node->line, node->column, "%s: cannot read '%.200s': %s", where,
                         shown, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        pcr_config_fault(ctx, node->line, node->column, "%s: '%.200s' is not a file", where, shown);
}

// --- origins ------------------------------------------------------------------------------------
// scheme://host or scheme://host:port, as browsers send it; how much of the text that is.
static size_t origin_length(struct pcr_str text) {
    const char *colon = memchr(text.ptr, ':', text.len);
    size_t at = colon ? (size_t)(colon - text.ptr) : 0;
    if (at == 0 || text.len - at < 4 || memcmp(colon, "://", 3) != 0)
        return 0;
    size_t host = at + 3, end = host;
    while (end < text.len && !strchr("/?# ", text.ptr[end]))
        end++;
    return end > host ? end : 0;
}

// "; did you mean 'https://app.example'?", from what somebody wrote.
static void suggest_origin(struct pcr_str text, size_t length, char *out, size_t out_bytes) {
    char meant[128];
    struct pcr_str start = {text.ptr, length ? length : text.len};
    snprintf(meant, sizeof meant, "%s%.*s", length ? "" : "https://",
             start.len > 100 ? 100 : (int)start.len, start.ptr);
    meant[strcspn(meant + (length ? 0 : 8), length ? "" : "/?# ") + (length ? 0 : 8)] = '\0';
    for (char *c = meant; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    snprintf(out, out_bytes, "; did you mean '%s'?", meant);
}

// What matches no Origin header that a browser sends would keep every page out without a word.
static bool check_origin(struct pcr_config_ctx *ctx, const char *where,
                         const struct pcr_yaml_node *node, struct pcr_str text) {
    size_t length = origin_length(text);
    bool lower = true;
    for (size_t i = 0; i < length; i++)
        lower = lower && !(text.ptr[i] >= 'A' && text.ptr[i] <= 'Z');
    if (pcr_str_eq(text, PCR_STR("*")) || (length == text.len && lower))
        return true;
    char meant[160] = "";
    if (!pcr_yaml_has_variables(ctx, node))
        suggest_origin(text, length, meant, sizeof meant);
    pcr_config_fault(ctx, node->line, node->column,
                     "%s: '%.*s%s' is not an origin, SCHEME://HOST or SCHEME://HOST:PORT in small "
                     "letters, or \"*\"%s",
                     where, PCR_EXCERPT_ARG(node->text), meant);
    return false;
}

// --- headers and tokens -------------------------------------------------------------------------
static bool is_token_char(char c) { // RFC 9110, 5.6.2
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool check_header_name(struct pcr_config_ctx *ctx, const char *where,
                              const struct pcr_yaml_node *node, struct pcr_str text) {
    bool ok = text.len <= HEADER_NAME_BYTES_MAX;
    for (size_t i = 0; i < text.len && ok; i++)
        ok = is_token_char(text.ptr[i]);
    if (!ok)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s: '%.*s%s' is not the name of a header; expected at most %d letters, "
                         "digits and !#$%%&'*+-.^_`|~",
                         where, PCR_EXCERPT_ARG(node->text), HEADER_NAME_BYTES_MAX);
    return ok;
}

// What no header can carry would match no request, and what is short can be guessed.
static bool check_token(struct pcr_config_ctx *ctx, const char *where,
                        const struct pcr_yaml_node *node, struct pcr_str text) {
    bool visible = true;
    for (size_t i = 0; i < text.len && visible; i++)
        visible = text.ptr[i] > 0x20 && text.ptr[i] < 0x7f;
    if (!visible)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s cannot be sent in a header: expected ASCII characters without spaces "
                         "and line ends",
                         where);
    else if (text.len < PCR_CONFIG_TOKEN_BYTES_MIN)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s is too short: expected at least %d characters", where,
                         PCR_CONFIG_TOKEN_BYTES_MIN);
    else if (text.len > PCR_CONFIG_TOKEN_BYTES_MAX)
        pcr_config_fault(ctx, node->line, node->column,
                         "%s is too long: expected at most %d characters", where,
                         PCR_CONFIG_TOKEN_BYTES_MAX);
    return true; // else it would be said, too, that there is none
}

// --- which one ----------------------------------------------------------------------------------
bool pcr_config_check_text(struct pcr_config_ctx *ctx, const struct pcr_option *option,
                           const char *where, const struct pcr_yaml_node *node,
                           struct pcr_str text) {
    static const struct {
        const char *key;
        bool (*check)(struct pcr_config_ctx *, const char *, const struct pcr_yaml_node *,
                      struct pcr_str);
    } checks[] = {
        {"cors.origins", check_origin},
        {"cache.tenant_header", check_header_name},
        {"ops_token", check_token},
    };
    if (option->type == PCR_OPTION_ADDRESS)
        return check_address(ctx, where, node, text);
    for (size_t i = 0; i < PCR_COUNT_OF(checks); i++)
        if (strcmp(option->key, checks[i].key) == 0)
            return checks[i].check(ctx, where, node, text);
    return true;
}
