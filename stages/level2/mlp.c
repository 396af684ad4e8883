/* The network as second level: fit and use. */
#include "stages/level2/mlp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rng.h"
#include "stages/level2/kernel.h"
#include "stages/level2/mlp_own.h"
#include "stages/level2/trees_own.h"
#include "runtime/merge.h"

#define MLP_HELD     10u               /* one row in so many is held back */
#define MLP_CONSTANT 1e-13             /* a column's variance against its mean square: less is rounding */

const struct fl_l2_mlp_conf fl_l2_mlp_default = { .hidden = 256, .seeds = 3, .batch = 256, .epochs = 30, .patience = 3, .rate = 1e-3, .dropout = .3 };

/* Weights of one net, or what belongs to each of them. */
struct mlp_net { float *w1, *b1, *w2, *b2; };

/* One fit. */
struct mlp {
    const struct fl_l2_table *t;
    const struct fl_l2_mlp_conf *conf;
    const struct mlp_kernel *k;
    struct fl_l2_mlp *out;             /* shapes, mean, scale */
    uint32_t s;                        /* which net */
    size_t   size;                     /* floats of a net */
    struct mlp_net w, grad, m, v, best;
    float   *x, *h, *dh, *z, *w2t;     /* of a batch: [batch][P], [batch][Hp] twice, [batch][Tp]; [Tp][Hp] */
    uint8_t *on;                       /* [batch][Hp] */
    uint32_t *draw;                    /* of a row's units */
    uint32_t nfit, nheld, *fit, *held; /* positions in the table */
    uint64_t step;
};

static int mlp_nomem(struct fl_err *err) { return fl_err_set(err, FL_E_NOMEM, "no memory for a network"); }

static float *mlp_floats(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 64) / 64 * 64);
    if (p != NULL)
        memset(p, 0, n * sizeof *p);
    return p;
}

static uint64_t mlp_name(uint32_t s, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "mlp/%u/%s", s, what);
    return fl_rng_tile(name, strlen(name));
}

static struct mlp_net mlp_net(const struct fl_l2_mlp *m, float *at)
{
    float *b1 = at + (size_t)m->P * m->Hp, *w2 = b1 + m->Hp;
    return (struct mlp_net){ at, b1, w2, w2 + (size_t)m->Hp * m->Tp };
}

static size_t mlp_size(const struct fl_l2_mlp *m)
{
    return (size_t)m->P * m->Hp + m->Hp + (size_t)m->Hp * m->Tp + m->Tp;
}

static uint32_t mlp_number(const struct fl_l2_table *t, uint32_t i) { return t->rows != NULL ? t->rows[i] : i; }

static double mlp_value(const struct fl_l2_table *t, uint32_t i, uint32_t c)
{
    return fl_l2_value(t->transform, t->x[(size_t)mlp_number(t, i) * t->stride + (t->columns != NULL ? t->columns[c] : c)]);
}

static float mlp_truth(const struct fl_l2_table *t, uint32_t i, uint32_t o)
{
    return t->y[(size_t)mlp_number(t, i) * t->y_stride + (t->outputs != NULL ? t->outputs[o] : o)];
}

/* ---- the beginning ---- */

static void mlp_standard(const struct fl_l2_table *t, double *mean, double *scale, uint32_t *dropped)
{
    for (uint32_t c = 0; c < t->P; c++)
        mean[c] = scale[c] = 0.0;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t c = 0; c < t->P; c++)
            mean[c] += mlp_value(t, i, c);
    for (uint32_t c = 0; c < t->P; c++)
        mean[c] /= t->n;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t c = 0; c < t->P; c++) {
            double d = mlp_value(t, i, c) - mean[c];
            scale[c] += d * d;
        }
    *dropped = 0;
    for (uint32_t c = 0; c < t->P; c++) {
        double var = scale[c] / t->n;
        int vary = var > MLP_CONSTANT * (var + mean[c] * mean[c]);
        scale[c] = vary ? 1.0 / sqrt(var) : 0.0;
        *dropped += !vary;
    }
}

