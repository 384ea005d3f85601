// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * PCR_NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t pcr_clock_mono_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t pcr_clock_real_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

static struct tm civil(uint64_t real_ns) {
    time_t seconds = (time_t)(real_ns / PCR_NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    return tm;
}

void pcr_clock_http_date(uint64_t real_ns, char out[30]) {
    // strftime would use the locale's names.
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = civil(real_ns);
    snprintf(out, 30, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
             (unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
             (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

void pcr_clock_rfc3339(uint64_t real_ns, char out[25]) {
    struct tm tm = civil(real_ns);
    unsigned ms = (unsigned)(real_ns / PCR_NS_PER_MS % 1000);
    snprintf(out, 25, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(tm.tm_year + 1900) % 10000,
             (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
             (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
             ms % 1000);
}
