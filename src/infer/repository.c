// SPDX-License-Identifier: Apache-2.0
// The model repository: which models there are,
// and a reference to one of them in a few dozen nanoseconds.
//
// Readers (requests on the loops) see an immutable snapshot: entries sorted by name and version. A
// change makes a new snapshot that shares the unchanged entries and swaps the pointer; one mutex
// orders the writers, who load models while they hold it, and no reader ever takes it.
//
// A reader must not use a snapshot that a writer frees. So it first shows which snapshot it uses in
// a slot of a small array (a hazard pointer), looks up, takes a reference to the model and clears
// the slot. Ordering: the reader stores the slot, then reads the snapshot pointer again; the writer
// swaps the pointer, then reads the slots; all four are sequentially consistent. If the reader's
// second look still saw the old pointer, its store came before the swap in the single total order,
// so the writer's scan sees the slot and waits until it is cleared. Otherwise the reader saw the
// new pointer and starts over with it. A writer waits only for lookups (no reader blocks while it
// holds a slot), and readers never wait for a writer. A slot is claimed by compare-and-swap from
// the one the thread's hint names, so threads come and go without registering, and each loop in
// effect has its own cache line.
//
// A new file never takes the place of a good model before it is loaded and warmed up, and not at
// all if that fails: then the old version goes on serving and the index gives the reason.
//
// Another look at the whole directory makes a candidate: a second repository that shares the
// entries which did not change. Whoever wants to know what would become of the decisions asks the
// candidate, and then it is published in one swap, or thrown away as if it had never been.
//
// Rejected: a reader-writer lock (its count is one cache line for all loops, and a waiting writer
// stops readers), and per-loop copies handed round by mailbox (models would be freed only when the
// slowest loop has looked).
#include "infer/repository_priv.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CACHE_LINE 64
#define READER_SLOTS 64
#define SCAN_BYTES_MAX (64u << 20)

struct entry { // immutable but for `refs`, which the writers' mutex guards
    size_t refs;
    char *name;
    char *version;
    uint64_t number;
    enum pcr_model_state state;
    char *reason;
    struct pcr_model *model; // one reference, or NULL
};

struct snapshot {
    size_t n;
    struct entry *entries[]; // by name, then by version
};

struct reader_slot {
    _Alignas(2 * CACHE_LINE) _Atomic(struct snapshot *) used;
};

struct pcr_repository {
    struct reader_slot readers[READER_SLOTS];
    _Alignas(2 * CACHE_LINE) _Atomic(struct snapshot *) current;
    pthread_mutex_t writers;
    struct pcr_reaper *reaper; // of a candidate: the one of its repository
    struct pcr_arena arena;    // the options
    const char *dir;
    const struct pcr_model_config *configs;
    size_t n_configs;
    int intra_op_threads;
    bool (*retry)(void *ctx, const char *path); // of a candidate
    void *retry_ctx;
    // What pcr_repository_list found, until it is loaded.
    struct pcr_arena listed_arena;
    const struct pcr_found *listed;
};

// --- entries and snapshots: writers only --------------------------------------------------------
static void entry_unref(struct entry *entry) {
    if (!entry || --entry->refs > 0)
        return;
    pcr_model_unref(entry->model);
    free(entry->name);
    free(entry->version);
    free(entry->reason);
    free(entry);
}

// Takes over the reference to `model`. NULL when memory is out.
static struct entry *entry_create(const char *name, const char *version, uint64_t number,
                                  enum pcr_model_state state, const char *reason,
                                  struct pcr_model *model) {
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry) {
        pcr_model_unref(model);
        return NULL;
    }
    *entry = (struct entry){.refs = 1,
                            .name = strdup(name),
                            .version = strdup(version),
                            .number = number,
                            .state = state,
                            .reason = strdup(reason),
                            .model = model};
    if (entry->name && entry->version && entry->reason)
        return entry;
    entry_unref(entry);
    return NULL;
}

