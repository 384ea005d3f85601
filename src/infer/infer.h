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
// Whether it is the quantized variant that runs.
bool pcr_session_is_quantized(const struct pacer_session *session);
// The measured cost of one row (all dynamic dimensions 1) in ns; UINT64_MAX where it is not known,
// because the warm-up was skipped or made-up inputs do not suit the model.
uint64_t pcr_session_run_ns(const struct pacer_session *session);
// The elements of all inputs in that measurement;
// the unit in which the size of another run can be told.
size_t pcr_session_warm_up_elements(const struct pacer_session *session);
// ONNX Runtime's version, "1.30.0".
const char *pcr_infer_runtime_version(void);
// Where ONNX Runtime's own warnings go; NULL (the default) drops them. They come on any thread.
typedef void (*pcr_infer_log_cb)(enum pcr_log_level level, const char *message);
void pcr_infer_log_to(pcr_infer_log_cb cb);

// --- the model repository -----------------------------------------------------------------------
// models_dir/NAME.onnx, or models_dir/NAME/VERSION/model.onnx with an optional NAME/config.pbtxt.
struct pcr_model_config { // what the configuration says of one model
    const char *name;
    bool use_quantized;
    int intra_op_threads;
    int max_batch_size; // 0: not said
};

enum pcr_model_state { PCR_MODEL_LOADING, PCR_MODEL_READY, PCR_MODEL_UNLOADED, PCR_MODEL_FAILED };

struct pcr_model_stats { // monotonic totals since load; v2 statistics
    uint64_t inference_count, execution_count, success_count, success_ns, fail_count, fail_ns,
        queue_count, queue_ns, input_count, input_ns, infer_count, infer_ns, output_count,
        output_ns, last_inference_ms;
};

// One version of one model. Immutable but for its statistics; reference-counted.
struct pcr_model {
    const char *name;
    const char *version;      // "1" where the directory says so, else "1" for NAME.onnx
    const char *content_hash; // pacer_session_version
    struct pacer_session *session;
    int max_batch_size; // 0: the model does not batch in the v2 sense (first dimension not dynamic)
    bool dynamic_batching;      // config.pbtxt says so
    uint64_t run_ns;            // measured cost of one row, after warm-up; UINT64_MAX: not known
    bool max_batch_size_is_set; // by the configuration or config.pbtxt: larger batches are refused
};
void pcr_model_ref(struct pcr_model *model);
void pcr_model_unref(struct pcr_model *model); // NULL is fine
void pcr_model_stats(const struct pcr_model *model, struct pcr_model_stats *out);
// Adds to the statistics. `last_inference_ms` replaces, 0 leaves it; it is monotonic time here,
// so that a run need not ask for the wall clock, and milliseconds since 1970 in
// pcr_model_stats. Any thread.
void pcr_model_count(struct pcr_model *model, const struct pcr_model_stats *more);
// pcr_session_check with the model's name, and its batch size where that was set.
int pcr_model_check(const struct pcr_model *model, const struct pacer_run *run,
                    struct pacer_error *err);

struct pcr_repository;
struct pcr_repository_options {
    const char *models_dir;
    const struct pcr_model_config *models; // copied
    size_t n_models;
    int intra_op_threads; // for models without a line of their own; 0 means 1
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
// called publish or discard, which free the candidate and cannot fail.
int pcr_repository_prepare(struct pcr_repository *repository,
                           const struct pcr_repository_options *options,
                           struct pcr_repository **candidate, struct pacer_error *err);
void pcr_repository_publish(struct pcr_repository *repository, struct pcr_repository *candidate);
void pcr_repository_discard(struct pcr_repository *repository, struct pcr_repository *candidate);
// Whether it is not there because it was unloaded on request. `version` empty: any.
bool pcr_repository_unloaded(struct pcr_repository *repository, struct pcr_str name,
                             struct pcr_str version);
// The index, sorted by name and version, in `arena`.
int pcr_repository_index(struct pcr_repository *repository, struct pcr_arena *arena,
                         struct pcr_model_status **out, size_t *n);
bool pcr_repository_ready(struct pcr_repository *repository); // all models that should be there are

// --- the engine ---------------------------------------------------------------------------------
// Runs a request: at once on the calling loop where the model is cheap (measured cost under
// INLINE_NS), else on a worker.
struct pcr_engine;
// From here on reading a request, or writing an answer, is a worker's work: below it takes well
// under a millisecond, at 64 MiB a second in which no other connection of the loop would be served.
#define PCR_INLINE_BODY_BYTES_MAX ((size_t)256 << 10)
#define PCR_INLINE_ELEMENTS_MAX ((size_t)16 << 10)
enum pcr_infer_stage { PCR_INFER_READ, PCR_INFER_RUN, PCR_INFER_WRITE };
struct pcr_infer_call {      // the caller's memory until `done`
    struct pcr_model *model; // one reference, given back by the caller
    struct pacer_run run;    // borrowed until `done`; or made by `read`
    struct pcr_arena *arena; // results live here
    struct pcr_loop *loop;   // `done` is called on this one
    void (*done)(struct pcr_infer_call *call);
    // Either may be NULL. Before and after the run, on the loop's thread or on a worker, so they
    // may use nothing but the call and what is safe for any thread. They return 0, or a code with
    // call->error set, which ends the call. `read` sets call->run, and may set call->deadline_ns.
    int (*read)(struct pcr_infer_call *call);
    int (*write)(struct pcr_infer_call *call);
    bool is_large;       // more than PCR_INLINE_BODY_BYTES_MAX to read
    bool writes_no_text; // may be set by `read`: what `write` costs does not grow with the outputs
    void *user;
    uint64_t
        deadline_ns; // monotonic; 0: none. Past it the call fails with PACER_ETIMEDOUT, uncomputed
    // results, set before `done`
    int status;
    struct pacer_error error;
    const struct pacer_tensor *outputs;
    size_t n_outputs;
    uint64_t queue_ns, input_ns, infer_ns, output_ns;
    struct pcr_job job;               // private
    uint64_t submitted_ns, queued_ns; // private
    struct pcr_engine *engine;        // private
    bool looks_cheap;                 // private: by its size
    enum pcr_infer_stage stage;       // private: what the worker begins with
    atomic_bool canceled;             // private
};
int pcr_engine_create(unsigned workers, size_t queue_max, struct pcr_engine **out,
                      struct pacer_error *err);
// Runs under way are ended as soon as ONNX Runtime looks (between two operators), what waits is not
// computed; all get their `done`, with an error. So a stop takes no longer than one operator.
void pcr_engine_destroy(struct pcr_engine *engine);
// On call->loop's thread. `done` is always called exactly once, possibly before this returns.
void pcr_engine_submit(struct pcr_engine *engine, struct pcr_infer_call *call);
// Nobody waits for the answer any more: if it is not being computed yet it fails with
// PACER_ECANCELED, else it goes on. `done` comes all the same. Between submit and `done`, on the
// loop's thread.
void pcr_engine_cancel(struct pcr_infer_call *call);

#endif
