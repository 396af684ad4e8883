/* Kernels of the trees over the rows of a node: plain, and 32 steps at a time. All work on whole numbers: the same results. */
#include <string.h>

#include "runtime/rng.h"
#include "stages/level2/kernel.h"
#include "stages/level2/trees_own.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static uint64_t kernel_tail(uint32_t left) { return left >= TREES_WORD ? UINT64_MAX : (UINT64_C(1) << left) - 1; }

/* ---- plain ---- */

static int plain_probe(void) { return 1; }

static void plain_range(const uint16_t *v, uint32_t n, uint16_t *lo, uint16_t *hi)
{
    uint16_t a = v[0], b = v[0];
    for (uint32_t i = 1; i < n; i++) {
        a = v[i] < a ? v[i] : a;
        b = v[i] > b ? v[i] : b;
    }
    *lo = a;
    *hi = b;
}

static void plain_mask(const uint16_t *v, uint32_t n, uint16_t cut, uint64_t *mask)
{
    for (uint32_t i = 0; i < n; i += TREES_WORD, v += TREES_WORD) {
        uint32_t rows = n - i < TREES_WORD ? n - i : TREES_WORD;
        uint64_t m = 0;
        for (uint32_t j = 0; j < rows; j++)
            m |= (uint64_t)(v[j] <= cut) << j;
        *mask++ = m;
    }
}

static void plain_cut(const uint16_t *v, uint32_t n, uint16_t cut, uint32_t Tp, const uint64_t *bits, const uint64_t *all, struct trees_cut *out)
{
    uint64_t left[64] = { 0 };
    *out = (struct trees_cut){ 0 };
    for (uint32_t i = 0; i < n; i += TREES_WORD, v += TREES_WORD, bits += Tp) {
        uint64_t m;
        plain_mask(v, n - i < TREES_WORD ? n - i : TREES_WORD, cut, &m);
        out->nl += (uint32_t)__builtin_popcountll(m);
        for (uint32_t t = 0; t < Tp; t++)
            left[t] += (uint64_t)__builtin_popcountll(m & bits[t]);
    }
    for (uint32_t t = 0; t < Tp; t++) {
        out->ql += left[t] * left[t];
        out->qr += (all[t] - left[t]) * (all[t] - left[t]);
    }
}

static void plain_part(uint16_t *v, uint32_t n, const uint64_t *mask, uint16_t *spare)
{
    uint32_t l = 0, r = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t s = v[i];
        uint32_t left = (uint32_t)(mask[i / TREES_WORD] >> i % TREES_WORD & 1);
        v[l] = s;
        spare[r] = s;
        l += left;
        r += 1 - left;
    }
    memcpy(v + l, spare, r * sizeof *v);
}

static void plain_draws(uint64_t seed, uint64_t h, uint32_t node, uint32_t op, uint32_t blocks, uint32_t *out)
{
    for (uint32_t b = 0; b < blocks; b++, out += 4)
        fl_rng_block(seed, h, node, 0, op, b, out);
}

/* ---- AVX-512 ---- */

#if defined(__x86_64__)
#define TREES_512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vbmi2,avx512vpopcntdq" L2_WIDTH)))

static int wide_probe(void)
{
    return fl_l2_kernel("avx512") == 2 && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vpopcntdq");
}

