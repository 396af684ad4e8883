/* Which checkpoints differ most in what they answer: correlations of validation probabilities, and the best of all subsets. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/predictions.h"
#include "tools/forward/checkpoint.h"

struct diverse {
    struct fl_predictions first;           /* its tiles and labels are those of all */
    float  *p[FL_CHECKPOINT_POOL];         /* [values] */
    size_t  values;
    double  r[FL_CHECKPOINT_POOL][FL_CHECKPOINT_POOL];
};

static int diverse_same(const struct fl_predictions *a, const struct fl_predictions *b, const struct fl_checkpoint *c, const struct fl_checkpoint *other, struct fl_err *err)
{
    if (a->n != b->n)
        return fl_err_set(err, FL_E_LABEL, "%s: %llu tiles, but %s has %llu", other->predictions, (unsigned long long)b->n, c->predictions, (unsigned long long)a->n);
    for (uint64_t i = 0; i < a->n; i++)
        if (strcmp(a->ids[i], b->ids[i]) != 0)
            return fl_err_set(err, FL_E_LABEL, "%s: has tile %s, %s has not", strcmp(a->ids[i], b->ids[i]) < 0 ? c->predictions : other->predictions,
                              strcmp(a->ids[i], b->ids[i]) < 0 ? a->ids[i] : b->ids[i], strcmp(a->ids[i], b->ids[i]) < 0 ? other->predictions : c->predictions);
    return FL_OK;
}

static int diverse_read(struct diverse *d, const struct fl_checkpoint *c, uint32_t i, struct fl_err *err)
{
    struct fl_predictions got = { 0 };
    struct fl_pred_want want = { .L = d->first.L, .labels = (const char *const *)d->first.labels };
    if (c[i].predictions == NULL)
        return fl_err_set(err, FL_E_CONFIG, "%s: no \"predictions\", the file of its validation probabilities", c[i].file);
    int code = fl_predictions_read(c[i].predictions, &want, &got, err);
    if (code == FL_OK && got.p == NULL)
        code = fl_err_set(err, FL_E_INPUT, "%s: labels, want probabilities", c[i].predictions);
    if (code == FL_OK)
        code = fl_predictions_sort(&got, err);
    if (code == FL_OK && i > 0)
        code = diverse_same(&d->first, &got, &c[0], &c[i], err);
    if (code == FL_OK) {
        d->p[i] = got.p;
        d->values = got.n * got.L;
        got.p = NULL;
    }
    if (code == FL_OK && i == 0)
        d->first = got;
    else
        fl_predictions_free(&got);
    return code;
}

/* Pearson's; 1 where one of them is constant. */
static double diverse_alike(const float *x, const float *y, size_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mx += (double)x[i];
        my += (double)y[i];
    }
    mx /= (double)n;
    my /= (double)n;
    for (size_t i = 0; i < n; i++) {
        double a = (double)x[i] - mx, b = (double)y[i] - my;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 1;
}

/* The next k of n in lexicographic order, or false. */
static bool diverse_next(uint32_t *s, uint32_t n, uint32_t k)
{
    for (uint32_t i = k; i-- > 0; )
        if (s[i] < n - k + i) {
            s[i]++;
            for (uint32_t j = i + 1; j < k; j++)
                s[j] = s[j - 1] + 1;
            return true;
        }
    return false;
}

static void diverse_search(const struct diverse *d, const struct fl_checkpoint *c, uint32_t n, uint32_t k, uint32_t *pick)
{
    uint32_t s[FL_CHECKPOINT_POOL];
    double least = INFINITY, lowest = INFINITY;
    for (uint32_t i = 0; i < k; i++)
        s[i] = i;
    do {
        double alike = 0, loss = 0;
        for (uint32_t i = 0; i < k; i++) {
            loss += c[s[i]].loss;
            for (uint32_t j = 0; j < i; j++)
                alike += d->r[s[i]][s[j]];
        }
        if (alike < least || (alike == least && loss < lowest)) {
            least = alike;
            lowest = loss;
            memcpy(pick, s, k * sizeof *pick);
        }
    } while (diverse_next(s, n, k));
}

int fl_checkpoint_diverse(const struct fl_checkpoint *c, uint32_t n, uint32_t k, uint32_t *pick, struct fl_err *err)
{
    struct diverse d = { 0 };
    int code = FL_OK;
    for (uint32_t i = 0; i < n && code == FL_OK; i++)
        code = diverse_read(&d, c, i, err);
    for (uint32_t i = 0; i < n && code == FL_OK; i++)
        for (uint32_t j = 0; j < i; j++)
            d.r[i][j] = d.r[j][i] = diverse_alike(d.p[i], d.p[j], d.values);
    if (code == FL_OK)
        diverse_search(&d, c, n, k, pick);
    for (uint32_t i = 0; i < n; i++)
        free(d.p[i]);
    fl_predictions_free(&d.first);
    return code;
}
