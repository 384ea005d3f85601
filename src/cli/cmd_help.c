// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

static int run(const struct pcr_cli_args *args) {
    struct pcr_buf text;
    bool color = pcr_cli_color(stdout);
    const char *topic = args->n_operands ? args->operands[0] : NULL;
    const struct pcr_cli_command *command = topic ? pcr_cli_find_command(topic) : NULL;
    pcr_buf_init(&text, 1 << 16);
    int rc = PCR_EXIT_OK;
    if (!topic)
        pcr_cli_help_main(&text, color);
    else if (command)
        pcr_cli_help_command(&text, command, color);
    else if (strcmp(topic, "exit-codes") == 0)
        pcr_cli_help_exit_codes(&text);
    else
        rc = pcr_cli_usage(NULL,
                           "no help on '%s'; it is no command, and the only other topic is "
                           "'exit-codes'",
                           topic);
    if (rc == PCR_EXIT_OK)
        rc = pcr_cli_print(&text);
    pcr_buf_fini(&text);
    return rc;
}

const struct pcr_cli_command pcr_cmd_help = {
    .name = "help",
    .operands = "[COMMAND|exit-codes]",
    .summary = "explain a command, or the exit codes",
    .text = "Explains pacer, one of its commands, or its exit codes.",
    .complete = "command",
    .n_operands_max = 1,
    .run = run,
};
