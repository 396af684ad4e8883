/* One second level fitted fold by fold. */
#include "stages/level2/fit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/level2/blend.h"
#include "stages/level2/calibrate.h"

struct fit {
    const struct fl_l2_data *d;
    const struct fl_l2_conf *conf;
    const struct fl_l2_run *run;
    const struct fl_l2_gram *gram;
    float  **by_model;                 /* of mixtures: [M] of [n][L] */
    struct fl_l2_model *m;
    uint32_t dropped;
    char     unsettled[FL_L2_UNSETTLED];
    struct fl_err *err;
};

static int fit_nomem(struct fl_err *err) { return fl_err_set(err, FL_E_NOMEM, "no memory for a second level"); }

static void fit_step(const struct fit *f)
{
    if (f->run->progress != NULL)
        atomic_fetch_add(f->run->progress, 1);
}

/* Says of the first fit that did not settle which it was: of label l (UINT32_MAX: of all) without fold `skip` (UINT32_MAX: on all). */
static void fit_unsettled(struct fit *f, uint32_t l, uint32_t skip, const char *fmt, ...)
{
    const struct fl_l2_model *m = f->m;
    size_t at = 0, room = sizeof f->unsettled;
    va_list ap;
    if (f->unsettled[0] != '\0')
        return;
    if (skip != UINT32_MAX)
        at += (size_t)snprintf(f->unsettled, room, "without fold %u, ", skip);
    if (l != UINT32_MAX)
        at += (size_t)snprintf(f->unsettled + at, room - at, "label %.63s, ", m->labels[l]);
    va_start(ap, fmt);
    vsnprintf(f->unsettled + at, room - at, fmt, ap);
    va_end(ap);
}

/* ---- a model without its fits ---- */

static char **fit_names(uint32_t n, char *const *names)
{
    char **copy = calloc(n, sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < n; i++)
        copy[i] = strdup(names[i]);
    return copy;
}

static int fit_model(const struct fl_l2_data *d, const struct fl_l2_names *names, const struct fl_l2_conf *c, uint32_t parts, struct fl_l2_model *m,
                     struct fl_err *err)
{
    int features = c->sees != FL_L2_SEES_AUTO ? c->sees - FL_L2_SEES_ALL : fl_l2_kind_is_blend(c->kind) ? FL_L2_OWN : FL_L2_ALL;
    *m = (struct fl_l2_model){ .kind = c->kind, .transform = c->transform, .features = features, .M = d->M, .L = d->L, .exclusive = names->exclusive,
                               .rest_off = names->rest_off, .parts = fl_l2_kind_is_average(c->kind) ? 0 : parts, .problems = features == FL_L2_OWN ? d->L : 1 };
    m->models = fit_names(d->M, names->models);
    m->labels = fit_names(d->L, names->labels);
    while (c->model != NULL && m->only < d->M && strcmp(names->models[m->only], c->model) != 0)
        m->only++;
    size_t fits = (size_t)m->parts * m->problems + 1;
    if (m->kind == FL_L2_EXTRATREES)
        m->trees = calloc(fits, sizeof *m->trees);
    else if (m->kind == FL_L2_MLP)
        m->mlp = calloc(fits, sizeof *m->mlp);
    else if (m->parts > 0)
        m->linear = calloc(fits, sizeof *m->linear);
    bool ok = m->models != NULL && m->labels != NULL && (m->parts == 0 || m->trees != NULL || m->mlp != NULL || m->linear != NULL);
    for (uint32_t j = 0; ok && j < d->M; j++)
        ok = m->models[j] != NULL;
    for (uint32_t l = 0; ok && l < d->L; l++)
        ok = m->labels[l] != NULL;
    return ok ? FL_OK : fit_nomem(err);
}

/* ---- one fit: problem q on these folds ---- */

static int fit_linear(struct fit *f, uint32_t q, const struct fl_l2_folds *folds, uint32_t *columns, uint32_t *outputs, struct fl_l2_linear *out)
{
    const struct fl_l2_conf *c = f->conf;
    struct fl_l2_normal a;
    uint32_t P, T;
    fl_l2_problem(f->m, q, &P, columns, &T, outputs);
    int rc = fl_l2_normal(f->gram, folds, P, columns, T, outputs, &a, f->err);
    if (rc != FL_OK)
        return rc;
    rc = c->kind == FL_L2_RIDGE2 ? fl_l2_linear_two(&a, f->d->M, f->d->L, c->lambda, f->run->progress, out, f->err)
                                 : fl_l2_linear_fit(&a, c->kind == FL_L2_LINEAR ? 0.0 : c->lambda, c->kind == FL_L2_NNLS ? FL_L2_NONNEG : 0,
                                                    f->run->progress, out, f->err);
    fl_l2_normal_done(&a);
    if (rc == FL_OK && out->dropped > f->dropped)
        f->dropped = out->dropped;
    return rc;
}

