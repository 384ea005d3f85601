// SPDX-License-Identifier: Apache-2.0
// The command line, GNU style: long options with "=" or a separate value, short ones that may be
// joined, "--" ends options, options and operands in any order.
//
// The parser reads the same rows as help, manual and completions, so an option cannot exist in one
// and not in the other. Flags of the configuration are taken from options.def by themselves;
// nothing here knows their names.
//
// getopt_long was the alternative: it keeps state in global variables, prints its own messages,
// accepts abbreviations that break when an option is added, and would need its tables built from
// ours anyway.
#include "cli/cli.h"

#include <stdlib.h>

static const struct pcr_cli_command *const commands[] = {
    &pcr_cmd_serve, &pcr_cmd_check,   &pcr_cmd_run,  &pcr_cmd_inspect,    &pcr_cmd_quantize,
    &pcr_cmd_bench, &pcr_cmd_version, &pcr_cmd_help, &pcr_cmd_completion, &pcr_cmd_docs,
};

static const struct pcr_cli_option set_option = {
    .name = "set",
    .metavar = "KEY=VALUE",
    .help = "set any key of the configuration, such as http.idle_timeout_ms=5s",
    .repeats = true,
};
static const struct pcr_cli_option help_option = {
    .name = "help", .letter = 'h', .help = "show this help"};

const struct pcr_cli_command *const *pcr_cli_commands(size_t *n) {
    *n = PCR_COUNT_OF(commands);
    return commands;
}

