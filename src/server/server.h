// SPDX-License-Identifier: Apache-2.0
// The server as a whole: from a configuration to a drained exit.
#ifndef PCR_SERVER_SERVER_H
#define PCR_SERVER_SERVER_H

#include "config/config.h"
#include "infer/infer.h"

struct pcr_server_options {
    const char *config_file;                     // NULL: defaults and overrides only
    const struct pcr_config_override *overrides; // of the command line
    size_t n_overrides;
};

// Exit codes of pcr_server_run, the same as the command line's.
enum {
    PCR_SERVER_OK = 0, // drained after SIGTERM or SIGINT
    PCR_SERVER_FAILED =
        1, // could not start or broke: port in use, no model directory, out of memory
    PCR_SERVER_BAD_CONFIG = 3, // the configuration has faults; all of them were printed
};

// What the configuration says of the models, in `arena`; the texts stay the configuration's. False
// when memory is out.
bool pcr_server_models(const struct pcr_config *config, struct pcr_arena *arena,
                       struct pcr_repository_options *out);

// Serves until SIGTERM or SIGINT;
// SIGHUP reloads configuration and models. Blocks. Once per process.
int pcr_server_run(const struct pcr_server_options *options);

#endif
