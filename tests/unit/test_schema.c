// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "json/schema_priv.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REMOTES_MAX 64

static struct pcr_arena data_arena; // remotes live as long as the program
static struct pcr_schema_remote remotes[REMOTES_MAX];
static size_t remotes_n;

// --- helpers ------------------------------------------------------------------------------------

static yyjson_val *read_json(struct pcr_arena *arena, const char *path) {
    char full[1024];
    const char *root = getenv("PACER_SOURCE_ROOT");
    struct pcr_buf text;
    struct pacer_error err;
    yyjson_val *value = NULL;
    // The suite holds duplicate names nowhere, but documents nested more deeply than requests are.
    const struct pcr_json_options options = {.what = path, .depth_max = 500};
    snprintf(full, sizeof full, "%s/tests/data/%s", root ? root : ".", path);
    pcr_buf_init(&text, (size_t)16 << 20);
    if (pcr_file_read(full, &text, &err) < 0 ||
        pcr_json_parse(arena, pcr_buf_view(&text), &options, &value, &err) < 0)
        fail_msg("%s", err.message);
    pcr_buf_fini(&text);
    return value;
}

static struct pcr_str dump(struct pcr_arena *arena, yyjson_val *value) {
    struct pcr_buf buf;
    pcr_buf_init(&buf, (size_t)16 << 20);
    pcr_json_dump(&buf, value);
    struct pcr_str text = {pcr_arena_dup(arena, pcr_buf_view(&buf)), buf.len};
    pcr_buf_fini(&buf);
    assert_non_null(text.ptr);
    return text;
}

static int read_remotes(void **state) {
    (void)state;
    pcr_arena_init(&data_arena, (size_t)64 << 20);
    yyjson_val *all = read_json(&data_arena, "json-schema-remotes.json");
    size_t i;
    size_t n;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(all, i, n, key, value) {
        assert_true(remotes_n < REMOTES_MAX);
        remotes[remotes_n++] =
            (struct pcr_schema_remote){yyjson_get_str(key), dump(&data_arena, value)};
    }
    return 0;
}

static int free_remotes(void **state) {
    (void)state;
    pcr_arena_fini(&data_arena);
    return 0;
}

static int build(struct pcr_str text, bool formats_annotate, struct pacer_contract **contract,
                 struct pacer_error *err) {
    const struct pcr_contract_source source = {
        .text = text,
        .uri = "http://localhost:1234/the-test.json",
        .remotes = remotes,
        .remotes_n = remotes_n,
        .formats_annotate = formats_annotate,
    };
    return pcr_contract_build(&source, contract, err);
}

static struct pacer_contract *contract_of(const char *schema) {
    struct pacer_contract *contract;
    struct pacer_error err;
    if (pacer_contract_parse(schema, strlen(schema), NULL, &contract, &err) < 0)
        fail_msg("%s: %s", schema, err.message);
    return contract;
}

struct found {
    char text[4096];
    size_t n;
};

static bool collect(void *ctx, const struct pacer_violation *violation) {
    struct found *found = ctx;
    size_t at = strlen(found->text);
    snprintf(found->text + at, sizeof found->text - at, "%s | %s | %s\n", violation->instance,
             violation->schema, violation->message);
    found->n++;
    return true;
}

static int check(const struct pacer_contract *contract, const char *json, struct found *found) {
    struct pacer_error err;
    *found = (struct found){.n = 0};
    int rc = pacer_contract_check(contract, json, strlen(json), collect, found, &err);
    if (rc < 0)
        assert_int_equal(err.code, rc);
    return rc;
}

// Checks with the schema and expects exactly these violations, "" for none.
static void expect(const char *schema, const char *json, const char *violations) {
    struct pacer_contract *contract = contract_of(schema);
    struct found found;
    int rc = check(contract, json, &found);
    if (strcmp(found.text, violations) != 0 || rc != (*violations ? PACER_ECONTRACT : 0))
        fail_msg("%s against %s: rc %d\n%sexpected:\n%s", json, schema, rc, found.text, violations);
    pacer_contract_destroy(contract);
}

static void refuses(const char *schema, int code, const char *part) {
    struct pacer_contract *contract;
    struct pacer_error err = {0};
    int rc = pacer_contract_parse(schema, strlen(schema), NULL, &contract, &err);
    if (rc != code || !strstr(err.message, part))
        fail_msg("%s: rc %d, \"%s\", expected \"%s\"", schema, rc, err.message, part);
    assert_null(contract);
}

// --- the official suite -------------------------------------------------------------------------

struct tally {
    size_t files;
    size_t cases;
    size_t wrong;
    size_t beyond; // wrong, and said to be so
};

