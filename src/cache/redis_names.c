// SPDX-License-Identifier: Apache-2.0
// The thread is detached. Whoever comes last, the thread or the loop, frees the look-up: under the
// lock the thread either posts it to the loop, which is then still there, or finds it dropped.
#include "cache/redis_names.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct pcr_redis_look_up {
    struct pcr_mail mail;
    pthread_mutex_t lock;
    bool dropped;
    struct pcr_loop *loop;
    void (*done)(void *ctx, const struct pcr_redis_addresses *found);
    void *ctx;
    char host[256];
    struct pcr_redis_addresses found;
};

static void free_look_up(struct pcr_redis_look_up *look_up) {
    pthread_mutex_destroy(&look_up->lock);
    free(look_up);
}

static void on_mail(struct pcr_mail *mail) {
    struct pcr_redis_look_up *look_up = PCR_CONTAINER_OF(mail, struct pcr_redis_look_up, mail);
    pthread_mutex_lock(&look_up->lock); // the thread has let go of it
    bool dropped = look_up->dropped;
    pthread_mutex_unlock(&look_up->lock);
    if (!dropped)
        look_up->done(look_up->ctx, &look_up->found);
    free_look_up(look_up);
}

static void take_addresses(const struct addrinfo *list, struct pcr_redis_addresses *out) {
    for (const struct addrinfo *at = list; at && out->n < PCR_REDIS_ADDRESSES_MAX; at = at->ai_next)
        if (getnameinfo(at->ai_addr, at->ai_addrlen, out->text[out->n], PCR_REDIS_ADDRESS_BYTES,
                        NULL, 0, NI_NUMERICHOST) == 0)
            out->n++;
}

static void look_up_now(const char *host, struct pcr_redis_addresses *out) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc == 0) {
        take_addresses(list, out);
        freeaddrinfo(list);
    }
    if (out->n == 0)
        snprintf(out->why, sizeof out->why, "%s",
                 rc ? gai_strerror(rc) : "the name has no address");
}

static void *run(void *arg) {
    struct pcr_redis_look_up *look_up = arg;
    look_up_now(look_up->host, &look_up->found);
    pthread_mutex_lock(&look_up->lock);
    bool dropped = look_up->dropped;
    if (!dropped)
        pcr_loop_post(look_up->loop, &look_up->mail);
    pthread_mutex_unlock(&look_up->lock);
    if (dropped)
        free_look_up(look_up);
    return NULL;
}

struct pcr_redis_look_up *
pcr_redis_look_up_start(struct pcr_loop *loop, const char *host,
                        void (*done)(void *ctx, const struct pcr_redis_addresses *found),
                        void *ctx) {
    struct pcr_redis_look_up *look_up = calloc(1, sizeof *look_up);
    if (!look_up)
        return NULL;
    look_up->mail.deliver = on_mail;
    look_up->loop = loop;
    look_up->done = done;
    look_up->ctx = ctx;
    snprintf(look_up->host, sizeof look_up->host, "%s", host);
    pthread_mutex_init(&look_up->lock, NULL);
    pthread_t thread;
    if (pcr_thread_start(&thread, "pacer-names", run, look_up) != 0) {
        free_look_up(look_up);
        return NULL;
    }
    pthread_detach(thread);
    return look_up;
}

void pcr_redis_look_up_drop(struct pcr_redis_look_up *look_up) {
    if (!look_up)
        return;
    pthread_mutex_lock(&look_up->lock);
    look_up->dropped = true; // from here on it is the thread's, or the mail's
    pthread_mutex_unlock(&look_up->lock);
}
