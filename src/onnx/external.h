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

// The bytes that a model's tensors take of files beside it, each file's once as far as the tensors
// say. PACER_ENOTFOUND, PACER_EIO, PACER_EMODEL, PACER_ENOMEM.
int pcr_onnx_external_bytes(const char *path, uint64_t *bytes, struct pacer_error *err);

#endif
