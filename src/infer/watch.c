// SPDX-License-Identifier: Apache-2.0
// Whether a directory has changed and come to rest, from listings alone.
#include "infer/infer.h"

#include <stdio.h>

static bool is_same(const struct pcr_file_line *a, const struct pcr_file_line *b) {
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

size_t pcr_listing_compare(const struct pcr_listing *before, const struct pcr_listing *after,
                           pcr_file_change_cb each, void *ctx) {
    size_t n_before = before ? before->n : 0;
    size_t n_after = after ? after->n : 0;
    size_t i = 0;
    size_t k = 0;
    size_t n = 0;
    while (i < n_before || k < n_after) {
        int order = i == n_before  ? 1
                    : k == n_after ? -1
                                   : strcmp(before->files[i].path, after->files[k].path);
        bool differs = order != 0 || !is_same(&before->files[i], &after->files[k]);
        if (differs && each)
            each(ctx,
                 order < 0   ? PCR_FILE_GONE
                 : order > 0 ? PCR_FILE_NEW
                             : PCR_FILE_CHANGED,
                 order < 0 ? before->files[i].path : after->files[k].path);
        n += differs;
        i += order <= 0;
        k += order >= 0;
    }
    return n;
}

static void see(struct pcr_watch *watch, struct pcr_listing *now) {
    pcr_listing_destroy(watch->seen);
    watch->seen = now;
}

static void keep_path(void *ctx, enum pcr_file_change change, const char *path) {
    (void)change;
    struct pcr_watch *watch = ctx;
    snprintf(watch->moved, sizeof watch->moved, "%s", path);
}

enum pcr_watch_state pcr_watch_look(struct pcr_watch *watch, struct pcr_listing *now) {
    if (pcr_listing_compare(watch->taken, now, NULL, NULL) == 0) {
        pcr_listing_destroy(now);
        see(watch, NULL);
        watch->moves = 0;
        return PCR_WATCH_SAME;
    }
    const struct pcr_listing *before = watch->seen ? watch->seen : watch->taken;
    bool moved = pcr_listing_compare(before, now, keep_path, watch) > 0;
    see(watch, now);
    watch->moves = moved ? watch->moves + 1 : 0;
    return moved ? PCR_WATCH_MOVING : PCR_WATCH_SETTLED;
}

struct question {
    const char *model;
    struct pcr_str around; // "NAME/", or nothing for a model in the directory itself
    bool touched;
};

// "m.int8.onnx" of "m.onnx"
static bool is_variant(const char *path, const char *model) {
    static const char end[] = ".int8.onnx";
    size_t n = strlen(model);
    size_t stem = n < strlen(".onnx") ? 0 : n - strlen(".onnx");
    return strncmp(path, model, stem) == 0 && strcmp(path + stem, end) == 0;
}

static void ask(void *ctx, enum pcr_file_change change, const char *path) {
    (void)change;
    struct question *question = ctx;
    bool is_model = pcr_str_ends_with(pcr_str(path), PCR_STR(".onnx"));
    if (pcr_str_starts_with(pcr_str(path), question->around) &&
        (!is_model || strcmp(path, question->model) == 0 || is_variant(path, question->model)))
        question->touched = true;
}

bool pcr_watch_touches(const struct pcr_watch *watch, const char *model) {
    const char *slash = strchr(model, '/');
    struct pcr_str around = {model, slash ? (size_t)(slash - model) + 1 : 0};
    struct question question = {.model = model, .around = around};
    pcr_listing_compare(watch->taken, watch->seen, ask, &question);
    return question.touched;
}

void pcr_watch_take(struct pcr_watch *watch) {
    struct pcr_listing *seen = watch->seen;
    watch->seen = NULL;
    if (seen)
        pcr_watch_restart(watch, seen);
}

void pcr_watch_restart(struct pcr_watch *watch, struct pcr_listing *taken) {
    pcr_listing_destroy(watch->taken);
    see(watch, NULL);
    watch->taken = taken;
    watch->moves = 0;
}
