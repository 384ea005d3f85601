// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <stdlib.h>

struct pcr_signal {
    struct pcr_loop_owner owner;
    uv_signal_t uv;
    void (*fire)(void *ctx, int signum);
    void *ctx;
};

static void on_closed(uv_handle_t *handle) {
    free(PCR_CONTAINER_OF(handle, struct pcr_signal, uv));
}

static void abandon(struct pcr_loop_owner *owner, uv_handle_t *handle) {
    (void)owner;
    uv_close(handle, on_closed);
}

static void on_fire(uv_signal_t *handle, int signum) {
    struct pcr_signal *sig = PCR_CONTAINER_OF(handle, struct pcr_signal, uv);
    sig->fire(sig->ctx, signum);
}

struct pcr_signal *pcr_signal_create(struct pcr_loop *loop, int signum,
                                     void (*fire)(void *ctx, int signum), void *ctx) {
    struct pcr_signal *sig = calloc(1, sizeof *sig);
    if (!sig)
        return NULL;
    sig->owner.abandon = abandon;
    sig->fire = fire;
    sig->ctx = ctx;
    if (uv_signal_init(&loop->uv, &sig->uv) < 0) {
        free(sig);
        return NULL;
    }
    sig->uv.data = &sig->owner;
    if (uv_signal_start(&sig->uv, on_fire, signum) < 0) {
        pcr_signal_destroy(sig);
        return NULL;
    }
    return sig;
}

void pcr_signal_destroy(struct pcr_signal *sig) {
    if (sig)
        uv_close((uv_handle_t *)&sig->uv, on_closed);
}
