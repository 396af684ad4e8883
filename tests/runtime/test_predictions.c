/* Files of predictions: what is written is what is read, in every form; what is wrong is named. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/npy.h"
#include "runtime/predictions_io.h"
#include "runtime/text.h"
#include "tests/lib/check.h"

#define N 300

static const char *in_tmp(const char *dir, const char *name)
{
    static char path[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static int put(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    return f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0;
}

/* Predictions of N tiles in falling order of their numbers; the values are odd floats, 0 and 1 among them. */
static struct fl_predictions made(uint32_t L, const char *const *labels)
{
    struct fl_predictions p = { .n = N, .L = L, .meta = { .fold = 3, .n_views = 8, .nsnapshots = 2, .seed = 0xfedcba9876543210u } };
    p.ids = calloc(N, sizeof *p.ids);
    p.p = calloc((size_t)N * L, sizeof *p.p);
    for (uint32_t l = 0; l < L; l++)
        p.labels[l] = strdup(labels[l]);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(p.ids[i], 64, "train_%u", N - 1 - i);
        for (uint32_t l = 0; l < L; l++)
            p.p[i * L + l] = (float)((i * 7919u + l * 104729u) % 65537u) / 65536.0f;
    }
    p.p[0] = 1e-30f;
    p.p[1] = 0.0f;
    p.p[2] = 1.0f;
    strcpy(p.meta.model, "densenet121");
    strcpy(p.meta.member, "albu");
    strcpy(p.meta.split, "val");
    strcpy(p.meta.tta, "d4");
    strcpy(p.meta.merge, "gmean");
    strcpy(p.meta.created_by, "flowrun test");
    memset(p.meta.snapshots[0], 'a', 64);
    memset(p.meta.snapshots[1], '7', 64);
    return p;
}

static int same_rows(const struct fl_predictions *a, const struct fl_predictions *b)
{
    if (a->n != b->n || a->L != b->L)
        return 0;
    for (uint32_t l = 0; l < a->L; l++)
        if (strcmp(a->labels[l], b->labels[l]) != 0)
            return 0;
    for (uint64_t i = 0; i < a->n; i++)
        if (strcmp(a->ids[i], b->ids[i]) != 0)
            return 0;
    return memcmp(a->p, b->p, a->n * a->L * sizeof *a->p) == 0;
}

FL_TEST(what_is_written_is_read)
{
    static const char *const names[] = { "a.h5", "a.hdf5", "a.npy", "a.csv" };
    static const char *const labels[] = { "z", "with space", "quote\"d" };
    const char *dir = fl_tmpdir();
    struct fl_err err = { 0 };
    for (size_t i = 0; i < 8; i++) {
        bool own = i >= 4;
        struct fl_predictions p = made(own ? 3 : 17, own ? labels : fl_default_labels), q;
        const char *path = in_tmp(dir, names[i % 4]);
        CHECK_OK(fl_predictions_write(path, &p, &err), err);
        CHECK_OK(fl_predictions_read(path, &(struct fl_pred_want){ 0 }, &q, &err), err);
        CHECK(same_rows(&p, &q));      /* p has been sorted */
        CHECK_STR(q.ids[0], "train_0");
        CHECK_STR(q.ids[3], "train_100");
        if (i % 4 < 2)
            CHECK(memcmp(&p.meta, &q.meta, sizeof p.meta) == 0);
        else
            CHECK_INT(q.meta.fold, -1);
        fl_predictions_free(&p);
        fl_predictions_free(&q);
    }
}

FL_TEST(the_same_predictions_make_the_same_bytes)
{
    static const char *const names[] = { "a.h5", "b.h5" };
    const char *dir = fl_tmpdir();
    struct fl_err err = { 0 };
    char *text[2];
    size_t len[2];
    for (int i = 0; i < 2; i++) {
        struct fl_predictions p = made(17, fl_default_labels);
        CHECK_OK(fl_predictions_write(in_tmp(dir, names[i]), &p, &err), err);
        CHECK_OK(fl_read_file(in_tmp(dir, names[i]), 1u << 20, &text[i], &len[i], &err), err);
        fl_predictions_free(&p);
        usleep(i == 0 ? 1100000 : 0);      /* HDF5 would keep times in seconds */
    }
    CHECK_INT(len[0], len[1]);
    CHECK(memcmp(text[0], text[1], len[0]) == 0);
    free(text[0]);
    free(text[1]);
}

