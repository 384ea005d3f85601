// SPDX-License-Identifier: Apache-2.0
// YAML into a tree of nodes with positions.
//
// What pacer takes is the part of YAML that people write by hand: one document of maps, lists and
// scalars. Anchors, aliases, merge keys and tags are refused, so a small file cannot unfold into a
// large one and every value stands where it is used. Bytes, nodes and depth are bounded.
//
// Invariant: every node knows its line and column, so that each fault found later can be pointed
// at. A node that has been complained about is marked and stays in the tree, so that the rest of
// the file is still checked.
//
// libcyaml was the first choice: it holds a file against a schema by itself. It stops at the first
// fault and forgets positions, so a person would mend a file one run at a time. libyaml's document
// API keeps positions, but it hides aliases: the same node simply turns up twice. Its event API
// shows everything as it was written, which is why the tree is built here from events.
#include "config/config_priv.h"

#include <yaml.h>

struct level {
    struct pcr_yaml_node *node;
    struct pcr_yaml_node *last; // newest item or member
    struct pcr_yaml_node *key;  // waits for its value
};

struct reader {
    struct pcr_config_ctx *ctx;
    struct pcr_str text;
    struct level levels[PCR_CONFIG_DEPTH_MAX];
    size_t depth;
    size_t n_nodes;
    struct pcr_yaml_node *root;
    bool root_seen;
    bool stopped; // a fault after which reading on makes no sense
};

