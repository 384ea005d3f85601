// SPDX-License-Identifier: Apache-2.0
// Bounds are kept where hiredis makes an object of what it has read: its own functions are called
// only for what is admitted. A function that makes nothing ends the connection, with an error that
// says "out of memory"; the true one is in `refused`.
#include "cache/redis_bounds.h"

#include <stdio.h>

#define DEPTH_MAX 8
#define ELEMENTS_MAX 65536 // of one array
#define PARTS_MAX 262144   // of an answer with all that is in it

static bool refuse(struct pcr_redis_bounds *bounds, const char *why) {
    bounds->refused = why;
    return false;
}

static bool admit(const redisReadTask *task, size_t n_parts) {
    struct pcr_redis_bounds *bounds = task->privdata;
    if (!task->parent) {
        bounds->n_parts = 0;
        // An error that comes unasked (too many clients) hiredis reports itself.
        if (!bounds->redis->replies.head && task->type != REDIS_REPLY_PUSH &&
            task->type != REDIS_REPLY_ERROR)
            return refuse(bounds, "the server answers what nobody asked");
    }
    size_t depth = 0;
    for (const redisReadTask *at = task->parent; at; at = at->parent)
        depth++;
    bounds->n_parts += n_parts;
    if (depth > DEPTH_MAX || bounds->n_parts > PARTS_MAX)
        return refuse(bounds, "the server sends more than was asked for");
    return true;
}

static const redisReplyObjectFunctions *plain(const redisReadTask *task) {
    return ((const struct pcr_redis_bounds *)task->privdata)->plain;
}

// A push of a kind that hiredis takes for an answer to SUBSCRIBE, which nobody has sent, would be
// taken for the answer of the next command. Only the kind that was asked for keeps its name.
static bool is_kind_of_push(const redisReadTask *task) {
    return task->parent && !task->parent->parent && task->parent->type == REDIS_REPLY_PUSH &&
           task->idx == 0 && task->type == REDIS_REPLY_STRING;
}

static void *create_string(const redisReadTask *task, char *text, size_t bytes) {
    static char other[] = "other";
    if (!admit(task, 1))
        return NULL;
    struct pcr_str kind = {text, bytes};
    if (is_kind_of_push(task) && !pcr_str_eq(kind, PCR_STR("invalidate")))
        return plain(task)->createString(task, other, sizeof other - 1);
    return plain(task)->createString(task, text, bytes);
}

static void *create_array(const redisReadTask *task, size_t n) {
    return admit(task, n + 1) ? plain(task)->createArray(task, n) : NULL;
}

static void *create_integer(const redisReadTask *task, long long value) {
    return admit(task, 1) ? plain(task)->createInteger(task, value) : NULL;
}

static void *create_double(const redisReadTask *task, double value, char *text, size_t bytes) {
    return admit(task, 1) ? plain(task)->createDouble(task, value, text, bytes) : NULL;
}

static void *create_nil(const redisReadTask *task) {
    return admit(task, 1) ? plain(task)->createNil(task) : NULL;
}

static void *create_bool(const redisReadTask *task, int value) {
    return admit(task, 1) ? plain(task)->createBool(task, value) : NULL;
}

void pcr_redis_bounds_set(struct pcr_redis_bounds *bounds, redisAsyncContext *redis) {
    redisReader *reader = redis->c.reader;
    *bounds = (struct pcr_redis_bounds){.plain = reader->fn, .redis = redis};
    bounds->functions = (redisReplyObjectFunctions){.createString = create_string,
                                                    .createArray = create_array,
                                                    .createInteger = create_integer,
                                                    .createDouble = create_double,
                                                    .createNil = create_nil,
                                                    .createBool = create_bool,
                                                    .freeObject = reader->fn->freeObject};
    reader->fn = &bounds->functions;
    reader->privdata = bounds;
    reader->maxelements = ELEMENTS_MAX;
}

static bool has(struct pcr_str text, const char *secret) {
    return secret && *secret && memmem(text.ptr, text.len, secret, strlen(secret)) != NULL;
}

// As much of it as may be shown: the kind of the error at least, which is its first word.
static struct pcr_str shown_of(const char *text, const char *secret) {
    struct pcr_str shown = pcr_str(text);
    const char *repeats = strstr(text, ", with args"); // the words of an unknown command
    if (repeats)
        shown.len = (size_t)(repeats - text);
    if (has(shown, secret))
        shown.len = strcspn(text, " ");
    return has(shown, secret) ? PCR_STR("an error") : shown;
}

const char *pcr_redis_error_text(const char *text, const char *secret, char *out,
                                 size_t out_bytes) {
    static const char cluster[] = "a cluster is not supported; give the URL of a single server: ";
    bool moved = strncmp(text, "MOVED ", 6) == 0 || strncmp(text, "ASK ", 4) == 0 ||
                 strncmp(text, "CLUSTERDOWN", 11) == 0;
    struct pcr_str shown = shown_of(text, secret);
    snprintf(out, out_bytes, "%s%.*s", moved ? cluster : "", PCR_STR_ARG(shown));
    for (char *at = out; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return out;
}
