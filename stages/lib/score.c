/* Scores predictions against the truth in one pass. */
#include "stages/lib/score.h"

#include "runtime/metric.h"

void fl_score_add(struct fl_score *s, uint64_t truth, uint64_t pred)
{
    uint32_t ny = (uint32_t)__builtin_popcountll(truth);
    s->n++;
    s->sum += fl_fbeta((uint32_t)__builtin_popcountll(truth & pred), ny, (uint32_t)__builtin_popcountll(pred), s->b2, 0.0);
    for (uint32_t l = 0; l < FL_MAX_LABELS && truth >> l != 0; l++)
        s->with[l][ny - 1] += truth >> l & 1;
}

double fl_score_mean(const struct fl_score *s)
{
    return s->sum / (double)s->n;
}

double fl_score_best_constant(const struct fl_score *s, uint32_t L)
{
    double Q[FL_MAX_LABELS * FL_MAX_LABELS], D[FL_MAX_LABELS * FL_MAX_LABELS];
    uint64_t set;
    for (uint32_t l = 0; l < L; l++)
        for (uint32_t k = 0; k < L; k++)
            Q[l * L + k] = (double)s->with[l][k] / (double)s->n;
    fl_gfm_gains(L, Q, s->b2, D);
    return fl_gfm_pick(L, D, 0.0, &set);
}
