/* The kernels of cpu_kernels.h, sixteen channels at a time as compiler vectors: the body of each cpu_kernels_SET.c, which sets
 * KERN_NAME, KERN_PROBE and a target beforehand. (Inlining this into functions with several targets wouldn't do: vectors are cut to what
 * the base set has before anything is inlined.)
 *
 * The sets give the same bits: every lane does the same multiply, add, compare, and nothing is contracted or reassociated. */
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "stages/forward/cpu_kernels.h"
#include "stages/forward/lower.h"

#define KERN_LANES 16
#define KERN_INLINE static inline __attribute__((always_inline))

typedef float    kern_f __attribute__((vector_size(64)));
typedef int32_t  kern_i __attribute__((vector_size(64)));
typedef uint32_t kern_u __attribute__((vector_size(64)));
typedef uint16_t kern_h __attribute__((vector_size(32)));

/* Vectors travel by address: passing them by value would depend on the instruction set. */
KERN_INLINE void kern_load(kern_f *v, const void *p, size_t at, uint32_t n, bool bf16)
{
    if (bf16) {
        kern_h half = { 0 };
        memcpy(&half, (const uint16_t *)p + at, n == KERN_LANES ? sizeof half : n * sizeof(uint16_t));
        kern_u bits = __builtin_convertvector(half, kern_u) << 16;
        memcpy(v, &bits, sizeof *v);
    } else if (n == KERN_LANES) {
        memcpy(v, (const float *)p + at, sizeof *v);
    } else {
        *v = (kern_f){ 0 };
        memcpy(v, (const float *)p + at, n * sizeof(float));
    }
}

/* To bfloat16, to nearest, ties to even. The instruction takes subnormals for 0, which nothing here depends on. */
KERN_INLINE void kern_half(const kern_f *v, kern_h *out)
{
#ifdef __AVX512BF16__
    __m256bh half = _mm512_cvtneps_pbh((__m512)*v);
    memcpy(out, &half, sizeof *out);
#else
    kern_u bits;
    memcpy(&bits, v, sizeof bits);
    kern_u nan = (kern_u)(*v != *v);
    kern_u near = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    near = (near & ~nan) | (0x7fc0u & nan);
    *out = __builtin_convertvector(near, kern_h);
#endif
}

KERN_INLINE void kern_store(void *p, size_t at, const kern_f *v, uint32_t n, bool bf16)
{
    if (!bf16) {
        memcpy((float *)p + at, v, n == KERN_LANES ? sizeof *v : n * sizeof(float));
        return;
    }
    kern_h half;
    kern_half(v, &half);
    memcpy((uint16_t *)p + at, &half, n == KERN_LANES ? sizeof half : n * sizeof(uint16_t));
}

/* v where keep holds, 0 elsewhere. */
KERN_INLINE void kern_mask(kern_f *v, const kern_i *keep)
{
    kern_i bits;
    memcpy(&bits, v, sizeof bits);
    bits &= *keep;
    memcpy(v, &bits, sizeof bits);
}

/* NaN and -0 stay: of equal operands, and where one is NaN, the instruction gives the second. */
KERN_INLINE void kern_relu(kern_f *v)
{
#ifdef __AVX512F__
    *v = (kern_f)_mm512_max_ps(_mm512_setzero_ps(), (__m512)*v);
#else
    kern_i keep = ~(*v < 0);
    kern_mask(v, &keep);
#endif
}

KERN_INLINE void kern_affine(kern_f *v, const float *scale, const float *shift, size_t at, uint32_t n, bool relu)
{
    if (scale != NULL) {
        kern_f a, b;
        kern_load(&a, scale, at, n, false);
        kern_load(&b, shift, at, n, false);
        *v = *v * a + b;
    }
    if (relu)
        kern_relu(v);
}

KERN_INLINE uint32_t kern_lanes(uint32_t c, uint32_t all) { return all - c < KERN_LANES ? all - c : KERN_LANES; }

