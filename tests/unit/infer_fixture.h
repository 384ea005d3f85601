// SPDX-License-Identifier: Apache-2.0
// What the tests of the infer room share: the committed models and folders of their own.
#ifndef PCR_INFER_FIXTURE_H
#define PCR_INFER_FIXTURE_H

#include "test.h"

#include "infer/infer.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static inline const char *model_path(const char *name) {
    static _Thread_local char paths[4][1024]; // so that two may be used in one call
    static _Thread_local unsigned next;
    char *path = paths[next++ % 4];
    const char *root = getenv("PACER_SOURCE_ROOT");
    snprintf(path, sizeof paths[0], "%s/tests/data/models/%s", root ? root : ".", name);
    return path;
}

static inline struct pacer_session *open_model(const char *name) {
    struct pacer_session *session = NULL;
    struct pacer_error err = {0};
    if (pacer_session_get(model_path(name), NULL, &session, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    return session;
}

static inline void make_dir(const char *path) {
    assert_int_equal(mkdir(path, 0755), 0);
}

// Puts the file there by rename, as a careful deployment does.
static inline void put_file(const char *path, const void *data, size_t bytes) {
    assert_int_equal(pcr_file_write(path, (struct pcr_str){data, bytes}, NULL), 0);
}

static inline void put_model(const char *path, const char *name) {
    struct pcr_buf file;
    pcr_buf_init(&file, 1 << 20);
    assert_int_equal(pcr_file_read(model_path(name), &file, NULL), 0);
    put_file(path, file.data ? file.data : "", file.len);
    pcr_buf_fini(&file);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int make_temp_dir(void **state) {
    char *dir = strdup("/tmp/pacer-test-XXXXXX");
    *state = dir;
    return dir && mkdtemp(dir) ? 0 : -1;
}

static inline int remove_temp_dir(void **state) {
    nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

#endif
