/* The painter: its streams, label sets against the rates of the table, and the files that it writes. */
#include "samples/paint.h"

#include <stdio.h>
#include <jpeglib.h>
#include <tiffio.h>

#include "tests/lib/check.h"

/* ---- draws ---- */

FL_TEST(streams_differ_and_repeat)
{
    struct fl_rng a, b, c;
    paint_rng_init(&a, 5, "x", 1);
    paint_rng_init(&b, 5, "x", 1);
    paint_rng_init(&c, 5, "x", 2);
    int differ = 0;
    for (int k = 0; k < 100; k++) {
        uint32_t v = paint_below(&a, UINT32_MAX);
        CHECK_INT(v, paint_below(&b, UINT32_MAX));
        differ += v != paint_below(&c, UINT32_MAX);
    }
    CHECK(differ >= 99);
}

FL_TEST(directions_are_unit_vectors)
{
    struct fl_rng r;
    double sx = 0, sy = 0;
    paint_rng_init(&r, 1, "d", 0);
    for (int k = 0; k < 10000; k++) {
        float d[2];
        paint_dir(&r, d);
        CHECK_NEAR(d[0] * d[0] + d[1] * d[1], 1, 1e-5);
        sx += d[0];
        sy += d[1];
    }
    CHECK_NEAR(sx / 10000, 0, 4 * 0.0071);     /* the deviation of a mean of 10,000 cosines is sqrt(1/2)/100 */
    CHECK_NEAR(sy / 10000, 0, 4 * 0.0071);
}

/* ---- label sets ---- */

#define SETS 20000

/* Draws SETS label sets and counts each label; false when one breaks the rules. */
static bool paint_count(float floor, int count[PAINT_NLABELS])
{
    memset(count, 0, sizeof *count * PAINT_NLABELS);
    for (int k = 0; k < SETS; k++) {
        char id[32];
        snprintf(id, sizeof id, "t%d", k);
        uint32_t set = paint_labels(9, id, floor);
        if (__builtin_popcount(set & PAINT_WEATHER) != 1 || set >> PAINT_NLABELS != 0)
            return false;
        if ((set & PAINT_BIT(PAINT_CLOUDY)) && set != PAINT_BIT(PAINT_CLOUDY))
            return false;
        for (int l = 0; l < PAINT_NLABELS; l++)
            count[l] += (int)(set >> l & 1);
    }
    return true;
}

FL_TEST(label_sets_keep_the_rules_and_rates)
{
    /* Rows of the real table in label order, from its own description. */
    static const int rows[PAINT_NLABELS] = { 12315, 339, 862, 332, 98, 28431, 2089, 100, 4477, 3660, 2697, 7261,
                                              37513, 8071, 340, 209, 7411 };
    int count[PAINT_NLABELS];
    double total = 0;
    CHECK(paint_count(0, count));
    for (int l = 0; l < PAINT_NLABELS; l++) {
        double p = rows[l] / 40479.0, sigma = sqrt(p * (1 - p) / SETS);
        CHECK_NEAR(count[l] / (double)SETS, p, 4 * sigma);
        total += count[l];
    }
    CHECK_NEAR(total / SETS, 2.8707, 0.04);
}

FL_TEST(floor_raises_rare_labels_alone)
{
    int count[PAINT_NLABELS];
    CHECK(paint_count(0.25f, count));
    double rest = 1 - 2089 / 40478.0, rare = 0.25 * rest, common = 12315 / 38390.0 * rest;
    CHECK_NEAR(count[PAINT_BLOW_DOWN] / (double)SETS, rare, 4 * sqrt(rare * (1 - rare) / SETS));
    CHECK_NEAR(count[PAINT_AGRICULTURE] / (double)SETS, common, 4 * sqrt(common * (1 - common) / SETS));
}

FL_TEST(tags_are_in_label_order)
{
    char text[256], small[8];
    paint_tags(PAINT_BIT(PAINT_WATER) | PAINT_BIT(PAINT_AGRICULTURE) | PAINT_BIT(PAINT_CLEAR), text, sizeof text);
    CHECK_STR(text, "agriculture clear water");
    paint_tags(PAINT_BIT(PAINT_CLOUDY), text, sizeof text);
    CHECK_STR(text, "cloudy");
    paint_tags((PAINT_BIT(PAINT_NLABELS) - 1), text, sizeof text);
    CHECK_INT(strlen(text), 178);
    paint_tags((PAINT_BIT(PAINT_NLABELS) - 1), small, sizeof small);
    CHECK_STR(small, "agricul");
}

