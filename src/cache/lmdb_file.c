// SPDX-License-Identifier: Apache-2.0
// Opening the LMDB file, and everything that can be wrong with one.
//
// What is damaged (lmdb_verify.c, lmdb_check.c), of another version of pacer or larger than it may
// be is set aside or removed, and begun anew, since it is a cache; what belongs to another program
// is left alone, and the start fails. LMDB's lock file goes with the data: a process that has both
// open goes on with the old ones, and two data files never share one lock file.
//
// One process must not have the same file open twice (LMDB's locks are the process's), so the open
// ones are listed. Processes open one after the other, by a lock on the directory.
#include "cache/store_lmdb_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define ENTRIES "pacer-cache-1-entries" // another layout gets another number
#define EXPIRY "pacer-cache-1-expiry"
#define OURS "pacer-cache-"
#define MODE 0600 // answers may be private
#define TABLES_MAX 4
#define MAP_BYTES_MIN ((size_t)1 << 20)
#define MAP_RESERVE 16             // the last part of the file is mapped only in need
#define LOCKS_BYTES 8192           // what LMDB's lock file has
#define TURN_NS (2 * PCR_NS_PER_S) // how long another process may take to open

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pcr_list open_files = {&open_files, &open_files};

// --- directories --------------------------------------------------------------------------------
static int fail(struct pacer_error *err, const char *path, const char *what, int error) {
    const char *remedy = error == EACCES || error == EPERM || error == EROFS
                             ? "; give this user the right to read and write there, or set "
                               "cache.path to another directory"
                         : error == ENOSPC
                             ? "; make room on that disk, or set cache.path to another"
                             : "";
    return pcr_err(err, PACER_EIO, "cache", "cache.path: %s '%s': %s%s", what, path,
                   mdb_strerror(error), remedy);
}

static int make_dirs(const char *path, struct pacer_error *err) {
    char *partial = strdup(path);
    if (!partial)
        return pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    int error = 0;
    for (char *at = partial + 1; *at && error == 0; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        error = mkdir(partial, 0777) < 0 && errno != EEXIST ? errno : 0;
        *at = '/';
    }
    if (error == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
        error = errno;
    free(partial);
    struct stat st;
    if (error == 0 && stat(path, &st) < 0)
        error = errno;
    if (error == ENOTDIR || (error == 0 && !S_ISDIR(st.st_mode)))
        return pcr_err(err, PACER_EINVAL, "cache",
                       "cache.path: '%s' is not a directory; expected one, or a name that is free",
                       path);
    return error ? fail(err, path, "cannot make the directory", error) : 0;
}

static char *file_of(const char *path, const char *name) {
    char *file = malloc(strlen(path) + strlen(name) + 2);
    if (file)
        sprintf(file, "%s/%s", path, name);
    return file;
}

// LMDB writes its lock file through a map: on a full disk, a page of it that has no block yet would
// be a SIGBUS. 0 or an errno value.
static int allocate_locks(const char *path) {
    char *name = file_of(path, "lock.mdb");
    int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, MODE) : -1;
    int error = !name ? ENOMEM : fd < 0 ? errno : 0;
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 &&
        (st.st_size < LOCKS_BYTES || st.st_blocks * 512 < st.st_size) &&
        fallocate(fd, 0, 0, st.st_size > LOCKS_BYTES ? st.st_size : LOCKS_BYTES) < 0)
        error = errno == EOPNOTSUPP ? 0 : errno; // no worse than without
    if (fd >= 0)
        close(fd);
    free(name);
    return error;
}

// --- the content --------------------------------------------------------------------------------
enum content { GOOD, FOREIGN, OUTDATED, DAMAGED, TOO_LARGE, BROKEN };

enum pcr_lmdb_names pcr_lmdb_name(struct pcr_str name) {
    if (!pcr_str_starts_with(name, PCR_STR(OURS)))
        return PCR_LMDB_FOREIGN;
    return pcr_str_eq(name, PCR_STR(ENTRIES)) || pcr_str_eq(name, PCR_STR(EXPIRY))
               ? PCR_LMDB_OURS
               : PCR_LMDB_OUTDATED;
}

static enum content content_of(enum pcr_lmdb_names names) {
    static const enum content contents[] = {
        [PCR_LMDB_OURS] = GOOD, [PCR_LMDB_OUTDATED] = OUTDATED, [PCR_LMDB_FOREIGN] = FOREIGN};
    return contents[names];
}

// The names in the root are tables of ours, or it is not ours.
static enum content look_at_tables(struct pcr_lmdb_file *file) {
    MDB_txn *txn;
    MDB_dbi root;
    MDB_cursor *cursor;
    enum content content = GOOD;
    if (mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn) != 0)
        return BROKEN;
    if (mdb_dbi_open(txn, NULL, 0, &root) != 0 || mdb_cursor_open(txn, root, &cursor) != 0) {
        mdb_txn_abort(txn);
        return DAMAGED;
    }
    MDB_val key, data;
    while (content == GOOD && mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
        enum pcr_lmdb_names names = pcr_lmdb_name((struct pcr_str){key.mv_data, key.mv_size});
        if (names != PCR_LMDB_OURS)
            content = content_of(names);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return content;
}

