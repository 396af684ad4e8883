/* A network as the device runs it: which steps are convolutions for cuDNN, which are own kernels, where every tensor and weight lies.
 *
 * All of it is arithmetic: nothing here needs a card, and tests/forward/test_cuda.c runs the same list in plain loops.
 *
 * Channels are padded. Convolutions on tensor cores want multiples of 8, the input 4 (or 8): the extra channels are zeros in the
 * input, and zero rows of the weights keep them so. Buffers lie in the arena by lifetime, at multiples of FL_LOW_ALIGN elements. */
#ifndef FL_CUDA_PROGRAM_H
#define FL_CUDA_PROGRAM_H

#include "stages/forward/cuda/layer.h"
#include "stages/forward/lower.h"

#define FL_CU_PAD 8u             /* channels of every buffer but the input's: a multiple of these */
#define FL_CU_ALIGN 256u         /* bytes: of every weight in its block */

enum fl_cu_area { FL_CU_INPUT, FL_CU_ARENA, FL_CU_SCRATCH, FL_CU_LOGITS };      /* four pieces of memory */

/* A value as kernels see it: pixel (row, y, x) begins at byte `at` + ((row * h + y) * w + x) * stride elements; c of them, padding included. */
struct fl_cu_view { uint8_t area, type; size_t at; uint32_t h, w, c, stride; };

enum fl_cu_kind { FL_CU_CONV, FL_CU_SCALE, FL_CU_ADD, FL_CU_MAX, FL_CU_AVERAGE, FL_CU_CONCAT };

/* Offsets of weights are bytes into a snapshot's block; FL_CU_NONE where there is none. SCALE without scale copies. AVERAGE: k x k
 * windows, or as many bins as out has pixels (k 0), of relu?(in * scale + shift). A CONV with a prologue may run in two: SCALE of `in`
 * into `packed` (in the scratch area, the same for all), and the convolution `bare` of that. */
#define FL_CU_NONE SIZE_MAX
struct fl_cu_op {
    uint8_t kind;
    bool relu, pro_relu;
    uint32_t step, k, stride, pad;
    struct fl_cu_view in, in2, out, packed;
    struct fl_cu_layer layer, bare;
    size_t w, bias, scale, shift;
};

struct fl_cu_program {
    struct fl_low *low;
    uint32_t rows, nops;
    int      type;                 /* enum fl_cu_type of activations and weights */
    uint32_t channels;             /* of the input, with padding */
    uint32_t logits;               /* f32 from row to row of the logits */
    struct fl_cu_op *ops;
    size_t input_bytes, arena_bytes, scratch_bytes, logits_bytes, weight_bytes;
};

/* prec: FL_PREC_F32, F16 or BF16. FL_E_DEVICE for a network whose channel slices don't fit. */
int  fl_cu_program_make(const struct fl_net *, uint32_t rows, int prec, struct fl_cu_program *, struct fl_err *);
void fl_cu_program_done(struct fl_cu_program *);

/* pack.c: one set of weights as the block that the device holds, weight_bytes long. FL_E_NUM for a weight that isn't finite, or not in
 * the type of the weights, naming the parameter. */
int fl_cu_pack(const struct fl_cu_program *, const struct fl_weights *, void *block, struct fl_err *);

#endif
