/* Kernels of the network: the same bits from each, since only columns are taken side by side. */
#ifndef FL_LEVEL2_MLP_OWN_H
#define FL_LEVEL2_MLP_OWN_H

#include <stddef.h>
#include <stdint.h>

/* c[m][n] = sum over k, in order, of a[m*am + k*ak] * b[k*ldb + n]; n and the ld are multiples of 16. */
struct mlp_product { uint32_t m, n, k; const float *a; size_t am, ak; const float *b; size_t ldb; float *c; size_t ldc; };

struct mlp_adam { float *w, *m, *v; const float *g; size_t n; float rate, root; };      /* rate: over 1 - b1^t; root: sqrt(1 - b2^t) */

struct mlp_kernel {
    void (*product)(const struct mlp_product *);
    void (*adam)(const struct mlp_adam *);
};
extern const struct mlp_kernel mlp_kernels[];      /* by fl_l2_kernel */

#endif
