// SPDX-License-Identifier: Apache-2.0
// POST of a decision: HTTP around the decide room.
#ifndef PCR_SERVER_DECISIONS_H
#define PCR_SERVER_DECISIONS_H

#include "server/app.h"

// The route's `user` is the struct pcr_decision.
void pcr_decide_route(struct pcr_app *app, struct pcr_http_request *request,
                      const struct pcr_route_match *match);
// In its place until the models are there; `user` is the struct pcr_config_decision.
void pcr_decide_later_route(struct pcr_app *app, struct pcr_http_request *request,
                            const struct pcr_route_match *match);

#endif
