/* The CPU executor: oneDNN for convolutions and linear layers on packed NHWC, own kernels for the rest.
 *
 * oneDNN falls to its slowest loops on strided tensors, so a convolution that reads or writes a channel slice goes through a
 * packed copy. Each step's kernels and memory are made once a prog; a run allocates nothing. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cpu_kernels.h"
#include "stages/forward/cpu_prim.h"
#include "stages/forward/lower.h"

/* A BN-ReLU before a convolution runs as the gather of its slice, so only pools take it as a prologue. */
#define CPU_PASSES (FL_PASSES_ALL & ~FL_PASS_PRO_CONV)

struct cpu_step {
    struct fl_cpu_view in, in2, out;       /* where the values lie */
    struct fl_cpu_view src, dst;           /* where oneDNN works: there, or in packed copies */
    bool gather, scatter, copy_sum;        /* copy_sum: the residual lies elsewhere, so it's copied to dst first */
    struct fl_cpu_prim prim;
};

struct fl_prog {
    struct fl_low   *low;
    uint32_t         rows, threads;
    bool             bf16;
    dnnl_engine_t    engine;
    dnnl_stream_t    stream;
    dnnl_memory_t    scratch;
    void            *scratch_mem, *arena, *image, *packed[2];      /* packed: one copy in, one out */
    float           *input, *out;                                  /* image: the input as bf16; NULL in f32 */
    struct cpu_step *steps;
};

struct cpu_loaded { struct fl_cpu_weights w; float *scale, *shift; };      /* shift lies in scale's block */
struct fl_snap { uint32_t n; struct cpu_loaded *steps; };

/* ---- threads, instruction set ---- */

/* Debian's oneDNN runs on OpenMP, another one may not: the call is looked up, not linked. It sets this thread's number only. */
static void cpu_threads(uint32_t threads)
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

static int cpu_probe(char *why, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(why, n, "oneDNN %d.%d.%d%s", v->major, v->minor, v->patch, cpu_has_bf16() ? ", bf16" : "");
    return 1;
}

/* ---- compiling ---- */

static size_t cpu_elem(const struct fl_prog *p) { return p->bf16 ? sizeof(uint16_t) : sizeof(float); }

static struct fl_cpu_view cpu_view(const struct fl_prog *p, int32_t v)
{
    if (v < 0)
        return (struct fl_cpu_view){ 0 };
    const struct fl_value *val = fl_low_val(p->low, v);
    const struct fl_buf *b = &p->low->bufs[val->buf];
    struct fl_cpu_view view = { NULL, b->c, val->h, val->w, val->c, p->bf16 };
    if (v == p->low->output) {
        view.p = p->out;
        view.stride = val->c;
        view.bf16 = false;
    } else if (v == p->low->input) {
        view.p = (char *)(p->bf16 ? p->image : p->input) + val->c0 * cpu_elem(p);
    } else {
        view.p = (char *)p->arena + (b->at * p->rows + val->c0) * cpu_elem(p);
    }
    return view;
}

static bool cpu_packed(const struct fl_cpu_view *v) { return v->stride == v->c; }

static struct fl_cpu_view cpu_pack(const struct fl_prog *p, struct fl_cpu_view v, int which)
{
    v.p = p->packed[which];
    v.stride = v.c;
    return v;
}

static void cpu_place(const struct fl_prog *p, const struct fl_step *s, struct cpu_step *c)
{
    c->in = c->src = cpu_view(p, s->in);
    c->in2 = cpu_view(p, s->in2);
    c->out = c->dst = cpu_view(p, s->out);
    if (s->kind != FL_OP_CONV && s->kind != FL_OP_LINEAR)
        return;
    c->gather = !cpu_packed(&c->in);
    c->scatter = !cpu_packed(&c->out);
    if (c->gather)
        c->src = cpu_pack(p, c->in, 0);
    if (c->scatter)
        c->dst = cpu_pack(p, c->out, 1);
    c->copy_sum = s->kind == FL_OP_CONV && s->in2 >= 0 && c->in2.p != c->dst.p;
}

