// SPDX-License-Identifier: Apache-2.0
// Natural batching: a batch is whatever waits when a slot becomes free.
//
// Nobody waits for a timer. At one caller a slot is free and the queue empty, so a request runs at
// once and alone; under load, what arrives during a run makes the next batch, so batches are as
// long as the load needs, up to the cap B beyond which they gain nothing. The invariant: a slot is
// free only while nothing that may run waits (unless the user asked for a window, max_wait_ns).
//
// A batch is the longest prefix of the queue whose items are alike, whose weight fits B and which
// still ends before the earliest deadline in it. An item that cannot end in time any more, even
// alone, is not computed. At arrival that is foreseen: what runs, what waits ahead and the item
// itself, by the cost model, over the number of slots. So an overloaded queue holds what will be
// answered, and refuses the rest while that is still cheap.
//
// Only where a full batch of items with deadlines waits is an item given up that would keep the
// batch short: one row is answered in time then, and sixty others later, of which as many are lost
// as batches of one can't bear. At arrival is foreseen, too, that batches are as long as they have
// been, so it seldom comes to that.
//
// What was learnt may be wrong: a machine that was busy or stood still has made runs look longer
// than all deadlines. Then everything would be refused, and nothing would run that could teach
// better. So at times an item is computed that finds an idle queue and looks hopeless.
//
// Priorities are strict, but one batch in FAIR_EVERY begins with whatever has waited longest, so
// that the lowest is slow rather than starved. A batch is filled up from the lower priorities. A
// divisible item that is longer than a piece gives one at a time and goes behind the others between
// two pieces: nobody waits for the whole of it.
//
// Rejected: a fixed window (an idle request waits for company that does not come; tests/sim shows
// both side by side), and one queue per shape (with shapes that clients choose there is no end of
// them; skipping what is not alike costs a few ns an item).
#include "infer/batch_queue.h"

#define FAIR_EVERY 8
#define SMOOTH 8 // batches
#define PROBE_EVERY 16
#define SCAN_MAX 4096 // items looked at for one batch, which happens under somebody's lock

void pcr_batch_queue_init(struct pcr_batch_queue *queue, const struct pcr_batch_options *options) {
    PCR_ASSERT(options->rows_max > 0 && options->queue_max > 0);
    PCR_ASSERT(options->slots > 0 && options->slots <= PCR_BATCH_SLOTS_MAX);
    *queue = (struct pcr_batch_queue){.options = *options, .earliest_ns = UINT64_MAX};
    for (size_t i = 0; i < PCR_BATCH_PRIORITIES; i++)
        pcr_list_init(&queue->waiting[i]);
    pcr_cost_init(&queue->cost);
}

static struct pcr_batch_item *item_at(struct pcr_list *node) {
    return PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
}

static uint64_t saturating_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t weight_of(const struct pcr_batch_item *item, uint64_t rows) {
    uint64_t weight;
    return __builtin_mul_overflow(rows, item->row_weight, &weight) ? UINT64_MAX / 4 : weight;
}

// What an item adds to a batch: all its rows, or a piece.
static uint64_t rows_to_take(const struct pcr_batch_queue *queue,
                             const struct pcr_batch_item *item) {
    uint64_t most =
        item->piece_rows ? item->piece_rows : queue->options.rows_max / item->row_weight;
    most = most ? most : 1;
    return item->divisible && item->rows > most ? most : item->rows;
}

// --- what to expect -----------------------------------------------------------------------------
// What is left of the runs under way, added up. A run that takes longer than expected ends now, as
// far as anybody knows.
static uint64_t running_ns(const struct pcr_batch_queue *queue, uint64_t now_ns) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < queue->options.slots; i++)
        if (queue->ends_ns[i] > now_ns)
            sum = saturating_add(sum, queue->ends_ns[i] - now_ns);
    return sum;
}

static uint64_t weight_ahead(const struct pcr_batch_queue *queue, unsigned priority) {
    uint64_t weight = 0;
    for (unsigned i = 0; i <= priority; i++)
        weight = saturating_add(weight, queue->weights[i]);
    return weight;
}

