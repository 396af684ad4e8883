/* One convolution or linear layer on oneDNN. */
#include "stages/forward/cpu_prim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PRIM_HUGE ((size_t)2 << 20)

/* Large blocks start on a huge page and ask for such pages: a layer walks through megabytes, and its table of pages with it. */
void *fl_cpu_alloc(size_t bytes)
{
    size_t whole = fl_cpu_lines(bytes > 0 ? bytes : 1);
    bool large = bytes >= 2 * PRIM_HUGE;
    void *p = NULL;
    if (whole < bytes || posix_memalign(&p, large ? PRIM_HUGE : FL_CPU_LINE, whole) != 0)
        return NULL;
    if (large)
        madvise(p, whole, MADV_HUGEPAGE);       /* refused where there are none */
    return memset(p, 0, whole);
}

static int prim_fail(struct fl_err *err, dnnl_status_t st, const char *what, const struct fl_cpu_shape *s)
{
    return fl_err_set(err, st == dnnl_out_of_memory ? FL_E_NOMEM : FL_E_DEVICE,
                      "cpu: oneDNN status %d at %s (%u rows, %ux%ux%u to %ux%ux%u, kernel %u, %u groups)", (int)st, what,
                      s->rows, s->ih, s->iw, s->ci, s->oh, s->ow, s->co, s->k, s->groups);
}

/* ---- making one ---- */

static dnnl_status_t prim_attr(const struct fl_cpu_shape *s, dnnl_primitive_attr_t *out)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(out);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (st == dnnl_success)
        st = dnnl_post_ops_create(&ops);
    if (st == dnnl_success && s->sum)
        st = shim_post_sum(ops);
    if (st == dnnl_success && s->relu)
        st = shim_post_relu(ops);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops != NULL)
        dnnl_post_ops_destroy(ops);
    return st;
}

enum { PRIM_SRC, PRIM_W, PRIM_B, PRIM_DST, PRIM_MDS };

static dnnl_status_t prim_weights_md(const struct fl_cpu_shape *s, dnnl_data_type_t type, bool plain, struct shim_own *md)
{
    dnnl_dims_t w = { s->co, s->ci, s->k, s->k }, g = { s->groups, s->co / s->groups, s->ci / s->groups, s->k, s->k };
    if (s->k == 0)
        return shim_md_init(md, 2, w, type, plain ? dnnl_ab : dnnl_format_tag_any);
    if (s->groups > 1)
        return shim_md_init(md, 5, g, type, plain ? dnnl_goihw : dnnl_format_tag_any);
    return shim_md_init(md, 4, w, type, plain ? dnnl_oihw : dnnl_format_tag_any);
}

static dnnl_status_t prim_mds(const struct fl_cpu_shape *s, struct shim_own md[PRIM_MDS])
{
    dnnl_data_type_t type = s->bf16 ? dnnl_bf16 : dnnl_f32, to = s->f32_out ? dnnl_f32 : type;
    dnnl_dims_t src = { s->rows, s->ci, s->ih, s->iw }, dst = { s->rows, s->co, s->oh, s->ow }, bias = { s->co };
    int ndims = s->k == 0 ? 2 : 4;
    dnnl_format_tag_t tag = s->k == 0 ? dnnl_ab : dnnl_nhwc;
    dnnl_status_t st = shim_md_init(&md[PRIM_SRC], ndims, src, type, tag);
    if (st == dnnl_success)
        st = prim_weights_md(s, type, false, &md[PRIM_W]);
    if (st == dnnl_success)
        st = shim_md_init(&md[PRIM_B], 1, bias, dnnl_f32, dnnl_x);
    if (st == dnnl_success)
        st = shim_md_init(&md[PRIM_DST], ndims, dst, to, tag);
    return st;
}

