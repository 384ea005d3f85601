// SPDX-License-Identifier: Apache-2.0
// Hit ratios of L1 (S3-FIFO) beside an exact LRU and a plain FIFO that have the same bytes, on
// made-up traces.
//
//     cache_traces [--check]     tables, or only whether L1 keeps its promises, on shorter traces
//
// The budget is a part of what all keys would take, charged as L1 charges them: key, body, what an
// entry needs besides, what malloc rounds up. LRU and FIFO are given what L1 has left beside its
// tables, and pay the same for an entry, so the tables that they would need are counted, too. A
// question that misses is put at once. The first fifth of a trace is not counted.
//
// Traces are the same in every run. L1's buckets depend on a seed of the process, so which entries
// share a shard does, too: its ratios differ in the fourth digit from run to run.
#include "base/base.h"
#include "cache/l1.h"
#include "zipf.h"

#include <stdio.h>

#define KEY_BYTES 40
#define BODY_BYTES 200
#define BODY_STEP 16 // bodies of different lengths are multiples of that
#define BODY_BYTES_MIN 100
#define BODY_BYTES_MAX 10000
#define BODY_BYTES_MEDIAN 1000
#define NOBODY UINT32_MAX

struct sizes {
    uint32_t n_keys, n_requests;
};
static const struct sizes whole = {1000000, 5000000}, brief = {100000, 400000};

struct scenario {
    const char *name;
    double exponent;
    double wonders; // this part of the questions is never asked again
    bool scans;     // four times, a fifth of the keys in order, all of them other keys
    bool shifts;    // ranks change their keys: one of the first fiftieth lasts for a million
    bool lengths;   // bodies from 100 B to 10 kB, log-normal
    bool promise;   // no worse than LRU
};

static const struct scenario scenarios[] = {
    {.name = "Zipf 0.8", .exponent = 0.8, .promise = true},
    {.name = "Zipf 0.99", .exponent = 0.99, .promise = true},
    {.name = "Zipf 1.2", .exponent = 1.2, .promise = true},
    {.name = "0.99, 20 % one-hit wonders", .exponent = 0.99, .wonders = 0.2, .promise = true},
    {.name = "0.99, scans", .exponent = 0.99, .scans = true, .promise = true},
    {.name = "0.99, wonders and scans",
     .exponent = 0.99,
     .wonders = 0.2,
     .scans = true,
     .promise = true},
    {.name = "0.99, shifting", .exponent = 0.99, .shifts = true},
    {.name = "0.99, 100 B to 10 kB", .exponent = 0.99, .lengths = true},
    {.name = "0.99, lengths and wonders", .exponent = 0.99, .wonders = 0.2, .lengths = true},
};
static const double shares[] = {0.01, 0.05, 0.10}; // of all keys' bytes

enum cache { S3_FIFO, LRU, FIFO, CACHES };
static const char *const cache_names[] = {"S3-FIFO", "LRU", "FIFO"};

struct result {
    double objects, bytes; // hit ratios
};

static void *must(void *memory) {
    if (memory)
        return memory;
    fprintf(stderr, "cache_traces: no memory\n");
    exit(1);
}

// --- traces -------------------------------------------------------------------------------------
struct trace {
    uint32_t *ids; // below n_ids
    size_t n, n_ids;
    uint16_t *body_bytes; // by id
    double footprint;     // of the keys that are not scanned nor wonders
};

static uint16_t draw_length(uint64_t *random) {
    double gauss = sqrt(-2 * log(1 - draw_unit(random))) * cos(2 * M_PI * draw_unit(random));
    double bytes = BODY_BYTES_MEDIAN * exp(gauss);
    bytes = fmin(fmax(bytes, BODY_BYTES_MIN), BODY_BYTES_MAX);
    return (uint16_t)((size_t)bytes / BODY_STEP * BODY_STEP);
}

static uint32_t *identity(size_t n) {
    uint32_t *map = must(malloc(n * sizeof *map));
    for (size_t i = 0; i < n; i++)
        map[i] = (uint32_t)i;
    return map;
}

// One of the first fiftieth of the ranks changes keys with another.
static void shift(uint32_t *key_of_rank, size_t n_keys, uint64_t *random) {
    size_t a = draw_below(random, n_keys / 50), b = draw_below(random, n_keys);
    uint32_t key = key_of_rank[a];
    key_of_rank[a] = key_of_rank[b];
    key_of_rank[b] = key;
}

