/* View sets: the symmetries against NumPy's definitions, windows against closed forms, products, unions, random crops. */
#include <jansson.h>
#include <string.h>

#include "runtime/rng.h"
#include "stages/forward/input.h"
#include "stages/lib/views.h"
#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_augment;

#define N 5

typedef int square[N][N];

static void fill(square a)
{
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N; x++)
            a[y][x] = y * N + x;
}

static void apply(uint32_t g, square in, square out)
{
    for (uint32_t y = 0; y < N; y++)
        for (uint32_t x = 0; x < N; x++) {
            uint32_t sx, sy;
            fl_d4_source(g, N, x, y, &sx, &sy);
            out[y][x] = in[sy][sx];
        }
}

/* The eight by name: a[y][x] of each as NumPy's fliplr, flipud, rot90 and transpose give it. */
FL_TEST(elements_are_what_their_names_say)
{
    square a, b;
    fill(a);
    for (uint32_t g = 0; g < 8; g++) {
        apply(g, a, b);
        for (int y = 0; y < N; y++)
            for (int x = 0; x < N; x++) {
                int rx = N - 1 - x, ry = N - 1 - y;
                const int want[8] = {
                    a[y][x],      /* identity */
                    a[y][rx],     /* fliplr */
                    a[ry][x],     /* flipud */
                    a[ry][rx],    /* rot90(2) */
                    a[x][y],      /* transpose */
                    a[rx][y],     /* rot90(3) */
                    a[x][ry],     /* rot90(1) */
                    a[rx][ry],    /* anti-transpose */
                };
                CHECK_INT(b[y][x], want[g]);
            }
    }
}

FL_TEST(elements_form_a_group)
{
    square a, b, c, d;
    fill(a);
    for (uint32_t g = 0; g < 8; g++) {
        uint32_t inverse = g == 5 ? 6 : g == 6 ? 5 : g;
        CHECK_INT(fl_d4_inverse(g), inverse);
        CHECK_INT(fl_d4_compose(g, inverse), 0);
        for (uint32_t h = 0; h < 8; h++) {
            apply(g, a, b);
            apply(h, b, c);
            apply(fl_d4_compose(g, h), a, d);
            CHECK(memcmp(c, d, sizeof c) == 0);
        }
    }
}

static int views(const char *text, uint32_t tile, uint32_t size, struct fl_views *out, struct fl_err *err)
{
    json_t *j = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    int rc = fl_views_new(j, tile, size, out, err);
    json_decref(j);
    return rc;
}

/* Views of a small tile painted by their row, against the same ops done one after another on the picture. */
static void paint(const struct fl_view_row *r, square in, int out[N][N])
{
    square t;
    apply(r->g, in, t);
    for (uint32_t y = 0; y < r->h; y++)
        for (uint32_t x = 0; x < r->w; x++)
            out[y][x] = t[r->y + y][r->x + x];
}

static void crop_then(uint32_t x0, uint32_t y0, uint32_t s, uint32_t g, square in, int out[N][N])
{
    for (uint32_t y = 0; y < s; y++)
        for (uint32_t x = 0; x < s; x++) {
            uint32_t sx, sy;
            fl_d4_source(g, s, x, y, &sx, &sy);
            out[y][x] = in[y0 + sy][x0 + sx];
        }
}

FL_TEST(a_crop_before_a_symmetry_is_moved)
{
    struct fl_err err = { 0 };
    struct fl_views v;
    struct fl_view_row r;
    square a;
    int got[N][N] = { 0 }, want[N][N] = { 0 };
    static const uint32_t corner[4][2] = { { 0, 0 }, { 2, 0 }, { 0, 2 }, { 2, 2 } };
    fill(a);
    CHECK_OK(views("[\"corners\",\"d4\"]", N, 3, &v, &err), err);
    CHECK_INT(v.n, 32);
    for (uint32_t i = 0; i < 32; i++) {
        CHECK_OK(fl_views_row(&v, i, 0, "t", &r, &err), err);
        CHECK_INT(r.w, 3);
        CHECK_INT(r.h, 3);
        paint(&r, a, got);
        crop_then(corner[i / 8][0], corner[i / 8][1], 3, i % 8, a, want);
        CHECK(memcmp(got, want, sizeof got) == 0);
    }
    fl_views_done(&v);
    CHECK_OK(views("[\"d4\",\"corners\",\"rot90\"]", N, 3, &v, &err), err);
    CHECK_INT(v.n, 128);
    static const uint32_t rot[4] = { 0, 6, 3, 5 };
    for (uint32_t i = 0; i < 128; i++) {
        square b;
        CHECK_OK(fl_views_row(&v, i, 0, "t", &r, &err), err);
        paint(&r, a, got);
        apply(i / 16, a, b);
        crop_then(corner[i / 4 % 4][0], corner[i / 4 % 4][1], 3, rot[i % 4], b, want);
        CHECK(memcmp(got, want, sizeof got) == 0);
    }
    fl_views_done(&v);
}

