// SPDX-License-Identifier: Apache-2.0
// What the LMDB store changes in its file, a transaction at a time.
//
// Two tables: entries by name (model, tenant, hash: what a model has lies together), each with the
// time it expires, and the same names by that time. What has expired is swept out by that order,
// and so is what has to go when the file is full.
//
// LMDB writes every page that it changes anew and can use the old one again only two transactions
// later. So deleting takes room, too, and a file without a free page can never be changed again.
// Against that a part of the file stays free (FULL_TENTHS), and every transaction, be it one of
// many in which all that a model has is purged, changes so little that the pages of three of them
// are half of what is free (CHANGE_PAGES). A reader of another process that stands still keeps old
// pages from being used; what that costs is taken from the last sixteenth of the file, which is not
// mapped before (lmdb_file.c).
#include "cache/store_lmdb_priv.h"

#define FULL_TENTHS 7   // of the map: from there on what expires first goes
#define CHANGE_PAGES 12 // free ones for each change: two or so are written, three times
#define CHANGES_MIN 4
#define CHANGES_MAX 4096
#define ROOM_TRIES 3   // transactions until the first one's pages can be used
#define LOOK_MAX 65536 // entries that a transaction looks at

enum {
    NAME_BYTES = PCR_LMDB_NAME_BYTES,
    TIME_BYTES = PCR_LMDB_TIME_BYTES,
    ROW_BYTES = TIME_BYTES + NAME_BYTES,
};

size_t pcr_lmdb_changes_max(const struct pcr_lmdb_file *file) {
    size_t free_bytes = file->map_bytes > file->used_bytes ? file->map_bytes - file->used_bytes : 0;
    size_t n = free_bytes / file->page_bytes / CHANGE_PAGES;
    return n < CHANGES_MIN ? CHANGES_MIN : n > CHANGES_MAX ? CHANGES_MAX : n;
}

int pcr_lmdb_count(struct pcr_lmdb_file *file, MDB_txn *txn, struct pcr_lmdb_outcome *outcome) {
    const MDB_dbi tables[] = {0 /* of free pages */, file->entries, file->expiry};
    size_t pages = 0;
    for (size_t i = 0; i < PCR_COUNT_OF(tables); i++) {
        MDB_stat stat_;
        int rc = mdb_stat(txn, tables[i], &stat_);
        if (rc != 0)
            return rc;
        pages += stat_.ms_branch_pages + stat_.ms_leaf_pages + stat_.ms_overflow_pages;
        if (tables[i] == file->entries)
            outcome->entries = stat_.ms_entries;
    }
    file->used_bytes = outcome->used_bytes = pages * file->page_bytes;
    return 0;
}

static int begin(struct pcr_lmdb_file *file, MDB_txn **txn) {
    int rc = file->env ? mdb_txn_begin(file->env, NULL, 0, txn) : MDB_PANIC;
    if (rc != MDB_MAP_RESIZED) // by another process
        return rc;
    rc = pcr_lmdb_remap(file, 0);
    return rc == 0 ? mdb_txn_begin(file->env, NULL, 0, txn) : rc;
}

