// SPDX-License-Identifier: Apache-2.0
// The router: a tree of path segments, compiled once, walked without allocating.
//
// A node stands for the path so far. Its fixed children are one sorted array, found by binary
// search (length first, then bytes, so that most comparisons never touch the text); at most one
// child is a parameter. A lookup goes down the fixed child first and comes back to the parameter if
// that leads nowhere, so that a model may be called "stats" although /v2/models/stats is a page of
// its own. The way back costs at most one visit per node, for patterns of at most
// PCR_ROUTE_SEGMENTS_MAX segments.
//
// Rejected: a table of regular expressions, tried in turn (slow, and the order decides silently),
// and a hash of the whole path (parameters do not fit). Verbs are an array in the node: finding the
// path and not the verb is then 405 with a ready Allow value, never a second search.
#include "server/router.h"

#include "server/app.h"

#include <stdlib.h>

#define METHODS (PCR_HTTP_OTHER + 1)

struct node {
    struct pcr_str segment;
    struct node *children; // sorted by less()
    size_t n_children;
    struct node *parameter;
    const struct pcr_route *routes[METHODS];
    const char *allow; // NULL: no route ends here
};

struct pcr_router {
    struct pcr_arena arena;
    struct pcr_route *routes;
    size_t n_routes;
    struct node root;
};

static const char *const method_names[METHODS] = {
    [PCR_HTTP_GET] = "GET",         [PCR_HTTP_HEAD] = "HEAD",     [PCR_HTTP_POST] = "POST",
    [PCR_HTTP_PUT] = "PUT",         [PCR_HTTP_DELETE] = "DELETE", [PCR_HTTP_PATCH] = "PATCH",
    [PCR_HTTP_OPTIONS] = "OPTIONS",
};

static int compare(struct pcr_str a, struct pcr_str b) {
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return memcmp(a.ptr, b.ptr, a.len);
}

// --- compiling ----------------------------------------------------------------------------------

static int refuse(struct pacer_error *err, const struct pcr_route *route, const char *why) {
    return pcr_err(err, PACER_EINVAL, "router", "route \"%s\": %s", route->pattern, why);
}

static bool is_parameter(struct pcr_str segment) {
    return segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}';
}

// A place in the sorted children for a new segment.
static struct node *insert_child(struct pcr_arena *arena, struct node *node,
                                 struct pcr_str segment) {
    size_t at = 0;
    while (at < node->n_children && compare(node->children[at].segment, segment) < 0)
        at++;
    if (at < node->n_children && compare(node->children[at].segment, segment) == 0)
        return &node->children[at];
    struct node *children = pcr_arena_calloc(arena, node->n_children + 1, sizeof *children);
    if (!children)
        return NULL;
    for (size_t i = 0; i < node->n_children; i++)
        children[i < at ? i : i + 1] = node->children[i];
    children[at].segment = segment;
    node->children = children;
    node->n_children++;
    return &children[at];
}

static struct node *step(struct pcr_arena *arena, struct node *node, struct pcr_str segment) {
    if (!is_parameter(segment))
        return insert_child(arena, node, segment);
    if (!node->parameter)
        node->parameter = pcr_arena_calloc(arena, 1, sizeof *node->parameter);
    return node->parameter;
}

static int check_segment(const struct pcr_route *route, struct pcr_str segment,
                         struct pacer_error *err) {
    if (segment.len == 0)
        return refuse(err, route,
                      "has an empty segment; write one '/' between names and none at the end");
    bool braces = memchr(segment.ptr, '{', segment.len) || memchr(segment.ptr, '}', segment.len);
    if (braces && !is_parameter(segment))
        return refuse(err, route, "a parameter is a whole segment, as in /models/{name}");
    return 0;
}

static int add_route(struct pcr_router *router, const struct pcr_route *route,
                     struct pacer_error *err) {
    if (!route->pattern || route->pattern[0] != '/')
        return pcr_err(err, PACER_EINVAL, "router", "route \"%s\": a path starts with '/'",
                       route->pattern ? route->pattern : "");
    PCR_ASSERT(route->handler && (unsigned)route->method < METHODS && method_names[route->method]);
    struct node *node = &router->root;
    struct pcr_str rest = pcr_str(route->pattern + 1);
    struct pcr_str segment;
    size_t n_params = 0, n_segments = 0;
    while (rest.len > 0 && pcr_str_split(&rest, '/', &segment)) {
        int rc = check_segment(route, segment, err);
        if (rc < 0)
            return rc;
        n_params += is_parameter(segment);
        if (++n_segments > PCR_ROUTE_SEGMENTS_MAX || n_params > PCR_ROUTE_PARAMS_MAX)
            return refuse(err, route, "has too many segments or parameters");
        node = step(&router->arena, node, segment);
        if (!node)
            return pcr_err(err, PACER_ENOMEM, "router", "out of memory for %zu routes",
                           router->n_routes);
        if (rest.ptr && rest.len == 0)
            return refuse(err, route, "ends with '/'; leave it out");
    }
    if (node->routes[route->method])
        return refuse(err, route, "is there already; two routes cannot share a verb and a path");
    node->routes[route->method] = route;
    return 0;
}

