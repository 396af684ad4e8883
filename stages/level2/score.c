/* What second-level predictions are worth. */
#include <math.h>
#include <stdlib.h>

#include "runtime/f2.h"
#include "runtime/merge.h"
#include "runtime/metric.h"
#include "stages/level2/fit.h"

static uint64_t score_truth(const struct fl_l2_data *d, uint32_t i)
{
    uint64_t set = 0;
    for (uint32_t l = 0; l < d->L; l++)
        set |= (uint64_t)d->y[(size_t)i * d->L + l] << l;
    return set;
}

static double score_f2(uint64_t truth, uint64_t pred)
{
    return fl_fbeta((uint32_t)__builtin_popcountll(truth & pred), (uint32_t)__builtin_popcountll(truth), (uint32_t)__builtin_popcountll(pred), 4.0, 0.0);
}

static double score_log_loss(const struct fl_l2_data *d, uint32_t i, const float *p)
{
    double sum = 0.0;
    for (uint32_t l = 0; l < d->L; l++) {
        double v = fl_prob_clamp((double)p[(size_t)i * d->L + l]);
        sum -= log(d->y[(size_t)i * d->L + l] ? v : 1.0 - v);
    }
    return sum / d->L;
}

int fl_l2_score(const struct fl_l2_data *d, const float *p, uint32_t fold, struct fl_l2_score *out, struct fl_err *err)
{
    struct fl_f2 f;
    struct fl_l2_score s = { 0 };
    double row[FL_MAX_LABELS], t[FL_MAX_LABELS], e, n = 0;
    int rc = fl_f2_init(&f, d->L, 2.0, 0.0, 0, UINT32_MAX, err);
    double *work = aligned_alloc(64, (fl_f2_work(d->L) * sizeof *work + 63) / 64 * 64);
    if (rc == FL_OK && work == NULL)
        rc = fl_err_set(err, FL_E_NOMEM, "no memory to score %u labels", d->L);
    for (uint32_t l = 0; l < d->L; l++)
        t[l] = fl_f2_threshold_of(2.0);
    for (uint32_t i = 0; rc == FL_OK && i < d->n; i++) {
        uint64_t truth = score_truth(d, i), set;
        if (fold != UINT32_MAX && d->fold[i] != fold)
            continue;
        for (uint32_t l = 0; l < d->L; l++)
            row[l] = (double)p[(size_t)i * d->L + l];
        s.log_loss += score_log_loss(d, i, p);
        s.f2 += score_f2(truth, fl_f2_threshold(&f, row, t));
        fl_f2_exact_rows(&f, 1, row, &set, &e, work);
        s.f2_exact += score_f2(truth, set);
        n++;
    }
    free(work);
    if (rc == FL_OK && n > 0)
        *out = (struct fl_l2_score){ s.log_loss / n, s.f2 / n, s.f2_exact / n };
    return rc;
}
