// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "infer/batch_queue.h"

#include <stdlib.h>

#define MS PCR_NS_PER_MS
#define A_NS (2 * MS) // t(n) = 2 ms + 0.5 ms · n
#define B_NS (MS / 2)

static uint64_t cost_ns(uint64_t rows) {
    return A_NS + B_NS * rows;
}

static void open_queue(struct pcr_batch_queue *queue, struct pcr_batch_options options) {
    if (options.rows_max == 0)
        options.rows_max = 8;
    if (options.queue_max == 0)
        options.queue_max = 100;
    if (options.slots == 0)
        options.slots = 1;
    pcr_batch_queue_init(queue, &options);
    for (uint64_t n = 1; n <= 64; n *= 2)
        pcr_cost_sweep(&queue->cost, n, cost_ns(n));
}

static struct pcr_batch_item item_of(uint64_t rows) {
    return (struct pcr_batch_item){
        .rows = rows, .row_weight = 1, .priority = PCR_BATCH_PRIORITY_DEFAULT};
}

static enum pcr_batch_verdict add(struct pcr_batch_queue *queue, struct pcr_batch_item *item,
                                  uint64_t now_ns) {
    uint64_t retry_ns;
    return pcr_batch_queue_add(queue, item, now_ns, &retry_ns);
}

static struct pcr_batch_item *nth(const struct pcr_batch *batch, size_t n) {
    struct pcr_list *node = batch->items.next;
    while (n-- > 0)
        node = node->next;
    return PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
}

static size_t length(const struct pcr_list *list) {
    size_t n = 0;
    PCR_LIST_FOR_EACH(node, list) {
        n++;
    }
    return n;
}

static void finish(struct pcr_batch_queue *queue, const struct pcr_batch *batch) {
    pcr_batch_queue_finish(queue, batch, cost_ns(batch->weight));
}

// --- batches ------------------------------------------------------------------------------------
static void an_idle_queue_gives_at_once_what_comes(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    open_queue(&queue, (struct pcr_batch_options){0});
    assert_false(pcr_batch_queue_take(&queue, 5, &batch));
    assert_true(pcr_batch_queue_ready_ns(&queue, 5) == UINT64_MAX);
    struct pcr_batch_item item = item_of(1);
    assert_int_equal(add(&queue, &item, 10), PCR_BATCH_ADMITTED);
    assert_in_range(item.expected_ns, 8 + cost_ns(1), 12 + cost_ns(1)); // the fit rounds
    assert_int_equal(pcr_batch_queue_ready_ns(&queue, 10), 10);
    assert_true(pcr_batch_queue_take(&queue, 10, &batch));
    assert_int_equal(batch.n, 1);
    assert_ptr_equal(nth(&batch, 0), &item);
    assert_int_equal(item.taken, 1);
    finish(&queue, &batch);
    assert_int_equal(item.rows, 0);
    assert_int_equal(queue.n_running, 0);
}

static void what_waits_makes_the_next_batch_in_order(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch, next;
    struct pcr_batch_item items[7];
    static const uint64_t rows[] = {1, 3, 2, 2, 2, 1, 9};
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8});
    for (size_t i = 0; i < 7; i++) {
        items[i] = item_of(rows[i]);
        add(&queue, &items[i], i);
        if (i == 0)
            assert_true(pcr_batch_queue_take(&queue, 0, &batch));
    }
    assert_false(pcr_batch_queue_take(&queue, 7, &next)); // the only slot is taken
    finish(&queue, &batch);
    assert_true(pcr_batch_queue_take(&queue, 7, &batch));
    assert_int_equal(batch.rows, 7); // 3 + 2 + 2; the next would be one too many
    assert_ptr_equal(nth(&batch, 0), &items[1]);
    assert_ptr_equal(nth(&batch, 2), &items[3]);
    finish(&queue, &batch);
    assert_true(pcr_batch_queue_take(&queue, 8, &batch));
    assert_int_equal(batch.rows, 3);
    finish(&queue, &batch);
    assert_true(pcr_batch_queue_take(&queue, 9, &batch)); // longer than B: alone
    assert_int_equal(batch.n, 1);
    assert_int_equal(batch.rows, 9);
    finish(&queue, &batch);
}

