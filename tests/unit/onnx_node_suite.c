// SPDX-License-Identifier: Apache-2.0
// ONNX's own tests of its operators, through the session wrapper.
//
//     onnx_node_suite KNOWN FOLDER…        with -v: one line per model
//     onnx_node_suite -r KNOWN FOLDER…     of models that were unpacked and saved again, against
//     the
//                                          answers of the original, bit by bit
//     onnx_node_suite -q KNOWN FOLDER…     of models made INT8: what comes out must load and run
//
// Each FOLDER holds models, NAME/model.onnx with NAME/test_data_set_N/{input,output}_I.pb. A model
// passes if all its data sets give the expected outputs, floats to rtol 1e-3 and atol 1e-7 as in
// ONNX's own runner, all else exactly. Otherwise it is counted in one of two groups, which are not
// failures: ONNX Runtime itself cannot load or run it, or it has inputs or outputs that the
// inference protocol cannot carry (sequences, optionals …) and is refused by design. Anything else
// fails, unless KNOWN explains it: lines of "NAME what differs and why", and one that no longer
// differs is told, since different versions of ONNX Runtime are served.
#include "infer/infer.h"
#include "onnx/model.h"
#include "onnx/onnx.h"

#include <dirent.h>
#include <math.h>
#include <pacer/quantize.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RTOL 1e-3
#define ATOL 1e-7
#define VALUES_MAX 64
#define NAMES_MAX 4096

enum verdict { PASSED, RUNTIME, REFUSED, KNOWN, FAILED, VERDICTS };

static const char *const verdict_names[VERDICTS] = {
    "passed", "ONNX Runtime cannot", "refused by design", "differs, explained", "FAILED"};

struct suite {
    struct pcr_buf known;
    bool is_verbose;
    bool resaves, quantizes;
    char folder[64]; // for what is saved again
    size_t counts[VERDICTS];
};

// --- comparing ----------------------------------------------------------------------------------
static double half_to_double(uint16_t h) {
    int exponent = h >> 10 & 31;
    double fraction = h & 1023;
    double value = exponent == 0    ? ldexp(fraction, -24)
                   : exponent == 31 ? (h & 1023 ? (double)NAN : (double)INFINITY)
                                    : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -value : value;
}

static double bfloat_to_double(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static double as_double(const struct pacer_tensor *t, size_t i) {
    switch (t->dtype) {
    case PACER_FP32:
        return (double)((const float *)t->data)[i];
    case PACER_FP64:
        return ((const double *)t->data)[i];
    case PACER_FP16:
        return half_to_double(((const uint16_t *)t->data)[i]);
    case PACER_BF16:
        return bfloat_to_double(((const uint16_t *)t->data)[i]);
    case PACER_INT8:
        return ((const int8_t *)t->data)[i];
    case PACER_INT16:
        return ((const int16_t *)t->data)[i];
    case PACER_INT32:
        return ((const int32_t *)t->data)[i];
    case PACER_INT64: // only shown: integers are compared as they are
        return (double)((const int64_t *)t->data)[i];
    case PACER_UINT16:
        return ((const uint16_t *)t->data)[i];
    case PACER_UINT32:
        return ((const uint32_t *)t->data)[i];
    case PACER_UINT64:
        return (double)((const uint64_t *)t->data)[i];
    default: // BOOL, UINT8
        return ((const uint8_t *)t->data)[i];
    }
}

static bool is_float(enum pacer_dtype dtype) {
    return dtype == PACER_FP32 || dtype == PACER_FP64 || dtype == PACER_FP16 || dtype == PACER_BF16;
}

static bool is_close(double got, double expected) {
    if (isnan(got) || isnan(expected))
        return isnan(got) && isnan(expected);
    if (isinf(got) || isinf(expected))
        return isinf(got) && isinf(expected) && signbit(got) == signbit(expected);
    return fabs(got - expected) <= ATOL + RTOL * fabs(expected);
}

static bool same_element(const struct pacer_tensor *got, const struct pacer_tensor *expected,
                         size_t i) {
    if (is_float(got->dtype))
        return is_close(as_double(got, i), as_double(expected, i));
    if (got->dtype == PACER_BYTES) {
        const struct pacer_bytes *a = (const struct pacer_bytes *)got->data + i;
        const struct pacer_bytes *b = (const struct pacer_bytes *)expected->data + i;
        return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
    }
    size_t size = pacer_dtype_size(got->dtype);
    return memcmp((const char *)got->data + i * size, (const char *)expected->data + i * size,
                  size) == 0;
}

// Whether the tensors agree; else *why says how they do not.
static bool agree(const struct pacer_tensor *got, const struct pacer_tensor *expected,
                  struct pacer_error *why) {
    size_t count = 0;
    size_t wrong = 0;
    size_t first = 0;
    bool same_shape =
        got->rank == expected->rank &&
        (got->rank == 0 || memcmp(got->shape, expected->shape, got->rank * sizeof(int64_t)) == 0);
    if (got->dtype != expected->dtype || !same_shape) {
        pcr_err(why, PACER_EINVAL, "suite",
                "output '%s' is %s of %zu dimensions, expected %s of %zu%s", got->name,
                pacer_dtype_name(got->dtype), got->rank, pacer_dtype_name(expected->dtype),
                expected->rank, same_shape ? "" : " (shapes differ)");
        return false;
    }
    pacer_shape_count(got->shape, got->rank, &count);
    double most = 0;
    const bool is_text = got->dtype == PACER_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (same_element(got, expected, i))
            continue;
        if (wrong++ == 0)
            first = i;
        if (!is_text)
            most = fmax(most, fabs(as_double(got, i) - as_double(expected, i)));
    }
    if (wrong == 0)
        return true;
    if (is_text) {
        const struct pacer_bytes *a = (const struct pacer_bytes *)got->data + first;
        const struct pacer_bytes *b = (const struct pacer_bytes *)expected->data + first;
        pcr_err(
            why, PACER_EINVAL, "suite",
            "output '%s': %zu of %zu strings differ, the first at %zu ('%.*s', expected '%.*s')",
            got->name, wrong, count, first, (int)a->size, a->data, (int)b->size, b->data);
        return false;
    }
    pcr_err(
        why, PACER_EINVAL, "suite",
        "output '%s': %zu of %zu elements differ by up to %g, the first at %zu (%g, expected %g)",
        got->name, wrong, count, most, first, as_double(got, first), as_double(expected, first));
    return false;
}