/* ---- pictures ---- */

static int paint_one(struct canvas *c, uint64_t seed, const char *id, uint32_t labels)
{
    struct fl_err err = { 0 };
    int code = canvas_new(c, 64, &err);
    return code != FL_OK ? code : paint_scene(c, seed, id, labels);
}

/* A canvas used before must paint what a fresh one paints. */
FL_TEST(a_tile_depends_on_seed_and_id_alone)
{
    struct canvas a, b;
    CHECK_INT(paint_one(&a, 3, "first", paint_labels(3, "first", 0.3f)), FL_OK);
    CHECK_INT(paint_scene(&a, 3, "tile", PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_WATER)), FL_OK);
    CHECK_INT(paint_one(&b, 3, "tile", PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_WATER)), FL_OK);
    size_t bytes = sizeof *a.px * 64 * 64 * 4;
    bool same = memcmp(a.px, b.px, bytes) == 0;
    CHECK_INT(paint_scene(&b, 4, "tile", PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_WATER)), FL_OK);
    bool other = memcmp(a.px, b.px, bytes) != 0;
    canvas_free(&a);
    canvas_free(&b);
    CHECK(same);
    CHECK(other);
}

/* Every label changes the picture of an otherwise equal tile: the other layers draw from their own streams. */
FL_TEST(every_label_is_seen)
{
    uint32_t base = PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_PRIMARY);
    for (uint32_t l = 0; l < PAINT_NLABELS; l++) {
        struct canvas a, b;
        uint32_t set = PAINT_WEATHER >> l & 1 ? PAINT_BIT(l) | (l == PAINT_CLOUDY ? 0 : PAINT_BIT(PAINT_PRIMARY)) : base | PAINT_BIT(l);
        CHECK_INT(paint_one(&a, 1, "seen", l == PAINT_PRIMARY || l == PAINT_CLEAR ? PAINT_BIT(PAINT_CLEAR) : base), FL_OK);
        CHECK_INT(paint_one(&b, 1, "seen", set), FL_OK);
        int changed = 0;
        bool range = true;
        for (size_t k = 0; k < 64 * 64 * 4; k++) {
            changed += fabsf(a.px[k] - b.px[k]) > 0.04f;
            range = range && b.px[k] >= 0 && b.px[k] <= 1;
        }
        canvas_free(&a);
        canvas_free(&b);
        if (changed < 64)
            fl_fail_at(__FILE__, __LINE__, "%s changes only %d samples of 16384", paint_rates[l].name, changed);
        CHECK(range);
    }
}

