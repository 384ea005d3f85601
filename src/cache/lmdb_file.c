// SPDX-License-Identifier: Apache-2.0
// Opening the LMDB file, and everything that can be wrong with one.
//
// LMDB reads its file through a map: a page that is not there is a SIGBUS, not an error. So the
// file's length is held against the last page that its root speaks of before anything is read. What
// is damaged or of another version of pacer is set aside and begun anew, since it is a cache; what
// belongs to another program is left alone, and the start fails.
//
// One process must not have the same file open twice (LMDB's locks are the process's), so the open
// ones are listed.
#include "cache/store_lmdb_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRIES "pacer-cache-1-entries" // another layout gets another number
#define EXPIRY "pacer-cache-1-expiry"
#define OURS "pacer-cache-"
#define MODE 0600 // answers may be private
#define TABLES_MAX 4
#define CHILD_S 3
#define FREE_PAGES 0 // the table of that number is LMDB's
#define MAP_BYTES_MIN ((size_t)1 << 20)

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

static char *data_file(const char *path, const char *suffix) {
    char *name = malloc(strlen(path) + strlen(suffix) + sizeof "/data.mdb");
    if (name)
        sprintf(name, "%s/data.mdb%s", path, suffix);
    return name;
}

// --- the content --------------------------------------------------------------------------------
enum content { GOOD, FOREIGN, OUTDATED, DAMAGED, BROKEN };

static bool is_whole(struct pcr_lmdb_file *file) {
    MDB_envinfo info;
    MDB_stat stat_;
    mdb_filehandle_t fd;
    struct stat st;
    if (mdb_env_info(file->env, &info) != 0 || mdb_env_stat(file->env, &stat_) != 0 ||
        mdb_env_get_fd(file->env, &fd) != 0 || fstat(fd, &st) < 0)
        return false;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    return (uint64_t)st.st_size >= ((uint64_t)info.me_last_pgno + 1) * stat_.ms_psize;
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
        struct pcr_str name = {key.mv_data, key.mv_size};
        if (!pcr_str_starts_with(name, PCR_STR(OURS)))
            content = FOREIGN;
        else if (!pcr_str_eq(name, PCR_STR(ENTRIES)) && !pcr_str_eq(name, PCR_STR(EXPIRY)))
            content = OUTDATED;
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return content;
}

static int open_tables(struct pcr_lmdb_file *file) {
    MDB_txn *txn;
    MDB_stat stat_;
    int rc = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, ENTRIES, MDB_CREATE, &file->entries);
    if (rc == 0)
        rc = mdb_dbi_open(txn, EXPIRY, MDB_CREATE, &file->expiry);
    if (rc == 0)
        rc = mdb_stat(txn, file->entries, &stat_);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    file->entries_at_open = stat_.ms_entries;
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
        EACCES, EPERM, EROFS, ENOSPC, EDQUOT, ENOMEM,           EMFILE,
        ENFILE, EIO,   EBUSY, EAGAIN, EINTR,  MDB_READERS_FULL, MDB_MAP_FULL};
    for (size_t i = 0; i < PCR_COUNT_OF(of_the_system); i++)
        if (rc == of_the_system[i])
            return false;
    return true;
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

static enum content try_open(struct pcr_lmdb_file *file, int *rc) {
    *rc = open_env(file);
    if (*rc != 0)
        return is_damage(*rc) ? DAMAGED : BROKEN;
    if (!is_whole(file))
        return DAMAGED;
    mdb_reader_check(file->env, NULL);
    enum content content = look_at_tables(file);
    if (content != GOOD)
        return content;
    *rc = open_tables(file);
    return *rc == 0 ? GOOD : is_damage(*rc) ? DAMAGED : BROKEN;
}

// Reads and deletes all of a table: every page that lookups, sweeps and writes get to. Of a file
// that is more than half full not all can be deleted, for want of new pages.
static int go_through_table(MDB_txn *txn, MDB_dbi table) {
    MDB_cursor *cursor;
    MDB_val key, data;
    volatile char last = 0;
    int rc = mdb_cursor_open(txn, table, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0)
        if (data.mv_size > 0)
            last = ((const char *)data.mv_data)[data.mv_size - 1];
    (void)last;
    rc = rc == MDB_NOTFOUND ? 0 : rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST)) == 0)
        rc = mdb_cursor_del(cursor, 0);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

// The lists of free pages, in LMDB's own table: each a count and so many page numbers.
static int go_through_free(struct pcr_lmdb_file *file) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_envinfo info;
    MDB_val key, data;
    int rc = mdb_env_info(file->env, &info);
    if (rc == 0)
        rc = mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(txn, FREE_PAGES, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        size_t n = data.mv_size / sizeof(size_t), count = 0, page = 0;
        if (n > 0)
            memcpy(&count, data.mv_data, sizeof count);
        if (key.mv_size != sizeof(size_t) || n == 0 || count >= n)
            rc = MDB_CORRUPTED;
        for (size_t i = 1; rc == 0 && i <= count; i++) {
            memcpy(&page, (const char *)data.mv_data + i * sizeof page, sizeof page);
            rc = page < 2 || page > info.me_last_pgno ? MDB_CORRUPTED : 0;
        }
    }
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int go_through(struct pcr_lmdb_file *file) {
    MDB_txn *txn;
    char zero[64] = {0};
    MDB_val key = {sizeof zero, zero}, data = key;
    int rc = go_through_free(file);
    if (rc == 0)
        rc = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (rc == 0)
        rc = mdb_put(txn, file->entries, &key, &data, 0);
    if (rc == 0)
        rc = go_through_table(txn, file->entries);
    if (rc == 0)
        rc = go_through_table(txn, file->expiry);
    return rc == MDB_MAP_FULL ? 0 : rc; // the child ends, and nothing was written
}

