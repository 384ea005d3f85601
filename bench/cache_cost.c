// SPDX-License-Identifier: Apache-2.0
// What a hit costs at the library level: a key formed of 32 FP32 features, and pcr_cache_get's
// whole way into an arena, beside a cache as one writes it in an afternoon: one mutex, a hash
// table, an LRU list, the body copied under the lock.
//
//     cache_cost [ENTRIES]     time of hits and puts with so many entries (default 100000)
//     cache_cost --memory      memory beside key and body instead
//
// Two threads meet before each slice, which lasts from the first one's beginning to the last one's
// end. What a slice asks for is drawn before it; its rows lie in the second-level cache, as those
// of a request that has just been parsed do. Prints the tenth of a hundred slices, since other work
// can only add, of the best of three rounds; rounds take all columns of a line in turn.
#include "cache/cache_priv.h"
#include "zipf.h"

#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#define COLUMNS 32
#define SLICE 1024 // hits
#define SLICES 100
#define ROUNDS 3
#define THREADS_MAX 2
#define NOW_NS (1000 * PCR_NS_PER_S)
#define EXPONENT 0.99

static void *must(void *memory) {
    if (memory)
        return memory;
    fprintf(stderr, "cache_cost: no memory\n");
    exit(1);
}

static uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * PCR_NS_PER_S + (uint64_t)now.tv_nsec;
}

// --- the peer: a mutex, a table of chains, an LRU list ------------------------------------------
struct plain_entry {
    struct plain_entry *next;
    struct pcr_list node;
    uint64_t hash;
    size_t key_bytes, body_bytes;
    char bytes[];
};

struct plain {
    pthread_mutex_t lock;
    struct plain_entry **buckets;
    size_t n_buckets; // a power of two
    struct pcr_list entries;
    size_t bytes, bytes_max;
};

static void plain_init(struct plain *plain, size_t bytes_max, size_t n_buckets) {
    *plain = (struct plain){.n_buckets = n_buckets, .bytes_max = bytes_max};
    plain->buckets = must(calloc(n_buckets, sizeof(struct plain_entry *)));
    pthread_mutex_init(&plain->lock, NULL);
    pcr_list_init(&plain->entries);
}

static struct plain_entry **plain_find(struct plain *plain, const struct pcr_cache_key *key) {
    struct plain_entry **at = &plain->buckets[key->name.hi & (plain->n_buckets - 1)];
    while (*at && ((*at)->hash != key->name.hi ||
                   !pcr_str_eq((struct pcr_str){(*at)->bytes, (*at)->key_bytes}, key->bytes)))
        at = &(*at)->next;
    return at;
}

static bool plain_get(struct plain *plain, const struct pcr_cache_key *key, struct pcr_arena *arena,
                      struct pcr_str *body) {
    pthread_mutex_lock(&plain->lock);
    struct plain_entry *entry = *plain_find(plain, key);
    if (entry) {
        pcr_list_remove(&entry->node);
        pcr_list_push_front(&plain->entries, &entry->node);
        char *copy = must(pcr_arena_alloc(arena, entry->body_bytes + 1));
        memcpy(copy, entry->bytes + entry->key_bytes, entry->body_bytes);
        *body = (struct pcr_str){copy, entry->body_bytes};
    }
    pthread_mutex_unlock(&plain->lock);
    return entry;
}

static size_t plain_size(const struct plain_entry *entry) {
    return sizeof *entry + entry->key_bytes + entry->body_bytes;
}

static void plain_drop(struct plain *plain, struct plain_entry *entry) {
    struct plain_entry **at = &plain->buckets[entry->hash & (plain->n_buckets - 1)];
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    plain->bytes -= plain_size(entry);
    pcr_list_remove(&entry->node);
    free(entry);
}

static void plain_put(struct plain *plain, const struct pcr_cache_key *key, struct pcr_str body) {
    struct plain_entry *entry = must(malloc(sizeof *entry + key->bytes.len + body.len));
    *entry = (struct plain_entry){
        .hash = key->name.hi, .key_bytes = key->bytes.len, .body_bytes = body.len};
    memcpy(entry->bytes, key->bytes.ptr, key->bytes.len);
    memcpy(entry->bytes + key->bytes.len, body.ptr, body.len);
    pthread_mutex_lock(&plain->lock);
    struct plain_entry **same = plain_find(plain, key);
    if (*same)
        plain_drop(plain, *same);
    plain->bytes += plain_size(entry);
    while (plain->bytes > plain->bytes_max)
        plain_drop(plain, PCR_LIST_ENTRY(plain->entries.prev, struct plain_entry, node));
    struct plain_entry **bucket = &plain->buckets[key->name.hi & (plain->n_buckets - 1)];
    entry->next = *bucket;
    *bucket = entry;
    pcr_list_push_front(&plain->entries, &entry->node);
    pthread_mutex_unlock(&plain->lock);
}

