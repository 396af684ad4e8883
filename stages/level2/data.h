/* What a second level is fitted on: first-level predictions of rows that have a truth and a fold. */
#ifndef FL_LEVEL2_DATA_H
#define FL_LEVEL2_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_L2_MAX_COLUMNS 65534u       /* models times labels */
#define FL_L2_MAX_FOLDS   255u

/* Column L*j + l of x is model j, label l; models stand in the order of their names. All borrowed. */
struct fl_l2_data {
    uint32_t n, M, L, K;               /* rows, models, labels, folds */
    const float   *x;                  /* [n][M*L], in [0,1] */
    const uint8_t *y;                  /* [n][L], 0 or 1 */
    const uint8_t *fold;               /* [n], below K */
};

/* What a second-level model sees of a probability. */
enum fl_l2_transform { FL_L2_PROB, FL_L2_LOGIT };
#define FL_L2_TRANSFORMS "prob|logit"
double fl_l2_value(int transform, float p);
/* The values' range: [0,1], or the log-odds of the clamped ends. */
void   fl_l2_range(int transform, double *lo, double *hi);

/* FL_E_CONFIG (fewer than 2 folds, too many columns), FL_E_LABEL (a fold without rows, a fold that isn't below K), FL_E_NUM (x outside
 * [0,1], y neither 0 nor 1), naming the row from 0. */
int fl_l2_check(const struct fl_l2_data *, struct fl_err *);

/* A set of folds as bits is used where rows are chosen: bit k of word k / 64. */
struct fl_l2_folds { uint64_t bits[4]; };
static inline int  fl_l2_has(const struct fl_l2_folds *f, uint32_t k) { return (int)(f->bits[k / 64] >> k % 64 & 1); }
static inline void fl_l2_put(struct fl_l2_folds *f, uint32_t k) { f->bits[k / 64] |= UINT64_C(1) << k % 64; }
static inline void fl_l2_drop(struct fl_l2_folds *f, uint32_t k) { f->bits[k / 64] &= ~(UINT64_C(1) << k % 64); }
struct fl_l2_folds fl_l2_all_folds(uint32_t K);
/* The rows of these folds, rising; malloc'd (also when there are none), NULL without memory. */
uint32_t *fl_l2_rows(const struct fl_l2_data *, const struct fl_l2_folds *, uint32_t *n);

#endif
