/* The loops of painting in plain C, and which version is taken. */
#include "stages/augment/loops.h"

#include <math.h>

#include "stages/augment/loops_x86.h"

#define LOOPS_FN static
#define LOOPS_NAME(name) loops_plain_##name
#include "stages/augment/loops_body.h"

static bool loops_plain_probe(void) { return true; }

const struct fl_loops fl_loops_plain = {
    .name = "plain", .probe = loops_plain_probe, .affine = loops_plain_affine, .radial = loops_plain_radial, .reflect = loops_plain_reflect, .affine_row = loops_plain_affine_row,
    .fixed = loops_plain_fixed, .sample_u8 = loops_plain_sample_u8, .sample_u16 = loops_plain_sample_u16, .levels = loops_plain_levels,
    .levels_scale = loops_plain_levels_scale, .scale = loops_plain_scale, .mac = loops_plain_mac, .sum = loops_plain_sum, .hsv = loops_plain_hsv,
};

const struct fl_loops *const fl_loops[] = {
#ifdef __x86_64__
    &fl_loops_avx512, &fl_loops_avx2,
#endif
    &fl_loops_plain, NULL,
};

const struct fl_loops *fl_loops_best(void)
{
    const struct fl_loops *const *l = fl_loops;
    while (l[1] != NULL && !(*l)->probe())
        l++;
    return *l;
}
