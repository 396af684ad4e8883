/* Weights as the kernels of a prog want them. */
#include "stages/forward/cpu.h"

#include <stdlib.h>
#include <string.h>

void fl_cpu_snap_free(struct fl_snap *snap)
{
    if (snap == NULL)
        return;
    for (uint32_t i = 0; snap->steps != NULL && i < snap->n; i++)
        fl_cpu_weights_done(&snap->steps[i].w);
    free(snap->block);
    free(snap->steps);
    free(snap);
}

/* The BN that runs as step s or as its prologue; -1 for none. */
static int32_t cpu_bn(const struct fl_step *s) { return s->kind == FL_OP_BN ? s->bn : s->pro; }

static size_t cpu_bytes(const struct fl_prog *p, uint32_t i)
{
    const struct fl_step *s = &p->low->steps[i];
    int32_t bn = cpu_bn(s);
    return (bn >= 0 ? 2 * fl_cpu_lines(p->low->params[bn].shape[0] * sizeof(float)) : 0) + (fl_cpu_weighted(s) ? fl_cpu_prim_weights(&p->steps[i].prim) : 0);
}

size_t fl_cpu_snap_bytes(const struct fl_prog *p)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < p->low->nsteps; i++)
        bytes += cpu_bytes(p, i);
    return bytes;
}

/* Column order as the packed NHWC source has it. */
static void cpu_fill_linear(const struct fl_prog *p, const struct fl_step *s, const float *w, const double *scale, float *to)
{
    const struct fl_value *v = fl_low_val(p->low, s->in);
    size_t columns = (size_t)v->h * v->w * v->c;
    uint32_t co = fl_low_val(p->low, s->out)->c;
    for (uint32_t o = 0; o < co; o++)
        for (uint32_t y = 0; y < v->h; y++)
            for (uint32_t x = 0; x < v->w; x++)
                for (uint32_t c = 0; c < v->c; c++)
                    *to++ = (float)(scale[o] * w[o * columns + fl_low_column(p->low, s, y, x, c)]);
}

/* Rows of the kernel's groups, which may hold several of the network's, with zeros where those don't meet. */
static void cpu_fill_conv(const struct fl_prog *p, uint32_t i, const float *w, const double *scale, float *to)
{
    const struct fl_step *s = &p->low->steps[i];
    uint32_t ci = fl_low_val(p->low, s->in)->c, co = fl_low_val(p->low, s->out)->c, wide = p->steps[i].prim.shape.groups;
    size_t taps = (size_t)s->k * s->k, row = ci / s->groups * taps, whole = ci / wide * taps;
    if (wide != s->groups)
        memset(to, 0, co * whole * sizeof *to);
    for (uint32_t o = 0; o < co; o++) {
        size_t group = o / (co / s->groups), first = (size_t)(o / (co / wide)) * (ci / wide);      /* channels before it */
        float *at = to + o * whole + (group * (ci / s->groups) - first) * taps;
        for (size_t j = 0; j < row; j++)
            at[j] = (float)(scale[o] * w[o * row + j]);
    }
}

static size_t cpu_row(const struct fl_prog *p, uint32_t i)
{
    const struct fl_cpu_shape *s = &p->steps[i].prim.shape;
    return s->k > 0 ? (size_t)s->ci / s->groups * s->k * s->k : s->ci;
}

/* w: room for the folded weights; affine: 2 co doubles. */
static int cpu_load_layer(struct fl_prog *p, const struct fl_weights *weights, uint32_t i, float *w, double *affine, void *at, struct fl_cpu_loaded *out, struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[i];
    uint32_t co = fl_low_val(p->low, s->out)->c;
    float *bias = malloc(co * sizeof *bias);
    if (bias == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    fl_low_affine(p->low, weights, s, affine, affine + co);
    const float *from = weights->data[s->w];
    if (s->kind == FL_OP_LINEAR)
        cpu_fill_linear(p, s, from, affine, w);
    else
        cpu_fill_conv(p, i, from, affine, w);
    for (uint32_t o = 0; o < co; o++)
        bias[o] = (float)affine[co + o];
    int code = fl_cpu_prim_load(&p->steps[i].prim, p->engine, p->stream, w, bias, at, &out->w, err);
    free(bias);
    return code;
}

/* Scale and shift of a BN that runs as a step or as a prologue. */
static void cpu_load_bn(const struct fl_prog *p, const struct fl_weights *weights, int32_t bn, double *affine, float *at, struct fl_cpu_loaded *out)
{
    uint32_t c = p->low->params[bn].shape[0];
    out->scale = at;
    out->shift = at + fl_cpu_lines(c * sizeof *at) / sizeof *at;
    fl_low_bn(p->low, weights, bn, affine, affine + c);
    for (uint32_t i = 0; i < c; i++) {
        out->scale[i] = (float)affine[i];
        out->shift[i] = (float)affine[c + i];
    }
}

static void cpu_room(const struct fl_prog *p, size_t *weights, size_t *channels)
{
    *weights = *channels = 1;
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        size_t in = fl_low_val(p->low, s->in)->c, out = fl_low_val(p->low, s->out)->c, most = in > out ? in : out;
        bool layer = fl_cpu_weighted(s);
        *channels = most > *channels ? most : *channels;
        if (layer && cpu_row(p, i) * out > *weights)
            *weights = cpu_row(p, i) * out;
    }
}

static int cpu_load_steps(struct fl_prog *p, const struct fl_weights *weights, struct fl_snap *snap, struct fl_err *err)
{
    size_t room, channels;
    cpu_room(p, &room, &channels);
    float *w = malloc(room * sizeof *w);
    double *affine = malloc(2 * channels * sizeof *affine);
    int code = w != NULL && affine != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    char *at = snap->block;
    for (uint32_t i = 0; code == FL_OK && i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        int32_t bn = cpu_bn(s);
        snap->n = i + 1;
        if (fl_cpu_weighted(s))
            code = cpu_load_layer(p, weights, i, w, affine, at, &snap->steps[i], err);
        if (bn >= 0)
            cpu_load_bn(p, weights, bn, affine, (float *)(void *)(at + (fl_cpu_weighted(s) ? fl_cpu_prim_weights(&p->steps[i].prim) : 0)), &snap->steps[i]);
        at += cpu_bytes(p, i);
    }
    free(w);
    free(affine);
    return code;
}

int fl_cpu_load(struct fl_prog *p, const struct fl_weights *weights, struct fl_snap **out, struct fl_err *err)
{
    int code = fl_low_check(p->low, weights, err);
    if (code != FL_OK)
        return code;
    fl_cpu_threads(p->threads);
    struct fl_snap *snap = calloc(1, sizeof *snap);
    if (snap != NULL) {
        snap->steps = calloc(p->low->nsteps, sizeof *snap->steps);
        snap->block = fl_cpu_alloc(fl_cpu_snap_bytes(p));
    }
    code = snap != NULL && snap->steps != NULL && snap->block != NULL ? cpu_load_steps(p, weights, snap, err)
                                               : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    if (code != FL_OK) {
        fl_cpu_snap_free(snap);
        return code;
    }
    *out = snap;
    return FL_OK;
}