static size_t cpu_bytes(const struct fl_prog *p, int32_t v)
{
    const struct fl_value *val = fl_low_val(p->low, v);
    return (size_t)p->rows * val->h * val->w * val->c * cpu_elem(p);
}

/* Room for the largest slice that any convolution reads or writes packed; few nets need it. */
static int cpu_alloc_packed(struct fl_prog *p)
{
    size_t most[2] = { 0, 0 };
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        int32_t side[2] = { s->in, s->out };
        for (int k = 0; k < 2 && (s->kind == FL_OP_CONV || s->kind == FL_OP_LINEAR); k++) {
            const struct fl_value *v = fl_low_val(p->low, side[k]);
            size_t bytes = p->low->bufs[v->buf].c != v->c ? cpu_bytes(p, side[k]) : 0;
            most[k] = bytes > most[k] ? bytes : most[k];
        }
    }
    for (int k = 0; k < 2; k++)
        if (most[k] > 0 && (p->packed[k] = fl_cpu_alloc(most[k])) == NULL)
            return FL_E_NOMEM;
    return FL_OK;
}

static int cpu_alloc(struct fl_prog *p)
{
    const struct fl_low *l = p->low;
    size_t image = (size_t)p->rows * l->size * l->size * l->channels;
    if (l->elems > SIZE_MAX / sizeof(float) / p->rows)
        return FL_E_NOMEM;
    p->input = fl_cpu_alloc(image * sizeof(float));
    p->out = fl_cpu_alloc((size_t)p->rows * l->labels * sizeof(float));
    p->arena = fl_cpu_alloc(l->elems * p->rows * cpu_elem(p));
    p->steps = calloc(l->nsteps, sizeof *p->steps);
    if (p->bf16)
        p->image = fl_cpu_alloc(image * sizeof(uint16_t));
    if (p->input == NULL || p->out == NULL || p->arena == NULL || p->steps == NULL || (p->bf16 && p->image == NULL))
        return FL_E_NOMEM;
    return cpu_alloc_packed(p);
}

static struct fl_cpu_shape cpu_shape(const struct fl_prog *p, const struct fl_step *s, const struct cpu_step *c)
{
    struct fl_cpu_shape shape = {
        .rows = p->rows, .ci = c->src.c, .ih = c->src.h, .iw = c->src.w, .co = c->dst.c, .oh = c->dst.h, .ow = c->dst.w,
        .k = s->k, .stride = s->stride, .pad = s->pad, .groups = s->groups, .sum = s->in2 >= 0, .relu = s->relu,
        .bf16 = p->bf16, .f32_out = !c->dst.bf16,
    };
    if (s->kind == FL_OP_LINEAR) {
        shape.ci = c->src.h * c->src.w * c->src.c;
        shape.ih = shape.iw = shape.groups = 1;
    }
    return shape;
}

static int cpu_prims(struct fl_prog *p, struct fl_err *err)
{
    size_t scratch = 0;
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        struct cpu_step *c = &p->steps[i];
        cpu_place(p, s, c);
        if (s->kind != FL_OP_CONV && s->kind != FL_OP_LINEAR)
            continue;
        struct fl_cpu_shape shape = cpu_shape(p, s, c);
        int code = fl_cpu_prim_init(&c->prim, p->engine, &shape, err);
        if (code == FL_OK)
            code = fl_cpu_prim_bind(&c->prim, p->engine, c->src.p, c->dst.p, err);
        if (code != FL_OK)
            return fl_err_context(err, "%s", p->low->arch);
        scratch = c->prim.scratch > scratch ? c->prim.scratch : scratch;
    }
    struct shim_own md;
    memset(&md, 0, sizeof md);
    dnnl_dims_t bytes = { (int64_t)(scratch > 0 ? scratch : 1) };
    p->scratch_mem = fl_cpu_alloc(scratch);
    dnnl_status_t st = p->scratch_mem == NULL ? dnnl_out_of_memory : shim_md_init(&md, 1, bytes, dnnl_u8, dnnl_x);
    if (st == dnnl_success)
        st = dnnl_memory_create(&p->scratch, shim_ref(&md), p->engine, p->scratch_mem);
    shim_md_done(&md);
    return st == dnnl_success ? FL_OK : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the scratch of %s", p->low->arch);
}

