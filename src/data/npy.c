// SPDX-License-Identifier: Apache-2.0
// Method: NumPy Enhancement Proposal 1 and numpy.lib.format, versions 1.0 to 3.0. A magic, a
// version, the length of a header, the header (a Python dictionary literal with the keys descr,
// fortran_order and shape), then the elements.
//
// The file is not trusted: every length is held against the bytes that are there before anything is
// taken from them, and the data has to be exactly as long as shape and type say. Arrays of Python
// objects are pickles and are refused.
//
// The header is read by a parser for just the literals that NumPy writes. Looking for "'shape': ("
// as text, as many small readers do, breaks on the order of keys and on what a hostile file puts
// into the descr string.
#include "data/npy.h"

#include "base/err.h"

#define HEADER_BYTES_MAX (64u << 10)
#define EMPTY_TEXTS_MAX (1u << 20) // elements of 0 bytes are not bounded by the data

struct npy {
    struct pacer_error *err;
    const char *at, *end; // of the header
    // what the header says
    char order; // '<', '>', '|'
    char kind;  // 'b', 'i', 'u', 'f', 'S', 'U'
    uint64_t width;
    bool fortran;
    size_t rank;
    int64_t shape[PACER_RANK_MAX];
    bool has_descr, has_fortran, has_shape;
};

bool pcr_npy_sniff(struct pcr_str bytes) {
    return bytes.len >= 6 && memcmp(bytes.ptr, "\x93NUMPY", 6) == 0;
}

static int malformed(struct npy *npy, const char *what) {
    return pcr_err(npy->err, PACER_ESYNTAX, "npy", "not an .npy file that can be read: %s", what);
}

// --- the header ---------------------------------------------------------------------------------
static void skip_spaces(struct npy *npy) {
    while (npy->at < npy->end && (*npy->at == ' ' || *npy->at == '\n'))
        npy->at++;
}

static bool take(struct npy *npy, char c) {
    skip_spaces(npy);
    if (npy->at == npy->end || *npy->at != c)
        return false;
    npy->at++;
    return true;
}

// 'text' or "text", without escapes: NumPy writes none here.
static bool take_text(struct npy *npy, struct pcr_str *out) {
    skip_spaces(npy);
    if (npy->at == npy->end || (*npy->at != '\'' && *npy->at != '"'))
        return false;
    char quote = *npy->at++;
    const char *close = memchr(npy->at, quote, (size_t)(npy->end - npy->at));
    if (!close || memchr(npy->at, '\\', (size_t)(close - npy->at)))
        return false;
    *out = (struct pcr_str){npy->at, (size_t)(close - npy->at)};
    npy->at = close + 1;
    return true;
}

static bool take_word(struct npy *npy, struct pcr_str word) {
    skip_spaces(npy);
    if (!pcr_str_starts_with((struct pcr_str){npy->at, (size_t)(npy->end - npy->at)}, word))
        return false;
    npy->at += word.len;
    return true;
}

static bool take_number(struct npy *npy, uint64_t *out) {
    skip_spaces(npy);
    struct pcr_str digits = {npy->at, 0};
    while (npy->at < npy->end && *npy->at >= '0' && *npy->at <= '9') {
        npy->at++;
        digits.len++;
    }
    take_word(npy, PCR_STR("L")); // Python 2 wrote long integers like that
    return pcr_str_to_u64(digits, INT64_MAX, out);
}

// (), (3,), (3, 4)
static int take_shape(struct npy *npy) {
    if (!take(npy, '('))
        return malformed(npy, "the shape is no tuple");
    while (!take(npy, ')')) {
        uint64_t dim;
        if (!take_number(npy, &dim))
            return malformed(npy, "the shape is no tuple of sizes");
        if (npy->rank == PACER_RANK_MAX)
            return pcr_err(npy->err, PACER_ELIMIT, "npy", "more than %d dimensions",
                           PACER_RANK_MAX);
        npy->shape[npy->rank++] = (int64_t)dim;
        if (take(npy, ','))
            continue;
        if (!take(npy, ')'))
            return malformed(npy, "the shape is no tuple of sizes");
        break;
    }
    npy->has_shape = true;
    return 0;
}

