// SPDX-License-Identifier: Apache-2.0
// Whether LMDB may open a file.
//
// LMDB trusts its pages: it reads them through a map, follows their numbers and asserts what it
// expects, so rubbish in a file is a crash, not an error. A file is therefore read here first, page
// by page, and nothing in it is believed: every page of every tree is in the file, is what its
// parent takes it for, belongs to one tree only, and holds its nodes within itself; keys are in
// order; trees are as deep and as large as their roots say; what is listed as free is used by none.
// Values are left alone: they have a checksum of their own.
//
// The format is that of LMDB 0.9 (data version 1): two meta pages, of which the one of the later
// transaction is in force; from it the tree of free pages and the main tree, whose records are the
// roots of named trees. It has been the same since 2011.
//
// A file that another process has open is not looked at: it changes meanwhile, and who opened it
// first has looked.
//
// Rejected: trying LMDB on the file in a child process. It finds what the trial happens to touch.
#include "cache/store_lmdb_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC 0xBEEFC0DEu
#define VERSION 1
#define METAS 2
#define DEPTH_MAX ((size_t)32) // of LMDB's cursors
#define PAGE_BYTES_MIN 512
#define PAGE_BYTES_MAX 32768
#define KEY_BYTES_MAX 511
#define NO_PAGE UINT64_MAX
#define MISSING_MAX 16384 // free pages at the end that were never written

enum { BRANCH = 1, LEAF = 2, OVERFLOW = 4, META = 8 }; // kinds of pages
enum { BIG = 1, TREE = 2 };                            // kinds of records: elsewhere; a root

struct header { // of a page
    uint64_t number;
    uint16_t pad, flags;
    union {
        struct {
            uint16_t lower, upper; // the end of the list of nodes, the begin of the nodes
        };
        uint32_t n_pages; // of an overflow
    };
};
struct node { // of a leaf or a branch; the key follows
    uint16_t low, high, flags, key_bytes;
};
struct tree {
    uint32_t pad; // of the free tree: the size of pages
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, records, root;
};
struct meta {
    uint32_t magic, version;
    uint64_t address, map_bytes;
    struct tree trees[2]; // free pages, main
    uint64_t last_page, transaction;
};
_Static_assert(sizeof(struct header) == 16 && sizeof(struct node) == 8 &&
                   sizeof(struct tree) == 48 && sizeof(struct meta) == 136,
               "as they lie in the file");

struct verify {
    int fd;
    size_t page_bytes;
    uint64_t n_pages, last_page; // that are there; that the meta in force speaks of
    uint64_t transaction;
    uint8_t *seen; // a bit per page
    char *pages;   // one per level
    int error;     // of reading
    enum pcr_lmdb_names names;
};

