/* source: what its options stand for, order, ids, labels, the list in the run directory, batches. */
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/host.h"
#include "runtime/labels.h"
#include "runtime/rng.h"
#include "runtime/text.h"
#include "stages/lib/inputs.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_source;

static char dir[200], opts[2000];

/* A file below the case's folder; with text NULL a folder. Returns its path (8 in turn). */
static const char *put(const char *name, const char *text)
{
    static char paths[8][512];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, 512, "%s/%s", dir, name);
    if (text == NULL) {
        mkdir(path, 0700);
        return path;
    }
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(text, 1, strlen(text), f) != strlen(text) || fclose(f) != 0)
        abort();
    return path;
}

static const char *fresh(void)
{
    snprintf(dir, sizeof dir, "%s", fl_tmpdir());
    return dir;
}

/* %D in the options is the case's folder. */
static struct fl_harness *make(const char *options, const char *run_dir, uint32_t L, const char *const *labels, struct fl_err *err)
{
    char *w = opts;
    for (const char *p = options; *p != '\0'; p++)
        if (p[0] == '%' && p[1] == 'D') {
            w += sprintf(w, "%s", dir);
            p++;
        } else {
            *w++ = *p;
        }
    *w = '\0';
    struct fl_harness_conf conf = { .options = opts, .seed = 42, .run_dir = run_dir, .nlabels = L, .labels = labels, .rest_off = FL_NO_LABEL };
    return fl_harness_new(&fl_stage_source, &conf, err);
}

/* Opens and lists all ids, separated by spaces; or the error. */
static int ids_of(const char *options, char *out, size_t room, struct fl_err *err)
{
    out[0] = '\0';
    struct fl_harness *h = make(options, NULL, 0, NULL, err);
    if (h == NULL)
        return err->code;
    int rc = fl_harness_describe(h, err);
    if (rc == FL_OK)
        rc = fl_harness_open(h, err);
    uint64_t batches = rc == FL_OK ? fl_harness_ctx(h)->host->batches : 0;
    for (uint64_t k = 0; k < batches && rc == FL_OK; k++) {
        rc = fl_harness_produce(h, k, err);
        struct fl_batch *b = fl_harness_pop(h);
        for (uint32_t i = 0; b != NULL && i < b->n; i++)
            snprintf(out + strlen(out), room - strlen(out), "%s%s%s", out[0] ? " " : "", fl_id(b, i), fl_rejected(b, i) ? "!" : "");
        fl_harness_free_batch(h, b);
    }
    fl_harness_close(h);
    return rc;
}

#define WANT_IDS(options, want) do { char got_[4096]; struct fl_err err_ = { 0 }; \
    CHECK_OK(ids_of(options, got_, sizeof got_, &err_), err_); CHECK_STR(got_, want); } while (0)
#define WANT_ERR(options, code, want) do { char got_[4096]; struct fl_err err_ = { 0 }; \
    CHECK_INT(ids_of(options, got_, sizeof got_, &err_), code); CHECK_HAS(err_.text, want); } while (0)

static void put_tiles(void)
{
    fresh();
    put("a", NULL);
    put("a/t2.jpg", "x");
    put("a/t10.JPG", "x");
    put("a/t1.jpeg", "x");
    put("a/u1.tif", "x");
    put("a/notes.txt", "x");
    put("a/.hidden.jpg", "x");
    put("a/deep", NULL);
    put("a/deep/z.tiff", "x");
}

FL_TEST(folders_patterns_and_files)
{
    put_tiles();
    WANT_IDS("{'files': '%D/a'}", "z t1 t2 t10 u1");
    WANT_IDS("{'files': '%D/a/'}", "z t1 t2 t10 u1");
    WANT_IDS("{'files': '%D/a/t*'}", "t1 t2 t10");
    WANT_IDS("{'files': '%D/a/*.jpg'}", "t2");
    WANT_IDS("{'files': '%D/*/t[12].jp*'}", "t1 t2");
    WANT_IDS("{'files': ['%D/a/u?.tif', '%D/a/t2.jpg']}", "t2 u1");
    WANT_IDS("{'files': ['%D/a/notes.txt']}", "notes");
}

