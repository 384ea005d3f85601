// SPDX-License-Identifier: Apache-2.0
#include "server/generation.h"

#include "server/server.h"

#include <stdlib.h>

static enum pcr_merging merging_of(const char *word) {
    return strcmp(word, "on") == 0    ? PCR_MERGING_ON
           : strcmp(word, "off") == 0 ? PCR_MERGING_OFF
                                      : PCR_MERGING_AUTO;
}

bool pcr_server_models(const struct pcr_config *config, struct pcr_arena *arena,
                       struct pcr_repository_options *out) {
    struct pcr_model_config *models = pcr_arena_calloc(arena, config->n_models + 1, sizeof *models);
    for (size_t i = 0; models && i < config->n_models; i++) {
        const struct pcr_config_model *from = &config->models[i];
        models[i] = (struct pcr_model_config){
            .name = from->name,
            .use_quantized = from->use_quantized,
            .intra_op_threads = from->intra_op_threads,
            .max_batch_size = from->max_batch_size,
            .merging = merging_of(from->merge),
            .instances = (unsigned)from->instances,
            .queue_max = (size_t)from->max_queue,
            .max_wait_ns = from->max_wait_ms * PCR_NS_PER_MS,
            .timeout_ns = from->timeout_ms * PCR_NS_PER_MS,
            .keep_ns = from->cache_ttl_s * PCR_NS_PER_S,
            .keep_stale_ns = from->cache_stale_while_revalidate_s * PCR_NS_PER_S,
            .keep_on_error_ns = from->cache_stale_if_error_s * PCR_NS_PER_S,
        };
    }
    *out = (struct pcr_repository_options){
        .models_dir = config->models_dir, .models = models, .n_models = config->n_models};
    return models != NULL;
}

void pcr_generation_log_faults(const struct pcr_config_faults *faults) {
    for (size_t i = 0; i < faults->n; i++) {
        const struct pcr_config_fault *fault = &faults->list[i];
        if (fault->line > 0)
            pcr_log(PCR_LOG_ERROR, "config", "%s:%d:%d: %s", fault->file, fault->line,
                    fault->column, fault->message);
        else
            pcr_log(PCR_LOG_ERROR, "config", "%s: %s", fault->file, fault->message);
    }
    if (faults->dropped)
        pcr_log(PCR_LOG_ERROR, "config", "… and %zu more faults", faults->dropped);
}

// Tries every decision, so that one run tells all that is wrong.
static int compile_decisions(struct pcr_generation *generation, struct pcr_repository *repository) {
    const struct pcr_config *config = generation->config;
    int rc = 0;
    for (size_t i = 0; i < config->n_decisions; i++) {
        struct pacer_error err;
        struct pcr_decision *decision = NULL;
        int code =
            pcr_decision_create(&config->decisions[i], config->file, repository, &decision, &err);
        if (code < 0) {
            pcr_log(PCR_LOG_ERROR, "config", "%s", err.message);
            rc = code;
            continue;
        }
        generation->decisions[generation->n_decisions++] = decision;
    }
    return rc;
}

static struct pcr_generation *alloc(struct pcr_config *config) {
    struct pcr_generation *generation = calloc(1, sizeof *generation);
    size_t room = config->n_decisions ? config->n_decisions : 1;
    struct pcr_decision **decisions = calloc(room, sizeof(struct pcr_decision *));
    if (!generation || !decisions) {
        free(generation);
        free(decisions);
        pcr_log(PCR_LOG_ERROR, "server", "out of memory");
        return NULL;
    }
    atomic_init(&generation->refs, 1);
    pcr_arena_init(&generation->arena, 64u << 20);
    generation->decisions = decisions;
    pcr_config_ref(config);
    generation->config = config;
    return generation;
}

static int route(struct pcr_generation *generation) {
    struct pacer_error err;
    int rc = pcr_generation_route(generation, generation->config->server_name, &err);
    if (rc < 0)
        pcr_log(PCR_LOG_ERROR, "config", "%s", err.message);
    return rc;
}

// Takes over the creator's reference where it failed.
static int hand_out(struct pcr_generation *generation, int rc, struct pcr_generation **out) {
    *out = rc < 0 ? NULL : generation;
    if (rc < 0)
        pcr_generation_unref(generation);
    return rc;
}

int pcr_generation_create(struct pcr_config *config, struct pcr_repository *repository,
                          struct pcr_generation **out) {
    struct pcr_generation *generation = alloc(config);
    *out = NULL;
    if (!generation)
        return PACER_ENOMEM;
    int rc = compile_decisions(generation, repository);
    return hand_out(generation, rc < 0 ? rc : route(generation), out);
}

int pcr_generation_create_loading(struct pcr_config *config, struct pcr_generation **out) {
    struct pcr_generation *generation = alloc(config);
    *out = NULL;
    if (!generation)
        return PACER_ENOMEM;
    generation->loading = true;
    return hand_out(generation, route(generation), out);
}
