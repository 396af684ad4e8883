/* The executors of a network behind one table: plain C (reference), oneDNN (cpu); a device's plugin exports the same struct. */
#ifndef FL_FORWARD_BACKEND_H
#define FL_FORWARD_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define FL_BACKEND_ABI 1

/* ---- the network: described by data, one description a family, parameter names of torchvision ---- */

struct fl_net;                                   /* a network for one arch, channels, input size and number of labels */
struct fl_param { char name[96]; uint32_t ndim, shape[4]; };    /* f32; num_batches_tracked is not listed */

/* arch: densenet121/169/201, resnet18/34/50/101/152, resnext50_32x4d, resnext101_32x8d, vgg11/13/16/19, squeezenet1_1, tilenet, ...
 * two_layer: hidden width of a two-layer head (512), 0 = one Linear. FL_E_CONFIG for an unknown arch (with the nearest known), FL_E_SHAPE for a size < 32. */
int  fl_net_new(const char *arch, uint32_t channels, uint32_t size, uint32_t labels, uint32_t two_layer, struct fl_net **, struct fl_err *);
void fl_net_free(struct fl_net *);
uint32_t fl_net_nparams(const struct fl_net *);
const struct fl_param *fl_net_param(const struct fl_net *, uint32_t i);
uint64_t fl_net_macs(const struct fl_net *);     /* multiply-adds of convolutions and linear layers of one row */
const char *const *fl_net_archs(void);           /* names, NULL-terminated */

/* Weights: one pointer a parameter of the net, in fl_net_param order, f32, row-major as in torchvision; owned by the caller. */
struct fl_weights { const float *const *data; };

/* ---- executors ---- */

struct fl_prog;                                  /* a network compiled for a fixed number of rows */
struct fl_snap;                                  /* one set of weights prepared for a prog */

enum fl_prec { FL_PREC_F32 = 0, FL_PREC_BF16 = 1, FL_PREC_F64 = 2 /* ref only */ };

struct fl_backend {
    uint32_t abi; const char *name;              /* "ref", "cpu" */
    int  (*probe)(char *why, size_t n);          /* > 0 devices, or < 0 and why not */
    int  (*compile)(const struct fl_net *, uint32_t rows, uint32_t threads, int prec, struct fl_prog **, struct fl_err *);
    float *(*input)(struct fl_prog *);           /* NHWC f32 [rows][size][size][channels], normalised; filled by the caller before run; shared by all snaps */
    int  (*load)(struct fl_prog *, const struct fl_weights *, struct fl_snap **, struct fl_err *);   /* copies */
    int  (*run)(struct fl_prog *, struct fl_snap *, float *logits /* [rows][labels] */, struct fl_err *);
    void (*snap_free)(struct fl_snap *);
    void (*prog_free)(struct fl_prog *);
};

extern const struct fl_backend fl_backend_ref, fl_backend_cpu;

#endif
