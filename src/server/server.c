// SPDX-License-Identifier: Apache-2.0
// The life of the server: one loop per core, each on its own thread with its own HTTP server and
// listening socket; loop 0 runs on the main thread and has the signals.
//
// What the loops share is immutable and reference-counted (struct pcr_generation) or safe for many
// threads by itself (repository, engine). A reload makes a whole new generation on a worker and
// posts it to every loop; a request that runs meanwhile keeps the generation it began with. So no
// request ever sees half of a change, and a configuration with a fault changes nothing.
//
// The end: each loop drains by itself and reports to loop 0; when all have, the engine is joined
// first, so that every answer it owes is in a mailbox, and then each loop gets a letter that stops
// it, which is behind those answers.
//
// Rejected: a process per core (gunicorn's way). It would load each model once per core, and a
// cache could not be shared without another process.
#include "server/server.h"

#include "server/access_log.h"
#include "server/generation.h"
#include "server/notify.h"

#include <pacer/pacer.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LOOPS_MAX PCR_CONFIG_THREADS_MAX
#define LOG_WAIT_MS 1000 // at the end, for whoever reads the log
#define POOL_QUEUE_MAX 256
#define ENGINE_QUEUE_MAX 4096
#define MODELS_BYTES_MAX ((size_t)16 << 20)

struct server;

struct server_loop {
    struct server *server;
    struct pcr_loop *loop;
    struct pcr_http_server *http;
    struct pcr_access_log *access_log;
    struct pcr_app app;
    pthread_t thread; // not for loop 0
    bool started;
    // Letters to this loop, each used once at a time.
    struct pcr_mail drain_mail, stop_mail;
    // From this loop to loop 0.
    struct pcr_mail drained_mail;
};

struct server {
    const struct pcr_server_options *options;
    struct pcr_generation *generation; // the main thread's reference to the one in force
    struct pcr_repository *repository;
    struct pcr_engine *engine;
    struct pcr_pool *pool;
    struct server_loop loops[LOOPS_MAX];
    unsigned n_loops, n_drained;
    atomic_bool draining;
    struct pcr_signal *signals[3];
    uint64_t started_real_ns;
    // A reload under way: `again` remembers a SIGHUP that came meanwhile.
    struct {
        struct pcr_job job;
        bool running, again;
        struct pcr_generation *made; // NULL: refused
    } reload;
};

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

// ONNX Runtime's own words, of loading and of runs that fail; the latter come per request.
static void log_runtime(enum pcr_log_level level, const char *message) {
    (void)level; // mostly a value of some client: nothing that is wrong here
    PCR_LOG_PER_REQUEST(PCR_LOG_WARN, "onnxruntime", "%s", message);
}

// --- loading ------------------------------------------------------------------------------------

static struct pcr_config *load_config(const struct pcr_server_options *options) {
    struct pcr_config_faults faults;
    struct pcr_config *config = NULL;
    pcr_config_faults_init(&faults);
    if (pcr_config_load(options->config_file, options->overrides, options->n_overrides, &config,
                        &faults) < 0)
        pcr_generation_log_faults(&faults);
    pcr_config_faults_fini(&faults);
    return config;
}

static int open_repository(struct server *server, const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_repository_options options;
    struct pcr_arena arena;
    pcr_arena_init(&arena, MODELS_BYTES_MAX);
    int rc = pcr_server_models(config, &arena, &options)
                 ? pcr_repository_open(&options, &server->repository, &err)
                 : pcr_err(&err, PACER_ENOMEM, "server", "out of memory");
    if (rc < 0) {
        pcr_log(PCR_LOG_ERROR, "server", "%s%s", err.message,
                config->file ? "" : "; give --models DIR or a CONFIG");
    } else {
        struct pcr_model_status *index;
        size_t n;
        if (pcr_repository_index(server->repository, &arena, &index, &n) == 0 && n == 0)
            pcr_log(PCR_LOG_WARN, "server",
                    "there is no model in %s; expected NAME.onnx or NAME/VERSION/model.onnx",
                    config->models_dir);
    }
    pcr_arena_fini(&arena);
    return rc;
}

// --- one loop -----------------------------------------------------------------------------------

static void access_line(void *ctx, const struct pcr_http_access *access) {
    const struct pcr_app *app = ctx;
    struct server_loop *self = PCR_CONTAINER_OF(app, struct server_loop, app);
    pcr_access_log_add(self->access_log, access);
}

