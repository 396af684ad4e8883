/* The input kernel against a plain reference in double that works on the definition: turn the tile, cut, resize, normalise. */
#include "proto/dtype.h"
#include "stages/forward/input.h"
#include "tests/lib/check.h"

static uint32_t seed = 1;
static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

struct image { uint32_t h, w, c; double *px; };

static double *at(struct image im, uint32_t y, uint32_t x)
{
    return im.px + ((size_t)y * im.w + x) * im.c;
}

static struct image image_new(uint32_t h, uint32_t w, uint32_t c)
{
    struct image im = { h, w, c, calloc((size_t)h * w * c, sizeof(double)) };
    if (im.px == NULL)
        abort();
    return im;
}

/* The three steps of a d4 element one after the other, each an image of its own. */
static struct image turn(struct image in, uint32_t g)
{
    struct image a = g & 4 ? image_new(in.w, in.h, in.c) : image_new(in.h, in.w, in.c), b = image_new(a.h, a.w, a.c), d = image_new(a.h, a.w, a.c);
    size_t bytes = in.c * sizeof(double);
    for (uint32_t y = 0; y < a.h; y++)
        for (uint32_t x = 0; x < a.w; x++)
            memcpy(at(a, y, x), g & 4 ? at(in, x, y) : at(in, y, x), bytes);
    for (uint32_t y = 0; y < a.h; y++)
        for (uint32_t x = 0; x < a.w; x++)
            memcpy(at(b, y, x), at(a, g & 2 ? a.h - 1 - y : y, x), bytes);
    for (uint32_t y = 0; y < a.h; y++)
        for (uint32_t x = 0; x < a.w; x++)
            memcpy(at(d, y, x), at(b, y, g & 1 ? a.w - 1 - x : x), bytes);
    free(a.px);
    free(b.px);
    return d;
}

/* Value of channel k of the window at real coordinates, clamped to it. */
static double sample(struct image im, struct fl_window w, double sy, double sx, uint32_t k)
{
    sx = fmin(fmax(sx, 0), w.w - 1.0);
    sy = fmin(fmax(sy, 0), w.h - 1.0);
    uint32_t x = (uint32_t)sx, y = (uint32_t)sy, x1 = x + 1 < w.w ? x + 1 : x, y1 = y + 1 < w.h ? y + 1 : y;
    double fx = sx - x, fy = sy - y;
    return (1 - fy) * ((1 - fx) * at(im, w.y0 + y, w.x0 + x)[k] + fx * at(im, w.y0 + y, w.x0 + x1)[k]) +
           fy * ((1 - fx) * at(im, w.y0 + y1, w.x0 + x)[k] + fx * at(im, w.y0 + y1, w.x0 + x1)[k]);
}

static const double mean[4] = { .485, .456, .406, .3 }, std[4] = { .229, .224, .225, .11 };

struct setting { uint32_t h, w, c, size; int dtype; struct fl_window win; };

static void *tile_pixels(const struct setting *s, struct image *as_double)
{
    size_t n = (size_t)s->h * s->w * s->c;
    uint8_t *u8 = malloc(n * 2);
    uint16_t *u16 = (uint16_t *)(void *)u8;
    *as_double = image_new(s->h, s->w, s->c);
    if (u8 == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        uint32_t v = draw() & (s->dtype == FL_U8 ? 0xff : 0xffff);
        if (s->dtype == FL_U8)
            u8[i] = (uint8_t)v;
        else
            u16[i] = (uint16_t)v;
        as_double->px[i] = v;
    }
    return u8;
}

/* Greatest distance from the reference, in units of the normalised input. */
static double distance(const struct setting *s, const float *out, struct image im)
{
    struct image turned = turn(im, s->win.g);
    double worst = 0, M = s->dtype == FL_U8 ? 255 : 65535;
    for (uint32_t y = 0; y < s->size; y++)
        for (uint32_t x = 0; x < s->size; x++)
            for (uint32_t k = 0; k < s->c; k++) {
                double v = sample(turned, s->win, (y + .5) * s->win.h / s->size - .5, (x + .5) * s->win.w / s->size - .5, k);
                double d = fabs((v / M - mean[k]) / std[k] - (double)*out++);
                worst = d > worst || d != d ? d : worst;
            }
    free(turned.px);
    return worst;
}