// From now to the end of an item that arrives now. Its batch will be as long as batches are these
// days, since others come after it: who counted on a short one would be late in a long one, or
// would have to be given a short one, and then everybody behind is late.
static uint64_t expected_ns(const struct pcr_batch_queue *queue, const struct pcr_batch_item *item,
                            uint64_t now_ns) {
    uint64_t cap = queue->options.rows_max;
    uint64_t own = weight_of(item, item->rows);
    uint64_t alone = pcr_cost_backlog_ns(&queue->cost, own, cap);
    uint64_t ahead = weight_ahead(queue, item->priority);
    if (alone == UINT64_MAX || (ahead == 0 && queue->n_running < queue->options.slots))
        return alone == UINT64_MAX ? 0 : alone;
    uint64_t before = pcr_cost_backlog_ns(&queue->cost, ahead / cap * cap, cap);
    uint64_t shares = ahead % cap + own;
    uint64_t usual = (uint64_t)queue->filling;
    uint64_t last = pcr_cost_backlog_ns(&queue->cost, shares > usual ? shares : usual, cap);
    uint64_t wait = saturating_add(running_ns(queue, now_ns), before) / queue->options.slots;
    return saturating_add(wait, last > alone ? last : alone);
}

uint64_t pcr_batch_queue_backlog_ns(const struct pcr_batch_queue *queue, unsigned priority,
                                    uint64_t now_ns) {
    uint64_t weight = weight_ahead(queue, priority);
    uint64_t all = weight && pcr_cost_known(&queue->cost)
                       ? pcr_cost_backlog_ns(&queue->cost, weight, queue->options.rows_max)
                       : 0;
    return saturating_add(running_ns(queue, now_ns), all) / queue->options.slots;
}

// Whether it cannot end in time, in a batch of at least that weight.
static bool is_late(const struct pcr_batch_queue *queue, const struct pcr_batch_item *item,
                    uint64_t least_weight, uint64_t now_ns) {
    if (item->deadline_ns == 0)
        return false;
    if (item->probes)
        return now_ns >= item->deadline_ns;
    uint64_t own = weight_of(item, rows_to_take(queue, item));
    uint64_t ns = pcr_cost_ns(&queue->cost, own > least_weight ? own : least_weight);
    return now_ns >= item->deadline_ns ||
           (ns != UINT64_MAX && saturating_add(ns, queue->margin_ns) > item->deadline_ns - now_ns);
}

enum pcr_batch_verdict pcr_batch_queue_ask(const struct pcr_batch_queue *queue,
                                           const struct pcr_batch_item *item, uint64_t now_ns,
                                           uint64_t *retry_ns) {
    *retry_ns = 0;
    if (queue->n_waiting >= queue->options.queue_max) { // room comes with the next batch
        uint64_t batch_ns = pcr_cost_ns(&queue->cost, queue->options.rows_max);
        *retry_ns = batch_ns == UINT64_MAX ? 0 : batch_ns / queue->options.slots;
        return PCR_BATCH_FULL;
    }
    if (item->deadline_ns == 0)
        return PCR_BATCH_ADMITTED;
    uint64_t left = item->deadline_ns > now_ns ? item->deadline_ns - now_ns : 0;
    uint64_t wanted = saturating_add(expected_ns(queue, item, now_ns), queue->margin_ns);
    if (left > 0 && wanted <= left)
        return PCR_BATCH_ADMITTED;
    uint64_t own = weight_of(item, item->rows);
    uint64_t alone = pcr_cost_backlog_ns(&queue->cost, own, queue->options.rows_max);
    *retry_ns = alone != UINT64_MAX && alone > left ? UINT64_MAX
                : wanted > left                     ? wanted - left
                                                    : 1; // its time was over when it came
    return PCR_BATCH_LATE;
}

