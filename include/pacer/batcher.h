// SPDX-License-Identifier: Apache-2.0
// The micro-batcher: many callers, one call of a function that likes many inputs at a time.
//
//     static int run_batch(void *ctx, struct pacer_batch_item *const *items, size_t n) {
//         for (size_t i = 0; i < n; i++) // or all at once
//             *(float *)items[i]->output = predict(ctx, items[i]->input);
//         return 0;
//     }
//
//     struct pacer_batcher *batcher;
//     struct pacer_batcher_options options = PACER_BATCHER_OPTIONS_INIT;
//     options.max_batch_size = 64;
//     if (pacer_batcher_create(run_batch, model, &options, &batcher, &err) < 0)
//         return fail(err.message);
//     float answer;
//     if (pacer_batcher_infer(batcher, &features, &answer) == 0) // from any number of threads
//         use(answer);
//     pacer_batcher_destroy(batcher);
//
// Nobody waits for a timer: what comes while run_batch is at work makes the next batch, so a lone
// caller waits for nothing and a crowd gets full batches. max_wait_ms is there for those who want a
// window all the same.
#ifndef PACER_BATCHER_H
#define PACER_BATCHER_H

#include <pacer/error.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pacer_batcher;

// One input with its output: the caller's memory, the batcher's from submit until `done` is called.
// Zero it before its first use; it may be used again after `done`.
struct pacer_batch_item {
    const void *input;   // whatever run_batch understands
    void *output;        // where run_batch puts the answer
    int status;          // 0, or a negative PACER_E…; run_batch may set it for this item alone
    uint64_t timeout_us; // from submit to `done`; 0: the batcher's timeout_ms
    // Called exactly once after a submit that returned 0, on whichever thread ran the batch or
    // canceled the item. It must not block for long; it may submit again, but not destroy.
    void (*done)(struct pacer_batch_item *item);
    void *user;
    uint64_t reserved[24]; // private
};

// Answers n items, at least 1 and at most max_batch_size. Returns 0, possibly with a status of its
// own for some items, or a negative code if the batch failed as a whole: then each of its items is
// given once more, alone, and only those that fail again have failed. Called on a thread of the
// batcher or on one that is in pacer_batcher_infer, at most `threads` calls at a time.
typedef int (*pacer_run_batch)(void *ctx, struct pacer_batch_item *const *items, size_t n);

struct pacer_batcher_options {
    size_t size;             // sizeof(struct pacer_batcher_options); set by …_INIT
    unsigned max_batch_size; // items of one call of run_batch; 0 means 64
    unsigned max_wait_ms;    // hold a batch that is not full for so long; 0: never
    unsigned max_queue;      // items that wait; more are refused. 0 means 1024
    unsigned threads;        // calls of run_batch at a time; 0 means 1, at most 64
    unsigned timeout_ms;     // of items that have none of their own; 0: no limit
};
// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define PACER_BATCHER_OPTIONS_INIT {sizeof(struct pacer_batcher_options), 64, 0, 1024, 1, 0}
// clang-format on

// `options` may be NULL for the defaults. Starts the threads. PACER_EINVAL, PACER_ENOMEM, PACER_EIO
// (a thread could not be started).
PACER_API int pacer_batcher_create(pacer_run_batch run_batch, void *ctx,
                                   const struct pacer_batcher_options *options,
                                   struct pacer_batcher **out, struct pacer_error *err);
// Answers what has been submitted, then ends the threads; blocks meanwhile. NULL is fine. Nothing
// may be submitted any more, and no thread may be in pacer_batcher_infer; not from `done`.
PACER_API void pacer_batcher_destroy(struct pacer_batcher *batcher);

// Hands an item over; does not block. Any thread. 0: `done` will be called, possibly before this
// returns. PACER_EBUSY: max_queue wait already. PACER_ETIMEDOUT: its time would be up before it
// could be answered, by what runs cost so far. After an error the item is still the caller's and
// `done` is not called.
PACER_API int pacer_batcher_submit(struct pacer_batcher *batcher, struct pacer_batch_item *item);
// The same, and waits for the answer; the item's status, or as submit. If nothing else runs,
// run_batch is called on this thread, so that a lone caller pays for no hand-over. Any thread but
// not from `done` or run_batch.
PACER_API int pacer_batcher_infer(struct pacer_batcher *batcher, const void *input, void *output);
// Takes back an item that was submitted and waits: `done` is called with PACER_ECANCELED before
// this returns true. False: it is being computed, or is done. Any thread, but the caller must know
// that `done` has not returned yet.
PACER_API bool pacer_batcher_cancel(struct pacer_batcher *batcher, struct pacer_batch_item *item);

struct pacer_batcher_stats {
    uint64_t batches;  // calls of run_batch that succeeded, with items in all
    uint64_t items;    // answered with status 0
    uint64_t failed;   // answered with another
    uint64_t retried;  // given once more alone, since their batch had failed
    uint64_t refused;  // PACER_EBUSY
    uint64_t late;     // PACER_ETIMEDOUT, at submit or while they waited
    uint64_t canceled; // by pacer_batcher_cancel
    uint64_t waiting;  // now
    uint64_t wait_ns;  // from submit to the start of their batch, of all that were computed
    uint64_t run_ns;   // in run_batch
    double cost_us;    // of a batch, as learnt: cost_us + n · cost_item_us
    double cost_item_us;
};
// A consistent view. Any thread.
PACER_API void pacer_batcher_stats(struct pacer_batcher *batcher, struct pacer_batcher_stats *out);

#ifdef __cplusplus
}
#endif
#endif
