/* Sums of products of columns, per fold.
 *
 * Rows are taken in blocks: their values less the centre are laid out in strips of sixteen columns, and each pair of strips
 * (eight rows of the result by sixteen columns) adds up its products in registers over the block. */
#include "stages/level2/gram.h"

#include <stdlib.h>
#include <string.h>

#include "stages/level2/kernel.h"

#define GRAM_ROWS  96u                 /* of a block: 96 x 16 doubles of a strip stay in the first cache */
#define GRAM_STRIP 16u
#define GRAM_HALF  8u

/* c [8][.. ld] += sum over rows of a[row][i] * b[row][j]; a: eight columns of a strip, b: a strip. */
L2_INLINE void gram_tile(uint32_t rows, const double *a, const double *b, double *c, size_t ld)
{
    l2_f64x8 acc[GRAM_HALF][2];
    for (uint32_t i = 0; i < GRAM_HALF; i++)
        memcpy(acc[i], c + i * ld, sizeof acc[i]);
    for (uint32_t r = 0; r < rows; r++, a += GRAM_STRIP, b += GRAM_STRIP) {
        l2_f64x8 b0, b1;
        memcpy(&b0, b, sizeof b0);
        memcpy(&b1, b + 8, sizeof b1);
        _Pragma("GCC unroll 8")
        for (uint32_t i = 0; i < GRAM_HALF; i++) {
            acc[i][0] += b0 * a[i];
            acc[i][1] += b1 * a[i];
        }
    }
    for (uint32_t i = 0; i < GRAM_HALF; i++)
        memcpy(c + i * ld, acc[i], sizeof acc[i]);
}

/* All strips; strip s begins at z + s * rows_max * 16. c: [strips*16][strips*16], from the diagonal to the right. */
L2_INLINE void gram_block(uint32_t strips, uint32_t rows, const double *z, double *c)
{
    size_t ld = (size_t)strips * GRAM_STRIP, step = (size_t)GRAM_ROWS * GRAM_STRIP;
    for (uint32_t i = 0; i < strips; i++)
        for (uint32_t j = i; j < strips; j++)
            for (uint32_t half = 0; half < GRAM_STRIP; half += GRAM_HALF)
                gram_tile(rows, z + i * step + half, z + j * step, c + (i * GRAM_STRIP + half) * ld + j * GRAM_STRIP, ld);
}

typedef void gram_kernel(uint32_t strips, uint32_t rows, const double *z, double *c);
static void gram_plain(uint32_t strips, uint32_t rows, const double *z, double *c) { gram_block(strips, rows, z, c); }
#if defined(__x86_64__)
L2_AVX2 static void gram_avx2(uint32_t strips, uint32_t rows, const double *z, double *c) { gram_block(strips, rows, z, c); }
L2_AVX512 static void gram_avx512(uint32_t strips, uint32_t rows, const double *z, double *c) { gram_block(strips, rows, z, c); }
static gram_kernel *const gram_kernels[] = { gram_plain, gram_avx2, gram_avx512 };
#else
static gram_kernel *const gram_kernels[] = { gram_plain };
#endif

struct gram_work {
    const struct fl_l2_data *d;
    int      transform;
    uint32_t P, W, strips;
    size_t   ld;
    double  *block;                    /* [strips][GRAM_ROWS][16] */
    double  *c;                        /* [ld][ld] */
    gram_kernel *kernel;
    atomic_ullong *progress;
};

/* ---- values ---- */

static void gram_centre(const struct gram_work *w, double *centre)
{
    const struct fl_l2_data *d = w->d;
    memset(centre, 0, w->W * sizeof *centre);
    for (uint32_t i = 0; i < d->n; i++) {
        for (uint32_t c = 0; c < w->P; c++)
            centre[c] += fl_l2_value(w->transform, d->x[(size_t)i * w->P + c]);
        for (uint32_t l = 0; l < d->L; l++)
            centre[w->P + l] += d->y[(size_t)i * d->L + l];
    }
    for (uint32_t c = 0; c < w->W; c++)
        centre[c] /= d->n;
}

