/* What a second level is fitted on: values, ranges, folds. */
#include "stages/level2/data.h"

#include <stdlib.h>

#include "runtime/merge.h"

double fl_l2_value(int transform, float p)
{
    return transform == FL_L2_LOGIT ? fl_prob_logit((double)p) : (double)p;
}

void fl_l2_range(int transform, double *lo, double *hi)
{
    *lo = fl_l2_value(transform, 0.0f);
    *hi = fl_l2_value(transform, 1.0f);
}

static int data_row(const struct fl_l2_data *d, uint32_t i, struct fl_err *err)
{
    size_t P = (size_t)d->M * d->L, bad = fl_prob_first_bad(d->x + i * P, P);
    if (bad < P)
        return fl_err_set(err, FL_E_NUM, "row %u, model %zu, label %zu: %g is not a probability", i, bad / d->L, bad % d->L,
                          (double)d->x[i * P + bad]);
    for (uint32_t l = 0; l < d->L; l++)
        if (d->y[(size_t)i * d->L + l] > 1)
            return fl_err_set(err, FL_E_NUM, "row %u, label %u: the truth is %u, want 0 or 1", i, l, d->y[(size_t)i * d->L + l]);
    if (d->fold[i] >= d->K)
        return fl_err_set(err, FL_E_LABEL, "row %u: fold %u of %u", i, d->fold[i], d->K);
    return FL_OK;
}

int fl_l2_check(const struct fl_l2_data *d, struct fl_err *err)
{
    uint32_t seen[FL_L2_MAX_FOLDS] = { 0 };
    if (d->K < 2 || d->K > FL_L2_MAX_FOLDS)
        return fl_err_set(err, FL_E_CONFIG, "%u folds, want 2 to %u", d->K, FL_L2_MAX_FOLDS);
    if (d->M == 0 || d->L == 0 || (uint64_t)d->M * d->L > FL_L2_MAX_COLUMNS)
        return fl_err_set(err, FL_E_CONFIG, "%u models of %u labels, want 1 to %u columns", d->M, d->L, FL_L2_MAX_COLUMNS);
    for (uint32_t i = 0; i < d->n; i++) {
        int rc = data_row(d, i, err);
        if (rc != FL_OK)
            return rc;
        seen[d->fold[i]]++;
    }
    for (uint32_t k = 0; k < d->K; k++)
        if (seen[k] == 0)
            return fl_err_set(err, FL_E_LABEL, "fold %u of %u has no row; folds count from 0", k, d->K);
    return FL_OK;
}

struct fl_l2_folds fl_l2_all_folds(uint32_t K)
{
    struct fl_l2_folds f = { { 0 } };
    for (uint32_t k = 0; k < K; k++)
        fl_l2_put(&f, k);
    return f;
}

uint32_t *fl_l2_rows(const struct fl_l2_data *d, const struct fl_l2_folds *f, uint32_t *n)
{
    uint32_t *rows = malloc(((size_t)d->n + 1) * sizeof *rows);
    *n = 0;
    for (uint32_t i = 0; rows != NULL && i < d->n; i++)
        if (fl_l2_has(f, d->fold[i]))
            rows[(*n)++] = i;
    return rows;
}
