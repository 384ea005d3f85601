// SPDX-License-Identifier: Apache-2.0
// The registry: one session per file, options and content,
// however many ask and however many ask at once.
//
// The key is the resolved path, the folder it was asked for in, the options and the identity of the
// file (device, inode, size, modification time; of a quantized variant that of its source, too), so
// a changed file is a new key and the old session lives on until its users give it back. The first
// to ask for a key loads; the others wait for that load and share its result or its error. One
// mutex guards it all: getting a session is control-plane work, running one does not come here.
//
// Rejected: a negative cache. A failed entry leaves the map at once, so the next one to ask tries
// again; the file may have been mended without a visible change (its external data, say).
#include "infer/session_priv.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_BYTES (2 * PATH_MAX + 512)

enum entry_state { LOADING, LOADED, FAILED };

struct pcr_session_entry {
    char *key;
    size_t refs; // users of the session and waiters for it
    enum entry_state state;
    struct pacer_session *session;
    struct pacer_error error;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t loaded = PTHREAD_COND_INITIALIZER;
static struct pcr_map entries;
static atomic_bool stopping; // the process ends: nothing is loaded any more

void pcr_infer_stop_loading(bool stop) {
    atomic_store_explicit(&stopping, stop, memory_order_relaxed);
}

int pcr_session_may_load(struct pacer_error *err) {
    if (!atomic_load_explicit(&stopping, memory_order_relaxed))
        return 0;
    return pcr_err(err, PACER_ECANCELED, "session", "the process is ending; nothing is loaded");
}

// What is asked for, worked out.
struct request {
    char path[PATH_MAX];   // of the file, links resolved
    char folder[PATH_MAX]; // of the path as given, links resolved
    char key[KEY_BYTES];
    struct pacer_session_options options;
    bool is_quantized;
    char source[PATH_MAX]; // of a quantized variant: the model it was made from; "" if it is not
                           // there
};

static int name_error(struct pacer_error *err, const char *path) {
    int code = errno == ENOENT || errno == ENOTDIR ? PACER_ENOTFOUND : PACER_EIO;
    return pcr_err(err, code, "session", "%s: %s", path, strerror(errno));
}

// NAME.int8.onnx for NAME.onnx; false if the path has no such ending.
static bool quantized_path(const char *path, char out[PATH_MAX]) {
    struct pcr_str p = pcr_str(path);
    if (!pcr_str_ends_with(p, PCR_STR(".onnx")) || pcr_str_ends_with(p, PCR_STR(".int8.onnx")))
        return false;
    int n = snprintf(out, PATH_MAX, "%.*s.int8.onnx", (int)(p.len - 5), path);
    return n > 0 && n < PATH_MAX;
}

int pcr_folder_of(const char *path, char out[PATH_MAX], struct pacer_error *err) {
    char folder[PATH_MAX];
    if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder) {
        errno = ENAMETOOLONG;
        return name_error(err, path);
    }
    char *slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else if (slash == folder)
        slash[1] = '\0';
    else
        *slash = '\0';
    return realpath(folder, out) ? 0 : name_error(err, folder);
}

