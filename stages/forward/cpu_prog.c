/* Compiling for the CPU executor: where each value lies, and the kernel of each step. */
#include <stdlib.h>
#include <string.h>

#include "stages/forward/cpu.h"

#define CPU_GROUP 16                       /* channels of the narrowest group */
#define CPU_PART  4                        /* rows at a time, while images are large */
#define CPU_SMALL 64                       /* pixels of an image that is not */
#define CPU_CHUNK ((size_t)512 << 10)      /* bytes of a gathered piece: with the weights, half of a second-level cache */

/* ---- parts of the rows ---- */

/* Is the buffer only of steps before the cut? */
static bool cpu_of_part(const struct fl_prog *p, const struct fl_buf *b) { return b->last <= (int32_t)p->cut; }

/* Elements of one row that are handed over where the steps from c on begin. */
static size_t cpu_handed(const struct fl_low *l, uint32_t c)
{
    size_t n = 0;
    for (uint32_t i = 0; i < l->nbufs; i++)
        if (l->bufs[i].first <= (int32_t)c && l->bufs[i].last > (int32_t)c)
            n += (size_t)l->bufs[i].h * l->bufs[i].w * l->bufs[i].c;
    return n;
}

/* The first layer with a small result, or up to two steps before it if less is handed over there. */
static uint32_t cpu_cut(const struct fl_low *l)
{
    uint32_t first = 0;
    for (; first < l->nsteps; first++) {
        const struct fl_value *v = fl_low_val(l, l->steps[first].out);
        if (fl_cpu_weighted(&l->steps[first]) && (uint64_t)v->h * v->w <= CPU_SMALL)
            break;
    }
    uint32_t best = first;
    for (uint32_t c = first > 2 ? first - 2 : 1; c < first && first < l->nsteps; c++)
        best = cpu_handed(l, c) < cpu_handed(l, best) ? c : best;
    return best;
}

/* The largest divisor, since every part has the same kernels; small batches are one part. */
static uint32_t cpu_part(uint32_t rows)
{
    uint32_t part = rows < 2 * CPU_PART ? rows : CPU_PART;
    while (rows % part != 0)
        part--;
    return part;
}

static uint32_t cpu_rows(const struct fl_prog *p, uint32_t step) { return step < p->cut ? p->part : p->rows; }

/* ---- where values lie ---- */

static void *cpu_at(void *base, size_t bytes) { return base != NULL ? (char *)base + bytes : NULL; }

struct fl_cpu_view fl_cpu_value(const struct fl_prog *p, int32_t v)
{
    if (v < 0)
        return (struct fl_cpu_view){ 0 };
    const struct fl_value *val = fl_low_val(p->low, v);
    const struct fl_buf *b = &p->low->bufs[val->buf];
    struct fl_cpu_view view = { NULL, b->c, val->h, val->w, val->c, p->bf16 };
    bool part = cpu_of_part(p, b);
    if (v == p->low->output) {
        view.p = p->out;
        view.stride = val->c;
        view.bf16 = false;
    } else if (v == p->low->input) {
        view.p = cpu_at(p->bf16 ? p->image : p->input, val->c0 * fl_cpu_elem(p));
    } else {
        view.p = cpu_at(p->arena[!part], (b->at * (part ? p->part : p->rows) + val->c0) * fl_cpu_elem(p));
    }
    return view;
}

static bool cpu_moves(const struct fl_prog *p, int32_t v)
{
    return v >= 0 && (v == p->low->input || v == p->low->output || !cpu_of_part(p, &p->low->bufs[fl_low_val(p->low, v)->buf]));
}

static bool cpu_packed(const struct fl_cpu_view *v) { return v->stride == v->c; }

static struct fl_cpu_view cpu_pack(const struct fl_prog *p, struct fl_cpu_view v, int which)
{
    v.p = p->packed[which];
    v.stride = v.c;
    v.bf16 = p->bf16;
    return v;
}

/* A 1x1 convolution with a gather goes by pieces that stay in the cache in between: whole images, or lines of one. */
static void cpu_chunks(struct fl_cpu_step *c, const struct fl_step *s, size_t elem)
{
    uint32_t all = c->rows * c->in.h;
    size_t line = (size_t)c->in.w * c->in.c * elem;
    c->lines = all;
    if (c->gather && s->kind == FL_OP_CONV && s->k == 1 && s->stride == 1 && s->pad == 0)
        for (uint32_t n = 1; n <= all; n++)
            if (all % n == 0 && all / n * line <= CPU_CHUNK) {
                c->lines = all / n;
                break;
            }
    c->chunks = all / c->lines;
}

