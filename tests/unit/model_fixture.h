// SPDX-License-Identifier: Apache-2.0
// Models made in a test: networks with random weights, written to a folder of the test's own.
#ifndef PCR_TEST_MODEL_FIXTURE_H
#define PCR_TEST_MODEL_FIXTURE_H

#include "test.h"

#include "onnx/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];
static uint64_t random_state = 1;

static inline int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/pacer-model-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline const char *path_of(const char *name) {
    static char paths[64][128]; // so many may be in use
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

// About normal: the sum of twelve uniform numbers.
static inline float draw(void) {
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(random_state >> 40) / (float)(1 << 24);
    }
    return sum - 6;
}

#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})
#define NAMES(...) ((const char *const[]){__VA_ARGS__})

static inline struct pcr_onnx_model *new_model(int64_t opset) {
    struct pcr_onnx_model *model;
    assert_int_equal(pcr_onnx_model_create("test", opset, &model, NULL), 0);
    return model;
}

static inline void add_value(struct pcr_onnx_model *model, const char *name, bool is_input,
                             const int64_t *shape, size_t rank) {
    const struct pacer_tensor_info info = {name, PACER_FP32, rank, shape};
    if (is_input)
        pcr_onnx_model_add_input(model, &info);
    else
        pcr_onnx_model_add_output(model, &info);
}

// A constant of FP32: drawn, times `scale`.
static inline float *add_weights(struct pcr_onnx_model *model, const char *name,
                                 const int64_t *shape, size_t rank, float scale) {
    const struct pacer_tensor_info info = {name, PACER_FP32, rank, shape};
    float *data;
    const struct pcr_onnx_constant *constant =
        pcr_onnx_constant_create(model, &info, (void *)&data);
    assert_non_null(constant);
    for (size_t i = 0; i < pcr_onnx_constant_count(constant); i++)
        data[i] = draw() * scale;
    pcr_onnx_model_put_constant(model, constant);
    return data;
}

static inline struct pcr_onnx_node *add_node(struct pcr_onnx_model *model, const char *op,
                                             const char *const *inputs, size_t n_inputs,
                                             const char *output) {
    const struct pcr_onnx_node_parts parts = {.op = op,
                                              .name = output,
                                              .inputs = inputs,
                                              .n_inputs = n_inputs,
                                              .outputs = &output,
                                              .n_outputs = 1};
    struct pcr_onnx_node *node = pcr_onnx_node_create(model, &parts);
    assert_non_null(node);
    size_t n;
    struct pcr_onnx_node **nodes = pcr_onnx_model_nodes(model, &n);
    struct pcr_onnx_node **more = calloc(n + 1, sizeof *more);
    if (n)
        memcpy(more, nodes, n * sizeof *more);
    more[n] = node;
    pcr_onnx_model_set_nodes(model, more, n + 1);
    free(more);
    return node;
}

static inline const char *save_model(struct pcr_onnx_model *model, const char *name) {
    struct pacer_error err = {0};
    const char *path = path_of(name);
    if (pcr_onnx_model_save(model, path, &err) < 0)
        fail_msg("%s", err.message);
    pcr_onnx_model_destroy(model);
    return path;
}

// x FP32 [N, 64] → Gemm 128, Relu → Gemm 128, Relu → Gemm 10 → y FP32 [N, 10]
static inline struct pcr_onnx_model *mlp(void) {
    struct pcr_onnx_model *model = new_model(13);
    add_value(model, "x", true, SHAPE(-1, 64), 2);
    add_value(model, "y", false, SHAPE(-1, 10), 2);
    add_weights(model, "w0", SHAPE(64, 128), 2, 0.18F);
    add_weights(model, "b0", SHAPE(128), 1, 0.1F);
    add_weights(model, "w1", SHAPE(128, 128), 2, 0.125F);
    add_weights(model, "b1", SHAPE(128), 1, 0.1F);
    add_weights(model, "w2", SHAPE(128, 10), 2, 0.125F);
    add_weights(model, "b2", SHAPE(10), 1, 0.1F);
    add_node(model, "Gemm", NAMES("x", "w0", "b0"), 3, "s0");
    add_node(model, "Relu", NAMES("s0"), 1, "h0");
    add_node(model, "Gemm", NAMES("h0", "w1", "b1"), 3, "s1");
    add_node(model, "Relu", NAMES("s1"), 1, "h1");
    add_node(model, "Gemm", NAMES("h1", "w2", "b2"), 3, "y");
    return model;
}

#endif
