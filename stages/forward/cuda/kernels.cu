/* The own kernels on the card: a thread a pixel of the input, or a group of 8 channels of a pixel. Arithmetic: kernels.h. */
#include "stages/forward/cuda/launch.h"

#define KERNELS_BLOCK 256

static unsigned kernels_blocks(size_t n) { return (unsigned)((n + KERNELS_BLOCK - 1) / KERNELS_BLOCK); }

/* A group's place among n: pixels in order, groups of a pixel side by side, so that neighbours in a warp read neighbours in memory. */
struct kernels_place { uint32_t pixel, group; bool in; };
static __device__ kernels_place kernels_here(uint32_t groups, size_t n)
{
    size_t t = (size_t)blockIdx.x * KERNELS_BLOCK + threadIdx.x;
    kernels_place p = { (uint32_t)(t / groups), (uint32_t)(t % groups), t < n };
    return p;
}

static __global__ void kernels_scale(const fl_cu_scale_args a, uint32_t groups, size_t n)
{
    kernels_place p = kernels_here(groups, n);
    if (p.in)
        fl_cu_scale_at(&a, p.pixel, p.group);
}

static __global__ void kernels_add(const fl_cu_add_args a, uint32_t groups, size_t n)
{
    kernels_place p = kernels_here(groups, n);
    if (p.in)
        fl_cu_add_at(&a, p.pixel, p.group);
}

static __global__ void kernels_pool(const fl_cu_pool_args a, uint32_t groups, size_t n)
{
    kernels_place p = kernels_here(groups, n);
    if (p.in)
        fl_cu_pool_at(&a, p.pixel, p.group);
}

static __global__ void kernels_paint(const fl_cu_paint_args a, uint32_t n)
{
    uint32_t i = blockIdx.x * KERNELS_BLOCK + threadIdx.x;
    if (i >= n)
        return;
    uint32_t x = i % a.size, y = i / a.size % a.size;
    fl_cu_paint_at(&a, i / a.size / a.size, y, x);
}

static __global__ void kernels_widen(const fl_cu_widen_args a, uint32_t n)
{
    uint32_t i = blockIdx.x * KERNELS_BLOCK + threadIdx.x;
    if (i < n)
        fl_cu_widen_at(&a, i);
}

static __global__ void kernels_noise(void *p, int type, size_t n, uint32_t seed)
{
    size_t i = (size_t)blockIdx.x * KERNELS_BLOCK + threadIdx.x;
    if (i >= n)
        return;
    uint32_t h = (uint32_t)i * 0x9E3779B9u ^ seed;          /* murmur3's last step: any two seeds look unrelated */
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    h ^= h >> 16;
    fl_cu_store(type, p, i, (float)(int32_t)h * 0x1p-31f);
}

static size_t kernels_count(const struct fl_cu_image *out, uint32_t rows, uint32_t *groups)
{
    *groups = out->c / FL_CU_GROUP;
    return (size_t)rows * out->h * out->w * *groups;
}

extern "C" int fl_cu_launch_scale(const struct fl_cu_scale_args *a, uint32_t rows, void *stream)
{
    uint32_t groups;
    size_t n = kernels_count(&a->out, rows, &groups);
    kernels_scale<<<kernels_blocks(n), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(*a, groups, n);
    return (int)cudaGetLastError();
}

extern "C" int fl_cu_launch_add(const struct fl_cu_add_args *a, uint32_t rows, void *stream)
{
    uint32_t groups;
    size_t n = kernels_count(&a->out, rows, &groups);
    kernels_add<<<kernels_blocks(n), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(*a, groups, n);
    return (int)cudaGetLastError();
}

extern "C" int fl_cu_launch_pool(const struct fl_cu_pool_args *a, uint32_t rows, void *stream)
{
    uint32_t groups;
    size_t n = kernels_count(&a->out, rows, &groups);
    kernels_pool<<<kernels_blocks(n), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(*a, groups, n);
    return (int)cudaGetLastError();
}

extern "C" int fl_cu_launch_paint(const struct fl_cu_paint_args *a, uint32_t rows, void *stream)
{
    uint32_t n = rows * a->size * a->size;
    kernels_paint<<<kernels_blocks(n), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(*a, n);
    return (int)cudaGetLastError();
}

extern "C" int fl_cu_launch_widen(const struct fl_cu_widen_args *a, uint32_t pixels, void *stream)
{
    kernels_widen<<<kernels_blocks(pixels), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(*a, pixels);
    return (int)cudaGetLastError();
}

extern "C" int fl_cu_launch_noise(void *p, int type, size_t n, uint32_t seed, void *stream)
{
    if (n == 0)
        return 0;
    kernels_noise<<<kernels_blocks(n), KERNELS_BLOCK, 0, (cudaStream_t)stream>>>(p, type, n, seed);
    return (int)cudaGetLastError();
}