static void draw_ids(struct trace *trace, const struct scenario *s, struct sizes sizes) {
    uint64_t random = 1;
    struct zipf zipf;
    zipf_init(&zipf, sizes.n_keys, s->exponent);
    uint32_t *key_of_rank = identity(sizes.n_keys);
    size_t n_scan = sizes.n_keys / 5, shift_every = 1000000 / (sizes.n_keys / 50);
    trace->n_ids = sizes.n_keys + n_scan; // first the keys, then what is scanned, then wonders
    for (size_t i = 0; i < sizes.n_requests; i++) {
        if (s->scans && i % (sizes.n_requests / 4) == sizes.n_requests / 8)
            for (size_t j = 0; j < n_scan; j++)
                trace->ids[trace->n++] = (uint32_t)(sizes.n_keys + j);
        if (s->shifts && i % shift_every == 0)
            shift(key_of_rank, sizes.n_keys, &random);
        trace->ids[trace->n++] = draw_unit(&random) < s->wonders
                                     ? (uint32_t)trace->n_ids++
                                     : key_of_rank[zipf_draw(&zipf, &random)];
    }
    free(key_of_rank);
    zipf_fini(&zipf);
}

static void make_trace(struct trace *trace, const struct scenario *s, struct sizes sizes,
                       const uint32_t *charges) {
    uint64_t random = 2;
    *trace = (struct trace){.ids = must(malloc(2 * sizes.n_requests * sizeof *trace->ids))};
    draw_ids(trace, s, sizes);
    trace->body_bytes = must(malloc(trace->n_ids * sizeof *trace->body_bytes));
    for (size_t i = 0; i < trace->n_ids; i++) {
        trace->body_bytes[i] = s->lengths ? draw_length(&random) : BODY_BYTES;
        if (i < sizes.n_keys)
            trace->footprint += charges[trace->body_bytes[i]];
    }
}

static void free_trace(struct trace *trace) {
    free(trace->ids);
    free(trace->body_bytes);
}

// --- L1 -----------------------------------------------------------------------------------------
static char body[BODY_BYTES_MAX];

static struct pcr_cache_key key_of(uint32_t id, char bytes[KEY_BYTES]) {
    memset(bytes, 0, KEY_BYTES);
    memcpy(bytes, &id, sizeof id);
    struct pcr_cache_key key = {.bytes = {bytes, KEY_BYTES}};
    struct pcr_hash128 hash = pcr_str_hash128(key.bytes);
    key.name.hi = hash.hi;
    key.name.lo = hash.lo;
    return key;
}

static bool ask_l1(struct pcr_l1 *l1, uint32_t id, size_t body_bytes) {
    char bytes[KEY_BYTES];
    struct pcr_cache_key key = key_of(id, bytes);
    struct pcr_l1_view view;
    pcr_epoch_enter();
    bool found = pcr_l1_find(l1, &key, &view);
    if (found)
        pcr_l1_use(view.entry);
    pcr_epoch_leave();
    if (!found)
        pcr_l1_put(l1, &(struct pcr_l1_item){.key = &key, .body = {body, body_bytes}}, NULL, NULL);
    return found;
}

static struct pcr_l1 *make_l1(size_t bytes) {
    struct pcr_l1 *l1;
    if (pcr_l1_create(bytes, &l1, NULL) < 0)
        must(NULL);
    return l1;
}

static size_t bytes_of(struct pcr_l1 *l1) {
    struct pcr_l1_stats stats;
    pcr_l1_stats(l1, &stats);
    return (size_t)stats.bytes;
}

// What L1 charges for an entry, by the length of its body: it is asked, not guessed.
static uint32_t *find_charges(void) {
    uint32_t *charges = must(calloc(BODY_BYTES_MAX + 1, sizeof *charges));
    struct pcr_l1 *l1 = make_l1((size_t)256 << 20);
    for (size_t bytes = BODY_STEP; bytes <= BODY_BYTES_MAX; bytes += BODY_STEP) {
        size_t before = bytes_of(l1);
        ask_l1(l1, (uint32_t)bytes, bytes);
        charges[bytes] = (uint32_t)(bytes_of(l1) - before);
    }
    size_t before = bytes_of(l1);
    ask_l1(l1, 0, BODY_BYTES);
    charges[BODY_BYTES] = (uint32_t)(bytes_of(l1) - before);
    pcr_l1_destroy(l1);
    return charges;
}

// --- LRU and FIFO: a ring of ids, newest first --------------------------------------------------
struct ring {
    struct link {
        uint32_t newer, older; // NOBODY: not kept
    } * links;                 // by id; the last is the ring's own
    uint32_t end;
    size_t bytes, bytes_max;
    const uint32_t *charges;
    const uint16_t *body_bytes;
};

static void ring_init(struct ring *ring, const struct trace *trace, const uint32_t *charges,
                      size_t bytes_max) {
    *ring = (struct ring){.links = must(malloc((trace->n_ids + 1) * sizeof *ring->links)),
                          .end = (uint32_t)trace->n_ids,
                          .bytes_max = bytes_max,
                          .charges = charges,
                          .body_bytes = trace->body_bytes};
    for (size_t i = 0; i < trace->n_ids; i++)
        ring->links[i] = (struct link){NOBODY, NOBODY};
    ring->links[ring->end] = (struct link){ring->end, ring->end};
}

