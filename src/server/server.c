// SPDX-License-Identifier: Apache-2.0
// The life of the server: one loop per core, each on its own thread with its own HTTP server and
// listening socket; loop 0 runs on the main thread and has the signals.
//
// What the loops share is immutable and reference-counted (struct pcr_generation) or safe for many
// threads by itself (repository, engine). A change makes a whole new generation on a worker and
// posts it to every loop (change.c); a request that runs meanwhile keeps the generation it began
// with. So no request ever sees half of a change, and a configuration with a fault changes nothing.
//
// The start: what can be known at once is looked at first (the configuration, the directory of the
// models, the address); then the loops serve, and say of the models that they are being loaded.
//
// The end: each loop drains by itself, loop 0 the operators' listener, too, and reports to loop 0;
// when all have, and the pool has nothing more to do, the engine is joined first, so that every
// answer it owes is in a mailbox, and then each loop gets a letter that stops it, which is behind
// those answers. ONNX Runtime cannot be interrupted while it makes a session; then the process
// leaves without that thread.
//
// Rejected: a process per core (gunicorn's way). It would load each model once per core, and a
// cache could not be shared without another process.
#include "server/ops.h"
#include "server/server_priv.h"

#include "server/notify.h"

#include <pacer/pacer.h>

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LOG_WAIT_MS 1000  // at the end, for whoever reads the log
#define POOL_WAIT_MS 1000 // at the end, for a model that is being loaded
#define POOL_QUEUE_MAX 256
#define ENGINE_QUEUE_MAX 4096
#define MODELS_BYTES_MAX ((size_t)16 << 20)

static unsigned cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (unsigned)n;
}

// Only the main thread takes our signals, and only while loop 0 runs: every other thread, ONNX
// Runtime's too, inherits this mask, and at the end no late signal finds a handler gone and turns a
// clean exit into a death by signal.
static void hold_signals(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(how, &set, NULL);
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void configure_log(const struct pcr_config *config) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct pcr_log_options options = {PCR_LOG_INFO, strcmp(config->log_format, "json") == 0};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++)
        if (strcmp(config->log_level, names[i]) == 0)
            options.level = (enum pcr_log_level)i;
    pcr_log_configure(&options);
}

void pcr_server_configure_process(const struct pcr_config *config) {
    configure_log(config);
    pcr_infer_run_memory_max(config->run_memory_max);
}

// ONNX Runtime's own words, of loading and of runs that fail; the latter come per request.
static void log_runtime(enum pcr_log_level level, const char *message) {
    (void)level; // mostly a value of some client: nothing that is wrong here
    PCR_LOG_PER_REQUEST(PCR_LOG_WARN, "onnxruntime", "%s", message);
}

// --- loading ------------------------------------------------------------------------------------

struct pcr_config *pcr_server_load_config(const struct pcr_server_options *options) {
    struct pcr_config_faults faults;
    struct pcr_config *config = NULL;
    pcr_config_faults_init(&faults);
    if (pcr_config_load(options->config_file, options->overrides, options->n_overrides, &config,
                        &faults) < 0)
        pcr_generation_log_faults(&faults);
    pcr_config_faults_fini(&faults);
    return config;
}

// What is there, yet to be loaded; and the generation that says so.
static int list_models(struct pcr_server *server, const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_repository_options options;
    struct pcr_arena arena;
    pcr_watch_restart(&server->watch, pcr_server_watch_list(config));
    pcr_arena_init(&arena, MODELS_BYTES_MAX);
    int rc = pcr_server_models(config, &arena, &options)
                 ? pcr_repository_list(&options, &server->repository, &err)
                 : pcr_err(&err, PACER_ENOMEM, "server", "out of memory");
    if (rc < 0)
        pcr_log(PCR_LOG_ERROR, "server", "%s%s", err.message,
                config->file ? "" : "; give --models DIR or a CONFIG");
    pcr_arena_fini(&arena);
    return rc;
}

