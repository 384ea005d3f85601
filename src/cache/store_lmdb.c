// SPDX-License-Identifier: Apache-2.0
// Answers in an LMDB file, which outlives the process and is shared by processes of one machine.
//
// Two threads: one answers gets out of the map, one writes. A commit waits for the disk, and gets
// shall not. Writes are gathered and committed together; LMDB writes a page anew wherever it
// changes one and the root last, so a process killed at any moment leaves the state of a commit
// behind. No MDB_WRITEMAP and no MDB_NOSYNC: with them that would not hold.
//
// Two tables: entries by name (model, tenant, hash: what a model has lies together), each with the
// time it expires, and the same names by that time. What has expired is swept out by that order,
// and so is what has to go when the file is full. A part of the file stays free, since LMDB writes
// every page that it changes anew, and reuses the old one only two transactions later; for the same
// reason a transaction changes only so many.
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
#define BATCH_WRITES 4096 // of one transaction
#define GET_NS_MAX (50 * PCR_NS_PER_MS)
#define SWEEP_NS PCR_NS_PER_S
#define STOP_NS_MAX PCR_NS_PER_S
#define PAGE_BYTES 4096
#define VALUE_SHARE 16   // no value takes more of the file
#define BATCH_SHARE 64   // nor a transaction's values together, once there is more than one
#define PAGES_A_WRITE 64 // of the file, for each write of a transaction
#define FULL_SHARE 0.7
#define EMPTIED_SHARE 0.65

enum { NAME_BYTES = 32, TIME_BYTES = 8 };

struct write { // a value to be put, or a purge in its place among them
    struct pcr_list node;
    struct pcr_store_purge *purge; // NULL: a value
    struct pcr_store_name name;
    uint64_t expires_ms;
    size_t n_bytes;
    char bytes[];
};

struct lmdb_store {
    struct pcr_store base;
    struct pcr_lmdb_file file;
    pthread_t reader, writer;
    pthread_mutex_t lock;
    pthread_cond_t got, written; // something for the reader, for the writer
    struct pcr_list gets, writes;
    size_t n_gets, n_writes, write_bytes;
    uint64_t first_write_ns;
    bool stop, in_haste; // the latter: a purge waits
    uint64_t stop_ns;    // by when all has to be written
    struct pcr_store_stats stats;
};

static struct lmdb_store *store_of(struct pcr_store *store) {
    return PCR_CONTAINER_OF(store, struct lmdb_store, base);
}

static uint64_t now_ms(void) {
    return pcr_clock_real_ns() / PCR_NS_PER_MS;
}

// --- keys ---------------------------------------------------------------------------------------
static void put_be(unsigned char *out, uint64_t number) {
    number = __builtin_bswap64(number);
    memcpy(out, &number, sizeof number);
}

static uint64_t get_be(const void *from) {
    uint64_t number;
    memcpy(&number, from, sizeof number);
    return __builtin_bswap64(number);
}

static void put_name(unsigned char *out, const struct pcr_store_name *name) {
    put_be(out, name->model);
    put_be(out + 8, name->tenant);
    put_be(out + 16, name->hi);
    put_be(out + 24, name->lo);
}

static struct pcr_store_name get_name(const void *from) {
    const unsigned char *bytes = from;
    return (struct pcr_store_name){.model = get_be(bytes),
                                   .tenant = get_be(bytes + 8),
                                   .hi = get_be(bytes + 16),
                                   .lo = get_be(bytes + 24)};
}

