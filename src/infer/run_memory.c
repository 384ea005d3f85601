// SPDX-License-Identifier: Apache-2.0
// What one run may allocate, so that a client whose values choose the shape of an output cannot
// take the process's memory.
//
// ONNX Runtime's sessions allocate through an OrtAllocator of ours. A thread that runs a model has
// an allowance; what the run allocates counts against it, what the run gives back is added again.
// Threads without one (loading, ONNX Runtime's own, the reset of a request's arena) are not
// counted: a kernel's outputs and scratch buffers are allocated by the thread that called Run, also
// where other threads help it to compute.
//
// ONNX Runtime does not look whether an allocator gave NULL; it counts on std::bad_alloc, which its
// own allocator throws and its executor turns into an error status. So a refusal throws that, by
// the function of libstdc++ that compilers call for it, through the frame of `allocate`, which is
// therefore built with unwind tables (-fexceptions) and holds nothing that would be lost.
//
// Blocks are malloc's with a header before the aligned part: posix_memalign, which ONNX Runtime
// uses, goes past glibc's cache of the thread, so this also is the faster way (docs/benchmarks.md).
//
// Rejected: ONNX Runtime's arena with a maximum (one for all runs at once, with a lock, and it
// never gives memory back), and RLIMIT_AS (whoever asks next is refused, not who took too much).
#include "infer/run_memory.h"

#include "infer/infer.h"

#include <stdatomic.h>
#include <stdlib.h>

#define ALIGNMENT 64 // what ONNX Runtime's kernels want

_Noreturn void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv"); // of libstdc++

struct header { // right before the block
    void *base;
    size_t bytes;
};

static _Atomic size_t run_bytes_max;
static _Thread_local struct {
    size_t bytes_max; // 0: no run, or no limit
    size_t bytes;
    bool refused;
} run;

static const OrtMemoryInfo *place;

void pcr_infer_run_memory_max(size_t bytes) {
    atomic_store_explicit(&run_bytes_max, bytes, memory_order_relaxed);
}

void pcr_run_memory_begin(void) {
    PCR_ASSERT(run.bytes_max == 0);
    run.bytes_max = atomic_load_explicit(&run_bytes_max, memory_order_relaxed);
    run.bytes = 0;
    run.refused = false;
}

size_t pcr_run_memory_end(void) {
    size_t refused = run.refused ? run.bytes_max : 0;
    run.bytes_max = 0;
    return refused;
}

static void *allocate(OrtAllocator *self, size_t bytes) {
    (void)self;
    if (run.bytes_max) {
        if (bytes > run.bytes_max - run.bytes) {
            run.refused = true;
            throw_bad_alloc();
        }
        run.bytes += bytes;
    }
    // malloc's blocks lie at multiples of 16, so header and alignment take 64 bytes together.
    _Static_assert(_Alignof(max_align_t) >= sizeof(struct header), "the header fits in the gap");
    char *base = bytes < PTRDIFF_MAX - ALIGNMENT ? malloc(bytes + ALIGNMENT) : NULL;
    if (!base)
        throw_bad_alloc();
    size_t gap = ALIGNMENT - (uintptr_t)base % ALIGNMENT;
    struct header *header = (struct header *)(void *)(base + gap) - 1;
    *header = (struct header){base, bytes};
    return base + gap;
}

static void give_back(OrtAllocator *self, void *block) {
    (void)self;
    if (!block)
        return;
    struct header *header = (struct header *)block - 1;
    // What was there before the run may be given back in it, too.
    if (run.bytes_max)
        run.bytes -= header->bytes < run.bytes ? header->bytes : run.bytes;
    free(header->base);
}

static const OrtMemoryInfo *where(const OrtAllocator *self) {
    (void)self;
    return place;
}

OrtStatus *pcr_run_memory_register(const OrtApi *api, OrtEnv *env, const OrtMemoryInfo *memory) {
    static OrtAllocator allocator = {
        .version = ORT_API_VERSION, .Alloc = allocate, .Free = give_back, .Info = where};
    place = memory;
    return api->RegisterAllocator(env, &allocator);
}