static size_t count_models(struct pcr_server *server) {
    struct pcr_arena arena;
    struct pcr_model_status *index;
    size_t n;
    pcr_arena_init(&arena, MODELS_BYTES_MAX);
    if (pcr_repository_index(server->repository, &arena, &index, &n) < 0)
        n = 1; // not known; nothing is said
    pcr_arena_fini(&arena);
    return n;
}

// --- one loop -----------------------------------------------------------------------------------

static void access_line(void *ctx, const struct pcr_http_access *access) {
    const struct pcr_app *app = ctx;
    struct pcr_server_loop *self = PCR_CONTAINER_OF(app, struct pcr_server_loop, app);
    pcr_access_log_add(self->access_log, access);
}

struct pcr_http_server_options pcr_server_http_options(const struct pcr_config *config,
                                                       struct pcr_server_loop *self) {
    struct pcr_http_server_options options = {
        .limits =
            {
                .header_bytes_max = config->http_header_bytes_max,
                .headers_max = config->http_headers_max,
                .target_bytes_max = config->http_target_bytes_max,
                .body_bytes_max = config->http_body_bytes_max,
                .body_memory_max = config->http_body_memory_max,
                .connections_max = config->http_connections_max,
                .connections_per_peer_max = config->http_connections_per_peer_max,
                .requests_per_connection_max = config->http_requests_per_connection_max,
                .pipelined_max = config->http_pipelined_max,
                .header_timeout_ms = config->http_header_timeout_ms,
                .idle_timeout_ms = config->http_idle_timeout_ms,
                .write_timeout_ms = config->http_write_timeout_ms,
                .body_rate_min = config->http_body_rate_min,
                .gzip_bytes_min = config->http_gzip_bytes_min,
                .gzip_level = config->http_gzip_level,
            },
        .cors = {.origins = config->cors_origins,
                 .n_origins = config->n_cors_origins,
                 .max_age_s = config->cors_max_age_s},
        .handler = pcr_app_handle,
        .body_max = pcr_app_body_max,
        .access = config->access_log ? access_line : NULL,
        .ctx = &self->app,
    };
    return options;
}

// All loops' HTTP servers are made before the first thread starts and outlive the last one.
static void sum_http_stats(const struct pcr_app *app, struct pcr_http_server_stats *out) {
    const struct pcr_server *server = PCR_CONTAINER_OF(app, struct pcr_server_loop, app)->server;
    *out = (struct pcr_http_server_stats){0};
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct pcr_http_server_stats one;
        pcr_http_server_stats(server->loops[i].http, &one);
        out->requests += one.requests;
        out->connections_open += one.connections_open;
        out->connections_total += one.connections_total;
        out->refused += one.refused;
        out->timeouts += one.timeouts;
    }
}

static int open_loop(struct pcr_server *server, unsigned index, const char *address, int *port,
                     struct pacer_error *err) {
    struct pcr_server_loop *self = &server->loops[index];
    const struct pcr_config *config = server->generation->config;
    self->server = server;
    int rc = pcr_loop_create(&self->loop, err);
    if (rc < 0)
        return rc;
    pcr_generation_ref(server->generation);
    self->app = (struct pcr_app){
        .loop = self->loop,
        .generation = server->generation,
        .repository = server->repository,
        .engine = server->engine,
        .cache = server->cache,
        .pool = server->pool,
        .server_name = config->server_name,
        .server_version = pacer_version(),
        .started_real_ns = server->started_real_ns,
        .http_stats = sum_http_stats,
        .loading = &server->loading,
        .draining = &server->draining,
    };
    self->access_log = pcr_access_log_create(self->loop); // a reload may switch it on
    if (!self->access_log)
        return pcr_err(err, PACER_ENOMEM, "server", "out of memory for the access log");
    struct pcr_http_server_options options = pcr_server_http_options(config, self);
    rc = pcr_http_server_create(self->loop, &options, &self->http, err);
    if (rc < 0)
        return rc;
    struct pcr_listener_options listen = {.address = address, .reuse_port = server->n_loops > 1};
    return pcr_http_server_listen(self->http, &listen, port, err);
}

