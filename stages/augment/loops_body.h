/* The loops in plain C, compiled once for each instruction set: LOOPS_FN declares a function for it, LOOPS_NAME names it. */

LOOPS_FN void LOOPS_NAME(affine)(const double a[6], double *x, double *y, uint32_t n)
{
    const double a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4], a5 = a[5];
    for (uint32_t i = 0; i < n; i++) {
        double u = x[i], v = y[i];
        x[i] = a0 * u + a1 * v + a2;
        y[i] = a3 * u + a4 * v + a5;
    }
}

LOOPS_FN void LOOPS_NAME(radial)(double cx, double cy, double k, double *x, double *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        double u = x[i] - cx, v = y[i] - cy, f = 1 + k * (u * u + v * v);
        x[i] = cx + f * u;
        y[i] = cy + f * v;
    }
}

LOOPS_FN bool LOOPS_NAME(reflect)(double *x, uint32_t n, uint32_t side)
{
    const double period = 2.0 * (side - 1);
    double least[8] = { 0 };
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (uint32_t k = 0; k < 8; k++) {
            double t = fabs(x[i + k]), m = period - t;
            x[i + k] = t < m ? t : m;
            least[k] = m < least[k] ? m : least[k];
        }
    for (; i < n; i++) {
        double t = fabs(x[i]), m = period - t;
        x[i] = t < m ? t : m;
        least[0] = m < least[0] ? m : least[0];
    }
    for (uint32_t k = 1; k < 8; k++)
        least[0] = least[k] < least[0] ? least[k] : least[0];
    return least[0] < 0;
}

/* The affine map of row y, reflected and in fixed point; the operations of affine, reflect and fixed in the same order. */
LOOPS_FN void LOOPS_NAME(affine_row)(const double a[6], uint32_t y, uint32_t n, uint32_t side, int32_t *fx, int32_t *fy)
{
    const double period = 2.0 * (side - 1), a0 = a[0], a1 = a[1] * y, a2 = a[2], a3 = a[3], a4 = a[4] * y, a5 = a[5];
    for (uint32_t i = 0; i < n; i++) {
        double u = fabs(a0 * (double)(int32_t)i + a1 + a2), v = fabs(a3 * (double)(int32_t)i + a4 + a5), p = period - u, q = period - v;
        u = u < p ? u : p;
        v = v < q ? v : q;
        fx[i] = (int32_t)(u * 65536 + .5);
        fy[i] = (int32_t)(v * 65536 + .5);
    }
}

LOOPS_FN void LOOPS_NAME(fixed)(const double *x, int32_t *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        f[i] = (int32_t)(x[i] * 65536 + .5);
}

LOOPS_FN void LOOPS_NAME(levels)(float *x, size_t n, float mul, float add, float top)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * mul + add;
        v = v > 0 ? v : 0;
        x[i] = v < top ? v : top;
    }
}

LOOPS_FN void LOOPS_NAME(levels_scale)(float *x, size_t n, float mul, float add, float top, float mul2, float add2)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * mul + add;
        v = v > 0 ? v : 0;
        v = v < top ? v : top;
        x[i] = v * mul2 + add2;
    }
}

LOOPS_FN void LOOPS_NAME(scale)(float *x, size_t n, float mul, float add)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * mul + add;
}

LOOPS_FN void LOOPS_NAME(mac)(float *restrict out, const float *restrict in, float w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] += in[i] * w;
}

#define LOOPS_LANES 32u                    /* of doubles: four vectors whose additions don't wait for each other */

LOOPS_FN double LOOPS_NAME(sum)(const float *x, size_t n)
{
    double lane[LOOPS_LANES] = { 0 };
    size_t i = 0;
    for (; i + LOOPS_LANES <= n; i += LOOPS_LANES)
        for (size_t k = 0; k < LOOPS_LANES; k++)
            lane[k] += (double)x[i + k];
    for (size_t k = 0; i < n; i++, k++)
        lane[k] += (double)x[i];
    for (size_t half = LOOPS_LANES / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

/* Share of the colour that band `at` (5 red, 3 green, 1 blue) lacks at hue h in [0, 6). */
LOOPS_FN inline float LOOPS_NAME(hsv_lack)(float h, float at)
{
    float k = at + h;
    k = k >= 6 ? k - 6 : k;
    float m = k < 4 - k ? k : 4 - k;
    m = m < 1 ? m : 1;
    return m > 0 ? m : 0;
}

LOOPS_FN void LOOPS_NAME(hsv)(float *restrict r, float *restrict g, float *restrict b, size_t n, float dh, float ds, float dv, float top)
{
    for (size_t i = 0; i < n; i++) {
        float x = r[i] / top, y = g[i] / top, z = b[i] / top;
        float hi = x > y ? x : y, lo = x < y ? x : y;
        hi = hi > z ? hi : z;
        lo = lo < z ? lo : z;
        float d = hi - lo, by = d > 0 ? d : 1;
        float hr = (y - z) / by, hg = (z - x) / by + 2, hb = (x - y) / by + 4;
        float h = hi == y ? hg : hb;
        h = (hi == x ? hr : h) + dh;
        h = h < 0 ? h + 6 : h;
        h = h < 0 ? h + 6 : h;
        h = h >= 6 ? h - 6 : h;
        h = h >= 6 ? h - 6 : h;
        float s = d / (hi > 0 ? hi : 1) + ds, v = hi + dv;
        s = s > 0 ? s : 0;
        s = s < 1 ? s : 1;
        v = v > 0 ? v : 0;
        v = v < 1 ? v : 1;
        float c = v * s;
        r[i] = (v - c * LOOPS_NAME(hsv_lack)(h, 5)) * top;
        g[i] = (v - c * LOOPS_NAME(hsv_lack)(h, 3)) * top;
        b[i] = (v - c * LOOPS_NAME(hsv_lack)(h, 1)) * top;
    }
}

/* Left neighbour and share of the right one; the last pixel is its left neighbour with a share of 1. */
LOOPS_FN inline uint32_t LOOPS_NAME(left)(int32_t at, uint32_t side, float *part)
{
    uint32_t left = (uint32_t)at >> 16, most = side > 1 ? side - 2 : 0;
    left = left < most ? left : most;
    *part = (float)((uint32_t)at - (left << 16)) * 0x1p-16f;
    return left;
}

#define LOOPS_SAMPLE(name, type)                                                                                                              \
    LOOPS_FN void LOOPS_NAME(name)(const type *tile, uint32_t side, uint32_t channels, const int32_t *x, const int32_t *y, uint32_t n,       \
                                   float *const *out)                                                                                         \
    {                                                                                                                                         \
        const size_t right = side > 1 ? channels : 0, down = side > 1 ? (size_t)side * channels : 0;                                          \
        for (uint32_t i = 0; i < n; i++) {                                                                                                    \
            float px, py;                                                                                                                     \
            uint32_t x0 = LOOPS_NAME(left)(x[i], side, &px), y0 = LOOPS_NAME(left)(y[i], side, &py);                                          \
            const type *p = tile + ((size_t)y0 * side + x0) * channels;                                                                       \
            for (uint32_t c = 0; c < channels; c++, p++) {                                                                                    \
                float a = (float)p[0] + (float)(p[right] - p[0]) * px;                                                                        \
                float b = (float)p[down] + (float)(p[down + right] - p[down]) * px;                                                           \
                out[c][i] = a + (b - a) * py;                                                                                                 \
            }                                                                                                                                 \
        }                                                                                                                                     \
    }
LOOPS_SAMPLE(sample_u8, uint8_t)
LOOPS_SAMPLE(sample_u16, uint16_t)
