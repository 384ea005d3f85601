// SPDX-License-Identifier: Apache-2.0
// Simulated days of batching: arrivals on a simulated clock, driven through the policy that serves
// (infer/batch_queue.h), through the same without batching, and through a batcher with a fixed
// window such as the usual Python ones.
//
//     batch_sim [--check] [ARRIVALS]     tables, or only whether the policy keeps its promises
//
// A run takes what the model says, t(n) = a + b·n, and the policies know it, as they do after a
// warm-up: what is compared is what they do with it. Models share the worker slots in turns.
#include "infer/batch_queue.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS_MAX 3
#define SLOTS_MAX 4
#define REQUESTS 20000
#define WINDOW_NS (5 * PCR_NS_PER_MS)
#define WINDOW_ROWS 64
#define SIZES 8 // 1, 2, 3–4, … 65 and more
#define FOREVER UINT64_MAX

enum policy { NATURAL, WINDOW, SINGLE, POLICIES };
static const char *const policy_names[] = {"natural", "window 5 ms", "no batching"};

struct model {
    const char *name;
    double a_us, b_us;
    uint64_t cap; // by the rule, of a sweep to 64
};

static struct model models[] = {
    {"small MLP", 3.0, 0.17, 0},
    {"big MLP", 236, 48, 0},
    {"100 trees", 4.0, 3.5, 0},
};

enum arrivals { POISSON, BURSTS, ON_OFF, RECORDED };

struct scenario {
    const char *name;
    unsigned n_models; // of models[], from `first` on, with equal shares
    unsigned first;
    unsigned slots;
    enum arrivals arrivals;
    double load;          // in saturations of the natural policy
    uint64_t deadline_ms; // 0: none
};

static const struct scenario scenarios[] = {
    {"one caller now and then", 1, 1, 1, POISSON, 0.02, 0},
    {"half of saturation", 1, 1, 1, POISSON, 0.5, 0},
    {"0.7 of saturation", 1, 1, 1, POISSON, 0.7, 0},
    {"0.7, cheap model", 1, 0, 1, POISSON, 0.7, 0},
    {"0.7, trees", 1, 2, 1, POISSON, 0.7, 0},
    {"0.7, in bursts of 40", 1, 1, 1, BURSTS, 0.7, 0},
    {"0.7, half of the time on", 1, 1, 1, ON_OFF, 0.7, 0},
    {"0.7, recorded", 1, 1, 1, RECORDED, 0.7, 0},
    {"0.7, three models, two slots", 3, 0, 2, POISSON, 0.7, 0},
    {"saturation", 1, 1, 1, POISSON, 1.0, 0},
    {"5 × saturation, 50 ms", 1, 1, 1, POISSON, 5, 50},
    {"5 ×, three models, two slots, 50 ms", 3, 0, 2, POISSON, 5, 50},
};

struct request {
    struct pcr_batch_item item;
    uint64_t arrived_ns, done_ns; // FOREVER: not answered
    unsigned model;
    bool refused;
};

struct lane { // of one model
    struct pcr_batch_queue queue;
    struct pcr_list window; // of the fixed window's requests
    size_t n_window;
    bool window_runs; // such a batcher runs one batch at a time
};

struct slot {
    bool busy;
    uint64_t end_ns;
    unsigned model;
    struct pcr_batch batch;
};

struct sim {
    enum policy policy;
    const struct scenario *scenario;
    struct lane lanes[MODELS_MAX];
    struct slot slots[SLOTS_MAX];
    unsigned turn; // whose model's turn it is
    struct request *requests;
    uint64_t sizes[SIZES];
    uint64_t runs, rows;
};

struct result {
    double rate, goodput, p50_us, p99_us, max_us, mean_rows;
    size_t refused, late;
    uint64_t sizes[SIZES];
};

// --- arrivals -----------------------------------------------------------------------------------
static uint64_t random_state;

static double uniform(void) { // SplitMix64, reproducible
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) / 9007199254740992.0;
}

static double *recorded;
static size_t n_recorded;

static void read_recorded(const char *path) {
    FILE *file = path ? fopen(path, "r") : NULL;
    double gap, sum = 0;
    if (!file)
        return;
    recorded = calloc(REQUESTS, sizeof *recorded);
    while (recorded && n_recorded < REQUESTS && fscanf(file, "%lf", &gap) == 1)
        sum += recorded[n_recorded++] = gap;
    for (size_t i = 0; i < n_recorded; i++) // a mean of 1
        recorded[i] *= (double)n_recorded / sum;
    fclose(file);
}

