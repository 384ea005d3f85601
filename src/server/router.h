// SPDX-License-Identifier: Apache-2.0
// Routes: which handler answers which path. Patterns are compiled once into a tree of segments; a
// lookup walks it without allocating, and gives the `{name}` segments back as slices of the
// request's path.
#ifndef PCR_SERVER_ROUTER_H
#define PCR_SERVER_ROUTER_H

#include "base/base.h"
#include "http/server.h"

#define PCR_ROUTE_PARAMS_MAX 4
#define PCR_ROUTE_SEGMENTS_MAX 16
#define PCR_ROUTES_MAX 4096

struct pcr_app;
struct pcr_route;

// What a handler is told about its route:
// the route itself and the `{…}` segments, in the pattern's order.
struct pcr_route_match {
    const struct pcr_route *route;
    struct pcr_str params[PCR_ROUTE_PARAMS_MAX];
    size_t n_params;
};

// Answers the request, now or later (pcr_http_reply exactly once).
typedef void (*pcr_route_handler)(struct pcr_app *app, struct pcr_http_request *request,
                                  const struct pcr_route_match *match);

struct pcr_route {
    enum pcr_http_method method;
    const char *pattern; // "/v2/models/{model}/infer"; borrowed, must outlive the router
    pcr_route_handler handler;
    void *user;            // the handler's own, e.g. the decision; borrowed
    const char *summary;   // one line for the OpenAPI document; NULL: not in it
    const char *operation; // the OpenAPI operationId of a fixed route; NULL for the others
};

struct pcr_router;
// Compiles the routes (copied; their strings are borrowed). PACER_EINVAL, with the
// pattern in the message, for a pattern that does not start with '/', has an empty or
// half-named segment, names two handlers for one verb, or more than PCR_ROUTE_PARAMS_MAX
// parameters; PACER_ELIMIT, PACER_ENOMEM.
int pcr_router_create(const struct pcr_route *routes, size_t n_routes, struct pcr_router **out,
                      struct pacer_error *err);
void pcr_router_destroy(struct pcr_router *router); // NULL is fine

// The routes as they were given, in that order.
const struct pcr_route *pcr_router_routes(const struct pcr_router *router, size_t *n);

enum pcr_route_result { PCR_ROUTE_FOUND, PCR_ROUTE_NO_PATH, PCR_ROUTE_NO_METHOD };
// HEAD finds the route of GET. Where the path is known, *allow is its ready Allow value ("GET,
// HEAD, OPTIONS"), borrowed from the router. A fixed segment wins over a parameter; a parameter is
// never empty.
enum pcr_route_result pcr_router_find(const struct pcr_router *router, enum pcr_http_method method,
                                      struct pcr_str path, struct pcr_route_match *match,
                                      const char **allow);
// Finds and calls the handler, or answers itself:
// 404 and 405 with a JSON error, OPTIONS 204 with Allow.
void pcr_router_dispatch(const struct pcr_router *router, struct pcr_app *app,
                         struct pcr_http_request *request);

#endif
