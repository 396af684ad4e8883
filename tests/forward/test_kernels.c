/* The CPU executor's own kernels, each version that this processor runs, against plain loops. */
#include "stages/forward/cpu_kernels.h"
#include "tests/forward/rule_weights.h"
#include "tests/lib/check.h"

#define KERN_H 5
#define KERN_W 7
#define KERN_STRIDE 40
static float kern_a[2 * KERN_H * KERN_W * KERN_STRIDE], kern_b[2 * KERN_H * KERN_W * KERN_STRIDE];

static struct fl_cpu_view kern_view(float *p, uint32_t h, uint32_t w, uint32_t c) { return (struct fl_cpu_view){ p, KERN_STRIDE, h, w, c, false }; }

static void kern_reset(void)
{
    rule_fill("kernels", kern_a, sizeof kern_a / sizeof *kern_a, -2, 4);
    for (size_t i = 0; i < sizeof kern_b / sizeof *kern_b; i++)
        kern_b[i] = 77;
}

static float kern_at(uint32_t row, uint32_t y, uint32_t x, uint32_t c) { return kern_a[(((size_t)row * KERN_H + y) * KERN_W + x) * KERN_STRIDE + c]; }

/* Nothing behind the slice may be written. */
static void kern_untouched(uint32_t pixels, uint32_t c)
{
    for (uint32_t px = 0; px < pixels; px++)
        for (uint32_t k = c; k < KERN_STRIDE; k++)
            CHECK_NEAR(kern_b[px * KERN_STRIDE + k], 77, 0);
}

static void check_kernels_on_odd_channel_numbers(const struct fl_cpu_kernels *kern)
{
    static const uint32_t cs[] = { 1, 7, 15, 16, 17, 31, 33, 40 };
    float scale[KERN_STRIDE], shift[KERN_STRIDE];
    rule_fill("scale", scale, KERN_STRIDE, -1, 2);
    rule_fill("shift", shift, KERN_STRIDE, -1, 2);
    for (size_t i = 0; i < sizeof cs / sizeof cs[0]; i++) {
        uint32_t c = cs[i];
        kern_reset();
        struct fl_cpu_view in = kern_view(kern_a, KERN_H, KERN_W, c), out = kern_view(kern_b, KERN_H, KERN_W, c);
        kern->scale(&in, &out, 2, scale, shift, true);
        for (uint32_t px = 0; px < 2 * KERN_H * KERN_W; px++)
            for (uint32_t k = 0; k < c; k++) {
                float v = kern_a[px * KERN_STRIDE + k] * scale[k] + shift[k];
                CHECK_NEAR(kern_b[px * KERN_STRIDE + k], v > 0 ? v : 0, 0);
            }
        kern_untouched(2 * KERN_H * KERN_W, c);

        kern_reset();
        out = kern_view(kern_b, 3, 4, c);
        kern->max(&in, &out, 2, 3, 2, 1);
        for (uint32_t row = 0; row < 2; row++)
            for (uint32_t y = 0; y < 3; y++)
                for (uint32_t x = 0; x < 4; x++)
                    for (uint32_t k = 0; k < c; k++) {
                        float best = -INFINITY;
                        for (int dy = -1; dy <= 1; dy++)
                            for (int dx = -1; dx <= 1; dx++) {
                                int iy = (int)(2 * y) + dy, ix = (int)(2 * x) + dx;
                                if (iy >= 0 && iy < KERN_H && ix >= 0 && ix < KERN_W)
                                    best = fmaxf(best, kern_at(row, (uint32_t)iy, (uint32_t)ix, k));
                            }
                        CHECK_NEAR(kern_b[((row * 3 + y) * 4 + x) * KERN_STRIDE + k], best, 0);
                    }
        kern_untouched(2 * 3 * 4, c);

        kern_reset();
        out = kern_view(kern_b, 7, 7, c);              /* more bins than pixels: floor and ceil overlap */
        kern->average(&in, &out, 1, 0, NULL, NULL, false);
        for (uint32_t y = 0; y < 7; y++)
            for (uint32_t k = 0; k < c; k++) {
                uint32_t y0 = y * 5 / 7, y1 = ((y + 1) * 5 + 6) / 7;
                double sum = 0;
                for (uint32_t iy = y0; iy < y1; iy++)
                    sum += kern_at(0, iy, 3, k);
                CHECK_NEAR(kern_b[(y * 7 + 3) * KERN_STRIDE + k], sum / (y1 - y0), 1e-6);
            }
    }
}

