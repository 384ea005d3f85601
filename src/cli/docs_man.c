// SPDX-License-Identifier: Apache-2.0
// docs/pacer.1, in the man macros.
#include "cli/docs.h"

// Appends text as roff: nothing in it is taken for a command. `x` in backquotes becomes bold.
static void roff(struct pcr_buf *out, const char *text) {
    bool bold = false, line_start = true;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (line_start && (*c == '.' || *c == '\''))
            pcr_buf_text(out, "\\&");
        line_start = *c == '\n';
        if (*c == '`') {
            bold = !bold;
            pcr_buf_text(out, bold ? "\\fB" : "\\fR");
        } else if (*c == '\\') {
            pcr_buf_text(out, "\\e");
        } else if (*c == '-') {
            pcr_buf_text(out, "\\-");
        } else if (c[0] == 0xe2 && c[1] == 0x80 && c[2] == 0xa6) { // "…"
            pcr_buf_text(out, "...");
            c += 2;
        } else {
            pcr_buf_char(out, (char)*c);
        }
    }
}

static void sentence(struct pcr_buf *out, const char *help) {
    struct pcr_buf text;
    pcr_buf_init(&text, 1024);
    pcr_docs_sentence(&text, help);
    roff(out, text.data);
    pcr_buf_fini(&text);
}

static void option_entry(struct pcr_buf *out, const struct pcr_cli_option *option) {
    pcr_buf_text(out, ".TP\n");
    if (option->letter)
        pcr_buf_printf(out, "\\fB\\-%c\\fR, ", option->letter);
    pcr_buf_text(out, "\\fB\\-\\-");
    roff(out, option->name);
    pcr_buf_text(out, "\\fR");
    if (option->metavar) {
        pcr_buf_text(out, " \\fI");
        roff(out, option->metavar);
        pcr_buf_text(out, "\\fR");
    }
    pcr_buf_char(out, '\n');
    sentence(out, option->help);
    pcr_buf_char(out, '\n');
}

// Paragraphs stay as they are laid out: some hold examples.
static void command_entry(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, ".SS \"pacer %s", command->name);
    pcr_buf_text(out, *command->operands ? " " : "");
    roff(out, command->operands);
    pcr_buf_text(out, "\"\n.nf\n");
    roff(out, command->text);
    pcr_buf_text(out, "\n.fi\n");
    for (size_t i = 0; i + 1 < n; i++) // all but --help
        option_entry(out, &options[i]);
}

static void key_entry(struct pcr_buf *out, const struct pcr_option *option) {
    pcr_buf_text(out, ".TP\n\\fB");
    roff(out, option->key);
    pcr_buf_text(out, "\\fR (");
    struct pcr_buf type;
    pcr_buf_init(&type, 1024);
    pcr_docs_type(&type, option);
    roff(out, type.data);
    pcr_buf_fini(&type);
    if (option->required) {
        pcr_buf_text(out, "; required");
    } else if (option->default_text && *option->default_text) {
        pcr_buf_text(out, "; default ");
        roff(out, option->default_text);
    }
    pcr_buf_text(out, ")\n");
    sentence(out, option->help);
    if (option->more) {
        pcr_buf_char(out, '\n');
        roff(out, option->more);
    }
    if (option->restart)
        roff(out, "\nA change needs a restart.");
    pcr_buf_char(out, '\n');
}

static void configuration(struct pcr_buf *out) {
    size_t n, n_sections;
    pcr_buf_text(out, ".SH CONFIGURATION\n");
    roff(
        out,
        "One YAML file. Sizes are in bytes or have a unit (`64KiB`, `1MB`), times are in the unit\n"
        "that the key's name ends in or have one (`250ms`, `30s`, `5min`, `1h`). Relative paths "
        "start\n"
        "at the file's directory. `${NAME}` and `${NAME:-default}` in a value stand for "
        "environment\n"
        "variables, `$$` for a dollar sign. What they hold is not shown in messages.\n");
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n);
    for (size_t i = 0; i < n; i++)
        key_entry(out, &options[i]);
    const struct pcr_docs_section *sections = pcr_docs_sections(&n_sections);
    for (size_t i = 0; i < n_sections; i++) {
        pcr_buf_printf(out, ".SS \"%s\"\n", sections[i].title);
        roff(out, sections[i].intro);
        pcr_buf_char(out, '\n');
        options = pcr_options(sections[i].table, &n);
        for (size_t j = 0; j < n; j++)
            key_entry(out, &options[j]);
    }
}

void pcr_docs_man(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_text(out,
                 ".\\\" SPDX-License-Identifier: Apache-2.0\n"
                 ".\\\" Made from the tables in src/config/options.def and src/cli by make docs.\n"
                 ".TH PACER 1 \"\" pacer \"User Commands\"\n"
                 ".SH NAME\npacer \\- validated decisions from small models, in one program\n"
                 ".SH SYNOPSIS\n.B pacer\n.I COMMAND\n[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n"
                 ".SH DESCRIPTION\n");
    roff(out,
         "pacer serves ONNX models and decisions made from them over HTTP: the Open Inference\n"
         "Protocol (v2) for models, and a path of its own for each decision, whose answers are\n"
         "checked against a JSON Schema before they leave. Options may stand anywhere after the\n"
         "command; `--` ends them. Data goes to standard output, messages to standard error.\n");
    pcr_buf_text(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            command_entry(out, commands[i]);
    configuration(out);
    pcr_buf_text(out, ".SH \"EXIT STATUS\"\n");
#define EXIT_CODE(name, number, text)            \
    pcr_buf_printf(out, ".TP\n.B %d\n", number); \
    roff(out, text);                             \
    pcr_buf_text(out, "\n");
#include "cli/exit_codes.def"
    pcr_buf_text(out, ".SH SIGNALS\n");
    roff(out,
         "`SIGTERM` and `SIGINT` make `pacer serve` finish the running requests and end. `SIGHUP`\n"
         "makes it read configuration and models anew; if something is wrong with them, it goes\n"
         "on as before.\n");
    pcr_buf_text(out, ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nIf set, no colour is used.\n"
                      ".TP\n.B NOTIFY_SOCKET\nWhere a service manager is told of readiness.\n"
                      ".SH EXAMPLES\n.nf\n");
    roff(out, "pacer check pacer.yaml && pacer serve pacer.yaml\n"
              "pacer run models/regime.onnx --input request.json\n"
              "pacer inspect --json models/regime.onnx\n");
    pcr_buf_text(out, ".fi\n");
}
