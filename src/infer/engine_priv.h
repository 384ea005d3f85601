// SPDX-License-Identifier: Apache-2.0
// What the files of the engine share: engine.c (a call's way), turn.c (the loops' side), workers.c
// (the threads' side), batch_run.c (one run for many calls) and model.c (the queue of a model).
#ifndef PCR_INFER_ENGINE_PRIV_H
#define PCR_INFER_ENGINE_PRIV_H

#include "infer/batch_queue.h"
#include "infer/infer.h"

#include <pthread.h>
#include <stdatomic.h>

struct OrtRunOptions; // ONNX Runtime's; its header stays out of the tests' way

// --- calls --------------------------------------------------------------------------------------
// Who may touch a call. HERE: its loop's thread. THERE: the workers' side; what a queue knows of it
// is guarded by the workers' lock, the rest belongs to the worker that took it.
enum pcr_call_place { PCR_CALL_HERE, PCR_CALL_THERE };
// What a worker may have to do for a single call.
enum pcr_call_job { PCR_CALL_READ, PCR_CALL_WRITE };

struct pcr_call_state { // of one call under way, in its arena
    struct pcr_infer_call *call;
    struct pcr_engine *engine;
    struct pcr_batch_item item; // its place in a queue or batch
    enum pcr_call_place place;
    size_t n_rows;                // of the first dimension; 1 where there is none
    size_t done_rows;             // computed already, of a call that is computed in pieces
    struct pacer_tensor *outputs; // of a call that shares runs or is computed in pieces
    bool merges;                  // may share a run
    bool row_by_row;              // each row is a run of its own
    bool looks_cheap;             // by its size
    uint64_t submitted_ns, queued_ns;
    atomic_bool canceled; // by the loop, while it is THERE
    bool written;         // by a worker
    enum pcr_call_job job;
    struct pcr_batch_queue *turn_queue; // the loop's queue it is in or was in; NULL: it leaves
    struct pcr_mail mail;               // from THERE to HERE
    struct pcr_call_state *next;        // of a mail's list, or of the jobs
};

struct pcr_call_state *pcr_call_of(const struct pcr_batch_item *item);
// Whether two items that merge take the same inputs and give the same outputs but for their rows.
bool pcr_calls_are_alike(const struct pcr_batch_item *a, const struct pcr_batch_item *b);

// Ends a call that was not computed.
int pcr_call_refuse_stopping(struct pcr_infer_call *call);
int pcr_call_refuse_canceled(struct pcr_infer_call *call);
int pcr_call_refuse_expired(struct pcr_infer_call *call, uint64_t now_ns);
int pcr_call_refuse(struct pcr_infer_call *call, enum pcr_batch_verdict verdict, uint64_t retry_ns);
// Whether there is still somebody to compute it for; else it has its status.
bool pcr_call_is_wanted(struct pcr_call_state *state, uint64_t now_ns);
// Fills call->run, checks it and knows what it is: rows, weight, key, deadline. Any thread.
bool pcr_call_read(struct pcr_call_state *state, uint64_t *now_ns);
// call->write, if the run went well; *now_ns is moved on. Any thread, the outputs being there.
void pcr_call_write(struct pcr_infer_call *call, uint64_t *now_ns);
bool pcr_call_is_much_to_write(const struct pcr_infer_call *call);
// Counts it and calls `done`; the call is gone. On its loop's thread.
void pcr_call_end(struct pcr_call_state *state, uint64_t now_ns);

// --- one run for many ---------------------------------------------------------------------------
struct pcr_runner { // of one thread
    const struct OrtRunOptions *options;
    bool on_loop;   // the thread is a loop's
    char *gathered; // inputs side by side; private
    size_t gathered_bytes;
};
void pcr_runner_init(struct pcr_runner *runner, const struct OrtRunOptions *options, bool on_loop);
void pcr_runner_fini(struct pcr_runner *runner);
// Runs the items of a batch: all calls of one model that are alike. Sets status, error, outputs and
// infer_ns of each call whose last rows are in it. If the run fails each is run again alone, once.
// Returns whether the time it took is what such a batch costs: one run, which went well.
bool pcr_batch_run(struct pcr_runner *runner, const struct pcr_batch *batch);