static int compare(const struct entry *entry, struct pcr_str name, uint64_t number) {
    size_t n = strlen(entry->name);
    size_t shared = n < name.len ? n : name.len;
    int order = shared > 0 ? memcmp(entry->name, name.ptr, shared) : 0;
    if (order == 0 && n != name.len)
        order = n < name.len ? -1 : 1;
    if (order == 0)
        order = entry->number < number ? -1 : entry->number > number;
    return order;
}

// The first entry that is not before (name, number).
static size_t lower_bound(const struct snapshot *s, struct pcr_str name, uint64_t number) {
    size_t low = 0;
    size_t high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(s->entries[middle], name, number) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct snapshot *s, const char *name, uint64_t number) {
    size_t i = lower_bound(s, pcr_str(name), number);
    return i < s->n && compare(s->entries[i], pcr_str(name), number) == 0 ? s->entries[i] : NULL;
}

static struct snapshot *snapshot_alloc(size_t n) {
    struct snapshot *s = malloc(sizeof *s + n * sizeof(struct entry *));
    if (s)
        s->n = 0;
    return s;
}

static void snapshot_destroy(struct snapshot *s) {
    for (size_t i = 0; s && i < s->n; i++)
        entry_unref(s->entries[i]);
    free(s);
}

// Swaps the snapshot and frees the old one when no reader uses it any more.
static void publish(struct pcr_repository *r, struct snapshot *next) {
    struct snapshot *old = atomic_exchange(&r->current, next);
    for (size_t i = 0; i < READER_SLOTS; i++)
        while (atomic_load(&r->readers[i].used) == old)
            sched_yield();
    snapshot_destroy(old);
}

static struct snapshot *now(struct pcr_repository *r) {
    return atomic_load(&r->current);
}

// Puts `entry` in the place of the one with its name and version, or takes that one out if `entry`
// is NULL. Takes over the reference.
static int replace(struct pcr_repository *r, const char *name, uint64_t number, struct entry *entry,
                   struct pacer_error *err) {
    const struct snapshot *old = now(r);
    struct snapshot *next = snapshot_alloc(old->n + 1);
    if (!next) {
        entry_unref(entry);
        return pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    }
    size_t at = lower_bound(old, pcr_str(name), number);
    PCR_ASSERT(at <= old->n);
    for (size_t i = 0; i < old->n; i++) {
        if (i == at && entry)
            next->entries[next->n++] = entry;
        if (i == at && compare(old->entries[i], pcr_str(name), number) == 0)
            continue;
        old->entries[i]->refs++;
        next->entries[next->n++] = old->entries[i];
    }
    if (at == old->n && entry)
        next->entries[next->n++] = entry;
    publish(r, next);
    return 0;
}

static int set(struct pcr_repository *r, const struct pcr_found *found, enum pcr_model_state state,
               const char *reason, struct pcr_model *model, struct pacer_error *err) {
    struct entry *entry =
        entry_create(found->name, found->version, found->number, state, reason, model);
    if (!entry)
        return pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    return replace(r, found->name, found->number, entry, err);
}

// --- loading ------------------------------------------------------------------------------------
static const struct pcr_model_config *config_of(const struct pcr_repository *r, const char *name) {
    for (size_t i = 0; i < r->n_configs; i++)
        if (strcmp(r->configs[i].name, name) == 0)
            return &r->configs[i];
    return NULL;
}

static int make_model(const struct pcr_repository *r, const struct pcr_found *found,
                      struct pcr_model **out, struct pacer_error *err) {
    if (found->fault)
        return pcr_err(err, PACER_EMODEL, "repository", "%s", found->fault);
    const struct pcr_model_config *config = config_of(r, found->name);
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.intra_op_threads = r->intra_op_threads;
    if (config && config->intra_op_threads > 0)
        options.intra_op_threads = config->intra_op_threads;
    options.use_quantized = config && config->use_quantized;
    struct pacer_session *session = NULL;
    int code = pacer_session_get(found->path, &options, &session, err);
    return code < 0 ? code : pcr_model_create(found, config, session, r->reaper, out, err);
}