static int fit_learner(struct fit *f, uint32_t q, const struct fl_l2_folds *folds, uint32_t *columns, uint32_t *outputs, uint32_t fit)
{
    const struct fl_l2_data *d = f->d;
    const struct fl_l2_conf *c = f->conf;
    struct fl_l2_table t = { .x = d->x, .stride = (size_t)d->M * d->L, .columns = columns, .transform = c->transform, .y = d->y, .y_stride = d->L, .outputs = outputs };
    fl_l2_problem(f->m, q, &t.P, columns, &t.T, outputs);
    uint32_t *rows = fl_l2_rows(d, folds, &t.n);
    if (rows == NULL)
        return fit_nomem(f->err);
    t.rows = rows;
    int rc;
    if (c->kind == FL_L2_EXTRATREES) {
        struct fl_l2_trees_conf tc = { .seed = (uint64_t)c->seed, .trees = (uint32_t)c->trees, .columns = (uint32_t)c->columns < t.P ? (uint32_t)c->columns : t.P,
                                       .n_min = (uint32_t)c->n_min, .min_leaf = (uint32_t)c->min_leaf, .threads = f->run->threads, .progress = f->run->progress };
        fl_l2_range(c->transform, &tc.lo, &tc.hi);
        rc = fl_l2_trees_fit(&t, &tc, &f->m->trees[fit], f->err);
    } else {
        struct fl_l2_mlp_conf mc = { .seed = (uint64_t)c->seed, .hidden = (uint32_t)c->hidden, .seeds = (uint32_t)c->seeds, .batch = (uint32_t)c->batch,
                                     .epochs = (uint32_t)c->epochs, .patience = (uint32_t)c->patience, .rate = c->rate, .dropout = c->dropout, .progress = f->run->progress };
        rc = fl_l2_mlp_fit(&t, &mc, &f->m->mlp[fit], f->err);
        if (rc == FL_OK && f->m->mlp[fit].dropped > f->dropped)
            f->dropped = f->m->mlp[fit].dropped;
    }
    free(rows);
    return rc;
}

static int fit_weights(struct fit *f, const struct fl_l2_blend *b, double *w)
{
    struct fl_l2_blend_end end;
    int rc = fl_l2_blend(b, w, &end, f->err);
    if (rc == FL_OK && !(end.gap < FL_L2_BLEND_GAP))
        fit_unsettled(f, b->label, b->fold != NULL ? b->skip : UINT32_MAX, "the weights did not settle in %u steps: the log-loss could be up to %.2g less", end.steps, end.gap);
    return rc;
}

/* Weights of label q on all folds but `skip` (UINT32_MAX: on all). */
static int fit_blend(struct fit *f, uint32_t q, uint32_t skip, const double *shared, struct fl_l2_linear *out)
{
    const struct fl_l2_data *d = f->d;
    const struct fl_l2_blend b = { .n = d->n, .M = d->M, .L = d->L, .label = q, .p = (const float *const *)f->by_model, .y = d->y,
                                   .fold = skip != UINT32_MAX ? d->fold : NULL, .skip = skip, .progress = f->run->progress };
    *out = (struct fl_l2_linear){ .P = d->M, .T = 1, .coef = calloc(d->M, sizeof *out->coef), .intercept = calloc(1, sizeof *out->intercept) };
    if (out->coef == NULL || out->intercept == NULL)
        return fit_nomem(f->err);
    if (shared == NULL)
        return fit_weights(f, &b, out->coef);
    memcpy(out->coef, shared, d->M * sizeof *shared);
    return FL_OK;
}