FL_TEST(list_files)
{
    put_tiles();
    put("list.txt", "/nowhere/t10.jpg\r\n\n/nowhere/t9.jpg\n/x y/t_1.tif");
    WANT_IDS("{'files': '@%D/list.txt'}", "t9 t10 t_1");
    WANT_IDS("{'files': 'list:%D/list.txt'}", "t9 t10 t_1");
    WANT_ERR("{'files': '@%D/none.txt'}", FL_E_INPUT, "none.txt");
    put("tab.txt", "/nowhere/a.jpg\n/no\twhere/b.jpg\n");
    WANT_ERR("{'files': '@%D/tab.txt'}", FL_E_INPUT, "tab.txt:2:");
}

FL_TEST(an_unreadable_tile_is_listed)
{
    put_tiles();
    put("a/x.jpg", NULL);
    put("a/x.jpg/y.jpg", "x");
    char link[300];
    snprintf(link, sizeof link, "%s/a/gone.jpg", dir);
    CHECK_INT(symlink("/nowhere/at/all", link), 0);
    WANT_IDS("{'files': '%D/a'}", "z gone t1 t2 t10 u1 x");
    WANT_IDS("{'files': '%D/a/x.jpg'}", "x");
    WANT_IDS("{'files': '%D/a/gone.jpg'}", "gone");
}

FL_TEST(a_link_in_a_circle_is_an_error)
{
    fresh();
    put("a", NULL);
    put("a/t.jpg", "x");
    char link[300];
    snprintf(link, sizeof link, "%s/a/again", dir);
    CHECK_INT(symlink(".", link), 0);
    WANT_ERR("{'files': '%D/a'}", FL_E_INPUT, "deep");
}

/* Both ways of sorting against a slow one. */
FL_TEST(natural_order)
{
    static const char *const begin[] = { "/d/t_", "" };
    for (int k = 0; k < 2; k++) {
        struct fl_inputs in;
        struct fl_err err = { 0 };
        uint32_t seed = 5;
        fl_inputs_init(&in, 64);
        for (int i = 0; i < 300; i++) {
            char path[64];
            seed = seed * 1664525u + 1013904223u;
            if (k == 0)
                snprintf(path, sizeof path, "/d/t_%0*u%s.jpg", (int)(seed >> 30), seed >> 16 & 31, seed >> 8 & 1 ? "x" : "");
            else
                snprintf(path, sizeof path, "%c%u/%u.jpg", 'a' + (int)(seed >> 31), seed >> 20 & 15, seed >> 10 & 15);
            CHECK_OK(fl_inputs_path(&in, path, &err), err);
        }
        fl_inputs_sort(&in);
        for (uint64_t i = 1; i < in.n; i++)
            CHECK(fl_natural_cmp(fl_inputs_at(&in, i - 1), fl_inputs_at(&in, i)) <= 0);
        CHECK(strncmp(fl_inputs_at(&in, 299), begin[k], strlen(begin[k])) == 0);
        CHECK_INT(in.n, 300);
        fl_inputs_done(&in);
    }
}

FL_TEST(nothing_there)
{
    put_tiles();
    put("empty", NULL);
    put("empty.txt", "\n\n");
    WANT_ERR("{'files': '%D/empty'}", FL_E_INPUT, "no tiles there");
    WANT_ERR("{'files': '%D/a/*.png'}", FL_E_INPUT, "no tiles there");
    WANT_ERR("{'files': '%D/b/*.png'}", FL_E_INPUT, "/b/: No such file");
    WANT_ERR("{'files': ['%D/a', '%D/a/t3.jpg']}", FL_E_INPUT, "t3.jpg: No such file");
    WANT_ERR("{'files': '@%D/empty.txt'}", FL_E_INPUT, "no tiles there");
}

FL_TEST(options_that_do_not_fit)
{
    put_tiles();
    put("t.csv", "image_name\nt2\n");
    WANT_ERR("{}", FL_E_CONFIG, "files and csv");
    WANT_ERR("{'files': '%D/a', 'csv': '%D/t.csv'}", FL_E_CONFIG, "exclude each other");
    WANT_ERR("{'csv': '%D/t.csv'}", FL_E_CONFIG, "needs folder");
    WANT_ERR("{'files': '%D/a', 'shuffle': 'maybe'}", FL_E_CONFIG, "shuffle");
    WANT_ERR("{'files': '%D/a', 'shuffle': -1}", FL_E_CONFIG, "shuffle");
    WANT_ERR("{'files': '%D/a', 'batch': 0}", FL_E_CONFIG, "batch");
    WANT_ERR("{'files': '%D/a', 'batch': 4097}", FL_E_CONFIG, "batch");
    WANT_ERR("{'files': '%D/a', 'path_max': 16}", FL_E_CONFIG, "path_max is 16");
}

