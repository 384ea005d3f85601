// SPDX-License-Identifier: Apache-2.0
// Completion scripts for bash, zsh and fish, from the rows of commands and options.
//
// Each shell has a form of its own, but the questions are the same three: which commands are there,
// which options does this one take, and what may the value be (a word of a list, a file, a
// directory, nothing known). The answers come from struct pcr_cli_option and struct
// pcr_cli_command; a new option is completed without a line here.
//
// The scripts are static: they do not start pacer while a person types. The alternative, a hidden
// command that is asked at each key press, would know model names too, but costs a process per key
// and fails where pacer is not on the PATH.
#include "cli/docs.h"

// Appends text in single quotes, with `escape` characters preceded by a backslash.
static void quoted(struct pcr_buf *out, const char *text, const char *escape) {
    for (; *text; text++) {
        if (*text == '\'')
            pcr_buf_text(out, "'\\''");
        else if (strchr(escape, *text))
            pcr_buf_printf(out, "\\%c", *text);
        else
            pcr_buf_char(out, *text);
    }
}

// "a|b" with spaces.
static void spaced(struct pcr_buf *out, const char *choices) {
    for (; *choices; choices++)
        pcr_buf_char(out, *choices == '|' ? ' ' : *choices);
}

static void command_names(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    for (size_t i = 0, printed = 0; i < n; i++)
        if (!commands[i]->hidden)
            pcr_buf_printf(out, "%s%s", printed++ ? " " : "", commands[i]->name);
}

static bool takes_value(const struct pcr_cli_option *option) {
    return option->metavar && !option->is_switch;
}

// --- bash ---------------------------------------------------------------------------------------
static void bash_values(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    for (size_t i = 0; i < n; i++) {
        const struct pcr_cli_option *option = &options[i];
        if (!takes_value(option))
            continue;
        pcr_buf_text(out, "    ");
        if (option->letter)
            pcr_buf_printf(out, "%s:-%c | ", command->name, option->letter);
        pcr_buf_printf(out, "%s:--%s) ", command->name, option->name);
        if (option->choices) {
            pcr_buf_text(out, "mapfile -t COMPREPLY < <(compgen -W '");
            spaced(out, option->choices);
            pcr_buf_text(out, "' -- \"$cur\"); ");
        } else if (pcr_docs_word_kind(option->metavar) != PCR_WORD_ANY) {
            pcr_buf_printf(out, "mapfile -t COMPREPLY < <(compgen -%c -- \"$cur\"); ",
                           pcr_docs_word_kind(option->metavar) == PCR_WORD_DIR ? 'd' : 'f');
        }
        pcr_buf_text(out, "return ;;\n");
    }
}

static void bash_options(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, "        %s) words='", command->name);
    for (size_t i = 0; i < n; i++)
        pcr_buf_printf(out, "%s--%s", i ? " " : "", options[i].name);
    pcr_buf_text(out, "' ;;\n");
}

static void bash_operands(struct pcr_buf *out, const struct pcr_cli_command *command) {
    if (!command->complete)
        return;
    pcr_buf_printf(out, "    %s) ", command->name);
    if (strcmp(command->complete, "file") == 0) {
        pcr_buf_text(out, "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n");
        return;
    }
    pcr_buf_text(out, "mapfile -t COMPREPLY < <(compgen -W '");
    if (strcmp(command->complete, "command") == 0) {
        command_names(out);
        pcr_buf_text(out, " exit-codes");
    } else {
        pcr_buf_text(out, command->complete);
    }
    pcr_buf_text(out, "' -- \"$cur\") ;;\n");
}

