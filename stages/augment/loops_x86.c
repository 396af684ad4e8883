/* The loops of painting for x86: the plain C of loops_body.h with more instructions allowed, sampling of three u8 bands by hand. */
#include "stages/augment/loops.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>

#include "stages/augment/loops_x86.h"

/* ---- AVX2 ---- */

#define LOOPS_FN __attribute__((target("avx2"))) static
#define LOOPS_NAME(name) loops_avx2_##name
#include "stages/augment/loops_body.h"

static bool loops_avx2_probe(void)
{
    return __builtin_cpu_supports("avx2");
}

/* A pixel and its right neighbour lie in 6 bytes: one load of 8 takes both. The last ones of a tile must not reach behind it, so they are
 * taken from up to 2 bytes earlier and shifted. */
struct loops_avx2_pair { __m256i lo, hi; };      /* 8 pixels: bytes R G B R' and G' B' - - of each */

LOOPS_FN inline __m256i loops_avx2_load(const uint8_t *tile, __m128i at, __m128i last)
{
    __m128i from = _mm_min_epi32(at, last), by = _mm_slli_epi32(_mm_sub_epi32(at, from), 3);
    return _mm256_srlv_epi64(_mm256_i32gather_epi64((const long long *)(const void *)tile, from, 1), _mm256_cvtepu32_epi64(by));
}

LOOPS_FN inline struct loops_avx2_pair loops_avx2_gather(const uint8_t *tile, __m256i at, __m128i last)
{
    __m256i a = loops_avx2_load(tile, _mm256_castsi256_si128(at), last), b = loops_avx2_load(tile, _mm256_extracti128_si256(at, 1), last);
    __m256 fa = _mm256_castsi256_ps(a), fb = _mm256_castsi256_ps(b);
    return (struct loops_avx2_pair){ _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0x88)), 0xD8),
                                     _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0xDD)), 0xD8) };
}

LOOPS_FN inline __m256 loops_avx2_lerp(__m256 a, __m256 b, __m256 part)
{
    return _mm256_add_ps(a, _mm256_mul_ps(_mm256_sub_ps(b, a), part));
}

LOOPS_FN inline __m256 loops_avx2_byte(__m256i v, int shift)
{
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(v, shift), _mm256_set1_epi32(255)));
}

/* Left neighbours of 8 coordinates and the shares of the right ones. */
LOOPS_FN inline __m256i loops_avx2_left8(const int32_t *at, __m256i most, __m256 *part)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at), left = _mm256_min_epi32(_mm256_srli_epi32(v, 16), most);
    *part = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_slli_epi32(left, 16))), _mm256_set1_ps(0x1p-16f));
    return left;
}

LOOPS_FN void loops_avx2_sample_rgb(const uint8_t *tile, uint32_t side, uint32_t channels, const int32_t *x, const int32_t *y, uint32_t n,
                                    float *const *out)
{
    const __m256i most = _mm256_set1_epi32((int)side - 2), row = _mm256_set1_epi32((int)side);
    const __m128i last = _mm_set1_epi32((int)(side * side * 3 - 8));
    uint32_t i = 0;
    if (!loops_x86_rgb(side, channels)) {
        loops_avx2_sample_u8(tile, side, channels, x, y, n, out);
        return;
    }
    for (; i + 8 <= n; i += 8) {
        __m256 px, py;
        __m256i x0 = loops_avx2_left8(x + i, most, &px), y0 = loops_avx2_left8(y + i, most, &py);
        __m256i at = _mm256_add_epi32(_mm256_mullo_epi32(y0, row), x0);
        at = _mm256_add_epi32(at, _mm256_add_epi32(at, at));
        struct loops_avx2_pair t = loops_avx2_gather(tile, at, last), b = loops_avx2_gather(tile, _mm256_add_epi32(at, _mm256_set1_epi32(3 * (int)side)), last);
        __m256 r = loops_avx2_lerp(loops_avx2_byte(t.lo, 0), loops_avx2_byte(t.lo, 24), px);
        __m256 g = loops_avx2_lerp(loops_avx2_byte(t.lo, 8), loops_avx2_byte(t.hi, 0), px);
        __m256 u = loops_avx2_lerp(loops_avx2_byte(t.lo, 16), loops_avx2_byte(t.hi, 8), px);
        _mm256_storeu_ps(out[0] + i, loops_avx2_lerp(r, loops_avx2_lerp(loops_avx2_byte(b.lo, 0), loops_avx2_byte(b.lo, 24), px), py));
        _mm256_storeu_ps(out[1] + i, loops_avx2_lerp(g, loops_avx2_lerp(loops_avx2_byte(b.lo, 8), loops_avx2_byte(b.hi, 0), px), py));
        _mm256_storeu_ps(out[2] + i, loops_avx2_lerp(u, loops_avx2_lerp(loops_avx2_byte(b.lo, 16), loops_avx2_byte(b.hi, 8), px), py));
    }
    loops_avx2_sample_u8(tile, side, channels, x + i, y + i, n - i, (float *const[]){ out[0] + i, out[1] + i, out[2] + i });
}

