// SPDX-License-Identifier: Apache-2.0
// Collectors of ranges: what values does a tensor take, and which of them are worth 8 bits? One
// collector per tensor, fed with what the tensor was in each run. Sans-I/O.
//
// The methods and their results are those of onnxruntime.quantization (calibrate.py, held against
// 1.32), with its rounding, so that the scales come out equal:
// - minmax: the least and the greatest;
// - percentile: a histogram's edges between which so many per cent lie; symmetric: of magnitudes.
//   Both ends are the lower edges of their bins, so at the upper one up to a bin is cut off even
//   with 100 %;
// - entropy: of all cuts around the middle of a histogram the one whose quantized values tell most
//   of the whole (least Kullback-Leibler divergence).
// Histograms begin with the first tensor's range and grow by whole bins. That tool puts all runs
// into one histogram instead, for which it keeps them all in memory. The same result in bounded
// memory takes two passes: collect with any method first, and hand pcr_ranges_seen's record to the
// second pass as `expected`.
//
// What differs from that tool, on purpose:
// - NaN and infinities are left out and counted; there they are an error, or spoil the range;
// - no finite value is lost; there magnitudes below the first tensor's least are dropped, and some
//   at the upper end;
// - more than bins_max bins become half as many, twice as wide; there they grow without end;
// - values that all lie in one bin, as a constant does, have the range of minmax; there the ends
//   cross, and the constant is cut off;
// - an empty tensor says nothing; there it counts as a 0;
// - ranges too narrow for so many float32 edges are widened; there they are an error. Magnitudes
//   beyond a quarter of FLT_MAX count as that quarter;
// - divergences are computed in float64, in O(bins · quantized bins) rather than O(bins²); there in
//   float32: where two cuts are equally good to seven digits, the other one may be taken.
#ifndef PCR_QUANTIZE_RANGES_H
#define PCR_QUANTIZE_RANGES_H

#include "base/base.h"

enum pcr_ranges_method { PCR_RANGES_MINMAX, PCR_RANGES_PERCENTILE, PCR_RANGES_ENTROPY };

struct pcr_ranges_seen {           // of one tensor
    float min, max;                // of what is finite; 0 and 0 if nothing is
    float least;                   // magnitude
    uint64_t n, n_nan, n_infinite; // n: what is finite
};

struct pcr_ranges_options { // 0: the default
    enum pcr_ranges_method method;
    bool symmetric;     // around 0; the entropy method takes no notice
    size_t n_bins;      // even; percentile 2048, entropy 128
    size_t n_quantized; // entropy: bins of a quantized histogram, 128. With 128 of 128 the only
                        // cut is the whole, as that tool has it; 2048 and 128 are the paper's
    double percentile;  // 99.999
    size_t bins_max;    // 65536 or n_bins, whichever is more
    const struct pcr_ranges_seen *expected; // what is to come, if it is known; NULL: it is not
};

struct pcr_ranges;

// PACER_EINVAL names the option that makes no sense; PACER_ENOMEM.
int pcr_ranges_create(const struct pcr_ranges_options *options, struct pcr_ranges **out,
                      struct pacer_error *err);
// The values of one run. Memory: 12 bytes per bin. PACER_ENOMEM: nothing of them was taken in.
int pcr_ranges_add(struct pcr_ranges *ranges, const float *x, size_t n);
const struct pcr_ranges_seen *pcr_ranges_seen(const struct pcr_ranges *ranges);
// The range; more may be added afterwards. PACER_ENOTFOUND: no finite value was seen; PACER_ENOMEM.
int pcr_ranges_finish(const struct pcr_ranges *ranges, float *min, float *max);
void pcr_ranges_destroy(struct pcr_ranges *ranges);

#endif
