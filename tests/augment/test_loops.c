/* The loops of painting: every version gives the bits of the plain one. Sizes are 1, primes and one more than a vector. */
#include "stages/augment/exact.h"
#include "stages/augment/loops.h"
#include "tests/lib/check.h"

static uint32_t state = 1;

static double unit(void)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) * 0x1p-24;
}

static const uint32_t sizes[] = { 1, 2, 7, 8, 9, 16, 17, 61, 224, 257 };
#define NSIZES (sizeof sizes / sizeof sizes[0])
#define MOST 257u

FL_TEST(coordinates_are_the_same_bits)
{
    static double x[2][MOST], y[2][MOST], a[6];
    static int32_t f[2][MOST];
    for (const struct fl_loops *const *l = fl_loops; *l != NULL; l++)
        for (size_t s = 0; s < NSIZES && (*l)->probe(); s++) {
            uint32_t n = sizes[s], side = 2 + s * 31;
            for (int i = 0; i < 6; i++)
                a[i] = 3 * unit() - 1.5;
            for (uint32_t i = 0; i < n; i++) {
                x[0][i] = x[1][i] = 400 * unit() - 200;
                y[0][i] = y[1][i] = 400 * unit() - 200;
            }
            const struct fl_loops *pair[2] = { &fl_loops_plain, *l };
            bool far[2];
            for (int k = 0; k < 2; k++) {
                pair[k]->affine(a, x[k], y[k], n);
                pair[k]->radial(a[0], a[1], 1e-4 * a[2], x[k], y[k], n);
                far[k] = pair[k]->reflect(x[k], n, side);
                for (uint32_t i = 0; i < n; i++)
                    y[k][i] = fabs(y[k][i]);
                pair[k]->fixed(y[k], f[k], n);
            }
            CHECK_INT(far[0], far[1]);
            CHECK(memcmp(x[0], x[1], n * sizeof x[0][0]) == 0 && memcmp(y[0], y[1], n * sizeof y[0][0]) == 0 && memcmp(f[0], f[1], n * sizeof f[0][0]) == 0);
        }
}

FL_TEST(samples_are_the_same_bits_and_stay_in_the_tile)
{
    static int32_t x[MOST], y[MOST];
    static float out[2][4][MOST];
    for (const struct fl_loops *const *l = fl_loops; *l != NULL; l++)
        for (size_t s = 0; s < NSIZES && (*l)->probe(); s++)
            for (uint32_t channels = 1; channels <= 4; channels++) {
                uint32_t n = sizes[s], side = s == 0 ? 1 : (uint32_t)(2 + (s - 1) * 9);
                size_t count = (size_t)side * side * channels;
                uint8_t *u8 = malloc(count);              /* of the exact size, for the sanitizers */
                uint16_t *u16 = malloc(count * sizeof *u16);
                for (size_t i = 0; i < count; i++) {
                    u8[i] = (uint8_t)(256 * unit());
                    u16[i] = (uint16_t)(65536 * unit());
                }
                for (uint32_t i = 0; i < n; i++) {        /* corners among them */
                    x[i] = i % 5 == 0 ? (int32_t)((side - 1) << 16) : (int32_t)(unit() * ((side - 1) << 16));
                    y[i] = i % 3 == 0 ? (int32_t)((side - 1) << 16) : (int32_t)(unit() * ((side - 1) << 16));
                }
                const struct fl_loops *pair[2] = { &fl_loops_plain, *l };
                for (int k = 0; k < 2; k++)
                    pair[k]->sample_u8(u8, side, channels, x, y, n, (float *const[]){ out[k][0], out[k][1], out[k][2], out[k][3] });
                bool same = true;
                for (uint32_t c = 0; c < channels; c++) {
                    same &= memcmp(out[0][c], out[1][c], n * sizeof(float)) == 0;
                    same &= out[1][c][0] == (float)u8[((size_t)(side - 1) * side + side - 1) * channels + c];
                }
                for (int k = 0; k < 2; k++)
                    pair[k]->sample_u16(u16, side, channels, x, y, n, (float *const[]){ out[k][0], out[k][1], out[k][2], out[k][3] });
                for (uint32_t c = 0; c < channels; c++)
                    same &= memcmp(out[0][c], out[1][c], n * sizeof(float)) == 0;
                free(u8);
                free(u16);
                CHECK(same);
            }
}

FL_TEST(planes_are_the_same_bits)
{
    static float p[2][4][MOST];
    for (const struct fl_loops *const *l = fl_loops; *l != NULL; l++)
        for (size_t s = 0; s < NSIZES && (*l)->probe(); s++) {
            size_t n = sizes[s];
            const struct fl_loops *pair[2] = { &fl_loops_plain, *l };
            double sum[2];
            for (int c = 0; c < 4; c++)
                for (size_t i = 0; i < n; i++)
                    p[0][c][i] = p[1][c][i] = i % 7 == 0 ? (i % 2 ? 255 : 0) : (float)(255 * unit());
            for (int k = 0; k < 2; k++) {
                pair[k]->hsv(p[k][0], p[k][1], p[k][2], n, -3.7f, .1f, -.05f, 255);
                pair[k]->levels(p[k][0], n, 1.3f, -20, 255);
                pair[k]->mac(p[k][1], p[k][0], .37f, n);
                pair[k]->scale(p[k][2], n, .9f, 3);
                pair[k]->levels_scale(p[k][3], n, 1.2f, -9, 255, .017f, -2.1f);
                sum[k] = pair[k]->sum(p[k][1], n);
            }
            CHECK(memcmp(&sum[0], &sum[1], sizeof sum[0]) == 0);
            for (int c = 0; c < 4; c++)
                CHECK(memcmp(p[0][c], p[1][c], n * sizeof p[0][0][0]) == 0);
        }
}

FL_TEST(functions_agree_with_the_c_library)
{
    double s, c;
    for (int i = -1950; i <= 1950; i++) {
        double d = .37 * i;
        fl_sincos_degrees(d, &s, &c);
        CHECK_NEAR(s, sin(d * 3.14159265358979323846 / 180), 3e-15);
        CHECK_NEAR(c, cos(d * 3.14159265358979323846 / 180), 3e-15);
    }
    for (int d = -720; d <= 720; d += 90) {
        fl_sincos_degrees(d, &s, &c);
        CHECK(fabs(s) + fabs(c) == 1);
    }
    for (int i = 0; i < 6300; i++)
        CHECK(fabs(fl_exp(-.11 * i) / exp(-.11 * i) - 1) < 1e-15);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(coordinates_are_the_same_bits), CASE(samples_are_the_same_bits_and_stay_in_the_tile), CASE(planes_are_the_same_bits),
        CASE(functions_agree_with_the_c_library), { 0 }
    };
    return fl_run(cases, argc, argv);
}
