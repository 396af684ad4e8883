/* Status names both ways, and error texts that are never too long. */
#include "proto/status.h"

#include "tests/lib/check.h"

FL_TEST(names_codes_both_ways)
{
    static const struct { int code; const char *name; } all[] = {
        { 0, "OK" }, { 1, "END" }, { -1, "E_INPUT" }, { -2, "E_LABEL" }, { -3, "E_SHAPE" }, { -4, "E_NUM" }, { -5, "E_CONFIG" },
        { -6, "E_NOMEM" }, { -7, "E_IO" }, { -8, "E_PROTO" }, { -9, "E_STALE" }, { -10, "E_PEER" }, { -11, "E_DEVICE" }, { -12, "E_BUG" }, { -13, "E_POISON" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK_STR(fl_status_name(all[i].code), all[i].name);
        CHECK_INT(fl_status_parse(all[i].name), all[i].code);
    }
    CHECK_STR(fl_status_name(2), "E_?");
    CHECK_STR(fl_status_name(-14), "E_?");
    CHECK_INT(fl_status_parse("E_?"), FL_E_BUG);
    CHECK_INT(fl_status_parse(""), FL_E_BUG);
}

FL_TEST(sets_and_returns)
{
    struct fl_err err = { 0 };

    CHECK_INT(fl_err_set(&err, FL_E_SHAPE, "%s: %u bands, want %u", "t1", 3u, 4u), FL_E_SHAPE);
    CHECK_INT(err.code, FL_E_SHAPE);
    CHECK_STR(err.text, "t1: 3 bands, want 4");
    CHECK_INT(fl_err_set(NULL, FL_E_IO, "nobody listens"), FL_E_IO);
}

FL_TEST(puts_context_before)
{
    struct fl_err err = { 0 };

    fl_err_set(&err, FL_E_NUM, "NaN");
    CHECK_INT(fl_err_context(&err, "row %d", 5), FL_E_NUM);
    CHECK_INT(fl_err_context(&err, "%s", "a.csv"), FL_E_NUM);
    CHECK_STR(err.text, "a.csv: row 5: NaN");
}

FL_TEST(cuts_what_is_too_long)
{
    struct fl_err err = { 0 };
    char text[2000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fl_err_set(&err, FL_E_IO, "%s", text);
    CHECK_INT(strlen(err.text), sizeof err.text - 1);
    fl_err_context(&err, "file");
    CHECK_INT(strlen(err.text), sizeof err.text - 1);
    CHECK(strncmp(err.text, "file: xxx", 9) == 0);
    fl_err_context(&err, "%s", text);
    CHECK_INT(strlen(err.text), sizeof err.text - 1);
    CHECK_INT(err.code, FL_E_IO);
}

/* Whatever a file is called, the text can go into JSON. */
FL_TEST(texts_are_utf8)
{
    static const struct { const char *in, *out; } all[] = {
        { "\xc3\xbc.jpg \xe2\x82\xac \xf0\x9f\x9b\xb0", "\xc3\xbc.jpg \xe2\x82\xac \xf0\x9f\x9b\xb0" },
        { "\xff\xfe.jpg", "??.jpg" }, { "a\xc3", "a?" }, { "a\xe2\x82z", "a??z" }, { "\xc0\xaf", "??" }, { "\xed\xa0\x80", "???" }, { "\xf4\x90\x80\x80", "????" },
        { "\xf0\x80\x80\x80", "????" }, { "\xe0\x80\x80", "???" }, { "tab\tand\nline", "tab\tand\nline" },
    };
    struct fl_err err = { 0 };
    char text[2000];

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        fl_err_set(&err, FL_E_IO, "%s", all[i].in);
        CHECK_STR(err.text, all[i].out);
    }
    fl_err_set(&err, FL_E_IO, "x");
    fl_err_context(&err, "\xff");
    CHECK_STR(err.text, "?: x");
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xbc", 3);
    fl_err_set(&err, FL_E_IO, "%s", text);             /* 511 bytes: the last is half a character */
    CHECK_STR(err.text + sizeof err.text - 4, "\xc3\xbc?");
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(names_codes_both_ways), CASE(sets_and_returns), CASE(puts_context_before), CASE(cuts_what_is_too_long), CASE(texts_are_utf8), { 0 }
    };
    return fl_run(cases, argc, argv);
}
