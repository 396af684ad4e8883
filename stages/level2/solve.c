/* Positive definite systems: Cholesky, and non-negative least squares (Lawson and Hanson 1974, chapter 23) on the normal equations. */
#include "stages/level2/solve.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "stages/level2/kernel.h"

#define SOLVE_BLOCK 32u                /* rows of U that are taken off the rest at once */
#define SOLVE_TINY  1e-13              /* of its diagonal: below that a pivot is rounding */

/* ---- Cholesky ---- */

/* row[j] -= sum over k of u[k][i] * u[k][j], j from i on, eight values at a time. */
L2_INLINE void solve_row(uint32_t n, double *a, uint32_t from, uint32_t upto, uint32_t i)
{
    double *row = a + (size_t)i * n;
    uint32_t j = i;
    for (; j + 8 <= n; j += 8) {
        l2_f64x8 acc, u;
        memcpy(&acc, row + j, sizeof acc);
        for (uint32_t k = from; k < upto; k++) {
            memcpy(&u, a + (size_t)k * n + j, sizeof u);
            acc -= u * a[(size_t)k * n + i];
        }
        memcpy(row + j, &acc, sizeof acc);
    }
    for (; j < n; j++)
        for (uint32_t k = from; k < upto; k++)
            row[j] -= a[(size_t)k * n + j] * a[(size_t)k * n + i];
}

/* What the diagonal element was: the pivot and all that was taken off it. */
L2_INLINE double solve_diagonal(uint32_t n, const double *a, uint32_t i)
{
    double sum = a[(size_t)i * n + i];
    for (uint32_t k = 0; k < i; k++)
        sum += a[(size_t)k * n + i] * a[(size_t)k * n + i];
    return sum;
}

L2_INLINE uint32_t solve_factor(uint32_t n, double *a, double tiny, atomic_ullong *progress)
{
    for (uint32_t from = 0; from < n; from += SOLVE_BLOCK) {
        uint32_t upto = from + SOLVE_BLOCK < n ? from + SOLVE_BLOCK : n;
        for (uint32_t i = from; i < upto; i++) {
            solve_row(n, a, from, i, i);
            double pivot = a[(size_t)i * n + i];
            if (!(pivot > tiny * solve_diagonal(n, a, i)) || !isfinite(pivot))
                return i;
            double by = 1.0 / sqrt(pivot);
            for (uint32_t j = i; j < n; j++)
                a[(size_t)i * n + j] *= by;
        }
        for (uint32_t i = upto; i < n; i++)
            solve_row(n, a, from, upto, i);
        if (progress != NULL)
            atomic_fetch_add(progress, 1);
    }
    return n;
}

typedef uint32_t solve_kernel(uint32_t n, double *a, double tiny, atomic_ullong *progress);
static uint32_t solve_plain(uint32_t n, double *a, double tiny, atomic_ullong *p) { return solve_factor(n, a, tiny, p); }
#if defined(__x86_64__)
L2_AVX2 static uint32_t solve_avx2(uint32_t n, double *a, double tiny, atomic_ullong *p) { return solve_factor(n, a, tiny, p); }
L2_AVX512 static uint32_t solve_avx512(uint32_t n, double *a, double tiny, atomic_ullong *p) { return solve_factor(n, a, tiny, p); }
static solve_kernel *const solve_kernels[] = { solve_plain, solve_avx2, solve_avx512 };
#else
static solve_kernel *const solve_kernels[] = { solve_plain };
#endif

uint32_t fl_l2_cholesky(uint32_t n, double *a, double lambda, double tiny, atomic_ullong *progress)
{
    for (uint32_t i = 0; i < n; i++)
        a[(size_t)i * n + i] += lambda;
    return solve_kernels[fl_l2_kernel(NULL)](n, a, tiny, progress);
}

void fl_l2_cholesky_solve(uint32_t n, const double *u, uint32_t T, double *b)
{
    for (uint32_t i = 0; i < n; i++) {                 /* U'z = b */
        const double *row = u + (size_t)i * n;
        for (uint32_t t = 0; t < T; t++)
            b[(size_t)i * T + t] /= row[i];
        for (uint32_t j = i + 1; j < n; j++)
            for (uint32_t t = 0; t < T; t++)
                b[(size_t)j * T + t] -= row[j] * b[(size_t)i * T + t];
    }
    for (uint32_t i = n; i-- > 0;) {                   /* Ux = z */
        const double *row = u + (size_t)i * n;
        for (uint32_t j = i + 1; j < n; j++)
            for (uint32_t t = 0; t < T; t++)
                b[(size_t)i * T + t] -= row[j] * b[(size_t)j * T + t];
        for (uint32_t t = 0; t < T; t++)
            b[(size_t)i * T + t] /= row[i];
    }
}

/* ---- non-negative least squares ---- */

struct nnls {
    uint32_t n, np;
    const double *A, *b;
    size_t   stride;
    double   lambda;
    atomic_ullong *progress;
    uint32_t *p;                       /* the passive set: columns that may differ from 0, rising */
    bool    *out;                      /* columns that made the system singular */
    double  *w, *z, *u;                /* gradient, solution on the passive set, its factor */
};

