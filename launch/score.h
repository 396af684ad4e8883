/* The figures of `flowrun score`, between the files that compute and print them. */
#ifndef FL_LAUNCH_SCORE_H
#define FL_LAUNCH_SCORE_H

#include <stdbool.h>

#include "runtime/folds.h"
#include "runtime/metric.h"
#include "runtime/predictions.h"

#define SCORE_BINS  10
#define SCORE_GRID  91           /* thresholds .05, .055, ... .5 */
#define SCORE_FOLDS 255

/* One file of predictions against the truth, rows in the order of the first file. */
struct score_set {
    uint8_t *h;                  /* [n][L] labels at the threshold, or the tags */
    double  *tile, *exact;       /* [n] F-beta of each tile; exact: by expected F-beta, NULL without probabilities */
    struct fl_metric m;
    double   exact_mean, bce;
    uint64_t empty;              /* rows without a predicted label */
};

struct score_fold { uint64_t n; double bce, f, exact, other; };

struct score {
    double   beta, threshold, empty_score;  /* empty_score: F of a tile without labels for which none is predicted */
    struct fl_predictions pred, other;      /* other.n = 0: not compared */
    struct fl_truth truth;
    struct fl_folds folds;                  /* n = 0: none */
    uint8_t *y;                             /* [n][L] */
    int32_t *fold;                          /* [n], -1: in none; NULL without a table */
    struct score_set a, b;
    struct score_fold each[SCORE_FOLDS];
    double   t, t_exact;                    /* paired over folds, against the other and of expected F-beta against the threshold; NAN: fewer than two folds, or no spread */
    double   curve[SCORE_GRID], best, best_at;
    uint64_t bin_n[SCORE_BINS];             /* over all labels */
    double   bin_p[SCORE_BINS], bin_y[SCORE_BINS], ece;
    double   fitted_in, fitted_out;         /* per-label thresholds, in sample and cross-fitted; NAN: not asked for */
    double   limits[FL_MAX_LABELS];         /* the thresholds fitted on all rows */
    uint64_t fixed;                         /* bits of the labels whose thresholds are not fitted */
};

/* score_figures.c: all that follows from pred, other, y and fold. */
int  score_figures(struct score *, bool per_class, struct fl_err *);
/* "F2", "F1", "F0.5" into text. */
const char *score_name(const struct score *, char text[24]);
/* In percent; NAN on 0, of which there is no percentage. */
double score_gain(double f, double other);
/* score_html.c: one file that needs no other. */
int  score_html(const struct score *, const char *title, const char *path, struct fl_err *);

#endif