// --- pages --------------------------------------------------------------------------------------
static bool read_at(struct verify *v, uint64_t offset, void *into, size_t bytes) {
    ssize_t n;
    do
        n = pread(v->fd, into, bytes, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        v->error = errno;
    return n == (ssize_t)bytes;
}

// Marks pages as used; false if one was already, or is none.
static bool take(struct verify *v, uint64_t page, uint64_t n) {
    if (page < METAS || page > v->last_page || n > v->last_page - page + 1)
        return false;
    for (uint64_t i = page; i < page + n; i++) {
        if (v->seen[i / 8] & 1u << i % 8)
            return false;
        v->seen[i / 8] |= (uint8_t)(1u << i % 8);
    }
    return true;
}

struct walk { // of one tree, from its first key to its last
    struct tree tree, found;
    bool is_main, is_free;
    bool has_last, may_equal; // the last one was of a branch: its child may begin with it
    char last_key[KEY_BYTES_MAX];
    size_t last_bytes;
};

static size_t n_nodes(const struct header *header) {
    return (header->lower - sizeof *header) / sizeof(uint16_t);
}

static uint64_t data_of(const struct node *node) {
    return node->low | (uint32_t)node->high << 16;
}

static uint64_t child_of(const struct node *node) {
    return data_of(node) | (uint64_t)node->flags << 32;
}

static bool is_frame_good(const struct verify *v, const struct header *header, uint64_t number,
                          uint16_t flags) {
    return header->number == number && header->flags == flags && header->lower >= sizeof *header &&
           header->lower % 2 == 0 && header->lower <= header->upper &&
           header->upper <= v->page_bytes;
}

static size_t bytes_of(const struct header *header, const struct node *node) {
    size_t data = header->flags != LEAF ? 0 : node->flags & BIG ? sizeof(uint64_t) : data_of(node);
    return sizeof *node + node->key_bytes + data;
}

// Two have to fit a page; a longer value is elsewhere.
static size_t node_bytes_max(const struct verify *v) {
    return (((v->page_bytes - sizeof(struct header)) / 2) & ~(size_t)1) - sizeof(uint16_t);
}

// The node behind pointer `i`, whole and behind the pointers; NULL if it is not.
static const char *node_at(const struct verify *v, const char *page, size_t i, struct node *node) {
    struct header header;
    uint16_t at;
    memcpy(&header, page, sizeof header);
    memcpy(&at, page + sizeof header + i * sizeof at, sizeof at);
    if (at % 2 != 0 || at < header.upper || at + sizeof *node > v->page_bytes)
        return NULL;
    memcpy(node, page + at, sizeof *node);
    size_t bytes = bytes_of(&header, node);
    return bytes <= v->page_bytes - at && bytes <= node_bytes_max(v) ? page + at : NULL;
}

// Nodes do not overlap if together they are as long as the room they have.
static bool are_apart(const struct verify *v, const char *page) {
    struct header header;
    size_t bytes = 0;
    memcpy(&header, page, sizeof header);
    for (size_t i = 0; i < n_nodes(&header); i++) {
        struct node node;
        if (!node_at(v, page, i, &node))
            return false;
        bytes += (bytes_of(&header, &node) + 1) & ~(size_t)1;
    }
    return bytes == v->page_bytes - header.upper;
}

// --- keys ---------------------------------------------------------------------------------------
static int order_of(const struct walk *walk, const char *key, size_t bytes) {
    if (walk->is_free) { // numbers
        uint64_t a, b;
        memcpy(&a, key, sizeof a);
        memcpy(&b, walk->last_key, sizeof b);
        return a < b ? -1 : a > b;
    }
    size_t both = bytes < walk->last_bytes ? bytes : walk->last_bytes;
    int order = memcmp(key, walk->last_key, both);
    return order != 0 ? order : bytes < walk->last_bytes ? -1 : bytes > walk->last_bytes;
}

// Whether a key is one, and comes behind all before it.
static bool take_key(struct walk *walk, const char *key, size_t bytes, bool of_branch) {
    if (walk->is_free ? bytes != sizeof(uint64_t) : bytes == 0 || bytes > KEY_BYTES_MAX)
        return false;
    int order = walk->has_last ? order_of(walk, key, bytes) : 1;
    bool good = order > 0 || (order == 0 && walk->may_equal && !of_branch);
    memcpy(walk->last_key, key, bytes);
    walk->last_bytes = bytes;
    walk->has_last = true;
    walk->may_equal = of_branch;
    return good;
}

// --- records ------------------------------------------------------------------------------------
static bool check_tree(struct verify *v, const struct tree *tree, bool is_free, bool is_main,
                       char *pages);

// A value too long for its page: a run of pages of its own. A shorter one that has replaced it
// there has more of them than it needs.
static bool check_overflow(struct verify *v, struct walk *walk, const char *data, uint64_t bytes) {
    struct header header;
    uint64_t page, needed = (sizeof header - 1 + bytes) / v->page_bytes + 1;
    memcpy(&page, data, sizeof page);
    if (page >= v->n_pages || !read_at(v, page * v->page_bytes, &header, sizeof header) ||
        header.number != page || header.flags != OVERFLOW || header.n_pages < needed ||
        header.n_pages > v->n_pages - page)
        return false;
    walk->found.overflows += header.n_pages;
    return take(v, page, header.n_pages);
}

// The pages that a transaction has freed, in falling order behind their count.
static bool check_free(struct verify *v, const char *key, const char *data, uint64_t bytes) {
    uint64_t transaction, n, page, last = UINT64_MAX;
    memcpy(&transaction, key, sizeof transaction);
    if (transaction == 0 || transaction > v->transaction || bytes < sizeof n)
        return false;
    memcpy(&n, data, sizeof n);
    if (n > bytes / sizeof n - 1)
        return false;
    for (uint64_t i = 1; i <= n; i++) {
        memcpy(&page, data + i * sizeof page, sizeof page);
        if (page >= last || !take(v, page, 1))
            return false;
        last = page;
    }
    return true;
}

// The same where the list is long: it is read from its overflow pages.
static bool check_free_overflow(struct verify *v, const char *key, const char *data,
                                uint64_t bytes) {
    uint64_t page;
    memcpy(&page, data, sizeof page);
    char *list = bytes <= v->n_pages * v->page_bytes ? malloc(bytes) : NULL;
    bool good = list && read_at(v, page * v->page_bytes + sizeof(struct header), list, bytes) &&
                check_free(v, key, list, bytes);
    free(list);
    return good;
}

// A named tree. Of trees that are not ours only the name counts.
static bool check_named(struct verify *v, const char *key, size_t key_bytes, const char *data,
                        uint64_t bytes, char *pages) {
    struct tree tree;
    enum pcr_lmdb_names name = pcr_lmdb_name((struct pcr_str){key, key_bytes});
    if (name > v->names)
        v->names = name;
    if (name != PCR_LMDB_OURS)
        return true;
    memcpy(&tree, data, sizeof tree < bytes ? sizeof tree : bytes);
    return bytes == sizeof tree && check_tree(v, &tree, false, false, pages);
}

static bool check_record(struct verify *v, struct walk *walk, const char *node_bytes,
                         const struct node *node, char *pages) {
    const char *key = node_bytes + sizeof *node, *data = key + node->key_bytes;
    uint64_t bytes = data_of(node);
    walk->found.records++;
    if (!take_key(walk, key, node->key_bytes, false))
        return false;
    if (node->flags & BIG && !check_overflow(v, walk, data, bytes))
        return false;
    if (walk->is_free)
        return node->flags == BIG ? check_free_overflow(v, key, data, bytes)
               : node->flags == 0 ? check_free(v, key, data, bytes)
                                  : false;
    if (walk->is_main && node->flags == TREE)
        return check_named(v, key, node->key_bytes, data, bytes, pages);
    if (walk->is_main && node->flags != TREE)
        v->names = PCR_LMDB_FOREIGN; // we put none there
    return walk->is_main || node->flags == 0 || node->flags == BIG;
}

// --- trees --------------------------------------------------------------------------------------
// `pages` has room for the pages of this level and of those below it.
static bool check_page(struct verify *v, struct walk *walk, uint64_t number, unsigned depth,
                       char *pages) {
    struct header header;
    bool is_leaf = depth == walk->tree.depth;
    if (number >= v->n_pages || !take(v, number, 1) ||
        !read_at(v, number * v->page_bytes, pages, v->page_bytes))
        return false;
    memcpy(&header, pages, sizeof header);
    if (!is_frame_good(v, &header, number, is_leaf ? LEAF : BRANCH) || !are_apart(v, pages))
        return false;
    size_t n = n_nodes(&header);
    if (n < (is_leaf ? 1 : 2))
        return false;
    walk->found.leaves += is_leaf;
    walk->found.branches += !is_leaf;
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        struct node node;
        const char *at = node_at(v, pages, i, &node);
        if (!at)
            return false;
        if (is_leaf)
            good = check_record(v, walk, at, &node, pages + v->page_bytes);
        else // its first key is not looked at by anybody
            good = (i == 0 ? node.key_bytes <= KEY_BYTES_MAX
                           : take_key(walk, at + sizeof node, node.key_bytes, true)) &&
                   check_page(v, walk, child_of(&node), depth + 1, pages + v->page_bytes);
    }
    return good;
}