FL_TEST(sizes_and_labels_out_of_range)
{
    struct canvas c;
    struct fl_err err = { 0 };
    CHECK_INT(canvas_new(&c, 31, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "31");
    CHECK_INT(canvas_new(&c, 513, &err), FL_E_CONFIG);
    static const uint32_t sizes[] = { 32, 33, 257 };
    for (size_t k = 0; k < 3; k++) {
        CHECK_OK(canvas_new(&c, sizes[k], &err), err);
        CHECK_INT(paint_scene(&c, 1, "odd", ~UINT32_C(0)), FL_E_LABEL);
        CHECK_INT(paint_scene(&c, 1, "odd", (PAINT_BIT(PAINT_NLABELS) - 1) & ~PAINT_BIT(PAINT_CLOUDY)), FL_OK);
        canvas_free(&c);
    }
}

/* ---- files ---- */

static size_t paint_slurp(const char *path, uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return 0;
    size_t n = fread(bytes, 1, size, f);
    fclose(f);
    return n;
}

/* Writes a 64x64 tile to `path` and gives its bytes; 0 on failure. */
static size_t paint_jpeg_bytes(const char *path, enum paint_layout layout, uint8_t *bytes, size_t size, struct canvas *keep)
{
    struct canvas c;
    struct fl_err err = { 0 };
    size_t n = 0;
    if (paint_one(&c, 1, "file", PAINT_BIT(PAINT_CLEAR) | PAINT_BIT(PAINT_PRIMARY) | PAINT_BIT(PAINT_ROAD)) == FL_OK &&
        paint_write_jpeg(path, &c, layout, &err) == FL_OK)
        n = paint_slurp(path, bytes, size);
    if (keep != NULL)
        *keep = c;
    else
        canvas_free(&c);
    return n;
}

struct markers { int app, com, sof, scans, components, sampling, id0, ids; };

/* Walks the segments up to the first scan. */
static struct markers paint_markers(const uint8_t *b, size_t n)
{
    struct markers m = { 0 };
    for (size_t at = 2; at + 4 <= n && b[at] == 0xff; at += 2 + ((size_t)b[at + 2] << 8 | b[at + 3])) {
        int kind = b[at + 1];
        m.app += kind >= 0xe0 && kind <= 0xef;
        m.com += kind == 0xfe;
        if (kind >= 0xc0 && kind <= 0xc2) {
            m.sof = kind;
            m.components = b[at + 9];
            m.id0 = b[at + 10];
            for (int k = 0; k < m.components; k++)
                m.sampling += b[at + 11 + 3 * (size_t)k] == 0x11;
        }
        if (kind == 0xda) {
            m.scans = b[at + 4];
            break;
        }
    }
    return m;
}

FL_TEST(raw4_has_four_components_and_no_markers)
{
    static uint8_t bytes[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/a.jpg", fl_tmpdir());
    size_t n = paint_jpeg_bytes(path, PAINT_RAW4, bytes, sizeof bytes, NULL);
    CHECK(n > 100);
    CHECK(bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[n - 2] == 0xff && bytes[n - 1] == 0xd9);
    struct markers m = paint_markers(bytes, n);
    CHECK_INT(m.app, 0);
    CHECK_INT(m.com, 0);
    CHECK_INT(m.sof, 0xc0);
    CHECK_INT(m.components, 4);
    CHECK_INT(m.sampling, 4);
    CHECK_INT(m.id0, 1);
    CHECK_INT(m.scans, 4);
}

FL_TEST(rgb_is_a_plain_jfif_file)
{
    static uint8_t bytes[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/a.jpg", fl_tmpdir());
    size_t n = paint_jpeg_bytes(path, PAINT_RGB, bytes, sizeof bytes, NULL);
    CHECK(n > 100);
    CHECK(memcmp(bytes + 6, "JFIF", 5) == 0);
    struct markers m = paint_markers(bytes, n);
    CHECK_INT(m.app, 1);
    CHECK_INT(m.components, 3);
}

/* Decodes without any conversion: [h][w][components] into px, which holds `size` bytes. */
static int paint_decode_raw(const uint8_t *bytes, size_t n, uint8_t *px, size_t size)
{
    struct jpeg_decompress_struct j;
    struct jpeg_error_mgr e;
    j.err = jpeg_std_error(&e);
    jpeg_create_decompress(&j);
    jpeg_mem_src(&j, bytes, n);
    jpeg_read_header(&j, TRUE);
    j.out_color_space = j.jpeg_color_space;
    jpeg_start_decompress(&j);
    size_t stride = (size_t)j.output_width * (size_t)j.output_components;
    while (j.output_scanline < j.output_height && (j.output_scanline + 1) * stride <= size) {
        JSAMPROW row = px + j.output_scanline * stride;
        jpeg_read_scanlines(&j, &row, 1);
    }
    int components = j.output_components;
    jpeg_destroy_decompress(&j);
    return components;
}

FL_TEST(raw4_holds_the_picture_and_255)
{
    static uint8_t bytes[1 << 16], px[64 * 64 * 4];
    char path[4096];
    struct canvas c;
    snprintf(path, sizeof path, "%s/a.jpg", fl_tmpdir());
    size_t n = paint_jpeg_bytes(path, PAINT_RAW4, bytes, sizeof bytes, &c);
    CHECK(n > 100);
    CHECK_INT(paint_decode_raw(bytes, n, px, sizeof px), 4);
    double sum[3] = { 0 };
    bool constant = true;
    for (size_t k = 0; k < 64 * 64; k++) {
        for (size_t b = 0; b < 3; b++)
            sum[b] += px[4 * k + b] - 255 * c.px[4 * k + b];
        constant = constant && px[4 * k + 3] == 255;
    }
    canvas_free(&c);
    CHECK(constant);
    for (int b = 0; b < 3; b++)                    /* a block's mean is its DC term: quantised, but without a drift */
        CHECK_NEAR(sum[b] / (64 * 64), 0, 0.5);
}

FL_TEST(same_tile_same_bytes)
{
    static uint8_t a[1 << 16], b[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/a.jpg", fl_tmpdir());
    for (int layout = PAINT_RAW4; layout <= PAINT_RGB; layout++) {
        size_t n = paint_jpeg_bytes(path, (enum paint_layout)layout, a, sizeof a, NULL);
        size_t m = paint_jpeg_bytes(path, (enum paint_layout)layout, b, sizeof b, NULL);
        CHECK(n > 100);
        CHECK_INT(n, m);
        CHECK(memcmp(a, b, n) == 0);
    }
}

FL_TEST(mixed_is_half_and_half)
{
    int raw4 = 0;
    for (int k = 0; k < 2000; k++) {
        char id[32];
        snprintf(id, sizeof id, "t%d", k);
        raw4 += paint_pick_layout(PAINT_MIXED, 1, id) == PAINT_RAW4;
        CHECK_INT(paint_pick_layout(PAINT_RGB, 1, id), PAINT_RGB);
    }
    CHECK_NEAR(raw4, 1000, 4 * 22.4);
}

FL_TEST(tif_bands_are_b_g_r_nir)
{
    char path[4096];
    struct canvas c;
    struct fl_err err = { 0 };
    snprintf(path, sizeof path, "%s/a.tif", fl_tmpdir());
    CHECK_OK(canvas_new(&c, 32, &err), err);
    for (size_t k = 0; k < 32 * 32; k++) {         /* r 0, g 1/4, b 1/2, nir 1, and one pixel apart */
        c.px[4 * k + 1] = 0.25f;
        c.px[4 * k + 2] = 0.5f;
        c.px[4 * k + 3] = 1;
    }
    c.px[4 * (32 * 5 + 7)] = 1;
    int code = paint_write_tif(path, &c, &err);
    canvas_free(&c);
    CHECK_OK(code, err);
    TIFF *t = TIFFOpen(path, "rc");
    CHECK(t != NULL);
    uint16_t row[32 * 4], bits = 0, samples = 0, scheme = 0, planar = 0;
    TIFFGetField(t, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetField(t, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetField(t, TIFFTAG_COMPRESSION, &scheme);
    TIFFGetField(t, TIFFTAG_PLANARCONFIG, &planar);
    uint32_t strips = TIFFNumberOfStrips(t);
    int ok = bits == 16 && samples == 4 ? TIFFReadScanline(t, row, 5, 0) : -1;
    TIFFClose(t);
    CHECK_INT(ok, 1);
    CHECK_INT(scheme, COMPRESSION_NONE);
    CHECK_INT(planar, PLANARCONFIG_CONTIG);
    CHECK_INT(strips, 1);
    static const uint16_t want[4] = { 6400, 3700, 1300, 10500 };       /* offset + gain * value of B, G, R, NIR */
    for (int b = 0; b < 4; b++)
        CHECK_INT(row[b], want[b]);
    CHECK_INT(row[4 * 7 + 2], 7000);
}

FL_TEST(files_that_cannot_be_written)
{
    struct canvas c;
    struct fl_err err = { 0 };
    CHECK_OK(canvas_new(&c, 32, &err), err);
    TIFFSetErrorHandler(NULL);
    int jpeg = paint_write_jpeg("/dev/null/x.jpg", &c, PAINT_RGB, &err);
    bool named = strstr(err.text, "/dev/null/x.jpg") != NULL;
    int tif = paint_write_tif("/dev/null/x.tif", &c, &err);
    named = named && strstr(err.text, "/dev/null/x.tif") != NULL;
    int full = paint_write_jpeg("/dev/full", &c, PAINT_RGB, &err);
    canvas_free(&c);
    CHECK_INT(jpeg, FL_E_IO);
    CHECK_INT(tif, FL_E_IO);
    CHECK_INT(full, FL_E_IO);
    CHECK(named);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(streams_differ_and_repeat), CASE(directions_are_unit_vectors),
        CASE(label_sets_keep_the_rules_and_rates), CASE(floor_raises_rare_labels_alone), CASE(tags_are_in_label_order),
        CASE(a_tile_depends_on_seed_and_id_alone), CASE(every_label_is_seen), CASE(sizes_and_labels_out_of_range),
        CASE(raw4_has_four_components_and_no_markers), CASE(rgb_is_a_plain_jfif_file), CASE(raw4_holds_the_picture_and_255),
        CASE(same_tile_same_bytes), CASE(mixed_is_half_and_half), CASE(tif_bands_are_b_g_r_nir), CASE(files_that_cannot_be_written),
        { 0 }
    };
    return fl_run(cases, argc, argv);
}
