// SPDX-License-Identifier: Apache-2.0
// Answers in an LMDB file, which outlives the process and is shared by processes of one machine.
//
// Two threads: one answers gets out of the map, one writes. A commit waits for the disk, and gets
// shall not. Writes are gathered and committed together; LMDB writes a page anew wherever it
// changes one and the root last, so a process killed at any moment leaves the state of a commit
// behind. No MDB_WRITEMAP and no MDB_NOSYNC: with them that would not hold.
//
// The writing thread may have to wait for as long as another process likes: for LMDB's lock, which
// that one holds, or for a disk. Gets go on meanwhile, puts are dropped when too many wait, and at
// the end the thread is left to itself: it frees the store when it comes back.
//
// A file that LMDB gives up, since the disk failed it or it is found damaged, is opened anew.
#include "cache/store_lmdb_priv.h"
#include "cache/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define GETS_MAX 4096
#define WRITES_MAX 8192
#define WRITE_BYTES_MAX ((size_t)64 << 20)
#define GATHER_NS (200 * PCR_NS_PER_MS)
#define GATHER_BYTES ((size_t)4 << 20) // so much waits for no more
#define GATHER_WRITES 1024
#define GET_NS_MAX (50 * PCR_NS_PER_MS)
#define SWEEP_NS PCR_NS_PER_S
#define MEND_NS (5 * PCR_NS_PER_S) // between tries to open the file anew
#define END_NS PCR_NS_PER_S        // what is still to be written then is not written any more
#define LEAVE_NS (1500 * PCR_NS_PER_MS)
#define VALUE_SHARE 16 // no value takes more of the file
#define BATCH_SHARE 64 // nor a transaction's values together, once there is more than one
#define ROOM_TRIES 3   // how often room is made for a transaction
#define CLEAN_TRIES 8  // transactions that only take out, after one that puts

struct write { // a value to be put, or a purge in its place among them
    struct pcr_lmdb_put put;
    struct pcr_store_purge *purge; // NULL: a value
    char bytes[];
};

struct lmdb_store {
    struct pcr_store base;
    struct pcr_lmdb_file file;
    pthread_t reader, writer;
    pthread_mutex_t lock;
    pthread_cond_t got, written; // something for the reader, for the writer
    pthread_cond_t gone;         // the writer has ended
    struct pcr_list gets, writes;
    size_t n_gets, n_writes, write_bytes;
    uint64_t first_write_ns, stop_ns;
    bool stop, ended;
    bool in_haste;                   // a purge waits
    bool more;                       // to be taken out of the file
    bool remap;                      // another process has made the file larger
    bool left;                       // nobody waits for the writer any more: it frees the store
    bool broken;                     // LMDB has given the file up: it is to be opened anew
    bool damaged;                    // and before that set aside
    struct pcr_store_purge *purging; // under way; whoever takes it out here calls its `done`
    struct pcr_store_stats stats;
};

static struct lmdb_store *store_of(struct pcr_store *store) {
    return PCR_CONTAINER_OF(store, struct lmdb_store, base);
}

static uint64_t now_ms(void) {
    return pcr_clock_real_ns() / PCR_NS_PER_MS;
}

// --- troubles -----------------------------------------------------------------------------------
// Under the lock.
static void note_broken(struct lmdb_store *store, int rc) {
    // MDB_BAD_TXN: LMDB kept the first one to itself.
    bool damaged = rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_BAD_TXN;
    if (store->broken || (rc != MDB_PANIC && !damaged))
        return;
    store->broken = true;
    store->damaged = damaged;
    pthread_cond_signal(&store->written);
}

// Said once, until it has worked again.
static void note_trouble(struct lmdb_store *store, const char *what, int rc) {
    char why[sizeof store->stats.why];
    snprintf(why, sizeof why, "%s: %s", what, mdb_strerror(rc));
    pthread_mutex_lock(&store->lock);
    note_broken(store, rc);
    bool is_new = store->stats.state != PCR_STORE_DOWN;
    store->stats.state = PCR_STORE_DOWN;
    memcpy(store->stats.why, why, sizeof why);
    pthread_mutex_unlock(&store->lock);
    if (is_new)
        pcr_log(PCR_LOG_WARN, "cache", "%s: %s; answers are not kept there until that works again",
                store->file.path, why);
}