static int fit_blend_part(struct fit *f, uint32_t part, uint32_t skip)
{
    const struct fl_l2_data *d = f->d;
    const struct fl_l2_conf *c = f->conf;
    const struct fl_l2_blend b = { .n = d->n, .M = d->M, .L = d->L, .label = UINT32_MAX, .p = (const float *const *)f->by_model, .y = d->y,
                                   .fold = skip != UINT32_MAX ? d->fold : NULL, .skip = skip, .progress = f->run->progress };
    bool by_label = c->kind == FL_L2_BLEND && c->per_label;
    double *w = malloc(d->M * sizeof *w);
    int rc = w != NULL ? FL_OK : fit_nomem(f->err);
    if (rc == FL_OK && !by_label)
        rc = c->kind == FL_L2_BLEND ? fit_weights(f, &b, w) : fl_l2_greedy(&b, (uint32_t)c->rounds, c->decode, w, f->err);
    for (uint32_t q = 0; rc == FL_OK && q < d->L; q++)
        rc = fit_blend(f, q, skip, by_label ? NULL : w, &f->m->linear[part * d->L + q]);
    free(w);
    fit_step(f);
    return rc;
}

/* Part `part` on all folds but `skip`. */
static int fit_part(struct fit *f, uint32_t part, uint32_t skip)
{
    const struct fl_l2_data *d = f->d;
    struct fl_l2_folds folds = fl_l2_all_folds(d->K);
    if (fl_l2_kind_is_blend(f->conf->kind))
        return fit_blend_part(f, part, skip);
    uint32_t *columns = malloc(((size_t)d->M * d->L + d->L) * sizeof *columns), *outputs = columns != NULL ? columns + (size_t)d->M * d->L : NULL;
    int rc = columns != NULL ? FL_OK : fit_nomem(f->err);
    fl_l2_drop(&folds, skip);
    for (uint32_t q = 0; rc == FL_OK && q < f->m->problems; q++) {
        uint32_t fit = part * f->m->problems + q;
        rc = f->m->linear != NULL ? fit_linear(f, q, &folds, columns, outputs, &f->m->linear[fit]) : fit_learner(f, q, &folds, columns, outputs, fit);
        fit_step(f);
    }
    free(columns);
    return rc;
}

/* ---- predictions ---- */

/* Rows of fold k (UINT32_MAX: of all) of d by one part, or by the whole model. out [n][L]. */
static int fit_predict(const struct fl_l2_model *m, const struct fl_l2_data *d, uint32_t k, uint32_t part, float *out, struct fl_err *err)
{
    struct fl_l2_scratch *s;
    size_t P = (size_t)d->M * d->L;
    uint32_t n = 0, at[FL_L2_BLOCK];
    float *x = malloc(FL_L2_BLOCK * P * sizeof *x), *y = malloc((size_t)FL_L2_BLOCK * d->L * sizeof *y);
    int rc = fl_l2_scratch_new(m, &s, err);
    if (rc == FL_OK && (x == NULL || y == NULL))
        rc = fit_nomem(err);
    for (uint32_t i = 0; rc == FL_OK && i <= d->n; i++) {
        if (n == FL_L2_BLOCK || (i == d->n && n > 0)) {
            fl_l2_predict(m, part, n, x, s, y);
            for (uint32_t r = 0; r < n; r++)
                memcpy(out + (size_t)at[r] * d->L, y + (size_t)r * d->L, d->L * sizeof *out);
            n = 0;
        }
        if (i < d->n && (k == UINT32_MAX || d->fold[i] == k)) {
            memcpy(x + n * P, d->x + i * P, P * sizeof *x);
            at[n++] = i;
        }
    }
    fl_l2_scratch_free(s);
    free(x);
    free(y);
    return rc;
}

static void fit_scaling(struct fit *f, const double *p, uint32_t l, uint32_t skip, double *a, double *b)
{
    const struct fl_l2_data *d = f->d;
    if (!fl_l2_calibrate(d->n, p + l, d->y + l, d->L, skip != UINT32_MAX ? d->fold : NULL, skip, a, b))
        fit_unsettled(f, l, skip, "the calibration did not settle");
}

