// SPDX-License-Identifier: Apache-2.0
#include "cache/redis_url.h"

#include <stdio.h>

#define PORT 6379
#define DB_MAX 1000000

static int fail(struct pacer_error *err, const char *what) {
    return pcr_err(err, PACER_EINVAL, "cache",
                   "redis_url: %s; expected redis://[[user]:password@]host[:port][/db], rediss://… "
                   "or unix:///path[?db=N]",
                   what);
}

static bool decode(struct pcr_str text, char *out, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        int c = (unsigned char)text.ptr[i];
        if (c == '%') {
            bool whole = text.len - i > 2;
            int high = whole ? pcr_hex_digit(text.ptr[i + 1]) : -1;
            int low = whole ? pcr_hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

// Takes the part before the last separator off *rest; false: there is none.
static bool take_before_last(struct pcr_str *rest, char separator, struct pcr_str *part) {
    for (size_t i = rest->len; i-- > 0;)
        if (rest->ptr[i] == separator) {
            *part = (struct pcr_str){rest->ptr, i};
            *rest = (struct pcr_str){rest->ptr + i + 1, rest->len - i - 1};
            return true;
        }
    return false;
}

// A socket's path may have an '@' of its own.
static bool take_user(struct pcr_str *rest, bool is_unix, struct pcr_str *info) {
    struct pcr_str head = *rest;
    const char *path = is_unix ? memchr(rest->ptr, '/', rest->len) : NULL;
    if (path)
        head.len = (size_t)(path - rest->ptr);
    if (!take_before_last(&head, '@', info))
        return false;
    *rest = (struct pcr_str){rest->ptr + info->len + 1, rest->len - info->len - 1};
    return true;
}

static bool take_scheme(struct pcr_str *rest, const char *scheme) {
    if (!pcr_str_starts_with(*rest, pcr_str(scheme)))
        return false;
    rest->ptr += strlen(scheme);
    rest->len -= strlen(scheme);
    return true;
}

static int read_user(struct pcr_str info, struct pcr_redis_url *out, struct pacer_error *err) {
    struct pcr_str user, password = info;
    if (!pcr_str_split(&password, ':', &user) || !password.ptr)
        return fail(err, "before the '@' a ':' and the password are expected");
    if (!decode(user, out->user, sizeof out->user) ||
        !decode(password, out->password, sizeof out->password))
        return fail(err, "user or password cannot be decoded, or are too long");
    out->has_user = user.len > 0;
    out->has_password = true;
    return 0;
}

static int read_db(struct pcr_str text, struct pcr_redis_url *out, struct pacer_error *err) {
    uint64_t db;
    if (text.len == 0)
        return 0;
    if (!pcr_str_to_u64(text, DB_MAX, &db))
        return fail(err, "the number of the database is none");
    out->db = (int)db;
    return 0;
}

// "?db=3"; other parameters are for other clients.
static int read_query(struct pcr_str query, struct pcr_redis_url *out, struct pacer_error *err) {
    struct pcr_str part;
    int rc = 0;
    while (rc == 0 && query.ptr && pcr_str_split(&query, '&', &part))
        if (pcr_str_starts_with(part, PCR_STR("db=")))
            rc = read_db((struct pcr_str){part.ptr + 3, part.len - 3}, out, err);
    return rc;
}

static int read_host(struct pcr_str rest, struct pcr_redis_url *out, struct pacer_error *err) {
    struct pcr_str host = rest, port = {NULL, 0};
    if (rest.len > 0 && rest.ptr[0] == '[') { // [::1]:6379
        const char *end = memchr(rest.ptr, ']', rest.len);
        if (!end)
            return fail(err, "the ']' of the address is missing");
        host = (struct pcr_str){rest.ptr + 1, (size_t)(end - rest.ptr) - 1};
        port = (struct pcr_str){end + 1, rest.len - host.len - 2};
        if (port.len > 0 && port.ptr[0] != ':')
            return fail(err, "after the ']' a ':' is expected");
        port = port.len > 0 ? (struct pcr_str){port.ptr + 1, port.len - 1} : port;
    } else {
        struct pcr_str all = rest;
        pcr_str_split(&all, ':', &host);
        port = all;
    }
    uint64_t number = PORT;
    if (port.len > 0 && (!pcr_str_to_u64(port, 65535, &number) || number == 0))
        return fail(err, "the port is no number from 1 to 65535");
    if (!decode(host, out->host, sizeof out->host))
        return fail(err, "the host is no name or address");
    if (!*out->host)
        snprintf(out->host, sizeof out->host, "localhost");
    out->port = (int)number;
    snprintf(out->shown, sizeof out->shown, "%s://%.200s:%d", out->tls ? "rediss" : "redis",
             out->host, out->port);
    return 0;
}

static int read_unix(struct pcr_str rest, struct pcr_redis_url *out, struct pacer_error *err) {
    if (!decode(rest, out->path, sizeof out->path) || out->path[0] != '/')
        return fail(err, "the path of the socket is expected, absolute and of at most 107 bytes");
    snprintf(out->shown, sizeof out->shown, "unix:%s", out->path);
    return 0;
}

int pcr_redis_url_parse(const char *text, struct pcr_redis_url *out, struct pacer_error *err) {
    *out = (struct pcr_redis_url){0};
    struct pcr_str rest = pcr_str(text), query, info, path;
    bool is_unix = take_scheme(&rest, "unix://") || take_scheme(&rest, "redis+unix://");
    out->tls = !is_unix && take_scheme(&rest, "rediss://");
    if (!is_unix && !out->tls && !take_scheme(&rest, "redis://"))
        return fail(err, "it has another scheme");
    struct pcr_str all = rest;
    pcr_str_split(&all, '?', &rest);
    query = all;
    int rc = take_user(&rest, is_unix, &info) ? read_user(info, out, err) : 0;
    if (rc == 0 && is_unix) {
        rc = read_unix(rest, out, err);
    } else if (rc == 0) {
        all = rest;
        pcr_str_split(&all, '/', &rest);
        path = all;
        rc = read_db(path, out, err);
        if (rc == 0)
            rc = read_host(rest, out, err);
    }
    return rc == 0 ? read_query(query, out, err) : rc;
}
