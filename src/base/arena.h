// SPDX-License-Identifier: Apache-2.0
// Arenas: memory that is given back all at once. A request owns one, so nothing of a request is
// freed by hand.
//
// Single-threaded. AddressSanitizer builds turn every allocation into a malloc of its own, so that
// an access one byte too far is seen.
#ifndef PCR_BASE_ARENA_H
#define PCR_BASE_ARENA_H

#include "base/str.h"

#include <stdarg.h>

struct pcr_arena_block;
struct pcr_arena_cleanup;

struct pcr_arena {
    struct pcr_arena_block *blocks; // newest first; the last one survives a reset
    struct pcr_arena_cleanup *cleanups;
    char *next; // free bytes of the newest block
    char *end;
    size_t used_bytes; // of all blocks
    size_t max_bytes;
};

// `max_bytes` is the most the arena ever holds; no memory is taken yet.
void pcr_arena_init(struct pcr_arena *arena, size_t max_bytes);
// Runs the cleanups (newest first) and frees all memory.
void pcr_arena_fini(struct pcr_arena *arena);
// Runs the cleanups and keeps one small block for the next use.
void pcr_arena_reset(struct pcr_arena *arena);

// Memory for any type, not cleared; NULL when the arena is full or memory is out.
void *pcr_arena_alloc(struct pcr_arena *arena, size_t bytes);
// count * size bytes, cleared; NULL also on overflow.
void *pcr_arena_calloc(struct pcr_arena *arena, size_t count, size_t size);
// count * size bytes, not cleared; NULL also on overflow.
void *pcr_arena_array(struct pcr_arena *arena, size_t count, size_t size);
// A NUL-terminated copy.
char *pcr_arena_dup(struct pcr_arena *arena, struct pcr_str text);
__attribute__((format(printf, 2, 3))) char *pcr_arena_printf(struct pcr_arena *arena,
                                                             const char *format, ...);
__attribute__((format(printf, 2, 0))) char *pcr_arena_vprintf(struct pcr_arena *arena,
                                                              const char *format, va_list args);
// Has fn(ptr) called at reset or fini.
// False if there is no memory for that; fn has not been called then.
bool pcr_arena_on_reset(struct pcr_arena *arena, void (*fn)(void *ptr), void *ptr);

#endif
