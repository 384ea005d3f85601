// SPDX-License-Identifier: Apache-2.0
// The warm-up: the first run of a model pays for memory and for kernels' own preparation, so
// nobody's request shall be it.
//
// Every dynamic dimension is 1 and every element 0 (strings: empty); where the model fails on that
// it is tried with ones (strings: "1"), since some models divide by an input or read numbers from
// text. A model that fails on both may still be good: the inputs are made up. So only the errors
// that no input can mend (a kernel that does not exist) refuse it; otherwise it is served, its cost
// counts as unknown and it is therefore never run on a loop's thread.
#include "infer/session_priv.h"

#include <stdlib.h>

#define INPUT_BYTES_MAX ((size_t)256 << 20) // of all made-up inputs together
#define RUNS_MAX 12
#define MEASURE_NS_MAX (20 * PCR_NS_PER_MS)

// 1 in every type; for FP16 and BF16 by its bits.
static void fill_ones(enum pacer_dtype dtype, void *data, size_t count) {
    for (size_t i = 0; i < count; i++) {
        switch (dtype) {
        case PACER_FP32:
            ((float *)data)[i] = 1;
            break;
        case PACER_FP64:
            ((double *)data)[i] = 1;
            break;
        case PACER_FP16:
            ((uint16_t *)data)[i] = 0x3c00;
            break;
        case PACER_BF16:
            ((uint16_t *)data)[i] = 0x3f80;
            break;
        case PACER_BYTES:
            ((struct pacer_bytes *)data)[i] = (struct pacer_bytes){"1", 1};
            break;
        case PACER_INT64:
        case PACER_UINT64:
            ((uint64_t *)data)[i] = 1;
            break;
        case PACER_INT32:
        case PACER_UINT32:
            ((uint32_t *)data)[i] = 1;
            break;
        case PACER_INT16:
        case PACER_UINT16:
            ((uint16_t *)data)[i] = 1;
            break;
        default:
            ((uint8_t *)data)[i] = 1;
        }
    }
}

// False when the input is too large to be made up.
static bool make_input(const struct pacer_tensor_info *info, struct pcr_arena *arena, bool ones,
                       struct pacer_tensor *out, size_t *elements) {
    int64_t *shape = pcr_arena_calloc(arena, info->rank + 1, sizeof *shape);
    if (!shape)
        return false;
    for (size_t i = 0; i < info->rank; i++)
        shape[i] = info->shape[i] < 0 ? 1 : info->shape[i];
    size_t rank = info->rank;
    if (!info->shape) { // undeclared rank: most models take rows
        shape[0] = 1;
        rank = 1;
    }
    size_t count;
    if (pacer_shape_count(shape, rank, &count) < 0)
        return false;
    size_t size = pacer_dtype_size(info->dtype);
    void *data = pcr_arena_calloc(arena, count + 1, size ? size : sizeof(struct pacer_bytes));
    if (!data)
        return false;
    if (ones)
        fill_ones(info->dtype, data, count);
    else if (info->dtype == PACER_BYTES)
        for (size_t i = 0; i < count; i++)
            ((struct pacer_bytes *)data)[i] = (struct pacer_bytes){"", 0};
    *elements += count;
    *out = (struct pacer_tensor){info->name, info->dtype, rank, shape, data};
    return true;
}

static int run_once(struct pacer_session *s, const struct pacer_run *run, uint64_t *ns,
                    struct pacer_error *err) {
    struct pcr_arena arena;
    const struct pacer_tensor *outputs;
    size_t n;
    pcr_arena_init(&arena, INPUT_BYTES_MAX);
    uint64_t start = pcr_clock_mono_ns();
    int code = pcr_session_run(s, run, &arena, &outputs, &n, err);
    *ns = pcr_clock_mono_ns() - start;
    pcr_arena_fini(&arena);
    return code;
}

// The least of a few runs: what the model costs when nothing disturbs it.
static int measure(struct pacer_session *s, const struct pacer_run *run, struct pacer_error *err) {
    uint64_t ns;
    uint64_t spent = 0;
    uint64_t least = UINT64_MAX;
    int code = run_once(s, run, &ns, err);
    for (int i = 0; i < RUNS_MAX && code == 0 && spent < MEASURE_NS_MAX; i++) {
        code = run_once(s, run, &ns, err);
        spent += ns;
        if (ns < least)
            least = ns;
    }
    if (code == 0)
        s->run_ns = least;
    return code;
}

// 1 if the inputs could not be made.
static int try_with(struct pacer_session *s, bool ones, struct pacer_error *err) {
    struct pcr_arena arena;
    pcr_arena_init(&arena, INPUT_BYTES_MAX);
    struct pacer_tensor *inputs = pcr_arena_calloc(&arena, s->n_required + 1, sizeof *inputs);
    bool made = inputs != NULL;
    s->warm_up_elements = 0;
    for (size_t i = 0; i < s->n_required && made; i++)
        made = make_input(&s->inputs[i], &arena, ones, &inputs[i], &s->warm_up_elements);
    struct pacer_run run = {inputs, s->n_required, NULL, 0};
    int code = made ? measure(s, &run, err) : 1;
    pcr_arena_fini(&arena);
    return code;
}

int pcr_session_warm_up(struct pacer_session *s, struct pacer_error *err) {
    struct pacer_error fault = {0};
    int code = try_with(s, false, &fault);
    if (code < 0 && code != PACER_EUNSUPPORTED)
        code = try_with(s, true, &fault);
    if (code == 0)
        return 0;
    if (code == PACER_EUNSUPPORTED)
        return pcr_err(err, PACER_EMODEL, "session", "the warm-up run failed: %s", fault.message);
    return 0;
}