// --- one data set -------------------------------------------------------------------------------
static int read_tensor(const char *dir, const char *kind, size_t index, struct pcr_arena *arena,
                       struct pacer_tensor *out, struct pacer_error *err) {
    char path[1024];
    struct pcr_buf file;
    snprintf(path, sizeof path, "%s/%s_%zu.pb", dir, kind, index);
    pcr_buf_init(&file, 256 << 20);
    int code = pcr_file_read(path, &file, err);
    if (code == 0 && (code = pcr_onnx_tensor(pcr_buf_view(&file), arena, out, err)) < 0)
        pcr_err_prefix(err, code, "%s", path);
    pcr_buf_fini(&file);
    return code;
}

// The data sets were written from NumPy, which has no BF16: they call it UINT16.
static void fix_bfloat(struct pacer_tensor *tensor, enum pacer_dtype declared) {
    if (tensor->dtype == PACER_UINT16 && declared == PACER_BF16)
        tensor->dtype = PACER_BF16;
}

static int read_inputs(const struct pacer_session *session, const char *dir,
                       struct pcr_arena *arena, struct pacer_tensor inputs[VALUES_MAX], size_t *n,
                       struct pacer_error *why) {
    size_t n_infos;
    const struct pacer_tensor_info *infos = pacer_session_inputs(session, &n_infos);
    for (*n = 0; *n < n_infos && *n < VALUES_MAX; ++*n) {
        int code = read_tensor(dir, "input", *n, arena, &inputs[*n], why);
        if (code < 0)
            return code;
        inputs[*n].name = infos[*n].name;
        fix_bfloat(&inputs[*n], infos[*n].dtype);
    }
    return 0;
}

static enum verdict run_set(struct pacer_session *session, const char *dir, struct pcr_arena *arena,
                            struct pacer_error *why) {
    struct pacer_tensor inputs[VALUES_MAX];
    size_t n;
    if (read_inputs(session, dir, arena, inputs, &n, why) < 0)
        return FAILED;
    struct pacer_run run = {inputs, n, NULL, 0};
    const struct pacer_tensor *outputs;
    size_t n_outputs;
    int code = pcr_session_run(session, &run, arena, &outputs, &n_outputs, why);
    if (code < 0)
        return strstr(why->message, "ONNX Runtime could not run") ? RUNTIME : FAILED;
    for (size_t i = 0; i < n_outputs; i++) {
        struct pacer_tensor expected;
        if (read_tensor(dir, "output", i, arena, &expected, why) < 0)
            return FAILED;
        fix_bfloat(&expected, outputs[i].dtype);
        if (!agree(&outputs[i], &expected, why))
            return FAILED;
    }
    return PASSED;
}

