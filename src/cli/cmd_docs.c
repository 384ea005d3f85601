// SPDX-License-Identifier: Apache-2.0
// Writes what is made from the tables of options and commands into a source tree. For developers:
// `make docs`.
#include "cli/cli.h"

struct document {
    const char *path;
    void (*write)(struct pcr_buf *out);
};
static const struct document documents[] = {
    {"docs/pacer.1", pcr_docs_man},
    {"docs/cli.md", pcr_docs_cli},
    {"docs/configuration.md", pcr_docs_configuration},
    {"etc/pacer.sample.yaml", pcr_docs_sample},
    {"etc/completion/pacer.bash", pcr_completion_bash},
    {"etc/completion/_pacer", pcr_completion_zsh},
    {"etc/completion/pacer.fish", pcr_completion_fish},
};

static int write_one(const struct document *document, const char *root) {
    struct pcr_buf text;
    struct pacer_error err;
    char path[4096];
    pcr_buf_init(&text, 1 << 20);
    document->write(&text);
    int rc = PCR_EXIT_OK;
    if (text.failed ||
        snprintf(path, sizeof path, "%s/%s", root, document->path) >= (int)sizeof path)
        rc = pcr_cli_fail(PCR_EXIT_FAILURE, "cannot make %s", document->path);
    else if (pcr_file_write(path, pcr_buf_view(&text), &err) < 0)
        rc = pcr_cli_fail(PCR_EXIT_FAILURE, "%s", err.message);
    else
        printf("%s\n", document->path);
    pcr_buf_fini(&text);
    return rc;
}

static int run(const struct pcr_cli_args *args) {
    for (size_t i = 0; i < PCR_COUNT_OF(documents); i++) {
        int rc = write_one(&documents[i], args->operands[0]);
        if (rc != PCR_EXIT_OK)
            return rc;
    }
    return PCR_EXIT_OK;
}

const struct pcr_cli_command pcr_cmd_docs = {
    .name = "docs",
    .operands = "ROOT",
    .summary = "write the generated documents into a source tree",
    .text = "Writes manual page, reference pages, sample configuration and completion\n"
            "scripts below ROOT, where docs/, etc/ and etc/completion/ have to be there.",
    .n_operands_min = 1,
    .n_operands_max = 1,
    .hidden = true,
    .run = run,
};
