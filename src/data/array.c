// SPDX-License-Identifier: Apache-2.0
// NumPy's arrays as rows: one in an .npy file, several in an .npz archive.
//
// An array's first dimension counts the rows. Its elements are converted to the type that the input
// declares where that loses nothing but the last digits of a float; what would be cut off, wrapped
// around or rounded to another whole number is an error that names the element.
#include "data/data_priv.h"

#include "data/npy.h"
#include "data/zip.h"

#include <math.h>
#include <stdio.h>

#define LIST_BYTES 160

struct array {
    struct pcr_data_job *job;
    struct pacer_tensor tensor;
    char where[PCR_DATA_WHERE_BYTES + PCR_DATA_SHOWN_BYTES]; // for messages
};

// --- its shape ----------------------------------------------------------------------------------
static int refuse_shape(const struct array *array, const struct pacer_tensor_info *input) {
    const struct pacer_tensor *tensor = &array->tensor;
    char shape[128], declared[128], shown[PCR_DATA_SHOWN_BYTES];
    const char *advice = "";
    if (input->shape && tensor->rank + 1 == input->rank)
        advice = "; if it is a single row, give it a first dimension of 1: a[None]";
    else if (tensor->rank == 0 || tensor->shape[0] == 0)
        advice = "; there is no row in it";
    if (!input->shape)
        snprintf(declared, sizeof declared, "any");
    else
        pcr_shape_text(input->shape, input->rank, declared, sizeof declared);
    return pcr_err(array->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s is of shape %s, but the shape of input %s is %s (the first dimension counts "
                   "rows)%s",
                   array->where, pcr_shape_text(tensor->shape, tensor->rank, shape, sizeof shape),
                   pcr_data_show(pcr_str(input->name), shown, sizeof shown), declared, advice);
}

static int settle(const struct array *array, struct pcr_data_slot *slot) {
    const struct pacer_tensor *tensor = &array->tensor;
    bool fits = tensor->rank > 0 && tensor->shape[0] > 0;
    if (fits && !pcr_data_settle_shape(slot, tensor->shape + 1, tensor->rank - 1))
        // what is saved of a column of a table has one dimension
        fits = tensor->rank == 1 && pcr_data_takes_one(slot->input, false) &&
               pcr_data_settle_flat(slot, 1);
    return fits ? 0 : refuse_shape(array, slot->input);
}

// --- its elements -------------------------------------------------------------------------------
// "[3,7]"
static void place_text(const struct pacer_tensor *tensor, size_t index, char *out, size_t bytes) {
    int64_t place[PACER_RANK_MAX];
    for (size_t i = tensor->rank; i-- > 0;) {
        place[i] = (int64_t)(index % (size_t)tensor->shape[i]);
        index /= (size_t)tensor->shape[i];
    }
    pcr_shape_text(place, tensor->rank, out, bytes);
}

static int refuse_element(const struct array *array, enum pacer_dtype dtype, size_t index,
                          enum pcr_data_fault fault) {
    const struct pacer_tensor *tensor = &array->tensor;
    char place[128], where[sizeof array->where + 160], shown[PCR_DATA_SHOWN_BYTES];
    place_text(tensor, index, place, sizeof place);
    snprintf(where, sizeof where, "%s: element %s", array->where, place);
    if (tensor->dtype == PACER_BYTES) {
        const struct pacer_bytes *text = (const struct pacer_bytes *)tensor->data + index;
        pcr_data_show((struct pcr_str){text->data, text->size}, shown, sizeof shown);
        return pcr_data_unfit(array->job, where, shown, dtype, fault);
    }
    struct pcr_data_number number = pcr_data_get_number(tensor->dtype, tensor->data, index);
    if (number.kind == PCR_DATA_REAL)
        snprintf(shown, sizeof shown, "%.9g", number.real);
    else if (number.kind == PCR_DATA_WHOLE)
        snprintf(shown, sizeof shown, "%llu", (unsigned long long)number.whole);
    else
        snprintf(shown, sizeof shown, "%lld", (long long)number.negative);
    return pcr_data_unfit(array->job, where, shown, dtype, fault);
}

static enum pcr_data_fault convert_element(const struct array *array, enum pacer_dtype dtype,
                                           char *data, size_t index) {
    const struct pacer_tensor *tensor = &array->tensor;
    bool allow_nan = array->job->options.allow_nan;
    if (tensor->dtype == PACER_BYTES) {
        const struct pacer_bytes *text = (const struct pacer_bytes *)tensor->data + index;
        return pcr_data_put_bytes(data, index, (struct pcr_str){text->data, text->size},
                                  array->job->arena);
    }
    struct pcr_data_number number = pcr_data_get_number(tensor->dtype, tensor->data, index);
    return pcr_data_put_number(dtype, data, index, &number, true, allow_nan);
}

static int copy_elements(const struct array *array, struct pcr_data_slot *slot, size_t rows) {
    const struct pacer_tensor *tensor = &array->tensor;
    enum pacer_dtype dtype = slot->input->dtype;
    size_t count = rows * slot->row_count;
    if ((tensor->dtype == PACER_BYTES) != (dtype == PACER_BYTES)) {
        char shown[PCR_DATA_SHOWN_BYTES];
        return pcr_err(array->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s holds %s, but input %s takes %s; convert it with .astype", array->where,
                       pacer_dtype_name(tensor->dtype),
                       pcr_data_show(pcr_str(slot->input->name), shown, sizeof shown),
                       pacer_dtype_name(dtype));
    }
    bool same = tensor->dtype == dtype && dtype != PACER_BYTES;
    if (same && (!pcr_data_is_float(dtype) || array->job->options.allow_nan)) {
        memcpy(slot->data, tensor->data, count * pcr_data_element_bytes(dtype));
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        enum pcr_data_fault fault = convert_element(array, dtype, slot->data, i);
        if (PCR_UNLIKELY(fault))
            return refuse_element(array, dtype, i, fault);
    }
    return 0;
}

// Takes over the first rows of an array; *rows is how many, or 0 if nobody has said yet.
static int take_array(const struct array *array, struct pcr_data_slot *slot, size_t *rows) {
    int rc = settle(array, slot);
    if (rc < 0)
        return rc;
    size_t n = (size_t)array->tensor.shape[0], rows_max = array->job->options.rows_max;
    if (*rows && *rows != n)
        return pcr_err(array->job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s has %zu rows, but those before it have %zu; all arrays need the same "
                       "number",
                       array->where, n, *rows);
    *rows = n;
    if (rows_max && rows_max < n)
        n = rows_max;
    rc = pcr_data_slot_alloc(array->job, slot, n);
    return rc < 0 ? rc : copy_elements(array, slot, n);
}

static int finish(struct pcr_data_job *job, const struct pcr_data_slot *slots, size_t rows) {
    size_t rows_max = job->options.rows_max;
    return pcr_data_slots_finish(job, slots, rows_max && rows_max < rows ? rows_max : rows);
}

int pcr_data_read_npy(struct pcr_data_job *job) {
    struct array array = {.job = job};
    struct pcr_data_slot *slot = pcr_data_slots(job);
    char wanted[LIST_BYTES];
    size_t rows = 0;
    snprintf(array.where, sizeof array.where, "%s: the array", job->path);
    if (!slot)
        return pcr_data_no_memory(job);
    if (job->n_inputs > 1)
        return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s: one array, but %s; save one for each with numpy.savez", job->path,
                       pcr_data_wanted(job, wanted, sizeof wanted));
    int rc = pcr_npy_read(&job->scratch, job->bytes, &array.tensor, job->err);
    if (rc < 0)
        return pcr_err_prefix(job->err, rc, "%s", job->path);
    rc = take_array(&array, slot, &rows);
    return rc < 0 ? rc : finish(job, slot, rows);
}

