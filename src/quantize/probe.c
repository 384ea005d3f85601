// SPDX-License-Identifier: Apache-2.0
#include "quantize/probe.h"

#define RUN_BYTES_MAX ((size_t)4 << 30)

// --- opening ------------------------------------------------------------------------------------
static bool is_output(const struct pcr_onnx_model *model, const char *name) {
    for (size_t i = 0; i < pcr_onnx_model_n_outputs(model); i++)
        if (strcmp(pcr_onnx_model_output(model, i), name) == 0)
            return true;
    return false;
}

static int open_packed(struct pcr_onnx_model *model, const struct pcr_probe_how *how,
                       struct pacer_session **out, struct pacer_error *err) {
    struct pcr_buf bytes;
    pcr_buf_init(&bytes, INT32_MAX);
    int code = pcr_onnx_model_pack(model, &bytes, err);
    const char *folder = pcr_onnx_model_folder(model);
    const struct pcr_session_trial trial = {.bytes = pcr_buf_view(&bytes),
                                            .name = how->name,
                                            .folder = folder ? folder : "/nowhere",
                                            .as_it_is = how->as_it_is,
                                            .threads = how->threads};
    if (code == 0)
        code = pcr_session_try(&trial, out, err);
    pcr_buf_fini(&bytes);
    return code;
}

int pcr_probe_open(struct pcr_onnx_model *model, const struct pcr_probe_how *how,
                   struct pacer_session **out, struct pacer_error *err) {
    size_t n = pcr_onnx_model_n_outputs(model);
    for (size_t i = 0; i < how->n_tensors; i++) {
        // Its type is for ONNX Runtime to find out.
        const struct pacer_tensor_info info = {.name = how->tensors[i]};
        if (!is_output(model, info.name))
            pcr_onnx_model_add_output(model, &info);
    }
    int code = open_packed(model, how, out, err);
    pcr_onnx_model_cut_outputs(model, n);
    return code;
}

// --- running ------------------------------------------------------------------------------------
static int run_batch(const struct pcr_probe_run *probe, size_t first, size_t n,
                     struct pacer_error *err) {
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n_outputs;
    pcr_arena_init(&arena, RUN_BYTES_MAX);
    struct pacer_tensor *inputs = pcr_data_views(probe->data, &arena);
    int code = inputs ? 0 : pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
    if (code == 0) {
        pcr_rows_inputs(probe->session, probe->data, first, n, inputs);
        const struct pacer_run run = {inputs, probe->data->n_tensors, probe->outputs,
                                      probe->n_outputs};
        code = pcr_session_run(probe->session, &run, &arena, &outputs, &n_outputs, err);
    }
    if (code == 0)
        code = probe->each(probe->ctx, outputs, n_outputs, first, n);
    pcr_arena_fini(&arena);
    return code;
}

int pcr_probe_run(const struct pcr_probe_run *probe, struct pacer_error *err) {
    size_t fixed = pcr_rows_batch(probe->session, 0);
    size_t batch = fixed ? fixed : probe->batch;
    int code = 0;
    if (probe->rows < fixed)
        return pcr_err(err, PACER_EINVAL, "quantize",
                       "the model takes %zu rows at a time, and there are %zu", fixed, probe->rows);
    for (size_t row = 0; row < probe->rows && code == 0; row += batch) {
        size_t left = probe->rows - row, n = left < batch ? left : batch;
        if (fixed && n < fixed)
            break; // what does not fill a run is left out
        code = run_batch(probe, row, n, err);
    }
    return code;
}
