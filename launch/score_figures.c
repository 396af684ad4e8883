/* What can be said of predictions whose truth is known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/score.h"
#include "runtime/f2.h"
#include "runtime/merge.h"

double score_gain(double f, double other) { return other > 0.0 ? 100 * (f - other) / other : NAN; }

const char *score_name(const struct score *s, char text[24])
{
    snprintf(text, 24, "F%g", s->beta);
    return text;
}

static int figures_set(const struct score *s, const struct fl_predictions *p, struct score_set *out, struct fl_err *err)
{
    double t[FL_MAX_LABELS];
    uint64_t n = p->n;
    uint32_t L = p->L;
    out->h = malloc(n * L);
    out->tile = malloc(n * sizeof *out->tile);
    if (out->h == NULL || out->tile == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    for (uint32_t l = 0; l < L; l++)
        t[l] = s->threshold;
    int rc = FL_OK;
    if (p->p != NULL)
        rc = fl_metric_binarise(n, L, p->p, t, out->h, err);
    else
        memcpy(out->h, p->h, n * L);
    if (rc == FL_OK)
        rc = fl_metric(n, L, s->y, out->h, s->beta, s->empty_score, out->tile, &out->m, err);
    for (uint64_t i = 0; rc == FL_OK && i < n; i++)
        out->empty += memchr(out->h + i * L, 1, L) == NULL;
    return rc;
}

static double figures_loss(const float *p, const uint8_t *y, uint32_t L)
{
    double sum = 0.0;
    for (uint32_t l = 0; l < L; l++) {
        double q = fl_prob_clamp(p[l]);
        sum -= log(y[l] ? q : 1.0 - q);
    }
    return sum / L;
}

static int figures_exact(const struct score *s, const struct fl_predictions *p, struct score_set *out, struct fl_err *err)
{
    struct fl_f2 f;
    double row[FL_MAX_LABELS], e, sum = 0.0;
    int rc = fl_f2_init(&f, p->L, s->beta, s->empty_score, 0, UINT32_MAX, err);
    out->exact = rc == FL_OK ? malloc(p->n * sizeof *out->exact) : NULL;
    if (rc == FL_OK && out->exact == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)p->n);
    for (uint64_t i = 0; rc == FL_OK && i < p->n; i++) {
        const uint8_t *y = s->y + i * p->L;
        uint32_t tp = 0, ny = 0;
        for (uint32_t l = 0; l < p->L; l++)
            row[l] = p->p[i * p->L + l];
        uint64_t set = fl_f2_exact(&f, row, &e);
        for (uint32_t l = 0; l < p->L; l++) {
            tp += y[l] & (set >> l & 1);
            ny += y[l];
        }
        out->exact[i] = fl_fbeta(tp, ny, (uint32_t)__builtin_popcountll(set), f.b2, s->empty_score);
        sum += out->exact[i];
        out->bce += figures_loss(p->p + i * p->L, y, p->L);
    }
    out->exact_mean = sum / (double)p->n;
    out->bce /= (double)p->n;
    return rc;
}

static void figures_calibration(struct score *s)
{
    uint32_t L = s->pred.L;
    uint64_t all = s->pred.n * L;
    for (uint64_t i = 0; i < all; i++) {
        int b = (int)(s->pred.p[i] * SCORE_BINS);
        b = b < SCORE_BINS ? b : SCORE_BINS - 1;
        s->bin_n[b]++;
        s->bin_p[b] += s->pred.p[i];
        s->bin_y[b] += s->y[i];
    }
    for (int b = 0; b < SCORE_BINS; b++) {
        if (s->bin_n[b] == 0)
            continue;
        s->ece += fabs(s->bin_p[b] - s->bin_y[b]) / (double)all;
        s->bin_p[b] /= (double)s->bin_n[b];
        s->bin_y[b] /= (double)s->bin_n[b];
    }
}

static double figures_mean_at(const struct score *s, const double *t, const uint8_t *of, int want)
{
    uint32_t L = s->pred.L;
    double sum = 0.0;
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->pred.n; i++) {
        uint32_t tp = 0, ny = 0, nh = 0;
        if (of != NULL && of[i] != want)
            continue;
        for (uint32_t l = 0; l < L; l++) {
            uint32_t h = s->pred.p[i * L + l] > t[l], y = s->y[i * L + l];
            tp += h & y;
            ny += y;
            nh += h;
        }
        sum += fl_fbeta(tp, ny, nh, s->beta * s->beta, s->empty_score);
        n++;
    }
    return n > 0 ? sum / (double)n : 0.0;
}

static void figures_curve(struct score *s)
{
    double t[FL_MAX_LABELS];
    s->best = -1.0;
    for (int g = 0; g < SCORE_GRID; g++) {
        for (uint32_t l = 0; l < s->pred.L; l++)
            t[l] = (g + 10) / 200.0;
        s->curve[g] = figures_mean_at(s, t, NULL, 0);
        if (s->curve[g] > s->best) {
            s->best = s->curve[g];
            s->best_at = (g + 10) / 200.0;
        }
    }
}

/* Mean, over rows in a fold, of F at thresholds that were fitted on the rows of the other folds. */
static int figures_cross(struct score *s, const struct fl_f2 *f, float *p, uint8_t *y, uint8_t *mine, struct fl_err *err)
{
    uint32_t L = s->pred.L;
    double sum = 0.0, t[FL_MAX_LABELS];
    uint64_t all = 0;
    for (uint32_t k = 0; k < s->folds.k; k++) {
        uint64_t n = 0, held = 0;
        for (uint64_t i = 0; i < s->pred.n; i++) {
            mine[i] = s->fold[i] == (int32_t)k;
            held += mine[i];
            if (mine[i] || s->fold[i] < 0)
                continue;
            memcpy(p + n * L, s->pred.p + i * L, L * sizeof *p);
            memcpy(y + n++ * L, s->y + i * L, L);
        }
        if (held == 0 || n == 0)       /* nothing to score, or no other fold to fit on */
            continue;
        int rc = fl_f2_fit_per_class(f, n, p, y, s->fixed, t, err);
        if (rc != FL_OK)
            return rc;
        sum += figures_mean_at(s, t, mine, 1) * (double)held;
        all += held;
    }
    s->fitted_out = all > 0 ? sum / (double)all : NAN;
    return FL_OK;
}