static void ring_remove(struct ring *ring, uint32_t id) {
    struct link *link = &ring->links[id];
    ring->links[link->newer].older = link->older;
    ring->links[link->older].newer = link->newer;
    *link = (struct link){NOBODY, NOBODY};
}

static void ring_push(struct ring *ring, uint32_t id) {
    struct link *end = &ring->links[ring->end];
    ring->links[id] = (struct link){ring->end, end->older};
    ring->links[end->older].newer = id;
    end->older = id;
}

static bool ask_ring(struct ring *ring, uint32_t id, bool by_use) {
    if (ring->links[id].newer != NOBODY) {
        if (by_use) {
            ring_remove(ring, id);
            ring_push(ring, id);
        }
        return true;
    }
    size_t bytes = ring->charges[ring->body_bytes[id]];
    while (ring->bytes + bytes > ring->bytes_max) {
        uint32_t oldest = ring->links[ring->end].newer;
        ring->bytes -= ring->charges[ring->body_bytes[oldest]];
        ring_remove(ring, oldest);
    }
    ring_push(ring, id);
    ring->bytes += bytes;
    return false;
}

// --- runs ---------------------------------------------------------------------------------------
static struct result run(const struct trace *trace, enum cache cache, struct pcr_l1 *l1,
                         struct ring *ring) {
    double hits = 0, hit_bytes = 0, asked = 0, asked_bytes = 0;
    for (size_t i = 0; i < trace->n; i++) {
        uint32_t id = trace->ids[i];
        size_t bytes = trace->body_bytes[id];
        bool hit = cache == S3_FIFO ? ask_l1(l1, id, bytes) : ask_ring(ring, id, cache == LRU);
        if (i < trace->n / 5)
            continue;
        asked++;
        asked_bytes += (double)bytes;
        hits += hit;
        hit_bytes += hit ? (double)bytes : 0;
    }
    return (struct result){hits / asked, hit_bytes / asked_bytes};
}

static void run_all(const struct trace *trace, const uint32_t *charges, double share,
                    struct result *results) {
    size_t bytes = (size_t)(trace->footprint * share);
    struct pcr_l1 *l1 = make_l1(bytes);
    size_t tables_bytes = bytes_of(l1);
    results[S3_FIFO] = run(trace, S3_FIFO, l1, NULL);
    pcr_l1_destroy(l1);
    for (enum cache cache = LRU; cache <= FIFO; cache++) {
        struct ring ring;
        ring_init(&ring, trace, charges, bytes - tables_bytes);
        results[cache] = run(trace, cache, NULL, &ring);
        free(ring.links);
    }
}

static void print_results(const struct scenario *s, double share, const struct result *results) {
    printf("%-28s %5.0f %%", s->name, share * 100);
    for (enum cache cache = S3_FIFO; cache < CACHES; cache++)
        printf(" %8.4f", results[cache].objects);
    printf("  ");
    for (enum cache cache = S3_FIFO; cache < CACHES; cache++)
        printf(" %8.4f", results[cache].bytes);
    printf("\n");
}

int main(int argc, char **argv) {
    bool only_check = argc > 1 && strcmp(argv[1], "--check") == 0;
    struct sizes sizes = only_check ? brief : whole;
    unsigned broken = 0;
    double least_lead = 1; // over LRU, where that is promised
    uint32_t *charges = find_charges();
    printf("cache of %u keys of %d B, %u questions; hit ratios of objects, then of bytes\n",
           sizes.n_keys, KEY_BYTES, sizes.n_requests);
    if (!only_check) {
        printf("%-28s %7s", "trace", "budget");
        for (unsigned i = 0; i < 2 * CACHES; i++)
            printf("%s %8s", i == CACHES ? "  " : "", cache_names[i % CACHES]);
        printf("\n");
    }
    for (size_t i = 0; i < PCR_COUNT_OF(scenarios); i++) {
        const struct scenario *s = &scenarios[i];
        struct trace trace;
        if (only_check && !s->promise)
            continue;
        make_trace(&trace, s, sizes, charges);
        for (size_t j = 0; j < PCR_COUNT_OF(shares); j++) {
            struct result results[CACHES];
            run_all(&trace, charges, shares[j], results);
            double lead = results[S3_FIFO].objects - results[LRU].objects;
            bool kept = !s->promise || lead >= 0;
            if (s->promise)
                least_lead = fmin(least_lead, lead);
            if (!only_check || !kept)
                print_results(s, shares[j], results);
            if (!kept)
                printf("BROKEN: %s: no worse than LRU\n", s->name);
            broken += !kept;
        }
        free_trace(&trace);
    }
    free(charges);
    printf("%u of L1's promises broken; its least lead over LRU is %.4f\n", broken, least_lead);
    return broken > 0;
}
