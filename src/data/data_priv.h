// SPDX-License-Identifier: Apache-2.0
// What the files of the data room show each other.
#ifndef PCR_DATA_PRIV_H
#define PCR_DATA_PRIV_H

#include "data/data.h"

#define PCR_DATA_COMPONENT "data"
#define PCR_DATA_WHERE_BYTES 160
#define PCR_DATA_SHOWN_BYTES 64
#define PCR_DATA_FAULT_BYTES 400

// One call of pcr_data_load.
struct pcr_data_job {
    const char *path;
    struct pcr_str bytes; // of the file; a NUL follows them
    const struct pacer_tensor_info *inputs;
    size_t n_inputs;
    struct pcr_data_options options;
    struct pcr_arena *arena;  // for what stays
    struct pcr_arena scratch; // for what does not
    struct pcr_data *out;
    struct pacer_error *err;
};

// pcr_data_load without the file.
int pcr_data_read(const char *path, struct pcr_str bytes, const struct pacer_tensor_info *inputs,
                  size_t n_inputs, const struct pcr_data_options *options, struct pcr_arena *arena,
                  struct pcr_data *out, struct pacer_error *err);
int pcr_data_read_csv(struct pcr_data_job *job, bool tabs);
int pcr_data_read_json(struct pcr_data_job *job);
int pcr_data_read_npy(struct pcr_data_job *job);
int pcr_data_read_npz(struct pcr_data_job *job);
bool pcr_data_path_has(const char *path, const char *extension);

// --- numbers and elements -----------------------------------------------------------------------
enum pcr_data_kind { PCR_DATA_WHOLE, PCR_DATA_NEGATIVE, PCR_DATA_REAL };

struct pcr_data_number {
    enum pcr_data_kind kind;
    union {
        uint64_t whole;
        int64_t negative; // or 0, which is -0 then
        double real;      // the nearest one
    };
    struct pcr_str decimal; // what it was read from; ptr NULL: `real` is the number itself
};

// Why a value is no element of its tensor.
enum pcr_data_fault {
    PCR_DATA_FITS = 0,
    PCR_DATA_NO_NUMBER,
    PCR_DATA_NO_BOOL,
    PCR_DATA_NO_TEXT,
    PCR_DATA_NOT_WHOLE,
    PCR_DATA_OUT_OF_RANGE,
    PCR_DATA_NOT_EXACT,
    PCR_DATA_NOT_FINITE,
    PCR_DATA_MISSING,
    PCR_DATA_NOT_UTF8,
    PCR_DATA_NO_MEMORY,
};

// Reads a decimal number, NaN or infinity. The byte behind `text` must be readable and no part of a
// number. PCR_DATA_NO_NUMBER, or PCR_DATA_OUT_OF_RANGE for one that no FP64 can hold.
enum pcr_data_fault pcr_data_number_read(struct pcr_str text, struct pcr_data_number *out);
// The sign of (the number that `decimal` means) - nearest; `decimal` has been read as a number.
int pcr_data_decimal_side(struct pcr_str decimal, double nearest);

// Bytes per element in memory; for BYTES those of a struct pacer_bytes.
size_t pcr_data_element_bytes(enum pacer_dtype dtype);
bool pcr_data_is_float(enum pacer_dtype dtype);
// Stores a number as element `index` of `data`: whole numbers where they fit, reals rounded to the
// nearest once. `exact`: whole numbers must not be rounded either.
enum pcr_data_fault pcr_data_put_number(enum pacer_dtype dtype, void *data, size_t index,
                                        const struct pcr_data_number *number, bool exact,
                                        bool allow_nan);
// Stores a text as element `index`: as a number or a truth value for types other than BYTES, for
// BYTES a copy in `arena`. Readable behind `text` as for pcr_data_number_read.
enum pcr_data_fault pcr_data_put_text(enum pacer_dtype dtype, void *data, size_t index,
                                      struct pcr_str text, struct pcr_arena *arena, bool allow_nan);
// Stores a copy of a text, which must be UTF-8, in the arena.
enum pcr_data_fault pcr_data_put_bytes(void *data, size_t index, struct pcr_str text,
                                       struct pcr_arena *arena);
// The element `index` as a number; `dtype` is not BYTES.
struct pcr_data_number pcr_data_get_number(enum pacer_dtype dtype, const void *data, size_t index);

// --- inputs on their way to tensors -------------------------------------------------------------
struct pcr_data_slot {
    const struct pacer_tensor_info *input;
    size_t rank; // of the tensor, at least 1
    int64_t shape[PACER_RANK_MAX + 1];
    size_t row_count; // elements of a row, at least 1 once the shape is settled
    char *data;
};

// One slot per input, in the scratch arena; NULL: no memory, *err is set.
struct pcr_data_slot *pcr_data_slots(struct pcr_data_job *job);
// Does a row of this input hold one value? `open_too`: also where dimensions are left open.
bool pcr_data_takes_one(const struct pacer_tensor_info *input, bool open_too);
// Settles the shape for rows of n values one after the other, or for rows of a shape of their own.
// False if that is no row of this input.
bool pcr_data_settle_flat(struct pcr_data_slot *slot, size_t n);
bool pcr_data_settle_shape(struct pcr_data_slot *slot, const int64_t *shape, size_t rank);
// Memory for so many rows of one slot, of each slot.
int pcr_data_slot_alloc(struct pcr_data_job *job, struct pcr_data_slot *slot, size_t rows);
int pcr_data_slots_alloc(struct pcr_data_job *job, struct pcr_data_slot *slots, size_t rows);
// Makes job->out from the slots.
int pcr_data_slots_finish(struct pcr_data_job *job, const struct pcr_data_slot *slots, size_t rows);

// --- words --------------------------------------------------------------------------------------
// The text in quotes, cut short, with what cannot be printed as '?'.
const char *pcr_data_show(struct pcr_str text, char *out, size_t out_bytes);
// "path:line" of a place in job->bytes.
const char *pcr_data_line(const struct pcr_data_job *job, const char *at,
                          char out[PCR_DATA_WHERE_BYTES]);
// An error at a place in job->bytes: "path:line: …".
__attribute__((format(printf, 4, 5))) int pcr_data_fail_at(struct pcr_data_job *job, int code,
                                                           const char *at, const char *format, ...);
// What the model wants per row, for a person: "1 input 'X' of shape [-1,4]", "3 inputs 'a', …".
const char *pcr_data_wanted(const struct pcr_data_job *job, char *out, size_t out_bytes);
// "'a', 'b', 'c', …" as far as there is room.
const char *pcr_data_name_list(const struct pcr_str *names, size_t n, char *out, size_t out_bytes);
// An error that says why `shown` at `where` is no element of such a tensor.
int pcr_data_unfit(struct pcr_data_job *job, const char *where, const char *shown,
                   enum pacer_dtype dtype, enum pcr_data_fault fault);
int pcr_data_no_memory(struct pcr_data_job *job);

#endif