static void check_finite_finds_each_place(const struct fl_cpu_kernels *kern)
{
    float x[37] = { 0 };
    x[3] = 3.4028235e38f;
    CHECK(kern->finite(x, 37));
    for (size_t i = 0; i < 37; i++) {
        float keep = x[i];
        x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
        CHECK(!kern->finite(x, 37));
        CHECK(kern->finite(x, i));
        x[i] = keep;
    }
}

static void check_bf16_rounds_to_nearest_even(const struct fl_cpu_kernels *kern)
{
    static const struct { uint32_t bits; uint16_t want; } cases[] = {
        { 0x3f800000, 0x3f80 }, { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, { 0x3f808001, 0x3f81 }, { 0x7f7fffff, 0x7f80 },
        { 0x7f800000, 0x7f80 }, { 0xff800000, 0xff80 }, { 0x7fffffff, 0x7fc0 }, { 0xffc00001, 0x7fc0 }, { 0x80000000, 0x8000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float x[33], back[33];
        uint16_t half[33];
        for (int k = 0; k < 33; k++)
            memcpy(&x[k], &cases[i].bits, sizeof x[k]);
        struct fl_cpu_view in = { x, 33, 1, 1, 33, false }, mid = { half, 33, 1, 1, 33, true }, out = { back, 33, 1, 1, 33, false };
        kern->scale(&in, &mid, 1, NULL, NULL, false);
        kern->scale(&mid, &out, 1, NULL, NULL, false);
        CHECK_INT(fl_cpu_to_bf16(x[0]), cases[i].want);
        for (int k = 0; k < 33; k++) {
            uint32_t bits;
            memcpy(&bits, &back[k], sizeof bits);
            if (x[k] != x[k]) {                            /* which NaN it becomes is the version's own */
                CHECK((bits & 0x7fffffff) > 0x7f800000);
                continue;
            }
            CHECK_INT(half[k], cases[i].want);
            CHECK_INT(bits, (uint32_t)cases[i].want << 16);
        }
    }
}

static void each_version(void (*check)(const struct fl_cpu_kernels *))
{
    for (uint32_t i = 0; fl_cpu_kernels[i] != NULL; i++)
        if (fl_cpu_kernels[i]->probe())
            check(fl_cpu_kernels[i]);
}

FL_TEST(kernels_on_odd_channel_numbers) { each_version(check_kernels_on_odd_channel_numbers); }
FL_TEST(finite_finds_each_place) { each_version(check_finite_finds_each_place); }
FL_TEST(bf16_rounds_to_nearest_even) { each_version(check_bf16_rounds_to_nearest_even); }

/* The wider versions give the bits of the plain one, NaN and -0 among the values. */
FL_TEST(versions_give_the_same_bits)
{
    static float want[sizeof kern_b / sizeof *kern_b];
    for (uint32_t i = 0; fl_cpu_kernels[i] != NULL; i++) {
        if (!fl_cpu_kernels[i]->probe())
            continue;
        for (int pass = 0; pass < 2; pass++) {
            const struct fl_cpu_kernels *kern = pass == 0 ? &fl_cpu_kernels_plain : fl_cpu_kernels[i];
            kern_reset();
            kern_a[5] = NAN;
            kern_a[50] = -0.0f;
            kern_a[90] = INFINITY;
            struct fl_cpu_view in = kern_view(kern_a, KERN_H, KERN_W, 39), out = kern_view(kern_b, 3, 4, 39);
            kern->max(&in, &out, 2, 3, 2, 1);
            if (pass == 0)
                memcpy(want, kern_b, sizeof want);
            else
                CHECK(memcmp(want, kern_b, sizeof want) == 0);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(bf16_rounds_to_nearest_even), CASE(finite_finds_each_place), CASE(kernels_on_odd_channel_numbers), CASE(versions_give_the_same_bits), { 0 }
    };
    return fl_run(cases, argc, argv);
}
