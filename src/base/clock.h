// SPDX-License-Identifier: Apache-2.0
// Clocks. Policy takes `now_ns` as a parameter; only the edges ask here.
#ifndef PCR_BASE_CLOCK_H
#define PCR_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define PCR_NS_PER_US 1000ull
#define PCR_NS_PER_MS 1000000ull
#define PCR_NS_PER_S 1000000000ull

// Never goes back; for durations and deadlines.
uint64_t pcr_clock_mono_ns(void);
// Since 1970; for people and files.
uint64_t pcr_clock_real_ns(void);
// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 IMF-fixdate), 29 characters and NUL.
void pcr_clock_http_date(uint64_t real_ns, char out[30]);
// "2026-01-31T08:49:37.123Z" (RFC 3339), 24 characters and NUL.
void pcr_clock_rfc3339(uint64_t real_ns, char out[25]);

#endif
