// SPDX-License-Identifier: Apache-2.0
#include "config/config_priv.h"

#include <stdio.h>

#define FAULTS_ARENA_BYTES_MAX (1u << 20)
#define MESSAGE_BYTES_MAX 1024
#define EXCERPT_BYTES_MAX 60

void pcr_config_faults_init(struct pcr_config_faults *faults) {
    *faults = (struct pcr_config_faults){0};
    pcr_arena_init(&faults->arena, FAULTS_ARENA_BYTES_MAX);
}

void pcr_config_faults_fini(struct pcr_config_faults *faults) {
    pcr_arena_fini(&faults->arena);
    *faults = (struct pcr_config_faults){0};
}

// What came out of a file must not be able to steer a terminal.
static void make_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void pcr_config_faults_add(struct pcr_config_faults *faults, const char *file, int line, int column,
                           const char *message) {
    if (!faults->list)
        faults->list =
            pcr_arena_calloc(&faults->arena, PCR_CONFIG_FAULTS_MAX, sizeof *faults->list);
    char *text = NULL;
    const char *name = NULL;
    if (faults->list && faults->n < PCR_CONFIG_FAULTS_MAX) {
        text = pcr_arena_dup(&faults->arena, pcr_str(message));
        name = pcr_arena_dup(&faults->arena, pcr_str(file));
    }
    if (!text || !name) {
        faults->dropped++;
        return;
    }
    make_printable(text);
    faults->list[faults->n++] = (struct pcr_config_fault){name, line, column, text};
}

void pcr_config_fault(struct pcr_config_ctx *ctx, int line, int column, const char *format, ...) {
    char text[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!ctx->flag) {
        pcr_config_faults_add(ctx->faults, ctx->file, line, column, text);
        return;
    }
    char said[MESSAGE_BYTES_MAX + 256];
    size_t key = ctx->flag_key ? strlen(ctx->flag_key) : 0;
    bool repeats =
        key > 0 && strncmp(text, ctx->flag_key, key) == 0 && strncmp(text + key, ": ", 2) == 0;
    snprintf(said, sizeof said, "%.200s: %s", ctx->flag, text + (repeats ? key + 2 : 0));
    pcr_config_faults_add(ctx->faults, "command line", 0, 0, said);
}

void pcr_config_faults_sort(struct pcr_config_faults *faults) {
    for (size_t i = 1; i < faults->n; i++) {
        struct pcr_config_fault one = faults->list[i];
        size_t at = i;
        for (; at > 0 && faults->list[at - 1].line > one.line; at--)
            faults->list[at] = faults->list[at - 1];
        faults->list[at] = one;
    }
}

struct pcr_str pcr_config_excerpt(struct pcr_str text) {
    if (text.len > EXCERPT_BYTES_MAX) {
        text.len = EXCERPT_BYTES_MAX;
        while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80)
            text.len--;
    }
    return text;
}

void *pcr_config_alloc(struct pcr_config_ctx *ctx, size_t count, size_t size) {
    void *memory = pcr_arena_calloc(&ctx->config->arena, count ? count : 1, size);
    if (!memory)
        ctx->no_memory = true;
    return memory;
}

const char *pcr_config_text(struct pcr_config_ctx *ctx, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = pcr_arena_vprintf(&ctx->config->arena, format, args);
    va_end(args);
    if (!text)
        ctx->no_memory = true;
    return text;
}
