/* What the device computes itself, one result at a time: the same text for the card (kernels.cu) and for this machine's tests.
 *
 * A group is up to 8 channels of one pixel. Sums are in f32; products and sums are never fused (nvcc -fmad=false, gcc
 * -ffp-contract=off), so that the input kernel gives the bits of stages/forward/input.c. */
#ifndef FL_CUDA_KERNELS_H
#define FL_CUDA_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "stages/forward/backend.h"
#include "stages/forward/cuda/layer.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define FL_HD static inline __host__ __device__
#else
#define FL_HD static inline
#endif
#ifdef __CUDA_ARCH__
#define FL_UNROLL _Pragma("unroll")
#else
#define FL_UNROLL
#endif

#define FL_CU_GROUP 8u

/* ---- elements ---- */

FL_HD float fl_cu_from_bits(uint32_t u) { float f; memcpy(&f, &u, sizeof f); return f; }
FL_HD uint32_t fl_cu_to_bits(float f) { uint32_t u; memcpy(&u, &f, sizeof u); return u; }

FL_HD float fl_cu_from_f16(uint16_t h)
{
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(h));
#else
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31)
        return fl_cu_from_bits(sign | 0x7F800000u | m << 13);
    if (e != 0)
        return fl_cu_from_bits(sign | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f;
    return sign != 0 ? -f : f;
#endif
}

/* To nearest, ties to even; beyond the range infinity, NaN stays NaN. */
FL_HD uint16_t fl_cu_to_f16(float f)
{
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(f));
#else
    uint32_t u = fl_cu_to_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u)
        return (uint16_t)(sign | 0x7FFF);
    if (a >= 0x477FF000u)                                   /* 65520 and up */
        return (uint16_t)(sign | 0x7C00);
    if (a < 0x38800000u) {                                  /* below 2^-14: a multiple of 2^-24, rounded by an addition */
        float m = fl_cu_from_bits(a) + 0.5f;                /* 0.5 has its last bit at 2^-24 */
        return (uint16_t)(sign | (fl_cu_to_bits(m) - 0x3F000000u));
    }
    return (uint16_t)(sign | ((a - 0x38000000u + 0xFFF + (a >> 13 & 1)) >> 13));
#endif
}

FL_HD float fl_cu_from_bf16(uint16_t b) { return fl_cu_from_bits((uint32_t)b << 16); }

FL_HD uint16_t fl_cu_to_bf16(float f)
{
#ifdef __CUDA_ARCH__
    return __bfloat16_as_ushort(__float2bfloat16_rn(f));
#else
    uint32_t u = fl_cu_to_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u)
        return 0x7FFF;
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
#endif
}

FL_HD float fl_cu_load(int type, const void *p, size_t i)
{
    if (type == FL_CU_F32)
        return ((const float *)p)[i];
    uint16_t v = ((const uint16_t *)p)[i];
    return type == FL_CU_F16 ? fl_cu_from_f16(v) : fl_cu_from_bf16(v);
}

FL_HD void fl_cu_store(int type, void *p, size_t i, float f)
{
    if (type == FL_CU_F32)
        ((float *)p)[i] = f;
    else
        ((uint16_t *)p)[i] = type == FL_CU_F16 ? fl_cu_to_f16(f) : fl_cu_to_bf16(f);
}

/* Eight channels from element i, a multiple of 8 of memory aligned to 16 bytes: on the card 16 bytes at a time. */
FL_HD void fl_cu_load_group(int type, const void *p, size_t i, float *out)
{
#ifdef __CUDA_ARCH__
    if (type == FL_CU_F32) {
        const float4 *q = (const float4 *)((const float *)p + i);
        float4 a = q[0], b = q[1];
        out[0] = a.x; out[1] = a.y; out[2] = a.z; out[3] = a.w;
        out[4] = b.x; out[5] = b.y; out[6] = b.z; out[7] = b.w;
        return;
    }
    uint4 v = *(const uint4 *)((const uint16_t *)p + i);
    const uint32_t part[4] = { v.x, v.y, v.z, v.w };
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint16_t lo = (uint16_t)(part[k] & 0xFFFF), hi = (uint16_t)(part[k] >> 16);
        out[2 * k] = type == FL_CU_F16 ? fl_cu_from_f16(lo) : fl_cu_from_bf16(lo);
        out[2 * k + 1] = type == FL_CU_F16 ? fl_cu_from_f16(hi) : fl_cu_from_bf16(hi);
    }
