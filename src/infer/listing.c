// SPDX-License-Identifier: Apache-2.0
#include "infer/infer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTING_BYTES_MAX ((size_t)64 << 20)
#define FILES_MAX 100000
#define DEPTH_MAX 6 // NAME/VERSION and folders of weights below; also ends circles of links

struct walk {
    struct pcr_listing *listing;
    const char *dir; // for messages
    size_t cap;
    struct pacer_error *err;
};

static int out_of_memory(const struct walk *walk) {
    return pcr_err(walk->err, PACER_ENOMEM, "watch", "out of memory");
}

static int add(struct walk *walk, const char *path, const struct stat *st) {
    struct pcr_listing *listing = walk->listing;
    if (listing->n == FILES_MAX)
        return pcr_err(walk->err, PACER_ELIMIT, "watch",
                       "more than %d files below %s, which is more than are watched", FILES_MAX,
                       walk->dir);
    if (listing->n == walk->cap) {
        size_t cap = walk->cap ? walk->cap * 2 : 64;
        struct pcr_file_line *files = pcr_arena_array(&listing->arena, cap, sizeof *files);
        if (!files)
            return out_of_memory(walk);
        if (listing->n)
            memcpy(files, listing->files, listing->n * sizeof *files);
        listing->files = files;
        walk->cap = cap;
    }
    listing->files[listing->n++] = (struct pcr_file_line){
        .path = path,
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * (int64_t)PCR_NS_PER_S + st->st_mtim.tv_nsec};
    return 0;
}

static int walk_below(struct walk *walk, int fd, const char *prefix, unsigned depth);

// What goes away while we look, or may not be read, is not there.
static int look_at(struct walk *walk, int fd, const char *name, const char *prefix,
                   unsigned depth) {
    struct stat st;
    if (fstatat(fd, name, &st, 0) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return 0;
    const char *path = pcr_arena_printf(&walk->listing->arena, "%s%s%s", prefix, name,
                                        S_ISDIR(st.st_mode) ? "/" : "");
    if (!path)
        return out_of_memory(walk);
    if (S_ISREG(st.st_mode))
        return add(walk, path, &st);
    if (depth == DEPTH_MAX)
        return 0;
    int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    return below < 0 ? 0 : walk_below(walk, below, path, depth + 1);
}

// Takes over `fd`.
static int walk_below(struct walk *walk, int fd, const char *prefix, unsigned depth) {
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return out_of_memory(walk);
    }
    int code = 0;
    for (const struct dirent *entry; code == 0 && (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            code = look_at(walk, dirfd(d), entry->d_name, prefix, depth);
    closedir(d);
    return code;
}

static int by_path(const void *a, const void *b) {
    const struct pcr_file_line *x = a;
    const struct pcr_file_line *y = b;
    return strcmp(x->path, y->path);
}

int pcr_listing_create(const char *dir, struct pcr_listing **out, struct pacer_error *err) {
    *out = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pcr_err(err, errno == ENOENT || errno == ENOTDIR ? PACER_ENOTFOUND : PACER_EIO,
                       "watch", "the models directory %s cannot be read: %s", dir, strerror(errno));
    struct pcr_listing *listing = calloc(1, sizeof *listing);
    if (!listing) {
        close(fd);
        return pcr_err(err, PACER_ENOMEM, "watch", "out of memory");
    }
    pcr_arena_init(&listing->arena, LISTING_BYTES_MAX);
    struct walk walk = {.listing = listing, .dir = dir, .err = err};
    int code = walk_below(&walk, fd, "", 0);
    if (code < 0) {
        pcr_listing_destroy(listing);
        return code;
    }
    if (listing->n)
        qsort(listing->files, listing->n, sizeof *listing->files, by_path);
    *out = listing;
    return 0;
}

void pcr_listing_destroy(struct pcr_listing *listing) {
    if (!listing)
        return;
    pcr_arena_fini(&listing->arena);
    free(listing);
}
