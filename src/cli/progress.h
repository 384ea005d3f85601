// SPDX-License-Identifier: Apache-2.0
// A bar for work that takes long: one line of standard error that is drawn over, and gone at the
// end. Nothing where standard error is no terminal.
#ifndef PCR_CLI_PROGRESS_H
#define PCR_CLI_PROGRESS_H

#include "base/base.h"

struct pcr_progress {
    bool is_shown;
    uint64_t drawn_ns;
};
void pcr_progress_init(struct pcr_progress *progress, bool quiet);
// Ten times a second at most, and whenever something is complete.
void pcr_progress_show(struct pcr_progress *progress, const char *what, size_t done, size_t total);
void pcr_progress_clear(struct pcr_progress *progress);

#endif
