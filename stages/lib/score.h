/* Scores predictions against the truth in one pass: samples-averaged F-beta, and the best that one constant answer could do. */
#ifndef FL_STAGES_LIB_SCORE_H
#define FL_STAGES_LIB_SCORE_H

#include <stdint.h>

#include "runtime/labels.h"

struct fl_score {
    double   b2;                                      /* beta squared; set by the caller */
    uint64_t n;                                       /* tiles scored */
    double   sum;                                     /* of their F-beta */
    uint64_t with[FL_MAX_LABELS][FL_MAX_LABELS];      /* [l][s-1]: tiles that have label l and s labels */
};

/* Label l in bit l. */
void   fl_score_add(struct fl_score *, uint64_t truth, uint64_t pred);
/* Mean F-beta; n > 0. */
double fl_score_mean(const struct fl_score *);
/* F-beta of the best label set given to every tile alike; n > 0. */
double fl_score_best_constant(const struct fl_score *, uint32_t L);

#endif