static int open_tables(struct pcr_lmdb_file *file) {
    MDB_txn *txn;
    struct pcr_lmdb_outcome outcome = {0};
    int rc = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, ENTRIES, MDB_CREATE, &file->entries);
    if (rc == 0)
        rc = mdb_dbi_open(txn, EXPIRY, MDB_CREATE, &file->expiry);
    if (rc == 0)
        rc = pcr_lmdb_count(file, txn, &outcome);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    file->entries_at_open = outcome.entries;
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        rc = mdb_txn_begin(file->env, NULL, MDB_RDONLY, &file->reading);
    if (rc == 0)
        mdb_txn_reset(file->reading);
    return rc;
}

// What is not the system's doing is the file's: rubbish in it comes back as all sorts of codes.
static bool is_damage(int rc) {
    static const int of_the_system[] = {
        EACCES,       EPERM,          EROFS,  ENOSPC,           EDQUOT,
        EFBIG,        ENOMEM,         EMFILE, ENFILE,           EIO,
        EBUSY,        EAGAIN,         EINTR,  MDB_READERS_FULL, MDB_MAP_FULL,
        MDB_TXN_FULL, MDB_MAP_RESIZED};
    for (size_t i = 0; i < PCR_COUNT_OF(of_the_system); i++)
        if (rc == of_the_system[i])
            return false;
    return rc != 0;
}

// 0 and an environment, or LMDB's code.
static int open_env(struct pcr_lmdb_file *file) {
    int rc = mdb_env_create(&file->env);
    if (rc != 0)
        return rc;
    rc = mdb_env_set_mapsize(file->env, file->map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(file->env, TABLES_MAX);
    if (rc == 0) // answers are looked up one by one: reading ahead is for nothing
        rc = mdb_env_open(file->env, file->path, MDB_NOTLS | MDB_NORDAHEAD, MODE);
    if (rc != 0) {
        mdb_env_close(file->env);
        file->env = NULL;
    }
    return rc;
}

// What is written beyond the map as it is now has to be read, and room has to be left.
static int map_what_is_there(struct pcr_lmdb_file *file, size_t needed_bytes) {
    if (needed_bytes <= file->map_bytes)
        return 0;
    file->map_bytes = file->bytes_max;
    return mdb_env_set_mapsize(file->env, file->map_bytes);
}

static enum content try_open(struct pcr_lmdb_file *file, int *rc) {
    size_t needed_bytes = 0;
    file->map_bytes = pcr_lmdb_whole_pages(file->bytes_max - file->bytes_max / MAP_RESERVE);
    *rc = allocate_locks(file->path);
    if (*rc == 0)
        *rc = open_env(file);
    if (*rc == 0)
        *rc = pcr_lmdb_check_length(file, &needed_bytes);
    if (*rc == 0)
        *rc = map_what_is_there(file, needed_bytes);
    if (*rc != 0)
        return is_damage(*rc) ? DAMAGED : BROKEN;
    mdb_reader_check(file->env, NULL);
    enum content content = look_at_tables(file);
    if (content != GOOD)
        return content;
    if (needed_bytes > file->bytes_max)
        return TOO_LARGE;
    *rc = open_tables(file);
    return *rc == 0 ? GOOD : is_damage(*rc) ? DAMAGED : BROKEN;
}

static void close_env(struct pcr_lmdb_file *file) {
    if (file->reading)
        mdb_txn_abort(file->reading);
    if (file->env)
        mdb_env_close(file->env);
    file->reading = NULL;
    file->env = NULL;
}

static const char *what_is_wrong(enum content content) {
    return content == DAMAGED    ? "is damaged"
           : content == OUTDATED ? "is of another version of pacer"
                                 : "is larger than it may be now";
}

// What is only too large is not kept: it is in the way.
static int set_aside(struct pcr_lmdb_file *file, enum content content, struct pacer_error *err) {
    char *data = file_of(file->path, "data.mdb"), *bad = file_of(file->path, "data.mdb.bad"),
         *locks = file_of(file->path, "lock.mdb");
    int rc = data && bad && locks ? 0 : pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    bool kept = content != TOO_LARGE;
    if (rc == 0 && (unlink(locks) < 0 && errno != ENOENT))
        rc = fail(err, locks, "cannot remove", errno);
    if (rc == 0 && (kept ? rename(data, bad) : unlink(data)) < 0)
        rc = fail(err, data, "cannot set aside", errno);
    if (rc == 0)
        pcr_log(PCR_LOG_WARN, "cache", "%s %s: it is %s%s, and the cache begins anew", data,
                what_is_wrong(content), kept ? "kept as " : "removed", kept ? bad : "");
    free(data);
    free(bad);
    free(locks);
    return rc;
}

// --- one process, one environment ---------------------------------------------------------------
static bool is_of(const struct pcr_lmdb_file *file, const struct stat *st) {
    return file->dev == st->st_dev && file->ino == st->st_ino;
}

static bool stat_data(const char *path, struct stat *st) {
    char *name = file_of(path, "data.mdb");
    bool there = name && stat(name, st) == 0;
    free(name);
    return there;
}

static bool is_open(const char *path) {
    struct stat st;
    if (stat_data(path, &st))
        PCR_LIST_FOR_EACH(node, &open_files) {
            if (is_of(PCR_LIST_ENTRY(node, struct pcr_lmdb_file, node), &st))
                return true;
        }
    return false;
}

// Before LMDB sees it.
static enum content verify(const struct pcr_lmdb_file *file, int *rc) {
    char *data = file_of(file->path, "data.mdb"), *locks = file_of(file->path, "lock.mdb");
    enum pcr_lmdb_names names = PCR_LMDB_OURS;
    *rc = data && locks ? pcr_lmdb_verify(data, locks, &names) : ENOMEM;
    free(data);
    free(locks);
    if (*rc != 0)
        return is_damage(*rc) ? DAMAGED : BROKEN;
    return content_of(names);
}

static int open_content(struct pcr_lmdb_file *file, struct pacer_error *err) {
    int rc = 0;
    enum content content = verify(file, &rc);
    if (content == GOOD)
        content = try_open(file, &rc);
    if (content == DAMAGED || content == OUTDATED || content == TOO_LARGE) {
        close_env(file);
        int aside = set_aside(file, content, err);
        if (aside < 0)
            return aside;
        content = try_open(file, &rc);
    }
    if (content == GOOD)
        return 0;
    if (content == FOREIGN)
        return pcr_err(err, PACER_EINVAL, "cache",
                       "cache.path: '%s/data.mdb' belongs to another program; set cache.path to a "
                       "directory of pacer's own",
                       file->path);
    return fail(err, file->path, "cannot open the store in", rc);
}

// Sets aside and begins anew one at a time. Who cannot have the lock goes on without it: that is
// no worse than a process that is slow.
static int take_turn(const char *path) {
    uint64_t until_ns = pcr_clock_mono_ns() + TURN_NS;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
           pcr_clock_mono_ns() < until_ns)
        usleep(5000);
    return fd;
}

