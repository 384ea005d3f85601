// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((format(printf, 1, 0))) static void complain(const char *format, va_list args) {
    fputs(pcr_cli_color(stderr) ? "\033[1mpacer:\033[0m " : "pacer: ", stderr);
    vfprintf(stderr, format, args);
}

int pcr_cli_fail(enum pcr_exit code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    fputc('\n', stderr);
    return (int)code;
}

int pcr_cli_usage(const struct pcr_cli_command *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'pacer %s%s--help'.\n", command ? command->name : "",
            command ? " " : "");
    return PCR_EXIT_USAGE;
}

bool pcr_cli_color(FILE *stream) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if ((no_color && *no_color) || (term && strcmp(term, "dumb") == 0))
        return false;
    return isatty(fileno(stream)) == 1;
}

void pcr_cli_keep_memory(void) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 2047 << 20);
}

static int write_cause; // errno of the first write that failed

int pcr_cli_print(const struct pcr_buf *buf) {
    if (buf->failed)
        return pcr_cli_fail(PCR_EXIT_FAILURE, "the output needs more memory than there is");
    if (fwrite(buf->data, 1, buf->len, stdout) != buf->len)
        write_cause = errno; // pcr_cli_finish tells
    return PCR_EXIT_OK;
}

int pcr_cli_finish(int code) {
    bool flushed = fflush(stdout) == 0;
    if (!flushed && !write_cause)
        write_cause = errno;
    if (flushed && !ferror(stdout))
        return code;
    pcr_cli_fail(PCR_EXIT_FAILURE, "cannot write the output: %s",
                 write_cause ? strerror(write_cause) : "a write failed");
    return code != PCR_EXIT_OK ? code : PCR_EXIT_FAILURE;
}
