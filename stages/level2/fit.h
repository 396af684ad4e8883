/* Fits one second level: fold by fold, with its out-of-fold predictions and what these are worth. */
#ifndef FL_LEVEL2_FIT_H
#define FL_LEVEL2_FIT_H

#include <stdbool.h>

#include "runtime/opt.h"
#include "stages/level2/gram.h"
#include "stages/level2/model.h"

enum fl_l2_sees { FL_L2_SEES_AUTO, FL_L2_SEES_ALL, FL_L2_SEES_OWN, FL_L2_SEES_MODEL };
#define FL_L2_SEES "auto|all|own|model"

/* What is to be fitted, and how; filled by fl_l2_conf_opts. */
struct fl_l2_conf {
    int     kind, sees, transform;     /* enum fl_l2_kind; FL_L2_SEES_AUTO: own for mixtures, else all */
    char   *model;                     /* of SEES_MODEL */
    double  lambda, rate, dropout;
    int64_t trees, columns, n_min, min_leaf, hidden, seeds, batch, epochs, patience, rounds, seed;
    int     decode;                    /* of greedy: 0 threshold .2, 1 exact */
    bool    per_label, calibrate, nested;
};
extern const struct fl_opt fl_l2_conf_opts[];                  /* into a struct fl_l2_conf; ends with { 0 } */
/* Whether an option of the table has any part in fitting this kind. */
bool fl_l2_conf_serves(int kind, const char *option);
/* The options that have one, as an object; its members are what fl_opts_apply takes. */
json_t *fl_l2_conf_json(const struct fl_l2_conf *);
/* FL_E_CONFIG: features that the kind can't see, a model without features: model or the other way round, one that is not among names (n 0: not known yet). */
int  fl_l2_conf_check(const struct fl_l2_conf *, uint32_t n, char *const *names, struct fl_err *);

/* What the columns and outputs are called. Borrowed. */
struct fl_l2_names { char *const *models, *const *labels; uint64_t exclusive; uint32_t rest_off; };

/* Mean over rows and labels of the log-loss (natural, p clamped), samples-averaged F2 at .2 and after exact decoding. */
struct fl_l2_score { double log_loss, f2, f2_exact; };
/* fold: of these rows, and UINT32_MAX of all. p [n][L]. FL_E_NOMEM. */
int  fl_l2_score(const struct fl_l2_data *, const float *p, uint32_t fold, struct fl_l2_score *, struct fl_err *);

#define FL_L2_UNSETTLED 256
struct fl_l2_fit {
    struct fl_l2_model model;          /* K parts, part k fitted on all folds but k; mixtures: one part, on all. Calibrated on its out-of-fold predictions */
    float *oof;                        /* [n][L] row i by the part that has not seen its fold, calibrated by the other folds' */
    float *nested;                     /* [n][L] row i by a second level fitted in every step without its fold; NULL unless asked for */
    char     unsettled[FL_L2_UNSETTLED];   /* the first fit of weights or calibration that did not come to its minimum: which, how far; "": all did */
    uint32_t dropped;                  /* columns that were constant in some part's rows, the most of any part */
    struct fl_l2_score in_sample, cross_fitted, nested_score;      /* in_sample: the model's own predictions */
    struct fl_l2_score *by_fold;       /* [K] of oof */
};

struct fl_l2_run {
    const struct fl_l2_gram *gram;     /* of this data and transform; NULL: made where it is needed */
    uint32_t threads;                  /* of trees */
    atomic_ullong *progress;           /* counts whatever gets done; may be NULL */
};

/* Results follow from data and configuration alone. FL_E_CONFIG, FL_E_NUM (dependent columns: advises lambda), FL_E_NOMEM. */
int  fl_l2_fit(const struct fl_l2_data *, const struct fl_l2_names *, const struct fl_l2_conf *, const struct fl_l2_run *, struct fl_l2_fit *, struct fl_err *);
void fl_l2_fit_done(struct fl_l2_fit *);

#endif
