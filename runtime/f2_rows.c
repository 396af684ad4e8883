/* The exact decoder for many rows: eight rows at a time, one in each lane, in the order of operations of fl_f2_exact. */
#include "runtime/f2.h"

#include <string.h>

#include "runtime/metric.h"

#define ROWS_LANES 8u

typedef double rows_vec __attribute__((vector_size(64)));

typedef int64_t rows_int __attribute__((vector_size(64)));

/* Inlined into each kernel, so that each compiles it for its own instruction set. */
#define ROWS_INLINE static inline __attribute__((always_inline))

/* p, sorted p, ranks, E, A, then B (n+1 rows of n+1). */
size_t fl_f2_work(uint32_t L)
{
    size_t n = L + 1;
    return ROWS_LANES * (n * n + 5 * n);
}

/* to may be from. */
ROWS_INLINE void rows_join(rows_vec *to, const rows_vec *from, size_t n, const rows_vec *p)
{
    rows_vec q = 1.0 - *p;
    to[n + 1] = from[n] * *p;
    for (size_t a = n; a > 0; a--)
        to[a] = from[a] * q + from[a - 1] * *p;
    to[0] = from[0] * q;
}

/* Adds the terms of `width` values of a from `a` on: their sums over b run side by side, so that none waits for the other. */
ROWS_INLINE void rows_terms(const double *w, size_t a, size_t width, const rows_vec *A, size_t m, const rows_vec *B, rows_vec *e)
{
    rows_vec in[4] = { { 0.0 }, { 0.0 }, { 0.0 }, { 0.0 } };
    for (size_t b = 0; b <= m; b++) {
        rows_vec t = B[b];
        _Pragma("GCC unroll 4")
        for (size_t j = 0; j < width; j++)
            in[j] += t * w[a + j + b];
    }
    _Pragma("GCC unroll 4")
    for (size_t j = 0; j < width; j++)
        *e += A[a + j] * (double)(a + j) * in[j];
}

ROWS_INLINE void rows_value(const struct fl_f2 *f, size_t k, const rows_vec *A, size_t m, const rows_vec *B, rows_vec *out)
{
    rows_vec e = { 0.0 };
    size_t a = 1;
    if (k == 0)
        e = B[0] * f->empty_score;
    for (; a + 3 <= k; a += 4)
        rows_terms(f->w[k], a, 4, A, m, B, &e);
    for (; a + 1 <= k; a += 2)
        rows_terms(f->w[k], a, 2, A, m, B, &e);
    for (; a <= k; a++)
        rows_terms(f->w[k], a, 1, A, m, B, &e);
    *out = e;
}

/* How many labels go before each one: those of greater p, and equal ones of lower id. A comparison that holds is -1. */
ROWS_INLINE void rows_ranks(uint32_t L, const rows_vec *p, rows_int *rank)
{
    for (uint32_t i = 0; i < L; i++)
        rank[i] = (rows_int){ 0 } + (int64_t)(L - 1 - i);
    for (uint32_t i = 0; i < L; i++) {
        rows_vec pi = p[i];
        rows_int r = rank[i];
        for (uint32_t j = i + 1; j < L; j++) {
            rows_int first = pi >= p[j];
            r += first;
            rank[j] -= first;
        }
        rank[i] = r;
    }
}

/* Values E[0..n] of the n+1 candidate sets of eight rows. */
ROWS_INLINE void rows_values(const struct fl_f2 *f, const rows_vec *p, rows_vec *E, rows_vec *A, rows_vec *B)
{
    size_t n = f->L, w = n + 1;
    A[0] = B[n * w] = (rows_vec){ 0.0 } + 1.0;
    for (size_t k = n; k-- > 0; )
        rows_join(B + k * w, B + (k + 1) * w, n - k - 1, p + k);
    for (size_t k = 0; k <= n; k++) {
        rows_value(f, k, A, n - k, B + k * w, E + k);
        if (k < n)
            rows_join(A, A, k, p + k);
    }
}

/* Takes over the lanes where the comparison held. */
ROWS_INLINE void rows_take(rows_int *to, const rows_int *held, const rows_int *from) { *to = (*held & *from) | (~*held & *to); }

