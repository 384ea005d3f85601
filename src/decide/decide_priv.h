// SPDX-License-Identifier: Apache-2.0
// What the files of the decide room share.
#ifndef PCR_DECIDE_PRIV_H
#define PCR_DECIDE_PRIV_H

#include "decide/decide.h"

#include <pacer/contract.h>
#include <pthread.h>
#include <stdatomic.h>

#define PCR_DECIDE_FEATURES_MAX PCR_CONFIG_FEATURES_MAX
#define PCR_DECIDE_CLASSES_MAX PCR_CONFIG_ACTIONS_MAX
#define PCR_DECIDE_LIMITS_MAX PCR_CONFIG_LIMITS_MAX
#define PCR_DECIDE_FIELD_DEPTH_MAX 16
#define PCR_DECIDE_FIELD_BYTES_MAX 200
#define PCR_DECIDE_FAULTS_MAX 100
#define PCR_DECIDE_USER_ID_MAX 128 // characters
#define PCR_DECIDE_PLANS_MAX 64
#define PCR_DECIDE_LINES 128         // a cache line and the one that is fetched with it
#define PCR_DECIDE_EFFECT_MIN 0.0005 // a factor below this says nothing

// --- a decision ---------------------------------------------------------------------------------

struct pcr_decide_feature {
    const char *name;
    const char *label; // never NULL
    bool has_baseline;
    double baseline; // of the configuration; pcr_decide_plan has the one that counts
    double round;    // values are rounded to a multiple of this; 0: they are not
    int line;
};

struct pcr_decide_limit {
    const char *name;
    const char *field;   // dotted
    const char *pointer; // the same as a JSON pointer
    double times;
    bool has_min, has_max;
    double min, max;
    int feature; // the index of the feature that `field` names, or -1: a member of context
    int line;
};

struct pcr_decide_class {
    const char *name;
    const char *action;
};

// How one version of a model serves the decision. Immutable once made; found by content hash and
// batch size.
struct pcr_decide_plan {
    struct pcr_decide_plan *next;
    struct pcr_arena arena; // owns all of it, where the plan was published
    const char *version;    // the content hash
    size_t rows_max;        // the model's max_batch_size where one was set, else 0
    const char *unfit;      // NULL, or why this version cannot serve the decision
    const char *input, *output;
    const char *label; // an output that the classes can be held against, or NULL
    enum pacer_dtype input_dtype, output_dtype;
    size_t *column;   // per feature: its place in the model's row
    double *baseline; // per feature
    struct pcr_decide_class *classes;
    size_t n_classes;
};

struct pcr_decide_counters {
    _Atomic uint64_t answered, fallbacks, bad_requests, contract_violations, failures;
};

struct pcr_decision {
    struct pcr_arena arena;
    const char *path, *model, *model_version, *contract_file, *fallback_action;
    int line;
    struct pcr_config_place model_at, features_at, actions_at, classes_at, contract_at;
    struct pcr_decide_feature *features;
    const char **feature_names; // for "did you mean"
    size_t n_features;
    struct pcr_map feature_of; // name → its pcr_decide_feature
    struct pcr_config_action *actions;
    size_t n_actions;
    const char **classes; // of the configuration; none: as the model says
    size_t n_classes;
    struct pcr_decide_limit *limits;
    size_t n_limits;
    bool needs_context;
    bool is_bucketed;        // a feature is rounded
    bool any_id;             // the contract takes any id, so answers with another one keep it
    uint64_t fingerprint[2]; // of all that makes an answer, but for the model and the request
    double min_confidence;
    size_t max_factors;
    struct pacer_contract *contract;
    bool whole_numbers;            // the model takes integers
    double *example_values;        // per feature: its baseline
    double *example_fields;        // per limit
    struct pcr_str example_answer; // what the example request was answered at load
    // Plans are added at the front and never taken out, so readers need no lock: a reader that
    // misses a plan just being added makes sure under `publish`.
    _Atomic(struct pcr_decide_plan *) plans;
    pthread_mutex_t publish;
    size_t n_plans;
    // On lines of their own: every request changes them, and reads all of the above.
    _Alignas(PCR_DECIDE_LINES) struct pcr_decide_counters counters;
};

// Faults found while a decision is made or a model is looked at; `line` is the configuration's, 0
// for none.
struct pcr_decide_report {
    pcr_decision_fault_cb fault;
    void *ctx;
    size_t n;
};
__attribute__((format(printf, 3, 4))) void pcr_decide_fault(struct pcr_decide_report *report,
                                                            int line, const char *format, ...);
__attribute__((format(printf, 3, 4))) void pcr_decide_fault_at(struct pcr_decide_report *report,
                                                               struct pcr_config_place at,
                                                               const char *format, ...);

// --- plans --------------------------------------------------------------------------------------
// Compiles a plan into plan->arena's memory; what does not fit is reported. PACER_ENOMEM, or 0 with
// faults or none.
int pcr_decide_plan_compile(const struct pcr_decision *decision, const struct pcr_model *model,
                            struct pcr_arena *arena, struct pcr_decide_plan *plan,
                            struct pcr_decide_report *report);
// The plan for this version of the model: a published one, or a new one. NULL when memory is out.
// `arena` holds the plan where too many versions have been published already.
const struct pcr_decide_plan *pcr_decide_plan_of(struct pcr_decision *decision,
                                                 const struct pcr_model *model,
                                                 struct pcr_arena *arena);
void pcr_decide_plans_destroy(struct pcr_decision *decision);

