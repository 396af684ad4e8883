/* Which kernels this processor can run. */
#include "stages/level2/kernel.h"

#include <stddef.h>
#include <string.h>

static int kernel_has(int which)
{
#if defined(__x86_64__)
    if (which == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
    if (which == 1)
        return __builtin_cpu_supports("avx2") != 0;
#endif
    return which == 0;
}

int fl_l2_kernel(const char *name)
{
    static const char *const names[] = { "plain", "avx2", "avx512" };
    for (int k = 2; k >= 0; k--)
        if ((name == NULL || strcmp(name, names[k]) == 0) && kernel_has(k))
            return k;
    return -1;
}
