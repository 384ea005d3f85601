// SPDX-License-Identifier: Apache-2.0
// The data room: rows of data for a model's inputs, read from files.
//
// One table goes into one model: every row is what the model is asked once. Files are CSV, JSON
// lines, or NumPy's .npy and .npz. They are not trusted: sizes are bounded, and whatever does not
// fit the model is refused with words that say where and what to do.
#ifndef PCR_DATA_H
#define PCR_DATA_H

#include "base/base.h"

#include <pacer/tensor.h>

#define PCR_DATA_FILE_BYTES_MAX ((size_t)2 << 30)
#define PCR_DATA_COLUMNS_MAX 65536

// Rows for a model: a tensor per input, all with the same first dimension.
//
// A tensor has the element type that its input declares and the shape [rows, rest], where rest are
// the input's dimensions after the first, those left open filled in from the file. So a model that
// takes one row at a time (a fixed first dimension of 1) or scalars (rank 0) gets [rows, …] and
// [rows] as well; its caller cuts them. Of an input that declares no shape at all the file decides.
struct pcr_data {
    struct pacer_tensor *tensors; // in the order of the model's inputs, named as they are
    size_t n_tensors;
    int64_t rows; // at least 1
};

struct pcr_data_options {
    size_t rows_max; // further rows are not read; 0: all
    bool allow_nan;  // NaN, infinities and missing values (as NaN) in floats are no error
};

// Reads `path` for a model with these inputs; `options` may be NULL. Everything in *out lives in
// the arena, nothing is borrowed from `inputs`. Blocks; the file itself (2 GiB at most) and what is
// needed to read it take memory beside the arena until the call returns.
//
// The content decides where it can (.npy, .npz), else the extension (.csv, .tsv, .json, .jsonl,
// .ndjson), else the first character: '{' and '[' begin JSON, anything else CSV.
//
// - CSV (RFC 4180, UTF-8) has a header line. Columns go to the inputs of their names, others are
//   left aside, if every input is a column and takes one value per row; else all columns together,
//   in the order of the file, make up the row of a model's only input.
// - .npy is the array of a model's only input, .npz has one per input, by name.
// - JSON has a row per line, or is one array of rows. A row is an object with a value for each
//   input, or for a model's only input an array, or an object with a scalar for each feature.
//
// PACER_ENOTFOUND, PACER_EIO (the file cannot be read), PACER_ESYNTAX (it is malformed),
// PACER_EINVAL (it does not fit the model), PACER_EUNSUPPORTED (a format that is not read),
// PACER_ELIMIT, PACER_ENOMEM. The message begins with path and line.
int pcr_data_load(const char *path, const struct pacer_tensor_info *inputs, size_t n_inputs,
                  const struct pcr_data_options *options, struct pcr_arena *arena,
                  struct pcr_data *out, struct pacer_error *err);

// data->n_tensors tensors for pcr_data_slice, with shapes of their own; NULL: no memory. Every
// thread that cuts slices has its own.
struct pacer_tensor *pcr_data_views(const struct pcr_data *data, struct pcr_arena *arena);
// Makes `views` show the rows from `first` to first + n, which must be there; nothing is copied.
void pcr_data_slice(const struct pcr_data *data, int64_t first, int64_t n,
                    struct pacer_tensor *views);

#endif
