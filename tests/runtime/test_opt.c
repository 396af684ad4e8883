/* Option tables: defaults, every type, every refusal with the option's name in it. */
#include "runtime/opt.h"

#include "tests/lib/check.h"

struct state {
    bool     on;
    int64_t  views;
    double   rate;
    uint64_t memory;
    char    *text, *path, *out;
    int      mode;
    char   **names, **files;
    json_t  *tree;
};

#define AT(f) offsetof(struct state, f)
static const struct fl_opt opts[] = {
    { "on",     FL_OPT_BOOL,   AT(on),     "true",  0, 0,    NULL, "Whether.", 0, 0 },
    { "views",  FL_OPT_INT,    AT(views),  "8",     1, 256,  NULL, "Views of a tile.", 0, 0 },
    { "rate",   FL_OPT_FLOAT,  AT(rate),   "0.2",   0, 1,    NULL, "A rate.", 0, 0 },
    { "memory", FL_OPT_SIZE,   AT(memory), "64MB",  1, 1e12, NULL, "A bound.", 0, 0 },
    { "text",   FL_OPT_STR,    AT(text),   NULL,    0, 0,    NULL, "Some text.", 0, 0 },
    { "path",   FL_OPT_PATH,   AT(path),   NULL,    0, 0,    NULL, "A file.", 0, 0 },
    { "out",    FL_OPT_OUT,    AT(out),    "o.csv", 0, 0,    NULL, "A file to write.", 0, 0 },
    { "mode",   FL_OPT_CHOICE, AT(mode),   "gmean", 0, 0,    "mean|gmean|logit_mean", "How.", 0, 0 },
    { "names",  FL_OPT_LIST,   AT(names),  "[\"a\",\"b\"]", 0, 0, NULL, "Names.", 0, 0 },
    { "files",  FL_OPT_PATHS,  AT(files),  NULL,    0, 0,    NULL, "Files.", 0, 0 },
    { "tree",   FL_OPT_JSON,   AT(tree),   NULL,    0, 0,    NULL, "Anything.", 0, 0 },
    { 0 }
};

/* Applies JSON text to a zeroed state. */
static int apply(const struct fl_opt *table, struct state *s, const char *text, struct fl_err *err)
{
    memset(s, 0, sizeof *s);
    memset(err, 0, sizeof *err);
    json_t *v = text ? json_loads(text, 0, NULL) : NULL;
    int rc = fl_opts_apply(table, s, v, err);
    json_decref(v);
    return rc;
}

FL_TEST(puts_defaults)
{
    struct state s;
    struct fl_err err;

    CHECK_OK(apply(opts, &s, NULL, &err), err);
    CHECK(s.on);
    CHECK_INT(s.views, 8);
    CHECK_NEAR(s.rate, 0.2, 0);
    CHECK_INT(s.memory, 64000000);
    CHECK(s.text == NULL && s.path == NULL && s.tree == NULL);
    CHECK_STR(s.out, "o.csv");
    CHECK_INT(s.mode, 1);
    CHECK_STR(s.names[0], "a");
    CHECK_STR(s.names[1], "b");
    CHECK(s.names[2] == NULL);
    CHECK(s.files != NULL && s.files[0] == NULL);
    fl_opts_free(opts, &s);
    CHECK(s.out == NULL && s.names == NULL);
    fl_opts_free(opts, &s);
}

