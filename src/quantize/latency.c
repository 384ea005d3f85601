// SPDX-License-Identifier: Apache-2.0
#include "quantize/job_priv.h"

int pcr_quant_evidence_latency(struct pcr_quant_job *job, struct pacer_session *int8) {
    struct pacer_quantize_report *r = job->report;
    const struct pacer_quantize_options *o = &job->options;
    struct pacer_session *const sessions[] = {job->reference, int8};
    size_t fixed = pcr_rows_batch(job->reference, 0), n = fixed ? 1 : o->n_batch_sizes;
    r->latencies = pcr_arena_calloc(&r->arena, n, sizeof *r->latencies);
    int code = 0;
    if (!r->latencies)
        return pcr_err(job->err, PACER_ENOMEM, "quantize", "out of memory");
    for (size_t i = 0; i < n && code == 0; i++) {
        struct pcr_latency latency[2];
        size_t batch = fixed ? fixed : o->batch_sizes[i];
        if (batch > (size_t)job->data.rows)
            continue; // there are not so many rows
        const struct pcr_latency_how how = {sessions, 2, &job->data, batch, o->seconds};
        code = pcr_latency_measure(&how, latency, job->err);
        if (code == 0)
            code = pcr_quant_progress(job, "latency", i + 1, n);
        r->latencies[r->n_latencies++] =
            (struct pcr_quant_latency){.batch = batch,
                                       .fp32_p50_us = latency[0].p50_us,
                                       .fp32_p99_us = latency[0].p99_us,
                                       .int8_p50_us = latency[1].p50_us,
                                       .int8_p99_us = latency[1].p99_us,
                                       .speedup = latency[1].speedup,
                                       .low = latency[1].low,
                                       .high = latency[1].high};
    }
    return code;
}