// LMDB trusts its pages: a wrong number in one can be a wild pointer. Whether the file is damaged
// is found out where a crash does no harm; a file so large that it takes longer is taken as it is.
static bool crashes_a_child(const struct pcr_lmdb_file *file) {
    pid_t child = fork();
    if (child == 0) {
        struct pcr_lmdb_file copy = *file;
        // It ends by whatever comes, not by the program's own handlers.
        static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
        struct rlimit none = {0, 0};
        int rc;
        for (size_t i = 0; i < PCR_COUNT_OF(signals); i++)
            signal(signals[i], SIG_DFL);
        setrlimit(RLIMIT_CORE, &none);
        alarm(CHILD_S);
        enum content content = try_open(&copy, &rc);
        _exit(content == GOOD && go_through(&copy) != 0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false; // not known
    return WIFSIGNALED(status) ? WTERMSIG(status) != SIGALRM : WEXITSTATUS(status) != 0;
}

static void close_env(struct pcr_lmdb_file *file) {
    if (file->reading)
        mdb_txn_abort(file->reading);
    if (file->env)
        mdb_env_close(file->env);
    file->reading = NULL;
    file->env = NULL;
}

static int set_aside(struct pcr_lmdb_file *file, const char *why, struct pacer_error *err) {
    char *from = data_file(file->path, ""), *to = data_file(file->path, ".bad");
    int rc = from && to ? 0 : pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    if (rc == 0 && rename(from, to) < 0)
        rc = fail(err, from, "cannot set aside", errno);
    if (rc == 0)
        pcr_log(PCR_LOG_WARN, "cache", "%s %s: it is kept as %s, and the cache begins anew", from,
                why, to);
    free(from);
    free(to);
    return rc;
}

// --- one process, one environment ---------------------------------------------------------------
static bool is_open(const char *path) {
    char *name = data_file(path, "");
    struct stat st;
    bool found = false;
    if (name && stat(name, &st) == 0)
        PCR_LIST_FOR_EACH(node, &open_files) {
            const struct pcr_lmdb_file *file = PCR_LIST_ENTRY(node, struct pcr_lmdb_file, node);
            found = found || (file->dev == st.st_dev && file->ino == st.st_ino);
        }
    free(name);
    return found;
}

static int open_content(struct pcr_lmdb_file *file, struct pacer_error *err) {
    int rc = 0;
    enum content content =
        file->try_in_child && crashes_a_child(file) ? DAMAGED : try_open(file, &rc);
    if (content == DAMAGED || content == OUTDATED) {
        close_env(file);
        int aside = set_aside(
            file, content == DAMAGED ? "is damaged" : "is of another version of pacer", err);
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

static int open_locked(struct pcr_lmdb_file *file, struct pacer_error *err) {
    if (is_open(file->path))
        return pcr_err(err, PACER_EINVAL, "cache",
                       "cache.path: '%s' is open in this process already; share that cache",
                       file->path);
    int rc = open_content(file, err);
    if (rc < 0)
        close_env(file);
    else
        pcr_list_push_back(&open_files, &file->node);
    return rc;
}

int pcr_lmdb_open(struct pcr_lmdb_file *file, const struct pcr_store_lmdb_options *options,
                  struct pacer_error *err) {
    *file = (struct pcr_lmdb_file){.try_in_child = options->try_in_child};
    pcr_list_init(&file->node);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    file->map_bytes = options->bytes_max < MAP_BYTES_MIN ? MAP_BYTES_MIN : options->bytes_max;
    file->map_bytes = file->map_bytes / page * page;
    int rc = make_dirs(options->path, err);
    if (rc < 0)
        return rc;
    file->path = strdup(options->path);
    if (!file->path)
        return pcr_err(err, PACER_ENOMEM, "cache", "out of memory");
    pthread_mutex_lock(&open_lock);
    rc = open_locked(file, err);
    pthread_mutex_unlock(&open_lock);
    if (rc < 0)
        free(file->path);
    return rc;
}

void pcr_lmdb_close(struct pcr_lmdb_file *file) {
    pthread_mutex_lock(&open_lock);
    close_env(file);
    pcr_list_remove(&file->node);
    pthread_mutex_unlock(&open_lock);
    free(file->path);
}

bool pcr_lmdb_has_expired(struct pcr_lmdb_file *file, uint64_t now_ms) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, data;
    bool expired = false;
    if (mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn) != 0)
        return false;
    if (mdb_cursor_open(txn, file->expiry, &cursor) == 0) {
        if (mdb_cursor_get(cursor, &key, &data, MDB_FIRST) == 0 && key.mv_size >= sizeof now_ms) {
            uint64_t first;
            memcpy(&first, key.mv_data, sizeof first);
            expired = __builtin_bswap64(first) <= now_ms;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return expired;
}
