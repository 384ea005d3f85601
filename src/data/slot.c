// SPDX-License-Identifier: Apache-2.0
// Inputs on their way to tensors: what a row holds, memory for the rows, the tensors.
#include "data/data_priv.h"

// What the dimensions after the first say of a row: elements of the fixed ones, how many are open.
struct row {
    size_t count;
    size_t n_open;
    bool any; // no shape is declared
};

static struct row row_of(const struct pacer_tensor_info *input) {
    struct row row = {.count = 1, .any = !input->shape};
    for (size_t i = 1; !row.any && i < input->rank; i++) {
        if (input->shape[i] < 0)
            row.n_open++;
        else if (__builtin_mul_overflow(row.count, (size_t)input->shape[i], &row.count))
            row.count = SIZE_MAX; // no file holds that many
    }
    return row;
}

struct pcr_data_slot *pcr_data_slots(struct pcr_data_job *job) {
    struct pcr_data_slot *slots = pcr_arena_calloc(&job->scratch, job->n_inputs, sizeof *slots);
    for (size_t i = 0; slots && i < job->n_inputs; i++)
        slots[i].input = &job->inputs[i];
    if (!slots)
        pcr_data_no_memory(job);
    return slots;
}

bool pcr_data_takes_one(const struct pacer_tensor_info *input, bool open_too) {
    struct row row = row_of(input);
    if (row.any || row.n_open > 0)
        return open_too && row.count == 1;
    return row.count == 1;
}

// Takes over the declared dimensions, with `open` for those left open.
static void take_declared(struct pcr_data_slot *slot, int64_t open) {
    slot->rank = slot->input->rank > 0 ? slot->input->rank : 1;
    for (size_t i = 1; i < slot->rank; i++)
        slot->shape[i] = slot->input->shape[i] < 0 ? open : slot->input->shape[i];
}

bool pcr_data_settle_flat(struct pcr_data_slot *slot, size_t n) {
    struct row row = row_of(slot->input);
    if (n == 0)
        return false;
    slot->row_count = n;
    if (row.any) {
        slot->rank = 2;
        slot->shape[1] = (int64_t)n;
        return true;
    }
    if (row.count == 0 || n % row.count != 0 || (row.n_open == 0 && n != row.count))
        return false;
    if (row.n_open > 1 && n != 1)
        return false;
    take_declared(slot, (int64_t)(n / row.count));
    return true;
}

bool pcr_data_settle_shape(struct pcr_data_slot *slot, const int64_t *shape, size_t rank) {
    const struct pacer_tensor_info *input = slot->input;
    size_t declared = input->rank > 0 ? input->rank - 1 : 0;
    if (rank >= PACER_RANK_MAX || pacer_shape_count(shape, rank, &slot->row_count) < 0 ||
        slot->row_count == 0)
        return false;
    if (input->shape && rank != declared)
        return false;
    for (size_t i = 0; input->shape && i < rank; i++)
        if (input->shape[i + 1] >= 0 && input->shape[i + 1] != shape[i])
            return false;
    slot->rank = rank + 1;
    if (rank)
        memcpy(slot->shape + 1, shape, rank * sizeof *shape);
    return true;
}

int pcr_data_slot_alloc(struct pcr_data_job *job, struct pcr_data_slot *slot, size_t rows) {
    size_t count, element_bytes = pcr_data_element_bytes(slot->input->dtype);
    char shown[PCR_DATA_SHOWN_BYTES];
    slot->data = __builtin_mul_overflow(rows, slot->row_count, &count)
                     ? NULL
                     : pcr_arena_array(job->arena, count, element_bytes);
    if (slot->data)
        return 0;
    return pcr_err(job->err, PACER_ENOMEM, PCR_DATA_COMPONENT,
                   "%s: no memory for %zu rows of %zu values for input %s; read fewer rows, or "
                   "split the file",
                   job->path, rows, slot->row_count,
                   pcr_data_show(pcr_str(slot->input->name), shown, sizeof shown));
}

int pcr_data_slots_alloc(struct pcr_data_job *job, struct pcr_data_slot *slots, size_t rows) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < job->n_inputs; i++)
        rc = pcr_data_slot_alloc(job, &slots[i], rows);
    return rc;
}

int pcr_data_slots_finish(struct pcr_data_job *job, const struct pcr_data_slot *slots,
                          size_t rows) {
    struct pacer_tensor *tensors = pcr_arena_array(job->arena, job->n_inputs, sizeof *tensors);
    for (size_t i = 0; tensors && i < job->n_inputs; i++) {
        const struct pcr_data_slot *slot = &slots[i];
        char *name = pcr_arena_dup(job->arena, pcr_str(slot->input->name));
        int64_t *shape = pcr_arena_array(job->arena, slot->rank, sizeof *shape);
        if (!name || !shape)
            return pcr_data_no_memory(job);
        memcpy(shape, slot->shape, slot->rank * sizeof *shape);
        shape[0] = (int64_t)rows;
        tensors[i] = (struct pacer_tensor){.name = name,
                                           .dtype = slot->input->dtype,
                                           .rank = slot->rank,
                                           .shape = shape,
                                           .data = slot->data};
    }
    if (!tensors)
        return pcr_data_no_memory(job);
    *job->out = (struct pcr_data){tensors, job->n_inputs, (int64_t)rows};
    return 0;
}