static int end(MDB_txn *txn, int rc) {
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

// --- putting ------------------------------------------------------------------------------------
static int drop_expiry(struct pcr_lmdb_file *file, MDB_txn *txn, const unsigned char *name,
                       MDB_val entry) {
    unsigned char row[ROW_BYTES];
    if (entry.mv_size < TIME_BYTES)
        return MDB_CORRUPTED;
    memcpy(row, entry.mv_data, TIME_BYTES);
    memcpy(row + TIME_BYTES, name, NAME_BYTES);
    MDB_val key = {sizeof row, row};
    int rc = mdb_del(txn, file->expiry, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put(struct pcr_lmdb_file *file, MDB_txn *txn, const struct pcr_lmdb_put *put) {
    unsigned char row[ROW_BYTES];
    pcr_lmdb_put_be(row, put->expires_ms);
    pcr_lmdb_put_name(row + TIME_BYTES, &put->name);
    MDB_val key = {NAME_BYTES, row + TIME_BYTES}, data;
    int rc = mdb_get(txn, file->entries, &key, &data);
    if (rc == 0)
        rc = drop_expiry(file, txn, row + TIME_BYTES, data);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    data = (MDB_val){TIME_BYTES + put->value.len, NULL};
    rc = mdb_put(txn, file->entries, &key, &data, MDB_RESERVE);
    if (rc != 0)
        return rc;
    memcpy(data.mv_data, row, TIME_BYTES);
    if (put->value.len)
        memcpy((char *)data.mv_data + TIME_BYTES, put->value.ptr, put->value.len);
    key = (MDB_val){sizeof row, row};
    data = (MDB_val){0, NULL};
    return mdb_put(txn, file->expiry, &key, &data, 0);
}

// --- what expires first goes first --------------------------------------------------------------
// Until no more than `bytes_max` are used, but at most so many.
static int drop_first(struct pcr_lmdb_file *file, MDB_txn *txn, MDB_cursor *cursor, uint64_t now_ms,
                      size_t bytes_max, size_t most, struct pcr_lmdb_outcome *outcome) {
    MDB_val row, data;
    unsigned char name[NAME_BYTES];
    int rc;
    while ((rc = mdb_cursor_get(cursor, &row, &data, MDB_FIRST)) == 0) {
        if (row.mv_size != ROW_BYTES)
            return MDB_CORRUPTED;
        bool expired = pcr_lmdb_get_be(row.mv_data) <= now_ms;
        rc = pcr_lmdb_count(file, txn, outcome);
        if (rc != 0 || (!expired && outcome->used_bytes <= bytes_max))
            return rc;
        outcome->more = most == 0;
        if (most-- == 0)
            return 0;
        memcpy(name, (const char *)row.mv_data + TIME_BYTES, sizeof name);
        MDB_val key = {sizeof name, name};
        rc = mdb_del(txn, file->entries, &key, NULL);
        if (rc == 0 || rc == MDB_NOTFOUND)
            rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            return rc;
        outcome->expired += expired;
        outcome->evicted += !expired;
    }
    return rc == MDB_NOTFOUND ? pcr_lmdb_count(file, txn, outcome) : rc;
}

static int clean(struct pcr_lmdb_file *file, MDB_txn *txn, uint64_t now_ms, size_t bytes_max,
                 size_t most, struct pcr_lmdb_outcome *outcome) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, file->expiry, &cursor);
    if (rc != 0)
        return rc;
    rc = drop_first(file, txn, cursor, now_ms, bytes_max, most, outcome);
    mdb_cursor_close(cursor);
    return rc;
}

int pcr_lmdb_write(struct pcr_lmdb_file *file, const struct pcr_list *puts, uint64_t now_ms,
                   struct pcr_lmdb_outcome *outcome) {
    struct pcr_lmdb_outcome now = {0};
    size_t left = pcr_lmdb_changes_max(file);
    MDB_txn *txn;
    int rc = begin(file, &txn);
    if (rc != 0)
        return rc;
    PCR_LIST_FOR_EACH(node, puts) {
        rc = put(file, txn, PCR_LIST_ENTRY(node, struct pcr_lmdb_put, node));
        if (rc != 0)
            break;
        now.puts++;
        left -= left > 0;
    }
    if (rc == 0)
        rc = clean(file, txn, now_ms, file->map_bytes / 10 * FULL_TENTHS, left, &now);
    rc = end(txn, rc);
    if (rc == 0) {
        outcome->puts += now.puts;
        outcome->expired += now.expired;
        outcome->evicted += now.evicted;
        outcome->entries = now.entries;
        outcome->used_bytes = now.used_bytes;
        outcome->more = now.more;
    }
    return rc;
}

static int evict(struct pcr_lmdb_file *file, size_t most, struct pcr_lmdb_outcome *outcome) {
    struct pcr_lmdb_outcome now = {0};
    MDB_txn *txn;
    int rc = begin(file, &txn);
    if (rc == 0)
        rc = end(txn, clean(file, txn, 0, 0, most, &now));
    if (rc == 0)
        outcome->evicted += now.evicted;
    return rc;
}

int pcr_lmdb_make_room(struct pcr_lmdb_file *file, struct pcr_lmdb_outcome *outcome) {
    size_t most = pcr_lmdb_changes_max(file);
    int rc = 0, done = 0;
    mdb_reader_check(file->env, NULL); // dead ones keep pages, too
    while (rc == 0 && done < ROOM_TRIES) {
        rc = evict(file, most, outcome);
        if (rc == 0) {
            done++;
        } else if (rc == MDB_MAP_FULL && most > 1) {
            most = most / 4 > 1 ? most / 4 : 1;
            rc = 0;
        } else if (rc == MDB_MAP_FULL && file->map_bytes < file->bytes_max) {
            rc = pcr_lmdb_remap(file, file->bytes_max);
        }
    }
    return rc;
}

bool pcr_lmdb_has_expired(struct pcr_lmdb_file *file, uint64_t now_ms) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val row, data;
    bool expired = false;
    if (!file->env || mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn) != 0)
        return false;
    if (mdb_cursor_open(txn, file->expiry, &cursor) == 0) {
        expired = mdb_cursor_get(cursor, &row, &data, MDB_FIRST) == 0 && row.mv_size == ROW_BYTES &&
                  pcr_lmdb_get_be(row.mv_data) <= now_ms;
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return expired;
}