static bool are_alike(const struct pcr_batch_item *a, const struct pcr_batch_item *b) {
    return a->row_weight == b->row_weight;
}

static void unlike_items_never_share(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[6];
    open_queue(&queue, (struct pcr_batch_options){.alike = are_alike});
    for (size_t i = 0; i < 6; i++) {
        items[i] = item_of(1);
        items[i].key = i % 2;
        items[i].row_weight = 1 + i / 4; // the hash of the last two collides
        add(&queue, &items[i], i);
    }
    static const size_t sizes[] = {2, 2, 1, 1};
    for (size_t i = 0; i < 4; i++) {
        assert_true(pcr_batch_queue_take(&queue, 10, &batch));
        assert_int_equal(batch.n, sizes[i]);
        finish(&queue, &batch);
    }
    assert_int_equal(queue.n_waiting, 0);
}

static void heavy_rows_count_for_more(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[4];
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8});
    for (size_t i = 0; i < 4; i++) {
        items[i] = item_of(1);
        items[i].row_weight = 4;
        add(&queue, &items[i], i);
    }
    assert_true(pcr_batch_queue_take(&queue, 10, &batch));
    assert_int_equal(batch.rows, 2);
    assert_int_equal(batch.weight, 8);
    finish(&queue, &batch);
}

static void slots_run_side_by_side(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batches[3];
    struct pcr_batch_item items[6];
    open_queue(&queue, (struct pcr_batch_options){.slots = 2, .rows_max = 2});
    for (size_t i = 0; i < 6; i++) {
        items[i] = item_of(1);
        add(&queue, &items[i], 0);
    }
    assert_true(pcr_batch_queue_take(&queue, 0, &batches[0]));
    assert_true(pcr_batch_queue_take(&queue, 0, &batches[1]));
    assert_int_not_equal(batches[0].slot, batches[1].slot);
    assert_false(pcr_batch_queue_take(&queue, 0, &batches[2]));
    assert_in_range(pcr_batch_queue_backlog_ns(&queue, PCR_BATCH_PRIORITIES - 1, 0),
                    3 * cost_ns(2) / 2 - 9, 3 * cost_ns(2) / 2 + 9);
    finish(&queue, &batches[0]);
    assert_true(pcr_batch_queue_take(&queue, 0, &batches[2]));
    assert_int_equal(batches[2].slot, batches[0].slot);
}

static void long_items_give_one_piece_at_a_time(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item longer = item_of(20), other = item_of(1), whole = item_of(20);
    longer.divisible = true;
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8});
    add(&queue, &longer, 0);
    add(&queue, &other, 1);
    static const uint64_t pieces[] = {8, 1, 8, 4}; // the other one is not behind all of them
    for (size_t i = 0; i < 4; i++) {
        assert_true(pcr_batch_queue_take(&queue, 2, &batch));
        assert_int_equal(batch.n, 1);
        assert_int_equal(batch.rows, pieces[i]);
        assert_ptr_equal(nth(&batch, 0), i == 1 ? &other : &longer);
        finish(&queue, &batch);
        if (i != 1 && longer.rows > 0)
            pcr_batch_queue_again(&queue, &longer);
    }
    assert_int_equal(longer.rows, 0);
    whole.piece_rows = 16;
    whole.divisible = true;
    add(&queue, &whole, 3);
    assert_true(pcr_batch_queue_take(&queue, 3, &batch));
    assert_int_equal(batch.rows, 16); // where the caller knows better
    finish(&queue, &batch);
}

static void no_rows_are_an_item_like_others(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item none = item_of(0);
    open_queue(&queue, (struct pcr_batch_options){0});
    assert_int_equal(add(&queue, &none, 0), PCR_BATCH_ADMITTED);
    assert_true(pcr_batch_queue_take(&queue, 0, &batch));
    assert_int_equal(batch.rows, 0);
    pcr_batch_queue_finish(&queue, &batch, 1000);
    assert_int_equal(none.rows, 0);
}

