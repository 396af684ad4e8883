/* CSV records: quoting, line ends, line numbers, limits, gzip. */
#include "runtime/csv.h"

#include <zlib.h>

#include "tests/lib/check.h"

/* All records as "LINE:field|field;" in buf, then the last code. */
static int flat(const char *text, size_t len, char *buf, size_t room, struct fl_err *err)
{
    struct fl_csv c;
    int rc;
    size_t n = 0;
    fl_csv_init(&c, "t.csv", text, len);
    buf[0] = '\0';
    while ((rc = fl_csv_next(&c, err)) == FL_OK) {
        n += (size_t)snprintf(buf + n, room - n, "%llu:", (unsigned long long)c.line);
        for (uint32_t i = 0; i < c.nfields; i++)
            n += (size_t)snprintf(buf + n, room - n, "%s%s", c.field[i], i + 1 < c.nfields ? "|" : ";");
    }
    fl_csv_done(&c);
    return rc;
}

FL_TEST(good_texts)
{
    static const struct { const char *text, *want; } t[] = {
        { "", "" },
        { "a,b\n1,2\n", "1:a|b;2:1|2;" },
        { "a,b\r\n1,2\r\n", "1:a|b;2:1|2;" },
        { "a,b\n1,2", "1:a|b;2:1|2;" },
        { "a\n\n\r\nb\n", "1:a;4:b;" },
        { "\xEF\xBB\xBF" "a,b\n", "1:a|b;" },
        { "\"a,b\",c\n", "1:a,b|c;" },
        { "\"a\"\"b\",\"\"\n", "1:a\"b|;" },
        { "\"two\nlines\",x\ny,z\n", "1:two\nlines|x;3:y|z;" },
        { "\"two\r\nlines\"\r\nz\r\n", "1:two\r\nlines;3:z;" },
        { ",\n,,\n", "1:|;2:||;" },
        { "a,\n", "1:a|;" },
        { " a , b \n", "1: a | b ;" },
        { "\"x\"", "1:x;" },
        { "\"\"\n", "1:;" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char buf[256];
        struct fl_err err = { 0 };
        CHECK_INT(flat(t[i].text, strlen(t[i].text), buf, sizeof buf, &err), FL_END);
        CHECK_STR(buf, t[i].want);
    }
}

FL_TEST(bad_texts)
{
    static const struct { const char *text; size_t len; const char *want; } t[] = {
        { "a\n\"b", 4, "t.csv:2: a quote that is never closed" },
        { "a\nb\"c\"\n", 7, "t.csv:2: a quote" },
        { "\"a\"b\n", 5, "t.csv:1: a quote" },
        { "\"a\" ,b\n", 7, "t.csv:1: a quote" },
        { "a\rb\n", 4, "t.csv:1: a quote or carriage return" },
        { "a\nb\0c\n", 6, "t.csv:2: a NUL byte" },
        { "\"x\n\ny\"\n\"", 8, "t.csv:4: a quote that is never closed" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char buf[256];
        struct fl_err err = { 0 };
        CHECK_INT(flat(t[i].text, t[i].len, buf, sizeof buf, &err), FL_E_INPUT);
        CHECK_HAS(err.text, t[i].want);
    }
}

FL_TEST(limits)
{
    size_t n = FL_CSV_MAX_RECORD + 10;
    char *big = malloc(n), buf[64];
    struct fl_err err = { 0 };
    CHECK(big != NULL);
    memset(big, 'x', n);
    CHECK_INT(flat(big, n, buf, sizeof buf, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "more than 1 MiB");
    big[0] = '"';
    CHECK_INT(flat(big, n, buf, sizeof buf, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "never closed");
    struct fl_csv c;
    memset(big, ',', n);
    fl_csv_init(&c, "t.csv", big, FL_CSV_MAX_FIELDS - 1);
    CHECK_INT(fl_csv_next(&c, &err), FL_OK);
    CHECK_INT(c.nfields, FL_CSV_MAX_FIELDS);
    fl_csv_done(&c);
    fl_csv_init(&c, "t.csv", big, FL_CSV_MAX_FIELDS);
    CHECK_INT(fl_csv_next(&c, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "too many fields");
    fl_csv_done(&c);
    free(big);
}

FL_TEST(columns_by_name)
{
    struct fl_csv c;
    fl_csv_init(&c, "t.csv", "a,bb,c\n", 7);
    CHECK_INT(fl_csv_next(&c, NULL), FL_OK);
    CHECK_INT(fl_csv_column(&c, "bb"), 1);
    CHECK_INT(fl_csv_column(&c, "b"), -1);
    CHECK_INT(c.width[1], 2);
    fl_csv_done(&c);
}

static int write_file(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    return f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0;
}

FL_TEST(loads_plain_and_gzip)
{
    char plain[300], packed[300], *text;
    const char *dir = fl_tmpdir();
    size_t len, n = 300000;
    snprintf(plain, sizeof plain, "%s/t.csv", dir);
    snprintf(packed, sizeof packed, "%s/t.csv.gz", dir);
    char *want = malloc(n);
    CHECK(want != NULL);
    for (size_t i = 0; i < n; i++)
        want[i] = (char)('a' + i * i % 23);
    CHECK(write_file(plain, want, n));
    gzFile gz = gzopen(packed, "wb");
    CHECK(gz != NULL && gzwrite(gz, want, (unsigned)n) == (int)n && gzclose(gz) == Z_OK);
    struct fl_err err = { 0 };
    const char *both[2] = { plain, packed };
    for (int i = 0; i < 2; i++) {
        CHECK_OK(fl_csv_load(both[i], &text, &len, &err), err);
        CHECK_INT(len, n);
        CHECK(memcmp(text, want, n) == 0 && text[n] == '\0');
        free(text);
    }
    free(want);
}

FL_TEST(damaged_gzip_is_refused)
{
    char path[300], other[300], *text;
    const char *dir = fl_tmpdir();
    unsigned char bytes[4096];
    size_t len;
    struct fl_err err = { 0 };
    snprintf(path, sizeof path, "%s/t.csv.gz", dir);
    snprintf(other, sizeof other, "%s/u.csv.gz", dir);
    gzFile gz = gzopen(path, "wb");
    CHECK(gz != NULL && gzwrite(gz, "image_name,tags\ntrain_0,haze\n", 29) == 29 && gzclose(gz) == Z_OK);
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(bytes, 1, sizeof bytes, f) : 0;
    CHECK(f != NULL && fclose(f) == 0 && n > 20);
    for (size_t cut = 0; cut < n; cut++) {
        CHECK(write_file(other, bytes, cut));
        CHECK_INT(fl_csv_load(other, &text, &len, &err), FL_E_INPUT);
        CHECK_HAS(err.text, "u.csv.gz");
    }
    bytes[n - 6] ^= 1;                  /* the checksum */
    CHECK(write_file(other, bytes, n));
    CHECK_INT(fl_csv_load(other, &text, &len, &err), FL_E_INPUT);
    CHECK(write_file(other, "image_name,tags\n", 16));
    CHECK_INT(fl_csv_load(other, &text, &len, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "not a gzip file");
    snprintf(other, sizeof other, "%s/none.csv.gz", dir);
    CHECK_INT(fl_csv_load(other, &text, &len, &err), FL_E_INPUT);
    snprintf(other, sizeof other, "%s", dir);
    CHECK_INT(fl_csv_load(other, &text, &len, &err), FL_E_INPUT);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(good_texts), CASE(bad_texts), CASE(limits), CASE(columns_by_name), CASE(loads_plain_and_gzip), CASE(damaged_gzip_is_refused), { 0 }
    };
    return fl_run(cases, argc, argv);
}
