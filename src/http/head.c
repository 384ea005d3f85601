// SPDX-License-Identifier: Apache-2.0
// What the head of a request means: the headers this room acts on, and the rules of RFC 9110 and
// 9112 which the parser leaves to its user.
#include "http/http_priv.h"

struct findings {
    struct pcr_str host, transfer_encoding, content_encoding, accept_encoding, expect, request_id;
    size_t n_hosts, n_lengths, n_transfer_encodings;
    bool duplicate_coding;
};

static void note_method(struct pcr_http_request *pub, uint8_t method) {
    switch (method) {
    case HTTP_GET:
        pub->method = PCR_HTTP_GET;
        break;
    case HTTP_HEAD:
        pub->method = PCR_HTTP_HEAD;
        break;
    case HTTP_POST:
        pub->method = PCR_HTTP_POST;
        break;
    case HTTP_PUT:
        pub->method = PCR_HTTP_PUT;
        break;
    case HTTP_DELETE:
        pub->method = PCR_HTTP_DELETE;
        break;
    case HTTP_OPTIONS:
        pub->method = PCR_HTTP_OPTIONS;
        break;
    case HTTP_PATCH:
        pub->method = PCR_HTTP_PATCH;
        break;
    default:
        pub->method = PCR_HTTP_OTHER;
    }
}

static bool is(struct pcr_str name, struct pcr_str known) {
    return pcr_str_eq_nocase(name, known);
}

static void note_header(struct pcr_http_request_priv *request, struct findings *found,
                        const struct pcr_http_header *header) {
    struct pcr_str name = header->name, value = header->value;
    switch (name.len) {
    case 4:
        if (is(name, PCR_STR("Host"))) {
            found->n_hosts++;
            found->host = value;
        }
        break;
    case 6:
        if (is(name, PCR_STR("Expect")))
            found->expect = value;
        else if (is(name, PCR_STR("Origin")))
            request->origin = value;
        break;
    case 12:
        if (is(name, PCR_STR("X-Request-Id")))
            found->request_id = value;
        break;
    case 14:
        if (is(name, PCR_STR("Content-Length")))
            found->n_lengths++;
        break;
    case 15:
        if (is(name, PCR_STR("Accept-Encoding")))
            pcr_http_accept_encoding_read(value, request);
        break;
    case 16:
        if (is(name, PCR_STR("Content-Encoding"))) {
            found->duplicate_coding = found->content_encoding.ptr != NULL;
            found->content_encoding = value;
        }
        break;
    case 17:
        if (is(name, PCR_STR("Transfer-Encoding"))) {
            found->n_transfer_encodings++;
            found->transfer_encoding = value;
        }
        break;
    case 29:
        if (is(name, PCR_STR("Access-Control-Request-Method")))
            request->preflight_method = value;
        break;
    case 30:
        if (is(name, PCR_STR("Access-Control-Request-Headers")))
            request->preflight_headers = value;
        break;
    default:
        break;
    }
}

// From here on slices of the head buffer stay where they are.
static bool fix_headers(struct pcr_http_request_priv *request) {
    struct pcr_http_request *pub = &request->pub;
    pub->method_name = (struct pcr_str){request->head.data, request->method_len};
    pub->headers = pcr_arena_array(&pub->arena, request->n_offsets ? request->n_offsets : 1,
                                   sizeof *pub->headers);
    if (!pub->headers)
        return false;
    for (size_t i = 0; i < request->n_offsets; i++) {
        const struct pcr_http_offsets *at = &request->offsets[i];
        pub->headers[i].name = (struct pcr_str){request->head.data + at->name, at->name_len};
        pub->headers[i].value =
            pcr_str_trim((struct pcr_str){request->head.data + at->value, at->value_len});
    }
    pub->n_headers = request->n_offsets;
    return true;
}

static int check_host(const struct pcr_http_request_priv *request, const struct findings *found,
                      const char **message) {
    if (found->n_hosts > 1) {
        *message = "more than one Host header";
        return 400;
    }
    if (found->n_hosts == 0) {
        *message = "an HTTP/1.1 request needs a Host header";
        return request->minor == 0 ? 0 : 400;
    }
    *message = "the Host header is not a valid host";
    return pcr_http_authority_valid(found->host) ? 0 : 400;
}

