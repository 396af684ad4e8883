/* Known answers of Philox4x32-10 and of the counters, ranges, streams. */
#include "runtime/rng.h"

#include "tests/lib/check.h"

FL_TEST(philox_known_answers)
{
    static const struct { uint32_t ctr[4], key[2], want[4]; } t[] = {
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint32_t out[4];
        fl_philox(t[i].ctr, t[i].key, out);
        for (int k = 0; k < 4; k++)
            CHECK_INT(out[k], t[i].want[k]);
    }
}

FL_TEST(tile_keys)
{
    CHECK(fl_rng_tile("", 0) == UINT64_C(0xcbf29ce484222325));
    CHECK(fl_rng_tile("train_0", 7) == UINT64_C(0xeca7967cf0687696));
    CHECK(fl_rng_tile("train_10059", 11) == UINT64_C(0x8004a732c968b82f));
}

FL_TEST(blocks_of_a_tile)
{
    static const uint32_t first[4] = { 0x76eeceab, 0x530e4dd5, 0x4cb5f0b9, 0xf506fb2c }, second[4] = { 0x4709e423, 0x4033b3f1, 0x1b3b2c54, 0xf126cbf9 };
    uint64_t h = fl_rng_tile("train_10059", 11);
    uint32_t r[4];
    CHECK_INT(fl_rng_block(42, h, 0, 0, 0, 0, r), FL_OK);
    for (int k = 0; k < 4; k++)
        CHECK_INT(r[k], first[k]);
    CHECK_NEAR(fl_rng_unit(r[0]), 0.46458137, 5e-9);
    CHECK_INT(fl_rng_integer(r[1], 8), 2);
    CHECK_INT(fl_rng_block(42, h, 3, 2, 1, 0, r), FL_OK);
    for (int k = 0; k < 4; k++)
        CHECK_INT(r[k], second[k]);
}

FL_TEST(ranges_are_refused)
{
    uint32_t r[4];
    struct fl_rng g;
    CHECK_INT(fl_rng_block(0, 0, 0, 255, 63, (1u << 18) - 1, r), FL_OK);
    CHECK_INT(fl_rng_block(0, 0, 0, 256, 0, 0, r), FL_E_CONFIG);
    CHECK_INT(fl_rng_block(0, 0, 0, 0, 64, 0, r), FL_E_CONFIG);
    CHECK_INT(fl_rng_block(0, 0, 0, 0, 0, 1u << 18, r), FL_E_CONFIG);
    CHECK_INT(fl_rng_init(&g, 0, 0, 0, 256, 0), FL_E_CONFIG);
    CHECK_INT(fl_rng_init(&g, 0, 0, 0, 0, 64), FL_E_CONFIG);
}

FL_TEST(a_stream_is_its_blocks_in_order)
{
    struct fl_rng g;
    uint32_t block[4], r;
    CHECK_INT(fl_rng_init(&g, UINT64_C(0x123456789abcdef0), 7, FL_EPOCH_TEST, 3, 5), FL_OK);
    for (uint32_t i = 0; i < 40; i++) {
        CHECK_INT(fl_rng_block(UINT64_C(0x123456789abcdef0), 7, FL_EPOCH_TEST, 3, 5, i / 4, block), FL_OK);
        CHECK_INT(fl_rng_next(&g, &r), FL_OK);
        CHECK_INT(r, block[i % 4]);
    }
    g.block = FL_RNG_BLOCKS;
    g.left = 0;
    CHECK_INT(fl_rng_next(&g, &r), FL_E_CONFIG);
    CHECK_INT(r, 0);
}

FL_TEST(ends_of_the_ranges)
{
    CHECK_NEAR(fl_rng_unit(0), 0, 0);
    CHECK_NEAR(fl_rng_unit(UINT32_MAX), 1 - 0x1p-24, 0);
    CHECK_NEAR(fl_rng_uniform(0x80000000u, -2, 4), 1, 0);
    CHECK_INT(fl_rng_integer(UINT32_MAX, 17), 16);
    CHECK_INT(fl_rng_integer(0, 17), 0);
    CHECK_INT(fl_rng_integer(UINT32_MAX, UINT32_MAX), UINT32_MAX - 1);
}

FL_TEST(order_keys_are_two_draws_of_op_63)
{
    uint32_t r[4];
    CHECK_INT(fl_rng_block(9, 11, 2, 0, 63, 0, r), FL_OK);
    CHECK(fl_rng_order(9, 11, 2) == ((uint64_t)r[0] << 32 | r[1]));
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(philox_known_answers), CASE(tile_keys), CASE(blocks_of_a_tile), CASE(ranges_are_refused), CASE(a_stream_is_its_blocks_in_order),
        CASE(ends_of_the_ranges), CASE(order_keys_are_two_draws_of_op_63), { 0 }
    };
    return fl_run(cases, argc, argv);
}
