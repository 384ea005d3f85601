// SPDX-License-Identifier: Apache-2.0
// What session.c makes, run.c runs and registry.c keeps.
#ifndef PCR_INFER_SESSION_PRIV_H
#define PCR_INFER_SESSION_PRIV_H

#include "infer/cost.h"
#include "infer/infer.h"
#include "infer/ort_priv.h"
#include "onnx/onnx.h"

#include <limits.h>
#include <sys/stat.h>

// The identity of a file: if it is the same, so is the content, as far as a file system tells.
struct pcr_file_id {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
};
void pcr_file_id_of(const struct stat *st, struct pcr_file_id *out);
bool pcr_file_id_eq(const struct pcr_file_id *a, const struct pcr_file_id *b);

// A file beside the model that holds weights.
struct pcr_external_file {
    const char *path; // with links resolved
    struct pcr_file_id id;
    struct pcr_external_file *next;
};

// A model file in memory, looked through and hashed, with what ONNX Runtime does not tell.
struct pcr_model_file {
    struct pcr_arena arena;
    const char *bytes; // ONNX Runtime is given these, so what was checked is what is loaded
    char *owned;       // the same where they are heap
    size_t size;
    struct pcr_file_id id;
    const char *folder;                  // where external data is looked for
    struct pcr_external_file *externals; // distinct
    struct pcr_list_of_names *shapeless; // inputs and outputs without a declared rank
    bool has_labels; // an operator is there that may say what classes are called
    bool has_loop;   // what it costs depends on values, without a bound
    bool as_it_is;   // to be loaded without optimisations
    char version[17];
};
struct pcr_list_of_names {
    struct pcr_str name;
    bool is_output;
    struct pcr_list_of_names *next;
};
// Reads and checks the model at `path`,
// which is asked for below `folder` (both with links resolved).
int pcr_model_file_open(const char *path, const char *folder, struct pcr_model_file *out,
                        struct pacer_error *err);
// The same for a model in memory, which is borrowed until it is closed; it is not hashed.
int pcr_model_file_of(struct pcr_str bytes, const char *folder, struct pcr_model_file *out,
                      struct pacer_error *err);
void pcr_model_file_close(struct pcr_model_file *file);
bool pcr_model_file_shapeless(const struct pcr_model_file *file, const char *name, bool is_output);
// Whether the external files are still the ones that were looked at.
bool pcr_externals_unchanged(const struct pcr_external_file *externals);

#define PCR_SESSION_VALUES_MAX 4096 // inputs, and outputs, of one model

struct pacer_session {
    struct pcr_arena arena; // everything below but the OrtSession
    OrtSession *ort;
    const char *name;                 // for messages: the file's name without its ending
    struct pacer_tensor_info *inputs; // the required ones, then the ones with a default
    size_t n_inputs;
    size_t n_required;
    struct pacer_tensor_info *outputs;
    size_t n_outputs;
    const char **input_names; // as Run wants them
    const char **output_names;
    struct pcr_map input_index; // name → position + 1; read-only after loading
    struct pcr_map output_index;
    const char **metadata;          // key, value, key, value …
    size_t n_metadata;              // pairs
    struct pcr_onnx_labels *labels; // per output, or NULL: none are known
    char version[17];
    bool is_quantized;
    struct pcr_cost cost;     // of n rows, by the warm-up; nothing known where that failed
    size_t warm_up_elements;  // of all inputs, for one row of the warm-up
    enum pcr_rows rows;       // whether requests may share a run
    bool has_loop;            // values may ask for any number of turns: never cheap
    _Atomic unsigned strikes; // the engine's: how often a run was dearer than its size told
    struct pcr_external_file *externals;
    struct pcr_session_entry *entry; // the registry's
};

// The folder of a path, with links resolved. PACER_ENOTFOUND, PACER_EIO.
int pcr_folder_of(const char *path, char out[PATH_MAX], struct pacer_error *err);
// 0, or PACER_ECANCELED after pcr_infer_stop_loading.
int pcr_session_may_load(struct pacer_error *err);
// Loads, without the registry. `path` and `folder` as in pcr_model_file_open.
int pcr_session_open(const char *path, const char *folder,
                     const struct pacer_session_options *options, struct pacer_session **out,
                     struct pacer_error *err);
void pcr_session_close(struct pacer_session *session);
// pcr_session_run for a run that was checked.
struct pcr_session_job {
    struct pacer_session *session;
    const struct pacer_run *run;
    struct pcr_arena *arena;
    const OrtRunOptions *options; // NULL: none; by these a run can be ended from another thread
    const struct pacer_tensor *outputs; // the result
    size_t n_outputs;
};
int pcr_session_run_checked(struct pcr_session_job *job, struct pacer_error *err);
// The error code of a run that ONNX Runtime refused.
int pcr_session_run_code(OrtErrorCode code);
// Runs the model on made-up inputs and measures it; see warmup.c.
int pcr_session_warm_up(struct pacer_session *session, struct pacer_error *err);

#endif
