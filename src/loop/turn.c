// SPDX-License-Identifier: Apache-2.0
// The end of a turn: work that gets better when it waits for whatever else is ready now.
//
// libuv's check handles run right after the events of a turn. What is deferred between events and
// that moment costs nobody any time, as the thread is busy until then anyway. What is deferred at
// other moments (by a timer, or by the deferred work itself) must not wait for an event to come, so
// an idle handle is active as long as something is deferred: with one, libuv only looks for events.
#include "loop/loop_priv.h"

static void on_busy(uv_idle_t *busy) {
    (void)busy; // that it is active is enough
}

void pcr_loop_end_turn(struct pcr_loop *loop) {
    struct pcr_deferred *deferred = loop->deferred;
    loop->deferred = NULL;
    loop->last_deferred = &loop->deferred;
    while (deferred) {
        struct pcr_deferred *next = deferred->next;
        deferred->pending = false;
        deferred->fire(deferred); // may be gone after it
        deferred = next;
    }
    if (!loop->deferred)
        uv_idle_stop(&loop->busy);
}

// A wait this short is none: the events were there when the loop looked.
#define WAITED_NS (20 * PCR_NS_PER_US)

static void on_look(uv_prepare_t *look) {
    struct pcr_loop *loop = PCR_CONTAINER_OF(look, struct pcr_loop, look);
    loop->before_ns = loop->woke_ns;
    loop->woke_ns = 0;
    loop->look_ns = pcr_clock_mono_ns();
}

void pcr_loop_woke(struct pcr_loop *loop) {
    if (loop->woke_ns == 0)
        loop->woke_ns = pcr_clock_mono_ns();
}

// What is there without a wait came after the end of the wait before: then it was not there yet.
uint64_t pcr_loop_arrived_ns(struct pcr_loop *loop) {
    pcr_loop_woke(loop);
    bool waited = loop->woke_ns - loop->look_ns > WAITED_NS || loop->before_ns == 0;
    return waited ? loop->woke_ns : loop->before_ns;
}

// A turn without events, which a timer ended, wakes here at the latest.
static void on_turn_end(uv_check_t *check) {
    struct pcr_loop *loop = PCR_CONTAINER_OF(check, struct pcr_loop, turn_end);
    pcr_loop_woke(loop);
    pcr_loop_end_turn(loop);
}

void pcr_loop_turns_init(struct pcr_loop *loop) {
    loop->last_deferred = &loop->deferred;
    uv_check_init(&loop->uv, &loop->turn_end);
    uv_check_start(&loop->turn_end, on_turn_end);
    uv_unref((uv_handle_t *)&loop->turn_end);
    uv_idle_init(&loop->uv, &loop->busy);
    uv_prepare_init(&loop->uv, &loop->look);
    uv_prepare_start(&loop->look, on_look);
    uv_unref((uv_handle_t *)&loop->look);
}

bool pcr_loop_owns_handle(const struct pcr_loop *loop, const uv_handle_t *handle) {
    return handle == (const uv_handle_t *)&loop->turn_end ||
           handle == (const uv_handle_t *)&loop->busy || handle == (const uv_handle_t *)&loop->look;
}

void pcr_loop_defer(struct pcr_loop *loop, struct pcr_deferred *deferred) {
    if (deferred->pending)
        return;
    deferred->pending = true;
    deferred->next = NULL;
    if (!loop->deferred)
        uv_idle_start(&loop->busy, on_busy);
    *loop->last_deferred = deferred;
    loop->last_deferred = &deferred->next;
}

// --- locals -------------------------------------------------------------------------------------
bool pcr_loop_set_local(struct pcr_loop *loop, const void *key, void *value,
                        void (*destroy)(void *value)) {
    PCR_ASSERT(!pcr_loop_get_local(loop, key));
    if (loop->n_locals == PCR_LOOP_LOCALS_MAX)
        return false;
    loop->locals[loop->n_locals++] = (struct pcr_local){key, value, destroy};
    return true;
}

void *pcr_loop_get_local(const struct pcr_loop *loop, const void *key) {
    for (size_t i = 0; i < loop->n_locals; i++)
        if (loop->locals[i].key == key)
            return loop->locals[i].value;
    return NULL;
}