struct row { uint32_t g, x, y, w; };

static const struct { const char *spec; uint32_t tile, size, n; struct row rows[10]; } sets[] = {
    { NULL, 256, 0, 1, { { 0, 0, 0, 256 } } },
    { "\"identity\"", 256, 224, 1, { { 0, 16, 16, 224 } } },
    { "\"d4\"", 256, 256, 8, { { 0, 0, 0, 256 }, { 1, 0, 0, 256 }, { 2, 0, 0, 256 }, { 3, 0, 0, 256 }, { 4, 0, 0, 256 }, { 5, 0, 0, 256 }, { 6, 0, 0, 256 }, { 7, 0, 0, 256 } } },
    { "\"d4x7\"", 256, 224, 7, { { 0, 16, 16, 224 }, { 5, 16, 16, 224 }, { 3, 16, 16, 224 }, { 6, 16, 16, 224 }, { 4, 16, 16, 224 }, { 2, 16, 16, 224 }, { 1, 16, 16, 224 } } },
    { "[\"flips\"]", 64, 0, 3, { { 0, 0, 0, 64 }, { 1, 0, 0, 64 }, { 2, 0, 0, 64 } } },
    { "\"rot90\"", 64, 64, 4, { { 0, 0, 0, 64 }, { 6, 0, 0, 64 }, { 3, 0, 0, 64 }, { 5, 0, 0, 64 } } },
    { "\"corners\"", 256, 224, 4, { { 0, 0, 0, 224 }, { 0, 32, 0, 224 }, { 0, 0, 32, 224 }, { 0, 32, 32, 224 } } },
    { "\"center\"", 257, 224, 1, { { 0, 16, 16, 224 } } },
    { "\"scaled\"", 256, 300, 1, { { 0, 0, 0, 256 } } },
    { "[[\"corners\",\"center\",\"scaled\"]]", 256, 224, 6, { { 0, 0, 0, 224 }, { 0, 32, 0, 224 }, { 0, 0, 32, 224 }, { 0, 32, 32, 224 }, { 0, 16, 16, 224 }, { 0, 0, 0, 256 } } },
    { "[[\"identity\",[\"flips\",\"center\"]]]", 256, 224, 4, { { 0, 0, 0, 256 }, { 0, 16, 16, 224 }, { 1, 16, 16, 224 }, { 2, 16, 16, 224 } } },
};

FL_TEST(sets_are_the_rows_they_name)
{
    struct fl_err err = { 0 };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct fl_views v;
        struct fl_view_row r;
        CHECK_OK(views(sets[i].spec, sets[i].tile, sets[i].size, &v, &err), err);
        CHECK_INT(v.n, sets[i].n);
        for (uint32_t k = 0; k < v.n; k++) {
            const struct row *w = &sets[i].rows[k];
            CHECK_OK(fl_views_row(&v, k, 7, "train_0", &r, &err), err);
            CHECK_INT(r.g, w->g);
            CHECK_INT(r.x, w->x);
            CHECK_INT(r.y, w->y);
            CHECK_INT(r.w, w->w);
            CHECK_INT(r.h, w->w);
        }
        fl_views_done(&v);
    }
}

FL_TEST(forty_eight_views_with_the_last_fastest)
{
    struct fl_err err = { 0 };
    struct fl_views v;
    struct fl_view_row r;
    CHECK_OK(views("[\"d4\",[\"corners\",\"center\",\"scaled\"]]", 256, 224, &v, &err), err);
    CHECK_INT(v.n, 48);
    for (uint32_t i = 0; i < 48; i++) {
        CHECK_OK(fl_views_row(&v, i, 0, "t", &r, &err), err);
        CHECK_INT(r.g, i / 6);
        CHECK_INT(r.w, i % 6 == 5 ? 256 : 224);
        CHECK_INT(r.x, i % 6 == 1 || i % 6 == 3 ? 32 : i % 6 == 4 ? 16 : 0);
        CHECK_INT(r.y, i % 6 == 2 || i % 6 == 3 ? 32 : i % 6 == 4 ? 16 : 0);
    }
    fl_views_done(&v);
}

