// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <stdlib.h>

struct pcr_poll {
    struct pcr_loop_owner owner;
    uv_poll_t uv;
    void (*ready)(void *ctx, bool readable, bool writable);
    void *ctx;
};

static void on_closed(uv_handle_t *handle) {
    free(PCR_CONTAINER_OF(handle, struct pcr_poll, uv));
}

static void abandon(struct pcr_loop_owner *owner, uv_handle_t *handle) {
    (void)owner;
    uv_close(handle, on_closed);
}

// A descriptor in trouble is both: whoever reads or writes it finds out.
static void on_ready(uv_poll_t *handle, int status, int events) {
    struct pcr_poll *poll = PCR_CONTAINER_OF(handle, struct pcr_poll, uv);
    pcr_loop_woke(PCR_CONTAINER_OF(handle->loop, struct pcr_loop, uv));
    poll->ready(poll->ctx, status < 0 || (events & UV_READABLE),
                status < 0 || (events & UV_WRITABLE));
}

struct pcr_poll *pcr_poll_create(struct pcr_loop *loop, int fd,
                                 void (*ready)(void *ctx, bool readable, bool writable),
                                 void *ctx) {
    struct pcr_poll *poll = calloc(1, sizeof *poll);
    if (!poll)
        return NULL;
    poll->owner.abandon = abandon;
    poll->ready = ready;
    poll->ctx = ctx;
    if (uv_poll_init(&loop->uv, &poll->uv, fd) < 0) {
        free(poll);
        return NULL;
    }
    poll->uv.data = &poll->owner;
    return poll;
}

void pcr_poll_want(struct pcr_poll *poll, bool readable, bool writable) {
    int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    if (events)
        uv_poll_start(&poll->uv, events, on_ready);
    else
        uv_poll_stop(&poll->uv);
}

void pcr_poll_destroy(struct pcr_poll *poll) {
    if (poll)
        uv_close((uv_handle_t *)&poll->uv, on_closed);
}
