/* Launches of the own kernels; arguments as in kernels.h, with pointers on the device. */
#ifndef FL_CUDA_LAUNCH_H
#define FL_CUDA_LAUNCH_H

#include "stages/forward/cuda/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All are asynchronous on the stream (cudaStream_t) and return what cudaGetLastError says of the launch, 0 when nothing is wrong. */
int fl_cu_launch_paint(const struct fl_cu_paint_args *, uint32_t rows, void *stream);
int fl_cu_launch_widen(const struct fl_cu_widen_args *, uint32_t pixels, void *stream);
int fl_cu_launch_scale(const struct fl_cu_scale_args *, uint32_t rows, void *stream);
int fl_cu_launch_add(const struct fl_cu_add_args *, uint32_t rows, void *stream);
int fl_cu_launch_pool(const struct fl_cu_pool_args *, uint32_t rows, void *stream);
/* n elements of `type`, uniform in -1 .. 1 and different for each seed: plans are never timed on zeros. */
int fl_cu_launch_noise(void *p, int type, size_t n, uint32_t seed, void *stream);

#ifdef __cplusplus
}
#endif

#endif