/* Paints with every version this machine has; they must give the same bits. */
static double painted_distance(const struct setting *s)
{
    struct fl_input in;
    struct fl_err err = { 0 };
    struct image im;
    size_t bytes = (size_t)s->size * s->size * s->c * sizeof(float);
    float *first = calloc(1, bytes), *out = calloc(1, bytes);
    void *px = tile_pixels(s, &im);
    struct fl_tile tile = { px, s->dtype, s->h, s->w };
    double worst = INFINITY;
    if (first == NULL || out == NULL || fl_input_init(&in, s->size, s->c, s->dtype == FL_U8 ? 255 : 65535, mean, std, &err) != FL_OK)
        abort();
    for (uint32_t i = 0; fl_input_version(i) != NULL; i++) {
        float *to = i == 0 ? first : out;
        memset(to, 0xff, bytes);
        if (fl_input_use(&in, fl_input_version(i)) != FL_OK || fl_input_paint(&in, &tile, &s->win, to, &err) != FL_OK)
            goto out;
        if (i > 0 && memcmp(first, out, bytes) != 0)
            goto out;
    }
    worst = distance(s, first, im);
out:
    fl_input_done(&in);
    free(px);
    free(im.px);
    free(first);
    free(out);
    return worst;
}

/* f32 against double: normalised values stay below 8, four roundings of 2^-24 relative each. */
#define TOLERANCE 2e-6

FL_TEST(copies_every_d4_element)
{
    for (uint32_t g = 0; g < 8; g++)
        for (uint32_t c = 1; c <= 4; c++)
            for (int dtype = FL_U8; dtype <= FL_U16; dtype++) {
                struct setting s = { 37, 41, c, 29, dtype, { g, 5, 3, 29, 29 } };
                CHECK_NEAR(painted_distance(&s), 0, TOLERANCE);
            }
}

FL_TEST(resizes_every_d4_element)
{
    for (uint32_t g = 0; g < 8; g++)
        for (int dtype = FL_U8; dtype <= FL_U16; dtype++) {
            struct setting down = { 37, 41, 3, 17, dtype, { g, 2, 1, 33, 30 } }, up = { 20, 23, 4, 31, dtype, { g, 1, 0, 19, 13 } };
            CHECK_NEAR(painted_distance(&down), 0, TOLERANCE);
            CHECK_NEAR(painted_distance(&up), 0, TOLERANCE);
        }
}

FL_TEST(odd_sizes_and_windows)
{
    for (int i = 0; i < 400; i++) {
        struct setting s = { 1 + draw() % 40, 1 + draw() % 40, 1 + draw() % 4, 1 + draw() % 40, i & 1 ? FL_U8 : FL_U16, { draw() % 8, 0, 0, 0, 0 } };
        uint32_t wide = s.win.g & 4 ? s.h : s.w, high = s.win.g & 4 ? s.w : s.h;
        s.win.x0 = draw() % wide;
        s.win.y0 = draw() % high;
        s.win.w = 1 + draw() % (wide - s.win.x0);
        s.win.h = 1 + draw() % (high - s.win.y0);
        CHECK_NEAR(painted_distance(&s), 0, TOLERANCE);
    }
}

