/* The executors of a network behind one table: plain C (reference), oneDNN (cpu); a device's plugin exports the same struct. */
#ifndef FL_FORWARD_BACKEND_H
#define FL_FORWARD_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_BACKEND_ABI 4

/* ---- the network: described by data, one description a family, parameter names of torchvision ---- */

struct fl_net;                                   /* a network for one arch, channels, input size and number of labels */
struct fl_param { char name[96]; uint32_t ndim, shape[4]; };    /* f32; num_batches_tracked is not listed */

/* arch: densenet121/169/201, resnet18/34/50/101/152, resnext50_32x4d, resnext101_32x8d, vgg11/13/16/19, squeezenet1_1, tilenet, ...
 * two_layer: hidden width of a two-layer head (512), 0 = one Linear. FL_E_CONFIG for an unknown arch (with the nearest known), FL_E_SHAPE for a size < 32. */
int  fl_net_new(const char *arch, uint32_t channels, uint32_t size, uint32_t labels, uint32_t two_layer, struct fl_net **, struct fl_err *);
void fl_net_free(struct fl_net *);
uint32_t fl_net_nparams(const struct fl_net *);
const struct fl_param *fl_net_param(const struct fl_net *, uint32_t i);
size_t fl_param_count(const struct fl_param *);  /* elements */
uint64_t fl_net_macs(const struct fl_net *);     /* multiply-adds of convolutions and linear layers of one row */
const char *const *fl_net_archs(void);           /* names, NULL-terminated */

/* Weights: one pointer a parameter of the net, in fl_net_param order, f32, row-major as in torchvision; owned by the caller. */
struct fl_weights { const float *const *data; };

/* ---- executors ---- */

struct fl_prog;                                  /* a network compiled for a fixed number of rows */
struct fl_snap;                                  /* one set of weights prepared for a prog */

enum fl_prec { FL_PREC_F32, FL_PREC_BF16, FL_PREC_F16, FL_PREC_F64 /* ref only */, FL_PREC_COUNT };
const char *fl_prec_name(int prec);              /* "f32", ... */

/* device: index among those that probe counts. threads: those of a library under the executor, 0 = 1. Both calls may be NULL; alive: progress in
 * a long compile; warn: something that was mended, for the log. */
struct fl_fwd_opts { uint32_t rows, threads, device; int prec; void (*alive)(void *of); void (*warn)(void *of, const char *text); void *of; };

/* Rows for a device that paints them itself. tiles: n of [h][w][channels], u8 or u16 (wide). row: one a row of the prog, through the d4
 * element and the window of input.h; tile FL_FWD_BLANK makes a row of zeros. A pixel becomes x * mul + add, channel by channel. */
#define FL_FWD_BLANK UINT32_MAX
#define FL_FWD_DEPTH 2                           /* executions in flight */
struct fl_fwd_row { uint32_t tile, g, x0, y0, w, h; };
struct fl_fwd_views { const void *tiles; uint32_t n, h, w; bool wide; const struct fl_fwd_row *row; const float *mul, *add; };

/* Bytes of this process's memory: of a prog without weights, of each set of weights; and the same on the device. */
struct fl_fwd_memory { uint64_t prog, snap, device_prog, device_snap; };

/* One step of a prog. kind: as in the lowered list ("conv 3x3", "bn"); impl: the kernel's name, "" for own ones. macs: of all rows.
 * seconds: summed over the runs since profile was switched on. */
struct fl_layer { char kind[24]; const char *impl; uint32_t h, w, ci, co, groups; uint64_t macs; double seconds; };

struct fl_backend {
    uint32_t abi; const char *name;              /* "ref", "cpu", "cuda" */
    int  (*probe)(char *why, size_t n);          /* > 0 devices, or < 0; why: what they are, or why there is none */
    bool (*takes)(uint32_t device, int prec);    /* computes in this precision at speed */
    int  (*compile)(const struct fl_net *, const struct fl_fwd_opts *, struct fl_prog **, struct fl_err *);
    float *(*input)(struct fl_prog *);           /* NHWC f32 [rows][size][size][channels], normalised; filled by the caller before run; shared by all snaps */
    int  (*load)(struct fl_prog *, const struct fl_weights *, struct fl_snap **, struct fl_err *);   /* copies */
    int  (*run)(struct fl_prog *, struct fl_snap *, float *logits /* [rows][labels] */, struct fl_err *);
    /* Asynchronous run of k snapshots over one input; NULL: input and run it is. The tiles must stay as they are until wait has returned;
     * rows are copied. At most FL_FWD_DEPTH tickets are open; they are waited for in order. */
    int  (*submit)(struct fl_prog *, struct fl_snap *const *, uint32_t k, const struct fl_fwd_views *, uint64_t *ticket, struct fl_err *);
    int  (*wait)(struct fl_prog *, uint64_t ticket, float *logits /* [k][rows][labels] */, struct fl_err *);
    int  (*memory)(const struct fl_net *, const struct fl_fwd_opts *, struct fl_fwd_memory *, struct fl_err *);   /* without making anything */
    void (*profile)(struct fl_prog *, bool on);  /* times each step from now on; NULL: can't */
    bool (*layer)(const struct fl_prog *, uint32_t step, struct fl_layer *);     /* false behind the last step */
    int  (*peak)(const struct fl_fwd_opts *, uint32_t streams, double *flops, struct fl_err *);   /* FLOP/s of a large matmul, streams at once; NULL: not known */
    void (*snap_free)(struct fl_snap *);
    void (*prog_free)(struct fl_prog *);
};

extern const struct fl_backend fl_backend_ref, fl_backend_cpu;

#endif
