/* Linear second levels fitted on the products of gram.h: least squares, ridge, ridge in two steps, non-negative least squares. */
#ifndef FL_LEVEL2_LINEAR_H
#define FL_LEVEL2_LINEAR_H

#include "stages/level2/gram.h"

/* y[t] = intercept[t] + sum over i of coef[i][t] * x[i]. */
struct fl_l2_linear {
    uint32_t P, T;
    double  *coef;                     /* [P][T]; 0 for a dropped column */
    double  *intercept;                /* [T] */
    uint32_t dropped;                  /* columns that are constant in the rows */
};

enum { FL_L2_NONNEG = 1 };

/* Minimises |y - w'x - b|^2 + lambda |w|^2, with w >= 0 under FL_L2_NONNEG; b is not penalised. FL_E_NUM when the columns are dependent,
 * advising lambda above 0. progress: as in solve.h. */
int  fl_l2_linear_fit(const struct fl_l2_normal *, double lambda, unsigned flags, atomic_ullong *progress, struct fl_l2_linear *, struct fl_err *);

/* Two steps: for each of M models a ridge from its L labels to all L, then for each label a ridge over what the M models gave for it.
 * Both are linear, so what comes out is one linear map of the P = M*L columns. */
int  fl_l2_linear_two(const struct fl_l2_normal *, uint32_t M, uint32_t L, double lambda, atomic_ullong *progress, struct fl_l2_linear *, struct fl_err *);

/* x [P]; y [T], not clipped. */
void fl_l2_linear_apply(const struct fl_l2_linear *, const double *x, double *y);
void fl_l2_linear_done(struct fl_l2_linear *);

#endif
