// SPDX-License-Identifier: Apache-2.0
// Watching the models' files: the timer, and what is said of them. What a change is, is
// infer/watch.c's to tell; what becomes of it, change.c's.
//
// Rejected: inotify. It says nothing on network file systems and little on the volumes of
// containers, it needs a watch per directory, and what it says still has to be held against the
// time that a copy takes. A look costs a stat per file, on a worker.
#include "server/server_priv.h"

#define SAID_MAX 5         // files of a change by name
#define RESTLESS_LOOKS 100 // in a row

void pcr_server_watch(struct pcr_server *server) {
    uint64_t every_ms = server->generation->config->watch_models_ms;
    if (every_ms)
        pcr_timer_start(server->watch_timer, every_ms, 0);
    else
        pcr_timer_stop(server->watch_timer);
}

void pcr_server_watch_fire(void *ctx) {
    struct pcr_server *server = ctx;
    if (atomic_load(&server->draining) || server->change.running)
        return; // the end of the change sets the timer again
    if (!pcr_change_start(server, PCR_CHANGE_WATCH))
        pcr_server_watch(server);
}

struct pcr_listing *pcr_server_watch_list(const struct pcr_config *config) {
    struct pcr_listing *listing = NULL;
    if (config->watch_models_ms)
        pcr_listing_create(config->models_dir, &listing, NULL); // the load says what is wrong
    return listing;
}

struct saying {
    struct pcr_buf text;
    size_t n;
};

static void say_file(void *ctx, enum pcr_file_change change, const char *path) {
    static const char *const words[] = {
        [PCR_FILE_NEW] = "is new", [PCR_FILE_CHANGED] = "changed", [PCR_FILE_GONE] = "is gone"};
    struct saying *saying = ctx;
    if (saying->n++ < SAID_MAX)
        pcr_buf_printf(&saying->text, "%s%s %s", saying->n > 1 ? ", " : "", path, words[change]);
}

static void say_change(const struct pcr_watch *watch, const struct pcr_config *config) {
    struct saying saying = {.n = 0};
    pcr_buf_init(&saying.text, 64 << 10);
    pcr_listing_compare(watch->taken, watch->seen, say_file, &saying);
    if (saying.n > SAID_MAX)
        pcr_buf_printf(&saying.text, " and %zu more", saying.n - SAID_MAX);
    struct pcr_str text = pcr_buf_view(&saying.text);
    pcr_log(PCR_LOG_INFO, "server", "%s: %.*s", config->models_dir, PCR_STR_ARG(text));
    pcr_buf_fini(&saying.text);
}

bool pcr_server_watch_look(struct pcr_server *server, const struct pcr_config *config) {
    struct pacer_error err;
    struct pcr_listing *now;
    if (pcr_listing_create(config->models_dir, &now, &err) < 0) {
        if (!server->watch_failed)
            pcr_log(PCR_LOG_WARN, "server", "%s; what is loaded goes on serving", err.message);
        server->watch_failed = true;
        return false;
    }
    server->watch_failed = false;
    enum pcr_watch_state state = pcr_watch_look(&server->watch, now);
    if (state == PCR_WATCH_SETTLED)
        say_change(&server->watch, config);
    if (server->watch.moves == RESTLESS_LOOKS)
        pcr_log(PCR_LOG_WARN, "server",
                "%s: files changed at each of %d looks, %s lastly; changes are taken over when all "
                "files stay the same from one look to the next",
                config->models_dir, RESTLESS_LOOKS, server->watch.moved);
    return state == PCR_WATCH_SETTLED;
}

bool pcr_server_watch_retry(void *ctx, const char *path) {
    const struct pcr_server *server = ctx;
    const char *dir = server->change.config->models_dir;
    if (strncmp(path, dir, strlen(dir)) == 0)
        path += strlen(dir);
    return pcr_watch_touches(&server->watch, path + strspn(path, "/"));
}
