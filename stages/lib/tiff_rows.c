/* Rows of 16-bit samples with their bands put into another order. */
#include "stages/lib/tiff_rows.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BANDS_FAR 4096          /* pixels from which on the cache is passed by */

static uint16_t bands_sample(const struct fl_bands *b, const char *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return b->swap ? __builtin_bswap16(v) : v;
}

void fl_bands_plain(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    const char *p = in;
    for (size_t i = 0; i < pixels; i++, p += 2 * b->in, out += b->out)
        for (uint32_t k = 0; k < b->out; k++)
            out[k] = bands_sample(b, p + 2 * b->from[k]);
}

void fl_planes_plain(const struct fl_bands *b, uint16_t *out, const void *const *in, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, out += b->out)
        for (uint32_t k = 0; k < b->out; k++)
            out[k] = bands_sample(b, (const char *)in[b->from[k]] + 2 * i);
}

#if defined(__x86_64__)
static __m128i bands_order(const struct fl_bands *b)
{
    unsigned char order[16];
    for (unsigned i = 0; i < 16; i++)
        order[i] = (unsigned char)(8 * (i / 8) + 2u * b->from[i % 8 / 2] + (i % 2 ^ b->swap));
    return _mm_loadu_si128((const __m128i *)(const void *)order);
}

/* A whole line; far: past the cache, to a round address. A tile is read much later, by another process, and its lines would only push out
 * the file that is being read. */
static inline void bands_line(void *to, __m128i v0, __m128i v1, __m128i v2, __m128i v3, bool far)
{
    __m128i *p = to;
    if (far) {
        _mm_stream_si128(p, v0);
        _mm_stream_si128(p + 1, v1);
        _mm_stream_si128(p + 2, v2);
        _mm_stream_si128(p + 3, v3);
    } else {
        _mm_storeu_si128(p, v0);
        _mm_storeu_si128(p + 1, v1);
        _mm_storeu_si128(p + 2, v2);
        _mm_storeu_si128(p + 3, v3);
    }
}

/* Four bands to four, eight pixels a step, by byte shuffles. */
__attribute__((target("ssse3")))
static size_t bands_four(const struct fl_bands *b, uint16_t *out, const char *in, size_t pixels, bool far)
{
    const __m128i pick = bands_order(b);
    size_t i = 0;
    for (; i + 8 <= pixels; i += 8) {
        const __m128i *p = (const __m128i *)(const void *)(in + 8 * i);
        bands_line(out + 4 * i, _mm_shuffle_epi8(_mm_loadu_si128(p), pick), _mm_shuffle_epi8(_mm_loadu_si128(p + 1), pick),
                   _mm_shuffle_epi8(_mm_loadu_si128(p + 2), pick), _mm_shuffle_epi8(_mm_loadu_si128(p + 3), pick), far);
    }
    return i;
}

/* Eight samples of one plane. */
static __m128i planes_load(const struct fl_bands *b, const void *const *in, uint32_t k, size_t i)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)((const char *)in[b->from[k]] + 2 * i));
    return b->swap ? _mm_or_si128(_mm_slli_epi16(v, 8), _mm_srli_epi16(v, 8)) : v;
}

/* Four planes to pixels, eight a step, by unpacking twice. */
static size_t planes_four(const struct fl_bands *b, uint16_t *out, const void *const *in, size_t pixels, bool far)
{
    size_t i = 0;
    for (; i + 8 <= pixels; i += 8) {
        __m128i p0 = planes_load(b, in, 0, i), p1 = planes_load(b, in, 1, i), p2 = planes_load(b, in, 2, i), p3 = planes_load(b, in, 3, i);
        __m128i a = _mm_unpacklo_epi16(p0, p1), c = _mm_unpacklo_epi16(p2, p3), d = _mm_unpackhi_epi16(p0, p1), e = _mm_unpackhi_epi16(p2, p3);
        bands_line(out + 4 * i, _mm_unpacklo_epi32(a, c), _mm_unpackhi_epi32(a, c), _mm_unpacklo_epi32(d, e), _mm_unpackhi_epi32(d, e), far);
    }
    return i;
}

static bool bands_far(const uint16_t *out, size_t pixels)
{
    return pixels >= BANDS_FAR && (uintptr_t)out % 64 == 0;
}

/* What was written past the cache is there for other processors, too, from now on. */
static void bands_settle(bool far)
{
    if (far)
        _mm_sfence();
}
#endif

void fl_bands_copy(const struct fl_bands *b, uint16_t *out, const void *in, size_t pixels)
{
    size_t done = 0;
#if defined(__x86_64__)
    if (b->in == 4 && b->out == 4 && __builtin_cpu_supports("ssse3")) {
        bool far = bands_far(out, pixels);
        done = far ? bands_four(b, out, in, pixels, true) : bands_four(b, out, in, pixels, false);
        bands_settle(far);
    }
#endif
    fl_bands_plain(b, out + b->out * done, (const char *)in + 2 * b->in * done, pixels - done);
}

void fl_planes_copy(const struct fl_bands *b, uint16_t *out, const void *const *in, size_t pixels)
{
    const void *rest[4] = { 0 };
    size_t done = 0;
#if defined(__x86_64__)
    if (b->in == 4 && b->out == 4) {
        bool far = bands_far(out, pixels);
        done = planes_four(b, out, in, pixels, far);
        bands_settle(far);
    }
#endif
    for (uint32_t k = 0; k < b->in; k++)
        rest[k] = (const char *)in[k] + 2 * done;
    fl_planes_plain(b, out + b->out * done, rest, pixels - done);
}
