// SPDX-License-Identifier: Apache-2.0
// A hit allocates nothing. malloc, calloc and realloc are replaced by the linker, for this program
// and all rooms in it.
#include "test.h"

#include "cache/cache.h"

#include <pacer/cache.h>
#include <stdlib.h>

static size_t n_allocated;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    n_allocated++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes) {
    n_allocated++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes) {
    n_allocated++;
    return __real_realloc(old, bytes);
}

// The way of a request: its arena is reset and used again.
static bool ask(struct pcr_cache *cache, struct pcr_arena *arena, size_t body_bytes) {
    char memory[512];
    struct pcr_buf buf = {.data = memory, .cap = sizeof memory, .max_bytes = sizeof memory - 1};
    struct pcr_cache_keying keying;
    struct pcr_cache_call call = {.cache = cache,
                                  .policy = {.ttl_ns = 3600 * PCR_NS_PER_S},
                                  .arena = arena,
                                  .max_age_ns = UINT64_MAX};
    static const float features[] = {1, 2, 3, 4};
    static const int64_t shape[] = {1, 4};
    const struct pacer_tensor input = {"x", PACER_FP32, 2, shape, features};
    pcr_cache_key_begin(&keying, &buf, PCR_STR("v2"), PCR_STR(""), PCR_STR("m"), PCR_STR("1"));
    pcr_cache_key_u64(&keying, body_bytes);
    pcr_cache_key_tensor(&keying, &input);
    assert_true(pcr_cache_key_end(&keying, &call.key));
    bool hit = pcr_cache_get(&call, pcr_clock_mono_ns()) && call.body.len == body_bytes;
    pcr_arena_reset(arena);
    return hit;
}

static struct pcr_str body;
static void compute(struct pcr_cache_call *call) {
    call->body = body;
    pcr_cache_computed(call, true);
}
static void done(struct pcr_cache_call *call) {
    (void)call;
}

static void put(struct pcr_cache *cache, struct pcr_loop *loop, size_t body_bytes) {
    char memory[512];
    struct pcr_buf buf = {.data = memory, .cap = sizeof memory, .max_bytes = sizeof memory - 1};
    struct pcr_cache_keying keying;
    struct pcr_arena arena;
    static const float features[] = {1, 2, 3, 4};
    static const int64_t shape[] = {1, 4};
    const struct pacer_tensor input = {"x", PACER_FP32, 2, shape, features};
    pcr_arena_init(&arena, 1 << 20);
    struct pcr_cache_call call = {.cache = cache,
                                  .policy = {.ttl_ns = 3600 * PCR_NS_PER_S},
                                  .arena = &arena,
                                  .loop = loop,
                                  .max_age_ns = UINT64_MAX,
                                  .compute = compute,
                                  .done = done};
    pcr_cache_key_begin(&keying, &buf, PCR_STR("v2"), PCR_STR(""), PCR_STR("m"), PCR_STR("1"));
    pcr_cache_key_u64(&keying, body_bytes);
    pcr_cache_key_tensor(&keying, &input);
    assert_true(pcr_cache_key_end(&keying, &call.key));
    char *text = __real_malloc(body_bytes);
    memset(text, 'x', body_bytes);
    body = (struct pcr_str){text, body_bytes};
    pcr_cache_fetch(&call);
    free(text);
    pcr_arena_fini(&arena);
}

static void a_hit_in_memory_allocates_nothing(void **state) {
    (void)state;
    const size_t sizes[] = {200, 2000, 100000};
    struct pcr_cache *cache;
    struct pcr_loop *loop;
    struct pcr_arena arena;
    const struct pcr_cache_options options = {.memory_bytes = 1 << 22};
    assert_int_equal(pcr_cache_create(&options, &cache, NULL), 0);
    assert_int_equal(pcr_loop_create(&loop, NULL), 0);
    pcr_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < PCR_COUNT_OF(sizes); i++) {
        put(cache, loop, sizes[i]);
        assert_true(ask(cache, &arena, sizes[i])); // the arena has its block, the thread its line
        size_t before = n_allocated;
        for (int k = 0; k < 100; k++)
            assert_true(ask(cache, &arena, sizes[i]));
        assert_int_equal(n_allocated, before);
    }
    pcr_arena_fini(&arena);
    pcr_loop_destroy(loop);
    pcr_cache_destroy(cache);
    assert_true(n_allocated > 0); // they are counted
}

static int infer(void *ctx, const struct pacer_feature *features, size_t n,
                 struct pacer_answer *answer, struct pacer_error *err) {
    (void)ctx;
    (void)n;
    return pacer_answer_set(answer, &features[0].value, sizeof features[0].value, err);
}

static void nor_does_one_of_the_library(void **state) {
    (void)state;
    struct pacer_cache *cache;
    struct pacer_cache_options options = PACER_CACHE_OPTIONS_INIT;
    assert_int_equal(pacer_cache_create(&options, &cache, NULL), 0);
    const struct pacer_feature features[] = {{"a", 1}, {"b", 2}};
    const struct pacer_question question = {
        .model = "m", .features = features, .n_features = 2, .ttl_s = 60};
    char buffer[64];
    struct pacer_answer answer = {.buffer = buffer, .buffer_size = sizeof buffer};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pacer_cache_predict(cache, &question, infer, NULL, &answer, NULL), 0);
    size_t before = n_allocated;
    for (int i = 0; i < 100; i++)
        assert_int_equal(pacer_cache_predict(cache, &question, infer, NULL, &answer, NULL), 0);
    assert_int_equal(answer.how, PACER_ANSWER_MEMORY);
    assert_int_equal(n_allocated, before);
    pacer_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_in_memory_allocates_nothing),
        cmocka_unit_test(nor_does_one_of_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
