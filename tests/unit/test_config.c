// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "config/config.h"
#include "config/options.h"
#include "http/server.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char file[128];
    struct pcr_config *config;
    struct pcr_config_faults faults;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/pacer-config-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->file, sizeof f->file, "%s/pacer.yaml", f->dir);
    pcr_config_faults_init(&f->faults);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    pcr_config_unref(f->config);
    pcr_config_faults_fini(&f->faults);
    char schema[160];
    snprintf(schema, sizeof schema, "%s/c.json", f->dir);
    unlink(schema);
    unlink(f->file);
    rmdir(f->dir);
    free(f);
    return 0;
}

static int load_bytes(struct fixture *f, struct pcr_str text,
                      const struct pcr_config_override *overrides, size_t n_overrides) {
    struct pacer_error err;
    assert_int_equal(pcr_file_write(f->file, text, &err), 0);
    pcr_config_unref(f->config);
    pcr_config_faults_fini(&f->faults);
    pcr_config_faults_init(&f->faults);
    return pcr_config_load(f->file, overrides, n_overrides, &f->config, &f->faults);
}

static int load(struct fixture *f, const char *text) {
    return load_bytes(f, pcr_str(text), NULL, 0);
}

static void print_faults(const struct fixture *f) {
    for (size_t i = 0; i < f->faults.n; i++)
        print_message("%s:%d:%d: %s\n", f->faults.list[i].file, f->faults.list[i].line,
                      f->faults.list[i].column, f->faults.list[i].message);
}

static void good(struct fixture *f, const char *text) {
    int rc = load(f, text);
    if (rc != 0)
        print_faults(f);
    assert_int_equal(rc, 0);
    assert_non_null(f->config);
    assert_int_equal(f->faults.n, 0);
}

// Exactly one fault, there, with those words.
static void bad(struct fixture *f, const char *text, int line, int column, const char *words) {
    assert_int_equal(load(f, text), PACER_EINVAL);
    assert_null(f->config);
    if (f->faults.n != 1 || f->faults.list[0].line != line || f->faults.list[0].column != column ||
        !strstr(f->faults.list[0].message, words)) {
        print_message("expected %d:%d with '%s' for\n%s\n", line, column, words, text);
        print_faults(f);
        fail();
    }
    assert_string_equal(f->faults.list[0].file, f->file);
}

// --- defaults -----------------------------------------------------------------------------------
static void defaults_are_those_of_the_table_and_of_the_http_room(void **state) {
    struct fixture *f = *state;
    assert_int_equal(pcr_config_load(NULL, NULL, 0, &f->config, &f->faults), 0);
    const struct pcr_config *c = f->config;
    const struct pcr_http_limits limits = PCR_HTTP_LIMITS_DEFAULT;
    assert_null(c->file);
    assert_string_equal(c->listen, "127.0.0.1:8080");
    assert_string_equal(c->models_dir, "models");
    assert_string_equal(c->server_name, "pacer");
    assert_string_equal(c->log_level, "info");
    assert_string_equal(c->log_format, "text");
    assert_false(c->access_log);
    assert_int_equal(c->drain_ms, 10000);
    assert_int_equal(c->cors_max_age_s, 600);
    assert_int_equal(c->n_cors_origins, 0);
    assert_int_equal(c->http_header_bytes_max, limits.header_bytes_max);
    assert_int_equal(c->http_headers_max, limits.headers_max);
    assert_int_equal(c->http_target_bytes_max, limits.target_bytes_max);
    assert_int_equal(c->http_body_bytes_max, limits.body_bytes_max);
    assert_int_equal(c->http_connections_max, limits.connections_max);
    assert_int_equal(c->http_connections_per_peer_max, limits.connections_per_peer_max);
    assert_int_equal(c->http_requests_per_connection_max, limits.requests_per_connection_max);
    assert_int_equal(c->http_pipelined_max, limits.pipelined_max);
    assert_int_equal(c->http_header_timeout_ms, limits.header_timeout_ms);
    assert_int_equal(c->http_idle_timeout_ms, limits.idle_timeout_ms);
    assert_int_equal(c->http_write_timeout_ms, limits.write_timeout_ms);
    assert_int_equal(c->http_body_rate_min, limits.body_rate_min);
    assert_int_equal(c->http_gzip_bytes_min, limits.gzip_bytes_min);
    assert_int_equal(c->http_gzip_level, limits.gzip_level);
}

static void every_row_explains_itself(void **state) {
    (void)state;
    for (int table = PCR_OPTIONS_CONFIG; table <= PCR_OPTIONS_MODEL; table++) {
        size_t n;
        const struct pcr_option *rows = pcr_options((enum pcr_option_table)table, &n);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            assert_true(strlen(rows[i].help) > 0 && strlen(rows[i].help) <= 72);
            assert_false(pcr_str_ends_with(pcr_str(rows[i].help), PCR_STR(".")));
            assert_true(!rows[i].flag || rows[i].metavar || rows[i].type == PCR_OPTION_BOOL);
            assert_true((rows[i].type == PCR_OPTION_ENUM) == (rows[i].choices != NULL));
            assert_true(!rows[i].required || rows[i].example);
            assert_true(rows[i].max >= rows[i].min);
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(rows[i].key, rows[j].key);
        }
    }
}

// --- good files ---------------------------------------------------------------------------------
static void an_empty_file_means_defaults(void **state) {
    struct fixture *f = *state;
    char expected[160];
    snprintf(expected, sizeof expected, "%s/models", f->dir);
    good(f, "");
    assert_string_equal(f->config->models_dir, expected); // defaults start there, too
    good(f, "# only a comment\n");
    good(f, "---\n");
    good(f, "{}\n");
    good(f, "\xef\xbb\xbfthreads: 3\n"); // a byte order mark
    assert_int_equal(f->config->threads, 3);
    good(f, "http:\ncors:\ndecisions:\nmodels:\n"); // everything below is commented out
    good(f, "models_dir: models\n");
    assert_string_equal(f->config->models_dir, expected);
}

