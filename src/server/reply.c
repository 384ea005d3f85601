// SPDX-License-Identifier: Apache-2.0
// Answers that every route gives the same way:
// JSON bodies, errors, and the status of an error code.
#include "server/app.h"

#define ERROR_BYTES_MAX 8192

int pcr_status_of(int code) {
    switch (code) {
    case PACER_OK:
        return 200;
    case PACER_ENOTFOUND:
        return 404;
    case PACER_EUNSUPPORTED:
        return 501;
    case PACER_EBUSY:
    case PACER_ETIMEDOUT:
    case PACER_ECANCELED:
    case PACER_ENOMEM:
        return 503;
    case PACER_EMODEL:
    case PACER_EIO:
    case PACER_ECONTRACT:
    case PACER_EINTERNAL:
        return 500;
    default:
        return 400;
    }
}

void pcr_reply_json(struct pcr_http_request *request, int status, struct pcr_str body) {
    struct pcr_http_reply reply = {
        .status = status, .content_type = "application/json", .body = body};
    pcr_http_reply(request, &reply);
}

struct pcr_str pcr_retry_after(struct pcr_http_request *request, uint64_t retry_ns) {
    if (retry_ns <= PCR_NS_PER_S)
        return PCR_STR("1"); // the least that the header can say
    if (retry_ns == PCR_RETRY_NEVER)
        return (struct pcr_str){NULL, 0};
    uint64_t seconds = retry_ns / PCR_NS_PER_S + (retry_ns % PCR_NS_PER_S > 0);
    char *text = pcr_arena_printf(&request->arena, "%llu", (unsigned long long)seconds);
    return text ? pcr_str(text) : PCR_STR("1");
}

static void reply_message(struct pcr_http_request *request, int status, struct pcr_str message,
                          uint64_t retry_ns) {
    struct pcr_http_header retry = {PCR_STR("Retry-After"), pcr_retry_after(request, retry_ns)};
    struct pcr_http_reply reply = {
        .status = status,
        .content_type = "application/json",
        .body = PCR_STR("{\"error\":\"out of memory\"}"),
        .headers = &retry,
        .n_headers = status == 503 && retry.value.ptr ? 1 : 0,
    };
    // Escapes make a byte six at most; the writer never needs more than this.
    size_t cap = message.len * 6 + sizeof "{\"error\":\"\"}";
    struct pcr_buf buf = {
        .data = pcr_arena_alloc(&request->arena, cap), .cap = cap, .max_bytes = cap - 1};
    if (buf.data) {
        struct pcr_json_writer writer;
        pcr_json_writer_init(&writer, &buf);
        pcr_json_object_begin(&writer);
        pcr_json_key(&writer, "error");
        pcr_json_string(&writer, message);
        pcr_json_object_end(&writer);
        PCR_ASSERT(!buf.failed);
        reply.body = pcr_buf_view(&buf);
    }
    pcr_http_reply(request, &reply);
}

void pcr_reply_error(struct pcr_http_request *request, int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char text[ERROR_BYTES_MAX];
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    reply_message(request, status, (struct pcr_str){text, len}, 0);
}

void pcr_reply_refusal(struct pcr_http_request *request, const struct pacer_error *err,
                       uint64_t retry_ns) {
    const char *message = err->message[0] ? err->message : pacer_strerror(err->code);
    reply_message(request, pcr_status_of(err->code), pcr_str(message), retry_ns);
}

void pcr_reply_failure(struct pcr_http_request *request, const struct pacer_error *err) {
    pcr_reply_refusal(request, err, 0);
}