static bool check_tree(struct verify *v, const struct tree *tree, bool is_free, bool is_main,
                       char *pages) {
    struct walk walk = {.tree = *tree, .is_free = is_free, .is_main = is_main};
    if (tree->root == NO_PAGE)
        return tree->depth == 0 && tree->branches == 0 && tree->leaves == 0 &&
               tree->overflows == 0 && tree->records == 0;
    size_t used = (size_t)(pages - v->pages) / v->page_bytes;
    if (tree->depth == 0 || tree->depth > DEPTH_MAX || used + tree->depth > 2 * DEPTH_MAX ||
        tree->flags != (is_free ? MDB_INTEGERKEY : 0))
        return false;
    return check_page(v, &walk, tree->root, 1, pages) && walk.found.branches == tree->branches &&
           walk.found.leaves == tree->leaves && walk.found.overflows == tree->overflows &&
           walk.found.records == tree->records;
}

// --- the file -----------------------------------------------------------------------------------
static bool read_meta(struct verify *v, uint64_t page, size_t page_bytes, struct meta *meta) {
    struct header header;
    uint64_t at = page * page_bytes;
    return read_at(v, at, &header, sizeof header) && header.number == page &&
           header.flags == META && read_at(v, at + sizeof header, meta, sizeof *meta) &&
           meta->magic == MAGIC && meta->version == VERSION;
}

