// SPDX-License-Identifier: Apache-2.0
#include "quantize/cpu.h"

#include <stdio.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool this_one_saturates(void) {
#if defined(__x86_64__)
    unsigned eax, ebx, ecx, edx;
    bool avx512_vnni = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx >> 11 & 1);
    bool avx_vnni = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
    return !avx512_vnni && !avx_vnni;
#else
    return false;
#endif
}

bool pcr_cpu_saturates(enum pacer_quantize_target target) {
    return target == PACER_TARGET_AVX2 || (target == PACER_TARGET_THIS && this_one_saturates());
}

const char *pcr_cpu_name(struct pcr_arena *arena) {
    static const char label[] = "model name";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    const char *name = NULL;
    while (file && !name && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, label, sizeof label - 1) != 0 || !colon)
            continue;
        struct pcr_str value = pcr_str(colon + 1);
        while (value.len > 0 && (*value.ptr == ' ' || *value.ptr == '\t'))
            value = (struct pcr_str){value.ptr + 1, value.len - 1};
        if (value.len > 0 && value.ptr[value.len - 1] == '\n')
            value.len--;
        name = pcr_arena_dup(arena, value);
    }
    if (file)
        fclose(file);
    return name ? name : "an unknown processor";
}