// What is not checked, and said so in the header: the Unicode behind an "xn--" label, and
// lookbehinds of any width, which PCRE2 has not.
static bool is_beyond(const char *group) {
    return strcmp(group, "validation of A-label (punycode) host names") == 0 ||
           strcmp(group, "ECMA 262 lookbehind is valid, including variable width") == 0;
}

static void run_case(struct tally *tally, const char *file, const char *group,
                     const struct pacer_contract *contract, yyjson_val *test) {
    struct pacer_error err = {0};
    bool valid = yyjson_get_bool(yyjson_obj_get(test, "valid"));
    int rc = pcr_contract_check_value(contract, yyjson_obj_get(test, "data"), NULL, NULL, &err);
    tally->cases++;
    if (rc == (valid ? 0 : PACER_ECONTRACT))
        return;
    if (is_beyond(group)) {
        tally->beyond++;
        return;
    }
    tally->wrong++;
    print_message("%s: %s: %s: rc %d %s\n", file, group,
                  yyjson_get_str(yyjson_obj_get(test, "description")), rc, err.message);
}

static void run_file(struct tally *tally, const char *path, bool formats_annotate) {
    struct pcr_arena arena;
    pcr_arena_init(&arena, (size_t)256 << 20);
    yyjson_val *groups = read_json(&arena, path);
    size_t i;
    size_t n;
    yyjson_val *group;
    tally->files++;
    yyjson_arr_foreach(groups, i, n, group) {
        const char *name = yyjson_get_str(yyjson_obj_get(group, "description"));
        yyjson_val *tests = yyjson_obj_get(group, "tests");
        struct pacer_contract *contract;
        struct pacer_error err;
        struct pcr_str schema = dump(&arena, yyjson_obj_get(group, "schema"));
        if (build(schema, formats_annotate, &contract, &err) < 0) {
            print_message("%s: %s: %s\n", path, name, err.message);
            tally->cases += yyjson_arr_size(tests);
            tally->wrong += yyjson_arr_size(tests);
            continue;
        }
        size_t j;
        size_t m;
        yyjson_val *test;
        yyjson_arr_foreach(tests, j, m, test) {
            run_case(tally, path, name, contract, test);
        }
        pacer_contract_destroy(contract);
    }
    pcr_arena_fini(&arena);
}

static void test_suite_required(void **state) {
    (void)state;
    char folder[1024];
    const char *root = getenv("PACER_SOURCE_ROOT");
    struct tally tally = {0};
    snprintf(folder, sizeof folder, "%s/tests/data/json-schema-2020-12", root ? root : ".");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char path[512];
        if (!strstr(entry->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "json-schema-2020-12/%s", entry->d_name);
        run_file(&tally, path, true);
    }
    closedir(dir);
    print_message("required: %zu files, %zu cases, %zu wrong\n", tally.files, tally.cases,
                  tally.wrong);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.files, 46);
    assert_int_equal(tally.cases, 1299);
}

static void test_suite_formats(void **state) {
    (void)state;
    static const char *const names[] = {
        "date-time",
        "date",
        "time",
        "duration",
        "uuid",
        "email",
        "hostname",
        "uri",
        "uri-reference",
        "ipv4",
        "ipv6",
        "json-pointer",
        "relative-json-pointer",
        "regex",
        "ecmascript-regex",
        "unknown",
    };
    struct tally tally = {0};
    for (size_t i = 0; i < PCR_COUNT_OF(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "json-schema-2020-12/format/%s.json", names[i]);
        run_file(&tally, path, false);
    }
    print_message("formats: %zu files, %zu cases, %zu wrong, %zu beyond what is checked\n",
                  tally.files, tally.cases, tally.wrong, tally.beyond);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.files, 16);
    assert_int_equal(tally.cases, 581);
    assert_in_range(tally.beyond, 23, 24);
}

// --- messages -----------------------------------------------------------------------------------