// --- the queue of a model, for all workers ------------------------------------------------------
struct pcr_model_queue { // part of the model; guarded by the workers' lock, but for what is atomic
    struct pcr_batch_queue queue;
    struct pcr_list ring; // among the models that have something to run
    // For loops that ask before they read a request; the last one to change the queue wrote them.
    // When all that waits now and is no less urgent than usual will have been computed.
    _Atomic uint64_t free_ns;
    atomic_bool full;
    // By how much answers come later than the costs alone say, nearly all of them; see engine.c.
    _Atomic uint64_t margin_ns;
    // As learnt last, by whoever ran it: for loops and for people.
    _Atomic double a_ns, b_ns;
    _Atomic uint64_t waiting;
};
void pcr_model_queue_init(struct pcr_model_queue *queue, const struct pcr_model *model,
                          const struct pcr_batch_options *options);
struct pcr_model_queue *pcr_model_queue(const struct pcr_model *model);
void pcr_model_queue_publish_cost(struct pcr_model_queue *queue, const struct pcr_cost *cost);
// By what was learnt last; UINT64_MAX: not known.
uint64_t pcr_model_queue_cost_ns(const struct pcr_model_queue *queue, uint64_t weight);
// Learns from a call that workers computed, at its end. `expected_ns` 0: there was no telling.
void pcr_model_queue_note_end(struct pcr_model_queue *queue, uint64_t expected_ns, uint64_t now_ns);
// Counts a run of so many rows.
void pcr_model_count_run(struct pcr_model *model, uint64_t rows, uint64_t infer_ns);

// --- workers ------------------------------------------------------------------------------------
struct pcr_workers;
int pcr_workers_create(unsigned threads, size_t jobs_max, const struct OrtRunOptions *options,
                       struct pcr_workers **out, struct pacer_error *err);
// Joins the threads, then ends what waits with PACER_ECANCELED; the caller has terminated the runs.
// What comes afterwards is refused. Once.
void pcr_workers_stop(struct pcr_workers *workers);
void pcr_workers_destroy(struct pcr_workers *workers); // after stop; NULL is fine
// Hands over the calls of a list (linked by `next`), which go into their models' queues. Those that
// are refused come back in *refused with their status. Any thread.
void pcr_workers_submit(struct pcr_workers *workers, struct pcr_call_state *list, uint64_t now_ns,
                        struct pcr_call_state **refused);
// Hands over a call whose request is still to be read, or whose answer is to be written. False: too
// many wait already.
bool pcr_workers_submit_job(struct pcr_workers *workers, struct pcr_call_state *state,
                            enum pcr_call_job job);
// Takes a call out that waits; false: it is being computed.
bool pcr_workers_remove(struct pcr_workers *workers, struct pcr_call_state *state);

// --- the loops' side ----------------------------------------------------------------------------
struct pcr_turn; // of one loop
struct pcr_turn *pcr_turn_of(struct pcr_engine *engine, struct pcr_loop *loop);
// For the end of this turn: to be run here, or to be handed over. False: refused, with its status.
bool pcr_turn_add_here(struct pcr_turn *turn, struct pcr_call_state *state, uint64_t now_ns);
void pcr_turn_add_there(struct pcr_turn *turn, struct pcr_call_state *state);
// How many calls wait for the end of the turn to be handed over.
unsigned pcr_turn_leaving(const struct pcr_turn *turn);
// Takes out a call that waits for the end of the turn.
bool pcr_turn_remove(struct pcr_call_state *state);

// --- the engine ---------------------------------------------------------------------------------
// Two hand-overs between threads cost some 10 to 20 µs of latency and a wake-up each; at three
// times that the worker wins.
#define PCR_INLINE_NS (50 * PCR_NS_PER_US)

struct pcr_engine {
    atomic_uint refs; // one of its owner, one of each loop that uses it
    struct pcr_workers *workers;
    struct OrtRunOptions *run_options; // of every run, so that one call ends them all
    atomic_bool stopping;
};
void pcr_engine_unref(struct pcr_engine *engine);
// Learns from a run on a loop's thread that looked cheap; see engine.c.
void pcr_engine_note_cost(struct pcr_model *model, uint64_t infer_ns);

#endif
