// SPDX-License-Identifier: Apache-2.0
// The file behind the LMDB store: what store_lmdb.c (queues and threads) gets from lmdb_file.c
// (opening, and all that can be wrong with it).
#ifndef PCR_CACHE_STORE_LMDB_PRIV_H
#define PCR_CACHE_STORE_LMDB_PRIV_H

#include "cache/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <sys/stat.h>

struct pcr_lmdb_file {
    char *path; // of the directory
    MDB_env *env;
    MDB_dbi entries, expiry;
    MDB_txn *reading; // reset; the reading thread's
    bool try_in_child;
    size_t map_bytes, used_bytes;
    uint64_t entries_at_open;
    dev_t dev; // of the data file, to find it open in this process
    ino_t ino;
    struct pcr_list node; // private
};

int pcr_lmdb_open(struct pcr_lmdb_file *file, const struct pcr_store_lmdb_options *options,
                  struct pacer_error *err);
void pcr_lmdb_close(struct pcr_lmdb_file *file);
// Whether anything in it expires by then, without a lock that writers wait for.
bool pcr_lmdb_has_expired(struct pcr_lmdb_file *file, uint64_t now_ms);

#endif
