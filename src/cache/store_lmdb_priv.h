// SPDX-License-Identifier: Apache-2.0
// The file behind the LMDB store: what store_lmdb.c (queues and threads) gets from lmdb_file.c
// (opening), lmdb_check.c (whether it is whole) and lmdb_write.c (transactions).
#ifndef PCR_CACHE_STORE_LMDB_PRIV_H
#define PCR_CACHE_STORE_LMDB_PRIV_H

#include "cache/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <sys/stat.h>

struct pcr_lmdb_file {
    char *path;   // of the directory
    MDB_env *env; // NULL: see pcr_lmdb_reopen
    MDB_dbi entries, expiry;
    MDB_txn *reading;         // reset; the reading thread's
    pthread_mutex_t map_lock; // held while the map is read, and while it is laid anew
    size_t page_bytes;
    bool unmapped;               // the map is lost: there is no reading any more; under map_lock
    size_t bytes_max, map_bytes; // of the file; of the map, a little less until that is needed
    size_t used_bytes;           // as of the last transaction
    uint64_t entries_at_open;
    dev_t dev; // of the data file, to find it open in this process
    ino_t ino;
    struct pcr_list node; // private
};

int pcr_lmdb_open(struct pcr_lmdb_file *file, const struct pcr_store_lmdb_options *options,
                  struct pacer_error *err);
void pcr_lmdb_close(struct pcr_lmdb_file *file);
// After LMDB has given it up (MDB_PANIC), or found it damaged: then it is set aside. Where that
// fails there is no environment, until this has succeeded. The writing thread calls it.
int pcr_lmdb_reopen(struct pcr_lmdb_file *file, bool damaged, struct pacer_error *err);
// The map as long as another process has made it (0), or of so many bytes. No transaction of the
// calling thread may be open, and the writing thread calls it. 0, or LMDB's code.
int pcr_lmdb_remap(struct pcr_lmdb_file *file, size_t bytes);

// --- lmdb_check.c -------------------------------------------------------------------------------
size_t pcr_lmdb_whole_pages(size_t bytes);
// Before anything is read: what the root speaks of is there (0), or is not (LMDB's code). It also
// fills in dev, ino and page_bytes.
int pcr_lmdb_check_length(struct pcr_lmdb_file *file, size_t *needed_bytes);

// --- lmdb_verify.c ------------------------------------------------------------------------------
enum pcr_lmdb_names { PCR_LMDB_OURS, PCR_LMDB_OUTDATED, PCR_LMDB_FOREIGN }; // of trees
// Whose tree has that name.
enum pcr_lmdb_names pcr_lmdb_name(struct pcr_str name);
// Looks through the data file, without LMDB: 0 if LMDB may open it, or if it is not there yet;
// MDB_CORRUPTED; or an errno value. *names: whose trees it has.
int pcr_lmdb_verify(const char *data, const char *locks, enum pcr_lmdb_names *names);

// --- rows ---------------------------------------------------------------------------------------
enum { PCR_LMDB_NAME_BYTES = 32, PCR_LMDB_TIME_BYTES = 8 };

static inline void pcr_lmdb_put_be(unsigned char *out, uint64_t number) {
    number = __builtin_bswap64(number);
    memcpy(out, &number, sizeof number);
}

static inline uint64_t pcr_lmdb_get_be(const void *from) {
    uint64_t number;
    memcpy(&number, from, sizeof number);
    return __builtin_bswap64(number);
}

static inline void pcr_lmdb_put_name(unsigned char *out, const struct pcr_store_name *name) {
    pcr_lmdb_put_be(out, name->model);
    pcr_lmdb_put_be(out + 8, name->tenant);
    pcr_lmdb_put_be(out + 16, name->hi);
    pcr_lmdb_put_be(out + 24, name->lo);
}

// --- writing: one thread ------------------------------------------------------------------------
struct pcr_lmdb_put {
    struct pcr_store_name name;
    uint64_t expires_ms;
    struct pcr_str value;
    struct pcr_list node;
};

struct pcr_lmdb_outcome {
    uint64_t puts, expired, evicted, purged; // these add up
    uint64_t entries, used_bytes;            // afterwards
    bool more;                               // has expired, or is too much, and did not go yet
};

// How many values a transaction puts at most.
size_t pcr_lmdb_changes_max(const struct pcr_lmdb_file *file);
// Fills in what is there; inside a transaction.
int pcr_lmdb_count(struct pcr_lmdb_file *file, MDB_txn *txn, struct pcr_lmdb_outcome *outcome);
// One transaction: what is put, then what has expired or is too much goes. 0, or LMDB's code:
// nothing has changed then.
int pcr_lmdb_write(struct pcr_lmdb_file *file, const struct pcr_list *puts, uint64_t now_ms,
                   struct pcr_lmdb_outcome *outcome);
// After MDB_MAP_FULL: so that the same may succeed now. It fails where even deleting does.
int pcr_lmdb_make_room(struct pcr_lmdb_file *file, struct pcr_lmdb_outcome *outcome);
// Whether pcr_lmdb_write would find something expired, without a lock that writers wait for.
bool pcr_lmdb_has_expired(struct pcr_lmdb_file *file, uint64_t now_ms);

struct pcr_lmdb_purging {                  // zeroed
    unsigned char at[PCR_LMDB_NAME_BYTES]; // where it goes on
    bool begun, ended;
    int64_t removed;
};
// One transaction of a purge; again until `ended`. 0, or LMDB's code.
int pcr_lmdb_purge(struct pcr_lmdb_file *file, const struct pcr_store_purge *purge,
                   struct pcr_lmdb_purging *purging, struct pcr_lmdb_outcome *outcome);

#endif
