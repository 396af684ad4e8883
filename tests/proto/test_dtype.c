/* Element types: names both ways, sizes, and products of shapes up to the last that fits. */
#include "proto/dtype.h"

#include "tests/lib/check.h"

FL_TEST(knows_ten_types)
{
    static const struct { const char *name; size_t size; } want[] = {
        { "u8", 1 }, { "u16", 2 }, { "i32", 4 }, { "u32", 4 }, { "i64", 8 }, { "u64", 8 }, { "f16", 2 }, { "bf16", 2 }, { "f32", 4 }, { "f64", 8 },
    };
    CHECK_INT(FL_DTYPE_COUNT, 11);
    for (size_t i = 0; i < 10; i++) {
        int d = fl_dtype_parse(want[i].name, strlen(want[i].name));
        CHECK_INT(d, i + 1);
        CHECK_STR(fl_dtype_name(d), want[i].name);
        CHECK_INT(fl_dtype_size(d), want[i].size);
    }
}

FL_TEST(knows_no_other)
{
    static const char *const bad[] = { "", "u", "u88", "f8", "F32", "float", "b", "bf16 " };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(fl_dtype_parse(bad[i], strlen(bad[i])), FL_DTYPE_NONE);
    CHECK_INT(fl_dtype_parse("f32|f64", 3), FL_F32);          /* only len bytes are read */
    CHECK_INT(fl_dtype_parse("u8\0x", 4), FL_DTYPE_NONE);
    CHECK_INT(fl_dtype_size(FL_DTYPE_NONE), 0);
    CHECK_INT(fl_dtype_size(-1), 0);
    CHECK_INT(fl_dtype_size(FL_DTYPE_COUNT), 0);
    CHECK_STR(fl_dtype_name(-5), "?");
    CHECK_STR(fl_dtype_name(1000), "?");
}

FL_TEST(multiplies_shapes)
{
    uint64_t n = 7;

    CHECK(fl_shape_bytes(FL_F64, NULL, 0, &n));
    CHECK_INT(n, 8);
    CHECK(fl_shape_bytes(FL_F32, (const uint32_t[]){ 64, 3, 224, 224 }, 4, &n));
    CHECK_INT(n, 38535168);
    CHECK(fl_shape_bytes(FL_U8, (const uint32_t[]){ 5, 0, 3 }, 3, &n));
    CHECK_INT(n, 0);
    CHECK(fl_shape_bytes(FL_U8, (const uint32_t[]){ UINT32_MAX, UINT32_MAX, 1 }, 3, &n));
    CHECK(n == UINT64_C(18446744065119617025));
}

FL_TEST(sees_overflow)
{
    uint64_t n = 7;

    CHECK(!fl_shape_bytes(FL_U16, (const uint32_t[]){ UINT32_MAX, UINT32_MAX }, 2, &n));
    CHECK(!fl_shape_bytes(FL_U8, (const uint32_t[]){ 65536, 65536, 65536, 65536 }, 4, &n));
    CHECK(!fl_shape_bytes(FL_U8, (const uint32_t[]){ 1, 1, 1, 1, 1, 1, 1 }, 7, &n));
    CHECK(!fl_shape_bytes(FL_DTYPE_NONE, NULL, 0, &n));
    CHECK(!fl_shape_bytes(FL_DTYPE_COUNT, NULL, 0, &n));
    CHECK_INT(n, 7);
}

int main(int argc, char **argv)
{
    static const struct fl_case cases[] = { CASE(knows_ten_types), CASE(knows_no_other), CASE(multiplies_shapes), CASE(sees_overflow), { 0 } };
    return fl_run(cases, argc, argv);
}
