// SPDX-License-Identifier: Apache-2.0
// One run for many calls: gather, run, scatter.
//
// A call that is alone is run as it is: ONNX Runtime reads the caller's memory, and the outputs are
// views into its own values. Calls that share a run have their inputs copied side by side into a
// buffer that the thread keeps; of the outputs each gets its rows: a copy where they are short,
// else a view into the batch's outputs, which go when the last of the calls that look at them has
// gone. A call longer than the cap comes in pieces; its outputs are put together in its own arena.
//
// If a shared run fails, one of its calls is to blame and the others are not: each is run again
// alone, once. The same if the outputs do not have the rows they should.
//
// Rejected: outputs bound to memory of ours. It saves ONNX Runtime's own allocation, some 50 ns,
// but then every output would have to be copied, long ones too.
#include "infer/engine_priv.h"
#include "infer/session_priv.h"

#include <stdlib.h>

#define COPY_BYTES_MAX ((size_t)4 << 10)     // of a call's rows of one output; above, a view
#define GATHERED_KEPT_MAX ((size_t)16 << 20) // by a thread, between two batches
#define GATHERED_ALIGN ((size_t)64)
#define CALLS_FEW 256                     // their list is on the stack
#define BLOCK_BYTES_MAX ((size_t)4 << 30) // of the outputs of one run

struct block { // what a shared run made
    atomic_uint refs;
    struct pcr_arena arena;
};

static struct block *block_create(void) {
    struct block *block = malloc(sizeof *block);
    if (block) {
        atomic_init(&block->refs, 1);
        pcr_arena_init(&block->arena, BLOCK_BYTES_MAX);
    }
    return block;
}

// Release: what this call read comes before; acquire: the last one sees all of that.
static void block_unref(void *ptr) {
    struct block *block = ptr;
    if (atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) > 1)
        return;
    pcr_arena_fini(&block->arena);
    free(block);
}

void pcr_runner_init(struct pcr_runner *runner, const OrtRunOptions *options, bool on_loop) {
    *runner = (struct pcr_runner){.options = options, .on_loop = on_loop};
}

void pcr_runner_fini(struct pcr_runner *runner) {
    free(runner->gathered);
    runner->gathered = NULL;
    runner->gathered_bytes = 0;
}

struct shared { // a run and the calls whose rows are in it, one after the other
    struct pcr_call_state *const *calls;
    size_t n;
    uint64_t rows;
};

static int arena_full(struct pacer_error *err) {
    return pcr_err(err, PACER_ENOMEM, "engine",
                   "the run needs more memory than the request may take");
}

static size_t element_bytes(const struct pacer_tensor *tensor) {
    return tensor->dtype == PACER_BYTES ? sizeof(struct pacer_bytes)
                                        : pacer_dtype_size(tensor->dtype);
}

// Of one row, all dimensions but the first.
static size_t row_bytes(const struct pacer_tensor *tensor) {
    size_t count = 0;
    int code = pacer_shape_count(tensor->shape + 1, tensor->rank - 1, &count);
    PCR_ASSERT(code == 0); // checked with the whole
    return count * element_bytes(tensor);
}

// --- gathering ----------------------------------------------------------------------------------
static bool reserve(struct pcr_runner *runner, size_t bytes) {
    if (bytes <= runner->gathered_bytes)
        return true;
    size_t rounded = (bytes + GATHERED_ALIGN - 1) / GATHERED_ALIGN * GATHERED_ALIGN;
    pcr_runner_fini(runner);
    runner->gathered = aligned_alloc(GATHERED_ALIGN, rounded);
    runner->gathered_bytes = runner->gathered ? rounded : 0;
    return runner->gathered != NULL;
}

static size_t align(size_t bytes) {
    return (bytes + GATHERED_ALIGN - 1) & ~(GATHERED_ALIGN - 1);
}

// Input `k` of all calls, side by side at `into`.
static void gather_input(const struct shared *shared, size_t k, char *into) {
    for (size_t i = 0; i < shared->n; i++) {
        const struct pcr_call_state *state = shared->calls[i];
        const struct pacer_tensor *tensor = &state->call->run.inputs[k];
        size_t bytes = row_bytes(tensor);
        size_t n = bytes * state->item.taken;
        if (n == 0)
            continue;
        memcpy(into, (const char *)tensor->data + bytes * state->done_rows, n);
        into += n;
    }
}