// --- purging ------------------------------------------------------------------------------------
static bool is_meant(const struct pcr_store_purge *purge, const unsigned char *name) {
    const struct pcr_store_name *want = &purge->name;
    return (!purge->by_model || want->model == pcr_lmdb_get_be(name)) &&
           (!purge->by_tenant || want->tenant == pcr_lmdb_get_be(name + 8)) &&
           (!purge->by_key ||
            (want->hi == pcr_lmdb_get_be(name + 16) && want->lo == pcr_lmdb_get_be(name + 24)));
}

// What is meant begins with so many bytes of its name: what has a model lies together, and there
// what has a tenant. Without a model all entries are looked at.
static size_t common_bytes(const struct pcr_store_purge *purge) {
    return !purge->by_model ? 0 : !purge->by_tenant ? 8 : !purge->by_key ? 16 : NAME_BYTES;
}

static void begin_purging(const struct pcr_store_purge *purge, struct pcr_lmdb_purging *purging) {
    unsigned char name[NAME_BYTES];
    pcr_lmdb_put_name(name, &purge->name);
    memset(purging->at, 0, sizeof purging->at);
    memcpy(purging->at, name, common_bytes(purge));
    purging->begun = true;
}

// At once, for there is nothing to look at.
static int drop_all(struct pcr_lmdb_file *file, struct pcr_lmdb_purging *purging) {
    struct pcr_lmdb_outcome before = {0};
    MDB_txn *txn;
    int rc = begin(file, &txn);
    if (rc != 0)
        return rc;
    rc = pcr_lmdb_count(file, txn, &before);
    if (rc == 0)
        rc = mdb_drop(txn, file->entries, 0);
    if (rc == 0)
        rc = mdb_drop(txn, file->expiry, 0);
    rc = end(txn, rc);
    purging->ended = rc == 0;
    purging->removed = rc == 0 ? (int64_t)before.entries : 0;
    return rc;
}

// From `at` on. `at` moves on; *removed counts.
static int drop_meant(struct pcr_lmdb_file *file, MDB_txn *txn, MDB_cursor *cursor,
                      const struct pcr_store_purge *purge, struct pcr_lmdb_purging *purging) {
    size_t same = common_bytes(purge), left = pcr_lmdb_changes_max(file);
    unsigned char first[NAME_BYTES];
    memcpy(first, purging->at, sizeof first);
    MDB_val key = {sizeof first, first}, data;
    int rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    for (size_t looks = 0; rc == 0; looks++) {
        if (key.mv_size != NAME_BYTES)
            return MDB_CORRUPTED;
        if (memcmp(key.mv_data, first, same) != 0)
            break;
        memcpy(purging->at, key.mv_data, NAME_BYTES);
        if (left == 0 || looks == LOOK_MAX)
            return 0; // the rest in the next one
        if (is_meant(purge, purging->at)) {
            rc = drop_expiry(file, txn, purging->at, data);
            if (rc == 0)
                rc = mdb_cursor_del(cursor, 0);
            if (rc != 0)
                return rc;
            purging->removed++;
            left--;
        }
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    }
    purging->ended = rc == 0 || rc == MDB_NOTFOUND;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int pcr_lmdb_purge(struct pcr_lmdb_file *file, const struct pcr_store_purge *purge,
                   struct pcr_lmdb_purging *purging, struct pcr_lmdb_outcome *outcome) {
    struct pcr_lmdb_purging next = *purging;
    MDB_cursor *cursor;
    MDB_txn *txn;
    bool all = !purge->by_model && !purge->by_tenant && !purge->by_key;
    if (!next.begun)
        begin_purging(purge, &next);
    if (!purging->begun && all) {
        *outcome = (struct pcr_lmdb_outcome){0};
        int rc = drop_all(file, &next);
        if (rc == 0)
            *purging = next;
        if (rc != MDB_MAP_FULL) // else a few at a time
            return rc;
    }
    int rc = begin(file, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(txn, file->entries, &cursor);
    if (rc == 0) {
        rc = drop_meant(file, txn, cursor, purge, &next);
        mdb_cursor_close(cursor);
    }
    if (rc == 0)
        rc = pcr_lmdb_count(file, txn, outcome);
    rc = end(txn, rc);
    if (rc == 0)
        *purging = next;
    return rc;
}