/* The smallest size within a tie of the best, and the labels of lower rank. */
ROWS_INLINE void rows_choose(uint32_t L, const rows_int *rank, const rows_vec *E, rows_int *set, rows_vec *e)
{
    rows_vec best = { 0.0 };
    rows_int k = { 0 }, s = { 0 };
    for (uint32_t i = 0; i <= L; i++) {
        rows_int held = E[i] > best;
        rows_take((rows_int *)&best, &held, (const rows_int *)&E[i]);
    }
    best -= FL_TIE;
    for (uint32_t i = L + 1; i-- > 0; ) {
        rows_int held = E[i] >= best, size = (rows_int){ 0 } + (int64_t)i;
        rows_take(&k, &held, &size);
        rows_take((rows_int *)e, &held, (const rows_int *)&E[i]);
    }
    for (uint32_t l = 0; l < L; l++)
        s |= (rank[l] < k) & (int64_t)(UINT64_C(1) << l);
    *set = s;
}

/* Eight rows: p is laid out by lanes, sorted by rank, valued; the sets and their values take the place of A. */
ROWS_INLINE void rows_eight(const struct fl_f2 *f, double *work)
{
    uint32_t L = f->L, w = ROWS_LANES * (L + 1);
    double *sorted = work + w;
    int64_t *rank = (int64_t *)(void *)(work + 2 * w);
    rows_vec *E = (rows_vec *)(work + 3 * w), *A = (rows_vec *)(work + 4 * w);
    rows_ranks(L, (const rows_vec *)work, (rows_int *)rank);
    for (uint32_t i = 0; i < L * ROWS_LANES; i++)
        sorted[(uint64_t)rank[i] * ROWS_LANES + i % ROWS_LANES] = work[i];
    rows_values(f, (const rows_vec *)sorted, E, A, (rows_vec *)(work + 5 * w));
    rows_choose(L, (const rows_int *)rank, E, (rows_int *)A, A + 1);
}

typedef void rows_kernel(const struct fl_f2 *, double *);

static void rows_plain(const struct fl_f2 *f, double *work) { rows_eight(f, work); }

#if defined(__x86_64__)
__attribute__((target("avx512f")))
static void rows_avx512(const struct fl_f2 *f, double *work) { rows_eight(f, work); }

static int rows_has_avx512(void) { return __builtin_cpu_supports("avx512f") != 0; }
#endif
static int rows_always(void) { return 1; }

/* Best first. */
static const struct rows_entry { const char *name; int (*probe)(void); rows_kernel *run; } rows_table[] = {
#if defined(__x86_64__)
    { "avx512", rows_has_avx512, rows_avx512 },
#endif
    { "plain", rows_always, rows_plain },
};

static const struct rows_entry *rows_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows_table / sizeof rows_table[0]; i++)
        if ((name == NULL || strcmp(name, rows_table[i].name) == 0) && rows_table[i].probe())
            return &rows_table[i];
    return NULL;
}

static void rows_run(const struct rows_entry *kernel, const struct fl_f2 *f, uint32_t n, const double *p, uint64_t *sets, double *e,
                     double *work)
{
    uint32_t L = f->L, w = ROWS_LANES * (L + 1);
    const double *out = work + 4 * w;
    for (uint32_t at = 0; at < n; at += ROWS_LANES) {
        uint32_t lanes = n - at < ROWS_LANES ? n - at : ROWS_LANES;
        for (uint32_t j = 0; j < ROWS_LANES; j++) {      /* spare lanes repeat the last row */
            const double *row = p + (size_t)(at + (j < lanes ? j : lanes - 1)) * L;
            for (uint32_t l = 0; l < L; l++)
                work[l * ROWS_LANES + j] = row[l];
        }
        kernel->run(f, work);
        memcpy(sets + at, out, lanes * sizeof *sets);
        memcpy(e + at, out + ROWS_LANES, lanes * sizeof *e);
    }
}

const char *fl_f2_kernel(void) { return rows_find(NULL)->name; }

int fl_f2_exact_kernel(const char *name, const struct fl_f2 *f, uint32_t n, const double *p, uint64_t *sets, double *e, double *work)
{
    const struct rows_entry *kernel = rows_find(name);
    if (kernel == NULL)
        return 0;
    rows_run(kernel, f, n, p, sets, e, work);
    return 1;
}

void fl_f2_exact_rows(const struct fl_f2 *f, uint32_t n, const double *p, uint64_t *sets, double *e, double *work)
{
    rows_run(rows_find(NULL), f, n, p, sets, e, work);
}