/* Row `row` becomes row `at` of the block; its values join the sums. */
static void gram_put(const struct gram_work *w, uint32_t row, uint32_t at, const double *centre, double *sum)
{
    const struct fl_l2_data *d = w->d;
    const float *x = d->x + (size_t)row * w->P;
    const uint8_t *y = d->y + (size_t)row * d->L;
    double *to = w->block + (size_t)at * GRAM_STRIP;
    for (uint32_t c = 0; c < w->W; c++) {
        double v = (c < w->P ? fl_l2_value(w->transform, x[c]) : (double)y[c - w->P]) - centre[c];
        to[(size_t)(c / GRAM_STRIP) * GRAM_ROWS * GRAM_STRIP + c % GRAM_STRIP] = v;
        sum[c] += v;
    }
}

/* ---- a fold ---- */

static void gram_store(const struct gram_work *w, double *prod)
{
    for (uint32_t i = 0; i < w->W; i++)
        for (uint32_t j = i; j < w->W; j++)
            prod[(size_t)i * w->W + j] = prod[(size_t)j * w->W + i] = w->c[i * w->ld + j];
}

static void gram_fold(struct gram_work *w, uint32_t k, struct fl_l2_gram *g)
{
    double *sum = g->sum + (size_t)k * w->W;
    uint32_t rows = 0;
    memset(w->c, 0, w->ld * w->ld * sizeof *w->c);
    for (uint32_t i = 0; i < w->d->n; i++) {
        if (w->d->fold[i] != k)
            continue;
        gram_put(w, i, rows++, g->centre, sum);
        g->n[k]++;
        if (rows == GRAM_ROWS) {
            w->kernel(w->strips, rows, w->block, w->c);
            rows = 0;
            if (w->progress != NULL)
                atomic_fetch_add(w->progress, 1);
        }
    }
    if (rows > 0)
        w->kernel(w->strips, rows, w->block, w->c);
    gram_store(w, g->prod + (size_t)k * w->W * w->W);
}

static void gram_total(struct fl_l2_gram *g)
{
    size_t square = (size_t)g->W * g->W;
    double *sum = g->sum + (size_t)g->K * g->W, *prod = g->prod + g->K * square;
    for (uint32_t k = 0; k < g->K; k++) {
        for (uint32_t c = 0; c < g->W; c++)
            sum[c] += g->sum[(size_t)k * g->W + c];
        for (size_t c = 0; c < square; c++)
            prod[c] += g->prod[k * square + c];
    }
}

int fl_l2_gram(const struct fl_l2_data *d, int transform, const char *kernel, atomic_ullong *progress, struct fl_l2_gram *out, struct fl_err *err)
{
    struct gram_work w = { .d = d, .transform = transform, .progress = progress, .P = d->M * d->L, .W = d->M * d->L + d->L };
    struct fl_l2_gram g = { .P = w.P, .L = d->L, .K = d->K, .W = w.W };
    int which = fl_l2_kernel(kernel);
    if (which < 0)
        return fl_err_set(err, FL_E_CONFIG, "this processor has no kernel %s", kernel);
    w.kernel = gram_kernels[which];
    w.strips = (w.W + GRAM_STRIP - 1) / GRAM_STRIP;
    w.ld = (size_t)w.strips * GRAM_STRIP;
    w.block = calloc(w.ld * GRAM_ROWS, sizeof *w.block);
    w.c = malloc(w.ld * w.ld * sizeof *w.c);
    g.centre = malloc(w.W * sizeof *g.centre);
    g.n = calloc(d->K, sizeof *g.n);
    g.sum = calloc(((size_t)d->K + 1) * w.W, sizeof *g.sum);
    g.prod = calloc(((size_t)d->K + 1) * w.W * w.W, sizeof *g.prod);
    int rc = w.block && w.c && g.centre && g.n && g.sum && g.prod ? FL_OK
           : fl_err_set(err, FL_E_NOMEM, "no memory for the products of %u columns in %u folds", w.W, d->K);
    if (rc == FL_OK) {
        gram_centre(&w, g.centre);
        for (uint32_t k = 0; k < d->K; k++)
            gram_fold(&w, k, &g);
        gram_total(&g);
        *out = g;
    } else {
        fl_l2_gram_done(&g);
    }
    free(w.block);
    free(w.c);
    return rc;
}