static void sizes_and_times_have_units(void **state) {
    struct fixture *f = *state;
    good(f, "http:\n"
            "  body_bytes_max: 1.5MiB\n"
            "  header_bytes_max: 2 kB\n"
            "  gzip_bytes_min: \"4096\"\n"
            "  idle_timeout_ms: 1.5s\n"
            "  header_timeout_ms: 250\n"
            "  write_timeout_ms: 2min\n"
            "cors: {max_age_s: 1h}\n"
            "drain_ms: 250ms\n");
    assert_int_equal(f->config->http_body_bytes_max, 1572864);
    assert_int_equal(f->config->http_header_bytes_max, 2000);
    assert_int_equal(f->config->http_gzip_bytes_min, 4096);
    assert_int_equal(f->config->http_idle_timeout_ms, 1500);
    assert_int_equal(f->config->http_header_timeout_ms, 250);
    assert_int_equal(f->config->http_write_timeout_ms, 120000);
    assert_int_equal(f->config->cors_max_age_s, 3600);
    assert_int_equal(f->config->drain_ms, 250);
    good(f, "cors: {max_age_s: 2000ms}\n");
    assert_int_equal(f->config->cors_max_age_s, 2);
}

static void addresses(void **state) {
    struct fixture *f = *state;
    good(f, "listen: '[::1]:0'\n");
    good(f, "listen: :8080\n");
    good(f, "listen: unix:/run/pacer.sock\n");
    good(f, "listen: localhost:65535\n");
    bad(f, "listen: localhost\n", 1, 9, "'localhost' is not an address");
    bad(f, "listen: ::1:80\n", 1, 9, "is not an address");
    bad(f, "listen: 127.0.0.1:65536\n", 1, 9, "is not an address");
    bad(f, "listen: '127.0.0.1:'\n", 1, 9, "is not an address");
    bad(f, "listen: 'unix:'\n", 1, 9, "is not an address");
    char path[160]; // sockaddr_un has room for 107 bytes
    snprintf(path, sizeof path, "listen: unix:/%0106d\n", 0);
    good(f, path);
    snprintf(path, sizeof path, "listen: unix:/%0107d\n", 0);
    bad(f, path, 1, 9, "is not an address");
    bad(f, "listen: ''\n", 1, 9, "is empty");
}

static const char decision[] =
    "decisions:\n"
    "  - path: /api/coach/recommend\n"
    "    model: regime\n"
    "    model_version: 3\n"
    "    features:\n"
    "      - return_5d\n"
    "      - return_20d: -0.25\n"
    "      - {name: vol, baseline: 1e-3, round: 0.5, label: \"20-day volatility\"}\n"
    "      - {name: plain}\n"
    "    actions: {calm: deposit, 10: hold}\n"
    "    min_confidence: 0.5\n"
    "    fallback_action: hold\n"
    "    limits:\n"
    "      max_amount: {field: context.income, times: 0.25, min: 0, max: 1000}\n"
    "      other: {field: a}\n"
    "    contract: c.json\n"
    "models:\n"
    "  regime: {use_quantized: true, intra_op_threads: 2, max_batch_size: 64}\n"
    "  plain:\n";

static void write_contract(const struct fixture *f) {
    char path[160];
    snprintf(path, sizeof path, "%s/c.json", f->dir);
    assert_int_equal(pcr_file_write(path, PCR_STR("{}"), NULL), 0);
}

// The decision with one piece of it changed.
static const char *changed(char out[2048], const char *from, const char *to) {
    const char *at = strstr(decision, from);
    assert_non_null(at);
    snprintf(out, 2048, "%.*s%s%s", (int)(at - decision), decision, to, at + strlen(from));
    return out;
}

static void decisions_and_models(void **state) {
    struct fixture *f = *state;
    write_contract(f);
    good(f, decision);
    char contract[160];
    snprintf(contract, sizeof contract, "%s/c.json", f->dir);
    assert_int_equal(f->config->n_decisions, 1);
    const struct pcr_config_decision *d = &f->config->decisions[0];
    assert_string_equal(d->path, "/api/coach/recommend");
    assert_string_equal(d->model, "regime");
    assert_string_equal(d->model_version, "3");
    assert_string_equal(d->contract, contract);
    assert_int_equal(d->line, 2);
    assert_int_equal(d->max_factors, 3);
    assert_true(d->min_confidence == 0.5);
    assert_string_equal(d->fallback_action, "hold");
    assert_int_equal(d->n_features, 4);
    assert_string_equal(d->features[0].name, "return_5d");
    assert_false(d->features[0].has_baseline);
    assert_string_equal(d->features[1].name, "return_20d");
    assert_true(d->features[1].has_baseline && d->features[1].baseline == -0.25);
    assert_string_equal(d->features[2].label, "20-day volatility");
    assert_true(d->features[2].has_baseline && d->features[2].baseline == 1e-3);
    assert_int_equal(d->features[2].line, 8);
    assert_string_equal(d->features[3].name, "plain");
    assert_int_equal(d->n_actions, 2);
    assert_string_equal(d->actions[0].label, "calm");
    assert_string_equal(d->actions[0].action, "deposit");
    assert_string_equal(d->actions[1].label, "10");
    assert_int_equal(d->n_limits, 2);
    assert_string_equal(d->limits[0].field, "context.income");
    assert_true(d->limits[0].times == 0.25 && d->limits[0].has_min && d->limits[0].max == 1000);
    assert_true(d->limits[1].times == 1 && !d->limits[1].has_min && !d->limits[1].has_max);
    assert_int_equal(f->config->n_models, 2);
    assert_string_equal(f->config->models[0].name, "regime");
    assert_true(f->config->models[0].use_quantized);
    assert_int_equal(f->config->models[0].intra_op_threads, 2);
    assert_int_equal(f->config->models[0].max_batch_size, 64);
    assert_int_equal(f->config->models[0].line, 18);
    assert_string_equal(f->config->models[1].name, "plain");
    assert_int_equal(f->config->models[1].max_batch_size, 0);
}

