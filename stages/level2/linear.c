/* Linear second levels from normal equations. */
#include "stages/level2/linear.h"

#include <stdlib.h>
#include <string.h>

#include "stages/level2/solve.h"

#define LINEAR_CONSTANT 1e-13          /* a column's variation against its size: less is rounding */
#define LINEAR_SINGULAR 1e-12

static int linear_new(uint32_t P, uint32_t T, struct fl_l2_linear *m, struct fl_err *err)
{
    *m = (struct fl_l2_linear){ .P = P, .T = T };
    m->coef = calloc((size_t)P * T + 1, sizeof *m->coef);
    m->intercept = calloc(T + 1, sizeof *m->intercept);
    if (m->coef != NULL && m->intercept != NULL)
        return FL_OK;
    fl_l2_linear_done(m);
    return fl_err_set(err, FL_E_NOMEM, "no memory for %u coefficients", P);
}

static void linear_intercepts(const struct fl_l2_normal *a, struct fl_l2_linear *m)
{
    for (uint32_t t = 0; t < m->T; t++) {
        double b = a->mean[a->P + t];
        for (uint32_t i = 0; i < m->P; i++)
            b -= m->coef[(size_t)i * m->T + t] * a->mean[i];
        m->intercept[t] = b;
    }
}

/* The columns that vary: their indices, and the system of them alone. */
struct linear_part { uint32_t n, T, *of; double *xx, *xy; };

static void linear_part_done(struct linear_part *s)
{
    free(s->of);
    free(s->xx);
    free(s->xy);
}

static int linear_part(const struct fl_l2_normal *a, struct linear_part *s, struct fl_err *err)
{
    *s = (struct linear_part){ .T = a->T, .of = malloc((a->P + 1) * sizeof *s->of) };
    for (uint32_t i = 0; s->of != NULL && i < a->P; i++)
        if (a->xx[(size_t)i * a->P + i] > LINEAR_CONSTANT * a->square[i])
            s->of[s->n++] = i;
    s->xx = malloc(((size_t)s->n * s->n + 1) * sizeof *s->xx);
    s->xy = malloc(((size_t)s->n * a->T + 1) * sizeof *s->xy);
    if (s->of == NULL || s->xx == NULL || s->xy == NULL) {
        linear_part_done(s);
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u columns", a->P);
    }
    for (uint32_t i = 0; i < s->n; i++) {
        for (uint32_t j = 0; j < s->n; j++)
            s->xx[(size_t)i * s->n + j] = a->xx[(size_t)s->of[i] * a->P + s->of[j]];
        memcpy(s->xy + (size_t)i * a->T, a->xy + (size_t)s->of[i] * a->T, a->T * sizeof *s->xy);
    }
    return FL_OK;
}

static int linear_nonneg(const struct linear_part *s, double lambda, atomic_ullong *progress, struct fl_l2_linear *m, struct fl_err *err)
{
    double *x = malloc((s->n + 1) * sizeof *x);
    int rc = x != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u columns", s->n);
    for (uint32_t t = 0; rc == FL_OK && t < s->T; t++) {
        rc = fl_l2_nnls(s->n, s->xx, lambda, s->xy + t, s->T, x, progress, err);
        for (uint32_t i = 0; rc == FL_OK && i < s->n; i++)
            m->coef[(size_t)s->of[i] * m->T + t] = x[i];
    }
    free(x);
    return rc;
}

static int linear_solve(struct linear_part *s, double lambda, atomic_ullong *progress, struct fl_l2_linear *m, struct fl_err *err)
{
    uint32_t bad = fl_l2_cholesky(s->n, s->xx, lambda, LINEAR_SINGULAR, progress);
    if (bad < s->n)
        return fl_err_set(err, FL_E_NUM, "column %u is a combination of those before it: lambda above %g would help", s->of[bad], lambda);
    fl_l2_cholesky_solve(s->n, s->xx, s->T, s->xy);
    for (uint32_t i = 0; i < s->n; i++)
        memcpy(m->coef + (size_t)s->of[i] * m->T, s->xy + (size_t)i * s->T, s->T * sizeof *m->coef);
    return FL_OK;
}

