// SPDX-License-Identifier: Apache-2.0
// URI references: RFC 3986, section 5.2, and percent-encoding.
#include "json/schema_priv.h"

#include <ctype.h>

struct parts {
    struct pcr_str scheme; // ptr NULL: none
    struct pcr_str authority;
    struct pcr_str path;
    struct pcr_str query;
    struct pcr_str fragment;
};

static size_t scheme_length(struct pcr_str uri) {
    if (uri.len == 0 || !isalpha((unsigned char)uri.ptr[0]))
        return 0;
    for (size_t i = 1; i < uri.len; i++) {
        unsigned char c = (unsigned char)uri.ptr[i];
        if (c == ':')
            return i;
        if (!isalnum(c) && c != '+' && c != '-' && c != '.')
            return 0;
    }
    return 0;
}

bool pcr_uri_has_scheme(struct pcr_str uri) {
    return scheme_length(uri) > 0;
}

static struct pcr_str tail(struct pcr_str s, size_t from) {
    return (struct pcr_str){s.ptr + from, s.len - from};
}

// Cuts *s before the first `mark`; what follows the mark goes to *rest.
static void cut(struct pcr_str *s, char mark, struct pcr_str *rest) {
    const char *at = s->len ? memchr(s->ptr, mark, s->len) : NULL;
    if (!at)
        return;
    size_t n = (size_t)(at - s->ptr);
    *rest = tail(*s, n + 1);
    s->len = n;
}

static struct parts split(struct pcr_str uri) {
    struct parts p = {0};
    size_t n = scheme_length(uri);
    if (n > 0) {
        p.scheme = (struct pcr_str){uri.ptr, n};
        uri = tail(uri, n + 1);
    }
    cut(&uri, '#', &p.fragment);
    cut(&uri, '?', &p.query);
    if (uri.len >= 2 && uri.ptr[0] == '/' && uri.ptr[1] == '/') {
        p.authority = tail(uri, 2);
        const char *slash = memchr(p.authority.ptr, '/', p.authority.len);
        size_t length = slash ? (size_t)(slash - p.authority.ptr) : p.authority.len;
        uri = tail(p.authority, length);
        p.authority.len = length;
    }
    p.path = uri;
    return p;
}

// Section 5.2.4: "." and ".." taken out, in place; returns the new length.
static size_t remove_dots(char *path, size_t len) {
    size_t out = 0;
    size_t at = 0;
    bool rooted = len > 0 && path[0] == '/';
    while (at < len) {
        size_t from = at + (path[at] == '/');
        size_t end = from;
        while (end < len && path[end] != '/')
            end++;
        size_t n = end - from;
        bool last = end == len;
        if (n == 1 && path[from] == '.') {
            if (last && (out > 0 || rooted))
                path[out++] = '/';
        } else if (n == 2 && path[from] == '.' && path[from + 1] == '.') {
            while (out > 0 && path[out - 1] != '/')
                out--;
            out -= out > 0;
            if (last)
                path[out++] = '/';
        } else {
            memmove(path + out, path + at, end - at);
            out += end - at;
        }
        at = end;
    }
    return out;
}

static char *put(char *out, struct pcr_str s) {
    if (s.len)
        memcpy(out, s.ptr, s.len);
    return out + s.len;
}

// The base's path up to its last slash, then the reference's.
static char *put_merged_path(char *out, const struct parts *base, struct pcr_str path) {
    struct pcr_str folder = base->path;
    while (folder.len > 0 && folder.ptr[folder.len - 1] != '/')
        folder.len--;
    if (base->authority.ptr && base->path.len == 0)
        folder = PCR_STR("/");
    return put(put(out, folder), path);
}

static char *put_path(char *out, const struct parts *base, const struct parts *ref) {
    char *from = out;
    if (pcr_str_eq(ref->path, PCR_STR("")) && !ref->scheme.ptr && !ref->authority.ptr)
        return put(out, base->path);
    if (ref->scheme.ptr || ref->authority.ptr || ref->path.ptr[0] == '/')
        out = put(out, ref->path);
    else
        out = put_merged_path(out, base, ref->path);
    bool hierarchical = from < out && (*from == '/' || !ref->scheme.ptr);
    return hierarchical ? from + remove_dots(from, (size_t)(out - from)) : out;
}

char *pcr_uri_resolve(struct pcr_arena *arena, struct pcr_str base_uri, struct pcr_str reference,
                      struct pcr_str *fragment) {
    struct parts base = split(base_uri);
    struct parts ref = split(reference);
    char *uri = pcr_arena_alloc(arena, base_uri.len + reference.len + 8);
    if (!uri)
        return NULL;
    char *out = uri;
    struct pcr_str scheme = ref.scheme.ptr ? ref.scheme : base.scheme;
    if (scheme.ptr)
        out = put(put(out, scheme), PCR_STR(":"));
    bool own_authority = ref.scheme.ptr || ref.authority.ptr;
    struct pcr_str authority = own_authority ? ref.authority : base.authority;
    if (authority.ptr)
        out = put(put(out, PCR_STR("//")), authority);
    out = put_path(out, &base, &ref);
    bool same = !own_authority && ref.path.len == 0 && !ref.query.ptr;
    struct pcr_str query = same ? base.query : ref.query;
    if (query.ptr)
        out = put(put(out, PCR_STR("?")), query);
    *out = '\0';
    *fragment = ref.fragment;
    return uri;
}

char *pcr_uri_decode(struct pcr_arena *arena, struct pcr_str text, size_t *len) {
    char *out = pcr_arena_alloc(arena, text.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        if (text.ptr[i] != '%') {
            out[n++] = text.ptr[i];
            continue;
        }
        int high = text.len - i > 2 ? pcr_hex_digit(text.ptr[i + 1]) : -1;
        int low = high >= 0 ? pcr_hex_digit(text.ptr[i + 2]) : -1;
        if (low < 0)
            return NULL;
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    if (out)
        out[n] = '\0';
    *len = n;
    return out;
}

char *pcr_uri_of_path(struct pcr_arena *arena, const char *path) {
    static const char hex[] = "0123456789ABCDEF";
    size_t len = strlen(path);
    char *uri = len > SIZE_MAX / 4 ? NULL : pcr_arena_alloc(arena, 3 * len + 8);
    if (!uri)
        return NULL;
    char *out = put(uri, PCR_STR("file://"));
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        if (isalnum(c) || strchr("/-._~!$&'()*+,;=:@", c)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        }
    }
    *out = '\0';
    return uri;
}
