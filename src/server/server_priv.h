// SPDX-License-Identifier: Apache-2.0
// What server.c (the life of the process), change.c (what is served changes) and watch.c (because
// files did) share.
#ifndef PCR_SERVER_PRIV_H
#define PCR_SERVER_PRIV_H

#include "server/access_log.h"
#include "server/app.h"
#include "server/generation.h"
#include "server/server.h"

#include <pthread.h>

#define PCR_SERVER_LOOPS_MAX PCR_CONFIG_THREADS_MAX

struct pcr_server;

struct pcr_server_loop {
    struct pcr_server *server;
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

enum pcr_change_kind {
    PCR_CHANGE_START,  // the models and decisions of the configuration the server started with
    PCR_CHANGE_RELOAD, // SIGHUP: configuration and models anew
    PCR_CHANGE_WATCH,  // a look at the models' files, and if they changed: models anew
};
enum pcr_change_outcome { PCR_CHANGE_REFUSED, PCR_CHANGE_NEEDLESS, PCR_CHANGE_MADE };

struct pcr_change { // the one under way; loop 0's but for the job's `run`
    struct pcr_job job;
    enum pcr_change_kind kind;
    bool running;
    bool again;                // a SIGHUP that came meanwhile
    struct pcr_config *config; // one reference
    enum pcr_change_outcome outcome;
    struct pcr_generation *made; // of PCR_CHANGE_MADE
    int exit_code;               // of a start that was refused
    bool looked;                 // the watch found that files have changed
    unsigned left;               // loops that have not taken it, and the job itself
};

struct pcr_server {
    const struct pcr_server_options *options;
    struct pcr_generation *generation; // the main thread's reference to the one in force
    struct pcr_repository *repository;
    struct pcr_engine *engine;
    struct pcr_cache *cache;
    struct pcr_ops *ops;          // NULL: none
    struct pcr_timer *tick_timer; // loop 0's, for the cache's figures
    struct pcr_pool *pool;
    struct pcr_server_loop loops[PCR_SERVER_LOOPS_MAX];
    unsigned n_loops, n_drained;
    atomic_bool loading; // the start is not over
    atomic_bool draining;
    struct pcr_signal *signals[3];
    uint64_t began_ns, started_real_ns;
    int port, exit_code;
    struct pcr_change change;
    struct pcr_job last_job; // of the pool
    struct pcr_timer *leave_timer;
    // What lies in models_dir. The timer is loop 0's, the rest the change's.
    struct pcr_timer *watch_timer;
    struct pcr_watch watch;
    bool watch_failed; // said already
};

// --- server.c -----------------------------------------------------------------------------------
// NULL after all faults have been logged.
struct pcr_config *pcr_server_load_config(const struct pcr_server_options *options);
// What holds for the whole process, not for a loop or a generation.
void pcr_server_configure_process(const struct pcr_config *config);
struct pcr_http_server_options pcr_server_http_options(const struct pcr_config *config,
                                                       struct pcr_server_loop *self);
// The start is over, well, or with the exit code of the process. On loop 0.
void pcr_server_started(struct pcr_server *server);
void pcr_server_not_started(struct pcr_server *server, int exit_code);

// --- change.c -----------------------------------------------------------------------------------
// On loop 0, while none is running; false if the pool has no room.
bool pcr_change_start(struct pcr_server *server, enum pcr_change_kind kind);

// --- watch.c ------------------------------------------------------------------------------------
// Sets the time of the next look, if the configuration in force wants one. On loop 0.
void pcr_server_watch(struct pcr_server *server);
void pcr_server_watch_fire(void *server); // of watch_timer
// What is there before it is loaded, to begin the watch with; NULL if it is not to be watched.
struct pcr_listing *pcr_server_watch_list(const struct pcr_config *config);
// On a worker: whether files have changed and come to rest; says which.
bool pcr_server_watch_look(struct pcr_server *server, const struct pcr_config *config);
// pcr_repository_options.retry: whether what changed has to do with the model at this path.
bool pcr_server_watch_retry(void *server, const char *path);

#endif