int fl_l2_linear_fit(const struct fl_l2_normal *a, double lambda, unsigned flags, atomic_ullong *progress, struct fl_l2_linear *out,
                     struct fl_err *err)
{
    struct fl_l2_linear m;
    struct linear_part s;
    int rc = linear_new(a->P, a->T, &m, err);
    if (rc != FL_OK)
        return rc;
    rc = linear_part(a, &s, err);
    if (rc != FL_OK) {
        fl_l2_linear_done(&m);
        return rc;
    }
    m.dropped = a->P - s.n;
    rc = flags & FL_L2_NONNEG ? linear_nonneg(&s, lambda, progress, &m, err) : linear_solve(&s, lambda, progress, &m, err);
    linear_part_done(&s);
    if (rc == FL_OK) {
        linear_intercepts(a, &m);
        *out = m;
    } else {
        fl_l2_linear_done(&m);
    }
    return rc;
}

/* ---- two steps ---- */

/* The equations of columns `of` and outputs `outs` of a larger system; owned arrays. */
static int linear_sub(const struct fl_l2_normal *a, uint32_t P, const uint32_t *of, struct fl_l2_normal *out, struct fl_err *err)
{
    struct fl_l2_normal m = { .n = a->n, .P = P, .T = a->T };
    m.mean = malloc((P + a->T) * sizeof *m.mean);
    m.xx = malloc((size_t)P * P * sizeof *m.xx);
    m.xy = malloc((size_t)P * a->T * sizeof *m.xy);
    m.square = malloc(P * sizeof *m.square);
    if (m.mean == NULL || m.xx == NULL || m.xy == NULL || m.square == NULL) {
        fl_l2_normal_done(&m);
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u columns", P);
    }
    for (uint32_t i = 0; i < P; i++) {
        m.mean[i] = a->mean[of[i]];
        m.square[i] = a->square[of[i]];
        for (uint32_t j = 0; j < P; j++)
            m.xx[(size_t)i * P + j] = a->xx[(size_t)of[i] * a->P + of[j]];
        memcpy(m.xy + (size_t)i * a->T, a->xy + (size_t)of[i] * a->T, a->T * sizeof *m.xy);
    }
    memcpy(m.mean + P, a->mean + a->P, a->T * sizeof *m.mean);
    *out = m;
    return FL_OK;
}

/* First step: first[(j*L + i)*L + l] = weight of column L*j + i in what model j gives for label l; constants in base[j*L + l]. */
static int linear_first(const struct fl_l2_normal *a, uint32_t M, uint32_t L, double lambda, atomic_ullong *progress, double *first, double *base,
                        uint32_t *dropped, struct fl_err *err)
{
    uint32_t *of = malloc(L * sizeof *of);
    int rc = of != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u labels", L);
    for (uint32_t j = 0; rc == FL_OK && j < M; j++) {
        struct fl_l2_normal part;
        struct fl_l2_linear m;
        for (uint32_t i = 0; i < L; i++)
            of[i] = L * j + i;
        rc = linear_sub(a, L, of, &part, err);
        if (rc != FL_OK)
            break;
        rc = fl_l2_linear_fit(&part, lambda, 0, progress, &m, err);
        fl_l2_normal_done(&part);
        if (rc != FL_OK)
            break;
        memcpy(first + (size_t)j * L * L, m.coef, (size_t)L * L * sizeof *first);
        memcpy(base + (size_t)j * L, m.intercept, L * sizeof *base);
        *dropped += m.dropped;
        fl_l2_linear_done(&m);
    }
    free(of);
    return rc;
}