// --- environment --------------------------------------------------------------------------------
static void variables_are_substituted_in_values(void **state) {
    struct fixture *f = *state;
    setenv("PACER_TEST_PORT", "99", 1);
    setenv("PACER_TEST_EMPTY", "", 1);
    setenv("PACER_TEST_TRAP", "x\nthreads: 7 ${HOME}", 1);
    unsetenv("PACER_TEST_UNSET");
    good(f, "listen: 127.0.0.1:${PACER_TEST_PORT}\n"
            "threads: ${PACER_TEST_UNSET:-5}\n"
            "workers: ${PACER_TEST_EMPTY:-6}\n"
            "server_name: 'a${PACER_TEST_TRAP}$${b}$$ $'\n"
            "cors: {origins: [\"${PACER_TEST_UNSET:-https://a.example}\", http://b]}\n");
    assert_string_equal(f->config->listen, "127.0.0.1:99");
    assert_int_equal(f->config->threads, 5);
    assert_int_equal(f->config->workers, 6);
    assert_string_equal(f->config->server_name, "ax\nthreads: 7 ${HOME}${b}$ $");
    assert_int_equal(f->config->n_cors_origins, 2);
    assert_string_equal(f->config->cors_origins[0], "https://a.example");
    bad(f, "server_name: '${PACER_TEST_EMPTY}'\n", 1, 14,
        "server_name: the environment variable PACER_TEST_EMPTY is empty");
    bad(f, "\nserver_name: ${PACER_TEST_UNSET}\n", 2, 14,
        "server_name: the environment variable PACER_TEST_UNSET is not set; set it, or write "
        "${PACER_TEST_UNSET:-default}");
    bad(f, "server_name: '${PACER_TEST_UNSET:-}'\n", 1, 14, "server_name is empty");
    bad(f, "server_name: ${9x}\n", 1, 14, "is not ${NAME}");
    bad(f, "server_name: ${}\n", 1, 14, "is not ${NAME}");
    bad(f, "server_name: a${HOME\n", 1, 14, "'${' without '}'");
    bad(f, "threads: ${PACER_TEST_TRAP}\n", 1, 10, "is not a whole number");
    bad(f, "${PACER_TEST_PORT}: 1\n", 1, 1, "unknown key '${PACER_TEST_PORT}'"); // keys are not
}

static void values_keep_the_type_of_their_option(void **state) {
    struct fixture *f = *state;
    setenv("PACER_TEST_PORT", "99", 1);
    setenv("PACER_TEST_YES", "true", 1);
    setenv("PACER_TEST_SIZE", "3", 1);
    write_contract(f);
    char text[2048];
    good(f, "server_name: ${PACER_TEST_PORT}\n"
            "access_log: ${PACER_TEST_YES}\n"
            "http: {gzip_bytes_min: '${PACER_TEST_SIZE}KiB'}\n"
            "drain_ms: 1${PACER_TEST_SIZE}${PACER_TEST_UNSET:-s}\n");
    assert_string_equal(f->config->server_name, "99");
    assert_true(f->config->access_log);
    assert_int_equal(f->config->http_gzip_bytes_min, 3072);
    assert_int_equal(f->config->drain_ms, 13000);
    good(f, changed(text, "return_20d: -0.25", "return_20d: -0.${PACER_TEST_PORT}"));
    assert_true(f->config->decisions[0].features[1].baseline == -0.99);
    good(f, changed(text, "intra_op_threads: 2", "intra_op_threads: \"${PACER_TEST_SIZE}\""));
    assert_int_equal(f->config->models[0].intra_op_threads, 3);
    good(f, "server_name: '$${PACER_TEST_PORT}'\n"); // a literal ${
    assert_string_equal(f->config->server_name, "${PACER_TEST_PORT}");
}

static void hostile_variables(void **state) {
    struct fixture *f = *state;
    setenv("PACER_TEST_PORT", "99", 1);
    bad(f, "server_name: ${A:-${B}}\n", 1, 14, "no other ${NAME} can stand");
    bad(f, "server_name: ${A:-$${B}}\n", 1, 14, "no other ${NAME} can stand");
    bad(f, "server_name: ${${A}}\n", 1, 14, "'${${A}' is not ${NAME}");
    bad(f, "server_name: a${\n", 1, 14, "'${' without '}'");
    bad(f, "server_name: ${PACER_TEST_PORT}${\n", 1, 14, "'${' without '}'");
    bad(f, "server_name: ${ PACER_TEST_PORT}\n", 1, 14, "is not ${NAME}");
    bad(f, "server_name: ${PACER_TEST_PORT:}\n", 1, 14, "is not ${NAME}");
    bad(f, "server_name: ${PACER_TEST_PORT-x}\n", 1, 14, "is not ${NAME}");
    bad(f, "server_name: \"${PACER_TEST_PORT\\0}\"\n", 1, 14, "NUL");
    bad(f, "server_name: \"${PACER\\x1b[31m}\"\n", 1, 14, "'${PACER?[31m}' is not ${NAME}");
    good(f, "server_name: $$$${A}\n");
    assert_string_equal(f->config->server_name, "$${A}");
    good(f, "server_name: ${PACER_TEST_UNSET:-a:-b}\n");
    assert_string_equal(f->config->server_name, "a:-b");
    char text[400];
    snprintf(text, sizeof text, "server_name: ${%0300d}\n", 0);
    bad(f, text, 1, 14, "is not ${NAME}");
    snprintf(text, sizeof text, "server_name: ${A%0255d}\n", 0);
    bad(f, text, 1, 14, "is not ${NAME}");
    snprintf(text, sizeof text, "server_name: ${A%0254d}\n", 0);
    bad(f, text, 1, 14, "is not set");
}

