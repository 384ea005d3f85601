// SPDX-License-Identifier: Apache-2.0
// Content codings: gzip and deflate (the zlib format) both ways.
//
// A request's body is decompressed piece by piece as it arrives, so a bomb is seen after
// body_bytes_max bytes and never held compressed as well; zlib's state comes from the request's
// arena. Answers are compressed by one reusable stream per coding and loop. Rejected: decompressing
// the whole body at its end, which would hold the loop up.
#include "http/http_priv.h"

#include <stdlib.h>

#define WINDOW_GZIP (15 + 16)
#define WINDOW_ZLIB 15
#define INFLATE_STEP_BYTES (16u << 10)

bool pcr_http_coding_read(struct pcr_str value, enum pcr_http_coding *out) {
    if (value.len == 0 || pcr_str_eq_nocase(value, PCR_STR("identity")))
        *out = PCR_HTTP_IDENTITY;
    else if (pcr_str_eq_nocase(value, PCR_STR("gzip")) ||
             pcr_str_eq_nocase(value, PCR_STR("x-gzip")))
        *out = PCR_HTTP_GZIP;
    else if (pcr_str_eq_nocase(value, PCR_STR("deflate")))
        *out = PCR_HTTP_DEFLATE;
    else
        return false;
    return true;
}

// "0.5" in thousandths; -1 if it is none.
static int read_weight(struct pcr_str text) {
    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1') ||
        (text.len > 1 && text.ptr[1] != '.'))
        return -1;
    int weight = (text.ptr[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < text.len; i++, unit /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        weight += (text.ptr[i] - '0') * unit;
    }
    return weight > 1000 ? -1 : weight;
}

// One element of the list: coding [ ";q=" weight ].
static int read_element(struct pcr_str element, struct pcr_str *coding) {
    struct pcr_str rest = element;
    pcr_str_split(&rest, ';', coding);
    *coding = pcr_str_trim(*coding);
    int weight = 1000;
    struct pcr_str parameter;
    while (rest.ptr && pcr_str_split(&rest, ';', &parameter)) {
        parameter = pcr_str_trim(parameter);
        if (parameter.len > 2 && (parameter.ptr[0] == 'q' || parameter.ptr[0] == 'Q') &&
            parameter.ptr[1] == '=')
            weight = read_weight((struct pcr_str){parameter.ptr + 2, parameter.len - 2});
    }
    return weight;
}

// RFC 9110, 12.5.3. A weight that is none rules its coding out; several header lines count as one
// list only in their last line, since compressing is never an obligation.
void pcr_http_accept_encoding_read(struct pcr_str value, struct pcr_http_request_priv *request) {
    int weights[3] = {-1, -1, -1}, any = -1;
    struct pcr_str rest = value, element, name;
    while (pcr_str_split(&rest, ',', &element)) {
        int weight = read_element(element, &name);
        enum pcr_http_coding coding;
        if (pcr_str_eq(name, PCR_STR("*")))
            any = weight;
        else if (name.len && pcr_http_coding_read(name, &coding))
            weights[coding] = weight < 0 ? 0 : weight;
    }
    request->accept_named = weights[PCR_HTTP_GZIP] > 0 || weights[PCR_HTTP_DEFLATE] > 0;
    int gzip = weights[PCR_HTTP_GZIP] >= 0 ? weights[PCR_HTTP_GZIP] : any;
    int deflate = weights[PCR_HTTP_DEFLATE] >= 0 ? weights[PCR_HTTP_DEFLATE] : any;
    int identity = weights[PCR_HTTP_IDENTITY];
    request->accept_best = PCR_HTTP_IDENTITY;
    int best = identity > 0 ? identity - 1 : 0; // at equal weights the shorter form wins
    if (deflate > best) {
        request->accept_best = PCR_HTTP_DEFLATE;
        best = deflate - 1;
    }
    if (gzip > best)
        request->accept_best = PCR_HTTP_GZIP;
}

static void *zlib_alloc(void *arena, unsigned count, unsigned size) {
    return pcr_arena_calloc(arena, count, size);
}

static void zlib_free(void *arena, void *memory) { // the arena goes as a whole
    (void)arena;
    (void)memory;
}

static bool start_inflate(struct pcr_http_request_priv *request) {
    z_stream *z = pcr_arena_calloc(&request->pub.arena, 1, sizeof *z);
    if (!z)
        return false;
    z->zalloc = zlib_alloc;
    z->zfree = zlib_free;
    z->opaque = &request->pub.arena;
    bool gzip = request->body_coding == PCR_HTTP_GZIP;
    if (inflateInit2(z, gzip ? WINDOW_GZIP : WINDOW_ZLIB) != Z_OK)
        return false;
    request->inflate = z;
    return true;
}