static void close_loop(struct pcr_server_loop *self) {
    if (self->http)
        pcr_http_server_destroy(self->http);
    pcr_access_log_destroy(self->access_log);
    if (self->loop)
        pcr_loop_destroy(self->loop);
    pcr_generation_unref(self->app.generation);
}

// "127.0.0.1:0" with the port the kernel chose, so that all loops share it.
static const char *with_port(const char *address, int port, char *out, size_t out_bytes) {
    const char *colon = strrchr(address, ':');
    if (port <= 0 || !colon)
        return address;
    snprintf(out, out_bytes, "%.*s:%d", (int)(colon - address), address, port);
    return out;
}

static int open_loops(struct pcr_server *server) {
    struct pacer_error err;
    const char *address = server->generation->config->listen;
    char fixed[512];
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    if (is_unix && server->n_loops > 1) {
        pcr_log(PCR_LOG_INFO, "server", "a unix socket cannot be shared by loops: using one");
        server->n_loops = 1;
    }
    for (unsigned i = 0; i < server->n_loops; i++) {
        int got = 0;
        if (open_loop(server, i, address, &got, &err) < 0) {
            pcr_log(PCR_LOG_ERROR, "server", "%s", err.message);
            return -1;
        }
        if (i == 0) {
            server->port = got;
            address = is_unix ? address : with_port(address, got, fixed, sizeof fixed);
        }
    }
    return 0;
}

static int open_ops(struct pcr_server *server) {
    struct pcr_server_loop *self = &server->loops[0];
    const struct pcr_config *config = server->generation->config;
    struct pacer_error err;
    if (!config->ops_listen)
        return 0;
    struct pcr_http_server_options options = pcr_server_http_options(config, self);
    if (pcr_ops_open(&self->app, &options, &server->ops, &err) < 0) {
        pcr_log(PCR_LOG_ERROR, "ops", "%s", err.message);
        return -1;
    }
    char where[512];
    pcr_log(PCR_LOG_INFO, "ops", "operators are listened to on %s",
            with_port(config->ops_listen, pcr_ops_port(server->ops), where, sizeof where));
    return 0;
}

static void *loop_main(void *arg) {
    struct pcr_server_loop *self = arg;
    pcr_loop_run(self->loop);
    return NULL;
}

static int start_threads(struct pcr_server *server) {
    for (unsigned i = 1; i < server->n_loops; i++) {
        struct pcr_server_loop *self = &server->loops[i];
        if (pcr_thread_start(&self->thread, "pacer-loop", loop_main, self) != 0) {
            pcr_log(PCR_LOG_ERROR, "server", "cannot start thread %u of %u", i + 1,
                    server->n_loops);
            return -1;
        }
        self->started = true;
    }
    return 0;
}

// --- the end ------------------------------------------------------------------------------------

static void stop_here(struct pcr_mail *mail) {
    struct pcr_server_loop *self = PCR_CONTAINER_OF(mail, struct pcr_server_loop, stop_mail);
    pcr_loop_stop(self->loop);
}

static void stop_all(struct pcr_server *server) {
    pcr_engine_destroy(server->engine);
    server->engine = NULL;
    pcr_pool_destroy(server->pool);
    server->pool = NULL;
    for (unsigned i = 0; i < server->n_loops; i++) {
        server->loops[i].stop_mail.deliver = stop_here;
        pcr_loop_post(server->loops[i].loop, &server->loops[i].stop_mail);
    }
}

