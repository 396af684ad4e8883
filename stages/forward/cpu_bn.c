/* The training-mode pass behind fl_bn: the CPU executor with every BN as a step of its own, whose scale and shift are set from
 * the batch just before it runs. */
#include "stages/forward/bn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cpu.h"

/* Not those that fold a BN or hang it before another step. */
#define BN_PASSES (FL_PASS_IDENTITY | FL_PASS_FUSE | FL_PASS_AVG | FL_PASS_CONCAT | FL_PASS_MEMORY | FL_PASS_SUM)

struct bn_layer { int32_t par; uint32_t c; double *mean, *var; };      /* var lies in mean's block */

struct fl_bn {
    const struct fl_net     *net;
    const struct fl_weights *w;
    uint32_t         threads, n;
    struct bn_layer *layers;
    struct fl_prog  *prog;                 /* for the rows of the last batch */
    struct fl_snap  *snap;
    double          *sums;                 /* of one layer: [c] of x, [c] of x^2 */
    uint64_t         batches;
};

bool fl_bn_any(const struct fl_net *net)
{
    for (uint32_t i = 0; i < net->nops; i++)
        if (net->ops[i].kind == FL_OP_BN)
            return true;
    return false;
}

void fl_bn_free(struct fl_bn *b)
{
    if (b == NULL)
        return;
    for (uint32_t i = 0; b->layers != NULL && i < b->n; i++)
        free(b->layers[i].mean);
    free(b->layers);
    fl_cpu_snap_free(b->snap);
    fl_cpu_prog_free(b->prog);
    free(b->sums);
    free(b);
}

static int bn_layers(struct fl_bn *b)
{
    size_t most = 1;
    if ((b->layers = calloc(b->net->nops, sizeof *b->layers)) == NULL)
        return FL_E_NOMEM;
    for (uint32_t i = 0; i < b->net->nops; i++) {
        const struct fl_op *o = &b->net->ops[i];
        if (o->kind != FL_OP_BN)
            continue;
        struct bn_layer *l = &b->layers[b->n++];
        *l = (struct bn_layer){ .par = o->par, .c = o->c, .mean = calloc(2 * (size_t)o->c, sizeof *l->mean) };
        if (l->mean == NULL)
            return FL_E_NOMEM;
        l->var = l->mean + o->c;
        most = o->c > most ? o->c : most;
    }
    b->sums = malloc(2 * most * sizeof *b->sums);
    return b->sums != NULL ? FL_OK : FL_E_NOMEM;
}

int fl_bn_new(const struct fl_net *net, const struct fl_weights *w, uint32_t threads, struct fl_bn **out, struct fl_err *err)
{
    struct fl_bn *b = calloc(1, sizeof *b);
    if (b != NULL)
        *b = (struct fl_bn){ .net = net, .w = w, .threads = threads };
    if (b == NULL || bn_layers(b) != FL_OK) {
        fl_bn_free(b);
        return fl_err_set(err, FL_E_NOMEM, "no memory for the statistics of %s", net->arch);
    }
    *out = b;
    return FL_OK;
}

int fl_bn_batch(struct fl_bn *b, uint32_t rows, float **input, struct fl_err *err)
{
    int code = FL_OK;
    if (b->prog == NULL || b->prog->rows != rows) {
        fl_cpu_snap_free(b->snap);
        fl_cpu_prog_free(b->prog);
        b->snap = NULL;
        b->prog = NULL;
        code = fl_cpu_build(b->net, BN_PASSES, true, &(struct fl_fwd_opts){ .rows = rows, .threads = b->threads, .prec = FL_PREC_F32 }, &b->prog, err);
        if (code == FL_OK)
            code = fl_cpu_load(b->prog, b->w, &b->snap, err);
    }
    if (code == FL_OK)
        *input = b->prog->input;
    return code;
}

static struct bn_layer *bn_find(const struct fl_bn *b, int32_t par)
{
    uint32_t i = 0;
    while (b->layers[i].par != par)
        i++;
    return &b->layers[i];
}

static void bn_sum(const struct fl_cpu_view *v, uint32_t rows, double *restrict x1, double *restrict x2)
{
    size_t pixels = (size_t)rows * v->h * v->w;
    memset(x1, 0, v->c * sizeof *x1);
    memset(x2, 0, v->c * sizeof *x2);
    for (size_t i = 0; i < pixels; i++) {
        const float *p = (const float *)v->p + i * v->stride;
        for (uint32_t c = 0; c < v->c; c++) {
            x1[c] += (double)p[c];
            x2[c] += (double)p[c] * (double)p[c];
        }
    }
}

/* Takes the batch's statistics at the input of step i, and has the step normalise by them. */
static int bn_step(struct fl_bn *b, uint32_t i, struct fl_err *err)
{
    const struct fl_step *s = &b->prog->low->steps[i];
    struct fl_cpu_loaded *loaded = &b->snap->steps[i];
    struct bn_layer *l = bn_find(b, s->bn);
    struct fl_cpu_view in = fl_cpu_value(b->prog, s->in);
    double *x1 = b->sums, *x2 = x1 + l->c, n = (double)b->prog->rows * in.h * in.w;
    if (n < 2)
        return fl_err_set(err, FL_E_SHAPE, "%s: one value a channel before %s: it has no variance (a batch of one tile)", b->net->arch, b->net->params[s->bn].name);
    bn_sum(&in, b->prog->rows, x1, x2);
    for (uint32_t c = 0; c < l->c; c++) {
        double mean = x1[c] / n, var = fmax(x2[c] / n - mean * mean, 0), share = 1 / (double)(b->batches + 1);
        double scale = (double)b->w->data[s->bn][c] / sqrt(var + FL_BN_EPS);
        if (!isfinite(mean) || !isfinite(var))
            return fl_err_set(err, FL_E_NUM, "%s: channel %u before %s isn't finite", b->net->arch, c, b->net->params[s->bn].name);
        loaded->scale[c] = (float)scale;
        loaded->shift[c] = (float)((double)b->w->data[s->bn + 1][c] - mean * scale);
        l->mean[c] += (mean - l->mean[c]) * share;
        l->var[c] += (var * n / (n - 1) - l->var[c]) * share;
    }
    return FL_OK;
}

int fl_bn_take(struct fl_bn *b, struct fl_err *err)
{
    int code = FL_OK;
    fl_cpu_threads(b->prog->threads);
    for (uint32_t i = 0; i < b->prog->low->nsteps && code == FL_OK; i++) {
        if (b->prog->low->steps[i].kind == FL_OP_BN)
            code = bn_step(b, i, err);
        if (code == FL_OK)
            code = fl_cpu_steps(b->prog, b->snap, i, i + 1, 0, err);
    }
    b->batches += code == FL_OK;
    return code;
}

void fl_bn_result(const struct fl_bn *b, uint32_t par, float *mean, float *var)
{
    const struct bn_layer *l = bn_find(b, (int32_t)par);
    for (uint32_t c = 0; c < l->c; c++) {
        mean[c] = (float)l->mean[c];
        var[c] = (float)l->var[c];
    }
}

int32_t fl_bn_layer(const struct fl_bn *b, uint32_t i) { return i < b->n ? b->layers[i].par : -1; }
