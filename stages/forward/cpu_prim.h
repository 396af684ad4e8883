/* One convolution or linear layer on oneDNN: NHWC in and out, weights in whatever order it likes best. */
#ifndef FL_FORWARD_CPU_PRIM_H
#define FL_FORWARD_CPU_PRIM_H

#include <stdbool.h>

#include "proto/status.h"
#include "stages/forward/dnnl_shim.h"

/* A linear layer has k = 0 and its whole input row as ci. Source and result are packed; bf16: both are, the result not when f32_out. */
struct fl_cpu_shape {
    uint32_t rows, ci, ih, iw, co, oh, ow, k, stride, pad, groups;
    bool sum, relu, bf16, f32_out;         /* sum: adds to what the result holds before */
};

struct fl_cpu_prim {
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t      prim;
    dnnl_memory_t         src, dst;
    const char           *impl;            /* oneDNN's name of the kernel */
    size_t                scratch;         /* bytes it wants for one run */
    struct fl_cpu_shape   shape;
};

/* Weights in the kernel's order, and the f32 bias; the bytes are the caller's. */
struct fl_cpu_weights { dnnl_memory_t w, b; };

/* All fill *err and return FL_E_DEVICE (FL_E_NOMEM) with oneDNN's reason. The done calls accept zeroed structs. */
/* desc: what it will be (impl, scratch), without making it; init makes it as well. */
int  fl_cpu_prim_desc(struct fl_cpu_prim *, dnnl_engine_t, const struct fl_cpu_shape *, struct fl_err *);
size_t fl_cpu_prim_weights(const struct fl_cpu_prim *);      /* bytes of its weights and bias, whole lines */
int  fl_cpu_prim_init(struct fl_cpu_prim *, dnnl_engine_t, const struct fl_cpu_shape *, struct fl_err *);
/* at: room for fl_cpu_prim_weights bytes, from a line on. */
int  fl_cpu_prim_load(const struct fl_cpu_prim *, dnnl_engine_t, dnnl_stream_t, float *w /* [co][ci/groups][k][k] */, const float *bias, void *at,
                      struct fl_cpu_weights *, struct fl_err *);
int  fl_cpu_prim_run(const struct fl_cpu_prim *, dnnl_stream_t, const struct fl_cpu_weights *, dnnl_memory_t scratch, void *src, void *dst,
                     struct fl_err *);
void fl_cpu_prim_done(struct fl_cpu_prim *);
void fl_cpu_weights_done(struct fl_cpu_weights *);
/* Scratch for kernels that want up to `bytes`; *mem is freed by the caller, behind *out. */
int  fl_cpu_scratch(dnnl_engine_t, size_t bytes, dnnl_memory_t *out, void **mem, struct fl_err *);
/* From a line on, zeroed, every page touched; NULL when there is no memory. bytes 0 gives one line. */
#define FL_CPU_LINE 64
static inline size_t fl_cpu_lines(size_t bytes) { return (bytes + FL_CPU_LINE - 1) / FL_CPU_LINE * FL_CPU_LINE; }
void *fl_cpu_alloc(size_t bytes);

#endif
