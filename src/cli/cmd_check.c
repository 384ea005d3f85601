// SPDX-License-Identifier: Apache-2.0
// pacer check: is this configuration one that serves?
//
// The file is loaded as `pacer serve` loads it; then the models are loaded and every decision is
// compiled against its model and contract, because a file that reads well and does not serve has
// not been checked. All faults are shown, in the form that editors and compilers use
// (file:line:column: message).
#include "cache/cache.h"
#include "cli/cli.h"
#include "decide/decide.h"
#include "infer/infer.h"
#include "server/server.h"
#include "json/json.h"

#include <stdlib.h>

struct check {
    const char *file; // as given
    const struct pcr_config *config;
    struct pcr_repository *repository;
    struct pcr_config_faults faults;
    size_t n_models;
    bool looked; // at models and contracts
};

static void add_decision_fault(void *ctx, struct pcr_config_place at, const char *message) {
    struct check *check = ctx;
    pcr_config_faults_add(&check->faults, check->file, at.line, at.column, message);
}

// Points at the line of the configuration that names the model, if there is one.
static void add_model_fault(struct check *check, const struct pcr_model_status *model) {
    const struct pcr_config *config = check->config;
    char text[1024];
    snprintf(text, sizeof text, "the model '%s'%s%s cannot be loaded: %s", model->name,
             *model->version ? ", version " : "", model->version, model->reason);
    for (size_t i = 0; i < config->n_models; i++) {
        if (strcmp(config->models[i].name, model->name) == 0) {
            pcr_config_faults_add(&check->faults, check->file, config->models[i].line, 0, text);
            return;
        }
    }
    pcr_config_faults_add(&check->faults, config->models_dir, 0, 0, text);
}

// Every model has to load; the repository's index also has those that only the configuration names.
static int check_models(struct check *check) {
    struct pcr_arena arena;
    struct pcr_model_status *index;
    size_t n;
    pcr_arena_init(&arena, 16 << 20);
    int rc = pcr_repository_index(check->repository, &arena, &index, &n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (index[i].state == PCR_MODEL_FAILED)
            add_model_fault(check, &index[i]);
        else
            check->n_models++;
    }
    pcr_arena_fini(&arena);
    return rc == 0 ? PCR_EXIT_OK : pcr_cli_fail(PCR_EXIT_FAILURE, "out of memory");
}

static int open_repository(struct check *check) {
    const struct pcr_config *config = check->config;
    struct pacer_error err;
    struct pcr_repository_options options;
    struct pcr_arena arena;
    pcr_arena_init(&arena, 16 << 20);
    int rc = pcr_server_models(config, &arena, &options)
                 ? pcr_repository_open(&options, &check->repository, &err)
                 : pcr_err(&err, PACER_ENOMEM, "check", "out of memory");
    pcr_arena_fini(&arena);
    if (rc < 0 && check->faults.n == 0) { // else it may be another directory that was meant
        char text[640];
        snprintf(text, sizeof text, "models_dir: %s", err.message);
        pcr_config_faults_add(&check->faults, check->file, 0, 0, text);
    }
    return PCR_EXIT_OK;
}

static void check_cache(struct check *check) {
    const struct pcr_cache_options options = {.redis_url = check->config->cache_redis_url};
    struct pacer_error err;
    if (pcr_cache_check(&options, &err) < 0)
        pcr_config_faults_add(&check->faults, check->file, 0, 0, err.message);
}

static int check_what_is_served(struct check *check) {
    check_cache(check);
    int rc = open_repository(check);
    if (rc != PCR_EXIT_OK || !check->repository)
        return rc;
    check->looked = true;
    rc = check_models(check);
    for (size_t i = 0; rc == PCR_EXIT_OK && i < check->config->n_decisions; i++)
        if (!check->config->decisions[i].faulty)
            pcr_decision_check(&check->config->decisions[i], check->repository, add_decision_fault,
                               check);
    pcr_repository_close(check->repository);
    return rc;
}