static void plain_fini(struct plain *plain) {
    while (!pcr_list_empty(&plain->entries))
        plain_drop(plain, PCR_LIST_ENTRY(plain->entries.next, struct plain_entry, node));
    pthread_mutex_destroy(&plain->lock);
    free(plain->buckets);
}

// --- questions ----------------------------------------------------------------------------------
static void draw_row(uint32_t id, float row[COLUMNS]) {
    uint64_t random = id;
    for (size_t i = 0; i < COLUMNS; i++)
        row[i] = (float)draw_unit(&random) - 0.5f;
}

static void form_key(struct pcr_buf *buf, const float row[COLUMNS], struct pcr_cache_key *key) {
    static const int64_t shape[] = {1, COLUMNS};
    struct pacer_tensor tensor = {"features", PACER_FP32, 2, shape, row};
    struct pcr_cache_keying keying;
    pcr_buf_clear(buf);
    pcr_cache_key_begin(&keying, buf, PCR_STR("v2"), PCR_STR("acme"), PCR_STR("churn"),
                        PCR_STR("5f70bf18a086007016e948b04aed3b82"));
    pcr_cache_key_tensor(&keying, &tensor);
    if (!pcr_cache_key_end(&keying, key))
        must(NULL);
}

// --- threads that meet --------------------------------------------------------------------------
static atomic_uint n_there;

static void meet(unsigned n_threads, unsigned *met) {
    atomic_fetch_add(&n_there, 1);
    *met += n_threads;
    while (atomic_load(&n_there) < *met) {
    }
}

enum what { KEY, HIT, PLAIN_HIT, PUT, PLAIN_PUT };

struct bench {
    struct pcr_cache *cache;
    struct plain plain;
    size_t n_entries;
    struct pcr_str body;
    struct zipf zipf;
    // of one measurement
    enum what what;
    bool hot; // one key, else Zipf
    unsigned n_threads;
    atomic_uint next_id; // of what is put
};

struct asker {
    struct bench *bench;
    pthread_t thread;
    unsigned number;
    float (*rows)[COLUMNS]; // of a slice
    struct pcr_buf buf;
    struct pcr_arena arena;
    uint64_t random;
    uint64_t began_ns[SLICES], ended_ns[SLICES];
};

static void draw_slice(struct asker *asker) {
    struct bench *bench = asker->bench;
    bool puts = bench->what == PUT || bench->what == PLAIN_PUT;
    for (size_t i = 0; i < SLICE; i++) {
        uint32_t id = puts         ? atomic_fetch_add(&bench->next_id, 1)
                      : bench->hot ? 0
                                   : zipf_draw(&bench->zipf, &asker->random);
        draw_row(id, asker->rows[i]);
    }
}

static bool get(struct asker *asker, const struct pcr_cache_key *key) {
    struct pcr_cache_call call = {.cache = asker->bench->cache,
                                  .policy = {.ttl_ns = 3600 * PCR_NS_PER_S},
                                  .key = *key,
                                  .arena = &asker->arena,
                                  .max_age_ns = UINT64_MAX};
    return pcr_cache_get(&call, NOW_NS);
}

static void put(struct pcr_cache *cache, const struct pcr_cache_key *key, struct pcr_str body) {
    struct pcr_l1_item item = {.key = key,
                               .body = body,
                               .stored_ns = NOW_NS,
                               .fresh_until_ns = NOW_NS + 3600 * PCR_NS_PER_S,
                               .cost_ns = PCR_NS_PER_MS};
    pcr_l1_put(cache->l1, &item, NULL, NULL);
}

static bool do_once(struct asker *asker, const float row[COLUMNS]) {
    struct bench *bench = asker->bench;
    struct pcr_cache_key key;
    struct pcr_str body;
    form_key(&asker->buf, row, &key);
    switch (bench->what) {
    case KEY:
        return true;
    case HIT:
        pcr_arena_reset(&asker->arena);
        return get(asker, &key);
    case PLAIN_HIT:
        pcr_arena_reset(&asker->arena);
        return plain_get(&bench->plain, &key, &asker->arena, &body);
    case PUT:
        put(bench->cache, &key, bench->body);
        return true;
    default:
        plain_put(&bench->plain, &key, bench->body);
        return true;
    }
}

