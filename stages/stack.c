/* Joins models: takes prob f32 [B,L] (one model) or models f32 [B,P,L] from each edge, gives prob f32 [B,L]. Edge order is model order. */
#include <stdlib.h>
#include <string.h>

#include "runtime/labels.h"
#include "runtime/stage.h"
#include "stages/lib/linear.h"
#include "runtime/merge.h"

enum { STACK_MEAN, STACK_GMEAN, STACK_LINEAR, STACK_RIDGE };
static const char *const stack_kinds[] = { "mean", "gmean", "linear", "ridge" };

struct stack {
    int      method, transform;
    char    *weights;
    uint32_t M;                   /* models; 0 before the first batch */
    double  *x;                   /* [M * L] one tile's probabilities, model after model */
    const float **in;             /* [M] a model's first row in the batch in hand */
    size_t  *stride;              /* [M] from its row to the next */
    struct fl_linear linear;
};

static int stack_fitted(const struct stack *s) { return s->method == STACK_LINEAR || s->method == STACK_RIDGE; }

static int stack_settings(struct fl_ctx *ctx)
{
    struct stack *s = ctx->state;
    if (stack_fitted(s) && s->weights == NULL)
        return fl_fail(ctx, FL_E_CONFIG, "method %s needs weights", stack_kinds[s->method]);
    if (!stack_fitted(s) && s->weights != NULL)
        return fl_fail(ctx, FL_E_CONFIG, "method %s takes no weights", stack_kinds[s->method]);
    if (!stack_fitted(s) && s->transform)
        return fl_fail(ctx, FL_E_CONFIG, "transform logit is for linear and ridge; method %s works on probabilities", stack_kinds[s->method]);
    return FL_OK;
}

/* How many models are joined isn't known yet; what the coefficients were made for is. */
static int stack_describe(struct fl_ctx *ctx)
{
    const struct stack *s = ctx->state;
    struct fl_err err = { 0 };
    int rc = stack_settings(ctx);
    if (rc == FL_OK && stack_fitted(s) && ctx->nlabels > 0 && fl_linear_check(s->weights, stack_kinds[s->method], ctx->nlabels, ctx->labels, &err) != FL_OK)
        rc = fl_fail(ctx, err.code, "%s", err.text);
    return rc;
}

static int stack_open(struct fl_ctx *ctx)
{
    return stack_settings(ctx);
}

/* The first batch says how many models there are. */
static int stack_models(struct fl_ctx *ctx, uint32_t M)
{
    struct stack *s = ctx->state;
    struct fl_err err = { 0 };
    if (s->M == M)
        return FL_OK;
    if (s->M != 0)
        return fl_fail(ctx, FL_E_PROTO, "%u models, there were %u before", M, s->M);
    s->x = malloc((size_t)M * ctx->nlabels * sizeof *s->x);
    s->in = calloc(M, sizeof *s->in);
    s->stride = calloc(M, sizeof *s->stride);
    if (s->x == NULL || s->in == NULL || s->stride == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%u models", M);
    if (stack_fitted(s) && fl_linear_read(s->weights, stack_kinds[s->method], ctx->nlabels, ctx->labels, M, &s->linear, &err) != FL_OK)
        return fl_fail(ctx, err.code, "%s", err.text);
    s->M = M;
    return FL_OK;
}

static void stack_row(struct fl_ctx *ctx, float *out)
{
    struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels;
    double y[FL_MAX_LABELS];
    if (stack_fitted(s)) {
        for (size_t i = 0; s->transform && i < (size_t)s->M * L; i++)
            s->x[i] = fl_prob_logit(s->x[i]);
        fl_linear_apply(&s->linear, s->x, y);
    } else {
        for (uint32_t l = 0; l < L; l++)
            y[l] = fl_merge(s->method == STACK_MEAN ? FL_MERGE_MEAN : FL_MERGE_GMEAN, s->M, s->x + l, L);
    }
    for (uint32_t l = 0; l < L; l++)
        out[l] = y[l] <= 0.0 ? 0.0f : y[l] >= 1.0 ? 1.0f : (float)y[l];
}

/* Gathers a row of all models into x; FL_OK also for one that was marked bad on the way (*good = 0). */
static int stack_gather(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, int *good)
{
    struct stack *s = ctx->state;
    uint32_t L = ctx->nlabels;
    *good = 0;
    if (fl_rejected(b, row))
        return FL_OK;
    for (uint32_t e = 0; e < s->M; e++) {
        const float *p = s->in[e] + row * s->stride[e];
        size_t bad = fl_prob_first_bad(p, L);
        if (bad < L)
            return fl_reject(ctx, b, row, FL_E_NUM, "model %u, label %s: %g is not a probability", e, ctx->labels[bad], (double)p[bad]);
        for (uint32_t l = 0; l < L; l++)
            s->x[(size_t)e * L + l] = p[l];
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

static int stack_rows(struct fl_ctx *ctx, struct fl_batch *b)
{
    uint32_t L = ctx->nlabels;
    int rc = stack_take(ctx, b);
    if (rc != FL_OK)
        return rc;
    float *out = fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ b->n, L });
    if (out == NULL)
        return FL_E_BUG;
    for (uint32_t row = 0; row < b->n; row++, out += L) {
        int good;
        rc = stack_gather(ctx, b, row, &good);
        if (rc != FL_OK)
            return rc;
        if (good)
            stack_row(ctx, out);
        else
            memset(out, 0, L * sizeof *out);
    }
    return FL_OK;
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
    fl_linear_done(&s->linear);
    free(s->x);
    free(s->in);
    free(s->stride);
}

static const struct fl_opt stack_opts[] = {
    { .name = "method", .type = FL_OPT_CHOICE, .off = offsetof(struct stack, method), .def = "mean", .choices = "mean|gmean|linear|ridge",
      .help = "How the models are joined: averages, or a fitted linear map." },
    { .name = "weights", .type = FL_OPT_PATH, .off = offsetof(struct stack, weights),
      .help = "Coefficients of linear and ridge: NAME.safetensors with NAME.json beside it." },
    { .name = "transform", .type = FL_OPT_CHOICE, .off = offsetof(struct stack, transform), .def = "none", .choices = "none|logit",
      .help = "What linear and ridge see: probabilities or their log-odds." },
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
