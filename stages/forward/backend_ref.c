/* The reference executor: plain loops in double, results kept in double (f64) or rounded to f32 after every step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/lower.h"

struct fl_prog {
    struct fl_low *low;
    uint32_t rows;
    bool     wide;             /* keep double */
    float   *input;
    double  *image;            /* the input in double */
    double  *arena;            /* values, NHWC, each in its slice */
    double  *acc;              /* one pixel's result channels */
};

/* Weights of a step: [ky][kx][ci][co] (linear: [y][x][ci][co]) with BN folded; BN alone has only scale and shift. */
struct ref_step { double *w, *scale, *shift, *pro_scale, *pro_shift; };
struct fl_snap { uint32_t n; struct ref_step *steps; };

/* A value as memory: pixel (row, y, x) starts at p + ((row h + y) w + x) stride. */
struct ref_view { double *p; size_t stride; uint32_t h, w, c; };

static struct ref_view ref_view(const struct fl_prog *p, int32_t v)
{
    const struct fl_value *val = fl_low_val(p->low, v);
    const struct fl_buf *b = &p->low->bufs[val->buf];
    double *base = v == p->low->input ? p->image : p->arena + b->at * p->rows;
    return (struct ref_view){ base + val->c0, b->c, val->h, val->w, val->c };
}

static double *ref_at(struct ref_view v, uint32_t row, uint32_t y, uint32_t x)
{
    return v.p + (((size_t)row * v.h + y) * v.w + x) * v.stride;
}

static double ref_round(const struct fl_prog *p, double x) { return p->wide ? x : (double)(float)x; }
static double ref_relu(bool on, double x) { return on && x < 0 ? 0 : x; }

/* ---- steps, each for one pixel of the result ---- */

struct ref_job { const struct fl_prog *p; const struct fl_step *s; const struct ref_step *w; struct ref_view in, in2, out; };

static double ref_load(const struct ref_job *j, const double *px, uint32_t c)
{
    return j->s->pro < 0 ? px[c] : ref_relu(j->s->pro_relu, px[c] * j->w->pro_scale[c] + j->w->pro_shift[c]);
}

static void ref_finish(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    double *out = ref_at(j->out, row, y, x);
    bool adds = j->s->in2 >= 0;
    const double *add = adds ? ref_at(j->in2, row, y, x) : NULL;
    for (uint32_t o = 0; o < j->out.c; o++)
        out[o] = ref_round(j->p, ref_relu(j->s->relu, j->p->acc[o] + (adds ? add[o] : 0)));
}

static void ref_tap(const struct ref_job *j, const double *px, const double *w, uint32_t groups)
{
    double *acc = j->p->acc;
    uint32_t ci = j->in.c / groups, co = j->out.c / groups;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < ci; i++) {
            double v = ref_load(j, px, g * ci + i);
            const double *row = w + (size_t)i * j->out.c + g * co;
            double *a = acc + g * co;
            for (uint32_t o = 0; o < co; o++)
                a[o] += v * row[o];
        }
}

static void ref_conv(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    const struct fl_step *s = j->s;
    memcpy(j->p->acc, j->w->shift, j->out.c * sizeof(double));
    size_t tap = (size_t)(j->in.c / s->groups) * j->out.c;
    for (uint32_t ky = 0; ky < s->k; ky++)
        for (uint32_t kx = 0; kx < s->k; kx++) {
            uint32_t iy = y * s->stride + ky - s->pad, ix = x * s->stride + kx - s->pad;      /* wraps to huge outside */
            if (iy < j->in.h && ix < j->in.w)
                ref_tap(j, ref_at(j->in, row, iy, ix), j->w->w + (ky * s->k + kx) * tap, s->groups);
        }
    ref_finish(j, row, y, x);
}

static void ref_linear(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    memcpy(j->p->acc, j->w->shift, j->out.c * sizeof(double));
    size_t tap = (size_t)j->in.c * j->out.c;
    for (uint32_t iy = 0; iy < j->in.h; iy++)
        for (uint32_t ix = 0; ix < j->in.w; ix++)
            ref_tap(j, ref_at(j->in, row, iy, ix), j->w->w + (iy * j->in.w + ix) * tap, 1);
    ref_finish(j, row, y, x);
}

