// SPDX-License-Identifier: Apache-2.0
// From a constant of FP32 to INT8 values, scales and zero points.
//
// A weight is looked at as a matrix [parts][rows][columns] of the file's order. A scale belongs to
// a part, to a row of a matrix, or to a column, whichever the kernel takes and was asked for. Where
// the kernel wants the transposed matrix (Gemm with transB, LSTM) it is written in blocks of rows,
// so that a matrix is never in memory a second time, not even as INT8.
//
// Weights are symmetric where they are INT8: a zero point of zero spares the kernels a correction,
// and trained weights lie around zero. ConvInteger takes UINT8 weights only; those are not.
#include "quantize/weights.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK_ROWS 64

enum channel { PER_PART, PER_ROW, PER_COLUMN };

struct matrix {
    const float *data;
    size_t parts, rows, columns;
    enum channel channel;
    bool transposed; // of what is written: [parts][columns][rows]
    float factor;    // alpha: all numbers are multiplied by it first
    struct pcr_quant_form form;
    struct pcr_quant_scale *scales; // heap; as many as there are channels
    float *row; // heap; where a row is multiplied, and behind it room for the columns' ranges
    uint8_t *out;
    struct pcr_quant_weight *weight;
};

static size_t n_channels(const struct matrix *m) {
    return m->channel == PER_PART ? m->parts : m->channel == PER_ROW ? m->rows : m->columns;
}

static struct pcr_quant_scale *scale_of(const struct matrix *m, size_t part, size_t row) {
    return &m->scales[m->channel == PER_PART ? part : m->channel == PER_ROW ? row : 0];
}

static const float *row_of(const struct matrix *m, size_t part, size_t row) {
    const float *source = m->data + (part * m->rows + row) * m->columns;
    if (m->factor == 1)
        return source;
    for (size_t i = 0; i < m->columns; i++)
        m->row[i] = source[i] * m->factor;
    return m->row;
}

// --- scales -------------------------------------------------------------------------------------
static bool scale_rows(struct matrix *m) {
    for (size_t part = 0; part < m->parts; part++) {
        float min = 0, max = 0;
        for (size_t row = 0; row < m->rows; row++) {
            float row_min, row_max;
            if (!pcr_range_of(row_of(m, part, row), m->columns, &row_min, &row_max))
                return false;
            bool first = m->channel == PER_ROW || row == 0;
            min = first || row_min < min ? row_min : min;
            max = first || row_max > max ? row_max : max;
            if (m->channel == PER_ROW)
                m->scales[row] = pcr_quant_scale_of(min, max, m->form);
        }
        if (m->channel == PER_PART)
            m->scales[part] = pcr_quant_scale_of(min, max, m->form);
    }
    return true;
}

static bool scale_columns(struct matrix *m) {
    float *min = m->row + m->columns, *max = min + m->columns;
    bool finite = true;
    for (size_t row = 0; finite && row < m->rows; row++) {
        const float *x = row_of(m, 0, row);
        float row_min, row_max;
        finite = pcr_range_of(x, m->columns, &row_min, &row_max);
        for (size_t i = 0; i < m->columns; i++) {
            min[i] = row == 0 || x[i] < min[i] ? x[i] : min[i];
            max[i] = row == 0 || x[i] > max[i] ? x[i] : max[i];
        }
    }
    for (size_t i = 0; finite && i < m->columns; i++)
        m->scales[i] = pcr_quant_scale_of(min[i], max[i], m->form);
    return finite;
}

// --- values -------------------------------------------------------------------------------------
// What was lost, for the report.
static void count_loss(struct matrix *m, const float *x, const uint8_t *q, size_t n,
                       struct pcr_quant_scale scale) {
    double signal = 0, noise = 0;
    int32_t min, max;
    pcr_quant_limits(m->form, &min, &max);
    float highest = (float)(max - scale.zero_point) * scale.scale,
          lowest = (float)(min - scale.zero_point) * scale.scale, half = scale.scale / 2;
    size_t clipped = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t value = m->form.type == PCR_QUANT_INT8 ? (int8_t)q[i] : q[i];
        float back = (float)(value - scale.zero_point) * scale.scale, lost = x[i] - back;
        signal += (double)(x[i] * x[i]);
        noise += (double)(lost * lost);
        clipped += x[i] > highest + half || x[i] < lowest - half;
    }
    m->weight->signal += signal;
    m->weight->noise += noise;
    m->weight->clipped += clipped;
}

