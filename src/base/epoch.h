// SPDX-License-Identifier: Apache-2.0
// Memory that readers may still look at: epoch-based reclamation (K. Fraser, "Practical
// lock-freedom", 2004).
//
// Readers follow links without a lock, between enter and leave. A writer (one at a time, under a
// lock of its own) unlinks something, retires it, and it is freed when every reader that could have
// seen it has left. Entering costs a store of the thread's own; a reader that is held up in between
// keeps memory from being freed, so nothing that waits belongs there.
#ifndef PCR_BASE_EPOCH_H
#define PCR_BASE_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Any thread; they do not nest.
void pcr_epoch_enter(void);
void pcr_epoch_leave(void);
// A small number of this thread's own, given again when the thread ends; for counters per thread.
unsigned pcr_epoch_thread(void);

struct pcr_retired { // part of what is retired; its links are free then
    struct pcr_retired *next;
    uint64_t epoch;
};
struct pcr_epoch_bin { // under the writer's lock; zeroed memory is a good start
    struct pcr_retired *first, *last;
    size_t n;
};
// After it was unlinked (seq_cst).
void pcr_epoch_retire(struct pcr_epoch_bin *bin, struct pcr_retired *retired);
// Hands over, one at a time, what no reader can see any more; NULL: nothing yet.
struct pcr_retired *pcr_epoch_collect(struct pcr_epoch_bin *bin);

#endif