// --- in and out ---------------------------------------------------------------------------------
static void put(struct pcr_batch_queue *queue, struct pcr_batch_item *item) {
    PCR_ASSERT(!item->waits && item->priority < PCR_BATCH_PRIORITIES && item->row_weight > 0);
    item->waits = true;
    pcr_list_push_back(&queue->waiting[item->priority], &item->node);
    queue->weights[item->priority] =
        saturating_add(queue->weights[item->priority], weight_of(item, item->rows));
    if (item->deadline_ns) {
        queue->dated_weight = saturating_add(queue->dated_weight, weight_of(item, item->rows));
        if (item->deadline_ns < queue->earliest_ns)
            queue->earliest_ns = item->deadline_ns;
    }
    queue->n_waiting++;
}

static void take_out(struct pcr_batch_queue *queue, struct pcr_batch_item *item) {
    PCR_ASSERT(item->waits && queue->n_waiting > 0);
    item->waits = false;
    pcr_list_remove(&item->node);
    uint64_t weight = weight_of(item, item->rows);
    uint64_t *sum = &queue->weights[item->priority];
    *sum = *sum > weight ? *sum - weight : 0;
    if (pcr_list_empty(&queue->waiting[item->priority]))
        *sum = 0; // a saturated sum has forgotten what it was made of
    if (item->deadline_ns)
        queue->dated_weight = queue->dated_weight > weight ? queue->dated_weight - weight : 0;
    queue->n_waiting--;
    if (item->deadline_ns == queue->earliest_ns)
        queue->earliest_gone = true;
}

// Of what waits; UINT64_MAX: nothing has one. It is looked for only if the last one has left.
static uint64_t earliest_deadline_ns(struct pcr_batch_queue *queue) {
    if (!queue->earliest_gone)
        return queue->earliest_ns;
    queue->earliest_gone = false;
    queue->earliest_ns = UINT64_MAX;
    for (unsigned i = 0; i < PCR_BATCH_PRIORITIES; i++)
        PCR_LIST_FOR_EACH(node, &queue->waiting[i]) {
            uint64_t deadline_ns = item_at(node)->deadline_ns;
            if (deadline_ns && deadline_ns < queue->earliest_ns)
                queue->earliest_ns = deadline_ns;
        }
    return queue->earliest_ns;
}

// Of an item that is too long for its deadline even alone: if it finds nothing to do, one in
// PROBE_EVERY is computed all the same, and what is known counts for less and less.
static bool is_tried(struct pcr_batch_queue *queue) {
    if (queue->n_waiting > 0 || queue->n_running > 0)
        return false;
    pcr_cost_forget(&queue->cost);
    return ++queue->n_hopeless % PROBE_EVERY == 0;
}

enum pcr_batch_verdict pcr_batch_queue_add(struct pcr_batch_queue *queue,
                                           struct pcr_batch_item *item, uint64_t now_ns,
                                           uint64_t *retry_ns) {
    enum pcr_batch_verdict verdict = pcr_batch_queue_ask(queue, item, now_ns, retry_ns);
    item->probes = verdict == PCR_BATCH_LATE && *retry_ns == UINT64_MAX &&
                   now_ns < item->deadline_ns && is_tried(queue);
    if (verdict != PCR_BATCH_ADMITTED && !item->probes)
        return verdict;
    item->queued_ns = now_ns;
    item->expected_ns =
        pcr_cost_known(&queue->cost) ? saturating_add(now_ns, expected_ns(queue, item, now_ns)) : 0;
    item->taken = 0;
    put(queue, item);
    return PCR_BATCH_ADMITTED;
}

void pcr_batch_queue_again(struct pcr_batch_queue *queue, struct pcr_batch_item *item) {
    PCR_ASSERT(item->rows > 0);
    put(queue, item);
}

bool pcr_batch_queue_remove(struct pcr_batch_queue *queue, struct pcr_batch_item *item) {
    if (!item->waits)
        return false;
    take_out(queue, item);
    return true;
}

// --- batches ------------------------------------------------------------------------------------
static struct pcr_batch_item *first_of(const struct pcr_batch_queue *queue, unsigned priority) {
    const struct pcr_list *list = &queue->waiting[priority];
    return pcr_list_empty(list) ? NULL : item_at(list->next);
}

