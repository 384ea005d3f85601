// SPDX-License-Identifier: Apache-2.0
// docs/configuration.md, docs/cli.md and the annotated sample file.
//
// Prose that belongs to no row (how values are written, what wins over what) stands here as text;
// all else is read from the tables, defaults and bounds included, so a page cannot say something
// else than the program does. A test holds the committed files against what this writes, and
// another loads the sample file.
//
// In the sample every key is set to its default rather than commented out: it can be checked as it
// stands, and a key that is renamed makes that check fail.
#include "cli/docs.h"

static const char made[] =
    "made from the tables in src/config/options.def and src/cli by `make docs`";

// --- docs/configuration.md ----------------------------------------------------------------------
static const char configuration_intro[] =
    "# Configuration\n"
    "\n"
    "<!-- %s -->\n"
    "\n"
    "One YAML file, given to `pacer serve` and `pacer check`. Every key has a default, so an empty "
    "file\n"
    "is a configuration; `etc/pacer.sample.yaml` lists them all. What is wrong with a file is told "
    "all\n"
    "at once, with line and column:\n"
    "\n"
    "```console\n"
    "$ pacer check pacer.yaml\n"
    "pacer.yaml:2:1: unknown key 'modles_dir'; did you mean 'models_dir'?\n"
    "pacer.yaml:5:20: http.idle_timeout_ms: '5 parsecs' is not a time, such as 250 (milliseconds), "
    "250ms, 30s or 5min\n"
    "pacer: 2 faults in pacer.yaml\n"
    "```\n"
    "\n"
    "## Values\n"
    "\n"
    "- **Sizes** are in bytes, or with a unit: `64KiB`, `1.5MiB`, `2GiB` (powers of 1024), "
    "`10kB`,\n"
    "  `5MB`, `1GB` (powers of 1000).\n"
    "- **Times** are in the unit that the key's name ends in (`_ms`, `_s`), or with one: `250ms`, "
    "`30s`,\n"
    "  `5min`, `1h`, `1d`.\n"
    "- **Paths** that are relative start at the configuration file's directory.\n"
    "- **Environment variables**: `${NAME}` in a value is replaced by what the variable holds,\n"
    "  `${NAME:-default}` by the default where the variable is not set or empty; without a "
    "default\n"
    "  that is a fault. `$$` is a dollar sign, so `$${` is `${`. It happens after the file was "
    "parsed:\n"
    "  a variable cannot add keys, and keys are not looked through. A message about a value shows "
    "the\n"
    "  text of the file, `${NAME}`, and not what the variable holds, which may be a secret.\n"
    "- Anchors, aliases, tags, a second document and doubled keys are refused. A file is at most 1 "
    "MiB.\n"
    "- Any scalar key can be set on the command line: `--set http.idle_timeout_ms=5s`. The command "
    "line\n"
    "  wins over the file.\n"
    "\n"
    "`SIGHUP` makes a running server read the file again and look at the models anew. All of it\n"
    "takes effect or, where anything is wrong, none of it. The few keys that need a restart say "
    "so\n"
    "below; a changed one is named in the log.\n";

static void cell_text(struct pcr_buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            pcr_buf_char(out, '\\');
        pcr_buf_char(out, *text);
    }
}

static void option_row(struct pcr_buf *out, const char *key, const struct pcr_option *option) {
    pcr_buf_printf(out, "| `%s` | ", key);
    pcr_docs_type(out, option);
    pcr_buf_text(out, " | ");
    if (option->required)
        pcr_buf_text(out, "required");
    else if (option->default_text && *option->default_text)
        pcr_buf_printf(out, "`%s`", option->default_text);
    else
        pcr_buf_text(out, "none");
    pcr_buf_text(out, " | ");
    pcr_docs_sentence(out, option->help);
    if (option->more) {
        pcr_buf_char(out, ' ');
        cell_text(out, option->more);
    }
    if (option->restart)
        pcr_buf_text(out, " A change needs a restart.");
    if (option->flag)
        pcr_buf_printf(out, " Flag: `--%s`.", option->flag);
    pcr_buf_text(out, " |\n");
}