static bool is_same(const struct pcr_model *a, const struct pcr_model *b) {
    return a && b && a->session == b->session && a->max_batch_size == b->max_batch_size &&
           a->dynamic_batching == b->dynamic_batching &&
           a->max_batch_size_is_set == b->max_batch_size_is_set &&
           a->config.merging == b->config.merging && a->config.instances == b->config.instances &&
           a->config.queue_max == b->config.queue_max &&
           a->config.max_wait_ns == b->config.max_wait_ns &&
           a->config.timeout_ns == b->config.timeout_ns && a->config.keep_ns == b->config.keep_ns &&
           a->config.keep_stale_ns == b->config.keep_stale_ns &&
           a->config.keep_on_error_ns == b->config.keep_on_error_ns;
}

// Keeps what served before, if anything did.
static int note_failure(struct pcr_repository *r, const struct pcr_found *found,
                        const struct entry *old, const struct pacer_error *fault) {
    struct pcr_model *before = old ? old->model : NULL;
    char reason[sizeof fault->message + 64];
    snprintf(reason, sizeof reason, "%s%s",
             before ? "the file that is there now was refused: " : "", fault->message);
    if (!r->retry || !old || strcmp(old->reason, reason) != 0)
        pcr_log(PCR_LOG_ERROR, "repository", "model '%s' version %s: %s%s", found->name,
                found->version, fault->message,
                before ? "; the one loaded before goes on serving" : "");
    if (before)
        pcr_model_ref(before);
    return set(r, found, before ? PCR_MODEL_READY : PCR_MODEL_FAILED, reason, before, NULL);
}

static int load_found(struct pcr_repository *r, const struct pcr_found *found,
                      struct pacer_error *err) {
    struct entry *old = find(now(r), found->name, found->number);
    if (old)
        old->refs++; // it may be replaced
    struct pcr_model *before = old ? old->model : NULL;
    bool was_clean = old && old->state == PCR_MODEL_READY && !*old->reason;
    if (!before && !(old && old->state == PCR_MODEL_LOADING))
        set(r, found, PCR_MODEL_LOADING, "", NULL, NULL);
    struct pacer_error fault = {0};
    struct pcr_model *model = NULL;
    int code = make_model(r, found, &model, &fault);
    if (code < 0) {
        if (code != PACER_ECANCELED) // else nobody will ask for it any more
            note_failure(r, found, old, &fault);
        if (err)
            *err = fault;
    } else if (is_same(before, model) && was_clean) {
        pcr_model_unref(model); // nothing changed: statistics go on
    } else if (is_same(before, model)) {
        pcr_model_unref(model);
        pcr_model_ref(before);
        code = set(r, found, PCR_MODEL_READY, "", before, err);
    } else {
        PCR_ASSERT(model);
        pcr_log(PCR_LOG_INFO, "repository", "model '%s' version %s is ready (%s)", found->name,
                found->version, model->content_hash);
        code = set(r, found, PCR_MODEL_READY, "", model, err);
    }
    entry_unref(old);
    return code;
}

static bool is_found(const struct pcr_found *found, const struct entry *entry) {
    for (; found; found = found->next)
        if (found->number == entry->number && strcmp(found->name, entry->name) == 0)
            return true;
    return false;
}

// Takes out what is not there any more; `only` may be NULL.
static void drop_vanished(struct pcr_repository *r, const struct pcr_found *found,
                          const char *only) {
    for (size_t i = 0; i < now(r)->n;) {
        const struct entry *entry = now(r)->entries[i];
        if ((only && strcmp(entry->name, only) != 0) || is_found(found, entry)) {
            i++;
            continue;
        }
        if (entry->model)
            pcr_log(PCR_LOG_INFO, "repository", "model '%s' version %s is gone", entry->name,
                    entry->version);
        char *name = strdup(entry->name); // the entry goes with the snapshot
        int code = name ? replace(r, name, entry->number, NULL, NULL) : PACER_ENOMEM;
        free(name);
        if (code < 0)
            return; // out of memory: it stays until the next look
    }
}

