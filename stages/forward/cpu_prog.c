/* Compiling for the CPU executor: where each value lies, and the kernel of each step. */
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cpu.h"

/* A BN-ReLU before a convolution runs as the gather of its slice, so only pools take it as a prologue. */
#define CPU_PASSES (FL_PASSES_ALL & ~FL_PASS_PRO_CONV)

struct fl_cpu_view fl_cpu_value(const struct fl_prog *p, int32_t v)
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
        view.p = (char *)(p->bf16 ? p->image : p->input) + val->c0 * fl_cpu_elem(p);
    } else {
        view.p = (char *)p->arena + (b->at * p->rows + val->c0) * fl_cpu_elem(p);
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

static void cpu_place(const struct fl_prog *p, const struct fl_step *s, struct fl_cpu_step *c)
{
    c->in = c->src = fl_cpu_value(p, s->in);
    c->in2 = fl_cpu_value(p, s->in2);
    c->out = c->dst = fl_cpu_value(p, s->out);
    if (!fl_cpu_weighted(s))
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
    return (size_t)p->rows * val->h * val->w * val->c * fl_cpu_elem(p);
}

/* What a prog allocates. packed: room for the largest slice that any convolution reads or writes; few nets need it. */
struct cpu_sizes { size_t input, image, out, arena, packed[2]; };

static int cpu_sizes(const struct fl_prog *p, struct cpu_sizes *z)
{
    const struct fl_low *l = p->low;
    size_t image = (size_t)p->rows * l->size * l->size * l->channels;
    if (l->elems > SIZE_MAX / sizeof(float) / p->rows)
        return FL_E_NOMEM;
    *z = (struct cpu_sizes){ .input = image * sizeof(float), .image = p->bf16 ? image * sizeof(uint16_t) : 0,
                             .out = (size_t)p->rows * l->labels * sizeof(float), .arena = l->elems * p->rows * fl_cpu_elem(p) };
    for (uint32_t i = 0; i < l->nsteps; i++) {
        const struct fl_step *s = &l->steps[i];
        int32_t side[2] = { s->in, s->out };
        for (int k = 0; k < 2 && fl_cpu_weighted(s); k++) {
            const struct fl_value *v = fl_low_val(l, side[k]);
            size_t bytes = l->bufs[v->buf].c != v->c ? cpu_bytes(p, side[k]) : 0;
            z->packed[k] = bytes > z->packed[k] ? bytes : z->packed[k];
        }
    }
    return FL_OK;
}

static bool cpu_get(void **to, size_t bytes)
{
    return bytes == 0 || (*to = fl_cpu_alloc(bytes)) != NULL;
}

static int cpu_alloc(struct fl_prog *p)
{
    struct cpu_sizes z;
    if (cpu_sizes(p, &z) != FL_OK)
        return FL_E_NOMEM;
    p->input = fl_cpu_alloc(z.input);
    p->out = fl_cpu_alloc(z.out);
    p->steps = calloc(p->low->nsteps, sizeof *p->steps);
    bool got = p->input != NULL && p->out != NULL && p->steps != NULL;
    return got && cpu_get(&p->arena, z.arena) && cpu_get(&p->image, z.image) && cpu_get(&p->packed[0], z.packed[0]) &&
           cpu_get(&p->packed[1], z.packed[1]) ? FL_OK : FL_E_NOMEM;
}

static struct fl_cpu_shape cpu_shape(const struct fl_prog *p, const struct fl_step *s)
{
    const struct fl_value *in = fl_low_val(p->low, s->in), *out = fl_low_val(p->low, s->out);
    struct fl_cpu_shape shape = {
        .rows = p->rows, .ci = in->c, .ih = in->h, .iw = in->w, .co = out->c, .oh = out->h, .ow = out->w,
        .k = s->k, .stride = s->stride, .pad = s->pad, .groups = s->groups, .sum = s->in2 >= 0, .relu = s->relu,
        .bf16 = p->bf16, .f32_out = !p->bf16 || s->out == p->low->output,
    };
    if (s->kind == FL_OP_LINEAR) {
        shape.ci = in->h * in->w * in->c;
        shape.ih = shape.iw = shape.groups = 1;
    }
    return shape;
}

static int cpu_prims(struct fl_prog *p, struct fl_err *err)
{
    size_t scratch = 0;
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_step *s = &p->low->steps[i];
        struct fl_cpu_step *c = &p->steps[i];
        cpu_place(p, s, c);
        if (!fl_cpu_weighted(s))
            continue;
        struct fl_cpu_shape shape = cpu_shape(p, s);
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

void fl_cpu_prog_free(struct fl_prog *p)
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
    void *const owned[] = { p->scratch_mem, p->arena, p->image, p->packed[0], p->packed[1], p->input, p->out, p->steps, p->seconds };
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
    fl_cpu_threads(p->threads);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no CPU engine");
    if (cpu_alloc(p) != FL_OK)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s with %u rows", p->low->arch, p->rows);
    return cpu_prims(p, err);
}

static struct fl_prog *cpu_new(const struct fl_fwd_opts *o)
{
    struct fl_prog *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->rows = o->rows;
    p->threads = o->threads > 0 ? o->threads : 1;
    p->bf16 = o->prec == FL_PREC_BF16;
    return p;
}

static int cpu_check(const struct fl_fwd_opts *o, struct fl_err *err)
{
    if (o->prec != FL_PREC_F32 && o->prec != FL_PREC_BF16)
        return fl_err_set(err, FL_E_CONFIG, "cpu: computes in f32 or bf16 only");
    if (!fl_backend_cpu.takes(o->device, o->prec))
        return fl_err_set(err, FL_E_DEVICE, "cpu: this processor has no bf16 instructions (AVX512_BF16)");
    return o->rows == 0 ? fl_err_set(err, FL_E_CONFIG, "cpu: 0 rows") : FL_OK;
}

int fl_cpu_compile_passes(const struct fl_net *net, unsigned passes, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    int code = cpu_check(o, err);
    if (code != FL_OK)
        return code;
    struct fl_prog *p = cpu_new(o);
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a network");
    code = cpu_build(p, net, passes, err);
    if (code != FL_OK) {
        fl_cpu_prog_free(p);
        return code;
    }
    *out = p;
    return FL_OK;
}

/* ---- what it will take ---- */

static int cpu_count(struct fl_prog *p, const struct fl_net *net, struct fl_fwd_memory *out, struct fl_err *err)
{
    struct cpu_sizes z;
    size_t scratch = 0;
    int code = fl_lower(net, CPU_PASSES, &p->low, err);
    if (code != FL_OK)
        return code;
    fl_cpu_threads(p->threads);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no CPU engine");
    if (cpu_sizes(p, &z) != FL_OK)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s with %u rows", p->low->arch, p->rows);
    *out = (struct fl_fwd_memory){ 0 };
    for (uint32_t i = 0; i < p->low->nsteps && code == FL_OK; i++) {
        const struct fl_step *s = &p->low->steps[i];
        struct fl_cpu_prim prim = { 0 };
        if (s->kind == FL_OP_BN || s->pro >= 0)
            out->snap += 2 * sizeof(float) * fl_low_val(p->low, s->in)->c;
        if (!fl_cpu_weighted(s))
            continue;
        struct fl_cpu_shape shape = cpu_shape(p, s);
        code = fl_cpu_prim_desc(&prim, p->engine, &shape, err);
        out->snap += fl_cpu_prim_weights(&prim);
        scratch = prim.scratch > scratch ? prim.scratch : scratch;
        fl_cpu_prim_done(&prim);
    }
    out->prog = z.input + z.image + z.out + z.arena + z.packed[0] + z.packed[1] + scratch;
    return code;
}

int fl_cpu_memory(const struct fl_net *net, const struct fl_fwd_opts *o, struct fl_fwd_memory *out, struct fl_err *err)
{
    int code = cpu_check(o, err);
    struct fl_prog *p = code == FL_OK ? cpu_new(o) : NULL;
    if (code == FL_OK)
        code = p != NULL ? cpu_count(p, net, out, err) : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a network");
    fl_cpu_prog_free(p);
    return code;
}