FL_TEST(takes_every_type)
{
    struct state s;
    struct fl_err err;

    CHECK_OK(apply(opts, &s, "{\"on\":false,\"views\":12,\"rate\":1,\"memory\":\"1.5GiB\",\"text\":\"x y\",\"path\":\"p\","
                             "\"out\":\"q\",\"mode\":\"logit_mean\",\"names\":\"one\",\"files\":[\"f\",\"g\",\"h\"],"
                             "\"tree\":{\"a\":[1,[2]]}}", &err), err);
    CHECK(!s.on);
    CHECK_INT(s.views, 12);
    CHECK_NEAR(s.rate, 1, 0);
    CHECK_INT(s.memory, 1610612736);
    CHECK_STR(s.text, "x y");
    CHECK_STR(s.path, "p");
    CHECK_STR(s.out, "q");
    CHECK_INT(s.mode, 2);
    CHECK_STR(s.names[0], "one");
    CHECK(s.names[1] == NULL);
    CHECK_STR(s.files[2], "h");
    CHECK(s.files[3] == NULL);
    CHECK_INT(json_integer_value(json_array_get(json_array_get(json_object_get(s.tree, "a"), 1), 0)), 2);
    fl_opts_free(opts, &s);
}

FL_TEST(takes_values_written_as_text)
{
    struct state s;
    struct fl_err err;

    CHECK_OK(apply(opts, &s, "{\"on\":\"false\",\"views\":\"+256\",\"rate\":\".25\",\"memory\":4096,\"text\":17}", &err), err);
    CHECK(!s.on);
    CHECK_INT(s.views, 256);
    CHECK_NEAR(s.rate, 0.25, 0);
    CHECK_INT(s.memory, 4096);
    CHECK_STR(s.text, "17");
    fl_opts_free(opts, &s);
}

FL_TEST(refuses_by_name)
{
    static const struct { const char *json, *says; } bad[] = {
        { "{\"on\":1}",               "option on: want true or false, got 1" },
        { "{\"views\":1.5}",          "option views: want a whole number, got 1.5" },
        { "{\"views\":\"9x\"}",       "option views: want a whole number, got \"9x\"" },
        { "{\"views\":\"\"}",         "option views: want a whole number, got \"\"" },
        { "{\"views\":\"99999999999999999999\"}", "option views: want a whole number" },
        { "{\"views\":0}",            "option views: want 1 to 256, got 0" },
        { "{\"views\":257}",          "option views: want 1 to 256, got 257" },
        { "{\"rate\":\"nan\"}",       "option rate: want a number, got \"nan\"" },
        { "{\"rate\":\"-inf\"}",      "option rate: want a finite number" },
        { "{\"rate\":\"1e999\"}",     "option rate: want a finite number" },
        { "{\"rate\":-0.1}",          "option rate: want 0 to 1" },
        { "{\"rate\":[]}",            "option rate: want a number, got []" },
        { "{\"memory\":-1}",          "option memory: want a size" },
        { "{\"memory\":\"2 GB\"}",    "option memory: want a size" },
        { "{\"memory\":0}",           "option memory: want 1 to 1000000000000, got 0" },
        { "{\"text\":true}",          "option text: want text, got true" },
        { "{\"text\":null}",          "option text: want text, got null" },
        { "{\"mode\":\"mea\"}",       "option mode: want one of mean|gmean|logit_mean, got \"mea\"" },
        { "{\"mode\":\"mean|gmean\"}", "option mode: want one of" },
        { "{\"mode\":\"\"}",          "option mode: want one of" },
        { "{\"names\":[\"a\",[]]}",   "option names: want text or a list of texts, got [\"a\",[]]" },
        { "{\"files\":{}}",           "option files: want text or a list of texts, got {}" },
        { "{\"veiws\":1}",            "option veiws: unknown, did you mean views?" },
        { "{\"somethingelse\":1}",    "option somethingelse: unknown" },
    };
    struct state s;
    struct fl_err err;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(apply(opts, &s, bad[i].json, &err), FL_E_CONFIG);
        CHECK_INT(err.code, FL_E_CONFIG);
        CHECK_HAS(err.text, bad[i].says);
        CHECK(s.out == NULL && s.names == NULL && s.text == NULL);
    }
    json_t *list = json_array();
    int rc = fl_opts_apply(opts, &s, list, &err);
    json_decref(list);
    CHECK_INT(rc, FL_E_CONFIG);
}