static void ref_max(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    const struct fl_step *s = j->s;
    for (uint32_t c = 0; c < j->out.c; c++) {
        double best = -INFINITY;
        for (uint32_t ky = 0; ky < s->k; ky++)
            for (uint32_t kx = 0; kx < s->k; kx++) {
                uint32_t iy = y * s->stride + ky - s->pad, ix = x * s->stride + kx - s->pad;
                double v = iy < j->in.h && ix < j->in.w ? ref_at(j->in, row, iy, ix)[c] : -INFINITY;
                best = v > best || isnan(v) ? v : best;
            }
        ref_at(j->out, row, y, x)[c] = best;
    }
}

static void ref_average(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    uint32_t k = j->s->k, bins = j->s->kind == FL_OP_MEAN ? 1 : k;
    bool window = j->s->kind == FL_OP_AVG;
    uint32_t y0 = window ? y * k : fl_low_start(y, j->in.h, bins), y1 = window ? y0 + k : fl_low_end(y, j->in.h, bins);
    uint32_t x0 = window ? x * k : fl_low_start(x, j->in.w, bins), x1 = window ? x0 + k : fl_low_end(x, j->in.w, bins);
    for (uint32_t c = 0; c < j->out.c; c++) {
        double sum = 0;
        for (uint32_t iy = y0; iy < y1; iy++)
            for (uint32_t ix = x0; ix < x1; ix++)
                sum += ref_load(j, ref_at(j->in, row, iy, ix), c);
        ref_at(j->out, row, y, x)[c] = ref_round(j->p, sum / ((double)(y1 - y0) * (x1 - x0)));
    }
}

static void ref_pointwise(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    const double *in = ref_at(j->in, row, y, x);
    double *out = ref_at(j->out, row, y, x);
    bool bn = j->s->kind == FL_OP_BN, adds = j->s->kind == FL_OP_ADD, relu = j->s->relu || j->s->kind == FL_OP_RELU;
    const double *add = adds ? ref_at(j->in2, row, y, x) : NULL;
    for (uint32_t c = 0; c < j->out.c; c++) {
        double v = bn ? in[c] * j->w->scale[c] + j->w->shift[c] : adds ? in[c] + add[c] : in[c];
        out[c] = ref_round(j->p, ref_relu(relu, v));
    }
}

static void ref_concat(const struct ref_job *j, uint32_t row, uint32_t y, uint32_t x)
{
    double *out = ref_at(j->out, row, y, x);
    memmove(out, ref_at(j->in, row, y, x), j->in.c * sizeof *out);
    memmove(out + j->in.c, ref_at(j->in2, row, y, x), j->in2.c * sizeof *out);
}

static void ref_step(const struct fl_prog *p, const struct fl_step *s, const struct ref_step *w)
{
    struct ref_job j = { p, s, w, ref_view(p, s->in), ref_view(p, s->in2 >= 0 ? s->in2 : s->in), ref_view(p, s->out) };
    void (*pixel)(const struct ref_job *, uint32_t, uint32_t, uint32_t) =
        s->kind == FL_OP_CONV ? ref_conv : s->kind == FL_OP_LINEAR ? ref_linear : s->kind == FL_OP_MAX ? ref_max :
        s->kind == FL_OP_AVG || s->kind == FL_OP_ADAPT || s->kind == FL_OP_MEAN ? ref_average :
        s->kind == FL_OP_CONCAT ? ref_concat : ref_pointwise;
    for (uint32_t row = 0; row < p->rows; row++)
        for (uint32_t y = 0; y < j.out.h; y++)
            for (uint32_t x = 0; x < j.out.w; x++)
                pixel(&j, row, y, x);
}

/* ---- the table ---- */

static int ref_probe(char *why, size_t n)
{
    snprintf(why, n, "plain C");
    return 1;
}

static void ref_prog_free(struct fl_prog *p)
{
    if (p == NULL)
        return;
    fl_low_free(p->low);
    free(p->input);
    free(p->image);
    free(p->arena);
    free(p->acc);
    free(p);
}

