// SPDX-License-Identifier: Apache-2.0
// The configuration as plain data. It is made once,
// immutable afterwards, and replaced whole on reload.
//
// Every key is one row of options.def, from which parser, --help, man page, docs/configuration.md,
// the annotated sample file and the shell completion are made. The only room that sees libyaml.
#ifndef PCR_CONFIG_H
#define PCR_CONFIG_H

#include "base/base.h"

#include <stdatomic.h>

struct pcr_config_feature {
    const char *name;
    bool has_baseline;
    double baseline;   // overrides the model's own metadata
    double round;      // its value is rounded to a multiple of this; 0: it is not
    const char *label; // how the summary calls it; NULL: the name with underscores as spaces
    int line;
};
struct pcr_config_action { // class → action
    const char *label;
    const char *action;
    int line;
};
struct pcr_config_limit { // value of a dotted request field, times, clamped
    const char *name;
    const char *field;
    double times;
    bool has_min, has_max;
    double min, max;
    int line;
};
struct pcr_config_place { // in the file, 1-based; 0: not known
    int line, column;
};
struct pcr_config_decision {
    const char *path;
    const char *model;
    const char *model_version; // NULL: the highest
    struct pcr_config_feature *features;
    size_t n_features;
    struct pcr_config_action *actions;
    size_t n_actions;
    const char **classes; // the model's, in the order of its columns; none: as the model says
    size_t n_classes;
    double min_confidence;
    const char *fallback_action; // NULL only if min_confidence is 0
    struct pcr_config_limit *limits;
    size_t n_limits;
    const char *contract; // path of the schema: absolute, or resolved here beside the file
    int max_factors;      // most factors in an answer
    struct pcr_config_place model_at, features_at, actions_at, classes_at,
        contract_at; // their values
    int line;
    bool faulty; // something in it could not be read; only where parts were asked for
};
struct pcr_config_model {
    const char *name;
    bool use_quantized;
    int intra_op_threads;             // 0: the default
    int max_batch_size;               // 0: not said
    const char *merge;                // "auto", "on", "off"
    int instances;                    // 0: one per worker
    int max_queue;                    // 0: the default
    uint64_t max_wait_ms, timeout_ms; // 0: none
    // cache: {…}; ttl 0: answers are not kept
    uint64_t cache_ttl_s, cache_stale_while_revalidate_s, cache_stale_if_error_s;
    int line;
};

struct pcr_config {
    const char *file; // NULL: defaults and flags only
    // top-level keys, one field per row of options.def
    const char *listen;
    const char *ops_listen; // NULL: none; else there is a token
    const char *ops_token;
    const char *models_dir;
    uint64_t watch_models_ms; // 0: never
    const char *server_name;
    int threads; // loops; 0: one per core
    int workers; // threads for dear models; 0: one per core
    const char *log_level, *log_format;
    bool access_log;
    uint64_t drain_ms, request_timeout_ms;
    size_t run_memory_max; // 0: no limit
    // http: {…}
    size_t http_header_bytes_max, http_headers_max, http_target_bytes_max, http_body_bytes_max,
        http_body_memory_max, http_connections_max, http_connections_per_peer_max,
        http_requests_per_connection_max, http_pipelined_max, http_gzip_bytes_min,
        http_body_rate_min;
    uint64_t http_header_timeout_ms, http_idle_timeout_ms, http_write_timeout_ms;
    int http_gzip_level;
    // cors: {…}
    const char **cors_origins;
    size_t n_cors_origins;
    uint64_t cors_max_age_s;
    // cache: {…}
    size_t cache_memory_mb, cache_path_mb;
    const char *cache_path, *cache_redis_url; // NULL: none
    uint64_t cache_redis_timeout_ms;
    const char *cache_tenant_header; // NULL: none

    struct pcr_config_decision *decisions;
    size_t n_decisions;
    struct pcr_config_model *models;
    size_t n_models;

    atomic_uint refs;
    struct pcr_arena arena; // owns all of it
};

#define PCR_CONFIG_FAULTS_MAX 100
// What `check` refuses is what `serve` and the rooms that use a setting refuse:
// they take these, too.
#define PCR_CONFIG_THREADS_MAX 256
#define PCR_CONFIG_FEATURES_MAX 256
#define PCR_CONFIG_ACTIONS_MAX 256
#define PCR_CONFIG_LIMITS_MAX 64

// One thing wrong with a configuration.
struct pcr_config_fault {
    const char *file;    // or "command line"
    int line, column;    // 1-based; 0: not known
    const char *message; // what was wrong, what was expected, what to do
};
struct pcr_config_faults { // in the caller's memory; at most PCR_CONFIG_FAULTS_MAX are kept
    struct pcr_arena arena;
    struct pcr_config_fault *list;
    size_t n;
    size_t dropped;
};

// Loads a file (NULL: defaults only) and the command line's overrides ("listen" → "127.0.0.1:0", in
// the order given) into a new configuration; all faults are collected before it gives up. 0, or
// PACER_EINVAL/ENOTFOUND/EIO with at least one fault. ${NAME} and ${NAME:-default} in values are
// environment variables; no fault shows what they hold.
struct pcr_config_override {
    const char *key; // dotted: "http.body_bytes_max"
    const char *value;
    const char *flag; // for messages: "--listen"
};
int pcr_config_load(const char *path, const struct pcr_config_override *overrides,
                    size_t n_overrides, struct pcr_config **out, struct pcr_config_faults *faults);
// The same, but *out is there also after PACER_EINVAL if the file could be read at all: what is not
// faulty in it is as it says, the rest has its defaults. For looking at it, not for serving.
int pcr_config_load_parts(const char *path, const struct pcr_config_override *overrides,
                          size_t n_overrides, struct pcr_config **out,
                          struct pcr_config_faults *faults);
// Made with one reference; the last one given back frees it. Any thread.
void pcr_config_ref(struct pcr_config *config);
void pcr_config_unref(struct pcr_config *config); // NULL is fine
// Calls `changed` with the key ("threads") of every setting in which
// the two differ and which a reload cannot apply (`restart` in its row).
typedef void (*pcr_config_changed_cb)(void *ctx, const char *key);
void pcr_config_compare(const struct pcr_config *a, const struct pcr_config *b,
                        pcr_config_changed_cb changed, void *ctx);
void pcr_config_faults_init(struct pcr_config_faults *faults);
void pcr_config_faults_fini(struct pcr_config_faults *faults);
// Adds a fault that others found (a model that does not load); both texts are copied, control
// characters in the message become '?'. Counted as dropped when there is no room.
void pcr_config_faults_add(struct pcr_config_faults *faults, const char *file, int line, int column,
                           const char *message);
// By line, keeping the order of what is on one line.
void pcr_config_faults_sort(struct pcr_config_faults *faults);

#endif
