// SPDX-License-Identifier: Apache-2.0
// The infer room: sessions, the model repository and the engine that runs requests. The only room
// that sees ONNX Runtime. The public half is pacer/session.h and pacer/tensor.h.
#ifndef PCR_INFER_H
#define PCR_INFER_H

#include "base/base.h"
#include "loop/loop.h"

#include <pacer/session.h>
#include <stdatomic.h>

// --- sessions, as the other rooms need them
// ------------------------------------------------------------------ As pacer_session_run, but the
// result lives in `arena` (released at its reset). *outputs has n_outputs views in the asked order
// (or the model's).
int pcr_session_run(struct pacer_session *session, const struct pacer_run *run,
                    struct pcr_arena *arena, const struct pacer_tensor **outputs, size_t *n_outputs,
                    struct pacer_error *err);
// Checks names, types and shapes of a run without running it; the first fault goes into err with
// the wording that v2 clients expect. `model` is the name to use in messages.
int pcr_session_check(const struct pacer_session *session, const char *model,
                      const struct pacer_run *run, struct pacer_error *err);
// What the columns of an output stand for, where the model's graph says it (a classifier's labels):
// names, or whole numbers written out. NULL where it does not say. Borrowed.
const char *const *pcr_session_classes(const struct pacer_session *session, const char *output,
                                       size_t *n, bool *are_text);
// What a quantized variant says of the model it was made from, in its metadata: that one's version.
#define PCR_QUANTIZED_FROM "pacer.quantized_from"
// The version that pacer_session_version would say of the file at `path`, without loading it.
// PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL, PACER_ENOMEM.
int pcr_model_version(const char *path, char version[17], struct pacer_error *err);
// A session of a model in memory that is nobody else's: for trying variants. Given back with
// pacer_session_put. PACER_EMODEL, PACER_ENOMEM.
struct pcr_session_trial {
    struct pcr_str bytes; // borrowed for the call
    const char *name;     // for messages
    const char *folder;   // where its external data is, with links resolved
    bool as_it_is;        // no optimisations: every value within the graph is computed as written
    int threads;          // of one run; 0 means 1
};
int pcr_session_try(const struct pcr_session_trial *trial, struct pacer_session **out,
                    struct pacer_error *err);
// Whether it is the quantized variant that runs.
bool pcr_session_is_quantized(const struct pacer_session *session);
// The measured cost of one row (all dynamic dimensions 1) in ns; UINT64_MAX where it is not known,
// because the warm-up was skipped, made-up inputs do not suit the model, or values may make it run
// for any time.
uint64_t pcr_session_run_ns(const struct pacer_session *session);
// The measured cost of n rows. Borrowed.
struct pcr_cost;
const struct pcr_cost *pcr_session_cost(const struct pacer_session *session);
// The elements of all inputs of one row in that measurement;
// the unit in which the size of another run can be told.
size_t pcr_session_warm_up_elements(const struct pacer_session *session);
// What the first dimension is, as tried in the warm-up.
enum pcr_rows {
    PCR_ROWS_NONE,     // no batch: it is not dynamic everywhere, or outputs do not follow inputs
    PCR_ROWS_UNKNOWN,  // it may be; made-up inputs do not suit the model, or it was not tried
    PCR_ROWS_TOGETHER, // a batch whose rows change each other's answers
    PCR_ROWS_APART,    // a batch whose rows are answered as if each was alone
};
enum pcr_rows pcr_session_rows(const struct pacer_session *session);
// ONNX Runtime's version, "1.30.0".
const char *pcr_infer_runtime_version(void);
// The most that one run may allocate at once, outputs included; 0 (the default): no limit. Beyond
// it the run fails with PACER_ELIMIT. Any thread; counts for runs that begin afterwards.
void pcr_infer_run_memory_max(size_t bytes);
// Where ONNX Runtime's own warnings go; NULL (the default) drops them. They come on any thread.
typedef void (*pcr_infer_log_cb)(enum pcr_log_level level, const char *message);
void pcr_infer_log_to(pcr_infer_log_cb cb);
// The process is about to end: from here on sessions are not loaded any more, and loads under way
// end as soon as they look (not while ONNX Runtime makes the session), with PACER_ECANCELED. Any
// thread; false takes it back.
void pcr_infer_stop_loading(bool stop);

