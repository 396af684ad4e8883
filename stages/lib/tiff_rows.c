/* Rows of 16-bit samples with their bands put into another order. */
#include "stages/lib/tiff_rows.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BANDS_FAR 4096          /* pixels from which on the cache is passed by */

void fl_bands_plain(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    const char *p = in;
    for (size_t i = 0; i < pixels; i++, p += 2 * b->in, out += b->out) {
        uint16_t pixel[4] = { 0 };
        memcpy(pixel, p, 2 * b->in);
        for (uint32_t k = 0; k < b->out; k++)
            out[k] = pixel[b->from[k]];
    }
}

#if defined(__x86_64__)
static __m128i bands_order(const struct fl_bands *b)
{
    unsigned char order[16];
    for (unsigned i = 0; i < 16; i++)
        order[i] = (unsigned char)(8 * (i / 8) + 2u * b->from[i % 8 / 2] + i % 2);
    return _mm_loadu_si128((const __m128i *)(const void *)order);
}

/* Four bands to four: two pixels a step by one byte shuffle. */
__attribute__((target("ssse3")))
static void bands_ssse3(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    const __m128i pick = bands_order(b);
    const char *p = in;
    size_t i = 0;
    for (; i + 2 <= pixels; i += 2)
        _mm_storeu_si128((__m128i *)(void *)(out + 4 * i), _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 8 * i)), pick));
    fl_bands_plain(b, out + 4 * i, p + 8 * i, pixels - i);
}

/* The same past the cache, for out on 64 bytes: a tile is read much later, by another process, and its lines would only push out
 * the file that is being read. */
__attribute__((target("ssse3")))
static void bands_ssse3_far(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    const __m128i pick = bands_order(b);
    const __m128i *p = in;
    __m128i *to = (__m128i *)(void *)out;
    size_t i = 0;
    for (; i + 8 <= pixels; i += 8, p += 4, to += 4) {       /* a whole line at a time */
        __m128i v0 = _mm_shuffle_epi8(_mm_loadu_si128(p), pick), v1 = _mm_shuffle_epi8(_mm_loadu_si128(p + 1), pick);
        __m128i v2 = _mm_shuffle_epi8(_mm_loadu_si128(p + 2), pick), v3 = _mm_shuffle_epi8(_mm_loadu_si128(p + 3), pick);
        _mm_stream_si128(to, v0);
        _mm_stream_si128(to + 1, v1);
        _mm_stream_si128(to + 2, v2);
        _mm_stream_si128(to + 3, v3);
    }
    _mm_sfence();
    bands_ssse3(b, out + 4 * i, p, pixels - i);
}
#endif

void fl_bands_copy(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
#if defined(__x86_64__)
    if (b->in == 4 && b->out == 4 && __builtin_cpu_supports("ssse3")) {
        if (pixels >= BANDS_FAR && (uintptr_t)out % 64 == 0)
            bands_ssse3_far(b, out, in, pixels);
        else
            bands_ssse3(b, out, in, pixels);
        return;
    }
#endif
    fl_bands_plain(b, out, in, pixels);
}