static struct pcr_http_server_options http_options(const struct pcr_config *config,
                                                   struct server_loop *self) {
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
    const struct server *server = PCR_CONTAINER_OF(app, struct server_loop, app)->server;
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

static int open_loop(struct server *server, unsigned index, const char *address, int *port,
                     struct pacer_error *err) {
    struct server_loop *self = &server->loops[index];
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
        .pool = server->pool,
        .server_name = config->server_name,
        .server_version = pacer_version(),
        .started_real_ns = server->started_real_ns,
        .http_stats = sum_http_stats,
        .draining = &server->draining,
    };
    self->access_log = pcr_access_log_create(self->loop); // a reload may switch it on
    if (!self->access_log)
        return pcr_err(err, PACER_ENOMEM, "server", "out of memory for the access log");
    struct pcr_http_server_options options = http_options(config, self);
    rc = pcr_http_server_create(self->loop, &options, &self->http, err);
    if (rc < 0)
        return rc;
    struct pcr_listener_options listen = {.address = address, .reuse_port = server->n_loops > 1};
    return pcr_http_server_listen(self->http, &listen, port, err);
}

static void close_loop(struct server_loop *self) {
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

static int open_loops(struct server *server, int *port) {
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
            *port = got;
            address = is_unix ? address : with_port(address, got, fixed, sizeof fixed);
        }
    }
    return 0;
}

static void *loop_main(void *arg) {
    struct server_loop *self = arg;
    pcr_loop_run(self->loop);
    return NULL;
}

static int start_threads(struct server *server) {
    for (unsigned i = 1; i < server->n_loops; i++) {
        struct server_loop *self = &server->loops[i];
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
    struct server_loop *self = PCR_CONTAINER_OF(mail, struct server_loop, stop_mail);
    pcr_loop_stop(self->loop);
}

static void stop_all(struct server *server) {
    pcr_engine_destroy(server->engine);
    server->engine = NULL;
    pcr_pool_destroy(server->pool);
    server->pool = NULL;
    for (unsigned i = 0; i < server->n_loops; i++) {
        server->loops[i].stop_mail.deliver = stop_here;
        pcr_loop_post(server->loops[i].loop, &server->loops[i].stop_mail);
    }
}

static void on_drained_mail(struct pcr_mail *mail) { // on loop 0
    struct server_loop *self = PCR_CONTAINER_OF(mail, struct server_loop, drained_mail);
    if (++self->server->n_drained == self->server->n_loops)
        stop_all(self->server);
}

static void on_drained(void *ctx) { // on each loop
    struct server_loop *self = ctx;
    self->drained_mail.deliver = on_drained_mail;
    pcr_loop_post(self->server->loops[0].loop, &self->drained_mail);
}

static void drain_here(struct pcr_mail *mail) {
    struct server_loop *self = PCR_CONTAINER_OF(mail, struct server_loop, drain_mail);
    pcr_http_server_drain(self->http, self->app.generation->config->drain_ms, on_drained, self);
}

static void on_terminate(void *ctx, int signum) {
    struct server *server = ctx;
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
    for (unsigned i = 0; i < server->n_loops; i++) {
        server->loops[i].drain_mail.deliver = drain_here;
        pcr_loop_post(server->loops[i].loop, &server->loops[i].drain_mail);
    }
}

// --- reload -------------------------------------------------------------------------------------

static void start_reload(struct server *server);

// One letter per loop and reload: a loop may be slow to open the one before.
struct swap_letter {
    struct pcr_mail mail;
    struct server_loop *to;
    struct pcr_generation *generation;
    struct swap_letter *next; // until it is posted
};

static void swap_here(struct pcr_mail *mail) { // on each loop
    struct swap_letter *letter = PCR_CONTAINER_OF(mail, struct swap_letter, mail);
    struct server_loop *self = letter->to;
    struct pcr_generation *old = self->app.generation;
    const struct pcr_config *config = letter->generation->config;
    struct pcr_http_server_options options = http_options(config, self);
    self->app.generation = letter->generation; // with the letter's reference
    self->app.server_name = config->server_name;
    pcr_http_server_configure(self->http, &options);
    pcr_generation_unref(old); // only now: the options before were borrowed from it
    free(letter);
}

static void tear_letters(struct swap_letter *letters) {
    while (letters) {
        struct swap_letter *next = letters->next;
        free(letters);
        letters = next;
    }
}

// Everything that can fail is done before anything changes: a letter for each loop, or NULL.
static struct swap_letter *write_letters(struct server *server) {
    struct swap_letter *letters = NULL;
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct swap_letter *letter = malloc(sizeof *letter);
        if (!letter) {
            tear_letters(letters);
            return NULL;
        }
        *letter = (struct swap_letter){{NULL, swap_here}, &server->loops[i], NULL, letters};
        letters = letter;
    }
    return letters;
}

