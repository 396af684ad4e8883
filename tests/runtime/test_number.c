/* Numbers of tables against printf. */
#include "runtime/number.h"

#include "tests/lib/check.h"

static float from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#define SAME(v) do { char want_[64], got_[32]; float v_ = (v); size_t len_ = fl_f32_text(v_, got_); snprintf(want_, sizeof want_, "%.9g", (double)v_); \
    CHECK_STR(got_, want_); CHECK_INT(len_, strlen(want_)); } while (0)

FL_TEST(odd_values)
{
    const float values[] = { 0, 1, 0.5f, 0.25f, 0.1f, 0.01f, 0.001f, 1e-4f, 1e-5f, 0.2f, 1.0f / 3, 0.99999994f, -0.5f, -0.0f, 1.5f, 1e30f, 1e-45f,
                             INFINITY, -INFINITY, NAN, 0x1p-13f, 0x1.fffffep-14f, 0x1p-24f, 9.99999975e-05f, 0.00100000005f };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        SAME(values[i]);
}

FL_TEST(the_neighbours_of_each_power_of_ten_and_two)
{
    for (int power = -6; power <= 0; power++)
        for (int i = -300; i <= 300; i++) {
            float v = (float)pow(10, power);
            uint32_t bits;
            memcpy(&bits, &v, sizeof bits);
            SAME(from_bits(bits + (uint32_t)i));
        }
    for (uint32_t e = 110; e <= 127; e++)
        for (uint32_t i = 0; i <= 600; i++)
            SAME(from_bits((e << 23) + i - 300));
}

FL_TEST(one_float_in_some_hundred_between_1e_minus_5_and_1)
{
    for (uint32_t bits = 0x3727c5acu; bits < 0x3f800010u; bits += 331)
        SAME(from_bits(bits));
}

FL_TEST(decimal_numbers_and_nothing_else)
{
    static const struct { const char *text; double v; } good[] = {
        { "0", 0 }, { "1.", 1 }, { ".5", .5 }, { "-0.25", -.25 }, { "+3e2", 300 }, { "1E-3", 1e-3 }, { "00.1e+00", .1 }, { "1e-400", 0 },
    };
    static const char *const bad[] = { "", ".", "+", "e5", "1e", "1e+", " 1", "1 ", "0x1", "0x1p-2", "inf", "nan", "1,5", "1e400", "--1", "1f", "1.2.3" };
    double v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK(fl_number_parse(good[i].text, &v));
        CHECK_NEAR(v, good[i].v, 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (fl_number_parse(bad[i], &v))
            fl_fail_at(__FILE__, __LINE__, "\"%s\" was read as %g", bad[i], v);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(odd_values), CASE(the_neighbours_of_each_power_of_ten_and_two), CASE(one_float_in_some_hundred_between_1e_minus_5_and_1),
        CASE(decimal_numbers_and_nothing_else), { 0 }
    };
    return fl_run(cases, argc, argv);
}