// The run of all calls' rows, in the block's arena; false when memory is out.
static bool gather(struct pcr_runner *runner, const struct shared *shared, struct block *block,
                   struct pacer_run *out) {
    const struct pcr_call_state *first = shared->calls[0];
    const struct pacer_run *like = &first->call->run;
    size_t total = 0;
    for (size_t k = 0; k < like->n_inputs; k++)
        total += align(row_bytes(&like->inputs[k]) * shared->rows);
    struct pacer_tensor *inputs = pcr_arena_array(&block->arena, like->n_inputs, sizeof *inputs);
    if (!inputs || (shared->n > 1 && !reserve(runner, total)))
        return false;
    char *into = runner->gathered; // NULL if there is nothing to gather
    for (size_t k = 0; k < like->n_inputs; k++) {
        const struct pacer_tensor *tensor = &like->inputs[k];
        int64_t *shape = pcr_arena_array(&block->arena, tensor->rank, sizeof *shape);
        if (!shape)
            return false;
        memcpy(shape, tensor->shape, tensor->rank * sizeof *shape);
        shape[0] = (int64_t)shared->rows;
        inputs[k] = *tensor;
        inputs[k].shape = shape;
        if (shared->n == 1) { // a piece: where it is
            inputs[k].data = (const char *)tensor->data + row_bytes(tensor) * first->done_rows;
            continue;
        }
        gather_input(shared, k, into);
        inputs[k].data = into;
        if (into)
            into += align(row_bytes(tensor) * shared->rows);
    }
    *out = (struct pacer_run){inputs, like->n_inputs, like->outputs, like->n_outputs};
    return true;
}

// --- scattering ---------------------------------------------------------------------------------
static bool covers_all(const struct pcr_call_state *state) {
    return state->done_rows == 0 && state->item.taken == state->n_rows;
}

static bool copy_strings(struct pcr_arena *arena, const struct pacer_bytes *from, size_t n,
                         struct pacer_bytes *to) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += from[i].size;
    char *text = pcr_arena_alloc(arena, total + 1);
    for (size_t i = 0; text && i < n; i++) {
        if (from[i].size)
            memcpy(text, from[i].data, from[i].size);
        to[i] = (struct pacer_bytes){text, from[i].size};
        text += from[i].size;
    }
    return text != NULL;
}

// An output of the call in its arena, with room for all its rows.
static bool open_output(struct pcr_call_state *state, const struct pacer_tensor *batch,
                        struct pacer_tensor *out) {
    struct pcr_arena *arena = state->call->arena;
    int64_t *shape = pcr_arena_array(arena, batch->rank, sizeof *shape);
    if (!shape)
        return false;
    memcpy(shape, batch->shape, batch->rank * sizeof *shape);
    shape[0] = (int64_t)state->n_rows;
    *out = *batch;
    out->shape = shape;
    out->data = NULL;
    return true;
}

static bool fill_output(struct pcr_call_state *state, const struct pacer_tensor *batch,
                        size_t offset, struct pacer_tensor *out, bool *shares) {
    struct pcr_arena *arena = state->call->arena;
    size_t bytes = row_bytes(batch);
    size_t size = element_bytes(batch);
    const char *from = (const char *)batch->data + bytes * offset;
    bool is_text = batch->dtype == PACER_BYTES;
    if (covers_all(state) && !is_text && bytes * state->n_rows > COPY_BYTES_MAX) {
        out->data = from;
        *shares = true;
        return true;
    }
    if (!out->data)
        out->data = pcr_arena_array(arena, bytes / size * state->n_rows + 1, size);
    if (!out->data)
        return false;
    char *to = (char *)out->data + bytes * state->done_rows;
    if (is_text)
        return copy_strings(arena, (const void *)from, bytes / size * state->item.taken,
                            (void *)to);
    if (bytes > 0)
        memcpy(to, from, bytes * state->item.taken);
    return true;
}

