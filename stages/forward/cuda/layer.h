/* One convolution as cuDNN runs it: prologue, residual, bias and ReLU in one graph, over NHWC tensors and their channel slices. */
#ifndef FL_CUDA_LAYER_H
#define FL_CUDA_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Elements of a tensor on the device. */
enum fl_cu_type { FL_CU_F32, FL_CU_F16, FL_CU_BF16 };
static inline size_t fl_cu_bytes(int type) { return type == FL_CU_F32 ? 4 : 2; }

/* result = relu?(w * pro(x) + residual + bias), pro(x) = relu?(x * scale + shift). Strides are in elements from pixel to pixel. A linear
 * layer is a 1x1 convolution of a 1x1 image. */
struct fl_cu_layer {
    uint32_t rows, ih, iw, ci, oh, ow, co, k, stride, pad, groups;
    uint32_t in_stride, out_stride, res_stride;   /* res_stride 0: no residual */
    uint8_t  type, out_type;                      /* enum fl_cu_type; bias and weights: type, or bias f32 where f32_bias */
    bool     pro, pro_relu, relu, f32_bias;
};

/* The pointers of one execution; ids of tensors in the graph. */
enum fl_cu_id { FL_CU_ID_X = 1, FL_CU_ID_W, FL_CU_ID_Y, FL_CU_ID_RES, FL_CU_ID_BIAS, FL_CU_ID_SCALE, FL_CU_ID_SHIFT };

#define FL_CU_KEY 160
/* The layer in words, the same on every machine: what a stored plan is found by. */
void fl_cu_layer_key(const struct fl_cu_layer *, char key[FL_CU_KEY]);

#define FL_CU_KNOBS 24
/* An engine with its settings: enough to make the same plan again. */
struct fl_cu_config { int64_t engine; uint32_t nknobs; struct { int32_t type; int64_t value; } knob[FL_CU_KNOBS]; };

#endif
