// SPDX-License-Identifier: Apache-2.0
// The loop room: event loops, timers, mailboxes, streams and the worker pool. The only room that
// sees libuv.
//
// One loop per thread. Everything here belongs to the loop it was made on and is used on that
// loop's thread only, except what is marked "any thread". Callbacks run on the loop's thread.
#ifndef PCR_LOOP_H
#define PCR_LOOP_H

#include "base/base.h"

struct pcr_loop;

// --- loops --------------------------------------------------------------------------------------
int pcr_loop_create(struct pcr_loop **out, struct pacer_error *err);
// Delivers letters that are still in the mailbox, closes what is still open on the loop (close
// callbacks run) and frees it. Not while it runs, nor while another thread may post to it: destroy
// the pool first.
void pcr_loop_destroy(struct pcr_loop *loop);
// Runs until pcr_loop_stop, then returns.
void pcr_loop_run(struct pcr_loop *loop);
// Any thread.
void pcr_loop_stop(struct pcr_loop *loop);
// Monotonic time as of the start of this turn of the loop; cheap.
uint64_t pcr_loop_now_ns(const struct pcr_loop *loop);
// The earliest moment at which what is being read now can have come: when the loop had seen the
// events of the turn before, or those of this one if it had to wait for them. A busy loop reads
// late, and whoever counts from the reading would not know.
uint64_t pcr_loop_arrived_ns(struct pcr_loop *loop);

// --- mailboxes: any thread → a loop's thread
// ------------------------------------------------------------------ A letter is the sender's
// memory; it is the receiver's from post until `deliver` is called. Letters posted by one thread
// arrive in order; many letters cost one wake-up (lock-free list, taken whole).
struct pcr_mail {
    struct pcr_mail *next;
    void (*deliver)(struct pcr_mail *mail);
};
void pcr_loop_post(struct pcr_loop *loop,
                   struct pcr_mail *mail); // any thread; never fails, never blocks

// --- the end of a turn --------------------------------------------------------------------------
// Has `fire` called once, at the end of this turn of the loop: after everything that was ready to
// be read has been read. From inside `fire` it is for the next turn, which then does not wait for
// events; before a loop is destroyed turns go on until nothing is deferred. Asking again before it
// has fired changes nothing. On the loop's thread.
struct pcr_deferred {          // zeroed by its owner before the first use; the owner's memory
    struct pcr_deferred *next; // private
    void (*fire)(struct pcr_deferred *deferred);
    bool pending; // private
};
void pcr_loop_defer(struct pcr_loop *loop, struct pcr_deferred *deferred);

// What a room above keeps per loop, found by a key of its own (an address). `destroy` is called
// with it when the loop is destroyed, before what is open on the loop is closed. At most
// PCR_LOOP_LOCALS_MAX keys; false when there are more already. On the loop's thread.
#define PCR_LOOP_LOCALS_MAX 8
bool pcr_loop_set_local(struct pcr_loop *loop, const void *key, void *value,
                        void (*destroy)(void *value));
void *pcr_loop_get_local(const struct pcr_loop *loop, const void *key); // NULL: none

// --- timers -------------------------------------------------------------------------------------
// On the heap; a timer that fired or was stopped may be started again. Millisecond
// resolution: for deadlines, never for batches.
struct pcr_timer;
struct pcr_timer *pcr_timer_create(struct pcr_loop *loop, void (*fire)(void *ctx), void *ctx);
void pcr_timer_start(struct pcr_timer *timer, uint64_t after_ms,
                     uint64_t repeat_ms); // restarts if running
void pcr_timer_stop(struct pcr_timer *timer);
void pcr_timer_destroy(struct pcr_timer *timer); // NULL is fine; never fires afterwards

// --- descriptors that others read and write ------------------------------------------------------
// Tells when a descriptor can be read or written without waiting, for libraries that do it
// themselves. Destroy it before the descriptor is closed. NULL: it cannot be watched, or no memory.
struct pcr_poll;
struct pcr_poll *pcr_poll_create(struct pcr_loop *loop, int fd,
                                 void (*ready)(void *ctx, bool readable, bool writable), void *ctx);
