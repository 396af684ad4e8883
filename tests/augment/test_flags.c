/* What "no bias" in the table of ops means: over 1,000 smooth tiles those ops keep mean and deviation of every band; a symmetry keeps all values. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/harness.h"

extern const struct fl_stage fl_stage_augment;

#define TILES  1000u
#define BATCH  8u
#define SIDE   64u
#define BANDS  3u
#define WAVES  6

/* Waves of random direction and phase, one to two periods a tile: a stationary field, so that a window or a turn of it has the same
 * mean and deviation, on average. The distribution is that of the waves' sum, inside of 0..65535 to the end: nothing is clipped. */
static void paint(uint16_t *out)
{
    static const double top[BANDS] = { 9000, 14000, 20000 }, middle[BANDS] = { 24000, 30000, 36000 };
    for (uint32_t c = 0; c < BANDS; c++) {
        double across[WAVES][2][SIDE], down[WAVES][2][SIDE];             /* cos(a + b) = cos a cos b - sin a sin b */
        for (int w = 0; w < WAVES; w++) {
            double turn = 2 * M_PI * drand48(), k = 2 * M_PI * (1 + drand48()) / SIDE, phase = 2 * M_PI * drand48();
            for (uint32_t i = 0; i < SIDE; i++) {
                across[w][0][i] = cos(k * cos(turn) * i + phase);
                across[w][1][i] = sin(k * cos(turn) * i + phase);
                down[w][0][i] = cos(k * sin(turn) * i);
                down[w][1][i] = sin(k * sin(turn) * i);
            }
        }
        for (uint32_t y = 0; y < SIDE; y++)
            for (uint32_t x = 0; x < SIDE; x++) {
                double v = 0;
                for (int w = 0; w < WAVES; w++)
                    v += across[w][0][x] * down[w][0][y] - across[w][1][x] * down[w][1][y];
                out[(y * SIDE + x) * BANDS + c] = (uint16_t)lrint(middle[c] + top[c] * v / WAVES);
            }
    }
}

struct moments { double n[BANDS], sum[BANDS], square[BANDS]; };

static void add(struct moments *m, uint32_t c, double v)
{
    m->n[c] += 1;
    m->sum[c] += v;
    m->square[c] += v * v;
}

static int by_value(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* All tiles through a list of ops; `exact`: each band of a view must hold the values of its tile. */
static void through(const char *ops, uint32_t size, bool exact, double worst[2])
{
    char options[400];
    struct fl_err err = { 0 };
    struct moments before = { 0 }, after = { 0 };
    snprintf(options, sizeof options, "{'ops': [%s], 'tile': %u, 'size': %u, 'out': 'pixels'}", ops, SIDE, size);
    struct fl_harness *h = fl_harness_new(&fl_stage_augment, &(struct fl_harness_conf){ .options = options, .B = BATCH, .seed = 7 }, &err);
    CHECK(h != NULL && fl_harness_describe(h, &err) == FL_OK && fl_harness_open(h, &err) == FL_OK);
    srand48(1);
    for (uint32_t b = 0; h != NULL && b < TILES / BATCH; b++) {
        struct fl_batch *in = fl_harness_batch(h, b, BATCH);
        uint16_t *pixels = fl_harness_tensor(h, in, "pixels", FL_U16, 4, (uint32_t[]){ BATCH, SIDE, SIDE, BANDS }, NULL);
        for (uint32_t i = 0; i < BATCH; i++)
            paint(pixels + (size_t)i * SIDE * SIDE * BANDS);
        uint16_t *kept = malloc((size_t)BATCH * SIDE * SIDE * BANDS * sizeof *kept);
        memcpy(kept, pixels, (size_t)BATCH * SIDE * SIDE * BANDS * sizeof *kept);
        CHECK_INT(fl_harness_push(h, in, &err), FL_OK);
        struct fl_batch *out = fl_harness_pop(h);
        const struct fl_tensor *t = out != NULL ? fl_in(out, "input") : NULL;
        CHECK(t != NULL && t->dtype == FL_U16 && t->shape[3] == size);
        const uint16_t *views = t != NULL ? t->data : NULL;
        for (uint32_t r = 0; views != NULL && r < BATCH * BANDS; r++) {
            uint16_t tile[SIDE * SIDE], view[SIDE * SIDE];
            for (uint32_t i = 0; i < SIDE * SIDE; i++)
                add(&before, r % BANDS, tile[i] = kept[((size_t)(r / BANDS) * SIDE * SIDE + i) * BANDS + r % BANDS]);
            for (uint32_t i = 0; i < size * size; i++)
                add(&after, r % BANDS, view[i] = views[(size_t)r * size * size + i]);
            if (exact) {
                qsort(tile, SIDE * SIDE, sizeof *tile, by_value);
                qsort(view, SIDE * SIDE, sizeof *view, by_value);
                CHECK(memcmp(tile, view, sizeof tile) == 0);
            }
        }
        free(kept);
        fl_harness_free_batch(h, out);
    }
    fl_harness_close(h);
    worst[0] = worst[1] = 0;
    for (uint32_t c = 0; c < BANDS; c++) {
        double m0 = before.sum[c] / before.n[c], m1 = after.sum[c] / after.n[c];
        double s0 = sqrt(before.square[c] / before.n[c] - m0 * m0), s1 = sqrt(after.square[c] / after.n[c] - m1 * m1);
        worst[0] = fmax(worst[0], fabs(m1 / m0 - 1));
        worst[1] = fmax(worst[1], fabs(s1 / s0 - 1));
    }
}

FL_TEST(ops_without_bias_keep_mean_and_deviation)
{
    static const struct { const char *ops; uint32_t size; } cases[] = {
        { "{'offset': {'p': 1}}", SIDE }, { "{'rotate': {'p': 1}}", SIDE }, { "{'random_crop': {'p': 1}}", 52 }, { "'d4', {'offset': {'p': 1}}, {'rotate': {'p': 1}}", SIDE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double worst[2] = { 0 };
        through(cases[i].ops, cases[i].size, false, worst);
        CHECK_NEAR(worst[0], 0, 0.005);
        CHECK_NEAR(worst[1], 0, 0.005);
    }
}

FL_TEST(a_symmetry_keeps_every_value)
{
    double worst[2] = { 0 };
    through("'d4'", SIDE, true, worst);
    CHECK(worst[0] < 1e-12 && worst[1] < 1e-12);
}

/* Statistics show that there is something to see: an op that has bias moves them. */
FL_TEST(contrast_moves_the_deviation)
{
    double worst[2] = { 0 };
    through("{'contrast': {'p': 1, 'al': [0.8, 0.9]}}", SIDE, false, worst);
    CHECK(worst[1] > 0.05);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(ops_without_bias_keep_mean_and_deviation), CASE(a_symmetry_keeps_every_value), CASE(contrast_moves_the_deviation), { 0 } };
    return fl_run(cases, argc, argv);
}
