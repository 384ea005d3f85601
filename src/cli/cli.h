// SPDX-License-Identifier: Apache-2.0
// The cli room: the program's commands. Each is one row (struct pcr_cli_command) that parser, help,
// manual page, docs/cli.md and shell completions read, and one cmd_<name>.c that does it.
#ifndef PCR_CLI_H
#define PCR_CLI_H

#include "base/base.h"
#include "config/config.h"
#include "config/options.h"

#include <stdio.h>

enum pcr_exit {
#define EXIT_CODE(name, number, text) PCR_EXIT_##name = (number),
#include "cli/exit_codes.def"
};

#define PCR_CLI_OPTIONS_MAX 48 // of one command
#define PCR_CLI_GIVEN_MAX 128  // on one command line
#define PCR_CLI_OPERANDS_MAX 16

struct pcr_cli_option {
    const char *name;         // without the dashes
    char letter;              // short form, or 0
    const char *metavar;      // of its value; NULL: takes none
    const char *help;         // one line, no full stop
    const char *default_text; // or NULL
    const char *forms;        // what the value may look like, or NULL
    const char *choices;      // "a|b", for completion and checking, or NULL
    const char *config_key;   // sets this key of the configuration, or NULL
    bool repeats;             // may be given more than once
    bool is_switch;           // of the configuration: --name means true, --name=false is fine too
};

struct pcr_cli_given {
    struct pcr_cli_option option;
    const char *value; // NULL for an option without one
};

struct pcr_cli_command;

struct pcr_cli_args {
    const struct pcr_cli_command *command;
    struct pcr_cli_given given[PCR_CLI_GIVEN_MAX];
    size_t n_given;
    const char *operands[PCR_CLI_OPERANDS_MAX];
    size_t n_operands;
};

struct pcr_cli_command {
    const char *name;
    const char *operands; // as the usage line shows them: "MODEL"
    const char *summary;  // one line, no full stop
    const char *text;     // paragraphs for --help and the manual, at most 78 columns
    const char *complete; // what its operands are: "file", "command", or "a b c"; NULL: nothing
    const struct pcr_cli_option *options;
    size_t n_options;
    size_t n_operands_min, n_operands_max;
    bool config_flags; // takes the flags of options.def and --set
    bool hidden;       // not in help and completions
    int (*run)(const struct pcr_cli_args *args);
};

extern const struct pcr_cli_command pcr_cmd_serve, pcr_cmd_check, pcr_cmd_run, pcr_cmd_inspect,
    pcr_cmd_quantize, pcr_cmd_bench, pcr_cmd_version, pcr_cmd_help, pcr_cmd_completion,
    pcr_cmd_docs;

// All commands in the order of the help.
const struct pcr_cli_command *const *pcr_cli_commands(size_t *n);
const struct pcr_cli_command *pcr_cli_find_command(const char *name);
// All options a command takes, --help last.
size_t pcr_cli_options(const struct pcr_cli_command *command,
                       struct pcr_cli_option out[PCR_CLI_OPTIONS_MAX]);

// --- the command line ---------------------------------------------------------------------------
// Parses what follows the command's name. PCR_EXIT_OK, or PCR_EXIT_USAGE with a message printed.
// *help: --help was given; operands were not counted then.
int pcr_cli_parse(const struct pcr_cli_command *command, int argc, char **argv,
                  struct pcr_cli_args *args, bool *help);
// The value of the last such option, "" for one without a value; NULL: not given.
const char *pcr_cli_value(const struct pcr_cli_args *args, const char *name);
static inline bool pcr_cli_has(const struct pcr_cli_args *args, const char *name) {
    return pcr_cli_value(args, name) != NULL;
}
// The options that set keys of the configuration, in the order given; PCR_EXIT_USAGE for a --set
// without '='. The strings live in `arena`.
int pcr_cli_overrides(const struct pcr_cli_args *args, struct pcr_arena *arena,
                      struct pcr_config_override out[PCR_CLI_GIVEN_MAX], size_t *n);

// --- talking to people --------------------------------------------------------------------------
// "pacer: …" on standard error; returns `code`.
__attribute__((format(printf, 2, 3))) int pcr_cli_fail(enum pcr_exit code, const char *format, ...);
// The same for a wrong command line, with a pointer to the command's help (NULL: pacer's own).
__attribute__((format(printf, 2, 3))) int pcr_cli_usage(const struct pcr_cli_command *command,
                                                        const char *format, ...);
// May colour be used on that stream? On a terminal, unless NO_COLOR is set or TERM is dumb.
bool pcr_cli_color(FILE *stream);
// Writes all of a buffer to standard output; a buffer that failed is a failure.
int pcr_cli_print(const struct pcr_buf *buf);
// Flushes standard output:
// `code`, or PCR_EXIT_FAILURE with a message if something could not be written.
int pcr_cli_finish(int code);

// For commands that measure: memory that was freed stays with the process. Otherwise large values
// of a run may be given back to the kernel and taken anew each time, or not, as the heap happens to
// lie.
void pcr_cli_keep_memory(void);

// --- texts --------------------------------------------------------------------------------------
void pcr_cli_help_main(struct pcr_buf *out, bool color);
void pcr_cli_help_command(struct pcr_buf *out, const struct pcr_cli_command *command, bool color);
void pcr_cli_help_exit_codes(struct pcr_buf *out);
void pcr_completion_bash(struct pcr_buf *out);
void pcr_completion_zsh(struct pcr_buf *out);
void pcr_completion_fish(struct pcr_buf *out);
void pcr_docs_man(struct pcr_buf *out);           // docs/pacer.1
void pcr_docs_cli(struct pcr_buf *out);           // docs/cli.md
void pcr_docs_configuration(struct pcr_buf *out); // docs/configuration.md
void pcr_docs_sample(struct pcr_buf *out);        // etc/pacer.sample.yaml

#endif