static void leave(void *ctx) {
    (void)ctx;
    pcr_log(
        PCR_LOG_WARN, "server",
        "ONNX Runtime is still loading a model, which cannot be interrupted: leaving without it");
    pcr_log(PCR_LOG_INFO, "server", "drained");
    pcr_log_flush(LOG_WAIT_MS);
    _Exit(PCR_SERVER_OK);
}

static void nothing(struct pcr_job *job) {
    (void)job;
}

static void on_last_job(struct pcr_job *job) { // on loop 0
    struct pcr_server *server = PCR_CONTAINER_OF(job, struct pcr_server, last_job);
    pcr_timer_stop(server->leave_timer);
    stop_all(server);
}

// No request is left, so nothing more is given to the pool: when the last job is done so are all.
static void finish_pool(struct pcr_server *server) {
    pcr_infer_stop_loading(true);
    server->last_job =
        (struct pcr_job){.loop = server->loops[0].loop, .run = nothing, .done = on_last_job};
    pcr_timer_start(server->leave_timer, POOL_WAIT_MS, 0);
    if (pcr_pool_submit(server->pool, &server->last_job) < 0) // what is queued ends at once
        on_last_job(&server->last_job);
}

static void one_drained(void *ctx) { // on loop 0
    struct pcr_server *server = ctx;
    if (++server->n_drained == server->n_loops + (server->ops ? 1 : 0))
        finish_pool(server);
}

static void on_drained_mail(struct pcr_mail *mail) { // on loop 0
    struct pcr_server_loop *self = PCR_CONTAINER_OF(mail, struct pcr_server_loop, drained_mail);
    one_drained(self->server);
}

static void on_drained(void *ctx) { // on each loop
    struct pcr_server_loop *self = ctx;
    self->drained_mail.deliver = on_drained_mail;
    pcr_loop_post(self->server->loops[0].loop, &self->drained_mail);
}

static void drain_here(struct pcr_mail *mail) {
    struct pcr_server_loop *self = PCR_CONTAINER_OF(mail, struct pcr_server_loop, drain_mail);
    struct pcr_server *server = self->server;
    uint64_t grace_ms = self->app.generation->config->drain_ms;
    if (server->ops && self == &server->loops[0])
        pcr_ops_drain(server->ops, grace_ms, one_drained, server);
    pcr_http_server_drain(self->http, grace_ms, on_drained, self);
}

static void on_terminate(void *ctx, int signum) {
    struct pcr_server *server = ctx;
    if (atomic_exchange(&server->draining, true)) {
        // Supervisors may send SIGTERM twice; a person means the second Ctrl-C.
        if (signum != SIGINT)
            return;
        pcr_log(PCR_LOG_WARN, "server", "interrupted again: leaving at once");
        pcr_log_flush(LOG_WAIT_MS);
        _Exit(128 + signum);
    }
    pcr_log(PCR_LOG_INFO, "server", "signal %d: draining, at most %llu ms", signum,
            (unsigned long long)server->generation->config->drain_ms);
    pcr_notify("STOPPING=1");
    if (server->change.running) // a load that was asked for by a request has until the drain ends
        pcr_infer_stop_loading(true);
    for (unsigned i = 0; i < server->n_loops; i++) {
        server->loops[i].drain_mail.deliver = drain_here;
        pcr_loop_post(server->loops[i].loop, &server->loops[i].drain_mail);
    }
}

static void on_hangup(void *ctx, int signum) {
    (void)signum;
    struct pcr_server *server = ctx;
    if (atomic_load(&server->draining))
        return;
    if (server->change.running)
        server->change.again = true;
    else
        pcr_change_start(server, PCR_CHANGE_RELOAD);
}

// --- putting it together ------------------------------------------------------------------------

static int watch_signals(struct pcr_server *server) {
    struct pcr_loop *loop = server->loops[0].loop;
    server->signals[0] = pcr_signal_create(loop, SIGTERM, on_terminate, server);
    server->signals[1] = pcr_signal_create(loop, SIGINT, on_terminate, server);
    server->signals[2] = pcr_signal_create(loop, SIGHUP, on_hangup, server);
    return server->signals[0] && server->signals[1] && server->signals[2] ? 0 : -1;
}

