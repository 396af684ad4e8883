/* What oneDNN doesn't do on channel slices: pointwise steps, pools and averages over strided NHWC, in f32 or bf16. */
#ifndef FL_FORWARD_CPU_KERNELS_H
#define FL_FORWARD_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pixel (row, y, x) starts `stride` elements after the one before it; c of them are the value's. */
struct fl_cpu_view { void *p; size_t stride; uint32_t h, w, c; bool bf16; };

/* out = relu?(in * scale + shift), or relu?(in) where scale is NULL. Also gather, scatter and conversion. Same h, w, c. */
void fl_cpu_scale(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, const float *scale, const float *shift, bool relu);
void fl_cpu_add(const struct fl_cpu_view *a, const struct fl_cpu_view *b, const struct fl_cpu_view *out, uint32_t rows, bool relu);
/* Largest of each window, clipped at the border; NaN wins. */
void fl_cpu_max(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, uint32_t stride, uint32_t pad);
/* Average of relu?(in * scale + shift) over regions: k x k windows (k > 0), or as many bins as out has pixels (k = 0). */
void fl_cpu_average(const struct fl_cpu_view *in, const struct fl_cpu_view *out, uint32_t rows, uint32_t k, const float *scale, const float *shift, bool relu);

/* No infinity, no NaN among n floats. */
bool fl_cpu_finite(const float *x, size_t n);

uint16_t fl_cpu_to_bf16(float x);       /* to nearest, ties to even; NaN stays NaN */

#endif
