/* The inner loops of painting, in several instruction sets. Every version gives the same bits: each element takes the same operations in the
 * same order, nothing is fused, and sums run in 32 fixed lanes. */
#ifndef FL_AUGMENT_LOOPS_H
#define FL_AUGMENT_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_loops {
    const char *name;
    bool (*probe)(void);

    /* ---- coordinates: a row of them, in double ---- */

    /* (x, y) = (a0 x + a1 y + a2, a3 x + a4 y + a5) */
    void (*affine)(const double a[6], double *x, double *y, uint32_t n);
    /* (x, y) = (cx, cy) + (1 + k r^2) (x - cx, y - cy), r the distance from (cx, cy) */
    void (*radial)(double cx, double cy, double k, double *x, double *y, uint32_t n);
    /* Mirrors into [0, side-1] what lies within one period of it (reflect-101); true when something lies farther off and is now negative. */
    bool (*reflect)(double *x, uint32_t n, uint32_t side);
    /* An affine map of row y alone, n pixels, none more than a period off: in fixed point at once. */
    void (*affine_row)(const double a[6], uint32_t y, uint32_t n, uint32_t side, int32_t *fx, int32_t *fy);
    /* To 16.16 fixed point, rounded. */
    void (*fixed)(const double *x, int32_t *f, uint32_t n);

    /* ---- sampling: bilinear at reflected 16.16 coordinates of a square tile, a row of n into one plane a channel ---- */

    void (*sample_u8)(const uint8_t *tile, uint32_t side, uint32_t channels, const int32_t *x, const int32_t *y, uint32_t n, float *const *out);
    void (*sample_u16)(const uint16_t *tile, uint32_t side, uint32_t channels, const int32_t *x, const int32_t *y, uint32_t n, float *const *out);

    /* ---- planes ---- */

    /* x = clip(x mul + add, 0, top) */
    void (*levels)(float *x, size_t n, float mul, float add, float top);
    /* x = clip(x mul + add, 0, top) mul2 + add2 */
    void (*levels_scale)(float *x, size_t n, float mul, float add, float top, float mul2, float add2);
    /* x = x mul + add */
    void (*scale)(float *x, size_t n, float mul, float add);
    /* out += in w */
    void (*mac)(float *out, const float *in, float w, size_t n);
    double (*sum)(const float *x, size_t n);
    /* Hue + dh sixths of a circle (in [-6, 6]), saturation + ds, value + dv, of values in [0, top]. */
    void (*hsv)(float *r, float *g, float *b, size_t n, float dh, float ds, float dv, float top);
};

extern const struct fl_loops fl_loops_plain;
extern const struct fl_loops *const fl_loops[];      /* best first; NULL after the last */
/* The first whose probe succeeds. */
const struct fl_loops *fl_loops_best(void);

#endif
