// SPDX-License-Identifier: Apache-2.0
// The cache in figures: for people and programs as JSON (GET /admin/cache), for Prometheus.
#include "server/cache_figures.h"

#include <math.h>

// --- JSON ---------------------------------------------------------------------------------------
static void put_u64(struct pcr_json_writer *w, const char *key, uint64_t number) {
    pcr_json_key(w, key);
    pcr_json_u64(w, number);
}

static void put_text(struct pcr_json_writer *w, const char *key, const char *text) {
    pcr_json_key(w, key);
    pcr_json_text(w, text);
}

static void put_counts(struct pcr_json_writer *w, const char *key,
                       const struct pcr_cache_counts *counts) {
    double ratio = pcr_cache_hit_ratio(counts);
    pcr_json_key(w, key);
    pcr_json_object_begin(w);
    pcr_json_key(w, "hit_ratio");
    if (isnan(ratio))
        pcr_json_null(w);
    else
        pcr_json_f64(w, round(ratio * 1e4) / 1e4);
    put_u64(w, "hits_memory", counts->hits_l1);
    put_u64(w, "hits_lmdb", counts->hits_lmdb);
    put_u64(w, "hits_redis", counts->hits_redis);
    put_u64(w, "coalesced", counts->coalesced);
    put_u64(w, "stale", counts->stale);
    put_u64(w, "misses", counts->misses);
    put_u64(w, "absent", counts->absent);
    put_u64(w, "refreshes", counts->refreshes);
    pcr_json_object_end(w);
}

static const char *state_word(enum pcr_store_state state) {
    return state == PCR_STORE_UP ? "up" : state == PCR_STORE_TRYING ? "trying" : "down";
}

// The time below which a share of the gets was answered, to a power of two.
static uint64_t quantile_us(const struct pcr_store_stats *stats, double share) {
    uint64_t all = 0, below = 0;
    for (size_t i = 0; i < PCR_COUNT_OF(stats->get_buckets); i++)
        all += stats->get_buckets[i];
    for (size_t i = 0; i < PCR_COUNT_OF(stats->get_buckets); i++) {
        below += stats->get_buckets[i];
        if (all > 0 && (double)below >= share * (double)all)
            return 1ull << i;
    }
    return 0;
}

static void put_store(struct pcr_json_writer *w, const char *key, bool there,
                      const struct pcr_store_stats *stats) {
    pcr_json_key(w, key);
    if (!there) {
        pcr_json_null(w);
        return;
    }
    pcr_json_object_begin(w);
    put_text(w, "state", state_word(stats->state));
    put_text(w, "why", stats->why);
    put_u64(w, "gets", stats->gets);
    put_u64(w, "hits", stats->hits);
    put_u64(w, "misses", stats->misses);
    put_u64(w, "failures", stats->failures);
    put_u64(w, "timeouts", stats->timeouts);
    put_u64(w, "dropped", stats->dropped);
    put_u64(w, "puts", stats->puts);
    put_u64(w, "removed", stats->removed);
    put_u64(w, "expired", stats->expired);
    put_u64(w, "evicted", stats->evicted);
    put_u64(w, "invalidations", stats->invalidations);
    put_u64(w, "entries", stats->entries);
    put_u64(w, "bytes", stats->bytes);
    put_u64(w, "get_p50_us", quantile_us(stats, 0.5));
    put_u64(w, "get_p99_us", quantile_us(stats, 0.99));
    pcr_json_object_end(w);
}

void pcr_cache_figures_json(struct pcr_cache *cache, struct pcr_json_writer *w) {
    struct pcr_cache_stats stats;
    pcr_cache_stats(cache, &stats);
    pcr_json_object_begin(w);
    put_counts(w, "total", &stats.total);
    put_counts(w, "last_5m", &stats.last_5m);
    put_counts(w, "last_1h", &stats.last_1h);
    pcr_json_key(w, "memory");
    pcr_json_object_begin(w);
    put_u64(w, "entries", stats.entries);
    put_u64(w, "bytes", stats.bytes);
    put_u64(w, "bytes_max", stats.bytes_max);
    put_u64(w, "inserted", stats.inserted);
    put_u64(w, "evicted", stats.evicted);
    put_u64(w, "purged", stats.purged);
    put_u64(w, "rejected", stats.rejected);
    pcr_json_object_end(w);
    put_store(w, "lmdb", stats.has_lmdb, &stats.lmdb);
    put_store(w, "redis", stats.has_redis, &stats.redis);
    pcr_json_object_end(w);
}

