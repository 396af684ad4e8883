/* From the lowered network to the list that the device runs. */
#include "stages/forward/cuda/program.h"

#include <stdlib.h>
#include <string.h>

/* A residual sum is not made in place: cuDNN doesn't promise that a result may be its own residual. */
#define PROGRAM_PASSES (FL_PASSES_ALL & ~FL_PASS_SUM)

static uint32_t program_round(uint32_t c, uint32_t to) { return (c + to - 1) / to * to; }

static size_t program_align(size_t n) { return (n + FL_CU_ALIGN - 1) / FL_CU_ALIGN * FL_CU_ALIGN; }

/* ---- where things lie ---- */

static bool program_fills(const struct fl_low *l, int32_t v)
{
    return l->vals[v].c0 == 0 && l->vals[v].c == l->bufs[l->vals[v].buf].c;
}

/* The input has 4 channels where only convolutions read it. */
static uint32_t program_input_pad(const struct fl_low *l)
{
    for (uint32_t i = 0; i < l->nsteps; i++)
        if ((l->steps[i].in == l->input || l->steps[i].in2 == l->input) && (l->steps[i].kind != FL_OP_CONV || l->steps[i].in2 == l->input))
            return FL_CU_PAD;
    return l->channels <= 4 ? 4 : FL_CU_PAD;
}

/* Pads values that fill their buffer, and the buffer. Slices must be whole groups of channels already. */
static int program_pad(struct fl_cu_program *p, struct fl_err *err)
{
    struct fl_low *l = p->low;
    for (uint32_t v = 0; v < l->nvals; v++) {
        struct fl_value *x = &l->vals[v];
        if (x->buf < 0 || program_fills(l, (int32_t)v))
            continue;
        if (x->c0 % FL_CU_PAD != 0 || x->c % FL_CU_PAD != 0)
            return fl_err_set(err, FL_E_DEVICE, "cuda: %s: channels %u..%u of %u are no multiples of %u", l->arch, x->c0, x->c0 + x->c,
                              l->bufs[x->buf].c, FL_CU_PAD);
    }
    p->channels = program_input_pad(l);
    for (uint32_t v = 0; v < l->nvals; v++)
        if (l->vals[v].buf >= 0 && program_fills(l, (int32_t)v))
            l->vals[v].c = program_round(l->vals[v].c, (int32_t)v == l->input ? p->channels : FL_CU_PAD);
    for (uint32_t b = 0; b < l->nbufs; b++)
        l->bufs[b].c = program_round(l->bufs[b].c, (int32_t)b == l->vals[l->input].buf ? p->channels : FL_CU_PAD);
    return fl_low_arena(l, PROGRAM_PASSES, err);
}

static struct fl_cu_view program_view(const struct fl_cu_program *p, int32_t v)
{
    if (v < 0)
        return (struct fl_cu_view){ 0 };
    const struct fl_value *x = fl_low_val(p->low, v);
    const struct fl_buf *b = &p->low->bufs[x->buf];
    struct fl_cu_view view = { FL_CU_ARENA, (uint8_t)p->type, (b->at * p->rows + x->c0) * fl_cu_bytes(p->type), x->h, x->w, x->c, b->c };
    if (v == p->low->input) {
        view.area = FL_CU_INPUT;
        view.at = 0;
    } else if (v == p->low->output) {
        view = (struct fl_cu_view){ FL_CU_LOGITS, FL_CU_F32, 0, x->h, x->w, x->c, x->c };
    }
    return view;
}

static size_t program_take(struct fl_cu_program *p, size_t bytes)
{
    size_t at = p->weight_bytes;
    p->weight_bytes += program_align(bytes);
    return at;
}

/* ---- operations ---- */

static struct fl_cu_layer program_layer(const struct fl_cu_program *p, const struct fl_step *s, const struct fl_cu_op *op)
{
    struct fl_cu_layer l = {
        .rows = p->rows, .ih = op->in.h, .iw = op->in.w, .ci = op->in.c, .oh = op->out.h, .ow = op->out.w, .co = op->out.c,
        .k = s->k, .stride = s->stride, .pad = s->pad, .groups = s->groups, .in_stride = op->in.stride, .out_stride = op->out.stride,
        .res_stride = s->in2 >= 0 ? op->in2.stride : 0, .type = (uint8_t)p->type, .out_type = op->out.type,
        .pro = s->pro >= 0, .pro_relu = s->pro_relu, .relu = s->relu,
    };
    if (s->kind == FL_OP_LINEAR) {
        l.ci = l.in_stride = op->in.h * op->in.w * op->in.c;
        l.ih = l.iw = l.k = l.stride = l.groups = 1;
        l.pad = 0;
    }
    /* an f32 bias finds engines that write a slice as it lies; one in the tensors' type, the copying ones */
    l.f32_bias = p->type == FL_CU_F32 || l.out_stride != l.co;
    return l;
}

