// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <stdlib.h>

struct pcr_timer {
    struct pcr_loop_owner owner;
    uv_timer_t uv;
    void (*fire)(void *ctx);
    void *ctx;
};

static void on_closed(uv_handle_t *handle) {
    free(PCR_CONTAINER_OF(handle, struct pcr_timer, uv));
}

static void abandon(struct pcr_loop_owner *owner, uv_handle_t *handle) {
    (void)owner;
    uv_close(handle, on_closed);
}

static void on_fire(uv_timer_t *handle) {
    struct pcr_timer *timer = PCR_CONTAINER_OF(handle, struct pcr_timer, uv);
    timer->fire(timer->ctx);
}

struct pcr_timer *pcr_timer_create(struct pcr_loop *loop, void (*fire)(void *ctx), void *ctx) {
    struct pcr_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    timer->owner.abandon = abandon;
    timer->fire = fire;
    timer->ctx = ctx;
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = &timer->owner;
    return timer;
}

void pcr_timer_start(struct pcr_timer *timer, uint64_t after_ms, uint64_t repeat_ms) {
    uv_timer_start(&timer->uv, on_fire, after_ms, repeat_ms);
}

void pcr_timer_stop(struct pcr_timer *timer) {
    uv_timer_stop(&timer->uv);
}

void pcr_timer_destroy(struct pcr_timer *timer) {
    if (timer)
        uv_close((uv_handle_t *)&timer->uv, on_closed);
}
