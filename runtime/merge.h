/* Averages of probabilities: arithmetic, geometric, and of log-odds. */
#ifndef FL_RUNTIME_MERGE_H
#define FL_RUNTIME_MERGE_H

#include <stddef.h>
#include <stdint.h>

enum fl_merge { FL_MERGE_MEAN, FL_MERGE_GMEAN, FL_MERGE_LOGIT_MEAN };
#define FL_MERGE_CHOICES "mean|gmean|logit_mean"

/* p into [1e-7, 1-1e-7], so that its logarithms exist. */
double fl_prob_clamp(double p);
/* log(p/(1-p)) of the clamped p, and back. */
double fl_prob_logit(double p);
double fl_prob_sigmoid(double z);

/* Merges n values that lie `stride` apart, in index order, in double; one value comes back as it is. */
double fl_merge(int how, uint32_t n, const double *p, size_t stride);

/* Index of the first of n values that is NaN or outside [0,1], or n. */
size_t fl_prob_first_bad(const float *p, size_t n);

#endif
