// SPDX-License-Identifier: Apache-2.0
#ifndef PCR_SERVER_CACHE_FIGURES_H
#define PCR_SERVER_CACHE_FIGURES_H

#include "cache/cache.h"
#include "json/json.h"

void pcr_cache_figures_json(struct pcr_cache *cache, struct pcr_json_writer *writer);
void pcr_cache_figures_prometheus(struct pcr_cache *cache, struct pcr_buf *buf);

#endif