FL_TEST(ids_must_fit_and_differ)
{
    fresh();
    put("a", NULL);
    put("b", NULL);
    put("a/t.jpg", "x");
    put("b/t.tif", "x");
    WANT_ERR("{'files': ['%D/a', '%D/b']}", FL_E_LABEL, "/a/t.jpg and ");
    WANT_ERR("{'files': ['%D/a', '%D/b']}", FL_E_LABEL, "/b/t.tif");
    WANT_ERR("{'files': ['%D/a', '%D/a/t.jpg']}", FL_E_LABEL, "twice");
    put("l.txt", "\nx/u.jpg\nx/v.jpg\n\ny/w.jpg\ny/v.jpg\n");
    put("m.txt", "z/u.jpg\n");
    WANT_ERR("{'files': '@%D/l.txt'}", FL_E_LABEL, "l.txt:3) and y/v.jpg (");
    WANT_ERR("{'files': '@%D/l.txt'}", FL_E_LABEL, "l.txt:6)");
    WANT_ERR("{'files': ['@%D/m.txt', '@%D/l.txt']}", FL_E_LABEL, "m.txt:1) and x/u.jpg (");
    put("n.txt", "x/t.jpg\n");
    WANT_ERR("{'files': ['@%D/n.txt', '%D/a']}", FL_E_LABEL, "n.txt:1) and ");
    WANT_ERR("{'files': ['%D/a', '@%D/n.txt']}", FL_E_LABEL, "/a/t.jpg and x/t.jpg (");
    put("a/sp ace.jpg", "x");
    WANT_ERR("{'files': '%D/a'}", FL_E_LABEL, "sp ace");
    put("c", NULL);
    put("c/v1.2.jpg", "x");
    put("c/a123456789012345678901234567890123456789012345678901234567890bc.jpg", "x");
    WANT_IDS("{'files': '%D/c'}", "a123456789012345678901234567890123456789012345678901234567890bc v1.2");
    put("c/ab123456789012345678901234567890123456789012345678901234567890bc.jpg", "x");
    WANT_ERR("{'files': '%D/c'}", FL_E_LABEL, "1 to 63");
}

FL_TEST(tiles_of_a_table)
{
    put_tiles();
    put("t.csv", "image_name,tags\nt2,haze\nmissing,haze\nu1,haze\n");
    WANT_IDS("{'csv': '%D/t.csv', 'folder': '%D/a'}", "t2 missing! u1!");
    WANT_IDS("{'csv': '%D/t.csv', 'folder': '%D/a/', 'ext': '.tif'}", "t2! missing! u1");
    put("e.csv", "image_name,tags\n");
    WANT_ERR("{'csv': '%D/e.csv', 'folder': '%D/a'}", FL_E_INPUT, "e.csv: no tiles");
    put("d.csv", "image_name,tags\nx,haze\nx,haze\n");
    WANT_ERR("{'csv': '%D/d.csv', 'folder': '%D/a'}", FL_E_LABEL, "d.csv:3");
    struct fl_err err = { 0 };
    struct fl_harness *h = make("{'csv': '%D/t.csv', 'folder': '%D/a'}", NULL, 0, NULL, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_open(h, &err), err);
    CHECK_OK(fl_harness_produce(h, 0, &err), err);
    struct fl_batch *b = fl_harness_pop(h);
    CHECK_INT(fl_rejected(b, 1), FL_E_INPUT);
    CHECK_HAS(fl_reason(b, 1), "missing.jpg");
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

FL_TEST(renaming)
{
    fresh();
    put("a", NULL);
    put("a/file_1.tif", "x");
    put("a/file_2.tif", "x");
    put("a/file_3.tif", "x");
    put("map.csv", "old,new\nfile_1.tif,file_2.tif\nfile_2.tif,file_1.tif\nfile_9.tif,file_3.tif\n");
    WANT_IDS("{'files': '%D/a', 'rename': '%D/map.csv'}", "file_2 file_1 file_3");
    put("map.csv", "old,new\nfile_1.tif,file_2.tif");
    WANT_ERR("{'files': '%D/a', 'rename': '%D/map.csv'}", FL_E_LABEL, "file_2 comes twice");
    put("map.csv", "old,new\nfile_1.tif,x.tif\nfile_1.tif,y.tif\n");
    WANT_ERR("{'files': '%D/a', 'rename': '%D/map.csv'}", FL_E_LABEL, "renamed twice");
    put("map.csv", "from,to\n");
    WANT_ERR("{'files': '%D/a', 'rename': '%D/map.csv'}", FL_E_INPUT, "no columns old,new");
    put("map.csv", "old,new\nfile_1.tif\n");
    WANT_ERR("{'files': '%D/a', 'rename': '%D/map.csv'}", FL_E_INPUT, "map.csv:2");
    put("map.csv", "old,new\nfile_1.tif,a b.tif\n");
    WANT_ERR("{'files': '%D/a', 'rename': '%D/map.csv'}", FL_E_LABEL, "map.csv:2");
}

FL_TEST(shuffled_by_the_rule)
{
    fresh();
    put("a", NULL);
    char name[32], want[4096] = "", left[64][16];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "a/t%d.jpg", i);
        put(name, "x");
        snprintf(left[i], sizeof left[i], "t%d", i);
    }
    for (int done = 0; done < 50; done++) {            /* by selection, so as not to sort as the source does */
        int best = -1;
        for (int i = 0; i < 50; i++)
            if (left[i][0] != '\0' && (best < 0 || fl_rng_order(7, fl_rng_tile(left[i], strlen(left[i])), 0) < fl_rng_order(7, fl_rng_tile(left[best], strlen(left[best])), 0)))
                best = i;
        snprintf(want + strlen(want), sizeof want - strlen(want), "%s%s", done ? " " : "", left[best]);
        left[best][0] = '\0';
    }
    WANT_IDS("{'files': '%D/a', 'shuffle': 7}", want);
    WANT_IDS("{'files': '%D/a', 'shuffle': '7'}", want);
    char mine[4096], other[4096], plain[4096];
    struct fl_err err = { 0 };
    CHECK_OK(ids_of("{'files': '%D/a', 'shuffle': true}", mine, sizeof mine, &err), err);
    CHECK_OK(ids_of("{'files': '%D/a', 'shuffle': 42}", other, sizeof other, &err), err);
    CHECK_OK(ids_of("{'files': '%D/a', 'shuffle': false}", plain, sizeof plain, &err), err);
    CHECK_STR(mine, other);
    CHECK(strcmp(mine, want) != 0);
    CHECK(strncmp(plain, "t0 t1 t2 ", 9) == 0);
}

