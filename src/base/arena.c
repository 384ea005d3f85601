// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_SEPARATE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_SEPARATE 1
#endif
#endif
#ifndef ARENA_SEPARATE
#define ARENA_SEPARATE 0
#endif

#define BLOCK_BYTES_FIRST 8192
#define BLOCK_BYTES_MAX (1u << 20)
#define ALIGNMENT 16

struct pcr_arena_block {
    struct pcr_arena_block *older;
    size_t bytes; // of the payload
    _Alignas(ALIGNMENT) char payload[];
};

struct pcr_arena_cleanup {
    struct pcr_arena_cleanup *older;
    void (*fn)(void *ptr);
    void *ptr;
};

void pcr_arena_init(struct pcr_arena *arena, size_t max_bytes) {
    *arena = (struct pcr_arena){.max_bytes = max_bytes};
}

static void run_cleanups(struct pcr_arena *arena) {
    while (arena->cleanups) {
        struct pcr_arena_cleanup *cleanup = arena->cleanups;
        arena->cleanups = cleanup->older;
        cleanup->fn(cleanup->ptr);
    }
}

static void use_block(struct pcr_arena *arena, struct pcr_arena_block *block) {
    arena->next = block ? block->payload : NULL;
    arena->end = block ? block->payload + block->bytes : NULL;
}

static void free_blocks(struct pcr_arena *arena, size_t keep_bytes_max) {
    struct pcr_arena_block *block = arena->blocks;
    while (block) {
        struct pcr_arena_block *older = block->older;
        if (!older && block->bytes <= keep_bytes_max)
            break;
        arena->used_bytes -= block->bytes;
        free(block);
        block = older;
    }
    arena->blocks = block;
    use_block(arena, block);
}

void pcr_arena_fini(struct pcr_arena *arena) {
    run_cleanups(arena);
    free_blocks(arena, 0);
    PCR_ASSERT(arena->used_bytes == 0);
}

void pcr_arena_reset(struct pcr_arena *arena) {
    run_cleanups(arena);
    free_blocks(arena, ARENA_SEPARATE ? 0 : BLOCK_BYTES_FIRST);
}

static struct pcr_arena_block *add_block(struct pcr_arena *arena, size_t bytes) {
    size_t left = arena->max_bytes - arena->used_bytes;
    size_t want = arena->blocks ? arena->blocks->bytes * 2 : BLOCK_BYTES_FIRST;
    if (want > BLOCK_BYTES_MAX)
        want = BLOCK_BYTES_MAX;
    if (want < bytes || ARENA_SEPARATE)
        want = bytes;
    if (want > left)
        want = bytes;
    if (want > left)
        return NULL;
    struct pcr_arena_block *block = malloc(sizeof *block + want);
    if (!block)
        return NULL;
    block->bytes = want;
    block->older = arena->blocks;
    arena->blocks = block;
    arena->used_bytes += want;
    use_block(arena, block);
    return block;
}

void *pcr_arena_alloc(struct pcr_arena *arena, size_t bytes) {
    if (bytes > arena->max_bytes)
        return NULL;
    size_t rounded = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (ARENA_SEPARATE)
        rounded = bytes;
    if (ARENA_SEPARATE || (size_t)(arena->end - arena->next) < rounded || !arena->next) {
        if (!add_block(arena, rounded))
            return NULL;
    }
    void *memory = arena->next;
    arena->next += rounded;
    return memory;
}

void *pcr_arena_array(struct pcr_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return pcr_arena_alloc(arena, bytes);
}

void *pcr_arena_calloc(struct pcr_arena *arena, size_t count, size_t size) {
    void *memory = pcr_arena_array(arena, count, size);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

char *pcr_arena_dup(struct pcr_arena *arena, struct pcr_str text) {
    char *copy = text.len == SIZE_MAX ? NULL : pcr_arena_alloc(arena, text.len + 1);
    if (!copy)
        return NULL;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

char *pcr_arena_vprintf(struct pcr_arena *arena, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n < 0 ? NULL : pcr_arena_alloc(arena, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

char *pcr_arena_printf(struct pcr_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = pcr_arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}

bool pcr_arena_on_reset(struct pcr_arena *arena, void (*fn)(void *ptr), void *ptr) {
    struct pcr_arena_cleanup *cleanup = pcr_arena_alloc(arena, sizeof *cleanup);
    if (!cleanup)
        return false;
    *cleanup = (struct pcr_arena_cleanup){arena->cleanups, fn, ptr};
    arena->cleanups = cleanup;
    return true;
}