/* w [rows][ld], of which `columns` are drawn. */
static void mlp_init(const struct mlp *p, const char *what, uint32_t inputs, uint32_t rows, uint32_t columns, size_t ld, float *w)
{
    char name[32];
    uint32_t r[4] = { 0 };
    snprintf(name, sizeof name, "init/%s", what);
    uint64_t h = mlp_name(p->s, name), i = 0;
    double bound = 1.0 / sqrt(inputs);
    const uint32_t key[2] = { (uint32_t)p->conf->seed, (uint32_t)(p->conf->seed >> 32) };
    for (uint32_t a = 0; a < rows; a++)
        for (uint32_t b = 0; b < columns; b++, i++) {
            if (i % 4 == 0)
                fl_philox((const uint32_t[4]){ (uint32_t)h, (uint32_t)(h >> 32), (uint32_t)(i / 4), 0 }, key, r);
            w[a * ld + b] = (float)fl_rng_uniform(r[i % 4], -bound, bound);
        }
}

struct mlp_key { uint64_t key; uint32_t number, at; };

static int mlp_order(const void *a, const void *b)
{
    const struct mlp_key *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Puts n positions into the order of an op's draws. */
static int mlp_shuffle(const struct mlp *p, const char *what, uint32_t epoch, uint32_t n, uint32_t *at, struct fl_err *err)
{
    struct mlp_key *keys = malloc(((size_t)n + 1) * sizeof *keys);
    uint64_t h = mlp_name(p->s, what);
    if (keys == NULL)
        return mlp_nomem(err);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = mlp_number(p->t, at[i]);
        keys[i] = (struct mlp_key){ fl_rng_order(p->conf->seed, h + number, epoch), number, at[i] };
    }
    qsort(keys, n, sizeof *keys, mlp_order);
    for (uint32_t i = 0; i < n; i++)
        at[i] = keys[i].at;
    free(keys);
    return FL_OK;
}

/* ---- a batch ---- */

static void mlp_load(struct mlp *p, const uint32_t *at, uint32_t n)
{
    const struct fl_l2_mlp *m = p->out;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < m->P; c++)
            p->x[(size_t)i * m->P + c] = (float)((mlp_value(p->t, at[i], c) - m->mean[c]) * m->scale[c]);
}

/* h = relu(x w1 + b1), z = h w2 + b2. on: which units are kept, each then weighs 1/(1 - dropout); NULL: all. */
static void mlp_forward(const struct mlp_kernel *k, const struct fl_l2_mlp *m, const struct mlp_net *w, uint32_t n, const float *x, float *h, float *z,
                        const uint8_t *on, float keep)
{
    k->product(&(struct mlp_product){ n, m->Hp, m->P, x, m->P, 1, w->w1, m->Hp, h, m->Hp });
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t u = 0; u < m->Hp; u++) {
            size_t e = (size_t)i * m->Hp + u;
            float v = h[e] + w->b1[u];
            v = v > 0.0f ? v : 0.0f;
            h[e] = on == NULL ? v : on[e] ? v * keep : 0.0f;
        }
    k->product(&(struct mlp_product){ n, m->Tp, m->Hp, h, m->Hp, 1, w->w2, m->Tp, z, m->Tp });
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t o = 0; o < m->Tp; o++)
            z[(size_t)i * m->Tp + o] += w->b2[o];
}

static void mlp_dropout(struct mlp *p, const uint32_t *at, uint32_t n, uint32_t epoch)
{
    const struct fl_l2_mlp *m = p->out;
    uint64_t h = mlp_name(p->s, "dropout");
    const struct trees_kernel *k = trees_kernel(NULL);
    for (uint32_t i = 0; i < n; i++) {
        k->draws(p->conf->seed, h + mlp_number(p->t, at[i]), epoch, FL_OP_DROPOUT, (m->H + 3) / 4, p->draw);
        for (uint32_t u = 0; u < m->H; u++)
            p->on[(size_t)i * m->Hp + u] = fl_rng_unit(p->draw[u]) >= p->conf->dropout;
    }
}

/* z becomes the gradient of the mean loss by z. */
static void mlp_error(struct mlp *p, const uint32_t *at, uint32_t n)
{
    const struct fl_l2_mlp *m = p->out;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t o = 0; o < m->Tp; o++) {
            float *z = &p->z[(size_t)i * m->Tp + o];
            *z = o < m->T ? ((float)fl_prob_sigmoid((double)*z) - mlp_truth(p->t, at[i], o)) / (float)(m->T * n) : 0.0f;
        }
}

