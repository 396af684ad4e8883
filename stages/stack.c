/* Joins models: takes prob f32 [B,L] (one model) or models f32 [B,P,L] from each edge, gives prob f32 [B,L]. An average, or what was fitted:
 * the file says how, and the models are brought into its order by their names. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/merge.h"
#include "runtime/stage.h"
#include "stages/level2/model.h"

enum { STACK_AUTO, STACK_MEAN, STACK_GMEAN, STACK_LOGIT_MEAN };

struct stack {
    int      method;
    char    *file;                /* option model */
    char   **models;              /* names of what arrives, in the order of the edges; flowrun fills them in */
    struct fl_l2_model model;
    struct fl_l2_scratch *scratch;
    uint32_t M;                   /* models; 0 before the first batch */
    uint32_t *at;                 /* [M] the model's j-th stands here among those that arrive */
    float   *x, *y;               /* [BLOCK][M * L] in the model's order, [BLOCK][L] */
    uint32_t *row;                /* [BLOCK] of the batch */
    const float **in;             /* [M] a model's first row in the batch in hand */
    size_t  *stride;              /* [M] from its row to the next */
};

static uint32_t stack_names(const struct stack *s)
{
    uint32_t n = 0;
    while (s->models != NULL && s->models[n] != NULL)
        n++;
    return n;
}

static int stack_err(struct fl_ctx *ctx, const struct fl_err *err) { return fl_fail(ctx, err->code, "%s", err->text); }

/* Names are known where flowrun has told them; at: room for m->M. */
static int stack_match(struct fl_ctx *ctx, const struct fl_l2_model *m, uint32_t *at)
{
    const struct stack *s = ctx->state;
    struct fl_err err = { 0 };
    if (stack_names(s) > 0 && fl_l2_match(m, s->file, stack_names(s), (const char *const *)s->models, at, &err) != FL_OK)
        return stack_err(ctx, &err);
    return FL_OK;
}

static int stack_labels(struct fl_ctx *ctx, const struct fl_l2_model *m)
{
    const struct stack *s = ctx->state;
    if (ctx->nlabels != m->L)
        return fl_fail(ctx, FL_E_LABEL, "%s: fitted on %u labels, this graph has %u", s->file, m->L, ctx->nlabels);
    for (uint32_t l = 0; l < m->L; l++)
        if (strcmp(m->labels[l], ctx->labels[l]) != 0)
            return fl_fail(ctx, FL_E_LABEL, "%s: label %u is %s, in this graph %s", s->file, l, m->labels[l], ctx->labels[l]);
    return FL_OK;
}

/* flowrun compares the labels that stages state. */
static int stack_describe(struct fl_ctx *ctx)
{
    const struct stack *s = ctx->state;
    struct fl_l2_model m;
    struct fl_err err = { 0 };
    struct stat st;
    if (s->file != NULL && s->method != STACK_AUTO)
        return fl_fail(ctx, FL_E_CONFIG, "method: %s says how its models are joined, want no method beside it", s->file);
    if (s->file == NULL)
        return FL_OK;
    if (fl_l2_model_head(s->file, &m, &err) != FL_OK)
        return stack_err(ctx, &err);
    uint32_t *at = calloc(m.M, sizeof *at);
    int rc = at != NULL ? stack_match(ctx, &m, at) : fl_fail(ctx, FL_E_NOMEM, "%u models", m.M);
    fl_set_labels(ctx, m.L, (const char *const *)m.labels, m.exclusive, m.rest_off);
    if (stat(s->file, &st) == 0)
        fl_set_memory(ctx, (uint64_t)st.st_size);
    free(at);
    fl_l2_model_done(&m);
    return rc;
}

static int stack_open(struct fl_ctx *ctx)
{
    struct stack *s = ctx->state;
    struct fl_err err = { 0 };
    static const int kinds[] = { [STACK_AUTO] = FL_L2_MEAN, [STACK_MEAN] = FL_L2_MEAN, [STACK_GMEAN] = FL_L2_GMEAN, [STACK_LOGIT_MEAN] = FL_L2_LOGIT_MEAN };
    if (s->file == NULL)
        s->model = (struct fl_l2_model){ .kind = kinds[s->method], .L = ctx->nlabels };
    else if (fl_l2_model_read(s->file, &s->model, &err) != FL_OK)
        return stack_err(ctx, &err);
    return s->file != NULL ? stack_labels(ctx, &s->model) : FL_OK;
}

