/* Kernels of a forest's predictions: steps of rows, and walks from the roots to the leaves. Walks of several rows, and of the next trees
 * where a tree's rows have run out, go side by side, so that none waits for another's memory. */
#include "stages/level2/kernel.h"
#include "stages/level2/trees_own.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define WALK_LANES 8u
#define WALK_DOWN  2u                  /* nodes that a lane goes down before it is asked whether it has come to a leaf, where it stays */
#define WALK_NONE  UINT32_MAX
#define WALK_AHEAD 1024u               /* values: where rows lie in memory one after another, the next are on their way */

/* ---- plain ---- */

void trees_plain_steps(const float *x, uint32_t n, double lo, double scale, uint16_t *steps)
{
    for (uint32_t i = 0; i < n; i++)
        steps[i] = trees_step((double)x[i], lo, scale);
}

/* Without branches: which way a row goes can't be guessed. */
static inline uint32_t walk_down(const uint64_t *tree, const uint16_t *steps, uint32_t at)
{
    uint64_t node = tree[at];
    uint32_t c = trees_column(node), leaf = -(uint32_t)(c == FL_L2_LEAF);
    uint32_t left = -(uint32_t)(steps[c & ~leaf] <= (uint16_t)(node >> 48));
    return (leaf & at) | (~leaf & ((left & (at + 1)) | (~left & (uint32_t)node)));
}

void trees_plain_walk(const struct trees_walk *w, uint32_t *leaf)
{
    static const uint64_t nowhere = (uint64_t)FL_L2_LEAF << 32;
    const uint64_t *tree[WALK_LANES];
    const uint16_t *steps[WALK_LANES];
    uint32_t at[WALK_LANES] = { 0 }, item[WALK_LANES], t = 0, r = 0, busy;
    for (uint32_t j = 0; j < WALK_LANES; j++) {
        tree[j] = &nowhere;
        steps[j] = w->steps;
        item[j] = WALK_NONE;
    }
    do {
        for (uint32_t k = 0; k < WALK_DOWN; k++)
            _Pragma("GCC unroll 8")
            for (uint32_t j = 0; j < WALK_LANES; j++)
                at[j] = walk_down(tree[j], steps[j], at[j]);
        busy = 0;
        for (uint32_t j = 0; j < WALK_LANES; j++) {
            uint64_t node = tree[j][at[j]];
            busy |= trees_column(node) != FL_L2_LEAF;
            if (trees_column(node) != FL_L2_LEAF)
                continue;
            if (item[j] != WALK_NONE)
                leaf[item[j]] = (uint32_t)node;
            item[j] = WALK_NONE;
            if (t == w->trees)
                continue;
            tree[j] = w->node + w->first[t];
            steps[j] = w->steps + (size_t)r * w->P;
            at[j] = 0;
            item[j] = t * w->rows + r;
            busy = 1;
            r = r + 1 < w->rows ? r + 1 : 0;
            t += r == 0;
        }
    } while (busy);
}

/* ---- AVX-512 ---- */

#if defined(__x86_64__)
#define WALK_VECTORS 4u

L2_AVX512 static inline __m256i wide_eight(__m512 x, int half, __m512d lo, __m512d scale)
{
    __m512d v = _mm512_cvtps_pd(half ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x));
    v = _mm512_add_pd(_mm512_mul_pd(_mm512_sub_pd(v, lo), scale), _mm512_set1_pd(0.5));
    v = _mm512_min_pd(_mm512_max_pd(v, _mm512_setzero_pd()), _mm512_set1_pd(65535.0));
    return _mm512_cvttpd_epi32(v);
}

L2_AVX512 void trees_wide_steps(const float *x, uint32_t n, double lo, double scale, uint16_t *steps)
{
    const __m512d l = _mm512_set1_pd(lo), s = _mm512_set1_pd(scale);
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        _mm_prefetch((const char *)((uintptr_t)(x + i) + WALK_AHEAD * sizeof *x), _MM_HINT_T0);
        __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(wide_eight(v, 0, l, s)), wide_eight(v, 1, l, s), 1);
        _mm256_storeu_si256((__m256i *)(void *)(steps + i), _mm512_cvtepi32_epi16(both));
    }
    trees_plain_steps(x + i, n - i, lo, scale, steps + i);
}