// --- refusals -----------------------------------------------------------------------------------
static void a_full_queue_refuses(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[4];
    uint64_t retry_ns;
    open_queue(&queue, (struct pcr_batch_options){.queue_max = 2});
    for (size_t i = 0; i < 4; i++)
        items[i] = item_of(1);
    assert_int_equal(add(&queue, &items[0], 0), PCR_BATCH_ADMITTED);
    assert_int_equal(add(&queue, &items[1], 0), PCR_BATCH_ADMITTED);
    assert_int_equal(pcr_batch_queue_add(&queue, &items[2], 0, &retry_ns), PCR_BATCH_FULL);
    assert_true(retry_ns > 0 && retry_ns <= cost_ns(8) + 1000);
    assert_true(pcr_batch_queue_take(&queue, 0, &batch));
    assert_int_equal(add(&queue, &items[2], 0), PCR_BATCH_ADMITTED);
    assert_true(pcr_batch_queue_remove(&queue, &items[2]));
    assert_false(pcr_batch_queue_remove(&queue, &items[2]));
    assert_false(pcr_batch_queue_remove(&queue, &items[0])); // it runs
    finish(&queue, &batch);
}

static void what_cannot_be_met_is_refused_at_arrival(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[40];
    uint64_t retry_ns;
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8});
    items[0] = item_of(1);
    items[0].deadline_ns = cost_ns(1) / 2;
    assert_int_equal(pcr_batch_queue_add(&queue, &items[0], 0, &retry_ns), PCR_BATCH_LATE);
    assert_true(retry_ns == UINT64_MAX); // not even alone
    items[0].deadline_ns = cost_ns(1) + 1000;
    assert_int_equal(add(&queue, &items[0], 0), PCR_BATCH_ADMITTED);
    assert_true(pcr_batch_queue_take(&queue, 0, &batch));
    size_t n = 1;
    for (; n < 40; n++) {
        items[n] = item_of(1);
        items[n].deadline_ns = 20 * MS;
        if (pcr_batch_queue_add(&queue, &items[n], 0, &retry_ns) != PCR_BATCH_ADMITTED)
            break;
    }
    // 2.5 ms run, then batches of 8 take 6 ms each: some 22 rows end within 20 ms.
    assert_in_range(n - 1, 20, 24);
    assert_in_range(retry_ns, 1, 7 * MS);
    // The same request again, after that time and a batch that ended meanwhile, is admitted.
    finish(&queue, &batch);
    assert_true(pcr_batch_queue_take(&queue, cost_ns(1), &batch));
    items[n].deadline_ns = cost_ns(1) + retry_ns + 20 * MS;
    assert_int_equal(add(&queue, &items[n], cost_ns(1) + retry_ns), PCR_BATCH_ADMITTED);
}

static void the_margin_is_part_of_what_is_expected(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item item = item_of(1);
    uint64_t retry_ns;
    open_queue(&queue, (struct pcr_batch_options){0});
    item.deadline_ns = cost_ns(1) + MS;
    queue.margin_ns = 2 * MS;
    assert_int_equal(pcr_batch_queue_add(&queue, &item, 0, &retry_ns), PCR_BATCH_LATE);
    queue.margin_ns = MS / 2;
    assert_int_equal(add(&queue, &item, 0), PCR_BATCH_ADMITTED);
    queue.margin_ns = 2 * MS; // it has grown meanwhile
    assert_false(pcr_batch_queue_take(&queue, 0, &batch));
    assert_int_equal(length(&batch.late), 1);
}

static void late_items_are_handed_out_uncomputed(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[5];
    open_queue(&queue, (struct pcr_batch_options){0});
    for (size_t i = 0; i < 5; i++) {
        items[i] = item_of(1);
        items[i].deadline_ns = i % 2 ? 100 * MS : 10 * MS;
        assert_int_equal(add(&queue, &items[i], 0), PCR_BATCH_ADMITTED);
    }
    assert_true(pcr_batch_queue_take(&queue, 9 * MS, &batch)); // 2.5 ms would be too long
    assert_int_equal(length(&batch.late), 3);
    assert_int_equal(batch.n, 2);
    assert_int_equal(queue.n_waiting, 0);
    finish(&queue, &batch);
}

