/* A fitted second level: what it is, how it predicts, its file. */
#ifndef FL_LEVEL2_MODEL_H
#define FL_LEVEL2_MODEL_H

#include "stages/level2/linear.h"
#include "stages/level2/mlp.h"
#include "stages/level2/trees.h"

/* The averages are fitted on nothing; blend and greedy are mixtures, held as a linear map of each label's own columns. */
enum fl_l2_kind {
    FL_L2_MEAN, FL_L2_GMEAN, FL_L2_LOGIT_MEAN, FL_L2_LINEAR, FL_L2_RIDGE, FL_L2_RIDGE2, FL_L2_NNLS, FL_L2_EXTRATREES, FL_L2_MLP, FL_L2_BLEND, FL_L2_GREEDY
};
#define FL_L2_KINDS "mean|gmean|logit_mean|linear|ridge|ridge2|nnls|extratrees|mlp|blend|greedy"
extern const char *const fl_l2_kind_names[], *const fl_l2_transform_names[], *const fl_l2_feature_names[];      /* each ends with NULL */
enum fl_l2_features { FL_L2_ALL, FL_L2_OWN, FL_L2_ONE };      /* all columns; for each label its own; those of one model */
#define FL_L2_FEATURES "all|own|model"

#define FL_L2_BLOCK 64u                /* rows that are predicted at once */

/* The mean of `parts` fits (one a fold), each of `problems` (one, or one a label under OWN), clipped to [0,1]; then calibrated. */
struct fl_l2_model {
    int      kind, transform, features;
    uint32_t M, L, only;               /* only: the model of ONE */
    char   **models, **labels;         /* [M], [L] */
    uint64_t exclusive;
    uint32_t rest_off;
    uint32_t parts, problems;          /* parts 0: nothing was fitted */
    struct fl_l2_linear *linear;       /* [parts * problems], of one of the three */
    struct fl_l2_trees  *trees;
    struct fl_l2_mlp    *mlp;
    double  *a, *b;                    /* [L] of the calibration, or NULL */
};

int  fl_l2_kind_is_linear(int kind);     /* of the four that are fitted on sums of products */
int  fl_l2_kind_is_average(int kind);
int  fl_l2_kind_is_blend(int kind);
/* Whether a kind can see these features; ridge2 and the averages see all, mixtures each label's own. */
int  fl_l2_kind_sees(int kind, int features);
/* Columns and outputs of problem q: columns [room for M*L], outputs [room for L]. */
void fl_l2_problem(const struct fl_l2_model *, uint32_t q, uint32_t *P, uint32_t *columns, uint32_t *T, uint32_t *outputs);

struct fl_l2_scratch;
int  fl_l2_scratch_new(const struct fl_l2_model *, struct fl_l2_scratch **, struct fl_err *);
void fl_l2_scratch_free(struct fl_l2_scratch *);
/* n <= FL_L2_BLOCK rows x [n][M*L] into out [n][L]. part: this fit alone and without calibration, UINT32_MAX: all of the model. A row's bits don't
 * depend on its company. */
void fl_l2_predict(const struct fl_l2_model *, uint32_t part, uint32_t n, const float *x, struct fl_l2_scratch *, float *out);

/* The names that the model was fitted on in the order of these: at[j] is where the j-th of the model's names stands among them. FL_E_LABEL when
 * they are not the same ones. */
int  fl_l2_match(const struct fl_l2_model *, const char *path, uint32_t n, const char *const *names, uint32_t *at, struct fl_err *);

void fl_l2_model_done(struct fl_l2_model *);

/* One safetensors file; its text says kind, names and shapes. options: JSON object that tells what it was fitted with, or NULL. */
int  fl_l2_model_write(const struct fl_l2_model *, const char *path, const char *options, struct fl_err *);
/* FL_E_INPUT, FL_E_CONFIG, FL_E_LABEL, FL_E_SHAPE, FL_E_NUM naming the file. */
int  fl_l2_model_read(const char *path, struct fl_l2_model *, struct fl_err *);
/* The same from memory; `name` is what messages call it. */
int  fl_l2_model_parse(const char *name, const void *bytes, size_t len, struct fl_l2_model *, struct fl_err *);
/* The text alone, whatever the tensors hold: kind, names, shapes; what is fitted is left out and fl_l2_predict must not be called. */
int  fl_l2_model_head(const char *path, struct fl_l2_model *, struct fl_err *);

#endif
