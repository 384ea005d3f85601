// SPDX-License-Identifier: Apache-2.0
// pacer run: one model, once, on inputs from files.
//
// Input is what the server would be sent (a v2 request), or the short form {"name": [[…]]}, whose
// shape and element type follow from the nesting and the model, or .npy files. The short form is
// rewritten as a v2 request and read by the server's own codec, so there is one reader of tensors
// in JSON and its messages are the same everywhere.
//
// The answer is always the v2 response as JSON. A request may ask for binary outputs; a terminal is
// no place for them, so they are given as JSON.
#include "cli/cli.h"
#include "data/npy.h"
#include "infer/infer.h"
#include "server/v2_codec.h"

#include <limits.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX (256u << 20)
#define ARENA_BYTES_MAX ((size_t)2 << 30)
#define INPUTS_MAX 64
#define FILES_MAX 64

struct job {
    const struct pcr_cli_args *args;
    const char *path;        // of the model
    char name[NAME_MAX + 1]; // as messages and the answer call it
    struct pacer_session *session;
    struct pcr_arena arena;
    struct pcr_buf files[FILES_MAX]; // what was read, borrowed by the request
    size_t n_files;
    struct pacer_tensor tensors[INPUTS_MAX]; // of .npy files
    size_t n_tensors;
    struct pcr_v2_request request;
};

static int bad_input(const char *file, const struct pacer_error *err) {
    return pcr_cli_fail(PCR_EXIT_INPUT, "%s: %s", strcmp(file, "-") == 0 ? "standard input" : file,
                        err->message);
}

static const struct pacer_tensor_info *find_input(const struct job *job, struct pcr_str name) {
    size_t n;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(job->session, &n);
    for (size_t i = 0; i < n; i++)
        if (pcr_str_eq(name, pcr_str(inputs[i].name)))
            return &inputs[i];
    return NULL;
}

// --- {"name": [[…]]} ----------------------------------------------------------------------------
// The shape of nested arrays into shape[]; -1 if they are not all alike or nested too deep.
static int nested_shape(yyjson_val *value, int64_t shape[PACER_RANK_MAX]) {
    if (!yyjson_is_arr(value))
        return 0;
    shape[0] = (int64_t)yyjson_arr_size(value);
    int rank = 0; // of the items
    int64_t items[PACER_RANK_MAX] = {0}, other[PACER_RANK_MAX] = {0};
    yyjson_arr_iter iter = yyjson_arr_iter_with(value);
    yyjson_val *item;
    for (bool first = true; (item = yyjson_arr_iter_next(&iter)); first = false) {
        int r = nested_shape(item, first ? items : other);
        if (r < 0 || r + 1 > PACER_RANK_MAX)
            return -1;
        if (!first && (r != rank || memcmp(items, other, (size_t)r * sizeof *items) != 0))
            return -1;
        rank = r;
    }
    memcpy(shape + 1, items,
           (size_t)(rank < PACER_RANK_MAX - 1 ? rank : PACER_RANK_MAX - 1) * sizeof *items);
    return rank + 1;
}

static int rewrite_input(const struct job *job, struct pcr_json_writer *w, struct pcr_str name,
                         yyjson_val *value, struct pacer_error *err) {
    const struct pacer_tensor_info *input = find_input(job, name);
    int64_t shape[PACER_RANK_MAX] = {0};
    if (!input)
        return pcr_err(err, PACER_EINVAL, "run", "model '%s' has no input '%.*s'", job->name,
                       (int)(name.len > 100 ? 100 : name.len), name.ptr);
    int rank = nested_shape(value, shape);
    if (rank < 0)
        return pcr_err(err, PACER_EINVAL, "run",
                       "input '%s': the nested lists are not all of one length", input->name);
    pcr_json_object_begin(w);
    pcr_json_key(w, "name");
    pcr_json_text(w, input->name);
    pcr_json_key(w, "datatype");
    pcr_json_text(w, pacer_dtype_name(input->dtype));
    pcr_json_key(w, "shape");
    pcr_json_array_begin(w);
    for (int i = 0; i < rank; i++)
        pcr_json_i64(w, shape[i]);
    pcr_json_array_end(w);
    pcr_json_key(w, "data");
    if (rank == 0)
        pcr_json_array_begin(w);
    pcr_json_value(w, value);
    if (rank == 0)
        pcr_json_array_end(w);
    pcr_json_object_end(w);
    return 0;
}

