/* Merges views, then snapshots: takes prob f32 [B,V,K,L], gives prob f32 [B,L]. */
#include <stdlib.h>
#include <string.h>

#include "runtime/stage.h"
#include "runtime/merge.h"

struct tta_merge {
    int views, snapshots;         /* enum fl_merge, or TTA_SOFTMAX for views */
    double *wide;                 /* [V*K*L] one tile's values in double */
    size_t room;
    double *by_snapshot;          /* [K*L] */
};

enum { TTA_SOFTMAX = FL_MERGE_LOGIT_MEAN + 1 };

static int tta_merge_open(struct fl_ctx *ctx)
{
    struct tta_merge *s = ctx->state;
    if (s->views == TTA_SOFTMAX && ctx->exclusive == 0)
        return fl_fail(ctx, FL_E_CONFIG, "views: gmean_softmax needs labels with an exclusive group");
    return FL_OK;
}

/* Told before anything is started; without labels there is nothing to hold the option against. */
static int tta_merge_describe(struct fl_ctx *ctx)
{
    return ctx->nlabels > 0 ? tta_merge_open(ctx) : FL_OK;
}

static int tta_merge_room(struct fl_ctx *ctx, size_t n)
{
    struct tta_merge *s = ctx->state;
    if (n <= s->room)
        return FL_OK;
    free(s->wide);
    free(s->by_snapshot);
    s->room = 0;
    s->wide = malloc(n * sizeof *s->wide);
    s->by_snapshot = malloc(n * sizeof *s->by_snapshot);
    if (s->wide == NULL || s->by_snapshot == NULL)
        return fl_fail(ctx, FL_E_NOMEM, "%zu values of a tile", n);
    s->room = n;
    return FL_OK;
}

/* A softmax group keeps its mean sum over the views, which a geometric mean lowers. */
static void tta_merge_renormalise(const struct tta_merge *s, uint32_t V, uint32_t K, uint32_t L, uint64_t group, double *merged, uint32_t k)
{
    double old = 0.0, now = 0.0;
    for (uint32_t v = 0; v < V; v++)
        for (uint32_t l = 0; l < L; l++)
            if (group >> l & 1)
                old += s->wide[((size_t)v * K + k) * L + l];
    for (uint32_t l = 0; l < L; l++)
        if (group >> l & 1)
            now += merged[l];
    for (uint32_t l = 0; now > 0.0 && l < L; l++)
        if (group >> l & 1)
            merged[l] *= old / V / now;
}

static void tta_merge_row(struct fl_ctx *ctx, uint32_t V, uint32_t K, uint32_t L, const float *p, float *out)
{
    struct tta_merge *s = ctx->state;
    int how = s->views == TTA_SOFTMAX ? FL_MERGE_GMEAN : s->views;
    for (size_t i = 0; i < (size_t)V * K * L; i++)
        s->wide[i] = p[i];
    for (uint32_t k = 0; k < K; k++) {
        double *merged = s->by_snapshot + (size_t)k * L;
        for (uint32_t l = 0; l < L; l++)
            merged[l] = fl_merge(how, V, s->wide + (size_t)k * L + l, (size_t)K * L);
        if (s->views == TTA_SOFTMAX && V > 1)
            tta_merge_renormalise(s, V, K, L, ctx->exclusive, merged, k);
    }
    for (uint32_t l = 0; l < L; l++) {
        double m = fl_merge(s->snapshots, K, s->by_snapshot + l, L);
        out[l] = m > 1.0 ? 1.0f : (float)m;
    }
}

static int tta_merge_rows(struct fl_ctx *ctx, struct fl_batch *b, uint32_t V, uint32_t K, uint32_t L, const float *p, float *out)
{
    size_t n = (size_t)V * K * L;
    for (uint32_t row = 0; row < b->n; row++, p += n, out += L) {
        size_t bad = fl_rejected(b, row) ? 0 : fl_prob_first_bad(p, n);
        if (bad >= n) {
            tta_merge_row(ctx, V, K, L, p, out);
            continue;
        }
        memset(out, 0, L * sizeof *out);
        if (fl_rejected(b, row))
            continue;
        int rc = fl_reject(ctx, b, row, FL_E_NUM, "view %zu, snapshot %zu, label %s: %g is not a probability", bad / L / K, bad / L % K,
                           ctx->labels[bad % L], (double)p[bad]);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int tta_merge_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct fl_tensor *t = fl_in(b, "prob");
    uint32_t V = t->shape[1], K = t->shape[2], L = t->shape[3];
    const float *p = t->data;
    int rc = V && K && L ? tta_merge_room(ctx, (size_t)V * K * L) : fl_fail(ctx, FL_E_SHAPE, "prob: no views, snapshots or labels");
    float *out = rc == FL_OK ? fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ b->n, L }) : NULL;
    if (rc == FL_OK)
        rc = out != NULL ? tta_merge_rows(ctx, b, V, K, L, p, out) : FL_E_BUG;
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static void tta_merge_close(struct fl_ctx *ctx)
{
    struct tta_merge *s = ctx->state;
    free(s->wide);
    free(s->by_snapshot);
}

static const struct fl_opt tta_merge_opts[] = {
    { .name = "views", .type = FL_OPT_CHOICE, .off = offsetof(struct tta_merge, views), .def = "gmean", .choices = FL_MERGE_CHOICES "|gmean_softmax",
      .help = "How the views of a tile are averaged; gmean_softmax is gmean with the exclusive group brought back to its mean sum." },
    { .name = "snapshots", .type = FL_OPT_CHOICE, .off = offsetof(struct tta_merge, snapshots), .def = "gmean", .choices = FL_MERGE_CHOICES,
      .help = "How the merged views of several snapshots are averaged." },
    { 0 }
};

static const struct fl_spec tta_merge_in[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,V,K,L", .flags = FL_TAKEN },
    { 0 }
};

static const struct fl_spec tta_merge_out[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L" },
    { 0 }
};

static const struct fl_port tta_merge_ports[] = {
    { .name = "in", .flags = FL_IN, .tensors = tta_merge_in },
    { .name = "out", .flags = FL_OUT, .tensors = tta_merge_out },
    { 0 }
};

static const char *const tta_merge_counters[] = { NULL };

const struct fl_stage fl_stage_tta_merge = {
    .name = "tta_merge",
    .help = "Merges the predictions of a tile's views, then those of the snapshots.",
    .state_size = sizeof(struct tta_merge),
    .opts = tta_merge_opts,
    .ports = tta_merge_ports,
    .counters = tta_merge_counters,
    .describe = tta_merge_describe,
    .open = tta_merge_open,
    .batch = tta_merge_batch,
    .close = tta_merge_close,
};
