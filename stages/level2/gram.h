/* Sums of products of columns, per fold, so that every fit on some of the folds is a sum of matrices and no pass over the rows. */
#ifndef FL_LEVEL2_GRAM_H
#define FL_LEVEL2_GRAM_H

#include <stdatomic.h>

#include "stages/level2/data.h"

/* Of z = (values of x, y) less their mean over all rows, W = P + L wide. */
struct fl_l2_gram {
    uint32_t P, L, K, W;
    double  *centre;                   /* [W] */
    uint64_t *n;                       /* [K] rows */
    double  *sum;                      /* [K+1][W]; K: all folds together */
    double  *prod;                     /* [K+1][W][W], symmetric */
};

/* Sums in double; each fold's in the order of its rows, so that they don't depend on the kernel. kernel: NULL, or the name of one
 * ("plain", "avx2", "avx512"). progress: counts blocks of rows; may be NULL. FL_E_NOMEM; FL_E_CONFIG when this processor lacks that kernel. */
int  fl_l2_gram(const struct fl_l2_data *, int transform, const char *kernel, atomic_ullong *progress, struct fl_l2_gram *, struct fl_err *);
void fl_l2_gram_done(struct fl_l2_gram *);

/* Products about the mean of the rows of these folds; columns x and outputs y given as indices into z (an output l is P + l). */
struct fl_l2_normal {
    uint64_t n;
    uint32_t P, T;
    double *mean;                      /* [P + T] */
    double *xx;                        /* [P][P] */
    double *xy;                        /* [P][T] */
    double *square;                    /* [P] raw sum of squares: what is small against it is rounding */
};
int  fl_l2_normal(const struct fl_l2_gram *, const struct fl_l2_folds *, uint32_t P, const uint32_t *columns, uint32_t T,
                  const uint32_t *outputs, struct fl_l2_normal *, struct fl_err *);
void fl_l2_normal_done(struct fl_l2_normal *);

#endif