static dnnl_status_t prim_desc(struct fl_cpu_prim *p, dnnl_engine_t engine, struct shim_own md[PRIM_MDS], const_dnnl_primitive_attr_t attr)
{
    const struct fl_cpu_shape *s = &p->shape;
    shim_md src = shim_ref(&md[PRIM_SRC]), w = shim_ref(&md[PRIM_W]), b = shim_ref(&md[PRIM_B]), dst = shim_ref(&md[PRIM_DST]);
    if (s->k == 0)
        return shim_linear(&p->pd, engine, src, w, b, dst, attr);
    dnnl_dims_t strides = { s->stride, s->stride }, pad = { s->pad, s->pad };
    return shim_conv(&p->pd, engine, src, w, b, dst, strides, pad, pad, attr);
}

int fl_cpu_prim_desc(struct fl_cpu_prim *p, dnnl_engine_t engine, const struct fl_cpu_shape *shape, struct fl_err *err)
{
    p->shape = *shape;
    struct shim_own md[PRIM_MDS];
    memset(md, 0, sizeof md);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t st = prim_attr(shape, &attr);
    if (st == dnnl_success)
        st = prim_mds(shape, md);
    if (st == dnnl_success)
        st = prim_desc(p, engine, md, attr);
    for (int i = 0; i < PRIM_MDS; i++)
        shim_md_done(&md[i]);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    if (st == dnnl_success)
        st = dnnl_primitive_desc_query(p->pd, dnnl_query_impl_info_str, 0, &p->impl);
    if (st != dnnl_success)
        return prim_fail(err, st, "describing a layer", shape);
    shim_md scratch = dnnl_primitive_desc_query_md(p->pd, dnnl_query_scratchpad_md, 0);
    p->scratch = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    return FL_OK;
}

/* Where the bias begins behind the weights. */
static size_t prim_bias(const struct fl_cpu_prim *p)
{
    return fl_cpu_lines(dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(p->pd, dnnl_query_weights_md, 0)));
}

size_t fl_cpu_prim_weights(const struct fl_cpu_prim *p)
{
    return p->pd == NULL ? 0 : prim_bias(p) + fl_cpu_lines(p->shape.co * sizeof(float));
}

int fl_cpu_prim_init(struct fl_cpu_prim *p, dnnl_engine_t engine, const struct fl_cpu_shape *shape, struct fl_err *err)
{
    int code = fl_cpu_prim_desc(p, engine, shape, err);
    if (code != FL_OK)
        return code;
    dnnl_status_t st = dnnl_primitive_create(&p->prim, p->pd);
    if (st == dnnl_success)
        st = dnnl_memory_create(&p->src, dnnl_primitive_desc_query_md(p->pd, dnnl_query_src_md, 0), engine, DNNL_MEMORY_NONE);
    if (st == dnnl_success)
        st = dnnl_memory_create(&p->dst, dnnl_primitive_desc_query_md(p->pd, dnnl_query_dst_md, 0), engine, DNNL_MEMORY_NONE);
    return st == dnnl_success ? FL_OK : prim_fail(err, st, "making a layer", shape);
}

int fl_cpu_scratch(dnnl_engine_t engine, size_t size, dnnl_memory_t *out, void **mem, struct fl_err *err)
{
    struct shim_own md;
    memset(&md, 0, sizeof md);
    dnnl_dims_t bytes = { (int64_t)(size > 0 ? size : 1) };
    *mem = fl_cpu_alloc(size);
    dnnl_status_t st = *mem == NULL ? dnnl_out_of_memory : shim_md_init(&md, 1, bytes, dnnl_u8, dnnl_x);
    if (st == dnnl_success)
        st = dnnl_memory_create(out, shim_ref(&md), engine, *mem);
    shim_md_done(&md);
    return st == dnnl_success ? FL_OK : fl_err_set(err, FL_E_NOMEM, "cpu: no memory for scratch");
}

/* ---- weights ---- */