static bool has_shape_of_before(const struct pacer_tensor *a, const struct pacer_tensor *b) {
    return a->rank == b->rank && a->dtype == b->dtype &&
           memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof(int64_t)) == 0;
}

// Gives a call its rows of a run's outputs, from row `offset` on.
static int scatter(struct block *block, struct pcr_call_state *state,
                   const struct pacer_tensor *outputs, size_t n, size_t offset) {
    struct pcr_infer_call *call = state->call;
    bool is_new = state->done_rows == 0;
    bool shares = false;
    if (is_new)
        state->outputs = pcr_arena_calloc(call->arena, n + 1, sizeof *state->outputs);
    if (!state->outputs)
        return arena_full(&call->error);
    for (size_t k = 0; k < n; k++) {
        struct pacer_tensor *out = &state->outputs[k];
        if (is_new && !open_output(state, &outputs[k], out))
            return arena_full(&call->error);
        if (!is_new && !has_shape_of_before(out, &outputs[k]))
            return pcr_err(&call->error, PACER_EMODEL, "engine",
                           "output '%s' has another shape for every few rows; ask for fewer rows",
                           out->name);
        if (!fill_output(state, &outputs[k], offset, out, &shares))
            return arena_full(&call->error);
        // Names may be those of another call of the batch.
        out->name =
            call->run.n_outputs ? call->run.outputs[k] : call->model->session->output_names[k];
    }
    if (shares) {
        atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
        if (!pcr_arena_on_reset(call->arena, block_unref, block)) {
            block_unref(block);
            return arena_full(&call->error);
        }
    }
    call->outputs = state->outputs;
    call->n_outputs = n;
    return 0;
}

// --- runs ---------------------------------------------------------------------------------------
static void count_run(const struct pcr_runner *runner, struct pcr_model *model, uint64_t rows,
                      uint64_t ns) {
    struct pcr_model_stats more = {.execution_count = 1, .inline_count = runner->on_loop};
    pcr_model_count(model, &more);
    pcr_model_count_run(model, rows, ns);
}

static bool have_rows(const struct pacer_tensor *outputs, size_t n, uint64_t rows) {
    for (size_t k = 0; k < n; k++)
        if (outputs[k].rank == 0 || (uint64_t)outputs[k].shape[0] != rows)
            return false;
    return true;
}

static int run_job(struct pcr_runner *runner, struct pcr_model *model, struct block *block,
                   const struct shared *shared, const struct pacer_run *run,
                   struct pacer_error *err) {
    struct pcr_session_job job = {
        .session = model->session, .run = run, .arena = &block->arena, .options = runner->options};
    uint64_t start_ns = pcr_clock_mono_ns();
    int code = pcr_session_run_checked(&job, err);
    uint64_t ns = pcr_clock_mono_ns() - start_ns;
    if (code < 0)
        return code;
    if (!have_rows(job.outputs, job.n_outputs, shared->rows))
        return pcr_err(err, PACER_EMODEL, "engine",
                       "an output of model '%s' does not have the %llu rows of its inputs",
                       model->name, (unsigned long long)shared->rows);
    size_t offset = 0;
    count_run(runner, model, shared->rows, ns);
    for (size_t i = 0; i < shared->n; i++) {
        struct pcr_call_state *state = shared->calls[i];
        state->call->infer_ns += ns;
        state->call->status = scatter(block, state, job.outputs, job.n_outputs, offset);
        offset += state->item.taken;
    }
    return 0;
}

// The code of the run; what becomes of a single call after it is in its status.
static int run_shared(struct pcr_runner *runner, const struct shared *shared,
                      struct pacer_error *err) {
    struct block *block = block_create();
    struct pacer_run run;
    int code = block && gather(runner, shared, block, &run)
                   ? run_job(runner, shared->calls[0]->call->model, block, shared, &run, err)
                   : pcr_err(err, PACER_ENOMEM, "engine", "out of memory for a batch");
    if (block)
        block_unref(block);
    return code;
}

static bool is_stopping(const struct pcr_call_state *state) {
    return atomic_load_explicit(&state->engine->stopping, memory_order_relaxed);
}