// --- saved again --------------------------------------------------------------------------------
static bool identical(const struct pacer_tensor *a, const struct pacer_tensor *b) {
    size_t count = 0;
    if (a->dtype != b->dtype || a->rank != b->rank ||
        (a->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) != 0) ||
        pacer_shape_count(a->shape, a->rank, &count) < 0)
        return false;
    if (a->dtype != PACER_BYTES)
        return count == 0 || memcmp(a->data, b->data, count * pacer_dtype_size(a->dtype)) == 0;
    bool same = true;
    for (size_t i = 0; i < count; i++)
        same &= same_element(a, b, i);
    return same;
}

static bool is_random(const char *dir) {
    static const char *const words[] = {"bernoulli", "dropout", "random", "training"};
    for (size_t i = 0; i < PCR_COUNT_OF(words); i++)
        if (strstr(dir, words[i]))
            return true;
    return false;
}

static enum verdict compare_set(struct pacer_session *sessions[2], const char *dir, bool exactly,
                                struct pcr_arena *arena, struct pacer_error *why) {
    struct pacer_tensor inputs[VALUES_MAX];
    const struct pacer_tensor *outputs[2];
    size_t n, n_outputs[2];
    if (read_inputs(sessions[0], dir, arena, inputs, &n, why) < 0)
        return FAILED;
    struct pacer_run run = {inputs, n, NULL, 0};
    if (pcr_session_run(sessions[0], &run, arena, &outputs[0], &n_outputs[0], why) < 0)
        return RUNTIME;
    if (pcr_session_run(sessions[1], &run, arena, &outputs[1], &n_outputs[1], why) < 0)
        return FAILED;
    bool same = n_outputs[0] == n_outputs[1];
    for (size_t i = 0; same && i < n_outputs[0]; i++)
        same = identical(&outputs[0][i], &outputs[1][i]);
    exactly &= !is_random(dir);
    if (!same && exactly)
        pcr_err(why, PACER_EINVAL, "suite", "saved again it gives other answers");
    return same || !exactly ? PASSED : FAILED;
}

static int save_again(const char *path, const char *folder, char saved[1024],
                      struct pacer_error *why) {
    struct pcr_onnx_model *model;
    snprintf(saved, 1024, "%s/model.onnx", folder);
    int code = pcr_onnx_model_load(path, &model, why);
    if (code < 0)
        return code;
    code = pcr_onnx_model_save(model, saved, why);
    pcr_onnx_model_destroy(model);
    return code;
}

// --- one model ----------------------------------------------------------------------------------
static int quantize(const char *path, const char *folder, char saved[1024],
                    struct pacer_error *why) {
    struct pacer_quantize_options options = PACER_QUANTIZE_OPTIONS_INIT;
    struct pacer_quantize_report *report = NULL;
    options.skip_evidence = options.force = true;
    snprintf(saved, 1024, "%s/model.onnx", folder);
    int code = pacer_quantize(path, saved, &options, &report, why);
    pacer_quantize_report_destroy(report);
    return code;
}

static int open_session(const char *path, struct pacer_session **out, struct pacer_error *why) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    options.skip_warm_up = true; // the data sets are better inputs
    return pacer_session_get(path, &options, out, why);
}

static enum verdict run_sets(struct pacer_session *sessions[2], const char *dir, bool exactly,
                             struct pacer_error *why) {
    enum verdict verdict = PASSED;
    size_t sets = 0;
    for (; verdict == PASSED; sets++) {
        char set[1200];
        struct pcr_arena arena;
        snprintf(set, sizeof set, "%s/test_data_set_%zu", dir, sets);
        DIR *d = opendir(set);
        if (!d)
            break;
        closedir(d);
        pcr_arena_init(&arena, (size_t)1 << 30);
        verdict = sessions[1] ? compare_set(sessions, set, exactly, &arena, why)
                              : run_set(sessions[0], set, &arena, why);
        pcr_arena_fini(&arena);
    }
    if (verdict == PASSED && sets == 0) {
        pcr_err(why, PACER_ENOTFOUND, "suite", "there is no data set");
        return FAILED;
    }
    return verdict;
}