// --- Prometheus ---------------------------------------------------------------------------------
static void head(struct pcr_buf *buf, const char *name, const char *type, const char *help) {
    pcr_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void sample(struct pcr_buf *buf, const char *name, const char *label, const char *value,
                   uint64_t number) {
    pcr_buf_text(buf, name);
    if (label)
        pcr_buf_printf(buf, "{%s=\"%s\"}", label, value);
    pcr_buf_printf(buf, " %llu\n", (unsigned long long)number);
}

static void write_answers(struct pcr_buf *buf, const struct pcr_cache_counts *c) {
    const char *name = "pacer_cache_answers_total";
    head(buf, name, "counter", "Questions to the cache, by how they were answered.");
    sample(buf, name, "how", "hit_memory", c->hits_l1);
    sample(buf, name, "how", "hit_lmdb", c->hits_lmdb);
    sample(buf, name, "how", "hit_redis", c->hits_redis);
    sample(buf, name, "how", "coalesced", c->coalesced);
    sample(buf, name, "how", "stale", c->stale);
    sample(buf, name, "how", "miss", c->misses);
    sample(buf, name, "how", "absent", c->absent);
    head(buf, "pacer_cache_refreshes_total", "counter", "Answers computed anew in the background.");
    sample(buf, "pacer_cache_refreshes_total", NULL, NULL, c->refreshes);
}

static void write_memory(struct pcr_buf *buf, const struct pcr_cache_stats *stats) {
    const char *left = "pacer_cache_memory_left_total";
    head(buf, "pacer_cache_memory_entries", "gauge", "Answers in memory.");
    sample(buf, "pacer_cache_memory_entries", NULL, NULL, stats->entries);
    head(buf, "pacer_cache_memory_bytes", "gauge", "Memory of the cache, its tables included.");
    sample(buf, "pacer_cache_memory_bytes", NULL, NULL, stats->bytes);
    head(buf, "pacer_cache_memory_max_bytes", "gauge", "Most memory of the cache.");
    sample(buf, "pacer_cache_memory_max_bytes", NULL, NULL, stats->bytes_max);
    head(buf, left, "counter", "Answers that left the memory, or were too large for it.");
    sample(buf, left, "why", "evicted", stats->evicted);
    sample(buf, left, "why", "purged", stats->purged);
    sample(buf, left, "why", "rejected", stats->rejected);
}

static void write_ratio(struct pcr_buf *buf, const char *window,
                        const struct pcr_cache_counts *counts) {
    double ratio = pcr_cache_hit_ratio(counts);
    if (!isnan(ratio)) // a ratio of nothing is no sample
        pcr_buf_printf(buf, "pacer_cache_hit_ratio{window=\"%s\"} %llu.%04llu\n", window,
                       (unsigned long long)ratio, (unsigned long long)(ratio * 1e4) % 10000);
}

struct store_row {
    const char *name;
    const struct pcr_store_stats *stats;
};

static void write_gets(struct pcr_buf *buf, const struct store_row *row) {
    const char *name = "pacer_cache_store_get_seconds";
    uint64_t below = 0;
    for (size_t i = 0; i < PCR_COUNT_OF(row->stats->get_buckets); i++) {
        uint64_t us = 1ull << i;
        below += row->stats->get_buckets[i];
        pcr_buf_printf(buf, "%s_bucket{store=\"%s\",le=\"%llu.%06llu\"} %llu\n", name, row->name,
                       (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000),
                       (unsigned long long)below);
    }
    pcr_buf_printf(buf, "%s_bucket{store=\"%s\",le=\"+Inf\"} %llu\n", name, row->name,
                   (unsigned long long)below);
    pcr_buf_printf(buf, "%s_sum{store=\"%s\"} %llu.%09llu\n", name, row->name,
                   (unsigned long long)(row->stats->get_ns / PCR_NS_PER_S),
                   (unsigned long long)(row->stats->get_ns % PCR_NS_PER_S));
    pcr_buf_printf(buf, "%s_count{store=\"%s\"} %llu\n", name, row->name,
                   (unsigned long long)below);
}

static void write_stores(struct pcr_buf *buf, const struct store_row *rows, size_t n) {
    static const struct {
        const char *what;
        size_t offset;
    } counters[] = {
        {"hit", offsetof(struct pcr_store_stats, hits)},
        {"miss", offsetof(struct pcr_store_stats, misses)},
        {"failure", offsetof(struct pcr_store_stats, failures)},
        {"timeout", offsetof(struct pcr_store_stats, timeouts)},
        {"dropped", offsetof(struct pcr_store_stats, dropped)},
        {"put", offsetof(struct pcr_store_stats, puts)},
        {"removed", offsetof(struct pcr_store_stats, removed)},
        {"expired", offsetof(struct pcr_store_stats, expired)},
        {"evicted", offsetof(struct pcr_store_stats, evicted)},
        {"invalidated", offsetof(struct pcr_store_stats, invalidations)},
    };
    if (n == 0)
        return;
    head(buf, "pacer_cache_store_up", "gauge",
         "1 if the store is asked, 0 if it is given up for now.");
    for (size_t i = 0; i < n; i++)
        sample(buf, "pacer_cache_store_up", "store", rows[i].name,
               rows[i].stats->state == PCR_STORE_UP);
    head(buf, "pacer_cache_store_events_total", "counter", "What happened at a store.");
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < PCR_COUNT_OF(counters); c++) {
            uint64_t value;
            memcpy(&value, (const char *)rows[i].stats + counters[c].offset, sizeof value);
            pcr_buf_printf(buf, "pacer_cache_store_events_total{store=\"%s\",event=\"%s\"} %llu\n",
                           rows[i].name, counters[c].what, (unsigned long long)value);
        }
    head(buf, "pacer_cache_store_get_seconds", "histogram", "Time of looking at a store.");
    for (size_t i = 0; i < n; i++)
        write_gets(buf, &rows[i]);
}

void pcr_cache_figures_prometheus(struct pcr_cache *cache, struct pcr_buf *buf) {
    struct pcr_cache_stats stats;
    struct store_row rows[2];
    size_t n = 0;
    pcr_cache_stats(cache, &stats);
    write_answers(buf, &stats.total);
    head(buf, "pacer_cache_hit_ratio", "gauge", "Share of questions that were not computed.");
    write_ratio(buf, "5m", &stats.last_5m);
    write_ratio(buf, "1h", &stats.last_1h);
    write_memory(buf, &stats);
    if (stats.has_lmdb)
        rows[n++] = (struct store_row){"lmdb", &stats.lmdb};
    if (stats.has_redis)
        rows[n++] = (struct store_row){"redis", &stats.redis};
    write_stores(buf, rows, n);
}