// The gap before request i, in means.
static double gap(enum arrivals kind, size_t i) {
    switch (kind) {
    case BURSTS:
        return i % 40 ? 0 : 40 * -log(uniform());
    case ON_OFF: // twice the rate for 200 requests, then nothing for as long
        return -log(uniform()) / 2 + (i % 200 ? 0 : 100);
    case RECORDED:
        return n_recorded ? recorded[i % n_recorded] : -log(uniform());
    default:
        return -log(uniform());
    }
}

static uint64_t run_ns(const struct model *model, uint64_t rows) {
    return (uint64_t)(1000 * (model->a_us + model->b_us * (double)rows));
}

static void sweep(struct pcr_cost *cost, const struct model *model) {
    for (uint64_t n = 1; n <= 64; n *= 2)
        pcr_cost_sweep(cost, n, run_ns(model, n));
}

static void find_caps(void) {
    for (size_t m = 0; m < PCR_COUNT_OF(models); m++) {
        struct pcr_cost cost;
        pcr_cost_init(&cost);
        sweep(&cost, &models[m]);
        models[m].cap = pcr_cost_cap(&cost, 64);
    }
}

static double saturation_per_s(const struct scenario *s) {
    double ns = 0; // of one request, averaged over the models
    for (unsigned m = 0; m < s->n_models; m++) {
        const struct model *model = &models[s->first + m];
        ns += (double)run_ns(model, model->cap) / (double)model->cap / s->n_models;
    }
    return 1e9 * s->slots / ns;
}

// --- the policies -------------------------------------------------------------------------------
static void open_lanes(struct sim *sim) {
    for (unsigned m = 0; m < sim->scenario->n_models; m++) {
        struct lane *lane = &sim->lanes[m];
        const struct model *model = &models[sim->scenario->first + m];
        struct pcr_batch_options options = {
            .rows_max = sim->policy == SINGLE ? 1 : model->cap,
            .queue_max = REQUESTS,
            .slots = sim->scenario->slots,
        };
        pcr_batch_queue_init(&lane->queue, &options);
        sweep(&lane->queue.cost, model);
        pcr_list_init(&lane->window);
    }
}

static void arrive(struct sim *sim, struct request *request, uint64_t now_ns) {
    struct lane *lane = &sim->lanes[request->model];
    uint64_t retry_ns;
    if (sim->policy == WINDOW) {
        pcr_list_push_back(&lane->window, &request->item.node);
        lane->n_window++;
        return;
    }
    request->refused =
        pcr_batch_queue_add(&lane->queue, &request->item, now_ns, &retry_ns) != PCR_BATCH_ADMITTED;
}

static uint64_t window_ready_ns(const struct lane *lane) {
    if (lane->n_window == 0 || lane->window_runs)
        return FOREVER;
    const struct request *first = PCR_LIST_ENTRY(lane->window.next, struct request, item.node);
    return lane->n_window >= WINDOW_ROWS ? first->arrived_ns : first->arrived_ns + WINDOW_NS;
}

static uint64_t ready_ns(const struct sim *sim, struct lane *lane, uint64_t now_ns) {
    return sim->policy == WINDOW ? window_ready_ns(lane)
                                 : pcr_batch_queue_ready_ns(&lane->queue, now_ns);
}

static bool take(struct sim *sim, struct lane *lane, uint64_t now_ns, struct pcr_batch *batch) {
    if (sim->policy != WINDOW)
        return pcr_batch_queue_take(&lane->queue, now_ns, batch);
    *batch = (struct pcr_batch){0};
    pcr_list_init(&batch->items);
    pcr_list_init(&batch->late);
    while (lane->n_window > 0 && batch->n < WINDOW_ROWS) {
        struct pcr_list *node = lane->window.next;
        pcr_list_remove(node);
        pcr_list_push_back(&batch->items, node);
        batch->n++;
        lane->n_window--;
    }
    batch->rows = batch->weight = batch->n;
    lane->window_runs = true;
    return true;
}

static void note_size(struct sim *sim, uint64_t rows) {
    size_t i = 0;
    while (i < SIZES - 1 && rows > (uint64_t)1 << i)
        i++;
    sim->sizes[i]++;
    sim->runs++;
    sim->rows += rows;
}

static void start_on(struct sim *sim, struct slot *slot, unsigned m, uint64_t now_ns) {
    struct pcr_batch batch;
    if (!take(sim, &sim->lanes[m], now_ns, &batch))
        return;
    slot->batch = batch;
    batch.items.next->prev = batch.items.prev->next = &slot->batch.items;
    slot->busy = true;
    slot->model = m;
    slot->end_ns = now_ns + run_ns(&models[sim->scenario->first + m], batch.rows);
    note_size(sim, batch.rows);
}

