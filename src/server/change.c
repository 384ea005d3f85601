// SPDX-License-Identifier: Apache-2.0
// The one way in which what is served changes: at the start, on SIGHUP, and when the watch has
// found other models.
//
// One change at a time, in one job on the pool. Models are loaded into a candidate of the
// repository, the decisions are compiled against it, a letter for each loop is written: everything
// that can fail comes first, and then models and decisions are published, or neither is. A loop
// that has taken its letter sends it back to loop 0, and when all are there the change is over: so
// "ready" and "reloaded" are true of every loop. For the moment in between a decision that has to
// do with a model it does not fit answers 503.
//
// The start is such a change, too. Until it is over the loops serve a generation that knows the
// paths of the decisions and answers that they are still being loaded.
//
// Rejected: publishing each model as soon as it is loaded. Decisions would meet models that nobody
// has held against them, and a client would see a repository that nobody has written.
#include "server/server_priv.h"

#include "server/notify.h"
#include "server/ops.h"

#include <stdlib.h>

#define MODELS_BYTES_MAX ((size_t)16 << 20)

// --- letters ------------------------------------------------------------------------------------

// One per loop and change: a loop may be slow to open the one before.
struct letter {
    struct pcr_mail mail;
    struct pcr_server_loop *to;
    struct pcr_generation *generation;
    struct letter *next; // until it is posted
};

static void part_done(struct pcr_server *server);

static void letter_back(struct pcr_mail *mail) { // on loop 0
    struct letter *letter = PCR_CONTAINER_OF(mail, struct letter, mail);
    struct pcr_server *server = letter->to->server;
    free(letter);
    part_done(server);
}

static void swap_here(struct pcr_mail *mail) { // on each loop
    struct letter *letter = PCR_CONTAINER_OF(mail, struct letter, mail);
    struct pcr_server_loop *self = letter->to;
    struct pcr_generation *old = self->app.generation;
    const struct pcr_config *config = letter->generation->config;
    struct pcr_http_server_options options = pcr_server_http_options(config, self);
    self->app.generation = letter->generation; // with the letter's reference
    self->app.server_name = config->server_name;
    pcr_http_server_configure(self->http, &options);
    if (self->server->ops && self == &self->server->loops[0])
        pcr_ops_configure(self->server->ops, &options);
    pcr_generation_unref(old); // only now: the options before were borrowed from it
    letter->mail.deliver = letter_back;
    pcr_loop_post(self->server->loops[0].loop, &letter->mail);
}

static void tear_letters(struct letter *letters) {
    while (letters) {
        struct letter *next = letters->next;
        free(letters);
        letters = next;
    }
}

// A letter for each loop, or NULL.
static struct letter *write_letters(struct pcr_server *server) {
    struct letter *letters = NULL;
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct letter *letter = malloc(sizeof *letter);
        if (!letter) {
            tear_letters(letters);
            return NULL;
        }
        *letter = (struct letter){{NULL, swap_here}, &server->loops[i], NULL, letters};
        letters = letter;
    }
    return letters;
}

static void post_letters(struct letter *letters, struct pcr_generation *generation) {
    while (letters) {
        struct letter *letter = letters;
        letters = letter->next; // once posted it is the loop's
        pcr_generation_ref(generation);
        letter->generation = generation;
        pcr_loop_post(letter->to->loop, &letter->mail);
    }
}

// --- on the worker ------------------------------------------------------------------------------

static bool http_options_pass(struct pcr_server *server, const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_http_server_options options = pcr_server_http_options(config, &server->loops[0]);
    if (pcr_http_options_check(&options, &err) == 0)
        return true;
    pcr_log(PCR_LOG_ERROR, "config", "%s", err.message);
    return false;
}

