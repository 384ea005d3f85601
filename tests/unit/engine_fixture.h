// SPDX-License-Identifier: Apache-2.0
// What the tests of the engine share: a folder of models, an engine with one worker, a loop, and
// calls on it.
#ifndef PCR_ENGINE_FIXTURE_H
#define PCR_ENGINE_FIXTURE_H

#include "infer_fixture.h"

#include "infer/engine_priv.h"

#include <pthread.h>
#include <stdatomic.h>

struct rig {
    char *dir;
    struct pcr_repository *repository;
    struct pcr_engine *engine;
    struct pcr_loop *loop;
    size_t pending;
};

// Makes the folder with these models ("name=file" or "file", without .onnx) and all the rest.
static inline struct rig *open_rig(const char *const *models, size_t n_models,
                                   const struct pcr_model_config *configs, size_t n_configs,
                                   size_t jobs_max) {
    struct rig *rig = calloc(1, sizeof *rig);
    void *dir = NULL;
    if (!rig || make_temp_dir(&dir) < 0)
        return NULL;
    rig->dir = dir;
    for (size_t i = 0; i < n_models; i++) {
        struct pcr_str file = pcr_str(models[i]);
        struct pcr_str name = file;
        if (strchr(models[i], '='))
            pcr_str_split(&file, '=', &name);
        char to[512];
        char from[256];
        snprintf(to, sizeof to, "%s/%.*s.onnx", rig->dir, (int)name.len, name.ptr);
        snprintf(from, sizeof from, "%.*s.onnx", (int)file.len, file.ptr);
        put_model(to, from);
    }
    struct pcr_repository_options options = {
        .models_dir = rig->dir, .models = configs, .n_models = n_configs, .intra_op_threads = 1};
    if (pcr_repository_open(&options, &rig->repository, NULL) ||
        pcr_engine_create(1, jobs_max, &rig->engine, NULL) || pcr_loop_create(&rig->loop, NULL))
        return NULL;
    return rig;
}

static inline int tear_down(void **state) {
    struct rig *rig = *state;
    pcr_engine_destroy(rig->engine);
    pcr_loop_destroy(rig->loop);
    pcr_repository_close(rig->repository);
    void *dir = rig->dir;
    remove_temp_dir(&dir);
    free(rig);
    return 0;
}

struct request {
    struct pcr_infer_call call;
    struct pcr_arena arena;
    struct pacer_tensor input;
    int64_t shape[2];
    float *rows;
    bool is_done;
};

static inline void on_done(struct pcr_infer_call *call) {
    struct rig *rig = call->user;
    PCR_CONTAINER_OF(call, struct request, call)->is_done = true;
    assert_true(rig->pending > 0);
    if (--rig->pending == 0)
        pcr_loop_stop(rig->loop);
}

struct turn {
    struct pcr_mail mail;
    struct rig *rig;
    bool over;
};

static inline void begin(struct rig *rig, struct request *q, const char *model, int64_t n_rows) {
    *q = (struct request){.shape = {n_rows, 4}};
    pcr_arena_init(&q->arena, 64 << 20);
    q->rows = calloc((size_t)n_rows * 4 + 1, sizeof *q->rows);
    q->input = (struct pacer_tensor){"X", PACER_FP32, 2, q->shape, q->rows};
    q->call.model = pcr_repository_get(rig->repository, pcr_str(model), PCR_STR(""), NULL);
    assert_non_null(q->call.model);
    q->call.run = (struct pacer_run){&q->input, 1, NULL, 0};
    q->call.arena = &q->arena;
    q->call.loop = rig->loop;
    q->call.done = on_done;
    q->call.user = rig;
    rig->pending++;
}

// A stop that came before the loop ran ends its next run at once, so this may take two.
static inline void finish(struct rig *rig) {
    while (rig->pending)
        pcr_loop_run(rig->loop);
}

static inline void stop_turn(struct pcr_mail *mail) {
    struct turn *turn = PCR_CONTAINER_OF(mail, struct turn, mail);
    turn->over = true;
    pcr_loop_stop(turn->rig->loop);
}

// One turn of the loop, with its end.
static inline void run_turn(struct rig *rig) {
    struct turn turn = {.mail.deliver = stop_turn, .rig = rig};
    pcr_loop_post(rig->loop, &turn.mail);
    while (!turn.over)
        pcr_loop_run(rig->loop);
}

static inline void end(struct request *q) {
    pcr_model_unref(q->call.model);
    pcr_arena_fini(&q->arena);
    free(q->rows);
}

static inline struct pcr_model_stats stats_of(const struct request *q) {
    struct pcr_model_stats stats;
    pcr_model_stats(q->call.model, &stats);
    return stats;
}

#endif
