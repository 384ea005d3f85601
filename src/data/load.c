// SPDX-License-Identifier: Apache-2.0
// A file of data: which format it is, and whose reader reads it.
#include "data/data_priv.h"

#include "data/npy.h"

#define SCRATCH_BYTES_MAX ((size_t)8 << 30)

bool pcr_data_path_has(const char *path, const char *extension) {
    struct pcr_str p = pcr_str(path), e = pcr_str(extension);
    return p.len >= e.len && pcr_str_eq_nocase((struct pcr_str){p.ptr + p.len - e.len, e.len}, e);
}

// What people try besides, by how it begins.
static const struct {
    struct pcr_str magic;
    const char *what;
} foreign[] = {
    {PCR_STR("\x1f\x8b"), "gzip; decompress it first"},
    {PCR_STR("\x28\xb5\x2f\xfd"), "Zstandard; decompress it first"},
    {PCR_STR("BZh91AY&SY"), "bzip2; decompress it first"},
    {PCR_STR("PAR1\x15"), "Parquet"},
    {PCR_STR("ARROW1\0\0"), "Arrow"},
    {PCR_STR("\x89HDF\r\n"), "HDF5"},
    {PCR_STR("\xff\xfe"), "text in UTF-16; save it as UTF-8"},
    {PCR_STR("\xfe\xff"), "text in UTF-16; save it as UTF-8"},
    {PCR_STR("\x80\x04"), "a pickle, which is a program; save it with numpy.save"},
    {PCR_STR("\x80\x05"), "a pickle, which is a program; save it with numpy.save"},
};

static int refuse_foreign(struct pcr_data_job *job) {
    for (size_t i = 0; i < PCR_COUNT_OF(foreign); i++)
        if (pcr_str_starts_with(job->bytes, foreign[i].magic))
            return pcr_err(job->err, PACER_EUNSUPPORTED, PCR_DATA_COMPONENT,
                           "%s: this is %s (CSV, JSON lines, .npy and .npz are read)", job->path,
                           foreign[i].what);
    return 0;
}

static int refuse_inputs(struct pcr_data_job *job) {
    if (job->n_inputs == 0)
        return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT,
                       "%s: the model takes no inputs, so there is nothing to read", job->path);
    for (size_t i = 0; i < job->n_inputs; i++) {
        const struct pacer_tensor_info *input = &job->inputs[i];
        char shown[PCR_DATA_SHOWN_BYTES];
        pcr_data_show(pcr_str(input->name), shown, sizeof shown);
        if (pacer_dtype_parse(pacer_dtype_name(input->dtype)) == PACER_DTYPE_INVALID)
            return pcr_err(job->err, PACER_EUNSUPPORTED, PCR_DATA_COMPONENT,
                           "%s: input %s is of a type that no file gives", job->path, shown);
        if (input->rank > PACER_RANK_MAX)
            return pcr_err(job->err, PACER_ELIMIT, PCR_DATA_COMPONENT,
                           "%s: input %s has %zu dimensions, more than %d", job->path, shown,
                           input->rank, PACER_RANK_MAX);
    }
    return 0;
}

static void skip_byte_order_mark(struct pcr_data_job *job) {
    if (pcr_str_starts_with(job->bytes, PCR_STR("\xef\xbb\xbf")))
        job->bytes = (struct pcr_str){job->bytes.ptr + 3, job->bytes.len - 3};
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// The first one that is no space; the length if there is none.
static size_t first_byte(const struct pcr_data_job *job) {
    size_t at = 0;
    while (at < job->bytes.len && is_space(job->bytes.ptr[at]))
        at++;
    return at;
}

static bool is_json(const struct pcr_data_job *job) {
    const char *path = job->path;
    if (pcr_data_path_has(path, ".json") || pcr_data_path_has(path, ".jsonl") ||
        pcr_data_path_has(path, ".ndjson"))
        return true;
    if (pcr_data_path_has(path, ".csv") || pcr_data_path_has(path, ".tsv"))
        return false;
    char first = job->bytes.ptr[first_byte(job)];
    return first == '{' || first == '[';
}

static int read_content(struct pcr_data_job *job) {
    int rc = refuse_inputs(job);
    if (rc == 0)
        rc = refuse_foreign(job);
    if (rc < 0)
        return rc;
    if (pcr_npy_sniff(job->bytes))
        return pcr_data_read_npy(job);
    if (pcr_str_starts_with(job->bytes, PCR_STR("PK\3\4")) ||
        pcr_str_starts_with(job->bytes, PCR_STR("PK\5\6")))
        return pcr_data_read_npz(job);
    skip_byte_order_mark(job);
    if (first_byte(job) == job->bytes.len)
        return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT, "%s: the file is empty",
                       job->path);
    if (pcr_data_path_has(job->path, ".npy") || pcr_data_path_has(job->path, ".npz"))
        return pcr_err(job->err, PACER_ESYNTAX, PCR_DATA_COMPONENT,
                       "%s: neither an array nor an archive of arrays as NumPy saves them",
                       job->path);
    return is_json(job) ? pcr_data_read_json(job)
                        : pcr_data_read_csv(job, pcr_data_path_has(job->path, ".tsv"));
}

int pcr_data_read(const char *path, struct pcr_str bytes, const struct pacer_tensor_info *inputs,
                  size_t n_inputs, const struct pcr_data_options *options, struct pcr_arena *arena,
                  struct pcr_data *out, struct pacer_error *err) {
    struct pcr_data_job job = {.path = path,
                               .bytes = bytes,
                               .inputs = inputs,
                               .n_inputs = n_inputs,
                               .arena = arena,
                               .out = out,
                               .err = err};
    if (options)
        job.options = *options;
    *out = (struct pcr_data){0};
    pcr_arena_init(&job.scratch, SCRATCH_BYTES_MAX);
    int rc = read_content(&job);
    pcr_arena_fini(&job.scratch);
    return rc;
}

int pcr_data_load(const char *path, const struct pacer_tensor_info *inputs, size_t n_inputs,
                  const struct pcr_data_options *options, struct pcr_arena *arena,
                  struct pcr_data *out, struct pacer_error *err) {
    struct pcr_buf file;
    pcr_buf_init(&file, PCR_DATA_FILE_BYTES_MAX);
    *out = (struct pcr_data){0};
    int rc = pcr_file_read(path, &file, err);
    if (rc == 0)
        rc = pcr_data_read(path, pcr_buf_view(&file), inputs, n_inputs, options, arena, out, err);
    pcr_buf_fini(&file);
    return rc;
}
