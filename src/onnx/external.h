// SPDX-License-Identifier: Apache-2.0
// Weights that a model keeps in files beside it.
#ifndef PCR_ONNX_EXTERNAL_H
#define PCR_ONNX_EXTERNAL_H

#include "onnx/onnx.h"

#include <limits.h>
#include <sys/stat.h>

// Finds the file that holds a tensor's numbers: with links resolved into `path`, below `folder` or
// `own_folder` (that of the model behind its links; both resolved themselves), a regular file that
// is long enough. `folder` NULL: nothing is found. PACER_EMODEL, with what to do about it.
int pcr_onnx_external_find(const struct pcr_onnx_external *external, const char *folder,
                           const char *own_folder, char path[PATH_MAX], struct stat *st,
                           struct pacer_error *err);

#endif
