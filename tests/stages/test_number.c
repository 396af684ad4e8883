/* Numbers of tables against printf. */
#include "stages/lib/number.h"

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

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(odd_values), CASE(the_neighbours_of_each_power_of_ten_and_two), CASE(one_float_in_some_hundred_between_1e_minus_5_and_1), { 0 }
    };
    return fl_run(cases, argc, argv);
}
