// SPDX-License-Identifier: Apache-2.0
// What the files of the config room share.
#ifndef PCR_CONFIG_PRIV_H
#define PCR_CONFIG_PRIV_H

#include "config/config.h"
#include "config/options.h"

#define PCR_CONFIG_FILE_BYTES_MAX (1u << 20)
#define PCR_CONFIG_ARENA_BYTES_MAX (64u << 20)
#define PCR_CONFIG_DEPTH_MAX 32
#define PCR_CONFIG_NODES_MAX 65536
#define PCR_CONFIG_VALUE_BYTES_MAX 65536 // after substitution
#define PCR_CONFIG_TOKEN_BYTES_MIN 16    // fewer can be guessed
#define PCR_CONFIG_TOKEN_BYTES_MAX 1024

// --- faults -------------------------------------------------------------------------------------
struct pcr_config_ctx {
    struct pcr_config *config;
    struct pcr_config_faults *faults;
    struct pcr_arena *scratch;             // the parsed file, until loading is done
    const char *file;                      // as messages call it
    const char *dir;                       // of the file, ends in a slash; "" for the current one
    const char *flag;                      // while an override is applied: "--listen"
    const char *flag_key;                  // the key it sets, which the message need not repeat
    struct pcr_config_place ops_listen_at; // where the file has that key
    bool no_memory;                        // said once, at the end
    bool was_read;                         // the file is a mapping, whatever is wrong in it
};

// Adds a fault; control characters in the message become '?'. Line 0: not known.
__attribute__((format(printf, 4, 5))) void pcr_config_fault(struct pcr_config_ctx *ctx, int line,
                                                            int column, const char *format, ...);

// A piece of input for a message, cut at a character's end; use as PCR_EXCERPT_ARG in "%.*s%s".
struct pcr_str pcr_config_excerpt(struct pcr_str text);
#define PCR_EXCERPT_ARG(text)                      \
    (int)pcr_config_excerpt(text).len, (text).ptr, \
        pcr_config_excerpt(text).len < (text).len ? "…" : ""

// Where a configuration comes from. With `text` no file is read; `path` then is only its name.
struct pcr_config_source {
    const char *path;
    struct pcr_str text;
    bool parts; // a configuration comes out also when only parts of it are without faults
};
int pcr_config_load_source(const struct pcr_config_source *source,
                           const struct pcr_config_override *overrides, size_t n_overrides,
                           struct pcr_config **out, struct pcr_config_faults *faults);

// --- YAML ---------------------------------------------------------------------------------------
enum pcr_yaml_kind { PCR_YAML_SCALAR, PCR_YAML_SEQUENCE, PCR_YAML_MAPPING };

struct pcr_yaml_node {
    enum pcr_yaml_kind kind;
    int line, column;          // 1-based
    struct pcr_str text;       // of a scalar, NUL-terminated
    bool quoted;               // 'x' or "x": the empty text is not null then
    bool faulty;               // a fault was reported here already: say no more
    struct pcr_yaml_node *key; // of a member of a mapping
    struct pcr_yaml_node *next;
    struct pcr_yaml_node *first; // items or members, in order
    size_t n;
};

// Parses one document into ctx->scratch. *root NULL: an empty document. False (with a fault) if it
// is not YAML that pacer takes.
bool pcr_yaml_parse(struct pcr_config_ctx *ctx, struct pcr_str text, struct pcr_yaml_node **root);
// No value was written: empty, ~ or null, unquoted.
bool pcr_yaml_is_null(const struct pcr_yaml_node *node);
// "a list", "a map", "nothing", "text": for messages.
const char *pcr_yaml_describe(const struct pcr_yaml_node *node);
// The first member of that key; NULL also where the node is no mapping.
const struct pcr_yaml_node *pcr_yaml_member(const struct pcr_yaml_node *mapping, const char *key);

