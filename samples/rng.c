/* Random streams of the painter, one a layer, and what is drawn from them. */
#include "samples/paint.h"

#include <math.h>
#include <string.h>

#define RNG_EPOCH (FL_EPOCH_TEST - 1)      /* apart from every epoch that training or testing draws from */

void paint_rng_init(struct fl_rng *r, uint64_t seed, const char *id, uint32_t op)
{
    fl_rng_init(r, seed, fl_rng_tile(id, strlen(id)), RNG_EPOCH, 0, op);
}

static uint32_t rng_next(struct fl_rng *r)
{
    uint32_t v;
    fl_rng_next(r, &v);
    return v;
}

float paint_u(struct fl_rng *r, float a, float b)
{
    return a + (b - a) * ((float)(rng_next(r) >> 8) * 0x1p-24f);
}

uint32_t paint_below(struct fl_rng *r, uint32_t n)
{
    return fl_rng_integer(rng_next(r), n);
}

void paint_dir(struct fl_rng *r, float dir[2])
{
    float x, y, n;
    do {                                   /* from the disc, so that no angle function is needed */
        x = paint_u(r, -1, 1);
        y = paint_u(r, -1, 1);
        n = x * x + y * y;
    } while (n > 1 || n < 0.01f);
    n = sqrtf(n);
    dir[0] = x / n;
    dir[1] = y / n;
}
