/* decode: the real tiles against figures of other programs, sizes, kinds of files, and bad tiles. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/csv.h"
#include "runtime/host.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"
#include "tests/lib/jpeg_write.h"
#include "tests/lib/tiff_write.h"

extern const struct fl_stage fl_stage_decode;

enum { TILES, BYTES, BAD, EMPTY };

static struct fl_harness *opened(const char *options, struct fl_err *err)
{
    struct fl_harness_conf conf = { .options = options, .slab = (size_t)16 << 20 };
    struct fl_harness *h = fl_harness_new(&fl_stage_decode, &conf, err);
    if (h != NULL && fl_harness_open(h, err) != FL_OK) {
        fl_harness_close(h);
        h = NULL;
    }
    return h;
}

/* One batch of these paths through the stage. */
static struct fl_batch *push(struct fl_harness *h, uint64_t number, const char *const *paths, uint32_t n, int *rc, struct fl_err *err)
{
    struct fl_batch *b = fl_harness_batch(h, number, n);
    char *p = fl_harness_tensor(h, b, "path", FL_U8, 2, (uint32_t[]){ n, 512 }, NULL);
    for (uint32_t i = 0; i < n; i++)
        snprintf(p + 512 * (size_t)i, 512, "%s", paths[i]);
    *rc = fl_harness_push(h, b, err);
    return fl_harness_pop(h);
}

static uint64_t counter(struct fl_harness *h, int which)
{
    return fl_harness_ctx(h)->host->counters[which];
}

static const char *save(const char *name, const void *bytes, size_t len)
{
    static char paths[8][400];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, 400, "%s/%s", fl_tmpdir(), name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        abort();
    return path;
}

static const char *save_jpeg(const char *name, uint32_t w, uint32_t h)
{
    struct fl_jpeg_kind k = { w, h, FL_SPACE_YCC, .marker = true };
    size_t len;
    uint8_t *pic = fl_picture(w, h, 3, -1, 3), *jpg = fl_jpeg_write(&k, pic, &len);
    const char *path = save(name, jpg, len);
    free(pic);
    free(jpg);
    return path;
}

/* ---- real tiles ---- */

/* Mean and deviation of each channel against columns first.. of a table with a column `file`. */
static void against_table(const char *folder, const char *table, const char *options, int is16, const int *channel, const char *const *columns, int ncolumns, double tol, uint64_t want_rows)
{
    char *text, path[600];
    size_t len;
    struct fl_err err = { 0 };
    struct fl_csv c;
    CHECK_OK(fl_csv_load(table, &text, &len, &err), err);
    fl_csv_init(&c, table, text, len);
    CHECK_INT(fl_csv_next(&c, &err), FL_OK);
    int64_t file = fl_csv_column(&c, "file"), col[8];
    for (int k = 0; k < ncolumns; k++)
        CHECK((col[k] = fl_csv_column(&c, columns[k])) >= 0);
    struct fl_harness *h = opened(options, &err);
    CHECK(h != NULL);
    uint64_t rows = 0;
    for (int rc; fl_csv_next(&c, &err) == FL_OK; rows++) {
        const char *one = path;
        snprintf(path, sizeof path, "%s/%s", folder, c.field[file]);
        struct fl_batch *b = push(h, rows, &one, 1, &rc, &err);
        CHECK_OK(rc, err);
        CHECK_STR(fl_reason(b, 0), "");
        const struct fl_tensor *t = fl_in(b, "pixels");
        size_t C = t->shape[3], n = (size_t)256 * 256;
        for (int k = 0; k < ncolumns; k++) {
            double sum = 0, sq = 0, want = atof(c.field[col[k]]);
            for (size_t i = 0; i < n; i++) {
                double v = is16 ? ((uint16_t *)t->data)[i * C + (size_t)channel[k]] : ((uint8_t *)t->data)[i * C + (size_t)channel[k]];
                sum += v;
                sq += v * v;
            }
            double mean = sum / (double)n, got = columns[k][0] == 'm' ? mean : sqrt(sq / (double)n - mean * mean);
            if (!(fabs(got - want) <= tol)) {
                fl_fail_at(__FILE__, __LINE__, "%s: %s = %.4f, want %.4f", path, columns[k], got, want);
                return;
            }
        }
        fl_harness_free_batch(h, b);
    }
    CHECK_INT(rows, want_rows);
    CHECK_INT(counter(h, TILES), rows);
    fl_harness_close(h);
    fl_csv_done(&c);
    free(text);
}