static void note_success(struct lmdb_store *store) {
    pthread_mutex_lock(&store->lock);
    bool is_new = store->stats.state == PCR_STORE_DOWN;
    store->stats.state = PCR_STORE_UP;
    pthread_mutex_unlock(&store->lock);
    if (is_new)
        pcr_log(PCR_LOG_INFO, "cache", "%s works again", store->file.path);
}

// --- gets ---------------------------------------------------------------------------------------
static void count_get(struct lmdb_store *store, enum pcr_store_found found, bool late,
                      uint64_t took_ns) {
    pthread_mutex_lock(&store->lock);
    pcr_store_count_get(&store->stats, found, took_ns);
    store->stats.timeouts += late;
    pthread_mutex_unlock(&store->lock);
}

static enum pcr_store_found look_up(struct lmdb_store *store, const struct pcr_store_get *get,
                                    struct pcr_str *value) {
    unsigned char name[PCR_LMDB_NAME_BYTES];
    pcr_lmdb_put_name(name, &get->name);
    MDB_val key = {sizeof name, name}, data;
    int rc = mdb_get(store->file.reading, store->file.entries, &key, &data);
    if (rc == MDB_NOTFOUND)
        return PCR_STORE_MISSING;
    if (rc != 0) {
        note_trouble(store, "cannot read", rc);
        return PCR_STORE_FAILED;
    }
    if (data.mv_size < PCR_LMDB_TIME_BYTES || pcr_lmdb_get_be(data.mv_data) <= now_ms())
        return PCR_STORE_MISSING;
    *value = (struct pcr_str){(const char *)data.mv_data + PCR_LMDB_TIME_BYTES,
                              data.mv_size - PCR_LMDB_TIME_BYTES};
    return PCR_STORE_FOUND;
}

static void answer_get(struct lmdb_store *store, struct pcr_store_get *get, bool can_read) {
    struct pcr_str value = {NULL, 0};
    enum pcr_store_found found = PCR_STORE_FAILED;
    bool late = pcr_clock_mono_ns() - get->asked_ns >= GET_NS_MAX;
    if (can_read && !late)
        found = look_up(store, get, &value);
    count_get(store, found, late, pcr_clock_mono_ns() - get->asked_ns);
    get->done(get, found, value);
}

// The thread that writes maps the file anew, where another process has made it larger.
static void ask_for_remap(struct lmdb_store *store) {
    pthread_mutex_lock(&store->lock);
    store->remap = true;
    pthread_cond_signal(&store->written);
    pthread_mutex_unlock(&store->lock);
}

static size_t answer_gets(struct lmdb_store *store, struct pcr_list *gets) {
    struct pcr_lmdb_file *file = &store->file;
    size_t n = 0;
    pthread_mutex_lock(&file->map_lock);
    int rc = file->unmapped ? ENOENT : mdb_txn_renew(file->reading);
    if (rc == MDB_MAP_RESIZED)
        ask_for_remap(store);
    else if (rc != 0 && !file->unmapped)
        note_trouble(store, "cannot read", rc);
    for (; !pcr_list_empty(gets); n++) {
        struct pcr_store_get *get = PCR_LIST_ENTRY(gets->next, struct pcr_store_get, node);
        pcr_list_remove(&get->node);
        answer_get(store, get, rc == 0);
    }
    if (rc == 0)
        mdb_txn_reset(file->reading);
    pthread_mutex_unlock(&file->map_lock);
    return n;
}

