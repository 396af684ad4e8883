/* What the files of the trees share: steps of columns, kernels over a node's rows. */
#ifndef FL_LEVEL2_TREES_OWN_H
#define FL_LEVEL2_TREES_OWN_H

#include "stages/level2/trees.h"

#define TREES_WORD  64u                /* rows of a word of bits */
#define TREES_SLACK 64u                /* steps that may be read, and written, past the end of a column */

static inline uint16_t trees_step(double v, double lo, double scale)
{
    double s = (v - lo) * scale + 0.5;
    return s <= 0.0 ? 0 : s >= 65535.0 ? 65535 : (uint16_t)s;
}
static inline uint32_t trees_column(uint64_t node) { return (uint32_t)(node >> 32) & 0xFFFF; }
static inline double trees_scale(double lo, double hi) { return 65535.0 / (hi - lo); }

/* What a cut does to 0/1 outputs: rows on the left, and the sums over outputs of the squared counts of either side. */
struct trees_cut { uint32_t nl; uint64_t ql, qr; };

/* Every row down every tree. first: of these trees; steps: [rows][P], FL_L2_STEPS_SLACK behind them can be read. */
struct trees_walk { const uint64_t *node, *first; uint32_t trees, P, rows; const uint16_t *steps; };

/* Over n steps of a column. bits: for each word of 64 rows, Tp words, one an output (Tp: T rounded up to 8). all: [Tp] counts of the node. */
struct trees_kernel {
    const char *name;
    int  (*probe)(void);
    void (*range)(const uint16_t *v, uint32_t n, uint16_t *lo, uint16_t *hi);
    void (*cut)(const uint16_t *v, uint32_t n, uint16_t cut, uint32_t Tp, const uint64_t *bits, const uint64_t *all, struct trees_cut *);
    /* mask: bit i set where v[i] <= cut. */
    void (*mask)(const uint16_t *v, uint32_t n, uint16_t cut, uint64_t *mask);
    /* Rows with their bit set come first, each side in its order. spare: room for n + slack. */
    void (*part)(uint16_t *v, uint32_t n, const uint64_t *mask, uint16_t *spare);
    /* Draws 0..4*blocks-1 of an op of a node. */
    void (*draws)(uint64_t seed, uint64_t h, uint32_t node, uint32_t op, uint32_t blocks, uint32_t *out);
    /* Of n values. */
    void (*steps)(const float *x, uint32_t n, double lo, double scale, uint16_t *steps);
    /* The leaf that row r comes to in tree t: leaf[t * rows + r]. */
    void (*walk)(const struct trees_walk *, uint32_t *leaf);
};
/* trees_walk.c */
void trees_plain_steps(const float *x, uint32_t n, double lo, double scale, uint16_t *steps);
void trees_plain_walk(const struct trees_walk *, uint32_t *leaf);
#if defined(__x86_64__)
void trees_wide_steps(const float *x, uint32_t n, double lo, double scale, uint16_t *steps);
void trees_wide_walk(const struct trees_walk *, uint32_t *leaf);
#endif
const struct trees_kernel *trees_kernel(const char *name);     /* NULL when there is none of that name here */

/* ---- trees_node.c: one tree ---- */

/* Of one thread. */
struct trees_work {
    const struct fl_l2_trees_conf *conf;
    const struct trees_kernel *k;
    uint32_t n, P, T, Tp, draw;        /* draw: columns at a node */
    size_t   ld;                       /* steps between columns */
    int      whole;                    /* the columns themselves are in the order of the nodes; else `row` says it */
    uint16_t *steps;                   /* [P][ld]; ours when whole, else shared */
    uint32_t *row;                     /* [n] */
    uint64_t *label;                   /* [n] outputs of a row as bits; with `row` in its order */
    const double *real;                /* [n][T] by row, or NULL */

    uint64_t h;
    uint32_t *order;                   /* [P] columns; those known to be constant last */
    uint32_t *cuts;                    /* [4 * blocks] draws of op 1 */
    uint16_t *gather[2], *spare;       /* [n + slack] */
    uint64_t *bits, *mask;             /* [words][Tp], [words] */
    uint64_t *spare_label;
    double   *sum;                     /* scratch of real outputs: [3][T] */
    uint64_t *all;                     /* [2][Tp] */

    /* The tree being made. */
    uint64_t *node;
    uint64_t nnodes, cap;
    float    *leaf;
    uint32_t nleaves, leaf_cap;
};
int  trees_grow(struct trees_work *, uint32_t tree, struct fl_err *);

#endif