static void nnls_gradient(struct nnls *s, const double *x)
{
    for (uint32_t i = 0; i < s->n; i++) {
        double g = s->b[i * s->stride] - s->lambda * x[i];
        for (uint32_t k = 0; k < s->np; k++)
            g -= s->A[(size_t)i * s->n + s->p[k]] * x[s->p[k]];
        s->w[i] = g;
    }
}

/* The solution with only the passive columns; false when they are dependent. */
static bool nnls_solve(struct nnls *s)
{
    for (uint32_t i = 0; i < s->np; i++) {
        for (uint32_t j = i; j < s->np; j++)
            s->u[(size_t)i * s->np + j] = s->A[(size_t)s->p[i] * s->n + s->p[j]];
        s->z[i] = s->b[s->p[i] * s->stride];
    }
    if (fl_l2_cholesky(s->np, s->u, s->lambda, SOLVE_TINY, s->progress) < s->np)
        return false;
    fl_l2_cholesky_solve(s->np, s->u, 1, s->z);
    return true;
}

/* A column that enters rises; where the solution says otherwise, its gain was rounding. */
static bool nnls_rises(const struct nnls *s, uint32_t column)
{
    uint32_t k = 0;
    while (s->p[k] != column)
        k++;
    return s->z[k] > 0.0;
}

static void nnls_add(struct nnls *s, uint32_t column)
{
    uint32_t at = s->np++;
    for (; at > 0 && s->p[at - 1] > column; at--)
        s->p[at] = s->p[at - 1];
    s->p[at] = column;
}

static void nnls_remove(struct nnls *s, uint32_t column)
{
    uint32_t k = 0;
    while (s->p[k] != column)
        k++;
    memmove(s->p + k, s->p + k + 1, (--s->np - k) * sizeof *s->p);
}

/* The column with the steepest gain that is at 0, or n. Its gain is held against the size of what it is a difference of. */
static uint32_t nnls_enter(const struct nnls *s, const double *x)
{
    uint32_t best = s->n;
    for (uint32_t i = 0; i < s->n; i++) {
        bool passive = false;
        for (uint32_t k = 0; k < s->np && !passive; k++)
            passive = s->p[k] == i;
        if (passive || s->out[i] || x[i] > 0.0 || s->w[i] <= 1e-12 * fabs(s->b[i * s->stride]) + 1e-300)
            continue;
        if (best == s->n || s->w[i] > s->w[best])
            best = i;
    }
    return best;
}

/* Moves x towards z as far as no value turns negative, and lets go of those that came to 0. True when it got all the way. */
static bool nnls_step(struct nnls *s, double *x)
{
    double alpha = 1.0;
    uint32_t block = s->n;
    for (uint32_t k = 0; k < s->np; k++)
        if (s->z[k] <= 0.0) {
            double a = x[s->p[k]] / (x[s->p[k]] - s->z[k]);
            if (block == s->n || a < alpha) {
                alpha = a;
                block = s->p[k];
            }
        }
    for (uint32_t k = 0; k < s->np; k++)
        x[s->p[k]] += alpha * (s->z[k] - x[s->p[k]]);
    if (block == s->n)
        return true;
    x[block] = 0.0;
    for (uint32_t k = s->np; k-- > 0;)
        if (x[s->p[k]] <= 0.0) {
            x[s->p[k]] = 0.0;
            nnls_remove(s, s->p[k]);
        }
    return false;
}

static int nnls_run(struct nnls *s, double *x, struct fl_err *err)
{
    for (uint32_t steps = 0; steps <= 30 * s->n; steps++) {
        nnls_gradient(s, x);
        uint32_t column = nnls_enter(s, x);
        if (column == s->n)
            return FL_OK;
        nnls_add(s, column);
        if (!nnls_solve(s) || !nnls_rises(s, column)) {
            nnls_remove(s, column);
            s->out[column] = true;
            continue;
        }
        while (!nnls_step(s, x) && s->np > 0)
            if (!nnls_solve(s))
                return fl_err_set(err, FL_E_NUM, "non-negative least squares: dependent columns; lambda above 0 helps");
    }
    return fl_err_set(err, FL_E_NUM, "non-negative least squares did not settle in %u steps; lambda above 0 helps", 30 * s->n);
}

int fl_l2_nnls(uint32_t n, const double *A, double lambda, const double *b, size_t stride, double *x, atomic_ullong *progress, struct fl_err *err)
{
    struct nnls s = { .n = n, .A = A, .b = b, .stride = stride, .lambda = lambda, .progress = progress };
    s.p = malloc((n + 1) * sizeof *s.p);
    s.out = calloc(n + 1, sizeof *s.out);
    s.w = malloc((n + 1) * sizeof *s.w);
    s.z = malloc((n + 1) * sizeof *s.z);
    s.u = malloc(((size_t)n * n + 1) * sizeof *s.u);
    memset(x, 0, n * sizeof *x);
    int rc = s.p && s.out && s.w && s.z && s.u ? nnls_run(&s, x, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %u columns", n);
    free(s.p);
    free(s.out);
    free(s.w);
    free(s.z);
    free(s.u);
    return rc;
}