FL_TEST(batches)
{
    fresh();
    put("a", NULL);
    char name[32];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "a/t%d.jpg", i);
        put(name, "x");
    }
    struct fl_err err = { 0 };
    struct fl_harness *h = make("{'files': '%D/a', 'batch': 4, 'path_max': 300}", NULL, 0, NULL, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_describe(h, &err), err);
    CHECK_INT(fl_harness_ctx(h)->host->batches, 3);
    CHECK_INT(fl_harness_ctx(h)->host->tiles, 10);
    CHECK_OK(fl_harness_open(h, &err), err);
    static const uint64_t order[] = { 2, 0, 1, 2 };
    for (int k = 0; k < 4; k++) {
        CHECK_OK(fl_harness_produce(h, order[k], &err), err);
        struct fl_batch *b = fl_harness_pop(h);
        CHECK(b != NULL);
        CHECK_INT(b->batch, order[k]);
        CHECK_INT(b->n, order[k] == 2 ? 2 : 4);
        const struct fl_tensor *id = fl_in(b, "id"), *ordinal = fl_in(b, "ordinal"), *path = fl_in(b, "path");
        CHECK(id != NULL && ordinal != NULL && path != NULL && fl_in(b, "truth") == NULL);
        CHECK(id->dtype == FL_U8 && id->shape[0] == b->n && id->shape[1] == 64);
        CHECK(path->dtype == FL_U8 && path->shape[0] == b->n && path->shape[1] == 300);
        CHECK(ordinal->dtype == FL_U64 && ordinal->shape[0] == b->n);
        for (uint32_t i = 0; i < b->n; i++) {
            char want[320];
            uint64_t tile = order[k] * 4 + i;
            CHECK_INT(((uint64_t *)ordinal->data)[i], tile);
            snprintf(want, sizeof want, "%s/a/t%llu.jpg", dir, (unsigned long long)tile);
            CHECK_STR((char *)path->data + i * 300, want);
            snprintf(want, sizeof want, "t%llu", (unsigned long long)tile);
            CHECK_STR((char *)id->data + i * 64, want);
            for (size_t p = strlen(want); p < 64; p++)
                CHECK_INT(((char *)id->data)[i * 64 + p], 0);
        }
        fl_harness_free_batch(h, b);
    }
    CHECK_INT(fl_harness_produce(h, 3, &err), FL_E_BUG);
    fl_harness_close(h);
}