FL_TEST(random_crops_follow_seed_tile_and_place)
{
    struct fl_err err = { 0 };
    struct fl_views v;
    struct fl_view_row r, again;
    uint64_t h = fl_rng_tile("train_10059", 11);
    int differ = 0;
    CHECK_OK(views("[\"rot90\",\"random_crop:5\"]", 256, 224, &v, &err), err);
    CHECK_INT(v.n, 20);
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t key[2] = { 42, 0 }, ctr[4] = { (uint32_t)h, (uint32_t)(h >> 32), 0xFFFFFFFFu, i % 5 << 24 | 1u << 18 }, out[4];
        fl_philox(ctr, key, out);
        CHECK_OK(fl_views_row(&v, i, 42, "train_10059", &r, &err), err);
        CHECK_INT(r.x, ((uint64_t)out[1] * 33) >> 32);
        CHECK_INT(r.y, ((uint64_t)out[2] * 33) >> 32);
        CHECK(r.x <= 32 && r.y <= 32 && r.w == 224);
        CHECK_OK(fl_views_row(&v, i, 42, "train_0", &again, &err), err);
        differ += again.x != r.x || again.y != r.y;
    }
    CHECK(differ >= 15);
    fl_views_done(&v);
}

static const struct { const char *spec; uint32_t tile, size; const char *says; } refused[] = {
    { "\"d5\"", 256, 0, "d4" }, { "\"croners\"", 256, 0, "corners" }, { "[]", 256, 0, "empty" }, { "[[]]", 256, 0, "empty" },
    { "7", 256, 0, "name" }, { "\"random_crop:0\"", 256, 0, "number" }, { "\"random_crop:x\"", 256, 0, "number" },
    { "\"random_crop:999\"", 256, 0, "256" }, { "\"random_crop:5x\"", 256, 0, "number" }, { "\"center\"", 64, 224, "fit" },
    { "\"d4\"", 64, 224, "smaller" }, { "[\"d4\",\"d4\",\"d4\"]", 256, 0, "256" }, { "\"random:0\"", 256, 0, "number" },
    { "[[[[[\"d4\"]]]]]", 256, 0, "nested" },
};

FL_TEST(bad_sets_are_named)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct fl_err err = { 0 };
        struct fl_views v;
        CHECK_INT(views(refused[i].spec, refused[i].tile, refused[i].size, &v, &err), FL_E_CONFIG);
        CHECK_HAS(err.text, refused[i].says);
    }
}

FL_TEST(stage_gives_a_row_a_view_and_passes_pixels)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = "{'views':['flips','corners'],'size':6,'tile':8}" }, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_describe(h, &err), err);
    CHECK_INT(fl_harness_bound(h, 'V'), 12);
    CHECK_OK(fl_harness_open(h, &err), err);
    struct fl_batch *b = fl_harness_batch(h, 0, 3);
    void *pixels = fl_harness_tensor(h, b, "pixels", FL_U8, 4, (uint32_t[]){ 3, 8, 8, 3 }, NULL);
    int32_t *status = fl_harness_tensor(h, b, "status", FL_I32, 1, (uint32_t[]){ 3 }, NULL);
    status[1] = FL_E_INPUT;
    CHECK_OK(fl_harness_push(h, b, &err), err);
    b = fl_harness_pop(h);
    CHECK(b != NULL);
    CHECK(fl_batch_find(b, "pixels")->data == pixels);
    const struct fl_tensor *t = fl_batch_find(b, "view");
    CHECK(t != NULL && t->dtype == FL_F32 && t->ndim == 3 && t->shape[1] == 12 && t->shape[2] == 5);
    const float *v = t->data;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 12; k++, v += 5) {
            int turn = k / 4;
            float want[5] = { (float)turn, k % 2 ? 2 : 0, k % 4 / 2 ? 2 : 0, 6, 6 }, none[5] = { 0 };
            CHECK(memcmp(v, i == 1 ? none : want, sizeof want) == 0);
        }
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