#else
    for (uint32_t k = 0; k < FL_CU_GROUP; k++)
        out[k] = fl_cu_load(type, p, i + k);
#endif
}

FL_HD void fl_cu_store_group(int type, void *p, size_t i, const float *x)
{
#ifdef __CUDA_ARCH__
    if (type == FL_CU_F32) {
        float4 *q = (float4 *)((float *)p + i);
        q[0] = make_float4(x[0], x[1], x[2], x[3]);
        q[1] = make_float4(x[4], x[5], x[6], x[7]);
        return;
    }
    uint32_t part[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint32_t lo = type == FL_CU_F16 ? fl_cu_to_f16(x[2 * k]) : fl_cu_to_bf16(x[2 * k]);
        uint32_t hi = type == FL_CU_F16 ? fl_cu_to_f16(x[2 * k + 1]) : fl_cu_to_bf16(x[2 * k + 1]);
        part[k] = lo | hi << 16;
    }
    *(uint4 *)((uint16_t *)p + i) = make_uint4(part[0], part[1], part[2], part[3]);
#else
    for (uint32_t k = 0; k < FL_CU_GROUP; k++)
        fl_cu_store(type, p, i + k, x[k]);
#endif
}

/* n channels, 4 or 8, from element i, a multiple of n. */
FL_HD void fl_cu_store_pixel(int type, void *p, size_t i, const float *x, uint32_t n)
{
#ifdef __CUDA_ARCH__
    if (n == FL_CU_GROUP) {
        fl_cu_store_group(type, p, i, x);
    } else if (type == FL_CU_F32) {
        *(float4 *)((float *)p + i) = make_float4(x[0], x[1], x[2], x[3]);
    } else {
        uint32_t v[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            v[k] = type == FL_CU_F16 ? fl_cu_to_f16(x[k]) : fl_cu_to_bf16(x[k]);
        *(uint2 *)((uint16_t *)p + i) = make_uint2(v[0] | v[1] << 16, v[2] | v[3] << 16);
    }
#else
    for (uint32_t k = 0; k < n; k++)
        fl_cu_store(type, p, i + k, x[k]);
#endif
}

/* ---- own kernels ---- */

/* A value in memory. Pixel (row, y, x) begins at element ((row * h + y) * w + x) * stride; c channels, a multiple of 8. */
struct fl_cu_image { void *p; uint32_t h, w, c, stride; int type; };

/* relu?(in * scale + shift), or relu?(in) without scale: also copies, gathers, scatters. Group g of pixel i. */
struct fl_cu_scale_args { struct fl_cu_image in, out; const float *scale, *shift; int relu; };

FL_HD float fl_cu_relu(float x) { return x < 0 ? 0 : x; }      /* NaN stays */

FL_HD void fl_cu_affine_group(float *x, const float *scale, const float *shift, uint32_t c, int relu)
{
    for (uint32_t k = 0; k < FL_CU_GROUP; k++) {
        if (scale != NULL)
            x[k] = x[k] * scale[c + k] + shift[c + k];
        if (relu)
            x[k] = fl_cu_relu(x[k]);
    }
}

FL_HD void fl_cu_scale_at(const struct fl_cu_scale_args *a, uint32_t i, uint32_t g)
{
    float x[FL_CU_GROUP];
    fl_cu_load_group(a->in.type, a->in.p, (size_t)i * a->in.stride + (size_t)g * FL_CU_GROUP, x);
    fl_cu_affine_group(x, a->scale, a->shift, g * FL_CU_GROUP, a->relu);
    fl_cu_store_group(a->out.type, a->out.p, (size_t)i * a->out.stride + (size_t)g * FL_CU_GROUP, x);
}

struct fl_cu_add_args { struct fl_cu_image a, b, out; int relu; };

FL_HD void fl_cu_add_at(const struct fl_cu_add_args *a, uint32_t i, uint32_t g)
{
    float x[FL_CU_GROUP], y[FL_CU_GROUP];
    fl_cu_load_group(a->a.type, a->a.p, (size_t)i * a->a.stride + (size_t)g * FL_CU_GROUP, x);
    fl_cu_load_group(a->b.type, a->b.p, (size_t)i * a->b.stride + (size_t)g * FL_CU_GROUP, y);
    for (uint32_t k = 0; k < FL_CU_GROUP; k++)
        x[k] = a->relu ? fl_cu_relu(x[k] + y[k]) : x[k] + y[k];
    fl_cu_store_group(a->out.type, a->out.p, (size_t)i * a->out.stride + (size_t)g * FL_CU_GROUP, x);
}

/* Pools. max: largest of each window, clipped at the border; NaN wins. Else the average of relu?(in * scale + shift) over whole k x k
 * windows (k > 0), or over as many bins as out has pixels. */
struct fl_cu_pool_args { struct fl_cu_image in, out; const float *scale, *shift; int relu, max; uint32_t k, stride, pad; };

struct fl_cu_span { uint32_t from, to; };

FL_HD struct fl_cu_span fl_cu_pool_span(const struct fl_cu_pool_args *a, uint32_t i, uint32_t n, uint32_t bins)
{
    struct fl_cu_span s;
    if (a->max) {
        int64_t at = (int64_t)i * a->stride - a->pad, end = at + a->k;
        s.from = at < 0 ? 0 : (uint32_t)at;
        s.to = end > n ? n : (uint32_t)end;
    } else if (a->k > 0) {
        s.from = i * a->k;
        s.to = s.from + a->k;
    } else {
        s.from = (uint32_t)((uint64_t)i * n / bins);
        s.to = (uint32_t)(((uint64_t)(i + 1) * n + bins - 1) / bins);
    }
    return s;
}

FL_HD void fl_cu_pool_at(const struct fl_cu_pool_args *a, uint32_t i, uint32_t g)
{
    uint32_t x0 = i % a->out.w, y0 = i / a->out.w % a->out.h;
    size_t row = i / a->out.w / a->out.h, c = (size_t)g * FL_CU_GROUP;
    struct fl_cu_span sy = fl_cu_pool_span(a, y0, a->in.h, a->out.h), sx = fl_cu_pool_span(a, x0, a->in.w, a->out.w);
    float sum[FL_CU_GROUP], x[FL_CU_GROUP];
    for (uint32_t k = 0; k < FL_CU_GROUP; k++)
        sum[k] = a->max ? fl_cu_from_bits(0xFF800000u) : 0;
    for (uint32_t y = sy.from; y < sy.to; y++)
        for (uint32_t xx = sx.from; xx < sx.to; xx++) {
            fl_cu_load_group(a->in.type, a->in.p, ((row * a->in.h + y) * a->in.w + xx) * a->in.stride + c, x);
            fl_cu_affine_group(x, a->scale, a->shift, (uint32_t)c, a->relu);
            for (uint32_t k = 0; k < FL_CU_GROUP; k++) {
                if (!a->max)
                    sum[k] += x[k];
                else if (x[k] > sum[k] || x[k] != x[k])
                    sum[k] = x[k];
            }
        }
    float n = (float)((sy.to - sy.from) * (sx.to - sx.from));
    for (uint32_t k = 0; k < FL_CU_GROUP && !a->max; k++)
        sum[k] = sum[k] / n;
    fl_cu_store_group(a->out.type, a->out.p, (size_t)i * a->out.stride + c, sum);
}

/* ---- the input kernel ---- */

/* tiles: [n][h][w][channels] of u8 or u16 (wide). out: [rows][size][size][padded] of `type`. */
struct fl_cu_paint_args {
    const void *tiles; const struct fl_fwd_row *rows; void *out;
    uint32_t h, w, channels, size, padded; int wide, type;
    float mul[8], add[8];
};

/* Where output i of `size` lies between the pixels of a side of n: half-pixel centres, clamped (input.c's input_between). */
FL_HD uint32_t fl_cu_between(uint32_t i, uint32_t size, uint32_t n, float *part)
{
    double s = (i + .5) * n / size - .5;
    *part = 0;
    if (s <= 0)
        return 0;
    uint32_t left = (uint32_t)s;
    if (left >= n - 1)
        return n - 1;
    *part = (float)(s - left);
    return left;
}

/* The first element of pixel (x, y) of the window. */
FL_HD size_t fl_cu_pixel(const struct fl_cu_paint_args *a, const struct fl_fwd_row *r, uint32_t x, uint32_t y)
{
    uint32_t wide = r->g & 4 ? a->h : a->w, high = r->g & 4 ? a->w : a->h;
    uint32_t u = r->x0 + x, v = r->y0 + y;
    if (r->g & 1)
        u = wide - 1 - u;
    if (r->g & 2)
        v = high - 1 - v;
    uint32_t ty = r->g & 4 ? u : v, tx = r->g & 4 ? v : u;
    return (((size_t)r->tile * a->h + ty) * a->w + tx) * a->channels;
}

FL_HD int fl_cu_value(const struct fl_cu_paint_args *a, size_t i)
{
    return a->wide ? ((const uint16_t *)a->tiles)[i] : ((const uint8_t *)a->tiles)[i];
}

FL_HD float fl_cu_across(const struct fl_cu_paint_args *a, size_t left, size_t right, float part)
{
    int l = fl_cu_value(a, left);
    return (float)l + (float)(fl_cu_value(a, right) - l) * part;
}

/* All channels of pixel (x, y) of row r's input, normalised; padding is 0. */
FL_HD void fl_cu_paint_at(const struct fl_cu_paint_args *a, uint32_t row, uint32_t y, uint32_t x)
{
    const struct fl_fwd_row r = a->rows[row];
    size_t out = (((size_t)row * a->size + y) * a->size + x) * a->padded;
    float px = 0, py = 0;
    uint32_t left = x, top = y, right = x, bottom = y;
    int resize = r.w != a->size || r.h != a->size;
    if (r.tile != FL_FWD_BLANK && resize) {
        left = fl_cu_between(x, a->size, r.w, &px);
        top = fl_cu_between(y, a->size, r.h, &py);
        right = left + 1 < r.w ? left + 1 : left;
        bottom = top + 1 < r.h ? top + 1 : top;
    }
    size_t at[4] = { 0, 0, 0, 0 };
    if (r.tile != FL_FWD_BLANK) {
        at[0] = fl_cu_pixel(a, &r, left, top);
        if (resize) {
            at[1] = fl_cu_pixel(a, &r, right, top);
            at[2] = fl_cu_pixel(a, &r, left, bottom);
            at[3] = fl_cu_pixel(a, &r, right, bottom);
        }
    }
    float pixel[FL_CU_GROUP];
    FL_UNROLL
    for (uint32_t c = 0; c < FL_CU_GROUP; c++) {      /* a fixed count keeps the array in registers */
        float t = 0;
        if (r.tile != FL_FWD_BLANK && c < a->channels) {
            if (resize) {
                float above = fl_cu_across(a, at[0] + c, at[1] + c, px), below = fl_cu_across(a, at[2] + c, at[3] + c, px);
                t = above + (below - above) * py;
            } else {
                t = (float)fl_cu_value(a, at[0] + c);
            }
            t = t * a->mul[c] + a->add[c];
        }
        pixel[c] = t;
    }
    fl_cu_store_pixel(a->type, a->out, out, pixel, a->padded);
}

/* The same input given as f32 [rows][size][size][channels]. Pixel i of all rows. */
struct fl_cu_widen_args { const float *in; void *out; uint32_t channels, padded; int type; };

FL_HD void fl_cu_widen_at(const struct fl_cu_widen_args *a, uint32_t i)
{
    float pixel[FL_CU_GROUP];
    FL_UNROLL
    for (uint32_t c = 0; c < FL_CU_GROUP; c++)
        pixel[c] = c < a->channels ? a->in[(size_t)i * a->channels + c] : 0;
    fl_cu_store_pixel(a->type, a->out, (size_t)i * a->padded, pixel, a->padded);
}

#endif
