// SPDX-License-Identifier: Apache-2.0
// What messages about data are made of.
#include "data/data_priv.h"

#include "json/json.h"

#include <stdio.h>

const char *pcr_data_show(struct pcr_str text, char *out, size_t out_bytes) {
    PCR_ASSERT(out_bytes > 16);
    const char *at = text.ptr, *end = text.ptr + text.len;
    char *to = out, *last = out + out_bytes - 9; // room for a character, "…", the quote, NUL
    *to++ = '\'';
    while (at < end && to < last) {
        size_t n = pcr_json_utf8_sequence(at, end);
        if (n == 0 || (unsigned char)*at < ' ' || *at == 0x7f) {
            *to++ = '?';
            at++;
            continue;
        }
        memcpy(to, at, n);
        to += n;
        at += n;
    }
    snprintf(to, (size_t)(out + out_bytes - to), at < end ? "…'" : "'");
    return out;
}

const char *pcr_data_line(const struct pcr_data_job *job, const char *at,
                          char out[PCR_DATA_WHERE_BYTES]) {
    size_t line = 1;
    for (const char *c = job->bytes.ptr; c < at; c++)
        line += *c == '\n';
    snprintf(out, PCR_DATA_WHERE_BYTES, "%.*s:%zu", PCR_DATA_WHERE_BYTES - 32, job->path, line);
    return out;
}

int pcr_data_fail_at(struct pcr_data_job *job, int code, const char *at, const char *format, ...) {
    char place[PCR_DATA_WHERE_BYTES], what[PCR_DATA_FAULT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return pcr_err(job->err, code, PCR_DATA_COMPONENT, "%s: %s", pcr_data_line(job, at, place),
                   what);
}

const char *pcr_data_name_list(const struct pcr_str *names, size_t n, char *out, size_t out_bytes) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char shown[PCR_DATA_SHOWN_BYTES];
        pcr_data_show(names[i], shown, sizeof shown);
        if (len + strlen(shown) + 8 > out_bytes) {
            snprintf(out + len, out_bytes - len, ", …");
            break;
        }
        len += (size_t)snprintf(out + len, out_bytes - len, i ? ", %s" : "%s", shown);
    }
    return out;
}

const char *pcr_data_wanted(const struct pcr_data_job *job, char *out, size_t out_bytes) {
    size_t len = (size_t)snprintf(out, out_bytes, "the model takes %zu input%s: ", job->n_inputs,
                                  job->n_inputs == 1 ? "" : "s");
    for (size_t i = 0; i < job->n_inputs; i++) {
        const struct pacer_tensor_info *input = &job->inputs[i];
        char shown[PCR_DATA_SHOWN_BYTES], shape[PCR_DATA_SHOWN_BYTES];
        pcr_data_show(pcr_str(input->name), shown, sizeof shown);
        if (input->shape)
            pcr_shape_text(input->shape, input->rank, shape, sizeof shape);
        else
            snprintf(shape, sizeof shape, "of any shape");
        if (len + strlen(shown) + strlen(shape) + 12 > out_bytes) {
            snprintf(out + len, out_bytes - len, "…");
            break;
        }
        len += (size_t)snprintf(out + len, out_bytes - len, i ? ", %s %s" : "%s %s", shown, shape);
    }
    return out;
}

static const char *const expected[] = {
    [PACER_BOOL] = "true, false, 0 or 1 (BOOL)",
    [PACER_UINT8] = "a whole number from 0 to 255 (UINT8)",
    [PACER_UINT16] = "a whole number from 0 to 65535 (UINT16)",
    [PACER_UINT32] = "a whole number from 0 to 4294967295 (UINT32)",
    [PACER_UINT64] = "a whole number from 0 to 18446744073709551615 (UINT64)",
    [PACER_INT8] = "a whole number from -128 to 127 (INT8)",
    [PACER_INT16] = "a whole number from -32768 to 32767 (INT16)",
    [PACER_INT32] = "a whole number from -2147483648 to 2147483647 (INT32)",
    [PACER_INT64] = "a whole number from -9223372036854775808 to 9223372036854775807 (INT64)",
    [PACER_FP16] = "a number of at most 65504 in size (FP16)",
    [PACER_BF16] = "a number of at most 3.39e38 in size (BF16)",
    [PACER_FP32] = "a number of at most 3.403e38 in size (FP32)",
    [PACER_FP64] = "a number of at most 1.798e308 in size (FP64)",
    [PACER_BYTES] = "text (BYTES)",
};

static const char *const problems[] = {
    [PCR_DATA_NO_NUMBER] = "is no number",       [PCR_DATA_NO_BOOL] = "is no truth value",
    [PCR_DATA_NO_TEXT] = "is no text",           [PCR_DATA_NOT_WHOLE] = "is no whole number",
    [PCR_DATA_OUT_OF_RANGE] = "is out of range", [PCR_DATA_NOT_EXACT] = "would be rounded",
    [PCR_DATA_NOT_FINITE] = "is not finite",     [PCR_DATA_MISSING] = "is a missing value",
    [PCR_DATA_NOT_UTF8] = "is not UTF-8",
};

static const char *advice(enum pcr_data_fault fault, const char *shown) {
    switch (fault) {
    case PCR_DATA_NO_NUMBER:
        return strchr(shown, ',') ? "; decimals have a point, thousands no separator" : "";
    case PCR_DATA_MISSING:
    case PCR_DATA_NOT_FINITE:
        return "; fill the value in or leave the row out";
    case PCR_DATA_NOT_UTF8:
        return "; save the file as UTF-8";
    case PCR_DATA_NOT_EXACT:
        return "; convert the array yourself if rounding is meant";
    default:
        return "";
    }
}

int pcr_data_unfit(struct pcr_data_job *job, const char *where, const char *shown,
                   enum pacer_dtype dtype, enum pcr_data_fault fault) {
    if (fault == PCR_DATA_NO_MEMORY)
        return pcr_data_no_memory(job);
    return pcr_err(job->err, PACER_EINVAL, PCR_DATA_COMPONENT, "%s: %s %s; expected %s%s", where,
                   shown, problems[fault], expected[dtype], advice(fault, shown));
}

int pcr_data_no_memory(struct pcr_data_job *job) {
    return pcr_err(job->err, PACER_ENOMEM, PCR_DATA_COMPONENT, "%s: no memory to read it",
                   job->path);
}
