/* Kernels of the network: products of matrices and Adam's step. */
#include <math.h>
#include <string.h>

#include "stages/level2/kernel.h"
#include "stages/level2/mlp_own.h"

#define MLP_B1  0.9f
#define MLP_B2  0.999f
#define MLP_EPS 1e-8f

/* `rows` rows of c (a constant where this is inlined) by 16 * wide columns. */
L2_INLINE void product_tile(const struct mlp_product *p, uint32_t m, uint32_t n, uint32_t rows, uint32_t wide)
{
    const float *a = p->a + m * p->am, *b = p->b + n;
    l2_f32x16 acc[8][2], v[2];
    memset(acc, 0, sizeof acc);
    for (uint32_t k = 0; k < p->k; k++, a += p->ak, b += p->ldb) {
        memcpy(v, b, wide * sizeof *v);
        _Pragma("GCC unroll 8")
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t j = 0; j < wide; j++)
                acc[i][j] += v[j] * a[i * p->am];
    }
    for (uint32_t i = 0; i < rows; i++)
        memcpy(p->c + (m + i) * p->ldc + n, acc[i], wide * sizeof *v);
}

L2_INLINE void product_all(const struct mlp_product *p)
{
    uint32_t n = 0;
    for (; n + 32 <= p->n; n += 32) {
        uint32_t m = 0;
        for (; m + 8 <= p->m; m += 8)
            product_tile(p, m, n, 8, 2);
        for (; m < p->m; m++)
            product_tile(p, m, n, 1, 2);
    }
    if (n < p->n)
        for (uint32_t m = 0; m < p->m; m++)
            product_tile(p, m, n, 1, 1);
}

L2_INLINE void adam_all(const struct mlp_adam *s)
{
    float *w = s->w, *m = s->m, *v = s->v;
    const float *g = s->g;
    for (size_t i = 0; i < s->n; i++) {
        m[i] = MLP_B1 * m[i] + (1 - MLP_B1) * g[i];
        v[i] = MLP_B2 * v[i] + (1 - MLP_B2) * g[i] * g[i];
        w[i] -= s->rate * m[i] / (sqrtf(v[i]) / s->root + MLP_EPS);
    }
}

static void product_plain(const struct mlp_product *p) { product_all(p); }
static void adam_plain(const struct mlp_adam *s) { adam_all(s); }
#if defined(__x86_64__)
L2_AVX2 static void product_avx2(const struct mlp_product *p) { product_all(p); }
L2_AVX2 static void adam_avx2(const struct mlp_adam *s) { adam_all(s); }
L2_AVX512 static void product_avx512(const struct mlp_product *p) { product_all(p); }
L2_AVX512 static void adam_avx512(const struct mlp_adam *s) { adam_all(s); }
#endif

const struct mlp_kernel mlp_kernels[] = {
    { product_plain, adam_plain },
#if defined(__x86_64__)
    { product_avx2, adam_avx2 },
    { product_avx512, adam_avx512 },
#endif
};