FL_TEST(real_jpegs)
{
    const char *folder = fl_data("planet-tiles/jpg"), *table = fl_data("planet-tiles/tiles.csv");
    if (folder == NULL || table == NULL)
        return;
    against_table(folder, table, "{}", 0, (const int[]){ 0, 1, 2, 0, 1, 2 },
                  (const char *const[]){ "mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b" }, 6, 0.5, 141);
}

FL_TEST(real_tiffs)
{
    const char *folder = fl_data("planet-tif"), *table = fl_data("planet-tif/tifs.csv");
    if (folder == NULL || table == NULL)
        return;
    against_table(folder, table, "{'mode': 'rgbn'}", 1, (const int[]){ 2, 1, 0, 3, 2, 1, 0, 3 },
                  (const char *const[]){ "mean_b", "mean_g", "mean_r", "mean_n", "std_b", "std_g", "std_r", "std_n" }, 8, 0.001, 16);
}

FL_TEST(one_tile_in_two_layouts)
{
    const char *v1 = fl_data("planet-tif/v1/train_2.tif"), *v2 = fl_data("planet-tif/v2/train_2.tif");
    if (v1 == NULL || v2 == NULL)
        return;
    struct fl_err err = { 0 };
    int rc;
    struct fl_harness *h = opened("{'mode': 'rgbn'}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = push(h, 0, (const char *const[]){ v1, v2 }, 2, &rc, &err);
    CHECK_OK(rc, err);
    const struct fl_tensor *t = fl_in(b, "pixels");
    CHECK(memcmp(t->data, (char *)t->data + 524288, 524288) == 0);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

FL_TEST(real_tiles_of_odd_sizes)
{
    const char *folder = fl_data("ucmerced/jpg"), *table = fl_data("ucmerced/labels.csv");
    if (folder == NULL || table == NULL)
        return;
    char *text, path[600];
    size_t len;
    struct fl_err err = { 0 };
    CHECK_OK(fl_csv_load(table, &text, &len, &err), err);
    static const char *const how[] = { "{}", "{'allow_size': 'fit'}", "{'allow_size': 'resize'}" };
    for (int k = 0; k < 3; k++) {
        struct fl_csv c;
        fl_csv_init(&c, table, text, len);
        CHECK_INT(fl_csv_next(&c, &err), FL_OK);
        struct fl_harness *h = opened(how[k], &err);
        CHECK(h != NULL);
        uint64_t odd = 0;
        for (uint64_t rows = 0; fl_csv_next(&c, &err) == FL_OK; rows++) {
            bool is_odd = atoi(c.field[3]) != 256 || atoi(c.field[4]) != 256;
            if (!is_odd && rows % 20 != 0)
                continue;
            int rc;
            const char *one = path;
            snprintf(path, sizeof path, "%s/%s", folder, c.field[0]);
            struct fl_batch *b = push(h, rows, &one, 1, &rc, &err);
            CHECK_OK(rc, err);
            CHECK_INT(fl_rejected(b, 0), is_odd && k == 0 ? FL_E_SHAPE : 0);
            odd += is_odd;
            fl_harness_free_batch(h, b);
        }
        CHECK(odd > 0);
        CHECK_INT(counter(h, BAD), k == 0 ? odd : 0);
        fl_harness_close(h);
        fl_csv_done(&c);
    }
    free(text);
}

/* ---- what is bound ---- */

FL_TEST(shapes_and_types)
{
    static const struct { const char *options; uint32_t C, size; int dtype; } t[] = {
        { "{}", 3, 256, FL_U8 }, { "{'mode': 'rgbn', 'size': 32}", 4, 32, FL_U16 }, { "{'tif_rgb': true, 'size': 17}", 3, 17, FL_U16 },
    };
    for (size_t i = 0; i < 3; i++) {
        struct fl_err err = { 0 };
        struct fl_harness_conf conf = { .options = t[i].options };
        struct fl_harness *h = fl_harness_new(&fl_stage_decode, &conf, &err);
        CHECK(h != NULL);
        CHECK_OK(fl_harness_describe(h, &err), err);
        CHECK_INT(fl_harness_bound(h, 'C'), t[i].C);
        CHECK_INT(fl_harness_bound(h, 'H'), t[i].size);
        CHECK_INT(fl_harness_bound(h, 'W'), t[i].size);
        CHECK_INT(fl_harness_ctx(h)->host->bound_dtype[0], t[i].dtype);
        fl_harness_close(h);
    }
}

FL_TEST(options_that_do_not_fit)
{
    static const struct { const char *options, *want; } t[] = {
        { "{'file_bands': 'bg'}", "file_bands" }, { "{'file_bands': 'bgrx'}", "file_bands" }, { "{'file_bands': 'bgrb'}", "names b twice" },
        { "{'file_bands': 'bgr', 'mode': 'rgbn'}", "lacks n" }, { "{'file_bands': 'bgn'}", "lacks r" }, { "{'mode': 'rgbn', 'tif_rgb': true}", "tif_rgb" },
        { "{'mode': 'ngb'}", "mode" }, { "{'size': 0}", "size" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct fl_err err = { 0 };
        CHECK(opened(t[i].options, &err) == NULL);
        CHECK_INT(err.code, FL_E_CONFIG);
        CHECK_HAS(err.text, t[i].want);
    }
}

FL_TEST(three_bands_of_a_tiff)
{
    uint16_t pic[16 * 16 * 4];
    for (size_t i = 0; i < 16 * 16 * 4; i++)
        pic[i] = (uint16_t)(i % 4 * 10000 + i / 4);
    struct fl_tiff_kind k = { 16, 16, 4, .rows = 5 };
    size_t len;
    uint8_t *tif = fl_tiff_write(&k, pic, &len);
    const char *path = save("x.dat", tif, len);
    struct fl_err err = { 0 };
    int rc;
    struct fl_harness *h = opened("{'tif_rgb': true, 'size': 16}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = push(h, 0, &path, 1, &rc, &err);
    CHECK_OK(rc, err);
    CHECK_STR(fl_reason(b, 0), "");
    CHECK(fl_in(b, "path") == NULL);
    const struct fl_tensor *t = fl_in(b, "pixels");
    CHECK(t->dtype == FL_U16 && t->ndim == 4 && t->shape[0] == 1 && t->shape[1] == 16 && t->shape[2] == 16 && t->shape[3] == 3);
    const uint16_t *v = t->data;
    for (size_t i = 0; i < 256; i++)
        CHECK(v[3 * i] == 20000 + i && v[3 * i + 1] == 10000 + i && v[3 * i + 2] == i);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
    free(tif);
}

/* ---- bad tiles ---- */

static const char *huge_jpeg(void)
{
    struct fl_jpeg_kind k = { 64, 64, FL_SPACE_YCC, .progressive = true };
    size_t len;
    uint8_t *pic = fl_picture(64, 64, 3, -1, 3), *jpg = fl_jpeg_write(&k, pic, &len);
    for (size_t at = 2; at + 9 < len; at += 2 + (size_t)jpg[at + 2] * 256 + jpg[at + 3])
        if (jpg[at + 1] == 0xC0 || jpg[at + 1] == 0xC2) {
            for (int i = 0; i < 2; i++) {
                jpg[at + 5 + 2 * (size_t)i] = 30000 >> 8;
                jpg[at + 6 + 2 * (size_t)i] = 30000 & 255;
            }
            break;
        }
    const char *path = save("huge.jpg", jpg, len);
    free(pic);
    free(jpg);
    return path;
}

FL_TEST(bad_tiles_stay_in_their_rows)
{
    const char *good = save_jpeg("good.jpg", 32, 32), *dir = fl_tmpdir();
    char folder[400], link[400], fifo[400], none[400];
    snprintf(folder, sizeof folder, "%s/folder.jpg", dir);
    snprintf(link, sizeof link, "%s/link.jpg", dir);
    snprintf(fifo, sizeof fifo, "%s/fifo.jpg", dir);
    snprintf(none, sizeof none, "%s/none.jpg", dir);
    CHECK(mkdir(folder, 0700) == 0 && symlink("/nowhere/at/all", link) == 0 && mkfifo(fifo, 0600) == 0);
    uint16_t pic[32 * 32 * 4] = { 0 };
    struct fl_tiff_kind k = { 32, 32, 4, .rows = 32 };
    size_t len;
    uint8_t *tif = fl_tiff_write(&k, pic, &len);
    const struct { const char *path, *want; int code; } t[] = {
        { good, "", 0 },
        { save("zero.jpg", "", 0), "zero.jpg: an empty file", FL_E_INPUT },
        { folder, "folder.jpg: a folder", FL_E_INPUT },
        { link, "link.jpg: No such file", FL_E_INPUT },
        { fifo, "fifo.jpg: not a regular file", FL_E_INPUT },
        { none, "none.jpg: No such file", FL_E_INPUT },
        { save("text.jpg", "hello, hello", 12), "neither JPEG nor TIFF", FL_E_INPUT },
        { save("tif.jpg", tif, len), "a TIFF, but mode is rgb", FL_E_INPUT },
        { save_jpeg("big.jpg", 33, 32), "33 x 32, want 32 x 32", FL_E_SHAPE },
        { huge_jpeg(), "30000 x 30000 pixels, more than max_pixels", FL_E_INPUT },
        { good, "", 0 },
    };
    uint32_t n = sizeof t / sizeof t[0];
    const char *paths[16];
    for (uint32_t i = 0; i < n; i++)
        paths[i] = t[i].path;
    struct fl_err err = { 0 };
    int rc;
    struct fl_harness *h = opened("{'size': 32}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = push(h, 0, paths, n, &rc, &err);
    CHECK_OK(rc, err);
    const uint8_t *pixels = fl_in(b, "pixels")->data;
    size_t bytes = 32 * 32 * 3;
    CHECK_INT(fl_in(b, "pixels")->shape[0], n);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_INT(fl_rejected(b, i), t[i].code);
        CHECK_HAS(fl_reason(b, i), t[i].want);
        bool zero = true;
        for (size_t p = 0; p < bytes; p++)
            zero &= pixels[i * bytes + p] == 0;
        CHECK(zero == (t[i].code != 0));
    }
    CHECK(memcmp(pixels, pixels + (n - 1) * bytes, bytes) == 0);
    CHECK_INT(counter(h, TILES), 2);
    CHECK_INT(counter(h, BAD), n - 2);
    CHECK_INT(counter(h, EMPTY), 0);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
    free(tif);
}

FL_TEST(a_bad_tile_can_stop_the_run)
{
    const char *path = save("zero.jpg", "", 0);
    struct fl_err err = { 0 };
    int rc;
    struct fl_harness *h = opened("{'on_bad_tile': 'fail'}", &err);
    CHECK(h != NULL);
    CHECK(push(h, 0, &path, 1, &rc, &err) == NULL);
    CHECK_INT(rc, FL_E_INPUT);
    CHECK_HAS(err.text, "zero.jpg: an empty file");
    fl_harness_close(h);
}

FL_TEST(rows_rejected_before_are_left_alone)
{
    const char *paths[2] = { save_jpeg("good.jpg", 32, 32), "/nowhere/at/all.jpg" };
    struct fl_err err = { 0 };
    struct fl_harness *h = opened("{'size': 32}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = fl_harness_batch(h, 0, 2);
    char *p = fl_harness_tensor(h, b, "path", FL_U8, 2, (uint32_t[]){ 2, 512 }, NULL);
    for (int i = 0; i < 2; i++)
        snprintf(p + 512 * i, 512, "%s", paths[i]);
    int32_t status[2] = { 0, FL_E_LABEL };
    char reason[2 * FL_REASON_SIZE] = { 0 };
    strcpy(reason + FL_REASON_SIZE, "source: because");
    fl_harness_tensor(h, b, "status", FL_I32, 1, (uint32_t[]){ 2 }, status);
    fl_harness_tensor(h, b, "reason", FL_U8, 2, (uint32_t[]){ 2, FL_REASON_SIZE }, reason);
    CHECK_OK(fl_harness_push(h, b, &err), err);
    b = fl_harness_pop(h);
    CHECK_INT(fl_rejected(b, 0), 0);
    CHECK_STR(fl_reason(b, 1), "source: because");
    CHECK_INT(counter(h, BAD), 0);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

FL_TEST(a_path_without_an_end)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = opened("{}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = fl_harness_batch(h, 0, 1);
    memset(fl_harness_tensor(h, b, "path", FL_U8, 2, (uint32_t[]){ 1, 64 }, NULL), 'x', 64);
    CHECK_INT(fl_harness_push(h, b, &err), FL_E_PROTO);
    fl_harness_close(h);
}

FL_TEST(empty_tiles_are_counted)
{
    uint16_t pic[32 * 32 * 4] = { 0 };
    struct fl_tiff_kind k = { 32, 32, 4, .rows = 32 };
    size_t len;
    uint8_t *tif = fl_tiff_write(&k, pic, &len);
    const char *paths[2] = { save("a.tif", tif, len), NULL };
    free(tif);
    pic[32 * 32 * 4 - 1] = 1;
    tif = fl_tiff_write(&k, pic, &len);
    paths[1] = save("b.tif", tif, len);
    free(tif);
    struct fl_err err = { 0 };
    int rc;
    struct fl_harness *h = opened("{'mode': 'rgbn', 'size': 32}", &err);
    CHECK(h != NULL);
    struct fl_batch *b = push(h, 0, paths, 2, &rc, &err);
    CHECK_OK(rc, err);
    CHECK(fl_rejected(b, 0) == 0 && fl_rejected(b, 1) == 0);
    CHECK_INT(counter(h, EMPTY), 1);
    CHECK_HAS(fl_harness_warnings(h), "a.tif: all pixels are 0");
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

FL_TEST(sizes_are_brought_to_fit)
{
    const char *paths[2] = { save_jpeg("a.jpg", 40, 36), save_jpeg("b.jpg", 20, 9) };
    struct fl_err err = { 0 };
    int rc;
    for (int i = 0; i < 2; i++) {
        struct fl_harness *h = opened(i == 0 ? "{'size': 32, 'allow_size': 'fit'}" : "{'size': 32, 'allow_size': 'resize'}", &err), *whole = opened("{'size': 40, 'allow_size': 'fit'}", &err);
        CHECK(h != NULL && whole != NULL);
        struct fl_batch *b = push(h, 0, paths, 2, &rc, &err), *w = push(whole, 0, paths, 1, &rc, &err);
        CHECK_OK(rc, err);
        CHECK(fl_rejected(b, 0) == 0 && fl_rejected(b, 1) == 0);
        if (i == 0)         /* (40-32)/2 = 4 across and (36-32)/2 = 2 down; in `whole` the picture starts (40-36)/2 = 2 further down */
            for (size_t y = 0; y < 32; y++)
                CHECK(memcmp((char *)fl_in(b, "pixels")->data + y * 96, (char *)fl_in(w, "pixels")->data + ((y + 4) * 40 + 4) * 3, 96) == 0);
        fl_harness_free_batch(h, b);
        fl_harness_free_batch(whole, w);
        fl_harness_close(h);
        fl_harness_close(whole);
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(real_jpegs), CASE(real_tiffs), CASE(one_tile_in_two_layouts), CASE(real_tiles_of_odd_sizes), CASE(shapes_and_types),
        CASE(options_that_do_not_fit), CASE(three_bands_of_a_tiff), CASE(bad_tiles_stay_in_their_rows), CASE(a_bad_tile_can_stop_the_run),
        CASE(rows_rejected_before_are_left_alone), CASE(a_path_without_an_end), CASE(empty_tiles_are_counted), CASE(sizes_are_brought_to_fit), { 0 }
    };
    return fl_run(cases, argc, argv);
}
