/* The YAML reader: values and marks, and each thing it refuses with the place. */
#include "launch/yaml.h"

#include "tests/lib/check.h"

static struct fl_node *root;
static char *said;

/* Reads text; root and said are what came of it until the next call. */
static void parse(const char *text, size_t len)
{
    struct fl_complaints c = { .file = "f" };
    fl_node_free(root);
    free(said);
    fl_yaml_parse(text, len, &c, &root);
    said = fl_complaints_text(&c);
    fl_complaints_done(&c);
}

static void done(void)
{
    parse("x", 1);
    fl_node_free(root);
    free(said);
    root = NULL;
    said = NULL;
}

FL_TEST(scalars_follow_the_core_schema)
{
    static const struct { const char *text; enum fl_node_kind kind; double value; } cases[] = {
        { "a: 12", FL_NODE_INT, 12 },        { "a: -7", FL_NODE_INT, -7 },       { "a: +3", FL_NODE_INT, 3 },
        { "a: 0x1f", FL_NODE_INT, 31 },      { "a: 0o17", FL_NODE_INT, 15 },     { "a: 010", FL_NODE_INT, 10 },
        { "a: 1.5", FL_NODE_FLOAT, 1.5 },    { "a: .5", FL_NODE_FLOAT, 0.5 },    { "a: 2e3", FL_NODE_FLOAT, 2000 },
        { "a: -.inf", FL_NODE_FLOAT, -INFINITY },
        { "a: true", FL_NODE_BOOL, 1 },      { "a: False", FL_NODE_BOOL, 0 },
        { "a: yes", FL_NODE_STR, 0 },        { "a: \"12\"", FL_NODE_STR, 0 },    { "a: 1.2.3", FL_NODE_STR, 0 },
        { "a: nan", FL_NODE_STR, 0 },        { "a: 2GB", FL_NODE_STR, 0 },       { "a: 0x", FL_NODE_STR, 0 },
        { "a: 9223372036854775807", FL_NODE_INT, 9223372036854775807.0 },        { "a: 9223372036854775808", FL_NODE_FLOAT, 9223372036854775808.0 },
        { "a: ~", FL_NODE_NULL, 0 },         { "a:", FL_NODE_NULL, 0 },          { "a: ''", FL_NODE_STR, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parse(cases[i].text, strlen(cases[i].text));
        const struct fl_node *n = root != NULL ? fl_node_get(root, "a", NULL) : NULL;
        if (n == NULL || n->kind != cases[i].kind) {
            fl_fail_at(__FILE__, __LINE__, "%s: kind %d, want %d", cases[i].text, n ? (int)n->kind : -1, (int)cases[i].kind);
            continue;
        }
        double v = n->kind == FL_NODE_BOOL ? n->b : n->f;
        if (v != cases[i].value)
            fl_fail_at(__FILE__, __LINE__, "%s: %g, want %g", cases[i].text, v, cases[i].value);
    }
    done();
}

FL_TEST(every_value_knows_its_place)
{
    static const char text[] = "top:\n  - one\n  - {k: v,  list: [1, 2]}\nlast: |\n  block\n";
    parse(text, strlen(text));
    CHECK(root != NULL);
    struct fl_mark key;
    const struct fl_node *top = fl_node_get(root, "top", &key), *map = top->items[1], *list = fl_node_get(map, "list", NULL);
    CHECK_INT(key.line, 1);
    CHECK_INT(key.column, 1);
    CHECK_INT(top->items[0]->mark.line, 2);
    CHECK_INT(top->items[0]->mark.column, 5);
    CHECK_INT(fl_node_get(map, "k", &key)->mark.column, 9);
    CHECK_INT(key.column, 6);
    CHECK_INT(list->items[1]->mark.line, 3);
    CHECK_INT(list->items[1]->mark.column, 23);
    CHECK_STR(fl_node_get(root, "last", NULL)->text, "block\n");
    done();
}

FL_TEST(reads_json_and_writes_it_back)
{
    static const char text[] = "{\"a\":[1,2.5,true,null,\"x\\u00e9\\\"\"],\"b\":{\"c\":\"12\"}}";
    parse(text, strlen(text));
    CHECK(root != NULL);
    json_t *j = fl_node_json(root), *want = json_loads(text, 0, NULL);
    bool same = json_equal(j, want);
    json_decref(j);
    struct fl_node *copy = fl_node_copy(root);
    j = fl_node_json(copy);
    same &= json_equal(j, want);
    fl_node_free(copy);
    json_decref(j);
    json_decref(want);
    CHECK(same);
    done();
}

FL_TEST(refuses_by_name_and_place)
{
    static const struct { const char *text, *want; } cases[] = {
        { "a: &x 1\n", "f:1:4: anchors (&name) are not taken; write the value out\n" },
        { "a: *x\n", "f:1:4: aliases (*name) are not taken; write the value out\n" },
        { "a: !!str 1\n", "f:1:4: tags (!name) are not taken\n" },
        { "a:\n  b: !x [1]\n", "f:2:6: tags (!name) are not taken\n" },
        { "a: 1\nb: 2\na: 3\n", "f:3:1: key a is given twice, first at line 1\n" },
        { "a: 1\n---\nb: 2\n", "f:2:1: a second document; one file holds one\n" },
        { "", "f:1:1: nothing in it\n" },
        { "# only a remark\n", "f:1:1: nothing in it\n" },
        { "[a]: 1\n", "f:1:1: a key is text, not a list or a map\n" },
        { "a: \"x\\0y\"\n", "f:1:4: text with a zero byte\n" },
        { "a: [1, 2\n", "f:2:1: not YAML: did not find expected ',' or ']' while parsing a flow sequence\n" },
        { "a: b: c\n", "f:1:5: not YAML: mapping values are not allowed in this context\n" },
        { "a:\n\t- x\n", "f:2:1: not YAML: found character that cannot start any token while scanning for the next token (a tab; lines are indented by spaces)\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parse(cases[i].text, strlen(cases[i].text));
        if (said == NULL || strcmp(said, cases[i].want) != 0)
            fl_fail_at(__FILE__, __LINE__, "%s gives \"%s\", want \"%s\"", cases[i].text, said ? said : "(nothing)", cases[i].want);
    }
    parse("a: \xff\xfe", 5);
    CHECK_HAS(said, "not UTF-8 text");
    done();
}

FL_TEST(a_repeated_key_does_not_stop_the_reading)
{
    static const char text[] = "a: {x: 1}\na: {x: 2}\nb: 1\nb: 2\n";
    parse(text, strlen(text));
    CHECK(root != NULL);
    CHECK_STR(said, "f:2:1: key a is given twice, first at line 1\nf:4:1: key b is given twice, first at line 3\n");
    CHECK_INT(root->n, 2);
    done();
}

/* Text of n times `what`, then `tail`. */
static char *many(const char *what, size_t n, const char *tail, size_t *len)
{
    size_t one = strlen(what);
    char *text = malloc(n * one + strlen(tail) + 1);
    if (text == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * one, what, one);
    strcpy(text + n * one, tail);
    *len = n * one + strlen(tail);
    return text;
}

static void check_limit(const char *what, size_t n, const char *tail, const char *want)
{
    size_t len;
    char *text = many(what, n, tail, &len);
    parse(text, len);
    free(text);
    if (want == NULL && said != NULL)
        fl_fail_at(__FILE__, __LINE__, "%zu x %s gives %s", n, what, said);
    else if (want != NULL && (said == NULL || strstr(said, want) == NULL))
        fl_fail_at(__FILE__, __LINE__, "%zu x %s gives %s, want %s", n, what, said ? said : "(nothing)", want);
}

FL_TEST(limits)
{
    check_limit("[", 32, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", NULL);
    check_limit("[", 33, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "f:1:33: lists and maps more than 32 deep");
    check_limit("[", 100000, "", "more than 32 deep");
    check_limit("{a: ", 33, "", "more than 32 deep");
    check_limit("- 1\n", 99999, "", NULL);
    check_limit("- 1\n", 100000, "", "f:100000:3: more than 100000 values");
    check_limit("# 345678\n", 2000000, "a: 1", "18000004 bytes, at most 16 MiB are read");
    static char keys[5000 * 16];
    size_t used = 0;
    for (int i = 0; i < 5000; i++)
        used += (size_t)snprintf(keys + used, sizeof keys - used, "k%d: 1\n", i);
    parse(keys, used);
    CHECK_STR(said, "f:4097:8: more than 4096 keys in one map\n");
    done();
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(scalars_follow_the_core_schema), CASE(every_value_knows_its_place), CASE(reads_json_and_writes_it_back),
        CASE(refuses_by_name_and_place), CASE(a_repeated_key_does_not_stop_the_reading), CASE(limits), { 0 }
    };
    return fl_run(cases, argc, argv);
}