// --- archives -----------------------------------------------------------------------------------
static bool is_array(const struct pcr_zip_entry *entry) {
    return entry->name.len > 4 && pcr_str_ends_with(entry->name, PCR_STR(".npy"));
}

static struct pcr_str array_name(const struct pcr_zip_entry *entry) {
    return (struct pcr_str){entry->name.ptr, entry->name.len - 4};
}

// The array of that name, or the only one for a model's only input.
static const struct pcr_zip_entry *find_array(const struct pcr_zip *zip, struct pcr_str name,
                                              bool any_name) {
    const struct pcr_zip_entry *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < zip->n_entries; i++) {
        if (!is_array(&zip->entries[i]))
            continue;
        if (pcr_str_eq(array_name(&zip->entries[i]), name))
            return &zip->entries[i];
        only = &zip->entries[i];
        n++;
    }
    return any_name && n == 1 ? only : NULL;
}

static int refuse_names(struct pcr_data_job *job, const struct pcr_zip *zip, struct pcr_str name) {
    char wanted[LIST_BYTES], list[LIST_BYTES], shown[PCR_DATA_SHOWN_BYTES];
    struct pcr_str *names = pcr_arena_array(&job->scratch, zip->n_entries + 1, sizeof *names);
    size_t n = 0;
    if (!names)
        return pcr_data_no_memory(job);
    for (size_t i = 0; i < zip->n_entries; i++)
        if (is_array(&zip->entries[i]))
            names[n++] = array_name(&zip->entries[i]);
    return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                   "%s: there is no array for input %s; %s; the file has %zu array%s: %s",
                   job->path, pcr_data_show(name, shown, sizeof shown),
                   pcr_data_wanted(job, wanted, sizeof wanted), n, n == 1 ? "" : "s",
                   pcr_data_name_list(names, n, list, sizeof list));
}

