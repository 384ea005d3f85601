// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES_STEP (64u << 10)

static int read_into(int fd, struct pcr_buf *buf) {
    for (;;) {
        size_t room = buf->max_bytes - buf->len;
        if (room == 0) { // full: fine if the file ends here
            char one;
            ssize_t n = read(fd, &one, 1);
            return n == 0 ? 0 : n < 0 ? PACER_EIO : PACER_ELIMIT;
        }
        size_t step = room < READ_BYTES_STEP ? room : READ_BYTES_STEP;
        char *to = pcr_buf_reserve(buf, step);
        if (!to)
            return PACER_ENOMEM;
        ssize_t n = read(fd, to, step);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return PACER_EIO;
        if (n == 0)
            return 0;
        buf->len += (size_t)n;
        buf->data[buf->len] = '\0';
    }
}

int pcr_file_read(const char *path, struct pcr_buf *buf, struct pacer_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pcr_err(err, errno == ENOENT ? PACER_ENOTFOUND : PACER_EIO, "file",
                       "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    bool fits = !regular || (uint64_t)st.st_size <= buf->max_bytes - buf->len;
    if (regular && fits)
        pcr_buf_reserve(buf, (size_t)st.st_size); // one allocation instead of many
    int rc = fits ? read_into(fd, buf) : PACER_ELIMIT;
    int cause = errno;
    close(fd);
    if (rc == PACER_ELIMIT)
        return pcr_err(err, rc, "file", "'%s' is larger than %zu bytes, the most that is read here",
                       path, buf->max_bytes);
    if (rc == PACER_ENOMEM)
        return pcr_err(err, rc, "file", "out of memory while reading '%s'", path);
    if (rc < 0)
        return pcr_err(err, rc, "file", "cannot read '%s': %s", path, strerror(cause));
    return 0;
}

static bool write_and_sync(int fd, struct pcr_str content) {
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        content.ptr += n;
        content.len -= (size_t)n;
    }
    return fsync(fd) == 0;
}

int pcr_file_write(const char *path, struct pcr_str content, struct pacer_error *err) {
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >=
        (int)sizeof temporary)
        return pcr_err(err, PACER_EINVAL, "file", "the path '%s' is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return pcr_err(err, PACER_EIO, "file", "cannot create '%s': %s", temporary,
                       strerror(errno));
    bool ok = write_and_sync(fd, content);
    int cause = errno;
    if (close(fd) < 0 && ok) {
        ok = false;
        cause = errno;
    }
    if (ok && rename(temporary, path) < 0) {
        ok = false;
        cause = errno;
    }
    if (!ok) {
        unlink(temporary);
        return pcr_err(err, PACER_EIO, "file", "cannot write '%s': %s", path, strerror(cause));
    }
    return 0;
}
