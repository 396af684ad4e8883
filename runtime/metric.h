/* Samples-averaged F-beta, its table by label, and the best constant label set. */
#ifndef FL_RUNTIME_METRIC_H
#define FL_RUNTIME_METRIC_H

#include <stdint.h>

#include "proto/status.h"
#include "runtime/labels.h"

/* A tie between scores: differences up to this are rounding, and the smaller set is taken. */
#define FL_TIE 1e-12

struct fl_metric_class {
    uint64_t tp, fp, fn;
    double   precision, recall, f;     /* 0 where the denominator is 0 */
};

struct fl_metric {
    uint64_t n;
    uint32_t L;
    double   mean;                     /* over tiles, of each tile's F-beta; in double, in index order */
    struct fl_metric_class label[FL_MAX_LABELS];
};

/* F-beta of one tile: tp hits, ny true labels, nh predicted; b2 = beta squared. 0 without a hit, empty_score where ny = nh = 0. */
double fl_fbeta(uint32_t tp, uint32_t ny, uint32_t nh, double b2, double empty_score);

/* y, h: [n][L] of 0 or 1. tile: [n], each tile's F-beta, or NULL. n = 0 is FL_E_INPUT; other values than 0 and 1 are
 * FL_E_NUM and name the row (from 0); beta <= 0, L = 0 or over 64 are FL_E_CONFIG. */
int fl_metric(uint64_t n, uint32_t L, const uint8_t *y, const uint8_t *h, double beta, double empty_score,
              double *tile, struct fl_metric *out, struct fl_err *err);

/* h[r][l] = p[r][l] > t[l], compared in double. NaN or a value outside [0,1] is FL_E_NUM naming row and column. */
int fl_metric_binarise(uint64_t n, uint32_t L, const float *p, const double *t, uint8_t *h, struct fl_err *err);

/* The label set (bit l = label l) which, predicted for every tile, scores highest; *score is that mean. */
int fl_metric_best_constant(uint64_t n, uint32_t L, const uint8_t *y, double beta, double empty_score, uint64_t *set,
                            double *score, struct fl_err *err);

/* ---- the F-maximiser for any joint distribution ---- */

/* Q[i*L + s-1] = P(label i is true and s labels are true), s = 1..L. D[i*L + k-1] = what label i adds to the expected
 * F-beta of a set of k labels. */
void fl_gfm_gains(uint32_t L, const double *Q, double b2, double *D);

/* The best set for these gains; the expected value is returned. empty: the value of predicting nothing. Equal gains go to the
 * lower label, equal values (FL_TIE) to the smaller set. */
double fl_gfm_pick(uint32_t L, const double *D, double empty, uint64_t *set);

#endif