// The item that the next batch begins with.
static struct pcr_batch_item *lead(const struct pcr_batch_queue *queue) {
    struct pcr_batch_item *best = NULL;
    bool fair = queue->n_takes % FAIR_EVERY == FAIR_EVERY - 1;
    for (unsigned i = 0; i < PCR_BATCH_PRIORITIES; i++) {
        struct pcr_batch_item *item = first_of(queue, i);
        if (item && (!best || (fair && item->queued_ns < best->queued_ns)))
            best = item;
        if (best && !fair)
            break;
    }
    return best;
}

static bool are_alike(const struct pcr_batch_queue *queue, const struct pcr_batch_item *a,
                      const struct pcr_batch_item *b) {
    return a == b || (a->key == b->key && (!queue->options.alike || queue->options.alike(a, b)));
}

static void take_item(struct pcr_batch_queue *queue, struct pcr_batch *batch,
                      struct pcr_batch_item *item) {
    take_out(queue, item);
    item->taken = rows_to_take(queue, item);
    pcr_list_push_back(&batch->items, &item->node);
    batch->n++;
    batch->rows += item->taken;
    batch->weight = saturating_add(batch->weight, weight_of(item, item->taken));
}

struct filling {
    const struct pcr_batch_item *lead;
    uint64_t full_weight; // B if so much waits that is alike and has deadlines, else 0
    uint64_t tightest_ns; // the earliest deadline in the batch
    size_t scanned;
    bool full;
};

// Whether the batch still ends in time with this item, too.
static bool ends_in_time(const struct pcr_batch_queue *queue, uint64_t weight, uint64_t deadline_ns,
                         uint64_t now_ns) {
    uint64_t ns = pcr_cost_ns(&queue->cost, weight);
    return ns == UINT64_MAX || deadline_ns == UINT64_MAX ||
           saturating_add(saturating_add(now_ns, ns), queue->margin_ns) <= deadline_ns;
}

static void fill_from(struct pcr_batch_queue *queue, unsigned priority, uint64_t now_ns,
                      struct filling *f, struct pcr_batch *batch) {
    PCR_LIST_FOR_EACH_SAFE(node, after, &queue->waiting[priority]) {
        struct pcr_batch_item *item = item_at(node);
        if (f->full || ++f->scanned > SCAN_MAX)
            return;
        if (is_late(queue, item, f->full_weight, now_ns)) {
            take_out(queue, item);
            pcr_list_push_back(&batch->late, &item->node);
            continue;
        }
        if (!f->lead)
            f->lead = item;
        if (!are_alike(queue, f->lead, item))
            continue;
        uint64_t deadline_ns = item->deadline_ns ? item->deadline_ns : UINT64_MAX;
        uint64_t tightest_ns = deadline_ns < f->tightest_ns ? deadline_ns : f->tightest_ns;
        uint64_t weight = saturating_add(batch->weight, weight_of(item, rows_to_take(queue, item)));
        if (batch->n > 0 && (weight > queue->options.rows_max ||
                             !ends_in_time(queue, weight, tightest_ns, now_ns))) {
            f->full = true;
            return;
        }
        f->tightest_ns = tightest_ns;
        take_item(queue, batch, item);
    }
}

// When the window has to end so that nobody is late for it. What waits is computed one batch after
// the other, at worst; as much again is left to chance.
static uint64_t window_deadline_ns(struct pcr_batch_queue *queue, uint64_t weight) {
    uint64_t earliest_ns = earliest_deadline_ns(queue);
    if (earliest_ns == UINT64_MAX)
        return UINT64_MAX;
    uint64_t ns = pcr_cost_backlog_ns(&queue->cost, weight, queue->options.rows_max);
    ns = ns == UINT64_MAX ? queue->margin_ns
                          : saturating_add(saturating_add(ns, ns), queue->margin_ns);
    return earliest_ns > ns ? earliest_ns - ns : 0;
}

