// SPDX-License-Identifier: Apache-2.0
// The public face of JSON Schema: loading a contract, holding documents against it, telling what
// broke it.
#include "json/schema_priv.h"

#include <limits.h>
#include <stdlib.h>

#define CHECK_BYTES_MAX ((size_t)64 << 20)

// --- building -----------------------------------------------------------------------------------

static int build_root(struct pcr_schema_loader *loader, struct pacer_contract *contract,
                      const struct pcr_contract_source *source) {
    const char *uri = pcr_arena_dup(loader->arena, pcr_str(source->uri));
    struct pcr_str fragment;
    // Without dots and fragment, as references to it will be spelled.
    uri = uri ? pcr_uri_resolve(loader->arena, PCR_STR(""), pcr_str(uri), &fragment) : NULL;
    if (!uri) {
        pcr_schema_no_memory(loader);
        return loader->rc;
    }
    contract->own = pcr_schema_add_document(loader, uri, source->text);
    if (!contract->own)
        return loader->rc;
    contract->root = pcr_schema_node(loader, contract->own, contract->own->root);
    if (contract->root && pcr_schema_compile(loader))
        pcr_schema_refuse_loops(loader);
    return loader->rc;
}

int pcr_contract_build(const struct pcr_contract_source *source, struct pacer_contract **out,
                       struct pacer_error *err) {
    struct pacer_error spare = {0};
    *out = NULL;
    struct pacer_contract *contract = calloc(1, sizeof *contract);
    if (!contract)
        return pcr_err(err, PACER_ENOMEM, PCR_SCHEMA_COMPONENT, "no memory for a contract");
    pcr_arena_init(&contract->arena, PCR_SCHEMA_ARENA_MAX);
    struct pcr_schema_loader loader = {
        .arena = &contract->arena,
        .err = err ? err : &spare,
        .base_dir = source->base_dir,
        .remotes = source->remotes,
        .remotes_n = source->remotes_n,
        .formats_annotate = source->formats_annotate,
    };
    loader.queue_last = &loader.queue_first;
    pcr_map_init(&loader.resources);
    int rc = build_root(&loader, contract, source);
    pcr_map_fini(&loader.resources);
    if (rc < 0) {
        pacer_contract_destroy(contract);
        return rc;
    }
    contract->digest = loader.digest;
    contract->title = yyjson_get_str(yyjson_obj_get(contract->own->root, "title"));
    *out = contract;
    return 0;
}

// The canonical form of the folder for references, in `real`; base_dir NULL stays NULL.
static int find_base(const char *base_dir, char real[PATH_MAX], const char **base,
                     struct pacer_error *err) {
    *base = NULL;
    if (!base_dir)
        return 0;
    if (!realpath(base_dir, real))
        return pcr_err(err, PACER_ENOTFOUND, PCR_SCHEMA_COMPONENT,
                       "%s: no such folder; expected the one where the schema's $ref files lie",
                       base_dir);
    *base = real;
    return 0;
}

// Where the schema was found, which relative references start from unless it has an $id.
static char *retrieval_uri(struct pcr_arena *arena, const char *base_uri, const char *base,
                           const char *file) {
    if (base_uri)
        return pcr_arena_dup(arena, pcr_str(base_uri));
    if (file)
        return pcr_uri_of_path(arena, file);
    if (!base)
        return pcr_arena_dup(arena, PCR_STR("schema:/"));
    char *path = pcr_arena_printf(arena, "%s/", strcmp(base, "/") == 0 ? "" : base);
    return path ? pcr_uri_of_path(arena, path) : NULL;
}