static void *read_thread(void *arg) {
    struct lmdb_store *store = arg;
    pthread_mutex_lock(&store->lock);
    while (!store->stop || store->n_gets > 0) {
        if (store->n_gets == 0) {
            pthread_cond_wait(&store->got, &store->lock);
            continue;
        }
        struct pcr_list gets;
        pcr_list_init(&gets);
        pcr_list_move(&gets, &store->gets);
        pthread_mutex_unlock(&store->lock);
        size_t n = answer_gets(store, &gets);
        pthread_mutex_lock(&store->lock);
        store->n_gets -= n;
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

// --- writing ------------------------------------------------------------------------------------
static void note_outcome(struct lmdb_store *store, int rc, const struct pcr_lmdb_outcome *outcome) {
    bool changed = outcome->puts + outcome->expired + outcome->evicted + outcome->purged > 0;
    if (rc != 0)
        note_trouble(store, "cannot write", rc);
    else if (changed) // else nothing was written
        note_success(store);
    pthread_mutex_lock(&store->lock);
    struct pcr_store_stats *stats = &store->stats;
    stats->puts += outcome->puts;
    stats->expired += outcome->expired;
    stats->evicted += outcome->evicted;
    stats->removed += outcome->purged;
    if (rc == 0) {
        stats->entries = outcome->entries;
        stats->bytes = outcome->used_bytes;
    }
    store->more = rc == 0 && outcome->more;
    pthread_mutex_unlock(&store->lock);
}

// In one transaction, and then in others what has to go for it.
static int write_values(struct lmdb_store *store, const struct pcr_list *puts,
                        struct pcr_lmdb_outcome *outcome) {
    struct pcr_list none;
    pcr_list_init(&none);
    int rc = pcr_lmdb_write(&store->file, puts, now_ms(), outcome);
    for (int tries = 0; rc == MDB_MAP_FULL && tries < ROOM_TRIES; tries++) {
        int room = pcr_lmdb_make_room(&store->file, outcome);
        rc = room == 0 ? pcr_lmdb_write(&store->file, puts, now_ms(), outcome) : room;
    }
    for (int tries = 0; rc == 0 && outcome->more && tries < CLEAN_TRIES; tries++)
        rc = pcr_lmdb_write(&store->file, &none, now_ms(), outcome);
    return rc;
}

static void do_values(struct lmdb_store *store, struct pcr_list *puts, size_t n) {
    struct pcr_lmdb_outcome outcome = {0};
    int rc = write_values(store, puts, &outcome);
    note_outcome(store, rc, &outcome);
    PCR_LIST_FOR_EACH_SAFE(node, after, puts) {
        free(PCR_LIST_ENTRY(node, struct write, put.node));
    }
    pthread_mutex_lock(&store->lock);
    store->stats.dropped += n - outcome.puts;
    pthread_mutex_unlock(&store->lock);
}

static bool is_too_late(struct lmdb_store *store) {
    pthread_mutex_lock(&store->lock);
    bool late = store->stop && pcr_clock_mono_ns() - store->stop_ns > END_NS;
    pthread_mutex_unlock(&store->lock);
    return late;
}

static int64_t purge_values(struct lmdb_store *store, const struct pcr_store_purge *purge,
                            struct pcr_lmdb_outcome *outcome, int *rc) {
    struct pcr_lmdb_purging purging = {0};
    *rc = 0;
    for (int tries = 0; *rc == 0 && !purging.ended;) {
        if (is_too_late(store))
            return PACER_ECANCELED;
        *rc = pcr_lmdb_purge(&store->file, purge, &purging, outcome);
        if (*rc == MDB_MAP_FULL && tries++ < ROOM_TRIES)
            *rc = pcr_lmdb_make_room(&store->file, outcome);
    }
    outcome->purged = (uint64_t)purging.removed;
    return *rc == 0 ? purging.removed : PACER_EIO;
}

// Unless it was left to somebody else meanwhile.
static void do_purge(struct lmdb_store *store, struct write *write) {
    struct pcr_lmdb_outcome outcome = {0};
    struct pcr_store_purge purge = *write->purge; // that of the caller may be gone when it is left
    int rc;
    int64_t removed = purge_values(store, &purge, &outcome, &rc);
    note_outcome(store, rc, &outcome);
    pthread_mutex_lock(&store->lock);
    bool ours = store->purging != NULL;
    store->purging = NULL;
    pthread_mutex_unlock(&store->lock);
    if (ours)
        write->purge->done(write->purge, removed);
    free(write);
}

// --- the writing thread -------------------------------------------------------------------------
static struct write *first_write(struct lmdb_store *store) {
    return pcr_list_empty(&store->writes)
               ? NULL
               : PCR_LIST_ENTRY(store->writes.next, struct write, put.node);
}

static void take_out(struct lmdb_store *store, struct write *write) {
    pcr_list_remove(&write->put.node);
    store->write_bytes -= write->put.value.len;
    store->n_writes--;
    store->in_haste = store->in_haste && store->n_writes > 0;
}

// Values up to the next purge, as many as one transaction takes.
static size_t take_values(struct lmdb_store *store, struct pcr_list *puts) {
    size_t n = 0, bytes = 0, most = pcr_lmdb_changes_max(&store->file);
    struct write *write;
    while ((write = first_write(store)) && !write->purge && n < most &&
           bytes < store->file.map_bytes / BATCH_SHARE) {
        take_out(store, write);
        pcr_list_push_back(puts, &write->put.node);
        bytes += write->put.value.len;
        n++;
    }
    return n;
}

static bool are_due(const struct lmdb_store *store, uint64_t now_ns) {
    return store->n_writes > 0 &&
           (store->stop || store->in_haste || store->n_writes >= GATHER_WRITES ||
            store->write_bytes >= GATHER_BYTES || now_ns >= store->first_write_ns + GATHER_NS);
}

// Under the lock, which it gives back meanwhile.
static void mend(struct lmdb_store *store) {
    struct pacer_error err;
    bool damaged = store->damaged;
    pthread_mutex_unlock(&store->lock);
    int rc = pcr_lmdb_reopen(&store->file, damaged, &err);
    pthread_mutex_lock(&store->lock);
    store->broken = rc < 0;
    if (rc < 0)
        snprintf(store->stats.why, sizeof store->stats.why, "%.159s", err.message);
    pthread_mutex_unlock(&store->lock);
    if (rc == 0)
        note_success(store);
    pthread_mutex_lock(&store->lock);
}

// Under the lock, which it gives back meanwhile.
static void do_turn(struct lmdb_store *store, bool due) {
    struct pcr_list puts;
    pcr_list_init(&puts);
    struct write *first = due ? first_write(store) : NULL;
    size_t n = 0;
    if (first && first->purge) {
        take_out(store, first);
        store->purging = first->purge;
    } else {
        n = due ? take_values(store, &puts) : 0;
    }
    bool more = store->more, remap = store->remap;
    store->remap = false;
    pthread_mutex_unlock(&store->lock);
    if (remap)
        pcr_lmdb_remap(&store->file, 0);
    if (first && first->purge)
        do_purge(store, first);
    else if (n > 0 || more || pcr_lmdb_has_expired(&store->file, now_ms()))
        do_values(store, &puts, n);
    pthread_mutex_lock(&store->lock);
}

// Under the lock. What waits is not written any more: see end_writes.
static void take_waiting(struct lmdb_store *store, struct pcr_list *writes) {
    pcr_list_move(writes, &store->writes);
    store->n_writes = store->write_bytes = 0;
}

static void end_writes(struct pcr_list *writes) {
    PCR_LIST_FOR_EACH_SAFE(node, after, writes) {
        struct write *write = PCR_LIST_ENTRY(node, struct write, put.node);
        if (write->purge)
            write->purge->done(write->purge, PACER_ECANCELED);
        free(write);
    }
}

static void wait_until(struct lmdb_store *store, pthread_cond_t *cond, uint64_t at_ns) {
    struct timespec at = {.tv_sec = (time_t)(at_ns / PCR_NS_PER_S),
                          .tv_nsec = (long)(at_ns % PCR_NS_PER_S)};
    pthread_cond_timedwait(cond, &store->lock, &at);
}

static void free_store(struct lmdb_store *store) {
    pcr_lmdb_close(&store->file);
    pthread_cond_destroy(&store->got);
    pthread_cond_destroy(&store->written);
    pthread_cond_destroy(&store->gone);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

// Under the lock. Until when there is nothing to do; at_ns is when the file is swept.
static uint64_t next_ns(const struct lmdb_store *store, uint64_t at_ns) {
    if (store->remap || store->more)
        return 0;
    if (store->n_writes > 0 && store->first_write_ns + GATHER_NS < at_ns)
        return store->first_write_ns + GATHER_NS;
    return at_ns;
}

// Under the lock. Until the end, or until that takes too long.
static void write_on(struct lmdb_store *store) {
    uint64_t sweep_ns = pcr_clock_mono_ns() + SWEEP_NS, mend_ns = 0;
    for (;;) {
        uint64_t now_ns = pcr_clock_mono_ns(), at_ns = next_ns(store, sweep_ns);
        bool due = are_due(store, now_ns);
        if (store->stop && (store->n_writes == 0 || now_ns - store->stop_ns > END_NS))
            return;
        if (store->broken && now_ns >= mend_ns) {
            mend(store);
            mend_ns = pcr_clock_mono_ns() + MEND_NS;
        } else if (due || now_ns >= at_ns) {
            if (due)
                store->first_write_ns = now_ns; // of those left
            do_turn(store, due);
            sweep_ns = pcr_clock_mono_ns() + SWEEP_NS;
        } else {
            wait_until(store, &store->written, at_ns);
        }
    }
}

static void *write_thread(void *arg) {
    struct lmdb_store *store = arg;
    struct pcr_list writes;
    pcr_list_init(&writes);
    pthread_mutex_lock(&store->lock);
    write_on(store);
    take_waiting(store, &writes);
    pthread_mutex_unlock(&store->lock);
    end_writes(&writes);
    pthread_mutex_lock(&store->lock);
    bool left = store->left;
    store->ended = true;
    pthread_cond_signal(&store->gone);
    pthread_mutex_unlock(&store->lock);
    if (left)
        free_store(store);
    return NULL;
}

// --- what others call ---------------------------------------------------------------------------
static void lmdb_get(struct pcr_store *base, struct pcr_store_get *get) {
    struct lmdb_store *store = store_of(base);
    get->asked_ns = pcr_clock_mono_ns();
    pthread_mutex_lock(&store->lock);
    store->stats.gets++;
    bool taken = !store->stop && store->n_gets < GETS_MAX;
    if (taken) {
        pcr_list_push_back(&store->gets, &get->node);
        if (store->n_gets++ == 0)
            pthread_cond_signal(&store->got);
    } else {
        store->stats.dropped++;
    }
    pthread_mutex_unlock(&store->lock);
    if (!taken)
        get->done(get, PCR_STORE_FAILED, (struct pcr_str){NULL, 0});
}

static bool queue_write(struct lmdb_store *store, struct write *write) {
    size_t n_bytes = write->put.value.len;
    pthread_mutex_lock(&store->lock);
    bool taken =
        !store->stop && (write->purge || (store->n_writes < WRITES_MAX &&
                                          store->write_bytes + n_bytes <= WRITE_BYTES_MAX));
    if (taken) {
        if (store->n_writes++ == 0)
            store->first_write_ns = pcr_clock_mono_ns();
        store->write_bytes += n_bytes;
        store->in_haste = store->in_haste || write->purge;
        pcr_list_push_back(&store->writes, &write->put.node);
        if (store->n_writes == 1 || are_due(store, store->first_write_ns))
            pthread_cond_signal(&store->written);
    }
    pthread_mutex_unlock(&store->lock);
    return taken;
}

static struct write *copy_value(const struct pcr_store_name *name, struct pcr_str value,
                                uint64_t ttl_ms) {
    struct write *write = malloc(sizeof *write + value.len);
    if (!write)
        return NULL;
    uint64_t now = now_ms();
    uint64_t expires_ms = ttl_ms > UINT64_MAX - now ? UINT64_MAX : now + ttl_ms;
    *write = (struct write){
        .put = {.name = *name, .expires_ms = expires_ms, .value = {write->bytes, value.len}}};
    pcr_list_init(&write->put.node);
    if (value.len)
        memcpy(write->bytes, value.ptr, value.len);
    return write;
}

static bool lmdb_put(struct pcr_store *base, const struct pcr_store_name *name,
                     struct pcr_str value, uint64_t ttl_ms) {
    struct lmdb_store *store = store_of(base);
    // What alone would fill the file is not worth what would have to go.
    bool fits = value.len < store->file.bytes_max / VALUE_SHARE;
    struct write *write = fits ? copy_value(name, value, ttl_ms) : NULL;
    if (write && queue_write(store, write))
        return true;
    free(write);
    pthread_mutex_lock(&store->lock);
    store->stats.dropped++;
    pthread_mutex_unlock(&store->lock);
    return false;
}

static void lmdb_purge(struct pcr_store *base, struct pcr_store_purge *purge) {
    struct write *write = calloc(1, sizeof *write);
    if (write)
        write->purge = purge;
    if (write && queue_write(store_of(base), write))
        return;
    free(write);
    purge->done(purge, write ? PACER_ECANCELED : PACER_ENOMEM);
}

static void lmdb_stats(struct pcr_store *base, struct pcr_store_stats *out) {
    struct lmdb_store *store = store_of(base);
    pthread_mutex_lock(&store->lock);
    *out = store->stats;
    pthread_mutex_unlock(&store->lock);
}

// Under the lock. Whoever has been waiting for the writer for so long hears that now.
static void leave_writer(struct lmdb_store *store, struct pcr_list *writes,
                         struct pcr_store_purge **purging) {
    store->left = true;
    *purging = store->purging;
    store->purging = NULL;
    take_waiting(store, writes);
    pthread_detach(store->writer);
    pcr_log(PCR_LOG_WARN, "cache", "%s: another process or the disk holds a write up; it is left",
            store->file.path);
}

static void lmdb_destroy(struct pcr_store *base) {
    struct lmdb_store *store = store_of(base);
    struct pcr_store_purge *purging = NULL;
    struct pcr_list writes;
    pcr_list_init(&writes);
    pthread_mutex_lock(&store->lock);
    store->stop_ns = pcr_clock_mono_ns();
    store->stop = true;
    pthread_cond_signal(&store->got);
    pthread_cond_signal(&store->written);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->reader, NULL);
    pthread_mutex_lock(&store->lock);
    while (!store->ended && pcr_clock_mono_ns() - store->stop_ns < LEAVE_NS)
        wait_until(store, &store->gone, store->stop_ns + LEAVE_NS);
    bool ended = store->ended;
    if (!ended)
        leave_writer(store, &writes, &purging);
    pthread_mutex_unlock(&store->lock); // after this it may be gone
    if (ended) {
        pthread_join(store->writer, NULL);
        free_store(store);
    }
    end_writes(&writes);
    if (purging)
        purging->done(purging, PACER_ECANCELED);
}

static const struct pcr_store_ops ops = {
    .kind = "lmdb",
    .get = lmdb_get,
    .put = lmdb_put,
    .purge = lmdb_purge,
    .stats = lmdb_stats,
    .destroy = lmdb_destroy,
};

static struct lmdb_store *make_store(void) {
    struct lmdb_store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->base.ops = &ops;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->got, &monotonic);
    pthread_cond_init(&store->written, &monotonic);
    pthread_cond_init(&store->gone, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pcr_list_init(&store->gets);
    pcr_list_init(&store->writes);
    return store;
}

static int start_threads(struct lmdb_store *store) {
    int rc = pcr_thread_start(&store->reader, "pacer-lmdb", read_thread, store);
    if (rc != 0)
        return rc;
    rc = pcr_thread_start(&store->writer, "pacer-lmdb-w", write_thread, store);
    if (rc != 0) {
        pthread_mutex_lock(&store->lock);
        store->stop = true;
        pthread_cond_signal(&store->got);
        pthread_mutex_unlock(&store->lock);
        pthread_join(store->reader, NULL);
    }
    return rc;
}

int pcr_store_lmdb_open(const struct pcr_store_lmdb_options *options, struct pcr_store **out,
                        struct pacer_error *err) {
    *out = NULL;
    struct lmdb_store *store = make_store();
    if (!store)
        return pcr_err(err, PACER_ENOMEM, "cache", "no memory for the store in %s", options->path);
    int rc = pcr_lmdb_open(&store->file, options, err);
    if (rc < 0) {
        free(store);
        return rc;
    }
    store->stats.entries = store->file.entries_at_open;
    int error = start_threads(store);
    if (error != 0) {
        pcr_lmdb_close(&store->file);
        free(store);
        return pcr_err(err, PACER_EIO, "cache", "cannot start a thread for %s: %s", options->path,
                       strerror(error));
    }
    *out = &store->base;
    return 0;
}