uint64_t pcr_batch_queue_ready_ns(struct pcr_batch_queue *queue, uint64_t now_ns) {
    if (queue->n_waiting == 0 || queue->n_running >= queue->options.slots)
        return UINT64_MAX;
    uint64_t weight = weight_ahead(queue, PCR_BATCH_PRIORITIES - 1);
    if (queue->options.max_wait_ns == 0 || weight >= queue->options.rows_max)
        return now_ns;
    uint64_t ready_ns = window_deadline_ns(queue, weight);
    for (unsigned i = 0; i < PCR_BATCH_PRIORITIES; i++) {
        const struct pcr_batch_item *item = first_of(queue, i);
        if (!item)
            continue;
        uint64_t until_ns = saturating_add(item->queued_ns, queue->options.max_wait_ns);
        ready_ns = until_ns < ready_ns ? until_ns : ready_ns;
    }
    return ready_ns;
}

static unsigned free_slot(const struct pcr_batch_queue *queue) {
    unsigned slot = 0;
    while (queue->ends_ns[slot])
        slot++;
    PCR_ASSERT(slot < queue->options.slots);
    return slot;
}

// B if a whole batch of what is like `lead` and has a deadline waits, else 0.
static uint64_t full_weight(const struct pcr_batch_queue *queue,
                            const struct pcr_batch_item *lead) {
    uint64_t cap = queue->options.rows_max;
    uint64_t weight = 0;
    size_t scanned = 0;
    if (cap == 1 || queue->dated_weight < cap)
        return 0;
    for (unsigned i = 0; i < PCR_BATCH_PRIORITIES; i++)
        PCR_LIST_FOR_EACH(node, &queue->waiting[i]) {
            const struct pcr_batch_item *item = item_at(node);
            if (weight >= cap || ++scanned > SCAN_MAX)
                return weight >= cap ? cap : 0;
            if (item->deadline_ns && are_alike(queue, lead, item))
                weight = saturating_add(weight, weight_of(item, rows_to_take(queue, item)));
        }
    return weight >= cap ? cap : 0;
}

// What waited, not what was taken: a batch that was kept short says nothing about the next one.
static void note_filling(struct pcr_batch_queue *queue, uint64_t waited) {
    uint64_t cap = queue->options.rows_max;
    queue->filling += ((double)(waited < cap ? waited : cap) - queue->filling) / SMOOTH;
}

bool pcr_batch_queue_take(struct pcr_batch_queue *queue, uint64_t now_ns, struct pcr_batch *batch) {
    *batch = (struct pcr_batch){0};
    pcr_list_init(&batch->items);
    pcr_list_init(&batch->late);
    if (pcr_batch_queue_ready_ns(queue, now_ns) > now_ns)
        return false;
    struct filling f = {.tightest_ns = UINT64_MAX};
    uint64_t waited = queue->dated_weight;
    const struct pcr_batch_item *first = lead(queue);
    f.full_weight = full_weight(queue, first);
    unsigned from = first->priority;
    fill_from(queue, from, now_ns, &f, batch);
    for (unsigned i = 0; i < PCR_BATCH_PRIORITIES; i++)
        if (i != from)
            fill_from(queue, i, now_ns, &f, batch);
    queue->n_takes++;
    note_filling(queue, waited);
    if (batch->n == 0)
        return false;
    uint64_t ns = pcr_cost_ns(&queue->cost, batch->weight);
    batch->slot = free_slot(queue);
    queue->ends_ns[batch->slot] = ns == UINT64_MAX ? now_ns + 1 : saturating_add(now_ns + 1, ns);
    queue->n_running++;
    return true;
}

void pcr_batch_queue_finish(struct pcr_batch_queue *queue, const struct pcr_batch *batch,
                            uint64_t took_ns) {
    PCR_ASSERT(queue->n_running > 0 && queue->ends_ns[batch->slot]);
    queue->ends_ns[batch->slot] = 0;
    queue->n_running--;
    if (took_ns)
        pcr_cost_learn(&queue->cost, batch->weight, took_ns);
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pcr_batch_item *item = item_at(node);
        item->rows -= item->taken;
    }
}