// Unpacks one array into an arena of its own, which goes when its rows are taken over.
static int take_entry(struct pcr_data_job *job, const struct pcr_zip *zip,
                      const struct pcr_zip_entry *entry, struct pcr_data_slot *slot, size_t *rows) {
    struct array array = {.job = job};
    struct pcr_arena unpacked;
    struct pcr_str bytes;
    char shown[PCR_DATA_SHOWN_BYTES];
    snprintf(array.where, sizeof array.where, "%s: array %s", job->path,
             pcr_data_show(array_name(entry), shown, sizeof shown));
    pcr_arena_init(&unpacked, 2 * PCR_DATA_FILE_BYTES_MAX + (1 << 20));
    int rc = pcr_zip_read(zip, entry, PCR_DATA_FILE_BYTES_MAX, &unpacked, &bytes, job->err);
    if (rc < 0) {
        rc = pcr_err_prefix(job->err, rc, "%s", job->path);
    } else {
        rc = pcr_npy_read(&unpacked, bytes, &array.tensor, job->err);
        rc = rc < 0 ? pcr_err_prefix(job->err, rc, "%s", array.where)
                    : take_array(&array, slot, rows);
    }
    pcr_arena_fini(&unpacked);
    return rc;
}

int pcr_data_read_npz(struct pcr_data_job *job) {
    struct pcr_data_slot *slots = pcr_data_slots(job);
    struct pcr_zip zip;
    size_t rows = 0;
    if (!slots)
        return pcr_data_no_memory(job);
    int rc = pcr_zip_open(&job->scratch, job->bytes, &zip, job->err);
    if (rc < 0)
        return pcr_err_prefix(job->err, rc, "%s", job->path);
    for (size_t i = 0; i < job->n_inputs; i++) {
        struct pcr_str name = pcr_str(job->inputs[i].name);
        const struct pcr_zip_entry *entry = find_array(&zip, name, job->n_inputs == 1);
        if (!entry)
            return refuse_names(job, &zip, name);
        rc = take_entry(job, &zip, entry, &slots[i], &rows);
        if (rc < 0)
            return rc;
    }
    return finish(job, slots, rows);
}
