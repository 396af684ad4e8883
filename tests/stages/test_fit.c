/* fit: centre cuts with mirrored edges and bilinear sizes against values worked out by hand. */
#include "stages/lib/fit.h"

#include "tests/lib/check.h"

FL_TEST(cut_takes_the_centre)
{
    uint8_t in[5 * 4], out[4];
    for (int i = 0; i < 20; i++)
        in[i] = (uint8_t)i;
    const struct fl_image im = { in, 5, 4, 1, 1 };        /* 5 wide: starts at 1; 4 high: at 1 */
    static const uint8_t want[] = { 6, 7, 11, 12 };
    fl_fit_cut(&im, 2, out);
    CHECK(memcmp(out, want, 4) == 0);
}

FL_TEST(cut_mirrors_what_is_missing)
{
    static const uint16_t in[3] = { 10, 20, 30 };
    uint16_t out[49];
    const struct fl_image row = { in, 3, 1, 1, 2 };        /* starts at -2: 2 1 | 0 1 2 | 1 0, each row the same */
    static const uint16_t want[7] = { 30, 20, 10, 20, 30, 20, 10 };
    fl_fit_cut(&row, 7, out);
    for (int y = 0; y < 7; y++)
        CHECK(memcmp(out + 7 * y, want, sizeof want) == 0);
    const struct fl_image column = { in, 1, 3, 1, 2 };
    fl_fit_cut(&column, 6, out);                           /* (6-3)/2 = 1: starts at -1 */
    static const uint16_t down[6] = { 20, 10, 20, 30, 20, 10 };
    for (int y = 0; y < 6; y++)
        CHECK(out[6 * y] == down[y] && out[6 * y + 5] == down[y]);
}

FL_TEST(cut_keeps_channels_together)
{
    static const uint8_t in[] = { 1, 2, 3, 4, 5, 6 };      /* two pixels of three */
    uint8_t out[27];
    static const uint8_t want[] = { 1, 2, 3, 4, 5, 6, 1, 2, 3 };
    const struct fl_image im = { in, 2, 1, 3, 1 };
    fl_fit_cut(&im, 3, out);
    CHECK(memcmp(out, want, 9) == 0 && memcmp(out + 18, want, 9) == 0);
}

FL_TEST(resize_by_hand)
{
    static const uint8_t in[4] = { 0, 100, 200, 40 };      /* 2 x 2 */
    uint8_t out[16];
    struct fl_err err = { 0 };
    const struct fl_image im = { in, 2, 2, 1, 1 };
    CHECK_OK(fl_fit_resize(&im, 4, out, &err), err);       /* centres at -.25 .25 .75 1.25 */
    static const uint8_t want[16] = { 0, 25, 75, 100, 50, 59, 76, 85, 150, 126, 79, 55, 200, 160, 80, 40 };
    for (int i = 0; i < 16; i++)
        CHECK_INT(out[i], want[i]);
    CHECK_OK(fl_fit_resize(&im, 1, out, &err), err);
    CHECK_INT(out[0], 85);
    CHECK_OK(fl_fit_resize(&im, 2, out, &err), err);
    CHECK(memcmp(out, in, 4) == 0);
}

FL_TEST(resize_of_a_ramp_is_a_ramp)
{
    uint16_t in[50 * 3], out[100 * 100 * 3];
    for (int i = 0; i < 50; i++)
        for (int c = 0; c < 3; c++)
            in[3 * i + c] = (uint16_t)(1000 * i + 7 * c + 5000);
    struct fl_err err = { 0 };
    const struct fl_image im = { in, 50, 1, 3, 2 };
    CHECK_OK(fl_fit_resize(&im, 100, out, &err), err);
    for (int x = 1; x < 99; x++)
        for (int c = 0; c < 3; c++)
            CHECK_INT(out[300 * 57 + 3 * x + c], 1000 * (x + 0.5) / 2 - 500 + 7 * c + 5000);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(cut_takes_the_centre), CASE(cut_mirrors_what_is_missing), CASE(cut_keeps_channels_together), CASE(resize_by_hand),
        CASE(resize_of_a_ramp_is_a_ramp), { 0 }
    };
    return fl_run(cases, argc, argv);
}