// --- the model repository -----------------------------------------------------------------------
// models_dir/NAME.onnx, or models_dir/NAME/VERSION/model.onnx with an optional NAME/config.pbtxt.
enum pcr_merging { PCR_MERGING_AUTO, PCR_MERGING_ON, PCR_MERGING_OFF };
struct pcr_model_config { // what the configuration says of one model
    const char *name;
    bool use_quantized;
    int intra_op_threads;
    int max_batch_size;       // 0: not said
    enum pcr_merging merging; // whether requests share runs; auto: where rows are answered apart
    unsigned instances;       // most runs at a time on workers; 0: one per worker
    size_t queue_max;         // requests that may wait for a run; 0: 1024
    uint64_t max_wait_ns;     // hold a batch that is not full for so long; 0: never
    uint64_t timeout_ns;      // of requests that bring none of their own; 0: none
    // For the rooms above, which keep answers: how long they are fresh (0: they are not kept), and
    // for how long after that they are given while they are computed anew, or where that fails.
    uint64_t keep_ns, keep_stale_ns, keep_on_error_ns;
};

enum pcr_model_state { PCR_MODEL_LOADING, PCR_MODEL_READY, PCR_MODEL_UNLOADED, PCR_MODEL_FAILED };

struct pcr_model_stats { // monotonic totals since load; v2 statistics
    uint64_t inference_count, execution_count, success_count, success_ns, fail_count, fail_ns,
        queue_count, queue_ns, input_count, input_ns, infer_count, infer_ns, output_count,
        output_ns, last_inference_ms;
    uint64_t inline_count;   // runs on a loop's thread, of execution_count
    uint64_t retried_count;  // requests that were run again alone, since their batch had failed
    uint64_t full_count;     // requests refused because the queue was full
    uint64_t late_count;     // refused at arrival: their time would have been up
    uint64_t expired_count;  // not computed: their time was up while they waited
    uint64_t canceled_count; // not computed: nobody waited for them any more
    uint64_t kept_count, kept_ns;     // answered from the cache; these are no inferences
    uint64_t unkept_count, unkept_ns; // looked for there, and computed
};

// Runs by the number of their rows: [n] for n rows, [0] for more than PCR_MODEL_SIZES_MAX or none.
#define PCR_MODEL_SIZES_MAX 256
struct pcr_model_sizes {
    uint64_t count[PCR_MODEL_SIZES_MAX + 1], infer_ns[PCR_MODEL_SIZES_MAX + 1];
    uint64_t rows; // of all runs together
};

// One version of one model. Immutable but for its statistics and its queue; reference-counted.
struct pcr_model {
    const char *name;
    const char *version;      // "1" where the directory says so, else "1" for NAME.onnx
    const char *content_hash; // pacer_session_version
    struct pacer_session *session;
    uint64_t serial;    // unlike that of any other model of this process
    int max_batch_size; // 0: the model does not batch in the v2 sense (its first dimension is none)
    bool dynamic_batching;      // config.pbtxt says so
    uint64_t run_ns;            // measured cost of one row, after warm-up; UINT64_MAX: not known
    bool max_batch_size_is_set; // by the configuration or config.pbtxt: larger batches are refused
    bool rows_are_apart;        // each row is answered as if alone
    bool merges;                // requests share runs
    uint64_t rows_max;          // B: the most rows of a run they share
    struct pcr_model_config config;
};
void pcr_model_ref(struct pcr_model *model);
void pcr_model_unref(struct pcr_model *model); // NULL is fine
void pcr_model_stats(const struct pcr_model *model, struct pcr_model_stats *out);
// Adds to the statistics. `last_inference_ms` replaces, 0 leaves it; it is monotonic time here,
// so that a run need not ask for the wall clock, and milliseconds since 1970 in
// pcr_model_stats. Any thread.
void pcr_model_count(struct pcr_model *model, const struct pcr_model_stats *more);
// A request that was answered from the cache (`kept`), or looked for there and computed; in how
// long.
void pcr_model_count_kept(struct pcr_model *model, bool kept, uint64_t ns);
void pcr_model_sizes(const struct pcr_model *model, struct pcr_model_sizes *out);
// What is known of the costs now, t(n) = a + b·n, and how many requests wait for a worker.
struct pcr_model_load {
    double a_ns, b_ns; // 0 and 0: nothing known
    uint64_t waiting;
};
void pcr_model_load_now(const struct pcr_model *model, struct pcr_model_load *out);
// pcr_session_check with the model's name, and its batch size where that was set.
int pcr_model_check(const struct pcr_model *model, const struct pacer_run *run,
                    struct pacer_error *err);