TREES_512 static void wide_range(const uint16_t *v, uint32_t n, uint16_t *lo, uint16_t *hi)
{
    __m512i a = _mm512_set1_epi16(-1), b = _mm512_setzero_si512();
    uint32_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512i s = _mm512_loadu_si512(v + i);
        a = _mm512_min_epu16(a, s);
        b = _mm512_max_epu16(b, s);
    }
    if (i < n) {
        __mmask32 in = (__mmask32)kernel_tail(n - i);
        __m512i s = _mm512_maskz_loadu_epi16(in, v + i);
        a = _mm512_mask_min_epu16(a, in, a, s);
        b = _mm512_max_epu16(b, s);
    }
    __m256i a2 = _mm256_min_epu16(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    __m256i b2 = _mm256_max_epu16(_mm512_castsi512_si256(b), _mm512_extracti64x4_epi64(b, 1));
    __m128i a1 = _mm_min_epu16(_mm256_castsi256_si128(a2), _mm256_extracti128_si256(a2, 1));
    __m128i b1 = _mm_max_epu16(_mm256_castsi256_si128(b2), _mm256_extracti128_si256(b2, 1));
    *lo = (uint16_t)_mm_extract_epi16(_mm_minpos_epu16(a1), 0);
    *hi = (uint16_t)(0xFFFF - _mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(b1, _mm_set1_epi16(-1))), 0));
}

/* Half a word. gcc 12 stores four bytes of a mask that it has widened to eight and reads eight, where it is short of registers (-O1 with
 * -fsanitize=null): the widening must not see that this is a mask. */
static inline uint64_t wide_half(__mmask32 m)
{
    uint32_t bits = m;
    __asm__("" : "+r"(bits));
    return bits;
}

TREES_512 static inline uint64_t wide_word(const uint16_t *v, uint32_t left, __m512i cut)
{
    __mmask32 lo, hi;
    if (left >= TREES_WORD) {
        lo = _mm512_cmple_epu16_mask(_mm512_loadu_si512(v), cut);
        hi = _mm512_cmple_epu16_mask(_mm512_loadu_si512(v + 32), cut);
    } else {
        uint64_t in = kernel_tail(left);
        lo = _mm512_mask_cmple_epu16_mask((__mmask32)in, _mm512_maskz_loadu_epi16((__mmask32)in, v), cut);
        hi = left > 32 ? _mm512_mask_cmple_epu16_mask((__mmask32)(in >> 32), _mm512_maskz_loadu_epi16((__mmask32)(in >> 32), v + 32), cut) : 0;
    }
    return wide_half(lo) | wide_half(hi) << 32;
}

TREES_512 static void wide_mask(const uint16_t *v, uint32_t n, uint16_t cut, uint64_t *mask)
{
    __m512i c = _mm512_set1_epi16((short)cut);
    for (uint32_t i = 0; i < n; i += TREES_WORD)
        *mask++ = wide_word(v + i, n - i, c);
}

/* G: groups of eight outputs, a constant where this is inlined. */
TREES_512 L2_INLINE void wide_cut_groups(const uint16_t *v, uint32_t n, uint16_t cut, uint32_t G, const uint64_t *bits, const uint64_t *all,
                                         struct trees_cut *out)
{
    __m512i c = _mm512_set1_epi16((short)cut), left[8];
    uint64_t nl = 0;
    _Pragma("GCC unroll 8")
    for (uint32_t g = 0; g < G; g++)
        left[g] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < n; i += TREES_WORD, bits += (size_t)G * 8) {
        uint64_t m = wide_word(v + i, n - i, c);
        __m512i m8 = _mm512_set1_epi64((long long)m);
        nl += (uint64_t)__builtin_popcountll(m);
        _Pragma("GCC unroll 8")
        for (uint32_t g = 0; g < G; g++)
            left[g] = _mm512_add_epi64(left[g], _mm512_popcnt_epi64(_mm512_and_si512(m8, _mm512_loadu_si512(bits + (size_t)g * 8))));
    }
    __m512i ql = _mm512_setzero_si512(), qr = ql;
    _Pragma("GCC unroll 8")
    for (uint32_t g = 0; g < G; g++) {           /* counts are below 2^32 */
        __m512i right = _mm512_sub_epi64(_mm512_loadu_si512(all + (size_t)g * 8), left[g]);
        ql = _mm512_add_epi64(ql, _mm512_mul_epu32(left[g], left[g]));
        qr = _mm512_add_epi64(qr, _mm512_mul_epu32(right, right));
    }
    out->nl = (uint32_t)nl;
    out->ql = (uint64_t)_mm512_reduce_add_epi64(ql);
    out->qr = (uint64_t)_mm512_reduce_add_epi64(qr);
}