const struct fl_loops fl_loops_avx2 = {
    .name = "avx2", .probe = loops_avx2_probe, .affine = loops_avx2_affine, .radial = loops_avx2_radial, .reflect = loops_avx2_reflect, .affine_row = loops_avx2_affine_row,
    .fixed = loops_avx2_fixed, .sample_u8 = loops_avx2_sample_rgb, .sample_u16 = loops_avx2_sample_u16, .levels = loops_avx2_levels,
    .levels_scale = loops_avx2_levels_scale, .scale = loops_avx2_scale, .mac = loops_avx2_mac, .sum = loops_avx2_sum, .hsv = loops_avx2_hsv,
};
#undef LOOPS_FN
#undef LOOPS_NAME
#undef LOOPS_SAMPLE

/* ---- AVX-512 ---- */

#define LOOPS_FN __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))) static
#define LOOPS_NAME(name) loops_avx512_##name
#include "stages/augment/loops_body.h"

static bool loops_avx512_probe(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

struct loops_avx512_pair { __m512i lo, hi; };

LOOPS_FN inline __m512i loops_avx512_load(const uint8_t *tile, __m256i at, __m256i last)
{
    __m256i from = _mm256_min_epi32(at, last), by = _mm256_slli_epi32(_mm256_sub_epi32(at, from), 3);
    return _mm512_srlv_epi64(_mm512_i32gather_epi64(from, (const long long *)(const void *)tile, 1), _mm512_cvtepu32_epi64(by));
}

LOOPS_FN inline struct loops_avx512_pair loops_avx512_gather(const uint8_t *tile, __m512i at, __m512i last)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m256i low = _mm512_castsi512_si256(at), high = _mm512_extracti64x4_epi64(at, 1);
    __m512i a, b;
    if (_mm512_cmpgt_epi32_mask(at, last) == 0) {
        a = _mm512_i32gather_epi64(low, (const long long *)(const void *)tile, 1);
        b = _mm512_i32gather_epi64(high, (const long long *)(const void *)tile, 1);
    } else {
        a = loops_avx512_load(tile, low, _mm512_castsi512_si256(last));
        b = loops_avx512_load(tile, high, _mm512_castsi512_si256(last));
    }
    return (struct loops_avx512_pair){ _mm512_permutex2var_epi32(a, even, b),
                                       _mm512_permutex2var_epi32(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b) };
}

LOOPS_FN inline __m512 loops_avx512_lerp(__m512 a, __m512 b, __m512 part)
{
    return _mm512_add_ps(a, _mm512_mul_ps(_mm512_sub_ps(b, a), part));
}