static int figures_per_class(struct score *s, struct fl_err *err)
{
    struct fl_f2 f;
    uint64_t n = s->pred.n, L = s->pred.L;
    int rc = fl_f2_init(&f, s->pred.L, s->beta, s->empty_score, 0, UINT32_MAX, err);
    if (rc == FL_OK)
        rc = fl_f2_fit_per_class(&f, n, s->pred.p, s->y, s->fixed, s->limits, err);
    if (rc != FL_OK)
        return rc;
    s->fitted_in = figures_mean_at(s, s->limits, NULL, 0);
    if (s->fold == NULL)
        return FL_OK;
    float *p = malloc(n * L * sizeof *p);
    uint8_t *y = malloc(n * L), *mine = malloc(n);
    rc = p != NULL && y != NULL && mine != NULL ? figures_cross(s, &f, p, y, mine, err) : fl_err_set(err, FL_E_NOMEM, "no memory for %llu rows", (unsigned long long)n);
    free(p);
    free(y);
    free(mine);
    return rc;
}

/* Student's t of n paired differences. */
static double figures_paired(uint32_t n, const double *d)
{
    double sum = 0.0, square = 0.0;
    for (uint32_t k = 0; k < n; k++)
        sum += d[k];
    for (uint32_t k = 0; k < n; k++)
        square += (d[k] - sum / n) * (d[k] - sum / n);
    return n > 1 && square > 0.0 ? sum / n / sqrt(square / (n - 1) / n) : NAN;
}

static void figures_folds(struct score *s)
{
    double gain[SCORE_FOLDS], exact[SCORE_FOLDS];
    uint32_t K = 0;
    for (uint64_t i = 0; i < s->pred.n; i++) {
        struct score_fold *f = s->fold[i] >= 0 ? &s->each[s->fold[i]] : NULL;
        if (f == NULL)
            continue;
        f->n++;
        f->f += s->a.tile[i];
        f->exact += s->a.exact != NULL ? s->a.exact[i] : 0.0;
        f->bce += s->pred.p != NULL ? figures_loss(s->pred.p + i * s->pred.L, s->y + i * s->pred.L, s->pred.L) : 0.0;
        f->other += s->other.n > 0 ? s->b.tile[i] : 0.0;
    }
    for (uint32_t k = 0; k < s->folds.k; k++) {
        struct score_fold *f = &s->each[k];
        if (f->n == 0)
            continue;
        f->f /= (double)f->n;
        f->exact /= (double)f->n;
        f->bce /= (double)f->n;
        f->other /= (double)f->n;
        gain[K] = f->f - f->other;
        exact[K++] = f->exact - f->f;
    }
    if (s->other.n > 0)
        s->t = figures_paired(K, gain);
    if (s->pred.p != NULL)
        s->t_exact = figures_paired(K, exact);
}

int score_figures(struct score *s, bool per_class, struct fl_err *err)
{
    s->t = s->t_exact = s->fitted_in = s->fitted_out = NAN;
    int rc = figures_set(s, &s->pred, &s->a, err);
    if (rc == FL_OK && s->pred.p != NULL)
        rc = figures_exact(s, &s->pred, &s->a, err);
    if (rc == FL_OK && s->other.n > 0)
        rc = figures_set(s, &s->other, &s->b, err);
    if (rc != FL_OK)
        return rc;
    if (s->pred.p != NULL) {
        figures_calibration(s);
        figures_curve(s);
    }
    if (s->fold != NULL)
        figures_folds(s);
    return per_class ? figures_per_class(s, err) : FL_OK;
}