FL_TEST(real_sizes)
{
    static const struct setting all[] = {
        { 256, 256, 3, 224, FL_U8, { 0, 16, 16, 224, 224 } }, { 256, 256, 3, 224, FL_U8, { 6, 0, 0, 256, 256 } },
        { 256, 256, 4, 256, FL_U16, { 7, 0, 0, 256, 256 } },  { 256, 256, 3, 224, FL_U8, { 3, 32, 0, 224, 224 } },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        CHECK_NEAR(painted_distance(&all[i]), 0, TOLERANCE);
}

/* Half-pixel centres by hand: 4 -> 2 takes the midpoints, 2 -> 4 the quarters, ends clamped. */
FL_TEST(half_pixel_centres)
{
    static const uint8_t four[16] = { 0, 10, 20, 50, 0, 10, 20, 50, 0, 10, 20, 50, 0, 10, 20, 50 }, two[4] = { 0, 100, 0, 100 };
    static const double none[1] = { 0 }, one[1] = { 1.0 / 255 };
    struct fl_input in;
    struct fl_err err = { 0 };
    float out[16];
    CHECK_OK(fl_input_init(&in, 2, 1, 255, none, one, &err), err);
    CHECK_OK(fl_input_paint(&in, &(struct fl_tile){ four, FL_U8, 4, 4 }, &(struct fl_window){ 0, 0, 0, 4, 4 }, out, &err), err);
    fl_input_done(&in);
    CHECK_NEAR(out[0], 5, 1e-5);
    CHECK_NEAR(out[1], 35, 1e-5);
    CHECK_OK(fl_input_init(&in, 4, 1, 255, none, one, &err), err);
    CHECK_OK(fl_input_paint(&in, &(struct fl_tile){ two, FL_U8, 2, 2 }, &(struct fl_window){ 0, 0, 0, 2, 2 }, out, &err), err);
    fl_input_done(&in);
    static const double want[4] = { 0, 25, 75, 100 };
    for (int i = 0; i < 16; i++)
        CHECK_NEAR(out[i], want[i % 4], 1e-5);
}

/* The element names of the d4 group: 6 is np.rot90 (counter-clockwise), 5 its inverse, 7 the anti-transpose. */
FL_TEST(d4_elements_have_their_names)
{
    static const uint8_t tile[4] = { 1, 2, 3, 4 };     /* 1 2 / 3 4 */
    static const uint8_t want[8][4] = { { 1, 2, 3, 4 }, { 2, 1, 4, 3 }, { 3, 4, 1, 2 }, { 4, 3, 2, 1 },
                                        { 1, 3, 2, 4 }, { 3, 1, 4, 2 }, { 2, 4, 1, 3 }, { 4, 2, 3, 1 } };
    static const double none[1] = { 0 }, one[1] = { 1.0 / 255 };
    struct fl_input in;
    struct fl_err err = { 0 };
    float out[4];
    CHECK_OK(fl_input_init(&in, 2, 1, 255, none, one, &err), err);
    for (uint32_t g = 0; g < 8; g++) {
        CHECK_OK(fl_input_paint(&in, &(struct fl_tile){ tile, FL_U8, 2, 2 }, &(struct fl_window){ g, 0, 0, 2, 2 }, out, &err), err);
        for (int i = 0; i < 4; i++)
            CHECK_NEAR(out[i], want[g][i], 1e-6);
    }
    fl_input_done(&in);
}

FL_TEST(windows_are_proven)
{
    static const struct { float row[5]; const char *says; } bad[] = {
        { { 8, 0, 0, 4, 4 }, "does not lie in a tile of 6 x 4" },
        { { 0, 0, 0, 7, 4 }, "does not lie" },
        { { 0, 3, 0, 4, 4 }, "does not lie" },
        { { 4, 0, 0, 5, 4 }, "does not lie" },          /* transposed: 4 wide, 6 high */
        { { 0, 0, 0, 0, 4 }, "does not lie" },
        { { 0, 0, 0, 4, 0 }, "does not lie" },
        { { 0, 65536, 65536, 65536, 65536 }, "does not lie" },
        { { 0, .5f, 0, 4, 4 }, "whole numbers" },
        { { -1, 0, 0, 4, 4 }, "whole numbers" },
        { { 0, NAN, 0, 4, 4 }, "whole numbers" },
        { { 0, 0, 0, INFINITY, 4 }, "whole numbers" },
        { { 0, 0, 0, 4, 1e30f }, "whole numbers" },
    };
    struct fl_window w;
    struct fl_err err = { 0 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_INT(fl_window_read(bad[i].row, 4, 6, &w, &err), FL_E_INPUT);
        CHECK_HAS(err.text, bad[i].says);
    }
    CHECK_OK(fl_window_read((const float[5]){ 5, 1, 2, 3, 4 }, 4, 6, &w, &err), err);
    CHECK(w.g == 5 && w.x0 == 1 && w.y0 == 2 && w.w == 3 && w.h == 4);
}

FL_TEST(refuses_other_types)
{
    struct fl_input in;
    struct fl_err err = { 0 };
    float px[4] = { 0 }, out[4];
    CHECK_OK(fl_input_init(&in, 2, 1, 255, mean, std, &err), err);
    CHECK_INT(fl_input_paint(&in, &(struct fl_tile){ px, FL_F32, 2, 2 }, &(struct fl_window){ 0, 0, 0, 2, 2 }, out, &err), FL_E_SHAPE);
    CHECK_INT(fl_input_use(&in, "abacus"), FL_E_DEVICE);
    fl_input_done(&in);
    CHECK_INT(fl_input_init(&in, 2, 9, 255, mean, std, &err), FL_E_SHAPE);
    fl_input_done(&in);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(copies_every_d4_element), CASE(resizes_every_d4_element), CASE(odd_sizes_and_windows), CASE(real_sizes), CASE(half_pixel_centres),
        CASE(d4_elements_have_their_names), CASE(windows_are_proven), CASE(refuses_other_types), { 0 },
    };
    return fl_run(cases, argc, argv);
}