static int program_conv(struct fl_cu_program *p, const struct fl_step *s, struct fl_cu_op *op, struct fl_err *err)
{
    const struct fl_param *w = &p->low->params[s->w];
    op->kind = FL_CU_CONV;
    op->layer = program_layer(p, s, op);
    const struct fl_cu_layer *l = &op->layer;
    if (s->kind == FL_OP_LINEAR && op->in.stride != op->in.c)
        return fl_err_set(err, FL_E_DEVICE, "cuda: %s: %s reads a channel slice", p->low->arch, w->name);
    if (l->groups > 1 && (w->shape[0] != l->co || w->shape[1] * l->groups != l->ci))
        return fl_err_set(err, FL_E_DEVICE, "cuda: %s: %s has groups of channels that are no multiples of %u", p->low->arch, w->name, FL_CU_PAD);
    op->w = program_take(p, (size_t)l->co * l->k * l->k * (l->ci / l->groups) * fl_cu_bytes(p->type));
    op->bias = program_take(p, l->co * (l->f32_bias ? sizeof(float) : fl_cu_bytes(p->type)));
    if (!l->pro)
        return FL_OK;
    op->bare = *l;
    op->bare.pro = op->bare.pro_relu = false;
    op->bare.in_stride = l->ci;
    op->packed = op->in;
    op->packed.area = FL_CU_SCRATCH;
    op->packed.at = 0;
    op->packed.stride = op->packed.c;
    size_t bytes = (size_t)p->rows * op->in.h * op->in.w * op->in.c * fl_cu_bytes(p->type);
    p->scratch_bytes = bytes > p->scratch_bytes ? bytes : p->scratch_bytes;
    return FL_OK;
}

static void program_own(const struct fl_step *s, struct fl_cu_op *op)
{
    switch (s->kind) {
    case FL_OP_MAX:    op->kind = FL_CU_MAX; break;
    case FL_OP_AVG:
    case FL_OP_ADAPT:
    case FL_OP_MEAN:   op->kind = FL_CU_AVERAGE; break;
    case FL_OP_ADD:    op->kind = FL_CU_ADD; break;
    case FL_OP_CONCAT: op->kind = FL_CU_CONCAT; break;
    default:           op->kind = FL_CU_SCALE; break;
    }
    op->k = s->kind == FL_OP_MAX || s->kind == FL_OP_AVG ? s->k : 0;
    op->relu = s->relu || s->kind == FL_OP_RELU;
}

static int program_op(struct fl_cu_program *p, uint32_t i, struct fl_err *err)
{
    const struct fl_step *s = &p->low->steps[i];
    struct fl_cu_op *op = &p->ops[i];
    *op = (struct fl_cu_op){ .step = i, .relu = s->relu, .pro_relu = s->pro_relu, .stride = s->stride, .pad = s->pad, .in = program_view(p, s->in),
                             .in2 = program_view(p, s->in2), .out = program_view(p, s->out), .w = FL_CU_NONE, .bias = FL_CU_NONE,
                             .scale = FL_CU_NONE, .shift = FL_CU_NONE };
    bool layer = s->kind == FL_OP_CONV || s->kind == FL_OP_LINEAR;
    int code = FL_OK;
    if (layer)
        code = program_conv(p, s, op, err);
    else
        program_own(s, op);
    if (op->kind == FL_CU_CONCAT && op->in.c + op->in2.c != op->out.c)
        code = fl_err_set(err, FL_E_DEVICE, "cuda: %s: a concatenation of %u and %u channels", p->low->arch, op->in.c, op->in2.c);
    if (s->pro >= 0 || s->kind == FL_OP_BN) {
        op->scale = program_take(p, op->in.c * sizeof(float));
        op->shift = program_take(p, op->in.c * sizeof(float));
    }
    return code;
}

static int program_build(struct fl_cu_program *p, struct fl_err *err)
{
    struct fl_low *l = p->low;
    int code = program_pad(p, err);
    if (code != FL_OK)
        return code;
    if (l->elems > SIZE_MAX / sizeof(float) / p->rows || (uint64_t)p->rows * l->size * l->size > INT32_MAX)     /* kernels count pixels in 32 bits */
        return fl_err_set(err, FL_E_NOMEM, "cuda: %s with %u rows", l->arch, p->rows);
    p->ops = calloc(l->nsteps + 1, sizeof *p->ops);
    if (p->ops == NULL)
        return fl_err_set(err, FL_E_NOMEM, "cuda: no memory for %s", l->arch);
    p->nops = l->nsteps;
    for (uint32_t i = 0; i < l->nsteps && code == FL_OK; i++)
        code = program_op(p, i, err);
    p->input_bytes = (size_t)p->rows * l->size * l->size * p->channels * fl_cu_bytes(p->type);
    p->arena_bytes = l->elems * p->rows * fl_cu_bytes(p->type);
    p->logits = fl_low_val(l, l->output)->c;
    p->logits_bytes = (size_t)p->rows * p->logits * sizeof(float);
    return code;
}

int fl_cu_program_make(const struct fl_net *net, uint32_t rows, int prec, struct fl_cu_program *out, struct fl_err *err)
{
    struct fl_cu_program p = { .rows = rows, .type = prec == FL_PREC_F16 ? FL_CU_F16 : prec == FL_PREC_BF16 ? FL_CU_BF16 : FL_CU_F32 };
    if (prec != FL_PREC_F32 && prec != FL_PREC_F16 && prec != FL_PREC_BF16)
        return fl_err_set(err, FL_E_CONFIG, "cuda: computes in f32, f16 or bf16");
    if (rows == 0)
        return fl_err_set(err, FL_E_CONFIG, "cuda: 0 rows");
    int code = fl_lower(net, PROGRAM_PASSES, &p.low, err);
    if (code == FL_OK)
        code = program_build(&p, err);
    if (code == FL_OK)
        *out = p;
    else
        fl_cu_program_done(&p);
    return code;
}

void fl_cu_program_done(struct fl_cu_program *p)
{
    fl_low_free(p->low);
    free(p->ops);
    memset(p, 0, sizeof *p);
}