static void start_all(struct sim *sim, uint64_t now_ns) {
    unsigned n = sim->scenario->n_models;
    for (unsigned k = 0; k < sim->scenario->slots; k++)
        for (unsigned i = 0; i < 2 * n && !sim->slots[k].busy; i++) {
            unsigned m = sim->turn++ % n;
            if (ready_ns(sim, &sim->lanes[m], now_ns) <= now_ns)
                start_on(sim, &sim->slots[k], m, now_ns);
        }
}

static void end_run(struct sim *sim, struct slot *slot) {
    struct lane *lane = &sim->lanes[slot->model];
    slot->busy = false;
    lane->window_runs = false;
    if (sim->policy != WINDOW)
        pcr_batch_queue_finish(
            &lane->queue, &slot->batch,
            run_ns(&models[sim->scenario->first + slot->model], slot->batch.rows));
    PCR_LIST_FOR_EACH(node, &slot->batch.items) {
        PCR_LIST_ENTRY(node, struct request, item.node)->done_ns = slot->end_ns;
    }
}

// --- the clock ----------------------------------------------------------------------------------
static uint64_t next_event_ns(struct sim *sim, size_t next, uint64_t now_ns) {
    uint64_t at = next < REQUESTS ? sim->requests[next].arrived_ns : FOREVER;
    bool is_free = false;
    for (unsigned k = 0; k < sim->scenario->slots; k++) {
        is_free |= !sim->slots[k].busy;
        if (sim->slots[k].busy && sim->slots[k].end_ns < at)
            at = sim->slots[k].end_ns;
    }
    for (unsigned m = 0; m < sim->scenario->n_models && is_free; m++) {
        uint64_t ready = ready_ns(sim, &sim->lanes[m], now_ns);
        at = ready < at ? ready : at;
    }
    return at > now_ns ? at : now_ns;
}

static void run(struct sim *sim) {
    size_t next = 0;
    open_lanes(sim);
    for (uint64_t now_ns = 0;;) {
        uint64_t at = next_event_ns(sim, next, now_ns);
        if (at == FOREVER)
            return;
        now_ns = at;
        for (unsigned k = 0; k < sim->scenario->slots; k++)
            if (sim->slots[k].busy && sim->slots[k].end_ns <= now_ns)
                end_run(sim, &sim->slots[k]);
        for (; next < REQUESTS && sim->requests[next].arrived_ns <= now_ns; next++)
            arrive(sim, &sim->requests[next], now_ns);
        start_all(sim, now_ns);
    }
}

static struct request *make_requests(const struct scenario *s) {
    struct request *requests = calloc(REQUESTS, sizeof *requests);
    double mean_ns = 1e9 / (s->load * saturation_per_s(s));
    double at_ns = 1000;
    if (!requests)
        abort();
    random_state = 42;
    for (size_t i = 0; i < REQUESTS; i++) {
        at_ns += gap(s->arrivals, i) * mean_ns;
        requests[i] = (struct request){
            .item = {.rows = 1, .row_weight = 1, .priority = PCR_BATCH_PRIORITY_DEFAULT},
            .arrived_ns = (uint64_t)at_ns,
            .done_ns = FOREVER,
            .model = (unsigned)(uniform() * s->n_models),
        };
        if (s->deadline_ms)
            requests[i].item.deadline_ns = requests[i].arrived_ns + s->deadline_ms * PCR_NS_PER_MS;
    }
    return requests;
}

// --- what came out ------------------------------------------------------------------------------
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void sum_up(const struct sim *sim, struct result *out) {
    double *us = calloc(REQUESTS, sizeof *us);
    uint64_t last_ns = 1;
    size_t n = 0, in_time = 0;
    if (!us)
        abort();
    *out = (struct result){.mean_rows = (double)sim->rows / (double)(sim->runs ? sim->runs : 1)};
    for (size_t i = 0; i < REQUESTS; i++) {
        const struct request *r = &sim->requests[i];
        if (r->done_ns == FOREVER) {
            out->refused++;
            continue;
        }
        bool late = r->item.deadline_ns && r->done_ns > r->item.deadline_ns;
        out->late += late;
        in_time += !late;
        us[n++] = (double)(r->done_ns - r->arrived_ns) / 1000;
        last_ns = r->done_ns > last_ns ? r->done_ns : last_ns;
    }
    qsort(us, n, sizeof *us, by_value);
    out->rate = (double)n / ((double)last_ns / 1e9);
    out->goodput = (double)in_time / ((double)last_ns / 1e9);
    out->p50_us = n ? us[n / 2] : 0;
    out->p99_us = n ? us[(size_t)(0.99 * (double)(n - 1))] : 0;
    out->max_us = n ? us[n - 1] : 0;
    memcpy(out->sizes, sim->sizes, sizeof out->sizes);
    free(us);
}

