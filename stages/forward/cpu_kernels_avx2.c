/* The CPU executor's kernels for AVX2. */
#ifdef __x86_64__
#include <stdbool.h>

static bool kern_probe(void)
{
    return __builtin_cpu_supports("avx2");
}

#pragma GCC target("avx2")
#define KERN_NAME  "avx2"
#define KERN_TABLE fl_cpu_kernels_avx2
#define KERN_PROBE kern_probe
#include "stages/forward/cpu_kernels_body.h"
#else
typedef int cpu_kernels_avx2_is_for_x86_64;
#endif