static void post_letters(struct swap_letter *letters, struct pcr_generation *generation) {
    while (letters) {
        struct swap_letter *letter = letters;
        letters = letter->next; // once posted it is the loop's
        pcr_generation_ref(generation);
        letter->generation = generation;
        pcr_loop_post(letter->to->loop, &letter->mail);
    }
}

// What a reload cannot change while sockets and threads are up: said, not silently ignored.
static void warn_of_restart(void *ctx, const char *key) {
    (void)ctx;
    pcr_log(PCR_LOG_WARN, "config",
            "'%s' changed: the server keeps the one it was started with until a restart", key);
}

static bool http_options_pass(const struct pcr_config *config, struct server_loop *self) {
    struct pacer_error err;
    struct pcr_http_server_options options = http_options(config, self);
    if (pcr_http_options_check(&options, &err) == 0)
        return true;
    pcr_log(PCR_LOG_ERROR, "config", "%s", err.message);
    return false;
}

// A generation that fits `models`, or NULL; takes over the configuration.
static struct pcr_generation *make_generation(struct server *server, struct pcr_config *config,
                                              struct pcr_repository *models) {
    struct pcr_generation *generation = NULL;
    if (!http_options_pass(config, &server->loops[0]) ||
        pcr_generation_create(config, models, &generation) < 0)
        pcr_config_destroy(config);
    return generation;
}

static struct pcr_repository *prepare_models(struct server *server,
                                             const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_repository *candidate = NULL;
    struct pcr_repository_options options;
    struct pcr_arena arena;
    pcr_arena_init(&arena, MODELS_BYTES_MAX);
    int rc = pcr_server_models(config, &arena, &options)
                 ? pcr_repository_prepare(server->repository, &options, &candidate, &err)
                 : pcr_err(&err, PACER_ENOMEM, "server", "out of memory");
    pcr_arena_fini(&arena);
    if (rc < 0)
        pcr_log(PCR_LOG_ERROR, "server", "%s", err.message);
    return candidate;
}

// Makes models and generation, and publishes both or neither. The loops take the generation a
// moment later than the models; a decision that has to do with a model it does not fit answers 503.
static void reload_on_worker(struct pcr_job *job) {
    struct server *server = PCR_CONTAINER_OF(job, struct server, reload.job);
    server->reload.made = NULL;
    struct pcr_config *config = load_config(server->options);
    if (!config)
        return;
    struct pcr_repository *models = prepare_models(server, config);
    if (!models) {
        pcr_config_destroy(config);
        return;
    }
    struct pcr_generation *generation = make_generation(server, config, models);
    struct swap_letter *letters = generation ? write_letters(server) : NULL;
    if (generation && !letters) {
        pcr_log(PCR_LOG_ERROR, "server", "out of memory");
        pcr_generation_unref(generation);
        generation = NULL;
    }
    if (!generation) {
        pcr_repository_discard(server->repository, models);
        return;
    }
    pcr_repository_publish(server->repository, models);
    post_letters(letters, generation);
    server->reload.made = generation;
}

static void take_generation(struct server *server, struct pcr_generation *generation) {
    pcr_config_compare(server->generation->config, generation->config, warn_of_restart, NULL);
    configure_log(generation->config);
    pcr_generation_unref(server->generation);
    server->generation = generation; // takes the creator's reference
}

static void reload_done(struct pcr_job *job) { // on loop 0
    struct server *server = PCR_CONTAINER_OF(job, struct server, reload.job);
    server->reload.running = false;
    if (server->reload.made) {
        take_generation(server, server->reload.made);
        pcr_log(PCR_LOG_INFO, "server", "reloaded");
    } else {
        pcr_log(PCR_LOG_ERROR, "server", "not reloaded: what ran before goes on unchanged");
    }
    if (!atomic_load(&server->draining)) // READY=1 would take STOPPING=1 back
        pcr_notify("READY=1");
    if (server->reload.again && !atomic_load(&server->draining)) {
        server->reload.again = false;
        start_reload(server);
    }
}

static void start_reload(struct server *server) {
    pcr_notify_reloading();
    server->reload.running = true;
    server->reload.job = (struct pcr_job){
        .loop = server->loops[0].loop, .run = reload_on_worker, .done = reload_done};
    if (pcr_pool_submit(server->pool, &server->reload.job) < 0) {
        server->reload.running = false;
        pcr_log(PCR_LOG_ERROR, "server",
                "not reloaded: too much work is queued; send SIGHUP again");
        pcr_notify("READY=1");
    }
}

static void on_hangup(void *ctx, int signum) {
    (void)signum;
    struct server *server = ctx;
    if (atomic_load(&server->draining))
        return;
    if (server->reload.running)
        server->reload.again = true;
    else
        start_reload(server);
}