// What it holds may be a secret; the file's own text is what helps.
static void what_a_variable_holds_is_never_shown(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *value, *text, *words;
    } cases[] = {
        {"sesame", "listen: ${PACER_TEST_SECRET}\n", "'${PACER_TEST_SECRET}' is not an address"},
        {"sesame", "threads: ${PACER_TEST_SECRET}\n", "'${PACER_TEST_SECRET}' is not a whole"},
        {"sesame", "drain_ms: 1${PACER_TEST_SECRET}\n", "'1${PACER_TEST_SECRET}' is not a time"},
        {"sesame", "access_log: ${PACER_TEST_SECRET}\n", "${PACER_TEST_SECRET}"},
        {"sesame", "log_level: ${PACER_TEST_SECRET}\n", "${PACER_TEST_SECRET}"},
        {"424242", "threads: ${PACER_TEST_SECRET}\n", "${PACER_TEST_SECRET} is out of range"},
        {"sesame", "cors: {origins: ['${PACER_TEST_SECRET}']}\n", "is not an origin"},
        {"http://SESAME", "cors: {origins: ['${PACER_TEST_SECRET}']}\n", "is not an origin"},
        {"sesame me", "cache: {tenant_header: '${PACER_TEST_SECRET}'}\n", "${PACER_TEST_SECRET}"},
        {"sesame", "ops_token: ${PACER_TEST_SECRET}\n", "too short"},
        {"a secret with sesame", "ops_token: ${PACER_TEST_SECRET}\n", "cannot be sent in a header"},
        {"sesame", "path: /api/coach/recommend|path: ${PACER_TEST_SECRET}", "is not a path"},
        {"/v2/sesame", "path: /api/coach/recommend|path: ${PACER_TEST_SECRET}", "/v2 itself"},
        {"sesame", "{name: plain}|{plain: '${PACER_TEST_SECRET}'}",
         "'${PACER_TEST_SECRET}' is not a finite"},
        {"return_5d", "{name: plain}|'${PACER_TEST_SECRET}'",
         "'${PACER_TEST_SECRET}' is there twice"},
        {"424242", "min_confidence: 0.5|min_confidence: ${PACER_TEST_SECRET}", "out of range"},
        {"424242", "min: 0|min: '${PACER_TEST_SECRET}'", "min ${PACER_TEST_SECRET} is greater"},
        {"a..sesame", "field: context.income|field: '${PACER_TEST_SECRET}'",
         "'${PACER_TEST_SECRET}'"},
        {"sesame", "contract: c.json|contract: ${PACER_TEST_SECRET}",
         "read '${PACER_TEST_SECRET}'"},
        {"-3", "round: 0.5|round: '${PACER_TEST_SECRET}'", "${PACER_TEST_SECRET} is out of range"},
    };
    write_contract(f);
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char text[2048], from[128];
        const char *bar = strchr(cases[i].text, '|');
        setenv("PACER_TEST_SECRET", cases[i].value, 1);
        if (bar)
            snprintf(from, sizeof from, "%.*s", (int)(bar - cases[i].text), cases[i].text);
        assert_int_equal(load(f, bar ? changed(text, from, bar + 1) : cases[i].text), PACER_EINVAL);
        assert_int_equal(f->faults.n, 1);
        const char *message = f->faults.list[0].message;
        if (!strstr(message, cases[i].words) || strcasestr(message, "sesame") ||
            strstr(message, "return_5d") || strstr(message, "424242"))
            fail_msg("%s", message);
    }
    unsetenv("PACER_TEST_SECRET");
}

static void a_long_variable_is_refused(void **state) {
    struct fixture *f = *state;
    char *text = malloc(70001);
    assert_non_null(text);
    memset(text, 'x', 70000);
    text[70000] = '\0';
    setenv("PACER_TEST_LONG", text, 1);
    bad(f, "server_name: ${PACER_TEST_LONG}\n", 1, 14, "longer than 65536 bytes");
    free(text);
    text = malloc((1 << 20) + 1);
    assert_non_null(text);
    memset(text, 'x', 1 << 20);
    text[1 << 20] = '\0';
    setenv("PACER_TEST_LONG", text, 1);
    bad(f, "threads: ${PACER_TEST_LONG}\n", 1, 10, "longer than 65536 bytes");
    bad(f, "ops_token: a${PACER_TEST_LONG}${PACER_TEST_LONG}\n", 1, 12, "longer than 65536 bytes");
    unsetenv("PACER_TEST_LONG");
    free(text);
}

// --- the cache and the second address -----------------------------------------------------------
static void the_cache(void **state) {
    struct fixture *f = *state;
    good(f, "");
    assert_int_equal(f->config->cache_memory_mb, 64);
    assert_null(f->config->cache_path);
    assert_int_equal(f->config->cache_path_mb, 1024);
    assert_null(f->config->cache_redis_url);
    assert_int_equal(f->config->cache_redis_timeout_ms, 20);
    assert_null(f->config->cache_tenant_header);
    setenv("PACER_TEST_REDIS", "redis://:sesame@127.0.0.1/2", 1);
    good(f, "cache:\n"
            "  memory_mb: 0\n"
            "  path: kept\n"
            "  path_mb: 16\n"
            "  redis_url: ${PACER_TEST_REDIS}\n"
            "  redis_timeout_ms: 1s\n"
            "  tenant_header: X-Tenant\n");
    char path[160];
    snprintf(path, sizeof path, "%s/kept", f->dir);
    assert_int_equal(f->config->cache_memory_mb, 0);
    assert_string_equal(f->config->cache_path, path);
    assert_int_equal(f->config->cache_path_mb, 16);
    assert_string_equal(f->config->cache_redis_url, "redis://:sesame@127.0.0.1/2");
    assert_int_equal(f->config->cache_redis_timeout_ms, 1000);
    assert_string_equal(f->config->cache_tenant_header, "X-Tenant");
    unsetenv("PACER_TEST_REDIS");
    good(f, "cache: {redis_url: '', tenant_header: \"\"}\n");
    assert_null(f->config->cache_tenant_header);
    good(f, "cache: {redis_url: '${PACER_TEST_REDIS:-}'}\n");
    assert_null(f->config->cache_redis_url);
    good(f, "cache: {memory_mb: 1048576}\n");
    good(f, "cache:\n");
    assert_int_equal(f->config->cache_memory_mb, 64);
    bad(f, "cache: {memory_mb: 1048577}\n", 1, 20, "expected 0 to 1048576");
    bad(f, "cache: {path_mb: 15}\n", 1, 18, "expected 16 to");
    bad(f, "cache: {redis_timeout_ms: 0}\n", 1, 27, "expected 1 to 10000 ms");
    bad(f, "cache: {redis_timeout_ms: 11s}\n", 1, 27, "expected 1 to 10000 ms");
    bad(f, "cache: {redis_url: [a]}\n", 1, 20, "cache.redis_url: expected text, found a list");
    bad(f, "cache: {redis_url: }\n", 1, 20, "cache.redis_url has no value");
    bad(f, "cache: {tenant_header: X Tenant}\n", 1, 24, "'X Tenant' is not the name of a header");
    bad(f, "cache: {tenant_header: 'X:'}\n", 1, 24, "is not the name of a header");
    bad(f, "cache: {ttl_s: 3}\n", 1, 9, "unknown key 'ttl_s' in cache");
    char text[300];
    snprintf(text, sizeof text, "cache: {tenant_header: X%0128d}\n", 0);
    bad(f, text, 1, 24, "is not the name of a header");
}