/* Full blocks and the rest take the same code; in full blocks n is known, so that loads are plain. */
#define KERN_BLOCKS(c, all, n, body)                                                          \
    do {                                                                                      \
        uint32_t c = 0;                                                                       \
        for (; c + KERN_LANES <= (all); c += KERN_LANES) { const uint32_t n = KERN_LANES; body } \
        if (c < (all)) { const uint32_t n = kern_lanes(c, all); body }                        \
    } while (0)

/* Calls fn with the element types as constants, so that each pair gets a loop of its own. */
#define KERN_TYPED(in, out, fn, ...)                                                              \
    ((in)->bf16 ? ((out)->bf16 ? fn(__VA_ARGS__, true, true) : fn(__VA_ARGS__, true, false))      \
                : ((out)->bf16 ? fn(__VA_ARGS__, false, true) : fn(__VA_ARGS__, false, false)))

/* ---- pointwise ---- */

KERN_INLINE void kern_scale(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, const float *scale, const float *shift,
                            bool relu, bool bi, bool bo)
{
    size_t pixels = (size_t)rows * out->h * out->w;
    for (size_t px = 0; px < pixels; px++)
        KERN_BLOCKS(c, out->c, n, {
            kern_f v;
            kern_load(&v, in->p, px * in->stride + c, n, bi);
            kern_affine(&v, scale, shift, c, n, relu);
            kern_store(out->p, px * out->stride + c, &v, n, bo);
        });
}

static void kern_all_scale(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, const float *scale, const float *shift, bool relu)
{
    KERN_TYPED(in, out, kern_scale, in, out, rows, scale, shift, relu);
}

KERN_INLINE void kern_add(const struct fl_cpu_view *a, const struct fl_cpu_view *b, const struct fl_cpu_view *out, uint32_t rows, bool relu, bool bi, bool bo)
{
    size_t pixels = (size_t)rows * out->h * out->w;
    for (size_t px = 0; px < pixels; px++)
        KERN_BLOCKS(c, out->c, n, {
            kern_f v;
            kern_f u;
            kern_load(&v, a->p, px * a->stride + c, n, bi);
            kern_load(&u, b->p, px * b->stride + c, n, bi);
            v += u;
            kern_affine(&v, NULL, NULL, c, n, relu);
            kern_store(out->p, px * out->stride + c, &v, n, bo);
        });
}

static void kern_all_add(const struct fl_cpu_view *a, const struct fl_cpu_view *b, const struct fl_cpu_view *out, uint32_t rows, bool relu)
{
    KERN_TYPED(a, out, kern_add, a, b, out, rows, relu);
}

/* ---- regions: what one pixel of the result is made of ---- */

struct kern_region { uint32_t y0, y1, x0, x1; };

KERN_INLINE void kern_larger(kern_f *best, const kern_f *v)
{
#ifdef __AVX512F__
    __mmask16 take = _mm512_cmp_ps_mask((__m512)*v, (__m512)*best, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)*v, (__m512)*v, _CMP_UNORD_Q);
    *best = (kern_f)_mm512_mask_mov_ps((__m512)*best, take, (__m512)*v);
#else
    kern_i take = (*v > *best) | (*v != *v);
    kern_i keep = ~take;
    kern_f got = *v;
    kern_mask(&got, &take);
    kern_mask(best, &keep);
    kern_i a, b;
    memcpy(&a, best, sizeof a);
    memcpy(&b, &got, sizeof b);
    a |= b;
    memcpy(best, &a, sizeof a);
#endif
}

KERN_INLINE void kern_max_pixel(const struct fl_cpu_view *in, size_t row, struct kern_region r, void *out, size_t to, bool bi, bool bo)
{
    KERN_BLOCKS(c, in->c, n, {
        kern_f best;
        kern_load(&best, in->p, (row + (size_t)r.y0 * in->w + r.x0) * in->stride + c, n, bi);
        for (uint32_t y = r.y0; y < r.y1; y++)
            for (uint32_t x = r.x0; x < r.x1; x++) {
                kern_f v;
                kern_load(&v, in->p, (row + (size_t)y * in->w + x) * in->stride + c, n, bi);
                kern_larger(&best, &v);
            }
        kern_store(out, to + c, &best, n, bo);
    });
}

