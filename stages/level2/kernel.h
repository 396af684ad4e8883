/* Kernels compiled once for each instruction set from one inlined body: same operations in the same order, so the same bits. */
#ifndef FL_LEVEL2_KERNEL_H
#define FL_LEVEL2_KERNEL_H

#define L2_INLINE static inline __attribute__((always_inline))

/* Eight doubles, sixteen floats: one register of AVX-512, two of AVX, four of SSE. */
typedef double l2_f64x8 __attribute__((vector_size(64)));
typedef float  l2_f32x16 __attribute__((vector_size(64)));

#if defined(__x86_64__)
#define L2_AVX2   __attribute__((target("avx2")))
#ifdef __clang__                        /* it knows no such preference */
#define L2_WIDTH ""
#else
#define L2_WIDTH ",prefer-vector-width=512"
#endif
#define L2_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl" L2_WIDTH)))
#endif

/* Which of them this processor has: 0 plain, 1 avx2, 2 avx512. name: NULL for the best, else that one, or -1. */
int fl_l2_kernel(const char *name);

#endif
