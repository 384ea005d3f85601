// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#define OPTION_COLUMN 28 // where the explanations begin
#define COLUMNS_MAX 80

static const char *bold(bool color) {
    return color ? "\033[1m" : "";
}
static const char *plain(bool color) {
    return color ? "\033[0m" : "";
}

// Appends words with line breaks so that no line passes COLUMNS_MAX; `indent` spaces before each
// further line.
static void wrap(struct pcr_buf *out, const char *text, size_t column, size_t indent) {
    struct pcr_str rest = pcr_str(text), word;
    bool first = true;
    while (pcr_str_split(&rest, ' ', &word)) {
        if (!first && column + 1 + word.len > COLUMNS_MAX) {
            pcr_buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            pcr_buf_char(out, ' ');
            column++;
        }
        pcr_buf_str(out, word);
        column += word.len;
        first = false;
    }
    pcr_buf_char(out, '\n');
}

// "  -j, --json        text"
static void option_line(struct pcr_buf *out, const struct pcr_cli_option *option) {
    char left[128];
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int length = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name,
                          option->metavar ? " " : "", option->metavar ? option->metavar : "");
    if (length + 2 > OPTION_COLUMN)
        pcr_buf_printf(out, "%s\n%*s", left, OPTION_COLUMN, "");
    else
        pcr_buf_printf(out, "%-*s", OPTION_COLUMN, left);
    char text[512];
    const char *forms = option->forms ? option->forms : option->choices;
    bool has_default = option->default_text && *option->default_text && !option->is_switch;
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s", option->help, forms || has_default ? " (" : "",
             forms ? forms : "", forms && has_default ? "; " : "", has_default ? "default " : "",
             has_default ? option->default_text : "", forms || has_default ? ")" : "");
    wrap(out, text, OPTION_COLUMN, OPTION_COLUMN);
}

void pcr_cli_help_main(struct pcr_buf *out, bool color) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_printf(out, "%spacer%s: validated decisions from small models, in one program\n\n",
                   bold(color), plain(color));
    pcr_buf_printf(out, "%sUsage:%s pacer COMMAND [OPTION…] [ARGUMENT…]\n\n%sCommands:%s\n",
                   bold(color), plain(color), bold(color), plain(color));
    for (size_t i = 0; i < n; i++) {
        if (commands[i]->hidden)
            continue;
        pcr_buf_printf(out, "  %-14s", commands[i]->name);
        wrap(out, commands[i]->summary, 16, 16);
    }
    pcr_buf_printf(out, "\n%sOptions:%s\n", bold(color), plain(color));
    pcr_buf_text(out, "  -h, --help    show this help; after a command, that command's\n"
                      "  -V, --version show the version\n\n");
    pcr_cli_help_exit_codes(out);
    pcr_buf_text(out, "\nSee also pacer(1), and 'pacer help COMMAND'.\n");
}

void pcr_cli_help_command(struct pcr_buf *out, const struct pcr_cli_command *command, bool color) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, "%sUsage:%s pacer %s [OPTION…]%s%s\n\n", bold(color), plain(color),
                   command->name, *command->operands ? " " : "", command->operands);
    pcr_buf_printf(out, "%s\n\n%sOptions:%s\n", command->text, bold(color), plain(color));
    for (size_t i = 0; i < n; i++)
        option_line(out, &options[i]);
    pcr_buf_text(out, "\nExit codes: see 'pacer help exit-codes'.\n");
}

void pcr_cli_help_exit_codes(struct pcr_buf *out) {
    pcr_buf_text(out, "Exit codes:\n");
#define EXIT_CODE(name, number, text) pcr_buf_printf(out, "  %d  %s\n", number, text);
#include "cli/exit_codes.def"
}
