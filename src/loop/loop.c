// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <errno.h>
#include <stdlib.h>

int pcr_uv_code(int uv_status) {
    switch (uv_status) {
    case 0:
        return 0;
    case UV_ENOMEM:
    case UV_ENOBUFS:
        return PACER_ENOMEM;
    case UV_ECANCELED:
        return PACER_ECANCELED;
    case UV_ETIMEDOUT:
        return PACER_ETIMEDOUT;
    case UV_EINVAL:
        return PACER_EINVAL;
    default:
        return PACER_EIO;
    }
}

static void on_wake(uv_async_t *wake) {
    struct pcr_loop *loop = PCR_CONTAINER_OF(wake, struct pcr_loop, wake);
    pcr_loop_woke(loop);
    pcr_loop_deliver_mail(loop);
    if (atomic_load_explicit(&loop->stop, memory_order_acquire))
        uv_stop(&loop->uv);
}

int pcr_loop_create(struct pcr_loop **out, struct pacer_error *err) {
    struct pcr_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return pcr_err(err, PACER_ENOMEM, "loop", "no memory for an event loop");
    int rc = uv_loop_init(&loop->uv);
    if (rc == 0) {
        rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
        if (rc < 0)
            uv_loop_close(&loop->uv);
    }
    if (rc < 0) {
        free(loop);
        return pcr_err(err, pcr_uv_code(rc), "loop",
                       "the event loop could not be made: %s; is the limit of open files "
                       "(ulimit -n) reached?",
                       uv_strerror(rc));
    }
    pcr_list_init(&loop->starved);
    pcr_loop_turns_init(loop);
    *out = loop;
    return 0;
}

static void abandon_handle(uv_handle_t *handle, void *arg) {
    struct pcr_loop *loop = arg;
    if (uv_is_closing(handle))
        return;
    if (handle == (uv_handle_t *)&loop->wake || pcr_loop_owns_handle(loop, handle)) {
        uv_close(handle, NULL);
        return;
    }
    struct pcr_loop_owner *owner = handle->data;
    owner->abandon(owner, handle);
}

void pcr_loop_destroy(struct pcr_loop *loop) {
    if (!loop)
        return;
    pcr_loop_deliver_mail(loop);
    while (loop->deferred)
        pcr_loop_end_turn(loop);
    while (loop->n_locals > 0) {
        struct pcr_local *local = &loop->locals[--loop->n_locals];
        local->destroy(local->value);
    }
    uv_walk(&loop->uv, abandon_handle, loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    pcr_loop_deliver_mail(loop);
    // A close callback or a letter may have opened something again; it is closed as well.
    uv_walk(&loop->uv, abandon_handle, loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->uv);
    PCR_ASSERT(rc == 0);
    free(loop);
}

void pcr_loop_run(struct pcr_loop *loop) {
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire))
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store_explicit(&loop->stop, false, memory_order_release);
}

void pcr_loop_stop(struct pcr_loop *loop) {
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    uv_async_send(&loop->wake);
}

uint64_t pcr_loop_now_ns(const struct pcr_loop *loop) {
    // The loop's clock ticks in milliseconds, which is what deadlines need.
    return uv_now(&loop->uv) * PCR_NS_PER_MS;
}
