// SPDX-License-Identifier: Apache-2.0
// What the route table needs from the files that answer.
#ifndef PCR_SERVER_V2_H
#define PCR_SERVER_V2_H

#include "server/app.h"
#include "server/v2_codec.h"

// params: model, version (where the pattern has it)
void pcr_v2_infer(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match);
void pcr_v2_server(struct pcr_app *app, struct pcr_http_request *request,
                   const struct pcr_route_match *match);
void pcr_v2_live(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match);
void pcr_v2_ready(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match);
void pcr_v2_model(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match);
void pcr_v2_model_ready(struct pcr_app *app, struct pcr_http_request *request,
                        const struct pcr_route_match *match);
void pcr_v2_model_config(struct pcr_app *app, struct pcr_http_request *request,
                         const struct pcr_route_match *match);
void pcr_v2_stats(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match);
void pcr_v2_index(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match);
void pcr_v2_load(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match);
void pcr_v2_unload(struct pcr_app *app, struct pcr_http_request *request,
                   const struct pcr_route_match *match);

// The match's model and version, as the repository wants them (an absent version is empty).
struct pcr_model *pcr_v2_get_model(struct pcr_app *app, const struct pcr_route_match *match,
                                   struct pacer_error *err);
// The same; a fault has been answered where it is NULL.
struct pcr_model *pcr_v2_model_or_reply(struct pcr_app *app, struct pcr_http_request *request,
                                        const struct pcr_route_match *match);
// The moment after which the request is not worth computing any more,
// by request_timeout_ms; 0: never.
uint64_t pcr_request_deadline(const struct pcr_app *app, const struct pcr_http_request *request);
// The time that the client gives itself, by the header X-Request-Timeout-Ms; 0: not said.
// PACER_EINVAL if it is no number.
int pcr_request_timeout(const struct pcr_http_request *request, uint64_t *timeout_ns,
                        struct pacer_error *err);
// A buffer whose memory goes with the request's arena; false (and nothing to free) when there is no
// memory for that.
bool pcr_reply_buf_init(struct pcr_http_request *request, struct pcr_buf **out);
// Answers 200 with the buffer's JSON, or 503 if writing it failed.
void pcr_reply_buf(struct pcr_http_request *request, const struct pcr_buf *buf);

// --- metrics (metrics.c) ------------------------------------------------------------------------
#define PCR_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
void pcr_metrics(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match);

// --- documents (openapi.c) ----------------------------------------------------------------------
void pcr_openapi_write(const struct pcr_generation *generation, const char *server_name,
                       struct pcr_json_writer *writer);
void pcr_contracts_write(const struct pcr_generation *generation, struct pcr_json_writer *writer);

#endif
