/* The device's list of operations in plain loops. */
#include "tests/lib/cuda_twin.h"

#include <stdlib.h>

static size_t twin_bytes(const struct fl_cu_program *p, int area)
{
    const size_t bytes[4] = { p->input_bytes, p->arena_bytes, p->scratch_bytes, p->logits_bytes };
    return bytes[area] + 16;
}

bool twin_init(struct twin *t, const struct fl_cu_program *p)
{
    *t = (struct twin){ .p = p, .weights = malloc(p->weight_bytes + 1) };
    bool ok = t->weights != NULL;
    for (int i = 0; i < 4; i++) {
        t->area[i] = malloc(twin_bytes(p, i));
        ok = ok && t->area[i] != NULL;
        if (t->area[i] != NULL)
            memset(t->area[i], 0xFF, twin_bytes(p, i));      /* NaN in all three types */
    }
    return ok;
}

void twin_done(struct twin *t)
{
    for (int i = 0; i < 4; i++)
        free(t->area[i]);
    free(t->weights);
    memset(t, 0, sizeof *t);
}

void twin_input(struct twin *t, const float *in)
{
    const struct fl_cu_program *p = t->p;
    struct fl_cu_widen_args a = { in, t->area[FL_CU_INPUT], p->low->channels, p->channels, p->type };
    for (uint32_t i = 0; i < p->rows * p->low->size * p->low->size; i++)
        fl_cu_widen_at(&a, i);
}

struct fl_cu_image twin_image(const struct twin *t, const struct fl_cu_view *v)
{
    return (struct fl_cu_image){ (char *)t->area[v->area] + v->at, v->h, v->w, v->c, v->stride, v->type };
}

/* ---- convolutions ---- */

static double twin_at(const struct fl_cu_layer *l, const struct twin_conv *c, uint32_t row, int64_t y, int64_t x, uint32_t ch)
{
    if (y < 0 || x < 0 || y >= l->ih || x >= l->iw)
        return 0;
    float v = fl_cu_load(l->type, c->x, (((size_t)row * l->ih + (size_t)y) * l->iw + (size_t)x) * l->in_stride + ch);
    if (!l->pro)
        return v;
    v = v * c->scale[ch] + c->shift[ch];
    v = l->pro_relu ? fl_cu_relu(v) : v;
    uint16_t r[2];
    fl_cu_store(l->type == FL_CU_F32 ? FL_CU_F16 : l->type, r, 0, v);     /* the tensor cores' operand has the type of the weights */
    return l->type == FL_CU_F32 ? v : fl_cu_load(l->type, r, 0);
}

static double twin_sum(const struct fl_cu_layer *l, const struct twin_conv *c, uint32_t row, uint32_t y, uint32_t x, uint32_t o)
{
    uint32_t per = l->ci / l->groups, first = o / (l->co / l->groups) * per;
    double sum = 0;
    for (uint32_t r = 0; r < l->k; r++)
        for (uint32_t s = 0; s < l->k; s++)
            for (uint32_t i = 0; i < per; i++)
                sum += twin_at(l, c, row, (int64_t)y * l->stride + r - l->pad, (int64_t)x * l->stride + s - l->pad, first + i) *
                       fl_cu_load(l->type, c->w, (((size_t)o * l->k + r) * l->k + s) * per + i);
    return sum;
}

void twin_conv(const struct fl_cu_layer *l, const struct twin_conv *c)
{
    for (uint32_t row = 0; row < l->rows; row++)
        for (uint32_t y = 0; y < l->oh; y++)
            for (uint32_t x = 0; x < l->ow; x++)
                for (uint32_t o = 0; o < l->co; o++) {
                    size_t pixel = ((size_t)row * l->oh + y) * l->ow + x;
                    double v = twin_sum(l, c, row, y, x, o) + fl_cu_load(l->f32_bias ? FL_CU_F32 : l->type, c->bias, o);
                    if (l->res_stride > 0)
                        v += fl_cu_load(l->type, c->res, pixel * l->res_stride + o);
                    fl_cu_store(l->out_type, c->y, pixel * l->out_stride + o, l->relu ? fl_cu_relu((float)v) : (float)v);
                }
}

