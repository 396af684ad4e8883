/* A network of one hidden layer as second level: P -> hidden, relu, dropout -> T, sigmoid, mean of several seeds.
 *
 * Inputs are standardised by the rows it is fitted on. Loss: binary cross-entropy, mean over rows and outputs. Adam (.9, .999, 1e-8). A
 * tenth of the rows is held back; after each epoch they are scored, the best weights are kept, and `patience` epochs without a new best end
 * the fit. Weights and biases of a layer begin uniform in +-1/sqrt(inputs).
 *
 * Draws: Philox, key = seed, h = FNV-1a of "mlp/<s>/<what>" for the s-th net. what: init/w1, init/b1, init/w2, init/b2: element i is draw
 * i mod 4 of the block with counter (h, i / 4, 0). split, order: a row's sort key is (r0 << 32 | r1) of op 63 with h + its number in the data, epoch 0 or
 * the epoch; the first n/10 by split are held back. dropout: unit u of a row is draw u of op 61 with h + its number, by epoch. Ties go by number. */
#ifndef FL_LEVEL2_MLP_H
#define FL_LEVEL2_MLP_H

#include "stages/level2/trees.h"

struct fl_l2_mlp_conf {
    uint64_t seed;
    uint32_t hidden, seeds, batch, epochs, patience;      /* 256, 3, 256, 30, 3 */
    double   rate, dropout;                               /* 1e-3, .3 */
    const char *kernel;                                   /* NULL: the best; "plain", "avx2", "avx512": the same bits */
    atomic_ullong *progress;                              /* counts epochs; may be NULL */
};
extern const struct fl_l2_mlp_conf fl_l2_mlp_default;

struct fl_l2_mlp {
    uint32_t P, T, H, seeds, Tp, Hp;   /* Tp, Hp: rounded up to 16 */
    const double *mean, *scale;        /* [P]; scale 0 for a column that is constant in the rows */
    const float  *w1, *b1;             /* [seeds][P][Hp], [seeds][Hp] */
    const float  *w2, *b2;             /* [seeds][Hp][Tp], [seeds][Tp]; what is beyond H and T is 0 */
    uint32_t dropped;
    void   *owned[6];
};

/* t->real is not taken. FL_E_CONFIG (fewer than 10 rows, options), FL_E_NUM (the loss is no number), FL_E_NOMEM. */
int  fl_l2_mlp_fit(const struct fl_l2_table *t, const struct fl_l2_mlp_conf *, struct fl_l2_mlp *, struct fl_err *);
void fl_l2_mlp_done(struct fl_l2_mlp *);

/* n rows of P transformed values each, out [n][T]; a row's bits don't depend on its company. work: fl_l2_mlp_work(m, n) floats, 64-byte
 * aligned. */
size_t fl_l2_mlp_work(const struct fl_l2_mlp *, uint32_t n);
void   fl_l2_mlp_rows(const struct fl_l2_mlp *, uint32_t n, const double *x, float *work, double *out);

#endif