static dnnl_status_t prim_reorder(dnnl_engine_t engine, dnnl_stream_t stream, shim_md from_md, dnnl_memory_t from, shim_md to_md, dnnl_memory_t to)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    dnnl_status_t st = dnnl_reorder_primitive_desc_create(&pd, from_md, engine, to_md, engine, NULL);
    if (st == dnnl_success)
        st = dnnl_primitive_create(&prim, pd);
    dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, to } };
    if (st == dnnl_success)
        st = dnnl_primitive_execute(prim, stream, 2, args);
    if (st == dnnl_success)
        st = dnnl_stream_wait(stream);
    if (prim != NULL)
        dnnl_primitive_destroy(prim);
    if (pd != NULL)
        dnnl_primitive_desc_destroy(pd);
    return st;
}

static dnnl_status_t prim_load_w(const struct fl_cpu_prim *p, dnnl_engine_t engine, dnnl_stream_t stream, float *w, void *at, struct fl_cpu_weights *out)
{
    shim_md md = dnnl_primitive_desc_query_md(p->pd, dnnl_query_weights_md, 0);
    struct shim_own plain;
    memset(&plain, 0, sizeof plain);
    dnnl_memory_t from = NULL;
    dnnl_status_t st = dnnl_memory_create(&out->w, md, engine, at);
    if (st == dnnl_success)
        st = prim_weights_md(&p->shape, dnnl_f32, true, &plain);
    if (st == dnnl_success)
        st = dnnl_memory_create(&from, shim_ref(&plain), engine, w);
    if (st == dnnl_success)
        st = prim_reorder(engine, stream, shim_ref(&plain), from, md, out->w);
    if (from != NULL)
        dnnl_memory_destroy(from);
    shim_md_done(&plain);
    return st;
}

int fl_cpu_prim_load(const struct fl_cpu_prim *p, dnnl_engine_t engine, dnnl_stream_t stream, float *w, const float *bias, void *at,
                     struct fl_cpu_weights *out, struct fl_err *err)
{
    void *b = (char *)at + prim_bias(p);
    dnnl_status_t st = prim_load_w(p, engine, stream, w, at, out);
    memcpy(b, bias, p->shape.co * sizeof *bias);
    if (st == dnnl_success)
        st = dnnl_memory_create(&out->b, dnnl_primitive_desc_query_md(p->pd, dnnl_query_weights_md, 1), engine, b);
    return st == dnnl_success ? FL_OK : prim_fail(err, st, "loading weights", &p->shape);
}

int fl_cpu_prim_run(const struct fl_cpu_prim *p, dnnl_stream_t stream, const struct fl_cpu_weights *w, dnnl_memory_t scratch, void *src, void *dst,
                    struct fl_err *err)
{
    dnnl_exec_arg_t args[] = {
        { DNNL_ARG_SRC, p->src }, { DNNL_ARG_WEIGHTS, w->w }, { DNNL_ARG_BIAS, w->b }, { DNNL_ARG_DST, p->dst }, { DNNL_ARG_SCRATCHPAD, scratch },
    };
    dnnl_status_t st = dnnl_memory_set_data_handle(p->src, src);
    if (st == dnnl_success)
        st = dnnl_memory_set_data_handle(p->dst, dst);
    if (st == dnnl_success)
        st = dnnl_primitive_execute(p->prim, stream, p->scratch > 0 ? 5 : 4, args);
    return st == dnnl_success ? FL_OK : prim_fail(err, st, "running a layer", &p->shape);
}

void fl_cpu_prim_done(struct fl_cpu_prim *p)
{
    if (p->src != NULL)
        dnnl_memory_destroy(p->src);
    if (p->dst != NULL)
        dnnl_memory_destroy(p->dst);
    if (p->prim != NULL)
        dnnl_primitive_destroy(p->prim);
    if (p->pd != NULL)
        dnnl_primitive_desc_destroy(p->pd);
    memset(p, 0, sizeof *p);
}

void fl_cpu_weights_done(struct fl_cpu_weights *w)
{
    if (w->w != NULL)
        dnnl_memory_destroy(w->w);
    if (w->b != NULL)
        dnnl_memory_destroy(w->b);
    memset(w, 0, sizeof *w);
}
