/* The device's list of operations in plain loops: what a card must compute, computed without one. */
#ifndef FL_TESTS_CUDA_TWIN_H
#define FL_TESTS_CUDA_TWIN_H

#include "stages/forward/cuda/kernels.h"
#include "stages/forward/cuda/program.h"

/* split: prologues run as an operation of their own. Poisoned: areas begin as NaN, so that what nobody wrote shows. */
struct twin { const struct fl_cu_program *p; void *area[4], *weights; bool split; };

bool twin_init(struct twin *, const struct fl_cu_program *);
void twin_done(struct twin *);
void twin_input(struct twin *, const float *in /* [rows][size][size][channels of the network] */);
void twin_op(struct twin *, const struct fl_cu_op *);
void twin_run(struct twin *);

/* A layer as fl_cu_layer says, on memory laid out as the device's; sums in double. */
struct twin_conv { const void *x, *w, *res, *bias; const float *scale, *shift; void *y; };
void twin_conv(const struct fl_cu_layer *, const struct twin_conv *);

struct fl_cu_image twin_image(const struct twin *, const struct fl_cu_view *);

#endif
