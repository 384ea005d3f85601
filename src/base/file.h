// SPDX-License-Identifier: Apache-2.0
// Whole files.
#ifndef PCR_BASE_FILE_H
#define PCR_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

// Appends the file's content to *buf, up to buf's maximum. PACER_ENOTFOUND, PACER_EIO (also for a
// directory), PACER_ELIMIT. The message names the file and the cause.
int pcr_file_read(const char *path, struct pcr_buf *buf, struct pacer_error *err);
// Replaces the file's content at one stroke: a temporary file beside it, fsync, rename.
int pcr_file_write(const char *path, struct pcr_str content, struct pacer_error *err);

#endif
