// SPDX-License-Identifier: Apache-2.0
// What the files of the loop room show each other.
#ifndef PCR_LOOP_PRIV_H
#define PCR_LOOP_PRIV_H

#include "loop/loop.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/un.h>
#include <uv.h>

#define PCR_LOOP_READ_BYTES (64u << 10)

struct pcr_local {
    const void *key;
    void *value;
    void (*destroy)(void *value);
};

struct pcr_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_check_t turn_end; // comes after the events of a turn
    uv_idle_t busy;      // runs while something is deferred: the loop does not wait for events
    uv_prepare_t look;   // comes right before the loop looks for events
    uint64_t look_ns;    // when it did
    uint64_t woke_ns, before_ns; // when it had seen them, and the turn before; 0: not yet
    struct pcr_deferred *deferred;
    struct pcr_deferred **last_deferred;
    struct pcr_local locals[PCR_LOOP_LOCALS_MAX];
    size_t n_locals;
    _Atomic(struct pcr_mail *) mail; // newest first
    atomic_bool stop;
    struct pcr_list starved; // listeners that wait for a file descriptor
    char read_buffer[PCR_LOOP_READ_BYTES];
};

// Every uv handle's `data` points to one of these, the first member of its owner, so that a loop
// which is destroyed can close what was left open.
struct pcr_loop_owner {
    void (*abandon)(struct pcr_loop_owner *owner, uv_handle_t *handle);
};

void pcr_loop_deliver_mail(struct pcr_loop *loop);
void pcr_loop_turns_init(struct pcr_loop *loop); // on a fresh uv loop; cannot fail
void pcr_loop_end_turn(struct pcr_loop *loop);   // fires what is deferred by now
// To be called first by whatever libuv calls for an event: the wait for events is over.
void pcr_loop_woke(struct pcr_loop *loop);
// Whether it is one of the handles of turn.c.
bool pcr_loop_owns_handle(const struct pcr_loop *loop, const uv_handle_t *handle);
// A descriptor was given back: listeners that ran out try again.
void pcr_loop_feed_starved(struct pcr_loop *loop);

struct pcr_sockaddr {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t len;
    bool both_families; // "*": IPv6 with IPv4 mapped, or IPv4 where there is no IPv6
};

int pcr_address_parse(const char *text, struct pcr_sockaddr *out, struct pacer_error *err);
// Writes "192.0.2.1:5000", "[2001:db8::1]:5000" or "unix".
void pcr_address_format(const struct pcr_sockaddr *address, char *out, size_t out_bytes);

// Takes the connected descriptor, also when it fails. NULL when memory is out.
struct pcr_stream *pcr_stream_adopt(struct pcr_loop *loop, int fd, const struct pcr_sockaddr *peer);

int pcr_uv_code(int uv_status);

#endif
