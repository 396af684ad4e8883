/* A fitted second level: how it predicts. */
#include "stages/level2/model.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/merge.h"

struct fl_l2_scratch {
    double   *x, *part, *sum, *row;    /* [BLOCK][M*L], the same of a problem's columns, [BLOCK][L], [BLOCK][L] of a problem */
    uint16_t *steps;
    float    *work;
    uint32_t *columns, *outputs;
};

const char *const fl_l2_kind_names[] = { "mean", "gmean", "logit_mean", "linear", "ridge", "ridge2", "nnls", "extratrees", "mlp", "blend", "greedy", NULL };
const char *const fl_l2_transform_names[] = { "prob", "logit", NULL };
const char *const fl_l2_feature_names[] = { "all", "own", "model", NULL };

int fl_l2_kind_is_linear(int kind) { return kind >= FL_L2_LINEAR && kind <= FL_L2_NNLS; }
int fl_l2_kind_is_average(int kind) { return kind <= FL_L2_LOGIT_MEAN; }
int fl_l2_kind_is_blend(int kind) { return kind >= FL_L2_BLEND; }

int fl_l2_kind_sees(int kind, int features)
{
    if (fl_l2_kind_is_blend(kind))
        return features == FL_L2_OWN;
    return features == FL_L2_ALL || (kind != FL_L2_RIDGE2 && !fl_l2_kind_is_average(kind));
}

void fl_l2_problem(const struct fl_l2_model *m, uint32_t q, uint32_t *P, uint32_t *columns, uint32_t *T, uint32_t *outputs)
{
    *P = m->features == FL_L2_ALL ? m->M * m->L : m->features == FL_L2_OWN ? m->M : m->L;
    *T = m->features == FL_L2_OWN ? 1 : m->L;
    for (uint32_t i = 0; i < *P; i++)
        columns[i] = m->features == FL_L2_ALL ? i : m->features == FL_L2_OWN ? m->L * i + q : m->L * m->only + i;
    for (uint32_t t = 0; t < *T; t++)
        outputs[t] = m->features == FL_L2_OWN ? q : t;
}

int fl_l2_scratch_new(const struct fl_l2_model *m, struct fl_l2_scratch **out, struct fl_err *err)
{
    size_t P = (size_t)m->M * m->L;
    struct fl_l2_scratch *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return fl_err_set(err, FL_E_NOMEM, "no memory for %u models", m->M);
    s->x = malloc(FL_L2_BLOCK * P * sizeof *s->x);
    s->part = malloc(FL_L2_BLOCK * P * sizeof *s->part);
    s->sum = malloc((size_t)FL_L2_BLOCK * m->L * sizeof *s->sum);
    s->row = malloc((size_t)FL_L2_BLOCK * m->L * sizeof *s->row);
    s->steps = malloc((FL_L2_BLOCK * P + FL_L2_STEPS_SLACK) * sizeof *s->steps);
    s->columns = malloc(P * sizeof *s->columns);
    s->outputs = malloc(m->L * sizeof *s->outputs);
    size_t work = m->mlp != NULL ? fl_l2_mlp_work(&m->mlp[0], FL_L2_BLOCK) : 1;
    s->work = aligned_alloc(64, (work * sizeof *s->work + 64) / 64 * 64);
    if (s->x && s->part && s->sum && s->row && s->steps && s->columns && s->outputs && s->work)
        return FL_OK;
    fl_l2_scratch_free(s);
    *out = NULL;
    return fl_err_set(err, FL_E_NOMEM, "no memory for %u models", m->M);
}

void fl_l2_scratch_free(struct fl_l2_scratch *s)
{
    if (s == NULL)
        return;
    free(s->x);
    free(s->part);
    free(s->sum);
    free(s->row);
    free(s->steps);
    free(s->work);
    free(s->columns);
    free(s->outputs);
    free(s);
}

static void model_average(const struct fl_l2_model *m, uint32_t n, const float *x, struct fl_l2_scratch *s)
{
    static const int how[] = { [FL_L2_MEAN] = FL_MERGE_MEAN, [FL_L2_GMEAN] = FL_MERGE_GMEAN, [FL_L2_LOGIT_MEAN] = FL_MERGE_LOGIT_MEAN };
    double *p = s->part;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t l = 0; l < m->L; l++) {
            for (uint32_t j = 0; j < m->M; j++)
                p[j] = (double)x[((size_t)i * m->M + j) * m->L + l];
            s->sum[(size_t)i * m->L + l] = fl_merge(how[m->kind], m->M, p, 1);
        }
}

