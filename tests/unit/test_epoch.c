// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/base.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

// --- one reader, step by step -------------------------------------------------------------------
struct reader {
    pthread_t thread;
    sem_t go, went;
    bool ends;
};

static void *read_in_steps(void *arg) { // each `go` lets it in, or out again
    struct reader *reader = arg;
    for (bool inside = false;; inside = !inside) {
        sem_wait(&reader->go);
        if (reader->ends)
            break;
        if (inside)
            pcr_epoch_leave();
        else
            pcr_epoch_enter();
        sem_post(&reader->went);
    }
    return NULL;
}

static void start_reader(struct reader *reader) {
    *reader = (struct reader){.ends = false};
    sem_init(&reader->go, 0, 0);
    sem_init(&reader->went, 0, 0);
    assert_int_equal(pcr_thread_start(&reader->thread, "reader", read_in_steps, reader), 0);
}

static void step(struct reader *reader) {
    sem_post(&reader->go);
    sem_wait(&reader->went);
}

static void end_reader(struct reader *reader) {
    reader->ends = true;
    sem_post(&reader->go);
    pthread_join(reader->thread, NULL);
    sem_destroy(&reader->go);
    sem_destroy(&reader->went);
}

// How many come, however often one asks.
static size_t collect(struct pcr_epoch_bin *bin) {
    size_t n = 0;
    for (size_t i = 0; i < 10; i++)
        n += pcr_epoch_collect(bin) != NULL;
    return n;
}

static void an_empty_bin_has_nothing(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    assert_null(pcr_epoch_collect(&bin));
}

static void what_no_reader_can_see_is_handed_over_soon_and_in_order(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    struct pcr_retired retired[5];
    for (size_t i = 0; i < PCR_COUNT_OF(retired); i++)
        pcr_epoch_retire(&bin, &retired[i]);
    assert_int_equal(bin.n, PCR_COUNT_OF(retired));
    size_t n = 0;
    for (size_t i = 0; i < 2 + PCR_COUNT_OF(retired); i++) {
        struct pcr_retired *next = pcr_epoch_collect(&bin);
        if (next)
            assert_ptr_equal(next, &retired[n++]);
    }
    assert_int_equal(n, PCR_COUNT_OF(retired));
    assert_int_equal(bin.n, 0);
    pcr_epoch_retire(&bin, &retired[0]); // a bin that was emptied is as good as new
    assert_int_equal(collect(&bin), 1);
}

static void what_a_reader_inside_may_see_waits_until_it_has_left(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    struct pcr_retired retired[3];
    struct reader reader;
    start_reader(&reader);
    step(&reader);
    for (size_t i = 0; i < PCR_COUNT_OF(retired); i++) {
        pcr_epoch_retire(&bin, &retired[i]);
        assert_int_equal(collect(&bin), 0);
    }
    step(&reader);
    assert_int_equal(collect(&bin), 3);
    end_reader(&reader);
}

static void the_writers_own_thread_is_a_reader_like_any_other(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    struct pcr_retired retired;
    pcr_epoch_enter();
    pcr_epoch_retire(&bin, &retired);
    assert_int_equal(collect(&bin), 0);
    pcr_epoch_leave();
    assert_int_equal(collect(&bin), 1);
}

static void each_of_many_readers_counts(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    struct pcr_retired retired;
    struct reader readers[8];
    for (size_t i = 0; i < PCR_COUNT_OF(readers); i++) {
        start_reader(&readers[i]);
        step(&readers[i]);
    }
    pcr_epoch_retire(&bin, &retired);
    for (size_t i = 0; i < PCR_COUNT_OF(readers); i++) {
        assert_int_equal(collect(&bin), 0);
        step(&readers[i]);
    }
    assert_int_equal(collect(&bin), 1);
    for (size_t i = 0; i < PCR_COUNT_OF(readers); i++)
        end_reader(&readers[i]);
}

static void who_enters_again_and_again_does_not_hold_up_what_went_before(void **state) {
    (void)state;
    struct pcr_epoch_bin bin = {0};
    struct pcr_retired retired;
    struct reader a, b;
    start_reader(&a);
    start_reader(&b);
    step(&a);
    pcr_epoch_retire(&bin, &retired);
    size_t n = 0;
    for (size_t i = 0; i < 6 && n == 0; i++) { // never is nobody inside
        step(&b);
        step(&a);
        n += pcr_epoch_collect(&bin) != NULL;
        step(&a);
        step(&b);
        n += pcr_epoch_collect(&bin) != NULL;
    }
    assert_int_equal(n, 1);
    step(&a);
    end_reader(&a);
    end_reader(&b);
}

// --- numbers ------------------------------------------------------------------------------------
static void *note_number(void *arg) {
    *(unsigned *)arg = pcr_epoch_thread();
    assert_int_equal(pcr_epoch_thread(), *(unsigned *)arg);
    return NULL;
}

static void a_threads_number_is_given_again_when_it_has_ended(void **state) {
    (void)state;
    unsigned own = pcr_epoch_thread(), first, later;
    pthread_t thread;
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(pcr_thread_start(&thread, "short", note_number, i ? &later : &first), 0);
        pthread_join(thread, NULL);
        assert_int_not_equal(i ? later : first, own);
        if (i)
            assert_int_equal(later, first);
    }
}

static void *number_then_wait(void *arg) {
    void **args = arg;
    note_number(args[0]);
    pthread_barrier_wait(args[1]);
    return NULL;
}

