// SPDX-License-Identifier: Apache-2.0
// redis://[[user]:password@]host[:port][/db], rediss:// with TLS,
// unix://[user:password@]/path[?db=N] (also redis+unix://), as redis-py and others take them; user,
// password and path percent-encoded.
#ifndef PCR_CACHE_REDIS_URL_H
#define PCR_CACHE_REDIS_URL_H

#include "base/base.h"

struct pcr_redis_url {
    bool tls;
    char host[256]; // "" for unix
    int port;
    char path[108]; // of a unix socket
    char user[256], password[512];
    bool has_user, has_password;
    int db;
    char shown[512]; // without user and password: for people
};

// PACER_EINVAL; the message has neither user nor password.
int pcr_redis_url_parse(const char *text, struct pcr_redis_url *out, struct pacer_error *err);

#endif
