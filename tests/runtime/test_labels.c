/* Label tables: both forms, what is refused and where, and the counts of the real one. */
#include "runtime/labels.h"

#include "tests/lib/check.h"

#define NO_LABEL UINT32_MAX

static const char *const abc[] = { "a", "b", "c" };

static int parse(const char *text, int allow_empty, struct fl_truth *t, struct fl_err *err)
{
    return fl_truth_parse("t.csv", text, strlen(text), 3, abc, 3, 0, allow_empty, t, err);      /* a, b exclusive; a allows no other */
}

FL_TEST(tags)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(parse("image_name,tags\r\nx_1,b c\r\nx_0,c a\r\n\"q.2\",\"b\"\r\n", 0, &t, &err), err);
    static const uint8_t y[] = { 0, 1, 1, 1, 0, 1, 0, 1, 0 };
    CHECK_INT(t.n, 3);
    CHECK(memcmp(t.y, y, sizeof y) == 0);
    CHECK_STR(t.ids[2], "q.2");
    CHECK_INT(fl_truth_find(&t, "x_0"), 1);
    CHECK_INT(fl_truth_find(&t, "x_2"), -1);
    CHECK_INT(fl_truth_find(&t, ""), -1);
    CHECK_INT(t.odd_rest_off, 1);
    CHECK_INT(t.odd_exclusive, 0);
    CHECK_STR(t.first_odd, "line 3: x_0: a label beside the one that allows no other");
    fl_truth_free(&t);
    fl_truth_free(&t);
    fl_truth_free(NULL);
}

FL_TEST(one_hot_in_any_order)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(parse("c,image_name,a,b\n1,x,0,1\n0,y,1,0\n", 0, &t, &err), err);
    static const uint8_t y[] = { 0, 1, 1, 1, 0, 0 };
    CHECK_INT(t.n, 2);
    CHECK(memcmp(t.y, y, sizeof y) == 0);
    fl_truth_free(&t);
}

FL_TEST(other_columns_beside_tags)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(parse("fold,tags,image_name\n3,b,x\n", 0, &t, &err), err);
    CHECK_STR(t.ids[0], "x");
    CHECK_INT(t.y[1], 1);
    fl_truth_free(&t);
}

FL_TEST(odd_rows_are_counted)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(parse("image_name,tags\nx,b\ny,c b c\nz,c\nw,a b\n", 0, &t, &err), err);
    CHECK_INT(t.repeated, 1);
    CHECK_INT(t.y[3] + t.y[4] + t.y[5], 2);
    CHECK_INT(t.odd_exclusive, 2);
    CHECK_INT(t.odd_rest_off, 1);
    CHECK_STR(t.first_odd, "line 3: y: a tag written twice");
    fl_truth_free(&t);
}

FL_TEST(empty_tags_when_allowed)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(parse("image_name,tags\nx,\n", 1, &t, &err), err);
    CHECK_INT(t.y[0] + t.y[1] + t.y[2], 0);
    fl_truth_free(&t);
}

FL_TEST(ids_alone)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    const char *text = "image_name,whatever\nx,1\ny,zzz\n";
    CHECK_OK(fl_truth_parse("t", text, strlen(text), 0, NULL, 0, NO_LABEL, 0, &t, &err), err);
    CHECK_INT(t.n, 2);
    CHECK_INT(fl_truth_find(&t, "y"), 1);
    fl_truth_free(&t);
}