static int check_transfer_encoding(const struct pcr_http_request_priv *request,
                                   const struct findings *found, const char **message) {
    if (found->n_transfer_encodings == 0)
        return 0;
    if (found->n_lengths > 0) {
        *message = "Content-Length and Transfer-Encoding together";
        return 400;
    }
    if (request->minor == 0) {
        *message = "Transfer-Encoding in an HTTP/1.0 request";
        return 400;
    }
    if (found->n_transfer_encodings == 1 && is(found->transfer_encoding, PCR_STR("chunked")))
        return 0;
    struct pcr_str rest = found->transfer_encoding, part;
    size_t chunked = 0, others = 0;
    while (pcr_str_split(&rest, ',', &part)) {
        part = pcr_str_trim(part);
        if (is(part, PCR_STR("chunked")))
            chunked++;
        else if (part.len > 0)
            others++;
    }
    if (found->n_transfer_encodings > 1 || chunked > 1 || (chunked == 1 && others == 0)) {
        *message = "the Transfer-Encoding is malformed: 'chunked' once is all that is understood";
        return 400;
    }
    if (others == 0 || is(found->transfer_encoding, PCR_STR("identity"))) {
        *message = "the last transfer coding of a request must be 'chunked'";
        return 400;
    }
    *message = "a transfer coding other than 'chunked' is not supported";
    return 501;
}

static int check_expect(struct pcr_http_conn *conn, const struct pcr_http_request_priv *request,
                        struct pcr_str expect, const char **message) {
    if (expect.len == 0 || request->minor == 0) // some clients send it empty
        return 0;
    if (!is(expect, PCR_STR("100-continue"))) {
        *message = "the only expectation that is understood is '100-continue'";
        return 417;
    }
    conn->want_continue = request->chunked || request->length > 0;
    return 0;
}

static int check_content_encoding(struct pcr_http_request_priv *request,
                                  const struct findings *found, const char **message) {
    if (!found->content_encoding.ptr)
        return 0;
    if (!found->duplicate_coding &&
        pcr_http_coding_read(found->content_encoding, &request->body_coding))
        return 0;
    *message = "the Content-Encoding is not supported: gzip and deflate are";
    return 501;
}

static void choose_id(struct pcr_http_request_priv *request, struct pcr_str sent) {
    bool sane = sent.len >= 1 && sent.len <= 128;
    for (size_t i = 0; sane && i < sent.len; i++)
        sane = sent.ptr[i] > ' ' && sent.ptr[i] < 0x7f;
    if (sane)
        request->pub.id = sent;
}

int pcr_http_head_read(struct pcr_http_conn *conn, struct pcr_http_request_priv *request,
                       const char **message) {
    struct findings found = {0};
    note_method(&request->pub, conn->parser.method);
    *message = "out of memory";
    if (!fix_headers(request))
        return 503;
    for (size_t i = 0; i < request->pub.n_headers; i++)
        note_header(request, &found, &request->pub.headers[i]);
    choose_id(request, found.request_id);
    if (conn->parser.method == HTTP_CONNECT) {
        *message = "CONNECT is not supported";
        return 501;
    }
    int status = check_host(request, &found, message);
    if (!status)
        status = check_transfer_encoding(request, &found, message);
    struct pcr_str target = {request->head.data + request->method_len, request->target_len};
    if (!status)
        status = pcr_http_target_read(request, target, message);
    if (!status)
        status = check_content_encoding(request, &found, message);
    if (!status)
        status = check_expect(conn, request, found.expect, message);
    return status;
}

struct pcr_str pcr_http_header(const struct pcr_http_request *request, const char *name) {
    struct pcr_str wanted = pcr_str(name);
    for (size_t i = 0; i < request->n_headers; i++) {
        if (pcr_str_eq_nocase(request->headers[i].name, wanted))
            return request->headers[i].value;
    }
    return (struct pcr_str){NULL, 0};
}
