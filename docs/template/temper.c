/* Sharpens or softens probabilities: takes prob f32 [B,L], gives prob f32 [B,L] with odds^power. The template of a stage. */
#include <math.h>
#include <string.h>

#include "runtime/stage.h"

struct temper {
    double power;                 /* option */
};

enum { TEMPER_TILES };            /* counters, in the order of temper_counters */

static float temper_one(double power, double p)
{
    double on = pow(p, power), off = pow(1 - p, power);
    return (float)(on / (on + off));
}

/* The first of L values that is no probability (a NaN is none either), or L. */
static uint32_t temper_first_bad(uint32_t L, const float *p)
{
    uint32_t l = 0;
    while (l < L && p[l] >= 0 && p[l] <= 1)
        l++;
    return l;
}

static int temper_row(struct fl_ctx *ctx, struct fl_batch *b, uint32_t row, uint32_t L, const float *p, float *out)
{
    const struct temper *s = ctx->state;
    uint32_t bad = fl_rejected(b, row) ? 0 : temper_first_bad(L, p);
    if (bad == L) {
        for (uint32_t l = 0; l < L; l++)
            out[l] = temper_one(s->power, (double)p[l]);
        fl_count(ctx, TEMPER_TILES, 1);
        return FL_OK;
    }
    memset(out, 0, L * sizeof *out);             /* a rejected row stays in the batch; its values mean nothing */
    if (fl_rejected(b, row))
        return FL_OK;
    return fl_reject(ctx, b, row, FL_E_NUM, "label %s: %g is not a probability", ctx->labels[bad], (double)p[bad]);
}

static int temper_batch(struct fl_ctx *ctx, struct fl_batch *b)
{
    const struct fl_tensor *t = fl_in(b, "prob");                /* type and shape are proven already */
    const float *p = t->data;
    uint32_t L = t->shape[1];
    float *out = fl_out(ctx, b, "prob", FL_F32, 2, (uint32_t[]){ b->n, L });
    int rc = out != NULL ? FL_OK : FL_E_BUG;
    for (uint32_t row = 0; rc == FL_OK && row < b->n; row++)
        rc = temper_row(ctx, b, row, L, p + (size_t)row * L, out + (size_t)row * L);
    if (rc == FL_OK)
        return fl_emit(ctx, &b);
    fl_free(ctx, &b);
    return rc;
}

static const struct fl_opt temper_opts[] = {
    { .name = "power", .type = FL_OPT_FLOAT, .off = offsetof(struct temper, power), .def = "1", .min = 0.01, .max = 100,
      .help = "What the odds are raised to: above 1 sharpens, below 1 softens." },
    { 0 }
};

static const struct fl_spec temper_in[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L", .flags = FL_TAKEN },
    { 0 }
};

static const struct fl_spec temper_out[] = {
    { .name = "prob", .dtypes = "f32", .shape = "B,L" },
    { 0 }
};

static const struct fl_port temper_ports[] = {
    { .name = "in", .flags = FL_IN, .tensors = temper_in },
    { .name = "out", .flags = FL_OUT, .tensors = temper_out },
    { 0 }
};

static const char *const temper_counters[] = { "tiles", NULL };

extern const struct fl_stage fl_stage_temper;

const struct fl_stage fl_stage_temper = {
    .name = "temper",
    .help = "Raises the odds of each label to a power.",
    .state_size = sizeof(struct temper),
    .opts = temper_opts,
    .ports = temper_ports,
    .counters = temper_counters,
    .batch = temper_batch,
};
