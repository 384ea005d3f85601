// SPDX-License-Identifier: Apache-2.0
// Models in which some layers are INT8, and models of one layer alone.
#include "quantize/job_priv.h"

int pcr_quant_variant_make(struct pcr_quant_job *job) {
    pcr_onnx_model_restore(job->model, job->fp32);
    pcr_onnx_model_modernize(job->model);
    if (job->plan.opset > pcr_onnx_model_opset(job->model, ""))
        pcr_onnx_model_set_opset(job->model, "", job->plan.opset);
    pcr_onnx_model_set_metadata(job->model, PCR_QUANTIZED_FROM, job->report->source_version);
    return job->how.is_static ? pcr_quant_qdq(&job->plan, &job->tensors, &job->how, job->err)
                              : pcr_quant_dynamic(&job->plan, &job->how, job->err);
}

int pcr_quant_variant_open(struct pcr_quant_job *job, struct pacer_session **out) {
    const struct pcr_probe_how how = {.name = "the quantized model",
                                      .threads = job->options.threads};
    return pcr_probe_open(job->model, &how, out, job->err);
}

const char *pcr_quant_layer_output(const struct pcr_quant_layer *layer) {
    const struct pcr_onnx_node *node = layer->cutter ? layer->cutter : layer->node;
    size_t i = 0;
    while (i + 1 < pcr_onnx_node_n_outputs(node) && !*pcr_onnx_node_output(node, i))
        i++; // the first that somebody wants
    return pcr_onnx_node_output(node, i);
}

// --- one layer alone ----------------------------------------------------------------------------
size_t pcr_quant_layer_flows(const struct pcr_quant_job *job, size_t layer,
                             const char *flows[PCR_QUANT_FLOWS_MAX]) {
    const struct pcr_onnx_node *node = job->plan.layers[layer].node;
    size_t n = 0;
    for (size_t i = 0; i < pcr_onnx_node_n_inputs(node) && n < PCR_QUANT_FLOWS_MAX; i++) {
        const char *name = pcr_onnx_node_input(node, i);
        if (*name && !pcr_onnx_model_has_constant(job->model, name))
            flows[n++] = name;
    }
    return n;
}

static const struct pacer_tensor_info *info_of(const struct pacer_session *session,
                                               const char *name) {
    size_t n;
    const struct pacer_tensor_info *infos = pacer_session_outputs(session, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(infos[i].name, name) == 0)
            return &infos[i];
    infos = pacer_session_inputs(session, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(infos[i].name, name) == 0)
            return &infos[i];
    return NULL;
}

static int add_inputs(struct pcr_quant_job *job, size_t layer, const struct pacer_session *probe,
                      struct pcr_onnx_model *model) {
    const char *flows[PCR_QUANT_FLOWS_MAX];
    size_t n = pcr_quant_layer_flows(job, layer, flows);
    for (size_t i = 0; i < n; i++) {
        const struct pacer_tensor_info *seen = info_of(probe, flows[i]);
        if (!seen)
            return pcr_err(job->err, PACER_EINTERNAL, "quantize", "'%.100s' was not seen",
                           flows[i]);
        // Shapes may be tied to others that are not there: only the number of dimensions is kept.
        int64_t free_shape[PACER_RANK_MAX];
        struct pacer_tensor_info info = *seen;
        for (size_t k = 0; k < info.rank; k++)
            free_shape[k] = -1;
        info.shape = info.shape ? free_shape : NULL;
        pcr_onnx_model_add_input(model, &info);
    }
    return 0;
}

static void add_constants(struct pcr_quant_job *job, const struct pcr_onnx_node *node,
                          struct pcr_onnx_model *model) {
    for (size_t i = 0; i < pcr_onnx_node_n_inputs(node); i++) {
        const char *name = pcr_onnx_node_input(node, i);
        const struct pcr_onnx_constant *constant = pcr_onnx_model_constant(job->model, name);
        if (constant && !pcr_onnx_model_has_constant(model, name))
            pcr_onnx_model_put_constant_as(model, constant, name);
    }
}

static int make_layer(struct pcr_quant_job *job, size_t i, const struct pacer_session *probe,
                      struct pcr_onnx_model *model) {
    const struct pcr_quant_layer *layer = &job->plan.layers[i];
    struct pcr_onnx_node *nodes[2] = {pcr_onnx_node_copy(model, layer->node), NULL};
    int code = add_inputs(job, i, probe, model);
    if (code < 0)
        return code;
    add_constants(job, layer->node, model);
    if (layer->cutter) {
        nodes[1] = pcr_onnx_node_copy(model, layer->cutter);
        add_constants(job, layer->cutter, model);
    }
    const struct pacer_tensor_info output = {.name = pcr_quant_layer_output(layer)};
    pcr_onnx_model_add_output(model, &output);
    if (nodes[0] && (nodes[1] || !layer->cutter))
        pcr_onnx_model_set_nodes(model, nodes, layer->cutter ? 2 : 1);
    if (pcr_onnx_model_opset(job->model, "com.microsoft"))
        pcr_onnx_model_set_opset(model, "com.microsoft", 1);
    return pcr_onnx_model_check_memory(model, job->err);
}

static int quantize_layer(struct pcr_quant_job *job, size_t layer, struct pcr_onnx_model *model) {
    size_t n;
    struct pcr_quant_layer alone = job->plan.layers[layer];
    alone.node = pcr_onnx_model_nodes(model, &n)[0];
    alone.is_left = false;
    alone.cutter = NULL;
    struct pcr_quant_plan plan = {.model = model, .layers = &alone, .n = 1};
    return job->how.is_static ? pcr_quant_qdq(&plan, &job->tensors, &job->how, job->err)
                              : pcr_quant_dynamic(&plan, &job->how, job->err);
}

int pcr_quant_variant_layer(struct pcr_quant_job *job, size_t layer, bool int8,
                            const struct pacer_session *probe, struct pacer_session **out) {
    struct pcr_onnx_model *model = NULL;
    pcr_onnx_model_restore(job->model, job->fp32);
    // Weights that were not made yet must be the whole model's, or they would go with this one.
    int code =
        int8 ? pcr_quant_weights_make(job->model, &job->plan.layers[layer], &job->how, job->err)
             : 0;
    if (code == 0)
        code = pcr_onnx_model_create("layer", job->plan.opset, &model, job->err);
    if (code < 0 || !model)
        return code;
    pcr_onnx_model_set_folder(model, job->model);
    code = make_layer(job, layer, probe, model);
    if (code == 0 && int8)
        code = quantize_layer(job, layer, model);
    const struct pcr_probe_how how = {.name = job->plan.layers[layer].name,
                                      .threads = job->options.threads};
    if (code == 0)
        code = pcr_probe_open(model, &how, out, job->err);
    pcr_onnx_model_destroy(model);
    return code;
}
