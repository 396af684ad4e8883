/* Weights of a mixture of predictions on the simplex. */
#ifndef FL_LEVEL2_BLEND_H
#define FL_LEVEL2_BLEND_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_L2_BLEND_GAP   1e-8
#define FL_L2_BLEND_STEPS 200u

/* Rows of M predictions of L labels. p[m]: [n][L]. Rows of fold `skip` have no part (fold NULL: all have). label: only this one, or UINT32_MAX.
 * progress: counts some thousand rows at a time; may be NULL. */
struct fl_l2_blend { uint32_t n, M, L, label; const float *const *p; const uint8_t *y, *fold; uint32_t skip; atomic_ullong *progress; };

/* How a fit of weights ended: with a duality gap (by how much the loss could be less, at most) of FL_L2_BLEND_GAP or more, it did not settle. */
struct fl_l2_blend_end { double gap; uint32_t steps; };

/* w [M]: weights >= 0 of sum 1 that minimise the mean binary cross-entropy of sum w_m p_m (p clamped), to a duality gap below FL_L2_BLEND_GAP, in
 * at most FL_L2_BLEND_STEPS steps. The problem is convex: Newton steps, each a small quadratic problem on the simplex (pairs chosen by what they gain, as
 * Fan, Chen and Lin 2005). FL_E_NOMEM, FL_E_CONFIG (M is 0). */
int fl_l2_blend(const struct fl_l2_blend *, double *w, struct fl_l2_blend_end *, struct fl_err *);

/* Greedy selection with replacement (Caruana et al. 2004): `rounds` times the prediction is added that makes the mean of those chosen
 * score the highest samples-averaged F2 after decoding (exact, or at 0.2); w: how often each was chosen, by rounds. Ties go to the first. */
int fl_l2_greedy(const struct fl_l2_blend *, uint32_t rounds, int exact, double *w, struct fl_err *);

#endif
