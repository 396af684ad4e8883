/* One operation on the card. */
#include "stages/forward/cuda/device.h"
#include "stages/forward/cuda/launch.h"

static void *execute_at(void *base, size_t at) { return at == FL_CU_NONE ? NULL : (char *)base + at; }

static struct fl_cu_image execute_image(const struct fl_prog *g, const struct fl_cu_view *v)
{
    return (struct fl_cu_image){ (char *)g->area[v->area] + v->at, v->h, v->w, v->c, v->stride, v->type };
}

static int execute_said(int e, const char *what, struct fl_err *err)
{
    return e == 0 ? FL_OK : fl_cu_fail(err, (cudaError_t)e, what);
}

int fl_cu_prologue(struct fl_prog *g, const struct fl_cu_op *op, void *block, struct fl_err *err)
{
    struct fl_cu_scale_args a = { execute_image(g, &op->in), execute_image(g, &op->packed), execute_at(block, op->scale), execute_at(block, op->shift), op->pro_relu };
    return execute_said(fl_cu_launch_scale(&a, g->p.rows, g->compute), "a prologue", err);
}

static int execute_scale(struct fl_prog *g, struct fl_cu_image in, struct fl_cu_image out, struct fl_err *err)
{
    struct fl_cu_scale_args a = { in, out, NULL, NULL, 0 };
    return execute_said(fl_cu_launch_scale(&a, g->p.rows, g->compute), "a copy", err);
}

static int execute_concat(struct fl_prog *g, const struct fl_cu_op *op, struct fl_err *err)
{
    struct fl_cu_image a = execute_image(g, &op->in), b = execute_image(g, &op->in2), out = execute_image(g, &op->out), part = out;
    part.c = a.c;
    int code = execute_scale(g, a, part, err);
    part.p = (char *)out.p + a.c * fl_cu_bytes(out.type);
    part.c = b.c;
    return code == FL_OK ? execute_scale(g, b, part, err) : code;
}

static int execute_own(struct fl_prog *g, const struct fl_cu_op *op, void *block, struct fl_err *err)
{
    struct fl_cu_image in = execute_image(g, &op->in), out = execute_image(g, &op->out);
    struct fl_cu_scale_args scale = { in, out, execute_at(block, op->scale), execute_at(block, op->shift), op->relu };
    struct fl_cu_pool_args pool = { in, out, scale.scale, scale.shift, op->pro_relu, op->kind == FL_CU_MAX, op->k, op->stride, op->pad };
    struct fl_cu_add_args add = { in, execute_image(g, &op->in2), out, op->relu };
    switch (op->kind) {
    case FL_CU_SCALE:  return execute_said(fl_cu_launch_scale(&scale, g->p.rows, g->compute), "a scaling", err);
    case FL_CU_ADD:    return execute_said(fl_cu_launch_add(&add, g->p.rows, g->compute), "a sum", err);
    case FL_CU_CONCAT: return execute_concat(g, op, err);
    default:           return execute_said(fl_cu_launch_pool(&pool, g->p.rows, g->compute), "a pool", err);
    }
}

int fl_cu_execute(struct fl_prog *g, uint32_t i, void *block, bool split, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack, struct fl_err *err)
{
    const struct fl_cu_op *op = &g->p.ops[i];
    if (op->kind != FL_CU_CONV)
        return execute_own(g, op, block, err);
    int code = split ? fl_cu_prologue(g, op, block, err) : FL_OK;
    if (code != FL_OK)
        return code;
    cudnnStatus_t st = cudnnBackendExecute(g->handle, plan, pack);
    return st == CUDNN_STATUS_SUCCESS ? FL_OK : fl_be_fail(err, st, "running a convolution");
}

int fl_cu_variant(struct fl_prog *g, uint32_t i, void *block, bool split, void *workspace, cudnnBackendDescriptor_t *out, struct fl_err *err)
{
    const struct fl_cu_op *op = &g->p.ops[i];
    const struct fl_cu_layer *l = split ? &op->bare : &op->layer;
    int64_t id[7] = { FL_CU_ID_X, FL_CU_ID_W, FL_CU_ID_Y, FL_CU_ID_BIAS }, n = 4;
    void *at[7] = { execute_image(g, split ? &op->packed : &op->in).p, execute_at(block, op->w), execute_image(g, &op->out).p, execute_at(block, op->bias) };
    if (l->res_stride > 0) {
        id[n] = FL_CU_ID_RES;
        at[n++] = execute_image(g, &op->in2).p;
    }
    if (l->pro) {
        id[n] = FL_CU_ID_SCALE;
        at[n++] = execute_at(block, op->scale);
        id[n] = FL_CU_ID_SHIFT;
        at[n++] = execute_at(block, op->shift);
    }
    struct fl_be_bag b;
    fl_be_init(&b, err);
    cudnnBackendDescriptor_t v = fl_be_new(&b, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    fl_be_set(&b, v, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, id);
    fl_be_set(&b, v, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, (const void *)at);
    fl_be_set(&b, v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, (const void *)&workspace);
    fl_be_finalize(&b, v, "pointers");
    if (b.code == FL_OK)
        *out = fl_be_take(&b, v);
    fl_be_done(&b);
    return b.code;
}

int fl_cu_eager(struct fl_prog *g, struct fl_snap *s, struct fl_err *err)
{
    int code = FL_OK;
    for (uint32_t i = 0; i < g->p.nops && code == FL_OK; i++) {
        const struct fl_cu_chosen *c = g->p.ops[i].kind == FL_CU_CONV ? &g->chosen[g->use[i]] : NULL;
        code = fl_cu_execute(g, i, s->block, c != NULL && c->choice.split, c != NULL ? c->plan : NULL, s->pack[i], err);
    }
    return code;
}