// A v2 request has "inputs", a list of objects; a model may have an input of that name.
static bool is_v2(yyjson_val *root) {
    yyjson_val *inputs = yyjson_obj_get(root, "inputs");
    return yyjson_is_arr(inputs) &&
           (yyjson_arr_size(inputs) == 0 || yyjson_is_obj(yyjson_arr_get_first(inputs)));
}

// Writes the short form as a v2 request into *out.
static int rewrite(const struct job *job, yyjson_val *root, struct pcr_buf *out,
                   struct pacer_error *err) {
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, out);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "inputs");
    pcr_json_array_begin(&w);
    yyjson_obj_iter iter = yyjson_obj_iter_with(root);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iter));) {
        int rc = rewrite_input(job, &w, pcr_json_str(key), yyjson_obj_iter_get_val(key), err);
        if (rc < 0)
            return rc;
    }
    pcr_json_array_end(&w);
    pcr_json_object_end(&w);
    if (out->failed)
        return pcr_err(err, PACER_ELIMIT, "run", "the input is too large");
    return 0;
}

static int read_json(struct job *job, struct pcr_str text, struct pacer_error *err) {
    struct pcr_json_options options = {.what = "input"};
    yyjson_val *root;
    int rc = pcr_json_parse(&job->arena, text, &options, &root, err);
    if (rc < 0)
        return rc;
    if (!yyjson_is_obj(root))
        return pcr_err(err, PACER_EINVAL, "run",
                       "expected an object: a v2 request, or {\"name\": [[…]]} with the names of "
                       "the model's inputs");
    if (!is_v2(root)) {
        PCR_ASSERT(job->n_files < FILES_MAX);
        struct pcr_buf *rewritten = &job->files[job->n_files++];
        pcr_buf_init(rewritten, 2 * (size_t)INPUT_BYTES_MAX);
        rc = rewrite(job, root, rewritten, err);
        if (rc < 0)
            return rc;
        text = pcr_buf_view(rewritten);
    }
    return pcr_v2_read(&job->arena, job->name, text, text.len, &job->request, err);
}

// --- files --------------------------------------------------------------------------------------
// "NAME=FILE" names an input, unless there is a file of that whole name.
static const char *split_name(const struct job *job, const char *given, const char **name) {
    struct stat st;
    const char *equals = strchr(given, '=');
    *name = NULL;
    if (!equals || stat(given, &st) == 0)
        return given;
    const struct pacer_tensor_info *input =
        find_input(job, (struct pcr_str){given, (size_t)(equals - given)});
    if (!input)
        return given;
    *name = input->name;
    return equals + 1;
}

static int add_array(struct job *job, const char *name, struct pcr_str bytes,
                     struct pacer_error *err) {
    size_t n_inputs;
    const struct pacer_tensor_info *inputs = pacer_session_inputs(job->session, &n_inputs);
    struct pacer_tensor *tensor = &job->tensors[job->n_tensors];
    if (job->n_tensors == INPUTS_MAX)
        return pcr_err(err, PACER_ELIMIT, "run", "more than %d arrays", INPUTS_MAX);
    int rc = pcr_npy_read(&job->arena, bytes, tensor, err);
    if (rc < 0)
        return rc;
    if (!name && n_inputs != 1)
        return pcr_err(err, PACER_EINVAL, "run",
                       "model '%s' has %zu inputs; say which this array is: --input NAME=FILE",
                       job->name, n_inputs);
    tensor->name = name ? name : inputs[0].name;
    job->n_tensors++;
    return 0;
}

