// SPDX-License-Identifier: Apache-2.0
// Sessions: a loaded ONNX model, kept by path and shared by all who ask for it.
//
//     struct pacer_session *session;
//     struct pacer_error err;
//     if (pacer_session_get("models/regime.onnx", NULL, &session, &err) < 0)
//         return fail(err.message);
//     float row[5] = {…};
//     int64_t shape[2] = {1, 5};
//     struct pacer_tensor input = {"input", PACER_FP32, 2, shape, row};
//     struct pacer_result *result;
//     if (pacer_session_run(session, &(struct pacer_run){&input, 1, NULL, 0}, &result, &err) == 0)
//         use(pacer_result_tensor(result, 0));
//     pacer_result_destroy(result);
//     pacer_session_put(session);
#ifndef PACER_SESSION_H
#define PACER_SESSION_H

#include <pacer/tensor.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pacer_session;
struct pacer_result;

struct pacer_session_options {
    size_t size;         // sizeof(struct pacer_session_options); set by PACER_SESSION_OPTIONS_INIT
    bool use_quantized;  // take NAME.int8.onnx beside NAME.onnx where it is there
    bool allow_spinning; // let ONNX Runtime's threads burn CPU while they wait; false serves better
    int intra_op_threads; // threads of one run; 1 is best for small models. 0 means 1
    bool skip_warm_up;    // do not run the model once on zeros before it counts as loaded
};
// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define PACER_SESSION_OPTIONS_INIT {sizeof(struct pacer_session_options), false, false, 1, false}
// clang-format on

// What one run is given. `outputs` names the wanted outputs in order; n_outputs 0 means all, as the
// model orders them.
struct pacer_run {
    const struct pacer_tensor *inputs;
    size_t n_inputs;
    const char *const *outputs;
    size_t n_outputs;
};

// Loads the model at `path`, or returns the session that is already kept for that file (same path
// after resolving links, same options, file unchanged since). `options` may be NULL for the
// defaults. The caller gets one reference in *out and gives it back with pacer_session_put. Blocks
// while the model loads; any thread. PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL (not ONNX, truncated,
// unknown opset, names a file outside its own directory, fails its warm-up), PACER_ENOMEM.
PACER_API int pacer_session_get(const char *path, const struct pacer_session_options *options,
                                struct pacer_session **out, struct pacer_error *err);
// Gives a reference back; the model is freed with the last one. NULL is fine. Any thread.
PACER_API void pacer_session_put(struct pacer_session *session);

// What the model declares; borrowed, valid as long as the reference. Inputs that have a default in
// the model are not listed, but may be given to a run. Any thread.
PACER_API const struct pacer_tensor_info *pacer_session_inputs(const struct pacer_session *session,
                                                               size_t *n);
PACER_API const struct pacer_tensor_info *pacer_session_outputs(const struct pacer_session *session,
                                                                size_t *n);
// A value of the model file's metadata_props, or NULL. Borrowed. Any thread.
PACER_API const char *pacer_session_metadata(const struct pacer_session *session, const char *key);
// The version of the model: the first 16 hexadecimal digits of the SHA-256 of its file and of its
// external data. Borrowed. Any thread.
PACER_API const char *pacer_session_version(const struct pacer_session *session);

// Runs the model on named inputs; blocks for as long as the model computes. Many threads may
// run one session at once. Inputs are borrowed for the call. *out is the caller's, to be given
// to pacer_result_destroy; it is NULL after an error. PACER_EINVAL (unknown, missing or
// doubled name, wrong element type or shape), PACER_EMODEL (ONNX Runtime failed; its words are
// in the message), PACER_ENOMEM.
PACER_API int pacer_session_run(struct pacer_session *session, const struct pacer_run *run,
                                struct pacer_result **out, struct pacer_error *err);

// The result's tensors, borrowed until pacer_result_destroy. `index` < pacer_result_count.
PACER_API size_t pacer_result_count(const struct pacer_result *result);
PACER_API const struct pacer_tensor *pacer_result_tensor(const struct pacer_result *result,
                                                         size_t index);
PACER_API void pacer_result_destroy(struct pacer_result *result);

#ifdef __cplusplus
}
#endif
#endif