static bool write_allow(struct pcr_arena *arena, struct node *node) {
    bool any = false;
    char text[128] = "";
    size_t len = 0;
    for (size_t m = 0; m < METHODS; m++) {
        bool served = node->routes[m] || (m == PCR_HTTP_HEAD && node->routes[PCR_HTTP_GET]);
        if (!served || m == PCR_HTTP_OPTIONS)
            continue;
        any = true;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s, ", method_names[m]);
    }
    if (any) {
        node->allow = pcr_arena_printf(arena, "%sOPTIONS", text);
        if (!node->allow)
            return false;
    }
    for (size_t i = 0; i < node->n_children; i++)
        if (!write_allow(arena, &node->children[i]))
            return false;
    return !node->parameter || write_allow(arena, node->parameter);
}

int pcr_router_create(const struct pcr_route *routes, size_t n_routes, struct pcr_router **out,
                      struct pacer_error *err) {
    *out = NULL;
    if (n_routes > PCR_ROUTES_MAX)
        return pcr_err(err, PACER_ELIMIT, "router", "%zu routes; at most %d are possible", n_routes,
                       PCR_ROUTES_MAX);
    struct pcr_router *router = calloc(1, sizeof *router);
    if (!router)
        return pcr_err(err, PACER_ENOMEM, "router", "out of memory for %zu routes", n_routes);
    pcr_arena_init(&router->arena, (size_t)1 << 30);
    router->n_routes = n_routes;
    router->routes = pcr_arena_array(&router->arena, n_routes ? n_routes : 1, sizeof *routes);
    if (!router->routes) {
        pcr_router_destroy(router);
        return pcr_err(err, PACER_ENOMEM, "router", "out of memory for %zu routes", n_routes);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_routes; i++) {
        router->routes[i] = routes[i];
        rc = add_route(router, &router->routes[i], err);
    }
    if (rc == 0 && !write_allow(&router->arena, &router->root))
        rc = pcr_err(err, PACER_ENOMEM, "router", "out of memory");
    if (rc < 0) {
        pcr_router_destroy(router);
        return rc;
    }
    *out = router;
    return 0;
}

void pcr_router_destroy(struct pcr_router *router) {
    if (!router)
        return;
    pcr_arena_fini(&router->arena);
    free(router);
}

const struct pcr_route *pcr_router_routes(const struct pcr_router *router, size_t *n) {
    *n = router->n_routes;
    return router->routes;
}

// --- finding ------------------------------------------------------------------------------------

static const struct node *child_of(const struct node *node, struct pcr_str segment) {
    size_t low = 0, high = node->n_children;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(node->children[middle].segment, segment);
        if (order == 0)
            return &node->children[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

// `rest` is what follows the slash that ended `node`'s own segment.
// Recursion is as deep as the tree.
static const struct node *walk(const struct node *node, struct pcr_str rest,
                               struct pcr_route_match *match) {
    const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
    struct pcr_str segment = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};
    if (segment.len == 0)
        return NULL;
    struct pcr_str after = {NULL, 0};
    if (slash)
        after = (struct pcr_str){slash + 1, rest.len - segment.len - 1};
    const struct node *next = child_of(node, segment);
    if (next) {
        const struct node *found = slash ? walk(next, after, match) : next->allow ? next : NULL;
        if (found)
            return found;
    }
    next = node->parameter;
    if (!next)
        return NULL;
    size_t mark = match->n_params;
    match->params[match->n_params++] = segment;
    const struct node *found = slash ? walk(next, after, match) : next->allow ? next : NULL;
    if (!found)
        match->n_params = mark;
    return found;
}

enum pcr_route_result pcr_router_find(const struct pcr_router *router, enum pcr_http_method method,
                                      struct pcr_str path, struct pcr_route_match *match,
                                      const char **allow) {
    match->route = NULL;
    match->n_params = 0;
    *allow = NULL;
    if (path.len == 0 || path.ptr[0] != '/')
        return PCR_ROUTE_NO_PATH;
    struct pcr_str rest = {path.ptr + 1, path.len - 1};
    const struct node *node = rest.len ? walk(&router->root, rest, match) : &router->root;
    if (!node || !node->allow)
        return PCR_ROUTE_NO_PATH;
    *allow = node->allow;
    match->route = node->routes[method];
    if (!match->route && method == PCR_HTTP_HEAD)
        match->route = node->routes[PCR_HTTP_GET];
    return match->route ? PCR_ROUTE_FOUND : PCR_ROUTE_NO_METHOD;
}

void pcr_router_dispatch(const struct pcr_router *router, struct pcr_app *app,
                         struct pcr_http_request *request) {
    struct pcr_route_match match;
    const char *allow;
    enum pcr_route_result result =
        pcr_router_find(router, request->method, request->path, &match, &allow);
    if (result == PCR_ROUTE_FOUND) {
        match.route->handler(app, request, &match);
        return;
    }
    if (result == PCR_ROUTE_NO_PATH && pcr_str_eq(request->path, PCR_STR("*"))) {
        pcr_http_reply(request, &(struct pcr_http_reply){.status = 204}); // of the whole server
        return;
    }
    if (result == PCR_ROUTE_NO_PATH) {
        pcr_reply_error(request, 404, "Not Found");
        return;
    }
    bool asks = request->method == PCR_HTTP_OPTIONS;
    struct pcr_http_header header = {PCR_STR("Allow"), pcr_str(allow)};
    struct pcr_http_reply reply = {.status = asks ? 204 : 405, .headers = &header, .n_headers = 1};
    if (!asks) {
        reply.content_type = "application/json";
        reply.body = PCR_STR("{\"error\":\"Method Not Allowed\"}");
    }
    pcr_http_reply(request, &reply);
}