FL_TEST(columns_are_found_by_name)
{
    const char *dir = fl_tmpdir();
    struct fl_err err = { 0 };
    for (int form = 0; form < 3; form++) {
        static const char *const names[] = { "a.h5", "a.npy", "a.csv" };
        const char *turned[17], *path = in_tmp(dir, names[form]);
        for (int l = 0; l < 17; l++)
            turned[l] = fl_default_labels[(l * 5 + 3) % 17];
        struct fl_predictions p = made(17, turned), q, r;
        CHECK_OK(fl_predictions_write(path, &p, &err), err);
        CHECK_OK(fl_predictions_read(path, &(struct fl_pred_want){ 0 }, &q, &err), err);
        CHECK_OK(fl_predictions_read(path, &(struct fl_pred_want){ .L = 17, .labels = turned }, &r, &err), err);
        CHECK(same_rows(&p, &r));
        for (uint32_t i = 0; i < N; i++)
            for (uint32_t l = 0; l < 17; l++)
                CHECK(q.p[i * 17 + (l * 5 + 3) % 17] == p.p[i * 17 + l]);
        CHECK_STR(q.labels[4], "blow_down");
        CHECK_INT(fl_predictions_read(path, &(struct fl_pred_want){ .L = 16, .labels = turned }, &q, &err), FL_E_LABEL);
        turned[5] = "rain";
        fl_predictions_free(&q);
        CHECK_INT(fl_predictions_read(path, &(struct fl_pred_want){ .L = 17, .labels = turned }, &q, &err), FL_E_LABEL);
        CHECK_HAS(err.text, "no column for the label rain");
        CHECK_HAS(err.text, path);
        fl_predictions_free(&p);
        fl_predictions_free(&r);
    }
}

struct csv_case { const char *text; int code; const char *say; };

FL_TEST(csv_that_is_wrong)
{
    static const struct csv_case all[] = {
        { "", FL_E_INPUT, "x.csv: empty" },
        { "image_name,a,b\n", FL_E_INPUT, "x.csv: no rows" },
        { "name,a,b\nt,0,1\n", FL_E_LABEL, "x.csv:1: no column image_name" },
        { "image_name,a,a\nt,0,1\n", FL_E_LABEL, "x.csv:1: the label a is there twice" },
        { "image_name,a,\nt,0,1\n", FL_E_LABEL, "x.csv:1: a label's name of 0 bytes" },
        { "image_name\nt\n", FL_E_LABEL, "no column but image_name" },
        { "image_name,a,b\nt,0\n", FL_E_INPUT, "x.csv:2: 2 fields, want 3" },
        { "image_name,a,b\nt,0,1,1\n", FL_E_INPUT, "x.csv:2: 4 fields, want 3" },
        { "image_name,a,b\nt t,0,1\n", FL_E_LABEL, "x.csv:2: the id \"t t\"" },
        { "image_name,a,b\nt,0,1\nu,0,1\nt,0,1\n", FL_E_LABEL, "x.csv: the id t is there twice" },
        { "image_name,a,b\nt,0,1.5\n", FL_E_NUM, "x.csv:2: b: \"1.5\"" },
        { "image_name,a,b\nt,0,-1e-9\n", FL_E_NUM, "\"-1e-9\"" },
        { "image_name,a,b\nt,0,nan\n", FL_E_NUM, "\"nan\"" },
        { "image_name,a,b\nt,0,0x1p-2\n", FL_E_NUM, "\"0x1p-2\"" },
        { "image_name,a,b\nt,0, 1\n", FL_E_NUM, "\" 1\"" },
        { "image_name,a,b\nt,0,\n", FL_E_NUM, "\"\"" },
        { "image_name,tags\nt,clear\n", FL_E_LABEL, "holds tags" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fl_predictions p;
        struct fl_err err = { 0 };
        CHECK_INT(fl_predictions_parse("x.csv", all[i].text, strlen(all[i].text), &(struct fl_pred_want){ 0 }, &p, &err), all[i].code);
        CHECK_HAS(err.text, all[i].say);
    }
}

FL_TEST(id_column_anywhere)
{
    static const char text[] = "a,image_name,b\n.25,t.1,1e-3\n1,t-2,0\n";
    struct fl_predictions p;
    struct fl_err err = { 0 };
    CHECK_OK(fl_predictions_parse("x.csv", text, sizeof text - 1, &(struct fl_pred_want){ 0 }, &p, &err), err);
    CHECK_INT(p.n, 2);
    CHECK_STR(p.ids[1], "t-2");
    CHECK(p.p[0] == .25f && p.p[1] == 1e-3f && p.p[2] == 1.0f && p.p[3] == 0.0f);
    fl_predictions_free(&p);
}

/* ---- .npy ---- */

static size_t npy(char *out, const char *dict, const void *data, size_t bytes)
{
    char *head;
    size_t len;
    if (fl_npy_head(dict, &head, &len, NULL) != FL_OK)
        return 0;
    memcpy(out, head, len);
    memcpy(out + len, data, bytes);
    free(head);
    return len + bytes;
}

FL_TEST(plain_arrays)
{
    static const float f4[] = { 0.0f, 0.5f, 1.0f, 0.25f, 0.125f, 0.75f };                /* 3 rows, a b */
    static const float fortran[] = { 0.0f, 1.0f, 0.125f, 0.5f, 0.25f, 0.75f };
    static const double f8[] = { 0.0, 0.5, 1.0, 0.25, 0.125, 0.75 };
    static const uint8_t f2_big[] = { 0, 0, 0x38, 0, 0x3c, 0, 0x34, 0, 0x30, 0, 0x3a, 0 };
    static const struct { const char *dict; const void *data; size_t bytes; } all[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", f4, sizeof f4 },
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}", fortran, sizeof fortran },
        { "{'shape': (3, 2), 'fortran_order': False, 'descr': \"<f8\"}", f8, sizeof f8 },
        { "{'descr': '>f2', 'fortran_order': False, 'shape': (3, 2), }", f2_big, sizeof f2_big },
    };
    char bytes[1024];
    struct fl_err err = { 0 };
    struct fl_predictions p;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t len = npy(bytes, all[i].dict, all[i].data, all[i].bytes);
        struct fl_pred_want want = { .columns = "b,a", .rows = "t_{}.x" };
        CHECK_OK(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), err);
        CHECK_INT(p.n, 3);
        CHECK_STR(p.ids[2], "t_2.x");
        CHECK_STR(p.labels[0], "b");
        CHECK(memcmp(p.p, f4, sizeof f4) == 0);
        fl_predictions_free(&p);
    }
}