// A batch grows only as long as the tightest of its deadlines is met, unless as many others with
// deadlines wait as make a full one: then they go first.
static void a_tight_deadline_keeps_a_batch_short(void **state) {
    (void)state;
    for (int others_have_deadlines = 0; others_have_deadlines < 2; others_have_deadlines++) {
        struct pcr_batch_queue queue;
        struct pcr_batch batch;
        struct pcr_batch_item items[12];
        open_queue(&queue, (struct pcr_batch_options){.rows_max = 8});
        for (size_t i = 0; i < 12; i++) {
            items[i] = item_of(1);
            items[i].deadline_ns = i == 0                  ? cost_ns(3) + 1000
                                   : others_have_deadlines ? 100 * MS
                                                           : 0;
            assert_int_equal(add(&queue, &items[i], 0), PCR_BATCH_ADMITTED);
        }
        assert_true(pcr_batch_queue_take(&queue, 0, &batch));
        assert_int_equal(batch.n, others_have_deadlines ? 8 : 3);
        assert_int_equal(length(&batch.late), others_have_deadlines);
        finish(&queue, &batch);
    }
}

// --- priorities ---------------------------------------------------------------------------------
static void the_first_go_first_and_the_last_do_not_starve(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item low = item_of(1), high[40];
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 1});
    low.priority = 2;
    add(&queue, &low, 0);
    size_t before = 0;
    for (bool done = false; !done && before < 40; before++) {
        high[before] = item_of(1);
        high[before].priority = 0;
        add(&queue, &high[before], 1 + before);
        assert_true(pcr_batch_queue_take(&queue, 1 + before, &batch));
        done = nth(&batch, 0) == &low;
        finish(&queue, &batch);
    }
    assert_in_range(before, 2, 9);
}

static void a_batch_is_filled_up_from_below(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[6];
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 4});
    for (size_t i = 0; i < 6; i++) {
        items[i] = item_of(1);
        items[i].priority = (unsigned)(2 - i % 3);
        add(&queue, &items[i], i);
    }
    assert_true(pcr_batch_queue_take(&queue, 10, &batch));
    assert_int_equal(batch.n, 4);
    assert_int_equal(nth(&batch, 0)->priority, 0);
    assert_int_equal(nth(&batch, 1)->priority, 0);
    assert_int_equal(nth(&batch, 2)->priority, 1);
    finish(&queue, &batch);
}

// --- the window ---------------------------------------------------------------------------------
static void a_window_holds_until_it_is_over_or_full(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[9];
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8, .max_wait_ns = 5 * MS});
    for (size_t i = 0; i < 9; i++)
        items[i] = item_of(1);
    add(&queue, &items[0], MS);
    assert_int_equal(pcr_batch_queue_ready_ns(&queue, MS), 6 * MS);
    assert_false(pcr_batch_queue_take(&queue, 6 * MS - 1, &batch));
    assert_true(pcr_batch_queue_take(&queue, 6 * MS, &batch));
    finish(&queue, &batch);
    for (size_t i = 1; i < 9; i++)
        add(&queue, &items[i], 10 * MS);
    assert_true(pcr_batch_queue_take(&queue, 10 * MS, &batch)); // full
    assert_int_equal(batch.n, 8);
    finish(&queue, &batch);
}

static void a_window_makes_nobody_late(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item item = item_of(1);
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8, .max_wait_ns = 50 * MS});
    item.deadline_ns = 10 * MS;
    assert_int_equal(add(&queue, &item, 0), PCR_BATCH_ADMITTED);
    uint64_t ready_ns = pcr_batch_queue_ready_ns(&queue, 0);
    assert_true(ready_ns + cost_ns(1) <= item.deadline_ns);
    assert_true(pcr_batch_queue_take(&queue, ready_ns, &batch));
    assert_int_equal(batch.n, 1);
}

// The nearest deadline is not that of whoever waits longest.
static void a_window_ends_for_the_nearest_deadline(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item items[4];
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8, .max_wait_ns = 500 * MS});
    for (size_t i = 0; i < 4; i++)
        items[i] = item_of(1);
    items[1].deadline_ns = 400 * MS;
    items[2].deadline_ns = 40 * MS;
    items[3].deadline_ns = 300 * MS;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(add(&queue, &items[i], 0), PCR_BATCH_ADMITTED);
    uint64_t ready_ns = pcr_batch_queue_ready_ns(&queue, 0);
    assert_true(ready_ns > 0 && ready_ns + cost_ns(4) <= items[2].deadline_ns);

    assert_true(pcr_batch_queue_remove(&queue, &items[2])); // its client went
    ready_ns = pcr_batch_queue_ready_ns(&queue, 0);
    assert_true(ready_ns > 40 * MS && ready_ns + cost_ns(3) <= items[3].deadline_ns);
    assert_true(pcr_batch_queue_take(&queue, ready_ns, &batch));
    assert_int_equal(batch.n, 3);
    assert_true(pcr_list_empty(&batch.late));
    finish(&queue, &batch);
    assert_true(pcr_batch_queue_ready_ns(&queue, ready_ns) == UINT64_MAX);
}