static void mlp_sum(const float *v, uint32_t rows, uint32_t columns, float *sum)
{
    memset(sum, 0, columns * sizeof *sum);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t c = 0; c < columns; c++)
            sum[c] += v[(size_t)i * columns + c];
}

static void mlp_backward(struct mlp *p, uint32_t n, float keep)
{
    const struct fl_l2_mlp *m = p->out;
    for (uint32_t u = 0; u < m->Hp; u++)
        for (uint32_t o = 0; o < m->Tp; o++)
            p->w2t[(size_t)o * m->Hp + u] = p->w.w2[(size_t)u * m->Tp + o];
    p->k->product(&(struct mlp_product){ m->Hp, m->Tp, n, p->h, 1, m->Hp, p->z, m->Tp, p->grad.w2, m->Tp });
    mlp_sum(p->z, n, m->Tp, p->grad.b2);
    p->k->product(&(struct mlp_product){ n, m->Hp, m->T, p->z, m->Tp, 1, p->w2t, m->Hp, p->dh, m->Hp });
    for (size_t e = 0; e < (size_t)n * m->Hp; e++)
        p->dh[e] = p->h[e] > 0.0f ? p->dh[e] * keep : 0.0f;
    p->k->product(&(struct mlp_product){ m->P, m->Hp, n, p->x, 1, m->P, p->dh, m->Hp, p->grad.w1, m->Hp });
    mlp_sum(p->dh, n, m->Hp, p->grad.b1);
}

static void mlp_update(struct mlp *p)
{
    double t = (double)++p->step;
    p->k->adam(&(struct mlp_adam){ p->w.w1, p->m.w1, p->v.w1, p->grad.w1, p->size, (float)(p->conf->rate / (1.0 - pow(0.9, t))),
                                   (float)sqrt(1.0 - pow(0.999, t)) });
}

static int mlp_epoch(struct mlp *p, uint32_t epoch, struct fl_err *err)
{
    float keep = (float)(1.0 / (1.0 - p->conf->dropout));
    int rc = mlp_shuffle(p, "order", epoch, p->nfit, p->fit, err);
    for (uint32_t from = 0; rc == FL_OK && from < p->nfit; from += p->conf->batch) {
        uint32_t n = p->nfit - from < p->conf->batch ? p->nfit - from : p->conf->batch;
        mlp_load(p, p->fit + from, n);
        if (p->conf->dropout > 0.0)
            mlp_dropout(p, p->fit + from, n, epoch);
        mlp_forward(p->k, p->out, &p->w, n, p->x, p->h, p->z, p->conf->dropout > 0.0 ? p->on : NULL, keep);
        mlp_error(p, p->fit + from, n);
        mlp_backward(p, n, p->conf->dropout > 0.0 ? keep : 1.0f);
        mlp_update(p);
    }
    return rc;
}

/* Mean loss of the rows held back. */
static double mlp_score(struct mlp *p)
{
    const struct fl_l2_mlp *m = p->out;
    double sum = 0.0;
    for (uint32_t from = 0; from < p->nheld; from += p->conf->batch) {
        uint32_t n = p->nheld - from < p->conf->batch ? p->nheld - from : p->conf->batch;
        mlp_load(p, p->held + from, n);
        mlp_forward(p->k, m, &p->w, n, p->x, p->h, p->z, NULL, 1.0f);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t o = 0; o < m->T; o++) {
                double z = (double)p->z[(size_t)i * m->Tp + o];
                sum += (z > 0.0 ? z : 0.0) - z * (double)mlp_truth(p->t, p->held[from + i], o) + log1p(exp(-fabs(z)));
            }
    }
    return sum / ((double)p->nheld * m->T);
}

/* ---- one net, all nets ---- */