static int take_descr(struct npy *npy) {
    struct pcr_str descr;
    skip_spaces(npy);
    if (npy->at < npy->end && *npy->at == '[')
        return pcr_err(npy->err, PACER_EUNSUPPORTED, "npy",
                       "an array of records; save the columns as arrays of their own");
    if (!take_text(npy, &descr) || descr.len < 2)
        return malformed(npy, "the element type is no text");
    struct pcr_str type = descr;
    npy->order = '|';
    if (strchr("<>=|", type.ptr[0])) {
        npy->order = type.ptr[0];
        type = (struct pcr_str){type.ptr + 1, type.len - 1};
    }
    npy->kind = type.ptr[0];
    struct pcr_str width = {type.ptr + 1, type.len - 1};
    if (npy->kind == 'O')
        return pcr_err(npy->err, PACER_EUNSUPPORTED, "npy",
                       "an array of Python objects (a pickle), which is not read; convert it with "
                       ".astype to numbers or text");
    if (!strchr("biufSU", npy->kind) || !pcr_str_to_u64(width, INT32_MAX, &npy->width))
        return pcr_err(
            npy->err, PACER_EUNSUPPORTED, "npy",
            "elements of type '%.*s'; booleans, integers, floats of 2, 4 and 8 bytes and "
            "text are read",
            (int)(descr.len > 32 ? 32 : descr.len), descr.ptr);
    npy->has_descr = true;
    return 0;
}

static int take_member(struct npy *npy) {
    struct pcr_str key;
    if (!take_text(npy, &key) || !take(npy, ':'))
        return malformed(npy, "the header is no dictionary");
    if (pcr_str_eq(key, PCR_STR("descr")) && !npy->has_descr)
        return take_descr(npy);
    if (pcr_str_eq(key, PCR_STR("shape")) && !npy->has_shape)
        return take_shape(npy);
    if (!pcr_str_eq(key, PCR_STR("fortran_order")) || npy->has_fortran)
        return malformed(npy, "the header has an unknown or doubled key");
    npy->fortran = take_word(npy, PCR_STR("True"));
    if (!npy->fortran && !take_word(npy, PCR_STR("False")))
        return malformed(npy, "fortran_order is neither True nor False");
    npy->has_fortran = true;
    return 0;
}

static int parse_header(struct npy *npy) {
    if (!take(npy, '{'))
        return malformed(npy, "the header is no dictionary");
    while (!take(npy, '}')) {
        int rc = take_member(npy);
        if (rc < 0)
            return rc;
        if (take(npy, ','))
            continue;
        if (!take(npy, '}'))
            return malformed(npy, "the header is no dictionary");
        break;
    }
    skip_spaces(npy);
    if (npy->at != npy->end)
        return malformed(npy, "something follows the dictionary of the header");
    if (!npy->has_descr || !npy->has_shape || !npy->has_fortran)
        return malformed(npy, "the header lacks descr, shape or fortran_order");
    return 0;
}

// Finds the header; *data is what follows it.
static int find_header(struct npy *npy, struct pcr_str bytes, struct pcr_str *data) {
    const unsigned char *b = (const unsigned char *)bytes.ptr;
    if (!pcr_npy_sniff(bytes) || bytes.len < 10)
        return malformed(npy, "it does not begin with NumPy's magic and version");
    if (b[6] < 1 || b[6] > 3)
        return malformed(npy, "a format version other than 1, 2 and 3");
    size_t start = b[6] == 1 ? 10 : 12;
    if (bytes.len < start)
        return malformed(npy, "it ends within the header");
    size_t length = (size_t)b[8] | (size_t)b[9] << 8;
    if (start == 12)
        length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (length > HEADER_BYTES_MAX)
        return malformed(npy, "the header is longer than 64 KiB");
    if (length > bytes.len - start)
        return malformed(npy, "it ends within the header");
    npy->at = bytes.ptr + start;
    npy->end = npy->at + length;
    *data = (struct pcr_str){npy->end, bytes.len - start - length};
    return 0;
}

