// SPDX-License-Identifier: Apache-2.0
// The listener of operators, apart from the one that serves: on loop 0, with a token of its own.
#ifndef PCR_SERVER_OPS_H
#define PCR_SERVER_OPS_H

#include "server/app.h"

struct pcr_ops;
// Listens at the configuration's ops_listen. `app` is loop 0's, whose generation says the token;
// `options` those of its HTTP server.
int pcr_ops_open(struct pcr_app *app, const struct pcr_http_server_options *options,
                 struct pcr_ops **out, struct pacer_error *err);
// The port it got. 0 for a unix socket.
int pcr_ops_port(const struct pcr_ops *ops);
// The options of a new generation; its token is in force by itself.
void pcr_ops_configure(struct pcr_ops *ops, const struct pcr_http_server_options *options);
// As pcr_http_server_drain.
void pcr_ops_drain(struct pcr_ops *ops, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx);
void pcr_ops_close(struct pcr_ops *ops); // NULL is fine; answers that come later are dropped

#endif