/* ---- operations ---- */

static const float *twin_floats(const struct twin *t, size_t at)
{
    return at == FL_CU_NONE ? NULL : (const float *)(const void *)((const char *)t->weights + at);
}

static void twin_each(const struct twin *t, const struct fl_cu_image *out, void (*at)(const void *, uint32_t, uint32_t), const void *args)
{
    for (uint32_t i = 0; i < t->p->rows * out->h * out->w; i++)
        for (uint32_t g = 0; g < out->c / FL_CU_GROUP; g++)
            at(args, i, g);
}

static void twin_scale_at(const void *a, uint32_t i, uint32_t g) { fl_cu_scale_at(a, i, g); }
static void twin_add_at(const void *a, uint32_t i, uint32_t g) { fl_cu_add_at(a, i, g); }
static void twin_pool_at(const void *a, uint32_t i, uint32_t g) { fl_cu_pool_at(a, i, g); }

static void twin_scale(struct twin *t, struct fl_cu_image in, struct fl_cu_image out, const float *scale, const float *shift, bool relu)
{
    struct fl_cu_scale_args a = { in, out, scale, shift, relu };
    twin_each(t, &out, twin_scale_at, &a);
}

static void twin_layer(struct twin *t, const struct fl_cu_op *op)
{
    struct fl_cu_image in = twin_image(t, &op->in);
    if (op->w == FL_CU_NONE || op->bias == FL_CU_NONE)
        abort();
    struct twin_conv c = { in.p, twin_floats(t, op->w), twin_image(t, &op->in2).p, twin_floats(t, op->bias), twin_floats(t, op->scale),
                           twin_floats(t, op->shift), twin_image(t, &op->out).p };
    if (op->layer.pro && t->split) {
        struct fl_cu_image packed = twin_image(t, &op->packed);
        twin_scale(t, in, packed, c.scale, c.shift, op->pro_relu);
        c.x = packed.p;
        twin_conv(&op->bare, &c);
    } else {
        twin_conv(&op->layer, &c);
    }
}

static void twin_concat(struct twin *t, const struct fl_cu_op *op)
{
    struct fl_cu_image a = twin_image(t, &op->in), b = twin_image(t, &op->in2), out = twin_image(t, &op->out), part = out;
    part.c = a.c;
    twin_scale(t, a, part, NULL, NULL, false);
    part.p = (char *)out.p + a.c * fl_cu_bytes(out.type);
    part.c = b.c;
    twin_scale(t, b, part, NULL, NULL, false);
}

void twin_op(struct twin *t, const struct fl_cu_op *op)
{
    struct fl_cu_image in = twin_image(t, &op->in), out = twin_image(t, &op->out);
    struct fl_cu_pool_args pool = { in, out, twin_floats(t, op->scale), twin_floats(t, op->shift), op->pro_relu, op->kind == FL_CU_MAX, op->k, op->stride, op->pad };
    struct fl_cu_add_args add = { in, twin_image(t, &op->in2), out, op->relu };
    switch (op->kind) {
    case FL_CU_CONV:
        twin_layer(t, op);
        break;
    case FL_CU_SCALE:
        twin_scale(t, in, out, pool.scale, pool.shift, op->relu);
        break;
    case FL_CU_ADD:
        twin_each(t, &out, twin_add_at, &add);
        break;
    case FL_CU_CONCAT:
        twin_concat(t, op);
        break;
    default:
        twin_each(t, &out, twin_pool_at, &pool);
    }
}

void twin_run(struct twin *t)
{
    for (uint32_t i = 0; i < t->p->nops; i++)
        twin_op(t, &t->p->ops[i]);
}