// A model the configuration names must be there.
static void note_missing(struct pcr_repository *r) {
    for (size_t i = 0; i < r->n_configs; i++) {
        const char *name = r->configs[i].name;
        PCR_ASSERT(name);
        const struct snapshot *s = now(r);
        size_t at = lower_bound(s, pcr_str(name), 0);
        if (at < s->n && strcmp(s->entries[at]->name, name) == 0)
            continue;
        char reason[512];
        snprintf(reason, sizeof reason,
                 "the configuration names it, but there is neither %s/%.64s.onnx nor "
                 "%.64s/VERSION/model.onnx",
                 r->dir, name, name);
        pcr_log(PCR_LOG_ERROR, "repository", "model '%s': %s", name, reason);
        struct pcr_found missing = {.name = name, .version = "", .number = UINT64_MAX};
        set(r, &missing, PCR_MODEL_FAILED, reason, NULL, NULL);
    }
}

// On request: only a request loads it again, or another version that has come since.
static bool was_unloaded(struct pcr_repository *r, const struct pcr_found *found) {
    const struct snapshot *s = now(r);
    for (size_t i = lower_bound(s, pcr_str(found->name), 0);
         i < s->n && strcmp(s->entries[i]->name, found->name) == 0; i++)
        if (s->entries[i]->state == PCR_MODEL_UNLOADED)
            return true;
    return false;
}

static bool is_hopeless(struct pcr_repository *r, const struct pcr_found *found) {
    const struct entry *entry = find(now(r), found->name, found->number);
    return entry && *entry->reason && r->retry && !r->retry(r->retry_ctx, found->path);
}

// Loads what is new or changed, and takes out what is gone.
static int load_all(struct pcr_repository *r, const struct pcr_found *found,
                    struct pacer_error *err) {
    for (const struct pcr_found *f = found; f; f = f->next)
        if (!was_unloaded(r, f) && !is_hopeless(r, f) && load_found(r, f, err) == PACER_ECANCELED)
            return PACER_ECANCELED;
    drop_vanished(r, found, NULL);
    note_missing(r);
    return 0;
}

// Looks at the directory and loads what is new or changed.
static int scan(struct pcr_repository *r, struct pacer_error *err) {
    struct pcr_arena arena;
    struct pcr_found *found = NULL;
    pcr_arena_init(&arena, SCAN_BYTES_MAX);
    int code = pcr_layout_scan(r->dir, NULL, &arena, &found, err);
    if (code == 0)
        code = load_all(r, found, err);
    pcr_arena_fini(&arena);
    return code;
}

static int unknown(struct pacer_error *err, struct pcr_str name) {
    return pcr_err(err, PACER_ENOTFOUND, "repository",
                   "Request for unknown model: '%.*s' is not found",
                   name.len > 256 ? 256 : (int)name.len, name.ptr);
}

int pcr_repository_load(struct pcr_repository *r, struct pcr_str name, struct pacer_error *err) {
    if (!pcr_model_name_ok(name))
        return unknown(err, name);
    struct pcr_arena arena;
    struct pcr_found *found = NULL;
    pcr_arena_init(&arena, SCAN_BYTES_MAX);
    const char *only = pcr_arena_dup(&arena, name);
    if (!only) {
        pcr_arena_fini(&arena);
        return pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    }
    pthread_mutex_lock(&r->writers);
    int code = pcr_layout_scan(r->dir, only, &arena, &found, err);
    if (code == 0 && !found)
        code = unknown(err, name);
    if (code < 0) // the list may lack versions that are there
        found = NULL;
    for (const struct pcr_found *f = found; f; f = f->next) {
        struct pacer_error fault = {0};
        int one = load_found(r, f, &fault);
        if (one < 0 && code == 0) {
            code = one == PACER_ENOTFOUND ? PACER_EMODEL : one;
            if (err) {
                *err = fault;
                pcr_err_prefix(err, code, "failed to load '%s'", only);
                err->code = code;
            }
        }
    }
    if (found)
        drop_vanished(r, found, only);
    pthread_mutex_unlock(&r->writers);
    pcr_arena_fini(&arena);
    return code;
}

