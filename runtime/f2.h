/* Decoders: from a tile's probabilities to the label set with the greatest expected F-beta. Sets are bit masks (bit l = label l). */
#ifndef FL_RUNTIME_F2_H
#define FL_RUNTIME_F2_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"
#include "runtime/labels.h"

/* What the decoders share, filled once: w[k][s] = (1+b2)/(k + b2 s), the value of one hit when k are predicted and s are true. */
struct fl_f2 {
    uint32_t L;
    double   b2, empty_score;      /* beta squared; F of "nothing true, nothing predicted" */
    uint64_t exclusive;            /* the weather group, 0 = none */
    uint32_t rest_off;             /* its member that allows no other label, UINT32_MAX = none */
    double   w[FL_MAX_LABELS + 1][FL_MAX_LABELS + 1];
};

/* FL_E_CONFIG for L outside 1..64, beta not above 0, empty_score outside [0,1], or a rest_off that is no member of exclusive. */
int fl_f2_init(struct fl_f2 *, uint32_t L, double beta, double empty_score, uint64_t exclusive, uint32_t rest_off, struct fl_err *);

/* All p are [L] doubles in [0,1]; the caller has checked them. */

/* One more independent label joins the distribution of a count: d[0..n] becomes d[0..n+1]. */
void fl_f2_join(double *d, uint32_t n, double p);

/* Expected F-beta of a set under independent labels. */
double fl_f2_expected(const struct fl_f2 *, const double *p, uint64_t set);

/* p > t, label by label. */
uint64_t fl_f2_threshold(const struct fl_f2 *, const double *p, const double *t);

/* The optimum under independent labels; *e its expected value. */
uint64_t fl_f2_exact(const struct fl_f2 *, const double *p, double *e);

/* The same for n rows, with the same bits; uses the widest instructions of this processor. p: [n][L]. work: fl_f2_work(L) doubles,
 * 64-byte aligned. */
void   fl_f2_exact_rows(const struct fl_f2 *, uint32_t n, const double *p, uint64_t *sets, double *e, double *work);
size_t fl_f2_work(uint32_t L);
/* As above with a chosen kernel ("plain", "avx512"); 0 when this processor lacks it. */
int    fl_f2_exact_kernel(const char *name, const struct fl_f2 *, uint32_t n, const double *p, uint64_t *sets, double *e, double *work);
const char *fl_f2_kernel(void);

/* Enumeration of the labels between .05 and .5, the others taken as known. More than FL_F2_FREE of them: the exact optimum, and *many = 1.
 * work: FL_F2_ENUM_WORK doubles. */
#define FL_F2_FREE      14u
#define FL_F2_ENUM_WORK (2u << FL_F2_FREE)
uint64_t fl_f2_bayes_enum(const struct fl_f2 *, const double *p, double *work, int *many);
/* The same with less belief in truths that break the exclusive group's rules, as one member of the reference team did: P(y) times .9 where
 * rest_off has company (.87 if label `primary` is among it, UINT32_MAX: no such label), else times .9 where the group has several members. */
uint64_t fl_f2_bayes_enum_hacks(const struct fl_f2 *, const double *p, uint32_t primary, double *work, int *many);

/* The best set that is not `set`, under independent labels; *e its expected value. Equal values go to the smaller set. L > 1, or set or no
 * set at all may be what is left. */
uint64_t fl_f2_runner_up(const struct fl_f2 *, const double *p, uint64_t set, double *e);

/* Answers and truths from a list of sets, P(u) in proportion to what independent labels give it. */
struct fl_f2_sets {
    uint32_t  n;
    uint64_t *set;           /* [n], all different */
    double   *value;         /* [n][n]: F of answering the row's set when the column's is true */
    double   *weight;        /* [n] work */
};
/* The distinct rows of y ([rows][L] of 0 or 1), in their order. FL_E_CONFIG for none or more than 4096; FL_E_NOMEM. */
int  fl_f2_sets_init(const struct fl_f2 *, uint64_t rows, const uint8_t *y, struct fl_f2_sets *, struct fl_err *);
/* The best of them (ties to the first); *e its expected value. Where p gives all of them no chance, they are taken as equally likely. */
uint64_t fl_f2_labelset(const struct fl_f2_sets *, uint32_t L, const double *p, double *e);
void fl_f2_sets_free(struct fl_f2_sets *);

/* Any joint distribution: Q[i*L + s-1] = P(y_i = 1, S = s), none = P(S = 0). weather1: exactly one label of the exclusive group,
 * and rest_off only alone. */
uint64_t fl_f2_gfm(const struct fl_f2 *, const double *Q, double none, int weather1, double *e);

/* Q of independent labels. */
void fl_f2_q_independent(const struct fl_f2 *, const double *p, double *Q, double *none);
/* Q of: one weather label by q (sum 1); with rest_off nothing else; else the other labels independent with r. q, r: [L], read at the
 * group's members and at the others. */
void fl_f2_q_weather(const struct fl_f2 *, const double *q, const double *r, double *Q, double *none);
/* q and r from marginals: normalised, or through odds with the training frequencies pi ([L], each in (0,1)). */
void fl_f2_weather_norm(const struct fl_f2 *, const double *p, double *q, double *r);
void fl_f2_weather_odds(const struct fl_f2 *, const double *p, const double *pi, double *q, double *r);

/* 1/(1+b2): where adding a label to a long list of sure ones starts to pay; .2 for F2. */
double fl_f2_threshold_of(double beta);

/* Coordinate ascent over labels in order on the grid .05, .06 ... .49 from fl_f2_threshold_of everywhere, one pass; the first of equal thresholds. p: [n][L] f32,
 * y: [n][L] of 0 or 1. Labels whose bit is set in `fixed` stay at fl_f2_threshold_of. */
int fl_f2_fit_per_class(const struct fl_f2 *, uint64_t n, const float *p, const uint8_t *y, uint64_t fixed, double *t, struct fl_err *);

#endif