/* Eight walks: absolute numbers of nodes. */
struct wide_lanes { __m512i at, base, off, item; __mmask8 live; };

/* Puts rows that wait into lanes that don't walk; a tree's rows at a time. */
L2_AVX512 static inline void wide_fill(struct wide_lanes *v, const struct trees_walk *w, uint32_t *t, uint32_t *r)
{
    const __m512i iota = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    while (v->live != 0xFF && *t < w->trees) {
        __mmask8 idle = (__mmask8)~v->live;
        __m512i row = _mm512_add_epi64(_mm512_maskz_expand_epi64(idle, iota), _mm512_set1_epi64(*r));
        __mmask8 take = _mm512_mask_cmplt_epu64_mask(idle, row, _mm512_set1_epi64(w->rows));
        __m512i base = _mm512_set1_epi64((long long)w->first[*t]);
        v->at = _mm512_mask_mov_epi64(v->at, take, base);
        v->base = _mm512_mask_mov_epi64(v->base, take, base);
        v->off = _mm512_mask_mul_epu32(v->off, take, row, _mm512_set1_epi64(w->P));
        v->item = _mm512_mask_add_epi64(v->item, take, row, _mm512_set1_epi64((long long)*t * w->rows));
        v->live |= take;
        *r += (uint32_t)__builtin_popcount(take);
        if (*r == w->rows) {
            *r = 0;
            ++*t;
        }
    }
}

/* Which of them stand at a leaf, and its node. Four steps are read for each one that is wanted. */
L2_AVX512 static inline __mmask8 wide_down(struct wide_lanes *v, const struct trees_walk *w, __m512i *node)
{
    const __m512i low = _mm512_set1_epi64(0xFFFF), right = _mm512_set1_epi64(0xFFFFFFFF);
    __mmask8 leaf = 0;
    for (uint32_t k = 0; k < WALK_DOWN; k++) {
        *node = _mm512_mask_i64gather_epi64(_mm512_set1_epi64(-1), v->live, v->at, w->node, 8);
        __m512i c = _mm512_and_si512(_mm512_srli_epi64(*node, 32), low);
        leaf = _mm512_cmpeq_epi64_mask(c, low);
        __m512i s = _mm512_and_si512(low, _mm512_mask_i64gather_epi64(low, (__mmask8)~leaf, _mm512_add_epi64(v->off, c), w->steps, 2));
        __mmask8 left = _mm512_cmple_epu64_mask(s, _mm512_srli_epi64(*node, 48));
        __m512i to = _mm512_mask_add_epi64(_mm512_add_epi64(v->base, _mm512_and_si512(*node, right)), left, v->at, _mm512_set1_epi64(1));
        v->at = _mm512_mask_mov_epi64(to, leaf, v->at);
    }
    return leaf & v->live;
}

L2_AVX512 void trees_wide_walk(const struct trees_walk *w, uint32_t *leaf)
{
    struct wide_lanes lanes[WALK_VECTORS];
    const __m512i zero = _mm512_setzero_si512();
    uint32_t t = 0, r = 0, busy;
    for (uint32_t i = 0; i < WALK_VECTORS; i++) {
        lanes[i] = (struct wide_lanes){ zero, zero, zero, zero, 0 };
        wide_fill(&lanes[i], w, &t, &r);
    }
    do {
        busy = 0;
        _Pragma("GCC unroll 4")
        for (uint32_t i = 0; i < WALK_VECTORS; i++) {
            struct wide_lanes *v = &lanes[i];
            __m512i node;
            __mmask8 there = wide_down(v, w, &node);
            if (there != 0) {
                _mm512_mask_i64scatter_epi32(leaf, there, v->item, _mm512_cvtepi64_epi32(node), 4);
                v->live &= (__mmask8)~there;
                wide_fill(v, w, &t, &r);
            }
            busy |= v->live;
        }
    } while (busy != 0);
}
#endif