static void table_head(struct pcr_buf *out) {
    pcr_buf_text(out, "| Key | Type | Default | What it is |\n|---|---|---|---|\n");
}

static bool in_section(const struct pcr_option *option, const char *section) {
    size_t length = strlen(section);
    return strncmp(option->key, section, length) == 0 && option->key[length] == '.';
}

static void config_tables(struct pcr_buf *out) {
    size_t n;
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n);
    pcr_buf_text(out, "\n## Top level\n\n");
    table_head(out);
    for (size_t i = 0; i < n; i++)
        if (!strchr(options[i].key, '.'))
            option_row(out, options[i].key, &options[i]);
    for (size_t i = 0; i < n; i++) {
        if (options[i].type != PCR_OPTION_SECTION)
            continue;
        pcr_buf_printf(out, "\n## `%s`: ", options[i].key);
        pcr_buf_printf(out, "%s\n\n", options[i].help);
        table_head(out);
        for (size_t j = 0; j < n; j++)
            if (in_section(&options[j], options[i].key))
                option_row(out, pcr_option_leaf(&options[j]), &options[j]);
    }
}

static const char decision_example[] =
    "decisions:\n"
    "  - path: /api/coach/recommend\n"
    "    model: regime\n"
    "    features:\n"
    "      - return_5d\n"
    "      - return_20d: 0.01\n"
    "      - {name: volatility_20d, baseline: 0.008, label: 20-day volatility}\n"
    "    actions: {calm: deposit, choppy: hold, stress: rebalance}\n"
    "    min_confidence: 0.5\n"
    "    fallback_action: hold\n"
    "    limits:\n"
    "      max_amount: {field: context.disposable_income, times: 0.25, min: 0, max: 1000}\n"
    "    contract: contracts/recommendation.schema.json\n"
    "models:\n"
    "  regime: {use_quantized: false, intra_op_threads: 1, max_batch_size: 64}\n";

void pcr_docs_configuration(struct pcr_buf *out) {
    size_t n, n_sections;
    pcr_buf_printf(out, configuration_intro, made);
    config_tables(out);
    pcr_buf_printf(out, "\n## Decisions and models\n\n```yaml\n%s```\n", decision_example);
    const struct pcr_docs_section *sections = pcr_docs_sections(&n_sections);
    for (size_t i = 0; i < n_sections; i++) {
        const struct pcr_option *options = pcr_options(sections[i].table, &n);
        pcr_buf_printf(out, "\n### %s\n\n%s\n\n", sections[i].title, sections[i].intro);
        table_head(out);
        for (size_t j = 0; j < n; j++)
            option_row(out, options[j].key, &options[j]);
    }
}

// --- docs/cli.md --------------------------------------------------------------------------------
static void markdown_command(struct pcr_buf *out, const struct pcr_cli_command *command) {
    struct pcr_cli_option options[PCR_CLI_OPTIONS_MAX];
    size_t n = pcr_cli_options(command, options);
    pcr_buf_printf(out, "\n## pacer %s\n\n", command->name);
    pcr_docs_sentence(out, command->summary);
    pcr_buf_printf(out, "\n\n```\npacer %s [OPTION…]%s%s\n\n%s\n```\n", command->name,
                   *command->operands ? " " : "", command->operands, command->text);
    pcr_buf_text(out, "\n| Option | What it does |\n|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        pcr_buf_text(out, "| ");
        if (options[i].letter)
            pcr_buf_printf(out, "`-%c`, ", options[i].letter);
        pcr_buf_printf(out, "`--%s%s", options[i].name, options[i].metavar ? " " : "");
        cell_text(out, options[i].metavar ? options[i].metavar : "");
        pcr_buf_text(out, "` | ");
        pcr_docs_sentence(out, options[i].help);
        if (options[i].config_key)
            pcr_buf_printf(out, " Key `%s`.", options[i].config_key);
        pcr_buf_text(out, " |\n");
    }
}