static int open_locked(struct pcr_lmdb_file *file, struct pacer_error *err) {
    if (is_open(file->path))
        return pcr_err(err, PACER_EINVAL, "cache",
                       "cache.path: '%s' is open in this process already; share that cache",
                       file->path);
    int turn = take_turn(file->path);
    int rc = open_content(file, err);
    if (rc < 0)
        close_env(file);
    else
        pcr_list_push_back(&open_files, &file->node);
    if (turn >= 0)
        close(turn);
    return rc;
}

int pcr_lmdb_open(struct pcr_lmdb_file *file, const struct pcr_store_lmdb_options *options,
                  struct pacer_error *err) {
    *file = (struct pcr_lmdb_file){.unmapped = false};
    pcr_list_init(&file->node);
    file->bytes_max = pcr_lmdb_whole_pages(options->bytes_max < MAP_BYTES_MIN ? MAP_BYTES_MIN
                                                                              : options->bytes_max);
    int rc = make_dirs(options->path, err);
    if (rc < 0)
        return rc;
    file->path = strdup(options->path);
    if (!file->path)
        return pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    pthread_mutex_init(&file->map_lock, NULL);
    pthread_mutex_lock(&open_lock);
    rc = open_locked(file, err);
    pthread_mutex_unlock(&open_lock);
    if (rc < 0) {
        pthread_mutex_destroy(&file->map_lock);
        free(file->path);
    }
    return rc;
}

void pcr_lmdb_close(struct pcr_lmdb_file *file) {
    pthread_mutex_lock(&open_lock);
    close_env(file);
    pcr_list_remove(&file->node);
    pthread_mutex_unlock(&open_lock);
    pthread_mutex_destroy(&file->map_lock);
    free(file->path);
}

int pcr_lmdb_reopen(struct pcr_lmdb_file *file, bool damaged, struct pacer_error *err) {
    pthread_mutex_lock(&open_lock);
    pthread_mutex_lock(&file->map_lock);
    struct stat st;
    // Another process may have done so, and this is its new one.
    bool is_it = file->env && stat_data(file->path, &st) && is_of(file, &st);
    close_env(file);
    pcr_list_remove(&file->node);
    int rc = damaged && is_it ? set_aside(file, DAMAGED, err) : 0;
    if (rc == 0)
        rc = open_locked(file, err);
    file->unmapped = rc < 0;
    pthread_mutex_unlock(&file->map_lock);
    pthread_mutex_unlock(&open_lock);
    return rc;
}

int pcr_lmdb_remap(struct pcr_lmdb_file *file, size_t bytes) {
    pthread_mutex_lock(&file->map_lock);
    int rc = file->env ? mdb_env_set_mapsize(file->env, bytes) : MDB_PANIC;
    file->unmapped = rc != 0;
    pthread_mutex_unlock(&file->map_lock);
    if (rc == 0 && bytes > 0)
        file->map_bytes = bytes;
    return rc;
}