// --- requests -----------------------------------------------------------------------------------
struct pcr_decide_request {
    double *values; // per feature, each fit for the model's element type
    double *limits; // per limit: computed and clamped
};

struct pcr_decide_bad { // one thing wrong with a request
    const char *pointer, *expected, *got;
};
struct pcr_decide_bads {
    struct pcr_arena *arena;
    struct pcr_decide_bad *list;
    size_t n;
    size_t dropped; // beyond PCR_DECIDE_FAULTS_MAX
    bool malformed; // one of them is more than a number out of range: 400, else 422
    bool out_of_memory;
    const char *error; // what is wrong on the whole
};
// False: `bads` says why.
bool pcr_decide_request_read(const struct pcr_decision *decision,
                             const struct pcr_decide_plan *plan, struct pcr_str body,
                             struct pcr_decide_request *out, struct pcr_decide_bads *bads);
// {"error":…,"faults":[…]} in the arena; {NULL, 0} when memory is out.
struct pcr_str pcr_decide_bads_write(const struct pcr_decide_bads *bads);
// The limit for a field's value; not finite where it is beyond every double.
double pcr_decide_limit_value(const struct pcr_decide_limit *limit, double field);
// The longest number a feature may be for that element type.
bool pcr_decide_number_fits(enum pacer_dtype dtype, double value);

// --- verdicts -----------------------------------------------------------------------------------
struct pcr_decide_factor {
    size_t feature;
    float effect;
};

struct pcr_decide_verdict {
    struct pcr_str id;
    const struct pcr_decide_request *request;
    const struct pcr_decide_plan *plan;
    size_t class_index;
    const char *action;
    bool fallback;
    float confidence;
    struct pcr_decide_factor *factors; // the strongest first
    size_t n_factors;
};

// The batch: row 0 is the request, row 1 + i has feature i at its baseline (none if no factors are
// wanted). *run, *tensor and the shape are the caller's memory, the numbers are in the arena.
struct pcr_decide_batch {
    struct pacer_tensor tensor;
    int64_t shape[2];
    const char *output;
    struct pacer_run run;
};
bool pcr_decide_batch_make(const struct pcr_decision *decision, const struct pcr_decide_plan *plan,
                           const struct pcr_decide_request *request, struct pcr_arena *arena,
                           struct pcr_decide_batch *batch);
// Reads the model's output for that batch.
// PACER_EMODEL if it is not what the plan promised, PACER_ENOMEM.
int pcr_decide_judge(const struct pcr_decision *decision, const struct pcr_decide_batch *batch,
                     const struct pacer_tensor *output, struct pcr_arena *arena,
                     struct pcr_decide_verdict *verdict, struct pacer_error *err);

// Holds the classes against the labels that the model gives for the same rows. PACER_EMODEL.
int pcr_decide_labels_check(const struct pcr_decide_plan *plan,
                            const struct pacer_tensor *probabilities,
                            const struct pacer_tensor *labels, struct pacer_error *err);

// --- a decision under way (decide.c, kept.c) ----------------------------------------------------
struct pcr_decide_state {
    const struct pcr_decide_plan *plan;
    struct pcr_decide_request request;
    struct pcr_decide_batch batch;
    bool fallback; // the answer is that
};
// The hooks of the engine; on a failure the call has its status.
int pcr_decide_read(struct pcr_infer_call *infer);
int pcr_decide_write(struct pcr_infer_call *infer);
// The status and answer for an error of the engine.
void pcr_decide_fail(struct pcr_decide_call *call, int code, const char *message);
void pcr_decide_count_answer(struct pcr_decide_call *call, bool fallback);

// Takes the call, with call->infer made, if answers of the model are kept and this one may be;
// false: it is to be computed as any.
bool pcr_decide_kept(struct pcr_decide_call *call);
bool pcr_decide_kept_cancel(struct pcr_decide_call *call); // as pcr_cache_cancel
// Sets any_id and fingerprint, once the contract is there.
void pcr_decide_kept_prepare(struct pcr_decision *decision);

// --- answers ------------------------------------------------------------------------------------
// A buffer whose memory is the arena's: it never grows,
// so it never allocates. False when memory is out.
bool pcr_decide_buf(struct pcr_arena *arena, size_t max_bytes, struct pcr_buf *buf);
// The reason in plain English; "" where memory is out.
struct pcr_str pcr_decide_summary(const struct pcr_decision *decision,
                                  const struct pcr_decide_verdict *verdict,
                                  struct pcr_arena *arena);
// The answer as JSON; {NULL, 0} when memory is out.
struct pcr_str pcr_decide_answer_write(const struct pcr_decision *decision,
                                       const struct pcr_decide_verdict *verdict,
                                       struct pcr_arena *arena);
// Holds an answer against the contract, as the bytes that would leave. 0, PACER_ECONTRACT with
// *pointer (in the arena) and err, or another error.
int pcr_decide_answer_check(const struct pcr_decision *decision, struct pcr_str answer,
                            struct pcr_arena *arena, const char **pointer, struct pacer_error *err);
// {"error":…} with "pointer" where it is not NULL; a static text when memory is out.
struct pcr_str pcr_decide_error_write(struct pcr_arena *arena, const char *message,
                                      const char *pointer);

// --- examples -----------------------------------------------------------------------------------
// Sets decision->example_*; false when memory is out.
bool pcr_decide_example_make(struct pcr_decision *decision, const struct pcr_decide_plan *plan);

#endif