/* The first batch says how many models there are. */
static int stack_models(struct fl_ctx *ctx, uint32_t M)
{
    struct stack *s = ctx->state;
    struct fl_err err = { 0 };
    size_t P = (size_t)M * ctx->nlabels;
    if (s->M == M)
        return FL_OK;
    if (s->M != 0)
        return fl_fail(ctx, FL_E_PROTO, "%u models, there were %u before", M, s->M);
    if (stack_names(s) > 0 && stack_names(s) != M)
        return fl_fail(ctx, FL_E_LABEL, "%u models, but %u names", M, stack_names(s));
    if (s->file != NULL && s->model.M != M)
        return fl_fail(ctx, FL_E_LABEL, "%s: fitted on %u models, here are %u", s->file, s->model.M, M);
    if (s->file != NULL && M > 1 && stack_names(s) == 0)
        return fl_fail(ctx, FL_E_LABEL, "%s: fitted on %u models by name, and what arrives has none", s->file, M);
    s->model.M = M;
    s->at = calloc(M, sizeof *s->at);
    s->x = malloc(FL_L2_BLOCK * P * sizeof *s->x);
    s->y = malloc((size_t)FL_L2_BLOCK * ctx->nlabels * sizeof *s->y);
    s->row = malloc(FL_L2_BLOCK * sizeof *s->row);
    s->in = calloc(M, sizeof *s->in);
    s->stride = calloc(M, sizeof *s->stride);
    if (s->at == NULL || s->x == NULL || s->y == NULL || s->row == NULL || s->in == NULL || s->stride == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%u models", M);
    for (uint32_t j = 0; j < M; j++)
        s->at[j] = j;
    if (s->file != NULL && stack_match(ctx, &s->model, s->at) != FL_OK)
        return FL_E_LABEL;
    if (fl_l2_scratch_new(&s->model, &s->scratch, &err) != FL_OK)
        return stack_err(ctx, &err);
    s->M = M;
    return FL_OK;
}

/* Gathers a row of all models into x; FL_OK also for one that was marked bad on the way (*good = 0). */
static int stack_gather(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, float *x, int *good)
{
    const struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels;
    *good = 0;
    if (fl_rejected(b, row))
        return FL_OK;
    for (uint32_t j = 0; j < s->M; j++) {
        uint32_t e = s->at[j];
        const float *p = s->in[e] + row * s->stride[e];
        size_t bad = fl_prob_first_bad(p, L);
        if (bad < L && stack_names(s) > 0)
            return fl_reject(ctx, b, row, FL_E_NUM, "model %.60s, label %s: %g is not a probability", s->models[e], ctx->labels[bad], (double)p[bad]);
        if (bad < L)
            return fl_reject(ctx, b, row, FL_E_NUM, "model %u, label %s: %g is not a probability", e, ctx->labels[bad], (double)p[bad]);
        memcpy(x + (size_t)j * L, p, L * sizeof *x);
    }
    *good = 1;
    return FL_OK;
}

static const struct fl_tensor *stack_edge(const struct fl_batch *b, uint32_t e)
{
    const struct fl_tensor *t = fl_batch_find_edge(b, e, "prob");
    return t != NULL ? t : fl_batch_find_edge(b, e, "models");
}

/* Where the rows of each model lie. */
static int stack_take(struct fl_ctx *ctx, const struct fl_batch *b)
{
    struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels, M = 0;
    for (uint32_t e = 0; e < ctx->edges; e++) {
        const struct fl_tensor *t = stack_edge(b, e);
        if (t == NULL || t->ndim < 2 || t->shape[0] != b->n || t->shape[t->ndim - 1] != L)
            return fl_fail(ctx, FL_E_PROTO, "batch %llu: edge %u brought neither prob [%u,%u] nor models [%u,P,%u]", (unsigned long long)b->batch, e, b->n, L, b->n, L);
        M += t->ndim == 3 ? t->shape[1] : 1;
    }
    int rc = stack_models(ctx, M);
    M = 0;
    for (uint32_t e = 0; rc == FL_OK && e < ctx->edges; e++) {
        const struct fl_tensor *t = stack_edge(b, e);
        uint32_t P = t->ndim == 3 ? t->shape[1] : 1;
        for (uint32_t m = 0; m < P; m++, M++) {
            s->in[M] = (const float *)t->data + (size_t)m * L;
            s->stride[M] = (size_t)P * L;
        }
    }
    return rc;
}

/* Coefficients may be so large that no number comes out. */
static int stack_block(struct fl_ctx *ctx, struct fl_batch *b, uint32_t n, float *out)
{
    struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels;
    fl_l2_predict(&s->model, UINT32_MAX, n, s->x, s->scratch, s->y);
    for (uint32_t i = 0; i < n; i++) {
        const float *y = s->y + (size_t)i * L;
        size_t bad = fl_prob_first_bad(y, L);
        if (bad == L)
            memcpy(out + (size_t)s->row[i] * L, y, L * sizeof *out);
        else if (fl_reject(ctx, b, s->row[i], FL_E_NUM, "label %s: the second level gives no number", ctx->labels[bad]) != FL_OK)
            return FL_E_BUG;
    }
    fl_alive(ctx);
    return FL_OK;
}

static int stack_rows(struct fl_ctx *ctx, struct fl_batch *b)
{
    struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels, n = 0;
    int rc = stack_take(ctx, b);
    if (rc != FL_OK)
        return rc;
    float *out = fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ b->n, L });
    if (out == NULL)
        return FL_E_BUG;
    memset(out, 0, (size_t)b->n * L * sizeof *out);
    for (uint32_t row = 0; row < b->n; row++) {
        int good;
        rc = stack_gather(ctx, b, row, s->x + (size_t)n * s->M * L, &good);
        if (rc != FL_OK)
            return rc;
        if (good)
            s->row[n++] = row;
        if (n == FL_L2_BLOCK) {
            if ((rc = stack_block(ctx, b, n, out)) != FL_OK)
                return rc;
            n = 0;
        }
    }
    return n > 0 ? stack_block(ctx, b, n, out) : FL_OK;
}

