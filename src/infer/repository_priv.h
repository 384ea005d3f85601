// SPDX-License-Identifier: Apache-2.0
// What repository.c, layout.c, pbtxt.c, model.c and engine.c share.
#ifndef PCR_INFER_REPOSITORY_PRIV_H
#define PCR_INFER_REPOSITORY_PRIV_H

#include "infer/infer.h"

// --- config.pbtxt (pbtxt.c) ---------------------------------------------------------------------
#define PCR_PBTXT_VERSIONS_MAX 64

enum pcr_version_policy { PCR_VERSIONS_ALL, PCR_VERSIONS_LATEST, PCR_VERSIONS_SPECIFIC };

struct pcr_pbtxt {      // what of a Triton configuration means something here
    int max_batch_size; // -1: not said
    bool dynamic_batching;
    enum pcr_version_policy policy;
    uint64_t latest; // of PCR_VERSIONS_LATEST
    uint64_t versions[PCR_PBTXT_VERSIONS_MAX];
    size_t n_versions; // of PCR_VERSIONS_SPECIFIC
};
// Reads the text form of a protobuf message;
// what it does not know it skips. PACER_ESYNTAX with the line.
int pcr_pbtxt_parse(struct pcr_str text, struct pcr_pbtxt *out, struct pacer_error *err);

// --- what lies in the directory (layout.c) ------------------------------------------------------
struct pcr_found { // one version of one model
    const char *name;
    const char *version;
    uint64_t number;
    const char *path;
    struct pcr_pbtxt config;
    const char *fault; // why it cannot be loaded, or NULL
    struct pcr_found *next;
};
// Whether a name can be a model's: not empty, at most 255 bytes, no '/', no control characters, no
// '.' in front.
bool pcr_model_name_ok(struct pcr_str name);
// All models of the directory, or those called `only` (if not NULL),
// in no particular order, in `arena`.
int pcr_layout_scan(const char *models_dir, const char *only, struct pcr_arena *arena,
                    struct pcr_found **out, struct pacer_error *err);

// --- the end of a model (reaper.c) -------------------------------------------------------------
struct pcr_reaper;  // a thread; reference-counted, since a model may outlive its repository
struct pcr_reaped { // part of what is to be freed
    struct pcr_reaped *next;
    void (*free)(struct pcr_reaped *reaped);
};
struct pcr_reaper *pcr_reaper_create(void); // NULL when memory is out
struct pcr_reaper *pcr_reaper_ref(struct pcr_reaper *reaper);
void pcr_reaper_unref(struct pcr_reaper *reaper); // NULL is fine
// Frees what was taken and joins the thread; from then on `take` frees at once.
void pcr_reaper_stop(struct pcr_reaper *reaper);
void pcr_reaper_take(struct pcr_reaper *reaper, struct pcr_reaped *reaped); // any thread

// --- models (model.c)
// --------------------------------------------------------------------------------------------- A
// small number that is this thread's own as long as there are not too many;
// spreads threads over slots.
unsigned pcr_thread_hint(void);
// One reference. Takes over the reference to the session, also where it fails. It will be freed by
// the reaper, of which it keeps a reference.
int pcr_model_create(const struct pcr_found *found, const struct pcr_model_config *config,
                     struct pacer_session *session, struct pcr_reaper *reaper,
                     struct pcr_model **out, struct pacer_error *err);

#endif
