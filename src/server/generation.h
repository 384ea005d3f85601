// SPDX-License-Identifier: Apache-2.0
// Making a generation: a configuration with the decisions and routes that follow from it.
#ifndef PCR_SERVER_GENERATION_H
#define PCR_SERVER_GENERATION_H

#include "server/app.h"

// Compiles every decision of `config` against the repository and builds the routes. On success the
// generation (one reference in *out) owns `config`; on failure the caller keeps it, and every fault
// has been logged.
int pcr_generation_create(struct pcr_config *config, struct pcr_repository *repository,
                          struct pcr_generation **out);
// Logs all faults of a configuration that did not load.
void pcr_generation_log_faults(const struct pcr_config_faults *faults);

#endif
