// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define FORMS "expected HOST:PORT, [IPV6]:PORT, :PORT or unix:/PATH"

static int parse_unix(const char *path, struct pcr_sockaddr *out, struct pacer_error *err) {
    size_t len = strlen(path);
    if (len == 0)
        return pcr_err(err, PACER_EINVAL, "listen", "the address 'unix:' has no path; " FORMS);
    if (len >= sizeof out->un.sun_path)
        return pcr_err(err, PACER_EINVAL, "listen",
                       "the path of the unix socket is %zu bytes long, the system allows %zu: '%s'",
                       len, sizeof out->un.sun_path - 1, path);
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path, len + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

// "localhost", and every name below it (RFC 6761, section 6.3).
static bool is_localhost(struct pcr_str host) {
    const struct pcr_str name = PCR_STR("localhost");
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len < name.len)
        return false;
    size_t below = host.len - name.len;
    struct pcr_str last = {host.ptr + below, name.len};
    return pcr_str_eq_nocase(last, name) && (below == 0 || host.ptr[below - 1] == '.');
}

// Not asked of the system: a bare one has no /etc/hosts, and a name server could say anything.
static void loopback(uint64_t port, struct pcr_sockaddr *out) {
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0 && errno == EAFNOSUPPORT) {
        out->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                         .sin6_port = htons((uint16_t)port),
                                         .sin6_addr = in6addr_loopback};
        out->len = sizeof out->in6;
        return;
    }
    if (probe >= 0)
        close(probe);
    out->in = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    out->len = sizeof out->in;
}

static int resolve(const char *text, const char *host, const char *port, struct pcr_sockaddr *out,
                   struct pacer_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0 || !found)
        return pcr_err(err, PACER_EINVAL, "listen", "cannot find the host '%s' of address '%s': %s",
                       host, text, gai_strerror(rc));
    const struct addrinfo *chosen = found; // IPv4 first, as most clients do
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        if (at->ai_family == AF_INET) {
            chosen = at;
            break;
        }
    }
    memcpy(&out->storage, chosen->ai_addr, chosen->ai_addrlen);
    out->len = chosen->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static void any_address(uint64_t port, struct pcr_sockaddr *out) {
    out->in6.sin6_family = AF_INET6;
    out->in6.sin6_addr = in6addr_any;
    out->in6.sin6_port = htons((uint16_t)port);
    out->len = sizeof out->in6;
    out->both_families = true;
}

int pcr_address_parse(const char *text, struct pcr_sockaddr *out, struct pacer_error *err) {
    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out, err);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || !pcr_str_to_u64(pcr_str(colon + 1), 65535, &port))
        return pcr_err(err, PACER_EINVAL, "listen",
                       "'%s' is not an address: %s; " FORMS ", the port from 0 to 65535", text,
                       colon ? "the port is not a number" : "it has no port");
    size_t host_len = (size_t)(colon - text);
    const char *host_start = text;
    if (host_len == 0) {
        any_address(port, out);
        return 0;
    }
    bool bracketed = text[0] == '[';
    if (bracketed) {
        if (host_len < 3 || colon[-1] != ']')
            return pcr_err(
                err, PACER_EINVAL, "listen",
                "'%s' is not an address: the bracket is not closed before the port; " FORMS, text);
        host_start++;
        host_len -= 2;
    }
    char host[256];
    if (host_len >= sizeof host)
        return pcr_err(err, PACER_EINVAL, "listen", "the host name is %zu bytes long; " FORMS,
                       host_len);
    memcpy(host, host_start, host_len);
    host[host_len] = '\0';
    if (!bracketed && strchr(host, ':'))
        return pcr_err(err, PACER_EINVAL, "listen",
                       "'%s' is not an address: write an IPv6 address in brackets, [%s]:%s", text,
                       host, colon + 1);
    if (!bracketed && is_localhost(pcr_str(host))) {
        loopback(port, out);
        return 0;
    }
    return resolve(text, host, colon + 1, out, err);
}

void pcr_address_format(const struct pcr_sockaddr *address, char *out, size_t out_bytes) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof host);
        snprintf(out, out_bytes, "%s:%u", host, ntohs(address->in.sin_port));
    } else if (address->any.sa_family == AF_INET6) {
        const struct in6_addr *ip = &address->in6.sin6_addr;
        unsigned port = ntohs(address->in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(ip)) { // a client of a socket for both families
            inet_ntop(AF_INET, &ip->s6_addr[12], host, sizeof host);
            snprintf(out, out_bytes, "%s:%u", host, port);
        } else {
            inet_ntop(AF_INET6, ip, host, sizeof host);
            snprintf(out, out_bytes, "[%s]:%u", host, port);
        }
    } else {
        snprintf(out, out_bytes, "unix");
    }
}
