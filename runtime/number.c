/* Numbers in tables: written exactly, for most probabilities without printf, and read strictly. */
#include "runtime/number.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* v in [1e-4, 1) is m * 2^-k with m < 2^24 and k in 24..37. Nine significant digits need v * 10^s, s = 9..12 by the number of
 * zeros after the point, and m * 10^12 < 2^64: whole numbers do, rounding to even included. Below 1e-4 %g writes an exponent. */
size_t fl_f32_text(float v, char out[32])
{
    static const uint64_t power[] = { 1000000000u, 10000000000u, 100000000000u, 1000000000000u };
    uint32_t bits, zeros = v < 0.1 ? v < 0.01 ? v < 0.001 ? 3 : 2 : 1 : 0;
    if (!(v >= 1e-4f && v < 1.0f))
        return (size_t)snprintf(out, 32, "%.9g", (double)v);
    memcpy(&bits, &v, sizeof bits);
    uint32_t k = 150 - (bits >> 23);
    uint64_t scaled = (uint64_t)((bits & 0x7fffffu) | 0x800000u) * power[zeros];
    uint64_t q = scaled >> k, rest = scaled & ((UINT64_C(1) << k) - 1), half = UINT64_C(1) << (k - 1);
    q += rest > half || (rest == half && (q & 1));
    if (q < 100000000u || q > 999999999u)             /* 1e-4f itself is a little less than 1e-4 */
        return (size_t)snprintf(out, 32, "%.9g", (double)v);
    memcpy(out, "0.000", 5);
    uint32_t last = 2 + zeros + 8;
    for (uint32_t i = last; i >= 2 + zeros; i--, q /= 10)
        out[i] = (char)('0' + q % 10);
    while (out[last] == '0')
        last--;
    out[last + 1] = '\0';
    return last + 1;
}

static const char *number_digits(const char *p, bool *any)
{
    for (; *p >= '0' && *p <= '9'; p++)
        *any = true;
    return p;
}

bool fl_number_parse(const char *text, double *v)
{
    bool any = false;
    const char *p = number_digits(text + (*text == '+' || *text == '-'), &any);
    if (*p == '.')
        p = number_digits(p + 1, &any);
    if (any && (*p == 'e' || *p == 'E')) {
        any = false;
        p++;
        p = number_digits(p + (*p == '+' || *p == '-'), &any);
    }
    double d = any && *p == '\0' ? strtod(text, NULL) : NAN;
    if (!isfinite(d))
        return false;
    *v = d;
    return true;
}