static void quantize_row(struct matrix *m, size_t part, size_t row, uint8_t *to) {
    const float *x = row_of(m, part, row);
    if (m->channel == PER_COLUMN) {
        const struct pcr_quant_weights weights = {x, 1, m->columns, 1};
        pcr_quantize_weights(&weights, m->scales, m->form.type, to);
        for (size_t i = 0; i < m->columns; i++)
            count_loss(m, &x[i], &to[i], 1, m->scales[i]);
        return;
    }
    struct pcr_quant_scale scale = *scale_of(m, part, row);
    pcr_quantize(x, m->columns, scale, m->form.type, to);
    count_loss(m, x, to, m->columns, scale);
}

static void write_plain(struct matrix *m) {
    for (size_t part = 0; part < m->parts; part++)
        for (size_t row = 0; row < m->rows; row++)
            quantize_row(m, part, row, m->out + (part * m->rows + row) * m->columns);
}

static bool write_transposed(struct matrix *m) {
    uint8_t *block = malloc(BLOCK_ROWS * m->columns);
    for (size_t part = 0; block && part < m->parts; part++)
        for (size_t first = 0; first < m->rows; first += BLOCK_ROWS) {
            size_t n = m->rows - first < BLOCK_ROWS ? m->rows - first : BLOCK_ROWS;
            for (size_t i = 0; i < n; i++)
                quantize_row(m, part, first + i, block + i * m->columns);
            uint8_t *out = m->out + part * m->rows * m->columns + first;
            for (size_t column = 0; column < m->columns; column++)
                for (size_t i = 0; i < n; i++)
                    out[column * m->rows + i] = block[i * m->columns + column];
        }
    free(block);
    return block != NULL;
}

// --- constants ----------------------------------------------------------------------------------
static const struct pcr_onnx_constant *make(struct pcr_onnx_model *model, const char *base,
                                            const char *suffix, enum pacer_dtype dtype,
                                            const int64_t *shape, size_t rank, void *data) {
    const char *name = pcr_arena_printf(pcr_onnx_model_arena(model), "%s%s", base, suffix);
    struct pacer_tensor_info info = {.dtype = dtype, .rank = rank, .shape = shape};
    info.name = name ? pcr_onnx_model_free_name(model, name) : "";
    return name ? pcr_onnx_constant_create(model, &info, data) : NULL;
}

static enum pacer_dtype dtype_of(struct pcr_quant_form form) {
    return form.type == PCR_QUANT_INT8 ? PACER_INT8 : PACER_UINT8;
}

static bool make_scales(struct pcr_onnx_model *model, struct matrix *m, bool is_list) {
    struct pcr_quant_weight *weight = m->weight;
    int64_t n = (int64_t)n_channels(m);
    float *scale;
    uint8_t *zero_point;
    weight->scale = make(model, weight->name, "_scale", PACER_FP32, &n, is_list, (void *)&scale);
    weight->zero_point = make(model, weight->name, "_zero_point", dtype_of(m->form), &n, is_list,
                              (void *)&zero_point);
    if (!weight->scale || !weight->zero_point)
        return false;
    for (size_t i = 0; i < (size_t)n; i++) {
        scale[i] = m->scales[i].scale;
        zero_point[i] = (uint8_t)m->scales[i].zero_point;
    }
    return true;
}