static void cpu_prog_free(struct fl_prog *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; p->steps != NULL && i < p->low->nsteps; i++)
        fl_cpu_prim_done(&p->steps[i].prim);
    if (p->scratch != NULL)
        dnnl_memory_destroy(p->scratch);
    if (p->stream != NULL)
        dnnl_stream_destroy(p->stream);
    if (p->engine != NULL)
        dnnl_engine_destroy(p->engine);
    void *const owned[] = { p->scratch_mem, p->arena, p->image, p->packed[0], p->packed[1], p->input, p->out, p->steps };
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    fl_low_free(p->low);
    free(p);
}

static int cpu_build(struct fl_prog *p, const struct fl_net *net, unsigned passes, struct fl_err *err)
{
    int code = fl_lower(net, passes & CPU_PASSES, &p->low, err);
    if (code != FL_OK)
        return code;
    cpu_threads(p->threads);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no CPU engine");
    if (cpu_alloc(p) != FL_OK)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s with %u rows", p->low->arch, p->rows);
    return cpu_prims(p, err);
}

int fl_cpu_compile_passes(const struct fl_net *net, unsigned passes, uint32_t rows, uint32_t threads, int prec, struct fl_prog **out, struct fl_err *err)
{
    if (prec != FL_PREC_F32 && prec != FL_PREC_BF16)
        return fl_err_set(err, FL_E_CONFIG, "cpu: computes in f32 or bf16 only");
    if (prec == FL_PREC_BF16 && !cpu_has_bf16())
        return fl_err_set(err, FL_E_DEVICE, "cpu: this processor has no bf16 instructions (AVX512_BF16)");
    if (rows == 0)
        return fl_err_set(err, FL_E_CONFIG, "cpu: 0 rows");
    struct fl_prog *p = calloc(1, sizeof *p);
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a network");
    p->rows = rows;
    p->threads = threads > 0 ? threads : 1;
    p->bf16 = prec == FL_PREC_BF16;
    int code = cpu_build(p, net, passes, err);
    if (code != FL_OK) {
        cpu_prog_free(p);
        return code;
    }
    *out = p;
    return FL_OK;
}

static int cpu_compile(const struct fl_net *net, uint32_t rows, uint32_t threads, int prec, struct fl_prog **out, struct fl_err *err)
{
    return fl_cpu_compile_passes(net, FL_PASSES_ALL, rows, threads, prec, out, err);
}

static float *cpu_input(struct fl_prog *p) { return p->input; }

const char *fl_cpu_impl(const struct fl_prog *p, uint32_t step)
{
    return step >= p->low->nsteps ? NULL : p->steps[step].prim.impl ? p->steps[step].prim.impl : "";
}

/* ---- loading ---- */

