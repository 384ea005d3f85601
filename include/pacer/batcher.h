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
// window all the same. The cap of a batch is max_batch_size; nothing is measured beforehand, since
// run_batch may do anything. What batches cost is learnt from them, so that an item which cannot be
// answered in its time is refused at once.
#ifndef PACER_BATCHER_H
#define PACER_BATCHER_H

#include <pacer/error.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pacer_batcher;

// One input with its output: the caller's memory, so that a submit allocates nothing; the batcher's
// from a submit that returned 0 until `done` is called. Zero it before its first use; it may be
// used again (or freed) from `done` on. Submitting it again before that is an error of the
// caller's.
struct pacer_batch_item {
    const void *input;   // whatever run_batch understands
    void *output;        // where run_batch puts the answer
    int status;          // 0, or a negative PACER_E…; run_batch may set it for this item alone
    uint64_t timeout_us; // from submit to the end of its batch; 0: the batcher's timeout_ms
    // Called exactly once after a submit that returned 0, on whichever thread ran the batch or
    // canceled the item; all of a batch one after the other, when run_batch is through with them.
    // It must not block for long; it may submit again or cancel others, but not infer or destroy.
    void (*done)(struct pacer_batch_item *item);
    void *user;            // the caller's
    uint64_t reserved[24]; // private
};

// Answers n items, at least 1 and at most max_batch_size, oldest first. `items` is borrowed for the
// call. Returns 0, possibly with a status of its own for some items, or a negative code if the
// batch failed as a whole: then each of its items is given once more, alone, with its status set
// back, and only those that fail again have failed. Positive codes count as PACER_EINTERNAL. Called
// on a thread of the batcher or on one that is in pacer_batcher_infer, at most `threads` calls at a
// time; it may submit and cancel, but not infer or destroy.
typedef int (*pacer_run_batch)(void *ctx, struct pacer_batch_item *const *items, size_t n);

struct pacer_batcher_options {
    size_t size;             // sizeof(struct pacer_batcher_options); set by …_INIT
    unsigned max_batch_size; // items of one call of run_batch; 0 means 64
    unsigned max_wait_ms;    // hold a batch that is not full for so long; 0: never, no timer
    unsigned max_queue;      // items that wait; more are refused. 0 means 1024
    unsigned threads;        // calls of run_batch at a time; 0 means 1, at most 64
    unsigned timeout_ms;     // of items that have none of their own; 0: no limit
};
// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define PACER_BATCHER_OPTIONS_INIT {sizeof(struct pacer_batcher_options), 64, 0, 1024, 1, 0}
// clang-format on

// `options` may be NULL for the defaults. Starts the threads, which take no signals. `ctx` is
// handed to run_batch. Any thread. PACER_EINVAL, PACER_ENOMEM, PACER_EIO (a thread could not be
// started).
PACER_API int pacer_batcher_create(pacer_run_batch run_batch, void *ctx,
                                   const struct pacer_batcher_options *options,
                                   struct pacer_batcher **out, struct pacer_error *err);
// Answers what has been submitted, without waiting for a window, then ends the threads; blocks
// meanwhile. NULL is fine. No other thread may be in a call of this batcher or begin one; what
// `done` and run_batch submit from now on is refused with PACER_ECANCELED, so that chains end. Not
// from `done` or run_batch.
PACER_API void pacer_batcher_destroy(struct pacer_batcher *batcher);

// Hands an item over; does not block. Any thread. 0: `done` will be called, possibly before this
// returns. PACER_EBUSY: max_queue wait already. PACER_ETIMEDOUT: its time would be up before it
// could be answered, by what runs cost so far; where nothing else is to be done, a try is made now
// and then. PACER_ECANCELED: the batcher is being destroyed. PACER_EINVAL: no `done`, or the item
// waits already. After an error the item is still the caller's and `done` is not called.
//
// An item whose time is up while it waits is not computed: `done` gets PACER_ETIMEDOUT, when the
// next batch is taken. One that is being computed then is answered all the same.
PACER_API int pacer_batcher_submit(struct pacer_batcher *batcher, struct pacer_batch_item *item);

// The same, and waits for the answer; returns the item's status, or as submit. If a slot is free,
// run_batch is called on this thread, so that a lone caller pays for no hand-over. When its time is
// up while it waits it returns PACER_ETIMEDOUT at once, however long other batches take. Any
// thread, but not from `done` or run_batch. `input` and `output` are borrowed for the call.
PACER_API int pacer_batcher_infer(struct pacer_batcher *batcher, const void *input, void *output);
// With a time of its own, as in struct pacer_batch_item; 0: the batcher's timeout_ms.
PACER_API int pacer_batcher_infer_within(struct pacer_batcher *batcher, const void *input,
                                         void *output, uint64_t timeout_us);

// Takes back an item that was submitted and waits: `done` is called with PACER_ECANCELED before
// this returns true. False: it is being computed, or is done, or was never submitted. Any thread,
// as long as the item's memory is there.
PACER_API bool pacer_batcher_cancel(struct pacer_batcher *batcher, struct pacer_batch_item *item);

#define PACER_BATCHER_SIZES 21

// Since the beginning. Every item that was accepted is at last one of items, failed, expired and
// canceled; every one that was not for want of room or time is one of refused and late.
struct pacer_batcher_stats {
    size_t size;             // sizeof(struct pacer_batcher_stats); set by the caller
    uint64_t batches;        // calls of run_batch that returned 0
    uint64_t failed_batches; // calls that returned another code
    uint64_t items;          // answered with status 0
    uint64_t failed;         // computed, with another status
    uint64_t retried;        // given once more alone, since their batch had failed
    uint64_t refused;        // PACER_EBUSY at submit
    uint64_t late;           // PACER_ETIMEDOUT at submit
    uint64_t expired;        // PACER_ETIMEDOUT while they waited
    uint64_t canceled;       // by pacer_batcher_cancel
    uint64_t waiting;        // items, now
    uint64_t running;        // batches, now
    uint64_t wait_ns;     // from submit to the start of its batch; of all computed items together
    uint64_t wait_max_ns; // the longest of these
    uint64_t run_ns;      // in run_batch, of all calls together
    double mean_size;     // items per batch, of `batches`
    // What a batch of n costs, as learnt: cost_us + n · cost_item_us; 0 as long as nothing is
    // known. The first batch, which pays for loading, teaches nothing.
    double cost_us;
    double cost_item_us;
    uint64_t by_size[PACER_BATCHER_SIZES]; // of `batches`: [i] had 2^i … 2^(i+1) - 1 items
};
// A consistent view, as much of it as out->size has room for: `stats = {.size = sizeof stats}`. Any
// thread; does not block.
PACER_API void pacer_batcher_stats(struct pacer_batcher *batcher, struct pacer_batcher_stats *out);

#ifdef __cplusplus
}
#endif
#endif
