/* Rows of 4-component JPEG samples into RGB. */
#include "stages/lib/jpeg_rows.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

bool fl_jpeg_rgbx_plain(uint8_t *out, const uint8_t *in, size_t pixels)
{
    uint8_t all = 255;
    for (size_t i = 0; i < pixels; i++, out += 3, in += 4) {
        out[0] = in[0];
        out[1] = in[1];
        out[2] = in[2];
        all &= in[3];
    }
    return all == 255;
}

#if defined(__x86_64__)
/* Four pixels a step. Each store writes 16 bytes of which 12 count, so the last pixels are left to the plain loop. */
__attribute__((target("ssse3")))
static bool jpeg_rgbx_ssse3(uint8_t *out, const uint8_t *in, size_t pixels)
{
    const __m128i pick = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    __m128i all = _mm_set1_epi8(-1);
    size_t i = 0;
    for (; i + 6 <= pixels; i += 4) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(in + 4 * i));
        all = _mm_and_si128(all, v);
        _mm_storeu_si128((__m128i *)(void *)(out + 3 * i), _mm_shuffle_epi8(v, pick));
    }
    int full = _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8(-1)));
    return ((full & 0x8888) == 0x8888) & fl_jpeg_rgbx_plain(out + 3 * i, in + 4 * i, pixels - i);
}
#endif

bool fl_jpeg_rgbx(uint8_t *out, const uint8_t *in, size_t pixels)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("ssse3"))
        return jpeg_rgbx_ssse3(out, in, pixels);
#endif
    return fl_jpeg_rgbx_plain(out, in, pixels);
}

void fl_jpeg_cmyk(uint8_t *out, const uint8_t *in, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, out += 3, in += 4)
        for (int k = 0; k < 3; k++)
            out[k] = (uint8_t)(((unsigned)in[k] * in[3] + 127) / 255);   /* 255 is odd: no ties to decide */
}

void fl_jpeg_far(uint8_t *out, const uint8_t *in, size_t bytes)
{
    size_t i = 0;
#if defined(__x86_64__)
    for (; (uintptr_t)out % 64 == 0 && i + 64 <= bytes; i += 64) {      /* SSE2, which every x86-64 has; a whole line at a time */
        const __m128i *p = (const __m128i *)(const void *)(in + i);
        __m128i *to = (__m128i *)(void *)(out + i);
        __m128i v0 = _mm_loadu_si128(p), v1 = _mm_loadu_si128(p + 1), v2 = _mm_loadu_si128(p + 2), v3 = _mm_loadu_si128(p + 3);
        _mm_stream_si128(to, v0);
        _mm_stream_si128(to + 1, v1);
        _mm_stream_si128(to + 2, v2);
        _mm_stream_si128(to + 3, v3);
    }
#endif
    memcpy(out + i, in + i, bytes - i);
}

void fl_jpeg_settle(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}
