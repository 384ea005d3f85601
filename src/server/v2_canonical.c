// SPDX-License-Identifier: Apache-2.0
// Reading the one form of request that nearly all traffic has, without building a document:
//
//     {"inputs":[{"name":"x","shape":[1,32],"datatype":"FP32","data":[0.5,…]}]}
//
// White space may stand anywhere, the members of the input in any order as long as the shape comes
// before the data. Whatever else a request holds, or whatever is wrong with it, is left to the
// general reader, which has all the words for it: this one answers "not mine" and never faults.
//
// The numbers are the general reader's to the bit: an integer of at most 2^53 over a power of ten
// of at most 10^22 (here 10^18) is one correctly rounded division (Clinger 1990, "How to read
// floating point numbers accurately", section 2); a number outside of that is not ours either. A
// fuzz target and a unit test hold both readers against each other.
#include "server/v2_codec.h"

#define MANTISSA_MAX (1ull << 53)
#define DIGITS_MAX 18 // so many cannot overflow 64 bits
#define SHAPE_DIM_MAX (1ll << 40)

struct scan {
    const char *at, *end;
    struct pcr_arena *arena;
};

static void skip_space(struct scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

// The next mark, with the space around it.
static bool take(struct scan *scan, char mark) {
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != mark)
        return false;
    scan->at++;
    skip_space(scan);
    return true;
}

static bool peek(const struct scan *scan, char mark) {
    return scan->at < scan->end && *scan->at == mark;
}

// A string of plain ASCII without escapes.
static bool take_string(struct scan *scan, struct pcr_str *out) {
    if (!peek(scan, '"'))
        return false;
    const char *start = ++scan->at;
    while (scan->at < scan->end && *scan->at != '"') {
        unsigned char c = (unsigned char)*scan->at++;
        if (c < 0x20 || c >= 0x7f || c == '\\')
            return false;
    }
    if (scan->at == scan->end)
        return false;
    *out = (struct pcr_str){start, (size_t)(scan->at - start)};
    scan->at++;
    skip_space(scan);
    return true;
}

// Appends digits to *value and returns how many; more than DIGITS_MAX leave nonsense in *value.
static size_t take_digits(struct scan *scan, uint64_t *value) {
    const char *at = scan->at, *end = scan->end;
    uint64_t v = *value;
    for (unsigned digit; at < end && (digit = (unsigned)*at - '0') <= 9; at++)
        v = v * 10 + digit;
    size_t n = (size_t)(at - scan->at);
    scan->at = at;
    *value = v;
    return n;
}

static bool take_float(struct scan *scan, float *out) {
    static const double powers[DIGITS_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                                  1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                                  1e14, 1e15, 1e16, 1e17, 1e18};
    bool negative = peek(scan, '-');
    scan->at += negative;
    bool zero_first = peek(scan, '0');
    uint64_t mantissa = 0;
    size_t whole = take_digits(scan, &mantissa), fraction = 0;
    if (whole == 0 || (zero_first && whole > 1))
        return false;
    bool point = peek(scan, '.');
    if (point) {
        scan->at++;
        fraction = take_digits(scan, &mantissa);
    }
    // "-0" is an integer for the general reader, without a sign.
    if ((point ? fraction == 0 : negative && mantissa == 0) || whole + fraction > DIGITS_MAX ||
        mantissa > MANTISSA_MAX || peek(scan, 'e') || peek(scan, 'E'))
        return false;
    double value = (double)mantissa / powers[fraction];
    *out = (float)(negative ? -value : value);
    return true;
}

static bool take_shape(struct scan *scan, struct pacer_tensor *tensor) {
    int64_t dims[PACER_RANK_MAX];
    size_t rank = 0;
    if (!take(scan, '['))
        return false;
    do {
        uint64_t dim = 0;
        bool zero_first = peek(scan, '0');
        size_t digits = take_digits(scan, &dim);
        if (rank == PACER_RANK_MAX || digits == 0 || digits > DIGITS_MAX || dim > SHAPE_DIM_MAX ||
            (zero_first && digits > 1))
            return false;
        dims[rank++] = (int64_t)dim;
    } while (take(scan, ','));
    int64_t *shape = pcr_arena_array(scan->arena, rank, sizeof *shape);
    if (!take(scan, ']') || !shape)
        return false;
    memcpy(shape, dims, rank * sizeof *shape);
    tensor->shape = shape;
    tensor->rank = rank;
    return true;
}

// Mostly a comma stands alone, or before one space.
static bool take_comma(struct scan *scan) {
    if (scan->end - scan->at > 2 && *scan->at == ',' && (unsigned char)scan->at[1] > ' ') {
        scan->at++;
        return true;
    }
    return take(scan, ',');
}

static bool take_data(struct scan *scan, struct pacer_tensor *tensor) {
    size_t count;
    if (!tensor->shape || pacer_shape_count(tensor->shape, tensor->rank, &count) < 0 ||
        count == 0 || count > (size_t)(scan->end - scan->at) / 2)
        return false;
    float *data = pcr_arena_array(scan->arena, count, sizeof *data);
    if (!data || !take(scan, '['))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && !take_comma(scan))
            return false;
        if (!take_float(scan, &data[i]))
            return false;
    }
    tensor->data = data;
    return take(scan, ']');
}

static bool take_member(struct scan *scan, struct pacer_tensor *tensor) {
    struct pcr_str key, text;
    if (!take_string(scan, &key) || !take(scan, ':'))
        return false;
    if (pcr_str_eq(key, PCR_STR("shape")))
        return !tensor->shape && take_shape(scan, tensor);
    if (pcr_str_eq(key, PCR_STR("data")))
        return !tensor->data && take_data(scan, tensor);
    if (pcr_str_eq(key, PCR_STR("name"))) {
        if (tensor->name || !take_string(scan, &text) || text.len == 0)
            return false;
        tensor->name = pcr_arena_dup(scan->arena, text);
        return tensor->name != NULL;
    }
    if (!pcr_str_eq(key, PCR_STR("datatype")) || tensor->dtype || !take_string(scan, &text) ||
        !pcr_str_eq(text, PCR_STR("FP32")))
        return false;
    tensor->dtype = PACER_FP32;
    return true;
}

bool pcr_v2_read_canonical(struct pcr_arena *arena, struct pcr_str body,
                           struct pcr_v2_request *out) {
    struct scan scan = {body.ptr, body.ptr + body.len, arena};
    struct pcr_str key;
    struct pacer_tensor *tensor = pcr_arena_calloc(arena, 1, sizeof *tensor);
    if (!tensor || !take(&scan, '{') || !take_string(&scan, &key) ||
        !pcr_str_eq(key, PCR_STR("inputs")) || !take(&scan, ':') || !take(&scan, '[') ||
        !take(&scan, '{'))
        return false;
    do {
        if (!take_member(&scan, tensor))
            return false;
    } while (take(&scan, ','));
    if (!take(&scan, '}') || !take(&scan, ']') || !take(&scan, '}') || scan.at != scan.end)
        return false;
    if (!tensor->name || !tensor->dtype || !tensor->data)
        return false;
    *out = (struct pcr_v2_request){.run = {.inputs = tensor, .n_inputs = 1}, .id = PCR_STR("")};
    return true;
}
