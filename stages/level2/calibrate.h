/* Per label p -> sigmoid(a logit(p) + b), fitted on the log-loss. */
#ifndef FL_LEVEL2_CALIBRATE_H
#define FL_LEVEL2_CALIBRATE_H

#include <stddef.h>
#include <stdint.h>

/* Newton on n probabilities p[i * stride] (clamped, so that log-odds exist) with truth y[i * stride]; rows whose skip[fold[i]] is set have no part
 * (fold NULL: all have). a stays at 0.001 or above. All of one kind: a = 1, b = 0. Whether it settled: a step further would gain less than rounding. */
int fl_l2_calibrate(size_t n, const double *p, const uint8_t *y, size_t stride, const uint8_t *fold, uint32_t skip, double *a, double *b);
double fl_l2_calibrated(double p, double a, double b);

#endif