void fl_l2_gram_done(struct fl_l2_gram *g)
{
    free(g->centre);
    free(g->n);
    free(g->sum);
    free(g->prod);
    *g = (struct fl_l2_gram){ 0 };
}

/* ---- some of the folds ---- */

/* Which is shorter: to add those that are in, or to take those away that are not. */
struct normal_sum { const struct fl_l2_gram *g; uint32_t n, k[FL_L2_MAX_FOLDS]; double first, each; };

static void normal_plan(const struct fl_l2_gram *g, const struct fl_l2_folds *f, struct normal_sum *s)
{
    uint32_t in = 0;
    for (uint32_t k = 0; k < g->K; k++)
        in += (uint32_t)fl_l2_has(f, k);
    int add = 2 * in <= g->K;
    *s = (struct normal_sum){ .g = g, .first = add ? 0 : 1, .each = add ? 1 : -1 };
    for (uint32_t k = 0; k < g->K; k++)
        if (fl_l2_has(f, k) == add)
            s->k[s->n++] = k;
}

static double normal_of(const struct normal_sum *s, const double *v, size_t stride, size_t at)
{
    double sum = s->first == 0 ? 0.0 : v[s->g->K * stride + at];
    for (uint32_t i = 0; i < s->n; i++)
        sum += s->each * v[s->k[i] * stride + at];
    return sum;
}

static void normal_fill(const struct fl_l2_gram *g, const struct normal_sum *s, const uint32_t *columns, const uint32_t *outputs,
                        const double *sums, struct fl_l2_normal *m)
{
    size_t square = (size_t)g->W * g->W;
    double n = (double)m->n;
    for (uint32_t i = 0; i < m->P; i++) {
        size_t row = (size_t)columns[i] * g->W;
        for (uint32_t j = i; j < m->P; j++) {
            double v = normal_of(s, g->prod, square, row + columns[j]);
            if (i == j)
                m->square[i] = v + 2 * g->centre[columns[i]] * sums[i] + n * g->centre[columns[i]] * g->centre[columns[i]];
            m->xx[(size_t)i * m->P + j] = m->xx[(size_t)j * m->P + i] = v - sums[i] * sums[j] / n;
        }
        for (uint32_t t = 0; t < m->T; t++)
            m->xy[(size_t)i * m->T + t] = normal_of(s, g->prod, square, row + g->P + outputs[t]) - sums[i] * sums[m->P + t] / n;
    }
}

int fl_l2_normal(const struct fl_l2_gram *g, const struct fl_l2_folds *f, uint32_t P, const uint32_t *columns, uint32_t T,
                 const uint32_t *outputs, struct fl_l2_normal *out, struct fl_err *err)
{
    struct fl_l2_normal m = { .P = P, .T = T };
    struct normal_sum s;
    normal_plan(g, f, &s);
    for (uint32_t k = 0; k < g->K; k++)
        m.n += fl_l2_has(f, k) ? g->n[k] : 0;
    if (m.n == 0)
        return fl_err_set(err, FL_E_CONFIG, "no rows to fit on");
    double *sums = calloc((size_t)P + T, sizeof *sums);
    m.mean = malloc((P + T) * sizeof *m.mean);
    m.xx = malloc((size_t)P * P * sizeof *m.xx);
    m.xy = malloc((size_t)P * T * sizeof *m.xy);
    m.square = malloc(P * sizeof *m.square);
    if (sums == NULL || m.mean == NULL || m.xx == NULL || m.xy == NULL || m.square == NULL) {
        free(sums);
        fl_l2_normal_done(&m);
        return fl_err_set(err, FL_E_NOMEM, "no memory for the normal equations of %u columns", P);
    }
    for (uint32_t i = 0; i < P + T; i++) {
        uint32_t c = i < P ? columns[i] : g->P + outputs[i - P];
        sums[i] = normal_of(&s, g->sum, g->W, c);
        m.mean[i] = g->centre[c] + sums[i] / (double)m.n;
    }
    normal_fill(g, &s, columns, outputs, sums, &m);
    free(sums);
    *out = m;
    return FL_OK;
}

void fl_l2_normal_done(struct fl_l2_normal *m)
{
    free(m->mean);
    free(m->xx);
    free(m->xy);
    free(m->square);
    *m = (struct fl_l2_normal){ 0 };
}