// Each on a core of its own, if there are so many.
static void pin(unsigned number) {
    cpu_set_t allowed, one;
    unsigned nth = 0;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && nth++ == number) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
        }
}

static void *ask(void *ctx) {
    struct asker *asker = ctx;
    unsigned met = 0;
    pin(asker->number);
    for (size_t slice = 0; slice < SLICES; slice++) {
        draw_slice(asker);
        meet(asker->bench->n_threads, &met);
        asker->began_ns[slice] = clock_ns();
        size_t n = 0;
        for (size_t i = 0; i < SLICE; i++)
            n += do_once(asker, asker->rows[i]);
        asker->ended_ns[slice] = clock_ns();
        if (n != SLICE) {
            fprintf(stderr, "cache_cost: %zu of %d hits\n", n, SLICE);
            exit(1);
        }
    }
    return NULL;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double usual_ns(const struct asker *askers, unsigned n_threads) { // of one of a slice
    uint64_t ns[SLICES];
    for (size_t slice = 0; slice < SLICES; slice++) {
        uint64_t began = UINT64_MAX, ended = 0;
        for (unsigned i = 0; i < n_threads; i++) {
            uint64_t from = askers[i].began_ns[slice], to = askers[i].ended_ns[slice];
            began = from < began ? from : began;
            ended = to > ended ? to : ended;
        }
        ns[slice] = ended - began;
    }
    qsort(ns, SLICES, sizeof *ns, by_size);
    return (double)ns[SLICES / 10] / SLICE;
}

static double measure(struct bench *bench, enum what what, bool hot, unsigned n_threads) {
    static struct asker askers[THREADS_MAX];
    bench->what = what;
    bench->hot = hot;
    bench->n_threads = n_threads;
    atomic_store(&n_there, 0);
    for (unsigned i = 0; i < n_threads; i++) {
        struct asker *asker = &askers[i];
        *asker = (struct asker){.bench = bench, .number = i, .random = i + 1};
        asker->rows = must(malloc(SLICE * sizeof *asker->rows));
        pcr_buf_init(&asker->buf, 4096);
        pcr_arena_init(&asker->arena, 65536);
        if (pthread_create(&asker->thread, NULL, ask, asker) != 0)
            must(NULL);
    }
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(askers[i].thread, NULL);
    double ns = usual_ns(askers, n_threads);
    for (unsigned i = 0; i < n_threads; i++) {
        free(askers[i].rows);
        pcr_buf_fini(&askers[i].buf);
        pcr_arena_fini(&askers[i].arena);
    }
    return ns;
}

// --- time ---------------------------------------------------------------------------------------
static size_t buckets_for(size_t n_entries) {
    size_t n = 1;
    while (n < n_entries)
        n *= 2;
    return n;
}

static struct pcr_cache *make_cache(size_t bytes) {
    struct pcr_cache *cache;
    struct pcr_cache_options options = {.memory_bytes = bytes};
    if (pcr_cache_create(&options, &cache, NULL) < 0)
        must(NULL);
    return cache;
}

// Two at once do twice as many: a thread's time for each, so the ratio of rates is 2 · t1/t2.
static void print_line(const char *what, struct bench *bench, enum what ours, enum what theirs,
                       bool hot) {
    double t[4] = {INFINITY, INFINITY, INFINITY, INFINITY};
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < 4; i++)
            t[i] = fmin(t[i], measure(bench, i < 2 ? ours : theirs, hot, 1 + i % 2));
    printf("%6zu B %-18s %6.0f %10.0f %6.2f × %8.0f %10.0f %6.2f × %8.2f × %8.2f ×\n",
           bench->body.len, what, t[0], t[1], 2 * t[0] / t[1], t[2], t[3], 2 * t[2] / t[3],
           t[2] / t[0], t[3] / t[1]);
}

// Caches of so many bytes, into which so many keys are put.
static void begin(struct bench *bench, size_t room, size_t n_keys) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, 4096);
    bench->cache = make_cache(room);
    plain_init(&bench->plain, room, buckets_for(bench->n_entries));
    for (uint32_t id = 0; id < n_keys; id++) {
        float row[COLUMNS];
        struct pcr_cache_key key;
        draw_row(id, row);
        form_key(&buf, row, &key);
        put(bench->cache, &key, bench->body);
        plain_put(&bench->plain, &key, bench->body);
    }
    atomic_store(&bench->next_id, (unsigned)n_keys);
    pcr_buf_fini(&buf);
}