void pcr_docs_cli(struct pcr_buf *out) {
    size_t n;
    const struct pcr_cli_command *const *commands = pcr_cli_commands(&n);
    pcr_buf_printf(out, "# The command line\n\n<!-- %s -->\n\n", made);
    pcr_buf_text(
        out,
        "Options may stand anywhere after the command; `--` ends them. A value follows after a\n"
        "space or `=`. Data goes to standard output, messages to standard error. Colour is used\n"
        "on a terminal only, and not if `NO_COLOR` is set.\n\n"
        "| Exit code | Meaning |\n|---|---|\n");
#define EXIT_CODE(name, number, text) pcr_buf_printf(out, "| %d | %s |\n", number, text);
#include "cli/exit_codes.def"
    for (size_t i = 0; i < n; i++)
        if (!commands[i]->hidden)
            markdown_command(out, commands[i]);
}

// --- etc/pacer.sample.yaml ----------------------------------------------------------------------
#define SAMPLE_COLUMNS 88

static void comment(struct pcr_buf *out, const char *indent, const char *text) {
    struct pcr_str rest = pcr_str(text), word;
    size_t column = SAMPLE_COLUMNS;
    bool first = true;
    while (pcr_str_split(&rest, ' ', &word)) {
        if (column + 1 + word.len > SAMPLE_COLUMNS) {
            pcr_buf_printf(out, "%s%s# ", first ? "" : "\n", indent);
            column = strlen(indent) + 2;
        } else {
            pcr_buf_char(out, ' ');
            column++;
        }
        pcr_buf_str(out, word);
        column += word.len;
        first = false;
    }
    pcr_buf_char(out, '\n');
}

static void comment_option(struct pcr_buf *out, const char *indent,
                           const struct pcr_option *option) {
    struct pcr_buf text;
    pcr_buf_init(&text, 4096);
    pcr_docs_sentence(&text, option->help);
    if (option->more)
        pcr_buf_printf(&text, " %s", option->more);
    if (option->restart)
        pcr_buf_text(&text, " A change needs a restart.");
    if (option->type < PCR_OPTION_SECTION && option->type != PCR_OPTION_BOOL &&
        (option->max > 0 || option->choices)) {
        pcr_buf_text(&text, " (");
        pcr_docs_type(&text, option);
        pcr_buf_text(&text, ")");
    }
    comment(out, indent, text.data);
    pcr_buf_fini(&text);
}

void pcr_docs_sample(struct pcr_buf *out) {
    size_t n;
    const struct pcr_option *options = pcr_options(PCR_OPTIONS_CONFIG, &n);
    pcr_buf_text(
        out, "# Every key of pacer's configuration with its default; a file of your own needs only "
             "what\n"
             "# differs. Reference: docs/configuration.md. Check a file with: pacer check FILE\n#\n"
             "# It passes as it is where a folder of models, models_dir, lies beside it.\n#\n");
    pcr_buf_printf(out, "# (%s)\n", made);
    for (size_t i = 0; i < n; i++) {
        const struct pcr_option *option = &options[i];
        const char *indent = strchr(option->key, '.') ? "  " : "";
        pcr_buf_char(out, '\n');
        comment_option(out, indent, option);
        if (option->type == PCR_OPTION_SECTION)
            pcr_buf_printf(out, "%s:\n", option->key);
        else if (option->type == PCR_OPTION_LIST || option->type == PCR_OPTION_DECISIONS)
            pcr_buf_printf(out, "%s%s: []\n", indent, pcr_option_leaf(option));
        else if (option->type == PCR_OPTION_MODELS)
            pcr_buf_printf(out, "%s: {}\n", option->key);
        else if (!option->default_text)
            pcr_buf_printf(out, "%s# %s: %s\n", indent, pcr_option_leaf(option), option->example);
        else
            pcr_buf_printf(out, "%s%s: %s\n", indent, pcr_option_leaf(option),
                           option->default_text);
    }
    pcr_buf_text(out, "\n# A decision and a model's settings, as an example:\n#\n");
    struct pcr_str rest = pcr_str(decision_example), line;
    while (pcr_str_split(&rest, '\n', &line))
        if (line.len > 0)
            pcr_buf_printf(out, "# %.*s\n", PCR_STR_ARG(line));
}
