/* Averages of probabilities: arithmetic, geometric, and of log-odds. */
#include "runtime/merge.h"

#include <math.h>

#define MERGE_CLAMP 1e-7

double fl_prob_clamp(double p) { return p < MERGE_CLAMP ? MERGE_CLAMP : p > 1.0 - MERGE_CLAMP ? 1.0 - MERGE_CLAMP : p; }

double fl_prob_logit(double p)
{
    p = fl_prob_clamp(p);
    return log(p / (1.0 - p));
}

double fl_prob_sigmoid(double z) { return z >= 0.0 ? 1.0 / (1.0 + exp(-z)) : exp(z) / (1.0 + exp(z)); }

double fl_merge(int how, uint32_t n, const double *p, size_t stride)
{
    if (n == 1)
        return p[0];
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double v = fl_prob_clamp(p[i * stride]);
        sum += how == FL_MERGE_MEAN ? v : how == FL_MERGE_GMEAN ? log(v) : fl_prob_logit(v);
    }
    sum /= n;
    return how == FL_MERGE_MEAN ? sum : how == FL_MERGE_GMEAN ? exp(sum) : fl_prob_sigmoid(sum);
}

size_t fl_prob_first_bad(const float *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] >= 0.0f && p[i] <= 1.0f)
        i++;
    return i;
}