// --- putting it together ------------------------------------------------------------------------

static int watch_signals(struct server *server) {
    struct pcr_loop *loop = server->loops[0].loop;
    server->signals[0] = pcr_signal_create(loop, SIGTERM, on_terminate, server);
    server->signals[1] = pcr_signal_create(loop, SIGINT, on_terminate, server);
    server->signals[2] = pcr_signal_create(loop, SIGHUP, on_hangup, server);
    return server->signals[0] && server->signals[1] && server->signals[2] ? 0 : -1;
}

static void say_ready(const struct server *server, int port, uint64_t began_ns) {
    const struct pcr_config *config = server->generation->config;
    char address[512];
    const char *where = with_port(config->listen, port, address, sizeof address);
    const char *scheme = strncmp(where, "unix:", 5) == 0 ? "" : "http://";
    pcr_log(PCR_LOG_INFO, "server", "ready on %s%s: %zu decision%s, %u loop%s, %.0f ms", scheme,
            where, server->generation->n_decisions, server->generation->n_decisions == 1 ? "" : "s",
            server->n_loops, server->n_loops == 1 ? "" : "s",
            (double)(pcr_clock_mono_ns() - began_ns) / (double)PCR_NS_PER_MS);
    pcr_notify("READY=1");
}

static int create_workers(struct server *server, const struct pcr_config *config) {
    struct pacer_error err;
    unsigned workers = config->workers ? (unsigned)config->workers : cores();
    if (pcr_engine_create(workers, ENGINE_QUEUE_MAX, &server->engine, &err) < 0 ||
        pcr_pool_create(1, POOL_QUEUE_MAX, &server->pool, &err) < 0) {
        pcr_log(PCR_LOG_ERROR, "server", "%s", err.message);
        return -1;
    }
    return 0;
}

static int start(struct server *server, uint64_t began_ns) {
    struct pcr_config *config = load_config(server->options);
    if (!config)
        return PCR_SERVER_BAD_CONFIG;
    configure_log(config);
    if (pcr_log_start() < 0) {
        pcr_log(PCR_LOG_ERROR, "server", "out of memory for the log");
        pcr_config_destroy(config);
        return PCR_SERVER_FAILED;
    }
    raise_descriptor_limit();
    server->n_loops = config->threads ? (unsigned)config->threads : cores();
    if (server->n_loops > LOOPS_MAX) // that many cores
        server->n_loops = LOOPS_MAX;
    if (open_repository(server, config) < 0) {
        pcr_config_destroy(config);
        return PCR_SERVER_FAILED;
    }
    if (pcr_generation_create(config, server->repository, &server->generation) < 0) {
        pcr_config_destroy(config);
        return PCR_SERVER_BAD_CONFIG;
    }
    int port = 0;
    if (create_workers(server, config) < 0 || open_loops(server, &port) < 0 ||
        watch_signals(server) < 0 || start_threads(server) < 0)
        return PCR_SERVER_FAILED;
    say_ready(server, port, began_ns);
    return PCR_SERVER_OK;
}

static void finish(struct server *server) {
    for (unsigned i = 1; i < server->n_loops; i++) {
        if (!server->loops[i].started)
            continue;
        if (server->pool) // the start failed half-way: these threads were never drained
            pcr_loop_stop(server->loops[i].loop);
        pthread_join(server->loops[i].thread, NULL);
    }
    pcr_engine_destroy(server->engine);
    pcr_pool_destroy(server->pool);
    for (size_t i = 0; i < PCR_COUNT_OF(server->signals); i++)
        if (server->signals[i])
            pcr_signal_destroy(server->signals[i]);
    for (unsigned i = 0; i < server->n_loops; i++)
        close_loop(&server->loops[i]);
    pcr_generation_unref(server->generation);
    if (server->repository)
        pcr_repository_close(server->repository);
    pcr_log_stop(LOG_WAIT_MS);
}

int pcr_server_run(const struct pcr_server_options *options) {
    static struct server server; // one per process: signals are the process's, too
    uint64_t began_ns = pcr_clock_mono_ns();
    server.started_real_ns = pcr_clock_real_ns();
    server.options = options;
    pcr_infer_log_to(log_runtime);
    signal(SIGPIPE, SIG_IGN);
    hold_signals(SIG_BLOCK);
    int code = start(&server, began_ns);
    if (code == PCR_SERVER_OK) {
        hold_signals(SIG_UNBLOCK);
        pcr_loop_run(server.loops[0].loop);
        hold_signals(SIG_BLOCK);
        pcr_log(PCR_LOG_INFO, "server", "drained");
    }
    finish(&server);
    return code;
}