// --- the elements -------------------------------------------------------------------------------
static enum pacer_dtype number_type(const struct npy *npy) {
    static const struct {
        char kind;
        uint64_t width;
        enum pacer_dtype dtype;
    } types[] = {
        {'b', 1, PACER_BOOL},   {'i', 1, PACER_INT8},   {'i', 2, PACER_INT16},
        {'i', 4, PACER_INT32},  {'i', 8, PACER_INT64},  {'u', 1, PACER_UINT8},
        {'u', 2, PACER_UINT16}, {'u', 4, PACER_UINT32}, {'u', 8, PACER_UINT64},
        {'f', 2, PACER_FP16},   {'f', 4, PACER_FP32},   {'f', 8, PACER_FP64},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(types); i++)
        if (types[i].kind == npy->kind && types[i].width == npy->width)
            return types[i].dtype;
    return PACER_DTYPE_INVALID;
}

static bool must_swap(const struct npy *npy) {
    return npy->order == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<');
}

static void copy_element(char *to, const char *from, size_t width, bool swap) {
    if (!swap) {
        memcpy(to, from, width);
        return;
    }
    for (size_t i = 0; i < width; i++)
        to[i] = from[width - 1 - i];
}

// Walks the elements in C order; *from is the place of the current one in the file.
struct walk {
    const struct npy *npy;
    int64_t index[PACER_RANK_MAX];
    size_t stride[PACER_RANK_MAX]; // in elements
    size_t from;
};

static void walk_begin(struct walk *walk, const struct npy *npy) {
    *walk = (struct walk){.npy = npy};
    size_t stride = 1;
    for (size_t i = 0; i < npy->rank; i++) {
        size_t dim = npy->fortran ? i : npy->rank - 1 - i;
        walk->stride[dim] = stride;
        stride *= (size_t)npy->shape[dim]; // cannot overflow: the product of all was checked
    }
}

static void walk_next(struct walk *walk) {
    for (size_t i = walk->npy->rank; i-- > 0;) {
        walk->from += walk->stride[i];
        if (++walk->index[i] < walk->npy->shape[i])
            return;
        walk->from -= walk->stride[i] * (size_t)walk->npy->shape[i];
        walk->index[i] = 0;
    }
}

static int read_numbers(struct npy *npy, struct pcr_arena *arena, struct pcr_str data, size_t count,
                        const void **out) {
    char *copy = pcr_arena_array(arena, count ? count : 1, npy->width);
    if (!copy)
        return pcr_err(npy->err, PACER_ENOMEM, "npy", "no memory for %zu elements", count);
    bool swap = must_swap(npy);
    if (!swap && (!npy->fortran || npy->rank <= 1)) { // as the tensor has it
        memcpy(copy, data.ptr, count * npy->width);
    } else {
        struct walk walk;
        walk_begin(&walk, npy);
        for (size_t i = 0; i < count; i++, walk_next(&walk))
            copy_element(copy + i * npy->width, data.ptr + walk.from * npy->width, npy->width,
                         swap);
    }
    for (size_t i = 0; npy->kind == 'b' && i < count; i++)
        copy[i] = copy[i] != 0;
    *out = copy;
    return 0;
}