static int ref_alloc(struct fl_prog *p)
{
    uint32_t widest = 1;
    for (uint32_t v = 0; v < p->low->nvals; v++)
        widest = p->low->vals[v].c > widest ? p->low->vals[v].c : widest;
    size_t pixels = (size_t)p->rows * p->low->size * p->low->size;
    p->input = calloc(pixels * p->low->channels, sizeof *p->input);
    p->image = calloc(pixels * p->low->channels, sizeof *p->image);
    p->arena = calloc(p->low->elems, p->rows * sizeof *p->arena);
    p->acc = calloc(widest, sizeof *p->acc);
    return p->input && p->image && p->arena && p->acc ? FL_OK : FL_E_NOMEM;
}

static bool ref_takes(uint32_t device, int prec)
{
    return device == 0 && (prec == FL_PREC_F32 || prec == FL_PREC_F64);
}

int fl_ref_compile_passes(const struct fl_net *net, unsigned passes, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    if (!ref_takes(o->device, o->prec))
        return fl_err_set(err, FL_E_CONFIG, "ref: computes in f32 or f64 only");
    if (o->rows == 0)
        return fl_err_set(err, FL_E_CONFIG, "ref: 0 rows");
    struct fl_prog *p = calloc(1, sizeof *p);
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "ref: no memory for %s", net->arch);
    p->rows = o->rows;
    p->wide = o->prec == FL_PREC_F64;
    int code = fl_lower(net, passes, &p->low, err);
    if (code == FL_OK && (code = ref_alloc(p)) != FL_OK)
        fl_err_set(err, code, "ref: no memory for %s with %u rows", net->arch, o->rows);
    if (code != FL_OK) {
        ref_prog_free(p);
        return code;
    }
    *out = p;
    return FL_OK;
}

static int ref_compile(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    return fl_ref_compile_passes(net, FL_PASSES_ALL, o, out, err);
}

static int ref_memory(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_fwd_memory *out, struct fl_err *err)
{
    struct fl_low *l = NULL;
    int code = fl_lower(net, FL_PASSES_ALL, &l, err);
    if (code != FL_OK)
        return code;
    uint64_t image = (uint64_t)o->rows * l->size * l->size * l->channels;
    *out = (struct fl_fwd_memory){ .prog = image * (sizeof(float) + sizeof(double)) + (uint64_t)o->rows * l->elems * sizeof(double) };
    for (uint32_t i = 0; i < l->nparams; i++)
        out->snap += fl_param_count(&l->params[i]) * sizeof(double);
    fl_low_free(l);
    return FL_OK;
}

static bool ref_layer(const struct fl_prog *p, uint32_t step, struct fl_layer *out)
{
    return fl_low_layer(p->low, step, p->rows, out);
}

static float *ref_input(struct fl_prog *p) { return p->input; }

static void ref_snap_free(struct fl_snap *snap)
{
    if (snap == NULL)
        return;
    for (uint32_t i = 0; snap->steps != NULL && i < snap->n; i++) {
        free(snap->steps[i].w);
        free(snap->steps[i].scale);
        free(snap->steps[i].pro_scale);
    }
    free(snap->steps);
    free(snap);
}

/* In f32 what a step multiplies with is rounded once, after folding. */
static void ref_round_all(const struct fl_prog *p, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ref_round(p, x[i]);
}

static void ref_fill_conv(const struct fl_prog *p, const struct fl_step *s, const float *w, struct ref_step *r, uint32_t ci, uint32_t co)
{
    uint32_t taps = s->k * s->k;
    for (uint32_t o = 0; o < co; o++)
        for (uint32_t i = 0; i < ci; i++)
            for (uint32_t t = 0; t < taps; t++)
                r->w[((size_t)t * ci + i) * co + o] = ref_round(p, r->scale[o] * w[((size_t)o * ci + i) * taps + t]);
}

static void ref_fill_linear(const struct fl_prog *p, const struct fl_step *s, const float *w, struct ref_step *r, uint32_t co)
{
    const struct fl_value *v = fl_low_val(p->low, s->in);
    size_t columns = (size_t)v->h * v->w * v->c;
    for (uint32_t y = 0; y < v->h; y++)
        for (uint32_t x = 0; x < v->w; x++)
            for (uint32_t c = 0; c < v->c; c++) {
                size_t from = fl_low_column(p->low, s, y, x, c), to = ((size_t)y * v->w + x) * v->c + c;
                for (uint32_t o = 0; o < co; o++)
                    r->w[to * co + o] = w[o * columns + from];
            }
}

