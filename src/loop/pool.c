// SPDX-License-Identifier: Apache-2.0
#include "loop/loop_priv.h"

#include <pthread.h>
#include <stdlib.h>

struct pcr_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct pcr_job *first;
    struct pcr_job **last;
    size_t queued;
    size_t queue_max;
    bool closing;
    unsigned n_threads;
    pthread_t threads[];
};

static void deliver_done(struct pcr_mail *mail) {
    struct pcr_job *job = PCR_CONTAINER_OF(mail, struct pcr_job, mail);
    job->done(job);
}

static struct pcr_job *take_job(struct pcr_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->closing)
        pthread_cond_wait(&pool->work, &pool->lock);
    struct pcr_job *job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *work(void *arg) {
    struct pcr_pool *pool = arg;
    struct pcr_job *job;
    while ((job = take_job(pool))) {
        job->run(job);
        job->mail.deliver = deliver_done;
        pcr_loop_post(job->loop, &job->mail);
    }
    return NULL;
}

static int start_threads(struct pcr_pool *pool, unsigned threads) {
    int rc = 0;
    while (pool->n_threads < threads && rc == 0) {
        rc = pcr_thread_start(&pool->threads[pool->n_threads], "pacer-pool", work, pool);
        if (rc == 0)
            pool->n_threads++;
    }
    return rc;
}

int pcr_pool_create(unsigned threads, size_t queue_max, struct pcr_pool **out,
                    struct pacer_error *err) {
    PCR_ASSERT(threads > 0 && threads <= 4096 && queue_max > 0);
    struct pcr_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    if (!pool)
        return pcr_err(err, PACER_ENOMEM, "pool", "no memory for a worker pool");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->last = &pool->first;
    pool->queue_max = queue_max;
    int rc = start_threads(pool, threads);
    if (rc != 0) {
        unsigned started = pool->n_threads;
        pcr_pool_destroy(pool);
        return pcr_err(err, PACER_EIO, "pool",
                       "only %u of %u worker threads could be started: %s; lower the number of "
                       "workers or raise the limit of processes (ulimit -u)",
                       started, threads, strerror(rc));
    }
    *out = pool;
    return 0;
}

void pcr_pool_destroy(struct pcr_pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pcr_pool_submit(struct pcr_pool *pool, struct pcr_job *job) {
    int rc = 0;
    pthread_mutex_lock(&pool->lock);
    PCR_ASSERT(!pool->closing);
    if (pool->queued >= pool->queue_max) {
        rc = PACER_EBUSY;
    } else {
        job->next = NULL;
        *pool->last = job;
        pool->last = &job->next;
        pool->queued++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return rc;
}