void pcr_poll_want(struct pcr_poll *poll, bool readable, bool writable);
void pcr_poll_destroy(struct pcr_poll *poll); // NULL is fine; `ready` is not called afterwards

// --- signals ------------------------------------------------------------------------------------
struct pcr_signal;
struct pcr_signal *pcr_signal_create(struct pcr_loop *loop, int signum,
                                     void (*fire)(void *ctx, int signum), void *ctx);
void pcr_signal_destroy(struct pcr_signal *sig);

// --- streams: TCP and unix sockets --------------------------------------------------------------
struct pcr_listener;
struct pcr_stream;

// An address as people write it: "127.0.0.1:8080", "[::1]:8080", ":8080" (all IPv4 and IPv6),
// "localhost:0", "unix:/path". PACER_EINVAL with a message if it is none.
struct pcr_listener_options {
    const char *address;
    int backlog; // 0: 511
    // Several loops of this process listen on the same port, the kernel spreads connections. Other
    // processes are noticed all the same. For port 0 ask the first listener for its port and give
    // that to the others.
    bool reuse_port;
};
// Accepted streams are handed to `accepted`, which then owns them. PACER_EBUSY if the port is in
// use (message says so and what to do), PACER_EIO otherwise. At EMFILE the listener pauses itself
// and goes on when a stream closes.
int pcr_listener_open(struct pcr_loop *loop, const struct pcr_listener_options *options,
                      void (*accepted)(void *ctx, struct pcr_stream *stream), void *ctx,
                      struct pcr_listener **out, struct pacer_error *err);
// The port the kernel chose where the address said 0; 0 for unix sockets.
int pcr_listener_port(const struct pcr_listener *listener);
// Hands over what the kernel has accepted already, then stops accepting; streams live on. A unix
// socket's file goes.
void pcr_listener_close(struct pcr_listener *listener);

struct pcr_stream_events {
    // `size` bytes arrived; borrowed for the call.
    void (*data)(void *ctx, char *bytes, size_t size);
    // The peer closed its side (status 0) or the connection broke (a negative PACER_E…).
    void (*end)(void *ctx, int status);
    // All queued writes have been taken by the kernel (called only after a write that had to wait).
    void (*drained)(void *ctx);
};
void pcr_stream_start(struct pcr_stream *stream, const struct pcr_stream_events *events, void *ctx);
void pcr_stream_pause(struct pcr_stream *stream); // no more `data` until resume: back-pressure
void pcr_stream_resume(struct pcr_stream *stream);
// Writes at once what the kernel takes; the rest is copied and sent when it can be. Returns the
// bytes still queued, or a negative PACER_E….
int64_t pcr_stream_write(struct pcr_stream *stream, const struct pcr_str *parts, size_t n_parts);
size_t pcr_stream_queued_bytes(const struct pcr_stream *stream);
// Sends what is queued, then closes the write side.
void pcr_stream_shutdown(struct pcr_stream *stream);
// Closes at once; `closed` (may be NULL) is the last callback of the stream, its memory is gone
// after it.
void pcr_stream_close(struct pcr_stream *stream, void (*closed)(void *ctx));
// "192.0.2.1:5000", "[2001:db8::1]:5000" or "unix". Borrowed.
const char *pcr_stream_peer(const struct pcr_stream *stream);

// --- the worker pool: CPU work off the loops ----------------------------------------------------
struct pcr_pool;
// In the submitter's memory from submit until `done` is called on `loop`.
struct pcr_job {
    struct pcr_mail mail; // private
    struct pcr_job *next; // private
    struct pcr_loop *loop;
    void (*run)(struct pcr_job *job);  // on a worker
    void (*done)(struct pcr_job *job); // on `loop`
};
int pcr_pool_create(unsigned threads, size_t queue_max, struct pcr_pool **out,
                    struct pacer_error *err);
void pcr_pool_destroy(struct pcr_pool *pool); // finishes what is queued, joins the threads
// PACER_EBUSY if `queue_max` jobs wait already. Any thread.
int pcr_pool_submit(struct pcr_pool *pool, struct pcr_job *job);

#endif
