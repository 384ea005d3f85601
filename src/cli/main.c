// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>

static int unknown_command(const char *word) {
    const char *names[32];
    size_t n_commands, n = 0;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n_commands);
    for (size_t i = 0; i < n_commands && n < PCR_COUNT_OF(names); i++)
        if (!commands[i]->hidden)
            names[n++] = commands[i]->name;
    const char *close = pcr_str_closest(pcr_str(word), names, n);
    const char *kind = word[0] == '-' ? "option" : "command";
    if (close && word[0] != '-')
        return pcr_cli_usage(NULL, "unknown %s '%s'; did you mean '%s'?", kind, word, close);
    return pcr_cli_usage(NULL, "unknown %s '%s'", kind, word);
}

static int run_command(const struct pcr_cli_command *command, int argc, char **argv) {
    struct pcr_cli_args args;
    bool help = false;
    int rc = pcr_cli_parse(command, argc, argv, &args, &help);
    if (rc != PCR_EXIT_OK)
        return rc;
    if (!help)
        return command->run(&args);
    struct pcr_buf text;
    pcr_buf_init(&text, 1 << 16);
    pcr_cli_help_command(&text, command, pcr_cli_color(stdout));
    rc = pcr_cli_print(&text);
    pcr_buf_fini(&text);
    return rc;
}

static int no_command(void) {
    struct pcr_buf text;
    pcr_buf_init(&text, 1 << 16);
    pcr_cli_help_main(&text, pcr_cli_color(stderr));
    fwrite(text.data, 1, text.len, stderr);
    pcr_buf_fini(&text);
    return PCR_EXIT_USAGE;
}

// A closed descriptor 0, 1 or 2 would be taken by the next file or socket that is opened, and
// messages would go there. What fills it cannot be used in its direction, so that a write to a
// closed output still fails.
static void fill_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null",
                        fd == 0 ? O_WRONLY : O_RDONLY); // takes the lowest free one: fd
}

int main(int argc, char **argv) {
    fill_descriptors();
    if (argc < 1)
        return PCR_EXIT_USAGE;
    if (argc < 2)
        return no_command();
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        word = "version";
    const struct pcr_cli_command *command = pcr_cli_find_command(word);
    int code = command ? run_command(command, argc - 2, argv + 2) : unknown_command(word);
    return pcr_cli_finish(code);
}