static void cpu_snap_free(struct fl_snap *snap)
{
    if (snap == NULL)
        return;
    for (uint32_t i = 0; snap->steps != NULL && i < snap->n; i++) {
        fl_cpu_weights_done(&snap->steps[i].w);
        free(snap->steps[i].scale);
    }
    free(snap->steps);
    free(snap);
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

static size_t cpu_row(const struct fl_prog *p, const struct fl_step *s)
{
    const struct fl_value *v = fl_low_val(p->low, s->in);
    return s->kind == FL_OP_CONV ? (size_t)v->c / s->groups * s->k * s->k : (size_t)v->h * v->w * v->c;
}

/* w: room for the folded weights; affine: 2 co doubles. */
static int cpu_load_layer(struct fl_prog *p, const struct fl_weights *weights, uint32_t i, float *w, double *affine, struct cpu_loaded *out, struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[i];
    uint32_t co = fl_low_val(p->low, s->out)->c;
    size_t row = cpu_row(p, s);
    float *bias = malloc(co * sizeof *bias);
    if (bias == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    fl_low_affine(p->low, weights, s, affine, affine + co);
    const float *from = weights->data[s->w];
    if (s->kind == FL_OP_LINEAR)
        cpu_fill_linear(p, s, from, affine, w);
    for (uint32_t o = 0; o < co; o++) {
        bias[o] = (float)affine[co + o];
        for (size_t j = 0; s->kind == FL_OP_CONV && j < row; j++)
            w[o * row + j] = (float)(affine[o] * from[o * row + j]);
    }
    int code = fl_cpu_prim_load(&p->steps[i].prim, p->engine, p->stream, w, bias, &out->w, err);
    free(bias);
    return code;
}

/* Scale and shift of a BN that runs as a step or as a prologue. */
static int cpu_load_bn(struct fl_prog *p, const struct fl_weights *weights, int32_t bn, double *affine, struct cpu_loaded *out, struct fl_err *err)
{
    uint32_t c = p->low->params[bn].shape[0];
    if ((out->scale = malloc(2 * c * sizeof *out->scale)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    out->shift = out->scale + c;
    fl_low_bn(p->low, weights, bn, affine, affine + c);
    for (uint32_t i = 0; i < 2 * c; i++)
        out->scale[i] = (float)affine[i];
    return FL_OK;
}

static void cpu_room(const struct fl_prog *p, size_t *weights, size_t *channels)
{
    *weights = *channels = 1;
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        size_t in = fl_low_val(p->low, s->in)->c, out = fl_low_val(p->low, s->out)->c, most = in > out ? in : out;
        bool layer = s->kind == FL_OP_CONV || s->kind == FL_OP_LINEAR;
        *channels = most > *channels ? most : *channels;
        if (layer && cpu_row(p, s) * out > *weights)
            *weights = cpu_row(p, s) * out;
    }
}

static int cpu_load_steps(struct fl_prog *p, const struct fl_weights *weights, struct fl_snap *snap, struct fl_err *err)
{
    size_t room, channels;
    cpu_room(p, &room, &channels);
    float *w = malloc(room * sizeof *w);
    double *affine = malloc(2 * channels * sizeof *affine);
    int code = w != NULL && affine != NULL ? FL_OK : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    for (uint32_t i = 0; code == FL_OK && i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        snap->n = i + 1;
        if (s->kind == FL_OP_CONV || s->kind == FL_OP_LINEAR)
            code = cpu_load_layer(p, weights, i, w, affine, &snap->steps[i], err);
        else if (s->kind == FL_OP_BN || s->pro >= 0)
            code = cpu_load_bn(p, weights, s->kind == FL_OP_BN ? s->bn : s->pro, affine, &snap->steps[i], err);
    }
    free(w);
    free(affine);
    return code;
}

static int cpu_load(struct fl_prog *p, const struct fl_weights *weights, struct fl_snap **out, struct fl_err *err)
{
    int code = fl_low_check(p->low, weights, err);
    if (code != FL_OK)
        return code;
    cpu_threads(p->threads);
    struct fl_snap *snap = calloc(1, sizeof *snap);
    if (snap != NULL)
        snap->steps = calloc(p->low->nsteps, sizeof *snap->steps);
    code = snap != NULL && snap->steps != NULL ? cpu_load_steps(p, weights, snap, err)
                                               : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for the weights of %s", p->low->arch);
    if (code != FL_OK) {
        cpu_snap_free(snap);
        return code;
    }
    *out = snap;
    return FL_OK;
}

/* ---- running ---- */

static int cpu_layer(struct fl_prog *p, struct cpu_step *c, struct cpu_loaded *w, struct fl_err *err)
{
    if (c->gather)
        fl_cpu_scale(&c->in, &c->src, p->rows, NULL, NULL, false);
    if (c->copy_sum)
        fl_cpu_scale(&c->in2, &c->dst, p->rows, NULL, NULL, false);
    int code = fl_cpu_prim_run(&c->prim, p->stream, &w->w, p->scratch, err);
    if (code == FL_OK && c->scatter)
        fl_cpu_scale(&c->dst, &c->out, p->rows, NULL, NULL, false);
    return code;
}

/* Copies both parts behind each other. */
static void cpu_concat(const struct fl_prog *p, const struct cpu_step *c)
{
    struct fl_cpu_view a = c->out, b = c->out;
    a.c = c->in.c;
    b.c = c->in2.c;
    b.p = (char *)c->out.p + c->in.c * cpu_elem(p);
    fl_cpu_scale(&c->in, &a, p->rows, NULL, NULL, false);
    fl_cpu_scale(&c->in2, &b, p->rows, NULL, NULL, false);
}

static int cpu_step(struct fl_prog *p, uint32_t i, struct cpu_loaded *w, struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[i];
    struct cpu_step *c = &p->steps[i];
    switch (s->kind) {
    case FL_OP_CONV:
    case FL_OP_LINEAR:
        return cpu_layer(p, c, w, err);
    case FL_OP_MAX:
        fl_cpu_max(&c->in, &c->out, p->rows, s->k, s->stride, s->pad);
        break;
    case FL_OP_AVG:
    case FL_OP_ADAPT:
    case FL_OP_MEAN:
        fl_cpu_average(&c->in, &c->out, p->rows, s->kind == FL_OP_AVG ? s->k : 0, w->scale, w->shift, s->pro_relu);
        break;
    case FL_OP_ADD:
        fl_cpu_add(&c->in, &c->in2, &c->out, p->rows, s->relu);
        break;
    case FL_OP_CONCAT:
        cpu_concat(p, c);
        break;
    default:
        fl_cpu_scale(&c->in, &c->out, p->rows, w->scale, w->shift, s->relu || s->kind == FL_OP_RELU);
    }
    return FL_OK;
}

/* oneDNN's ReLU makes 0 of NaN, so a row that isn't finite could leave as a plausible answer. It leaves as NaN. */
static void cpu_mark(const struct fl_prog *p, float *logits)
{
    size_t image = (size_t)p->low->size * p->low->size * p->low->channels;
    for (uint32_t row = 0; row < p->rows; row++) {
        if (fl_cpu_finite(p->input + row * image, image))
            continue;
        for (uint32_t c = 0; c < p->low->labels; c++)
            logits[(size_t)row * p->low->labels + c] = NAN;
    }
}

static int cpu_run(struct fl_prog *p, struct fl_snap *snap, float *logits, struct fl_err *err)
{
    cpu_threads(p->threads);
    if (p->bf16) {
        struct fl_cpu_view to = cpu_view(p, p->low->input), from = to;
        from.p = p->input;
        from.bf16 = false;
        fl_cpu_scale(&from, &to, p->rows, NULL, NULL, false);
    }
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        int code = cpu_step(p, i, &snap->steps[i], err);
        if (code != FL_OK)
            return fl_err_context(err, "%s", p->low->arch);
    }
    if (dnnl_stream_wait(p->stream) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN didn't finish %s", p->low->arch);
    memcpy(logits, p->out, (size_t)p->rows * p->low->labels * sizeof *logits);
    cpu_mark(p, logits);
    return FL_OK;
}

const struct fl_backend fl_backend_cpu = {
    .abi = FL_BACKEND_ABI, .name = "cpu", .probe = cpu_probe, .compile = cpu_compile, .input = cpu_input,
    .load = cpu_load, .run = cpu_run, .snap_free = cpu_snap_free, .prog_free = cpu_prog_free,
};