static void on_tick(void *ctx) {
    struct pcr_server *server = ctx;
    pcr_cache_tick(server->cache);
}

static int create_timers(struct pcr_server *server) {
    struct pcr_loop *loop = server->loops[0].loop;
    server->leave_timer = pcr_timer_create(loop, leave, NULL);
    server->watch_timer = pcr_timer_create(loop, pcr_server_watch_fire, server);
    server->tick_timer = pcr_timer_create(loop, on_tick, server);
    if (!server->leave_timer || !server->watch_timer || !server->tick_timer)
        return -1;
    uint64_t tick_ms = PCR_CACHE_TICK_NS / PCR_NS_PER_MS;
    pcr_timer_start(server->tick_timer, tick_ms, tick_ms);
    return 0;
}

static const char *url(const struct pcr_server *server, char *out, size_t out_bytes) {
    char address[512];
    const char *listen = server->generation->config->listen;
    const char *where = with_port(listen, server->port, address, sizeof address);
    snprintf(out, out_bytes, "%s%s", strncmp(where, "unix:", 5) == 0 ? "" : "http://", where);
    return out;
}

void pcr_server_started(struct pcr_server *server) {
    char where[560];
    const struct pcr_generation *generation = server->generation;
    if (count_models(server) == 0)
        pcr_log(PCR_LOG_WARN, "server",
                "there is no model in %s; expected NAME.onnx or NAME/VERSION/model.onnx",
                generation->config->models_dir);
    atomic_store(&server->loading, false);
    pcr_log(PCR_LOG_INFO, "server", "ready on %s: %zu decision%s, %u loop%s, %.0f ms",
            url(server, where, sizeof where), generation->n_decisions,
            generation->n_decisions == 1 ? "" : "s", server->n_loops,
            server->n_loops == 1 ? "" : "s",
            (double)(pcr_clock_mono_ns() - server->began_ns) / (double)PCR_NS_PER_MS);
    pcr_notify("READY=1");
}

// No model was served, so no answer is owed but that.
void pcr_server_not_started(struct pcr_server *server, int exit_code) {
    server->exit_code = exit_code;
    atomic_store(&server->draining, true); // a signal has nothing to end any more
    stop_all(server);
}

static void say_loading(struct pcr_server *server) {
    char where[560];
    size_t n = count_models(server);
    pcr_log(PCR_LOG_INFO, "server", "listening on %s, loading %zu model%s",
            url(server, where, sizeof where), n, n == 1 ? "" : "s");
}

static int create_workers(struct pcr_server *server, const struct pcr_config *config) {
    struct pacer_error err;
    unsigned workers = config->workers ? (unsigned)config->workers : cores();
    if (pcr_engine_create(workers, ENGINE_QUEUE_MAX, &server->engine, &err) < 0 ||
        pcr_pool_create(1, POOL_QUEUE_MAX, &server->pool, &err) < 0) {
        pcr_log(PCR_LOG_ERROR, "server", "%s", err.message);
        return -1;
    }
    return 0;
}

// Its tables are touched only once something is kept, so it is there also if nobody asks for it.
static int create_cache(struct pcr_server *server, const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_cache_options options = {
        .memory_bytes = config->cache_memory_mb << 20,
        .path = config->cache_path,
        .path_bytes_max = (uint64_t)config->cache_path_mb << 20,
        .redis_url = config->cache_redis_url,
        .redis_timeout_ms = config->cache_redis_timeout_ms,
    };
    if (pcr_cache_create(&options, &server->cache, &err) == 0)
        return PCR_SERVER_OK;
    pcr_log(PCR_LOG_ERROR, "cache", "%s", err.message);
    return err.code == PACER_EINVAL || err.code == PACER_EUNSUPPORTED ? PCR_SERVER_BAD_CONFIG
                                                                      : PCR_SERVER_FAILED;
}

