// SPDX-License-Identifier: Apache-2.0
// ONNX files: the walk, the summary, single tensors, and models that are saved again. What the walk
// lets through must have a location it may follow or a reason why not, and a summary must add up.
#include "onnx/model.h"
#include "onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int see_external(void *ctx, const struct pcr_onnx_external *external,
                        struct pacer_error *err) {
    (void)err;
    const struct pcr_str *file = ctx;
    struct pcr_str location = external->location;
    PCR_ASSERT(location.len == 0 ||
               (location.ptr >= file->ptr && location.ptr + location.len <= file->ptr + file->len));
    const char *fault = pcr_onnx_location_fault(location);
    PCR_ASSERT(fault || (location.len > 0 && location.ptr[0] != '/'));
    return 0;
}

static int see_value(void *ctx, const struct pcr_onnx_value *value, struct pacer_error *err) {
    (void)ctx, (void)err;
    PCR_ASSERT(value->name.ptr != NULL);
    return 0;
}

static void summarize(struct pcr_str file, bool is_model) {
    struct pcr_arena arena;
    struct pcr_onnx_summary summary;
    struct pacer_error err = {0};
    pcr_arena_init(&arena, 64 << 20);
    int code = pcr_onnx_summarize(file, &arena, &summary, &err);
    PCR_ASSERT(is_model || code < 0);
    PCR_ASSERT((code < 0) == (err.message[0] != '\0'));
    size_t nodes = 0;
    for (size_t i = 0; code == 0 && i < summary.n_operators; i++)
        nodes += summary.operators[i].count;
    PCR_ASSERT(code < 0 || nodes == summary.n_nodes);
    pcr_arena_fini(&arena);
}

static void name_classes(struct pcr_str file) {
    static const char *const outputs[] = {"probabilities", "odds"};
    struct pcr_arena arena;
    struct pcr_onnx_labels labels[2];
    pcr_arena_init(&arena, 64 << 20);
    PCR_ASSERT(pcr_onnx_labels(file, outputs, 2, &arena, labels) == 0);
    for (size_t i = 0; i < 2; i++) {
        PCR_ASSERT((labels[i].names != NULL) == (labels[i].n > 0));
        for (size_t k = 0; k < labels[i].n; k++)
            PCR_ASSERT(labels[i].names[k][0] != '\0');
    }
    pcr_arena_fini(&arena);
}

static struct pcr_onnx_model *parse(struct pcr_str bytes) {
    struct pcr_buf file;
    struct pcr_onnx_model *model = NULL;
    pcr_buf_init(&file, 64 << 20);
    pcr_buf_str(&file, bytes);
    return pcr_onnx_model_parse(&file, NULL, &model, NULL) == 0 ? model : NULL;
}

static struct pcr_buf pack(struct pcr_onnx_model *model) {
    struct pcr_buf bytes;
    pcr_buf_init(&bytes, 64 << 20);
    PCR_ASSERT(pcr_onnx_model_pack(model, &bytes, NULL) == 0);
    return bytes;
}

// What was read and written once is read and written the same ever after.
static void save_again(struct pcr_str file) {
    struct pcr_onnx_model *model = parse(file);
    if (!model)
        return;
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < pcr_onnx_node_n_inputs(nodes[i]); k++) {
            const struct pcr_onnx_constant *constant =
                pcr_onnx_model_constant(model, pcr_onnx_node_input(nodes[i], k));
            struct pcr_onnx_numbers numbers;
            if (constant && pcr_onnx_numbers_get(model, constant, &numbers, NULL) == 0)
                pcr_onnx_numbers_fini(&numbers);
        }
    struct pcr_buf first = pack(model);
    pcr_onnx_model_destroy(model);
    model = parse(pcr_buf_view(&first));
    PCR_ASSERT(model);
    struct pcr_buf second = pack(model);
    PCR_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    pcr_onnx_model_destroy(model);
    pcr_buf_fini(&first);
    pcr_buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct pcr_onnx_visitor visitor = {see_external, see_value, NULL};
    struct pcr_str file = {(const char *)data, size};
    struct pacer_error err = {0};
    int code = pcr_onnx_scan(file, &visitor, &file, &err);
    PCR_ASSERT(code == 0 || (code == PACER_EMODEL && err.message[0]));
    summarize(file, code == 0);
    if (code == 0) {
        name_classes(file);
        save_again(file);
    }
    struct pcr_arena arena;
    struct pacer_tensor tensor;
    size_t count;
    pcr_arena_init(&arena, 64 << 20);
    if (pcr_onnx_tensor(file, &arena, &tensor, NULL) == 0)
        PCR_ASSERT(pacer_shape_count(tensor.shape, tensor.rank, &count) == 0 && tensor.data);
    pcr_arena_fini(&arena);
    return 0;
}
