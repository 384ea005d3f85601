// SPDX-License-Identifier: Apache-2.0
// The answer cache: a question that was answered is not computed again, and an answer is never
// given to a question that differs in anything.
//
//     static int infer(void *ctx, const struct pacer_feature *features, size_t n,
//                      struct pacer_answer *answer, struct pacer_error *err) {
//         float p = predict(ctx, features, n);
//         return pacer_answer_set(answer, &p, sizeof p, err);
//     }
//
//     struct pacer_cache *cache;
//     struct pacer_cache_options options = PACER_CACHE_OPTIONS_INIT; // 64 MiB of memory, no store
//     pacer_cache_create(&options, &cache, &err);
//     const struct pacer_feature features[] = {{"vix", 15.2}, {"spy_return", 0.02}};
//     struct pacer_question question = {
//         .model = "regime_predictor", .features = features, .n_features = 2, .ttl_s = 300};
//     struct pacer_answer answer = {0};
//     if (pacer_cache_predict(cache, &question, infer, model, &answer, &err) == 0)
//         use(answer.data, answer.size, answer.how);
//     pacer_answer_free(&answer);
//
// Of threads that ask the same at a time one computes, the others wait for it. Shortly before an
// answer's time is up one caller computes it anew while the others still get it (XFetch), so that
// they never all compute at once. What is kept may lie in a file that survives the process, and in
// Redis or Valkey for several machines: where those fail or are slow, predict goes on without them.
#ifndef PACER_CACHE_H
#define PACER_CACHE_H

#include <pacer/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pacer_cache; // any thread

struct pacer_cache_options {
    size_t size; // sizeof(struct pacer_cache_options); set by …_INIT
    uint64_t
        memory_bytes;    // all that it takes of memory; 0: none, equal questions still share a run
    const char *path;    // directory of the file; NULL: none. Not one that is open already
    uint64_t path_bytes; // most bytes of the file; 0: 1 GiB
    const char *redis_url; // redis://[[user]:password@]host[:port][/db], rediss://…, unix:///path
    uint32_t redis_timeout_ms; // 0: 20
};
#define PACER_CACHE_OPTIONS_INIT \
    { sizeof(struct pacer_cache_options), (uint64_t)64 << 20, NULL, 0, NULL, 0 }

// PACER_EINVAL (the URL is none, the file is another program's), PACER_EIO (no permission),
// PACER_ENOMEM; the message says what to do. Does not wait for Redis.
PACER_API int pacer_cache_create(const struct pacer_cache_options *options,
                                 struct pacer_cache **out, struct pacer_error *err);
// While no call is under way. NULL is fine.
PACER_API void pacer_cache_destroy(struct pacer_cache *cache);

struct pacer_feature {
    const char *name;
    double value; // 1 and 1.0 are equal, -0.0 and 0.0, too; NaN is never cached
};

struct pacer_question {                   // all borrowed for the call
    const char *model;                    // whose answers these are
    const char *version;                  // of the model: another one is another question. NULL: ""
    const char *tenant;                   // whose answers are not shared with others'. NULL: ""
    const struct pacer_feature *features; // in any order; no name twice
    size_t n_features;
    uint32_t ttl_s;            // how long the answer is fresh, give or take a tenth; 0: not kept
    uint32_t stale_if_error_s; // so long after that it is given if computing fails
};

enum pacer_answer_how {
    PACER_ANSWER_COMPUTED,
    PACER_ANSWER_MEMORY,
    PACER_ANSWER_FILE,
    PACER_ANSWER_REDIS,
    PACER_ANSWER_SHARED, // another caller computed it meanwhile
    PACER_ANSWER_STALE,  // past its time: computing it anew failed
};

// Zero it before its first use; it may be used again.
struct pacer_answer {
    const void *data; // until it is used again or freed
    size_t size;
    enum pacer_answer_how how;
    uint64_t age_ms;
    // A buffer of the caller's for the data, so that a hit need not allocate; NULL, or too small:
    // memory of the library's is taken.
    void *buffer;
    size_t buffer_size;
    void *reserved[2]; // private
};
// For the function that computes: copies the data. PACER_ENOMEM.
PACER_API int pacer_answer_set(struct pacer_answer *answer, const void *data, size_t size,
                               struct pacer_error *err);
PACER_API void pacer_answer_free(struct pacer_answer *answer);

// Computes the answer to these features, as they were given; 0, or a negative code with err. Its
// errors are never kept: PACER_EBUSY, PACER_ETIMEDOUT and PACER_ENOMEM are taken for this caller's
// trouble, after which another that waits computes; other errors go to all who wait. It may ask the
// cache another question, but not the same.
typedef int (*pacer_infer_fn)(void *ctx, const struct pacer_feature *features, size_t n_features,
                              struct pacer_answer *answer, struct pacer_error *err);

// The answer: kept, or of another caller that is computing it, or computed now. Blocks for as long
// as infer does, and for a store at most its timeout. 0, or what infer returned.
PACER_API int pacer_cache_predict(struct pacer_cache *cache, const struct pacer_question *question,
                                  pacer_infer_fn infer, void *ctx, struct pacer_answer *answer,
                                  struct pacer_error *err);

// Drops what is kept of a model (NULL: of all), in memory and stores; waits for them. Returns how
// many answers were dropped from memory, or a negative code if a store failed.
PACER_API int64_t pacer_cache_purge(struct pacer_cache *cache, const char *model,
                                    struct pacer_error *err);

struct pacer_cache_stats {
    size_t size; // sizeof(struct pacer_cache_stats); set by the caller
    uint64_t memory_hits, file_hits, redis_hits, shared, stale, computed;
    uint64_t entries, bytes; // in memory
};
PACER_API void pacer_cache_stats(struct pacer_cache *cache, struct pacer_cache_stats *out);

#ifdef __cplusplus
}
#endif
#endif