static void the_cache_of_a_model(void **state) {
    struct fixture *f = *state;
    good(f, "models:\n"
            "  a: {cache: {ttl_s: 5min, stale_while_revalidate_s: 60, stale_if_error_s: 1h}}\n"
            "  b: {cache: }\n"
            "  c: {cache: {}, max_batch_size: 3}\n"
            "  d:\n"
            "  e: {cache: {ttl_s: 365d, stale_if_error_s: 365d}}\n");
    const struct pcr_config_model *models = f->config->models;
    assert_int_equal(models[0].cache_ttl_s, 300);
    assert_int_equal(models[0].cache_stale_while_revalidate_s, 60);
    assert_int_equal(models[0].cache_stale_if_error_s, 3600);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(models[i].cache_ttl_s, 0);
        assert_int_equal(models[i].cache_stale_if_error_s, 0);
        assert_int_equal(models[i].max_queue, 1024); // the rest has its defaults, too
    }
    assert_int_equal(models[2].max_batch_size, 3);
    assert_int_equal(models[4].cache_stale_if_error_s, 31536000);
    bad(f, "models: {m: {cache: {stale_if_error_s: 3}}}\n", 1, 40,
        "models.m.cache.stale_if_error_s: answers that are not kept cannot be given later");
    bad(f, "models:\n  m:\n    cache:\n      ttl_s: 0\n      stale_while_revalidate_s: 1\n", 5, 33,
        "models.m.cache.stale_while_revalidate_s: answers that are not kept");
    bad(f, "models: {m: {cache: {ttl_s: 366d}}}\n", 1, 29,
        "models.m.cache.ttl_s: 31622400 is out of range; expected 0 to 31536000 s");
    bad(f, "models: {m: {cache: {ttl_s: -1}}}\n", 1, 29, "is not a time");
    bad(f, "models: {m: {cache: {ttl_s: 500ms}}}\n", 1, 29, "is not a time");
    bad(f, "models: {m: {cache: 300}}\n", 1, 21, "models.m.cache: expected a map");
    bad(f, "models: {m: {cache: [300]}}\n", 1, 21, "models.m.cache: expected a map, found a list");
    bad(f, "models: {m: {cache: {tll_s: 3}}}\n", 1, 22,
        "unknown key 'tll_s' in models.m.cache; did you mean 'ttl_s'?");
    bad(f, "models: {m: {ttl_s: 3}}\n", 1, 14,
        "the key 'ttl_s' belongs under models.m.cache, not here");
    bad(f, "models: {m: {cache: {merge: on}}}\n", 1, 22,
        "the key 'merge' belongs under models.m, not here");
    bad(f, "models: {m: {cache: {ttl_s: 1, ttl_s: 2}}}\n", 1, 32, "twice in models.m.cache");
    bad(f, "models: {m: {cache.ttl_s: 3}}\n", 1, 14, "unknown key 'cache.ttl_s'");
}

