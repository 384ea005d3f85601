// SPDX-License-Identifier: Apache-2.0
// Making a generation: a configuration with the decisions and routes that follow from it.
#ifndef PCR_SERVER_GENERATION_H
#define PCR_SERVER_GENERATION_H

#include "server/app.h"

// Compiles every decision of `config` against the repository and builds the routes. The generation
// (one reference in *out) takes a reference of its own to `config`. After a failure every fault has
// been logged.
int pcr_generation_create(struct pcr_config *config, struct pcr_repository *repository,
                          struct pcr_generation **out);
// The same while the models are still being loaded: the paths are there and say so.
int pcr_generation_create_loading(struct pcr_config *config, struct pcr_generation **out);
// Logs all faults of a configuration that did not load.
void pcr_generation_log_faults(const struct pcr_config_faults *faults);

#endif