static int parse_from(struct pcr_str text, const char *file,
                      const struct pacer_contract_options *given, struct pacer_contract **out,
                      struct pacer_error *err) {
    static const struct pacer_contract_options defaults = PACER_CONTRACT_OPTIONS_INIT;
    char real[PATH_MAX];
    const char *base;
    *out = NULL;
    struct pacer_contract_options options = defaults;
    if (given && (given->size < sizeof given->size || given->size > sizeof options))
        return pcr_err(err, PACER_EINVAL, PCR_SCHEMA_COMPONENT,
                       "options.size is %zu, expected at most %zu; begin with "
                       "PACER_CONTRACT_OPTIONS_INIT (or the caller is of a newer libpacer)",
                       given->size, sizeof options);
    if (given) // an older caller's are shorter
        memcpy(&options, given, given->size);
    int rc = find_base(options.base_dir, real, &base, err);
    if (rc < 0)
        return rc;
    struct pcr_arena arena;
    pcr_arena_init(&arena, (size_t)1 << 20);
    const char *uri = retrieval_uri(&arena, options.base_uri, base, file);
    const struct pcr_contract_source source = {
        .text = text,
        .uri = uri,
        .base_dir = base,
        .formats_annotate = options.formats_annotate,
    };
    rc = uri ? pcr_contract_build(&source, out, err)
             : pcr_err(err, PACER_ENOMEM, PCR_SCHEMA_COMPONENT, "no memory for a contract");
    pcr_arena_fini(&arena);
    return rc;
}

int pacer_contract_parse(const char *json, size_t json_bytes,
                         const struct pacer_contract_options *options, struct pacer_contract **out,
                         struct pacer_error *err) {
    return parse_from((struct pcr_str){json, json_bytes}, NULL, options, out, err);
}

int pacer_contract_load(const char *path, const struct pacer_contract_options *options,
                        struct pacer_contract **out, struct pacer_error *err) {
    char real[PATH_MAX];
    struct pcr_buf text;
    *out = NULL;
    pcr_buf_init(&text, PCR_SCHEMA_BYTES_MAX);
    int rc = pcr_file_read(path, &text, err);
    if (rc == 0 && !realpath(path, real))
        rc = pcr_err(err, PACER_EIO, PCR_SCHEMA_COMPONENT, "%s: its canonical path is not known",
                     path);
    if (rc == 0) {
        rc = parse_from(pcr_buf_view(&text), real, options, out, err);
        if (rc < 0)
            pcr_err_prefix(err, rc, "%s", path);
    }
    pcr_buf_fini(&text);
    return rc;
}

void pacer_contract_destroy(struct pacer_contract *contract) {
    if (!contract)
        return;
    for (size_t i = 0; i < PCR_COUNT_OF(contract->runs); i++)
        pcr_run_destroy(atomic_load_explicit(&contract->runs[i], memory_order_acquire));
    pcr_arena_fini(&contract->arena);
    free(contract);
}

// --- checking -----------------------------------------------------------------------------------

static struct pcr_run *take_run(struct pacer_contract *contract) {
    for (size_t i = 0; i < PCR_COUNT_OF(contract->runs); i++) {
        if (!atomic_load_explicit(&contract->runs[i], memory_order_relaxed))
            continue;
        struct pcr_run *run =
            atomic_exchange_explicit(&contract->runs[i], NULL, memory_order_acquire);
        if (run)
            return run;
    }
    return pcr_run_create();
}

static void give_run(struct pacer_contract *contract, struct pcr_run *run) {
    pcr_arena_reset(&run->arena);
    for (size_t i = 0; i < PCR_COUNT_OF(contract->runs); i++) {
        struct pcr_run *empty = NULL;
        if (atomic_compare_exchange_strong_explicit(&contract->runs[i], &empty, run,
                                                    memory_order_release, memory_order_relaxed))
            return;
    }
    pcr_run_destroy(run);
}

