// SPDX-License-Identifier: Apache-2.0
#include "http/http_priv.h"

// In place; false for a broken escape or an escaped NUL.
static bool percent_decode(char *text, size_t *len) {
    char *end = text + *len;
    char *from = memchr(text, '%', *len);
    if (!from)
        return true;
    char *to = from;
    while (from < end) {
        if (*from != '%') {
            *to++ = *from++;
            continue;
        }
        if (end - from < 3)
            return false;
        int high = pcr_hex_digit(from[1]), low = pcr_hex_digit(from[2]);
        if (high < 0 || low < 0 || (high | low) == 0)
            return false;
        *to++ = (char)(high << 4 | low);
        from += 3;
    }
    *len = (size_t)(to - text);
    return true;
}

static bool host_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-._~!$&'()*+,;=%", c));
}

static bool port_valid(struct pcr_str port) {
    uint64_t number;
    return port.len == 0 || pcr_str_to_u64(port, 65535, &number); // "host:" is allowed by RFC 3986
}

// uri-host [ ":" port ], with a host that is not empty (RFC 9110, 4.2.1) and no user information.
bool pcr_http_authority_valid(struct pcr_str authority) {
    if (authority.len == 0 || authority.len > 1024)
        return false;
    const char *end = authority.ptr + authority.len;
    const char *at = authority.ptr;
    if (*at == '[') {
        const char *bracket = memchr(at, ']', authority.len);
        if (!bracket || bracket - at < 3)
            return false;
        for (at++; at < bracket; at++) {
            if (pcr_hex_digit(*at) < 0 && *at != ':' && *at != '.')
                return false;
        }
        at++;
    } else {
        while (at < end && host_char(*at))
            at++;
        if (at == authority.ptr)
            return false;
    }
    if (at == end)
        return true;
    return *at == ':' && port_valid((struct pcr_str){at + 1, (size_t)(end - at - 1)});
}

// "http://host/path" → "/path", with the host checked.
static int strip_authority(struct pcr_http_request_priv *request, struct pcr_str *target,
                           const char **message) {
    size_t scheme = 0;
    if (target->len > 7 && pcr_str_eq_nocase((struct pcr_str){target->ptr, 7}, PCR_STR("http://")))
        scheme = 7;
    else if (target->len > 8 &&
             pcr_str_eq_nocase((struct pcr_str){target->ptr, 8}, PCR_STR("https://")))
        scheme = 8;
    if (scheme == 0) {
        *message = "the request target must start with '/' or be an http URI";
        return 400;
    }
    struct pcr_str rest = {target->ptr + scheme, target->len - scheme};
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?')
        n++;
    request->host = (struct pcr_str){rest.ptr, n};
    if (!pcr_http_authority_valid(request->host)) {
        *message = "the host in the request target is not valid";
        return 400;
    }
    *target = (struct pcr_str){rest.ptr + n, rest.len - n};
    return 0;
}

int pcr_http_target_read(struct pcr_http_request_priv *request, struct pcr_str target,
                         const char **message) {
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] <= ' ' || target.ptr[i] == 0x7f || target.ptr[i] == '#') {
            *message = "the request target holds a character that must be percent-encoded";
            return 400;
        }
    }
    struct pcr_http_request *pub = &request->pub;
    if (pcr_str_eq(target, PCR_STR("*"))) {
        *message = "the request target '*' is for OPTIONS only";
        pub->path = target;
        return pub->method == PCR_HTTP_OPTIONS ? 0 : 400;
    }
    if (target.len == 0 || target.ptr[0] != '/') {
        int status = strip_authority(request, &target, message);
        if (status)
            return status;
    }
    const char *question = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    size_t path_len = question ? (size_t)(question - target.ptr) : target.len;
    if (question)
        pub->query = (struct pcr_str){question + 1, target.len - path_len - 1};
    // In the request's own copy of the head, which may be written to.
    char *path = request->head.data + (target.ptr - request->head.data);
    if (!percent_decode(path, &path_len)) {
        *message = "the path holds a broken percent-escape or an escaped NUL";
        return 400;
    }
    pub->path = path_len ? (struct pcr_str){path, path_len} : PCR_STR("/");
    return 0;
}
