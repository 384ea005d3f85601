// SPDX-License-Identifier: Apache-2.0
// The formats of JSON Schema (Validation, section 7.3) that are asserted,
// each after the RFC it names.
//
// Every check is a walk over the bytes with a cursor: no regular expressions, no allocation (but
// for `regex`, which has to be compiled to be known). A format that is not in the table is an
// annotation: idn-email, idn-hostname, iri, iri-reference and uri-template would need Unicode
// tables or say little.
//
// Rejected: strptime, inet_pton and the like, which accept more than the RFCs do (inet_pton takes
// zone-less forms only, but strptime takes spaces and short fields).
#include "json/schema_priv.h"

#include <ctype.h>

struct cursor {
    const char *at;
    const char *end;
};

static struct cursor cursor_of(struct pcr_str text) {
    return (struct cursor){text.ptr, text.ptr + text.len};
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool at_end(const struct cursor *c) {
    return c->at == c->end;
}

static bool take(struct cursor *c, char expected) {
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static bool take_nocase(struct cursor *c, char expected) {
    if (c->at == c->end || (*c->at | 32) != expected)
        return false;
    c->at++;
    return true;
}

// Exactly n decimal digits.
static bool take_number(struct cursor *c, int n, int *value) {
    *value = 0;
    if (c->end - c->at < n)
        return false;
    for (int i = 0; i < n; i++, c->at++) {
        if (!is_digit(*c->at))
            return false;
        *value = *value * 10 + (*c->at - '0');
    }
    return true;
}

static size_t take_digits(struct cursor *c) {
    const char *from = c->at;
    while (c->at < c->end && is_digit(*c->at))
        c->at++;
    return (size_t)(c->at - from);
}

// --- times: RFC 3339 ----------------------------------------------------------------------------

static bool take_date(struct cursor *c) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year;
    int month;
    int day;
    if (!take_number(c, 4, &year) || !take(c, '-') || !take_number(c, 2, &month) || !take(c, '-') ||
        !take_number(c, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (leap && month == 2);
}

// Z or ±hh:mm, as minutes east.
static bool take_offset(struct cursor *c, int *minutes_east) {
    int hour;
    int minute;
    *minutes_east = 0;
    if (take_nocase(c, 'z'))
        return true;
    bool east = take(c, '+');
    if ((!east && !take(c, '-')) || !take_number(c, 2, &hour) || !take(c, ':') ||
        !take_number(c, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *minutes_east = (east ? 1 : -1) * (hour * 60 + minute);
    return true;
}

static bool take_time(struct cursor *c) {
    int hour;
    int minute;
    int second;
    int east;
    if (!take_number(c, 2, &hour) || !take(c, ':') || !take_number(c, 2, &minute) ||
        !take(c, ':') || !take_number(c, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 60 || (take(c, '.') && take_digits(c) == 0) ||
        !take_offset(c, &east))
        return false;
    // A leap second is the last one of a day in UTC.
    int utc = (hour * 60 + minute - east + 2 * 1440) % 1440;
    return second < 60 || utc == 23 * 60 + 59;
}

static bool is_date(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    return take_date(&c) && at_end(&c);
}

static bool is_time(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    return take_time(&c) && at_end(&c);
}

static bool is_date_time(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    return take_date(&c) && take_nocase(&c, 't') && take_time(&c) && at_end(&c);
}

// RFC 3339, appendix A: units in order, none left out between two that are there.
static bool take_units(struct cursor *c, const char *units) {
    const char *expected = NULL;
    while (c->at < c->end && is_digit(*c->at)) {
        take_digits(c);
        const char *unit = c->at < c->end && *c->at ? strchr(units, *c->at) : NULL;
        if (!unit || (expected && unit != expected))
            return false;
        c->at++;
        expected = unit + 1;
    }
    return expected != NULL;
}

static bool is_duration(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    if (!take(&c, 'P'))
        return false;
    struct cursor weeks = c;
    if (take_digits(&weeks) > 0 && take(&weeks, 'W') && at_end(&weeks))
        return true;
    bool time_only = c.at < c.end && *c.at == 'T';
    if (!time_only && !take_units(&c, "YMD"))
        return false;
    if (take(&c, 'T') && !take_units(&c, "HMS"))
        return false;
    return at_end(&c);
}

// --- names and addresses ------------------------------------------------------------------------

// RFC 9562, section 4
static bool is_uuid(struct pcr_str text) {
    if (text.len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text.ptr[i] != '-' : !is_hex(text.ptr[i]))
            return false;
    }
    return true;
}

// RFC 2673, section 3.2: no leading zeros, no other notations.
static bool take_ipv4(struct cursor *c) {
    for (int i = 0; i < 4; i++) {
        if (i > 0 && !take(c, '.'))
            return false;
        int value = 0;
        const char *from = c->at;
        while (c->at < c->end && is_digit(*c->at) && c->at - from < 3)
            value = value * 10 + (*c->at++ - '0');
        if (c->at == from || value > 255 || (*from == '0' && c->at - from > 1))
            return false;
    }
    return true;
}

static bool is_ipv4(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    return take_ipv4(&c) && at_end(&c);
}

static bool take_ipv4_tail(struct cursor *c) {
    struct cursor tail = *c;
    if (!take_ipv4(&tail) || !at_end(&tail))
        return false;
    *c = tail;
    return true;
}

// RFC 4291, section 2.2: eight groups, one run of them as "::",
// the last two perhaps as IPv4; no zone.
static bool is_ipv6(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    int groups = 0;
    bool gap = false;
    if (c.end - c.at >= 2 && c.at[0] == ':' && c.at[1] == ':') {
        gap = true;
        c.at += 2;
    }
    while (!at_end(&c)) {
        if (take_ipv4_tail(&c)) {
            groups += 2;
            break;
        }
        const char *from = c.at;
        while (c.at < c.end && is_hex(*c.at))
            c.at++;
        if (c.at == from || c.at - from > 4)
            return false;
        groups++;
        if (at_end(&c))
            break;
        if (!take(&c, ':') || at_end(&c))
            return false;
        if (*c.at == ':') {
            if (gap)
                return false;
            gap = true;
            c.at++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

// RFC 1123, section 2.1; "--" in the third and fourth place is kept for "xn--" (RFC 5891,
// section 4.2.3.1), whose decoded form is not looked at: that needs Unicode's tables.
static bool is_hostname(struct pcr_str text) {
    size_t label = 0;
    if (text.len == 0 || text.len > 253)
        return false;
    for (size_t i = 0; i <= text.len; i++) {
        char c = i < text.len ? text.ptr[i] : '.';
        if (c == '.') {
            if (label == 0 || label > 63 || text.ptr[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!is_alpha(c) && !is_digit(c) && (c != '-' || label == 0))
            return false;
        label++;
        if (label == 4 && c == '-' && text.ptr[i - 1] == '-' &&
            !pcr_str_eq_nocase((struct pcr_str){text.ptr + i - 3, 2}, PCR_STR("xn")))
            return false;
    }
    return true;
}

static bool is_atom_char(char c) {
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool take_quoted_local(struct cursor *c) {
    while (c->at < c->end && *c->at != '"') {
        if (*c->at == '\\' && c->end - c->at > 1)
            c->at++;
        if (*c->at < ' ' || *c->at > '~')
            return false;
        c->at++;
    }
    return take(c, '"');
}

static bool take_dotted_local(struct cursor *c) {
    do {
        const char *from = c->at;
        while (c->at < c->end && is_atom_char(*c->at))
            c->at++;
        if (c->at == from)
            return false;
    } while (take(c, '.'));
    return true;
}

// RFC 5321, section 4.1.2: Mailbox
static bool is_email(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    if (text.len > 320 || !(take(&c, '"') ? take_quoted_local(&c) : take_dotted_local(&c)))
        return false;
    if (c.at - text.ptr > 64 || !take(&c, '@'))
        return false;
    struct pcr_str domain = {c.at, (size_t)(c.end - c.at)};
    if (domain.len < 2 || domain.ptr[0] != '[')
        return is_hostname(domain);
    struct pcr_str literal = {domain.ptr + 1, domain.len - 2};
    if (domain.ptr[domain.len - 1] != ']')
        return false;
    if (literal.len > 5 && pcr_str_eq_nocase((struct pcr_str){literal.ptr, 5}, PCR_STR("IPv6:")))
        return is_ipv6((struct pcr_str){literal.ptr + 5, literal.len - 5});
    return is_ipv4(literal);
}

// --- URIs: RFC 3986 -----------------------------------------------------------------------------

// Characters of a component: unreserved, percent-encoded, sub-delims and what `more` lists.
static bool take_uri_chars(struct cursor *c, const char *more) {
    for (; c->at < c->end; c->at++) {
        char x = *c->at;
        if (x == '%') {
            if (c->end - c->at < 3 || !is_hex(c->at[1]) || !is_hex(c->at[2]))
                return false;
            c->at += 2;
        } else if (!is_alpha(x) && !is_digit(x) &&
                   (x == '\0' || (!strchr("-._~!$&'()*+,;=", x) && !strchr(more, x)))) {
            break;
        }
    }
    return true;
}

// IP-literal: IPv6 or IPvFuture in brackets.
static bool take_ip_literal(struct cursor *c) {
    const char *from = c->at;
    while (c->at < c->end && *c->at != ']')
        c->at++;
    struct pcr_str inside = {from, (size_t)(c->at - from)};
    if (!take(c, ']'))
        return false;
    if (inside.len == 0 || (inside.ptr[0] | 32) != 'v')
        return is_ipv6(inside);
    struct cursor future = {inside.ptr + 1, inside.ptr + inside.len};
    const char *hex = future.at;
    while (future.at < future.end && is_hex(*future.at))
        future.at++;
    if (future.at == hex || !take(&future, '.') || at_end(&future))
        return false;
    return take_uri_chars(&future, ":") && at_end(&future) && !memchr(inside.ptr, '%', inside.len);
}

static bool take_authority(struct cursor *c) {
    struct cursor user = *c;
    if (take_uri_chars(&user, ":") && take(&user, '@'))
        *c = user;
    if (take(c, '[')) {
        if (!take_ip_literal(c))
            return false;
    } else if (!take_uri_chars(c, "")) {
        return false;
    }
    if (take(c, ':'))
        take_digits(c);
    return at_end(c) || strchr("/?#", *c->at) != NULL;
}

static bool take_scheme(struct cursor *c) {
    struct cursor s = *c;
    if (at_end(&s) || !is_alpha(*s.at))
        return false;
    while (s.at < s.end &&
           (is_alpha(*s.at) || is_digit(*s.at) || *s.at == '+' || *s.at == '-' || *s.at == '.'))
        s.at++;
    if (!take(&s, ':'))
        return false;
    *c = s;
    return true;
}

static bool is_uri_kind(struct pcr_str text, bool needs_scheme) {
    struct cursor c = cursor_of(text);
    bool has_scheme = take_scheme(&c);
    if (needs_scheme && !has_scheme)
        return false;
    bool authority = c.end - c.at >= 2 && c.at[0] == '/' && c.at[1] == '/';
    if (authority) {
        c.at += 2;
        if (!take_authority(&c))
            return false;
    } else if (!has_scheme) {
        // The first segment of a relative path has no colon, or it would be a scheme.
        if (!take_uri_chars(&c, "@") || (!at_end(&c) && *c.at == ':'))
            return false;
    }
    if (!take_uri_chars(&c, ":@/") || (take(&c, '?') && !take_uri_chars(&c, ":@/?")) ||
        (take(&c, '#') && !take_uri_chars(&c, ":@/?")))
        return false;
    return at_end(&c);
}

static bool is_uri(struct pcr_str text) {
    return is_uri_kind(text, true);
}

static bool is_uri_reference(struct pcr_str text) {
    return is_uri_kind(text, false);
}

// --- pointers and patterns ----------------------------------------------------------------------

// RFC 6901
static bool is_json_pointer(struct pcr_str text) {
    if (text.len > 0 && text.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '~')
            continue;
        if (i + 1 == text.len || (text.ptr[i + 1] != '0' && text.ptr[i + 1] != '1'))
            return false;
    }
    return true;
}

static bool is_relative_json_pointer(struct pcr_str text) {
    struct cursor c = cursor_of(text);
    const char *from = c.at;
    size_t digits = take_digits(&c);
    if (digits == 0 || (digits > 1 && *from == '0'))
        return false;
    if (take(&c, '#'))
        return at_end(&c);
    return is_json_pointer((struct pcr_str){c.at, (size_t)(c.end - c.at)});
}

static bool is_regex(struct pcr_str text) {
    char why[120];
    struct pcr_regex *regex = pcr_regex_create(text, why, sizeof why);
    pcr_regex_destroy(regex);
    return regex != NULL;
}

static const struct pcr_format formats[] = {
    {"date-time", is_date_time, "a date and time with offset (2024-12-31T23:59:59Z)"},
    {"date", is_date, "a date (2024-12-31)"},
    {"time", is_time, "a time with offset (23:59:59Z)"},
    {"duration", is_duration, "a duration (P3DT4H)"},
    {"uuid", is_uuid, "a UUID"},
    {"email", is_email, "an email address"},
    {"hostname", is_hostname, "a host name"},
    {"uri", is_uri, "an absolute URI"},
    {"uri-reference", is_uri_reference, "a URI or relative reference"},
    {"ipv4", is_ipv4, "an IPv4 address"},
    {"ipv6", is_ipv6, "an IPv6 address"},
    {"json-pointer", is_json_pointer, "a JSON pointer"},
    {"relative-json-pointer", is_relative_json_pointer, "a relative JSON pointer"},
    {"regex", is_regex, "a regular expression (ECMA-262)"},
};

const struct pcr_format *pcr_format_find(struct pcr_str name) {
    for (size_t i = 0; i < PCR_COUNT_OF(formats); i++) {
        if (pcr_str_eq(name, pcr_str(formats[i].name)))
            return &formats[i];
    }
    return NULL;
}