static void test_messages(void **state) {
    (void)state;
    expect("{\"properties\":{\"confidence\":{\"maximum\":1}}}", "{\"confidence\":1.7}",
           "/confidence | /properties/confidence/maximum | expected a number ≤ 1, got 1.7\n");
    expect("{\"type\":[\"integer\",\"null\"]}", "1.5",
           " | /type | expected null or an integer, got the number 1.5\n");
    expect("{\"enum\":[\"a\",2]}", "\"b\"", " | /enum | expected one of \"a\", 2, got \"b\"\n");
    expect("{\"const\":\"a\"}", "null", " | /const | expected \"a\", got null\n");
    expect("{\"minLength\":3}", "\"äö\"",
           " | /minLength | expected at least 3 characters, got 2: \"äö\"\n");
    expect("{\"items\":{\"minimum\":0}}", "[1,-1,[],-2]",
           "/1 | /items/minimum | expected a number ≥ 0, got -1\n"
           "/3 | /items/minimum | expected a number ≥ 0, got -2\n");
    expect("{\"additionalProperties\":false,\"properties\":{\"a\":true}}", "{\"a\":1,\"b/c\":2}",
           "/b~1c | /additionalProperties | expected no such member, got \"b/c\"\n");
    expect("{\"required\":[\"a\",\"b\"]}", "{\"b\":1}",
           " | /required | expected the member \"a\", which is missing\n");
    expect("{\"uniqueItems\":true}", "[1,2,1.0]",
           " | /uniqueItems | expected items that all differ, got items 0 and 2 equal\n");
    expect("{\"format\":\"date\"}", "\"2023-02-29\"",
           " | /format | expected a date (2024-12-31), got \"2023-02-29\"\n");
    expect("{\"pattern\":\"^[a-z]+$\"}", "\"A\"",
           " | /pattern | expected text that matches ^[a-z]+$, got \"A\"\n");
    expect("{\"oneOf\":[{\"minimum\":1},{\"minimum\":2}]}", "3",
           " | /oneOf | expected to match only one of 2 schemas, matches 0 and 1\n");
    expect("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"null\"}}}", "1",
           " | /$defs/a/type | expected null, got the number 1\n");
    expect("{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}", "{\"minLength\":-1}",
           "/minLength | https://json-schema.org/draft/2020-12/meta/validation#/$defs/"
           "nonNegativeInteger/minimum | expected a number ≥ 0, got -1\n");
    expect("{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}",
           " | /dependentRequired | expected the member \"b\", which is missing, because \"a\" is "
           "there\n");
    expect("{\"propertyNames\":{\"maxLength\":1}}", "{\"ab\":1}",
           "/ab | /propertyNames/maxLength | expected at most 1 characters, got 2: \"ab\"\n");
}

static void test_document_order(void **state) {
    (void)state;
    expect(
        "{\"properties\":{\"z\":{\"type\":\"null\"},\"a\":{\"type\":\"null\"}},\"minProperties\":9,"
        "\"unevaluatedProperties\":false}",
        "{\"a\":1,\"z\":2}",
        " | /minProperties | expected at least 9 members, got 2\n"
        "/a | /properties/a/type | expected null, got the number 1\n"
        "/z | /properties/z/type | expected null, got the number 2\n");
}

static bool stop_at_once(void *ctx, const struct pacer_violation *violation) {
    (void)violation;
    ++*(int *)ctx;
    return false;
}

static void test_callback_stops(void **state) {
    (void)state;
    struct pacer_contract *contract = contract_of("{\"items\":false}");
    struct pacer_error err;
    int n = 0;
    assert_int_equal(pacer_contract_check(contract, "[1,2,3]", 7, stop_at_once, &n, &err),
                     PACER_ECONTRACT);
    assert_int_equal(n, 1);
    assert_string_equal(err.message, "/0: expected nothing here (schema: /items)");
    assert_int_equal(pacer_contract_check(contract, "[1,", 3, NULL, NULL, &err), PACER_ESYNTAX);
    assert_int_equal(pacer_contract_check(contract, "[1]", 3, NULL, NULL, NULL), PACER_ECONTRACT);
    pacer_contract_destroy(contract);
    pacer_contract_destroy(NULL);
}

static void test_about(void **state) {
    (void)state;
    struct pacer_contract *contract = contract_of("{\"title\":\"T\",\"examples\":[{\"a\":1},2]}");
    assert_string_equal(pcr_contract_title(contract), "T");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(pcr_contract_example(contract), "a")), 1);
    assert_true(yyjson_is_obj(pcr_contract_schema(contract)));
    pacer_contract_destroy(contract);
    contract = contract_of("true");
    assert_null(pcr_contract_title(contract));
    assert_null(pcr_contract_example(contract));
    pacer_contract_destroy(contract);
}

// --- schemas that are refused -------------------------------------------------------------------

