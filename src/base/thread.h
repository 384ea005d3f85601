// SPDX-License-Identifier: Apache-2.0
// Starting threads.
#ifndef PCR_BASE_THREAD_H
#define PCR_BASE_THREAD_H

#include <pthread.h>

// Starts a thread that takes no signals: those belong to the thread whose loop watches them. `name`
// is what debuggers and `ps -L` call it, at most 15 characters. 0, or an errno value.
int pcr_thread_start(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg);

#endif