FL_TEST(rows_of_a_plain_array_come_from_a_table)
{
    static const float f4[] = { 0.0f, 0.5f, 1.0f, 0.25f };
    const char *rows = in_tmp(fl_tmpdir(), "rows.csv");
    char bytes[512];
    struct fl_err err = { 0 };
    struct fl_predictions p;
    struct fl_pred_want want = { .columns = "b,a", .rows = rows };
    size_t len = npy(bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", f4, sizeof f4);
    CHECK(put(rows, "x,image_name\n1,u\n2,t\n", 21));
    CHECK_OK(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), err);
    CHECK_STR(p.ids[0], "u");
    fl_predictions_free(&p);
    CHECK(put(rows, "x,image_name\n1,u\n2,t\n3,s\n", 25));
    CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), FL_E_SHAPE);
    CHECK_HAS(err.text, "names 3");
    CHECK(put(rows, "x,image_name\n1,u\n2,t t\n", 23));
    CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), FL_E_LABEL);
    CHECK_HAS(err.text, "rows.csv:3");
    want.rows = NULL;
    CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), FL_E_CONFIG);
    want = (struct fl_pred_want){ .columns = "a,b,c", .rows = "t{}" };
    CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), FL_E_SHAPE);
    want = (struct fl_pred_want){ .columns = "a,,c", .rows = "t{}" };
    CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), FL_E_LABEL);
}

FL_TEST(arrays_that_are_wrong)
{
    static const struct { const char *dict; size_t data; int code; const char *say; } all[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", 23, FL_E_INPUT, "23 bytes of data" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", 25, FL_E_INPUT, "25 bytes of data" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0, FL_E_INPUT, "too large" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 99999999999999999999), }", 0, FL_E_INPUT, "shape" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", 24, FL_E_SHAPE, "two dimensions" },
        { "{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }", 48, FL_E_INPUT, "neither number nor text" },
        { "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2), }", 48, FL_E_INPUT, "neither number nor text" },
        { "{'descr': '<f4', 'shape': (3, 2), }", 24, FL_E_INPUT, "without" },
        { "{'descr': '<f4', 'fortran_order': 1, 'shape': (3, 2), }", 24, FL_E_INPUT, "fortran_order" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'x': 1}", 24, FL_E_INPUT, "unknown" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", 24, FL_E_INPUT, "repeated" },
        { "{'descr': [('image_name', 'S4'), ('a', '<f4')], 'fortran_order': False, 'shape': (3, 1), }", 24, FL_E_CONFIG, "names its own" },
        { "['descr']", 0, FL_E_INPUT, "no dictionary" },
    };
    static const char zeros[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char bytes[1024];
        struct fl_err err = { 0 };
        struct fl_predictions p;
        struct fl_pred_want want = { .columns = "b,a", .rows = "t{}" };
        size_t len = npy(bytes, all[i].dict, zeros, all[i].data);
        CHECK_INT(fl_predictions_parse("x.npy", bytes, len, &want, &p, &err), all[i].code);
        CHECK_HAS(err.text, all[i].say);
        CHECK_HAS(err.text, "x.npy");
    }
}