static void kern_clip(uint32_t i, uint32_t n, uint32_t k, uint32_t stride, uint32_t pad, uint32_t *from, uint32_t *to)
{
    uint32_t at = i * stride, end = at + k;
    *from = at > pad ? at - pad : 0;
    *to = end - pad < n ? end - pad : n;
}

KERN_INLINE void kern_max(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, uint32_t stride, uint32_t pad, bool bi, bool bo)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t y = 0; y < out->h; y++)
            for (uint32_t x = 0; x < out->w; x++) {
                struct kern_region r;
                kern_clip(y, in->h, k, stride, pad, &r.y0, &r.y1);
                kern_clip(x, in->w, k, stride, pad, &r.x0, &r.x1);
                kern_max_pixel(in, (size_t)row * in->h * in->w, r, out->p, (((size_t)row * out->h + y) * out->w + x) * out->stride, bi, bo);
            }
}

static void kern_all_max(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, uint32_t stride, uint32_t pad)
{
    KERN_TYPED(in, out, kern_max, in, out, rows, k, stride, pad);
}

KERN_INLINE void kern_average_pixel(const struct fl_cpu_view *in, size_t row, struct kern_region r, void *out, size_t to, const float *scale,
                                    const float *shift, bool relu, bool bi, bool bo)
{
    float count = (float)((r.y1 - r.y0) * (r.x1 - r.x0));
    KERN_BLOCKS(c, in->c, n, {
        kern_f sum = { 0 };
        for (uint32_t y = r.y0; y < r.y1; y++)
            for (uint32_t x = r.x0; x < r.x1; x++) {
                kern_f v;
                kern_load(&v, in->p, (row + (size_t)y * in->w + x) * in->stride + c, n, bi);
                kern_affine(&v, scale, shift, c, n, relu);
                sum += v;
            }
        sum /= count;
        kern_store(out, to + c, &sum, n, bo);
    });
}

KERN_INLINE void kern_average(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, const float *scale,
                              const float *shift, bool relu, bool bi, bool bo)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t y = 0; y < out->h; y++)
            for (uint32_t x = 0; x < out->w; x++) {
                struct kern_region r = k > 0
                    ? (struct kern_region){ y * k, y * k + k, x * k, x * k + k }
                    : (struct kern_region){ fl_low_start(y, in->h, out->h), fl_low_end(y, in->h, out->h),
                                            fl_low_start(x, in->w, out->w), fl_low_end(x, in->w, out->w) };
                kern_average_pixel(in, (size_t)row * in->h * in->w, r, out->p, (((size_t)row * out->h + y) * out->w + x) * out->stride,
                                   scale, shift, relu, bi, bo);
            }
}

static void kern_all_average(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, const float *scale,
                                const float *shift, bool relu)
{
    KERN_TYPED(in, out, kern_average, in, out, rows, k, scale, shift, relu);
}

/* What isn't finite has an exponent of ones. */
static bool kern_finite(const float *x, size_t n)
{
    kern_u bad = { 0 };
    size_t i = 0;
    for (; i + KERN_LANES <= n; i += KERN_LANES) {
        kern_u bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (kern_u)((bits & 0x7f800000u) == 0x7f800000u);
    }
    uint32_t any = 0;
    for (int k = 0; k < KERN_LANES; k++)
        any |= bad[k];
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        any |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return any == 0;
}

const struct fl_cpu_kernels KERN_TABLE = {
    .name = KERN_NAME, .probe = KERN_PROBE, .scale = kern_all_scale, .add = kern_all_add, .max = kern_all_max, .average = kern_all_average,
    .finite = kern_finite,
};
