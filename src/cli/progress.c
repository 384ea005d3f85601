// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#define WIDTH 30
#define STEP_NS (100 * PCR_NS_PER_MS)

void pcr_progress_init(struct pcr_progress *progress, bool quiet) {
    *progress = (struct pcr_progress){.is_shown = !quiet && isatty(STDERR_FILENO) == 1};
}

void pcr_progress_show(struct pcr_progress *progress, const char *what, size_t done, size_t total) {
    uint64_t now = pcr_clock_mono_ns();
    bool due = now - progress->drawn_ns >= STEP_NS || done >= total;
    if (!progress->is_shown || !due)
        return;
    progress->drawn_ns = now;
    size_t filled = total ? (done < total ? done : total) * WIDTH / total : 0;
    char bar[WIDTH + 1];
    memset(bar, '#', filled);
    memset(bar + filled, '.', WIDTH - filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%-12s [%s] %zu of %zu", what, bar, done, total);
    fflush(stderr);
}

void pcr_progress_clear(struct pcr_progress *progress) {
    if (progress->is_shown && progress->drawn_ns) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress->drawn_ns = 0;
}