/* What forward makes of a view said as numbers, and what augment paints for it, are the same bits (planes here, rows of pixels there). */
FL_TEST(painted_views_are_what_forward_paints)
{
    struct fl_err err = { 0 };
    static const char *const specs[] = { "['d4','center']", "['flips','scaled']", "['random_crop:3','rot90']" };
    static const double mean[3] = { .485, .456, .406 }, std[3] = { .229, .224, .225 };
    for (size_t k = 0; k < 3; k++) {
        char options[2][200];
        snprintf(options[0], 200, "{'views':%s,'size':11,'tile':17}", specs[k]);
        snprintf(options[1], 200, "{'views':%s,'size':11,'tile':17,'out':'f32'}", specs[k]);
        struct fl_harness *h[2];
        struct fl_batch *b[2];
        for (int i = 0; i < 2; i++) {
            h[i] = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = options[i], .seed = 5 }, &err);
            CHECK(h[i] != NULL);
            CHECK_OK(fl_harness_open(h[i], &err), err);
            b[i] = fl_harness_batch(h[i], 0, 2);
            uint8_t *pixels = fl_harness_tensor(h[i], b[i], "pixels", FL_U8, 4, (uint32_t[]){ 2, 17, 17, 3 }, NULL);
            for (uint32_t p = 0; p < 2 * 17 * 17 * 3; p++)
                pixels[p] = (uint8_t)(p * 2654435761u >> 24);
            CHECK_OK(fl_harness_push(h[i], b[i], &err), err);
            b[i] = fl_harness_pop(h[i]);
            CHECK(b[i] != NULL);
        }
        const struct fl_tensor *view = fl_batch_find(b[0], "view"), *input = fl_batch_find(b[1], "input");
        CHECK(view != NULL && input != NULL && input->ndim == 5 && input->shape[1] == view->shape[1] && fl_batch_find(b[1], "view") == NULL);
        CHECK(((const double *)fl_batch_find(b[1], "norm")->data)[4] == .224);
        struct fl_input in;
        static float rows[11 * 11 * 3];
        const uint8_t *pixels = fl_batch_find(b[0], "pixels")->data;
        CHECK_OK(fl_input_init(&in, 11, 3, 255, mean, std, &err), err);
        for (uint32_t i = 0; i < 2 * view->shape[1]; i++) {
            struct fl_window win;
            const struct fl_tile tile = { pixels + i / view->shape[1] * 17 * 17 * 3, FL_U8, 17, 17 };
            CHECK_OK(fl_window_read((const float *)view->data + (size_t)i * 5, 17, 17, &win, &err), err);
            CHECK_OK(fl_input_paint(&in, &tile, &win, rows, &err), err);
            const float *got = (const float *)input->data + (size_t)i * sizeof rows / sizeof rows[0];
            for (uint32_t p = 0; p < 11 * 11; p++)
                for (uint32_t c = 0; c < 3; c++)
                    CHECK(got[c * 11 * 11 + p] == rows[p * 3 + c]);
        }
        fl_input_done(&in);
        for (int i = 0; i < 2; i++) {
            fl_harness_free_batch(h[i], b[i]);
            fl_harness_close(h[i]);
        }
    }
}