static void rounded_features(void **state) {
    struct fixture *f = *state;
    char text[2048];
    write_contract(f);
    good(f, decision);
    assert_true(f->config->decisions[0].features[0].round == 0);
    assert_true(f->config->decisions[0].features[2].round == 0.5);
    good(f, changed(text, "round: 0.5", "round: 1e-9"));
    assert_true(f->config->decisions[0].features[2].round == 1e-9);
    good(f, changed(text, "round: 0.5", "round: 0"));
    static const char *const faults[][2] = {
        {"round: -0.5", "-0.5 is out of range"},           {"round: 1e301", "is out of range"},
        {"round: .inf", "is not a finite number"},         {"round: nan", "is not a finite number"},
        {"round: 1e999", "is not a finite number"},        {"round: ''", "is not a finite number"},
        {"round: [1]", "expected a number, found a list"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(faults); i++)
        bad(f, changed(text, "round: 0.5", faults[i][0]), 8, 44, faults[i][1]);
}

#define TOKEN "0123456789abcdef"

static void the_second_address(void **state) {
    struct fixture *f = *state;
    good(f, "ops_listen: 127.0.0.1:9090\nops_token: " TOKEN "\n");
    assert_string_equal(f->config->ops_listen, "127.0.0.1:9090");
    assert_string_equal(f->config->ops_token, TOKEN);
    good(f, "ops_token: " TOKEN "\n");
    assert_null(f->config->ops_listen);
    setenv("PACER_TEST_TOKEN", TOKEN, 1);
    good(f, "ops_listen: unix:/run/ops.sock\nops_token: ${PACER_TEST_TOKEN}\n");
    assert_string_equal(f->config->ops_token, TOKEN);
    bad(f, "threads: 1\nops_listen: :9090\n", 2, 13, "ops_listen needs ops_token");
    bad(f, "ops_token: ''\n", 1, 12, "ops_token is empty");
    bad(f, "ops_listen: :9090\nops_token: 0123456789abcde\n", 2, 12,
        "ops_token is too short: expected at least 16 characters");
    assert_null(strstr(f->faults.list[0].message, "0123"));
    bad(f, "ops_token: '" TOKEN " '\n", 1, 12, "cannot be sent in a header");
    bad(f, "ops_token: \"" TOKEN "\\n\"\n", 1, 12, "cannot be sent in a header");
    bad(f, "ops_token: " TOKEN "\xc3\xa9\n", 1, 12, "cannot be sent in a header");
    assert_null(strstr(f->faults.list[0].message, "0123"));
    bad(f, "ops_listen: 9090\nops_token: " TOKEN "\n", 1, 13, "'9090' is not an address");
    const struct pcr_config_override listen = {"ops_listen", ":1", "--ops-listen"};
    const struct pcr_config_override token = {"ops_token", TOKEN, "--set ops_token"};
    const struct pcr_config_override shorter = {"ops_token", "0123", "--set ops_token"};
    assert_int_equal(load_bytes(f, PCR_STR("threads: 1\n"), &listen, 1), PACER_EINVAL);
    assert_non_null(strstr(f->faults.list[0].message, "needs ops_token"));
    assert_int_equal(load_bytes(f, PCR_STR("ops_listen: :1\n"), &token, 1), 0);
    assert_int_equal(load_bytes(f, PCR_STR("ops_token: " TOKEN "\n"), &listen, 1), 0);
    assert_int_equal(load_bytes(f, PCR_STR("ops_listen: :1\n"), &shorter, 1), PACER_EINVAL);
    assert_int_equal(f->faults.n, 1);
    assert_string_equal(f->faults.list[0].message,
                        "--set ops_token: ops_token is too short: expected at least 16 characters");
}

static void note_key(void *ctx, const char *key) {
    struct pcr_buf *keys = ctx;
    pcr_buf_printf(keys, "%s ", key);
}

static void what_needs_a_restart(void **state) {
    struct fixture *f = *state;
    good(f, "");
    struct pcr_config *before = f->config;
    pcr_config_ref(before);
    good(f, "ops_listen: :1\nops_token: " TOKEN "\n"
            "cache: {memory_mb: 1, path: x, path_mb: 20, redis_url: redis://h, "
            "redis_timeout_ms: 5, tenant_header: T}\n");
    struct pcr_buf keys;
    pcr_buf_init(&keys, 4096);
    pcr_config_compare(before, f->config, note_key, &keys);
    assert_string_equal(keys.data, "ops_listen cache.memory_mb cache.path cache.path_mb "
                                   "cache.redis_url cache.redis_timeout_ms ");
    pcr_buf_fini(&keys);
    pcr_config_unref(before);
}

// --- faults -------------------------------------------------------------------------------------
static void unknown_keys(void **state) {
    struct fixture *f = *state;
    bad(f, "# x\nmodle_dir: a\n", 2, 1, "unknown key 'modle_dir'; did you mean 'models_dir'?");
    bad(f, "http:\n  idle_timeout: 3\n", 2, 3, "did you mean 'idle_timeout_ms'?");
    bad(f, "idle_timeout_ms: 3\n", 1, 1, "belongs under http");
    bad(f, "http:\n  threads: 3\n", 2, 3, "belongs at the top level");
    bad(f, "zzzzzzzzzzzz: 3\n", 1, 1, "unknown key 'zzzzzzzzzzzz'");
    bad(f, "models: {m: {use_quantised: true}}\n", 1, 14,
        "unknown key 'use_quantised' in models.m; did you mean 'use_quantized'?");
    bad(f, "\"a\\eb\": 3\n", 1, 1, "unknown key 'a?b'"); // nothing that steers a terminal
    bad(f, "http.idle_timeout_ms: 3\n", 1, 1, "unknown key");
}

static void doubled_keys(void **state) {
    struct fixture *f = *state;
    bad(f, "threads: 1\nworkers: 2\nthreads: 3\n", 3, 1,
        "the key 'threads' is there twice, first in line 1");
    bad(f, "http:\n  headers_max: 9\n  headers_max: 9\n", 3, 3, "twice in http, first in line 2");
    bad(f, "models:\n  a:\n  a:\n", 3, 3, "twice in models");
    bad(f, "? [a]\n: 3\n", 1, 3, "a key has to be a word, found a list");
    bad(f, "? {a: b}\n: 3\n", 1, 3, "found a map");
}

static void wrong_types(void **state) {
    struct fixture *f = *state;
    bad(f, "threads: many\n", 1, 10, "threads: 'many' is not a whole number");
    bad(f, "threads: 1.5\n", 1, 10, "'1.5' is not a whole number");
    bad(f, "threads: [1]\n", 1, 10, "expected a whole number, found a list");
    bad(f, "threads:\n", 1, 9, "threads has no value");
    bad(f, "threads: ~\n", 1, 10, "threads has no value");
    bad(f, "threads: 0x10\n", 1, 10, "is not a whole number");
    bad(f, "access_log: yes\n", 1, 13, "'yes' is not true or false");
    bad(f, "log_level: loud\n", 1, 12, "'loud' is not one of debug|info|warn|error");
    bad(f, "drain_ms: 5 parsecs\n", 1, 11, "'5 parsecs' is not a time");
    bad(f, "drain_ms: 0.5ms\n", 1, 11, "is not a time");
    bad(f, "drain_ms: -5\n", 1, 11, "is not a time");
    bad(f, "http: {body_bytes_max: 5 apples}\n", 1, 24, "is not a size");
    bad(f, "cors: {origins: x}\n", 1, 17, "expected a list, found a single value");
    bad(f, "cors: {origins: [a://x, [y]]}\n", 1, 25,
        "cors.origins[1]: expected text, found a list");
    bad(f, "http: 3\n", 1, 7, "http: expected a map, found a single value");
    bad(f, "decisions: {a: 3}\n", 1, 12, "decisions: expected a list, found a map");
    bad(f, "- a\n", 1, 1, "the configuration: expected a map, found a list");
    bad(f, "just text\n", 1, 1, "expected a map");
    bad(f, "models: []\n", 1, 9, "expected a map, found a list");
    bad(f, "models: {m: 3}\n", 1, 13, "models.m: expected a map");
    bad(f, "models: {../m: {}}\n", 1, 10, "no model can have this name");
    bad(f, "models: {a/b: {}}\n", 1, 10, "no model can have this name");
    bad(f, "models: {.m: {}}\n", 1, 10, "no model can have this name");
    char text[400];
    snprintf(text, sizeof text, "models: {%0256d: {}}\n", 0);
    bad(f, text, 1, 10, "no model can have this name");
}

static void out_of_range(void **state) {
    struct fixture *f = *state;
    bad(f, "threads: 1025\n", 1, 10, "1025 is out of range; expected 0 to 256");
    bad(f, "threads: -1\n", 1, 10, "-1 is out of range");
    bad(f, "threads: 99999999999999999999\n", 1, 10, "is not a whole number");
    bad(f, "http: {body_bytes_max: 0}\n", 1, 24, "out of range; expected 1 to 2147483648 bytes");
    bad(f, "http: {body_bytes_max: 5GiB}\n", 1, 24, "5368709120 is out of range");
    bad(f, "http: {body_bytes_max: 2147483649}\n", 1, 24, "2147483649 is out of range");
    bad(f, "http: {gzip_level: 10}\n", 1, 20, "expected 0 to 9");
    bad(f, "drain_ms: 2h\n", 1, 11, "expected 0 to 3600000 ms");
}

static void what_yaml_can_do_wrong(void **state) {
    struct fixture *f = *state;
    bad(f, "http:\n\tthreads: 1\n", 2, 1, "a tab in the indentation");
    bad(f, "listen: [1, 2\nthreads: 3\n", 2, 8, "not valid YAML");
    bad(f, "a: b: c\n", 1, 5, "not valid YAML");
    bad(f, "threads: &x 1\n", 1, 10, "the anchor '&x'");
    bad(f, "threads: *x\n", 1, 10, "the alias '*x'");
    bad(f, "threads: !!int 1\n", 1, 10, "the tag");
    bad(f, "threads: 1\n---\nthreads: 2\n", 2, 1, "a second document");
    bad(f, "threads: \"a\\0b\"\n", 1, 10, "NUL");
    bad(f, "threads: 1\n# caf\xe9\n", 2, 6, "the byte 0xe9 is not UTF-8");
    bad(f, "# \xed\xa0\x80\n", 1, 3, "is not UTF-8");     // a surrogate
    bad(f, "# \xc0\xaf\n", 1, 3, "is not UTF-8");         // overlong
    bad(f, "# \xf4\x90\x80\x80\n", 1, 3, "is not UTF-8"); // beyond U+10FFFF
    bad(f, "# \xe2\x82\n", 1, 3, "is not UTF-8");         // cut short
    bad(f, "a: \x1b[31m\n", 1, 4, "a control character (0x1b)");
    assert_int_equal(load_bytes(f, PCR_STR("a: \0b\n"), NULL, 0), PACER_EINVAL);
    assert_non_null(strstr(f->faults.list[0].message, "a control character (0x00)"));
}

static void bombs(void **state) {
    struct fixture *f = *state;
    struct pcr_buf buf;
    pcr_buf_init(&buf, 4 << 20);
    for (int i = 0; i < 100000; i++)
        pcr_buf_char(&buf, '[');
    assert_int_equal(load_bytes(f, pcr_buf_view(&buf), NULL, 0), PACER_EINVAL);
    assert_non_null(strstr(f->faults.list[0].message, "nested deeper"));
    pcr_buf_clear(&buf);
    pcr_buf_text(&buf, "cors: {origins: [");
    for (int i = 0; i < 70000; i++)
        pcr_buf_text(&buf, "a,");
    pcr_buf_text(&buf, "]}");
    assert_int_equal(load_bytes(f, pcr_buf_view(&buf), NULL, 0), PACER_EINVAL);
    assert_non_null(strstr(f->faults.list[0].message, "too large"));
    pcr_buf_clear(&buf);
    pcr_buf_text(&buf, "decisions: [");
    for (int i = 0; i < 300; i++)
        pcr_buf_text(&buf, "{},");
    pcr_buf_text(&buf, "]");
    assert_int_equal(load_bytes(f, pcr_buf_view(&buf), NULL, 0), PACER_EINVAL);
    assert_int_equal(f->faults.n, 1);
    assert_non_null(strstr(f->faults.list[0].message, "300 entries; at most 256"));
    pcr_buf_clear(&buf);
    for (int i = 0; i < 500; i++)
        pcr_buf_printf(&buf, "k%d: 1\n", i);
    assert_int_equal(load_bytes(f, pcr_buf_view(&buf), NULL, 0), PACER_EINVAL);
    assert_int_equal(f->faults.n, PCR_CONFIG_FAULTS_MAX);
    assert_int_equal(f->faults.dropped, 500 - PCR_CONFIG_FAULTS_MAX);
    pcr_buf_clear(&buf);
    for (int i = 0; i < 20000; i++)
        pcr_buf_text(&buf, "# a comment of sixty-four characters, line after line after line\n");
    assert_int_equal(load_bytes(f, pcr_buf_view(&buf), NULL, 0), PACER_EINVAL);
    assert_non_null(strstr(f->faults.list[0].message, "larger than 1048576 bytes"));
    pcr_buf_fini(&buf);
}

static void files_that_are_not_there(void **state) {
    struct fixture *f = *state;
    assert_int_equal(pcr_config_load("/nonexistent/pacer.yaml", NULL, 0, &f->config, &f->faults),
                     PACER_ENOTFOUND);
    assert_int_equal(f->faults.n, 1);
    assert_non_null(strstr(f->faults.list[0].message, "No such file"));
    assert_null(f->config);
    assert_int_equal(pcr_config_load(f->dir, NULL, 0, &f->config, &f->faults), PACER_EIO);
}

// --- decisions ----------------------------------------------------------------------------------
static void faults_of_decisions(void **state) {
    struct fixture *f = *state;
    char text[2048];
    write_contract(f);
    static const struct {
        const char *from, *to;
        int line, column;
        const char *words;
    } cases[] = {
        {"path: /api/coach/recommend", "path: api/coach", 2, 11, "'api/coach' is not a path"},
        {"path: /api/coach/recommend", "path: /a?b", 2, 11, "is not a path"},
        {"path: /api/coach/recommend", "path: /a/../b", 2, 11, "is not a path"},
        {"path: /api/coach/recommend", "path: /v2/models", 2, 11, "the server answers /v2 itself"},
        {"path: /api/coach/recommend\n    ", "", 2, 5, "decisions[0] lacks 'path'"},
        {"    model: regime\n", "", 2, 5, "decisions[0] lacks 'model'"},
        {"model: regime", "model: ''", 3, 12, "model is empty"},
        {"{name: plain}", "return_5d", 9, 9, "'return_5d' is there twice, first in line 6"},
        {"{name: plain}", "{label: x, baseline: 3}", 9, 9, "lacks 'name'"},
        {"{name: plain}", "{plain: often}", 9, 17, "'often' is not a finite number"},
        {"{name: plain}", "{plain: .inf}", 9, 17, "is not a finite number"},
        {"{name: plain}", "{plain: 1e999}", 9, 17, "is not a finite number"},
        {"{name: plain}", "[plain]", 9, 9, "features[3]: expected text, found a list"},
        {"{calm: deposit, 10: hold}", "{}", 10, 14, "actions is empty"},
        {"{calm: deposit, 10: hold}", "{calm: }", 10, 21, "actions.calm has no value"},
        {"{calm: deposit, 10: hold}", "{calm: a, calm: b}", 10, 24, "'calm' is there twice"},
        {"{calm: deposit, 10: hold}", "deposit", 10, 14, "actions: expected a map"},
        {"min_confidence: 0.5", "min_confidence: 1.5", 11, 21, "expected 0 to 1"},
        {"min_confidence: 0.5", "min_confidence: nan", 11, 21, "is not a finite number"},
        {"    fallback_action: hold\n", "", 11, 21, "there is no fallback_action"},
        {"min: 0, max: 1000", "min: 5, max: 1", 14, 61, "min 5 is greater than max 1"},
        {"field: context.income", "field: context..income", 14, 27, "is not a dotted path"},
        {"{field: a}", "{times: 3}", 15, 14, "limits.other lacks 'field'"},
        {"{field: a}", "3", 15, 14, "limits.other: expected a map"},
        {"contract: c.json", "contract: missing.json", 16, 15, "No such file"},
        {"contract: c.json", "contract: .", 16, 15, "is not a file"},
        {"contract: c.json", "max_factors: 3", 2, 5, "lacks 'contract'"},
        {"max_batch_size: 64", "max_batch_size: -1", 18, 70, "out of range"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        bad(f, changed(text, cases[i].from, cases[i].to), cases[i].line, cases[i].column,
            cases[i].words);
    }
}

static void two_decisions_on_one_path(void **state) {
    struct fixture *f = *state;
    write_contract(f);
    bad(f,
        "decisions:\n"
        "  - {path: /a, model: m, features: [x], actions: {c: a}, contract: c.json}\n"
        "  - {path: /b, model: m, features: [x], actions: {c: a}, contract: c.json}\n"
        "  - {path: /a, model: m, features: [x], actions: {c: a}, contract: c.json}\n",
        4, 12, "'/a' is taken already by the decision in line 2");
}

static void all_faults_come_at_once_in_the_order_of_lines(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "threads: x\n"
                             "decisions:\n"
                             "  - path: nope\n"
                             "    features: []\n"
                             "    actions: {}\n"
                             "http: {gzip_level: 99}\n"
                             "workers: &a 3\n"
                             "bogus: *a\n"),
                     PACER_EINVAL);
    static const int lines[] = {1, 3, 3, 3, 4, 5, 6, 7, 8, 8};
    if (f->faults.n != PCR_COUNT_OF(lines))
        print_faults(f);
    assert_int_equal(f->faults.n, PCR_COUNT_OF(lines));
    for (size_t i = 0; i < PCR_COUNT_OF(lines); i++)
        assert_int_equal(f->faults.list[i].line, lines[i]);
}