static struct pcr_repository *prepare_models(struct pcr_server *server) {
    struct pacer_error err;
    struct pcr_repository *candidate = NULL;
    struct pcr_repository_options options;
    struct pcr_arena arena;
    pcr_arena_init(&arena, MODELS_BYTES_MAX);
    int rc = pcr_err(&err, PACER_ENOMEM, "server", "out of memory");
    if (pcr_server_models(server->change.config, &arena, &options)) {
        if (server->change.kind == PCR_CHANGE_WATCH) {
            options.retry = pcr_server_watch_retry;
            options.retry_ctx = server;
        }
        rc = pcr_repository_prepare(server->repository, &options, &candidate, &err);
    }
    pcr_arena_fini(&arena);
    if (rc < 0 && rc != PACER_ECANCELED)
        pcr_log(PCR_LOG_ERROR, "server", "%s", err.message);
    return candidate;
}

// A generation of the change's configuration that fits `models`, or NULL.
static struct pcr_generation *make_generation(struct pcr_server *server,
                                              struct pcr_repository *models) {
    struct pcr_config *config = server->change.config;
    struct pcr_generation *generation = NULL;
    if (http_options_pass(server, config))
        pcr_generation_create(config, models, &generation);
    return generation;
}

static enum pcr_change_outcome make(struct pcr_server *server) {
    struct pcr_change *change = &server->change;
    change->exit_code = PCR_SERVER_FAILED;
    struct pcr_repository *models = prepare_models(server);
    if (!models)
        return PCR_CHANGE_REFUSED;
    if (change->kind == PCR_CHANGE_WATCH && !pcr_repository_differs(server->repository, models)) {
        pcr_repository_discard(server->repository, models);
        return PCR_CHANGE_NEEDLESS;
    }
    struct pcr_generation *generation = make_generation(server, models);
    struct letter *letters = generation ? write_letters(server) : NULL;
    if (!letters) {
        if (!generation)
            change->exit_code = PCR_SERVER_BAD_CONFIG;
        else
            pcr_log(PCR_LOG_ERROR, "server", "out of memory");
        pcr_generation_unref(generation);
        pcr_repository_discard(server->repository, models);
        return PCR_CHANGE_REFUSED;
    }
    change->made = generation;
    pcr_repository_publish(server->repository, models);
    post_letters(letters, generation);
    return PCR_CHANGE_MADE;
}

// The configuration that was refused may have been at fault for the models that were not taken: so
// the watch begins anew only where all was well.
static enum pcr_change_outcome reload(struct pcr_server *server) {
    struct pcr_change *change = &server->change;
    change->config = pcr_server_load_config(server->options);
    if (!change->config)
        return PCR_CHANGE_REFUSED;
    struct pcr_listing *listing = pcr_server_watch_list(change->config);
    enum pcr_change_outcome outcome = make(server);
    if (outcome == PCR_CHANGE_MADE)
        pcr_watch_restart(&server->watch, listing);
    else
        pcr_listing_destroy(listing);
    return outcome;
}

static enum pcr_change_outcome look(struct pcr_server *server) {
    struct pcr_change *change = &server->change;
    change->looked = pcr_server_watch_look(server, change->config);
    if (!change->looked)
        return PCR_CHANGE_NEEDLESS;
    enum pcr_change_outcome outcome = make(server);
    pcr_watch_take(&server->watch); // also what was refused: not again until it changes
    return outcome;
}

// glibc makes the heap of a thread other than the first usable page by page, a system call each,
// but what was usable once stays so. A model is hundreds of pages: at the start that is a
// millisecond, which a few larger pieces, untouched and given back, save.
static void widen_heap(void) {
    enum { PIECES = 24, PIECE_BYTES = 100 << 10 };
    void *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = malloc(PIECE_BYTES);
    for (size_t i = PIECES; i-- > 0;)
        free(pieces[i]);
}

static void on_worker(struct pcr_job *job) {
    struct pcr_change *change = PCR_CONTAINER_OF(job, struct pcr_change, job);
    struct pcr_server *server = PCR_CONTAINER_OF(change, struct pcr_server, change);
    if (change->kind == PCR_CHANGE_START)
        widen_heap();
    change->outcome = change->kind == PCR_CHANGE_START    ? make(server)
                      : change->kind == PCR_CHANGE_RELOAD ? reload(server)
                                                          : look(server);
}

// --- on loop 0 ----------------------------------------------------------------------------------

