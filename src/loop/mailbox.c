// SPDX-License-Identifier: Apache-2.0
// The mailbox: a lock-free stack which many threads push to and the loop's thread takes whole.
//
// Ordering. A push is a compare-and-swap of the head with release, so that whoever takes the letter
// with acquire sees its content. Only the push that finds the stack empty wakes the loop; a push
// onto a letter relies on that letter's wake-up, which is either still to come or under way. Taking
// exchanges the head with NULL, so every letter is either in the taken batch, or its push found the
// stack empty and it sends a wake-up of its own.
//
// uv_async_send skips the system call while an earlier wake-up is pending: it stores (the push),
// then loads `pending`; the loop stores `pending` = 0, then loads (the exchange). For one of the
// two to see the other, each side needs a full barrier between its store and its load. The
// loop's side has one in libuv's own compare-and-swap; this side has the fence below.
// ThreadSanitizer knows no fences and does not need this one: it runs on x86, where the
// compare-and-swap is a full barrier.
//
// A ring was rejected: it has a size, so posting could fail or block, which a worker that holds
// results cannot bear.
#include "loop/loop_priv.h"

#if defined(__SANITIZE_THREAD__)
#define HAVE_FENCE 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAVE_FENCE 0
#endif
#endif
#ifndef HAVE_FENCE
#define HAVE_FENCE 1
#endif

void pcr_loop_post(struct pcr_loop *loop, struct pcr_mail *mail) {
    struct pcr_mail *head = atomic_load_explicit(&loop->mail, memory_order_relaxed);
    do {
        mail->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->mail, &head, mail, memory_order_seq_cst,
                                                    memory_order_relaxed));
    if (head)
        return;
#if HAVE_FENCE
    atomic_thread_fence(memory_order_seq_cst);
#endif
    uv_async_send(&loop->wake);
}

void pcr_loop_deliver_mail(struct pcr_loop *loop) {
    struct pcr_mail *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_seq_cst);
    struct pcr_mail *oldest = NULL;
    while (newest) {
        struct pcr_mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct pcr_mail *next = oldest->next; // the letter is gone after its delivery
        oldest->deliver(oldest);
        oldest = next;
    }
}
