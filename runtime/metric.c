/* Samples-averaged F-beta, its table by label, and the best constant label set. */
#include "runtime/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double fl_fbeta(uint32_t tp, uint32_t ny, uint32_t nh, double b2, double empty_score)
{
    if (ny == 0 && nh == 0)
        return empty_score;
    return tp == 0 ? 0.0 : (1.0 + b2) * tp / (b2 * ny + nh);
}

static int metric_check(uint64_t n, uint32_t L, double beta, struct fl_err *err)
{
    if (L == 0 || L > FL_MAX_LABELS)
        return fl_err_set(err, FL_E_CONFIG, "metric: %u labels, want 1..%u", L, FL_MAX_LABELS);
    if (!(beta > 0.0) || !isfinite(beta))
        return fl_err_set(err, FL_E_CONFIG, "metric: beta %g, want a positive number", beta);
    if (n == 0)
        return fl_err_set(err, FL_E_INPUT, "metric: no rows to score");
    return FL_OK;
}

static int metric_row_ok(uint32_t L, const uint8_t *v)
{
    for (uint32_t l = 0; l < L; l++)
        if (v[l] > 1)
            return 0;
    return 1;
}

static double metric_ratio(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0.0; }

static void metric_table(uint32_t L, double b2, struct fl_metric *m)
{
    for (uint32_t l = 0; l < L; l++) {
        struct fl_metric_class *c = &m->label[l];
        double down = (1.0 + b2) * (double)c->tp + b2 * (double)c->fn + (double)c->fp;
        c->precision = metric_ratio(c->tp, c->tp + c->fp);
        c->recall = metric_ratio(c->tp, c->tp + c->fn);
        c->f = c->tp ? (1.0 + b2) * (double)c->tp / down : 0.0;
    }
}

int fl_metric(uint64_t n, uint32_t L, const uint8_t *y, const uint8_t *h, double beta, double empty_score,
              double *tile, struct fl_metric *out, struct fl_err *err)
{
    int rc = metric_check(n, L, beta, err);
    if (rc)
        return rc;
    struct fl_metric m = { .n = n, .L = L };
    double sum = 0.0;
    for (uint64_t r = 0; r < n; r++, y += L, h += L) {
        if (!metric_row_ok(L, y) || !metric_row_ok(L, h))
            return fl_err_set(err, FL_E_NUM, "metric: row %llu holds a value that is neither 0 nor 1", (unsigned long long)r);
        uint32_t tp = 0, ny = 0, nh = 0;
        for (uint32_t l = 0; l < L; l++) {
            tp += y[l] & h[l];
            ny += y[l];
            nh += h[l];
            m.label[l].tp += y[l] & h[l];
            m.label[l].fp += h[l] & !y[l];
            m.label[l].fn += y[l] & !h[l];
        }
        double f = fl_fbeta(tp, ny, nh, beta * beta, empty_score);
        if (tile)
            tile[r] = f;
        sum += f;
    }
    m.mean = sum / (double)n;
    metric_table(L, beta * beta, &m);
    *out = m;
    return FL_OK;
}

int fl_metric_binarise(uint64_t n, uint32_t L, const float *p, const double *t, uint8_t *h, struct fl_err *err)
{
    for (uint64_t r = 0; r < n; r++)
        for (uint32_t l = 0; l < L; l++) {
            double v = p[r * L + l];
            if (!(v >= 0.0 && v <= 1.0))
                return fl_err_set(err, FL_E_NUM, "row %llu, column %u: %g is not a probability", (unsigned long long)r, l, v);
            h[r * L + l] = v > t[l];
        }
    return FL_OK;
}

void fl_gfm_gains(uint32_t L, const double *Q, double b2, double *D)
{
    double w[FL_MAX_LABELS];
    for (uint32_t k = 1; k <= L; k++) {
        for (uint32_t s = 1; s <= L; s++)
            w[s - 1] = (1.0 + b2) / (b2 * s + k);
        for (uint32_t i = 0; i < L; i++) {
            double d = 0.0;
            for (uint32_t s = 0; s < L; s++)
                d += Q[(size_t)i * L + s] * w[s];
            D[(size_t)i * L + k - 1] = d;
        }
    }
}

/* Value and members of the k labels with the largest gains in column k. */
static double metric_top(uint32_t L, const double *D, uint32_t k, uint64_t *set)
{
    uint32_t order[FL_MAX_LABELS];
    for (uint32_t i = 0; i < L; i++) {
        uint32_t at = i;
        for (; at > 0 && D[(size_t)order[at - 1] * L + k - 1] < D[(size_t)i * L + k - 1]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    double e = 0.0;
    *set = 0;
    for (uint32_t j = 0; j < k; j++) {
        e += D[(size_t)order[j] * L + k - 1];
        *set |= UINT64_C(1) << order[j];
    }
    return e;
}

double fl_gfm_pick(uint32_t L, const double *D, double empty, uint64_t *set)
{
    double e[FL_MAX_LABELS + 1] = { empty }, best = empty;
    uint64_t sets[FL_MAX_LABELS + 1] = { 0 };
    for (uint32_t k = 1; k <= L; k++) {
        e[k] = metric_top(L, D, k, &sets[k]);
        if (e[k] > best)
            best = e[k];
    }
    uint32_t k = 0;
    while (e[k] < best - FL_TIE)
        k++;
    *set = sets[k];
    return e[k];
}

int fl_metric_best_constant(uint64_t n, uint32_t L, const uint8_t *y, double beta, double empty_score, uint64_t *set,
                            double *score, struct fl_err *err)
{
    int rc = metric_check(n, L, beta, err);
    if (rc)
        return rc;
    double Q[FL_MAX_LABELS * FL_MAX_LABELS] = { 0 }, D[FL_MAX_LABELS * FL_MAX_LABELS];
    uint64_t none = 0;
    for (uint64_t r = 0; r < n; r++, y += L) {
        if (!metric_row_ok(L, y))
            return fl_err_set(err, FL_E_NUM, "metric: row %llu holds a value that is neither 0 nor 1", (unsigned long long)r);
        uint32_t s = 0;
        for (uint32_t l = 0; l < L; l++)
            s += y[l];
        none += s == 0;
        for (uint32_t l = 0; l < L; l++)
            if (y[l])
                Q[l * L + s - 1] += 1.0;
    }
    for (uint32_t i = 0; i < L * L; i++)
        Q[i] /= (double)n;
    fl_gfm_gains(L, Q, beta * beta, D);
    *score = fl_gfm_pick(L, D, (double)none / (double)n * empty_score, set);
    return FL_OK;
}