/* Calibrates the model on its out-of-fold predictions, and each fold of these by the others. */
static int fit_calibrate(struct fit *f, float *oof)
{
    const struct fl_l2_data *d = f->d;
    size_t all = (size_t)d->n * d->L;
    double *p = calloc(all + 1, sizeof *p), *ab = calloc(2 * ((size_t)d->K + 1), sizeof *ab);
    f->m->a = malloc(d->L * sizeof *f->m->a);
    f->m->b = malloc(d->L * sizeof *f->m->b);
    int rc = p != NULL && ab != NULL && f->m->a != NULL && f->m->b != NULL ? FL_OK : fit_nomem(f->err);
    for (size_t i = 0; rc == FL_OK && i < all; i++)
        p[i] = (double)oof[i];
    for (uint32_t l = 0; rc == FL_OK && l < d->L; l++) {
        fit_scaling(f, p, l, UINT32_MAX, &f->m->a[l], &f->m->b[l]);
        for (uint32_t k = 0; k < d->K; k++)
            fit_scaling(f, p, l, k, &ab[2 * k], &ab[2 * k + 1]);
        for (uint32_t i = 0; i < d->n; i++)
            oof[(size_t)i * d->L + l] = (float)fl_l2_calibrated(p[(size_t)i * d->L + l], ab[2 * d->fold[i]], ab[2 * d->fold[i] + 1]);
        fit_step(f);
    }
    free(p);
    free(ab);
    return rc;
}

/* ---- all of it ---- */

static int fit_columns(struct fit *f)
{
    const struct fl_l2_data *d = f->d;
    f->by_model = calloc(d->M, sizeof *f->by_model);
    for (uint32_t j = 0; f->by_model != NULL && j < d->M; j++) {
        float *p = f->by_model[j] = malloc((size_t)d->n * d->L * sizeof *p);
        for (uint32_t i = 0; p != NULL && i < d->n; i++)
            memcpy(p + (size_t)i * d->L, d->x + ((size_t)i * d->M + j) * d->L, d->L * sizeof *p);
        if (p == NULL)
            return fit_nomem(f->err);
    }
    return f->by_model != NULL ? FL_OK : fit_nomem(f->err);
}

static void fit_mixture_again(struct fl_l2_model *m, uint32_t parts)
{
    for (uint32_t i = 0; i < m->parts * m->problems; i++)
        fl_l2_linear_done(&m->linear[i]);
    m->parts = parts;
}

/* The model and its out-of-fold predictions. gram: of the data, for the kinds that want it. */
static int fit_level(struct fit *f, const struct fl_l2_names *names, float *oof)
{
    const struct fl_l2_data *d = f->d;
    int rc = fit_model(d, names, f->conf, d->K, f->m, f->err);
    if (rc == FL_OK && fl_l2_kind_is_blend(f->conf->kind))
        rc = fit_columns(f);
    for (uint32_t k = 0; rc == FL_OK && k < d->K; k++) {
        rc = f->m->parts > 0 ? fit_part(f, k, k) : FL_OK;
        if (rc == FL_OK)
            rc = fit_predict(f->m, d, k, k, oof, f->err);
    }
    if (rc == FL_OK && fl_l2_kind_is_blend(f->conf->kind)) {
        fit_mixture_again(f->m, 1);
        rc = fit_part(f, 0, UINT32_MAX);
    }
    if (rc == FL_OK && f->conf->calibrate)
        rc = fit_calibrate(f, oof);
    for (uint32_t j = 0; f->by_model != NULL && j < d->M; j++)
        free(f->by_model[j]);
    free(f->by_model);
    f->by_model = NULL;
    return rc;
}

/* With sums of products made here where none are given. */
static int fit_whole(struct fit *f, const struct fl_l2_names *names, float *oof)
{
    struct fl_l2_gram mine = { 0 };
    int rc = FL_OK;
    if (fl_l2_kind_is_linear(f->conf->kind) && f->gram == NULL) {
        rc = fl_l2_gram(f->d, f->conf->transform, NULL, f->run->progress, &mine, f->err);
        f->gram = &mine;
    }
    if (rc == FL_OK)
        rc = fit_level(f, names, oof);
    if (f->gram == &mine)
        f->gram = NULL;
    fl_l2_gram_done(&mine);
    return rc;
}

/* The rows of all folds but k as data of their own, whose folds are counted anew. */
static int fit_without(const struct fl_l2_data *d, uint32_t k, struct fl_l2_data *out, struct fl_err *err)
{
    size_t P = (size_t)d->M * d->L;
    float *x = malloc((size_t)d->n * P * sizeof *x);
    uint8_t *y = malloc((size_t)d->n * d->L), *fold = malloc(d->n);
    *out = (struct fl_l2_data){ .M = d->M, .L = d->L, .K = d->K - 1, .x = x, .y = y, .fold = fold };
    if (x == NULL || y == NULL || fold == NULL)
        return fit_nomem(err);
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->fold[i] == k)
            continue;
        memcpy(x + out->n * P, d->x + i * P, P * sizeof *x);
        memcpy(y + (size_t)out->n * d->L, d->y + (size_t)i * d->L, d->L);
        fold[out->n++] = (uint8_t)(d->fold[i] - (d->fold[i] > k));
    }
    return FL_OK;
}