TREES_512 static void wide_cut(const uint16_t *v, uint32_t n, uint16_t cut, uint32_t Tp, const uint64_t *bits, const uint64_t *all, struct trees_cut *out)
{
    switch (Tp / 8) {
    case 1:  wide_cut_groups(v, n, cut, 1, bits, all, out); return;
    case 2:  wide_cut_groups(v, n, cut, 2, bits, all, out); return;
    case 3:  wide_cut_groups(v, n, cut, 3, bits, all, out); return;
    default: wide_cut_groups(v, n, cut, Tp / 8, bits, all, out); return;
    }
}

/* In place: what is written on the left never gets past what has been read. */
TREES_512 static void wide_part(uint16_t *v, uint32_t n, const uint64_t *mask, uint16_t *spare)
{
    uint32_t l = 0, r = 0;
    for (uint32_t i = 0; i < n; i += 32) {
        __mmask32 in = (__mmask32)kernel_tail(n - i), m = (__mmask32)(mask[i / TREES_WORD] >> i % TREES_WORD) & in;
        __m512i s = _mm512_maskz_loadu_epi16(in, v + i);
        _mm512_mask_storeu_epi16(v + l, in, _mm512_maskz_compress_epi16(m, s));
        _mm512_storeu_si512(spare + r, _mm512_maskz_compress_epi16(~m & in, s));
        l += (uint32_t)__builtin_popcount(m);
        r += (uint32_t)__builtin_popcount(~m & in);
    }
    memcpy(v + l, spare, r * sizeof *v);
}

/* Eight blocks side by side. */
TREES_512 static void wide_draws(uint64_t seed, uint64_t h, uint32_t node, uint32_t op, uint32_t blocks, uint32_t *out)
{
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57), low = _mm512_set1_epi64(0xFFFFFFFF);
    for (uint32_t b = 0; b < blocks; b += 8, out += 32) {
        __m512i c0 = _mm512_set1_epi64((long long)(h & 0xFFFFFFFF)), c1 = _mm512_set1_epi64((long long)(h >> 32)), c2 = _mm512_set1_epi64(node);
        __m512i c3 = _mm512_add_epi64(_mm512_set1_epi64((long long)(op << 18 | b)), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            __m512i p0 = _mm512_mul_epu32(m0, c0), p1 = _mm512_mul_epu32(m1, c2);
            c0 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p1, 32), c1), _mm512_set1_epi64(k0));
            c2 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p0, 32), c3), _mm512_set1_epi64(k1));
            c1 = _mm512_and_si512(p1, low);
            c3 = _mm512_and_si512(p0, low);
        }
        uint64_t w[4][8];
        _mm512_storeu_si512(w[0], c0);
        _mm512_storeu_si512(w[1], c1);
        _mm512_storeu_si512(w[2], c2);
        _mm512_storeu_si512(w[3], c3);
        for (uint32_t i = 0; i < 8; i++)
            for (uint32_t j = 0; j < 4; j++)
                out[4 * i + j] = (uint32_t)w[j][i];
    }
}
#endif

/* Best first. */
static const struct trees_kernel kernel_table[] = {
#if defined(__x86_64__)
    { "avx512", wide_probe, wide_range, wide_cut, wide_mask, wide_part, wide_draws, trees_wide_steps, trees_wide_walk },
#endif
    { "plain", plain_probe, plain_range, plain_cut, plain_mask, plain_part, plain_draws, trees_plain_steps, trees_plain_walk },
};

const struct trees_kernel *trees_kernel(const char *name)
{
    for (size_t i = 0; i < sizeof kernel_table / sizeof *kernel_table; i++)
        if ((name == NULL || strcmp(name, kernel_table[i].name) == 0) && kernel_table[i].probe())
            return &kernel_table[i];
    return NULL;
}
