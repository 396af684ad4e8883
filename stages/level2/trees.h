/* Extremely randomised trees (Geurts, Ernst and Wehenkel 2006) on columns of 16-bit steps.
 *
 * A value v of a column becomes round((v - lo) / (hi - lo) * 65535), held in [0, 65535]; a cut is a step, and what is not above it goes
 * left. Everything about a tree follows from (seed, number of the tree, data): the same forest for any number of threads. Draws:
 * Philox, h = FNV-1a of "extratrees/<tree>", epoch = node (numbered as they are made: depth first, left before right); op 0: the n-th
 * draw chooses the n-th column among those not known to be constant (a constant one is put aside and doesn't count; no draws where all are
 * taken anyway); op 1: draw c is the cut of column c, min + integer below (max - min). Equal gains go to the lower column. */
#ifndef FL_LEVEL2_TREES_H
#define FL_LEVEL2_TREES_H

#include <stdatomic.h>

#include "stages/level2/data.h"

#define FL_L2_TREES_ROWS (1u << 26)

/* Rows and columns to be fitted on; all borrowed. */
struct fl_l2_table {
    uint32_t n, P, T;
    const float    *x;                 /* value of row i, column c: x[rows[i] * stride + columns[c]] */
    size_t          stride;
    const uint32_t *rows, *columns;    /* [n], [P]; NULL: 0, 1, 2 ... */
    int             transform;         /* enum fl_l2_transform */
    const uint8_t  *y;                 /* 0 or 1: y[rows[i] * y_stride + outputs[t]]; T at most 64 */
    size_t          y_stride;
    const uint32_t *outputs;           /* [T]; NULL: 0, 1, 2 ... */
    const double   *real;              /* instead of y: [n][T], by position in rows */
};

struct fl_l2_trees_conf {
    uint64_t seed;
    uint32_t trees, columns;           /* columns: drawn at a node; 0: round(sqrt(P)), at least 1 */
    uint32_t n_min, min_leaf;          /* a node of fewer than n_min rows is a leaf; each side of a cut has min_leaf rows */
    uint32_t threads;
    double   lo, hi;                   /* of the values, transformed */
    const char *kernel;                /* NULL: the best; "plain" */
    atomic_ullong *progress;           /* counts trees; may be NULL */
};

/* A node: bits 0..31 right, 32..47 column, 48..63 cut. The left child is the next node, `right` counts from the tree's first one. A leaf has
 * column 0xFFFF and its number in `right`. */
#define FL_L2_LEAF 0xFFFFu
struct fl_l2_trees {
    uint32_t trees, P, T, nleaves;
    double   lo, hi;
    const uint64_t *first;             /* [trees + 1] */
    const uint64_t *node;              /* [first[trees]] */
    const float    *leaf;              /* [nleaves][T], all different */
    void           *owned[3];          /* what to free */
};

/* FL_E_CONFIG, FL_E_NOMEM. */
int  fl_l2_trees_fit(const struct fl_l2_table *, const struct fl_l2_trees_conf *, struct fl_l2_trees *, struct fl_err *);
void fl_l2_trees_done(struct fl_l2_trees *);

/* Proves nodes that came from a file: every walk ends in a leaf that is there. FL_E_INPUT. */
int  fl_l2_trees_prove(const struct fl_l2_trees *, struct fl_err *);

/* Predictions. Steps of the table's rows: room for n * P and FL_L2_STEPS_SLACK; fits that have lo and hi in common share them. */
#define FL_L2_STEPS_SLACK 4u
void fl_l2_trees_steps(const struct fl_l2_trees *, const struct fl_l2_table *, uint16_t *steps);
/* Means over the trees for n rows of steps: out [n][T], in double, trees in order. */
void fl_l2_trees_rows(const struct fl_l2_trees *, uint32_t n, const uint16_t *steps, double *out);

#endif
