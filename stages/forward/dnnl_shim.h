/* The calls in which oneDNN 2 and 3 differ: descriptors of memory, of operations, and of post-operations. */
#ifndef FL_FORWARD_DNNL_SHIM_H
#define FL_FORWARD_DNNL_SHIM_H

#include <dnnl.h>

/* A borrowed memory descriptor, and one that is owned (shim_md_done). */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t shim_md;
struct shim_own { dnnl_memory_desc_t d; };
static inline shim_md shim_ref(const struct shim_own *o) { return o->d; }
static inline void shim_md_done(struct shim_own *o)
{
    if (o->d != NULL)
        dnnl_memory_desc_destroy(o->d);
    o->d = NULL;
}
#else
typedef const dnnl_memory_desc_t *shim_md;
struct shim_own { dnnl_memory_desc_t d; };
static inline shim_md shim_ref(const struct shim_own *o) { return &o->d; }
static inline void shim_md_done(struct shim_own *o) { (void)o; }
#endif

static inline dnnl_status_t shim_md_init(struct shim_own *o, int ndims, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(&o->d, ndims, dims, type, tag);
#else
    return dnnl_memory_desc_init_by_tag(&o->d, ndims, dims, type, tag);
#endif
}

static inline dnnl_status_t shim_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md src, shim_md w, shim_md bias, shim_md dst,
                                      const int64_t *strides, const int64_t *pad_l, const int64_t *pad_r, const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    static const int64_t dilates[2] = { 0, 0 };
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference, dnnl_convolution_direct, src, w, bias, dst,
                                                          strides, dilates, pad_l, pad_r, attr);
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t st = dnnl_convolution_forward_desc_init(&d, dnnl_forward_inference, dnnl_convolution_direct, src, w, bias, dst, strides, pad_l, pad_r);
    return st != dnnl_success ? st : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
#endif
}

static inline dnnl_status_t shim_linear(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md src, shim_md w, shim_md bias, shim_md dst,
                                        const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_inner_product_forward_primitive_desc_create(pd, engine, dnnl_forward_inference, src, w, bias, dst, attr);
#else
    dnnl_inner_product_desc_t d;
    dnnl_status_t st = dnnl_inner_product_forward_desc_init(&d, dnnl_forward_inference, src, w, bias, dst);
    return st != dnnl_success ? st : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
#endif
}

static inline dnnl_status_t shim_post_sum(dnnl_post_ops_t ops)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
#else
    return dnnl_post_ops_append_sum(ops, 1.0f);
#endif
}

static inline dnnl_status_t shim_post_relu(dnnl_post_ops_t ops)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
#else
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
#endif
}

#endif