/* What follows from the lowered step alone; views have places only when the prog has memory. */
static void cpu_place(const struct fl_prog *p, uint32_t i, struct fl_cpu_step *c)
{
    const struct fl_step *s = &p->low->steps[i];
    c->in = c->src = fl_cpu_value(p, s->in);
    c->in2 = fl_cpu_value(p, s->in2);
    c->out = c->dst = fl_cpu_value(p, s->out);
    c->rows = cpu_rows(p, i);
    if (i < p->cut)
        c->moves = (uint8_t)((cpu_moves(p, s->in) ? CPU_IN : 0) | (cpu_moves(p, s->in2) ? CPU_IN2 : 0) | (cpu_moves(p, s->out) ? CPU_OUT : 0));
    if (!fl_cpu_weighted(s))
        return;
    c->gather = !cpu_packed(&c->in) || s->pro >= 0;
    c->scatter = !cpu_packed(&c->out);
    if (c->gather)
        c->src = cpu_pack(p, c->in, 0);
    if (c->scatter)
        c->dst = cpu_pack(p, c->out, 1);
    c->copy_sum = s->kind == FL_OP_CONV && s->in2 >= 0 && (c->scatter || s->out == p->low->output || fl_low_val(p->low, s->in2)->buf != fl_low_val(p->low, s->out)->buf);
    cpu_chunks(c, s, fl_cpu_elem(p));
}

/* ---- memory ---- */

/* What a prog allocates. packed: room for the largest piece that any convolution reads or writes; few nets need it. */
struct cpu_sizes { size_t input, image, out, arena[2], packed[2]; };

static void cpu_sizes_packed(const struct fl_prog *p, struct cpu_sizes *z)
{
    for (uint32_t i = 0; i < p->low->nsteps; i++) {
        const struct fl_cpu_step *c = &p->steps[i];
        size_t in = c->gather ? (size_t)c->lines * c->in.w * c->in.c * fl_cpu_elem(p) : 0;
        size_t out = c->scatter ? (size_t)c->rows * c->out.h * c->out.w * c->out.c * fl_cpu_elem(p) : 0;
        z->packed[0] = in > z->packed[0] ? in : z->packed[0];
        z->packed[1] = out > z->packed[1] ? out : z->packed[1];
    }
}

static int cpu_sizes(const struct fl_prog *p, struct cpu_sizes *z)
{
    const struct fl_low *l = p->low;
    size_t image = (size_t)p->rows * l->size * l->size * l->channels, ends[2] = { 0, 0 };
    if (l->elems > SIZE_MAX / sizeof(float) / p->rows)
        return FL_E_NOMEM;
    for (uint32_t i = 0; i < l->nbufs; i++) {
        const struct fl_buf *b = &l->bufs[i];
        size_t end = b->at + (size_t)b->h * b->w * b->c, *most = &ends[!cpu_of_part(p, b)];
        if (b->last >= 0 && (int32_t)i != l->vals[l->input].buf && end > *most)
            *most = end;
    }
    *z = (struct cpu_sizes){ .input = image * sizeof(float), .image = p->bf16 ? image * sizeof(uint16_t) : 0,
                             .out = (size_t)p->rows * l->labels * sizeof(float),
                             .arena = { ends[0] * p->part * fl_cpu_elem(p), ends[1] * p->rows * fl_cpu_elem(p) } };
    cpu_sizes_packed(p, z);
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
    bool got = p->input != NULL && p->out != NULL;
    return got && cpu_get(&p->arena[0], z.arena[0]) && cpu_get(&p->arena[1], z.arena[1]) && cpu_get(&p->image, z.image) && cpu_get(&p->packed[0], z.packed[0]) &&
           cpu_get(&p->packed[1], z.packed[1]) ? FL_OK : FL_E_NOMEM;
}

/* oneDNN is slow on groups narrower than a vector: several are computed as one, with zeros where they don't meet. 4 channels in
 * 16 take four times the products at seven times the rate. */
static uint32_t cpu_groups(uint32_t ci, uint32_t co, uint32_t groups)
{
    while (groups % 2 == 0 && groups > 2 && ci / groups < CPU_GROUP && co / groups < CPU_GROUP)
        groups /= 2;
    return groups;
}

