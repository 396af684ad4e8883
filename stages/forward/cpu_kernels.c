/* The kernels' versions, best first, and the one that this processor runs. */
#include "stages/forward/cpu_kernels.h"

#include <string.h>

const struct fl_cpu_kernels *const fl_cpu_kernels[] = {
#ifdef __x86_64__
    &fl_cpu_kernels_avx512_bf16, &fl_cpu_kernels_avx512, &fl_cpu_kernels_avx2,
#endif
    &fl_cpu_kernels_plain, NULL,
};

const struct fl_cpu_kernels *fl_cpu_kernels_best(void)
{
    uint32_t i = 0;
    while (!fl_cpu_kernels[i]->probe())
        i++;
    return fl_cpu_kernels[i];
}

uint16_t fl_cpu_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
