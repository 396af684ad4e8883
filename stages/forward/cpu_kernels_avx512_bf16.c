/* The CPU executor's kernels for AVX-512 with bfloat16. */
#ifdef __x86_64__
#include <stdbool.h>

static bool kern_probe(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
}

#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16", "prefer-vector-width=512")
#define KERN_NAME  "avx512_bf16"
#define KERN_TABLE fl_cpu_kernels_avx512_bf16
#define KERN_PROBE kern_probe
#include "stages/forward/cpu_kernels_body.h"
#else
typedef int cpu_kernels_avx512_bf16_is_for_x86_64;
#endif
