/* Inner loops of the input kernel: plain C, and AVX2 beside it. */
#include "stages/forward/input_rows.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

static bool input_plain_probe(void)
{
    return true;
}

static void input_plain_u8(const uint8_t *x, const float *mul, const float *add, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)x[i] * mul[i] + add[i];
}

static void input_plain_u16(const uint16_t *x, const float *mul, const float *add, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)x[i] * mul[i] + add[i];
}

static void input_plain_blend(const float *a, const float *b, float part, const float *mul, const float *add, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (a[i] + (b[i] - a[i]) * part) * mul[i] + add[i];
}

const struct fl_input_rows fl_input_rows_plain = {
    .name = "plain", .probe = input_plain_probe, .u8 = input_plain_u8, .u16 = input_plain_u16, .blend = input_plain_blend,
};

#ifdef __x86_64__
#define INPUT_AVX2 __attribute__((target("avx2"))) static

static bool input_avx2_probe(void)
{
    return __builtin_cpu_supports("avx2");
}

INPUT_AVX2 __m256 input_avx2_norm(__m256 x, const float *mul, const float *add)
{
    return _mm256_add_ps(_mm256_mul_ps(x, _mm256_loadu_ps(mul)), _mm256_loadu_ps(add));
}

INPUT_AVX2 void input_avx2_u8(const uint8_t *x, const float *mul, const float *add, float *out, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(x + i)));
        _mm256_storeu_ps(out + i, input_avx2_norm(_mm256_cvtepi32_ps(v), mul + i, add + i));
    }
    input_plain_u8(x + i, mul + i, add + i, out + i, n - i);
}

INPUT_AVX2 void input_avx2_u16(const uint16_t *x, const float *mul, const float *add, float *out, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + i)));
        _mm256_storeu_ps(out + i, input_avx2_norm(_mm256_cvtepi32_ps(v), mul + i, add + i));
    }
    input_plain_u16(x + i, mul + i, add + i, out + i, n - i);
}

INPUT_AVX2 void input_avx2_blend(const float *a, const float *b, float part, const float *mul, const float *add, float *out, size_t n)
{
    const __m256 p = _mm256_set1_ps(part);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 left = _mm256_loadu_ps(a + i);
        __m256 step = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(b + i), left), p);
        _mm256_storeu_ps(out + i, input_avx2_norm(_mm256_add_ps(left, step), mul + i, add + i));
    }
    input_plain_blend(a + i, b + i, part, mul + i, add + i, out + i, n - i);
}

static const struct fl_input_rows input_rows_avx2 = {
    .name = "avx2", .probe = input_avx2_probe, .u8 = input_avx2_u8, .u16 = input_avx2_u16, .blend = input_avx2_blend,
};
#endif

const struct fl_input_rows *const fl_input_rows[] = {
#ifdef __x86_64__
    &input_rows_avx2,
#endif
    &fl_input_rows_plain, NULL,
};