/* Copies of D4 and integer windows are exact, to the tile's own type; a rejected row is zero; what was drawn is told. */
FL_TEST(pixels_and_parameters_come_along)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = "{'ops':['d4',{'rotate':{'theta':90,'p':0.5}}],'tile':9,'out':'pixels','copies':3}", .seed = 3 }, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_open(h, &err), err);
    struct fl_batch *b = fl_harness_batch(h, 0, 4);
    uint16_t *pixels = fl_harness_tensor(h, b, "pixels", FL_U16, 4, (uint32_t[]){ 4, 9, 9, 4 }, NULL);
    for (uint32_t p = 0; p < 4 * 9 * 9 * 4; p++)
        pixels[p] = (uint16_t)(p * 2654435761u >> 16);
    uint16_t *keep = malloc(4 * 9 * 9 * 4 * sizeof *keep);
    memcpy(keep, pixels, 4 * 9 * 9 * 4 * sizeof *keep);
    int32_t *status = fl_harness_tensor(h, b, "status", FL_I32, 1, (uint32_t[]){ 4 }, NULL);
    status[2] = FL_E_INPUT;
    CHECK_OK(fl_harness_push(h, b, &err), err);
    b = fl_harness_pop(h);
    CHECK(b != NULL);
    const struct fl_tensor *input = fl_batch_find(b, "input"), *params = fl_batch_find(b, "params"), *names = fl_batch_find(b, "param_names");
    CHECK(input != NULL && input->dtype == FL_U16 && params != NULL && params->shape[2] == 4 && names != NULL && fl_batch_find(b, "norm") == NULL);
    CHECK_STR((const char *)names->data + 3 * 32, "1.rotate.theta");
    const uint16_t *got = input->data;
    const float *p = params->data;
    int turned = 0;
    for (uint32_t i = 0; i < 12; i++, p += 4)
        for (uint32_t c = 0; c < 4; c++)
            for (uint32_t y = 0; y < 9; y++)
                for (uint32_t x = 0; x < 9; x++, got++) {
                    uint32_t sx, sy;      /* rotating by 90 degrees is element 6 */
                    CHECK(p[0] == (i / 3 != 2));
                    turned += p[2] == 1;
                    fl_d4_source(fl_d4_compose((uint32_t)p[1], p[2] == 1 ? 6 : 0), 9, x, y, &sx, &sy);
                    CHECK_INT(*got, i / 3 == 2 ? 0 : keep[((i / 3 * 9 + sy) * 9 + sx) * 4 + c]);
                }
    CHECK(turned > 0 && turned < 9 * 4 * 81);
    free(keep);
    fl_harness_free_batch(h, b);
    fl_harness_close(h);
}

static const struct { const char *options, *says; } settings[] = {
    { "{'preset':'albo'}", "did you mean albu" }, { "{'preset':'albu','ops':['d4']}", "exclude" }, { "{'views':'random:3'}", "preset or ops" },
    { "{'views':'d4','preset':'albu'}", "random:K" }, { "{'augs':'none'}", "training" }, { "{'copies':2,'views':'d4'}", "training" },
    { "{'preset':'albu','out':'views'}", "painted" }, { "{'preset':'albu','tile':64,'size':96}", "smaller" }, { "{'preset':'nizhib','tile':64,'augs':'unbiased'}", "smaller" },
    { "{'ops':['d4'],'normalise':'imagnet'}", "imagenet" }, { "{'ops':['d4'],'augs':{'0':'fast'}}", "augs" }, { "{'ops':['d4'],'tile':20000}", "16384" },
};

FL_TEST(settings_that_clash_are_named)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        struct fl_err err = { 0 };
        struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = settings[i].options }, &err);
        CHECK(h != NULL);
        CHECK_INT(fl_harness_describe(h, &err), FL_E_CONFIG);
        CHECK_HAS(err.text, settings[i].says);
        fl_harness_close(h);
    }
}

FL_TEST(stage_refuses_other_pixels_and_settings)
{
    struct fl_err err = { 0 };
    struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = "{'tile':8}" }, &err);
    CHECK(h != NULL);
    CHECK_OK(fl_harness_open(h, &err), err);
    struct fl_batch *b = fl_harness_batch(h, 0, 1);
    fl_harness_tensor(h, b, "pixels", FL_U16, 4, (uint32_t[]){ 1, 9, 8, 4 }, NULL);
    CHECK_INT(fl_harness_push(h, b, &err), FL_E_SHAPE);
    fl_harness_close(h);
    h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = "{'views':'dd4'}" }, &err);
    CHECK(h != NULL);
    CHECK_INT(fl_harness_describe(h, &err), FL_E_CONFIG);
    CHECK_HAS(err.text, "d4");
    CHECK_INT(fl_harness_open(h, &err), FL_E_CONFIG);
    fl_harness_close(h);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(elements_are_what_their_names_say), CASE(elements_form_a_group), CASE(a_crop_before_a_symmetry_is_moved),
        CASE(sets_are_the_rows_they_name), CASE(forty_eight_views_with_the_last_fastest), CASE(random_crops_follow_seed_tile_and_place),
        CASE(bad_sets_are_named), CASE(stage_gives_a_row_a_view_and_passes_pixels), CASE(stage_refuses_other_pixels_and_settings),
        CASE(painted_views_are_what_forward_paints), CASE(pixels_and_parameters_come_along), CASE(settings_that_clash_are_named), { 0 }
    };
    return fl_run(cases, argc, argv);
}