// Runs a call as it came: nothing is copied.
static int run_whole(struct pcr_runner *runner, struct pcr_call_state *state) {
    struct pcr_infer_call *call = state->call;
    struct pcr_session_job job = {.session = call->model->session,
                                  .run = &call->run,
                                  .arena = call->arena,
                                  .options = runner->options};
    uint64_t start_ns = pcr_clock_mono_ns();
    call->status = pcr_session_run_checked(&job, &call->error);
    uint64_t ns = pcr_clock_mono_ns() - start_ns;
    call->infer_ns += ns;
    if (call->status < 0 && is_stopping(state)) // the run was ended from outside
        return pcr_call_refuse_stopping(call);
    if (call->status == 0) {
        call->outputs = job.outputs;
        call->n_outputs = job.n_outputs;
        count_run(runner, call->model, state->n_rows, ns);
    }
    return call->status;
}

// The rows of one call whose turn it is.
static int run_piece(struct pcr_runner *runner, struct pcr_call_state *state) {
    struct shared one = {&state, 1, state->item.taken};
    int code = run_shared(runner, &one, &state->call->error);
    if (code < 0)
        state->call->status = is_stopping(state) ? pcr_call_refuse_stopping(state->call) : code;
    return state->call->status;
}

// Each row by itself, of a model whose rows would change each other's answers.
static int run_row_by_row(struct pcr_runner *runner, struct pcr_call_state *state) {
    int code = 0;
    state->item.taken = 1;
    for (; state->done_rows < state->n_rows && code == 0; state->done_rows++)
        code = pcr_call_is_wanted(state, pcr_clock_mono_ns()) ? run_piece(runner, state)
                                                              : state->call->status;
    state->item.taken = state->n_rows;
    state->done_rows = 0; // the caller of the queue counts them
    return code;
}

static int run_alone(struct pcr_runner *runner, struct pcr_call_state *state) {
    if (state->row_by_row)
        return run_row_by_row(runner, state);
    return covers_all(state) ? run_whole(runner, state) : run_piece(runner, state);
}

// What a failed batch leaves to do: its calls one by one, unless the server stops. Why it failed is
// told to nobody: it may be somebody else's fault, in words that quote his values.
static void run_each(struct pcr_runner *runner, const struct shared *shared) {
    for (size_t i = 0; i < shared->n; i++) {
        struct pcr_call_state *state = shared->calls[i];
        if (is_stopping(state)) {
            pcr_call_refuse_stopping(state->call);
            continue;
        }
        pcr_model_count(state->call->model, &(struct pcr_model_stats){.retried_count = 1});
        run_alone(runner, state);
    }
}

static struct pcr_call_state *call_at(struct pcr_list *node) {
    return pcr_call_of(PCR_LIST_ENTRY(node, struct pcr_batch_item, node));
}

static int refuse_all(const struct pcr_batch *batch) {
    PCR_LIST_FOR_EACH(node, &batch->items) {
        struct pcr_infer_call *call = call_at(node)->call;
        call->status = pcr_err(&call->error, PACER_ENOMEM, "engine", "out of memory for a batch");
    }
    return PACER_ENOMEM;
}

static int run_together(struct pcr_runner *runner, const struct pcr_batch *batch) {
    struct pcr_call_state *few[CALLS_FEW];
    struct pcr_call_state **calls = few;
    if (batch->n > CALLS_FEW)
        calls = malloc(batch->n * sizeof(struct pcr_call_state *));
    if (!calls)
        return refuse_all(batch);
    struct shared shared = {calls, 0, batch->rows};
    struct pacer_error err = {0};
    PCR_LIST_FOR_EACH(node, &batch->items) {
        calls[shared.n++] = call_at(node);
    }
    PCR_ASSERT(shared.n > 0);
    int code = run_shared(runner, &shared, &err);
    if (code < 0)
        run_each(runner, &shared);
    if (calls != few)
        free(calls);
    return code;
}

bool pcr_batch_run(struct pcr_runner *runner, const struct pcr_batch *batch) {
    int code =
        batch->n == 1 ? run_alone(runner, call_at(batch->items.next)) : run_together(runner, batch);
    if (runner->gathered_bytes > GATHERED_KEPT_MAX)
        pcr_runner_fini(runner);
    return code == 0 && !(batch->n == 1 && call_at(batch->items.next)->row_by_row);
}