static int read_input(struct job *job, const char *given) {
    const char *name;
    const char *file = split_name(job, given, &name);
    struct pacer_error err;
    if (job->n_files >= FILES_MAX - 1)
        return pcr_cli_usage(job->args->command, "more than %d inputs", FILES_MAX - 1);
    struct pcr_buf *buf = &job->files[job->n_files++];
    pcr_buf_init(buf, INPUT_BYTES_MAX);
    int rc = pcr_file_read(strcmp(file, "-") == 0 ? "/dev/stdin" : file, buf, &err);
    if (rc < 0)
        return pcr_cli_fail(PCR_EXIT_INPUT, "%s", err.message);
    struct pcr_str bytes = pcr_buf_view(buf);
    if (pcr_npy_sniff(bytes))
        rc = add_array(job, name, bytes, &err);
    else if (pcr_str_starts_with(bytes, PCR_STR("PK\x03\x04")))
        rc = pcr_err(&err, PACER_EUNSUPPORTED, "run",
                     "an archive of arrays (.npz?); save each array with numpy.save");
    else if (name || job->request.run.n_inputs || job->n_tensors)
        rc = pcr_err(&err, PACER_EINVAL, "run",
                     "not an .npy file; JSON comes as one file that holds all inputs");
    else
        rc = read_json(job, bytes, &err);
    return rc < 0 ? bad_input(file, &err) : PCR_EXIT_OK;
}

static int read_inputs(struct job *job) {
    size_t n_inputs, n_read = 0;
    bool json = false;
    pacer_session_inputs(job->session, &n_inputs);
    for (size_t i = 0; i < job->args->n_given; i++) {
        const struct pcr_cli_given *given = &job->args->given[i];
        if (strcmp(given->option.name, "input") != 0)
            continue;
        int rc = json ? pcr_cli_usage(job->args->command, "JSON input is one file; '%s' is another",
                                      given->value)
                      : read_input(job, given->value);
        if (rc != PCR_EXIT_OK)
            return rc;
        n_read++;
        json = job->n_tensors == 0;
    }
    if (n_read == 0 && n_inputs > 0)
        return pcr_cli_usage(job->args->command, "--input is missing");
    if (job->n_tensors > 0) {
        job->request.run.inputs = job->tensors;
        job->request.run.n_inputs = job->n_tensors;
    }
    return PCR_EXIT_OK;
}

// --- the run ------------------------------------------------------------------------------------
// The outputs asked for with --output, else those of the request, all in JSON form.
static int choose_outputs(struct job *job) {
    const struct pcr_cli_args *args = job->args;
    struct pacer_run *run = &job->request.run;
    const char **names = pcr_arena_calloc(&job->arena, args->n_given + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; names && i < args->n_given; i++)
        if (strcmp(args->given[i].option.name, "output") == 0)
            names[n++] = args->given[i].value;
    if (n > 0) {
        run->outputs = names;
        run->n_outputs = n;
    }
    struct pcr_v2_output *outputs =
        pcr_arena_calloc(&job->arena, run->n_outputs + 1, sizeof *outputs);
    if (!names || !outputs)
        return pcr_cli_fail(PCR_EXIT_FAILURE, "out of memory");
    for (size_t i = 0; n == 0 && i < run->n_outputs; i++)
        outputs[i].classes = job->request.outputs[i].classes;
    job->request.outputs = outputs;
    job->request.binary_output = false;
    return PCR_EXIT_OK;
}

static int print_line(struct pcr_str text) {
    struct pcr_buf out;
    pcr_buf_init(&out, text.len + 1);
    pcr_buf_str(&out, text);
    pcr_buf_char(&out, '\n');
    int rc = pcr_cli_print(&out);
    pcr_buf_fini(&out);
    return rc;
}