static void test_bad_schemas(void **state) {
    (void)state;
    refuses("{\"type\"", PACER_ESYNTAX, "line 1");
    refuses("3", PACER_EINVAL, "expected a schema (an object, true or false), got the number 3");
    refuses("{\"type\":\"strin\"}", PACER_EINVAL, "at \"/type\": expected null, boolean");
    refuses("{\"type\":[\"string\",\"string\"]}", PACER_EINVAL, "each type only once");
    refuses(
        "{\"properties\":{\"a\":{\"minLength\":\"3\"}}}", PACER_EINVAL,
        "at \"/properties/a/minLength\": expected a non-negative integer, got the string \"3\"");
    refuses("{\"minItems\":-1}", PACER_EINVAL, "non-negative");
    refuses("{\"maxItems\":1.5}", PACER_EINVAL, "non-negative");
    refuses("{\"multipleOf\":0}", PACER_EINVAL, "a number above 0");
    refuses("{\"pattern\":\"(\"}", PACER_EINVAL, "is no regular expression of ECMA-262");
    refuses("{\"patternProperties\":{\"[\":true}}", PACER_EINVAL, "a [ has no ]");
    refuses("{\"allOf\":[]}", PACER_EINVAL, "at least one schema");
    refuses("{\"allOf\":{}}", PACER_EINVAL, "an array of schemas");
    refuses("{\"$defs\":{\"unused\":{\"required\":[1]}}}", PACER_EINVAL, "/$defs/unused/required");
    refuses("{\"required\":[\"a\",\"a\"]}", PACER_EINVAL, "each name only once");
    refuses("{\"dependentRequired\":{\"a\":[\"b\",\"b\"]}}", PACER_EINVAL, "each name only once");
    refuses("{\"$id\":\"http://a/b#c\"}", PACER_EINVAL, "without fragment");
    refuses("{\"$anchor\":\"a b\"}", PACER_EINVAL, "/$anchor");
    refuses("{\"$defs\":{\"a\":{\"$anchor\":\"x\"},\"b\":{\"$anchor\":\"x\"}}}", PACER_EINVAL,
            "twice");
    refuses("{\"$defs\":{\"a\":{\"$id\":\"http://x/\"},\"b\":{\"$id\":\"http://x/\"}}}",
            PACER_EINVAL, "twice");
    refuses("{\"$ref\":\"#/$defs/none\"}", PACER_ENOTFOUND, "\"#/$defs/none\" leads nowhere");
    refuses("{\"$ref\":\"#none\"}", PACER_ENOTFOUND, "leads nowhere");
    refuses("{\"$ref\":\"other.json\"}", PACER_ENOTFOUND, "no folder for files was given");
    refuses("{\"$ref\":\"http://127.0.0.1:1/x\"}", PACER_ENOTFOUND, "leads nowhere");
    refuses("{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}", PACER_EINVAL,
            "only draft 2020-12");
    refuses("{\"$schema\":\"http://example.com/mine\"}", PACER_ENOTFOUND, "is not known");
    refuses("{\"$ref\":\"#\"}", PACER_EINVAL, "refers back to itself");
    refuses("{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":{\"not\":{\"$ref\":\"#\"}}}}",
            PACER_EINVAL, "refers back to itself");
    refuses("{\"title\":3}", PACER_EINVAL, "/title");
    refuses("{\"examples\":3}", PACER_EINVAL, "/examples");
}

// What the loader refuses the metaschema refuses too, and the other way round.
static void test_agrees_with_metaschema(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{\"type\":\"strin\"}",
        "{\"type\":[]}",
        "{\"type\":3}",
        "{\"minLength\":-1}",
        "{\"minLength\":2.0}",
        "{\"minLength\":2.5}",
        "{\"maximum\":\"1\"}",
        "{\"multipleOf\":0}",
        "{\"multipleOf\":-0.5}",
        "{\"enum\":3}",
        "{\"enum\":[]}",
        "{\"required\":3}",
        "{\"required\":[3]}",
        "{\"required\":[]}",
        "{\"uniqueItems\":1}",
        "{\"properties\":[]}",
        "{\"properties\":{\"a\":3}}",
        "{\"items\":[]}",
        "{\"items\":true}",
        "{\"prefixItems\":[]}",
        "{\"prefixItems\":[true]}",
        "{\"allOf\":[3]}",
        "{\"not\":null}",
        "{\"if\":1}",
        "{\"then\":1}",
        "{\"contains\":1}",
        "{\"contains\":true,\"minContains\":-1}",
        "{\"dependentRequired\":{\"a\":3}}",
        "{\"dependentRequired\":{\"a\":[]}}",
        "{\"dependentRequired\":3}",
        "{\"dependentSchemas\":{\"a\":3}}",
        "{\"$defs\":3}",
        "{\"$defs\":{\"a\":3}}",
        "{\"$comment\":3}",
        "{\"title\":3}",
        "{\"description\":3}",
        "{\"deprecated\":3}",
        "{\"readOnly\":3}",
        "{\"writeOnly\":0}",
        "{\"examples\":{}}",
        "{\"format\":3}",
        "{\"pattern\":3}",
        "{\"pattern\":\"(\"}",
        "{\"contentSchema\":3}",
        "{\"contentEncoding\":3}",
        "{\"unevaluatedItems\":3}",
        "{\"unevaluatedProperties\":[]}",
        "{\"$anchor\":\"1\"}",
        "{\"$anchor\":\"a\"}",
        "{\"$id\":3}",
        "{\"default\":3}",
        "{\"unknown\":3}",
        "{}",
        "true",
        "[]",
        "3",
        "{\"propertyNames\":3}",
        "{\"patternProperties\":{\"(\":true}}",
        "{\"minProperties\":1e3}",
        "{\"maxContains\":1,\"contains\":true}",
        "{\"type\":[\"null\",\"null\"]}",
    };
    struct pacer_contract *meta =
        contract_of("{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}");
    for (size_t i = 0; i < PCR_COUNT_OF(schemas); i++) {
        struct found found;
        struct pacer_contract *contract;
        bool loads =
            pacer_contract_parse(schemas[i], strlen(schemas[i]), NULL, &contract, NULL) == 0;
        bool holds = check(meta, schemas[i], &found) == 0;
        if (loads != holds)
            fail_msg("%s: loads %d, holds %d\n%s", schemas[i], loads, holds, found.text);
        pacer_contract_destroy(contract);
    }
    pacer_contract_destroy(meta);
}

// --- numbers ------------------------------------------------------------------------------------

static void verdict(const char *schema, const char *json, bool valid) {
    struct pacer_contract *contract = contract_of(schema);
    struct found found;
    int rc = check(contract, json, &found);
    if (rc != (valid ? 0 : PACER_ECONTRACT))
        fail_msg("%.80s against %.80s: rc %d", json, schema, rc);
    pacer_contract_destroy(contract);
}

static void test_numbers(void **state) {
    (void)state;
    verdict("{\"multipleOf\":0.01}", "19.99", true);
    verdict("{\"multipleOf\":0.01}", "19.995", false);
    verdict("{\"multipleOf\":0.0001}", "0.0075", true);
    verdict("{\"multipleOf\":0.123456789}", "1e308", false);
    verdict("{\"multipleOf\":0.5}", "1e308", true);
    verdict("{\"multipleOf\":3}", "-9", true);
    verdict("{\"multipleOf\":1e300}", "3", false);
    verdict("{\"multipleOf\":1e-300}", "3", true);
    verdict("{\"multipleOf\":7}", "18446744073709551615", false);
    verdict("{\"multipleOf\":5}", "18446744073709551615", true);
    verdict("{\"multipleOf\":0.1}", "0", true);
    verdict("{\"maximum\":9007199254740992}", "9007199254740993", false);
    verdict("{\"maximum\":9007199254740992.0}", "9007199254740993", false);
    verdict("{\"minimum\":-9223372036854775808}", "-9223372036854775808", true);
    verdict("{\"minimum\":-0.5}", "-1", false);
    verdict("{\"exclusiveMaximum\":18446744073709551615}", "1e300", false);
    verdict("{\"exclusiveMinimum\":-1e300}", "18446744073709551615", true);
    verdict("{\"const\":18446744073709551615}", "18446744073709551616", false);
    verdict("{\"type\":\"integer\"}", "1e300", true);
    verdict("{\"type\":\"integer\"}", "123456789012345678901234567890", true);
    verdict("{\"enum\":[1,2,3,4,5,6,7,8,9,[{\"a\":1.0}]]}", "[{\"a\":1}]", true);
    verdict("{\"enum\":[1,2,3,4,5,6,7,8,-9.0]}", "-9", true);
}

static void test_unique_items(void **state) {
    (void)state;
    verdict("{\"uniqueItems\":true}", "[1,2,3,4,5,6,7,8,9,10,11,10.0]", false);
    verdict("{\"uniqueItems\":true}", "[{\"a\":1,\"b\":2},1,2,3,4,5,6,7,8,9,{\"b\":2.0,\"a\":1}]",
            false);
    verdict("{\"uniqueItems\":true}", "[[1,2],[2,1],0,false,null,\"\",{},[],1,true,\"1\"]", true);
}

// --- large and hostile input --------------------------------------------------------------------

static double ms_since(const struct timespec *from) {
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from->tv_sec) * 1e3 + (double)(to.tv_nsec - from->tv_nsec) / 1e6;
}