/* Products of what the models gave for label l: z_j = w_j' x_j. */
static void linear_gave(const struct fl_l2_normal *a, uint32_t M, uint32_t L, uint32_t l, const double *first, const double *base,
                        struct fl_l2_normal *z)
{
    for (uint32_t j = 0; j < M; j++) {
        const double *w = first + (size_t)j * L * L + l;
        z->mean[j] = base[(size_t)j * L + l];
        z->xy[j] = 0.0;
        for (uint32_t i = 0; i < L; i++) {
            z->mean[j] += w[(size_t)i * L] * a->mean[L * j + i];
            z->xy[j] += w[(size_t)i * L] * a->xy[((size_t)L * j + i) * a->T + l];
        }
        for (uint32_t k = 0; k < M; k++) {
            const double *v = first + (size_t)k * L * L + l;
            double sum = 0.0;
            for (uint32_t i = 0; i < L; i++) {
                const double *row = a->xx + ((size_t)L * j + i) * a->P + (size_t)L * k;
                double inner = 0.0;
                for (uint32_t h = 0; h < L; h++)
                    inner += row[h] * v[(size_t)h * L];
                sum += w[(size_t)i * L] * inner;
            }
            z->xx[(size_t)j * M + k] = sum;
        }
        z->square[j] = z->xx[(size_t)j * M + j] + (double)a->n * z->mean[j] * z->mean[j];
    }
    z->mean[M] = a->mean[a->P + l];
}

static int linear_second(const struct fl_l2_normal *a, uint32_t M, uint32_t L, double lambda, atomic_ullong *progress, const double *first,
                         const double *base, struct fl_l2_linear *m, struct fl_err *err)
{
    struct fl_l2_normal z = { .n = a->n, .P = M, .T = 1 };
    z.mean = malloc((M + 1) * sizeof *z.mean);
    z.xx = malloc((size_t)M * M * sizeof *z.xx);
    z.xy = malloc(M * sizeof *z.xy);
    z.square = malloc(M * sizeof *z.square);
    int rc = z.mean && z.xx && z.xy && z.square ? FL_OK : fl_err_set(err, FL_E_NOMEM, "no memory for %u models", M);
    for (uint32_t l = 0; rc == FL_OK && l < L; l++) {
        struct fl_l2_linear top;
        linear_gave(a, M, L, l, first, base, &z);
        rc = fl_l2_linear_fit(&z, lambda, 0, progress, &top, err);
        if (rc != FL_OK)
            break;
        m->intercept[l] = top.intercept[0];
        for (uint32_t j = 0; j < M; j++) {
            m->intercept[l] += top.coef[j] * base[(size_t)j * L + l];
            for (uint32_t i = 0; i < L; i++)
                m->coef[((size_t)L * j + i) * L + l] = top.coef[j] * first[((size_t)j * L + i) * L + l];
        }
        fl_l2_linear_done(&top);
    }
    fl_l2_normal_done(&z);
    return rc;
}

int fl_l2_linear_two(const struct fl_l2_normal *a, uint32_t M, uint32_t L, double lambda, atomic_ullong *progress, struct fl_l2_linear *out,
                     struct fl_err *err)
{
    struct fl_l2_linear m;
    if (a->P != M * L || a->T != L)
        return fl_err_set(err, FL_E_SHAPE, "two steps want all %u columns of %u models and all labels", M * L, M);
    int rc = linear_new(a->P, L, &m, err);
    if (rc != FL_OK)
        return rc;
    double *first = malloc((size_t)M * L * L * sizeof *first), *base = malloc((size_t)M * L * sizeof *base);
    rc = first && base ? linear_first(a, M, L, lambda, progress, first, base, &m.dropped, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %u models", M);
    if (rc == FL_OK)
        rc = linear_second(a, M, L, lambda, progress, first, base, &m, err);
    free(first);
    free(base);
    if (rc == FL_OK)
        *out = m;
    else
        fl_l2_linear_done(&m);
    return rc;
}

/* ---- use ---- */

/* Outputs side by side: each one's sum still runs in the order of the columns. */
void fl_l2_linear_apply(const struct fl_l2_linear *m, const double *x, double *y)
{
    uint32_t T = m->T;
    memset(y, 0, T * sizeof *y);
    for (uint32_t i = 0; i < m->P; i++) {
        const double *w = m->coef + (size_t)i * T;
        double v = x[i];
        for (uint32_t t = 0; t < T; t++)
            y[t] += w[t] * v;
    }
    for (uint32_t t = 0; t < T; t++)
        y[t] += m->intercept[t];
}

void fl_l2_linear_done(struct fl_l2_linear *m)
{
    free(m->coef);
    free(m->intercept);
    *m = (struct fl_l2_linear){ 0 };
}