static int stack_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    int rc = stack_rows(ctx, b);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void stack_close(struct fl_ctx *ctx)
{
    struct stack *s = ctx->state;
    fl_l2_scratch_free(s->scratch);
    fl_l2_model_done(&s->model);
    free(s->at);
    free(s->x);
    free(s->y);
    free(s->row);
    free(s->in);
    free(s->stride);
}

static const struct fl_opt stack_opts[] = {
    { .name = "method", .type = FL_OPT_CHOICE, .off = offsetof(struct stack, method), .def = "auto", .choices = "auto|mean|gmean|logit_mean",
      .help = "How the models are averaged; auto: as the file in model says, or the mean." },
    { .name = "model", .type = FL_OPT_PATH, .off = offsetof(struct stack, file),
      .help = "A fitted second level (docs/second-level.md): NAME.safetensors." },
    { .name = "models", .type = FL_OPT_LIST, .off = offsetof(struct stack, models),
      .help = "What the models are called, in the order of from (and of a source's files): those that the model was fitted on, in any order. Not given: "
              "what they are called where they come from." },
    { 0 }
};

static const struct fl_spec stack_in[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L", .flags = FL_TAKEN | FL_EITHER },
    { .name = "models", .dtypes = "f32", .shape = "B,P,L", .flags = FL_TAKEN | FL_EITHER },
    { 0 }
};

static const struct fl_spec stack_out[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L" },
    { 0 }
};

static const struct fl_port stack_ports[] = {
    { .name = "in", .flags = FL_IN | FL_MANY, .tensors = stack_in },
    { .name = "out", .flags = FL_OUT, .tensors = stack_out },
    { 0 }
};

static const char *const stack_counters[] = { NULL };

const struct fl_stage fl_stage_stack = {
    .name = "stack",
    .help = "Joins the predictions of several models into one probability a label.",
    .state_size = sizeof(struct stack),
    .opts = stack_opts,
    .ports = stack_ports,
    .counters = stack_counters,
    .describe = stack_describe,
    .open = stack_open,
    .batch = stack_batch,
    .close = stack_close,
};
