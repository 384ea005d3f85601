// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "infer/infer.h"
#include "json/json.h"

#include <pacer/pacer.h>

static void write_json(struct pcr_buf *out) {
    struct pcr_json_writer writer;
    pcr_json_writer_init(&writer, out);
    pcr_json_object_begin(&writer);
    pcr_json_key(&writer, "version");
    pcr_json_text(&writer, pacer_version());
    pcr_json_key(&writer, "onnxruntime");
    pcr_json_text(&writer, pcr_infer_runtime_version());
    pcr_json_object_end(&writer);
    pcr_buf_char(out, '\n');
}

static int run(const struct pcr_cli_args *args) {
    struct pcr_buf text;
    pcr_buf_init(&text, 4096);
    if (pcr_cli_has(args, "json"))
        write_json(&text);
    else
        pcr_buf_printf(&text, "pacer %s (ONNX Runtime %s)\n", pacer_version(),
                       pcr_infer_runtime_version());
    int rc = pcr_cli_print(&text);
    pcr_buf_fini(&text);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "json", .letter = 'j', .help = "as one JSON object"},
};

const struct pcr_cli_command pcr_cmd_version = {
    .name = "version",
    .operands = "",
    .summary = "show the version of pacer and of ONNX Runtime",
    .text = "Shows the version of pacer and of the ONNX Runtime it runs with.",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .run = run,
};
