// SPDX-License-Identifier: Apache-2.0
// The model repository over HTTP: its index, and loading and unloading by name. Loading takes as
// long as a model takes, so it runs on the worker pool; requests go on being served meanwhile, by
// the old version too.
#include "server/v2.h"

static const char *state_name(enum pcr_model_state state) {
    switch (state) {
    case PCR_MODEL_READY:
        return "READY";
    case PCR_MODEL_LOADING:
        return "LOADING";
    default:
        return "UNAVAILABLE";
    }
}

// Reads a control request's body into *root, NULL if it is empty;
// false after a fault has been answered.
static bool read_body(struct pcr_http_request *request, yyjson_val **root) {
    struct pacer_error err;
    *root = NULL;
    if (pcr_str_trim(request->body).len == 0)
        return true;
    const struct pcr_json_options options = {.what = "request body"};
    if (pcr_json_parse(&request->arena, request->body, &options, root, &err) < 0) {
        pcr_reply_failure(request, &err);
        return false;
    }
    if (yyjson_is_obj(*root))
        return true;
    pcr_reply_error(request, 400, "the request body must be a JSON object or empty");
    return false;
}

void pcr_v2_index(struct pcr_app *app, struct pcr_http_request *request,
                  const struct pcr_route_match *match) {
    (void)match;
    yyjson_val *root;
    if (!read_body(request, &root))
        return;
    yyjson_val *ready_value = yyjson_obj_get(root, "ready");
    if (ready_value && !yyjson_is_bool(ready_value)) {
        pcr_reply_error(request, 400, "Invalid value for 'ready': expected a boolean");
        return;
    }
    bool only_ready = yyjson_is_true(ready_value);
    struct pcr_model_status *index;
    size_t n;
    struct pcr_buf *buf;
    if (pcr_repository_index(app->repository, &request->arena, &index, &n) < 0) {
        pcr_reply_error(request, 503, "no memory for the answer");
        return;
    }
    if (!pcr_reply_buf_init(request, &buf))
        return;
    struct pcr_json_writer writer;
    pcr_json_writer_init(&writer, buf);
    pcr_json_array_begin(&writer);
    for (size_t i = 0; i < n; i++) {
        if (only_ready && index[i].state != PCR_MODEL_READY)
            continue;
        pcr_json_object_begin(&writer);
        pcr_json_key(&writer, "name");
        pcr_json_text(&writer, index[i].name);
        pcr_json_key(&writer, "version");
        pcr_json_text(&writer, index[i].version);
        pcr_json_key(&writer, "state");
        pcr_json_text(&writer, state_name(index[i].state));
        pcr_json_key(&writer, "reason");
        pcr_json_text(&writer, index[i].state == PCR_MODEL_UNLOADED && !index[i].reason[0]
                                   ? "unloaded"
                                   : index[i].reason);
        pcr_json_object_end(&writer);
    }
    pcr_json_array_end(&writer);
    pcr_reply_buf(request, buf);
}

// --- load and unload ----------------------------------------------------------------------------

struct control { // in the request's arena until it is answered
    struct pcr_job job;
    struct pcr_http_request *request;
    struct pcr_app *app;
    struct pcr_str name;
    bool load;
    int status;
    struct pacer_error error;
};

static void control_run(struct pcr_job *job) {
    struct control *control = PCR_CONTAINER_OF(job, struct control, job);
    struct pcr_repository *repository = control->app->repository;
    const atomic_bool *draining = control->app->draining;
    if (draining && atomic_load(draining)) // a queue of loads must not hold up the end
        control->status = pcr_err(&control->error, PACER_ECANCELED, "v2", "the server is stopping");
    else if (control->load)
        control->status = pcr_repository_load(repository, control->name, &control->error);
    else
        control->status = pcr_repository_unload(repository, control->name, &control->error);
}

static void control_done(struct pcr_job *job) {
    struct control *control = PCR_CONTAINER_OF(job, struct control, job);
    if (control->status < 0)
        pcr_reply_failure(control->request, &control->error);
    else
        pcr_reply_json(control->request, 200, PCR_STR("{}"));
}

// Clients always send parameters with an unload; what a load could be told here belongs into files
// and configuration.
static bool check_parameters(struct pcr_http_request *request, bool load) {
    yyjson_val *root;
    if (!read_body(request, &root))
        return false;
    yyjson_val *parameters = yyjson_obj_get(root, "parameters");
    if (!parameters)
        return true;
    if (!yyjson_is_obj(parameters)) {
        pcr_reply_error(request, 400, "Unable to parse 'parameters': expected an object");
        return false;
    }
    if (load && yyjson_obj_size(parameters) > 0) {
        pcr_reply_error(
            request, 501,
            "loading a model with parameters ('%.60s') is not supported; change the files in "
            "models_dir or the configuration, then load it without",
            yyjson_get_str(unsafe_yyjson_get_first(parameters)));
        return false;
    }
    yyjson_val *dependents = yyjson_obj_get(parameters, "unload_dependents");
    if (dependents && !yyjson_is_bool(dependents)) {
        pcr_reply_error(request, 400, "Unable to parse 'unload_dependents': expected a boolean");
        return false;
    }
    return true; // no model depends on another, so there is nothing more to unload
}

static void start_control(struct pcr_app *app, struct pcr_http_request *request,
                          const struct pcr_route_match *match, bool load) {
    struct pacer_error err;
    if (!check_parameters(request, load))
        return;
    struct control *control = pcr_arena_calloc(&request->arena, 1, sizeof *control);
    if (!control) {
        pcr_reply_error(request, 503, "out of memory");
        return;
    }
    control->job =
        (struct pcr_job){.loop = request->loop, .run = control_run, .done = control_done};
    control->request = request;
    control->app = app;
    control->name = match->params[0];
    control->load = load;
    if (pcr_pool_submit(app->pool, &control->job) < 0) {
        pcr_err(&err, PACER_EBUSY, "v2",
                "too many models are being loaded already; try again later");
        pcr_reply_failure(request, &err);
    }
}

void pcr_v2_load(struct pcr_app *app, struct pcr_http_request *request,
                 const struct pcr_route_match *match) {
    start_control(app, request, match, true);
}

void pcr_v2_unload(struct pcr_app *app, struct pcr_http_request *request,
                   const struct pcr_route_match *match) {
    start_control(app, request, match, false);
}