// What answers need on their way counts against the window, too.
static void a_window_leaves_the_margin(void **state) {
    (void)state;
    struct pcr_batch_queue queue;
    struct pcr_batch batch;
    struct pcr_batch_item item = item_of(1);
    open_queue(&queue, (struct pcr_batch_options){.rows_max = 8, .max_wait_ns = 500 * MS});
    queue.margin_ns = 20 * MS;
    item.deadline_ns = 100 * MS;
    assert_int_equal(add(&queue, &item, 0), PCR_BATCH_ADMITTED);
    uint64_t ready_ns = pcr_batch_queue_ready_ns(&queue, 0);
    assert_true(pcr_batch_queue_take(&queue, ready_ns, &batch));
    assert_int_equal(batch.n, 1);
    assert_true(pcr_list_empty(&batch.late));
}

// --- at random ----------------------------------------------------------------------------------
#define ITEMS 64
#define STEPS 40000

enum where { IDLE, WAITS, RUNS };

struct world {
    struct pcr_batch_queue queue;
    struct pcr_batch_item items[ITEMS];
    enum where where[ITEMS];
    struct pcr_batch batches[4];
    bool busy[4];
    uint64_t now_ns;
    unsigned random;
};

static unsigned draw(struct world *w, unsigned n) {
    w->random = w->random * 1664525 + 1013904223;
    return (w->random >> 8) % n;
}

static size_t index_of(const struct world *w, const struct pcr_batch_item *item) {
    return (size_t)(item - w->items);
}

static void check(const struct world *w) {
    const struct pcr_batch_queue *queue = &w->queue;
    size_t waiting = 0, listed = 0, running = 0;
    uint64_t weights[PCR_BATCH_PRIORITIES] = {0}, dated = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        waiting += w->where[i] == WAITS;
        assert_int_equal(w->items[i].waits, w->where[i] == WAITS);
        if (w->where[i] == WAITS)
            weights[w->items[i].priority] += w->items[i].rows * w->items[i].row_weight;
        if (w->where[i] == WAITS && w->items[i].deadline_ns)
            dated += w->items[i].rows * w->items[i].row_weight;
    }
    assert_int_equal(queue->dated_weight, dated);
    for (size_t i = 0; i < PCR_BATCH_PRIORITIES; i++) {
        listed += length(&queue->waiting[i]);
        assert_int_equal(queue->weights[i], weights[i]);
    }
    for (size_t i = 0; i < 4; i++)
        running += w->busy[i];
    assert_int_equal(queue->n_waiting, waiting);
    assert_int_equal(listed, waiting);
    assert_int_equal(queue->n_running, running);
    assert_true(waiting <= queue->options.queue_max + 4); // pieces that wait again need no leave
}

static void arrive(struct world *w) {
    size_t i = draw(w, ITEMS);
    if (w->where[i] != IDLE)
        return;
    struct pcr_batch_item *item = &w->items[i];
    *item = item_of(draw(w, 12));
    item->row_weight = 1 + draw(w, 2);
    item->key = draw(w, 3);
    item->priority = draw(w, PCR_BATCH_PRIORITIES);
    item->divisible = draw(w, 4) == 0;
    if (draw(w, 2))
        item->deadline_ns = w->now_ns + draw(w, 40) * MS;
    uint64_t retry_ns;
    if (pcr_batch_queue_add(&w->queue, item, w->now_ns, &retry_ns) == PCR_BATCH_ADMITTED)
        w->where[i] = WAITS;
    else
        assert_true(retry_ns > 0);
}