static enum verdict run_model(const struct suite *suite, const char *dir, struct pacer_error *why) {
    struct pacer_session *sessions[2] = {NULL, NULL};
    char path[1024], saved[1024];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    if (open_session(path, &sessions[0], why) < 0)
        return strstr(why->message, "does not load it") ? RUNTIME
               : strstr(why->message, "serves tensors only") || strstr(why->message, "cannot carry")
                   ? REFUSED
                   : FAILED;
    enum verdict verdict = FAILED;
    int code = suite->resaves     ? save_again(path, suite->folder, saved, why)
               : suite->quantizes ? quantize(path, suite->folder, saved, why)
                                  : 0;
    bool changes = suite->resaves || suite->quantizes;
    if (suite->quantizes && code == PACER_EUNSUPPORTED)
        verdict = REFUSED; // quantized already, of an old opset
    else if (code == 0 && (!changes || open_session(saved, &sessions[1], why) == 0))
        verdict = run_sets(sessions, dir, suite->resaves, why);
    pacer_session_put(sessions[0]);
    pacer_session_put(sessions[1]);
    if (changes)
        unlink(saved);
    return verdict;
}

// --- the list of what is known to differ --------------------------------------------------------
static const char *explanation(const struct suite *suite, const char *name) {
    static char text[512];
    struct pcr_str rest = pcr_buf_view(&suite->known);
    struct pcr_str line;
    while (pcr_str_split(&rest, '\n', &line)) {
        struct pcr_str explained = line;
        struct pcr_str first;
        if (line.len == 0 || line.ptr[0] == '#' || !pcr_str_split(&explained, ' ', &first) ||
            !pcr_str_eq(first, pcr_str(name)))
            continue;
        snprintf(text, sizeof text, "%.*s", explained.ptr ? (int)explained.len : 0,
                 explained.ptr ? explained.ptr : "");
        return text;
    }
    return NULL;
}

static void run_named(struct suite *suite, const char *folder, const char *name) {
    char dir[900];
    struct pacer_error why = {0};
    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    enum verdict verdict = run_model(suite, dir, &why);
    bool changes = suite->resaves || suite->quantizes;
    const char *known = changes ? NULL : explanation(suite, name);
    if (verdict == FAILED && known)
        verdict = KNOWN;
    else if (verdict == PASSED && known)
        printf("%s passes here, although it is known to differ elsewhere\n", name);
    suite->counts[verdict]++;
    if (verdict == FAILED || (verdict != PASSED && suite->is_verbose))
        printf("%s: %s: %s\n", name, verdict_names[verdict], known ? known : why.message);
}

static int run_folder(struct suite *suite, const char *folder) {
    static struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "%s cannot be read; install libonnx-testdata\n", folder);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            run_named(suite, folder, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return 0;
}

int main(int argc, char **argv) {
    struct suite suite = {0};
    int arg = 1;
    for (; arg < argc && argv[arg][0] == '-'; arg++) {
        suite.is_verbose |= strcmp(argv[arg], "-v") == 0;
        suite.resaves |= strcmp(argv[arg], "-r") == 0;
        suite.quantizes |= strcmp(argv[arg], "-q") == 0;
    }
    snprintf(suite.folder, sizeof suite.folder, "/tmp/pacer-suite-XXXXXX");
    pcr_buf_init(&suite.known, 1 << 20);
    struct pacer_error err = {0};
    if (argc - arg < 2 || pcr_file_read(argv[arg], &suite.known, &err) < 0) {
        fprintf(stderr, "usage: onnx_node_suite [-v] [-r | -q] KNOWN FOLDER…  %s\n", err.message);
        return 2;
    }
    bool changes = suite.resaves || suite.quantizes;
    if (changes && !mkdtemp(suite.folder)) {
        perror(suite.folder);
        return 2;
    }
    uint64_t start = pcr_clock_mono_ns();
    for (arg++; arg < argc; arg++)
        if (run_folder(&suite, argv[arg]) < 0)
            return 77; // the test is skipped
    pcr_buf_fini(&suite.known);
    if (changes)
        rmdir(suite.folder);
    printf("ONNX Runtime %s, %.1f s:", pcr_infer_runtime_version(),
           (double)(pcr_clock_mono_ns() - start) / 1e9);
    for (size_t i = 0; i < VERDICTS; i++)
        printf(" %zu %s%s", suite.counts[i], verdict_names[i], i + 1 < VERDICTS ? "," : "\n");
    return suite.counts[FAILED] == 0 && suite.counts[PASSED] > 0 ? 0 : 1;
}
