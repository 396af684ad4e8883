/* The network as a list of operations, and the builder that the families' descriptions call. */
#ifndef FL_FORWARD_NET_H
#define FL_FORWARD_NET_H

#include <stdbool.h>

#include "stages/forward/backend.h"

#define FL_BN_EPS 1e-5
#define FL_NET_MIN_SIZE 32
#define FL_NET_MAX_SIZE 2048
#define FL_NET_MAX_CHANNELS 8
#define FL_NET_MAX_LABELS 65536

enum fl_op_kind {
    FL_OP_NONE,      /* removed by a pass */
    FL_OP_INPUT, FL_OP_CONV, FL_OP_LINEAR, FL_OP_BN, FL_OP_RELU, FL_OP_ADD, FL_OP_CONCAT, FL_OP_DROPOUT,
    FL_OP_MAX,       /* windows, clipped at the border */
    FL_OP_AVG,       /* whole windows, no padding */
    FL_OP_ADAPT,     /* average over k x k bins, bin i = floor(i n/k) .. ceil((i+1) n/k)-1 */
    FL_OP_MEAN       /* average over the image */
};

/* One operation; its result is value number = its place in the list. Dimensions are those of the result. */
struct fl_op {
    uint8_t  kind;
    bool     bias;
    bool     hwc;                          /* linear: columns run height, width, channel (else channel, height, width) */
    int32_t  in[2];                        /* -1: none */
    int32_t  par;                          /* first parameter; bn: weight, bias, running_mean, running_var */
    uint32_t h, w, c;
    uint32_t k, stride, pad, groups;
};

struct fl_net {
    char             arch[32];
    uint32_t         channels, size, labels, two_layer;
    struct fl_op    *ops;
    uint32_t         nops, ops_cap;
    struct fl_param *params;
    uint32_t         nparams, params_cap;
    int              bad;                  /* first failure of the builder (FL_E_*); later calls do nothing */
};

/* A family: the names it builds, and its description. The builder's value numbers go from call to call. */
struct fl_family {
    const char *const *archs;              /* NULL-terminated */
    void (*build)(struct fl_net *, uint32_t which);        /* which: index into archs */
};
extern const struct fl_family fl_densenet, fl_resnet, fl_vgg, fl_squeezenet, fl_tilenet;

struct fl_geom { uint32_t out, k, stride, pad, groups; bool bias, ceil; };      /* stride, groups: 0 = 1 */

/* Builder: each call appends one operation on value `in` and returns its value. Names are printf formats of the layer's name. */
int fl_nb_conv(struct fl_net *, int in, struct fl_geom, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int fl_nb_bn(struct fl_net *, int in, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int fl_nb_linear(struct fl_net *, int in, uint32_t out, bool hwc, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
int fl_nb_relu(struct fl_net *, int in);
int fl_nb_dropout(struct fl_net *, int in);
int fl_nb_add(struct fl_net *, int a, int b);
int fl_nb_concat(struct fl_net *, int a, int b);
int fl_nb_max(struct fl_net *, int in, struct fl_geom);
int fl_nb_avg(struct fl_net *, int in, uint32_t k);
int fl_nb_adapt(struct fl_net *, int in, uint32_t bins);
int fl_nb_mean(struct fl_net *, int in);
/* The classifying layer: Linear to the labels, or name.0 Linear, ReLU, name.3 Linear when the net has a two-layer head. */
int fl_nb_head(struct fl_net *, int in, const char *name);

#endif
