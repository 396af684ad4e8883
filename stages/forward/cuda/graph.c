/* Layers as cuDNN operation graphs.
 *
 * The order of the operations is the planner's taste: residual before bias, bias in the tensors' type and virtual tensors in f32 find the
 * precompiled tensor-core engines; a prologue, a result in a channel slice or an f32 bias are compiled at run time. */
#include "stages/forward/cuda/graph.h"

#include <string.h>

static cudnnDataType_t graph_type(int type)
{
    return type == FL_CU_F16 ? CUDNN_DATA_HALF : type == FL_CU_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* ---- tensors ---- */

struct graph_shape { int64_t n, c, h, w, stride; };       /* stride: from pixel to pixel */

static cudnnBackendDescriptor_t graph_tensor(struct fl_be_bag *b, int64_t id, cudnnDataType_t type, struct graph_shape s, bool is_virtual)
{
    cudnnBackendDescriptor_t d = fl_be_new(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t dims[4] = { s.n, s.c, s.h, s.w }, strides[4] = { s.h * s.w * s.stride, 1, s.w * s.stride, s.stride }, align = 16;
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    fl_be_set(b, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    fl_be_finalize(b, d, "a tensor");
    return d;
}

/* ---- operations ---- */

#define GRAPH_OPS 8
struct graph { struct fl_be_bag *b; const struct fl_cu_layer *l; cudnnBackendDescriptor_t op[GRAPH_OPS]; int64_t nops, next; };

/* out: the graph's result, or NULL for a new virtual tensor, which is returned. */
static cudnnBackendDescriptor_t graph_pointwise(struct graph *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t with,
                                                cudnnBackendDescriptor_t out, struct graph_shape s, cudnnDataType_t virtual_type)
{
    cudnnDataType_t f32 = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t y = out != NULL ? out : graph_tensor(g->b, g->next++, virtual_type, s, true);
    cudnnBackendDescriptor_t p = fl_be_new(g->b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    fl_be_set(g->b, p, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    fl_be_set(g->b, p, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &f32);
    fl_be_finalize(g->b, p, "a pointwise step");
    cudnnBackendDescriptor_t op = fl_be_new(g->b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    if (with != NULL)
        fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &with);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y);
    fl_be_finalize(g->b, op, "a pointwise operation");
    g->op[g->nops++] = op;
    return y;
}

static void graph_conv(struct graph *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y)
{
    cudnnDataType_t f32 = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t two = 2, one[2] = { 1, 1 }, strides[2] = { g->l->stride, g->l->stride }, pads[2] = { g->l->pad, g->l->pad };
    float alpha = 1, beta = 0;
    cudnnBackendDescriptor_t c = fl_be_new(g->b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &f32);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &two);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, one);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    fl_be_set(g->b, c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    fl_be_finalize(g->b, c, "a convolution");
    cudnnBackendDescriptor_t op = fl_be_new(g->b, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha);
    fl_be_set(g->b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &beta);
    fl_be_finalize(g->b, op, "a convolution's operation");
    g->op[g->nops++] = op;
}

/* The input after scale, shift and ReLU, or as it is. */
static cudnnBackendDescriptor_t graph_prologue(struct graph *g)
{
    const struct fl_cu_layer *l = g->l;
    cudnnDataType_t type = graph_type(l->type), f32 = CUDNN_DATA_FLOAT;
    struct graph_shape in = { l->rows, l->ci, l->ih, l->iw, l->in_stride }, packed = in, channel = { 1, l->ci, 1, 1, l->ci };
    packed.stride = l->ci;
    cudnnBackendDescriptor_t x = graph_tensor(g->b, FL_CU_ID_X, type, in, false);
    if (!l->pro)
        return x;
    cudnnBackendDescriptor_t scale = graph_tensor(g->b, FL_CU_ID_SCALE, f32, channel, false), shift = graph_tensor(g->b, FL_CU_ID_SHIFT, f32, channel, false);
    x = graph_pointwise(g, CUDNN_POINTWISE_MUL, x, scale, NULL, packed, f32);
    x = graph_pointwise(g, CUDNN_POINTWISE_ADD, x, shift, NULL, packed, l->pro_relu ? f32 : type);
    return l->pro_relu ? graph_pointwise(g, CUDNN_POINTWISE_RELU_FWD, x, NULL, NULL, packed, type) : x;
}

/* What follows the convolution's sums, into the result. */
static void graph_epilogue(struct graph *g, cudnnBackendDescriptor_t sums, struct graph_shape packed)
{
    const struct fl_cu_layer *l = g->l;
    cudnnDataType_t type = graph_type(l->type), f32 = CUDNN_DATA_FLOAT;
    struct graph_shape out = packed, res = packed, channel = { 1, l->co, 1, 1, l->co };
    out.stride = l->out_stride;
    res.stride = l->res_stride;
    cudnnBackendDescriptor_t y = graph_tensor(g->b, FL_CU_ID_Y, graph_type(l->out_type), out, false);
    if (l->res_stride > 0)
        sums = graph_pointwise(g, CUDNN_POINTWISE_ADD, sums, graph_tensor(g->b, FL_CU_ID_RES, type, res, false), NULL, packed, f32);
    cudnnBackendDescriptor_t bias = graph_tensor(g->b, FL_CU_ID_BIAS, l->f32_bias ? f32 : type, channel, false);
    sums = graph_pointwise(g, CUDNN_POINTWISE_ADD, sums, bias, l->relu ? NULL : y, packed, f32);
    if (l->relu)
        graph_pointwise(g, CUDNN_POINTWISE_RELU_FWD, sums, NULL, y, packed, f32);
}

cudnnBackendDescriptor_t fl_cu_graph(struct fl_be_bag *b, const struct fl_cu_layer *l)
{
    struct graph g = { .b = b, .l = l, .next = 100 };
    struct graph_shape packed = { l->rows, l->co, l->oh, l->ow, l->co }, filter = { l->co, l->ci / l->groups, l->k, l->k, l->ci / l->groups };
    cudnnBackendDescriptor_t x = graph_prologue(&g), w = graph_tensor(b, FL_CU_ID_W, graph_type(l->type), filter, false);
    cudnnBackendDescriptor_t sums = graph_tensor(b, g.next++, CUDNN_DATA_FLOAT, packed, true);
    graph_conv(&g, x, w, sums);
    graph_epilogue(&g, sums, packed);
    cudnnBackendDescriptor_t all = fl_be_new(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    fl_be_set(b, all, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g.nops, g.op);
    fl_be_finalize(b, all, "a graph");
    return b->code == FL_OK ? all : NULL;
}

/* ---- planning ---- */

#define GRAPH_HEURS 64

static bool graph_noted(cudnnBackendDescriptor_t engine, cudnnBackendNumericalNote_t note)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, notes) != CUDNN_STATUS_SUCCESS)
        return true;          /* unknown is not allowed */
    for (int64_t i = 0; i < n && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        if (notes[i] == note)
            return true;
    return false;
}

static bool graph_compiles(cudnnBackendDescriptor_t engine)
{
    cudnnBackendBehaviorNote_t notes[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &n, notes) != CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < n && i < CUDNN_BEHAVIOR_NOTE_TYPE_COUNT; i++)
        if (notes[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return true;
    return false;
}

static bool graph_allowed(cudnnBackendDescriptor_t engine, bool exact)
{
    if (graph_noted(engine, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) || graph_noted(engine, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION))
        return false;
    return !exact || !(graph_noted(engine, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) || graph_noted(engine, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

/* Engine and knobs of a configuration; false when it has more of them than fit, or cuDNN doesn't tell. */
static bool graph_read(struct fl_be_bag *b, cudnnBackendDescriptor_t cfg, cudnnBackendDescriptor_t engine, struct fl_cu_config *out)
{
    cudnnBackendDescriptor_t knob[FL_CU_KNOBS];
    int64_t n = 0;
    memset(out, 0, sizeof *out);
    if (!fl_be_get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, &out->engine))
        return false;
    for (int i = 0; i < FL_CU_KNOBS; i++)
        knob[i] = fl_be_new(b, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (b->code != FL_OK || cudnnBackendGetAttribute(cfg, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, FL_CU_KNOBS, &n, (void *)knob) != CUDNN_STATUS_SUCCESS || n > FL_CU_KNOBS)
        return false;
    for (int64_t i = 0; i < n; i++) {
        cudnnBackendKnobType_t type;
        if (!fl_be_get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &type) ||
            !fl_be_get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, &out->knob[i].value))
            return false;
        out->knob[i].type = (int32_t)type;
    }
    out->nknobs = (uint32_t)n;
    return true;
}

/* Appends the configuration if it may be used. */
static void graph_consider(cudnnBackendDescriptor_t cfg, bool exact, struct fl_cu_config *out, uint32_t max, uint32_t *n, uint32_t *rt)
{
    struct fl_be_bag b;
    fl_be_init(&b, NULL);
    cudnnBackendDescriptor_t engine = fl_be_new(&b, CUDNN_BACKEND_ENGINE_DESCRIPTOR);     /* filled by the call: a fresh one each time */
    if (b.code == FL_OK && *n < max && fl_be_get(cfg, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, (void *)&engine) &&
        graph_allowed(engine, exact) && graph_read(&b, cfg, engine, &out[*n])) {
        *rt += graph_compiles(engine);
        ++*n;
    }
    fl_be_done(&b);
}

static int graph_ask(const struct fl_cu_target *t, cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode, bool exact, struct fl_cu_config *out,
                     uint32_t max, uint32_t *n, uint32_t *rt, struct fl_err *err)
{
    struct fl_be_bag b, results;
    cudnnBackendDescriptor_t cfg[GRAPH_HEURS];
    int64_t got = 0;
    fl_be_init(&b, err);
    fl_be_init(&results, err);
    cudnnBackendDescriptor_t heur = fl_be_new(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    fl_be_set(&b, heur, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    fl_be_set(&b, heur, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (t->handle == NULL)
        fl_be_set(&b, heur, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t->described);
    fl_be_finalize(&b, heur, "the planner");
    for (int i = 0; i < GRAPH_HEURS; i++)
        cfg[i] = fl_be_new(&results, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    int code = b.code != FL_OK ? b.code : results.code;
    if (code == FL_OK) {
        cudnnStatus_t st = cudnnBackendGetAttribute(heur, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, GRAPH_HEURS, &got, (void *)cfg);
        code = st == CUDNN_STATUS_SUCCESS ? FL_OK : fl_be_fail(err, st, "the planner's list");
    }
    for (int64_t i = 0; i < got && i < GRAPH_HEURS && code == FL_OK; i++)
        graph_consider(cfg[i], exact, out, max, n, rt);
    fl_be_done(&results);
    fl_be_done(&b);
    return code;
}

int fl_cu_configs(const struct fl_cu_target *t, cudnnBackendDescriptor_t graph, bool exact, struct fl_cu_config *out, uint32_t max, uint32_t *rt,
                  struct fl_err *err)
{
    static const cudnnBackendHeurMode_t modes[] = { CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK };
    uint32_t n = 0;
    int code = FL_OK;
    *rt = 0;
    for (size_t m = 0; m < sizeof modes / sizeof modes[0] && n == 0; m++)
        code = graph_ask(t, graph, modes[m], exact, out, max, &n, rt, err);
    return n > 0 ? (int)n : code;
}

int fl_cu_plan(const struct fl_cu_target *t, cudnnBackendDescriptor_t graph, const struct fl_cu_config *c, cudnnBackendDescriptor_t *plan,
               int64_t *workspace, struct fl_err *err)
{
    struct fl_be_bag b;
    cudnnBackendDescriptor_t knob[FL_CU_KNOBS];
    fl_be_init(&b, err);
    cudnnBackendDescriptor_t engine = fl_be_new(&b, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    fl_be_set(&b, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    fl_be_set(&b, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c->engine);
    if (t->handle == NULL)
        fl_be_set(&b, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t->described);
    fl_be_finalize(&b, engine, "an engine");
    for (uint32_t i = 0; i < c->nknobs; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)c->knob[i].type;
        knob[i] = fl_be_new(&b, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        fl_be_set(&b, knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        fl_be_set(&b, knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &c->knob[i].value);
        fl_be_finalize(&b, knob[i], "an engine's setting");
    }
    cudnnBackendDescriptor_t cfg = fl_be_new(&b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    fl_be_set(&b, cfg, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    if (c->nknobs > 0)
        fl_be_set(&b, cfg, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, c->nknobs, knob);
    fl_be_finalize(&b, cfg, "an engine's configuration");
    cudnnBackendDescriptor_t p = fl_be_new(&b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (t->handle != NULL)
        fl_be_set(&b, p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &t->handle);
    else
        fl_be_set(&b, p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t->described);
    fl_be_set(&b, p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &cfg);
    fl_be_finalize(&b, p, "a plan");
    if (b.code == FL_OK && !fl_be_get(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, workspace))
        b.code = fl_err_set(err, FL_E_DEVICE, "cuDNN: a plan doesn't tell its workspace");
    if (b.code == FL_OK)
        *plan = fl_be_take(&b, p);
    fl_be_done(&b);
    return b.code;
}
