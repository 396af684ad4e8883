/* Sine, cosine and exponential from IEEE operations alone: the same bits on every processor, which a C library doesn't promise. */
#ifndef FL_AUGMENT_EXACT_H
#define FL_AUGMENT_EXACT_H

#include <math.h>

/* Of an angle in degrees; multiples of 90 give 0 and 1 exactly. Taylor to x^19 over +-45 degrees: below one unit in the last place. */
static inline void fl_sincos_degrees(double degrees, double *sine, double *cosine)
{
    double turns = nearbyint(degrees / 90), x = (degrees - turns * 90) * (3.14159265358979323846 / 180), x2 = x * x, s = 1, c = 1;
    for (int k = 18; k >= 2; k -= 2) {
        s = 1 - s * x2 / (k * (k + 1));
        c = 1 - c * x2 / ((k - 1) * k);
    }
    s *= x;
    switch ((int)fmod(turns, 4) & 3) {
    case 0: *sine = s; *cosine = c; break;
    case 1: *sine = c; *cosine = -s; break;
    case 2: *sine = -s; *cosine = -c; break;
    default: *sine = -c; *cosine = s; break;
    }
}

/* For x in [-700, 0]: a power of two times the Taylor series over +-ln 2 / 2. */
static inline double fl_exp(double x)
{
    double n = nearbyint(x * 1.44269504088896340736), r = x - n * 0.693147180369123816490 - n * 1.90821492927058770002e-10, e = 1;
    for (int k = 14; k >= 1; k--)
        e = 1 + e * r / k;
    return ldexp(e, (int)n);
}

#endif