/* scale and shift share one block, as do the prologue's. */
static int ref_prepare(const struct fl_prog *p, const struct fl_weights *w, const struct fl_step *s, struct ref_step *r)
{
    const struct fl_value *in = fl_low_val(p->low, s->in), *out = fl_low_val(p->low, s->out);
    if (s->pro >= 0) {
        if ((r->pro_scale = malloc(2 * in->c * sizeof(double))) == NULL)
            return FL_E_NOMEM;
        r->pro_shift = r->pro_scale + in->c;
        fl_low_bn(p->low, w, s->pro, r->pro_scale, r->pro_shift);
        ref_round_all(p, r->pro_scale, 2 * in->c);
    }
    if (s->kind != FL_OP_CONV && s->kind != FL_OP_LINEAR && s->kind != FL_OP_BN)
        return FL_OK;
    if ((r->scale = malloc(2 * out->c * sizeof(double))) == NULL)
        return FL_E_NOMEM;
    r->shift = r->scale + out->c;
    if (s->kind == FL_OP_BN) {
        fl_low_bn(p->low, w, s->bn, r->scale, r->shift);
        ref_round_all(p, r->scale, 2 * out->c);
        return FL_OK;
    }
    fl_low_affine(p->low, w, s, r->scale, r->shift);
    ref_round_all(p, r->shift, out->c);
    size_t per = s->kind == FL_OP_CONV ? (size_t)in->c / s->groups * s->k * s->k : (size_t)in->h * in->w * in->c;
    if ((r->w = malloc(per * out->c * sizeof(double))) == NULL)
        return FL_E_NOMEM;
    if (s->kind == FL_OP_CONV)
        ref_fill_conv(p, s, w->data[s->w], r, in->c / s->groups, out->c);
    else
        ref_fill_linear(p, s, w->data[s->w], r, out->c);
    return FL_OK;
}

static int ref_load_weights(struct fl_prog *p, const struct fl_weights *w, struct fl_snap **out, struct fl_err *err)
{
    int code = fl_low_check(p->low, w, err);
    if (code != FL_OK)
        return code;
    struct fl_snap *snap = calloc(1, sizeof *snap);
    if (snap != NULL)
        snap->steps = calloc(p->low->nsteps, sizeof *snap->steps);
    bool full = snap != NULL && snap->steps != NULL;
    for (uint32_t i = 0; full && i < p->low->nsteps; i++) {
        snap->n = i + 1;
        full = ref_prepare(p, w, &p->low->steps[i], &snap->steps[i]) == FL_OK;
    }
    if (!full) {
        ref_snap_free(snap);
        return fl_err_set(err, FL_E_NOMEM, "ref: no memory for the weights of %s", p->low->arch);
    }
    *out = snap;
    return FL_OK;
}

static int ref_run(struct fl_prog *p, struct fl_snap *snap, float *logits, struct fl_err *err)
{
    (void)err;
    struct ref_view in = ref_view(p, p->low->input), out = ref_view(p, p->low->output);
    size_t n = (size_t)p->rows * in.h * in.w * in.c;
    for (size_t i = 0; i < n; i++)
        p->image[i] = p->input[i];
    for (uint32_t i = 0; i < p->low->nsteps; i++)
        ref_step(p, &p->low->steps[i], &snap->steps[i]);
    for (uint32_t row = 0; row < p->rows; row++)
        for (uint32_t c = 0; c < out.c; c++)
            logits[(size_t)row * out.c + c] = (float)ref_at(out, row, 0, 0)[c];
    return FL_OK;
}

const struct fl_backend fl_backend_ref = {
    .abi = FL_BACKEND_ABI, .name = "ref", .probe = ref_probe, .takes = ref_takes, .compile = ref_compile, .input = ref_input,
    .load = ref_load_weights, .run = ref_run, .memory = ref_memory, .layer = ref_layer, .snap_free = ref_snap_free, .prog_free = ref_prog_free,
};