/* ---- HDF5 in its own process ---- */

FL_TEST(damaged_hdf5)
{
    const char *dir = fl_tmpdir(), *whole = in_tmp(dir, "a.h5"), *part = in_tmp(dir, "b.h5");
    struct fl_predictions p = made(17, fl_default_labels), q;
    struct fl_err err = { 0 };
    char *text;
    size_t len;
    CHECK_OK(fl_predictions_write(whole, &p, &err), err);
    CHECK_OK(fl_read_file(whole, 1u << 20, &text, &len, &err), err);
    for (size_t cut = 8; cut < len; cut += len / 7) {
        CHECK(put(part, text, cut));
        CHECK_INT(fl_predictions_read(part, &(struct fl_pred_want){ 0 }, &q, &err), FL_E_INPUT);
        CHECK_HAS(err.text, part);
    }
    for (size_t at = 8; at < len; at += 211) {      /* what lies in the values may be read or be out of range */
        char was = text[at];
        text[at] = (char)(was ^ 0x5a);
        CHECK(put(part, text, len));
        if (fl_predictions_read(part, &(struct fl_pred_want){ 0 }, &q, &err) == FL_OK)
            fl_predictions_free(&q);
        else
            CHECK_HAS(err.text, part);
        text[at] = was;
    }
    free(text);
    fl_predictions_free(&p);
}

static int with_helper(const char *dir, const char *script, unsigned seconds, struct fl_err *err)
{
    const char *path = in_tmp(dir, "helper"), *file = in_tmp(dir, "file");
    int fd, rc;
    if (!put(path, script, strlen(script)) || chmod(path, 0755) != 0 || !put(file, "\x89HDF\r\n\x1a\n....", 12) || (fd = open(file, O_RDONLY)) < 0)
        return FL_E_BUG;
    setenv("FLOWRUN_HDF5", path, 1);
    struct fl_predictions p;
    rc = seconds > 0 ? fl_hdf5_run("read", file, fd, fd, seconds, err) : fl_predictions_read(file, &(struct fl_pred_want){ 0 }, &p, err);
    unsetenv("FLOWRUN_HDF5");
    close(fd);
    return rc;
}

FL_TEST(a_process_that_crashes_hangs_or_talks_nonsense)
{
    const char *dir = fl_tmpdir();
    struct fl_err err = { 0 };
    CHECK_INT(with_helper(dir, "#!/bin/sh\nkill -SEGV $$\n", 0, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "egmentation");
    CHECK_HAS(err.text, "/file: ");
    CHECK_INT(with_helper(dir, "#!/bin/sh\nexit 3\n", 0, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "status 3");
    CHECK_INT(with_helper(dir, "#!/bin/sh\nexec sleep 60\n", 1, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "no end within 1 s");
    CHECK_INT(with_helper(dir, "#!/bin/sh\nexit 0\n", 0, &err), FL_E_INPUT);
    CHECK_INT(with_helper(dir, "#!/bin/sh\nhead -c 100000 /dev/urandom >&4\n", 0, &err), FL_E_INPUT);
    CHECK_HAS(err.text, "no answer");
    setenv("FLOWRUN_HDF5", in_tmp(dir, "absent"), 1);
    struct fl_predictions p;
    CHECK_INT(fl_predictions_read(in_tmp(dir, "file"), &(struct fl_pred_want){ 0 }, &p, &err), FL_E_IO);
    unsetenv("FLOWRUN_HDF5");
}

FL_TEST(what_may_not_be_written)
{
    const char *dir = fl_tmpdir(), *path = in_tmp(dir, "a.h5");
    struct fl_predictions p = made(17, fl_default_labels);
    struct fl_err err = { 0 };
    CHECK_INT(fl_predictions_write(in_tmp(dir, "a.txt"), &p, &err), FL_E_CONFIG);
    p.p[40] = NAN;
    CHECK_INT(fl_predictions_write(path, &p, &err), FL_E_NUM);
    p.p[40] = 0.5f;
    strcpy(p.ids[7], p.ids[8]);
    CHECK_INT(fl_predictions_write(path, &p, &err), FL_E_LABEL);
    CHECK(access(path, F_OK) != 0);
    fl_predictions_free(&p);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(what_is_written_is_read), CASE(the_same_predictions_make_the_same_bytes), CASE(columns_are_found_by_name), CASE(csv_that_is_wrong),
        CASE(id_column_anywhere), CASE(plain_arrays), CASE(rows_of_a_plain_array_come_from_a_table), CASE(arrays_that_are_wrong),
        CASE(damaged_hdf5), CASE(a_process_that_crashes_hangs_or_talks_nonsense), CASE(what_may_not_be_written), { 0 }
    };
    return fl_run(cases, argc, argv);
}