int pcr_repository_unload(struct pcr_repository *r, struct pcr_str name, struct pacer_error *err) {
    pthread_mutex_lock(&r->writers);
    size_t i = lower_bound(now(r), name, 0);
    int code = i < now(r)->n && pcr_str_eq(pcr_str(now(r)->entries[i]->name), name)
                   ? 0
                   : unknown(err, name);
    for (; code == 0 && i < now(r)->n && pcr_str_eq(pcr_str(now(r)->entries[i]->name), name); i++) {
        const struct entry *old = now(r)->entries[i];
        struct entry *entry = entry_create(old->name, old->version, old->number, PCR_MODEL_UNLOADED,
                                           "unloaded", NULL);
        code = entry ? replace(r, entry->name, entry->number, entry, err)
                     : pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    }
    pthread_mutex_unlock(&r->writers);
    return code;
}

// --- reading ------------------------------------------------------------------------------------
// The snapshot, kept alive until leave(*slot).
static struct snapshot *enter(struct pcr_repository *r, struct reader_slot **slot) {
    struct snapshot *s;
    for (unsigned i = pcr_thread_hint();; i++) {
        struct snapshot *none = NULL;
        s = now(r);
        *slot = &r->readers[i % READER_SLOTS];
        if (atomic_compare_exchange_strong(&(*slot)->used, &none, s))
            break;
    }
    for (struct snapshot *again; (again = now(r)) != s; s = again)
        atomic_store(&(*slot)->used, again);
    return s;
}

static void leave(struct reader_slot *slot) {
    // Release: the lookup is over before the writer sees the slot empty.
    atomic_store_explicit(&slot->used, NULL, memory_order_release);
}

static struct pcr_model *not_there(struct pacer_error *err, struct pcr_str name,
                                   struct pcr_str version, const struct entry *known) {
    int n = name.len > 200 ? 200 : (int)name.len;
    int v = version.len > 20 ? 20 : (int)version.len;
    if (known && known->state == PCR_MODEL_LOADING)
        pcr_err(err, PACER_EBUSY, "repository", "model '%.*s' is still being loaded; try again", n,
                name.ptr);
    else if (known)
        pcr_err(err, PACER_EBUSY, "repository", "model '%.*s' is not ready: %s", n, name.ptr,
                known->reason);
    else if (version.len)
        pcr_err(err, PACER_ENOTFOUND, "repository",
                "Request for unknown model: '%.*s' version %.*s is not found", n, name.ptr, v,
                version.ptr);
    else
        unknown(err, name);
    return NULL;
}

struct pcr_model *pcr_repository_get(struct pcr_repository *r, struct pcr_str name,
                                     struct pcr_str version, struct pacer_error *err) {
    struct reader_slot *slot;
    const struct snapshot *s = enter(r, &slot);
    const struct entry *known = NULL;
    struct pcr_model *model = NULL;
    for (size_t i = lower_bound(s, name, 0); i < s->n; i++) {
        const struct entry *entry = s->entries[i];
        if (!pcr_str_eq(pcr_str(entry->name), name))
            break;
        if (version.len && !pcr_str_eq(pcr_str(entry->version), version))
            continue;
        known = entry;
        model = entry->model ? entry->model : model; // the highest that is ready
    }
    if (model)
        pcr_model_ref(model);
    else
        not_there(err, name, version, known);
    leave(slot);
    return model;
}

bool pcr_repository_unloaded(struct pcr_repository *r, struct pcr_str name,
                             struct pcr_str version) {
    struct reader_slot *slot;
    const struct snapshot *s = enter(r, &slot);
    bool unloaded = false;
    for (size_t i = lower_bound(s, name, 0); i < s->n && !unloaded; i++) {
        const struct entry *entry = s->entries[i];
        if (!pcr_str_eq(pcr_str(entry->name), name))
            break;
        unloaded = entry->state == PCR_MODEL_UNLOADED &&
                   (!version.len || pcr_str_eq(pcr_str(entry->version), version));
    }
    leave(slot);
    return unloaded;
}