static char *numbers(size_t n) {
    char *text = malloc(n * 12 + 16);
    assert_non_null(text);
    size_t at = 0;
    text[at++] = '[';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 12, i ? ",%zu" : "%zu", i);
    snprintf(text + at, 2, "]");
    return text;
}

static void test_many_unique_items(void **state) {
    (void)state;
    char *text = numbers(200000);
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    verdict("{\"uniqueItems\":true}", text, true);
    print_message("200000 unique items: %.1f ms\n", ms_since(&from));
    free(text);
}

static void gives_up(const char *schema, const char *json) {
    struct pacer_contract *contract = contract_of(schema);
    struct pacer_error err;
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(pacer_contract_check(contract, json, strlen(json), NULL, NULL, &err),
                     PACER_ELIMIT);
    print_message("%s after %.1f ms\n", err.message, ms_since(&from));
    pacer_contract_destroy(contract);
}

static void test_hostile_patterns(void **state) {
    (void)state;
    gives_up("{\"pattern\":\"(a+)+$\"}",
             "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"");
    gives_up("{\"patternProperties\":{\"^(a|a)*$\":true}}",
             "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\":1}");
}

// Each level asks twice for the next: 2^40 steps.
static void test_exponential_schema(void **state) {
    (void)state;
    struct pcr_buf schema;
    pcr_buf_init(&schema, 1 << 20);
    pcr_buf_text(&schema, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 40; i++)
        pcr_buf_printf(
            &schema, "\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},",
            i, i + 1, i + 1);
    pcr_buf_text(&schema, "\"d40\":true}}");
    gives_up(schema.data, "1");
    pcr_buf_fini(&schema);
}

// A reference that is endless only by way of a dynamic one is caught while checking.
static void test_endless_dynamic_reference(void **state) {
    (void)state;
    gives_up("{\"$dynamicAnchor\":\"a\",\"$dynamicRef\":\"#a\"}", "1");
}

static void test_long_chain_of_references(void **state) {
    (void)state;
    struct pcr_buf schema;
    pcr_buf_init(&schema, 16 << 20);
    pcr_buf_text(&schema, "{\"properties\":{\"a\":{\"$ref\":\"#/$defs/d0\"}},\"$defs\":{");
    for (int i = 0; i < 5000; i++)
        pcr_buf_printf(&schema, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
    pcr_buf_text(&schema, "\"d5000\":true}}");
    struct pacer_contract *contract = contract_of(schema.data);
    struct found found;
    assert_int_equal(check(contract, "{}", &found), 0);
    assert_int_equal(check(contract, "{\"a\":1}", &found), PACER_ELIMIT);
    pacer_contract_destroy(contract);
    pcr_buf_fini(&schema);
}

static void test_deep_recursion(void **state) {
    (void)state;
    char json[512] = "";
    for (int i = 0; i < 99; i++)
        strcat(json, "[");
    for (int i = 0; i < 99; i++)
        strcat(json, "]");
    verdict("{\"allOf\":[{\"$ref\":\"#/$defs/"
            "l\"}],\"$defs\":{\"l\":{\"anyOf\":[{\"type\":\"array\",\"items\":"
            "{\"$ref\":\"#\"}}]}}}",
            json, true);
}

static void test_many_violations(void **state) {
    (void)state;
    char *text = numbers(5000);
    struct pacer_contract *contract = contract_of("{\"items\":{\"type\":\"string\"}}");
    struct found found;
    assert_int_equal(check(contract, text, &found), PACER_ECONTRACT);
    assert_int_equal(found.n, PCR_SCHEMA_VIOLATIONS_MAX);
    pacer_contract_destroy(contract);
    free(text);
}

// --- files --------------------------------------------------------------------------------------

static void put_file(const char *folder, const char *name, const char *text) {
    char path[1024];
    struct pacer_error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (pcr_file_write(path, pcr_str(text), &err) < 0)
        fail_msg("%s", err.message);
}

static int load_in(const char *folder, const char *name, const char *schema,
                   struct pacer_error *err, struct pacer_contract **contract) {
    char path[1024];
    struct pacer_contract_options options = PACER_CONTRACT_OPTIONS_INIT;
    options.base_dir = folder;
    put_file(folder, name, schema);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return pacer_contract_load(path, &options, contract, err);
}

static void leads_nowhere(const char *folder, const char *schema) {
    struct pacer_error err = {0};
    struct pacer_contract *contract;
    int rc = load_in(folder, "main.json", schema, &err, &contract);
    if (rc != PACER_ENOTFOUND)
        fail_msg("%s: rc %d %s", schema, rc, err.message);
    assert_null(contract);
}

static void holds_in(const char *folder, const char *schema, const char *good, const char *bad) {
    struct pacer_error err = {0};
    struct pacer_contract *contract;
    struct found found;
    if (load_in(folder, "main.json", schema, &err, &contract) < 0)
        fail_msg("%s: %s", schema, err.message);
    assert_int_equal(check(contract, good, &found), 0);
    assert_int_equal(check(contract, bad, &found), PACER_ECONTRACT);
    pacer_contract_destroy(contract);
}

static void test_files(void **state) {
    (void)state;
    char outer[] = "/tmp/test_schema_XXXXXX";
    char folder[600];
    char path[1024];
    assert_non_null(mkdtemp(outer));
    snprintf(folder, sizeof folder, "%s/in side", outer);
    assert_int_equal(mkdir(folder, 0700), 0);
    put_file(outer, "secret.json", "{\"type\":\"integer\"}");
    put_file(folder, "int.json", "{\"type\":\"integer\",\"$defs\":{\"s\":{\"type\":\"string\"}}}");
    put_file(folder, "broken.json", "{");
    snprintf(path, sizeof path, "%s/link.json", folder);
    assert_int_equal(symlink("../secret.json", path), 0);
    snprintf(path, sizeof path, "%s/pipe.json", folder);
    assert_int_equal(mkfifo(path, 0600), 0);

    holds_in(folder, "{\"$ref\":\"int.json\"}", "1", "\"x\"");
    holds_in(folder, "{\"$ref\":\"./int.json#/$defs/s\"}", "\"x\"", "1");
    holds_in(folder, "{\"$id\":\"https://example.com/a\",\"$ref\":\"int.json\"}", "1", "\"x\"");
    holds_in(folder, "{\"items\":{\"$ref\":\"main.json\"},\"type\":\"array\"}", "[[]]", "[1]");
    leads_nowhere(folder, "{\"$ref\":\"none.json\"}");
    leads_nowhere(folder, "{\"$ref\":\"../secret.json\"}");
    leads_nowhere(folder, "{\"$ref\":\"%2e%2e/secret.json\"}");
    leads_nowhere(folder, "{\"$id\":\"https://example.com/a\",\"$ref\":\"../secret.json\"}");
    leads_nowhere(folder, "{\"$ref\":\"link.json\"}");
    leads_nowhere(folder, "{\"$ref\":\"pipe.json\"}");
    leads_nowhere(folder, "{\"$ref\":\"file:///etc/hostname\"}");
    leads_nowhere(folder, "{\"$ref\":\"int.json%00\"}");
    struct pacer_error err;
    struct pacer_contract *contract;
    assert_int_equal(load_in(folder, "main.json", "{\"$ref\":\"broken.json\"}", &err, &contract),
                     PACER_ESYNTAX);
    assert_non_null(strstr(err.message, "broken.json"));
    assert_int_equal(pacer_contract_load("/nonexistent/x.json", NULL, &contract, &err),
                     PACER_ENOTFOUND);
    static const char *const made[] = {"int.json", "broken.json", "link.json", "pipe.json",
                                       "main.json"};
    for (size_t i = 0; i < PCR_COUNT_OF(made); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, made[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/secret.json", outer);
    unlink(path);
    rmdir(folder);
    rmdir(outer);
}

// --- URIs, patterns, threads --------------------------------------------------------------------

// RFC 3986, section 5.4
static void test_resolution(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"g:h", "g:h"},
        {"g", "http://a/b/c/g"},
        {"./g", "http://a/b/c/g"},
        {"g/", "http://a/b/c/g/"},
        {"/g", "http://a/g"},
        {"//g", "http://g"},
        {"?y", "http://a/b/c/d;p?y"},
        {"g?y", "http://a/b/c/g?y"},
        {"#s", "http://a/b/c/d;p?q"},
        {";x", "http://a/b/c/;x"},
        {"", "http://a/b/c/d;p?q"},
        {".", "http://a/b/c/"},
        {"./", "http://a/b/c/"},
        {"..", "http://a/b/"},
        {"../", "http://a/b/"},
        {"../g", "http://a/b/g"},
        {"../..", "http://a/"},
        {"../../g", "http://a/g"},
        {"../../../g", "http://a/g"},
        {"/./g", "http://a/g"},
        {"/../g", "http://a/g"},
        {"g.", "http://a/b/c/g."},
        {"..g", "http://a/b/c/..g"},
        {"./../g", "http://a/b/g"},
        {"./g/.", "http://a/b/c/g/"},
        {"g/./h", "http://a/b/c/g/h"},
        {"g/../h", "http://a/b/c/h"},
        {"urn:a:b", "urn:a:b"},
    };
    struct pcr_arena arena;
    pcr_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        struct pcr_str fragment;
        const char *uri =
            pcr_uri_resolve(&arena, PCR_STR("http://a/b/c/d;p?q"), pcr_str(cases[i][0]), &fragment);
        if (!uri || strcmp(uri, cases[i][1]) != 0)
            fail_msg("%s became %s, expected %s", cases[i][0], uri, cases[i][1]);
        assert_int_equal(fragment.ptr != NULL, strchr(cases[i][0], '#') != NULL);
    }
    pcr_arena_fini(&arena);
}

static int match(const char *pattern, const char *text) {
    char why[160];
    struct pcr_regex_scratch *scratch = NULL;
    struct pcr_regex *regex = pcr_regex_create(pcr_str(pattern), why, sizeof why);
    if (!regex)
        return -100;
    int rc = pcr_regex_match(regex, pcr_str(text), &scratch);
    pcr_regex_scratch_destroy(scratch);
    pcr_regex_destroy(regex);
    return rc;
}

static void test_patterns(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        int result;
    } cases[] = {
        {"^a$", "a", 1},
        {"^a$", "a\n", 0},
        {"^\\d$", "٣", 0},
        {"^\\s$", "\u00a0", 1},
        {"^\\S$", "\ufeff", 0},
        {"^[\\s]$", "\u2029", 1},
        {"^[^\\S]$", "\u2029", 1},
        {"^\\w$", "é", 0},
        {"^\\cA$", "\x01", 1},
        {"^\\u0061$", "a", 1},
        {"^\\ud83d\\ude00$", "😀", 1},
        {"^\\u{1f600}$", "😀", 1},
        {"^.$", "\u2028", 0},
        {"^.$", "😀", 1},
        {"^[^]$", "\n", 1},
        {"[]", "a", 0},
        {"^{a}$", "{a}", 1},
        {"^a{,3}$", "a{,3}", 1},
        {"^a{2}$", "aa", 1},
        {"^[[]$", "[", 1},
        {"^[[:alpha:]]$", "a", 0},
        {"^[[:alpha:]]$", ":]", 1},
        {"^\\p{Letter}$", "é", 1},
        {"^\\p{Script=Greek}$", "α", 1},
        {"^\\p{L}$", "1", 0},
        {"^(?<n>a)\\k<n>$", "aa", 1},
        {"^(a)\\1$", "aa", 1},
        {"^\\x41\\0?$", "A", 1},
        {"\\/", "/", 1},
        {"^[\\b]$", "\b", 1},
        {"\\bfoo\\b", "a foo", 1},
        {"^(?=a)a$", "a", 1},
        {"(?<!a)b", "ab", 0},
        {"a|", "x", 1},
        {"", "", 1},
        {"a++", "", -100},
        {"a**", "", -100},
        {"(*UTF8)a", "", -100},
        {"(?i)a", "", -100},
        {"(?>a)", "", -100},
        {"(?P<n>a)", "", -100},
        {"\\Qa\\E", "", -100},
        {"\\Z", "", -100},
        {"\\a", "", -100},
        {"\\", "", -100},
        {"[a", "", -100},
        {"(a", "", -100},
        {"a)", "", -100},
        {"*a", "", -100},
        {"\\u12", "", -100},
        {"\\ud800", "", -100},
        {"\\p{}", "", -100},
        {"\\p{Nope}", "", -100},
        {"[z-a]", "", -100},
        {"(?#c)", "", -100},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        int result = match(cases[i].pattern, cases[i].text);
        if (result != cases[i].result)
            fail_msg("%s on \"%s\": %d, expected %d", cases[i].pattern, cases[i].text, result,
                     cases[i].result);
    }
}