// What a reload cannot change while sockets and threads are up: said, not silently ignored.
static void warn_of_restart(void *ctx, const char *key) {
    (void)ctx;
    pcr_log(PCR_LOG_WARN, "config",
            "'%s' changed: the server keeps the one it was started with until a restart", key);
}

static void take_generation(struct pcr_server *server, struct pcr_generation *generation) {
    pcr_config_compare(server->generation->config, generation->config, warn_of_restart, NULL);
    pcr_server_configure_process(generation->config);
    pcr_generation_unref(server->generation);
    server->generation = generation; // takes the creator's reference
}

static void say_reload(enum pcr_change_outcome outcome) {
    if (outcome == PCR_CHANGE_MADE)
        pcr_log(PCR_LOG_INFO, "server", "reloaded");
    else
        pcr_log(PCR_LOG_ERROR, "server", "not reloaded: what ran before goes on unchanged");
    pcr_notify("READY=1");
}

static void say_watch(enum pcr_change_outcome outcome) {
    if (outcome == PCR_CHANGE_MADE)
        pcr_log(PCR_LOG_INFO, "server", "changed models are served");
    else if (outcome == PCR_CHANGE_NEEDLESS)
        pcr_log(PCR_LOG_INFO, "server", "no model has changed");
    else
        pcr_log(PCR_LOG_ERROR, "server",
                "changed models are not served: what ran before goes on unchanged");
}

static void tell(struct pcr_server *server) {
    const struct pcr_change *change = &server->change;
    if (change->kind == PCR_CHANGE_RELOAD)
        say_reload(change->outcome);
    else if (change->kind == PCR_CHANGE_WATCH && change->looked)
        say_watch(change->outcome);
    else if (change->kind == PCR_CHANGE_START && change->outcome == PCR_CHANGE_MADE)
        pcr_server_started(server);
    else if (change->kind == PCR_CHANGE_START)
        pcr_server_not_started(server, change->exit_code);
}

static void over(struct pcr_server *server) {
    struct pcr_change *change = &server->change;
    change->running = false;
    pcr_config_unref(change->config);
    change->config = NULL;
    if (change->outcome == PCR_CHANGE_MADE)
        take_generation(server, change->made);
    if (!atomic_load(
            &server->draining)) // else nobody cares any more; READY=1 would undo STOPPING=1
        tell(server);
    if (atomic_load(&server->draining))
        return;
    bool again = change->again;
    change->again = false;
    if (!again || !pcr_change_start(server, PCR_CHANGE_RELOAD))
        pcr_server_watch(server);
}

static void part_done(struct pcr_server *server) {
    PCR_ASSERT(server->change.left > 0);
    if (--server->change.left == 0)
        over(server);
}

static void on_done(struct pcr_job *job) {
    struct pcr_change *change = PCR_CONTAINER_OF(job, struct pcr_change, job);
    struct pcr_server *server = PCR_CONTAINER_OF(change, struct pcr_server, change);
    if (change->outcome != PCR_CHANGE_MADE)
        change->left = 1; // no letters were posted
    part_done(server);
}

bool pcr_change_start(struct pcr_server *server, enum pcr_change_kind kind) {
    struct pcr_change *change = &server->change;
    PCR_ASSERT(!change->running);
    if (kind == PCR_CHANGE_RELOAD)
        pcr_notify_reloading();
    else
        pcr_config_ref(server->generation->config);
    *change = (struct pcr_change){
        .job = {.loop = server->loops[0].loop, .run = on_worker, .done = on_done},
        .kind = kind,
        .running = true,
        .config = kind == PCR_CHANGE_RELOAD ? NULL : server->generation->config,
        .left = server->n_loops + 1,
    };
    if (pcr_pool_submit(server->pool, &change->job) == 0)
        return true;
    change->running = false;
    pcr_config_unref(change->config);
    change->config = NULL;
    if (kind == PCR_CHANGE_RELOAD) {
        pcr_log(PCR_LOG_ERROR, "server",
                "not reloaded: too much work is queued; send SIGHUP again");
        pcr_notify("READY=1");
    }
    return false;
}