// --- environment --------------------------------------------------------------------------------
// Whether the text of a scalar is looked through for ${…}: then it is no value yet, and the value
// no text for a message.
bool pcr_yaml_has_variables(const struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node);
// The text with what the variables hold, in the configuration's arena; false after a fault.
bool pcr_yaml_substitute(struct pcr_config_ctx *ctx, const char *where,
                         const struct pcr_yaml_node *node, struct pcr_str *out);

// --- values -------------------------------------------------------------------------------------
// Sets the field of a row to its default; a default that does not parse is a bug.
void pcr_option_set_default(struct pcr_config_ctx *ctx, const struct pcr_option *option,
                            void *base);
// Sets the field from a node of any scalar or LIST type; faults name `where`.
void pcr_option_set(struct pcr_config_ctx *ctx, const struct pcr_option *option, void *base,
                    const char *where, const struct pcr_yaml_node *node);
// The text of a scalar after substitution, never NULL on true;
// a fault otherwise. Empty text is a fault.
bool pcr_yaml_text(struct pcr_config_ctx *ctx, const char *where, const struct pcr_yaml_node *node,
                   struct pcr_str *out);
bool pcr_yaml_number(struct pcr_config_ctx *ctx, const char *where,
                     const struct pcr_yaml_node *node, double *out);

// --- checks -------------------------------------------------------------------------------------
// Holds a text, or one of a list, against what its row wants; a fault, and false if it cannot be
// used.
bool pcr_config_check_text(struct pcr_config_ctx *ctx, const struct pcr_option *option,
                           const char *where, const struct pcr_yaml_node *node,
                           struct pcr_str text);
// It has to be there, a file, and readable.
void pcr_config_check_file(struct pcr_config_ctx *ctx, const char *where,
                           const struct pcr_yaml_node *node, const char *path);

// --- structures ---------------------------------------------------------------------------------
// What is made from one mapping, by the rows of a table.
struct pcr_config_target {
    const struct pcr_option *options;
    size_t n_options;
    const char *where; // for messages, "" at the top
    void *base;        // the struct
};
struct pcr_config_target pcr_config_target(enum pcr_option_table table, const char *where,
                                           void *base);
// Sets defaults, those of sections too, then what the mapping says; unknown, doubled and missing
// keys are faults.
void pcr_config_apply(struct pcr_config_ctx *ctx, const struct pcr_config_target *target,
                      const struct pcr_yaml_node *node);
// Only sets the defaults.
void pcr_config_apply_defaults(struct pcr_config_ctx *ctx, const struct pcr_config_target *target);
// Reports doubled keys and keys that are not plain text, and marks them faulty.
void pcr_config_check_keys(struct pcr_config_ctx *ctx, const char *where,
                           const struct pcr_yaml_node *mapping);
// False, with a fault, if the node is not of that kind or has more than n_max members.
bool pcr_config_expect(struct pcr_config_ctx *ctx, const char *where,
                       const struct pcr_yaml_node *node, enum pcr_yaml_kind kind, size_t n_max);

// Loaders of structured values, in decisions.c; `base` is the struct the row belongs to.
void pcr_config_load_decisions(struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node);
void pcr_config_load_models(struct pcr_config_ctx *ctx, const struct pcr_yaml_node *node);
void pcr_config_load_features(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                              const char *where, const struct pcr_yaml_node *node);
void pcr_config_load_actions(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                             const char *where, const struct pcr_yaml_node *node);
void pcr_config_load_limits(struct pcr_config_ctx *ctx, struct pcr_config_decision *decision,
                            const char *where, const struct pcr_yaml_node *node);

// Arena memory; on failure the ctx remembers and NULL comes back.
void *pcr_config_alloc(struct pcr_config_ctx *ctx, size_t count, size_t size);
__attribute__((format(printf, 2, 3))) const char *pcr_config_text(struct pcr_config_ctx *ctx,
                                                                  const char *format, ...);

#endif