static void *check_often(void *arg) {
    const struct pacer_contract *contract = arg;
    for (int i = 0; i < 2000; i++) {
        bool good = i % 3;
        const char *json = good ? "{\"a\":\"abc\"}" : "{\"a\":\"ABC\"}";
        int rc = pacer_contract_check(contract, json, strlen(json), NULL, NULL, NULL);
        if (rc != (good ? 0 : PACER_ECONTRACT))
            return arg;
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    struct pacer_contract *contract =
        contract_of("{\"properties\":{\"a\":{\"pattern\":\"^[a-z]+$\"}}}");
    pthread_t threads[12];
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_often, contract), 0);
    for (size_t i = 0; i < PCR_COUNT_OF(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    pacer_contract_destroy(contract);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite_required),
        cmocka_unit_test(test_suite_formats),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_document_order),
        cmocka_unit_test(test_callback_stops),
        cmocka_unit_test(test_about),
        cmocka_unit_test(test_bad_schemas),
        cmocka_unit_test(test_agrees_with_metaschema),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_unique_items),
        cmocka_unit_test(test_many_unique_items),
        cmocka_unit_test(test_hostile_patterns),
        cmocka_unit_test(test_exponential_schema),
        cmocka_unit_test(test_endless_dynamic_reference),
        cmocka_unit_test(test_long_chain_of_references),
        cmocka_unit_test(test_deep_recursion),
        cmocka_unit_test(test_many_violations),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_resolution),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, read_remotes, free_remotes);
}