int pcr_repository_index(struct pcr_repository *r, struct pcr_arena *arena,
                         struct pcr_model_status **out, size_t *n) {
    struct reader_slot *slot;
    const struct snapshot *s = enter(r, &slot);
    struct pcr_model_status *lines = pcr_arena_calloc(arena, s->n + 1, sizeof *lines);
    bool whole = lines != NULL;
    for (size_t i = 0; i < s->n && whole; i++) {
        const struct entry *entry = s->entries[i];
        lines[i] =
            (struct pcr_model_status){.name = pcr_arena_dup(arena, pcr_str(entry->name)),
                                      .version = pcr_arena_dup(arena, pcr_str(entry->version)),
                                      .state = entry->state,
                                      .reason = pcr_arena_dup(arena, pcr_str(entry->reason))};
        whole = lines[i].name && lines[i].version && lines[i].reason;
    }
    *out = lines;
    *n = s->n;
    leave(slot);
    return whole ? 0 : PACER_ENOMEM;
}

bool pcr_repository_ready(struct pcr_repository *r) {
    struct reader_slot *slot;
    const struct snapshot *s = enter(r, &slot);
    bool ready = true;
    for (size_t i = 0; i < s->n && ready; i++)
        ready =
            s->entries[i]->state == PCR_MODEL_READY || s->entries[i]->state == PCR_MODEL_UNLOADED;
    leave(slot);
    return ready;
}

// --- opening and closing ------------------------------------------------------------------------
static int copy_options(struct pcr_repository *r, const struct pcr_repository_options *options,
                        struct pacer_error *err) {
    struct pcr_model_config *configs =
        pcr_arena_calloc(&r->arena, options->n_models + 1, sizeof *configs);
    r->dir = pcr_arena_dup(&r->arena, pcr_str(options->models_dir));
    bool whole = configs && r->dir;
    for (size_t i = 0; i < options->n_models && whole; i++) {
        configs[i] = options->models[i];
        configs[i].name = pcr_arena_dup(&r->arena, pcr_str(options->models[i].name));
        whole = configs[i].name != NULL;
    }
    r->configs = configs;
    r->n_configs = options->n_models;
    r->intra_op_threads = options->intra_op_threads > 0 ? options->intra_op_threads : 1;
    r->retry = options->retry;
    r->retry_ctx = options->retry_ctx;
    return whole ? 0 : pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
}

static void dispose(struct pcr_repository *r) {
    if (!r)
        return;
    snapshot_destroy(now(r));
    pcr_reaper_unref(r->reaper);
    pcr_arena_fini(&r->arena);
    pcr_arena_fini(&r->listed_arena);
    pthread_mutex_destroy(&r->writers);
    free(r);
}

// Takes over the references to `first` and `reaper`, also where it fails.
static struct pcr_repository *create(const struct pcr_repository_options *options,
                                     struct snapshot *first, struct pcr_reaper *reaper,
                                     struct pacer_error *err) {
    struct pcr_repository *r =
        first && reaper ? aligned_alloc((size_t)2 * CACHE_LINE, sizeof *r) : NULL;
    if (!r) {
        snapshot_destroy(first);
        pcr_reaper_unref(reaper);
        pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
        return NULL;
    }
    memset(r, 0, sizeof *r);
    r->reaper = reaper;
    pthread_mutex_init(&r->writers, NULL);
    pcr_arena_init(&r->arena, SCAN_BYTES_MAX);
    pcr_arena_init(&r->listed_arena, SCAN_BYTES_MAX);
    atomic_store(&r->current, first);
    if (copy_options(r, options, err) == 0)
        return r;
    dispose(r);
    return NULL;
}

int pcr_repository_open(const struct pcr_repository_options *options, struct pcr_repository **out,
                        struct pacer_error *err) {
    *out = NULL;
    struct pcr_repository *r = create(options, snapshot_alloc(0), pcr_reaper_create(), err);
    if (!r)
        return PACER_ENOMEM;
    int code = scan(r, err);
    if (code < 0)
        pcr_repository_close(r);
    else
        *out = r;
    return code;
}

