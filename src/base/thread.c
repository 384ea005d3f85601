// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <signal.h>

int pcr_thread_start(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(*out, name);
    return rc;
}