FL_TEST(needs_no_place_for_errors)
{
    struct state s = { 0 };
    json_t *v = json_pack("{s:i}", "views", 0);

    CHECK_INT(fl_opts_apply(opts, &s, v, NULL), FL_E_CONFIG);
    json_decref(v);
    v = json_pack("{s:i}", "veiws", 0);
    CHECK_INT(fl_opts_apply(opts, &s, v, NULL), FL_E_CONFIG);
    json_decref(v);
}

FL_TEST(wants_what_is_required)
{
    static const struct fl_opt must[] = { { "path", FL_OPT_PATH, AT(path), NULL, 0, 0, NULL, "The weights.", 1, 0 }, { 0 } };
    struct state s;
    struct fl_err err;

    CHECK_INT(apply(must, &s, "{}", &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "option path: missing");
    CHECK_HAS(err.text, "The weights.");
    CHECK_OK(apply(must, &s, "{\"path\":\"w\"}", &err), err);
    fl_opts_free(must, &s);
}

FL_TEST(calls_a_bad_table_a_bug)
{
    static const struct fl_opt wrong[] = { { "mode", FL_OPT_CHOICE, AT(mode), "c", 0, 0, "a|b", "", 0, 0 }, { 0 } };
    static const struct fl_opt odd[] = { { "mode", 99, AT(mode), "c", 0, 0, NULL, "", 0, 0 }, { 0 } };
    struct state s;
    struct fl_err err;

    CHECK_INT(apply(wrong, &s, NULL, &err), FL_E_BUG);
    CHECK_INT(err.code, FL_E_BUG);
    CHECK_HAS(err.text, "default: option mode");
    CHECK_INT(apply(odd, &s, "{\"mode\":1}", &err), FL_E_BUG);
}

FL_TEST(keeps_a_tree_after_its_owner_let_go)
{
    struct state s = { 0 };
    json_t *v = json_pack("{s:[i,i]}", "tree", 3, 4);

    CHECK_INT(fl_opts_apply(opts, &s, v, NULL), FL_OK);
    json_decref(v);
    CHECK_INT(json_integer_value(json_array_get(s.tree, 1)), 4);
    fl_opts_free(opts, &s);
}

FL_TEST(reads_sizes)
{
    static const struct { const char *text; uint64_t bytes; } good[] = {
        { "0", 0 }, { "4096", 4096 }, { "7B", 7 }, { "2kB", 2000 }, { "2KB", 2000 }, { "3KiB", 3072 },
        { "2GB", UINT64_C(2000000000) }, { "512MiB", UINT64_C(536870912) }, { "1.5GB", UINT64_C(1500000000) },
        { "0.5KiB", 512 }, { "1TB", UINT64_C(1000000000000) }, { "1TiB", UINT64_C(1099511627776) },
        { "18446744073709551615", UINT64_MAX }, { "16777215.999999999TiB", UINT64_C(18446744073709550516) },
    };
    static const char *const bad[] = {
        "", "GB", "-1", "+1", " 1", "1 ", "2 GB", "2G", "2gb", "1.", ".5GB", "1.5", "1.5B", "1e3", "0x10", "1.0000000001GB",
        "18446744073709551616", "16777216TiB", "99999999999999999999999999999999999999999999", "18446744073709551615.999999999TiB",
    };
    uint64_t n;
    struct fl_err err;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_OK(fl_size_parse(good[i].text, &n, &err), err);
        if (n != good[i].bytes)
            fl_fail_at(__FILE__, __LINE__, "%s = %llu, want %llu", good[i].text, (unsigned long long)n, (unsigned long long)good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (fl_size_parse(bad[i], &n, &err) != FL_E_CONFIG)
            fl_fail_at(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(puts_defaults), CASE(takes_every_type), CASE(takes_values_written_as_text), CASE(refuses_by_name),
        CASE(needs_no_place_for_errors),
        CASE(wants_what_is_required), CASE(calls_a_bad_table_a_bug), CASE(keeps_a_tree_after_its_owner_let_go),
        CASE(reads_sizes), { 0 }
    };
    return fl_run(cases, argc, argv);
}