static struct fl_cpu_shape cpu_shape(const struct fl_prog *p, uint32_t i)
{
    const struct fl_step *s = &p->low->steps[i];
    const struct fl_cpu_step *c = &p->steps[i];
    const struct fl_value *in = fl_low_val(p->low, s->in), *out = fl_low_val(p->low, s->out);
    struct fl_cpu_shape shape = {
        .rows = c->rows, .ci = in->c, .ih = in->h, .iw = in->w, .co = out->c, .oh = out->h, .ow = out->w,
        .k = s->k, .stride = s->stride, .pad = s->pad, .groups = s->groups, .sum = s->in2 >= 0, .relu = s->relu,
        .bf16 = p->bf16, .f32_out = !p->bf16 || s->out == p->low->output,
    };
    if (s->kind == FL_OP_CONV)
        shape.groups = cpu_groups(in->c, out->c, s->groups);
    if (c->chunks > 1) {
        shape.rows = 1;
        shape.ih = shape.oh = c->lines;
    }
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
        struct fl_cpu_step *c = &p->steps[i];
        cpu_place(p, i, c);
        if (!fl_cpu_weighted(&p->low->steps[i]))
            continue;
        struct fl_cpu_shape shape = cpu_shape(p, i);
        int code = fl_cpu_prim_init(&c->prim, p->engine, &shape, err);
        if (code != FL_OK)
            return fl_err_context(err, "%s", p->low->arch);
        scratch = c->prim.scratch > scratch ? c->prim.scratch : scratch;
    }
    return fl_cpu_scratch(p->engine, scratch, &p->scratch, &p->scratch_mem, err);
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
    void *const owned[] = { p->scratch_mem, p->arena[0], p->arena[1], p->image, p->packed[0], p->packed[1], p->input, p->out, p->steps, p->seconds };
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    fl_low_free(p->low);
    free(p);
}

/* Lowers, and sees what lies where but for places in memory. */
static int cpu_plan(struct fl_prog *p, const struct fl_net *net, unsigned passes, struct fl_err *err)
{
    int code = fl_lower(net, passes, &p->low, err);
    if (code != FL_OK)
        return code;
    p->part = p->whole ? p->rows : cpu_part(p->rows);
    p->cut = cpu_cut(p->low);
    fl_cpu_threads(p->threads);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no CPU engine");
    if ((p->steps = calloc(p->low->nsteps, sizeof *p->steps)) == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s", p->low->arch);
    for (uint32_t i = 0; i < p->low->nsteps; i++)
        cpu_place(p, i, &p->steps[i]);
    return FL_OK;
}

static int cpu_build(struct fl_prog *p, const struct fl_net *net, unsigned passes, struct fl_err *err)
{
    int code = cpu_plan(p, net, passes, err);
    if (code != FL_OK)
        return code;
    if (dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        return fl_err_set(err, FL_E_DEVICE, "cpu: oneDNN has no stream");
    if (cpu_alloc(p) != FL_OK)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s with %u rows", p->low->arch, p->rows);
    return cpu_prims(p, err);
}

static struct fl_prog *cpu_new(const struct fl_fwd_opts *o)
{
    struct fl_prog *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->kern = fl_cpu_kernels_best();
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

int fl_cpu_build(const struct fl_net *net, unsigned passes, bool whole, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    int code = cpu_check(o, err);
    if (code != FL_OK)
        return code;
    struct fl_prog *p = cpu_new(o);
    if (p == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for a network");
    p->whole = whole;
    code = cpu_build(p, net, passes, err);
    if (code != FL_OK) {
        fl_cpu_prog_free(p);
        return code;
    }
    *out = p;
    return FL_OK;
}

int fl_cpu_compile_passes(const struct fl_net *net, unsigned passes, const struct fl_fwd_opts *o, struct fl_prog **out, struct fl_err *err)
{
    return fl_cpu_build(net, passes, false, o, out, err);
}

/* ---- what it will take ---- */

static int cpu_count(struct fl_prog *p, const struct fl_net *net, struct fl_fwd_memory *out, struct fl_err *err)
{
    struct cpu_sizes z;
    size_t scratch = 0;
    int code = cpu_plan(p, net, FL_PASSES_ALL, err);
    if (code != FL_OK)
        return code;
    if (cpu_sizes(p, &z) != FL_OK)
        return fl_err_set(err, FL_E_NOMEM, "cpu: no memory for %s with %u rows", p->low->arch, p->rows);
    *out = (struct fl_fwd_memory){ 0 };
    for (uint32_t i = 0; i < p->low->nsteps && code == FL_OK; i++) {
        struct fl_cpu_prim *prim = &p->steps[i].prim;
        if (!fl_cpu_weighted(&p->low->steps[i]))
            continue;
        struct fl_cpu_shape shape = cpu_shape(p, i);
        code = fl_cpu_prim_desc(prim, p->engine, &shape, err);
        scratch = prim->scratch > scratch ? prim->scratch : scratch;
    }
    if (code == FL_OK)
        out->snap = fl_cpu_snap_bytes(p);
    out->prog = z.input + z.image + z.out + z.arena[0] + z.arena[1] + z.packed[0] + z.packed[1] + scratch;
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