const struct pcr_cli_command *pcr_cli_find_command(const char *name) {
    for (size_t i = 0; i < PCR_COUNT_OF(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

size_t pcr_cli_options(const struct pcr_cli_command *command,
                       struct pcr_cli_option out[PCR_CLI_OPTIONS_MAX]) {
    size_t n = 0, n_rows;
    const struct pcr_option *rows = pcr_options(PCR_OPTIONS_CONFIG, &n_rows);
    for (size_t i = 0; command->config_flags && i < n_rows; i++) {
        if (!rows[i].flag)
            continue;
        PCR_ASSERT(n < PCR_CLI_OPTIONS_MAX - 2);
        out[n++] = (struct pcr_cli_option){
            .name = rows[i].flag,
            .metavar = rows[i].metavar,
            .help = rows[i].help,
            .choices = rows[i].choices,
            .default_text = rows[i].default_text,
            .forms = rows[i].type == PCR_OPTION_ADDRESS
                         ? "HOST:PORT, [IPv6]:PORT, :PORT, unix:/path"
                         : NULL,
            .config_key = rows[i].key,
            .is_switch = rows[i].type == PCR_OPTION_BOOL,
            .repeats = true, // the last one counts
        };
    }
    for (size_t i = 0; i < command->n_options; i++) {
        PCR_ASSERT(n < PCR_CLI_OPTIONS_MAX - 2);
        out[n++] = command->options[i];
    }
    if (command->config_flags)
        out[n++] = set_option;
    out[n++] = help_option;
    return n;
}

// --- parsing ------------------------------------------------------------------------------------
struct parser {
    const struct pcr_cli_command *command;
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n_options;
    int argc;
    char **argv;
    int at;
    struct pcr_cli_args *args;
};

static const struct pcr_cli_option *find_long(const struct parser *parser, struct pcr_str name) {
    for (size_t i = 0; i < parser->n_options; i++)
        if (pcr_str_eq(name, pcr_str(parser->options[i].name)))
            return &parser->options[i];
    return NULL;
}

static const struct pcr_cli_option *find_short(const struct parser *parser, char letter) {
    for (size_t i = 0; i < parser->n_options; i++)
        if (parser->options[i].letter == letter)
            return &parser->options[i];
    return NULL;
}

static int give(struct parser *parser, const struct pcr_cli_option *option, const char *value) {
    struct pcr_cli_args *args = parser->args;
    if (!option->repeats && pcr_cli_has(args, option->name))
        return pcr_cli_usage(parser->command, "--%s is given twice", option->name);
    if (args->n_given == PCR_CLI_GIVEN_MAX)
        return pcr_cli_usage(parser->command, "more than %d options", PCR_CLI_GIVEN_MAX);
    args->given[args->n_given++] = (struct pcr_cli_given){*option, value};
    return PCR_EXIT_OK;
}

static int unknown_long(const struct parser *parser, struct pcr_str name) {
    const char *names[PCR_CLI_OPTIONS_MAX] = {0};
    for (size_t i = 0; i < parser->n_options; i++)
        names[i] = parser->options[i].name;
    const char *close = pcr_str_closest(name, names, parser->n_options);
    if (close)
        return pcr_cli_usage(parser->command, "unknown option '--%.*s'; did you mean '--%s'?",
                             PCR_STR_ARG(name), close);
    return pcr_cli_usage(parser->command, "unknown option '--%.*s'", PCR_STR_ARG(name));
}

// The value of an option: what stands behind "=" (`joined`, may be NULL), else the next argument.
static int give_with_value(struct parser *parser, const struct pcr_cli_option *option,
                           const char *joined) {
    if (option->is_switch)
        return give(parser, option, joined ? joined : "true");
    if (!option->metavar)
        return joined ? pcr_cli_usage(parser->command, "--%s takes no value", option->name)
                      : give(parser, option, "");
    if (joined)
        return give(parser, option, joined);
    if (parser->at + 1 >= parser->argc)
        return pcr_cli_usage(parser->command, "--%s needs a value: --%s %s", option->name,
                             option->name, option->metavar);
    return give(parser, option, parser->argv[++parser->at]);
}

static int parse_long(struct parser *parser, const char *text) {
    const char *equals = strchr(text, '=');
    struct pcr_str name = {text, equals ? (size_t)(equals - text) : strlen(text)};
    const struct pcr_cli_option *option = find_long(parser, name);
    if (!option)
        return unknown_long(parser, name);
    return give_with_value(parser, option, equals ? equals + 1 : NULL);
}

// "-jq" is "-j -q"; a letter with a value takes the rest of the word or the next one.
static int parse_short(struct parser *parser, const char *letters) {
    for (const char *c = letters; *c; c++) {
        const struct pcr_cli_option *option = find_short(parser, *c);
        if (!option)
            return pcr_cli_usage(parser->command, "unknown option '-%c'",
                                 *c > 0x20 && *c < 0x7f ? *c : '?');
        if (option->metavar)
            return give_with_value(parser, option, c[1] ? c + 1 : NULL);
        int rc = give(parser, option, "");
        if (rc != PCR_EXIT_OK)
            return rc;
    }
    return PCR_EXIT_OK;
}

static int add_operand(struct parser *parser, const char *word) {
    struct pcr_cli_args *args = parser->args;
    if (args->n_operands == parser->command->n_operands_max)
        return pcr_cli_usage(parser->command, "'%s' is one argument too many", word);
    args->operands[args->n_operands++] = word;
    return PCR_EXIT_OK;
}

int pcr_cli_parse(const struct pcr_cli_command *command, int argc, char **argv,
                  struct pcr_cli_args *args, bool *help) {
    struct parser parser = {.command = command, .argc = argc, .argv = argv, .args = args};
    PCR_ASSERT(command->n_operands_max <= PCR_CLI_OPERANDS_MAX);
    parser.n_options = pcr_cli_options(command, parser.options);
    args->command = command;
    args->n_given = args->n_operands = 0;
    bool only_operands = false;
    for (; parser.at < argc; parser.at++) {
        const char *word = argv[parser.at];
        int rc;
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (only_operands || word[0] != '-' || word[1] == '\0')
            rc = add_operand(&parser, word);
        else if (word[1] == '-')
            rc = parse_long(&parser, word + 2);
        else
            rc = parse_short(&parser, word + 1);
        if (rc != PCR_EXIT_OK)
            return rc;
    }
    *help = pcr_cli_has(args, "help");
    if (!*help && args->n_operands < command->n_operands_min)
        return pcr_cli_usage(command, "%s is missing", command->operands);
    return PCR_EXIT_OK;
}

const char *pcr_cli_value(const struct pcr_cli_args *args, const char *name) {
    for (size_t i = args->n_given; i-- > 0;)
        if (strcmp(args->given[i].option.name, name) == 0)
            return args->given[i].value;
    return NULL;
}

int pcr_cli_overrides(const struct pcr_cli_args *args, struct pcr_arena *arena,
                      struct pcr_config_override out[PCR_CLI_GIVEN_MAX], size_t *n) {
    *n = 0;
    for (size_t i = 0; i < args->n_given; i++) {
        const struct pcr_cli_given *given = &args->given[i];
        struct pcr_config_override *one = &out[*n];
        if (given->option.config_key) {
            one->key = given->option.config_key;
            one->value = given->value;
            one->flag = pcr_arena_printf(arena, "--%s", given->option.name);
        } else if (strcmp(given->option.name, "set") == 0) {
            const char *equals = strchr(given->value, '=');
            if (!equals || equals == given->value)
                return pcr_cli_usage(args->command, "--set %s: expected KEY=VALUE", given->value);
            one->key = pcr_arena_dup(
                arena, (struct pcr_str){given->value, (size_t)(equals - given->value)});
            one->value = equals + 1;
            one->flag = one->key ? pcr_arena_printf(arena, "--set %s", one->key) : NULL;
        } else {
            continue;
        }
        if (!one->key || !one->flag)
            return pcr_cli_fail(PCR_EXIT_FAILURE, "out of memory");
        ++*n;
    }
    return PCR_EXIT_OK;
}