// --- output -------------------------------------------------------------------------------------
static void write_json(const struct check *check, struct pcr_buf *out) {
    struct pcr_json_writer w;
    pcr_json_writer_init(&w, out);
    pcr_json_object_begin(&w);
    pcr_json_key(&w, "file");
    pcr_json_text(&w, check->file);
    pcr_json_key(&w, "ok");
    pcr_json_bool(&w, check->faults.n + check->faults.dropped == 0);
    pcr_json_key(&w, "decisions");
    pcr_json_u64(&w, check->config ? check->config->n_decisions : 0);
    pcr_json_key(&w, "models");
    pcr_json_u64(&w, check->n_models);
    pcr_json_key(&w, "models_checked");
    pcr_json_bool(&w, check->looked);
    pcr_json_key(&w, "faults");
    pcr_json_array_begin(&w);
    for (size_t i = 0; i < check->faults.n; i++) {
        const struct pcr_config_fault *fault = &check->faults.list[i];
        pcr_json_object_begin(&w);
        pcr_json_key(&w, "file");
        pcr_json_text(&w, fault->file);
        if (fault->line > 0) {
            pcr_json_key(&w, "line");
            pcr_json_i64(&w, fault->line);
        }
        if (fault->column > 0) {
            pcr_json_key(&w, "column");
            pcr_json_i64(&w, fault->column);
        }
        pcr_json_key(&w, "message");
        pcr_json_text(&w, fault->message);
        pcr_json_object_end(&w);
    }
    pcr_json_array_end(&w);
    pcr_json_key(&w, "faults_not_shown");
    pcr_json_u64(&w, check->faults.dropped);
    pcr_json_object_end(&w);
    pcr_buf_char(out, '\n');
}

static void write_text(const struct check *check, struct pcr_buf *out) {
    bool color = pcr_cli_color(stdout);
    for (size_t i = 0; i < check->faults.n; i++) {
        const struct pcr_config_fault *fault = &check->faults.list[i];
        pcr_buf_printf(out, "%s%s", color ? "\033[1m" : "", fault->file);
        if (fault->line > 0)
            pcr_buf_printf(out, ":%d", fault->line);
        if (fault->line > 0 && fault->column > 0)
            pcr_buf_printf(out, ":%d", fault->column);
        pcr_buf_printf(out, ":%s %s\n", color ? "\033[0m" : "", fault->message);
    }
    if (check->faults.n == 0)
        pcr_buf_printf(out, "%s: ok (%zu decision%s, %zu model%s)\n", check->file,
                       check->config->n_decisions, check->config->n_decisions == 1 ? "" : "s",
                       check->n_models, check->n_models == 1 ? "" : "s");
}

static int report(const struct check *check, bool json) {
    struct pcr_buf text;
    pcr_buf_init(&text, 4 << 20);
    if (json)
        write_json(check, &text);
    else
        write_text(check, &text);
    int rc = pcr_cli_print(&text);
    pcr_buf_fini(&text);
    size_t n = check->faults.n + check->faults.dropped;
    if (rc != PCR_EXIT_OK || n == 0)
        return rc;
    fflush(stdout); // the faults before the sum
    return pcr_cli_fail(PCR_EXIT_CONFIG, "%zu fault%s in %s%s", n, n == 1 ? "" : "s", check->file,
                        check->looked || check->faults.n == 0
                            ? ""
                            : "; models and contracts were not looked at: mend these first");
}

static int run(const struct pcr_cli_args *args) {
    struct pcr_arena arena;
    struct pcr_config_override overrides[PCR_CLI_GIVEN_MAX];
    struct pcr_config *config = NULL;
    struct check check = {.file = strcmp(args->operands[0], "-") == 0 ? "standard input"
                                                                      : args->operands[0]};
    size_t n_overrides;
    pcr_arena_init(&arena, 1 << 20);
    pcr_config_faults_init(&check.faults);
    // What the rooms below would log is among the faults.
    pcr_log_configure(&(struct pcr_log_options){.level = PCR_LOG_NONE});
    int rc = pcr_cli_overrides(args, &arena, overrides, &n_overrides);
    if (rc == PCR_EXIT_OK) {
        pcr_config_load_parts(args->operands[0], overrides, n_overrides, &config, &check.faults);
        check.config = config;
        if (config)
            rc = check_what_is_served(&check);
        pcr_config_faults_sort(&check.faults);
        if (rc == PCR_EXIT_OK)
            rc = report(&check, pcr_cli_has(args, "json"));
    }
    pcr_config_unref(config);
    pcr_config_faults_fini(&check.faults);
    pcr_arena_fini(&arena);
    return rc;
}

static const struct pcr_cli_option options[] = {
    {.name = "json", .letter = 'j', .help = "as one JSON object"},
};

const struct pcr_cli_command pcr_cmd_check = {
    .name = "check",
    .operands = "CONFIG",
    .summary = "show everything that is wrong with a configuration",
    .text = "Checks the file CONFIG ('-': standard input) as 'pacer serve' would: keys and\n"
            "values, then that every model loads and every decision fits its model and its\n"
            "contract. All faults are shown at once, as file:line:column: message. Exit\n"
            "code 3 if there are any.",
    .complete = "file",
    .options = options,
    .n_options = PCR_COUNT_OF(options),
    .n_operands_min = 1,
    .n_operands_max = 1,
    .config_flags = true,
    .run = run,
};