static bool make_values(struct pcr_onnx_model *model, struct matrix *m) {
    struct pcr_quant_weight *weight = m->weight;
    size_t rank;
    int64_t shape[PACER_RANK_MAX];
    const int64_t *source = pcr_onnx_constant_shape(weight->constant, &rank);
    memcpy(shape, source, rank * sizeof *shape);
    if (m->transposed) {
        shape[rank - 2] = source[rank - 1];
        shape[rank - 1] = source[rank - 2];
    }
    weight->values =
        make(model, weight->name, "_quantized", dtype_of(m->form), shape, rank, (void *)&m->out);
    return weight->values != NULL;
}

static int out_of_memory(struct pacer_error *err) {
    return pcr_err(err, PACER_ENOMEM, "quantize", "out of memory");
}

static int fill(struct pcr_onnx_model *model, struct matrix *m, bool is_list,
                struct pacer_error *err) {
    m->scales = calloc(n_channels(m), sizeof *m->scales);
    m->row = calloc(3 * m->columns, sizeof *m->row);
    if (!m->scales || !m->row || !make_values(model, m))
        return out_of_memory(err);
    if (m->channel == PER_COLUMN ? !scale_columns(m) : !scale_rows(m))
        return pcr_err(err, PACER_EINVAL, "quantize",
                       "the weights '%.100s' are not all finite numbers (NaN or infinity); the "
                       "model itself is broken there",
                       m->weight->name);
    if (m->transposed && !write_transposed(m))
        return out_of_memory(err);
    if (!m->transposed)
        write_plain(m);
    return make_scales(model, m, is_list) ? 0 : out_of_memory(err);
}

// --- what each kernel wants ---------------------------------------------------------------------
static struct matrix matrix_of(const struct pcr_quant_layer *layer, struct pcr_quant_weight *weight,
                               const struct pcr_quant_weights_how *how) {
    size_t rank;
    const int64_t *shape = pcr_onnx_constant_shape(weight->constant, &rank);
    size_t last = (size_t)shape[rank - 1], first = (size_t)shape[0];
    struct matrix m = {.weight = weight,
                       .parts = 1,
                       .columns = last,
                       .rows = weight->count / last,
                       .factor = 1,
                       .form = {PCR_QUANT_INT8, true, how->reduce_range}};
    bool per_channel = how->per_channel;
    switch (layer->op) {
    case PCR_QUANT_MATMUL:
    case PCR_QUANT_ATTENTION:
        m.channel = per_channel && rank == 2 ? PER_COLUMN : PER_PART;
        break;
    case PCR_QUANT_GEMM: // stays one where it is static
        m.transposed = pcr_onnx_attr_i64(layer->node, "transB", 0) != 0;
        m.channel = !per_channel ? PER_PART : m.transposed ? PER_ROW : PER_COLUMN;
        m.transposed &= !how->is_static;
        m.factor = how->is_static ? 1 : pcr_onnx_attr_f32(layer->node, "alpha", 1);
        break;
    case PCR_QUANT_CONV: // channels come first
        m.rows = first;
        m.columns = weight->count / first;
        m.channel = per_channel && how->is_static ? PER_ROW : PER_PART;
        if (!how->is_static)
            m.form = (struct pcr_quant_form){PCR_QUANT_UINT8, false, how->reduce_range};
        break;
    case PCR_QUANT_LSTM: // directions are parts
        m.parts = first;
        m.rows = (size_t)shape[1];
        m.transposed = true;
        break;
    case PCR_QUANT_GATHER:
    case PCR_QUANT_OPS:
        break;
    }
    return m;
}

static int make_weight(struct pcr_onnx_model *model, const struct pcr_quant_layer *layer,
                       struct pcr_quant_weight *weight, const struct pcr_quant_weights_how *how,
                       struct pacer_error *err) {
    struct matrix m = matrix_of(layer, weight, how);
    struct pcr_onnx_numbers numbers;
    int code = pcr_onnx_numbers_get(model, weight->constant, &numbers, err);
    if (code < 0)
        return code;
    m.data = numbers.data;
    code = fill(model, &m, m.channel != PER_PART || layer->op == PCR_QUANT_LSTM, err);
    pcr_onnx_numbers_fini(&numbers);
    free(m.scales);
    free(m.row);
    return code;
}