static int by_name(const void *a, const void *b) {
    const struct entry *x = *(struct entry *const *)a;
    const struct entry *y = *(struct entry *const *)b;
    return compare(x, pcr_str(y->name), y->number);
}

// The first snapshot of a repository that is only listed.
static int list(struct pcr_repository *r, struct pacer_error *err) {
    struct pcr_found *found = NULL;
    int code = pcr_layout_scan(r->dir, NULL, &r->listed_arena, &found, err);
    if (code < 0)
        return code;
    size_t n = 0;
    for (const struct pcr_found *f = found; f; f = f->next)
        n++;
    struct snapshot *s = snapshot_alloc(n);
    for (const struct pcr_found *f = found; f && s; f = f->next) {
        struct entry *entry =
            entry_create(f->name, f->version, f->number, PCR_MODEL_LOADING, "", NULL);
        if (entry) {
            s->entries[s->n++] = entry;
        } else {
            snapshot_destroy(s);
            s = NULL;
        }
    }
    if (!s)
        return pcr_err(err, PACER_ENOMEM, "repository", "out of memory");
    qsort(s->entries, s->n, sizeof(struct entry *), by_name);
    publish(r, s);
    r->listed = found;
    return 0;
}

int pcr_repository_list(const struct pcr_repository_options *options, struct pcr_repository **out,
                        struct pacer_error *err) {
    *out = NULL;
    struct pcr_repository *r = create(options, snapshot_alloc(0), pcr_reaper_create(), err);
    if (!r)
        return PACER_ENOMEM;
    int code = list(r, err);
    if (code < 0)
        pcr_repository_close(r);
    else
        *out = r;
    return code;
}

void pcr_repository_close(struct pcr_repository *r) {
    if (r)
        pcr_reaper_stop(r->reaper);
    dispose(r);
}

// --- another look at the directory --------------------------------------------------------------
static struct snapshot *snapshot_copy(const struct snapshot *from) {
    struct snapshot *s = snapshot_alloc(from->n);
    for (size_t i = 0; s && i < from->n; i++) {
        from->entries[i]->refs++;
        s->entries[s->n++] = from->entries[i];
    }
    return s;
}

int pcr_repository_prepare(struct pcr_repository *r, const struct pcr_repository_options *options,
                           struct pcr_repository **candidate, struct pacer_error *err) {
    *candidate = NULL;
    pthread_mutex_lock(&r->writers); // until the candidate is published or discarded
    struct pcr_repository *next =
        create(options, snapshot_copy(now(r)), pcr_reaper_ref(r->reaper), err);
    int code = !next ? PACER_ENOMEM : r->listed ? load_all(next, r->listed, err) : scan(next, err);
    r->listed = NULL;
    pcr_arena_fini(&r->listed_arena);
    if (code < 0)
        pcr_repository_discard(r, next);
    else
        *candidate = next;
    return code;
}

bool pcr_repository_differs(struct pcr_repository *r, struct pcr_repository *candidate) {
    const struct snapshot *a = now(r);
    const struct snapshot *b = now(candidate);
    bool same = a->n == b->n;
    for (size_t i = 0; i < a->n && same; i++)
        same = a->entries[i] == b->entries[i];
    return !same;
}

void pcr_repository_publish(struct pcr_repository *r, struct pcr_repository *candidate) {
    struct pcr_arena old = r->arena; // the options' memory
    r->arena = candidate->arena;
    r->dir = candidate->dir;
    r->configs = candidate->configs;
    r->n_configs = candidate->n_configs;
    r->intra_op_threads = candidate->intra_op_threads;
    candidate->arena = old;
    publish(r, atomic_exchange(&candidate->current, NULL));
    pcr_repository_discard(r, candidate);
}

void pcr_repository_discard(struct pcr_repository *r, struct pcr_repository *candidate) {
    dispose(candidate); // under the mutex: it may share entries with `r`
    pthread_mutex_unlock(&r->writers);
}