struct pcr_repository;
struct pcr_repository_options {
    const char *models_dir;
    const struct pcr_model_config *models; // copied
    size_t n_models;
    int intra_op_threads; // for models without a line of their own; 0 means 1
    // Of a version that was refused before: whether pcr_repository_prepare shall try it again, and
    // say so if it is refused for another reason. NULL: always, and always said.
    bool (*retry)(void *ctx, const char *path);
    void *retry_ctx;
};
struct pcr_model_status { // one line of the index
    const char *name, *version;
    enum pcr_model_state state;
    const char *reason; // of a failure, else ""
};

// Scans the directory and loads every model (blocks). A model that fails is logged, kept in the
// index with its reason, and does not keep the others from serving. PACER_ENOTFOUND if the
// directory is not there.
int pcr_repository_open(const struct pcr_repository_options *options, struct pcr_repository **out,
                        struct pacer_error *err);
// Scans the directory only: the index has every model that is there as still to be loaded, which
// the next pcr_repository_prepare does without looking again. PACER_ENOTFOUND as above.
int pcr_repository_list(const struct pcr_repository_options *options, struct pcr_repository **out,
                        struct pacer_error *err);
void pcr_repository_close(struct pcr_repository *repository);
// A reference to a ready model, or NULL with err PACER_ENOTFOUND ("Request for unknown model: 'M'
// is not found") or PACER_EBUSY (known, not ready). `version` NULL or empty: the highest. Any
// thread; takes no lock that another loop's requests wait on.
struct pcr_model *pcr_repository_get(struct pcr_repository *repository, struct pcr_str name,
                                     struct pcr_str version, struct pacer_error *err);
// (Re)loads or unloads a model by name; blocks; any thread. The old version serves until the new
// one is ready.
int pcr_repository_load(struct pcr_repository *repository, struct pcr_str name,
                        struct pacer_error *err);
int pcr_repository_unload(struct pcr_repository *repository, struct pcr_str name,
                          struct pacer_error *err);
// Looks at the directory again, under new options: new and changed files are loaded, vanished ones
// left out, all in a candidate which may be read as any repository. What is served does not change
// until it is published. Blocks, and after 0 holds off load and unload until the same thread has
// called publish or discard, which free the candidate and cannot fail. PACER_ECANCELED after
// pcr_infer_stop_loading.
int pcr_repository_prepare(struct pcr_repository *repository,
                           const struct pcr_repository_options *options,
                           struct pcr_repository **candidate, struct pacer_error *err);
// Whether anything in the index or behind it would change.
bool pcr_repository_differs(struct pcr_repository *repository, struct pcr_repository *candidate);
void pcr_repository_publish(struct pcr_repository *repository, struct pcr_repository *candidate);
void pcr_repository_discard(struct pcr_repository *repository, struct pcr_repository *candidate);
// Whether it is not there because it was unloaded on request. `version` empty: any.
bool pcr_repository_unloaded(struct pcr_repository *repository, struct pcr_str name,
                             struct pcr_str version);
// The index, sorted by name and version, in `arena`.
int pcr_repository_index(struct pcr_repository *repository, struct pcr_arena *arena,
                         struct pcr_model_status **out, size_t *n);
bool pcr_repository_ready(struct pcr_repository *repository); // all models that should be there are

// --- watching a directory -----------------------------------------------------------------------
// The files below a directory by name and identity; nothing is opened. What begins with a dot is
// left out, links are followed.
struct pcr_file_line {
    const char *path; // below the directory: "NAME/1/model.onnx"
    uint64_t dev, ino, size;
    int64_t mtime_ns;
};
struct pcr_listing {
    struct pcr_file_line *files; // by path
    size_t n;
    struct pcr_arena arena; // owns it all
};
// PACER_ENOTFOUND, PACER_EIO, PACER_ELIMIT, PACER_ENOMEM. Blocks for a stat per file.
int pcr_listing_create(const char *dir, struct pcr_listing **out, struct pacer_error *err);
void pcr_listing_destroy(struct pcr_listing *listing); // NULL is fine

enum pcr_file_change { PCR_FILE_NEW, PCR_FILE_CHANGED, PCR_FILE_GONE };
// Calls `each` (may be NULL) for every difference, in the order of paths, and returns how many
// there are. A listing that is NULL is empty.
typedef void (*pcr_file_change_cb)(void *ctx, enum pcr_file_change change, const char *path);
size_t pcr_listing_compare(const struct pcr_listing *before, const struct pcr_listing *after,
                           pcr_file_change_cb each, void *ctx);

