/* Made data for the tests of the second level: seeded draws, correlated predictions of M models. */
#ifndef FL_TESTS_LEVEL2_MAKE_H
#define FL_TESTS_LEVEL2_MAKE_H

#include <math.h>
#include <stdlib.h>

#include "stages/level2/data.h"

static uint64_t make_state = 88172645463325252u;
static inline double make_unit(void)
{
    make_state = make_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(make_state >> 11) + 0.5) * 0x1p-53;
}
static inline double make_normal(void) { return sqrt(-2 * log(make_unit())) * cos(6.283185307179586 * make_unit()); }

/* n rows, M models, L labels, K folds in turn; own noise `noise`, so that columns are far from dependent. signal 0: predictions know nothing. */
static inline struct fl_l2_data make_data(uint32_t n, uint32_t M, uint32_t L, uint32_t K, double signal, double noise)
{
    float *x = malloc((size_t)n * M * L * sizeof *x);
    uint8_t *y = malloc((size_t)n * L), *fold = malloc(n);
    for (uint32_t i = 0; i < n; i++) {
        fold[i] = (uint8_t)(i % K);
        for (uint32_t l = 0; l < L; l++) {
            double pi = 0.08 + 0.84 * (l + 1) / (L + 1), e = make_normal();
            y[(size_t)i * L + l] = make_unit() < pi;
            for (uint32_t j = 0; j < M; j++) {
                double z = log(pi / (1 - pi)) + signal * (2.0 * y[(size_t)i * L + l] - 1 + .6 * e) + noise * make_normal();
                x[((size_t)i * M + j) * L + l] = (float)(1 / (1 + exp(-z)));
            }
        }
    }
    return (struct fl_l2_data){ .n = n, .M = M, .L = L, .K = K, .x = x, .y = y, .fold = fold };
}

static inline void make_free(struct fl_l2_data *d)
{
    free((void *)d->x);
    free((void *)d->y);
    free((void *)d->fold);
}

#endif
