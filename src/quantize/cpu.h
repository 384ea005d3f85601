// SPDX-License-Identifier: Apache-2.0
// What a processor does with products of 8 bits.
#ifndef PCR_QUANTIZE_CPU_H
#define PCR_QUANTIZE_CPU_H

#include "base/base.h"

#include <pacer/quantize.h>

// Whether it adds two products of an unsigned and a signed number of 8 bits in 16 bits, which
// saturates (VPMADDUBSW): x86 without VNNI. Weights of 7 bits are safe there.
bool pcr_cpu_saturates(enum pacer_quantize_target target);
// What the machine calls its processor, in `arena`; "an unknown processor" where it does not say.
const char *pcr_cpu_name(struct pcr_arena *arena);

#endif
