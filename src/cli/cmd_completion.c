// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

typedef void writer(struct pcr_buf *out);

static int run(const struct pcr_cli_args *args) {
    static const char *const shells[] = {"bash", "zsh", "fish"};
    static writer *const writers[] = {pcr_completion_bash, pcr_completion_zsh, pcr_completion_fish};
    for (size_t i = 0; i < PCR_COUNT_OF(shells); i++) {
        if (strcmp(args->operands[0], shells[i]) != 0)
            continue;
        struct pcr_buf text;
        pcr_buf_init(&text, 1 << 18);
        writers[i](&text);
        int rc = pcr_cli_print(&text);
        pcr_buf_fini(&text);
        return rc;
    }
    return pcr_cli_usage(args->command,
                         "no completion for '%s'; there is one for bash, zsh and fish",
                         args->operands[0]);
}

const struct pcr_cli_command pcr_cmd_completion = {
    .name = "completion",
    .operands = "SHELL",
    .summary = "print the completion script of a shell: bash, zsh or fish",
    .text = "Prints a script that lets the shell complete pacer's commands and options.\n"
            "To try it:\n\n"
            "  bash:  source <(pacer completion bash)\n"
            "  zsh:   source <(pacer completion zsh)\n"
            "  fish:  pacer completion fish | source\n\n"
            "To keep it, write it where your shell looks for completions.",
    .complete = "bash zsh fish",
    .n_operands_min = 1,
    .n_operands_max = 1,
    .run = run,
};