/* What a problem's fits see of the rows. All forests of a model have one range. */
static void model_columns(const struct fl_l2_model *m, uint32_t n, uint32_t P, const float *x, struct fl_l2_scratch *s)
{
    size_t all = (size_t)m->M * m->L;
    if (m->trees != NULL) {
        struct fl_l2_table t = { .n = n, .x = x, .stride = all, .columns = m->features != FL_L2_ALL ? s->columns : NULL, .transform = m->transform };
        fl_l2_trees_steps(&m->trees[0], &t, s->steps);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < P; c++)
            s->part[(size_t)i * P + c] = s->x[i * all + s->columns[c]];
}

/* Adds what one fit says, clipped, to the sums. */
static void model_fit(const struct fl_l2_model *m, uint32_t fit, uint32_t n, uint32_t P, uint32_t T, struct fl_l2_scratch *s)
{
    if (m->trees != NULL)
        fl_l2_trees_rows(&m->trees[fit], n, s->steps, s->row);
    else if (m->mlp != NULL)
        fl_l2_mlp_rows(&m->mlp[fit], n, s->part, s->work, s->row);
    for (uint32_t i = 0; m->linear != NULL && i < n; i++)
        fl_l2_linear_apply(&m->linear[fit], s->part + (size_t)i * P, s->row + (size_t)i * T);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t t = 0; t < T; t++) {
            double v = s->row[(size_t)i * T + t];
            s->sum[(size_t)i * m->L + s->outputs[t]] += v <= 0.0 ? 0.0 : v >= 1.0 ? 1.0 : v;
        }
}

void fl_l2_predict(const struct fl_l2_model *m, uint32_t part, uint32_t n, const float *x, struct fl_l2_scratch *s, float *out)
{
    size_t all = (size_t)n * m->L;
    double many = part == UINT32_MAX && m->parts > 0 ? m->parts : 1;
    uint32_t P, T, from = part == UINT32_MAX ? 0 : part, upto = part == UINT32_MAX ? m->parts : part + 1;
    memset(s->sum, 0, all * sizeof *s->sum);
    if (m->parts == 0)
        model_average(m, n, x, s);
    for (size_t i = 0; m->parts > 0 && m->trees == NULL && i < all * m->M; i++)
        s->x[i] = fl_l2_value(m->transform, x[i]);
    for (uint32_t q = 0; m->parts > 0 && q < m->problems; q++) {
        fl_l2_problem(m, q, &P, s->columns, &T, s->outputs);
        model_columns(m, n, P, x, s);
        for (uint32_t k = from; k < upto; k++)
            model_fit(m, k * m->problems + q, n, P, T, s);
    }
    uint32_t l = 0;
    for (size_t i = 0; i < all; i++) {
        double v = s->sum[i] / many;
        if (part == UINT32_MAX && m->a != NULL)
            v = fl_prob_sigmoid(m->a[l] * fl_prob_logit(v) + m->b[l]);
        l = l + 1 < m->L ? l + 1 : 0;
        out[i] = v <= 0.0 ? 0.0f : v >= 1.0 ? 1.0f : (float)v;
    }
}

int fl_l2_match(const struct fl_l2_model *m, const char *path, uint32_t n, const char *const *names, uint32_t *at, struct fl_err *err)
{
    if (n != m->M)
        return fl_err_set(err, FL_E_LABEL, "%s: fitted on %u models (%.60s%s), here %s %u (%.60s%s)", path, m->M, m->models[0], m->M > 1 ? ", ..." : "",
                          n == 1 ? "is" : "are", n, n > 0 ? names[0] : "", n > 1 ? ", ..." : "");
    for (uint32_t j = 0; j < m->M; j++) {
        for (at[j] = 0; at[j] < n && strcmp(names[at[j]], m->models[j]) != 0;)
            at[j]++;
        if (at[j] == n)
            return fl_err_set(err, FL_E_LABEL, "%s: fitted on the model %.60s, which is not among the %u here (%.60s%s)", path, m->models[j], n, names[0],
                              n > 1 ? ", ..." : "");
    }
    return FL_OK;
}

void fl_l2_model_done(struct fl_l2_model *m)
{
    for (uint32_t i = 0; i < m->parts * m->problems; i++) {
        if (m->linear != NULL)
            fl_l2_linear_done(&m->linear[i]);
        if (m->trees != NULL)
            fl_l2_trees_done(&m->trees[i]);
        if (m->mlp != NULL)
            fl_l2_mlp_done(&m->mlp[i]);
    }
    for (uint32_t j = 0; m->models != NULL && j < m->M; j++)
        free(m->models[j]);
    for (uint32_t l = 0; m->labels != NULL && l < m->L; l++)
        free(m->labels[l]);
    free(m->models);
    free(m->labels);
    free(m->linear);
    free(m->trees);
    free(m->mlp);
    free(m->a);
    free(m->b);
    *m = (struct fl_l2_model){ 0 };
}