static struct result simulate(const struct scenario *s, enum policy policy) {
    struct sim *sim = calloc(1, sizeof *sim);
    struct result result;
    if (!sim)
        abort();
    sim->policy = policy;
    sim->scenario = s;
    sim->requests = make_requests(s);
    run(sim);
    sum_up(sim, &result);
    free(sim->requests);
    free(sim);
    return result;
}

// --- tables and promises ------------------------------------------------------------------------
static void print_time(double us) {
    if (us < 10000)
        printf(" %7.0f µs", us);
    else if (us < 1e7)
        printf(" %7.1f ms", us / 1000);
    else
        printf(" %8.1f s", us / 1e6);
}

static void print_scenario(const struct scenario *s, const struct result *results) {
    printf("\n%s (%.0f requests/s)\n", s->name, s->load * saturation_per_s(s));
    printf("  %-12s %9s %9s %10s %10s %10s %8s %6s %6s   runs by rows: 1 2 4 8 16 32 64 more\n",
           "policy", "served/s", "in time/s", "p50", "p99", "longest", "refused", "late", "rows");
    for (unsigned p = 0; p < POLICIES; p++) {
        const struct result *r = &results[p];
        printf("  %-12s %9.0f %9.0f", policy_names[p], r->rate, r->goodput);
        print_time(r->p50_us);
        print_time(r->p99_us);
        print_time(r->max_us);
        printf(" %8zu %6zu %6.1f  ", r->refused, r->late, r->mean_rows);
        for (unsigned i = 0; i < SIZES; i++)
            printf(" %" PRIu64, r->sizes[i]);
        printf("\n");
    }
}

static unsigned broken;

static void promise(bool kept, const struct scenario *s, const char *what) {
    if (kept)
        return;
    broken++;
    printf("BROKEN: %s: %s\n", s->name, what);
}

static void check(const struct scenario *s, const struct result *results) {
    const struct model *model = &models[s->first];
    const struct result *natural = &results[NATURAL];
    double one_us = (double)run_ns(model, 1) / 1000;
    double full_us = (double)run_ns(model, model->cap) / 1000;
    double best = saturation_per_s(s);
    if (s->load < 0.1)
        promise(natural->p50_us <= one_us + 1, s, "a lone request waits for nothing");
    if (s->load <= 0.7) {
        promise(natural->refused == 0, s, "nothing is refused");
        promise(natural->p50_us <= results[WINDOW].p50_us, s, "no slower than a window");
        promise(natural->p50_us <= results[SINGLE].p50_us * 1.5, s, "no slower than alone");
    }
    if (s->load <= 0.7 && s->arrivals == POISSON && s->n_models == 1)
        promise(natural->p99_us <= 3 * one_us + full_us, s,
                "p99 within three times the own cost and one batch");
    if (s->load >= 1 && s->load < 2)
        promise(natural->rate >= 0.9 * best, s, "saturation is reached");
    if (s->load >= 2) {
        promise(natural->goodput >= 0.9 * best, s, "overload takes no more than a tenth");
        promise(natural->late == 0, s, "what is admitted is in time");
        promise(natural->p99_us <= (double)s->deadline_ms * 1000, s, "p99 within the deadline");
    }
}

int main(int argc, char **argv) {
    bool only_check = argc > 1 && strcmp(argv[1], "--check") == 0;
    read_recorded(argc > 1 + only_check ? argv[1 + only_check] : NULL);
    find_caps();
    printf(
        "batching, simulated: %d requests each; small MLP 3 µs + 0.17 µs a row, big MLP 236 µs + "
        "48 µs, trees 4 µs + 3.5 µs\n",
        REQUESTS);
    for (size_t i = 0; i < PCR_COUNT_OF(scenarios); i++) {
        struct result results[POLICIES];
        for (unsigned p = 0; p < POLICIES; p++)
            results[p] = simulate(&scenarios[i], (enum policy)p);
        if (!only_check)
            print_scenario(&scenarios[i], results);
        check(&scenarios[i], results);
    }
    free(recorded);
    printf("%s%u of the policy's promises broken\n", only_check ? "" : "\n", broken);
    return broken > 0;
}
