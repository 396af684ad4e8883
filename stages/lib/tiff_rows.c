/* Rows of 16-bit samples with their bands put into another order. */
#include "stages/lib/tiff_rows.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
/* Four bands to four: two pixels a step by one byte shuffle. */
__attribute__((target("ssse3")))
static void bands_ssse3(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    unsigned char order[16];
    for (unsigned i = 0; i < 16; i++)
        order[i] = (unsigned char)(8 * (i / 8) + 2u * b->from[i % 8 / 2] + i % 2);
    const __m128i pick = _mm_loadu_si128((const __m128i *)(const void *)order);
    const char *p = in;
    size_t i = 0;
    for (; i + 2 <= pixels; i += 2)
        _mm_storeu_si128((__m128i *)(void *)(out + 4 * i), _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 8 * i)), pick));
    fl_bands_plain(b, out + 4 * i, p + 8 * i, pixels - i);
}
#endif

void fl_bands_copy(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
#if defined(__x86_64__)
    if (b->in == 4 && b->out == 4 && __builtin_cpu_supports("ssse3")) {
        bands_ssse3(b, out, in, pixels);
        return;
    }
#endif
    fl_bands_plain(b, out, in, pixels);
}
