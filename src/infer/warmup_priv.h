// SPDX-License-Identifier: Apache-2.0
// What happens to a session before it serves: made_up.c, warmup.c and rows.c.
#ifndef PCR_INFER_WARMUP_PRIV_H
#define PCR_INFER_WARMUP_PRIV_H

#include "infer/session_priv.h"

#define PCR_MADE_UP_BYTES_MAX ((size_t)256 << 20) // of all inputs together

enum pcr_made_up { PCR_MADE_UP_MIXED, PCR_MADE_UP_ZEROS, PCR_MADE_UP_ONES };

struct pcr_made_up_rows { // row i is the same, whichever rows are made beside it
    enum pcr_made_up kind;
    size_t first, n;
};

// All required inputs, in `arena`: dynamic first dimensions are n, other dynamic ones 1. False when
// they are too large. *elements is their number.
bool pcr_made_up_inputs(const struct pacer_session *session, const struct pcr_made_up_rows *rows,
                        struct pcr_arena *arena, struct pacer_run *out, size_t *elements);

// Whether every input and output has a dynamic first dimension.
bool pcr_session_has_rows(const struct pacer_session *session);
// Runs made-up rows alone and together and compares the answers.
enum pcr_rows pcr_session_try_rows(struct pacer_session *session, enum pcr_made_up kind);

#endif