void pcr_completion_bash(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_text(out, "# bash completion for pacer, printed by: pacer completion bash\n"
                      "_pacer() {\n"
                      "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                      "    local command=${COMP_WORDS[1]} words=\n"
                      "    COMPREPLY=()\n"
                      "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                      "        mapfile -t COMPREPLY < <(compgen -W '");
    command_names(out);
    pcr_buf_text(out, " --help --version' -- \"$cur\")\n"
                      "        return\n"
                      "    fi\n"
                      "    case $command:$prev in\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            bash_values(out, commands[i]);
    pcr_buf_text(out, "    esac\n"
                      "    if [[ $cur == -* ]]; then\n"
                      "        case $command in\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            bash_options(out, commands[i]);
    pcr_buf_text(out, "        esac\n"
                      "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                      "        return\n"
                      "    fi\n"
                      "    case $command in\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            bash_operands(out, commands[i]);
    pcr_buf_text(out, "    esac\n"
                      "}\n"
                      "complete -o filenames -F _pacer pacer\n");
}

// --- zsh ----------------------------------------------------------------------------------------
static void zsh_option(struct pcr_buf *out, const struct pcr_cli_option *option) {
    pcr_buf_text(out, "            ");
    if (option->letter)
        pcr_buf_printf(out, "'(-%c --%s)'{-%c%s,--%s%s}'", option->letter, option->name,
                       option->letter, takes_value(option) ? "+" : "", option->name,
                       takes_value(option) ? "=" : "");
    else
        pcr_buf_printf(out, "'%s--%s%s", option->repeats ? "*" : "", option->name,
                       takes_value(option) ? "=" : "");
    pcr_buf_char(out, '[');
    quoted(out, option->help, "[]\\");
    pcr_buf_char(out, ']');
    if (takes_value(option)) {
        pcr_buf_char(out, ':');
        quoted(out, option->metavar, ":[]\\");
        pcr_buf_char(out, ':');
        if (option->choices) {
            pcr_buf_char(out, '(');
            spaced(out, option->choices);
            pcr_buf_char(out, ')');
        } else if (pcr_docs_word_kind(option->metavar) == PCR_WORD_DIR) {
            pcr_buf_text(out, "_files -/");
        } else if (pcr_docs_word_kind(option->metavar) == PCR_WORD_FILE) {
            pcr_buf_text(out, "_files");
        } else {
            pcr_buf_char(out, ' ');
        }
    }
    pcr_buf_text(out, "' \\\n");
}

static void zsh_command(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, "        %s) _arguments \\\n", command->name);
    for (size_t i = 0; i < n; i++)
        zsh_option(out, &options[i]);
    if (!command->complete)
        pcr_buf_text(out, "            ;;\n");
    else if (strcmp(command->complete, "file") == 0)
        pcr_buf_text(out, "            '*:file:_files' ;;\n");
    else if (strcmp(command->complete, "command") == 0)
        pcr_buf_text(out, "            \"1:topic:(${commands%%:*} exit-codes)\" ;;\n");
    else
        pcr_buf_printf(out, "            '1:word:(%s)' ;;\n", command->complete);
}

void pcr_completion_zsh(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_text(out, "#compdef pacer\n"
                      "# zsh completion for pacer, printed by: pacer completion zsh\n"
                      "_pacer() {\n"
                      "    local context state state_descr line\n"
                      "    typeset -A opt_args\n"
                      "    local -a commands\n"
                      "    commands=(\n");
    for (size_t i = 0; i < n; i++) {
        if (commands[i]->hidden)
            continue;
        pcr_buf_printf(out, "        '%s:", commands[i]->name);
        quoted(out, commands[i]->summary, ":\\");
        pcr_buf_text(out, "'\n");
    }
    pcr_buf_text(out, "    )\n"
                      "    _arguments -C '(-h --help)'{-h,--help}'[show help]' \\\n"
                      "        '(-V --version)'{-V,--version}'[show the version]' \\\n"
                      "        '1: :->command' '*:: :->rest'\n"
                      "    case $state in\n"
                      "    command) _describe -t commands command commands ;;\n"
                      "    rest)\n"
                      "        case $line[1] in\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            zsh_command(out, commands[i]);
    pcr_buf_text(out, "        esac ;;\n"
                      "    esac\n"
                      "}\n"
                      "if [ \"$funcstack[1]\" = _pacer ]; then\n"
                      "    _pacer \"$@\"\n"
                      "else\n"
                      "    compdef _pacer pacer\n"
                      "fi\n");
}

// --- fish ---------------------------------------------------------------------------------------
static void fish_option(struct pcr_buf *out, const char *command,
                        const struct pcr_cli_option *option) {
    pcr_buf_printf(out, "complete -c pacer -n '__fish_seen_subcommand_from %s' -l %s", command,
                   option->name);
    if (option->letter)
        pcr_buf_printf(out, " -s %c", option->letter);
    if (takes_value(option)) {
        if (option->choices) {
            pcr_buf_text(out, " -x -a '");
            spaced(out, option->choices);
            pcr_buf_char(out, '\'');
        } else if (pcr_docs_word_kind(option->metavar) == PCR_WORD_DIR) {
            pcr_buf_text(out, " -x -a '(__fish_complete_directories)'");
        } else if (pcr_docs_word_kind(option->metavar) == PCR_WORD_FILE) {
            pcr_buf_text(out, " -r -F");
        } else {
            pcr_buf_text(out, " -x");
        }
    }
    pcr_buf_text(out, " -d '");
    for (const char *c = option->help; *c; c++) {
        if (*c == '\'' || *c == '\\')
            pcr_buf_char(out, '\\');
        pcr_buf_char(out, *c);
    }
    pcr_buf_text(out, "'\n");
}

static void fish_command(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, "complete -c pacer -n __fish_use_subcommand -a %s -d '%s'\n", command->name,
                   command->summary);
    for (size_t i = 0; i < n; i++)
        fish_option(out, command->name, &options[i]);
    if (!command->complete)
        return;
    pcr_buf_printf(out, "complete -c pacer -n '__fish_seen_subcommand_from %s'", command->name);
    if (strcmp(command->complete, "file") == 0) {
        pcr_buf_text(out, " -F\n");
    } else {
        pcr_buf_text(out, " -a '");
        if (strcmp(command->complete, "command") == 0) {
            command_names(out);
            pcr_buf_text(out, " exit-codes");
        } else {
            pcr_buf_text(out, command->complete);
        }
        pcr_buf_text(out, "'\n");
    }
}

void pcr_completion_fish(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_text(out, "# fish completion for pacer, printed by: pacer completion fish\n"
                      "complete -c pacer -f\n"
                      "complete -c pacer -n __fish_use_subcommand -s h -l help -d 'show help'\n"
                      "complete -c pacer -n __fish_use_subcommand -s V -l version -d 'show the "
                      "version'\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            fish_command(out, commands[i]);
}