static int by_place(const void *left, const void *right) {
    const struct pcr_found *a = *(struct pcr_found *const *)left;
    const struct pcr_found *b = *(struct pcr_found *const *)right;
    if (a->value != b->value) // a document's values lie in one array in its order
        return a->value < b->value ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static int tell(struct pcr_run *run, pacer_violation_cb on_violation, void *ctx,
                struct pacer_error *err) {
    struct pcr_found **all = pcr_arena_array(&run->arena, run->found_n, sizeof *all);
    if (!all)
        return pcr_err(err, PACER_ENOMEM, PCR_SCHEMA_COMPONENT, "no memory to tell the violations");
    size_t n = 0;
    for (struct pcr_found *found = run->found; found; found = found->next)
        all[n++] = found;
    qsort(all, n, sizeof *all, by_place);
    for (size_t i = 0; on_violation && i < n; i++) {
        if (!on_violation(ctx, &all[i]->violation))
            break;
    }
    const struct pacer_violation *first = &all[0]->violation;
    return pcr_err(err, PACER_ECONTRACT, PCR_SCHEMA_COMPONENT, "%s: %s (schema: %s)",
                   *first->instance ? first->instance : "the document", first->message,
                   *first->schema ? first->schema : "the whole");
}

static int check_with(struct pcr_run *run, const struct pacer_contract *contract, yyjson_val *value,
                      pacer_violation_cb on_violation, void *ctx, struct pacer_error *err) {
    run->own = contract->own;
    run->scope = NULL;
    run->found = NULL;
    run->found_n = 0;
    run->steps = 0;
    run->depth = 0;
    run->quiet = 0;
    run->rc = 0;
    bool ok = pcr_schema_apply(run, contract->root, value);
    if (run->rc < 0)
        return pcr_err(err, run->rc, PCR_SCHEMA_COMPONENT, "the document could not be checked: %s",
                       run->rc_why);
    PCR_ASSERT(ok == (run->found_n == 0));
    return ok ? 0 : tell(run, on_violation, ctx, err);
}

// Contracts are shared as const;
// their kept scratch is the one thing that changes, and it is atomic.
static struct pacer_contract *kept_scratch_of(const struct pacer_contract *contract) {
    return (struct pacer_contract *)contract;
}

int pcr_contract_check_value(const struct pacer_contract *contract, yyjson_val *value,
                             bool (*on_violation)(void *ctx,
                                                  const struct pacer_violation *violation),
                             void *ctx, struct pacer_error *err) {
    struct pcr_run *run = take_run(kept_scratch_of(contract));
    if (!run)
        return pcr_err(err, PACER_ENOMEM, PCR_SCHEMA_COMPONENT, "no memory to check the document");
    int rc = check_with(run, contract, value, on_violation, ctx, err);
    give_run(kept_scratch_of(contract), run);
    return rc;
}

int pacer_contract_check(const struct pacer_contract *contract, const char *json, size_t json_bytes,
                         pacer_violation_cb on_violation, void *ctx, struct pacer_error *err) {
    static const struct pcr_json_options options = {.what = "document"};
    if (json_bytes > CHECK_BYTES_MAX)
        return pcr_err(err, PACER_ELIMIT, PCR_SCHEMA_COMPONENT,
                       "the document has %zu bytes, at most %zu are checked", json_bytes,
                       CHECK_BYTES_MAX);
    struct pcr_run *run = take_run(kept_scratch_of(contract));
    if (!run)
        return pcr_err(err, PACER_ENOMEM, PCR_SCHEMA_COMPONENT, "no memory to check the document");
    yyjson_val *root;
    int rc = pcr_json_parse(&run->arena, (struct pcr_str){json, json_bytes}, &options, &root, err);
    if (rc == 0)
        rc = check_with(run, contract, root, on_violation, ctx, err);
    give_run(kept_scratch_of(contract), run);
    return rc;
}

// --- about the schema ---------------------------------------------------------------------------

yyjson_val *pcr_contract_schema(const struct pacer_contract *contract) {
    return contract->own->root;
}

yyjson_val *pcr_contract_example(const struct pacer_contract *contract) {
    return yyjson_arr_get_first(yyjson_obj_get(contract->own->root, "examples"));
}

uint64_t pcr_contract_digest(const struct pacer_contract *contract) {
    return contract->digest;
}

const char *pcr_contract_title(const struct pacer_contract *contract) {
    return contract->title;
}