// The one in force; LMDB finds it by the parity of its transaction.
static bool find_meta(struct verify *v, struct meta *meta) {
    struct meta metas[METAS];
    if (!read_meta(v, 0, 0, &metas[0]))
        return false;
    size_t page_bytes = metas[0].trees[0].pad;
    if (page_bytes < PAGE_BYTES_MIN || page_bytes > PAGE_BYTES_MAX ||
        (page_bytes & (page_bytes - 1)) != 0 || !read_meta(v, 1, page_bytes, &metas[1]) ||
        metas[1].trees[0].pad != page_bytes)
        return false;
    size_t later = metas[1].transaction > metas[0].transaction;
    *meta = metas[later];
    v->page_bytes = page_bytes;
    return (meta->transaction & 1) == later && meta->trees[0].flags == MDB_INTEGERKEY &&
           meta->last_page >= METAS - 1;
}

// Pages that are not there must be free, which means that they have been seen.
static bool are_missing_free(const struct verify *v) {
    for (uint64_t i = v->n_pages; i <= v->last_page; i++)
        if (!(v->seen[i / 8] & 1u << i % 8))
            return false;
    return true;
}

static bool check_file(struct verify *v, uint64_t file_bytes) {
    struct meta meta;
    if (!find_meta(v, &meta))
        return false;
    v->n_pages = file_bytes / v->page_bytes;
    v->last_page = meta.last_page;
    v->transaction = meta.transaction;
    if (v->n_pages < METAS || v->last_page >= v->n_pages + MISSING_MAX)
        return false;
    v->seen = calloc(v->last_page / 8 + 1, 1);
    v->pages = malloc(2 * DEPTH_MAX * v->page_bytes);
    if (!v->seen || !v->pages) {
        v->error = ENOMEM;
        return false;
    }
    if (meta.trees[1].flags != 0) // we make no such main tree
        v->names = PCR_LMDB_FOREIGN;
    bool good = v->names == PCR_LMDB_OURS && check_tree(v, &meta.trees[1], false, true, v->pages);
    // Of another program's file no more is said than that it is one.
    return v->names == PCR_LMDB_FOREIGN ||
           (good && check_tree(v, &meta.trees[0], true, false, v->pages) && are_missing_free(v));
}

// LMDB holds a lock on the first byte of its lock file for as long as it is open.
static bool is_in_use(const char *locks) {
    int fd = open(locks, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    bool used = fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0)
        close(fd);
    return used;
}

int pcr_lmdb_verify(const char *data, const char *locks, enum pcr_lmdb_names *names) {
    struct verify v = {.fd = open(data, O_RDONLY | O_CLOEXEC)};
    struct stat st;
    *names = PCR_LMDB_OURS;
    if (v.fd < 0)
        return errno == ENOENT ? 0 : errno;
    bool good = true;
    if (fstat(v.fd, &st) < 0)
        v.error = errno;
    else if (st.st_size > 0 && !is_in_use(locks)) // an empty one is a new one
        good = check_file(&v, (uint64_t)st.st_size);
    close(v.fd);
    free(v.seen);
    free(v.pages);
    *names = v.names;
    return v.error ? v.error : good ? 0 : MDB_CORRUPTED;
}
