// SPDX-License-Identifier: Apache-2.0
// L2: a store behind an ops struct. Stores keep opaque values by name, for a while, and never fail
// a request: whatever is wrong with one is a miss, shown in its figures. What a value means,
// whether it is whole and whether it is the one that was asked for is the cache's business
// (value.h).
//
// A store has a thread of its own, so that neither a slow disk nor a slow network holds a loop up.
// All functions here may be called on any thread but the store's own, between create and destroy.
#ifndef PCR_CACHE_STORE_H
#define PCR_CACHE_STORE_H

#include "base/base.h"

struct pcr_store;

// Where a value lies. Hashes, so that names are short and of one length, and stores can drop all of
// a model or of a tenant; two keys of one name are told apart by the value, which has the key.
struct pcr_store_name {
    uint64_t model, tenant; // of their names
    uint64_t hi, lo;        // of the whole key
};

enum pcr_store_found {
    PCR_STORE_FOUND,
    PCR_STORE_MISSING,
    PCR_STORE_FAILED, // no answer in time, or not asked: too many wait, or the breaker is open
};

struct pcr_store_get { // the caller's memory until `done`
    struct pcr_store_name name;
    // Exactly once, on the store's thread or inside pcr_store_get. It copies what it needs.
    void (*done)(struct pcr_store_get *get, enum pcr_store_found found, struct pcr_str value);
    struct pcr_list node; // private
    uint64_t asked_ns;    // private
};

struct pcr_store_purge {              // the caller's memory until `done`
    bool by_model, by_tenant, by_key; // what of `name` has to match; none: everything
    struct pcr_store_name name;
    // Exactly once, as above. `removed` counts values; < 0: PACER_E…, and values may be left.
    void (*done)(struct pcr_store_purge *purge, int64_t removed);
    void *user;
    struct pcr_list node; // private
    uint64_t asked_ns;    // private
};

enum pcr_store_state {
    PCR_STORE_UP,
    PCR_STORE_TRYING, // not connected yet, or a probe is under way
    PCR_STORE_DOWN,   // the breaker is open: nothing is asked but a probe at times
};

struct pcr_store_stats { // totals since create; gauges as of now
    uint64_t gets, hits, misses, failures, timeouts, dropped, puts, removed;
    uint64_t expired, evicted; // that the store itself took out, where it knows
    uint64_t get_ns;           // of all gets that were answered
    uint64_t get_buckets[24];  // [i]: answered within 2^i µs
    uint64_t entries, bytes;   // where it knows, else 0
    uint64_t invalidations;    // of what other processes changed
    enum pcr_store_state state;
    char why[160]; // of the last trouble; "" if there was none
};

struct pcr_store_ops {
    const char *kind; // "lmdb", "redis"
    void (*get)(struct pcr_store *store, struct pcr_store_get *get);
    // Copies the value. False: dropped, since too many wait or the breaker is open.
    bool (*put)(struct pcr_store *store, const struct pcr_store_name *name, struct pcr_str value,
                uint64_t ttl_ms);
    void (*purge)(struct pcr_store *store, struct pcr_store_purge *purge);
    void (*stats)(struct pcr_store *store, struct pcr_store_stats *out);
    // Ends what is under way (every `done` comes), keeps what was put if that takes under a second.
    void (*destroy)(struct pcr_store *store);
};
struct pcr_store { // the first member of every store
    const struct pcr_store_ops *ops;
};

// --- LMDB: a file of this machine ---------------------------------------------------------------
struct pcr_store_lmdb_options {
    const char *path;   // a directory; made if it is not there
    uint64_t bytes_max; // of the file; beyond it what expires first goes first
};
// PACER_EINVAL (another program's file), PACER_EIO (no permission, no room) with what to do about
// it. A file that is damaged or of an older version is set aside (…/data.mdb.bad), one larger than
// bytes_max removed; both begin anew, with a warning in the log: it is a cache. Where even a second
// process, or the disk, holds a write up for good, destroy leaves the writing thread to itself.
int pcr_store_lmdb_open(const struct pcr_store_lmdb_options *options, struct pcr_store **out,
                        struct pacer_error *err);

// --- Redis and Valkey: shared between machines --------------------------------------------------
struct pcr_store_redis_options {
    const char *url; // redis://[[user]:password@]host[:port][/db], rediss://…, unix://path[?db=N]
    uint64_t timeout_ms;    // of a command; 0: 20
    unsigned in_flight_max; // commands that wait for their answer; 0: 1024
    uint64_t bytes_max;     // of commands and answers that wait; 0: 64 MiB
    // Another process changed or dropped this value; NULL: any may have changed, since the line was
    // broken. On the store's thread.
    void (*invalidated)(void *ctx, const struct pcr_store_name *name);
    void *ctx;
};
// Does not wait for the connection. PACER_EINVAL: the URL is none; PACER_EUNSUPPORTED: rediss:// in
// a build without TLS. The message never holds the password.
int pcr_store_redis_open(const struct pcr_store_redis_options *options, struct pcr_store **out,
                         struct pacer_error *err);

#endif