/* Byte `at` of each 32 bits: one instruction each, on either of the two ports. */
LOOPS_FN inline __m512 loops_avx512_byte(__m512i v, int at)
{
    if (at == 3)
        return _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 24));
    if (at == 0)
        return _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(255)));
    const __m128i four = _mm_setr_epi8((char)at, -1, -1, -1, (char)(at + 4), -1, -1, -1, (char)(at + 8), -1, -1, -1, (char)(at + 12), -1, -1, -1);
    return _mm512_cvtepi32_ps(_mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(four)));
}

LOOPS_FN inline __m512i loops_avx512_left16(const int32_t *at, __m512i most, __m512 *part)
{
    __m512i v = _mm512_loadu_si512(at), left = _mm512_min_epi32(_mm512_srli_epi32(v, 16), most);
    *part = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(v, _mm512_slli_epi32(left, 16))), _mm512_set1_ps(0x1p-16f));
    return left;
}

LOOPS_FN void loops_avx512_sample_rgb(const uint8_t *tile, uint32_t side, uint32_t channels, const int32_t *x, const int32_t *y, uint32_t n,
                                      float *const *out)
{
    const __m512i most = _mm512_set1_epi32((int)side - 2), row = _mm512_set1_epi32((int)side);
    const __m512i last = _mm512_set1_epi32((int)(side * side * 3 - 8));
    uint32_t i = 0;
    if (!loops_x86_rgb(side, channels)) {
        loops_avx512_sample_u8(tile, side, channels, x, y, n, out);
        return;
    }
    for (; i + 16 <= n; i += 16) {
        __m512 px, py;
        __m512i x0 = loops_avx512_left16(x + i, most, &px), y0 = loops_avx512_left16(y + i, most, &py);
        __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(y0, row), x0);
        at = _mm512_add_epi32(at, _mm512_add_epi32(at, at));
        struct loops_avx512_pair t = loops_avx512_gather(tile, at, last), b = loops_avx512_gather(tile, _mm512_add_epi32(at, _mm512_set1_epi32(3 * (int)side)), last);
        __m512 r = loops_avx512_lerp(loops_avx512_byte(t.lo, 0), loops_avx512_byte(t.lo, 3), px);
        __m512 g = loops_avx512_lerp(loops_avx512_byte(t.lo, 1), loops_avx512_byte(t.hi, 0), px);
        __m512 u = loops_avx512_lerp(loops_avx512_byte(t.lo, 2), loops_avx512_byte(t.hi, 1), px);
        _mm512_storeu_ps(out[0] + i, loops_avx512_lerp(r, loops_avx512_lerp(loops_avx512_byte(b.lo, 0), loops_avx512_byte(b.lo, 3), px), py));
        _mm512_storeu_ps(out[1] + i, loops_avx512_lerp(g, loops_avx512_lerp(loops_avx512_byte(b.lo, 1), loops_avx512_byte(b.hi, 0), px), py));
        _mm512_storeu_ps(out[2] + i, loops_avx512_lerp(u, loops_avx512_lerp(loops_avx512_byte(b.lo, 2), loops_avx512_byte(b.hi, 1), px), py));
    }
    loops_avx512_sample_u8(tile, side, channels, x + i, y + i, n - i, (float *const[]){ out[0] + i, out[1] + i, out[2] + i });
}

const struct fl_loops fl_loops_avx512 = {
    .name = "avx512", .probe = loops_avx512_probe, .affine = loops_avx512_affine, .radial = loops_avx512_radial, .reflect = loops_avx512_reflect, .affine_row = loops_avx512_affine_row,
    .fixed = loops_avx512_fixed, .sample_u8 = loops_avx512_sample_rgb, .sample_u16 = loops_avx512_sample_u16, .levels = loops_avx512_levels,
    .levels_scale = loops_avx512_levels_scale, .scale = loops_avx512_scale, .mac = loops_avx512_mac, .sum = loops_avx512_sum, .hsv = loops_avx512_hsv,
};
#endif