FL_TEST(refusals)
{
    static const struct { const char *text; int code; const char *want; } t[] = {
        { "", FL_E_LABEL, "t.csv:1: empty" },
        { "name,tags\n", FL_E_LABEL, "t.csv:1: no column image_name" },
        { "image_name\nx\n", FL_E_LABEL, "t.csv:1: no column tags" },
        { "image_name,a,b\nx,1,0\n", FL_E_LABEL, "t.csv:1: no column tags, and none for label c" },
        { "image_name,a,b,c,d\n", FL_E_LABEL, "t.csv:1: column d is neither" },
        { "image_name,a,b,c,a\n", FL_E_LABEL, "t.csv:1: column a comes twice" },
        { "image_name,tags,tags\nx,a,b\n", FL_E_LABEL, "t.csv:1: column tags comes twice" },
        { "image_name,tags,image_name\nx,a,y\n", FL_E_LABEL, "t.csv:1: column image_name comes twice" },
        { "image_name,a,b,c\nx,1,0,2\n", FL_E_LABEL, "t.csv:2: x: label c is \"2\"" },
        { "image_name,a,b,c\nx,1,0,\n", FL_E_LABEL, "t.csv:2: x: label c is \"\"" },
        { "image_name,a,b,c\nx,0,0,0\n", FL_E_LABEL, "t.csv:2: x: no tags" },
        { "image_name,tags\nx,b\ny\n", FL_E_LABEL, "t.csv:3: 1 columns, the header has 2" },
        { "image_name,tags\nx,b,c\n", FL_E_LABEL, "t.csv:2: 3 columns" },
        { "image_name,tags\nx,q\n", FL_E_LABEL, "t.csv:2: x: unknown tag q" },
        { "image_name,tags\nx,b  c\n", FL_E_LABEL, "t.csv:2: x: tags must be separated by single spaces" },
        { "image_name,tags\nx,b \n", FL_E_LABEL, "t.csv:2: x: tags must be separated" },
        { "image_name,tags\nx, b\n", FL_E_LABEL, "t.csv:2: x: tags must be separated" },
        { "image_name,tags\nx,\n", FL_E_LABEL, "t.csv:2: x: no tags" },
        { "image_name,tags\nx/y,b\n", FL_E_LABEL, "t.csv:2: image_name \"x/y\" is not an id" },
        { "image_name,tags\n,b\n", FL_E_LABEL, "t.csv:2: image_name \"\"" },
        { "image_name,tags\nx,b\n\ny,b\nx,c\n", FL_E_LABEL, "t.csv:5: image_name x comes twice, first in line 2" },
        { "image_name,tags\nx,\"b\n", FL_E_INPUT, "t.csv:2: a quote" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct fl_truth truth;
        struct fl_err err = { 0 };
        CHECK_INT(parse(t[i].text, 0, &truth, &err), t[i].code);
        CHECK_HAS(err.text, t[i].want);
    }
}

FL_TEST(a_near_tag_is_named)
{
    struct fl_truth t;
    struct fl_err err = { 0 };
    const char *text = "image_name,tags\nx,primry\n";
    CHECK_INT(fl_truth_parse("t", text, strlen(text), 17, fl_default_labels, 0, NO_LABEL, 0, &t, &err), FL_E_LABEL);
    CHECK_HAS(err.text, "did you mean primary?");
}

FL_TEST(id_grammar)
{
    char id[65];
    memset(id, 'x', 64);
    CHECK(fl_id_ok("train_0", 7) && fl_id_ok("A.b-9", 5) && fl_id_ok(id, 63));
    CHECK(!fl_id_ok("", 0) && !fl_id_ok(id, 64) && !fl_id_ok("a b", 3) && !fl_id_ok("a/b", 3) && !fl_id_ok("\xc3\xa4", 2) && !fl_id_ok("a\0b", 3));
}

FL_TEST(many_rows)
{
    size_t n = 50000, at;
    char *text = malloc(n * 24 + 32), id[64];
    CHECK(text != NULL);
    at = (size_t)sprintf(text, "image_name,tags\n");
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 24, "t_%u,%s\n", (unsigned)(i * 7919 % 100003), i % 2 ? "b" : "a");
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(fl_truth_parse("t", text, at, 3, abc, 3, 0, 0, &t, &err), err);
    free(text);
    CHECK_INT(t.n, n);
    for (size_t i = 0; i < n; i += 37) {
        snprintf(id, sizeof id, "t_%zu", i * 7919 % 100003);
        CHECK_INT(fl_truth_find(&t, id), i);
        CHECK_INT(t.y[3 * i], i % 2 == 0);
    }
    fl_truth_free(&t);
}

FL_TEST(the_real_table)
{
    static const uint32_t want[17] = { 12315, 339, 862, 332, 98, 28431, 2089, 100, 4477, 3660, 2697, 7261, 37513, 8071, 340, 209, 7411 };
    const char *path = fl_data("planet-labels/train_v2.csv.gz");
    if (path == NULL)
        return;
    struct fl_truth t;
    struct fl_err err = { 0 };
    CHECK_OK(fl_truth_read(path, 17, fl_default_labels, FL_DEFAULT_EXCLUSIVE, FL_DEFAULT_REST_OFF, 0, &t, &err), err);
    CHECK_INT(t.n, 40479);
    uint64_t sum = 0;
    for (uint32_t l = 0; l < 17; l++) {
        uint64_t n = 0;
        for (uint64_t i = 0; i < t.n; i++)
            n += t.y[i * 17 + l];
        CHECK_INT(n, want[l]);
        sum += n;
    }
    CHECK_INT(sum, 116205);
    CHECK_INT(t.repeated, 73);
    CHECK_INT(t.odd_exclusive, 1);
    CHECK_INT(t.odd_rest_off, 0);
    CHECK_HAS(t.first_odd, "train_1465");
    int64_t row = fl_truth_find(&t, "train_24448");
    CHECK_INT(row, 24448);
    CHECK_INT(t.y[row * 17 + 16], 1);
    fl_truth_free(&t);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(tags), CASE(one_hot_in_any_order), CASE(other_columns_beside_tags), CASE(odd_rows_are_counted), CASE(empty_tags_when_allowed),
        CASE(ids_alone), CASE(refusals), CASE(a_near_tag_is_named), CASE(id_grammar), CASE(many_rows), CASE(the_real_table), { 0 }
    };
    return fl_run(cases, argc, argv);
}
