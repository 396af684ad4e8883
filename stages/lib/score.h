/* Scores predictions against the truth in one pass: samples-averaged F2, and the best that one constant answer could do. */
#ifndef FL_STAGES_LIB_SCORE_H
#define FL_STAGES_LIB_SCORE_H

#include <stdint.h>

#include "runtime/labels.h"

struct fl_score {
    uint64_t n;                                       /* tiles scored */
    double   sum;                                     /* of their F2 */
    uint64_t with[FL_MAX_LABELS][FL_MAX_LABELS];      /* [l][s-1]: tiles that have label l and s labels */
};

/* Label l in bit l. */
void   fl_score_add(struct fl_score *, uint64_t truth, uint64_t pred);
/* Mean F2; n > 0. */
double fl_score_f2(const struct fl_score *);
/* F2 of the best label set given to every tile alike; n > 0. */
double fl_score_best_constant(const struct fl_score *, uint32_t L);

#endif