static int add_identity(struct request *request, const char *path, struct pacer_error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return name_error(err, path);
    size_t used = strlen(request->key);
    int n = snprintf(request->key + used, sizeof request->key - used, "\n%llx %llx %llx %llx %lx",
                     (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
                     (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec,
                     (unsigned long)st.st_mtim.tv_nsec);
    PCR_ASSERT(n > 0 && (size_t)n < sizeof request->key - used);
    return 0;
}

// A quantized variant is held against its source when it is loaded, so that one's identity counts.
static int make_key(struct request *request, struct pacer_error *err) {
    const struct pacer_session_options *o = &request->options;
    int n = snprintf(request->key, sizeof request->key, "%s\n%s\n%d %d %d", request->path,
                     request->folder, o->allow_spinning, o->intra_op_threads, o->skip_warm_up);
    PCR_ASSERT(n > 0 && (size_t)n < sizeof request->key);
    int code = add_identity(request, request->path, err);
    return code == 0 && *request->source ? add_identity(request, request->source, err) : code;
}

static int make_request(struct request *request, const char *path,
                        const struct pacer_session_options *options, struct pacer_error *err) {
    static const struct pacer_session_options defaults = PACER_SESSION_OPTIONS_INIT;
    request->options = defaults;
    if (options && options->size > sizeof *options)
        return pcr_err(err, PACER_EINVAL, "session",
                       "the options are of a newer libpacer than this");
    if (options) // an older caller's are shorter
        memcpy(&request->options, options, options->size);
    if (request->options.intra_op_threads <= 0)
        request->options.intra_op_threads = 1;
    char quantized[PATH_MAX];
    request->is_quantized = request->options.use_quantized && quantized_path(path, quantized) &&
                            realpath(quantized, request->path) != NULL;
    if (!request->is_quantized && !realpath(path, request->path))
        return name_error(err, path);
    request->source[0] = '\0';
    if (request->is_quantized && access(path, F_OK) == 0)
        snprintf(request->source, sizeof request->source, "%s", path);
    int code = pcr_folder_of(path, request->folder, err);
    return code < 0 ? code : make_key(request, err);
}

static void free_entry(struct pcr_session_entry *entry) {
    free(entry->key);
    free(entry);
}

// Under the lock: gives one reference back;
// true if the caller must close the session and free the entry.
static bool drop(struct pcr_session_entry *entry) {
    PCR_ASSERT(entry->refs > 0);
    if (--entry->refs > 0)
        return false;
    if (pcr_map_get(&entries, pcr_str(entry->key)) == entry)
        pcr_map_remove(&entries, pcr_str(entry->key));
    return true;
}

// Under the lock: a new entry that the caller has to load.
static struct pcr_session_entry *add(const char *key) {
    struct pcr_session_entry *entry = calloc(1, sizeof *entry);
    if (entry)
        entry->key = strdup(key);
    if (!entry || !entry->key || !pcr_map_put(&entries, pcr_str(key), entry, NULL)) {
        if (entry)
            free_entry(entry);
        return NULL;
    }
    entry->refs = 1;
    return entry;
}

// Answers of a variant of another model would be wrong in a way that nobody sees.
static int check_source(const struct pacer_session *session, const struct request *request,
                        struct pacer_error *err) {
    const char *made_from = pacer_session_metadata(session, PCR_QUANTIZED_FROM);
    char version[17];
    if (!made_from) {
        pcr_log(PCR_LOG_WARN, "session",
                "%s does not say which model it was made from, so it is taken for a variant of %s; "
                "pacer quantize makes one that says it",
                request->path, request->source);
        return 0;
    }
    int code = pcr_model_version(request->source, version, err);
    if (code < 0 || strcmp(version, made_from) == 0)
        return code;
    return pcr_err(err, PACER_EMODEL, "session",
                   "%s was made from another version of %s (%.16s; this one is %s); run pacer "
                   "quantize again, or switch use_quantized off",
                   request->path, request->source, made_from, version);
}

static int open_session(const struct request *request, struct pacer_session **out,
                        struct pacer_error *err) {
    int code = pcr_session_open(request->path, request->folder, &request->options, out, err);
    if (code < 0 || !*request->source)
        return code;
    code = check_source(*out, request, err);
    if (code < 0) {
        pcr_session_close(*out);
        *out = NULL;
    }
    return code;
}

static int load(struct pcr_session_entry *entry, const struct request *request,
                struct pacer_session **out, struct pacer_error *err) {
    struct pacer_session *session = NULL;
    struct pacer_error error = {0};
    int code = open_session(request, &session, &error);
    if (code == 0) {
        session->entry = entry;
        session->is_quantized = request->is_quantized;
    }
    pthread_mutex_lock(&lock);
    entry->state = code == 0 ? LOADED : FAILED;
    entry->session = session;
    entry->error = error;
    entry->error.code = code;
    bool last = false;
    if (code < 0) {
        if (pcr_map_get(&entries, pcr_str(entry->key)) == entry)
            pcr_map_remove(&entries, pcr_str(entry->key));
        last = drop(entry);
    }
    pthread_cond_broadcast(&loaded);
    pthread_mutex_unlock(&lock);
    if (last)
        free_entry(entry);
    *out = session;
    if (code < 0 && err)
        *err = error;
    return code;
}

// Under the lock: waits for another's load. The reference was taken before.
static int join(struct pcr_session_entry *entry, struct pacer_session **out,
                struct pacer_error *err) {
    while (entry->state == LOADING)
        pthread_cond_wait(&loaded, &lock);
    if (entry->state == LOADED) {
        *out = entry->session;
        return 0;
    }
    int code = entry->error.code;
    if (err)
        *err = entry->error;
    if (drop(entry))
        free_entry(entry); // its session is NULL
    return code;
}

// Under the lock: the entry that may be shared, or NULL.
// One whose external data has changed is forgotten.
static struct pcr_session_entry *find(const char *key) {
    struct pcr_session_entry *entry = pcr_map_get(&entries, pcr_str(key));
    if (entry && entry->state == LOADED && !pcr_externals_unchanged(entry->session->externals)) {
        pcr_map_remove(&entries, pcr_str(key));
        return NULL;
    }
    return entry;
}

static int get(const struct request *request, struct pacer_session **out, struct pacer_error *err) {
    pthread_mutex_lock(&lock);
    struct pcr_session_entry *entry = find(request->key);
    if (entry) {
        entry->refs++;
        int code = join(entry, out, err);
        pthread_mutex_unlock(&lock);
        return code;
    }
    entry = add(request->key);
    pthread_mutex_unlock(&lock);
    if (!entry)
        return pcr_err(err, PACER_ENOMEM, "session", "out of memory");
    return load(entry, request, out, err);
}

int pacer_session_get(const char *path, const struct pacer_session_options *options,
                      struct pacer_session **out, struct pacer_error *err) {
    *out = NULL;
    struct request *request = malloc(sizeof *request); // too large for a small stack
    if (!request)
        return pcr_err(err, PACER_ENOMEM, "session", "out of memory");
    int code = make_request(request, path, options, err);
    if (code == 0)
        code = get(request, out, err);
    free(request);
    return code;
}

void pacer_session_put(struct pacer_session *session) {
    if (!session)
        return;
    struct pcr_session_entry *entry = session->entry;
    if (!entry) { // of pcr_session_try
        pcr_session_close(session);
        return;
    }
    pthread_mutex_lock(&lock);
    bool last = drop(entry);
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    pcr_session_close(session);
    free_entry(entry);
}
