/* The CPU executor: oneDNN for convolutions and linear layers on packed NHWC, own kernels for the rest.
 *
 * oneDNN falls to its slowest loops on strided tensors, so a convolution that reads or writes a channel slice goes through a
 * packed copy. Each step's kernels and memory are made once a prog; a run allocates nothing. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stages/forward/cpu.h"

/* Debian's oneDNN runs on OpenMP, another one may not: the call is looked up, not linked. It sets this thread's number only. */
void fl_cpu_threads(uint32_t threads)
{
    void (*set)(int) = NULL;
    void *sym = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&set, &sym, sizeof set);
    if (set != NULL)
        set((int)threads);
}

static bool cpu_has_bf16(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static bool cpu_takes(uint32_t device, int prec)
{
    return device == 0 && (prec == FL_PREC_F32 || (prec == FL_PREC_BF16 && cpu_has_bf16()));
}

static int cpu_probe(char *why, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(why, n, "oneDNN %d.%d.%d%s", v->major, v->minor, v->patch, cpu_has_bf16() ? ", bf16" : "");
    return 1;
}

static int cpu_compile(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    return fl_cpu_compile_passes(net, FL_PASSES_ALL, o, out, err);
}

static float *cpu_input(struct fl_prog *p) { return p->input; }

/* ---- running ---- */

/* A step's values for the rows from `row` on. */
struct cpu_views { struct fl_cpu_view in, in2, out, src, dst; };

static void cpu_move(struct fl_cpu_view *v, size_t rows)
{
    v->p = (char *)v->p + rows * fl_cpu_row(v);
}

static struct cpu_views cpu_views(const struct fl_cpu_step *c, size_t row)
{
    struct cpu_views v = { c->in, c->in2, c->out, c->src, c->dst };
    if (c->moves & CPU_IN)
        cpu_move(&v.in, row);
    if (c->moves & CPU_IN2)
        cpu_move(&v.in2, row);
    if (c->moves & CPU_OUT)
        cpu_move(&v.out, row);
    if (!c->gather)
        v.src = v.in;
    if (!c->scatter)
        v.dst = v.out;
    return v;
}

/* Piece i of a view, as one image of so many lines. */
static struct fl_cpu_view cpu_piece(const struct fl_cpu_view *v, const struct fl_cpu_step *c, uint32_t i)
{
    struct fl_cpu_view piece = *v;
    piece.p = (char *)v->p + (size_t)i * c->lines * v->w * fl_cpu_pixel(v);
    piece.h = c->lines;
    return piece;
}

static int cpu_layer(struct fl_prog *p, const struct fl_step *s, struct fl_cpu_step *c, const struct cpu_views *v, struct fl_cpu_loaded *w, struct fl_err *err)
{
    int code = FL_OK;
    if (c->copy_sum)
        p->kern->scale(&v->in2, &v->dst, c->rows, NULL, NULL, false);
    if (!c->gather)
        code = fl_cpu_prim_run(&c->prim, p->stream, &w->w, p->scratch, v->src.p, v->dst.p, err);
    for (uint32_t i = 0; c->gather && i < c->chunks && code == FL_OK; i++) {
        struct fl_cpu_view from = cpu_piece(&v->in, c, i), to = v->src, dst = v->dst;
        to.h = from.h;
        if (c->chunks > 1)
            dst = cpu_piece(&v->dst, c, i);
        p->kern->scale(&from, &to, 1, w->scale, w->shift, s->pro_relu);
        code = fl_cpu_prim_run(&c->prim, p->stream, &w->w, p->scratch, to.p, dst.p, err);
    }
    if (code == FL_OK && c->scatter)
        p->kern->scale(&v->dst, &v->out, c->rows, NULL, NULL, false);
    return code;
}

/* Copies both parts behind each other. */
static void cpu_concat(const struct fl_prog *p, uint32_t rows, const struct cpu_views *v)
{
    struct fl_cpu_view a = v->out, b = v->out;
    a.c = v->in.c;
    b.c = v->in2.c;
    b.p = (char *)v->out.p + v->in.c * fl_cpu_elem(p);
    p->kern->scale(&v->in, &a, rows, NULL, NULL, false);
    p->kern->scale(&v->in2, &b, rows, NULL, NULL, false);
}

static int cpu_step(struct fl_prog *p, uint32_t i, size_t row, struct fl_cpu_loaded *w, struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[i];
    struct fl_cpu_step *c = &p->steps[i];
    struct cpu_views v = cpu_views(c, row);
    switch (s->kind) {
    case FL_OP_CONV:
    case FL_OP_LINEAR:
        return cpu_layer(p, s, c, &v, w, err);
    case FL_OP_MAX:
        p->kern->max(&v.in, &v.out, c->rows, s->k, s->stride, s->pad);
        break;
    case FL_OP_AVG:
    case FL_OP_ADAPT:
    case FL_OP_MEAN:
        p->kern->average(&v.in, &v.out, c->rows, s->kind == FL_OP_AVG ? s->k : 0, w->scale, w->shift, s->pro_relu);
        break;
    case FL_OP_ADD:
        p->kern->add(&v.in, &v.in2, &v.out, c->rows, s->relu);
        break;
    case FL_OP_CONCAT:
        cpu_concat(p, c->rows, &v);
        break;
    default:
        p->kern->scale(&v.in, &v.out, c->rows, w->scale, w->shift, s->relu || s->kind == FL_OP_RELU);
    }
    return FL_OK;
}

/* oneDNN's ReLU makes 0 of NaN, so a row that isn't finite could leave as a plausible answer. It leaves as NaN. */
static void cpu_mark(const struct fl_prog *p, float *logits)
{
    size_t image = (size_t)p->low->size * p->low->size * p->low->channels;
    for (uint32_t row = 0; row < p->rows; row++) {
        if (p->kern->finite(p->input + row * image, image))
            continue;
        for (uint32_t c = 0; c < p->low->labels; c++)
            logits[(size_t)row * p->low->labels + c] = NAN;
    }
}

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int fl_cpu_steps(struct fl_prog *p, struct fl_snap *snap, uint32_t from, uint32_t to, size_t row, struct fl_err *err)
{
    int code = FL_OK;
    for (uint32_t i = from; i < to && code == FL_OK; i++) {
        double start = p->seconds != NULL ? cpu_now() : 0;
        code = cpu_step(p, i, row, &snap->steps[i], err);
        if (p->seconds != NULL)
            p->seconds[i] += cpu_now() - start;
    }
    return code;
}

static int cpu_run(struct fl_prog *p, struct fl_snap *snap, float *logits, struct fl_err *err)
{
    fl_cpu_threads(p->threads);
    if (p->bf16) {
        struct fl_cpu_view to = fl_cpu_value(p, p->low->input), from = to;
        from.p = p->input;
        from.bf16 = false;
        p->kern->scale(&from, &to, p->rows, NULL, NULL, false);
    }
    int code = FL_OK;
    for (uint32_t row = 0; row < p->rows && code == FL_OK; row += p->part)
        code = fl_cpu_steps(p, snap, 0, p->cut, row, err);
    if (code == FL_OK)
        code = fl_cpu_steps(p, snap, p->cut, p->low->nsteps, 0, err);
    if (code != FL_OK)
        return fl_err_context(err, "%s", p->low->arch);
    if (dnnl_stream_wait(p->stream) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN didn't finish %s", p->low->arch);
    memcpy(logits, p->out, (size_t)p->rows * p->low->labels * sizeof *logits);
    cpu_mark(p, logits);
    return FL_OK;
}

/* ---- reporting ---- */

static void cpu_profile(struct fl_prog *p, bool on)
{
    free(p->seconds);
    p->seconds = on ? calloc(p->low->nsteps, sizeof *p->seconds) : NULL;
}

static bool cpu_layer_at(const struct fl_prog *p, uint32_t step, struct fl_layer *out)
{
    if (!fl_low_layer(p->low, step, p->rows, out))
        return false;
    out->impl = p->steps[step].prim.impl != NULL ? p->steps[step].prim.impl : "";
    out->seconds = p->seconds != NULL ? p->seconds[step] : 0;
    return true;
}

const struct fl_backend fl_backend_cpu = {
    .abi = FL_BACKEND_ABI, .name = "cpu", .probe = cpu_probe, .takes = cpu_takes, .compile = cpu_compile, .input = cpu_input,
    .load = fl_cpu_load, .run = cpu_run, .memory = fl_cpu_memory, .profile = cpu_profile, .layer = cpu_layer_at,
    .peak = fl_cpu_peak,
    .snap_free = fl_cpu_snap_free, .prog_free = fl_cpu_prog_free,
};