FL_TEST(truth)
{
    static const char *const names[] = { "b", "a" };
    put_tiles();
    put("l.csv", "image_name,tags\nt10,a\nt1,b\nt2,a b\nt99,a\nt98,a\n");
    struct fl_err err = { 0 };
    struct fl_harness *h = make("{'files': '%D/a/t*', 'labels': '%D/l.csv'}", NULL, 2, names, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_describe(h, &err), err);
    CHECK_OK(fl_harness_open(h, &err), err);
    CHECK_HAS(fl_harness_warnings(h), "2 rows for tiles that are not in this run");
    CHECK_OK(fl_harness_produce(h, 0, &err), err);
    struct fl_batch *b = fl_harness_pop(h);
    const struct fl_tensor *t = fl_in(b, "truth");
    static const uint8_t want[] = { 1, 0, 1, 1, 0, 1 };        /* t1 t2 t10 */
    CHECK(t != NULL && t->dtype == FL_U8 && t->shape[0] == 3 && t->shape[1] == 2);
    CHECK(memcmp(t->data, want, sizeof want) == 0);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

FL_TEST(labels_that_do_not_fit)
{
    put_tiles();
    put("l.csv", "image_name,tags\nt1,haze\nt2,haze\n");
    WANT_ERR("{'files': '%D/a/t*', 'labels': '%D/l.csv'}", FL_E_LABEL, "no row for tile t10");
    put("l.csv", "image_name,tags\nt1,haze\nt2,hazy\nt10,haze\n");
    WANT_ERR("{'files': '%D/a/t*', 'labels': '%D/l.csv'}", FL_E_LABEL, "l.csv:3: t2: unknown tag hazy");
}

static int read_all(const char *path, char *buf, size_t room)
{
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(buf, 1, room - 1, f) : 0;
    buf[n] = '\0';
    return f != NULL && fclose(f) == 0;
}

FL_TEST(the_list_in_the_run_directory)
{
    put_tiles();
    const char *run = put("run", NULL);
    char run_dir[300], got[2000], want[2000], file[320];
    snprintf(run_dir, sizeof run_dir, "%s", run);
    snprintf(file, sizeof file, "%s/inputs", run_dir);
    struct fl_err err = { 0 };
    struct fl_harness *h = make("{'files': '%D/a/t*'}", run_dir, 0, NULL, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_open(h, &err), err);
    fl_harness_close(h);
    CHECK(read_all(file, got, sizeof got));
    snprintf(want, sizeof want, "t1\t%s/a/t1.jpeg\nt2\t%s/a/t2.jpg\nt10\t%s/a/t10.JPG\n", dir, dir, dir);
    CHECK_STR(got, want);

    static const struct { const char *options, *want; } again[] = {
        { "{'files': '%D/a/t*', 'batch': 2}", NULL },
        { "{'files': '%D/a/t*', 'shuffle': 1}", "inputs:" },
        { "{'files': '%D/a/t?.jp*'}", "more tiles than the 2" },
        { "{'files': ['%D/a/t*', '%D/a/u1.tif']}", "inputs:4" },
    };
    for (size_t i = 0; i < sizeof again / sizeof again[0]; i++) {
        h = make(again[i].options, run_dir, 0, NULL, &err);
        CHECK(h != NULL);
        CHECK_INT(fl_harness_open(h, &err), again[i].want != NULL ? FL_E_CONFIG : FL_OK);
        if (again[i].want != NULL)
            CHECK_HAS(err.text, again[i].want);
        fl_harness_close(h);
    }
    CHECK(read_all(file, got, sizeof got));
    CHECK_STR(got, want);
}

/* 100 made-up tiles, every third in an archive. */
static int made_up(struct fl_inputs *in, struct fl_err *err)
{
    int rc = FL_OK;
    fl_inputs_init(in, 64);
    for (uint64_t i = 0; rc == FL_OK && i < 100; i++) {
        char path[64];
        snprintf(path, sizeof path, "/nowhere/%s/%0*d.jpg", i % 3 == 0 ? "b.tar" : "a", (int)(1 + i % 7), (int)(1000 * i));
        rc = i % 3 == 0 ? fl_inputs_member(in, path, (uint64_t[]){ i << 40, i + 1 }, err) : fl_inputs_path(in, path, err);
    }
    return rc;
}

FL_TEST(a_list_that_lies_in_the_run_directory_alone)
{
    struct fl_inputs whole, left;
    struct fl_inputs_row a, b;
    struct fl_err err = { 0 };
    uint32_t one[100], other[100];
    char file[320];
    fresh();
    snprintf(file, sizeof file, "%s/inputs", dir);
    CHECK_OK(made_up(&whole, &err), err);
    CHECK_OK(made_up(&left, &err), err);
    CHECK_INT(fl_inputs_leave(&left, dir, &err), FL_E_IO);       /* it isn't saved */
    CHECK_HAS(err.text, file);
    CHECK_OK(fl_inputs_save(&left, dir, &err), err);
    CHECK_OK(fl_inputs_save(&left, dir, &err), err);             /* equal */
    CHECK_OK(fl_inputs_leave(&left, dir, &err), err);
    CHECK(left.n == 100 && left.archived && left.heap == NULL && left.off == NULL);
    for (uint64_t k = 0; k < 300; k++) {
        CHECK_OK(fl_inputs_row(&whole, k * 37 % 100, &a, &err), err);
        CHECK_OK(fl_inputs_row(&left, k * 37 % 100, &b, &err), err);
        CHECK_STR(b.id, a.id);
        CHECK_STR(b.path, a.path);
        CHECK(b.span[0] == a.span[0] && b.span[1] == a.span[1]);
        CHECK_INT(a.span[1], k * 37 % 100 % 3 == 0 ? k * 37 % 100 + 1 : 0);
    }
    CHECK_OK(fl_inputs_order(&whole, 7, 3, one, &err), err);
    CHECK_OK(fl_inputs_order(&left, 7, 3, other, &err), err);
    CHECK(memcmp(one, other, sizeof one) == 0);

    struct stat st;
    CHECK_OK(fl_inputs_row(&left, 40, &b, &err), err);
    CHECK(stat(file, &st) == 0 && truncate(file, st.st_size - 1) == 0);      /* somebody's doing */
    CHECK_INT(fl_inputs_row(&left, 99, &b, &err), FL_E_IO);
    CHECK_HAS(err.text, "inputs:97: it isn't the list any more");
    CHECK_INT(fl_inputs_leave(&whole, dir, &err), FL_E_IO);
    CHECK_HAS(err.text, "inputs:100: it isn't the list any more");
    CHECK(truncate(file, 0) == 0 && truncate(file, st.st_size) == 0);
    CHECK_INT(fl_inputs_row(&left, 18, &b, &err), FL_E_IO);
    CHECK_HAS(err.text, "inputs:19: it isn't the list any more");
    fl_inputs_done(&whole);
    fl_inputs_done(&left);
}

FL_TEST(a_run_directory_that_cannot_be_written)
{
    put_tiles();
    char run_dir[300];
    snprintf(run_dir, sizeof run_dir, "%s/below", put("file", "x"));
    struct fl_err err = { 0 };
    struct fl_harness *h = make("{'files': '%D/a'}", run_dir, 0, NULL, &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_open(h, &err), FL_E_IO);
    CHECK_HAS(err.text, "inputs");
    fl_harness_close(h);
}

FL_TEST(the_real_renaming)
{
    const char *map = fl_data("planet-labels/test_v2_file_mapping.csv.gz"), *tifs = fl_data("planet-tif/v2");
    if (map == NULL || tifs == NULL)
        return;
    char options[1000];
    fresh();
    snprintf(options, sizeof options, "{'files': '%s/file_*.tif', 'rename': '%s'}", tifs, map);
    char got[4096];
    struct fl_err err = { 0 };
    CHECK_OK(ids_of(options, got, sizeof got, &err), err);
    CHECK(strncmp(got, "file_", 5) == 0 && strcmp(got, "file_1 file_2") != 0);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(folders_patterns_and_files), CASE(list_files), CASE(an_unreadable_tile_is_listed), CASE(a_link_in_a_circle_is_an_error),
        CASE(natural_order), CASE(nothing_there), CASE(options_that_do_not_fit), CASE(ids_must_fit_and_differ), CASE(tiles_of_a_table), CASE(renaming),
        CASE(shuffled_by_the_rule), CASE(batches), CASE(truth), CASE(labels_that_do_not_fit), CASE(the_list_in_the_run_directory),
        CASE(a_list_that_lies_in_the_run_directory_alone), CASE(a_run_directory_that_cannot_be_written), CASE(the_real_renaming), { 0 }
    };
    return fl_run(cases, argc, argv);
}