static int mlp_one(struct mlp *p, struct fl_err *err)
{
    const struct fl_l2_mlp *m = p->out;
    uint32_t *all = p->fit;
    double best = INFINITY;
    memset(p->w.w1, 0, p->size * sizeof(float));
    memset(p->m.w1, 0, p->size * sizeof(float));
    memset(p->v.w1, 0, p->size * sizeof(float));
    mlp_init(p, "w1", m->P, m->P, m->H, m->Hp, p->w.w1);
    mlp_init(p, "b1", m->P, 1, m->H, m->Hp, p->w.b1);
    mlp_init(p, "w2", m->H, m->H, m->T, m->Tp, p->w.w2);
    mlp_init(p, "b2", m->H, 1, m->T, m->Tp, p->w.b2);
    p->step = 0;
    for (uint32_t i = 0; i < p->t->n; i++)
        all[i] = i;
    int rc = mlp_shuffle(p, "split", 0, p->t->n, all, err);
    p->nheld = p->t->n / MLP_HELD;
    memcpy(p->held, all, p->nheld * sizeof *all);
    p->nfit = p->t->n - p->nheld;
    memmove(all, all + p->nheld, p->nfit * sizeof *all);
    for (uint32_t epoch = 0, since = 0; rc == FL_OK && epoch < p->conf->epochs && since < p->conf->patience; epoch++) {
        rc = mlp_epoch(p, epoch, err);
        double loss = rc == FL_OK ? mlp_score(p) : 0.0;
        if (rc == FL_OK && !isfinite(loss))
            rc = fl_err_set(err, FL_E_NUM, "the network's loss is no number after epoch %u; a lower rate than %g may help", epoch, p->conf->rate);
        since = loss < best ? 0 : since + 1;
        if (loss < best) {
            best = loss;
            memcpy(p->best.w1, p->w.w1, p->size * sizeof(float));
        }
        if (p->conf->progress != NULL)
            atomic_fetch_add(p->conf->progress, 1);
    }
    return rc;
}

static int mlp_check(const struct fl_l2_table *t, const struct fl_l2_mlp_conf *c, struct fl_err *err)
{
    if (t->n < MLP_HELD || t->P == 0 || t->T == 0 || t->real != NULL)
        return fl_err_set(err, FL_E_CONFIG, "network: %u rows, %u columns, %u outputs; want at least %u rows", t->n, t->P, t->T, MLP_HELD);
    if (c->hidden == 0 || c->hidden > 65536 || c->seeds == 0 || c->seeds > 1000 || c->batch == 0 || c->epochs == 0 || c->patience == 0 || !(c->rate > 0.0) ||
        !(c->dropout >= 0.0 && c->dropout < 1.0))
        return fl_err_set(err, FL_E_CONFIG, "network: hidden, seeds, batch, epochs and patience are above 0, rate is above 0, dropout in [0,1)");
    if (fl_l2_kernel(c->kernel) < 0)
        return fl_err_set(err, FL_E_CONFIG, "this processor has no kernel %s", c->kernel);
    return FL_OK;
}

static int mlp_arrays(struct mlp *p, float *nets[5], struct fl_err *err)
{
    const struct fl_l2_mlp *m = p->out;
    size_t batch = p->conf->batch;
    struct mlp_net *of[5] = { &p->w, &p->grad, &p->m, &p->v, &p->best };
    int ok = 1;
    for (int i = 0; i < 5; i++) {
        nets[i] = mlp_floats(p->size);
        ok = ok && nets[i] != NULL;
        if (nets[i] != NULL)
            *of[i] = mlp_net(m, nets[i]);
    }
    p->x = mlp_floats(batch * m->P);
    p->h = mlp_floats(batch * m->Hp);
    p->dh = mlp_floats(batch * m->Hp);
    p->z = mlp_floats(batch * m->Tp);
    p->w2t = mlp_floats((size_t)m->Tp * m->Hp);
    p->on = calloc(batch, m->Hp);
    p->draw = malloc(((size_t)m->H + 64) * sizeof *p->draw);
    p->fit = malloc(p->t->n * sizeof *p->fit);
    p->held = malloc(p->t->n * sizeof *p->held);
    return ok && p->x && p->h && p->dh && p->z && p->w2t && p->on && p->draw && p->fit && p->held ? FL_OK : mlp_nomem(err);
}