// --- troubles -----------------------------------------------------------------------------------
// Said once, until it has worked again.
static void note_trouble(struct lmdb_store *store, const char *what, int rc) {
    char why[sizeof store->stats.why];
    snprintf(why, sizeof why, "%s: %s", what, mdb_strerror(rc));
    pthread_mutex_lock(&store->lock);
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
static void count_get(struct lmdb_store *store, enum pcr_store_found found, uint64_t took_ns) {
    pthread_mutex_lock(&store->lock);
    pcr_store_count_get(&store->stats, found, took_ns);
    pthread_mutex_unlock(&store->lock);
}

static enum pcr_store_found look_up(struct lmdb_store *store, MDB_txn *txn,
                                    const struct pcr_store_get *get, struct pcr_str *value) {
    unsigned char name[NAME_BYTES];
    put_name(name, &get->name);
    MDB_val key = {sizeof name, name}, data;
    int rc = mdb_get(txn, store->file.entries, &key, &data);
    if (rc == MDB_NOTFOUND)
        return PCR_STORE_MISSING;
    if (rc != 0)
        return PCR_STORE_FAILED;
    if (data.mv_size < TIME_BYTES || get_be(data.mv_data) <= now_ms())
        return PCR_STORE_MISSING;
    *value = (struct pcr_str){(const char *)data.mv_data + TIME_BYTES, data.mv_size - TIME_BYTES};
    return PCR_STORE_FOUND;
}

static void answer_gets(struct lmdb_store *store, MDB_txn *txn, struct pcr_list *gets) {
    int rc = mdb_txn_renew(txn);
    if (rc == MDB_READERS_FULL) { // of processes that were killed
        mdb_reader_check(store->file.env, NULL);
        rc = mdb_txn_renew(txn);
    }
    while (!pcr_list_empty(gets)) {
        struct pcr_store_get *get = PCR_LIST_ENTRY(gets->next, struct pcr_store_get, node);
        pcr_list_remove(&get->node);
        struct pcr_str value = {NULL, 0};
        uint64_t waited_ns = pcr_clock_mono_ns() - get->asked_ns;
        enum pcr_store_found found =
            rc == 0 && waited_ns < GET_NS_MAX ? look_up(store, txn, get, &value) : PCR_STORE_FAILED;
        count_get(store, found, pcr_clock_mono_ns() - get->asked_ns);
        get->done(get, found, value);
    }
    if (rc == 0)
        mdb_txn_reset(txn);
}

static void *read_thread(void *arg) {
    struct lmdb_store *store = arg;
    MDB_txn *txn = store->file.reading;
    pthread_mutex_lock(&store->lock);
    while (!store->stop || store->n_gets > 0) {
        if (store->n_gets == 0) {
            pthread_cond_wait(&store->got, &store->lock);
            continue;
        }
        struct pcr_list gets;
        pcr_list_init(&gets);
        pcr_list_move(&gets, &store->gets);
        store->n_gets = 0;
        pthread_mutex_unlock(&store->lock);
        answer_gets(store, txn, &gets);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

// --- writing, in a transaction ------------------------------------------------------------------
static size_t changes_max(const struct lmdb_store *store) { // of one transaction
    size_t most = store->file.map_bytes / PAGE_BYTES / PAGES_A_WRITE;
    return most < BATCH_WRITES ? most : BATCH_WRITES;
}

static int drop_expiry(struct lmdb_store *store, MDB_txn *txn, const unsigned char *name,
                       uint64_t expires_ms) {
    unsigned char row[TIME_BYTES + NAME_BYTES];
    put_be(row, expires_ms);
    memcpy(row + TIME_BYTES, name, NAME_BYTES);
    MDB_val key = {sizeof row, row};
    int rc = mdb_del(txn, store->file.expiry, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put_value(struct lmdb_store *store, MDB_txn *txn, const struct write *write) {
    unsigned char row[TIME_BYTES + NAME_BYTES];
    put_be(row, write->expires_ms);
    put_name(row + TIME_BYTES, &write->name);
    MDB_val key = {NAME_BYTES, row + TIME_BYTES}, data;
    int rc = mdb_get(txn, store->file.entries, &key, &data);
    if (rc == 0 && data.mv_size >= TIME_BYTES)
        rc = drop_expiry(store, txn, row + TIME_BYTES, get_be(data.mv_data));
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    data = (MDB_val){TIME_BYTES + write->n_bytes, NULL};
    rc = mdb_put(txn, store->file.entries, &key, &data, MDB_RESERVE);
    if (rc != 0)
        return rc;
    put_be(data.mv_data, write->expires_ms);
    memcpy((char *)data.mv_data + TIME_BYTES, write->bytes, write->n_bytes);
    key = (MDB_val){sizeof row, row};
    data = (MDB_val){0, NULL};
    return mdb_put(txn, store->file.expiry, &key, &data, 0);
}

static bool is_meant(const struct pcr_store_purge *purge, const struct pcr_store_name *name) {
    return (!purge->by_model || purge->name.model == name->model) &&
           (!purge->by_tenant || purge->name.tenant == name->tenant) &&
           (!purge->by_key || (purge->name.hi == name->hi && purge->name.lo == name->lo));
}

static int purge_all(struct lmdb_store *store, MDB_txn *txn, int64_t *removed) {
    MDB_stat stat_;
    int rc = mdb_stat(txn, store->file.entries, &stat_);
    if (rc == 0)
        rc = mdb_drop(txn, store->file.entries, 0);
    if (rc == 0)
        rc = mdb_drop(txn, store->file.expiry, 0);
    *removed = rc == 0 ? (int64_t)stat_.ms_entries : 0;
    return rc;
}

// What has a model lies together; without one all entries are looked at.
static int purge_entries(struct lmdb_store *store, MDB_txn *txn,
                         const struct pcr_store_purge *purge, int64_t *removed) {
    MDB_cursor *cursor;
    if (!purge->by_model && !purge->by_tenant && !purge->by_key)
        return purge_all(store, txn, removed);
    struct pcr_store_name first = {.model = purge->by_model ? purge->name.model : 0};
    if (purge->by_model && purge->by_tenant)
        first.tenant = purge->name.tenant;
    if (purge->by_model && purge->by_tenant && purge->by_key)
        first = purge->name;
    unsigned char name[NAME_BYTES];
    put_name(name, &first);
    MDB_val key = {sizeof name, name}, data;
    int rc = mdb_cursor_open(txn, store->file.entries, &cursor);
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
        struct pcr_store_name at = get_name(key.mv_data);
        bool beyond = (purge->by_model && at.model != purge->name.model) ||
                      (purge->by_model && purge->by_tenant && at.tenant != purge->name.tenant);
        if (beyond)
            break;
        if (!is_meant(purge, &at))
            continue;
        memcpy(name, key.mv_data, sizeof name);
        rc = drop_expiry(store, txn, name, get_be(data.mv_data));
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            break;
        ++*removed;
        if (purge->by_model && purge->by_tenant && purge->by_key)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

// Takes out, in the order of expiry, up to `most` entries that expire by then.
static int drop_first(struct lmdb_store *store, MDB_txn *txn, uint64_t until_ms, size_t most,
                      uint64_t *dropped) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->file.expiry, &cursor);
    if (rc != 0)
        return rc;
    MDB_val key, data;
    while (most-- > 0 && (rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST)) == 0) {
        if (key.mv_size != TIME_BYTES + NAME_BYTES || get_be(key.mv_data) > until_ms)
            break;
        unsigned char name[NAME_BYTES];
        memcpy(name, (const char *)key.mv_data + TIME_BYTES, sizeof name);
        MDB_val entry = {sizeof name, name};
        rc = mdb_del(txn, store->file.entries, &entry, NULL);
        if (rc == 0 || rc == MDB_NOTFOUND)
            rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            break;
        ++*dropped;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int used_share(struct lmdb_store *store, MDB_txn *txn, double *share, uint64_t *entries) {
    MDB_stat a, b;
    int rc = mdb_stat(txn, store->file.entries, &a);
    if (rc == 0)
        rc = mdb_stat(txn, store->file.expiry, &b);
    if (rc != 0)
        return rc;
    size_t pages = a.ms_branch_pages + a.ms_leaf_pages + a.ms_overflow_pages + b.ms_branch_pages +
                   b.ms_leaf_pages + b.ms_overflow_pages;
    *share = (double)pages * a.ms_psize / (double)store->file.map_bytes;
    *entries = a.ms_entries;
    store->file.used_bytes = pages * a.ms_psize;
    return 0;
}

static int make_room(struct lmdb_store *store, MDB_txn *txn, uint64_t *evicted) {
    double share;
    uint64_t entries;
    int rc = used_share(store, txn, &share, &entries);
    if (rc != 0 || share < FULL_SHARE)
        return rc;
    uint64_t before = *evicted;
    do {
        size_t some = (size_t)(entries / 64) + 1;
        rc = drop_first(store, txn, UINT64_MAX, some, evicted);
        if (rc == 0)
            rc = used_share(store, txn, &share, &entries);
    } while (rc == 0 && share > EMPTIED_SHARE && entries > 0 &&
             *evicted - before < 2 * changes_max(store));
    return rc;
}

// --- writing, a batch at a time -----------------------------------------------------------------
struct outcome {
    uint64_t puts, removed, expired, evicted, entries;
};

static int apply(struct lmdb_store *store, MDB_txn *txn, struct pcr_list *writes,
                 struct outcome *outcome) {
    int rc = drop_first(store, txn, now_ms(), changes_max(store), &outcome->expired);
    if (rc == 0)
        rc = make_room(store, txn, &outcome->evicted);
    PCR_LIST_FOR_EACH(node, writes) {
        struct write *write = PCR_LIST_ENTRY(node, struct write, node);
        int64_t removed = 0;
        if (rc != 0)
            return rc;
        if (write->purge) {
            rc = purge_entries(store, txn, write->purge, &removed);
            write->expires_ms = (uint64_t)removed;
            outcome->removed += (uint64_t)removed;
        } else {
            rc = put_value(store, txn, write);
            outcome->puts++;
        }
    }
    double share;
    return rc != 0 ? rc : used_share(store, txn, &share, &outcome->entries);
}

static int commit(struct lmdb_store *store, struct pcr_list *writes, struct outcome *outcome) {
    MDB_txn *txn;
    *outcome = (struct outcome){0};
    int rc = mdb_txn_begin(store->file.env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = apply(store, txn, writes, outcome);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static void free_writes(struct pcr_list *writes, int rc) {
    PCR_LIST_FOR_EACH_SAFE(node, after, writes) {
        struct write *write = PCR_LIST_ENTRY(node, struct write, node);
        if (write->purge)
            write->purge->done(write->purge, rc == 0 ? (int64_t)write->expires_ms : PACER_EIO);
        free(write);
    }
}

// More was needed than make_room keeps free. What is given up can be used by the transaction after
// the next, so there are two.
static int empty_half(struct lmdb_store *store) {
    struct pcr_list none;
    struct outcome outcome;
    pcr_list_init(&none);
    store->file.map_bytes /= 2; // for make_room: as if it was that full
    int rc = commit(store, &none, &outcome);
    store->file.map_bytes *= 2;
    return rc == 0 ? commit(store, &none, &outcome) : rc;
}

static void do_writes(struct lmdb_store *store, struct pcr_list *writes, size_t n) {
    struct outcome outcome;
    int rc = commit(store, writes, &outcome);
    for (int tries = 0; rc == MDB_MAP_FULL && tries < 3; tries++)
        rc = empty_half(store) == 0 ? commit(store, writes, &outcome) : rc;
    if (rc != 0)
        note_trouble(store, "cannot write", rc);
    else
        note_success(store);
    pthread_mutex_lock(&store->lock);
    struct pcr_store_stats *stats = &store->stats;
    if (rc == 0) {
        stats->puts += outcome.puts;
        stats->removed += outcome.removed;
        stats->expired += outcome.expired;
        stats->evicted += outcome.evicted;
        stats->entries = outcome.entries;
        stats->bytes = store->file.used_bytes;
    } else {
        stats->dropped += n;
    }
    pthread_mutex_unlock(&store->lock);
    free_writes(writes, rc);
}

static size_t take_writes(struct lmdb_store *store, struct pcr_list *writes) {
    size_t n = 0, bytes = 0;
    while (n < changes_max(store) && bytes < store->file.map_bytes / BATCH_SHARE &&
           !pcr_list_empty(&store->writes)) {
        struct write *write = PCR_LIST_ENTRY(store->writes.next, struct write, node);
        pcr_list_remove(&write->node);
        pcr_list_push_back(writes, &write->node);
        store->write_bytes -= write->n_bytes;
        store->n_writes--;
        bytes += write->n_bytes;
        n++;
    }
    if (store->n_writes == 0)
        store->in_haste = false;
    return n;
}

static bool are_due(const struct lmdb_store *store, uint64_t now_ns) {
    return store->n_writes > 0 &&
           (store->stop || store->in_haste || store->n_writes >= GATHER_WRITES ||
            store->write_bytes >= GATHER_BYTES || now_ns >= store->first_write_ns + GATHER_NS);
}

static void wait_until(struct lmdb_store *store, uint64_t at_ns) {
    struct timespec at = {.tv_sec = (time_t)(at_ns / PCR_NS_PER_S),
                          .tv_nsec = (long)(at_ns % PCR_NS_PER_S)};
    pthread_cond_timedwait(&store->written, &store->lock, &at);
}

static void *write_thread(void *arg) {
    struct lmdb_store *store = arg;
    uint64_t sweep_ns = pcr_clock_mono_ns() + SWEEP_NS;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        uint64_t now_ns = pcr_clock_mono_ns();
        bool due = are_due(store, now_ns);
        if (store->stop && (store->n_writes == 0 || now_ns > store->stop_ns))
            break;
        if (!due && now_ns < sweep_ns) {
            uint64_t at_ns = sweep_ns;
            if (store->n_writes > 0 && store->first_write_ns + GATHER_NS < at_ns)
                at_ns = store->first_write_ns + GATHER_NS;
            wait_until(store, at_ns);
            continue;
        }
        struct pcr_list writes;
        pcr_list_init(&writes);
        size_t n = due ? take_writes(store, &writes) : 0;
        store->first_write_ns = now_ns; // of those left
        pthread_mutex_unlock(&store->lock);
        if (n > 0 || pcr_lmdb_has_expired(&store->file, now_ms()))
            do_writes(store, &writes, n);
        sweep_ns = pcr_clock_mono_ns() + SWEEP_NS;
        pthread_mutex_lock(&store->lock);
    }
    free_writes(&store->writes, ECANCELED);
    pthread_mutex_unlock(&store->lock);
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
    pthread_mutex_lock(&store->lock);
    bool taken =
        !store->stop && (write->purge || (store->n_writes < WRITES_MAX &&
                                          store->write_bytes + write->n_bytes <= WRITE_BYTES_MAX));
    if (taken) {
        if (store->n_writes++ == 0)
            store->first_write_ns = pcr_clock_mono_ns();
        store->write_bytes += write->n_bytes;
        store->in_haste = store->in_haste || write->purge;
        pcr_list_push_back(&store->writes, &write->node);
        if (store->n_writes == 1 || are_due(store, store->first_write_ns))
            pthread_cond_signal(&store->written);
    } else {
        store->stats.dropped++;
    }
    pthread_mutex_unlock(&store->lock);
    return taken;
}

static bool lmdb_put(struct pcr_store *base, const struct pcr_store_name *name,
                     struct pcr_str value, uint64_t ttl_ms) {
    struct lmdb_store *store = store_of(base);
    struct write *write = malloc(sizeof *write + value.len);
    if (!write)
        return false;
    uint64_t now = now_ms();
    *write = (struct write){.name = *name,
                            .expires_ms = ttl_ms > UINT64_MAX - now ? UINT64_MAX : now + ttl_ms,
                            .n_bytes = value.len};
    memcpy(write->bytes, value.ptr, value.len);
    // What alone would fill the file is not worth what would have to go.
    bool taken = value.len < store->file.map_bytes / VALUE_SHARE && queue_write(store, write);
    if (!taken)
        free(write);
    return taken;
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

static void lmdb_destroy(struct pcr_store *base) {
    struct lmdb_store *store = store_of(base);
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    store->stop_ns = pcr_clock_mono_ns() + STOP_NS_MAX;
    pthread_cond_signal(&store->got);
    pthread_cond_signal(&store->written);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->reader, NULL);
    pthread_join(store->writer, NULL);
    pcr_lmdb_close(&store->file);
    pthread_cond_destroy(&store->got);
    pthread_cond_destroy(&store->written);
    pthread_mutex_destroy(&store->lock);
    free(store);
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