static void note_batch(struct world *w, const struct pcr_batch *batch) {
    uint64_t rows = 0, weight = 0;
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pcr_batch_item *item = PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
        assert_int_equal(w->where[index_of(w, item)], WAITS);
        w->where[index_of(w, item)] = RUNS;
        assert_true(item->taken <= item->rows);
        assert_true(item->deadline_ns == 0 || item->deadline_ns > w->now_ns);
        assert_int_equal(item->key, nth(batch, 0)->key);
        rows += item->taken;
        weight += item->taken * item->row_weight;
    }
    assert_int_equal(rows, batch->rows);
    assert_int_equal(weight, batch->weight);
    assert_true(batch->n == 1 || batch->weight <= w->queue.options.rows_max);
}

static void start(struct world *w) {
    for (size_t i = 0; i < 4; i++) {
        if (w->busy[i])
            continue;
        struct pcr_batch batch;
        w->busy[i] = pcr_batch_queue_take(&w->queue, w->now_ns, &batch);
        PCR_LIST_FOR_EACH(node, &batch.late) {
            struct pcr_batch_item *item = PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
            assert_true(item->deadline_ns > 0);
            w->where[index_of(w, item)] = IDLE;
        }
        if (!w->busy[i])
            continue;
        note_batch(w, &batch);
        w->batches[i] = batch; // its lists move along
        batch.items.next->prev = batch.items.prev->next = &w->batches[i].items;
    }
    // Nothing that may run waits while a slot is free.
    if (w->queue.n_running < w->queue.options.slots)
        assert_true(w->queue.n_waiting == 0);
}

static void end(struct world *w, size_t slot) {
    struct pcr_batch *batch = &w->batches[slot];
    if (!w->busy[slot])
        return;
    w->busy[slot] = false;
    pcr_batch_queue_finish(&w->queue, batch, draw(w, 9) ? cost_ns(batch->weight) : 0);
    PCR_LIST_FOR_EACH_SAFE(node, after, &batch->items) {
        struct pcr_batch_item *item = PCR_LIST_ENTRY(node, struct pcr_batch_item, node);
        w->where[index_of(w, item)] = IDLE;
        pcr_list_remove(node);
        if (item->rows > 0) {
            pcr_batch_queue_again(&w->queue, item);
            w->where[index_of(w, item)] = WAITS;
        }
    }
}

static void whatever_happens_nothing_is_lost(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        struct world *w = calloc(1, sizeof *w);
        assert_non_null(w);
        w->random = seed;
        open_queue(&w->queue,
                   (struct pcr_batch_options){.queue_max = 20, .slots = 4, .rows_max = 8});
        for (int step = 0; step < STEPS; step++) {
            w->now_ns += draw(w, 3) * MS; // the clock may stand still
            switch (draw(w, 4)) {
            case 0:
                end(w, draw(w, 4));
                break;
            case 1: {
                size_t i = draw(w, ITEMS);
                assert_int_equal(pcr_batch_queue_remove(&w->queue, &w->items[i]),
                                 w->where[i] == WAITS);
                w->where[i] = w->where[i] == WAITS ? IDLE : w->where[i];
                break;
            }
            default:
                arrive(w);
            }
            start(w);
            check(w);
        }
        free(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_queue_gives_at_once_what_comes),
        cmocka_unit_test(what_waits_makes_the_next_batch_in_order),
        cmocka_unit_test(unlike_items_never_share),
        cmocka_unit_test(heavy_rows_count_for_more),
        cmocka_unit_test(slots_run_side_by_side),
        cmocka_unit_test(long_items_give_one_piece_at_a_time),
        cmocka_unit_test(no_rows_are_an_item_like_others),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(what_cannot_be_met_is_refused_at_arrival),
        cmocka_unit_test(the_margin_is_part_of_what_is_expected),
        cmocka_unit_test(late_items_are_handed_out_uncomputed),
        cmocka_unit_test(a_tight_deadline_keeps_a_batch_short),
        cmocka_unit_test(the_first_go_first_and_the_last_do_not_starve),
        cmocka_unit_test(a_batch_is_filled_up_from_below),
        cmocka_unit_test(a_window_holds_until_it_is_over_or_full),
        cmocka_unit_test(a_window_makes_nobody_late),
        cmocka_unit_test(a_window_ends_for_the_nearest_deadline),
        cmocka_unit_test(a_window_leaves_the_margin),
        cmocka_unit_test(whatever_happens_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
