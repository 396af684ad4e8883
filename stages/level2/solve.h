/* Positive definite systems: Cholesky, and non-negative least squares on the normal equations. */
#ifndef FL_LEVEL2_SOLVE_H
#define FL_LEVEL2_SOLVE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

/* a [n][n], of which the upper triangle is read, becomes U with U'U = a + lambda I (upper triangle; the lower one is left as it is).
 * Returns the index of the first pivot that is not above `tiny` times its diagonal element (the columns are dependent), or n.
 * progress, here and below: counts up as the work gets on, once for some rows; may be NULL. */
uint32_t fl_l2_cholesky(uint32_t n, double *a, double lambda, double tiny, atomic_ullong *progress);

/* Solves U'U x = b for T right-hand sides, b [n][T] in place. */
void fl_l2_cholesky_solve(uint32_t n, const double *u, uint32_t T, double *b);

/* Lawson-Hanson: x >= 0 [n] that minimises x'(A + lambda I)x/2 - b'x; A [n][n] symmetric, b at b[i * stride]. Columns that would
 * make the system singular stay at 0. FL_E_NOMEM; FL_E_NUM when it does not settle within 30 n steps. */
int fl_l2_nnls(uint32_t n, const double *A, double lambda, const double *b, size_t stride, double *x, atomic_ullong *progress, struct fl_err *);

#endif
