// SPDX-License-Identifier: Apache-2.0
// A model in a C program, asked by many threads at a time: each asks for one row, and rows that are
// asked for at the same time share a run of the model.
//
//     cc batch.c $(pkg-config --cflags --libs pacer) -lpthread -o batch && ./batch MODEL.onnx
//
// The model takes one FP32 input of [rows, n] and gives floats in its last output.
#include <pacer/pacer.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8
#define ASKS 2000
#define ROWS_MAX 64

struct model {
    struct pacer_session *session;
    const struct pacer_tensor_info *input;
    size_t width; // of a row
};

// n rows side by side, one run, n first numbers of the answer.
static int run_batch(void *ctx, struct pacer_batch_item *const *items, size_t n) {
    const struct model *model = ctx;
    float *rows = malloc(n * model->width * sizeof *rows);
    if (!rows)
        return PACER_ENOMEM;
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * model->width, items[i]->input, model->width * sizeof *rows);
    const int64_t shape[2] = {(int64_t)n, (int64_t)model->width};
    const struct pacer_tensor input = {model->input->name, PACER_FP32, 2, shape, rows};
    struct pacer_result *result;
    int code =
        pacer_session_run(model->session, &(struct pacer_run){&input, 1, NULL, 0}, &result, NULL);
    free(rows);
    if (code < 0)
        return code;
    const struct pacer_tensor *last = pacer_result_tensor(result, pacer_result_count(result) - 1);
    size_t per_row = last->rank == 2 ? (size_t)last->shape[1] : 1;
    for (size_t i = 0; i < n; i++)
        *(float *)items[i]->output = ((const float *)last->data)[i * per_row];
    pacer_result_destroy(result);
    return 0;
}

struct asker {
    struct pacer_batcher *batcher;
    const struct model *model;
    float first; // of this thread's row
    unsigned failed;
    float answer;
};

static void *ask(void *arg) {
    struct asker *asker = arg;
    float *row = calloc(asker->model->width, sizeof *row);
    for (int i = 0; row && i < ASKS; i++) {
        row[0] = asker->first;
        asker->failed += pacer_batcher_infer(asker->batcher, row, &asker->answer) != 0;
    }
    asker->failed += row == NULL;
    free(row);
    return NULL;
}

static int ask_from_threads(struct model *model) {
    struct pacer_batcher_options options = PACER_BATCHER_OPTIONS_INIT;
    options.max_batch_size = ROWS_MAX;
    struct pacer_batcher *batcher;
    struct pacer_error err;
    if (pacer_batcher_create(run_batch, model, &options, &batcher, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    struct asker askers[THREADS];
    pthread_t threads[THREADS];
    unsigned failed = 0;
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){batcher, model, (float)i / 100, 0, 0};
        pthread_create(&threads[i], NULL, ask, &askers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failed += askers[i].failed;
    }
    struct pacer_batcher_stats stats = {.size = sizeof stats};
    pacer_batcher_stats(batcher, &stats);
    pacer_batcher_destroy(batcher);
    printf("%llu rows in %llu runs, %u failed; the first thread's answer is %.3f\n",
           (unsigned long long)stats.items, (unsigned long long)stats.batches, failed,
           (double)askers[0].answer);
    if (stats.items > 0)
        printf("%.1f rows a run, %.0f us waited for it, %.1f + n * %.1f us for a run of n rows\n",
               stats.mean_size, (double)stats.wait_ns / 1000 / (double)stats.items, stats.cost_us,
               stats.cost_item_us);
    return failed > 0;
}

int main(int argc, char **argv) {
    struct model model;
    struct pacer_error err;
    size_t n;
    if (argc != 2) {
        fprintf(stderr, "usage: batch MODEL.onnx\n");
        return 2;
    }
    if (pacer_session_get(argv[1], NULL, &model.session, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    model.input = pacer_session_inputs(model.session, &n);
    if (n != 1 || model.input->dtype != PACER_FP32 || model.input->rank != 2 ||
        model.input->shape[1] < 1) {
        fprintf(stderr, "%s: expected one FP32 input of [rows, n]\n", argv[1]);
        return 1;
    }
    model.width = (size_t)model.input->shape[1];
    int code = ask_from_threads(&model);
    pacer_session_put(model.session);
    return code;
}