static void end(struct bench *bench) {
    plain_fini(&bench->plain);
    pcr_cache_destroy(bench->cache);
}

static void time_with(size_t n_entries, size_t body_bytes) {
    static char body[4096];
    struct bench bench = {.n_entries = n_entries, .body = {body, body_bytes}};
    zipf_init(&bench.zipf, n_entries, EXPONENT);
    begin(&bench, n_entries * (body_bytes + 700) + ((size_t)8 << 20), n_entries); // all fit
    print_line("hit, one hot key", &bench, HIT, PLAIN_HIT, true);
    print_line("hit, Zipf 0.99", &bench, HIT, PLAIN_HIT, false);
    end(&bench);
    begin(&bench, n_entries * (body_bytes + 400), 2 * n_entries); // full: each put evicts
    print_line("put of a new key", &bench, PUT, PLAIN_PUT, false);
    end(&bench);
    zipf_fini(&bench.zipf);
}

static void time_all(size_t n_entries) {
    static struct bench none;
    double key_ns = measure(&none, KEY, true, 1);
    struct pcr_buf buf;
    struct pcr_cache_key key;
    float row[COLUMNS];
    pcr_buf_init(&buf, 4096);
    draw_row(0, row);
    form_key(&buf, row, &key);
    printf("ns; forming the key (%zu B, of %d FP32 features) is included and takes %.0f\n",
           key.bytes.len, COLUMNS, key_ns);
    pcr_buf_fini(&buf);
    printf("%zu entries, bodies of%*s %6s %10s %8s %8s %10s %8s %10s %10s\n", n_entries, 5, "",
           "pacer", "2 at once", "rate", "plain", "2 at once", "rate", "÷ pacer", "2 at once");
    time_with(n_entries, 200);
    time_with(n_entries, 2000);
}

// --- memory -------------------------------------------------------------------------------------
#define PART_BYTES 200
#define BYTES_PER_ENTRY 500

static size_t resident_bytes(void) {
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &pages, &resident) != 2)
        exit(1);
    fclose(file);
    return resident * 4096;
}

static void number_key(uint64_t id, char bytes[PART_BYTES], struct pcr_cache_key *key) {
    memset(bytes, 0, PART_BYTES);
    memcpy(bytes, &id, sizeof id);
    *key = (struct pcr_cache_key){.bytes = {bytes, PART_BYTES}};
    struct pcr_hash128 hash = pcr_str_hash128(key->bytes);
    key->name.hi = hash.hi;
    key->name.lo = hash.lo;
}

static double beside(double bytes, double n) {
    return bytes / n - 2 * PART_BYTES;
}

// Twice what fits is put, so that it is full. The plain cache is given as many entries.
static void memory_with(size_t n_wanted) {
    static char body_bytes[PART_BYTES];
    struct pcr_str body = {body_bytes, PART_BYTES};
    char bytes[PART_BYTES];
    struct pcr_cache_key key;
    size_t before = resident_bytes();
    struct pcr_cache *cache = make_cache(n_wanted * BYTES_PER_ENTRY);
    for (uint64_t id = 0; id < 2 * n_wanted; id++) {
        number_key(id, bytes, &key);
        put(cache, &key, body);
    }
    size_t after = resident_bytes();
    struct pcr_cache_stats stats;
    pcr_cache_stats(cache, &stats);
    pcr_cache_destroy(cache);
    malloc_trim(0);

    struct plain plain;
    double n = (double)stats.entries;
    size_t plain_before = resident_bytes();
    plain_init(&plain, SIZE_MAX, buckets_for(n_wanted));
    for (uint64_t id = 0; id < stats.entries; id++) {
        number_key(id, bytes, &key);
        plain_put(&plain, &key, body);
    }
    printf("%9.0f %16.1f %16.1f %16.1f\n", n, beside((double)stats.bytes, n),
           beside((double)(after - before), n),
           beside((double)(resident_bytes() - plain_before), n));
    plain_fini(&plain);
    malloc_trim(0);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--memory") == 0) {
        printf("bytes per entry beside key and body of %d B each\n", PART_BYTES);
        printf("%9s %16s %16s %16s\n", "entries", "by its figures", "resident", "plain, resident");
        memory_with(100000);
        memory_with(1000000);
        return 0;
    }
    long n_entries = argc > 1 ? atol(argv[1]) : 100000;
    if (n_entries < 1) {
        fprintf(stderr, "usage: cache_cost [--memory | ENTRIES]\n");
        return 2;
    }
    time_all((size_t)n_entries);
    return 0;
}