// --- command line -------------------------------------------------------------------------------
static void the_command_line_wins(void **state) {
    struct fixture *f = *state;
    const struct pcr_config_override overrides[] = {
        {"listen", "127.0.0.1:0", "--listen"},
        {"models_dir", "here", "--models"},
        {"http.body_bytes_max", "2MiB", "--set"},
        {"cors.origins", "https://a.example, https://b.example", "--cors-origin"},
        {"server_name", "$HOME ${x}", "--set"}, // the shell has substituted already
        {"threads", "2", "--threads"},
        {"threads", "4", "--threads"},
    };
    assert_int_equal(load_bytes(f, PCR_STR("listen: :1\nmodels_dir: there\nthreads: 9\n"),
                                overrides, PCR_COUNT_OF(overrides)),
                     0);
    assert_string_equal(f->config->listen, "127.0.0.1:0");
    assert_string_equal(f->config->models_dir, "here"); // relative to where the person stands
    assert_int_equal(f->config->http_body_bytes_max, 2 << 20);
    assert_int_equal(f->config->n_cors_origins, 2);
    assert_string_equal(f->config->cors_origins[1], "https://b.example");
    assert_string_equal(f->config->server_name, "$HOME ${x}");
    assert_int_equal(f->config->threads, 4);
}

static void faults_of_the_command_line(void **state) {
    struct fixture *f = *state;
    const struct pcr_config_override overrides[] = {
        {"threads", "many", "--threads"},
        {"http.idle_timeout", "3", "--set http.idle_timeout"},
        {"decisions", "3", "--set decisions"},
        {"models_dir", "", "--models"},
    };
    assert_int_equal(
        pcr_config_load(NULL, overrides, PCR_COUNT_OF(overrides), &f->config, &f->faults),
        PACER_EINVAL);
    assert_int_equal(f->faults.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(f->faults.list[i].file, "command line");
        assert_int_equal(f->faults.list[i].line, 0);
    }
    assert_string_equal(f->faults.list[0].message, "--threads: 'many' is not a whole number");
    assert_non_null(strstr(f->faults.list[1].message, "did you mean 'http.idle_timeout_ms'?"));
    assert_non_null(strstr(f->faults.list[2].message, "unknown key 'decisions'"));
    assert_non_null(strstr(f->faults.list[3].message, "models_dir is empty"));
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_table_and_of_the_http_room),
        TEST(every_row_explains_itself),
        TEST(an_empty_file_means_defaults),
        TEST(sizes_and_times_have_units),
        TEST(addresses),
        TEST(decisions_and_models),
        TEST(variables_are_substituted_in_values),
        TEST(values_keep_the_type_of_their_option),
        TEST(hostile_variables),
        TEST(what_a_variable_holds_is_never_shown),
        TEST(a_long_variable_is_refused),
        TEST(the_cache),
        TEST(the_cache_of_a_model),
        TEST(rounded_features),
        TEST(the_second_address),
        TEST(what_needs_a_restart),
        TEST(unknown_keys),
        TEST(doubled_keys),
        TEST(wrong_types),
        TEST(out_of_range),
        TEST(what_yaml_can_do_wrong),
        TEST(bombs),
        TEST(files_that_are_not_there),
        TEST(faults_of_decisions),
        TEST(two_decisions_on_one_path),
        TEST(all_faults_come_at_once_in_the_order_of_lines),
        TEST(the_command_line_wins),
        TEST(faults_of_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
