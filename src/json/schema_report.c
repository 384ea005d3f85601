// SPDX-License-Identifier: Apache-2.0
// Violations: recorded while checking, told afterwards in the order of the document.
#include "json/schema_priv.h"

#include <stdlib.h>

#define RUN_BYTES_MAX ((size_t)512 << 20)
#define POINTER_BYTES_MAX 65536
#define MESSAGE_BYTES_MAX 400

struct pcr_run *pcr_run_create(void) {
    struct pcr_run *run = calloc(1, sizeof *run);
    if (run)
        pcr_arena_init(&run->arena, RUN_BYTES_MAX);
    return run;
}

void pcr_run_destroy(struct pcr_run *run) {
    if (!run)
        return;
    pcr_regex_scratch_destroy(run->regex);
    pcr_arena_fini(&run->arena);
    free(run);
}

bool pcr_run_stop(struct pcr_run *run, int code, const char *why) {
    if (run->rc == 0) {
        run->rc = code;
        run->rc_why = why;
    }
    return false;
}

// The way from the root; as deep as the document is, which is bounded.
static void put_way(struct pcr_buf *buf, const struct pcr_at *at) {
    if (!at)
        return;
    put_way(buf, at->up);
    if (at->key)
        pcr_json_pointer_push(buf, pcr_json_str(at->key));
    else
        pcr_json_pointer_push_index(buf, at->index);
}

// Too long a pointer is cut; better a violation with half a pointer than none.
static const char *take_text(struct pcr_run *run, struct pcr_buf *buf) {
    const char *text = pcr_arena_dup(&run->arena, pcr_buf_view(buf));
    pcr_buf_fini(buf);
    return text;
}

static const char *instance_pointer(struct pcr_run *run, const struct pcr_at *at) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, POINTER_BYTES_MAX);
    put_way(&buf, at);
    return take_text(run, &buf);
}

static const char *schema_pointer(struct pcr_run *run, const struct pcr_node *node,
                                  const char *keyword) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, POINTER_BYTES_MAX);
    if (node->document != run->own) {
        pcr_buf_text(&buf, node->document->uri);
        pcr_buf_char(&buf, '#');
    }
    pcr_buf_text(&buf, node->pointer);
    if (*keyword)
        pcr_json_pointer_push(&buf, pcr_str(keyword));
    return take_text(run, &buf);
}

bool pcr_run_violation(struct pcr_run *run, const struct pcr_node *node, const char *keyword,
                       yyjson_val *value, const struct pcr_at *at, const char *format, ...) {
    if (run->quiet > 0 || run->rc < 0)
        return false;
    if (run->found_n >= PCR_SCHEMA_VIOLATIONS_MAX)
        return false;
    char message[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    // A cut may have gone through a character.
    size_t n = strlen(message);
    for (size_t i = 0; i < n;) {
        size_t step = pcr_json_utf8_sequence(message + i, message + n);
        if (step == 0)
            message[i] = '?';
        i += step ? step : 1;
    }
    struct pcr_found *found = pcr_arena_alloc(&run->arena, sizeof *found);
    const char *instance = instance_pointer(run, at);
    const char *schema = schema_pointer(run, node, keyword);
    const char *text = pcr_arena_dup(&run->arena, pcr_str(message));
    if (!found || !instance || !schema || !text)
        return pcr_run_stop(run, PACER_ENOMEM, "no memory to record a violation");
    *found = (struct pcr_found){run->found, {instance, schema, text}, value, run->found_n++};
    run->found = found;
    return false;
}
