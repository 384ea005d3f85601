// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "server/server.h"

#include <signal.h>

static int run(const struct pcr_cli_args *args) {
    struct pcr_arena arena;
    struct pcr_config_override overrides[PCR_CLI_GIVEN_MAX];
    struct pcr_server_options options = {
        .config_file = args->n_operands ? args->operands[0] : NULL,
        .overrides = overrides,
    };
    pcr_arena_init(&arena, 1 << 20);
    int rc = pcr_cli_overrides(args, &arena, overrides, &options.n_overrides);
    if (rc == PCR_EXIT_OK) {
        signal(SIGPIPE, SIG_IGN); // a peer that goes away is no reason to die
        rc = pcr_server_run(&options);
    }
    pcr_arena_fini(&arena);
    return rc;
}

const struct pcr_cli_command pcr_cmd_serve = {
    .name = "serve",
    .operands = "[CONFIG]",
    .summary = "answer requests over HTTP",
    .text = "Serves the models and decisions that the file CONFIG describes, over the Open\n"
            "Inference Protocol (v2) and on the paths of the decisions, until SIGTERM or\n"
            "SIGINT; running requests are finished first. SIGHUP reads configuration and\n"
            "models anew. Without CONFIG the defaults and the options below apply. Options\n"
            "win over the file.",
    .complete = "file",
    .n_operands_max = 1,
    .config_flags = true,
    .run = run,
};
_Static_assert((int)PCR_SERVER_OK == PCR_EXIT_OK && (int)PCR_SERVER_FAILED == PCR_EXIT_FAILURE &&
                   (int)PCR_SERVER_BAD_CONFIG == PCR_EXIT_CONFIG,
               "one set of exit codes");