static size_t put_utf8(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

// One element of kind U: `width` characters of 4 bytes, filled up with NULs.
static int read_text(struct npy *npy, struct pcr_arena *arena, const char *from,
                     struct pacer_bytes *out) {
    char *text = pcr_arena_alloc(arena, npy->width * 4 + 1);
    if (!text)
        return pcr_err(npy->err, PACER_ENOMEM, "npy", "no memory for the texts");
    size_t length = 0, kept = 0;
    for (size_t i = 0; i < npy->width; i++) {
        uint32_t c;
        copy_element((char *)&c, from + i * 4, 4, must_swap(npy));
        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return malformed(npy, "a text holds what is no Unicode character");
        length += put_utf8(c, text + length);
        if (c != 0)
            kept = length;
    }
    *out = (struct pacer_bytes){text, kept};
    return 0;
}

static int read_texts(struct npy *npy, struct pcr_arena *arena, struct pcr_str data, size_t count,
                      const void **out) {
    struct pacer_bytes *list = pcr_arena_array(arena, count ? count : 1, sizeof *list);
    size_t bytes = npy->width * (npy->kind == 'U' ? 4 : 1);
    if (!list)
        return pcr_err(npy->err, PACER_ENOMEM, "npy", "no memory for %zu elements", count);
    struct walk walk;
    walk_begin(&walk, npy);
    for (size_t i = 0; i < count; i++, walk_next(&walk)) {
        const char *from = data.ptr + walk.from * bytes;
        if (npy->kind == 'U') {
            int rc = read_text(npy, arena, from, &list[i]);
            if (rc < 0)
                return rc;
            continue;
        }
        size_t length = bytes;
        while (length > 0 && from[length - 1] == '\0')
            length--;
        char *copy = pcr_arena_dup(arena, (struct pcr_str){from, length});
        if (!copy)
            return pcr_err(npy->err, PACER_ENOMEM, "npy", "no memory for the texts");
        list[i] = (struct pacer_bytes){copy, length};
    }
    *out = list;
    return 0;
}

// Number of elements, once shape, type and length of the data agree.
static int check_length(struct npy *npy, size_t data_bytes, size_t *count) {
    size_t width = (size_t)npy->width * (npy->kind == 'U' ? 4 : 1), bytes;
    if (pacer_shape_count(npy->shape, npy->rank, count) < 0 ||
        __builtin_mul_overflow(*count, width, &bytes) || bytes > data_bytes)
        return malformed(npy, "it ends before all elements that its shape tells of");
    if (bytes < data_bytes)
        return malformed(npy, "it goes on after all elements that its shape tells of");
    if (width == 0 && *count > EMPTY_TEXTS_MAX)
        return pcr_err(npy->err, PACER_ELIMIT, "npy", "more than %u empty texts", EMPTY_TEXTS_MAX);
    return 0;
}

int pcr_npy_read(struct pcr_arena *arena, struct pcr_str bytes, struct pacer_tensor *out,
                 struct pacer_error *err) {
    struct npy npy = {.err = err};
    struct pcr_str data = {"", 0};
    size_t count;
    int rc = find_header(&npy, bytes, &data);
    if (rc == 0)
        rc = parse_header(&npy);
    if (rc < 0)
        return rc;
    bool text = npy.kind == 'S' || npy.kind == 'U';
    enum pacer_dtype dtype = text ? PACER_BYTES : number_type(&npy);
    if (dtype == PACER_DTYPE_INVALID)
        return pcr_err(err, PACER_EUNSUPPORTED, "npy", "elements of type '%c%u'", npy.kind,
                       (unsigned)npy.width);
    rc = check_length(&npy, data.len, &count);
    if (rc < 0)
        return rc;
    int64_t *shape = pcr_arena_array(arena, npy.rank ? npy.rank : 1, sizeof *shape);
    if (!shape)
        return pcr_err(err, PACER_ENOMEM, "npy", "out of memory");
    memcpy(shape, npy.shape, npy.rank * sizeof *shape);
    *out = (struct pacer_tensor){.dtype = dtype, .rank = npy.rank, .shape = shape};
    return text ? read_texts(&npy, arena, data, count, &out->data)
                : read_numbers(&npy, arena, data, count, &out->data);
}