// Everything up to the models: what is wrong with it is known at once.
static int begin(struct pcr_server *server, struct pcr_config *config) {
    pcr_server_configure_process(config);
    if (pcr_log_start() < 0) {
        pcr_log(PCR_LOG_ERROR, "server", "out of memory for the log");
        return PCR_SERVER_FAILED;
    }
    raise_descriptor_limit();
    server->n_loops = config->threads ? (unsigned)config->threads : cores();
    if (server->n_loops > PCR_SERVER_LOOPS_MAX) // that many cores
        server->n_loops = PCR_SERVER_LOOPS_MAX;
    if (list_models(server, config) < 0)
        return PCR_SERVER_FAILED;
    if (pcr_generation_create_loading(config, &server->generation) < 0)
        return PCR_SERVER_BAD_CONFIG;
    int code = create_cache(server, config);
    if (code != PCR_SERVER_OK)
        return code;
    if (create_workers(server, config) < 0 || open_loops(server) < 0 || open_ops(server) < 0 ||
        watch_signals(server) < 0 || create_timers(server) < 0 || start_threads(server) < 0)
        return PCR_SERVER_FAILED;
    return PCR_SERVER_OK;
}

static int start(struct pcr_server *server) {
    struct pcr_config *config = pcr_server_load_config(server->options);
    if (!config)
        return PCR_SERVER_BAD_CONFIG;
    int code = begin(server, config);
    pcr_config_unref(config); // the generation has its own reference
    if (code != PCR_SERVER_OK)
        return code;
    say_loading(server);
    return pcr_change_start(server, PCR_CHANGE_START) ? PCR_SERVER_OK : PCR_SERVER_FAILED;
}

static void finish(struct pcr_server *server) {
    for (unsigned i = 1; i < server->n_loops; i++) {
        if (!server->loops[i].started)
            continue;
        if (server->pool) // the start failed half-way: these threads were never drained
            pcr_loop_stop(server->loops[i].loop);
        pthread_join(server->loops[i].thread, NULL);
    }
    pcr_engine_destroy(server->engine);
    pcr_pool_destroy(server->pool);
    pcr_timer_destroy(server->leave_timer);
    pcr_timer_destroy(server->watch_timer);
    pcr_timer_destroy(server->tick_timer);
    pcr_ops_close(server->ops);
    pcr_cache_stop(server->cache); // before the loops, which get its last letters when they close
    for (size_t i = 0; i < PCR_COUNT_OF(server->signals); i++)
        if (server->signals[i])
            pcr_signal_destroy(server->signals[i]);
    for (unsigned i = 0; i < server->n_loops; i++)
        close_loop(&server->loops[i]);
    pcr_cache_destroy(server->cache);
    pcr_generation_unref(server->generation);
    pcr_watch_restart(&server->watch, NULL);
    if (server->repository)
        pcr_repository_close(server->repository);
    pcr_log_stop(LOG_WAIT_MS);
}

int pcr_server_run(const struct pcr_server_options *options) {
    static struct pcr_server server; // one per process: signals are the process's, too
    server.began_ns = pcr_clock_mono_ns();
    server.started_real_ns = pcr_clock_real_ns();
    server.options = options;
    pcr_infer_log_to(log_runtime);
    atomic_store(&server.loading, true);
    signal(SIGPIPE, SIG_IGN);
    hold_signals(SIG_BLOCK);
    int code = start(&server);
    if (code == PCR_SERVER_OK) {
        hold_signals(SIG_UNBLOCK);
        pcr_loop_run(server.loops[0].loop);
        hold_signals(SIG_BLOCK);
        code = server.exit_code;
        if (code == PCR_SERVER_OK)
            pcr_log(PCR_LOG_INFO, "server", "drained");
    }
    finish(&server);
    return code;
}
