// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over every file of its corpus folder, as an ordinary test.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    uint8_t *exact = malloc(size ? size : 1); // so that a sanitizer sees a read past the end
    if (!exact)
        return -1;
    for (size_t i = 0; i < size; i++)
        exact[i] = data[i];
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv) {
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            fprintf(stderr, "no corpus folder %s\n", argv[i]);
            return 1;
        }
        for (const struct dirent *entry; (entry = readdir(dir));) {
            char path[4096];
            if (entry->d_name[0] == '.' ||
                snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name) >= (int)sizeof path)
                continue;
            if (replay(path) < 0) {
                fprintf(stderr, "cannot read %s\n", path);
                return 1;
            }
            n++;
        }
        closedir(dir);
    }
    printf("%zu inputs replayed\n", n);
    return n > 0 ? 0 : 1;
}
