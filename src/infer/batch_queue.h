// SPDX-License-Identifier: Apache-2.0
// The policy of batching: what waits for one model, what runs next, and what is refused. Sans-I/O:
// it is told the time and says what to do, so that whole days of traffic run in a test.
//
// The caller owns the items, the slots (threads, or a loop's turn) and the lock, if it needs one.
// Per arrival: add. While a slot is free: take, run the batch, finish. See batch_queue.c.
#ifndef PCR_INFER_BATCH_QUEUE_H
#define PCR_INFER_BATCH_QUEUE_H

#include "base/base.h"
#include "infer/cost.h"

#define PCR_BATCH_SLOTS_MAX 64
#define PCR_BATCH_PRIORITIES 3 // 0 first
#define PCR_BATCH_PRIORITY_DEFAULT 1

// One request, in the caller's memory from add until it is taken, late or removed.
struct pcr_batch_item {
    struct pcr_list node; // private while it waits; links the items of a batch
    uint64_t rows;        // still to be computed; finish takes `taken` off
    uint64_t row_weight;  // of a row, in rows of the sweep: more than 1 where other dimensions are
                          // longer than they were there; at least 1
    uint64_t taken;       // set by take: rows of the batch it is in, all or (divisible) a piece
    uint64_t key;         // items with different keys never share a batch
    unsigned priority;    // 0 … PCR_BATCH_PRIORITIES - 1
    bool divisible;       // its rows may be computed in several batches
    uint64_t piece_rows;  // of a divisible one: so many rows at a time; 0: B
    bool waits;           // private: in the queue
    uint64_t deadline_ns; // monotonic; 0: none
    uint64_t queued_ns;   // set by add
    uint64_t expected_ns; // set by add: when it will have been computed, by the costs alone; 0:
                          // nothing is known of them
    bool probes;          // set by add: computed although it looks late, to learn
};

struct pcr_batch_options {
    uint64_t rows_max;    // B: most rows of a batch
    size_t queue_max;     // most items that wait
    unsigned slots;       // k: most batches at a time, up to PCR_BATCH_SLOTS_MAX
    uint64_t max_wait_ns; // hold a batch that is not full so long, though a slot is free; 0: never
    // Whether two items of one key may really share a batch; NULL: they may. The key is a hash.
    bool (*alike)(const struct pcr_batch_item *a, const struct pcr_batch_item *b);
};

struct pcr_batch_queue { // private but for reading
    struct pcr_batch_options options;
    struct pcr_cost cost; // the caller sweeps it, finish teaches it
    uint64_t margin_ns;   // by which answers come later than the costs alone say; set by the caller
    struct pcr_list waiting[PCR_BATCH_PRIORITIES];
    uint64_t weights[PCR_BATCH_PRIORITIES]; // of what waits, per priority
    size_t n_waiting;
    unsigned n_running;
    uint64_t ends_ns[PCR_BATCH_SLOTS_MAX]; // expected, per slot; 0: free
    uint64_t n_takes;
    unsigned n_hopeless;   // refused as too long for an idle queue
    uint64_t dated_weight; // of what waits and has a deadline
    double filling;        // of that, what a batch finds, up to B: smoothed
    uint64_t earliest_ns;  // deadline of what waits, or (earliest_gone) waited; UINT64_MAX: none
    bool earliest_gone;
};

struct pcr_batch {         // what take gives
    struct pcr_list items; // by their nodes, oldest first
    size_t n;
    uint64_t rows, weight;
    unsigned slot;        // of this queue
    struct pcr_list late; // their deadline cannot be met any more: not to be computed
};

enum pcr_batch_verdict {
    PCR_BATCH_ADMITTED,
    PCR_BATCH_FULL, // queue_max wait already
    PCR_BATCH_LATE, // the deadline would pass before it could be computed
};

void pcr_batch_queue_init(struct pcr_batch_queue *queue, const struct pcr_batch_options *options);
// Whether an item would be admitted, without adding it. *retry_ns, if refused: after how long the
// same request would be admitted, as things stand; UINT64_MAX: never, since it takes longer than
// its deadline even alone.
enum pcr_batch_verdict pcr_batch_queue_ask(const struct pcr_batch_queue *queue,
                                           const struct pcr_batch_item *item, uint64_t now_ns,
                                           uint64_t *retry_ns);
// The same, and the item waits if it is admitted.
enum pcr_batch_verdict pcr_batch_queue_add(struct pcr_batch_queue *queue,
                                           struct pcr_batch_item *item, uint64_t now_ns,
                                           uint64_t *retry_ns);
// The next batch for a free slot; false if there is none to run now. *batch is valid either way:
// `late` may hold items. Every taken batch is to be finished.
bool pcr_batch_queue_take(struct pcr_batch_queue *queue, uint64_t now_ns, struct pcr_batch *batch);
// When take will find a batch, if nothing arrives or finishes before: now_ns or earlier means now;
// UINT64_MAX: not before something does.
uint64_t pcr_batch_queue_ready_ns(struct pcr_batch_queue *queue, uint64_t now_ns);
// The slot is free again. `took_ns` teaches the cost model; 0 (a run that failed) does not.
// Afterwards items with rows left go in again with `again`; the others are the caller's.
void pcr_batch_queue_finish(struct pcr_batch_queue *queue, const struct pcr_batch *batch,
                            uint64_t took_ns);
// Behind all others of its priority; never refused.
void pcr_batch_queue_again(struct pcr_batch_queue *queue, struct pcr_batch_item *item);
// Takes an item out, wherever it is; false: it does not wait (any more).
bool pcr_batch_queue_remove(struct pcr_batch_queue *queue, struct pcr_batch_item *item);
// How long what runs now, and waits with this priority or a higher one, will take.
uint64_t pcr_batch_queue_backlog_ns(const struct pcr_batch_queue *queue, unsigned priority,
                                    uint64_t now_ns);

#endif
