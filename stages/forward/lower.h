/* The lowered network: steps over values that lie in channel slices of planned buffers; every executor runs such a list. */
#ifndef FL_FORWARD_LOWER_H
#define FL_FORWARD_LOWER_H

#include "stages/forward/net.h"

/* Passes, in the order in which they run. Each keeps the result; any subset is allowed. */
enum fl_pass {
    FL_PASS_IDENTITY = 1,      /* drop what does nothing at inference */
    FL_PASS_FOLD     = 2,      /* BN into the convolution before it */
    FL_PASS_FUSE     = 4,      /* addition and ReLU into the step before them */
    FL_PASS_AVG      = 8,      /* average before a 1x1 convolution instead of after it: a quarter of the work */
    FL_PASS_PRO_POOL = 16,     /* BN(-ReLU) becomes the prologue of an average */
    FL_PASS_PRO_CONV = 32,     /* ... and of a convolution */
    FL_PASS_CONCAT   = 64,     /* parts of a concat are slices of one buffer */
    FL_PASS_MEMORY   = 128,    /* buffers share memory by lifetime */
    FL_PASS_SUM      = 256     /* ... and a residual sum is made in place */
};
#define FL_PASSES_ALL 511

/* kind: enum fl_op_kind; DROPOUT copies. Numbers of values and parameters are -1 where there is none. */
struct fl_step {
    uint8_t  kind;
    bool     relu;             /* on the result, after all else */
    bool     pro_relu;         /* after the prologue `pro` */
    bool     hwc;
    int32_t  in, in2, out;     /* in2: the second part of ADD and CONCAT; the residual that a convolution adds */
    int32_t  w, b;             /* parameters: weight, bias */
    int32_t  bn, pro;          /* first of the four parameters of the BN folded into the result; of the BN applied to the input */
    uint32_t k, stride, pad, groups;
};

struct fl_value { uint32_t h, w, c; int32_t buf; uint32_t c0; };        /* channels c0 .. c0+c of buffer buf; -1: unused */
/* first, last: times between which it is alive; at: elements of one row before it, rows*at in the arena. The buffer of the input
 * isn't in the arena: several snapshots run on one input, so the executor keeps it. */
struct fl_buf { uint32_t h, w, c; int32_t first, last; size_t at; };

struct fl_low {
    char             arch[32];
    uint32_t         channels, size, labels;
    uint32_t         nparams, nsteps, nvals, nbufs;
    struct fl_param *params;   /* a copy, so that a prog outlives its network */
    struct fl_step  *steps;    /* in order of execution; step i ends at time i+1 */
    struct fl_value *vals;
    struct fl_buf   *bufs;
    int32_t          input, output;
    size_t           elems;    /* of one row of the arena; a multiple of FL_LOW_ALIGN, as every `at` is */
};
#define FL_LOW_ALIGN 64

int  fl_lower(const struct fl_net *, unsigned passes, struct fl_low **, struct fl_err *);
void fl_low_free(struct fl_low *);

/* place.c: places values in buffers and buffers in the arena; called by fl_lower. */
int fl_low_place(struct fl_low *, unsigned passes, struct fl_err *);
/* Its last part, again after an executor has widened buffers: gives each its place in the arena. */
int fl_low_arena(struct fl_low *, unsigned passes, struct fl_err *);

/* weights.c */

/* Every parameter finite, every running variance above -eps. FL_E_NUM names the tensor. */
int  fl_low_check(const struct fl_low *, const struct fl_weights *, struct fl_err *);
/* BN as y = scale x + shift of its c channels, in double. */
void fl_low_bn(const struct fl_low *, const struct fl_weights *, int32_t bn, double *scale, double *shift);
/* A convolution or linear layer with its folded BN: result = scale[o] (w * x) + shift[o]. */
void fl_low_affine(const struct fl_low *, const struct fl_weights *, const struct fl_step *, double *scale, double *shift);
/* Column of the weight row that meets (y, x, c) of the input of a linear layer. */
size_t fl_low_column(const struct fl_low *, const struct fl_step *, uint32_t y, uint32_t x, uint32_t c);

/* The executors' compile with some passes only, to test that none of them changes a result. */
int fl_ref_compile_passes(const struct fl_net *, unsigned passes, const struct fl_fwd_opts *, struct fl_prog **, struct fl_err *);
int fl_cpu_compile_passes(const struct fl_net *, unsigned passes, const struct fl_fwd_opts *, struct fl_prog **, struct fl_err *);

/* layer.c: step i as a layer of `rows` rows, but for impl and seconds; false behind the last. */
bool fl_low_layer(const struct fl_low *, uint32_t i, uint32_t rows, struct fl_layer *);

static inline const struct fl_value *fl_low_val(const struct fl_low *l, int32_t v) { return &l->vals[v]; }
static inline uint32_t fl_low_start(uint32_t i, uint32_t n, uint32_t bins) { return (uint32_t)((uint64_t)i * n / bins); }
static inline uint32_t fl_low_end(uint32_t i, uint32_t n, uint32_t bins) { return (uint32_t)(((uint64_t)(i + 1) * n + bins - 1) / bins); }

#endif