// Length of the well-formed UTF-8 sequence at `at`, 0 if there is none (RFC 3629).
static size_t utf8_length(const unsigned char *at, size_t left) {
    if (at[0] < 0x80)
        return 1;
    size_t need = at[0] >= 0xc2 && at[0] <= 0xdf   ? 2
                  : (at[0] & 0xf0) == 0xe0         ? 3
                  : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4
                                                   : 0;
    if (need == 0 || need > left)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    bool beyond = at[0] == 0xf4 && at[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : need;
}

static bool check_bytes(struct pcr_config_ctx *ctx, struct pcr_str text) {
    int line = 1, column = 1;
    for (size_t i = 0; i < text.len;) {
        const unsigned char *at = (const unsigned char *)text.ptr + i;
        size_t length = utf8_length(at, text.len - i);
        if (length == 0) {
            pcr_config_fault(ctx, line, column,
                             "the byte 0x%02x is not UTF-8; save the file in that encoding", at[0]);
            return false;
        }
        if ((at[0] < 0x20 && at[0] != '\t' && at[0] != '\n' && at[0] != '\r') || at[0] == 0x7f) {
            pcr_config_fault(
                ctx, line, column,
                "a control character (0x%02x), which a configuration does not hold; is "
                "it a text file?",
                at[0]);
            return false;
        }
        column = at[0] == '\n' ? 1 : column + 1;
        line += at[0] == '\n';
        i += length;
    }
    return true;
}

// Does the indentation of that line (1-based) hold a tab?
static bool line_has_tab(struct pcr_str text, int line) {
    struct pcr_str part;
    for (int i = 1; pcr_str_split(&text, '\n', &part); i++)
        if (i == line)
            break;
    for (size_t i = 0; i < part.len && (part.ptr[i] == ' ' || part.ptr[i] == '\t'); i++)
        if (part.ptr[i] == '\t')
            return true;
    return false;
}

static void report_syntax(struct reader *reader, const yaml_parser_t *parser) {
    struct pcr_config_ctx *ctx = reader->ctx;
    if (parser->error == YAML_MEMORY_ERROR) {
        ctx->no_memory = true;
        return;
    }
    int line = (int)parser->problem_mark.line + 1, column = (int)parser->problem_mark.column + 1;
    const char *problem = parser->problem ? parser->problem : "it cannot be read";
    if (parser->error != YAML_READER_ERROR && line_has_tab(reader->text, line))
        pcr_config_fault(ctx, line, column, "a tab in the indentation; YAML wants spaces there");
    else if (parser->context && (int)parser->context_mark.line + 1 != line)
        pcr_config_fault(ctx, line, column, "not valid YAML: %s, %s that began in line %d", problem,
                         parser->context, (int)parser->context_mark.line + 1);
    else
        pcr_config_fault(ctx, line, column, "not valid YAML: %s", problem);
}

static void stop(struct reader *reader, const yaml_event_t *event, const char *why) {
    pcr_config_fault(reader->ctx, (int)event->start_mark.line + 1,
                     (int)event->start_mark.column + 1, "%s", why);
    reader->stopped = true;
}

static struct pcr_yaml_node *new_node(struct reader *reader, const yaml_event_t *event,
                                      enum pcr_yaml_kind kind) {
    if (++reader->n_nodes > PCR_CONFIG_NODES_MAX) {
        stop(reader, event, "too large: more values than any configuration needs");
        return NULL;
    }
    struct pcr_yaml_node *node = pcr_arena_calloc(reader->ctx->scratch, 1, sizeof *node);
    if (!node) {
        reader->ctx->no_memory = true;
        reader->stopped = true;
        return NULL;
    }
    node->kind = kind;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    return node;
}

// Puts a finished node where it belongs: root, item, key or value.
static void attach(struct reader *reader, struct pcr_yaml_node *node) {
    if (reader->depth == 0) {
        reader->root = node;
        return;
    }
    struct level *level = &reader->levels[reader->depth - 1];
    if (level->node->kind == PCR_YAML_MAPPING && !level->key) {
        level->key = node;
        return;
    }
    node->key = level->key;
    level->key = NULL;
    if (level->last)
        level->last->next = node;
    else
        level->node->first = node;
    level->last = node;
    level->node->n++;
}

// Anchors and tags hang on any kind of node.
static void refuse_properties(struct reader *reader, struct pcr_yaml_node *node,
                              const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (anchor) {
        pcr_config_fault(reader->ctx, node->line, node->column,
                         "the anchor '&%.60s': pacer takes no anchors and aliases; write the value "
                         "where it is used",
                         (const char *)anchor);
    }
    if (tag) {
        pcr_config_fault(reader->ctx, node->line, node->column,
                         "the tag '%.60s': pacer takes no tags; leave it out", (const char *)tag);
        node->faulty = true;
    }
}

static void on_scalar(struct reader *reader, const yaml_event_t *event) {
    struct pcr_yaml_node *node = new_node(reader, event, PCR_YAML_SCALAR);
    if (!node)
        return;
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    char *copy = pcr_arena_dup(reader->ctx->scratch, (struct pcr_str){text, length});
    if (!copy) {
        reader->ctx->no_memory = true;
        reader->stopped = true;
        return;
    }
    node->text = (struct pcr_str){copy, length};
    node->quoted = event->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
                   event->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    refuse_properties(reader, node, event->data.scalar.anchor, event->data.scalar.tag);
    if (memchr(text, '\0', length)) {
        pcr_config_fault(reader->ctx, node->line, node->column,
                         "the text holds a NUL character, which no value may");
        node->faulty = true;
    }
    attach(reader, node);
}

static void on_alias(struct reader *reader, const yaml_event_t *event) {
    struct pcr_yaml_node *node = new_node(reader, event, PCR_YAML_SCALAR);
    if (!node)
        return;
    pcr_config_fault(
        reader->ctx, node->line, node->column,
        "the alias '*%.60s': pacer takes no anchors and aliases; write the value where "
        "it is used",
        (const char *)event->data.alias.anchor);
    node->text = PCR_STR("");
    node->faulty = true;
    attach(reader, node);
}

static void on_begin(struct reader *reader, const yaml_event_t *event, enum pcr_yaml_kind kind,
                     const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (reader->depth == PCR_CONFIG_DEPTH_MAX) {
        stop(reader, event, "nested deeper than any configuration needs");
        return;
    }
    struct pcr_yaml_node *node = new_node(reader, event, kind);
    if (!node)
        return;
    refuse_properties(reader, node, anchor, tag);
    attach(reader, node);
    reader->levels[reader->depth++] = (struct level){.node = node};
}

static void on_event(struct reader *reader, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (reader->root_seen)
            stop(reader, event, "a second document begins here; a configuration is one document");
        reader->root_seen = true;
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(reader, event);
        break;
    case YAML_ALIAS_EVENT:
        on_alias(reader, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_begin(reader, event, PCR_YAML_SEQUENCE, event->data.sequence_start.anchor,
                 event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        on_begin(reader, event, PCR_YAML_MAPPING, event->data.mapping_start.anchor,
                 event->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        PCR_ASSERT(reader->depth > 0);
        reader->depth--;
        break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
}

bool pcr_yaml_parse(struct pcr_config_ctx *ctx, struct pcr_str text, struct pcr_yaml_node **root) {
    *root = NULL;
    if (pcr_str_starts_with(text, PCR_STR("\xef\xbb\xbf"))) // the mark that some editors write
        text = (struct pcr_str){text.ptr + 3, text.len - 3};
    if (!check_bytes(ctx, text))
        return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        ctx->no_memory = true;
        return false;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    struct reader reader = {.ctx = ctx, .text = text};
    for (bool end = false; !end && !reader.stopped;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            report_syntax(&reader, &parser);
            reader.stopped = true;
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        on_event(&reader, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    *root = reader.root;
    return !reader.stopped;
}

bool pcr_yaml_is_null(const struct pcr_yaml_node *node) {
    return node->kind == PCR_YAML_SCALAR && !node->quoted &&
           (node->text.len == 0 || pcr_str_eq(node->text, PCR_STR("~")) ||
            pcr_str_eq(node->text, PCR_STR("null")));
}

const char *pcr_yaml_describe(const struct pcr_yaml_node *node) {
    if (node->kind == PCR_YAML_SEQUENCE)
        return "a list";
    if (node->kind == PCR_YAML_MAPPING)
        return "a map";
    return pcr_yaml_is_null(node) ? "nothing" : "a single value";
}

const struct pcr_yaml_node *pcr_yaml_member(const struct pcr_yaml_node *mapping, const char *key) {
    if (mapping->kind != PCR_YAML_MAPPING)
        return NULL;
    for (const struct pcr_yaml_node *member = mapping->first; member; member = member->next)
        if (member->key->kind == PCR_YAML_SCALAR && pcr_str_eq(member->key->text, pcr_str(key)))
            return member;
    return NULL;
}
