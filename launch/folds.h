/* Cross-validation: which fold each tile goes to, and a report of how the labels came to lie. */
#ifndef FL_LAUNCH_FOLDS_H
#define FL_LAUNCH_FOLDS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/status.h"

/* Items (tiles, or groups of them) with their labels. */
struct fl_fold_items {
    uint32_t n, L;
    const char *const *names;          /* [n]: the draws of an item are keyed by its name */
    const uint8_t *y;                  /* [n][L] */
    const char *const *labels;         /* [L] */
};

/* All three write fold[n], 0 .. k-1, whatever the order of the items; 2 <= k <= n, else FL_E_CONFIG.
 * loop: label by label, rarest first; labels of more than half the items by the items that lack them. Each item goes to a fold with the fewest of the
 * label so far, ties drawn. */
int fl_folds_loop(const struct fl_fold_items *, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *);
/* Sechidis et al. 2011: the label with the fewest items left, each of them to the fold that wants most of it. */
int fl_folds_iterative(const struct fl_fold_items *, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *);
/* In the order of a shuffle, one by one. */
int fl_folds_random(const struct fl_fold_items *, uint32_t k, uint64_t seed, uint32_t *fold, struct fl_err *);

/* ---- report ---- */

struct fl_fold_counts {
    uint32_t k, L;
    uint64_t *size;                    /* [k] */
    uint64_t *count;                   /* [k][L] */
    uint64_t *total;                   /* [L] */
    uint64_t n;
};

int  fl_fold_count(const struct fl_fold_items *, uint32_t k, const uint32_t *fold, struct fl_fold_counts *, struct fl_err *);
void fl_fold_counts_free(struct fl_fold_counts *);
/* Largest distance of a fold's count of label l from an even share. */
double fl_fold_worst(const struct fl_fold_counts *, uint32_t l);
/* To stdout: sizes, counts of each label in each fold, a bar for each fold's share. */
void fl_folds_print(const struct fl_fold_counts *, const char *const *labels);
/* A histogram of the labels for each fold. FL_E_IO. */
int  fl_folds_svg(const struct fl_fold_counts *, const char *const *labels, const char *path, struct fl_err *);

#endif