static int fit_nested(struct fit *outer, const struct fl_l2_names *names, float *out)
{
    const struct fl_l2_data *d = outer->d;
    int rc = d->K > 2 ? FL_OK : fl_err_set(outer->err, FL_E_CONFIG, "nested: %u folds, want at least 3", d->K);
    float *oof = malloc((size_t)d->n * d->L * sizeof *oof);
    if (rc == FL_OK && oof == NULL)
        rc = fit_nomem(outer->err);
    for (uint32_t k = 0; rc == FL_OK && k < d->K; k++) {
        struct fl_l2_data inner;
        struct fl_l2_model m = { 0 };
        struct fit f = { .d = &inner, .conf = outer->conf, .run = outer->run, .m = &m, .err = outer->err };
        rc = fit_without(d, k, &inner, outer->err);
        if (rc == FL_OK)
            rc = fit_whole(&f, names, oof);
        if (rc == FL_OK)
            rc = fit_predict(&m, d, k, UINT32_MAX, out, outer->err);
        if (rc == FL_OK && f.unsettled[0] != '\0')
            fit_unsettled(outer, UINT32_MAX, k, "nested, its folds counted anew: %.120s", f.unsettled);
        fl_l2_model_done(&m);
        free((float *)inner.x);
        free((uint8_t *)inner.y);
        free((uint8_t *)inner.fold);
    }
    free(oof);
    return rc;
}

static int fit_scores(const struct fl_l2_data *d, struct fl_l2_fit *out, struct fl_err *err)
{
    float *own = malloc((size_t)d->n * d->L * sizeof *own);
    out->by_fold = calloc(d->K, sizeof *out->by_fold);
    int rc = own != NULL && out->by_fold != NULL ? fit_predict(&out->model, d, UINT32_MAX, UINT32_MAX, own, err) : fit_nomem(err);
    if (rc == FL_OK)
        rc = fl_l2_score(d, own, UINT32_MAX, &out->in_sample, err);
    if (rc == FL_OK)
        rc = fl_l2_score(d, out->oof, UINT32_MAX, &out->cross_fitted, err);
    for (uint32_t k = 0; rc == FL_OK && k < d->K; k++)
        rc = fl_l2_score(d, out->oof, k, &out->by_fold[k], err);
    if (rc == FL_OK && out->nested != NULL)
        rc = fl_l2_score(d, out->nested, UINT32_MAX, &out->nested_score, err);
    free(own);
    return rc;
}

int fl_l2_fit(const struct fl_l2_data *d, const struct fl_l2_names *names, const struct fl_l2_conf *conf, const struct fl_l2_run *run, struct fl_l2_fit *out,
              struct fl_err *err)
{
    struct fit f = { .d = d, .conf = conf, .run = run, .gram = run->gram, .m = &out->model, .err = err };
    *out = (struct fl_l2_fit){ 0 };
    int rc = fl_l2_conf_check(conf, d->M, names->models, err);
    if (rc != FL_OK)
        return rc;
    out->oof = malloc((size_t)d->n * d->L * sizeof *out->oof);
    out->nested = conf->nested ? malloc((size_t)d->n * d->L * sizeof *out->nested) : NULL;
    rc = out->oof != NULL && (out->nested != NULL || !conf->nested) ? fit_whole(&f, names, out->oof) : fit_nomem(err);
    if (rc == FL_OK && conf->nested)
        rc = fit_nested(&f, names, out->nested);
    out->dropped = f.dropped;
    memcpy(out->unsettled, f.unsettled, sizeof out->unsettled);
    if (rc == FL_OK)
        rc = fit_scores(d, out, err);
    if (rc != FL_OK)
        fl_l2_fit_done(out);
    return rc;
}

void fl_l2_fit_done(struct fl_l2_fit *f)
{
    fl_l2_model_done(&f->model);
    free(f->oof);
    free(f->nested);
    free(f->by_fold);
    *f = (struct fl_l2_fit){ 0 };
}
