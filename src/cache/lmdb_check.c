// SPDX-License-Identifier: Apache-2.0
// Whether an LMDB file has what it speaks of.
//
// LMDB reads its file through a map: a page that is not there is a SIGBUS, not an error. So the
// file's length is held against the last page that its root speaks of before anything is read. A
// file may be too short by that and yet be whole: pages that a transaction took and gave up again
// are not written. They are listed as free, so what is missing may be only such pages.
#include "cache/store_lmdb_priv.h"

#include <errno.h>
#include <unistd.h>

#define FREE_PAGES 0      // the table of that number is LMDB's
#define MISSING_MAX 16384 // more pages than a transaction gives up
#define FIRST_PAGE 2      // before it are the two roots

size_t pcr_lmdb_whole_pages(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return bytes / page * page;
}

// The lists of free pages: each a count and so many page numbers. *n of them are `from` or higher.
static int count_free(struct pcr_lmdb_file *file, size_t last, size_t from, size_t *n) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, data;
    *n = 0;
    int rc = mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(txn, FREE_PAGES, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        size_t words = data.mv_size / sizeof(size_t), count = 0, page = 0;
        if (words > 0)
            memcpy(&count, data.mv_data, sizeof count);
        if (key.mv_size != sizeof(size_t) || words == 0 || count >= words)
            rc = MDB_CORRUPTED;
        for (size_t i = 1; rc == 0 && i <= count; i++) {
            memcpy(&page, (const char *)data.mv_data + i * sizeof page, sizeof page);
            rc = page < FIRST_PAGE || page > last ? MDB_CORRUPTED : 0;
            *n += page >= from;
        }
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

// --- the length ---------------------------------------------------------------------------------
struct length {
    int fd;
    size_t pages, needed; // whole ones that are there; those that the root speaks of
};

static int measure(struct pcr_lmdb_file *file, struct length *length) {
    MDB_envinfo info;
    MDB_stat root;
    mdb_filehandle_t fd;
    struct stat st;
    int rc = mdb_env_info(file->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(file->env, &root);
    if (rc == 0)
        rc = mdb_env_get_fd(file->env, &fd);
    if (rc != 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return errno;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    file->page_bytes = root.ms_psize;
    if (root.ms_psize == 0 || info.me_last_pgno >= SIZE_MAX / root.ms_psize)
        return MDB_CORRUPTED;
    *length = (struct length){fd, (size_t)st.st_size / root.ms_psize, info.me_last_pgno + 1};
    return 0;
}

// In a transaction, so that nobody else writes meanwhile. The file is made as long as it should be,
// with zeros, so that looking at it is safe.
static int check_missing(struct pcr_lmdb_file *file) {
    struct length length = {0};
    size_t n_free = 0;
    int rc = measure(file, &length);
    if (rc != 0 || length.pages >= length.needed)
        return rc;
    if (length.needed - length.pages > MISSING_MAX)
        return MDB_CORRUPTED;
    if (ftruncate(length.fd, (off_t)(length.needed * file->page_bytes)) < 0)
        return errno;
    rc = count_free(file, length.needed - 1, length.pages, &n_free);
    return rc == 0 && n_free != length.needed - length.pages ? MDB_CORRUPTED : rc;
}

int pcr_lmdb_check_length(struct pcr_lmdb_file *file, size_t *needed_bytes) {
    struct length length = {0};
    MDB_txn *txn;
    int rc = measure(file, &length);
    if (rc != 0)
        return rc;
    *needed_bytes = length.needed * file->page_bytes;
    if (length.pages >= length.needed)
        return 0;
    rc = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = check_missing(file);
    mdb_txn_abort(txn);
    return rc;
}
