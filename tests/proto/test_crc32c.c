/* CRC-32C: known answers, and the two ways against each other. */
#include "proto/crc32c.h"

#include "tests/lib/check.h"

FL_TEST(known_answers)
{
    /* RFC 3720, B.4, and the usual check value */
    uint8_t zeros[32] = { 0 }, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) {
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    const struct { const void *bytes; size_t len; uint32_t crc; } cases[] = {
        { "", 0, 0 }, { "123456789", 9, 0xe3069283u }, { zeros, 32, 0x8a9136aau }, { ones, 32, 0x62a8ab43u },
        { up, 32, 0x46dd794eu }, { down, 32, 0x113fdb5cu },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(fl_crc32c(0, cases[i].bytes, cases[i].len), cases[i].crc);
        CHECK_INT(fl_crc32c_table(0, cases[i].bytes, cases[i].len), cases[i].crc);
    }
}

FL_TEST(both_ways_agree_at_any_size_and_place)
{
    uint8_t bytes[300];
    uint32_t x = 12345;
    for (size_t i = 0; i < sizeof bytes; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(x >> 24);
    }
    for (size_t at = 0; at < 9; at++)
        for (size_t len = 0; at + len <= sizeof bytes; len++)
            CHECK_INT(fl_crc32c(x, bytes + at, len), fl_crc32c_table(x, bytes + at, len));
}

FL_TEST(pieces_make_the_whole)
{
    const char *text = "journal segment 00000000";
    size_t len = strlen(text);
    for (size_t cut = 0; cut <= len; cut++)
        CHECK_INT(fl_crc32c(fl_crc32c(0, text, cut), text + cut, len - cut), fl_crc32c(0, text, len));
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = {
        CASE(known_answers), CASE(both_ways_agree_at_any_size_and_place), CASE(pieces_make_the_whole), { 0 }
    };
    return fl_run(cases, argc, argv);
}
