// SPDX-License-Identifier: Apache-2.0
// The decide room: features → model → action → limits → reason → contract. It knows JSON and
// models, not HTTP: the server hands it a body and gets a status and a body back:
//
// - 200: the answer; it satisfies the contract.
// - 400: {"error","faults":[{"pointer","expected","got"}…]};
//   not JSON, or a member is missing, unknown or of the wrong type.
// - 422: the same shape; well formed,
//   but a number is beyond what the model or a limit can be computed with.
// - 500: {"error"}, with "pointer" where the answer would have broken its contract;
//   such an answer never leaves.
// - 503: {"error"};
//   the model is not there, does not fit the decision any more, or there is no room to run it.
#ifndef PCR_DECIDE_H
#define PCR_DECIDE_H

#include "base/base.h"
#include "cache/cache.h"
#include "config/config.h"
#include "infer/infer.h"
#include "json/json.h"

struct pcr_decision; // immutable but for its counters; shared by all loops

// Compiles one decision of the configuration: loads its contract, checks it against the model
// (inputs, classes, every class mapped, baselines known). The message names file and line.
int pcr_decision_create(const struct pcr_config_decision *config, const char *config_file,
                        struct pcr_repository *repository, struct pcr_decision **out,
                        struct pacer_error *err);
// Not while a pcr_decide of it is under way; NULL is fine.
void pcr_decision_destroy(struct pcr_decision *decision);
// The same looks as pcr_decision_create, every fault reported instead of the first; returns how
// many. `at` is a place in the configuration file, line 0 where none is to blame.
typedef void (*pcr_decision_fault_cb)(void *ctx, struct pcr_config_place at, const char *message);
size_t pcr_decision_check(const struct pcr_config_decision *config,
                          struct pcr_repository *repository, pcr_decision_fault_cb fault,
                          void *ctx);
const char *pcr_decision_path(const struct pcr_decision *decision);
const char *pcr_decision_contract_file(const struct pcr_decision *decision);
const struct pacer_contract *pcr_decision_contract(const struct pcr_decision *decision);
// For the OpenAPI document: what a request looks like, as a JSON Schema, and an example request
// that works.
void pcr_decision_request_schema(const struct pcr_decision *decision, struct pcr_json_writer *out);
void pcr_decision_request_example(const struct pcr_decision *decision, struct pcr_json_writer *out);
// An example answer: the contract's own example, else what the example request was answered when
// the decision was loaded.
void pcr_decision_answer_example(const struct pcr_decision *decision, struct pcr_json_writer *out);

struct pcr_decide_call { // the caller's memory (a request's arena) until `done`
    struct pcr_decision *decision;
    struct pcr_str body; // the request, borrowed until `done`
    struct pcr_str id;   // goes into the answer
    struct pcr_arena *arena;
    struct pcr_loop *loop;
    struct pcr_engine *engine;
    struct pcr_repository *repository;
    void (*done)(struct pcr_decide_call
                     *call); // on `loop`, exactly once, possibly before pcr_decide returns
    void *user;
    // As pcr_infer_call has them. Past the time the model is not run any more: 503.
    uint64_t deadline_ns, timeout_ns, received_ns;
    // Where answers of the model are kept; NULL: they are not.
    struct pcr_cache *cache;
    struct pcr_str tenant;
    bool no_store, only_if_cached;
    uint64_t max_age_ns; // UINT64_MAX: any
    bool refreshing;     // for nobody: to have the answer anew
    // results
    bool bucketed;      // features were rounded, as the configuration says
    const char *bypass; // why it was not looked for in the cache, where answers are kept; else NULL
    struct pcr_cache_call kept;  // how the answer came about; `cache` NULL: it was just computed
    uint64_t retry_ns;           // of a 503: as pcr_infer_call has it
    int status;                  // HTTP status
    struct pcr_str answer;       // JSON, in the arena (or static)
    struct pcr_infer_call infer; // private
    void *state;                 // private
};
void pcr_decide(struct pcr_decide_call *call);
// Nobody waits for the answer any more; `done` comes all the same, with a 503 if nothing was
// computed yet. Between pcr_decide and `done`, on the loop's thread.
void pcr_decide_cancel(struct pcr_decide_call *call);

struct pcr_decision_stats {
    uint64_t answered, fallbacks, bad_requests, contract_violations, failures;
};
void pcr_decision_stats(const struct pcr_decision *decision, struct pcr_decision_stats *out);

#endif