static int run_and_print(struct job *job) {
    struct pacer_error err;
    const struct pacer_run *run = &job->request.run;
    struct pcr_v2_answer answer = {.model = job->name,
                                   .version = pacer_session_version(job->session)};
    int rc = pcr_session_check(job->session, job->name, run, &err);
    if (rc < 0)
        return pcr_cli_fail(PCR_EXIT_INPUT, "%s", err.message);
    rc = pcr_session_run(job->session, run, &job->arena, &answer.outputs, &answer.n_outputs, &err);
    if (rc < 0)
        return pcr_cli_fail(PCR_EXIT_FAILURE, "%s", err.message);
    struct pcr_v2_body body;
    const struct pacer_tensor_info *inputs;
    size_t n_inputs;
    inputs = pacer_session_inputs(job->session, &n_inputs);
    answer.batches = n_inputs > 0 && inputs[0].rank > 1 && inputs[0].shape[0] == -1;
    rc = pcr_v2_write(&job->arena, &job->request, &answer, &body, &err);
    if (rc < 0)
        return pcr_cli_fail(PCR_EXIT_FAILURE, "%s", err.message);
    return print_line(body.json);
}

static void name_model(struct job *job) {
    const char *slash = strrchr(job->path, '/');
    struct pcr_str name = pcr_str(slash ? slash + 1 : job->path);
    if (name.len > 5 && pcr_str_ends_with(name, PCR_STR(".onnx")))
        name.len -= 5;
    if (name.len >= sizeof job->name)
        name.len = sizeof job->name - 1;
    memcpy(job->name, name.ptr, name.len);
    job->name[name.len] = '\0';
}

static int open_session(struct job *job) {
    struct pacer_session_options options = PACER_SESSION_OPTIONS_INIT;
    struct pacer_error err;
    options.use_quantized = pcr_cli_has(job->args, "quantized");
    options.skip_warm_up = true; // it runs only once
    if (pacer_session_get(job->path, &options, &job->session, &err) < 0)
        return pcr_cli_fail(PCR_EXIT_MODEL, "%s", err.message);
    return PCR_EXIT_OK;
}

static int run(const struct pcr_cli_args *args) {
    static struct job job; // too large for a stack that may be small; there is only one
    job = (struct job){.args = args, .path = args->operands[0]};
    pcr_arena_init(&job.arena, ARENA_BYTES_MAX);
    name_model(&job);
    int rc = open_session(&job);
    if (rc == PCR_EXIT_OK)
        rc = read_inputs(&job);
    if (rc == PCR_EXIT_OK)
        rc = choose_outputs(&job);
    if (rc == PCR_EXIT_OK)
        rc = run_and_print(&job);
    pcr_arena_fini(&job.arena);
    for (size_t i = 0; i < job.n_files; i++)
        pcr_buf_fini(&job.files[i]);
    pacer_session_put(job.session);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "input",
     .letter = 'i',
     .metavar = "[NAME=]FILE",
     .help = "JSON or .npy file, '-' for standard input; one .npy file per input",
     .repeats = true},
    {.name = "output",
     .letter = 'o',
     .metavar = "NAME",
     .help = "give only this output; may be repeated",
     .repeats = true},
    {.name = "quantized", .help = "run MODEL.int8.onnx where it is beside MODEL.onnx"},
};

const struct pcr_cli_command pcr_cmd_run = {
    .name = "run",
    .operands = "MODEL",
    .summary = "run a model once and print its outputs",
    .text = "Runs the ONNX file MODEL once on the given inputs and prints the outputs as a\n"
            "response of the Open Inference Protocol (v2). Inputs are a v2 request, a JSON\n"
            "object of input names and nested lists, or NumPy arrays:\n\n"
            "  pacer run plus1.onnx --input request.json\n"
            "  echo '{\"X\": [[1, 2, 3, 4]]}' | pacer run plus1.onnx --input -\n"
            "  pacer run simple.onnx --input INPUT0=a.npy --input INPUT1=b.npy",
    .complete = "file",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .n_operands_min = 1,
    .n_operands_max = 1,
    .run = run,
};
