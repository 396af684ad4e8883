/* What oneDNN doesn't do on channel slices: pointwise steps, pools and averages over strided NHWC, in f32 or bf16. */
#ifndef FL_FORWARD_CPU_KERNELS_H
#define FL_FORWARD_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pixel (row, y, x) starts `stride` elements after the one before it; c of them are the value's. */
struct fl_cpu_view { void *p; size_t stride; uint32_t h, w, c; bool bf16; };
/* Bytes of a pixel's step, and of one row of a batch. */
static inline size_t fl_cpu_pixel(const struct fl_cpu_view *v) { return v->stride * (v->bf16 ? sizeof(uint16_t) : sizeof(float)); }
static inline size_t fl_cpu_row(const struct fl_cpu_view *v) { return fl_cpu_pixel(v) * v->h * v->w; }

/* One version of the kernels; all versions give the same bits (but that of bf16 may round subnormals to 0). */
struct fl_cpu_kernels {
    const char *name;
    bool (*probe)(void);
    /* out = relu?(in * scale + shift), or relu?(in) where scale is NULL. Also gather, scatter and conversion. Same h, w, c. */
    void (*scale)(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, const float *scale, const float *shift, bool relu);
    void (*add)(const struct fl_cpu_view *a, const struct fl_cpu_view *b, const struct fl_cpu_view *out, uint32_t rows, bool relu);
    /* Largest of each window, clipped at the border; NaN wins. */
    void (*max)(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, uint32_t stride, uint32_t pad);
    /* Average of relu?(in * scale + shift) over regions: k x k windows (k > 0), or as many bins as out has pixels (k = 0). */
    void (*average)(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, const float *scale, const float *shift, bool relu);
    /* No infinity, no NaN among n floats. */
    bool (*finite)(const float *x, size_t n);
};

extern const struct fl_cpu_kernels fl_cpu_kernels_avx512_bf16, fl_cpu_kernels_avx512, fl_cpu_kernels_avx2, fl_cpu_kernels_plain;
extern const struct fl_cpu_kernels *const fl_cpu_kernels[];      /* best first, ends with NULL; those that this build has */
const struct fl_cpu_kernels *fl_cpu_kernels_best(void);          /* the first that this processor runs */

uint16_t fl_cpu_to_bf16(float x);       /* to nearest, ties to even; NaN stays NaN */

#endif
