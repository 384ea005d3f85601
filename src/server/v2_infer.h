// SPDX-License-Identifier: Apache-2.0
// What v2_infer.c (an inference and its answer) and v2_cached.c (answers that are kept) share.
#ifndef PCR_SERVER_V2_INFER_H
#define PCR_SERVER_V2_INFER_H

#include "server/caching.h"
#include "server/v2.h"

// One inference under way; in its arena.
struct pcr_v2_infer {
    struct pcr_http_request *request; // NULL: for nobody, to have the answer anew
    struct pcr_arena *arena;          // the request's, or its own
    struct pcr_str bytes, length;     // the request's body, and its header of the JSON's length
    struct pcr_engine *engine;
    struct pcr_model *model; // one reference
    struct pcr_v2_request v2;
    struct pcr_v2_body body; // of the answer
    struct pcr_infer_call call;
    // Where answers are kept:
    struct pcr_cache_call cached;
    struct pcr_str id; // of the request; what is kept has none
    struct pcr_caching_headers said;
    char length_text[24]; // of the answer's JSON
};

// The hooks of infer->call.
int pcr_v2_infer_read(struct pcr_infer_call *call);
int pcr_v2_infer_write(struct pcr_infer_call *call);
// 200, with what infer->said has to say.
void pcr_v2_infer_reply(struct pcr_v2_infer *infer, const struct pcr_v2_body *body);

// Takes the request if answers of the model are kept and this one may be; false: nothing is done
// but infer->said, and it is to be computed as any.
bool pcr_v2_infer_cached(struct pcr_app *app, struct pcr_v2_infer *infer);
// The client has gone.
void pcr_v2_infer_cached_abort(struct pcr_v2_infer *infer);

#endif
