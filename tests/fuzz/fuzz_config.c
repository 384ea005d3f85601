// SPDX-License-Identifier: Apache-2.0
// Any bytes as a configuration: either it loads and keeps its promises, or there is at least one
// fault with a message.
#include "config/config_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > PCR_CONFIG_FILE_BYTES_MAX)
        return 0;
    struct pcr_config_faults faults;
    struct pcr_config *config;
    struct pcr_config_source source = {.path = "fuzz.yaml",
                                       .text = {size ? (const char *)data : "", size}};
    pcr_config_faults_init(&faults);
    int rc = pcr_config_load_source(&source, NULL, 0, &config, &faults);
    PCR_ASSERT((rc == 0) == (config != NULL));
    PCR_ASSERT((rc == 0) == (faults.n + faults.dropped == 0));
    for (size_t i = 0; i < faults.n; i++) {
        PCR_ASSERT(faults.list[i].message[0] != '\0');
        for (const char *c = faults.list[i].message; *c; c++)
            PCR_ASSERT((unsigned char)*c >= 0x20 && *c != 0x7f);
        PCR_ASSERT(i == 0 || faults.list[i - 1].line <= faults.list[i].line);
    }
    if (config) {
        PCR_ASSERT(config->listen && config->models_dir && config->log_level);
        PCR_ASSERT(!config->ops_listen || strlen(config->ops_token) >= PCR_CONFIG_TOKEN_BYTES_MIN);
        PCR_ASSERT(config->cache_path_mb >= 16 && config->cache_redis_timeout_ms > 0);
        for (size_t i = 0; i < config->n_models; i++) {
            const struct pcr_config_model *model = &config->models[i];
            PCR_ASSERT(model->cache_ttl_s > 0 || (model->cache_stale_while_revalidate_s == 0 &&
                                                  model->cache_stale_if_error_s == 0));
        }
        for (size_t i = 0; i < config->n_decisions; i++) {
            const struct pcr_config_decision *decision = &config->decisions[i];
            PCR_ASSERT(decision->path[0] == '/' && decision->model && decision->contract);
            PCR_ASSERT(decision->n_features > 0 && decision->n_actions > 0);
            PCR_ASSERT(decision->fallback_action || !(decision->min_confidence > 0));
        }
    }
    pcr_config_unref(config);
    pcr_config_faults_fini(&faults);
    return 0;
}