static void threads_that_live_at_once_have_numbers_of_their_own(void **state) {
    (void)state;
    enum { N = 20 };
    unsigned numbers[N];
    pthread_t threads[N];
    void *args[N][2];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, N);
    for (size_t i = 0; i < N; i++) {
        args[i][0] = &numbers[i];
        args[i][1] = &barrier;
        assert_int_equal(pcr_thread_start(&threads[i], "number", number_then_wait, args[i]), 0);
    }
    for (size_t i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(numbers[i], numbers[j]);
    pthread_barrier_destroy(&barrier);
}

// --- many at random -----------------------------------------------------------------------------
#define SLOTS 64
#define ALIVE 0x616c697665ull
#define DEAD 0xdeadull

struct thing {
    struct pcr_retired retired;
    uint64_t life, twin; // twin = life + slot
};

struct half { // of the slots: a writer's
    pthread_mutex_t lock;
    struct pcr_epoch_bin bin;
    size_t n_freed;
};

static _Atomic(struct thing *) slots[SLOTS];
static struct half halves[2];
static atomic_bool over;
static atomic_size_t n_reads, n_bad;

static struct thing *make_thing(size_t slot) {
    struct thing *thing = malloc(sizeof *thing);
    PCR_ASSERT(thing);
    *thing = (struct thing){.life = ALIVE, .twin = ALIVE + slot};
    return thing;
}

static void free_collected(struct half *half) {
    for (struct pcr_retired *retired; (retired = pcr_epoch_collect(&half->bin));) {
        struct thing *thing = PCR_CONTAINER_OF(retired, struct thing, retired);
        thing->life = thing->twin = DEAD; // a reader that still looks sees it, TSan the race
        free(thing);
        half->n_freed++;
    }
}

static void replace_one(uint64_t random) {
    size_t slot = random % SLOTS;
    struct half *half = &halves[slot % 2];
    struct thing *thing = make_thing(slot);
    pthread_mutex_lock(&half->lock);
    struct thing *old = atomic_exchange(&slots[slot], thing);
    if (old)
        pcr_epoch_retire(&half->bin, &old->retired);
    free_collected(half);
    pthread_mutex_unlock(&half->lock);
}

static void read_some(uint64_t random) {
    struct thing *held[4];
    pcr_epoch_enter();
    for (size_t i = 0; i < PCR_COUNT_OF(held); i++)
        held[i] = atomic_load(&slots[(random >> (i * 8)) % SLOTS]);
    if (random % 64 == 0)
        sched_yield();
    for (size_t i = 0; i < PCR_COUNT_OF(held); i++)
        if (held[i] &&
            (held[i]->life != ALIVE || held[i]->twin != ALIVE + (random >> (i * 8)) % SLOTS))
            atomic_fetch_add(&n_bad, 1);
    pcr_epoch_leave();
    atomic_fetch_add_explicit(&n_reads, 1, memory_order_relaxed);
}

static void *live(void *arg) { // reads mostly
    size_t turns = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < turns && !atomic_load(&over); i++) {
        uint64_t random = pcr_rand_u64();
        if (random >> 60 == 0)
            replace_one(random);
        else
            read_some(random);
    }
    return NULL;
}

static void begin_things(void) {
    atomic_store(&over, false);
    atomic_store(&n_reads, 0);
    atomic_store(&n_bad, 0);
    for (size_t i = 0; i < 2; i++) {
        halves[i] = (struct half){.n_freed = 0};
        pthread_mutex_init(&halves[i].lock, NULL);
    }
}

static void end_things(void) {
    for (size_t i = 0; i < SLOTS; i++) {
        struct thing *old = atomic_exchange(&slots[i], NULL);
        if (old)
            pcr_epoch_retire(&halves[i % 2].bin, &old->retired);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(halves[i].n_freed > 0); // while it went on, not just now
        for (size_t again = 0; again < 3; again++)
            free_collected(&halves[i]);
        assert_int_equal(halves[i].bin.n, 0);
        pthread_mutex_destroy(&halves[i].lock);
    }
    assert_int_equal(atomic_load(&n_bad), 0);
    assert_true(atomic_load(&n_reads) > 1000);
}

static void nothing_is_freed_under_many_readers_and_writers(void **state) {
    (void)state;
    pthread_t threads[6];
    begin_things();
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++)
        assert_int_equal(pcr_thread_start(&threads[i], "life", live, (void *)SIZE_MAX), 0);
    struct timespec second = {.tv_sec = 1};
    nanosleep(&second, NULL);
    atomic_store(&over, true);
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    end_things();
}

static void threads_may_come_and_go(void **state) {
    (void)state;
    pthread_t threads[8];
    begin_things();
    for (size_t i = 0; i < 400; i++) {
        pthread_t *thread = &threads[i % PCR_COUNT_OF(threads)];
        if (i >= PCR_COUNT_OF(threads))
            pthread_join(*thread, NULL);
        assert_int_equal(pcr_thread_start(thread, "guest", live, (void *)(uintptr_t)500), 0);
    }
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    end_things();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_bin_has_nothing),
        cmocka_unit_test(what_no_reader_can_see_is_handed_over_soon_and_in_order),
        cmocka_unit_test(what_a_reader_inside_may_see_waits_until_it_has_left),
        cmocka_unit_test(the_writers_own_thread_is_a_reader_like_any_other),
        cmocka_unit_test(each_of_many_readers_counts),
        cmocka_unit_test(who_enters_again_and_again_does_not_hold_up_what_went_before),
        cmocka_unit_test(a_threads_number_is_given_again_when_it_has_ended),
        cmocka_unit_test(threads_that_live_at_once_have_numbers_of_their_own),
        cmocka_unit_test(nothing_is_freed_under_many_readers_and_writers),
        cmocka_unit_test(threads_may_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