int pcr_quant_weights_make(struct pcr_onnx_model *model, struct pcr_quant_layer *layer,
                           const struct pcr_quant_weights_how *how, struct pacer_error *err) {
    int code = 0;
    for (size_t i = 0; i < layer->n_weights && code == 0; i++)
        if (!layer->weights[i].zero_point) // made last
            code = make_weight(model, layer, &layer->weights[i], how, err);
    return code;
}

// --- biases -------------------------------------------------------------------------------------
static int make_bias(struct pcr_onnx_model *model, const char *name, const char *suffix,
                     const int64_t *shape, size_t rank, float factor,
                     const struct pcr_onnx_constant **out, struct pacer_error *err) {
    const struct pcr_onnx_constant *constant = pcr_onnx_model_constant(model, name);
    struct pcr_onnx_numbers numbers;
    float *to;
    PCR_ASSERT(constant != NULL); // the plan has seen it
    if (!shape)
        shape = pcr_onnx_constant_shape(constant, &rank);
    int code = pcr_onnx_numbers_get(model, constant, &numbers, err);
    if (code < 0)
        return code;
    *out = make(model, name, suffix, PACER_FP32, shape, rank, (void *)&to);
    const float *from = numbers.data;
    for (size_t i = 0; *out && i < numbers.count; i++)
        to[i] = from[i] * factor;
    pcr_onnx_numbers_fini(&numbers);
    return *out ? 0 : out_of_memory(err);
}

int pcr_quant_bias_scaled(struct pcr_onnx_model *model, const char *name, float beta,
                          const struct pcr_onnx_constant **out, struct pacer_error *err) {
    return make_bias(model, name, "_scaled", NULL, 0, beta, out, err);
}

int pcr_quant_bias_shaped(struct pcr_onnx_model *model, const char *name, size_t rank,
                          const struct pcr_onnx_constant **out, struct pacer_error *err) {
    int64_t shape[PACER_RANK_MAX];
    PCR_ASSERT(rank <= PACER_RANK_MAX);
    for (size_t i = 0; i < rank; i++)
        shape[i] = 1;
    shape[1] = (int64_t)pcr_onnx_constant_count(pcr_onnx_model_constant(model, name));
    return make_bias(model, name, "_shaped", shape, rank, 1, out, err);
}

int pcr_quant_bias_make(struct pcr_onnx_model *model, const struct pcr_quant_bias_of *bias,
                        const struct pcr_onnx_constant **values,
                        const struct pcr_onnx_constant **scales, struct pacer_error *err) {
    const struct pcr_onnx_constant *constant = pcr_onnx_model_constant(model, bias->name);
    size_t rank, n = pcr_onnx_constant_count(constant);
    const int64_t *shape = pcr_onnx_constant_shape(bias->weight_scales, &rank);
    size_t n_scales = rank ? (size_t)shape[0] : 1;
    *values = *scales = NULL;
    if (pcr_onnx_constant_dtype(constant) != PACER_FP32 || (n_scales > 1 && n != n_scales))
        return 0;
    struct pcr_onnx_numbers b, w;
    int32_t *q;
    float *s;
    int code = pcr_onnx_numbers_get(model, constant, &b, err);
    if (code < 0)
        return code;
    code = pcr_onnx_numbers_get(model, bias->weight_scales, &w, err);
    int64_t count = (int64_t)n;
    *values = make(model, bias->name, "_quantized", PACER_INT32, &count, 1, (void *)&q);
    *scales = make(model, bias->name, "_scale", PACER_FP32, shape, rank, (void *)&s);
    if (code == 0 && *values && *scales) {
        const struct pcr_quant_bias how = {b.data, n, n_scales > 1, bias->input_scale};
        // A channel with hardly any weights may leave no number of 32 bits that is its bias.
        if (pcr_quantize_bias(&how, w.data, s, q) > 0)
            *values = *scales = NULL;
    } else if (code == 0) {
        code = out_of_memory(err);
    }
    pcr_onnx_numbers_fini(&b);
    pcr_onnx_numbers_fini(&w);
    return code;
}
