// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files, as tensors.
#ifndef PCR_DATA_NPY_H
#define PCR_DATA_NPY_H

#include "base/base.h"

#include <pacer/tensor.h>

// Does it begin like one?
bool pcr_npy_sniff(struct pcr_str bytes);
// Reads one array (format 1.0 to 3.0): booleans, integers, floats of 2, 4 and 8 bytes, byte strings
// and text, of either byte order, in C or Fortran order. Shape and data are copies in the arena;
// the name is left NULL. PACER_ESYNTAX, PACER_EUNSUPPORTED (objects, complex numbers, dates,
// records), PACER_ELIMIT, PACER_ENOMEM.
int pcr_npy_read(struct pcr_arena *arena, struct pcr_str bytes, struct pacer_tensor *out,
                 struct pacer_error *err);

#endif