// Tells from one look to the next whether a directory has changed and come to rest. Knows no file
// system and no clock; zeroed memory is a good start.
struct pcr_watch {
    struct pcr_listing *taken; // what was dealt with last
    struct pcr_listing *seen;  // the last look, where it differs from that; else NULL
    unsigned moves;            // looks in a row that each found it changed again
    char moved[256];           // a file that the last of them found changed
};
enum pcr_watch_state {
    PCR_WATCH_SAME,    // as it was taken
    PCR_WATCH_MOVING,  // changed since the last look: a file may be half copied
    PCR_WATCH_SETTLED, // changed, but not since the last look: deal with it and take it
};
enum pcr_watch_state pcr_watch_look(struct pcr_watch *watch, struct pcr_listing *now); // takes over
// Whether what is seen, beside what was taken, has to do with the model at this path below the
// directory: the file itself, its quantized variant, or what lies around it and is not another
// model (external data, config.pbtxt).
bool pcr_watch_touches(const struct pcr_watch *watch, const char *model);
// What was seen has been dealt with, well or not.
void pcr_watch_take(struct pcr_watch *watch);
// Begins anew; takes over `taken`, which may be NULL: then all files are new.
void pcr_watch_restart(struct pcr_watch *watch, struct pcr_listing *taken);

// --- the engine ---------------------------------------------------------------------------------
// Runs requests, many of one model in one run. Cheap ones (measured cost under 50 µs) on their
// loop's thread, at the end of the turn in which they arrived, so that all which were ready share
// one run; dear ones on workers. See engine.c.
struct pcr_engine;
// From here on reading a request, or writing an answer, is a worker's work: below it takes well
// under a millisecond, at 64 MiB a second in which no other connection of the loop would be served.
#define PCR_INLINE_BODY_BYTES_MAX ((size_t)256 << 10)
#define PCR_INLINE_ELEMENTS_MAX ((size_t)16 << 10)
#define PCR_PRIORITIES 3 // 0 first
#define PCR_PRIORITY_DEFAULT 1
#define PCR_RETRY_NEVER UINT64_MAX
struct pcr_infer_call {      // the caller's memory until `done`
    struct pcr_model *model; // one reference, given back by the caller
    struct pacer_run run;    // borrowed until `done`; or made by `read`
    struct pcr_arena *arena; // results live here
    struct pcr_loop *loop;   // `done` is called on this one
    void (*done)(struct pcr_infer_call *call);
    // Either may be NULL. Before and after the run, on the loop's thread or on a worker, so they
    // may use nothing but the call and what is safe for any thread. They return 0, or a code with
    // call->error set, which ends the call. `read` sets call->run, and may set the client's
    // timeout and priority.
    int (*read)(struct pcr_infer_call *call);
    int (*write)(struct pcr_infer_call *call);
    bool is_large;       // more than PCR_INLINE_BODY_BYTES_MAX to read
    bool writes_no_text; // may be set by `read`: what `write` costs does not grow with the outputs
    bool rows_alone;     // each row is to be answered as if it was asked for alone
    void *user;
    unsigned priority;    // 0 … PCR_PRIORITIES - 1
    uint64_t deadline_ns; // monotonic; 0: none. What cannot be computed by then fails with
                          // PACER_ETIMEDOUT, at once if that can be foreseen
    uint64_t timeout_ns;  // the client's own, from received_ns on, instead of the model's; 0: none
    bool timeout_comes;   // `read` may set one: the model's does not count before
    bool priority_comes;  // `read` may set another: it is read before it is refused for others
    uint64_t received_ns; // monotonic; 0: at submit
    // results, set before `done`
    int status;
    struct pacer_error error;
    uint64_t retry_ns; // of PACER_EBUSY and PACER_ETIMEDOUT: when the same call would be admitted,
                       // from now on and as things stand; PCR_RETRY_NEVER: not with this timeout
    const struct pacer_tensor *outputs;
    size_t n_outputs;
    uint64_t queue_ns, input_ns, infer_ns, output_ns;
    struct pcr_call_state *state; // private, in the arena
};
int pcr_engine_create(unsigned workers, size_t queue_max, struct pcr_engine **out,
                      struct pacer_error *err);
// Runs under way are ended as soon as ONNX Runtime looks (between two operators), what waits is not
// computed; all get their `done`, with an error. So a stop takes no longer than one operator.
void pcr_engine_destroy(struct pcr_engine *engine);
// On call->loop's thread. `done` is always called exactly once, possibly before this returns.
void pcr_engine_submit(struct pcr_engine *engine, struct pcr_infer_call *call);
// Nobody waits for the answer any more: if it is not being computed yet it fails with
// PACER_ECANCELED, mostly at once, else it goes on. `done` comes all the same. Between submit and
// `done`, on the loop's thread.
void pcr_engine_cancel(struct pcr_infer_call *call);

#endif