static int mlp_run(struct mlp *p, double *mean, double *scale, float *w[4], struct fl_err *err)
{
    struct fl_l2_mlp *m = p->out;
    float *nets[5] = { NULL };
    int rc = mlp_arrays(p, nets, err);
    if (rc == FL_OK)
        mlp_standard(p->t, mean, scale, &m->dropped);
    for (p->s = 0; rc == FL_OK && p->s < m->seeds; p->s++) {
        rc = mlp_one(p, err);
        if (rc != FL_OK)
            break;
        size_t n1 = (size_t)m->P * m->Hp, n2 = (size_t)m->Hp * m->Tp;
        memcpy(w[0] + p->s * n1, p->best.w1, n1 * sizeof(float));
        memcpy(w[1] + (size_t)p->s * m->Hp, p->best.b1, m->Hp * sizeof(float));
        memcpy(w[2] + p->s * n2, p->best.w2, n2 * sizeof(float));
        memcpy(w[3] + (size_t)p->s * m->Tp, p->best.b2, m->Tp * sizeof(float));
    }
    for (int i = 0; i < 5; i++)
        free(nets[i]);
    free(p->x);
    free(p->h);
    free(p->dh);
    free(p->z);
    free(p->w2t);
    free(p->on);
    free(p->draw);
    free(p->fit);
    free(p->held);
    return rc;
}

int fl_l2_mlp_fit(const struct fl_l2_table *t, const struct fl_l2_mlp_conf *conf, struct fl_l2_mlp *out, struct fl_err *err)
{
    int rc = mlp_check(t, conf, err);
    if (rc != FL_OK)
        return rc;
    struct fl_l2_mlp m = { .P = t->P, .T = t->T, .H = conf->hidden, .seeds = conf->seeds, .Tp = (t->T + 15) / 16 * 16, .Hp = (conf->hidden + 15) / 16 * 16 };
    double *mean = malloc(m.P * sizeof *mean), *scale = malloc(m.P * sizeof *scale);
    float *w[4] = { mlp_floats((size_t)m.seeds * m.P * m.Hp), mlp_floats((size_t)m.seeds * m.Hp), mlp_floats((size_t)m.seeds * m.Hp * m.Tp),
                    mlp_floats((size_t)m.seeds * m.Tp) };
    m.mean = m.owned[0] = mean;
    m.scale = m.owned[1] = scale;
    m.w1 = m.owned[2] = w[0];
    m.b1 = m.owned[3] = w[1];
    m.w2 = m.owned[4] = w[2];
    m.b2 = m.owned[5] = w[3];
    struct mlp p = { .t = t, .conf = conf, .k = &mlp_kernels[fl_l2_kernel(conf->kernel)], .out = &m, .size = mlp_size(&m) };
    rc = mean && scale && w[0] && w[1] && w[2] && w[3] ? mlp_run(&p, mean, scale, w, err) : mlp_nomem(err);
    if (rc == FL_OK)
        *out = m;
    else
        fl_l2_mlp_done(&m);
    return rc;
}

void fl_l2_mlp_done(struct fl_l2_mlp *m)
{
    for (int i = 0; i < 6; i++)
        free(m->owned[i]);
    *m = (struct fl_l2_mlp){ 0 };
}

/* ---- use ---- */

size_t fl_l2_mlp_work(const struct fl_l2_mlp *m, uint32_t n) { return n * (((size_t)m->P + 15) / 16 * 16 + m->Hp + m->Tp); }

void fl_l2_mlp_rows(const struct fl_l2_mlp *m, uint32_t n, const double *x, float *work, double *out)
{
    const struct mlp_kernel *k = &mlp_kernels[fl_l2_kernel(NULL)];
    float *h = work + n * (((size_t)m->P + 15) / 16 * 16), *z = h + (size_t)n * m->Hp;
    for (size_t i = 0; i < (size_t)n * m->P; i++)
        work[i] = (float)((x[i] - m->mean[i % m->P]) * m->scale[i % m->P]);
    memset(out, 0, (size_t)n * m->T * sizeof *out);
    for (uint32_t s = 0; s < m->seeds; s++) {
        struct mlp_net w = { (float *)m->w1 + (size_t)s * m->P * m->Hp, (float *)m->b1 + (size_t)s * m->Hp,
                             (float *)m->w2 + (size_t)s * m->Hp * m->Tp, (float *)m->b2 + (size_t)s * m->Tp };
        mlp_forward(k, m, &w, n, work, h, z, NULL, 1.0f);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t o = 0; o < m->T; o++)
                out[(size_t)i * m->T + o] += fl_prob_sigmoid((double)z[(size_t)i * m->Tp + o]);
    }
    for (size_t i = 0; i < (size_t)n * m->T; i++)
        out[i] /= m->seeds;
}