// One call of zlib into the free end of the body. 0 or a status.
static int inflate_step(struct pcr_http_request_priv *request, size_t body_bytes_max, int *result,
                        const char **message) {
    z_stream *z = request->inflate;
    size_t left = body_bytes_max - request->body.len;
    size_t room = left < INFLATE_STEP_BYTES ? left : INFLATE_STEP_BYTES;
    char over = 0; // a body of exactly the maximum still has to find its end
    char *to = room ? pcr_buf_reserve(&request->body, room) : &over;
    if (!to) {
        *message = "out of memory";
        return 503;
    }
    z->next_out = (Bytef *)to;
    z->avail_out = room ? (uInt)room : 1;
    *result = inflate(z, Z_NO_FLUSH);
    size_t made = (room ? room : 1) - z->avail_out;
    if (room == 0 && made > 0) {
        *message = "the decompressed body is larger than this server takes";
        return 413;
    }
    request->body.len += made;
    if (*result == Z_OK || *result == Z_STREAM_END || *result == Z_BUF_ERROR)
        return 0;
    *message = "the body is not valid in its Content-Encoding";
    return 400;
}

int pcr_http_inflate(struct pcr_http_request_priv *request, size_t body_bytes_max,
                     const char *bytes, size_t size, const char **message) {
    if (!request->inflate && !start_inflate(request)) {
        *message = "out of memory";
        return 503;
    }
    z_stream *z = request->inflate;
    z->next_in = (const Bytef *)bytes;
    z->avail_in = (uInt)size; // a read buffer at most
    for (;;) {
        if (request->inflate_end) {
            if (z->avail_in == 0)
                return 0;
            if (request->body_coding != PCR_HTTP_GZIP) {
                *message = "bytes after the end of the compressed body";
                return 400;
            }
            inflateReset(z); // a gzip file may have several members
            request->inflate_end = false;
        }
        int result;
        int status = inflate_step(request, body_bytes_max, &result, message);
        if (status)
            return status;
        request->inflate_end = result == Z_STREAM_END;
        if (!request->inflate_end && z->avail_in == 0 && z->avail_out > 0)
            return 0;
        if (result == Z_BUF_ERROR)
            return 0;
    }
}

int pcr_http_inflate_finish(struct pcr_http_request_priv *request, const char **message) {
    if (request->inflate_end)
        return 0;
    *message = "the compressed body is cut short";
    return 400;
}

static z_stream *deflate_stream(struct pcr_http_server *server, enum pcr_http_coding coding) {
    z_stream *z = server->deflates[coding];
    if (z) {
        deflateReset(z);
        return z;
    }
    z = calloc(1, sizeof *z);
    if (!z)
        return NULL;
    int window = coding == PCR_HTTP_GZIP ? WINDOW_GZIP : WINDOW_ZLIB;
    if (deflateInit2(z, server->options.limits.gzip_level, Z_DEFLATED, window, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(z);
        return NULL;
    }
    server->deflates[coding] = z;
    return z;
}

static int deflate_part(z_stream *z, struct pcr_str part, int flush) {
    z->next_in = (const Bytef *)part.ptr;
    z->avail_in = (uInt)part.len;
    return deflate(z, flush);
}

bool pcr_http_deflate(struct pcr_http_server *server, enum pcr_http_coding coding,
                      const struct pcr_http_reply *reply) {
    z_stream *z = deflate_stream(server, coding);
    if (!z)
        return false;
    size_t total =
        reply->body.len + reply->body_more.len; // both bounded by PCR_HTTP_ENCODE_BYTES_MAX
    pcr_buf_clear(&server->encoded);
    size_t room = deflateBound(z, (uLong)total) + 64;
    char *to = pcr_buf_reserve(&server->encoded, room);
    if (!to)
        return false;
    z->next_out = (Bytef *)to;
    z->avail_out = (uInt)room;
    if (deflate_part(z, reply->body, reply->body_more.len ? Z_NO_FLUSH : Z_FINISH) < 0)
        return false;
    if (reply->body_more.len && deflate_part(z, reply->body_more, Z_FINISH) != Z_STREAM_END)
        return false;
    server->encoded.len = room - z->avail_out;
    return server->encoded.len < total;
}

void pcr_http_deflate_fini(struct pcr_http_server *server) {
    for (size_t i = 0; i < PCR_COUNT_OF(server->deflates); i++) {
        if (server->deflates[i])
            deflateEnd(server->deflates[i]);
        free(server->deflates[i]);
        server->deflates[i] = NULL;
    }
}
